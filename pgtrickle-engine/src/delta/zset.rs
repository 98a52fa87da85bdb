//! Z-sets as text: consolidation and difference.
//!
//! Rows cancel by *image*, never by their type's equality: `UPDATE … SET n = 1.00` where it was 1.0 is a change. A column
//! whose equality is image equality is grouped by as it is; the others together by `pgtrickle.row_image(ROW(…))`, and
//! `any_value` gives them back.

use super::operator::column;
use crate::query::{Column, Equality};
use crate::sql::{Ident, list};

/// `consolidate(Z)`: each different row once with `w = Σw`, rows with `Σw = 0` gone. `zset` is a SELECT of
/// `c1 … cn, w`; so is the result.
pub fn consolidate(zset: &str, columns: &[Column]) -> String {
    let named: Vec<(String, Equality)> = columns.iter().enumerate().map(|(i, c)| (column(i), c.ty.equality)).collect();
    consolidate_named(zset, &named)
}

/// Likewise for a Z-set whose columns have the given names.
pub fn consolidate_named(zset: &str, columns: &[(String, Equality)]) -> String {
    let is_exact = |equality: &Equality| *equality == Equality::Image;
    let yielded = columns.iter().map(|(name, equality)| match is_exact(equality) {
        true => format!("z.{name}"),
        false => format!("pg_catalog.any_value(z.{name}) AS {name}"),
    });
    let exact = columns.iter().filter(|(_, equality)| is_exact(equality)).map(|(name, _)| format!("z.{name}"));
    let coarse: Vec<&String> = columns.iter().filter(|(_, e)| !is_exact(e)).map(|(name, _)| name).collect();
    let image = (!coarse.is_empty()).then(|| row("pgtrickle.row_image", "z", coarse.iter()));
    let groups = list(exact.chain(image));
    let by = if groups.is_empty() { String::new() } else { format!(" GROUP BY {groups}") };
    let weight = "pg_catalog.sum(z.w)::int4 AS w".to_string();
    format!("SELECT {} FROM ({zset}) AS z{by} HAVING pg_catalog.sum(z.w) <> 0", list(yielded.chain([weight])))
}

/// What rows of the relation `alias` agree in when they have the same image, as a list of expressions; its columns are
/// named by their positions.
pub(crate) fn image(columns: &[Column], alias: &str) -> String {
    let is_exact = |c: &Column| c.ty.equality == Equality::Image;
    let exact = columns.iter().enumerate().filter(|(_, c)| is_exact(c));
    let exact = exact.map(|(i, _)| format!("{alias}.{}", column(i)));
    let coarse: Vec<String> =
        columns.iter().enumerate().filter(|(_, c)| !is_exact(c)).map(|(i, _)| column(i)).collect();
    let image = (!coarse.is_empty()).then(|| row("pgtrickle.row_image", alias, coarse.iter()));
    list(exact.chain(image))
}

/// `new - old`: the Z-set that turns the rows of `stored` into those of the SELECT `new`.
pub fn difference(new: &str, stored: &str, columns: &[Column]) -> String {
    let kept = columns.iter().enumerate().map(|(i, c)| format!("t.{} AS {}", Ident::new(&c.name), column(i)));
    format!("SELECT n.*, 1 AS w FROM ({new}) AS n UNION ALL SELECT {}, -1 AS w FROM {stored} AS t", list(kept))
}

/// `function(ROW(alias.a, alias.b, …))`
pub fn row(function: &str, alias: &str, columns: impl Iterator<Item = impl std::fmt::Display>) -> String {
    format!("{function}(ROW({}))", list(columns.map(|name| format!("{alias}.{name}"))))
}
