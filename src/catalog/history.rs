//! `pgtrickle.pgt_refresh_history`: what each refresh did.

use super::execute;
use crate::error::Result;
use crate::pg::clock;
use crate::pg::executor::Param;
use crate::pg::sequence;
use crate::pg::table::{self, Table};
use pgrx::datum::TimestampWithTimeZone;

/// Who asked for a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator {
    Scheduler,
    Manual,
    Initial,
}

impl Initiator {
    fn as_str(self) -> &'static str {
        match self {
            Initiator::Scheduler => "SCHEDULER",
            Initiator::Manual => "MANUAL",
            Initiator::Initial => "INITIAL",
        }
    }
}

/// What a refresh did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    NoData,
    Full,
    Differential,
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Action::NoData => "NO_DATA",
            Action::Full => "FULL",
            Action::Differential => "DIFFERENTIAL",
        }
    }
}

/// A refresh that completed.
#[derive(Clone, Copy, Debug)]
pub struct HistoryEntry {
    pub pgt_id: i64,
    pub started: TimestampWithTimeZone,
    pub action: Action,
    pub inserted: i64,
    pub deleted: i64,
    /// Rows read from the change buffers.
    pub changes: i64,
    /// Differential was wanted, recomputation was needed.
    pub fell_back: bool,
    pub initiator: Initiator,
}

/// Writes the row of a refresh that completed now.
pub fn record(entry: &HistoryEntry) -> Result<()> {
    static COMPLETED: Table = Table {
        name: "pgt_refresh_history",
        columns: &[
            "refresh_id",
            "pgt_id",
            "data_timestamp",
            "start_time",
            "end_time",
            "action",
            "rows_inserted",
            "rows_deleted",
            "delta_row_count",
            "was_full_fallback",
            "status",
            "initiated_by",
        ],
    };
    let values = [
        (0, Param::of(sequence::next_number("pgt_refresh_history_refresh_id_seq")?)),
        (1, Param::of(entry.pgt_id)),
        (2, Param::of(entry.started)),
        (3, Param::of(entry.started)),
        (4, Param::of(clock::now())),
        (5, Param::of(entry.action.as_str())),
        (6, Param::of(entry.inserted)),
        (7, Param::of(entry.deleted)),
        (8, Param::of(entry.changes)),
        (9, Param::of(entry.fell_back)),
        (10, Param::of("COMPLETED")),
        (11, Param::of(entry.initiator.as_str())),
    ];
    table::insert(&COMPLETED, &values)
}

/// A refresh that failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    pub pgt_id: i64,
    pub started: TimestampWithTimeZone,
    pub message: &'a str,
    /// What becomes of the stream table's status; None: it stays.
    pub status: Option<super::Status>,
    /// Whether it counts towards suspension.
    pub counted: bool,
    pub initiator: Initiator,
}

/// Writes the history row of a refresh that failed, and notes the error in the stream table's row.
pub fn record_failure(failure: &Failure) {
    execute(
        "INSERT INTO pgtrickle.pgt_refresh_history (pgt_id, data_timestamp, start_time, end_time, action, status, \
         error_message, initiated_by) \
         SELECT pgt_id, $2, $2, pg_catalog.clock_timestamp(), 'DIFFERENTIAL', 'FAILED', $3, $4 \
         FROM pgtrickle.pgt_stream_tables WHERE pgt_id = $1 RETURNING 1",
        &[
            Param::of(failure.pgt_id),
            Param::of(failure.started),
            Param::of(failure.message),
            Param::of(failure.initiator.as_str()),
        ],
    );
    execute(
        "UPDATE pgtrickle.pgt_stream_tables SET consecutive_errors = consecutive_errors + $4, \
         status = coalesce($2, status), last_error_message = $3, last_error_at = pg_catalog.clock_timestamp() WHERE pgt_id = $1 RETURNING 1",
        &[
            Param::of(failure.pgt_id),
            Param::of(failure.status.map(|status| status.as_str().to_owned())),
            Param::of(failure.message),
            Param::of(i32::from(failure.counted)),
        ],
    );
}

/// How many history rows one purge looks at.
pub const PURGE_BATCH: u64 = 10_000;

/// Removes refreshes that began more than `days` days ago, from the oldest ids on and at most [`PURGE_BATCH`]; returns
/// how many. Ids grow with time, so the primary key finds the oldest rows without an index on the time.
pub fn purge_history(days: i32) -> u64 {
    execute(
        "DELETE FROM pgtrickle.pgt_refresh_history WHERE refresh_id IN (SELECT refresh_id FROM \
         pgtrickle.pgt_refresh_history ORDER BY refresh_id LIMIT 10000) \
         AND start_time < pg_catalog.now() - pg_catalog.make_interval(days => $1) RETURNING 1",
        &[Param::of(days)],
    )
}
