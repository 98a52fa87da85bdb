//! What changed in a stream table's sources between a frontier and a snapshot.

use std::vec::IntoIter;

use pgtrickle_engine::frontier::Frontier;

use crate::error::{Error, Result};
use crate::pg::buffer::{self, Reading};
pub use crate::pg::buffer::{Changes, Wanted};
use crate::pg::snapshot::Snapshot;
use crate::pg::{object, source as facts};

/// The changes of several sources that a snapshot sees and a frontier does not hold. Each buffer is read once: up to the
/// first change when somebody asks whether there is any, and on from there when somebody wants them all.
pub struct Pending<'a> {
    sources: IntoIter<(u32, Wanted)>,
    frontier: &'a Frontier,
    snapshot: &'a Snapshot,
    /// The sources with changes that were looked at, read up to the first of them.
    begun: Vec<(u32, Reading<'a>)>,
}

impl<'a> Pending<'a> {
    pub fn new(sources: Vec<(u32, Wanted)>, frontier: &'a Frontier, snapshot: &'a Snapshot) -> Self {
        Pending { sources: sources.into_iter(), frontier, snapshot, begun: Vec::new() }
    }

    /// Whether any source has changed.
    ///
    /// # Errors
    /// `SourceDropped` (42P01) when one has no buffer, `SourceBusy` (55006) inside a statement that changes it.
    pub fn any(&mut self) -> Result<bool> {
        while self.begun.is_empty() && self.look()? {}
        Ok(!self.begun.is_empty())
    }

    /// The sources that changed, each with the number of its changed rows, which are not read; about that where there are thousands. Rows of
    /// transactions that rolled back may count as well.
    ///
    /// # Errors
    /// As [`Pending::any`].
    pub fn count(&mut self) -> Result<Vec<(u32, u64)>> {
        while self.look()? {}
        Ok(self.begun.iter().map(|(source, reading)| (*source, reading.count())).collect())
    }

    /// The sources that changed, each with its changes.
    ///
    /// # Errors
    /// As [`Pending::any`].
    pub fn read(mut self) -> Result<Vec<(u32, Changes)>> {
        while self.look()? {}
        Ok(self.begun.into_iter().map(|(source, reading)| (source, reading.finish())).collect())
    }

    /// Looks at the next source; false when there is none.
    fn look(&mut self) -> Result<bool> {
        let Some((source, wanted)) = self.sources.next() else { return Ok(false) };
        if let Some(mut reading) = self.begin(source, wanted)?
            && reading.any()
        {
            self.begun.push((source, reading));
        }
        Ok(true)
    }

    fn begin(&self, source: u32, wanted: Wanted) -> Result<Option<Reading<'a>>> {
        let buffer = buffer::find(source)
            .ok_or_else(|| Error::SourceDropped(format!("relation {source} has no change buffer")))?;
        if facts::is_being_written(source) {
            let name = object::name(source).map_or_else(|| source.to_string(), |name| name.name.0);
            return Err(Error::SourceBusy(name));
        }
        Ok(Reading::begin(buffer, self.frontier, self.snapshot, wanted))
    }
}
