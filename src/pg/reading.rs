//! Calls that read text as values: casts, and functions that call the input functions of what they return.
//!
//! Input functions are immutable, or go by pinned settings, but for three: the labels of enums and names are looked up in
//! catalogs, and `'today'` is a date. Labels that change are noticed. So the same text is read as the same value where no
//! names are read, and no dates. A cast of text to dates is followed all the same: where it is computed, its text goes
//! through `pgtrickle._steady_text()`, which refuses one that names the clock. That a constant does not can be seen.

use super::nodes::{items, text};
use super::rows::{make_node, palloc_string};
use super::stability::{Parts, operands, parts};
use pgrx::{is_a, pg_guard, pg_sys};
use std::ffi::{CString, c_void};

/// Call the input functions of what they return: of the columns of their result or, where that is a truth value, of their
/// first operand.
const READS: &[&str] = &[
    "json_populate_record",
    "json_populate_recordset",
    "json_to_record",
    "json_to_recordset",
    "jsonb_populate_record",
    "jsonb_populate_record_valid",
    "jsonb_populate_recordset",
    "jsonb_to_record",
    "jsonb_to_recordset",
];

/// Input functions that go by settings, or by the labels of an enum, whose changes are noticed (`cdc::types`).
const STEADY_READ: &[&str] = &["cash_in", "enum_in", "interval_in", "xml_in"];

/// The call of the built-in STABLE `function` gives the same value for the same operands in every refresh; `columns` are the
/// types of a column definition list that belongs to it.
///
/// # Safety
/// `node` is a valid expression that calls the function.
pub(super) unsafe fn is_alike(
    node: *mut pg_sys::Node,
    function: pg_sys::Oid,
    name: &str,
    columns: &[pg_sys::Oid],
) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        match name {
            name if READS.contains(&name) => reads(node, name, columns),
            "pg_input_is_valid" => reads_built_in_type(node),
            "convert_from" | "convert_to" => is_of_this_database(node),
            _ => {
                let ty = pg_sys::exprType(node);
                is_input_function(function, ty)
                    && (guarded(node).is_some() || is_read_alike(ty, clockless_constants(node)))
            }
        }
    }
}

/// The operand of a cast of text to dates. That of an array's elements stands in no text of its own.
///
/// # Safety
/// `node` is a valid expression.
unsafe fn guarded(node: *mut pg_sys::Node) -> Option<*mut pg_sys::Node> {
    // SAFETY: the tag tells the type.
    unsafe {
        if !is_a(node, pg_sys::NodeTag::T_CoerceViaIO) {
            return None;
        }
        let cast = &*node.cast::<pg_sys::CoerceViaIO>();
        let mut inner = cast.arg.cast::<pg_sys::Node>();
        while is_a(inner, pg_sys::NodeTag::T_RelabelType) {
            inner = (*inner.cast::<pg_sys::RelabelType>()).arg.cast();
        }
        let element = is_a(inner, pg_sys::NodeTag::T_CaseTestExpr);
        (is_of_dates(cast.resulttype) && !element).then_some(cast.arg.cast())
    }
}

/// A mutator: text that is cast to dates goes through `pgtrickle._steady_text()`.
#[pg_guard]
pub(super) unsafe extern "C-unwind" fn guard(node: *mut pg_sys::Node, context: *mut c_void) -> *mut pg_sys::Node {
    if node.is_null() {
        return node;
    }
    // SAFETY: the mutators call back with valid nodes and copy them; every type that text is read from has a cast to text.
    unsafe {
        if is_a(node, pg_sys::NodeTag::T_Query) {
            return pg_sys::query_tree_mutator_impl(node.cast(), Some(guard), context, 0).cast();
        }
        let mutated = pg_sys::expression_tree_mutator_impl(node, Some(guard), context);
        let Some(operand) = guarded(mutated) else { return mutated };
        let text = pg_sys::coerce_to_target_type(
            std::ptr::null_mut(),
            operand,
            pg_sys::exprType(operand),
            pg_sys::TEXTOID,
            -1,
            pg_sys::CoercionContext::COERCION_EXPLICIT,
            pg_sys::CoercionForm::COERCE_EXPLICIT_CAST,
            -1,
        );
        let collation = pg_sys::exprCollation(text);
        let call = pg_sys::makeFuncExpr(
            steady_text(),
            pg_sys::TEXTOID,
            pg_sys::lappend(std::ptr::null_mut(), text.cast()),
            collation,
            collation,
            pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
        );
        (*mutated.cast::<pg_sys::CoerceViaIO>()).arg = call.cast();
        mutated
    }
}

/// `pgtrickle._steady_text(text)`
fn steady_text() -> pg_sys::Oid {
    // SAFETY: a look-up by name; an error when the extension is broken.
    unsafe {
        let name = ["pgtrickle", "_steady_text"].map(|name| pg_sys::makeString(palloc_string(name)));
        let list = pg_sys::lappend(pg_sys::lappend(std::ptr::null_mut(), name[0].cast()), name[1].cast());
        pg_sys::LookupFuncName(list, 1, &pg_sys::TEXTOID, false)
    }
}

fn is_input_function(function: pg_sys::Oid, ty: pg_sys::Oid) -> bool {
    let (mut input, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
    // SAFETY: a syscache lookup of a type that an expression has, and out parameters.
    unsafe { pg_sys::getTypeInputInfo(ty, &mut input, &mut parameter) };
    input == function
}

const DATES: [pg_sys::Oid; 4] = [pg_sys::DATEOID, pg_sys::TIMEOID, pg_sys::TIMESTAMPOID, pg_sys::TIMESTAMPTZOID];

/// Text that is read as a value of the type holds dates and nothing else.
fn is_of_dates(ty: pg_sys::Oid) -> bool {
    match parts(ty) {
        // SAFETY: a syscache lookup.
        Parts::Of(parts) => !unsafe { pg_sys::type_is_rowtype(ty) } && parts.into_iter().all(is_of_dates),
        Parts::Unknown => false,
        Parts::None(ty) => DATES.contains(&ty),
    }
}

/// The same text is read as the same value in every refresh; `clockless`: it does not name the clock.
pub(super) fn is_read_alike(ty: pg_sys::Oid, clockless: bool) -> bool {
    match parts(ty) {
        Parts::Of(parts) => parts.into_iter().all(|part| is_read_alike(part, clockless)),
        Parts::Unknown => false,
        Parts::None(ty) => {
            let (mut input, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
            // SAFETY: syscache lookups, and out parameters.
            unsafe {
                pg_sys::getTypeInputInfo(ty, &mut input, &mut parameter);
                let name = text(pg_sys::get_func_name(input));
                pg_sys::func_volatile(input) as u8 == pg_sys::PROVOLATILE_IMMUTABLE
                    || STEADY_READ.contains(&name.as_str())
                    || (clockless && DATES.contains(&ty))
            }
        }
    }
}

/// # Safety
/// `node` is a call of one of [`READS`].
unsafe fn reads(node: *mut pg_sys::Node, name: &str, columns: &[pg_sys::Oid]) -> bool {
    // SAFETY: the caller's promise: the first operand tells the type of a record where nothing else does.
    unsafe {
        let clockless = clockless_constants(node);
        let alike = |ty: pg_sys::Oid| is_read_alike(ty, clockless);
        let operands = operands(node);
        let Some(first) = operands.first().copied() else { return false };
        if !columns.is_empty() {
            return columns.iter().copied().all(alike);
        }
        if name.ends_with("_valid") {
            return alike(pg_sys::exprType(first)) && !is_constrained(pg_sys::exprType(first));
        }
        match pg_sys::exprType(node) {
            pg_sys::RECORDOID if is_a(first, pg_sys::NodeTag::T_RowExpr) => {
                let fields = items::<pg_sys::Node>((*first.cast::<pg_sys::RowExpr>()).args);
                fields.into_iter().all(|field| alike(pg_sys::exprType(std::ptr::from_ref(field).cast_mut())))
            }
            ty => alike(ty),
        }
    }
}

/// Whether text can be read depends on constraints, or on labels, which can be added.
pub(super) fn is_constrained(ty: pg_sys::Oid) -> bool {
    // SAFETY: syscache lookups.
    let itself = unsafe { pg_sys::get_typtype(ty) as u8 == pg_sys::TYPTYPE_DOMAIN || pg_sys::type_is_enum(ty) };
    itself || matches!(parts(ty), Parts::Of(parts) if parts.iter().any(|part| is_constrained(*part)))
}

/// The operands are constants, and none names the clock.
///
/// # Safety
/// `node` is a valid expression.
unsafe fn clockless_constants(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the caller's promise; the tag tells the type.
    unsafe {
        operands(node).into_iter().all(|operand| {
            let constant = match (*operand).type_ {
                pg_sys::NodeTag::T_Const => operand,
                pg_sys::NodeTag::T_RowExpr => return !pg_sys::contain_var_clause(operand),
                _ => return false,
            };
            constant_text(&*constant.cast()).is_none_or(|text| !names_clock(&text) && !text.contains('\\'))
        })
    }
}

/// The text names a moment that moves on, as the input functions of dates understand it (`datetktbl`, datetime.c).
pub fn names_clock(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_alphabetic());
    words.any(|word| ["now", "today", "tomorrow", "yesterday"].iter().any(|clock| word.eq_ignore_ascii_case(clock)))
}

/// The constant as text; `None` for NULL.
///
/// # Safety
/// `constant` belongs to a valid expression.
unsafe fn constant_text(constant: &pg_sys::Const) -> Option<String> {
    if constant.constisnull {
        return None;
    }
    let (mut output, mut varlena) = (pg_sys::InvalidOid, false);
    // SAFETY: a syscache lookup, out parameters, and a call of the type's own output function.
    unsafe {
        pg_sys::getTypeOutputInfo(constant.consttype, &mut output, &mut varlena);
        Some(text(pg_sys::OidOutputFunctionCall(output, constant.constvalue)))
    }
}

/// The second operand, if it is a constant.
///
/// # Safety
/// `node` is a valid expression.
unsafe fn second_constant(node: *mut pg_sys::Node) -> Option<String> {
    // SAFETY: the caller's promise; the tag tells the type.
    unsafe {
        let second = operands(node).get(1).copied().filter(|operand| is_a(*operand, pg_sys::NodeTag::T_Const))?;
        constant_text(&*second.cast())
    }
}

/// The type that is named is built in, so that nobody can change it.
///
/// # Safety
/// `node` is a call of `pg_input_is_valid`.
unsafe fn reads_built_in_type(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the caller's promise; a name that is none leaves its error in the context that is given for it.
    unsafe {
        let Some(name) = second_constant(node).and_then(|name| CString::new(name).ok()) else { return false };
        let (mut ty, mut typmod) = (pg_sys::InvalidOid, -1);
        let context = make_node::<pg_sys::ErrorSaveContext>(pg_sys::NodeTag::T_ErrorSaveContext);
        let known = pg_sys::parseTypeString(name.as_ptr(), &mut ty, &mut typmod, context.cast());
        known && ty.to_u32() < pg_sys::FirstNormalObjectId && is_read_alike(ty, clockless_constants(node))
    }
}

/// The encoding that is named is that of the database, so that nothing is converted.
///
/// # Safety
/// `node` is a call of `convert_to` or `convert_from`.
unsafe fn is_of_this_database(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let name = second_constant(node).and_then(|name| CString::new(name).ok());
        name.is_some_and(|name| pg_sys::pg_char_to_encoding_private(name.as_ptr()) == pg_sys::GetDatabaseEncoding())
    }
}
