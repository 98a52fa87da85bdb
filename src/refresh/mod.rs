//! One refresh: bring a stream table from the snapshot that its contents equal to a new one.
//!
//! 1. Lock the catalog row; another session that holds it is refreshing, and that is reported, not waited for.
//! 2. Take the snapshot S. Every later statement reads S, advanced only to see what this transaction itself wrote.
//! 3. Read from each source's buffer the rows that the old frontier does not contain. None: nothing is written at all.
//! 4. Choose differential or full. 5. Run the stages, bottom-up. 6. The new frontier is S, saved in the same
//!    transaction as the rows. 7. History; and buffer rows that every reader has seen are removed.
//!
//! Statements run as the stream table's owner, in a security-restricted operation, with pinned settings, as REFRESH
//! MATERIALIZED VIEW does.

mod create;
mod full;
mod prepared;
mod stages;
mod storage;
mod verify;

pub use create::{Definition, create, drop_table, refuse_taken_name};
pub use prepared::load;
pub use verify::{Verdict, explain_analyze, verify};

use crate::catalog::{self, Action, Dependency, HistoryEntry, Initiator, Mode, Status, StreamTable};
use crate::cdc::{self, Changes};
use crate::config::{self, RefreshStrategy};
use crate::error::{Error, Result};
use crate::pg::clock;
use crate::pg::guard::InternalWrites;
use crate::pg::object;
use crate::pg::security::RunAs;
use crate::pg::settings::{PinnedSettings, WholeTables};
use crate::pg::snapshot::{Snapshot, system_identifier};
use crate::pg::transaction::{Caught, subtransaction};
use pgtrickle_engine::frontier::Frontier;
use pgtrickle_engine::policy::{self, Facts, Method, Strategy};

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
    if is_unchanged(id)? {
        return Ok(Outcome::Unchanged);
    }
    let Some(table) = catalog::lock(id)? else { return Ok(Outcome::Busy) };
    refresh_at(&table, &Snapshot::take(), initiator)
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
    let run = |(id, table): (i64, Option<StreamTable>)| match table {
        None => (id, Ok(Outcome::Busy)),
        Some(table) => (id, subtransaction(|| refresh_at(&table, &snapshot, initiator))),
    };
    Ok(locked.into_iter().map(run).collect())
}

/// A look without a lock, so that refreshing an unchanged table costs no write.
fn is_unchanged(id: i64) -> Result<bool> {
    let Some(table) = catalog::by_id(id)? else { return Err(Error::NotFound(id.to_string())) };
    let Some(frontier) = usable_frontier(&table) else { return Ok(false) };
    if !may_refresh(&table)? || needs_recomputation(&table) {
        return Ok(false);
    }
    let snapshot = Snapshot::take();
    for source in captured(&table)? {
        if cdc::has_changes(source, frontier, &snapshot)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a refresh now might change the contents: some source has changed since, as far as anybody can tell without
/// computing the query. What would stop the refresh counts too.
pub fn is_behind(table: &StreamTable) -> Result<bool> {
    let Some(frontier) = usable_frontier(table) else { return Ok(true) };
    let sources = catalog::sources_of(table.id)?;
    if table.refusal.is_some() || sources.iter().any(|edge| !edge.kind.is_captured()) {
        return Ok(true);
    }
    let snapshot = Snapshot::take();
    for edge in sources {
        match cdc::has_changes(edge.source, frontier, &snapshot) {
            Ok(false) => {}
            Ok(true) | Err(Error::SourceDropped(_) | Error::SourceBusy(_)) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Sources whose changes no buffer brings make every refresh a recomputation.
fn needs_recomputation(table: &StreamTable) -> bool {
    table.refusal.is_some() || table.mode == Mode::Full
}

fn may_refresh(table: &StreamTable) -> Result<bool> {
    match table.status {
        Status::Active | Status::Initializing => Ok(true),
        status => Err(Error::NotActive { name: table.shown(), status: status.as_str().into() }),
    }
}

/// The snapshot that the contents equal, if they equal one of this cluster.
fn usable_frontier(table: &StreamTable) -> Option<&Frontier> {
    let usable = table.is_populated && !table.needs_reinit;
    table.frontier.as_ref().filter(|frontier| usable && frontier.system == system_identifier())
}

/// The sources whose changes a buffer brings: none for a query without a delta, which has no use for them.
fn captured(table: &StreamTable) -> Result<Vec<u32>> {
    if table.refusal.is_some() {
        return Ok(Vec::new());
    }
    let edges = catalog::sources_of(table.id)?;
    Ok(edges.iter().filter(|edge| edge.kind.is_captured()).map(|edge: &Dependency| edge.source).collect())
}

fn refresh_at(table: &StreamTable, snapshot: &Snapshot, initiator: Initiator) -> std::result::Result<Outcome, Caught> {
    may_refresh(table)?;
    let started = clock::now();
    let snapshot = &snapshot.advanced();
    let target = snapshot.frontier();
    let old = usable_frontier(table);
    if old.is_some_and(|old| !target.covers(old)) {
        return Ok(Outcome::Newer);
    }
    let changes = old.map_or_else(|| Ok(Vec::new()), |old| read_changes(table, old, snapshot))?;
    if old.is_some() && changes.is_empty() && !needs_recomputation(table) {
        return Ok(Outcome::Unchanged);
    }
    let wanted = choose(table, old.is_some(), &changes);
    let (method, (inserted, deleted)) = attempt(table, &changes, snapshot, wanted)?;
    let action = if method == Method::Full { Action::Full } else { Action::Differential };
    catalog::save_refresh(table.id, &target, action.as_str(), None)?;
    catalog::record(&HistoryEntry {
        pgt_id: table.id,
        started,
        action,
        inserted,
        deleted,
        changes: changes.iter().map(|(_, read)| read.rows as i64).sum(),
        fell_back: method == Method::Full && table.mode == Mode::Differential && old.is_some(),
        initiator,
    });
    for (source, _) in &changes {
        cdc::collect(*source)?;
    }
    Ok(Outcome::Refreshed { action, inserted, deleted })
}

/// What became of the sources since `old`: those with changes, each with them.
fn read_changes(table: &StreamTable, old: &Frontier, snapshot: &Snapshot) -> Result<Vec<(u32, Changes)>> {
    let mut changes = Vec::new();
    for source in captured(table)? {
        let read = cdc::read_changes(source, old, snapshot)?;
        if read.rows > 0 || read.truncated {
            changes.push((source, read));
        }
    }
    Ok(changes)
}

/// Runs the refresh by the method that is `wanted`, or recomputes; returns how it was done and the rows inserted and
/// deleted.
///
/// Where several inputs changed, the terms of a join evaluate its predicates on pairs of an old row with a new one, which
/// the query itself never sees. When one of them is divided by zero, or cannot be cast, that says nothing about the query;
/// it is recomputed, and fails only if it really does. The history says so.
fn attempt(
    table: &StreamTable,
    changes: &[(u32, Changes)],
    snapshot: &Snapshot,
    wanted: Method,
) -> std::result::Result<(Method, (i64, i64)), Caught> {
    if wanted == Method::Full || !stages::meets_pairs(table, changes)? {
        return Ok((wanted, run(table, changes, snapshot, wanted)?));
    }
    match subtransaction(|| run(table, changes, snapshot, wanted)) {
        Err(caught) if caught.is_about_values() => {
            pgrx::notice!("stream table {} is recomputed: {}", table.shown(), caught.message);
            Ok((Method::Full, run(table, changes, snapshot, Method::Full)?))
        }
        result => Ok((wanted, result?)),
    }
}

/// Runs the refresh as the owner of the stream table.
fn run(table: &StreamTable, changes: &[(u32, Changes)], snapshot: &Snapshot, method: Method) -> Result<(i64, i64)> {
    let owner = object::owner(table.relid).ok_or_else(|| Error::NotFound(table.shown()))?;
    let _rights = RunAs::owner(owner);
    let _settings = PinnedSettings::new();
    let _rows = WholeTables::new();
    let _writes = InternalWrites::allow(table.relid);
    match method {
        Method::Differential => stages::differential(table, changes, snapshot),
        Method::Full => full::recompute(table, snapshot),
    }
}

/// Full when there is no old content to start from, no program, or a TRUNCATE among the changes; in AUTO as the policy
/// decides.
fn choose(table: &StreamTable, has_frontier: bool, changes: &[(u32, Changes)]) -> Method {
    let truncated = changes.iter().any(|(_, read)| read.truncated);
    if !has_frontier || truncated || needs_recomputation(table) {
        return Method::Full;
    }
    if table.mode != Mode::Auto {
        return Method::Differential;
    }
    let facts = Facts {
        changed_rows: changes.iter().map(|(_, read)| read.rows).sum(),
        source_rows: changes.iter().map(|(source, _)| object::estimated_rows(*source)).sum(),
        truncated,
    };
    let strategy = match config::refresh_strategy() {
        RefreshStrategy::Auto => Strategy::Auto,
        RefreshStrategy::Differential => Strategy::Differential,
        RefreshStrategy::Full => Strategy::Full,
    };
    policy::choose(strategy, facts, config::differential_max_change_ratio()).method
}
