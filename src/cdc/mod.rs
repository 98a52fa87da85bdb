//! Change capture: what happens to a source reaches its change buffer in the transaction that does it, and leaves it again
//! when every stream table that reads the source has consumed it.
//!
//! | module | what it knows |
//! |---|---|
//! | [`triggers`] | making and removing the capture of a source |
//! | [`buffer`] | reading what lies between a frontier and a snapshot |
//! | [`collect`](mod@collect) | removing what every reader has consumed |
//! | [`ddl`] | what a source's DDL means |
//! | [`types`] | what a change of a type means |
//! | [`family`] | partitions and inheritance children that come and go |
//! | [`members`] | whether a refresh reads those that its snapshot sees |

mod buffer;
mod collect;
mod ddl;
mod family;
mod members;
mod triggers;
mod types;

pub use buffer::{Changes, Pending, Wanted};
pub use collect::{collect, collect_when_due};
pub use ddl::{
    columns_altered, function_changed, names_changed, refuse_redefinition, source_altered, source_rewritten,
    view_altered,
};
pub use family::{capture_again, detaching, dropping, family_changed, member_dropped};
pub use members::Members;
pub use pgtrickle_engine::frontier::Frontier;
pub use triggers::{
    announce, capture, guard_altered, keep_guarded, rebuild, refreshed, release, trigger_altered, watch,
};
pub use types::{label_renamed, rows_changed, text_search_changed, type_altered};
