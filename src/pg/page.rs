//! The rows of a change buffer, page by page: which transactions and commands wrote them.
//!
//! Nothing here asks what a snapshot sees. A page is locked while it is read.

use pgrx::pg_sys;
use pgtrickle_engine::frontier::Frontier;

use super::pages::Range;

/// So many pages are read row by row.
const FEW_PAGES: u32 = 8;
/// So many rows are fetched one by one, where a scan would look at every row of their pages.
const FEW_ROWS: usize = 64;

/// Of no more than about twice so many pages all rows are counted.
const MOST_COUNTED: usize = 128;

/// What a line pointer points to.
pub(super) enum Item {
    /// A row of this transaction and command.
    Row(u64, u32),
    /// A row whose writer was found to have rolled back.
    RolledBack,
    Dead,
    Other,
}

/// The line pointers of a page. A buffer's rows begin with `xid` and `cid`, NOT NULL and of fixed width, so they stand right behind the
/// row's header.
///
/// # Safety
/// `page` is one of a buffer, locked and not new.
pub(super) unsafe fn items(page: pg_sys::Page) -> impl Iterator<Item = (u16, Item)> {
    // SAFETY: a line pointer is a word with an offset in the page, two bits that say what there is, and a length
    // (`ItemIdData`; bit-fields begin at the low end, or on other machines at the high one).
    unsafe {
        let words = page.cast::<u8>().add(size_of::<pg_sys::PageHeaderData>()).cast::<u32>();
        (0..pg_sys::PageGetMaxOffsetNumber(page)).map(move |index| {
            let word = words.add(index.into()).read();
            let offset = if cfg!(target_endian = "little") { word & 0x7fff } else { word >> 17 };
            let item = match (word >> 15) & 3 {
                pg_sys::LP_NORMAL => {
                    let row = page.cast::<u8>().add(offset as usize);
                    let header = &*row.cast::<pg_sys::HeapTupleHeaderData>();
                    match u32::from(header.t_infomask) & pg_sys::HEAP_XMIN_FROZEN {
                        pg_sys::HEAP_XMIN_INVALID => Item::RolledBack,
                        _ => {
                            let values = row.add(header.t_hoff as usize);
                            Item::Row(values.cast::<u64>().read(), values.add(size_of::<u64>()).cast::<u32>().read())
                        }
                    }
                }
                pg_sys::LP_DEAD => Item::Dead,
                _ => Item::Other,
            };
            (index + 1, item)
        })
    }
}

/// Reads the line pointers of the pages.
///
/// # Safety
/// `relation` is an open buffer that is as long as the ranges say.
unsafe fn read(relation: pg_sys::Relation, ranges: &[Range], mut row: impl FnMut(u32, u16, Item)) {
    for block in ranges.iter().cloned().flatten() {
        pgrx::check_for_interrupts!();
        // SAFETY: by contract; the page is locked while it is read.
        unsafe {
            let buffer = pg_sys::ReadBuffer(relation, block);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let page = pg_sys::BufferGetPage(buffer);
            if !pg_sys::PageIsNew(page) {
                items(page).for_each(|(offset, item)| row(block, offset, item));
            }
            pg_sys::UnlockReleaseBuffer(buffer);
        }
    }
}

/// How many rows of the `wanted` transactions and commands there are on the pages; of many pages some are counted, at equal distances.
///
/// # Safety
/// As [`read`].
pub(super) unsafe fn count(relation: pg_sys::Relation, ranges: &[Range], wanted: impl Fn(u64, u32) -> bool) -> u64 {
    let pages = ranges.iter().map(|range| range.len()).sum::<usize>();
    let every = (pages / MOST_COUNTED).max(1);
    let counted: Vec<Range> = match every {
        1 => ranges.to_vec(),
        _ => ranges.iter().cloned().flatten().step_by(every).map(|block| block..block + 1).collect(),
    };
    let mut found = 0;
    // SAFETY: by contract.
    unsafe {
        read(relation, &counted, |_, _, item| {
            found += u64::from(matches!(item, Item::Row(xid, cid) if wanted(xid, cid)))
        });
    }
    found * pages as u64 / pages.div_ceil(every).max(1) as u64
}

/// Where the rows of transactions that `frontier` does not hold are, if the `ranges` are few pages with few such rows.
///
/// # Safety
/// As [`read`].
pub(super) unsafe fn places(
    relation: pg_sys::Relation,
    ranges: &[Range],
    frontier: &Frontier,
) -> Option<Vec<pg_sys::ItemPointerData>> {
    let mut found = Vec::new();
    if ranges.iter().map(|range| range.end - range.start).sum::<u32>() > FEW_PAGES {
        return None;
    }
    // SAFETY: by contract.
    unsafe {
        read(relation, ranges, |block, offset, item| {
            if matches!(item, Item::Row(xid, _) if frontier.lacks_some(xid, xid)) {
                found.push(place(block, offset));
            }
        });
    }
    (found.len() <= FEW_ROWS).then_some(found)
}

/// Where something is.
pub(super) fn place(block: u32, offset: u16) -> pg_sys::ItemPointerData {
    let ip_blkid = pg_sys::BlockIdData { bi_hi: (block >> 16) as u16, bi_lo: block as u16 };
    pg_sys::ItemPointerData { ip_blkid, ip_posid: offset }
}
