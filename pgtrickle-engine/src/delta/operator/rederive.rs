//! WITH RECURSIVE … UNION: semi-naive insertion, delete-and-rederive for deletion (Gupta, Mumick, Subrahmanian, *Maintaining
//! Views Incrementally*, SIGMOD 1993).
//!
//! `R` is the least set with `R = B ∪ S(R)`. A row of it has *derivations*: `B` yields it, or `S` makes it of one row of `R`
//! and one row of what the step joins it with. With `s = ΔB ⊎ ΔS(R_old)`, not consolidated:
//!
//! ```text
//! gone  = least D with D = R_old ∩ ({r | s has r with w < 0} ∪ S_new(D))         R' = R_old - gone
//! tried = gone ∪ {r ∉ R_old | s has r with w > 0}
//! found = least Z with Z = (tried ∩ (B_new ∪ S_new(R'))) ∪ (S_new(Z) - R')       R_new = R' ∪ found
//! ```
//!
//! *R' ⊆ R_new*, by induction on the number of steps in which the old recursion reached a row r of R'. Of r's derivation
//! there, nothing was lost: s has a negative row for each lost derivation from a row of R_old ([`is_traceable`]), and r is not
//! gone. If it came from `B`, r is in B_new. Else S_new makes r of a row that was reached earlier; that row is not gone, or r
//! were, so it is in R_new, and with it r. The step over the old sources is not needed: two deleted rows that follow each other
//! leave a negative row each, for both steps started in R_old.
//!
//! *R_new = R' ∪ found*. ⊇ is plain. For ⊆ it is enough that a row of B_new ∪ S_new(R') outside R' was tried: it is gone, or not
//! in R_old, and then its derivation from R' ⊆ R_old is new, so that s has it with w > 0.
//!
//! Without a negative row in s nothing is gone, every positive row is derivable, and nothing needs to be looked for. More than
//! [`MOST`] rows that are gone cost more than running the recursion anew.
//!
//! Equal rows have to be the same row: with 1.0 and 1.00 it would matter which of them the recursion went on from.

use super::{Context, Working, all_columns, column, recursive};
use crate::delta::key::equal;
use crate::delta::zset::{difference, row};
use crate::query::analysis::clock::yields_truth;
use crate::query::{Column, Equality, Rel};
use crate::sql::{conjunction, list};
use std::collections::BTreeSet;

/// Beyond so many rows that may be gone, or as many that may come while others go, the recursion is run anew.
const MOST: usize = 5_000;

/// The planner is told where no more rows than these are looked for; it expects some hundreds of a recursion.
const FEW: usize = 16;

/// The change of `base UNION step`, if it can be had from `seeds`, the raw changes of both.
pub(super) fn delta(base: &Rel, step: &Rel, seeds: &str, columns: &[Column], context: &Context) -> Option<String> {
    let own = context.own?;
    let exact = !columns.is_empty() && columns.iter().all(|c| c.ty.equality == Equality::Image);
    let stored = format!("EXISTS ({} OFFSET 0)", own.found.as_ref()?);
    if !exact || !is_traceable(step, false) {
        return None;
    }
    let union = Union { columns, context, own: &own.rows };
    let [lost, found] = [union.onward(step, "lost")?, union.onward(step, "found")?];
    let (names, image) = (union.names("b"), union.image("b"));
    let many = |rows: &str| format!("(SELECT pg_catalog.count(*) FROM ({rows} LIMIT {}) AS b) > {MOST}", MOST + 1);
    let with = [
        format!("s AS MATERIALIZED ({seeds})"),
        format!(
            "lost({}, w) AS (SELECT {names}, 1 FROM s AS b WHERE b.w < 0 AND {stored} \
             UNION (SELECT {names}, b.w FROM ({lost}) AS b WHERE {stored}))",
            union.names("")
        ),
        format!("gone AS MATERIALIZED (SELECT {names} FROM lost AS b LIMIT {})", MOST + 1),
        format!(
            "g AS MATERIALIZED (SELECT l.loses, {} OR (l.loses AND {}) AS anew FROM \
             (SELECT EXISTS (SELECT FROM s WHERE s.w < 0) AS loses) AS l)",
            many("SELECT FROM gone"),
            many("SELECT FROM s WHERE s.w > 0")
        ),
        format!(
            "tried AS MATERIALIZED (SELECT b.* FROM (SELECT {names} FROM gone AS b \
             UNION SELECT {names} FROM s AS b WHERE b.w > 0 AND NOT {stored}) AS b WHERE NOT (SELECT g.anew FROM g))"
        ),
        format!("first({}, w) AS MATERIALIZED ({})", union.names(""), union.derivable(base, step)),
        // All weights are 1. Comparing them has the planner expect few rows, and go on from them by indexes.
        format!(
            "found({}, w) AS (SELECT {names}, b.w FROM first AS b WHERE b.w = 1 \
             UNION (SELECT {names}, b.w FROM ({found}) AS b WHERE {} \
             AND (NOT {stored} OR {image} IN (SELECT {image} FROM gone AS b))))",
            union.names(""),
            recursive::STEP
        ),
    ];
    let anew = recursive::now(base, step, false, columns, context);
    let anew = difference(&anew, &own.rows, &recursive::stored_columns(columns));
    Some(format!(
        "WITH RECURSIVE {} SELECT {names}, b.w FROM found AS b \
         UNION ALL SELECT {names}, -1 FROM gone AS b WHERE NOT (SELECT g.anew FROM g) \
         UNION ALL SELECT {names}, b.w FROM ({anew}) AS b WHERE (SELECT g.anew FROM g)",
        list(with)
    ))
}

struct Union<'a> {
    columns: &'a [Column],
    context: &'a Context<'a>,
    /// The stored rows.
    own: &'a str,
}

impl Union<'_> {
    fn names(&self, alias: &str) -> String {
        match alias {
            "" => list((0..self.columns.len()).map(column)),
            _ => all_columns(alias, self.columns.len(), false),
        }
    }

    /// What tells the rows of `alias` apart; never NULL.
    fn image(&self, alias: &str) -> String {
        row("pgtrickle.row_image", alias, (0..self.columns.len()).map(column))
    }

    /// What the step makes of the rows of the relation `from`, with their weight.
    fn onward(&self, step: &Rel, from: &str) -> Option<String> {
        let moving = Working { now: from.into(), delta: Some(from.into()) };
        let unchanged = BTreeSet::new();
        let context = Context { working: Some(moving), changed: &unchanged, ..*self.context };
        Some(recursive::weighted(&super::delta(step, &context)?, self.columns))
    }

    /// The rows of `tried` that B_new ∪ S_new(R') has: all of them where nothing is lost. Those with NULLs, which no index finds
    /// by equality, are looked for by their images.
    fn derivable(&self, base: &Rel, step: &Rel) -> String {
        let [in_rest, gone] = ["t", "b"].map(|alias| self.image(alias));
        let rest = format!("(SELECT t.* FROM {} AS t WHERE {in_rest} NOT IN (SELECT {gone} FROM gone AS b))", self.own);
        let unchanged = BTreeSet::new();
        let working = Some(Working { now: rest, delta: None });
        let context = Context { working, changed: &unchanged, ..*self.context };
        let [base, step] = [base, step].map(|rel| recursive::typed(&super::now(rel, &context), self.columns));
        let places = || self.columns.iter().enumerate();
        let same = conjunction(places().map(|(i, c)| {
            let [t, b] = ["t", "b"].map(|alias| format!("{alias}.{}", column(i)));
            equal(&t, &b, &Column { nullable: false, ..c.clone() })
        }));
        let missing = places().map(|(i, c)| format!("({})", c.ty.missing(&format!("b.{}", column(i)))));
        let missing = missing.collect::<Vec<_>>().join(" OR ");
        let names = self.names("b");
        let (of_tried, loses) = (format!("SELECT {names}, 1 FROM tried AS b"), "(SELECT g.loses FROM g)");
        let few = format!("(SELECT pg_catalog.count(*) FROM tried) <= {FEW}");
        let joined = |rows: &str| {
            format!(
                "SELECT {names}, 1 FROM (SELECT b.* FROM tried AS b LIMIT {FEW}) AS b \
                 JOIN ({rows}) AS t ON {same} WHERE {loses} AND {few} \
                 UNION ALL {of_tried} JOIN ({rows}) AS t ON {same} WHERE {loses} AND NOT {few}"
            )
        };
        [
            format!("{of_tried} WHERE NOT {loses}"),
            joined(&base),
            joined(&step),
            format!(
                "{of_tried} JOIN (({base}) UNION ALL ({step})) AS t ON {in_rest} = {gone} \
                 WHERE (SELECT pg_catalog.count(*) FROM tried AS b WHERE {missing}) > 0 AND ({missing}) AND {loses}"
            ),
        ]
        .join(" UNION ALL ")
    }
}

/// A derivation that `rel` loses is in its change with a weight below zero. A join takes rows together that are the same; so
/// below it, `below`, rows have to say all of which they were made.
fn is_traceable(rel: &Rel, below: bool) -> bool {
    let mut inputs = rel.inputs().into_iter().filter(|input| input.reads_working());
    match rel {
        Rel::Working { .. } => true,
        Rel::Project { .. } if yields_truth(rel) => false,
        Rel::Project { .. } | Rel::UnionAll { .. } => !below && inputs.all(|input| is_traceable(input, false)),
        Rel::Filter { predicates, .. } if predicates.iter().any(|predicate| predicate.reads_clock()) => false,
        Rel::Filter { .. } | Rel::Expand { .. } => inputs.all(|input| is_traceable(input, below)),
        Rel::Join { .. } => inputs.all(|input| is_traceable(input, true)),
        _ => false,
    }
}
