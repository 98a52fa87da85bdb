//! Medians, spread and percentiles of durations.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The middle of the samples; `None` without any.
pub fn median(samples: &[Duration]) -> Option<Duration> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[sorted.len() / 2 - 1] + upper) / 2 })
}

/// The middle of the numbers, the upper one of two; `None` without any.
pub fn middle(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

/// The mean of the middle half: steadier than a median where the clock is coarse, and deaf to the tails. `None` for fewer than four.
pub fn interquartile_mean(mut numbers: Vec<u64>) -> Option<f64> {
    numbers.sort_unstable();
    let quarter = numbers.len() / 4;
    let middle = &numbers[quarter..numbers.len() - quarter];
    (quarter > 0).then(|| middle.iter().sum::<u64>() as f64 / middle.len() as f64)
}

/// What is kept of the samples of one thing.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Spread {
    pub median: Duration,
    /// A quarter of the samples is below, a quarter above these.
    pub quartiles: [Duration; 2],
}

impl Spread {
    /// `None` without samples.
    pub fn of(samples: &[Duration]) -> Option<Spread> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        let quartiles = [sorted[last / 4], sorted[(last * 3).div_ceil(4)]];
        Some(Spread { median: median(samples)?, quartiles })
    }

    /// How many times as long as `other` this takes.
    pub fn against(&self, other: &Spread) -> f64 {
        self.median.as_secs_f64() / other.median.as_secs_f64()
    }

    /// The median and the quartiles, in milliseconds.
    pub fn milliseconds(&self) -> String {
        let [low, high] = self.quartiles.map(milliseconds);
        format!("{} ({low}–{high})", milliseconds(self.median))
    }
}

/// The geometric mean; `None` without any.
pub fn geometric_mean(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let logarithms: Vec<f64> = numbers.into_iter().map(f64::ln).collect();
    let count = logarithms.len();
    (count > 0).then(|| (logarithms.iter().sum::<f64>() / count as f64).exp())
}

/// Durations from a microsecond to a minute, kept to three digits.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Latencies {
        let bounds_are_valid = "1 µs to 60 s with three digits are valid bounds";
        Latencies(Histogram::new_with_bounds(1, 60_000_000, 3).expect(bounds_are_valid))
    }
}

impl Latencies {
    pub fn record(&mut self, duration: Duration) {
        self.0.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    /// Takes in the samples of `other`.
    pub fn add(&mut self, other: &Latencies) {
        let bounds_are_the_same = "all histograms here have the same bounds";
        self.0.add(&other.0).expect(bounds_are_the_same);
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value that `percent` % of the samples do not exceed; `None` without samples.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.value_at_percentile(percent)))
    }
}

/// A duration in milliseconds as people read it: three digits, no more.
pub fn milliseconds(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    match ms {
        ms if ms < 10.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_half_is_deaf_to_the_tails() {
        assert_eq!(interquartile_mean(vec![1, 2, 3]), None);
        assert_eq!(interquartile_mean(vec![1000, 4, 1, 5, 6, 0, 7, 900]), Some(5.5));
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        let samples = [4, 1, 3, 2].map(Duration::from_millis);
        assert_eq!(median(&samples), Some(Duration::from_micros(2500)));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_quartiles_are_samples() {
        let spread = Spread::of(&[9, 1, 5, 3, 7].map(Duration::from_millis)).unwrap();
        assert_eq!(spread.median, Duration::from_millis(5));
        assert_eq!(spread.quartiles, [3, 7].map(Duration::from_millis));
        let spread = Spread::of(&[1, 2].map(Duration::from_millis)).unwrap();
        assert_eq!(spread.quartiles, [1, 2].map(Duration::from_millis));
        assert!(Spread::of(&[]).is_none());
    }

    #[test]
    fn the_geometric_mean_of_a_number_and_its_inverse_is_one() {
        assert!((geometric_mean([4.0, 0.25]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(geometric_mean([]), None);
    }

    #[test]
    fn percentiles_come_from_what_was_recorded() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(50.0), None);
        (1..=100).map(Duration::from_millis).for_each(|sample| latencies.record(sample));
        let p50 = latencies.percentile(50.0).unwrap();
        assert!((p50.as_secs_f64() - 0.050).abs() < 0.001, "{p50:?}");
    }
}
