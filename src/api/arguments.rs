//! Arguments as the user gave them → values that the rooms below take.

use crate::catalog::{self, StreamTable};
use crate::config;
use crate::error::{Error, Result};
use crate::pg::object;
use pgtrickle_engine::dag::{Schedule, ScheduleError};
use pgtrickle_engine::sql::QualifiedName;

/// `NAMEDATALEN`
const NAME_DATA_LENGTH: usize = 64;

/// `schema.name`, split at the first dot that is not inside quotes; without one the name is in the current schema. A part
/// in double quotes is read as SQL reads it, any other part as it stands.
pub(super) fn name(text: Option<&str>) -> Result<QualifiedName> {
    let text = required("name", text)?;
    let malformed = || Error::InvalidArgument {
        message: format!("\"{text}\" is not a table name"),
        hint: "Write name or schema.name.".into(),
    };
    let (first, rest) = name_part(text).ok_or_else(malformed)?;
    let (schema, name) = match rest.strip_prefix('.') {
        None if rest.is_empty() => (current_schema(&first)?, first),
        None => return Err(malformed()),
        Some(rest) if rest.starts_with('"') => match name_part(rest) {
            Some((name, "")) => (first, name),
            _ => return Err(malformed()),
        },
        Some(rest) => (first, rest.to_string()),
    };
    if schema.is_empty() || name.is_empty() {
        return Err(malformed());
    }
    if let Some(long) = [&schema, &name].into_iter().find(|part| part.len() >= NAME_DATA_LENGTH) {
        return Err(Error::InvalidArgument {
            message: format!("identifier \"{long}\" is too long"),
            hint: format!("Names have at most {} bytes.", NAME_DATA_LENGTH - 1),
        });
    }
    Ok(QualifiedName::new(schema, name))
}

/// The part of a name that `text` begins with, and what follows it; `None` when a quote is not closed.
fn name_part(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        return Some((text[..end].to_string(), &text[end..]));
    };
    let mut part = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"')?;
        part.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                part.push('"');
                rest = after;
            }
            None => return Some((part, after)),
        }
    }
}

fn current_schema(name: &str) -> Result<String> {
    object::current_schema().ok_or_else(|| Error::NoSchema(name.into()))
}

/// # Errors
/// `InvalidArgument` (22023) for NULL.
pub(super) fn required<'a>(argument: &str, value: Option<&'a str>) -> Result<&'a str> {
    value.ok_or_else(|| Error::InvalidArgument {
        message: format!("{argument} must not be NULL"),
        hint: match argument {
            "schedule" => "Use 'calculated' to follow the stream tables that read this one.".into(),
            _ => String::new(),
        },
    })
}

/// The schedule as it is stored: `None` is calculated.
pub(super) fn schedule(text: &str) -> Result<Option<String>> {
    let invalid =
        |error: ScheduleError| Error::InvalidArgument { message: error.to_string(), hint: error.hint().into() };
    let schedule: Schedule = text.parse().map_err(invalid)?;
    schedule.check_minimum(config::min_schedule_seconds() as u32).map_err(invalid)?;
    Ok(schedule.stored())
}

/// The stream table with this name, which the caller owns.
///
/// # Errors
/// `NotFound` (42P01), `NotOwner` (42501).
pub(super) fn owned(name: &QualifiedName) -> Result<StreamTable> {
    let table = existing(name)?;
    // Of a table that was dropped as a table nothing is left to protect.
    match object::name(table.relid).is_none() || object::is_owned_by_caller(table.relid) {
        true => Ok(table),
        false => Err(Error::NotOwner(table.shown())),
    }
}

/// Refuses a caller who may not refresh the stream table.
///
/// # Errors
/// `NotOwner` (42501); `NotFound` (42P01) when the table was dropped and only its listing is left.
pub(super) fn maintained(table: &StreamTable) -> Result<()> {
    if object::name(table.relid).is_none() {
        return Err(Error::NotFound(table.shown()));
    }
    match object::may_maintain(table.relid) {
        true => Ok(()),
        false => Err(Error::NotOwner(table.shown())),
    }
}

/// The stream table with this name.
pub(super) fn existing(name: &QualifiedName) -> Result<StreamTable> {
    catalog::by_name(name)?.ok_or_else(|| Error::NotFound(format!("{}.{}", name.schema.0, name.name.0)))
}

/// Arguments of the SQL surface that this version accepts only with the value that it acts by anyway.
pub(super) fn only(argument: &str, value: Option<&str>, accepted: &[&str]) -> Result<()> {
    match value {
        Some(value) if !accepted.iter().any(|accepted| value.eq_ignore_ascii_case(accepted)) => {
            Err(Error::NotAvailable { argument: argument.into(), value: format!("'{value}'") })
        }
        _ => Ok(()),
    }
}

/// Likewise for an argument that must be left out.
pub(super) fn absent<T: std::fmt::Display>(argument: &str, value: Option<T>) -> Result<()> {
    match value {
        Some(value) => Err(Error::NotAvailable { argument: argument.into(), value: value.to_string() }),
        None => Ok(()),
    }
}
