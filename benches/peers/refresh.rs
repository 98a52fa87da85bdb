//! What it costs to bring a result up to date after 1 row, 100 rows and 1 % of the fact table changed.

use crate::Effort;
use crate::fixture::Shape;
use anyhow::{Context, Result, ensure};
use pgtrickle_workload::oracle;
use pgtrickle_workload::stats::median;
use postgres::{Client, Statement};
use rand::RngExt;
use std::time::{Duration, Instant};

/// How many rows one transaction changes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Rows(i64),
    Percent(i64),
}

impl Change {
    pub(crate) const ALL: [Change; 3] = [Change::Rows(1), Change::Rows(100), Change::Percent(1)];

    fn rows(self, size: i64) -> i64 {
        match self {
            Change::Rows(rows) => rows,
            Change::Percent(percent) => size * percent / 100,
        }
    }

    /// Samples of something whose cost follows the change.
    fn samples(self, effort: Effort) -> usize {
        match self {
            Change::Rows(1) => effort.many,
            Change::Rows(_) => effort.some,
            Change::Percent(_) => effort.few,
        }
    }
}

/// The medians for one shape at one size.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) shape: &'static str,
    pub(crate) size: i64,
    /// A refresh when nothing has changed.
    pub(crate) idle: Duration,
    pub(crate) changes: Vec<(Change, Costs)>,
}

/// The medians for one change.
#[derive(Debug)]
pub(crate) struct Costs {
    /// `pgtrickle.refresh_stream_table` in DIFFERENTIAL mode, in a transaction of its own.
    pub(crate) differential: Duration,
    /// `REFRESH MATERIALIZED VIEW`.
    pub(crate) full: Duration,
    /// What pg_ivm adds to the writing statement.
    pub(crate) pg_ivm: Option<Duration>,
    /// What capture adds to the writing statement.
    pub(crate) capture: Duration,
}

/// Measures one shape. Everything is created in `client`'s database and dropped again.
pub(crate) fn measure(client: &mut Client, shape: &Shape, size: i64, effort: Effort, pg_ivm: bool) -> Result<Measured> {
    eprintln!("measuring {} at {size} rows", shape.name);
    let mut bench = Bench::new(client, shape, size, effort)?;
    let before = bench.writes_only()?;
    let (idle, stream) = bench.stream_table()?;
    let full = bench.materialized_view()?;
    let immv = if pg_ivm && shape.pg_ivm { Some(bench.immv()?) } else { None };
    // Alone before and after everything else: the table has changed meanwhile.
    let after = bench.writes_only()?;
    let bare: Vec<_> = before.into_iter().zip(after).map(|(before, after)| (before + after) / 2).collect();
    let changes = Change::ALL.into_iter().enumerate().map(|(place, change)| {
        let (captured, differential) = stream[place];
        let pg_ivm = immv.as_ref().map(|immv| immv[place].saturating_sub(bare[place]));
        let capture = captured.saturating_sub(bare[place]);
        (change, Costs { differential, full: full[place], pg_ivm, capture })
    });
    Ok(Measured { shape: shape.name, size, idle, changes: changes.collect() })
}

struct Bench<'a> {
    client: &'a mut Client,
    shape: &'a Shape,
    size: i64,
    effort: Effort,
    write: Statement,
}

impl Bench<'_> {
    fn new<'a>(client: &'a mut Client, shape: &'a Shape, size: i64, effort: Effort) -> Result<Bench<'a>> {
        let write = client.prepare("UPDATE fact SET amount = amount + 0.01 WHERE id = ANY($1)")?;
        Ok(Bench { client, shape, size, effort, write })
    }

    /// Medians of the write alone, with nothing that depends on the table.
    fn writes_only(&mut self) -> Result<Vec<Duration>> {
        self.all_changes(Change::samples, |_| Ok(())).map(writes)
    }

    /// The refresh that finds nothing to do, and for each change the captured write and the refresh.
    fn stream_table(&mut self) -> Result<(Duration, Vec<(Duration, Duration)>)> {
        let create =
            "SELECT pgtrickle.create_stream_table('maintained', $1, schedule => '1h', refresh_mode => 'DIFFERENTIAL')";
        self.client.execute(create, &[&self.shape.query])?;
        self.client.batch_execute("VACUUM ANALYZE maintained")?;
        let refresh = self.client.prepare("SELECT pgtrickle.refresh_stream_table('maintained')")?;
        let medians = self.all_changes(Change::samples, |client| {
            client.execute(&refresh, &[])?;
            Ok(())
        })?;
        let idle = (0..self.effort.many).map(|_| {
            let begin = Instant::now();
            self.client.execute(&refresh, &[])?;
            Ok(begin.elapsed())
        });
        let idle = idle.collect::<Result<Vec<_>>>()?;
        self.check()?;
        self.client.batch_execute("SELECT pgtrickle.drop_stream_table('maintained')")?;
        Ok((median(&idle).context("no samples")?, medians))
    }

    fn materialized_view(&mut self) -> Result<Vec<Duration>> {
        self.client.batch_execute(&format!("CREATE MATERIALIZED VIEW maintained AS {}", self.shape.query))?;
        let medians = self.all_changes(
            |_, effort| effort.few,
            |client| Ok(client.batch_execute("REFRESH MATERIALIZED VIEW maintained")?),
        )?;
        self.check()?;
        self.client.batch_execute("DROP MATERIALIZED VIEW maintained")?;
        Ok(medians.into_iter().map(|(_, refresh)| refresh).collect())
    }

    /// For each change the write, which maintains the view too.
    fn immv(&mut self) -> Result<Vec<Duration>> {
        self.client.execute("SELECT pgivm.create_immv('maintained', $1)", &[&self.shape.query])?;
        self.client.batch_execute("VACUUM ANALYZE maintained")?;
        let medians = self.all_changes(Change::samples, |_| Ok(()))?;
        let visible = self.visible_columns()?;
        self.check_relation(&format!("(SELECT {visible} FROM maintained)"))?;
        self.client.batch_execute("DROP TABLE maintained")?;
        Ok(writes(medians))
    }

    /// pg_ivm keeps columns of its own in the table that it maintains.
    fn visible_columns(&mut self) -> Result<String> {
        let columns = "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
                       WHERE attrelid = 'maintained'::regclass AND attnum > 0 AND NOT attisdropped
                         AND NOT starts_with(attname, '__ivm_')";
        Ok(self.client.query_one(columns, &[])?.try_get(0)?)
    }

    /// For each change the medians of the committed write and of `maintain` after it.
    fn all_changes(
        &mut self,
        samples: impl Fn(Change, Effort) -> usize,
        mut maintain: impl FnMut(&mut Client) -> Result<()>,
    ) -> Result<Vec<(Duration, Duration)>> {
        let mut medians = Vec::new();
        for change in Change::ALL {
            self.client.batch_execute("VACUUM fact")?;
            let samples = samples(change, self.effort);
            let warm_up = samples.div_ceil(5);
            let (mut written, mut maintained) = (Vec::new(), Vec::new());
            for sample in 0..warm_up + samples {
                let ids = self.draw(change);
                let begin = Instant::now();
                self.client.execute(&self.write, &[&ids])?;
                let middle = Instant::now();
                maintain(self.client)?;
                if sample >= warm_up {
                    written.push(middle - begin);
                    maintained.push(middle.elapsed());
                }
            }
            medians.push((median(&written).context("no samples")?, median(&maintained).context("no samples")?));
        }
        Ok(medians)
    }

    /// Distinct ids: a few rows that belong to the result, or a share of the table, whichever rows they are.
    fn draw(&self, change: Change) -> Vec<i64> {
        let mut random = rand::rng();
        let (blocks, wanted) = (self.size / 1000, change.rows(self.size));
        let reach = if matches!(change, Change::Rows(_)) { self.shape.reach } else { 1000 };
        let mut ids = std::collections::HashSet::new();
        while i64::try_from(ids.len()).is_ok_and(|drawn| drawn < wanted) {
            ids.insert(random.random_range(0..blocks) * 1000 + random.random_range(0..reach));
        }
        ids.into_iter().collect()
    }

    fn check(&mut self) -> Result<()> {
        self.check_relation("maintained")
    }

    fn check_relation(&mut self, relation: &str) -> Result<()> {
        let verdict = oracle::compare_queries(self.client, &format!("SELECT * FROM {relation}"), self.shape.query)?;
        ensure!(verdict.is_equal(), "oracle: {verdict}");
        Ok(())
    }
}

fn writes(medians: Vec<(Duration, Duration)>) -> Vec<Duration> {
    medians.into_iter().map(|(write, _)| write).collect()
}
