//! `Δ(J ⋈ R) = ΔJ ⋈ R + J ⋈ ΔR - ΔJ ⋈ ΔR`, all on current content: adding the input R to the join J of those before it.
//!
//! With one changed input the delta is the join with that input replaced by its change. With several, the inputs are
//! taken left-deep in an order in which every prefix is connected by predicates, see [`super::order`]; each changed input makes one step of
//! three plain joins, each driven by a delta, and the unchanged inputs that a step needs or that remain at the end are
//! ordinary members of those joins. The number of joins is linear in the number of changed inputs
//! (inclusion-exclusion's is exponential). A self-join is two changed inputs.
//!
//! The terms of one step meet pairs that never stood side by side, a new row of one input and an old one of another; they
//! cancel between the terms. So the result is consolidated, and nothing above evaluates an expression on such a pair.
//!
//! Old content is never `new UNION ALL -delta` inside a join: such an arm has no parameterised path, and the planner
//! then reads the other side whole.

use super::order::{self, Order, Size};
use super::{Context, column};
use crate::delta::zset::consolidate;
use crate::query::{Column, Rel, Scalar};
use crate::sql::{conjunction, list};
use std::ops::Range;

pub(super) fn now(inputs: &[Rel], predicates: &[Scalar], context: &Context) -> String {
    Join::new(inputs, predicates, context).content()
}

/// Likewise with `part` of the content of the input at `place`.
pub(super) fn content(
    inputs: &[Rel],
    (place, part): (usize, String),
    predicates: &[Scalar],
    context: &Context,
) -> String {
    let mut join = Join::new(inputs, predicates, context);
    join.now[place] = part;
    join.content()
}

pub(super) fn delta(inputs: &[Rel], predicates: &[Scalar], context: &Context) -> Option<String> {
    delta_of(inputs, inputs.iter().map(|input| super::delta(input, context)).collect(), predicates, context)
}

/// Likewise, given the changes of the inputs.
pub(super) fn delta_of(
    inputs: &[Rel],
    changes: Vec<Option<String>>,
    predicates: &[Scalar],
    context: &Context,
) -> Option<String> {
    let join = Join { delta: changes, ..Join::new(inputs, predicates, context) };
    let every = 0..inputs.len();
    let changed: Vec<usize> = every.clone().filter(|input| join.delta[*input].is_some()).collect();
    match changed.as_slice() {
        [] => None,
        [only] => {
            let every: Vec<usize> = every.collect();
            let weight = format!("a{only}.w");
            Some(join.select(&Term { earlier: None, added: &every, changed: Some(*only), weight }))
        }
        _ => {
            let size = |place: usize, own: &[&Scalar]| size(&inputs[place], join.owned(place, own), context);
            let order = Order::of((inputs, &join.spans), predicates, size);
            Some(join.left_deep(&join.steps(&order.steps(&changed))))
        }
    }
}

/// The size of `input` under the condition `own` on it, called `a`, if it is known.
fn size(input: &Rel, own: Option<String>, context: &Context) -> Option<Size> {
    // What a recursion has reached has a name inside of it only.
    let rows = context.expected.rows.filter(|_| !input.reads_working())?;
    let whole = rows(&super::now(order::whole(input), context));
    let filtered = own.is_some() || order::is_filtered(input);
    let left = filtered.then(|| {
        let own = own.map_or(String::new(), |own| format!(" WHERE {own}"));
        rows(&format!("SELECT FROM ({}) AS a{own}", super::now(input, context)))
    });
    let kept = left.map_or(1.0, |left| (left / whole).clamp(f64::MIN_POSITIVE, 1.0));
    (whole > 0.0 && kept.is_finite()).then_some(Size { rows: whole, kept })
}

struct Join<'a> {
    predicates: &'a [Scalar],
    now: Vec<String>,
    delta: Vec<Option<String>>,
    columns: Vec<Column>,
    /// Where each input's columns lie among the join's.
    spans: Vec<Range<usize>>,
}

/// The order of the inputs for [`Join::left_deep`].
struct Steps {
    /// Changed inputs, in order.
    changed: Vec<usize>,
    /// For each changed input, the unchanged ones that connect it to those before it.
    bridges: Vec<Vec<usize>>,
    /// Unchanged inputs that no step needs.
    rest: Vec<usize>,
}

impl<'a> Join<'a> {
    fn new(inputs: &[Rel], predicates: &'a [Scalar], context: &Context) -> Self {
        let mut spans = Vec::new();
        let mut offset = 0;
        for input in inputs {
            let width = input.columns().len();
            spans.push(offset..offset + width);
            offset += width;
        }
        Join {
            predicates,
            now: inputs.iter().map(|input| super::now(input, context)).collect(),
            delta: vec![None; inputs.len()],
            columns: inputs.iter().flat_map(Rel::columns).collect(),
            spans,
        }
    }

    fn content(&self) -> String {
        let every: Vec<usize> = (0..self.now.len()).collect();
        self.select(&Term { earlier: None, added: &every, changed: None, weight: String::new() })
    }

    fn input_of(&self, column: usize) -> usize {
        self.spans.iter().position(|span| span.contains(&column)).expect("a predicate's column belongs to an input")
    }

    /// The inputs that a predicate reads.
    fn reads(&self, predicate: &Scalar) -> Vec<usize> {
        let mut inputs: Vec<usize> = predicate.columns().into_iter().map(|column| self.input_of(column)).collect();
        inputs.dedup();
        inputs
    }

    /// Predicates that read the input at `place` alone, as a condition on its rows, called `a`, if there are any.
    fn owned(&self, place: usize, own: &[&Scalar]) -> Option<String> {
        let name = |at: usize| format!("a.{}", column(at - self.spans[place].start));
        (!own.is_empty()).then(|| conjunction(own.iter().map(|predicate| predicate.render(name))))
    }

    fn steps(&self, taken: &[usize]) -> Steps {
        let mut steps = Steps { changed: Vec::new(), bridges: Vec::new(), rest: Vec::new() };
        let mut bridge = Vec::new();
        for input in taken {
            if self.delta[*input].is_some() {
                steps.changed.push(*input);
                steps.bridges.push(std::mem::take(&mut bridge));
            } else {
                bridge.push(*input);
            }
        }
        steps.rest = (0..self.now.len()).filter(|input| !taken.contains(input)).collect();
        steps
    }

    /// One `WITH` query per changed input, `j1`, `j2`, …: the delta of the join so far.
    fn left_deep(&self, steps: &Steps) -> String {
        let first = steps.changed[0];
        let seed = Term { earlier: None, added: &[first], changed: Some(first), weight: format!("a{first}.w") };
        let mut with = vec![format!("j1 AS MATERIALIZED ({})", self.select(&seed))];
        let mut prefix = vec![first];
        for (step, (changed, bridge)) in steps.changed.iter().zip(&steps.bridges).enumerate().skip(1) {
            let added: Vec<usize> = bridge.iter().copied().chain([*changed]).collect();
            let whole: Vec<usize> = prefix.iter().chain(&added).copied().collect();
            let earlier = Some((step, prefix.as_slice()));
            let weight = format!("a{changed}.w");
            let terms = [
                Term { earlier, added: &added, changed: None, weight: "j.w".into() },
                Term { earlier: None, added: &whole, changed: Some(*changed), weight: weight.clone() },
                Term { earlier, added: &added, changed: Some(*changed), weight: format!("- (j.w * {weight})") },
            ];
            let terms = terms.map(|term| self.select(&term)).join(") UNION ALL (");
            with.push(format!("j{} AS MATERIALIZED (({terms}))", step + 1));
            prefix = whole;
        }
        let earlier = Some((steps.changed.len(), prefix.as_slice()));
        let last = Term { earlier, added: &steps.rest, changed: None, weight: "j.w".into() };
        format!("WITH {} {}", list(with), consolidate(&self.select(&last), &self.columns))
    }

    /// The term as a SELECT of all columns of the inputs that it has reached, each named by its place in the join.
    fn select(&self, term: &Term) -> String {
        let prefix = term.earlier.map_or(&[][..], |(_, prefix)| prefix);
        let mut reached: Vec<usize> = prefix.iter().chain(term.added).copied().collect();
        reached.sort_unstable();
        let name = |place: usize| {
            let input = self.input_of(place);
            if prefix.contains(&input) {
                format!("j.{}", column(place))
            } else {
                format!("a{input}.{}", column(place - self.spans[input].start))
            }
        };
        let places = reached.iter().flat_map(|input| self.spans[*input].clone());
        let mut outputs: Vec<String> = places.map(|place| format!("{} AS {}", name(place), column(place))).collect();
        if !term.weight.is_empty() {
            outputs.push(format!("{} AS w", term.weight));
        }
        let earlier = term.earlier.map(|(step, _)| format!("j{step} AS j"));
        let members = term.added.iter().map(|input| {
            let changed = self.delta[*input].as_ref().filter(|_| term.changed == Some(*input));
            format!("({}) AS a{input}", changed.unwrap_or(&self.now[*input]))
        });
        let from: Vec<String> = earlier.into_iter().chain(members).collect();
        let conditions = self.predicates.iter().filter(|predicate| {
            let reads = self.reads(predicate);
            let known = term.earlier.is_some() && reads.iter().all(|input| prefix.contains(input));
            !known && reads.iter().all(|input| reached.contains(input))
        });
        let conditions = conjunction(conditions.map(|predicate| predicate.render(name)));
        format!("SELECT {} FROM {} WHERE {conditions}", list(outputs), list(from))
    }
}

/// One plain join.
struct Term<'a> {
    /// `j<step>` stands for these inputs; their predicates hold in it already.
    earlier: Option<(usize, &'a [usize])>,
    /// The inputs that are joined to it.
    added: &'a [usize],
    /// The one of them that stands for its change.
    changed: Option<usize>,
    /// The weight of the term's rows; empty for content, which has none.
    weight: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::{Leaf, Storage};
    use crate::query::testing::{equality, scan};
    use crate::sql::QualifiedName;
    use std::collections::BTreeSet;

    fn chain_of_three(changed: &[u32]) -> Option<String> {
        let inputs = [scan(1, &["a"], &[]), scan(2, &["a", "b"], &[]), scan(3, &["b"], &[])];
        let storage = Storage { stream_table: QualifiedName::new("public", "st"), states: vec![] };
        let changed: BTreeSet<Leaf> = changed.iter().map(|relid| Leaf::Source(*relid)).collect();
        delta(&inputs, &[equality(0, 1), equality(2, 3)], &Context::new(&storage, &changed))
    }

    #[test]
    fn an_unchanged_join_has_no_delta() {
        assert_eq!(chain_of_three(&[]), None);
    }

    #[test]
    fn one_changed_input_makes_one_join_without_the_others_deltas() {
        let text = chain_of_three(&[2]).expect("input 2 changed");
        assert!(!text.contains("WITH"), "{text}");
        assert!(text.contains("FROM d_2 AS t) AS a1") && !text.contains("d_1") && !text.contains("d_3"), "{text}");
    }

    #[test]
    fn two_ends_of_a_chain_are_connected_through_the_middle() {
        let text = chain_of_three(&[1, 3]).expect("inputs 1 and 3 changed");
        // Three terms for the second changed input, the unchanged middle in each.
        assert_eq!(text.matches("UNION ALL").count(), 2, "{text}");
        assert_eq!(text.matches("\"t2\"").count(), 3, "{text}");
    }

    #[test]
    fn three_changed_inputs_take_seven_joins() {
        let text = chain_of_three(&[1, 2, 3]).expect("all changed");
        assert_eq!(text.matches("UNION ALL").count(), 4, "{text}");
    }
}
