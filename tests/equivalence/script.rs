//! A case as a script: what is set up, which stream tables exist, what each cycle does. A script is plain text, so
//! that a failure can be read, kept and run again whatever becomes of the generator.

use pgtrickle_tests::{Comparison, Database, Failure, create, refresh};
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// In the first session.
    Run(String),
    /// In the second, whose transactions stay open across refreshes.
    Second(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) name: String,
    /// The views that the query reads.
    pub(crate) views: Vec<String>,
    pub(crate) query: String,
    pub(crate) columns: Vec<Comparison>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) setup: Vec<String>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) cycles: Vec<Vec<Step>>,
}

/// Why a script failed.
#[derive(Clone, Debug)]
pub(crate) struct Defect {
    /// The cycle, counted from 0; `None` while setting up.
    pub(crate) cycle: Option<usize>,
    pub(crate) message: String,
}

/// What a script without a defect did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passed {
    /// Comparisons made.
    pub(crate) checks: u64,
    /// Why queries were refused: not every combination of operators has its delta. They are recomputed, for others to read.
    pub(crate) refused: Vec<String>,
}

impl Script {
    /// Runs the script up to the first defect.
    pub(crate) fn run(&self, db: &mut Database) -> Result<Passed, Defect> {
        for statement in &self.setup {
            db.attempt(statement).map_err(|failure| defect(None, &failure, statement))?;
        }
        let mut passed = Passed::default();
        let mut streams: Vec<&Stream> = Vec::new();
        for stream in &self.streams {
            match create_one(db, stream)? {
                None => streams.push(stream),
                Some(reason) => passed.refused.push(reason),
            }
        }
        match self.reads_clock() {
            true => self.refresh(db, None)?,
            false => compare(db, None)?,
        }
        let mut second = db.connect();
        for (number, steps) in self.cycles.iter().enumerate() {
            let at = |failure: Failure, sql: &str| defect(Some(number), &failure, sql);
            let mut doomed = false;
            for step in steps {
                match step {
                    Step::Second(sql) => second.attempt(sql).map_err(|failure| at(failure, sql))?,
                    Step::Run(sql) if doomed => {
                        let ends = ["COMMIT", "ROLLBACK", "ROLLBACK TO s"].contains(&sql.as_str());
                        // The savepoint may be one that was not reached.
                        doomed = !ends || db.attempt(sql).is_err();
                    }
                    Step::Run(sql) => match db.attempt(sql) {
                        Ok(()) => {}
                        Err(failure) if is_expected(&failure) => doomed = in_transaction(db),
                        Err(failure) => return Err(at(failure, sql)),
                    },
                }
            }
            self.refresh(db, Some(number))?;
            let truncated = steps.iter().any(|step| matches!(step, Step::Run(sql) if sql.starts_with("TRUNCATE")));
            match streams.iter().find_map(|stream| db.fallback_of(&stream.name)) {
                Some(_) if truncated => db.accept_full(),
                Some(message) => return Err(Defect { cycle: Some(number), message }),
                None => {}
            }
            passed.checks += streams.len() as u64;
        }
        Ok(passed)
    }
}

impl Script {
    /// Refreshes all stream tables and compares them; at one clock, if they go by it.
    fn refresh(&self, db: &mut Database, cycle: Option<usize>) -> Result<(), Defect> {
        let at = |failure: Failure, sql: &str| defect(cycle, &failure, sql);
        let [begin, end] = if self.reads_clock() { ["BEGIN", "COMMIT"] } else { ["SELECT 1"; 2] };
        db.attempt(begin).map_err(|failure| at(failure, begin))?;
        for stream in &self.streams {
            let sql = refresh(&stream.name);
            db.attempt(&sql).map_err(|failure| at(failure, &sql))?;
        }
        compare(db, cycle)?;
        db.attempt(end).map_err(|failure| at(failure, end))
    }

    fn reads_clock(&self) -> bool {
        self.streams.iter().any(|stream| stream.views.iter().chain([&stream.query]).any(|sql| sql.contains("now()")))
    }
}

/// Makes the stream table; the reason, if it has no delta and is recomputed.
fn create_one(db: &mut Database, stream: &Stream) -> Result<Option<String>, Defect> {
    for statement in stream.views.iter().chain([&format!("EXPLAIN {}", stream.query)]) {
        let outcome = db.attempt(statement);
        outcome.map_err(|failure| defect(None, &failure, &format!("the query itself: {statement}")))?;
    }
    let mut make = |mode: &str| {
        db.attempt(&create(&stream.name, &stream.query, &format!("schedule => '1h', refresh_mode => '{mode}'")))
    };
    let refused = match make("DIFFERENTIAL") {
        Ok(()) => None,
        Err(failure) if ["0A000", "54000"].contains(&failure.sqlstate.as_str()) => {
            make("FULL").map_err(|failure| defect(None, &failure, &stream.query))?;
            Some(failure.message)
        }
        Err(failure) => return Err(defect(None, &failure, &stream.query)),
    };
    db.track_columns(&stream.name, &stream.query, stream.columns.clone());
    // Few rows are changed one by one, and tables are small here: half of the stream tables are changed by statements.
    if stream.name.bytes().map(usize::from).sum::<usize>().is_multiple_of(2) {
        db.change_by_statement(&stream.name);
    }
    Ok(refused)
}

/// Errors that random data may well meet: keys that exist already, rows that a statement would change twice.
fn is_expected(failure: &Failure) -> bool {
    ["23505", "21000"].contains(&failure.sqlstate.as_str())
}

/// After an error: true inside a transaction that now refuses everything.
fn in_transaction(db: &mut Database) -> bool {
    db.attempt("SELECT 1").is_err()
}

fn compare(db: &mut Database, cycle: Option<usize>) -> Result<(), Defect> {
    match db.difference() {
        None => Ok(()),
        Some(message) => Err(Defect { cycle, message }),
    }
}

fn defect(cycle: Option<usize>, failure: &Failure, sql: &str) -> Defect {
    Defect { cycle, message: format!("{failure:?}\n in: {sql}") }
}

impl fmt::Display for Script {
    /// One statement per line; `@` lines say what follows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "@setup")?;
        for statement in &self.setup {
            writeln!(f, "{statement}")?;
        }
        for stream in &self.streams {
            let columns = stream.columns.iter().map(|column| if *column == Comparison::Text { 't' } else { 'v' });
            writeln!(f, "@stream {} {}", stream.name, columns.collect::<String>())?;
            for statement in stream.views.iter().chain([&stream.query]) {
                writeln!(f, "{statement}")?;
            }
        }
        for cycle in &self.cycles {
            writeln!(f, "@cycle")?;
            for step in cycle {
                match step {
                    Step::Run(sql) => writeln!(f, "{sql}")?,
                    Step::Second(sql) => writeln!(f, "@second {sql}")?,
                }
            }
        }
        Ok(())
    }
}

impl Script {
    /// Reads what [`Script::fmt`] writes. Lines that begin with `#` are comments.
    pub(crate) fn parse(text: &str) -> Script {
        let mut script = Script::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line == "@setup" {
            } else if let Some(rest) = line.strip_prefix("@stream ") {
                let (name, columns) = rest.split_once(' ').expect("@stream has a name and its columns");
                let columns = columns.chars().map(|c| if c == 't' { Comparison::Text } else { Comparison::Value });
                let (views, query) = (Vec::new(), String::new());
                script.streams.push(Stream { name: name.into(), views, query, columns: columns.collect() });
            } else if line == "@cycle" {
                script.cycles.push(Vec::new());
            } else if let Some(sql) = line.strip_prefix("@second ") {
                script.cycles.last_mut().expect("@second is part of a cycle").push(Step::Second(sql.into()));
            } else if let Some(cycle) = script.cycles.last_mut() {
                cycle.push(Step::Run(line.into()));
            } else if let Some(stream) = script.streams.last_mut() {
                // The query is the last line, views come before it.
                if !stream.query.is_empty() {
                    stream.views.push(std::mem::take(&mut stream.query));
                }
                stream.query = line.into();
            } else {
                script.setup.push(line.into());
            }
        }
        script
    }
}
