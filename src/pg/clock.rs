//! The wall clock.

use super::executor::Param;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

/// The time now, not the transaction's start.
pub fn now() -> TimestampWithTimeZone {
    // SAFETY: GetCurrentTimestamp reads the system clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    TimestampWithTimeZone::try_from(now).unwrap_or_else(|_| TimestampWithTimeZone::positive_infinity())
}

/// What `now()` is in this transaction, in microseconds of PostgreSQL's epoch.
pub fn transaction_start() -> i64 {
    // SAFETY: reads a variable of the transaction.
    unsafe { pg_sys::GetCurrentTransactionStartTimestamp() }
}

/// A moment as a parameter of a statement.
pub fn parameter(microseconds: i64) -> Param {
    Param::of(
        TimestampWithTimeZone::try_from(microseconds).unwrap_or_else(|_| TimestampWithTimeZone::positive_infinity()),
    )
}
