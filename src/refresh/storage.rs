//! The tables of a stream table: the table itself, owned by its creator like any other, and the state tables of its inner
//! stages in `pgtrickle_state`, owned by the same role and dropped with it, as are the snapshots of polled sources.

use crate::catalog::{self, StreamTable};
use crate::cdc;
use crate::error::{Error, Result};
use crate::names;
use crate::pg::object;
use crate::pg::security::RunAs;
use crate::pg::source::has_trigger;
use crate::pg::utility::run;
use pgtrickle_engine::delta::{Identity, Polled, Program, StageKind, Storage};
use pgtrickle_engine::sql::{Ident, QualifiedName, list};

/// Of a table whose rows are updated where they are: free space lets the first update of each page stay on it, without which the
/// first refreshes of a large table cost more than those of a small one.
const ROOM: &str = "WITH (fillfactor = 90)";

/// Creates the table as the current role, with exactly the query's columns and the index of its identity.
pub(super) fn create_stream_table(name: &QualifiedName, query: &str, program: &Program) -> Result<u32> {
    let columns = list(program.output_names().iter().map(Ident::new));
    let room = if matches!(program.identity, Identity::Key(_)) { ROOM } else { "" };
    run(&format!("CREATE TABLE {name} ({columns}) {room} AS {query} WITH NO DATA"));
    let relid = object::oid(name).ok_or_else(|| Error::Internal(format!("{name} was not created")))?;
    index(name, &program.output_index());
    program.output_probes().iter().for_each(|probe| run(&format!("CREATE INDEX ON {name} {probe}")));
    object::depend_on_collations(relid);
    Ok(relid)
}

/// Creates the state table of each inner stage of the stream table `id`, stored in `relid` and owned by `owner`.
pub(super) fn create_states(id: i64, relid: u32, owner: u32, program: &Program) -> Result<Vec<u32>> {
    let _elevated = RunAs::extension();
    let role = object::role_name(owner).ok_or_else(|| Error::Internal(format!("role {owner} is gone")))?;
    let stream_table = object::name(relid).ok_or_else(|| Error::NotFound(id.to_string()))?;
    let inner = program.stages.len() - 1;
    let storage = Storage { stream_table, states: (0..inner).map(|stage| names::state_table(id, stage)).collect() };
    let mut relids = Vec::new();
    for (stage, table) in storage.states.iter().enumerate() {
        let kept = &program.stages[stage];
        run(&format!("CREATE TABLE {table} {ROOM} AS {} WITH NO DATA", program.content(stage, &storage)));
        if matches!(kept.kind, StageKind::Aggregate(_)) {
            // A count below zero means that a change was applied twice or never made: an error, not a wrong answer.
            run(&format!("ALTER TABLE {table} ADD CHECK (n >= 0)"));
        }
        kept.index().iter().for_each(|columns| index(table, columns));
        program.probes(stage).iter().for_each(|probe| run(&format!("CREATE INDEX ON {table} {probe}")));
        run(&format!("ALTER TABLE {table} OWNER TO {role}"));
        let created = object::oid(table).ok_or_else(|| Error::Internal(format!("{table} was not created")))?;
        object::drop_with(created, relid);
        object::depend_on_collations(created);
        relids.push(created);
    }
    Ok(relids)
}

/// Creates the table in which the stream table `id`, stored in `relid` and owned by `owner`, keeps what `source` was.
pub(super) fn create_snapshot(id: i64, relid: u32, owner: u32, source: u32, program: &Program) -> Result<Option<u32>> {
    let table = names::snapshot_table(id, source);
    let Some(polled) = Polled::of(program, source, table.clone()) else { return Ok(None) };
    let _elevated = RunAs::extension();
    let role = object::role_name(owner).ok_or_else(|| Error::Internal(format!("role {owner} is gone")))?;
    run(&format!("CREATE TABLE {table} AS {} WITH NO DATA", polled.definition()));
    polled.indexes(program).iter().for_each(|index| run(&format!("CREATE INDEX ON {table} {index}")));
    run(&format!("ALTER TABLE {table} OWNER TO {role}"));
    let created = object::oid(&table).ok_or_else(|| Error::Internal(format!("{table} was not created")))?;
    object::drop_with(created, relid);
    object::depend_on_collations(created);
    Ok(Some(created))
}

/// Gives what is stored for the stream table to the role that owns it now.
pub fn follow_owner(table: &StreamTable) -> Result<()> {
    let Some(owner) = object::owner(table.relid) else { return Ok(()) };
    let (_, states) = catalog::program(table.id)?;
    let snapshots = catalog::sources_of(table.id)?.into_iter().filter_map(|edge| edge.snapshot);
    let foreign = states.into_iter().chain(snapshots).filter(|relid| object::owner(*relid) != Some(owner));
    let _elevated = RunAs::extension();
    let role = object::role_name(owner).ok_or_else(|| Error::Internal(format!("role {owner} is gone")))?;
    foreign.filter_map(object::name).for_each(|name| run(&format!("ALTER TABLE {name} OWNER TO {role}")));
    Ok(())
}

/// Has direct writes to the stream table `relid` refused, if they are not.
pub(super) fn guard(relid: u32, table: &QualifiedName) {
    let _elevated = RunAs::extension();
    for (trigger, event) in
        [(names::GUARD_TRIGGER, "INSERT OR UPDATE OR DELETE"), (names::TRUNCATE_GUARD_TRIGGER, "TRUNCATE")]
    {
        if has_trigger(relid, trigger) {
            continue;
        }
        let trigger = Ident::new(trigger);
        run(&format!(
            "CREATE TRIGGER {trigger} BEFORE {event} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION pgtrickle.pgt_dml_guard()"
        ));
        run(&format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}"));
    }
    cdc::keep_guarded(relid);
}

/// Gathers the planner's statistics of freshly filled tables.
pub(super) fn analyze(tables: impl IntoIterator<Item = QualifiedName>) {
    for table in tables {
        run(&format!("ANALYZE {table}"));
    }
}

fn index(table: &QualifiedName, (columns, unique): &(String, bool)) {
    run(&format!("CREATE {}INDEX ON {table} ({columns})", if *unique { "UNIQUE " } else { "" }));
}
