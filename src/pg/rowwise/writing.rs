//! What the executor keeps of a table that it changes, and the changes row by row.

use super::lookup::Lookup;
use super::{Counts, Table, fill};
use crate::pg::rows::make_node;
use crate::pg::zset::ZSet;
use pgrx::pg_sys;
use std::ptr::null_mut;

pub(super) type Slot = *mut pg_sys::TupleTableSlot;

/// The rows on their way into a table.
pub(super) struct Writing<'a> {
    table: &'a Table,
    unchanged: &'a [usize],
    /// For a row that is stored, and for one that is to be.
    pub(super) stored: Slot,
    pub(super) written: Slot,
    executor: Option<Executor>,
    /// Nobody else changes a row that is changed here, so it holds nothing.
    others: Option<pg_sys::EPQState>,
}

/// The table with its indexes as the executor has them, from the first time on that they are needed.
#[derive(Clone, Copy)]
pub(super) struct Executor {
    pub(super) state: *mut pg_sys::EState,
    pub(super) result: *mut pg_sys::ResultRelInfo,
}

impl Executor {
    /// Frees what expressions of indexes have made for a row: the row, with its out-of-line values.
    pub(super) unsafe fn forget(self) {
        // SAFETY: nothing that is used any more lives there.
        unsafe {
            let context = (*self.state).es_per_tuple_exprcontext;
            if !context.is_null() {
                pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
            }
        }
    }

    /// As `create_edata_for_relation` in logical replication's worker.
    unsafe fn of(table: &Table, unchanged: &[usize]) -> Executor {
        // SAFETY: the table is open; everything lives in the current memory context and that of the executor's state.
        unsafe {
            let relation = table.relation;
            let entry = make_node::<pg_sys::RangeTblEntry>(pg_sys::NodeTag::T_RangeTblEntry);
            (*entry).rtekind = pg_sys::RTEKind::RTE_RELATION;
            (*entry).relid = (*relation).rd_id;
            (*entry).relkind = (*(*relation).rd_rel).relkind;
            (*entry).rellockmode = pg_sys::RowExclusiveLock as i32;
            let mut permissions = null_mut();
            let permission = pg_sys::addRTEPermissionInfo(&mut permissions, entry);
            for (column, place) in table.places.iter().enumerate() {
                if !unchanged.contains(&column) {
                    let member = *place as i32 + 1 - pg_sys::FirstLowInvalidHeapAttributeNumber;
                    (*permission).updatedCols = pg_sys::bms_add_member((*permission).updatedCols, member);
                }
            }
            let state = pg_sys::CreateExecutorState();
            let entries = pg_sys::lappend(null_mut(), entry.cast());
            pg_sys::ExecInitRangeTable(state, entries, permissions, pg_sys::bms_make_singleton(1));
            (*state).es_snapshot = pg_sys::GetActiveSnapshot();
            (*state).es_output_cid = pg_sys::GetCurrentCommandId(true);
            let result = make_node::<pg_sys::ResultRelInfo>(pg_sys::NodeTag::T_ResultRelInfo);
            pg_sys::InitResultRelInfo(result, relation, 1, null_mut(), 0);
            pg_sys::ExecOpenIndices(result, false);
            pg_sys::AfterTriggerBeginQuery();
            Executor { state, result }
        }
    }
}

impl<'a> Writing<'a> {
    pub(super) unsafe fn begin(table: &'a Table, unchanged: &'a [usize]) -> Writing<'a> {
        // SAFETY: the table is open.
        unsafe {
            let stored = pg_sys::table_slot_create(table.relation, null_mut());
            let descriptor = (*table.relation).rd_att;
            let written = pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsVirtual);
            Writing { table, unchanged, stored, written, executor: None, others: None }
        }
    }

    pub(super) unsafe fn end(self) {
        // SAFETY: made by `begin` and `executor`.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.stored);
            pg_sys::ExecDropSingleTupleTableSlot(self.written);
            if let Some(Executor { state, result }) = self.executor {
                pg_sys::AfterTriggerEndQuery(state);
                pg_sys::ExecCloseIndices(result);
                pg_sys::FreeExecutorState(state);
            }
        }
    }

    pub(super) unsafe fn executor(&mut self) -> Executor {
        let (table, unchanged) = (self.table, self.unchanged);
        // SAFETY: the table is open.
        *self.executor.get_or_insert_with(|| unsafe { Executor::of(table, unchanged) })
    }

    /// The row in `written` comes.
    pub(super) unsafe fn insert(&mut self) {
        // SAFETY: the slot holds a row of the table.
        unsafe {
            let executor = self.executor();
            let Executor { state, result } = executor;
            match self.table.own {
                false => pg_sys::ExecSimpleRelationInsert(result, state, self.written),
                true => {
                    pg_sys::CheckCmdReplicaIdentity(self.table.relation, pg_sys::CmdType::CMD_INSERT);
                    pg_sys::simple_table_tuple_insert(self.table.relation, self.written);
                    let nothing = null_mut();
                    pg_sys::ExecInsertIndexTuples(
                        result,
                        self.written,
                        state,
                        false,
                        false,
                        null_mut(),
                        nothing,
                        false,
                    );
                }
            }
            executor.forget();
        }
    }

    /// The row in `written` takes the place of that in `stored`. Most states change without an index being touched.
    pub(super) unsafe fn update(&mut self) {
        // SAFETY: as above; of the stored row the place is known.
        unsafe {
            if !self.table.own {
                let executor = self.executor();
                let Executor { state, result } = executor;
                let others = self.others.get_or_insert_with(|| {
                    let mut others = pg_sys::EPQState::default();
                    pg_sys::EvalPlanQualInit(&mut others, state, null_mut(), null_mut(), -1, null_mut());
                    others
                });
                pg_sys::ExecSimpleRelationUpdate(result, state, others, self.stored, self.written);
                executor.forget();
                return;
            }
            let (relation, place) = (self.table.relation, &raw mut (*self.stored).tts_tid);
            pg_sys::CheckCmdReplicaIdentity(relation, pg_sys::CmdType::CMD_UPDATE);
            let (snapshot, mut indexes) = (pg_sys::GetActiveSnapshot(), pg_sys::TU_UpdateIndexes::TU_None);
            pg_sys::simple_table_tuple_update(relation, place, self.written, snapshot, &mut indexes);
            if indexes != pg_sys::TU_UpdateIndexes::TU_None {
                let executor = self.executor();
                let Executor { state, result } = executor;
                let summarizing = indexes == pg_sys::TU_UpdateIndexes::TU_Summarizing;
                let nothing = null_mut();
                pg_sys::ExecInsertIndexTuples(
                    result,
                    self.written,
                    state,
                    true,
                    false,
                    null_mut(),
                    nothing,
                    summarizing,
                );
                executor.forget();
            }
        }
    }

    /// The row in `stored` goes.
    pub(super) unsafe fn delete(&mut self) {
        // SAFETY: of the row the place is known. A plain table has nothing but rows to be seen to.
        unsafe {
            let (relation, place) = (self.table.relation, &raw mut (*self.stored).tts_tid);
            pg_sys::CheckCmdReplicaIdentity(relation, pg_sys::CmdType::CMD_DELETE);
            pg_sys::simple_table_tuple_delete(relation, place, pg_sys::GetActiveSnapshot());
        }
    }

    pub(super) unsafe fn replace_by_key(
        &mut self,
        table: &Table,
        mut lookup: Lookup,
        (rows, decisive): (&ZSet, &[usize]),
    ) -> Counts {
        let net = rows.rows().map(|row| rows.weights[row]).sum();
        let mut counts = Counts { net, ..Counts::default() };
        // SAFETY: the scan ends before the index is closed; a stored row stays pinned by its slot.
        unsafe {
            let scan = lookup.begin(table, self.executor());
            for row in decisive.iter().copied() {
                pgrx::check_for_interrupts!();
                let is_new = rows.weights[row] > 0;
                lookup.seek((table, self.executor()), (scan, self.written), (rows, row));
                let found = lookup.next(table, (scan, self.stored), (rows, row));
                if is_new {
                    fill(self.written, table, |column| rows.value(row, column));
                }
                match (found, is_new) {
                    (true, true) => self.update(),
                    (true, false) => self.delete(),
                    (false, true) => self.insert(),
                    (false, false) => continue,
                }
                counts.inserted += i64::from(is_new);
                counts.deleted += i64::from(found);
            }
            pg_sys::index_endscan(scan);
        }
        counts
    }

    pub(super) unsafe fn replace_by_image(&mut self, table: &Table, mut lookup: Lookup, rows: &ZSet) -> Counts {
        let mut counts = Counts::default();
        // SAFETY: as above. A row that was deleted is still found by the snapshot, but each only once by a scan.
        unsafe {
            let scan = lookup.begin(table, self.executor());
            for row in rows.rows().filter(|row| rows.weights[*row] < 0) {
                pgrx::check_for_interrupts!();
                lookup.seek((table, self.executor()), (scan, self.written), (rows, row));
                let mut left = -rows.weights[row];
                while left > 0 && lookup.next(table, (scan, self.stored), (rows, row)) {
                    self.delete();
                    left -= 1;
                }
                counts.deleted += -rows.weights[row] - left;
                counts.net += rows.weights[row];
            }
            pg_sys::index_endscan(scan);
            for row in rows.rows().filter(|row| rows.weights[*row] > 0) {
                pgrx::check_for_interrupts!();
                fill(self.written, table, |column| rows.value(row, column));
                (0..rows.weights[row]).for_each(|_| self.insert());
                counts.inserted += rows.weights[row];
                counts.net += rows.weights[row];
            }
        }
        counts
    }
}
