//! The SQL functions: parse the arguments, one call down. Nothing imports this.

#![expect(clippy::result_large_err, reason = "pgrx takes a SQLSTATE and a hint from an ErrorReport only, unboxed")]

mod arguments;
mod ddl;
mod lifecycle;
mod reports;
mod text;

use pgrx::prelude::*;

extension_sql_file!("../../sql/install/catalog.sql", name = "catalog", bootstrap);
extension_sql_file!("../../sql/install/capture.sql", name = "capture", requires = ["catalog"]);
extension_sql_file!("../../sql/install/records.sql", name = "records", requires = ["catalog"]);
extension_sql_file!(
    "../../sql/install/ddl.sql",
    name = "ddl",
    requires = [
        "catalog",
        ddl::_family_changed,
        ddl::_member_dropped,
        ddl::_function_changed,
        ddl::_names_changed,
        ddl::_text_search_changed,
        ddl::_view_altered,
        ddl::_rows_changed,
        ddl::_type_altered,
        ddl::_matview_refreshed,
        ddl::_capture_altered,
        ddl::_guard_altered,
        ddl::_stream_table_altered,
        ddl::_refuse_redefinition,
        ddl::_stream_table_dropped,
    ]
);
extension_sql_file!(
    "../../sql/install/monitor.sql",
    name = "monitor",
    requires = ["catalog", reports::_stale_tables, reports::_slot_lag_warning_bytes]
);
extension_sql_file!("../../sql/install/preload.sql", name = "preload", finalize);

/// The schema of the functions, as the SQL generator must know it; the catalog's script makes it.
#[pg_schema]
mod pgtrickle {}
