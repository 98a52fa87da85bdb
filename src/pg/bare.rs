//! Server functions without pgrx's guard, for the code that every statement on a source runs.
//!
//! The guard costs a `sigsetjmp` and more per call, 0.1 µs with cold caches, and a captured statement makes some twenty
//! calls. Without it an ERROR jumps from the server over the caller's frames to whoever caught errors before.
//!
//! # Safety
//! Of every function here: no frame between the caller and the server owns anything that needs dropping.

use std::ffi::{c_int, c_void};

use pgrx::pg_sys::{
    BulkInsertStateData, CommandId, Datum, FullTransactionId, HeapTuple, LOCKMODE, Oid, Relation, TupleDesc,
    TupleTableSlot, TupleTableSlotOps, Tuplestorestate,
};

unsafe extern "C-unwind" {
    pub(super) fn palloc(size: usize) -> *mut c_void;
    pub(super) fn LockRelationOid(relation: Oid, lock: LOCKMODE);
    pub(super) fn UnlockRelationOid(relation: Oid, lock: LOCKMODE);
    pub(super) fn table_open(relation: Oid, lock: LOCKMODE) -> Relation;
    pub(super) fn try_table_open(relation: Oid, lock: LOCKMODE) -> Relation;
    pub(super) fn table_close(relation: Relation, lock: LOCKMODE);
    pub(super) fn GetTopFullTransactionId() -> FullTransactionId;
    pub(super) fn GetCurrentCommandId(used: bool) -> CommandId;
    pub(super) fn CommandCounterIncrement();
    pub(super) fn tuplestore_tuple_count(store: *mut Tuplestorestate) -> i64;
    pub(super) fn tuplestore_rescan(store: *mut Tuplestorestate);
    pub(super) fn tuplestore_gettupleslot(
        store: *mut Tuplestorestate,
        forward: bool,
        copy: bool,
        slot: *mut TupleTableSlot,
    ) -> bool;
    pub(super) fn tuplestore_puttupleslot(store: *mut Tuplestorestate, slot: *mut TupleTableSlot);
    pub(super) fn tuplestore_putvalues(
        store: *mut Tuplestorestate,
        descriptor: TupleDesc,
        values: *const Datum,
        nulls: *const bool,
    );
    pub(super) fn MakeSingleTupleTableSlot(
        descriptor: TupleDesc,
        operations: *const TupleTableSlotOps,
    ) -> *mut TupleTableSlot;
    pub(super) fn ExecDropSingleTupleTableSlot(slot: *mut TupleTableSlot);
    pub(super) fn ExecStoreHeapTuple(
        tuple: HeapTuple,
        slot: *mut TupleTableSlot,
        should_free: bool,
    ) -> *mut TupleTableSlot;
    pub(super) fn slot_getsomeattrs_int(slot: *mut TupleTableSlot, count: c_int);
    pub(super) fn heap_form_tuple(descriptor: TupleDesc, values: *const Datum, nulls: *const bool) -> HeapTuple;
    pub(super) fn heap_insert(
        relation: Relation,
        tuple: HeapTuple,
        command: CommandId,
        options: c_int,
        bulk: *mut BulkInsertStateData,
    );
    pub(super) fn heap_multi_insert(
        relation: Relation,
        slots: *mut *mut TupleTableSlot,
        count: c_int,
        command: CommandId,
        options: c_int,
        bulk: *mut BulkInsertStateData,
    );
}
