//! Reading a change buffer: its rows that one snapshot sees and one frontier does not hold.
//!
//! The buffer is scanned directly, without the executor: the filter is a comparison of integers, and an empty or wholly
//! consumed buffer must cost next to nothing.

use std::ffi::CString;

use pgrx::pg_sys::{self, ffi::pg_guard_ffi_boundary};
use pgtrickle_engine::frontier::Frontier;

use super::capture::{ANNOUNCEMENT, MARKER};
use super::snapshot::Snapshot;
use super::tuplestore::TupleStore;
use super::{bare, page, pages};
use crate::names;

/// What a source's buffer holds between a frontier and a snapshot.
pub struct Changes {
    /// The rows, with exactly the buffer's columns, or those of a source's snapshot and `w`. Without meaning when `truncated`.
    pub store: TupleStore,
    /// How many rows there are.
    pub rows: u64,
    /// One command wrote all of them, and changed each row of the source at most once.
    pub one_command: bool,
    /// The source was truncated, or for another reason the rows do not tell what became of it: recompute.
    pub truncated: bool,
}

impl Changes {
    /// The consolidated rows of a store.
    pub fn of(store: TupleStore) -> Changes {
        Changes { rows: store.rows(), store, one_command: true, truncated: false }
    }

    /// Nothing changed.
    pub fn is_empty(&self) -> bool {
        self.rows == 0 && !self.truncated
    }
}

/// The oid of the change buffer of `source`, if it has one.
pub fn find(source: u32) -> Option<u32> {
    let name = names::buffer(source);
    let schema = CString::new(name.schema.0).expect("a name of ours has no NUL");
    let name = CString::new(name.name.0).expect("a name of ours has no NUL");
    // SAFETY: look-ups in the system caches.
    let relation = unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        match schema == pg_sys::InvalidOid {
            true => schema,
            false => pg_sys::get_relname_relid(name.as_ptr(), schema),
        }
    };
    (relation != pg_sys::InvalidOid).then(|| relation.to_u32())
}

/// What a reader takes from a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The rows. Announcements are for others.
    Rows,
    /// Whether the source was written: `truncated` at the first row of any kind.
    News,
}

/// The rows of a buffer that a snapshot sees and that are not inside a frontier, being read.
pub struct Reading<'a> {
    scan: Scan,
    frontier: &'a Frontier,
    changes: Changes,
    wanted: Wanted,
    /// The first row's transaction and command.
    writer: Option<(u64, u32)>,
    /// The scan reads by it.
    snapshot: &'a Snapshot,
}

impl<'a> Reading<'a> {
    /// Begins to read; `None` when there is nothing to read. A frontier of another cluster says nothing about this one's
    /// transactions, so the caller does not come with one.
    pub fn begin(buffer: u32, frontier: &'a Frontier, snapshot: &'a Snapshot, wanted: Wanted) -> Option<Self> {
        let scan = Scan::newer(buffer, snapshot, frontier)?;
        let changes = Changes {
            // SAFETY: the relation is open, so its descriptor is valid; it is copied.
            store: unsafe { TupleStore::like((*scan.relation).rd_att) },
            rows: 0,
            one_command: true,
            truncated: false,
        };
        Some(Reading { scan, frontier, changes, wanted, writer: None, snapshot })
    }

    /// Whether there is anything; reads up to the first row.
    pub fn any(&mut self) -> bool {
        while self.changes.is_empty() && self.step() {}
        !self.changes.is_empty()
    }

    /// How many rows there are in all, about so many where there are thousands, those of transactions that rolled back perhaps among them. Does not
    /// read them.
    pub fn count(&self) -> u64 {
        let read = self.changes.rows;
        match &self.scan.rest {
            Rest::Rows(_, rows) => read + rows.len() as u64,
            Rest::Pages(..) => {
                let target = self.snapshot.frontier();
                // SAFETY: the relation is open.
                unsafe { pages::count(self.scan.relation, &self.scan.ranges, (self.frontier, &target)) }
            }
        }
    }

    /// Reads what is left.
    pub fn finish(mut self) -> Changes {
        while !self.changes.truncated && self.batch() {}
        self.changes
    }

    /// Takes in the next row; false when there is none.
    fn step(&mut self) -> bool {
        // SAFETY: what is inside owns nothing.
        let row = unsafe { pg_guard_ffi_boundary(|| self.scan.next() && self.take()) };
        row || self.scan.next_range()
    }

    /// Takes in some rows under one guard, which costs as much as a row; false when there is none.
    fn batch(&mut self) -> bool {
        pgrx::check_for_interrupts!();
        // SAFETY: as above.
        let more = unsafe {
            pg_guard_ffi_boundary(|| (0..BATCH).all(|_| !self.changes.truncated && self.scan.next() && self.take()))
        };
        more || self.changes.truncated || self.scan.next_range()
    }

    /// Takes in the row in the scan's slot.
    ///
    /// # Safety
    /// There is one, and a guard is around.
    unsafe fn take(&mut self) -> bool {
        // SAFETY: the first three columns of every buffer are xid8, int4 and int4, all NOT NULL.
        let (xid, cid, weight) = unsafe {
            bare::slot_getsomeattrs_int(self.scan.slot, 3);
            let value = |index: usize| (*(*self.scan.slot).tts_values.add(index)).value();
            (value(0) as u64, value(1) as u32, value(2) as i32)
        };
        match weight {
            _ if self.frontier.contains(xid, cid) => {}
            MARKER => self.changes.truncated = true,
            _ if self.wanted == Wanted::News => self.changes.truncated = true,
            ANNOUNCEMENT => {}
            _ => {
                let changes = &mut self.changes;
                // SAFETY: the scan's slot holds a row of the buffer.
                unsafe { bare::tuplestore_puttupleslot(changes.store.as_ptr(), self.scan.slot) };
                changes.rows += 1;
                changes.one_command &= *self.writer.get_or_insert((xid, cid)) == (xid, cid);
            }
        }
        true
    }
}

/// Rows that are read under one guard.
const BATCH: usize = 256;

/// Whether the buffer has no pages, so nobody ever wrote it or VACUUM gave all of it back.
pub fn is_empty(buffer: u32) -> bool {
    // SAFETY: opened and closed here.
    unsafe {
        let relation = pg_sys::table_open(buffer.into(), pg_sys::AccessShareLock as i32);
        let pages = pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        pages == 0
    }
}

/// Whether enough has been consumed by the reader with this number and frontier, who has just read the buffer, that a look at
/// what can be removed is worth it.
pub fn is_removal_due(buffer: u32, reader: i64, frontier: &Frontier) -> bool {
    pages::is_due(buffer, reader, frontier.end())
}

/// A removal has been tried on behalf of this reader.
pub fn note_removal(buffer: u32, reader: i64, frontier: &Frontier) {
    pages::removed(buffer, reader, frontier.begin());
}

/// Removes the rows that are inside all of `consumed`, frontiers that have committed, one of them of the snapshot that shows the others; returns how
/// many. One session at a time removes rows of a buffer, and VACUUM is not disturbed: when either is at work, nothing is
/// done.
pub fn remove(buffer: u32, consumed: &[Frontier]) -> u64 {
    let lock = pg_sys::ShareUpdateExclusiveLock as i32;
    // SAFETY: the lock is given back when the rows are gone or marked; the marks protect themselves.
    unsafe {
        if !pg_sys::ConditionalLockRelationOid(buffer.into(), lock) {
            return 0;
        }
        let relation = pg_sys::table_open(buffer.into(), pg_sys::RowExclusiveLock as i32);
        // A crash now would take a buffer that this transaction has made away, whatever its log says.
        let (mut removed, left) = match is_settled(relation) {
            true => pages::clear(relation, consumed),
            false => (0, Vec::new()),
        };
        removed += left.into_iter().map(|place| u64::from(delete(relation, place))).sum::<u64>();
        pg_sys::table_close(relation, pg_sys::RowExclusiveLock as i32);
        pg_sys::UnlockRelationOid(buffer.into(), lock);
        removed
    }
}

/// Whether the current transaction has neither made the relation nor given it another file.
unsafe fn is_settled(relation: pg_sys::Relation) -> bool {
    // SAFETY: by the callers' contract it is open.
    unsafe { (*relation).rd_createSubid == 0 && (*relation).rd_firstRelfilelocatorSubid == 0 }
}

/// Deletes a committed row, with its out-of-line values; false when another transaction does.
unsafe fn delete(relation: pg_sys::Relation, mut place: pg_sys::ItemPointerData) -> bool {
    let mut failure = pg_sys::TM_FailureData::default();
    // SAFETY: the relation is locked for writing. Without waiting, a concurrent deletion is reported and left alone.
    unsafe {
        let command = pg_sys::GetCurrentCommandId(true);
        let nobody = std::ptr::null_mut();
        let result = pg_sys::heap_delete(relation, &mut place, command, nobody, false, &mut failure, false);
        result == pg_sys::TM_Result::TM_Ok
    }
}

/// Of a scan.
const LOCK: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

/// A scan of the pages that matter, if there are any. Its lock goes with it: what was read is in memory by then.
struct Scan {
    relation: pg_sys::Relation,
    /// The pages that it is about.
    ranges: Vec<pages::Range>,
    slot: *mut pg_sys::TupleTableSlot,
    rest: Rest,
}

/// What is to be read.
enum Rest {
    /// The pages of a scan, and those that come after them.
    Pages(pg_sys::TableScanDesc, std::vec::IntoIter<pages::Range>),
    /// Those of these rows that the snapshot sees.
    Rows(pg_sys::Snapshot, std::vec::IntoIter<pg_sys::ItemPointerData>),
}

impl Scan {
    /// Over the pages that may hold rows outside `frontier`, if there are any.
    fn newer(buffer: u32, snapshot: &Snapshot, frontier: &Frontier) -> Option<Self> {
        // SAFETY: the relation is open for as long as the value lives.
        unsafe {
            let relation = pg_sys::table_open(buffer.into(), LOCK);
            let ranges = pages::written_since(relation, frontier);
            if ranges.is_empty() {
                pg_sys::table_close(relation, LOCK);
                return None;
            }
            let rest = match page::places(relation, &ranges, frontier) {
                Some(rows) => Rest::Rows(snapshot.as_ptr(), rows.into_iter()),
                None => Self::pages(relation, snapshot, ranges.clone()),
            };
            let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
            Some(Scan { relation, ranges, slot, rest })
        }
    }

    /// A scan of pages, of which there are some.
    unsafe fn pages(relation: pg_sys::Relation, snapshot: &Snapshot, ranges: Vec<pages::Range>) -> Rest {
        let mut ranges = ranges.into_iter();
        // SAFETY: the snapshot is registered and outlives the scan, which the callers keep in their own frames. Pages that
        // are added after the ranges were made hold no row that the snapshot sees.
        unsafe {
            let scan = pg_sys::table_beginscan_strat(relation, snapshot.as_ptr(), 0, std::ptr::null_mut(), true, false);
            if let Some(first) = ranges.next() {
                pg_sys::heap_setscanlimits(scan, first.start, first.end - first.start);
            }
            Rest::Pages(scan, ranges)
        }
    }

    /// Moves to the next row of the range of pages.
    ///
    /// # Safety
    /// A guard is around, and nothing between it and here owns anything.
    unsafe fn next(&mut self) -> bool {
        // SAFETY: by contract; a row that is gone is one that the snapshot does not see.
        unsafe {
            match &mut self.rest {
                Rest::Pages(scan, _) => {
                    let access = (*(*(**scan).rs_rd).rd_tableam).scan_getnextslot;
                    let next = access.expect("every kind of table can be scanned");
                    next(*scan, pg_sys::ScanDirection::ForwardScanDirection, self.slot)
                }
                Rest::Rows(snapshot, rows) => {
                    let access = (*(*self.relation).rd_tableam).tuple_fetch_row_version;
                    let fetch = access.expect("every kind of table can be asked for a row");
                    rows.any(|mut row| fetch(self.relation, &mut row, *snapshot, self.slot))
                }
            }
        }
    }

    /// Goes over to the next range of pages, if there is one.
    fn next_range(&mut self) -> bool {
        let Rest::Pages(scan, ranges) = &mut self.rest else { return false };
        let Some(range) = ranges.next() else { return false };
        // SAFETY: limits are set right after the scan was started anew.
        unsafe {
            pg_sys::heap_rescan(*scan, std::ptr::null_mut(), false, false, false, false);
            pg_sys::heap_setscanlimits(*scan, range.start, range.end - range.start);
        }
        true
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        // SAFETY: opened by `newer`, closed once.
        unsafe {
            if let Rest::Pages(scan, _) = self.rest {
                pg_sys::table_endscan(scan);
            }
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::table_close(self.relation, LOCK);
        }
    }
}
