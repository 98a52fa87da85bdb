//! Shared memory: what writers, schedulers and the launcher tell each other.
//!
//! Everything is an atomic, so nothing here locks, allocates or fails, and a commit callback may call it. All of it is
//! a **hint about when to look**: the truth about changes is in the buffers, seen through MVCC. Without
//! `shared_preload_libraries` there is no shared memory and every call does nothing.
//!
//! # Waking a scheduler exactly when it matters
//!
//! Each source has a cell, found by a hash of database and oid: a counter of commits that wrote it and a set of armed
//! schedulers. A writer, *after* its commit is visible: increments the counter, then looks whether its database's
//! scheduler is armed there, and only then disarms it and sets its latch. A scheduler that wants to hear of a source
//! arms the cell, *then* reads the counter, and takes its snapshot after that. All accesses are sequentially
//! consistent, so either the writer sees the armed bit or the scheduler sees the new count; and a busy source wakes
//! its scheduler once per refresh, not once per commit. Two sources that share a cell cost a needless look.

use std::cell::{RefCell, UnsafeCell};
use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64};

use pgrx::{pg_guard, pg_sys};

use super::tasks::{PLACES, Place};

/// Cells are 16 bytes; 4096 of them keep collisions rare for thousands of sources.
const CELLS: usize = 4096;
/// Databases with a running scheduler; the bits of [`Cell::armed`] are the limit.
pub(super) const SLOTS: usize = 64;
/// Statements on databases (DROP DATABASE …) at the same time.
pub(super) const HOLDS: usize = 32;
/// In `Launcher::rescan`: every database, not one.
const EVERY_DATABASE: u32 = u32::MAX;

struct Cell {
    count: AtomicU64,
    /// Bit n: the scheduler in slot n wants to be woken by the next change.
    armed: AtomicU64,
}

/// One database's scheduler. The launcher alone allocates and frees slots; see `slots.rs`.
pub(super) struct Slot {
    pub(super) db: AtomicU32,
    pub(super) pid: AtomicI32,
    pub(super) proc_number: AtomicI32,
    /// Exited because there is nothing to do in this database.
    pub(super) idle: AtomicBool,
    /// Counts announced changes of the extension's catalog in this database.
    pub(super) catalog: AtomicU64,
    /// Value of `catalog` that the scheduler last acted upon.
    pub(super) catalog_seen: AtomicU64,
    /// Milliseconds since the Unix epoch of the scheduler's last look.
    pub(super) heartbeat: AtomicI64,
    pub(super) stream_tables: AtomicU32,
    /// The scheduler should exit, to start again with the database's new settings.
    pub(super) restart: AtomicBool,
}

/// A statement that needs a database without schedulers; valid while the process `pid` lives.
pub(super) struct Hold {
    pub(super) pid: AtomicI32,
    pub(super) db: AtomicU32,
}

/// Valid when zeroed, which is how it starts.
pub(super) struct Shared {
    launcher_proc: AtomicI32,
    launcher_pid: AtomicI32,
    rescan: AtomicU32,
    pub(super) slots: [Slot; SLOTS],
    pub(super) holds: [Hold; HOLDS],
    pub(super) places: [Place; PLACES],
    cells: [Cell; CELLS],
    /// Cells that a prepared transaction wrote; never cleared, since a needless look is all that it costs.
    prepared: [AtomicU8; CELLS],
    prepared_catalog: AtomicBool,
    /// No scheduler has yet made sure that no prepared transaction survived the restart.
    prepared_unknown: AtomicBool,
    /// A scheduler or a refresh worker left.
    pub(super) scheduler_exited: UnsafeCell<pg_sys::ConditionVariable>,
}

static SHARED: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());

/// None when the library was not preloaded.
pub(super) fn shared() -> Option<&'static Shared> {
    // SAFETY: set once by the startup hook to memory that lives as long as the process.
    unsafe { SHARED.load(SeqCst).as_ref() }
}

/// Whether the extension was loaded by `shared_preload_libraries`.
pub fn available() -> bool {
    shared().is_some()
}

/// Asks for the memory; called from `_PG_init` while preloading.
pub(super) fn install() {
    // SAFETY: the postmaster is single-threaded here; the previous hooks are kept and called first.
    unsafe {
        PREVIOUS_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(request);
        PREVIOUS_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(startup);
    }
}

static mut PREVIOUS_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut PREVIOUS_STARTUP: pg_sys::shmem_startup_hook_type = None;

#[pg_guard]
unsafe extern "C-unwind" fn request() {
    // SAFETY: called by the postmaster at the one point where memory may be requested.
    unsafe {
        if let Some(previous) = PREVIOUS_REQUEST {
            pg_sys::ffi::pg_guard_ffi_boundary(|| previous());
        }
        pg_sys::RequestAddinShmemSpace(size_of::<Shared>());
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn startup() {
    // SAFETY: called by the postmaster before it has children, also after a crash of one of them, when the memory is
    // made anew; so nobody else can see it yet and AddinShmemInitLock has nobody to keep out.
    unsafe {
        if let Some(previous) = PREVIOUS_STARTUP {
            pg_sys::ffi::pg_guard_ffi_boundary(|| previous());
        }
        let mut found = false;
        let memory: *mut Shared =
            pg_sys::ShmemInitStruct(c"pg_trickle".as_ptr(), size_of::<Shared>(), &mut found).cast();
        if !found {
            std::ptr::write_bytes(memory, 0, 1);
            pg_sys::ConditionVariableInit((*memory).scheduler_exited.get());
            (*memory).prepared_unknown.store(true, SeqCst);
            (*memory).launcher_proc.store(-1, SeqCst);
        }
        SHARED.store(memory, SeqCst);
    }
}

/// Sets the latch of the process that has, or had, this proc number. A latch that meanwhile belongs to somebody else
/// is set for nothing, which every waiter has to expect.
pub(super) fn wake(proc_number: i32) {
    // SAFETY: `allProcs` is an array of `allProcCount` entries in shared memory that are never moved or freed.
    unsafe {
        let all = pg_sys::ProcGlobal;
        if let Ok(index) = u32::try_from(proc_number)
            && index < (*all).allProcCount
        {
            pg_sys::SetLatch(&raw mut (*(*all).allProcs.add(index as usize)).procLatch);
        }
    }
}

fn cell(db: u32, source: u32) -> usize {
    let key = (u64::from(db) << 32) | u64::from(source);
    // Fibonacci hashing: the upper bits of the product are well mixed.
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - CELLS.ilog2())) as usize
}

impl Shared {
    pub(super) fn slot_of(&self, db: u32) -> Option<(usize, &Slot)> {
        self.slots.iter().enumerate().find(|(_, slot)| slot.db.load(SeqCst) == db)
    }

    fn touch(&self, index: usize, scheduler: Option<(usize, &Slot)>) {
        let cell = &self.cells[index];
        cell.count.fetch_add(1, SeqCst);
        OWN.with_borrow_mut(|own| {
            if let Some(own) = own {
                *own.entry(index).or_insert(0) += 1;
            }
        });
        if let Some((number, slot)) = scheduler {
            let bit = 1u64 << number;
            if cell.armed.load(SeqCst) & bit != 0 && cell.armed.fetch_and(!bit, SeqCst) & bit != 0 {
                wake(slot.proc_number.load(SeqCst));
            }
        }
    }
}

/// A transaction that wrote these sources has committed, and its commit is visible.
pub fn announce(db: u32, sources: &[u32]) {
    let Some(shared) = shared() else { return };
    let scheduler = shared.slot_of(db);
    for source in sources {
        shared.touch(cell(db, *source), scheduler);
    }
}

/// A transaction that wrote these sources was prepared: whoever finishes it announces them.
pub fn announce_prepared(db: u32, sources: &[u32]) {
    let Some(shared) = shared() else { return };
    for source in sources {
        shared.prepared[cell(db, *source)].store(1, SeqCst);
    }
}

/// The catalog was changed by a transaction that is now prepared.
pub(super) fn catalog_prepared() {
    if let Some(shared) = shared() {
        shared.prepared_catalog.store(true, SeqCst);
    }
}

/// A prepared transaction of this database was committed: announces what prepared transactions wrote.
pub(super) fn prepared_committed(db: u32) {
    let Some(shared) = shared() else { return };
    let unknown = shared.prepared_unknown.load(SeqCst);
    let scheduler = shared.slot_of(db);
    for (index, mark) in shared.prepared.iter().enumerate() {
        if unknown || mark.load(SeqCst) != 0 {
            shared.touch(index, scheduler);
        }
    }
    if unknown || shared.prepared_catalog.load(SeqCst) {
        catalog_changed(db);
    }
}

/// There is no prepared transaction from before the server's start: marks alone tell what to announce.
pub fn forget_unknown_prepared() {
    if let Some(shared) = shared() {
        shared.prepared_unknown.store(false, SeqCst);
    }
}

/// The extension's catalog in this database changed, or the extension came or went; committed and visible.
pub fn catalog_changed(db: u32) {
    let Some(shared) = shared() else { return };
    if let Some((_, slot)) = shared.slot_of(db) {
        slot.catalog.fetch_add(1, SeqCst);
        wake(slot.proc_number.load(SeqCst));
        // The launcher frees a slot before it reads the count a last time, so one of the two sees the other.
        if slot.db.load(SeqCst) == db {
            return;
        }
    }
    signal_rescan(Some(db));
}

/// Makes the launcher look again at once: at one database, or at all.
pub fn signal_rescan(db: Option<u32>) {
    let Some(shared) = shared() else { return };
    let wanted = db.unwrap_or(EVERY_DATABASE);
    if let Err(current) = shared.rescan.compare_exchange(0, wanted, SeqCst, SeqCst)
        && current != wanted
    {
        shared.rescan.store(EVERY_DATABASE, SeqCst);
    }
    wake(shared.launcher_proc.load(SeqCst));
}

/// What the launcher was asked to look at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescan {
    Nothing,
    Database(u32),
    All,
}

/// Takes the request; for the launcher.
pub fn take_rescan() -> Rescan {
    match shared().map_or(0, |shared| shared.rescan.swap(0, SeqCst)) {
        0 => Rescan::Nothing,
        EVERY_DATABASE => Rescan::All,
        db => Rescan::Database(db),
    }
}

/// Makes this process the launcher, for [`signal_rescan`].
pub(super) fn enter_launcher() {
    if let Some(shared) = shared() {
        // SAFETY: set when the process got its PGPROC.
        let (number, pid) = unsafe { (pg_sys::MyProcNumber, pg_sys::MyProcPid) };
        shared.launcher_proc.store(number, SeqCst);
        shared.launcher_pid.store(pid, SeqCst);
    }
}

/// Commits that wrote the source, since the server's start. Meaningful only compared with an earlier value.
pub fn counter(db: u32, source: u32) -> u64 {
    shared().map_or(0, |shared| shared.cells[cell(db, source)].count.load(SeqCst))
}

/// Asks that the next [`announce`] of this source wakes the scheduler in slot `slot`; then reads the counter.
pub(super) fn arm(slot: usize, db: u32, source: u32) -> u64 {
    let Some(shared) = shared() else { return 0 };
    let cell = &shared.cells[cell(db, source)];
    let bit = 1u64 << slot;
    if cell.armed.load(SeqCst) & bit == 0 {
        cell.armed.fetch_or(bit, SeqCst);
    }
    cell.count.load(SeqCst)
}

/// Forgets what an earlier scheduler in this slot had armed.
pub(super) fn disarm_all(slot: usize) {
    if let Some(shared) = shared() {
        for cell in &shared.cells {
            cell.armed.fetch_and(!(1u64 << slot), SeqCst);
        }
    }
}

thread_local! {
    /// In a scheduler or a refresh worker: increments that this process made itself, by cell.
    static OWN: RefCell<Option<HashMap<usize, u64>>> = const { RefCell::new(None) };
}

/// Starts counting what this process announces itself.
pub(super) fn watch_own() {
    OWN.set(Some(HashMap::new()));
}

/// What this process announced itself since the last call.
#[derive(Debug, Default)]
pub struct OwnChanges(HashMap<usize, u64>);

impl OwnChanges {
    pub(super) fn of(cells: impl Iterator<Item = (usize, u64)>) -> OwnChanges {
        let mut own = HashMap::new();
        cells.filter(|(_, count)| *count > 0).for_each(|(cell, count)| *own.entry(cell).or_insert(0) += count);
        OwnChanges(own)
    }

    pub(super) fn cells(self) -> impl Iterator<Item = (usize, u64)> {
        self.0.into_iter()
    }

    /// By how much this process moved the counter of the source.
    pub fn count(&self, db: u32, source: u32) -> u64 {
        self.0.get(&cell(db, source)).copied().unwrap_or(0)
    }
}

/// Takes the process's own announcements.
pub fn take_own() -> OwnChanges {
    OwnChanges(OWN.with_borrow_mut(|own| own.as_mut().map(std::mem::take).unwrap_or_default()))
}
