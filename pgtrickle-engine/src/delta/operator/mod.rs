//! One operator per file: its law, its content now, its delta.

pub mod aggregate;
mod among;
pub mod expand;
pub mod filter;
pub mod join;
pub mod keyed;
pub mod leading;
pub mod order;
mod outer_join;
pub mod project;
pub mod recursive;
pub mod rederive;
pub mod scan;
pub mod semi_join;
pub mod shown;
pub mod top_k;
pub mod union_all;
pub mod window;

use crate::delta::limit::Limit;
use crate::delta::{Expected, Extent, Leaf, Storage};
use crate::query::Rel;
use semi_join::Operands;
use std::collections::BTreeSet;

/// What the text of a delta depends on: where states are stored, and which leaves changed. Terms of an unchanged leaf
/// are not in the text at all.
pub struct Context<'a> {
    pub storage: &'a Storage,
    pub changed: &'a BTreeSet<Leaf>,
    /// What holds the result of the stage's recursion.
    pub own: Option<&'a Own>,
    /// What stands for [`Rel::Working`].
    pub working: Option<Working>,
    /// Ends the text where it becomes too long.
    pub limit: Option<&'a Limit>,
    pub expected: Expected<'a>,
}

/// The stored rows of a recursion.
pub struct Own {
    /// The relation, its columns `c1 … cn`.
    pub rows: String,
    /// A SELECT that yields something if the row `b`, its columns likewise, is among them; by an index, if there is one.
    pub found: Option<String>,
}

/// The relations that stand for [`Rel::Working`], their columns `c1 … cn`.
#[derive(Clone)]
pub struct Working {
    pub now: String,
    /// With `w`, when it changes.
    pub delta: Option<String>,
}

impl<'a> Context<'a> {
    pub fn new(storage: &'a Storage, changed: &'a BTreeSet<Leaf>) -> Self {
        Context { storage, changed, own: None, working: None, limit: None, expected: Extent::Many.into() }
    }
}

/// A SELECT that yields the content of `rel` as `c1 … cn`.
///
/// # Panics
/// On operators that staging removes; [`crate::delta::stage::cut`] leaves none.
pub fn now(rel: &Rel, context: &Context) -> String {
    match context.limit {
        Some(limit) => limit.guard(|| Some(content(rel, context))).unwrap_or_default(),
        None => content(rel, context),
    }
}

fn content(rel: &Rel, context: &Context) -> String {
    match rel {
        Rel::Scan(scan) => scan::now(scan),
        Rel::Stage { stage, columns, .. } => scan::stage_now(*stage, columns, context),
        Rel::Opaque { query, columns } => scan::opaque_now(query, columns),
        Rel::Filter { input, predicates } => filter::now(input, predicates, context),
        Rel::Project { input, outputs } => project::now(input, outputs, context),
        Rel::Join { inputs, predicates } => join::now(inputs, predicates, context),
        Rel::OuterJoin { left, right, predicates, side } => outer_join::now(left, right, predicates, *side, context),
        Rel::SemiJoin { left, right, predicates, yields } => {
            semi_join::now(Operands { left, right, predicates, yields }, context)
        }
        Rel::Expand { input, item, on, outer } => expand::now(input, item, on, *outer, context),
        Rel::Recursive { base, step, all, columns } => recursive::now(base, step, *all, columns, context),
        Rel::Working { columns } => recursive::working_now(columns, context),
        Rel::UnionAll { inputs, .. } => union_all::now(inputs, context),
        Rel::Apply { .. } => unreachable!("decorrelation leaves none"),
        Rel::Aggregate { .. } | Rel::Distinct { .. } | Rel::Window { .. } | Rel::Leading { .. } | Rel::TopK { .. } => {
            unreachable!("staging cuts at stateful operators")
        }
    }
}

/// A SELECT that yields the change of `rel` as `c1 … cn, w`; `None` when none of its leaves changed.
pub fn delta(rel: &Rel, context: &Context) -> Option<String> {
    match context.limit {
        Some(limit) => limit.guard(|| change(rel, context)),
        None => change(rel, context),
    }
}

fn change(rel: &Rel, context: &Context) -> Option<String> {
    match rel {
        Rel::Scan(scan) => scan::delta(scan, context),
        Rel::Stage { stage, columns, .. } => scan::stage_delta(*stage, columns, context),
        Rel::Opaque { .. } => None,
        Rel::Filter { input, predicates } => filter::delta(input, predicates, context),
        Rel::Project { input, outputs } => project::delta(input, outputs, context),
        Rel::Join { inputs, predicates } => join::delta(inputs, predicates, context),
        Rel::OuterJoin { left, right, predicates, side } => outer_join::delta(left, right, predicates, *side, context),
        Rel::SemiJoin { left, right, predicates, yields } => {
            semi_join::delta(Operands { left, right, predicates, yields }, context)
        }
        Rel::Expand { input, item, on, outer } => expand::delta(input, item, on, *outer, context),
        Rel::Recursive { base, step, all, columns } => recursive::delta(base, step, *all, columns, context),
        Rel::Working { columns } => recursive::working_delta(columns, context),
        Rel::UnionAll { inputs, .. } => union_all::delta(inputs, context),
        Rel::Apply { .. } => unreachable!("decorrelation leaves none"),
        Rel::Aggregate { .. } | Rel::Distinct { .. } | Rel::Window { .. } | Rel::Leading { .. } | Rel::TopK { .. } => {
            unreachable!("staging cuts at stateful operators")
        }
    }
}

/// `c1`, `c2`, … : the name of the column at `position`.
pub(crate) fn column(position: usize) -> String {
    format!("c{}", position + 1)
}

/// `alias.c1, … alias.cn`, and `, alias.w` for a delta.
pub(crate) fn all_columns(alias: &str, width: usize, weight: bool) -> String {
    let columns = (0..width).map(|position| format!("{alias}.{}", column(position)));
    let weight = weight.then(|| format!("{alias}.w"));
    columns.chain(weight).collect::<Vec<_>>().join(", ")
}
