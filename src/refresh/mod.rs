//! One refresh: bring a stream table from the snapshot that its contents equal to a new one.
//!
//! 1. Read the catalog row and take the snapshot S. Every later statement reads S, advanced only to see what this
//!    transaction itself wrote.
//! 2. Look into each source's buffer for a row that the old frontier does not contain. None: nothing is written or locked.
//! 3. Lock the catalog row; another session that holds it is refreshing, and that is reported, not waited for. Read on.
//!    Sources that nothing captures are compared with what they were ([`poll`]). 4. Choose differential or full; in AUTO mode by
//!    the number of changed rows, which are read only if they are to be applied. 5. Run the stages, bottom-up. 6. The new frontier is S, saved in the same
//!    transaction as the rows. 7. History; and buffer rows that every reader has seen are removed.
//!
//! **Why S may be older than the lock.** Contents and frontier change together, in a transaction that holds the row's lock,
//! and each refresh that writes moves the frontier. S was taken after the row was read, so it sees the contents of the frontier
//! that was read; if the locked row still has that frontier, nobody has changed them since, and nobody can until this
//! transaction ends. If it has another one, what was read is dropped, and the refresh begins again under the lock.
//!
//! **Why the look without the lock tells.** Rows outside the frontier that was read are missing only if a refresh that has committed
//! consumed them. So has the next statement of this transaction the contents with them, unless all of its statements have one snapshot: then
//! the look decides nothing, and to lock a row that has changed fails.
//!
//! Statements run as the stream table's owner, in a security-restricted operation, with pinned settings, as REFRESH
//! MATERIALIZED VIEW does.

mod analyze;
mod create;
mod full;
mod names;
mod novel;
mod plan;
mod poll;
mod prepared;
mod quiet;
mod reads;
mod stages;
mod storage;
mod untold;
mod verify;

pub use analyze::explain_analyze;
pub use create::{Definition, create, drop_table, refuse_taken_name};
use prepared::Prepared;
pub use prepared::load;
pub use quiet::quiet_ms;
pub use storage::follow_owner;
pub use untold::untold;
pub use verify::{Verdict, verify};

use crate::catalog::{self, Action, Dependency, HistoryEntry, Initiator, Mode, Status, StreamTable};
use crate::cdc::{self, Changes, Members, Pending, Wanted};
use crate::error::{Error, Result};
use crate::pg::clock;
use crate::pg::guard::InternalWrites;
use crate::pg::object;
use crate::pg::security::RunAs;
use crate::pg::settings::{PinnedSettings, WholeTables};
use crate::pg::snapshot::{Snapshot, system_identifier};
use crate::pg::transaction::{Caught, subtransaction};
use pgrx::datum::TimestampWithTimeZone;
use pgtrickle_engine::frontier::Frontier;
use pgtrickle_engine::policy::Method;
use std::time::Instant;

/// What a refresh did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Another session is refreshing it.
    Busy,
    /// Its sources have not changed; nothing was written.
    Unchanged,
    /// Its contents are of a later snapshot than this transaction's; nothing was written.
    Newer,
    Refreshed {
        action: Action,
        inserted: i64,
        deleted: i64,
    },
}

/// Refreshes the stream table `id` in the current transaction.
///
/// # Errors
/// `NotActive` (55000) when it is suspended or in error, `SourceDropped` (42P01) and `SourceChanged` (42P16) when a
/// source is not what it was, and whatever the defining query itself raises.
pub fn refresh(id: i64, initiator: Initiator) -> std::result::Result<Outcome, Caught> {
    let seen = catalog::by_id(id)?.ok_or_else(|| Error::NotFound(id.to_string()))?;
    refresh_seen(&seen, initiator)
}

/// Likewise, the stream table's row having just been read.
///
/// # Errors
/// As [`refresh`].
pub fn refresh_seen(seen: &StreamTable, initiator: Initiator) -> std::result::Result<Outcome, Caught> {
    let started = clock::now();
    may_refresh(seen)?;
    let edges = catalog::sources_seen(seen)?;
    let snapshot = Snapshot::take().advanced();
    let mut pending = pending(seen, &edges, &snapshot);
    if let Some(pending) = &mut pending
        && !moves_by_itself(seen)
        && !asks(&edges)
        && !pending.any()?
        && !Snapshot::is_the_only_one()
    {
        clear(seen, &edges)?;
        return Ok(Outcome::Unchanged);
    }
    let Some(table) = catalog::lock_seen(seen)? else { return Ok(Outcome::Busy) };
    match pending {
        // The contents are still those that `snapshot` sees: see the module's account of the lock.
        Some(pending) if usable_frontier(&table) == usable_frontier(seen) => {
            may_refresh(&table)?;
            match apply((&table, &edges), &snapshot, Some(pending), (started, initiator))? {
                Some(outcome) => Ok(outcome),
                None => refresh_locked(&table, initiator),
            }
        }
        _ => refresh_locked(&table, initiator),
    }
}

/// How often a refresh begins again while others attach and detach partitions of its sources.
const ATTEMPTS: usize = 20;

/// Refreshes a stream table whose row is locked, on a snapshot that sees the members of its sources that are read.
fn refresh_locked(table: &StreamTable, initiator: Initiator) -> std::result::Result<Outcome, Caught> {
    for _ in 0..ATTEMPTS {
        if let Some(outcome) = refresh_at(table, &Snapshot::take(), initiator)? {
            return Ok(outcome);
        }
        if Snapshot::is_the_only_one() {
            break;
        }
    }
    Err(Error::MembersChanged.into())
}

/// Removes what the stream table, which has nothing to read, and all others have consumed.
fn clear(table: &StreamTable, edges: &[Dependency]) -> Result<()> {
    let Some(frontier) = usable_frontier(table) else { return Ok(()) };
    for edge in edges.iter().filter(|edge| edge.captured) {
        cdc::collect_when_due(edge.source, table.id, frontier)?;
    }
    Ok(())
}

/// A member of a group, by its `pgt_id`, and what became of it.
pub type MemberOutcome = (i64, std::result::Result<Outcome, Caught>);

/// Refreshes `ids`, which read one another in this order, on one snapshot; each of several in its own subtransaction, so
/// that one that fails leaves the others be.
///
/// # Errors
/// Of a single member, or of the group as a whole: the caller's transaction is to be rolled back.
pub fn refresh_group(ids: &[i64], initiator: Initiator) -> std::result::Result<Vec<MemberOutcome>, Caught> {
    if let [id] = ids {
        return Ok(vec![(*id, Ok(refresh(*id, initiator)?))]);
    }
    let mut locked = Vec::new();
    for id in ids {
        locked.push((*id, catalog::lock(*id)?));
    }
    let snapshot = Snapshot::take();
    let mut outcomes = Vec::new();
    for (id, table) in locked {
        let outcome = match table {
            None => Ok(Outcome::Busy),
            // The next refresh, on a newer snapshot, is for the one whose sources have other members now.
            Some(table) => subtransaction(|| refresh_at(&table, &snapshot, initiator))
                .map(|outcome| outcome.unwrap_or(Outcome::Busy)),
        };
        match outcome {
            // Whoever wants one of them to stop does not want to wait for the others.
            Err(error) if error.is_cancel() => return Err(error),
            outcome => outcomes.push((id, outcome)),
        }
    }
    Ok(outcomes)
}

/// Whether a refresh now might change the contents: some source has changed since, as far as anybody can tell without
/// computing the query. What would stop the refresh counts too.
pub fn is_behind(table: &StreamTable) -> Result<bool> {
    if moves_by_itself(table) {
        return Ok(true);
    }
    let edges = catalog::sources_seen(table)?;
    let (Some(frontier), Some(sources)) = (usable_frontier(table), watched(table, &edges)) else { return Ok(true) };
    match Pending::new(sources, frontier, &Snapshot::take()).any() {
        Err(Error::SourceDropped(_) | Error::SourceBusy(_)) => Ok(true),
        answer => answer,
    }
}

fn may_refresh(table: &StreamTable) -> Result<()> {
    match table.status {
        Status::Active | Status::Initializing => Ok(()),
        status => Err(Error::NotActive { name: table.shown(), status: status.as_str().into() }),
    }
}

/// The snapshot that the contents equal, if they equal one of this cluster.
fn usable_frontier(table: &StreamTable) -> Option<&Frontier> {
    let usable = table.is_populated && !table.needs_reinit;
    table.frontier.as_ref().filter(|frontier| usable && frontier.system == system_identifier())
}

/// The contents change with the clock, whatever the sources do.
fn moves_by_itself(table: &StreamTable) -> bool {
    usable_frontier(table).is_some_and(|frontier| frontier.clock.is_some())
}

/// Some source has to be asked whether it changed.
fn asks(edges: &[Dependency]) -> bool {
    edges.iter().any(|edge| edge.snapshot.is_some() && !edge.captured)
}

/// Some source is compared with what it was.
fn has_polled(edges: &[Dependency]) -> bool {
    edges.iter().any(|edge| edge.snapshot.is_some())
}

/// The captured sources and what is wanted of their buffers, if these, and looking at the other sources, tell whenever the
/// result of the query may have changed. A query without a delta has no use for rows; a polled source has none.
fn watched(table: &StreamTable, edges: &[Dependency]) -> Option<Vec<(u32, Wanted)>> {
    let unannounced = edges.iter().any(|edge| edge.is_unannounced() && edge.snapshot.is_none());
    let wanted = |edge: &Dependency| match table.refusal.is_some() || edge.snapshot.is_some() {
        true => (edge.source, Wanted::News),
        false => (edge.source, Wanted::Rows),
    };
    let sources: Vec<(u32, Wanted)> = edges.iter().filter(|edge| edge.captured).map(wanted).collect();
    // Without a delta and without a captured source, the query follows something else, such as the clock.
    (!unannounced && (table.refusal.is_none() || !sources.is_empty())).then_some(sources)
}

/// What the buffers hold for the stream table; `None` when it is recomputed whatever they hold.
fn pending<'a>(table: &'a StreamTable, edges: &[Dependency], snapshot: &'a Snapshot) -> Option<Pending<'a>> {
    match (usable_frontier(table), watched(table, edges)) {
        (Some(frontier), Some(sources)) if table.mode != Mode::Full => Some(Pending::new(sources, frontier, snapshot)),
        _ => None,
    }
}

/// Refreshes a stream table whose row is locked, on a snapshot that is not older than the lock. `None`: as [`apply`].
fn refresh_at(
    table: &StreamTable,
    snapshot: &Snapshot,
    initiator: Initiator,
) -> std::result::Result<Option<Outcome>, Caught> {
    may_refresh(table)?;
    let started = clock::now();
    let snapshot = &snapshot.advanced();
    let edges = catalog::sources_seen(table)?;
    apply((table, &edges), snapshot, pending(table, &edges, snapshot), (started, initiator))
}

/// Brings the stream table to `snapshot`, given what its buffers hold since its frontier; `None` recomputes, whatever that is.
/// Returns `None`, and has done nothing, when its sources have other partitions or children now than the snapshot sees.
fn apply(
    (table, edges): (&StreamTable, &[Dependency]),
    snapshot: &Snapshot,
    pending: Option<Pending>,
    (started, initiator): (TimestampWithTimeZone, Initiator),
) -> std::result::Result<Option<Outcome>, Caught> {
    let mut target = snapshot.frontier();
    let old = usable_frontier(table);
    if old.is_some_and(|old| !target.covers(old)) {
        return Ok(Some(Outcome::Newer));
    }
    let begun = Instant::now();
    let plan = plan::choose((table, edges), snapshot, pending)?;
    if plan.still && !moves_by_itself(table) {
        return Ok(Some(Outcome::Unchanged));
    }
    let prepared = load(table)?;
    let captured = edges.iter().filter(|edge| edge.captured && edge.snapshot.is_none()).map(|edge| edge.source);
    let reads_all = plan.method == Method::Full || plan.renewed.is_some();
    let members = Members::seen(captured, snapshot, reads_all);
    let wanted = if members.are_leaving() { Method::Full } else { plan.method };
    let done =
        while_they_stay(&members, || attempt((table, &prepared), (&plan.changes, plan.renewed), snapshot, wanted))?;
    let Some((method, (inserted, deleted))) = done else { return Ok(None) };
    if plan.still
        && method == Method::Differential
        && (inserted, deleted) == (0, 0)
        && prepared.program.stages.len() == 1
    {
        // The contents are right at both clocks.
        return Ok(Some(Outcome::Unchanged));
    }
    target.clock = prepared.reads.clock.then(clock::transaction_start);
    let action = if method == Method::Full { Action::Full } else { Action::Differential };
    let costs = plan::learned((table, edges), method, &plan.rows, milliseconds(begun));
    catalog::save_refresh(table, &target, action.as_str(), costs.as_ref())?;
    prepared.keep(table)?;
    catalog::record(&HistoryEntry {
        pgt_id: table.id,
        started,
        action,
        inserted,
        deleted,
        changes: plan.rows.iter().map(|(_, rows)| *rows as i64).sum(),
        fell_back: method == Method::Full && table.mode == Mode::Differential && old.is_some(),
        initiator,
    })?;
    for source in plan.sources {
        match (method, old) {
            (Method::Differential, Some(old)) => cdc::collect_when_due(source, table.id, old)?,
            // What the buffer holds was not looked at.
            _ => cdc::collect(source, table.id, old)?,
        };
    }
    Ok(Some(Outcome::Refreshed { action, inserted, deleted }))
}

fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}

/// Does the `work`, and undoes it if the sources have others than the `members` that its snapshot sees when it is done.
///
/// When it fails, the locks on what it read are gone with it, and members may have come and gone meanwhile. So it is done again
/// while nobody can take or give any: then it fails by itself.
///
/// # Errors
/// Of the work, and `MembersChanged` (40001) for the first child of a table, which is not worth a subtransaction.
fn while_they_stay<T>(
    members: &Members,
    work: impl Fn() -> std::result::Result<T, Caught>,
) -> std::result::Result<Option<T>, Caught> {
    let checked = || match (work()?, members.moved()) {
        (value, false) => Ok(value),
        _ => Err(Caught::from(Error::MembersChanged)),
    };
    if members.is_empty() {
        return checked().map(Some);
    }
    match subtransaction(checked) {
        Err(caught) if !caught.is_cancel() => {
            if members.moved() {
                return Ok(None);
            }
            if caught.is_about_the_server() || !members.hold() {
                return Err(caught);
            }
            // Whoever had a lock may have changed them.
            if members.moved() { Ok(None) } else { subtransaction(checked).map(Some) }
        }
        result => result.map(Some),
    }
}

/// Runs the refresh by the method that is `wanted`, or recomputes; returns how it was done and the rows inserted and
/// deleted.
///
/// Where several inputs changed, the terms of a join evaluate its predicates on pairs of an old row with a new one, which
/// the query itself never sees. When one of them is divided by zero, or cannot be cast, that says nothing about the query;
/// it is recomputed, and fails only if it really does. The history says so.
fn attempt(
    (table, prepared): (&StreamTable, &Prepared),
    (changes, renewed): (&[(u32, Changes)], Option<usize>),
    snapshot: &Snapshot,
    wanted: Method,
) -> std::result::Result<(Method, (i64, i64)), Caught> {
    let run = |method| run((table, prepared), (changes, renewed), snapshot, method);
    if wanted == Method::Full || !stages::meets_pairs(prepared, changes) {
        return Ok((wanted, run(wanted)?));
    }
    match subtransaction(|| run(wanted)) {
        Err(caught) if caught.is_about_values() => {
            pgrx::notice!("stream table {} is recomputed: {}", table.shown(), caught.message);
            Ok((Method::Full, run(Method::Full)?))
        }
        result => Ok((wanted, result?)),
    }
}

/// Runs the refresh as the owner of the stream table.
fn run(
    (table, prepared): (&StreamTable, &Prepared),
    changes: (&[(u32, Changes)], Option<usize>),
    snapshot: &Snapshot,
    method: Method,
) -> Result<(i64, i64)> {
    as_owner((table, prepared), || match method {
        Method::Differential => stages::differential((table, prepared), changes, snapshot),
        Method::Full => full::recompute((table, prepared), snapshot),
    })
}

/// Does something as the owner of the stream table, under the settings of its query.
fn as_owner<T>((table, prepared): (&StreamTable, &Prepared), work: impl FnOnce() -> Result<T>) -> Result<T> {
    let owner = object::owner(table.relid).ok_or_else(|| Error::NotFound(table.shown()))?;
    let _rights = RunAs::owner(owner);
    let _settings = PinnedSettings::of(&prepared.settings);
    let _rows = WholeTables::new();
    let _writes = InternalWrites::allow(table.relid);
    work()
}
