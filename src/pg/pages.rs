//! The pages of a change buffer: which of them can hold what is looked for.
//!
//! A buffer keeps rows until its slowest reader has consumed them, and is as long as it ever had to be; neither may cost the
//! others. So each backend remembers, per page, between which transaction ids its rows lie, and learns of writes thus:
//!
//! - A page whose log position has not moved since has the same rows: a look at its header is enough.
//! - A page that is **sealed**, all-visible in the visibility map, needs no look. A buffer that has more pages in motion
//!   than [`SMALL`] has them sealed by who reads it ([`super::room`]): those full of rows that wait for a slow reader, and
//!   those that are empty. The map has 32 pages in eight bytes, so a refresh looks at the pages in motion and reads through
//!   the map, however long the buffer is.
//!
//! **Law.** A page that was sealed when it was looked at, and is sealed in a map page whose log position has not moved since,
//! holds no row that the reader's snapshot sees and that was not there at the look.
//!
//! **Why.** Whoever adds a row to a sealed page clears the page's bit while it holds the page's lock, before its transaction can
//! commit. Setting a bit moves the map page's log position; clearing it may, by the server's minor version. So the bit was set all the time from the reading
//! of the map that came before the look until the one that comes after the snapshot was taken. A row that was added after the look
//! has its bit cleared after the look, too; it is not, so no transaction that added such a row had committed when the snapshot
//! was taken. Rows that go away leave the bounds too wide, which costs a look and no more. After a crash no backend remembers
//! anything, and the map itself is the server's: logged, and cleared by recovery as by writers.
//!
//! A reader that sets bits itself follows the position: it does so for pages that it has seen in motion, and looks at each of them once more.
//! Where clearing a bit moves the position, each writer that takes a sealed page has everything looked at. So a page that has rows and room for more, where the
//! next writer goes on, is left in motion until it has been quiet from one reading to the next. So is a page whose rows the reader has consumed, until a
//! removal on its behalf has left them there.
//!
//! A page is read when a transaction that the reader's frontier does not hold can have rows on it: one that was running then, or
//! a later one. So what others wrote beside a long transaction is read once, and not again until that one ends.
//!
//! A buffer is emptied of what everybody has consumed only now and then ([`is_due`]): the rows that wait for it lie on pages
//! that are looked at and not read, and to remove them costs as much for one as for a page.
//!
//! An unlogged buffer, and one that the current transaction has made, has no log positions: all of its pages are looked at.
//! A page holds its place in motion while some snapshot is older than its rows: what a long transaction may still see is
//! neither freed nor sealed.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::pg_sys;
use pgtrickle_engine::frontier::Frontier;

use super::consumed;
use super::page::{self, Page, Span};
use super::room::{self, Work};

/// So many pages may be in motion without anything being done about it.
const SMALL: u32 = 8;
/// So many more pages of consumed rows are worth a removal.
const WORTHWHILE: usize = 2;
/// How many buffers a backend remembers pages of.
const REMEMBERED: usize = 256;
/// Pages of which the visibility map has two bits each in eight bytes.
const CHUNK: u32 = 32;
/// Those of the two bits that say that all rows are visible to all.
const ALL_VISIBLE: u64 = 0x5555_5555_5555_5555;
/// Heap pages of which one page of the visibility map tells.
const MAPPED: u32 = (pg_sys::BLCKSZ - MAP_START) * 4;
/// Where the bits begin: behind the page header.
const MAP_START: u32 = 24;

const _: () = assert!(MAPPED.is_multiple_of(CHUNK) && size_of::<pg_sys::PageHeaderData>() as u32 == MAP_START);

/// Consecutive pages that the visibility map has in one word.
#[derive(Clone, Copy)]
struct Chunk {
    span: Span,
    /// The map's bits of pages that were sealed when they were looked at, and are.
    sealed: u64,
    /// The map's bits now.
    map: u64,
}

struct File {
    number: pg_sys::RelFileNumber,
    pages: Vec<Page>,
    chunks: Vec<Chunk>,
    /// Log positions of the visibility map's pages when they were read; 0: never.
    maps: Vec<u64>,
    /// How many pages were in motion at the last look, if that was for a reading and no removal followed.
    fresh: Option<u32>,
    /// By reader, before which transaction it had consumed everything at the last removal on its behalf.
    removed: HashMap<i64, u64>,
    /// The highest of these: what is left of earlier transactions waits for some reader.
    tried: u64,
}

thread_local! {
    static FILES: RefCell<HashMap<u32, File>> = RefCell::new(HashMap::new());
}

/// Consecutive pages.
pub(super) type Range = std::ops::Range<u32>;

/// The pages that may hold a row outside `frontier`. When too many are in motion, they are put to rest.
///
/// # Safety
/// `relation` is an open buffer.
pub(super) unsafe fn written_since(relation: pg_sys::Relation, frontier: &Frontier) -> Vec<Range> {
    // SAFETY: by contract. The lock is given back when the pages are tidy; nobody waits for it.
    unsafe {
        let (ranges, work) =
            survey(relation, |span| frontier.lacks_some(span.oldest, span.newest), Some(frontier.begin()));
        let lock = pg_sys::ShareUpdateExclusiveLock as i32;
        if !work.pages.is_empty() && pg_sys::ConditionalLockRelation(relation, lock) {
            tidy(relation, &work);
            pg_sys::UnlockRelation(relation, lock);
        }
        ranges
    }
}

/// How many rows that `frontier` does not hold and `target` does there are on the pages, those of transactions that rolled back perhaps among
/// them; about so many where many pages have others, too.
///
/// # Safety
/// `relation` is an open buffer, and the ranges are those of [`written_since`].
pub(super) unsafe fn count(
    relation: pg_sys::Relation,
    ranges: &[Range],
    (frontier, target): (&Frontier, &Frontier),
) -> u64 {
    let (mut rows, mut mixed, mut of_mixed) = (0, Vec::new(), 0);
    // SAFETY: by contract.
    unsafe {
        FILES.with_borrow_mut(|files| {
            let pages = &known(files, relation).pages;
            for block in ranges.iter().cloned().flatten() {
                let Some(page) = pages.get(block as usize) else { continue };
                if page.span.oldest >= frontier.end() && page.span.newest < target.begin() {
                    rows += u64::from(page.rows);
                } else {
                    mixed.push(block);
                    of_mixed += u64::from(page.rows);
                }
            }
        });
        let wanted = |xid, cid| target.contains(xid, cid) && !frontier.contains(xid, cid);
        rows + page::count(relation, (&mixed, of_mixed), wanted)
    }
}

/// Takes the rows that are inside all of `consumed` off their pages, see [`consumed`](super::consumed); returns how many, and
/// where there are others that are to be deleted. What was deleted and no snapshot can see any more is freed on pages that
/// are at least half full, and writers learn of the room.
///
/// # Safety
/// As [`consumed::clear`].
pub(super) unsafe fn clear(relation: pg_sys::Relation, consumed: &[Frontier]) -> (u64, Vec<pg_sys::ItemPointerData>) {
    let end = consumed.iter().map(Frontier::end).min().unwrap_or(0);
    let (mut removed, mut left) = (0, Vec::new());
    // SAFETY: by contract.
    unsafe {
        let (ranges, work) = survey(relation, |span| span.oldest < end, None);
        for block in ranges.iter().cloned().flatten() {
            pgrx::check_for_interrupts!();
            // Most rows of a page are of one command.
            let mut last = None;
            let inside = |xid, cid| match last {
                Some((row, inside)) if row == (xid, cid) => inside,
                _ => last.insert(((xid, cid), consumed.iter().all(|frontier| frontier.contains(xid, cid)))).1,
            };
            let Some(cleared) = consumed::clear(relation, block, inside) else { continue };
            removed += cleared.removed;
            left.extend(cleared.left);
            FILES.with_borrow_mut(|files| known(files, relation).note(block, cleared.page));
        }
        if let (Some(first), Some(last), true) = (ranges.first(), ranges.last(), removed > 0) {
            pg_sys::FreeSpaceMapVacuumRange(relation, first.start, last.end);
        }
        tidy(relation, &work);
    }
    (removed, left)
}

/// Does the work, and follows the log positions of the map's pages as far as nobody else has moved them. Under the lock that is
/// held, nobody else sets a bit; and the bits that are set here are of pages that were not sealed when they were looked at.
unsafe fn tidy(relation: pg_sys::Relation, work: &Work) {
    // SAFETY: by the callers' contract.
    unsafe {
        let before = map_positions(relation, work);
        room::make(relation, work);
        let after = map_positions(relation, work);
        FILES.with_borrow_mut(|files| {
            let file = known(files, relation);
            for ((known, before), after) in file.maps.iter_mut().zip(before).zip(after) {
                if *known == before && before != 0 {
                    *known = after;
                }
            }
        });
    }
}

/// The log positions of the pages of the visibility map, if some are about to be moved.
unsafe fn map_positions(relation: pg_sys::Relation, work: &Work) -> Vec<u64> {
    if !work.seal {
        return Vec::new();
    }
    let position = |first| {
        let mut buffer = pg_sys::InvalidBuffer as pg_sys::Buffer;
        // SAFETY: by the callers' contract; the page, if it is there, is pinned while its position is read.
        unsafe {
            pg_sys::visibilitymap_get_status(relation, first, &mut buffer);
            if buffer == pg_sys::InvalidBuffer as pg_sys::Buffer {
                return 0;
            }
            let position = pg_sys::BufferGetLSNAtomic(buffer);
            pg_sys::ReleaseBuffer(buffer);
            position
        }
    };
    (0..work.count).step_by(MAPPED as usize).map(position).collect()
}

/// Whether a removal of what everybody has consumed is worth it for this reader, who has consumed rows of transactions before
/// `end`: such rows have filled some pages since the last one on its behalf. It goes by what was known when the pages were last
/// looked at. What others have not consumed yet is removed when they have, or by whoever removes something later.
pub(super) fn is_due(buffer: u32, reader: i64, end: u64) -> bool {
    FILES.with_borrow(|files| {
        let Some(file) = files.get(&buffer) else { return true };
        let begin = file.removed.get(&reader).copied().unwrap_or(0);
        file.written(begin..end) >= WORTHWHILE
    })
}

/// Notes that what can be removed has been, on behalf of this reader.
pub(super) fn removed(buffer: u32, reader: i64, end: u64) {
    FILES.with_borrow_mut(|files| {
        if let Some(file) = files.get_mut(&buffer) {
            file.removed.insert(reader, end);
            file.tried = file.tried.max(end);
        }
    });
}

/// The pages with rows of interest, and those on which there is something to do: a few pages in motion are left alone, unless
/// it is about a removal, which frees what there is on those that are half full. A `reading` passes over transactions before the
/// given one.
unsafe fn survey(
    relation: pg_sys::Relation,
    wanted: impl Fn(Span) -> bool,
    reading: Option<u64>,
) -> (Vec<Range>, Work) {
    // SAFETY: by the callers' contract.
    unsafe {
        let count = pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
        let mut work = Work { pages: Vec::new(), seal: false, count };
        FILES.with_borrow_mut(|files| {
            let file = known(files, relation);
            let logged = is_logged(relation);
            // A removal follows a reading, and looks at each page under its lock, if VACUUM has not given the page back meanwhile.
            let moving = match file.fresh.take() {
                Some(moving) if reading.is_none() && count as usize >= file.pages.len() => moving,
                _ => file.look(relation, count, logged, reading.is_some()),
            };
            file.fresh = reading.map(|_| moving);
            work.seal = logged && moving > SMALL;
            if reading.is_none() || work.seal {
                let visibility = pg_sys::GlobalVisTestFor(relation);
                // For a slower reader, or for none: they are outside all frontiers, and have been read.
                let waits = |page: &Page| {
                    let newest = page.span.newest;
                    newest < file.tried || (page.is_quiet && reading.is_some_and(|from| newest >= from))
                };
                let pages = file
                    .in_motion()
                    .filter(|(_, page)| room::can_do(page, visibility, (work.seal, waits(page))))
                    .map(|(block, _)| block);
                work.pages.extend(pages);
            }
            (file.ranges(wanted), work)
        })
    }
}

unsafe fn known(files: &mut HashMap<u32, File>, relation: pg_sys::Relation) -> &mut File {
    // SAFETY: the callers' relation is open.
    let (id, number) = unsafe { ((*relation).rd_id.to_u32(), (*relation).rd_locator.relNumber) };
    if files.len() >= REMEMBERED && !files.contains_key(&id) {
        files.clear();
    }
    let unknown = || File {
        number,
        pages: Vec::new(),
        chunks: Vec::new(),
        maps: Vec::new(),
        fresh: None,
        removed: HashMap::new(),
        tried: 0,
    };
    let file = files.entry(id).or_insert_with(unknown);
    if file.number != number {
        *file = unknown();
    }
    file
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

impl File {
    /// Brings what is known about the first `count` pages up to date; returns how many are in motion. Not all looks begin a reading.
    unsafe fn look(&mut self, relation: pg_sys::Relation, count: u32, logged: bool, begins: bool) -> u32 {
        self.pages.resize(count as usize, Page::UNKNOWN);
        self.chunks.resize(count.div_ceil(CHUNK) as usize, Chunk { span: Span::EMPTY, sealed: 0, map: 0 });
        self.maps.resize(count.div_ceil(MAPPED) as usize, 0);
        for (map, first) in (0..count).step_by(MAPPED as usize).enumerate() {
            // SAFETY: by the callers' contract.
            unsafe { self.read_map(relation, map, first, logged) };
        }
        let mut moving = 0;
        for (first, (chunk, pages)) in
            (0..count).step_by(CHUNK as usize).zip(self.chunks.iter_mut().zip(self.pages.chunks_mut(CHUNK as usize)))
        {
            let all = ALL_VISIBLE >> (2 * (CHUNK as usize - pages.len()));
            if chunk.sealed & all == all {
                continue;
            }
            // What is known stays right when a long look is broken off between two chunks.
            pgrx::check_for_interrupts!();
            chunk.span = Span::EMPTY;
            for (index, page) in pages.iter_mut().enumerate() {
                let bit = 1 << (2 * index);
                if chunk.sealed & bit == 0 {
                    // SAFETY: as above; the page is one of the file's.
                    unsafe { page.look(relation, first + index as u32, logged, begins) };
                    moving += u32::from(chunk.map & bit == 0);
                }
                chunk.span.add(page.span);
            }
            chunk.sealed = chunk.map & all;
        }
        moving
    }

    /// Reads a page of the visibility map. Pages that are not sealed any more, or may not have been all the time, are to be
    /// looked at. No page of the buffer is locked meanwhile: writers lock that first, then the map.
    unsafe fn read_map(&mut self, relation: pg_sys::Relation, map: usize, first: u32, logged: bool) {
        let chunks = &mut self.chunks[(first / CHUNK) as usize..];
        let chunks = chunks.iter_mut().take((MAPPED / CHUNK) as usize);
        let mut buffer = pg_sys::InvalidBuffer as pg_sys::Buffer;
        // SAFETY: the page is pinned, and locked while it is read. Its bits are those of MAPPED pages.
        unsafe {
            if logged {
                pg_sys::visibilitymap_get_status(relation, first, &mut buffer);
            }
            if buffer == pg_sys::InvalidBuffer as pg_sys::Buffer {
                self.maps[map] = 0;
                chunks.for_each(|chunk| (chunk.sealed, chunk.map) = (0, 0));
                return;
            }
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let lsn = pg_sys::BufferGetLSNAtomic(buffer);
            let steady = lsn != 0 && self.maps[map] == lsn;
            let words = pg_sys::BufferGetPage(buffer).cast::<u8>().add(MAP_START as usize).cast::<u64>();
            for (index, chunk) in chunks.enumerate() {
                chunk.map = if lsn == 0 { 0 } else { u64::from_le(words.add(index).read()) & ALL_VISIBLE };
                chunk.sealed = if steady { chunk.sealed & chunk.map } else { 0 };
            }
            self.maps[map] = lsn;
            pg_sys::UnlockReleaseBuffer(buffer);
        }
    }

    /// The pages that are not sealed.
    fn in_motion(&self) -> impl Iterator<Item = (u32, &Page)> {
        let chunks = (0u32..).step_by(CHUNK as usize).zip(&self.chunks);
        chunks.filter(|(_, chunk)| chunk.sealed != ALL_VISIBLE).flat_map(move |(first, chunk)| {
            let pages = self.pages[first as usize..].iter().take(CHUNK as usize).enumerate();
            pages
                .filter(|(index, _)| chunk.sealed & (1 << (2 * index)) == 0)
                .map(move |(index, page)| (first + index as u32, page))
        })
    }

    /// Takes in what a page is like now, under the lock of which it was looked at.
    fn note(&mut self, block: u32, page: Page) {
        let first = block / CHUNK * CHUNK;
        if let Some(known) = self.pages.get_mut(block as usize) {
            *known = page;
            let span = &mut self.chunks[(block / CHUNK) as usize].span;
            *span = Span::EMPTY;
            self.pages[first as usize..].iter().take(CHUNK as usize).for_each(|page| span.add(page.span));
        }
    }

    /// How many pages one of these transactions was the last to write.
    fn written(&self, by: std::ops::Range<u64>) -> usize {
        let chunks = self.chunks.iter().zip(self.pages.chunks(CHUNK as usize));
        let chunks = chunks.filter(|(chunk, _)| chunk.span.newest >= by.start);
        let pages = chunks.flat_map(|(_, pages)| pages);
        pages.filter(|page| page.span.oldest <= page.span.newest && by.contains(&page.span.newest)).count()
    }

    fn ranges(&self, wanted: impl Fn(Span) -> bool) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        for (first, chunk) in (0u32..).step_by(CHUNK as usize).zip(&self.chunks) {
            if !wanted(chunk.span) {
                continue;
            }
            for (block, page) in (first..).zip(self.pages[first as usize..].iter().take(CHUNK as usize)) {
                match ranges.last_mut() {
                    _ if !wanted(page.span) => {}
                    Some(last) if last.end == block => last.end += 1,
                    _ => ranges.push(block..block + 1),
                }
            }
        }
        ranges
    }
}
