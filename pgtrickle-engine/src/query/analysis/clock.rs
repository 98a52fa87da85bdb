//! Where expressions read the clock.

use crate::query::{Fragment, Rel};

/// Every expression that reads the clock is a predicate of a Filter or an inner join, or a comparison that a Project yields: their deltas
/// follow the clock.
pub fn is_followed(rel: &Rel) -> bool {
    let reads = |text: &&Vec<Fragment>| text.iter().any(|fragment| matches!(fragment, Fragment::Clock(_)));
    let here = match rel {
        Rel::Filter { .. } | Rel::Join { .. } => true,
        Rel::Project { .. } => !rel.texts().into_iter().any(|text| text.contains(&Fragment::Begin)),
        _ => !rel.texts().iter().any(reads),
    };
    here && rel.inputs().into_iter().all(is_followed)
}

/// A Project yields the truth of a comparison with the clock.
pub fn yields_truth(rel: &Rel) -> bool {
    matches!(rel, Rel::Project { outputs, .. } if outputs.iter().any(|(_, scalar)| scalar.reads_clock()))
}
