//! Stream tables are written by refreshes only.
//!
//! A statement-level BEFORE trigger on every stream table refuses writes, unless this backend is writing that very table
//! on purpose. The permission is an [`InternalWrites`] value and names the relation, so a function or a user's trigger that runs
//! meanwhile does not get it for another one.

use std::cell::RefCell;

use pgrx::pg_sys::{self, Datum};

use super::trigger;
use crate::error::Error;

thread_local! {
    static WRITING: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// While it lives, this backend may write the stream table. An error drops it while it unwinds.
pub struct InternalWrites {
    relation: u32,
}

impl InternalWrites {
    #[must_use = "the permission ends when the guard is dropped"]
    pub fn allow(relation: u32) -> Self {
        WRITING.with_borrow_mut(|writing| writing.push(relation));
        InternalWrites { relation }
    }
}

impl Drop for InternalWrites {
    fn drop(&mut self) {
        WRITING.with_borrow_mut(|writing| {
            if let Some(position) = writing.iter().rposition(|relation| *relation == self.relation) {
                writing.swap_remove(position);
            }
        });
    }
}

super::c_function!(pgt_dml_guard => dml_guard);
/// `pgtrickle.pgt_dml_guard()`: BEFORE INSERT, UPDATE, DELETE or TRUNCATE, for each statement.
unsafe fn dml_guard(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: called as a trigger, so the relation is open and locked.
    unsafe {
        let call = trigger::called(fcinfo);
        let relation = (*(*call).tg_relation).rd_id.to_u32();
        if !WRITING.with_borrow(|writing| writing.contains(&relation)) {
            let name = trigger::relation_name((*call).tg_relation);
            Error::DirectWrite(name).raise();
        }
        Datum::from(0)
    }
}
