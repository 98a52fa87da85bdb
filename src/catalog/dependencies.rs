//! `pgtrickle.pgt_dependencies`: which stream table reads which relation.

use super::{execute, query};
use crate::error::{Error, Result};
use crate::pg::executor::Param;

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

    /// Whether changes of it arrive through a change buffer.
    pub fn is_captured(self) -> bool {
        matches!(self, SourceType::Table | SourceType::StreamTable)
    }
}

/// One edge.
#[derive(Clone, Debug)]
pub struct Dependency {
    pub pgt_id: i64,
    pub source: u32,
    pub kind: SourceType,
}

/// Adds an edge; `columns` are the names of the columns that the query reads.
pub fn add_dependency(edge: &Dependency, columns: &[String]) {
    execute(
        "INSERT INTO pgtrickle.pgt_dependencies (pgt_id, source_relid, source_type, columns_used) VALUES ($1, $2, $3, $4) \
         RETURNING 1",
        &[Param::of(edge.pgt_id), Param::oid(edge.source), Param::of(edge.kind.as_str()), Param::of(columns.to_vec())],
    );
}

/// Every edge.
pub fn dependencies() -> Result<Vec<Dependency>> {
    read("SELECT pgt_id, source_relid, source_type FROM pgtrickle.pgt_dependencies ORDER BY 1, 2", &[])
}

/// The edges of the stream tables that read `source`.
pub fn consumers(source: u32) -> Result<Vec<Dependency>> {
    read(
        "SELECT pgt_id, source_relid, source_type FROM pgtrickle.pgt_dependencies WHERE source_relid = $1 ORDER BY 1",
        &[Param::oid(source)],
    )
}

/// The edges from stream table `id` to its sources.
pub fn sources_of(id: i64) -> Result<Vec<Dependency>> {
    read(
        "SELECT pgt_id, source_relid, source_type FROM pgtrickle.pgt_dependencies WHERE pgt_id = $1 ORDER BY 2",
        &[Param::of(id)],
    )
}

fn read(sql: &'static str, params: &[Param]) -> Result<Vec<Dependency>> {
    query(sql, params, |row| {
        Ok(Dependency {
            pgt_id: row.required(0)?,
            source: row.required_oid(1)?,
            kind: SourceType::parse(&row.required::<String>(2)?)?,
        })
    })
    .into_iter()
    .collect()
}
