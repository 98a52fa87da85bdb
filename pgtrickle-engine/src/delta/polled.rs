//! `ΔR = R - S`, then `S := R`: the change of a source that nothing captures, a foreign table or a materialized view.
//!
//! S is a table with the columns of R that the query uses, as R was at the last look. One statement reads R once and cancels it
//! against S by image, a second one applies the difference to S: so what the refresh reads of the source, its change and
//! its content, is of one look, however often the query names it. Everything else reads S in place of R. They are two so that the
//! second is planned for the rows that differ: nobody can tell beforehand how many there are.
//!
//! State: a copy of the columns, with an index on its rows' hash. Cost: R and S, whatever changed.

use super::apply::change_bag;
use super::operator::column;
use super::probes::Probed;
use super::zset::{consolidate, difference};
use super::{Leaf, Program};
use crate::query::rel::ScanColumn;
use crate::query::{Column, DataType, Scan};
use crate::sql::{Ident, QualifiedName, list};
use std::collections::BTreeMap;

/// A source, and the table that holds what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polled {
    /// `pg_class.oid` of the source.
    pub relid: u32,
    pub source: QualifiedName,
    pub snapshot: QualifiedName,
    /// What any scan reads of the source, by attnum.
    pub columns: BTreeMap<i16, ScanColumn>,
}

impl Polled {
    /// The source `relid` of `program`, whose scans name the source itself; `None` when it does not read it.
    pub fn of(program: &Program, relid: u32, snapshot: QualifiedName) -> Option<Polled> {
        let scans = || program.stages.iter().flat_map(|stage| stage.body.scans()).filter(|scan| scan.relid == relid);
        let source = scans().next()?.name.clone();
        let columns = scans().flat_map(|scan| scan.columns.iter().map(|column| (column.attnum, column.clone())));
        Some(Polled { relid, source, snapshot, columns: columns.collect() })
    }

    /// Has `scan`, which names the source, read the snapshot.
    pub fn bind(&self, scan: &mut Scan) {
        scan.name = self.snapshot.clone();
        for column in &mut scan.columns {
            column.name = Ident::new(name(column.attnum));
        }
    }

    /// Has `scan`, which reads the snapshot, name the source and its columns as they were called when it was bound.
    pub fn unbind(&self, scan: &mut Scan) {
        scan.name = self.source.clone();
        for column in &mut scan.columns {
            if let Some(known) = self.columns.get(&column.attnum) {
                column.name = known.name.clone();
            }
        }
    }

    /// The query of which the snapshot is made as a table.
    pub fn definition(&self) -> String {
        let columns =
            self.stored().into_iter().map(|(value, column)| format!("{value} AS {}", Ident::new(column.name)));
        format!("SELECT {} FROM {} AS t", list(columns), self.source)
    }

    /// What follows the snapshot in CREATE INDEX, for each index: by the rows' hash, and by what joins of `program` look up.
    pub fn indexes(&self, program: &Program) -> Vec<String> {
        let hash = format!("((pgtrickle.row_hash(ROW({}))))", list(self.names()));
        let columns = |position: usize| {
            let column = self.columns.get(&i16::try_from(position).ok()?)?;
            Some(Column { name: name(column.attnum), ..column.column.clone() })
        };
        let probes = program.probes_of(Probed::Source(self.relid), columns);
        [hash].into_iter().chain(probes).collect()
    }

    /// The difference, as a change of the source: the columns `c<attnum>`, and `w`.
    pub fn difference(&self) -> String {
        let stored = self.stored();
        let new = stored.iter().enumerate().map(|(i, (value, _))| format!("{value} AS {}", column(i)));
        let new = format!("SELECT {} FROM {} AS t", list(new), self.source);
        let columns: Vec<Column> = stored.into_iter().map(|(_, column)| column).collect();
        let rows = consolidate(&difference(&new, &self.snapshot.to_string(), &columns), &columns);
        let yielded = self.names().into_iter().enumerate().map(|(i, name)| format!("d.{} AS {name}", column(i)));
        format!("SELECT {}, d.w FROM ({rows}) AS d", list(yielded))
    }

    /// The statement that applies the difference, under the name of the source's change, to the snapshot; yields `(inserted
    /// int8, deleted int8, net int8)`.
    pub fn apply(&self) -> String {
        let names = self.names();
        let read = names.iter().enumerate().map(|(i, name)| format!("t.{name} AS {}", column(i)));
        let rows = format!("SELECT {}, t.w FROM {} AS t", list(read), Leaf::Source(self.relid).delta_name());
        change_bag(&rows, &names, &self.snapshot)
    }

    /// Each column of the snapshot, and its value in a row `t` of the source. A table without columns would have no rows that
    /// an INSERT could name, so where the query only counts rows there is one all the same.
    fn stored(&self) -> Vec<(String, Column)> {
        if self.columns.is_empty() {
            let filler = Column { name: name(0), ty: DataType::boolean(), nullable: false };
            return vec![("true".into(), filler)];
        }
        let stored = |column: &ScanColumn| {
            let stored = Column { name: name(column.attnum), ..column.column.clone() };
            (format!("t.{}", column.name), stored)
        };
        self.columns.values().map(stored).collect()
    }

    fn names(&self) -> Vec<Ident> {
        self.stored().into_iter().map(|(_, column)| Ident::new(column.name)).collect()
    }
}

fn name(attnum: i16) -> String {
    format!("c{attnum}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Rel;
    use crate::query::testing::{equality, int4, scan};

    fn polled(columns: &[&str]) -> (Program, Polled) {
        let join = Rel::Join {
            inputs: vec![scan(1, columns, &[]), scan(2, &["x"], &[])],
            predicates: if columns.is_empty() { Vec::new() } else { vec![equality(0, columns.len())] },
        };
        let program = Program::compile(join);
        let polled = Polled::of(&program, 1, QualifiedName::new("pgtrickle_state", "snapshot_7_1"));
        (program, polled.expect("it is scanned"))
    }

    #[test]
    fn the_difference_is_yielded_and_applied() {
        let (program, polled) = polled(&["a", "b"]);
        let text = polled.difference();
        assert!(text.contains("SELECT t.\"a\" AS c1, t.\"b\" AS c2 FROM \"public\".\"t1\" AS t"), "{text}");
        assert!(text.starts_with("SELECT d.c1 AS \"c1\", d.c2 AS \"c2\", d.w FROM ("), "{text}");
        let text = polled.apply();
        assert!(text.contains("SELECT t.\"c1\" AS c1, t.\"c2\" AS c2, t.w FROM d_1 AS t"), "{text}");
        assert!(text.contains("DELETE FROM \"pgtrickle_state\".\"snapshot_7_1\""), "{text}");
        assert_eq!(polled.indexes(&program), ["((pgtrickle.row_hash(ROW(\"c1\", \"c2\"))))", "(\"c1\")"]);
        assert_eq!(polled.columns[&1].column.ty, int4());
    }

    #[test]
    fn rows_without_columns_are_counted() {
        let (_, polled) = polled(&[]);
        assert_eq!(polled.definition(), "SELECT true AS \"c0\" FROM \"public\".\"t1\" AS t");
        assert!(polled.difference().starts_with("SELECT d.c1 AS \"c0\", d.w FROM ("));
    }

    #[test]
    fn scans_read_the_snapshot() {
        let (mut program, polled) = polled(&["a"]);
        program.for_each_scan(|scan| {
            if scan.relid == 1 {
                polled.bind(scan);
            }
        });
        let storage = crate::delta::Storage { stream_table: QualifiedName::new("public", "st"), states: Vec::new() };
        let content = program.content(0, &storage);
        assert!(content.contains("t.\"c1\" AS c1 FROM \"pgtrickle_state\".\"snapshot_7_1\" AS t"), "{content}");
        assert!(!content.contains("\"t1\""), "{content}");
    }
}
