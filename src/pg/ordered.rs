//! Aggregates over a sub-select with ORDER BY.
//!
//! PostgreSQL hands the rows of a sub-select on in the order in which it sorted them, so `string_agg(x, ',')` over nothing but
//! such rows puts them together in that order, as long as it does not sort them again: by groups, or by what another call
//! asks for. Rows of a table have no order, so here the call says it itself: `string_agg(x, ',' ORDER BY y)`.

use super::grouping::collects;
use super::nodes::items;
use super::rows::palloc_string;
use pgrx::{is_a, pg_guard, pg_sys};
use std::ffi::c_void;

/// A tree walker that gives calls the order of their rows.
#[pg_guard]
pub(super) unsafe extern "C-unwind" fn order_calls(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: the walkers call back with valid nodes of a tree that is the caller's to change.
    unsafe {
        if !is_a(node, pg_sys::NodeTag::T_Query) {
            return pg_sys::expression_tree_walker_impl(node, Some(order_calls), context);
        }
        let query = node.cast::<pg_sys::Query>();
        if let Some((number, entry)) = only_sorted(&*query) {
            let mut found = Calls { calls: Vec::new(), depth: 0, entry: number, whole: false };
            pg_sys::query_tree_walker_impl(query, Some(visit), (&raw mut found).cast(), 0);
            let sorts_itself =
                |call: &*mut pg_sys::Aggref| !(**call).aggorder.is_null() || !(**call).aggdistinct.is_null();
            let calls: Vec<_> = found.calls.iter().filter(|call| collects((***call).aggfnoid)).collect();
            if !calls.is_empty() && !found.calls.iter().any(sorts_itself) && shows_order(entry, found.whole) {
                calls.into_iter().for_each(|call| order(&mut **call, number, &*(*entry).subquery));
            }
        }
        pg_sys::query_tree_walker_impl(query, Some(order_calls), context, 0)
    }
}

/// The sub-select with ORDER BY that is all that the query, which is one group, reads.
///
/// # Safety
/// `query` is valid.
unsafe fn only_sorted(query: &pg_sys::Query) -> Option<(i32, *mut pg_sys::RangeTblEntry)> {
    if !query.hasAggs || !query.groupClause.is_null() || !query.groupingSets.is_null() {
        return None;
    }
    // SAFETY: a query's jointree is a FromExpr; a RangeTblRef is an index into its rtable.
    unsafe {
        let from = items::<pg_sys::Node>((*query.jointree).fromlist);
        let [only] = from[..] else { return None };
        let only = std::ptr::from_ref(only).cast_mut();
        if !is_a(only, pg_sys::NodeTag::T_RangeTblRef) {
            return None;
        }
        let number = (*only.cast::<pg_sys::RangeTblRef>()).rtindex;
        let entry = pg_sys::list_nth(query.rtable, number - 1).cast::<pg_sys::RangeTblEntry>();
        let sorted = (*entry).rtekind == pg_sys::RTEKind::RTE_SUBQUERY && !(*(*entry).subquery).sortClause.is_null();
        sorted.then_some((number, entry))
    }
}

struct Calls {
    calls: Vec<*mut pg_sys::Aggref>,
    depth: pg_sys::Index,
    entry: i32,
    /// A whole row of the entry is read.
    whole: bool,
}

/// Collects the calls that belong to the query of which [`Calls`] is made, wherever they stand.
#[pg_guard]
unsafe extern "C-unwind" fn visit(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: `order_calls` passes Calls, and the walkers call back with valid nodes; the tag tells the type.
    unsafe {
        let found = &mut *context.cast::<Calls>();
        match (*node).type_ {
            pg_sys::NodeTag::T_Query => {
                found.depth += 1;
                pg_sys::query_tree_walker_impl(node.cast(), Some(visit), context, 0);
                found.depth -= 1;
                return false;
            }
            pg_sys::NodeTag::T_Aggref if (*node.cast::<pg_sys::Aggref>()).agglevelsup == found.depth => {
                found.calls.push(node.cast());
            }
            pg_sys::NodeTag::T_Var => {
                let var = &*node.cast::<pg_sys::Var>();
                found.whole |= var.varattno == 0 && var.varno == found.entry && var.varlevelsup == found.depth;
            }
            _ => {}
        }
        pg_sys::expression_tree_walker_impl(node, Some(visit), context)
    }
}

/// Has the sub-select yield all that it sorts by, unless its rows as values would show that, or it be told apart by it.
///
/// # Safety
/// `entry` is that of a sub-select, and the caller's to change.
unsafe fn shows_order(entry: *mut pg_sys::RangeTblEntry, whole: bool) -> bool {
    // SAFETY: targets that are not shown come last, and eref names those that are.
    unsafe {
        let query = &*(*entry).subquery;
        let hidden = items::<pg_sys::TargetEntry>(query.targetList).into_iter().filter(|target| target.resjunk);
        let hidden: Vec<*mut pg_sys::TargetEntry> =
            hidden.map(|target| std::ptr::from_ref(target).cast_mut()).collect();
        if !hidden.is_empty() && (whole || (!query.distinctClause.is_null() && !query.hasDistinctOn)) {
            return false;
        }
        for target in hidden {
            let name = palloc_string("order");
            (*target).resjunk = false;
            (*target).resname = name;
            let names = &mut (*(*entry).eref).colnames;
            *names = pg_sys::lappend(*names, pg_sys::makeString(name).cast());
        }
        true
    }
}

/// # Safety
/// `call` is the caller's to change; entry `number` of its query is `query`, which shows what it sorts by.
unsafe fn order(call: &mut pg_sys::Aggref, number: i32, query: &pg_sys::Query) {
    // SAFETY: the caller's promise; each clause refers to an item of the target list.
    unsafe {
        let depth = call.agglevelsup;
        let arguments = items::<pg_sys::Node>(call.args).len();
        for (index, clause) in items::<pg_sys::SortGroupClause>(query.sortClause).into_iter().enumerate() {
            let sorted = &*pg_sys::get_sortgroupclause_tle(std::ptr::from_ref(clause).cast_mut(), query.targetList);
            let value = sorted.expr.cast::<pg_sys::Node>();
            let (ty, typmod) = (pg_sys::exprType(value), pg_sys::exprTypmod(value));
            let var = pg_sys::makeVar(number, sorted.resno, ty, typmod, pg_sys::exprCollation(value), depth);
            let place = (arguments + index + 1) as i16;
            let argument = pg_sys::makeTargetEntry(var.cast(), place, std::ptr::null_mut(), true);
            (*argument).ressortgroupref = index as u32 + 1;
            call.args = pg_sys::lappend(call.args, argument.cast());
            let own = pg_sys::copyObjectImpl(std::ptr::from_ref(clause).cast()).cast::<pg_sys::SortGroupClause>();
            (*own).tleSortGroupRef = index as u32 + 1;
            call.aggorder = pg_sys::lappend(call.aggorder, own.cast());
        }
    }
}
