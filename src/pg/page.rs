//! A page of a change buffer: which transactions and commands wrote its rows.
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
const MOST_COUNTED: usize = 64;

/// What a line pointer points to.
pub(super) enum Item {
    /// A row of this transaction and command.
    Row(u64, u32, Values),
    /// A row whose writer was found to have rolled back.
    RolledBack(Values),
    Dead,
    Unused,
    Other,
}

/// Where the values of a row are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    Inside,
    /// Some are out of line.
    Outside,
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
                    let mask = u32::from(header.t_infomask);
                    let values = if mask & pg_sys::HEAP_HASEXTERNAL == 0 { Values::Inside } else { Values::Outside };
                    match mask & pg_sys::HEAP_XMIN_FROZEN {
                        pg_sys::HEAP_XMIN_INVALID => Item::RolledBack(values),
                        _ => {
                            let first = row.add(header.t_hoff as usize);
                            let (xid, cid) = (first.cast::<u64>(), first.add(size_of::<u64>()).cast::<u32>());
                            Item::Row(xid.read(), cid.read(), values)
                        }
                    }
                }
                pg_sys::LP_DEAD => Item::Dead,
                pg_sys::LP_UNUSED => Item::Unused,
                _ => Item::Other,
            };
            (index + 1, item)
        })
    }
}

/// Between which transaction ids the rows of pages lie, dead ones included; `oldest > newest` when there is none.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) oldest: u64,
    pub(super) newest: u64,
}

impl Span {
    pub(super) const EMPTY: Span = Span { oldest: u64::MAX, newest: 0 };

    pub(super) fn add(&mut self, other: Span) {
        self.oldest = self.oldest.min(other.oldest);
        self.newest = self.newest.max(other.newest);
    }
}

/// What is known about a page.
#[derive(Clone, Copy)]
pub(super) struct Page {
    /// Log position when this was found out; 0: never.
    lsn: u64,
    pub(super) span: Span,
    /// Those of transactions that rolled back perhaps among them.
    pub(super) rows: u16,
    /// Who deleted rows of it first, if anybody did.
    pub(super) deleter: pg_sys::TransactionId,
    /// Line pointers are left over from rows.
    pub(super) has_dead_pointers: bool,
    pub(super) half_full: bool,
    /// It has rows, and room for another one of their size.
    pub(super) has_room: bool,
    /// It was the same when a reader came before.
    pub(super) is_quiet: bool,
}

impl Page {
    pub(super) const UNKNOWN: Page = Page {
        lsn: 0,
        span: Span::EMPTY,
        rows: 0,
        deleter: pg_sys::InvalidTransactionId,
        has_dead_pointers: false,
        half_full: false,
        has_room: false,
        is_quiet: false,
    };
}

impl Page {
    /// What there is to know about a page that is locked.
    ///
    /// # Safety
    /// It is one of a buffer.
    pub(super) unsafe fn of(buffer: pg_sys::Buffer) -> Page {
        // SAFETY: by contract.
        unsafe { Page { lsn: pg_sys::BufferGetLSNAtomic(buffer), ..describe(pg_sys::BufferGetPage(buffer)) } }
    }

    /// Brings what is known about the page up to date.
    ///
    /// # Safety
    /// `relation` is an open buffer that has the block.
    pub(super) unsafe fn look(&mut self, relation: pg_sys::Relation, block: u32, logged: bool, begins: bool) {
        // SAFETY: by contract; the page is locked while it is read.
        unsafe {
            let buffer = pg_sys::ReadBuffer(relation, block);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let lsn = pg_sys::BufferGetLSNAtomic(buffer);
            if lsn == 0 || lsn != self.lsn || !logged {
                *self = Page::of(buffer);
            } else if begins {
                self.is_quiet = true;
            }
            pg_sys::UnlockReleaseBuffer(buffer);
        }
    }
}

/// Reads a page that is locked.
unsafe fn describe(page: pg_sys::Page) -> Page {
    let mut found = Page::UNKNOWN;
    // SAFETY: a buffer's rows begin with `xid` and `cid`, NOT NULL and of fixed width, so they stand right behind the row's header.
    unsafe {
        if pg_sys::PageIsNew(page) {
            return found;
        }
        let header = &*page.cast::<pg_sys::PageHeaderData>();
        let (free, used) =
            (u32::from(header.pd_upper - header.pd_lower), u32::from(header.pd_special - header.pd_upper));
        found.half_full = free < pg_sys::BLCKSZ / 2;
        let count = u32::from(pg_sys::PageGetMaxOffsetNumber(page));
        found.has_room = used > 0 && free * count >= used;
        found.deleter = header.pd_prune_xid;
        for (_, row) in items(page) {
            match row {
                Item::Dead => found.has_dead_pointers = true,
                Item::Row(xid, ..) => {
                    found.span.add(Span { oldest: xid, newest: xid });
                    found.rows += 1;
                }
                Item::RolledBack(_) | Item::Unused | Item::Other => {}
            }
        }
    }
    found
}

/// Reads the line pointers of the pages.
///
/// # Safety
/// `relation` is an open buffer that has the blocks.
unsafe fn read(relation: pg_sys::Relation, blocks: impl Iterator<Item = u32>, mut row: impl FnMut(u32, u16, Item)) {
    for block in blocks {
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

/// How many of the `rows` on the blocks are of the `wanted` transactions and commands; where there are many blocks, by the share of those on some of
/// them, at equal distances.
///
/// # Safety
/// As [`read`].
pub(super) unsafe fn count(
    relation: pg_sys::Relation,
    (blocks, rows): (&[u32], u64),
    wanted: impl Fn(u64, u32) -> bool,
) -> u64 {
    let every = (blocks.len() / MOST_COUNTED).max(1);
    let (mut found, mut seen) = (0, 0);
    // SAFETY: by contract.
    unsafe {
        read(relation, blocks.iter().copied().step_by(every), |_, _, item| {
            if let Item::Row(xid, cid, _) = item {
                found += u64::from(wanted(xid, cid));
                seen += 1;
            }
        });
    }
    if every == 1 { found } else { found * rows / seen.max(1) }
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
        read(relation, ranges.iter().cloned().flatten(), |block, offset, item| {
            if matches!(item, Item::Row(xid, ..) if frontier.lacks_some(xid, xid)) {
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
