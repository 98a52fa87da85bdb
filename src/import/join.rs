//! Items of FROM put together → joins.
//!
//! Nested inner joins, the FROM list and all their conditions flatten into one operator: a cross product under a
//! conjunction. The engine picks the order. An outer join is an operator of its own, an input of the join around it. A RIGHT
//! join is a LEFT join with its sides exchanged.
//!
//! **A condition P of an outer join with sub-selects.** A sub-select that reads one side, or none, is a column of a side,
//! computed below the join: in all pairs of a row its value is the same. With one that reads both sides, P is asked by what
//! joins mean:
//!
//! ```text
//! L ⟕_P R = L ⟕ LATERAL σ_P(R)
//! L ⟗_P R = (L ⟕_P R) ⊎ NULL × (R ▷ LATERAL σ_P(L))
//! ```
//!
//! Rows are bags and need no key. What is evaluated for each row of L is joined with the different values of what it reads of
//! L ([`decorrelate`](pgtrickle_engine::query::rewrite::decorrelate)): they are stored, and L is read twice; for a full join both
//! sides are, and P is evaluated twice.

use super::expr::Scope;
use super::from::{kept, predicates, tree};
use super::link;
use super::select::{Importer, Level};
use crate::error::Result;
use crate::pg::nodes::{Expr, FromItem, JoinKind};
use pgtrickle_engine::query::rel::{self, ApplyKind, Side, Yield, outer_columns};
use pgtrickle_engine::query::{Column, Fragment, Rel, Scalar, Volatility, scalar};
use std::collections::HashMap;
use std::ops::Range;

/// An item of a FROM clause: inputs of an inner join and its conditions. Columns count from `start` in the scope.
#[derive(Default)]
pub(super) struct Item<'a> {
    pub(super) inputs: Vec<Input>,
    pub(super) start: usize,
    pub(super) width: usize,
    pub(super) conditions: Vec<Expr<'a>>,
}

pub(super) enum Input {
    Rel(Rel),
    /// Computed from what stands left of it, whose columns it counts from the beginning of the scope.
    Lateral(rel::Item),
}

impl Input {
    fn width(&self) -> usize {
        match self {
            Input::Rel(rel) => rel.columns().len(),
            Input::Lateral(item) => item.columns.len(),
        }
    }
}

impl<'a> Item<'a> {
    pub(super) fn one(input: Input, start: usize) -> Self {
        Item { width: input.width(), inputs: vec![input], start, conditions: Vec::new() }
    }

    pub(super) fn append(&mut self, other: Item<'a>) {
        self.width += other.width;
        self.inputs.extend(other.inputs);
        self.conditions.extend(other.conditions);
    }

    /// One relation: the inner join of the inputs under the conditions.
    pub(super) fn joined(self, importer: &Importer, level: &Level<'_, 'a>, scope: &mut Scope<'a>) -> Result<Rel> {
        let mut parts = Vec::new();
        let mut width = 0;
        for input in self.inputs {
            let own = width..width + input.width();
            let here = self.start..self.start + width;
            width = own.end;
            let (rel, before) = match input {
                Input::Lateral(item) => {
                    let left = gather(&mut parts, &read_by(scalar::columns(&item.text), &here));
                    let at = left.positions();
                    let item = over(item, &here, |place| at[&place]);
                    (Rel::Expand { input: Box::new(left.rel), item, on: Vec::new(), outer: false }, left.places)
                }
                Input::Rel(mut right) => {
                    let read = read_by(outer(&mut right), &here);
                    if read.is_empty() {
                        (right, Vec::new())
                    } else {
                        let left = gather(&mut parts, &read);
                        let at = left.positions();
                        (lateral(left.rel, beside(right, &here, |place| at[&place]), Vec::new(), false), left.places)
                    }
                }
            };
            parts.push(Part { rel, places: before.into_iter().chain(own).collect() });
        }
        let all = Part::cross(parts);
        if all.places.iter().copied().eq(0..width) {
            return link::filter(importer, level, scope, all.rel, self.start, self.conditions);
        }
        let conjuncts = self.conditions.into_iter().flat_map(Expr::conjuncts);
        let (linked, plain): (Vec<_>, Vec<_>) = conjuncts.partition(|conjunct| link::has_link(level, scope, *conjunct));
        let plain = predicates(plain, scope, self.start)?;
        let at = all.positions();
        let plain = plain.iter().map(|predicate| predicate.remap(|place| at[&place])).collect();
        let columns = all.rel.columns();
        let output = |place: usize| {
            let position = at[&place];
            let Column { name, ty, nullable } = columns[position].clone();
            (name, Scalar::column(position, ty, nullable))
        };
        let outputs = (0..width).map(output).collect();
        let rel = Rel::Project { outputs, input: Box::new(link::with_predicates(all.rel, plain)) };
        link::filter(importer, level, scope, rel, self.start, linked)
    }
}

/// Inputs of a join that are joined already: those that are computed from others are computed from no more than they read,
/// for what joins them is known only when all are there.
struct Part {
    rel: Rel,
    /// Where its columns stand among those of the join.
    places: Vec<usize>,
}

impl Part {
    /// Where the columns of the join stand among its own; of what it was gathered for, all do.
    fn positions(&self) -> HashMap<usize, usize> {
        self.places.iter().copied().zip(0..).collect()
    }

    fn cross(parts: Vec<Part>) -> Part {
        let places = parts.iter().flat_map(|part| part.places.iter().copied()).collect();
        Part { rel: cross(parts.into_iter().map(|part| part.rel).collect()), places }
    }
}

/// Takes the parts that have some of the columns.
fn gather(parts: &mut Vec<Part>, read: &[usize]) -> Part {
    Part::cross(parts.extract_if(.., |part| part.places.iter().any(|place| read.contains(place))).collect())
}

/// All pairs of rows; one row without columns when there is nothing.
fn cross(mut rels: Vec<Rel>) -> Rel {
    match rels.len() {
        0 => Rel::unit(),
        1 => rels.remove(0),
        _ => Rel::Join { inputs: rels, predicates: Vec::new() },
    }
}

/// The sides and the condition of an outer join.
pub(super) struct Operands<'a> {
    pub(super) kind: JoinKind,
    pub(super) left: FromItem<'a>,
    pub(super) right: FromItem<'a>,
    pub(super) condition: Option<Expr<'a>>,
}

/// The outer join; its columns are placed in the scope from `start` on.
pub(super) fn outer_join<'a>(
    importer: &Importer,
    level: &Level<'_, 'a>,
    scope: &mut Scope<'a>,
    operands: Operands<'a>,
    start: usize,
) -> Result<Rel> {
    let Operands { kind, left, right, condition } = operands;
    let (left, right) = if kind == JoinKind::Right { (right, left) } else { (left, right) };
    let side = if kind == JoinKind::Full { Side::Both } else { Side::Left };
    let left = tree(importer, level, scope, left, start)?.joined(importer, level, scope)?;
    // What the condition says about the rows of the padded side alone can be said of that side first.
    let first = |conjunct: &Expr<'a>| {
        side == Side::Left
            && (conjunct.reads_clock() || link::has_link(level, scope, *conjunct))
            && link::columns(level, scope, *conjunct).iter().all(Option::is_none)
    };
    let conjuncts = condition.into_iter().flat_map(Expr::conjuncts);
    let (first, rest): (Vec<Expr<'a>>, Vec<Expr<'a>>) = conjuncts.partition(first);
    let left = link::values_within(importer, level, scope, (left, start), &rest)?;
    let middle = start + left.columns().len();
    let mut right = tree(importer, level, scope, right, middle)?;
    right.conditions.extend(first);
    let is_open = |scope: &Scope<'a>| rest.iter().any(|conjunct| link::has_link(level, scope, *conjunct));
    if let ([Input::Lateral(_)], [], false) = (right.inputs.as_slice(), right.conditions.as_slice(), is_open(scope))
        && let Some(Input::Lateral(item)) = right.inputs.pop()
    {
        let item = over(item, &(start..middle), |place| place);
        return Ok(Rel::Expand { input: Box::new(left), item, on: predicates(rest, scope, start)?, outer: true });
    }
    let right = right.joined(importer, level, scope)?;
    let mut right = link::values_within(importer, level, scope, (right, middle), &rest)?;
    if is_open(scope) {
        return pairs(importer, level, scope, (left, right, side), rest, start);
    }
    let predicates = predicates(rest, scope, start)?;
    Ok(match read_by(outer(&mut right), &(start..middle)).is_empty() {
        true => Rel::OuterJoin { left: Box::new(left), right: Box::new(right), predicates, side },
        false => lateral(left, beside(right, &(start..middle), |place| place), predicates, true),
    })
}

/// The outer join under conditions with sub-selects that read both sides.
fn pairs<'a>(
    importer: &Importer,
    level: &Level<'_, 'a>,
    scope: &mut Scope<'a>,
    (left, right, side): (Rel, Rel, Side),
    conditions: Vec<Expr<'a>>,
    start: usize,
) -> Result<Rel> {
    let (wide, narrow) = (left.columns(), right.columns());
    let middle = start + wide.len();
    let end = middle + narrow.len();
    let met = scope.apart(|scope| link::filter(importer, level, scope, right.clone(), middle, conditions.clone()))?;
    let kept = lateral(left.clone(), beside(met, &(start..middle), |place| place), Vec::new(), true);
    if side == Side::Left {
        return Ok(kept);
    }
    // The left side once more, right of the right one.
    let met = scope.apart(|scope| {
        scope.shift(start..middle, end - start);
        link::filter(importer, level, scope, left, end, conditions)
    })?;
    let alone = Rel::Apply {
        left: Box::new(right),
        right: Box::new(beside(met, &(middle..end), |place| place)),
        predicates: Vec::new(),
        kind: ApplyKind::Semi(Yield::Unmatched),
    };
    Ok(Rel::UnionAll { inputs: vec![kept, padded(&wide, alone)], columns: outer_columns(&wide, &narrow, side) })
}

/// NULLs in the place of `columns`, then the columns of `rel`.
fn padded(columns: &[Column], rel: Rel) -> Rel {
    let null = |column: &Column| {
        let scalar = Scalar {
            fragments: vec![Fragment::Text(format!("NULL::{}", column.ty.sql))],
            ty: column.ty.clone(),
            volatility: Volatility::Immutable,
            nullable: true,
            fixed_scale: false,
        };
        (column.name.clone(), scalar)
    };
    let outputs = columns.iter().map(null).chain(kept(&rel.columns())).collect();
    Rel::Project { input: Box::new(rel), outputs }
}

fn lateral(left: Rel, right: Rel, predicates: Vec<Scalar>, outer: bool) -> Rel {
    Rel::Apply { left: Box::new(left), right: Box::new(right), predicates, kind: ApplyKind::Lateral { outer } }
}

/// The columns of the scope left of the relation that it reads.
fn outer(rel: &mut Rel) -> Vec<usize> {
    let mut read = Vec::new();
    rel.for_each_outer(&mut |depth, column| {
        if *depth == 1 {
            read.push(*column);
        }
    });
    read
}

/// Those of `columns` that are among `own`, counted from its beginning.
fn read_by(columns: impl IntoIterator<Item = usize>, own: &Range<usize>) -> Vec<usize> {
    columns.into_iter().filter(|column| own.contains(column)).map(|column| column - own.start).collect()
}

/// The relation in the right side of an Apply whose left side has the columns `own` of the scope, each `at` its position.
fn beside(mut rel: Rel, own: &Range<usize>, at: impl Fn(usize) -> usize) -> Rel {
    rel.for_each_outer(&mut |depth, column| match *depth == 1 && own.contains(column) {
        true => *column = at(*column - own.start),
        false => *depth += 1,
    });
    rel
}

/// The item over rows with the columns `own` of the scope, each `at` its position.
fn over(item: rel::Item, own: &Range<usize>, at: impl Fn(usize) -> usize) -> rel::Item {
    let moved = |fragment: &Fragment| match fragment {
        Fragment::Column(place) if own.contains(place) => Fragment::Column(at(place - own.start)),
        Fragment::Column(place) => Fragment::Outer { depth: 1, column: *place },
        other => other.clone(),
    };
    rel::Item { text: item.text.iter().map(moved).collect(), ..item }
}
