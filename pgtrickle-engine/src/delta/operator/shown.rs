//! `Δ g(f(R)) = g(f(R ⋉ K)) - T ⋉ K` with `f` a keyed operator ([`super::keyed`]), `g` linear, and `T = g(f(R))` the stream
//! table: `f` needs no state of its own where `T` itself tells which of its rows came from the partitions `K`.
//!
//! It does in three ways ([`Rows`]): without PARTITION BY all of them did; where `g` passes the partition columns on, by
//! these; and where it passes on a key of R that `T` is stored by, by the keys of `ΔR` and of `R ⋉ K`. In the last, the old
//! row of a key in `R ⋉ K` was of a partition in K too, else it would be in ΔR, and so would its partition; and every old
//! row of K is either still in `R ⋉ K` or in ΔR. There each new row is compared with the one stored under its key, as the rows of a partition come
//! one after the other, and only those that differ are the change; the others that are known by their key have no new row.

use super::keyed::{Computation, Keyed};
use super::{Context, Working, all_columns, column, now};
use crate::delta::apply::differs;
use crate::delta::key::{key_index, same_key};
use crate::delta::{Identity, Stage, StageKind};
use crate::query::analysis::clock::yields_truth;
use crate::query::analysis::keys::keys;
use crate::query::{Column, Equality, Rel, Scalar};
use crate::sql::{Ident, QualifiedName, list};
use serde::{Deserialize, Serialize};

/// How the stream table's rows of the touched partitions are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rows {
    /// There is one partition.
    All,
    /// By the stream table's columns at these positions, one for each partition column.
    OfPartitions(Vec<usize>),
    /// By a key: pairs of a column of the body and a column of the stream table.
    OfKeys(Vec<(usize, usize)>),
}

/// A keyed operator whose result only the stream table stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    pub keyed: Keyed,
    /// Filters and projections over [`Rel::Working`], the rows that `keyed` yields.
    pub above: Rel,
    rows: Rows,
}

/// The last of `stages` without the stage that it alone reads, where it can do without; `identity` is that of its body.
pub fn shown(mut stages: Vec<Stage>, identity: &Identity) -> Vec<Stage> {
    let found = match stages.as_slice() {
        [.., Stage { body, kind: StageKind::Keyed(keyed) }, last] => {
            rows(keyed, body, &last.body, identity).zip(over_working(&last.body, &keyed.columns()))
        }
        _ => None,
    };
    let Some((rows, above)) = found else { return stages };
    stages.pop();
    if let Some(Stage { body, kind: StageKind::Keyed(keyed) }) = stages.pop() {
        let shown = Shown { keyed: *keyed, above, rows };
        stages.push(Stage { body, kind: StageKind::Shown(Box::new(shown)) });
    }
    stages
}

/// `rel` over [`Rel::Working`], if there is nothing but filters and projections between it and a stage.
fn over_working(rel: &Rel, columns: &[Column]) -> Option<Rel> {
    match rel {
        Rel::Stage { .. } => Some(Rel::Working { columns: columns.to_vec() }),
        Rel::Filter { input, predicates } if !predicates.iter().any(Scalar::reads_clock) => {
            let input = Box::new(over_working(input, columns)?);
            Some(Rel::Filter { input, predicates: predicates.clone() })
        }
        Rel::Project { input, outputs } if !yields_truth(rel) => {
            let input = Box::new(over_working(input, columns)?);
            Some(Rel::Project { input, outputs: outputs.clone() })
        }
        _ => None,
    }
}

/// The column of the stage below that `position` of `rel` is, unchanged.
fn origin(rel: &Rel, position: usize) -> Option<usize> {
    match rel {
        Rel::Filter { input, .. } => origin(input, position),
        Rel::Project { input, outputs } => origin(input, outputs[position].1.as_column()?),
        _ => Some(position),
    }
}

fn rows(keyed: &Keyed, body: &Rel, above: &Rel, identity: &Identity) -> Option<Rows> {
    if keyed.partition.is_empty() {
        return Some(Rows::All);
    }
    if let (Identity::Key(key), Computation::Window { .. }) = (identity, &keyed.computation) {
        let pairs: Vec<(usize, usize)> =
            key.iter().filter_map(|place| origin(above, *place).map(|column| (column, *place))).collect();
        let is_key = |key: Vec<usize>| key.iter().all(|column| pairs.iter().any(|(of_body, _)| of_body == column));
        if pairs.len() == key.len() && keys(body).into_iter().any(is_key) {
            return Some(Rows::OfKeys(pairs));
        }
    }
    let width = above.columns().len();
    let place = |column: &usize| (0..width).find(|position| origin(above, *position) == Some(*column));
    keyed.partition.iter().map(place).collect::<Option<Vec<_>>>().map(Rows::OfPartitions)
}

/// The stream table's columns, its name, and whether its key's values come out of a btree.
type Stored<'a> = (&'a [Column], &'a QualifiedName, bool);

impl Shown {
    /// A SELECT of the stream table's rows, computed from `rows`, a SELECT of rows of the body.
    pub fn content(&self, rows: &str, context: &Context) -> String {
        self.over(&self.keyed.fill(rows), context)
    }

    /// A SELECT of the stream table's rows, computed from `computed`, a SELECT of what the keyed operator yields.
    fn over(&self, computed: &str, context: &Context) -> String {
        let working = Working { now: format!("({computed})"), delta: None };
        now(&self.above, &Context { working: Some(working), ..*context })
    }

    /// A SELECT of the change of the stream table; `delta` is a SELECT of the body's change, `body` one of its content.
    pub fn change(&self, delta: &str, body: &str, stored: Stored<'_>, context: &Context) -> String {
        let (output, table, _) = stored;
        let mut with = format!("d AS MATERIALIZED ({delta})");
        let touched = self.keyed.touched();
        if !touched.is_empty() {
            with.push_str(&format!(", {}", touched.trim_end_matches(", ")));
        }
        let names = list(output.iter().enumerate().map(|(i, c)| format!("s.{} AS {}", Ident::new(&c.name), column(i))));
        let (new, old) = match &self.rows {
            Rows::All => (self.keyed.anew(body), format!("FROM {table} AS s WHERE EXISTS (SELECT FROM d)")),
            Rows::OfPartitions(places) => {
                let touched = named(self.keyed.partition.iter().copied().zip(places), "k", output);
                (self.keyed.anew(body), found(&format!("SELECT {touched} FROM k"), places, (output, table, false)))
            }
            Rows::OfKeys(pairs) => {
                with.push_str(&format!(", i AS MATERIALIZED ({})", self.keyed.restricted(body)));
                let new = self.over(&self.keyed.fill("SELECT i.* FROM i"), context);
                let places = 0..output.len();
                return format!(
                    "WITH {with}{} SELECT {}, 1 AS w FROM u UNION ALL SELECT {}, -1 AS w FROM u WHERE u.known \
                     UNION ALL SELECT {names}, -1 AS w {}",
                    self.compared(&new, pairs, stored),
                    all_columns("u", output.len(), false),
                    list(places.map(|i| format!("u.s{} AS {}", i + 1, column(i)))),
                    self.gone(pairs, stored)
                );
            }
        };
        format!(
            "WITH {with} SELECT {}, 1 AS w FROM ({}) AS n UNION ALL SELECT {names}, -1 AS w {old}",
            all_columns("n", output.len(), false),
            self.over(&new, context),
        )
    }

    /// The WITH items `r`, the `new` rows, and `u`, those that differ from the one that is stored under their key, `s1 …`, or of which none is
    /// `known`.
    fn compared(&self, new: &str, pairs: &[(usize, usize)], (output, table, fits): Stored<'_>) -> String {
        let renamed = output.iter().enumerate().map(|(i, c)| format!("n.{} AS {}", column(i), Ident::new(&c.name)));
        let both = output.iter().enumerate().map(|(i, c)| {
            let name = Ident::new(&c.name);
            format!("q.{name} AS {}, s.{name} AS s{}", column(i), i + 1)
        });
        let key = key_columns(pairs, output);
        let is_equal = |(place, column): &(usize, &Column)| {
            column.ty.equality == Equality::Image && pairs.iter().any(|(_, key)| key == place)
        };
        let others = output.iter().enumerate().filter(|column| !is_equal(column)).map(|(_, column)| column);
        let differs = differs(others).map_or(String::new(), |differs| format!(" OR {differs}"));
        format!(
            ", r AS MATERIALIZED (SELECT {} FROM ({new}) AS n), u AS MATERIALIZED (SELECT {}, s.ctid IS NOT NULL AS known \
             FROM r AS q LEFT JOIN {table} AS s ON {} WHERE s.ctid IS NULL{differs})",
            list(renamed),
            list(both),
            same_key(&key, "s", "q", fits),
        )
    }

    /// `FROM` the stored rows `s` of keys without a new row.
    fn gone(&self, pairs: &[(usize, usize)], stored: Stored<'_>) -> String {
        let (output, ..) = stored;
        let key = |alias| named(pairs.iter().map(|(of_body, place)| (*of_body, place)), alias, output);
        let places: Vec<usize> = pairs.iter().map(|(_, place)| *place).collect();
        let still = list(places.iter().map(|place| format!("r.{}", Ident::new(&output[*place].name))));
        let known = match keeps_all(&self.above) {
            true => format!("SELECT {} FROM d", key("d")),
            false => format!("(SELECT {} FROM d UNION SELECT {} FROM i)", key("d"), key("i")),
        };
        found(&format!("{known} EXCEPT SELECT {still} FROM r"), &places, stored)
    }

    /// The index by which the stream table, whose columns are `output`, finds the rows of a partition, if it needs one.
    pub fn index(&self, output: &[Column]) -> Option<String> {
        let Rows::OfPartitions(places) = &self.rows else { return None };
        let columns: Vec<Column> = places.iter().map(|place| output[*place].clone()).collect();
        key_index(&columns, false).map(|(index, _)| index)
    }
}

/// Nothing is filtered, so each row of the body has a row of the stream table.
fn keeps_all(above: &Rel) -> bool {
    match above {
        Rel::Working { .. } => true,
        Rel::Project { input, .. } => keeps_all(input),
        _ => false,
    }
}

fn key_columns(pairs: &[(usize, usize)], output: &[Column]) -> Vec<Column> {
    pairs.iter().map(|(_, place)| output[*place].clone()).collect()
}

/// The columns of `alias`, named as the stream table's at their places.
fn named<'a>(columns: impl Iterator<Item = (usize, &'a usize)>, alias: &str, output: &[Column]) -> String {
    list(columns.map(|(of_body, place)| format!("{alias}.{} AS {}", column(of_body), Ident::new(&output[*place].name))))
}

/// `FROM` the rows of `table` that agree with one of `known` in the columns at `places`.
fn found(known: &str, places: &[usize], (output, table, fits): Stored<'_>) -> String {
    let columns: Vec<Column> = places.iter().map(|place| output[*place].clone()).collect();
    format!("FROM ({known}) AS q JOIN {table} AS s ON {}", same_key(&columns, "s", "q", fits))
}
