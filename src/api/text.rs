//! What expressions of defining queries call.

use crate::error::Error;
use crate::pg::reading::names_clock;
use crate::pg::report::Report;
use pgrx::prelude::*;

/// The text, which a query casts to a date.
///
/// # Errors
/// `MovingText` (0A000) when it names the clock, such as `today`.
#[pg_extern(schema = "pgtrickle", immutable, strict, parallel_safe)]
fn _steady_text(value: &str) -> std::result::Result<String, Report> {
    match names_clock(value) {
        true => Err(Error::MovingText(value.into()))?,
        false => Ok(value.into()),
    }
}
