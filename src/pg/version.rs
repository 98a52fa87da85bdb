//! Versions of rows as they are stored.
//!
//! Of the versions of a row a snapshot sees at most one. So who knows a row and finds its version where it was, by a new snapshot,
//! knows the row as it is, without an index. A place is used again only in the same file, and not before nobody sees what was there; no
//! transaction writes two versions to one place. So file, place and writer name one version.

use super::snapshot::full_id;
use pgrx::pg_sys;

/// A version of a row: where it is, and which transaction made it.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    file: pg_sys::RelFileNumber,
    pub(super) place: pg_sys::ItemPointerData,
    writer: u64,
}

impl Version {
    /// The version that a slot holds; `None` when it is not the one on a page.
    ///
    /// # Safety
    /// The slot holds a row of a table as it is stored.
    pub(super) unsafe fn of(slot: *mut pg_sys::TupleTableSlot) -> Option<Version> {
        // SAFETY: by contract; slots with these operations are of that type, and keep the page of a tuple pinned.
        unsafe {
            if (*slot).tts_ops != &raw const pg_sys::TTSOpsBufferHeapTuple {
                return None;
            }
            let stored = &*slot.cast::<pg_sys::BufferHeapTupleTableSlot>();
            if stored.buffer == pg_sys::InvalidBuffer as i32 || stored.base.tuple.is_null() {
                return None;
            }
            let (mut file, mut fork, mut block) = (pg_sys::RelFileLocator::default(), 0, 0);
            pg_sys::BufferGetTag(stored.buffer, &mut file, &mut fork, &mut block);
            Some(Version::made(file.relNumber, stored.base.tuple))
        }
    }

    /// That of a tuple that was written to the open relation.
    ///
    /// # Safety
    /// The tuple says where it is stored.
    pub(super) unsafe fn written(relation: pg_sys::Relation, tuple: pg_sys::HeapTuple) -> Version {
        // SAFETY: by contract.
        unsafe { Version::made((*relation).rd_locator.relNumber, tuple) }
    }

    /// Whether the open relation has the page where the version was.
    ///
    /// # Safety
    /// The relation is a table.
    pub(super) unsafe fn is_in(&self, relation: pg_sys::Relation) -> bool {
        let block = (u32::from(self.place.ip_blkid.bi_hi) << 16) | u32::from(self.place.ip_blkid.bi_lo);
        // SAFETY: by contract.
        unsafe {
            (*relation).rd_locator.relNumber == self.file
                && block < pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM)
        }
    }

    unsafe fn made(file: pg_sys::RelFileNumber, tuple: pg_sys::HeapTuple) -> Version {
        // SAFETY: the callers' contract. A frozen version keeps the writer's id.
        unsafe {
            let writer = full_id((*(*tuple).t_data).t_choice.t_heap.t_xmin);
            Version { file, place: (*tuple).t_self, writer }
        }
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        let whole = |version: &Version| {
            let block = version.place.ip_blkid;
            (version.file, block.bi_hi, block.bi_lo, version.place.ip_posid, version.writer)
        };
        whole(self) == whole(other)
    }
}
