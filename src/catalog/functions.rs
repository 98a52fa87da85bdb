//! Which stream tables call which functions, by PostgreSQL's own dependencies.

use super::{execute, query, query_at};
use crate::error::Result;
use crate::pg::executor::Param;
use crate::pg::snapshot::Snapshot;

/// A function that a stream table calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CalledFunction {
    pub oid: u32,
    /// The query itself calls it; the others are called by those.
    pub direct: bool,
}

/// The functions that the stream table stored in `relid` calls, and those that these are declared to call: what aggregates
/// are made of, and what SQL functions with a parsed body name.
pub fn functions_of(relid: u32) -> Result<Vec<CalledFunction>> {
    let sql = "WITH RECURSIVE called (oid, direct) AS ( \
                 SELECT d.refobjid, true FROM pg_catalog.pg_depend d \
                 WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = $1 \
                 AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
               UNION \
                 SELECT d.refobjid, false FROM called c JOIN pg_catalog.pg_depend d \
                 ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = c.oid \
                 AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass) \
               SELECT c.oid, pg_catalog.bool_or(c.direct) FROM called c GROUP BY c.oid";
    query(sql, &[Param::oid(relid)], |row| Ok(CalledFunction { oid: row.required_oid(0)?, direct: row.required(1)? }))
        .into_iter()
        .collect()
}

/// The function, and those that are declared to call it.
pub fn callers_of(function: u32) -> Result<Vec<u32>> {
    let sql = "WITH RECURSIVE changed (oid) AS ( \
                 SELECT $1 UNION SELECT d.objid FROM changed c JOIN pg_catalog.pg_depend d \
                 ON d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refobjid = c.oid \
                 AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass) \
               SELECT c.oid FROM changed c";
    query(sql, &[Param::oid(function)], |row| row.required_oid(0)).into_iter().collect()
}

/// The stream tables whose queries call one of `functions`, as of now.
pub fn users_of(functions: &[u32]) -> Result<Vec<i64>> {
    let sql = "SELECT DISTINCT s.pgt_id \
               FROM pg_catalog.pg_depend d JOIN pgtrickle.pgt_stream_tables s ON s.pgt_relid = d.objid \
               WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
               AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refobjid = ANY ($1)";
    let snapshot = Snapshot::latest().advanced();
    query_at(Some(&snapshot), sql, &[Param::oids(functions)], |row| row.required(0)).into_iter().collect()
}

/// Notes what the query of the stream table `id` calls its functions.
pub fn set_functions(id: i64, names: &[String]) {
    execute(
        "UPDATE pgtrickle.pgt_stream_tables SET functions_used = $2 WHERE pgt_id = $1 RETURNING 1",
        &[Param::of(id), Param::of(names.to_vec())],
    );
}

/// The next refresh of these stream tables is full. Waits for refreshes of them that are under way.
pub fn reinitialise(ids: &[i64]) {
    let snapshot = Snapshot::latest().advanced();
    query_at(
        Some(&snapshot),
        "UPDATE pgtrickle.pgt_stream_tables SET needs_reinit = true, updated_at = pg_catalog.now() \
         WHERE pgt_id = ANY ($1) RETURNING 1",
        &[Param::of(ids.to_vec())],
        |_| (),
    );
}
