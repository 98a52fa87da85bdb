//! Comparisons of values of different collations.
//!
//! `a = b` compares by one collation, that of the operand that has one of its own. Where it is not deterministic, and the other
//! operand's is another, values that the other tells apart are equal to one: such a comparison does not equate keys. Here it
//! says so itself, `a = b COLLATE nocase`: what is equated with the column then is an expression, and a key of its own.
//!
//! PostgreSQL 18.6 takes `b`'s own collation when it makes the rows of a semi-join unique before it joins them
//! (`compute_semijoin_info`, initsplan.c), and so finds a row once for each `b` that equals its `a`. Of an expression that says
//! its collation it takes the right one.

use pgrx::{is_a, pg_guard, pg_sys};
use std::ffi::c_void;

/// A tree walker that has comparisons say by which collation, unless the operands' is the same or deterministic.
#[pg_guard]
pub(super) unsafe extern "C-unwind" fn say(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: the walkers call back with valid nodes of a tree that is the caller's to change; the tag tells the type.
    unsafe {
        if is_a(node, pg_sys::NodeTag::T_Query) {
            return pg_sys::query_tree_walker_impl(node.cast(), Some(say), context, 0);
        }
        if is_a(node, pg_sys::NodeTag::T_OpExpr) {
            let comparison = &*node.cast::<pg_sys::OpExpr>();
            let collation = comparison.inputcollid;
            if let Some(list) = comparison.args.as_ref()
                && collation != pg_sys::InvalidOid
                && !pg_sys::get_collation_isdeterministic(collation)
            {
                for operand in std::slice::from_raw_parts_mut(list.elements, list.length as usize) {
                    operand.ptr_value = by(operand.ptr_value.cast(), collation).cast();
                }
            }
        }
        pg_sys::expression_tree_walker_impl(node, Some(say), context)
    }
}

/// The operand, compared by `collation`. That of a constant shows nowhere.
///
/// # Safety
/// A valid expression.
unsafe fn by(operand: *mut pg_sys::Node, collation: pg_sys::Oid) -> *mut pg_sys::Node {
    // SAFETY: the caller's promise; the new node is of the tag's type.
    unsafe {
        let own = pg_sys::exprCollation(operand);
        if own == collation || own == pg_sys::InvalidOid || is_a(operand, pg_sys::NodeTag::T_Const) {
            return operand;
        }
        let said = pg_sys::palloc0(size_of::<pg_sys::CollateExpr>()).cast::<pg_sys::CollateExpr>();
        (*said).xpr.type_ = pg_sys::NodeTag::T_CollateExpr;
        (*said).arg = operand.cast();
        (*said).collOid = collation;
        (*said).location = -1;
        said.cast()
    }
}
