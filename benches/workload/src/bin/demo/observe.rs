//! What the demo looks at: how soon commits show, whether the oracle agrees, and what each refresh reports.

use crate::setup::DATABASE;
use crate::stream_tables::{PROBE_CHANGES, STREAM_TABLES, probe_targets};
use anyhow::{Result, anyhow};
use pgtrickle_workload::oracle::{self, Verdict};
use pgtrickle_workload::probe::Probe;
use pgtrickle_workload::server::Server;
use pgtrickle_workload::stats::{Latencies, median};
use pgtrickle_workload::writer::Writer;
use postgres::{Client, IsolationLevel, Transaction};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

/// Between two probes, and between two checks by the oracle.
const PROBE_GAP: Duration = Duration::from_millis(200);
const CHECK_GAP: Duration = Duration::from_secs(2);
/// One stream table as it was observed so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) lag: Latencies,
    pub(crate) checked: Option<(Verdict, Instant)>,
    pub(crate) recent: Recent,
}

/// What a stream table's refreshes of the last second reported.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recent {
    pub(crate) mode: String,
    pub(crate) status: String,
    pub(crate) refreshes: usize,
    /// Rows inserted and deleted by the latest refresh that changed something.
    pub(crate) delta: Option<(i64, i64)>,
    pub(crate) duration: Option<Duration>,
    pub(crate) error: Option<String>,
}

/// Watches the stream tables through connections of its own.
pub(crate) struct Observer<'a> {
    server: &'a Server,
    probe: Mutex<Probe>,
    tables: Mutex<Vec<Table>>,
}

impl<'a> Observer<'a> {
    /// Also waits until a first change has gone through every stream table.
    pub(crate) fn new(server: &'a Server) -> Result<Observer<'a>> {
        let mut probe = Probe::new(server, DATABASE, &PROBE_CHANGES, &probe_targets())?;
        probe.round()?;
        let tables = vec![Table::default(); STREAM_TABLES.len()];
        Ok(Observer { server, probe: Mutex::new(probe), tables: Mutex::new(tables) })
    }

    /// What is known now, in the order of [`STREAM_TABLES`].
    pub(crate) fn tables(&self) -> Result<Vec<Table>> {
        Ok(lock(&self.tables)?.clone())
    }

    /// Probes again and again.
    pub(crate) fn probe_until(&self, ended: &AtomicBool) -> Result<()> {
        while !ended.load(Relaxed) {
            let lags = lock(&self.probe)?.round()?;
            for (table, lag) in lock(&self.tables)?.iter_mut().zip(lags) {
                table.lag.record(lag);
            }
            // Some random time later than the refresh that showed the last one, so that probes do not fall in step with
            // the scheduler: a commit at any time is what is measured.
            std::thread::sleep(PROBE_GAP.mul_f64(rand::random()));
        }
        Ok(())
    }

    /// Lets the oracle look at one stream table after the other.
    pub(crate) fn check_until(&self, ended: &AtomicBool, writer: &Writer) -> Result<()> {
        let mut client = self.server.connect(DATABASE)?;
        for place in (0..STREAM_TABLES.len()).cycle() {
            let due = Instant::now() + CHECK_GAP;
            while Instant::now() < due && !ended.load(Relaxed) {
                std::thread::sleep(CHECK_GAP / 40);
            }
            if ended.load(Relaxed) {
                break;
            }
            let silence = writer.pause()?;
            let mut snapshot = self.caught_up(&mut client)?;
            drop(silence);
            let verdict = verdict(&mut snapshot, place)?;
            lock(&self.tables)?[place].checked = Some((verdict, Instant::now()));
        }
        Ok(())
    }

    /// Compares all of them; the writer must have stopped.
    pub(crate) fn final_verdicts(&self) -> Result<Vec<Verdict>> {
        let mut client = self.server.connect(DATABASE)?;
        let mut snapshot = self.caught_up(&mut client)?;
        (0..STREAM_TABLES.len()).map(|place| verdict(&mut snapshot, place)).collect()
    }

    /// A snapshot in which every stream table has all that was committed before the call. While nobody else writes,
    /// that is so as soon as a change committed now shows everywhere. Writers may go on once the snapshot is taken; the
    /// other prober is one of them, so the probe stays locked until then.
    fn caught_up<'c>(&self, client: &'c mut Client) -> Result<Transaction<'c>> {
        let mut probe = lock(&self.probe)?;
        probe.round()?;
        let start = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let mut snapshot = start.start()?;
        snapshot.execute("SELECT 1", &[])?;
        Ok(snapshot)
    }

    /// A reader of the refresh history.
    pub(crate) fn gauge(&self) -> Result<Gauge> {
        Ok(Gauge { client: self.server.connect(DATABASE)?, since: SystemTime::now() })
    }
}

fn verdict(snapshot: &mut Transaction<'_>, place: usize) -> Result<Verdict> {
    oracle::compare(snapshot, STREAM_TABLES[place].name, STREAM_TABLES[place].query)
}

fn lock<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    mutex.lock().map_err(|_| anyhow!("an observing thread panicked"))
}

/// Reads what the extension itself reports about its refreshes.
pub(crate) struct Gauge {
    client: Client,
    since: SystemTime,
}

impl Gauge {
    /// Adds to `tables` what their refreshes have reported since the last call.
    pub(crate) fn read(&mut self, mut tables: Vec<Table>) -> Result<Vec<Table>> {
        let now = SystemTime::now();
        for (table, known) in STREAM_TABLES.iter().zip(&mut tables) {
            known.recent = self.read_one(table.name)?;
        }
        self.since = now;
        Ok(tables)
    }

    fn read_one(&mut self, name: &str) -> Result<Recent> {
        let status = "SELECT status, refresh_mode FROM pgtrickle.pgt_stream_tables
                      WHERE pgt_schema = 'public' AND pgt_name = $1";
        let row = self.client.query_one(status, &[&name])?;
        let mut recent = Recent { status: row.try_get(0)?, mode: row.try_get(1)?, ..Recent::default() };
        let history = "SELECT rows_inserted, rows_deleted,
                              1000 * extract(epoch FROM end_time - start_time)::float8, error_message
                       FROM pgtrickle.pgt_refresh_history JOIN pgtrickle.pgt_stream_tables USING (pgt_id)
                       WHERE pgt_schema = 'public' AND pgt_name = $1 AND start_time >= $2
                       ORDER BY start_time DESC";
        let mut durations = Vec::new();
        for row in self.client.query(history, &[&name, &self.since])? {
            let delta: (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            recent.delta = recent.delta.or((delta != (0, 0)).then_some(delta));
            recent.error = recent.error.or(row.try_get(3)?);
            durations.extend(row.try_get::<_, Option<f64>>(2)?.map(|ms| Duration::from_secs_f64(ms / 1e3)));
            recent.refreshes += 1;
        }
        recent.duration = median(&durations);
        Ok(recent)
    }
}
