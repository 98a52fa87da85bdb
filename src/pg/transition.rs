//! The transition tables of a trigger. As for [`bare`], nothing here owns anything that needs dropping.

use pgrx::pg_sys;

use super::bare;

/// How many rows a transition table holds; there is none for the other kinds of statements.
///
/// # Safety
/// `store` is NULL or a transition table of a trigger that runs.
pub(super) unsafe fn count(store: *mut pg_sys::Tuplestorestate) -> i64 {
    // SAFETY: a transition table is valid while its trigger runs.
    if store.is_null() { 0 } else { unsafe { bare::tuplestore_tuple_count(store) } }
}

/// The rows of a transition table, in order.
pub(super) struct Rows {
    store: *mut pg_sys::Tuplestorestate,
    slot: *mut pg_sys::TupleTableSlot,
    pub(super) count: i64,
}

impl Rows {
    /// # Safety
    /// `store`, if any, holds rows of `descriptor`.
    pub(super) unsafe fn of(store: *mut pg_sys::Tuplestorestate, descriptor: pg_sys::TupleDesc) -> Option<Self> {
        if store.is_null() {
            return None;
        }
        // SAFETY: the table is ours to read from its start, whoever read it before.
        unsafe {
            bare::tuplestore_rescan(store);
            let slot = bare::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsMinimalTuple);
            Some(Rows { store, slot, count: count(store) })
        }
    }

    /// # Safety
    /// The trigger still runs.
    pub(super) unsafe fn next(&mut self) -> Option<*mut pg_sys::TupleTableSlot> {
        // SAFETY: without a copy, the row is valid until the next one of this table is fetched.
        unsafe { bare::tuplestore_gettupleslot(self.store, true, false, self.slot) }.then_some(self.slot)
    }

    /// # Safety
    /// As [`Rows::next`].
    pub(super) unsafe fn end(self) {
        // SAFETY: made by `of`.
        unsafe { bare::ExecDropSingleTupleTableSlot(self.slot) }
    }
}
