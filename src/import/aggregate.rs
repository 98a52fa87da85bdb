//! GROUP BY, aggregate calls and HAVING → Aggregate, a Filter over it, a Project over that.
//!
//! Columns that PostgreSQL accepts because they depend on a grouped primary key become keys too: they have one value
//! in each group, so the groups stay the same. Keys that return sets are computed first, each row once for each of theirs.

use super::expr::Scope;
use super::from::From;
use super::grouping_sets::Groups;
use super::item;
use super::select::{Importer, Level};
use super::{link, unsupported};
use crate::error::Result;
use crate::pg::grouping::{Call, Grouped};
use crate::pg::nodes::{Expr, Target};
use crate::pg::types;
use pgtrickle_engine::query::rewrite::distinct_calls::recompute_together;
use pgtrickle_engine::query::{AggregateCall, AggregateFunction, Rel, Scalar};

/// The groups of `from` that HAVING keeps, and the targets over them. The second level is the first one as it is seen above
/// the grouping.
pub(super) fn import<'a>(
    importer: &Importer,
    (level, over_groups): (&Level<'_, 'a>, &Level<'_, 'a>),
    grouped: Grouped<'a>,
    mut from: From<'a>,
) -> Result<(From<'a>, Vec<Target<'a>>)> {
    let Grouped { keys, dependent, calls, groupings, targets, having, .. } = grouped;
    // One group, of which nothing is asked but that it is there: it is, whatever the rows are.
    if keys.is_empty() && dependent.is_empty() && calls.is_empty() {
        from.rel = Rel::unit();
    }
    let (key_entry, dependent_entry, call_entry) = (grouped.key_entry, grouped.dependent_entry, grouped.call_entry);
    let mut above = Scope::new(importer.deparser(level.query, &[dependent.len(), calls.len(), groupings.len()]), level);
    let placed = [
        (key_entry, keys.len()),
        (dependent_entry, dependent.len()),
        (call_entry, calls.len()),
        (grouped.grouping_entry, groupings.len()),
    ];
    let mut position = 0;
    for (entry, count) in placed {
        for column in 1..=count {
            above.place((entry, column as i16), position);
            if entry == call_entry {
                // What sub-selects know the calls by.
                above.place((level.row_entry, column as i16), position);
            }
            position += 1;
        }
    }

    // Named as the SELECT list names them, so that a list of just keys and calls needs no projection.
    let named = |entry: usize, column: usize, fallback: String| {
        let variable = Some((entry, column as i16 + 1));
        let target = targets.iter().find(|target| !target.junk && target.expr.as_variable() == variable);
        target.map_or(fallback, |target| target.name.clone())
    };
    let below = keys.iter().map(|(_, key)| *key).chain(dependent.iter().copied()).chain(calls.iter().map(|c| c.expr));
    let mut input = link::values(importer, level, &mut from.scope, from.rel, below)?;
    let (names, keys): (Vec<String>, Vec<Expr<'a>>) = keys.into_iter().unzip();
    let keys = if keys.iter().any(|key| key.returns_set()) {
        let width = keys.len();
        input = item::select_list(input, &from.scope, keys)?;
        item::yielded(&input, width)
    } else {
        keys.into_iter().map(|key| from.scope.scalar(key)).collect::<Result<Vec<_>>>()?
    };
    let mut key_scalars = Vec::new();
    let mut dependents = Vec::new();
    for (index, (name, key)) in names.into_iter().zip(keys).enumerate() {
        key_scalars.push((named(key_entry, index, name), key));
    }
    for (index, column) in dependent.into_iter().enumerate() {
        dependents.push((named(dependent_entry, index, format!("key{}", index + 1)), from.scope.scalar(column)?));
    }
    let mut aggregate_calls = Vec::new();
    let mut functions = Vec::new();
    for (index, call) in calls.into_iter().enumerate() {
        functions.push(call.name.clone());
        aggregate_calls.push((named(call_entry, index, call.name.clone()), aggregate_call(&from.scope, call)?));
    }
    settle(&mut aggregate_calls);
    for ((name, call), function) in aggregate_calls.iter().zip(functions) {
        importer.summary.borrow_mut().note_call(name, function, call.strategy());
    }

    importer.summary.borrow_mut().note_groups(&input, &key_scalars);
    let groups = Groups { input, keys: key_scalars, dependent: dependents, calls: aggregate_calls, groupings };
    let rel = groups.union(&level.query.grouping_sets())?;
    let rel = link::filter(importer, over_groups, &mut above, rel, 0, having.into_iter().collect())?;
    Ok((From { rel, scope: above }, targets))
}

fn aggregate_call<'a>(scope: &Scope<'a>, call: Call<'a>) -> Result<AggregateCall> {
    if call.varies_by_group {
        let reason = "They must be grouped columns, and an expression over a group's rows cannot name those.";
        return Err(unsupported(format!("direct arguments of {}() that read columns", call.name), reason));
    }
    let whole = scope.scalar(call.expr)?;
    let filter = call.filter.map(|filter| scope.scalar(filter)).transpose()?;
    let arguments = call.arguments.into_iter().map(|argument| scope.scalar(argument)).collect::<Result<Vec<_>>>()?;
    let function = if call.plain { maintained(call.function, &arguments) } else { AggregateFunction::Recompute };
    let argument = match function {
        AggregateFunction::CountStar | AggregateFunction::Recompute => None,
        _ => arguments.into_iter().next(),
    };
    use AggregateFunction as F;
    let repeated = !matches!(function, F::Recompute | F::Min | F::Max | F::BoolAnd | F::BoolOr);
    Ok(AggregateCall { function, argument, distinct: call.distinct && repeated, filter, call: whole })
}

/// An extremum needs an order to compare by.
fn maintained(function: AggregateFunction, arguments: &[Scalar]) -> AggregateFunction {
    match (function, arguments) {
        (AggregateFunction::CountStar, _) => function,
        (AggregateFunction::Min | AggregateFunction::Max, [argument]) if !argument.ty.btree => {
            AggregateFunction::Recompute
        }
        (_, [_]) => function,
        _ => AggregateFunction::Recompute,
    }
}

/// Calls with DISTINCT have their values stored, and each call's argument is NULL beside the other calls' values: neither
/// works for records without a named type, nor the latter for a domain that is NOT NULL.
fn settle(calls: &mut [(String, AggregateCall)]) {
    let fits = |value: &Scalar| !types::is_pseudo(&value.ty) && !types::is_domain(&value.ty);
    if !calls.iter().all(|(_, call)| call.argument.iter().all(fits)) {
        calls.iter_mut().filter(|(_, call)| call.distinct).for_each(|(_, call)| call.recompute());
    }
    recompute_together(calls);
}
