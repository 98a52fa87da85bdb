//! One transaction that changes every row of a large table: the memory of the processes that refresh what reads it, and how long
//! others wait meanwhile.

use crate::process::Peak;
use crate::{database, megabytes, refresh, stream_table};
use anyhow::{Result, ensure};
use pgtrickle_workload::oracle;
use pgtrickle_workload::page::{spaced, verdict};
use pgtrickle_workload::probe::{Probe, Target};
use pgtrickle_workload::server::Server;
use pgtrickle_workload::stats::{Latencies, milliseconds};
use postgres::Client;
use std::time::{Duration, Instant};

const READERS: [(&str, &str); 3] = [
    ("filtered", "SELECT id, grp, amount FROM fact WHERE grp < 500"),
    ("sums", "SELECT grp, count(*) AS n, sum(amount) AS total FROM fact GROUP BY grp"),
    ("joined", "SELECT fact.id, dim.name, fact.amount FROM fact JOIN dim ON dim.id = fact.dim"),
];
const CHANGE: &str = "UPDATE fact SET amount = amount + 1";
/// Where memory is bounded by the settings, whatever the size of the delta, this is plenty.
const MEMORY: i64 = 128 << 20;
/// What a scheduler lets one stream table wait for another, and as much again for what is between.
const WAIT: Duration = Duration::from_millis(250);
const LIMIT: Duration = Duration::from_secs(1800);

pub(crate) fn measure(server: &Server, rows: i64) -> Result<String> {
    let mut client = database(server, "large", false)?;
    client.batch_execute(&format!(
        "CREATE TABLE dim (id int PRIMARY KEY, name text NOT NULL);
         INSERT INTO dim SELECT i, 'n' || i FROM generate_series(0, 999) i;
         CREATE TABLE fact (id bigint PRIMARY KEY, grp int NOT NULL, dim int NOT NULL, amount bigint NOT NULL, note text);
         INSERT INTO fact SELECT i, i % 1000, (i * 7) % 1000, i, 'a note' FROM generate_series(1, {rows}) i;
         CREATE TABLE other (id int PRIMARY KEY, v bigint NOT NULL);
         INSERT INTO other SELECT i, 0 FROM generate_series(1, 1000) i"
    ))?;
    for (name, query) in READERS {
        stream_table(&mut client, name, "1h", query)?;
    }
    client.batch_execute("VACUUM ANALYZE")?;
    let by_hand = by_hand(server, &mut client)?;
    let beside = beside(server, &mut client)?;
    Ok(format!("### One transaction that changes {} rows\n\n{by_hand}\n{beside}", spaced(rows)))
}

/// Each refreshed in a session of its own.
fn by_hand(server: &Server, client: &mut Client) -> Result<String> {
    let begun = Instant::now();
    client.batch_execute(CHANGE)?;
    let mut text = format!(
        "The UPDATE took {:.0} s. Each stream table is then refreshed in a session of its own.\n\n\
         | stream table | refresh, s | peak of the session's memory, MB | temporary files, MB | goal ({} MB) |\n|---|---:|---:|---:|---|\n",
        begun.elapsed().as_secs_f64(),
        megabytes(MEMORY)
    );
    for (name, _) in READERS {
        let mut session = server.connect("large")?;
        let before = temporary(&mut session)?;
        let peak = Peak::of_session(&mut session)?;
        let begun = Instant::now();
        refresh(&mut session, name)?;
        let (time, peak) = (begun.elapsed(), peak.bytes()?);
        let spilled = temporary(&mut session)? - before;
        oracle::verify(&mut session, name)?;
        let line = format!(
            "| {name} | {:.1} | {} | {} | {} |\n",
            time.as_secs_f64(),
            megabytes(peak),
            megabytes(spilled),
            verdict(peak <= MEMORY)
        );
        eprint!("{line}");
        text.push_str(&line);
    }
    Ok(text)
}

/// Bytes of temporary files in this database so far.
fn temporary(client: &mut Client) -> Result<i64> {
    client.execute("SELECT pg_stat_force_next_flush()", &[])?;
    let query = "SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()";
    Ok(client.query_one(query, &[])?.try_get(0)?)
}

/// The scheduler refreshes all of them, and one that has nothing to do with them.
fn beside(server: &Server, client: &mut Client) -> Result<String> {
    stream_table(client, "beside", "100ms", "SELECT id, v FROM other")?;
    for (name, _) in READERS {
        client.execute("SELECT pgtrickle.alter_stream_table($1, schedule => '1s')", &[&name])?;
    }
    client.batch_execute("VACUUM ANALYZE")?;
    client.batch_execute("ALTER DATABASE large RESET pg_trickle.enabled")?;
    let change = "UPDATE other SET v = $1::bigint WHERE id = 47";
    let target = Target { name: "beside", shows: "SELECT v = $1::bigint FROM beside WHERE id = 47" };
    let mut probe = Probe::new(server, "large", &[change], &[target])?;
    for _ in 0..20 {
        probe.round()?;
        std::thread::sleep(Duration::from_millis(120));
    }
    let peak = Peak::of_workers(server, "large")?;
    client.batch_execute(CHANGE)?;
    let begun = Instant::now();
    let mut found = Latencies::default();
    while !all_arrived(client)? {
        ensure!(begun.elapsed() < LIMIT, "the large change does not arrive");
        probe.round()?.into_iter().for_each(|lag| found.record(lag));
        std::thread::sleep(Duration::from_millis(120));
    }
    let (time, peak) = (begun.elapsed(), peak.bytes()?);
    client.batch_execute("ALTER DATABASE large SET pg_trickle.enabled = off")?;
    for name in READERS.iter().map(|(name, _)| *name).chain(["beside"]) {
        refresh(client, name)?;
        oracle::verify(client, name)?;
    }
    let shown = [50.0, 99.0, 100.0].map(|percent| milliseconds(found.percentile(percent).unwrap_or_default()));
    let longest = found.percentile(100.0).unwrap_or_default();
    Ok(format!(
        "The same change with the scheduler: it arrived everywhere after {:.0} s; no process of pg_trickle had more than {} MB. Meanwhile a row of another source was changed \
         now and then, and awaited in a stream table with a schedule of 100 ms.\n\n\
         | commits beside it | p50 | p99 | longest | goal ({} ms) |\n|---:|---:|---:|---:|---|\n| {} | {} | {} |\n",
        time.as_secs_f64(),
        megabytes(peak),
        WAIT.as_millis(),
        found.count(),
        shown.join(" | "),
        verdict(longest <= WAIT)
    ))
}

/// Whether every reader of the large table shows by how much the amounts were raised, which began as the ids.
fn all_arrived(client: &mut Client) -> Result<bool> {
    let query = "SELECT (SELECT amount - id = raised FROM filtered WHERE id = 7)
                    AND (SELECT amount - id = raised FROM joined WHERE id = 7)
                    AND (SELECT total = n * (grp + 1000 * (n - 1) / 2 + raised) FROM sums WHERE grp = 7)
                 FROM (SELECT amount - id FROM fact WHERE id = 7) AS f (raised)";
    Ok(client.query_one(query, &[])?.try_get(0)?)
}
