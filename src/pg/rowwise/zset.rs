//! A small Z-set in memory, consolidated by image as it is read.

use crate::pg::image::{self, Storage};
use crate::pg::tuplestore::TupleStore;
use pgrx::pg_sys::{self, Datum};
use std::collections::HashMap;

/// Rows with their weights, each image once. The values live in the memory context in which they were read.
pub(super) struct ZSet {
    width: usize,
    values: Vec<Datum>,
    nulls: Vec<bool>,
    pub(super) weights: Vec<i64>,
}

/// How the weight is read from its datum.
pub(super) type Weight = fn(Datum) -> i64;

impl ZSet {
    /// Reads `change`, whose last column is the weight.
    ///
    /// # Safety
    /// `storage` is that of the other columns, and `weight` reads the last one's type.
    pub(super) unsafe fn consolidated(change: &TupleStore, storage: &[Storage], weight: Weight) -> ZSet {
        let width = storage.len();
        let mut rows = ZSet { width, values: Vec::new(), nulls: Vec::new(), weights: Vec::new() };
        let mut known = Chains::default();
        // SAFETY: both slots have the store's descriptor; what is kept of a row is a copy of it.
        unsafe {
            let kept = pg_sys::MakeSingleTupleTableSlot(change.descriptor(), &raw const pg_sys::TTSOpsMinimalTuple);
            change.each(|slot| {
                let value = |column| value_of(slot, column);
                let w = value(width).map_or(0, weight);
                let digest = digest((0..width).map(|i| value(i).map(|value| image::digest(value, storage[i]))));
                let same = |row: usize| {
                    (0..width).all(|i| match (value(i), rows.value(row, i)) {
                        (Some(a), Some(b)) => image::equal(a, b, storage[i]),
                        (a, b) => a.is_none() && b.is_none(),
                    })
                };
                match known.find(digest, same) {
                    Some(row) => rows.weights[row] += w,
                    None => {
                        known.add(digest);
                        rows.keep(slot, kept);
                        rows.weights.push(w);
                    }
                }
            });
            pg_sys::ExecDropSingleTupleTableSlot(kept);
        }
        rows
    }

    /// Adds the values of a copy of the row in `slot`, for which `kept` is a slot.
    unsafe fn keep(&mut self, slot: &pg_sys::TupleTableSlot, kept: *mut pg_sys::TupleTableSlot) {
        let mut owned = false;
        // SAFETY: the copy belongs to the current memory context, not to the slot that it is read through.
        unsafe {
            let tuple = pg_sys::ExecFetchSlotMinimalTuple(std::ptr::from_ref(slot).cast_mut(), &mut owned);
            pg_sys::ExecStoreMinimalTuple(pg_sys::heap_copy_minimal_tuple(tuple, 0), kept, false);
            pg_sys::slot_getallattrs(kept);
            self.values.extend_from_slice(std::slice::from_raw_parts((*kept).tts_values, self.width));
            self.nulls.extend_from_slice(std::slice::from_raw_parts((*kept).tts_isnull, self.width));
        }
    }

    /// `None` for NULL.
    pub(super) fn value(&self, row: usize, column: usize) -> Option<Datum> {
        let place = row * self.width + column;
        (!self.nulls[place]).then(|| self.values[place])
    }

    /// The rows that do not cancel.
    pub(super) fn rows(&self) -> impl Iterator<Item = usize> {
        (0..self.weights.len()).filter(|row| self.weights[*row] != 0)
    }
}

/// The value of a column of a row that is deformed; `None` for NULL.
///
/// # Safety
/// The row has that column.
pub(super) unsafe fn value_of(slot: *const pg_sys::TupleTableSlot, column: usize) -> Option<Datum> {
    // SAFETY: by contract.
    unsafe { (!*(*slot).tts_isnull.add(column)).then(|| *(*slot).tts_values.add(column)) }
}

/// One number of several, NULLs counting as values.
pub(super) fn digest(digests: impl Iterator<Item = Option<u64>>) -> u64 {
    /// 2^64 divided by the golden ratio.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    digests.fold(0, |all, one| (all.rotate_left(5) ^ one.unwrap_or(SPREAD)).wrapping_mul(SPREAD))
}

/// Numbered things by their digests.
#[derive(Default)]
pub(super) struct Chains {
    last: HashMap<u64, usize>,
    /// The one before with the same digest.
    before: Vec<Option<usize>>,
}

impl Chains {
    /// The one with this digest that is the `same`.
    pub(super) fn find(&self, digest: u64, mut same: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut next = self.last.get(&digest).copied();
        while let Some(found) = next {
            if same(found) {
                return Some(found);
            }
            next = self.before[found];
        }
        None
    }

    /// Adds the next one.
    pub(super) fn add(&mut self, digest: u64) {
        self.before.push(self.last.insert(digest, self.before.len()));
    }
}
