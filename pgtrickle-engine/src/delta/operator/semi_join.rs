//! `L ⋉ R`, `L ▷ R`, and `L` with a mark: which rows of L have a match, a row of R for which every predicate is true.
//!
//! With `m0(l)` whether l had a match in R and `f(l) = [matched now] - [m0]` how that flipped,
//! `Δ(L⋉R) = ΔL·[m0] + L_new·f` and `Δ(L▷R) = ΔL·[¬m0] - L_new·f`; the mark's delta is the first with `true` and the second
//! with `false`. With `c` the number of l's matches now and `m` the net weight of its matches in ΔR, `m0` is `c - m > 0`:
//! it flips up when `m > 0` and `c ≤ m`, down when `m < 0` and `c = 0`, and else not.
//!
//! Where every predicate equates a column of L with one of R, or reads one side only, `f` is a function of the equated
//! columns: a table with one row per key among ΔR, which is joined to L. Otherwise `f` is computed for each row of L that
//! a row of ΔR may match, being equal where columns are equated. Of few changes `m` is asked for each of these rows by itself; many are joined to the rows, which are numbered for
//! that, so that equated columns can be hashed and ΔR is not read once per row. Where R has at most one row, `m` is all: ΔR is the row
//! `r0` that was there and the row `r1` that is, `f(l) = [p(l, r1)] - [p(l, r0)]`, and L is read once if anything of it changed.
//!
//! `f` is asked for at rows of ΔL and L alone. So where L has at most one row per key, and few of the keys, the changed keys are looked up there first,
//! and matches are counted of those only that L or ΔL has.
//!
//! No more of `c` is asked for than decides: of at most `max(m, 0) + 1` matches it is known whether `c ≤ m`, or `c = 0`. So a
//! key that half of R has costs no more than a rare one, where each is looked up by itself, as few are. With an index on the equated columns that
//! is the way for many, too ([`Extent::Probing`]); without one these are joined to R and counted, so that R is read once, not once per key.
//!
//! No state: both sides are asked as they are now. Where both changed, the two terms meet rows that never were together;
//! they cancel, so the result is consolidated.

mod by_key;

pub(in crate::delta) use by_key::keys;

use super::among::{self, Keys, equated};
use super::{Context, all_columns, column};
use crate::delta::Extent;
use crate::delta::zset::consolidate;
use crate::query::analysis;
use crate::query::rel::Yield;
use crate::query::{Column, Rel, Scalar};
use crate::sql::{conjunction, list};

/// The operands of a semi-join.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub(super) left: &'a Rel,
    pub(super) right: &'a Rel,
    /// Over the columns of `left`, then those of `right`.
    pub(super) predicates: &'a [Scalar],
    pub(super) yields: &'a Yield,
}

pub(super) fn now(operands: Operands, context: &Context) -> String {
    content(operands, super::now(operands.left, context), context)
}

/// Likewise, given the left side's content, or part of it.
pub(super) fn content(operands: Operands, left: String, context: &Context) -> String {
    let join = SemiJoin { left, ..SemiJoin::new(operands, context) };
    let (columns, matched) = (join.left_columns(), join.matched());
    let from = format!("FROM ({}) AS l", join.left);
    match operands.yields {
        Yield::Matched => format!("SELECT {columns} {from} WHERE {matched}"),
        Yield::Unmatched => format!("SELECT {columns} {from} WHERE NOT {matched}"),
        Yield::Mark(_) => {
            let mark = format!("{matched} AS {}", column(join.width));
            format!("SELECT {} {from}", list(join.columns().into_iter().chain([mark])))
        }
    }
}

pub(super) fn delta(operands: Operands, context: &Context) -> Option<String> {
    delta_of(operands, [operands.left, operands.right].map(|input| super::delta(input, context)), context)
}

/// Likewise, given the changes of both sides.
pub(super) fn delta_of(operands: Operands, [left, right]: [Option<String>; 2], context: &Context) -> Option<String> {
    let mut join = SemiJoin::new(operands, context);
    join.narrows = right.is_some() && join.has_few_keys();
    match (left, right) {
        (None, None) => None,
        (Some(left), None) => Some(join.of_change(&left, "", &join.matched())),
        (None, Some(right)) => Some(format!("{}{}", join.with(None, &right), join.of_flips(&right))),
        (Some(left), Some(right)) => {
            let before = format!("CASE f.f WHEN 1 THEN false WHEN -1 THEN true ELSE {} END", join.matched_by_row());
            let is_named = join.narrows || matches!(join.flips, Flips::Numbered);
            let changed = if is_named { format!("SELECT * FROM {CHANGED}") } else { left.clone() };
            let seen = join.of_change(&changed, &join.beside(&right), &before);
            let both = format!("({seen}) UNION ALL ({})", join.of_flips(&right));
            Some(format!("{}{}", join.with(Some(&left), &right), consolidate(&both, &join.yielded)))
        }
    }
}

struct SemiJoin<'a> {
    left: String,
    right: String,
    /// Of the left side.
    width: usize,
    predicates: &'a [Scalar],
    yields: &'a Yield,
    /// The operator's columns.
    yielded: Vec<Column>,
    /// The columns of the right side.
    of_right: Vec<Column>,
    flips: Flips,
    /// Changed keys are looked up in L before their matches are counted.
    narrows: bool,
    operand: &'a Rel,
    context: &'a Context<'a>,
}

/// How the flip of a row is found.
enum Flips {
    /// By the equated columns of the two sides: nothing else connects them.
    Keyed(Vec<(usize, usize)>),
    /// By the only row of the right side, as it was and as it is.
    Only,
    /// The rows are numbered, and joined to what changes their matches.
    Numbered,
    /// For each row by itself.
    Each,
}

/// ΔR where R has at most one row.
const ONLY: &str = "lone";

/// The rows of ΔL, numbered where flips are, and for those that ΔR matches the net weight of their matches in it.
const CHANGED: &str = "ln";
const CHANGED_MATCHES: &str = "lm";
/// Likewise the rows of L that ΔR matches.
const REACHED: &str = "rn";
const REACHED_MATCHES: &str = "rm";

impl<'a> SemiJoin<'a> {
    fn new(operands: Operands<'a>, context: &'a Context<'a>) -> Self {
        let columns = operands.left.columns();
        let width = columns.len();
        let equates = operands.predicates.iter().any(|predicate| predicate.as_equality_across(width).is_some());
        let flips = match keys(operands.predicates, width) {
            Some(keys) => Flips::Keyed(keys),
            None if analysis::keys::keys(operands.right).contains(&Vec::new()) => Flips::Only,
            None if equates && context.expected.extent != Extent::Few => Flips::Numbered,
            None => Flips::Each,
        };
        SemiJoin {
            flips,
            narrows: false,
            left: super::now(operands.left, context),
            right: super::now(operands.right, context),
            width,
            predicates: operands.predicates,
            yields: operands.yields,
            yielded: operands.yields.columns(columns),
            of_right: operands.right.columns(),
            operand: operands.left,
            context,
        }
    }

    fn columns(&self) -> Vec<String> {
        (0..self.width).map(|position| format!("l.{}", column(position))).collect()
    }

    fn left_columns(&self) -> String {
        all_columns("l", self.width, false)
    }

    fn name(&self, place: usize) -> String {
        if place < self.width { format!("l.{}", column(place)) } else { format!("r.{}", column(place - self.width)) }
    }

    fn render<'p>(&self, predicates: impl Iterator<Item = &'p Scalar>) -> String {
        conjunction(predicates.map(|predicate| predicate.render(|place| self.name(place))))
    }

    /// The predicates of rows `l` and `r`.
    fn condition(&self) -> String {
        self.render(self.predicates.iter())
    }

    /// Those that read `r` alone.
    fn own_of_right(&self) -> String {
        self.render(self.predicates.iter().filter(|p| reads_right(p, self.width)))
    }

    /// Whether a row of the change `right` can match `l`: it equals it where columns are equated, so that the planner may begin with
    /// these rows and look for those of L. Without such columns, whether it matches.
    fn equal(&self, right: &str) -> String {
        let equates = |predicate: &&Scalar| predicate.as_equality_across(self.width).is_some();
        let wanted: Vec<&Scalar> = match self.predicates.iter().any(|predicate| equates(&predicate)) {
            true => self.predicates.iter().filter(|p| equates(p) || reads_right(p, self.width)).collect(),
            false => self.predicates.iter().collect(),
        };
        format!("EXISTS (SELECT FROM ({right}) AS r WHERE {})", self.render(wanted.into_iter()))
    }

    /// Whether `l` has a match now.
    fn matched(&self) -> String {
        format!("EXISTS (SELECT FROM ({}) AS r WHERE {})", self.right, self.condition())
    }

    /// Likewise, where the planner cannot make a join of it. It may hash all of R then; a value of `l`'s own is looked up.
    fn matched_by_row(&self) -> String {
        match self.context.expected.extent {
            Extent::Probing => {
                format!("((SELECT true FROM ({}) AS r WHERE {} LIMIT 1) IS TRUE)", self.right, self.condition())
            }
            _ => self.matched(),
        }
    }

    /// The columns of L, and a weight.
    fn weighted(&self, weight: &str) -> String {
        list(self.columns().into_iter().chain([weight.into()]))
    }

    /// What `before` becomes of the rows of the change `left`; `beside` is joined to them.
    fn of_change(&self, left: &str, beside: &str, before: &str) -> String {
        let columns = self.weighted("l.w");
        let from = format!("FROM ({left}) AS l{beside}");
        match self.yields {
            Yield::Matched => format!("SELECT {columns} {from} WHERE {before}"),
            Yield::Unmatched => format!("SELECT {columns} {from} WHERE NOT {before}"),
            Yield::Mark(_) => {
                let mark = format!("{before} AS {}", column(self.width));
                format!("SELECT {} {from}", list(self.columns().into_iter().chain([mark, "l.w".into()])))
            }
        }
    }

    /// The `WITH` clause of what flips are found by: the flip `f` of each key, numbered rows, the only row; or none.
    fn with(&self, left: Option<&str>, right: &str) -> String {
        match &self.flips {
            Flips::Keyed(keys) => self.flips_of_keys(keys, left, right),
            Flips::Only => format!("WITH {ONLY} AS MATERIALIZED ({}) ", consolidate(right, &self.of_right)),
            Flips::Numbered => self.numbers(left, right),
            Flips::Each => String::new(),
        }
    }

    /// The `WITH` clause with the numbered rows of ΔL, `left`, if there are any, and those of L that ΔR, `right`, matches.
    fn numbers(&self, left: Option<&str>, right: &str) -> String {
        let condition = self.condition();
        let numbered = |name: &str, matches_name: &str, rows: &str, which: &str| {
            format!(
                "{name} AS MATERIALIZED (SELECT l.*, pg_catalog.row_number() OVER () AS i FROM ({rows}) AS l{which}), \
                 {matches_name} AS MATERIALIZED (SELECT l.i, pg_catalog.sum(r.w)::int8 AS m FROM {name} AS l \
                 JOIN ({right}) AS r ON {condition} GROUP BY l.i HAVING pg_catalog.sum(r.w) <> 0)"
            )
        };
        let changed = left.map(|left| numbered(CHANGED, CHANGED_MATCHES, left, ""));
        let (places, keys): (Vec<usize>, Vec<usize>) = equated(self.predicates, self.width).into_iter().unzip();
        let keys = keys.iter().enumerate().map(|(i, place)| format!("r.{} AS k{}", column(*place), i + 1));
        let keys = format!("SELECT DISTINCT {} FROM ({right}) AS r WHERE {}", list(keys), self.own_of_right());
        let reached = match self.among(&keys, places) {
            Some(rows) => numbered(REACHED, REACHED_MATCHES, &rows, ""),
            None => numbered(REACHED, REACHED_MATCHES, &self.left, &format!(" WHERE {}", self.equal(right))),
        };
        format!("WITH {} ", list(changed.into_iter().chain([reached])))
    }

    /// The rows of L with one of the keys that the SELECT `keys` yields in `columns`, if keys are to be looked up.
    fn among(&self, keys: &str, columns: Vec<usize>) -> Option<String> {
        let probing = self.context.expected.extent == Extent::Probing;
        probing.then(|| among::now(self.operand, &Keys { text: keys, columns }, self.context))?
    }

    /// Joins to `l` its flip, NULL when there is none.
    fn beside(&self, right: &str) -> String {
        match &self.flips {
            Flips::Keyed(keys) => format!(" LEFT JOIN f ON {}", self.is_flip_of_left(keys)),
            Flips::Only => self.flip_by_only(),
            Flips::Numbered => format!(
                " LEFT JOIN {CHANGED_MATCHES} AS y ON y.i = l.i CROSS JOIN LATERAL (SELECT coalesce(y.m, 0) AS m) AS x{}",
                self.flip_by_net()
            ),
            Flips::Each => self.flip_of_each(right),
        }
    }

    fn flip_of_each(&self, right: &str) -> String {
        format!(
            " CROSS JOIN LATERAL (SELECT coalesce(pg_catalog.sum(r.w), 0)::int8 AS m FROM ({right}) AS r WHERE {}) AS x{}",
            self.condition(),
            self.flip_by_net()
        )
    }

    /// Joins to `l` its flip, 0 when there is none, given [`ONLY`]. Its columns are read once for all rows of L, and what is asked of
    /// each is a filter of L's own.
    fn flip_by_only(&self) -> String {
        let of_only = |what: &str, sign: &str| format!("(SELECT {what} FROM {ONLY} AS r WHERE r.w {sign} 0 LIMIT 1)");
        let holds = |sign: &str| {
            let name = |place: usize| match place.checked_sub(self.width) {
                Some(right) => of_only(&format!("r.{}", column(right)), sign),
                None => self.name(place),
            };
            let condition = conjunction(self.predicates.iter().map(|predicate| predicate.render(name)));
            format!("(CASE WHEN {} THEN {condition} END IS TRUE)", of_only("true", sign))
        };
        let (now, before) = (holds(">"), holds("<"));
        format!(" CROSS JOIN LATERAL (SELECT {now}::int4 - {before}::int4 AS f, {now} AS now, {before} AS before) AS f")
    }

    /// Joins to `l` its flip, given the net weight `x.m` of its matches in ΔR.
    fn flip_by_net(&self) -> String {
        let (condition, now) = (self.condition(), &self.right);
        format!(
            " CROSS JOIN LATERAL (SELECT CASE WHEN x.m > 0 AND (SELECT pg_catalog.count(*) FROM (SELECT FROM ({now}) AS r \
             WHERE {condition} LIMIT greatest(x.m, 0) + 1) AS o) <= x.m THEN 1 \
             WHEN x.m < 0 AND NOT {} THEN -1 END AS f) AS f",
            self.matched_by_row()
        )
    }

    /// The rows of L whose match flipped.
    fn of_flips(&self, right: &str) -> String {
        let left = &self.left;
        let from = match &self.flips {
            Flips::Keyed(keys) => {
                let names = list((1..=keys.len()).map(|i| format!("f.k{i}")));
                let flipped = format!("SELECT {names} FROM f WHERE f.f IS NOT NULL");
                let among = self.among(&flipped, keys.iter().map(|(place, _)| *place).collect());
                let left = among.as_ref().filter(|_| !keys.is_empty()).unwrap_or(left);
                format!("FROM ({left}) AS l JOIN f ON {} WHERE f.f IS NOT NULL", self.is_flip_of_left(keys))
            }
            // Of an equality the planner expects few rows, and this one is cheap, so that it is looked at first.
            Flips::Only => format!(
                "FROM ({left}) AS l{} WHERE EXISTS (SELECT FROM {ONLY}) AND f.now = (NOT f.before)",
                self.flip_by_only()
            ),
            Flips::Numbered => format!(
                "FROM {REACHED} AS l JOIN {REACHED_MATCHES} AS x ON x.i = l.i{} WHERE f.f IS NOT NULL",
                self.flip_by_net()
            ),
            Flips::Each => {
                format!(
                    "FROM ({left}) AS l{} WHERE {} AND f.f IS NOT NULL",
                    self.flip_of_each(right),
                    self.equal(right)
                )
            }
        };
        match self.yields {
            Yield::Matched => format!("SELECT {} {from}", self.weighted("f.f AS w")),
            Yield::Unmatched => format!("SELECT {} {from}", self.weighted("- f.f AS w")),
            Yield::Mark(_) => {
                let inner = self.columns().into_iter().chain(["f.f".into()]);
                let mark = format!("v.mark AS {}", column(self.width));
                let outer = self.columns().into_iter().chain([mark, "l.f * v.sign AS w".into()]);
                format!(
                    "SELECT {} FROM (SELECT {} {from}) AS l CROSS JOIN (VALUES (true, 1), (false, -1)) AS v(mark, sign)",
                    list(outer),
                    list(inner)
                )
            }
        }
    }
}

fn reads_right(predicate: &Scalar, width: usize) -> bool {
    let columns = predicate.columns();
    !columns.is_empty() && columns.iter().all(|place| *place >= width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::{Leaf, Storage};
    use crate::query::testing::{equality, scan};
    use crate::sql::QualifiedName;
    use std::collections::BTreeSet;

    fn change(predicates: &[Scalar], yields: Yield, changed: &[u32]) -> Option<String> {
        change_of(scan(2, &["a"], &[]), predicates, yields, changed)
    }

    fn change_of(right: Rel, predicates: &[Scalar], yields: Yield, changed: &[u32]) -> Option<String> {
        let left = scan(1, &["a"], &[]);
        let storage = Storage { stream_table: QualifiedName::new("public", "st"), states: vec![] };
        let changed: BTreeSet<Leaf> = changed.iter().map(|relid| Leaf::Source(*relid)).collect();
        let operands = Operands { left: &left, right: &right, predicates, yields: &yields };
        delta(operands, &Context::new(&storage, &changed))
    }

    #[test]
    fn an_unchanged_semi_join_has_no_delta() {
        assert_eq!(change(&[equality(0, 1)], Yield::Matched, &[]), None);
    }

    #[test]
    fn a_changed_left_side_only_asks_for_matches() {
        let text = change(&[equality(0, 1)], Yield::Unmatched, &[1]).expect("it changed");
        assert!(text.contains("WHERE NOT EXISTS") && !text.contains("d_2") && !text.contains("WITH"), "{text}");
    }

    #[test]
    fn equated_columns_make_flips_a_table_and_others_a_look_per_row() {
        let text = change(&[equality(0, 1)], Yield::Matched, &[2]).expect("it changed");
        assert!(text.starts_with("WITH n") && !text.contains("LATERAL"), "{text}");
        let mut greater = equality(0, 1);
        greater.fragments[2] = crate::query::Fragment::Text(" > ".into());
        let text = change(&[greater], Yield::Matched, &[2]).expect("it changed");
        assert!(!text.starts_with("WITH") && text.contains("LATERAL"), "{text}");
    }

    #[test]
    fn the_only_row_of_the_right_side_is_not_counted() {
        let mut less = equality(0, 1);
        less.fragments[2] = crate::query::Fragment::Text(" < ".into());
        let text = change_of(scan(2, &["a"], &[&[]]), &[less], Yield::Matched, &[1, 2]).expect("both changed");
        assert!(text.starts_with("WITH lone") && !text.contains("count(*)"), "{text}");
    }
}
