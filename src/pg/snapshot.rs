//! Snapshots that a Rust value owns.
//!
//! A [`Snapshot`] is always a private copy: PostgreSQL advances the command id of the transaction's own snapshot in
//! place, and a refresh must know exactly which of its transaction's commands it has seen. It is registered with the
//! top transaction's resource owner, so it may outlive the subtransaction that took it, and is released on drop.

use std::ptr::NonNull;

use pgrx::pg_sys;
use pgtrickle_engine::frontier::{Frontier, OwnWrites, VisibleXids};

/// A registered MVCC snapshot.
pub struct Snapshot {
    raw: NonNull<pg_sys::SnapshotData>,
    owner: pg_sys::ResourceOwner,
}

impl Snapshot {
    /// The snapshot that a query started now would use: a new one under READ COMMITTED, the transaction's otherwise.
    pub fn take() -> Self {
        // SAFETY: called inside a transaction, as everything that SQL reaches is.
        unsafe { Self::copy(pg_sys::GetTransactionSnapshot(), None) }
    }

    /// The snapshot of the next statement, which sees what this transaction has written until now.
    pub fn next() -> Self {
        // SAFETY: as `take`; the transaction's snapshot has the command id that the counter is advanced to.
        unsafe {
            pg_sys::CommandCounterIncrement();
            Self::copy(pg_sys::GetTransactionSnapshot(), Some(pg_sys::GetCurrentCommandId(false)))
        }
    }

    /// A new snapshot, whatever the isolation level.
    pub fn latest() -> Self {
        // SAFETY: as `take`.
        unsafe { Self::copy(pg_sys::GetLatestSnapshot(), None) }
    }

    /// A new snapshot that sees nothing of this transaction's.
    pub fn of_others() -> Self {
        // SAFETY: as `take`. No row of this transaction was written before its first command.
        unsafe { Self::copy(pg_sys::GetLatestSnapshot(), Some(0)) }
    }

    /// Whether the transaction has one snapshot from its begin to its end.
    pub fn is_the_only_one() -> bool {
        // SAFETY: reads the current transaction's state.
        unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
    }

    /// The snapshot of the query that is running; [`Snapshot::take`] when there is none.
    pub fn active() -> Self {
        // SAFETY: the active snapshot is valid until it is popped, and it is copied here.
        unsafe {
            match pg_sys::ActiveSnapshotSet() {
                true => Self::copy(pg_sys::GetActiveSnapshot(), None),
                false => Self::take(),
            }
        }
    }

    /// The same view of other transactions that sees what this transaction has written until now.
    pub fn advanced(&self) -> Self {
        // SAFETY: `self` keeps the original registered; the counter advances only if the current command wrote.
        unsafe {
            pg_sys::CommandCounterIncrement();
            Self::copy(self.raw.as_ptr(), Some(pg_sys::GetCurrentCommandId(false)))
        }
    }

    /// The first command of this transaction that is not visible.
    pub fn command_id(&self) -> u32 {
        // SAFETY: registered until drop.
        unsafe { self.raw.as_ref().curcid }
    }

    /// What this snapshot sees, as a frontier of this cluster.
    pub fn frontier(&self) -> Frontier {
        Frontier {
            snapshot: self.visible(),
            own: own_xid().map(|xid| OwnWrites { xid, cid: self.command_id() }),
            clock: None,
            system: system_identifier(),
        }
    }

    fn visible(&self) -> VisibleXids {
        // SAFETY: registered until drop; `xip` has `xcnt` elements. Recovery, which keeps ids elsewhere, is refused before.
        unsafe {
            let snapshot = self.raw.as_ref();
            let next = pg_sys::ReadNextFullTransactionId().value;
            let running = match snapshot.xcnt {
                0 => &[],
                count => std::slice::from_raw_parts(snapshot.xip, count as usize),
            };
            let running = running.iter().map(|&xid| widen(xid, next)).collect();
            VisibleXids::new(widen(snapshot.xmin, next), widen(snapshot.xmax, next), running)
        }
    }

    pub(super) fn as_ptr(&self) -> pg_sys::Snapshot {
        self.raw.as_ptr()
    }

    /// # Safety
    /// `original` is a valid MVCC snapshot.
    unsafe fn copy(original: pg_sys::Snapshot, command_id: Option<u32>) -> Self {
        // SAFETY: PushCopiedSnapshot leaves a copy that nobody else refers to on the stack, so its command id may be set;
        // registering it keeps it when it is popped.
        unsafe {
            let owner = pg_sys::TopTransactionResourceOwner;
            pg_sys::PushCopiedSnapshot(original);
            let copy = pg_sys::GetActiveSnapshot();
            if let Some(command_id) = command_id {
                (*copy).curcid = command_id;
            }
            let raw = pg_sys::RegisterSnapshotOnOwner(copy, owner);
            pg_sys::PopActiveSnapshot();
            Snapshot { raw: NonNull::new_unchecked(raw), owner }
        }
    }
}

impl Clone for Snapshot {
    fn clone(&self) -> Self {
        // SAFETY: registered until drop; once more for the copy, which is never changed.
        let raw = unsafe { pg_sys::RegisterSnapshotOnOwner(self.raw.as_ptr(), self.owner) };
        Snapshot { raw: NonNull::new(raw).unwrap_or(self.raw), owner: self.owner }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        // SAFETY: registered once with this owner. At an error, unwinding drops the value before the abort releases owners.
        unsafe { pg_sys::UnregisterSnapshotFromOwner(self.raw.as_ptr(), self.owner) }
    }
}

/// The id of the current top-level transaction, if it has one.
pub fn own_xid() -> Option<u64> {
    // SAFETY: reads a field of the current transaction's state.
    let xid = unsafe { pg_sys::GetTopFullTransactionIdIfAny() }.value;
    (xid as u32 >= pg_sys::FirstNormalTransactionId.into_inner()).then_some(xid)
}

/// The identifier that initdb gave to this cluster.
pub fn system_identifier() -> String {
    // SAFETY: the control file is read at server start.
    unsafe { pg_sys::GetSystemIdentifier() }.to_string()
}

/// The 64-bit id of a transaction that began less than an epoch ago.
pub(super) fn full_id(xid: pg_sys::TransactionId) -> u64 {
    // SAFETY: reads shared memory.
    widen(xid, unsafe { pg_sys::ReadNextFullTransactionId() }.value)
}

/// A 32-bit id as a 64-bit one: it is at most one epoch older than the next id to be assigned.
fn widen(xid: pg_sys::TransactionId, next: u64) -> u64 {
    let xid = u64::from(xid.into_inner());
    let wide = (next & !0xffff_ffff) | xid;
    if wide > next { wide - (1 << 32) } else { wide }
}
