//! Which stream tables read values of which types, by PostgreSQL's own dependencies.

use super::{execute, query_at};
use crate::error::Result;
use crate::pg::executor::Param;
use crate::pg::snapshot::Snapshot;

/// The type, and those whose values hold values of it: arrays, domains, ranges, rows of tables and other composite types.
pub fn containers_of(ty: u32) -> Result<Vec<u32>> {
    let sql = "WITH RECURSIVE changed (oid) AS ( \
                 SELECT $1 UNION SELECT coalesce(r.reltype, d.objid) FROM changed c JOIN pg_catalog.pg_depend d \
                 ON d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.refobjid = c.oid \
                 LEFT JOIN pg_catalog.pg_class r ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND r.oid = d.objid \
                 WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass OR r.reltype <> 0) \
               SELECT c.oid FROM changed c";
    read(sql, &[Param::oid(ty)], |row| row.required_oid(0))
}

/// The tables that were made of the type of the composite type `relation`.
pub fn tables_of_type(relation: u32) -> Result<Vec<u32>> {
    let sql = "SELECT t.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_depend d \
               ON d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.refobjid = c.reltype \
               AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
               JOIN pg_catalog.pg_class t ON t.oid = d.objid AND t.reloftype = c.reltype WHERE c.oid = $1 AND c.relkind = 'c'";
    read(sql, &[Param::oid(relation)], |row| row.required_oid(0))
}

/// The stream tables whose queries read values of one of `types`.
pub fn users_of_types(types: &[u32]) -> Result<Vec<i64>> {
    let sql = "SELECT DISTINCT s.pgt_id \
               FROM pg_catalog.pg_depend d JOIN pgtrickle.pgt_stream_tables s ON s.pgt_relid = d.objid \
               WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0 \
               AND d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.refobjid = ANY ($1)";
    read(sql, &[Param::oids(types)], |row| row.required(0))
}

/// The stream tables whose queries search text by a configuration or a dictionary that they name.
pub fn text_searchers() -> Result<Vec<i64>> {
    let sql = "SELECT pgt_id FROM pgtrickle.pgt_stream_tables \
               WHERE types_used && '{pg_catalog.regconfig,pg_catalog.regdictionary}'";
    read(sql, &[], |row| row.required(0))
}

/// The tables of the stream tables `ids` that have a column of one of `types`, and whether it is the stream table itself.
pub fn stored_with(ids: &[i64], types: &[u32]) -> Result<Vec<(u32, bool)>> {
    let sql = "SELECT DISTINCT t.relid, t.shown FROM ( \
                 SELECT s.pgt_id, s.pgt_relid, true FROM pgtrickle.pgt_stream_tables s \
                 UNION ALL SELECT p.pgt_id, pg_catalog.unnest(p.state_relids), false FROM pgtrickle.pgt_programs p \
                 UNION ALL SELECT d.pgt_id, d.snapshot_relid, false FROM pgtrickle.pgt_dependencies d) AS t (id, relid, shown) \
               WHERE t.id = ANY ($1) AND EXISTS (SELECT FROM pg_catalog.pg_depend d \
                 WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = t.relid AND d.objsubid > 0 \
                 AND d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.refobjid = ANY ($2)) ORDER BY 1";
    let params = [Param::of(ids.to_vec()), Param::oids(types)];
    read(sql, &params, |row| Ok((row.required_oid(0)?, row.required(1)?)))
}

/// Notes what the types of the query of the stream table `id` are called.
pub fn set_types(id: i64, names: &[String]) {
    execute(
        "UPDATE pgtrickle.pgt_stream_tables SET types_used = $2 WHERE pgt_id = $1 RETURNING 1",
        &[Param::of(id), Param::of(names.to_vec())],
    );
}

/// The next refresh of these stream tables is full, with statements made anew. Waits for refreshes of them that are under way.
pub fn retype(ids: &[i64]) {
    let snapshot = Snapshot::latest().advanced();
    query_at(
        Some(&snapshot),
        "UPDATE pgtrickle.pgt_stream_tables SET needs_reinit = true, types_version = types_version + 1, \
         updated_at = pg_catalog.now() WHERE pgt_id = ANY ($1) RETURNING 1",
        &[Param::of(ids.to_vec())],
        |_| (),
    );
}

/// What the queries of these stream tables name may have other names: whoever refreshes them looks again. Waits for refreshes of
/// them that are under way.
pub fn look_again(ids: &[i64]) {
    let snapshot = Snapshot::latest().advanced();
    query_at(
        Some(&snapshot),
        "UPDATE pgtrickle.pgt_stream_tables SET types_version = types_version + 1 WHERE pgt_id = ANY ($1) RETURNING 1",
        &[Param::of(ids.to_vec())],
        |_| (),
    );
}

/// Every stream table.
pub fn all_ids() -> Result<Vec<i64>> {
    read("SELECT pgt_id FROM pgtrickle.pgt_stream_tables ORDER BY 1", &[], |row| row.required(0))
}

/// The stream tables whose queries read `relation`.
pub fn readers_now(relation: u32) -> Result<Vec<i64>> {
    let sql = "SELECT pgt_id FROM pgtrickle.pgt_dependencies WHERE source_relid = $1 ORDER BY 1";
    read(sql, &[Param::oid(relation)], |row| row.required(0))
}

fn read<T>(
    sql: &'static str,
    params: &[Param],
    row: impl FnMut(&crate::pg::executor::Row) -> Result<T>,
) -> Result<Vec<T>> {
    let snapshot = Snapshot::latest().advanced();
    query_at(Some(&snapshot), sql, params, row).into_iter().collect()
}
