//! The extension's own tables. This is the only module whose SQL names them; one struct per row type.
//!
//! Statements run as the extension's owner, since stream tables belong to ordinary roles; callers check rights first.

mod dependencies;
mod functions;
mod history;
mod known;
mod stream_tables;
mod tracking;
mod types;
mod words;

pub use dependencies::{Dependency, SourceType, add_dependency, consumers, dependencies, sources_of, sources_seen};
pub use functions::{CalledFunction, callers_of, functions_of, reinitialise, set_functions, users_of};
pub use history::{Action, Failure, HistoryEntry, Initiator, PURGE_BATCH, purge_history, record, record_failure};
pub use stream_tables::{
    Definition, NewStreamTable, StreamTable, all, by_id, by_name, by_relid, definition, insert, is_stream_table, lock,
    lock_seen, program, readers, remove, save_program, save_refresh, set_mode, set_schedule, set_state_tables,
    set_status,
};

pub use tracking::{
    Tracking, consumer_frontiers, lock_tracking, remove_tracking, save_tracking, tracked_sources, tracking,
    unlock_tracking,
};
pub use types::{
    all_ids, containers_of, look_again, readers_now, retype, set_types, stored_with, tables_of_type, text_searchers,
    users_of_types,
};

pub use words::{Mode, Status};

use crate::pg::executor::{Param, Row, Statement};
use crate::pg::security::RunAs;
use crate::pg::settings::PinnedSearchPath;
use crate::pg::snapshot::Snapshot;
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    /// The catalog's statements, prepared once per backend; their number is that of the constants that name them.
    static STATEMENTS: RefCell<HashMap<&'static str, Statement>> = RefCell::new(HashMap::new());
}

/// Runs the catalog statement `sql` on the transaction's next snapshot, as the extension's owner.
fn query<T>(sql: &'static str, params: &[Param], read: impl FnMut(&Row) -> T) -> Vec<T> {
    query_at(None, sql, params, read)
}

/// Likewise on `snapshot`, if one is given.
fn query_at<T>(
    snapshot: Option<&Snapshot>,
    sql: &'static str,
    params: &[Param],
    read: impl FnMut(&Row) -> T,
) -> Vec<T> {
    let _path = PinnedSearchPath::new();
    let _owner = RunAs::extension();
    STATEMENTS.with_borrow_mut(|statements| {
        let statement = statements.entry(sql).or_insert_with(|| Statement::prepare(sql, params, &[]));
        statement.query(snapshot, params, read)
    })
}

/// Likewise for a statement that yields nothing; returns the number of rows that it changed.
fn execute(sql: &'static str, params: &[Param]) -> u64 {
    query(sql, params, |_| ()).len() as u64
}
