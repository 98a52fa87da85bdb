//! Who inherits from whom, partitions included, at a snapshot.
//!
//! A statement reads the descendants of a table that the catalogs have when it is planned, whatever its snapshot sees. Both
//! agree when (1) this backend has processed the invalidations of all that the snapshot sees of `pg_inherits`, and (2) what
//! the snapshot sees is what is there when the statement is done. A descendant that a statement reads stays one until the
//! transaction ends, by the lock on it; and a link that is made again is another row, with another `xmin`.
//!
//! For (1): whoever makes or removes a link holds an ACCESS EXCLUSIVE lock on the child or on the parent until its
//! invalidations are sent, which is later than the moment at which snapshots begin to see it. So to lock the relations and let
//! them go again waits for them ([`settled`]).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ptr::null_mut;

use pgrx::pg_sys::{self, Oid};

use super::snapshot::Snapshot;

/// `pg_inherits`, `pg_inherits_parent_index`, and where `pg_inherits` has what we read (`catalog/pg_inherits.h`).
const INHERITS: Oid = Oid::from_u32(2611);
const PARENT_INDEX: Oid = Oid::from_u32(2187);
const PARENT: pg_sys::AttrNumber = 2;

/// Links of so many sources are remembered.
const REMEMBERED: usize = 256;

#[repr(C)]
struct FormOfLink {
    child: Oid,
    parent: Oid,
    sequence: i32,
    pending: bool,
}

/// One row of `pg_inherits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    child: u32,
    parent: u32,
    xmin: u32,
    /// DETACH PARTITION CONCURRENTLY is half done: whoever sees this row does not read the child.
    pub pending: bool,
}

thread_local! {
    /// The links below a source whose makers, as far as this backend has seen them, have all sent their invalidations.
    static SETTLED: RefCell<BTreeMap<u32, Vec<Link>>> = const { RefCell::new(BTreeMap::new()) };
}

unsafe extern "C-unwind" {
    /// `catalog/pg_inherits.h`
    fn has_subclass(relation: Oid) -> bool;
    /// `catalog/partition.h`
    fn get_partition_parent(relation: Oid, even_if_detached: bool) -> Oid;
}

/// Whether the relation is partitioned, or the catalogs say that it has, or has had, children.
pub fn may_have_children(relation: u32) -> bool {
    // SAFETY: a look-up in the system cache; an error when the relation is gone.
    super::source::is_partitioned(relation)
        || unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| has_subclass(Oid::from_u32(relation))) }
}

/// The links below `source` that `snapshot` sees; `None`: those that are there now.
pub fn links(source: u32, snapshot: Option<&Snapshot>) -> Vec<Link> {
    // What is below a table that is not partitioned is not either, and no partition but a partitioned one has children.
    let partitioned = super::source::is_partitioned(source);
    let mut found: Vec<Link> = Vec::new();
    children(source, snapshot, &mut found);
    let mut next = 0;
    while next < found.len() {
        let child = found[next].child;
        // A child of several parents is met several times.
        let look = match partitioned {
            true => super::source::is_partitioned(child),
            false => !found[..next].iter().any(|link| link.child == child),
        };
        if look {
            children(child, snapshot, &mut found);
        }
        next += 1;
    }
    found
}

/// As [`links`] of a snapshot, when what this backend's caches say of them is at least as new.
pub fn settled(source: u32, snapshot: &Snapshot) -> Vec<Link> {
    let found = links(source, Some(snapshot));
    if SETTLED.with_borrow(|settled| settled.get(&source) == Some(&found)) {
        return found;
    }
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    let relations = std::iter::once(source).chain(found.iter().map(|link| link.child));
    // SAFETY: waits for locks, and gives them back.
    unsafe {
        for relation in relations {
            pg_sys::LockRelationOid(relation.into(), lock);
            pg_sys::UnlockRelationOid(relation.into(), lock);
        }
        pg_sys::AcceptInvalidationMessages();
    }
    let found = links(source, Some(snapshot));
    SETTLED.with_borrow_mut(|settled| {
        if settled.len() >= REMEMBERED {
            settled.clear();
        }
        settled.insert(source, found.clone());
    });
    found
}

/// Keeps others from making and removing links below `source`, which are `links` perhaps: whoever does takes at least this lock on the
/// parent, or one that conflicts with it on the child.
pub fn hold(source: u32, links: &[Link]) {
    let partitioned = super::source::is_partitioned(source);
    let below = links.iter().map(|link| link.child);
    let parents = below.filter(|child| !partitioned || super::source::is_partitioned(*child));
    for relation in std::iter::once(source).chain(parents) {
        // SAFETY: waits for a lock, which is kept until the transaction ends.
        unsafe { pg_sys::LockRelationOid(relation.into(), pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE) };
    }
}

/// Locks the relation and what inherits from it as DROP TABLE does: a partition's parent first.
pub fn lock_for_drop(relation: u32) {
    let lock = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
    let relation = Oid::from_u32(relation);
    // SAFETY: waits for locks, which are kept until the transaction ends; look-ups in the system catalogs.
    unsafe {
        if pg_sys::get_rel_relispartition(relation) {
            let parent = pg_sys::ffi::pg_guard_ffi_boundary(|| get_partition_parent(relation, true));
            pg_sys::LockRelationOid(parent, lock);
        }
        pg_sys::LockRelationOid(relation, lock);
    }
    for below in super::source::members(relation.to_u32()) {
        // SAFETY: as above.
        unsafe { pg_sys::LockRelationOid(below.into(), lock) };
    }
}

fn children(parent: u32, snapshot: Option<&Snapshot>, found: &mut Vec<Link>) {
    // SAFETY: a scan of a catalog by its index. Its rows begin with the fields of the form and have no NULL.
    unsafe {
        let mut key = pg_sys::ScanKeyData::default();
        let equal = pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber;
        pg_sys::ScanKeyInit(&mut key, PARENT, equal, pg_sys::F_OIDEQ.into(), Oid::from_u32(parent).into());
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(INHERITS, lock);
        let snapshot = snapshot.map_or(null_mut(), Snapshot::as_ptr);
        let scan = pg_sys::systable_beginscan(relation, PARENT_INDEX, true, snapshot, 1, &mut key);
        let begin = found.len();
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let form = &*pg_sys::GETSTRUCT(tuple).cast::<FormOfLink>();
            let xmin = (*(*tuple).t_data).t_choice.t_heap.t_xmin.into_inner();
            let (child, parent) = (form.child.to_u32(), form.parent.to_u32());
            found.push(Link { child, parent, xmin, pending: form.pending });
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, lock);
        found[begin..].sort_unstable_by_key(|link| link.child);
    }
}
