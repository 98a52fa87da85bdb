//! `ROW(ROW(x)) op ANY (q)`: a row that is compared as one value.
//!
//! The server prints it without the outer ROW, and its grammar takes the ROW that is left for the list of the columns that are
//! compared (`get_sublink_expr`, ruleutils.c; `transformSubLink`, parse_expr.c). So it is printed with one more ROW around it.

use super::rows::make_node;
use pgrx::{PgList, is_a, pg_guard, pg_sys};
use std::ffi::c_void;

/// A tree walker that changes the tree, to be printed and nothing else.
#[pg_guard]
pub(super) unsafe extern "C-unwind" fn nest(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: the walkers call back with valid nodes of a tree that is the caller's to change; the tag tells the type.
    unsafe {
        if is_a(node, pg_sys::NodeTag::T_Query) {
            return pg_sys::query_tree_walker_impl(node.cast(), Some(nest), context, 0);
        }
        if is_a(node, pg_sys::NodeTag::T_SubLink) {
            let test = (*node.cast::<pg_sys::SubLink>()).testexpr;
            if is_a(test, pg_sys::NodeTag::T_OpExpr) {
                let mut sides = PgList::<pg_sys::Node>::from_pg((*test.cast::<pg_sys::OpExpr>()).args);
                if let Some(left) = sides.get_ptr(0).filter(|left| is_a(*left, pg_sys::NodeTag::T_RowExpr)) {
                    let row = make_node::<pg_sys::RowExpr>(pg_sys::NodeTag::T_RowExpr);
                    (*row).args = pg_sys::lappend(std::ptr::null_mut(), left.cast());
                    (*row).row_typeid = pg_sys::RECORDOID;
                    (*row).row_format = pg_sys::CoercionForm::COERCE_EXPLICIT_CALL;
                    (*row).location = -1;
                    sides.replace_ptr(0, row.cast());
                }
            }
        }
        pg_sys::expression_tree_walker_impl(node, Some(nest), context)
    }
}
