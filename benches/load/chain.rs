//! Ten stream tables, each over the one before: how long from a commit at the head until the last one shows it, when the
//! scheduler does it, and how long the ten refreshes take by hand, in one transaction.

use crate::{database, refresh, stream_table};
use anyhow::Result;
use pgtrickle_workload::oracle;
use pgtrickle_workload::page::verdict;
use pgtrickle_workload::probe::{Probe, Target};
use pgtrickle_workload::server::Server;
use pgtrickle_workload::stats::{Latencies, milliseconds};
use postgres::Client;
use std::time::{Duration, Instant};

const ROWS: i64 = 100_000;
const GOAL: Duration = Duration::from_millis(4);
/// Rounds before those that count.
const WARM_UP: u32 = 10;
/// The silence before each commit, in milliseconds: longer than the schedule, so that the change is due at once.
const PAUSE: std::ops::Range<u64> = 1050..1350;
const CHANGE: &str = "UPDATE fact SET amount = $1::bigint WHERE id = 4711";

const CHAIN: [(&str, &str); 10] = [
    ("c1", "SELECT id, grp, dim, amount FROM fact"),
    ("c2", "SELECT id, grp, dim, amount FROM c1 WHERE amount >= 0"),
    ("c3", "SELECT c2.id, c2.grp, dim.name, c2.amount FROM c2 JOIN dim ON dim.id = c2.dim"),
    ("c4", "SELECT id, grp, upper(name) AS name, amount FROM c3"),
    ("c5", "SELECT id, grp, amount FROM c4 WHERE name LIKE 'N%'"),
    ("c6", "SELECT grp, count(*) AS n, sum(amount) AS total FROM c5 GROUP BY grp"),
    ("c7", "SELECT grp, n, total FROM c6 WHERE n > 10"),
    ("c8", "SELECT grp % 10 AS part, count(*) AS groups, sum(total) AS total FROM c7 GROUP BY 1"),
    ("c9", "SELECT part, groups, total FROM c8 WHERE groups > 0"),
    ("c10", "SELECT sum(groups) AS groups, sum(total) AS total FROM c9"),
];

pub(crate) fn measure(server: &Server, commits: u32) -> Result<String> {
    let mut client = database(server, "chain", true)?;
    client.batch_execute(&format!(
        "CREATE TABLE dim (id int PRIMARY KEY, name text NOT NULL);
         INSERT INTO dim SELECT i, 'n' || i FROM generate_series(0, 999) i;
         CREATE TABLE fact (id bigint PRIMARY KEY, grp int NOT NULL, dim int NOT NULL, amount bigint NOT NULL);
         INSERT INTO fact SELECT i, i % 1000, i % 1000, 0 FROM generate_series(0, {ROWS} - 1) i"
    ))?;
    for (name, query) in CHAIN {
        stream_table(&mut client, name, "1s", query)?;
    }
    client.batch_execute("VACUUM ANALYZE")?;
    let scheduled = by_the_scheduler(server, commits)?;
    check(&mut client)?;
    client.batch_execute("ALTER DATABASE chain SET pg_trickle.enabled = off")?;
    let by_hand = by_hand(server, commits)?;
    check(&mut client)?;
    let row = |name: &str, found: &Latencies| {
        let [p50, p90, p99] = [50.0, 90.0, 99.0].map(|percent| found.percentile(percent).unwrap_or_default());
        let shown = [p50, p90, p99].map(milliseconds).join(" | ");
        format!("| {name} | {} | {shown} | {} |\n", found.count(), verdict(p50 <= GOAL))
    };
    Ok(format!(
        "### A chain of ten stream tables, one changed row\n\n\
         | | commits | p50 | p90 | p99 | goal |\n|---|---:|---:|---:|---:|---|\n{}{}",
        row("from commit until the last one shows it", &scheduled),
        row("ten calls of refresh_stream_table in one transaction", &by_hand)
    ))
}

fn by_the_scheduler(server: &Server, commits: u32) -> Result<Latencies> {
    let target = Target { name: "c10", shows: "SELECT total = $1::bigint FROM c10" };
    let mut probe = Probe::new(server, "chain", &[CHANGE], &[target])?;
    let mut found = Latencies::default();
    for round in 0..WARM_UP + commits {
        std::thread::sleep(Duration::from_millis(rand::random_range(PAUSE)));
        let lags = probe.round()?;
        if round >= WARM_UP {
            lags.into_iter().for_each(|lag| found.record(lag));
        }
    }
    Ok(found)
}

fn by_hand(server: &Server, commits: u32) -> Result<Latencies> {
    let mut client = server.connect("chain")?;
    let all = client.prepare("SELECT pgtrickle.refresh_stream_table(name) FROM unnest($1::text[]) AS name")?;
    let names: Vec<&str> = CHAIN.iter().map(|(name, _)| *name).collect();
    names.iter().try_for_each(|name| refresh(&mut client, name))?;
    let mut found = Latencies::default();
    for round in 0..WARM_UP + commits {
        client.execute(CHANGE, &[&i64::from(round)])?;
        let begun = Instant::now();
        client.execute(&all, &[&names])?;
        if round >= WARM_UP {
            found.record(begun.elapsed());
        }
    }
    Ok(found)
}

/// Each equals its query over the one before, so the last equals its query over the table.
fn check(client: &mut Client) -> Result<()> {
    CHAIN.iter().try_for_each(|(name, _)| oracle::verify(client, name))
}
