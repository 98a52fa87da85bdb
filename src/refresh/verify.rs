//! The oracle as a function: the stream table against its own defining query, at one snapshot.

use super::load;
use crate::catalog::{self, StreamTable};
use crate::error::{Error, Result};
use crate::pg::definition;
use crate::pg::executor::Statement;
use crate::pg::object;
use crate::pg::security::RunAs;
use crate::pg::settings::PinnedSettings;
use crate::pg::snapshot::Snapshot;

/// Rows that the stream table lacks, and rows that it should not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub missing: i64,
    pub extra: i64,
}

/// Compares the contents of `table` with its query, both as of now, as the table's owner.
pub fn verify(table: &StreamTable) -> Result<Verdict> {
    let prepared = load(table)?;
    let owner = object::owner(table.relid).ok_or_else(|| Error::NotFound(table.name.to_string()))?;
    // In the names of now: what is loaded need not know those of views.
    let query = definition::sql(&catalog::definition(table.id)?.analysed)?;
    let snapshot = Snapshot::take().advanced();
    let _rights = RunAs::owner(owner);
    let _settings = PinnedSettings::of(&prepared.settings);
    let counted = prepared.program.verification(&query, &prepared.storage).map(|sql| {
        let rows = Statement::prepare(&sql, &[], &[]).query(Some(&snapshot), &[], |row| row.get::<i64>(0));
        rows.into_iter().flatten().next().ok_or_else(|| Error::Internal("count(*) returned no row".into()))
    });
    let [missing, extra] = counted;
    Ok(Verdict { missing: missing?, extra: extra? })
}
