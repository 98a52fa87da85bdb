//! `Δσ_p(R) = σ_p(ΔR)`: selection is linear.
//!
//! A predicate `c` that compares with the clock changes by itself: `Δσ_c(R) = σ_c,old(ΔR) + (σ_c,new - σ_c,old)(R_new)`. Of
//! the second part only rows are read for which `c` flips between the two clocks, one end of a range each:
//! `σ_new - σ_old = σ_(new ∧ ¬old) - σ_(old ∧ ¬new)`; several such predicates flip one after the other, those before at the old
//! clock and those after at the new one. The clock side of a comparison is never NULL, so `¬c` is NULL exactly when `c` is.
//!
//! A predicate `p` with comparisons `c1 … cn` somewhere in it, under NOT, OR, in CASE, changes only for rows for which one of them flips:
//! each such row is met at the first `ci` that flips for it, with the weight `[p_new] - [p_old]`.

use super::{Context, all_columns, column};
use crate::delta::{LATER_CLOCK, Leaf, OLD_CLOCK};
use crate::query::{Rel, Scalar};
use crate::sql::{conjunction, list};

pub(super) fn now(input: &Rel, predicates: &[Scalar], context: &Context) -> String {
    content(&super::now(input, context), input.columns().len(), predicates)
}

/// Likewise, given the input's content, or part of it.
pub(super) fn content(input: &str, width: usize, predicates: &[Scalar]) -> String {
    select(input, width, None, predicates.iter().map(|predicate| predicate.render(name)))
}

pub(super) fn delta(input: &Rel, predicates: &[Scalar], context: &Context) -> Option<String> {
    let width = input.columns().len();
    let changed = super::delta(input, context).map(|change| {
        let conditions = predicates.iter().map(|predicate| predicate.render_at(OLD_CLOCK, name));
        select(&change, width, Some("f.w"), conditions)
    });
    let flipped = match context.changed.contains(&Leaf::Clock) {
        true => flipped(&super::now(input, context), width, predicates),
        false => Vec::new(),
    };
    let terms: Vec<String> = changed.into_iter().chain(flipped).collect();
    match terms.len() {
        0 => None,
        1 => terms.into_iter().next(),
        _ => Some(format!("({})", terms.join(") UNION ALL ("))),
    }
}

/// The rows of `content` that the predicates let in or out as the clock moves.
fn flipped(content: &str, width: usize, predicates: &[Scalar]) -> Vec<String> {
    let (moving, fixed): (Vec<&Scalar>, Vec<&Scalar>) =
        predicates.iter().partition(|predicate| predicate.reads_clock());
    let mut terms = Vec::new();
    for (position, predicate) in moving.iter().enumerate() {
        let before = moving[..position].iter().map(|predicate| predicate.render_at(OLD_CLOCK, name));
        let after = moving[position + 1..].iter().chain(&fixed).map(|predicate| predicate.render(name));
        let others: Vec<String> = before.chain(after).collect();
        for (weight, conditions) in flips_of(predicate) {
            terms.push(select(content, width, Some(&weight), conditions.into_iter().chain(others.iter().cloned())));
        }
    }
    terms
}

/// Conditions of which a row meets one if it comes or goes by the predicate as the clock moves, each with its weight.
fn flips_of(predicate: &Scalar) -> Vec<(String, Vec<String>)> {
    let at_both = |scalar: &Scalar| (scalar.render_at(OLD_CLOCK, name), scalar.render(name));
    let (old, new) = at_both(predicate);
    let comparisons = predicate.comparisons();
    if comparisons.is_empty() {
        return vec![("1".into(), holds_but(&new, &old)), ("-1".into(), holds_but(&old, &new))];
    }
    let weight = format!("CASE WHEN {new} THEN 1 ELSE -1 END");
    let mut found = Vec::new();
    let mut kept = vec![format!("(({new}) IS TRUE) <> (({old}) IS TRUE)")];
    for (before, after) in comparisons.iter().map(at_both) {
        for flip in [holds_but(&after, &before), holds_but(&before, &after)] {
            found.push((weight.clone(), flip.into_iter().chain(kept.iter().cloned()).collect()));
        }
        kept.push(format!("{before} IS NOT DISTINCT FROM {after}"));
    }
    found
}

/// One comparison holds, another one fails.
fn holds_but(holds: &str, fails: &str) -> Vec<String> {
    vec![holds.into(), format!("NOT {fails}")]
}

/// Adds SELECTs that yield something if a predicate or a truth in `rel` flips for some row between [`OLD_CLOCK`] and [`LATER_CLOCK`].
pub(crate) fn flips(rel: &Rel, context: &Context, found: &mut Vec<String>) {
    if let Rel::Filter { input, predicates } = rel {
        let (moving, fixed): (Vec<&Scalar>, Vec<&Scalar>) =
            predicates.iter().partition(|predicate| predicate.reads_clock());
        let comparisons = |predicate: &Scalar| match predicate.comparisons() {
            none if none.is_empty() => vec![predicate.clone()],
            some => some,
        };
        for comparison in moving.into_iter().flat_map(comparisons) {
            let [before, after] = [OLD_CLOCK, LATER_CLOCK].map(|clock| comparison.render_at(clock, name));
            for (holds, fails) in [(&before, &after), (&after, &before)] {
                let fixed = fixed.iter().map(|predicate| predicate.render(name));
                let conditions = holds_but(holds, fails).into_iter().chain(fixed);
                found.push(select(&super::now(input, context), 0, Some("1"), conditions));
            }
        }
    }
    if let Rel::Project { input, outputs } = rel {
        super::project::flips(input, outputs, context, found);
    }
    rel.inputs().into_iter().for_each(|input| flips(input, context, found));
}

fn name(position: usize) -> String {
    format!("f.{}", column(position))
}

fn select(input: &str, width: usize, weight: Option<&str>, conditions: impl Iterator<Item = String>) -> String {
    let kept = all_columns("f", width, false);
    let weight = weight.map(|weight| if weight == "f.w" { weight.into() } else { format!("{weight} AS w") });
    let outputs = list((!kept.is_empty()).then_some(kept).into_iter().chain(weight));
    format!("SELECT {outputs} FROM ({input}) AS f WHERE {}", conjunction(conditions))
}
