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

/// A stream table whose query reads values of a type.
#[derive(Clone, Debug)]
pub struct TypeUser {
    pub pgt_id: i64,
    pub ty: u32,
    /// The stream table, as `schema.name`.
    pub shown: String,
    /// Its query, as PostgreSQL prints it.
    pub query: String,
    /// It has a program.
    pub compiled: bool,
    /// What the types of the query are called.
    pub names: Vec<String>,
}

/// The stream tables whose queries read values of one of `types`.
pub fn users_of_types(types: &[u32]) -> Result<Vec<TypeUser>> {
    let sql = "SELECT s.pgt_id, d.refobjid, s.pgt_schema || '.' || s.pgt_name, s.defining_query, s.refusal IS NULL, \
                 coalesce(s.types_used, '{}') \
               FROM pg_catalog.pg_depend d JOIN pgtrickle.pgt_stream_tables s ON s.pgt_relid = d.objid \
               WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0 \
               AND d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.refobjid = ANY ($1)";
    read(sql, &[Param::oids(types)], |row| {
        Ok(TypeUser {
            pgt_id: row.required(0)?,
            ty: row.required_oid(1)?,
            shown: row.required(2)?,
            query: row.required(3)?,
            compiled: row.required(4)?,
            names: row.required(5)?,
        })
    })
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

fn read<T>(
    sql: &'static str,
    params: &[Param],
    row: impl FnMut(&crate::pg::executor::Row) -> Result<T>,
) -> Result<Vec<T>> {
    let snapshot = Snapshot::latest().advanced();
    query_at(Some(&snapshot), sql, params, row).into_iter().collect()
}
