//! Which rows of a source's change matter: `Δ(… σ_p(R) …)` reads `ΔR` through `σ_p(ΔR)` alone.
//!
//! `p` is what filters and joins above the scan say about its columns and nothing else. A row that meets `p` at no scan of
//! the source changes nothing, and is taken out before the deltas are computed: a source of which no row is left has not
//! changed, and its terms are not in the text; of the others the planner knows how many rows there are.
//!
//! Where rows without a match are kept, a predicate says nothing about their side. What reads the clock is met at two
//! clocks, and is not used.

use super::operator::scan::changed_value;
use super::zset::consolidate_named;
use super::{Leaf, Program};
use crate::query::rel::Side;
use crate::query::{Equality, Rel, Scalar, Scan};
use crate::sql::{conjunction, disjunction, list};
use std::collections::BTreeMap;

impl Program {
    /// A SELECT of the change of the source `relid`, its [`read_columns`](Program::read_columns) and `w`, rows that cancel taken out: what was
    /// undone again in between is never looked at, and an expression is only evaluated on rows that were there. (OFFSET 0 keeps
    /// the predicates from being asked before.) Rows that change nothing are taken out, too.
    pub fn consolidated(&self, relid: u32) -> String {
        let columns = self.buffer_columns(relid);
        let names = columns.iter().map(|(name, _)| name.clone()).chain(["w".into()]);
        let change = format!("SELECT {} FROM {}", list(names), Leaf::Source(relid).delta_name());
        let net = consolidate_named(&change, &columns);
        self.kept(relid, &format!("({net} OFFSET 0)")).unwrap_or(net)
    }

    /// A SELECT of those rows of the change that may change something, which is consolidated already; `None` when any may.
    pub fn wanted_rows(&self, relid: u32) -> Option<String> {
        self.kept(relid, &Leaf::Source(relid).delta_name())
    }

    /// Whether any row of the change may change something.
    pub fn wants_all(&self, relid: u32) -> bool {
        self.wanted(relid).is_none()
    }

    /// The columns of the buffer of the source `relid` that the program reads, in the order of their numbers.
    pub fn read_columns(&self, relid: u32) -> Vec<String> {
        self.buffer_columns(relid).into_iter().map(|(name, _)| name).collect()
    }

    fn buffer_columns(&self, relid: u32) -> Vec<(String, Equality)> {
        let mut columns = BTreeMap::new();
        for scan in self.stages.iter().flat_map(|stage| stage.body.scans()).filter(|scan| scan.relid == relid) {
            columns.extend(scan.columns.iter().map(|c| (c.attnum, c.column.ty.equality)));
        }
        columns.into_iter().map(|(attnum, equality)| (format!("c{attnum}"), equality)).collect()
    }

    /// Of the rows of `change` those that meet what some scan asks of them.
    fn kept(&self, relid: u32, change: &str) -> Option<String> {
        let asked = |(scan, all): &(&Scan, Vec<Scalar>)| {
            conjunction(all.iter().map(|p| p.render(|position| changed_value("z", &scan.columns[position]))))
        };
        let mut conditions: Vec<String> = self.wanted(relid)?.iter().map(asked).collect();
        conditions.sort();
        conditions.dedup();
        let names = self.read_columns(relid).into_iter().chain(["w".into()]);
        let columns = list(names.map(|name| format!("z.{name}")));
        Some(format!("SELECT {columns} FROM {change} AS z WHERE {}", disjunction(conditions)))
    }

    /// For each scan of the source `relid`, the predicates that a row of its change has to meet; `None` if one has none.
    fn wanted(&self, relid: u32) -> Option<Vec<(&Scan, Vec<Scalar>)>> {
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
