//! `σ_p(σ_q(R)) = σ_{p∧q}(R)` and `σ_p(R ⋈_q S) = R ⋈_{p∧q} S`: predicates sit where the delta of a join can use them to
//! connect its inputs.

use super::map_inputs;
use crate::query::Rel;

/// Moves each Filter into the Filter or Join below it.
pub fn apply(rel: Rel) -> Rel {
    match map_inputs(rel, &mut apply) {
        Rel::Filter { input, predicates } => match *input {
            Rel::Filter { input, predicates: mut below } => {
                below.extend(predicates);
                Rel::Filter { input, predicates: below }
            }
            Rel::Join { inputs, predicates: mut below } => {
                below.extend(predicates);
                Rel::Join { inputs, predicates: below }
            }
            other => Rel::Filter { input: Box::new(other), predicates },
        },
        other => other,
    }
}
