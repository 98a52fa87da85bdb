//! `τ_{p; o; k}(R)`: of each partition the first `k` rows in the order `o`, after `offset` rows.
//!
//! What it reads is a few rows of each partition that are stored ([`super::leading`]) wherever there is a limit, found by the
//! partition, so each touched partition is looked up by itself.
//!
//! Ties in the order are broken by a key of the input where it has one ([`TopK::total`]), so that a recomputation keeps the
//! rows that it kept before.

use super::column;
use super::keyed::over;
use crate::query::{Scalar, SortItem};
use crate::sql::{conjunction, list};
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

    /// The order and the limits, columns as `#position`.
    pub(super) fn explain(&self) -> String {
        let scalar = |scalar: &Scalar| scalar.render(|position| format!("#{position}"));
        let order = self.order.iter().map(|item| item.render(scalar));
        let breakers = self.tie_breakers.iter().map(|position| format!("#{position}"));
        let limit = self.limit.as_ref().map(|limit| format!(" limit {}", scalar(limit))).unwrap_or_default();
        let offset = self.offset.as_ref().map(|offset| format!(" offset {}", scalar(offset))).unwrap_or_default();
        format!(
            " order [{}]{limit}{offset}{}",
            list(order.chain(breakers)),
            if self.with_ties { " with ties" } else { "" }
        )
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
