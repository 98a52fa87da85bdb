//! Background work: one launcher per server, one scheduler per database that has the extension.
//!
//! The launcher (`launcher`) keeps a scheduler running wherever one has something to do. A scheduler (`cycle`) sleeps
//! until a source changes or a due time comes, decides with [`pgtrickle_engine::dag::plan`] what goes together, and
//! refreshes each group in one transaction. What it knows of its stream tables (`tables`) stays in memory and is read
//! again only when somebody announces a change of the catalog, so idle stream tables cost nothing.

mod cycle;
mod launcher;
mod tables;

pub use cycle::run;
pub use launcher::launch;
pub use tables::intervals;

/// The current transaction changes which stream tables there are, or how they are scheduled: at its commit the scheduler
/// reads the catalog again.
pub fn catalog_changed() {
    crate::pg::commit::catalog_changed_at_commit();
}
