//! Refreshing a group, by a scheduler or by one of its workers.

use crate::catalog::Initiator;
use crate::pg::tasks::Told;
use crate::pg::transaction::{Caught, transaction};
use crate::pg::worker;
use crate::refresh::{self, Outcome};

/// What became of a stream table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Became {
    Refreshed,
    /// Its contents are right as they are.
    Unchanged,
    /// Whoever refreshes it may have begun before the latest changes.
    Busy,
    Failed(Failure),
}

/// Why a refresh failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) sqlstate: String,
    pub(super) message: String,
    /// Somebody asked for it.
    pub(super) cancelled: bool,
}

impl From<Outcome> for Became {
    fn from(outcome: Outcome) -> Became {
        match outcome {
            Outcome::Busy => Became::Busy,
            Outcome::Unchanged => Became::Unchanged,
            Outcome::Newer | Outcome::Refreshed { .. } => Became::Refreshed,
        }
    }
}

impl From<Caught> for Became {
    fn from(error: Caught) -> Became {
        let (sqlstate, cancelled) = (error.sqlstate_text(), error.is_cancel());
        Became::Failed(Failure { sqlstate, message: error.message, cancelled })
    }
}

/// Refreshes a group in one transaction; if that fails as a whole, each member in its own.
pub(super) fn refresh_group(group: &[i64]) -> Vec<(i64, Became)> {
    worker::report_running(c"refreshing stream tables");
    match transaction(|| refresh::refresh_group(group, Initiator::Scheduler)) {
        Ok(results) => {
            let became = |result: Result<Outcome, Caught>| result.map_or_else(Became::from, Became::from);
            results.into_iter().map(|(id, result)| (id, became(result))).collect()
        }
        Err(error) if group.len() == 1 || error.is_cancel() => {
            group.iter().map(|id| (*id, error.clone().into())).collect()
        }
        Err(_) => group.iter().flat_map(|id| refresh_group(&[*id])).collect(),
    }
}

/// What a refresh worker does.
pub fn work(group: &[i64]) -> Vec<Told> {
    refresh_group(group).into_iter().map(|(id, became)| tell(id, became)).collect()
}

fn tell(id: i64, became: Became) -> Told {
    let plain = |what| Told { id, what, ..Told::default() };
    match became {
        Became::Refreshed => plain(1),
        Became::Unchanged => plain(2),
        Became::Busy => plain(3),
        Became::Failed(Failure { sqlstate, message, .. }) => Told { id, what: 4, sqlstate, message },
    }
}

/// What a worker has told, or that it ended before it could.
pub(super) fn told(Told { id, what, sqlstate, message }: Told) -> (i64, Became) {
    let became = match what {
        1 => Became::Refreshed,
        2 => Became::Unchanged,
        3 => Became::Busy,
        4 => Became::Failed(Failure { cancelled: false, sqlstate, message }),
        _ => Became::Failed(Failure {
            sqlstate: "57P01".into(),
            message: "the refresh worker ended before it was done".into(),
            cancelled: true,
        }),
    };
    (id, became)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_says_what_became_of_it() {
        let failure = Failure { sqlstate: "22012".into(), message: "division by zero".into(), cancelled: false };
        for became in [Became::Refreshed, Became::Unchanged, Became::Busy, Became::Failed(failure)] {
            assert_eq!(told(tell(7, became.clone())), (7, became));
        }
        assert!(matches!(told(Told { id: 7, ..Told::default() }), (7, Became::Failed(_))));
    }
}
