//! Settings that the text of expressions, and the meaning of that text, depend on.

use pgrx::pg_sys;

/// What is pinned: name resolution, and every setting by which constants and casts print and parse.
const PINNED: &[(&std::ffi::CStr, &std::ffi::CStr)] = &[
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"TimeZone", c"UTC"),
    (c"DateStyle", c"ISO, YMD"),
    (c"IntervalStyle", c"postgres"),
    (c"extra_float_digits", c"1"),
    (c"bytea_output", c"hex"),
    (c"standard_conforming_strings", c"on"),
    (c"xmlbinary", c"base64"),
    (c"xmloption", c"content"),
    (c"quote_all_identifiers", c"off"),
    (c"transform_null_equals", c"off"),
    (c"array_nulls", c"on"),
];

/// While it lives, the settings that expressions print and run by have fixed values, whatever the session set.
///
/// Expressions are deparsed under it and executed under it, so a constant means the same in every session. On an
/// ERROR the (sub)transaction's end restores the settings. Guards nest; they are dropped in the order opposite to
/// their making, as Rust scopes do.
#[derive(Debug)]
pub struct PinnedSettings {
    level: i32,
}

impl PinnedSettings {
    #[must_use = "the settings are restored when the guard is dropped"]
    #[expect(clippy::new_without_default, reason = "a guard is made deliberately")]
    pub fn new() -> Self {
        // SAFETY: a new GUC nest level is always allowed inside a transaction; `Drop` closes it.
        let level = unsafe { pg_sys::NewGUCNestLevel() };
        for (name, value) in PINNED {
            // SAFETY: both strings are NUL-terminated and outlive the call. PGC_S_SESSION and GUC_ACTION_SAVE are
            // what fmgr uses for a function's SET clause.
            unsafe {
                pg_sys::set_config_option(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_USERSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_SAVE,
                    true,
                    0,
                    false,
                );
            }
        }
        PinnedSettings { level }
    }
}

impl Drop for PinnedSettings {
    fn drop(&mut self) {
        // After an ERROR the transaction machinery closes the level itself, and closing it here while the error
        // travels would run assign hooks in a failed transaction.
        if std::thread::panicking() {
            return;
        }
        // SAFETY: `level` came from NewGUCNestLevel in this transaction; `true` keeps nothing of what was set.
        unsafe { pg_sys::AtEOXact_GUC(true, self.level) };
    }
}
