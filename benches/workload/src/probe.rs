//! How long from a commit until its effect shows.
//!
//! A probe commits one transaction that leaves a new number in places nobody else writes, and then asks each stream
//! table for that number until it is there. It looks at data as any client does, not at the extension's catalog.

use crate::server::Server;
use anyhow::{Result, bail};
use postgres::{Client, Statement};
use std::time::{Duration, Instant};

/// Between two looks; also the resolution of what is measured.
const PAUSE: Duration = Duration::from_micros(200);
/// A change that has not shown by then counts as lost.
const LIMIT: Duration = Duration::from_secs(60);

/// A place where the number shows.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What the place is called in messages.
    pub name: &'static str,
    /// A query with one boolean: is the number `$1` (a bigint) there?
    pub shows: &'static str,
}

/// Commits numbers and waits for them.
pub struct Probe {
    writer: Client,
    changes: Vec<Statement>,
    reader: Client,
    look: Statement,
    targets: Vec<&'static str>,
    number: i64,
}

impl Probe {
    /// `changes` are the statements of the probing transaction; each takes the number as `$1` (a bigint).
    pub fn new(server: &Server, database: &str, changes: &[&str], targets: &[Target]) -> Result<Probe> {
        let (mut writer, mut reader) = (server.connect(database)?, server.connect(database)?);
        let changes = changes.iter().map(|change| writer.prepare(change)).collect::<Result<_, _>>()?;
        let looks: Vec<String> = targets.iter().map(|target| format!("COALESCE(({}), false)", target.shows)).collect();
        let look = reader.prepare(&format!("SELECT {}", looks.join(", ")))?;
        let targets = targets.iter().map(|target| target.name).collect();
        Ok(Probe { writer, changes, reader, look, targets, number: 0 })
    }

    /// Commits the next number and waits until every target shows it. Gives the time from the commit's answer to the
    /// answer that showed the number, in the order of the targets.
    pub fn round(&mut self) -> Result<Vec<Duration>> {
        self.number += 1;
        let mut transaction = self.writer.transaction()?;
        for change in &self.changes {
            transaction.execute(change, &[&self.number])?;
        }
        transaction.commit()?;
        let committed = Instant::now();
        let mut lags = vec![None; self.targets.len()];
        while lags.contains(&None) {
            let row = self.reader.query_one(&self.look, &[&self.number])?;
            let lag = committed.elapsed();
            for (place, seen) in lags.iter_mut().enumerate() {
                if seen.is_none() && row.try_get(place)? {
                    *seen = Some(lag);
                }
            }
            if lag > LIMIT {
                let late: Vec<_> =
                    self.targets.iter().zip(&lags).filter(|(_, lag)| lag.is_none()).map(|(n, _)| *n).collect();
                bail!("a change committed {LIMIT:?} ago does not show in {}", late.join(", "));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(lags.into_iter().flatten().collect())
    }
}
