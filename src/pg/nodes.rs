//! A safe cursor over an analysed query: small copies of pointers whose lifetime is that of the memory context that
//! [`super::analyze::with_analysed`] keeps. What comes out is owned or is such a cursor.
//!
//! Join aliases never come out: every expression that a [`Query`] hands on refers to the columns of its base entries.

use super::computed::Computed;
use super::types;
use pgrx::{PgList, is_a, pg_sys};
use pgtrickle_engine::query::DataType;
use std::ffi::{CStr, c_char};
use std::marker::PhantomData;

/// A SELECT, analysed and rewritten.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    pub(super) node: &'a pg_sys::Query,
}

/// An expression of a query.
#[derive(Clone, Copy)]
pub struct Expr<'a> {
    /// Never null.
    pub(super) node: *mut pg_sys::Node,
    lives: PhantomData<&'a pg_sys::Query>,
}

/// A column of one of a query's range table entries: the entry's 1-based index and the column's number.
pub type Variable = (usize, i16);

/// An item of a SELECT list.
#[derive(Clone)]
pub struct Target<'a> {
    pub name: String,
    /// It is there for ORDER BY or GROUP BY only.
    pub junk: bool,
    /// By which ORDER BY, GROUP BY, DISTINCT and windows refer to it; 0 when none does.
    pub sort_ref: u32,
    pub expr: Expr<'a>,
}

/// A range table entry.
pub enum Entry<'a> {
    Relation {
        relid: u32,
        only: bool,
    },
    Subquery {
        query: Query<'a>,
        lateral: bool,
    },
    Cte {
        name: String,
        levels_up: usize,
        recursive: bool,
    },
    Computed(Computed<'a>),
    /// Anything else, by the name that users know it by.
    Other(&'static str),
}

/// An item of a FROM clause.
pub enum FromItem<'a> {
    Entry(usize),
    Join { kind: JoinKind, left: Box<FromItem<'a>>, right: Box<FromItem<'a>>, condition: Option<Expr<'a>> },
}

/// How a JOIN treats rows without a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
}

/// A tree of set operations.
pub enum SetNode {
    Leaf(usize),
    Operation { name: &'static str, all: bool, left: Box<SetNode>, right: Box<SetNode>, types: Vec<DataType> },
}

/// A WITH item.
pub struct Cte<'a> {
    pub query: Option<Query<'a>>,
    pub recursive: bool,
}

/// # Safety
/// `list` is NIL or a List of pointers to `T` that live for `'a`.
pub(super) unsafe fn items<'a, T>(list: *mut pg_sys::List) -> Vec<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { PgList::<T>::from_pg(list).iter_ptr().map(|item| &*item).collect() }
}

/// # Safety
/// `text` is null or a NUL-terminated string.
pub(super) unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

impl<'a> Expr<'a> {
    /// # Safety
    /// `node` is a valid expression tree that lives for `'a`.
    pub(super) unsafe fn new(node: *mut pg_sys::Node) -> Self {
        Expr { node, lives: PhantomData }
    }

    /// The operands of a tree of ANDs, left to right.
    pub fn conjuncts(self) -> Vec<Expr<'a>> {
        self.operands_of(pg_sys::BoolExprType::AND_EXPR)
    }

    /// The operands of a tree of ORs.
    pub fn disjuncts(self) -> Vec<Expr<'a>> {
        self.operands_of(pg_sys::BoolExprType::OR_EXPR)
    }

    fn operands_of(self, connective: pg_sys::BoolExprType::Type) -> Vec<Expr<'a>> {
        // SAFETY: `node` is valid; a BoolExpr's args are expressions of the same lifetime.
        unsafe {
            if is_a(self.node, pg_sys::NodeTag::T_BoolExpr) {
                let bool_expr = &*self.node.cast::<pg_sys::BoolExpr>();
                if bool_expr.boolop == connective {
                    let operands = PgList::<pg_sys::Node>::from_pg(bool_expr.args);
                    return operands
                        .iter_ptr()
                        .flat_map(|operand| Expr::new(operand).operands_of(connective))
                        .collect();
                }
            }
        }
        vec![self]
    }

    /// The type of the value.
    pub fn data_type(self) -> DataType {
        // SAFETY: `node` is a valid expression; the three functions only read it.
        let (oid, typmod, collation) =
            unsafe { (pg_sys::exprType(self.node), pg_sys::exprTypmod(self.node), pg_sys::exprCollation(self.node)) };
        types::data_type(oid, typmod, collation)
    }

    /// The column, when the expression is nothing else.
    pub fn as_variable(self) -> Option<Variable> {
        // SAFETY: `node` is valid and checked to be a Var.
        unsafe {
            if !is_a(self.node, pg_sys::NodeTag::T_Var) {
                return None;
            }
            let var = &*self.node.cast::<pg_sys::Var>();
            Some((var.varno as usize, var.varattno))
        }
    }
}

impl<'a> Query<'a> {
    /// The expression with every reference to a join's column replaced by what the join takes it from.
    pub(super) fn flat(self, node: *mut pg_sys::Node) -> Expr<'a> {
        // SAFETY: `node` belongs to this query; planner state is needed only for join columns that the planner itself made.
        unsafe {
            let query = (self.node as *const pg_sys::Query).cast_mut();
            Expr::new(pg_sys::flatten_join_alias_vars(std::ptr::null_mut(), query, node))
        }
    }

    pub(super) fn optional(self, node: *mut pg_sys::Node) -> Option<Expr<'a>> {
        if node.is_null() { None } else { Some(self.flat(node)) }
    }

    /// The SELECT list.
    pub fn targets(self) -> Vec<Target<'a>> {
        // SAFETY: a query's targetList holds TargetEntry nodes with non-null expressions.
        let entries = unsafe { items::<pg_sys::TargetEntry>(self.node.targetList) };
        let target = |entry: &pg_sys::TargetEntry| Target {
            // SAFETY: resname is null (junk) or a string.
            name: unsafe { text(entry.resname) },
            junk: entry.resjunk,
            sort_ref: entry.ressortgroupref,
            expr: self.flat(entry.expr.cast()),
        };
        entries.into_iter().map(target).collect()
    }

    /// The FROM clause.
    pub fn from(self) -> Vec<FromItem<'a>> {
        // SAFETY: a query's jointree is a FromExpr; its fromlist holds RangeTblRef and JoinExpr nodes.
        unsafe {
            let list = PgList::<pg_sys::Node>::from_pg((*self.node.jointree).fromlist);
            list.iter_ptr().map(|node| self.join_tree(node)).collect()
        }
    }

    /// # Safety
    /// `node` is a RangeTblRef or a JoinExpr of this query.
    unsafe fn join_tree(self, node: *mut pg_sys::Node) -> FromItem<'a> {
        // SAFETY: the caller's promise; JoinExpr's arguments are of the same kinds.
        unsafe {
            if is_a(node, pg_sys::NodeTag::T_RangeTblRef) {
                return FromItem::Entry((*node.cast::<pg_sys::RangeTblRef>()).rtindex as usize);
            }
            let join = &*node.cast::<pg_sys::JoinExpr>();
            let kind = match join.jointype {
                pg_sys::JoinType::JOIN_INNER => JoinKind::Inner,
                pg_sys::JoinType::JOIN_LEFT => JoinKind::Left,
                pg_sys::JoinType::JOIN_RIGHT => JoinKind::Right,
                _ => JoinKind::Full,
            };
            FromItem::Join {
                kind,
                left: Box::new(self.join_tree(join.larg)),
                right: Box::new(self.join_tree(join.rarg)),
                condition: self.optional(join.quals),
            }
        }
    }

    /// The WHERE condition.
    pub fn condition(self) -> Option<Expr<'a>> {
        // SAFETY: a query's jointree is a FromExpr.
        self.optional(unsafe { (*self.node.jointree).quals })
    }

    /// The number of range table entries.
    pub fn entries(self) -> usize {
        // SAFETY: rtable is a List of RangeTblEntry.
        unsafe { items::<pg_sys::RangeTblEntry>(self.node.rtable) }.len()
    }

    /// The range table entry with a 1-based index.
    pub fn entry(self, index: usize) -> Entry<'a> {
        // SAFETY: rtable is a List of RangeTblEntry, and the kind says which fields are set.
        unsafe {
            let entry = items::<pg_sys::RangeTblEntry>(self.node.rtable)[index - 1];
            if let Some(computed) = self.computed(entry) {
                return Entry::Computed(computed);
            }
            match entry.rtekind {
                pg_sys::RTEKind::RTE_RELATION => Entry::Relation { relid: entry.relid.to_u32(), only: !entry.inh },
                pg_sys::RTEKind::RTE_SUBQUERY => {
                    let lateral = entry.lateral && pg_sys::contain_vars_of_level(entry.subquery.cast(), 1);
                    let query = if lateral { self.flat_inner(entry.subquery) } else { entry.subquery };
                    Entry::Subquery { query: Query { node: &*query }, lateral }
                }
                pg_sys::RTEKind::RTE_CTE => Entry::Cte {
                    name: text(entry.ctename),
                    levels_up: entry.ctelevelsup as usize,
                    recursive: entry.self_reference,
                },
                pg_sys::RTEKind::RTE_NAMEDTUPLESTORE => Entry::Other("a transition table"),
                _ => Entry::Other("an entry without rows of its own"),
            }
        }
    }

    /// What a virtual generated column of a table in the range table is computed from.
    pub fn generated_column(self, index: usize, attnum: i16) -> Expr<'a> {
        // SAFETY: the entry is a table, which the query has locked, and the column one that has an expression; the
        // expression is a copy in the current memory context, over the table as the range table's first entry.
        unsafe {
            let relid = items::<pg_sys::RangeTblEntry>(self.node.rtable)[index - 1].relid;
            let open = pg_sys::table_open(relid, pg_sys::NoLock as i32);
            let node = pg_sys::build_generation_expression(open, attnum.into());
            pg_sys::table_close(open, pg_sys::NoLock as i32);
            pg_sys::ChangeVarNodes(node, 1, index as i32, 0);
            Expr::new(node)
        }
    }

    /// The item of this query's own WITH clause.
    pub fn cte(self, name: &str) -> Option<Cte<'a>> {
        // SAFETY: cteList holds CommonTableExpr nodes, whose ctequery is an analysed Query.
        unsafe {
            let ctes = items::<pg_sys::CommonTableExpr>(self.node.cteList);
            let cte = ctes.into_iter().find(|cte| text(cte.ctename) == name)?;
            let select = is_a(cte.ctequery, pg_sys::NodeTag::T_Query)
                && (*cte.ctequery.cast::<pg_sys::Query>()).commandType == pg_sys::CmdType::CMD_SELECT;
            let query = select.then(|| Query { node: &*cte.ctequery.cast::<pg_sys::Query>() });
            Some(Cte { query, recursive: cte.cterecursive })
        }
    }

    /// The tree of UNION, INTERSECT and EXCEPT.
    pub fn set_operations(self) -> Option<SetNode> {
        if self.node.setOperations.is_null() {
            return None;
        }
        // SAFETY: setOperations is a SetOperationStmt.
        Some(unsafe { Self::set_node(self.node.setOperations) })
    }

    /// # Safety
    /// `node` is a SetOperationStmt or a RangeTblRef of an analysed query.
    unsafe fn set_node(node: *mut pg_sys::Node) -> SetNode {
        // SAFETY: the caller's promise; the arguments are of the same kinds and the three lists have one item for
        // each column.
        unsafe {
            if is_a(node, pg_sys::NodeTag::T_RangeTblRef) {
                return SetNode::Leaf((*node.cast::<pg_sys::RangeTblRef>()).rtindex as usize);
            }
            let operation = &*node.cast::<pg_sys::SetOperationStmt>();
            let oids = PgList::<()>::from_pg(operation.colTypes);
            let typmods = PgList::<()>::from_pg(operation.colTypmods);
            let collations = PgList::<()>::from_pg(operation.colCollations);
            let types = oids.iter_oid().zip(typmods.iter_int()).zip(collations.iter_oid());
            SetNode::Operation {
                name: match operation.op {
                    pg_sys::SetOperation::SETOP_UNION => "UNION",
                    pg_sys::SetOperation::SETOP_INTERSECT => "INTERSECT",
                    _ => "EXCEPT",
                },
                all: operation.all,
                left: Box::new(Self::set_node(operation.larg)),
                right: Box::new(Self::set_node(operation.rarg)),
                types: types.map(|((oid, typmod), collation)| types::data_type(oid, typmod, collation)).collect(),
            }
        }
    }

    /// The HAVING condition.
    pub(super) fn having(self) -> Option<Expr<'a>> {
        self.optional(self.node.havingQual)
    }

    /// Its rows are groups: it has aggregates, GROUP BY or HAVING.
    pub fn is_aggregate(self) -> bool {
        self.node.hasAggs
            || !self.node.groupClause.is_null()
            || !self.node.groupingSets.is_null()
            || !self.node.havingQual.is_null()
    }

    pub fn has_window_functions(self) -> bool {
        self.node.hasWindowFuncs
    }

    pub fn is_distinct(self) -> bool {
        !self.node.distinctClause.is_null()
    }

    pub fn is_distinct_on(self) -> bool {
        self.node.hasDistinctOn
    }

    pub fn is_ordered(self) -> bool {
        !self.node.sortClause.is_null()
    }

    /// Its LIMIT is a constant greater than 0, and it has no OFFSET.
    pub(super) fn lets_a_row_through(self) -> bool {
        // SAFETY: `limitCount` is null or an int8 expression; folding constants needs no planner state; a Const of int8
        // that is not NULL holds its value.
        unsafe {
            if self.node.limitCount.is_null() || !self.node.limitOffset.is_null() {
                return false;
            }
            let node = pg_sys::eval_const_expressions(std::ptr::null_mut(), self.node.limitCount);
            if !is_a(node, pg_sys::NodeTag::T_Const) {
                return false;
            }
            let constant = &*node.cast::<pg_sys::Const>();
            !constant.constisnull && constant.constvalue.value() as i64 > 0
        }
    }

    /// It has a LIMIT or an OFFSET; LIMIT ALL, LIMIT NULL and OFFSET 0 cut nothing and do not count.
    pub fn has_limit(self) -> bool {
        let cuts = |node: *mut pg_sys::Node, zero_cuts: bool| {
            // SAFETY: `node` is null or an int8 expression of the query; folding constants needs no planner state; a
            // Const of int8 that is not NULL holds its value.
            unsafe {
                if node.is_null() {
                    return false;
                }
                let node = pg_sys::eval_const_expressions(std::ptr::null_mut(), node);
                if !is_a(node, pg_sys::NodeTag::T_Const) {
                    return true;
                }
                let constant = &*node.cast::<pg_sys::Const>();
                !constant.constisnull && (zero_cuts || constant.constvalue.value() != 0)
            }
        };
        cuts(self.node.limitCount, true) || cuts(self.node.limitOffset, false)
    }
}
