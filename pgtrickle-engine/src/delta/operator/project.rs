//! `Δπ_e(R) = π_e(ΔR)`: projection of bags is linear.
//!
//! The truth `c` of a comparison with the clock changes by itself: `Δπ_c(R) = π_c,old(ΔR) + (π_c,new - π_c,old)(R_new)`. Of the
//! second part only rows are read for which some `c1 … cn` flips between the two clocks, one end of a range each: each such
//! row at the first `ci` that flips for it, with weight 1 as it is at the new clock and -1 as it was at the old one.
//!
//! A row that came between the two clocks is in the first term with truths that it never had; the second takes them off. So the
//! sum of both is consolidated, and nothing above evaluates an expression on them.

use super::{Context, column};
use crate::delta::zset::consolidate;
use crate::delta::{LATER_CLOCK, Leaf, OLD_CLOCK};
use crate::query::{Rel, Scalar};
use crate::sql::{conjunction, list};

type Outputs = [(String, Scalar)];

pub(super) fn now(input: &Rel, outputs: &Outputs, context: &Context) -> String {
    content(&super::now(input, context), outputs)
}

/// Likewise, given the input's content, or part of it.
pub(super) fn content(input: &str, outputs: &Outputs) -> String {
    select(input, outputs, |scalar| scalar.render(name), None)
}

pub(super) fn delta(input: &Rel, outputs: &Outputs, context: &Context) -> Option<String> {
    let old = |scalar: &Scalar| scalar.render_at(OLD_CLOCK, name);
    let changed = super::delta(input, context).map(|change| select(&change, outputs, old, Some("p.w")));
    let truths: Vec<&Scalar> = truths(outputs).collect();
    if truths.is_empty() || !context.changed.contains(&Leaf::Clock) {
        return changed;
    }
    let content = format!("{}) AS p, (VALUES (1), (-1)", super::now(input, context));
    let at_both = |scalar: &Scalar| match scalar.reads_clock() {
        true => format!("CASE s.w WHEN 1 THEN {} ELSE {} END", scalar.render(name), old(scalar)),
        false => scalar.render(name),
    };
    let mut terms: Vec<String> = changed.into_iter().collect();
    let mut kept = Vec::new();
    let more = terms.len();
    for truth in truths {
        let (before, after) = (old(truth), truth.render(name));
        for (holds, fails) in [(&after, &before), (&before, &after)] {
            let conditions = flip(holds, fails).into_iter().chain(kept.iter().cloned());
            let values = computed(outputs, at_both, Some("s.w"));
            terms.push(format!("SELECT {values} FROM ({content}) AS s(w) WHERE {}", conjunction(conditions)));
        }
        kept.push(format!("{before} IS NOT DISTINCT FROM {after}"));
    }
    let all = format!("({})", terms.join(") UNION ALL ("));
    let project = Rel::Project { input: Box::new(input.clone()), outputs: outputs.to_vec() };
    Some(if more > 0 { consolidate(&all, &project.columns()) } else { all })
}

/// Adds SELECTs that yield something if a truth that the projection of `input` yields flips between [`OLD_CLOCK`] and
/// [`LATER_CLOCK`].
pub(super) fn flips(input: &Rel, outputs: &Outputs, context: &Context, found: &mut Vec<String>) {
    for truth in truths(outputs) {
        let [before, after] = [OLD_CLOCK, LATER_CLOCK].map(|clock| truth.render_at(clock, name));
        for (holds, fails) in [(&after, &before), (&before, &after)] {
            let content = super::now(input, context);
            found.push(format!("SELECT 1 AS w FROM ({content}) AS p WHERE {}", conjunction(flip(holds, fails))));
        }
    }
}

fn truths(outputs: &Outputs) -> impl Iterator<Item = &Scalar> {
    outputs.iter().map(|(_, scalar)| scalar).filter(|scalar| scalar.reads_clock())
}

fn flip(holds: &str, fails: &str) -> [String; 2] {
    [holds.into(), format!("NOT {fails}")]
}

fn name(position: usize) -> String {
    format!("p.{}", column(position))
}

fn computed(outputs: &Outputs, render: impl Fn(&Scalar) -> String, weight: Option<&str>) -> String {
    let values = outputs.iter().enumerate().map(|(i, (_, scalar))| format!("{} AS {}", render(scalar), column(i)));
    list(values.chain(weight.map(String::from)))
}

fn select(input: &str, outputs: &Outputs, render: impl Fn(&Scalar) -> String, weight: Option<&str>) -> String {
    format!("SELECT {} FROM ({input}) AS p", computed(outputs, render, weight))
}
