//! A limit to how long a piece of work may take.
//!
//! When the time is over the work is cancelled as if somebody had asked for it, at the next place where the server looks
//! for that; whatever transaction it is in rolls back. Work that is done by then, or is just committing, is not harmed.

use std::ffi::c_int;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use pgrx::pg_sys;

// `utils/timeout.h`. They set variables and a timer of the process, and do not fail.
unsafe extern "C-unwind" {
    fn RegisterTimeout(id: c_int, handler: unsafe extern "C-unwind" fn()) -> c_int;
    fn enable_timeout_after(id: c_int, delay_ms: c_int);
    fn disable_timeout(id: c_int, keep_indicator: bool);
}

/// Any free timeout of the process.
const USER_TIMEOUT: c_int = 13;

static OVER: AtomicBool = AtomicBool::new(false);

/// A signal handler: sets flags and the latch, as that of `statement_timeout` does.
unsafe extern "C-unwind" fn over() {
    OVER.store(true, SeqCst);
    // SAFETY: flags that signal handlers set, and the process's own latch.
    unsafe {
        (&raw mut pg_sys::QueryCancelPending).write_volatile(1);
        (&raw mut pg_sys::InterruptPending).write_volatile(1);
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}

/// Runs `body` and tells whether `limit` was over before it came back. For background workers, one limit at a time.
pub fn within<T>(limit: Duration, body: impl FnOnce() -> T) -> (T, bool) {
    static TIMEOUT: OnceLock<c_int> = OnceLock::new();
    // SAFETY: the handler is a function of the library, which is never unloaded.
    let timeout = *TIMEOUT.get_or_init(|| unsafe { RegisterTimeout(USER_TIMEOUT, over) });
    let milliseconds = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the timeout is registered.
    unsafe { enable_timeout_after(timeout, milliseconds) };
    let value = body();
    // SAFETY: as above. A request that came too late would cancel something else.
    unsafe {
        disable_timeout(timeout, false);
        let was_over = OVER.swap(false, SeqCst);
        if was_over {
            (&raw mut pg_sys::QueryCancelPending).write_volatile(0);
        }
        (value, was_over)
    }
}
