//! In which order the inputs of a join are taken, so that the delta of what has been taken stays small.
//!
//! An input is *determined* by others when each column of one of its keys equals one of theirs: each of their rows meets at most one
//! row of it, as a line meets its order, the order its customer and the customer its nation. To take it multiplies nothing, and if it, or
//! what it determines in turn, is filtered, fewer rows are left. So the order begins at the top of such a chain and follows it down;
//! whatever is determined by what has been taken comes before what is not. Of several chains first comes the one with the highest *rank* (Hellerstein
//! and Stonebraker, *Predicate Migration*, SIGMOD 1993): what part of the rows it takes away, by what it costs to look one up.

use crate::query::Scalar;
use crate::query::analysis::keys::keys;
use crate::query::{Rel, rel::Side};
use std::ops::Range;

/// What is known of an input.
#[derive(Clone, Copy)]
pub(super) struct Size {
    /// How many rows it has before its filters.
    pub(super) rows: f64,
    /// What part of them counts, whatever the other inputs are: in (0, 1], 1 where it is not filtered.
    pub(super) kept: f64,
}

/// Of a filtered input of which nothing is known.
const FILTERED: Size = Size { rows: 1000.0, kept: 0.1 };

/// What the predicates of a join say about its inputs.
pub(super) struct Order {
    /// For each input its keys, as columns of the join, those that are empty left out.
    keys: Vec<Vec<Vec<usize>>>,
    /// Pairs of columns that are equal.
    equal: Vec<(usize, usize)>,
    /// The inputs that each predicate reads.
    reads: Vec<Vec<usize>>,
    spans: Vec<Range<usize>>,
    sizes: Vec<Size>,
}

impl Order {
    /// `size` tells what is known of an input, given the predicates that read it alone.
    pub(super) fn of(
        (inputs, spans): (&[Rel], &[Range<usize>]),
        predicates: &[Scalar],
        size: impl Fn(usize, &[&Scalar]) -> Option<Size>,
    ) -> Order {
        let input_of = |column: usize| spans.iter().position(|span| span.contains(&column)).unwrap_or(spans.len());
        let reads = |predicate: &Scalar| {
            let mut inputs: Vec<usize> = predicate.columns().into_iter().map(input_of).collect();
            inputs.sort_unstable();
            inputs.dedup();
            inputs
        };
        let shifted = |(input, span): (&Rel, &Range<usize>)| {
            let whole = keys(input).into_iter().filter(|key| !key.is_empty());
            whole.map(|key| key.into_iter().map(|column| column + span.start).collect()).collect()
        };
        let reads: Vec<Vec<usize>> = predicates.iter().map(reads).collect();
        let size = |(place, input): (usize, &Rel)| {
            let own = reads.iter().zip(predicates).filter(|(read, _)| **read == [place]);
            let own: Vec<&Scalar> = own.map(|(_, predicate)| predicate).collect();
            let filtered = !own.is_empty() || is_filtered(input);
            let size = size(place, &own).unwrap_or(FILTERED);
            Size { kept: if filtered { size.kept } else { 1.0 }, ..size }
        };
        Order {
            keys: inputs.iter().zip(spans).map(shifted).collect(),
            equal: predicates.iter().filter_map(Scalar::as_equality).collect(),
            sizes: inputs.iter().enumerate().map(size).collect(),
            spans: spans.to_vec(),
            reads,
        }
    }

    /// Each row of the inputs in `taken` together meets at most one row of `input`.
    fn is_determined(&self, input: usize, taken: &[usize]) -> bool {
        let inside = |column: usize| taken.iter().any(|input| self.spans[*input].contains(&column));
        let known =
            |column: &usize| self.equal.iter().any(|(a, b)| (a == column && inside(*b)) || (b == column && inside(*a)));
        self.keys[input].iter().any(|key| key.iter().all(known))
    }

    /// Some predicate is about `input` and inputs in `taken` alone.
    fn is_connected(&self, input: usize, taken: &[usize]) -> bool {
        self.reads.iter().any(|reads| {
            reads.contains(&input) && reads.len() > 1 && reads.iter().all(|r| *r == input || taken.contains(r))
        })
    }

    /// How many steps it takes down from each input to one that determines no other.
    fn heights(&self) -> Vec<usize> {
        let every = 0..self.spans.len();
        let mut heights = vec![0; self.spans.len()];
        for _ in every.clone() {
            for (above, below) in every.clone().flat_map(|above| every.clone().map(move |below| (above, below))) {
                let one_way = self.is_determined(above, &[below]) && !self.is_determined(below, &[above]);
                if above != below && one_way {
                    heights[above] = heights[above].max(heights[below] + 1);
                }
            }
        }
        heights
    }

    /// `input`, what it determines, and what they do.
    fn reached(&self, input: usize) -> Vec<usize> {
        let (mut reached, mut next) = (vec![input], 0);
        while let Some(at) = reached.get(next).copied() {
            let further = (0..self.spans.len()).filter(|other| self.is_determined(*other, &[at]));
            let further: Vec<usize> = further.filter(|other| !reached.contains(other)).collect();
            reached.extend(further);
            next += 1;
        }
        reached
    }

    /// What part of the rows of `input` meets a row of all that it determines.
    fn keeps(&self, input: usize) -> f64 {
        self.reached(input).into_iter().map(|reached| self.sizes[reached].kept).product()
    }

    /// What part of the rows it takes away to look up `input` and what that determines, by the height of an index of it.
    fn rank(&self, input: usize) -> f64 {
        (1.0 - self.keeps(input)) / self.sizes[input].rows.max(2.0).log2()
    }

    /// The one of `tops` to begin with: the highest that narrows in the chain with the highest rank that has one, or the highest. What is
    /// determined by none is not part of a chain, but what chains are above of.
    fn top(&self, tops: &[usize]) -> Option<usize> {
        let heights = self.heights();
        let narrow = |input: &usize| self.keeps(*input) < 1.0;
        let highest = |among: &[usize]| {
            let tops = tops.iter().copied().filter(|input| among.contains(input));
            tops.rev().max_by_key(|input| (narrow(input), heights[*input])).filter(narrow)
        };
        let chained: Vec<usize> = (0..self.spans.len()).filter(|input| heights[*input] > 0).collect();
        let is_below = |above: &usize, input: &usize| above != input && self.is_determined(*above, &[*input]);
        let is_lowest = |input: &usize| !chained.iter().any(|below| is_below(input, below));
        let mut lowest: Vec<usize> = chained.iter().copied().filter(is_lowest).collect();
        lowest.sort_by(|a, b| self.rank(*b).total_cmp(&self.rank(*a)));
        let first = lowest.into_iter().find_map(|input| highest(&self.reached(input)));
        first.or_else(|| tops.iter().copied().rev().max_by_key(|input| (narrow(input), heights[*input])))
    }

    /// The inputs up to the last of the `changed` ones, in order: these, and what narrows or connects them.
    pub(super) fn steps(&self, changed: &[usize]) -> Vec<usize> {
        let mut left: Vec<usize> = (0..self.spans.len()).collect();
        let mut taken: Vec<usize> = Vec::new();
        while left.iter().any(|input| changed.contains(input)) {
            let next = self.next(&taken, &left, changed);
            left.retain(|input| *input != next);
            taken.push(next);
        }
        taken
    }

    fn next(&self, taken: &[usize], left: &[usize], changed: &[usize]) -> usize {
        let is_changed = |input: &usize| changed.contains(input);
        let connected = |input: &usize| self.is_connected(*input, taken);
        let find = |wanted: &dyn Fn(&usize) -> bool| left.iter().copied().find(wanted);
        let determined = || {
            let determined = left.iter().copied().filter(|input| {
                connected(input) && self.is_determined(*input, taken) && (is_changed(input) || self.keeps(*input) < 1.0)
            });
            determined.min_by(|a, b| self.rank(*b).total_cmp(&self.rank(*a)))
        };
        let below = || {
            taken.iter().rev().find_map(|above| {
                find(&|input| is_changed(input) && connected(input) && self.is_determined(*above, &[*input]))
            })
        };
        let begun = || {
            determined()
                .or_else(below)
                .or_else(|| find(&|input| is_changed(input) && connected(input)))
                .or_else(|| find(&connected))
        };
        let next = if taken.is_empty() { None } else { begun() };
        // Nothing has been taken yet, or nothing is connected: begin anew.
        let tops = || left.iter().copied().filter(is_changed).collect::<Vec<usize>>();
        next.or_else(|| self.top(&tops())).expect("a changed input is left")
    }
}

/// What an input is a part of: itself without its filters.
pub(super) fn whole(input: &Rel) -> &Rel {
    match input {
        Rel::Filter { input, .. } | Rel::SemiJoin { left: input, .. } => whole(input),
        Rel::OuterJoin { left, side: Side::Left, .. } if is_filtered(left) => whole(left),
        Rel::Project { input: below, .. } if is_filtered(below) => whole(below),
        _ => input,
    }
}

/// Not all rows of what is read belong to the input.
pub(super) fn is_filtered(input: &Rel) -> bool {
    !std::ptr::eq(whole(input), input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::testing::{equality, scan};

    /// Line (order, part), order (id, customer), customer (id), part (id): columns 0–1, 2–3, 4, 5.
    fn lines() -> (Vec<Rel>, Vec<Scalar>, Vec<Range<usize>>) {
        let inputs = vec![
            scan(1, &["o", "p"], &[]),
            scan(2, &["id", "c"], &[&[0]]),
            scan(3, &["id"], &[&[0]]),
            scan(4, &["id"], &[&[0]]),
        ];
        (inputs, vec![equality(0, 2), equality(3, 4), equality(1, 5)], vec![0..2, 2..4, 4..5, 5..6])
    }

    fn steps(filtered: Option<usize>, changed: &[usize]) -> Vec<usize> {
        let (inputs, mut predicates, spans) = lines();
        predicates.extend(filtered.map(|column| equality(column, column)));
        Order::of((&inputs, &spans), &predicates, |_, _| None).steps(changed)
    }

    #[test]
    fn the_longest_chain_is_followed_from_its_top() {
        assert_eq!(steps(None, &[0, 1, 2, 3]), [2, 1, 0, 3]);
    }

    #[test]
    fn a_filtered_top_comes_first() {
        assert_eq!(steps(Some(5), &[0, 1, 2, 3]), [3, 0, 1, 2]);
        assert_eq!(steps(Some(4), &[0, 1, 3]), [1, 2, 0, 3]);
    }

    #[test]
    fn an_unchanged_input_is_taken_where_it_narrows_or_connects() {
        assert_eq!(steps(None, &[0, 1]), [1, 0]);
        assert_eq!(steps(Some(4), &[0, 1]), [1, 2, 0]);
        assert_eq!(steps(None, &[2, 3]), [2, 1, 0, 3]);
    }

    #[test]
    fn the_chain_with_the_highest_rank_comes_first() {
        let (inputs, mut predicates, spans) = lines();
        predicates.extend([equality(4, 4), equality(5, 5)]);
        let steps = |customers: (f64, f64), parts: (f64, f64)| {
            let sizes = [(1e7, 1.0), (1e6, 1.0), customers, parts];
            let size = |input: usize, _: &[&Scalar]| Some(Size { rows: sizes[input].0, kept: sizes[input].1 });
            Order::of((&inputs, &spans), &predicates, size).steps(&[0, 1, 2, 3])
        };
        assert_eq!(steps((1e5, 0.5), (1e5, 0.01)), [3, 0, 1, 2]);
        assert_eq!(steps((1e5, 0.01), (1e5, 0.5)), [2, 1, 0, 3]);
        assert_eq!(steps((1e5, 0.1), (1e3, 0.2)), [3, 0, 1, 2]);
    }

    #[test]
    fn what_nothing_connects_is_taken_all_the_same() {
        let (inputs, _, spans) = lines();
        assert_eq!(Order::of((&inputs, &spans), &[], |_, _| None).steps(&[0, 2]), [0, 2]);
    }
}
