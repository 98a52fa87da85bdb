//! What is there and how it goes.

use super::arguments::{existing, maintained, name as parse_name};
use crate::config;
use crate::monitor::{explain, health};
use crate::pg::report::Report;
use crate::refresh;
use pgrx::prelude::*;

/// The version of the extension's library.
#[pg_extern(schema = "pgtrickle", immutable, parallel_safe)]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// How the stream table is maintained: properties and values.
#[pg_extern(schema = "pgtrickle", strict)]
fn explain_st(
    name: &str,
    with_analyze: default!(bool, "false"),
) -> std::result::Result<TableIterator<'static, (name!(property, String), name!(value, Option<String>))>, Report> {
    let table = existing(&parse_name(Some(name))?)?;
    if with_analyze {
        maintained(&table)?;
    }
    Ok(TableIterator::new(explain::properties(&table, with_analyze)?))
}

/// Compares the stream table with its defining query at one snapshot: how many rows it lacks, how many it should not
/// have. Both are 0 right after a refresh.
#[pg_extern(schema = "pgtrickle", strict)]
fn verify(
    name: &str,
) -> std::result::Result<TableIterator<'static, (name!(rows_missing, i64), name!(rows_extra, i64))>, Report> {
    let table = existing(&parse_name(Some(name))?)?;
    maintained(&table)?;
    let verdict = refresh::verify(&table)?;
    Ok(TableIterator::once((verdict.missing, verdict.extra)))
}

/// The stream tables that `health_check()` calls stale, as `schema.name`.
#[pg_extern(schema = "pgtrickle", stable)]
fn _stale_tables() -> std::result::Result<SetOfIterator<'static, String>, Report> {
    Ok(SetOfIterator::new(health::stale_tables()?))
}

/// `pg_trickle.slot_lag_warning_threshold_mb` in bytes, whether the library was loaded before or is by this call.
#[pg_extern(schema = "pgtrickle", stable)]
fn _slot_lag_warning_bytes() -> i64 {
    i64::from(config::slot_lag_warning_threshold_mb()) << 20
}
