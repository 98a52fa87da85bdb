//! Grouping sets → the union of one aggregation per set, in which keys that the set lacks are NULL and GROUPING() is a
//! constant. A NULL in the data is in another branch than a key that is absent, so the two never meet.

use crate::config;
use crate::error::{Error, Result};
use crate::pg::grouping::Grouping;
use pgtrickle_engine::query::{AggregateCall, Column, DataType, Fragment, Rel, Scalar};

/// What a query computes for each of its grouping sets.
pub(super) struct Groups {
    pub(super) input: Rel,
    /// The GROUP BY expressions.
    pub(super) keys: Vec<(String, Scalar)>,
    /// Columns that depend on keys of every set.
    pub(super) dependent: Vec<(String, Scalar)>,
    pub(super) calls: Vec<(String, AggregateCall)>,
    pub(super) groupings: Vec<Grouping>,
}

impl Groups {
    /// Keys, dependent columns, calls, GROUPING() calls; for each of `sets`, which are positions among the keys.
    pub(super) fn union(self, sets: &[Vec<usize>]) -> Result<Rel> {
        let most = config::max_grouping_set_branches();
        if sets.len() > most as usize {
            let (count, name) = (sets.len(), "pg_trickle.max_grouping_set_branches");
            return Err(Error::TooComplex(format!("{count} grouping sets, more than {name} ({most})")));
        }
        if let [only] = sets {
            return Ok(self.branch(only));
        }
        let inputs: Vec<Rel> = sets.iter().map(|set| self.branch(set)).collect();
        let mut columns = inputs[0].columns();
        for branch in &inputs[1..] {
            for (column, other) in columns.iter_mut().zip(branch.columns()) {
                column.nullable |= other.nullable;
            }
        }
        Ok(Rel::UnionAll { inputs, columns })
    }

    fn branch(&self, set: &[usize]) -> Rel {
        let present: Vec<usize> = (0..self.keys.len()).filter(|key| set.contains(key)).collect();
        let keys = present.iter().map(|key| self.keys[*key].clone()).chain(self.dependent.iter().cloned());
        let group =
            Rel::Aggregate { input: Box::new(self.input.clone()), keys: keys.collect(), calls: self.calls.clone() };
        if present.len() == self.keys.len() && self.groupings.is_empty() {
            return group;
        }
        let columns = group.columns();
        let column = |position: usize| {
            let Column { name, ty, nullable } = columns[position].clone();
            (name, Scalar::column(position, ty, nullable))
        };
        let keys = self.keys.iter().enumerate().map(|(key, (name, value))| {
            match present.iter().position(|other| *other == key) {
                Some(position) => column(position),
                None => (name.clone(), constant(format!("CAST(NULL AS {})", value.ty.sql), value.ty.clone(), true)),
            }
        });
        let rest = (present.len()..columns.len()).map(column);
        let groupings = self.groupings.iter().map(|grouping| {
            let mask = grouping.keys.iter().fold(0_i32, |mask, key| mask << 1 | i32::from(!set.contains(key)));
            ("grouping".to_string(), constant(mask.to_string(), DataType::integer(), false))
        });
        Rel::Project { outputs: keys.chain(rest).chain(groupings).collect(), input: Box::new(group) }
    }
}

fn constant(text: String, ty: DataType, nullable: bool) -> Scalar {
    Scalar { fragments: vec![Fragment::Text(text)], fixed_scale: true, ..Scalar::column(0, ty, nullable) }
}
