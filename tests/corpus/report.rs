//! The summary of a corpus.

use crate::Scale;
use crate::batch::{Outcome, Status};
use crate::expected;
use std::collections::BTreeMap;

/// Prints what became of the queries; returns how many failed.
pub(crate) fn report(corpus: &str, outcomes: &[Outcome], scale: &Scale) -> usize {
    let count = |status: Status| outcomes.iter().filter(|outcome| outcome.status == status).count();
    let defects: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.defect.is_some()).collect();
    println!(
        "{corpus}: {} queries: {} incremental, {} full, {} refused; {} wrong",
        outcomes.len(),
        count(Status::Incremental),
        count(Status::Full),
        count(Status::Refused),
        defects.len()
    );
    let still = outcomes.iter().filter(|outcome| outcome.looks.len() == 1).map(|outcome| outcome.query.name.as_str());
    let still: Vec<&str> = still.collect();
    if !still.is_empty() {
        println!("  {} results never changed: {}", still.len(), some(&still));
    }
    reasons(outcomes);
    for outcome in &defects {
        println!("{} {} is wrong: {}", corpus, outcome.query.name, outcome.defect.as_deref().unwrap_or_default());
    }
    if scale.write {
        expected::write(corpus, outcomes);
        return defects.len();
    }
    let expected = expected::read(corpus);
    let (mut worse, mut better) = (0, 0);
    for outcome in outcomes {
        let Some(before) = expected.get(&outcome.query.name) else { continue };
        if outcome.status > *before {
            let reason = outcome.reason.as_deref().unwrap_or_default();
            println!("{corpus} {} was {before} and is {}: {reason}", outcome.query.name, outcome.status);
            worse += usize::from(outcome.defect.is_none());
        }
        better += usize::from(outcome.status < *before);
    }
    if better > 0 {
        println!("{corpus}: {better} queries are maintained better than written down; CORPUS=write");
    }
    defects.len() + worse
}

/// Why queries are not maintained incrementally, the most frequent reason first.
fn reasons(outcomes: &[Outcome]) {
    let mut by_reason: BTreeMap<(Status, &str), Vec<&str>> = BTreeMap::new();
    for outcome in outcomes {
        if let Some(reason) = &outcome.reason {
            by_reason.entry((outcome.status, reason)).or_default().push(&outcome.query.name);
        }
    }
    let mut lines: Vec<_> = by_reason.into_iter().collect();
    lines.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    for ((status, reason), names) in lines {
        println!("  {:4} {status}: {reason} ({})", names.len(), some(&names));
    }
}

fn some(names: &[&str]) -> String {
    let shown = names.iter().take(6).copied().collect::<Vec<_>>().join(" ");
    if names.len() > 6 { format!("{shown} …") } else { shown }
}
