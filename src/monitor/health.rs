//! What `health_check()` cannot read from the catalog alone.

use crate::catalog::{self, StreamTable};
use crate::config;
use crate::error::Result;
use crate::pg::clock;
use crate::pg::worker::unix_ms;
use crate::refresh;
use crate::scheduler::intervals;

/// How many intervals the contents may be old while changes wait. One passes before a busy stream table is due again,
/// and its refresh takes time.
const PATIENCE: u64 = 3;

/// The stream tables that their scheduler should have refreshed by now, by schema and name.
///
/// The contents of a stream table whose sources rest grow old and stay right, so age alone says nothing; and one that is
/// suspended or in error is not scheduled. The buffers, which say whether changes wait, are looked at only where the age is
/// reached.
pub fn stale_tables() -> Result<Vec<String>> {
    let tables = catalog::all()?;
    let default_ms = u64::from(config::default_schedule_seconds().unsigned_abs()) * 1_000;
    let intervals = intervals(&tables, &catalog::dependencies()?, default_ms);
    let now = unix_ms(clock::now());
    let mut stale = Vec::new();
    for table in &tables {
        if let Some(interval) = intervals.get(&table.id)
            && is_old(table, *interval, now)
            && refresh::is_behind(table)?
        {
            stale.push(table.shown());
        }
    }
    Ok(stale)
}

/// Never refreshed is as old as can be.
fn is_old(table: &StreamTable, interval_ms: u64, now: i64) -> bool {
    let limit = interval_ms.saturating_mul(PATIENCE);
    table.data_timestamp.is_none_or(|at| now > unix_ms(at).saturating_add_unsigned(limit))
}
