//! What capture costs the writers: the same inserts into a bare table and into the source of a stream table. One writer takes one of the two
//! by chance in each transaction; several writers, who wait for each other, and bulk inserts take turns in blocks. So both tables see
//! the same state of the machine, and both grow alike.

use crate::change::Effort;
use anyhow::{Context, Result, ensure};
use pgtrickle_workload::oracle;
use pgtrickle_workload::pgbench::PgBench;
use pgtrickle_workload::server::Server;
use pgtrickle_workload::stats::{median, middle};
use postgres::Client;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// How long pgbench inserts single rows in one block.
const SECONDS: u32 = 1;
const BULK_ROWS: i64 = 50_000;
/// Integer columns that a wide table has besides the usual ones.
const WIDTH: usize = 46;

/// A pair of tables, one bare and one captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Table {
    /// Four columns.
    Narrow,
    /// Fifty columns, all of them captured.
    Wide,
}

impl Table {
    const ALL: [Table; 2] = [Table::Narrow, Table::Wide];

    pub(crate) fn columns(self) -> usize {
        4 + self.more().len()
    }

    fn more(self) -> Vec<String> {
        let width = if self == Table::Wide { WIDTH } else { 0 };
        (0..width).map(|column| format!("n{column}")).collect()
    }

    fn name(self, captured: bool) -> &'static str {
        match (self, captured) {
            (Table::Narrow, false) => "narrow_bare",
            (Table::Narrow, true) => "narrow_captured",
            (Table::Wide, false) => "wide_bare",
            (Table::Wide, true) => "wide_captured",
        }
    }

    /// The copy that reads every column of the captured table, and its query.
    fn copy(self) -> (String, String) {
        let source = self.name(true);
        (format!("{source}_copy"), format!("SELECT * FROM {source}"))
    }

    fn create(self, client: &mut Client) -> Result<()> {
        let [bare, captured] = [false, true].map(|captured| self.name(captured));
        let more: String = self.more().iter().map(|column| format!(", {column} int NOT NULL")).collect();
        let (copy, query) = self.copy();
        client.batch_execute(&format!(
            "CREATE TABLE {bare} (id bigint PRIMARY KEY, grp int NOT NULL, amount numeric(12,2) NOT NULL,
                                  note text NOT NULL{more});
             CREATE TABLE {captured} (LIKE {bare} INCLUDING ALL);
             SELECT pgtrickle.create_stream_table('{copy}', '{query}', schedule => '1h', refresh_mode => 'DIFFERENTIAL')"
        ))?;
        Ok(())
    }

    /// One row, or what stands for it in a SELECT of many.
    fn row(self, id: &str) -> String {
        let more: String = (0..self.more().len()).map(|value| format!(", {value}")).collect();
        format!("{id}, 7, 12.34, 'a note of the usual length'{more}")
    }

    /// Empties the change buffer, so that every block begins alike.
    fn settle(self, client: &mut Client) -> Result<()> {
        let (copy, _) = self.copy();
        Ok(client.batch_execute(&format!("SELECT pgtrickle.refresh_stream_table('{copy}'); CHECKPOINT"))?)
    }

    fn check(self, client: &mut Client) -> Result<()> {
        let (copy, query) = self.copy();
        let verdict = oracle::compare(client, &copy, &query)?;
        ensure!(verdict.is_equal(), "oracle: {verdict}");
        Ok(())
    }
}

/// Single-row inserts, each a transaction of its own, as pgbench measures them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Singles {
    pub(crate) table: Table,
    pub(crate) writers: u32,
    /// COMMIT waits for the disk.
    pub(crate) durable: bool,
}

impl Singles {
    const ALL: [Singles; 6] = [
        Singles { table: Table::Narrow, writers: 1, durable: false },
        Singles { table: Table::Narrow, writers: 4, durable: false },
        Singles { table: Table::Narrow, writers: 16, durable: false },
        Singles { table: Table::Narrow, writers: 1, durable: true },
        Singles { table: Table::Narrow, writers: 16, durable: true },
        Singles { table: Table::Wide, writers: 1, durable: false },
    ];
}

/// The same on the bare and on the captured table.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) bare: Duration,
    pub(crate) captured: Duration,
    /// The middle of what the single blocks gave for bare ÷ captured.
    pub(crate) kept: f64,
}

impl Pair {
    fn of(samples: &[[Duration; 2]]) -> Result<Pair> {
        let all = |place: usize| samples.iter().map(|pair| pair[place]).collect::<Vec<_>>();
        let kept = samples.iter().map(|[bare, captured]| bare.as_secs_f64() / captured.as_secs_f64());
        Ok(Pair {
            bare: median(&all(0)).context("no samples")?,
            captured: median(&all(1)).context("no samples")?,
            kept: middle(kept.collect()).context("no samples")?,
        })
    }
}

/// What each kind of insert costs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Capture {
    /// The time that a transaction takes: of one writer its own, of several the time between the ends of two.
    pub(crate) singles: Vec<(Singles, Pair)>,
    /// An INSERT of [`BULK_ROWS`] rows, per row.
    pub(crate) bulks: Vec<(Table, Pair)>,
}

pub(crate) fn measure(server: &Server, effort: Effort) -> Result<Capture> {
    server.connect("postgres")?.batch_execute("CREATE DATABASE capture")?;
    server.connect("postgres")?.batch_execute("ALTER DATABASE capture SET pg_trickle.enabled = off")?;
    let mut client = server.connect("capture")?;
    client.batch_execute("CREATE EXTENSION pg_trickle; CREATE SEQUENCE ids START 1000000000")?;
    for table in Table::ALL {
        table.create(&mut client)?;
    }
    let mut capture = Capture { singles: Vec::new(), bulks: Vec::new() };
    for singles in Singles::ALL {
        let samples = blocks(&mut client, singles.table, effort, |_, block| match singles.writers {
            1 => singles.mixed(server),
            _ => turns(block, |captured| singles.apart(server, captured)),
        })?;
        capture.singles.push((singles, Pair::of(&samples)?));
    }
    for table in Table::ALL {
        let samples = blocks(&mut client, table, effort, |client, block| {
            turns(block, |captured| bulk_insert(client, table, captured, block))
        })?;
        capture.bulks.push((table, Pair::of(&samples)?));
    }
    Table::ALL.into_iter().try_for_each(|table| table.check(&mut client))?;
    Ok(capture)
}

/// What `sample` gives for the bare and for the captured table, block by block. It is told the number of the block; the first one is warm-up.
fn blocks(
    client: &mut Client,
    table: Table,
    effort: Effort,
    mut sample: impl FnMut(&mut Client, usize) -> Result<[Duration; 2]>,
) -> Result<Vec<[Duration; 2]>> {
    let mut samples = Vec::new();
    for block in 0..=effort.some {
        let pair = sample(client, block)?;
        if block > 0 {
            samples.push(pair);
        }
        table.settle(client)?;
    }
    Ok(samples)
}

/// The bare and the captured table, which take turns at being first.
fn turns(block: usize, mut sample: impl FnMut(bool) -> Result<Duration>) -> Result<[Duration; 2]> {
    let mut pair = [Duration::ZERO; 2];
    for place in if block.is_multiple_of(2) { [0, 1] } else { [1, 0] } {
        pair[place] = sample(place == 1)?;
    }
    Ok(pair)
}

impl Singles {
    fn bench(self) -> PgBench<'static> {
        PgBench {
            database: "capture",
            clients: self.writers,
            seconds: SECONDS,
            options: if self.durable { "-c synchronous_commit=on" } else { "" },
        }
    }

    fn script(self, captured: bool) -> String {
        format!("INSERT INTO {} VALUES ({});", self.table.name(captured), self.table.row("nextval('ids')"))
    }

    /// Each transaction writes one of the two tables by chance.
    fn mixed(self, server: &Server) -> Result<[Duration; 2]> {
        self.bench().alternating(server, [false, true].map(|captured| self.script(captured)).each_ref().map(|s| &**s))
    }

    /// All transactions write one of them.
    fn apart(self, server: &Server, captured: bool) -> Result<Duration> {
        self.bench().throughput(server, &self.script(captured))
    }
}

/// The time of one insert of many rows, divided by their number.
fn bulk_insert(client: &mut Client, table: Table, captured: bool, block: usize) -> Result<Duration> {
    let first = i64::try_from(block)? * BULK_ROWS;
    let insert = client.prepare(&format!(
        "INSERT INTO {} SELECT {} FROM generate_series($1::bigint, $1 + {BULK_ROWS} - 1) i",
        table.name(captured),
        table.row("i")
    ))?;
    let begin = Instant::now();
    client.execute(&insert, &[&first])?;
    Ok(begin.elapsed().div_f64(BULK_ROWS as f64))
}
