//! `Δf(R) = f(R ⋉ K) - f_old ⋉ K` with K the keys that occur in ΔR: keyed recomputation, for an operator `f` that treats
//! each partition of its input by itself and has no better rule.
//!
//! State: the rows of `f(R)`, all columns `c1 … cn`, found by their partition. Old and new rows of the touched partitions
//! are compared by image; what differs is deleted and inserted, and is the applied delta. Without PARTITION BY there is
//! one partition.
//!
//! The input is restricted to K before anything is computed: the planner pushes constants below a window or a sort, but
//! no semi-join. A nullable key column is looked up in two branches, `=` and `IS NULL`, for no index serves
//! `a = b OR a IS NULL AND b IS NULL`; the second is not entered unless K has a NULL there. More than [`MOST_SPLIT`]
//! nullable columns are not split.

use super::leading::Leading;
use super::top_k::TopK;
use super::{all_columns, column, window};
use crate::delta::key::{equal, key_index, same_key};
use crate::delta::zset::image;
use crate::query::{Column, Rel, Scalar, WindowDefinition};
use crate::sql::{QualifiedName, conjunction, list};
use serde::{Deserialize, Serialize};

/// Each split column doubles the number of branches.
const MOST_SPLIT: usize = 2;

/// What is computed of each partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Computation {
    Window { windows: Vec<WindowDefinition>, calls: Vec<Scalar> },
    TopK(TopK),
    Leading(Leading),
}

/// What a keyed stage stores and how it computes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyed {
    /// The columns of the body that rows of one partition agree in.
    pub partition: Vec<usize>,
    pub computation: Computation,
    /// `c1 …`: the columns of the body, then what is computed.
    columns: Vec<Column>,
    /// The number of columns of the body.
    width: usize,
}

impl Keyed {
    /// `computation` over `body`.
    pub fn new(body: &Rel, partition: Vec<usize>, computation: Computation) -> Keyed {
        let mut columns = body.columns();
        let width = columns.len();
        if let Computation::Window { calls, .. } = &computation {
            let value = |call: &Scalar| Column { name: String::new(), ty: call.ty.clone(), nullable: true };
            columns.extend(calls.iter().map(value));
        }
        for (position, stored) in columns.iter_mut().enumerate() {
            stored.name = column(position);
        }
        Keyed { partition, computation, columns, width }
    }

    /// The columns of the state.
    pub fn columns(&self) -> Vec<Column> {
        self.columns.clone()
    }

    /// The index by which the rows of a partition are found; `None` without partition columns.
    pub fn index(&self) -> Option<(String, bool)> {
        key_index(&self.key(), false).map(|(columns, _)| (columns, false))
    }

    /// A SELECT of the whole state, computed from `body`, a SELECT of the body's content.
    pub fn fill(&self, body: &str) -> String {
        match &self.computation {
            Computation::Window { windows, calls } => {
                window::compute(body, self.width, &self.partition, windows, calls)
            }
            Computation::TopK(top) => top.compute(body, self.width, &self.partition),
            Computation::Leading(leading) => leading.select(body, self.width, &self.partition),
        }
    }

    /// The statement that applies `delta`, a SELECT of the body's change, to the state stored in `table`, and yields
    /// what it changed: the state's columns and `w`. `body` is a SELECT of the body's content.
    pub fn maintain(&self, delta: &str, body: &str, table: &QualifiedName) -> String {
        let names = list((0..self.columns.len()).map(column));
        let values = all_columns("u", self.columns.len(), false);
        format!(
            "{}, x AS (DELETE FROM {table} AS s WHERE s.ctid = ANY (ARRAY(SELECT u.tid FROM u WHERE u.w < 0 AND u.r <= - u.s))), \
             y AS (INSERT INTO {table} ({names}) SELECT {values} FROM u WHERE u.w > 0 AND u.r <= u.s) \
             SELECT {values}, u.w FROM u WHERE u.r <= u.s * u.w",
            self.compared(delta, body, table)
        )
    }

    /// A SELECT of what the statement changes, and of the place (`tid`) of each row that goes.
    pub fn change(&self, delta: &str, body: &str, table: &QualifiedName) -> String {
        let values = all_columns("u", self.columns.len(), false);
        format!("{} SELECT {values}, u.w, u.tid FROM u WHERE u.r <= u.s * u.w", self.compared(delta, body, table))
    }

    /// Likewise whatever changed: the whole state is compared with what `body` makes it.
    pub fn renewal(&self, body: &str, table: &QualifiedName) -> String {
        let values = all_columns("u", self.columns.len(), false);
        let stored =
            format!("SELECT {}, -1 AS w, s.ctid AS tid FROM {table} AS s", all_columns("s", self.columns.len(), false));
        let compared = self.differing("", &self.fill(body), &stored);
        format!("{compared} SELECT {values}, u.w, u.tid FROM u WHERE u.r <= u.s * u.w")
    }

    /// That a change reaches the state can be told much sooner than what it changes: see [`Leading::reached`].
    pub fn reach(&self) -> Option<&Leading> {
        match &self.computation {
            Computation::Leading(leading) if self.partition.is_empty() => Some(leading),
            _ => None,
        }
    }

    /// The WITH list of which `u` are the rows of the touched partitions, new ones and stored ones.
    fn compared(&self, delta: &str, body: &str, table: &QualifiedName) -> String {
        let [with, new, stored] = match &self.computation {
            Computation::Leading(leading) => leading.changed(self, body, table),
            _ => [self.touched(), self.anew(body), self.stored(table, "d", "-1")],
        };
        self.differing(&format!("d AS MATERIALIZED ({delta}), {with}"), &new, &stored)
    }

    /// A SELECT of the operator's rows of the touched partitions; `body` is a SELECT of the body's content.
    pub(super) fn anew(&self, body: &str) -> String {
        match &self.computation {
            Computation::TopK(top) if top.limit.is_some() && !self.partition.is_empty() => {
                self.branches("k", |matches, entered| {
                    let rows = format!("SELECT i.* FROM ({body}) AS i WHERE {matches}");
                    let columns = all_columns("i", self.width, false);
                    let entered = conjunction(entered);
                    format!(
                        "SELECT {columns} FROM k CROSS JOIN LATERAL ({}) AS i WHERE {entered}",
                        top.compute(&rows, self.width, &[])
                    )
                })
            }
            _ => self.fill(&self.restricted(body)),
        }
    }

    /// The `stored` rows, of which the state's `tid` is known, beside the `new` ones; `with` are the WITH items that both
    /// read.
    ///
    /// Among rows of one image, `r` counts the old and the new ones each, and `s` is how many more new ones there are: of
    /// the more numerous, the first `abs(s)` are what differs.
    fn differing(&self, with: &str, new: &str, stored: &str) -> String {
        let by = image(&self.columns, "z");
        format!(
            "WITH {with}\
             u AS MATERIALIZED (SELECT z.*, pg_catalog.row_number() OVER (PARTITION BY {by}, z.w) AS r, \
             pg_catalog.sum(z.w) OVER (PARTITION BY {by}) AS s \
             FROM (SELECT {}, 1 AS w, NULL::pg_catalog.tid AS tid FROM ({new}) AS n UNION ALL {stored}) AS z)",
            all_columns("n", self.columns.len(), false),
        )
    }

    /// `k`, the keys of `d`.
    pub(super) fn touched(&self) -> String {
        if self.partition.is_empty() {
            return String::new();
        }
        let keys = self.partition.iter().map(|position| format!("d.{}", column(*position)));
        format!("k AS MATERIALIZED (SELECT DISTINCT {} FROM d), ", list(keys))
    }

    /// The rows of the state that are of a touched partition, with the weight `w`; if there is but one, it is touched when
    /// `any` has a row.
    pub(super) fn stored(&self, table: &QualifiedName, any: &str, w: &str) -> String {
        let columns = all_columns("s", self.columns.len(), false);
        let (from, condition) = match self.partition.is_empty() {
            true => (format!("{table} AS s"), format!("EXISTS (SELECT FROM {any})")),
            false => (format!("k JOIN {table} AS s ON {}", same_key(&self.key(), "s", "k", false)), "true".into()),
        };
        format!("SELECT {columns}, {w} AS w, s.ctid AS tid FROM {from} WHERE {condition}")
    }

    /// The rows of `body` that are of a touched partition.
    pub(super) fn restricted(&self, body: &str) -> String {
        let columns = all_columns("i", self.width, false);
        if self.partition.is_empty() {
            return format!("SELECT {columns} FROM ({body}) AS i WHERE EXISTS (SELECT FROM d)");
        }
        self.branches("k", |matches, entered| {
            let conditions = [matches.to_string()].into_iter().chain(entered);
            format!("SELECT {columns} FROM k CROSS JOIN ({body}) AS i WHERE {}", conjunction(conditions))
        })
    }

    /// What `branch` makes of the condition that row `i` is of the partition `k`, once for each way in which keys of the
    /// partitions in the relation `keys` can be NULL, and of the condition that some are in that way.
    pub(super) fn branches(&self, keys: &str, branch: impl Fn(&str, Option<String>) -> String) -> String {
        let key = self.key();
        let nullable = |column: &&Column| column.nullable;
        let split: Vec<&Column> = key.iter().filter(nullable).take(MOST_SPLIT).collect();
        let branches = (0..1_usize << split.len()).map(|nulls| {
            let is_split = |column: &Column| split.iter().position(|other| other.name == column.name);
            let matches = key.iter().map(|column| {
                let (a, b) = (format!("i.{}", column.name), format!("k.{}", column.name));
                match is_split(column) {
                    Some(bit) if nulls & (1 << bit) != 0 => conjunction([&a, &b].map(|x| column.ty.missing(x))),
                    Some(_) => equal(&a, &b, &Column { nullable: false, ..column.clone() }),
                    None => equal(&a, &b, column),
                }
            });
            let null = split.iter().enumerate().filter(|(bit, _)| nulls & (1 << bit) != 0);
            let null = conjunction(null.map(|(_, column)| column.ty.missing(&format!("k.{}", column.name))));
            let entered = format!("(SELECT pg_catalog.count(*) FROM {keys} AS k WHERE {null}) > 0");
            branch(&conjunction(matches), (nulls != 0).then_some(entered))
        });
        branches.collect::<Vec<_>>().join(" UNION ALL ")
    }

    /// The operator in a line, columns as `#position`.
    pub fn explain(&self) -> String {
        let scalar = |scalar: &Scalar| scalar.render(|position| format!("#{position}"));
        let partition = list(self.partition.iter().map(|position| format!("#{position}")));
        match &self.computation {
            Computation::Window { windows, calls } => {
                let windows =
                    list(windows.iter().map(|window| format!("{} AS ({})", window.name, window.ordered(scalar))));
                format!("Window by [{partition}] over [{windows}] computing [{}]", list(calls.iter().map(scalar)))
            }
            Computation::TopK(top) => format!("TopK by [{partition}]{}", top.explain()),
            Computation::Leading(leading) => {
                let counts = list(leading.counts.iter().map(scalar));
                format!("Leading by [{partition}]{} at least [{counts}]", leading.order.explain())
            }
        }
    }

    fn key(&self) -> Vec<Column> {
        self.partition.iter().map(|position| self.columns[*position].clone()).collect()
    }
}

/// The expression over the columns of the relation `alias`.
pub(super) fn over(alias: &str, scalar: &Scalar) -> String {
    scalar.render(|position| format!("{alias}.{}", column(position)))
}
