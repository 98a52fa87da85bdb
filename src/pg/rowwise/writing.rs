//! What the executor keeps of a table that it changes, and the changes row by row.

use super::lookup::{Key, Lookup};
use super::zset::ZSet;
use super::{Counts, Table, fill};
use crate::pg::rows::make_node;
use pgrx::pg_sys;
use std::ptr::null_mut;

pub(super) type Slot = *mut pg_sys::TupleTableSlot;

pub(super) struct Writing {
    pub(super) state: *mut pg_sys::EState,
    pub(super) result: *mut pg_sys::ResultRelInfo,
    others: Box<pg_sys::EPQState>,
    /// For a row that is stored, and for one that is to be.
    pub(super) stored: Slot,
    pub(super) written: Slot,
}

impl Writing {
    /// As `create_edata_for_relation` in logical replication's worker.
    pub(super) unsafe fn begin(table: &Table, unchanged: &[usize]) -> Writing {
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
            let mut others = Box::new(pg_sys::EPQState::default());
            pg_sys::EvalPlanQualInit(&mut *others, state, null_mut(), null_mut(), -1, null_mut());
            let stored = pg_sys::table_slot_create(relation, null_mut());
            let written = pg_sys::MakeSingleTupleTableSlot((*relation).rd_att, &raw const pg_sys::TTSOpsVirtual);
            Writing { state, result, others, stored, written }
        }
    }

    pub(super) unsafe fn end(self) {
        // SAFETY: made by `begin`.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.stored);
            pg_sys::ExecDropSingleTupleTableSlot(self.written);
            pg_sys::AfterTriggerEndQuery(self.state);
            pg_sys::ExecCloseIndices(self.result);
            pg_sys::FreeExecutorState(self.state);
        }
    }

    /// The row in `written` comes.
    pub(super) unsafe fn insert(&mut self) {
        // SAFETY: the slot holds a row of the table.
        unsafe { pg_sys::ExecSimpleRelationInsert(self.result, self.state, self.written) };
    }

    /// The row in `written` takes the place of that in `stored`.
    pub(super) unsafe fn update(&mut self) {
        // SAFETY: as above; of the stored row the place is known.
        unsafe {
            pg_sys::ExecSimpleRelationUpdate(self.result, self.state, &mut *self.others, self.stored, self.written);
        }
    }

    /// The row in `stored` goes.
    pub(super) unsafe fn delete(&mut self) {
        // SAFETY: of the row the place is known.
        unsafe { pg_sys::ExecSimpleRelationDelete(self.result, self.state, &mut *self.others, self.stored) };
    }

    pub(super) unsafe fn replace_by_key(
        &mut self,
        table: &Table,
        mut lookup: Lookup,
        (rows, key): (&ZSet, &Key),
    ) -> Counts {
        let net = rows.rows().map(|row| rows.weights[row]).sum();
        let mut counts = Counts { net, ..Counts::default() };
        // SAFETY: the scan ends before the index is closed; a stored row stays pinned by its slot.
        unsafe {
            let scan = lookup.begin(table, self);
            for row in key.decisive(rows) {
                let is_new = rows.weights[row] > 0;
                lookup.seek((table, self), (scan, self.written), (rows, row));
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
            let scan = lookup.begin(table, self);
            for row in rows.rows().filter(|row| rows.weights[*row] < 0) {
                lookup.seek((table, self), (scan, self.written), (rows, row));
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
                fill(self.written, table, |column| rows.value(row, column));
                (0..rows.weights[row]).for_each(|_| self.insert());
                counts.inserted += rows.weights[row];
                counts.net += rows.weights[row];
            }
        }
        counts
    }
}
