//! `L ⟕ R = (L ⋈ R) ⊎ (L ▷ R)×NULL`, and for the full join also `(R ▷ L)×NULL` on the other side. Its delta is the sum of
//! theirs; an outer join is not bilinear. Where only L changed, `Δ(L ⟕ R) = ΔL ⟕ R`.
//!
//! The content is PostgreSQL's own outer join. Where both sides changed, a row may come as unmatched and go again as it meets
//! its match; the terms are consolidated, so that nothing above sees a row that never was.

use super::semi_join::Operands;
use super::{Context, all_columns, column, join, semi_join};
use crate::delta::zset::consolidate;
use crate::query::analysis::clock::yields_truth;
use crate::query::rel::{Side, Yield, outer_columns};
use crate::query::{Rel, Scalar};
use crate::sql::{conjunction, list};

pub(super) fn now(left: &Rel, right: &Rel, predicates: &[Scalar], side: Side, context: &Context) -> String {
    let word = match side {
        Side::Left => "LEFT",
        Side::Both => "FULL",
    };
    let [l, r] = [left, right].map(|input| super::now(input, context));
    let columns = list(columns(left, right));
    format!("SELECT {columns} FROM ({l}) AS l {word} JOIN ({r}) AS r ON {}", condition(left, predicates))
}

/// The columns of the rows `l` and `r`, numbered through.
fn columns(left: &Rel, right: &Rel) -> impl Iterator<Item = String> {
    let width = left.columns().len();
    (0..width + right.columns().len()).map(move |place| format!("{} AS {}", name(place, width), column(place)))
}

fn condition(left: &Rel, predicates: &[Scalar]) -> String {
    let width = left.columns().len();
    conjunction(predicates.iter().map(|predicate| predicate.render(|place| name(place, width))))
}

fn name(place: usize, width: usize) -> String {
    if place < width { format!("l.{}", column(place)) } else { format!("r.{}", column(place - width)) }
}

pub(super) fn delta(left: &Rel, right: &Rel, predicates: &[Scalar], side: Side, context: &Context) -> Option<String> {
    let changes = [left, right].map(|input| super::delta(input, context));
    if let ([Some(change), None], Side::Left) = (&changes, side) {
        let columns = list(columns(left, right).chain(["l.w".into()]));
        let r = super::now(right, context);
        return Some(format!(
            "SELECT {columns} FROM ({change}) AS l LEFT JOIN ({r}) AS r ON {}",
            condition(left, predicates)
        ));
    }
    let both = changes.iter().all(Option::is_some);
    let (with, changes) = named([left, right], changes);
    let swapped_changes = [changes[1].clone(), changes[0].clone()];
    let inputs = [left.clone(), right.clone()];
    let (wide, narrow) = (left.columns(), right.columns());
    let nulls = |columns: &[crate::query::Column]| {
        columns.iter().map(|column| format!("NULL::{}", column.ty.sql)).collect::<Vec<_>>()
    };
    let unmatched = |left: &Rel, right: &Rel, predicates: &[Scalar], changes: [Option<String>; 2]| {
        semi_join::delta_of(Operands { left, right, predicates, yields: &Yield::Unmatched }, changes, context)
    };
    let mut terms = Vec::new();
    terms.extend(
        join::delta_of(&inputs, changes.to_vec(), predicates, context)
            .map(|inner| format!("SELECT {} FROM ({inner}) AS o", all_columns("o", wide.len() + narrow.len(), true))),
    );
    terms.extend(unmatched(left, right, predicates, changes).map(|alone| {
        let columns = (0..wide.len()).map(|place| format!("o.{}", column(place))).chain(nulls(&narrow));
        format!("SELECT {} FROM ({alone}) AS o", list(columns.chain(["o.w".into()])))
    }));
    if side == Side::Both {
        let swapped: Vec<Scalar> = predicates
            .iter()
            .map(|p| p.remap(|place| if place < wide.len() { place + narrow.len() } else { place - wide.len() }))
            .collect();
        terms.extend(unmatched(right, left, &swapped, swapped_changes).map(|alone| {
            let columns = nulls(&wide).into_iter().chain((0..narrow.len()).map(|place| format!("o.{}", column(place))));
            format!("SELECT {} FROM ({alone}) AS o", list(columns.chain(["o.w".into()])))
        }));
    }
    if terms.is_empty() {
        return None;
    }
    let columns = outer_columns(&wide, &narrow, side);
    let named = (0..columns.len()).map(column).chain(["w".into()]);
    let all = format!(
        "SELECT * FROM ({}) AS o({})",
        terms.iter().map(|term| format!("({term})")).collect::<Vec<_>>().join(" UNION ALL "),
        list(named)
    );
    let all = if both { consolidate(&all, &columns) } else { all };
    Some(format!("{with}{all}"))
}

/// Its change is more than that of one leaf.
fn branches(rel: &Rel) -> bool {
    match rel {
        Rel::Scan(_) | Rel::Stage { .. } => false,
        _ if yields_truth(rel) => true,
        Rel::Filter { input, .. } | Rel::Project { input, .. } | Rel::Expand { input, .. } => branches(input),
        _ => true,
    }
}

/// The changes of both sides, which several terms read: what is more than the change of a leaf gets a name, and its text is
/// there once. Else each outer join of a chain would double the text.
fn named(inputs: [&Rel; 2], changes: [Option<String>; 2]) -> (String, [Option<String>; 2]) {
    let mut with = Vec::new();
    let mut changes = changes;
    for ((input, change), name) in inputs.into_iter().zip(&mut changes).zip(["dl", "dr"]) {
        if let Some(text) = change.take_if(|_| branches(input)) {
            with.push(format!("{name} AS MATERIALIZED ({text})"));
            *change = Some(format!("SELECT * FROM {name}"));
        }
    }
    let with = if with.is_empty() { String::new() } else { format!("WITH {} ", list(with)) };
    (with, changes)
}
