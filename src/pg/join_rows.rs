//! Rows of joins as values.
//!
//! The fields of such a row have the names that the join's columns had when the query was analysed; PostgreSQL evaluates it as
//! `ROW(…)` of these columns, NULL as a whole where an outer join pads it (`flatten_join_alias_vars`). Printed it is the name of
//! the join, whose columns then are called what they are called now, so the join prints the names that they had. No two of
//! them are printed alike, which goes for sub-selects and WITH items too: a row with two fields of one name cannot be printed.

use super::nodes::items;
use pgrx::{is_a, pg_guard, pg_sys};
use std::collections::BTreeSet;
use std::ffi::{CStr, c_void};

/// A tree walker that has every join that has a name print the names that its columns had when the query was analysed, once they are
/// other ones.
#[pg_guard]
pub(super) unsafe extern "C-unwind" fn name_columns(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: the walkers call back with valid nodes of a tree that is the caller's to change; an entry's eref is always set.
    unsafe {
        if !is_a(node, pg_sys::NodeTag::T_Query) {
            return pg_sys::expression_tree_walker_impl(node, Some(name_columns), context);
        }
        let query = node.cast::<pg_sys::Query>();
        for entry in items::<pg_sys::RangeTblEntry>((*query).rtable) {
            if entry.rtekind == pg_sys::RTEKind::RTE_JOIN && !entry.alias.is_null() {
                (*entry.alias).colnames = pg_sys::copyObjectImpl((*entry.eref).colnames.cast()).cast();
            }
        }
        pg_sys::query_tree_walker_impl(query, Some(name_columns), context, 0)
    }
}

struct JoinRows {
    queries: Vec<*mut pg_sys::Query>,
    found: WholeRows,
}

/// Whole rows that a query reads and that cannot be computed from its text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WholeRows {
    /// Of a join beyond an outer join that pads it.
    pub padded: bool,
    /// With two fields of one name.
    pub doubled: bool,
}

/// Looks for such rows. `flatten_join_alias_vars` makes rows of joins of their columns and so fails, outside of the planner, to make
/// the whole NULL; it is told that nothing does.
///
/// # Safety
/// `tree` is an analysed query that is the caller's to change.
pub(super) unsafe fn whole_rows(tree: *mut pg_sys::Query) -> WholeRows {
    let mut rows = JoinRows { queries: Vec::new(), found: WholeRows::default() };
    // SAFETY: the caller's promise; the context is what `visit_join_rows` takes it for.
    unsafe { visit_join_rows(tree.cast(), (&raw mut rows).cast()) };
    rows.found
}

/// # Safety
/// `entry` belongs to an analysed query.
unsafe fn has_equal_names(entry: &pg_sys::RangeTblEntry) -> bool {
    // SAFETY: eref is always set and holds String nodes. A dropped column has an empty name.
    let names = unsafe { items::<pg_sys::String>((*entry.eref).colnames) };
    // SAFETY: NUL-terminated strings.
    let names: Vec<&CStr> =
        names.iter().map(|name| unsafe { CStr::from_ptr(name.sval) }).filter(|name| !name.is_empty()).collect();
    names.iter().collect::<BTreeSet<_>>().len() < names.len()
}

#[pg_guard]
unsafe extern "C-unwind" fn visit_join_rows(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: `whole_rows` passes JoinRows, and the walkers call back with valid nodes; the tag tells the type, and
    // a column's entry is in the range table of the query that it belongs to.
    unsafe {
        let rows = &mut *context.cast::<JoinRows>();
        if is_a(node, pg_sys::NodeTag::T_Query) {
            rows.queries.push(node.cast());
            pg_sys::query_tree_walker_impl(node.cast(), Some(visit_join_rows), context, 0);
            rows.queries.pop();
            return false;
        }
        if is_a(node, pg_sys::NodeTag::T_Var) {
            let var = &mut *node.cast::<pg_sys::Var>();
            if var.varattno == 0 {
                let query = rows.queries[rows.queries.len() - 1 - var.varlevelsup as usize];
                let entry = items::<pg_sys::RangeTblEntry>((*query).rtable)[var.varno as usize - 1];
                rows.found.doubled |= has_equal_names(entry);
                if entry.rtekind == pg_sys::RTEKind::RTE_JOIN && !var.varnullingrels.is_null() {
                    var.varnullingrels = std::ptr::null_mut();
                    rows.found.padded = true;
                }
            }
        }
        pg_sys::expression_tree_walker_impl(node, Some(visit_join_rows), context)
    }
}
