//! `pgtrickle.pgt_stream_tables` and `pgtrickle.pgt_programs`: one stream table each.

use super::{execute, query};
use crate::error::{Error, Result};
use crate::pg::executor::{Param, Row};
use crate::pg::object;
use pgrx::datum::TimestampWithTimeZone;
use pgtrickle_engine::frontier::Frontier;
use pgtrickle_engine::sql::QualifiedName;

/// A refresh mode as the user asked for it. AUTO chooses per refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Auto,
    Full,
    Differential,
}

impl Mode {
    /// Parses a mode, whatever its case; INCREMENTAL is DIFFERENTIAL.
    ///
    /// # Errors
    /// `InvalidArgument` (22023) for any other word.
    pub fn parse(text: &str) -> Result<Mode> {
        match text.to_ascii_uppercase().as_str() {
            "AUTO" => Ok(Mode::Auto),
            "FULL" => Ok(Mode::Full),
            "DIFFERENTIAL" | "INCREMENTAL" => Ok(Mode::Differential),
            "IMMEDIATE" => Err(Error::InvalidArgument {
                message: "refresh_mode IMMEDIATE is not available in this version".into(),
                hint: "Use AUTO, FULL or DIFFERENTIAL with a short schedule such as '100ms'.".into(),
            }),
            _ => Err(Error::InvalidArgument {
                message: format!("unknown refresh_mode \"{text}\""),
                hint: "Use one of AUTO, FULL, DIFFERENTIAL.".into(),
            }),
        }
    }

    /// As `pgt_stream_tables.refresh_mode` shows it: AUTO resolved by what the query allows.
    pub fn stored(self, only_full: bool) -> Mode {
        match self {
            _ if only_full => Mode::Full,
            Mode::Auto => Mode::Differential,
            mode => mode,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Auto => "AUTO",
            Mode::Full => "FULL",
            Mode::Differential => "DIFFERENTIAL",
        }
    }
}

/// Where a stream table stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Initializing,
    Active,
    Suspended,
    Error,
}

impl Status {
    /// # Errors
    /// `InvalidArgument` (22023) for an unknown word.
    pub fn parse(text: &str) -> Result<Status> {
        match text.to_ascii_uppercase().as_str() {
            "INITIALIZING" => Ok(Status::Initializing),
            "ACTIVE" => Ok(Status::Active),
            "SUSPENDED" => Ok(Status::Suspended),
            "ERROR" => Ok(Status::Error),
            _ => Err(Error::InvalidArgument {
                message: format!("unknown status \"{text}\""),
                hint: "Use one of INITIALIZING, ACTIVE, SUSPENDED, ERROR.".into(),
            }),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Status::Initializing => "INITIALIZING",
            Status::Active => "ACTIVE",
            Status::Suspended => "SUSPENDED",
            Status::Error => "ERROR",
        }
    }
}

/// A row of both tables.
#[derive(Clone, Debug)]
pub struct StreamTable {
    pub id: i64,
    /// 0: there is none, the row came with a restored dump.
    pub relid: u32,
    /// The relation's name now; the one that it had, when it was dropped.
    pub name: QualifiedName,
    pub query: String,
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
}

impl StreamTable {
    /// `schema.name` as people read it.
    pub fn shown(&self) -> String {
        format!("{}.{}", self.name.schema.0, self.name.name.0)
    }
}

/// The columns of [`StreamTable`], in the order in which [`read`] takes them.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT s.pgt_id, s.pgt_relid, s.pgt_schema, s.pgt_name, s.defining_query, s.schedule, s.requested_mode, ",
            "s.status, s.is_populated, s.needs_reinit, s.frontier::text, s.consecutive_errors, s.last_refresh_at, ",
            "s.data_timestamp, s.effective_refresh_mode, s.refusal, s.types_version FROM pgtrickle.pgt_stream_tables s ",
            $rest
        )
    };
}

fn read(row: &Row) -> Result<StreamTable> {
    let text = |index| row.required::<String>(index);
    let frontier = row.get::<String>(10).map(|json| {
        serde_json::from_str(&json).map_err(|error| Error::Internal(format!("frontier does not parse: {error}")))
    });
    let relid = row.oid(1).unwrap_or(0);
    Ok(StreamTable {
        id: row.required(0)?,
        relid,
        name: match object::name(relid) {
            Some(name) => name,
            None => QualifiedName::new(text(2)?, text(3)?),
        },
        query: text(4)?,
        schedule: row.get(5),
        mode: Mode::parse(&text(6)?)?,
        status: Status::parse(&text(7)?)?,
        is_populated: row.required(8)?,
        needs_reinit: row.required(9)?,
        frontier: frontier.transpose()?,
        consecutive_errors: row.required(11)?,
        last_refresh_at: row.get(12),
        data_timestamp: row.get(13),
        effective_mode: row.get(14),
        refusal: row.get(15),
        types_version: row.required(16)?,
    })
}

fn one(rows: Vec<Result<StreamTable>>) -> Result<Option<StreamTable>> {
    rows.into_iter().next().transpose()
}

/// Every stream table, by schema and name.
pub fn all() -> Result<Vec<StreamTable>> {
    query(select!("ORDER BY s.pgt_schema, s.pgt_name"), &[], read).into_iter().collect()
}

pub fn by_id(id: i64) -> Result<Option<StreamTable>> {
    one(query(select!("WHERE s.pgt_id = $1"), &[Param::of(id)], read))
}

pub fn by_relid(relid: u32) -> Result<Option<StreamTable>> {
    one(query(select!("WHERE s.pgt_relid = $1"), &[Param::oid(relid)], read))
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
    one(query(select!("WHERE s.pgt_id = $1 FOR UPDATE OF s SKIP LOCKED"), &[Param::of(id)], read))
}

/// The compiled query of a stream table as JSON, and its state tables by stage.
pub fn program(id: i64) -> Result<(String, Vec<u32>)> {
    let sql = "SELECT program, state_relids FROM pgtrickle.pgt_programs WHERE pgt_id = $1";
    let rows = query(sql, &[Param::of(id)], |row| Ok((row.required(0)?, row.required_oids(1)?)));
    rows.into_iter().next().unwrap_or_else(|| Err(Error::Internal(format!("stream table {id} has no program"))))
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
    pub refusal: Option<&'a str>,
    pub has_keyless_source: bool,
}

/// Adds the rows and returns the new `pgt_id`.
pub fn insert(new: &NewStreamTable) -> Result<i64> {
    follow_rename(new.name);
    let stored_mode = new.mode.stored(new.refusal.is_some());
    let ids = query(
        "INSERT INTO pgtrickle.pgt_stream_tables (pgt_relid, pgt_name, pgt_schema, defining_query, original_query, schedule, \
         refresh_mode, requested_mode, refusal, has_keyless_source) \
         VALUES ($1, $2, $3, $4, NULLIF($5, $4), $6, $7, $8, $9, $10) RETURNING pgt_id",
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
        ],
        |row| row.required::<i64>(0),
    );
    let missing = || Err(Error::Internal("no pgt_id was returned".into()));
    let id = ids.into_iter().next().unwrap_or_else(missing)?;
    execute(
        "INSERT INTO pgtrickle.pgt_programs (pgt_id, program) VALUES ($1, $2) RETURNING 1",
        &[Param::of(id), Param::of(new.program)],
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

/// After a refresh: the contents equal the query at `frontier`.
pub fn save_refresh(id: i64, frontier: &Frontier, effective_mode: &str, full_ms: Option<f64>) -> Result<()> {
    let frontier = serde_json::to_string(frontier).map_err(|error| Error::Internal(error.to_string()))?;
    execute(
        "UPDATE pgtrickle.pgt_stream_tables SET frontier = $2::jsonb, effective_refresh_mode = $3, \
         last_full_ms = coalesce($4, last_full_ms), data_timestamp = pg_catalog.clock_timestamp(), \
         last_refresh_at = pg_catalog.clock_timestamp(), is_populated = true, needs_reinit = false, status = 'ACTIVE', \
         consecutive_errors = 0, last_error_message = NULL, last_error_at = NULL WHERE pgt_id = $1 RETURNING 1",
        &[Param::of(id), Param::of(frontier), Param::of(effective_mode), Param::of(full_ms)],
    );
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
