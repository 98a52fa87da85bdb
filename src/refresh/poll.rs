//! Sources that nothing captures: what they are now against what they were at the last look, which a table of the stream
//! table's own holds (`pgtrickle_engine::delta::polled`).
//!
//! A materialized view is looked at when its buffer tells of a REFRESH, a foreign table at every refresh. Whatever is looked at
//! is looked at before the stages run, and they read the snapshot: so a refresh sees one content of the source. The snapshot
//! changes in the transaction of the contents, under the lock on the stream table's row.

use super::prepared::{Prepared, Step, size_class};
use super::stages::counts;
use super::{load, storage};
use crate::catalog::{Dependency, StreamTable};
use crate::cdc::Changes;
use crate::error::{Error, Result};
use crate::pg::executor::Sink;
use crate::pg::object;
use crate::pg::security::RunAs;
use crate::pg::settings::{PinnedSettings, WholeTables};
use crate::pg::snapshot::Snapshot;
use pgtrickle_engine::delta::Leaf;

/// Replaces what the buffers told of polled sources by their differences. `changes` are those of all sources since the frontier;
/// `None` looks at everything, for a recomputation.
///
/// # Errors
/// What reading the sources raises.
pub(super) fn look(
    table: &StreamTable,
    edges: &[Dependency],
    snapshot: &Snapshot,
    changes: Option<Vec<(u32, Changes)>>,
) -> Result<Option<Vec<(u32, Changes)>>> {
    let polled: Vec<&Dependency> = edges.iter().filter(|edge| edge.snapshot.is_some()).collect();
    if polled.is_empty() {
        return Ok(changes);
    }
    let told = |edge: &Dependency| {
        let changes = changes.as_ref();
        !edge.captured || changes.is_none_or(|changes| changes.iter().any(|(source, _)| *source == edge.source))
    };
    let looked_at: Vec<u32> = polled.iter().filter(|edge| told(edge)).map(|edge| edge.source).collect();
    let differences = differences(table, snapshot, &looked_at)?;
    Ok(changes.map(|changes| {
        let captured = |source: &u32| polled.iter().all(|edge| edge.source != *source);
        let kept = changes.into_iter().filter(|(source, _)| captured(source));
        kept.chain(differences.into_iter().filter(|(_, difference)| !difference.is_empty())).collect()
    }))
}

/// Brings the snapshots of `sources` up to date, as the owner of the stream table; returns how they changed.
fn differences(table: &StreamTable, snapshot: &Snapshot, sources: &[u32]) -> Result<Vec<(u32, Changes)>> {
    let owner = object::owner(table.relid).ok_or_else(|| Error::NotFound(table.shown()))?;
    let _rights = RunAs::owner(owner);
    let _settings = PinnedSettings::new();
    let _rows = WholeTables::new();
    let prepared = load(table)?;
    let known = sources.iter().copied().filter(|source| prepared.polled(*source).is_some());
    known.map(|source| Ok((source, difference(&prepared, source, snapshot, table)?))).collect()
}

/// Brings one snapshot up to date; returns how it changed.
fn difference(prepared: &Prepared, source: u32, snapshot: &Snapshot, table: &StreamTable) -> Result<Changes> {
    let stored_size = prepared.stored_size();
    let statement = prepared.statement(Step::Look { source, stored_size }, &[]);
    let mut store = statement.result_store();
    statement.execute(Some(snapshot), &[], &[], Sink::Store(&mut store));
    if store.rows() > 0 {
        let relations = [prepared.named(Leaf::Source(source), &store)];
        let step = Step::Keep { source, delta_size: size_class(store.rows()), stored_size };
        let statement = prepared.statement(step, &relations);
        let mut result = statement.result_store();
        statement.execute(Some(snapshot), &[], &relations, Sink::Store(&mut result));
        counts(&result, table)?;
    }
    Ok(Changes::of(store))
}

/// Fills the snapshots of a new stream table, on behalf of its owner.
pub(super) fn fill(table: &StreamTable, snapshot: &Snapshot) -> Result<()> {
    let prepared = load(table)?;
    prepared.polled.iter().try_for_each(|polled| difference(&prepared, polled.relid, snapshot, table).map(|_| ()))
}

/// Gathers the planner's statistics of freshly filled snapshots.
pub(super) fn analyze(prepared: &Prepared) {
    storage::analyze(prepared.polled.iter().map(|polled| polled.snapshot.clone()));
}
