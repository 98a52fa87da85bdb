//! What the creator of a stream table should know although the query is accepted.

use crate::catalog::{self, Mode};
use crate::config;
use crate::import::{Imported, Summary};
use crate::pg::relation::{Relation, RelationKind};

/// Rows that a group has on average at least, where a small number of groups is worth a warning.
const LARGE_GROUP: f64 = 10.0;

/// One line for each thing to know, when the query is maintained in `mode`.
pub fn warnings(imported: &Imported, mode: Mode) -> Vec<String> {
    let mut lines = Vec::new();
    if imported.idle_order {
        lines.push("ORDER BY without LIMIT has no effect: a stream table has no order.".into());
    }
    if imported.all_columns {
        lines.push(
            "SELECT * stands for the columns of today: the stream table gets no column that is added later.".into(),
        );
    }
    if imported.tree.is_ok() && mode != Mode::Full {
        lines.extend(keyless_sources(imported));
        lines.extend(rescans(&imported.summary));
        lines.extend(few_groups(&imported.summary));
    }
    lines
}

/// A stream table below has the key that its query gives it; its user cannot add one, nor to what is no table.
fn keyless_sources(imported: &Imported) -> Option<String> {
    let tree = imported.tree.as_ref().ok()?;
    let mut names: Vec<String> = tree
        .scans()
        .into_iter()
        .filter(|scan| !catalog::is_stream_table(scan.relid))
        .filter(|scan| {
            Relation::load(scan.relid).is_some_and(|relation| {
                relation.keys.is_empty()
                    && matches!(relation.kind, RelationKind::Table | RelationKind::PartitionedTable)
            })
        })
        .map(|scan| format!("{}.{}", scan.name.schema.0, scan.name.name.0))
        .collect();
    names.sort();
    names.dedup();
    let names = (!names.is_empty()).then(|| names.join(", "))?;
    Some(format!("no primary key and no unique NOT NULL key: {names}; rows are then found by all of their columns."))
}

fn rescans(summary: &Summary) -> Option<String> {
    let named = summary.calls.iter().filter(|call| call.rescans()).map(|call| match &call.column {
        Some(column) => format!("{column} ({})", call.function),
        None => call.function.clone(),
    });
    let named: Vec<String> = named.collect();
    let named = (!named.is_empty()).then(|| named.join(", "))?;
    Some(format!("computed anew from all rows of each group that changes: {named}."))
}

fn few_groups(summary: &Summary) -> Option<String> {
    let threshold = config::agg_diff_cardinality_threshold();
    let few = |(groups, rows): &&(f64, f64)| *groups < f64::from(threshold) && *rows >= LARGE_GROUP * groups;
    let (groups, rows) = summary.groupings.iter().find(few)?;
    Some(format!(
        "GROUP BY makes about {groups:.0} groups of {rows:.0} rows, fewer than pg_trickle.agg_diff_cardinality_threshold \
         ({threshold}): where most groups change between two refreshes, FULL may cost less."
    ))
}
