//! How long a stream table that compares with the clock stays right if its sources stay as they are.
//!
//! Between two clocks nothing happens if no row's comparison flips, and what flips is looked up by the index that finds it for the
//! delta. So the scheduler need not look again before the next row is due: the times ahead are tried from the longest on, and what is
//! found is half the way there, at least.

use super::prepared::Step;
use super::{load, moves_by_itself};
use crate::catalog::{self, StreamTable};
use crate::error::{Error, Result};
use crate::pg::clock;
use crate::pg::object;
use crate::pg::security::RunAs;
use crate::pg::settings::{PinnedSettings, WarmPages, WholeTables};
use crate::pg::snapshot::Snapshot;
use pgrx::datum::TimestampWithTimeZone;

/// Nobody sleeps longer: what computes with the clock may yet surprise when a time zone changes its offset.
const LONGEST_MS: u64 = 60_000;

/// For how many milliseconds from `since` on, when its contents were right, the stream table `id` does not change by itself; `least`
/// and less is not looked at.
///
/// # Errors
/// As the catalog's and those of the query.
pub fn quiet_ms(id: i64, since: TimestampWithTimeZone, least: u64) -> Result<u64> {
    let table = catalog::by_id(id)?.ok_or_else(|| Error::NotFound(id.to_string()))?;
    if !moves_by_itself(&table) {
        return Ok(0);
    }
    let prepared = load(&table)?;
    if !prepared.program.moves_one_way || prepared.program.flips(&prepared.storage).is_none() {
        return Ok(0);
    }
    look(&table, &prepared, i64::from(since), least)
}

fn look(table: &StreamTable, prepared: &super::Prepared, since: i64, least: u64) -> Result<u64> {
    let owner = object::owner(table.relid).ok_or_else(|| Error::NotFound(table.shown()))?;
    let snapshot = Snapshot::take().advanced();
    let _rights = RunAs::owner(owner);
    let _settings = PinnedSettings::of(&prepared.settings);
    let _rows = WholeTables::new();
    let _warm = WarmPages::new();
    let step = || Step::Flip { stored_size: prepared.stored_size() };
    let times = std::iter::successors(Some(LONGEST_MS), |ms| Some(ms / 2)).take_while(|ms| *ms > least.max(1));
    for ms in times {
        let clocks = [since, since.saturating_add_unsigned(ms * 1_000)].map(clock::parameter);
        let statement = prepared.statement_with(step(), &clocks, &[]);
        let flips = statement.query(Some(&snapshot), &clocks, |row| row.get::<bool>(0));
        if flips == [Some(false)] {
            return Ok(ms);
        }
    }
    Ok(0)
}
