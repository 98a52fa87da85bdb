//! Takes correlated predicates out of the right side of an Apply; see [`super::decorrelate`].

use super::decorrelate::{is_correlated, kept, reads_outer};
use crate::query::rel::{AggregateCall, AggregateFunction, Side};
use crate::query::scalar::is_equals;
use crate::query::{Column, Fragment, Rel, Scalar};

/// A predicate that was lifted, over the lifted relation's columns and outer ones.
#[derive(Clone, Debug)]
pub(super) struct Predicate {
    pub(super) scalar: Scalar,
    /// It says that this outer column equals this column.
    pub(super) binds: Option<(usize, usize)>,
}

/// A right side without correlation.
#[derive(Debug)]
pub(super) struct Lifted {
    pub(super) rel: Rel,
    /// The original's columns, over those of `rel` and outer ones.
    pub(super) columns: Vec<Scalar>,
    pub(super) names: Vec<String>,
    /// What the original's rows meet for an outer row, and those of `rel` do not.
    pub(super) predicates: Vec<Predicate>,
    /// The original has this one row where no row of `rel` meets the predicates.
    pub(super) absent: Option<Vec<Scalar>>,
}

/// `None` when correlation sits where it cannot be taken out.
pub(super) fn lift(rel: Rel) -> Option<Lifted> {
    if !is_correlated(&rel) {
        return Some(plain(rel));
    }
    match rel {
        Rel::Filter { input, predicates } => filter(lift(*input)?, &predicates),
        Rel::Project { input, outputs } => {
            let below = lift(*input)?;
            if outputs.iter().any(|(_, scalar)| scalar.reads_clock()) {
                return with_truths(below, &outputs);
            }
            let over = |values: &[Scalar]| -> Vec<Scalar> {
                outputs.iter().map(|(_, scalar)| scalar.substitute(|i| values[i].clone())).collect()
            };
            Some(Lifted {
                columns: over(&below.columns),
                names: outputs.iter().map(|(name, _)| name.clone()).collect(),
                absent: below.absent.as_ref().map(|absent| over(absent)),
                ..below
            })
        }
        Rel::Join { inputs, predicates } => join(inputs, &predicates),
        Rel::OuterJoin { left, right, predicates, side: Side::Left } if !is_correlated(&right) => {
            let (below, predicates) = beside(*left, &predicates)?;
            let width = below.rel.columns().len();
            let more = right.columns();
            let rel = Rel::OuterJoin { left: Box::new(below.rel), right, predicates, side: Side::Left };
            let added = more.iter().enumerate().map(|(i, c)| Scalar::column(width + i, c.ty.clone(), true));
            let columns = below.columns.into_iter().chain(added).collect();
            let names = below.names.into_iter().chain(more.iter().map(|c| c.name.clone())).collect();
            Some(Lifted { rel, columns, names, predicates: below.predicates, absent: None })
        }
        Rel::SemiJoin { left, right, predicates, yields } if !is_correlated(&right) => {
            let (below, predicates) = beside(*left, &predicates)?;
            let width = below.rel.columns().len();
            let rel = Rel::SemiJoin { left: Box::new(below.rel), right, predicates, yields };
            let mut columns = below.columns;
            let mut names = below.names;
            if let Some(mark) = rel.columns().get(width) {
                columns.push(Scalar::column(width, mark.ty.clone(), false));
                names.push(mark.name.clone());
            }
            Some(Lifted { rel, columns, names, predicates: below.predicates, absent: None })
        }
        Rel::Distinct { input } => {
            let keys = kept(&input.columns()).collect();
            aggregate(lift(*input)?, keys, Vec::new())
        }
        Rel::Aggregate { input, keys, calls } => aggregate(lift(*input)?, keys, calls),
        Rel::Window { input, partition, mut windows, calls } => {
            let (below, partition) = partitioned(lift(*input)?, &partition)?;
            for item in windows.iter_mut().flat_map(|window| &mut window.order) {
                item.value = below.own(&item.value)?;
            }
            let moved = |(name, call): (String, Scalar)| Some((name, below.own(&call)?));
            let calls: Vec<(String, Scalar)> = calls.into_iter().map(moved).collect::<Option<_>>()?;
            let width = below.rel.columns().len();
            let added = calls.iter().enumerate().map(|(i, (_, call))| Scalar::column(width + i, call.ty.clone(), true));
            let columns = below.columns.into_iter().chain(added).collect();
            let names = below.names.into_iter().chain(calls.iter().map(|(name, _)| name.clone())).collect();
            let rel = Rel::Window { input: Box::new(below.rel), partition, windows, calls };
            Some(Lifted { rel, columns, names, predicates: below.predicates, absent: None })
        }
        Rel::TopK { input, partition, mut order, limit, offset, with_ties } => {
            let (below, partition) = partitioned(lift(*input)?, &partition)?;
            for item in &mut order {
                item.value = below.own(&item.value)?;
            }
            if limit.iter().chain(&offset).any(reads_outer) {
                return None;
            }
            let Lifted { rel, columns, names, predicates, .. } = below;
            let rel = Rel::TopK { input: Box::new(rel), partition, order, limit, offset, with_ties };
            Some(Lifted { rel, columns, names, predicates, absent: None })
        }
        _ => None,
    }
}

/// Outputs that read the clock stay where they are read from: above them they are columns.
fn with_truths(below: Lifted, outputs: &[(String, Scalar)]) -> Option<Lifted> {
    if below.absent.is_some() {
        return None;
    }
    let mut inner: Vec<(String, Scalar)> = kept(&below.rel.columns()).collect();
    let mut columns = Vec::new();
    for (name, output) in outputs {
        let value = output.substitute(|i| below.columns[i].clone());
        columns.push(match value.reads_clock() {
            false => value,
            true if reads_outer(&value) => return None,
            true => {
                inner.push((name.clone(), value.clone()));
                Scalar::column(inner.len() - 1, value.ty, value.nullable)
            }
        });
    }
    let rel = Rel::Project { input: Box::new(below.rel), outputs: inner };
    let names = outputs.iter().map(|(name, _)| name.clone()).collect();
    Some(Lifted { rel, columns, names, ..below })
}

fn plain(rel: Rel) -> Lifted {
    let columns = rel.columns();
    Lifted {
        columns: kept(&columns).map(|(_, scalar)| scalar).collect(),
        names: columns.into_iter().map(|column| column.name).collect(),
        predicates: Vec::new(),
        absent: None,
        rel,
    }
}

fn filter(below: Lifted, predicates: &[Scalar]) -> Option<Lifted> {
    if below.absent.is_some() {
        return None;
    }
    let (rel, lifted) = split(below.rel, predicates, &below.columns);
    Some(Lifted { rel, predicates: below.predicates.into_iter().chain(lifted).collect(), ..below })
}

/// `rel` under those of `predicates` over `columns` that read no outer row; and the others.
fn split(rel: Rel, predicates: &[Scalar], columns: &[Scalar]) -> (Rel, Vec<Predicate>) {
    let moved = predicates.iter().map(|predicate| predicate.substitute(|i| columns[i].clone()));
    let (outer, own): (Vec<Scalar>, Vec<Scalar>) = moved.partition(reads_outer);
    let rel = match rel {
        rel if own.is_empty() => rel,
        Rel::Join { inputs, mut predicates } => {
            predicates.extend(own);
            Rel::Join { inputs, predicates }
        }
        rel => Rel::Filter { input: Box::new(rel), predicates: own },
    };
    (rel, outer.into_iter().map(Predicate::of).collect())
}

fn join(inputs: Vec<Rel>, predicates: &[Scalar]) -> Option<Lifted> {
    let mut all = plain(Rel::Join { inputs: Vec::new(), predicates: Vec::new() });
    let mut rels = Vec::new();
    let mut width = 0;
    for input in inputs {
        let below = lift(input)?;
        if below.absent.is_some() {
            return None;
        }
        let shifted = |scalar: &Scalar| scalar.remap(|place| place + width);
        all.columns.extend(below.columns.iter().map(shifted));
        all.names.extend(below.names);
        all.predicates.extend(below.predicates.iter().map(|predicate| predicate.shifted(width)));
        width += below.rel.columns().len();
        rels.push(below.rel);
    }
    let (rel, lifted) = split(Rel::Join { inputs: rels, predicates: Vec::new() }, predicates, &all.columns);
    all.predicates.extend(lifted);
    Some(Lifted { rel, ..all })
}

/// The left side of a join that keeps its rows, and the join's predicates over the lifted one; the right side's columns
/// follow at once.
fn beside(left: Rel, predicates: &[Scalar]) -> Option<(Lifted, Vec<Scalar>)> {
    let before = left.columns().len();
    let below = lift(left)?;
    let width = below.rel.columns().len();
    let moved = predicates.iter().map(|predicate| {
        predicate.substitute(|place| match place < before {
            true => below.columns[place].clone(),
            false => Scalar::column(place - before + width, predicate.ty.clone(), false),
        })
    });
    let moved: Vec<Scalar> = moved.collect();
    (below.absent.is_none() && !moved.iter().any(reads_outer)).then_some((below, moved))
}

/// What is below an operator on partitions, and its partitions, each of them split by what binds an outer row: then a row
/// of a partition is there for an outer row when all of them are.
fn partitioned(below: Lifted, partition: &[Scalar]) -> Option<(Lifted, Vec<Scalar>)> {
    if below.absent.is_some() {
        return None;
    }
    let columns = below.rel.columns();
    let mut all = partition.iter().map(|scalar| below.own(scalar)).collect::<Option<Vec<_>>>()?;
    for predicate in &below.predicates {
        let (_, column) = predicate.binds?;
        let bound = &columns[column];
        bound.ty.eq.as_ref()?;
        if !all.iter().any(|scalar| scalar.as_column() == Some(column)) {
            all.push(Scalar::column(column, bound.ty.clone(), bound.nullable));
        }
    }
    Some((below, all))
}

impl Lifted {
    /// An expression over the original's columns, over those of `rel`; `None` when it reads an outer row.
    fn own(&self, scalar: &Scalar) -> Option<Scalar> {
        let moved = scalar.substitute(|i| self.columns[i].clone());
        (!reads_outer(&moved)).then_some(moved)
    }
}

fn aggregate(below: Lifted, keys: Vec<(String, Scalar)>, calls: Vec<(String, AggregateCall)>) -> Option<Lifted> {
    let over = |scalar: &Scalar| scalar.substitute(|i| below.columns[i].clone());
    let own: Vec<(String, Scalar)> = keys.iter().map(|(name, key)| (name.clone(), over(key))).collect();
    let moved: Vec<(String, AggregateCall)> = calls.iter().map(|(name, call)| (name.clone(), call.map(over))).collect();
    let reads = own.iter().any(|(_, key)| reads_outer(key)) || moved.iter().any(|(_, call)| reads_outer(&call.call));
    if below.absent.is_some() || reads {
        return None;
    }
    let columns = below.rel.columns();
    let mut by: Vec<usize> = Vec::new();
    for predicate in &below.predicates {
        let (_, column) = predicate.binds?;
        columns[column].ty.eq.as_ref()?;
        if !by.contains(&column) {
            by.push(column);
        }
    }
    let extra = by.iter().map(|column| {
        let kept = &columns[*column];
        (kept.name.clone(), Scalar::column(*column, kept.ty.clone(), kept.nullable))
    });
    let place = |column: usize| by.iter().position(|kept| *kept == column).unwrap_or(column);
    let predicates = below.predicates.iter().map(|predicate| predicate.remap(place)).collect();
    let global = own.is_empty() && !by.is_empty();
    let absent = global.then(|| moved.iter().map(|(_, call)| over_no_rows(call, &columns)).collect());
    let rel = Rel::Aggregate { input: Box::new(below.rel), keys: extra.chain(own).collect(), calls: moved };
    let yielded: Vec<(String, Scalar)> = kept(&rel.columns()).skip(by.len()).collect();
    let (names, columns) = yielded.into_iter().unzip();
    Some(Lifted { rel, columns, names, predicates, absent })
}

/// The value of an aggregate call over no rows.
pub(super) fn over_no_rows(call: &AggregateCall, columns: &[Column]) -> Scalar {
    use AggregateFunction as F;
    let fragments = match call.function {
        F::CountStar | F::Count => vec![Fragment::Text("0::pg_catalog.int8".into())],
        F::Recompute => computed_over_no_rows(&call.call, columns),
        _ => vec![Fragment::Text(format!("NULL::{}", call.call.ty.sql))],
    };
    Scalar { fragments, nullable: true, fixed_scale: false, ..call.call.clone() }
}

/// `(SELECT call WHERE false)`. What it reads of outer rows are columns of a row of its own: a call over nothing but columns of an
/// outer query would be a call of that query.
fn computed_over_no_rows(call: &Scalar, columns: &[Column]) -> Vec<Fragment> {
    let text = |text: String| Fragment::Text(text);
    let mut outer = Vec::new();
    let mut fragments = vec![text("(SELECT ".into())];
    fragments.extend(call.fragments.iter().map(|fragment| match fragment {
        // A subscript that follows is none of the type.
        Fragment::Column(place) => text(format!("(NULL::{})", columns[*place].ty.sql)),
        Fragment::Outer { .. } => {
            outer.push(fragment.clone());
            text(format!("outer_row.c{}", outer.len()))
        }
        other => other.clone(),
    }));
    if !outer.is_empty() {
        for (number, column) in (1..).zip(outer) {
            fragments.push(text(if number == 1 { " FROM (SELECT " } else { ", " }.into()));
            fragments.push(column);
            fragments.push(text(format!(" AS c{number}")));
        }
        fragments.push(text(") AS outer_row".into()));
    }
    fragments.push(text(" WHERE false)".into()));
    fragments
}

impl Predicate {
    fn of(scalar: Scalar) -> Self {
        use Fragment::{Column, Outer, Text};
        let binds = match scalar.fragments.as_slice() {
            [Text(open), Outer { depth: 0, column: outer }, Text(equals), Column(column), Text(close)]
            | [Text(open), Column(column), Text(equals), Outer { depth: 0, column: outer }, Text(close)]
                if open == "(" && is_equals(equals) && close == ")" =>
            {
                Some((*outer, *column))
            }
            _ => None,
        };
        Predicate { scalar, binds }
    }

    fn shifted(&self, by: usize) -> Self {
        self.remap(|place| place + by)
    }

    pub(super) fn remap(&self, place: impl Fn(usize) -> usize) -> Self {
        Predicate { scalar: self.scalar.remap(&place), binds: self.binds.map(|(outer, column)| (outer, place(column))) }
    }
}
