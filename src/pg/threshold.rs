//! How long ago: differences with the clock as comparisons with it.
//!
//! **Law.** `clock - x op i` is `clock - i op x`, and `x - clock op i` is `x op clock + i`. A difference of timestamps is an
//! exact time, in days of 24 hours, and intervals compare by months of 30 such days: so `i` is a number of microseconds. A
//! difference of dates is a number of days; PostgreSQL has none to an infinite date, which is as far here as such a timestamp.
//! An `i` of thousands of years stays where it is, for what is that far from the clock may be no timestamp.

use super::moment::{has_clock, is_computed};
use super::nodes::{Expr, items, text};
use super::rows::palloc_string;
use pgrx::{is_a, pg_guard, pg_sys};
use std::ffi::c_void;

const DAY: i128 = 86_400_000_000;
/// In microseconds.
const LONGEST: i128 = 5_000 * 365 * DAY;

impl Expr<'_> {
    /// The expression with the clock by itself on one side of each comparison of a difference with it.
    pub fn with_thresholds(self) -> Self {
        // SAFETY: the mutator copies what it changes, into the memory of the analysed query.
        unsafe { Expr::new(threshold(self.node, std::ptr::null_mut())) }
    }
}

/// A mutator.
#[pg_guard]
unsafe extern "C-unwind" fn threshold(node: *mut pg_sys::Node, context: *mut c_void) -> *mut pg_sys::Node {
    if node.is_null() {
        return node;
    }
    // SAFETY: the mutator calls back with valid nodes.
    unsafe {
        let moved = compared(node);
        moved.unwrap_or_else(|| pg_sys::expression_tree_mutator_impl(node, Some(threshold), context))
    }
}

/// A difference between the clock and something else.
struct Difference {
    clock: *mut pg_sys::Node,
    other: *mut pg_sys::Node,
    /// It is `clock - other`.
    since: bool,
    /// The type of both.
    ty: pg_sys::Oid,
}

/// The comparison of a difference with a constant, moved.
///
/// # Safety
/// `node` is a valid expression.
unsafe fn compared(node: *mut pg_sys::Node) -> Option<*mut pg_sys::Node> {
    // SAFETY: the tag tells the type; what is made is made in the memory of the analysed query.
    unsafe {
        let (comparison, [left, right]) = operation(node)?;
        let name = text(pg_sys::get_opname(comparison.opno));
        if !["<", "<=", "=", ">=", ">", "<>"].contains(&name.as_str()) {
            return None;
        }
        let (difference, constant, first) = match (difference(left), difference(right)) {
            (Some(difference), None) => (difference, right, true),
            (None, Some(difference)) => (difference, left, false),
            _ => return None,
        };
        let Difference { clock, other, since, ty } = difference;
        let distance = distance(constant, ty)?;
        let threshold = operator(if since { "-" } else { "+" }, ty, [clock, distance], ty)?;
        // The clock is where the difference was if it is counted from there, else where the constant was.
        let sides = if since == first { [threshold, other] } else { [other, threshold] };
        operator(&name, ty, sides, pg_sys::BOOLOID)
    }
}

/// # Safety
/// `node` is a valid expression.
unsafe fn difference(node: *mut pg_sys::Node) -> Option<Difference> {
    // SAFETY: the caller's promise.
    unsafe {
        let (minus, [left, right]) = operation(node)?;
        let ty = match minus.opfuncid.to_u32() {
            pg_sys::F_TIMESTAMPTZ_MI => pg_sys::TIMESTAMPTZOID,
            pg_sys::F_TIMESTAMP_MI => pg_sys::TIMESTAMPOID,
            pg_sys::F_DATE_MI => pg_sys::DATEOID,
            _ => return None,
        };
        let moves = |side| has_clock(side, std::ptr::null_mut());
        match (moves(left), moves(right)) {
            (true, false) if is_computed(left) => Some(Difference { clock: left, other: right, since: true, ty }),
            (false, true) if is_computed(right) => Some(Difference { clock: right, other: left, since: false, ty }),
            _ => None,
        }
    }
}

/// The constant that a difference of values of the type `ty` is compared with, as what such a value can be moved by.
///
/// # Safety
/// `node` is a valid expression.
unsafe fn distance(node: *mut pg_sys::Node, ty: pg_sys::Oid) -> Option<*mut pg_sys::Node> {
    // SAFETY: the tag tells the type; a Const of an interval that is not NULL points to one.
    unsafe {
        if !is_a(node, pg_sys::NodeTag::T_Const) || (*node.cast::<pg_sys::Const>()).constisnull {
            return None;
        }
        let constant = &*node.cast::<pg_sys::Const>();
        if ty == pg_sys::DATEOID {
            let days = i128::from(constant.constvalue.value() as i32);
            return (constant.consttype == pg_sys::INT4OID && days.abs() * DAY <= LONGEST).then_some(node);
        }
        if constant.consttype != pg_sys::INTERVALOID {
            return None;
        }
        let interval = &*constant.constvalue.cast_mut_ptr::<pg_sys::Interval>();
        let days = i128::from(interval.month) * 30 + i128::from(interval.day);
        let time = days * DAY + i128::from(interval.time);
        if time.abs() > LONGEST {
            return None;
        }
        let size = size_of::<pg_sys::Interval>();
        let moved = pg_sys::palloc(size).cast::<pg_sys::Interval>();
        moved.write(pg_sys::Interval { time: i64::try_from(time).ok()?, day: 0, month: 0 });
        let none = pg_sys::InvalidOid;
        Some(pg_sys::makeConst(pg_sys::INTERVALOID, -1, none, size as i32, moved.into(), false, false).cast())
    }
}

/// A call of an operator with two operands.
///
/// # Safety
/// `node` is a valid expression.
unsafe fn operation<'a>(node: *mut pg_sys::Node) -> Option<(&'a pg_sys::OpExpr, [*mut pg_sys::Node; 2])> {
    // SAFETY: the tag tells the type; an operator's arguments are expressions.
    unsafe {
        if !is_a(node, pg_sys::NodeTag::T_OpExpr) {
            return None;
        }
        let operator = &*node.cast::<pg_sys::OpExpr>();
        match items::<pg_sys::Node>(operator.args).as_slice() {
            [left, right] if operator.opfuncid.to_u32() < pg_sys::FirstUnpinnedObjectId => {
                Some((operator, [*left, *right].map(|side| std::ptr::from_ref(side).cast_mut())))
            }
            _ => None,
        }
    }
}

/// The built-in operator `name` with these operands, the first of type `ty`.
///
/// # Safety
/// The operands are valid expressions.
unsafe fn operator(
    name: &str,
    ty: pg_sys::Oid,
    [left, right]: [*mut pg_sys::Node; 2],
    result: pg_sys::Oid,
) -> Option<*mut pg_sys::Node> {
    // SAFETY: a syscache lookup; nodes are made in the memory of the analysed query.
    unsafe {
        let mut names = std::ptr::null_mut();
        for part in ["pg_catalog", name] {
            names = pg_sys::lappend(names, pg_sys::makeString(palloc_string(part)).cast());
        }
        let found = pg_sys::OpernameGetOprid(names, ty, pg_sys::exprType(right));
        if found == pg_sys::InvalidOid {
            return None;
        }
        let none = pg_sys::InvalidOid;
        let made = pg_sys::make_opclause(found, result, false, left.cast(), right.cast(), none, none);
        pg_sys::set_opfuncid(made.cast());
        Some(made.cast())
    }
}
