//! Indexes by which rows of the extension's own tables are found.

use pgrx::pg_sys::{self, Oid};

/// An open btree index that has a row for each of its table's.
pub(super) struct Index(pub(super) pg_sys::Relation);

impl Index {
    /// Opens the index if it is one of that table and begins with that column.
    pub(super) fn open(index: Oid, (table, attnum): (Oid, i16)) -> Option<Index> {
        // SAFETY: an index has rd_index, and at least one key column; its predicate is a list.
        unsafe {
            let relation = pg_sys::try_relation_open(index, pg_sys::AccessShareLock as i32);
            if relation.is_null() {
                return None;
            }
            let opened = Index(relation);
            if (*relation).rd_index.is_null() || (*(*relation).rd_rel).relam != pg_sys::BTREE_AM_OID {
                return None;
            }
            let facts = &*(*relation).rd_index;
            let first = facts.indkey.values.as_ptr().read();
            let whole = || pg_sys::RelationGetIndexPredicate(relation).is_null();
            (facts.indrelid == table && facts.indisvalid && first == attnum && whole()).then_some(opened)
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // SAFETY: opened once.
        unsafe { pg_sys::relation_close(self.0, pg_sys::NoLock as i32) };
    }
}
