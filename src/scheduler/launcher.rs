//! The launcher: a scheduler for every database that needs one.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use pgrx::{PgLogLevel, PgSqlErrorCode};

use crate::pg::shmem::{self, Rescan};
use crate::pg::slots::{self, Left, SlotNumber};
use crate::pg::transaction::Caught;
use crate::pg::worker::{self, Process, Wake};

/// How long a database where there was nothing to do is left alone, unless something is announced.
const SKIP: Duration = Duration::from_secs(300);
/// How long until a scheduler that ended unexpectedly is started again.
const RESTART: Duration = Duration::from_secs(5);
/// How long until a worker is asked for again after the server had none to give.
const NO_WORKER: Duration = Duration::from_secs(10);
/// Workers of an earlier launcher end without a signal to this one.
const NAP: Duration = Duration::from_secs(60);

/// The launcher's main function.
pub fn launch() {
    pgrx::log!("pg_trickle launcher started");
    let mut launcher = Launcher::new();
    loop {
        launcher.reap();
        launcher.heed(shmem::take_rescan());
        launcher.start_missing();
        match worker::wait(Some(launcher.nap())) {
            Wake::Exit => return,
            Wake::Reloaded => launcher.skipped.clear(),
            Wake::Look => {}
        }
    }
}

struct Running {
    slot: SlotNumber,
    /// None for a worker that an earlier launcher started.
    worker: Option<Process>,
}

struct Launcher {
    running: HashMap<u32, Running>,
    skipped: HashMap<u32, Instant>,
    /// Asked for while their scheduler was still ending: started again without a pause.
    eager: HashSet<u32>,
    /// The lack of workers was reported.
    reported: bool,
}

impl Launcher {
    fn new() -> Self {
        let adopted = slots::adopt().into_iter().map(|(slot, db)| (db, Running { slot, worker: None }));
        Launcher { running: adopted.collect(), skipped: HashMap::new(), eager: HashSet::new(), reported: false }
    }

    /// Frees the slots of the schedulers that have ended and decides when their databases are looked at again.
    fn reap(&mut self) {
        let ended: Vec<u32> = self
            .running
            .iter()
            .filter(|(_, running)| match &running.worker {
                Some(worker) => worker.ended(),
                None => !slots::occupied(running.slot),
            })
            .map(|(db, _)| *db)
            .collect();
        for db in ended {
            let Some(running) = self.running.remove(&db) else { continue };
            let pause = match slots::free(running.slot) {
                Left::Idle => SKIP,
                Left::Ended => RESTART,
            };
            if !self.eager.remove(&db) {
                self.skipped.insert(db, Instant::now() + pause);
            }
        }
    }

    fn heed(&mut self, request: Rescan) {
        match request {
            Rescan::Nothing => {}
            Rescan::Database(db) => {
                self.skipped.remove(&db);
                if self.running.contains_key(&db) {
                    self.eager.insert(db);
                }
            }
            Rescan::All => {
                self.skipped.clear();
                self.eager.extend(self.running.keys());
            }
        }
    }

    fn start_missing(&mut self) {
        let now = Instant::now();
        self.skipped.retain(|_, until| *until > now);
        let databases = match worker::databases() {
            Ok(databases) => databases,
            Err(error) => return error.report(PgLogLevel::WARNING),
        };
        self.eager.retain(|db| databases.contains(db));
        for db in databases {
            if !self.running.contains_key(&db) && !self.skipped.contains_key(&db) {
                self.start(db);
            }
        }
    }

    fn start(&mut self, db: u32) {
        let Some(slot) = slots::allocate(db) else {
            return self.postpone(db, "no free scheduler slot", "A server schedules up to 64 databases.");
        };
        match Process::scheduler(slot) {
            Some(worker) => {
                self.reported = false;
                self.running.insert(db, Running { slot, worker: Some(worker) });
            }
            None => {
                slots::free(slot);
                self.postpone(db, "no free background worker", "Consider increasing \"max_worker_processes\".");
            }
        }
    }

    fn postpone(&mut self, db: u32, reason: &str, hint: &str) {
        self.skipped.insert(db, Instant::now() + NO_WORKER);
        if !self.reported {
            self.reported = true;
            let warning = Caught {
                sqlstate: PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                message: format!("could not start a pg_trickle scheduler for database {}: {reason}", db),
                detail: None,
                hint: Some(hint.to_owned()),
            };
            warning.report(PgLogLevel::WARNING);
        }
    }

    fn nap(&self) -> Duration {
        let now = Instant::now();
        let next = self.skipped.values().min().map_or(NAP, |until| until.saturating_duration_since(now));
        next.min(NAP)
    }
}
