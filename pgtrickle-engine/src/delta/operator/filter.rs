//! `Δσ_p(R) = σ_p(ΔR)`: selection is linear.

use super::{Context, all_columns, column};
use crate::query::{Rel, Scalar};
use crate::sql::conjunction;

pub(super) fn now(input: &Rel, predicates: &[Scalar], context: &Context) -> String {
    select(&super::now(input, context), input.columns().len(), predicates, false)
}

pub(super) fn delta(input: &Rel, predicates: &[Scalar], context: &Context) -> Option<String> {
    Some(select(&super::delta(input, context)?, input.columns().len(), predicates, true))
}

fn select(input: &str, width: usize, predicates: &[Scalar], weight: bool) -> String {
    let conditions = predicates.iter().map(|predicate| predicate.render(|i| format!("f.{}", column(i))));
    format!("SELECT {} FROM ({input}) AS f WHERE {}", all_columns("f", width, weight), conjunction(conditions))
}
