//! Every name of an object that the extension owns.

use pgtrickle_engine::sql::QualifiedName;

/// Schema of the catalog and the SQL functions.
pub const SCHEMA: &str = "pgtrickle";
/// Schema of the change buffers.
pub const CHANGES_SCHEMA: &str = "pgtrickle_changes";
/// Schema of the state tables of inner stages.
pub const STATE_SCHEMA: &str = "pgtrickle_state";

/// The function on which indexes of rows without a key are.
pub const ROW_HASH: &str = "row_hash";

/// The change buffer of a source: columns `xid xid8`, `cid int4`, `w int4`, then `c<attnum>` for each captured column.
pub fn buffer(source: u32) -> QualifiedName {
    QualifiedName::new(CHANGES_SCHEMA, format!("changes_{source}"))
}

/// A column of a change buffer, always NULL: readers that take no rows are told of every statement.
pub const ANNOUNCED: &str = "announced";
/// Likewise, and there are no other readers.
pub const ONLY_ANNOUNCED: &str = "only_announced";

/// The stored result of an inner stage of a stream table.
pub fn state_table(pgt_id: i64, stage: usize) -> QualifiedName {
    QualifiedName::new(STATE_SCHEMA, format!("state_{pgt_id}_{stage}"))
}

/// What a source that nothing captures was when the stream table last looked at it: columns `c<attnum>`.
pub fn snapshot_table(pgt_id: i64, source: u32) -> QualifiedName {
    QualifiedName::new(STATE_SCHEMA, format!("snapshot_{pgt_id}_{source}"))
}

/// The capture triggers of a source: `kind` is `ins`, `upd`, `del`, `truncate` or `row` (replica sessions).
pub fn capture_trigger(source: u32, kind: &str) -> String {
    format!("pg_trickle_cdc_{kind}_{source}")
}

/// The source whose changes a trigger of this name captures.
pub fn captured_by(trigger: &str) -> Option<u32> {
    let (_, source) = trigger.strip_prefix("pg_trickle_cdc_")?.split_once('_')?;
    source.parse().ok()
}

/// The trigger that refuses direct writes to a stream table.
pub const GUARD_TRIGGER: &str = "pgt_dml_guard";
/// The trigger that refuses TRUNCATE of a stream table.
pub const TRUNCATE_GUARD_TRIGGER: &str = "pgt_truncate_guard";
