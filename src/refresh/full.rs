//! A full refresh: inner states are emptied and filled, the stream table is changed by the difference between its
//! contents and the query's. No TRUNCATE and no exclusive lock: readers see the old contents until the commit, and stream
//! tables that read this one get the difference as their delta.

use super::prepared::{Prepared, Step};
use super::stages::counts;
use crate::catalog::StreamTable;
use crate::error::Result;
use crate::pg::executor::Sink;
use crate::pg::settings::MaintenanceMemory;
use crate::pg::snapshot::Snapshot;

/// Makes `table` equal to its query at `snapshot`; returns the rows inserted and deleted.
pub(super) fn recompute((table, prepared): (&StreamTable, &Prepared), snapshot: &Snapshot) -> Result<(i64, i64)> {
    prepared.check(table)?;
    let _memory = MaintenanceMemory::new();
    let last = prepared.program.stages.len() - 1;
    for stage in 0..last {
        if table.is_populated {
            prepared.statement(Step::Clear { stage }, &[]).execute(Some(snapshot), &[], &[], Sink::Discard);
        }
        prepared.statement(Step::Fill { stage }, &[]).execute(Some(snapshot), &[], &[], Sink::Discard);
    }
    if !table.is_populated {
        let filled =
            prepared.statement(Step::Fill { stage: last }, &[]).execute(Some(snapshot), &[], &[], Sink::Discard);
        return Ok((filled as i64, 0));
    }
    let statement = prepared.statement(Step::Recompute { stored_size: prepared.stored_size() }, &[]);
    let mut result = statement.result_store();
    statement.execute(Some(snapshot), &[], &[], Sink::Store(&mut result));
    counts(&result, table)
}
