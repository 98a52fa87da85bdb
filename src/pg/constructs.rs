//! Which constructs a query is made of, views and sub-selects included, for reports about it.

use super::nodes::items;
use pgrx::{PgList, is_a, pg_sys};

/// A construct, and the kind of construct that it is, as `validate_query` names kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Construct {
    pub kind: &'static str,
    pub name: &'static str,
}

/// The constructs that show in the query itself, not in its expressions.
///
/// # Safety
/// `query` is an analysed query.
pub(super) unsafe fn of_query(query: &pg_sys::Query) -> Vec<Construct> {
    // SAFETY: the range table of an analysed query.
    let lateral = unsafe { items::<pg_sys::RangeTblEntry>(query.rtable) }.iter().any(|entry| entry.lateral);
    let found = [
        (query.hasRecursive, "recursive_cte", "WITH RECURSIVE"),
        (query.hasWindowFuncs, "window_function", "window functions"),
        (lateral, "lateral", "LATERAL"),
    ];
    found.into_iter().filter(|(present, ..)| *present).map(|(_, kind, name)| Construct { kind, name }).collect()
}

/// The construct that the node is.
///
/// # Safety
/// `node` is a valid node of an analysed query.
pub(super) unsafe fn of_node(node: *mut pg_sys::Node) -> Option<Construct> {
    // SAFETY: the caller's promise; the tag tells the type.
    let (kind, name) = unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_FromExpr => {
                let several = PgList::<pg_sys::Node>::from_pg((*node.cast::<pg_sys::FromExpr>()).fromlist).len() > 1;
                several.then_some(("join", "comma: INNER JOIN"))?
            }
            pg_sys::NodeTag::T_JoinExpr => ("join", join((*node.cast::<pg_sys::JoinExpr>()).jointype)),
            pg_sys::NodeTag::T_SetOperationStmt => {
                let operation = &*node.cast::<pg_sys::SetOperationStmt>();
                ("set_op", set_operation(operation.op, operation.all))
            }
            pg_sys::NodeTag::T_SubLink => match (*node.cast::<pg_sys::SubLink>()).subLinkType {
                pg_sys::SubLinkType::EXISTS_SUBLINK => ("subquery", "EXISTS"),
                pg_sys::SubLinkType::ANY_SUBLINK => ("subquery", "IN or ANY"),
                pg_sys::SubLinkType::ALL_SUBLINK => ("subquery", "ALL"),
                pg_sys::SubLinkType::ARRAY_SUBLINK => ("subquery", "ARRAY (SELECT …)"),
                _ => ("scalar_subquery", "a sub-select as a value"),
            },
            _ => return None,
        }
    };
    Some(Construct { kind, name })
}

fn join(kind: pg_sys::JoinType::Type) -> &'static str {
    match kind {
        pg_sys::JoinType::JOIN_LEFT => "LEFT JOIN",
        pg_sys::JoinType::JOIN_RIGHT => "RIGHT JOIN",
        pg_sys::JoinType::JOIN_FULL => "FULL JOIN",
        _ => "INNER JOIN",
    }
}

fn set_operation(operation: pg_sys::SetOperation::Type, all: bool) -> &'static str {
    match (operation, all) {
        (pg_sys::SetOperation::SETOP_UNION, true) => "UNION ALL",
        (pg_sys::SetOperation::SETOP_UNION, false) => "UNION",
        (pg_sys::SetOperation::SETOP_INTERSECT, true) => "INTERSECT ALL",
        (pg_sys::SetOperation::SETOP_INTERSECT, false) => "INTERSECT",
        (_, true) => "EXCEPT ALL",
        _ => "EXCEPT",
    }
}

/// The statement's SELECT list has a `*`, or its first branch's has if it is a set operation.
///
/// # Safety
/// `statement` is a raw SELECT, not yet analysed.
pub(super) unsafe fn selects_all_columns(statement: *mut pg_sys::RawStmt) -> bool {
    // SAFETY: the caller's promise; a set operation has its first branch on the left.
    unsafe {
        let mut select = (*statement).stmt.cast::<pg_sys::SelectStmt>();
        while !(*select).larg.is_null() {
            select = (*select).larg;
        }
        items::<pg_sys::ResTarget>((*select).targetList).iter().any(|target| {
            !target.val.is_null()
                && is_a(target.val, pg_sys::NodeTag::T_ColumnRef)
                && PgList::<pg_sys::Node>::from_pg((*target.val.cast::<pg_sys::ColumnRef>()).fields)
                    .iter_ptr()
                    .any(|field| is_a(field, pg_sys::NodeTag::T_A_Star))
        })
    }
}
