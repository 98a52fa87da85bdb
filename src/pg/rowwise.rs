//! A few rows of a table changed by key, without a statement.
//!
//! **Law.** For a Z-set that is consolidated by image, each key is treated once: by its row with the greatest weight, which is the
//! new one if there is one. A key with a new row gets it, in place of the stored one or beside the others; a key without one
//! loses its stored row. That is what the MERGE by key does that the engine writes for more rows
//! (`pgtrickle_engine::delta::apply`), and its counts tell the same mistakes.
//!
//! A statement that changes rows is mostly its own making and unmaking: nodes, projections, expressions, for one row as for a
//! thousand. Logical replication applies what it receives without one, and so does this, by the same functions of
//! `execReplication.c`: indexes, constraints and row locks are treated as by the executor.
//!
//! What those leave out, triggers for statements, rules, row security and children, a table must not have
//! ([`Table::open`]), but for the triggers that keep others from writing to it. Rows are looked up by a unique index, with the
//! snapshot of the refresh.

use super::executor::Work;
use super::image::{self, Storage};
use super::rows::make_node;
use super::snapshot::Snapshot;
use super::tuplestore::TupleStore;
use crate::names;
use pgrx::pg_sys::{self, Datum};
use std::ffi::CStr;
use std::ptr::null_mut;

type Slot = *mut pg_sys::TupleTableSlot;

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

/// An open table that can be changed in this way.
pub struct Table<'a> {
    relation: pg_sys::Relation,
    /// The places of the columns of the Z-set in the table's rows.
    places: Vec<usize>,
    /// Which columns of the Z-set are the key, all NOT NULL.
    key: &'a [usize],
}

impl<'a> Table<'a> {
    /// Opens the table with exactly the columns `names`, `key` being positions among them, and locks it for writing; `None` when
    /// there is more to a change of it than its rows and their indexes.
    pub fn open(relid: u32, names: &[String], key: &'a [usize]) -> Option<Self> {
        // SAFETY: closed on drop.
        let relation = unsafe { pg_sys::try_relation_open(relid.into(), pg_sys::RowExclusiveLock as i32) };
        if relation.is_null() {
            return None;
        }
        let mut table = Table { relation, places: Vec::new(), key };
        // SAFETY: the relation is open.
        unsafe {
            table.places = if table.is_plain() { table.places_of(names)? } else { return None };
        }
        Some(table)
    }

    /// Whether nothing but rows and indexes is to be seen to.
    unsafe fn is_plain(&self) -> bool {
        // SAFETY: the relation is open; triggers and constraints, if any, are valid with it.
        unsafe {
            let (class, descriptor) = (&*(*self.relation).rd_rel, &*(*self.relation).rd_att);
            let alone = class.relkind as u8 == pg_sys::RELKIND_RELATION
                && !(class.relispartition || class.relhassubclass || class.relhasrules || class.relrowsecurity);
            let unchecked = descriptor.constr.as_ref().is_none_or(|constraints| {
                constraints.num_check == 0 && !constraints.has_generated_stored && !constraints.has_generated_virtual
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
    /// transaction has done. `None`, and nothing is done, when the columns differ in type, a key is NULL or no index finds it.
    pub fn apply(&self, change: &TupleStore, snapshot: &Snapshot) -> Option<Counts> {
        // SAFETY: what `Statement::execute` does around a statement. On an ERROR the (sub)transaction's abort releases what is held.
        Work::new().run(|| unsafe {
            let rows = self.rows(change)?;
            pg_sys::CommandCounterIncrement();
            pg_sys::PushCopiedSnapshot(snapshot.as_ptr());
            pg_sys::UpdateActiveSnapshotCommandId();
            let mut writing = Writing::begin(self);
            let counts = writing.lookup(self).map(|lookup| writing.write(self, lookup, &rows));
            writing.end();
            pg_sys::PopActiveSnapshot();
            pg_sys::CommandCounterIncrement();
            for (slot, _) in rows {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
            counts
        })
    }

    /// The consolidated rows of `change` with their weights.
    unsafe fn rows(&self, change: &TupleStore) -> Option<Vec<(Slot, i64)>> {
        // SAFETY: each row has a slot of its own that owns a copy of it.
        unsafe {
            let descriptor = change.descriptor();
            let weight = self.matching(descriptor)?;
            let width = self.places.len();
            let storage: Vec<Storage> =
                (0..width).map(|i| Storage::of(pg_sys::TupleDescAttr(descriptor, i as i32))).collect();
            let mut rows: Vec<(Slot, i64)> = Vec::new();
            pg_sys::tuplestore_rescan(change.as_ptr());
            loop {
                let slot = pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsMinimalTuple);
                if !pg_sys::tuplestore_gettupleslot(change.as_ptr(), true, true, slot) {
                    pg_sys::ExecDropSingleTupleTableSlot(slot);
                    break;
                }
                pg_sys::slot_getallattrs(slot);
                let w = weight(value(slot, width).unwrap_or(Datum::from(0)));
                match rows.iter_mut().find(|(known, _)| same_image(*known, slot, &storage)) {
                    Some((_, sum)) => *sum += w,
                    None => rows.push((slot, w)),
                }
            }
            rows.retain(|(_, w)| *w != 0);
            rows.iter().all(|(slot, _)| self.key.iter().all(|i| value(*slot, *i).is_some())).then_some(rows)
        }
    }

    /// How the weight in a row of `descriptor` is read, if the other columns are of the table's types.
    unsafe fn matching(&self, descriptor: pg_sys::TupleDesc) -> Option<fn(Datum) -> i64> {
        // SAFETY: both descriptors are valid, and the places are the table's.
        unsafe {
            let width = self.places.len();
            if (*descriptor).natts as usize != width + 1 {
                return None;
            }
            let alike = self.places.iter().enumerate().all(|(i, place)| {
                let given = &*pg_sys::TupleDescAttr(descriptor, i as i32);
                let stored = &*pg_sys::TupleDescAttr((*self.relation).rd_att, *place as i32);
                let fits = stored.atttypmod == -1 || stored.atttypmod == given.atttypmod;
                given.atttypid == stored.atttypid && fits
            });
            let weight: fn(Datum) -> i64 = match (*pg_sys::TupleDescAttr(descriptor, width as i32)).atttypid {
                pg_sys::INT4OID => |datum| i64::from(datum.value() as i32),
                pg_sys::INT8OID => |datum| datum.value() as i64,
                _ => return None,
            };
            alike.then_some(weight)
        }
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        // SAFETY: opened once; the lock stays until the transaction ends, as that of any writer.
        unsafe { pg_sys::relation_close(self.relation, pg_sys::NoLock as i32) };
    }
}

unsafe fn value(slot: Slot, column: usize) -> Option<Datum> {
    // SAFETY: the slot is deformed, and has that column.
    unsafe { (!*(*slot).tts_isnull.add(column)).then(|| *(*slot).tts_values.add(column)) }
}

unsafe fn same_image(a: Slot, b: Slot, storage: &[Storage]) -> bool {
    storage.iter().enumerate().all(|(column, storage)| {
        // SAFETY: both are deformed rows of one descriptor, which has these columns.
        unsafe {
            match (value(a, column), value(b, column)) {
                (Some(a), Some(b)) => image::equal(a, b, *storage),
                (a, b) => a.is_none() && b.is_none(),
            }
        }
    })
}

/// The index that finds keys.
struct Lookup {
    index: pg_sys::Relation,
    /// One for each column of the index, and which column of the Z-set it is.
    keys: Vec<pg_sys::ScanKeyData>,
    columns: Vec<usize>,
}

impl Lookup {
    unsafe fn seek(&mut self, scan: pg_sys::IndexScanDesc, row: Slot) {
        // SAFETY: keys are NOT NULL, which was looked at.
        unsafe {
            for (key, column) in self.keys.iter_mut().zip(&self.columns) {
                key.sk_argument = *(*row).tts_values.add(*column);
            }
            pg_sys::index_rescan(scan, self.keys.as_mut_ptr(), self.keys.len() as i32, null_mut(), 0);
        }
    }

    unsafe fn same_key(&mut self, a: Slot, b: Slot) -> bool {
        self.keys.iter_mut().zip(&self.columns).all(|(key, column)| {
            // SAFETY: the index's own equality of two values that are not NULL.
            unsafe {
                let value = |slot: Slot| *(*slot).tts_values.add(*column);
                pg_sys::FunctionCall2Coll(&mut key.sk_func, key.sk_collation, value(a), value(b)).value() != 0
            }
        })
    }
}

/// What the executor keeps of a table that it changes.
struct Writing {
    state: *mut pg_sys::EState,
    result: *mut pg_sys::ResultRelInfo,
}

impl Writing {
    /// As `create_edata_for_relation` in logical replication's worker.
    unsafe fn begin(table: &Table) -> Writing {
        // SAFETY: the table is open; everything lives in the current memory context and that of the executor's state.
        unsafe {
            let relation = table.relation;
            let entry = make_node::<pg_sys::RangeTblEntry>(pg_sys::NodeTag::T_RangeTblEntry);
            (*entry).rtekind = pg_sys::RTEKind::RTE_RELATION;
            (*entry).relid = (*relation).rd_id;
            (*entry).relkind = (*(*relation).rd_rel).relkind;
            (*entry).rellockmode = pg_sys::RowExclusiveLock as i32;
            let mut permissions = null_mut();
            let permission = pg_sys::addRTEPermissionInfo(&mut permissions, entry);
            for (column, place) in table.places.iter().enumerate() {
                if !table.key.contains(&column) {
                    let member = *place as i32 + 1 - pg_sys::FirstLowInvalidHeapAttributeNumber;
                    (*permission).updatedCols = pg_sys::bms_add_member((*permission).updatedCols, member);
                }
            }
            let state = pg_sys::CreateExecutorState();
            let entries = pg_sys::lappend(null_mut(), entry.cast());
            pg_sys::ExecInitRangeTable(state, entries, permissions, pg_sys::bms_make_singleton(1));
            (*state).es_snapshot = pg_sys::GetActiveSnapshot();
            (*state).es_output_cid = pg_sys::GetCurrentCommandId(true);
            let result = make_node::<pg_sys::ResultRelInfo>(pg_sys::NodeTag::T_ResultRelInfo);
            pg_sys::InitResultRelInfo(result, relation, 1, null_mut(), 0);
            pg_sys::ExecOpenIndices(result, false);
            pg_sys::AfterTriggerBeginQuery();
            Writing { state, result }
        }
    }

    unsafe fn end(self) {
        // SAFETY: made by `begin`.
        unsafe {
            pg_sys::AfterTriggerEndQuery(self.state);
            pg_sys::ExecCloseIndices(self.result);
            pg_sys::FreeExecutorState(self.state);
        }
    }

    /// The unique index whose columns are the key.
    unsafe fn lookup(&self, table: &Table) -> Option<Lookup> {
        // SAFETY: the indexes are open.
        (0..unsafe { (*self.result).ri_NumIndices } as usize).find_map(|n| unsafe {
            let index = *(*self.result).ri_IndexRelationDescs.add(n);
            let (info, facts) = (&**(*self.result).ri_IndexRelationInfo.add(n), &*(*index).rd_index);
            let width = info.ii_NumIndexKeyAttrs as usize;
            let unique = facts.indisunique && facts.indimmediate && facts.indisvalid && !facts.indcheckxmin;
            let plain = info.ii_Expressions.is_null() && info.ii_Predicate.is_null();
            if !unique || !plain || (*(*index).rd_rel).relam != pg_sys::BTREE_AM_OID || width != table.key.len() {
                return None;
            }
            let of_key = |place: usize| table.key.iter().copied().find(|column| table.places[*column] == place);
            let columns: Vec<usize> = (0..width)
                .map(|i| of_key(usize::try_from(info.ii_IndexAttrNumbers[i]).ok()?.checked_sub(1)?))
                .collect::<Option<_>>()?;
            let keys = columns.iter().enumerate().map(|(i, column)| scan_key(table, index, (i, table.places[*column])));
            Some(Lookup { index, keys: keys.collect::<Option<_>>()?, columns })
        })
    }

    unsafe fn write(&mut self, table: &Table, mut lookup: Lookup, rows: &[(Slot, i64)]) -> Counts {
        let mut counts = Counts { net: rows.iter().map(|(_, w)| w).sum(), ..Counts::default() };
        // SAFETY: the scan ends before the index is closed; a stored row stays pinned by its slot.
        unsafe {
            let stored = pg_sys::table_slot_create(table.relation, null_mut());
            let width = lookup.keys.len() as i32;
            let snapshot = (*self.state).es_snapshot;
            let scan = pg_sys::index_beginscan(table.relation, lookup.index, snapshot, null_mut(), width, 0);
            let written = pg_sys::MakeSingleTupleTableSlot((*table.relation).rd_att, &raw const pg_sys::TTSOpsVirtual);
            let mut others = pg_sys::EPQState::default();
            pg_sys::EvalPlanQualInit(&mut others, self.state, null_mut(), null_mut(), -1, null_mut());
            for (row, w) in decisive(&mut lookup, rows) {
                lookup.seek(scan, row);
                let found = pg_sys::index_getnext_slot(scan, pg_sys::ScanDirection::ForwardScanDirection, stored);
                if w > 0 {
                    fill(written, table, row);
                }
                match (found, w > 0) {
                    (true, true) => {
                        pg_sys::ExecSimpleRelationUpdate(self.result, self.state, &mut others, stored, written);
                    }
                    (true, false) => pg_sys::ExecSimpleRelationDelete(self.result, self.state, &mut others, stored),
                    (false, true) => pg_sys::ExecSimpleRelationInsert(self.result, self.state, written),
                    (false, false) => continue,
                }
                counts.inserted += i64::from(w > 0);
                counts.deleted += i64::from(found);
            }
            pg_sys::index_endscan(scan);
            pg_sys::ExecDropSingleTupleTableSlot(stored);
            pg_sys::ExecDropSingleTupleTableSlot(written);
        }
        counts
    }
}

/// Of each key the row with the greatest weight.
unsafe fn decisive(lookup: &mut Lookup, rows: &[(Slot, i64)]) -> Vec<(Slot, i64)> {
    let mut chosen: Vec<(Slot, i64)> = Vec::new();
    for row in rows {
        // SAFETY: deformed rows whose keys are NOT NULL.
        match chosen.iter_mut().find(|known| unsafe { lookup.same_key(known.0, row.0) }) {
            Some(known) if known.1 < row.1 => *known = *row,
            Some(_) => {}
            None => chosen.push(*row),
        }
    }
    chosen
}

/// Makes the table's row of one of the Z-set.
unsafe fn fill(slot: Slot, table: &Table, row: Slot) {
    // SAFETY: the slot is of the table; the values stay where they are while the row's own slot lives.
    unsafe {
        let clear = (*(*slot).tts_ops).clear.expect("every kind of slot can be cleared");
        clear(slot);
        let width = (*(*slot).tts_tupleDescriptor).natts as usize;
        std::slice::from_raw_parts_mut((*slot).tts_isnull, width).fill(true);
        for (column, place) in table.places.iter().enumerate() {
            (*slot).tts_values.add(*place).write(*(*row).tts_values.add(column));
            (*slot).tts_isnull.add(*place).write(*(*row).tts_isnull.add(column));
        }
        pg_sys::ExecStoreVirtualTuple(slot);
    }
}

/// How column `n` of the index is compared, if it compares as the type of the table's column at `place` does.
unsafe fn scan_key(table: &Table, index: pg_sys::Relation, (n, place): (usize, usize)) -> Option<pg_sys::ScanKeyData> {
    // SAFETY: the index is open and has that column; the look-ups go to the system caches.
    unsafe {
        let column = &*pg_sys::TupleDescAttr((*table.relation).rd_att, place as i32);
        let (family, ty) = (*(*index).rd_opfamily.add(n), *(*index).rd_opcintype.add(n));
        let collation = *(*index).rd_indcollation.add(n);
        let usual = pg_sys::lookup_type_cache(column.atttypid, pg_sys::TYPECACHE_BTREE_OPFAMILY as i32);
        if family != (*usual).btree_opf || collation != column.attcollation {
            return None;
        }
        let equal = pg_sys::BTEqualStrategyNumber as i16;
        let operator = pg_sys::get_opfamily_member(family, ty, ty, equal);
        let mut key = pg_sys::ScanKeyData::default();
        let (attribute, strategy) = (n as i16 + 1, equal as u16);
        let function = pg_sys::get_opcode(operator);
        let argument = Datum::from(0);
        pg_sys::ScanKeyEntryInitialize(
            &mut key,
            0,
            attribute,
            strategy,
            pg_sys::InvalidOid,
            collation,
            function,
            argument,
        );
        Some(key)
    }
}
