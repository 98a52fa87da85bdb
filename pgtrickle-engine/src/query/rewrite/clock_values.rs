//! Comparisons with the clock as columns: truth values that flip.
//!
//! **Law.** With `c` a comparison with the clock, `op_f(c)(R) = π(op_f(t)(τ_c(R)))`, where `τ_c(R)` is R with the value of `c` as
//! one more column `t`, and π leaves `t` out where `op` passes the columns of R on. So the clock is read in filters and
//! in `τ` alone, whose delta is that of [`crate::delta::operator::project`], and every other operator sees a column that changes.
//!
//! `c` goes to the side of an outer join that it reads; one that reads both stays, and is refused. Conditions of filters and inner joins stay as they
//! are: they have a law of their own, in [`crate::delta::operator::filter`].

use super::map_inputs;
use crate::query::{DataType, Fragment, Rel, Scalar, Volatility};

/// Takes marked comparisons out of every operator but filters and inner joins.
pub fn apply(rel: Rel) -> Rel {
    let mut rel = map_inputs(rel, &mut apply);
    match rel {
        Rel::Project { .. } | Rel::Aggregate { .. } => {
            let input = rel.inputs()[0].columns().len();
            take_out(&mut rel, input);
            rel
        }
        Rel::Window { .. } | Rel::TopK { .. } => {
            let (input, all) = (rel.inputs()[0].columns().len(), rel.columns().len());
            let added = take_out(&mut rel, input);
            without(rel, all, &[(input, added)])
        }
        Rel::OuterJoin { .. } => beside(rel),
        other => other,
    }
}

/// Gives the only input of `rel`, which has `width` columns, the comparisons in `rel` as further columns, and says how many.
fn take_out(rel: &mut Rel, width: usize) -> usize {
    let mut found = Vec::new();
    rel.texts_mut().into_iter().for_each(|text| replace(text, &mut |inside| Some(width + place(inside, &mut found))));
    let added = found.len();
    if let [input] = rel.inputs_mut().as_mut_slice() {
        extend(input, found);
    }
    added
}

/// Likewise of an outer join, each comparison in the side that it reads.
fn beside(mut rel: Rel) -> Rel {
    let widths: Vec<usize> = rel.inputs().iter().map(|input| input.columns().len()).collect();
    let [left, right] = widths[..] else { return rel };
    let mut found = [Vec::new(), Vec::new()];
    if let Rel::OuterJoin { predicates, .. } = &mut rel {
        predicates.iter_mut().for_each(Scalar::mark);
    }
    for text in rel.texts_mut() {
        replace(text, &mut |inside| {
            let columns = crate::query::scalar::columns(inside);
            let side = usize::from(columns.iter().all(|column| *column >= left));
            if side == 0 && !columns.iter().all(|column| *column < left) {
                return None;
            }
            let own = crate::query::scalar::remap(inside, |column| column - side * left);
            // Its place among the comparisons of its side comes after all columns of both until these are counted.
            Some(left + right + 2 * place(&own, &mut found[side]) + side)
        });
    }
    let more = found.each_ref().map(Vec::len);
    let moved = |column: usize| match column.checked_sub(left + right) {
        Some(of) if of % 2 == 0 => left + of / 2,
        Some(of) => left + more[0] + right + of / 2,
        None if column < left => column,
        None => column + more[0],
    };
    for text in rel.texts_mut() {
        *text = crate::query::scalar::remap(text, moved);
    }
    for (input, comparisons) in rel.inputs_mut().into_iter().zip(found) {
        extend(input, comparisons);
    }
    without(rel, left + right, &[(left, more[0]), (left + right, more[1])])
}

/// `rel` of which columns were added, as many of them as its parts have of `added`, before the column that had this place.
fn without(rel: Rel, width: usize, added: &[(usize, usize)]) -> Rel {
    if added.iter().all(|(_, count)| *count == 0) {
        return rel;
    }
    let columns = rel.columns();
    let place =
        |column: usize| column + added.iter().filter(|(at, _)| *at <= column).map(|(_, count)| count).sum::<usize>();
    let output = |column: usize| {
        let kept = columns[place(column)].clone();
        (kept.name, Scalar::column(place(column), kept.ty, kept.nullable))
    };
    Rel::Project { outputs: (0..width).map(output).collect(), input: Box::new(rel) }
}

/// Replaces each comparison in `text` by the column that `of` gives for it, if it gives one.
fn replace(text: &mut Vec<Fragment>, of: &mut impl FnMut(&[Fragment]) -> Option<usize>) {
    let mut rest = std::mem::take(text).into_iter();
    while let Some(fragment) = rest.next() {
        if fragment != Fragment::Begin {
            text.push(fragment);
            continue;
        }
        let inside: Vec<Fragment> = rest.by_ref().take_while(|fragment| *fragment != Fragment::End).collect();
        match of(&inside) {
            Some(column) => text.push(Fragment::Column(column)),
            None => text.extend([Fragment::Begin].into_iter().chain(inside).chain([Fragment::End])),
        }
    }
}

/// The place of the comparison among those `found` so far.
fn place(comparison: &[Fragment], found: &mut Vec<Vec<Fragment>>) -> usize {
    found.iter().position(|known| known == comparison).unwrap_or_else(|| {
        found.push(comparison.to_vec());
        found.len() - 1
    })
}

/// `τ`: `input` with the values of `comparisons` as further columns.
fn extend(input: &mut Rel, comparisons: Vec<Vec<Fragment>>) {
    if comparisons.is_empty() {
        return;
    }
    let kept = input.columns().into_iter().enumerate();
    let kept = kept.map(|(i, column)| (column.name, Scalar::column(i, column.ty, column.nullable)));
    let truth = |(i, fragments): (usize, Vec<Fragment>)| {
        let value = Scalar::column(0, DataType::boolean(), true);
        (format!("truth{}", i + 1), Scalar { fragments, volatility: Volatility::Stable, ..value })
    };
    let outputs = kept.chain(comparisons.into_iter().enumerate().map(truth)).collect();
    let below = std::mem::replace(input, Rel::unit());
    *input = Rel::Project { input: Box::new(below), outputs };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::analysis::clock::is_followed;
    use crate::query::rel::Side;
    use crate::query::testing::{equality, scan};

    fn past(column: usize) -> Vec<Fragment> {
        let text = |text: &str| Fragment::Text(text.into());
        let clock = Fragment::Clock("timestamp with time zone".into());
        vec![Fragment::Begin, text("("), Fragment::Column(column), text(" < "), clock, text(")"), Fragment::End]
    }

    fn outer(predicate: Vec<Fragment>) -> Rel {
        let predicate = Scalar { fragments: predicate, ..equality(0, 0) };
        Rel::OuterJoin {
            left: Box::new(scan(1, &["a", "b"], &[])),
            right: Box::new(scan(2, &["a", "b"], &[])),
            predicates: vec![equality(0, 2), predicate],
            side: Side::Left,
        }
    }

    #[test]
    fn an_outer_join_yields_what_it_did() {
        let both = past(1).into_iter().chain([Fragment::Text(" OR ".into())]).chain(past(3)).collect();
        let join = outer(both);
        let columns = join.columns();
        let join = apply(join);
        assert_eq!(join.columns(), columns);
        assert!(is_followed(&join));
        let Rel::Project { input, outputs } = join else { panic!("the truth values are left out") };
        let places: Vec<_> = outputs.iter().map(|(_, scalar)| scalar.as_column()).collect();
        assert_eq!(places, [Some(0), Some(1), Some(3), Some(4)]);
        let Rel::OuterJoin { predicates, .. } = *input else { panic!("a join stays one") };
        assert_eq!(predicates[0].as_equality(), Some((0, 3)));
        assert_eq!(predicates[1].columns(), [2, 5]);
    }

    #[test]
    fn a_comparison_of_both_sides_stays() {
        let mut across = past(1);
        across.insert(2, Fragment::Column(3));
        assert!(!is_followed(&apply(outer(across))));
    }
}
