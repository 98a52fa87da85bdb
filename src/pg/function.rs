//! The functions that a query calls: that they stay, and that a change of one is noticed.
//!
//! A stream table depends on them as a view does, so DROP FUNCTION is refused or takes it along. Replacing one takes no lock
//! that a creation would wait for, so both sides lock the function as an object: who creates a stream table in the mode of a
//! reader, who tells its users of a change in the mode that excludes them. Otherwise a stream table that is being filled with
//! the old function would be seen by nobody.

use pgrx::pg_sys::{self, Oid};
use pgtrickle_engine::sql::QualifiedName;

use super::lock::lock;
use super::nodes::text;

/// Makes the relation depend on the function. Whoever changes the function from here on waits for the end of this
/// transaction before looking for those who call it.
pub fn depend(relation: u32, function: u32) {
    depend_on(relation, pg_sys::ProcedureRelationId, function);
}

/// Likewise of an object of any class.
pub(super) fn depend_on(relation: u32, class: Oid, object: u32) {
    lock(class, object, pg_sys::AccessShareLock);
    let address =
        |class, object: u32| pg_sys::ObjectAddress { classId: class, objectId: object.into(), objectSubId: 0 };
    // SAFETY: both exist and are visible to this command.
    unsafe {
        pg_sys::recordDependencyOn(
            &address(pg_sys::RelationRelationId, relation),
            &address(class, object),
            pg_sys::DependencyType::DEPENDENCY_NORMAL,
        );
    }
}

/// Waits for the creations that call the function, and keeps others waiting until this transaction ends. Scripts of extensions
/// change too many functions for a lock on each.
pub fn await_creations(function: u32) {
    await_creations_on(pg_sys::ProcedureRelationId, function);
}

/// Likewise of an object of any class.
pub(super) fn await_creations_on(class: Oid, object: u32) {
    // SAFETY: reads a flag of the session.
    if !unsafe { pg_sys::creating_extension } {
        lock(class, object, pg_sys::AccessExclusiveLock);
    }
}

/// The row of the function in the catalog: another one after every change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    xmin: u32,
    place: (u16, u16, u16),
}

/// The function's version; `None` when there is no such function.
pub fn version(function: u32) -> Option<Version> {
    // SAFETY: the tuple is a pg_proc row and is released after its header was read.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::PROCOID as i32, Oid::from(function).into());
        if tuple.is_null() {
            return None;
        }
        let place = (*tuple).t_self;
        let version = Version {
            xmin: (*(*tuple).t_data).t_choice.t_heap.t_xmin.into_inner(),
            place: (place.ip_blkid.bi_hi, place.ip_blkid.bi_lo, place.ip_posid),
        };
        pg_sys::ReleaseSysCache(tuple);
        Some(version)
    }
}

/// The function's name; `None` when there is no such function.
pub fn name(function: u32) -> Option<QualifiedName> {
    let function = Oid::from(function);
    // SAFETY: syscache lookups that yield copies, or NULL.
    unsafe {
        let name = pg_sys::get_func_name(function);
        (!name.is_null()).then(|| {
            QualifiedName::new(text(pg_sys::get_namespace_name(pg_sys::get_func_namespace(function))), text(name))
        })
    }
}

/// The functions that a user's aggregate is made of; none for any other function.
pub(super) fn parts_of_aggregate(function: u32) -> Vec<u32> {
    if function < pg_sys::FirstNormalObjectId {
        return Vec::new();
    }
    // SAFETY: the tuple is a pg_aggregate row, of which these columns are oids and never NULL; it is released afterwards.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::AGGFNOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, Oid::from(function).into());
        if tuple.is_null() {
            return Vec::new();
        }
        let part = |column| pg_sys::SysCacheGetAttrNotNull(cache, tuple, column).value() as u32;
        let parts = PARTS.map(part).filter(|part| *part != 0).collect();
        pg_sys::ReleaseSysCache(tuple);
        parts
    }
}

/// `aggtransfn` to `aggmfinalfn` of `pg_aggregate`.
const PARTS: std::ops::RangeInclusive<i16> = 4..=11;
