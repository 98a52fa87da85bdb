//! What the tests of pg_trickle stand on: a throw-away PostgreSQL 18 server, a database per test, sessions, and an
//! oracle that compares a stream table with its query and knows nothing about the engine.
//!
//! Nothing here links the extension. The server loads a staged build (see `scripts/stage`), named by `PGTRICKLE_STAGE`.

mod database;
mod oracle;
mod runner;
mod server;
mod session;
mod wait;

pub use database::{Database, create, refresh};
pub use oracle::Comparison;
pub use runner::{Test, isolated, run};
pub use server::{Options, Server};
pub use session::{Failure, Row, Running, Session};
pub use wait::wait_until;
