//! `γ_{k; f}(R)`: per touched group, `state_new = state_old + Δstate`, where Δstate is the aggregate of ΔR by weight.
//!
//! State, one row per group: the grouping columns `k1 …`, the number of rows `n`, and the [`Accumulator`]s `a1 …` that
//! the calls need, each once. A group dies when `n` reaches 0; without grouping columns the one row always stays.
//!
//! An accumulator whose new value does not follow from its old one and ΔR makes the group *stale*: then all of the
//! group's accumulators are computed anew from R, restricted to that group, in the same statement. Stale are: an extremum
//! when a row at or beyond it left; a numeric sum that meets NaN or infinity, which subtraction cannot undo; a variance
//! of values that SQL cannot square; and every aggregate that this module has no rule for, floating-point sums among them: what was added to them cannot be taken off
//! again.
//!
//! Equal keys may differ in image (1.0 = 1.00). The stored key is that of a row of the group, so a group is stale too when
//! rows with the stored image left and none is left in R.

mod accumulator;
mod result;

use super::column;
use crate::delta::key::{equal, is_short, key_index, same_key};
use crate::query::analysis::scale::is_fixed;
use crate::query::{AggregateCall, Column, DataType, Equality, Rel, Scalar};
use crate::sql::{QualifiedName, conjunction, list};
use serde::{Deserialize, Serialize};

pub use accumulator::{Accumulator, Condition};

/// Keys that get branches of their own where they are NULL; each doubles the text.
const MOST_SPLIT: usize = 2;

/// What an aggregating stage stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The grouping expressions over the body's columns.
    pub keys: Vec<Scalar>,
    /// `k1 …`: their types, and whether they can be NULL.
    pub key_columns: Vec<Column>,
    pub accumulators: Vec<Accumulator>,
    /// Per call, its result over the state's columns.
    results: Vec<Scalar>,
}

impl State {
    /// The state of the aggregate with these `keys` and `calls` over `input`.
    pub fn of(input: &Rel, keys: &[(String, Scalar)], calls: &[(String, AggregateCall)]) -> State {
        let below = input.columns();
        let nullable = |scalar: &Scalar| match scalar.as_column() {
            Some(position) => below[position].nullable,
            None => scalar.nullable || scalar.columns().iter().any(|position| below[*position].nullable),
        };
        let key_columns = keys.iter().enumerate().map(|(i, (_, scalar))| Column {
            name: format!("k{}", i + 1),
            ty: scalar.ty.clone(),
            nullable: nullable(scalar),
        });
        let known = |scalar: &Scalar| Scalar { fixed_scale: is_fixed(input, scalar), ..scalar.clone() };
        let mut state = State {
            key_columns: key_columns.collect(),
            keys: keys.iter().map(|(_, scalar)| known(scalar)).collect(),
            accumulators: Vec::new(),
            results: Vec::new(),
        };
        for (_, call) in calls {
            let never_null = call.filter.is_none() && call.argument.as_ref().is_some_and(|x| !nullable(x));
            let call = AggregateCall { argument: call.argument.as_ref().map(known), ..call.clone() };
            let result = state.add(&call, never_null);
            state.results.push(result);
        }
        state
    }

    /// Groups can become stale.
    pub fn recomputes(&self) -> bool {
        !self.coarse_keys().is_empty() || self.accumulators.iter().any(|a| a.stale("a").is_some())
    }

    /// Of many changes some are likely to leave a group stale: an extremum goes, or the row whose key is stored.
    pub fn often_recomputes(&self) -> bool {
        let extremum = self.accumulators.iter().any(|a| matches!(a, Accumulator::Extremum { .. }));
        extremum || self.always_recomputes() || !self.coarse_keys().is_empty()
    }

    /// Every group is stale at every change.
    pub fn always_recomputes(&self) -> bool {
        self.accumulators.iter().any(|accumulator| matches!(accumulator, Accumulator::Opaque(_)))
    }

    /// The position of `accumulator` among the state's columns; equal ones are stored once.
    fn place(&mut self, accumulator: Accumulator) -> usize {
        let known = self.accumulators.iter().position(|a| *a == accumulator);
        let index = known.unwrap_or_else(|| {
            self.accumulators.push(accumulator);
            self.accumulators.len() - 1
        });
        self.keys.len() + 1 + index
    }

    /// `k1 …, n, a1 …`
    pub fn columns(&self) -> Vec<Column> {
        let n = Column { name: "n".into(), ty: int8(), nullable: false };
        let accumulators = self.accumulators.iter().enumerate().map(|(i, accumulator)| Column {
            name: format!("a{}", i + 1),
            ty: accumulator.ty(),
            nullable: accumulator.nullable(),
        });
        self.key_columns.iter().cloned().chain([n]).chain(accumulators).collect()
    }

    /// The query's columns, keys then calls, over the state's columns.
    pub fn finish(&self, columns: &[Column]) -> Vec<Scalar> {
        let keys = columns[..self.keys.len()].iter().enumerate();
        let keys = keys.map(|(i, column)| Scalar::column(i, column.ty.clone(), column.nullable));
        keys.chain(self.results.iter().cloned()).collect()
    }

    /// A SELECT of the whole state, computed from `body`, a SELECT of the body's content.
    pub fn fill(&self, body: &str) -> String {
        let keys = self.keys.iter().enumerate().map(|(i, key)| format!("{} AS k{}", over("i", key), i + 1));
        let values = self.accumulators.iter().enumerate().map(|(i, a)| format!("{} AS a{}", a.fill(), i + 1));
        let all = keys.chain(["pg_catalog.count(*) AS n".into()]).chain(values);
        format!("SELECT {} FROM ({body}) AS i{}", list(all), self.group_by())
    }

    /// The statement that applies `delta`, a SELECT of the body's change, to the state stored in `table`, and yields
    /// what it changed: the state's columns and `w`. `body` is a SELECT of the body's content.
    pub fn merge(&self, delta: &str, body: &str, table: &QualifiedName) -> String {
        let stale = self.staleness(body);
        let source =
            if stale.is_empty() { "d".into() } else { format!("({})", self.with_recomputed(&stale, body, table)) };
        let deletes = if self.keys.is_empty() { "" } else { "WHEN MATCHED AND s.n + q.n = 0 THEN DELETE " };
        let updates = self.accumulators.iter().enumerate().map(|(i, a)| {
            let name = format!("a{}", i + 1);
            format!("{name} = {}", a.recomputed_or(&name, a.merged(&name)))
        });
        let coarse = self.coarse_keys();
        let key_updates =
            coarse.iter().map(|i| format!("k{0} = CASE WHEN q.stale THEN q.r_k{0} ELSE s.k{0} END", i + 1));
        let columns = self.columns();
        let names = || columns.iter().map(|column| column.name.as_str());
        let keys = (0..self.keys.len()).map(|i| match coarse.contains(&i) {
            true => format!("CASE WHEN q.stale THEN q.r_k{0} ELSE q.k{0} END", i + 1),
            false => format!("q.k{}", i + 1),
        });
        let keys = keys.chain(["q.n".into()]);
        let initial = self.accumulators.iter().enumerate().map(|(i, a)| {
            let name = format!("a{}", i + 1);
            a.recomputed_or(&name, a.initial(&name))
        });
        let returned = names().flat_map(|name| [format!("OLD.{name} AS o_{name}"), format!("NEW.{name} AS n_{name}")]);
        let image = |prefix: &str| list(names().map(|name| format!("m.{prefix}_{name} AS {name}")));
        format!(
            "WITH d AS MATERIALIZED ({}), m AS (MERGE INTO {table} AS s USING {source} AS q ON {} {deletes}\
             WHEN MATCHED THEN UPDATE SET {} \
             WHEN NOT MATCHED AND q.n <> 0 THEN INSERT ({}) VALUES ({}) \
             RETURNING merge_action() AS act, {}) \
             SELECT {}, -1 AS w FROM m WHERE m.act <> 'INSERT' UNION ALL SELECT {}, 1 AS w FROM m WHERE m.act <> 'DELETE'",
            self.change(delta),
            self.same_group("s", "q"),
            list(["n = s.n + q.n".to_string()].into_iter().chain(updates).chain(key_updates)),
            list(names()),
            list(keys.chain(initial)),
            list(returned),
            image("o"),
            image("n"),
        )
    }

    /// A SELECT of what `delta` makes of the state stored in `table`, for few groups: of each the place of its stored row (`tid`), whether
    /// it has one from now on, whether that takes reading its rows, which this does not, or cannot be; its stored row and its new one.
    pub fn change_of_groups(&self, delta: &str, body: &str, table: &QualifiedName) -> String {
        let stale = self.staleness(body);
        let stale = if stale.is_empty() { String::new() } else { format!(" OR {}", self.stale(&stale)) };
        let kept = if self.keys.is_empty() { "s.n IS NOT NULL OR q.n <> 0" } else { "coalesce(s.n, 0) + q.n <> 0" };
        let columns = self.columns();
        let stored = columns.iter().map(|column| format!("s.{0} AS o_{0}", column.name));
        let keys = (1..=self.keys.len()).map(|i| format!("CASE WHEN s.n IS NULL THEN q.k{i} ELSE s.k{i} END"));
        let values = self.accumulators.iter().enumerate().map(|(i, a)| {
            let name = format!("a{}", i + 1);
            format!("CASE WHEN s.n IS NULL THEN {} ELSE {} END", a.initial(&name), a.merged(&name))
        });
        let new = keys.chain(["coalesce(s.n, 0) + q.n".into()]).chain(values).zip(&columns);
        let new = new.map(|(value, column)| match column.ty.typmod {
            -1 => format!("{value} AS n_{}", column.name),
            _ => format!("({value})::{} AS n_{}", column.ty.sql, column.name),
        });
        format!(
            "SELECT s.ctid AS tid, {kept} AS kept, coalesce(s.n, 0) + q.n < 0{stale} AS stale, {} FROM ({}) AS q LEFT JOIN {table} AS s ON {}",
            list(stored.chain(new)),
            self.change(delta),
            self.same_group("s", "q"),
        )
    }

    /// When a group is stale, over its change `q` and its stored row `s`.
    fn staleness(&self, body: &str) -> Vec<String> {
        let accumulators = self.accumulators.iter().enumerate();
        accumulators.filter_map(|(i, a)| a.stale(&format!("a{}", i + 1))).chain(self.stale_key(body)).collect()
    }

    /// Δstate: per touched group, the change of `n` and of each accumulator; without groups in which nothing changes, as
    /// none does when a copy of a value comes of which there are others.
    fn change(&self, delta: &str) -> String {
        let keys = self.keys.iter().enumerate().map(|(i, key)| format!("{} AS k{}", over("i", key), i + 1));
        let count = "coalesce(pg_catalog.sum(i.w), 0)::int8 AS n".to_string();
        let changes = self.accumulators.iter().enumerate().flat_map(|(i, a)| a.change(&format!("a{}", i + 1)));
        let coarse = self.coarse_keys();
        let gone = (!coarse.is_empty()).then(|| {
            let image = row_image(coarse.iter().map(|i| over("i", &self.keys[*i])));
            format!("pg_catalog.array_agg({image}) FILTER (WHERE i.w < 0) AS gone")
        });
        let by_group = format!(
            "SELECT {} FROM ({delta}) AS i{}",
            list(keys.chain([count]).chain(changes).chain(gone)),
            self.group_by()
        );
        let conditions = self.accumulators.iter().enumerate().map(|(i, a)| a.changes(&format!("a{}", i + 1)));
        let gone = (!coarse.is_empty()).then(|| "d.gone IS NOT NULL".to_string());
        match conditions.collect::<Option<Vec<String>>>() {
            Some(conditions) => {
                let any = ["d.n <> 0".to_string()].into_iter().chain(conditions).chain(gone).collect::<Vec<_>>();
                format!("SELECT d.* FROM ({by_group}) AS d WHERE {}", any.join(" OR "))
            }
            None => by_group,
        }
    }

    /// Keys that can be equal without being the same. A numeric of fixed scale cannot.
    fn coarse_keys(&self) -> Vec<usize> {
        let fixed =
            |i: usize| self.keys[i].fixed_scale || (self.keys[i].ty.oid == NUMERIC && self.keys[i].ty.typmod >= 0);
        (0..self.keys.len()).filter(|i| self.keys[*i].ty.equality != Equality::Image && !fixed(*i)).collect()
    }

    /// When the stored key, or for a new group the delta's, is no longer the key of any row; never NULL. Only asked of
    /// groups that lost a row with that image, and the first row of the group that has it answers.
    fn stale_key(&self, body: &str) -> Option<String> {
        let coarse = self.coarse_keys();
        if coarse.is_empty() {
            return None;
        }
        let stored =
            row_image(coarse.iter().map(|i| format!("CASE WHEN s.n IS NULL THEN q.k{0} ELSE s.k{0} END", i + 1)));
        let present = row_image(coarse.iter().map(|i| over("i", &self.keys[*i])));
        Some(format!(
            "(coalesce({stored} OPERATOR(pg_catalog.=) ANY (q.gone), false) AND NOT EXISTS (SELECT FROM {} \
             AND {present} OPERATOR(pg_catalog.=) {stored}))",
            self.of_group(body, "true")
        ))
    }

    /// `… AS i WHERE …`: the rows of the body that are of the group `q`, when the condition `when` on the group is true.
    ///
    /// Where a key can be NULL, an index finds its rows by `i.k = d.k OR (i.k IS NULL AND d.k IS NULL)` only if NULLs are in
    /// it, and they are not in the index that a state has on longer values: such keys that are NULL have a branch of their
    /// own, which is not run for others.
    fn of_group(&self, body: &str, when: &str) -> String {
        let split: Vec<usize> = (0..self.keys.len())
            .filter(|i| self.key_columns[*i].nullable && !is_short(&self.key_columns[*i].ty))
            .take(MOST_SPLIT)
            .collect();
        let branch = |nulls: usize| {
            let keys = self.keys.iter().zip(&self.key_columns).enumerate().map(|(i, (key, column))| {
                let (own, known) = (over("i", key), format!("q.k{}", i + 1));
                match split.iter().position(|key| *key == i) {
                    Some(bit) if nulls & (1 << bit) != 0 => conjunction([&own, &known].map(|x| column.ty.missing(x))),
                    Some(_) => equal(&own, &known, &Column { nullable: false, ..column.clone() }),
                    None => equal(&own, &known, column),
                }
            });
            conjunction(std::iter::once(when.to_string()).filter(|when| when != "true").chain(keys))
        };
        if split.is_empty() {
            return format!("({body}) AS i WHERE {}", branch(0));
        }
        let branches =
            (0..1_usize << split.len()).map(|nulls| format!("SELECT i.* FROM ({body}) AS i WHERE {}", branch(nulls)));
        format!("({}) AS i WHERE true", branches.collect::<Vec<_>>().join(" UNION ALL "))
    }

    /// `d` with, for stale groups, all accumulators computed from the body: `r_a1 …`.
    fn with_recomputed(&self, stale: &[String], body: &str, table: &QualifiedName) -> String {
        let values = self.accumulators.iter().enumerate().map(|(i, a)| format!("{} AS r_a{}", a.fill(), i + 1));
        let coarse = self.coarse_keys();
        let keys =
            coarse.iter().map(|i| format!("pg_catalog.any_value({}) AS r_k{}", over("i", &self.keys[*i]), i + 1));
        format!(
            "SELECT q.*, x.stale, r.* FROM d AS q LEFT JOIN {table} AS s ON {} \
             CROSS JOIN LATERAL (SELECT {} AS stale) AS x \
             LEFT JOIN LATERAL (SELECT {} FROM {}) AS r ON true",
            self.same_group("s", "q"),
            self.stale(stale),
            list(values.chain(keys)),
            self.of_group(body, "x.stale"),
        )
    }

    /// That the group `q` has to be computed anew, if it still has rows: one of the conditions in `stale`.
    fn stale(&self, stale: &[String]) -> String {
        let alive = if self.keys.is_empty() { "" } else { "coalesce(s.n, 0) + q.n > 0 AND " };
        format!("{alive}({})", stale.join(" OR "))
    }

    /// The condition under which rows `a` and `b` are of one group; the index of [`State::index`] finds them.
    fn same_group(&self, a: &str, b: &str) -> String {
        same_key(&self.key_columns, a, b, false)
    }

    /// The index columns that identify a group, and whether the index is unique; `None` without grouping columns.
    pub fn index(&self) -> Option<(String, bool)> {
        key_index(&self.key_columns, false)
    }

    fn group_by(&self) -> String {
        match self.keys.len() {
            0 => String::new(),
            n => format!(" GROUP BY {}", list(1..=n)),
        }
    }
}

fn row_image(values: impl Iterator<Item = String>) -> String {
    format!("pgtrickle.row_image(ROW({}))", list(values))
}

fn over(alias: &str, scalar: &Scalar) -> String {
    scalar.render(|position| format!("{alias}.{}", column(position)))
}

/// `pg_type.oid` of int8.
const INT8: u32 = 20;

fn int8() -> DataType {
    built_in(INT8, "bigint", Equality::Image)
}

/// `pg_type.oid` of numeric.
const NUMERIC: u32 = 1700;

fn numeric() -> DataType {
    built_in(NUMERIC, "numeric", Equality::Coarse)
}

fn built_in(oid: u32, sql: &str, equality: Equality) -> DataType {
    let eq = Some("OPERATOR(pg_catalog.=)".into());
    DataType { oid, typmod: -1, collation: 0, sql: sql.into(), equality, eq, btree: true, hash: true, row: false }
}
