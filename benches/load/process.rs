//! What the processes of the server use, as the system counts it. Linux only, like `/proc`.

use anyhow::{Context, Result, anyhow};
use pgtrickle_workload::server::Server;
use postgres::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(20);

/// Memory of the process's own, in bytes: without what it shares, such as the server's buffers. None when it is gone.
fn own_memory(pid: i32) -> Option<i64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.split_whitespace().next()?.parse::<i64>().ok()? << 10)
}

/// Time for which the process has run on a processor.
pub(crate) fn processor_time(pid: i32) -> Result<Duration> {
    let path = format!("/proc/{pid}/schedstat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let nanoseconds = text.split_whitespace().next().and_then(|number| number.parse().ok());
    nanoseconds.map(Duration::from_nanos).with_context(|| format!("{path} has no number"))
}

/// The most memory that processes have while this lives.
pub(crate) struct Peak {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicI64>,
    thread: JoinHandle<Result<()>>,
}

impl Peak {
    /// Of the server process of a session.
    pub(crate) fn of_session(client: &mut Client) -> Result<Peak> {
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[])?.try_get(0)?;
        Ok(Peak::watch(move || Ok(vec![pid])))
    }

    /// Of any process of pg_trickle in a database.
    pub(crate) fn of_workers(server: &Server, database: &str) -> Result<Peak> {
        let mut client = server.connect("postgres")?;
        let query = "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'pg\\_trickle %' AND datname = $1";
        let database = database.to_owned();
        Ok(Peak::watch(move || {
            Ok(client.query(query, &[&database])?.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
        }))
    }

    fn watch(mut pids: impl FnMut() -> Result<Vec<i32>> + Send + 'static) -> Peak {
        let (stop, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let (stopped, seen) = (stop.clone(), most.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Relaxed) {
                for pid in pids()? {
                    seen.fetch_max(own_memory(pid).unwrap_or(0), Relaxed);
                }
                std::thread::sleep(PAUSE);
            }
            Ok(())
        });
        Peak { stop, most, thread }
    }

    /// What was seen, in bytes.
    pub(crate) fn bytes(self) -> Result<i64> {
        self.stop.store(true, Relaxed);
        self.thread.join().map_err(|_| anyhow!("the watching thread panicked"))??;
        Ok(self.most.load(Relaxed))
    }
}
