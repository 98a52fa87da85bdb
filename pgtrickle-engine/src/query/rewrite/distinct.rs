//! `δ(R) = γ_{all columns}(R)`: each different row once is one group per different row, without calls.

use super::map_inputs;
use crate::query::{Rel, Scalar};

/// Replaces every Distinct by the Aggregate that it is.
pub fn apply(rel: Rel) -> Rel {
    match map_inputs(rel, &mut apply) {
        Rel::Distinct { input } => {
            let keys = input.columns().into_iter().enumerate();
            let keys = keys.map(|(position, c)| (c.name, Scalar::column(position, c.ty, c.nullable))).collect();
            Rel::Aggregate { input, keys, calls: Vec::new() }
        }
        other => other,
    }
}
