//! `pgtrickle.pgt_dependencies`: which stream table reads which relation.

use super::stream_tables::StreamTable;
use super::tracking::captured;
use super::{execute, known, query};
use crate::error::{Error, Result};
use crate::pg::executor::Param;
use crate::pg::snapshot::Snapshot;
use crate::pg::table::{Key, Lookup, Table};
use std::rc::Rc;

/// What kind of relation a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceType {
    Table,
    StreamTable,
    View,
    Matview,
    ForeignTable,
}

impl SourceType {
    pub fn as_str(self) -> &'static str {
        match self {
            SourceType::Table => "TABLE",
            SourceType::StreamTable => "STREAM_TABLE",
            SourceType::View => "VIEW",
            SourceType::Matview => "MATVIEW",
            SourceType::ForeignTable => "FOREIGN_TABLE",
        }
    }

    fn parse(text: &str) -> Result<SourceType> {
        [SourceType::Table, SourceType::StreamTable, SourceType::View, SourceType::Matview, SourceType::ForeignTable]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| Error::Internal(format!("unknown source type {text}")))
    }

    /// Whether triggers can capture its changes.
    pub fn can_be_captured(self) -> bool {
        matches!(self, SourceType::Table | SourceType::StreamTable)
    }

    /// Whether a snapshot of it can be compared with it.
    pub fn can_be_polled(self) -> bool {
        matches!(self, SourceType::Matview | SourceType::ForeignTable)
    }
}

/// One edge.
#[derive(Clone, Debug)]
pub struct Dependency {
    pub pgt_id: i64,
    pub source: u32,
    pub kind: SourceType,
    /// Its change buffer serves the stream table.
    pub captured: bool,
    /// The table that holds what it was at the last look: it is compared, whether a buffer tells when or not.
    pub snapshot: Option<u32>,
}

impl Dependency {
    /// Nobody tells the stream table when this source changes. A view changes when what it reads does, which is a source
    /// of its own.
    pub fn is_unannounced(&self) -> bool {
        !self.captured && self.kind != SourceType::View
    }
}

/// Adds an edge from stream table `id` to its source; `columns` are the names of the columns that the query reads.
pub fn add_dependency(id: i64, source: u32, kind: SourceType, columns: &[String], snapshot: Option<u32>) {
    execute(
        "INSERT INTO pgtrickle.pgt_dependencies (pgt_id, source_relid, source_type, columns_used, snapshot_relid, cdc_mode) \
         VALUES ($1, $2, $3, $4, nullif($5, 0), CASE WHEN $5 = 0 THEN 'TRIGGER' ELSE 'SNAPSHOT' END) RETURNING 1",
        &[
            Param::of(id),
            Param::oid(source),
            Param::of(kind.as_str()),
            Param::of(columns.to_vec()),
            Param::oid(snapshot.unwrap_or(0)),
        ],
    );
}

/// The columns of [`Dependency`], in the order in which [`read`] takes them.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT d.pgt_id, d.source_relid, d.source_type, t.source_relid IS NOT NULL AS captured, d.snapshot_relid ",
            "FROM pgtrickle.pgt_dependencies d LEFT JOIN pgtrickle.pgt_change_tracking t ",
            "ON t.source_relid = d.source_relid AND d.pgt_id = ANY (t.tracked_by_pgt_ids) ",
            $rest
        )
    };
}

/// Every edge.
pub fn dependencies() -> Result<Vec<Dependency>> {
    read(select!("ORDER BY 1, 2"), &[])
}

/// The edges of the stream tables that read `source`.
pub fn consumers(source: u32) -> Result<Vec<Dependency>> {
    read(select!("WHERE d.source_relid = $1 ORDER BY 1"), &[Param::oid(source)])
}

/// The edges from stream table `id` to its sources, by source.
pub fn sources_of(id: i64) -> Result<Vec<Dependency>> {
    static ROWS: Table =
        Table { name: "pgt_dependencies", columns: &["pgt_id", "source_relid", "source_type", "snapshot_relid"] };
    let rows = Lookup::new(&ROWS, 0, Snapshot::next())?.rows(Key::Id(id), |row| {
        Ok(Dependency {
            pgt_id: id,
            source: row.required_oid(1)?,
            kind: SourceType::parse(&row.required::<String>(2)?)?,
            captured: false,
            snapshot: row.oid(3),
        })
    });
    let mut edges: Vec<Dependency> = rows.into_iter().collect::<Result<_>>()?;
    edges.sort_unstable_by_key(|edge| edge.source);
    let captured = captured(id, edges.iter().map(|edge| edge.source))?;
    edges.iter_mut().zip(captured).for_each(|(edge, captured)| edge.captured = captured);
    Ok(edges)
}

/// Likewise of a stream table whose row was read.
pub fn sources_seen(table: &StreamTable) -> Result<Rc<[Dependency]>> {
    known::edges(table, || sources_of(table.id))
}

fn read(sql: &'static str, params: &[Param]) -> Result<Vec<Dependency>> {
    query(sql, params, |row| {
        Ok(Dependency {
            pgt_id: row.required(0)?,
            source: row.required_oid(1)?,
            kind: SourceType::parse(&row.required::<String>(2)?)?,
            captured: row.required(3)?,
            snapshot: row.oid(4),
        })
    })
    .into_iter()
    .collect()
}
