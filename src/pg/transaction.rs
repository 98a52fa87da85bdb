//! Transactions and subtransactions around Rust closures.
//!
//! A closure fails by returning an [`Error`] or by anything that raises below it (a PostgreSQL ERROR, a panic). Either
//! way its work is rolled back and the caller gets a [`Caught`]; memory context and resource owner are as before.

use std::panic::AssertUnwindSafe;

use pgrx::PgTryBuilder;
use pgrx::pg_sys;
use pgrx::pg_sys::elog::PgLogLevel;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};

use super::position::Callbacks;
use crate::error::Error;

/// An error that was stopped at a transaction or subtransaction boundary.
#[derive(Clone, Debug)]
pub struct Caught {
    pub sqlstate: PgSqlErrorCode,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Caught {
    /// The five characters of the SQLSTATE.
    pub fn sqlstate_text(&self) -> String {
        let mut packed = self.sqlstate as i32;
        (0..5)
            .map(|_| {
                let c = char::from((packed & 0x3f) as u8 + b'0');
                packed >>= 6;
                c
            })
            .collect()
    }

    /// Whether the user or the administrator asked for the work to stop; such an error is passed on, never recorded.
    pub fn is_cancel(&self) -> bool {
        matches!(self.sqlstate, PgSqlErrorCode::ERRCODE_QUERY_CANCELED | PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN)
    }

    /// Whether an expression could not be computed for some values (class 22, data exception; class 21, a sub-select of several
    /// rows), as opposed to a failure of the statement as a whole.
    pub fn is_about_values(&self) -> bool {
        ["21", "22"].iter().any(|class| self.sqlstate_text().starts_with(class))
    }

    /// Whether it says nothing about the statement: a deadlock (class 40), a full disk (53), and the like.
    pub fn is_about_the_server(&self) -> bool {
        ["40", "53", "57", "58"].iter().any(|class| self.sqlstate_text().starts_with(class))
    }

    /// Reports it at `level`; ERROR does not return.
    pub fn report(&self, level: PgLogLevel) {
        self.clone().into_report().report(level);
    }

    /// Raises it again as a PostgreSQL ERROR.
    pub fn raise(self) -> ! {
        self.report(PgLogLevel::ERROR);
        unreachable!("an ERROR report does not return")
    }

    fn into_report(self) -> ErrorReport {
        let mut report = ErrorReport::new(self.sqlstate, self.message, "pg_trickle");
        if let Some(detail) = self.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        report
    }
}

impl From<Caught> for ErrorReport {
    fn from(caught: Caught) -> Self {
        caught.into_report()
    }
}

impl From<Error> for Caught {
    fn from(error: Error) -> Self {
        Caught { sqlstate: error.sqlstate(), message: error.to_string(), detail: error.detail(), hint: error.hint() }
    }
}

impl From<CaughtError> for Caught {
    fn from(caught: CaughtError) -> Self {
        let (CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. }) = caught;
        Caught {
            sqlstate: report.sql_error_code(),
            message: report.message().to_owned(),
            detail: report.detail().map(str::to_owned),
            hint: report.hint().map(str::to_owned),
        }
    }
}

/// Runs `body` and turns whatever it raises into a value. The error state is flushed; transaction state is not touched.
fn catch<T, E: Into<Caught>>(body: impl FnOnce() -> Result<T, E>) -> Result<T, Caught> {
    let callbacks = Callbacks::here();
    PgTryBuilder::new(AssertUnwindSafe(|| body().map_err(Into::into)))
        .catch_others(|caught| {
            callbacks.restore();
            Err(caught.into())
        })
        .execute()
}

/// Runs `body` in a subtransaction of the current transaction: released when it succeeds, rolled back when it fails.
pub fn subtransaction<T, E: Into<Caught>>(body: impl FnOnce() -> Result<T, E>) -> Result<T, Caught> {
    in_subtransaction(body, true)
}

/// Runs `body` in a subtransaction that is rolled back, whether it succeeds or fails.
pub fn undone<T, E: Into<Caught>>(body: impl FnOnce() -> Result<T, E>) -> Result<T, Caught> {
    in_subtransaction(body, false)
}

fn in_subtransaction<T, E: Into<Caught>>(body: impl FnOnce() -> Result<T, E>, keep: bool) -> Result<T, Caught> {
    // SAFETY: the sequence of PL/pgSQL's exception blocks. Both end functions are called at the nesting level that the
    // begin function made, because whatever `body` opened is closed or was thrown past.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        // A deferred error of the release counts as a failure of the body, so it runs under the same catch.
        let result = catch(|| {
            let value = body()?;
            if keep {
                pg_sys::ReleaseCurrentSubTransaction();
            }
            Ok::<T, E>(value)
        });
        if !keep || result.is_err() {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}

/// Runs `body` in a transaction of its own, READ COMMITTED and writable whatever the defaults are, with an active snapshot; commits when it succeeds, aborts
/// when it fails. For background workers between transactions; a session's own transaction is not its business.
pub fn transaction<T, E: Into<Caught>>(body: impl FnOnce() -> Result<T, E>) -> Result<T, Caught> {
    // SAFETY: the caller is a worker outside of any transaction, as bgworker code does it.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let result = catch(|| {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as i32;
            pg_sys::XactReadOnly = false;
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            let value = body().map_err(Into::into)?;
            pg_sys::PopActiveSnapshot();
            pg_sys::CommitTransactionCommand();
            Ok::<T, Caught>(value)
        });
        if result.is_err() {
            pg_sys::AbortCurrentTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        result
    }
}
