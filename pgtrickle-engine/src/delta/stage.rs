//! Stages: a stateful operator that stands below another, or whose accumulators the output does not show, is cut off and
//! stored, so that every rule above finds its old value and cost stays in proportion to the change.
//!
//! `cut` replaces each Aggregate by `π_finish(Stage)`: the stored groups with their accumulators, and the projection that
//! makes the user's columns of them. What remains of the tree is linear; it is the last stage, and its stored result is
//! the stream table.

use super::operator::aggregate::{Accumulator, State};
use crate::delta::Leaf;
use crate::query::analysis::keys::keys;
use crate::query::rewrite::map_inputs;
use crate::query::{Column, Rel};
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
            let leaf = Rel::Stage { stage: stages.len(), columns, keys: keys(&group) };
            stages.push(Stage { body: *input, kind: StageKind::Aggregate(state) });
            Rel::Project { input: Box::new(leaf), outputs: names.into_iter().zip(finished).collect() }
        }
        other => other,
    }
}

impl Stage {
    /// The columns of the stored result.
    pub fn columns(&self) -> Vec<Column> {
        match &self.kind {
            StageKind::Aggregate(state) => state.columns(),
            StageKind::Output => self.body.columns(),
        }
    }

    /// What the stage reads, each once.
    pub fn leaves(&self) -> BTreeSet<Leaf> {
        let mut found = BTreeSet::new();
        leaves(&self.body, &mut found);
        found
    }

    /// How each aggregate of the stage is maintained, for `explain_st`.
    pub fn strategies(&self) -> Vec<&'static str> {
        match &self.kind {
            StageKind::Aggregate(state) => state.accumulators.iter().map(Accumulator::strategy).collect(),
            StageKind::Output => Vec::new(),
        }
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
        _ => rel.inputs().into_iter().for_each(|input| leaves(input, found)),
    }
}
