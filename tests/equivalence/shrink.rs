//! Makes a failing case small: fewer stream tables, cycles, statements, and a simpler query, as long as it goes on
//! failing in the same way.

use crate::case::Case;
use crate::script::{Defect, Step};

/// How many variants to try; each takes a database of its own.
const ATTEMPTS: usize = 400;

pub(crate) struct Shrinker<F> {
    /// Runs a case; its defect, if it has one.
    pub(crate) run: F,
    pub(crate) attempts: usize,
}

impl<F: FnMut(&Case) -> Option<Defect>> Shrinker<F> {
    pub(crate) fn new(run: F) -> Self {
        Shrinker { run, attempts: 0 }
    }

    /// The smallest case found, and how it fails.
    pub(crate) fn shrink(&mut self, case: Case, defect: Defect) -> (Case, Defect) {
        let (mut best, mut how) = (case, defect);
        loop {
            let before = self.attempts;
            let mut progress = false;
            for candidates in [without_cycles, without_streams, without_steps, simpler_queries] {
                let mut next = 0;
                loop {
                    let variants = candidates(&best, &how);
                    let Some(variant) = variants.into_iter().nth(next) else { break };
                    if self.attempts >= ATTEMPTS {
                        return (best, how);
                    }
                    self.attempts += 1;
                    match (self.run)(&variant) {
                        Some(found) if found.is_like(&how) => {
                            (best, how) = (variant, found);
                            progress = true;
                        }
                        _ => next += 1,
                    }
                }
            }
            if !progress || self.attempts == before {
                return (best, how);
            }
        }
    }
}

impl Defect {
    /// Both are differences from the oracle, or the same error at the same stage.
    fn is_like(&self, other: &Defect) -> bool {
        let kind = |message: &str| message.split(['"', ':', '\n']).next().map(|head| head.len().min(12)).unwrap_or(0);
        let head = |message: &str| message.get(..kind(message)).map(str::to_string);
        let code =
            |message: &str| message.split("sqlstate: ").nth(1).and_then(|rest| rest.get(..7)).map(str::to_string);
        self.cycle.is_some() == other.cycle.is_some()
            && head(&self.message) == head(&other.message)
            && code(&self.message) == code(&other.message)
    }
}

fn without_cycles(case: &Case, defect: &Defect) -> Vec<Case> {
    let mut variants = Vec::new();
    if let Some(last) = defect.cycle
        && last + 1 < case.script.cycles.len()
    {
        let mut changed = case.clone();
        changed.script.cycles.truncate(last + 1);
        variants.push(changed);
    }
    for skip in 0..case.script.cycles.len() {
        let mut changed = case.clone();
        changed.script.cycles.remove(skip);
        variants.push(changed);
    }
    variants
}

fn without_streams(case: &Case, _: &Defect) -> Vec<Case> {
    if case.queries.len() == 1 {
        return Vec::new();
    }
    (0..case.queries.len()).rev().map(|position| case.without_stream(position)).collect()
}

fn without_steps(case: &Case, _: &Defect) -> Vec<Case> {
    let mut variants = Vec::new();
    for (number, steps) in case.script.cycles.iter().enumerate() {
        let without = |range: std::ops::Range<usize>| {
            let mut changed = case.clone();
            changed.script.cycles[number].drain(range);
            changed
        };
        for (start, step) in steps.iter().enumerate() {
            let is = |step: &Step, words: &[&str]| matches!(step, Step::Run(sql) if words.contains(&sql.as_str()));
            if is(step, &["BEGIN"]) {
                let length = steps[start..].iter().position(|step| is(step, &["COMMIT", "ROLLBACK"]));
                variants.push(without(start..start + length.map_or(1, |length| length + 1)));
                if let Some(length) = length {
                    // The same statements as transactions of their own.
                    let mut changed = case.clone();
                    changed.script.cycles[number].remove(start + length);
                    changed.script.cycles[number].remove(start);
                    variants.push(changed);
                }
                continue;
            }
            variants.push(without(start..start + 1));
        }
    }
    variants
}

fn simpler_queries(case: &Case, _: &Defect) -> Vec<Case> {
    let mut variants = Vec::new();
    for (position, query) in case.queries.iter().enumerate() {
        for descendant in query.descendants() {
            variants.push(case.with_query(position, descendant.clone()));
        }
        for simpler in query.simpler().into_iter().chain(query.narrower()) {
            variants.push(case.with_query(position, simpler));
        }
    }
    variants
}
