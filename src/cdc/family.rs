//! Partitions and inheritance children of a source: rows that come or go with them do so without a statement on them.

use crate::catalog::{self, Tracking};
use crate::error::{Error, Result};
use crate::pg::object;
use crate::pg::relation::Relation;
use crate::pg::security::RunAs;
use crate::pg::source as facts;
use pgtrickle_engine::delta::Program;

/// A statement may have disabled triggers of `relation`, or given it other parents or children: those of a source that came are captured from now on,
/// those that went no more, and its readers recompute.
///
/// # Errors
/// `SourceInUse` (0A000) when a reader relies on there being no children, or when what came cannot be captured.
pub fn family_changed(relation: u32) -> Result<()> {
    if super::triggers::is_at_work() {
        return Ok(());
    }
    for tracking in super::ddl::tracked()? {
        let source = tracking.source;
        let family = facts::members(source);
        let related = family.contains(&relation)
            || facts::members(relation).contains(&source)
            || super::triggers::is_member(source, relation);
        if related {
            reconcile(&tracking, &family)?;
        }
    }
    Ok(())
}

/// Captures every source as it is to be captured, whatever was done to its triggers and its family.
///
/// # Errors
/// As [`family_changed`], also when the source itself cannot be captured any more.
pub fn capture_again() -> Result<()> {
    for tracking in super::ddl::tracked()? {
        let family = facts::members(tracking.source);
        check_capturable(&tracking, &family)?;
        reconcile(&tracking, &family)?;
    }
    Ok(())
}

fn reconcile(tracking: &Tracking, family: &[u32]) -> Result<()> {
    let source = tracking.source;
    let _rights = RunAs::extension();
    let came: Vec<u32> =
        family.iter().copied().filter(|one| *one != source && !super::triggers::is_member(source, *one)).collect();
    if !came.is_empty() {
        check(tracking, &came)?;
    }
    let went = super::triggers::adjust(source, family)?;
    super::triggers::keep_enabled(source);
    if !came.is_empty() || went {
        super::mark_changed(source);
    }
    Ok(())
}

fn refused(tracking: &Tracking, reason: String) -> Result<()> {
    let readers = catalog::readers(tracking.source)?;
    let reader = readers.iter().find(|reader| tracking.consumers.contains(&reader.id));
    let reader = reader.map_or_else(String::new, |reader| reader.shown());
    let source_name = object::name(tracking.source).map_or_else(String::new, |name| name.to_string());
    Err(Error::SourceInUse { source_name, reader, reason })
}

fn check_capturable(tracking: &Tracking, family: &[u32]) -> Result<()> {
    if facts::is_matview(tracking.source) {
        return Ok(());
    }
    for one in family.iter().filter_map(|one| Relation::load(*one)) {
        if let Some((what, reason)) = one.uncapturable() {
            return refused(tracking, format!("Its rows would be, or include, those of {what} {}. {reason}", one.name));
        }
    }
    Ok(())
}

fn check(tracking: &Tracking, came: &[u32]) -> Result<()> {
    check_capturable(tracking, came)?;
    if facts::is_partitioned(tracking.source) {
        return Ok(());
    }
    for consumer in &tracking.consumers {
        let (json, _) = catalog::program(*consumer)?;
        let program: Program = serde_json::from_str(&json).map_err(|error| Error::Internal(error.to_string()))?;
        let scans = program.stages.iter().flat_map(|stage| stage.body.scans());
        if scans.filter(|scan| scan.relid == tracking.source).any(|scan| scan.is_alone()) {
            let reason = "It was compiled for a table without children: a key or NOT NULL of the parent need not hold for \
                          the rows of a child.";
            return refused(tracking, reason.into());
        }
    }
    Ok(())
}
