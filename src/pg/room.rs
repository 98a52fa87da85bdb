//! Making room in a change buffer, and putting its pages to rest.
//!
//! Room of removed rows is given back as VACUUM would do it: a buffer has no index, so a dead row's line pointer is free at once.
//! A buffer in steady use stays a few pages long without waiting for autovacuum.
//!
//! A page all of whose rows are visible to every snapshot, also one without rows, can be sealed: marked all-visible in the
//! visibility map, where the next one who writes to it takes the mark away. That too is what VACUUM does, under the same locks:
//! the buffer locked against other VACUUMs, the page for cleanup; a page that somebody is using is left for another time.

use pgrx::pg_sys;

use super::page::Page;

/// What there is to do in a buffer.
pub(super) struct Work {
    pub(super) pages: Vec<u32>,
    /// Seal what can be sealed.
    pub(super) seal: bool,
    /// The buffer's length.
    pub(super) count: u32,
}

/// Whether something can be done about the page: without `seal` only freeing, on pages that are half full. A page with rows is
/// sealed if it `waits`: as long as they may be removed soon, sealing it would be in vain.
///
/// # Safety
/// `visibility` is that of the buffer.
pub(super) unsafe fn can_do(page: &Page, visibility: *mut pg_sys::GlobalVisState, (seal, waits): (bool, bool)) -> bool {
    // SAFETY: by contract. The transactions have run, or are running.
    unsafe {
        let deleted = page.deleter != pg_sys::InvalidTransactionId;
        let freeable =
            page.has_dead_pointers || (deleted && pg_sys::GlobalVisTestIsRemovableXid(visibility, page.deleter));
        let newest = pg_sys::FullTransactionId { value: page.span.newest };
        let rests = !page.has_room || page.is_quiet;
        let sealable = || {
            seal && rests
                && !deleted
                && (newest.value == 0 || (waits && pg_sys::GlobalVisTestIsRemovableFullXid(visibility, newest)))
        };
        (freeable && (seal || page.half_full)) || sealable()
    }
}

/// Frees what no snapshot can see any more on the pages, and seals them if they are to be sealed. Writers learn of the room.
///
/// # Safety
/// `relation` is an open buffer, locked against VACUUM and the creation of indexes.
pub(super) unsafe fn make(relation: pg_sys::Relation, work: &Work) {
    if work.pages.is_empty() {
        return;
    }
    // SAFETY: by contract. A page is changed under a cleanup lock only, which is not waited for.
    unsafe {
        let visibility = pg_sys::GlobalVisTestFor(relation);
        let mut map = pg_sys::InvalidBuffer as pg_sys::Buffer;
        for &block in &work.pages {
            pgrx::check_for_interrupts!();
            if work.seal {
                pg_sys::visibilitymap_pin(relation, block, &mut map);
            }
            let buffer = pg_sys::ReadBuffer(relation, block);
            if !pg_sys::ConditionalLockBufferForCleanup(buffer) {
                pg_sys::ReleaseBuffer(buffer);
                continue;
            }
            match pg_sys::PageIsNew(pg_sys::BufferGetPage(buffer)) {
                true => initialise(buffer),
                false => prune(relation, buffer, visibility),
            }
            if work.seal {
                seal(relation, (block, buffer), visibility, map);
            }
            let room = pg_sys::PageGetHeapFreeSpace(pg_sys::BufferGetPage(buffer));
            pg_sys::UnlockReleaseBuffer(buffer);
            pg_sys::RecordPageWithFreeSpace(relation, block, room);
        }
        if map != pg_sys::InvalidBuffer as pg_sys::Buffer {
            pg_sys::ReleaseBuffer(map);
        }
        pg_sys::FreeSpaceMapVacuumRange(relation, 0, work.count);
    }
}

/// Makes an empty page of one that a writer added beyond its needs and nobody has used, and that is locked for cleanup.
unsafe fn initialise(buffer: pg_sys::Buffer) {
    // SAFETY: nothing fails between the change and its log record, or the server starts anew from the log.
    unsafe {
        pg_sys::CritSectionCount += 1;
        pg_sys::PageInit(pg_sys::BufferGetPage(buffer), pg_sys::BLCKSZ as pg_sys::Size, 0);
        pg_sys::MarkBufferDirty(buffer);
        pg_sys::log_newpage_buffer(buffer, true);
        pg_sys::CritSectionCount -= 1;
    }
}

/// Frees what can be freed on a page that is locked for cleanup.
unsafe fn prune(relation: pg_sys::Relation, buffer: pg_sys::Buffer, visibility: *mut pg_sys::GlobalVisState) {
    // SAFETY: the page is locked and initialised.
    unsafe {
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
    }
}

/// Seals a page that is locked for cleanup, if every snapshot sees all of its rows.
unsafe fn seal(
    relation: pg_sys::Relation,
    (block, buffer): (u32, pg_sys::Buffer),
    visibility: *mut pg_sys::GlobalVisState,
    map: pg_sys::Buffer,
) {
    // SAFETY: the page is locked and initialised, the map's page pinned. The order of `lazy_scan_prune`.
    unsafe {
        let page = pg_sys::BufferGetPage(buffer);
        if let Some(newest) = visible_to_all(relation, buffer, visibility) {
            pg_sys::PageSetAllVisible(page);
            pg_sys::MarkBufferDirty(buffer);
            let flags = pg_sys::VISIBILITYMAP_ALL_VISIBLE as u8;
            pg_sys::visibilitymap_set(relation, block, buffer, 0, map, newest, flags);
        }
    }
}

/// What the line pointer of a page points to, if to a row.
///
/// # Safety
/// The page is one of the relation, and is locked for as long as the result is used.
pub(super) unsafe fn row_at(relation: pg_sys::Relation, page: pg_sys::Page, offset: u16) -> pg_sys::HeapTupleData {
    // SAFETY: by contract.
    unsafe {
        let item = &*pg_sys::PageGetItemId(page, offset);
        pg_sys::HeapTupleData {
            t_len: item.lp_len(),
            t_tableOid: (*relation).rd_id,
            t_data: page.cast::<u8>().add(item.lp_off() as usize).cast(),
            ..Default::default()
        }
    }
}

/// Whether the row was committed and is not deleted.
///
/// # Safety
/// It is a row of the page in `buffer`, which is locked.
pub(super) unsafe fn visible(mut row: pg_sys::HeapTupleData, buffer: pg_sys::Buffer) -> bool {
    let mut dead_after = pg_sys::InvalidTransactionId;
    // SAFETY: by contract.
    let state = unsafe { pg_sys::HeapTupleSatisfiesVacuumHorizon(&mut row, buffer, &mut dead_after) };
    state == pg_sys::HTSV_Result::HEAPTUPLE_LIVE
}

/// If every snapshot sees all rows of a page that is locked: the latest transaction that wrote one, if any did.
unsafe fn visible_to_all(
    relation: pg_sys::Relation,
    buffer: pg_sys::Buffer,
    visibility: *mut pg_sys::GlobalVisState,
) -> Option<pg_sys::TransactionId> {
    let mut newest = pg_sys::InvalidTransactionId;
    // SAFETY: items of a locked page; the rows' tuple headers stay where they are.
    unsafe {
        let page = pg_sys::BufferGetPage(buffer);
        for offset in 1..=pg_sys::PageGetMaxOffsetNumber(page) {
            let item = &*pg_sys::PageGetItemId(page, offset);
            match item.lp_flags() {
                pg_sys::LP_UNUSED => continue,
                pg_sys::LP_NORMAL => {}
                _ => return None,
            }
            let row = row_at(relation, page, offset);
            if !visible(row, buffer) {
                return None;
            }
            if u32::from((*row.t_data).t_infomask) & pg_sys::HEAP_XMIN_FROZEN == pg_sys::HEAP_XMIN_FROZEN {
                continue;
            }
            let writer = (*row.t_data).t_choice.t_heap.t_xmin;
            if !pg_sys::GlobalVisTestIsRemovableXid(visibility, writer) {
                return None;
            }
            let later = |a: u32, b: u32| (a.wrapping_sub(b) as i32) > 0;
            if newest == pg_sys::InvalidTransactionId || later(writer.into_inner(), newest.into_inner()) {
                newest = writer;
            }
        }
    }
    Some(newest)
}
