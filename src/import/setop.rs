//! UNION, INTERSECT and EXCEPT, their arms cast to the types and collations that PostgreSQL resolved: UNION ALL is an n-ary union, UNION
//! its different rows, the others count the rows of both sides. A delta may have the rows of one arm alone, whose own collation would decide
//! what is made of them.

use super::select::{Importer, Level};
use super::unsupported;
use crate::error::{Error, Result};
use crate::pg::computed::collation;
use crate::pg::nodes::{Entry, SetNode};
use crate::pg::types::is_steady_cast;
use pgtrickle_engine::query::set_operation::{SetOperation, set_operation};
use pgtrickle_engine::query::{Column, DataType, Fragment, Rel, Scalar, Volatility};

/// The set operations of the level's query.
pub(super) fn import(importer: &Importer, level: &Level<'_, '_>, tree: &SetNode) -> Result<Rel> {
    let names: Vec<String> = level.query.targets().into_iter().map(|target| target.name).collect();
    operation(importer, level, tree, &names)
}

pub(super) fn operation(importer: &Importer, level: &Level<'_, '_>, tree: &SetNode, names: &[String]) -> Result<Rel> {
    let (name, all, left, right, types) = match tree {
        SetNode::Leaf(index) => return leaf(importer, level, *index),
        SetNode::Operation { name, all, left, right, types } => (*name, *all, left, right, types),
    };
    let left = operation(importer, level, left, names)?;
    let right = operation(importer, level, right, names)?;
    let counted = match name {
        "UNION" => return union([left, right], all, names, types),
        "INTERSECT" => SetOperation::Intersect,
        _ => SetOperation::Except,
    };
    let (left, right) = (cast(left, types)?, cast(right, types)?);
    let columns = columns(&[left.clone(), right.clone()], names, types);
    Ok(set_operation(counted, all, left, right, columns))
}

fn union(sides: [Rel; 2], all: bool, names: &[String], types: &[DataType]) -> Result<Rel> {
    let mut inputs = Vec::new();
    for side in sides {
        match side {
            // Casts go from step to step as PostgreSQL resolved them, so only unions of the same types merge.
            Rel::UnionAll { inputs: arms, columns } if same_types(&columns, types) => inputs.extend(arms),
            rel => inputs.push(cast(rel, types)?),
        }
    }
    let union = Rel::UnionAll { columns: columns(&inputs, names, types), inputs };
    Ok(if all { union } else { Rel::Distinct { input: Box::new(union) } })
}

fn leaf(importer: &Importer, level: &Level<'_, '_>, index: usize) -> Result<Rel> {
    match level.query.entry(index) {
        Entry::Subquery { query, .. } => importer.select(&level.inner(query)?),
        _ => Err(Error::Internal("an arm of a set operation is no sub-select".into())),
    }
}

fn same_types(columns: &[Column], types: &[DataType]) -> bool {
    columns.len() == types.len()
        && columns.iter().zip(types).all(|(column, ty)| column.ty.oid == ty.oid && !is_collated_anew(&column.ty, ty))
}

/// Arms whose collations differ leave the result of UNION ALL without one, which nothing can then ask for.
fn is_collated_anew(from: &DataType, to: &DataType) -> bool {
    to.collation != 0 && from.collation != to.collation
}

fn columns(inputs: &[Rel], names: &[String], types: &[DataType]) -> Vec<Column> {
    let arms: Vec<Vec<Column>> = inputs.iter().map(Rel::columns).collect();
    let nullable = |position: usize| arms.iter().any(|columns| columns[position].nullable);
    let column = |(position, ty): (usize, &DataType)| Column {
        name: names[position].clone(),
        ty: ty.clone(),
        nullable: nullable(position),
    };
    types.iter().enumerate().map(column).collect()
}

/// `rel` with each column cast where its type or its collation is another one; type modifiers differ freely, for the union's
/// column then has none.
pub(super) fn cast(rel: Rel, types: &[DataType]) -> Result<Rel> {
    let columns = rel.columns();
    if same_types(&columns, types) {
        return Ok(rel);
    }
    let output = |(position, (column, ty)): (usize, (&Column, &DataType))| {
        Ok((column.name.clone(), converted(position, column, ty)?))
    };
    let outputs = columns.iter().zip(types).enumerate().map(output).collect::<Result<_>>()?;
    Ok(Rel::Project { input: Box::new(rel), outputs })
}

/// The column as a value of the type, under its collation.
fn converted(position: usize, column: &Column, ty: &DataType) -> Result<Scalar> {
    let (recast, collated) = (column.ty.oid != ty.oid, is_collated_anew(&column.ty, ty));
    if recast && !is_steady_cast(&column.ty, ty) {
        let construct = format!("a set operation on {} and {}", column.ty.sql, ty.sql);
        return Err(unsupported(construct, "The cast between them depends on more than the value."));
    }
    if !recast && !collated {
        return Ok(Scalar::column(position, column.ty.clone(), column.nullable));
    }
    let mut fragments = vec![Fragment::Text("(".into()), Fragment::Column(position)];
    if recast {
        fragments = vec![
            Fragment::Text("(CAST(".into()),
            Fragment::Column(position),
            Fragment::Text(format!(" AS {})", ty.sql)),
        ];
    }
    let collate = if collated { format!(" COLLATE {})", collation(ty)) } else { ")".into() };
    fragments.push(Fragment::Text(collate));
    Ok(Scalar { fragments, ty: ty.clone(), volatility: Volatility::Immutable, nullable: true, fixed_scale: false })
}
