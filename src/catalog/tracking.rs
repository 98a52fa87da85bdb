//! `pgtrickle.pgt_change_tracking`: which sources are captured, for whom.

use super::stream_tables::frontiers;
use super::{execute, query};
use crate::error::Result;
use crate::pg::executor::Param;
use crate::pg::lock;
use crate::pg::snapshot::Snapshot;
use crate::pg::table::{self, Key, Lookup, Table};
use pgtrickle_engine::frontier::Frontier;

/// One captured source.
#[derive(Clone, Debug)]
pub struct Tracking {
    pub source: u32,
    pub buffer: u32,
    /// The attribute numbers that the buffer holds.
    pub columns: Vec<i16>,
    /// The stream tables that read it.
    pub consumers: Vec<i64>,
}

static ROWS: Table =
    Table { name: "pgt_change_tracking", columns: &["source_relid", "buffer_relid", "columns", "tracked_by_pgt_ids"] };

/// The row of `source`, if it is captured.
pub fn tracking(source: u32) -> Result<Option<Tracking>> {
    let rows = Lookup::new(&ROWS, 0, Snapshot::next())?.rows(Key::Oid(source), |row| {
        Ok(Tracking { source, buffer: row.required_oid(1)?, columns: row.required(2)?, consumers: row.required(3)? })
    });
    rows.into_iter().next().transpose()
}

/// Keeps others from changing the row of `source`, which may not be there, until the transaction ends; to be called before it is read.
pub fn lock_tracking(source: u32) -> Result<()> {
    lock::lock_row(table::oid(&ROWS)?, source);
    Ok(())
}

/// Gives that back: nothing was changed.
pub fn unlock_tracking(source: u32) -> Result<()> {
    lock::unlock_row(table::oid(&ROWS)?, source);
    Ok(())
}

/// Which of `sources` are captured for the stream table `id`.
pub(super) fn captured(id: i64, sources: impl IntoIterator<Item = u32>) -> Result<Vec<bool>> {
    let mut lookup = Lookup::new(&ROWS, 0, Snapshot::next())?;
    sources.into_iter().map(|source| Ok(consumers(&mut lookup, source)?.contains(&id))).collect()
}

fn consumers(lookup: &mut Lookup, source: u32) -> Result<Vec<i64>> {
    lookup.rows(Key::Oid(source), |row| row.required(3)).into_iter().next().unwrap_or_else(|| Ok(Vec::new()))
}

/// Every captured source.
pub fn tracked_sources() -> Result<Vec<u32>> {
    let sql = "SELECT source_relid FROM pgtrickle.pgt_change_tracking ORDER BY 1";
    query(sql, &[], |row| row.required_oid(0)).into_iter().collect()
}

/// Adds or replaces the row of a source. `trigger` is the name under which its triggers are found.
pub fn save_tracking(tracking: &Tracking, trigger: &str) {
    execute(
        "INSERT INTO pgtrickle.pgt_change_tracking AS t (source_relid, slot_name, buffer_relid, columns, tracked_by_pgt_ids) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (source_relid) DO UPDATE SET slot_name = excluded.slot_name, \
         buffer_relid = excluded.buffer_relid, columns = excluded.columns, \
         tracked_by_pgt_ids = excluded.tracked_by_pgt_ids RETURNING 1",
        &[
            Param::oid(tracking.source),
            Param::of(trigger),
            Param::oid(tracking.buffer),
            Param::of(tracking.columns.clone()),
            Param::of(tracking.consumers.clone()),
        ],
    );
}

pub fn remove_tracking(source: u32) {
    execute("DELETE FROM pgtrickle.pgt_change_tracking WHERE source_relid = $1 RETURNING 1", &[Param::oid(source)]);
}

/// The frontiers of those who read the buffer of `source`, as `snapshot` sees them; `None` for a reader that has none yet.
pub fn consumer_frontiers(source: u32, snapshot: &Snapshot) -> Result<Vec<Option<Frontier>>> {
    let readers = consumers(&mut Lookup::new(&ROWS, 0, snapshot.clone())?, source)?;
    frontiers(&readers, snapshot.clone())
}
