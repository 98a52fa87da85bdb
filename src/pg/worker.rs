//! Background workers: how they are registered and started, what they do between two pieces of work.

use std::ffi::{c_int, c_long};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::{Spi, pg_guard, pg_sys};

use super::slots::{Seat, SlotNumber};
use super::tasks::{Order, Told};
use super::transaction::{Caught, transaction};
use super::{commit, hooks, shmem};
use crate::error::Error;

const LAUNCHER: &str = "pg_trickle launcher";
const SCHEDULER: &str = "pg_trickle scheduler";
const REFRESH_WORKER: &str = "pg_trickle refresh worker";
const LIBRARY: &str = "pg_trickle";
/// After a crash of the launcher.
const LAUNCHER_RESTART: Duration = Duration::from_secs(5);

/// What the workers do; given by the modules above this one.
#[derive(Clone, Copy, Debug)]
pub struct Mains {
    /// Returns when the launcher should exit.
    pub launcher: fn(),
    /// Returns when the scheduler of the seat's database should exit. Connected; outside of a transaction.
    pub scheduler: fn(&Seat),
    /// Refreshes the stream tables and tells what became of each. As above.
    pub refresh_worker: fn(&[i64]) -> Vec<Told>,
}

static MAINS: OnceLock<Mains> = OnceLock::new();

/// Called from `_PG_init`: shared memory, hooks and the static workers when preloading, else only the callbacks.
pub fn install(mains: Mains) {
    commit::install();
    // SAFETY: a flag of the server.
    if !unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        return;
    }
    MAINS.get_or_init(|| mains);
    shmem::install();
    hooks::install();
    BackgroundWorkerBuilder::new(LAUNCHER)
        .set_type(LAUNCHER)
        .set_library(LIBRARY)
        .set_function("pg_trickle_launcher_main")
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(Some(LAUNCHER_RESTART))
        .load();
    // Says once on a standby why nothing runs there; ends at once, for good.
    BackgroundWorkerBuilder::new("pg_trickle standby check")
        .set_type("pg_trickle standby check")
        .set_library(LIBRARY)
        .set_function("pg_trickle_standby_main")
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_restart_time(None)
        .load();
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_trickle_standby_main(_arg: pg_sys::Datum) {
    // SAFETY: reads shared memory.
    if unsafe { pg_sys::RecoveryInProgress() } {
        pgrx::log!("pg_trickle background worker skipped: server is in recovery mode.");
    }
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_trickle_launcher_main(_arg: pg_sys::Datum) {
    handle_signals();
    // SAFETY: once per worker, outside of a transaction; without a database only shared catalogs can be read.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0) };
    shmem::enter_launcher();
    if let Some(mains) = MAINS.get() {
        (mains.launcher)();
    }
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_trickle_scheduler_main(slot: pg_sys::Datum) {
    // Before signals are unblocked: a hold may ask this process to end as soon as it is in its seat.
    let Some(seat) = Seat::enter(slot.value()) else { return };
    handle_signals();
    // SAFETY: once per worker, outside of a transaction. InvalidOid is the bootstrap superuser.
    unsafe { pg_sys::BackgroundWorkerInitializeConnectionByOid(seat.db.into(), pg_sys::InvalidOid, 0) };
    if let Some(mains) = MAINS.get() {
        (mains.scheduler)(&seat);
    }
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_trickle_refresh_worker_main(place: pg_sys::Datum) {
    // Before signals are unblocked, as above.
    let Some(order) = Order::enter(place.value()) else { return };
    handle_signals();
    // SAFETY: as above.
    unsafe { pg_sys::BackgroundWorkerInitializeConnectionByOid(order.db.into(), pg_sys::InvalidOid, 0) };
    if let Some(mains) = MAINS.get() {
        order.carry_out(mains.refresh_worker);
    }
}

// Declared here without the guard that bound functions have: a signal handler must not touch the error stack.
unsafe extern "C-unwind" {
    fn die(signal: c_int);
    fn SignalHandlerForConfigReload(signal: c_int);
}

fn handle_signals() {
    // SAFETY: signals are blocked until the last call; the handlers only set flags and the latch.
    unsafe {
        pg_sys::pqsignal_be(pg_sys::SIGHUP as c_int, Some(SignalHandlerForConfigReload));
        pg_sys::pqsignal_be(pg_sys::SIGTERM as c_int, Some(terminate));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Between two pieces of work the flag leads to a clean exit; inside one, `die` lets the next interrupt check end it.
unsafe extern "C-unwind" fn terminate(signal: c_int) {
    // SAFETY: both are what PostgreSQL's own handlers do.
    unsafe {
        (&raw mut pg_sys::ShutdownRequestPending).write_volatile(1);
        die(signal);
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The latch was set, or the time is over.
    Look,
    /// The configuration was read again.
    Reloaded,
    /// The worker should return from its main function.
    Exit,
}

/// Sleeps until the latch is set or `timeout` is over; None: only the latch. No transaction may be open.
pub fn wait(timeout: Option<Duration>) -> Wake {
    report_idle();
    // SAFETY: the worker's own latch; flags are read after the latch was reset, so none is missed.
    unsafe {
        let mut events = pg_sys::WL_LATCH_SET | pg_sys::WL_EXIT_ON_PM_DEATH;
        let mut milliseconds: c_long = -1;
        if let Some(timeout) = timeout {
            events |= pg_sys::WL_TIMEOUT;
            // Rounded up: waking a fraction of a millisecond early would mean looking twice.
            milliseconds = c_long::try_from(timeout.as_micros().div_ceil(1_000)).unwrap_or(c_long::MAX).min(3_600_000);
        }
        pg_sys::WaitLatch(pg_sys::MyLatch, events as c_int, milliseconds, wait_event());
        pg_sys::ResetLatch(pg_sys::MyLatch);
        if (&raw const pg_sys::ShutdownRequestPending).read_volatile() != 0 {
            return Wake::Exit;
        }
        pgrx::check_for_interrupts!();
        if (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
            return Wake::Reloaded;
        }
    }
    Wake::Look
}

/// What `pg_stat_activity` shows while the worker works.
pub fn report_running(what: &std::ffi::CStr) {
    // SAFETY: copies the string into the process's status entry.
    unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, what.as_ptr()) };
}

fn report_idle() {
    // SAFETY: outside of a transaction, as both require; statistics are sent at most once per second.
    unsafe {
        pg_sys::pgstat_report_stat(false);
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null());
    }
}

/// The name under which `pg_stat_activity` shows the wait.
fn wait_event() -> u32 {
    static EVENT: AtomicU32 = AtomicU32::new(0);
    let known = EVENT.load(Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: a name that lives for ever; registering it twice yields the same number.
    let event = unsafe { pg_sys::WaitEventExtensionNew(c"PgTrickleMain".as_ptr()) };
    EVENT.store(event, Relaxed);
    event
}

/// The server's clock, in milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    // SAFETY: reads the clock.
    from_server_time(unsafe { pg_sys::GetCurrentTimestamp() })
}

/// A timestamp in milliseconds since the Unix epoch.
pub fn unix_ms(timestamp: TimestampWithTimeZone) -> i64 {
    from_server_time(timestamp.into())
}

/// PostgreSQL counts microseconds since the year 2000.
fn from_server_time(time: pg_sys::TimestampTz) -> i64 {
    const EPOCH_MS: i64 = 946_684_800_000;
    time.div_euclid(1_000) + EPOCH_MS
}

/// Whether there are prepared transactions in this server; inside a transaction.
pub fn prepared_transactions() -> bool {
    let found = Spi::get_one::<bool>("SELECT EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts)");
    // Not knowing means having to expect some.
    !matches!(found, Ok(Some(false)))
}

/// The database that this process is connected to.
pub fn current_database() -> u32 {
    // SAFETY: constant once the process is connected.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

/// Whether the extension exists in this process's database; inside a transaction.
pub fn extension_installed() -> bool {
    // SAFETY: looks up pg_extension.
    unsafe { pg_sys::get_extension_oid(c"pg_trickle".as_ptr(), true) != pg_sys::InvalidOid }
}

/// A background worker that this process has started.
#[derive(Debug)]
pub struct Process(*mut pg_sys::BackgroundWorkerHandle);

impl Process {
    /// Asks for a scheduler in the slot; the latch is set when its process starts and when it ends.
    pub fn scheduler(slot: SlotNumber) -> Option<Process> {
        Process::start(SCHEDULER, "pg_trickle_scheduler_main", slot.index())
    }

    /// Likewise for a refresh worker.
    pub(super) fn refresh_worker(place: usize) -> Option<Process> {
        Process::start(REFRESH_WORKER, "pg_trickle_refresh_worker_main", place)
    }

    fn start(name: &str, function: &str, argument: usize) -> Option<Process> {
        // SAFETY: the handle lives in a context that outlives transactions.
        unsafe {
            let builder = BackgroundWorkerBuilder::new(name)
                .set_type(name)
                .set_library(LIBRARY)
                .set_function(function)
                .set_argument(Some(pg_sys::Datum::from(argument)))
                .enable_spi_access()
                .set_restart_time(None)
                .set_notify_pid(pg_sys::MyProcPid);
            let mut worker: pg_sys::BackgroundWorker = (&builder).into();
            let mut handle = std::ptr::null_mut();
            let context = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            let started = pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle);
            pg_sys::MemoryContextSwitchTo(context);
            // Lazily: a handle that was never made must not be dropped.
            started.then(|| Process(handle))
        }
    }

    pub fn ended(&self) -> bool {
        let mut pid = 0;
        // SAFETY: the handle is ours until it is dropped.
        unsafe { pg_sys::GetBackgroundWorkerPid(self.0, &mut pid) == pg_sys::BgwHandleStatus::BGWH_STOPPED }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: allocated by `start`.
        unsafe { pg_sys::pfree(self.0.cast()) };
    }
}

/// The databases that can have stream tables: those that accept connections and are no templates.
pub fn databases() -> Result<Vec<u32>, Caught> {
    transaction(|| {
        // SAFETY: as the autovacuum launcher reads pg_database without being connected to a database. The scan ends
        // before the transaction does.
        unsafe {
            let lock = pg_sys::AccessShareLock as c_int;
            let relation = pg_sys::table_open(pg_sys::DatabaseRelationId, lock);
            let scan = pg_sys::table_beginscan_catalog(relation, 0, std::ptr::null_mut());
            let mut found = Vec::new();
            loop {
                let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
                if tuple.is_null() {
                    break;
                }
                let database = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>();
                // A negative other than -1 marks a database whose DROP was interrupted.
                if database.datallowconn && !database.datistemplate && database.datconnlimit >= -1 {
                    found.push(database.oid.to_u32());
                }
            }
            pg_sys::table_endscan(scan);
            pg_sys::table_close(relation, lock);
            Ok::<_, Error>(found)
        }
    })
}
