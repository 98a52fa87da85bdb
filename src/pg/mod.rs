//! The only `unsafe` code: everything that touches the server's internals. Pointers in, owned values out, a guard for
//! whatever is acquired.

pub mod analyze;
pub mod buffer;
pub mod deparse;
pub mod facts;
pub mod grouping;
pub mod nodes;
pub mod relation;
pub mod scalar;
pub mod security;
pub mod settings;
pub mod snapshot;
pub mod transaction;
pub mod tuplestore;
pub mod types;
