//! Columns of the rows that a relation is evaluated for: [`Fragment::Outer`].

use super::{Fragment, Rel};

impl Rel {
    /// Calls `change` on every column of a row that this operator is evaluated for: how many Apply operators further out it is
    /// a column of the left side, from 1, and which.
    pub fn for_each_outer(&mut self, change: &mut impl FnMut(&mut usize, &mut usize)) {
        self.for_each_further(0, change);
    }

    fn for_each_further(&mut self, inside: usize, change: &mut impl FnMut(&mut usize, &mut usize)) {
        for fragment in self.texts_mut().into_iter().flatten() {
            if let Fragment::Outer { depth, column } = fragment
                && *depth > inside
            {
                *depth -= inside;
                change(depth, column);
                *depth += inside;
            }
        }
        let applies = matches!(self, Rel::Apply { .. });
        for (position, input) in self.inputs_mut().into_iter().enumerate() {
            input.for_each_further(inside + usize::from(applies && position == 1), change);
        }
    }
}
