//! What one transaction changes, and how often that is measured.

use anyhow::Result;
use postgres::{Client, Statement};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt::{Display, Formatter, Result as Formatted};
use std::time::{Duration, Instant};

/// How many rows one transaction changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    Rows(i64),
    Percent(i64),
}

impl Change {
    /// Measured for one relation after the other.
    pub(crate) const FEW: [Change; 3] = [Change::Rows(1), Change::Rows(100), Change::Percent(1)];
    /// Measured for many relations after the same write.
    pub(crate) const MANY: [Change; 2] = [Change::Percent(10), Change::Percent(50)];

    /// Rows of a table of `size`.
    pub(crate) fn rows(self, size: i64) -> i64 {
        match self {
            Change::Rows(rows) => rows,
            Change::Percent(percent) => size * percent / 100,
        }
    }

    /// Samples of something whose cost follows the change.
    pub(crate) fn samples(self, effort: Effort) -> usize {
        match self {
            Change::Rows(1) => effort.many,
            Change::Rows(_) => effort.some,
            Change::Percent(_) => effort.few,
        }
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> Formatted {
        match self {
            Change::Rows(rows) => write!(f, "{rows}"),
            Change::Percent(percent) => write!(f, "{percent} %"),
        }
    }
}

/// How often each thing is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Things that take about a millisecond.
    pub(crate) many: usize,
    /// Things that take tens of milliseconds.
    pub(crate) some: usize,
    /// Things that take as long as the query.
    pub(crate) few: usize,
    /// Changes of a tenth and more.
    pub(crate) large: usize,
    /// What has taken so long for one change is measured no more often than is enough.
    pub(crate) patience: Duration,
}

/// The writing statements, prepared in one session.
pub(crate) struct Writer {
    chosen: Statement,
    share: Statement,
    size: i64,
}

impl Writer {
    pub(crate) fn new(client: &mut Client, size: i64) -> Result<Writer> {
        Ok(Writer {
            chosen: client.prepare("UPDATE fact SET amount = amount + 0.01 WHERE id = ANY($1)")?,
            share: client.prepare(
                "UPDATE fact SET amount = amount + 0.01 WHERE abs(hashint8extended(id, $1) % 100) < $2::bigint",
            )?,
            size,
        })
    }

    /// Changes a few rows of which each thousand consecutive ids have `reach` that count, or one percent of all rows.
    /// Gives the time of the statement.
    pub(crate) fn change_few(&self, client: &mut Client, change: Change, reach: i64) -> Result<Duration> {
        let reach = if matches!(change, Change::Rows(_)) { reach } else { 1000 };
        let (mut random, blocks, wanted) = (rand::rng(), self.size / 1000, change.rows(self.size));
        let mut ids = HashSet::new();
        while i64::try_from(ids.len()).is_ok_and(|drawn| drawn < wanted) {
            ids.insert(random.random_range(0..blocks) * 1000 + random.random_range(0..reach));
        }
        let ids: Vec<i64> = ids.into_iter().collect();
        let begin = Instant::now();
        client.execute(&self.chosen, &[&ids])?;
        Ok(begin.elapsed())
    }

    /// Changes about so many percent of all rows.
    pub(crate) fn change_share(&self, client: &mut Client, percent: i64) -> Result<()> {
        client.execute(&self.share, &[&rand::rng().random::<i64>(), &percent])?;
        Ok(())
    }
}
