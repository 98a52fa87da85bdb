//! Removing from a buffer what every reader has consumed.
//!
//! **Law.** A row may go when it is inside the frontier of every stream table that reads the buffer. A reader without a
//! frontier has consumed nothing: it may be filling itself from a snapshot that does not see the row.
//!
//! **Why no row is lost to a reader that is just being created.** Rows and frontiers are read with one snapshot G. Let row r
//! of transaction X be visible in G and inside every frontier that G shows, and let G not show the new reader N. N
//! locked the source until its creation commits, so X wrote either before N had the lock, and then had ended when N took
//! the snapshot that filled it, which sees r; or after N committed. In that case G, which sees X, sees N as well.
//!
//! A frontier that this transaction has just moved counts: frontier and removal commit together or not at all. Removal
//! inserts nothing and waits for nobody, and writers only insert, so neither ever waits for the other.

use crate::catalog;
use crate::error::Result;
use crate::pg::buffer;
use crate::pg::snapshot::Snapshot;
use pgtrickle_engine::frontier::Frontier;

/// Removes the rows of the buffer of `source` that every reader has consumed, once there are pages of them. `frontier` is that of
/// the stream table `reader`, which has just read the buffer.
///
/// # Errors
/// As [`collect`].
pub fn collect_when_due(source: u32, reader: i64, frontier: &Frontier) -> Result<u64> {
    let Some(buffer) = buffer::find(source).filter(|buffer| buffer::is_removal_due(*buffer, reader, frontier)) else {
        return Ok(0);
    };
    let removed = collect(source)?;
    buffer::note_removal(buffer, reader, frontier);
    Ok(removed)
}

/// Removes the rows of the buffer of `source` that every reader has consumed; returns how many. Does nothing while
/// another session does the same, or when the buffer is empty.
///
/// # Errors
/// `Internal` when a stored frontier does not parse.
pub fn collect(source: u32) -> Result<u64> {
    let Some(buffer) = buffer::find(source) else { return Ok(0) };
    if buffer::is_empty(buffer) {
        return Ok(0);
    }
    let snapshot = Snapshot::latest().advanced();
    let mut frontiers = Vec::new();
    for frontier in catalog::consumer_frontiers(source, &snapshot)? {
        match frontier {
            Some(frontier) => frontiers.push(frontier),
            None => return Ok(0),
        }
    }
    Ok(buffer::remove(buffer, &snapshot, &frontiers))
}
