//! What refreshes of one stream table cost, learned from those that were made.
//!
//! Either way takes longer for a larger change: a delta for its rows, a recomputation for those that it finds different. Each is
//! a straight line ([`Line`]), but for what a delta of a few rows takes, which is a value of its own. A sample counts for no more than
//! [`CLIP`] times what was expected, so that a slow disk once is not a slow query.
//!
//! **Law.** Over many refreshes the time that is spent is at most a tenth above that of the better way.
//!
//! Whoever never takes a way never learns that it is, or got, better. So what is not known well counts for less than what
//! it is expected to take ([`doubted`]): a way that may be better is tried once or twice. And the way that is not taken is tried again when what it would
//! cost more has been spent [`TRIES`] times over: trying costs no more than a part in [`TRIES`] of all refreshes. A
//! recomputation that would take many times as long as what is done is not tried.
//!
//! The fill of an empty table is no recomputation: it compares nothing, and writes every row. It stands for one until one was measured.
//! A delta that was never measured takes as long as that for the change from which on it is to be recomputed.

use serde::{Deserialize, Serialize};

const RATE: f64 = 0.3;
const CLIP: f64 = 4.0;
const TRIES: f64 = 20.0;

/// A recomputation is tried again where it is expected to take no more than so many times what the delta takes.
const CLOSE: f64 = 4.0;

/// So many rows or fewer tell what a delta costs without them.
const FEW_ROWS: u64 = 100;

/// Before so many small deltas were measured nothing is concluded: the first ones plan their statements and fill caches.
const SAMPLES: u32 = 3;

/// Changes that differ in size by less than this part do not tell how the costs grow with it.
const ALIKE: f64 = 0.25;

/// A change, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    pub rows: u64,
    /// What part it is of the change from which on it is to be recomputed while nothing is known.
    pub share: f64,
}

/// Times in milliseconds by the number of changed rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The middle of the samples, later ones counting more.
    pub rows: f64,
    pub ms: f64,
    /// How far they are spread.
    variance: f64,
    covariance: f64,
    /// How many there were, up to [`SAMPLES`]; 0: the time is of something else.
    pub samples: u32,
}

impl Line {
    /// Something like it took so long.
    fn like(ms: f64) -> Line {
        Line { rows: 0.0, ms, variance: 0.0, covariance: 0.0, samples: 0 }
    }

    /// What is expected for so many rows, when the samples are too much alike if each row adds `each`.
    fn at(&self, rows: u64, each: f64) -> f64 {
        let alike = (ALIKE * self.rows).powi(2);
        let slope = (self.covariance + alike * each) / (self.variance + alike).max(1.0);
        let slope = slope.clamp(0.0, self.ms / self.rows.max(1.0));
        (self.ms + slope * (rows as f64 - self.rows)).max(0.0)
    }

    /// After a measurement, where `expected` was expected.
    fn after(self, rows: u64, ms: f64, expected: f64) -> Line {
        if self.samples == 0 {
            return Line { rows: rows as f64, samples: 1, ..Line::like(ms) };
        }
        let rate = RATE.max(1.0 / f64::from(self.samples + 1));
        let (off, late) = (rows as f64 - self.rows, ms.min(CLIP * expected.max(0.001)) - self.ms);
        Line {
            rows: self.rows + rate * off,
            ms: self.ms + rate * late,
            variance: (1.0 - rate) * (self.variance + rate * off * off),
            covariance: (1.0 - rate) * (self.covariance + rate * off * late),
            samples: (self.samples + 1).min(SAMPLES),
        }
    }
}

/// What is known of the two ways; `None` where nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    pub full: Option<Line>,
    /// Of deltas of a few rows.
    pub fixed_ms: Option<f64>,
    /// How many of these were measured, up to [`SAMPLES`].
    pub samples: u32,
    /// Of deltas of more.
    pub many: Option<Line>,
    /// What the expected cost of the way that is not taken is multiplied with: less with each refresh the other way.
    pub discount: f64,
}

impl Default for Costs {
    fn default() -> Self {
        Costs { full: None, fixed_ms: None, samples: 0, many: None, discount: 1.0 }
    }
}

/// What something counts for that is expected to take so long after so many samples.
fn doubted(ms: f64, samples: u32) -> f64 {
    ms / match samples {
        0 => 4.0,
        1 => 2.0,
        _ => 1.0,
    }
}

impl Costs {
    /// After the first fill, which took so long.
    pub fn filled(ms: f64) -> Costs {
        Costs { full: Some(Line::like(ms)), ..Costs::default() }
    }

    /// Whether a delta of about so many rows was measured.
    pub(super) fn knows_deltas(&self, rows: u64) -> bool {
        if rows <= FEW_ROWS { self.samples >= SAMPLES } else { self.many.is_some() }
    }

    /// What a delta is expected to take, and by how many samples.
    fn delta(&self, change: Change) -> Option<(f64, u32)> {
        if change.rows <= FEW_ROWS {
            return self.fixed_ms.filter(|_| self.samples >= SAMPLES).map(|ms| (ms, SAMPLES));
        }
        if let Some(line) = &self.many {
            return Some((self.on(line, change.rows), line.samples));
        }
        let full = self.full.filter(|full| full.samples > 0)?;
        Some((self.fixed_ms.unwrap_or(0.0).max(full.at(change.rows, 0.0) * change.share), 0))
    }

    /// What a delta of many rows is expected to take.
    fn on(&self, many: &Line, rows: u64) -> f64 {
        let fixed = self.fixed_ms.unwrap_or(0.0).min(many.ms);
        many.at(rows, (many.ms - fixed) / many.rows.max(1.0))
    }

    fn full(&self, change: Change) -> Option<(f64, u32)> {
        self.full.map(|full| (full.at(change.rows, 0.0), full.samples))
    }

    /// What a recomputation is expected to take that finds so much changed.
    pub fn full_ms(&self) -> Option<f64> {
        self.full.map(|full| full.ms)
    }

    /// What both count for, differential first, as the choice compares them.
    pub(super) fn compared(&self, change: Change) -> Option<(f64, f64)> {
        let ((delta, deltas), (full, fulls)) = (self.delta(change)?, self.full(change)?);
        let (more, less) = if delta > full { (self.discount, 1.0) } else { (1.0, self.discount) };
        Some((doubted(delta, deltas) * more, doubted(full, fulls) * less))
    }

    /// After a recomputation that stood for a delta.
    pub fn after_full(self, change: Change, ms: f64) -> Costs {
        let expected = self.full(change).map_or(ms, |(expected, _)| expected);
        let full = self.full.unwrap_or(Line::like(ms)).after(change.rows, ms, expected);
        let known = Costs { full: Some(full), ..self };
        let taken = full.at(change.rows, 0.0);
        let discount = match known.delta(change) {
            Some((delta, _)) if delta > taken => (self.discount - taken / (TRIES * delta)).max(0.0),
            _ => 1.0,
        };
        Costs { discount, ..known }
    }

    /// After a delta.
    pub fn after_differential(self, change: Change, ms: f64) -> Costs {
        let rows = change.rows;
        let mut costs = self;
        if rows <= FEW_ROWS {
            costs.samples = (self.samples + 1).min(SAMPLES);
            costs.fixed_ms = Some(match self.fixed_ms {
                None => ms,
                Some(fixed) if self.samples < SAMPLES => fixed.min(ms),
                Some(fixed) => fixed + RATE * (ms.min(CLIP * fixed.max(0.001)) - fixed),
            });
        } else {
            let known = self.many.unwrap_or(Line::like(ms));
            costs.many = Some(known.after(rows, ms, self.on(&known, rows)));
        }
        costs.discount = match (costs.delta(change), costs.full(change)) {
            (Some((delta, _)), Some((full, _))) if delta <= full && full <= CLOSE * delta => {
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
    use proptest::prelude::*;

    /// Changes of a tenth and of a half of 100,000 rows, when a tenth is the limit.
    fn change(rows: u64) -> Change {
        Change { rows, share: rows as f64 / 1e4 }
    }

    /// What is chosen as `policy::choose` does.
    fn is_full(costs: &Costs, change: Change) -> bool {
        match costs.compared(change) {
            Some((delta, full)) => delta > full,
            None => change.share > 1.0,
        }
    }

    /// What 1,000 refreshes of these sizes in turn take, and how many of them are recomputations.
    fn run(
        mut costs: Costs,
        sizes: &[u64],
        delta: impl Fn(u64) -> f64,
        full: impl Fn(u64) -> f64,
    ) -> (f64, usize, Costs) {
        let (mut spent, mut recomputed) = (0.0, 0);
        for rows in sizes.iter().copied().cycle().take(1000) {
            if is_full(&costs, change(rows)) {
                costs = costs.after_full(change(rows), full(rows));
                spent += full(rows);
                recomputed += 1;
            } else {
                costs = costs.after_differential(change(rows), delta(rows));
                spent += delta(rows);
            }
        }
        (spent, recomputed, costs)
    }

    /// What the better way takes.
    fn best(sizes: &[u64], delta: impl Fn(u64) -> f64, full: impl Fn(u64) -> f64) -> f64 {
        sizes.iter().copied().cycle().take(1000).map(|rows| f64::min(delta(rows), full(rows))).sum()
    }

    #[test]
    fn little_more_is_spent_than_the_better_way_would() {
        for rows in [1, 100, 10_000] {
            for (delta, full) in [(0.3, 1000.0), (10.0, 11.0), (11.0, 10.0), (30.0, 10.0), (500.0, 10.0), (10.0, 35.0)]
            {
                for filled in [full / 4.0, full, full * 2.0] {
                    let (_, _, warm) = run(Costs::filled(filled), &[rows], |_| delta, |_| full);
                    let (spent, _, _) = run(warm, &[rows], |_| delta, |_| full);
                    let best = 1000.0 * f64::min(delta, full);
                    assert!(spent <= 1.1 * best, "{rows} rows, {delta} and {full} ms: {spent} against {best}");
                }
            }
        }
    }

    /// Measured: 100,000 rows as they are, a tenth of them changed or a half.
    #[test]
    fn a_recomputation_takes_longer_than_the_fill() {
        let delta = |rows: u64| if rows < 50_000 { 75.0 } else { 470.0 };
        let full = |rows: u64| if rows < 50_000 { 250.0 } else { 600.0 };
        let mut costs = Costs::filled(60.0);
        for (rows, most) in [(20_000, 3), (100_000, 4)] {
            let mut recomputed = 0;
            for _ in 0..20 {
                let wanted = is_full(&costs, change(rows));
                recomputed += usize::from(wanted);
                costs = match wanted {
                    true => costs.after_full(change(rows), full(rows)),
                    false => costs.after_differential(change(rows), delta(rows)),
                };
            }
            assert!(recomputed <= most, "{recomputed} of {rows} rows: {costs:?}");
        }
    }

    #[test]
    fn a_delta_that_was_never_measured_is_tried() {
        let (_, recomputed, _) = run(Costs::filled(10.0), &[20_000], |_| 20.0, |_| 100.0);
        assert!(recomputed < 60, "{recomputed}");
        let (_, recomputed, _) = run(Costs::filled(10.0), &[100_000], |_| 20.0, |_| 100.0);
        assert!(recomputed < 300, "{recomputed}");
    }

    #[test]
    fn a_recomputation_that_takes_much_longer_is_never_tried() {
        let (_, recomputed, _) = run(Costs::filled(100.0), &[1], |_| 0.4, |_| 100.0);
        assert_eq!(recomputed, 0);
    }

    #[test]
    fn a_slow_sample_changes_nothing() {
        let (_, _, costs) = run(Costs::filled(50.0), &[1], |_| 0.4, |_| 50.0);
        let costs = costs.after_differential(change(1), 400.0);
        assert!(!is_full(&costs, change(1)), "{costs:?}");
    }

    #[test]
    fn small_and_large_changes_are_told_apart() {
        let mut costs = Costs::filled(80.0).after_full(change(100_000), 80.0);
        for _ in 0..10 {
            costs = costs.after_differential(change(1), 0.5).after_differential(change(100_000), 400.0);
        }
        let chosen = |rows| is_full(&costs, change(rows));
        assert!(!chosen(1) && !chosen(1_000) && chosen(100_000), "{costs:?}");
    }

    #[test]
    fn the_better_way_is_found_again() {
        let (_, recomputed, costs) = run(Costs::filled(10.0), &[10_000], |_| 50.0, |_| 10.0);
        assert!(recomputed > 950, "{recomputed}");
        let (_, recomputed, _) = run(costs, &[10_000], |_| 1.0, |_| 10.0);
        assert!(recomputed < 200, "{recomputed}");
    }

    #[test]
    fn survives_json() {
        let (_, _, costs) = run(Costs::filled(10.0), &[1, 10_000], |rows| rows as f64, |_| 10.0);
        let json = serde_json::to_string(&costs).unwrap();
        assert_eq!(serde_json::from_str::<Costs>(&json).unwrap(), costs);
    }

    proptest! {
        /// Whatever either way takes for itself, per row, and whatever the sizes are.
        #[test]
        fn costs_that_grow_with_the_change_are_learned(
            sizes in prop::collection::vec(prop_oneof![1u64..100, 1_000u64..20_000, 50_000u64..100_000], 1..4),
            (delta_fixed, delta_row) in (0.2f64..5.0, 0.0005f64..0.01),
            (full_fixed, full_row) in (5.0f64..300.0, 0.0f64..0.006),
            fill in 0.3f64..1.5,
        ) {
            let delta = |rows: u64| delta_fixed + delta_row * rows as f64;
            let full = |rows: u64| full_fixed + full_row * rows as f64;
            let (_, _, warm) = run(Costs::filled(full_fixed * fill), &sizes, delta, full);
            let (spent, _, _) = run(warm, &sizes, delta, full);
            prop_assert!(spent <= 1.1 * best(&sizes, delta, full), "{} against {}", spent, best(&sizes, delta, full));
        }
    }
}
