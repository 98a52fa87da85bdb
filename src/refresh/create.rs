//! Creation and removal.
//!
//! The order is the argument: sources are locked against writers (SHARE ROW EXCLUSIVE) and captured *before* the snapshot
//! that fills the table is taken. A writer that was there first has committed when the lock is granted, so the snapshot
//! sees it; one that comes later writes the buffer. Nothing falls between.

use super::{full, load, milliseconds, poll, prepared, storage};
use crate::catalog::{self, Action, HistoryEntry, Initiator, Mode, NewStreamTable, SourceType};
use crate::cdc;
use crate::error::{Error, Result};
use crate::import::{Imported, Source, SourceKind, is_worth_it};
use crate::pg::clock;
use crate::pg::definition;
use crate::pg::function;
use crate::pg::guard::InternalWrites;
use crate::pg::object;
use crate::pg::relation;
use crate::pg::security::RunAs;
use crate::pg::settings::{PinnedSettings, QuerySettings};
use crate::pg::snapshot::Snapshot;
use crate::pg::used_type;
use pgtrickle_engine::delta::{Identity, Program};
use pgtrickle_engine::policy::Costs;
use pgtrickle_engine::query::Rel;
use pgtrickle_engine::sql::QualifiedName;
use std::collections::BTreeSet;
use std::time::Instant;

/// What the user asked for, checked.
pub struct Definition<'a> {
    pub name: QualifiedName,
    pub query: &'a str,
    pub imported: Imported,
    /// `None`: calculated.
    pub schedule: Option<String>,
    pub mode: Mode,
    pub initialize: bool,
}

/// Creates the stream table and, if asked to, fills it. Returns its `pgt_id`.
///
/// # Errors
/// `Unsupported` (0A000) when DIFFERENTIAL is asked for and the query has no delta, `AlreadyExists` and `NameTaken`
/// (42P07), and PostgreSQL's own for missing rights.
pub fn create(definition: Definition) -> Result<i64> {
    let Definition { name, query, imported, schedule, mode, initialize } = definition;
    refuse_taken_name(&name)?;
    // No relation has the name, so a stream table that is found by it was dropped as a table: clear up after it.
    if let Some(gone) = catalog::by_name(&name)? {
        drop_table(gone.id)?;
    }
    let settings = QuerySettings::of_session();
    let _settings = PinnedSettings::new();
    let refusal = refusal(&imported, mode)?;
    let program = compile(&imported, refusal.is_some(), None);
    let relid = storage::create_stream_table(&name, &imported.canonical, &program)?;
    let owner = object::owner(relid).ok_or_else(|| Error::Internal(format!("{name} has no owner")))?;
    let json = serde_json::to_string(&program).map_err(|error| Error::Internal(error.to_string()))?;
    let id = catalog::insert(&NewStreamTable {
        relid,
        name: &name,
        query: &imported.canonical,
        original: query,
        schedule: schedule.as_deref(),
        mode,
        program: &json,
        definition: &imported.definition,
        wording: &definition::wording(&imported.definition)?,
        settings: &settings,
        refusal: refusal.as_deref(),
        has_keyless_source: has_keyless_source(&program),
    })?;
    let states = storage::create_states(id, relid, owner, &program)?;
    catalog::set_state_tables(id, &states);
    storage::guard(relid, &name);
    let capture = match refusal {
        None => Capture::Rows,
        Some(_) if imported.watchable => Capture::News,
        Some(_) => Capture::Nothing,
    };
    depend((id, relid, owner), &imported.sources, capture, &program)?;
    object::depend_on_extension(relid);
    depend_on_keys(relid, &program);
    depend_on_functions(id, relid, &imported.functions);
    depend_on_types(id, relid, &imported.types);
    imported.objects.iter().for_each(|(class, object)| used_type::depend_on_object(relid, *class, *object));
    if initialize {
        fill(id)?;
    }
    Ok(id)
}

/// The program of the query; one that is recomputed is a single step to it. What the planner was asked for `like`, one of the same query, it is not
/// asked again.
pub(super) fn compile(imported: &Imported, recomputed: bool, like: Option<&Program>) -> Program {
    let tree = match &imported.tree {
        Ok(tree) if !recomputed => tree.clone(),
        _ => Rel::Opaque { query: imported.canonical.clone(), columns: imported.outputs.clone() },
    };
    let mut program = match like {
        Some(like) => like.anew(tree),
        None => Program::with(tree, &is_worth_it),
    };
    program.moves_one_way = imported.moves_one_way;
    program
}

/// Why the query can only be recomputed; an error when that is not what the user asked for.
fn refusal(imported: &Imported, mode: Mode) -> Result<Option<String>> {
    match (&imported.tree, mode) {
        (Ok(_), _) => Ok(None),
        (Err(error), Mode::Differential) => Err(error.clone()),
        (Err(error), _) if error.allows_recomputation() => Ok(Some(error.refusal())),
        (Err(error), _) => Err(error.clone()),
    }
}

/// # Errors
/// `SchemaNotFound` (3F000), `AlreadyExists` and `NameTaken` (42P07).
pub fn refuse_taken_name(name: &QualifiedName) -> Result<()> {
    if !object::schema_exists(&name.schema.0) {
        return Err(Error::SchemaNotFound(name.schema.0.clone()));
    }
    match object::oid(name) {
        Some(relid) if catalog::is_stream_table(relid) => {
            Err(Error::AlreadyExists(format!("{}.{}", name.schema.0, name.name.0)))
        }
        Some(_) => Err(Error::NameTaken(format!("{}.{}", name.schema.0, name.name.0))),
        None => Ok(()),
    }
}

/// The stream table finds its rows by a key that follows from keys of its sources, so these must stay.
fn depend_on_keys(relid: u32, program: &Program) {
    if program.identity == Identity::Bag {
        return;
    }
    for scan in program.stages.iter().flat_map(|stage| stage.body.scans()) {
        for key in &scan.keys {
            let mut attnums: Vec<i16> = key.iter().map(|position| scan.columns[*position].attnum).collect();
            attnums.sort_unstable();
            relation::depend_on_key(relid, scan.relid, &attnums);
        }
    }
}

/// The functions must stay, and be called what they are; a change of one has the stream table recomputed.
fn depend_on_functions(id: i64, relid: u32, functions: &[u32]) {
    for called in functions {
        function::depend(relid, *called);
    }
    let names = functions.iter().filter_map(|called| function::name(*called));
    let names: BTreeSet<String> = names.map(|name| format!("{}.{}", name.schema.0, name.name.0)).collect();
    if !names.is_empty() {
        catalog::set_functions(id, &names.into_iter().collect::<Vec<_>>());
    }
}

/// Likewise the types of the values that are read.
fn depend_on_types(id: i64, relid: u32, types: &[u32]) {
    types.iter().for_each(|ty| used_type::depend(relid, *ty));
    let names: BTreeSet<String> = types.iter().map(|ty| used_type::name(*ty)).collect();
    if !names.is_empty() {
        catalog::set_types(id, &names.into_iter().collect::<Vec<_>>());
    }
}

fn has_keyless_source(program: &Program) -> bool {
    program.stages.iter().flat_map(|stage| stage.body.scans()).any(|scan| scan.keys.is_empty())
}

/// What of the sources' changes is captured for a stream table.
#[derive(Clone, Copy)]
enum Capture {
    /// The query has a delta.
    Rows,
    /// It is recomputed, and nothing else can change its result.
    News,
    /// It is recomputed whenever it is due.
    Nothing,
}

/// Records the sources, and captures their changes or keeps what they were. They must stay, as for a view.
///
/// # Errors
/// `SourceDropped` (42P01) when one is gone since the query was analysed, and as those of capture.
fn depend((id, table, owner): (i64, u32, u32), sources: &[Source], capture: Capture, program: &Program) -> Result<()> {
    let mut sources: Vec<&Source> = sources.iter().collect();
    // Locks are taken in one order, so that two creations cannot wait for each other.
    sources.sort_by_key(|source| source.relid);
    for source in sources {
        let relid = source.relid;
        if !object::depend_on_relation(table, relid) {
            return Err(Error::SourceDropped(format!("OID {relid}")));
        }
        let kind = match source.kind {
            SourceKind::Table if catalog::is_stream_table(relid) => SourceType::StreamTable,
            SourceKind::Table => SourceType::Table,
            SourceKind::View => SourceType::View,
            SourceKind::Matview => SourceType::Matview,
            SourceKind::Foreign => SourceType::ForeignTable,
        };
        let columns: Vec<String> =
            source.columns.iter().filter_map(|attnum| object::column_name(relid, *attnum)).collect();
        let snapshot = match capture {
            Capture::Rows if kind.can_be_polled() => storage::create_snapshot(id, table, owner, relid, program)?,
            _ => None,
        };
        catalog::add_dependency(id, relid, kind, &columns, snapshot);
        match capture {
            Capture::Rows if kind.can_be_captured() => cdc::capture(relid, &source.columns, id)?,
            Capture::News if kind.can_be_captured() => cdc::announce(relid, id)?,
            Capture::Rows | Capture::News if kind == SourceType::Matview => cdc::watch(relid, id)?,
            _ => {}
        }
    }
    Ok(())
}

fn fill(id: i64) -> Result<()> {
    let table = catalog::by_id(id)?.ok_or_else(|| Error::Internal(format!("stream table {id} is gone")))?;
    let owner = object::owner(table.relid).ok_or_else(|| Error::NotFound(table.name.to_string()))?;
    let started = clock::now();
    // Newer than the locks on the sources whatever the isolation level: a snapshot that the transaction took before them
    // would miss what was committed in between, and no buffer holds that.
    let snapshot = Snapshot::latest().advanced();
    let mut frontier = snapshot.frontier();
    let prepared = load(&table)?;
    let begun = Instant::now();
    let (inserted, deleted) = {
        let _rights = RunAs::owner(owner);
        let _settings = PinnedSettings::of(&prepared.settings);
        let _writes = InternalWrites::allow(table.relid);
        poll::fill(&table, &snapshot)?;
        full::recompute((&table, &prepared), &snapshot)?
    };
    poll::analyze(&prepared);
    frontier.clock = prepared.reads.clock.then(clock::transaction_start);
    storage::analyze([&prepared.storage.stream_table].into_iter().chain(&prepared.storage.states).cloned());
    let costs = (table.mode == Mode::Auto).then(|| Costs::filled(milliseconds(begun)));
    catalog::save_refresh(&table, &frontier, Action::Full.as_str(), costs.as_ref())?;
    let entry = HistoryEntry {
        pgt_id: id,
        started,
        action: Action::Full,
        inserted,
        deleted,
        changes: 0,
        fell_back: false,
        initiator: Initiator::Initial,
    };
    catalog::record(&entry)?;
    Ok(())
}

/// Drops the stream table, its state, and the capture of sources that nobody else reads. Its dependents are the caller's
/// business.
pub fn drop_table(id: i64) -> Result<()> {
    let table = catalog::by_id(id)?.ok_or_else(|| Error::NotFound(id.to_string()))?;
    let sources = catalog::sources_of(id)?;
    catalog::remove(id);
    for edge in sources.iter().filter(|edge| edge.captured) {
        cdc::release(edge.source, id)?;
    }
    // By what it is called now; it may have been renamed, or dropped as a table.
    if let Some(name) = object::name(table.relid) {
        crate::pg::utility::run(&format!("DROP TABLE {name}"));
    }
    prepared::forget(id);
    Ok(())
}
