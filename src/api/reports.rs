//! What is there and how it goes.

use super::arguments::{existing, maintained, name as parse_name};
use crate::config;
use crate::monitor::{auxiliary, explain, health, indexes, validate};
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

/// What would become of the query as a stream table; creates nothing. The first row tells the mode that AUTO would choose.
#[pg_extern(schema = "pgtrickle", strict)]
fn validate_query(
    query: &str,
) -> std::result::Result<
    TableIterator<'static, (name!(check_name, String), name!(result, String), name!(severity, String))>,
    Report,
> {
    let checks = validate::checks(query)?.into_iter();
    Ok(TableIterator::new(checks.map(|check| (check.name.into(), check.result, check.severity.into()))))
}

/// The query after each step of its compilation; creates nothing.
#[pg_extern(schema = "pgtrickle", strict)]
fn explain_query_rewrite(
    query: &str,
) -> std::result::Result<
    TableIterator<'static, (name!(pass_name, String), name!(changed, bool), name!(sql_after, Option<String>))>,
    Report,
> {
    let passes = validate::passes(query)?.into_iter();
    Ok(TableIterator::new(passes.map(|pass| (pass.name.into(), pass.after.is_some(), pass.after))))
}

/// What is stored for the stream table besides its own columns: those of its state tables, and the hash that an index of
/// it is on.
#[pg_extern(schema = "pgtrickle", strict)]
fn list_auxiliary_columns(
    name: &str,
) -> std::result::Result<
    TableIterator<'static, (name!(column_name, String), name!(data_type, String), name!(purpose, String))>,
    Report,
> {
    let columns = auxiliary::columns(&existing(&parse_name(Some(name))?)?)?.into_iter();
    Ok(TableIterator::new(columns.map(|column| (column.name, column.ty, column.purpose))))
}

/// The indexes on sources that refreshes of the stream table, or of any, would use and that are not there.
#[pg_extern(schema = "pgtrickle")]
#[expect(clippy::type_complexity, reason = "the columns of a SQL function")]
fn index_advice(
    name: default!(Option<&str>, "NULL"),
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(stream_table, String),
            name!(source, String),
            name!(columns, Vec<String>),
            name!(source_rows, i64),
            name!(statement, String),
        ),
    >,
    Report,
> {
    let table = name.map(|name| existing(&parse_name(Some(name))?)).transpose()?;
    let rows = indexes::advice(table)?.into_iter();
    Ok(TableIterator::new(rows.map(|row| (row.stream_table, row.source, row.columns, row.rows, row.statement))))
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
