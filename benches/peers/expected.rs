//! What was found when somebody last looked, as ratios and counts that do not depend on the machine, and what has
//! become worse since.

use crate::change::Change;
use crate::refresh::Measured;
use crate::results::Found;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

const AGAINST_REFRESH: &str = "differential refresh / REFRESH MATERIALIZED VIEW";
const GROWTH: &str = "one changed row, largest table / smallest table";
const CAPTURED: &str = "captured insert / bare insert";
const INSTRUCTIONS: &str = "instructions of the compiler";

/// How many times what is expected a value may be: the first three are times, which vary from run to run.
const TOLERANCES: [(&str, f64); 4] = [(AGAINST_REFRESH, 1.6), (GROWTH, 1.6), (CAPTURED, 1.3), (INSTRUCTIONS, 1.02)];

/// Values of one kind by name; smaller is better.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kind {
    tolerance: f64,
    values: BTreeMap<String, f64>,
}

/// Everything that is compared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Expected(BTreeMap<String, Kind>);

impl Expected {
    /// The values of one run.
    pub(crate) fn of(results: &Found, instructions: &[(String, u64)]) -> Expected {
        let mut found = Expected::default();
        let shapes: Vec<_> = results.shapes.iter().map(|known| &known.found).collect();
        let capture = results.capture.as_ref().map(|known| &known.found);
        for Measured { shape, size, changes, .. } in &shapes {
            for (change, costs) in changes {
                found.put(AGAINST_REFRESH, format!("{shape}, {size} rows, {change} changed"), 1.0 / costs.gain());
            }
        }
        found.growth(&shapes);
        for (singles, pair) in capture.iter().flat_map(|capture| &capture.singles) {
            let (columns, writers) = (singles.table.columns(), singles.writers);
            let durable = if singles.durable { ", durable" } else { "" };
            found.put(CAPTURED, format!("one row of {columns} columns, {writers} writers{durable}"), 1.0 / pair.kept);
        }
        for (table, pair) in capture.iter().flat_map(|capture| &capture.bulks) {
            found.put(CAPTURED, format!("many rows of {} columns", table.columns()), 1.0 / pair.kept);
        }
        for (name, count) in instructions {
            found.put(INSTRUCTIONS, name.clone(), *count as f64);
        }
        found
    }

    fn growth(&mut self, shapes: &[&Measured]) {
        let sizes = shapes.iter().map(|measured| measured.size);
        let (Some(small), Some(large)) = (sizes.clone().min(), sizes.max()) else { return };
        let one_row = |measured: &Measured| {
            let (_, costs) = measured.changes.iter().find(|(change, _)| *change == Change::Rows(1))?;
            Some(costs.differential)
        };
        for at_small in shapes.iter().copied().filter(|measured| measured.size == small && small < large) {
            let at_large = shapes.iter().find(|measured| measured.size == large && measured.shape == at_small.shape);
            if let (Some(before), Some(after)) = (one_row(at_small), at_large.and_then(|measured| one_row(measured))) {
                self.put(GROWTH, at_small.shape.clone(), after.against(&before));
            }
        }
    }

    fn put(&mut self, kind: &str, name: String, value: f64) {
        // Four digits are more than the values are good for.
        let digits = 3 - value.abs().log10().floor() as i32;
        let unit = 10_f64.powi(digits);
        let value = if digits > 0 { (value * unit).round() / unit } else { value.round() };
        let tolerance = TOLERANCES.iter().find(|(known, _)| *known == kind).map_or(1.0, |(_, tolerance)| *tolerance);
        let kind = self.0.entry(kind.to_owned()).or_default();
        kind.tolerance = tolerance;
        kind.values.insert(name, value);
    }

    pub(crate) fn read(file: &Path) -> Result<Expected> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Keeps what `file` has of kinds that were not measured.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let mut all = if file.exists() { Expected::read(file)? } else { Expected::default() };
        all.0.extend(self.0.clone());
        Ok(std::fs::write(file, serde_json::to_string_pretty(&all)? + "\n")?)
    }

    /// A line for each value that is worse than expected by more than its tolerance, or has disappeared though others
    /// of its kind were measured.
    pub(crate) fn worse(&self, found: &Expected) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, kind) in &self.0 {
            let Some(measured) = found.0.get(name) else { continue };
            for (what, expected) in &kind.values {
                match measured.values.get(what) {
                    Some(value) if *value <= expected * kind.tolerance => {}
                    Some(value) => lines.push(format!(
                        "{name}: {what}: {value}, expected {expected} (at most {} times as much)",
                        kind.tolerance
                    )),
                    None => lines.push(format!("{name}: {what}: not measured, expected {expected}")),
                }
            }
        }
        lines
    }

    /// How many values of `found` are better than expected by more than the tolerance, and worth writing down.
    pub(crate) fn better(&self, found: &Expected) -> usize {
        let kinds = self.0.iter().filter_map(|(name, kind)| Some((kind, found.0.get(name)?)));
        let better = |(kind, measured): (&Kind, &Kind)| {
            let values = kind.values.iter().filter_map(|(what, expected)| Some((expected, measured.values.get(what)?)));
            values.filter(|(expected, value)| **value * kind.tolerance < **expected).count()
        };
        kinds.map(better).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(values: &[(&str, f64)]) -> Expected {
        let mut expected = Expected::default();
        values.iter().for_each(|(name, value)| expected.put(INSTRUCTIONS, (*name).to_owned(), *value));
        expected
    }

    #[test]
    fn only_what_leaves_its_tolerance_is_worse() {
        let expected = values(&[("a", 1000.0), ("b", 1000.0), ("c", 1000.0)]);
        let worse = expected.worse(&values(&[("a", 1019.0), ("b", 1021.0)]));
        assert_eq!(worse.len(), 2, "{worse:?}");
        assert!(worse[0].contains(": b: 1021, expected 1000") && worse[1].contains(": c: not measured"), "{worse:?}");
        assert!(expected.worse(&Expected::default()).is_empty());
        assert_eq!(expected.better(&values(&[("a", 500.0), ("b", 990.0)])), 1);
    }

    #[test]
    fn values_are_kept_to_four_digits() {
        assert_eq!(values(&[("a", 0.123_456)]), values(&[("a", 0.123_49)]));
        assert_eq!(values(&[("a", 123_456.4)]), values(&[("a", 123_456.0)]));
    }
}
