//! `pgtrickle.pgt_refresh_history`: what each refresh did.

use super::execute;
use crate::pg::executor::Param;
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
pub fn record(entry: &HistoryEntry) {
    execute(
        "INSERT INTO pgtrickle.pgt_refresh_history (pgt_id, data_timestamp, start_time, end_time, action, rows_inserted, \
         rows_deleted, delta_row_count, was_full_fallback, status, initiated_by) \
         VALUES ($1, $2, $2, pg_catalog.clock_timestamp(), $3, $4, $5, $6, $7, 'COMPLETED', $8) RETURNING 1",
        &[
            Param::of(entry.pgt_id),
            Param::of(entry.started),
            Param::of(entry.action.as_str()),
            Param::of(entry.inserted),
            Param::of(entry.deleted),
            Param::of(entry.changes),
            Param::of(entry.fell_back),
            Param::of(entry.initiator.as_str()),
        ],
    );
}

/// Writes the row of a refresh that failed, and counts the error.
pub fn record_failure(
    pgt_id: i64,
    started: TimestampWithTimeZone,
    message: &str,
    status: super::Status,
    initiator: Initiator,
) {
    execute(
        "INSERT INTO pgtrickle.pgt_refresh_history (pgt_id, data_timestamp, start_time, end_time, action, status, \
         error_message, initiated_by) \
         VALUES ($1, $2, $2, pg_catalog.clock_timestamp(), 'DIFFERENTIAL', 'FAILED', $3, $4) RETURNING 1",
        &[Param::of(pgt_id), Param::of(started), Param::of(message), Param::of(initiator.as_str())],
    );
    execute(
        "UPDATE pgtrickle.pgt_stream_tables SET consecutive_errors = consecutive_errors + 1, status = $2, \
         last_error_message = $3, last_error_at = pg_catalog.now() WHERE pgt_id = $1 RETURNING 1",
        &[Param::of(pgt_id), Param::of(status.as_str()), Param::of(message)],
    );
}
