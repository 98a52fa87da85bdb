//! A differential refresh: every stage whose leaves changed, bottom-up. A stage's applied delta, what really changed in
//! its state, is the change that its parents read.

use super::prepared::{CHANGE, Prepared, Step, size_class};
use crate::catalog::StreamTable;
use crate::cdc::Changes;
use crate::error::{Error, Result};
use crate::pg::analyze::may_read;
use crate::pg::clock;
use crate::pg::executor::{Named, Param, Sink};
use crate::pg::rowwise;
use crate::pg::settings::WarmPages;
use crate::pg::snapshot::Snapshot;
use crate::pg::tuplestore::TupleStore;
use pgtrickle_engine::delta::{Leaf, Program};

/// The size class of changes after which the stream table is changed row by row.
const FEW: u32 = 0;
/// Changed rows of the stream table that are applied one by one.
const MOST_ROWS: u64 = 32;

/// One row that was inserted or deleted, or one that was updated, has nothing to cancel; one that came and went has.
fn may_cancel(read: &Changes) -> bool {
    read.rows > 2 || (read.rows == 2 && !read.one_command)
}

/// Applies `changes` to `table`; returns the rows inserted and deleted.
pub(super) fn differential(
    (table, prepared): (&StreamTable, &Prepared),
    changes: &[(u32, Changes)],
    snapshot: &Snapshot,
) -> Result<(i64, i64)> {
    prepared.check(table)?;
    check_rights(&prepared.program)?;
    let consolidated = changes.iter().any(|(_, read)| may_cancel(read));
    let stores: Vec<TupleStore> = match consolidated {
        true => changes.iter().map(|(source, read)| consolidate(prepared, *source, read, snapshot)).collect(),
        false => Vec::new(),
    };
    let read = changes.iter().enumerate().map(|(i, (source, read))| (*source, stores.get(i).unwrap_or(&read.store)));
    let sources: Vec<(u32, &TupleStore)> = read.collect();
    let stored_size = prepared.stored_size();
    let clock = table.frontier.as_ref().and_then(|frontier| frontier.clock);
    let last = prepared.program.stages.len() - 1;
    let mut applied: Vec<(usize, TupleStore)> = Vec::new();
    for stage in 0..=last {
        let reads = prepared.program.stages[stage].leaves();
        let sources = sources.iter().map(|(source, store)| (Leaf::Source(*source), *store));
        let stages = applied.iter().map(|(stage, store)| (Leaf::Stage(*stage), store));
        let changed: Vec<(Leaf, &TupleStore)> =
            sources.chain(stages).filter(|(leaf, store)| reads.contains(leaf) && store.rows() > 0).collect();
        let moved = clock.filter(|_| reads.contains(&Leaf::Clock));
        if changed.is_empty() && moved.is_none() {
            continue;
        }
        let rows = changed.iter().map(|(_, store)| store.rows()).sum();
        let leaves = changed.iter().map(|(leaf, _)| *leaf).chain(moved.map(|_| Leaf::Clock)).collect();
        let delta_size = size_class(rows);
        let rowwise = if stage == last && delta_size == FEW { prepared.rowwise() } else { None };
        let step = match rowwise {
            Some(_) => Step::Change { changed: leaves, consolidated, delta_size, stored_size },
            None => Step::Maintain { stage, changed: leaves, consolidated, delta_size, stored_size },
        };
        let relations: Vec<Named> = changed.iter().map(|(leaf, store)| prepared.named(*leaf, store)).collect();
        let parameters: Vec<Param> = moved.map(clock::parameter).into_iter().collect();
        let statement = prepared.statement_with(step, &parameters, &relations);
        let mut result = statement.result_store();
        let _warm = WarmPages::new();
        statement.execute(Some(snapshot), &parameters, &relations, Sink::Store(&mut result));
        if let Some(rows) = rowwise {
            return apply((table, prepared), &rows, &result, (snapshot, stored_size));
        }
        if stage == last {
            return counts(&result, table);
        }
        applied.push((stage, result));
    }
    Ok((0, 0))
}

/// Applies the change of the stream table: row by row when it is as small as what it came of, else by a statement.
fn apply(
    (table, prepared): (&StreamTable, &Prepared),
    rows: &rowwise::Table,
    change: &TupleStore,
    (snapshot, stored_size): (&Snapshot, u32),
) -> Result<(i64, i64)> {
    let done = (change.rows() <= MOST_ROWS).then(|| rows.apply(change, snapshot)).flatten();
    if let Some(done) = done {
        return balanced((done.inserted, done.deleted, done.net), table);
    }
    let relations = [Named { name: CHANGE.into(), store: change, of: None }];
    let step = Step::Apply { delta_size: size_class(change.rows()), stored_size };
    let statement = prepared.statement(step, &relations);
    let mut result = statement.result_store();
    statement.execute(Some(snapshot), &[], &relations, Sink::Store(&mut result));
    counts(&result, table)
}

/// Whether two inputs of the query changed, which a join may pair.
pub(super) fn meets_pairs(prepared: &Prepared, changes: &[(u32, Changes)]) -> bool {
    let scans = prepared.program.stages.iter().flat_map(|stage| stage.body.scans());
    if prepared.program.reads_clock() {
        return true;
    }
    scans.filter(|scan| changes.iter().any(|(source, _)| *source == scan.relid)).count() > 1
}

/// The changes of `source` without what cancels among them.
fn consolidate(prepared: &Prepared, source: u32, read: &Changes, snapshot: &Snapshot) -> TupleStore {
    let relations = [prepared.named(Leaf::Source(source), &read.store)];
    let step = Step::Consolidate { source, delta_size: size_class(read.rows) };
    let statement = prepared.statement(step, &relations);
    let mut result = statement.result_store();
    statement.execute(Some(snapshot), &[], &relations, Sink::Store(&mut result));
    result
}

/// The buffers are read by the extension, so that nothing else asks whether the owner may still read the sources.
///
/// # Errors
/// `Unreadable` (42501) when the current user, the stream table's owner, may not read what the program scans.
fn check_rights(program: &Program) -> Result<()> {
    for scan in program.stages.iter().flat_map(|stage| stage.body.scans()) {
        let columns: Vec<i16> = scan.columns.iter().map(|column| column.attnum).collect();
        if !may_read(scan.relid, &columns) {
            return Err(Error::Unreadable(scan.name.to_string()));
        }
    }
    Ok(())
}

/// The one row `(inserted, deleted, net)` that a statement on the stream table yields.
///
/// # Errors
/// `Mismatch` (55000) when the rows that changed are not those that the delta says.
pub(super) fn counts(result: &TupleStore, table: &StreamTable) -> Result<(i64, i64)> {
    let rows = result.read(|row| (row.get::<i64>(0), row.get::<i64>(1), row.get::<i64>(2)));
    match rows.as_slice() {
        [(Some(inserted), Some(deleted), Some(net))] => balanced((*inserted, *deleted, *net), table),
        _ => Err(Error::Internal("the statement that applies a delta returned no counts".into())),
    }
}

fn balanced((inserted, deleted, net): (i64, i64, i64), table: &StreamTable) -> Result<(i64, i64)> {
    if inserted - deleted == net { Ok((inserted, deleted)) } else { Err(Error::Mismatch(table.shown())) }
}
