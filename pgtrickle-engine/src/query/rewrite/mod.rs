//! Tree-to-tree passes, one per file.

pub mod clock_values;
pub mod decorrelate;
pub mod distinct;
pub mod distinct_calls;
mod domain;
mod leading;
mod lift;
pub mod merge_filters;
mod one_row;
pub mod prune;
pub mod restrict;
mod values;

use crate::query::Rel;

/// A pass, and what reports call it.
pub type Pass = (&'static str, fn(Rel) -> Rel);

/// The passes of compilation in their order: [`distinct_calls`] and [`distinct`] first, since they make the aggregates that
/// staging cuts at; then [`merge_filters`], which gives each join all the predicates that hold above it; last [`leading`], which finds the
/// filters on ranks where they then are.
pub const PASSES: [Pass; 4] = [
    ("distinct_calls", distinct_calls::apply),
    ("distinct_to_groups", distinct::apply),
    ("filter_merging", merge_filters::apply),
    ("leading_rows", leading::apply),
];

/// All of [`PASSES`].
pub fn all(rel: Rel) -> Rel {
    PASSES.into_iter().fold(rel, |rel, (_, pass)| pass(rel))
}

/// `rel` with `change` applied to each of its inputs.
pub(crate) fn map_inputs(rel: Rel, change: &mut impl FnMut(Rel) -> Rel) -> Rel {
    let mut boxed = |input: Box<Rel>| Box::new(change(*input));
    match rel {
        Rel::Scan(_) | Rel::Stage { .. } | Rel::Opaque { .. } | Rel::Working { .. } => rel,
        Rel::Recursive { base, step, all, columns } => {
            Rel::Recursive { base: boxed(base), step: boxed(step), all, columns }
        }
        Rel::Filter { input, predicates } => Rel::Filter { input: boxed(input), predicates },
        Rel::Project { input, outputs } => Rel::Project { input: boxed(input), outputs },
        Rel::Expand { input, item, on, outer } => Rel::Expand { input: boxed(input), item, on, outer },
        Rel::Aggregate { input, keys, calls } => Rel::Aggregate { input: boxed(input), keys, calls },
        Rel::Distinct { input } => Rel::Distinct { input: boxed(input) },
        Rel::Window { input, partition, windows, calls } => {
            Rel::Window { input: boxed(input), partition, windows, calls }
        }
        Rel::Leading { input, partition, order, counts, ties } => {
            Rel::Leading { input: boxed(input), partition, order, counts, ties }
        }
        Rel::TopK { input, partition, order, limit, offset, with_ties } => {
            Rel::TopK { input: boxed(input), partition, order, limit, offset, with_ties }
        }
        Rel::Join { inputs, predicates } => Rel::Join { inputs: inputs.into_iter().map(change).collect(), predicates },
        Rel::OuterJoin { left, right, predicates, side } => {
            Rel::OuterJoin { left: boxed(left), right: boxed(right), predicates, side }
        }
        Rel::SemiJoin { left, right, predicates, yields } => {
            Rel::SemiJoin { left: boxed(left), right: boxed(right), predicates, yields }
        }
        Rel::Apply { left, right, predicates, kind } => {
            Rel::Apply { left: boxed(left), right: boxed(right), predicates, kind }
        }
        Rel::UnionAll { inputs, columns } => {
            Rel::UnionAll { inputs: inputs.into_iter().map(change).collect(), columns }
        }
    }
}
