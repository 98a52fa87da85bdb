//! Settings that the text of expressions, and the meaning of that text, depend on.

use crate::error::{Error, Result};
use pgrx::{PgLogLevel, pg_sys};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

/// Where generated SQL looks for names. Everything that it names outside of `pg_catalog` is qualified.
const SEARCH_PATH: &CStr = c"pg_catalog, pg_temp";

/// What is pinned: name resolution, and every setting by which constants and casts print and parse. What is printed under
/// these values reads the same under any value of those in [`KEPT`].
const PINNED: &[(&CStr, &CStr)] = &[
    (c"search_path", SEARCH_PATH),
    (c"TimeZone", c"UTC"),
    (c"DateStyle", c"ISO, YMD"),
    (c"IntervalStyle", c"postgres"),
    (c"extra_float_digits", c"1"),
    (c"bytea_output", c"hex"),
    (c"lc_numeric", c"C"),
    (c"lc_time", c"C"),
    (c"lc_monetary", c"C"),
    (c"standard_conforming_strings", c"on"),
    (c"xmlbinary", c"base64"),
    (c"xmloption", c"content"),
    (c"quote_all_identifiers", c"off"),
    (c"transform_null_equals", c"off"),
    (c"array_nulls", c"on"),
    (c"timezone_abbreviations", c"Default"),
    // A delta's plan runs many times on few rows; compiling it anew each time costs more than it saves.
    (c"jit", c"off"),
];

/// What values are computed and printed by, and what the text of a query says under any value of: a stream table keeps
/// those of the session that created it. By `lc_monetary` amounts of money in a query's own text are read, so it is not one.
const KEPT: &[&CStr] = &[
    c"TimeZone",
    c"DateStyle",
    c"IntervalStyle",
    c"extra_float_digits",
    c"bytea_output",
    c"lc_numeric",
    c"lc_time",
    c"xmlbinary",
    c"timezone_abbreviations",
];

/// Every pinned setting with its value while a stream table's query runs, in the order of [`PINNED`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuerySettings(Vec<(&'static CStr, CString)>);

impl QuerySettings {
    /// For a query that is written in this session.
    pub fn of_session() -> Self {
        Self::with(|name| Some(current(name).to_owned()))
    }

    /// Those that are stored as [`QuerySettings::stored`].
    ///
    /// # Errors
    /// `Internal` when the text is no object of strings.
    pub fn read(stored: &str) -> Result<Self> {
        let broken = |reason: String| Error::Internal(format!("stored settings do not parse: {reason}"));
        let known: BTreeMap<String, String> =
            serde_json::from_str(stored).map_err(|error| broken(error.to_string()))?;
        Ok(Self::with(|name| CString::new(known.get(&*name.to_string_lossy())?.as_str()).ok()))
    }

    /// What is the session's own, as a JSON object.
    pub fn stored(&self) -> String {
        let is_kept = |name: &str| KEPT.iter().any(|kept| kept.to_string_lossy() == name);
        serde_json::Value::from_iter(self.shown().filter(|(name, _)| is_kept(name))).to_string()
    }

    fn with(own: impl Fn(&CStr) -> Option<CString>) -> Self {
        let value = |name: &'static CStr, pinned: &CStr| match KEPT.contains(&name) {
            true => own(name).unwrap_or_else(|| pinned.to_owned()),
            false => pinned.to_owned(),
        };
        QuerySettings(PINNED.iter().map(|(name, pinned)| (*name, value(name, pinned))).collect())
    }

    /// Names and values.
    pub fn shown(&self) -> impl Iterator<Item = (String, String)> {
        self.0.iter().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
    }
}

/// While it lives, the settings that expressions print and run by have fixed values, whatever the session set.
#[derive(Debug)]
pub struct PinnedSettings(#[expect(dead_code, reason = "held for its drop")] Level);

impl PinnedSettings {
    /// For printing expressions and reading what was printed: a constant means the same in every session.
    #[must_use = "the settings are restored when the guard is dropped"]
    #[expect(clippy::new_without_default, reason = "a guard is made deliberately")]
    pub fn new() -> Self {
        Self::set(PINNED.iter().copied())
    }

    /// For running the query of a stream table.
    #[must_use = "the settings are restored when the guard is dropped"]
    pub fn of(settings: &QuerySettings) -> Self {
        Self::set(settings.0.iter().map(|(name, value)| (*name, value.as_c_str())))
    }

    fn set<'a>(settings: impl Iterator<Item = (&'static CStr, &'a CStr)>) -> Self {
        let level = Level::new();
        // Most are what they should be in most sessions, and to set one costs more than to read it.
        for (index, (name, value)) in settings.enumerate() {
            if !has(index, value) {
                level.set(name, value);
            }
        }
        PinnedSettings(level)
    }
}

thread_local! {
    /// The server's entries of the settings of [`PINNED`], which are built in and stay where they are.
    static ENTRIES: [*mut pg_sys::config_generic; PINNED.len()] = std::array::from_fn(|index| {
        // SAFETY: the settings exist.
        unsafe { pg_sys::find_option(PINNED[index].0.as_ptr(), false, false, PgLogLevel::ERROR as i32) }
    });
}

/// Whether the pinned setting at `index` has this value; it may be asked for by its name as well, which takes longer.
fn has(index: usize, value: &CStr) -> bool {
    let entry = ENTRIES.with(|entries| entries[index]);
    // SAFETY: an entry's type says what struct it begins, and each has the place of its value.
    unsafe {
        match (*entry).vartype {
            pg_sys::config_type::PGC_BOOL => {
                let set = *(*entry.cast::<pg_sys::config_bool>()).variable;
                value == if set { c"on" } else { c"off" }
            }
            pg_sys::config_type::PGC_ENUM => {
                let entry = entry.cast::<pg_sys::config_enum>();
                CStr::from_ptr(pg_sys::config_enum_lookup_by_value(entry, *(*entry).variable)) == value
            }
            pg_sys::config_type::PGC_STRING => {
                let text = *(*entry.cast::<pg_sys::config_string>()).variable;
                !text.is_null() && CStr::from_ptr(text) == value
            }
            _ => current(PINNED[index].0) == value,
        }
    }
}

/// The value of a setting, until it is set.
fn current(name: &CStr) -> &CStr {
    // SAFETY: the setting exists; its value is a NUL-terminated string.
    unsafe { CStr::from_ptr(pg_sys::GetConfigOption(name.as_ptr(), false, false)) }
}

/// What access to a page in memory costs, by what it costs to read a page of a table through, with all of its rows.
const WARM: f64 = 0.25;

/// While it lives, access to a page costs the planner the same wherever it is, and each time. What a delta meets are pages that were written, or read by
/// the delta before, and most of them are in memory; if each were an access to a disk, the planner would read a thousand
/// rows in a row to find two, and a whole table to find one in a hundred. And if what was accessed once were free from then on, as
/// it is for the planner up to `effective_cache_size` (`index_pages_fetched`), it would look up a hundred thousand rows for no more than their table has pages.
#[derive(Debug)]
pub struct WarmPages(#[expect(dead_code, reason = "held for its drop")] Level);

impl WarmPages {
    #[must_use = "the setting is restored when the guard is dropped"]
    #[expect(clippy::new_without_default, reason = "a guard is made deliberately")]
    pub fn new() -> Self {
        let level = Level::new();
        // SAFETY: a number that exists from the server's start on.
        let page = WARM * unsafe { pg_sys::seq_page_cost };
        let value = CString::new(page.to_string()).expect("digits have no NUL");
        level.set(c"random_page_cost", &value);
        level.set(c"effective_cache_size", c"1");
        WarmPages(level)
    }
}

/// While it lives, sorts and hash tables of statements have the memory of maintenance. It is for those that compute a whole query: given more
/// room for hash tables, the planner reads whole tables for a delta whose rows an index finds sooner.
#[derive(Debug)]
pub struct MaintenanceMemory(#[expect(dead_code, reason = "held for its drop")] Option<Level>);

impl MaintenanceMemory {
    #[must_use = "the setting is restored when the guard is dropped"]
    #[expect(clippy::new_without_default, reason = "a guard is made deliberately")]
    pub fn new() -> Self {
        let memory = super::tuplestore::memory();
        // SAFETY: an integer that exists from the server's start on.
        let more = memory > unsafe { pg_sys::work_mem };
        MaintenanceMemory(more.then(|| {
            let level = Level::new();
            let value = CString::new(memory.to_string()).expect("digits have no NUL");
            level.set(c"work_mem", &value);
            level
        }))
    }
}

/// While it lives, a policy that would hide rows of a table is an error: contents must not depend on who reads.
#[derive(Debug)]
pub struct WholeTables(#[expect(dead_code, reason = "held for its drop")] Level);

impl WholeTables {
    #[must_use = "the setting is restored when the guard is dropped"]
    #[expect(clippy::new_without_default, reason = "a guard is made deliberately")]
    pub fn new() -> Self {
        let level = Level::new();
        level.set(c"row_security", c"off");
        WholeTables(level)
    }
}

/// While it lives, names are looked up where [`PinnedSettings`] looks them up: nobody can put an operator of their own
/// before the built-in one in a statement that runs with other rights than theirs.
#[derive(Debug)]
pub struct PinnedSearchPath(#[expect(dead_code, reason = "held for its drop")] Option<Level>);

impl PinnedSearchPath {
    #[must_use = "the search path is restored when the guard is dropped"]
    #[expect(clippy::new_without_default, reason = "a guard is made deliberately")]
    pub fn new() -> Self {
        // SAFETY: the server keeps a NUL-terminated string there from its start on.
        let pinned = unsafe { CStr::from_ptr(pg_sys::namespace_search_path) } == SEARCH_PATH;
        PinnedSearchPath((!pinned).then(|| {
            let level = Level::new();
            level.set(c"search_path", SEARCH_PATH);
            level
        }))
    }
}

/// A nest level of settings: what is set in it is undone when it is dropped. On an ERROR the (sub)transaction's end does
/// that. Levels nest; they are dropped in the order opposite to their making, as Rust scopes do.
#[derive(Debug)]
struct Level(i32);

impl Level {
    fn new() -> Level {
        // SAFETY: a new level is always allowed inside a transaction; `Drop` closes it.
        Level(unsafe { pg_sys::NewGUCNestLevel() })
    }

    fn set(&self, name: &CStr, value: &CStr) {
        // SAFETY: both strings are NUL-terminated and outlive the call. PGC_S_SESSION and GUC_ACTION_SAVE are what fmgr
        // uses for a function's SET clause.
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
}

impl Drop for Level {
    fn drop(&mut self) {
        // After an ERROR the transaction machinery closes the level itself, and closing it here while the error
        // travels would run assign hooks in a failed transaction.
        if std::thread::panicking() {
            return;
        }
        // SAFETY: the level was opened in this transaction; `true` keeps nothing of what was set.
        unsafe { pg_sys::AtEOXact_GUC(true, self.0) };
    }
}
