//! What a trigger function is called with.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::error::Error;

/// The trigger data of a call; an error when SQL calls the function as a plain one.
///
/// # Safety
/// `fcinfo` is what fmgr passed.
pub(super) unsafe fn called(fcinfo: pg_sys::FunctionCallInfo) -> *const pg_sys::TriggerData {
    // SAFETY: fmgr's context node, when present, is a valid node.
    unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            Error::InvalidArgument {
                message: "the function was not called as a trigger".into(),
                hint: "It is used by the triggers that pg_trickle creates.".into(),
            }
            .raise();
        }
        context.cast()
    }
}

/// The name of a relation.
///
/// # Safety
/// `relation` is open.
pub(super) unsafe fn relation_name(relation: pg_sys::Relation) -> String {
    // SAFETY: by contract; relation names are NUL-terminated.
    unsafe { CStr::from_ptr((*(*relation).rd_rel).relname.data.as_ptr()) }.to_string_lossy().into_owned()
}
