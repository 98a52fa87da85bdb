//! `explain_st`: how a stream table is maintained, as properties and values.

use crate::catalog::StreamTable;
use crate::pg::object;
use crate::pg::transaction::Caught;
use crate::refresh;
use pgtrickle_engine::delta::{Extent, Identity, Leaf, Program, Storage};
use std::collections::BTreeSet;

/// The rows of `explain_st`.
pub fn properties(
    table: &StreamTable,
    with_analyze: bool,
) -> std::result::Result<Vec<(String, Option<String>)>, Caught> {
    let prepared = refresh::load(table)?;
    let program = &prepared.program;
    let list = |items: Vec<String>| Some(items.join(", "));
    let strategies = program.stages.iter().flat_map(|stage| stage.strategies()).map(String::from);
    let rows = [
        ("pgt_name", Some(table.shown())),
        ("defining_query", Some(prepared.query.clone())),
        ("refresh_mode", Some(table.mode.as_str().into())),
        ("status", Some(table.status.as_str().into())),
        ("is_populated", Some(table.is_populated.to_string())),
        ("dvm_supported", Some(table.refusal.is_none().to_string())),
        ("downgrade_reason", table.refusal.clone()),
        ("operator_tree", Some(stages(program, &prepared.storage))),
        ("state_tables", list(prepared.storage.states.iter().map(ToString::to_string).collect())),
        ("output_columns", list(program.output_names())),
        ("source_oids", list(program.sources().iter().map(u32::to_string).collect())),
        ("storage_identity", Some(identity(program))),
        ("aggregate_strategies", list(strategies.collect())),
        ("frontier", table.frontier.as_ref().and_then(|frontier| serde_json::to_string(frontier).ok())),
        ("effective_refresh_mode", table.effective_mode.clone()),
        (
            "pinned_settings",
            list(prepared.settings.shown().map(|(name, value)| format!("{name} = '{value}'")).collect()),
        ),
    ];
    let mut rows: Vec<(String, Option<String>)> = rows.into_iter().map(|(name, value)| (name.into(), value)).collect();
    rows.extend(deltas(program, &prepared.storage));
    if with_analyze {
        rows.push(("explain_analyze".into(), Some(refresh::explain_analyze(table)?)));
    }
    Ok(rows)
}

fn identity(program: &Program) -> String {
    match &program.identity {
        Identity::Bag => "bag: by the hash of the row".into(),
        Identity::Key(key) => {
            let names: Vec<&str> = key.iter().map(|i| program.output[*i].name.as_str()).collect();
            format!("key ({})", names.join(", "))
        }
    }
}

fn stages(program: &Program, storage: &Storage) -> String {
    let stored = |stage: usize| storage.states.get(stage).unwrap_or(&storage.stream_table);
    let shown = program.stages.iter().enumerate();
    shown.map(|(i, stage)| format!("Stage {i} in {}\n{}", stored(i), stage.explain())).collect()
}

/// One row per source: the statements that run when only it has changed.
fn deltas(program: &Program, storage: &Storage) -> Vec<(String, Option<String>)> {
    let mut rows = Vec::new();
    for source in program.sources() {
        let mut changed = BTreeSet::from([Leaf::Source(source)]);
        let mut statements = Vec::new();
        for stage in 0..program.stages.len() {
            if let Some(sql) = program.maintain(stage, storage, &changed, Extent::Many.into()) {
                changed.insert(Leaf::Stage(stage));
                statements.push(sql);
            }
        }
        let name = object::name(source).map_or_else(|| source.to_string(), |name| name.to_string());
        rows.push(("delta_query".into(), Some(format!("-- when {name} has changed\n{}", statements.join(";\n")))));
    }
    rows
}
