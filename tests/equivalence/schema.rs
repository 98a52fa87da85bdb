//! Random tables.

use crate::generate::Relation;
use crate::types::{Column, Random, Type};
use rand::Rng;

/// What a writer has to know of a table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    /// The columns of the primary key, integers that stand first; none in a keyless table.
    pub(crate) keys: usize,
}

impl Table {
    pub(crate) fn random(random: &mut Random, number: usize) -> Table {
        let keys = [1, 0, 1, 2][number % 4];
        let mut columns: Vec<Column> = (1..=keys).map(|i| column(format!("k{i}"), Type::Int)).collect();
        for i in 0..random.random_range(2..5) {
            columns.push(column(format!("v{i}"), Type::any(random)));
        }
        Table { name: format!("t{number}"), columns, keys }
    }

    pub(crate) fn create(&self) -> String {
        let mut parts: Vec<String> =
            self.columns.iter().map(|column| format!("{} {}", column.name, column.ty.sql())).collect();
        if self.keys > 0 {
            parts.push(format!("PRIMARY KEY ({})", self.key_columns().join(", ")));
        }
        format!("CREATE TABLE {} ({})", self.name, parts.join(", "))
    }

    /// One for each integer column that is no key.
    pub(crate) fn indexes(&self) -> impl Iterator<Item = String> {
        let integers = self.columns.iter().skip(self.keys).filter(|column| matches!(column.ty, Type::Int));
        integers.map(|column| format!("CREATE INDEX ON {} ({})", self.name, column.name))
    }

    pub(crate) fn key_columns(&self) -> Vec<String> {
        self.columns.iter().take(self.keys).map(|column| column.name.clone()).collect()
    }

    /// A row of values; keys are in a domain of twenty or so.
    pub(crate) fn row(&self, random: &mut Random) -> String {
        let values: Vec<String> = (self.columns.iter().enumerate())
            .map(|(i, column)| match i < self.keys {
                true if self.keys == 1 => random.random_range(0..24).to_string(),
                true => random.random_range(0..5).to_string(),
                false => column.ty.value(random),
            })
            .collect();
        format!("({})", values.join(", "))
    }

    pub(crate) fn rows(&self, random: &mut Random, most: usize) -> String {
        let rows: Vec<String> = (0..random.random_range(1..=most)).map(|_| self.row(random)).collect();
        rows.join(", ")
    }

    pub(crate) fn relation(&self) -> Relation {
        Relation { name: self.name.clone(), columns: self.columns.clone(), rows: 12.0 }
    }
}

fn column(name: String, ty: Type) -> Column {
    Column { name, ty, exact: true }
}
