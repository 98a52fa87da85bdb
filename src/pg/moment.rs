//! Expressions that read the clock: `now()` and its kin, which are fixed while a transaction runs.

use super::nodes::{Expr, items};
use super::types;
use pgrx::{is_a, pg_guard, pg_sys};
use std::ffi::c_void;

/// What of an expression is taken out of it because it reads the clock, each a column of a stand-in entry.
pub(super) struct Moments {
    pub(super) entry: i32,
    /// Comparisons are taken out as wholes.
    pub(super) comparisons: bool,
    pub(super) found: Vec<Moment>,
}

pub(super) enum Moment {
    /// The clock as a value of this type, as SQL.
    Value(String),
    Comparison(*mut pg_sys::Node),
}

impl Expr<'_> {
    /// The value depends on when it is computed.
    pub fn reads_clock(self) -> bool {
        // SAFETY: a valid expression; no context is used.
        unsafe { has_clock(self.node, std::ptr::null_mut()) }
    }

    /// A comparison of something that does not read the clock with something that is computed from nothing but the clock
    /// and constants and never is NULL.
    pub fn is_clock_comparison(self) -> bool {
        // SAFETY: a valid expression.
        unsafe { is_comparison(self.node) }
    }

    /// It reads the clock in such comparisons alone.
    pub fn compares_clock(self) -> bool {
        // SAFETY: a valid expression; no context is used.
        unsafe { !has_other_clock(self.node, std::ptr::null_mut()) }
    }

    /// No comparison with the clock can fail that CASE, COALESCE, AND, OR or FILTER may leave out.
    pub fn compares_clock_safely(self) -> bool {
        let mut guarded = false;
        // SAFETY: a valid expression; the context is the walker's.
        unsafe { !is_unsafe(self.node, (&raw mut guarded).cast()) }
    }
}

/// # Safety
/// `node` is a valid expression.
unsafe fn is_comparison(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the tag tells the type; an operator's arguments are expressions.
    unsafe {
        if !is_a(node, pg_sys::NodeTag::T_OpExpr) {
            return false;
        }
        let operator = &*node.cast::<pg_sys::OpExpr>();
        let compares = operator.opresulttype == pg_sys::BOOLOID && is_plain(operator.opfuncid);
        match items::<pg_sys::Node>(operator.args).as_slice() {
            [left, right] if compares => {
                let [left, right] = [*left, *right].map(|side| std::ptr::from_ref(side).cast_mut());
                let reads = |side| has_clock(side, std::ptr::null_mut());
                match (reads(left), reads(right)) {
                    (true, false) => is_computed(left),
                    (false, true) => is_computed(right),
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

/// The function reads the clock and is fixed while a transaction runs.
pub fn is_clock_function(function: u32) -> bool {
    matches!(function, pg_sys::F_NOW | pg_sys::F_TRANSACTION_TIMESTAMP)
}

/// The value of the session is the clock.
pub(super) fn is_clock_value(op: pg_sys::SQLValueFunctionOp::Type) -> bool {
    use pg_sys::SQLValueFunctionOp as Op;
    !matches!(
        op,
        Op::SVFOP_CURRENT_ROLE
            | Op::SVFOP_CURRENT_USER
            | Op::SVFOP_USER
            | Op::SVFOP_SESSION_USER
            | Op::SVFOP_CURRENT_CATALOG
            | Op::SVFOP_CURRENT_SCHEMA
    )
}

/// # Safety
/// `node` is a valid expression.
unsafe fn is_clock(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the tag tells the type.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_FuncExpr => is_clock_function((*node.cast::<pg_sys::FuncExpr>()).funcid.to_u32()),
            pg_sys::NodeTag::T_SQLValueFunction => is_clock_value((*node.cast::<pg_sys::SQLValueFunction>()).op),
            _ => false,
        }
    }
}

/// A walker: true where the clock is read.
#[pg_guard]
pub(super) unsafe extern "C-unwind" fn has_clock(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    // SAFETY: the walker calls back with valid nodes.
    unsafe {
        !node.is_null() && (is_clock(node) || pg_sys::expression_tree_walker_impl(node, Some(has_clock), context))
    }
}

/// A walker: true where the clock is read, but in a comparison.
#[pg_guard]
unsafe extern "C-unwind" fn has_other_clock(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    // SAFETY: the walker calls back with valid nodes.
    unsafe {
        !node.is_null()
            && !is_comparison(node)
            && (is_clock(node) || pg_sys::expression_tree_walker_impl(node, Some(has_other_clock), context))
    }
}

/// A walker: true where a comparison with the clock stands where it may not be evaluated and may fail. The context is whether it stands there.
#[pg_guard]
unsafe extern "C-unwind" fn is_unsafe(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    use pg_sys::NodeTag as Tag;
    if node.is_null() {
        return false;
    }
    // SAFETY: the caller passes a bool, and the walker calls back with valid nodes.
    unsafe {
        let mut guarded = *context.cast::<bool>();
        if is_comparison(node) {
            let operator = &*node.cast::<pg_sys::OpExpr>();
            return guarded
                && !items::<pg_sys::Node>(operator.args)
                    .iter()
                    .all(|side| is_harmless(std::ptr::from_ref(*side).cast_mut()));
        }
        guarded |= match (*node).type_ {
            Tag::T_CaseExpr | Tag::T_CoalesceExpr | Tag::T_BoolExpr => true,
            Tag::T_Aggref => !(*node.cast::<pg_sys::Aggref>()).aggfilter.is_null(),
            Tag::T_WindowFunc => !(*node.cast::<pg_sys::WindowFunc>()).aggfilter.is_null(),
            _ => false,
        };
        pg_sys::expression_tree_walker_impl(node, Some(is_unsafe), (&raw mut guarded).cast())
    }
}

/// Computed from the clock and constants, or columns, moved by some time.
///
/// # Safety
/// `node` is a valid expression.
unsafe fn is_harmless(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the tag tells the type; arguments are expressions.
    unsafe {
        let all =
            |list| items::<pg_sys::Node>(list).iter().all(|node| is_harmless(std::ptr::from_ref(*node).cast_mut()));
        match (*node).type_ {
            pg_sys::NodeTag::T_Var | pg_sys::NodeTag::T_Const => true,
            pg_sys::NodeTag::T_RelabelType => is_harmless((*node.cast::<pg_sys::RelabelType>()).arg.cast()),
            pg_sys::NodeTag::T_CoalesceExpr => all((*node.cast::<pg_sys::CoalesceExpr>()).args),
            pg_sys::NodeTag::T_MinMaxExpr => all((*node.cast::<pg_sys::MinMaxExpr>()).args),
            pg_sys::NodeTag::T_FuncExpr => {
                let call = &*node.cast::<pg_sys::FuncExpr>();
                (goes_along(call.funcid).is_some() && all(call.args)) || is_computed(node)
            }
            pg_sys::NodeTag::T_OpExpr => {
                let operator = &*node.cast::<pg_sys::OpExpr>();
                (goes_along(operator.opfuncid).is_some() && all(operator.args)) || is_computed(node)
            }
            _ => is_computed(node),
        }
    }
}

/// The place of the operand that the result of the function goes along with; see [`GOES_ALONG`].
fn goes_along(function: pg_sys::Oid) -> Option<usize> {
    if function.to_u32() >= pg_sys::FirstUnpinnedObjectId {
        return None;
    }
    // SAFETY: a syscache lookup.
    let name = unsafe { super::nodes::text(pg_sys::get_func_name(function)) };
    GOES_ALONG.iter().find(|(known, _)| *known == name).map(|(_, place)| *place)
}

/// Built in, so that nothing but its arguments decides, and strict.
fn is_plain(function: pg_sys::Oid) -> bool {
    // SAFETY: a syscache lookup.
    function.to_u32() < pg_sys::FirstUnpinnedObjectId && unsafe { pg_sys::func_strict(function) }
}

/// Arithmetic on the clock and constants.
///
/// # Safety
/// `node` is a valid expression.
pub(super) unsafe fn is_computed(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the tag tells the type; arguments are expressions.
    unsafe {
        let all =
            |list| items::<pg_sys::Node>(list).iter().all(|node| is_computed(std::ptr::from_ref(*node).cast_mut()));
        match (*node).type_ {
            _ if is_clock(node) => true,
            pg_sys::NodeTag::T_Const => !(*node.cast::<pg_sys::Const>()).constisnull,
            pg_sys::NodeTag::T_RelabelType => is_computed((*node.cast::<pg_sys::RelabelType>()).arg.cast()),
            pg_sys::NodeTag::T_FuncExpr => {
                let function = &*node.cast::<pg_sys::FuncExpr>();
                !function.funcretset && is_plain(function.funcid) && all(function.args)
            }
            pg_sys::NodeTag::T_OpExpr => {
                let operator = &*node.cast::<pg_sys::OpExpr>();
                is_plain(operator.opfuncid) && all(operator.args)
            }
            _ => false,
        }
    }
}

/// Built-in functions whose results grow as the operand at this place does, the others being constants: but for the hour in which
/// a time zone sets its clocks back.
const GOES_ALONG: &[(&str, usize)] = &[
    ("date", 0),
    ("date_mi_interval", 0),
    ("date_mii", 0),
    ("date_pl_interval", 0),
    ("date_pli", 0),
    ("date_trunc", 1),
    ("integer_pl_date", 1),
    ("interval_pl_timestamp", 1),
    ("interval_pl_timestamptz", 1),
    ("timestamp", 0),
    ("timestamp_mi_interval", 0),
    ("timestamp_pl_interval", 0),
    ("timestamptz", 0),
    ("timestamptz_mi_interval", 0),
    ("timestamptz_pl_interval", 0),
];

/// The node computes something from the clock that may go back and forth as time goes on; what it compares is not judged.
///
/// # Safety
/// `node` is a valid expression.
pub(super) unsafe fn may_waver(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the tag tells the type; arguments are expressions, and a Const of an interval that is not NULL points to one.
    unsafe {
        let (function, arguments) = match (*node).type_ {
            pg_sys::NodeTag::T_FuncExpr => {
                let call = &*node.cast::<pg_sys::FuncExpr>();
                (call.funcid, items::<pg_sys::Node>(call.args))
            }
            pg_sys::NodeTag::T_OpExpr => {
                let operator = &*node.cast::<pg_sys::OpExpr>();
                (operator.opfuncid, items::<pg_sys::Node>(operator.args))
            }
            _ => return false,
        };
        let moving = |node: &&pg_sys::Node| has_clock(std::ptr::from_ref(*node).cast_mut(), std::ptr::null_mut());
        let Some(place) = arguments.iter().position(moving) else { return false };
        if pg_sys::exprType(node) == pg_sys::BOOLOID {
            return false;
        }
        // Whatever it is a difference to; see [`super::threshold`].
        let differences = [pg_sys::F_TIMESTAMPTZ_MI, pg_sys::F_TIMESTAMP_MI, pg_sys::F_DATE_MI];
        if differences.contains(&function.to_u32()) && arguments.iter().filter(|node| moving(node)).count() == 1 {
            return false;
        }
        let steady = goes_along(function) == Some(place)
            && arguments.iter().enumerate().all(|(i, argument)| i == place || is_of_one_length(argument));
        !steady
    }
}

/// Months are not: a day of a longer one becomes the last of a shorter one.
///
/// # Safety
/// `node` is a valid expression.
unsafe fn is_of_one_length(node: &pg_sys::Node) -> bool {
    // SAFETY: the tag tells the type; a Const of an interval that is not NULL points to one.
    unsafe {
        if node.type_ != pg_sys::NodeTag::T_Const {
            return false;
        }
        let constant = &*std::ptr::from_ref(node).cast::<pg_sys::Const>();
        let months = || (*constant.constvalue.cast_mut_ptr::<pg_sys::Interval>()).month;
        !constant.constisnull && (constant.consttype != pg_sys::INTERVALOID || months() == 0)
    }
}

/// A mutator: values of the clock, and comparisons with it, become columns of the entry that stands for them.
#[pg_guard]
pub(super) unsafe extern "C-unwind" fn lift(node: *mut pg_sys::Node, context: *mut c_void) -> *mut pg_sys::Node {
    if node.is_null() {
        return node;
    }
    // SAFETY: the caller passes Moments, and the mutator calls back with valid nodes.
    unsafe {
        let moments = &mut *context.cast::<Moments>();
        let compares = moments.comparisons && is_comparison(node);
        if !compares && !is_clock(node) {
            return pg_sys::expression_tree_mutator_impl(node, Some(lift), context);
        }
        let (oid, typmod) = (pg_sys::exprType(node), pg_sys::exprTypmod(node));
        moments.found.push(match compares {
            true => Moment::Comparison(node),
            false => Moment::Value(types::data_type(oid, typmod, pg_sys::InvalidOid).sql),
        });
        pg_sys::makeVar(moments.entry, moments.found.len() as i16, oid, typmod, pg_sys::InvalidOid, 0).cast()
    }
}
