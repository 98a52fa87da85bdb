//! The only `unsafe` code: everything that touches the server's internals. Pointers in, owned values out, a guard for
//! whatever is acquired.

pub mod analyze;
pub mod buffer;
pub mod clock;
pub mod commit;
pub mod deparse;
pub mod executor;
pub mod facts;
pub mod grouping;
pub mod nodes;
pub mod object;
pub mod relation;
pub mod scalar;
pub mod security;
pub mod settings;
pub mod shmem;
pub mod slots;
pub mod snapshot;
pub mod transaction;
pub mod tuplestore;
pub mod types;
pub mod utility;
pub mod worker;
mod hooks;
