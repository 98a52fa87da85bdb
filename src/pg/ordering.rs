//! ORDER BY, LIMIT, OFFSET and DISTINCT ON of a query.

use super::nodes::{Expr, Query, Target, items};
use super::types::operator_sql;
use crate::error::Error;
use pgrx::pg_sys;

/// An item of an ORDER BY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    /// [`Target::sort_ref`] of what it orders by.
    pub target: u32,
    /// The rest of the item as SQL: ` DESC`, ` USING OPERATOR(pg_catalog.~<~) NULLS LAST`, or nothing.
    pub direction: String,
}

impl<'a> Query<'a> {
    /// The ORDER BY.
    pub fn order(self) -> Vec<Sort> {
        // SAFETY: a query's sortClause is a list of SortGroupClause.
        unsafe { self.sorts(self.node.sortClause) }
    }

    /// The targets of DISTINCT ON, by [`Target::sort_ref`]; of DISTINCT, all.
    pub fn distinct_targets(self) -> Vec<u32> {
        // SAFETY: a query's distinctClause is a list of SortGroupClause.
        unsafe { target_refs(self.node.distinctClause) }
    }

    /// LIMIT or FETCH FIRST.
    pub fn limit(self) -> Option<Expr<'a>> {
        self.optional(self.node.limitCount)
    }

    pub fn offset(self) -> Option<Expr<'a>> {
        self.optional(self.node.limitOffset)
    }

    /// FETCH FIRST … ROWS WITH TIES.
    pub fn is_with_ties(self) -> bool {
        self.node.limitOption == pg_sys::LimitOption::LIMIT_OPTION_WITH_TIES
    }

    /// The targets on which its rows depend: the SELECT list, and what windows, DISTINCT ON and an ORDER BY that decides
    /// about rows refer to.
    pub fn used_targets(self) -> Vec<Target<'a>> {
        let mut used = self.distinct_targets();
        if self.has_limit() || self.is_distinct_on() {
            used.extend(self.order().into_iter().map(|sort| sort.target));
        }
        // SAFETY: a query's windowClause is a list of WindowClause, whose clauses are lists of SortGroupClause.
        unsafe {
            for window in items::<pg_sys::WindowClause>(self.node.windowClause) {
                used.extend(target_refs(window.partitionClause));
                used.extend(target_refs(window.orderClause));
            }
        }
        self.targets().into_iter().filter(|target| !target.junk || used.contains(&target.sort_ref)).collect()
    }

    /// # Safety
    /// `clauses` is NIL or a list of SortGroupClause of this query.
    pub(super) unsafe fn sorts(self, clauses: *mut pg_sys::List) -> Vec<Sort> {
        // SAFETY: the caller's promise; each clause refers to an item of the target list.
        unsafe {
            let targets = items::<pg_sys::TargetEntry>(self.node.targetList);
            let sort = |clause: &pg_sys::SortGroupClause| {
                let target = targets.iter().find(|target| target.ressortgroupref == clause.tleSortGroupRef);
                let missing = || Error::Internal("an item of an ORDER BY is no target".into()).raise();
                let ty = pg_sys::exprType(target.unwrap_or_else(missing).expr.cast());
                Sort { target: clause.tleSortGroupRef, direction: direction(clause, ty) }
            };
            items::<pg_sys::SortGroupClause>(clauses).into_iter().map(sort).collect()
        }
    }
}

/// # Safety
/// `clauses` is NIL or a list of SortGroupClause.
pub(super) unsafe fn target_refs(clauses: *mut pg_sys::List) -> Vec<u32> {
    // SAFETY: the caller's promise.
    unsafe { items::<pg_sys::SortGroupClause>(clauses) }.into_iter().map(|clause| clause.tleSortGroupRef).collect()
}

/// As `get_rule_orderby` (ruleutils.c) prints it.
fn direction(clause: &pg_sys::SortGroupClause, ty: pg_sys::Oid) -> String {
    let wanted = pg_sys::TYPECACHE_LT_OPR | pg_sys::TYPECACHE_GT_OPR;
    // SAFETY: the type cache entry lives as long as the backend; only plain fields of it are copied.
    let (less, greater) = unsafe {
        let entry = &*pg_sys::lookup_type_cache(ty, wanted as i32);
        (entry.lt_opr, entry.gt_opr)
    };
    let nulls = if clause.nulls_first { " NULLS FIRST" } else { " NULLS LAST" };
    if clause.sortop == less {
        return if clause.nulls_first { nulls.into() } else { String::new() };
    }
    if clause.sortop == greater {
        return if clause.nulls_first { " DESC".into() } else { format!(" DESC{nulls}") };
    }
    let missing = || Error::Internal("an item of an ORDER BY has no operator".into()).raise();
    let operator = operator_sql(clause.sortop).unwrap_or_else(missing);
    format!(" USING {operator}{nulls}")
}
