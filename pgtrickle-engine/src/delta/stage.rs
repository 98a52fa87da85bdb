//! Stages: a stateful operator that stands below another, or whose accumulators the output does not show, is cut off and
//! stored, so that every rule above finds its old value and cost stays in proportion to the change.
//!
//! `cut` replaces each Aggregate by `π_finish(Stage)`: the stored groups with their accumulators, and the projection that
//! makes the user's columns of them; and each Window and TopK by the stored rows of it. Equal stages are one. What remains
//! of the tree is linear; it is the last stage, and its stored result is the stream table.
//!
//! No result is stored twice: where the stream table shows what an inner stage stores, the last stage takes its place
//! ([`without_copies`]).

use super::operator::aggregate::{Accumulator, State};
use super::operator::keyed::{Computation, Keyed};
use super::operator::leading::Leading;
use super::operator::recursive::stored_columns;
use super::operator::shown::{Shown, shown};
use super::operator::top_k::TopK;
use crate::delta::{Identity, Leaf};
use crate::query::analysis::clock::yields_truth;
use crate::query::analysis::keys::keys;
use crate::query::explain::tree;
use crate::query::rewrite::map_inputs;
use crate::query::{Column, Rel, Scalar, SortItem};
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
    /// What filters and projections make of rows computed from each partition of the body's rows, in the stream table.
    Shown(Box<Shown>),
}

/// Cuts `rel`, from which rewriting has removed Distinct, into stages, bottom-up; with how the last one's rows are found.
pub fn cut(rel: Rel) -> (Vec<Stage>, Identity) {
    let mut stages = Vec::new();
    let body = cut_below(rel, &mut stages);
    let identity = Identity::of(&body);
    stages.push(Stage { body, kind: StageKind::Output });
    (without_copies(stages, &identity), identity)
}

/// `stages` without the one that the last stage alone reads, if the stream table can stand for its state: a recursion of
/// which it shows every column, or a keyed operator whose rows it tells apart ([`super::operator::shown`]). `identity` is
/// that of the last stage's body.
fn without_copies(mut stages: Vec<Stage>, identity: &Identity) -> Vec<Stage> {
    if let [.., Stage { body: recursive, kind: StageKind::Rows }, last] = stages.as_mut_slice()
        && shows_all(&last.body)
    {
        let body = in_place(last.body.clone(), recursive);
        stages.truncate(stages.len() - 2);
        stages.push(Stage { body, kind: StageKind::Output });
        return stages;
    }
    shown(stages, identity)
}

/// Whether `rel` passes on every column of the stage that it reads.
fn shows_all(rel: &Rel) -> bool {
    let mut leaf = rel;
    while let Rel::Project { input, .. } = leaf {
        if yields_truth(leaf) {
            return false;
        }
        leaf = input;
    }
    matches!(leaf, Rel::Stage { .. }) && places(rel, leaf).is_some()
}

/// `rel`, projections over a stage, with `body` in the stage's place.
fn in_place(rel: Rel, body: &Rel) -> Rel {
    match rel {
        Rel::Project { input, outputs } => Rel::Project { input: Box::new(in_place(*input, body)), outputs },
        _ => body.clone(),
    }
}

/// Where `rel`, projections over `below`, shows each column of it.
fn places(rel: &Rel, below: &Rel) -> Option<Vec<usize>> {
    fn origin(rel: &Rel, position: usize) -> Option<usize> {
        match rel {
            Rel::Project { input, outputs } => origin(input, outputs[position].1.as_column()?),
            _ => Some(position),
        }
    }
    let shown: Vec<Option<usize>> = (0..rel.columns().len()).map(|position| origin(rel, position)).collect();
    (0..below.columns().len()).map(|column| shown.iter().position(|of| *of == Some(column))).collect()
}

/// Where the stream table shows the columns of the recursion that `body` projects.
pub(super) fn recursion(body: &Rel) -> Option<Vec<usize>> {
    let mut below = body;
    while let Rel::Project { input, .. } = below {
        below = input;
    }
    matches!(below, Rel::Recursive { .. }).then(|| places(body, below)).flatten()
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
        leading @ Rel::Leading { .. } => cut_keyed(leading, stages),
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

/// Cuts off the Window, Leading or TopK `rel`. Partitioning expressions become columns of the body, which the stage stores and the
/// projection above it leaves out.
fn cut_keyed(rel: Rel, stages: &mut Vec<Stage>) -> Rel {
    let columns = rel.columns();
    let identity = keys(&rel);
    let (input, partition, computation) = match rel {
        Rel::Window { input, partition, windows, calls } => {
            let calls = calls.into_iter().map(|(_, call)| call).collect();
            (input, partition, Computation::Window { windows, calls })
        }
        Rel::Leading { input, partition, order, counts, ties } => {
            let tie_breakers = if ties { Vec::new() } else { tie_breakers(&input, &order) };
            let order = TopK { order, tie_breakers, limit: None, offset: None, with_ties: ties };
            (input, partition, Computation::Leading(Leading { order, counts }))
        }
        Rel::TopK { input, partition, order, limit, offset, with_ties } => {
            let tie_breakers = tie_breakers(&input, &order);
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

/// The shortest key that can be sorted by, less the columns that `order` has.
fn tie_breakers(input: &Rel, order: &[SortItem]) -> Vec<usize> {
    let columns = input.columns();
    let sortable = |key: &Vec<usize>| key.iter().all(|position| columns[*position].ty.btree);
    let ordered = |position: &usize| order.iter().any(|item| item.value.as_column() == Some(*position));
    let key = keys(input).into_iter().filter(sortable).min_by_key(Vec::len).unwrap_or_default();
    key.into_iter().filter(|position| !ordered(position)).collect()
}

impl Stage {
    /// The columns of the stored result.
    pub fn columns(&self) -> Vec<Column> {
        match &self.kind {
            StageKind::Aggregate(state) => state.columns(),
            StageKind::Keyed(keyed) => keyed.columns(),
            StageKind::Rows => stored_columns(&self.body.columns()),
            StageKind::Output => self.body.columns(),
            StageKind::Shown(shown) => shown.above.columns(),
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
            StageKind::Output | StageKind::Shown(_) => None,
        }
    }

    /// How each aggregate of the stage is maintained, for `explain_st`.
    pub fn strategies(&self) -> Vec<&'static str> {
        match &self.kind {
            StageKind::Aggregate(state) => state.accumulators.iter().map(Accumulator::strategy).collect(),
            _ => Vec::new(),
        }
    }

    /// The operators of the stage, one per line.
    pub fn explain(&self) -> String {
        let body = tree(&self.body);
        match &self.kind {
            StageKind::Keyed(keyed) => format!("{}\n{}", keyed.explain(), indented(&body)),
            StageKind::Shown(shown) => {
                let below = format!("{}\n{}", shown.keyed.explain(), indented(&body));
                let above = tree(&shown.above);
                let levels = above.lines().count() - 1;
                let above = above.lines().take(levels).map(|line| format!("{line}\n")).collect::<String>();
                above + &(0..levels).fold(below, |text, _| indented(&text))
            }
            _ => body,
        }
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
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
        _ => {
            if yields_truth(rel) {
                found.insert(Leaf::Clock);
            }
            rel.inputs().into_iter().for_each(|input| leaves(input, found));
        }
    }
}
