//! Rows as values.
//!
//! A reference to a whole row is a column of its own, number 0 of its range table entry, computed where the entry's rows
//! are made: an outer join pads it with NULL like any other column.
//!
//! The fields of an anonymous record have names that `ROW(…)` does not give, and PostgreSQL prints nothing else for the
//! row of a join. `(SELECT r FROM (SELECT a AS x, b AS y) AS r)` is the same value and gives them.

use super::nodes::{Query, items, text};
use super::types;
use crate::error::Error;
use pgrx::{is_a, pg_guard, pg_sys};
use pgtrickle_engine::query::DataType;
use std::ffi::{CString, c_void};

struct Walk {
    depth: pg_sys::Index,
    found: Vec<(usize, DataType)>,
}

impl Query<'_> {
    /// The entries of which a whole row is read, by this query or one inside it, and the row's type.
    pub fn whole_rows(self) -> Vec<(usize, DataType)> {
        let mut walk = Walk { depth: 0, found: Vec::new() };
        let query = (self.node as *const pg_sys::Query).cast_mut();
        // SAFETY: an analysed query; the context is what `visit` takes it for.
        unsafe { pg_sys::query_tree_walker_impl(query, Some(visit), (&raw mut walk).cast(), 0) };
        walk.found
    }

    /// The column, or the row if its number is 0, as the user would name it.
    pub fn column_label(self, (entry, column): (usize, i16)) -> Option<String> {
        // SAFETY: rtable holds RangeTblEntry nodes, whose eref is always set.
        let alias = unsafe {
            let entries = items::<pg_sys::RangeTblEntry>(self.node.rtable);
            text(entries.get(entry.checked_sub(1)?)?.eref.as_ref()?.aliasname)
        };
        match usize::try_from(column).ok()?.checked_sub(1) {
            None => Some(format!("the row \"{alias}\"")),
            Some(place) => Some(format!("the column \"{alias}\".\"{}\"", self.column_names(entry).get(place)?)),
        }
    }

    /// The names of an entry's columns.
    pub fn column_names(self, index: usize) -> Vec<String> {
        // SAFETY: rtable holds RangeTblEntry nodes, whose eref is always set.
        unsafe {
            let entries = items::<pg_sys::RangeTblEntry>(self.node.rtable);
            let names = entries[index - 1].eref.as_ref().map_or(std::ptr::null_mut(), |names| names.colnames);
            items::<pg_sys::String>(names).into_iter().map(|name| text(name.sval)).collect()
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn visit(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: `whole_rows` passes a Walk, and the walkers call back with valid nodes; the tag tells the type.
    unsafe {
        let walk = &mut *context.cast::<Walk>();
        if is_a(node, pg_sys::NodeTag::T_Query) {
            walk.depth += 1;
            pg_sys::query_tree_walker_impl(node.cast(), Some(visit), context, 0);
            walk.depth -= 1;
            return false;
        }
        if is_a(node, pg_sys::NodeTag::T_Var) {
            let var = &*node.cast::<pg_sys::Var>();
            let entry = var.varno as usize;
            if var.varattno == 0 && var.varlevelsup == walk.depth && walk.found.iter().all(|(known, _)| *known != entry)
            {
                walk.found.push((entry, types::data_type(var.vartype, var.vartypmod, var.varcollid)));
            }
        }
        pg_sys::expression_tree_walker_impl(node, Some(visit), context)
    }
}

/// The names of the record's fields, where they are others than `ROW(…)` gives.
///
/// # Safety
/// `row` belongs to a valid expression.
unsafe fn own_names(row: &pg_sys::RowExpr) -> Option<Vec<String>> {
    // SAFETY: the names are String nodes.
    let names: Vec<String> =
        unsafe { items::<pg_sys::String>(row.colnames).into_iter().map(|name| text(name.sval)).collect() };
    let given = names.iter().enumerate().all(|(i, name)| *name == format!("f{}", i + 1));
    (row.row_typeid == pg_sys::RECORDOID && !given).then_some(names)
}

/// A mutator: anonymous records whose fields have names of their own become sub-selects that give them.
#[pg_guard]
pub(super) unsafe extern "C-unwind" fn name_fields(node: *mut pg_sys::Node, context: *mut c_void) -> *mut pg_sys::Node {
    if node.is_null() {
        return node;
    }
    // SAFETY: the mutators call back with valid nodes; the tag tells the type, and what is made here has the shape that
    // the parser gives such a query.
    unsafe {
        if is_a(node, pg_sys::NodeTag::T_Query) {
            return pg_sys::query_tree_mutator_impl(node.cast(), Some(name_fields), context, 0).cast();
        }
        let mutated = pg_sys::expression_tree_mutator_impl(node, Some(name_fields), context);
        if !is_a(mutated, pg_sys::NodeTag::T_RowExpr) {
            return mutated;
        }
        let row = &*mutated.cast::<pg_sys::RowExpr>();
        match own_names(row) {
            Some(names) => named_record(row, &names),
            None => mutated,
        }
    }
}

/// A mutator: fields of columns that are anonymous records become these columns. SEARCH and CYCLE make such fields without a
/// name that the deparser knows, and it fails.
#[pg_guard]
pub(super) unsafe extern "C-unwind" fn without_fields(
    node: *mut pg_sys::Node,
    context: *mut c_void,
) -> *mut pg_sys::Node {
    if node.is_null() {
        return node;
    }
    // SAFETY: the mutators call back with valid nodes; the tag tells the type.
    unsafe {
        if is_a(node, pg_sys::NodeTag::T_Query) {
            return pg_sys::query_tree_mutator_impl(node.cast(), Some(without_fields), context, 0).cast();
        }
        if is_a(node, pg_sys::NodeTag::T_FieldSelect) {
            let record = (*node.cast::<pg_sys::FieldSelect>()).arg.cast::<pg_sys::Node>();
            if is_a(record, pg_sys::NodeTag::T_Var) && pg_sys::exprType(record) == pg_sys::RECORDOID {
                return pg_sys::copyObjectImpl(record.cast()).cast();
            }
        }
        pg_sys::expression_tree_mutator_impl(node, Some(without_fields), context)
    }
}

/// `(SELECT r FROM (SELECT <field> AS <name>, …) AS r)`
///
/// # Safety
/// `row` is a valid expression that is the caller's to change, with a name for each field.
unsafe fn named_record(row: &pg_sys::RowExpr, names: &[String]) -> *mut pg_sys::Node {
    // SAFETY: all nodes are palloc'd here or belong to `row`.
    unsafe {
        let (mut targets, mut colnames) = (std::ptr::null_mut(), std::ptr::null_mut());
        for (index, (field, name)) in items::<pg_sys::Node>(row.args).into_iter().zip(names).enumerate() {
            let field = std::ptr::from_ref(field).cast_mut();
            pg_sys::IncrementVarSublevelsUp(field, 2, 0);
            let target = pg_sys::makeTargetEntry(field.cast(), index as i16 + 1, palloc_string(name), false);
            targets = pg_sys::lappend(targets, target.cast());
            colnames = pg_sys::lappend(colnames, pg_sys::makeString(palloc_string(name)).cast());
        }
        let entry = make_node::<pg_sys::RangeTblEntry>(pg_sys::NodeTag::T_RangeTblEntry);
        (*entry).rtekind = pg_sys::RTEKind::RTE_SUBQUERY;
        (*entry).subquery = select(targets, std::ptr::null_mut());
        (*entry).alias = pg_sys::makeAlias(palloc_string("r"), std::ptr::null_mut());
        (*entry).eref = pg_sys::makeAlias(palloc_string("r"), colnames);
        (*entry).inFromCl = true;
        let whole = pg_sys::makeVar(1, 0, pg_sys::RECORDOID, -1, pg_sys::InvalidOid, 0);
        let target = pg_sys::makeTargetEntry(whole.cast(), 1, palloc_string("r"), false);
        let link = make_node::<pg_sys::SubLink>(pg_sys::NodeTag::T_SubLink);
        (*link).subLinkType = pg_sys::SubLinkType::EXPR_SUBLINK;
        (*link).subselect = select(pg_sys::lappend(std::ptr::null_mut(), target.cast()), entry).cast();
        (*link).location = -1;
        link.cast()
    }
}

/// A SELECT of `targets` from `entry`, if it is not null.
///
/// # Safety
/// `targets` is a target list over `entry`.
unsafe fn select(targets: *mut pg_sys::List, entry: *mut pg_sys::RangeTblEntry) -> *mut pg_sys::Query {
    // SAFETY: nodes are palloc'd here.
    unsafe {
        let query = make_node::<pg_sys::Query>(pg_sys::NodeTag::T_Query);
        (*query).commandType = pg_sys::CmdType::CMD_SELECT;
        (*query).canSetTag = true;
        (*query).targetList = targets;
        let mut from = std::ptr::null_mut();
        if !entry.is_null() {
            (*query).rtable = pg_sys::lappend(std::ptr::null_mut(), entry.cast());
            let reference = make_node::<pg_sys::RangeTblRef>(pg_sys::NodeTag::T_RangeTblRef);
            (*reference).rtindex = 1;
            from = pg_sys::lappend(from, reference.cast());
        }
        (*query).jointree = pg_sys::makeFromExpr(from, std::ptr::null_mut());
        query
    }
}

/// # Safety
/// `T` is the node type of `tag`.
pub(super) unsafe fn make_node<T>(tag: pg_sys::NodeTag) -> *mut T {
    // SAFETY: palloc0 never returns null; a node begins with its tag.
    unsafe {
        let node = pg_sys::palloc0(std::mem::size_of::<T>());
        (*node.cast::<pg_sys::Node>()).type_ = tag;
        node.cast()
    }
}

/// # Safety
/// Runs in the memory context that is to own the copy.
pub(super) unsafe fn palloc_string(value: &str) -> *mut std::ffi::c_char {
    let value = CString::new(value).unwrap_or_else(|_| Error::Internal("a text contains a NUL byte".into()).raise());
    // SAFETY: a NUL-terminated string is copied.
    unsafe { pg_sys::pstrdup(value.as_ptr()) }
}
