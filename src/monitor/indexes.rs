//! `index_advice`: source columns by which refreshes look rows up and that no index serves.
//!
//! The engine makes the indexes of what it stores itself; a source belongs to somebody else. A delta of one input of a join
//! looks up the other inputs by the columns that the join equates, and a group or a partition that is computed anew is looked up by its columns: without an
//! index, each such refresh reads the whole source.

use crate::catalog::{self, StreamTable};
use crate::error::Result;
use crate::pg::object;
use crate::pg::relation::leading_columns;
use crate::refresh;
use std::collections::BTreeSet;

/// An index that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    pub stream_table: String,
    pub source: String,
    pub columns: Vec<String>,
    /// Of the source, as the planner estimates them.
    pub rows: i64,
    /// What would make the index.
    pub statement: String,
}

/// What is missing for `table`, or for every stream table; for the largest sources first.
///
/// # Errors
/// As for a refresh, when what is stored does not fit the sources any more.
pub fn advice(table: Option<StreamTable>) -> Result<Vec<Advice>> {
    let tables = match table {
        Some(table) => vec![table],
        None => catalog::all()?,
    };
    let mut found = Vec::new();
    // One whose source is gone, or that is recomputed in any case, looks nothing up.
    for table in tables.iter().filter(|table| table.refusal.is_none() && object::name(table.relid).is_some()) {
        let prepared = refresh::load(table)?;
        // What a polled source was, which is read in its place, has indexes of its own.
        let probes =
            prepared.program.source_probes().into_iter().filter(|probe| prepared.polled(probe.relid).is_none());
        found.extend(probes.filter_map(|probe| missing(table, probe.relid, &probe.columns, &probe.index?)));
    }
    found.sort_by(|a, b| (b.rows, &a.stream_table, &a.statement).cmp(&(a.rows, &b.stream_table, &b.statement)));
    Ok(found)
}

/// An index that begins with one of the columns serves, whatever else is in it.
fn missing(table: &StreamTable, relid: u32, columns: &BTreeSet<i16>, index: &str) -> Option<Advice> {
    if leading_columns(relid).iter().any(|attnum| columns.contains(attnum)) {
        return None;
    }
    let source = object::name(relid)?;
    Some(Advice {
        stream_table: table.shown(),
        source: format!("{}.{}", source.schema.0, source.name.0),
        columns: columns.iter().filter_map(|attnum| Some(object::column(relid, *attnum)?.name)).collect(),
        rows: object::estimated_rows(relid) as i64,
        statement: format!("CREATE INDEX ON {source} {index}"),
    })
}
