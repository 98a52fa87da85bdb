//! What changed in a source between a frontier and a snapshot.

use pgtrickle_engine::frontier::Frontier;

use crate::error::{Error, Result};
pub use crate::pg::buffer::Changes;
use crate::pg::snapshot::Snapshot;
use crate::pg::{buffer, object, source as facts};

/// The changes of `source` that `snapshot` sees and `frontier` does not hold.
///
/// # Errors
/// `SourceDropped` (42P01) when it has no buffer, `SourceBusy` (55006) inside a statement that changes it.
pub fn read_changes(source: u32, frontier: &Frontier, snapshot: &Snapshot) -> Result<Changes> {
    Ok(buffer::read(find(source)?, frontier, snapshot))
}

/// Whether [`read_changes`] would find anything; stops at the first row.
///
/// # Errors
/// As [`read_changes`].
pub fn has_changes(source: u32, frontier: &Frontier, snapshot: &Snapshot) -> Result<bool> {
    Ok(buffer::has_changes(find(source)?, frontier, snapshot))
}

fn find(source: u32) -> Result<u32> {
    let buffer =
        buffer::find(source).ok_or_else(|| Error::SourceDropped(format!("relation {source} has no change buffer")))?;
    if facts::is_being_written(source) {
        let name = object::name(source).map_or_else(|| source.to_string(), |name| name.name.0);
        return Err(Error::SourceBusy(name));
    }
    Ok(buffer)
}
