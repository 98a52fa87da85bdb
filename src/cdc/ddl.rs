//! What a change of a source's definition means for those who read it, beyond what PostgreSQL's dependencies refuse.

use crate::catalog::{self, StreamTable, Tracking};
use crate::config;
use crate::error::{Error, Result};
use crate::pg::capture as writer;
use crate::pg::commit::catalog_changed_at_commit;
use crate::pg::definition;
use crate::pg::function;
use crate::pg::object;
use crate::pg::relation::{Generated, Relation};
use crate::pg::rewrite::Alteration;
use crate::pg::source as facts;
use pgtrickle_engine::delta::Program;

/// `relation` is being rewritten: the readers of a source recompute when a column that its buffer holds is computed anew,
/// since no statement on its rows tells; those that take no rows, when any column is. The relation may be a descendant
/// of the source, which has the columns under their names.
///
/// # Errors
/// As the catalog's.
pub fn source_rewritten(relation: u32, alterations: &[Alteration]) -> Result<()> {
    let names: Vec<&String> = alterations.iter().filter_map(recomputed).collect();
    for tracking in tracked()?.iter().filter(|tracking| facts::members(tracking.source).contains(&relation)) {
        let held =
            |attnum: &i16| object::column_name(tracking.source, *attnum).is_some_and(|name| names.contains(&&name));
        if tracking.columns.iter().any(held) {
            writer::mark(tracking.source);
        } else if !names.is_empty() && super::triggers::is_announced(tracking.buffer) {
            writer::announce(tracking.source);
        }
    }
    Ok(())
}

fn recomputed(change: &Alteration) -> Option<&String> {
    match change {
        Alteration::Type(name) | Alteration::Expression(name) => Some(name),
        _ => None,
    }
}

/// The definition of `relation` was altered: refuses what would make its readers wrong without a way to notice. Readers that
/// take no rows are told of any alteration: they may read whole rows, which get another column.
///
/// # Errors
/// `SourceInUse` (0A000), and `FixedDefinition` (0A000) when it is a stream table itself.
pub fn source_altered(relation: u32, alterations: &[Alteration]) -> Result<()> {
    if super::triggers::is_at_work() {
        return Ok(());
    }
    for change in alterations {
        match change {
            Alteration::Trigger(name) => {
                super::triggers::trigger_altered(name)?;
                super::triggers::guard_altered(relation, name)?;
            }
            Alteration::Definition(action) => refuse_redefinition(relation, action)?,
            _ => {}
        }
    }
    for source in altered_sources(relation, alterations)? {
        if alterations.iter().any(|change| matches!(change, Alteration::Type(_))) {
            columns_altered(source)?;
        }
        let Some(tracking) = catalog::tracking(source)? else { continue };
        let readers = catalog::readers(source)?;
        for change in alterations {
            let Some(reason) = objection(source, change) else { continue };
            // Who has no program computes with the new expression.
            let concerned = |reader: &&StreamTable| *change == Alteration::Unlogged || reader.refusal.is_none();
            let mut consumers = readers.iter().filter(|reader| tracking.consumers.contains(&reader.id));
            let found = match change {
                Alteration::Row => first_of_whole_rows(source, consumers)?,
                _ => consumers.find(concerned),
            };
            if let Some(reader) = found {
                let source_name = object::name(source).map_or_else(String::new, |name| name.to_string());
                return Err(Error::SourceInUse { source_name, reader: reader.shown(), reason });
            }
        }
        if super::triggers::is_announced(tracking.buffer) {
            writer::announce(source);
        }
    }
    if alterations.iter().any(|change| matches!(change, Alteration::Row | Alteration::Type(_))) {
        facts::members(relation).into_iter().try_for_each(super::types::rows_changed)?;
    }
    Ok(())
}

/// Columns of the relation, or attributes of the type that it describes, are gone or have other types. For the stream tables that
/// read them nothing that is compiled or stored is made.
///
/// # Errors
/// `SourceInUse` (0A000) while `pg_trickle.block_source_ddl` is on; else the stream table's next refresh fails.
pub fn columns_altered(relation: u32) -> Result<()> {
    let mut readers = catalog::readers_now(relation)?;
    readers.extend(super::types::readers_of_rows(relation)?);
    readers.sort_unstable();
    readers.dedup();
    let mut unfit = Vec::new();
    for reader in readers {
        let Some(what) = definition::misfit(&catalog::definition(reader)?.analysed)? else { continue };
        let table = catalog::by_id(reader)?;
        if config::block_source_ddl() {
            let source_name = object::name(relation).map_or_else(String::new, |name| name.to_string());
            let reader = table.map_or_else(String::new, |table| table.shown());
            return Err(Error::SourceInUse { source_name, reader, reason: format!("The stream table reads {what}.") });
        }
        unfit.push(reader);
    }
    if !unfit.is_empty() {
        catalog::retype(&unfit);
        catalog_changed_at_commit();
    }
    Ok(())
}

/// The `action` would give `relation` other columns, or other rows than a refresh writes.
///
/// # Errors
/// `FixedDefinition` (0A000) when it is a stream table.
pub fn refuse_redefinition(relation: u32, action: &str) -> Result<()> {
    match catalog::by_relid(relation)? {
        None => Ok(()),
        Some(table) => Err(Error::FixedDefinition { name: table.shown(), action: action.into() }),
    }
}

/// The function was created or altered: the stream tables that call it recompute.
///
/// # Errors
/// As the catalog's.
pub fn function_changed(function: u32) -> Result<()> {
    let mut functions = catalog::callers_of(function)?;
    functions.sort_unstable();
    functions.iter().for_each(|caller| function::await_creations(*caller));
    let users = catalog::users_of(&functions)?;
    if !users.is_empty() {
        catalog::reinitialise(&users);
        catalog_changed_at_commit();
    }
    Ok(())
}

/// The view was altered: its columns may have other names, and others' rights on what it reads may count. Its readers recompute.
///
/// # Errors
/// As the catalog's.
pub fn view_altered(view: u32) -> Result<()> {
    let readers = catalog::readers_now(view)?;
    if !readers.is_empty() {
        catalog::retype(&readers);
        catalog_changed_at_commit();
    }
    Ok(())
}

/// A schema, an operator or a collation was altered: the queries that name it, or what is in it, say so in other words.
///
/// # Errors
/// As the catalog's.
pub fn names_changed() -> Result<()> {
    catalog::look_again(&catalog::all_ids()?);
    Ok(())
}

/// The relation and its descendants; for what concerns the rows of one relation, also those that it descends from.
fn altered_sources(relation: u32, alterations: &[Alteration]) -> Result<Vec<u32>> {
    let mut sources = facts::members(relation);
    if alterations.iter().any(|change| matches!(change, Alteration::Row | Alteration::Type(_))) {
        sources.extend(catalog::tables_of_type(relation)?);
    }
    if alterations.contains(&Alteration::Unlogged) {
        let above = |source: &u32| *source != relation && facts::members(*source).contains(&relation);
        sources.extend(catalog::tracked_sources()?.into_iter().filter(above));
    }
    Ok(sources)
}

/// Virtual columns are compiled into the program as what they are computed from, so the program would go on with the
/// old expression; their readers are not recorded, so every reader of the table counts.
fn objection(source: u32, change: &Alteration) -> Option<String> {
    match change {
        Alteration::Unlogged => Some("A crash of the server empties an unlogged table without firing triggers.".into()),
        Alteration::Expression(name) => {
            let is_virtual = Relation::load(source)?
                .columns
                .iter()
                .any(|column| column.name == *name && column.generated == Generated::Virtual);
            is_virtual.then(|| format!("The compiled query contains what column \"{name}\" is computed from."))
        }
        Alteration::Row => {
            Some("The stream table reads whole rows, which would have other columns or another name.".into())
        }
        // Those that are captures are refused by name.
        Alteration::Type(_) | Alteration::Trigger(_) | Alteration::Definition(_) => None,
    }
}

/// The first reader whose program reads rows of the source as values.
fn first_of_whole_rows<'a>(
    source: u32,
    readers: impl Iterator<Item = &'a StreamTable>,
) -> Result<Option<&'a StreamTable>> {
    for reader in readers {
        let program = program_of(reader)?;
        let scans = program.stages.iter().flat_map(|stage| stage.body.scans());
        if scans.into_iter().any(|scan| scan.relid == source && scan.whole) {
            return Ok(Some(reader));
        }
    }
    Ok(None)
}

fn program_of(reader: &StreamTable) -> Result<Program> {
    let (json, _) = catalog::program(reader.id)?;
    serde_json::from_str(&json).map_err(|error| Error::Internal(format!("program does not parse: {error}")))
}

pub(super) fn tracked() -> Result<Vec<Tracking>> {
    catalog::tracked_sources()?.into_iter().filter_map(|source| catalog::tracking(source).transpose()).collect()
}
