//! What the event triggers call.

use crate::cdc;
use crate::pg::{Oid, report::Report};
use pgrx::prelude::*;

/// The table may have got or lost parents or children: those of a captured source are captured, and its readers recompute.
#[pg_extern(schema = "pgtrickle", strict)]
fn _family_changed(relation: Oid) -> std::result::Result<(), Report> {
    Ok(cdc::family_changed(relation.to_u32())?)
}

/// A partition or child of the source was dropped: its readers recompute.
#[pg_extern(schema = "pgtrickle", strict)]
fn _member_dropped(source: Oid) {
    cdc::mark_changed(source.to_u32());
}
