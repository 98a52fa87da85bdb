//! Where in a defining query an error is.
//!
//! An error of the parser or the analysis has a place in the text that it was given. An error that passes through Rust loses
//! it: of PostgreSQL's report, pgrx keeps the message, DETAIL and HINT. So the place is noted while the error is first
//! raised, and given back when it is raised again on its way to the client, as a place in an internal query: that is what
//! PL/pgSQL does for EXECUTE (`_SPI_error_callback`, spi.c).
//!
//! Both are error context callbacks, which the server calls while it raises an error. The second one is the last that this
//! library has on the server's stack of them, put there when the first is taken off; whoever catches an error takes the
//! stack back to what it was ([`Callbacks`]), as the server itself does.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_void};
use std::ptr::null_mut;

use pgrx::{pg_guard, pg_sys};

/// What is known of an error that has been raised.
struct Known {
    query: CString,
    /// In characters, from 1.
    position: i32,
    sqlstate: i32,
    /// On the server's stack while the error is under way. Made by a Box.
    callback: *mut pg_sys::ErrorContextCallback,
}

impl Drop for Known {
    fn drop(&mut self) {
        // SAFETY: nobody else frees it, and the error is over when another one takes its place.
        drop(unsafe { Box::from_raw(self.callback) });
    }
}

thread_local! {
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

/// Runs `body`, which has PostgreSQL parse or analyse `query`: errors tell where in it they are.
pub(super) fn told<T>(query: &CStr, body: impl FnOnce() -> T) -> T {
    let mut noting = Noting { query, found: None, callback: callback(note, null_mut()) };
    noting.callback.arg = (&raw mut noting).cast();
    // SAFETY: a variable of the server's; the callback is taken off when `noting` is dropped.
    unsafe {
        noting.callback.previous = pg_sys::error_context_stack;
        pg_sys::error_context_stack = &raw mut *noting.callback;
    }
    let value = body();
    noting.found = None;
    value
}

struct Noting<'q> {
    query: &'q CStr,
    /// Position and SQLSTATE of the error.
    found: Option<(i32, i32)>,
    callback: Box<pg_sys::ErrorContextCallback>,
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        let previous = self.callback.previous;
        // SAFETY: a variable of the server's. What was on its stack before lives in frames further out, which the error has yet
        // to pass, and the new callback in `KNOWN` until a later error takes its place: this one is over by then.
        unsafe { pg_sys::error_context_stack = previous };
        let Some((position, sqlstate)) = self.found.take() else { return };
        let callback = Box::into_raw(callback(tell, previous));
        // SAFETY: as above.
        unsafe { pg_sys::error_context_stack = callback };
        let known = Known { query: self.query.to_owned(), position, sqlstate, callback };
        KNOWN.with_borrow_mut(|last| *last = Some(known));
    }
}

type Callback = unsafe extern "C-unwind" fn(*mut c_void);

fn callback(function: Callback, previous: *mut pg_sys::ErrorContextCallback) -> Box<pg_sys::ErrorContextCallback> {
    Box::new(pg_sys::ErrorContextCallback { previous, callback: Some(function), arg: null_mut() })
}

#[pg_guard]
unsafe extern "C-unwind" fn note(noting: *mut c_void) {
    // SAFETY: called while a report is being made, with what `told` has on its stack.
    unsafe {
        let position = pg_sys::geterrposition();
        if position > 0 {
            (*noting.cast::<Noting<'_>>()).found = Some((position, pg_sys::geterrcode()));
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn tell(_none: *mut c_void) {
    // SAFETY: called while a report is being made; the text is copied.
    KNOWN.with_borrow(|known| unsafe {
        if let Some(known) = known
            && pg_sys::geterrcode() == known.sqlstate
            && pg_sys::geterrposition() == 0
        {
            pg_sys::internalerrposition(known.position);
            pg_sys::internalerrquery(known.query.as_ptr());
        }
    });
}

/// The server's stack of callbacks as it is where an error may be caught.
pub(super) struct Callbacks(*mut pg_sys::ErrorContextCallback);

impl Callbacks {
    pub(super) fn here() -> Self {
        // SAFETY: a variable of the server's.
        Callbacks(unsafe { pg_sys::error_context_stack })
    }

    /// After an error was caught here.
    pub(super) fn restore(&self) {
        // SAFETY: what was on the stack lives in frames around this one.
        unsafe { pg_sys::error_context_stack = self.0 };
    }
}
