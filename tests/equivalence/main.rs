//! Random queries over random tables under random transactions: after every cycle each stream table equals its query.
//!
//! A case is determined by its seed. Without arguments a fixed row of seeds runs; the environment asks for more:
//! `PGTRICKLE_SEED` runs one seed, `PGTRICKLE_CASES` sets how many run, `PGTRICKLE_FUZZ_MINUTES` goes on with new
//! seeds for as long. A failing case is made small and kept in `regressions/`, which is always run first.

mod case;
mod expression;
mod generate;
mod operators;
mod order;
mod query;
mod schema;
mod script;
mod shrink;
mod subselect;
mod types;
mod write;

use case::Case;
use operators::Operators;
use pgtrickle_tests::{Database, Options, Server};
use script::{Defect, Passed, Script};
use shrink::Shrinker;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Cases of the fixed run: more than five thousand comparisons.
const CASES: u64 = 300;
const THREADS: usize = 2;

/// What is left to do, shared by the threads.
struct Work {
    regressions: Mutex<VecDeque<PathBuf>>,
    next: AtomicU64,
    last: u64,
    deadline: Option<Instant>,
}

#[derive(Default)]
struct Tally {
    passed: AtomicU64,
    failed: AtomicU64,
    checks: AtomicU64,
    /// Queries that were refused, by what the refusal says.
    refused: Mutex<BTreeMap<String, u64>>,
    /// Errors met so far.
    errors: Mutex<BTreeSet<String>>,
}

impl Tally {
    /// The same error is not made small twice; a difference is always worth it.
    fn is_new(&self, defect: &Defect) -> bool {
        let error = defect.message.lines().next().unwrap_or_default().to_string();
        error.starts_with("stream table") || self.errors.lock().expect("no panic holds it").insert(error)
    }
}

fn main() {
    let work = work();
    let tally = Tally::default();
    let started = Instant::now();
    let server = Arc::new(Server::start(Options::default()));
    let operators = Operators::probe(&server);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| run(&server, &work, &operators, &tally));
        }
    });
    let healthy = Arc::into_inner(server).is_some_and(|mut server| server.finish());
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!("{} checks of a query in a cycle, {:.0} s", count(&tally.checks), started.elapsed().as_secs_f64());
    let mut refused: Vec<_> = tally.refused.lock().expect("no panic holds it").clone().into_iter().collect();
    refused.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    for (reason, number) in refused.iter().take(12) {
        println!("{number} queries refused: {reason}");
    }
    println!("test result: {} passed; {} failed", count(&tally.passed), count(&tally.failed));
    if count(&tally.failed) > 0 || !healthy {
        std::process::exit(101);
    }
}

fn work() -> Work {
    let seed: Option<u64> = setting("PGTRICKLE_SEED");
    let minutes: Option<u64> = setting("PGTRICKLE_FUZZ_MINUTES");
    let first = seed.unwrap_or_else(|| if minutes.is_some() { fresh_seed() } else { 1 });
    let cases = match (seed, minutes) {
        (Some(_), _) => setting("PGTRICKLE_CASES").unwrap_or(1),
        (None, Some(_)) => u64::MAX - first,
        (None, None) => setting("PGTRICKLE_CASES").unwrap_or(CASES),
    };
    let regressions = if seed.is_some() { VecDeque::new() } else { regressions() };
    Work {
        regressions: Mutex::new(regressions),
        next: AtomicU64::new(first),
        last: first + cases - 1,
        deadline: minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes)),
    }
}

fn setting<T: FromStr<Err: std::fmt::Debug>>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|error| panic!("{name} is {value}: {error:?}")))
}

/// A start for seeds that no earlier run has used.
fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is after 1970");
    now.as_secs() * 100_000
}

fn directory() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("equivalence/regressions")
}

fn regressions() -> VecDeque<PathBuf> {
    let Ok(entries) = fs::read_dir(directory()) else { return VecDeque::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "script"));
    paths.sort();
    paths.into()
}

fn run(server: &Arc<Server>, work: &Work, operators: &Operators, tally: &Tally) {
    loop {
        let path = work.regressions.lock().expect("no panic holds it").pop_front();
        if let Some(path) = path {
            let text = fs::read_to_string(&path).expect("a regression can be read");
            report(tally, &path.display().to_string(), outcome(server, &Script::parse(&text)));
            continue;
        }
        let seed = work.next.fetch_add(1, Ordering::Relaxed);
        if seed > work.last || work.deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return;
        }
        let _running = Running { seed, server };
        let case = Case::random(seed, operators);
        let result = outcome(server, &case.script);
        if let Err(defect) = &result
            && tally.is_new(defect)
        {
            keep(server, seed, case, defect.clone());
        }
        report(tally, &format!("seed {seed}"), result);
    }
}

/// A case that runs. If it ends otherwise than by a defect, the server is gone: this says which case and why.
struct Running<'a> {
    seed: u64,
    server: &'a Server,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("seed {} ran while: {:#?}", self.seed, self.server.crashes());
        }
    }
}

fn outcome(server: &Arc<Server>, script: &Script) -> Result<Passed, Defect> {
    script.run(&mut Database::create(server, "equivalence", false))
}

fn report(tally: &Tally, name: &str, result: Result<Passed, Defect>) {
    match result {
        Ok(passed) => {
            tally.checks.fetch_add(passed.checks, Ordering::Relaxed);
            for reason in passed.refused {
                *tally.refused.lock().expect("no panic holds it").entry(reason).or_default() += 1;
            }
            tally.passed.fetch_add(1, Ordering::Relaxed);
        }
        Err(defect) => {
            tally.failed.fetch_add(1, Ordering::Relaxed);
            println!("{name} failed in cycle {:?}: {}", defect.cycle, defect.message);
        }
    }
}

/// Shrinks a failing case and writes it down.
fn keep(server: &Arc<Server>, seed: u64, case: Case, defect: Defect) {
    let (small, how) = Shrinker::new(|case: &Case| outcome(server, &case.script).err()).shrink(case, defect);
    let path = directory().join(format!("seed-{seed}.script"));
    let message: String = how.message.lines().map(|line| format!("# {line}\n")).collect();
    let written = fs::create_dir_all(directory()).and_then(|()| fs::write(&path, format!("{message}{}", small.script)));
    match written {
        Ok(()) => println!("seed {seed} made small: {}", path.display()),
        Err(error) => println!("seed {seed} made small, not kept ({error}):\n{}", small.script),
    }
}
