//! The types of the values that a query reads: that they stay, and that a change of one is noticed, as for
//! [functions](super::function).

use pgrx::pg_sys::{self, Oid};

use super::function::{await_creations_on, depend_on};
use super::nodes::text;

/// Values of the type can come to mean something else: it does not belong to PostgreSQL itself, or its values stand for
/// configurations and dictionaries of text search.
pub fn can_change(ty: u32) -> bool {
    ty >= pg_sys::FirstNormalObjectId || [pg_sys::REGCONFIGOID, pg_sys::REGDICTIONARYOID].contains(&ty.into())
}

/// Makes the relation depend on the type. Whoever changes the type from here on waits for the end of this transaction before
/// looking for those who read its values.
pub fn depend(relation: u32, ty: u32) {
    depend_on(relation, pg_sys::TypeRelationId, ty);
}

/// Likewise on another object, of a class.
pub fn depend_on_object(relation: u32, class: u32, object: u32) {
    depend_on(relation, class.into(), object);
}

/// Waits for the creations that search text by a configuration or a dictionary, as [`await_creations`] does.
pub fn await_text_searchers() {
    [pg_sys::REGCONFIGOID, pg_sys::REGDICTIONARYOID].into_iter().for_each(|ty| await_creations(ty.to_u32()));
}

/// Waits for the creations that read values of the type, and keeps others waiting until this transaction ends.
pub fn await_creations(ty: u32) {
    await_creations_on(pg_sys::TypeRelationId, ty);
}

/// The type as statements name it.
pub fn name(ty: u32) -> String {
    let flags = pg_sys::FORMAT_TYPE_ALLOW_INVALID | pg_sys::FORMAT_TYPE_FORCE_QUALIFY;
    // SAFETY: a syscache lookup that yields a copy, also for a type that there is not.
    unsafe { text(pg_sys::format_type_extended(ty.into(), -1, flags as u16)) }
}

/// The type of the relation's rows; `None` when it has none.
pub fn of_rows(relation: u32) -> Option<u32> {
    // SAFETY: a syscache lookup.
    let ty = unsafe { pg_sys::get_rel_type_id(relation.into()) };
    (ty != pg_sys::InvalidOid).then(|| ty.to_u32())
}

/// The oid of the type with a name as the parser leaves it.
///
/// # Safety
/// `name` is a list of strings that names a type.
pub(super) unsafe fn named(name: *mut pg_sys::List) -> Oid {
    // SAFETY: the caller's promise.
    unsafe { pg_sys::typenameTypeId(std::ptr::null_mut(), pg_sys::makeTypeNameFromNameList(name)) }
}
