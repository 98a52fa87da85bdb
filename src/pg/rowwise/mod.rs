//! Rows of a table changed one by one, without a statement.
//!
//! **Law.** A Z-set is consolidated by image. Where rows are told apart by a key, each key is treated once: by its row with the
//! greatest weight, which is the new one if there is one. A key with a new row gets it, in place of the stored one or beside the
//! others; a key without one loses its stored row. Where they are told apart by their image, a row of weight `w` is added `w` times,
//! or `-w` stored rows of its image go. That is what the statements do that the engine writes for more rows
//! (`pgtrickle_engine::delta::apply`), and its counts tell the same mistakes. What a statement has found to change
//! (`pgtrickle_engine::delta::Found`) is changed at its place.
//!
//! A statement that changes rows is mostly its own making and unmaking: nodes, projections, expressions, for one row as for a
//! thousand. Logical replication applies what it receives without one, and so does this, by the same functions of
//! `execReplication.c`: indexes, constraints and row locks are treated as by the executor. A state needs less of it, see [`Table::open_state`].
//!
//! What those leave out, triggers for statements, rules, row security and children, a table must not have
//! ([`Table::open`]), but for the triggers that keep others from writing to it. Rows are looked up by an index, with the
//! snapshot of the refresh.

mod known;
mod lookup;
mod writing;

use self::lookup::{Key, Lookup};
use self::writing::{Slot, Writing};
use super::executor::Work;
use super::image::Storage;
use super::snapshot::Snapshot;
use super::tuplestore::TupleStore;
use super::zset::{Weight, ZSet, holds_rows, weight};
use crate::names;
use pgrx::pg_sys::{self, Datum};
use std::ffi::CStr;

/// What was done to a table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Rows with a new content.
    pub inserted: i64,
    /// Rows that lost theirs.
    pub deleted: i64,
    /// By how many rows the Z-set says that the table grows.
    pub net: i64,
}

/// How the rows of a table are told apart.
#[derive(Clone, Copy)]
pub enum Told<'a> {
    /// By the columns at these positions among the Z-set's.
    Key(&'a [usize]),
    /// By their images, and there may be several of one.
    Image,
}

/// An open table that can be changed in this way.
pub struct Table {
    relation: pg_sys::Relation,
    /// Nothing else writes to it, and its constraints are about nothing that is written to it.
    own: bool,
    /// The places of the columns of the Z-set in the table's rows.
    places: Vec<usize>,
}

impl Table {
    /// Opens the table with exactly the columns `names` and locks it for writing; `None` when there is more to a change of it than
    /// its rows and their indexes.
    pub fn open(relid: u32, names: &[String]) -> Option<Self> {
        Self::open_as(relid, names, false)
    }

    /// Likewise a state. What its constraints refuse, the caller does not write to it.
    pub fn open_state(relid: u32, names: &[String]) -> Option<Self> {
        Self::open_as(relid, names, true)
    }

    fn open_as(relid: u32, names: &[String], own: bool) -> Option<Self> {
        // SAFETY: closed on drop.
        let relation = unsafe { pg_sys::try_relation_open(relid.into(), pg_sys::RowExclusiveLock as i32) };
        if relation.is_null() {
            return None;
        }
        let mut table = Table { relation, own, places: Vec::new() };
        // SAFETY: the relation is open.
        unsafe {
            table.places = if table.is_plain() { table.places_of(names)? } else { return None };
        }
        Some(table)
    }

    /// Whether so many rows are so many to a page of the table that reading all of it once takes less than looking each up.
    fn is_mostly_meant(&self, rows: u64) -> bool {
        /// At about so many the look-ups read every page, and a scan reads each once.
        const PER_PAGE: u64 = 16;
        const FEW: u64 = 1024;
        // SAFETY: the relation is open.
        let pages = unsafe { pg_sys::RelationGetNumberOfBlocksInFork(self.relation, pg_sys::ForkNumber::MAIN_FORKNUM) };
        rows > FEW.max(PER_PAGE * u64::from(pages))
    }

    /// Whether nothing but rows and indexes is to be seen to.
    unsafe fn is_plain(&self) -> bool {
        // SAFETY: the relation is open; triggers and constraints, if any, are valid with it.
        unsafe {
            let (class, descriptor) = (&*(*self.relation).rd_rel, &*(*self.relation).rd_att);
            let alone = class.relkind as u8 == pg_sys::RELKIND_RELATION
                && !(class.relispartition || class.relhassubclass || class.relhasrules || class.relrowsecurity);
            let unchecked = descriptor.constr.as_ref().is_none_or(|constraints| {
                (self.own || constraints.num_check == 0)
                    && !constraints.has_generated_stored
                    && !constraints.has_generated_virtual
            });
            let guards = [names::GUARD_TRIGGER, names::TRUNCATE_GUARD_TRIGGER];
            let unwatched = (*self.relation).trigdesc.as_ref().is_none_or(|triggers| {
                let name = |index: usize| CStr::from_ptr((*triggers.triggers.add(index)).tgname).to_bytes();
                (0..triggers.numtriggers as usize)
                    .all(|index| guards.iter().any(|guard| guard.as_bytes() == name(index)))
            });
            alone && unchecked && unwatched
        }
    }

    /// Where the columns with these names are, if there are no others.
    unsafe fn places_of(&self, names: &[String]) -> Option<Vec<usize>> {
        // SAFETY: as the caller's; names are NUL-terminated.
        unsafe {
            let descriptor = (*self.relation).rd_att;
            let attributes = (0..(*descriptor).natts).map(|index| &*pg_sys::TupleDescAttr(descriptor, index));
            let name = |a: &pg_sys::FormData_pg_attribute| CStr::from_ptr(a.attname.data.as_ptr()).to_bytes();
            let columns: Vec<Option<&[u8]>> = attributes.map(|a| (!a.attisdropped).then(|| name(a))).collect();
            let place = |name: &String| columns.iter().position(|column| *column == Some(name.as_bytes()));
            let alone = columns.iter().flatten().count() == names.len();
            if alone { names.iter().map(place).collect() } else { None }
        }
    }

    /// Applies `change`, whose last column is the weight, as the law says. Rows are looked up with `snapshot`, advanced to see what the
    /// transaction has done. `None`, and nothing is done, when the columns differ in type, there are too many rows or no index
    /// finds them.
    pub fn apply(&self, change: &TupleStore, told: Told, snapshot: &Snapshot) -> Option<Counts> {
        if !change.is_in_memory() || self.is_mostly_meant(change.rows()) {
            return None;
        }
        // SAFETY: the table is open. On an ERROR the (sub)transaction's abort releases what is held.
        Work::new().run(|| unsafe {
            let width = self.places.len();
            let columns: Vec<usize> = (0..width).collect();
            let rows = ZSet::consolidated(change, (&columns, &self.storage()), (width, self.weight(change)?))?;
            let (key, unchanged) = match told {
                Told::Key(columns) => (Some(Key::of(self, columns)?), columns),
                Told::Image if self.has_rows_in_columns() => return None,
                Told::Image => (None, &[][..]),
            };
            let decisive = match &key {
                Some(key) => Some(key.decisive(&rows)?),
                None => None,
            };
            self.write(unchanged, snapshot, |writing| {
                let lookup = Lookup::of(self, writing.executor(), (&told, key.as_ref(), &rows))?;
                Some(match &decisive {
                    Some(decisive) => writing.replace_by_key(self, lookup, (&rows, decisive)),
                    None => writing.replace_by_image(self, lookup, &rows),
                })
            })
        })
    }

    /// Runs `write` between what the executor does before and after a statement. The columns of the Z-set at `unchanged` stay
    /// as they are where a row does.
    unsafe fn write<'a, T>(
        &'a self,
        unchanged: &'a [usize],
        snapshot: &Snapshot,
        write: impl FnOnce(&mut Writing<'a>) -> Option<T>,
    ) -> Option<T> {
        // SAFETY: what `Statement::execute` does around a statement.
        unsafe {
            pg_sys::CommandCounterIncrement();
            pg_sys::PushCopiedSnapshot(snapshot.as_ptr());
            pg_sys::UpdateActiveSnapshotCommandId();
            let mut writing = Writing::begin(self, unchanged);
            let result = write(&mut writing);
            writing.end();
            pg_sys::PopActiveSnapshot();
            pg_sys::CommandCounterIncrement();
            result
        }
    }

    fn attribute(&self, column: usize) -> &pg_sys::FormData_pg_attribute {
        // SAFETY: the table is open and has a column at each of the places.
        unsafe { &*pg_sys::TupleDescAttr((*self.relation).rd_att, self.places[column] as i32) }
    }

    /// How the columns are stored.
    fn storage(&self) -> Vec<Storage> {
        // SAFETY: valid attributes.
        (0..self.places.len()).map(|column| unsafe { Storage::of(self.attribute(column)) }).collect()
    }

    /// Whether values have fields, whose images are not their bytes.
    fn has_rows_in_columns(&self) -> bool {
        (0..self.places.len()).any(|column| holds_rows(self.attribute(column)))
    }

    /// How the weight in a row of `change` is read, if the other columns are of the table's types.
    unsafe fn weight(&self, change: &TupleStore) -> Option<Weight> {
        // SAFETY: the descriptor is valid.
        unsafe {
            let (descriptor, width) = (change.descriptor(), self.places.len());
            if (*descriptor).natts as usize != width + 1 || !self.fits(descriptor, 0) {
                return None;
            }
            weight(&*pg_sys::TupleDescAttr(descriptor, width as i32))
        }
    }

    /// Whether the columns of `descriptor` from `first` on are of the table's types.
    unsafe fn fits(&self, descriptor: pg_sys::TupleDesc, first: usize) -> bool {
        (0..self.places.len()).all(|column| {
            let stored = self.attribute(column);
            // SAFETY: the descriptor has these columns.
            let given = unsafe { &*pg_sys::TupleDescAttr(descriptor, (first + column) as i32) };
            // What has passed through an aggregate or a union is of the column's type modifier still, though nothing says so.
            let modified = [-1, stored.atttypmod].contains(&given.atttypmod) || stored.atttypmod == -1;
            given.atttypid == stored.atttypid && modified
        })
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: opened once; the lock stays until the transaction ends, as that of any writer.
        unsafe { pg_sys::relation_close(self.relation, pg_sys::NoLock as i32) };
    }
}

/// Makes a row of the table in `slot`, whose values stay where they are: `value` gives that of each column of the Z-set.
unsafe fn fill(slot: Slot, table: &Table, value: impl Fn(usize) -> Option<Datum>) {
    // SAFETY: the slot is a virtual one of the table.
    unsafe {
        let clear = (*(*slot).tts_ops).clear.expect("every kind of slot can be cleared");
        clear(slot);
        let width = (*(*slot).tts_tupleDescriptor).natts as usize;
        std::slice::from_raw_parts_mut((*slot).tts_isnull, width).fill(true);
        for (column, place) in table.places.iter().enumerate() {
            if let Some(value) = value(column) {
                (*slot).tts_values.add(*place).write(value);
                (*slot).tts_isnull.add(*place).write(false);
            }
        }
        pg_sys::ExecStoreVirtualTuple(slot);
    }
}
