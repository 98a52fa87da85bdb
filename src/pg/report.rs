//! Conditions on their way to the client: with SQLSTATE, DETAIL and HINT.

use std::backtrace::Backtrace;
use std::env;

use pgrx::PgLogLevel;
use pgrx::pg_sys::panic::ErrorReport;

use crate::error::Error;

/// Keeps backtraces out of messages: where the server runs with `RUST_BACKTRACE`, pgrx adds one to the DETAIL of every error that passes
/// through Rust, a user's too. The standard library asks the environment at the first capture and remembers the answer.
pub fn leave_out_backtraces() {
    const SETTING: &str = "RUST_LIB_BACKTRACE";
    let before = env::var_os(SETTING);
    // SAFETY: called while the library is loaded, when the process has one thread.
    unsafe { env::set_var(SETTING, "0") };
    drop(Backtrace::capture());
    // SAFETY: as above.
    unsafe {
        match before {
            Some(value) => env::set_var(SETTING, value),
            None => env::remove_var(SETTING),
        }
    }
}

/// What a SQL function returns as its error: pgrx turns any other type into DATA_EXCEPTION without a hint.
pub type Report = ErrorReport;

impl From<Error> for ErrorReport {
    #[track_caller]
    fn from(error: Error) -> Self {
        let mut report = ErrorReport::new(error.sqlstate(), error.to_string(), "pg_trickle");
        if let Some(detail) = error.detail() {
            report = report.set_detail(detail);
        }
        if let Some(hint) = error.hint() {
            report = report.set_hint(hint);
        }
        report
    }
}

impl Error {
    /// Raises the condition as a PostgreSQL ERROR; for the places that PostgreSQL calls, where no `?` reaches.
    pub fn raise(self) -> ! {
        ErrorReport::from(self).report(PgLogLevel::ERROR);
        unreachable!("an ERROR report does not return")
    }
}
