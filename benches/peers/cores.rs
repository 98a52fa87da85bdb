//! Which core does what.

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use postgres::Client;

/// The calling thread, as the kernel knows it.
const HERE: Pid = Pid::from_raw(0);

/// While it lives, the calling thread has one core and some sessions have another.
#[derive(Debug)]
pub(crate) struct Apart {
    allowed: CpuSet,
}

impl Apart {
    /// An error where there is only one core.
    pub(crate) fn new<'a>(sessions: impl Iterator<Item = &'a mut Client>) -> Result<Apart> {
        let allowed = sched_getaffinity(HERE)?;
        let cores: Vec<_> = (0..CpuSet::count()).filter(|core| allowed.is_set(*core) == Ok(true)).collect();
        ensure!(cores.len() > 1, "the client and the server need a core each");
        for session in sessions {
            let pid = session.query_one("SELECT pg_backend_pid()", &[])?.get(0);
            place(Pid::from_raw(pid), cores[1]).context("the core of a session")?;
        }
        let apart = Apart { allowed };
        place(HERE, cores[0]).context("the core of the client")?;
        Ok(apart)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // What is left where it is only runs on fewer cores.
        let _ = sched_setaffinity(HERE, &self.allowed);
    }
}

fn place(process: Pid, core: usize) -> nix::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(process, &cores)
}
