//! Bounds on what is compiled: decorrelation copies sub-trees, a delta names the content of its inputs several times, and
//! the server plans an EXISTS that is a value in two ways, each with all that is inside. So a short query can make
//! a statement that cannot be planned.

use super::{Leaf, Program, Storage};
use crate::delta::operator::Context;
use crate::query::Rel;
use crate::query::rel::Yield;
use crate::sql::QualifiedName;
use std::cell::Cell;
use std::collections::BTreeSet;

/// Ends the making of texts once one has become too long; what is made from then on is empty.
#[derive(Debug)]
pub struct Limit {
    bytes: usize,
    exceeded: Cell<bool>,
}

impl Limit {
    fn new(bytes: usize) -> Limit {
        Limit { bytes, exceeded: Cell::new(false) }
    }

    /// What `make` makes, unless some text has been too long already.
    pub(super) fn guard(&self, make: impl FnOnce() -> Option<String>) -> Option<String> {
        if self.exceeded.get() {
            return Some(String::new());
        }
        let text = make();
        self.note(text.as_deref());
        text
    }

    fn note(&self, text: Option<&str>) {
        if text.is_some_and(|text| text.len() > self.bytes) {
            self.exceeded.set(true);
        }
    }
}

/// How many marks are inside one another's right sides.
fn nested_marks(rel: &Rel) -> usize {
    let deepest = rel.inputs().into_iter().map(nested_marks).max().unwrap_or(0);
    match rel {
        Rel::SemiJoin { right, yields: Yield::Mark(_), .. } => deepest.max(1 + nested_marks(right)),
        _ => deepest,
    }
}

impl Program {
    /// How deep sub-selects stand inside one another that are truth values: under OR, in CASE, in the SELECT list. The time
    /// to plan a statement doubles with each.
    pub fn nested_marks(&self) -> usize {
        self.stages.iter().map(|stage| nested_marks(&stage.body)).max().unwrap_or(0)
    }

    /// None of the statements that keep the result up to date is longer than `bytes`, whichever sources change. No text
    /// much longer than that is made on the way.
    pub fn fits(&self, bytes: usize) -> bool {
        let name = |name: &str| QualifiedName::new("pgtrickle_state", name);
        let states = (1..self.stages.len()).map(|stage| name(&format!("state_{stage}"))).collect();
        let storage = Storage { stream_table: name("result"), states };
        (0..self.stages.len()).all(|stage| {
            let changed: BTreeSet<Leaf> = self.stages[stage].leaves();
            let limit = Limit::new(bytes);
            let context = Context { limit: Some(&limit), ..Context::new(&storage, &changed) };
            limit.note(self.maintain_in(stage, context).as_deref());
            limit.note(Some(
                &self.content_in(stage, &Context { limit: Some(&limit), ..Context::new(&storage, &BTreeSet::new()) }),
            ));
            !limit.exceeded.get()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::rel::Side;
    use crate::query::testing::{equality, scan};

    fn chain(length: u32) -> Rel {
        (2..2 + length).fold(scan(1, &["a"], &[]), |left, relid| {
            let width = left.columns().len();
            let right = Box::new(scan(relid, &["a"], &[]));
            let predicates = vec![equality(0, width)];
            Rel::OuterJoin { left: Box::new(left), right, predicates, side: Side::Left }
        })
    }

    #[test]
    fn a_program_fits_or_does_not() {
        let program = Program::compile(chain(2));
        assert!(program.fits(100_000));
        assert!(!program.fits(100));
    }

    #[test]
    fn the_text_of_a_chain_of_outer_joins_grows_with_its_length() {
        assert!(Program::compile(chain(40)).fits(1_000_000));
    }

    #[test]
    fn marks_count_where_they_are_inside_one_another() {
        let mark = |left: Rel, right: Rel| Rel::SemiJoin {
            left: Box::new(left),
            right: Box::new(right),
            predicates: vec![equality(0, 1)],
            yields: Yield::Mark("mark".into()),
        };
        let leaf = |relid| scan(relid, &["a"], &[]);
        let side_by_side =
            Rel::Join { inputs: vec![mark(leaf(1), leaf(2)), mark(leaf(1), leaf(2))], predicates: Vec::new() };
        assert_eq!(nested_marks(&side_by_side), 1);
        assert_eq!(nested_marks(&mark(leaf(1), mark(leaf(2), mark(leaf(3), leaf(4))))), 3);
    }
}
