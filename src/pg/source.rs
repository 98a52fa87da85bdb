//! Facts about a source that capture needs.

use std::ffi::CStr;

use pgrx::PgList;
use pgrx::pg_sys::{self, Oid};

use super::snapshot;

/// `source` and what inherits from it, partitions included, at any depth. Nothing when there is no such relation.
pub fn members(source: u32) -> Vec<u32> {
    unsafe extern "C-unwind" {
        /// `catalog/pg_inherits.h`
        fn find_all_inheritors(
            parent: Oid,
            lock: pg_sys::LOCKMODE,
            parents: *mut *mut pg_sys::List,
        ) -> *mut pg_sys::List;
    }
    // SAFETY: the result is a list of oids that lives in the current memory context.
    unsafe {
        if pg_sys::get_rel_relkind(source.into()) == 0 {
            return Vec::new();
        }
        let list = pg_sys::ffi::pg_guard_ffi_boundary(|| {
            find_all_inheritors(Oid::from_u32(source), pg_sys::NoLock as i32, std::ptr::null_mut())
        });
        (0..(*list).length).map(|index| (*(*list).elements.add(index as usize)).oid_value.to_u32()).collect()
    }
}

/// Whether the relation is a partitioned table, which holds no rows itself.
pub fn is_partitioned(relation: u32) -> bool {
    // SAFETY: a look-up in the system cache.
    unsafe { pg_sys::get_rel_relkind(Oid::from_u32(relation)) as u8 == pg_sys::RELKIND_PARTITIONED_TABLE }
}

/// Whether the relation is a materialized view, on which there are no triggers.
pub fn is_matview(relation: u32) -> bool {
    // SAFETY: a look-up in the system cache.
    unsafe { pg_sys::get_rel_relkind(Oid::from_u32(relation)) as u8 == pg_sys::RELKIND_MATVIEW }
}

/// Keeps REFRESH of the materialized view waiting until the transaction ends, after one that is under way; LOCK TABLE takes
/// tables and views only.
pub fn lock_matview(relation: u32) {
    // SAFETY: waits for a lock.
    unsafe { pg_sys::LockRelationOid(Oid::from_u32(relation), pg_sys::ShareRowExclusiveLock as i32) }
}

/// Keeps everybody else from the relation until the transaction ends. It may be gone then.
pub fn lock_exclusively(relation: u32) {
    // SAFETY: waits for a lock.
    unsafe { pg_sys::LockRelationOid(Oid::from_u32(relation), pg_sys::AccessExclusiveLock as i32) }
}

/// Whether the relation inherits from another one or is a partition.
pub fn has_parent(relation: u32) -> bool {
    super::relation::has_parent(Oid::from_u32(relation))
}

/// The relations that have a trigger of this name, which needs no quotes.
pub fn with_trigger(name: &str) -> Vec<u32> {
    let sql = format!("SELECT t.tgrelid::text FROM pg_catalog.pg_trigger AS t WHERE t.tgname = '{name}'");
    super::utility::lines(&sql).iter().filter_map(|oid| oid.parse().ok()).collect()
}

/// Whether foreign keys of the relation do something to its rows when rows that they refer to go or change.
///
/// # Safety
/// The relation is open.
pub(super) unsafe fn is_acted_on(relation: pg_sys::Relation) -> bool {
    // SAFETY: by contract. Of the list only the constraints' numbers are kept, since looking one up may make it anew.
    let keys: Vec<Oid> = unsafe {
        let keys = PgList::<pg_sys::ForeignKeyCacheInfo>::from_pg(pg_sys::RelationGetFKeyList(relation));
        keys.iter_ptr().map(|key| (*key).conoid).collect()
    };
    // SAFETY: constraints of a relation that is open and locked.
    keys.into_iter().any(|key| unsafe { acts(key) })
}

/// `ConstraintRelationId` of `catalog/pg_constraint_d.h`.
const PG_CONSTRAINT: u32 = 2606;

/// Whether the foreign key does something to rows when the row that they refer to goes or changes.
unsafe fn acts(key: Oid) -> bool {
    let cache = pg_sys::SysCacheIdentifier::CONSTROID as i32;
    // SAFETY: the tuple is a pg_constraint row, of which both columns are never NULL; it is released after it was read.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(cache, key.into());
        if tuple.is_null() {
            return true;
        }
        let action = |name: &CStr| {
            let column = pg_sys::get_attnum(Oid::from_u32(PG_CONSTRAINT), name.as_ptr());
            pg_sys::SysCacheGetAttrNotNull(cache, tuple, column).value() as u8
        };
        let harmless = [pg_sys::FKCONSTR_ACTION_NOACTION, pg_sys::FKCONSTR_ACTION_RESTRICT];
        let acts = [c"confupdtype", c"confdeltype"].into_iter().any(|name| !harmless.contains(&action(name)));
        pg_sys::ReleaseSysCache(tuple);
        acts
    }
}

/// Whether the relation has a trigger of this name.
pub fn has_trigger(relation: u32, name: &str) -> bool {
    let Ok(name) = std::ffi::CString::new(name) else { return false };
    // SAFETY: reads pg_trigger; the name is NUL-terminated.
    unsafe { pg_sys::get_trigger_oid(Oid::from_u32(relation), name.as_ptr(), true) != pg_sys::InvalidOid }
}

/// In which sessions the trigger of this name fires: `pg_trigger.tgenabled`. `None` when the relation has no such trigger.
pub fn fires(relation: u32, name: &str) -> Option<char> {
    // SAFETY: the reference is given back at once; NULL when the relation is gone. The triggers of an entry of the relation
    // cache are an array, and their names are NUL-terminated.
    unsafe {
        let relation = pg_sys::RelationIdGetRelation(Oid::from_u32(relation));
        if relation.is_null() {
            return None;
        }
        let triggers = match (*relation).trigdesc.as_ref() {
            Some(all) => std::slice::from_raw_parts(all.triggers, all.numtriggers as usize),
            None => &[],
        };
        let named = triggers.iter().find(|trigger| CStr::from_ptr(trigger.tgname).to_bytes() == name.as_bytes());
        let enabled = named.map(|trigger| char::from(trigger.tgenabled as u8));
        pg_sys::RelationClose(relation);
        enabled
    }
}

/// How to declare a column that holds what attribute `attnum` of `relation` holds: its type, a domain replaced by what it is
/// made of, with the column's collation. A marker row has NULLs where a domain might not allow them. `None` when there is
/// no such attribute.
pub fn column_type(relation: u32, attnum: i16) -> Option<String> {
    let (mut ty, mut typmod, mut collation) = (pg_sys::InvalidOid, -1, pg_sys::InvalidOid);
    // SAFETY: out parameters; both texts are allocated in the current memory context and are NUL-terminated.
    unsafe {
        let relation = Oid::from_u32(relation);
        if pg_sys::get_attname(relation, attnum, true).is_null() {
            return None;
        }
        pg_sys::get_atttypetypmodcoll(relation, attnum, &mut ty, &mut typmod, &mut collation);
        ty = pg_sys::getBaseTypeAndTypmod(ty, &mut typmod);
        let flags = pg_sys::FORMAT_TYPE_TYPEMOD_GIVEN | pg_sys::FORMAT_TYPE_FORCE_QUALIFY;
        let text = pg_sys::format_type_extended(ty, typmod, flags as u16);
        let mut declaration = CStr::from_ptr(text).to_string_lossy().into_owned();
        if collation != pg_sys::InvalidOid && collation != Oid::from_u32(pg_sys::DEFAULT_COLLATION_OID.to_u32()) {
            let name = pg_sys::generate_collation_name(collation);
            declaration.push_str(" COLLATE ");
            declaration.push_str(&CStr::from_ptr(name).to_string_lossy());
        }
        Some(declaration)
    }
}

/// Makes `child` be dropped together with `parent`; it may also be dropped alone.
pub fn drop_after(child: u32, parent: u32) {
    let address = |relation: u32| pg_sys::ObjectAddress {
        classId: pg_sys::RelationRelationId,
        objectId: Oid::from_u32(relation),
        objectSubId: 0,
    };
    // SAFETY: both relations exist and are visible to this command.
    unsafe {
        pg_sys::recordDependencyOn(&address(child), &address(parent), pg_sys::DependencyType::DEPENDENCY_AUTO);
    }
}

/// Whether a statement of this session that changes `source` is under way.
///
/// A trigger that fires before capture, or a function that the statement calls, sees rows whose changes are not in the
/// buffer yet; a refresh there would take them for old ones and count them twice later. The relation is then open in an
/// executor below, and its lock tells that this transaction writes it. A cursor over a source that the transaction has
/// written looks the same.
///
/// What an action of a foreign key has written is captured after other triggers of the table that it came from: its triggers wait to be
/// fired. Of a source that waits for deferred ones that is thought too, in a trigger.
pub fn is_being_written(source: u32) -> bool {
    if snapshot::own_xid().is_none() {
        return false;
    }
    let in_trigger = is_in_trigger();
    members(source).into_iter().any(|member| {
        // SAFETY: the reference is given back at once; NULL when the relation is gone.
        unsafe {
            let relation = pg_sys::RelationIdGetRelation(Oid::from_u32(member));
            if relation.is_null() {
                return false;
            }
            let written = (*relation).rd_refcnt > 1
                && pg_sys::CheckRelationLockedByMe(relation, pg_sys::RowExclusiveLock as i32, true);
            pg_sys::RelationClose(relation);
            written || (in_trigger && pg_sys::AfterTriggerPendingOnRel(Oid::from_u32(member)))
        }
    })
}

/// Whether a trigger of this session runs.
fn is_in_trigger() -> bool {
    // SAFETY: a function without arguments that gives a number.
    let depth = unsafe { pgrx::direct_function_call::<i32>(pg_sys::pg_trigger_depth, &[]) };
    depth.is_some_and(|depth| depth > 0)
}
