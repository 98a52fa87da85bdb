//! Z-sets as text: consolidation and difference.
//!
//! Rows cancel by *image*, never by their type's equality: `UPDATE … SET n = 1.00` where it was 1.0 is a change. A column
//! whose equality is image equality is grouped by as it is; the others together by `pgtrickle.row_image(ROW(…))`, and
//! `any_value` gives them back.

use super::operator::column;
use crate::query::{Column, Equality};
use crate::sql::{Ident, QualifiedName, list};

/// `consolidate(Z)`: each different row once with `w = Σw`, rows with `Σw = 0` gone. `zset` is a SELECT of
/// `c1 … cn, w`; so is the result, `w` being int8.
pub fn consolidate(zset: &str, columns: &[Column]) -> String {
    let coarse: Vec<usize> = (0..columns.len()).filter(|i| columns[*i].ty.equality != Equality::Image).collect();
    let yielded = (0..columns.len()).map(|i| match coarse.contains(&i) {
        true => format!("pg_catalog.any_value(z.{0}) AS {0}", column(i)),
        false => format!("z.{}", column(i)),
    });
    let exact = (0..columns.len()).filter(|i| !coarse.contains(i)).map(|i| format!("z.{}", column(i)));
    let image = (!coarse.is_empty()).then(|| row("pgtrickle.row_image", "z", coarse.iter().map(|i| column(*i))));
    format!(
        "SELECT {}, pg_catalog.sum(z.w)::int8 AS w FROM ({zset}) AS z GROUP BY {} HAVING pg_catalog.sum(z.w) <> 0",
        list(yielded),
        list(exact.chain(image))
    )
}

/// `new - old`: the Z-set that turns the rows of `stored` into those of the SELECT `new`.
pub fn difference(new: &str, stored: &QualifiedName, columns: &[Column]) -> String {
    let kept = columns.iter().enumerate().map(|(i, c)| format!("t.{} AS {}", Ident::new(&c.name), column(i)));
    format!("SELECT n.*, 1 AS w FROM ({new}) AS n UNION ALL SELECT {}, -1 AS w FROM {stored} AS t", list(kept))
}

/// `function(ROW(alias.a, alias.b, …))`
pub fn row(function: &str, alias: &str, columns: impl Iterator<Item = impl std::fmt::Display>) -> String {
    format!("{function}(ROW({}))", list(columns.map(|name| format!("{alias}.{name}"))))
}
