//! Partitions and inheritance children of a source: rows that come or go with them do so without a statement on them.
//!
//! **Law.** When transaction X makes a table a member of a source, all rows of the table enter the source's buffer with weight +1, and when
//! X makes it none, or drops it, with -1: those that have committed and those that X has written.
//!
//! **Why these are the rows.** X has a lock on the member that keeps all writers out until X ends: ATTACH, DETACH, INHERIT and NO INHERIT take it
//! on the table that they name, and on what is below it our triggers are made or dropped under one. Who wrote the member before X had the lock
//! has committed, and is seen by every snapshot that sees X. What X wrote before a table came was not captured for this source, and
//! comes with the table; what it wrote before a table went was, and goes with it. Later writes meet the triggers, or
//! their absence. A table that is a source itself has a buffer of its own, of which nothing is said here.
//!
//! In the middle of a statement of this session on it, a table neither comes nor goes: ALTER TABLE and DROP TRIGGER, by which the triggers
//! are made and taken, refuse that (55006).
//!
//! A partition that DETACH PARTITION CONCURRENTLY takes away, which queries stop to read before its writers are kept out, leaves a marker, when
//! the first of the two transactions begins and when the second ends: recompute. So does the first child of a table, see [`super::members`].

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::triggers::Adjusted;
use crate::catalog::{self, Tracking};
use crate::error::{Error, Result};
use crate::pg::inheritance::{self, Link};
use crate::pg::relation::Relation;
use crate::pg::security::RunAs;
use crate::pg::snapshot::Snapshot;
use crate::pg::xact::Moment;
use crate::pg::{capture as writer, object, source as facts};
use pgtrickle_engine::delta::Program;

/// A statement may have disabled triggers of `relation`, or given it other parents or children: those of a source that came are captured from now on,
/// those that went no more, and its readers are told of their rows.
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
    let expected = !came.is_empty();
    let Adjusted { came, went, rebuilt } = super::triggers::adjust(source, family)?;
    super::triggers::keep_enabled(source);
    if came.is_empty() && went.is_empty() && !(rebuilt && expected) {
        return Ok(());
    }
    let before = links_before(source);
    let is_first = !facts::is_partitioned(source) && before.is_empty();
    let is_detaching = before.iter().any(|link| link.pending);
    if is_first || is_detaching || rebuilt {
        writer::mark(source);
        return Ok(());
    }
    came.into_iter().for_each(|member| writer::tell(source, member, 1));
    went.into_iter().for_each(|member| writer::tell(source, member, -1));
    Ok(())
}

/// The links below the source that others have committed and this transaction has perhaps changed.
fn links_before(source: u32) -> Vec<Link> {
    inheritance::links(source, Some(&Snapshot::of_others()))
}

/// A partition of `relation` is about to be detached by DETACH PARTITION CONCURRENTLY, whose first transaction this is.
///
/// # Errors
/// As the catalog's.
pub fn detaching(relation: u32) -> Result<()> {
    let _rights = RunAs::extension();
    for source in catalog::tracked_sources()? {
        if facts::members(source).contains(&relation) {
            writer::mark(source);
        }
    }
    Ok(())
}

/// Members whose rows were taken away since they are about to be dropped.
struct Dropping {
    /// When that was done.
    at: Moment,
    /// Each behind its source.
    members: BTreeSet<(u32, u32)>,
}

thread_local! {
    static DROPPING: RefCell<Option<Dropping>> = const { RefCell::new(None) };
}

/// The `relations`, tables of the current user's, are about to be dropped: takes the rows of members away while they can be read.
///
/// # Errors
/// As the catalog's.
pub fn dropping(relations: &[u32]) -> Result<()> {
    DROPPING.set(None);
    let _rights = RunAs::extension();
    let mut members = BTreeSet::new();
    for source in catalog::tracked_sources()? {
        let concerned = |relation: &&u32| **relation != source && facts::members(source).contains(relation);
        // Who drops the source drops its readers too.
        if relations.contains(&source) || !relations.iter().any(|relation| concerned(&relation)) {
            continue;
        }
        relations.iter().filter(concerned).for_each(|relation| inheritance::lock_for_drop(*relation));
        // Whoever held a lock may have taken some of them away.
        let leaving: BTreeSet<u32> =
            relations.iter().filter(concerned).flat_map(|relation| facts::members(*relation)).collect();
        if links_before(source).iter().any(|link| link.pending) {
            continue;
        }
        for member in leaving.into_iter().filter(|member| super::triggers::is_member(source, *member)) {
            writer::tell(source, member, -1);
            members.insert((source, member));
        }
    }
    if !members.is_empty() {
        DROPPING.set(Some(Dropping { at: Moment::now(), members }));
    }
    Ok(())
}

/// The partition or child `member` of the source was dropped: its readers recompute, unless they were told of its rows, and nothing was written
/// since.
pub fn member_dropped(source: u32, member: u32) {
    let told = DROPPING.with_borrow(|dropping| {
        let told = dropping.as_ref().filter(|dropping| dropping.members.contains(&(source, member)));
        told.is_some_and(|dropping| dropping.at == Moment::now())
    });
    if !told {
        writer::mark(source);
    }
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
