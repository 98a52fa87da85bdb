//! `π(σ_p(R × S)) = π(R ⋉_p S)` where S has at most one row and π reads nothing of it: `x > (SELECT avg(x) FROM …)`.
//!
//! As a join, a new value of S takes every row that meets p out and puts it in again; the semi-join's delta has only the rows for
//! which p changes. It goes below the semi-joins of R, `(R ⋉ T) ⋉_p S = (R ⋉_p S) ⋉ T`, which then are asked about these rows alone.

use crate::query::analysis::keys::keys;
use crate::query::rel::Yield;
use crate::query::{Fragment, Rel, Scalar};
use std::collections::BTreeSet;

/// `input` and the predicates on it, those that compare with a single row as a semi-join in it if they are all that reads the row.
/// `needed` are the columns that are read above; the positions of columns stay.
pub(super) fn semi_joined(input: Rel, predicates: Vec<Scalar>, needed: &BTreeSet<usize>) -> (Rel, Vec<Scalar>) {
    let Some(first) = compared(&input) else { return (input, predicates) };
    let Rel::Project { input, outputs } = input else { return (input, predicates) };
    let reads_row = |scalar: &Scalar| scalar.columns().iter().any(|column| *column >= first);
    let of_row: BTreeSet<usize> = (0..outputs.len()).filter(|output| reads_row(&outputs[*output].1)).collect();
    let compares = |predicate: &Scalar| predicate.columns().iter().any(|column| of_row.contains(column));
    let clock = outputs.iter().map(|(_, scalar)| scalar).chain(predicates.iter().filter(|p| compares(p)));
    if !needed.is_disjoint(&of_row) || !predicates.iter().any(compares) || clock.clone().any(Scalar::reads_clock) {
        return (Rel::Project { input, outputs }, predicates);
    }
    let Rel::Join { mut inputs, .. } = *input else { unreachable!("it compares with the second input of a join") };
    let (row, left) = (inputs.swap_remove(1), inputs.swap_remove(0));
    let (comparing, others): (Vec<Scalar>, Vec<Scalar>) = predicates.into_iter().partition(compares);
    let on = comparing.iter().map(|predicate| predicate.substitute(|place| outputs[place].1.clone())).collect();
    // Nothing reads these any more.
    let without = |(place, (name, scalar)): (usize, (String, Scalar))| match of_row.contains(&place) {
        true => (name, Scalar { fragments: vec![Fragment::Text(format!("NULL::{}", scalar.ty.sql))], ..scalar }),
        false => (name, scalar),
    };
    let outputs = outputs.into_iter().enumerate().map(without).collect();
    (Rel::Project { input: Box::new(under_semi_joins(left, row, on)), outputs }, others)
}

/// Where the columns of the single row begin in what the projection `rel` is made of, if that is a product with one.
fn compared(rel: &Rel) -> Option<usize> {
    let Rel::Project { input, .. } = rel else { return None };
    match input.as_ref() {
        Rel::Join { inputs, predicates } => match inputs.as_slice() {
            // A recursion follows its rows through joins.
            [left, _] if left.reads_working() => None,
            [left, row] if predicates.is_empty() && keys(row).contains(&Vec::new()) => Some(left.columns().len()),
            _ => None,
        },
        _ => None,
    }
}

fn under_semi_joins(left: Rel, row: Rel, on: Vec<Scalar>) -> Rel {
    match left {
        Rel::SemiJoin { left, right, predicates, yields: yields @ (Yield::Matched | Yield::Unmatched) } => {
            Rel::SemiJoin { left: Box::new(under_semi_joins(*left, row, on)), right, predicates, yields }
        }
        left => Rel::SemiJoin { left: Box::new(left), right: Box::new(row), predicates: on, yields: Yield::Matched },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::testing::{equality, project, scan};

    fn less(a: usize, b: usize) -> Scalar {
        let mut scalar = equality(a, b);
        scalar.fragments[2] = Fragment::Text(" < ".into());
        scalar
    }

    /// Rows of `t1` beside the row of `t2`.
    fn beside(left: Rel, key: &[&[usize]]) -> Rel {
        let join = Rel::Join { inputs: vec![left, scan(2, &["s"], key)], predicates: Vec::new() };
        project(join, &[0, 1, 2])
    }

    fn semi_joined_of(rel: Rel, needed: &[usize]) -> (Rel, Vec<Scalar>) {
        semi_joined(rel, vec![less(0, 2), less(0, 1)], &needed.iter().copied().collect())
    }

    #[test]
    fn a_row_that_is_only_compared_with_decides_which_rows_stay() {
        let (rel, others) = semi_joined_of(beside(scan(1, &["a", "b"], &[]), &[&[]]), &[0, 1]);
        assert_eq!(others, vec![less(0, 1)]);
        let Rel::Project { input, outputs } = rel else { panic!("a projection stays one") };
        assert_eq!(outputs.len(), 3);
        let Rel::SemiJoin { predicates, .. } = *input else { panic!("it is not a semi-join") };
        assert_eq!(predicates[0].fragments, less(0, 2).fragments);
    }

    #[test]
    fn it_goes_below_other_semi_joins() {
        let left = Rel::SemiJoin {
            left: Box::new(scan(1, &["a", "b"], &[])),
            right: Box::new(scan(3, &["c"], &[])),
            predicates: vec![equality(0, 2)],
            yields: Yield::Unmatched,
        };
        let (rel, _) = semi_joined_of(beside(left, &[&[]]), &[0]);
        let Rel::Project { input, .. } = rel else { panic!("a projection stays one") };
        let Rel::SemiJoin { left, yields: Yield::Unmatched, .. } = *input else {
            panic!("the other one is not on top")
        };
        assert!(matches!(*left, Rel::SemiJoin { yields: Yield::Matched, .. }));
    }

    #[test]
    fn several_rows_and_rows_that_are_read_stay_joined() {
        for (key, needed) in [(&[][..], &[0][..]), (&[&[][..]], &[0, 2])] {
            let before = beside(scan(1, &["a", "b"], &[]), key);
            assert_eq!(semi_joined_of(before.clone(), needed).0, before);
        }
    }
}
