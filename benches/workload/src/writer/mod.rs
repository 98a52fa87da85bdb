//! A busy shop: several connections commit orders, price changes and deletions on the TPC-H tables at a chosen rate.
//!
//! Every order belongs to one connection, so the connections never wait for each other's rows. Arrivals are random
//! (exponential gaps), as customers are; a connection that falls behind catches up by at most a second.

mod transaction;

use crate::server::Server;
use anyhow::{Result, anyhow};
use rand::RngExt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
pub use transaction::Kind;
use transaction::Session;

/// What the writer has committed so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Written {
    pub transactions: u64,
    /// Rows inserted, updated or deleted.
    pub rows: u64,
    /// Transactions of each kind, in the order of [`Kind::ALL`].
    pub by_kind: [u64; Kind::ALL.len()],
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    rows: AtomicU64,
    by_kind: [AtomicU64; Kind::ALL.len()],
    next_order: AtomicI64,
    /// Held shared during each transaction, and exclusively by whoever wants silence.
    gate: RwLock<()>,
}

/// The connections that write; they stop when this value is dropped.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Writer {
    /// Opens `connections` connections that together commit `rate` transactions a second.
    pub fn start(server: &Server, database: &str, connections: usize, rate: f64) -> Result<Writer> {
        let shared = Arc::new(Shared::default());
        let highest: i64 =
            server.connect(database)?.query_one("SELECT max(o_orderkey) FROM orders", &[])?.try_get(0)?;
        shared.next_order.store(highest + 1, Relaxed);
        let mut writer = Writer { shared, threads: Vec::new() };
        for number in 0..connections {
            let session = Session::open(server.connect(database)?, number, connections)?;
            let (shared, gap) = (writer.shared.clone(), Duration::from_secs_f64(connections as f64 / rate));
            writer.threads.push(std::thread::spawn(move || run(session, &shared, gap)));
        }
        Ok(writer)
    }

    /// What has been committed since the start.
    pub fn written(&self) -> Written {
        let by_kind = std::array::from_fn(|kind| self.shared.by_kind[kind].load(Relaxed));
        Written { transactions: by_kind.iter().sum(), rows: self.shared.rows.load(Relaxed), by_kind }
    }

    /// Waits for the transactions under way and keeps new ones from starting as long as the guard lives.
    pub fn pause(&self) -> Result<RwLockWriteGuard<'_, ()>> {
        self.shared.gate.write().map_err(|_| anyhow!("a writing thread panicked"))
    }

    /// True while every connection is at work; [`Writer::stop`] tells why one is not.
    pub fn is_healthy(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Ends the connections after their current transaction.
    pub fn stop(mut self) -> Result<Written> {
        self.shared.stop.store(true, Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            thread.thread().unpark();
            thread.join().map_err(|_| anyhow!("a writing thread panicked"))??;
        }
        Ok(self.written())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        self.threads.iter().for_each(|thread| thread.thread().unpark());
    }
}

fn run(mut session: Session, shared: &Shared, mean_gap: Duration) -> Result<()> {
    let mut random = rand::rng();
    let mut due = Instant::now();
    while !shared.stop.load(Relaxed) {
        let now = Instant::now();
        if due > now {
            std::thread::park_timeout(due - now);
            continue;
        }
        let uniform: f64 = random.random_range(f64::EPSILON..1.0);
        due = due.max(now - Duration::from_secs(1)) + mean_gap.mul_f64(-uniform.ln());
        let kind = Kind::draw(&mut random);
        let _turn = shared.gate.read().map_err(|_| anyhow!("a writing thread panicked"))?;
        let rows = session.commit(kind, &shared.next_order)?;
        shared.rows.fetch_add(rows, Relaxed);
        shared.by_kind[kind as usize].fetch_add(1, Relaxed);
    }
    Ok(())
}
