//! Text search by the session's configuration.
//!
//! `to_tsvector(text)` and its kin go by `default_text_search_config` and are STABLE for that; the function of the same name
//! that is told the configuration is IMMUTABLE. A defining query means the configuration that its creator has, so the call
//! becomes that of the other function. Calls in views stay as they are: a view means that of whoever reads it.

use super::nodes::text;
use super::rows::palloc_string;
use pgrx::{is_a, pg_guard, pg_sys};
use std::ffi::c_void;

/// A tree walker that changes the calls where they are.
#[pg_guard]
pub(super) unsafe extern "C-unwind" fn name_configurations(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: the walkers call back with valid nodes of a tree that is the caller's to change; the tag tells the type.
    unsafe {
        if is_a(node, pg_sys::NodeTag::T_Query) {
            return pg_sys::query_tree_walker_impl(node.cast(), Some(name_configurations), context, 0);
        }
        if is_a(node, pg_sys::NodeTag::T_FuncExpr) {
            let call = &mut *node.cast::<pg_sys::FuncExpr>();
            if let Some(told) = told_configuration(call.funcid) {
                let configuration = pg_sys::getTSCurrentConfig(true);
                let value = pg_sys::Datum::from(configuration);
                let none = pg_sys::InvalidOid;
                let first = pg_sys::makeConst(pg_sys::REGCONFIGOID, -1, none, 4, value, false, true);
                call.funcid = told;
                call.args = pg_sys::lcons(first.cast(), call.args);
            }
        }
        pg_sys::expression_tree_walker_impl(node, Some(name_configurations), context)
    }
}

/// The IMMUTABLE function that does what this built-in STABLE one does, by the configuration that it is told first.
fn told_configuration(function: pg_sys::Oid) -> Option<pg_sys::Oid> {
    if function.to_u32() >= pg_sys::FirstNormalObjectId {
        return None;
    }
    // SAFETY: syscache lookups of a function that a query calls; the array has `count` items.
    unsafe {
        if pg_sys::func_volatile(function) as u8 != pg_sys::PROVOLATILE_STABLE {
            return None;
        }
        let (mut types, mut count) = (std::ptr::null_mut(), 0);
        pg_sys::get_func_signature(function, &mut types, &mut count);
        let own = if count == 0 { &[][..] } else { std::slice::from_raw_parts(types, count as usize) };
        let wanted: Vec<pg_sys::Oid> = [pg_sys::REGCONFIGOID].into_iter().chain(own.iter().copied()).collect();
        let name = text(pg_sys::get_func_name(function));
        let name = ["pg_catalog", &name].map(|name| pg_sys::makeString(palloc_string(name)));
        let list = pg_sys::lappend(pg_sys::lappend(std::ptr::null_mut(), name[0].cast()), name[1].cast());
        let told = pg_sys::LookupFuncName(list, wanted.len() as i32, wanted.as_ptr(), true);
        let immutable =
            told != pg_sys::InvalidOid && pg_sys::func_volatile(told) as u8 == pg_sys::PROVOLATILE_IMMUTABLE;
        immutable.then_some(told)
    }
}
