//! Commands that the executor does not run: DDL and ANALYZE.

use pgrx::Spi;

/// Runs one command for its effect, as the current role.
///
/// # Errors
/// PostgreSQL's own, raised.
pub fn run(sql: &str) {
    if let Err(error) = Spi::run(sql) {
        crate::error::Error::Internal(format!("{error}: {sql}")).raise();
    }
}

/// Runs one command that yields lines of text, such as EXPLAIN, as the current role.
///
/// # Errors
/// PostgreSQL's own, raised.
pub fn lines(sql: &str) -> Vec<String> {
    // A utility statement is no read-only query, also where nothing has been written yet.
    let read = Spi::connect_mut(|client| {
        let rows = client.update(sql, None, &[])?;
        rows.map(|row| row.get::<String>(1)).collect::<std::result::Result<Vec<_>, _>>()
    });
    match read {
        Ok(lines) => lines.into_iter().flatten().collect(),
        Err(error) => crate::error::Error::Internal(format!("{error}: {sql}")).raise(),
    }
}
