//! Conditions on a whole query, sub-selects and views included.

use super::unsupported;
use crate::error::{Error, Result};
use crate::pg::analyze::Analysed;
use crate::pg::facts::{self, Facts};
use crate::pg::relation::{Persistence, Relation, RelationKind};
use crate::pg::types;
use pgtrickle_engine::delta::{Program, Stage};
use pgtrickle_engine::query::{Rel, Volatility};

fn refused(construct: impl Into<String>, reason: &str, hint: &str) -> Error {
    Error::Refused { construct: construct.into(), reason: reason.into(), hint: hint.into() }
}

/// Fails when the query's result is not a function of its sources' contents, or when they cannot be watched.
pub(super) fn in_every_mode(analysed: &Analysed<'_>) -> Result<()> {
    let facts = &analysed.facts;
    if facts.modifies {
        let reason = "A defining query is run at every refresh and must only read.";
        return Err(refused("a data-modifying WITH item", reason, "Remove INSERT, UPDATE, DELETE and MERGE."));
    }
    if facts.locks_rows {
        let reason = "A refresh reads one snapshot and locks no rows of its sources.";
        return Err(refused("FOR UPDATE or FOR SHARE", reason, "Remove the locking clause."));
    }
    if facts.samples {
        let reason = "Every run of the query would read other rows.";
        return Err(refused("TABLESAMPLE", reason, "Select rows by a condition on their columns instead."));
    }
    if facts.unordered_limit {
        let reason = "Which rows it keeps is arbitrary.";
        return Err(refused("LIMIT or OFFSET without ORDER BY", reason, "Add an ORDER BY that decides the order."));
    }
    if let Some(column) = &facts.system_column {
        let reason = "System columns change without any change of the row's contents.";
        return Err(refused(format!("the system column \"{column}\""), reason, "Use the table's own columns."));
    }
    if facts.doubled_fields {
        let reason =
            "It would be another value when the query is read again: PostgreSQL prints no two columns with one name.";
        return Err(refused(DOUBLED_FIELDS, reason, "Give the columns of the join or sub-select different names."));
    }
    no_volatile_function(facts)?;
    facts.relations.keys().try_for_each(|relid| watchable(*relid))
}

const DOUBLED_FIELDS: &str = "a whole row with two fields of one name";

fn no_volatile_function(facts: &Facts) -> Result<()> {
    let mut functions = facts.functions.iter().map(|function| facts::function(*function));
    let volatile = functions.find(|function| function.volatility == Volatility::Volatile);
    let name = match (volatile, facts.hidden_volatility) {
        (Some(function), _) => format!("the volatile function {}", function.name),
        (None, Some(Volatility::Volatile)) => "a volatile expression".into(),
        _ => return Ok(()),
    };
    let reason = "It can give another value each time it is called for the same row.";
    let hint = "Compute the value when the row is written, or declare the function STABLE or IMMUTABLE if it is.";
    Err(refused(name, reason, hint))
}

fn watchable(relid: u32) -> Result<()> {
    let relation = Relation::load(relid).ok_or_else(|| Error::SourceDropped(format!("OID {relid}")))?;
    if relation.persistence == Persistence::Temporary {
        let reason = "Other sessions, such as the scheduler's, cannot see its rows.";
        return Err(refused(format!("the temporary relation {}", relation.name), reason, "Use a permanent table."));
    }
    if relation.kind == RelationKind::Other {
        let reason = "It is neither a table nor a view.";
        return Err(refused(format!("the relation {}", relation.name), reason, "Use a table or a view."));
    }
    Ok(())
}

/// Bytes that a statement of a refresh may have.
const LONGEST_STATEMENT: usize = 4 << 20;
/// See [`Program::nested_marks`].
const MOST_NESTED_MARKS: usize = 8;

/// Fails when the compiled query is too large to be run, or when some inner result cannot be stored: tables have no columns
/// of pseudo-types such as anonymous records.
pub(super) fn unmaintainable(tree: &Rel) -> Result<()> {
    // As large as it can become.
    let program = Program::with(tree.clone(), &|_| true);
    if program.nested_marks() > MOST_NESTED_MARKS {
        let message = format!("EXISTS, IN, ANY and ALL as values nest deeper than {MOST_NESTED_MARKS}");
        return Err(Error::TooLarge(message));
    }
    if !program.fits(LONGEST_STATEMENT) {
        let megabytes = LONGEST_STATEMENT >> 20;
        return Err(Error::TooLarge(format!("a refresh would run a statement of more than {megabytes} MB")));
    }
    let stages = program.stages;
    let inner = stages.iter().take(stages.len() - 1).flat_map(Stage::columns);
    match inner.map(|column| column.ty).find(types::is_pseudo) {
        Some(ty) => Err(unsupported(
            format!("a value of pseudo-type {}", ty.sql),
            "It would have to be stored between refreshes, which PostgreSQL does for values of named types only.",
        )),
        None => Ok(()),
    }
}

/// Fails when some value depends on the time, on settings or on who asks, so that stored rows go stale by themselves.
pub(super) fn in_differential_mode(facts: &Facts) -> Result<()> {
    if facts.padded_join_rows {
        let reason = "Where there is no match it is NULL as a whole. Write the join as a sub-select.";
        return Err(unsupported("the row of a join inside an outer join", reason));
    }
    if facts.doubled_fields_in_views {
        return Err(unsupported(DOUBLED_FIELDS, "PostgreSQL prints no two columns with one name."));
    }
    if let Some(construct) = facts.stray_record {
        return Err(unsupported(construct, "Use what is needed of the record instead, its fields or its text."));
    }
    if facts.tells_table {
        let reason = "Captured changes do not tell in which partition or child a row is.";
        return Err(unsupported("tableoid", reason));
    }
    let Some(name) = facts.session_values.first().or(facts.unsteady.first()) else { return Ok(()) };
    let reason = "It is STABLE: its value depends on the time, the settings or other tables, so rows would have to \
                  change without any change of the sources.";
    Err(unsupported(name.clone(), reason))
}
