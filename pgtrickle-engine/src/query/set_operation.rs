//! INTERSECT and EXCEPT as counting: `γ_{all columns; l, r}` over both sides together, where `l` and `r` count the rows of
//! each. INTERSECT keeps the groups with `l > 0 ∧ r > 0`, EXCEPT those with `l > 0 ∧ r = 0`, each once; with ALL a group
//! comes `least(l, r)` or `greatest(l - r, 0)` times.
//!
//! Rows are the same when their types' equality says so; which of several equal rows stands for a group is as free here
//! as it is in PostgreSQL.

use super::{AggregateCall, AggregateFunction, Column, DataType, Equality, Fragment, Item, Rel, Scalar, Volatility};

/// INTERSECT or EXCEPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOperation {
    Intersect,
    Except,
}

/// `left` and `right` agree in number and types of columns; `columns` gives the result's.
pub fn set_operation(operation: SetOperation, all: bool, left: Rel, right: Rel, columns: Vec<Column>) -> Rel {
    let width = columns.len();
    let kept = |position: usize| {
        let Column { name, ty, nullable } = &columns[position];
        (name.clone(), Scalar::column(position, ty.clone(), *nullable))
    };
    let mut with_side = columns.clone();
    with_side.push(Column { name: "side".into(), ty: built_in("integer", 23), nullable: false });
    let union = Rel::UnionAll { inputs: vec![tagged(left, "0"), tagged(right, "1")], columns: with_side };
    let count = |side: &str| {
        let filter = expression(vec![text("("), Fragment::Column(width), text(&format!(" = {side})"))], boolean());
        let mut call = vec![text("count(*) FILTER (WHERE ")];
        call.extend(filter.fragments.clone());
        call.push(text(")"));
        let call = expression(call, built_in("bigint", 20));
        AggregateCall {
            function: AggregateFunction::CountStar,
            argument: None,
            distinct: false,
            filter: Some(filter),
            call,
        }
    };
    let calls = vec![("l".into(), count("0")), ("r".into(), count("1"))];
    let groups = Rel::Aggregate { input: Box::new(union), keys: (0..width).map(kept).collect(), calls };
    let (l, r) = (Fragment::Column(width), Fragment::Column(width + 1));
    let rows = match (operation, all) {
        (_, false) => {
            let right = if operation == SetOperation::Intersect { " > 0)" } else { " = 0)" };
            let predicates = [vec![text("("), l, text(" > 0)")], vec![text("("), r, text(right)]];
            let predicates = predicates.map(|fragments| expression(fragments, boolean()));
            Rel::Filter { input: Box::new(groups), predicates: predicates.into() }
        }
        (SetOperation::Intersect, true) => repeated(groups, vec![text("LEAST("), l, text(", "), r, text(")")]),
        (SetOperation::Except, true) => repeated(groups, vec![l, text(" - "), r]),
    };
    Rel::Project { input: Box::new(rows), outputs: (0..width).map(kept).collect() }
}

/// `rel` with a last column that says which side it is.
fn tagged(rel: Rel, side: &str) -> Rel {
    let columns = rel.columns().into_iter().enumerate();
    let mut outputs: Vec<(String, Scalar)> =
        columns.map(|(position, c)| (c.name, Scalar::column(position, c.ty, c.nullable))).collect();
    outputs.push(("side".into(), expression(vec![text(side)], built_in("integer", 23))));
    Rel::Project { input: Box::new(rel), outputs }
}

/// Each row of `rel` as often as `times` says.
fn repeated(rel: Rel, times: Vec<Fragment>) -> Rel {
    let call = [text("pg_catalog.generate_series(1, ")].into_iter().chain(times).chain([text(")")]);
    let number = Column { name: "copy".into(), ty: built_in("bigint", 20), nullable: false };
    let item = Item { text: call.collect(), columns: vec![number], ordinality: false };
    Rel::Expand { input: Box::new(rel), item, on: Vec::new(), outer: false }
}

fn expression(fragments: Vec<Fragment>, ty: DataType) -> Scalar {
    Scalar { fragments, ty, volatility: Volatility::Immutable, nullable: false, fixed_scale: false }
}

fn text(literal: &str) -> Fragment {
    Fragment::Text(literal.into())
}

fn boolean() -> DataType {
    built_in("boolean", 16)
}

/// A built-in type whose equality is that of its image.
fn built_in(sql: &str, oid: u32) -> DataType {
    let eq = Some("OPERATOR(pg_catalog.=)".into());
    DataType {
        oid,
        typmod: -1,
        collation: 0,
        sql: sql.into(),
        equality: Equality::Image,
        eq,
        btree: true,
        hash: true,
        row: false,
    }
}
