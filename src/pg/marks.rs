//! The marks of CYCLE, `TO 'Y' DEFAULT 'N'`, as the parser reads them.
//!
//! The server prints such a constant as any other, `'Y'::text`, where its own grammar takes no cast (`AexprConst`, gram.y). So a
//! stand-in is printed, a string that occurs nowhere else, and what stands there is the same constant as `type 'value'`.

use super::nodes::text;
use super::rows::palloc_string;
use pgrx::{is_a, pg_guard, pg_sys};
use std::ffi::c_void;

struct Marks {
    /// What stand-ins begin with.
    token: String,
    /// The constants as text.
    found: Vec<String>,
}

/// What `print` makes of the query, with marks that can be read. A mark may be printed more than once, as what is sorted by is.
///
/// # Safety
/// `tree` is an analysed query that is this function's to change.
pub(super) unsafe fn printed(tree: *mut pg_sys::Query, print: impl Fn(*mut pg_sys::Query) -> String) -> String {
    // SAFETY: a copy, as printing fixes what it reads; the context is what `visit` takes it for.
    unsafe {
        let plain = print(pg_sys::copyObjectImpl(tree.cast()).cast());
        let mut salt = 0;
        let mut marks = Marks { token: "__pgtmark_".into(), found: Vec::new() };
        while plain.contains(&marks.token) {
            salt += 1;
            marks.token = format!("__pgtmark{salt}_");
        }
        visit(tree.cast(), (&raw mut marks).cast());
        if marks.found.is_empty() { plain } else { filled(&print(tree), &marks) }
    }
}

fn filled(printed: &str, marks: &Marks) -> String {
    let opening = format!("'{}", marks.token);
    let mut parts = printed.split(&opening);
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_once('\'').unwrap_or((part, ""));
        let mark = number.parse().ok().and_then(|number: usize| marks.found.get(number));
        whole.push_str(mark.map_or("", String::as_str));
        whole.push_str(rest);
    }
    whole
}

#[pg_guard]
unsafe extern "C-unwind" fn visit(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: `printed` passes Marks and owns the tree; the walkers call back with valid nodes, and the tag tells the type.
    unsafe {
        if is_a(node, pg_sys::NodeTag::T_Query) {
            return pg_sys::query_tree_walker_impl(node.cast(), Some(visit), context, 0);
        }
        if is_a(node, pg_sys::NodeTag::T_CommonTableExpr)
            && let Some(cycle) = (*node.cast::<pg_sys::CommonTableExpr>()).cycle_clause.as_mut()
        {
            let marks = &mut *context.cast::<Marks>();
            for mark in [&mut cycle.cycle_mark_value, &mut cycle.cycle_mark_default] {
                *mark = marks.lifted(*mark);
            }
        }
        pg_sys::expression_tree_walker_impl(node, Some(visit), context)
    }
}

impl Marks {
    /// A stand-in for the constant. Those of booleans print as they are read.
    unsafe fn lifted(&mut self, mark: *mut pg_sys::Node) -> *mut pg_sys::Node {
        // SAFETY: a constant, or a cast of one.
        unsafe {
            let folded = pg_sys::eval_const_expressions(std::ptr::null_mut(), mark);
            if !is_a(folded, pg_sys::NodeTag::T_Const) {
                return mark;
            }
            let constant = &*folded.cast::<pg_sys::Const>();
            if constant.consttype == pg_sys::BOOLOID && !constant.constisnull {
                return folded;
            }
            let stand_in = palloc_string(&format!("{}{}", self.token, self.found.len()));
            self.found.push(literal(constant));
            let value = pg_sys::Datum::from(stand_in);
            pg_sys::makeConst(pg_sys::UNKNOWNOID, -1, pg_sys::InvalidOid, -2, value, false, false).cast()
        }
    }
}

/// `type 'value'`; without a type where two such constants are of it anyway.
unsafe fn literal(constant: &pg_sys::Const) -> String {
    if constant.constisnull {
        return "NULL".into();
    }
    // SAFETY: look-ups in the system cache, and the output function of the constant's type.
    unsafe {
        let (mut output, mut varlena) = (pg_sys::InvalidOid, false);
        pg_sys::getTypeOutputInfo(constant.consttype, &mut output, &mut varlena);
        let shown = pg_sys::OidOutputFunctionCall(output, constant.constvalue);
        let quoted = text(pg_sys::quote_literal_cstr(shown));
        if constant.consttype == pg_sys::TEXTOID {
            return quoted;
        }
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::TYPEOID as i32, constant.consttype.into());
        let form = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_type>();
        let schema = text(pg_sys::quote_identifier(pg_sys::get_namespace_name(form.typnamespace)));
        let name = text(pg_sys::quote_identifier(form.typname.data.as_ptr()));
        let modifier = match (constant.consttypmod, form.typmodout) {
            (-1, _) | (_, pg_sys::InvalidOid) => String::new(),
            (typmod, show) => {
                text(pg_sys::OidFunctionCall1Coll(show, pg_sys::InvalidOid, typmod.into()).cast_mut_ptr())
            }
        };
        pg_sys::ReleaseSysCache(tuple);
        // `(3) without time zone`; the fields of an interval are no modifier here, and its value has no others.
        let modifier = modifier.find(')').filter(|_| modifier.starts_with('(')).map_or("", |end| &modifier[..=end]);
        format!("{schema}.{name}{modifier} {quoted}")
    }
}
