//! `τ_k(R) = τ_k(λ_k(R))` and `σ_{r ≤ k}(ω_r(R)) = σ_{r ≤ k}(ω_r(λ_k(R)))` with `λ_k` [`Rel::Leading`]: the first rows of a partition
//! are the first of any part of it that begins with them, and so are their numbers and ranks. Stored, they bound what a
//! LIMIT or a filter on a rank reads.
//!
//! The second holds where every call of the operator looks back only: `row_number`, `rank` and `dense_rank` of one window.
//! `row_number() <= k` wants the first `k` rows in some order of those that tie, `rank() <= k` all that fewer than `k` precede.
//! More than [`MOST_ROWS`] rows are not worth it. An OFFSET that may skip some of the rows that tie, and WITH TIES keep the others,
//! is left to the server.

use super::map_inputs;
use crate::query::{Fragment, Rel, Scalar, WindowDefinition};
use crate::sql::Ident;

/// Ranking a thousand stored rows costs about what a refresh costs otherwise.
const MOST_ROWS: i64 = 1000;

/// Puts a Leading below each TopK with a limit, and below each Window of which only the first rows are wanted.
pub(super) fn apply(rel: Rel) -> Rel {
    let rel = match rel {
        Rel::Filter { input, predicates } => {
            let input = Box::new(bounded(*input, &|column| bound(&predicates, column)));
            Rel::Filter { input, predicates }
        }
        Rel::Join { inputs, predicates } => {
            let mut first = 0;
            let mut bounded_inputs = Vec::with_capacity(inputs.len());
            for input in inputs {
                let width = input.columns().len();
                bounded_inputs.push(bounded(input, &|column| bound(&predicates, first + column)));
                first += width;
            }
            Rel::Join { inputs: bounded_inputs, predicates }
        }
        Rel::TopK { input, partition, order, limit: Some(limit), offset, with_ties }
            if !with_ties || offset.is_none() =>
        {
            let counts = [limit.clone()].into_iter().chain(offset.clone()).collect();
            let leading =
                Rel::Leading { input, partition: partition.clone(), order: order.clone(), counts, ties: with_ties };
            Rel::TopK { input: Box::new(leading), partition, order, limit: Some(limit), offset, with_ties }
        }
        other => other,
    };
    map_inputs(rel, &mut apply)
}

/// `rel`, of whose rows only those are wanted whose column does not exceed its `bound`.
fn bounded(rel: Rel, bound: &dyn Fn(usize) -> Option<i64>) -> Rel {
    match rel {
        Rel::Project { input, outputs } => {
            let of_input = |column: usize| {
                let places = outputs.iter().enumerate().filter(|(_, (_, scalar))| scalar.as_column() == Some(column));
                places.filter_map(|(place, _)| bound(place)).min()
            };
            let input = Box::new(bounded(*input, &of_input));
            Rel::Project { input, outputs }
        }
        Rel::Window { input, partition, windows, calls } => {
            let width = input.columns().len();
            let wanted = wanted(&windows, &calls, &|call| bound(width + call));
            let input = match (wanted, windows.as_slice()) {
                (Some((rows, ties)), [window]) => Box::new(Rel::Leading {
                    input,
                    partition: partition.clone(),
                    order: window.order.clone(),
                    counts: vec![Scalar::constant(rows)],
                    ties,
                }),
                _ => input,
            };
            Rel::Window { input, partition, windows, calls }
        }
        other => other,
    }
}

/// How many rows of each partition are wanted, and whether with all that tie with the last.
fn wanted(
    windows: &[WindowDefinition],
    calls: &[(String, Scalar)],
    bound: &dyn Fn(usize) -> Option<i64>,
) -> Option<(i64, bool)> {
    let [window] = windows else { return None };
    let functions: Vec<&str> = calls.iter().map(|(_, call)| ranking(call, &window.name)).collect::<Option<_>>()?;
    let bounds = functions.iter().enumerate().filter(|(_, function)| **function != "dense_rank");
    let bounds = bounds.filter_map(|(call, function)| bound(call).map(|rows| (rows, *function == "rank")));
    bounds.min().filter(|(rows, _)| *rows <= MOST_ROWS)
}

/// Which of the functions that look back only `call` is, over the window `name`.
fn ranking<'a>(call: &'a Scalar, name: &Ident) -> Option<&'a str> {
    let [Fragment::Text(text)] = call.fragments.as_slice() else { return None };
    let (function, over) = text.split_once("() OVER ")?;
    let function = function.strip_prefix("pg_catalog.").unwrap_or(function);
    (["row_number", "rank", "dense_rank"].contains(&function) && over.trim_matches('"') == name.0).then_some(function)
}

/// The greatest value of `column` with which the predicates can be true, as far as one compares it with a constant.
fn bound(predicates: &[Scalar], column: usize) -> Option<i64> {
    predicates
        .iter()
        .filter_map(|predicate| predicate.as_upper_bound())
        .filter(|(of, _)| *of == column)
        .map(|(_, rows)| rows)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::testing::{int4, scan};

    fn ranked(functions: &[&str], predicate: &str) -> Rel {
        let call = |function: &&str| {
            (
                function.to_string(),
                Scalar { fragments: vec![Fragment::Text(format!("{function}() OVER w1"))], ..Scalar::one() },
            )
        };
        let window = Rel::Window {
            input: Box::new(scan(1, &["p", "o"], &[])),
            partition: vec![Scalar::column(0, int4(), true)],
            windows: vec![WindowDefinition { name: Ident::new("w1"), order: Vec::new(), frame: String::new() }],
            calls: functions.iter().map(call).collect(),
        };
        let (before, after) = predicate.split_once('#').expect("it reads a column");
        let predicate = Scalar {
            fragments: vec![Fragment::Text(before.into()), Fragment::Column(2), Fragment::Text(after.into())],
            ..Scalar::column(2, int4(), false)
        };
        apply(Rel::Filter { input: Box::new(window), predicates: vec![predicate] })
    }

    fn counts(rel: &Rel) -> Option<(String, bool)> {
        match rel {
            Rel::Leading { counts, ties, .. } => Some((counts[0].render(|_| String::new()), *ties)),
            _ => rel.inputs().into_iter().find_map(counts),
        }
    }

    #[test]
    fn upper_bounds_of_ranks_are_found() {
        assert_eq!(counts(&ranked(&["row_number"], "(# <= 3)")), Some(("'3'::bigint".into(), false)));
        assert_eq!(counts(&ranked(&["row_number"], "('3'::bigint > #)")), Some(("'2'::bigint".into(), false)));
        assert_eq!(counts(&ranked(&["rank", "dense_rank"], "(# = 1)")), Some(("'1'::bigint".into(), true)));
    }

    #[test]
    fn other_calls_and_other_bounds_are_not() {
        assert_eq!(counts(&ranked(&["row_number", "ntile"], "(# <= 3)")), None);
        assert_eq!(counts(&ranked(&["dense_rank"], "(# <= 3)")), None);
        assert_eq!(counts(&ranked(&["row_number"], "(# >= 3)")), None);
        assert_eq!(counts(&ranked(&["row_number"], "(# <= 100000)")), None);
        assert_eq!(counts(&ranked(&["row_number"], "(NOT # <= 3)")), None);
    }
}
