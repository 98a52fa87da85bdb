//! What it costs to bring a result up to date, each way by itself, after 1 row, 100 rows and 1 % of the fact table
//! changed; and what it costs the writer where the work is done in the writing statement.

use crate::Scope;
use crate::change::{Change, Effort, Writer};
use crate::shapes::Shape;
use crate::way::Way;
use anyhow::{Context, Result, ensure};
use pgtrickle_workload::oracle;
use pgtrickle_workload::stats::Spread;
use postgres::Client;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The relation that is measured.
pub(crate) const NAME: &str = "maintained";
/// Samples that are enough where many would take too long.
const ENOUGH: usize = 5;

/// What one shape took at one size.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) shape: String,
    pub(crate) size: i64,
    /// A differential refresh when nothing has changed.
    pub(crate) idle: Option<Spread>,
    pub(crate) changes: Vec<(Change, Costs)>,
}

impl Measured {
    /// What a change took, if it was measured.
    pub(crate) fn costs(&self, change: Change) -> Option<&Costs> {
        self.changes.iter().find(|(known, _)| *known == change).map(|(_, costs)| costs)
    }

    /// Adds what only `other` has.
    pub(crate) fn complete(&mut self, other: Measured) {
        self.idle = self.idle.or(other.idle);
        for (change, costs) in other.changes {
            if self.costs(change).is_none() {
                self.changes.push((change, costs));
            }
        }
        self.changes.sort_by_key(|(change, _)| change.rows(self.size));
    }
}

/// What one change took.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Costs {
    pub(crate) differential: Spread,
    /// In AUTO mode.
    pub(crate) auto: Option<Spread>,
    /// In FULL mode, after large changes.
    pub(crate) recomputed: Option<Spread>,
    pub(crate) full: Spread,
    pub(crate) concurrent: Option<Spread>,
    pub(crate) floor: Option<Spread>,
    /// What pg_ivm adds to the writing statement.
    pub(crate) pg_ivm: Option<Duration>,
    /// What capture adds to the writing statement.
    pub(crate) capture: Option<Duration>,
}

impl Costs {
    /// How many times faster than REFRESH MATERIALIZED VIEW.
    pub(crate) fn gain(&self) -> f64 {
        self.full.against(&self.differential)
    }

    /// How many times slower AUTO is than the faster of the delta and REFRESH MATERIALIZED VIEW.
    pub(crate) fn auto_loss(&self) -> Option<f64> {
        let best = if self.gain() < 1.0 { &self.full } else { &self.differential };
        Some(self.auto?.against(best))
    }

    /// How many times slower AUTO is than the faster of DIFFERENTIAL and FULL, between which it chooses.
    pub(crate) fn choice_loss(&self) -> Option<f64> {
        let (delta, recomputed) = (self.differential, self.recomputed?);
        let best = if recomputed.median < delta.median { recomputed } else { delta };
        Some(self.auto?.against(&best))
    }
}

/// The write and what followed it.
#[derive(Debug, Clone, Copy)]
struct Pair {
    write: Spread,
    maintenance: Spread,
}

/// Measures one shape. Everything is created in `client`'s database and dropped again.
pub(crate) fn measure(client: &mut Client, shape: &Shape, size: i64, effort: Effort, scope: Scope) -> Result<Measured> {
    eprintln!("measuring {} at {size} rows", shape.name);
    let writer = Writer::new(client, size)?;
    let mut bench = Bench { client, shape, effort, writer };
    let before = bench.writes_only()?;
    let (idle, differential) = bench.stream_table()?;
    let full = bench.stored(Way::Full)?;
    let mut peer = |way: Way| (scope.peers && way.serves(shape, size)).then(|| bench.stored(way)).transpose();
    let (auto, concurrent, floor) = (peer(Way::Auto)?, peer(Way::Concurrent)?, peer(Way::Floor)?);
    let immv = if scope.pg_ivm && shape.pg_ivm { Some(bench.immv()?) } else { None };
    // Alone before and after everything else: the table has changed meanwhile.
    let after = bench.writes_only()?;
    let changes = Change::FEW.into_iter().enumerate().map(|(place, change)| {
        let bare = (before[place].write.median + after[place].write.median) / 2;
        let extra = |pairs: &Vec<Pair>| pairs[place].write.median.saturating_sub(bare);
        let maintenance = |pairs: &Vec<Pair>| pairs[place].maintenance;
        let costs = Costs {
            differential: differential[place].maintenance,
            auto: auto.as_ref().map(maintenance),
            recomputed: None,
            full: full[place].maintenance,
            concurrent: concurrent.as_ref().map(maintenance),
            floor: floor.as_ref().map(maintenance),
            pg_ivm: immv.as_ref().map(extra),
            capture: Some(extra(&differential)),
        };
        (change, costs)
    });
    Ok(Measured { shape: shape.name.to_owned(), size, idle: Some(idle), changes: changes.collect() })
}

struct Bench<'a> {
    client: &'a mut Client,
    shape: &'a Shape,
    effort: Effort,
    writer: Writer,
}

impl Bench<'_> {
    /// The write alone, with nothing that depends on the table.
    fn writes_only(&mut self) -> Result<Vec<Pair>> {
        self.all_changes(Change::samples, ENOUGH, |_| Ok(()))
    }

    /// The refresh that finds nothing to do, and for each change the captured write and the refresh.
    fn stream_table(&mut self) -> Result<(Spread, Vec<Pair>)> {
        Way::Differential.create(self.client, self.shape, NAME)?;
        let refresh = Way::Differential.prepare(self.client, self.shape, NAME)?;
        let pairs =
            self.all_changes(Change::samples, ENOUGH, |client| Ok(client.execute(&refresh, &[]).map(|_| ())?))?;
        let idle = (0..self.effort.many).map(|_| {
            let begin = Instant::now();
            self.client.execute(&refresh, &[])?;
            Ok(begin.elapsed())
        });
        let idle = idle.collect::<Result<Vec<_>>>()?;
        Way::Differential.check(self.client, self.shape, NAME)?;
        Way::Differential.drop(self.client, NAME)?;
        Ok((Spread::of(&idle).context("no samples")?, pairs))
    }

    /// The same for another way of refreshing.
    fn stored(&mut self, way: Way) -> Result<Vec<Pair>> {
        way.create(self.client, self.shape, NAME)?;
        let refresh = way.prepare(self.client, self.shape, NAME)?;
        let samples: fn(Change, Effort) -> usize =
            if way == Way::Floor { Change::samples } else { |_, effort| effort.few };
        way.settle(self.client, NAME)?;
        let pairs =
            self.all_changes(samples, way.enough(), |client| Ok(client.execute(&refresh, &[]).map(|_| ())?))?;
        way.check(self.client, self.shape, NAME)?;
        way.drop(self.client, NAME)?;
        Ok(pairs)
    }

    /// For each change the write, which maintains the view too.
    fn immv(&mut self) -> Result<Vec<Pair>> {
        self.client.execute("SELECT pgivm.create_immv($1, $2)", &[&NAME, &self.shape.query])?;
        self.client.batch_execute(&format!("VACUUM ANALYZE {NAME}"))?;
        let pairs = self.all_changes(Change::samples, ENOUGH, |_| Ok(()))?;
        let visible = self.visible_columns()?;
        let stored = format!("SELECT {visible} FROM {NAME}");
        let verdict = oracle::compare_queries(self.client, &stored, self.shape.query)?;
        ensure!(verdict.is_equal(), "oracle: pg_ivm: {verdict}");
        self.client.batch_execute(&format!("DROP TABLE {NAME}"))?;
        Ok(pairs)
    }

    /// pg_ivm keeps columns of its own in the table that it maintains.
    fn visible_columns(&mut self) -> Result<String> {
        let columns = "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
                       WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
                         AND NOT starts_with(attname, '__ivm_')";
        Ok(self.client.query_one(columns, &[&NAME])?.try_get(0)?)
    }

    /// For each change the committed write and `maintain` after it, warm-up not counted: `samples` of both, or only
    /// `enough` where they take long.
    fn all_changes(
        &mut self,
        samples: impl Fn(Change, Effort) -> usize,
        enough: usize,
        mut maintain: impl FnMut(&mut Client) -> Result<()>,
    ) -> Result<Vec<Pair>> {
        let mut pairs = Vec::new();
        for change in Change::FEW {
            self.client.batch_execute("VACUUM fact")?;
            let samples = samples(change, self.effort);
            let warm_up = samples.div_ceil(5);
            let (mut written, mut maintained, begun) = (Vec::new(), Vec::new(), Instant::now());
            for sample in 0..warm_up + samples {
                let write = self.writer.change_few(self.client, change, self.shape.reach)?;
                let begin = Instant::now();
                maintain(self.client)?;
                if sample >= warm_up {
                    written.push(write);
                    maintained.push(begin.elapsed());
                }
                if maintained.len() >= enough && begun.elapsed() > self.effort.patience {
                    break;
                }
            }
            let write = Spread::of(&written).context("no samples")?;
            pairs.push(Pair { write, maintenance: Spread::of(&maintained).context("no samples")? });
        }
        Ok(pairs)
    }
}
