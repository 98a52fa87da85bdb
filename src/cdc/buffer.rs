//! What changed in a source between a frontier and a snapshot.

use pgtrickle_engine::frontier::Frontier;

use crate::error::{Error, Result};
use crate::pg::buffer;
pub use crate::pg::buffer::Changes;
use crate::pg::snapshot::Snapshot;

/// The changes of `source` that `snapshot` sees and `frontier` does not hold.
pub fn read_changes(source: u32, frontier: &Frontier, snapshot: &Snapshot) -> Result<Changes> {
    Ok(buffer::read(find(source)?, frontier, snapshot))
}

/// Whether [`read_changes`] would find anything; stops at the first row.
pub fn has_changes(source: u32, frontier: &Frontier, snapshot: &Snapshot) -> Result<bool> {
    Ok(buffer::has_changes(find(source)?, frontier, snapshot))
}

fn find(source: u32) -> Result<u32> {
    buffer::find(source).ok_or_else(|| Error::SourceDropped(format!("relation {source} has no change buffer")))
}
