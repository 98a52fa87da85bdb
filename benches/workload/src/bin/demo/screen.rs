//! What the user sees: a screen that repaints itself once a second on a terminal, one line a second elsewhere.

use crate::observe::Table;
use crate::stream_tables::STREAM_TABLES;
use pgtrickle_workload::oracle::Verdict;
use pgtrickle_workload::stats::milliseconds;
use pgtrickle_workload::writer::{Kind, Written};
use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

const CLEAR_LINE: &str = "\x1b[2K";
/// Long lines are cut at the edge instead of wrapped, so that a frame has as many rows as lines.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// One line that is replaced until it is kept; without a terminal only what is kept is printed.
pub(crate) struct Status {
    live: bool,
}

impl Status {
    pub(crate) fn new() -> Status {
        Status { live: stdout().is_terminal() }
    }

    pub(crate) fn update(&mut self, text: &str) {
        if self.live {
            print!("\r{CLEAR_LINE}{text} …");
            flush();
        }
    }

    pub(crate) fn keep(&mut self, text: &str) {
        if self.live {
            print!("\r{CLEAR_LINE}");
        }
        println!("{text}");
    }
}

/// All that one repaint shows.
pub(crate) struct Frame {
    pub(crate) elapsed: Duration,
    pub(crate) written: Written,
    pub(crate) tables: Vec<Table>,
}

/// The live display.
pub(crate) struct Screen {
    live: bool,
    scale: f64,
    length: Duration,
    /// Lines of the frame that stands on the terminal.
    painted: usize,
    before: (Duration, Written),
}

impl Screen {
    pub(crate) fn new(scale: f64, length: Duration) -> Screen {
        let live = stdout().is_terminal();
        Screen { live, scale, length, painted: 0, before: Default::default() }
    }

    pub(crate) fn show(&mut self, frame: &Frame) {
        let rates = self.rates(frame);
        if self.live {
            self.paint(&self.lines(frame, rates))
        } else {
            println!("{}", line(frame, rates))
        }
        flush();
    }

    /// Transactions and rows per second since the last frame.
    fn rates(&mut self, frame: &Frame) -> (f64, f64) {
        let (since, before) = std::mem::replace(&mut self.before, (frame.elapsed, frame.written));
        let seconds = (frame.elapsed - since).as_secs_f64();
        let per_second = |now: u64, then: u64| (now - then) as f64 / seconds;
        let written = frame.written;
        (per_second(written.transactions, before.transactions), per_second(written.rows, before.rows))
    }

    fn paint(&mut self, lines: &[String]) {
        if self.painted > 0 {
            print!("\x1b[{}A", self.painted);
        }
        print!("{NO_WRAP}");
        lines.iter().for_each(|line| println!("{CLEAR_LINE}{line}"));
        print!("{WRAP}");
        self.painted = lines.len();
    }

    fn lines(&self, frame: &Frame, (transactions, rows): (f64, f64)) -> Vec<String> {
        let (elapsed, length) = (frame.elapsed.as_secs(), self.length.as_secs());
        let mut lines = vec![
            format!("pg_trickle on TPC-H at scale {}: second {elapsed} of {length}, Ctrl-C ends", self.scale),
            format!(
                "written: {transactions:.0} transactions/s, {rows:.0} rows/s; {} transactions, {} rows since the start",
                thousands(frame.written.transactions),
                thousands(frame.written.rows)
            ),
            String::new(),
            bold(&format!(
                "{:<24}{:>11}{:>17}{:>12}{:>15}{:>8}   {}",
                "stream table", "refreshes/s", "last delta", "refresh ms", "visible ms p50", "p99", "oracle"
            )),
        ];
        let mut troubles = Vec::new();
        for (definition, table) in STREAM_TABLES.iter().zip(&frame.tables) {
            let (name, recent) = (definition.name, &table.recent);
            let delta = recent.delta.map_or(String::from("-"), |(inserted, deleted)| format!("+{inserted} -{deleted}"));
            lines.push(format!(
                "{name:<24}{:>11}{delta:>17}{:>12}{:>15}{:>8}   {}",
                recent.refreshes,
                optional(recent.duration),
                optional(table.lag.percentile(50.0)),
                optional(table.lag.percentile(99.0)),
                checked(table),
            ));
            if recent.status != "ACTIVE" {
                troubles.push(format!("{name} is {} ({})", recent.status, recent.mode));
            }
            troubles.extend(recent.error.iter().map(|error| format!("{name}: {error}")));
        }
        lines.push(troubles.join("; "));
        lines
    }
}

/// The frame in one line, for logs.
fn line(frame: &Frame, (transactions, rows): (f64, f64)) -> String {
    let mut all = pgtrickle_workload::stats::Latencies::default();
    frame.tables.iter().for_each(|table| all.add(&table.lag));
    let refreshes: usize = frame.tables.iter().map(|table| table.recent.refreshes).sum();
    let slowest = frame.tables.iter().filter_map(|table| table.recent.duration).max();
    let equal = frame.tables.iter().filter(|t| t.checked.is_some_and(|(verdict, _)| verdict.is_equal())).count();
    let checked = frame.tables.iter().filter(|table| table.checked.is_some()).count();
    let errors: Vec<_> = frame.tables.iter().filter_map(|table| table.recent.error.as_deref()).collect();
    format!(
        "{:>4} s  {transactions:.0} transactions/s  {rows:.0} rows/s  {refreshes} refreshes/s  slowest refresh {} ms  \
         visible p50 {} ms p99 {} ms  oracle: {equal} of {checked} checked equal{}",
        frame.elapsed.as_secs(),
        optional(slowest),
        optional(all.percentile(50.0)),
        optional(all.percentile(99.0)),
        errors.first().map_or(String::new(), |error| format!("  error: {error}")),
    )
}

/// The verdicts at the end, one stream table a line.
pub(crate) fn print_summary(tables: &[Table], verdicts: &[Verdict]) {
    for ((definition, table), verdict) in STREAM_TABLES.iter().zip(tables).zip(verdicts) {
        println!(
            "{:<24} visible after {} ms (p50), {} ms (p99), {} probes   oracle: {verdict}",
            definition.name,
            optional(table.lag.percentile(50.0)),
            optional(table.lag.percentile(99.0)),
            table.lag.count(),
        );
    }
}

/// What was written, in words.
pub(crate) fn sentence(written: &Written) -> String {
    let kinds = Kind::ALL.iter().map(|kind| format!("{} {}", thousands(written.by_kind[*kind as usize]), kind.label()));
    let kinds: Vec<_> = kinds.collect();
    format!("{} transactions ({}), {} rows", thousands(written.transactions), kinds.join(", "), thousands(written.rows))
}

/// A number with commas between its thousands.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

fn checked(table: &Table) -> String {
    match table.checked {
        None => String::from("not yet checked"),
        Some((verdict, at)) => format!("{verdict}, {} s ago", at.elapsed().as_secs()),
    }
}

fn optional(duration: Option<Duration>) -> String {
    duration.map_or(String::from("-"), milliseconds)
}

fn bold(text: &str) -> String {
    format!("\x1b[1m{text}\x1b[0m")
}

fn flush() {
    // A terminal that is gone is no reason to stop; the summary will fail loudly.
    stdout().flush().unwrap_or_default();
}
