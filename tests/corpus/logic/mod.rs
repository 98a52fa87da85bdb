//! Queries that combine what SQL has, systematically: each family crosses the forms of one construct with predicates,
//! inputs and what stands above. An order that decides a result is total over the rows, up to rows that are equal.

mod aggregates;
mod joins;
mod layers;
mod misc;
mod sets;
mod subselects;
mod windows;

use crate::queries::Query;
use crate::{Corpus, Scale};
use pgtrickle_tests::Database;

/// Stream tables per database.
const BATCH: usize = 60;
/// An ordinary run takes every so many queries.
const SAMPLE: usize = 5;

/// The queries of the families, in order.
#[derive(Default)]
pub(crate) struct Queries {
    list: Vec<Query>,
}

impl Queries {
    fn add(&mut self, name: &[&str], sql: impl Into<String>) {
        self.list.push(Query { name: name.join("."), sql: sql.into() });
    }
}

pub(crate) fn corpus(scale: &Scale) -> Corpus {
    let mut queries = Queries::default();
    for family in [joins::add, subselects::add, aggregates::add, windows::add, sets::add, misc::add, layers::add] {
        family(&mut queries);
    }
    let all = queries.list;
    assert!(all.len() >= 1000, "{} queries", all.len());
    let step = if scale.sample { SAMPLE } else { 1 };
    let chosen: Vec<Query> = all.into_iter().skip(scale.seed as usize % step).step_by(step).collect();
    let batches = chosen.chunks(BATCH).map(<[Query]>::to_vec).collect();
    Corpus { name: "logic", setup, batches, rows: 5, aims: &[], exact: true }
}

fn setup(db: &mut Database, _: &Scale) {
    db.run(include_str!("tables.sql"));
}
