//! The only `unsafe` code: everything that touches the server's internals. Pointers in, owned values out, a guard for
//! whatever is acquired.

pub mod buffer;
pub mod clock;
pub mod executor;
pub mod object;
pub mod security;
pub mod settings;
pub mod snapshot;
pub mod transaction;
pub mod tuplestore;
pub mod utility;
