//! The SELECT list.

use super::expr::Scope;
use super::item;
use crate::error::{Error, Result};
use crate::pg::nodes::{Query, Target};
use crate::pg::types;
use pgtrickle_engine::query::{Column, Rel, Scalar};
use std::collections::HashSet;

/// The result columns of a defining query: what a table can be made of.
pub(super) fn outputs(query: Query<'_>) -> Result<Vec<Column>> {
    let mut seen = HashSet::new();
    let mut columns = Vec::new();
    for target in query.targets().into_iter().filter(|target| !target.junk) {
        let column = Column { ty: target.expr.data_type(), name: target.name, nullable: true };
        check(&column, seen.insert(column.name.clone()))?;
        columns.push(column);
    }
    if columns.is_empty() {
        return Err(invalid("the query has no columns".into(), "Select at least one column."));
    }
    Ok(columns)
}

fn check(column: &Column, first: bool) -> Result<()> {
    let name = &column.name;
    if !first {
        let hint = "Give every column of the SELECT list its own name with AS.";
        return Err(invalid(format!("column \"{name}\" specified more than once"), hint));
    }
    if types::is_pseudo(&column.ty) {
        let message = format!("column \"{name}\" has pseudo-type {}", column.ty.sql);
        let hint = match types::is_record(&column.ty) {
            true => "Cast it to text, or select what you need of it: its fields, or how many there are.",
            false => "Cast the column to a type that a table's column can have.",
        };
        return Err(invalid(message, hint));
    }
    if types::is_collatable(&column.ty) && column.ty.collation == 0 {
        let message = format!("no collation was derived for column \"{name}\"");
        return Err(invalid(message, "Use the COLLATE clause to set the collation explicitly."));
    }
    Ok(())
}

fn invalid(message: String, hint: &str) -> Error {
    let detail = "The columns of the query become the columns of the stream table.".into();
    Error::QueryParse { message, detail, hint: hint.into() }
}

/// `targets` over `input`, of which some return sets: a row for each row of theirs.
fn expand<'a>(input: Rel, scope: &Scope<'a>, targets: Vec<Target<'a>>) -> Result<Rel> {
    let (names, list): (Vec<String>, Vec<_>) = targets.into_iter().map(|target| (target.name, target.expr)).unzip();
    let expand = item::select_list(input, scope, list)?;
    let outputs = item::yielded(&expand, names.len());
    Ok(Rel::Project { input: Box::new(expand), outputs: names.into_iter().zip(outputs).collect() })
}

/// `targets` over `input`; nothing is added when they are exactly its columns.
pub(super) fn project<'a>(input: Rel, scope: &Scope<'a>, targets: Vec<Target<'a>>) -> Result<Rel> {
    if targets.iter().any(|target| target.expr.returns_set()) {
        return expand(input, scope, targets);
    }
    let output = |target: Target<'a>| Ok((target.name, scope.scalar(target.expr)?));
    let outputs: Vec<(String, Scalar)> = targets.into_iter().map(output).collect::<Result<_>>()?;
    let below = input.columns();
    let kept = |(position, (name, scalar)): (usize, &(String, Scalar))| {
        scalar.as_column() == Some(position) && below[position].name == *name
    };
    if outputs.len() == below.len() && outputs.iter().enumerate().all(kept) {
        return Ok(input);
    }
    Ok(Rel::Project { input: Box::new(input), outputs })
}
