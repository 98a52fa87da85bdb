//! The tables of the comparison.

use anyhow::{Context, Result};
use pgtrickle_workload::server::Server;

/// Rows of the dimension table, and groups of the fact table.
const DIMENSIONS: i64 = 1000;

/// Makes a database with the tables in it in which only manual refreshes run.
pub(crate) fn create(server: &Server, database: &str, size: i64, with_pg_ivm: bool) -> Result<()> {
    let mut client = server.connect("postgres")?;
    client.batch_execute(&format!("CREATE DATABASE {database}"))?;
    client.batch_execute(&format!("ALTER DATABASE {database} SET pg_trickle.enabled = off"))?;
    let mut client = server.connect(database)?;
    client.batch_execute("CREATE EXTENSION pg_trickle").context("CREATE EXTENSION pg_trickle")?;
    if with_pg_ivm {
        client.batch_execute("CREATE EXTENSION pg_ivm").context("CREATE EXTENSION pg_ivm")?;
    }
    client.batch_execute(&format!(
        "CREATE TABLE dim (id int PRIMARY KEY, name text NOT NULL, region text NOT NULL);
         INSERT INTO dim SELECT i, 'dimension ' || i, 'region ' || i % 50 FROM generate_series(0, {DIMENSIONS} - 1) i;
         CREATE TABLE fact (id bigint PRIMARY KEY, dim_id int NOT NULL, grp int NOT NULL, amount numeric(12,2) NOT NULL,
                            part int NOT NULL, note text NOT NULL);
         INSERT INTO fact
         SELECT i, i * 7919 % {DIMENSIONS}, i % {DIMENSIONS}, i * 7877 % 100000 * 0.01, i / 10, 'a note of the usual length'
         FROM generate_series(0, {size} - 1::bigint) i;
         CREATE INDEX ON fact (dim_id);
         CREATE INDEX ON fact (grp);
         CREATE INDEX ON fact (part);
         CREATE INDEX ON fact (amount);"
    ))?;
    for statement in ["VACUUM ANALYZE dim", "VACUUM ANALYZE fact", "CHECKPOINT"] {
        client.batch_execute(statement)?;
    }
    Ok(())
}
