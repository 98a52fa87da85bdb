//! Full or differential: what is expected to take less ([`Costs`]).
//!
//! A delta costs per changed row, a recomputation per source row; with nothing measured yet, the ratio of the two
//! counts stands in for the ratio of the costs.

use super::Costs;

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
    /// A source was truncated: there is no delta to apply.
    pub truncated: bool,
    /// What earlier refreshes took.
    pub costs: Costs,
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
    if facts.truncated {
        return full("a source was truncated".to_owned());
    }
    match strategy {
        Strategy::Full => return full("pg_trickle.refresh_strategy is full".to_owned()),
        Strategy::Differential => return differential("pg_trickle.refresh_strategy is differential".to_owned()),
        Strategy::Auto => {}
    }
    let changed = facts.changed_rows;
    if max_change_ratio > 0.0
        && let Some((delta, whole)) = facts.costs.compared(changed)
    {
        let figures =
            format!("{changed} changed rows are expected to take {delta:.1} ms, a recomputation {whole:.1} ms");
        return if delta > whole + WORTH_MS { full(figures) } else { differential(figures) };
    }
    if changed <= FEW_ROWS && max_change_ratio > 0.0 {
        return differential(format!("{changed} changed rows"));
    }
    let ratio = changed as f64 / facts.source_rows.max(1.0);
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
        choose(strategy, Facts { changed_rows, source_rows, truncated: false, costs: Costs::default() }, 0.15).method
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
        let costs = Costs { full_ms: Some(10.0), fixed_ms: Some(0.5), row_ms: Some(0.001), samples: 3, discount: 1.0 };
        let method = |changed_rows, ratio| {
            choose(Strategy::Auto, Facts { changed_rows, source_rows: 1e5, truncated: false, costs }, ratio).method
        };
        assert_eq!(method(9_000, 0.15), Method::Differential);
        assert_eq!(method(11_000, 0.15), Method::Full);
        assert_eq!(method(1, 0.0), Method::Full, "a limit of 0 asks for recomputation");
        let slow = Costs { fixed_ms: Some(2_700.0), ..costs };
        let facts = Facts { changed_rows: 1, source_rows: 1e5, truncated: false, costs: slow };
        assert_eq!(choose(Strategy::Auto, facts, 0.15).method, Method::Full, "few rows can take long");
    }

    #[test]
    fn strategy_overrides_but_a_truncated_source_has_no_delta() {
        assert_eq!(method(Strategy::Differential, 1_000_000, 1.0), Method::Differential);
        assert_eq!(method(Strategy::Full, 1, 1e9), Method::Full);
        let truncated = Facts { changed_rows: 1, source_rows: 1e9, truncated: true, costs: Costs::default() };
        assert_eq!(choose(Strategy::Differential, truncated, 0.15).method, Method::Full);
    }
}
