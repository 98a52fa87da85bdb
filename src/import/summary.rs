//! What reports and warnings say about a query besides its tree.

use crate::pg::{object, statistics};
use pgtrickle_engine::query::{AggregateFunction, Rel, Scalar};
use std::collections::BTreeSet;

/// An aggregate call of the query's text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The name of the function, and that of the column where it is one of the query's.
    pub function: String,
    pub column: Option<String>,
    /// How it is maintained.
    pub strategy: &'static str,
}

impl Call {
    /// The touched groups are computed anew.
    pub fn rescans(&self) -> bool {
        self.strategy == AggregateFunction::Recompute.strategy()
    }
}

/// Written while the query is walked.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub calls: BTreeSet<Call>,
    /// Estimated number of groups of each GROUP BY, and of rows that they are made of; those of which nothing is known
    /// are left out.
    pub groupings: Vec<(f64, f64)>,
}

impl Summary {
    /// `name` is the function's unless the SELECT list has another for the call.
    pub(super) fn note_call(&mut self, name: &str, function: String, strategy: &'static str) {
        let column = (name != function).then(|| name.to_string());
        self.calls.insert(Call { function, column, strategy });
    }

    pub(super) fn note_groups(&mut self, input: &Rel, keys: &[(String, Scalar)]) {
        let column = |(_, key): &(String, Scalar)| source_column(input, key.as_column()?);
        let Some(columns) = keys.iter().map(column).collect::<Option<Vec<_>>>() else { return };
        let Some(rows) = columns.iter().map(|(relid, _)| object::estimated_rows(*relid)).reduce(f64::max) else {
            return;
        };
        let distinct =
            |(relid, attnum): &(u32, i16)| statistics::distinct_values(*relid, *attnum, object::estimated_rows(*relid));
        let groups = columns.iter().map(distinct).try_fold(1.0, |product, distinct| Some(product * distinct?));
        self.groupings.extend(groups.map(|groups| (f64::min(groups, rows), rows)));
    }
}

/// The column of a table that the column at `position` of `rel` is.
fn source_column(rel: &Rel, position: usize) -> Option<(u32, i16)> {
    match rel {
        Rel::Scan(scan) => Some((scan.relid, scan.columns.get(position)?.attnum)),
        Rel::Filter { input, .. } => source_column(input, position),
        Rel::Project { input, outputs } => source_column(input, outputs.get(position)?.1.as_column()?),
        Rel::SemiJoin { left, .. } => source_column(left, position),
        Rel::Join { .. } | Rel::OuterJoin { .. } => {
            let mut start = position;
            for input in rel.inputs() {
                let width = input.columns().len();
                if start < width {
                    return source_column(input, start);
                }
                start -= width;
            }
            None
        }
        _ => None,
    }
}
