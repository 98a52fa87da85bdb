//! Locks on objects that are no relations (`storage/lmgr.h`).

use pgrx::pg_sys::{self, Oid};

unsafe extern "C-unwind" {
    fn LockDatabaseObject(class: Oid, object: Oid, sub: u16, mode: pg_sys::LOCKMODE);
    fn UnlockDatabaseObject(class: Oid, object: Oid, sub: u16, mode: pg_sys::LOCKMODE);
}

/// Waits for the lock, which the end of the transaction gives back.
pub(super) fn lock(class: Oid, object: u32, mode: u32) {
    // SAFETY: may raise an error, as when it is cancelled.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| LockDatabaseObject(class, object.into(), 0, mode as i32));
    }
}

/// Keeps others from that row of the table, which may not be there yet, until the transaction ends: `row` is its key.
pub fn lock_row(table: u32, row: u32) {
    lock(table.into(), row, pg_sys::ExclusiveLock);
}

/// Gives a lock of [`lock_row`] back, nothing having been written under it.
pub fn unlock_row(table: u32, row: u32) {
    // SAFETY: the caller has the lock.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            UnlockDatabaseObject(table.into(), row.into(), 0, pg_sys::ExclusiveLock as i32);
        });
    }
}
