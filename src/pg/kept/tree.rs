//! Which columns of a query are kept records.
//!
//! **Law.** A column of a sub-select, of a WITH item or of GROUP BY, and what a sub-select is worth, is kept if it is a record
//! or an array of records: an expression `e` of the SELECT list becomes `keep(e)`, and every reference `c` to it `kept(c)`. So
//! all other expressions see the values that they saw, and no row between two operators has an anonymous record in it. What
//! sorts, groups and compares whole rows of such columns does it by the kept values, which are ordered and equal alike;
//! `keep(kept(c))` is `c`, and what CYCLE makes at each step, `keep(kept(c) || e)`, is a function that does not read `c`.
//!
//! This is after the rewriter, which has made columns of SEARCH and CYCLE: `ROW(…)` that counts the depth, arrays of `ROW(…)`.
//!
//! The result of the query itself has no such column, for no table has.

use super::super::nodes::items;
use super::super::rows::{make_node, palloc_string};
use super::form::ARRAY_CAT;
use pgrx::{PgList, is_a, pg_guard, pg_sys};
use std::ffi::c_void;

const SCHEMA: &str = "pgtrickle";

struct Walk {
    /// Innermost last.
    queries: Vec<*mut pg_sys::Query>,
    /// The SELECT list of the query that comes next is kept.
    keeps: bool,
    /// What the law does not reach.
    stuck: Option<&'static str>,
    ty: pg_sys::Oid,
    equal: pg_sys::Oid,
    less: pg_sys::Oid,
    greater: pg_sys::Oid,
}

/// A query that says the same and keeps its records; the construct for which there is none.
///
/// # Safety
/// `tree` is an analysed and rewritten query, which stays as it is.
pub(crate) unsafe fn keep(tree: *mut pg_sys::Query) -> Result<*mut pg_sys::Query, &'static str> {
    // SAFETY: the type is the extension's own, with its operators; the context is what `mutate` takes it for.
    unsafe {
        let Some(ty) = own_type() else { return Ok(tree) };
        let wanted = pg_sys::TYPECACHE_EQ_OPR | pg_sys::TYPECACHE_LT_OPR | pg_sys::TYPECACHE_GT_OPR;
        let entry = &*pg_sys::lookup_type_cache(ty, wanted as i32);
        let (equal, less, greater) = (entry.eq_opr, entry.lt_opr, entry.gt_opr);
        let mut walk = Walk { queries: Vec::new(), keeps: false, stuck: None, ty, equal, less, greater };
        let kept = mutate(pg_sys::copyObjectImpl(tree.cast()).cast(), (&raw mut walk).cast());
        walk.stuck.map_or(Ok(kept.cast()), Err)
    }
}

fn own_type() -> Option<pg_sys::Oid> {
    // SAFETY: look-ups in the system cache.
    unsafe {
        let schema = pg_sys::get_namespace_oid(palloc_string(SCHEMA), true);
        let name = pg_sys::Datum::from(palloc_string("kept_record"));
        let (cache, none) = (pg_sys::SysCacheIdentifier::TYPENAMENSP as i32, pg_sys::Datum::from(0));
        let column = pg_sys::Anum_pg_type_oid as i16;
        let ty = pg_sys::GetSysCacheOid(cache, column, name, schema.into(), none, none);
        (ty != pg_sys::InvalidOid).then_some(ty)
    }
}

/// A record or an array of records.
fn is_record(ty: pg_sys::Oid) -> bool {
    ty == pg_sys::RECORDOID || ty == pg_sys::RECORDARRAYOID
}

/// The function of the extension with these arguments.
unsafe fn function(name: &str, arguments: &[pg_sys::Oid]) -> pg_sys::Oid {
    // SAFETY: the function is declared when the type is.
    unsafe {
        let parts = [SCHEMA, name].into_iter().fold(std::ptr::null_mut(), |names, part| {
            pg_sys::lappend(names, pg_sys::makeString(palloc_string(part)).cast())
        });
        pg_sys::LookupFuncName(parts, arguments.len() as i32, arguments.as_ptr(), false)
    }
}

unsafe fn call(
    function: pg_sys::Oid,
    ty: pg_sys::Oid,
    arguments: impl IntoIterator<Item = *mut pg_sys::Node>,
) -> *mut pg_sys::Node {
    // SAFETY: the arguments are those of the function.
    unsafe {
        let list = arguments.into_iter().fold(std::ptr::null_mut(), |list, one| pg_sys::lappend(list, one.cast()));
        let (none, form) = (pg_sys::InvalidOid, pg_sys::CoercionForm::COERCE_EXPLICIT_CALL);
        pg_sys::makeFuncExpr(function, ty, list, none, none, form).cast()
    }
}

impl Walk {
    /// The value that is kept in `column`.
    unsafe fn kept(&self, column: *mut pg_sys::Node, ty: pg_sys::Oid) -> *mut pg_sys::Node {
        let name = if ty == pg_sys::RECORDOID { "_kept_record" } else { "_kept_records" };
        // SAFETY: the column is of the type that keeps records.
        unsafe { call(function(name, &[self.ty]), ty, [column]) }
    }

    /// The column, if `value` is that which is kept in it.
    unsafe fn column(&self, value: *mut pg_sys::Node) -> Option<*mut pg_sys::Node> {
        // SAFETY: an expression of the tree; both functions have one argument.
        unsafe {
            let functions = ["_kept_record", "_kept_records"].map(|name| function(name, &[self.ty]));
            let read = is_a(value, pg_sys::NodeTag::T_FuncExpr)
                && functions.contains(&(*value.cast::<pg_sys::FuncExpr>()).funcid);
            read.then(|| pg_sys::list_nth((*value.cast::<pg_sys::FuncExpr>()).args, 0).cast())
        }
    }

    /// What keeps `value`.
    unsafe fn keep(&self, value: *mut pg_sys::Node) -> *mut pg_sys::Node {
        // SAFETY: the value is a record or an array of records; the function that appends arrays has two arguments.
        unsafe {
            if let Some(column) = self.column(value) {
                return column;
            }
            let ty = pg_sys::exprType(value);
            if is_a(value, pg_sys::NodeTag::T_FuncExpr) && (*value.cast::<pg_sys::FuncExpr>()).funcid == ARRAY_CAT {
                let [path, more] = [0, 1].map(|n| pg_sys::list_nth((*value.cast::<pg_sys::FuncExpr>()).args, n).cast());
                if let Some(path) = self.column(path) {
                    return call(function("_kept_append", &[self.ty, ty]), self.ty, [path, more]);
                }
            }
            let name = if ty == pg_sys::RECORDOID { "_keep_record" } else { "_keep_records" };
            call(function(name, &[ty]), self.ty, [value])
        }
    }

    /// Whether what the column refers to is kept.
    unsafe fn is_kept(&self, var: &pg_sys::Var) -> bool {
        use pg_sys::RTEKind::{RTE_CTE, RTE_GROUP, RTE_SUBQUERY};
        // SAFETY: the column's query is one of those around it.
        unsafe { matches!((*self.entry(var)).rtekind, RTE_SUBQUERY | RTE_CTE | RTE_GROUP) }
    }

    unsafe fn entry(&self, var: &pg_sys::Var) -> *const pg_sys::RangeTblEntry {
        // SAFETY: as above.
        unsafe {
            let query = self.queries[self.queries.len() - 1 - var.varlevelsup as usize];
            pg_sys::list_nth((*query).rtable, var.varno - 1).cast::<pg_sys::RangeTblEntry>()
        }
    }

    /// Whether the entry's row, read as a value, would have a kept field.
    unsafe fn has_kept_columns(&self, var: &pg_sys::Var) -> bool {
        // SAFETY: the entry is of the query around.
        unsafe {
            let entry = &*self.entry(var);
            let of_targets = |query: *mut pg_sys::Query| {
                let targets = items::<pg_sys::TargetEntry>((*query).targetList).into_iter();
                targets.filter(|target| !target.resjunk).any(|target| is_record(pg_sys::exprType(target.expr.cast())))
            };
            match entry.rtekind {
                pg_sys::RTEKind::RTE_SUBQUERY => of_targets(entry.subquery),
                pg_sys::RTEKind::RTE_CTE => PgList::<()>::from_pg(entry.coltypes).iter_oid().any(is_record),
                _ => false,
            }
        }
    }

    /// The entry's row as a value of its columns, each as it is read: what the planner makes of it, too, where it pulls a
    /// sub-select up (`pullup_replace_vars_callback`, prepjointree.c).
    unsafe fn row(&self, var: &pg_sys::Var) -> *mut pg_sys::Node {
        // SAFETY: the entry is of a query around, and is a sub-select or a reference to a WITH item.
        unsafe {
            let entry = &*self.entry(var);
            let columns: Vec<(pg_sys::Oid, i32, pg_sys::Oid)> = match entry.rtekind {
                pg_sys::RTEKind::RTE_SUBQUERY => {
                    let targets = items::<pg_sys::TargetEntry>((*entry.subquery).targetList).into_iter();
                    let exprs = targets.filter(|target| !target.resjunk).map(|target| target.expr.cast());
                    exprs.map(|e| (pg_sys::exprType(e), pg_sys::exprTypmod(e), pg_sys::exprCollation(e))).collect()
                }
                _ => {
                    let [types, typmods, collations] =
                        [entry.coltypes, entry.coltypmods, entry.colcollations].map(|list| cells(list).iter());
                    let each = types.zip(typmods).zip(collations);
                    each.map(|((ty, typmod), of)| (ty.oid_value, typmod.int_value, of.oid_value)).collect()
                }
            };
            let mut fields = std::ptr::null_mut();
            for (number, (ty, typmod, collation)) in (1..).zip(columns) {
                let stored = if is_record(ty) { self.ty } else { ty };
                let column = pg_sys::makeVar(var.varno, number, stored, typmod, collation, var.varlevelsup).cast();
                let field = if is_record(ty) { self.kept(column, ty) } else { column };
                fields = pg_sys::lappend(fields, field.cast());
            }
            let row = make_node::<pg_sys::RowExpr>(pg_sys::NodeTag::T_RowExpr);
            (*row).args = fields;
            (*row).row_typeid = pg_sys::RECORDOID;
            (*row).row_format = pg_sys::CoercionForm::COERCE_IMPLICIT_CAST;
            (*row).colnames = (*entry.eref).colnames;
            (*row).location = -1;
            row.cast()
        }
    }

    unsafe fn query(&mut self, query: *mut pg_sys::Query) -> *mut pg_sys::Query {
        let keeps = std::mem::replace(&mut self.keeps, true);
        self.queries.push(query);
        // SAFETY: the copy is this function's to change.
        unsafe {
            let context = (&raw mut *self).cast();
            let copy = pg_sys::query_tree_mutator_impl(query, Some(mutate), context, 0);
            self.queries.pop();
            let mut sorted = Vec::new();
            for target in PgList::<pg_sys::TargetEntry>::from_pg((*copy).targetList).iter_ptr() {
                if is_record(pg_sys::exprType((*target).expr.cast())) && (keeps || (*target).resjunk) {
                    (*target).expr = self.keep((*target).expr.cast()).cast();
                    sorted.push((*target).ressortgroupref);
                } else if is_record(pg_sys::exprType((*target).expr.cast())) && !(*copy).setOperations.is_null() {
                    self.stuck = Some("a record from a set operation in IN, ANY, ALL or ARRAY");
                }
            }
            let windows = PgList::<pg_sys::WindowClause>::from_pg((*copy).windowClause);
            let of_windows = windows.iter_ptr().flat_map(|w| [(*w).partitionClause, (*w).orderClause]);
            for list in [(*copy).sortClause, (*copy).groupClause, (*copy).distinctClause].into_iter().chain(of_windows)
            {
                for clause in PgList::<pg_sys::SortGroupClause>::from_pg(list).iter_ptr() {
                    if (*clause).tleSortGroupRef > 0 && sorted.contains(&(*clause).tleSortGroupRef) {
                        self.compare(&mut *clause);
                    }
                }
            }
            for entry in PgList::<pg_sys::RangeTblEntry>::from_pg((*copy).rtable).iter_ptr() {
                match (*entry).rtekind {
                    pg_sys::RTEKind::RTE_CTE => self.retype((*entry).coltypes),
                    pg_sys::RTEKind::RTE_GROUP => {
                        for cell in cells((*entry).groupexprs) {
                            if is_record(pg_sys::exprType(cell.ptr_value.cast())) {
                                cell.ptr_value = self.keep(cell.ptr_value.cast()).cast();
                            }
                        }
                    }
                    _ => {}
                }
            }
            copy
        }
    }

    /// Has columns of these types kept.
    unsafe fn retype(&self, types: *mut pg_sys::List) {
        // SAFETY: a list of types that is the caller's to change.
        unsafe { cells(types).iter_mut().filter(|cell| is_record(cell.oid_value)).for_each(|c| c.oid_value = self.ty) }
    }

    /// Has kept values compared where records are.
    fn compare(&mut self, clause: &mut pg_sys::SortGroupClause) {
        const EQUAL: [u32; 2] = [pg_sys::RECORD_EQ_OP, pg_sys::ARRAY_EQ_OP];
        const LESS: [u32; 2] = [pg_sys::RECORD_LT_OP, pg_sys::ARRAY_LT_OP];
        const GREATER: [u32; 2] = [pg_sys::RECORD_GT_OP, pg_sys::ARRAY_GT_OP];
        if clause.eqop == self.equal {
            return;
        }
        clause.eqop = match clause.eqop.to_u32() {
            operator if EQUAL.contains(&operator) => self.equal,
            _ => return self.stuck = Some("records that are sorted by another operator than < and >"),
        };
        clause.sortop = match clause.sortop.to_u32() {
            0 => pg_sys::InvalidOid,
            operator if LESS.contains(&operator) => self.less,
            operator if GREATER.contains(&operator) => self.greater,
            _ => return self.stuck = Some("records that are sorted by another operator than < and >"),
        };
        clause.hashable = true;
    }

    /// The set operation, whose columns are kept as those of its arms are.
    unsafe fn set_operation(&mut self, operation: &mut pg_sys::SetOperationStmt) {
        // SAFETY: a copy, but for its lists of types; there is a clause for each column, or none at all.
        unsafe {
            operation.colTypes = pg_sys::list_copy(operation.colTypes);
            let types: Vec<pg_sys::Oid> = PgList::<()>::from_pg(operation.colTypes).iter_oid().collect();
            let clauses = PgList::<pg_sys::SortGroupClause>::from_pg(operation.groupClauses);
            for (ty, clause) in types.into_iter().zip(clauses.iter_ptr()) {
                if is_record(ty) {
                    self.compare(&mut *clause);
                }
            }
            self.retype(operation.colTypes);
        }
    }

    /// `(r).f`, whose record is kept.
    unsafe fn field(&self, field: &pg_sys::FieldSelect) -> Option<*mut pg_sys::Node> {
        // SAFETY: an expression of the tree.
        unsafe {
            let record = field.arg.cast::<pg_sys::Var>();
            let plain = field.resulttypmod == -1
                && pg_sys::get_typcollation(field.resulttype) == field.resultcollid
                && is_a(record.cast(), pg_sys::NodeTag::T_Var)
                && (*record).vartype == pg_sys::RECORDOID
                && (*record).varattno > 0
                && self.is_kept(&*record);
            if !plain {
                return None;
            }
            let column = pg_sys::copyObjectImpl(record.cast()).cast::<pg_sys::Var>();
            (*column).vartype = self.ty;
            let number = pg_sys::Datum::from(i32::from(field.fieldnum));
            let none = pg_sys::InvalidOid;
            let number = pg_sys::makeConst(pg_sys::INT4OID, -1, none, 4, number, false, true);
            let of = pg_sys::makeNullConst(field.resulttype, -1, field.resultcollid);
            let function = function("_kept_field", &[self.ty, pg_sys::INT4OID, pg_sys::ANYELEMENTOID]);
            let call = call(function, field.resulttype, [column.cast(), number.cast(), of.cast()]);
            (*call.cast::<pg_sys::FuncExpr>()).funccollid = field.resultcollid;
            (*call.cast::<pg_sys::FuncExpr>()).inputcollid = field.resultcollid;
            Some(call)
        }
    }
}

/// # Safety
/// `list` is NIL or a valid list, and the caller's to change.
unsafe fn cells<'a>(list: *mut pg_sys::List) -> &'a mut [pg_sys::ListCell] {
    // SAFETY: by contract.
    unsafe {
        match list.as_ref() {
            Some(list) => std::slice::from_raw_parts_mut(list.elements, list.length as usize),
            None => &mut [],
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn mutate(node: *mut pg_sys::Node, context: *mut c_void) -> *mut pg_sys::Node {
    if node.is_null() {
        return node;
    }
    // SAFETY: `keep` passes a Walk, and the mutators call back with valid nodes; the tag tells the type.
    unsafe {
        let walk = &mut *context.cast::<Walk>();
        match (*node).type_ {
            pg_sys::NodeTag::T_Query => return walk.query(node.cast()).cast(),
            pg_sys::NodeTag::T_SubLink => {
                let link = &*node.cast::<pg_sys::SubLink>();
                let ty = match link.subLinkType {
                    pg_sys::SubLinkType::EXPR_SUBLINK => pg_sys::exprType(node),
                    _ => pg_sys::InvalidOid,
                };
                walk.keeps = is_record(ty);
                let test = mutate(link.testexpr, context);
                let copy = pg_sys::copyObjectImpl(node.cast()).cast::<pg_sys::SubLink>();
                walk.keeps = is_record(ty);
                (*copy).subselect = mutate(link.subselect, context);
                (*copy).testexpr = test;
                walk.keeps = true;
                return if is_record(ty) { walk.kept(copy.cast(), ty) } else { copy.cast() };
            }
            pg_sys::NodeTag::T_FieldSelect => {
                if let Some(field) = walk.field(&*node.cast()) {
                    return field;
                }
            }
            pg_sys::NodeTag::T_Var => {
                let var = &*node.cast::<pg_sys::Var>();
                if var.varattno == 0 && walk.has_kept_columns(var) {
                    if var.varnullingrels.is_null() {
                        return walk.row(var);
                    }
                    walk.stuck =
                        Some("the whole row of a sub-select with a column of type record that an outer join pads");
                }
                if var.varattno > 0 && is_record(var.vartype) && walk.is_kept(var) {
                    let column = pg_sys::copyObjectImpl(node.cast()).cast::<pg_sys::Var>();
                    (*column).vartype = walk.ty;
                    return walk.kept(column.cast(), var.vartype);
                }
            }
            _ => {}
        }
        let copy = pg_sys::expression_tree_mutator_impl(node, Some(mutate), context);
        match (*copy).type_ {
            pg_sys::NodeTag::T_SetOperationStmt => walk.set_operation(&mut *copy.cast()),
            pg_sys::NodeTag::T_CommonTableExpr => {
                let item = &mut *copy.cast::<pg_sys::CommonTableExpr>();
                item.ctecoltypes = pg_sys::list_copy(item.ctecoltypes);
                walk.retype(item.ctecoltypes);
            }
            _ => {}
        }
        copy
    }
}
