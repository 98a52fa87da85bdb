//! The oracle: a stream table is right when `EXCEPT ALL`, both ways, finds nothing between it and its own query.
//! Nothing is filtered, tolerated or tried again.

use anyhow::{Result, ensure};
use postgres::GenericClient;

/// What the comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Equal as multisets.
    Equal,
    /// So many rows are missing from the stream table, and so many should not be there.
    Differs { missing: i64, surplus: i64 },
}

impl Verdict {
    pub fn is_equal(self) -> bool {
        self == Verdict::Equal
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Verdict::Equal => write!(f, "equal"),
            Verdict::Differs { missing, surplus } => write!(f, "DIFFERS ({missing} missing, {surplus} too many)"),
        }
    }
}

/// Compares `relation` with `query` in one statement, hence in one snapshot.
pub fn compare(client: &mut impl GenericClient, relation: &str, query: &str) -> Result<Verdict> {
    compare_queries(client, &format!("TABLE {relation}"), query)
}

/// The same for what the query `stored` gives, where that is not a whole relation.
pub fn compare_queries(client: &mut impl GenericClient, stored: &str, query: &str) -> Result<Verdict> {
    let statement = format!(
        "WITH truth AS MATERIALIZED ({query}), stored AS MATERIALIZED ({stored})
         SELECT (SELECT count(*) FROM (TABLE truth EXCEPT ALL TABLE stored) missing),
                (SELECT count(*) FROM (TABLE stored EXCEPT ALL TABLE truth) surplus)"
    );
    let row = client.query_one(&statement, &[])?;
    Ok(match (row.try_get(0)?, row.try_get(1)?) {
        (0, 0) => Verdict::Equal,
        (missing, surplus) => Verdict::Differs { missing, surplus },
    })
}

/// Asks the extension's own oracle, which compares a stream table with its defining query; an error where they differ.
pub fn verify(client: &mut impl GenericClient, stream_table: &str) -> Result<()> {
    let row = client.query_one("SELECT rows_missing, rows_extra FROM pgtrickle.verify($1)", &[&stream_table])?;
    let (missing, surplus): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    ensure!((missing, surplus) == (0, 0), "oracle: {stream_table} {}", Verdict::Differs { missing, surplus });
    Ok(())
}
