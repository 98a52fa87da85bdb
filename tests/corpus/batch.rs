//! Runs batches of queries, two at a time: create, change, refresh, compare.

use crate::changes::Changer;
use crate::queries::Query;
use crate::{Corpus, Scale};
use pgtrickle_tests::{Database, Failure, Server, create, refresh};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread;

const THREADS: usize = 2;
/// What a refusal says; anything else is an accident. The last are PostgreSQL's: a column of a pseudo-type, a constant
/// that it prints and does not read, a table that an open cursor reads, a name in a string that is not on the path.
const DELIBERATE: [&str; 10] =
    ["0A000", "54000", "42501", "42000", "22007", "22008", "55006", "42701", "42704", "42P01"];
/// A statement that took too long.
const CANCELLED: &str = "57014";

/// How a query is maintained, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    Incremental,
    Full,
    Refused,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Incremental => "incremental",
            Status::Full => "full",
            Status::Refused => "refused",
        })
    }
}

/// What became of a query.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) query: Query,
    pub(crate) status: Status,
    /// Why the query is not maintained incrementally.
    pub(crate) reason: Option<String>,
    /// A wrong result or an error that no refusal explains.
    pub(crate) defect: Option<String>,
    /// What the result looked like after each cycle; a query whose result never changes shows little.
    pub(crate) looks: BTreeSet<String>,
}

/// Runs every batch in a database of its own.
pub(crate) fn run(server: &Arc<Server>, corpus: &Corpus, scale: &Scale) -> Vec<Outcome> {
    let queue: Mutex<VecDeque<(usize, &Vec<Query>)>> = Mutex::new(corpus.batches.iter().enumerate().collect());
    let done: Mutex<Vec<(usize, Vec<Outcome>)>> = Mutex::new(Vec::new());
    let next = || queue.lock().expect("no panic holds it").pop_front();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((number, queries)) = next() {
                    let mut db = Database::create(server, corpus.name, false);
                    (corpus.setup)(&mut db, scale);
                    let mut changer = Changer::over_all_tables(&mut db, scale.seed + number as u64, corpus);
                    let mut outcomes: Vec<Outcome> = (queries.iter().enumerate())
                        .map(|(position, query)| create_one(&mut db, position, query, corpus.exact))
                        .collect();
                    for cycle in 1..=scale.cycles {
                        changer.change(&mut db, cycle);
                        for (position, outcome) in outcomes.iter_mut().enumerate() {
                            check_one(&mut db, position, outcome, cycle);
                        }
                    }
                    done.lock().expect("no panic holds it").push((number, outcomes));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic holds it");
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().flat_map(|(_, outcomes)| outcomes).collect()
}

/// Runs `body`; inside a transaction its error undoes no more than itself.
fn protected<T>(db: &mut Database, body: impl FnOnce(&mut Database) -> Result<T, Failure>) -> Result<T, Failure> {
    if db.attempt("SAVEPOINT protected").is_err() {
        return body(db);
    }
    let result = body(db);
    db.run(if result.is_ok() { "RELEASE protected" } else { "ROLLBACK TO protected; RELEASE protected" });
    result
}

fn stream_name(position: usize) -> String {
    format!("st{position}")
}

/// Makes the query a stream table and lets the oracle watch it.
pub(crate) fn create_one(db: &mut Database, position: usize, query: &Query, exact: bool) -> Outcome {
    if let Err(failure) = protected(db, |db| db.attempt(&format!("EXPLAIN {}", query.sql))) {
        panic!("{} is not a query: {failure:?}\n{}", query.name, query.sql);
    }
    let name = stream_name(position);
    let mut outcome = Outcome {
        query: query.clone(),
        status: Status::Incremental,
        reason: None,
        defect: None,
        looks: BTreeSet::new(),
    };
    let mut attempt = |mode: &str| {
        let call = create(&name, &query.sql, &format!("schedule => '1h', refresh_mode => '{mode}'"));
        protected(db, |db| db.attempt(&call))
    };
    if let Err(failure) = attempt("DIFFERENTIAL") {
        refused(&mut outcome, &failure, Status::Full);
        if let Err(failure) = attempt("AUTO") {
            refused(&mut outcome, &failure, Status::Refused);
        }
    }
    if outcome.status != Status::Refused {
        if exact {
            db.track(&name, &query.sql);
        } else {
            db.track_by_value(&name, &query.sql);
        }
        compare(db, position, &mut outcome, 0);
    }
    outcome
}

fn refused(outcome: &mut Outcome, failure: &Failure, status: Status) {
    outcome.status = status;
    outcome.reason = Some(format!("{} {}", failure.sqlstate, failure.message));
    if !DELIBERATE.contains(&failure.sqlstate.as_str()) {
        outcome.defect.get_or_insert(format!("creation fails: {failure:?}"));
    }
}

/// Refreshes and compares, unless the query has failed before.
pub(crate) fn check_one(db: &mut Database, position: usize, outcome: &mut Outcome, cycle: usize) {
    if outcome.status == Status::Refused || outcome.defect.is_some() {
        return;
    }
    let name = stream_name(position);
    if let Err(failure) = protected(db, |db| db.attempt(&refresh(&name))) {
        // A query that fails itself, such as one whose scalar sub-select has come to give two rows, may say so; and one that does
        // not end may be told to.
        let own = format!("SELECT count(q::text) FROM ({}\n) AS q", outcome.query.sql);
        let own = protected(db, |db| db.attempt(&own)).err();
        if own.is_none_or(|own| own.sqlstate != failure.sqlstate && own.sqlstate != CANCELLED) {
            outcome.defect = Some(format!("the refresh of cycle {cycle} fails: {failure:?}"));
        }
        return;
    }
    compare(db, position, outcome, cycle);
    if outcome.status == Status::Incremental && outcome.defect.is_none() {
        outcome.defect = db.fallback_of(&name).map(|fallback| format!("in cycle {cycle}: {fallback}"));
    }
}

fn compare(db: &mut Database, position: usize, outcome: &mut Outcome, cycle: usize) {
    let name = stream_name(position);
    match protected(db, |db| db.difference_of(&name)) {
        Ok(None) => {
            let look = format!("SELECT count(*), sum(hashtext(s::text)) FROM {name} AS s");
            outcome.looks.extend(db.lines(&look));
        }
        Ok(Some(difference)) => outcome.defect = Some(format!("in cycle {cycle}: {difference}")),
        // Some type has no equality, or not one that goes together with the others', at the first look.
        Err(failure) if ["42883", "0A000"].contains(&failure.sqlstate.as_str()) && cycle == 0 => {
            db.track_as_text(&name);
            compare(db, position, outcome, 1);
        }
        Err(failure) => outcome.defect = Some(format!("the comparison of cycle {cycle} fails: {failure:?}")),
    }
}
