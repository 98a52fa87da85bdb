//! Taking consumed rows off the pages of a change buffer.
//!
//! **Law.** A row that is inside every reader's frontier *as committed* is asked for by nobody any more. It is taken off its page at
//! once: no `xmax`, no second look, one log record for a page.
//!
//! **Why.** A removal stays when the transaction that did it is rolled back, so its reason has to stay as well.
//!
//! - *Rollback.* The frontiers are those that others have committed; what this transaction has consumed is removed by a
//!   later one. A stream table's frontier only grows, and a refresh begins at the committed one, with its row locked; one whose snapshot
//!   shows an older one cannot lock the row ([`super::table::lock`]). Whatever a refresh may yet ask for is outside
//!   its frontier, hence there.
//! - *Crash.* A commit is in the log before anybody sees it, also where it does not wait for the disk; the removal's record comes after it, and
//!   the page is not written before its record. Who finds the row gone after recovery, or on a standby, finds the
//!   frontier committed.
//! - *The writer has ended*: the snapshot that the frontiers were read with is one of those that the row has to be inside of. Whether it
//!   committed does not matter, nor whether a savepoint was rolled back: dead rows go likewise.
//! - *Old snapshots.* Nothing but refreshes reads buffers, and those by their frontiers. An old snapshot that somebody else reads a buffer with
//!   misses rows, here and on a standby; it is not waited for.
//! - *The page.* It is changed under a cleanup lock, so no scan stands on it; one that is in use is left for another time. A row's
//!   line pointer may be used again: by a writer that whoever noted the place before does not see. There is no index that points to it.
//! - *The maps.* A page whose rows all snapshots see stays such a page without some of them. Of the room, the free space map is told.
//!
//! Rows with out-of-line values are left to the caller, who deletes them with those; so are all rows of a buffer on which somebody has
//! made an index.

use pgrx::pg_sys;

use super::page::{self, Item, Page, Values, items};
use super::room::{row_at, visible};

/// A page after what was consumed was taken off it.
pub(super) struct Cleared {
    pub(super) page: Page,
    pub(super) removed: u64,
    /// Consumed rows that are to be deleted.
    pub(super) left: Vec<pg_sys::ItemPointerData>,
}

/// Takes the rows of `consumed` transactions and commands off a page, unless somebody is using it.
///
/// # Safety
/// `relation` is an open buffer that has the page, locked against VACUUM and the creation of indexes. Its changes are logged
/// unless it is an unlogged one.
pub(super) unsafe fn clear(
    relation: pg_sys::Relation,
    block: u32,
    mut consumed: impl FnMut(u64, u32) -> bool,
) -> Option<Cleared> {
    // SAFETY: by contract. The page is read and changed under the cleanup lock.
    unsafe {
        let buffer = pg_sys::ReadBuffer(relation, block);
        if !pg_sys::ConditionalLockBufferForCleanup(buffer) {
            pg_sys::ReleaseBuffer(buffer);
            return None;
        }
        let is_indexed = (*(*relation).rd_rel).relhasindex;
        let (mut gone, mut left) = (Vec::new(), Vec::new());
        let page = pg_sys::BufferGetPage(buffer);
        if !pg_sys::PageIsNew(page) {
            for (offset, item) in items(page) {
                match item {
                    Item::Row(xid, cid, _) if !consumed(xid, cid) => {}
                    Item::Row(_, _, Values::Inside) | Item::RolledBack(Values::Inside) if !is_indexed => {
                        gone.push(offset)
                    }
                    Item::Row(..) if visible(row_at(relation, page, offset), buffer) => {
                        left.push(page::place(block, offset))
                    }
                    _ => {}
                }
            }
        }
        if !gone.is_empty() {
            remove(relation, buffer, &mut gone);
        }
        let cleared = Cleared { page: Page::of(buffer), removed: gone.len() as u64, left };
        let room = pg_sys::PageGetHeapFreeSpace(page);
        pg_sys::UnlockReleaseBuffer(buffer);
        if cleared.removed > 0 {
            pg_sys::RecordPageWithFreeSpace(relation, block, room);
        }
        Some(cleared)
    }
}

/// Removes rows, of which there are some, from a page that is locked for cleanup. One on which nothing is left is made anew.
unsafe fn remove(relation: pg_sys::Relation, buffer: pg_sys::Buffer, gone: &mut [u16]) {
    let none = std::ptr::null_mut::<u16>();
    let count = gone.len() as i32;
    // SAFETY: nothing fails between the change and its log record, or the server starts anew from the log.
    unsafe {
        let page = pg_sys::BufferGetPage(buffer);
        let is_logged = (*(*relation).rd_rel).relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT;
        let mut left = items(page).filter(|(offset, _)| gone.binary_search(offset).is_err());
        if left.all(|(_, item)| matches!(item, Item::Unused)) {
            empty(buffer, is_logged);
            return;
        }
        pg_sys::CritSectionCount += 1;
        pg_sys::heap_page_prune_execute(buffer, false, none, 0, none, 0, gone.as_mut_ptr(), count);
        pg_sys::MarkBufferDirty(buffer);
        if is_logged {
            // No query on a standby is in the way: see the old snapshots above.
            let conflict = pg_sys::InvalidTransactionId;
            let reason = pg_sys::PruneReason::PRUNE_ON_ACCESS;
            let (frozen, gone) = (std::ptr::null_mut(), gone.as_mut_ptr());
            pg_sys::log_heap_prune_and_freeze(
                relation, buffer, conflict, true, reason, frozen, 0, none, 0, none, 0, gone, count,
            );
        }
        pg_sys::CritSectionCount -= 1;
    }
}

/// Makes a page that is locked for cleanup an empty one. Its image in the log, without the room in the middle, is shorter than a list of
/// what is gone; the record is one of pruning, for which recovery takes the cleanup lock, too, and notes the room.
unsafe fn empty(buffer: pg_sys::Buffer, is_logged: bool) {
    // SAFETY: as above. What the visibility map says of the page stays so, and the page has to say the same.
    unsafe {
        let page = pg_sys::BufferGetPage(buffer);
        let is_visible = pg_sys::PageIsAllVisible(page);
        pg_sys::CritSectionCount += 1;
        pg_sys::PageInit(page, pg_sys::BLCKSZ as pg_sys::Size, 0);
        if is_visible {
            pg_sys::PageSetAllVisible(page);
        }
        pg_sys::MarkBufferDirty(buffer);
        if is_logged {
            let flags = (pg_sys::XLHP_CLEANUP_LOCK | pg_sys::XLHP_HAS_NOW_UNUSED_ITEMS) as u8;
            let record = pg_sys::xl_heap_prune { reason: 0, flags };
            pg_sys::XLogBeginInsert();
            pg_sys::XLogRegisterBuffer(0, buffer, (pg_sys::REGBUF_FORCE_IMAGE | pg_sys::REGBUF_STANDARD) as u8);
            pg_sys::XLogRegisterData((&raw const record).cast(), size_of_val(&record) as u32);
            let lsn = pg_sys::XLogInsert(pg_sys::RmgrIds::RM_HEAP2_ID as u8, pg_sys::XLOG_HEAP2_PRUNE_ON_ACCESS as u8);
            pg_sys::PageSetLSN(page, lsn);
        }
        pg_sys::CritSectionCount -= 1;
    }
}
