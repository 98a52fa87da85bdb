//! A full refresh: inner states are emptied and filled, the stream table is changed by the difference between its
//! contents and the query's. No TRUNCATE and no exclusive lock: readers see the old contents until the commit, and stream
//! tables that read this one get the difference as their delta.
//!
//! A statement that writes is never executed in parallel. So where the planner would compute a content in parallel, that is done
//! by a statement of its own, and what it yields is stored by another.

use super::prepared::{CONTENT, Prepared, Step, size_class};
use super::stages::counts;
use crate::catalog::StreamTable;
use crate::error::Result;
use crate::pg::executor::{Named, Sink};
use crate::pg::settings::MaintenanceMemory;
use crate::pg::snapshot::Snapshot;
use crate::pg::tuplestore::TupleStore;

/// Makes `table` equal to its query at `snapshot`; returns the rows inserted and deleted.
pub(super) fn recompute((table, prepared): (&StreamTable, &Prepared), snapshot: &Snapshot) -> Result<(i64, i64)> {
    prepared.check(table)?;
    let _memory = MaintenanceMemory::new();
    let last = prepared.program.stages.len() - 1;
    for stage in 0..last {
        if table.is_populated {
            prepared.statement(Step::Clear { stage }, &[]).execute(Some(snapshot), &[], &[], Sink::Discard);
        }
        fill(prepared, stage, snapshot);
    }
    if !table.is_populated {
        return Ok((fill(prepared, last, snapshot) as i64, 0));
    }
    let content = computed(prepared, last, snapshot);
    let content = named(content.as_ref());
    let step = Step::Recompute { computed: sized(&content), stored_size: prepared.stored_size() };
    let statement = prepared.statement(step, &content);
    let mut result = statement.result_store();
    statement.execute(Some(snapshot), &[], &content, Sink::Store(&mut result));
    counts(&result, table)
}

/// Fills the stored result of `stage`, which is empty; returns how many rows it has.
fn fill(prepared: &Prepared, stage: usize, snapshot: &Snapshot) -> u64 {
    let content = computed(prepared, stage, snapshot);
    let content = named(content.as_ref());
    let statement = prepared.statement(Step::Fill { stage, computed: sized(&content) }, &content);
    statement.execute(Some(snapshot), &[], &content, Sink::Discard)
}

/// The size class of what was computed, if it was.
fn sized(content: &[Named]) -> Option<u32> {
    content.first().map(|content| size_class(content.store.rows()))
}

/// The content of `stage`, if the planner would compute it in parallel and that makes no difference to it.
fn computed(prepared: &Prepared, stage: usize, snapshot: &Snapshot) -> Option<TupleStore> {
    if !prepared.program.is_steady_in_parallel() {
        return None;
    }
    let statement = prepared.statement(Step::Content { stage, stored_size: prepared.stored_size() }, &[]);
    if !statement.is_parallel() {
        return None;
    }
    let mut content = statement.result_store();
    statement.execute(Some(snapshot), &[], &[], Sink::Store(&mut content));
    Some(content)
}

fn named(content: Option<&TupleStore>) -> Vec<Named<'_>> {
    content.map(|store| Named { name: CONTENT.into(), store, of: None }).into_iter().collect()
}
