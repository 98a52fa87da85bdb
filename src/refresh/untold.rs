//! Definitions were changed while `event_triggers` was off.
//!
//! **Law.** What nobody was told of may be anything: every source is captured again as it should be, every stream table guarded, and
//! recomputed by what its query says now. Nothing is refused, since it is done.

use super::{drop_table, storage};
use crate::catalog;
use crate::cdc;
use crate::error::Result;
use crate::names;
use crate::pg::object;
use pgtrickle_engine::sql::QualifiedName;

/// Called when such a statement is done, in whatever database.
///
/// # Errors
/// As those of capture.
pub fn untold() -> Result<()> {
    if object::oid(&QualifiedName::new(names::SCHEMA, "pgt_stream_tables")).is_none() {
        return Ok(());
    }
    for table in catalog::all()?.into_iter().filter(|table| table.relid != 0) {
        match object::name(table.relid) {
            Some(name) => storage::guard(table.relid, &name),
            None => drop_table(table.id)?,
        }
    }
    cdc::capture_again()?;
    catalog::retype(&catalog::all_ids()?);
    crate::pg::commit::catalog_changed_at_commit();
    Ok(())
}
