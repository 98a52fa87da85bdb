//! Which core does what.

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use postgres::Client;

/// The calling thread, as the kernel knows it.
const HERE: Pid = Pid::from_raw(0);

/// While it lives, the calling thread stays on one core, and so do some sessions.
#[derive(Debug)]
pub(crate) struct Placed {
    allowed: CpuSet,
}

impl Placed {
    /// The sessions on another core than the client: an error where there is only one.
    pub(crate) fn apart<'a>(sessions: impl Iterator<Item = &'a mut Client>) -> Result<Placed> {
        Self::on(sessions, |cores| cores.get(1).copied().context("the client and the server need a core each"))
    }

    /// The session on the client's core: of the two, one waits for the other.
    pub(crate) fn together(session: &mut Client) -> Result<Placed> {
        Self::on([session].into_iter(), |cores| Ok(cores[0]))
    }

    fn on<'a>(
        sessions: impl Iterator<Item = &'a mut Client>,
        choose: impl Fn(&[usize]) -> Result<usize>,
    ) -> Result<Placed> {
        let allowed = sched_getaffinity(HERE)?;
        let cores: Vec<_> = (0..CpuSet::count()).filter(|core| allowed.is_set(*core) == Ok(true)).collect();
        let core = choose(&cores)?;
        for session in sessions {
            let pid = session.query_one("SELECT pg_backend_pid()", &[])?.get(0);
            place(Pid::from_raw(pid), core).context("the core of a session")?;
        }
        let placed = Placed { allowed };
        place(HERE, cores[0]).context("the core of the client")?;
        Ok(placed)
    }
}

impl Drop for Placed {
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
