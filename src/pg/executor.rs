//! Prepared statements that run on a snapshot of the caller's choice and read tuplestores by name.
//!
//! SPI takes a new snapshot for each statement of a READ COMMITTED transaction, or refuses to write; a refresh must run
//! all of its statements on one. So this goes to the plan cache and the executor directly, as `matview.c` does: a saved
//! `CachedPlanSource` per statement (replanned by the cache when a relation changes) and one `QueryDesc` per execution.
//! Ephemeral named relations are given at preparation, where their columns count, and at each execution, where their
//! rows do (`plancache.c` passes the environment on, as for the transition tables of PL/pgSQL triggers).

use super::estimates::{Known, Origin};
use super::plans;
use super::snapshot::Snapshot;
use super::tuplestore::TupleStore;
use super::version::Version;
use crate::error::{Error, Result};
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::{FromDatum, IntoDatum};
use std::ffi::{CStr, CString};
use std::ptr::null_mut;

/// A tuplestore under the name by which statements read it.
pub struct Named<'a> {
    pub name: String,
    pub store: &'a TupleStore,
    /// What its rows are changes of, for the planner.
    pub of: Option<Origin>,
}

/// A parameter: its type and value, NULL being `None`.
pub struct Param {
    ty: Oid,
    datum: Option<Datum>,
}

impl Param {
    /// `value` as SQL sees it; its memory belongs to the current memory context.
    pub fn of<T: IntoDatum>(value: T) -> Param {
        Param { ty: T::type_oid(), datum: value.into_datum() }
    }

    /// An object id.
    pub fn oid(value: u32) -> Param {
        Param::of(Oid::from(value))
    }

    /// An `oid[]`.
    pub fn oids(values: &[u32]) -> Param {
        Param::of(values.iter().copied().map(Oid::from).collect::<Vec<Oid>>())
    }

    /// A `jsonb`.
    pub fn jsonb(text: &str) -> Param {
        let text = CString::new(text).expect("JSON has no NUL");
        // SAFETY: the input function of the type copies what it is given.
        let datum =
            unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(Datum::from(text.as_ptr()))]) };
        Param { ty: pg_sys::JSONBOID, datum }
    }

    pub(super) fn ty(&self) -> Oid {
        self.ty
    }

    pub(super) fn datum(&self) -> Option<Datum> {
        self.datum
    }
}

/// Where the rows that a statement yields go.
pub enum Sink<'a> {
    Discard,
    Store(&'a mut TupleStore),
}

/// A row of a result, valid while it is looked at.
pub struct Row<'a> {
    slot: &'a pg_sys::TupleTableSlot,
    /// The attributes, with their types, that the columns are, if they are not the first ones.
    columns: Option<&'a [(i16, Oid)]>,
}

impl<'a> Row<'a> {
    /// The columns of a row that has been deformed.
    pub(super) fn of(slot: &'a pg_sys::TupleTableSlot, columns: &'a [(i16, Oid)]) -> Row<'a> {
        Row { slot, columns: Some(columns) }
    }

    /// The version of a row of a table that was found by an index; `None` for one that a statement yields.
    pub fn version(&self) -> Option<Version> {
        // SAFETY: rows with chosen columns are rows of tables as they are stored.
        self.columns.and_then(|_| unsafe { Version::of(std::ptr::from_ref(self.slot).cast_mut()) })
    }

    fn attribute(&self, column: usize) -> usize {
        let index = self.columns.map_or(column, |columns| usize::from(columns[column].0.unsigned_abs()) - 1);
        assert!(index < self.slot.tts_nvalid as usize, "column {index} of a row with {}", self.slot.tts_nvalid);
        index
    }

    /// The value of the column at `index` (0-based); `None` for NULL. The caller knows the column's type.
    pub fn get<T: FromDatum>(&self, index: usize) -> Option<T> {
        let index = self.attribute(index);
        // SAFETY: the slot is deformed and has more than `index` columns; from_datum copies what it returns.
        unsafe { T::from_datum(*self.slot.tts_values.add(index), *self.slot.tts_isnull.add(index)) }
    }

    /// The text of a `jsonb` column.
    pub fn jsonb(&self, index: usize) -> Option<String> {
        let index = self.attribute(index);
        // SAFETY: the slot is deformed; the output function of the type gives a C string, which is copied.
        unsafe {
            if *self.slot.tts_isnull.add(index) {
                return None;
            }
            let value = Some(*self.slot.tts_values.add(index));
            let text: Option<&CStr> = pgrx::direct_function_call(pg_sys::jsonb_out, &[value]);
            text.map(|text| text.to_string_lossy().into_owned())
        }
    }

    /// Likewise for an object id.
    pub fn oid(&self, index: usize) -> Option<u32> {
        self.get::<Oid>(index).map(Oid::to_u32)
    }

    /// Likewise for an `oid[]`.
    pub fn oids(&self, index: usize) -> Option<Vec<u32>> {
        self.get::<Vec<Oid>>(index).map(|oids| oids.into_iter().map(Oid::to_u32).collect())
    }

    /// As [`Row::get`] for a column that never is NULL.
    ///
    /// # Errors
    /// `Internal` with the column's name when it is.
    pub fn required<T: FromDatum>(&self, index: usize) -> Result<T> {
        self.get(index).ok_or_else(|| self.missing(index))
    }

    /// As [`Row::required`] for an object id.
    ///
    /// # Errors
    /// As [`Row::required`].
    pub fn required_oid(&self, index: usize) -> Result<u32> {
        self.oid(index).ok_or_else(|| self.missing(index))
    }

    /// As [`Row::required`] for an `oid[]`.
    ///
    /// # Errors
    /// As [`Row::required`].
    pub fn required_oids(&self, index: usize) -> Result<Vec<u32>> {
        self.oids(index).ok_or_else(|| self.missing(index))
    }

    fn missing(&self, index: usize) -> Error {
        // SAFETY: the slot's descriptor describes every column of the row; names are NUL-terminated.
        let name = unsafe {
            let attribute = pg_sys::TupleDescAttr(self.slot.tts_tupleDescriptor, self.attribute(index) as i32);
            CStr::from_ptr((*attribute).attname.data.as_ptr()).to_string_lossy().into_owned()
        };
        Error::Internal(format!("column {name} of the catalog is NULL"))
    }
}

/// A saved plan of one statement.
pub struct Statement {
    source: *mut pg_sys::CachedPlanSource,
    result: *mut pg_sys::TupleDescData,
}

impl Statement {
    /// Parses and analyses `sql`, one statement with parameters of the types of `params`, which reads `relations` by name.
    ///
    /// # Errors
    /// PostgreSQL's own, for text that does not parse or names what does not exist.
    pub fn prepare(sql: &str, params: &[Param], relations: &[Named]) -> Statement {
        let types: Vec<Oid> = params.iter().map(|param| param.ty).collect();
        let text = CString::new(sql).expect("generated SQL has no NUL");
        let mut work = Work::new();
        // SAFETY: the steps of SPI_prepare. What the parser makes lives in `work`; CreateCachedPlan and
        // CompleteCachedPlan copy what they keep.
        let source = unsafe {
            work.run(|| {
                let parsed = pg_sys::pg_parse_query(text.as_ptr());
                let raw: *mut pg_sys::RawStmt = pg_sys::list_nth(parsed, 0).cast();
                let source = pg_sys::CreateCachedPlan(raw, text.as_ptr(), pg_sys::CreateCommandTag((*raw).stmt));
                let environment = environment(relations);
                let queries = pg_sys::pg_analyze_and_rewrite_fixedparams(
                    raw,
                    text.as_ptr(),
                    types.as_ptr(),
                    types.len() as i32,
                    environment,
                );
                pg_sys::CompleteCachedPlan(
                    source,
                    queries,
                    null_mut(),
                    types.as_ptr().cast_mut(),
                    types.len() as i32,
                    None,
                    null_mut(),
                    (pg_sys::CURSOR_OPT_PARALLEL_OK | pg_sys::CURSOR_OPT_GENERIC_PLAN) as i32,
                    false,
                );
                pg_sys::SaveCachedPlan(source);
                source
            })
        };
        // SAFETY: the source is complete; its result descriptor lives as long as it does.
        Statement { source, result: unsafe { (*source).resultDesc } }
    }

    /// A tuplestore for the rows that the statement yields.
    pub fn result_store(&self) -> TupleStore {
        // SAFETY: the descriptor lives as long as the source.
        unsafe { TupleStore::like(self.result) }
    }

    /// Whether the planner would have workers take part in the statement, which reads no named relation.
    pub fn is_parallel(&self) -> bool {
        self.planned(&[], |planned| planned.parallelModeNeeded)
    }

    /// What the statement costs, as the planner counts.
    pub fn cost(&self, relations: &[Named]) -> f64 {
        // SAFETY: a planned statement has a plan.
        self.planned(relations, |planned| unsafe { (*planned.planTree).total_cost })
    }

    /// How many rows it yields, as the planner estimates.
    pub fn rows(&self, relations: &[Named]) -> f64 {
        // SAFETY: as above.
        self.planned(relations, |planned| unsafe { (*planned.planTree).plan_rows })
    }

    /// Looks at the plan with which the statement will be executed.
    fn planned<T>(&self, relations: &[Named], look: impl FnOnce(&pg_sys::PlannedStmt) -> T) -> T {
        // SAFETY: as in `execute`; nothing is executed. The plan is generic, so it takes no parameters.
        Work::new().run(|| unsafe {
            let owner = pg_sys::CurrentResourceOwner;
            let environment = environment(relations);
            let plan = {
                let _known = Known::of(relations);
                pg_sys::GetCachedPlan(self.source, null_mut(), owner, environment)
            };
            let seen = look(&*pg_sys::list_nth((*plan).stmt_list, 0).cast::<pg_sys::PlannedStmt>());
            pg_sys::ReleaseCachedPlan(plan, owner);
            seen
        })
    }

    /// Runs the statement and returns how many rows it yielded or, when it yields none, changed. `snapshot`: what it
    /// reads, advanced to see the transaction's own changes so far; `None` takes the transaction's next one.
    pub fn execute(&self, snapshot: Option<&Snapshot>, params: &[Param], relations: &[Named], sink: Sink) -> u64 {
        let mut work = Work::new();
        // SAFETY: the steps of SPI_execute_plan for one plannable statement. On an ERROR the (sub)transaction's abort
        // releases the plan's reference and the snapshots.
        unsafe {
            work.run(|| {
                let owner = pg_sys::CurrentResourceOwner;
                let environment = environment(relations);
                let list = param_list(params);
                pg_sys::CommandCounterIncrement();
                match snapshot {
                    Some(snapshot) => pg_sys::PushCopiedSnapshot(snapshot.as_ptr()),
                    None => pg_sys::PushCopiedSnapshot(pg_sys::GetTransactionSnapshot()),
                }
                pg_sys::UpdateActiveSnapshotCommandId();
                let plan = {
                    let _known = Known::of(relations);
                    pg_sys::GetCachedPlan(self.source, list, owner, environment)
                };
                let planned: *mut pg_sys::PlannedStmt = pg_sys::list_nth((*plan).stmt_list, 0).cast();
                let receiver = receiver(sink);
                let query = pg_sys::CreateQueryDesc(
                    planned,
                    (*self.source).query_string,
                    pg_sys::GetActiveSnapshot(),
                    null_mut(),
                    receiver,
                    list,
                    environment,
                    plans::instrumentation(),
                );
                pg_sys::ExecutorStart(query, 0);
                pg_sys::ExecutorRun(query, pg_sys::ScanDirection::ForwardScanDirection, 0);
                let processed = (*(*query).estate).es_processed;
                pg_sys::ExecutorFinish(query);
                plans::note(query);
                pg_sys::ExecutorEnd(query);
                pg_sys::FreeQueryDesc(query);
                (*receiver).rDestroy.expect("a receiver has a destructor")(receiver);
                pg_sys::PopActiveSnapshot();
                pg_sys::ReleaseCachedPlan(plan, owner);
                pg_sys::CommandCounterIncrement();
                processed
            })
        }
    }

    /// Runs the statement and gives each row to `read`.
    pub fn query<T>(&self, snapshot: Option<&Snapshot>, params: &[Param], read: impl FnMut(&Row) -> T) -> Vec<T> {
        let mut rows = self.result_store();
        self.execute(snapshot, params, &[], Sink::Store(&mut rows));
        rows.read(read)
    }
}

impl TupleStore {
    /// Gives each row to `read`.
    pub fn read<T>(&self, mut read: impl FnMut(&Row) -> T) -> Vec<T> {
        let mut values = Vec::new();
        self.each(|slot| values.push(read(&Row { slot, columns: None })));
        values
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: the source was saved by `prepare` and is dropped once; running executions hold their own reference.
        unsafe { pg_sys::DropCachedPlan(self.source) };
    }
}

unsafe fn environment(relations: &[Named]) -> *mut pg_sys::QueryEnvironment {
    // SAFETY: allocated in the current memory context, which outlives the statement; the tuplestores outlive it by
    // their borrow.
    unsafe {
        let environment = pg_sys::create_queryEnv();
        for relation in relations {
            let enr: *mut pg_sys::EphemeralNamedRelationData =
                pg_sys::palloc0(size_of::<pg_sys::EphemeralNamedRelationData>()).cast();
            let name = CString::new(relation.name.as_str()).expect("a generated name has no NUL");
            (*enr).md.name = pg_sys::pstrdup(name.as_ptr());
            (*enr).md.reliddesc = pg_sys::InvalidOid;
            (*enr).md.tupdesc = relation.store.descriptor();
            (*enr).md.enrtype = pg_sys::EphemeralNameRelationType::ENR_NAMED_TUPLESTORE;
            (*enr).md.enrtuples = relation.store.rows() as f64;
            (*enr).reldata = relation.store.as_ptr().cast();
            pg_sys::register_ENR(environment, enr);
        }
        environment
    }
}

unsafe fn param_list(params: &[Param]) -> pg_sys::ParamListInfo {
    if params.is_empty() {
        return null_mut();
    }
    // SAFETY: makeParamList allocates room for that many parameters.
    unsafe {
        let list = pg_sys::makeParamList(params.len() as i32);
        for (index, param) in params.iter().enumerate() {
            let slot = (*list).params.as_mut_ptr().add(index);
            (*slot).value = param.datum.unwrap_or(Datum::from(0));
            (*slot).isnull = param.datum.is_none();
            (*slot).pflags = pg_sys::PARAM_FLAG_CONST as u16;
            (*slot).ptype = param.ty;
        }
        list
    }
}

unsafe extern "C-unwind" {
    /// `executor/tstoreReceiver.h`; sets fields only.
    fn SetTuplestoreDestReceiverParams(
        receiver: *mut pg_sys::DestReceiver,
        store: *mut pg_sys::Tuplestorestate,
        context: pg_sys::MemoryContext,
        detoast: bool,
        descriptor: pg_sys::TupleDesc,
        mismatch: *const std::ffi::c_char,
    );
}

unsafe fn receiver(sink: Sink) -> *mut pg_sys::DestReceiver {
    // SAFETY: a receiver of the kind whose parameters are then set; the store outlives the execution by its borrow.
    unsafe {
        match sink {
            Sink::Discard => pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestNone),
            Sink::Store(store) => {
                let receiver = pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestTuplestore);
                SetTuplestoreDestReceiverParams(
                    receiver,
                    store.as_ptr(),
                    pg_sys::CurrentMemoryContext,
                    false,
                    null_mut(),
                    std::ptr::null(),
                );
                receiver
            }
        }
    }
}

/// A memory context for the time of one call. At an ERROR it is left to the transaction's end, since what the executor
/// holds there is released by resource owners first.
pub(super) struct Work(pg_sys::MemoryContext);

impl Work {
    pub(super) fn new() -> Work {
        // SAFETY: a child of the current context.
        Work(unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"pg_trickle statement".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        })
    }

    /// Runs `body` with this as the current memory context, then frees it.
    pub(super) fn run<T>(&mut self, body: impl FnOnce() -> T) -> T {
        // SAFETY: the caller's context is put back before ours is deleted. An ERROR resets the current context itself.
        unsafe {
            let caller = pg_sys::MemoryContextSwitchTo(self.0);
            let value = body();
            pg_sys::MemoryContextSwitchTo(caller);
            pg_sys::MemoryContextDelete(self.0);
            value
        }
    }
}
