//! What a scheduler remembers of the stream tables of its database.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pgtrickle_engine::dag::{self, Candidate, Graph, Node, Schedule, Timing};

use crate::catalog::{Dependency, Status, StreamTable};
use crate::pg::shmem::{self, OwnChanges};
use crate::pg::slots::Seat;
use crate::pg::worker::unix_ms;

/// One stream table that is refreshed by schedule.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    timing: Timing,
    calculated: bool,
    /// Reads something whose changes nobody announces, or has a cron schedule: refreshed at its time in any case.
    unconditional: bool,
    /// Its contents change with the clock, and with what is announced, and else not; until when they do not.
    moves: bool,
    quiet_until: i64,
    /// Its captured sources, with the counters that its contents include; None: unknown, so it counts as changed.
    seen: HashMap<u32, Option<u64>>,
    changed: bool,
    last_start: Option<i64>,
    pub(super) consecutive_errors: i32,
    /// Failures in a row, counted or not; they lengthen the back-off.
    failures: u32,
    retry_at: Option<i64>,
    /// Its last refresh took longer than a scheduler takes for one.
    takes_long: bool,
}

impl Entry {
    /// Asks to be woken by the next change, unless it is known to have changed, and looks whether there was one.
    fn observe(&mut self, seat: &Seat) {
        if !self.changed {
            self.changed = self.seen.iter().any(|(source, seen)| *seen != Some(seat.arm(*source)));
        }
    }

    fn candidate(&self) -> Option<Candidate> {
        let ready_at = self.timing.ready_at(self.last_start)?;
        let ready_at = if self.changed { ready_at } else { ready_at.max(self.quiet_until) };
        Some(Candidate {
            ready_at: self.retry_at.map_or(ready_at, |retry_at| retry_at.max(ready_at)),
            changed: self.changed,
            unconditional: self.unconditional,
            on_demand: self.calculated && self.retry_at.is_none(),
        })
    }

    /// It failed: whatever it was refreshed for, there is still something to do. Returns the failures in a row.
    pub(super) fn failed(&mut self, counted: bool) -> u32 {
        self.changed = true;
        self.failures += 1;
        self.consecutive_errors += i32::from(counted);
        self.failures
    }

    pub(super) fn retry_at(&mut self, at: i64) {
        self.retry_at = Some(at);
    }
}

/// The counters of a group's sources from before its transaction took a snapshot.
pub(super) type Counters = HashMap<u32, u64>;

/// All stream tables of the database.
#[derive(Debug, Default)]
pub(super) struct Tables {
    graph: Graph,
    entries: BTreeMap<i64, Entry>,
}

impl Tables {
    /// Takes over what the catalog says now; what was learned about stream tables that stay is kept.
    pub(super) fn replace(&mut self, rows: &[StreamTable], edges: &[Dependency], default_ms: u64) {
        let Plan { graph, schedules, mut timings } = schedule(rows, edges, default_ms);
        let mut old = std::mem::take(&mut self.entries);
        for row in rows {
            if let Some(timing) = timings.remove(&row.id) {
                let calculated = schedules.get(&row.id) == Some(&Schedule::Calculated);
                self.entries.insert(row.id, entry(row, edges, timing, calculated, old.remove(&row.id)));
            }
        }
        self.graph = graph;
    }

    /// Looks which sources changed, and asks to be woken when one of the others does.
    pub(super) fn observe(&mut self, seat: &Seat) {
        self.entries.values_mut().for_each(|entry| entry.observe(seat));
    }

    /// What could be refreshed while `busy` are being refreshed. What reads one of these waits: refreshed now, it might show some of
    /// its sources as they are before a change and others as they are after it.
    pub(super) fn candidates(&self, busy: impl Iterator<Item = i64>) -> BTreeMap<i64, Candidate> {
        let waiting: BTreeSet<i64> = self.graph.with_readers(busy);
        let free = self.entries.iter().filter(|(id, _)| !waiting.contains(id));
        free.filter_map(|(id, entry)| Some((*id, entry.candidate()?))).collect()
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(super) fn get_mut(&mut self, id: i64) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: i64) {
        self.entries.remove(&id);
    }

    /// The counters of the sources of a group; read before its transaction takes a snapshot.
    pub(super) fn counters(&self, group: &[i64], db: u32) -> Counters {
        let entries = group.iter().filter_map(|id| self.entries.get(id));
        let sources = entries.flat_map(|entry| entry.seen.keys());
        sources.map(|source| (*source, shmem::counter(db, *source))).collect()
    }

    /// A refresh of these begins, or began, at `now`.
    pub(super) fn begin(&mut self, group: &[i64], now: i64) {
        for id in group {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.last_start = Some(now);
            }
        }
    }

    /// Whether a refresh of the group is likely to take long.
    pub(super) fn take_long(&self, group: &[i64]) -> bool {
        group.iter().any(|id| self.entries.get(id).is_some_and(|entry| entry.takes_long))
    }

    /// A refresh took long, or it did not.
    pub(super) fn took_long(&mut self, id: i64, long: bool) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.takes_long = long;
        }
    }

    /// The interval of a stream table whose contents change with the clock, unless it is due at its times in any case.
    pub(super) fn moves(&self, id: i64) -> Option<u64> {
        match self.entries.get(&id)? {
            Entry { moves: true, timing: Timing::Every(ms), .. } => Some(*ms),
            _ => None,
        }
    }

    /// The clock alone does not change the contents before.
    pub(super) fn is_quiet_until(&mut self, id: i64, time: i64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.quiet_until = time;
        }
    }

    /// The refresh of one member is committed. Within the group each member saw what those before it wrote, so the
    /// transaction's own announcements are no changes to it.
    pub(super) fn succeeded(&mut self, id: i64, db: u32, before: &Counters, own: &OwnChanges) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        for (source, seen) in &mut entry.seen {
            *seen = before.get(source).map(|count| count + own.count(db, *source));
        }
        entry.changed = false;
        entry.quiet_until = i64::MIN;
        entry.consecutive_errors = 0;
        entry.failures = 0;
        entry.retry_at = None;
    }
}

/// How often each stream table that is in service is refreshed.
struct Plan {
    graph: Graph,
    schedules: BTreeMap<i64, Schedule>,
    timings: BTreeMap<i64, Timing>,
}

fn schedule(rows: &[StreamTable], edges: &[Dependency], default_ms: u64) -> Plan {
    let nodes: Vec<Node> = rows.iter().map(|row| node(row, edges)).collect();
    let graph = match Graph::new(&nodes) {
        Ok(graph) => graph,
        Err(cycle) => {
            pgrx::warning!("stream tables read each other in a cycle and are not refreshed: {:?}", cycle.0);
            Graph::default()
        }
    };
    let mut schedules: BTreeMap<i64, Schedule> = BTreeMap::new();
    for row in rows.iter().filter(|row| matches!(row.status, Status::Active | Status::Initializing)) {
        match row.schedule.as_deref().unwrap_or("calculated").parse() {
            Ok(schedule) => {
                schedules.insert(row.id, schedule);
            }
            Err(error) => pgrx::warning!("stream table {} is not refreshed: {error}", row.name),
        }
    }
    let timings = dag::intervals(&graph, &schedules, default_ms);
    Plan { graph, schedules, timings }
}

/// The milliseconds between two refreshes of each stream table that is in service and goes by an interval, its own or a
/// calculated one.
pub fn intervals(rows: &[StreamTable], edges: &[Dependency], default_ms: u64) -> BTreeMap<i64, u64> {
    let interval = |(id, timing)| match timing {
        Timing::Every(ms) => Some((id, ms)),
        Timing::Cron(_) => None,
    };
    schedule(rows, edges, default_ms).timings.into_iter().filter_map(interval).collect()
}

fn node(row: &StreamTable, edges: &[Dependency]) -> Node {
    let sources = edges.iter().filter(|edge| edge.pgt_id == row.id).map(|edge| edge.source).collect();
    Node { id: row.id, relid: row.relid, sources }
}

fn entry(row: &StreamTable, edges: &[Dependency], timing: Timing, calculated: bool, old: Option<Entry>) -> Entry {
    let reads = || edges.iter().filter(|edge| edge.pgt_id == row.id);
    // What is recomputed without reading a captured source has something else to follow, such as the clock.
    let unannounced =
        reads().any(Dependency::is_unannounced) || (row.refusal.is_some() && !reads().any(|edge| edge.captured));
    // Resumed or refreshed by somebody else: the catalog has forgotten the failures, so they are forgotten here.
    let forgiven = row.consecutive_errors == 0;
    let known = |source: u32| old.as_ref().and_then(|old| old.seen.get(&source).copied().flatten());
    let last_refresh = row.last_refresh_at.map(unix_ms);
    let moves = row.frontier.as_ref().is_some_and(|frontier| frontier.clock.is_some());
    Entry {
        name: row.name.to_string(),
        unconditional: unannounced || moves || matches!(timing, Timing::Cron(_)),
        moves: moves && !unannounced,
        quiet_until: old.as_ref().map_or(i64::MIN, |old| old.quiet_until),
        timing,
        calculated,
        seen: reads().filter(|edge| edge.captured).map(|edge| (edge.source, known(edge.source))).collect(),
        changed: old.as_ref().is_some_and(|old| old.changed) || row.needs_reinit || !row.is_populated,
        last_start: old.as_ref().map_or(last_refresh, |old| old.last_start.max(last_refresh)),
        consecutive_errors: row.consecutive_errors,
        takes_long: old.as_ref().is_some_and(|old| old.takes_long),
        failures: old.as_ref().filter(|_| !forgiven).map_or(0, |old| old.failures),
        retry_at: old.as_ref().filter(|_| !forgiven).and_then(|old| old.retry_at),
    }
}
