//! Making and removing the capture of a source: its buffer and its triggers.
//!
//! **Lock order.** The source first (SHARE ROW EXCLUSIVE, which waits for its writers and keeps new ones out, but not its
//! readers), then the buffer. Whoever captures takes the snapshot that fills the stream table *after* [`capture`]: a writer
//! that was there first has committed and is seen by the snapshot, one that comes later fires the triggers. For
//! the same reason no writer is under way when a buffer gets another column.
//!
//! Who adds a reader and who takes one away rewrite the list of readers: between the two locks comes one on the row of
//! `pgt_change_tracking`, so that neither is lost. One who is not the last to leave needs no lock on the source.
//!
//! The objects belong to the extension's owner: the caller may read the source, which was checked when the query was
//! analysed, but need not own it. Triggers go with their table; the buffer depends on the source and goes with it too.
//!
//! A statement trigger fires on the relation that the statement names, so every descendant has its own, which writes the
//! buffer of the source. A partitioned source, and one that has a parent, is captured by row triggers. Of other sources, row
//! triggers are for sessions that replay somebody else's changes (`ENABLE REPLICA`): those fire instead of the others there,
//! never both.

use std::cell::Cell;
use std::collections::BTreeSet;

use pgtrickle_engine::sql::{Ident, QualifiedName};

use crate::catalog::{self, Tracking};
use crate::config::{self, CdcTriggerMode};
use crate::error::{Error, Result};
use crate::names;
use crate::pg::security::RunAs;
use crate::pg::settings::PinnedSettings;
use crate::pg::utility::run;
use crate::pg::{capture as writer, object, source as facts};

/// Captures the columns `attnums` of `source` for the stream table `consumer`, on top of what is captured already.
///
/// # Errors
/// `SourceDropped` (42P01) when it is gone, `SourceChanged` (42P16) when a column is.
pub fn capture(source: u32, attnums: &[i16], consumer: i64) -> Result<()> {
    serve(source, consumer, |tracking| {
        let buffer = names::buffer(source);
        if object::has_column(tracking.buffer, names::ONLY_ANNOUNCED) {
            run(&format!("ALTER TABLE {buffer} RENAME COLUMN {} TO {}", names::ONLY_ANNOUNCED, names::ANNOUNCED));
        }
        let mut columns: BTreeSet<i16> = tracking.columns.iter().copied().collect();
        for attnum in attnums {
            if columns.insert(*attnum) {
                add_column(source, *attnum)?;
            }
        }
        tracking.columns = columns.into_iter().collect();
        Ok(())
    })
}

/// Has every statement on `source` announced to the stream table `consumer`, which takes no rows: it is recomputed.
///
/// # Errors
/// As [`capture`].
pub fn announce(source: u32, consumer: i64) -> Result<()> {
    serve(source, consumer, |tracking| {
        if !is_announced(tracking.buffer) {
            let column = if tracking.consumers.is_empty() { names::ONLY_ANNOUNCED } else { names::ANNOUNCED };
            run(&format!("ALTER TABLE {} ADD COLUMN {column} pg_catalog.bool", names::buffer(source)));
        }
        Ok(())
    })
}

/// Has every REFRESH of the materialized view `source` announced to the stream table `consumer`; an event trigger does it.
///
/// # Errors
/// As [`capture`].
pub fn watch(source: u32, consumer: i64) -> Result<()> {
    serve(source, consumer, |_| Ok(()))
}

/// The materialized view was refreshed: those who watch it are told.
pub fn refreshed(source: u32) {
    writer::announce(source);
}

/// Whether the buffer serves readers that take no rows.
pub(super) fn is_announced(buffer: u32) -> bool {
    [names::ANNOUNCED, names::ONLY_ANNOUNCED].into_iter().any(|column| object::has_column(buffer, column))
}

/// Gives `source` a buffer and triggers, unless it has them, and the buffer what `consumer` needs of it.
fn serve(source: u32, consumer: i64, provide: impl FnOnce(&mut Tracking) -> Result<()>) -> Result<()> {
    let _rights = RunAs::extension();
    let _settings = PinnedSettings::new();
    lock(source)?;
    catalog::lock_tracking(source)?;
    let mut tracking = match catalog::tracking(source)? {
        Some(tracking) => tracking,
        None => Tracking { source, buffer: create_buffer(source)?, columns: Vec::new(), consumers: Vec::new() },
    };
    provide(&mut tracking)?;
    if !tracking.consumers.contains(&consumer) {
        tracking.consumers.push(consumer);
    }
    create_triggers(source)?;
    catalog::save_tracking(&tracking, &names::capture_trigger(source, INSERT.suffix));
    Ok(())
}

/// Ends the capture of `source` for the stream table `consumer`; the last one to leave takes triggers and buffer with it.
/// The source may be gone.
pub fn release(source: u32, consumer: i64) -> Result<()> {
    let _rights = RunAs::extension();
    let others = || {
        catalog::lock_tracking(source)?;
        let tracking = catalog::tracking(source)?;
        let without = |mut tracking: Tracking| {
            tracking.consumers.retain(|other| *other != consumer);
            tracking
        };
        Ok::<Option<Tracking>, Error>(tracking.map(without))
    };
    let Some(mut tracking) = others()? else { return Ok(()) };
    if tracking.consumers.is_empty() {
        // Who comes has locked the source before: so does who goes last, and looks again.
        catalog::unlock_tracking(source)?;
        facts::lock_exclusively(source);
        match others()? {
            Some(now) => tracking = now,
            None => return Ok(()),
        }
    }
    if !tracking.consumers.is_empty() {
        catalog::save_tracking(&tracking, &names::capture_trigger(source, INSERT.suffix));
        return Ok(());
    }
    drop_triggers(source);
    drop_buffer(source);
    catalog::remove_tracking(source);
    Ok(())
}

/// Makes the triggers of `source` anew: for another `pg_trickle.cdc_trigger_mode`.
///
/// # Errors
/// As [`capture`].
pub fn rebuild(source: u32) -> Result<()> {
    let _rights = RunAs::extension();
    lock(source)?;
    drop_triggers(source);
    create_triggers(source).map(|_| ())
}

/// Whether `relation` has, as a descendant or as itself, the capture triggers of `source`.
pub(super) fn is_member(source: u32, relation: u32) -> bool {
    facts::has_trigger(relation, &names::capture_trigger(source, TRUNCATE.suffix))
}

/// What became of the members of a source.
pub(super) struct Adjusted {
    /// Those that have got capture triggers.
    pub came: Vec<u32>,
    /// Those that have lost them.
    pub went: Vec<u32>,
    /// All have got them anew, so that nobody knows who had them.
    pub rebuilt: bool,
}

/// Gives the capture triggers of `source` to those of its `family` that have none, and takes them from what belongs to it no
/// more. Whoever had or gets one is not written by others until the transaction ends: a trigger is made under a SHARE ROW
/// EXCLUSIVE lock, and dropped under an ACCESS EXCLUSIVE one.
///
/// # Errors
/// As [`capture`].
pub(super) fn adjust(source: u32, family: &[u32]) -> Result<Adjusted> {
    let went: Vec<u32> = facts::with_trigger(&names::capture_trigger(source, TRUNCATE.suffix))
        .into_iter()
        .filter(|relation| !family.contains(relation))
        .collect();
    went.iter().for_each(|relation| drop_triggers_of(source, *relation));
    let first = names::capture_trigger(source, INSERT.suffix);
    let rebuilt = is_by_row(source) == facts::has_trigger(source, &first);
    let came = match rebuilt {
        true => rebuild(source).map(|()| Vec::new())?,
        false => create_triggers(source)?.into_iter().filter(|member| *member != source).collect(),
    };
    Ok(Adjusted { came, went, rebuilt })
}

fn lock(source: u32) -> Result<()> {
    let name = name_of(source)?;
    if facts::is_matview(source) {
        facts::lock_matview(source);
        return Ok(());
    }
    run(&format!("LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE"));
    // Who waited may have waited for a rename.
    match object::oid(&name) {
        Some(now) if now == source => Ok(()),
        _ => Err(Error::SourceChanged(name.to_string())),
    }
}

fn name_of(relation: u32) -> Result<QualifiedName> {
    object::name(relation).ok_or_else(|| Error::SourceDropped(relation.to_string()))
}

/// Rows are deleted soon after they were inserted and nobody plans a query over them, so VACUUM goes by a number of dead
/// rows and ANALYZE never comes.
fn create_buffer(source: u32) -> Result<u32> {
    let buffer = names::buffer(source);
    // One that nobody knows of came with a restored dump.
    drop_buffer(source);
    run(&format!(
        "CREATE TABLE {buffer} (xid pg_catalog.xid8 NOT NULL, cid pg_catalog.int4 NOT NULL, w pg_catalog.int4 NOT NULL) \
         USING heap WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, \
         autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_threshold = 2147483647)"
    ));
    let relid = object::oid(&buffer).ok_or_else(|| Error::Internal(format!("{buffer} was not created")))?;
    facts::drop_after(relid, source);
    Ok(relid)
}

/// The buffer may have gone with its source.
fn drop_buffer(source: u32) {
    let buffer = names::buffer(source);
    if object::oid(&buffer).is_some() {
        run(&format!("DROP TABLE {buffer}"));
    }
}

fn add_column(source: u32, attnum: i16) -> Result<()> {
    let declaration = facts::column_type(source, attnum)
        .ok_or_else(|| Error::SourceChanged(format!("column {attnum} of {source}")))?;
    run(&format!("ALTER TABLE {} ADD COLUMN c{attnum} {declaration}", names::buffer(source)));
    Ok(())
}

thread_local! {
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, the commands that run are those of this module, which are no news to it.
struct OwnCommands {
    before: bool,
}

impl OwnCommands {
    fn begin() -> Self {
        OwnCommands { before: OWN.replace(true) }
    }
}

impl Drop for OwnCommands {
    fn drop(&mut self) {
        OWN.set(self.before);
    }
}

/// A command of this module is under way.
pub(super) fn is_at_work() -> bool {
    OWN.get()
}

/// A kind of capture trigger.
struct Kind {
    /// The end of its name.
    suffix: &'static str,
    event: &'static str,
    transition_tables: &'static str,
    each: &'static str,
    function: &'static str,
}

const INSERT: Kind = Kind {
    suffix: "ins",
    event: "INSERT",
    transition_tables: "REFERENCING NEW TABLE AS new_rows",
    each: "STATEMENT",
    function: "capture_statement",
};
const UPDATE: Kind = Kind {
    suffix: "upd",
    event: "UPDATE",
    transition_tables: "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    ..INSERT
};
const DELETE: Kind =
    Kind { suffix: "del", event: "DELETE", transition_tables: "REFERENCING OLD TABLE AS old_rows", ..INSERT };
const ROW: Kind = Kind {
    suffix: "row",
    event: "INSERT OR UPDATE OR DELETE",
    transition_tables: "",
    each: "ROW",
    function: "capture_row",
};
const TRUNCATE: Kind = Kind {
    suffix: "truncate",
    event: "TRUNCATE",
    transition_tables: "",
    each: "STATEMENT",
    function: "capture_truncate",
};

/// Rows reach what has a parent through statements on the parent too, whose triggers are not told which of its children a
/// row belongs to; row triggers fire on the relation that holds the row. The transition tables of a partitioned table are
/// not to be trusted: a MERGE that has inserted a row shows it again as the new image of the rows that it updates, and a
/// partition with another order of columns shows no stored generated columns of inserted rows (`tcs_original_insert_tuple`
/// in nodeModifyTable.c).
fn is_by_row(source: u32) -> bool {
    config::cdc_trigger_mode() == CdcTriggerMode::Row || facts::has_parent(source) || facts::is_partitioned(source)
}

/// Creates what is missing on `source` and its descendants, and returns those that had nothing. To wait for a lock on one of them may be to wait for a statement that gives
/// it a child, or takes it away; there is none any more when all of them are locked.
fn create_triggers(source: u32) -> Result<Vec<u32>> {
    let mut came = Vec::new();
    if facts::is_matview(source) {
        return Ok(came);
    }
    let _own = OwnCommands::begin();
    let mut family = facts::members(source);
    loop {
        came.extend(create_on(source, &family)?);
        let now = facts::members(source);
        if now == family {
            return Ok(came);
        }
        came.retain(|member| now.contains(member));
        family.iter().filter(|member| !now.contains(member)).for_each(|member| drop_triggers_of(source, *member));
        family = now;
    }
}

fn create_on(source: u32, family: &[u32]) -> Result<Vec<u32>> {
    let mut came = Vec::new();
    let by_row = is_by_row(source);
    for member in family.iter().copied() {
        let table = name_of(member)?;
        if !by_row {
            for kind in [INSERT, UPDATE, DELETE] {
                create(&kind, member, &table, source, "");
            }
        }
        // Of a row trigger on a partitioned table PostgreSQL makes a copy for every new partition, as the user who makes the
        // partition and may not call the function; a partition gets its own when the statement is over.
        if !facts::is_partitioned(member) {
            create(&ROW, member, &table, source, if by_row { "ALWAYS" } else { "REPLICA" });
        }
        if create(&TRUNCATE, member, &table, source, "ALWAYS") {
            came.push(member);
        }
    }
    Ok(came)
}

/// Whether the trigger had to be created. `enabled` says in which sessions it fires, unless it is the usual ones.
///
/// Only a trigger that writes another relation's buffer has an argument: every statement on a table copies its triggers,
/// names, arguments and all (`CopyTriggerDesc` in trigger.c).
fn create(kind: &Kind, member: u32, table: &QualifiedName, source: u32, enabled: &str) -> bool {
    let name = names::capture_trigger(source, kind.suffix);
    if facts::has_trigger(member, &name) {
        return false;
    }
    let name = Ident::new(name);
    let argument = if member == source { String::new() } else { source.to_string() };
    let Kind { event, transition_tables, each, function, .. } = kind;
    run(&format!(
        "CREATE TRIGGER {name} AFTER {event} ON {table} {transition_tables} FOR EACH {each} \
         EXECUTE FUNCTION {}.{function}({argument})",
        names::SCHEMA
    ));
    if !enabled.is_empty() {
        run(&format!("ALTER TABLE {table} ENABLE {enabled} TRIGGER {name}"));
    }
    true
}

/// Has the triggers of `source` fire in the sessions that they are for again, whatever ALTER TABLE did: DISABLE TRIGGER ALL and USER
/// mean other triggers, and ENABLE TRIGGER ALL would have two of ours fire for one row.
pub(super) fn keep_enabled(source: u32) {
    let _own = OwnCommands::begin();
    for member in facts::members(source) {
        let Some(table) = object::name(member) else { continue };
        let by_statement = facts::has_trigger(member, &names::capture_trigger(source, INSERT.suffix));
        let mut kept = false;
        for kind in [INSERT, UPDATE, DELETE, ROW, TRUNCATE] {
            let name = names::capture_trigger(source, kind.suffix);
            let (wanted, word) = match kind.suffix {
                suffix if suffix == ROW.suffix && by_statement => ('R', "REPLICA "),
                suffix if suffix == ROW.suffix || suffix == TRUNCATE.suffix => ('A', "ALWAYS "),
                _ => ('O', ""),
            };
            if facts::fires(member, &name).is_some_and(|sessions| sessions != wanted) {
                run(&format!("ALTER TABLE {table} ENABLE {word}TRIGGER {}", Ident::new(name)));
                kept = true;
            }
        }
        if kept {
            pgrx::notice!("the triggers of pg_trickle on {table} stay enabled as they were");
        }
    }
}

/// A trigger of this name was dropped, or altered by name, while its table stays.
///
/// # Errors
/// `SourceInUse` (0A000) when it captures changes for somebody.
pub fn trigger_altered(trigger: &str) -> Result<()> {
    let Some(source) = names::captured_by(trigger).filter(|_| !is_at_work()) else { return Ok(()) };
    let Some(tracking) = catalog::tracking(source)? else { return Ok(()) };
    let readers = catalog::readers(source)?;
    match readers.iter().find(|reader| tracking.consumers.contains(&reader.id)) {
        None => Ok(()),
        Some(reader) => {
            let table = object::name(source).map_or_else(|| source.to_string(), |name| name.to_string());
            let purpose = format!("It captures the changes of {table}, which the stream table reads.");
            Err(Error::TriggerInUse { trigger: trigger.into(), table, reader: reader.shown(), purpose })
        }
    }
}

/// The trigger of this name on the relation was dropped, or altered by name.
///
/// # Errors
/// `TriggerInUse` (0A000) when it refuses direct writes to a stream table.
pub fn guard_altered(relation: u32, trigger: &str) -> Result<()> {
    if ![names::GUARD_TRIGGER, names::TRUNCATE_GUARD_TRIGGER].contains(&trigger) || is_at_work() {
        return Ok(());
    }
    match catalog::by_relid(relation)? {
        None => Ok(()),
        Some(table) => Err(Error::TriggerInUse {
            trigger: trigger.into(),
            table: table.name.to_string(),
            reader: table.shown(),
            purpose: "It refuses direct writes to the stream table.".into(),
        }),
    }
}

/// Has the triggers of the stream table `relation` that refuse direct writes fire again in all sessions, as [`keep_enabled`] does
/// for those of a source.
pub fn keep_guarded(relation: u32) {
    let Some(table) = object::name(relation) else { return };
    let _own = OwnCommands::begin();
    let _rights = RunAs::extension();
    for trigger in [names::GUARD_TRIGGER, names::TRUNCATE_GUARD_TRIGGER] {
        if facts::fires(relation, trigger).is_some_and(|sessions| sessions != 'A') {
            run(&format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {}", Ident::new(trigger)));
            pgrx::notice!("the trigger {trigger} of pg_trickle on {table} stays enabled");
        }
    }
}

fn drop_triggers(source: u32) {
    for member in facts::members(source) {
        drop_triggers_of(source, member);
    }
}

fn drop_triggers_of(source: u32, member: u32) {
    let Some(table) = object::name(member) else { return };
    let _own = OwnCommands::begin();
    for kind in [INSERT, UPDATE, DELETE, ROW, TRUNCATE] {
        let name = names::capture_trigger(source, kind.suffix);
        if facts::has_trigger(member, &name) {
            run(&format!("DROP TRIGGER {} ON {table}", Ident::new(name)));
        }
    }
}
