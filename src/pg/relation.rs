//! Owned facts about relations, read from the relation cache.

use super::nodes::text;
use super::types::data_type;
use pgrx::{PgList, pg_sys};
use pgtrickle_engine::query::DataType;
use pgtrickle_engine::sql::QualifiedName;

/// `pg_class.relkind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    PartitionedTable,
    View,
    MaterializedView,
    ForeignTable,
    Other,
}

/// `pg_class.relpersistence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    Permanent,
    Unlogged,
    Temporary,
}

/// `pg_attribute.attgenerated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generated {
    No,
    Stored,
    Virtual,
}

/// A column that is not dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub attnum: i16,
    pub name: String,
    pub ty: DataType,
    /// A NOT NULL constraint holds for all rows; one that is NOT VALID does not count.
    pub not_null: bool,
    pub generated: Generated,
}

/// A relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    pub relid: u32,
    pub name: QualifiedName,
    /// `pg_class.relowner`.
    pub owner: u32,
    pub kind: RelationKind,
    pub persistence: Persistence,
    pub columns: Vec<Attribute>,
    /// Attribute numbers of each candidate key: a unique, immediate, valid, non-partial index on NOT NULL columns.
    pub keys: Vec<Vec<i16>>,
    /// Other relations inherit from it or are its partitions.
    pub has_children: bool,
    /// It belongs to the system catalogs, on which nobody can create triggers.
    pub is_catalog: bool,
}

impl Relation {
    /// Facts about a relation, `None` when it does not exist. Takes ACCESS SHARE until the transaction ends.
    pub fn load(relid: u32) -> Option<Relation> {
        // SAFETY: the relation is open, and thereby its cache entry valid, until relation_close; all is copied.
        unsafe {
            let open = pg_sys::try_relation_open(pg_sys::Oid::from(relid), pg_sys::AccessShareLock as i32);
            if open.is_null() {
                return None;
            }
            let relation = Relation::read(open);
            pg_sys::relation_close(open, pg_sys::NoLock as i32);
            Some(relation)
        }
    }

    /// Why no trigger sees all of its changes, alone or among the descendants of a source: what it is, and the reason.
    pub fn uncapturable(&self) -> Option<(&'static str, &'static str)> {
        match (self.kind, self.persistence) {
            (RelationKind::ForeignTable, _) => {
                Some(("the foreign table", "Changes on the foreign server cannot be captured."))
            }
            (_, Persistence::Unlogged) => {
                Some(("the unlogged table", "A crash of the server empties it without firing triggers."))
            }
            (_, Persistence::Temporary) => Some(("the temporary table", "Other sessions cannot see its rows.")),
            _ => None,
        }
    }

    /// # Safety
    /// `open` is an open relation.
    unsafe fn read(open: pg_sys::Relation) -> Relation {
        // SAFETY: the caller's promise.
        unsafe {
            let class = &*(*open).rd_rel;
            let relid = class.oid;
            let columns = attributes((*open).rd_att);
            let not_null: Vec<i16> =
                columns.iter().filter(|column| column.not_null).map(|column| column.attnum).collect();
            Relation {
                relid: relid.to_u32(),
                name: QualifiedName::new(
                    text(pg_sys::get_namespace_name(class.relnamespace)),
                    text(class.relname.data.as_ptr()),
                ),
                owner: class.relowner.to_u32(),
                kind: match class.relkind as u8 {
                    pg_sys::RELKIND_RELATION => RelationKind::Table,
                    pg_sys::RELKIND_PARTITIONED_TABLE => RelationKind::PartitionedTable,
                    pg_sys::RELKIND_VIEW => RelationKind::View,
                    pg_sys::RELKIND_MATVIEW => RelationKind::MaterializedView,
                    pg_sys::RELKIND_FOREIGN_TABLE => RelationKind::ForeignTable,
                    _ => RelationKind::Other,
                },
                persistence: match class.relpersistence as u8 {
                    pg_sys::RELPERSISTENCE_TEMP => Persistence::Temporary,
                    pg_sys::RELPERSISTENCE_UNLOGGED => Persistence::Unlogged,
                    _ => Persistence::Permanent,
                },
                keys: keys(open, &not_null),
                columns,
                has_children: class.relhassubclass && !inheritance::children(relid).is_empty(),
                is_catalog: pg_sys::IsCatalogRelationOid(relid),
            }
        }
    }
}

/// # Safety
/// `descriptor` is that of an open relation.
unsafe fn attributes(descriptor: pg_sys::TupleDesc) -> Vec<Attribute> {
    // SAFETY: indexes below natts are valid; the relation cache fills in the nullability of its descriptors.
    unsafe {
        let all = (0..(*descriptor).natts).map(|index| {
            (&*pg_sys::TupleDescAttr(descriptor, index), &*pg_sys::TupleDescCompactAttr(descriptor, index))
        });
        let live = all.filter(|(attribute, _)| !attribute.attisdropped);
        live.map(|(attribute, compact)| Attribute {
            attnum: attribute.attnum,
            name: text(attribute.attname.data.as_ptr()),
            ty: data_type(attribute.atttypid, attribute.atttypmod, attribute.attcollation),
            not_null: attribute.attnotnull && compact.attnullability as u8 == pg_sys::ATTNULLABLE_VALID,
            generated: match attribute.attgenerated as u8 {
                pg_sys::ATTRIBUTE_GENERATED_STORED => Generated::Stored,
                pg_sys::ATTRIBUTE_GENERATED_VIRTUAL => Generated::Virtual,
                _ => Generated::No,
            },
        })
        .collect()
    }
}

/// `pg_constraint`'s own oid (`ConstraintRelationId`).
const CONSTRAINTS: pg_sys::Oid = pg_sys::Oid::from_u32(2606);

unsafe extern "C-unwind" {
    /// `catalog/pg_constraint.h`: a copy of the row, or NULL.
    fn findNotNullConstraintAttnum(relid: pg_sys::Oid, attnum: i16) -> pg_sys::HeapTuple;
}

/// Makes `dependent` depend on what makes `key` a key of `relid`: its index or constraint, and that its columns are NOT
/// NULL. Dropping one of them is then refused, or takes the dependent along, as for a view that groups by a primary key.
pub fn depend_on_key(dependent: u32, relid: u32, attnums: &[i16]) {
    // SAFETY: each index is open while it is read; what is depended on exists and is locked with its relation.
    unsafe {
        let open = pg_sys::relation_open(pg_sys::Oid::from(relid), pg_sys::AccessShareLock as i32);
        let mut addresses = Vec::new();
        for oid in PgList::<()>::from_pg(pg_sys::RelationGetIndexList(open)).iter_oid() {
            let index = pg_sys::index_open(oid, pg_sys::AccessShareLock as i32);
            let same = key(open, index).is_some_and(|mut found| {
                found.sort_unstable();
                found == attnums
            });
            pg_sys::index_close(index, pg_sys::NoLock as i32);
            if same {
                addresses.push(match pg_sys::get_index_constraint(oid) {
                    pg_sys::InvalidOid => (pg_sys::RelationRelationId, oid),
                    constraint => (CONSTRAINTS, constraint),
                });
                break;
            }
        }
        for attnum in attnums {
            let tuple =
                pg_sys::ffi::pg_guard_ffi_boundary(|| findNotNullConstraintAttnum(pg_sys::Oid::from(relid), *attnum));
            if !tuple.is_null() {
                // The first field of a pg_constraint row.
                let constraint = *pg_sys::GETSTRUCT(tuple).cast::<pg_sys::Oid>();
                addresses.push((CONSTRAINTS, constraint));
            }
        }
        pg_sys::relation_close(open, pg_sys::NoLock as i32);
        let address =
            |class, object: pg_sys::Oid| pg_sys::ObjectAddress { classId: class, objectId: object, objectSubId: 0 };
        for (class, object) in addresses {
            pg_sys::recordDependencyOn(
                &address(pg_sys::RelationRelationId, dependent.into()),
                &address(class, object),
                pg_sys::DependencyType::DEPENDENCY_NORMAL,
            );
        }
    }
}

/// # Safety
/// `open` is an open relation.
unsafe fn keys(open: pg_sys::Relation, not_null: &[i16]) -> Vec<Vec<i16>> {
    // SAFETY: each index is open while it is read.
    unsafe {
        let indexes = PgList::<()>::from_pg(pg_sys::RelationGetIndexList(open));
        let mut found = Vec::new();
        for oid in indexes.iter_oid() {
            let index = pg_sys::index_open(oid, pg_sys::AccessShareLock as i32);
            found.extend(key(open, index).filter(|key| key.iter().all(|attnum| not_null.contains(attnum))));
            pg_sys::index_close(index, pg_sys::NoLock as i32);
        }
        found
    }
}

/// The first column of each index of the relation by which rows are found that equal something: a valid btree or hash index on
/// columns, of all rows.
pub fn leading_columns(relid: u32) -> Vec<i16> {
    // SAFETY: the relation, and each index while it is read, is open; what is read is copied.
    unsafe {
        let open = pg_sys::try_relation_open(pg_sys::Oid::from(relid), pg_sys::AccessShareLock as i32);
        if open.is_null() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for oid in PgList::<()>::from_pg(pg_sys::RelationGetIndexList(open)).iter_oid() {
            let index = pg_sys::index_open(oid, pg_sys::AccessShareLock as i32);
            let form = &*(*index).rd_index;
            let finds = [pg_sys::BTREE_AM_OID, pg_sys::HASH_AM_OID].contains(&(*(*index).rd_rel).relam);
            if finds && form.indisvalid && pg_sys::RelationGetIndexPredicate(index).is_null() {
                found.push(*form.indkey.values.as_ptr());
            }
            pg_sys::index_close(index, pg_sys::NoLock as i32);
        }
        pg_sys::relation_close(open, pg_sys::NoLock as i32);
        found.retain(|attnum| *attnum > 0);
        found
    }
}

/// The columns of a unique index that proves the type's own equality unique: another operator class or collation could
/// tell values apart that are equal.
///
/// # Safety
/// `open` and `index` are an open relation and an open index of it.
unsafe fn key(open: pg_sys::Relation, index: pg_sys::Relation) -> Option<Vec<i16>> {
    // SAFETY: the caller's promise; the arrays have one item for each key column.
    unsafe {
        let form = &*(*index).rd_index;
        let proves = form.indisunique && form.indimmediate && form.indisvalid && form.indislive && !form.indisexclusion;
        if !proves || !pg_sys::RelationGetIndexPredicate(index).is_null() {
            return None;
        }
        let width = form.indnkeyatts as usize;
        let mut attnums = Vec::with_capacity(width);
        for position in 0..width {
            let attnum = *form.indkey.values.as_ptr().add(position);
            if attnum <= 0 {
                return None;
            }
            let attribute = &*pg_sys::TupleDescAttr((*open).rd_att, attnum as i32 - 1);
            let entry = pg_sys::lookup_type_cache(attribute.atttypid, pg_sys::TYPECACHE_BTREE_OPFAMILY as i32);
            if *(*index).rd_opfamily.add(position) != (*entry).btree_opf
                || *(*index).rd_indcollation.add(position) != attribute.attcollation
            {
                return None;
            }
            attnums.push(attnum);
        }
        Some(attnums)
    }
}

pub(super) use inheritance::has_parent;

mod inheritance {
    use pgrx::{PgList, pg_sys};

    unsafe extern "C-unwind" {
        fn find_inheritance_children(parent: pg_sys::Oid, lockmode: pg_sys::LOCKMODE) -> *mut pg_sys::List;
        fn has_superclass(relation: pg_sys::Oid) -> bool;
    }

    /// Direct children, unlocked.
    pub(super) fn children(parent: pg_sys::Oid) -> Vec<pg_sys::Oid> {
        // SAFETY: `catalog/pg_inherits.h`; scans pg_inherits and yields a List of oids.
        unsafe {
            let list = pg_sys::ffi::pg_guard_ffi_boundary(|| find_inheritance_children(parent, pg_sys::NoLock as i32));
            PgList::<()>::from_pg(list).iter_oid().collect()
        }
    }

    /// It inherits from another relation or is a partition.
    pub(in crate::pg) fn has_parent(relation: pg_sys::Oid) -> bool {
        // SAFETY: `catalog/pg_inherits.h`; scans pg_inherits.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| has_superclass(relation)) }
    }
}
