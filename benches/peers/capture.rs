//! What capture costs the writer: the same inserts into a bare table and into the source of a stream table, in
//! alternating blocks so that both see the same state of the machine; both grow alike.

use crate::Effort;
use anyhow::{Context, Result, ensure};
use pgtrickle_workload::oracle;
use pgtrickle_workload::server::Server;
use pgtrickle_workload::stats::median;
use postgres::Client;
use std::time::{Duration, Instant};

const TABLES: [&str; 2] = ["bare", "captured"];
/// How long pgbench inserts single rows into one table before it is the other's turn.
const SECONDS: u32 = 1;
const BULK_ROWS: i64 = 50_000;

/// Medians over everything but the first block.
#[derive(Debug)]
pub(crate) struct Capture {
    /// One single-row INSERT in a transaction of its own, as pgbench measures it.
    pub(crate) single_bare: Duration,
    pub(crate) single_captured: Duration,
    /// One row of an INSERT of [`BULK_ROWS`] rows, in nanoseconds.
    pub(crate) bulk_bare_ns: f64,
    pub(crate) bulk_captured_ns: f64,
}

pub(crate) fn measure(server: &Server, effort: Effort) -> Result<Capture> {
    server.connect("postgres")?.batch_execute("CREATE DATABASE capture")?;
    server.connect("postgres")?.batch_execute("ALTER DATABASE capture SET pg_trickle.enabled = off")?;
    let mut client = server.connect("capture")?;
    client.batch_execute(
        "CREATE EXTENSION pg_trickle;
         CREATE TABLE bare (id bigint PRIMARY KEY, grp int NOT NULL, amount numeric(12,2) NOT NULL, note text NOT NULL);
         CREATE TABLE captured (LIKE bare INCLUDING ALL);
         CREATE SEQUENCE ids START 1000000000;
         SELECT pgtrickle.create_stream_table('copy', 'SELECT id, grp, amount, note FROM captured', schedule => '1h',
                                              refresh_mode => 'DIFFERENTIAL')",
    )?;
    let (mut next, mut singles, mut bulks) = (0, [Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for block in 0..=effort.some {
        let (mut single, mut bulk) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for place in if block % 2 == 0 { [0, 1] } else { [1, 0] } {
            let table = TABLES[place];
            let insert =
                format!("INSERT INTO {table} VALUES (nextval('ids'), 7, 12.34, 'a note of the usual length');");
            single[place].push(server.pgbench("capture", &insert, SECONDS)?);
        }
        for place in if block % 2 == 0 { [0, 1] } else { [1, 0] } {
            bulk[place].push(bulk_insert(&mut client, TABLES[place], next)?);
        }
        next += BULK_ROWS;
        // The first block is warm-up.
        if block > 0 {
            singles.iter_mut().zip(single).for_each(|(all, new)| all.extend(new));
            bulks.iter_mut().zip(bulk).for_each(|(all, new)| all.extend(new));
        }
        // Empties the change buffer, so that every block begins alike.
        client.batch_execute("SELECT pgtrickle.refresh_stream_table('copy'); CHECKPOINT")?;
    }
    let verdict = oracle::compare(&mut client, "copy", "SELECT id, grp, amount, note FROM captured")?;
    ensure!(verdict.is_equal(), "oracle: {verdict}");
    let single = |place: usize| median(&singles[place]).context("no samples");
    let per_row = |place: usize| -> Result<f64> {
        Ok(median(&bulks[place]).context("no samples")?.as_secs_f64() * 1e9 / BULK_ROWS as f64)
    };
    Ok(Capture {
        single_bare: single(0)?,
        single_captured: single(1)?,
        bulk_bare_ns: per_row(0)?,
        bulk_captured_ns: per_row(1)?,
    })
}

/// The time of one insert of many rows.
fn bulk_insert(client: &mut Client, table: &str, first: i64) -> Result<Duration> {
    let insert = client.prepare(&format!(
        "INSERT INTO {table} SELECT i, 7, 12.34, 'a note of the usual length'
         FROM generate_series($1::bigint, $1 + {BULK_ROWS} - 1) i"
    ))?;
    let begin = Instant::now();
    client.execute(&insert, &[&first])?;
    Ok(begin.elapsed())
}
