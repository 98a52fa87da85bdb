//! Which aggregations are restricted to the keys of what is joined with them.

use crate::pg::executor::Statement;
use crate::pg::object;
use crate::pg::relation::leading_columns;
use pgtrickle_engine::delta::operator::{self, Context};
use pgtrickle_engine::delta::{Storage, probes};
use pgtrickle_engine::query::Rel;
use pgtrickle_engine::query::rewrite::restrict::Candidate;
use pgtrickle_engine::sql::QualifiedName;
use std::collections::BTreeSet;

/// The largest part of its source's rows that the filter may leave.
const FEW: f64 = 0.25;
/// So many rows of a group may have to be looked up when its key comes.
const MOST_PER_KEY: f64 = 100.0;

/// By the planner's estimates: few rows pass the filter, each with a key of its own, and the rows of one key are few and found by an index. It is decided for long, so tables that
/// were never counted restrict nothing.
pub fn is_worth_it(candidate: &Candidate) -> bool {
    let Rel::Filter { input, .. } = candidate.filtered else { return false };
    let Rel::Scan(keyed) = input.as_ref() else { return false };
    let leading = |(relid, attnum): &(u32, i16)| leading_columns(*relid).contains(attnum);
    let looked_up = probes::source_columns(candidate.rows, candidate.columns).into_iter().find(leading);
    let rows = looked_up.map_or(0.0, |(relid, _)| object::estimated_rows(relid));
    let keys = object::estimated_rows(keyed.relid);
    candidate.is_unique() && rows > 0.0 && rows <= MOST_PER_KEY * keys && expected(candidate.filtered) <= FEW * keys
}

/// How many rows the planner expects of `rel`, which reads nothing that is stored for a stream table.
fn expected(rel: &Rel) -> f64 {
    let storage = Storage { stream_table: QualifiedName::new("", ""), states: Vec::new() };
    let content = operator::now(rel, &Context::new(&storage, &BTreeSet::new()));
    Statement::prepare(&content, &[], &[]).rows(&[])
}
