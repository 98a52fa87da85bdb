//! FROM and WHERE → joins.
//!
//! Nested inner joins, the FROM list and all their conditions flatten into one operator: a cross product under a
//! conjunction. The engine picks the order. An outer join is an operator of its own, an input of the join around it.
//!
//! An item whose rows are read as values has them as one more column, number 0 in the range table.

use super::expr::Scope;
use super::link;
use super::select::{Importer, Inside, Level};
use super::unsupported;
use super::{item, recursion, row};
use crate::error::{Error, Result};
use crate::pg::computed::Computed;
use crate::pg::nodes::{Entry, Expr, FromItem, JoinKind, Query};
use crate::pg::relation::{Attribute, Generated, Relation, RelationKind};
use crate::pg::source::members;
use crate::pg::types::is_domain;
use pgtrickle_engine::query::rel::{self, ApplyKind, ScanColumn, Side};
use pgtrickle_engine::query::{Column, Fragment, Rel, Scalar, Scan, scalar};
use pgtrickle_engine::sql::Ident;
use std::collections::HashMap;

/// The rows that a SELECT starts from.
pub(super) struct From<'a> {
    pub(super) rel: Rel,
    pub(super) scope: Scope<'a>,
}

/// An item of a FROM clause: inputs of an inner join and its conditions. Columns count from `start` in the scope.
struct Item<'a> {
    inputs: Vec<Input>,
    start: usize,
    width: usize,
    conditions: Vec<Expr<'a>>,
}

enum Input {
    Rel(Rel),
    /// Computed from what stands left of it, whose columns it counts from the beginning of the scope.
    Lateral(rel::Item),
    /// A sub-select that is evaluated for each row of what stands left of it; likewise.
    Applied(Rel),
}

impl Input {
    fn width(&self) -> usize {
        match self {
            Input::Rel(rel) => rel.columns().len(),
            Input::Lateral(item) => item.columns.len(),
            Input::Applied(rel) => rel.columns().len(),
        }
    }
}

/// The FROM clause of the level's query, filtered by its WHERE condition.
pub(super) fn import<'a>(importer: &Importer, level: &Level<'_, 'a>) -> Result<From<'a>> {
    let query = level.query;
    let mut scope = Scope::new(importer.deparser(query, &[]), level);
    let mut all = Item { inputs: Vec::new(), start: 0, width: 0, conditions: Vec::new() };
    for item in query.from() {
        let next = all.width;
        all.append(tree(importer, level, &mut scope, item, next)?);
    }
    all.conditions.extend(query.condition());
    let rel = all.joined(importer, level, &mut scope)?;
    Ok(From { rel, scope })
}

impl<'a> Item<'a> {
    fn one(input: Input, start: usize) -> Self {
        Item { width: input.width(), inputs: vec![input], start, conditions: Vec::new() }
    }

    fn append(&mut self, other: Item<'a>) {
        self.width += other.width;
        self.inputs.extend(other.inputs);
        self.conditions.extend(other.conditions);
    }

    /// Adds conditions that read the clock, if they read nothing but this item.
    fn keep_where(&mut self, conditions: Vec<Expr<'a>>, scope: &Scope<'a>) -> Result<()> {
        for condition in conditions {
            let own = self.start..self.start + self.width;
            if !scope.predicate(condition)?.columns().iter().all(|place| own.contains(place)) {
                return Err(moving_condition());
            }
            self.conditions.push(condition);
        }
        Ok(())
    }

    /// One relation: the inner join of the inputs under the conditions.
    fn joined(self, importer: &Importer, level: &Level<'_, 'a>, scope: &mut Scope<'a>) -> Result<Rel> {
        let mut parts = Vec::new();
        let mut width = 0;
        for input in self.inputs {
            let own = width..width + input.width();
            width = own.end;
            let (rel, before) = match input {
                Input::Rel(rel) => (rel, Vec::new()),
                Input::Lateral(item) => {
                    let item = moved(item, self.start)?;
                    let read = scalar::columns(&item.text);
                    let left = gather(&mut parts, &read);
                    let at = left.positions(read)?;
                    let text = scalar::remap(&item.text, |place| at[&place]);
                    let item = rel::Item { text, ..item };
                    (Rel::Expand { input: Box::new(left.rel), item, on: Vec::new(), outer: false }, left.places)
                }
                Input::Applied(right) => {
                    let mut right = moved_rel(right, self.start)?;
                    let mut read = Vec::new();
                    right.for_each_outer(1, &mut |place| read.push(*place));
                    let left = gather(&mut parts, &read);
                    let at = left.positions(read)?;
                    right.for_each_outer(1, &mut |place| *place = at[place]);
                    (applied(left.rel, right, Vec::new(), false), left.places)
                }
            };
            parts.push(Part { rel, places: before.into_iter().chain(own).collect() });
        }
        let all = Part::cross(parts);
        if all.places.iter().copied().eq(0..width) {
            return link::filter(importer, level, scope, all.rel, self.start, self.conditions);
        }
        let conjuncts = self.conditions.into_iter().flat_map(Expr::conjuncts);
        let (linked, plain): (Vec<_>, Vec<_>) = conjuncts.partition(|conjunct| link::has_link(level, *conjunct));
        let plain = predicates(plain, scope, self.start)?;
        let at = all.positions(0..width)?;
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
    /// Where these columns of the join stand among its own.
    fn positions(&self, places: impl IntoIterator<Item = usize>) -> Result<HashMap<usize, usize>> {
        let found = |place| {
            let position = self.places.iter().position(|other| *other == place);
            let missing = || Error::Internal(format!("column {place} of a join is nowhere"));
            Ok((place, position.ok_or_else(missing)?))
        };
        places.into_iter().map(found).collect()
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

fn applied(left: Rel, right: Rel, predicates: Vec<Scalar>, outer: bool) -> Rel {
    Rel::Apply { left: Box::new(left), right: Box::new(right), predicates, kind: ApplyKind::Lateral { outer } }
}

/// The right side of an Apply, its left side's columns counted from `start`.
fn moved_rel(mut right: Rel, start: usize) -> Result<Rel> {
    let mut outside = false;
    right.for_each_outer(1, &mut |column| match column.checked_sub(start) {
        Some(moved) => *column = moved,
        None => outside = true,
    });
    if outside {
        let reason = "It is evaluated for each row of that table, but joined to other rows first.";
        return Err(unsupported("a LATERAL sub-select that reads a table from outside its outer join", reason));
    }
    Ok(right)
}

/// The item over columns that count from `start`.
fn moved(item: rel::Item, start: usize) -> Result<rel::Item> {
    if scalar::columns(&item.text).iter().any(|place| *place < start) {
        let reason = "It is evaluated for each row of that table, but joined to other rows first.";
        return Err(unsupported("a function that reads a table from outside its outer join", reason));
    }
    Ok(rel::Item { text: scalar::remap(&item.text, |place| place - start), ..item })
}

fn moving_condition() -> Error {
    let reason = "Matches would come and go with the clock alone on both sides.";
    unsupported("now() and its kin in the condition of an outer join about its kept side", reason)
}

/// The conjuncts of `conditions` over columns that count from `start`.
pub(super) fn predicates<'a>(conditions: Vec<Expr<'a>>, scope: &Scope<'a>, start: usize) -> Result<Vec<Scalar>> {
    let conjuncts = conditions.into_iter().flat_map(Expr::conjuncts);
    conjuncts.map(|conjunct| Ok(scope.predicate(conjunct)?.remap(|place| place - start))).collect()
}

/// The item's tree; its columns are placed in the scope from `start` on.
fn tree<'a>(
    importer: &Importer,
    level: &Level<'_, 'a>,
    scope: &mut Scope<'a>,
    item: FromItem<'a>,
    start: usize,
) -> Result<Item<'a>> {
    match item {
        FromItem::Entry(index) => {
            let input = match level.query.entry(index) {
                Entry::Subquery { query, lateral: true } => {
                    lateral_entry(importer, level, scope, (index, query), start)?
                }
                Entry::Computed(computed) => {
                    return computed_entry(importer, level, scope, (index, computed), start);
                }
                entry => Input::Rel(self::entry(importer, level, scope, (index, entry), start)?),
            };
            Ok(Item::one(input, start))
        }
        FromItem::Join { kind, left, right, condition } => {
            let mut left = tree(importer, level, scope, *left, start)?;
            let mut right = tree(importer, level, scope, *right, start + left.width)?;
            if kind == JoinKind::Inner {
                left.append(right);
                left.conditions.extend(condition);
                return Ok(left);
            }
            let conditions = condition.into_iter().flat_map(Expr::conjuncts);
            let (moving, fixed): (Vec<Expr<'a>>, Vec<Expr<'a>>) = conditions.partition(|c| c.reads_clock());
            // What the condition says about the rows of the padded side alone can be said of that side first.
            match kind {
                JoinKind::Left => right.keep_where(moving, scope)?,
                JoinKind::Right => left.keep_where(moving, scope)?,
                _ if moving.is_empty() => {}
                _ => return Err(moving_condition()),
            }
            let predicates = predicates(fixed, scope, start)?;
            let left = left.joined(importer, level, scope)?;
            let rel = match right.inputs.pop() {
                Some(Input::Lateral(item)) if right.inputs.is_empty() => {
                    let item = moved(item, start)?;
                    Rel::Expand { input: Box::new(left), item, on: predicates, outer: true }
                }
                Some(Input::Applied(inner)) if right.inputs.is_empty() => {
                    applied(left, moved_rel(inner, start)?, predicates, true)
                }
                last => {
                    right.inputs.extend(last);
                    outer_join(left, right.joined(importer, level, scope)?, predicates, kind)
                }
            };
            Ok(Item::one(Input::Rel(rel), start))
        }
    }
}

fn outer_join(left: Rel, right: Rel, predicates: Vec<Scalar>, kind: JoinKind) -> Rel {
    let side = if kind == JoinKind::Full { Side::Both } else { Side::Left };
    if kind != JoinKind::Right {
        return Rel::OuterJoin { left: Box::new(left), right: Box::new(right), predicates, side };
    }
    // A right join is the left join of the sides exchanged, its columns put back in their order.
    let (width, other) = (left.columns().len(), right.columns().len());
    let predicates =
        predicates.iter().map(|p| p.remap(|place| if place < width { place + other } else { place - width })).collect();
    let mirrored = Rel::OuterJoin { left: Box::new(right), right: Box::new(left), predicates, side };
    let columns = mirrored.columns();
    let order = (other..other + width).chain(0..other);
    let output = |place: usize| {
        let Column { name, ty, nullable } = columns[place].clone();
        (name, Scalar::column(place, ty, nullable))
    };
    Rel::Project { outputs: order.map(output).collect(), input: Box::new(mirrored) }
}

/// A sub-select that reads columns of what stands left of it; it counts them from the beginning of the scope.
fn lateral_entry<'a>(
    importer: &Importer,
    level: &Level<'_, 'a>,
    scope: &mut Scope<'a>,
    (index, query): (usize, Query<'a>),
    start: usize,
) -> Result<Input> {
    let around = level.around(Inside { scope, start: 0 });
    let rel = importer.select(&around.applied(query)?)?;
    Ok(Input::Applied(placed(level, scope, index, rel, start)))
}

/// An item that reads columns is computed for each row of what stands left of it, another one once. The values of
/// sub-selects that it uses are one more row to the left of it.
fn computed_entry<'a>(
    importer: &Importer,
    level: &Level<'_, 'a>,
    scope: &mut Scope<'a>,
    (index, computed): (usize, Computed<'a>),
    start: usize,
) -> Result<Item<'a>> {
    let values = link::values_from(importer, level, scope, (Rel::unit(), start), computed.exprs().into_iter())?;
    let linked = values.columns().len();
    let (mut item, mut numbers) = item::of(scope, computed)?;
    if let Some(ty) = level.whole_row(index) {
        item = row::beside(item, &level.query.column_names(index), ty);
        numbers.insert(0, 0);
    }
    for (position, number) in numbers.into_iter().enumerate() {
        scope.place((index, number), start + linked + position);
    }
    let lateral = item.text.iter().any(|fragment| matches!(fragment, Fragment::Column(_)));
    let input = match lateral {
        true => Input::Lateral(item),
        false => Input::Rel(Rel::Expand { input: Box::new(Rel::unit()), item, on: Vec::new(), outer: false }),
    };
    let mut all = Item::one(input, start + linked);
    if linked > 0 {
        all = Item {
            inputs: [Input::Rel(values)].into_iter().chain(all.inputs).collect(),
            start,
            width: linked + all.width,
            ..all
        };
    }
    Ok(all)
}

fn entry<'a>(
    importer: &Importer,
    level: &Level<'_, 'a>,
    scope: &mut Scope<'a>,
    (index, entry): (usize, Entry<'a>),
    start: usize,
) -> Result<Rel> {
    let rel = match entry {
        Entry::Relation { relid, only } => return scan(importer, scope, (level, index), (relid, only), start),
        Entry::Subquery { query, .. } => importer.select(&level.inner(query)?)?,
        Entry::Cte { name, recursive: true, .. } => recursion::working(importer, &name)?,
        Entry::Cte { name, levels_up, .. } => with_item(importer, level, &name, levels_up)?,
        Entry::Computed(_) => return Err(Error::Internal("a computed entry is no relation".into())),
        Entry::Other(construct) => {
            return Err(unsupported(construct, "Only tables, views and sub-selects can be watched for changes."));
        }
    };
    Ok(placed(level, scope, index, rel, start))
}

/// The rows of an item whose columns count from 1, and if it is read the whole row.
fn placed<'a>(level: &Level<'_, 'a>, scope: &mut Scope<'a>, index: usize, rel: Rel, start: usize) -> Rel {
    let width = rel.columns().len();
    for position in 0..width {
        scope.place((index, position as i16 + 1), start + position);
    }
    let Some(ty) = level.whole_row(index) else { return rel };
    scope.place((index, 0), start + width);
    let fields: Vec<(String, usize)> = level.query.column_names(index).into_iter().zip(0..width).collect();
    row::with(rel, &fields, ty, false)
}

/// The table's stored columns, then those that are computed from them whenever they are read.
fn scan<'a>(
    importer: &Importer,
    scope: &mut Scope<'a>,
    (level, index): (&Level<'_, 'a>, usize),
    (relid, only): (u32, bool),
    start: usize,
) -> Result<Rel> {
    importer.count_scan()?;
    let query = level.query;
    let relation = Relation::load(relid).ok_or_else(|| Error::SourceDropped(format!("OID {relid}")))?;
    check_kind(&relation, only)?;
    if level.whole_row(index).is_some() && is_polled(&relation) {
        let reason = "Its columns can be renamed without its readers being told.";
        return Err(unsupported(format!("whole rows of {}", relation.name), reason));
    }
    // Keys and NOT NULL hold for the rows of partitions, but need not for those of inheritance children, and nobody makes a
    // foreign server keep them.
    let foreign = relation.kind == RelationKind::ForeignTable;
    let unproven = foreign || (relation.has_children && relation.kind == RelationKind::Table);
    let (stored, computed): (Vec<&Attribute>, Vec<&Attribute>) =
        relation.columns.iter().partition(|column| column.generated != Generated::Virtual);
    for (position, column) in stored.iter().chain(&computed).enumerate() {
        scope.place((index, column.attnum), start + position);
    }
    let position = |attnum: &i16| stored.iter().position(|column| column.attnum == *attnum);
    let keys = relation.keys.iter().filter(|_| !unproven).filter_map(|key| key.iter().map(position).collect());
    let scan = Rel::Scan(Scan {
        relid,
        name: relation.name.clone(),
        keys: keys.collect(),
        columns: stored.iter().map(|column| scan_column(column, unproven)).collect(),
        only,
        whole: level.whole_row(index).is_some(),
    });
    let mut rel = scan;
    if !computed.is_empty() {
        let mut outputs: Vec<(String, Scalar)> = kept(&rel.columns()).collect();
        for column in &computed {
            let value = scope.scalar(query.generated_column(index, column.attnum))?.remap(|place| place - start);
            outputs.push((column.name.clone(), value));
        }
        rel = Rel::Project { input: Box::new(rel), outputs };
    }
    let Some(ty) = level.whole_row(index) else { return Ok(rel) };
    scope.place((index, 0), start + relation.columns.len());
    let place = |column: &Attribute| {
        let position = stored.iter().chain(&computed).position(|other| other.attnum == column.attnum);
        let missing = || Error::Internal(format!("column \"{}\" of a row is nowhere", column.name));
        Ok((column.name.clone(), position.ok_or_else(missing)?))
    };
    let fields: Vec<(String, usize)> = relation.columns.iter().map(place).collect::<Result<_>>()?;
    let dropped = relation.columns.last().is_some_and(|last| last.attnum as usize > relation.columns.len());
    Ok(row::with(rel, &fields, ty, dropped))
}

/// The columns, unchanged.
pub(super) fn kept(columns: &[Column]) -> impl Iterator<Item = (String, Scalar)> {
    columns.iter().enumerate().map(|(i, c)| (c.name.clone(), Scalar::column(i, c.ty.clone(), c.nullable)))
}

/// It is compared with a snapshot of it.
fn is_polled(relation: &Relation) -> bool {
    matches!(relation.kind, RelationKind::ForeignTable | RelationKind::MaterializedView)
}

fn scan_column(attribute: &Attribute, unproven: bool) -> ScanColumn {
    let nullable = unproven || !attribute.not_null;
    ScanColumn {
        attnum: attribute.attnum,
        name: Ident::new(&attribute.name),
        column: Column { name: attribute.name.clone(), ty: attribute.ty.clone(), nullable },
        domain: is_domain(&attribute.ty),
    }
}

/// Only what the capture triggers see completely can be scanned, and what is compared with a snapshot of it.
pub(super) fn check_kind(relation: &Relation, only: bool) -> Result<()> {
    let refused = |construct: &str, name, reason| Err(unsupported(format!("{construct} {name}"), reason));
    if relation.is_catalog {
        return refused("the system catalog", &relation.name, "Triggers cannot be created on system catalogs.");
    }
    if only && relation.has_children {
        let reason = "The rows of its children are captured together with its own.";
        return refused("ONLY of the inheritance parent", &relation.name, reason);
    }
    if relation.kind == RelationKind::ForeignTable {
        return Ok(());
    }
    for member in members(relation.relid).into_iter().filter_map(Relation::load) {
        if let Some((construct, reason)) = member.uncapturable() {
            return refused(construct, &member.name, reason);
        }
    }
    Ok(())
}

/// A copy of the tree of a WITH item of the query that is `levels_up` levels further out.
fn with_item(importer: &Importer, level: &Level<'_, '_>, name: &str, levels_up: usize) -> Result<Rel> {
    let missing = || Error::Internal(format!("WITH item \"{name}\" is nowhere"));
    let mut owner = level;
    for _ in 0..levels_up {
        owner = owner.outer.ok_or_else(missing)?;
    }
    let item = owner.query.cte(name).ok_or_else(missing)?;
    let owner = owner.with_item_used_at(level);
    let inner = owner.inner(item.query.ok_or_else(missing)?)?;
    if item.recursive { recursion::import(importer, &inner, name) } else { importer.select(&inner) }
}
