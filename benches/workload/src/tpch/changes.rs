//! Changes of all eight tables that leave the data as it was in kind and number, however often they are made.
//!
//! Of the rows that a transaction changes in a table, a third goes, those that the transaction before took away come
//! back, and a third exchange values with one another. An order goes and comes with its lines. A nation and a region
//! stand for four and twenty percent of everything, so the 25 and the 5 stay: one more of each comes and goes.

use anyhow::Result;
use postgres::Client;

/// What stands for one table: its primary key, and what the first row takes over from the second (`b`).
struct Part {
    table: &'static str,
    key: &'static [&'static str],
    columns: &'static str,
    values: &'static str,
    /// Those of its rows that go along with others, instead of any.
    along: Option<&'static str>,
}

const PARTS: [Part; 6] = [
    Part {
        table: "orders",
        key: &["o_orderkey"],
        columns: "o_custkey, o_orderstatus, o_totalprice, o_orderpriority, o_comment",
        values: "b.o_custkey, b.o_orderstatus, b.o_totalprice, b.o_orderpriority, b.o_comment",
        along: None,
    },
    Part {
        table: "lineitem",
        key: &["l_orderkey", "l_linenumber"],
        columns: "l_partkey, l_suppkey, l_quantity, l_extendedprice, l_discount, l_tax, l_returnflag, l_commitdate,
                  l_receiptdate, l_shipinstruct, l_shipmode",
        values: "b.l_partkey, b.l_suppkey, b.l_quantity, b.l_extendedprice, b.l_discount, b.l_tax, b.l_returnflag,
                 a.l_shipdate + (b.l_commitdate - b.l_shipdate), a.l_shipdate + (b.l_receiptdate - b.l_shipdate),
                 b.l_shipinstruct, b.l_shipmode",
        along: Some("SELECT l.* FROM gone.orders JOIN lineitem l ON l_orderkey = o_orderkey"),
    },
    Part {
        table: "partsupp",
        key: &["ps_partkey", "ps_suppkey"],
        columns: "ps_availqty, ps_supplycost",
        values: "b.ps_availqty, b.ps_supplycost",
        along: None,
    },
    Part {
        table: "part",
        key: &["p_partkey"],
        columns: "p_name, p_brand, p_type, p_size, p_container, p_retailprice",
        values: "b.p_name, b.p_brand, b.p_type, b.p_size, b.p_container, b.p_retailprice",
        along: None,
    },
    Part {
        table: "customer",
        key: &["c_custkey"],
        columns: "c_nationkey, c_phone, c_acctbal, c_mktsegment",
        values: "b.c_nationkey, b.c_phone, b.c_acctbal, b.c_mktsegment",
        along: None,
    },
    Part {
        table: "supplier",
        key: &["s_suppkey"],
        columns: "s_nationkey, s_acctbal, s_comment",
        values: "b.s_nationkey, b.s_acctbal, b.s_comment",
        along: None,
    },
];

const EXTRA: [&str; 2] = [
    "INSERT INTO region VALUES (5, 'ATLANTIS'); INSERT INTO nation VALUES (25, 'POSEIDONIS', 5)",
    "DELETE FROM nation WHERE n_nationkey = 25; DELETE FROM region WHERE r_regionkey = 5",
];

/// Changes the tables of one database.
pub struct Changes {
    client: Client,
    /// Rows of each of the tables that change in proportion.
    counts: Vec<i64>,
    made: usize,
}

impl Changes {
    /// Takes `client`, a session in the database, and makes the place where rows wait that are to come back.
    pub fn new(mut client: Client) -> Result<Changes> {
        client.batch_execute("CREATE SCHEMA gone; SELECT setseed(0.5)")?;
        let mut counts = Vec::new();
        for part in &PARTS {
            client.batch_execute(&format!("CREATE TABLE gone.{0} (LIKE {0})", part.table))?;
            counts.push(client.query_one(&format!("SELECT count(*) FROM {}", part.table), &[])?.try_get(0)?);
        }
        Ok(Changes { client, counts, made: 0 })
    }

    /// Commits one transaction that changes about `share` of the rows, at least one of every table. Gives how many.
    pub fn make(&mut self, share: f64) -> Result<u64> {
        let mut transaction = self.client.transaction()?;
        let mut changed = 0;
        for (part, count) in PARTS.iter().zip(&self.counts) {
            let third = ((*count as f64 * share / 3.0).round() as i64).max(1);
            for statement in part.come_and_go(third, *count, self.made) {
                transaction.batch_execute(&statement)?;
            }
            changed += transaction.execute(&part.exchange(third.max(2), *count, self.made), &[])?;
            let gone: i64 =
                transaction.query_one(&format!("SELECT count(*) FROM gone.{}", part.table), &[])?.try_get(0)?;
            changed += 2 * u64::try_from(gone)?;
        }
        transaction.batch_execute(EXTRA[self.made % 2])?;
        transaction.commit()?;
        self.made += 1;
        Ok(changed + 2)
    }
}

impl Part {
    /// What brings the absent rows back and takes others away.
    fn come_and_go(&self, rows: i64, of: i64, seed: usize) -> Vec<String> {
        let Part { table, .. } = self;
        let back = format!("INSERT INTO {table} TABLE gone.{table}");
        let clear = format!("TRUNCATE gone.{table}");
        let chosen = match self.along {
            None => self.drawn("*", rows, of, seed),
            Some(along) => along.to_owned(),
        };
        let equal = self.key.iter().map(|key| format!("a.{key} = g.{key}")).collect::<Vec<_>>().join(" AND ");
        let note = format!("INSERT INTO gone.{table} {chosen}");
        let away = format!("DELETE FROM {table} a USING gone.{table} g WHERE {equal}");
        vec![back, clear, note, away]
    }

    /// Has `rows` rows take over values, each from the next one.
    fn exchange(&self, rows: i64, of: i64, seed: usize) -> String {
        let Part { table, columns, values, .. } = self;
        format!(
            "WITH drawn AS MATERIALIZED
                 (SELECT c, row_number() OVER () AS n, count(*) OVER () AS rows
                  FROM ({}) q (c))
             UPDATE {table} a SET ({columns}) = ROW ({values})
             FROM drawn x JOIN drawn y ON y.n = x.n % x.rows + 1 JOIN {table} b ON b.ctid = y.c
             WHERE a.ctid = x.c",
            self.drawn("ctid", rows, of, seed + 1)
        )
    }

    /// About `rows` random rows of the `of` that the table has: drawn from a sample, so that no large table is sorted.
    fn drawn(&self, columns: &str, rows: i64, of: i64, seed: usize) -> String {
        let percent = (100.0 * (3 * rows + 50) as f64 / of as f64).min(100.0);
        let table = self.table;
        format!(
            "SELECT {columns} FROM {table} TABLESAMPLE BERNOULLI ({percent}) REPEATABLE ({seed})
             ORDER BY random() LIMIT {rows}"
        )
    }
}
