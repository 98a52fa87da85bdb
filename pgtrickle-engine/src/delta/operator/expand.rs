//! `Δ(R ⟕ f) = ΔR ⟕ f`: what an item of FROM yields for a row depends on that row alone, so it is linear.
//!
//! Without a row of `f` an inner expansion drops the row and an outer one pads it, for old rows as for new ones.

use super::{Context, all_columns, column};
use crate::query::scalar::render;
use crate::query::{Item, Rel, Scalar};
use crate::sql::{conjunction, list};

pub(super) fn now(input: &Rel, item: &Item, on: &[Scalar], outer: bool, context: &Context) -> String {
    select(&super::now(input, context), input.columns().len(), item, on, outer, false)
}

pub(super) fn delta(input: &Rel, item: &Item, on: &[Scalar], outer: bool, context: &Context) -> Option<String> {
    Some(select(&super::delta(input, context)?, input.columns().len(), item, on, outer, true))
}

fn select(input: &str, width: usize, item: &Item, on: &[Scalar], outer: bool, weight: bool) -> String {
    let name = |position: usize| match position < width {
        true => format!("e.{}", column(position)),
        false => format!("f.{}", column(position)),
    };
    let places = 0..width + item.columns.len();
    let aliases = list(places.clone().skip(width).map(column));
    let kept = all_columns("e", width, false);
    let yielded = places.skip(width).map(name).chain(weight.then(|| "e.w".into()));
    let outputs = list((!kept.is_empty()).then_some(kept).into_iter().chain(yielded));
    let on = match on.is_empty() {
        true => "true".into(),
        false => conjunction(on.iter().map(|predicate| predicate.render(name))),
    };
    let join = if outer { "LEFT JOIN" } else { "JOIN" };
    format!("SELECT {outputs} FROM ({input}) AS e {join} LATERAL {} AS f({aliases}) ON {on}", render(&item.text, name))
}
