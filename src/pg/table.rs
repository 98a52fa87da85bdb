//! Rows of the extension's own tables, found by an index, without a plan.
//!
//! A refresh reads and writes a handful of catalog rows by their keys. As statements they cost more than all the rest of a
//! refresh with nothing to do: plan cache, executor and tuplestore are made for more than one row. So they are read as the server
//! reads its own catalog: index, heap, snapshot. Nothing is remembered but where columns and indexes are, and that is looked
//! at again in the open relation at every use: a row is as current, and a lock as strict, as in a statement.
//!
//! What the executor does for a statement and this does not: check privileges (the catalog belongs to the extension),
//! fire triggers, check constraints and compute defaults (a table written here has none that matter to these rows, see
//! `catalog.sql`). Refused as there: writing in a read-only transaction.

use super::btree::Index;
use super::executor::{Param, Row};
use super::snapshot::Snapshot;
use super::version::Version;
use crate::error::{Error, Result};
use crate::names;
use pgrx::pg_sys::{self, Datum, Oid};
use pgtrickle_engine::sql::QualifiedName;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;

/// A table of the catalog, and columns of it in the order in which the caller counts them.
pub struct Table {
    pub name: &'static str,
    pub columns: &'static [&'static str],
}

/// The value of the column that begins an index.
#[derive(Clone, Copy)]
pub enum Key {
    Id(i64),
    Oid(u32),
}

/// A row that was locked.
pub enum Locked<T> {
    /// The version that the caller has seen is the last one.
    AsSeen,
    Now(T),
}

/// Where the columns of a [`Table`] are: attribute numbers are never used again, and types are compared at every use.
struct Shape {
    table: Oid,
    columns: Vec<(i16, Oid)>,
}

thread_local! {
    static SHAPES: RefCell<HashMap<*const Table, Rc<Shape>>> = RefCell::new(HashMap::new());
    /// Indexes by table and attribute.
    static INDEXES: RefCell<HashMap<(Oid, i16), Oid>> = RefCell::new(HashMap::new());
}

/// An open table.
struct Open {
    relation: pg_sys::Relation,
    shape: Rc<Shape>,
}

impl Open {
    /// Locks and opens the table; the lock stays until the transaction ends.
    fn table(table: &'static Table, lock: u32) -> Result<Open> {
        let known = SHAPES.with_borrow(|shapes| shapes.get(&std::ptr::from_ref(table)).cloned());
        if let Some(shape) = known {
            // SAFETY: opened here, closed on drop; no such relation is NULL.
            let relation = unsafe { pg_sys::try_table_open(shape.table, lock as i32) };
            if !relation.is_null() {
                let open = Open { relation, shape };
                if open.is_named(table.name) && open.has(&open.shape) {
                    return Ok(open);
                }
            }
        }
        let name = QualifiedName::new(names::SCHEMA, table.name);
        let oid = super::object::oid(&name).ok_or_else(|| missing(&name.to_string()))?;
        // SAFETY: opened here, closed on drop.
        let relation = unsafe { pg_sys::table_open(oid.into(), lock as i32) };
        let mut open = Open { relation, shape: Rc::new(Shape { table: oid.into(), columns: Vec::new() }) };
        let columns = table.columns.iter().map(|column| open.column(column)).collect::<Result<_>>()?;
        open.shape = Rc::new(Shape { table: oid.into(), columns });
        SHAPES.with_borrow_mut(|shapes| shapes.insert(std::ptr::from_ref(table), Rc::clone(&open.shape)));
        Ok(open)
    }

    fn is_named(&self, name: &str) -> bool {
        // SAFETY: the relation is open; names are NUL-terminated.
        unsafe { CStr::from_ptr((*(*self.relation).rd_rel).relname.data.as_ptr()).to_bytes() == name.as_bytes() }
    }

    fn width(&self) -> usize {
        // SAFETY: the relation is open.
        unsafe { (*(*self.relation).rd_att).natts as usize }
    }

    fn attributes(&self) -> impl Iterator<Item = &pg_sys::FormData_pg_attribute> {
        // SAFETY: the relation is open, so its descriptor is valid and complete.
        unsafe {
            let descriptor = (*self.relation).rd_att;
            (0..self.width()).map(move |index| attribute(descriptor, index))
        }
    }

    /// Whether the columns still are what they were.
    fn has(&self, shape: &Shape) -> bool {
        // SAFETY: as above; attribute numbers are compared with the descriptor's length first.
        unsafe {
            let descriptor = (*self.relation).rd_att;
            shape.columns.iter().all(|(attnum, ty)| {
                i32::from(*attnum) <= (*descriptor).natts && {
                    let attribute = attribute(descriptor, usize::from(attnum.unsigned_abs()) - 1);
                    attribute.atttypid == *ty && !attribute.attisdropped
                }
            })
        }
    }

    fn column(&self, name: &str) -> Result<(i16, Oid)> {
        // SAFETY: names are NUL-terminated.
        let is_named = |attribute: &&pg_sys::FormData_pg_attribute| unsafe {
            !attribute.attisdropped && CStr::from_ptr(attribute.attname.data.as_ptr()).to_bytes() == name.as_bytes()
        };
        let found = self.attributes().find(is_named).ok_or_else(|| missing(name))?;
        Ok((found.attnum, found.atttypid))
    }

    /// Opens an index that begins with the column.
    fn index(&self, attnum: i16) -> Result<Index> {
        let place = (self.shape.table, attnum);
        let known = INDEXES.with_borrow(|indexes| indexes.get(&place).copied());
        if let Some(index) = known.and_then(|index| Index::open(index, place)) {
            return Ok(index);
        }
        // SAFETY: the list is a copy.
        let listed: Vec<Oid> = unsafe {
            let list = pg_sys::RelationGetIndexList(self.relation);
            (0..list.as_ref().map_or(0, |list| list.length)).map(|n| pg_sys::list_nth_oid(list, n)).collect()
        };
        let index = listed.into_iter().find_map(|index| Index::open(index, place));
        let index = index.ok_or_else(|| missing("an index of the catalog"))?;
        // SAFETY: the index is open.
        INDEXES.with_borrow_mut(|indexes| indexes.insert(place, unsafe { (*index.0).rd_id }));
        Ok(index)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: opened once.
        unsafe { pg_sys::table_close(self.relation, pg_sys::NoLock as i32) };
    }
}

/// As `TupleDescAttr` in tupdesc.h, inline as there.
unsafe fn attribute<'a>(descriptor: pg_sys::TupleDesc, index: usize) -> &'a pg_sys::FormData_pg_attribute {
    // SAFETY: the attributes stand behind the array of compact ones, as many as those.
    unsafe {
        let compact = (&raw const (*descriptor).compact_attrs).cast::<pg_sys::CompactAttribute>();
        &*compact.add((*descriptor).natts as usize).cast::<pg_sys::FormData_pg_attribute>().add(index)
    }
}

fn missing(what: &str) -> Error {
    Error::Internal(format!("{what} is missing in the catalog"))
}

/// Looks for rows by the values of one column.
pub struct Lookup {
    slot: *mut pg_sys::TupleTableSlot,
    scan: pg_sys::IndexScanDesc,
    /// Given back after the scan, in this order.
    _index: Index,
    open: Open,
    /// Keeps the snapshot that the scan reads by.
    _snapshot: Snapshot,
}

impl Lookup {
    /// Looks in `table`, whose column number `column` begins an index, on `snapshot`.
    ///
    /// # Errors
    /// `Internal` when the table is not what `catalog.sql` made it.
    pub fn new(table: &'static Table, column: usize, snapshot: Snapshot) -> Result<Lookup> {
        Self::locking(table, column, snapshot, pg_sys::AccessShareLock)
    }

    fn locking(table: &'static Table, column: usize, snapshot: Snapshot, lock: u32) -> Result<Lookup> {
        let open = Open::table(table, lock)?;
        let index = open.index(open.shape.columns[column].0)?;
        // SAFETY: table and index are open, and the snapshot registered, for as long as the scan lives.
        unsafe {
            let slot = pg_sys::table_slot_create(open.relation, std::ptr::null_mut());
            let scan = pg_sys::index_beginscan(open.relation, index.0, snapshot.as_ptr(), std::ptr::null_mut(), 1, 0);
            Ok(Lookup { slot, scan, _index: index, open, _snapshot: snapshot })
        }
    }

    /// Begins with the rows of another key.
    fn seek(&mut self, key: Key) {
        let (equal, value) = match key {
            Key::Id(id) => (pg_sys::F_INT8EQ, Datum::from(id)),
            Key::Oid(oid) => (pg_sys::F_OIDEQ, Datum::from(Oid::from(oid))),
        };
        // SAFETY: a key of the index's first column, which has the type that the caller says.
        unsafe {
            let mut wanted = pg_sys::ScanKeyData::default();
            pg_sys::ScanKeyInit(&mut wanted, 1, pg_sys::BTEqualStrategyNumber as u16, equal.into(), value);
            pg_sys::index_rescan(self.scan, &mut wanted, 1, std::ptr::null_mut(), 0);
        }
    }

    fn next(&mut self) -> bool {
        // SAFETY: the scan has a key and a slot of its table.
        unsafe { pg_sys::index_getnext_slot(self.scan, pg_sys::ScanDirection::ForwardScanDirection, self.slot) }
    }

    /// Gives each row with the key to `read`.
    pub fn rows<T>(&mut self, key: Key, mut read: impl FnMut(&Row) -> T) -> Vec<T> {
        self.seek(key);
        let mut found = Vec::new();
        while self.next() {
            // SAFETY: the slot holds a row of the table.
            found.push(unsafe { show(self.slot, &self.open, &mut read) });
        }
        found
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        // SAFETY: both were made with the value.
        unsafe {
            pg_sys::index_endscan(self.scan);
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
        }
    }
}

/// # Safety
/// `slot` holds a row of the table.
unsafe fn show<T>(slot: *mut pg_sys::TupleTableSlot, open: &Open, read: impl FnOnce(&Row) -> T) -> T {
    // SAFETY: by contract.
    unsafe {
        pg_sys::slot_getallattrs(slot);
        read(&Row::of(&*slot, &open.shape.columns))
    }
}

fn refuse_read_only(command: &CStr) {
    // SAFETY: both raise an error or do nothing.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(command.as_ptr());
        pg_sys::PreventCommandIfParallelMode(command.as_ptr());
    }
}

/// Locks the row with this key until the transaction ends, as FOR UPDATE SKIP LOCKED does, and gives the latest version of it to
/// `read`, unless that is the one which was `seen`; `None` when another session holds it or there is none.
///
/// A version that was seen is where it was: the transaction has had a snapshot ever since, so what was deleted meanwhile is not
/// taken away.
///
/// # Errors
/// As [`Lookup::new`]; `ConcurrentUpdate` (40001) in a transaction with one snapshot, when another one has changed the row since.
pub fn lock<T>(
    table: &'static Table,
    column: usize,
    (key, seen): (Key, Option<Version>),
    read: impl FnOnce(&Row) -> T,
) -> Result<Option<Locked<T>>> {
    refuse_read_only(c"SELECT FOR UPDATE");
    if let Some(seen) = seen {
        let row = Stored::open(table, pg_sys::RowShareLock)?;
        return lock_at(&row, seen.place, |slot| {
            // SAFETY: the slot holds a row of the table.
            unsafe {
                match Version::of(slot) == Some(seen) {
                    true => Locked::AsSeen,
                    false => Locked::Now(show(slot, &row.open, read)),
                }
            }
        });
    }
    let row = Stored::find(table, column, key, pg_sys::RowShareLock)?;
    let Some(row) = row else { return Ok(None) };
    // SAFETY: the slot holds the row, and gives up the version that was found for the one that is locked.
    unsafe {
        let place = (*row.slot).tts_tid;
        lock_at(&row, place, |slot| Locked::Now(show(slot, &row.open, read)))
    }
}

/// The steps of nodeLockRows.c. The key of a row never changes, so a later version of it is the row that was asked for.
fn lock_at<T>(
    row: &Stored,
    mut place: pg_sys::ItemPointerData,
    read: impl FnOnce(*mut pg_sys::TupleTableSlot) -> T,
) -> Result<Option<T>> {
    // SAFETY: the row's slot is one of the table.
    unsafe {
        let one_snapshot = pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32;
        let follow = if one_snapshot { 0 } else { pg_sys::TUPLE_LOCK_FLAG_FIND_LAST_VERSION };
        let mut failure = pg_sys::TM_FailureData::default();
        let result = pg_sys::table_tuple_lock(
            row.open.relation,
            &mut place,
            row.snapshot.as_ptr(),
            row.slot,
            pg_sys::GetCurrentCommandId(true),
            pg_sys::LockTupleMode::LockTupleExclusive,
            pg_sys::LockWaitPolicy::LockWaitSkip,
            (pg_sys::TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS | follow) as u8,
            &mut failure,
        );
        match result {
            pg_sys::TM_Result::TM_Ok => Ok(Some(read(row.slot))),
            pg_sys::TM_Result::TM_Updated | pg_sys::TM_Result::TM_Deleted if one_snapshot => {
                Err(Error::ConcurrentUpdate)
            }
            _ => Ok(None),
        }
    }
}

/// An open table, a snapshot of now, and a slot for a row of it.
struct Stored {
    slot: *mut pg_sys::TupleTableSlot,
    open: Open,
    snapshot: Snapshot,
}

impl Stored {
    fn open(table: &'static Table, lock: u32) -> Result<Stored> {
        let (open, snapshot) = (Open::table(table, lock)?, Snapshot::next());
        // SAFETY: the table is open.
        let slot = unsafe { pg_sys::table_slot_create(open.relation, std::ptr::null_mut()) };
        Ok(Stored { slot, open, snapshot })
    }

    /// With the row that has this key, if there is one.
    fn find(table: &'static Table, column: usize, key: Key, lock: u32) -> Result<Option<Stored>> {
        let row = Stored::open(table, lock)?;
        let mut lookup = Lookup::locking(table, column, row.snapshot.clone(), lock)?;
        lookup.seek(key);
        // SAFETY: both slots are of the table; the row stays pinned by the one that it is copied to.
        let found = lookup.next() && unsafe { row.fetch((*lookup.slot).tts_tid) };
        Ok(found.then_some(row))
    }

    /// Takes that version, if the snapshot sees it.
    ///
    /// # Safety
    /// As [`Stored::fetch`].
    unsafe fn holds(&self, version: Version) -> bool {
        // SAFETY: by contract.
        unsafe { self.fetch(version.place) && Version::of(self.slot) == Some(version) }
    }

    /// Takes the version at this place, if the snapshot sees it.
    unsafe fn fetch(&self, mut place: pg_sys::ItemPointerData) -> bool {
        // SAFETY: there is a row, or was one that the transaction's snapshots may still see.
        unsafe {
            pg_sys::table_tuple_fetch_row_version(self.open.relation, &mut place, self.snapshot.as_ptr(), self.slot)
        }
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        // SAFETY: made with the value.
        unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) };
    }
}

/// Sets columns, by number, of the row with this key, which this transaction has locked or made; `known` is the version of it that
/// is probably the last. Returns the version that came after it, if it was.
///
/// # Errors
/// As [`Lookup::new`]; `Internal` for a value of another type than the column's.
pub fn update(
    table: &'static Table,
    column: usize,
    (key, known): (Key, Option<Version>),
    values: &[(usize, Param)],
) -> Result<Option<Version>> {
    refuse_read_only(c"UPDATE");
    let mut row = Some(Stored::open(table, pg_sys::RowExclusiveLock)?);
    let as_known = row.as_ref().zip(known).is_some_and(|(row, known)| {
        // SAFETY: the transaction has had a snapshot since it saw the version. What a snapshot of now sees is the last one.
        unsafe { row.holds(known) }
    });
    if !as_known {
        row = Stored::find(table, column, key, pg_sys::RowExclusiveLock)?;
    }
    let Some(row) = row else { return Ok(None) };
    let new = Values::of(&row.open, values)?;
    // SAFETY: the arrays have an element for each column. The tuple stays pinned by the slot.
    unsafe {
        let mut owned = false;
        let old = pg_sys::ExecFetchSlotHeapTuple(row.slot, false, &mut owned);
        let descriptor = (*row.open.relation).rd_att;
        let tuple =
            pg_sys::heap_modify_tuple(old, descriptor, new.values.as_ptr(), new.nulls.as_ptr(), new.set.as_ptr());
        let mut place = (*old).t_self;
        pg_sys::CatalogTupleUpdate(row.open.relation, &mut place, tuple);
        let version = as_known.then(|| Version::written(row.open.relation, tuple));
        pg_sys::heap_freetuple(tuple);
        pg_sys::CommandCounterIncrement();
        Ok(version)
    }
}

/// The table's oid.
///
/// # Errors
/// As [`Lookup::new`].
pub fn oid(table: &'static Table) -> Result<u32> {
    Ok(Open::table(table, pg_sys::AccessShareLock)?.shape.table.to_u32())
}

/// Whether that version of a row of the table is the one that the next statement sees.
///
/// # Errors
/// As [`Lookup::new`].
pub fn is_last(table: &'static Table, version: Version) -> Result<bool> {
    let row = Stored::open(table, pg_sys::AccessShareLock)?;
    // SAFETY: the table has the version's page, and cannot lose it while it is locked.
    Ok(unsafe { version.is_in(row.open.relation) && row.holds(version) })
}

/// Adds a row; columns that are not given are NULL.
///
/// # Errors
/// As [`update`].
pub fn insert(table: &'static Table, values: &[(usize, Param)]) -> Result<()> {
    refuse_read_only(c"INSERT");
    let open = Open::table(table, pg_sys::RowExclusiveLock)?;
    let new = Values::of(&open, values)?;
    // SAFETY: as in `update`.
    unsafe {
        let tuple = pg_sys::heap_form_tuple((*open.relation).rd_att, new.values.as_ptr(), new.nulls.as_ptr());
        pg_sys::CatalogTupleInsert(open.relation, tuple);
        pg_sys::heap_freetuple(tuple);
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}

/// A value, and whether it is NULL and whether it is set, for each column of a table.
struct Values {
    values: Vec<Datum>,
    nulls: Vec<bool>,
    set: Vec<bool>,
}

impl Values {
    fn of(open: &Open, given: &[(usize, Param)]) -> Result<Values> {
        let count = open.width();
        let mut new = Values { values: vec![Datum::null(); count], nulls: vec![true; count], set: vec![false; count] };
        for (column, value) in given {
            let (attnum, ty) = open.shape.columns[*column];
            if value.ty() != ty {
                return Err(Error::Internal(format!("column {attnum} of the catalog has another type")));
            }
            let index = usize::from(attnum.unsigned_abs()) - 1;
            new.set[index] = true;
            if let Some(datum) = value.datum() {
                new.values[index] = datum;
                new.nulls[index] = false;
            }
        }
        Ok(new)
    }
}
