//! A defining query as PostgreSQL analysed it, kept as text, as the query of a view is kept in `pg_rewrite`.
//!
//! **Law.** The query means the objects that it meant when it was analysed, whatever they are called since. It is printed when
//! it is needed, in the names of that moment. What was compiled from it says names too, other than those of relations and their
//! columns, which are looked up by number: it is right as long as the query's *wording* is what it was, and is compiled anew
//! when it is not.
//!
//! The wording is the query with its views expanded, printed with numbers for relations and columns, and what virtual columns
//! are computed from. So it is another one when a
//! function, an operator, a type, a collation, a schema of these, a column of a composite type or a label that the query names
//! is renamed, and when a view has another query.

use super::analyze::{self, printed};
use super::named;
use super::nodes::{items, text};
use super::object;
use super::rows::{self, palloc_string};
use super::settings::PinnedSettings;
use super::types;
use crate::error::{Error, Result};
use pgrx::{PgMemoryContexts, is_a, pg_guard, pg_sys};
use std::ffi::{CString, c_void};

/// The query as text that the functions of this module take.
///
/// # Safety
/// `tree` is an analysed query.
pub(super) unsafe fn kept(tree: *mut pg_sys::Query) -> String {
    // SAFETY: the caller's promise; yields a copy.
    unsafe { text(pg_sys::nodeToString(tree.cast())) }
}

/// The query as SQL, in the names of now; it means the same in every session that runs it under [`PinnedSettings`].
///
/// # Errors
/// `Internal` when `definition` is not what [`kept`] made.
pub fn sql(definition: &str) -> Result<String> {
    // SAFETY: an analysed query whose relations are locked.
    with_tree(definition, |tree| unsafe { Ok(printed(tree)) })
}

/// What is compiled from the query says no names but those that occur here, relations and their columns aside.
///
/// # Errors
/// As [`sql`].
pub fn wording(definition: &str) -> Result<String> {
    // SAFETY: an analysed query that is this function's to change.
    with_tree(definition, |tree| unsafe {
        let tree = analyze::rewrite(tree);
        let tree = rows::without_fields(tree.cast(), std::ptr::null_mut());
        let mut computed: Vec<String> = Vec::new();
        number_relations(tree, (&raw mut computed).cast());
        Ok([printed(tree.cast())].into_iter().chain(computed).collect::<Vec<_>>().join("\n"))
    })
}

/// Raises PostgreSQL's own error unless the current user may run the query.
///
/// # Errors
/// `RowSecurity` (42501) when a policy would hide rows, and as [`sql`].
pub fn check_rights(definition: &str) -> Result<()> {
    // SAFETY: an analysed query that is this function's to change.
    with_tree(definition, |tree| unsafe { analyze::check_rights(analyze::rewrite(tree)) })
}

/// What the query reads and is not as it was when the query was analysed: a column of a relation, or an attribute of a composite
/// type, that is gone or has another type.
///
/// # Errors
/// As [`sql`].
pub fn misfit(definition: &str) -> Result<Option<String>> {
    with_tree(definition, |tree| {
        let mut fit = Fit { queries: Vec::new(), misfit: None };
        // SAFETY: an analysed query; the context is what `visit_read` takes it for.
        unsafe { visit_read(tree.cast(), (&raw mut fit).cast()) };
        Ok(fit.misfit)
    })
}

struct Fit {
    queries: Vec<*mut pg_sys::Query>,
    misfit: Option<String>,
}

/// A tree walker: true where something does not fit.
#[pg_guard]
unsafe extern "C-unwind" fn visit_read(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: `misfit` passes Fit, and the walkers call back with valid nodes; the tag tells the type, and a column's entry is in
    // the range table of the query that it belongs to.
    unsafe {
        let fit = &mut *context.cast::<Fit>();
        match (*node).type_ {
            pg_sys::NodeTag::T_Query => {
                fit.queries.push(node.cast());
                let found = pg_sys::query_tree_walker_impl(node.cast(), Some(visit_read), context, 0);
                fit.queries.pop();
                return found;
            }
            pg_sys::NodeTag::T_Var => {
                let var = &*node.cast::<pg_sys::Var>();
                let query = fit.queries[fit.queries.len() - 1 - var.varlevelsup as usize];
                let entry = items::<pg_sys::RangeTblEntry>((*query).rtable)[var.varno as usize - 1];
                if entry.rtekind == pg_sys::RTEKind::RTE_RELATION && var.varattno > 0 {
                    let known = items::<pg_sys::String>((*entry.eref).colnames);
                    let name = known.get(var.varattno as usize - 1).map(|name| text(name.sval)).unwrap_or_default();
                    let was = (var.vartype.to_u32(), var.vartypmod, var.varcollid.to_u32());
                    let now = object::column(entry.relid.to_u32(), var.varattno);
                    if now.as_ref().is_none_or(|now| (now.ty, now.typmod, now.collation) != was) {
                        fit.misfit = Some(format!("column \"{}\"", now.map_or(name, |now| now.name)));
                    }
                }
            }
            pg_sys::NodeTag::T_FieldSelect => {
                let field = &*node.cast::<pg_sys::FieldSelect>();
                let rows = pg_sys::get_typ_typrelid(pg_sys::getBaseType(pg_sys::exprType(field.arg.cast())));
                let now = object::column(rows.to_u32(), field.fieldnum);
                if rows != pg_sys::InvalidOid && now.as_ref().is_none_or(|now| now.ty != field.resulttype.to_u32()) {
                    let name = now.map_or_else(|| field.fieldnum.to_string(), |now| format!("\"{}\"", now.name));
                    fit.misfit = Some(format!("attribute {name} of a composite value"));
                }
            }
            _ => {}
        }
        fit.misfit.is_some() || pg_sys::expression_tree_walker_impl(node, Some(visit_read), context)
    }
}

/// Hands the query to `read`, its relations locked as for reading them; it is gone when `read` returns.
fn with_tree<T>(definition: &str, read: impl FnOnce(*mut pg_sys::Query) -> Result<T>) -> Result<T> {
    let broken = || Error::Internal("a stored definition is no query".into());
    let stored = CString::new(definition).map_err(|_| broken())?;
    let mut memory = PgMemoryContexts::new("pg_trickle definition");
    // SAFETY: the text is that of a node, written by this version of PostgreSQL; `read` yields values that Rust owns.
    unsafe {
        memory.switch_to(|_| {
            let _pinned = PinnedSettings::new();
            let node = pg_sys::stringToNode(stored.as_ptr()).cast::<pg_sys::Node>();
            if node.is_null() || !is_a(node, pg_sys::NodeTag::T_Query) {
                return Err(broken());
            }
            pg_sys::AcquireRewriteLocks(node.cast(), true, false);
            read(node.cast())
        })
    }
}

/// A tree walker that has every relation print as `r<oid>` with columns `c<number>`, as a WITH query would, and notes in a
/// `Vec<String>` what virtual columns that are read are computed from. Its `tableoid`, which a WITH query has not, prints as the row.
#[pg_guard]
unsafe extern "C-unwind" fn number_relations(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: the walkers call back with valid nodes of a tree that is the caller's to change; the tag tells the type.
    unsafe {
        if is_a(node, pg_sys::NodeTag::T_Var) {
            let var = &mut *node.cast::<pg_sys::Var>();
            if var.varattno == 0 {
                // A row is made as a value of its type, whose name the query itself need not say.
                let ty = types::data_type(var.vartype, var.vartypmod, var.varcollid).sql;
                (*context.cast::<Vec<String>>()).push(ty);
            }
            var.varattno = var.varattno.max(0);
            var.varattnosyn = var.varattnosyn.max(0);
        }
        if !is_a(node, pg_sys::NodeTag::T_Query) {
            return pg_sys::expression_tree_walker_impl(node, Some(number_relations), context);
        }
        let query = node.cast::<pg_sys::Query>();
        let entries = (*query).rtable;
        for index in 0..items::<pg_sys::RangeTblEntry>(entries).len() {
            let entry = &mut *pg_sys::list_nth(entries, index as i32).cast::<pg_sys::RangeTblEntry>();
            if entry.rtekind == pg_sys::RTEKind::RTE_RELATION {
                (*context.cast::<Vec<String>>()).extend(computed(&*query, entry));
                number(entry);
            }
        }
        pg_sys::query_tree_walker_impl(query, Some(number_relations), context, 0)
    }
}

/// # Safety
/// `entry` is that of a relation, which the query has locked.
unsafe fn computed(query: &pg_sys::Query, entry: &pg_sys::RangeTblEntry) -> Vec<String> {
    // SAFETY: the caller's promise; the entry of a relation names its permission.
    unsafe {
        let permissions = items::<pg_sys::RTEPermissionInfo>(query.rteperminfos);
        let Some(permission) = permissions.get((entry.perminfoindex as usize).wrapping_sub(1)) else {
            return Vec::new();
        };
        let context = pg_sys::deparse_context_for(palloc_string("r"), entry.relid);
        let expressions = named::virtual_columns(entry.relid, &named::columns(permission)).into_iter();
        expressions.map(|expr| text(pg_sys::deparse_expression(expr, context, false, false))).collect()
    }
}

/// # Safety
/// `entry` is that of a relation and the caller's to change.
unsafe fn number(entry: &mut pg_sys::RangeTblEntry) {
    // SAFETY: strings and nodes are palloc'd here; an entry has names for its columns.
    unsafe {
        let name = format!("r{}{}", entry.relid.to_u32(), if entry.inh { "" } else { "_only" });
        let known = items::<pg_sys::String>((*entry.eref).colnames);
        let names = known.iter().enumerate().fold(std::ptr::null_mut(), |names, (index, known)| {
            // A column that was dropped before has none, which is how the deparser knows it.
            let name = if *known.sval == 0 { String::new() } else { format!("c{}", index + 1) };
            pg_sys::lappend(names, pg_sys::makeString(palloc_string(&name)).cast())
        });
        entry.rtekind = pg_sys::RTEKind::RTE_CTE;
        entry.ctename = palloc_string(&name);
        entry.eref = pg_sys::makeAlias((*entry.eref).aliasname, names);
        entry.alias = entry.eref;
        entry.tablesample = std::ptr::null_mut();
    }
}
