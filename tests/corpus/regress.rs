//! PostgreSQL's own regression tests as a corpus: their files run statement by statement in one database, and each
//! SELECT that stands alone is made a stream table on the way, in a transaction that is rolled back.
//!
//! The files are read where a source tree has them: `PGTRICKLE_REGRESS` names `src/test/regress`, otherwise the build
//! folder of the cache is asked. Their tables hold what decides few orders; a query whose result depends on the plan
//! is no test and is left out. What cannot be a test for another reason is listed in [`LEFT_OUT`]. Temporary tables,
//! which no stream table can read, are made permanent ones until the end of their file, unless their name is taken.

use crate::Scale;
use crate::batch::{Outcome, Status, check_one, create_one};
use crate::changes::Changer;
use crate::psql::{Piece, Variables, split};
use crate::queries::Query;
use pgtrickle_tests::{Database, Server};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// In an order in which each finds what it needs.
const FILES: [&str; 48] = [
    "test_setup",
    "create_index",
    "select",
    "select_distinct",
    "select_distinct_on",
    "select_implicit",
    "select_having",
    "subselect",
    "union",
    "case",
    "join",
    "aggregates",
    "groupingsets",
    "window",
    "with",
    "limit",
    "rowtypes",
    "tsrf",
    "rangefuncs",
    "arrays",
    "json",
    "jsonb",
    "jsonb_jsonpath",
    "jsonpath",
    "sqljson",
    "sqljson_queryfuncs",
    "sqljson_jsontable",
    "inherit",
    "generated_stored",
    "generated_virtual",
    "partition_join",
    "partition_aggregate",
    "partition_prune",
    "equivclass",
    "functional_deps",
    "tuplesort",
    "incremental_sort",
    "join_hash",
    "numeric",
    "text",
    "strings",
    "date",
    "timestamp",
    "interval",
    "rangetypes",
    "multirangetypes",
    "enum",
    "domain",
];

/// Queries that are no tests, by file and line of PostgreSQL 18.6, and why.
const LEFT_OUT: [(&str, &str); 54] = [
    ("create_index:1076", PATH),
    ("create_index:1091", PATH),
    ("create_index:1170", PATH),
    ("create_index:1190", PATH),
    ("rangefuncs:21", PATH),
    ("rangefuncs:28", PATH),
    ("rangefuncs:214", PATH),
    ("rangefuncs:780", PATH),
    ("rangefuncs:791", PATH),
    ("inherit:158", PATH),
    ("inherit:166", PATH),
    ("inherit:183", PATH),
    ("inherit:191", PATH),
    ("inherit:211", PATH),
    ("inherit:509", PATH),
    ("inherit:585", PATH),
    ("inherit:926", PATH),
    ("inherit:939", PATH),
    ("inherit:1008", PATH),
    ("inherit:1035", PATH),
    ("inherit:1111", PATH),
    ("inherit:1117", PATH),
    ("inherit:1123", PATH),
    ("inherit:1140", PATH),
    ("inherit:1150", PATH),
    ("inherit:1158", PATH),
    ("aggregates:620", PATH),
    ("groupingsets:289", PATH),
    ("with:268", PATH),
    ("with:269", PATH),
    ("subselect:987", "which of two equal values UNION keeps decides"),
    ("subselect:995", "which of two equal values INTERSECT keeps decides"),
    ("subselect:1003", "which of two equal values INTERSECT ALL keeps decides"),
    ("subselect:1016", "which of two equal values UNION keeps decides"),
    ("json:703", ORDER),
    ("json:706", ORDER),
    ("window:1415", ORDER),
    ("sqljson_queryfuncs:471", "JSON_VALUE remembers that it failed for a row before"),
    ("tuplesort:49", ORDER),
    ("aggregates:865", ORDER),
    ("aggregates:866", ORDER),
    ("aggregates:867", ORDER),
    ("aggregates:922", ORDER),
    ("aggregates:929", ORDER),
    ("aggregates:1457", "parallel workers change its result"),
    ("tsrf:86", ORDER),
    ("window:80", ORDER),
    ("window:84", ORDER),
    ("window:1171", ORDER),
    ("window:1652", ORDER),
    ("window:1669", ORDER),
    ("window:1672", ORDER),
    ("domain:797", PATH),
    ("domain:805", PATH),
];
const PATH: &str = "it looks names up, or prints them, by the search path";
const ORDER: &str = "its result depends on the order of rows that no clause gives";

/// The folder `src/test/regress` of a source tree.
pub(crate) fn folder() -> Option<PathBuf> {
    if let Ok(folder) = std::env::var("PGTRICKLE_REGRESS") {
        return Some(folder.into());
    }
    let builds = fs::read_dir(Path::new(&std::env::var("PGTRICKLE_CACHE").ok()?).join("build")).ok()?;
    let mut trees: Vec<PathBuf> = builds.filter_map(|entry| Some(entry.ok()?.path())).collect();
    trees.retain(|tree| tree.to_string_lossy().contains("postgresql-18") && tree.join("src/test/regress/sql").is_dir());
    trees.sort();
    Some(trees.pop()?.join("src/test/regress"))
}

/// Runs the files; only those named, if any are.
pub(crate) fn run(server: &Arc<Server>, folder: &Path, scale: &Scale, named: &[String]) -> Vec<Outcome> {
    let mut db = Database::create(server, "regression", false);
    db.run("SET statement_timeout = '20s'");
    let mut runner = Runner { db, scale, outcomes: Vec::new(), made: Vec::new() };
    let mut variables = Variables::default();
    let environment = |name: &str| (name == "PG_ABS_SRCDIR").then(|| folder.display().to_string());
    let wanted = |file: &str| named.is_empty() || file == "test_setup" || named.iter().any(|name| name == file);
    for file in FILES.into_iter().filter(|file| wanted(file)) {
        let path = folder.join("sql").join(format!("{file}.sql"));
        let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let pieces = split(&String::from_utf8_lossy(&text), &mut variables, &environment);
        let (started, before) = (Instant::now(), runner.outcomes.len());
        runner.file(file, &pieces);
        println!("{file}: {} queries in {:.0} s", runner.outcomes.len() - before, started.elapsed().as_secs_f64());
    }
    runner.outcomes
}

struct Runner<'a> {
    db: Database,
    scale: &'a Scale,
    outcomes: Vec<Outcome>,
    /// What removes the relations that are permanent for the time of a file.
    made: Vec<String>,
}

struct Permanent<'a> {
    sql: String,
    kind: &'a str,
    name: &'a str,
}

/// `CREATE TEMP TABLE …` and its like without TEMP.
fn without_temporary(sql: &str) -> Option<Permanent<'_>> {
    let words: Vec<&str> = sql.split_whitespace().collect();
    let is =
        |at: usize, names: &[&str]| words.get(at).is_some_and(|word| names.contains(&word.to_uppercase().as_str()));
    let temporary = (1..4).find(|at| is(*at, &["TEMP", "TEMPORARY"]))?;
    let at = temporary + 1;
    if !is(0, &["CREATE"]) || !is(at, &["TABLE", "VIEW"]) {
        return None;
    }
    let name = words.get(at + 1)?.split('(').next()?;
    let word = words[temporary];
    Some(Permanent { sql: sql.replacen(word, "", 1), kind: words[at], name })
}

impl Runner<'_> {
    fn file(&mut self, file: &str, pieces: &[Piece]) {
        let mut pieces = pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            let Piece::Statement { line, sql } = piece else { continue };
            if let Some(Piece::Data(rows)) = pieces.peek() {
                // A failed COPY leaves the client waiting for an answer that it has had.
                if self.db.try_copy(sql, rows).is_err() {
                    self.reconnect();
                }
                continue;
            }
            // The protocol of a simple query has no room for COPY's data.
            if sql.to_uppercase().starts_with("COPY") && sql.to_uppercase().contains("STD") {
                continue;
            }
            let word: String = sql.trim_start_matches('(').chars().take_while(char::is_ascii_alphabetic).collect();
            let reads = ["SELECT", "WITH", "VALUES", "TABLE"].contains(&word.to_uppercase().as_str());
            if self.permanently(sql) {
                continue;
            }
            if self.db.attempt(sql).is_ok() && reads {
                self.candidate(&format!("{file}:{line}"), sql);
            }
        }
        if self.db.attempt("ROLLBACK").is_err_and(|failure| failure.sqlstate.is_empty()) {
            println!("{file}: the connection was lost");
            self.reconnect();
        }
        self.db.run("RESET SESSION AUTHORIZATION");
        for drop in std::mem::take(&mut self.made) {
            // The file may have dropped it, or made something else of it.
            let _gone_already = self.db.attempt(&drop);
        }
        self.db.run("DISCARD ALL");
        self.db.run("SET statement_timeout = '20s'");
    }

    /// Runs a statement that makes a temporary relation as one that makes a permanent one, if it is such and can be.
    fn permanently(&mut self, sql: &str) -> bool {
        let Some(permanent) = without_temporary(sql) else { return false };
        let inside = self.db.attempt("SAVEPOINT permanent").is_ok();
        let made = self.db.attempt(&permanent.sql).is_ok();
        if inside {
            self.db.run(if made { "RELEASE permanent" } else { "ROLLBACK TO permanent; RELEASE permanent" });
        }
        if made {
            self.made.push(format!("DROP {} IF EXISTS {} CASCADE", permanent.kind, permanent.name));
        }
        made
    }

    fn reconnect(&mut self) {
        let fresh = self.db.connect();
        *self.db = fresh;
        self.db.run("SET statement_timeout = '20s'");
    }

    /// Tries a statement that has just succeeded, and leaves no trace.
    fn candidate(&mut self, name: &str, sql: &str) {
        let inside = self.db.attempt("SAVEPOINT candidate").is_ok();
        if !inside {
            self.db.run("BEGIN; SAVEPOINT candidate");
        }
        self.db.run("SET LOCAL SESSION AUTHORIZATION DEFAULT; SET LOCAL ROLE NONE");
        if let Some(query) = self.stand_alone(name, sql) {
            let outcome = self.stream(&query);
            self.outcomes.push(outcome);
        }
        self.db.untrack("st0");
        self.db.run(if inside { "ROLLBACK TO candidate; RELEASE candidate" } else { "ROLLBACK" });
    }

    /// The statement as a query with columns of names of their own, if it can be a sub-select.
    fn stand_alone(&mut self, name: &str, sql: &str) -> Option<Query> {
        let names = self.quietly(|db| db.try_columns(&format!("SELECT * FROM ({sql}\n) AS q LIMIT 0")))?;
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        let given: Vec<String> = (1..=names.len()).map(|i| format!("c{i}")).collect();
        let sql = if names.is_empty() {
            return None;
        } else if sorted.len() == names.len() && !names.iter().any(|name| name == "?column?") {
            sql.to_string()
        } else {
            format!("SELECT * FROM ({sql}\n) AS q({})", given.join(", "))
        };
        let query = Query { name: name.to_string(), sql };
        (!LEFT_OUT.iter().any(|(known, _)| *known == name)).then_some(query)
    }

    /// Runs `body`; its error undoes what it did and is dropped.
    fn quietly<T>(&mut self, body: impl FnOnce(&mut Database) -> Result<T, pgtrickle_tests::Failure>) -> Option<T> {
        if let Err(failure) = self.db.attempt("SAVEPOINT attempt") {
            panic!("{failure:?} after {:?}", self.outcomes.last().map(|outcome| &outcome.query));
        }
        let result = body(&mut self.db);
        self.db.run(if result.is_ok() { "RELEASE attempt" } else { "ROLLBACK TO attempt; RELEASE attempt" });
        result.ok()
    }

    /// Creates, changes, refreshes, compares.
    fn stream(&mut self, query: &Query) -> Outcome {
        let mut outcome = create_one(&mut self.db, 0, query, false);
        if outcome.status == Status::Refused || outcome.defect.is_some() {
            return outcome;
        }
        let sources = self.db.lines(
            "SELECT DISTINCT d.source_relid::regclass::text FROM pgtrickle.pgt_dependencies AS d \
             JOIN pg_class AS c ON c.oid = d.source_relid WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p') ORDER BY 1",
        );
        let mut changer = Changer::over(&mut self.db, &sources, self.scale.seed, 6);
        for cycle in 1..=2 {
            changer.change_inside(&mut self.db, cycle);
            check_one(&mut self.db, 0, &mut outcome, cycle);
        }
        let differs = outcome.defect.as_ref().is_some_and(|defect| defect.contains("differs"));
        if differs && !self.decided(&query.sql) {
            outcome.defect = None;
            outcome.reason.get_or_insert("its result depends on the plan".into());
        }
        outcome
    }

    /// Whether other plans give the same rows.
    fn decided(&mut self, sql: &str) -> bool {
        let rows = format!("SELECT md5(string_agg(q::text, '|' ORDER BY q::text)) FROM ({sql}\n) AS q");
        let plans = [
            "SELECT 1",
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashagg = off; SET LOCAL enable_hashjoin = off",
            "SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; \
             SET LOCAL enable_mergejoin = off; SET LOCAL enable_hashagg = on; SET LOCAL enable_sort = off; \
             SET LOCAL enable_bitmapscan = off",
        ];
        let results: Vec<Option<Vec<String>>> = (plans.iter())
            .map(|plan| {
                self.quietly(|db| {
                    db.attempt(plan)?;
                    Ok(db.try_rows(&rows)?.into_iter().flatten().flatten().collect())
                })
            })
            .collect();
        results.iter().all(|result| *result == results[0])
    }
}
