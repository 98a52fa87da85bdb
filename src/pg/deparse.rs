//! Expressions as text, through PostgreSQL's own deparser.
//!
//! The deparser is told that the inputs are CTEs with generated names, so every column prints as
//! `<token>r<entry>.<token>c<column>`. The token occurs nowhere else in the query ([`super::analyze::Analysed`]), so
//! splitting the text on it cannot be misled by a user's literal or name.

use super::moment::{self, Moment, Moments};
use super::nodes::{Expr, Query, Variable, items, text};
use super::reading;
use super::row_test;
use super::rows::{make_node, name_fields, palloc_string};
use super::windows::window_function;
use crate::error::{Error, Result};
use pgrx::{is_a, pg_guard, pg_sys};
use std::ffi::c_void;
use std::marker::PhantomData;

/// A part of an expression's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Column(Variable),
    /// The clock as a value of this type.
    Clock(String),
    /// Where a comparison with the clock begins, and where it ends.
    Begin,
    End,
}

/// An expression reads the clock no more often than this.
const CLOCKS: usize = 64;

/// Prints expressions over one query's range table, under the settings that [`super::analyze::with_analysed`] pins.
pub struct Deparser<'a> {
    /// Its range table is what expressions are printed over.
    statement: *mut pg_sys::PlannedStmt,
    /// The names of the entries.
    names: *mut pg_sys::List,
    /// How many columns each entry has; one more stands for the whole row.
    widths: Vec<usize>,
    token: String,
    /// Columns of this entry stand for the clock.
    clock_entry: usize,
    lives: PhantomData<&'a pg_sys::Query>,
}

impl<'a> Deparser<'a> {
    /// For the entries of `query`, followed by one more entry for each of `extra` with that many columns.
    pub fn new(query: Query<'a>, token: &str, extra: &[usize]) -> Self {
        // SAFETY: rtable holds RangeTblEntry nodes, whose eref is always set; nodes are allocated in the current
        // memory context, which is that of the analysed query.
        unsafe {
            let entries = items::<pg_sys::RangeTblEntry>(query.node.rtable);
            let width = |entry: &pg_sys::RangeTblEntry| match entry.eref.as_ref() {
                Some(names) => items::<pg_sys::Node>(names.colnames).len(),
                None => 0,
            };
            let widths = entries.iter().map(|entry| width(entry)).chain(extra.iter().copied()).chain([CLOCKS]);
            let widths: Vec<usize> = widths.collect();
            let clock_entry = widths.len();
            let statement = make_node::<pg_sys::PlannedStmt>(pg_sys::NodeTag::T_PlannedStmt);
            let names = std::ptr::null_mut();
            let token = token.into();
            let none = Vec::with_capacity(clock_entry);
            let mut deparser = Deparser { statement, names, widths: none, token, clock_entry, lives: PhantomData };
            widths.into_iter().for_each(|width| deparser.append(width));
            deparser
        }
    }

    /// The number of entries.
    pub fn entries(&self) -> usize {
        self.widths.len()
    }

    /// Adds an entry with that many columns.
    pub fn append(&mut self, width: usize) {
        self.widths.push(width);
        let alias = format!("{}r{}", self.token, self.widths.len());
        // SAFETY: lists and nodes are made in the memory context of the analysed query.
        unsafe {
            let entry = stand_in(&alias, &self.token, width + 1);
            (*self.statement).rtable = pg_sys::lappend((*self.statement).rtable, entry.cast());
            self.names = pg_sys::lappend(self.names, palloc_string(&alias).cast());
        }
    }

    /// The expression's text, cut at its columns.
    ///
    /// Implicit casts at the top are printed: without them the text could have another type than the expression.
    pub fn pieces(&self, expr: Expr<'a>) -> Result<Vec<Piece>> {
        // SAFETY: the statement has a name for each of its entries.
        let context = unsafe { pg_sys::deparse_context_for_plan_tree(self.statement, self.names) };
        self.printed(expr, context, false)
    }

    /// Likewise of a condition, the comparisons with the clock in it marked.
    pub fn condition(&self, expr: Expr<'a>) -> Result<Vec<Piece>> {
        // SAFETY: the statement has a name for each of its entries.
        let context = unsafe { pg_sys::deparse_context_for_plan_tree(self.statement, self.names) };
        self.printed(expr, context, true)
    }

    /// Likewise of a window function call, OVER the window `name`.
    pub fn window_call(&self, expr: Expr<'a>, name: &str) -> Result<Vec<Piece>> {
        // SAFETY: of a plan node, the deparser asks a WindowAgg for the name of its window only.
        let context = unsafe {
            let node = make_node::<pg_sys::WindowAgg>(pg_sys::NodeTag::T_WindowAgg);
            let function = window_function(expr.node);
            (*node).winref = if function.is_null() { 0 } else { (*function).winref };
            (*node).winname = palloc_string(name);
            let context = pg_sys::deparse_context_for_plan_tree(self.statement, self.names);
            pg_sys::set_deparse_context_plan(context, node.cast(), std::ptr::null_mut())
        };
        self.printed(expr, context, true)
    }

    fn printed(&self, expr: Expr<'a>, context: *mut pg_sys::List, comparisons: bool) -> Result<Vec<Piece>> {
        let mut moments = Moments { entry: self.clock_entry as i32, comparisons, found: Vec::new() };
        // SAFETY: the copy is a valid expression tree over the range table that the context was made for.
        let printed = unsafe {
            let copy = pg_sys::copyObjectImpl(expr.node.cast()).cast::<pg_sys::Node>();
            let copy = moment::lift(copy, (&raw mut moments).cast());
            if moments.found.len() > CLOCKS {
                return Err(Error::TooComplex(format!("an expression reads the clock more than {CLOCKS} times")));
            }
            let copy = reading::guard(name_fields(copy, std::ptr::null_mut()), std::ptr::null_mut());
            let mut names = Names { widths: &self.widths, depth: 0 };
            use_own_names(copy, (&raw mut names).cast());
            row_test::nest(copy, std::ptr::null_mut());
            text(pg_sys::deparse_expression(copy, context, true, true))
        };
        let mut pieces = Vec::new();
        for piece in split(&printed, &self.token)? {
            match piece {
                Piece::Column((entry, column)) if entry == self.clock_entry => {
                    match &moments.found[column as usize - 1] {
                        Moment::Value(ty) => pieces.push(Piece::Clock(ty.clone())),
                        Moment::Comparison(node) => {
                            pieces.push(Piece::Begin);
                            // SAFETY: it is a part of the copy.
                            pieces.extend(self.printed(unsafe { Expr::new(*node) }, context, false)?);
                            pieces.push(Piece::End);
                        }
                    }
                }
                Piece::Column((entry, column)) if column as usize > self.widths[entry - 1] => {
                    pieces.push(Piece::Column((entry, 0)));
                }
                other => pieces.push(other),
            }
        }
        Ok(pieces)
    }
}

/// A CTE entry with generated column names.
///
/// # Safety
/// Runs in the memory context of the deparser.
pub(super) unsafe fn stand_in(alias: &str, token: &str, width: usize) -> *mut pg_sys::RangeTblEntry {
    // SAFETY: all strings and nodes are palloc'd here.
    unsafe {
        let mut columns = std::ptr::null_mut();
        for column in 1..=width {
            let name = palloc_string(&format!("{token}c{column}"));
            columns = pg_sys::lappend(columns, pg_sys::makeString(name).cast());
        }
        let entry = make_node::<pg_sys::RangeTblEntry>(pg_sys::NodeTag::T_RangeTblEntry);
        (*entry).rtekind = pg_sys::RTEKind::RTE_CTE;
        (*entry).ctename = palloc_string(alias);
        (*entry).eref = pg_sys::makeAlias((*entry).ctename, columns);
        (*entry).alias = (*entry).eref;
        entry
    }
}

struct Names<'a> {
    widths: &'a [usize],
    depth: pg_sys::Index,
}

/// Makes every column print as what it is: the deparser prefers the name by which the user referred to it. The whole row of
/// an entry is the column after its last one.
#[pg_guard]
unsafe extern "C-unwind" fn use_own_names(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: `printed` passes Names and owns the nodes that the walkers call back with; the tag tells the type.
    unsafe {
        let names = &mut *context.cast::<Names<'_>>();
        if is_a(node, pg_sys::NodeTag::T_Query) {
            names.depth += 1;
            pg_sys::query_tree_walker_impl(node.cast(), Some(use_own_names), context, 0);
            names.depth -= 1;
            return false;
        }
        if is_a(node, pg_sys::NodeTag::T_Var) {
            let var = &mut *node.cast::<pg_sys::Var>();
            if var.varlevelsup == names.depth {
                if var.varattno == 0 {
                    var.varattno = names.widths[var.varno as usize - 1] as i16 + 1;
                }
                var.varnosyn = var.varno as pg_sys::Index;
                var.varattnosyn = var.varattno;
            }
        }
        pg_sys::expression_tree_walker_impl(node, Some(use_own_names), context)
    }
}

/// Cuts `printed` at `<token>r<entry>.<token>c<column>`.
fn split(printed: &str, token: &str) -> Result<Vec<Piece>> {
    let broken = || Error::Internal(format!("an expression printed in an unknown way: {printed}"));
    let mut pieces = Vec::new();
    let mut rest = printed;
    while let Some(start) = rest.find(token) {
        if start > 0 {
            pieces.push(Piece::Text(rest[..start].into()));
        }
        rest = rest[start + token.len()..].strip_prefix('r').ok_or_else(broken)?;
        let entry = number(&mut rest).ok_or_else(broken)?;
        rest = rest.strip_prefix('.').and_then(|rest| rest.strip_prefix(token)).ok_or_else(broken)?;
        rest = rest.strip_prefix('c').ok_or_else(broken)?;
        let column = number(&mut rest).ok_or_else(broken)?;
        pieces.push(Piece::Column((entry, i16::try_from(column).map_err(|_| broken())?)));
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    Ok(pieces)
}

/// Takes the digits from the front of `rest`.
fn number(rest: &mut &str) -> Option<usize> {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, tail) = rest.split_at(end);
    *rest = tail;
    digits.parse().ok()
}
