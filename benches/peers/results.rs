//! What was found, in this run and in those before: a run that measures some of it anew keeps the rest.

use crate::capture::Capture;
use crate::change::Change;
use crate::growth::Growth;
use crate::refresh::Measured;
use crate::shapes::SHAPES;
use crate::visible::Visible;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Something found, and the day.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Dated<T> {
    pub(crate) date: String,
    pub(crate) found: T,
}

/// Everything that is known, and where it is kept.
#[derive(Debug)]
pub(crate) struct Results {
    date: String,
    file: Option<PathBuf>,
    pub(crate) all: Found,
}

impl Results {
    /// What `file` has, to which a run of the day `date` adds.
    pub(crate) fn known(date: &str, file: Option<PathBuf>) -> Result<Results> {
        let all = match file.as_ref().filter(|file| file.exists()) {
            Some(file) => serde_json::from_str(&std::fs::read_to_string(file)?)
                .with_context(|| format!("{} holds no results", file.display()))?,
            None => Found::default(),
        };
        Ok(Results { date: date.to_owned(), file, all })
    }

    pub(crate) fn refreshed(&mut self, shapes: Vec<Measured>) -> Result<()> {
        let shapes = shapes.into_iter().map(|found| self.today(found)).collect();
        self.add(Found { shapes, ..Found::default() })
    }

    pub(crate) fn grown(&mut self, growth: Vec<Growth>) -> Result<()> {
        let growth = growth.into_iter().map(|found| self.today(found)).collect();
        self.add(Found { growth, ..Found::default() })
    }

    pub(crate) fn captured(&mut self, capture: Capture) -> Result<()> {
        self.add(Found { capture: Some(self.today(capture)), ..Found::default() })
    }

    pub(crate) fn shown(&mut self, visible: Visible) -> Result<()> {
        self.add(Found { visible: Some(self.today(visible)), ..Found::default() })
    }

    fn today<T>(&self, found: T) -> Dated<T> {
        Dated { date: self.date.clone(), found }
    }

    /// Writes it down at once: a run may be broken off.
    fn add(&mut self, new: Found) -> Result<()> {
        self.all = new.over(std::mem::take(&mut self.all));
        let Some(file) = &self.file else { return Ok(()) };
        Ok(std::fs::write(file, serde_json::to_string_pretty(&self.all)?)?)
    }
}

/// What was found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Found {
    /// By size, shapes in the order of [`SHAPES`].
    pub(crate) shapes: Vec<Dated<Measured>>,
    pub(crate) growth: Vec<Dated<Growth>>,
    pub(crate) capture: Option<Dated<Capture>>,
    pub(crate) visible: Option<Dated<Visible>>,
}

impl Found {
    /// These results, and those of `old` that are not among them.
    fn over(mut self, old: Found) -> Found {
        for old in old.shapes {
            let of_the_same =
                |new: &&mut Dated<Measured>| (new.found.size, &new.found.shape) == (old.found.size, &old.found.shape);
            match self.shapes.iter_mut().find(of_the_same) {
                Some(new) => new.found.complete(old.found),
                None => self.shapes.push(old),
            }
        }
        let place = |shape: &str| SHAPES.iter().position(|known| known.name == shape);
        self.shapes.sort_by_key(|known| (known.found.size, place(&known.found.shape)));
        for old in old.growth {
            let key = |growth: &Growth| (growth.sizes, growth.shape.clone());
            if self.growth.iter().all(|new| key(&new.found) != key(&old.found)) {
                self.growth.push(old);
            }
        }
        self.growth.sort_by_key(|known| (known.found.sizes, place(&known.found.shape)));
        Found { capture: self.capture.or(old.capture), visible: self.visible.or(old.visible), ..self }
    }

    pub(crate) fn sizes(&self) -> Vec<i64> {
        let mut sizes: Vec<_> = self.shapes.iter().map(|known| known.found.size).collect();
        sizes.dedup();
        sizes
    }

    /// The shapes at one size.
    pub(crate) fn of_size(&self, size: i64) -> impl Iterator<Item = &Measured> {
        self.shapes.iter().map(|known| &known.found).filter(move |measured| measured.size == size)
    }

    /// The changes that were measured at one size.
    pub(crate) fn changes(&self, size: i64) -> impl Iterator<Item = Change> {
        let all = Change::FEW.into_iter().chain(Change::MANY);
        all.filter(move |change| self.of_size(size).any(|measured| measured.costs(*change).is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refresh::Costs;
    use pgtrickle_workload::stats::Spread;
    use std::time::Duration;

    fn measured(shape: &str, size: i64, changes: &[(Change, u64)]) -> Measured {
        let costs = |millis: u64| {
            let spread = Spread::of(&[Duration::from_millis(millis)]).unwrap();
            Costs {
                differential: spread,
                auto: None,
                recomputed: None,
                full: spread,
                concurrent: None,
                floor: None,
                pg_ivm: None,
                capture: None,
            }
        };
        let changes = changes.iter().map(|(change, millis)| (*change, costs(*millis))).collect();
        Measured { shape: shape.to_owned(), size, idle: None, changes }
    }

    #[test]
    fn what_is_measured_anew_replaces_only_itself() {
        let [one, percent] = [Change::Rows(1), Change::Percent(1)];
        let [scan, join] = ["scan", "join"];
        let old = vec![measured(join, 10, &[(one, 1), (percent, 2)]), measured(scan, 20, &[(one, 3)])];
        let new = vec![measured(join, 10, &[(percent, 4)]), measured(scan, 10, &[(one, 5)])];
        let mut results = Results::known("then", None).unwrap();
        results.refreshed(old).unwrap();
        results.date = "now".to_owned();
        results.refreshed(new).unwrap();
        let all = results.all;
        let known: Vec<_> =
            all.shapes.iter().map(|known| (&*known.date, &*known.found.shape, known.found.size)).collect();
        assert_eq!(known, [("now", scan, 10), ("now", join, 10), ("then", scan, 20)]);
        let joined = &all.shapes[1].found;
        let millis = |change| joined.costs(change).map(|costs| costs.differential.median.as_millis());
        assert_eq!([millis(one), millis(percent)], [Some(1), Some(4)]);
        assert_eq!(all.sizes(), [10, 20]);
        assert_eq!(all.changes(10).collect::<Vec<_>>(), [one, percent]);
    }
}
