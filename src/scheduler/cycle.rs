//! The scheduler of one database: sleep, look, refresh what is due.

use std::time::Duration;

use pgrx::PgLogLevel;
use pgrx::datum::TimestampWithTimeZone;
use pgtrickle_engine::dag::plan;
use pgtrickle_engine::policy::{self, Verdict};

use super::group::{Became, Failure, refresh_group};
use super::helpers::{Done, Given, Helpers};
use super::tables::{Counters, Tables};
use crate::catalog::{self, Initiator, Status};
use crate::config;
use crate::pg::clock;
use crate::pg::limit;
use crate::pg::shmem;
use crate::pg::slots::Seat;
use crate::pg::transaction::{Caught, transaction};
use crate::pg::worker::{self, Wake};
use crate::refresh;

/// How long a refresh may keep the scheduler, and with it everybody else, waiting.
pub(super) const MOMENT: Duration = Duration::from_millis(100);
const MOMENT_MS: i64 = 100;
/// How long until the next try when the scheduler itself, not a refresh, failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How often the history is purged while there are refreshes.
const PURGE_EVERY_MS: i64 = 300_000;

/// The scheduler's main function; returns when there is nothing (more) to do in this database.
pub fn run(seat: &Seat) {
    let mut scheduler = Scheduler {
        seat,
        tables: Tables::default(),
        helpers: Helpers::default(),
        catalog: None,
        purged_at: worker::now_ms(),
    };
    scheduler.forget_unknown_prepared();
    loop {
        if !config::enabled() {
            return seat.leave_idle();
        }
        let sleep = match scheduler.turn() {
            Ok(Turn::Sleep(sleep)) => sleep,
            Ok(Turn::NothingToDo) => return seat.leave_idle(),
            Err(error) => {
                error.report(PgLogLevel::WARNING);
                PAUSE_AFTER_FAILURE
            }
        };
        if worker::wait(Some(sleep)) == Wake::Exit || seat.restart_wanted() {
            return;
        }
    }
}

enum Turn {
    Sleep(Duration),
    /// The extension is not, or no longer, in this database.
    NothingToDo,
}

struct Scheduler<'a> {
    seat: &'a Seat,
    tables: Tables,
    helpers: Helpers,
    /// The count of catalog changes that `tables` reflects, and the setting that it depends on.
    catalog: Option<(u64, i32)>,
    purged_at: i64,
}

impl Scheduler<'_> {
    /// One look at everything.
    fn turn(&mut self) -> Result<Turn, Caught> {
        let now = worker::now_ms();
        self.seat.beat(now);
        for done in self.helpers.done() {
            self.helped(done);
        }
        if !self.read_catalog()? {
            return Ok(Turn::NothingToDo);
        }
        self.tables.observe(self.seat);
        let plan = plan(self.tables.graph(), &self.tables.candidates(self.helpers.busy()), now);
        let mut did = false;
        for group in &plan.groups {
            did |= self.refresh(group);
            // Those that have been quiet until now come first.
            if worker::now_ms().saturating_sub(now) > MOMENT_MS {
                break;
            }
        }
        if did {
            self.purge_history(now)?;
            return Ok(Turn::Sleep(Duration::ZERO));
        }
        let longest = i64::from(config::scheduler_interval_ms());
        let sleep = plan.wake_at.map_or(longest, |at| at.saturating_sub(now).clamp(0, longest));
        Ok(Turn::Sleep(Duration::from_millis(sleep.unsigned_abs())))
    }

    /// Reads the catalog if it was changed; false: there is none.
    fn read_catalog(&mut self) -> Result<bool, Caught> {
        // Before the transaction that reads: a change announced meanwhile is read in the next turn.
        let current = (self.seat.catalog(), config::default_schedule_seconds());
        if self.catalog == Some(current) {
            return Ok(true);
        }
        let read = transaction(|| {
            if !worker::extension_installed() {
                return Ok(None);
            }
            Ok::<_, crate::error::Error>(Some((catalog::all()?, catalog::dependencies()?)))
        })?;
        let count = read.as_ref().map_or(0, |(rows, _)| rows.len());
        if let Some((rows, edges)) = &read {
            self.tables.replace(rows, edges, u64::from(current.1.unsigned_abs()) * 1_000);
            self.catalog = Some(current);
        }
        self.seat.catalog_read(current.0, count);
        Ok(read.is_some())
    }

    /// Refreshes a group, or has a worker do it; false when it has to wait for one.
    fn refresh(&mut self, group: &[i64]) -> bool {
        let wanted = Helpers::are_wanted();
        if wanted && self.tables.take_long(group) {
            match self.give(group) {
                Given::Taken => return true,
                Given::Later => return false,
                Given::Never => {}
            }
            return self.refresh_within(group, None);
        }
        self.refresh_within(group, wanted.then_some(MOMENT))
    }

    /// Has a worker refresh the group.
    fn give(&mut self, group: &[i64]) -> Given {
        let started = clock::now();
        let before = self.tables.counters(group, self.seat.db);
        let given = self.helpers.give(self.seat.db, group, started, before);
        if given == Given::Taken {
            self.tables.begin(group, worker::unix_ms(started));
        }
        given
    }

    /// Refreshes a group here. What is not done when `limit` is over is left for a worker.
    fn refresh_within(&mut self, group: &[i64], limit: Option<Duration>) -> bool {
        let started = clock::now();
        let before = self.tables.counters(group, self.seat.db);
        let (results, over) = match limit {
            Some(limit) => limit::within(limit, || refresh_group(group)),
            None => (refresh_group(group), false),
        };
        let own = shmem::take_own();
        for (id, became) in results {
            match became {
                Became::Failed(failure) if over && failure.cancelled => self.tables.took_long(id, true),
                became => {
                    self.tables.begin(&[id], worker::unix_ms(started));
                    self.settle(id, became, (started, &before), &own);
                }
            }
        }
        true
    }

    /// A worker is done with a group.
    fn helped(&mut self, done: Done) {
        for (id, became) in done.results {
            self.tables.took_long(id, done.milliseconds >= MOMENT_MS / 2);
            self.settle(id, became, (done.started, &done.before), &done.own);
        }
    }

    fn settle(
        &mut self,
        id: i64,
        became: Became,
        (started, before): (TimestampWithTimeZone, &Counters),
        own: &shmem::OwnChanges,
    ) {
        match became {
            // It stays changed.
            Became::Busy => return,
            Became::Failed(failure) => return self.failed(id, started, &failure),
            Became::Unchanged | Became::Refreshed => {}
        }
        let erred = self.tables.get_mut(id).is_some_and(|entry| entry.consecutive_errors > 0);
        if erred && became == Became::Unchanged {
            // A refresh that writes clears past errors itself.
            self.record(id, || catalog::set_status(id, Status::Active));
        }
        self.tables.succeeded(id, self.seat.db, before, own);
        if let Some(interval) = self.tables.moves(id) {
            let begun = worker::now_ms();
            match transaction(|| refresh::quiet_ms(id, started, interval)) {
                Ok(0) => {}
                Ok(quiet) => {
                    let taken = u64::try_from(begun.saturating_sub(worker::unix_ms(started))).unwrap_or(0);
                    self.tables.is_quiet_until(id, begun.saturating_add_unsigned(quiet.saturating_sub(taken)));
                }
                Err(error) => error.report(PgLogLevel::WARNING),
            }
        }
    }

    /// Records a failure in a transaction of its own and decides what becomes of the stream table.
    fn failed(&mut self, id: i64, started: TimestampWithTimeZone, error: &Failure) {
        let Some(entry) = self.tables.get_mut(id) else { return };
        let failure = policy::classify(&error.sqlstate);
        let counted = failure != policy::Failure::NotCounted;
        let now = worker::now_ms();
        let failures = entry.failed(counted);
        entry.retry_at(now.saturating_add_unsigned(policy::backoff_ms(failures, fraction(id, now))));
        pgrx::warning!("refresh of stream table {} failed: {}", entry.name, error.message);
        let status = match policy::verdict(failure, entry.consecutive_errors, config::max_consecutive_errors()) {
            Verdict::Retry => None,
            Verdict::Suspend => Some(Status::Suspended),
            Verdict::Fail => Some(Status::Error),
        };
        self.record(id, || {
            catalog::record_failure(&catalog::Failure {
                pgt_id: id,
                started,
                message: &error.message,
                status,
                counted,
                initiator: Initiator::Scheduler,
            });
        });
        if status.is_some() {
            self.tables.remove(id);
        }
    }

    /// Runs catalog statements; when even they fail there is only the log to tell.
    fn record(&self, id: i64, write: impl FnOnce()) {
        let written = transaction(|| {
            write();
            Ok::<_, Caught>(())
        });
        if let Err(error) = written {
            pgrx::warning!("could not record the outcome of refreshing stream table {id}: {}", error.message);
        }
    }

    fn purge_history(&mut self, now: i64) -> Result<(), Caught> {
        let days = config::history_retention_days();
        if days == 0 || now < self.purged_at.saturating_add(PURGE_EVERY_MS) {
            return Ok(());
        }
        let purged = transaction(|| Ok::<_, Caught>(catalog::purge_history(days)))?;
        if purged < catalog::PURGE_BATCH {
            self.purged_at = now;
        }
        Ok(())
    }

    /// Commits of prepared transactions from before the server's start would have to announce every source.
    fn forget_unknown_prepared(&self) {
        match transaction(|| Ok::<_, Caught>(worker::prepared_transactions())) {
            Ok(false) => shmem::forget_unknown_prepared(),
            Ok(true) => {}
            Err(error) => error.report(PgLogLevel::WARNING),
        }
    }
}

/// A number in [0, 1) that differs between stream tables and tries.
fn fraction(id: i64, now: i64) -> f64 {
    let mixed = (id ^ now.rotate_left(32)).cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}
