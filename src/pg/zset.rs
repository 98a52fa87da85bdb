//! Z-sets in memory, consolidated by image as they are read.
//!
//! **Law.** `consolidate(Z)` as `pgtrickle_engine::delta::zset` has it: each image once with the sum of its weights, images with the
//! sum 0 gone. A statement that groups makes an image of each row first; here they are compared where they are.

use super::executor::Work;
use super::image::{self, Storage};
use super::tuplestore::{self, TupleStore};
use pgrx::pg_sys::{self, Datum};
use std::collections::HashMap;
use std::ffi::CStr;
use std::hash::{BuildHasherDefault, Hasher};
use std::marker::PhantomData;

const WEIGHT: &CStr = c"w";

/// So many times what a store may take in memory may be kept of its rows besides.
const MOST_TIMES: u64 = 2;

/// How the weight is read from its datum.
pub(super) type Weight = fn(Datum) -> i64;

/// Rows with their weights, each image once, in the order in which they came. The values are those in the store.
pub(super) struct ZSet<'a> {
    width: usize,
    /// Of each row the columns and one place more.
    values: Vec<Datum>,
    nulls: Vec<bool>,
    pub(super) weights: Vec<i64>,
    store: PhantomData<&'a TupleStore>,
}

impl<'a> ZSet<'a> {
    /// Reads the columns of `change`, which is in memory, at `places`, and the weight at the place that comes with it. `None` when
    /// reading takes much more memory than the rows do, or when so many rows have one digest that a statement, which sorts or
    /// hashes their images, takes less.
    ///
    /// # Safety
    /// `storage` is that of these columns, and the weight is read as what is there.
    pub(super) unsafe fn consolidated(
        change: &'a TupleStore,
        (places, storage): (&[usize], &[Storage]),
        (last, weight): (usize, Weight),
    ) -> Option<ZSet<'a>> {
        if change.rows() * Self::bytes_of_row(places.len()) > MOST_TIMES * tuplestore::memory() as u64 * 1024 {
            return None;
        }
        let (width, stride) = (places.len(), places.len() + 1);
        let places: Vec<usize> = places.iter().copied().chain([last]).collect();
        let (values, nulls) = change.deformed(&places);
        let mut rows = ZSet { width, values, nulls, weights: Vec::new(), store: PhantomData };
        let mut known = Chains::for_rows(change.rows() as usize);
        for row in 0..change.rows() as usize {
            pgrx::check_for_interrupts!();
            let w = weight(rows.values[row * stride + width]);
            let value = |column| rows.value(row, column);
            // SAFETY: values of columns that are stored so.
            let (digest, found) = unsafe {
                let digest = digest((0..width).map(|i| value(i).map(|value| image::digest(value, storage[i]))));
                let same = |other: usize| {
                    (0..width).all(|i| match (value(i), rows.value(other, i)) {
                        (Some(a), Some(b)) => image::equal(a, b, storage[i]),
                        (a, b) => a.is_none() && b.is_none(),
                    })
                };
                (digest, known.find(digest, same))
            };
            match found? {
                Found::At(known) => rows.weights[known] += w,
                Found::Nowhere => {
                    known.add(digest);
                    rows.move_row(row, rows.weights.len());
                    rows.weights.push(w);
                }
            }
        }
        Some(rows)
    }

    /// What is kept of a row of so many columns besides the row.
    fn bytes_of_row(width: usize) -> u64 {
        const CHAINS: usize = size_of::<(u64, usize)>() + size_of::<Option<usize>>() + size_of::<i64>();
        ((width + 1) * (size_of::<Datum>() + size_of::<bool>()) + CHAINS) as u64
    }

    /// A row takes the place of one that is no more wanted.
    fn move_row(&mut self, from: usize, to: usize) {
        let stride = self.width + 1;
        self.values.copy_within(from * stride..(from + 1) * stride, to * stride);
        self.nulls.copy_within(from * stride..(from + 1) * stride, to * stride);
    }

    /// `None` for NULL.
    pub(super) fn value(&self, row: usize, column: usize) -> Option<Datum> {
        let place = row * (self.width + 1) + column;
        (!self.nulls[place]).then(|| self.values[place])
    }

    /// The rows that do not cancel.
    pub(super) fn rows(&self) -> impl Iterator<Item = usize> {
        (0..self.weights.len()).filter(|row| self.weights[*row] != 0)
    }

    /// Puts the rows that do not cancel into `store`, which has the columns and the weight, an `int4`. `None` when one is too large.
    fn put_into(mut self, store: &mut TupleStore) -> Option<()> {
        let (mut kept, stride) = (0, self.width + 1);
        for row in 0..self.weights.len() {
            if self.weights[row] != 0 {
                self.move_row(row, kept);
                let weight = i32::try_from(self.weights[row]).ok()?;
                self.values[kept * stride + self.width] = Datum::from(weight);
                self.nulls[kept * stride + self.width] = false;
                kept += 1;
            }
        }
        // SAFETY: the columns are those of the store.
        unsafe { store.put_all(stride, &self.values[..kept * stride], &self.nulls[..kept * stride]) };
        Some(())
    }
}

impl TupleStore {
    /// Its Z-set consolidated, with the columns called `names` in their order and the weight `w` of its own column of that name. `None` when it, or
    /// what has to be compared, does not fit in memory, or when a value is a row, whose image is not its bytes: then a statement does it.
    pub fn consolidated(&self, names: &[String]) -> Option<TupleStore> {
        let columns = self.columns();
        let place = |name: &str| columns.iter().position(|column| column == name);
        let places: Vec<usize> = names.iter().map(|name| place(name)).collect::<Option<_>>()?;
        let last = place("w")?;
        // SAFETY: the places are those of columns of the descriptor, whose attributes are valid.
        Work::new().run(|| unsafe {
            let attribute = |place: usize| &*pg_sys::TupleDescAttr(self.descriptor(), place as i32);
            if !self.is_in_memory() || places.iter().any(|place| holds_rows(attribute(*place))) {
                return None;
            }
            let weight = weight(attribute(last))?;
            let storage: Vec<Storage> = places.iter().map(|place| Storage::of(attribute(*place))).collect();
            let mut net = weighted(self.descriptor(), &places);
            ZSet::consolidated(self, (&places, &storage), (last, weight))?.put_into(&mut net)?;
            Some(net)
        })
    }
}

/// An empty store of the columns that `descriptor` has at `places`, and `w`.
unsafe fn weighted(descriptor: pg_sys::TupleDesc, places: &[usize]) -> TupleStore {
    let width = places.len();
    // SAFETY: the descriptor has these columns; the store copies its own.
    unsafe {
        let own = pg_sys::CreateTemplateTupleDesc(width as i32 + 1);
        for (column, place) in places.iter().enumerate() {
            pg_sys::TupleDescCopyEntry(own, column as i16 + 1, descriptor, *place as i16 + 1);
        }
        pg_sys::TupleDescInitEntry(own, width as i16 + 1, WEIGHT.as_ptr(), pg_sys::INT4OID, -1, 0);
        TupleStore::like(own)
    }
}

/// A Z-set that grows: columns and `w`.
pub(super) struct Collected {
    store: TupleStore,
    slot: *mut pg_sys::TupleTableSlot,
    width: usize,
}

impl Collected {
    /// None yet, with the columns that `descriptor` has at `places`.
    ///
    /// # Safety
    /// It has them.
    pub(super) unsafe fn new(descriptor: pg_sys::TupleDesc, places: &[usize]) -> Collected {
        // SAFETY: by contract.
        unsafe {
            let store = weighted(descriptor, places);
            let slot = pg_sys::MakeSingleTupleTableSlot(store.descriptor(), &raw const pg_sys::TTSOpsVirtual);
            Collected { store, slot, width: places.len() }
        }
    }

    /// Adds a row.
    ///
    /// # Safety
    /// `value` gives a value of each column's type, which lives during the call.
    pub(super) unsafe fn add(&mut self, value: impl Fn(usize) -> Option<Datum>, w: i32) {
        let slot = self.slot;
        // SAFETY: the slot has these columns and the weight; the store copies the row.
        unsafe {
            (*(*slot).tts_ops).clear.expect("every kind of slot can be cleared")(slot);
            for column in 0..self.width {
                let value = value(column);
                (*slot).tts_isnull.add(column).write(value.is_none());
                (*slot).tts_values.add(column).write(value.unwrap_or(Datum::from(0)));
            }
            (*slot).tts_isnull.add(self.width).write(false);
            (*slot).tts_values.add(self.width).write(Datum::from(w));
            pg_sys::ExecStoreVirtualTuple(slot);
            self.store.put(slot);
        }
    }

    pub(super) fn end(self) -> TupleStore {
        // SAFETY: made with the value.
        unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) };
        self.store
    }
}

/// How the weight in such a column is read, if it is one.
pub(super) fn weight(attribute: &pg_sys::FormData_pg_attribute) -> Option<Weight> {
    match attribute.atttypid {
        pg_sys::INT4OID => Some(|datum| i64::from(datum.value() as i32)),
        pg_sys::INT8OID => Some(|datum| datum.value() as i64),
        _ => None,
    }
}

/// Whether values of the column have fields, whose images are not their bytes.
pub(super) fn holds_rows(attribute: &pg_sys::FormData_pg_attribute) -> bool {
    let aligned = attribute.attlen == -1 && attribute.attalign as u8 == pg_sys::TYPALIGN_DOUBLE;
    // SAFETY: a look-up in the system cache.
    aligned && unsafe { pg_sys::type_is_rowtype(attribute.atttypid) }
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
    last: HashMap<u64, usize, BuildHasherDefault<Digested>>,
    /// The one before with the same digest.
    before: Vec<Option<usize>>,
}

/// Long values of one length, and values of types without a hash, have one digest.
const LONGEST_CHAIN: usize = 16;

/// Where something is among what has been numbered.
pub(super) enum Found {
    At(usize),
    Nowhere,
}

impl Chains {
    /// With room for so many.
    pub(super) fn for_rows(rows: usize) -> Chains {
        let last = HashMap::with_capacity_and_hasher(rows, BuildHasherDefault::default());
        Chains { last, before: Vec::with_capacity(rows) }
    }

    /// The one with this digest that is the `same`; `None` when there are too many with it to look at each.
    pub(super) fn find(&self, digest: u64, mut same: impl FnMut(usize) -> bool) -> Option<Found> {
        let mut next = self.last.get(&digest).copied();
        for _ in 0..LONGEST_CHAIN {
            match next {
                Some(found) if same(found) => return Some(Found::At(found)),
                Some(found) => next = self.before[found],
                None => return Some(Found::Nowhere),
            }
        }
        None
    }

    /// Adds the next one.
    pub(super) fn add(&mut self, digest: u64) {
        self.before.push(self.last.insert(digest, self.before.len()));
    }
}

/// A digest is its own hash.
#[derive(Default)]
struct Digested(u64);

impl Hasher for Digested {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
