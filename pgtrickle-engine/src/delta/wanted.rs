//! Which rows of a source's change matter: `Δ(… σ_p(R) …)` reads `ΔR` through `σ_p(ΔR)` alone.
//!
//! `p` is what filters and joins above the scan say about its columns and nothing else. A row that meets `p` at no scan of
//! the source changes nothing, and is taken out before the deltas are computed: a source of which no row is left has not
//! changed, and its terms are not in the text; of the others the planner knows how many rows there are.
//!
//! Where rows without a match are kept, a predicate says nothing about their side. What reads the clock is met at two
//! clocks, and is not used.

use super::Program;
use crate::query::rel::Side;
use crate::query::{Rel, Scalar, Scan};

impl Program {
    /// For each scan of the source `relid`, the predicates that a row of its change has to meet; `None` if one has none.
    pub(super) fn wanted(&self, relid: u32) -> Option<Vec<(&Scan, Vec<Scalar>)>> {
        let mut found = Vec::new();
        self.stages.iter().for_each(|stage| collect(&stage.body, Vec::new(), &mut found));
        let own: Vec<(&Scan, Vec<Scalar>)> = found.into_iter().filter(|(scan, _)| scan.relid == relid).collect();
        own.iter().all(|(_, predicates)| !predicates.is_empty()).then_some(own)
    }
}

/// The scans in `rel`, each with what is said about it; `above` are predicates over the columns of `rel`.
fn collect<'a>(rel: &'a Rel, above: Vec<Scalar>, found: &mut Vec<(&'a Scan, Vec<Scalar>)>) {
    let width = |rel: &Rel| rel.columns().len();
    match rel {
        Rel::Scan(scan) => found.push((scan, above)),
        Rel::Filter { input, predicates } => {
            let own = predicates.iter().filter(|p| !p.reads_clock() && !p.columns().is_empty()).cloned();
            collect(input, above.into_iter().chain(own).collect(), found);
        }
        Rel::Project { input, outputs } => {
            let from = |position: usize| outputs[position].1.as_column();
            let plain = |p: &Scalar| p.columns().into_iter().all(|position| from(position).is_some());
            let below =
                above.iter().filter(|p| plain(p)).map(|p| p.remap(|position| from(position).unwrap_or(position)));
            collect(input, below.collect(), found);
        }
        Rel::Join { inputs, predicates } => {
            let all: Vec<Scalar> = above.into_iter().chain(predicates.iter().cloned()).collect();
            let mut first = 0;
            for input in inputs {
                collect(input, about(&all, first, width(input)), found);
                first += width(input);
            }
        }
        Rel::SemiJoin { left, right, predicates, .. } => {
            collect(left, about(&above, 0, width(left)), found);
            collect(right, about(predicates, width(left), width(right)), found);
        }
        Rel::OuterJoin { left, right, predicates, side: Side::Left } => {
            collect(left, about(&above, 0, width(left)), found);
            collect(right, about(predicates, width(left), width(right)), found);
        }
        _ => rel.inputs().into_iter().for_each(|input| collect(input, Vec::new(), found)),
    }
}

/// Those of `predicates` that read the `width` columns from `first` on and nothing else, over these.
fn about(predicates: &[Scalar], first: usize, width: usize) -> Vec<Scalar> {
    let inside = |p: &&Scalar| {
        let columns = p.columns();
        !p.reads_clock() && !columns.is_empty() && columns.iter().all(|c| (first..first + width).contains(c))
    };
    predicates.iter().filter(inside).map(|p| p.remap(|column| column - first)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::rel::Yield;
    use crate::query::testing::{equality, scan};

    fn positive(column: usize) -> Scalar {
        let mut predicate = equality(column, column);
        predicate.fragments = vec![
            crate::query::Fragment::Text("(".into()),
            crate::query::Fragment::Column(column),
            crate::query::Fragment::Text(" > 0)".into()),
        ];
        predicate
    }

    fn consolidated(rel: Rel, relid: u32) -> String {
        Program::compile(rel).consolidated(relid)
    }

    #[test]
    fn what_a_join_says_about_one_input_is_asked_of_its_change() {
        let inputs = vec![scan(1, &["a", "b"], &[&[0]]), scan(2, &["a", "b"], &[&[0]])];
        let join = Rel::Join { inputs, predicates: vec![equality(0, 2), positive(3)] };
        assert!(consolidated(join.clone(), 2).ends_with("WHERE (z.c2 > 0)"), "{}", consolidated(join.clone(), 2));
        assert!(!consolidated(join, 1).contains(" > 0"));
    }

    #[test]
    fn a_source_that_is_also_read_whole_keeps_its_change() {
        let inputs = vec![scan(1, &["a", "b"], &[&[0]]), scan(1, &["a", "b"], &[&[0]])];
        let join = Rel::Join { inputs, predicates: vec![equality(0, 2), positive(3)] };
        assert!(!consolidated(join, 1).contains(" > 0"));
    }

    #[test]
    fn rows_that_are_kept_without_a_match_are_not_asked() {
        let semi = |yields| Rel::SemiJoin {
            left: Box::new(scan(1, &["a"], &[&[0]])),
            right: Box::new(scan(2, &["a"], &[&[0]])),
            predicates: vec![equality(0, 1), positive(0), positive(1)],
            yields,
        };
        assert!(!consolidated(semi(Yield::Unmatched), 1).contains(" > 0"));
        assert!(consolidated(semi(Yield::Unmatched), 2).contains(" > 0"));
    }
}
