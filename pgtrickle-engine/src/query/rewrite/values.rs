//! The values of some columns of a relation, told by as little of it as tells them.
//!
//! **Law.** `of(R, c)` is a relation and places in it with `δ(π_c(R))` for its values. Only whether a value is there counts,
//! not how often; so projections, windows and the padded side of an outer join that c is not of can go, and of every input
//! only the columns that matter stay.

use super::domain::picked;
use crate::query::rel::{Side, Yield};
use crate::query::{Rel, Scalar};

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
        Rel::Expand { input, outer: true, .. } if within(input.columns().len()) => of(input, wanted),
        Rel::OuterJoin { left, side: Side::Left, .. } if within(left.columns().len()) => of(left, wanted),
        Rel::SemiJoin { left, yields: Yield::Mark(_), .. } if within(left.columns().len()) => of(left, wanted),
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
    let needed = with_read(wanted.iter().copied(), predicates);
    let (input, places) = of(input, &needed);
    let place = |column: usize| moved(column, &needed, &places);
    let predicates = predicates.iter().map(|predicate| predicate.remap(place)).collect();
    (Rel::Filter { input: Box::new(input), predicates }, wanted.iter().map(|column| place(*column)).collect())
}

/// Inputs of which nothing is read stay, since they may be empty.
fn joined(inputs: &[Rel], predicates: &[Scalar], wanted: &[usize]) -> (Rel, Vec<usize>) {
    let needed = with_read(wanted.iter().copied(), predicates);
    let (mut begin, mut width) = (0, 0);
    let (mut parts, mut places) = (Vec::new(), Vec::new());
    for input in inputs {
        let end = begin + input.columns().len();
        let own: Vec<usize> =
            needed.iter().filter(|place| (begin..end).contains(*place)).map(|place| place - begin).collect();
        let (part, at) = of(input, &own);
        places.extend(at.iter().map(|place| place + width));
        begin = end;
        width += part.columns().len();
        parts.push(part);
    }
    let place = |column: usize| moved(column, &needed, &places);
    let predicates = predicates.iter().map(|predicate| predicate.remap(place)).collect();
    let places = wanted.iter().map(|column| place(*column)).collect();
    (Rel::Join { inputs: parts, predicates }, places)
}
