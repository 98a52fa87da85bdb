//! Stages: a stateful operator that stands below another, or whose accumulators the output does not show, is cut off and
//! stored, so that every rule above finds its old value and cost stays in proportion to the change.
//!
//! `cut` replaces each Aggregate by `π_finish(Stage)`: the stored groups with their accumulators, and the projection that
//! makes the user's columns of them; and each Window and TopK by the stored rows of it. Equal stages are one. What remains
//! of the tree is linear; it is the last stage, and its stored result is the stream table.

use super::operator::aggregate::{Accumulator, State};
use super::operator::keyed::{Computation, Keyed};
use super::operator::recursive::stored_columns;
use super::operator::top_k::TopK;
use crate::delta::Leaf;
use crate::query::analysis::keys::keys;
use crate::query::rewrite::map_inputs;
use crate::query::{Column, Rel, Scalar};
use crate::sql::{Ident, list};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One unit of maintenance: linear and join operators under at most one stateful operator, with one stored result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Scan, Stage, Filter, Project, Join, Expand and UnionAll only.
    pub body: Rel,
    pub kind: StageKind,
}

/// What the stage stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageKind {
    /// Groups of the body's rows with their accumulators, in a state table.
    Aggregate(State),
    /// Rows computed from each partition of the body's rows, in a state table.
    Keyed(Box<Keyed>),
    /// The body's rows, duplicates as rows of their own, in a state table.
    Rows,
    /// The body's rows, in the stream table.
    Output,
}

/// Cuts `rel`, from which rewriting has removed Distinct, into stages, bottom-up.
pub fn cut(rel: Rel) -> Vec<Stage> {
    let mut stages = Vec::new();
    let body = cut_below(rel, &mut stages);
    stages.push(Stage { body, kind: StageKind::Output });
    stages
}

fn cut_below(rel: Rel, stages: &mut Vec<Stage>) -> Rel {
    match map_inputs(rel, &mut |input| cut_below(input, stages)) {
        Rel::Aggregate { input, keys: grouping, calls } => {
            let group = Rel::Aggregate { input: input.clone(), keys: grouping.clone(), calls: calls.clone() };
            let names: Vec<String> = group.columns().into_iter().map(|column| column.name).collect();
            let state = State::of(&input, &grouping, &calls);
            let columns: Vec<Column> = state.columns();
            let finished = state.finish(&columns).into_iter();
            let stage = shared(stages, Stage { body: *input, kind: StageKind::Aggregate(state) });
            let leaf = Rel::Stage { stage, columns, keys: keys(&group) };
            Rel::Project { input: Box::new(leaf), outputs: names.into_iter().zip(finished).collect() }
        }
        window @ Rel::Window { .. } => cut_keyed(window, stages),
        top @ Rel::TopK { .. } => cut_keyed(top, stages),
        recursive @ Rel::Recursive { .. } => {
            let columns = stored_columns(&recursive.columns());
            let keys = keys(&recursive);
            Rel::Stage { stage: shared(stages, Stage { body: recursive, kind: StageKind::Rows }), columns, keys }
        }
        other => other,
    }
}

/// The place of `stage` among `stages`. What a query says twice, or decorrelation repeats, is stored once.
fn shared(stages: &mut Vec<Stage>, stage: Stage) -> usize {
    stages.iter().position(|known| *known == stage).unwrap_or_else(|| {
        stages.push(stage);
        stages.len() - 1
    })
}

/// Cuts off the Window or TopK `rel`. Partitioning expressions become columns of the body, which the stage stores and the
/// projection above it leaves out.
fn cut_keyed(rel: Rel, stages: &mut Vec<Stage>) -> Rel {
    let columns = rel.columns();
    let identity = keys(&rel);
    let (input, partition, computation) = match rel {
        Rel::Window { input, partition, windows, calls } => {
            let calls = calls.into_iter().map(|(_, call)| call).collect();
            (input, partition, Computation::Window { windows, calls })
        }
        Rel::TopK { input, partition, order, limit, offset, with_ties } => {
            let ordered = |position: &usize| order.iter().any(|item| item.value.as_column() == Some(*position));
            let tie_breakers = tie_breakers(&input).into_iter().filter(|position| !ordered(position)).collect();
            (input, partition, Computation::TopK(TopK { order, tie_breakers, limit, offset, with_ties }))
        }
        other => return other,
    };
    let width = input.columns().len();
    let (body, partition) = with_columns(*input, &partition);
    let added = body.columns().len() - width;
    let place = |position: usize| if position < width { position } else { position + added };
    let keyed = Keyed::new(&body, partition, computation);
    let stored = keyed.columns();
    let keys = identity.into_iter().map(|key| key.into_iter().map(place).collect()).collect();
    let stage = shared(stages, Stage { body, kind: StageKind::Keyed(Box::new(keyed)) });
    let leaf = Rel::Stage { stage, columns: stored.clone(), keys };
    if added == 0 {
        return leaf;
    }
    let output = |(position, column): (usize, Column)| {
        let ty = stored[place(position)].ty.clone();
        (column.name, Scalar::column(place(position), ty, column.nullable))
    };
    Rel::Project { input: Box::new(leaf), outputs: columns.into_iter().enumerate().map(output).collect() }
}

/// `rel` with the values of `scalars` among its columns, and where.
fn with_columns(rel: Rel, scalars: &[Scalar]) -> (Rel, Vec<usize>) {
    let columns = rel.columns();
    let mut outputs: Vec<(String, Scalar)> = columns
        .into_iter()
        .enumerate()
        .map(|(position, c)| (c.name, Scalar::column(position, c.ty, c.nullable)))
        .collect();
    let width = outputs.len();
    let mut places = Vec::new();
    // A constant divides nothing.
    for scalar in scalars.iter().filter(|scalar| !scalar.columns().is_empty()) {
        let place = scalar.as_column().unwrap_or_else(|| {
            outputs.push((format!("key{}", outputs.len() - width + 1), scalar.clone()));
            outputs.len() - 1
        });
        if !places.contains(&place) {
            places.push(place);
        }
    }
    match outputs.len() == width {
        true => (rel, places),
        false => (Rel::Project { input: Box::new(rel), outputs }, places),
    }
}

/// The shortest key that can be sorted by.
fn tie_breakers(input: &Rel) -> Vec<usize> {
    let columns = input.columns();
    let sortable = |key: &Vec<usize>| key.iter().all(|position| columns[*position].ty.btree);
    keys(input).into_iter().filter(sortable).min_by_key(Vec::len).unwrap_or_default()
}

impl Stage {
    /// The columns of the stored result.
    pub fn columns(&self) -> Vec<Column> {
        match &self.kind {
            StageKind::Aggregate(state) => state.columns(),
            StageKind::Keyed(keyed) => keyed.columns(),
            StageKind::Rows => stored_columns(&self.body.columns()),
            StageKind::Output => self.body.columns(),
        }
    }

    /// What the stage reads, each once.
    pub fn leaves(&self) -> BTreeSet<Leaf> {
        let mut found = BTreeSet::new();
        leaves(&self.body, &mut found);
        found
    }

    /// The index of an inner stage's state table: columns or expression, and whether it is unique; `None` when the whole
    /// state is one group.
    pub fn index(&self) -> Option<(String, bool)> {
        match &self.kind {
            StageKind::Aggregate(state) => state.index(),
            StageKind::Keyed(keyed) => keyed.index(),
            StageKind::Rows => {
                let columns = self.columns();
                let names = list(columns.iter().map(|column| Ident::new(&column.name)));
                Some((format!("(pgtrickle.row_hash(ROW({names})))"), false))
            }
            StageKind::Output => None,
        }
    }

    /// How each aggregate of the stage is maintained, for `explain_st`.
    pub fn strategies(&self) -> Vec<&'static str> {
        match &self.kind {
            StageKind::Aggregate(state) => state.accumulators.iter().map(Accumulator::strategy).collect(),
            StageKind::Keyed(_) | StageKind::Rows | StageKind::Output => Vec::new(),
        }
    }
}

/// It reads what the step before yielded.
pub(super) fn reads_working(rel: &Rel) -> bool {
    match rel {
        Rel::Working { .. } => true,
        Rel::Recursive { base, .. } => reads_working(base),
        _ => rel.inputs().into_iter().any(reads_working),
    }
}

fn leaves(rel: &Rel, found: &mut BTreeSet<Leaf>) {
    match rel {
        Rel::Scan(scan) => {
            found.insert(Leaf::Source(scan.relid));
        }
        Rel::Stage { stage, .. } => {
            found.insert(Leaf::Stage(*stage));
        }
        Rel::Filter { input, predicates } => {
            if predicates.iter().any(Scalar::reads_clock) {
                found.insert(Leaf::Clock);
            }
            leaves(input, found);
        }
        _ => rel.inputs().into_iter().for_each(|input| leaves(input, found)),
    }
}
