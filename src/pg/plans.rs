//! The plans of statements as they ran, for who asks what a refresh would cost.

use std::cell::RefCell;
use std::ffi::CStr;

use pgrx::pg_sys;

thread_local! {
    /// The plans so far, while somebody collects them.
    static PLANS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// What `run` gives, and the plan of each statement that it ran on the way, with times and buffers, as EXPLAIN (ANALYZE,
/// BUFFERS) shows it.
pub fn collect<T>(run: impl FnOnce() -> T) -> (T, Vec<String>) {
    PLANS.set(Some(Vec::new()));
    let collecting = Collecting;
    let result = run();
    let plans = PLANS.take().unwrap_or_default();
    drop(collecting);
    (result, plans)
}

/// Ends the collection however `run` ends.
struct Collecting;

impl Drop for Collecting {
    fn drop(&mut self) {
        PLANS.set(None);
    }
}

/// What a statement is to be instrumented with.
pub(super) fn instrumentation() -> i32 {
    match PLANS.with_borrow(Option::is_some) {
        true => pg_sys::InstrumentOption::INSTRUMENT_ALL as i32,
        false => 0,
    }
}

/// Adds the plan of a statement that has run, if anybody collects them.
///
/// # Safety
/// The statement ran with [`instrumentation`] and has not ended.
pub(super) unsafe fn note(query: *mut pg_sys::QueryDesc) {
    if !PLANS.with_borrow(Option::is_some) {
        return;
    }
    // SAFETY: as auto_explain does it; the text is copied.
    let plan = unsafe {
        let state = pg_sys::NewExplainState();
        (*state).analyze = true;
        (*state).buffers = true;
        (*state).timing = true;
        (*state).format = pg_sys::ExplainFormat::EXPLAIN_FORMAT_TEXT;
        pg_sys::ExplainBeginOutput(state);
        pg_sys::ExplainPrintPlan(state, query);
        pg_sys::ExplainEndOutput(state);
        CStr::from_ptr((*(*state).str_).data).to_string_lossy().into_owned()
    };
    PLANS.with_borrow_mut(|plans| plans.as_mut().map(|plans| plans.push(plan)));
}
