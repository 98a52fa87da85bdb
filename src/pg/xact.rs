//! What must happen when a transaction ends: waking those who wait for the sources that it wrote.
//!
//! Both events come after the other backends see the outcome: COMMIT after `ProcArrayEndTransaction`, PREPARE after the
//! prepared transaction took over the locks. A prepared transaction commits in another backend, which announces what
//! prepared transactions wrote; see [`shmem::announce_prepared`].

use std::cell::{Cell, RefCell};
use std::ffi::c_void;

use pgrx::pg_guard;
use pgrx::pg_sys;

use super::shmem;

thread_local! {
    static WRITTEN: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Notes that the current transaction wrote `source`. A rolled-back savepoint does not take the note back; it is a hint.
pub fn note_write(source: u32) {
    if !REGISTERED.replace(true) {
        // SAFETY: the callback is a plain function that lives as long as the process.
        unsafe { pg_sys::RegisterXactCallback(Some(at_end), std::ptr::null_mut()) };
    }
    WRITTEN.with_borrow_mut(|written| {
        if written.last() != Some(&source) && !written.contains(&source) {
            written.push(source);
        }
    });
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    if !matches!(event, XACT_EVENT_COMMIT | XACT_EVENT_PREPARE | XACT_EVENT_ABORT) {
        return;
    }
    let written = WRITTEN.take();
    // SAFETY: a backend stays in the database that it connected to.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    match event {
        XACT_EVENT_COMMIT if !written.is_empty() => shmem::announce(database, &written),
        XACT_EVENT_PREPARE if !written.is_empty() => shmem::announce_prepared(database, &written),
        _ => {}
    }
}
