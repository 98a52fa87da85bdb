//! What refreshes of one stream table cost, learned from those that were made.
//!
//! A differential refresh is expected to take `fixed + row · n` for n changed rows, a recomputation what it took. Estimates follow
//! what is measured by [`RATE`] of the difference; one sample moves them no further than if it had been [`CLIP`] times what
//! was expected, so that a slow disk once is not a slow query.
//!
//! Whoever never takes a way never learns that it got better. So the way that is not taken is tried again when what it would cost more
//! has been spent [`TRIES`] times over: trying costs no more than a part in [`TRIES`] of all refreshes. A recomputation that
//! would take many times as long as what is done is not tried.

use serde::{Deserialize, Serialize};

const RATE: f64 = 0.3;
const CLIP: f64 = 4.0;
const TRIES: f64 = 20.0;

/// A recomputation is tried again where it is expected to take no more than so many times what the delta takes.
const CLOSE: f64 = 4.0;

/// So many rows or fewer tell what a delta costs without them.
const FEW_ROWS: u64 = 100;

/// Before so many deltas were measured nothing is concluded: the first ones plan their statements and fill caches.
const SAMPLES: u32 = 3;

/// Times in milliseconds; `None` where nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    pub full_ms: Option<f64>,
    pub fixed_ms: Option<f64>,
    pub row_ms: Option<f64>,
    /// How many deltas were measured, up to [`SAMPLES`].
    pub samples: u32,
    /// What the expected cost of the way that is not taken is multiplied with: less with each refresh the other way.
    pub discount: f64,
}

impl Default for Costs {
    fn default() -> Self {
        Costs { full_ms: None, fixed_ms: None, row_ms: None, samples: 0, discount: 1.0 }
    }
}

/// An estimate after a measurement.
fn learned(known: Option<f64>, ms: f64) -> f64 {
    known.map_or(ms, |known| known + RATE * (ms.min(CLIP * known.max(0.001)) - known))
}

impl Costs {
    /// What a delta of so many changed rows is expected to take.
    pub fn differential_ms(&self, rows: u64) -> Option<f64> {
        let known = self.samples >= SAMPLES && (rows <= FEW_ROWS || self.row_ms.is_some());
        known.then(|| self.fixed_ms.unwrap_or(0.0) + self.row_ms.unwrap_or(0.0) * rows as f64)
    }

    /// Both, differential first, as the choice compares them.
    pub(super) fn compared(&self, rows: u64) -> Option<(f64, f64)> {
        let (delta, full) = (self.differential_ms(rows)?, self.full_ms?);
        Some(if delta > full { (delta * self.discount, full) } else { (delta, full * self.discount) })
    }

    /// After a recomputation that stood for a delta of so many rows; of the first one, that fills the stream table, none.
    pub fn after_full(self, rows: u64, ms: f64) -> Costs {
        let full_ms = learned(self.full_ms, ms);
        let discount = match self.differential_ms(rows) {
            Some(delta) if delta > full_ms => (self.discount - full_ms / (TRIES * delta)).max(0.0),
            _ => 1.0,
        };
        Costs { full_ms: Some(full_ms), discount, ..self }
    }

    /// After a delta of so many rows.
    pub fn after_differential(self, rows: u64, ms: f64) -> Costs {
        let mut costs = Costs { samples: (self.samples + 1).min(SAMPLES), ..self };
        if rows <= FEW_ROWS {
            costs.fixed_ms = Some(match self.fixed_ms {
                Some(fixed) if self.samples < SAMPLES => fixed.min(ms),
                known => learned(known, ms),
            });
        } else {
            let each = (ms - self.fixed_ms.unwrap_or(0.0)).max(0.0) / rows as f64;
            costs.row_ms = Some(learned(self.row_ms, each));
        }
        costs.discount = match (costs.differential_ms(rows), costs.full_ms) {
            (Some(delta), Some(full)) if delta <= full && full <= CLOSE * delta => {
                (self.discount - delta / (TRIES * full)).max(0.0)
            }
            _ => 1.0,
        };
        costs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What 1,000 refreshes of `rows` take, and how many of them are recomputations.
    fn run(mut costs: Costs, rows: u64, delta: f64, full: f64) -> (f64, usize, Costs) {
        let (mut spent, mut recomputed) = (0.0, 0);
        for _ in 0..1000 {
            if costs.compared(rows).is_some_and(|(delta, full)| delta > full) {
                costs = costs.after_full(rows, full);
                spent += full;
                recomputed += 1;
            } else {
                costs = costs.after_differential(rows, delta);
                spent += delta;
            }
        }
        (spent, recomputed, costs)
    }

    #[test]
    fn little_more_is_spent_than_the_better_way_would() {
        for rows in [1, 100, 10_000] {
            for (delta, full) in [(0.3, 1000.0), (10.0, 11.0), (11.0, 10.0), (30.0, 10.0), (500.0, 10.0), (10.0, 35.0)]
            {
                let filled = Costs::default().after_full(0, full * 2.0);
                let (_, _, warm) = run(filled, rows, delta, full);
                let (spent, _, _) = run(warm, rows, delta, full);
                let best = 1000.0 * f64::min(delta, full);
                assert!(spent <= 1.1 * best, "{rows} rows, {delta} and {full} ms: {spent} against {best}");
            }
        }
    }

    #[test]
    fn a_recomputation_that_takes_much_longer_is_never_tried() {
        let (_, recomputed, _) = run(Costs::default().after_full(0, 100.0), 1, 0.4, 100.0);
        assert_eq!(recomputed, 0);
    }

    #[test]
    fn a_slow_sample_changes_nothing() {
        let (_, _, costs) = run(Costs::default().after_full(0, 50.0), 1, 0.4, 50.0);
        let costs = costs.after_differential(1, 400.0);
        assert!(costs.compared(1).is_some_and(|(delta, full)| delta < full), "{costs:?}");
    }

    #[test]
    fn small_and_large_changes_are_told_apart() {
        let mut costs = Costs::default().after_full(0, 80.0);
        for _ in 0..10 {
            costs = costs.after_differential(1, 0.5).after_differential(100_000, 400.0);
        }
        let chosen = |rows| costs.compared(rows).is_some_and(|(delta, full)| delta > full);
        assert!(!chosen(1) && !chosen(1_000) && chosen(100_000), "{costs:?}");
    }

    #[test]
    fn the_better_way_is_found_again() {
        let (_, recomputed, costs) = run(Costs::default().after_full(0, 10.0), 10_000, 50.0, 10.0);
        assert!(recomputed > 950, "{recomputed}");
        let (_, recomputed, _) = run(costs, 10_000, 1.0, 10.0);
        assert!(recomputed < 200, "{recomputed}");
    }
}
