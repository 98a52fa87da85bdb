//! From a stage's delta to the statement that brings its stored result up to date.
//!
//! An aggregating stage merges its groups (`operator::aggregate`). The last stage changes the stream table, which holds
//! exactly the query's columns; how a row is found there is its [`Identity`].

use super::key::{equal, key_index, same_key};
use super::operator::{Context, Own, column, delta, now};
use super::probes::Probed;
use super::stage::recursion;
use super::zset::{consolidate, difference, row};
use super::{Expected, Leaf, Program, Stage, StageKind, Storage};
use crate::query::analysis::keys::keys;
use crate::query::{Column, Equality, Rel};
use crate::sql::{Ident, QualifiedName, conjunction, list};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// By how many rows the delta makes the table grow. `inserted - deleted` must be that: it is less when a row to delete was
/// not found as such, or when a key turned out to be none, and then the contents are not what they should be.
const NET: &str = "(SELECT coalesce(pg_catalog.sum(d.w), 0)::int8 FROM d) AS net";

/// How rows of the stream table are found. A hash only finds candidates, the recheck decides: a collision can cost time,
/// never correctness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identity {
    /// By the columns at these positions, a key of the query: through a unique index when they are NOT NULL, else
    /// through the hash of the key.
    Key(Vec<usize>),
    /// By the image of the whole row, through the index on `pgtrickle.row_hash`; duplicates are rows of their own.
    Bag,
}

/// How a SELECT tells what changes in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// By stored rows and what takes their places; the first columns are the `key` of both. See
    /// [`super::operator::aggregate::State::change_of_groups`].
    Pairs { key: usize },
    /// By rows that come (`w` is 1) and rows that go (-1), and the `tid` of these.
    Places,
    /// By a consolidated Z-set: rows are found by their images.
    Images,
}

impl Identity {
    /// The shortest key whose types can be sorted, one without NULLs before others; else the bag.
    pub fn of(body: &Rel) -> Identity {
        let columns = body.columns();
        let nullable = |key: &Vec<usize>| key.iter().any(|i| columns[*i].nullable);
        keys(body)
            .into_iter()
            .filter(|key| !key.is_empty() && key.iter().all(|i| columns[*i].ty.btree && columns[*i].ty.eq.is_some()))
            .filter(|key| !nullable(key) || key.iter().all(|i| columns[*i].ty.hash))
            .min_by_key(|key| (nullable(key), key.len()))
            .map_or(Identity::Bag, Identity::Key)
    }
}

impl Program {
    /// The index of the stream table on which its identity relies: columns or expression, and whether it is unique.
    pub fn output_index(&self) -> (String, bool) {
        let bag = || {
            let names = list(self.output.iter().map(|column| Ident::new(&column.name)));
            (format!("(pgtrickle.row_hash(ROW({names})))"), false)
        };
        match &self.identity {
            Identity::Key(key) => key_index(&self.key_columns(key), self.key_fits).unwrap_or_else(bag),
            Identity::Bag => bag(),
        }
    }

    /// A SELECT of the stored result of `stage`, computed from what it reads.
    pub fn content(&self, stage: usize, storage: &Storage) -> String {
        self.content_in(stage, &Context::new(storage, &BTreeSet::new()))
    }

    /// Likewise, as `context` has it.
    pub(super) fn content_in(&self, stage: usize, context: &Context) -> String {
        let body = now(&self.stages[stage].body, context);
        match &self.stages[stage].kind {
            StageKind::Aggregate(state) => state.fill(&body),
            StageKind::Keyed(keyed) => keyed.fill(&body),
            StageKind::Shown(shown) => shown.content(&body, context),
            StageKind::Rows | StageKind::Output => body,
        }
    }

    /// Whether its content is the same however workers share the rows: not that of sums of floating-point numbers, of lists, or of whatever
    /// is not known.
    pub fn is_steady_in_parallel(&self) -> bool {
        self.stages.iter().all(|stage| {
            let listed = matches!(&stage.kind, StageKind::Aggregate(state) if state.always_recomputes());
            !listed && !is_opaque(&stage.body)
        })
    }

    /// The INSERT of `content`, a SELECT of it, that fills the stored result of `stage`, which is empty.
    pub fn fill(&self, stage: usize, content: &str, storage: &Storage) -> String {
        let columns = match &self.stages[stage].kind {
            StageKind::Output | StageKind::Shown(_) => self.output.clone(),
            _ => self.stages[stage].columns(),
        };
        let table = storage.states.get(stage).unwrap_or(&storage.stream_table);
        let names = list(columns.iter().map(|column| Ident::new(&column.name)));
        format!("INSERT INTO {table} ({names}) {content}")
    }

    /// The statement that applies the changes of the leaves in `changed` to the stored result of `stage`; `None` when
    /// the stage reads none of them. An inner stage's statement yields what it changed (its state's columns and `w`), the
    /// last one's a row `(inserted int8, deleted int8, net int8)`, see [`NET`].
    pub fn maintain(
        &self,
        stage: usize,
        storage: &Storage,
        changed: &BTreeSet<Leaf>,
        expected: Expected,
    ) -> Option<String> {
        self.maintain_in(stage, Context { expected, ..Context::new(storage, changed) })
    }

    /// Likewise, as `context` has it.
    pub(super) fn maintain_in(&self, stage: usize, context: Context) -> Option<String> {
        let storage = context.storage;
        let own = self.own(stage, storage);
        let context = Context { own: own.as_ref(), ..context };
        let body = &self.stages[stage].body;
        let change = delta(body, &context)?;
        Some(match &self.stages[stage].kind {
            StageKind::Aggregate(state) => state.merge(&change, &now(body, &context), &storage.states[stage]),
            StageKind::Keyed(keyed) => keyed.maintain(&change, &now(body, &context), &storage.states[stage]),
            StageKind::Rows => {
                let columns = self.stages[stage].columns();
                let names: Vec<Ident> = columns.iter().map(|column| Ident::new(&column.name)).collect();
                let applied = bag(&consolidate(&change, &columns), &names, &storage.states[stage]);
                format!("{applied} SELECT d.* FROM d")
            }
            StageKind::Shown(_) | StageKind::Output => self.apply(&self.shown(stage, &change, &context), storage),
        })
    }

    /// A SELECT of the change of the stream table, `c1 … cn, w`, rows that cancel among them, after the changes of the
    /// leaves in `changed`; `None` when the last stage reads none of them. To apply it is the caller's.
    pub fn change(&self, storage: &Storage, changed: &BTreeSet<Leaf>, expected: Expected) -> Option<String> {
        let last = self.stages.len() - 1;
        let own = self.own(last, storage);
        let context = Context { own: own.as_ref(), expected, ..Context::new(storage, changed) };
        Some(self.shown(last, &delta(&self.stages[last].body, &context)?, &context))
    }

    /// Whether it can be told soon that a change does not reach the state of an inner `stage`.
    pub fn has_reach(&self, stage: usize) -> bool {
        matches!(&self.stages[stage].kind, StageKind::Keyed(keyed) if keyed.reach().is_some())
    }

    /// A SELECT that tells it: it has a row when the changes of the leaves in `changed` may change the state.
    pub fn reached(
        &self,
        stage: usize,
        storage: &Storage,
        changed: &BTreeSet<Leaf>,
        expected: Expected,
    ) -> Option<String> {
        let Stage { body, kind: StageKind::Keyed(keyed) } = &self.stages[stage] else { return None };
        let context = Context { expected, ..Context::new(storage, changed) };
        Some(keyed.reach()?.reached(&delta(body, &context)?, body.columns().len(), &storage.states[stage]))
    }

    /// The stage that keeps the first rows of all sources together, if there is one and no other reads a source: few rows, which an index may
    /// yield sooner than all changes are read.
    pub fn renewable(&self) -> Option<usize> {
        let reads_sources =
            |stage: &Stage| stage.leaves().iter().any(|leaf| matches!(leaf, Leaf::Source(_) | Leaf::Clock));
        let mut reading = (0..self.stages.len()).filter(|stage| reads_sources(&self.stages[*stage]));
        let (Some(only), None) = (reading.next(), reading.next()) else { return None };
        let leaves = self.stages[only].leaves();
        (self.has_reach(only) && leaves.iter().all(|leaf| matches!(leaf, Leaf::Source(_)))).then_some(only)
    }

    /// A SELECT of the change of the state of that stage, as that of [`Program::find`], whatever changed.
    pub fn renewal(&self, stage: usize, storage: &Storage) -> Option<String> {
        let Stage { body, kind: StageKind::Keyed(keyed) } = &self.stages[stage] else { return None };
        let unchanged = BTreeSet::new();
        Some(keyed.renewal(&now(body, &Context::new(storage, &unchanged)), &storage.states[stage]))
    }

    /// What a SELECT of the change of the state of an inner `stage` yields, if there is one that most likely tells it after `few` changes, or
    /// many.
    pub fn found(&self, stage: usize, few: bool) -> Option<Found> {
        match &self.stages[stage].kind {
            StageKind::Aggregate(state) => {
                let told = if few { !state.always_recomputes() } else { !state.often_recomputes() };
                told.then_some(Found::Pairs { key: state.keys.len() })
            }
            StageKind::Keyed(_) => Some(Found::Places),
            StageKind::Rows => Some(Found::Images),
            StageKind::Shown(_) | StageKind::Output => None,
        }
    }

    /// That SELECT, after the changes of the leaves in `changed`; `None` when the stage reads none of them. To apply what it yields is
    /// the caller's.
    pub fn find(
        &self,
        stage: usize,
        storage: &Storage,
        changed: &BTreeSet<Leaf>,
        expected: Expected,
    ) -> Option<String> {
        let own = self.own(stage, storage);
        let context = Context { own: own.as_ref(), expected, ..Context::new(storage, changed) };
        let Stage { body, kind } = &self.stages[stage];
        let change = delta(body, &context)?;
        match kind {
            StageKind::Aggregate(state) => {
                Some(state.change_of_groups(&change, &now(body, &context), &storage.states[stage]))
            }
            StageKind::Keyed(keyed) => Some(keyed.change(&change, &now(body, &context), &storage.states[stage])),
            StageKind::Rows => Some(consolidate(&change, &self.stages[stage].columns())),
            StageKind::Shown(_) | StageKind::Output => None,
        }
    }

    /// A SELECT of what becomes of the stream table when the body of the last stage changes by `change`.
    fn shown(&self, last: usize, change: &str, context: &Context) -> String {
        match &self.stages[last].kind {
            StageKind::Shown(shown) => {
                let stored = (self.output.as_slice(), &context.storage.stream_table, self.key_fits);
                shown.change(change, &now(&self.stages[last].body, context), stored, context)
            }
            _ => change.to_string(),
        }
    }

    /// What holds the rows of the recursion of `stage`: its state, or the stream table.
    fn own(&self, stage: usize, storage: &Storage) -> Option<Own> {
        let columns = self.stages[stage].columns();
        match &self.stages[stage].kind {
            StageKind::Rows => {
                let names: Vec<Ident> = columns.iter().map(|column| Ident::new(&column.name)).collect();
                let table = &storage.states[stage];
                Some(Own { rows: table.to_string(), found: Some(found_in_bag(&names, table)) })
            }
            StageKind::Output => recursion(&self.stages[stage].body).map(|places| {
                let named = |(i, place): (usize, &usize)| {
                    format!("t.{} AS {}", Ident::new(&self.output[*place].name), column(i))
                };
                let columns = list(places.iter().enumerate().map(named));
                let rows = format!("(SELECT {columns} FROM {} AS t)", storage.stream_table);
                Own { rows, found: self.found_by_key(&places, &storage.stream_table) }
            }),
            _ => None,
        }
    }

    /// A SELECT of the row of the stream table whose columns at `places` are those of `b`, if its key is among them.
    fn found_by_key(&self, places: &[usize], table: &QualifiedName) -> Option<String> {
        let Identity::Key(key) = &self.identity else { return None };
        if !key.iter().all(|position| places.contains(position)) {
            return None;
        }
        let named = places.iter().enumerate();
        let named = named.map(|(i, place)| format!("b.{} AS {}", column(i), Ident::new(&self.output[*place].name)));
        let others = places.iter().filter(|place| !key.contains(place)).map(|place| {
            let name = Ident::new(&self.output[*place].name);
            equal(&format!("t.{name}"), &format!("q.{name}"), &self.output[*place])
        });
        let same = [same_key(&self.key_columns(key), "t", "q", self.key_fits)].into_iter().chain(others);
        Some(format!("SELECT FROM {table} AS t, (SELECT {}) AS q WHERE {}", list(named), conjunction(same)))
    }

    /// The indexes by which the last stage looks up rows of the stream table, besides that of its identity: those of a
    /// partition, or those that a recursion goes on from. What follows the table in CREATE INDEX.
    pub fn output_probes(&self) -> Vec<String> {
        let last = self.stages.len() - 1;
        let (identity, _) = self.output_index();
        let probes: Vec<String> = match &self.stages[last].kind {
            StageKind::Shown(shown) => {
                shown.index(&self.output).map(|probe| format!("({probe})")).into_iter().collect()
            }
            StageKind::Output => recursion(&self.stages[last].body).map_or_else(Vec::new, |places| {
                self.probes_of(Probed::Stage(last), |column| self.output.get(*places.get(column)?).cloned())
            }),
            _ => Vec::new(),
        };
        let served = |probe: &String| {
            let columns = probe.trim_start_matches('(').trim_end_matches(')');
            format!("({identity})") == *probe || identity.starts_with(&format!("{columns}, "))
        };
        probes.into_iter().filter(|probe| !served(probe)).collect()
    }

    /// The statement that makes the stream table equal to `new`, a SELECT of its last stage's content, by applying the difference; yields
    /// `(inserted int8, deleted int8, net int8)`.
    ///
    /// Where rows are found by a key without NULLs, old and new ones are paired by it, each once, and nothing else is done with those that stay as
    /// they are. That the key is one is left to its unique index. Otherwise the difference is computed as a Z-set.
    pub fn recompute(&self, new: &str, storage: &Storage) -> String {
        match &self.identity {
            Identity::Key(key) if pairs(&self.key_columns(key), self.key_fits) => {
                self.replace_by_key(new, key, &storage.stream_table)
            }
            _ => self.apply(&difference(new, &storage.stream_table.to_string(), &self.output), storage),
        }
    }

    fn replace_by_key(&self, new: &str, key: &[usize], table: &QualifiedName) -> String {
        let names: Vec<Ident> = self.output.iter().map(|column| Ident::new(&column.name)).collect();
        let renamed = names.iter().enumerate().map(|(i, name)| format!("n.{} AS {name}", column(i)));
        let sets = list(names.iter().map(|name| format!("{name} = q.{name}")));
        let others = self.output.iter().enumerate().filter(|(i, c)| !key.contains(i) || !is_plain(c));
        let update = match differs(others.map(|(_, column)| column)) {
            Some(differs) => format!(" WHEN MATCHED AND ({differs}) THEN UPDATE SET {sets}"),
            None => String::new(),
        };
        format!(
            "WITH m AS (MERGE INTO {table} AS s USING (SELECT {} FROM ({new}) AS n) AS q ON {}{update} \
             WHEN NOT MATCHED BY TARGET THEN INSERT ({}) VALUES ({}) \
             WHEN NOT MATCHED BY SOURCE THEN DELETE RETURNING merge_action() AS act), \
             c AS (SELECT pg_catalog.count(*) FILTER (WHERE m.act = 'INSERT') AS i, \
             pg_catalog.count(*) FILTER (WHERE m.act = 'DELETE') AS d, pg_catalog.count(*) AS n FROM m) \
             SELECT c.n - c.d AS inserted, c.n - c.i AS deleted, c.i - c.d AS net FROM c",
            list(renamed),
            same_key(&self.key_columns(key), "s", "q", self.key_fits),
            list(&names),
            list(names.iter().map(|name| format!("q.{name}"))),
        )
    }

    /// The statement that applies the Z-set `zset` (a SELECT of `c1 … cn, w`) to the stream table.
    pub fn apply(&self, zset: &str, storage: &Storage) -> String {
        let rows = consolidate(zset, &self.output);
        match &self.identity {
            Identity::Key(key) => self.apply_by_key(&rows, key, &storage.stream_table),
            Identity::Bag => self.apply_to_bag(&rows, &storage.stream_table),
        }
    }

    /// Consolidated, a key has at most one row with `w` > 0, its new one, and at most one with `w` < 0, its old one; the
    /// new one decides.
    fn apply_by_key(&self, rows: &str, key: &[usize], table: &QualifiedName) -> String {
        let names: Vec<Ident> = self.output.iter().map(|column| Ident::new(&column.name)).collect();
        let order = list(key.iter().map(|i| format!("d.{}", column(*i))));
        let renamed = names.iter().enumerate().map(|(i, name)| format!("d.{} AS {name}", column(i)));
        let weight = Ident::new(self.unused_name());
        let sets = names.iter().map(|name| format!("{name} = q.{name}"));
        format!(
            "WITH d AS MATERIALIZED ({rows}), m AS (MERGE INTO {table} AS s USING \
             (SELECT DISTINCT ON ({order}) {}, d.w AS {weight} FROM d ORDER BY {order}, d.w DESC) AS q ON {} \
             WHEN MATCHED AND q.{weight} < 0 THEN DELETE \
             WHEN MATCHED THEN UPDATE SET {} \
             WHEN NOT MATCHED AND q.{weight} > 0 THEN INSERT ({}) VALUES ({}) \
             RETURNING merge_action() AS act) \
             SELECT pg_catalog.count(*) FILTER (WHERE m.act <> 'DELETE') AS inserted, \
             pg_catalog.count(*) FILTER (WHERE m.act <> 'INSERT') AS deleted, {NET} FROM m",
            list(renamed),
            same_key(&self.key_columns(key), "s", "q", self.key_fits),
            list(sets),
            list(&names),
            list(names.iter().map(|name| format!("q.{name}"))),
        )
    }

    fn apply_to_bag(&self, rows: &str, table: &QualifiedName) -> String {
        let names: Vec<Ident> = self.output.iter().map(|column| Ident::new(&column.name)).collect();
        change_bag(rows, &names, table)
    }

    /// Two SELECTs that return how many rows the stream table lacks and how many it has too many, as the user's own
    /// `query` decides by its types' equality; types without one are compared as text.
    pub fn verification(&self, query: &str, storage: &Storage) -> [String; 2] {
        let names: Vec<Ident> = self.output.iter().map(|column| Ident::new(&column.name)).collect();
        let compared = list(self.output.iter().zip(&names).map(|(column, name)| match column.ty.equality {
            Equality::None => format!("r.{name}::text"),
            _ => format!("r.{name}"),
        }));
        let wanted = format!("SELECT {compared} FROM ({query}) AS r({})", list(&names));
        let stored = format!("SELECT {compared} FROM {} AS r", storage.stream_table);
        let count = |a: &str, b: &str| format!("SELECT pg_catalog.count(*) FROM ({a} EXCEPT ALL {b}) AS e");
        [count(&wanted, &stored), count(&stored, &wanted)]
    }

    fn key_columns(&self, key: &[usize]) -> Vec<Column> {
        key.iter().map(|i| self.output[*i].clone()).collect()
    }

    /// A name that no output column has, for the weight beside them.
    fn unused_name(&self) -> String {
        let mut name = String::from("w");
        while self.output.iter().any(|column| column.name == name) {
            name.push('_');
        }
        name
    }
}

/// Whether all rows of two relations can be paired by the key `columns`: a FULL JOIN takes operators that hash or sort, which those of the
/// server's own types do.
fn pairs(columns: &[Column], fits: bool) -> bool {
    let paired = key_index(columns, fits).is_some_and(|(_, unique)| unique);
    paired && columns.iter().all(|column| column.ty.oid < FIRST_USER_OID)
}

/// Object ids from here on are not the server's own.
const FIRST_USER_OID: u32 = 16384;

/// Values that are equal are the same, by the `=` of the server's own types, and there is always one.
fn is_plain(column: &Column) -> bool {
    column.ty.equality == Equality::Image && !column.nullable && column.ty.oid < FIRST_USER_OID
}

/// The predicate that rows `s` and `q` differ in one of the columns, if there are any: those of images that need no look at more than
/// the values first.
pub(super) fn differs<'a>(columns: impl Iterator<Item = &'a Column>) -> Option<String> {
    let (plain, others): (Vec<&Column>, Vec<&Column>) = columns.partition(|column| is_plain(column));
    let named = |alias: &str, columns: &[&Column]| {
        list(columns.iter().map(|column| format!("{alias}.{}", Ident::new(&column.name))))
    };
    let plain = plain.iter().map(|column| {
        let name = Ident::new(&column.name);
        format!("s.{name} OPERATOR(pg_catalog.<>) q.{name}")
    });
    // Of rows as such: two row constructors would be compared column by column.
    let images = (!others.is_empty()).then(|| {
        let [stored, new] = ["s", "q"].map(|alias| format!("ROW({})::pg_catalog.record", named(alias, &others)));
        format!("({stored}) OPERATOR(pg_catalog.*<>) ({new})")
    });
    let differences: Vec<String> = plain.chain(images).collect();
    (!differences.is_empty()).then(|| differences.join(" OR "))
}

/// Part of it is only known as text.
fn is_opaque(rel: &Rel) -> bool {
    let own = matches!(rel, Rel::Opaque { .. }) && *rel != Rel::unit();
    own || rel.inputs().into_iter().any(is_opaque)
}

/// The statement that applies the consolidated Z-set `rows` to the bag in `table` with the columns `names`; yields
/// `(inserted int8, deleted int8, net int8)`, see [`NET`].
pub(super) fn change_bag(rows: &str, names: &[Ident], table: &QualifiedName) -> String {
    format!(
        "{} SELECT (SELECT pg_catalog.count(*) FROM y) AS inserted, (SELECT pg_catalog.count(*) FROM x) AS deleted, {NET}",
        bag(rows, names, table),
    )
}

/// The WITH list that applies the consolidated Z-set `rows`, its name `d`, to the bag in `table` with the columns `names`:
/// `w` > 0 inserts that many copies (`y`), `w` < 0 deletes that many of the rows with the same image (`x`).
///
/// Each row is looked up by itself, whatever the planner thinks of the size of `rows`: a join would hash every row of the
/// table, at the cost of a look-up each. (OFFSET 0 keeps the sub-select from becoming a join.)
fn bag(rows: &str, names: &[Ident], table: &QualifiedName) -> String {
    let width = names.len();
    let numbered = list((0..width).map(column));
    let stored_hash = row("pgtrickle.row_hash", "s", names.iter());
    let stored = row("pgtrickle.row_image", "s", names.iter());
    let changed = row("pgtrickle.row_image", "g", (0..width).map(column));
    format!(
        "WITH d AS MATERIALIZED ({rows}), \
         g AS (SELECT d.*, pgtrickle.row_hash(ROW({numbered})) AS h, pg_catalog.row_number() OVER () AS i FROM d WHERE d.w < 0), \
         v AS (SELECT s.tid, g.w, pg_catalog.row_number() OVER (PARTITION BY g.i) AS copy FROM g CROSS JOIN LATERAL \
         (SELECT s.ctid AS tid FROM {table} AS s WHERE {stored_hash} = g.h AND {stored} = {changed} OFFSET 0) AS s), \
         x AS (DELETE FROM {table} AS s WHERE s.ctid = ANY (ARRAY(SELECT v.tid FROM v WHERE v.copy <= - v.w)) RETURNING 1), \
         y AS (INSERT INTO {table} ({}) SELECT {} FROM d, pg_catalog.generate_series(1, d.w) RETURNING 1)",
        list(names),
        list((0..width).map(|i| format!("d.{}", column(i)))),
    )
}

/// A SELECT of the rows of the bag in `table` with the columns `names` that have the image of `b`.
fn found_in_bag(names: &[Ident], table: &QualifiedName) -> String {
    let [hash, image] = ["pgtrickle.row_hash", "pgtrickle.row_image"].map(|function| {
        format!("{} = {}", row(function, "t", names.iter()), row(function, "b", (0..names.len()).map(column)))
    });
    format!("SELECT FROM {table} AS t WHERE {hash} AND {image}")
}
