//! Conditions on their way to the client: with SQLSTATE, DETAIL and HINT.

use pgrx::PgLogLevel;
use pgrx::pg_sys::panic::ErrorReport;

use crate::error::Error;

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
