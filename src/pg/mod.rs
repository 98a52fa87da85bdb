//! The only `unsafe` code: everything that touches the server's internals. Pointers in, owned values out, a guard for
//! whatever is acquired.

pub mod analyze;
mod bare;
mod btree;
pub mod buffer;
pub mod capture;
pub mod clock;
mod collations;
pub mod commit;
pub mod computed;
pub mod constructs;
mod consumed;
pub mod definition;
pub mod deparse;
pub mod estimates;
pub mod executor;
pub mod facts;
pub mod function;
pub mod grouping;
pub mod grouping_sets;
pub mod guard;
pub mod image;
pub mod inheritance;
pub mod invalidations;
mod kept;
pub mod limit;
pub mod lock;
mod marks;
pub mod moment;
mod named;
pub mod nodes;
pub mod object;
mod ordered;
pub mod ordering;
mod page;
mod pages;
pub mod plans;
mod position;
pub mod reading;
mod recursion;
pub mod relation;
pub mod report;
pub mod rewrite;
mod room;
mod row_test;
pub mod rows;
pub mod rowwise;
pub mod scalar;
mod search;
pub mod security;
pub mod sequence;
pub mod settings;
pub mod shmem;
pub mod slots;
pub mod snapshot;
pub mod source;
pub mod stability;
pub mod stack;
pub mod statistics;
mod stored;
pub mod table;
pub mod tasks;
mod threshold;
pub mod transaction;
mod transition;
pub mod tuplestore;
pub mod types;
pub mod used_type;
pub mod utility;
pub mod version;
pub mod windows;
pub mod worker;
pub mod xact;
mod zset;

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

/// An object id as SQL functions take it.
pub type Oid = pgrx::pg_sys::Oid;

mod hooks;
mod in_place;
mod join_rows;
mod layout;
mod leaving;
pub mod level;
mod trigger;
