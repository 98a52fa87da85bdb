//! The wall clock.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

/// The time now, not the transaction's start.
pub fn now() -> TimestampWithTimeZone {
    // SAFETY: GetCurrentTimestamp reads the system clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    TimestampWithTimeZone::try_from(now).unwrap_or_else(|_| TimestampWithTimeZone::positive_infinity())
}
