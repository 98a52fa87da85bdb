//! The queries of the corpora, as files and as variants of one another.

pub(crate) use pgtrickle_workload::queries::{Query, parse};

/// The queries that end in a line with LIMIT, without it.
pub(crate) fn without_limit(queries: &[Query]) -> Vec<Query> {
    let limited = |query: &Query| {
        let (rest, last) = query.sql.rsplit_once('\n')?;
        last.starts_with("LIMIT").then(|| Query { name: format!("{}_unlimited", query.name), sql: rest.to_string() })
    };
    queries.iter().filter_map(limited).collect()
}
