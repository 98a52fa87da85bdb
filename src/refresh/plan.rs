//! How a refresh is to be done: differential or full, and by what.

use super::{as_owner, has_polled, load, poll, usable_frontier};
use crate::catalog::{Dependency, Mode, StreamTable};
use crate::cdc::{Changes, Pending};
use crate::config::{self, RefreshStrategy};
use crate::error::Result;
use crate::pg::object;
use crate::pg::snapshot::Snapshot;
use pgtrickle_engine::policy::{Costs, Facts, Method, Strategy};

/// How a refresh is to be done, and what it is to apply.
pub(super) struct Plan {
    pub(super) method: Method,
    /// What is applied; empty for a recomputation.
    pub(super) changes: Vec<(u32, Changes)>,
    /// How many rows changed, of each source; what was not read is estimated.
    pub(super) rows: Vec<(u32, u64)>,
    /// Whose buffers the refresh consumes.
    pub(super) sources: Vec<u32>,
    /// The stage whose state is renewed, and no changes applied to it.
    pub(super) renewed: Option<usize>,
    /// Nothing has changed.
    pub(super) still: bool,
}

/// So many changes are always read.
const FEWEST_READ: u64 = 512;
/// What it takes to read a changed row and to compute with it, as the planner counts: a page, in memory, is 0.25.
const COST_OF_CHANGE: f64 = 0.1;

/// Chooses differential or full. Rows are not read before, only counted, where that is all that the choice takes.
pub(super) fn choose(
    (table, edges): (&StreamTable, &[Dependency]),
    snapshot: &Snapshot,
    mut pending: Option<Pending>,
) -> Result<Plan> {
    let recomputes = may_choose(table) && config::refresh_strategy() == RefreshStrategy::Full;
    if let Some(pending) = pending.as_mut().filter(|_| table.refusal.is_none() && !has_polled(edges) && !recomputes)
        && pending.any()?
        && let Some(plan) = renewal(table, pending)?
    {
        return Ok(plan);
    }
    let mut chosen = None;
    if let Some(pending) = pending.as_mut().filter(|_| may_choose(table) && !has_polled(edges)) {
        let rows = pending.count()?;
        let method = policy((table, edges), &rows);
        if method == Method::Full && !rows.is_empty() {
            let sources = rows.iter().map(|(source, _)| *source).collect();
            return Ok(Plan { method, changes: Vec::new(), rows, sources, renewed: None, still: false });
        }
        chosen = Some(Method::Differential);
    }
    let read = pending.map(Pending::read).transpose()?;
    let sources: Vec<u32> = match &read {
        Some(changes) => changes.iter().map(|(source, _)| *source).collect(),
        None => edges.iter().filter(|edge| edge.captured).map(|edge| edge.source).collect(),
    };
    let changes = poll::look(table, edges, snapshot, read)?;
    // What a buffer told of is consumed, also where it made no difference.
    let still = changes.as_ref().is_some_and(Vec::is_empty) && sources.is_empty();
    let changes = changes.unwrap_or_default();
    let rows: Vec<(u32, u64)> = changes.iter().map(|(source, read)| (*source, read.rows)).collect();
    let truncated = changes.iter().any(|(_, read)| read.truncated);
    let method = match usable_frontier(table) {
        // There is no old content to start from, no program, or the rows do not tell.
        None => Method::Full,
        Some(_) if truncated || table.refusal.is_some() || table.mode == Mode::Full => Method::Full,
        Some(_) if may_choose(table) => chosen.unwrap_or_else(|| policy((table, edges), &rows)),
        Some(_) => Method::Differential,
    };
    Ok(Plan { method, changes, rows, sources, renewed: None, still })
}

/// To renew the state of a stage, where that takes less than reading the changes.
fn renewal(table: &StreamTable, pending: &mut Pending) -> Result<Option<Plan>> {
    let prepared = load(table)?;
    let Some(stage) = prepared.reads.renewable else { return Ok(None) };
    let rows = pending.count()?;
    let changed: u64 = rows.iter().map(|(_, rows)| rows).sum();
    if changed < FEWEST_READ {
        return Ok(None);
    }
    let cost = as_owner((table, &prepared), || Ok(prepared.cost_of_renewal(stage)))?;
    let sources = rows.iter().map(|(source, _)| *source).collect();
    let plan =
        Plan { method: Method::Differential, changes: Vec::new(), rows, sources, renewed: Some(stage), still: false };
    Ok((cost < COST_OF_CHANGE * changed as f64).then_some(plan))
}

/// Either way leads to the contents, and it is for the policy to say which.
pub(super) fn may_choose(table: &StreamTable) -> bool {
    table.mode == Mode::Auto && table.refusal.is_none()
}

/// What the policy is to know of a change of so many rows of each source.
fn facts((table, edges): (&StreamTable, &[Dependency]), rows: &[(u32, u64)]) -> Facts {
    let stored =
        |source: u32| edges.iter().find(|edge| edge.source == source).and_then(|edge| edge.snapshot).unwrap_or(source);
    Facts {
        changed_rows: rows.iter().map(|(_, rows)| rows).sum(),
        source_rows: rows.iter().map(|(source, _)| object::estimated_rows(stored(*source))).sum(),
        costs: table.costs,
    }
}

/// What the policy says.
fn policy(of: (&StreamTable, &[Dependency]), rows: &[(u32, u64)]) -> Method {
    let strategy = match config::refresh_strategy() {
        RefreshStrategy::Auto => Strategy::Auto,
        RefreshStrategy::Differential => Strategy::Differential,
        RefreshStrategy::Full => Strategy::Full,
    };
    pgtrickle_engine::policy::choose(strategy, facts(of, rows), config::differential_max_change_ratio()).method
}

/// What is known of the costs of an AUTO stream table after a refresh with so many changed rows.
pub(super) fn learned(
    of: (&StreamTable, &[Dependency]),
    method: Method,
    rows: &[(u32, u64)],
    ms: f64,
) -> Option<Costs> {
    let change = || facts(of, rows).change(config::differential_max_change_ratio());
    may_choose(of.0).then(|| match method {
        Method::Full => of.0.costs.after_full(change(), ms),
        Method::Differential => of.0.costs.after_differential(change(), ms),
    })
}
