//! Which STABLE functions are immutable under [`super::settings::PinnedSettings`].
//!
//! Built-in functions are STABLE for one of four reasons: they read the clock, they read catalogs, they read settings, or
//! they call the output or input function of a type that they are not told. Those listed here read only settings that are
//! pinned, or call output functions. Not listed are input functions, for `'today'` is a date; `age()` of one argument and
//! casts to `timetz`, which read the clock; and whatever goes by the configuration of text search or by conversions.
//!
//! An output function is that of a built-in type, a composite or a user's base type, and prints by pinned settings too; but
//! an enum and `regclass` and its kin print names from the catalogs, which can be changed. Where values of such types
//! occur, the functions of [`PRINTS`] stay STABLE.

use pgrx::pg_sys;

/// Go by the time zone, or by the locale in which numbers and dates are written.
const COMPUTES: &[&str] = &[
    "date",
    "date_add",
    "date_part",
    "date_subtract",
    "date_trunc",
    "extract",
    "generate_series",
    "in_range",
    "interval_pl_timestamptz",
    "jsonb_path_exists_tz",
    "jsonb_path_match_tz",
    "jsonb_path_query_array_tz",
    "jsonb_path_query_first_tz",
    "jsonb_path_query_tz",
    "make_timestamptz",
    "overlaps",
    "time",
    "timestamp",
    "timestamptz",
    "timestamptz_mi_interval",
    "timestamptz_pl_interval",
    "to_char",
    "to_date",
    "to_number",
    "to_timestamp",
];

/// Compare a `timestamptz` with a `date` or a `timestamp`: `<a>_<comparison>_<b>`.
const COMPARED: &[(&str, &str)] = &[
    ("date_", "_timestamptz"),
    ("timestamptz_", "_date"),
    ("timestamp_", "_timestamptz"),
    ("timestamptz_", "_timestamp"),
];

/// Call output functions.
const PRINTS: &[&str] = &[
    "anytextcat",
    "array_out",
    "array_to_json",
    "array_to_string",
    "concat",
    "concat_ws",
    "date_out",
    "format",
    "interval_out",
    "json_agg",
    "json_agg_strict",
    "json_build_array",
    "json_build_object",
    "json_object_agg",
    "json_object_agg_strict",
    "json_object_agg_unique",
    "json_object_agg_unique_strict",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object_agg",
    "jsonb_object_agg_strict",
    "jsonb_object_agg_unique",
    "jsonb_object_agg_unique_strict",
    "multirange_out",
    "quote_literal",
    "quote_nullable",
    "range_out",
    "record_out",
    "row_to_json",
    "textanycat",
    "timestamp_out",
    "timestamptz_out",
    "to_json",
    "to_jsonb",
];

/// Whether the built-in STABLE function called `name` gives the same value for the same arguments in every refresh.
/// `names_from_catalogs`: values of types that print names from the catalogs occur.
pub fn goes_by_settings(name: &str, names_from_catalogs: bool) -> bool {
    let compares = |(left, right): &(&str, &str)| {
        let comparison = name.strip_prefix(left).and_then(|rest| rest.strip_suffix(right));
        comparison.is_some_and(|word| ["lt", "le", "eq", "ge", "gt", "ne", "cmp"].contains(&word))
    };
    COMPUTES.contains(&name) || COMPARED.iter().any(compares) || (!names_from_catalogs && PRINTS.contains(&name))
}

/// Values of the type, or elements of its values, print names from the catalogs.
pub(super) fn prints_names(ty: pg_sys::Oid) -> bool {
    const NAMED: &[pg_sys::Oid] = &[
        pg_sys::REGPROCOID,
        pg_sys::REGPROCEDUREOID,
        pg_sys::REGOPEROID,
        pg_sys::REGOPERATOROID,
        pg_sys::REGCLASSOID,
        pg_sys::REGTYPEOID,
        pg_sys::REGROLEOID,
        pg_sys::REGNAMESPACEOID,
        pg_sys::REGCOLLATIONOID,
    ];
    // SAFETY: syscache lookups.
    unsafe {
        let element = pg_sys::get_base_element_type(ty);
        let ty = if element == pg_sys::InvalidOid { pg_sys::getBaseType(ty) } else { element };
        NAMED.contains(&ty) || pg_sys::type_is_enum(ty)
    }
}
