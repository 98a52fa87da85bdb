//! What a session tells the background workers when its transaction ends.
//!
//! Announcements are made after the commit is visible to others, so whoever is woken sees what it was woken for. A
//! rolled-back savepoint does not take its announcement back: it is a hint, and a needless look costs little.

use std::cell::RefCell;

use pgrx::pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
use pgrx::{pg_guard, pg_sys};

use super::slots::DatabaseHold;
use super::{shmem, slots};

#[derive(Default)]
struct Pending {
    catalog: bool,
    /// A database was made.
    database: bool,
    /// A prepared transaction was committed.
    prepared: bool,
    /// Databases whose settings were altered.
    settings: Vec<u32>,
    holds: Vec<DatabaseHold>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        let noted = self.catalog || self.database || self.prepared;
        !noted && self.settings.is_empty() && self.holds.is_empty()
    }
}

thread_local! {
    static PENDING: RefCell<Pending> = RefCell::default();
}

/// The current transaction changes which stream tables there are, or how they are scheduled: at its commit the
/// scheduler reads the catalog again. Every function that creates, alters, resumes or drops one calls this.
pub fn catalog_changed_at_commit() {
    PENDING.with_borrow_mut(|pending| pending.catalog = true);
}

pub(super) fn settings_changed_at_commit(db: u32) {
    PENDING.with_borrow_mut(|pending| pending.settings.push(db));
}

pub(super) fn database_made_at_commit() {
    PENDING.with_borrow_mut(|pending| pending.database = true);
}

pub(super) fn prepared_committed_at_commit() {
    PENDING.with_borrow_mut(|pending| pending.prepared = true);
}

/// Keeps schedulers out of the database until the current transaction ends, however it ends.
pub(super) fn hold_until_end(db: u32) {
    if let Some(hold) = DatabaseHold::acquire(db) {
        PENDING.with_borrow_mut(|pending| pending.holds.push(hold));
        slots::evict(db);
    }
}

/// Registers the callback; once per process, from `_PG_init`.
pub(super) fn install() {
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::RegisterXactCallback(Some(at_event), std::ptr::null_mut()) };
}

/// Called several times for every transaction of every session, so it is quick to see that there is nothing to do, and
/// without a guard: nothing in it can fail.
unsafe extern "C-unwind" fn at_event(event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    let end = matches!(event, XACT_EVENT_COMMIT | XACT_EVENT_ABORT | XACT_EVENT_PREPARE);
    if end && !PENDING.with_borrow(Pending::is_empty) {
        // SAFETY: as we were called.
        unsafe { at_end(event) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type) {
    let pending = PENDING.take();
    if event == XACT_EVENT_PREPARE && pending.catalog {
        shmem::catalog_prepared();
    }
    if event != XACT_EVENT_COMMIT {
        return;
    }
    // SAFETY: constant once the session is connected.
    let db = unsafe { pg_sys::MyDatabaseId }.to_u32();
    if pending.catalog {
        shmem::catalog_changed(db);
    }
    if pending.prepared {
        shmem::prepared_committed(db);
    }
    if pending.database {
        shmem::signal_rescan(None);
    }
    pending.settings.iter().for_each(|db| slots::restart_scheduler(*db));
}
