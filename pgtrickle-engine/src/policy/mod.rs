//! Decisions as pure functions: full or differential, how long to back off.

mod costs;
mod refresh;
mod retry;

pub use costs::{Change, Costs};
pub use refresh::{Choice, Facts, Method, Strategy, choose};
pub use retry::{Failure, Verdict, backoff_ms, classify, verdict};
