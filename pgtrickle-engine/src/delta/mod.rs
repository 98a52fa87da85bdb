//! Z-set algebra: from a query tree to the statements that keep its stored result equal to it.
//!
//! A Z-set is a multiset with signed weights `w`; ΔR is the Z-set with `R_new = R_old + ΔR` (Budiu et al., *DBSP*, VLDB
//! 2023). [`Program::compile`] cuts a tree into [`stage`]s, each linear and join operators under at most one stateful
//! operator with one stored result. Every operator in [`operator`] gives two texts: `now`, its content, and `delta`, its
//! change given the changes of its leaves. [`apply`] turns a stage's delta into the statement that brings its stored
//! result up to date.
//!
//! Conventions of the generated text: an operator's SELECT yields `c1 … cn` by position, a delta `w` after them. The
//! change of a leaf is a relation with the name of [`Leaf::delta_name`]. Nothing is looked up through the search_path but
//! those names and the built-in functions of `pg_catalog`.

pub mod apply;
mod key;
pub mod limit;
pub mod operator;
pub mod polled;
pub mod probes;
mod regrouped;
pub mod stage;
mod wanted;
pub mod zset;

use crate::query::analysis::keys::is_source_key;
use crate::query::rewrite::restrict::{self, Worth};
use crate::query::{Column, Rel, Scan, rewrite};
use crate::sql::QualifiedName;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeSet;

pub use apply::{Found, Identity};
pub use polled::Polled;
pub use stage::{Stage, StageKind};

/// What a stage reads: a source, or the stored result of an earlier stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Leaf {
    /// By `pg_class.oid`.
    Source(u32),
    /// By index in [`Program::stages`].
    Stage(usize),
    /// The clock, which predicates compare with.
    Clock,
}

/// The clock at which the contents were right, in the statements of [`Program::maintain`]: their only parameter.
pub const OLD_CLOCK: &str = "$1";
/// A later one, in [`Program::flips`].
pub const LATER_CLOCK: &str = "$2";

impl Leaf {
    /// The name under which statements read the leaf's change: for a source its buffer's columns (`w`, `c<attnum>`),
    /// for a stage the columns of its state and `w`.
    pub fn delta_name(&self) -> String {
        match self {
            Leaf::Source(relid) => format!("d_{relid}"),
            Leaf::Stage(stage) => format!("d_s{stage}"),
            Leaf::Clock => "d_clock".into(),
        }
    }
}

/// For how many changed rows of its leaves the text of a delta is meant. With others it is slow, not wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Very few: what is there for more is not in the text.
    Few,
    /// More.
    Many,
    /// More, each of which finds what it meets by an index.
    Probing,
}

/// What is known of the relations that a text will read. It decides how long that takes, not what it yields.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    pub extent: Extent,
    /// How many rows a SELECT will yield.
    pub rows: Option<&'a dyn Fn(&str) -> f64>,
}

impl From<Extent> for Expected<'_> {
    fn from(extent: Extent) -> Self {
        Expected { extent, rows: None }
    }
}

/// Where the program's relations are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    pub stream_table: QualifiedName,
    /// The state table of each stage but the last, by stage.
    pub states: Vec<QualifiedName>,
}

/// A compiled defining query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Bottom-up; the last one's stored result is the stream table.
    pub stages: Vec<Stage>,
    /// The stream table's columns.
    pub output: Vec<Column>,
    /// How the stream table finds the rows that a delta changes.
    pub identity: Identity,
    /// Where that is a key: its values are in indexes of the sources, so they are not too long for one.
    #[serde(default)]
    pub(crate) key_fits: bool,
    /// What the clock is compared with only grows, or only falls, as time goes on.
    #[serde(default)]
    pub moves_one_way: bool,
    /// What was answered when it was asked which aggregations are worth a restriction, in the order of the questions.
    #[serde(default)]
    restricted: Vec<bool>,
}

impl Program {
    /// Rewrites `tree` and cuts it into stages, no aggregation restricted.
    pub fn compile(tree: Rel) -> Program {
        Program::with(tree, &|_| false)
    }

    /// Likewise, those aggregations restricted for which that is `worth` it.
    pub fn with(tree: Rel, worth: Worth) -> Program {
        let output = tree.columns();
        let answers = RefCell::new(Vec::new());
        let tree = restrict::apply(rewrite::all(tree), &|candidate| {
            let answer = worth(candidate);
            answers.borrow_mut().push(answer);
            answer
        });
        let (stages, identity) = stage::cut(tree.clone());
        let key_fits = match &identity {
            Identity::Key(key) => key.iter().all(|column| is_source_key(&tree, *column)),
            Identity::Bag => false,
        };
        Program { stages, output, identity, key_fits, moves_one_way: false, restricted: answers.into_inner() }
    }

    /// The program of `tree`, another wording of the same query: the same questions have the same answers.
    pub fn anew(&self, tree: Rel) -> Program {
        let answers = RefCell::new(self.restricted.iter().copied());
        Program::with(tree, &|_| answers.borrow_mut().next().unwrap_or(false))
    }

    /// Every source that any stage reads, by `pg_class.oid`.
    pub fn sources(&self) -> BTreeSet<u32> {
        self.stages.iter().flat_map(|stage| stage.body.scans()).map(|scan| scan.relid).collect()
    }

    /// The contents change with the clock alone.
    pub fn reads_clock(&self) -> bool {
        self.stages.iter().any(|stage| stage.leaves().contains(&Leaf::Clock))
    }

    /// A SELECT of whether something flips between two clocks, if no source changes: [`OLD_CLOCK`] and [`LATER_CLOCK`]. `None` where
    /// that cannot be told, or there is no clock. What the clock is compared with must move one way between the two.
    pub fn flips(&self, storage: &Storage) -> Option<String> {
        let recursive = |stage: &Stage| is_recursive(&stage.body);
        if !self.reads_clock() || self.stages.iter().any(recursive) {
            return None;
        }
        let (unchanged, mut found) = (BTreeSet::new(), Vec::new());
        let context = operator::Context::new(storage, &unchanged);
        self.stages.iter().for_each(|stage| operator::filter::flips(&stage.body, &context, &mut found));
        Some(format!("SELECT EXISTS (({}))", found.join(") UNION ALL (")))
    }

    /// The names of the stream table's columns.
    pub fn output_names(&self) -> Vec<String> {
        self.output.iter().map(|column| column.name.clone()).collect()
    }

    /// What is stored and captured for one of the programs serves the other: the same tables, with columns of the same types,
    /// found by the same indexes, made of the same columns of the same sources.
    pub fn is_stored_alike(&self, other: &Program) -> bool {
        self.layout() == other.layout()
    }

    fn layout(&self) -> Layout {
        let types = |columns: &[Column]| -> Vec<(u32, i32, u32)> {
            columns.iter().map(|column| (column.ty.oid, column.ty.typmod, column.ty.collation)).collect()
        };
        let tables = self.stages.iter().enumerate().map(|(i, stage)| {
            let last = i + 1 == self.stages.len();
            let columns = if last { types(&self.output) } else { types(&stage.columns()) };
            let index = if last { Some(self.output_index()) } else { stage.index() };
            (columns, index, if last { self.output_probes() } else { self.probes(i) })
        });
        let scan = |scan: &Scan| (scan.relid, scan.columns.iter().map(|column| column.attnum).collect());
        let read = self.stages.iter().map(|stage| stage.body.scans().into_iter().map(scan).collect());
        Layout { tables: tables.collect(), read: read.collect() }
    }

    /// Calls `change` on every scan, so that names can follow the relations that they stand for.
    pub fn for_each_scan(&mut self, mut change: impl FnMut(&mut Scan)) {
        for stage in &mut self.stages {
            for_each_scan(&mut stage.body, &mut change);
        }
    }
}

/// The type, modifier and collation of each column, the index, and the columns that others probe.
type Table = (Vec<(u32, i32, u32)>, Option<(String, bool)>, Vec<String>);

/// What is stored and captured for a program.
#[derive(PartialEq, Eq)]
struct Layout {
    /// Of each stage's result.
    tables: Vec<Table>,
    /// Of each stage, what it reads in order: `pg_class.oid` and the attribute numbers of the columns.
    read: Vec<Vec<(u32, Vec<i16>)>>,
}

fn is_recursive(rel: &Rel) -> bool {
    matches!(rel, Rel::Recursive { .. }) || rel.inputs().into_iter().any(is_recursive)
}

fn for_each_scan(rel: &mut Rel, change: &mut impl FnMut(&mut Scan)) {
    match rel {
        Rel::Scan(scan) => change(scan),
        _ => rel.inputs_mut().into_iter().for_each(|input| for_each_scan(input, change)),
    }
}
