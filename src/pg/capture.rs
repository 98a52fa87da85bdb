//! The capture triggers: what a statement does to a source is written to the source's change buffer, by the same transaction.
//!
//! **Law.** A row with weight -1 for every old image, +1 for every new one, in the columns that the buffer has; an UPDATE of a
//! row that changes none of them writes nothing. Every row carries the top-level transaction id and the command id under
//! which it was inserted, which is also the `cmin` of the buffer's tuple: a snapshot sees the row exactly when a
//! frontier taken from it contains `(xid, cid)`. See `pgtrickle_engine::frontier`.
//!
//! The buffer is written as heap pages, not through the executor: the writer needs no rights on it, and no plan is made.
//! Memory is bounded: a batch ends at [`BATCH_ROWS`] rows or [`BATCH_BYTES`].
//!
//! Out-of-line values are fetched and stored again by `heap_insert`, which never keeps a pointer into another table's
//! TOAST; the old row's chunks are still there, because the transaction that deleted them has not ended.

use std::rc::Rc;

use pgrx::pg_sys::{self, Datum};

use super::layout::{self, FIXED, Layout};
use super::{buffer, image, trigger, xact};

const BATCH_ROWS: usize = 1000;
const BATCH_BYTES: usize = 256 * 1024;

super::c_function!(pgt_capture_statement => capture_statement);
/// `pgtrickle.capture_statement()`: AFTER INSERT, UPDATE or DELETE, for each statement, with transition tables.
unsafe fn capture_statement(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: called as a trigger, so the relation is open and locked.
    unsafe {
        let call = trigger::called(fcinfo);
        let (old, new) = ((*call).tg_oldtable, (*call).tg_newtable);
        if (count(old) > 0 || count(new) > 0)
            && let Some(mut writer) = Writer::open((*call).tg_relation, (*call).tg_trigger)
        {
            writer.statement((*(*call).tg_relation).rd_att, old, new);
        }
        Datum::from(0)
    }
}

super::c_function!(pgt_capture_row => capture_row);
/// `pgtrickle.capture_row()`: AFTER INSERT, UPDATE or DELETE, for each row. Logical replication fires no other kind.
unsafe fn capture_row(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: called as a trigger, so the relation is open and locked.
    unsafe {
        let call = trigger::called(fcinfo);
        if let Some(mut writer) = Writer::open((*call).tg_relation, (*call).tg_trigger) {
            match (*call).tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
                pg_sys::TRIGGER_EVENT_INSERT => writer.row(None, Some((*call).tg_trigslot)),
                pg_sys::TRIGGER_EVENT_DELETE => writer.row(Some((*call).tg_trigslot), None),
                _ => writer.row(Some((*call).tg_trigslot), Some((*call).tg_newslot)),
            }
            writer.flush();
        }
        Datum::from(0)
    }
}

super::c_function!(pgt_capture_truncate => capture_truncate);
/// `pgtrickle.capture_truncate()`: AFTER TRUNCATE. What went is not written; a marker says that the rows do not tell.
unsafe fn capture_truncate(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: called as a trigger, so the relation is open and locked.
    unsafe {
        let call = trigger::called(fcinfo);
        if let Some(mut writer) = Writer::open((*call).tg_relation, (*call).tg_trigger) {
            writer.marker();
            writer.flush();
        }
        Datum::from(0)
    }
}

/// Writes a marker into the buffer of `source`, if it has one.
pub fn mark(source: u32) {
    // SAFETY: the buffer is opened and locked as a trigger does it.
    unsafe {
        let Some(buffer) = buffer::find(source) else { return };
        let buffer = pg_sys::table_open(buffer.into(), pg_sys::RowExclusiveLock as i32);
        let mut writer = Writer::new(buffer, layout::marker(source, buffer));
        writer.marker();
        writer.flush();
    }
}

/// How many rows a transition table holds; there is none for the other kinds of statements.
unsafe fn count(store: *mut pg_sys::Tuplestorestate) -> i64 {
    // SAFETY: a transition table is valid while its trigger runs.
    if store.is_null() { 0 } else { unsafe { pg_sys::tuplestore_tuple_count(store) } }
}

/// A buffer being written.
struct Writer {
    buffer: pg_sys::Relation,
    layout: Rc<Layout>,
    xid: u64,
    cid: u32,
    /// Slots made so far; the first `filled` hold rows of the current batch.
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    filled: usize,
    bytes: usize,
    /// Where `heap_multi_insert` may leave what it allocates.
    scratch: pg_sys::MemoryContext,
}

impl Writer {
    /// # Safety
    /// Called from a trigger on `relation`.
    unsafe fn open(relation: pg_sys::Relation, trigger: *const pg_sys::Trigger) -> Option<Self> {
        // SAFETY: by contract. The memory is reset when the trigger has returned.
        unsafe {
            let (buffer, layout) = layout::open(relation, trigger)?;
            Some(Self::new(buffer, layout))
        }
    }

    /// # Safety
    /// `buffer` is open and locked, and `layout` is for it.
    unsafe fn new(buffer: pg_sys::Relation, layout: Rc<Layout>) -> Self {
        xact::note_write(layout.source);
        // SAFETY: a transaction that writes gets an id.
        unsafe {
            Writer {
                buffer,
                layout,
                xid: pg_sys::GetTopFullTransactionId().value,
                cid: pg_sys::GetCurrentCommandId(true),
                slots: Vec::new(),
                filled: 0,
                bytes: 0,
                scratch: std::ptr::null_mut(),
            }
        }
    }

    /// Writes what one statement did.
    ///
    /// The two tables of an UPDATE are filled row by row in one order, so their rows pair up, in ON CONFLICT and MERGE
    /// too. A row that moves to another partition is added to the old table first, and to the new one only if a BEFORE
    /// trigger there lets it in; then the counts differ, nothing is known about pairs, and all rows are written.
    unsafe fn statement(
        &mut self,
        descriptor: pg_sys::TupleDesc,
        old: *mut pg_sys::Tuplestorestate,
        new: *mut pg_sys::Tuplestorestate,
    ) {
        if self.layout.broken {
            return self.finish_with_marker();
        }
        // SAFETY: the tables hold rows of the relation's descriptor.
        unsafe {
            let (mut old, mut new) = (Rows::of(old, descriptor), Rows::of(new, descriptor));
            match (&mut old, &mut new) {
                (Some(old), Some(new)) if old.count == new.count => {
                    while let (Some(before), Some(after)) = (old.next(), new.next()) {
                        self.row(Some(before), Some(after));
                    }
                }
                (old, new) => {
                    while let Some(before) = old.as_mut().and_then(|rows| rows.next()) {
                        self.row(Some(before), None);
                    }
                    while let Some(after) = new.as_mut().and_then(|rows| rows.next()) {
                        self.row(None, Some(after));
                    }
                }
            }
            self.flush();
        }
    }

    /// Writes what became of one row.
    unsafe fn row(&mut self, old: Option<*mut pg_sys::TupleTableSlot>, new: Option<*mut pg_sys::TupleTableSlot>) {
        if self.layout.broken {
            return self.marker();
        }
        // SAFETY: both slots hold rows of the relation; only what the layout needs is deformed.
        unsafe {
            for slot in [old, new].into_iter().flatten() {
                if i32::from((*slot).tts_nvalid) < self.layout.deform {
                    pg_sys::slot_getsomeattrs_int(slot, self.layout.deform);
                }
            }
            if let (Some(old), Some(new)) = (old, new)
                && self.same(old, new)
            {
                return;
            }
            if let Some(old) = old {
                self.put(-1, Some(old));
            }
            if let Some(new) = new {
                self.put(1, Some(new));
            }
        }
    }

    /// Whether two deformed rows are the same in the captured columns.
    unsafe fn same(&self, old: *mut pg_sys::TupleTableSlot, new: *mut pg_sys::TupleTableSlot) -> bool {
        self.layout.columns.iter().all(|column| {
            // SAFETY: the layout's columns are within what was deformed.
            unsafe {
                let value = |slot: *mut pg_sys::TupleTableSlot| {
                    (*(*slot).tts_values.add(column.origin), *(*slot).tts_isnull.add(column.origin))
                };
                match (value(old), value(new)) {
                    ((_, true), (_, true)) => true,
                    ((old, false), (new, false)) => image::equal(old, new, column.storage),
                    _ => false,
                }
            }
        })
    }

    /// Writes the marker of a source whose rows do not tell what became of it.
    fn marker(&mut self) {
        // SAFETY: no row to read.
        unsafe { self.put(0, None) }
    }

    fn finish_with_marker(&mut self) {
        self.marker();
        self.flush();
    }

    /// Adds one buffer row to the batch.
    unsafe fn put(&mut self, weight: i32, row: Option<*mut pg_sys::TupleTableSlot>) {
        // SAFETY: the arrays of a slot have the width of its descriptor. Materialising forms a tuple in the slot's memory, so
        // nothing refers to `row` afterwards.
        unsafe {
            if self.filled == BATCH_ROWS || self.bytes >= BATCH_BYTES {
                self.flush();
            }
            if self.filled == self.slots.len() {
                let slot = pg_sys::MakeSingleTupleTableSlot((*self.buffer).rd_att, &raw const pg_sys::TTSOpsHeapTuple);
                self.slots.push(slot);
            }
            let slot = self.slots[self.filled];
            let values = std::slice::from_raw_parts_mut((*slot).tts_values, self.layout.width);
            let nulls = std::slice::from_raw_parts_mut((*slot).tts_isnull, self.layout.width);
            nulls[FIXED..].fill(true);
            nulls[..FIXED].fill(false);
            values[0] = Datum::from(self.xid);
            values[1] = Datum::from(self.cid as i32);
            values[2] = Datum::from(weight);
            if let Some(row) = row {
                for column in &self.layout.columns {
                    values[column.target] = *(*row).tts_values.add(column.origin);
                    nulls[column.target] = *(*row).tts_isnull.add(column.origin);
                }
            }
            pg_sys::ExecStoreVirtualTuple(slot);
            pg_sys::ExecMaterializeSlot(slot);
            self.bytes += (*(*slot.cast::<pg_sys::HeapTupleTableSlot>()).tuple).t_len as usize;
            self.filled += 1;
        }
    }

    /// Inserts the batch.
    fn flush(&mut self) {
        let filled = std::mem::take(&mut self.filled);
        self.bytes = 0;
        // SAFETY: the first `filled` slots hold rows of the buffer. Clearing a slot frees its tuple.
        unsafe {
            match filled {
                0 => return,
                1 => {
                    let tuple = (*self.slots[0].cast::<pg_sys::HeapTupleTableSlot>()).tuple;
                    pg_sys::heap_insert(self.buffer, tuple, self.cid, 0, std::ptr::null_mut());
                }
                _ => self.insert_many(filled),
            }
            for &slot in &self.slots[..filled] {
                pg_sys::ExecClearTuple(slot);
            }
        }
    }

    unsafe fn insert_many(&mut self, filled: usize) {
        // SAFETY: what the insertion allocates in the scratch context nobody needs afterwards.
        unsafe {
            if self.scratch.is_null() {
                self.scratch = pg_sys::AllocSetContextCreateInternal(
                    pg_sys::CurrentMemoryContext,
                    c"pg_trickle capture".as_ptr(),
                    pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
                );
            }
            let caller = pg_sys::MemoryContextSwitchTo(self.scratch);
            let slots = self.slots.as_mut_ptr();
            pg_sys::heap_multi_insert(self.buffer, slots, filled as i32, self.cid, 0, std::ptr::null_mut());
            pg_sys::MemoryContextSwitchTo(caller);
            pg_sys::MemoryContextReset(self.scratch);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // SAFETY: opened by us; the lock stays until the transaction ends, as it does for any writer. The slots' memory goes
        // with the trigger's context, but they hold a reference to the descriptor.
        unsafe {
            for &slot in &self.slots {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
            pg_sys::table_close(self.buffer, pg_sys::NoLock as i32);
        }
    }
}

/// The rows of a transition table, in order.
struct Rows {
    store: *mut pg_sys::Tuplestorestate,
    slot: *mut pg_sys::TupleTableSlot,
    count: i64,
}

impl Rows {
    /// # Safety
    /// `store`, if any, holds rows of `descriptor`.
    unsafe fn of(store: *mut pg_sys::Tuplestorestate, descriptor: pg_sys::TupleDesc) -> Option<Self> {
        if store.is_null() {
            return None;
        }
        // SAFETY: the table is ours to read from its start, whoever read it before.
        unsafe {
            pg_sys::tuplestore_rescan(store);
            let slot = pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsMinimalTuple);
            Some(Rows { store, slot, count: count(store) })
        }
    }

    fn next(&mut self) -> Option<*mut pg_sys::TupleTableSlot> {
        // SAFETY: without a copy, the row is valid until the next one of this table is fetched.
        unsafe { pg_sys::tuplestore_gettupleslot(self.store, true, false, self.slot) }.then_some(self.slot)
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        // SAFETY: made by `of`.
        unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) }
    }
}
