//! The items of FROM → what [`join`] puts together.
//!
//! An item stands in the right side of an Apply to the row of what stands left of it: columns of that, counted from the beginning
//! of the clause, are its [`Fragment::Outer`] of depth 1, those of queries further out one more.
//!
//! An item whose rows are read as values has them as one more column, number 0 in the range table.

use super::expr::{Scope, over_own};
use super::join::{self, Input, Item, Operands};
use super::link;
use super::select::{Importer, Inside, Level};
use super::unsupported;
use super::{implied, item, recursion, row};
use crate::error::{Error, Result};
use crate::pg::computed::Computed;
use crate::pg::nodes::{Entry, Expr, FromItem, JoinKind};
use crate::pg::relation::{Attribute, Generated, Relation, RelationKind};
use crate::pg::source::members;
use crate::pg::types::is_domain;
use pgtrickle_engine::query::rel::ScanColumn;
use pgtrickle_engine::query::{Column, Fragment, Rel, Scalar, Scan};
use pgtrickle_engine::sql::Ident;

/// The rows that a SELECT starts from.
pub(super) struct From<'a> {
    pub(super) rel: Rel,
    pub(super) scope: Scope<'a>,
}

/// The FROM clause of the level's query, filtered by its WHERE condition.
pub(super) fn import<'a>(importer: &Importer, level: &Level<'_, 'a>) -> Result<From<'a>> {
    let query = level.query;
    let walked = &level.in_from();
    let mut scope = Scope::new(importer.deparser(query, &[]), walked);
    let mut all = Item::default();
    for item in query.from() {
        let next = all.width;
        all.append(tree(importer, walked, &mut scope, item, next)?);
    }
    all.conditions.extend(query.condition());
    let mut rel = all.joined(importer, walked, &mut scope)?;
    // Nothing stands left of them all.
    rel.for_each_outer(&mut |depth, _| *depth -= 1);
    scope.see_from(level);
    Ok(From { rel, scope })
}

/// The conjuncts of `conditions`, and what they imply, over columns that count from `start`.
pub(super) fn predicates<'a>(conditions: Vec<Expr<'a>>, scope: &Scope<'a>, start: usize) -> Result<Vec<Scalar>> {
    let mut found = Vec::new();
    for conjunct in conditions.into_iter().flat_map(Expr::conjuncts) {
        found.push(over_own(&scope.predicate(conjunct)?, start));
        found.extend(implied::predicates(conjunct, scope, start)?);
    }
    Ok(found)
}

/// The item's tree; its columns are placed in the scope from `start` on.
pub(super) fn tree<'a>(
    importer: &Importer,
    level: &Level<'_, 'a>,
    scope: &mut Scope<'a>,
    item: FromItem<'a>,
    start: usize,
) -> Result<Item<'a>> {
    match item {
        FromItem::Entry(index) => {
            let rel = match level.query.entry(index) {
                Entry::Computed(computed) => {
                    return computed_entry(importer, level, scope, (index, computed), start);
                }
                entry => self::entry(importer, level, scope, (index, entry), start)?,
            };
            Ok(Item::one(Input::Rel(rel), start))
        }
        FromItem::Join { kind, left, right, condition } => {
            if kind != JoinKind::Inner {
                let operands = Operands { kind, left: *left, right: *right, condition };
                return Ok(Item::one(Input::Rel(join::outer_join(importer, level, scope, operands, start)?), start));
            }
            let mut left = tree(importer, level, scope, *left, start)?;
            let right = tree(importer, level, scope, *right, start + left.width)?;
            left.append(right);
            left.conditions.extend(condition);
            Ok(left)
        }
    }
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
        Entry::Subquery { query, lateral: false } => importer.select(&level.inner(query)?)?,
        Entry::Subquery { query, lateral: true } => {
            let around = level.around_item(Inside { scope, start: 0 });
            importer.select(&around.applied(query)?)?
        }
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
