//! How a row of a Z-set finds the stored rows that it stands for.
//!
//! A key that is never NULL is looked up in the unique index on its columns. Any other is looked up in the index on its hash, and a
//! whole row in the index on the hash of its image: the index's own expression gives the hash that is looked for, and the
//! candidates are compared, as `pgtrickle_engine::delta::key` has it.

use super::writing::Executor;
use super::{Table, Told, fill};
use crate::names;
use crate::pg::image::{self, Storage};
use crate::pg::zset::{Chains, Found, ZSet, digest, value_of};
use pgrx::pg_sys::{self, Datum};
use std::ffi::CStr;
use std::ptr::null_mut;

type Slot = *mut pg_sys::TupleTableSlot;

/// The columns of a key with their types' own equality.
pub(super) struct Key(Vec<KeyColumn>);

struct KeyColumn {
    /// Of the Z-set, and of the table.
    column: usize,
    place: usize,
    collation: pg_sys::Oid,
    ty: *mut pg_sys::TypeCacheEntry,
}

impl KeyColumn {
    unsafe fn same(&self, a: Option<Datum>, b: Option<Datum>) -> bool {
        match (a, b) {
            // SAFETY: two values of the type, whose equality the cache has looked up; its entries live as long as the backend.
            (Some(a), Some(b)) => unsafe {
                pg_sys::FunctionCall2Coll(&raw mut (*self.ty).eq_opr_finfo, self.collation, a, b).value() != 0
            },
            (a, b) => a.is_none() && b.is_none(),
        }
    }

    unsafe fn digest(&self, value: Option<Datum>) -> Option<u64> {
        // SAFETY: as above. A type that cannot be hashed is compared.
        unsafe {
            let function = &raw mut (*self.ty).hash_extended_proc_finfo;
            let hash = |value| pg_sys::FunctionCall2Coll(function, self.collation, value, Datum::from(0_i64));
            value.map(|value| if (*function).fn_addr.is_some() { hash(value).value() as u64 } else { 0 })
        }
    }
}

impl Key {
    /// `None` when a column's values cannot be compared.
    pub(super) unsafe fn of(table: &Table, columns: &[usize]) -> Option<Key> {
        let known = columns.iter().map(|column| {
            let place = table.places[*column];
            // SAFETY: the table is open and has that column.
            unsafe {
                let stored = &*pg_sys::TupleDescAttr((*table.relation).rd_att, place as i32);
                let wanted = pg_sys::TYPECACHE_EQ_OPR_FINFO | pg_sys::TYPECACHE_HASH_EXTENDED_PROC_FINFO;
                let ty = pg_sys::lookup_type_cache(stored.atttypid, wanted as i32);
                let comparable = (*ty).eq_opr_finfo.fn_addr.is_some();
                comparable.then_some(KeyColumn { column: *column, place, collation: stored.attcollation, ty })
            }
        });
        known.collect::<Option<Vec<_>>>().map(Key)
    }

    /// Of the rows with each key the one with the greatest weight; those that go first. `None` when too many keys have one digest.
    pub(super) unsafe fn decisive(&self, rows: &ZSet) -> Option<Vec<usize>> {
        let (mut chosen, mut known): (Vec<usize>, _) = (Vec::new(), Chains::default());
        for row in rows.rows() {
            pgrx::check_for_interrupts!();
            // SAFETY: the Z-set has these columns.
            let (found, digest) = unsafe {
                let digest = digest(self.0.iter().map(|key| key.digest(rows.value(row, key.column))));
                let same = |other: usize| {
                    let value = |row, key: &KeyColumn| rows.value(row, key.column);
                    self.0.iter().all(|key| key.same(value(chosen[other], key), value(row, key)))
                };
                (known.find(digest, same), digest)
            };
            match found? {
                Found::At(other) if rows.weights[chosen[other]] < rows.weights[row] => chosen[other] = row,
                Found::At(_) => {}
                Found::Nowhere => {
                    known.add(digest);
                    chosen.push(row);
                }
            }
        }
        chosen.sort_by_key(|row| rows.weights[*row] > 0);
        Some(chosen)
    }

    fn is_never_null(&self, rows: &ZSet) -> bool {
        rows.rows().all(|row| self.0.iter().all(|key| rows.value(row, key.column).is_some()))
    }
}

/// What a candidate is compared by.
enum Recheck<'a> {
    /// The index tells.
    Found,
    Key(&'a Key),
    Image(Vec<Storage>),
}

/// The index that finds stored rows.
pub(super) struct Lookup<'a> {
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    keys: Vec<pg_sys::ScanKeyData>,
    /// The columns of the Z-set that the index is on; empty when it is on an expression.
    columns: Vec<usize>,
    recheck: Recheck<'a>,
}

impl<'a> Lookup<'a> {
    /// `None` when no index finds what `rows` stand for.
    pub(super) unsafe fn of(
        table: &Table,
        executor: Executor,
        (told, key, rows): (&Told, Option<&'a Key>, &ZSet),
    ) -> Option<Lookup<'a>> {
        // SAFETY: the indexes are open.
        (0..unsafe { (*executor.result).ri_NumIndices } as usize).find_map(|n| unsafe {
            let index = *(*executor.result).ri_IndexRelationDescs.add(n);
            let info = *(*executor.result).ri_IndexRelationInfo.add(n);
            let facts = &*(*index).rd_index;
            let usable = facts.indisvalid && !facts.indcheckxmin && (*info).ii_Predicate.is_null();
            if !usable || (*(*index).rd_rel).relam != pg_sys::BTREE_AM_OID {
                return None;
            }
            match (told, key) {
                (Told::Key(columns), Some(key)) if (*info).ii_Expressions.is_null() => {
                    let unique = facts.indisunique && facts.indimmediate;
                    if unique && key.is_never_null(rows) { by_columns(table, index, info, columns) } else { None }
                }
                (Told::Key(columns), Some(key)) => {
                    let of_key = |place| columns.iter().any(|column| table.places[*column] == place);
                    by_hash(index, info, (is_hash, &of_key), Recheck::Key(key))
                }
                _ => by_hash(index, info, (is_image_hash, &|_| true), Recheck::Image(table.storage())),
            }
        })
    }

    pub(super) unsafe fn begin(&self, table: &Table, executor: Executor) -> pg_sys::IndexScanDesc {
        // SAFETY: both are open until the scan ends.
        unsafe {
            let (snapshot, width) = ((*executor.state).es_snapshot, self.keys.len() as i32);
            pg_sys::index_beginscan(table.relation, self.index, snapshot, null_mut(), width, 0)
        }
    }

    /// Begins with the stored rows that `row` may stand for; `probe` is a slot of the table.
    pub(super) unsafe fn seek(
        &mut self,
        (table, executor): (&Table, Executor),
        (scan, probe): (pg_sys::IndexScanDesc, Slot),
        (rows, row): (&ZSet, usize),
    ) {
        // SAFETY: the index's columns are NOT NULL in the row, or its expression is one that never is NULL.
        unsafe {
            for (key, column) in self.keys.iter_mut().zip(&self.columns) {
                key.sk_argument = rows.value(row, *column).unwrap_or(Datum::from(0));
            }
            if self.columns.is_empty() {
                fill(probe, table, |column| rows.value(row, column));
                let context = match (*executor.state).es_per_tuple_exprcontext {
                    known if known.is_null() => pg_sys::MakePerTupleExprContext(executor.state),
                    known => known,
                };
                (*context).ecxt_scantuple = probe;
                let (mut value, mut null) = (Datum::from(0), false);
                pg_sys::FormIndexDatum(self.info, probe, executor.state, &mut value, &mut null);
                // A number, by value: what was made on the way to it is not needed.
                self.keys[0].sk_argument = value;
                executor.forget();
            }
            pg_sys::index_rescan(scan, self.keys.as_mut_ptr(), self.keys.len() as i32, null_mut(), 0);
        }
    }

    /// Moves `stored` on to the next row that `row` stands for.
    pub(super) unsafe fn next(
        &self,
        table: &Table,
        (scan, stored): (pg_sys::IndexScanDesc, Slot),
        (rows, row): (&ZSet, usize),
    ) -> bool {
        // SAFETY: the slot is of the table, whose columns are at these places.
        unsafe {
            while pg_sys::index_getnext_slot(scan, pg_sys::ScanDirection::ForwardScanDirection, stored) {
                let same = match &self.recheck {
                    Recheck::Found => true,
                    Recheck::Key(key) => {
                        pg_sys::slot_getallattrs(stored);
                        key.0.iter().all(|key| key.same(value_of(stored, key.place), rows.value(row, key.column)))
                    }
                    Recheck::Image(storage) => {
                        pg_sys::slot_getallattrs(stored);
                        table.places.iter().enumerate().all(|(column, place)| {
                            match (value_of(stored, *place), rows.value(row, column)) {
                                (Some(a), Some(b)) => image::equal(a, b, storage[column]),
                                (a, b) => a.is_none() && b.is_none(),
                            }
                        })
                    }
                };
                if same {
                    return true;
                }
            }
            false
        }
    }
}

/// The index, if its columns are those of the key.
unsafe fn by_columns<'a>(
    table: &Table,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    key: &[usize],
) -> Option<Lookup<'a>> {
    // SAFETY: the index is open and has that many columns.
    unsafe {
        let width = (*info).ii_NumIndexKeyAttrs as usize;
        if width != key.len() {
            return None;
        }
        let of_key = |place: usize| key.iter().copied().find(|column| table.places[*column] == place);
        let columns: Vec<usize> = (0..width)
            .map(|i| of_key(usize::try_from((*info).ii_IndexAttrNumbers[i]).ok()?.checked_sub(1)?))
            .collect::<Option<_>>()?;
        let keys = columns.iter().enumerate().map(|(i, column)| scan_key(table, index, (i, table.places[*column])));
        Some(Lookup { index, info, keys: keys.collect::<Option<_>>()?, columns, recheck: Recheck::Found })
    }
}

/// Whether a function makes the hash, and whether it may read the column at a place.
type Hashed<'a> = (unsafe fn(pg_sys::Oid) -> bool, &'a dyn Fn(usize) -> bool);

/// The index, if it is on such a hash.
unsafe fn by_hash<'a>(
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    (hash, reads): Hashed,
    recheck: Recheck<'a>,
) -> Option<Lookup<'a>> {
    // SAFETY: the index is open; its expressions are a list of valid trees over the one relation.
    unsafe {
        let expressions = (*info).ii_Expressions;
        if (*info).ii_NumIndexKeyAttrs != 1 || expressions.is_null() {
            return None;
        }
        let expression: *mut pg_sys::FuncExpr = pg_sys::list_nth(expressions, 0).cast();
        if !pgrx::is_a(expression.cast(), pg_sys::NodeTag::T_FuncExpr) || !hash((*expression).funcid) {
            return None;
        }
        let mut read = null_mut();
        pg_sys::pull_varattnos(expression.cast(), 1, &mut read);
        let next = |member: &i32| Some(pg_sys::bms_next_member(read, *member));
        let mut members = std::iter::successors(next(&-1), next).take_while(|member| *member >= 0);
        let place = |member: i32| usize::try_from(member + pg_sys::FirstLowInvalidHeapAttributeNumber - 1).ok();
        if !members.all(|member| place(member).is_some_and(reads)) || (*index).rd_opcintype.read() != pg_sys::INT8OID {
            return None;
        }
        let mut key = pg_sys::ScanKeyData::default();
        let equal = pg_sys::BTEqualStrategyNumber as u16;
        pg_sys::ScanKeyInit(&mut key, 1, equal, pg_sys::F_INT8EQ.into(), Datum::from(0));
        Some(Lookup { index, info, keys: vec![key], columns: Vec::new(), recheck })
    }
}

/// `hash_record_extended`, by which keys are found.
unsafe fn is_hash(function: pg_sys::Oid) -> bool {
    function == pg_sys::Oid::from(pg_sys::F_HASH_RECORD_EXTENDED)
}

/// `pgtrickle.row_hash`, by which rows are found.
unsafe fn is_image_hash(function: pg_sys::Oid) -> bool {
    // SAFETY: look-ups in the system caches; names are copies.
    unsafe {
        let (name, schema) = (pg_sys::get_func_name(function), pg_sys::get_func_namespace(function));
        let schema = pg_sys::get_namespace_name(schema);
        let is = |name: *const std::ffi::c_char, wanted: &str| {
            !name.is_null() && CStr::from_ptr(name).to_bytes() == wanted.as_bytes()
        };
        is(name, names::ROW_HASH) && is(schema, names::SCHEMA)
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
