//! Who is refreshed now, with whom, and when to look again.
//!
//! An interval is a promise about staleness and a bound on work: the first change after a pause is refreshed at once,
//! a busy stream table at most once per interval. So a stream table is **due** when something that it reads changed
//! and its interval since the last refresh began is over. A cron schedule is due at its times, changed or not.
//!
//! A due stream table takes along what belongs into the same transaction:
//! - upstream, the *calculated* stream tables with changes, whatever their interval: they exist for their readers;
//! - downstream, those whose interval is over, since they are about to have changes.
//!
//! Whoever has been due for longest comes first. One that was quiet has been due since long before its change, one that is busy
//! only since its interval was over: a change after a pause does not wait for those that always have changes, and of these none
//! waits for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cron, Graph, Schedule};

/// How the due time follows from the last refresh.
#[derive(Clone, Debug, PartialEq)]
pub enum Timing {
    Every(u64),
    Cron(Cron),
}

impl Timing {
    /// The earliest time of the next refresh; None for a cron expression that never comes. Never refreshed: at once.
    pub fn ready_at(&self, last_start: Option<i64>) -> Option<i64> {
        match (self, last_start) {
            (_, None) => Some(i64::MIN),
            (Timing::Every(ms), Some(last)) => Some(last.saturating_add_unsigned(*ms)),
            (Timing::Cron(cron), Some(last)) => cron.next(last),
        }
    }
}

/// What the decision needs to know about one stream table. Those that are never refreshed by schedule (IMMEDIATE,
/// suspended, failed) have no candidate, but keep their place in the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// From [`Timing::ready_at`]; after a failure, the end of the back-off if that is later.
    pub ready_at: i64,
    /// Something that it reads changed since its last refresh began.
    pub changed: bool,
    /// Refreshed at its time even without changes: a cron schedule.
    pub unconditional: bool,
    /// A calculated schedule: readers may pull it before `ready_at`. Off during a back-off.
    pub on_demand: bool,
}

impl Candidate {
    fn wants_refresh(&self) -> bool {
        self.changed || self.unconditional
    }
}

/// One decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Each group is one transaction, in topological order; the group with the earliest due time first.
    pub groups: Vec<Vec<i64>>,
    /// When the next stream table that already wants a refresh becomes ready; None: only a change makes one due.
    pub wake_at: Option<i64>,
}

/// Decides for the time `now`.
pub fn plan(graph: &Graph, candidates: &BTreeMap<i64, Candidate>, now: i64) -> Plan {
    let mut members: BTreeSet<i64> = BTreeSet::new();
    let mut wake_at: Option<i64> = None;
    for (id, candidate) in candidates.iter().filter(|(_, candidate)| candidate.wants_refresh()) {
        if candidate.ready_at <= now {
            members.insert(*id);
        } else {
            wake_at = Some(wake_at.map_or(candidate.ready_at, |at| at.min(candidate.ready_at)));
        }
    }
    if members.is_empty() {
        return Plan { groups: Vec::new(), wake_at };
    }
    pull(graph, candidates, &mut members);
    push(graph, candidates, now, &mut members);
    let mut groups = graph.groups(&members);
    groups.sort_by_key(|group| group.iter().filter_map(|id| Some(candidates.get(id)?.ready_at)).min());
    Plan { groups, wake_at }
}

/// Adds the calculated, changed stream tables above the members.
fn pull(graph: &Graph, candidates: &BTreeMap<i64, Candidate>, members: &mut BTreeSet<i64>) {
    let mut above: BTreeSet<i64> = BTreeSet::new();
    for id in graph.order().iter().rev() {
        let is_above = above.contains(id);
        if is_above && candidates.get(id).is_some_and(|candidate| candidate.on_demand && candidate.changed) {
            members.insert(*id);
        }
        if is_above || members.contains(id) {
            above.extend(graph.upstream(*id));
        }
    }
}

/// Adds the stream tables below the members whose interval is over.
fn push(graph: &Graph, candidates: &BTreeMap<i64, Candidate>, now: i64, members: &mut BTreeSet<i64>) {
    let mut below: BTreeSet<i64> = BTreeSet::new();
    for id in graph.order() {
        let is_below = below.contains(id);
        if is_below && candidates.get(id).is_some_and(|candidate| candidate.ready_at <= now) {
            members.insert(*id);
        }
        // A stream table that is not due hands nothing on, one without a candidate (IMMEDIATE) hands on at once.
        if members.contains(id) || (is_below && !candidates.contains_key(id)) {
            below.extend(graph.downstream(*id));
        }
    }
}

/// The timing of each stream table: its own, or for a calculated one the shortest interval among those that read it
/// directly, to a fixed point; where no reader has one, `default_ms`. Stream tables that are absent from `schedules`
/// (IMMEDIATE, for one) pass on what their readers need.
pub fn intervals(graph: &Graph, schedules: &BTreeMap<i64, Schedule>, default_ms: u64) -> BTreeMap<i64, Timing> {
    let mut shortest: BTreeMap<i64, u64> = BTreeMap::new();
    let mut timings = BTreeMap::new();
    for id in graph.order().iter().rev() {
        let needed = graph.downstream(*id).iter().filter_map(|reader| shortest.get(reader)).min().copied();
        let interval = match schedules.get(id) {
            None => needed,
            Some(Schedule::Every(ms)) => Some(*ms),
            Some(Schedule::Calculated) => Some(needed.unwrap_or(default_ms)),
            Some(Schedule::Cron(cron)) => {
                timings.insert(*id, Timing::Cron(cron.clone()));
                None
            }
        };
        if let Some(ms) = interval {
            shortest.insert(*id, ms);
            if schedules.contains_key(id) {
                timings.insert(*id, Timing::Every(ms));
            }
        }
    }
    timings
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::graph;
    use super::*;

    fn candidate(ready_at: i64, changed: bool) -> Candidate {
        Candidate { ready_at, changed, unconditional: false, on_demand: false }
    }

    #[test]
    fn first_change_is_due_at_once_then_once_per_interval() {
        let one = graph(&[1], &[]).unwrap();
        let timing = Timing::Every(1_000);
        let decide = |last: Option<i64>, changed: bool, now: i64| {
            let candidates = BTreeMap::from([(1, candidate(timing.ready_at(last).unwrap(), changed))]);
            plan(&one, &candidates, now)
        };
        assert_eq!(decide(Some(0), true, 50_000).groups, [vec![1]], "idle for long, changed now");
        assert_eq!(decide(Some(50_000), true, 50_200), Plan { groups: vec![], wake_at: Some(51_000) });
        assert_eq!(decide(Some(50_000), true, 51_000).groups, [vec![1]]);
        assert_eq!(decide(Some(0), false, 50_000), Plan::default(), "nothing changed: sleep without a time");
        assert_eq!(decide(None, true, 0).groups, [vec![1]], "never refreshed");
    }

    #[test]
    fn whoever_was_due_first_comes_first() {
        let three = graph(&[1, 2, 3], &[]).unwrap();
        let candidates =
            BTreeMap::from([(1, candidate(900, true)), (2, candidate(100, true)), (3, candidate(500, true))]);
        assert_eq!(plan(&three, &candidates, 1_000).groups, [vec![2], vec![3], vec![1]]);
    }

    #[test]
    fn cron_is_due_without_changes() {
        let Schedule::Cron(cron) = "* * * * *".parse().unwrap() else { panic!() };
        let at = Timing::Cron(cron).ready_at(Some(30_000)).unwrap();
        assert_eq!(at, 60_000);
        let candidates = BTreeMap::from([(1, Candidate { unconditional: true, ..candidate(at, false) })]);
        let one = graph(&[1], &[]).unwrap();
        assert_eq!(plan(&one, &candidates, 59_999), Plan { groups: vec![], wake_at: Some(60_000) });
        assert_eq!(plan(&one, &candidates, 60_000).groups, [vec![1]]);
    }

    #[test]
    fn chain_goes_together() {
        let chain = graph(&[1, 2, 3], &[(2, 1), (3, 2)]).unwrap();
        let mut candidates =
            BTreeMap::from([(1, candidate(0, true)), (2, candidate(0, false)), (3, candidate(0, false))]);
        assert_eq!(plan(&chain, &candidates, 10).groups, [vec![1, 2, 3]]);
        candidates.insert(2, candidate(99, false));
        assert_eq!(plan(&chain, &candidates, 10).groups, [vec![1]], "2 is not due, so 3 gets nothing new");
        candidates.remove(&2);
        assert_eq!(plan(&chain, &candidates, 10).groups, [vec![1, 3]], "2 is IMMEDIATE and hands on at once");
    }

    #[test]
    fn readers_pull_calculated_upstream() {
        let chain = graph(&[1, 2, 3], &[(2, 1), (3, 2)]).unwrap();
        let pulled = Candidate { on_demand: true, ..candidate(99, true) };
        let candidates =
            BTreeMap::from([(1, pulled.clone()), (2, Candidate { changed: false, ..pulled }), (3, candidate(0, true))]);
        assert_eq!(plan(&chain, &candidates, 10), Plan { groups: vec![vec![1, 3]], wake_at: Some(99) });
    }

    #[test]
    fn calculated_takes_the_shortest_reader() {
        let tree = graph(&[1, 2, 3, 4, 5], &[(2, 1), (3, 1), (4, 2)]).unwrap();
        let schedules = BTreeMap::from([
            (1, Schedule::Calculated),
            (2, Schedule::Calculated),
            (3, Schedule::Every(9_000)),
            (4, Schedule::Every(3_000)),
            (5, Schedule::Calculated),
        ]);
        let timings = intervals(&tree, &schedules, 1_000);
        assert_eq!(timings[&1], Timing::Every(3_000));
        assert_eq!(timings[&2], Timing::Every(3_000));
        assert_eq!(timings[&5], Timing::Every(1_000), "isolated");
    }

    #[test]
    fn an_immediate_table_passes_on_what_its_readers_need() {
        let chain = graph(&[1, 2, 3], &[(2, 1), (3, 2)]).unwrap();
        let schedules = BTreeMap::from([(1, Schedule::Calculated), (3, Schedule::Every(7_000))]);
        let timings = intervals(&chain, &schedules, 1_000);
        assert_eq!(timings[&1], Timing::Every(7_000));
        assert!(!timings.contains_key(&2));
    }
}
