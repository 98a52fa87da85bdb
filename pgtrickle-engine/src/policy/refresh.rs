//! Full or differential: what is expected to take less ([`Costs`]).
//!
//! A delta costs per changed row, a recomputation per source row; with nothing measured yet, the ratio of the two
//! counts stands in for the ratio of the costs.

use super::{Change, Costs};

/// How a refresh brings the contents up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Full,
    Differential,
}

/// What the administrator wants of an AUTO stream table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    Auto,
    Full,
    Differential,
}

/// What is known when one refresh begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Facts {
    /// Weighted rows that the sources' buffers hold for this refresh.
    pub changed_rows: u64,
    /// Estimated rows of those sources together.
    pub source_rows: f64,
    /// What earlier refreshes took.
    pub costs: Costs,
}

impl Facts {
    /// The change, where more than `max_change_ratio` of the source rows are to be recomputed unless more is known.
    pub fn change(&self, max_change_ratio: f64) -> Change {
        Change { rows: self.changed_rows, share: self.ratio() / max_change_ratio }
    }

    fn ratio(&self) -> f64 {
        self.changed_rows as f64 / self.source_rows.max(1.0)
    }
}

/// The method and the reason, a sentence for `explain_refresh_mode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub method: Method,
    pub reason: String,
}

/// A delta this small is cheap whatever the ratio is, and small ratios of small tables say nothing: right after a bulk
/// load the planner's estimates are still zero. A limit of 0 asks for recomputation all the same.
const FEW_ROWS: u64 = 1_000;

/// Less than this is not worth another plan.
const WORTH_MS: f64 = 0.5;

/// Chooses for an AUTO stream table whose query can be maintained either way.
pub fn choose(strategy: Strategy, facts: Facts, max_change_ratio: f64) -> Choice {
    let full = |reason: String| Choice { method: Method::Full, reason };
    let differential = |reason: String| Choice { method: Method::Differential, reason };
    match strategy {
        Strategy::Full => return full("pg_trickle.refresh_strategy is full".to_owned()),
        Strategy::Differential => return differential("pg_trickle.refresh_strategy is differential".to_owned()),
        Strategy::Auto => {}
    }
    let changed = facts.changed_rows;
    if max_change_ratio > 0.0 {
        let few = changed <= FEW_ROWS && !facts.costs.knows_deltas(changed);
        if few {
            return differential(format!("{changed} changed rows"));
        }
        if let Some((delta, whole)) = facts.costs.compared(facts.change(max_change_ratio)) {
            let figures = format!("{changed} changed rows count for {delta:.1} ms, a recomputation for {whole:.1} ms");
            return if delta > whole + WORTH_MS { full(figures) } else { differential(figures) };
        }
    }
    let ratio = facts.ratio();
    let figures = format!("{changed} changed rows of about {:.0}, ratio {ratio:.3}", facts.source_rows.max(0.0));
    if ratio > max_change_ratio {
        full(format!("{figures}, is above pg_trickle.differential_max_change_ratio {max_change_ratio}"))
    } else {
        differential(format!("{figures}, is within pg_trickle.differential_max_change_ratio {max_change_ratio}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(strategy: Strategy, changed_rows: u64, source_rows: f64) -> Method {
        choose(strategy, Facts { changed_rows, source_rows, costs: Costs::default() }, 0.15).method
    }

    #[test]
    fn the_ratio_decides_for_auto() {
        assert_eq!(method(Strategy::Auto, 10_000, 1e6), Method::Differential);
        assert_eq!(method(Strategy::Auto, 200_000, 1e6), Method::Full);
        assert_eq!(method(Strategy::Auto, 500, 10.0), Method::Differential, "few rows");
        assert_eq!(method(Strategy::Auto, 100_000, -1.0), Method::Full, "never analysed");
    }

    #[test]
    fn what_was_measured_decides_before_the_ratio() {
        let change = |rows| Facts { changed_rows: rows, source_rows: 1e5, costs: Costs::default() }.change(0.15);
        let known = |fixed: f64, row: f64| {
            let mut costs = Costs::filled(10.0);
            for _ in 0..5 {
                costs = costs.after_differential(change(1), fixed).after_full(change(10_000), 10.0);
                costs = costs.after_differential(change(10_000), fixed + 10_000.0 * row);
            }
            costs
        };
        let method = |costs, changed_rows, ratio| {
            choose(Strategy::Auto, Facts { changed_rows, source_rows: 1e5, costs }, ratio).method
        };
        let costs = known(0.5, 0.001);
        assert_eq!(method(costs, 9_000, 0.15), Method::Differential);
        assert_eq!(method(costs, 12_000, 0.15), Method::Full);
        assert_eq!(method(costs, 1, 0.0), Method::Full, "a limit of 0 asks for recomputation");
        assert_eq!(method(known(2_700.0, 0.0), 1, 0.15), Method::Full, "few rows can take long");
    }

    #[test]
    fn the_strategy_overrides() {
        assert_eq!(method(Strategy::Differential, 1_000_000, 1.0), Method::Differential);
        assert_eq!(method(Strategy::Full, 1, 1e9), Method::Full);
    }
}
