//! `σ_p(σ_q(R)) = σ_{p∧q}(R)` and `σ_p(R ⋈_q S) = R ⋈_{p∧q} S`: predicates sit where the delta of a join can use them to
//! connect its inputs. What an item of FROM yields for a row says nothing about the row, so a predicate on the row alone
//! goes below the expansion: there may be a join.
//!
//! A predicate that reads the clock makes a Filter of its own, below the join where it reads a single input: its delta is
//! that of [`crate::delta::operator::filter`].

use super::map_inputs;
use crate::query::{Item, Rel, Scalar};

/// Moves each Filter into the Filter or Join below it, and through the Expand.
pub fn apply(rel: Rel) -> Rel {
    match map_inputs(rel, &mut apply) {
        Rel::Join { inputs, predicates } => through_expansions(inputs, predicates),
        Rel::Filter { input, predicates } => filtered(*input, predicates),
        other => other,
    }
}

/// The Filter over an input that has been rewritten.
fn filtered(input: Rel, predicates: Vec<Scalar>) -> Rel {
    if predicates.is_empty() {
        return input;
    }
    match input {
        Rel::Filter { input, predicates: mut below } => {
            below.extend(predicates);
            filtered(*input, below)
        }
        Rel::Join { inputs, predicates: mut below } => {
            below.extend(predicates);
            through_expansions(inputs, below)
        }
        Rel::Expand { input, item, on, outer } => through(*input, item, on, outer, predicates),
        other => Rel::Filter { input: Box::new(other), predicates },
    }
}

fn through(input: Rel, item: Item, on: Vec<Scalar>, outer: bool, predicates: Vec<Scalar>) -> Rel {
    let width = input.columns().len();
    let (below, above): (Vec<Scalar>, Vec<Scalar>) =
        predicates.into_iter().partition(|predicate| predicate.columns().iter().all(|column| *column < width));
    let expand = Rel::Expand { input: Box::new(filtered(input, below)), item, on, outer };
    if above.is_empty() { expand } else { Rel::Filter { input: Box::new(expand), predicates: above } }
}

/// The join, each predicate that reads only one input given to that input if it is an expansion or the predicate reads
/// the clock.
fn through_expansions(inputs: Vec<Rel>, mut predicates: Vec<Scalar>) -> Rel {
    let mut first = 0;
    let mut moved = Vec::with_capacity(inputs.len());
    for input in inputs {
        let end = first + input.columns().len();
        let wanted = |predicate: &Scalar| matches!(input, Rel::Expand { .. }) || predicate.reads_clock();
        let own = |predicate: &Scalar| predicate.columns().iter().all(|column| (first..end).contains(column));
        let (here, rest): (Vec<Scalar>, Vec<Scalar>) = predicates
            .into_iter()
            .partition(|predicate| wanted(predicate) && !predicate.columns().is_empty() && own(predicate));
        predicates = rest;
        moved.push(filtered(input, here.iter().map(|predicate| predicate.remap(|column| column - first)).collect()));
        first = end;
    }
    let (moving, fixed): (Vec<Scalar>, Vec<Scalar>) = predicates.into_iter().partition(Scalar::reads_clock);
    let join = Rel::Join { inputs: moved, predicates: fixed };
    if moving.is_empty() { join } else { Rel::Filter { input: Box::new(join), predicates: moving } }
}
