//! One query level made self-contained: its expressions read columns of its own range table and nothing else.
//!
//! A sub-select in an expression becomes a column of one additional entry, [`Leveled::link_entry`], and is handed out
//! beside the query. A column of a query further out becomes a column of the additional entry that stands for the entry
//! it belongs to; an aggregate call of a query further out one of [`Leveled::row_entry`] of that query, which its own
//! expressions have no use for outside of comparisons with sub-selects. Sub-selects of the FROM and WITH clauses are left as they are; they are levels of their own.

use super::deparse::stand_in;
use super::nodes::{Expr, Query, Variable, items};
use super::types;
use pgrx::{PgList, is_a, pg_guard, pg_sys};
use pgtrickle_engine::query::DataType;
use std::ffi::c_void;

/// What a sub-select in an expression asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    Exists,
    /// `x op ANY (…)`, `x IN (…)`
    Any,
    /// `x op ALL (…)`
    All,
    /// The only row's only column.
    Scalar,
    Array,
    /// A row compared with the only row.
    Row,
}

/// A sub-select in an expression.
#[derive(Clone)]
pub struct SubLink<'a> {
    pub kind: LinkKind,
    pub query: Query<'a>,
    /// The comparison, over the level and the columns of [`Leveled::row_entry`], which are those of a row of `query`.
    pub test: Option<Expr<'a>>,
    /// Of its value.
    pub ty: DataType,
    /// As it came from the analysis.
    pub(super) node: *mut pg_sys::SubLink,
}

/// A query level.
pub struct Leveled<'a> {
    pub query: Query<'a>,
    pub links: Vec<SubLink<'a>>,
    /// Column `i` of this entry is the value of `links[i - 1]`.
    pub link_entry: usize,
    pub row_entry: usize,
    /// Per query further out, innermost first: its first entry among those of `query`.
    pub outer_entries: Vec<usize>,
    /// It computes something for each row that only a query further out can compute: an aggregate of that query.
    pub outer_call: bool,
}

/// Columns of a row of a sub-select that a comparison may read.
const MAX_ROW: usize = 64;
/// Aggregate calls of a query that its sub-selects read.
pub(super) const MAX_CALLS: usize = 64;

struct Split {
    original: *mut pg_sys::Query,
    links: Vec<*mut pg_sys::SubLink>,
    link_entry: i32,
    row_entry: i32,
    outer_entries: Vec<usize>,
    outer_call: bool,
}

impl<'a> Query<'a> {
    /// This level by itself; `outer` are the queries around it, innermost first, as they came from the analysis.
    pub fn level(self, token: &str, outer: &[Query<'a>]) -> Leveled<'a> {
        let own = self.entries();
        let mut first = own + 3;
        let mut outer_entries = Vec::new();
        for query in outer {
            outer_entries.push(first);
            first += query.entries() + 2;
        }
        let mut split = Split {
            original: (self.node as *const pg_sys::Query).cast_mut(),
            links: Vec::new(),
            link_entry: own as i32 + 1,
            row_entry: own as i32 + 2,
            outer_entries,
            outer_call: false,
        };
        // SAFETY: the mutator copies what it changes, into the memory of the analysed query; its context is what `separate`
        // takes it for. The stand-ins are appended to the copy's own list.
        let query = unsafe {
            let flags = (pg_sys::QTW_IGNORE_RT_SUBQUERIES | pg_sys::QTW_IGNORE_CTE_SUBQUERIES) as i32;
            let context = (&raw mut split).cast();
            let copy = pg_sys::query_tree_mutator_impl(split.original, Some(separate), context, flags);
            let widths = [split.links.len(), MAX_ROW]
                .into_iter()
                .chain(outer.iter().flat_map(|query| query.widths().into_iter().chain([0, MAX_CALLS])));
            for width in widths {
                let entry = stand_in("outer", token, width);
                (*copy).rtable = pg_sys::lappend((*copy).rtable, entry.cast());
            }
            Query { node: &*copy }
        };
        Leveled {
            query,
            links: split.links.iter().map(|link| sub_link(*link)).collect(),
            link_entry: split.link_entry as usize,
            row_entry: split.row_entry as usize,
            outer_entries: split.outer_entries,
            outer_call: split.outer_call,
        }
    }

    /// How many columns each range table entry has.
    fn widths(self) -> Vec<usize> {
        // SAFETY: rtable holds RangeTblEntry nodes, whose eref is always set.
        unsafe {
            let entries = items::<pg_sys::RangeTblEntry>(self.node.rtable);
            let width = |entry: &pg_sys::RangeTblEntry| {
                entry.eref.as_ref().map_or(0, |names| items::<pg_sys::Node>(names.colnames).len())
            };
            entries.into_iter().map(width).collect()
        }
    }

    /// The columns of the query around this one that it reads.
    pub fn reads_outside(self) -> Vec<Variable> {
        let query = (self.node as *const pg_sys::Query).cast_mut();
        // SAFETY: only reads the query; the list is of Var nodes, for placeholders are made by the planner.
        let columns = unsafe { items::<pg_sys::Var>(pg_sys::pull_vars_of_level(query.cast(), 1)) };
        columns.into_iter().map(|var| (var.varno as usize, var.varattno)).collect()
    }

    /// The sub-select of the FROM clause with columns of this query's joins read from what the joins take them from.
    pub(super) fn flat_inner(self, inner: *mut pg_sys::Query) -> *mut pg_sys::Query {
        let query = (self.node as *const pg_sys::Query).cast_mut();
        // SAFETY: the mutator copies what it changes.
        unsafe { pg_sys::flatten_join_alias_vars(std::ptr::null_mut(), query, inner.cast()).cast() }
    }
}

/// `link`'s test has been separated already.
fn sub_link<'a>(link: *mut pg_sys::SubLink) -> SubLink<'a> {
    // SAFETY: `separate` collects valid SubLink nodes, whose subselect is an analysed Query.
    unsafe {
        let node = link.cast::<pg_sys::Node>();
        let ty = types::data_type(pg_sys::exprType(node), pg_sys::exprTypmod(node), pg_sys::exprCollation(node));
        let test = (*link).testexpr;
        SubLink {
            kind: match (*link).subLinkType {
                pg_sys::SubLinkType::EXISTS_SUBLINK => LinkKind::Exists,
                pg_sys::SubLinkType::ANY_SUBLINK => LinkKind::Any,
                pg_sys::SubLinkType::ALL_SUBLINK => LinkKind::All,
                pg_sys::SubLinkType::EXPR_SUBLINK => LinkKind::Scalar,
                pg_sys::SubLinkType::ARRAY_SUBLINK => LinkKind::Array,
                _ => LinkKind::Row,
            },
            query: Query { node: &*(*link).subselect.cast::<pg_sys::Query>() },
            test: (!test.is_null()).then(|| Expr::new(test)),
            ty,
            node: link,
        }
    }
}

/// A mutator over one query level.
#[pg_guard]
unsafe extern "C-unwind" fn separate(node: *mut pg_sys::Node, context: *mut c_void) -> *mut pg_sys::Node {
    if node.is_null() {
        return node;
    }
    // SAFETY: `level` passes a Split, and the mutators call back with valid nodes; the tag tells the type.
    unsafe {
        let split = &mut *context.cast::<Split>();
        match (*node).type_ {
            pg_sys::NodeTag::T_SubLink => {
                let null = std::ptr::null_mut();
                let flat: *mut pg_sys::SubLink = pg_sys::flatten_join_alias_vars(null, split.original, node).cast();
                (*flat).testexpr = separate((*flat).testexpr, context);
                split.links.push(flat);
                column(split.link_entry, split.links.len() as i16, flat.cast())
            }
            pg_sys::NodeTag::T_Var => {
                let var = node.cast::<pg_sys::Var>();
                if (*var).varlevelsup == 0 {
                    return node;
                }
                let copy: *mut pg_sys::Var = pg_sys::copyObjectImpl(node.cast()).cast();
                let first = split.outer_entries[(*var).varlevelsup as usize - 1];
                (*copy).varno += first as i32 - 1;
                (*copy).varlevelsup = 0;
                (*copy).varnullingrels = std::ptr::null_mut();
                copy.cast()
            }
            pg_sys::NodeTag::T_Param => {
                let param = &*node.cast::<pg_sys::Param>();
                match param.paramkind {
                    pg_sys::ParamKind::PARAM_SUBLINK => column(split.row_entry, param.paramid as i16, node),
                    _ => node,
                }
            }
            pg_sys::NodeTag::T_Aggref if (*node.cast::<pg_sys::Aggref>()).agglevelsup > 0 => {
                split.outer_call = true;
                node
            }
            pg_sys::NodeTag::T_GroupingFunc if (*node.cast::<pg_sys::GroupingFunc>()).agglevelsup > 0 => {
                split.outer_call = true;
                node
            }
            _ => pg_sys::expression_tree_mutator_impl(node, Some(separate), context),
        }
    }
}

/// A column of an additional entry, of the type of `like`.
///
/// # Safety
/// `like` is a valid expression.
unsafe fn column(entry: i32, number: i16, like: *mut pg_sys::Node) -> *mut pg_sys::Node {
    // SAFETY: the caller's promise.
    unsafe {
        let (oid, typmod) = (pg_sys::exprType(like), pg_sys::exprTypmod(like));
        pg_sys::makeVar(entry, number, oid, typmod, pg_sys::exprCollation(like), 0).cast()
    }
}

/// The comparison of a sub-select's test, when it is one strict built-in operator with a plain column of the sub-select's row
/// on its right.
pub struct Comparison<'a> {
    pub left: Expr<'a>,
    pub right: Expr<'a>,
}

impl<'a> Expr<'a> {
    /// The two sides of `x op y`, where the operator is built in and gives a truth value for any two values: then the
    /// comparison is NULL exactly when a side is.
    pub fn total_comparison(self) -> Option<Comparison<'a>> {
        // SAFETY: the tag tells the type; an operator's arguments are expressions.
        unsafe {
            if !is_a(self.node, pg_sys::NodeTag::T_OpExpr) {
                return None;
            }
            let operator = &*self.node.cast::<pg_sys::OpExpr>();
            let args = PgList::<pg_sys::Node>::from_pg(operator.args);
            let (left, right) = (args.get_ptr(0)?, args.get_ptr(1)?);
            super::scalar::is_total(operator).then(|| Comparison { left: Expr::new(left), right: Expr::new(right) })
        }
    }

    /// The operand, when the expression is NOT of it.
    pub fn negated(self) -> Option<Expr<'a>> {
        // SAFETY: the tag tells the type; NOT has one operand.
        unsafe {
            if !is_a(self.node, pg_sys::NodeTag::T_BoolExpr) {
                return None;
            }
            let expr = &*self.node.cast::<pg_sys::BoolExpr>();
            let operand = PgList::<pg_sys::Node>::from_pg(expr.args).get_ptr(0)?;
            (expr.boolop == pg_sys::BoolExprType::NOT_EXPR).then(|| Expr::new(operand))
        }
    }
}
