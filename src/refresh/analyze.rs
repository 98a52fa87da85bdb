//! What the next refresh would do and cost, found out by doing it and undoing it.

use super::{attempt, load, may_refresh, moves_by_itself, pending, plan};
use crate::catalog::{self, StreamTable};
use crate::error::{Error, Result};
use crate::pg::definition;
use crate::pg::object;
use crate::pg::plans;
use crate::pg::security::RunAs;
use crate::pg::settings::PinnedSettings;
use crate::pg::snapshot::Snapshot;
use crate::pg::transaction::{Caught, undone};
use crate::pg::utility;

/// The plans of the statements by which a refresh now would bring `table` up to date, with their times and buffers. When
/// there is nothing to bring in, the plan of the defining query.
///
/// # Errors
/// As a refresh now; `Busy` (55006) when one is under way.
pub fn explain_analyze(table: &StreamTable) -> std::result::Result<String, Caught> {
    let plans = undone(|| plans_of_refresh(table))?;
    Ok(if plans.is_empty() { plan_of_query(table)? } else { plans.join("\n") })
}

fn plans_of_refresh(table: &StreamTable) -> std::result::Result<Vec<String>, Caught> {
    may_refresh(table)?;
    let Some(table) = catalog::lock(table.id)? else { return Err(Error::Busy(table.shown()).into()) };
    // From here on only the statements of the refresh itself are to run.
    let prepared = load(&table)?;
    let snapshot = Snapshot::take().advanced();
    let edges = catalog::sources_of(table.id)?;
    let pending = pending(&table, &edges, &snapshot);
    let (outcome, plans) = plans::collect(|| {
        let plan = plan::choose((&table, &edges), &snapshot, pending)?;
        if plan.still && !moves_by_itself(&table) {
            return Ok(());
        }
        attempt((&table, &prepared), (&plan.changes, plan.renewed), &snapshot, plan.method).map(|_| ())
    });
    outcome.map(|()| plans)
}

/// The plan of the defining query as it runs now.
fn plan_of_query(table: &StreamTable) -> Result<String> {
    let owner = object::owner(table.relid).ok_or_else(|| Error::NotFound(table.name.to_string()))?;
    let known = catalog::definition(table.id)?;
    let query = definition::sql(&known.analysed)?;
    let _rights = RunAs::owner(owner);
    let _settings = PinnedSettings::of(&known.settings);
    Ok(utility::lines(&format!("EXPLAIN (ANALYZE, BUFFERS) {query}")).join("\n"))
}
