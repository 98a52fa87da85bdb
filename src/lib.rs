//! pg_trickle: tables that stay equal to their defining queries.
//!
//! A stream table is an ordinary table plus a defining query. Triggers on the sources write every change as a row with
//! a signed weight into a change buffer, stamped with the writer's transaction id; a refresh takes one snapshot, reads
//! the buffer rows that the stream table's last snapshot did not see, and runs the query's delta over them. The algebra
//! is that of Z-sets (Budiu et al., *DBSP*, VLDB 2023).
//!
//! Data flows down this list and never back up:
//!
//! | module | what lives there |
//! |---|---|
//! | [`error`], [`names`], [`config`] | the error table, every object name, the settings |
//! | [`pg`] | the only `unsafe` code: everything that touches the server's internals |
//! | [`import`] | PostgreSQL's analysed query → the engine's tree |
//! | [`catalog`] | the extension's own tables |
//! | [`cdc`] | change buffers, capture triggers, frontiers |
//! | [`refresh`] | one refresh: choose, compute, apply; storage and state tables |
//! | [`scheduler`], [`monitor`] | background work; status and explanations |
//! | [`api`] | the SQL functions |

mod api;
pub mod catalog;
pub mod cdc;
pub mod config;
pub mod error;
pub mod import;
pub mod monitor;
pub mod names;
pub mod pg;
pub mod refresh;
pub mod scheduler;

::pgrx::pg_module_magic!(name, version);

/// Called when the library is loaded: by the postmaster, or by the first session that needs it.
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::report::leave_out_backtraces();
    config::register();
    pg::estimates::install();
    pg::rewrite::install(pg::rewrite::Handlers {
        rewritten: cdc::source_rewritten,
        altered: cdc::source_altered,
        relabelled: cdc::label_renamed,
        dropping: cdc::dropping,
        detaching: cdc::detaching,
        untold: refresh::untold,
    });
    pg::worker::install(pg::worker::Mains {
        launcher: scheduler::launch,
        scheduler: scheduler::run,
        refresh_worker: scheduler::work,
    });
}
