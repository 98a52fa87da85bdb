//! `pgtrickle.pgt_stream_tables` and `pgtrickle.pgt_programs`: one stream table each.
//!
//! What every refresh does, reading a row, locking it and noting what became of it, goes without statements
//! ([`crate::pg::table`]).

use super::words::{Mode, Status};
use super::{execute, known, query};
use crate::error::{Error, Result};
use crate::pg::clock;
use crate::pg::executor::{Param, Row};
use crate::pg::object;
use crate::pg::settings::QuerySettings;
use crate::pg::snapshot::Snapshot;
use crate::pg::table::{self, Key, Locked, Lookup, Table};
use crate::pg::version::Version;
use pgrx::datum::TimestampWithTimeZone;
use pgtrickle_engine::frontier::Frontier;
use pgtrickle_engine::policy::Costs;
use pgtrickle_engine::sql::QualifiedName;
use serde::de::DeserializeOwned;

/// A row of both tables.
#[derive(Clone, Debug)]
pub struct StreamTable {
    pub id: i64,
    /// 0: there is none, the row came with a restored dump.
    pub relid: u32,
    /// The relation's name now; the one that it had, when it was dropped.
    pub name: QualifiedName,
    /// `None`: calculated.
    pub schedule: Option<String>,
    pub mode: Mode,
    pub status: Status,
    pub is_populated: bool,
    pub needs_reinit: bool,
    pub frontier: Option<Frontier>,
    pub consecutive_errors: i32,
    pub last_refresh_at: Option<TimestampWithTimeZone>,
    pub data_timestamp: Option<TimestampWithTimeZone>,
    pub effective_mode: Option<String>,
    /// Why it can only be recomputed.
    pub refusal: Option<String>,
    /// Another one after every change of a type of which the query reads values.
    pub types_version: i32,
    /// What refreshes of an AUTO stream table cost.
    pub costs: Costs,
    /// Which version of the row this is, if it was read by itself.
    pub(super) version: Option<Version>,
}

impl StreamTable {
    /// `schema.name` as people read it.
    pub fn shown(&self) -> String {
        format!("{}.{}", self.name.schema.0, self.name.name.0)
    }
}

/// Declares the columns of [`StreamTable`], in the order in which [`read`] takes them: as a table, and as a statement that ends
/// as its user likes.
macro_rules! columns {
    ($first:literal, $($column:literal),*) => {
        pub(super) static ROWS: Table = Table { name: "pgt_stream_tables", columns: &[$first, $($column),*] };

        macro_rules! select {
            ($rest:literal) => {
                concat!("SELECT s.", $first, $(", s.", $column,)* " FROM pgtrickle.pgt_stream_tables s ", $rest)
            };
        }
    };
}

columns!(
    "pgt_id",
    "pgt_relid",
    "pgt_schema",
    "pgt_name",
    "schedule",
    "requested_mode",
    "status",
    "is_populated",
    "needs_reinit",
    "frontier",
    "consecutive_errors",
    "last_refresh_at",
    "data_timestamp",
    "effective_refresh_mode",
    "refusal",
    "types_version",
    "costs"
);

const ID: usize = 0;
const RELID: usize = 1;

fn read(row: &Row) -> Result<StreamTable> {
    let text = |index| row.required::<String>(index);
    let relid = row.oid(RELID).unwrap_or(0);
    Ok(StreamTable {
        id: row.required(ID)?,
        relid,
        name: match object::name(relid) {
            Some(name) => name,
            None => QualifiedName::new(text(2)?, text(3)?),
        },
        schedule: row.get(4),
        mode: Mode::parse(&text(5)?)?,
        status: Status::parse(&text(6)?)?,
        is_populated: row.required(7)?,
        needs_reinit: row.required(8)?,
        frontier: json(row, 9)?,
        consecutive_errors: row.required(10)?,
        last_refresh_at: row.get(11),
        data_timestamp: row.get(12),
        effective_mode: row.get(13),
        refusal: row.get(14),
        types_version: row.required(15)?,
        costs: json(row, 16)?.unwrap_or_default(),
        version: row.version(),
    })
}

fn json<T: DeserializeOwned>(row: &Row, column: usize) -> Result<Option<T>> {
    let parse = |json: String| {
        serde_json::from_str(&json).map_err(|error| Error::Internal(format!("{json} does not parse: {error}")))
    };
    row.jsonb(column).map(parse).transpose()
}

fn one(rows: Vec<Result<StreamTable>>) -> Result<Option<StreamTable>> {
    rows.into_iter().next().transpose()
}

/// The row with this key, which is what `is` is true for.
fn by_key((column, key): (usize, Key), is: impl Fn(&StreamTable) -> bool) -> Result<Option<StreamTable>> {
    if let Some(table) = known::find(is)? {
        return Ok(Some(table));
    }
    Ok(one(Lookup::new(&ROWS, column, Snapshot::next())?.rows(key, read))?.map(remembered))
}

fn remembered(table: StreamTable) -> StreamTable {
    known::remember(&table);
    table
}

/// Every stream table, by schema and name.
pub fn all() -> Result<Vec<StreamTable>> {
    query(select!("ORDER BY s.pgt_schema, s.pgt_name"), &[], read).into_iter().collect()
}

pub fn by_id(id: i64) -> Result<Option<StreamTable>> {
    by_key((ID, Key::Id(id)), |table| table.id == id)
}

pub fn by_relid(relid: u32) -> Result<Option<StreamTable>> {
    by_key((RELID, Key::Oid(relid)), |table| table.relid == relid)
}

/// The frontiers of the stream tables `ids`, as `snapshot` sees them; `None` for one that has none yet, nothing for one that is
/// not there.
pub(super) fn frontiers(ids: &[i64], snapshot: Snapshot) -> Result<Vec<Option<Frontier>>> {
    static FRONTIERS: Table = Table { name: "pgt_stream_tables", columns: &["pgt_id", "frontier"] };
    let mut lookup = Lookup::new(&FRONTIERS, 0, snapshot)?;
    ids.iter().flat_map(|id| lookup.rows(Key::Id(*id), |row| json(row, 1))).collect()
}

/// The stream table whose relation has this name now, whatever it was called when it was created. One whose relation
/// was dropped is found by the name that it had.
pub fn by_name(name: &QualifiedName) -> Result<Option<StreamTable>> {
    if let Some(relid) = object::oid(name) {
        return by_relid(relid);
    }
    let params = [Param::of(name.schema.0.as_str()), Param::of(name.name.0.as_str())];
    let known = one(query(select!("WHERE s.pgt_schema = $1 AND s.pgt_name = $2"), &params, read))?;
    Ok(known.filter(|table| object::name(table.relid).is_none()))
}

/// Makes way for a stream table with this name, which no relation has: whoever is listed under it was renamed.
fn follow_rename(name: &QualifiedName) {
    execute(
        "UPDATE pgtrickle.pgt_stream_tables s SET pgt_schema = n.nspname, pgt_name = c.relname \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid = s.pgt_relid AND s.pgt_schema = $1 AND s.pgt_name = $2 RETURNING 1",
        &[Param::of(name.schema.0.as_str()), Param::of(name.name.0.as_str())],
    );
}

/// The stream tables that read the relation.
pub fn readers(relid: u32) -> Result<Vec<StreamTable>> {
    let sql = select!(
        "WHERE s.pgt_id IN (SELECT d.pgt_id FROM pgtrickle.pgt_dependencies d WHERE d.source_relid = $1) ORDER BY s.pgt_id"
    );
    query(sql, &[Param::oid(relid)], read).into_iter().collect()
}

/// Whether the relation stores a stream table.
pub fn is_stream_table(relid: u32) -> bool {
    let sql = "SELECT 1 FROM pgtrickle.pgt_stream_tables WHERE pgt_relid = $1";
    !query(sql, &[Param::oid(relid)], |_| ()).is_empty()
}

/// Locks the row until the transaction ends; `None` when another session holds it or it is gone. The columns are as of
/// a snapshot taken now, so what is read after this call is not older.
pub fn lock(id: i64) -> Result<Option<StreamTable>> {
    match table::lock(&ROWS, ID, (Key::Id(id), None), read)? {
        Some(Locked::Now(table)) => Ok(Some(remembered(table?))),
        _ => Ok(None),
    }
}

/// Likewise, when this transaction has `seen` the row before.
pub fn lock_seen(seen: &StreamTable) -> Result<Option<StreamTable>> {
    match table::lock(&ROWS, ID, (Key::Id(seen.id), seen.version), read)? {
        Some(Locked::AsSeen) => Ok(Some(seen.clone())),
        Some(Locked::Now(table)) => Ok(Some(remembered(table?))),
        None => Ok(None),
    }
}

/// The compiled query of a stream table as JSON, and its state tables by stage.
pub fn program(id: i64) -> Result<(String, Vec<u32>)> {
    let sql = "SELECT program, state_relids FROM pgtrickle.pgt_programs WHERE pgt_id = $1";
    let rows = query(sql, &[Param::of(id)], |row| Ok((row.required(0)?, row.required_oids(1)?)));
    rows.into_iter().next().unwrap_or_else(|| Err(no_program(id)))
}

fn no_program(id: i64) -> Error {
    Error::Internal(format!("stream table {id} has no program"))
}

/// The query of a stream table, see `pg::definition`.
#[derive(Clone, Debug)]
pub struct Definition {
    /// As PostgreSQL analysed it.
    pub analysed: String,
    /// The wording that the program was compiled from.
    pub wording: String,
    /// As it printed when it was stored.
    pub printed: String,
    /// What it runs under.
    pub settings: QuerySettings,
}

/// The query of the stream table `id`.
pub fn definition(id: i64) -> Result<Definition> {
    let sql = "SELECT p.definition, p.wording, s.defining_query, s.settings::text \
               FROM pgtrickle.pgt_programs p JOIN pgtrickle.pgt_stream_tables s USING (pgt_id) WHERE p.pgt_id = $1";
    let rows = query(sql, &[Param::of(id)], |row| {
        Ok(Definition {
            analysed: row.required(0)?,
            wording: row.required(1)?,
            printed: row.required(2)?,
            settings: QuerySettings::read(&row.required::<String>(3)?)?,
        })
    });
    rows.into_iter().next().unwrap_or_else(|| Err(no_program(id)))
}

/// The query of the stream table `id` prints as `printed` now, and its program was compiled from this wording.
pub fn save_program(id: i64, printed: &str, program: &str, wording: &str) {
    execute(
        "UPDATE pgtrickle.pgt_programs SET program = $2, wording = $3 WHERE pgt_id = $1 RETURNING 1",
        &[Param::of(id), Param::of(program), Param::of(wording)],
    );
    execute(
        "UPDATE pgtrickle.pgt_stream_tables SET defining_query = $2 WHERE pgt_id = $1 RETURNING 1",
        &[Param::of(id), Param::of(printed)],
    );
}

/// What creation knows of a stream table.
pub struct NewStreamTable<'a> {
    pub relid: u32,
    pub name: &'a QualifiedName,
    pub query: &'a str,
    pub original: &'a str,
    pub schedule: Option<&'a str>,
    pub mode: Mode,
    pub program: &'a str,
    /// [`Definition::analysed`]
    pub definition: &'a str,
    pub wording: &'a str,
    pub settings: &'a QuerySettings,
    pub refusal: Option<&'a str>,
    pub has_keyless_source: bool,
}

/// Adds the rows and returns the new `pgt_id`.
pub fn insert(new: &NewStreamTable) -> Result<i64> {
    follow_rename(new.name);
    let stored_mode = new.mode.stored(new.refusal.is_some());
    let ids = query(
        "INSERT INTO pgtrickle.pgt_stream_tables (pgt_relid, pgt_name, pgt_schema, defining_query, original_query, schedule, \
         refresh_mode, requested_mode, refusal, has_keyless_source, settings) \
         VALUES ($1, $2, $3, $4, NULLIF($5, $4), $6, $7, $8, $9, $10, $11::jsonb) RETURNING pgt_id",
        &[
            Param::oid(new.relid),
            Param::of(new.name.name.0.as_str()),
            Param::of(new.name.schema.0.as_str()),
            Param::of(new.query),
            Param::of(new.original),
            Param::of(new.schedule.map(String::from)),
            Param::of(stored_mode.as_str()),
            Param::of(new.mode.as_str()),
            Param::of(new.refusal.map(String::from)),
            Param::of(new.has_keyless_source),
            Param::of(new.settings.stored()),
        ],
        |row| row.required::<i64>(0),
    );
    let missing = || Err(Error::Internal("no pgt_id was returned".into()));
    let id = ids.into_iter().next().unwrap_or_else(missing)?;
    execute(
        "INSERT INTO pgtrickle.pgt_programs (pgt_id, program, definition, wording) VALUES ($1, $2, $3, $4) RETURNING 1",
        &[Param::of(id), Param::of(new.program), Param::of(new.definition), Param::of(new.wording)],
    );
    Ok(id)
}

/// Removes the stream table's rows; dependencies and program go with them. Whoever is refreshing it holds its row, so the
/// history is complete when that is gone.
pub fn remove(id: i64) {
    execute("DELETE FROM pgtrickle.pgt_stream_tables WHERE pgt_id = $1 RETURNING 1", &[Param::of(id)]);
    execute("DELETE FROM pgtrickle.pgt_refresh_history WHERE pgt_id = $1 RETURNING 1", &[Param::of(id)]);
}

pub fn set_state_tables(id: i64, relids: &[u32]) {
    execute(
        "UPDATE pgtrickle.pgt_programs SET state_relids = $2 WHERE pgt_id = $1 RETURNING 1",
        &[Param::of(id), Param::oids(relids)],
    );
}

/// After a refresh, by this transaction, which holds the row's lock: the contents equal the query at `frontier`. Without `costs`,
/// nothing was learned.
pub fn save_refresh(
    table: &StreamTable,
    frontier: &Frontier,
    effective_mode: &str,
    costs: Option<&Costs>,
) -> Result<()> {
    static REFRESHED: Table = Table {
        name: "pgt_stream_tables",
        columns: &[
            "pgt_id",
            "frontier",
            "effective_refresh_mode",
            "data_timestamp",
            "last_refresh_at",
            "is_populated",
            "needs_reinit",
            "status",
            "consecutive_errors",
            "last_error_message",
            "last_error_at",
            "costs",
            "last_full_ms",
        ],
    };
    let internal = |error: serde_json::Error| Error::Internal(error.to_string());
    let text = serde_json::to_string(frontier).map_err(internal)?;
    let now = clock::now();
    let mut values = vec![
        (1, Param::jsonb(&text)),
        (2, Param::of(effective_mode)),
        (3, Param::of(now)),
        (4, Param::of(now)),
        (5, Param::of(true)),
        (6, Param::of(false)),
        (7, Param::of(Status::Active.as_str())),
        (8, Param::of(0)),
        (9, Param::of(None::<String>)),
        (10, Param::of(None::<TimestampWithTimeZone>)),
    ];
    if let Some(costs) = costs {
        values.push((11, Param::jsonb(&serde_json::to_string(costs).map_err(internal)?)));
        values.push((12, Param::of(costs.full_ms())));
    }
    if let Some(version) = table::update(&REFRESHED, 0, (Key::Id(table.id), table.version), &values)? {
        let saved = StreamTable {
            frontier: Some(frontier.clone()),
            effective_mode: Some(effective_mode.to_owned()),
            data_timestamp: Some(now),
            last_refresh_at: Some(now),
            is_populated: true,
            needs_reinit: false,
            status: Status::Active,
            consecutive_errors: 0,
            costs: costs.copied().unwrap_or(table.costs),
            version: Some(version),
            ..table.clone()
        };
        known::replace(table, saved);
    }
    Ok(())
}

/// Sets the status; ACTIVE also forgets past errors.
pub fn set_status(id: i64, status: Status) {
    execute(
        "UPDATE pgtrickle.pgt_stream_tables SET status = $2, updated_at = pg_catalog.now(), \
         consecutive_errors = CASE WHEN $2 = 'ACTIVE' THEN 0 ELSE consecutive_errors END, \
         last_error_message = CASE WHEN $2 = 'ACTIVE' THEN NULL ELSE last_error_message END, \
         last_error_at = CASE WHEN $2 = 'ACTIVE' THEN NULL ELSE last_error_at END WHERE pgt_id = $1 RETURNING 1",
        &[Param::of(id), Param::of(status.as_str())],
    );
}

/// Sets the schedule; `None` is calculated.
pub fn set_schedule(id: i64, schedule: Option<&str>) {
    execute(
        "UPDATE pgtrickle.pgt_stream_tables SET schedule = $2, updated_at = pg_catalog.now() WHERE pgt_id = $1 RETURNING 1",
        &[Param::of(id), Param::of(schedule.map(String::from))],
    );
}

pub fn set_mode(id: i64, requested: Mode, stored: Mode) {
    execute(
        "UPDATE pgtrickle.pgt_stream_tables SET requested_mode = $2, refresh_mode = $3, updated_at = pg_catalog.now() \
         WHERE pgt_id = $1 RETURNING 1",
        &[Param::of(id), Param::of(requested.as_str()), Param::of(stored.as_str())],
    );
}
