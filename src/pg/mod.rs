//! The only `unsafe` code: everything that touches the server's internals. Pointers in, owned values out, a guard for
//! whatever is acquired.

pub mod settings;
pub mod transaction;
