//! `list_auxiliary_columns`: what is stored for a stream table besides its own columns.

use crate::catalog::StreamTable;
use crate::error::Result;
use crate::refresh;
use pgtrickle_engine::delta::operator::aggregate::{Accumulator, Condition, State};
use pgtrickle_engine::delta::{Identity, StageKind};

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auxiliary {
    /// `table.column` of a state table, or an index's expression.
    pub name: String,
    pub ty: String,
    pub purpose: String,
}

/// The columns of the state tables and of the snapshots of polled sources, then the hash by which the stream table finds rows that have no key without NULLs.
pub fn columns(table: &StreamTable) -> Result<Vec<Auxiliary>> {
    let prepared = refresh::load(table)?;
    let program = &prepared.program;
    let mut rows = Vec::new();
    for (stage, state) in program.stages.iter().zip(&prepared.storage.states) {
        let columns = stage.columns();
        let purposes: Vec<String> = match &stage.kind {
            StageKind::Aggregate(state) => of_groups(state),
            StageKind::Keyed(keyed) => {
                let own = stage.body.columns().len();
                (0..columns.len())
                    .map(|i| match i {
                        i if keyed.partition.contains(&i) => "column of a stored row, partitioned by".into(),
                        i if i < own => "column of a stored row".into(),
                        _ => "value of a window function".into(),
                    })
                    .collect()
            }
            StageKind::Rows | StageKind::Output | StageKind::Shown(_) => {
                vec!["column of a row of the recursion".into(); columns.len()]
            }
        };
        rows.extend(columns.into_iter().zip(purposes).map(|(column, purpose)| Auxiliary {
            name: format!("{}.{}.{}", state.schema.0, state.name.0, column.name),
            ty: column.ty.sql.trim_start_matches("pg_catalog.").into(),
            purpose,
        }));
    }
    for polled in &prepared.polled {
        rows.extend(polled.columns.values().map(|scanned| Auxiliary {
            name: format!("{}.{}.c{}", polled.snapshot.schema.0, polled.snapshot.name.0, scanned.attnum),
            ty: scanned.column.ty.sql.trim_start_matches("pg_catalog.").into(),
            purpose: format!(
                "{} of {}.{} at the last look",
                scanned.name.0, polled.source.schema.0, polled.source.name.0
            ),
        }));
    }
    let (index, unique) = program.output_index();
    if !unique {
        let purpose = match program.identity {
            Identity::Bag => "index expression: finds a row by all of its columns",
            Identity::Key(_) => "index expression: finds a row by its key, which can be NULL or long",
        };
        rows.push(Auxiliary { name: index, ty: "bigint".into(), purpose: purpose.into() });
    }
    for expression in program.output_probes().into_iter().filter(|probe| probe.contains("hash_record")) {
        let purpose = "index expression: finds the rows of a partition, whose columns can be NULL".into();
        rows.push(Auxiliary { name: expression, ty: "bigint".into(), purpose });
    }
    Ok(rows)
}

fn of_groups(state: &State) -> Vec<String> {
    let keys = state.key_columns.iter().map(|_| "grouping column".to_string());
    let accumulators = state.accumulators.iter().map(|accumulator| {
        let what = match accumulator {
            Accumulator::Count(Condition { argument: None, .. }) => "number of rows that the FILTER keeps",
            Accumulator::Count(_) => "number of values that are not NULL",
            Accumulator::IntegerSum { .. } | Accumulator::NumericSum(_) => "sum",
            Accumulator::Scales(_) => "numbers of values by their fractional digits",
            Accumulator::Extremum { least: true, .. } => "minimum",
            Accumulator::Extremum { .. } => "maximum",
            Accumulator::Beyond { .. } => "result of an aggregate, while SQL cannot compute with its values",
            Accumulator::Opaque(_) => "result of an aggregate",
        };
        format!("{what}: {}", accumulator.strategy())
    });
    keys.chain(["number of rows of the group".into()]).chain(accumulators).collect()
}
