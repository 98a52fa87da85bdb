//! Everything before the writer starts: server, data, stream tables.

use crate::Arguments;
use crate::observe::Observer;
use crate::screen::{Status, thousands};
use crate::stream_tables::{PROBE_ROWS, STREAM_TABLES};
use anyhow::{Context, Result, ensure};
use pgtrickle_workload::server::{Options, Server};
use pgtrickle_workload::tpch::{self, Progress};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

pub(crate) const DATABASE: &str = "tpch";
/// Starts the server and makes the database.
pub(crate) fn server(arguments: &Arguments) -> Result<Server> {
    let begin = Instant::now();
    let options = Options::new(&arguments.pg_config)?
        .stage(&arguments.stage)?
        .setting("shared_preload_libraries", "pg_trickle")
        .setting("pg_trickle.min_schedule_seconds", "0")
        .setting("shared_buffers", "512MB");
    let server = Server::start(&options)?;
    let mut client = server.connect("postgres")?;
    client.batch_execute(&format!("CREATE DATABASE {DATABASE}"))?;
    let version: String = client.query_one("SHOW server_version", &[])?.try_get(0)?;
    server.connect(DATABASE)?.batch_execute("CREATE EXTENSION pg_trickle").context("CREATE EXTENSION pg_trickle")?;
    println!("private server, PostgreSQL {version}, with pg_trickle ({:.1} s)", begin.elapsed().as_secs_f64());
    Ok(server)
}

/// Loads TPC-H and the rows of the probe.
pub(crate) fn load(server: &Server, scale: f64, interrupted: &AtomicBool) -> Result<()> {
    let (begin, mut status, mut total) = (Instant::now(), Status::new(), 0);
    tpch::load(server, DATABASE, scale, &mut |progress| {
        ensure!(!interrupted.load(Relaxed), "interrupted");
        match progress {
            Progress::Rows(table, rows) => status.update(&format!("loading {table}: {} rows", thousands(rows))),
            Progress::Loaded(table, rows, time) => {
                total += rows;
                status.keep(&format!("loaded {table}: {} rows ({:.1} s)", thousands(rows), time.as_secs_f64()));
            }
            Progress::Indexing => status.update("making indexes"),
            Progress::Analyzing => status.update("gathering statistics"),
        }
        Ok(())
    })?;
    server.connect(DATABASE)?.batch_execute(PROBE_ROWS)?;
    let seconds = begin.elapsed().as_secs_f64();
    status.keep(&format!("TPC-H at scale {scale}: {} rows in 8 tables ({seconds:.1} s)", thousands(total)));
    Ok(())
}

/// Creates and fills the stream tables.
pub(crate) fn create_stream_tables(server: &Server, interrupted: &AtomicBool) -> Result<()> {
    let mut client = server.connect(DATABASE)?;
    let mut status = Status::new();
    let create =
        "SELECT pgtrickle.create_stream_table(name => $1, query => $2, schedule => $3, refresh_mode => 'DIFFERENTIAL')";
    for table in &STREAM_TABLES {
        ensure!(!interrupted.load(Relaxed), "interrupted");
        let begin = Instant::now();
        status.update(&format!("creating {}", table.name));
        client
            .execute(create, &[&table.name, &table.query, &table.schedule])
            .with_context(|| format!("cannot create {}", table.name))?;
        let rows: i64 = client.query_one(&format!("SELECT count(*) FROM {}", table.name), &[])?.try_get(0)?;
        let (rows, seconds) = (thousands(rows.unsigned_abs()), begin.elapsed().as_secs_f64());
        status.keep(&format!("created {}: {rows} rows ({seconds:.1} s)", table.name));
    }
    Ok(())
}

/// Waits until a first change has gone through every stream table.
pub(crate) fn first_change(server: &Server) -> Result<Observer<'_>> {
    let (begin, mut status) = (Instant::now(), Status::new());
    status.update("waiting for the scheduler");
    let observer = Observer::new(server)?;
    status.keep(&format!("the scheduler is at work ({:.1} s)", begin.elapsed().as_secs_f64()));
    Ok(observer)
}
