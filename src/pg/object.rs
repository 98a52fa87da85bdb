//! Names, owners and dependencies of objects, from the system caches; object ids are plain numbers outside this folder.

use super::source;
use pgrx::pg_sys;
use pgtrickle_engine::sql::{Ident, QualifiedName};
use std::ffi::{CStr, CString};

/// The relation's qualified name; `None` when there is no such relation.
pub fn name(relid: u32) -> Option<QualifiedName> {
    let relid = pg_sys::Oid::from(relid);
    // SAFETY: both return a copy in the current memory context, or NULL.
    unsafe {
        let schema = owned(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relid)))?;
        Some(QualifiedName::new(schema, owned(pg_sys::get_rel_name(relid))?))
    }
}

/// The relation with this name, whoever may see it.
pub fn oid(name: &QualifiedName) -> Option<u32> {
    let schema = namespace(&name.schema.0)?;
    let relation = c_string(&name.name.0)?;
    // SAFETY: a syscache lookup with a NUL-terminated name.
    nonzero(unsafe { pg_sys::get_relname_relid(relation.as_ptr(), schema) })
}

/// What a column is called and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnFacts {
    pub name: String,
    /// `pg_type.oid`.
    pub ty: u32,
    /// -1 when absent.
    pub typmod: i32,
    /// 0 when the type is not collatable.
    pub collation: u32,
}

/// The column; `None` when it was dropped or never was.
pub fn column(relid: u32, attnum: i16) -> Option<ColumnFacts> {
    // SAFETY: the tuple is a pg_attribute row and is released after it was read.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::ATTNUM as i32;
        let tuple = pg_sys::SearchSysCache2(cache, pg_sys::Oid::from(relid).into(), attnum.into());
        if tuple.is_null() {
            return None;
        }
        let row = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_attribute>();
        let column = (!row.attisdropped).then(|| ColumnFacts {
            name: CStr::from_ptr(row.attname.data.as_ptr()).to_string_lossy().into_owned(),
            ty: row.atttypid.to_u32(),
            typmod: row.atttypmod,
            collation: row.attcollation.to_u32(),
        });
        pg_sys::ReleaseSysCache(tuple);
        column
    }
}

/// Whether the relation has a column of this name.
pub fn has_column(relid: u32, name: &str) -> bool {
    // SAFETY: a syscache lookup with a NUL-terminated name.
    c_string(name).is_some_and(|name| unsafe { pg_sys::get_attnum(relid.into(), name.as_ptr()) } > 0)
}

/// The column's name; `None` when it was dropped or never was.
pub fn column_name(relid: u32, attnum: i16) -> Option<String> {
    column(relid, attnum).map(|column| column.name)
}

pub fn schema_exists(name: &str) -> bool {
    namespace(name).is_some()
}

/// The schema in which the session creates unqualified names, if there is one.
pub fn current_schema() -> Option<String> {
    // SAFETY: the list and its first element are valid; get_namespace_name copies.
    unsafe {
        let path = pg_sys::fetch_search_path(false);
        if path.is_null() || (*path).length == 0 {
            return None;
        }
        let first = (*(*path).elements.add(0)).oid_value;
        pg_sys::list_free(path);
        owned(pg_sys::get_namespace_name(first))
    }
}

/// The role that owns the relation; `None` when there is no such relation.
pub fn owner(relid: u32) -> Option<u32> {
    class(relid, |class| class.relowner.to_u32())
}

/// The planner's last count of the rows of the relation and its descendants; 0 for what was never counted.
pub fn estimated_rows(relid: u32) -> f64 {
    let own = |relid| class(relid, |class| f64::from(class.reltuples.max(0.0))).unwrap_or(0.0);
    match family(relid) {
        // That of a partitioned table is the sum already.
        Some(family) => family.into_iter().filter(|one| !source::is_partitioned(*one)).map(own).sum(),
        None => own(relid),
    }
}

/// The relation and its descendants, if it has or had any.
fn family(relid: u32) -> Option<Vec<u32>> {
    class(relid, |class| class.relhassubclass).unwrap_or(false).then(|| source::members(relid))
}

/// How many blocks the relation and its descendants have on disk now; 0 when there is no such relation.
pub fn blocks(relid: u32) -> u32 {
    match family(relid) {
        Some(family) => family.into_iter().map(own_blocks).fold(0, u32::saturating_add),
        None => own_blocks(relid),
    }
}

fn own_blocks(relid: u32) -> u32 {
    // SAFETY: the relation is locked while it is open, so it has its files.
    unsafe {
        let open = pg_sys::try_relation_open(relid.into(), pg_sys::AccessShareLock as i32);
        if open.is_null() {
            return 0;
        }
        let blocks = match (*(*open).rd_rel).relkind as u8 {
            pg_sys::RELKIND_RELATION => pg_sys::RelationGetNumberOfBlocksInFork(open, pg_sys::ForkNumber::MAIN_FORKNUM),
            _ => 0,
        };
        pg_sys::relation_close(open, pg_sys::NoLock as i32);
        blocks
    }
}

/// The role's name, quoted.
pub fn role_name(role: u32) -> Option<Ident> {
    // SAFETY: returns a copy, or NULL for an unknown role.
    unsafe { owned(pg_sys::GetUserNameFromId(role.into(), true)).map(Ident::new) }
}

/// Whether the current role owns the relation, as a member of the owning role or a superuser does.
pub fn is_owned_by_caller(relid: u32) -> bool {
    // SAFETY: reads catalogs.
    unsafe { pg_sys::object_ownercheck(pg_sys::RelationRelationId, relid.into(), pg_sys::GetUserId()) }
}

/// Whether the current role may refresh the relation: its owner, or who has MAINTAIN on it, as for REFRESH MATERIALIZED
/// VIEW.
pub fn may_maintain(relid: u32) -> bool {
    // SAFETY: reads catalogs.
    unsafe {
        pg_sys::pg_class_aclcheck(relid.into(), pg_sys::GetUserId(), pg_sys::ACL_MAINTAIN.into())
            == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// Whether the server replays another one's log.
pub fn in_recovery() -> bool {
    // SAFETY: reads shared state.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Makes `child` be dropped together with `parent`, and never without it.
pub fn drop_with(child: u32, parent: u32) {
    let parent = (pg_sys::RelationRelationId, parent);
    // SAFETY: both relations exist and are visible to this command.
    unsafe { record(child, parent, pg_sys::DependencyType::DEPENDENCY_INTERNAL) };
}

/// Makes the relation depend on another that its contents are made of, as a view does: that cannot be dropped or altered until this
/// transaction ends, and later be dropped only with it. `false` when there is no such relation any more.
pub fn depend_on_relation(relid: u32, source: u32) -> bool {
    // SAFETY: the relation is locked while its existence is looked at, and the lock is kept.
    unsafe {
        let open = pg_sys::try_relation_open(source.into(), pg_sys::AccessShareLock as i32);
        if open.is_null() {
            return false;
        }
        pg_sys::relation_close(open, pg_sys::NoLock as i32);
        record(relid, (pg_sys::RelationRelationId, source), pg_sys::DependencyType::DEPENDENCY_NORMAL);
    }
    true
}

/// Makes the relation depend on the extension: DROP EXTENSION is refused, or drops it too.
pub fn depend_on_extension(relid: u32) {
    // SAFETY: the extension's functions are running, so it exists; a look-up in its catalog.
    unsafe {
        let extension = pg_sys::get_extension_oid(c"pg_trickle".as_ptr(), false);
        let used = (pg_sys::ExtensionRelationId, extension.to_u32());
        record(relid, used, pg_sys::DependencyType::DEPENDENCY_NORMAL);
    }
}

/// Makes the relation depend as a whole on the collations of its columns, which would take only these along.
pub fn depend_on_collations(relid: u32) {
    let collations = (1..).map_while(|attnum| column(relid, attnum)).map(|column| column.collation);
    for collation in collations.filter(|collation| *collation != 0) {
        let used = (pg_sys::CollationRelationId, collation);
        // SAFETY: a column of the relation has the collation, so it exists.
        unsafe { record(relid, used, pg_sys::DependencyType::DEPENDENCY_NORMAL) };
    }
}

/// # Safety
/// The relation and the other object, of a class, exist and are visible to this command.
unsafe fn record(relid: u32, (class, object): (pg_sys::Oid, u32), how: pg_sys::DependencyType::Type) {
    let address =
        |class, object: u32| pg_sys::ObjectAddress { classId: class, objectId: object.into(), objectSubId: 0 };
    // SAFETY: the caller's.
    unsafe { pg_sys::recordDependencyOn(&address(pg_sys::RelationRelationId, relid), &address(class, object), how) };
}

fn class<T>(relid: u32, read: impl FnOnce(&pg_sys::FormData_pg_class) -> T) -> Option<T> {
    // SAFETY: the tuple is a pg_class row and is released after it was read.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, pg_sys::Oid::from(relid).into());
        if tuple.is_null() {
            return None;
        }
        let value = read(&*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>());
        pg_sys::ReleaseSysCache(tuple);
        Some(value)
    }
}

fn namespace(name: &str) -> Option<pg_sys::Oid> {
    let name = c_string(name)?;
    // SAFETY: a syscache lookup with a NUL-terminated name.
    nonzero(unsafe { pg_sys::get_namespace_oid(name.as_ptr(), true) }).map(pg_sys::Oid::from)
}

/// A name longer than the server's limit is cut as the parser cuts it.
fn c_string(name: &str) -> Option<CString> {
    CString::new(name).ok()
}

fn nonzero(oid: pg_sys::Oid) -> Option<u32> {
    (oid != pg_sys::InvalidOid).then(|| oid.to_u32())
}

/// # Safety
/// `text` is NULL or a NUL-terminated string.
unsafe fn owned(text: *mut std::ffi::c_char) -> Option<String> {
    // SAFETY: the caller's.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
