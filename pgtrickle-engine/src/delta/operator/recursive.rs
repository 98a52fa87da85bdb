//! WITH RECURSIVE. `R = B ⊎ S(R)` with UNION ALL, where `S` is linear in `R`:
//!
//! ```text
//! X(0) = ΔB + ΔS(R_old)      X(i+1) = S_new(X(i))      ΔR = Σ X(i)
//! ```
//!
//! exact bag algebra with signed weights, deletions included: one WITH RECURSIVE that carries `w`, and starts from the
//! changes alone. Positive rows are rows of the new result. Negative ones walk `S_new` from rows that left, and are rows of
//! the old result as long as nothing that `S` gained extends their paths; else the two could follow each other round a new
//! cycle that no row of the new result reaches. So when rows left and `S(R_old)` gained some, where `S` is not linear, or where
//! it compares with the clock, the recursion is run anew and compared with the stored rows. With UNION: [`super::rederive`].
//!
//! A recursion need not end. Each step asks [`STEP`] first, once, which counts them.

use super::{Context, Working, all_columns, column, rederive};
use crate::delta::zset::difference;
use crate::query::analysis::clock::yields_truth;
use crate::query::{Column, Rel};
use crate::sql::list;
use std::collections::BTreeSet;

/// True, or an error when too many steps have asked. It reads no column, so that it is asked once in each step.
pub(super) const STEP: &str = "pgtrickle._recursion_step()";

pub(super) fn now(base: &Rel, step: &Rel, all: bool, columns: &[Column], context: &Context) -> String {
    let working = Working { now: "r".into(), delta: None };
    let inside = Context { working: Some(working), changed: &BTreeSet::new(), ..*context };
    let (base, step) = (typed(&super::now(base, &inside), columns), typed(&super::now(step, &inside), columns));
    let union = if all { "UNION ALL" } else { "UNION" };
    let names = names(columns.len());
    format!("WITH RECURSIVE r({names}) AS (({base}) {union} ({step} WHERE {STEP})) SELECT {names} FROM r")
}

pub(super) fn delta(base: &Rel, step: &Rel, all: bool, columns: &[Column], context: &Context) -> Option<String> {
    let own = context.own.expect("a recursion has a stage of its own");
    let stored = Working { now: own.rows.clone(), delta: None };
    let before = Context { working: Some(stored), ..*context };
    let seeds = [base, step].map(|input| super::delta(input, &before).map(|seed| weighted(&seed, columns)));
    if seeds.iter().all(Option::is_none) {
        return None;
    }
    let anew = difference(&now(base, step, all, columns, context), &own.rows, &stored_columns(columns));
    if !is_linear(step) {
        return Some(anew);
    }
    if !all {
        let seeds = seeds.into_iter().flatten().collect::<Vec<_>>().join(") UNION ALL (");
        return rederive::delta(base, step, &format!("({seeds})"), columns, context).or(Some(anew));
    }
    let moving = Working { now: "x".into(), delta: Some("x".into()) };
    let onward = Context { working: Some(moving), changed: &BTreeSet::new(), ..*context };
    let onward = format!("{} WHERE {STEP}", weighted(&super::delta(step, &onward)?, columns));
    let names = names(columns.len());
    let walk = |with: &str, seed: &str, rest: &str| {
        let x = format!("x({names}, w) AS ({seed} UNION ALL ({onward}))");
        Some(format!("WITH RECURSIVE {with}{x} SELECT {names}, w FROM x{rest}"))
    };
    let [of_base, of_step] = seeds;
    let Some(of_step) = of_step else {
        return walk("", &format!("({})", of_base.unwrap_or_default()), "");
    };
    let both = of_base.map_or(of_step.clone(), |of_base| format!("({of_base}) UNION ALL ({of_step})"));
    let with = format!(
        "s AS MATERIALIZED ({both}), g AS MATERIALIZED (SELECT EXISTS (SELECT FROM s WHERE s.w < 0) \
         AND EXISTS (SELECT FROM ({of_step}) AS b WHERE b.w > 0) AS both_ways), "
    );
    let seed = format!("SELECT {names}, s.w FROM s WHERE NOT (SELECT g.both_ways FROM g)");
    let rest = format!(" UNION ALL SELECT {names}, a.w FROM ({anew}) AS a WHERE (SELECT g.both_ways FROM g)");
    walk(&with, &seed, &rest)
}

pub(super) fn working_now(columns: &[Column], context: &Context) -> String {
    let relation = &context.working.as_ref().expect("it stands in the step of a recursion").now;
    format!("SELECT {} FROM {relation} AS t", all_columns("t", columns.len(), false))
}

pub(super) fn working_delta(columns: &[Column], context: &Context) -> Option<String> {
    let relation = context.working.as_ref()?.delta.as_ref()?;
    Some(format!("SELECT {} FROM {relation} AS t", all_columns("t", columns.len(), true)))
}

/// The columns as the state of the recursion has them: `c1 …`.
pub fn stored_columns(columns: &[Column]) -> Vec<Column> {
    columns.iter().enumerate().map(|(position, c)| Column { name: column(position), ..c.clone() }).collect()
}

/// A change of [`Rel::Working`] passes through `step` on its own: nothing between them counts, orders or compares rows, and
/// nothing follows the clock.
fn is_linear(step: &Rel) -> bool {
    fn passes(rel: &Rel) -> bool {
        match rel {
            Rel::OuterJoin { .. } | Rel::SemiJoin { .. } if rel.reads_working() => false,
            Rel::Filter { predicates, .. } if predicates.iter().any(|predicate| predicate.reads_clock()) => false,
            _ => !yields_truth(rel) && rel.inputs().into_iter().all(passes),
        }
    }
    passes(step)
}

fn names(width: usize) -> String {
    list((0..width).map(column))
}

/// PostgreSQL wants both terms of a recursion to have the very same types.
pub(super) fn typed(select: &str, columns: &[Column]) -> String {
    let cast = |(i, c): (usize, &Column)| format!("CAST(b.{0} AS {1}) AS {0}", column(i), c.ty.sql);
    format!("SELECT {} FROM ({select}) AS b", list(columns.iter().enumerate().map(cast)))
}

pub(super) fn weighted(select: &str, columns: &[Column]) -> String {
    let cast = |(i, c): (usize, &Column)| format!("CAST(b.{0} AS {1}) AS {0}", column(i), c.ty.sql);
    let outputs = columns.iter().enumerate().map(cast).chain(["b.w::int4 AS w".into()]);
    format!("SELECT {} FROM ({select}) AS b", list(outputs))
}
