//! Stream tables with short schedules whose sources nobody writes.

use crate::process::processor_time;
use crate::{database, stream_table};
use anyhow::{Context, Result, ensure};
use pgtrickle_workload::oracle;
use pgtrickle_workload::page::verdict;
use pgtrickle_workload::server::Server;
use postgres::Client;
use std::time::{Duration, Instant};

const SOURCES: u32 = 50;
const WATCHED: Duration = Duration::from_secs(30);
/// Of one processor.
const GOAL: f64 = 0.001;

pub(crate) fn measure(server: &Server, tables: u32) -> Result<String> {
    let mut client = database(server, "idle", true)?;
    for source in 0..SOURCES {
        client.batch_execute(&format!(
            "CREATE TABLE s{source} (id int PRIMARY KEY, grp int, v int);
             INSERT INTO s{source} SELECT i, i % 10, i FROM generate_series(1, 100) i"
        ))?;
    }
    for table in 0..tables {
        let (source, part) = (table % SOURCES, table / SOURCES);
        let query = match table % 2 {
            0 => format!("SELECT grp, count(*) AS n, sum(v) AS s FROM s{source} WHERE v > {part} GROUP BY grp"),
            _ => format!("SELECT id, v FROM s{source} WHERE v > {part}"),
        };
        stream_table(&mut client, &format!("t{table}"), "1s", &query)?;
    }
    // All of them are busy once.
    for source in 0..SOURCES {
        client.batch_execute(&format!("UPDATE s{source} SET v = v + 1"))?;
    }
    settle(&mut client)?;
    let (scheduler, launcher) = (pid(&mut client, "pg_trickle scheduler")?, pid(&mut client, "pg_trickle launcher")?);
    let before = Usage::now(&mut client, &[scheduler, launcher])?;
    std::thread::sleep(WATCHED);
    let used = Usage::now(&mut client, &[scheduler, launcher])?.since(&before);
    for table in 0..tables {
        oracle::verify(&mut client, &format!("t{table}"))?;
    }
    let [scheduler, launcher] =
        [used.processor[0], used.processor[1]].map(|time| time.as_secs_f64() / WATCHED.as_secs_f64());
    Ok(format!(
        "### {tables} idle stream tables on {SOURCES} sources, schedules of 1 s\n\n\
         | watched | scheduler | launcher | WAL records | WAL bytes | transactions that wrote | goal |\n|---:|---:|---:|---:|---:|---:|---|\n\
         | {} s | {:.3} % of a core | {:.3} % | {} | {} | {} | {} |\n",
        WATCHED.as_secs(),
        scheduler * 100.0,
        launcher * 100.0,
        used.records,
        used.bytes,
        used.transactions,
        verdict(scheduler + launcher <= GOAL && used.bytes == 0 && used.transactions == 0)
    ))
}

/// Waits until everything is refreshed and written, and the server has nothing to do any more.
fn settle(client: &mut Client) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut last = String::new();
    let mut quiet = 0;
    while quiet < 3 {
        ensure!(Instant::now() < deadline, "the server does not come to rest");
        client.batch_execute("CHECKPOINT")?;
        std::thread::sleep(Duration::from_secs(2));
        let newest = "SELECT coalesce(max(refresh_id), 0)::text FROM pgtrickle.pgt_refresh_history";
        let now: String = client.query_one(newest, &[])?.try_get(0)?;
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
    }
    // The server notes now and then which transactions run, if anything was logged since the last time.
    std::thread::sleep(Duration::from_secs(20));
    Ok(())
}

fn pid(client: &mut Client, kind: &str) -> Result<i32> {
    let query = "SELECT pid FROM pg_stat_activity WHERE backend_type = $1 AND coalesce(datname, 'idle') = 'idle'";
    let row = client.query_opt(query, &[&kind])?.with_context(|| format!("there is no {kind}"))?;
    Ok(row.try_get(0)?)
}

/// What has been used since the server's start.
struct Usage {
    processor: Vec<Duration>,
    records: i64,
    bytes: i64,
    transactions: i64,
}

impl Usage {
    fn now(client: &mut Client, pids: &[i32]) -> Result<Usage> {
        let wal = "SELECT wal_records, (pg_current_wal_insert_lsn() - '0/0')::bigint,
                          pg_snapshot_xmax(pg_current_snapshot())::text::bigint
                   FROM pg_stat_wal";
        let row = client.query_one(wal, &[])?;
        Ok(Usage {
            processor: pids.iter().map(|pid| processor_time(*pid)).collect::<Result<_>>()?,
            records: row.try_get(0)?,
            bytes: row.try_get(1)?,
            transactions: row.try_get(2)?,
        })
    }

    fn since(&self, before: &Usage) -> Usage {
        Usage {
            processor: self.processor.iter().zip(&before.processor).map(|(now, then)| *now - *then).collect(),
            records: self.records - before.records,
            bytes: self.bytes - before.bytes,
            transactions: self.transactions - before.transactions,
        }
    }
}
