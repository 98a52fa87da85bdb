//! A differential refresh: every stage whose leaves changed, bottom-up. A stage's applied delta, what really changed in
//! its state, is the change that its parents read.

use super::full;
use super::novel::Novel;
use super::prepared::{CHANGE, Extents, Prepared, Step, size_class};
use super::reads::Reads;
use crate::catalog::StreamTable;
use crate::cdc::Changes;
use crate::error::{Error, Result};
use crate::pg::analyze::may_read;
use crate::pg::clock;
use crate::pg::executor::{Named, Param, Sink};
use crate::pg::rowwise::Told;
use crate::pg::settings::WarmPages;
use crate::pg::snapshot::Snapshot;
use crate::pg::tuplestore::TupleStore;
use pgtrickle_engine::delta::{Found, Leaf};
use std::collections::BTreeSet;

/// The largest size class of changes that are few: of these it is asked first whether they reach a state.
const FEW: u32 = 1;

/// Whether something is to be taken out of the changes before they are read. One row that was inserted or deleted, or one that was updated,
/// has nothing to cancel; one that came and went has. What one command wrote to the only source that changed is left to those who read
/// it, if they consolidate it.
fn may_cancel(reads: &Reads, changes: &[(u32, Changes)]) -> bool {
    let any = changes.iter().any(|(_, read)| read.rows > 2 || (read.rows == 2 && !read.one_command));
    any && match changes {
        [(source, read)] => !(read.one_command && reads.regrouped.contains(source)),
        _ => true,
    }
}

/// Applies `changes` to `table`; returns the rows inserted and deleted.
/// The state of the stage `renewed` is compared with what it should be instead, and no changes of sources are read.
pub(super) fn differential(
    (table, prepared): (&StreamTable, &Prepared),
    (changes, renewed): (&[(u32, Changes)], Option<usize>),
    snapshot: &Snapshot,
) -> Result<(i64, i64)> {
    prepared.check(table)?;
    check_rights(&prepared.reads)?;
    let consolidated = may_cancel(&prepared.reads, changes);
    let stores: Vec<TupleStore> = match consolidated {
        true => changes.iter().map(|(source, read)| consolidate(prepared, *source, read, snapshot)).collect(),
        false => Vec::new(),
    };
    let read = changes.iter().enumerate().map(|(i, (source, read))| (*source, stores.get(i).unwrap_or(&read.store)));
    let sources: Vec<(u32, &TupleStore)> = read.collect();
    let novel = Novel::of(prepared, &sources);
    let run = Run { table, prepared, snapshot, consolidated, stored_size: prepared.stored_size(), novel };
    let clock = table.frontier.as_ref().and_then(|frontier| frontier.clock);
    let last = prepared.program.stages.len() - 1;
    let mut applied: Vec<(usize, TupleStore)> = Vec::new();
    for stage in 0..=last {
        if renewed == Some(stage) {
            // A state that cannot be changed row by row is filled anew.
            let Some(change) = run.renew(stage) else { return full::recompute((table, prepared), snapshot) };
            applied.push((stage, change));
            continue;
        }
        let reads = &prepared.reads.leaves[stage];
        let sources = sources.iter().map(|(source, store)| (Leaf::Source(*source), *store));
        let stages = applied.iter().map(|(stage, store)| (Leaf::Stage(*stage), store));
        let changed: Vec<(Leaf, &TupleStore)> =
            sources.chain(stages).filter(|(leaf, store)| reads.contains(leaf) && store.rows() > 0).collect();
        let moved = clock.filter(|_| reads.contains(&Leaf::Clock));
        if changed.is_empty() && moved.is_none() {
            continue;
        }
        let input = Input {
            stage,
            changed: changed.iter().map(|(leaf, _)| *leaf).chain(moved.map(|_| Leaf::Clock)).collect(),
            delta_size: size_class(changed.iter().map(|(_, store)| store.rows()).sum()),
            in_memory: changed.iter().all(|(_, store)| store.is_in_memory()),
            relations: changed.iter().map(|(leaf, store)| run.named(*leaf, store)).collect(),
            parameters: moved.map(clock::parameter).into_iter().collect(),
        };
        if stage == last {
            return run.last_stage(input);
        }
        let change = run.inner_stage(input);
        applied.push((stage, change));
    }
    Ok((0, 0))
}

/// What the stages of one refresh have in common.
struct Run<'a> {
    table: &'a StreamTable,
    prepared: &'a Prepared,
    snapshot: &'a Snapshot,
    consolidated: bool,
    stored_size: u32,
    novel: Novel,
}

/// The changes that a stage reads.
struct Input<'a> {
    stage: usize,
    changed: BTreeSet<Leaf>,
    delta_size: u32,
    /// Stored rows can be changed one by one.
    in_memory: bool,
    relations: Vec<Named<'a>>,
    parameters: Vec<Param>,
}

impl Run<'_> {
    /// Makes the state of an inner stage what it should be; returns what changed in it.
    fn renew(&self, stage: usize) -> Option<TupleStore> {
        let state = self.prepared.rowwise_state(stage)?;
        let _warm = WarmPages::new();
        let step = Step::Renew { stage, stored_size: self.stored_size };
        let statement = self.prepared.statement(step, &[]);
        let mut change = statement.result_store();
        statement.execute(Some(self.snapshot), &[], &[], Sink::Store(&mut change));
        state.exchange(&change, self.snapshot)
    }

    /// Brings the state of an inner stage up to date; returns what changed in it.
    fn inner_stage(&self, input: Input) -> TupleStore {
        if input.delta_size <= FEW && self.prepared.program.has_reach(input.stage) {
            let step = Step::Reach { stage: input.stage, changed: input.changed.clone(), input: self.extents(&input) };
            let reached = self.execute(step, &input);
            if reached.rows() == 0 {
                return reached;
            }
        }
        let found = self.prepared.program.found(input.stage, input.delta_size <= FEW).filter(|_| input.in_memory);
        let state = found.and_then(|found| Some((found, self.prepared.rowwise_state(input.stage)?)));
        if let Some((found, state)) = state {
            let step = Step::Find { stage: input.stage, changed: input.changed.clone(), input: self.extents(&input) };
            let change = self.execute(step, &input);
            let applied = match found {
                Found::Pairs { key } => state.replace(&change, &(0..key).collect::<Vec<_>>(), self.snapshot),
                Found::Places => state.exchange(&change, self.snapshot),
                Found::Images => state.apply(&change, Told::Image, self.snapshot).map(|_| change),
            };
            if let Some(applied) = applied {
                return applied;
            }
        }
        self.maintain(&input)
    }

    /// Brings the stream table up to date; returns the rows inserted and deleted.
    fn last_stage(&self, input: Input) -> Result<(i64, i64)> {
        let rows = if input.in_memory { self.prepared.rowwise() } else { None };
        let Some(rows) = rows else { return counts(&self.maintain(&input), self.table) };
        let step = Step::Change { changed: input.changed.clone(), input: self.extents(&input) };
        let change = self.execute(step, &input);
        if let Some(done) = rows.apply(&change, self.prepared.told(), self.snapshot) {
            return balanced((done.inserted, done.deleted, done.net), self.table);
        }
        let relations = [Named { name: CHANGE.into(), store: &change, of: None }];
        let step = Step::Apply { delta_size: size_class(change.rows()), stored_size: self.stored_size };
        let statement = self.prepared.statement(step, &relations);
        let mut result = statement.result_store();
        statement.execute(Some(self.snapshot), &[], &relations, Sink::Store(&mut result));
        counts(&result, self.table)
    }

    /// The change of `leaf` as statements read it.
    fn named<'a>(&self, leaf: Leaf, store: &'a TupleStore) -> Named<'a> {
        let change = self.prepared.named(leaf, store);
        if let Leaf::Source(source) = leaf { self.novel.told(source, change) } else { change }
    }

    fn extents(&self, input: &Input) -> Extents {
        Extents {
            consolidated: self.consolidated,
            delta_size: input.delta_size,
            stored_size: self.stored_size,
            novel: self.novel.sources.clone(),
        }
    }

    /// Has a statement bring the stage up to date.
    fn maintain(&self, input: &Input) -> TupleStore {
        let step = Step::Maintain { stage: input.stage, changed: input.changed.clone(), input: self.extents(input) };
        self.execute(step, input)
    }

    fn execute(&self, step: Step, input: &Input) -> TupleStore {
        let _warm = WarmPages::new();
        let statement = self.prepared.statement_with(step, &input.parameters, &input.relations);
        let mut result = statement.result_store();
        statement.execute(Some(self.snapshot), &input.parameters, &input.relations, Sink::Store(&mut result));
        result
    }
}

/// Whether two inputs of the query changed, which a join may pair.
pub(super) fn meets_pairs(prepared: &Prepared, changes: &[(u32, Changes)]) -> bool {
    let changed = |relid: u32| changes.iter().any(|(source, _)| *source == relid);
    prepared.reads.clock || prepared.reads.scans.iter().filter(|scan| changed(scan.relid)).count() > 1
}

/// The changes of `source` without what cancels among them, and those that may change something.
fn consolidate(prepared: &Prepared, source: u32, read: &Changes, snapshot: &Snapshot) -> TupleStore {
    let delta_size = size_class(read.rows);
    let (step, net) = match read.store.consolidated(&prepared.program.read_columns(source)) {
        Some(net) if prepared.program.wants_all(source) => return net,
        Some(net) => (Step::Want { source, delta_size }, Some(net)),
        None => (Step::Consolidate { source, delta_size }, None),
    };
    let change = net.as_ref().unwrap_or(&read.store);
    let relations = [prepared.named(Leaf::Source(source), change)];
    let statement = prepared.statement(step, &relations);
    let mut result = statement.result_store();
    statement.execute(Some(snapshot), &[], &relations, Sink::Store(&mut result));
    result
}

/// The buffers are read by the extension, so that nothing else asks whether the owner may still read the sources.
///
/// # Errors
/// `Unreadable` (42501) when the current user, the stream table's owner, may not read what the program scans.
fn check_rights(reads: &Reads) -> Result<()> {
    for scan in &reads.scans {
        if !may_read(scan.relid, &scan.columns) {
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
