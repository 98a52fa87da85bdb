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
        _ => {
            let (place, input, columns) = below(rel, &keys.columns)?;
            let restricted = now(input, &Keys { columns, ..*keys }, context)?;
            match rel {
                Rel::Filter { input, predicates } => {
                    Some(filter::content(&restricted, input.columns().len(), predicates))
                }
                Rel::Project { outputs, .. } => Some(project::content(&restricted, outputs)),
                Rel::Join { inputs, predicates } => {
                    Some(join::content(inputs, (place, restricted), predicates, context))
                }
                Rel::SemiJoin { left, right, predicates, yields } => Some(semi_join::content(
                    semi_join::Operands { left, right, predicates, yields },
                    restricted,
                    context,
                )),
                _ => None,
            }
        }
    }
}

/// The leaf that the restriction of `columns` of `rel` reaches.
pub(super) fn leaf<'r>(rel: &'r Rel, columns: &[usize]) -> Option<&'r Rel> {
    match rel {
        Rel::Scan(_) | Rel::Stage { .. } => Some(rel),
        _ => below(rel, columns).and_then(|(_, input, columns)| leaf(input, &columns)),
    }
}

/// The input of `rel` that has all of `columns`, its place, and the columns in it.
fn below<'r>(rel: &'r Rel, columns: &[usize]) -> Option<(usize, &'r Rel, Vec<usize>)> {
    match rel {
        Rel::Filter { input, .. } => Some((0, input, columns.to_vec())),
        Rel::Project { input, outputs } => {
            let from = |place: &usize| outputs[*place].1.as_column();
            Some((0, input, columns.iter().map(from).collect::<Option<_>>()?))
        }
        Rel::Join { inputs, .. } => {
            let mut first = 0;
            for (place, input) in inputs.iter().enumerate() {
                let own = first..first + input.columns().len();
                if columns.iter().all(|column| own.contains(column)) {
                    return Some((place, input, columns.iter().map(|column| column - first).collect()));
                }
                first = own.end;
            }
            None
        }
        Rel::SemiJoin { left, yields, .. } if !is_mark(yields, columns, left) => Some((0, left, columns.to_vec())),
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
