//! The split of a SELECT list into window function calls and what is computed from their results.

use super::level::SubLink;
use super::nodes::{Expr, Query, Target, items, text};
use super::ordering::{Sort, target_refs};
use pgrx::{is_a, pg_guard, pg_sys};
use std::ffi::c_void;

/// A SELECT list, split.
pub struct Windowed<'a> {
    /// The window definitions, each used by some call.
    pub windows: Vec<Window<'a>>,
    pub calls: Vec<WindowCall<'a>>,
    /// The targets that were split, calls replaced by columns of the entry for calls.
    pub targets: Vec<Target<'a>>,
    /// The sub-selects in expressions, their comparisons likewise.
    pub links: Vec<SubLink<'a>>,
}

/// A window definition.
pub struct Window<'a> {
    /// What calls name it by.
    pub reference: u32,
    /// PARTITION BY, as [`Target::sort_ref`]s.
    pub partition: Vec<u32>,
    pub order: Vec<Sort>,
    /// The frame clause; empty for the default one.
    pub frame: Vec<FramePart<'a>>,
}

/// A part of a frame clause, to be joined by spaces.
pub enum FramePart<'a> {
    Words(&'static str),
    /// Reads no columns.
    Offset(Expr<'a>),
}

/// A call of a window function, or of an aggregate as one.
pub struct WindowCall<'a> {
    /// The function's name without schema.
    pub name: String,
    /// [`Window::reference`].
    pub window: u32,
    pub expr: Expr<'a>,
}

struct Split {
    entry: i32,
    calls: Vec<*mut pg_sys::Node>,
}

impl<'a> Query<'a> {
    /// Splits `targets`, which are this query's, perhaps with its grouping already taken out; calls become columns of
    /// `entry`.
    pub fn windowed(self, targets: Vec<Target<'a>>, links: &[SubLink<'a>], entry: usize) -> Windowed<'a> {
        let mut split = Split { entry: entry as i32, calls: Vec::new() };
        let mut above = |expr: Expr<'a>| {
            // SAFETY: the mutator copies what it changes; the context is what `lift` takes it for.
            unsafe { Expr::new(lift(expr.node, (&raw mut split).cast())) }
        };
        let targets = targets.into_iter().map(|target| Target { expr: above(target.expr), ..target }).collect();
        let links = links.iter().map(|link| SubLink { test: link.test.map(&mut above), ..link.clone() }).collect();
        // SAFETY: `lift` collects only calls.
        let calls: Vec<WindowCall> = split.calls.iter().map(|node| unsafe { call(*node) }).collect();
        // SAFETY: a query's windowClause is a list of WindowClause.
        let clauses = unsafe { items::<pg_sys::WindowClause>(self.node.windowClause) };
        let used = clauses.into_iter().filter(|clause| calls.iter().any(|call| call.window == clause.winref));
        Windowed { windows: used.map(|clause| self.window(clause)).collect(), calls, targets, links }
    }

    fn window(self, clause: &pg_sys::WindowClause) -> Window<'a> {
        // SAFETY: the clauses are lists of SortGroupClause of this query.
        let (partition, order) = unsafe { (target_refs(clause.partitionClause), self.sorts(clause.orderClause)) };
        Window { reference: clause.winref, partition, order, frame: frame(clause) }
    }
}

/// As `get_window_frame_options` (ruleutils.c) prints it.
fn frame<'a>(clause: &pg_sys::WindowClause) -> Vec<FramePart<'a>> {
    let has = |option: u32| clause.frameOptions as u32 & option != 0;
    if !has(pg_sys::FRAMEOPTION_NONDEFAULT) {
        return Vec::new();
    }
    // SAFETY: an offset option comes with the offset's expression.
    let offset = |node: *mut pg_sys::Node| FramePart::Offset(unsafe { Expr::new(node) });
    let mode = match () {
        () if has(pg_sys::FRAMEOPTION_ROWS) => "ROWS",
        () if has(pg_sys::FRAMEOPTION_GROUPS) => "GROUPS",
        () => "RANGE",
    };
    let mut parts = vec![FramePart::Words(mode)];
    let between = has(pg_sys::FRAMEOPTION_BETWEEN);
    parts.extend(between.then_some(FramePart::Words("BETWEEN")));
    match () {
        () if has(pg_sys::FRAMEOPTION_START_UNBOUNDED_PRECEDING) => parts.push(FramePart::Words("UNBOUNDED PRECEDING")),
        () if has(pg_sys::FRAMEOPTION_START_CURRENT_ROW) => parts.push(FramePart::Words("CURRENT ROW")),
        () => {
            let preceding = has(pg_sys::FRAMEOPTION_START_OFFSET_PRECEDING);
            parts.extend([offset(clause.startOffset), FramePart::Words(side(preceding))]);
        }
    }
    if between {
        parts.push(FramePart::Words("AND"));
        match () {
            () if has(pg_sys::FRAMEOPTION_END_UNBOUNDED_FOLLOWING) => {
                parts.push(FramePart::Words("UNBOUNDED FOLLOWING"));
            }
            () if has(pg_sys::FRAMEOPTION_END_CURRENT_ROW) => parts.push(FramePart::Words("CURRENT ROW")),
            () => {
                let preceding = has(pg_sys::FRAMEOPTION_END_OFFSET_PRECEDING);
                parts.extend([offset(clause.endOffset), FramePart::Words(side(preceding))]);
            }
        }
    }
    let exclusion = match () {
        () if has(pg_sys::FRAMEOPTION_EXCLUDE_CURRENT_ROW) => Some("EXCLUDE CURRENT ROW"),
        () if has(pg_sys::FRAMEOPTION_EXCLUDE_GROUP) => Some("EXCLUDE GROUP"),
        () if has(pg_sys::FRAMEOPTION_EXCLUDE_TIES) => Some("EXCLUDE TIES"),
        () => None,
    };
    parts.extend(exclusion.map(FramePart::Words));
    parts
}

fn side(preceding: bool) -> &'static str {
    if preceding { "PRECEDING" } else { "FOLLOWING" }
}

/// A mutator: calls become columns of the entry that stands for them.
#[pg_guard]
unsafe extern "C-unwind" fn lift(node: *mut pg_sys::Node, context: *mut c_void) -> *mut pg_sys::Node {
    if node.is_null() {
        return node;
    }
    // SAFETY: `windowed` passes a Split, and the mutator calls back with valid nodes.
    unsafe {
        if window_function(node).is_null() {
            return pg_sys::expression_tree_mutator_impl(node, Some(lift), context);
        }
        let split = &mut *context.cast::<Split>();
        let known = split.calls.iter().position(|call| pg_sys::equal(call.cast(), node.cast()));
        let index = known.unwrap_or_else(|| {
            split.calls.push(node);
            split.calls.len() - 1
        });
        let (oid, typmod) = (pg_sys::exprType(node), pg_sys::exprTypmod(node));
        pg_sys::makeVar(split.entry, index as i16 + 1, oid, typmod, pg_sys::exprCollation(node), 0).cast()
    }
}

/// The WindowFunc that `node` is, or that the JSON aggregate `node` is made around; else null.
///
/// # Safety
/// `node` is a valid expression.
pub(super) unsafe fn window_function(node: *mut pg_sys::Node) -> *mut pg_sys::WindowFunc {
    // SAFETY: the tag tells the type.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_WindowFunc => node.cast(),
            pg_sys::NodeTag::T_JsonConstructorExpr => {
                let function = (*node.cast::<pg_sys::JsonConstructorExpr>()).func;
                match !function.is_null() && is_a(function.cast(), pg_sys::NodeTag::T_WindowFunc) {
                    true => function.cast(),
                    false => std::ptr::null_mut(),
                }
            }
            _ => std::ptr::null_mut(),
        }
    }
}

/// # Safety
/// `node` is a call that lives for `'a`.
unsafe fn call<'a>(node: *mut pg_sys::Node) -> WindowCall<'a> {
    // SAFETY: the caller's promise; the function exists.
    unsafe {
        let function = &*window_function(node);
        let name = text(pg_sys::get_func_name(function.winfnoid));
        WindowCall { name, window: function.winref, expr: Expr::new(node) }
    }
}
