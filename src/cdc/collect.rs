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
//! Only frontiers that have committed count, not one that this transaction has just moved: rows are taken off their pages for good
//! (`pg::consumed`), so what this refresh has consumed is removed by a later one. G sees nothing of this
//! transaction's, and is one of the frontiers that a row has to be inside of.
//!
//! Removal inserts nothing and waits for nobody, and writers only insert, so neither ever waits for the other.

use crate::catalog;
use crate::error::Result;
use crate::pg::buffer;
use crate::pg::snapshot::Snapshot;
use pgtrickle_engine::frontier::Frontier;

/// Removes the rows of the buffer of `source` that every reader has consumed, once there are pages of them. `frontier` is that
/// from which the stream table `reader` has just read the buffer.
///
/// # Errors
/// As [`collect`].
pub fn collect_when_due(source: u32, reader: i64, frontier: &Frontier) -> Result<u64> {
    match buffer::find(source).is_some_and(|buffer| buffer::is_removal_due(buffer, reader, frontier)) {
        true => collect(source, reader, Some(frontier)),
        false => Ok(0),
    }
}

/// Removes the rows of the buffer of `source` that every reader has consumed; returns how many. Does nothing while
/// another session does the same, or when the buffer is empty. `frontier` is that of the stream table `reader` before
/// this refresh, if it had one.
///
/// # Errors
/// `Internal` when a stored frontier does not parse.
pub fn collect(source: u32, reader: i64, frontier: Option<&Frontier>) -> Result<u64> {
    let Some(buffer) = buffer::find(source) else { return Ok(0) };
    if buffer::is_empty(buffer) {
        return Ok(0);
    }
    let snapshot = Snapshot::of_others();
    let mut frontiers = vec![snapshot.frontier()];
    for frontier in catalog::consumer_frontiers(source, &snapshot)? {
        match frontier {
            Some(frontier) => frontiers.push(frontier),
            None => return Ok(0),
        }
    }
    let removed = buffer::remove(buffer, &frontiers);
    if let Some(frontier) = frontier {
        buffer::note_removal(buffer, reader, frontier);
    }
    Ok(removed)
}
