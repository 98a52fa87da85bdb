//! The tables of the comparison and the shapes of the queries over them.

use anyhow::{Context, Result};
use pgtrickle_workload::server::Server;

/// Rows of the dimension table, and groups of the fact table.
const DIMENSIONS: i64 = 1000;

/// A query to maintain, and which fact rows to change so that its result changes.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) query: &'static str,
    /// Of each thousand consecutive ids so many belong to the result.
    pub(crate) reach: i64,
    /// pg_ivm maintains such queries.
    pub(crate) pg_ivm: bool,
}

pub(crate) const SHAPES: [Shape; 16] = [
    Shape { name: "scan", query: "SELECT id, dim_id, grp, amount FROM fact", reach: 1000, pg_ivm: true },
    Shape { name: "filter", query: "SELECT id, dim_id, amount FROM fact WHERE grp < 100", reach: 100, pg_ivm: true },
    Shape {
        name: "aggregate",
        query: "SELECT grp, count(*) AS n, sum(amount) AS total FROM fact GROUP BY grp",
        reach: 1000,
        pg_ivm: true,
    },
    Shape {
        name: "having",
        query: "SELECT grp, sum(amount) AS total FROM fact GROUP BY grp HAVING sum(amount) > 50000",
        reach: 1000,
        pg_ivm: false,
    },
    Shape { name: "distinct", query: "SELECT DISTINCT grp, amount > 500 AS high FROM fact", reach: 1000, pg_ivm: true },
    Shape {
        name: "grouping sets",
        query: "SELECT grp, count(*) AS n, sum(amount) AS total FROM fact GROUP BY ROLLUP (grp)",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "join",
        query: "SELECT fact.id, dim.id AS dim_id, dim.name, fact.amount FROM fact JOIN dim ON dim.id = fact.dim_id",
        reach: 1000,
        pg_ivm: true,
    },
    Shape {
        name: "join+aggregate",
        query: "SELECT dim.region, count(*) AS n, sum(fact.amount) AS total
                FROM fact JOIN dim ON dim.id = fact.dim_id GROUP BY dim.region",
        reach: 1000,
        pg_ivm: true,
    },
    Shape {
        name: "left join",
        query: "SELECT fact.id, dim.id AS dim_id, fact.amount FROM dim LEFT JOIN fact ON fact.dim_id = dim.id",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "full join",
        query: "SELECT fact.id, dim.id AS dim_id, fact.amount FROM fact FULL JOIN dim ON dim.id = fact.dim_id",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "exists",
        query: "SELECT id, name FROM dim WHERE EXISTS (SELECT FROM fact WHERE fact.dim_id = dim.id AND fact.amount > 100)",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "not in",
        query: "SELECT id, name FROM dim WHERE id NOT IN (SELECT dim_id FROM fact WHERE amount > 100)",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "scalar sub-select",
        query: "SELECT id, (SELECT sum(amount) FROM fact WHERE fact.dim_id = dim.id) AS total FROM dim",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "window",
        query: "SELECT id, rank() OVER (PARTITION BY part ORDER BY amount) AS place FROM fact",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "top 100",
        query: "SELECT id, amount FROM fact ORDER BY amount DESC, id LIMIT 100",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "recursive",
        query: "WITH RECURSIVE r AS (SELECT id, amount, 1 AS depth FROM fact WHERE grp < 100
                UNION ALL SELECT id, amount, depth + 1 FROM r WHERE depth < 3) SELECT * FROM r",
        reach: 100,
        pg_ivm: false,
    },
];

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
