//! UNION ALL → an n-ary union, its arms cast to the types that PostgreSQL resolved.

use super::select::{Importer, Level};
use super::unsupported;
use crate::error::{Error, Result};
use crate::pg::nodes::{Entry, SetNode};
use crate::pg::types::cast_volatility;
use pgtrickle_engine::query::{Column, DataType, Fragment, Rel, Scalar, Volatility};

/// The set operations of the level's query.
pub(super) fn import(importer: &Importer, level: &Level<'_, '_>, tree: &SetNode) -> Result<Rel> {
    let names: Vec<String> = level.query.targets().into_iter().map(|target| target.name).collect();
    union(importer, level, tree, &names)
}

fn union(importer: &Importer, level: &Level<'_, '_>, tree: &SetNode, names: &[String]) -> Result<Rel> {
    let (left, right, types) = match tree {
        SetNode::Leaf(index) => return leaf(importer, level, *index),
        SetNode::Operation { name: "UNION", all: true, left, right, types } => (left, right, types),
        SetNode::Operation { name, all, .. } => {
            let construct = if *all { format!("{name} ALL") } else { (*name).into() };
            return Err(unsupported(
                construct,
                "Whether a row is in the result depends on how often each side has it.",
            ));
        }
    };
    let mut inputs = Vec::new();
    for side in [left, right] {
        let rel = union(importer, level, side, names)?;
        match rel {
            // Casts go from step to step as PostgreSQL resolved them, so only unions of the same types merge.
            Rel::UnionAll { inputs: arms, columns } if same_types(&columns, types) => inputs.extend(arms),
            rel => inputs.push(cast(rel, types)?),
        }
    }
    Ok(Rel::UnionAll { columns: columns(&inputs, names, types), inputs })
}

fn leaf(importer: &Importer, level: &Level<'_, '_>, index: usize) -> Result<Rel> {
    match level.query.entry(index) {
        Entry::Subquery { query, .. } => importer.select(&level.inner(query)?),
        _ => Err(Error::Internal("an arm of a set operation is no sub-select".into())),
    }
}

fn same_types(columns: &[Column], types: &[DataType]) -> bool {
    columns.iter().map(|column| column.ty.oid).eq(types.iter().map(|ty| ty.oid))
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

/// `rel` with each column cast where its type is another one; type modifiers differ freely, for the union's column
/// then has none.
fn cast(rel: Rel, types: &[DataType]) -> Result<Rel> {
    let columns = rel.columns();
    if same_types(&columns, types) {
        return Ok(rel);
    }
    let output = |(position, (column, ty)): (usize, (&Column, &DataType))| {
        let mut scalar = Scalar::column(position, column.ty.clone(), false);
        if column.ty.oid != ty.oid {
            if cast_volatility(&column.ty, ty) != Volatility::Immutable {
                let construct = format!("UNION ALL of {} and {}", column.ty.sql, ty.sql);
                return Err(unsupported(construct, "The cast between them is STABLE: it depends on settings."));
            }
            scalar = Scalar {
                fragments: vec![
                    Fragment::Text("CAST(".into()),
                    Fragment::Column(position),
                    Fragment::Text(format!(" AS {})", ty.sql)),
                ],
                ty: ty.clone(),
                volatility: Volatility::Immutable,
                nullable: true,
                fixed_scale: false,
            };
        }
        Ok((column.name.clone(), scalar))
    };
    let outputs = columns.iter().zip(types).enumerate().map(output).collect::<Result<_>>()?;
    Ok(Rel::Project { input: Box::new(rel), outputs })
}
