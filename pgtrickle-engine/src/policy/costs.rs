//! What refreshes of one stream table cost, learned from those that were made.
//!
//! Either way takes longer for a larger change: a delta for its rows, a recomputation for those that it finds different. Each is
//! a straight line ([`Line`]), but for what a delta of a few rows takes, which is a value of its own. A sample counts for no more than
//! [`CLIP`] times what was expected, so that a slow disk once is not a slow query.
//!
//! **Law.** Over many refreshes after changes of one size, the time that is spent is at most a tenth above that of the better way. Of
//! several sizes in turn nothing is promised: what is known of a way is a line through sizes where it was taken.
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

/// Changes that differ in size by no more than this part do not tell how the costs grow with it.
const ALIKE: f64 = 0.25;

/// A change, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    pub rows: u64,
    /// What part it is of the change from which on it is to be recomputed while nothing is known.
    pub share: f64,
}

/// Times in milliseconds by the number of changed rows: a point where samples were taken last, and a slope. Samples near the point
/// move it, those far from it turn the line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub rows: f64,
    pub ms: f64,
    /// What each row adds; `None` while all samples were alike.
    each: Option<f64>,
    /// How many there were, up to [`SAMPLES`]; 0: the time is of something else.
    pub samples: u32,
}

impl Line {
    /// Something like it took so long.
    fn like(ms: f64) -> Line {
        Line { rows: 0.0, ms, each: None, samples: 0 }
    }

    /// What each row adds, if nobody knows better `each`; more rows never take less, and none at all not less than nothing.
    fn slope(&self, each: f64) -> f64 {
        self.each.unwrap_or(each).clamp(0.0, (self.ms / self.rows.max(1.0)).max(0.0))
    }

    /// What is expected for so many rows.
    fn at(&self, rows: f64, each: f64) -> f64 {
        (self.ms + self.slope(each) * (rows - self.rows)).max(0.0)
    }

    /// After a measurement.
    fn after(self, rows: u64, ms: f64, each: f64) -> Line {
        let rows = rows as f64;
        if self.samples == 0 {
            return Line { rows, samples: 1, ..Line::like(ms) };
        }
        let expected = self.at(rows, each);
        let (off, ms) = (rows - self.rows, ms.min(CLIP * expected.max(0.001)));
        let mut line = Line { samples: (self.samples + 1).min(SAMPLES), ..self };
        if off.abs() > ALIKE * self.rows {
            let measured = (ms - self.ms) / off;
            line.each = Some(self.each.map_or(measured, |each| each + RATE * (measured - each)));
            // How far off the line was there is mostly its slope's fault.
            line.ms = (line.ms + RATE * (ms - line.at(rows, each))).max(line.ms / 2.0);
        } else {
            let rate = RATE.max(1.0 / f64::from(line.samples));
            line.rows += rate * off;
            line.ms += rate * (self.slope(each) * off + ms - expected);
        }
        line
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
    /// What the expected costs of a way are multiplied with where it is not taken: less with each refresh the other way, until it
    /// is tried.
    pub delta_discount: f64,
    pub full_discount: f64,
}

impl Default for Costs {
    fn default() -> Self {
        Costs { full: None, fixed_ms: None, samples: 0, many: None, delta_discount: 1.0, full_discount: 1.0 }
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
        Some((self.fixed_ms.unwrap_or(0.0).max(full.at(change.rows as f64, 0.0) * change.share), 0))
    }

    /// What a delta of many rows is expected to take.
    fn on(&self, many: &Line, rows: u64) -> f64 {
        many.at(rows as f64, self.each(many))
    }

    /// What a row adds to a delta while all that were measured were alike.
    fn each(&self, many: &Line) -> f64 {
        (many.ms - self.fixed_ms.unwrap_or(0.0).min(many.ms)) / many.rows.max(1.0)
    }

    fn full(&self, change: Change) -> Option<(f64, u32)> {
        self.full.map(|full| (full.at(change.rows as f64, 0.0), full.samples))
    }

    /// What a recomputation is expected to take that finds so much changed.
    pub fn full_ms(&self) -> Option<f64> {
        self.full.map(|full| full.ms)
    }

    /// Whether the delta is expected to take longer, where both are known.
    fn is_delta_longer(&self, change: Change) -> Option<bool> {
        Some(self.delta(change)?.0 > self.full(change)?.0)
    }

    /// What both count for, differential first, as the choice compares them.
    pub(super) fn compared(&self, change: Change) -> Option<(f64, f64)> {
        let ((delta, deltas), (full, fulls)) = (self.delta(change)?, self.full(change)?);
        let (more, less) = if delta > full { (self.delta_discount, 1.0) } else { (1.0, self.full_discount) };
        Some((doubted(delta, deltas) * more, doubted(full, fulls) * less))
    }

    /// After a recomputation that stood for a delta.
    pub fn after_full(self, change: Change, ms: f64) -> Costs {
        let mut costs = self;
        costs.full = Some(self.full.unwrap_or(Line::like(ms)).after(change.rows, ms, 0.0));
        if self.is_delta_longer(change) == Some(false) {
            costs.full_discount = 1.0;
        }
        match (costs.delta(change), costs.full(change)) {
            (Some((delta, _)), Some((full, _))) if delta > full => {
                costs.delta_discount = (self.delta_discount - full / (TRIES * delta)).max(0.0);
            }
            _ => {}
        }
        costs
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
            costs.many = Some(known.after(rows, ms, self.each(&known)));
        }
        if self.is_delta_longer(change) == Some(true) {
            costs.delta_discount = 1.0;
        }
        match (costs.delta(change), costs.full(change)) {
            (Some((delta, _)), Some((full, _))) if delta <= full && full <= CLOSE * delta => {
                costs.full_discount = (self.full_discount - delta / (TRIES * full)).max(0.0);
            }
            _ => {}
        }
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

    /// Changes of one size or two, in turn. How the better way of each is found depends on how far the lines are known where they are
    /// not followed, so a few mixtures may take more.
    #[test]
    fn costs_that_grow_with_the_change_are_learned() {
        let (mut all, mut worse) = (0, Vec::new());
        for sizes in [[1, 20_000], [20, 5_000], [2_000, 20_000], [10_000, 50_000], [20_000, 100_000], [60_000, 70_000]]
        {
            for (delta_fixed, delta_row) in [(0.3, 0.001), (0.3, 0.004), (3.0, 0.01)] {
                for (full_fixed, full_row) in [(5.0, 0.0), (5.0, 0.004), (40.0, 0.002), (200.0, 0.0), (200.0, 0.005)] {
                    let delta = |rows: u64| delta_fixed + delta_row * rows as f64;
                    let full = |rows: u64| full_fixed + full_row * rows as f64;
                    let (_, _, warm) = run(Costs::filled(full_fixed * 0.7), &sizes, delta, full);
                    let (spent, _, _) = run(warm, &sizes, delta, full);
                    let ratio = spent / best(&sizes, delta, full);
                    assert!(ratio < 1.5, "{ratio}: {sizes:?}, {delta_fixed} {delta_row}, {full_fixed} {full_row}");
                    all += 1;
                    worse.extend((ratio > 1.1).then_some((ratio, sizes, delta_row, full_fixed, full_row)));
                }
            }
        }
        assert!(worse.len() * 20 <= all, "{worse:?}");
    }

    proptest! {
        /// A small change and then one fifty times as large, which took little longer, was expected to take less than nothing before.
        #[test]
        fn no_sequence_of_changes_takes_less_than_nothing(
            samples in proptest::collection::vec((1u64..1_000_000, 0.01f64..10_000.0, any::<bool>()), 1..60),
        ) {
            let mut costs = Costs::filled(1.0);
            for (rows, ms, full) in samples {
                let change = change(rows);
                costs = if full { costs.after_full(change, ms) } else { costs.after_differential(change, ms) };
                for line in [costs.full, costs.many].into_iter().flatten() {
                    prop_assert!(line.ms > 0.0 && line.at(rows as f64, 0.0) >= 0.0, "{:?}", line);
                }
                prop_assert!(costs.compared(change).is_none_or(|(delta, full)| delta >= 0.0 && full >= 0.0));
            }
        }

        #[test]
        fn the_better_way_for_one_size_is_learned(
            rows in prop_oneof![1u64..100, 1_000u64..20_000, 50_000u64..100_000],
            (delta, full) in (0.2f64..500.0, 0.5f64..500.0),
            fill in 0.3f64..1.5,
        ) {
            let (_, _, warm) = run(Costs::filled(full * fill), &[rows], |_| delta, |_| full);
            let (spent, _, _) = run(warm, &[rows], |_| delta, |_| full);
            prop_assert!(spent <= 1100.0 * delta.min(full), "{} against {}", spent, 1000.0 * delta.min(full));
        }
    }
}
