//! Change capture: what happens to a source reaches its change buffer in the transaction that does it, and leaves it again
//! when every stream table that reads the source has consumed it.
//!
//! | module | what it knows |
//! |---|---|
//! | [`triggers`] | making and removing the capture of a source |
//! | [`buffer`] | reading what lies between a frontier and a snapshot |
//! | [`collect`](mod@collect) | removing what every reader has consumed |

mod buffer;
mod collect;
mod triggers;

pub use buffer::{Changes, has_changes, read_changes};
pub use collect::collect;
pub use pgtrickle_engine::frontier::Frontier;
pub use triggers::{capture, descendants_changed, mark_changed, rebuild, release, source_rewritten};
