//! `validate_query` and `explain_query_rewrite`: what would become of a query, without creating anything.

use super::advice;
use crate::catalog::Mode;
use crate::error::{Error, Result};
use crate::import::{self, Construct, Imported, Pass, SourceKind};
use crate::pg::object;
use pgtrickle_engine::query::{Rel, Volatility};

/// A row of `validate_query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub result: String,
    pub severity: &'static str,
}

fn info(name: &'static str, result: impl Into<String>) -> Check {
    Check { name, result: result.into(), severity: "INFO" }
}

/// The rows of `validate_query`, the mode first that AUTO would choose.
///
/// # Errors
/// PostgreSQL's own for a query that it does not understand, and those that say that the text is no SELECT.
pub fn checks(query: &str) -> Result<Vec<Check>> {
    let imported = match import::import(query) {
        Ok(imported) => imported,
        Err(error @ (Error::Refused { .. } | Error::TooComplex(_))) => return Ok(refused(&error)),
        Err(error) => return Err(error),
    };
    let mut rows = mode(&imported);
    rows.extend(matviews_and_foreign_tables(&imported));
    let warnings = advice::warnings(&imported, Mode::Auto).into_iter();
    rows.extend(warnings.map(|warning| Check { severity: "WARNING", ..info("parse_warning", warning) }));
    if imported.tree.as_ref().is_ok_and(keeps_first_rows) {
        rows.push(info("topk_pattern", "ORDER BY with LIMIT: the first rows are kept"));
    }
    rows.extend(imported.summary.calls.iter().map(|call| {
        let column = call.column.as_ref().map(|column| format!("{column} = ")).unwrap_or_default();
        info("aggregate", format!("{column}{}(): {}", call.function, call.strategy))
    }));
    rows.extend(imported.constructs.iter().map(|Construct { kind, name }| info(kind, *name)));
    let volatility = match imported.volatility {
        Volatility::Immutable => "IMMUTABLE",
        Volatility::Stable => "STABLE",
        Volatility::Volatile => "VOLATILE",
    };
    rows.push(info("volatility", volatility));
    Ok(rows)
}

fn refused(error: &Error) -> Vec<Check> {
    let reason = match error.detail() {
        Some(detail) => format!("{error}: {detail}"),
        None => error.to_string(),
    };
    let row = |name, result: &str| Check { name, result: result.into(), severity: "ERROR" };
    vec![row("resolved_refresh_mode", "NONE"), row("unsupported_construct", &reason)]
}

fn mode(imported: &Imported) -> Vec<Check> {
    match &imported.tree {
        Ok(_) => vec![info("resolved_refresh_mode", Mode::Differential.as_str())],
        Err(error) => {
            let full = info("resolved_refresh_mode", Mode::Full.as_str());
            vec![full, Check { severity: "WARNING", ..info("unsupported_construct", error.refusal()) }]
        }
    }
}

fn matviews_and_foreign_tables(imported: &Imported) -> impl Iterator<Item = Check> {
    let uncaptured =
        imported.sources.iter().filter(|source| matches!(source.kind, SourceKind::Matview | SourceKind::Foreign));
    uncaptured.map(|source| {
        let name = object::name(source.relid).map_or_else(|| source.relid.to_string(), |name| name.to_string());
        Check { severity: "WARNING", ..info("matview_or_foreign_table", name) }
    })
}

fn keeps_first_rows(rel: &Rel) -> bool {
    match rel {
        Rel::TopK { partition, .. } => partition.is_empty(),
        Rel::Project { input, .. } => keeps_first_rows(input),
        _ => false,
    }
}

/// The rows of `explain_query_rewrite`.
///
/// # Errors
/// As for creation.
pub fn passes(query: &str) -> Result<Vec<Pass>> {
    import::passes(query)
}
