//! Corpora of queries that were written for other ends than this engine. Each query becomes a stream table,
//! DIFFERENTIAL where that is accepted and recomputed where it is not, and must equal itself while every table that
//! it reads changes.
//!
//! Arguments name the corpora to run; without any, all but `regress`, which reads PostgreSQL's source tree. What
//! follows `regress` names files of it.
//! `CORPUS=write` runs everything and writes what became of each query to `<corpus>.expected`; an ordinary run fails
//! where a query is maintained worse than is written there. `CORPUS=all` runs everything and compares;
//! `CORPUS_SCALE` sets the scale factor of TPC-H, `PGTRICKLE_SEED` what is changed and which sample is taken.

mod batch;
mod changes;
mod expected;
mod logic;
mod nexmark;
mod psql;
mod queries;
mod regress;
mod report;
mod tpch;

use pgtrickle_tests::{Database, Options, Server};
use queries::Query;
use std::str::FromStr;
use std::sync::Arc;

/// Queries that share tables.
pub(crate) struct Corpus {
    pub(crate) name: &'static str,
    /// Makes and fills the tables.
    pub(crate) setup: fn(&mut Database, &Scale),
    /// The queries of a batch are stream tables of one database.
    pub(crate) batches: Vec<Vec<Query>>,
    /// Rows to insert, update and delete per table and cycle.
    pub(crate) rows: u32,
    /// Tables and conditions: every second change is about such rows, so that selective queries see some.
    pub(crate) aims: &'static [(&'static str, &'static str)],
    /// Equal values of the results print alike.
    pub(crate) exact: bool,
}

type Maker = fn(&Scale) -> Corpus;

const CORPORA: [(&str, Maker); 3] = [("tpch", tpch::corpus), ("nexmark", nexmark::corpus), ("logic", logic::corpus)];

/// How much is run.
pub(crate) struct Scale {
    pub(crate) seed: u64,
    /// Take only some of the queries of a large corpus.
    pub(crate) sample: bool,
    /// Write expectations instead of comparing with them.
    pub(crate) write: bool,
    pub(crate) cycles: usize,
    /// The scale factor of TPC-H.
    pub(crate) factor: f64,
}

impl Scale {
    fn from_environment() -> Scale {
        let asked: String = setting("CORPUS").unwrap_or_default();
        let everything = ["write", "all"].contains(&asked.as_str());
        assert!(everything || asked.is_empty(), "CORPUS is {asked}; it may be write or all");
        Scale {
            seed: setting("PGTRICKLE_SEED").unwrap_or(1),
            sample: !everything,
            write: asked == "write",
            cycles: if everything { 10 } else { 3 },
            factor: setting("CORPUS_SCALE").unwrap_or(0.01),
        }
    }
}

pub(crate) fn setting<T: FromStr<Err: std::fmt::Debug>>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|error| panic!("{name} is {value}: {error:?}")))
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let scale = Scale::from_environment();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    let server = Arc::new(Server::start(Options::default()));
    let (mut passed, mut failed) = (0, 0);
    for (_, maker) in CORPORA.into_iter().filter(|(name, _)| wanted(name)) {
        let corpus = maker(&scale);
        let outcomes = batch::run(&server, &corpus, &scale);
        let bad = report::report(corpus.name, &outcomes, &scale);
        failed += bad;
        passed += outcomes.len().saturating_sub(bad);
    }
    if asked.first().is_some_and(|asked| asked == "regress") {
        let folder = regress::folder().expect("PGTRICKLE_REGRESS names src/test/regress of a source tree");
        let outcomes = regress::run(&server, &folder, &scale, &asked[1..]);
        let bad = report::report("regress", &outcomes, &scale);
        failed += bad;
        passed += outcomes.len().saturating_sub(bad);
    }
    let healthy = Arc::into_inner(server).is_some_and(|mut server| server.finish());
    println!("test result: {passed} passed; {failed} failed");
    if failed > 0 || !healthy {
        std::process::exit(101);
    }
}
