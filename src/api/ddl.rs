//! What the event triggers call.

use crate::catalog;
use crate::cdc;
use crate::pg::commit::catalog_changed_at_commit;
use crate::pg::{Oid, report::Report};
use crate::refresh;
use pgrx::prelude::*;

/// The table may have got or lost parents or children: those of a captured source are captured, and its readers told of their rows.
#[pg_extern(schema = "pgtrickle", strict)]
fn _family_changed(relation: Oid) -> std::result::Result<(), Report> {
    Ok(cdc::family_changed(relation.to_u32())?)
}

/// The partition or child `member` of the source was dropped: its readers recompute, unless they were told of its rows.
#[pg_extern(schema = "pgtrickle", strict)]
fn _member_dropped(source: Oid, member: Oid) {
    cdc::member_dropped(source.to_u32(), member.to_u32());
}

/// The function was created, replaced or altered: the stream tables that call it recompute.
#[pg_extern(schema = "pgtrickle", strict)]
fn _function_changed(function: Oid) -> std::result::Result<(), Report> {
    Ok(cdc::function_changed(function.to_u32())?)
}

/// The rows of the relation, or of a composite type, have other columns: the stream tables that read them recompute.
#[pg_extern(schema = "pgtrickle", strict)]
fn _rows_changed(relation: Oid) -> std::result::Result<(), Report> {
    cdc::columns_altered(relation.to_u32())?;
    Ok(cdc::rows_changed(relation.to_u32())?)
}

/// The type was altered: the queries that read its values may name it otherwise.
#[pg_extern(schema = "pgtrickle", strict)]
fn _type_altered(ty: Oid) -> std::result::Result<(), Report> {
    Ok(cdc::type_altered(ty.to_u32())?)
}

/// A configuration or a dictionary of text search was altered: the stream tables that search by one recompute.
#[pg_extern(schema = "pgtrickle")]
fn _text_search_changed() -> std::result::Result<(), Report> {
    Ok(cdc::text_search_changed()?)
}

/// The view was altered: the stream tables that read it recompute.
#[pg_extern(schema = "pgtrickle", strict)]
fn _view_altered(view: Oid) -> std::result::Result<(), Report> {
    Ok(cdc::view_altered(view.to_u32())?)
}

/// Something that queries name may have another name: they are looked at again.
#[pg_extern(schema = "pgtrickle")]
fn _names_changed() -> std::result::Result<(), Report> {
    Ok(cdc::names_changed()?)
}

/// The relation was dropped: what is left of the stream table that it stored goes too.
#[pg_extern(schema = "pgtrickle", strict)]
fn _stream_table_dropped(relation: Oid) -> std::result::Result<(), Report> {
    if let Some(table) = catalog::by_relid(relation.to_u32())? {
        refresh::drop_table(table.id)?;
        catalog_changed_at_commit();
    }
    Ok(())
}

/// The materialized view was refreshed: the stream tables that read it compare it with what it was.
#[pg_extern(schema = "pgtrickle", strict)]
fn _matview_refreshed(relation: Oid) {
    cdc::refreshed(relation.to_u32());
}

/// The trigger was dropped without its table: refused if it captures changes for somebody.
#[pg_extern(schema = "pgtrickle", strict)]
fn _capture_altered(trigger: &str) -> std::result::Result<(), Report> {
    Ok(cdc::trigger_altered(trigger)?)
}

/// The trigger of a stream table was dropped: refused if it refuses direct writes.
#[pg_extern(schema = "pgtrickle", strict)]
fn _guard_altered(relation: Oid, trigger: &str) -> std::result::Result<(), Report> {
    Ok(cdc::guard_altered(relation.to_u32(), trigger)?)
}

/// The relation would get another definition: refused if it stores a stream table.
#[pg_extern(schema = "pgtrickle", strict)]
fn _refuse_redefinition(relation: Oid, action: &str) -> std::result::Result<(), Report> {
    Ok(cdc::refuse_redefinition(relation.to_u32(), action)?)
}

/// The relation was altered: what is stored for its stream table belongs to its owner, and direct writes stay refused.
#[pg_extern(schema = "pgtrickle", strict)]
fn _stream_table_altered(relation: Oid) -> std::result::Result<(), Report> {
    cdc::keep_guarded(relation.to_u32());
    Ok(catalog::by_relid(relation.to_u32())?.map_or(Ok(()), |table| refresh::follow_owner(&table))?)
}
