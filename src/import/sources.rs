//! Which relations a query reads.

use super::unsupported;
use crate::error::{Error, Result};
use crate::pg::analyze::{current_role, may_capture, may_read};
use crate::pg::facts::Facts;
use crate::pg::relation::{Relation, RelationKind};
use pgtrickle_engine::query::{Rel, Scan};
use std::collections::{BTreeMap, BTreeSet};

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

/// The sources of a query. What a tree scans is exact; without one, and for views, the columns are those that the
/// query's text and its views' texts name.
pub(super) fn of(facts: &Facts, tree: Option<&Rel>) -> Vec<Source> {
    let scanned = tree.map(scanned).unwrap_or_default();
    let source = |(relid, named): (&u32, &BTreeSet<i16>)| {
        let relation = Relation::load(*relid)?;
        let kind = match relation.kind {
            RelationKind::View => SourceKind::View,
            RelationKind::MaterializedView => SourceKind::Matview,
            RelationKind::ForeignTable => SourceKind::Foreign,
            _ => SourceKind::Table,
        };
        let columns = match scanned.get(relid) {
            Some(columns) => columns.iter().copied().collect(),
            None if kind == SourceKind::Table && tree.is_some() => Vec::new(),
            None if named.contains(&0) => relation.columns.iter().map(|column| column.attnum).collect(),
            None => named.iter().copied().collect(),
        };
        Some(Source { relid: *relid, kind, columns })
    };
    facts.relations.iter().filter_map(source).collect()
}

fn scanned(tree: &Rel) -> BTreeMap<u32, BTreeSet<i16>> {
    let mut columns: BTreeMap<u32, BTreeSet<i16>> = BTreeMap::new();
    for scan in tree.scans() {
        columns.entry(scan.relid).or_default().extend(attnums(scan));
    }
    columns
}

fn attnums(scan: &Scan) -> Vec<i16> {
    scan.columns.iter().map(|column| column.attnum).collect()
}

/// A differential refresh reads tables directly that the query reads through views, so it needs the rights that the
/// views lent; and it has triggers on them.
///
/// # Errors
/// `Unsupported` (0A000) without the right to read a table, `CaptureDenied` (42501) without that to have triggers on it.
pub(super) fn check_direct_reads(tree: &Rel) -> Result<()> {
    for scan in tree.scans() {
        if !may_read(scan.relid, &attnums(scan)) {
            let construct = format!("the table {} behind a view", scan.name);
            return Err(unsupported(construct, "The owner of the stream table may not read all of the table itself."));
        }
        if Relation::load(scan.relid).is_some_and(|relation| !may_be_captured(&relation)) {
            return Err(Error::CaptureDenied { table: scan.name.to_string(), role: current_role() });
        }
    }
    Ok(())
}

/// Whether the current user may have triggers on the relation, if it takes triggers to follow it. They slow down who writes it.
fn may_be_captured(relation: &Relation) -> bool {
    matches!(relation.kind, RelationKind::MaterializedView | RelationKind::ForeignTable) || may_capture(relation.relid)
}

/// Whether the result can change only when a buffer tells of it: no value of the clock or the session goes into it, and
/// every relation is a table whose triggers see all that happens to it, a materialized view, or a view. Triggers are not set
/// on what the user reaches through the rights of a view only.
pub(super) fn are_watchable(facts: &Facts) -> bool {
    let watchable = |(relid, columns): (&u32, &BTreeSet<i16>)| {
        let Some(relation) = Relation::load(*relid) else { return false };
        let named: Vec<i16> = columns.iter().copied().filter(|attnum| *attnum > 0).collect();
        match relation.kind {
            RelationKind::View => true,
            RelationKind::ForeignTable => false,
            // Nobody tells when its columns are renamed, which whole rows would show.
            RelationKind::MaterializedView if columns.contains(&0) => false,
            _ => {
                super::from::check_kind(&relation, false).is_ok()
                    && may_read(*relid, &named)
                    && may_be_captured(&relation)
            }
        }
    };
    facts.hidden_volatility.is_none() && facts.relations.iter().all(watchable)
}
