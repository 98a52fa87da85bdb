//! PostgreSQL's analysed query → the engine's tree.

use crate::error::{Error, Result};
use pgtrickle_engine::query::{Column, Rel};

/// What a relation that the query reads is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// An ordinary or partitioned table; a stream table looks like one here.
    Table,
    View,
    Matview,
    Foreign,
}

/// A relation that the query reads, directly or through a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `pg_class.oid`.
    pub relid: u32,
    pub kind: SourceKind,
    /// `attnum` of each column that the query uses, ascending.
    pub columns: Vec<i16>,
}

/// A defining query, understood.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The query as PostgreSQL prints it, every name qualified: it means the same under any search_path.
    pub canonical: String,
    /// The query's result columns, in order.
    pub outputs: Vec<Column>,
    /// The operator tree; [`Error::Unsupported`] when only recomputation can maintain the query.
    pub tree: std::result::Result<Rel, Error>,
    /// Every relation that the query reads, each once.
    pub sources: Vec<Source>,
    /// `pg_proc.oid` of every function that is not built in.
    pub functions: Vec<u32>,
    /// What the user should know although the query is accepted.
    pub warnings: Vec<String>,
}

/// Analyses `query` as the current user under the session's search_path.
///
/// Syntax errors, unknown names and missing rights are PostgreSQL's own errors; what no refresh mode can maintain is
/// an `Err` here; what only recomputation can maintain is an `Err` in [`Imported::tree`].
pub fn import(query: &str) -> Result<Imported> {
    Err(Error::Internal(format!("not analysed: {query}")))
}
