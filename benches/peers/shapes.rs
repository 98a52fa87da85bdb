//! The shapes of the queries over the tables.

/// A query to maintain, and which fact rows to change so that its result changes.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) query: &'static str,
    /// Columns of the result that tell its rows apart.
    pub(crate) key: &'static str,
    /// Of each thousand consecutive ids so many belong to the result.
    pub(crate) reach: i64,
    /// pg_ivm maintains such queries.
    pub(crate) pg_ivm: bool,
}

pub(crate) const SHAPES: [Shape; 16] = [
    Shape { name: "scan", query: "SELECT id, dim_id, grp, amount FROM fact", key: "id", reach: 1000, pg_ivm: true },
    Shape {
        name: "filter",
        query: "SELECT id, dim_id, amount FROM fact WHERE grp < 100",
        key: "id",
        reach: 100,
        pg_ivm: true,
    },
    Shape {
        name: "aggregate",
        query: "SELECT grp, count(*) AS n, sum(amount) AS total FROM fact GROUP BY grp",
        key: "grp",
        reach: 1000,
        pg_ivm: true,
    },
    Shape {
        name: "having",
        query: "SELECT grp, sum(amount) AS total FROM fact GROUP BY grp HAVING sum(amount) > 50000",
        key: "grp",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "distinct",
        query: "SELECT DISTINCT grp, amount > 500 AS high FROM fact",
        key: "grp, high",
        reach: 1000,
        pg_ivm: true,
    },
    Shape {
        name: "grouping sets",
        query: "SELECT grp, count(*) AS n, sum(amount) AS total FROM fact GROUP BY ROLLUP (grp)",
        key: "grp",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "join",
        query: "SELECT fact.id, dim.id AS dim_id, dim.name, fact.amount FROM fact JOIN dim ON dim.id = fact.dim_id",
        key: "id",
        reach: 1000,
        pg_ivm: true,
    },
    Shape {
        name: "join+aggregate",
        query: "SELECT dim.region, count(*) AS n, sum(fact.amount) AS total
                FROM fact JOIN dim ON dim.id = fact.dim_id GROUP BY dim.region",
        key: "region",
        reach: 1000,
        pg_ivm: true,
    },
    Shape {
        name: "left join",
        query: "SELECT fact.id, dim.id AS dim_id, fact.amount FROM dim LEFT JOIN fact ON fact.dim_id = dim.id",
        key: "dim_id, id",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "full join",
        query: "SELECT fact.id, dim.id AS dim_id, fact.amount FROM fact FULL JOIN dim ON dim.id = fact.dim_id",
        key: "dim_id, id",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "exists",
        query: "SELECT id, name FROM dim WHERE EXISTS (SELECT FROM fact WHERE fact.dim_id = dim.id AND fact.amount > 100)",
        key: "id",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "not in",
        query: "SELECT id, name FROM dim WHERE id NOT IN (SELECT dim_id FROM fact WHERE amount > 100)",
        key: "id",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "scalar sub-select",
        query: "SELECT id, (SELECT sum(amount) FROM fact WHERE fact.dim_id = dim.id) AS total FROM dim",
        key: "id",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "window",
        query: "SELECT id, rank() OVER (PARTITION BY part ORDER BY amount) AS place FROM fact",
        key: "id",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "top 100",
        query: "SELECT id, amount FROM fact ORDER BY amount DESC, id LIMIT 100",
        key: "id",
        reach: 1000,
        pg_ivm: false,
    },
    Shape {
        name: "recursive",
        query: "WITH RECURSIVE r AS (SELECT id, amount, 1 AS depth FROM fact WHERE grp < 100
                UNION ALL SELECT id, amount, depth + 1 FROM r WHERE depth < 3) SELECT * FROM r",
        key: "id, depth",
        reach: 100,
        pg_ivm: false,
    },
];
