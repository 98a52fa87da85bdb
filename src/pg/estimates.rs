//! What the planner knows of changes: the statistics of the relations that they are changes of.
//!
//! A named relation has no statistics: any filter would be taken to keep a fixed part of it, and any join with a small table to
//! lose most of it. The values in a change are much like those in its relation, so what ANALYZE found out about the
//! relation is told of the change. But to rows of a small table that are new, or gone, other rows hardly refer, however many refer to each of
//! those that are there: the keys in such a change count as keys of a table as large as the largest source ([`Origin::Novel`]).
//!
//! Deltas are unions of terms, consolidated by GROUP BY, which PostgreSQL does not look through for statistics. While the
//! statements of a refresh are planned they are: a column of a union has the values of its first branch, as the terms are
//! of the same columns; a grouped column has the values that it has below.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr::null_mut;

use pgrx::pg_guard;
use pgrx::pg_sys::{self, NodeTag, Var};

use super::executor::Named;

/// What a named relation holds changes of.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// A source: its columns are called `c<attnum>`.
    Source(u32),
    /// Likewise one of which no row stays that changed, where others may have so many rows.
    Novel(u32, f64),
    /// A stage's stored result, the columns under their own names.
    Stage(u32),
}

impl Origin {
    /// The relation, and the attribute number in it of the column called `name`.
    fn column(self, name: &CStr) -> Option<(u32, i16)> {
        match self {
            Origin::Source(relid) | Origin::Novel(relid, _) => {
                Some((relid, name.to_str().ok()?.strip_prefix('c')?.parse().ok()?))
            }
            Origin::Stage(relid) => {
                // SAFETY: the name is NUL-terminated; a relation or column that is not there gives 0.
                let attnum = unsafe { pg_sys::get_attnum(relid.into(), name.as_ptr()) };
                (attnum > 0).then_some((relid, attnum))
            }
        }
    }
}

thread_local! {
    /// The named relations of the statement that is being planned.
    static KNOWN: Cell<Option<&'static [Named<'static>]>> = const { Cell::new(None) };
}

/// While it lives, the planner is told about these relations.
pub(super) struct Known(Option<&'static [Named<'static>]>);

impl Known {
    /// # Safety
    /// The guard is dropped before `relations` are.
    pub(super) unsafe fn of(relations: &[Named]) -> Known {
        // SAFETY: nothing is left of it when the guard is dropped, which the caller does in time.
        let relations = unsafe { std::mem::transmute::<&[Named<'_>], &'static [Named<'static>]>(relations) };
        Known(KNOWN.replace(Some(relations)))
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        KNOWN.set(self.0);
    }
}

static mut PREVIOUS: pg_sys::get_relation_stats_hook_type = None;

/// Installs the hook; called once, from `_PG_init`.
pub fn install() {
    // SAFETY: single-threaded; the previous hook is kept and called.
    unsafe {
        PREVIOUS = pg_sys::get_relation_stats_hook;
        pg_sys::get_relation_stats_hook = Some(statistics);
    }
}

unsafe extern "C-unwind" {
    /// `utils/syscache.h` and `access/htup_details.h`, as pointers that the planner calls.
    fn ReleaseSysCache(tuple: pg_sys::HeapTuple);
    fn heap_freetuple(tuple: pg_sys::HeapTuple);
}

#[pg_guard]
unsafe extern "C-unwind" fn statistics(
    root: *mut pg_sys::PlannerInfo,
    rte: *mut pg_sys::RangeTblEntry,
    attnum: pg_sys::AttrNumber,
    about: *mut pg_sys::VariableStatData,
) -> bool {
    // SAFETY: the arguments are the planner's; the relations live as long as the guard that noted them.
    unsafe {
        if let Some(known) = KNOWN.get()
            && attnum > 0
            && told(known, (root, rte, attnum), about)
        {
            return true;
        }
        PREVIOUS.is_some_and(|previous| previous(root, rte, attnum, about))
    }
}

/// A column as the planner asks for it.
type Asked = (*mut pg_sys::PlannerInfo, *mut pg_sys::RangeTblEntry, pg_sys::AttrNumber);

/// Whether something is known about the column, and then what.
unsafe fn told(known: &[Named], (root, rte, attnum): Asked, about: *mut pg_sys::VariableStatData) -> bool {
    use pg_sys::RTEKind::{RTE_CTE, RTE_NAMEDTUPLESTORE, RTE_SUBQUERY};
    // SAFETY: the kind of an entry says which of its fields are set.
    unsafe {
        match (*rte).rtekind {
            RTE_NAMEDTUPLESTORE => of_change(known, rte, attnum, about),
            RTE_SUBQUERY if (*rte).inh => of_branches(root, rte, attnum, about),
            RTE_SUBQUERY => match place(root, rte) {
                Some(place) => of_groups((**(*root).simple_rel_array.add(place)).subroot, attnum, about),
                None => false,
            },
            RTE_CTE if !(*rte).self_reference => of_groups(planned(root, rte), attnum, about),
            _ => false,
        }
    }
}

unsafe fn of_change(
    known: &[Named],
    rte: *mut pg_sys::RangeTblEntry,
    attnum: pg_sys::AttrNumber,
    about: *mut pg_sys::VariableStatData,
) -> bool {
    // SAFETY: a named relation has a name, and a name for each column.
    unsafe {
        let name = CStr::from_ptr((*rte).enrname);
        let Some(named) = known.iter().find(|named| named.name.as_bytes() == name.to_bytes()) else { return false };
        let names = (*(*rte).eref).colnames;
        if i32::from(attnum) > pg_sys::list_length(names) {
            return false;
        }
        let column = pg_sys::list_nth(names, i32::from(attnum) - 1).cast::<pg_sys::String>();
        let Some((relid, attnum)) = named.of.and_then(|origin| origin.column(CStr::from_ptr((*column).sval))) else {
            return false;
        };
        let cache = pg_sys::SysCacheIdentifier::STATRELATTINH as i32;
        // Of a table with descendants both are kept; changes are those of the whole tree.
        for inherited in [true, false] {
            let relid = pg_sys::Oid::from(relid);
            let tuple = pg_sys::SearchSysCache3(cache, relid.into(), attnum.into(), inherited.into());
            if !tuple.is_null() {
                (*about).statsTuple = tuple;
                (*about).freefunc = Some(ReleaseSysCache);
                if let Some(Origin::Novel(_, rows)) = named.of {
                    (*about).statsTuple = among(tuple, rows);
                    (*about).freefunc = Some(heap_freetuple);
                    ReleaseSysCache(tuple);
                }
                // Who runs the statement reads the whole relation.
                (*about).acl_ok = true;
                return true;
            }
        }
        false
    }
}

/// The statistics of a column; of one whose values differ from row to row those of a column with so many values.
unsafe fn among(statistics: pg_sys::HeapTuple, values: f64) -> pg_sys::HeapTuple {
    // SAFETY: a row of pg_statistic; its copy belongs to the current memory context, and fields of fixed length may be set.
    unsafe {
        let copy = pg_sys::heap_copytuple(statistics);
        let row = &mut *pg_sys::GETSTRUCT(copy).cast::<pg_sys::FormData_pg_statistic>();
        if row.stadistinct == -1.0 {
            row.stadistinct = values.max(1.0) as f32;
        }
        copy
    }
}

/// The column of a UNION ALL that has become one relation over its branches.
unsafe fn of_branches(
    root: *mut pg_sys::PlannerInfo,
    rte: *mut pg_sys::RangeTblEntry,
    attnum: pg_sys::AttrNumber,
    about: *mut pg_sys::VariableStatData,
) -> bool {
    // SAFETY: the list holds AppendRelInfo nodes, the columns of the child in the order of the parent's.
    unsafe {
        let Some(parent) = place(root, rte) else { return false };
        let list = (*root).append_rel_list;
        let branches =
            (0..pg_sys::list_length(list)).map(|i| pg_sys::list_nth(list, i).cast::<pg_sys::AppendRelInfo>());
        // Only one is asked: unions of unions would be asked in all combinations.
        let Some(first) = branches.into_iter().find(|branch| (**branch).parent_relid as usize == parent) else {
            return false;
        };
        let columns = (*first).translated_vars;
        i32::from(attnum) <= pg_sys::list_length(columns)
            && below(root, pg_sys::list_nth(columns, i32::from(attnum) - 1).cast(), about)
    }
}

/// The column of a query that groups, or takes different rows only: one that it groups by, or any value of the group.
unsafe fn of_groups(
    root: *mut pg_sys::PlannerInfo,
    attnum: pg_sys::AttrNumber,
    about: *mut pg_sys::VariableStatData,
) -> bool {
    // SAFETY: a planned query's parse tree is that which the planner worked on; tags say which node each is.
    unsafe {
        if root.is_null() {
            return false;
        }
        let query = (*root).parse;
        let by = if (*query).groupClause.is_null() { (*query).distinctClause } else { (*query).groupClause };
        if by.is_null() || !(*query).groupingSets.is_null() || !(*query).setOperations.is_null() {
            return false;
        }
        let entry = pg_sys::get_tle_by_resno((*query).targetList, attnum);
        if entry.is_null() {
            return false;
        }
        let mut value: *mut pg_sys::Node = (*entry).expr.cast();
        if (*value).type_ == NodeTag::T_Aggref {
            let call = value.cast::<pg_sys::Aggref>();
            if (*call).aggfnoid != pg_sys::Oid::from(pg_sys::F_ANY_VALUE) {
                return false;
            }
            value = (*pg_sys::list_nth((*call).args, 0).cast::<pg_sys::TargetEntry>()).expr.cast();
        } else if pg_sys::list_length(by) == 1 && (*entry).ressortgroupref != 0 {
            (*about).isunique = true;
        }
        below(root, value, about)
    }
}

/// What is known about the column `value` of `root`'s query, told of one that has the same values.
unsafe fn below(
    root: *mut pg_sys::PlannerInfo,
    value: *mut pg_sys::Node,
    about: *mut pg_sys::VariableStatData,
) -> bool {
    // SAFETY: only columns of this query are looked up, which its planner knows.
    unsafe {
        if value.is_null() || (*value).type_ != NodeTag::T_Var {
            return false;
        }
        let Var { varno, varlevelsup, .. } = *value.cast::<Var>();
        let laid_out = varno > 0
            && varno < (*root).simple_rel_array_size
            && !(*(*root).simple_rel_array.add(varno as usize)).is_null();
        if varlevelsup != 0 || !laid_out {
            return false;
        }
        let mut found = pg_sys::VariableStatData::default();
        pg_sys::examine_variable(root, value, 0, &raw mut found);
        if found.statsTuple.is_null() {
            return false;
        }
        (*about).statsTuple = found.statsTuple;
        (*about).freefunc = found.freefunc;
        (*about).acl_ok = found.acl_ok;
        true
    }
}

/// The place of an entry among the relations of its query that the planner has laid out.
unsafe fn place(root: *mut pg_sys::PlannerInfo, rte: *mut pg_sys::RangeTblEntry) -> Option<usize> {
    // SAFETY: both arrays have this size; the first place is empty.
    unsafe {
        (1..(*root).simple_rel_array_size as usize).find(|index| {
            *(*root).simple_rte_array.add(*index) == rte && !(*(*root).simple_rel_array.add(*index)).is_null()
        })
    }
}

/// What the planner made of the query of a WITH item; null while it has not.
unsafe fn planned(root: *mut pg_sys::PlannerInfo, rte: *mut pg_sys::RangeTblEntry) -> *mut pg_sys::PlannerInfo {
    // SAFETY: as examine_simple_variable finds it; the lists hold what they are called for.
    unsafe {
        let mut around = root;
        for _ in 0..(*rte).ctelevelsup {
            around = (*around).parent_root;
            if around.is_null() {
                return null_mut();
            }
        }
        let name = CStr::from_ptr((*rte).ctename);
        let (items, plans) = ((*(*around).parse).cteList, (*around).cte_plan_ids);
        let position = (0..pg_sys::list_length(items)).find(|index| {
            CStr::from_ptr((*pg_sys::list_nth(items, *index).cast::<pg_sys::CommonTableExpr>()).ctename) == name
        });
        match position.filter(|position| *position < pg_sys::list_length(plans)) {
            Some(position) => match pg_sys::list_nth_int(plans, position) {
                plan if plan > 0 => pg_sys::list_nth((*(*root).glob).subroots, plan - 1).cast(),
                _ => null_mut(),
            },
            None => null_mut(),
        }
    }
}
