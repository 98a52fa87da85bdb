//! Sub-selects that read no table: expressions of the row that they are evaluated for.
//!
//! Such a sub-select computes its rows from its outer columns, by functions, VALUES and other sub-selects, so its value is
//! that of an expression of those columns and needs no decorrelation. It is printed as it stands, its aliases replaced by
//! ones that no other part of a statement has.
//!
//! What it computes must not go by a plan, for the row that goes is computed anew and must be the one that came. The rows of
//! one function or VALUES come in an order of their own. Where a sub-select joins, groups or unites, the order is the
//! planner's, and then nothing in it may tell: no LIMIT, no window, no array, no aggregate but those that count and add.

use super::grouping::known;
use super::level::{LinkKind, SubLink};
use super::moment::has_clock;
use super::nodes::{Expr, items};
use super::rows::palloc_string;
use pgrx::{PgList, is_a, pg_guard, pg_sys};
use pgtrickle_engine::query::rel::AggregateFunction;
use std::ffi::c_void;

impl<'a> SubLink<'a> {
    /// It reads nothing but the columns around it, and its value goes by them alone.
    pub fn reads_no_table(&self) -> bool {
        let mut reads = Reads { depth: 0, ordered: self.kind == LinkKind::Array, planned: false, other: false };
        let query = (self.query.node as *const pg_sys::Query).cast_mut();
        // SAFETY: an analysed query; the context is what `look` takes it for.
        unsafe { look(query.cast(), (&raw mut reads).cast()) };
        !(reads.other || (reads.ordered && reads.planned))
    }

    /// The sub-select as an expression over its level; `row_entry` and `outer_entries` are that level's.
    pub fn in_place(&self, row_entry: usize, outer_entries: &[usize]) -> Expr<'a> {
        let mut placing = Placing { depth: 0, row_entry: row_entry as i32, outer_entries, aliases: 0 };
        let context: *mut c_void = (&raw mut placing).cast();
        // SAFETY: the mutators copy what they change, into the memory of the analysed query.
        unsafe {
            let link = pg_sys::copyObjectImpl(self.node.cast()).cast::<pg_sys::SubLink>();
            let query = (self.query.node as *const pg_sys::Query).cast_mut();
            (*link).subselect = place(query.cast(), context);
            (*link).testexpr = self.test.map_or(std::ptr::null_mut(), |test| place(test.node, context));
            Expr::new(link.cast())
        }
    }
}

struct Reads {
    /// Of the query being walked; that of the sub-select is 1.
    depth: pg_sys::Index,
    /// Something goes by the order of rows.
    ordered: bool,
    /// The order of rows is the planner's.
    planned: bool,
    /// Something is read that is no column.
    other: bool,
}

impl Reads {
    /// # Safety
    /// The query has been analysed.
    unsafe fn note(&mut self, query: &pg_sys::Query) {
        // SAFETY: a query's jointree is a FromExpr; rtable holds RangeTblEntry nodes.
        unsafe {
            let from = PgList::<pg_sys::Node>::from_pg((*query.jointree).fromlist);
            self.planned |= from.len() > 1
                || from.iter_ptr().any(|item| is_a(item, pg_sys::NodeTag::T_JoinExpr))
                || !query.setOperations.is_null()
                || !query.groupClause.is_null()
                || !query.distinctClause.is_null()
                || query.hasRecursive;
            self.ordered |= !query.limitCount.is_null() || !query.limitOffset.is_null() || query.hasWindowFuncs;
            for entry in items::<pg_sys::RangeTblEntry>(query.rtable) {
                use pg_sys::RTEKind as Kind;
                self.other |= match entry.rtekind {
                    Kind::RTE_SUBQUERY => entry.relid != pg_sys::InvalidOid,
                    Kind::RTE_CTE => entry.ctelevelsup >= self.depth,
                    Kind::RTE_JOIN
                    | Kind::RTE_FUNCTION
                    | Kind::RTE_TABLEFUNC
                    | Kind::RTE_VALUES
                    | Kind::RTE_RESULT
                    | Kind::RTE_GROUP => false,
                    _ => true,
                };
            }
        }
    }
}

/// A walker: notes what a sub-select reads.
#[pg_guard]
unsafe extern "C-unwind" fn look(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: `reads_no_table` passes a Reads, and the walkers call back with valid nodes; the tag tells the type.
    unsafe {
        let reads = &mut *context.cast::<Reads>();
        match (*node).type_ {
            pg_sys::NodeTag::T_Query => {
                reads.depth += 1;
                reads.note(&*node.cast::<pg_sys::Query>());
                pg_sys::query_tree_walker_impl(node.cast(), Some(look), context, 0);
                reads.depth -= 1;
                return reads.other;
            }
            pg_sys::NodeTag::T_Aggref => {
                let call = &*node.cast::<pg_sys::Aggref>();
                reads.other |= call.agglevelsup >= reads.depth;
                reads.ordered |= !adds_up(known(call.aggfnoid));
            }
            pg_sys::NodeTag::T_GroupingFunc => {
                reads.other |= (*node.cast::<pg_sys::GroupingFunc>()).agglevelsup >= reads.depth;
            }
            pg_sys::NodeTag::T_SubLink => {
                let kind = (*node.cast::<pg_sys::SubLink>()).subLinkType;
                reads.ordered |= kind == pg_sys::SubLinkType::ARRAY_SUBLINK;
            }
            pg_sys::NodeTag::T_FuncExpr | pg_sys::NodeTag::T_SQLValueFunction => {
                reads.other |= has_clock(node, std::ptr::null_mut());
            }
            _ => {}
        }
        reads.other || pg_sys::expression_tree_walker_impl(node, Some(look), context)
    }
}

/// The same in whatever order the values come, to the last digit.
fn adds_up(function: AggregateFunction) -> bool {
    use AggregateFunction as F;
    matches!(
        function,
        F::CountStar
            | F::Count
            | F::SumInteger
            | F::SumNumeric
            | F::AvgInteger
            | F::AvgNumeric
            | F::BoolAnd
            | F::BoolOr
    )
}

struct Placing<'e> {
    /// As in [`Reads`]; 0 is the level of the expression.
    depth: pg_sys::Index,
    row_entry: i32,
    outer_entries: &'e [usize],
    /// That have been given.
    aliases: usize,
}

/// A mutator over the parts of a sub-select: columns of queries further out become columns of the level, columns of the
/// sub-select's row in its comparison what the parser has for them.
#[pg_guard]
unsafe extern "C-unwind" fn place(node: *mut pg_sys::Node, context: *mut c_void) -> *mut pg_sys::Node {
    if node.is_null() {
        return node;
    }
    // SAFETY: `in_place` passes Placing, and the mutators call back with valid nodes; the tag tells the type. The mutator of
    // queries copies each range table entry.
    unsafe {
        let placing = &mut *context.cast::<Placing<'_>>();
        match (*node).type_ {
            pg_sys::NodeTag::T_Query => {
                placing.depth += 1;
                let copy = pg_sys::query_tree_mutator_impl(node.cast(), Some(place), context, 0);
                placing.depth -= 1;
                for entry in PgList::<pg_sys::RangeTblEntry>::from_pg((*copy).rtable).iter_ptr() {
                    placing.rename(&mut *entry);
                }
                copy.cast()
            }
            pg_sys::NodeTag::T_Var => {
                let var = &*node.cast::<pg_sys::Var>();
                if placing.depth == 0 && var.varno == placing.row_entry {
                    let param = super::rows::make_node::<pg_sys::Param>(pg_sys::NodeTag::T_Param);
                    (*param).paramkind = pg_sys::ParamKind::PARAM_SUBLINK;
                    (*param).paramid = var.varattno.into();
                    (*param).paramtype = var.vartype;
                    (*param).paramtypmod = var.vartypmod;
                    (*param).paramcollid = var.varcollid;
                    (*param).location = -1;
                    return param.cast();
                }
                let copy: *mut pg_sys::Var = pg_sys::copyObjectImpl(node.cast()).cast();
                if var.varlevelsup >= placing.depth {
                    (*copy).varnullingrels = std::ptr::null_mut();
                }
                if var.varlevelsup > placing.depth {
                    let first = placing.outer_entries[(var.varlevelsup - placing.depth) as usize - 1];
                    (*copy).varno += first as i32 - 1;
                    (*copy).varlevelsup = placing.depth;
                }
                copy.cast()
            }
            _ => pg_sys::expression_tree_mutator_impl(node, Some(place), context),
        }
    }
}

impl Placing<'_> {
    /// Gives the entry an alias that no name in a statement of a refresh is.
    ///
    /// # Safety
    /// `entry` is a copy in the memory of the analysed query.
    unsafe fn rename(&mut self, entry: &mut pg_sys::RangeTblEntry) {
        use pg_sys::RTEKind as Kind;
        let named = match entry.rtekind {
            Kind::RTE_JOIN => !entry.alias.is_null(),
            kind => kind != Kind::RTE_RESULT && kind != Kind::RTE_GROUP,
        };
        if !named {
            return;
        }
        self.aliases += 1;
        let name = format!("{ALIAS}{}", self.aliases);
        // SAFETY: an alias's column names are a list of strings, or none.
        unsafe {
            let columns = entry.alias.as_ref().map_or(std::ptr::null_mut(), |alias| alias.colnames);
            entry.alias = pg_sys::makeAlias(palloc_string(&name), columns);
        }
    }
}

/// What the aliases begin with.
const ALIAS: &str = "pgt_within";
