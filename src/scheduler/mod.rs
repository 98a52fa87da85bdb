//! Background work: one launcher per server, one scheduler per database that has the extension.
//!
//! The launcher (`launcher`) keeps a scheduler running wherever one has something to do. A scheduler (`cycle`) sleeps
//! until a source changes or a due time comes, decides with [`pgtrickle_engine::dag::plan`] what goes together, and
//! refreshes each group in one transaction (`group`). What it knows of its stream tables (`tables`) stays in memory and is read
//! again only when somebody announces a change of the catalog, so idle stream tables cost nothing.
//!
//! **Nobody waits for a long refresh.** A scheduler refreshes by itself what takes a moment: nothing is faster than a process
//! that is there and has its plans. What is known to take longer than [`cycle::MOMENT`] goes to a worker, and what turns
//! out to, is broken off and goes to a worker (`helpers`). So a stream table that is due waits for at most a moment for each that
//! takes long for the first time, whatever the others do. What reads a stream table that a worker has waits for that one, as it would
//! in one transaction with it.

mod cycle;
mod group;
mod helpers;
mod launcher;
mod tables;

pub use cycle::run;
pub use group::work;
pub use launcher::launch;
pub use tables::intervals;

/// The current transaction changes which stream tables there are, or how they are scheduled: at its commit the scheduler
/// reads the catalog again.
pub fn catalog_changed() {
    crate::pg::commit::catalog_changed_at_commit();
}
