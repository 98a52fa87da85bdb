//! The values of some columns of a relation, told by as little of it as tells them.
//!
//! **Law.** `of(R, c)` is a relation and places in it with `δ(π_c(R))` for its values; or more values, where a part of R that reads an
//! outer row is left out. What is evaluated for each value of a domain may be evaluated for more: the others meet no row.
//! Without such parts the domain of a sub-select inside a sub-select stands on its own, and does not repeat the outer one's at
//! every place where it is used.
//!
//! Only whether a value is there counts, not how often; so projections, sorts, windows and the padded side of an outer join
//! that c is not of can go, and of every input only the columns that matter stay.

use super::domain::picked;
use crate::query::rel::{Side, Yield};
use crate::query::{Column, Fragment, Rel, Scalar};

/// The relation, and where in it the columns `wanted` of `rel` are.
pub(super) fn of(rel: &Rel, wanted: &[usize]) -> (Rel, Vec<usize>) {
    let within = |width: usize| wanted.iter().all(|place| *place < width);
    match rel {
        Rel::Project { input, outputs } => {
            let outputs: Vec<_> = wanted.iter().map(|place| &outputs[*place]).collect();
            projected(input, &outputs)
        }
        Rel::Aggregate { input, keys, .. } if !keys.is_empty() && within(keys.len()) => {
            let outputs: Vec<_> = wanted.iter().map(|place| &keys[*place]).collect();
            projected(input, &outputs)
        }
        Rel::Filter { input, predicates } => filtered(input, predicates, wanted),
        Rel::Join { inputs, predicates } => joined(inputs, predicates, wanted),
        Rel::Distinct { input } => of(input, wanted),
        Rel::Window { input, .. } if within(input.columns().len()) => of(input, wanted),
        Rel::Leading { input, .. } | Rel::TopK { input, .. } if reads_outer_rows(rel) => of(input, wanted),
        Rel::Expand { input, outer, .. }
            if within(input.columns().len()) && (*outer || own_texts_read_outer_rows(rel)) =>
        {
            of(input, wanted)
        }
        Rel::OuterJoin { left, side: Side::Left, .. } if within(left.columns().len()) => of(left, wanted),
        Rel::SemiJoin { left, right, yields, .. } if within(left.columns().len()) => {
            let tests = !matches!(yields, Yield::Mark(_));
            match tests && !own_texts_read_outer_rows(rel) && !reads_outer_rows(right) {
                true => (rel.clone(), wanted.to_vec()),
                false => of(left, wanted),
            }
        }
        Rel::UnionAll { inputs, columns } => {
            let values = |input| {
                let (rel, places) = of(input, wanted);
                picked(rel, places.into_iter())
            };
            let columns = wanted.iter().map(|place| columns[*place].clone()).collect();
            let inputs = inputs.iter().map(values).collect();
            (Rel::UnionAll { inputs, columns }, (0..wanted.len()).collect())
        }
        _ => (rel.clone(), wanted.to_vec()),
    }
}

/// Some expression in `rel` reads a row that is not in it.
fn reads_outer_rows(rel: &Rel) -> bool {
    own_texts_read_outer_rows(rel) || rel.inputs().into_iter().any(reads_outer_rows)
}

fn own_texts_read_outer_rows(rel: &Rel) -> bool {
    rel.texts().into_iter().flatten().any(|fragment| matches!(fragment, Fragment::Outer { .. }))
}

fn reads_outer_row(scalar: &Scalar) -> bool {
    scalar.fragments.iter().any(|fragment| matches!(fragment, Fragment::Outer { .. }))
}

/// `wanted` and the columns that `scalars` read, each once.
fn with_read(wanted: impl IntoIterator<Item = usize>, scalars: &[Scalar]) -> Vec<usize> {
    let mut needed: Vec<usize> = wanted.into_iter().chain(scalars.iter().flat_map(Scalar::columns)).collect();
    needed.sort_unstable();
    needed.dedup();
    needed
}

/// Where `column` is when `needed` are at `places`.
fn moved(column: usize, needed: &[usize], places: &[usize]) -> usize {
    places[needed.binary_search(&column).expect("it is needed")]
}

fn projected(input: &Rel, outputs: &[&(String, Scalar)]) -> (Rel, Vec<usize>) {
    let scalars: Vec<Scalar> = outputs.iter().map(|(_, scalar)| scalar.clone()).collect();
    if let Some(below) = scalars.iter().map(Scalar::as_column).collect::<Option<Vec<_>>>() {
        return of(input, &below);
    }
    let needed = with_read([], &scalars);
    let (input, places) = of(input, &needed);
    let computed =
        |(name, scalar): &(String, Scalar)| (name.clone(), scalar.remap(|column| moved(column, &needed, &places)));
    let all = (0..outputs.len()).collect();
    (Rel::Project { input: Box::new(input), outputs: outputs.iter().map(|output| computed(output)).collect() }, all)
}

fn filtered(input: &Rel, predicates: &[Scalar], wanted: &[usize]) -> (Rel, Vec<usize>) {
    let kept: Vec<Scalar> = predicates.iter().filter(|predicate| !reads_outer_row(predicate)).cloned().collect();
    let needed = with_read(wanted.iter().copied(), &kept);
    let (input, places) = of(input, &needed);
    let place = |column: usize| moved(column, &needed, &places);
    let predicates: Vec<Scalar> = kept.iter().map(|predicate| predicate.remap(place)).collect();
    let rel = match predicates.is_empty() {
        true => input,
        false => Rel::Filter { input: Box::new(input), predicates },
    };
    (rel, wanted.iter().map(|column| place(*column)).collect())
}

/// Inputs of which nothing is read stay, since they may be empty, unless they read outer rows.
fn joined(inputs: &[Rel], predicates: &[Scalar], wanted: &[usize]) -> (Rel, Vec<usize>) {
    let kept: Vec<Scalar> = predicates.iter().filter(|predicate| !reads_outer_row(predicate)).cloned().collect();
    let needed = with_read(wanted.iter().copied(), &kept);
    let (mut begin, mut width) = (0, 0);
    let (mut parts, mut places) = (Vec::new(), Vec::new());
    for input in inputs {
        let columns: Vec<Column> = input.columns();
        let own: Vec<usize> = needed
            .iter()
            .filter(|place| (begin..begin + columns.len()).contains(*place))
            .map(|place| place - begin)
            .collect();
        begin += columns.len();
        if own.is_empty() && reads_outer_rows(input) {
            continue;
        }
        let (part, at) = of(input, &own);
        places.extend(at.iter().map(|place| place + width));
        width += part.columns().len();
        parts.push(part);
    }
    let place = |column: usize| moved(column, &needed, &places);
    let predicates: Vec<Scalar> = kept.iter().map(|predicate| predicate.remap(place)).collect();
    let places = wanted.iter().map(|column| place(*column)).collect();
    let rel = match (parts.len(), predicates.is_empty()) {
        (1, true) => parts.swap_remove(0),
        (1, false) => Rel::Filter { input: Box::new(parts.swap_remove(0)), predicates },
        _ => Rel::Join { inputs: parts, predicates },
    };
    (rel, places)
}
