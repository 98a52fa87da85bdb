//! What a session tells the background workers when its transaction ends.
//!
//! Announcements are made after the commit is visible to others, so whoever is woken sees what it was woken for. A
//! rolled-back savepoint does not take its announcement back: it is a hint, and a needless look costs little.

use std::cell::RefCell;

use pgrx::{pg_guard, pg_sys};

use super::{shmem, slots};

#[derive(Default)]
struct Pending {
    catalog: bool,
    /// Databases whose settings were altered.
    settings: Vec<u32>,
}

thread_local! {
    static PENDING: RefCell<Pending> = const { RefCell::new(Pending { catalog: false, settings: Vec::new() }) };
}

/// The current transaction changes which stream tables there are, or how they are scheduled: at its commit the
/// scheduler reads the catalog again. Every function that creates, alters, resumes or drops one calls this.
pub fn catalog_changed_at_commit() {
    PENDING.with_borrow_mut(|pending| pending.catalog = true);
}

pub(super) fn settings_changed_at_commit(db: u32) {
    PENDING.with_borrow_mut(|pending| pending.settings.push(db));
}

/// Registers the callback; once per process, from `_PG_init`.
pub(super) fn install() {
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut()) };
}

#[pg_guard]
unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    if !matches!(event, XACT_EVENT_COMMIT | XACT_EVENT_ABORT | XACT_EVENT_PREPARE) {
        return;
    }
    let pending = PENDING.take();
    if pending.catalog && event == XACT_EVENT_COMMIT {
        // SAFETY: constant once the session is connected.
        shmem::catalog_changed(unsafe { pg_sys::MyDatabaseId }.to_u32());
    }
    if pending.catalog && event == XACT_EVENT_PREPARE {
        shmem::catalog_prepared();
    }
    if event == XACT_EVENT_COMMIT {
        pending.settings.iter().for_each(|db| slots::restart_scheduler(*db));
    }
}
