//! One SELECT: FROM and WHERE, then grouping and HAVING, then window functions, then the SELECT list, DISTINCT, ORDER BY
//! and LIMIT.
//!
//! ORDER BY without LIMIT is dropped: rows of a table have no order. Below an aggregate whose result depends on the
//! order of its input it does have a meaning, and then the query is refused.

use super::expr::Scope;
use super::summary::Summary;
use super::{aggregate, from, link, ordering, setop, unsupported, window};
use crate::config;
use crate::error::{Error, Result};
use crate::pg::deparse::Deparser;
use crate::pg::level::SubLink;
use crate::pg::nodes::Query;
use crate::pg::stack;
use pgtrickle_engine::query::rewrite::clock_values;
use pgtrickle_engine::query::{Column, DataType, Rel};
use std::cell::{Cell, RefCell};

/// Relations that one query may read, every reference counted.
const MAX_SCANS: usize = 256;

/// State of the walk over one defining query.
pub(super) struct Importer {
    /// What generated names in expressions begin with.
    pub(super) token: String,
    scans: Cell<usize>,
    /// The FROM clause being walked has a sub-select whose rows have an order.
    ordered_input: Cell<bool>,
    /// The recursive WITH items whose steps are being imported, innermost last, with their columns.
    pub(super) recursions: RefCell<Vec<(String, Vec<Column>)>>,
    pub(super) summary: RefCell<Summary>,
}

/// The queries around a query, innermost first: where its WITH items are found.
#[derive(Clone, Copy)]
pub(super) struct Level<'e, 'a> {
    /// Made self-contained once the walk is at it.
    pub(super) query: Query<'a>,
    /// As it came from the analysis.
    original: Query<'a>,
    /// The entries of which a whole row is read, once the walk is at it.
    whole_rows: &'e [(usize, DataType)],
    pub(super) outer: Option<&'e Level<'e, 'a>>,
    pub(super) depth: usize,
    /// How many Apply operators it stands in the right side of.
    applies: usize,
    /// It is ARRAY(SELECT …), whose only row is an array of this type.
    pub(super) array: Option<&'e DataType>,
    /// What its sub-selects can read of it, while one of them is walked.
    inside: Option<Inside<'e, 'a>>,
    pub(super) links: &'e [SubLink<'a>],
    pub(super) link_entry: usize,
    pub(super) row_entry: usize,
    pub(super) outer_entries: &'e [usize],
}

/// The columns of the rows for which a sub-select is evaluated.
#[derive(Clone, Copy)]
pub(super) struct Inside<'e, 'a> {
    pub(super) scope: &'e Scope<'a>,
    /// Where the first of those columns is in the scope; those before it belong to the row that these rows are evaluated for.
    pub(super) start: usize,
}

impl<'e, 'a> Level<'e, 'a> {
    /// The level of a query inside this one.
    pub(super) fn inner(&'e self, query: Query<'a>) -> Result<Level<'e, 'a>> {
        let depth = self.depth + 1;
        check_depth(depth)?;
        Ok(Level { depth, outer: Some(self), ..Level::new(query, self.applies) })
    }

    fn new(query: Query<'a>, applies: usize) -> Self {
        Level {
            query,
            original: query,
            whole_rows: &[],
            outer: None,
            depth: 0,
            applies,
            array: None,
            inside: None,
            links: &[],
            link_entry: 0,
            row_entry: 0,
            outer_entries: &[],
        }
    }

    /// This level, as a sub-select sees it that is evaluated for rows of it.
    pub(super) fn around(&self, inside: Inside<'e, 'a>) -> Level<'e, 'a> {
        Level { inside: Some(inside), ..*self }
    }

    /// This level while its FROM clause is walked: an item of it stands in the right side of an Apply to the rows of what stands
    /// left of it.
    pub(super) fn in_from(&self) -> Level<'e, 'a> {
        Level { applies: self.applies + 1, ..*self }
    }

    /// This level, which is [`Level::in_from`], as an item of its FROM clause sees it that is evaluated for the rows of what stands
    /// left of it.
    pub(super) fn around_item(&self, inside: Inside<'e, 'a>) -> Level<'e, 'a> {
        Level { applies: self.applies - 1, ..self.around(inside) }
    }

    /// The level of a sub-select that is evaluated for the rows of this one; this is [`Level::around`] of it.
    pub(super) fn applied(&'e self, query: Query<'a>) -> Result<Level<'e, 'a>> {
        let inner = self.inner(query)?;
        Ok(Level { applies: self.applies + 1, ..inner })
    }

    /// The level of ARRAY(SELECT …) with a value of this type.
    pub(super) fn into_array(self, array: Option<&'e DataType>) -> Level<'e, 'a> {
        Level { array, ..self }
    }

    /// This level as the owner of a WITH item that is used at `place`: its rows are not seen there, and its own depth is
    /// that of the place.
    pub(super) fn with_item_used_at(&self, place: &Level<'_, '_>) -> Level<'e, 'a> {
        Level { depth: place.depth, applies: place.applies, inside: None, ..*self }
    }

    /// The type of the entry's whole row, if that is read.
    pub(super) fn whole_row(&self, entry: usize) -> Option<&'e DataType> {
        self.whole_rows.iter().find(|(known, _)| *known == entry).map(|(_, ty)| ty)
    }

    /// This query and those further out, each with the number of its first entry.
    pub(super) fn queries(&self) -> Vec<(usize, Query<'a>)> {
        let further = std::iter::successors(self.outer, |level| level.outer);
        let further = self.outer_entries.iter().copied().zip(further.map(|level| level.original));
        [(1, self.original)].into_iter().chain(further).collect()
    }

    /// What can be read of each query further out: the number of its first entry, its columns, and how many Apply
    /// operators are between.
    pub(super) fn outer_scopes(&self) -> Vec<(usize, Inside<'e, 'a>, usize)> {
        let mut found = Vec::new();
        let mut further = self.outer;
        for first in self.outer_entries {
            let Some(level) = further else { break };
            if let Some(inside) = level.inside {
                found.push((*first, inside, self.applies.saturating_sub(level.applies)));
            }
            further = level.outer;
        }
        found
    }
}

impl Importer {
    pub(super) fn new(token: &str) -> Self {
        Importer {
            token: token.into(),
            scans: Cell::new(0),
            ordered_input: Cell::new(false),
            recursions: RefCell::default(),
            summary: RefCell::default(),
        }
    }

    /// The tree of a whole defining query.
    pub(super) fn query(&self, query: Query<'_>) -> Result<Rel> {
        self.select(&Level::new(query, 0)).map(clock_values::apply)
    }

    /// The tree of one query; its columns are the SELECT list without junk.
    pub(super) fn select<'a>(&self, level: &Level<'_, 'a>) -> Result<Rel> {
        let mut further = Vec::new();
        let mut next = level.outer;
        while let Some(outer) = next {
            further.push(outer.original);
            next = outer.outer;
        }
        let own = level.query.level(&self.token, &further);
        if own.outer_call {
            let reason = "It aggregates rows of an outer query.";
            return Err(unsupported("an aggregate call that belongs to an outer query", reason));
        }
        let whole_rows = level.original.whole_rows();
        let level = &Level {
            query: own.query,
            whole_rows: &whole_rows,
            links: &own.links,
            link_entry: own.link_entry,
            row_entry: own.row_entry,
            outer_entries: &own.outer_entries,
            ..*level
        };
        let query = level.query;
        check_clauses(query)?;
        let beside = self.ordered_input.replace(false);
        let rel = self.rows(level)?;
        let kept = self.ordered_input.get() && !query.is_aggregate();
        self.ordered_input.set(beside || kept || query.is_ordered());
        Ok(rel)
    }

    /// The tree of a sub-select in an expression; the order of its rows is no order of this level's.
    pub(super) fn apart<'a>(&self, level: &Level<'_, 'a>) -> Result<Rel> {
        let beside = self.ordered_input.replace(false);
        let rel = self.select(level);
        self.ordered_input.set(beside);
        rel
    }

    fn rows<'a>(&self, level: &Level<'_, 'a>) -> Result<Rel> {
        let query = level.query;
        if let Some(tree) = query.set_operations() {
            let rel = setop::import(self, level, &tree)?;
            let references: Vec<u32> = query.targets().iter().map(|target| target.sort_ref).collect();
            let rel = ordering::limited(query, &Scope::new(self.deparser(query, &[]), level), rel, &references)?;
            return ordering::collected(level, rel, &references);
        }
        let from = from::import(self, level)?;
        let above;
        let (mut rows, mut targets) = if query.is_aggregate() {
            let mut grouped = query.grouped(level.link_entry - 1, level.links);
            if self.ordered_input.get() && grouped.calls.iter().any(|call| call.order_sensitive) {
                let reason = "Its result depends on the order of its input; write ORDER BY inside the call instead.";
                return Err(unsupported("an aggregate over a sub-select with ORDER BY", reason));
            }
            let links = std::mem::take(&mut grouped.links);
            let over_groups = Level { links: &links, ..*level };
            let rows = aggregate::import(self, (level, &over_groups), grouped, from)?;
            above = links;
            rows
        } else {
            above = level.links.to_vec();
            (from, if level.array.is_some() { query.targets() } else { query.used_targets() })
        };
        let level = &Level { links: &above, ..*level };
        rows.rel = link::values(self, level, &mut rows.scope, rows.rel, targets.iter().map(|target| target.expr))?;
        if query.has_window_functions() {
            let links;
            (rows, targets, links) = window::import(query, rows, targets, level.links)?;
            let level = &Level { links: &links, ..*level };
            rows.rel = link::values(self, level, &mut rows.scope, rows.rel, targets.iter().map(|target| target.expr))?;
        }
        ordering::import(level, rows, targets)
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

/// # Errors
/// `TooComplex` (54000) below `pg_trickle.max_parse_depth`, and PostgreSQL's own where the stack ends first.
fn check_depth(depth: usize) -> Result<()> {
    let most = config::max_parse_depth();
    if depth > most.unsigned_abs() as usize {
        return Err(Error::TooComplex(format!("sub-selects nest deeper than pg_trickle.max_parse_depth ({most})")));
    }
    stack::check();
    Ok(())
}

/// Clauses that this engine has no operator for.
fn check_clauses(query: Query<'_>) -> Result<()> {
    let found = [(
        query.targets().iter().any(|target| target.junk && target.expr.returns_set()),
        "a set-returning function in ORDER BY alone",
        "It repeats rows without showing why.",
    )];
    match found.into_iter().find(|(present, ..)| *present) {
        Some((_, construct, reason)) => Err(unsupported(construct, reason)),
        None => Ok(()),
    }
}
