//! GROUPING SETS, ROLLUP and CUBE of a query, expanded, and its GROUPING() calls.

use super::grouping::Grouping;
use super::nodes::Query;
use super::ordering::target_refs;
use pgrx::{PgList, pg_sys};

unsafe extern "C-unwind" {
    /// `parser/parse_agg.h`: a list of lists of target references; NIL stands for the set without keys. No limit when
    /// `limit` is negative.
    fn expand_grouping_sets(
        grouping_sets: *mut pg_sys::List,
        group_distinct: bool,
        limit: std::ffi::c_int,
    ) -> *mut pg_sys::List;
}

impl Query<'_> {
    /// By which of its GROUP BY expressions it groups, for each of its grouping sets; one set of all without GROUPING SETS.
    pub fn grouping_sets(self) -> Vec<Vec<usize>> {
        // SAFETY: groupClause is a list of SortGroupClause, and the expanded sets are lists of their references.
        unsafe {
            let references = target_refs(self.node.groupClause);
            if self.node.groupingSets.is_null() {
                return vec![(0..references.len()).collect()];
            }
            let sets = expand_grouping_sets(self.node.groupingSets, self.node.groupDistinct, -1);
            let sets = PgList::<pg_sys::List>::from_pg(sets);
            sets.iter_ptr().map(|set| keys(&references, set)).collect()
        }
    }

    /// The keys that a GROUPING() call asks for, from the highest bit to the lowest.
    ///
    /// # Safety
    /// `call` is a GroupingFunc of this query.
    pub(super) unsafe fn grouping(self, call: *mut pg_sys::GroupingFunc) -> Grouping {
        // SAFETY: groupClause is a list of SortGroupClause, and `refs` a list of their references.
        unsafe { Grouping { keys: keys(&target_refs(self.node.groupClause), (*call).refs) } }
    }
}

/// # Safety
/// `set` is NIL or a list of integers.
unsafe fn keys(references: &[u32], set: *mut pg_sys::List) -> Vec<usize> {
    // SAFETY: the caller's promise.
    let set = unsafe { PgList::<()>::from_pg(set) };
    set.iter_int().filter_map(|key| references.iter().position(|known| *known == key as u32)).collect()
}
