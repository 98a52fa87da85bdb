//! Random changes of any tables: new rows and new values are put together from those that are there, so that they
//! join, repeat and tie; rows that went away come back later.

use crate::Corpus;
use pgtrickle_tests::{Database, Session};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

struct Column {
    name: String,
    ty: String,
    nullable: bool,
    key: bool,
}

struct Table {
    name: String,
    columns: Vec<Column>,
    /// Where deleted rows wait for their return.
    gone: String,
    /// Conditions for the rows that matter to some query, which every second change is about.
    aims: Vec<&'static str>,
}

impl Table {
    fn single_integer_key(&self) -> Option<&Column> {
        let mut keys = self.columns.iter().filter(|column| column.key);
        let key = keys.next()?;
        (keys.next().is_none() && is_integer(&key.ty)).then_some(key)
    }

    fn list(&self) -> String {
        self.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

fn is_integer(ty: &str) -> bool {
    ["integer", "bigint", "smallint"].contains(&ty)
}

/// Changes tables, the same way for the same seed.
pub(crate) struct Changer {
    random: ChaCha8Rng,
    tables: Vec<Table>,
    rows: u32,
}

impl Changer {
    /// Over every table of schema `public`, as the corpus has it.
    pub(crate) fn over_all_tables(db: &mut Database, seed: u64, corpus: &Corpus) -> Changer {
        let names = db.lines(
            "SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace \
             AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname",
        );
        let mut changer = Changer::over(db, &names, seed, corpus.rows);
        for table in &mut changer.tables {
            table.aims = corpus.aims.iter().filter(|(name, _)| *name == table.name).map(|(_, aim)| *aim).collect();
        }
        changer
    }

    /// Over the tables named; up to `rows` rows of each are inserted, updated and deleted per cycle.
    pub(crate) fn over(session: &mut Session, names: &[String], seed: u64, rows: u32) -> Changer {
        session.run("CREATE SCHEMA IF NOT EXISTS gone");
        let tables = names.iter().enumerate().map(|(number, name)| table(session, number, name));
        // Nothing can be written to a table without columns but rows that nobody can tell apart.
        let tables = tables.filter(|table| !table.columns.is_empty()).collect();
        Changer { random: ChaCha8Rng::seed_from_u64(seed), tables, rows }
    }

    /// Changes every table, some in one transaction and some each statement by itself. A statement that the tables'
    /// constraints refuse changes nothing.
    pub(crate) fn change(&mut self, session: &mut Session, cycle: usize) {
        let together = self.random.random_bool(0.7);
        if together {
            session.run("BEGIN");
        }
        self.change_all(session, cycle, together);
        if together {
            session.run("COMMIT");
        }
    }

    /// Changes every table inside the transaction that the session is in.
    pub(crate) fn change_inside(&mut self, session: &mut Session, cycle: usize) {
        self.change_all(session, cycle, true);
    }

    fn change_all(&mut self, session: &mut Session, cycle: usize, together: bool) {
        for position in 0..self.tables.len() {
            for statement in self.statements(position, cycle) {
                if together {
                    session.run("SAVEPOINT s");
                }
                let outcome = session.attempt(&statement);
                if let Err(failure) = &outcome {
                    let broken = failure.sqlstate.is_empty() || failure.sqlstate.starts_with("XX");
                    assert!(!broken, "{failure:?}\nin: {statement}");
                }
                if together {
                    session.run(if outcome.is_ok() { "RELEASE s" } else { "ROLLBACK TO s" });
                }
            }
        }
    }

    fn statements(&mut self, position: usize, cycle: usize) -> Vec<String> {
        let mut statements = vec![self.delete(position, cycle), self.insert(position), self.update(position)];
        if cycle > 1 {
            statements.push(self.come_back(position, cycle));
        }
        if let Some(renumber) = self.renumber(position)
            && self.random.random_bool(0.5)
        {
            statements.push(renumber);
        }
        // Any order, so that a row is inserted and deleted, or updated and deleted, in one transaction.
        for last in (1..statements.len()).rev() {
            statements.swap(last, self.random.random_range(0..=last));
        }
        statements
    }

    /// The table's rows in a random order, of which the first are to be taken.
    fn shuffled(&mut self, position: usize) -> String {
        let Table { name, aims, .. } = &self.tables[position];
        let aim = match aims.choose(&mut self.random) {
            Some(aim) if self.random.random_bool(0.5) => format!(" WHERE {aim}"),
            _ => String::new(),
        };
        format!("{name}{aim} ORDER BY md5(ctid::text || '{}')", self.random.random::<u32>())
    }

    /// The identities of some rows.
    fn some_rows(&mut self, position: usize, most: u32) -> String {
        let rows = self.shuffled(position);
        format!("SELECT tableoid, ctid FROM {rows} LIMIT {}", self.random.random_range(1..=most))
    }

    fn delete(&mut self, position: usize, cycle: usize) -> String {
        let rows = self.some_rows(position, self.rows);
        let Table { name, gone, .. } = &self.tables[position];
        let list = self.tables[position].list();
        // A small table keeps most of its rows.
        format!(
            "WITH gone AS (DELETE FROM {name} WHERE (tableoid, ctid) IN ({rows}) AND (SELECT count(*) FROM {name}) > 4 \
             RETURNING {list}) INSERT INTO {gone} ({list}, cycle) SELECT {list}, {cycle} FROM gone"
        )
    }

    fn come_back(&mut self, position: usize, cycle: usize) -> String {
        let Table { name, gone, .. } = &self.tables[position];
        let list = self.tables[position].list();
        format!(
            "INSERT INTO {name} ({list}) OVERRIDING SYSTEM VALUE SELECT {list} FROM {gone} WHERE cycle = {} \
             ON CONFLICT DO NOTHING",
            cycle - 1
        )
    }

    /// Two lists of rows, side by side.
    fn pairs(&mut self, position: usize) -> String {
        let count = self.random.random_range(1..=self.rows);
        let sides = [self.shuffled(position), self.shuffled(position)].map(|rows| {
            format!(
                "(SELECT q.*, row_number() OVER () AS n \
                 FROM (SELECT tableoid AS t, ctid AS c, * FROM {rows} LIMIT {count}) AS q)"
            )
        });
        format!("{} AS a JOIN {} AS b USING (n)", sides[0], sides[1])
    }

    fn value(&mut self, column: &Column) -> String {
        let Column { name, ty, nullable, .. } = column;
        match self.random.random_range(0..8) {
            0 if *nullable => format!("CASE WHEN n % 2 = 0 THEN NULL ELSE a.{name} END"),
            1 | 2 if is_integer(ty) || ty.starts_with("numeric") => format!("b.{name} + (n % 3) - 1"),
            3..6 => format!("b.{name}"),
            _ => format!("a.{name}"),
        }
    }

    fn insert(&mut self, position: usize) -> String {
        let pairs = self.pairs(position);
        let tables = std::mem::take(&mut self.tables);
        let table = &tables[position];
        let key = table.single_integer_key().map(|key| key.name.clone());
        let values: Vec<String> = (table.columns.iter())
            .map(|column| match &key {
                Some(key) if *key == column.name => format!("(SELECT max({key}) FROM {}) + n", table.name),
                _ => self.value(column),
            })
            .collect();
        let statement = format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {pairs} ON CONFLICT DO NOTHING",
            table.name,
            table.list(),
            values.join(", ")
        );
        self.tables = tables;
        statement
    }

    fn update(&mut self, position: usize) -> String {
        let pairs = self.pairs(position);
        let tables = std::mem::take(&mut self.tables);
        let table = &tables[position];
        let free: Vec<&Column> = table.columns.iter().filter(|column| !column.key).collect();
        let mut chosen: Vec<&Column> = Vec::new();
        for column in &free {
            if self.random.random_bool((2.0 / free.len() as f64).min(0.8)) {
                chosen.push(column);
            }
        }
        if chosen.is_empty() {
            chosen.extend(free.first().or(Some(&&table.columns[0])).copied());
        }
        let names: Vec<&str> = chosen.iter().map(|column| column.name.as_str()).collect();
        let values: Vec<String> = chosen.iter().map(|column| self.value(column)).collect();
        let statement = format!(
            "UPDATE {0} AS u SET ({1}) = ROW({2}) FROM {pairs} WHERE (u.tableoid, u.ctid) = (a.t, a.c)",
            table.name,
            names.join(", "),
            values.join(", ")
        );
        self.tables = tables;
        statement
    }

    /// Gives a row another key.
    fn renumber(&mut self, position: usize) -> Option<String> {
        let key = self.tables[position].single_integer_key()?.name.clone();
        let rows = self.some_rows(position, 1);
        let name = &self.tables[position].name;
        Some(format!(
            "UPDATE {name} SET {key} = (SELECT max({key}) + 100 FROM {name}) WHERE (tableoid, ctid) IN ({rows})"
        ))
    }
}

fn table(session: &mut Session, number: usize, name: &str) -> Table {
    let columns: Vec<Column> = session
        .rows(&format!(
            "SELECT quote_ident(attname), format_type(atttypid, NULL), NOT attnotnull, EXISTS (SELECT FROM pg_index \
                 WHERE indrelid = attrelid AND indisunique AND attnum = ANY (indkey)) \
             FROM pg_attribute WHERE attrelid = '{name}'::regclass AND attnum > 0 AND NOT attisdropped \
             AND attgenerated = '' ORDER BY attnum"
        ))
        .into_iter()
        .map(|row| {
            let mut values = row.into_iter().map(Option::unwrap_or_default);
            let mut next = || values.next().unwrap_or_default();
            Column { name: next(), ty: next(), nullable: next() == "t", key: next() == "t" }
        })
        .collect();
    let table = Table { name: name.to_string(), columns, gone: format!("gone.t{number}"), aims: Vec::new() };
    if !table.columns.is_empty() {
        session.run(&format!("CREATE TABLE {} AS SELECT {}, 0 AS cycle FROM {name} LIMIT 0", table.gone, table.list()));
    }
    table
}
