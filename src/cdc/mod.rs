//! Change capture: what happens to a source reaches its change buffer in the transaction that does it, and leaves it again
//! when every stream table that reads the source has consumed it.
//!
//! | module | what it knows |
//! |---|---|
//! | [`buffer`] | reading what lies between a frontier and a snapshot |

mod buffer;

pub use buffer::{Changes, has_changes, read_changes};
pub use pgtrickle_engine::frontier::Frontier;
