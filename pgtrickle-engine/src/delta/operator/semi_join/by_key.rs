//! Flips where they are a function of the equated columns.

use super::{CHANGED, Flips, SemiJoin, reads_right};
use crate::delta::Extent;
use crate::delta::operator::among::{self, Keys};
use crate::delta::operator::{column, now};
use crate::query::{Scalar, analysis};
use crate::sql::{conjunction, list};

/// Up to so many changed keys are looked up one by one.
const FEW_KEYS: usize = 16;
/// The net weight of each key of ΔR that has one.
const NET: &str = "n";
/// Those of these keys that L or ΔL has.
const KNOWN: &str = "lk";
/// With more than this part of the rows of the leaf that its keys come from, L does not have few.
const FEW: f64 = 0.25;

impl SemiJoin<'_> {
    /// Whether L has at most one row per key, and by the planner's estimate rows for few keys, so that changed keys are looked up in L
    /// before their matches are counted.
    pub(super) fn has_few_keys(&self) -> bool {
        let (Flips::Keyed(keys), Extent::Probing) = (&self.flips, self.context.expected.extent) else { return false };
        let Some(rows) = self.context.expected.rows.filter(|_| !self.operand.reads_working()) else { return false };
        let places: Vec<usize> = keys.iter().map(|(place, _)| *place).collect();
        let unique = analysis::keys::keys(self.operand);
        let is_unique = unique.iter().any(|key| !key.is_empty() && key.iter().all(|place| places.contains(place)));
        let has_few = || {
            let leaf = among::leaf(self.operand, &places).filter(|leaf| !std::ptr::eq(*leaf, self.operand));
            leaf.is_some_and(|leaf| rows(&self.left) <= FEW * rows(&now(leaf, self.context)))
        };
        is_unique && has_few()
    }

    /// The `WITH` clause of `f`, the flip of each key, given ΔR, and ΔL if there is one.
    pub(super) fn flips_of_keys(&self, keys: &[(usize, usize)], left: Option<&str>, right: &str) -> String {
        let (own, now) = (self.own_of_right(), &self.right);
        let flip = "CASE WHEN k.m > 0 AND k.c <= k.m THEN 1 WHEN k.m < 0 AND k.c = 0 THEN -1 END AS f";
        if keys.is_empty() {
            let net = format!("SELECT pg_catalog.sum(r.w)::int8 AS m FROM ({right}) AS r WHERE {own}");
            let count = format!(
                "SELECT pg_catalog.count(*) FROM (SELECT FROM ({now}) AS r WHERE {own} LIMIT greatest(n.m, 0) + 1) AS o"
            );
            return format!(
                "WITH f AS MATERIALIZED (SELECT {flip} FROM (SELECT n.m, ({count}) AS c FROM ({net}) AS n) AS k) "
            );
        }
        let names = || (1..=keys.len()).map(|i| format!("k{i}"));
        let of_change = keys.iter().enumerate().map(|(i, (_, r))| format!("r.{} AS k{}", column(*r), i + 1));
        let net = format!(
            "SELECT {}, pg_catalog.sum(r.w)::int8 AS m FROM ({right}) AS r WHERE {own} GROUP BY {} HAVING pg_catalog.sum(r.w) <> 0",
            list(of_change),
            list(1..=keys.len())
        );
        let same =
            || conjunction(keys.iter().enumerate().map(|(i, (_, r))| format!("r.{} = n.k{}", column(*r), i + 1)));
        let grouped = list(names().map(|name| format!("n.{name}")));
        let outer = list(names().map(|name| format!("k.{name}")));
        let count = format!(
            "(SELECT pg_catalog.count(*) FROM (SELECT FROM ({now}) AS r WHERE {own} AND {} LIMIT greatest(n.m, 0) + 1) AS o)",
            same()
        );
        if self.context.expected.extent != Extent::Many {
            let (before, net) = match self.narrows {
                true => self.known(keys, left, &net),
                false => (String::new(), format!("({net}) AS n")),
            };
            // OFFSET 0 keeps the count from being written out where it is used.
            return format!(
                "WITH {before}f AS MATERIALIZED (SELECT * FROM (SELECT {outer}, {flip} FROM (SELECT {grouped}, n.m, {count} AS c \
                 FROM {net} OFFSET 0) AS k) AS f WHERE f.f IS NOT NULL) "
            );
        }
        let few = format!("(SELECT pg_catalog.count(*) FROM n) <= {FEW_KEYS}");
        let looked_up = format!("SELECT {grouped}, n.m, {count} AS c FROM n WHERE {few}");
        let joined = format!(
            "SELECT {grouped}, n.m, pg_catalog.count(r.present) AS c FROM n \
             LEFT JOIN (SELECT r.*, 1 AS present FROM ({now}) AS r WHERE {own}) AS r ON {} WHERE NOT {few} GROUP BY {grouped}, n.m",
            same()
        );
        format!(
            "WITH n AS MATERIALIZED ({net}), f AS MATERIALIZED (SELECT * FROM (SELECT {outer}, {flip} \
             FROM ({looked_up} UNION ALL {joined}) AS k) AS f WHERE f.f IS NOT NULL) "
        )
    }

    /// What stands before `f` in the `WITH` clause, and the item of FROM with those rows `n` of `net` whose key L or ΔL has.
    fn known(&self, keys: &[(usize, usize)], left: Option<&str>, net: &str) -> (String, String) {
        let named = |alias: &str| {
            list(keys.iter().enumerate().map(|(i, (l, _))| format!("{alias}.{} AS k{}", column(*l), i + 1)))
        };
        let changed = left.map(|left| format!("{CHANGED} AS MATERIALIZED ({left})"));
        let changed_keys = left.map(|_| format!("SELECT {} FROM {CHANGED} AS l", named("l")));
        let names = list((1..=keys.len()).map(|i| format!("n.k{i}")));
        let text = format!("SELECT {names} FROM {NET} AS n");
        let columns = keys.iter().map(|(place, _)| *place).collect();
        let found = among::now(self.operand, &Keys { text: &text, columns }, self.context);
        let found = found.as_deref().unwrap_or(&self.left);
        let found = format!("SELECT {} FROM ({found}) AS l", named("l"));
        let every: Vec<String> = changed_keys.into_iter().chain([found]).collect();
        let with = changed.into_iter().chain([
            format!("{NET} AS MATERIALIZED ({net})"),
            format!("{KNOWN} AS MATERIALIZED ({})", every.join(" UNION ALL ")),
        ]);
        let same = conjunction((1..=keys.len()).map(|i| format!("l.k{i} = n.k{i}")));
        (
            with.map(|part| format!("{part}, ")).collect(),
            format!("(SELECT * FROM {NET} AS n WHERE EXISTS (SELECT FROM {KNOWN} AS l WHERE {same})) AS n"),
        )
    }

    /// Which flip is that of `l`.
    pub(super) fn is_flip_of_left(&self, keys: &[(usize, usize)]) -> String {
        let same = keys.iter().enumerate().map(|(i, (l, _))| format!("l.{} = f.k{}", column(*l), i + 1));
        let own = self
            .predicates
            .iter()
            .filter(|p| !reads_right(p, self.width) && p.as_equality_across(self.width).is_none());
        conjunction(same.chain(own.map(|p| p.render(|place| self.name(place)))))
    }
}

/// The equated columns of L and R, if every other predicate reads one side only.
pub(in crate::delta) fn keys(predicates: &[Scalar], width: usize) -> Option<Vec<(usize, usize)>> {
    let mut keys = Vec::new();
    for predicate in predicates {
        if let Some((left, right)) = predicate.as_equality_across(width) {
            keys.push((left, right - width));
        } else if !reads_right(predicate, width) && predicate.columns().iter().any(|place| *place >= width) {
            return None;
        }
    }
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::super::{Operands, delta};
    use super::*;
    use crate::delta::operator::Context;
    use crate::delta::{Expected, Leaf, Storage};
    use crate::query::Rel;
    use crate::query::rel::Yield;
    use crate::query::testing::{equality, scan};
    use crate::sql::QualifiedName;
    use std::collections::BTreeSet;

    /// The flips of a filtered table, `kept` of 1000 rows, whose key is `key`.
    fn flips(key: &[&[usize]], kept: f64, changed: &[u32]) -> String {
        let left = Rel::Filter { input: Box::new(scan(1, &["a", "b"], key)), predicates: vec![equality(1, 1)] };
        let right = scan(2, &["a"], &[]);
        let storage = Storage { stream_table: QualifiedName::new("public", "st"), states: vec![] };
        let changed: BTreeSet<Leaf> = changed.iter().map(|relid| Leaf::Source(*relid)).collect();
        let rows = |text: &str| if text.contains("WHERE") { kept } else { 1000.0 };
        let expected = Expected { extent: Extent::Probing, rows: Some(&rows) };
        let context = Context { expected, ..Context::new(&storage, &changed) };
        let predicates = [equality(0, 2)];
        let operands = Operands { left: &left, right: &right, predicates: &predicates, yields: &Yield::Matched };
        delta(operands, &context).expect("it changed")
    }

    #[test]
    fn where_few_keys_have_a_row_they_are_looked_up_before_matches_are_counted() {
        let text = flips(&[&[0]], 100.0, &[2]);
        assert!(text.contains("lk AS") && !text.contains("ln AS M"), "{text}");
        let text = flips(&[&[0]], 100.0, &[1, 2]);
        assert!(text.contains("lk AS") && text.matches("ln AS M").count() == 1, "{text}");
    }

    #[test]
    fn where_many_keys_have_a_row_or_one_has_many_matches_are_counted() {
        assert!(!flips(&[&[0]], 900.0, &[2]).contains("lk AS"));
        assert!(!flips(&[], 100.0, &[2]).contains("lk AS"));
    }
}
