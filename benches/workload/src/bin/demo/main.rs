//! The demo: five stream tables over TPC-H data stay equal to their queries while a writer changes that data.
//!
//! It starts a private server, loads the data, creates the stream tables, and then shows once a second what is written,
//! what each stream table did about it, how soon a commit shows, and whether the oracle agrees. `scripts/demo` builds
//! everything that it needs and runs it.

mod observe;
mod screen;
mod setup;
mod stream_tables;

use anyhow::{Result, ensure};
use clap::Parser;
use observe::Observer;
use pgtrickle_workload::oracle::Verdict;
use pgtrickle_workload::server::Server;
use pgtrickle_workload::writer::Writer;
use screen::{Frame, Screen};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Watch pg_trickle keep five stream tables up to date while TPC-H data changes under them.
#[derive(Debug, Parser)]
struct Arguments {
    /// The pg_config of the PostgreSQL 18 to run
    #[arg(long, env = "PG_CONFIG", hide_env = true)]
    pg_config: PathBuf,
    /// Where scripts/stage has laid out the extension
    #[arg(long)]
    stage: PathBuf,
    /// Scale factor of the data; 1 is about 1 GB
    #[arg(long, default_value_t = 0.1)]
    scale: f64,
    /// Transactions to commit each second
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Connections that commit them
    #[arg(long, default_value_t = 4)]
    writers: usize,
    /// How long to write
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Leave the server up afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True when every stream table is equal to its query at the end.
fn run(arguments: &Arguments) -> Result<bool> {
    ensure!(arguments.scale > 0.0 && arguments.rate > 0.0, "--scale and --rate must be above zero");
    ensure!(arguments.writers > 0, "--writers must be at least 1");
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    ctrlc::set_handler(move || flag.store(true, Relaxed))?;

    let server = setup::server(arguments)?;
    demonstrate(arguments, &server, &interrupted).inspect_err(|_| {
        // The log goes with the server; what it says about a failure is often the reason.
        eprint!("{}", server.log().unwrap_or_default());
    })
}

fn demonstrate(arguments: &Arguments, server: &Server, interrupted: &AtomicBool) -> Result<bool> {
    setup::load(server, arguments.scale, interrupted)?;
    setup::create_stream_tables(server, interrupted)?;
    let psql = server.psql(setup::DATABASE);
    let observer = setup::first_change(server)?;
    let writer = Writer::start(server, setup::DATABASE, arguments.writers, arguments.rate)?;
    println!("look around meanwhile: {psql}\n");

    watch(arguments, &observer, &writer, interrupted)?;
    let written = writer.stop()?;
    println!("\nThe writer has stopped: {}", screen::sentence(&written));
    let verdicts = observer.final_verdicts()?;
    screen::print_summary(&observer.tables()?, &verdicts);
    if arguments.keep {
        println!("\nThe server stays up until Ctrl-C. Look around with\n  {psql}");
        interrupted.store(false, Relaxed);
        while !interrupted.load(Relaxed) {
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
    Ok(verdicts.iter().all(|verdict| *verdict == Verdict::Equal))
}

/// Shows what happens, once a second, until the time is over or somebody presses Ctrl-C.
fn watch(arguments: &Arguments, observer: &Observer<'_>, writer: &Writer, interrupted: &AtomicBool) -> Result<()> {
    let (begin, length) = (Instant::now(), Duration::from_secs(arguments.seconds));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let probing = scope.spawn(|| observer.probe_until(&ended));
        let checking = scope.spawn(|| observer.check_until(&ended, writer));
        let show = || -> Result<()> {
            let mut screen = Screen::new(arguments.scale, length);
            let mut gauge = observer.gauge()?;
            for second in 1.. {
                let next = begin + Duration::from_secs(second);
                while Instant::now() < next && !interrupted.load(Relaxed) {
                    std::thread::park_timeout(Duration::from_millis(50).min(next - Instant::now()));
                }
                screen.show(&Frame {
                    elapsed: begin.elapsed(),
                    written: writer.written(),
                    tables: gauge.read(observer.tables()?)?,
                });
                let working = writer.is_healthy() && !probing.is_finished() && !checking.is_finished();
                if !working || interrupted.load(Relaxed) || begin.elapsed() >= length {
                    break;
                }
            }
            Ok(())
        };
        let shown = show();
        ended.store(true, Relaxed);
        for thread in [probing, checking] {
            thread.join().map_err(|_| anyhow::anyhow!("an observing thread panicked"))??;
        }
        shown
    })
}
