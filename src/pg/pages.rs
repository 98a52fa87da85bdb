//! The pages of a change buffer: which of them can hold what is looked for, and making room in them.
//!
//! A buffer keeps rows until its slowest reader has consumed them; the others must not pay for that backlog. So each backend
//! remembers, per page, between which transaction ids its rows lie. A page whose log position has not moved since has the
//! same rows, and those that a reader has all consumed, or none of which may be removed yet, are passed over after a
//! look at the page header.
//!
//! Room of removed rows is given back here, too, as VACUUM would do it: a buffer has no index, so a dead row's line pointer is
//! free at once. A buffer in steady use stays a few pages long without waiting for autovacuum.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::pg_sys;

/// Up to this length a buffer is read whole; looking at the headers first would cost more.
const SMALL: u32 = 8;
/// How many buffers a backend remembers pages of.
const REMEMBERED: usize = 256;

/// What is known about a page.
#[derive(Clone, Copy, Default)]
struct Page {
    /// Log position when this was found out.
    lsn: u64,
    /// The lowest and the highest transaction id of its rows, dead ones included; `oldest > newest` when there is none.
    oldest: u64,
    newest: u64,
    /// Whether there may be something to free: rows that were deleted, or line pointers left over from some.
    prunable: bool,
}

struct File {
    number: pg_sys::RelFileNumber,
    pages: Vec<Page>,
}

thread_local! {
    static FILES: RefCell<HashMap<u32, File>> = RefCell::new(HashMap::new());
}

/// Consecutive pages.
pub(super) type Range = std::ops::Range<u32>;

/// The pages that may hold a row of transaction `from` or a later one.
///
/// # Safety
/// `relation` is an open buffer.
pub(super) unsafe fn written_since(relation: pg_sys::Relation, from: u64) -> Vec<Range> {
    // SAFETY: by contract.
    unsafe {
        let count = length(relation);
        if count <= SMALL || !is_logged(relation) {
            return Vec::from_iter((count > 0).then_some(0..count));
        }
        let mut ranges = Vec::new();
        look_at_all(relation, count, |block, page| {
            if page.newest >= from {
                extend(&mut ranges, block);
            }
        });
        ranges
    }
}

/// The pages that may hold a row of a transaction before `end`. What no snapshot can see any more is freed on pages that
/// are at least half full, and writers learn of the room.
///
/// # Safety
/// `relation` is an open buffer, locked against VACUUM and the creation of indexes.
pub(super) unsafe fn reclaim(relation: pg_sys::Relation, end: u64) -> Vec<Range> {
    // SAFETY: by contract. A page is changed under a cleanup lock only, which is not waited for.
    unsafe {
        let count = length(relation);
        let mut ranges = Vec::new();
        let mut prunable = Vec::new();
        look_at_all(relation, count, |block, page| {
            if page.oldest < end {
                extend(&mut ranges, block);
            }
            if page.prunable {
                prunable.push(block);
            }
        });
        make_room(relation, count, prunable);
        ranges
    }
}

fn extend(ranges: &mut Vec<Range>, block: u32) {
    match ranges.last_mut() {
        Some(last) if last.end == block => last.end += 1,
        _ => ranges.push(block..block + 1),
    }
}

unsafe fn make_room(relation: pg_sys::Relation, count: u32, prunable: Vec<u32>) {
    if prunable.is_empty() {
        return;
    }
    // SAFETY: by the caller's contract.
    unsafe {
        let visibility = pg_sys::GlobalVisTestFor(relation);
        let mut freed = false;
        for block in prunable {
            let buffer = pg_sys::ReadBuffer(relation, block);
            if !pg_sys::ConditionalLockBufferForCleanup(buffer) {
                pg_sys::ReleaseBuffer(buffer);
                continue;
            }
            let room = prune(relation, buffer, visibility);
            pg_sys::UnlockReleaseBuffer(buffer);
            if let Some(room) = room {
                pg_sys::RecordPageWithFreeSpace(relation, block, room);
                freed = true;
            }
        }
        if freed {
            pg_sys::FreeSpaceMapVacuumRange(relation, 0, count);
        }
    }
}

/// Frees what can be freed on a page that is locked for cleanup; returns how much room there is if there was something.
unsafe fn prune(
    relation: pg_sys::Relation,
    buffer: pg_sys::Buffer,
    visibility: *mut pg_sys::GlobalVisState,
) -> Option<usize> {
    // SAFETY: the page is locked, so its header does not change meanwhile.
    unsafe {
        let page = pg_sys::BufferGetPage(buffer);
        let header = &*page.cast::<pg_sys::PageHeaderData>();
        let oldest_deletion = header.pd_prune_xid;
        let removable = oldest_deletion != pg_sys::InvalidTransactionId
            && pg_sys::GlobalVisTestIsRemovableXid(visibility, oldest_deletion);
        if !removable && !describe(page).has_dead_pointers {
            return None;
        }
        let options = if (*(*relation).rd_rel).relhasindex { 0 } else { pg_sys::HEAP_PAGE_PRUNE_MARK_UNUSED_NOW };
        let mut result = pg_sys::PruneFreezeResult::default();
        let mut offset = 0;
        pg_sys::heap_page_prune_and_freeze(
            relation,
            buffer,
            visibility,
            options as i32,
            std::ptr::null_mut(),
            &mut result,
            pg_sys::PruneReason::PRUNE_ON_ACCESS,
            &mut offset,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
        Some(pg_sys::PageGetHeapFreeSpace(page))
    }
}

unsafe fn length(relation: pg_sys::Relation) -> u32 {
    // SAFETY: by the callers' contract.
    unsafe { pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM) }
}

/// Whether every change of a page moves its log position: not so for unlogged buffers, and with `wal_level = minimal` for
/// those that the current transaction has made.
unsafe fn is_logged(relation: pg_sys::Relation) -> bool {
    // SAFETY: by the callers' contract.
    unsafe {
        let fresh = (*relation).rd_createSubid != 0 || (*relation).rd_firstRelfilelocatorSubid != 0;
        (*(*relation).rd_rel).relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT && !fresh
    }
}

/// Brings what is known about the first `count` pages up to date and shows each.
unsafe fn look_at_all(relation: pg_sys::Relation, count: u32, mut show: impl FnMut(u32, &Page)) {
    FILES.with_borrow_mut(|files| {
        // SAFETY: by the callers' contract.
        unsafe {
            let number = (*relation).rd_locator.relNumber;
            if files.len() >= REMEMBERED && !files.contains_key(&(*relation).rd_id.to_u32()) {
                files.clear();
            }
            let file = files.entry((*relation).rd_id.to_u32()).or_insert(File { number, pages: Vec::new() });
            if file.number != number {
                *file = File { number, pages: Vec::new() };
            }
            file.pages.resize(count as usize, Page::default());
            let logged = is_logged(relation);
            for (block, known) in (0..count).zip(&mut file.pages) {
                let buffer = pg_sys::ReadBuffer(relation, block);
                pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
                let page = pg_sys::BufferGetPage(buffer);
                let lsn = pg_sys::BufferGetLSNAtomic(buffer);
                if lsn == 0 || lsn != known.lsn || !logged {
                    *known = describe(page).known(lsn);
                }
                pg_sys::UnlockReleaseBuffer(buffer);
                show(block, known);
            }
        }
    });
}

/// What a page holds.
struct Description {
    oldest: u64,
    newest: u64,
    has_dead_pointers: bool,
    half_full: bool,
    has_deletions: bool,
}

impl Description {
    fn known(&self, lsn: u64) -> Page {
        let prunable = self.half_full && (self.has_dead_pointers || self.has_deletions);
        Page { lsn, oldest: self.oldest, newest: self.newest, prunable }
    }
}

/// Reads a page that is locked.
unsafe fn describe(page: pg_sys::Page) -> Description {
    let mut found =
        Description { oldest: u64::MAX, newest: 0, has_dead_pointers: false, half_full: false, has_deletions: false };
    // SAFETY: a buffer's rows begin with `xid`, NOT NULL and eight bytes wide, so it stands right behind the row's header.
    unsafe {
        if pg_sys::PageIsNew(page) {
            return found;
        }
        let header = &*page.cast::<pg_sys::PageHeaderData>();
        found.half_full = u32::from(header.pd_upper - header.pd_lower) < pg_sys::BLCKSZ / 2;
        found.has_deletions = header.pd_prune_xid != pg_sys::InvalidTransactionId;
        for offset in 1..=pg_sys::PageGetMaxOffsetNumber(page) {
            let item = &*pg_sys::PageGetItemId(page, offset);
            match item.lp_flags() {
                pg_sys::LP_DEAD => found.has_dead_pointers = true,
                pg_sys::LP_NORMAL => {
                    let row = page.cast::<u8>().add(item.lp_off() as usize);
                    let start = (*row.cast::<pg_sys::HeapTupleHeaderData>()).t_hoff;
                    let xid = row.add(start as usize).cast::<u64>().read();
                    found.oldest = found.oldest.min(xid);
                    found.newest = found.newest.max(xid);
                }
                _ => {}
            }
        }
    }
    found
}
