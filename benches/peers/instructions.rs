//! Instruction counts of the compiler, as `cargo bench --bench instructions` of the engine prints them: a JSON object
//! for each benchmark.

use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;

/// Reads what was printed into `file`: the name of each benchmark and its count.
pub(crate) fn read(file: &Path) -> Result<Vec<(String, u64)>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<(String, u64)>> {
    let benchmarks = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    benchmarks.map(|benchmark| counted(&benchmark?).context("a benchmark has no instruction count")).collect()
}

fn counted(benchmark: &Value) -> Option<(String, u64)> {
    let (function, of) = (benchmark["function_name"].as_str()?, benchmark["description"].as_str()?);
    let count = &benchmark["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"]["new"];
    Some((format!("{function} {})", of.trim_start_matches('(').trim_end_matches("))")), count.as_u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_the_new_run_counts() {
        let one = r#"{"function_name": "load", "description": "(stored(5))", "profiles": [
            {"data": {"total": {"metrics": {"Ir": {"values": {"new": 7, "old": 8}}}}}}]}"#;
        let counts = parse(&format!("{one}\n{one}")).unwrap();
        assert_eq!(counts[0], ("load stored(5)".to_owned(), 7));
        assert_eq!(counts.len(), 2);
        assert!(parse("{}").is_err());
    }
}
