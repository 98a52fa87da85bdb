//! `Δπ_e(R) = π_e(ΔR)`: projection of bags is linear.

use super::{Context, column};
use crate::query::{Rel, Scalar};
use crate::sql::list;

pub(super) fn now(input: &Rel, outputs: &[(String, Scalar)], context: &Context) -> String {
    select(&super::now(input, context), outputs, false)
}

pub(super) fn delta(input: &Rel, outputs: &[(String, Scalar)], context: &Context) -> Option<String> {
    Some(select(&super::delta(input, context)?, outputs, true))
}

fn select(input: &str, outputs: &[(String, Scalar)], weight: bool) -> String {
    let computed = outputs
        .iter()
        .enumerate()
        .map(|(i, (_, scalar))| format!("{} AS {}", scalar.render(|i| format!("p.{}", column(i))), column(i)));
    format!("SELECT {} FROM ({input}) AS p", list(computed.chain(weight.then(|| "p.w".into()))))
}
