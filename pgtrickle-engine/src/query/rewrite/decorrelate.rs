//! Removes every [`Rel::Apply`]: what is evaluated for each row of L becomes a join with L.
//!
//! **Lifting.** A correlated predicate commutes with the operators above it, so it is taken out of R and becomes a predicate
//! of the join. Through an Aggregate only an equality `outer = x` can go: x becomes a grouping column, and the groups of
//! one outer value are those with that x. (A group of equal but different x is met by all outer values that equal them.)
//! An aggregate without grouping columns has a row where there is no group: the value over no rows, put in above the join.
//!
//! **Domain.** Where that does not reach, the distinct values D of the correlated columns of L are joined into R, every operator
//! of R keeps them as columns, groups and unions by them, and L is joined to the result on them, NULLs equal (Neumann and
//! Kemper, *Unnesting Arbitrary Queries*, BTW 2015).

use super::lift::{Lifted, lift};
use crate::query::analysis::keys::keys;
use crate::query::rel::{AggregateCall, AggregateFunction, ApplyKind, Side};
use crate::query::{Column, DataType, Fragment, Rel, Scalar, Volatility};

/// Why a query cannot be decorrelated, in the words of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlated {
    pub construct: &'static str,
    pub reason: &'static str,
}

pub(super) type Result<T> = std::result::Result<T, Correlated>;

/// Operators that a decorrelated relation may have: a domain repeats what it is taken from, so they can double with every
/// level of nesting.
const MOST_OPERATORS: usize = 2000;

/// The refusal of one that has more.
pub const TOO_LARGE: Correlated = Correlated {
    construct: "correlated sub-selects nested so deep",
    reason: "Every level repeats what it is evaluated for, and the tree grows beyond what can be planned.",
};

/// The same relation without Apply.
///
/// # Errors
/// When an operator that cannot carry the values of an outer row stands between them and where they are read, and when
/// the relation becomes too large.
pub fn apply(mut rel: Rel) -> Result<Rel> {
    for input in rel.inputs_mut() {
        let taken = std::mem::replace(input, Rel::UnionAll { inputs: Vec::new(), columns: Vec::new() });
        *input = apply(taken)?;
    }
    let Rel::Apply { left, right, predicates, kind } = rel else { return Ok(rel) };
    let rel = eliminate(*left, *right, predicates, kind)?;
    match operators(&rel) > MOST_OPERATORS {
        true => Err(TOO_LARGE),
        false => Ok(rel),
    }
}

fn operators(rel: &Rel) -> usize {
    1 + rel.inputs().into_iter().map(operators).sum::<usize>()
}

/// A column of the left side of the Apply that is being removed. What stood inside it now stands one further out, so in its
/// right side every depth is one less than it was.
pub(super) fn is_outer(fragment: &Fragment) -> bool {
    matches!(fragment, Fragment::Outer { depth: 0, .. })
}

/// Some expression in `rel` reads a column of the left side.
pub(super) fn is_correlated(rel: &Rel) -> bool {
    rel.texts().into_iter().flatten().any(is_outer) || rel.inputs().into_iter().any(is_correlated)
}

pub(super) fn reads_outer(scalar: &Scalar) -> bool {
    scalar.fragments.iter().any(is_outer)
}

fn move_out(rel: &mut Rel) {
    for fragment in rel.texts_mut().into_iter().flatten() {
        if let Fragment::Outer { depth, .. } = fragment {
            *depth -= 1;
        }
    }
    rel.inputs_mut().into_iter().for_each(move_out);
}

fn eliminate(left: Rel, mut right: Rel, predicates: Vec<Scalar>, kind: ApplyKind) -> Result<Rel> {
    move_out(&mut right);
    let lifted = lift(right.clone());
    match kind {
        ApplyKind::Semi(yields) => {
            // A row that is there although no group is has nothing to be matched with.
            let lifted = match lifted.filter(|lifted| lifted.absent.is_none()) {
                Some(lifted) => lifted,
                None => by_domain(&left, right)?,
            };
            let width = left.columns().len();
            let on = joined(&lifted, width, &predicates);
            Ok(Rel::SemiJoin { left: Box::new(left), right: Box::new(lifted.rel), predicates: on, yields })
        }
        ApplyKind::Lateral { outer } => {
            let lifted = match lifted {
                Some(lifted) => lifted,
                None => by_domain(&left, right)?,
            };
            lateral(left, lifted, &predicates, outer)
        }
        ApplyKind::Scalar(name) => match lifted.and_then(at_most_one) {
            Some(single) => scalar(left, single, name),
            None => {
                let single = at_most_one(by_domain(&left, right)?);
                scalar(left, single.ok_or(SEVERAL_ROWS)?, name)
            }
        },
    }
}

const SEVERAL_ROWS: Correlated = Correlated {
    construct: "a sub-select as a value",
    reason: "It cannot be told for which outer rows it has more than one row.",
};

/// The lifted predicates and `predicates`, over the columns of the left side and of the lifted relation.
fn joined(lifted: &Lifted, width: usize, predicates: &[Scalar]) -> Vec<Scalar> {
    let own = lifted.predicates.iter().map(|predicate| across(&predicate.scalar, width));
    let given = predicates.iter().map(|predicate| {
        predicate.substitute(|place| match place < width {
            true => Scalar::column(place, predicate.ty.clone(), false),
            false => across(&lifted.columns[place - width], width),
        })
    });
    own.chain(given).collect()
}

/// An expression of the right side, over the columns of both.
fn across(scalar: &Scalar, width: usize) -> Scalar {
    scalar.map(|fragment| match fragment {
        Fragment::Column(place) => Fragment::Column(place + width),
        Fragment::Outer { depth: 0, column } => Fragment::Column(*column),
        other => other.clone(),
    })
}

fn lateral(left: Rel, mut lifted: Lifted, predicates: &[Scalar], outer: bool) -> Result<Rel> {
    let below = left.columns();
    let width = below.len();
    let padded = outer || lifted.absent.is_some();
    if lifted.absent.is_some() && !predicates.is_empty() {
        // Each left row has one right row, whatever there is to aggregate, so the condition is a matter of these two.
        let all = lateral(left, lifted, &[], outer)?;
        return Ok(if outer { unless_padded(all, width, predicates) } else { filtered(all, predicates) });
    }
    let columns_only = lifted.columns.iter().all(|scalar| scalar.as_column().is_some());
    let plain = !padded || (columns_only && lifted.absent.is_none());
    let present = (!plain).then(|| mark_present(&mut lifted));
    let on = joined(&lifted, width, predicates);
    let values: Vec<Scalar> = (0..lifted.columns.len()).map(|i| value(&lifted, i, width, present)).collect();
    let names: Vec<String> = lifted.names.clone();
    let rel = match padded {
        true => Rel::OuterJoin { left: Box::new(left), right: Box::new(lifted.rel), predicates: on, side: Side::Left },
        false => join(left, lifted.rel, on),
    };
    let outputs = kept(&below).chain(names.into_iter().zip(values)).collect();
    Ok(Rel::Project { input: Box::new(rel), outputs })
}

fn filtered(input: Rel, predicates: &[Scalar]) -> Rel {
    Rel::Filter { input: Box::new(input), predicates: predicates.to_vec() }
}

/// The columns from `width` on NULL where not all of `predicates` are met.
fn unless_padded(input: Rel, width: usize, predicates: &[Scalar]) -> Rel {
    let columns = input.columns();
    let text = |text: &str| Fragment::Text(text.into());
    let met = predicates.iter().enumerate().flat_map(|(i, predicate)| {
        let before = text(if i == 0 { "CASE WHEN (" } else { ") AND (" });
        [before].into_iter().chain(predicate.fragments.iter().cloned())
    });
    let met: Vec<Fragment> = met.chain([text(") THEN ")]).collect();
    let padded = columns.iter().enumerate().skip(width).map(|(i, column)| {
        let fragments = met.iter().cloned().chain([Fragment::Column(i), text(" END")]).collect();
        (column.name.clone(), Scalar { fragments, ..Scalar::column(i, column.ty.clone(), true) })
    });
    let outputs = kept(&columns).take(width).chain(padded).collect();
    Rel::Project { input: Box::new(input), outputs }
}

fn scalar(left: Rel, mut lifted: Lifted, name: String) -> Result<Rel> {
    let below = left.columns();
    let width = below.len();
    let one_row = lifted.predicates.is_empty() && yields_one_row(&lifted.rel);
    let plain = one_row || (lifted.columns[0].as_column().is_some() && lifted.absent.is_none());
    let present = (!plain).then(|| mark_present(&mut lifted));
    let on = joined(&lifted, width, &[]);
    let value = value(&lifted, 0, width, present);
    let rel = match one_row {
        true => join(left, lifted.rel, on),
        false => Rel::OuterJoin { left: Box::new(left), right: Box::new(lifted.rel), predicates: on, side: Side::Left },
    };
    let outputs = kept(&below).chain([(name, value)]).collect();
    Ok(Rel::Project { input: Box::new(rel), outputs })
}

fn join(left: Rel, right: Rel, predicates: Vec<Scalar>) -> Rel {
    Rel::Join { inputs: vec![left, right], predicates }
}

pub(super) fn kept(columns: &[Column]) -> impl Iterator<Item = (String, Scalar)> {
    columns
        .iter()
        .enumerate()
        .map(|(i, column)| (column.name.clone(), Scalar::column(i, column.ty.clone(), column.nullable)))
}

/// Column `i` of the lifted relation over the columns of the join; where no row is `present`, that of the absent one.
fn value(lifted: &Lifted, i: usize, width: usize, present: Option<usize>) -> Scalar {
    let value = across(&lifted.columns[i], width);
    let Some(present) = present else { return Scalar { nullable: true, ..value } };
    let text = |text: &str| Fragment::Text(text.into());
    let mut fragments = vec![text("CASE WHEN "), Fragment::Column(width + present), text(" THEN ")];
    fragments.extend(value.fragments.iter().cloned());
    if let Some(absent) = &lifted.absent {
        fragments.push(text(" ELSE "));
        fragments.extend(across(&absent[i], width).fragments);
    }
    fragments.push(text(" END"));
    Scalar { fragments, nullable: true, fixed_scale: false, ..value }
}

/// Adds a column that is true in every row; its position.
fn mark_present(lifted: &mut Lifted) -> usize {
    let columns = lifted.rel.columns();
    let present = Scalar {
        fragments: vec![Fragment::Text("true".into())],
        ty: DataType::boolean(),
        volatility: Volatility::Immutable,
        nullable: false,
        fixed_scale: false,
    };
    let outputs = kept(&columns).chain([("present".into(), present)]).collect();
    let input = std::mem::replace(&mut lifted.rel, Rel::UnionAll { inputs: Vec::new(), columns: Vec::new() });
    lifted.rel = Rel::Project { input: Box::new(input), outputs };
    columns.len()
}

/// It has exactly one row, whatever its sources hold.
fn yields_one_row(rel: &Rel) -> bool {
    match rel {
        Rel::Aggregate { keys, .. } => keys.is_empty(),
        Rel::Project { input, .. } => yields_one_row(input),
        Rel::Join { inputs, predicates } => predicates.is_empty() && inputs.iter().all(yields_one_row),
        _ => false,
    }
}

/// The lifted relation with at most one row for each left row; `None` when what identifies its rows is not a list of
/// equalities. More than one row is the error that PostgreSQL has for it, raised where the value is used.
fn at_most_one(lifted: Lifted) -> Option<Lifted> {
    let bound: Vec<usize> = lifted.predicates.iter().filter_map(|predicate| predicate.binds).map(|(_, c)| c).collect();
    if keys(&lifted.rel).iter().any(|key| key.iter().all(|column| bound.contains(column))) {
        return Some(lifted);
    }
    let value = &lifted.columns[0];
    let groupable = |column: &Column| column.ty.eq.is_some();
    let columns = lifted.rel.columns();
    if reads_outer(value)
        || lifted.absent.is_some()
        || lifted.predicates.iter().any(|predicate| predicate.binds.is_none())
        || !bound.iter().all(|column| groupable(&columns[*column]))
    {
        return None;
    }
    let mut by = bound.clone();
    by.sort_unstable();
    by.dedup();
    let grouped = |column: &usize| {
        let Column { name, ty, nullable } = columns[*column].clone();
        (name, Scalar::column(*column, ty, nullable))
    };
    let calls = vec![("value".into(), any_value(value)), ("rows".into(), count_rows())];
    let rel = Rel::Aggregate { input: Box::new(lifted.rel), keys: by.iter().map(grouped).collect(), calls };
    let place = |column: usize| by.iter().position(|kept| *kept == column).expect("a bound column is grouped by");
    let (first, rows) = (Fragment::Column(by.len()), Fragment::Column(by.len() + 1));
    let text = |text: &str| Fragment::Text(text.into());
    let fragments = vec![
        text("CASE WHEN "),
        rows.clone(),
        text(" > 1 THEN (SELECT "),
        first.clone(),
        text(" FROM pg_catalog.generate_series(1, "),
        rows,
        text(")) ELSE "),
        first,
        text(" END"),
    ];
    Some(Lifted {
        predicates: lifted.predicates.iter().map(|predicate| predicate.remap(place)).collect(),
        columns: vec![Scalar { fragments, nullable: true, fixed_scale: false, ..value.clone() }],
        names: vec![lifted.names[0].clone()],
        absent: None,
        rel,
    })
}

fn any_value(value: &Scalar) -> AggregateCall {
    let text = |text: &str| Fragment::Text(text.into());
    let mut fragments = vec![text("pg_catalog.any_value(")];
    fragments.extend(value.fragments.iter().cloned());
    fragments.push(text(")"));
    let call = Scalar { fragments, nullable: true, fixed_scale: false, ..value.clone() };
    AggregateCall { function: AggregateFunction::Recompute, argument: None, distinct: false, filter: None, call }
}

pub(super) fn count_rows() -> AggregateCall {
    let ty = DataType { oid: 20, sql: "pg_catalog.int8".into(), ..DataType::boolean() };
    let call = Scalar {
        fragments: vec![Fragment::Text("pg_catalog.count(*)".into())],
        ty,
        volatility: Volatility::Immutable,
        nullable: false,
        fixed_scale: true,
    };
    AggregateCall { function: AggregateFunction::CountStar, argument: None, distinct: false, filter: None, call }
}

/// `right` for every value of the correlated columns of `left`.
fn by_domain(left: &Rel, right: Rel) -> Result<Lifted> {
    let domain = super::domain::Domain::of(left, &right)?;
    let names = right.columns().into_iter().map(|column| column.name).collect();
    let width = domain.width();
    let columns = right.columns();
    let rel = domain.carry(right)?;
    let column = |(i, column): (usize, &Column)| Scalar::column(width + i, column.ty.clone(), column.nullable);
    Ok(Lifted {
        columns: columns.iter().enumerate().map(column).collect(),
        predicates: domain.equalities(),
        names,
        absent: None,
        rel,
    })
}
