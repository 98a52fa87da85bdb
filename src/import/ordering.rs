//! The SELECT list, DISTINCT, DISTINCT ON, and ORDER BY with LIMIT or OFFSET.
//!
//! An ORDER BY that decides about no row is dropped: rows of a table have no order. What only an ORDER BY reads is a
//! column of the operators' input, and projected away above them.

use super::expr::Scope;
use super::from::From;
use super::select::Level;
use super::{target, unsupported};
use crate::error::Result;
use crate::pg::nodes::{Expr, Query, Target};
use crate::pg::types::is_array;
use pgtrickle_engine::query::{AggregateCall, AggregateFunction, Fragment, Rel, Scalar, SortItem};

/// The rows of `query`, whose `targets` are computed from `rows`.
pub(super) fn import<'a>(level: &Level<'_, 'a>, rows: From<'a>, targets: Vec<Target<'a>>) -> Result<Rel> {
    let query = level.query;
    refuse_sets_above_order(query, &targets)?;
    let decides = query.has_limit() || query.is_distinct_on() || level.array.is_some();
    // What only windows read is no column here: DISTINCT would tell rows apart by it.
    let ordered: Vec<u32> = query.order().iter().map(|sort| sort.target).chain(query.distinct_targets()).collect();
    let read = |target: &Target<'a>| !target.junk || (decides && ordered.contains(&target.sort_ref));
    let kept: Vec<Target<'a>> = targets.into_iter().filter(read).collect();
    let wanted: Vec<usize> = (0..kept.len()).filter(|position| !kept[*position].junk).collect();
    let references: Vec<u32> = kept.iter().map(|target| target.sort_ref).collect();
    let rel = target::project(rows.rel, &rows.scope, kept)?;
    let rel = match query.is_distinct() {
        true if query.is_distinct_on() => first_of_each(query, rel, &references)?,
        true => Rel::Distinct { input: Box::new(rel) },
        false => rel,
    };
    let rel = limited(query, &rows.scope, rel, &references)?;
    match level.array {
        Some(_) => collected(level, rel, &references),
        None => Ok(only(rel, &wanted)),
    }
}

/// `rel`, or for an ARRAY(SELECT …) the array of its first column in the query's order; column i has the sort reference
/// `references[i]`.
pub(super) fn collected(level: &Level<'_, '_>, rel: Rel, references: &[u32]) -> Result<Rel> {
    let Some(ty) = level.array else { return Ok(rel) };
    let element = rel.columns().swap_remove(0).ty;
    if is_array(&element) && element.oid != ty.oid {
        let reason = "Values of that type are arrays themselves, which array_agg() puts together to one.";
        return Err(unsupported(format!("ARRAY (SELECT …) of {}", element.sql), reason));
    }
    let text = |text: String| Fragment::Text(text);
    let mut fragments = vec![text("pg_catalog.array_agg(".into()), Fragment::Column(0)];
    for (number, item) in order(level.query, &rel, references)?.into_iter().enumerate() {
        fragments.push(text(if number == 0 { " ORDER BY " } else { ", " }.into()));
        fragments.extend(item.value.fragments);
        fragments.push(text(item.direction));
    }
    fragments.push(text(")".into()));
    let call = Scalar { fragments, ..Scalar::column(0, ty.clone(), true) };
    let call =
        AggregateCall { function: AggregateFunction::Recompute, argument: None, distinct: false, filter: None, call };
    let array = Rel::Aggregate { input: Box::new(rel), keys: Vec::new(), calls: vec![("elements".into(), call)] };
    let fragments = vec![text("COALESCE(".into()), Fragment::Column(0), text(format!(", CAST('{{}}' AS {}))", ty.sql))];
    let whole = Scalar { fragments, ..Scalar::column(0, ty.clone(), false) };
    Ok(Rel::Project { input: Box::new(array), outputs: vec![("array".into(), whole)] })
}

/// PostgreSQL computes a set-returning function after sorting unless rows are sorted by it: DISTINCT ON then does not see
/// its rows, and LIMIT takes them as they come.
fn refuse_sets_above_order(query: Query<'_>, targets: &[Target<'_>]) -> Result<()> {
    let sorted: Vec<u32> = query.order().iter().map(|sort| sort.target).chain(query.distinct_targets()).collect();
    let above = |target: &Target<'_>| target.expr.returns_set() && !sorted.contains(&target.sort_ref);
    if (query.has_limit() || query.is_distinct_on()) && targets.iter().any(above) {
        let reason = "Its rows come after the sorting, in an order of their own.";
        return Err(unsupported("a set-returning function beside LIMIT or DISTINCT ON", reason));
    }
    Ok(())
}

/// `rel` cut by LIMIT and OFFSET; column i has the sort reference `references[i]`.
pub(super) fn limited<'a>(query: Query<'a>, scope: &Scope<'a>, rel: Rel, references: &[u32]) -> Result<Rel> {
    if !query.has_limit() {
        return Ok(rel);
    }
    Ok(Rel::TopK {
        order: order(query, &rel, references)?,
        input: Box::new(rel),
        partition: Vec::new(),
        limit: query.limit().map(|limit| number(scope, limit)).transpose()?,
        offset: query.offset().map(|offset| number(scope, offset)).transpose()?,
        with_ties: query.is_with_ties(),
    })
}

/// Of rows, of LIMIT or OFFSET.
fn number<'a>(scope: &Scope<'a>, number: Expr<'a>) -> Result<Scalar> {
    if scope.has_sub_select(number) {
        let reason = "How many rows are kept would change with rows that are not sorted. Number the rows by row_number() in a \
                      sub-select in FROM, and compare that with the value in WHERE.";
        return Err(unsupported("a sub-select in LIMIT or OFFSET", reason));
    }
    scope.fixed(number)
}

fn first_of_each(query: Query<'_>, rel: Rel, references: &[u32]) -> Result<Rel> {
    let partition = query.distinct_targets().into_iter().map(|reference| column(&rel, references, reference));
    Ok(Rel::TopK {
        partition: partition.collect::<Result<_>>()?,
        order: order(query, &rel, references)?,
        input: Box::new(rel),
        limit: Some(Scalar::one()),
        offset: None,
        with_ties: false,
    })
}

fn order(query: Query<'_>, rel: &Rel, references: &[u32]) -> Result<Vec<SortItem>> {
    let item = |sort: crate::pg::ordering::Sort| {
        Ok(SortItem { value: column(rel, references, sort.target)?, direction: sort.direction })
    };
    query.order().into_iter().map(item).collect()
}

fn column(rel: &Rel, references: &[u32], reference: u32) -> Result<Scalar> {
    let position = references.iter().position(|known| *known == reference);
    let position = position.ok_or_else(|| {
        unsupported("ORDER BY something else than the columns", "What it orders by is not among what is selected.")
    })?;
    let column = rel.columns().swap_remove(position);
    Ok(Scalar::column(position, column.ty, column.nullable))
}

/// The columns at `wanted`.
fn only(rel: Rel, wanted: &[usize]) -> Rel {
    let columns = rel.columns();
    if wanted.len() == columns.len() {
        return rel;
    }
    let output = |position: &usize| {
        let column = columns[*position].clone();
        (column.name, Scalar::column(*position, column.ty, column.nullable))
    };
    Rel::Project { input: Box::new(rel), outputs: wanted.iter().map(output).collect() }
}
