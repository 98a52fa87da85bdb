//! Changes that a statement has found together with the places of the stored rows that they are about.
//!
//! The rows were seen on the snapshot of the refresh, and nobody else may change the table meanwhile: it is a state, and the stream
//! table's row is locked.

use super::writing::Writing;
use super::{Table, fill};
use crate::pg::executor::Work;
use crate::pg::snapshot::Snapshot;
use crate::pg::tuplestore::TupleStore;
use crate::pg::zset::{Collected, value_of};
use pgrx::pg_sys::{self, Datum};

/// The columns of a pair before those of its rows: place, whether there is a new row, whether that cannot be told.
const PLACE: usize = 0;
const NEW: usize = 1;
const STALE: usize = 2;
const OLD: usize = 3;

impl Table {
    /// Replaces stored rows by new ones: each row of `pairs` is the place of the stored one, if there is one (`tid`), whether there is
    /// one from now on (`bool`), whether this cannot be told (`bool`), the columns of the stored row and those of the new one. Returns
    /// what changed, the table's columns and `w`; `None`, and nothing is done, when columns differ in type or
    /// something cannot be told. The columns at `unchanged` stay as they are where a row does.
    pub fn replace(&self, pairs: &TupleStore, unchanged: &[usize], snapshot: &Snapshot) -> Option<TupleStore> {
        let width = self.places.len();
        // SAFETY: the table is open, and the columns are of the types that are looked for.
        Work::new().run(|| unsafe {
            let before = [pg_sys::TIDOID, pg_sys::BOOLOID, pg_sys::BOOLOID];
            let descriptor = pairs.descriptor();
            let fits = (*descriptor).natts as usize == OLD + 2 * width
                && before.iter().enumerate().all(|(i, ty)| has_type(descriptor, i, *ty))
                && self.fits(descriptor, OLD)
                && self.fits(descriptor, OLD + width);
            let is = |slot: &pg_sys::TupleTableSlot, column| value_of(slot, column).is_some_and(|is| is.value() != 0);
            let mut stale = !fits;
            if !stale {
                pairs.each(|slot| stale |= is(slot, STALE));
            }
            if stale {
                return None;
            }
            self.write(unchanged, snapshot, |writing| {
                let mut applied = self.applied();
                pairs.each(|slot| {
                    pgrx::check_for_interrupts!();
                    let row = |first: usize| move |column: usize| value_of(slot, first + column);
                    let place = value_of(slot, PLACE);
                    let new = is(slot, NEW);
                    if new {
                        fill(writing.written, self, row(OLD + width));
                    }
                    match (place, new) {
                        (Some(place), true) => writing.at(place).update(),
                        (Some(place), false) => writing.at(place).delete(),
                        (None, true) => writing.insert(),
                        (None, false) => {}
                    }
                    if place.is_some() {
                        applied.add(row(OLD), -1);
                    }
                    if new {
                        applied.add(row(OLD + width), 1);
                    }
                });
                Some(applied.end())
            })
        })
    }

    /// Removes and adds rows: each row of `changes` is one of the table's columns, then the weight 1 of a row that comes or -1 of one
    /// that goes, and the place of the latter (`tid`). Returns what changed, as [`Table::replace`].
    pub fn exchange(&self, changes: &TupleStore, snapshot: &Snapshot) -> Option<TupleStore> {
        let width = self.places.len();
        // SAFETY: as above.
        Work::new().run(|| unsafe {
            let descriptor = changes.descriptor();
            let fits = (*descriptor).natts as usize == width + 2
                && has_type(descriptor, width, pg_sys::INT4OID)
                && has_type(descriptor, width + 1, pg_sys::TIDOID)
                && self.fits(descriptor, 0);
            if !fits {
                return None;
            }
            self.write(&[], snapshot, |writing| {
                let mut applied = self.applied();
                changes.each(|slot| {
                    pgrx::check_for_interrupts!();
                    let row = |column: usize| value_of(slot, column);
                    match value_of(slot, width + 1) {
                        Some(place) => {
                            writing.at(place).delete();
                            applied.add(row, -1);
                        }
                        None => {
                            fill(writing.written, self, row);
                            writing.insert();
                            applied.add(row, 1);
                        }
                    }
                });
                Some(applied.end())
            })
        })
    }
}

impl Table {
    /// For what is applied to it.
    unsafe fn applied(&self) -> Collected {
        // SAFETY: the table is open and has columns at its places.
        unsafe { Collected::new((*self.relation).rd_att, &self.places) }
    }
}

unsafe fn has_type(descriptor: pg_sys::TupleDesc, column: usize, ty: pg_sys::Oid) -> bool {
    // SAFETY: the descriptor has that column.
    unsafe { (*pg_sys::TupleDescAttr(descriptor, column as i32)).atttypid == ty }
}

impl Writing<'_> {
    /// With the stored row at `place`, a `tid`.
    unsafe fn at(&mut self, place: Datum) -> &mut Self {
        // SAFETY: a slot that is changed by the place alone.
        unsafe { (*self.stored).tts_tid = *place.cast_mut_ptr::<pg_sys::ItemPointerData>() };
        self
    }
}
