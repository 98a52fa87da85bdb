//! The extension's own sequences.

use crate::error::{Error, Result};
use crate::names;
use pgrx::pg_sys::{self, Oid};
use pgtrickle_engine::sql::QualifiedName;

/// The next number of a sequence of the catalog.
///
/// # Errors
/// `Internal` when there is none of this name.
pub fn next_number(sequence: &str) -> Result<i64> {
    let name = QualifiedName::new(names::SCHEMA, sequence);
    let oid = super::object::oid(&name).ok_or_else(|| Error::Internal(format!("sequence {sequence} is gone")))?;
    // SAFETY: the sequence exists; the extension needs nobody's leave to use its own.
    Ok(unsafe { nextval_internal(oid.into(), false) })
}

unsafe extern "C-unwind" {
    /// `commands/sequence.h`
    #[link_name = "nextval_internal"]
    fn nextval_unguarded(sequence: Oid, check_permissions: bool) -> i64;
}

/// # Safety
/// `sequence` is one.
unsafe fn nextval_internal(sequence: Oid, check_permissions: bool) -> i64 {
    // SAFETY: the server's errors become panics, as in every bound function.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| nextval_unguarded(sequence, check_permissions)) }
}
