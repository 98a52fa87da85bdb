//! The frontier: which changes a stream table's contents already hold.
//!
//! **Law.** A change buffer row carries the writer's top-level transaction id and the command id under which the row was
//! written, so it is visible to a snapshot exactly when that snapshot sees `(xid, cid)`. A frontier records what one
//! snapshot saw; the delta between two snapshots is the rows that the newer one sees and that are not inside the older:
//!
//! ```text
//! (xid, cid) ∈ F  ⇔  cid < own.cid              when F was taken inside transaction own.xid = xid
//!                    xid is visible in snapshot  otherwise
//! ```
//!
//! A snapshot does not list its own transaction as running, so `own` must be recorded whenever the transaction that took
//! it had an xid. If it had none, the xid that it gets later is at or above the snapshot's `xmax`, hence not visible, hence
//! every one of its rows is outside: right again. Rows of a rolled-back savepoint are visible to nobody and need no rule.
//!
//! Command ids never go back inside a transaction, not even when a savepoint is rolled back, so `cid < own.cid` divides the
//! transaction's rows by time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What PostgreSQL prints as `pg_snapshot`: transactions below `xmin` are visible, those at or above `xmax` are not, nor
/// are those listed in `running`. Ids are 64 bits wide and those of top-level transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct VisibleXids {
    xmin: u64,
    xmax: u64,
    running: Vec<u64>,
}

impl VisibleXids {
    /// `running` may come in any order and may hold ids at or above `xmax`.
    pub fn new(xmin: u64, xmax: u64, mut running: Vec<u64>) -> Self {
        running.retain(|&xid| xid >= xmin && xid < xmax);
        running.sort_unstable();
        running.dedup();
        VisibleXids { xmin, xmax, running }
    }

    /// Whether the snapshot sees what transaction `xid` wrote.
    pub fn contains(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && self.running.binary_search(&xid).is_err())
    }
}

impl fmt::Display for VisibleXids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (position, xid) in self.running.iter().enumerate() {
            write!(f, "{}{xid}", if position == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Text that is not a `pg_snapshot`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid snapshot: \"{0}\"")]
pub struct InvalidSnapshot(String);

impl FromStr for VisibleXids {
    type Err = InvalidSnapshot;

    fn from_str(text: &str) -> Result<Self, InvalidSnapshot> {
        let parse = || -> Option<Self> {
            let mut parts = text.split(':');
            let (xmin, xmax) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let running = parts.next()?.split(',').filter(|xid| !xid.is_empty());
            let running = running.map(|xid| xid.parse().ok()).collect::<Option<Vec<u64>>>()?;
            (parts.next().is_none() && xmin <= xmax).then(|| VisibleXids::new(xmin, xmax, running))
        };
        parse().ok_or_else(|| InvalidSnapshot(text.to_owned()))
    }
}

impl From<VisibleXids> for String {
    fn from(snapshot: VisibleXids) -> String {
        snapshot.to_string()
    }
}

impl TryFrom<String> for VisibleXids {
    type Error = InvalidSnapshot;

    fn try_from(text: String) -> Result<Self, InvalidSnapshot> {
        text.parse()
    }
}

/// The transaction that took a snapshot and the first of its command ids that the snapshot did not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnWrites {
    pub xid: u64,
    pub cid: u32,
}

/// The set of changes that a stream table's contents hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    pub snapshot: VisibleXids,
    /// Present when the transaction that took the snapshot had an id, that is, had written something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<OwnWrites>,
    /// The clock at which the contents were right, in microseconds of PostgreSQL's epoch, when they depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<i64>,
    /// The cluster whose transaction ids these are. On another one (a restored dump) the frontier means nothing.
    pub system: String,
}

impl Frontier {
    /// Whether a change that transaction `xid` wrote at command `cid` is inside.
    pub fn contains(&self, xid: u64, cid: u32) -> bool {
        match self.own {
            Some(own) if own.xid == xid => cid < own.cid,
            _ => self.snapshot.contains(xid),
        }
    }

    /// Whether some change of the transactions from `oldest` to `newest` may be outside. Where an old transaction is still
    /// running, this tells what is its own from what others wrote since and is inside.
    pub fn lacks_some(&self, oldest: u64, newest: u64) -> bool {
        let within = |xid: u64| oldest <= xid && xid <= newest;
        let running = &self.snapshot.running;
        oldest <= newest
            && (newest >= self.snapshot.xmax
                || running.get(running.partition_point(|&xid| xid < oldest)).is_some_and(|&xid| within(xid))
                || self.own.is_some_and(|own| within(own.xid)))
    }

    /// Every change of a transaction below this one is inside.
    pub fn begin(&self) -> u64 {
        self.own.map_or(self.snapshot.xmin, |own| self.snapshot.xmin.min(own.xid))
    }

    /// No change of this transaction or a higher one is inside.
    pub fn end(&self) -> u64 {
        self.own.map_or(self.snapshot.xmax, |own| self.snapshot.xmax.max(own.xid + 1))
    }

    /// Whether this frontier is at least as new as `older`: whatever is inside `older` is inside this one. Two snapshots of
    /// one cluster are ordered unless they were taken inside transactions that do not see each other.
    pub fn covers(&self, older: &Frontier) -> bool {
        if self.system != older.system {
            return false;
        }
        let candidates = older.snapshot.xmax.saturating_sub(self.snapshot.xmax);
        // Between the two xmax every transaction must be invisible to `older` as well, so each is one it lists.
        if candidates > older.snapshot.running.len() as u64 + 1 {
            return false;
        }
        let invisible =
            self.snapshot.running.iter().copied().chain(self.snapshot.xmax..self.snapshot.xmax + candidates);
        let own = [self.own, older.own].into_iter().flatten().map(|own| own.xid);
        invisible.chain(own).all(|xid| self.bound(xid) >= older.bound(xid))
    }

    /// The first command of `xid` that is outside.
    fn bound(&self, xid: u64) -> u32 {
        match self.own {
            Some(own) if own.xid == xid => own.cid,
            _ if self.snapshot.contains(xid) => u32::MAX,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frontier(snapshot: &str, own: Option<(u64, u32)>) -> Frontier {
        Frontier {
            snapshot: snapshot.parse().unwrap(),
            own: own.map(|(xid, cid)| OwnWrites { xid, cid }),
            clock: None,
            system: "1".into(),
        }
    }

    #[test]
    fn prints_what_it_parses() {
        for text in ["10:10:", "10:20:10,14", "4294967300:4294967310:4294967301"] {
            assert_eq!(text.parse::<VisibleXids>().unwrap().to_string(), text);
        }
        for text in ["", "10", "10:20", "20:10:", "a:b:", "1:2:3:4", "1:5:x"] {
            assert!(text.parse::<VisibleXids>().is_err(), "{text}");
        }
    }

    #[test]
    fn survives_json() {
        let value = frontier("10:20:10,14", Some((15, 3)));
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(json, r#"{"snapshot":"10:20:10,14","own":{"xid":15,"cid":3},"system":"1"}"#);
        assert_eq!(serde_json::from_str::<Frontier>(&json).unwrap(), value);
        assert_eq!(serde_json::from_str::<Frontier>(r#"{"snapshot":"1:1:","system":"1"}"#).unwrap().own, None);
    }

    #[test]
    fn own_rows_divide_by_command() {
        // The snapshot of transaction 15 does not list 15 as running.
        let value = frontier("10:20:10,14", Some((15, 3)));
        assert!(value.contains(15, 2) && !value.contains(15, 3));
        assert!(value.contains(9, 100) && value.contains(11, 100));
        assert!(!value.contains(10, 0) && !value.contains(14, 0) && !value.contains(20, 0));
    }

    #[test]
    fn an_id_assigned_after_the_snapshot_is_outside() {
        assert!(!frontier("20:20:", None).contains(20, 0));
    }

    #[test]
    fn a_frontier_covers_older_ones_only() {
        let old = frontier("10:12:10", None);
        let new = frontier("12:15:13", None);
        assert!(new.covers(&old) && !old.covers(&new) && new.covers(&new));
        let mine = frontier("10:12:10", Some((11, 4)));
        let mine_later = frontier("10:12:10", Some((11, 6)));
        assert!(mine_later.covers(&mine) && !mine.covers(&mine_later));
        assert!(old.covers(&mine_later) && !mine_later.covers(&old), "11 committed");
        assert!(!new.covers(&Frontier { system: "2".into(), ..old }));
    }

    proptest! {
        #[test]
        fn covering_is_inclusion(
            a in (0u64..12, 0u64..6, prop::collection::vec(0u64..18, 0..6), prop::option::of((0u64..18, 1u32..4))),
            b in (0u64..12, 0u64..6, prop::collection::vec(0u64..18, 0..6), prop::option::of((0u64..18, 1u32..4))),
        ) {
            let make = |(xmin, width, running, own): (u64, u64, Vec<u64>, Option<(u64, u32)>)| Frontier {
                snapshot: VisibleXids::new(xmin, xmin + width, running),
                own: own.map(|(xid, cid)| OwnWrites { xid, cid }),
                clock: None,
                system: "1".into(),
            };
            let (a, b) = (make(a), make(b));
            // Every frontier is constant in cid from 4 up, and in xid from 18 up; u32::MAX stands for the last command.
            let included = (0..20).all(|xid| [0, 1, 2, 3, 4].iter().all(|&cid| !b.contains(xid, cid) || a.contains(xid, cid)));
            prop_assert_eq!(a.covers(&b), included);
            prop_assert!((0..a.begin()).all(|xid| a.contains(xid, u32::MAX)));
            prop_assert!((a.end()..20).all(|xid| !a.contains(xid, 0)));
            for (oldest, newest) in (0..20).flat_map(|oldest| (0..20).map(move |newest| (oldest, newest))) {
                let lacks = (oldest..=newest).any(|xid| !a.contains(xid, u32::MAX));
                prop_assert_eq!(a.lacks_some(oldest, newest), lacks);
            }
        }
    }
}
