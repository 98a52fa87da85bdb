//! A day of writes in compressed time: each second of it changes 5000 rows of one table in ten transactions, and then those of its
//! readers are refreshed whose time has come: one every second, one every minute, and one that is refreshed so seldom that
//! the change buffer keeps rows of many minutes for it. Nothing is vacuumed.

use crate::{database, megabytes, refresh, stream_table};
use anyhow::{Context, Result, ensure};
use pgtrickle_workload::oracle;
use pgtrickle_workload::page::{spaced, verdict};
use pgtrickle_workload::server::Server;
use pgtrickle_workload::stats::{median, milliseconds};
use postgres::types::{FromSql, Type};
use postgres::{Client, Statement};
use std::time::{Duration, Instant};

const ROWS: i64 = 1_000_000;
const TRANSACTIONS: i64 = 10;
/// Rows of one transaction.
const CHANGED: i64 = 500;
const MINUTE: u32 = 60;
/// How often the slow reader reads.
const PERIODS: u32 = 5;
/// The fast reader may take so many times as long with the longest backlog as with none.
const SLOWDOWN: f64 = 1.3;
/// The buffer may grow so much from one period to the next.
const GROWTH: f64 = 1.1;

/// The text of a value of type json.
struct Json(String);

impl<'a> FromSql<'a> for Json {
    fn from_sql(_: &Type, raw: &'a [u8]) -> std::result::Result<Json, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Json(std::str::from_utf8(raw)?.to_owned()))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSON
    }
}

/// What is seen at the end of a period, right before the slow reader reads.
struct Period {
    backlog: i64,
    /// The fast reader in the first and in the last tenth of the period.
    first: Duration,
    last: Duration,
    /// Pages that its last refresh of the period touched, however often.
    pages: i64,
    slow: Duration,
    buffer: i64,
    maps: i64,
    catalogs: i64,
    history: i64,
}

pub(crate) fn measure(server: &Server, seconds: u32) -> Result<String> {
    let mut client = database(server, "buffers", false)?;
    client.batch_execute(&format!(
        "CREATE TABLE events (id bigint PRIMARY KEY, grp int NOT NULL, amount bigint NOT NULL) WITH (fillfactor = 50);
         INSERT INTO events SELECT i, i % 1000, 0 FROM generate_series(0, {ROWS} - 1) i"
    ))?;
    stream_table(&mut client, "fast", "1s", "SELECT count(*) AS n, sum(amount) AS total FROM events")?;
    stream_table(&mut client, "medium", "1m", "SELECT grp, sum(amount) AS total FROM events GROUP BY grp")?;
    stream_table(&mut client, "slow", "1h", "SELECT id, amount FROM events WHERE grp < 10")?;
    client.batch_execute("VACUUM ANALYZE")?;
    let mut day = Day::new(server, client)?;
    let mut periods = Vec::new();
    let length = (seconds / PERIODS).max(20);
    for _ in 0..PERIODS {
        periods.push(day.period(length)?);
        eprintln!("{}", line(periods.len(), &periods[periods.len() - 1]));
    }
    for name in ["fast", "medium", "slow"] {
        refresh(&mut day.reader, name)?;
        oracle::verify(&mut day.reader, name)?;
    }
    Ok(table(&periods, length))
}

struct Day {
    writer: Client,
    change: Statement,
    reader: Client,
    written: i64,
    second: u32,
}

impl Day {
    fn new(server: &Server, reader: Client) -> Result<Day> {
        let mut writer = server.connect("buffers")?;
        // Spread over the table, and another place each time.
        let change = writer.prepare(&format!(
            "UPDATE events SET amount = amount + 1 + id % 3 WHERE id IN (SELECT ($1::bigint + i * 1999) % {ROWS} FROM generate_series(1, {CHANGED}) i)"
        ))?;
        Ok(Day { writer, change, reader, written: 0, second: 0 })
    }

    /// Writes for so many seconds of the day; at the end the slow reader reads.
    fn period(&mut self, length: u32) -> Result<Period> {
        let mut fast = Vec::new();
        let backlog = self.written;
        for _ in 0..length {
            self.second += 1;
            self.write()?;
            fast.push(self.timed("fast")?);
            if self.second.is_multiple_of(MINUTE) {
                refresh(&mut self.reader, "medium")?;
            }
        }
        let tenth = (fast.len() / 10).max(1);
        let (buffer, maps, catalogs, history) = sizes(&mut self.reader)?;
        self.write()?;
        let pages = self.touched("fast")?;
        Ok(Period {
            pages,
            backlog: self.written - backlog,
            first: median(&fast[..tenth]).unwrap_or_default(),
            last: median(&fast[fast.len() - tenth..]).unwrap_or_default(),
            slow: self.timed("slow")?,
            buffer,
            maps,
            catalogs,
            history,
        })
    }

    /// Writes for one second of the day.
    fn write(&mut self) -> Result<()> {
        for _ in 0..TRANSACTIONS {
            let changed = self.writer.execute(&self.change, &[&(self.written * 7 % ROWS)])?;
            ensure!(changed == CHANGED as u64, "{changed} rows changed at once");
            self.written += CHANGED;
        }
        Ok(())
    }

    /// Refreshes, and tells how many pages of relations that touched.
    fn touched(&mut self, name: &str) -> Result<i64> {
        let explain =
            format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT pgtrickle.refresh_stream_table('{name}')");
        let plan: serde_json::Value =
            serde_json::from_str(&self.reader.query_one(&explain, &[])?.try_get::<_, Json>(0)?.0)?;
        let figure =
            |label: &str| plan[0]["Plan"][label].as_i64().with_context(|| format!("EXPLAIN does not tell {label}"));
        Ok(figure("Shared Hit Blocks")? + figure("Shared Read Blocks")?)
    }

    fn timed(&mut self, name: &str) -> Result<Duration> {
        let begun = Instant::now();
        refresh(&mut self.reader, name)?;
        Ok(begun.elapsed())
    }
}

/// The buffer, its maps, what says which stream tables there are and what the server says about relations, and the history.
fn sizes(client: &mut Client) -> Result<(i64, i64, i64, i64)> {
    let query = "SELECT pg_relation_size(b), pg_relation_size(b, 'vm') + pg_relation_size(b, 'fsm'),
            (SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
             WHERE c.relkind = 'r' AND c.oid <> 'pgtrickle.pgt_refresh_history'::regclass
               AND c.relnamespace IN ('pgtrickle'::regnamespace, 'pg_catalog'::regnamespace)),
            pg_total_relation_size('pgtrickle.pgt_refresh_history')
        FROM (SELECT buffer_relid::regclass FROM pgtrickle.pgt_change_tracking) AS t (b)";
    let row = client.query_one(query, &[])?;
    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
}

fn line(number: usize, period: &Period) -> String {
    let Period { backlog, first, last, pages, slow, buffer, maps, catalogs, history } = period;
    format!(
        "| {number} | {} | {} | {} | {} | {:.1} | {} | {} | {} | {} |",
        spaced(*backlog),
        milliseconds(*first),
        milliseconds(*last),
        spaced(*pages),
        slow.as_secs_f64(),
        megabytes(*buffer),
        megabytes(*maps),
        megabytes(*catalogs),
        megabytes(*history)
    )
}

fn table(periods: &[Period], length: u32) -> String {
    let lines: Vec<String> = periods.iter().enumerate().map(|(place, period)| line(place + 1, period)).collect();
    let flat = periods.iter().all(|period| period.last.as_secs_f64() <= SLOWDOWN * period.first.as_secs_f64());
    // The first period fills the buffer for the first time.
    let bounded = periods.windows(2).skip(1).all(|pair| {
        let grown = |size: fn(&Period) -> i64| size(&pair[1]) as f64 > GROWTH * size(&pair[0]) as f64;
        !grown(|period| period.buffer) && !grown(|period| period.maps) && !grown(|period| period.catalogs)
    });
    let rows = CHANGED * TRANSACTIONS;
    format!(
        "### A day of writes\n\n\
         {rows} rows change per second in {TRANSACTIONS} transactions; {length} seconds make a period, at the end of which the slow reader reads. Sizes are those \
         right before that. The fast reader is refreshed every second, another one every minute.\n\n\
         | period | rows changed | fast, first tenth | fast, last tenth | pages it touches | slow, s | buffer, MB | its maps, MB | catalogs, MB | history, MB |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n{}\n\n\
         The fast reader stays as fast as it is (at most {SLOWDOWN} times): {}. Nothing but the history grows from the second period on (by more than a tenth): {}.\n",
        lines.join("\n"),
        verdict(flat),
        verdict(bounded)
    )
}
