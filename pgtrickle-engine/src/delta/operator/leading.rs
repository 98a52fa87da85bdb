//! `λ_{p; o; k}(R)`: of each partition the rows that sort up to some boundary `b`, at least `k`: `S = {r ∈ R | o(r) ≤ b}` with
//! `|S| ≥ k`, or `S = R` (Yi et al., *Efficient Maintenance of Materialized Top-k Views*, ICDE 2003).
//!
//! `b` is the last stored row, so a change beyond it changes nothing; one up to it is applied to S. Fewer than `k` stored
//! rows are all that there are, and then every change is applied. When `k` rows were stored and fewer are left, S is
//! selected anew from R, with spare rows beyond `k`, so that many deletions pass before the next time; insertions do not let it grow
//! further. Rows that tie with `b` are stored, all of them: which rows are stored follows from `b` alone. `o` is made total by
//! a key of R unless whoever reads it wants the ties.
//!
//! Any S with that property will do, so where there is one partition S may also be selected anew whatever changed, and the difference
//! to what is stored is the delta ([`Keyed::renewal`]): for many changes, where an index yields S.
//!
//! Where there is one partition and few rows changed, it is asked first whether any of them is not beyond `b`.
//!
//! Partitions to select anew are looked up one by one as long as they are few, so that an index on the partition and the
//! order gives their first rows at once.

use super::keyed::{Keyed, over};
use super::top_k::TopK;
use super::{all_columns, column};
use crate::delta::zset::consolidate;
use crate::query::Scalar;
use crate::sql::{QualifiedName, conjunction, list};
use serde::{Deserialize, Serialize};

/// Up to so many partitions are looked up one by one.
const FEW_PARTITIONS: usize = 16;

/// Counts that no table reaches, and two of which can be added.
const ANY_NUMBER: i64 = 1 << 60;

/// Which rows of a partition are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leading {
    /// The order, and the columns of a key after it.
    pub order: TopK,
    /// Their sum is `k`; NULL stands for all rows.
    pub counts: Vec<Scalar>,
}

impl Leading {
    fn wanted(&self) -> String {
        let count =
            |count: &Scalar| format!("LEAST(coalesce(({})::int8, {ANY_NUMBER}), {ANY_NUMBER})", over("i", count));
        let counts: Vec<String> = self.counts.iter().map(count).collect();
        format!("({})", counts.join(" + "))
    }

    /// How many rows are stored when they are selected anew.
    fn room(&self) -> String {
        let wanted = self.wanted();
        format!("({wanted} + LEAST({wanted} / 2 + 2, 1000))")
    }

    fn ranked(&self, by: &str) -> String {
        let order = self.order.order_by(true);
        format!("pg_catalog.rank() OVER ({})", format!("{by}{order}").trim())
    }

    /// A SELECT of the rows to store of `rows`, a SELECT of `width` columns.
    pub(super) fn select(&self, rows: &str, width: usize, partition: &[usize]) -> String {
        let columns = all_columns("i", width, false);
        if partition.is_empty() {
            return format!("SELECT {columns} FROM ({rows}) AS i{}", self.first());
        }
        let ranked = self.ranked(&by("i", partition));
        let room = self.room();
        format!("SELECT {columns} FROM (SELECT i.*, {ranked} AS r FROM ({rows}) AS i) AS i WHERE i.r <= {room}")
    }

    /// The first rows of what stands before; all when they all tie.
    fn first(&self) -> String {
        let order = self.order.order_by(true);
        match order.is_empty() {
            true => order,
            false => format!("{order} FETCH FIRST {} ROWS WITH TIES", self.room()),
        }
    }

    /// A SELECT that has a row when `delta`, a SELECT of changes of the only partition, may change what is stored: among all of these in
    /// order, changes before the stored rows that they tie with, it looks at the first, as many as are stored.
    pub fn reached(&self, delta: &str, width: usize, table: &QualifiedName) -> String {
        let order = self.order.order_by(true);
        let order = if order.is_empty() { " ORDER BY ".to_string() } else { format!("{order}, ") };
        let (changes, stored) = (all_columns("d", width, true), all_columns("s", width, false));
        format!(
            "WITH d AS ({delta}) SELECT 1 AS one FROM (SELECT i.w FROM \
             (SELECT {changes} FROM d UNION ALL SELECT {stored}, 0 AS w FROM {table} AS s) AS i{order}i.w = 0 \
             LIMIT (SELECT pg_catalog.count(*) FROM {table})) AS i \
             HAVING pg_catalog.bool_or(i.w <> 0) OR pg_catalog.count(*) < {}",
            self.wanted()
        )
    }

    /// The WITH items after `d` and `k`, and a SELECT of the new rows of the partitions that change, and one of the `stored`
    /// rows of them.
    ///
    /// `b` are the changes and the stored rows, these with weight 0, by their places; `e` what of them counts, with the
    /// number of rows before, `kept`; `g` the rows of partitions that change, with the number of rows after, `n`; `a` the
    /// partitions to select anew.
    pub(super) fn changed(&self, keyed: &Keyed, body: &str, table: &QualifiedName) -> [String; 3] {
        let width = keyed.columns().len();
        let by = by("i", &keyed.partition);
        let (wanted, columns) = (self.wanted(), all_columns("i", width, false));
        let ranked = self.ranked(&by);
        let keys = list(keyed.partition.iter().map(|position| format!("i.{}", column(*position))));
        let keys = if keys.is_empty() { "1 AS one".to_string() } else { keys };
        let with = format!(
            "{}b AS (SELECT i.*, {ranked} AS p FROM (SELECT {}, NULL::pg_catalog.tid AS tid FROM d UNION ALL {}) AS i), \
             c AS (SELECT i.*, pg_catalog.count(*) FILTER (WHERE i.w = 0) OVER q AS kept, \
             pg_catalog.max(i.p) FILTER (WHERE i.w = 0) OVER q AS last FROM b AS i WINDOW q AS ({by})), \
             e AS (SELECT i.*, i.kept + pg_catalog.sum(i.w) OVER q AS n, pg_catalog.bool_or(i.w <> 0) OVER q AS changed \
             FROM c AS i WHERE i.w = 0 OR i.kept < {wanted} OR i.p <= i.last WINDOW q AS ({by})), \
             g AS MATERIALIZED (SELECT i.*, i.kept >= {wanted} AND i.n < {wanted} AS anew FROM e AS i WHERE i.changed), \
             a AS MATERIALIZED (SELECT DISTINCT {keys} FROM g AS i WHERE i.anew), ",
            keyed.touched(),
            all_columns("d", width, true),
            keyed.stored(table, "d", "0"),
        );
        let merged = format!("SELECT {columns}, CASE i.w WHEN 0 THEN 1 ELSE i.w END AS w FROM g AS i WHERE NOT i.anew");
        let merged = format!(
            "SELECT {columns} FROM ({}) AS i CROSS JOIN pg_catalog.generate_series(1, i.w)",
            consolidate(&merged, &keyed.columns())
        );
        let room = self.room();
        let merged =
            format!("SELECT {columns} FROM (SELECT i.*, {ranked} AS r FROM ({merged}) AS i) AS i WHERE i.r <= {room}");
        let stored = format!("SELECT {columns}, -1 AS w, i.tid FROM g AS i WHERE i.w = 0");
        [with, format!("{merged} UNION ALL {}", self.anew(keyed, body)), stored]
    }

    /// The rows to store of the partitions in `a`.
    fn anew(&self, keyed: &Keyed, body: &str) -> String {
        let columns = all_columns("i", keyed.columns().len(), false);
        if keyed.partition.is_empty() {
            let rows = format!("SELECT {columns} FROM ({body}) AS i WHERE EXISTS (SELECT FROM a)");
            return format!("({})", self.select(&rows, keyed.columns().len(), &[]));
        }
        let few = format!("(SELECT pg_catalog.count(*) FROM a) <= {FEW_PARTITIONS}");
        let each = keyed.branches("a", |matches, entered| {
            let entered = conjunction(entered.into_iter().chain([few.clone()]));
            let first = self.first();
            format!(
                "SELECT {columns} FROM a AS k CROSS JOIN LATERAL (SELECT {columns} FROM ({body}) AS i WHERE {matches}{first}) AS i \
                 WHERE {entered}"
            )
        });
        let rows = keyed.branches("a", |matches, entered| {
            let conditions = conjunction([matches.into()].into_iter().chain(entered).chain([format!("NOT {few}")]));
            format!("SELECT {columns} FROM a AS k CROSS JOIN ({body}) AS i WHERE {conditions}")
        });
        format!("{each} UNION ALL {}", self.select(&rows, keyed.columns().len(), &keyed.partition))
    }
}

/// `PARTITION BY …`; empty without columns.
fn by(alias: &str, partition: &[usize]) -> String {
    let columns = list(partition.iter().map(|position| format!("{alias}.{}", column(*position))));
    if columns.is_empty() { columns } else { format!("PARTITION BY {columns}") }
}
