//! The life of a scheduler's slot, and keeping schedulers out of a database.
//!
//! The launcher allocates a slot, then starts a worker with the slot's number as its argument. The worker enters the
//! slot before it connects and leaves it when its process ends; the launcher frees the slot when it sees the worker
//! gone. A **hold** asks a database's scheduler to leave and keeps new ones out while a statement such as DROP
//! DATABASE runs: the worker enters its slot, then looks for a hold; the holder makes the hold, then looks for a worker
//! in the slot. So at least one of them sees the other, and no worker connects behind the holder's back.

use std::ffi::{c_int, c_long};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use pgrx::{pg_guard, pg_sys};

use super::shmem::{self, Slot, shared};
use super::tasks;

/// A slot as the launcher sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotNumber(usize);

impl SlotNumber {
    pub(super) fn index(self) -> usize {
        self.0
    }
}

/// Why a scheduler left its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing to do in this database, and nothing changed since it looked.
    Idle,
    /// Anything else: asked to stop, failed, or something changed meanwhile.
    Ended,
}

fn slot(number: SlotNumber) -> Option<&'static Slot> {
    shared().map(|shared| &shared.slots[number.0])
}

/// Frees all slots: a new launcher knows nothing of the workers of an earlier one, which have ended or will be asked to.
/// Returns those that still run.
pub fn adopt() -> Vec<(SlotNumber, u32)> {
    let Some(shared) = shared() else { return Vec::new() };
    let mut running = Vec::new();
    for (number, slot) in shared.slots.iter().enumerate() {
        if slot.pid.load(SeqCst) != 0 {
            running.push((SlotNumber(number), slot.db.load(SeqCst)));
        } else {
            slot.db.store(0, SeqCst);
        }
    }
    running
}

/// A free slot for a database; None when all are taken.
pub fn allocate(db: u32) -> Option<SlotNumber> {
    let shared = shared()?;
    let (number, slot) = shared.slots.iter().enumerate().find(|(_, slot)| slot.db.load(SeqCst) == 0)?;
    shmem::disarm_all(number);
    slot.proc_number.store(-1, SeqCst);
    slot.idle.store(false, SeqCst);
    slot.restart.store(false, SeqCst);
    slot.catalog.store(0, SeqCst);
    slot.catalog_seen.store(0, SeqCst);
    slot.stream_tables.store(0, SeqCst);
    slot.heartbeat.store(0, SeqCst);
    slot.db.store(db, SeqCst);
    Some(SlotNumber(number))
}

/// Whether a worker is in the slot.
pub fn occupied(number: SlotNumber) -> bool {
    slot(number).is_some_and(|slot| slot.pid.load(SeqCst) != 0)
}

/// Frees the slot of a worker that has ended.
pub fn free(number: SlotNumber) -> Left {
    let Some(slot) = slot(number) else { return Left::Ended };
    slot.db.store(0, SeqCst);
    // Only now: who announces a catalog change increments the count, then looks whether the slot is still theirs.
    let unchanged = slot.catalog.load(SeqCst) == slot.catalog_seen.load(SeqCst);
    if slot.idle.load(SeqCst) && unchanged { Left::Idle } else { Left::Ended }
}

/// A scheduler in its slot.
#[derive(Debug)]
pub struct Seat {
    number: usize,
    pub db: u32,
}

impl Seat {
    /// Enters the slot that the launcher gave; None when the database is held or the slot is not ours any more.
    pub(super) fn enter(number: usize) -> Option<Seat> {
        let shared = shared()?;
        let slot = shared.slots.get(number)?;
        // SAFETY: set when the process got its PGPROC. The callback is registered before the connection is made, so
        // it runs after the process has left the list of those connected.
        let pid = unsafe {
            pg_sys::on_shmem_exit(Some(leave), pg_sys::Datum::from(number));
            pg_sys::MyProcPid
        };
        slot.pid.compare_exchange(0, pid, SeqCst, SeqCst).ok()?;
        // SAFETY: as above.
        slot.proc_number.store(unsafe { pg_sys::MyProcNumber }, SeqCst);
        let db = slot.db.load(SeqCst);
        shmem::watch_own();
        (db != 0 && !held(db)).then_some(Seat { number, db })
    }

    fn slot(&self) -> Option<&'static Slot> {
        shared().map(|shared| &shared.slots[self.number])
    }

    /// Asks to be woken by the next change of the source, then reads its counter.
    pub fn arm(&self, source: u32) -> u64 {
        shmem::arm(self.number, self.db, source)
    }

    /// The count of announced catalog changes; read before the catalog is.
    pub fn catalog(&self) -> u64 {
        self.slot().map_or(0, |slot| slot.catalog.load(SeqCst))
    }

    /// Notes what the catalog held when its count was `catalog`.
    pub fn catalog_read(&self, catalog: u64, stream_tables: usize) {
        if let Some(slot) = self.slot() {
            slot.catalog_seen.store(catalog, SeqCst);
            slot.stream_tables.store(u32::try_from(stream_tables).unwrap_or(u32::MAX), SeqCst);
        }
    }

    /// There is nothing to do here: the launcher need not start another scheduler until something changes.
    pub fn leave_idle(&self) {
        if let Some(slot) = self.slot() {
            slot.idle.store(true, SeqCst);
        }
    }

    pub fn beat(&self, now: i64) {
        if let Some(slot) = self.slot() {
            slot.heartbeat.store(now, SeqCst);
        }
    }

    pub fn restart_wanted(&self) -> bool {
        self.slot().is_some_and(|slot| slot.restart.load(SeqCst))
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn leave(_code: c_int, number: pg_sys::Datum) {
    let Some(shared) = shared() else { return };
    let slot = &shared.slots[number.value()];
    // SAFETY: constant for the life of the process.
    let pid = unsafe { pg_sys::MyProcPid };
    if slot.pid.compare_exchange(pid, 0, SeqCst, SeqCst).is_ok() {
        // SAFETY: the condition variable was initialised with the memory; a broadcast needs only the process's PGPROC,
        // which is given back later than this.
        unsafe { pg_sys::ConditionVariableBroadcast(shared.scheduler_exited.get()) };
    }
}

/// What is known of a database's scheduler.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerState {
    pub pid: i32,
    /// Milliseconds since the Unix epoch.
    pub heartbeat: i64,
    pub stream_tables: u32,
}

/// The running scheduler of a database.
pub fn scheduler(db: u32) -> Option<SchedulerState> {
    let (_, slot) = shared()?.slot_of(db)?;
    let pid = slot.pid.load(SeqCst);
    (pid != 0).then(|| SchedulerState {
        pid,
        heartbeat: slot.heartbeat.load(SeqCst),
        stream_tables: slot.stream_tables.load(SeqCst),
    })
}

/// Lets the database's scheduler, if any, start anew with the settings as they are now.
pub(super) fn restart_scheduler(db: u32) {
    let Some(shared) = shared() else { return };
    if let Some((_, slot)) = shared.slot_of(db) {
        slot.restart.store(true, SeqCst);
        shmem::wake(slot.proc_number.load(SeqCst));
    }
    shmem::signal_rescan(Some(db));
}

pub(super) fn held(db: u32) -> bool {
    shared().is_some_and(|shared| {
        shared.holds.iter().any(|hold| {
            let pid = hold.pid.load(SeqCst);
            // A holder that died left its hold behind.
            // SAFETY: looks the process up in shared memory under its own lock.
            hold.db.load(SeqCst) == db && pid != 0 && unsafe { !pg_sys::BackendPidGetProc(pid).is_null() }
        })
    })
}

/// While it lives, no scheduler and no refresh worker is connected to the database.
#[derive(Debug)]
pub(super) struct DatabaseHold {
    number: usize,
    db: u32,
}

/// How long to wait for a scheduler to leave; PostgreSQL itself waits as long for other sessions.
const PATIENCE: Duration = Duration::from_secs(5);

impl DatabaseHold {
    pub(super) fn acquire(db: u32) -> Option<DatabaseHold> {
        let shared = shared()?;
        // SAFETY: constant for the life of the process.
        let me = unsafe { pg_sys::MyProcPid };
        let number = shared.holds.iter().position(|hold| {
            let pid = hold.pid.load(SeqCst);
            // SAFETY: as in `held`.
            let abandoned = pid == 0 || unsafe { pg_sys::BackendPidGetProc(pid).is_null() };
            abandoned && hold.pid.compare_exchange(pid, me, SeqCst, SeqCst).is_ok()
        })?;
        shared.holds[number].db.store(db, SeqCst);
        Some(DatabaseHold { number, db })
    }
}

/// Ends the scheduler and the refresh workers that are in the database and waits until they are gone; under a hold, so that no
/// others come.
pub(super) fn evict(db: u32) {
    let Some(shared) = shared() else { return };
    let started = Instant::now();
    let mut asked = Vec::new();
    // SAFETY: the condition variable lives in shared memory; sleeping on it handles interrupts, and an ERROR that
    // leaves from there cancels the sleep in the abort of the transaction.
    unsafe {
        let gone = shared.scheduler_exited.get();
        pg_sys::ConditionVariablePrepareToSleep(gone);
        loop {
            let scheduler = shared.slot_of(db).map(|(_, slot)| slot.pid.load(SeqCst)).filter(|pid| *pid != 0);
            let present: Vec<i32> = scheduler.into_iter().chain(tasks::workers_in(db)).collect();
            if present.is_empty() || started.elapsed() > PATIENCE {
                break;
            }
            for pid in present {
                if !asked.contains(&pid) {
                    // SIGTERM rather than a flag: a long refresh has to end too.
                    kill(pid, SIGTERM);
                    asked.push(pid);
                }
            }
            pg_sys::ConditionVariableTimedSleep(gone, 1_000 as c_long, pg_sys::PG_WAIT_EXTENSION);
        }
        pg_sys::ConditionVariableCancelSleep();
    }
}

impl Drop for DatabaseHold {
    fn drop(&mut self) {
        if let Some(shared) = shared() {
            let hold = &shared.holds[self.number];
            hold.db.store(0, SeqCst);
            hold.pid.store(0, SeqCst);
        }
        shmem::signal_rescan(Some(self.db));
    }
}

const SIGTERM: c_int = 15;

unsafe extern "C" {
    fn kill(pid: c_int, signal: c_int) -> c_int;
}
