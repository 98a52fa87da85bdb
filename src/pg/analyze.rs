//! From the text of a defining query to its analysed and rewritten tree, with PostgreSQL's own checks of names, types
//! and rights.

use super::constructs::selects_all_columns;
use super::facts::{self, Facts};
use super::nodes::{Query, items, text};
use super::settings::PinnedSettings;
use super::{collations, definition, join_rows, kept, marks, ordered, position, row_test, rows, search};
use crate::error::{Error, Result};
use pgrx::{PgList, PgMemoryContexts, is_a, pg_guard, pg_sys};
use std::ffi::{CString, c_void};

/// A query that PostgreSQL understands and that the current user may run.
pub struct Analysed<'a> {
    /// Views expanded, records kept as [`super::kept`] says; right for everything but permissions, which have been checked.
    pub query: Query<'a>,
    /// The query as it was before views were expanded, printed under the pinned settings: every name is qualified
    /// that the pinned search_path does not find.
    pub canonical: String,
    /// Likewise, for [`super::definition`].
    pub definition: String,
    /// As it is after views were expanded, printed likewise; a field of an anonymous record is printed as the record.
    pub expanded: String,
    /// Its SELECT list has a `*`.
    pub all_columns: bool,
    pub facts: Facts,
    /// What begins generated names in expressions; occurs nowhere in the query or in the views that it reads.
    pub token: String,
}

/// Analyses `query` as the current user under the session's search_path and hands it to `read`; the tree is gone when
/// `read` returns. `read` runs under [`PinnedSettings`], so what it prints does too.
///
/// Syntax errors, unknown names and missing rights leave as PostgreSQL's own errors, as `parse_analyze` and the
/// executor raise them. An active snapshot is required, as for any SQL function.
pub fn with_analysed<T>(query: &str, read: impl FnOnce(Analysed<'_>) -> Result<T>) -> Result<T> {
    let source = CString::new(query).map_err(|_| parse_error("the query contains a NUL byte"))?;
    let mut memory = PgMemoryContexts::new("pg_trickle defining query");
    // SAFETY: the closure leaves nothing that lives in `memory`: `read` cannot keep the borrowed tree, and its result
    // and errors are owned by Rust.
    unsafe {
        memory.switch_to(|_| {
            let (tree, all_columns) = position::told(&source, || analyse(&source))?;
            fold_sorted_constants(tree.cast(), std::ptr::null_mut());
            search::name_configurations(tree.cast(), std::ptr::null_mut());
            join_rows::name_columns(tree.cast(), std::ptr::null_mut());
            let _pinned = PinnedSettings::new();
            let canonical = printed(tree);
            let definition = definition::kept(tree);
            let own = join_rows::whole_rows(pg_sys::copyObjectImpl(tree.cast()).cast());
            let tree = rewrite(tree);
            let all = join_rows::whole_rows(tree);
            ordered::order_calls(tree.cast(), std::ptr::null_mut());
            let mut facts = Facts {
                padded_join_rows: all.padded,
                doubled_fields: own.doubled,
                doubled_fields_in_views: all.doubled,
                ..facts::gather(tree)?
            };
            check_rights(tree)?;
            let expanded = printed(rows::without_fields(tree.cast(), std::ptr::null_mut()).cast());
            let token = unused_token(&canonical, &expanded);
            collations::say(tree.cast(), std::ptr::null_mut());
            let tree = match kept::tree::keep(tree) {
                Ok(kept) => kept,
                Err(construct) => {
                    facts.stray_record = Some(construct);
                    tree
                }
            };
            let query = Query { node: &*tree };
            read(Analysed { query, canonical, definition, expanded, all_columns, facts, token })
        })
    }
}

/// The analysed query, and whether its SELECT list had a `*`.
///
/// # Safety
/// Runs in a memory context that outlives the use of the result.
unsafe fn analyse(source: &CString) -> Result<(*mut pg_sys::Query, bool)> {
    // SAFETY: `source` outlives the call; the raw parser yields a List of RawStmt.
    unsafe {
        let statements = PgList::<pg_sys::RawStmt>::from_pg(pg_sys::pg_parse_query(source.as_ptr()));
        if statements.len() != 1 {
            return Err(parse_error(if statements.is_empty() {
                "the query is empty"
            } else {
                "more than one statement"
            }));
        }
        let statement = statements.get_ptr(0).ok_or_else(|| parse_error("the query is empty"))?;
        let is_select = is_a((*statement).stmt, pg_sys::NodeTag::T_SelectStmt);
        if !is_select || !(*(*statement).stmt.cast::<pg_sys::SelectStmt>()).intoClause.is_null() {
            return Err(parse_error("the statement is not a plain SELECT"));
        }
        let all_columns = selects_all_columns(statement);
        let none = (std::ptr::null(), 0, std::ptr::null_mut());
        Ok((pg_sys::parse_analyze_fixedparams(statement, source.as_ptr(), none.0, none.1, none.2), all_columns))
    }
}

fn parse_error(message: &str) -> Error {
    Error::QueryParse {
        message: message.into(),
        detail: "A defining query is one SELECT statement.".into(),
        hint: "Pass a single SELECT or WITH … SELECT, without INTO.".into(),
    }
}

/// # Safety
/// `tree` is an analysed SELECT; it is scribbled on.
pub(super) unsafe fn rewrite(tree: *mut pg_sys::Query) -> *mut pg_sys::Query {
    // SAFETY: a SELECT is rewritten to exactly one query.
    unsafe {
        let rewritten = PgList::<pg_sys::Query>::from_pg(pg_sys::pg_rewrite_query(tree));
        let tree = rewritten.get_ptr(0).unwrap_or(tree);
        without_idle_limits(tree.cast(), std::ptr::null_mut());
        tree
    }
}

/// Folds what a query sorts or groups by without a column in it: PostgreSQL prints `-(1.0)` there as `(- 1.0)`, which it
/// reads as a constant and refuses (`findTargetlistEntrySQL92`, parse_clause.c), where it prints a constant with its type.
/// Not what folds to less than a constant: of a call of a STABLE input function, or the comparisons of a sub-select (`true = x`
/// becomes `x`), remains what the server cannot print.
#[pg_guard]
unsafe extern "C-unwind" fn fold_sorted_constants(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: the walkers call back with valid nodes of a tree that is the caller's to change; the tag tells the type.
    unsafe {
        if !is_a(node, pg_sys::NodeTag::T_Query) {
            return pg_sys::expression_tree_walker_impl(node, Some(fold_sorted_constants), context);
        }
        let query = node.cast::<pg_sys::Query>();
        let folded = |expr: *mut pg_sys::Node| {
            if pg_sys::contain_var_clause(expr) || pg_sys::checkExprHasSubLink(expr) {
                return expr;
            }
            let value = pg_sys::eval_const_expressions(std::ptr::null_mut(), expr);
            if is_a(value, pg_sys::NodeTag::T_Const) { value } else { expr }
        };
        for entry in PgList::<pg_sys::RangeTblEntry>::from_pg((*query).rtable).iter_ptr() {
            if let Some(list) = (*entry).groupexprs.as_ref() {
                for cell in std::slice::from_raw_parts_mut(list.elements, list.length as usize) {
                    cell.ptr_value = folded(cell.ptr_value.cast()).cast();
                }
            }
        }
        for target in PgList::<pg_sys::TargetEntry>::from_pg((*query).targetList).iter_ptr() {
            if (*target).ressortgroupref > 0 {
                (*target).expr = folded((*target).expr.cast()).cast();
            }
        }
        pg_sys::query_tree_walker_impl(query, Some(fold_sorted_constants), context, 0)
    }
}

/// Whether a sub-select has a row does not depend on a LIMIT that lets one through, nor on the order of its rows; the
/// planner drops both, too (`simplify_EXISTS_query`, subselect.c).
#[pg_guard]
unsafe extern "C-unwind" fn without_idle_limits(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: the walkers call back with valid nodes of a tree that is the caller's to change; the tag tells the type.
    unsafe {
        if is_a(node, pg_sys::NodeTag::T_Query) {
            return pg_sys::query_tree_walker_impl(node.cast(), Some(without_idle_limits), context, 0);
        }
        if is_a(node, pg_sys::NodeTag::T_SubLink) {
            let link = &*node.cast::<pg_sys::SubLink>();
            if link.subLinkType == pg_sys::SubLinkType::EXISTS_SUBLINK {
                let query = link.subselect.cast::<pg_sys::Query>();
                if (Query { node: &*query }).lets_a_row_through() {
                    (*query).limitCount = std::ptr::null_mut();
                    (*query).limitOption = pg_sys::LimitOption::LIMIT_OPTION_COUNT;
                }
            }
        }
        pg_sys::expression_tree_walker_impl(node, Some(without_idle_limits), context)
    }
}

/// # Safety
/// `tree` is an analysed SELECT whose relations are locked.
pub(super) unsafe fn printed(tree: *mut pg_sys::Query) -> String {
    // SAFETY: the caller's promise; deparsing works on a copy, for it locks and fixes what it reads.
    unsafe {
        let copy = rows::name_fields(pg_sys::copyObjectImpl(tree.cast()).cast(), std::ptr::null_mut());
        row_test::nest(copy, std::ptr::null_mut());
        marks::printed(copy.cast(), |tree| text(pg_sys::pg_get_querydef(tree, false)))
    }
}

/// Every name and literal that can occur in an expression's text occurs in the text of the query, before or after
/// views were expanded. A token that is in neither is unambiguous.
fn unused_token(canonical: &str, expanded: &str) -> String {
    let mut salt = 0;
    loop {
        let token = format!("__pgt{salt}_");
        if !canonical.contains(&token) && !expanded.contains(&token) {
            return token;
        }
        salt += 1;
    }
}

/// Raises PostgreSQL's own error unless the current user may read what the query reads, and a view's owner what the
/// view reads; refuses a relation of which row security would hide rows.
///
/// # Safety
/// `tree` is a rewritten SELECT.
pub(super) unsafe fn check_rights(tree: *mut pg_sys::Query) -> Result<()> {
    // SAFETY: the walker yields Query nodes of the tree; each one's rteperminfos belong to its rtable.
    unsafe {
        for query in facts::queries(tree) {
            pg_sys::ExecCheckPermissions(query.rtable, query.rteperminfos, true);
            for permission in items::<pg_sys::RTEPermissionInfo>(query.rteperminfos) {
                if is_filtered(permission.relid, permission.checkAsUser) {
                    return Err(Error::RowSecurity(text(pg_sys::get_rel_name(permission.relid))));
                }
            }
        }
    }
    Ok(())
}

/// A row security policy applies to the relation when the role (the current user if invalid) reads it.
fn is_filtered(relid: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: catalog lookups; `true` asks for an answer instead of an error under row_security = off.
    unsafe { pg_sys::check_enable_rls(relid, role, true) as u32 == pg_sys::CheckEnableRlsResult::RLS_ENABLED }
}

/// The current user may read these columns of the relation, and no policy hides rows of it. Column 0 stands for the
/// whole row; no column at all asks for the right to read any.
pub fn may_read(relid: u32, columns: &[i16]) -> bool {
    let relid = pg_sys::Oid::from(relid);
    let granted = pg_sys::AclResult::ACLCHECK_OK;
    // SAFETY: catalog lookups.
    let allowed = unsafe {
        let user = pg_sys::GetUserId();
        let right = pg_sys::ACL_SELECT as pg_sys::AclMode;
        pg_sys::pg_class_aclcheck(relid, user, right) == granted
            || match columns {
                [] => pg_sys::pg_attribute_aclcheck_all(relid, user, right, pg_sys::AclMaskHow::ACLMASK_ANY) == granted,
                columns => {
                    columns.iter().all(|column| pg_sys::pg_attribute_aclcheck(relid, *column, user, right) == granted)
                }
            }
    };
    allowed && !is_filtered(relid, pg_sys::InvalidOid)
}

/// The current user may have triggers on the relation, as for CREATE TRIGGER.
pub fn may_capture(relid: u32) -> bool {
    // SAFETY: catalog lookups.
    unsafe {
        let user = pg_sys::GetUserId();
        pg_sys::pg_class_aclcheck(pg_sys::Oid::from(relid), user, pg_sys::ACL_TRIGGER as pg_sys::AclMode)
            == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// The current user's name, quoted.
pub fn current_role() -> String {
    // SAFETY: the current user exists.
    super::object::role_name(unsafe { pg_sys::GetUserId() }.to_u32()).map_or_else(String::new, |role| role.to_string())
}
