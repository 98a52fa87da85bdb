//! Create, alter, refresh, resume, drop.

use super::arguments::{
    absent, existing, maintained, name as parse_name, only, owned, required, schedule as parse_schedule,
};
use crate::catalog::{self, Initiator, Mode, Status};
use crate::error::{Error, Result};
use crate::import::import;
use crate::monitor::advice;
use crate::pg::commit::catalog_changed_at_commit;
use crate::pg::object;
use crate::pg::report::Report;
use crate::refresh::{self, Definition, Outcome};

use pgrx::prelude::*;

/// Options of the create functions that this version has one behaviour for.
struct Fixed<'a> {
    diamond_consistency: Option<&'a str>,
    diamond_schedule_policy: Option<&'a str>,
    cdc_mode: Option<&'a str>,
    append_only: bool,
    pooler_compatibility_mode: bool,
    partition_by: Option<&'a str>,
    max_differential_joins: Option<i32>,
    max_delta_fraction: Option<f64>,
}

impl Fixed<'_> {
    fn check(&self) -> Result<()> {
        only("diamond_consistency", self.diamond_consistency, &["atomic"])?;
        only("diamond_schedule_policy", self.diamond_schedule_policy, &["fastest"])?;
        only("cdc_mode", self.cdc_mode, &["auto", "trigger"])?;
        absent("append_only", self.append_only.then_some(true))?;
        absent("pooler_compatibility_mode", self.pooler_compatibility_mode.then_some(true))?;
        absent("partition_by", self.partition_by)?;
        absent("max_differential_joins", self.max_differential_joins.filter(|limit| *limit != 0))?;
        absent("max_delta_fraction", self.max_delta_fraction.filter(|limit| *limit != 0.0))
    }
}

/// Declares SQL functions that take everything there is to say about a new stream table, from one list of arguments. Each
/// hands it to the function after the arrow.
macro_rules! creators {
    ($($(#[$doc:meta])* $function:ident => $create:path;)*) => {$(
        $(#[$doc])*
        #[pg_extern(schema = "pgtrickle")]
        #[expect(clippy::too_many_arguments, reason = "a fixed SQL signature")]
        fn $function(
            name: Option<&str>,
            query: Option<&str>,
            schedule: default!(Option<&str>, "'calculated'"),
            refresh_mode: default!(Option<&str>, "'AUTO'"),
            initialize: default!(bool, "true"),
            diamond_consistency: default!(Option<&str>, "NULL"),
            diamond_schedule_policy: default!(Option<&str>, "NULL"),
            cdc_mode: default!(Option<&str>, "NULL"),
            append_only: default!(bool, "false"),
            pooler_compatibility_mode: default!(bool, "false"),
            partition_by: default!(Option<&str>, "NULL"),
            max_differential_joins: default!(Option<i32>, "NULL"),
            max_delta_fraction: default!(Option<f64>, "NULL"),
        ) -> std::result::Result<(), Report> {
            let fixed = Fixed {
                diamond_consistency,
                diamond_schedule_policy,
                cdc_mode,
                append_only,
                pooler_compatibility_mode,
                partition_by,
                max_differential_joins,
                max_delta_fraction,
            };
            Ok($create(Creation { name, query, schedule, mode: refresh_mode, initialize, fixed })?)
        }
    )*};
}

creators! {
    /// Creates a stream table that stays equal to `query`, and fills it unless `initialize` is false.
    ///
    /// `schedule`: a duration such as `'1s'` or `'500ms'` (how often a busy table is refreshed at most), cron, or
    /// `'calculated'`. `refresh_mode`: AUTO, FULL or DIFFERENTIAL.
    create_stream_table => create;
    /// As `create_stream_table`; when the name is a stream table's already, says so and changes nothing.
    create_stream_table_if_not_exists => create_if_not_exists;
}

/// The arguments of the create functions, as given.
struct Creation<'a> {
    name: Option<&'a str>,
    query: Option<&'a str>,
    schedule: Option<&'a str>,
    mode: Option<&'a str>,
    initialize: bool,
    fixed: Fixed<'a>,
}

fn create_if_not_exists(creation: Creation) -> Result<()> {
    if let Some(table) = catalog::by_name(&parse_name(creation.name)?)? {
        pgrx::info!("stream table {} already exists, skipping", table.shown());
        return Ok(());
    }
    create(creation)
}

fn create(creation: Creation) -> Result<()> {
    refuse_recovery()?;
    let name = parse_name(creation.name)?;
    let query = required("query", creation.query)?;
    let schedule = parse_schedule(required("schedule", creation.schedule)?)?;
    let mode = Mode::parse(required("refresh_mode", creation.mode)?)?;
    creation.fixed.check()?;
    refresh::refuse_taken_name(&name)?;
    let imported = import(query)?;
    let shown = format!("{}.{}", name.schema.0, name.name.0);
    for warning in advice::warnings(&imported, mode) {
        pgrx::warning!("{warning}");
    }
    if let (Err(error), Mode::Auto) = (&imported.tree, mode) {
        pgrx::notice!("stream table {shown} will be refreshed in FULL mode: {}", error.refusal());
    }
    refresh::create(Definition { name, query, imported, schedule, mode, initialize: creation.initialize })?;
    catalog_changed_at_commit();
    pgrx::info!("stream table {shown} created");
    Ok(())
}

/// Refreshes the stream table now, in this transaction.
#[pg_extern(schema = "pgtrickle", strict)]
fn refresh_stream_table(name: &str) -> std::result::Result<(), Report> {
    refuse_recovery()?;
    let table = existing(&parse_name(Some(name))?)?;
    maintained(&table)?;
    match refresh::refresh_seen(&table, Initiator::Manual)? {
        Outcome::Busy => {
            pgrx::notice!("refresh skipped: {} — another refresh is already in progress", table.shown());
        }
        Outcome::Unchanged => pgrx::notice!("refresh skipped for \"{}\": no changes detected", table.shown()),
        Outcome::Newer => {
            pgrx::notice!(
                "refresh skipped for \"{}\": its contents are newer than this transaction's snapshot",
                table.shown()
            );
        }
        Outcome::Refreshed { .. } => {}
    }
    Ok(())
}

/// Changes what is given and leaves the rest. `status => 'ACTIVE'` also forgets past errors.
#[pg_extern(schema = "pgtrickle")]
#[expect(clippy::too_many_arguments, reason = "a fixed SQL signature")]
fn alter_stream_table(
    name: Option<&str>,
    query: default!(Option<&str>, "NULL"),
    schedule: default!(Option<&str>, "NULL"),
    refresh_mode: default!(Option<&str>, "NULL"),
    status: default!(Option<&str>, "NULL"),
    diamond_consistency: default!(Option<&str>, "NULL"),
    diamond_schedule_policy: default!(Option<&str>, "NULL"),
    cdc_mode: default!(Option<&str>, "NULL"),
    append_only: default!(Option<bool>, "NULL"),
    pooler_compatibility_mode: default!(Option<bool>, "NULL"),
    tier: default!(Option<&str>, "NULL"),
    fuse: default!(Option<&str>, "NULL"),
    fuse_ceiling: default!(Option<i64>, "NULL"),
    fuse_sensitivity: default!(Option<i32>, "NULL"),
    partition_by: default!(Option<&str>, "NULL"),
    max_differential_joins: default!(Option<i32>, "NULL"),
    max_delta_fraction: default!(Option<f64>, "NULL"),
) -> std::result::Result<(), Report> {
    absent("query", query.map(|_| "…"))?;
    only("tier", tier, &["hot"])?;
    only("fuse", fuse, &["off"])?;
    absent("fuse_ceiling", fuse_ceiling)?;
    absent("fuse_sensitivity", fuse_sensitivity)?;
    Fixed {
        diamond_consistency,
        diamond_schedule_policy,
        cdc_mode,
        append_only: append_only.unwrap_or(false),
        pooler_compatibility_mode: pooler_compatibility_mode.unwrap_or(false),
        partition_by,
        max_differential_joins,
        max_delta_fraction,
    }
    .check()?;
    Ok(alter(name, schedule, refresh_mode, status)?)
}

fn alter(name: Option<&str>, schedule: Option<&str>, mode: Option<&str>, status: Option<&str>) -> Result<()> {
    refuse_recovery()?;
    let table = owned(&parse_name(name)?)?;
    let schedule = schedule.map(parse_schedule).transpose()?;
    let mode = mode.map(Mode::parse).transpose()?;
    let status = status.map(Status::parse).transpose()?;
    if let (Some(Mode::Differential), Some(refusal)) = (mode, &table.refusal) {
        return Err(Error::Unsupported { construct: table.shown(), reason: refusal.clone() });
    }
    if let Some(schedule) = schedule {
        catalog::set_schedule(table.id, schedule.as_deref());
    }
    if let Some(mode) = mode {
        catalog::set_mode(table.id, mode, mode.stored(table.refusal.is_some()));
    }
    match status {
        Some(status) => catalog::set_status(table.id, status),
        // An alteration that succeeds gives a table in error another chance.
        None if table.status == Status::Error => catalog::set_status(table.id, Status::Active),
        None => {}
    }
    catalog_changed_at_commit();
    Ok(())
}

/// Puts a stream table that is SUSPENDED or in ERROR back to work.
#[pg_extern(schema = "pgtrickle", strict)]
fn resume_stream_table(name: &str) -> std::result::Result<(), Report> {
    refuse_recovery()?;
    let table = owned(&parse_name(Some(name))?)?;
    if !matches!(table.status, Status::Suspended | Status::Error) {
        return Err(Error::InvalidArgument {
            message: format!("stream table {} is {}, not SUSPENDED or ERROR", table.shown(), table.status.as_str()),
            hint: "There is nothing to resume.".into(),
        }
        .into());
    }
    catalog::set_status(table.id, Status::Active);
    catalog_changed_at_commit();
    Ok(())
}

/// Drops the stream table; with `cascade`, also the stream tables that read it.
#[pg_extern(schema = "pgtrickle", strict)]
fn drop_stream_table(name: &str, cascade: default!(bool, "false")) -> std::result::Result<(), Report> {
    refuse_recovery()?;
    let table = owned(&parse_name(Some(name))?)?;
    let readers = catalog::readers(table.relid)?;
    if !cascade && !readers.is_empty() {
        let dependents = readers.iter().map(|reader| reader.shown()).collect::<Vec<_>>().join(", ");
        return Err(Error::HasDependents { name: table.shown(), dependents }.into());
    }
    drop_with_readers(table.id, table.relid)?;
    catalog_changed_at_commit();
    Ok(())
}

/// Readers first. Each must be the caller's own.
fn drop_with_readers(id: i64, relid: u32) -> Result<()> {
    for reader in catalog::readers(relid)? {
        // A reader of two members of the cascade is gone when the second meets it.
        if catalog::by_id(reader.id)?.is_none() {
            continue;
        }
        if !object::is_owned_by_caller(reader.relid) {
            return Err(Error::NotOwner(reader.shown()));
        }
        drop_with_readers(reader.id, reader.relid)?;
    }
    refresh::drop_table(id)
}

fn refuse_recovery() -> Result<()> {
    if object::in_recovery() { Err(Error::InRecovery) } else { Ok(()) }
}
