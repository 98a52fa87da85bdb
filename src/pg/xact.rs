//! What must happen when a transaction ends: waking those who wait for the sources that it wrote.
//!
//! Both events come after the other backends see the outcome: COMMIT after `ProcArrayEndTransaction`, PREPARE after the
//! prepared transaction took over the locks. A prepared transaction commits in another backend, which announces what
//! prepared transactions wrote; see [`shmem::announce_prepared`].

use std::cell::{Cell, RefCell};
use std::ffi::c_void;

use pgrx::pg_guard;
use pgrx::pg_sys;
use pgrx::pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};

use super::{layout, shmem};

/// A source that the current transaction wrote.
struct Written {
    source: u32,
    last: Write,
}

/// How rows of a source were written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Under which command id.
    pub command: u32,
    /// It began with rows of the same command under another id.
    pub goes_on: bool,
}

thread_local! {
    static WRITTEN: RefCell<Vec<Written>> = const { RefCell::new(Vec::new()) };
    /// Counts the times that this session wrote a source.
    static WRITES: Cell<u64> = const { Cell::new(0) };
    /// There is something to do when the transaction ends.
    static PENDING: Cell<bool> = const { Cell::new(false) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Notes that the current transaction writes `source`. A rolled-back savepoint does not take the note back: who waits for the source is woken for
/// nothing, and command ids are not used again.
pub fn note_write(source: u32, write: Write) {
    expect_end();
    WRITES.set(WRITES.get() + 1);
    WRITTEN.with_borrow_mut(|written| match written.iter_mut().rfind(|known| known.source == source) {
        Some(known) => known.last = write,
        None => written.push(Written { source, last: write }),
    });
}

/// How the current transaction wrote `source` last, if it did.
pub fn last_write(source: u32) -> Option<Write> {
    WRITTEN.with_borrow(|written| written.iter().rfind(|known| known.source == source).map(|known| known.last))
}

/// What tells one part of a session from another: the transaction, the subtransaction, and how often sources have been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    transaction: u64,
    subtransaction: u32,
    writes: u64,
}

impl Moment {
    pub fn now() -> Moment {
        // SAFETY: in a transaction, which gets an id if it has none.
        let (transaction, subtransaction) =
            unsafe { (pg_sys::GetTopFullTransactionId().value, pg_sys::GetCurrentSubTransactionId()) };
        Moment { transaction, subtransaction, writes: WRITES.get() }
    }
}

/// Notes that a layout is to be freed.
pub(super) fn note_retirement() {
    expect_end();
}

fn expect_end() {
    if !PENDING.replace(true) && !REGISTERED.replace(true) {
        // SAFETY: the callback is a plain function that lives as long as the process.
        unsafe { pg_sys::RegisterXactCallback(Some(at_event), std::ptr::null_mut()) };
    }
}

/// Called several times for every transaction of a session that once wrote a source, so it is quick to see that there is
/// nothing to do, and without a guard: nothing in it can fail.
unsafe extern "C-unwind" fn at_event(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    if matches!(event, XACT_EVENT_COMMIT | XACT_EVENT_PREPARE | XACT_EVENT_ABORT) && PENDING.replace(false) {
        // SAFETY: as we were called.
        unsafe { at_end(event) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type) {
    // SAFETY: a backend stays in the database that it connected to.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    let written: Vec<u32> =
        WRITTEN.with_borrow_mut(|written| written.drain(..).map(|written| written.source).collect());
    match event {
        XACT_EVENT_COMMIT if !written.is_empty() => shmem::announce(database, &written),
        XACT_EVENT_PREPARE if !written.is_empty() => shmem::announce_prepared(database, &written),
        _ => {}
    }
    layout::free_retired();
}
