//! How soon a commit shows in a stream table that the scheduler keeps, when nothing has happened for a while.

use crate::change::Effort;
use anyhow::{Context, Result, ensure};
use pgtrickle_workload::oracle;
use pgtrickle_workload::probe::{Probe, Target};
use pgtrickle_workload::server::Server;
use pgtrickle_workload::stats::Latencies;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The silence before each commit is drawn from this many milliseconds: longer than the schedule, so that the change
/// is due at once.
const PAUSE: std::ops::Range<u64> = 1050..1350;

/// From commit to visible.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Visible {
    pub(crate) commits: u64,
    pub(crate) p50: Duration,
    pub(crate) p90: Duration,
    pub(crate) p99: Duration,
}

pub(crate) fn measure(server: &Server, effort: Effort) -> Result<Visible> {
    server.connect("postgres")?.batch_execute("CREATE DATABASE visible")?;
    let mut client = server.connect("visible")?;
    let query = "SELECT id, amount FROM fact";
    client.batch_execute(&format!(
        "CREATE EXTENSION pg_trickle;
         CREATE TABLE fact (id bigint PRIMARY KEY, amount bigint NOT NULL);
         INSERT INTO fact SELECT i, 0 FROM generate_series(0, 99999) i;
         SELECT pgtrickle.create_stream_table('copy', '{query}', schedule => '1s', refresh_mode => 'DIFFERENTIAL')"
    ))?;
    client.batch_execute("VACUUM ANALYZE")?;
    let change = "UPDATE fact SET amount = $1::bigint WHERE id = 4711";
    let target = Target { name: "copy", shows: "SELECT amount = $1::bigint FROM copy WHERE id = 4711" };
    let mut probe = Probe::new(server, "visible", &[change], &[target])?;
    let (mut latencies, warm_up) = (Latencies::default(), effort.few);
    for sample in 0..warm_up + effort.many {
        std::thread::sleep(Duration::from_millis(rand::random_range(PAUSE)));
        let lags = probe.round()?;
        if sample >= warm_up {
            lags.into_iter().for_each(|lag| latencies.record(lag));
        }
    }
    let verdict = oracle::compare(&mut client, "copy", query)?;
    ensure!(verdict.is_equal(), "oracle: {verdict}");
    let at = |percent| latencies.percentile(percent).context("no samples");
    Ok(Visible { commits: latencies.count(), p50: at(50.0)?, p90: at(90.0)?, p99: at(99.0)? })
}
