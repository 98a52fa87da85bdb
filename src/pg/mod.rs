//! The only `unsafe` code: everything that touches the server's internals. Pointers in, owned values out, a guard for
//! whatever is acquired.

/// A C-language function of the extension: the entry point that PostgreSQL looks up by name, and the record by which it
/// recognises the calling convention, around a Rust function. pgrx would also write the SQL declaration, but has no
/// spelling for trigger functions and `record` arguments as they are wanted here; see `sql/install/capture.sql`.
macro_rules! c_function {
    ($symbol:ident => $function:path) => {
        const _: () = {
            #[unsafe(no_mangle)]
            unsafe extern "C-unwind" fn $symbol(fcinfo: pgrx::pg_sys::FunctionCallInfo) -> pgrx::pg_sys::Datum {
                // SAFETY: fmgr passes a valid call frame, and what it points to is valid during the call.
                unsafe { pgrx::pg_sys::panic::pgrx_extern_c_guard(|| $function(fcinfo)) }
            }

            #[unsafe(export_name = concat!("pg_finfo_", stringify!($symbol)))]
            extern "C" fn calling_convention() -> &'static pgrx::pg_sys::Pg_finfo_record {
                &pgrx::pg_sys::Pg_finfo_record { api_version: 1 }
            }
        };
    };
}
use c_function;

pub mod buffer;
pub mod capture;
pub mod guard;
pub mod image;
mod layout;
pub mod security;
pub mod settings;
pub mod snapshot;
pub mod transaction;
mod trigger;
pub mod tuplestore;
pub mod xact;
