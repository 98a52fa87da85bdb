//! `R ⋉ K`: the rows of a relation that have given keys in some columns, found from the keys on.
//!
//! The restriction goes down to the leaf that the columns come from: `σ(R) ⋉ K = σ(R ⋉ K)`, and likewise for projections that keep the
//! columns, for the input of a join that has them, and for the left side of a semi-join. At the leaf the planner is free, but it does not look
//! beyond (`OFFSET 0`): elsewhere it may begin with another input whose rows meet many of the leaf's, and what a scan by index costs that is repeated for
//! the rows of a join it reckons as if they were all rows of a table (`get_loop_count`, `indxpath.c`).

use super::{Context, all_columns, column, filter, join, project, semi_join};
use crate::query::rel::Yield;
use crate::query::{Rel, Scalar};
use crate::sql::conjunction;

/// Keys of a relation.
pub(super) struct Keys<'a> {
    /// A SELECT of different ones, as `k1 … kn`.
    pub(super) text: &'a str,
    /// The columns that they are values of.
    pub(super) columns: Vec<usize>,
}

/// A SELECT of the content of `rel`, only the rows that have one of `keys`; `None` where the restriction does not reach a leaf.
pub(super) fn now(rel: &Rel, keys: &Keys, context: &Context) -> Option<String> {
    match rel {
        Rel::Scan(_) | Rel::Stage { .. } => {
            let known = rel.columns();
            let columns = all_columns("t", known.len(), false);
            let same = keys.columns.iter().enumerate().map(|(i, place)| {
                let equals = known[*place].ty.eq.as_ref()?;
                Some(format!("t.{} {equals} k.k{}", column(*place), i + 1))
            });
            let same = same.collect::<Option<Vec<_>>>()?;
            let content = super::now(rel, context);
            Some(format!(
                "SELECT {columns} FROM ({}) AS k JOIN ({content}) AS t ON {} OFFSET 0",
                keys.text,
                conjunction(same.into_iter())
            ))
        }
        Rel::Filter { input, predicates } => {
            Some(filter::content(&now(input, keys, context)?, input.columns().len(), predicates))
        }
        Rel::Project { input, outputs } => {
            let from = |place: &usize| outputs[*place].1.as_column();
            let columns = keys.columns.iter().map(from).collect::<Option<_>>()?;
            Some(project::content(&now(input, &Keys { columns, ..*keys }, context)?, outputs))
        }
        Rel::Join { inputs, predicates } => {
            let mut first = 0;
            for (place, input) in inputs.iter().enumerate() {
                let own = first..first + input.columns().len();
                if keys.columns.iter().all(|column| own.contains(column)) {
                    let columns = keys.columns.iter().map(|column| column - first).collect();
                    let restricted = now(input, &Keys { columns, ..*keys }, context)?;
                    return Some(join::content(inputs, (place, restricted), predicates, context));
                }
                first = own.end;
            }
            None
        }
        Rel::SemiJoin { left, right, predicates, yields } if !is_mark(yields, &keys.columns, left) => {
            let restricted = now(left, keys, context)?;
            Some(semi_join::content(semi_join::Operands { left, right, predicates, yields }, restricted, context))
        }
        _ => None,
    }
}

/// Some of `columns` is the mark.
fn is_mark(yields: &Yield, columns: &[usize], left: &Rel) -> bool {
    matches!(yields, Yield::Mark(_)) && columns.contains(&left.columns().len())
}

/// The columns that equalities equate with others, if any does, of both sides of an operator whose left one has `width` columns.
pub(super) fn equated(predicates: &[Scalar], width: usize) -> Vec<(usize, usize)> {
    let across = predicates.iter().filter_map(|predicate| predicate.as_equality_across(width));
    across.map(|(left, right)| (left, right - width)).collect()
}
