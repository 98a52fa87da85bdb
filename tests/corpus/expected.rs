//! What became of each query when somebody last looked: `<corpus>.expected`, one line per query.

use crate::batch::{Outcome, Status};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn path(corpus: &str) -> PathBuf {
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    Path::new(&package).join(format!("corpus/{corpus}.expected"))
}

/// The expectations of a corpus; none before they are first written.
pub(crate) fn read(corpus: &str) -> BTreeMap<String, Status> {
    let Ok(text) = fs::read_to_string(path(corpus)) else { return BTreeMap::new() };
    let status = |word: &str| match word {
        "incremental" => Status::Incremental,
        "full" => Status::Full,
        "refused" => Status::Refused,
        _ => panic!("{corpus}.expected has a line that ends in {word}"),
    };
    let line = |line: &str| line.rsplit_once(' ').map(|(name, word)| (name.to_string(), status(word)));
    text.lines().filter_map(line).collect()
}

/// Writes down what became of the queries, in their order.
pub(crate) fn write(corpus: &str, outcomes: &[Outcome]) {
    let lines: String = outcomes.iter().map(|outcome| format!("{} {}\n", outcome.query.name, outcome.status)).collect();
    fs::write(path(corpus), lines).expect("the expectations can be written");
}
