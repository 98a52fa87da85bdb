//! Items of FROM that compute their rows, and SELECT lists that return sets → Expand.
//!
//! Both are run by PostgreSQL as it would run them itself, once for each row beside them: a function in FROM as the
//! function in FROM that it is, a SELECT list as that of a sub-select without FROM. So what several functions yield side by
//! side, and where one ends before the other, is PostgreSQL's own.

use super::expr::Scope;
use super::unsupported;
use crate::error::Result;
use crate::pg::computed::{Computed, FunctionCall, Rows, collate_clause};
use crate::pg::nodes::Expr;
use pgtrickle_engine::query::{Column, DataType, Fragment, Item, Rel, Scalar};
use pgtrickle_engine::sql::Ident;

/// The item, over the columns that `scope` finds, and the numbers of its columns in the range table.
pub(super) fn of<'a>(scope: &Scope<'a>, computed: Computed<'a>) -> Result<(Item, Vec<i16>)> {
    let (numbers, types): (Vec<i16>, Vec<DataType>) = computed.columns.into_iter().unzip();
    let ordinality = matches!(&computed.rows, Rows::Functions { ordinality: true, .. });
    let text = match computed.rows {
        Rows::Functions { calls, ordinality } => functions(scope, calls, ordinality)?,
        Rows::Table(expr) => scope.fragments(expr)?,
        Rows::Values(rows) => {
            let rows = rows.into_iter().map(|row| Ok(enclosed("(", separated(scope, row)?, ")")));
            enclosed("(VALUES ", joined(rows.collect::<Result<_>>()?), ")")
        }
    };
    let mut columns = columns(types);
    if let (true, Some(number)) = (ordinality, columns.last_mut()) {
        number.nullable = false;
    }
    Ok((Item { text, columns, ordinality }, numbers))
}

/// Each row of `input` with each row of the SELECT list `list` over it; `scope` is that of `input`. What `list` yields
/// stands after the columns of `input`.
pub(super) fn select_list<'a>(input: Rel, scope: &Scope<'a>, list: Vec<Expr<'a>>) -> Result<Rel> {
    let columns = columns(list.iter().map(|expr| expr.data_type()));
    let text = enclosed("(SELECT ", separated(scope, list)?, ")");
    let item = Item { text, columns, ordinality: false };
    Ok(Rel::Expand { input: Box::new(input), item, on: Vec::new(), outer: false })
}

/// The columns of an expansion that come from its item, as scalars over it.
pub(super) fn yielded(expand: &Rel, width: usize) -> Vec<Scalar> {
    let columns = expand.columns();
    let first = columns.len() - width;
    let scalar = |(place, column): (usize, Column)| Scalar::column(first + place, column.ty, column.nullable);
    columns.into_iter().skip(first).enumerate().map(scalar).collect()
}

fn columns(types: impl IntoIterator<Item = DataType>) -> Vec<Column> {
    let column = |(i, ty)| Column { name: format!("f{}", i + 1), ty, nullable: true };
    types.into_iter().enumerate().map(column).collect()
}

fn functions<'a>(scope: &Scope<'a>, calls: Vec<FunctionCall<'a>>, ordinality: bool) -> Result<Vec<Fragment>> {
    // What is no call cannot stand in ROWS FROM, but then it is one value, which a sub-select yields as well.
    if let [FunctionCall { expr, callable: false, .. }] = calls.as_slice()
        && !ordinality
        && !expr.data_type().row
    {
        return Ok(enclosed("(SELECT ", scope.fragments(*expr)?, ")"));
    }
    let call = |call: FunctionCall<'a>| {
        if !call.callable {
            return Err(unsupported("an expression in FROM that is no function call", "Call a function instead."));
        }
        let mut text = scope.fragments(call.expr)?;
        if !call.definitions.is_empty() {
            // Functions such as jsonb_to_record() go by the names.
            let definition =
                |(name, ty): &(String, DataType)| format!("{} {}{}", Ident::new(name), ty.sql, collate_clause(ty));
            let definitions: Vec<String> = call.definitions.iter().map(definition).collect();
            text.push(Fragment::Text(format!(" AS ({})", definitions.join(", "))));
        }
        Ok(text)
    };
    let calls = calls.into_iter().map(call).collect::<Result<_>>()?;
    Ok(enclosed("ROWS FROM (", joined(calls), if ordinality { ") WITH ORDINALITY" } else { ")" }))
}

fn separated<'a>(scope: &Scope<'a>, list: Vec<Expr<'a>>) -> Result<Vec<Fragment>> {
    Ok(joined(list.into_iter().map(|expr| scope.fragments(expr)).collect::<Result<_>>()?))
}

fn joined(parts: Vec<Vec<Fragment>>) -> Vec<Fragment> {
    let mut text = Vec::new();
    for part in parts {
        if !text.is_empty() {
            text.push(Fragment::Text(", ".into()));
        }
        text.extend(part);
    }
    text
}

fn enclosed(open: &str, text: Vec<Fragment>, close: &str) -> Vec<Fragment> {
    let (open, close) = (Fragment::Text(open.into()), Fragment::Text(close.into()));
    [open].into_iter().chain(text).chain([close]).collect()
}
