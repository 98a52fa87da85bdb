//! One SELECT: FROM and WHERE, then grouping and HAVING, then window functions, then the SELECT list, DISTINCT, ORDER BY
//! and LIMIT.
//!
//! ORDER BY without LIMIT is dropped: rows of a table have no order. Below an aggregate whose result depends on the
//! order of its input it does have a meaning, and then the query is refused.

use super::expr::Scope;
use super::{aggregate, from, ordering, setop, unsupported, window};
use crate::error::{Error, Result};
use crate::pg::deparse::Deparser;
use crate::pg::nodes::Query;
use pgtrickle_engine::query::Rel;
use std::cell::Cell;

/// Sub-selects, views and WITH items may nest this deep.
const MAX_DEPTH: usize = 64;
/// Relations that one query may read, every reference counted.
const MAX_SCANS: usize = 256;

/// State of the walk over one defining query.
pub(super) struct Importer {
    /// What generated names in expressions begin with.
    pub(super) token: String,
    scans: Cell<usize>,
    ordered_input: Cell<bool>,
    order_sensitive_call: Cell<bool>,
}

/// The queries around a query, innermost first: where its WITH items are found.
#[derive(Clone, Copy)]
pub(super) struct Level<'e, 'a> {
    pub(super) query: Query<'a>,
    pub(super) outer: Option<&'e Level<'e, 'a>>,
    pub(super) depth: usize,
}

impl<'e, 'a> Level<'e, 'a> {
    /// The level of a query inside this one.
    pub(super) fn inner(&'e self, query: Query<'a>) -> Result<Level<'e, 'a>> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            return Err(Error::TooComplex(format!("sub-selects nest deeper than {MAX_DEPTH}")));
        }
        Ok(Level { query, outer: Some(self), depth })
    }
}

impl Importer {
    pub(super) fn new(token: &str) -> Self {
        Importer {
            token: token.into(),
            scans: Cell::new(0),
            ordered_input: Cell::new(false),
            order_sensitive_call: Cell::new(false),
        }
    }

    /// The tree of a whole defining query.
    pub(super) fn query(&self, query: Query<'_>) -> Result<Rel> {
        let rel = self.select(&Level { query, outer: None, depth: 0 })?;
        if self.ordered_input.get() && self.order_sensitive_call.get() {
            let reason = "Its result depends on the order of its input; write ORDER BY inside the call instead.";
            return Err(unsupported("an aggregate over a sub-select with ORDER BY", reason));
        }
        Ok(rel)
    }

    /// The tree of one query; its columns are the SELECT list without junk.
    pub(super) fn select<'a>(&self, level: &Level<'_, 'a>) -> Result<Rel> {
        let query = level.query;
        check_clauses(query)?;
        if level.depth > 0 && query.is_ordered() {
            self.ordered_input.set(true);
        }
        if let Some(tree) = query.set_operations() {
            let rel = setop::import(self, level, &tree)?;
            let references: Vec<u32> = query.targets().iter().map(|target| target.sort_ref).collect();
            return ordering::limited(query, &Scope::new(self.deparser(query, &[])), rel, &references);
        }
        let from = from::import(self, level)?;
        let (rows, targets) = if query.is_aggregate() {
            let grouped = query.grouped();
            if grouped.calls.iter().any(|call| call.order_sensitive) {
                self.order_sensitive_call.set(true);
            }
            aggregate::import(self, query, grouped, from)?
        } else {
            (from, query.used_targets())
        };
        let (rows, targets) = match query.has_window_functions() {
            true => window::import(query, rows, targets)?,
            false => (rows, targets),
        };
        ordering::import(query, rows, targets)
    }

    /// Counts a scan; WITH items are copied, so a short query can read a great many.
    pub(super) fn count_scan(&self) -> Result<()> {
        self.scans.set(self.scans.get() + 1);
        if self.scans.get() > MAX_SCANS {
            let reason = "Every reference counts, those in views and WITH items too.";
            return Err(unsupported(format!("a query that reads more than {MAX_SCANS} tables"), reason));
        }
        Ok(())
    }

    /// A printer of expressions over the query's range table and `extra` entries after it.
    pub(super) fn deparser<'a>(&self, query: Query<'a>, extra: &[usize]) -> Deparser<'a> {
        Deparser::new(query, &self.token, extra)
    }
}

/// Clauses that this engine has no operator for.
fn check_clauses(query: Query<'_>) -> Result<()> {
    let found = [
        (
            query.targets().iter().any(|target| target.junk && target.expr.returns_set()),
            "a set-returning function in ORDER BY alone",
            "It repeats rows without showing why.",
        ),
        (query.has_sub_links(), "a sub-select in an expression", "Its rows decide about rows of the outer query."),
    ];
    match found.into_iter().find(|(present, ..)| *present) {
        Some((_, construct, reason)) => Err(unsupported(construct, reason)),
        None => Ok(()),
    }
}
