//! The end of recursions that do not end by themselves.

use crate::config;
use crate::error::Error;
use pgrx::{IntoDatum, pg_sys};

super::c_function!(pgt_recursion_step => recursion_step);
/// `pgtrickle._recursion_step()`: true; an error when this place of the running statement has asked more than
/// `pg_trickle.max_recursion_depth` times.
unsafe fn recursion_step(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fmgr passes the call's own lookup record, zeroed at the start of the execution; its scratch pointer belongs to
    // the function, which keeps a number in it.
    let steps = unsafe {
        let scratch = &raw mut (*(*fcinfo).flinfo).fn_extra;
        let steps = (*scratch).addr() + 1;
        *scratch = std::ptr::without_provenance_mut(steps);
        steps
    };
    let most = config::max_recursion_depth();
    if most > 0 && steps > most as usize {
        Error::RecursionTooDeep(most).raise();
    }
    true.into_datum().unwrap_or(pg_sys::Datum::from(1))
}
