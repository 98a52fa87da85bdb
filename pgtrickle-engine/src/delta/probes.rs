//! The indexes that readers of a state table, or of the snapshot of a source, look rows up by.
//!
//! A join probes each of its inputs by the columns that it equates with another input's; a keyed recomputation probes its
//! input by the partition, a group that is computed anew its rows by the grouping columns. Where such columns are a state
//! table's own, an index on them keeps the cost of a change from growing with the state. Identity needs another index where keys can be NULL (`super::key`), and that one serves no
//! join. An entry of a btree has at most a third of a page, so values that can be longer get a hash index, which holds no
//! values; NULLs are not in it.

use super::key::is_short;
use super::{Program, StageKind};
use crate::query::{Column, Rel, Scalar};
use crate::sql::{Ident, list};
use std::collections::{BTreeMap, BTreeSet};

/// A lookup of rows of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceProbe {
    /// `pg_class.oid`
    pub relid: u32,
    /// The columns, by attribute number.
    pub columns: BTreeSet<i16>,
    /// What follows the table in CREATE INDEX; `None` for a type that no index can hold.
    pub index: Option<String>,
}

/// What is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Probed {
    /// The stored result of a stage; its columns by position.
    Stage(usize),
    /// A source; its columns by attribute number.
    Source(u32),
    /// The rows of the recursion around.
    Working,
}

/// Columns of a relation.
type Probe = (Probed, BTreeSet<usize>);

impl Program {
    /// Each index, besides that of its identity, that the stored result of the inner stage `stage` needs: what follows
    /// the table in CREATE INDEX.
    pub fn probes(&self, stage: usize) -> Vec<String> {
        let columns = self.stages[stage].columns();
        let probes = self.lookups(Probed::Stage(stage), |position| columns.get(position).cloned());
        let (identity, _) = self.stages[stage].index().unwrap_or_default();
        let served = |names: &String| identity == *names || identity.starts_with(&format!("{names}, "));
        probes.into_iter().filter(|(names, _)| !served(names)).filter_map(|(_, index)| index).collect()
    }

    /// Likewise for the relation `probed`, of which `column` knows the columns.
    pub(super) fn probes_of(&self, probed: Probed, column: impl Fn(usize) -> Option<Column>) -> Vec<String> {
        self.lookups(probed, column).into_iter().filter_map(|(_, index)| index).collect()
    }

    /// By which columns rows of the sources are looked up. Their indexes are their owners'.
    pub fn source_probes(&self) -> Vec<SourceProbe> {
        let mut columns = BTreeMap::new();
        for scan in self.stages.iter().flat_map(|stage| stage.body.scans()) {
            columns.extend(scan.columns.iter().map(|of| ((scan.relid, of.attnum), (of.name.0.clone(), &of.column))));
        }
        let probes: BTreeSet<Probe> = self.every_lookup().into_iter().collect();
        let in_sources = probes.into_iter().filter_map(|(probed, columns)| match probed {
            Probed::Source(relid) => Some((relid, columns)),
            Probed::Stage(_) | Probed::Working => None,
        });
        in_sources
            .map(|(relid, positions)| {
                let attnums: BTreeSet<i16> = positions.iter().filter_map(|place| i16::try_from(*place).ok()).collect();
                let of = |attnum: &i16| {
                    let (name, column) = columns.get(&(relid, *attnum))?;
                    Some(Column { name: name.clone(), ..(*column).clone() })
                };
                let known: Vec<Column> = attnums.iter().filter_map(of).collect();
                let names = list(known.iter().map(|column| Ident::new(&column.name)));
                SourceProbe { relid, index: index(&known, &names), columns: attnums }
            })
            .collect()
    }

    /// By which columns `probed` is looked up, and the index that serves it.
    fn lookups(&self, probed: Probed, column: impl Fn(usize) -> Option<Column>) -> BTreeSet<(String, Option<String>)> {
        let own = self.every_lookup().into_iter().filter(|(of, _)| *of == probed);
        own.map(|(_, probe)| {
            let columns: Vec<Column> = probe.iter().filter_map(|position| column(*position)).collect();
            let names = list(columns.iter().map(|column| Ident::new(&column.name)));
            let index = index(&columns, &names);
            (names, index)
        })
        .collect()
    }

    /// Every lookup.
    fn every_lookup(&self) -> Vec<Probe> {
        let mut found = Vec::new();
        for (place, reader) in self.stages.iter().enumerate() {
            match &reader.kind {
                StageKind::Keyed(keyed) => add(&reader.body, &keyed.partition, &mut found),
                StageKind::Shown(shown) => add(&reader.body, &shown.keyed.partition, &mut found),
                StageKind::Aggregate(state) if state.recomputes() => {
                    let keys: Vec<usize> = state.keys.iter().filter_map(Scalar::as_column).collect();
                    add(&reader.body, &keys, &mut found);
                }
                _ => {}
            }
            in_joins(&reader.body, &mut found);
            // What a step goes on from is what the recursion has stored.
            for (of, _) in found.iter_mut().filter(|(of, _)| *of == Probed::Working) {
                *of = Probed::Stage(place);
            }
        }
        found
    }
}

fn index(columns: &[Column], names: &str) -> Option<String> {
    match columns.iter().find(|column| !is_short(&column.ty)) {
        None => Some(format!("({names})")),
        Some(long) => long.ty.hash.then(|| format!("USING hash ({})", Ident::new(&long.name))),
    }
}

/// The columns of sources, by `pg_class.oid` and attribute number, that `columns` of `rel` are, unchanged.
pub fn source_columns(rel: &Rel, columns: &[usize]) -> Vec<(u32, i16)> {
    let of_source = |column: &usize| match origin(rel, *column)? {
        (Probed::Source(relid), attnum) => Some((relid, i16::try_from(attnum).ok()?)),
        _ => None,
    };
    columns.iter().filter_map(of_source).collect()
}

/// What the joins in `rel` look up.
fn in_joins(rel: &Rel, found: &mut Vec<Probe>) {
    let inputs = rel.inputs();
    inputs.iter().for_each(|input| in_joins(input, found));
    let predicates = match rel {
        Rel::Join { predicates, .. } | Rel::OuterJoin { predicates, .. } | Rel::SemiJoin { predicates, .. } => {
            predicates
        }
        _ => return,
    };
    let mut starts = vec![0];
    for input in &inputs {
        starts.push(starts[starts.len() - 1] + input.columns().len());
    }
    let place = |column: usize| {
        let input = starts.partition_point(|start| *start <= column) - 1;
        (input, column - starts[input])
    };
    let mut equated: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (a, b) in predicates.iter().filter_map(|predicate| predicate.as_equality()) {
        let ((a, x), (b, y)) = (place(a), place(b));
        equated.entry((a, b)).or_default().push(x);
        equated.entry((b, a)).or_default().push(y);
    }
    for ((input, _), columns) in equated.into_iter().filter(|((a, b), _)| a != b) {
        add(inputs[input], &columns, found);
    }
}

/// A lookup of `rel` by `columns`: those of them that are columns of a stored result or of a source.
fn add(rel: &Rel, columns: &[usize], found: &mut Vec<Probe>) {
    if let Rel::UnionAll { inputs, .. } = rel {
        return inputs.iter().for_each(|input| add(input, columns, found));
    }
    let mut relations: BTreeMap<Probed, BTreeSet<usize>> = BTreeMap::new();
    for (probed, column) in columns.iter().filter_map(|column| origin(rel, *column)) {
        relations.entry(probed).or_default().insert(column);
    }
    found.extend(relations);
}

/// The relation and column of it that `column` of `rel` is, unchanged.
fn origin(rel: &Rel, column: usize) -> Option<(Probed, usize)> {
    match rel {
        Rel::Stage { stage, .. } => Some((Probed::Stage(*stage), column)),
        Rel::Working { .. } => Some((Probed::Working, column)),
        Rel::Scan(scan) => Some((Probed::Source(scan.relid), usize::try_from(scan.columns.get(column)?.attnum).ok()?)),
        Rel::Filter { input, .. } => origin(input, column),
        Rel::Project { input, outputs } => origin(input, outputs[column].1.as_column()?),
        Rel::Join { .. } | Rel::OuterJoin { .. } | Rel::SemiJoin { .. } | Rel::Expand { .. } => {
            let mut first = 0;
            for input in rel.inputs() {
                let width = input.columns().len();
                if column < first + width {
                    return origin(input, column - first);
                }
                first += width;
            }
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::WindowDefinition;
    use crate::query::testing::{equality, int4, scan};

    fn groups(keys: &[usize]) -> Rel {
        let keys = keys.iter().map(|key| (format!("g{key}"), Scalar::column(*key, int4(), true)));
        Rel::Aggregate { input: Box::new(scan(1, &["a", "b"], &[])), keys: keys.collect(), calls: Vec::new() }
    }

    #[test]
    fn a_join_looks_up_both_of_its_sources() {
        let join = Rel::Join {
            inputs: vec![scan(1, &["a", "b"], &[]), scan(2, &["x"], &[])],
            predicates: vec![equality(1, 2)],
        };
        let probes = Program::compile(join).source_probes();
        let shown: Vec<_> = probes.iter().map(|probe| (probe.relid, probe.index.as_deref())).collect();
        assert_eq!(shown, [(1, Some("(\"b\")")), (2, Some("(\"x\")"))]);
    }

    #[test]
    fn a_join_and_a_partition_need_plain_indexes_where_keys_can_be_null() {
        let join = Rel::Join { inputs: vec![groups(&[0, 1]), scan(2, &["x"], &[])], predicates: vec![equality(1, 2)] };
        assert_eq!(Program::compile(join).probes(0), vec!["(\"k2\")"]);
        let windows = vec![WindowDefinition { name: Ident::new("w"), order: Vec::new(), frame: String::new() }];
        let window = Rel::Window {
            input: Box::new(groups(&[0, 1])),
            partition: vec![Scalar::column(0, int4(), true)],
            windows,
            calls: vec![("c".into(), Scalar::one())],
        };
        let program = Program::compile(window);
        assert_eq!(program.probes(0), vec!["(\"k1\")"]);
        assert!(program.probes(1).is_empty());
    }
}
