//! Where predicates read the clock.

use crate::query::Rel;

/// Every predicate that reads the clock belongs to a Filter or an inner join, whose delta follows the clock.
pub fn is_followed(rel: &Rel) -> bool {
    let here = match rel {
        Rel::OuterJoin { predicates, .. } | Rel::SemiJoin { predicates, .. } => {
            !predicates.iter().any(|predicate| predicate.reads_clock())
        }
        Rel::Expand { on, .. } => !on.iter().any(|predicate| predicate.reads_clock()),
        _ => true,
    };
    here && rel.inputs().into_iter().all(is_followed)
}
