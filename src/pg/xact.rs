//! What must happen when a transaction ends: waking those who wait for the sources that it wrote.
//!
//! Both events come after the other backends see the outcome: COMMIT after `ProcArrayEndTransaction`, PREPARE after the
//! prepared transaction took over the locks. A prepared transaction commits in another backend, at a time that this one
//! never learns, so what is announced at PREPARE is a hint that the receiver keeps while prepared transactions exist.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;

use pgrx::pg_guard;
use pgrx::pg_sys;

/// Called with the database and the sources that the transaction wrote. Must not fail: the transaction has committed.
pub type CommitHook = fn(database: u32, sources: &[u32]);

thread_local! {
    static WRITTEN: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    static HOOK: Cell<Option<CommitHook>> = const { Cell::new(None) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Sets what is called after a commit; `_PG_init` does, once.
pub fn on_commit(hook: CommitHook) {
    HOOK.set(Some(hook));
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

/// The sources that the current transaction wrote so far.
pub fn written_sources() -> Vec<u32> {
    WRITTEN.with_borrow(Vec::clone)
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    match event {
        XACT_EVENT_COMMIT | XACT_EVENT_PREPARE => {
            let written = WRITTEN.take();
            if let (Some(hook), false) = (HOOK.get(), written.is_empty()) {
                // SAFETY: a backend stays in the database that it connected to.
                hook(unsafe { pg_sys::MyDatabaseId }.to_u32(), &written);
            }
        }
        XACT_EVENT_ABORT => WRITTEN.with_borrow_mut(Vec::clear),
        _ => {}
    }
}
