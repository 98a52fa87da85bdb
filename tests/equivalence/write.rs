//! Random transactions: every form of data change, savepoints, refreshes in the middle.

use crate::expression::{predicate, scalar};
use crate::schema::Table;
use crate::script::Step;
use crate::types::Random;
use pgtrickle_tests::refresh;
use rand::Rng;
use rand::seq::IndexedRandom;

pub(crate) struct Writer<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) tables: &'a [Table],
    pub(crate) streams: &'a [String],
    /// Materialized views.
    pub(crate) copies: &'a [String],
}

impl Writer<'_> {
    /// The steps of one cycle. `second` says whether the second session has a transaction open.
    pub(crate) fn cycle(&mut self, second: &mut bool) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..self.random.random_range(1..4) {
            self.transaction(&mut steps, *second);
            self.second_session(&mut steps, second);
        }
        steps
    }

    fn transaction(&mut self, steps: &mut Vec<Step>, second: bool) {
        if self.random.random_bool(0.3) {
            steps.push(Step::Run(self.write(second)));
            return;
        }
        steps.push(Step::Run("BEGIN".into()));
        for _ in 0..self.random.random_range(1..5) {
            match self.random.random_range(0..12) {
                0 => {
                    steps.push(Step::Run("SAVEPOINT s".into()));
                    for _ in 0..self.random.random_range(1..3) {
                        steps.push(Step::Run(self.write(second)));
                    }
                    if self.random.random_bool(0.3) {
                        steps.push(Step::Run(self.some_refresh()));
                    }
                    let end = if self.random.random_bool(0.7) { "ROLLBACK TO s" } else { "RELEASE s" };
                    steps.push(Step::Run(end.into()));
                }
                1 => steps.push(Step::Run(self.some_refresh())),
                2 => {
                    // There and back again.
                    let table = self.table().clone();
                    let condition = predicate(self.random, &table.columns, 1);
                    if let Some(column) = table.columns.iter().skip(table.keys).find(|column| column.ty.is_number()) {
                        let name = &column.name;
                        steps.push(Step::Run(format!(
                            "UPDATE {} SET {name} = {name} + 1 WHERE {condition}",
                            table.name
                        )));
                        steps.push(Step::Run(format!(
                            "UPDATE {} SET {name} = {name} - 1 WHERE {condition}",
                            table.name
                        )));
                    }
                }
                _ => steps.push(Step::Run(self.write(second))),
            }
        }
        let end = if self.random.random_bool(0.12) { "ROLLBACK" } else { "COMMIT" };
        steps.push(Step::Run(end.into()));
    }

    /// A writer that stays open while others commit and refresh. It only adds rows to keyless tables, so that it
    /// blocks nobody.
    fn second_session(&mut self, steps: &mut Vec<Step>, second: &mut bool) {
        let Some(table) = self.tables.iter().find(|table| table.keys == 0).cloned() else { return };
        if *second {
            if self.random.random_bool(0.4) {
                let end = if self.random.random_bool(0.2) { "ROLLBACK" } else { "COMMIT" };
                steps.push(Step::Second(end.into()));
                *second = false;
            }
        } else if self.random.random_bool(0.25) {
            steps.push(Step::Second("BEGIN".into()));
            *second = true;
        }
        if *second && self.random.random_bool(0.8) {
            steps.push(Step::Second(format!("INSERT INTO {} VALUES {}", table.name, table.rows(self.random, 3))));
        }
    }

    fn table(&mut self) -> &Table {
        self.tables.choose(self.random).expect("there are tables")
    }

    fn some_refresh(&mut self) -> String {
        refresh(self.streams.choose(self.random).expect("there are stream tables"))
    }

    /// One statement; with the second session open, none that would wait for it.
    fn write(&mut self, second: bool) -> String {
        if let Some(copy) = self.copies.choose(self.random)
            && self.random.random_bool(0.15)
        {
            return format!("REFRESH MATERIALIZED VIEW {copy}");
        }
        let table = self.table().clone();
        let name = &table.name;
        let condition = predicate(self.random, &table.columns, 1);
        let random = &mut *self.random;
        match random.random_range(0..15) {
            0..4 => {
                let conflict = if table.keys > 0 { " ON CONFLICT DO NOTHING" } else { "" };
                format!("INSERT INTO {name} VALUES {}{conflict}", table.rows(random, 4))
            }
            4..7 => format!("UPDATE {name} SET {} WHERE {condition}", assignments(random, &table)),
            7..9 => format!("DELETE FROM {name} WHERE {condition} AND {}", predicate(random, &table.columns, 0)),
            9 if table.keys > 0 => {
                let keys = table.key_columns();
                format!("UPDATE {name} SET {0} = {0} + {1} WHERE {condition}", keys[0], random.random_range(-9..9))
            }
            9 => format!("DELETE FROM {name} WHERE ctid IN (SELECT ctid FROM {name} ORDER BY ctid LIMIT 2)"),
            10 if table.keys > 0 => format!(
                "INSERT INTO {name} VALUES {} ON CONFLICT ({}) DO UPDATE SET {}",
                table.row(random),
                table.key_columns().join(", "),
                excluded(random, &table)
            ),
            10 => format!("INSERT INTO {name} SELECT * FROM {name} ORDER BY ctid LIMIT 3"),
            11 if table.keys > 0 => merge(random, &table),
            11 => {
                format!("UPDATE {name} SET {} WHERE ctid = (SELECT min(ctid) FROM {name})", assignments(random, &table))
            }
            12 => format!(
                "WITH gone AS (DELETE FROM {name} WHERE {condition} RETURNING *) INSERT INTO {name} SELECT * FROM gone"
            ),
            13 if !second && random.random_bool(0.25) => format!("TRUNCATE {name}"),
            13 => format!("DELETE FROM {name} WHERE {condition}"),
            _ => format!("INSERT INTO {name} VALUES {}", table.rows(random, 2)),
        }
    }
}

fn assignments(random: &mut Random, table: &Table) -> String {
    let plain: Vec<_> = table.columns.iter().skip(table.keys).collect();
    let column = *plain.choose(random).expect("a table has plain columns");
    let mut parts = vec![format!("{} = {}", column.name, scalar(random, &table.columns, column.ty, 1).sql)];
    if let Some(other) = plain.iter().find(|other| other.name != column.name && random.random_bool(0.4)) {
        parts.push(format!("{} = {}", other.name, other.ty.value(random)));
    }
    parts.join(", ")
}

fn excluded(random: &mut Random, table: &Table) -> String {
    let column = &table.columns[random.random_range(table.keys..table.columns.len())];
    format!("{0} = excluded.{0}", column.name)
}

fn merge(random: &mut Random, table: &Table) -> String {
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let on: Vec<String> = table.key_columns().iter().map(|key| format!("t.{key} = n.{key}")).collect();
    let last = names[names.len() - 1];
    let insert: Vec<String> = names.iter().map(|name| format!("n.{name}")).collect();
    format!(
        "MERGE INTO {} AS t USING (VALUES {}) AS n({}) ON {} WHEN MATCHED AND n.{last} IS NULL THEN DELETE \
         WHEN MATCHED THEN UPDATE SET {last} = n.{last} WHEN NOT MATCHED THEN INSERT VALUES ({})",
        table.name,
        table.rows(random, 4),
        names.join(", "),
        on.join(" AND "),
        insert.join(", ")
    )
}
