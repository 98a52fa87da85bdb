//! The capture triggers: what a statement does to a source is written to the source's change buffer, by the same transaction.
//!
//! **Law.** A row with weight -1 for every old image, +1 for every new one, in the columns that the buffer has; an UPDATE of a
//! row that changes none of them writes nothing, or, when some reader takes no rows, an announcement (see
//! [`Announcements`]). Every row carries the top-level transaction id and the command id under
//! which it was inserted, which is also the `cmin` of the buffer's tuple: a snapshot sees the row exactly when a
//! frontier taken from it contains `(xid, cid)`. See `pgtrickle_engine::frontier`.
//!
//! The buffer is written as heap pages, not through the executor: the writer needs no rights on it, and no plan is made.
//! Memory is bounded: a batch ends at [`BATCH_ROWS`] rows or [`BATCH_BYTES`].
//!
//! Out-of-line values are fetched and stored again by `heap_insert`, which never keeps a pointer into another table's
//! TOAST; the old row's chunks are still there, because the transaction that deleted them has not ended.
//!
//! Every statement on a source pays for this file, so the server is called without the guard around bound functions (see
//! [`bare`]): an ERROR leaves these frames by a jump. Nothing here may own anything that needs dropping; what a
//! statement acquires is the server's, which takes it back at the end of the transaction.

use pgrx::pg_sys::{self, Datum};

use super::executor::Work;
use super::layout::{self, Announcements, FIXED, Layout};
use super::snapshot::Snapshot;
use super::stored::{self, Head};
use super::transition::{Rows, count};
use super::xact::{self, Write};
use super::{bare, buffer, image, trigger};

/// The weight of a row that says: the rows do not tell what became of the source.
pub(super) const MARKER: i32 = 0;
/// The weight of a row that says: the source was written, in no column that rows are kept of.
pub(super) const ANNOUNCEMENT: i32 = 2;

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
            && let Some(mut writer) = Writer::open(call, Apart::Always)
        {
            writer.statement((*(*call).tg_relation).rd_att, old, new);
            writer.finish();
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
        if let Some(mut writer) = Writer::open(call, Apart::Once) {
            match (*call).tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
                pg_sys::TRIGGER_EVENT_INSERT => writer.row(None, Some((*call).tg_trigslot)),
                pg_sys::TRIGGER_EVENT_DELETE => writer.row(Some((*call).tg_trigslot), None),
                _ => writer.row(Some((*call).tg_trigslot), Some((*call).tg_newslot)),
            }
            writer.finish();
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
        if let Some(mut writer) = Writer::open(call, Apart::Always) {
            writer.marker();
            writer.finish();
        }
        Datum::from(0)
    }
}

/// Writes a marker into the buffer of `source`, if it has one.
pub fn mark(source: u32) {
    write_one(source, MARKER);
}

/// Writes an announcement into the buffer of `source`, if it has one.
pub fn announce(source: u32) {
    write_one(source, ANNOUNCEMENT);
}

/// Writes every row of `member`, which nobody else can write until the transaction ends, into the buffer of `source`, if it has
/// one, with this weight: the rows come or go with their table. Where the buffer has not got what it takes, a marker.
pub fn tell(source: u32, member: u32, weight: i32) {
    let Some(buffer) = buffer::find(source) else { return };
    if super::source::is_partitioned(member) {
        return;
    }
    // Also what a transaction with an older snapshot does not see, and what this one has just written.
    let snapshot = Snapshot::latest().advanced();
    // SAFETY: the member is locked, and the snapshot is registered for longer than the scan. The server is called bare in
    // closures that own nothing.
    Work::new().run(|| unsafe {
        let relation = pg_sys::table_open(member.into(), pg_sys::NoLock as i32);
        let none = std::ptr::null_mut();
        let scan = pg_sys::table_beginscan_strat(relation, snapshot.as_ptr(), 0, none, true, true);
        let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
        let mut writer = None;
        while pg_sys::table_scan_getnextslot(scan, pg_sys::ScanDirection::ForwardScanDirection, slot) {
            let writer = writer.get_or_insert_with(|| {
                let buffer = pg_sys::table_open(buffer.into(), pg_sys::RowExclusiveLock as i32);
                Writer::new(buffer, layout::of(source, relation, buffer))
            });
            if !pg_sys::ffi::pg_guard_ffi_boundary(|| writer.told(weight, slot)) {
                break;
            }
        }
        if let Some(writer) = writer {
            pg_sys::ffi::pg_guard_ffi_boundary(|| writer.finish());
        }
        pg_sys::table_endscan(scan);
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    });
}

fn write_one(source: u32, weight: i32) {
    // SAFETY: the buffer is opened and locked as a trigger does it.
    unsafe {
        let Some(buffer) = buffer::find(source) else { return };
        let buffer = pg_sys::table_open(buffer.into(), pg_sys::RowExclusiveLock as i32);
        let mut writer = Writer::new(buffer, layout::marker(source, buffer));
        writer.put(weight, None);
        writer.finish();
    }
}

/// When rows are written under a command id of their own, though others of the source were under that of the command. The server fires triggers of
/// parents and children, and of what a function in SQL did last, without a new one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Apart {
    /// Each time.
    Always,
    /// Once: all but the first row of a command have the next id.
    Once,
}

/// A buffer being written. Its memory is the trigger's, which is reset when the trigger has returned.
struct Writer {
    buffer: pg_sys::Relation,
    layout: &'static Layout,
    xid: u64,
    cid: u32,
    /// A row of the buffer being put together of its values; allocated for the first that is.
    values: *mut Datum,
    nulls: *mut bool,
    /// The only row of the current batch.
    single: pg_sys::HeapTuple,
    /// [`BATCH_ROWS`] slots, once there are batches of several rows; the first `made` exist, the first `filled` hold the
    /// rows of the current one.
    slots: *mut *mut pg_sys::TupleTableSlot,
    made: usize,
    filled: usize,
    bytes: usize,
    wrote: bool,
    divided: bool,
    /// Where `heap_multi_insert` may leave what it allocates.
    scratch: pg_sys::MemoryContext,
}

impl Writer {
    /// # Safety
    /// `call` is that of a trigger.
    unsafe fn open(call: *const pg_sys::TriggerData, apart: Apart) -> Option<Self> {
        // SAFETY: by contract; the counter moves as it does for statements of triggers.
        unsafe {
            let (buffer, layout) = layout::open((*call).tg_relation, (*call).tg_trigger)?;
            let command = bare::GetCurrentCommandId(true);
            let last = xact::last_write(layout.source).filter(|last| last.command == command);
            let goes_on = last.is_some_and(|last| apart == Apart::Once && last.goes_on);
            if last.is_some() && !goes_on {
                bare::CommandCounterIncrement();
            }
            Some(Self::writing((buffer, layout), last.is_some() && apart == Apart::Once))
        }
    }

    /// # Safety
    /// `buffer` is open and locked, and `layout` is for it.
    unsafe fn new(buffer: pg_sys::Relation, layout: &'static Layout) -> Self {
        // SAFETY: by contract.
        unsafe { Self::writing((buffer, layout), false) }
    }

    /// # Safety
    /// As for [`Writer::new`].
    unsafe fn writing((buffer, layout): (pg_sys::Relation, &'static Layout), goes_on: bool) -> Self {
        // SAFETY: a transaction that writes gets an id.
        unsafe {
            let command = bare::GetCurrentCommandId(true);
            xact::note_write(layout.source, Write { command, goes_on });
            Writer {
                buffer,
                layout,
                xid: bare::GetTopFullTransactionId().value,
                cid: command,
                values: std::ptr::null_mut(),
                nulls: std::ptr::null_mut(),
                single: std::ptr::null_mut(),
                slots: std::ptr::null_mut(),
                made: 0,
                filled: 0,
                bytes: 0,
                wrote: false,
                divided: false,
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
        // SAFETY: the tables hold rows of the relation's descriptor.
        unsafe {
            if self.layout.broken {
                return self.marker();
            }
            if self.layout.announcements == Announcements::Only {
                return self.put(ANNOUNCEMENT, None);
            }
            let (mut old, mut new) = (Rows::of(old, descriptor), Rows::of(new, descriptor));
            match (&mut old, &mut new) {
                (Some(old), Some(new)) if old.count == new.count => {
                    while let (Some(before), Some(after)) = (old.next(), new.next()) {
                        self.row(Some(before), Some(after));
                        self.divide();
                    }
                }
                (old, new) => {
                    while let Some(before) = old.as_mut().and_then(|rows| rows.next()) {
                        self.row(Some(before), None);
                        self.divide();
                    }
                    while let Some(after) = new.as_mut().and_then(|rows| rows.next()) {
                        self.row(None, Some(after));
                    }
                }
            }
            [old, new].into_iter().flatten().for_each(|rows| rows.end());
        }
    }

    /// What is written from here on is another command's, when the statement may have changed a row several times and one has been written.
    unsafe fn divide(&mut self) {
        if self.layout.acted_on && self.wrote && !self.divided {
            self.divided = true;
            // SAFETY: the rows of the batch are in the buffer before the counter moves. Statements of triggers move it too.
            unsafe {
                self.flush();
                bare::CommandCounterIncrement();
                self.cid = bare::GetCurrentCommandId(true);
                xact::note_write(self.layout.source, Write { command: self.cid, goes_on: false });
            }
        }
    }

    /// Writes what became of one row.
    unsafe fn row(&mut self, old: Option<*mut pg_sys::TupleTableSlot>, new: Option<*mut pg_sys::TupleTableSlot>) {
        // SAFETY: both slots hold rows of the relation.
        unsafe {
            if self.layout.broken {
                return self.marker();
            }
            if self.layout.announcements == Announcements::Only {
                return self.put(ANNOUNCEMENT, None);
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

    /// Writes a row that comes or goes with its table; whether the others are wanted too.
    unsafe fn told(&mut self, weight: i32, row: *mut pg_sys::TupleTableSlot) -> bool {
        // SAFETY: the slot holds a row of the relation.
        unsafe {
            match (self.layout.broken, self.layout.announcements) {
                (true, _) => self.marker(),
                (_, Announcements::Only) => self.put(ANNOUNCEMENT, None),
                _ => {
                    self.put(weight, Some(row));
                    return true;
                }
            }
            false
        }
    }

    /// Whether two rows are the same in the captured columns.
    unsafe fn same(&self, old: *mut pg_sys::TupleTableSlot, new: *mut pg_sys::TupleTableSlot) -> bool {
        // SAFETY: rows of the relation.
        [old, new].into_iter().for_each(|slot| unsafe { stored::deform(slot, self.layout.deform) });
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
    unsafe fn marker(&mut self) {
        // SAFETY: no row to read.
        unsafe { self.put(MARKER, None) }
    }

    /// Adds one buffer row to the batch, with the columns of `row`.
    unsafe fn put(&mut self, weight: i32, row: Option<*mut pg_sys::TupleTableSlot>) {
        self.wrote = true;
        // SAFETY: forming a tuple copies what it needs, so nothing refers to `row` afterwards. Slots of this kind are those of
        // transition tables.
        unsafe {
            let copied =
                row.filter(|row| self.layout.leading && (**row).tts_ops == &raw const pg_sys::TTSOpsMinimalTuple);
            let head = Head { xid: self.xid, cid: self.cid, weight };
            let copied = copied.and_then(|row| stored::form(&head, row, self.layout.columns.len()));
            let tuple = copied.unwrap_or_else(|| self.formed(&head, row));
            self.add(tuple);
        }
    }

    /// A buffer row put together of its values.
    unsafe fn formed(&mut self, head: &Head, row: Option<*mut pg_sys::TupleTableSlot>) -> pg_sys::HeapTuple {
        // SAFETY: the two arrays, the one with the wider elements first in their allocation, have the width of the buffer's row.
        unsafe {
            let width = self.layout.width;
            if self.values.is_null() {
                self.values = bare::palloc(width * (size_of::<Datum>() + size_of::<bool>())).cast();
                self.nulls = self.values.add(width).cast();
            }
            let values = std::slice::from_raw_parts_mut(self.values, width);
            let nulls = std::slice::from_raw_parts_mut(self.nulls, width);
            nulls[FIXED..].fill(true);
            nulls[..FIXED].fill(false);
            values[0] = Datum::from(head.xid);
            values[1] = Datum::from(head.cid as i32);
            values[2] = Datum::from(head.weight);
            if let Some(row) = row {
                stored::deform(row, self.layout.deform);
                for column in &self.layout.columns {
                    values[column.target] = *(*row).tts_values.add(column.origin);
                    nulls[column.target] = *(*row).tts_isnull.add(column.origin);
                }
            }
            bare::heap_form_tuple((*self.buffer).rd_att, self.values, self.nulls)
        }
    }

    /// Adds a tuple to the batch: one alone is kept as it is, several in slots.
    unsafe fn add(&mut self, tuple: pg_sys::HeapTuple) {
        // SAFETY: the tuple was allocated in the trigger's memory and belongs to the batch from here on.
        unsafe {
            if self.filled == 0 && self.single.is_null() && self.slots.is_null() {
                self.single = tuple;
                return;
            }
            if self.slots.is_null() {
                self.slots = bare::palloc(BATCH_ROWS * size_of::<*mut pg_sys::TupleTableSlot>()).cast();
            }
            let single = std::mem::replace(&mut self.single, std::ptr::null_mut());
            if !single.is_null() {
                self.store(single);
            }
            self.store(tuple);
        }
    }

    unsafe fn store(&mut self, tuple: pg_sys::HeapTuple) {
        // SAFETY: the slots have the buffer's descriptor; a slot frees the tuple that it was given.
        unsafe {
            if self.filled == BATCH_ROWS || self.bytes >= BATCH_BYTES {
                self.flush();
            }
            if self.filled == self.made {
                let slot = bare::MakeSingleTupleTableSlot((*self.buffer).rd_att, &raw const pg_sys::TTSOpsHeapTuple);
                self.slots.add(self.made).write(slot);
                self.made += 1;
            }
            bare::ExecStoreHeapTuple(tuple, *self.slots.add(self.filled), true);
            self.bytes += (*tuple).t_len as usize;
            self.filled += 1;
        }
    }

    /// Inserts the batch.
    unsafe fn flush(&mut self) {
        let filled = std::mem::take(&mut self.filled);
        let single = std::mem::replace(&mut self.single, std::ptr::null_mut());
        self.bytes = 0;
        // SAFETY: the tuples are rows of the buffer. What the insertion allocates in the scratch context nobody needs
        // afterwards. Storing another tuple, or dropping the slot, frees the one in it.
        unsafe {
            if !single.is_null() {
                bare::heap_insert(self.buffer, single, self.cid, 0, std::ptr::null_mut());
            }
            if filled == 0 {
                return;
            }
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
            bare::heap_multi_insert(self.buffer, self.slots, filled as i32, self.cid, 0, std::ptr::null_mut());
            pg_sys::MemoryContextSwitchTo(caller);
            pg_sys::MemoryContextReset(self.scratch);
        }
    }

    /// Announces the statement, if nothing else of it is in the buffer; inserts what is left and closes the buffer. The lock stays until the transaction ends, as it does for any writer.
    unsafe fn finish(mut self) {
        // SAFETY: opened by us. The slots' memory goes with the trigger's, but they hold references to the descriptor.
        unsafe {
            if self.layout.announcements == Announcements::Beside && !self.wrote {
                self.put(ANNOUNCEMENT, None);
            }
            self.flush();
            for index in 0..self.made {
                bare::ExecDropSingleTupleTableSlot(*self.slots.add(index));
            }
            bare::table_close(self.buffer, pg_sys::NoLock as i32);
        }
    }
}
