//! FROM and WHERE → one n-ary inner join.
//!
//! Nested inner joins, the FROM list and all their conditions flatten into one operator: a cross product under a
//! conjunction. The engine picks the order.

use super::expr::Scope;
use super::select::{Importer, Level};
use super::unsupported;
use crate::error::{Error, Result};
use crate::pg::nodes::{Entry, Expr, FromItem, JoinKind};
use crate::pg::relation::{Attribute, Generated, Persistence, Relation, RelationKind};
use crate::pg::types::is_domain;
use pgtrickle_engine::query::rel::ScanColumn;
use pgtrickle_engine::query::{Column, Rel, Scan};
use pgtrickle_engine::sql::Ident;

/// The rows that a SELECT starts from.
pub(super) struct From<'a> {
    pub(super) rel: Rel,
    pub(super) scope: Scope<'a>,
}

struct Inputs<'a> {
    rels: Vec<Rel>,
    width: usize,
    scope: Scope<'a>,
    conditions: Vec<Expr<'a>>,
}

/// The FROM clause of the level's query, filtered by its WHERE condition.
pub(super) fn import<'a>(importer: &Importer, level: &Level<'_, 'a>) -> Result<From<'a>> {
    let query = level.query;
    let scope = Scope::new(importer.deparser(query, &[]));
    let mut inputs = Inputs { rels: Vec::new(), width: 0, scope, conditions: Vec::new() };
    for item in query.from() {
        inputs.add(importer, level, item)?;
    }
    inputs.conditions.extend(query.condition());
    let Inputs { mut rels, scope, conditions, .. } = inputs;
    let conjuncts = conditions.into_iter().flat_map(Expr::conjuncts);
    let predicates = conjuncts.map(|conjunct| scope.scalar(conjunct)).collect::<Result<Vec<_>>>()?;
    let rel = match rels.len() {
        0 => return Err(unsupported("a SELECT without FROM", "It reads no source that could change.")),
        1 => {
            let input = rels.remove(0);
            if predicates.is_empty() { input } else { Rel::Filter { input: Box::new(input), predicates } }
        }
        _ => Rel::Join { inputs: rels, predicates },
    };
    Ok(From { rel, scope })
}

impl<'a> Inputs<'a> {
    fn add(&mut self, importer: &Importer, level: &Level<'_, 'a>, item: FromItem<'a>) -> Result<()> {
        match item {
            FromItem::Entry(index) => self.add_entry(importer, level, index),
            FromItem::Join { kind: JoinKind::Inner, left, right, condition } => {
                self.add(importer, level, *left)?;
                self.add(importer, level, *right)?;
                self.conditions.extend(condition);
                Ok(())
            }
            FromItem::Join { kind, .. } => {
                let construct = match kind {
                    JoinKind::Left => "LEFT JOIN",
                    JoinKind::Right => "RIGHT JOIN",
                    _ => "FULL JOIN",
                };
                Err(unsupported(construct, "A row without a match appears and disappears as its matches do."))
            }
        }
    }

    fn add_entry(&mut self, importer: &Importer, level: &Level<'_, 'a>, index: usize) -> Result<()> {
        let rel = match level.query.entry(index) {
            Entry::Relation { relid, .. } => return self.add_scan(importer, index, relid),
            Entry::Subquery { lateral: true, .. } => {
                return Err(unsupported("LATERAL", "The sub-select is another one for each row on its left."));
            }
            Entry::Subquery { query, lateral: false } => importer.select(&level.inner(query)?)?,
            Entry::Cte { name, levels_up, recursive } => {
                if recursive {
                    return Err(recursion());
                }
                with_item(importer, level, &name, levels_up)?
            }
            Entry::Other(construct) => {
                return Err(unsupported(construct, "Only tables, views and sub-selects can be watched for changes."));
            }
        };
        let width = rel.columns().len();
        for position in 0..width {
            self.scope.place((index, position as i16 + 1), self.width + position);
        }
        self.width += width;
        self.rels.push(rel);
        Ok(())
    }

    fn add_scan(&mut self, importer: &Importer, index: usize, relid: u32) -> Result<()> {
        importer.count_scan()?;
        let relation = Relation::load(relid).ok_or_else(|| Error::SourceDropped(format!("OID {relid}")))?;
        check_kind(&relation)?;
        let (stored, computed): (Vec<&Attribute>, Vec<&Attribute>) =
            relation.columns.iter().partition(|column| column.generated != Generated::Virtual);
        for (position, column) in stored.iter().enumerate() {
            self.scope.place((index, column.attnum), self.width + position);
        }
        for column in computed {
            let construct = format!("the virtual generated column {}.{}", relation.name, Ident::new(&column.name));
            self.scope.hole((index, column.attnum), construct, "It is computed when it is read and is not captured.");
        }
        self.width += stored.len();
        let position = |attnum: &i16| stored.iter().position(|column| column.attnum == *attnum);
        let keys = relation.keys.iter().filter_map(|key| key.iter().map(position).collect());
        self.rels.push(Rel::Scan(Scan {
            relid,
            name: relation.name.clone(),
            keys: keys.collect(),
            columns: stored.iter().map(|column| scan_column(column)).collect(),
        }));
        Ok(())
    }
}

fn scan_column(attribute: &Attribute) -> ScanColumn {
    ScanColumn {
        attnum: attribute.attnum,
        name: Ident::new(&attribute.name),
        column: Column { name: attribute.name.clone(), ty: attribute.ty.clone(), nullable: !attribute.not_null },
        domain: is_domain(&attribute.ty),
    }
}

/// Only what the capture triggers see completely can be scanned.
fn check_kind(relation: &Relation) -> Result<()> {
    let name = &relation.name;
    let (construct, reason) = match relation.kind {
        _ if relation.is_catalog => ("the system catalog", "Triggers cannot be created on system catalogs."),
        RelationKind::PartitionedTable => {
            ("the partitioned table", "Rows written to a partition directly would not be captured.")
        }
        RelationKind::ForeignTable => ("the foreign table", "Changes on the foreign server cannot be captured."),
        RelationKind::MaterializedView => {
            ("the materialized view", "REFRESH MATERIALIZED VIEW replaces its rows without firing triggers.")
        }
        _ if relation.persistence == Persistence::Unlogged => {
            ("the unlogged table", "A crash of the server empties it without firing triggers.")
        }
        _ if relation.has_children => {
            ("the inheritance parent", "Rows written to its children directly would not be captured.")
        }
        _ if relation.has_parent => {
            ("the child table or partition", "Rows written through its parent would not be captured.")
        }
        _ => return Ok(()),
    };
    Err(unsupported(format!("{construct} {name}"), reason))
}

fn recursion() -> Error {
    unsupported("WITH RECURSIVE", "A changed row can change what later iterations find.")
}

/// A copy of the tree of a WITH item of the query that is `levels_up` levels further out.
fn with_item(importer: &Importer, level: &Level<'_, '_>, name: &str, levels_up: usize) -> Result<Rel> {
    let missing = || Error::Internal(format!("WITH item \"{name}\" is nowhere"));
    let mut owner = level;
    for _ in 0..levels_up {
        owner = owner.outer.ok_or_else(missing)?;
    }
    let item = owner.query.cte(name).ok_or_else(missing)?;
    if item.recursive {
        return Err(recursion());
    }
    // The item's own depth is that of the place where it is used.
    let owner = Level { depth: level.depth, ..*owner };
    importer.select(&owner.inner(item.query.ok_or_else(missing)?)?)
}
