//! Columns of numbers that all have the same number of fractional digits.

use crate::query::{Rel, Scalar};

/// Whether that is known of the values of `scalar` over the rows of `input`, NULLs aside.
pub fn is_fixed(input: &Rel, scalar: &Scalar) -> bool {
    scalar.fixed_scale || scalar.as_column().is_some_and(|position| is_column_fixed(input, position))
}

/// A column that nothing computes has the scale that its type says, which who reads it knows.
fn is_column_fixed(rel: &Rel, position: usize) -> bool {
    match rel {
        Rel::Project { input, outputs } => is_fixed(input, &outputs[position].1),
        Rel::Filter { input, .. } => is_column_fixed(input, position),
        Rel::Join { inputs, .. } => is_beside(inputs, position),
        Rel::OuterJoin { left, right, .. } => is_beside([&**left, right], position),
        Rel::SemiJoin { left: input, .. } | Rel::Expand { input, .. } => is_beside([&**input], position),
        _ => false,
    }
}

/// Likewise of the column at `position` of all `inputs`, one after the other.
fn is_beside<'a>(inputs: impl IntoIterator<Item = &'a Rel>, mut position: usize) -> bool {
    for input in inputs {
        let width = input.columns().len();
        if position < width {
            return is_column_fixed(input, position);
        }
        position -= width;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::rel::Side;
    use crate::query::testing::{int4, scan};

    /// `a` as it is, and what is computed of it.
    fn projected() -> Rel {
        let column = Scalar::column(0, int4(), false);
        let computed = Scalar { fixed_scale: true, ..column.clone() };
        let outputs = vec![("a".into(), column), ("b".into(), computed)];
        Rel::Project { input: Box::new(scan(1, &["a"], &[])), outputs }
    }

    fn is_known(rel: &Rel, position: usize) -> bool {
        is_fixed(rel, &Scalar::column(position, int4(), false))
    }

    #[test]
    fn a_computed_column_is_known_by_its_expression() {
        assert!(!is_known(&projected(), 0) && is_known(&projected(), 1));
    }

    #[test]
    fn columns_are_followed_through_what_passes_them_on() {
        let other = || Box::new(scan(2, &["x", "y"], &[]));
        let join = Rel::Join { inputs: vec![*other(), projected()], predicates: vec![] };
        let filter = Rel::Filter { input: Box::new(join), predicates: vec![] };
        assert_eq!([0, 1, 2, 3].map(|position| is_known(&filter, position)), [false, false, false, true]);
        let outer =
            Rel::OuterJoin { left: other(), right: Box::new(projected()), predicates: vec![], side: Side::Left };
        assert!(is_known(&outer, 3) && !is_known(&outer, 2));
    }

    #[test]
    fn two_scales_are_not_one() {
        let columns = projected().columns();
        assert!(!is_known(&Rel::UnionAll { inputs: vec![projected(), projected()], columns }, 1));
    }
}
