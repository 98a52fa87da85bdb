//! The figures as Markdown, and their place in the page.

use crate::capture::{Capture, Pair};
use crate::refresh::{Change, Measured};
use anyhow::{Context, Result};
use pgtrickle_workload::stats::{Latencies, milliseconds};
use postgres::Client;
use std::fmt::{Display, Formatter, Result as Formatted};
use std::path::Path;
use std::time::Duration;

const BEGIN: &str = "<!-- figures: written by scripts/bench -->";
const END: &str = "<!-- end of figures -->";

/// The goals, as `docs/BENCHMARK.md` names them.
const ONE_ROW: Duration = Duration::from_millis(1);
const SIZE_RATIO: f64 = 1.3;
const INSERT_THROUGHPUT: f64 = 0.88;
const BULK_EXTRA_MICROS: f64 = 1.2;
const VISIBLE_P50: Duration = Duration::from_millis(5);

/// Everything that one run found.
#[derive(Debug)]
pub(crate) struct Figures {
    date: String,
    machine: String,
    load: String,
    postgres: String,
    pg_trickle: String,
    pg_ivm: Option<String>,
    pub(crate) pg_ivm_origin: Option<String>,
    pub(crate) shapes: Vec<Measured>,
    pub(crate) capture: Option<Capture>,
    pub(crate) visible: Option<Latencies>,
}

impl Figures {
    /// No figures yet, only where and when they are taken.
    pub(crate) fn of_this_machine(client: &mut Client) -> Result<Figures> {
        let versions = "SELECT current_date::text, current_setting('server_version'),
                               max(default_version) FILTER (WHERE name = 'pg_trickle'),
                               max(default_version) FILTER (WHERE name = 'pg_ivm')
                        FROM pg_available_extensions";
        let row = client.query_one(versions, &[])?;
        Ok(Figures {
            date: row.try_get(0)?,
            machine: machine()?,
            load: load(),
            postgres: row.try_get(1)?,
            pg_trickle: row.try_get(2)?,
            pg_ivm: row.try_get(3)?,
            pg_ivm_origin: None,
            shapes: Vec::new(),
            capture: None,
            visible: None,
        })
    }

    fn sizes(&self) -> Vec<i64> {
        let mut sizes: Vec<_> = self.shapes.iter().map(|measured| measured.size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    fn refreshes(&self, f: &mut Formatter<'_>, size: i64) -> Formatted {
        writeln!(f, "\n### {} rows\n", spaced(size))?;
        writeln!(
            f,
            "| shape | rows changed | pg_trickle refresh | REFRESH MATERIALIZED VIEW | pg_ivm, in the writer | pg_trickle capture, in the writer | faster than REFRESH | goal |"
        )?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|---:|---|")?;
        for measured in self.shapes.iter().filter(|measured| measured.size == size) {
            for (change, costs) in &measured.changes {
                let (label, goal) = match change {
                    Change::Rows(1) => ("1".to_owned(), verdict(costs.differential <= ONE_ROW)),
                    Change::Rows(rows) => (rows.to_string(), ""),
                    Change::Percent(percent) => (format!("{percent} %"), ""),
                };
                let gain = costs.full.as_secs_f64() / costs.differential.as_secs_f64();
                let [differential, full, capture] = [costs.differential, costs.full, costs.capture].map(milliseconds);
                let pg_ivm = costs.pg_ivm.map_or("–".to_owned(), milliseconds);
                let shape = measured.shape;
                writeln!(
                    f,
                    "| {shape} | {label} | {differential} | {full} | {pg_ivm} | {capture} | {gain:.1}× | {goal} |"
                )?;
            }
            writeln!(f, "| {} | 0 | {} | | | | | |", measured.shape, milliseconds(measured.idle))?;
        }
        Ok(())
    }

    /// The refresh after one changed row, at the largest size against the smallest.
    fn growth(&self, f: &mut Formatter<'_>) -> Formatted {
        let sizes = self.sizes();
        let (Some(&small), Some(&large)) = (sizes.first(), sizes.last()) else { return Ok(()) };
        if small == large {
            return Ok(());
        }
        writeln!(f, "\n### One changed row: {} rows against {}\n", spaced(large), spaced(small))?;
        writeln!(f, "| shape | {} | {} | ratio | goal |\n|---|---:|---:|---:|---|", spaced(small), spaced(large))?;
        let find = |shape, size| self.shapes.iter().find(|m| m.shape == shape && m.size == size);
        for measured in self.shapes.iter().filter(|measured| measured.size == small) {
            let Some(other) = find(measured.shape, large) else { continue };
            let (Some((_, at_small)), Some((_, at_large))) = (measured.changes.first(), other.changes.first()) else {
                continue;
            };
            let ratio = at_large.differential.as_secs_f64() / at_small.differential.as_secs_f64();
            let [low, high] = [at_small, at_large].map(|costs| milliseconds(costs.differential));
            writeln!(f, "| {} | {low} | {high} | {ratio:.2} | {} |", measured.shape, verdict(ratio <= SIZE_RATIO))?;
        }
        Ok(())
    }

    fn captured(&self, f: &mut Formatter<'_>) -> Formatted {
        let Some(capture) = &self.capture else { return Ok(()) };
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        let more = |pair: Pair| micros(pair.captured) - micros(pair.bare);
        writeln!(
            f,
            "\n### Capture: single-row inserts\n\n| columns | writers | COMMIT waits for the disk | bare table | captured table | extra | throughput kept | goal |"
        )?;
        writeln!(f, "|---:|---:|---|---:|---:|---:|---:|---|")?;
        for (singles, pair) in &capture.singles {
            let durable = if singles.durable { "yes" } else { "no" };
            writeln!(
                f,
                "| {} | {} | {durable} | {:.1} µs | {:.1} µs | {:.1} µs | {:.1} % | {} |",
                singles.table.columns(),
                singles.writers,
                micros(pair.bare),
                micros(pair.captured),
                more(*pair),
                pair.kept * 100.0,
                verdict(pair.kept >= INSERT_THROUGHPUT)
            )?;
        }
        writeln!(
            f,
            "\n### Capture: 50 000 rows in one INSERT, per row\n\n| columns | bare table | captured table | extra | goal |"
        )?;
        writeln!(f, "|---:|---:|---:|---:|---|")?;
        for (table, pair) in &capture.bulks {
            let met = verdict(more(*pair) <= BULK_EXTRA_MICROS);
            let (bare, captured) = (micros(pair.bare), micros(pair.captured));
            writeln!(f, "| {} | {bare:.2} µs | {captured:.2} µs | {:.2} µs | {met} |", table.columns(), more(*pair))?;
        }
        Ok(())
    }

    fn shown(&self, f: &mut Formatter<'_>) -> Formatted {
        let Some(latencies) = &self.visible else { return Ok(()) };
        let at = |percent| latencies.percentile(percent).map_or("–".to_owned(), milliseconds);
        let met = verdict(latencies.percentile(50.0).is_some_and(|p50| p50 <= VISIBLE_P50));
        writeln!(
            f,
            "\n### From commit to visible after a pause\n\n| commits | p50 | p90 | p99 | goal |\n|---:|---:|---:|---:|---|"
        )?;
        writeln!(f, "| {} | {} | {} | {} | {met} |", latencies.count(), at(50.0), at(90.0), at(99.0))
    }
}

impl Display for Figures {
    fn fmt(&self, f: &mut Formatter<'_>) -> Formatted {
        let origin =
            self.pg_ivm_origin.as_deref().map_or(String::new(), |origin| format!(" (the distribution's {origin})"));
        let pg_ivm = self.pg_ivm.as_ref().map_or("not measured".to_owned(), |version| format!("{version}{origin}"));
        writeln!(
            f,
            "{}, {}. PostgreSQL {}, pg_trickle {}, pg_ivm {pg_ivm}.",
            self.date, self.machine, self.postgres, self.pg_trickle
        )?;
        writeln!(f, "Load average of the machine before the run: {}.", self.load)?;
        writeln!(f, "Times are medians in milliseconds where no unit is given.")?;
        self.sizes().into_iter().try_for_each(|size| self.refreshes(f, size))?;
        self.growth(f)?;
        self.captured(f)?;
        self.shown(f)
    }
}

/// Replaces what stands between the markers of `page`.
pub(crate) fn write(page: &Path, figures: &str) -> Result<()> {
    let text = std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let (before, rest) = text.split_once(BEGIN).context("the page has no place for figures")?;
    let (_, after) = rest.split_once(END).context("the place for figures has no end")?;
    std::fs::write(page, format!("{before}{BEGIN}\n{figures}{END}{after}"))?;
    Ok(())
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

/// A number with thin gaps between its thousands.
fn spaced(number: i64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(" ")
}

/// Processor, cores and memory; never a name of the host.
fn machine() -> Result<String> {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes =
        memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    let memory = kilobytes.map_or(String::new(), |kilobytes| format!(", {} GB", kilobytes.div_ceil(1 << 20)));
    Ok(format!("{model}, {} cores{memory}", std::thread::available_parallelism()?))
}

/// What else ran: figures from a busy machine are to be taken with care.
fn load() -> String {
    let averages = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split_whitespace().next().unwrap_or("unknown").to_owned()
}
