//! `Δ(R1 ⊎ … ⊎ Rn) = ΔR1 + … + ΔRn`: bag union is addition of Z-sets.

use super::Context;
use crate::query::Rel;

pub(super) fn now(inputs: &[Rel], context: &Context) -> String {
    all(inputs.iter().map(|input| super::now(input, context)))
}

pub(super) fn delta(inputs: &[Rel], context: &Context) -> Option<String> {
    let text = all(inputs.iter().filter_map(|input| super::delta(input, context)));
    (!text.is_empty()).then_some(text)
}

fn all(selects: impl Iterator<Item = String>) -> String {
    selects.map(|select| format!("({select})")).collect::<Vec<_>>().join(" UNION ALL ")
}
