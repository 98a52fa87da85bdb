//! What every refresh asks of a program, found once.

use pgtrickle_engine::delta::{Leaf, Program};
use pgtrickle_engine::sql::QualifiedName;
use std::collections::BTreeSet;

/// What a program reads and writes, by names and numbers.
pub struct Reads {
    /// Of each stage.
    pub leaves: Vec<BTreeSet<Leaf>>,
    /// The contents change with the clock alone.
    pub clock: bool,
    /// The stage whose state may be renewed instead of maintained.
    pub renewable: Option<usize>,
    /// Each use of a source, with its columns.
    pub scans: Vec<Scanned>,
    /// Every source once.
    pub sources: BTreeSet<u32>,
    /// Those whose changes are consolidated by what reads them.
    pub regrouped: BTreeSet<u32>,
    /// The columns of each stage's state, and those of the stream table.
    pub states: Vec<Vec<String>>,
    pub outputs: Vec<String>,
}

/// A use of a source.
pub struct Scanned {
    pub relid: u32,
    pub name: QualifiedName,
    pub columns: Vec<i16>,
}

impl Reads {
    pub(super) fn of(program: &Program) -> Reads {
        let scans = program.stages.iter().flat_map(|stage| stage.body.scans());
        let scanned = scans.map(|scan| Scanned {
            relid: scan.relid,
            name: scan.name.clone(),
            columns: scan.columns.iter().map(|column| column.attnum).collect(),
        });
        let names =
            |columns: Vec<pgtrickle_engine::query::Column>| columns.into_iter().map(|column| column.name).collect();
        Reads {
            leaves: program.stages.iter().map(|stage| stage.leaves()).collect(),
            clock: program.reads_clock(),
            renewable: program.renewable(),
            scans: scanned.collect(),
            sources: program.sources(),
            regrouped: program.sources().into_iter().filter(|source| program.regroups(*source)).collect(),
            states: program.stages.iter().map(|stage| names(stage.columns())).collect(),
            outputs: program.output_names(),
        }
    }
}
