//! Which calls of STABLE functions give the same value for the same operands in every refresh, under
//! [`super::settings::PinnedSettings`].
//!
//! Built-in functions are STABLE for one of four reasons: they read the clock, they read catalogs, they read settings, or
//! they call the output or input function of a type that they are not told.
//!
//! - [`COMPUTES`] read only settings that are pinned, or nothing that changes.
//! - [`PRINTS`] call the output functions of their operands. That of a built-in type or a user's base type prints by
//!   pinned settings, and an enum its labels, whose changes are noticed (`cdc::types`); but `regclass` and its kin print
//!   names from the catalogs, which can be changed.
//! - What [`super::reading`] lists, and what queries JSON and XML, calls the input functions of what it returns.
//!
//! Not followed are `age()` of one argument and casts to `timetz`, which read the clock; and whatever goes by the
//! configuration of text search or by conversions.

use super::nodes::{items, text};
use super::{moment, reading};
use pgrx::{is_a, pg_guard, pg_sys};
use std::ffi::c_void;

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
    "pg_basetype",
    "pg_typeof",
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
    "enum_out",
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

/// What the value of a node depends on besides its operands, under pinned settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dependence {
    Nothing,
    /// This prints anonymous records, and so on what is in them.
    Records(String),
    /// This depends on catalogs, the session or the clock.
    Unknown(String),
}

/// What the node by itself depends on; `functions` are those that it calls, `columns` the types of a column definition
/// list that belongs to it.
///
/// # Safety
/// `node` is a valid expression, `functions` those of it.
pub(super) unsafe fn dependence(node: *mut pg_sys::Node, functions: &[u32], columns: &[pg_sys::Oid]) -> Dependence {
    // SAFETY: the caller's promise.
    unsafe {
        let of_functions = functions.iter().map(|function| of_function(node, (*function).into(), columns));
        let constructs = match (*node).type_ {
            pg_sys::NodeTag::T_JsonConstructorExpr => of_prints(node, "a JSON constructor"),
            pg_sys::NodeTag::T_XmlExpr => of_prints(node, "an XML constructor"),
            pg_sys::NodeTag::T_JsonExpr => of_json_reads([pg_sys::exprType(node)], "a JSON query function"),
            pg_sys::NodeTag::T_TableFunc => {
                let table = &*node.cast::<pg_sys::TableFunc>();
                let json = table.functype == pg_sys::TableFuncType::TFT_JSON_TABLE;
                let types = pgrx::PgList::<()>::from_pg(table.coltypes);
                match json {
                    true => of_json_reads(types.iter_oid().collect::<Vec<_>>(), "JSON_TABLE()"),
                    false => of_reads(types.iter_oid(), "XMLTABLE()"),
                }
            }
            _ => Dependence::Nothing,
        };
        of_functions.fold(constructs, Dependence::max)
    }
}

/// The expression depends on nothing but its columns.
///
/// # Safety
/// `node` is a valid expression without sub-selects.
pub(super) unsafe fn is_steady(node: *mut pg_sys::Node) -> bool {
    #[pg_guard]
    unsafe extern "C-unwind" fn visit(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
        // SAFETY: the walker calls back with valid nodes.
        unsafe {
            if node.is_null() {
                return false;
            }
            let mut functions: Vec<u32> = Vec::new();
            pg_sys::check_functions_in_node(node, Some(note), (&raw mut functions).cast());
            dependence(node, &functions, &[]) != Dependence::Nothing
                || pg_sys::expression_tree_walker_impl(node, Some(visit), context)
        }
    }
    // SAFETY: the caller's promise.
    unsafe { !visit(node, std::ptr::null_mut()) }
}

/// Notes a function in a `Vec<u32>`.
#[pg_guard]
pub(super) unsafe extern "C-unwind" fn note(function: pg_sys::Oid, context: *mut c_void) -> bool {
    // SAFETY: callers pass such a vector.
    unsafe { &mut *context.cast::<Vec<u32>>() }.push(function.to_u32());
    false
}

/// # Safety
/// As for [`dependence`].
unsafe fn of_function(node: *mut pg_sys::Node, function: pg_sys::Oid, columns: &[pg_sys::Oid]) -> Dependence {
    // SAFETY: the caller's promise; syscache lookups.
    unsafe {
        let stable = pg_sys::func_volatile(function) as u8 == pg_sys::PROVOLATILE_STABLE;
        if !stable || moment::is_clock_function(function.to_u32()) {
            return Dependence::Nothing;
        }
        let name = text(pg_sys::get_func_name(function));
        if function.to_u32() >= pg_sys::FirstNormalObjectId {
            let schema = text(pg_sys::get_namespace_name(pg_sys::get_func_namespace(function)));
            return Dependence::Unknown(format!("{schema}.{name}()"));
        }
        let shown = format!("{name}()");
        let compares = |(left, right): &(&str, &str)| {
            let comparison = name.strip_prefix(left).and_then(|rest| rest.strip_suffix(right));
            comparison.is_some_and(|word| ["lt", "le", "eq", "ge", "gt", "ne", "cmp"].contains(&word))
        };
        if PRINTS.contains(&name.as_str()) {
            return of_prints(node, &shown);
        }
        let steady = match name.as_str() {
            name if COMPUTES.contains(&name) || COMPARED.iter().any(compares) => true,
            name => reading::is_alike(node, function, name, columns),
        };
        if steady { Dependence::Nothing } else { Dependence::Unknown(shown) }
    }
}

/// # Safety
/// `node` is a valid expression.
pub(super) unsafe fn operands(node: *mut pg_sys::Node) -> Vec<*mut pg_sys::Node> {
    // SAFETY: the tag tells the type; lists of arguments hold expressions, those of aggregates TargetEntry nodes.
    unsafe {
        let list =
            |list| items::<pg_sys::Node>(list).into_iter().map(|node| std::ptr::from_ref(node).cast_mut()).collect();
        match (*node).type_ {
            pg_sys::NodeTag::T_FuncExpr => list((*node.cast::<pg_sys::FuncExpr>()).args),
            pg_sys::NodeTag::T_OpExpr | pg_sys::NodeTag::T_DistinctExpr | pg_sys::NodeTag::T_NullIfExpr => {
                list((*node.cast::<pg_sys::OpExpr>()).args)
            }
            pg_sys::NodeTag::T_ScalarArrayOpExpr => list((*node.cast::<pg_sys::ScalarArrayOpExpr>()).args),
            pg_sys::NodeTag::T_WindowFunc => list((*node.cast::<pg_sys::WindowFunc>()).args),
            pg_sys::NodeTag::T_JsonConstructorExpr => list((*node.cast::<pg_sys::JsonConstructorExpr>()).args),
            pg_sys::NodeTag::T_XmlExpr => {
                let xml = &*node.cast::<pg_sys::XmlExpr>();
                let mut all: Vec<_> = list(xml.named_args);
                all.extend::<Vec<_>>(list(xml.args));
                all
            }
            pg_sys::NodeTag::T_CoerceViaIO => vec![(*node.cast::<pg_sys::CoerceViaIO>()).arg.cast()],
            pg_sys::NodeTag::T_Aggref => {
                let call = &*node.cast::<pg_sys::Aggref>();
                let mut all: Vec<_> = list(call.aggdirectargs);
                all.extend(items::<pg_sys::TargetEntry>(call.args).into_iter().map(|target| target.expr.cast()));
                all
            }
            _ => Vec::new(),
        }
    }
}

/// # Safety
/// `node` is a valid expression.
unsafe fn of_prints(node: *mut pg_sys::Node, shown: &str) -> Dependence {
    // SAFETY: the caller's promise.
    match unsafe { operands(node).into_iter().map(|operand| printed(operand)).max() } {
        None | Some(Print::Alike) => Dependence::Nothing,
        Some(Print::Record) => Dependence::Records(shown.into()),
        Some(Print::Names) => Dependence::Unknown(shown.into()),
    }
}

/// Of values of the types that are read from text that is not known.
fn of_reads(types: impl IntoIterator<Item = pg_sys::Oid>, shown: &str) -> Dependence {
    match types.into_iter().all(|ty| reading::is_read_alike(ty, false)) {
        true => Dependence::Nothing,
        false => Dependence::Unknown(shown.into()),
    }
}

/// Likewise, where ON ERROR may answer for what cannot be read: that depends on labels and constraints, of which new ones
/// go unnoticed.
fn of_json_reads(types: impl IntoIterator<Item = pg_sys::Oid> + Clone, shown: &str) -> Dependence {
    match types.clone().into_iter().any(reading::is_constrained) {
        true => Dependence::Unknown(shown.into()),
        false => of_reads(types, shown),
    }
}

/// How values print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Print {
    /// The same in every refresh.
    Alike,
    /// As the fields of a record do, whose types are not known.
    Record,
    /// As names from the catalogs.
    Names,
}

/// # Safety
/// `node` is a valid expression.
unsafe fn printed(node: *mut pg_sys::Node) -> Print {
    // SAFETY: the tag tells the type.
    unsafe {
        let ty = pg_sys::exprType(node);
        if ty == pg_sys::RECORDOID && is_a(node, pg_sys::NodeTag::T_RowExpr) {
            let row = &*node.cast::<pg_sys::RowExpr>();
            let fields = items::<pg_sys::Node>(row.args).into_iter();
            return fields.map(|field| printed(std::ptr::from_ref(field).cast_mut())).max().unwrap_or(Print::Alike);
        }
        printed_type(ty)
    }
}

fn printed_type(ty: pg_sys::Oid) -> Print {
    match parts(ty) {
        Parts::Of(parts) => parts.into_iter().map(printed_type).max().unwrap_or(Print::Alike),
        Parts::Unknown => Print::Record,
        Parts::None(ty) if is_name(ty) => Print::Names,
        Parts::None(_) => Print::Alike,
    }
}

/// What values of a type are made of.
pub(super) enum Parts {
    Of(Vec<pg_sys::Oid>),
    /// An anonymous record.
    Unknown,
    /// The type itself; of a domain, the type below it.
    None(pg_sys::Oid),
}

pub(super) fn parts(ty: pg_sys::Oid) -> Parts {
    // SAFETY: syscache lookups; a composite type has a tuple descriptor, which is copied.
    unsafe {
        let ty = pg_sys::getBaseType(ty);
        let element = pg_sys::get_element_type(ty);
        match pg_sys::get_typtype(ty) as u8 {
            _ if ty == pg_sys::RECORDOID || ty == pg_sys::RECORDARRAYOID => Parts::Unknown,
            _ if element != pg_sys::InvalidOid => Parts::Of(vec![element]),
            pg_sys::TYPTYPE_COMPOSITE => {
                let descriptor = pg_sys::lookup_rowtype_tupdesc_copy(ty, -1);
                let all = (0..(*descriptor).natts).map(|index| &*pg_sys::TupleDescAttr(descriptor, index));
                Parts::Of(all.filter(|attribute| !attribute.attisdropped).map(|attribute| attribute.atttypid).collect())
            }
            pg_sys::TYPTYPE_RANGE => Parts::Of(vec![pg_sys::get_range_subtype(ty)]),
            pg_sys::TYPTYPE_MULTIRANGE => Parts::Of(vec![pg_sys::get_multirange_range(ty)]),
            _ => Parts::None(ty),
        }
    }
}

/// Values of the type print as names from the catalogs.
fn is_name(ty: pg_sys::Oid) -> bool {
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
        pg_sys::REGCONFIGOID,
        pg_sys::REGDICTIONARYOID,
        pg_sys::ACLITEMOID,
    ];
    NAMED.contains(&ty)
}

/// Values of the type, or parts of its values, print names from the catalogs.
pub(super) fn prints_names(ty: pg_sys::Oid) -> bool {
    printed_type(ty) == Print::Names
}
