//! Tuplestores that a Rust value owns: rows in memory up to what [`memory`] says, in a temporary file past that.

use std::collections::HashSet;
use std::ffi::CStr;

use super::bare;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pg_sys::{self, Datum};

/// Rows of one tuple descriptor, written once and read many times. Lives until it is dropped or the transaction ends,
/// across subtransactions.
pub struct TupleStore {
    state: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
    context: pg_sys::MemoryContext,
}

/// What the changes of one relation, or a step of a recomputation, may take in memory, in kB: a refresh is maintenance, and has several of
/// these. What a session's queries may take is not taken away from it.
pub(super) fn memory() -> i32 {
    // SAFETY: settings are integers that exist from the server's start on.
    unsafe { pg_sys::work_mem.max(pg_sys::maintenance_work_mem / 4) }
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
            let state = pg_sys::tuplestore_begin_heap(false, false, memory());
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

    /// Whether its rows are all in memory.
    pub fn is_in_memory(&self) -> bool {
        // SAFETY: the state is ours.
        unsafe { pg_sys::tuplestore_in_memory(self.state) }
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

    /// The columns at `places` of all rows, one row after the other, and which are NULL. What is not passed by value stays
    /// where the store has it; the store is in memory.
    pub(super) fn deformed(&self, places: &[usize]) -> (Vec<Datum>, Vec<bool>) {
        assert!(self.is_in_memory(), "rows that are not in memory move");
        let (width, rows) = (places.len(), self.rows() as usize);
        let (mut values, mut nulls) = (vec![Datum::from(0); rows * width], vec![true; rows * width]);
        let needed = places.iter().max().map_or(0, |place| *place as i32 + 1);
        // SAFETY: the slot has the store's descriptor, which has these columns. One guard for all calls: what is inside owns nothing.
        unsafe {
            pg_guard_ffi_boundary(|| {
                let slot = bare::MakeSingleTupleTableSlot(self.descriptor, &raw const pg_sys::TTSOpsMinimalTuple);
                bare::tuplestore_rescan(self.state);
                for (values, nulls) in values.chunks_exact_mut(width).zip(nulls.chunks_exact_mut(width)) {
                    if !bare::tuplestore_gettupleslot(self.state, true, false, slot) {
                        break;
                    }
                    bare::slot_getsomeattrs_int(slot, needed);
                    for ((value, null), place) in values.iter_mut().zip(nulls).zip(places) {
                        *value = *(*slot).tts_values.add(*place);
                        *null = *(*slot).tts_isnull.add(*place);
                    }
                }
                bare::ExecDropSingleTupleTableSlot(slot);
            });
        }
        (values, nulls)
    }

    /// Whether no two rows have the same value in the column, which is never NULL. Of one whose values are not passed by value, and of rows that are
    /// not in memory, it is not known.
    pub fn all_differ(&self, column: &str) -> bool {
        let Some(place) = self.columns().iter().position(|name| name == column) else { return false };
        // SAFETY: the descriptor is ours and has this column.
        let by_value = unsafe { (*pg_sys::TupleDescAttr(self.descriptor, place as i32)).attbyval };
        if !by_value || !self.is_in_memory() {
            return false;
        }
        let mut seen = HashSet::new();
        self.deformed(&[place]).0.into_iter().all(|value| seen.insert(value.value()))
    }

    /// Adds rows of `width` columns, one after the other in `values` and `nulls`.
    ///
    /// # Safety
    /// They are of the store's types.
    pub(super) unsafe fn put_all(&mut self, width: usize, values: &[Datum], nulls: &[bool]) {
        // SAFETY: by contract; the store copies the rows. One guard for all calls: what is inside owns nothing.
        unsafe {
            pg_guard_ffi_boundary(|| {
                for (values, nulls) in values.chunks_exact(width).zip(nulls.chunks_exact(width)) {
                    bare::tuplestore_putvalues(self.state, self.descriptor, values.as_ptr(), nulls.as_ptr());
                }
            });
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
