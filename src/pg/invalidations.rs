//! How often the system caches may have come to say something else.
//!
//! What is computed from nothing but rows of these caches is the same as long as the number is: a backend that is not told of a
//! change goes on finding the old row in the cache, too. So it is told by the same messages (inval.c).

use pgrx::{pg_guard, pg_sys};
use std::cell::Cell;

/// The caches that names of relations, columns, schemas and functions are looked up in.
const CACHES: [pg_sys::SysCacheIdentifier::Type; 4] = [
    pg_sys::SysCacheIdentifier::RELOID,
    pg_sys::SysCacheIdentifier::ATTNUM,
    pg_sys::SysCacheIdentifier::NAMESPACEOID,
    pg_sys::SysCacheIdentifier::PROCOID,
];

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Another number after every message that concerns a row of one of these caches.
pub fn count() -> u64 {
    if !REGISTERED.replace(true) {
        for cache in CACHES {
            // SAFETY: the callback is a plain function that lives as long as the process.
            unsafe { pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(changed), pg_sys::Datum::from(0)) };
        }
    }
    COUNT.get()
}

#[pg_guard]
unsafe extern "C-unwind" fn changed(_argument: pg_sys::Datum, _cache: i32, _row: u32) {
    COUNT.set(COUNT.get() + 1);
}
