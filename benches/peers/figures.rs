//! The figures as Markdown, and their place in the page.

use crate::capture::Pair;
use crate::change::Change;
use crate::plots;
use crate::refresh::Costs;
use crate::results::{Dated, Found};
use pgtrickle_workload::page::{Origin, spaced, verdict};
use pgtrickle_workload::stats::{Spread, geometric_mean, milliseconds};
use std::collections::BTreeSet;
use std::fmt::{Display, Formatter, Result as Formatted};
use std::time::Duration;

/// Their name there.
pub(crate) const PART: &str = "figures";

/// The goals, as `docs/BENCHMARK.md` names them.
const ONE_ROW: Duration = Duration::from_micros(300);
const HUNDRED_ROWS: Duration = Duration::from_millis(2);
const NOTHING: Duration = Duration::from_micros(50);
/// Of the geometric mean over all shapes, after 1 % changed.
const GAIN: f64 = 5.0;
/// Of AUTO against the faster of the two ways, after 10 % or more changed.
const AUTO_LOSS: f64 = 1.1;
const SIZE_RATIO: f64 = 1.3;
const INSERT_THROUGHPUT: f64 = 0.88;
const BULK_EXTRA_MICROS: f64 = 1.2;
const VISIBLE_P50: Duration = Duration::from_millis(5);

/// What is known, and where and when the last run of it was.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) origin: Origin,
    pub(crate) results: Found,
}

impl Figures {
    fn refreshes(&self, f: &mut Formatter<'_>, size: i64) -> Formatted {
        let of_this_size = self.results.shapes.iter().filter(|known| known.found.size == size);
        writeln!(f, "\n### {} rows\n\n{}", spaced(size), measured_on(of_this_size))?;
        writeln!(
            f,
            "| shape | rows changed | pg_trickle refresh | in AUTO mode | in FULL mode | by hand | REFRESH | REFRESH … CONCURRENTLY | pg_ivm, in the writer | capture, in the writer | faster than REFRESH | slower than by hand | AUTO against the faster of its two | AUTO against the faster of delta and REFRESH | goal |"
        )?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|")?;
        for measured in self.results.of_size(size) {
            let shape = &measured.shape;
            if let Some(idle) = measured.idle {
                let goal = verdict(idle.median <= NOTHING);
                writeln!(f, "| {shape} | 0 | {} | | | | | | | | | | | | {goal} |", idle.milliseconds())?;
            }
            for (change, costs) in &measured.changes {
                writeln!(f, "| {shape} | {change} | {} |", row(*change, costs))?;
            }
        }
        writeln!(f)?;
        self.results.changes(size).try_for_each(|change| self.summary(f, size, change))
    }

    /// The geometric mean over the shapes, and those that are slower than REFRESH.
    fn summary(&self, f: &mut Formatter<'_>, size: i64, change: Change) -> Formatted {
        let of_this_size = self.results.of_size(size);
        let gains = of_this_size.filter_map(|measured| Some((&*measured.shape, measured.costs(change)?.gain())));
        let gains: Vec<_> = gains.collect();
        let Some(mean) = geometric_mean(gains.iter().map(|(_, gain)| *gain)) else { return Ok(()) };
        let slower: Vec<_> = gains.iter().filter(|(_, gain)| *gain < 1.0).map(|(shape, _)| *shape).collect();
        let goal = match change {
            Change::Percent(1) => format!(" Goal: {}.", verdict(mean >= GAIN && slower.is_empty())),
            _ => String::new(),
        };
        let list = if slower.is_empty() { "none".to_owned() } else { slower.join(", ") };
        writeln!(f, "- {change} changed: {mean:.1}× faster than REFRESH (geometric mean); slower: {list}.{goal}")
    }

    /// The refresh after one changed row, at one size against another.
    fn growth(&self, f: &mut Formatter<'_>) -> Formatted {
        for same in self.results.growth.chunk_by(|a, b| a.found.sizes == b.found.sizes) {
            let [small, large] = same[0].found.sizes.map(spaced);
            writeln!(f, "\n### One changed row: {large} rows against {small}, in turns\n\n{}", measured_on(same))?;
            writeln!(f, "| shape | {small} | {large} | ratio | goal |\n|---|---:|---:|---:|---|")?;
            for Dated { found: growth, .. } in same {
                let [low, high] = growth.refresh.map(|refresh| refresh.milliseconds());
                let met = verdict(growth.ratio() <= SIZE_RATIO);
                writeln!(f, "| {} | {low} | {high} | {:.2} | {met} |", growth.shape, growth.ratio())?;
            }
        }
        Ok(())
    }

    fn captured(&self, f: &mut Formatter<'_>) -> Formatted {
        let Some(Dated { date, found: capture }) = &self.results.capture else { return Ok(()) };
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        let more = |pair: Pair| micros(pair.captured) - micros(pair.bare);
        writeln!(
            f,
            "\n### Capture: single-row inserts\n\nMeasured {date}.\n\n| columns | writers | COMMIT waits for the disk | bare table | captured table | extra | throughput kept | goal |"
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
        let Some(Dated { date, found: visible }) = &self.results.visible else { return Ok(()) };
        let met = verdict(visible.p50 <= VISIBLE_P50);
        let [p50, p90, p99] = [visible.p50, visible.p90, visible.p99].map(milliseconds);
        writeln!(
            f,
            "\n### From commit to visible after a pause\n\nMeasured {date}.\n\n| commits | p50 | p90 | p99 | goal |\n|---:|---:|---:|---:|---|"
        )?;
        writeln!(f, "| {} | {p50} | {p90} | {p99} | {met} |", visible.commits)
    }
}

impl Display for Figures {
    fn fmt(&self, f: &mut Formatter<'_>) -> Formatted {
        write!(f, "{}", self.origin)?;
        writeln!(f, "Times are medians in milliseconds where no unit is given, in brackets the quartiles.")?;
        write!(f, "{}", plots::references(&self.results))?;
        self.results.sizes().into_iter().try_for_each(|size| self.refreshes(f, size))?;
        self.growth(f)?;
        self.captured(f)?;
        self.shown(f)
    }
}

/// The days on which something was measured.
fn measured_on<'a, T: 'a>(known: impl IntoIterator<Item = &'a Dated<T>>) -> String {
    let days: BTreeSet<_> = known.into_iter().map(|known| &*known.date).collect();
    format!("Measured {}.\n", days.into_iter().collect::<Vec<_>>().join(" and "))
}

/// What stands behind the shape and the change.
fn row(change: Change, costs: &Costs) -> String {
    let goal = match change {
        Change::Rows(1) => verdict(costs.differential.median <= ONE_ROW),
        Change::Rows(100) => verdict(costs.differential.median <= HUNDRED_ROWS),
        Change::Percent(10..) => costs.auto_loss().map_or("", |loss| verdict(loss <= AUTO_LOSS)),
        _ => "",
    };
    let spread = |spread: Option<Spread>| spread.map_or("–".to_owned(), |spread| spread.milliseconds());
    let extra = |time: Option<Duration>| time.map_or("–".to_owned(), milliseconds);
    let loss = |loss: Option<f64>| loss.map_or("–".to_owned(), |loss| format!("{loss:.2}×"));
    let over_floor =
        costs.floor.map_or("–".to_owned(), |floor| format!("{:.1}×", costs.differential.against(&floor)));
    [
        costs.differential.milliseconds(),
        spread(costs.auto),
        spread(costs.recomputed),
        spread(costs.floor),
        costs.full.milliseconds(),
        spread(costs.concurrent),
        extra(costs.pg_ivm),
        extra(costs.capture),
        format!("{:.1}×", costs.gain()),
        over_floor,
        loss(costs.choice_loss()),
        loss(costs.auto_loss()),
        goal.to_owned(),
    ]
    .join(" | ")
}
