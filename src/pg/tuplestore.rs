//! Tuplestores that a Rust value owns: rows in memory up to `work_mem`, in a temporary file past that.

use std::ffi::CStr;

use pgrx::pg_sys;

/// Rows of one tuple descriptor, written once and read many times. Lives until it is dropped or the transaction ends,
/// across subtransactions.
pub struct TupleStore {
    state: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
    context: pg_sys::MemoryContext,
}

impl TupleStore {
    /// An empty store of rows of `descriptor`, which is copied.
    ///
    /// # Safety
    /// `descriptor` is valid.
    pub(super) unsafe fn like(descriptor: pg_sys::TupleDesc) -> Self {
        // SAFETY: everything lives in a context of its own and belongs to the top transaction's resource owner, so neither
        // a subtransaction's end nor a reset of the caller's context takes it away before the drop.
        unsafe {
            let context = pg_sys::AllocSetContextCreateInternal(
                pg_sys::TopTransactionContext,
                c"pg_trickle tuple store".as_ptr(),
                pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
                pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
                pg_sys::ALLOCSET_SMALL_MAXSIZE as usize,
            );
            let caller = pg_sys::MemoryContextSwitchTo(context);
            let owner = pg_sys::CurrentResourceOwner;
            pg_sys::CurrentResourceOwner = pg_sys::TopTransactionResourceOwner;
            let state = pg_sys::tuplestore_begin_heap(false, false, pg_sys::work_mem);
            let descriptor = pg_sys::CreateTupleDescCopy(descriptor);
            pg_sys::CurrentResourceOwner = owner;
            pg_sys::MemoryContextSwitchTo(caller);
            TupleStore { state, descriptor, context }
        }
    }

    /// How many rows it holds.
    pub fn rows(&self) -> u64 {
        // SAFETY: the state is ours; it counts what was ever added, and nothing is ever taken out.
        unsafe { pg_sys::tuplestore_tuple_count(self.state) as u64 }
    }

    /// The names of its columns, in order.
    pub fn columns(&self) -> Vec<String> {
        // SAFETY: the descriptor is ours and complete.
        unsafe {
            (0..(*self.descriptor).natts)
                .map(|index| {
                    let attribute = pg_sys::TupleDescAttr(self.descriptor, index);
                    CStr::from_ptr((*attribute).attname.data.as_ptr()).to_string_lossy().into_owned()
                })
                .collect()
        }
    }

    /// Adds a row.
    ///
    /// # Safety
    /// `slot` holds a row of the store's descriptor.
    pub(super) unsafe fn put(&mut self, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: the store copies the row into memory of its own.
        unsafe { pg_sys::tuplestore_puttupleslot(self.state, slot) };
    }

    /// Gives each row to `read`, from the first on, with its values deformed.
    pub(super) fn each(&self, mut read: impl FnMut(&pg_sys::TupleTableSlot)) {
        // SAFETY: the slot has the store's own descriptor; a row stays valid in it until the next one is fetched.
        unsafe {
            let slot = pg_sys::MakeSingleTupleTableSlot(self.descriptor, &raw const pg_sys::TTSOpsMinimalTuple);
            pg_sys::tuplestore_rescan(self.state);
            while pg_sys::tuplestore_gettupleslot(self.state, true, false, slot) {
                pg_sys::slot_getallattrs(slot);
                read(&*slot);
            }
            pg_sys::ExecDropSingleTupleTableSlot(slot);
        }
    }

    pub(super) fn as_ptr(&self) -> *mut pg_sys::Tuplestorestate {
        self.state
    }

    pub(super) fn descriptor(&self) -> pg_sys::TupleDesc {
        self.descriptor
    }
}

impl Drop for TupleStore {
    fn drop(&mut self) {
        // SAFETY: both are ours; at an error, unwinding drops the value before the abort frees contexts and owners.
        unsafe {
            pg_sys::tuplestore_end(self.state);
            pg_sys::MemoryContextDelete(self.context);
        }
    }
}
