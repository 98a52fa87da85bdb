//! Which sources' changes need not be consolidated before they are read: those that are grouped anyway.
//!
//! Selection and projection are linear, so `consolidate(π(σ(Z))) = consolidate(π(σ(consolidate(Z))))`; and sums of weights over groups do not
//! ask whether rows cancelled before. So where every scan of a source is read through selections and projections alone, by an aggregate of
//! sums, by the count of matches per key of a semi-join, or as the rows that a statement or the rows' own application consolidates, to
//! consolidate what was read is to do the same work twice.
//!
//! It holds for a Z-set each of whose rows was in the source before, with a negative weight, or is in it now. Only then is no
//! expression evaluated on a row that never was there at the end of a transaction. A command that changes each row at most once writes no
//! other.

use super::operator::semi_join;
use super::{Program, StageKind};
use crate::query::Rel;

impl Program {
    /// Whether all that reads the change of the source `relid` consolidates it.
    pub fn regroups(&self, relid: u32) -> bool {
        self.stages.iter().all(|stage| {
            let grouped = match &stage.kind {
                StageKind::Aggregate(state) => !state.often_recomputes(),
                StageKind::Rows | StageKind::Output => true,
                StageKind::Keyed(_) | StageKind::Shown(_) => false,
            };
            all_grouped(&stage.body, relid, grouped)
        })
    }
}

/// Whether the change of every scan of `relid` in `rel` is; `grouped` says it of the change of `rel`.
fn all_grouped(rel: &Rel, relid: u32, grouped: bool) -> bool {
    match rel {
        Rel::Scan(scan) => scan.relid != relid || grouped,
        Rel::Filter { input, .. } | Rel::Project { input, .. } => all_grouped(input, relid, grouped),
        Rel::UnionAll { inputs, .. } => inputs.iter().all(|input| all_grouped(input, relid, grouped)),
        Rel::SemiJoin { left, right, predicates, .. } => {
            let counted = semi_join::keys(predicates, left.columns().len()).is_some();
            all_grouped(left, relid, false) && all_grouped(right, relid, counted)
        }
        _ => rel.inputs().into_iter().all(|input| all_grouped(input, relid, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::rel::Yield;
    use crate::query::testing::{equality, project, scan};

    fn regroups(rel: Rel, relid: u32) -> bool {
        Program::compile(rel).regroups(relid)
    }

    fn table(relid: u32) -> Rel {
        scan(relid, &["a", "b"], &[&[0]])
    }

    #[test]
    fn the_matches_of_a_semi_join_are_counted_by_key() {
        let semi = |predicates| Rel::SemiJoin {
            left: Box::new(table(1)),
            right: Box::new(project(table(2), &[1])),
            predicates,
            yields: Yield::Matched,
        };
        assert!(regroups(semi(vec![equality(0, 2)]), 2));
        assert!(!regroups(semi(vec![equality(0, 2)]), 1));
        let mut compared = equality(1, 2);
        compared.fragments[2] = crate::query::Fragment::Text(" < ".into());
        assert!(!regroups(semi(vec![compared]), 2));
    }

    #[test]
    fn a_join_meets_its_matches_with_every_row() {
        let join = Rel::Join { inputs: vec![table(1), table(2)], predicates: vec![equality(0, 3)] };
        assert!(!regroups(join, 2));
        assert!(regroups(project(table(2), &[0]), 2));
    }

    #[test]
    fn a_source_that_is_also_joined_is_not() {
        let join = Rel::Join { inputs: vec![table(1), table(2)], predicates: vec![equality(0, 3)] };
        let columns = join.columns();
        let wide = Rel::Join { inputs: vec![table(2), table(3)], predicates: vec![equality(0, 3)] };
        let both = Rel::UnionAll {
            inputs: vec![project(table(1), &[0]), project(join, &[0]), project(wide, &[0])],
            columns: columns[..1].to_vec(),
        };
        assert!(!regroups(both.clone(), 1));
        let apart = Rel::UnionAll {
            inputs: vec![project(table(1), &[0]), project(table(1), &[1])],
            columns: columns[..1].to_vec(),
        };
        assert!(regroups(apart, 1));
    }
}
