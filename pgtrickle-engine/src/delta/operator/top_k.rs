//! `τ_{p; o; k}(R)`: of each partition the first `k` rows in the order `o`, after `offset` rows.
//!
//! Without a partition most changes are beyond the last row that is kept, or add a row before it. The changed rows are
//! ranked among the kept ones, by PostgreSQL in the order itself ([`TopK::boundary`]): beyond the last one a change does
//! nothing while `k` rows are kept; otherwise insertions are merged with the kept rows, and only a deletion, or an offset,
//! asks R for the rows anew.
//!
//! Ties in the order are broken by a key of the input where it has one ([`TopK::total`]), so that a recomputation keeps the
//! rows that it kept before.

use super::keyed::over;
use super::{all_columns, column};
use crate::query::{Scalar, SortItem};
use crate::sql::{QualifiedName, conjunction, list};
use serde::{Deserialize, Serialize};

/// Which rows of a partition stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopK {
    pub order: Vec<SortItem>,
    /// Columns of a key of the input, after `order`.
    pub tie_breakers: Vec<usize>,
    pub limit: Option<Scalar>,
    pub offset: Option<Scalar>,
    pub with_ties: bool,
}

impl TopK {
    /// A SELECT of the rows that stay of `rows`, a SELECT of `width` columns.
    pub(super) fn compute(&self, rows: &str, width: usize, partition: &[usize]) -> String {
        let columns = list((0..width).map(|position| format!("i.{}", column(position))));
        if partition.is_empty() {
            return self.of_all(rows, &columns);
        }
        let by = list(partition.iter().map(|position| format!("i.{}", column(*position))));
        let count = |scalar: &Scalar| format!("({})", over("i", scalar));
        let limit = self.limit.as_ref().map(count);
        let offset = self.offset.as_ref().map(|offset| format!("coalesce({}, 0)", count(offset)));
        let last = limit.as_ref().map(|limit| match &offset {
            Some(offset) => format!("{limit} + {offset}"),
            None => limit.clone(),
        });
        let mut numbers = vec![format!("pg_catalog.row_number() OVER (PARTITION BY {by}{}) AS r", self.order_by(true))];
        let mut conditions: Vec<String> = offset.iter().map(|offset| format!("i.r > {offset}")).collect();
        if let (Some(limit), Some(last)) = (&limit, last) {
            let place = if self.with_ties { "i.p" } else { "i.r" };
            conditions.push(format!("({limit} IS NULL OR {place} <= {last})"));
            if self.with_ties {
                numbers.push(format!("pg_catalog.rank() OVER (PARTITION BY {by}{}) AS p", self.order_by(false)));
                conditions.push(format!("({limit} IS NULL OR {limit} > 0)"));
            }
        }
        let conditions = conjunction(conditions);
        format!("SELECT {columns} FROM (SELECT i.*, {} FROM ({rows}) AS i) AS i WHERE {conditions}", list(numbers))
    }

    /// The WITH items `b`, the rows of `d` and, with `w` 0, those of the state, ranked by `p`; and `t`, one row if some
    /// row of `d` matters, which tells whether the input must be read (`refill`).
    pub(super) fn boundary(&self, width: usize, table: &QualifiedName) -> String {
        let full = self.limit.as_ref().map_or_else(
            || "false".into(),
            |limit| {
                format!("coalesce((SELECT pg_catalog.count(*) FROM b WHERE b.w = 0) >= ({}), false)", over("b", limit))
            },
        );
        let refill = match self.offset {
            Some(_) => "true",
            None => "pg_catalog.bool_or(b.w < 0)",
        };
        format!(
            "b AS MATERIALIZED (SELECT i.*, pg_catalog.rank() OVER ({}) AS p FROM (SELECT {} FROM d \
             UNION ALL SELECT {}, 0 AS w FROM {table} AS s) AS i), \
             t AS MATERIALIZED (SELECT {refill} AS refill FROM b WHERE b.w <> 0 AND (NOT {full} \
             OR b.p <= (SELECT pg_catalog.max(b.p) FROM b WHERE b.w = 0)) HAVING pg_catalog.count(*) > 0), ",
            self.order_by(!self.with_ties).trim_start(),
            all_columns("d", width, true),
            all_columns("s", width, false),
        )
    }

    /// The rows that stay, if `t` says that they can have changed: of `body`, a SELECT of the input's content, or of `b`.
    pub(super) fn refilled(&self, body: &str, width: usize) -> String {
        let columns = |alias| all_columns(alias, width, false);
        let body = format!("SELECT {} FROM ({body}) AS i WHERE EXISTS (SELECT FROM t WHERE t.refill)", columns("i"));
        let anew = self.compute(&body, width, &[]);
        if self.offset.is_some() {
            return anew;
        }
        let merged = format!(
            "SELECT {} FROM b CROSS JOIN pg_catalog.generate_series(1, GREATEST(b.w, 1)) \
             WHERE b.w >= 0 AND EXISTS (SELECT FROM t WHERE NOT t.refill)",
            columns("b")
        );
        format!("({anew}) UNION ALL ({})", self.compute(&merged, width, &[]))
    }

    fn of_all(&self, rows: &str, columns: &str) -> String {
        let mut text = format!("SELECT {columns} FROM ({rows}) AS i{}", self.order_by(!self.with_ties));
        if let Some(offset) = &self.offset {
            text.push_str(&format!(" OFFSET ({})", over("i", offset)));
        }
        match &self.limit {
            Some(limit) if self.with_ties => {
                text.push_str(&format!(" FETCH FIRST ({}) ROWS WITH TIES", over("i", limit)));
            }
            Some(limit) => text.push_str(&format!(" LIMIT ({})", over("i", limit))),
            None => {}
        }
        text
    }

    /// ` ORDER BY …`, made total as far as it goes if `total`; empty when there is nothing to order by.
    pub(super) fn order_by(&self, total: bool) -> String {
        // A constant orders nothing, and a number would be taken for the position of a column.
        let items = self.order.iter().filter(|item| !item.value.columns().is_empty());
        let items = items.map(|item| item.render(|value| over("i", value)));
        let breakers = self.tie_breakers.iter().filter(|_| total).map(|position| format!("i.{}", column(*position)));
        let order = list(items.chain(breakers));
        if order.is_empty() { order } else { format!(" ORDER BY {order}") }
    }
}
