//! The refreshes that a scheduler has given to workers.

use pgrx::datum::TimestampWithTimeZone;

use super::group::{self, Became};
use super::tables::Counters;
use crate::config;
use crate::pg::shmem::OwnChanges;
use crate::pg::tasks::{NoWorker, Task};

/// A group that a worker refreshes.
#[derive(Debug)]
struct Helper {
    group: Vec<i64>,
    started: TimestampWithTimeZone,
    before: Counters,
    task: Task,
}

/// A group that was refreshed.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) results: Vec<(i64, Became)>,
    pub(super) started: TimestampWithTimeZone,
    pub(super) before: Counters,
    pub(super) own: OwnChanges,
    pub(super) milliseconds: i64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Helpers(Vec<Helper>);

/// Whether a worker has the group now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Taken,
    /// When one of the workers is done.
    Later,
    /// There is none to be had in this server, or none wanted.
    Never,
}

impl Helpers {
    /// Whether this database may have any.
    pub(super) fn are_wanted() -> bool {
        config::max_concurrent_refreshes() > 1
    }

    /// Gives the group to a worker.
    pub(super) fn give(&mut self, db: u32, group: &[i64], started: TimestampWithTimeZone, before: Counters) -> Given {
        let own = config::max_concurrent_refreshes().unsigned_abs() as usize - 1;
        if own == 0 {
            return Given::Never;
        }
        if self.0.len() >= own {
            return Given::Later;
        }
        let most = config::max_dynamic_refresh_workers().unsigned_abs() as usize;
        match Task::give(db, group, most) {
            Ok(task) => {
                self.0.push(Helper { group: group.to_vec(), started, before, task });
                Given::Taken
            }
            Err(NoWorker::All) => Given::Later,
            Err(NoWorker::Server) => Given::Never,
        }
    }

    /// The stream tables that workers have.
    pub(super) fn busy(&self) -> impl Iterator<Item = i64> {
        self.0.iter().flat_map(|helper| helper.group.iter().copied())
    }

    /// What has been done since the last call.
    pub(super) fn done(&mut self) -> Vec<Done> {
        let mut done = Vec::new();
        self.0.retain_mut(|helper| {
            let Some(finished) = helper.task.result() else { return true };
            done.push(Done {
                results: finished.told.into_iter().map(group::told).collect(),
                started: helper.started,
                before: std::mem::take(&mut helper.before),
                own: finished.own,
                milliseconds: finished.milliseconds,
            });
            false
        });
        done
    }
}
