//! The 22 queries of TPC-H as stream tables, one at a time: after changes of all eight tables, a differential refresh
//! beside a full one and beside `REFRESH MATERIALIZED VIEW`. `scripts/bench tpch` builds what this needs and runs it.

mod measure;
mod table;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use measure::{Bench, Measured};
use pgtrickle_workload::page::{self, Origin};
use pgtrickle_workload::server::{Options, Server};
use pgtrickle_workload::tpch::{self, Progress};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DATABASE: &str = "tpch";
const PART: &str = "tpch";

/// Measure the 22 queries of TPC-H as stream tables.
#[derive(Debug, Parser)]
struct Arguments {
    /// The pg_config of the PostgreSQL 18 to run
    #[arg(long, env = "PG_CONFIG", hide_env = true)]
    pg_config: PathBuf,
    /// Where scripts/stage has laid out pg_trickle
    #[arg(long)]
    stage: PathBuf,
    /// Scale factor of the data; 1 is about 1 GB
    #[arg(long, default_value_t = 0.1)]
    scale: f64,
    /// Only these queries, such as q01,q15
    #[arg(long, value_delimiter = ',')]
    queries: Vec<String>,
    /// How often each thing is measured after the first time, which does not count
    #[arg(long, default_value_t = 5)]
    samples: usize,
    /// A refresh that takes longer is broken off
    #[arg(long, default_value_t = 120)]
    limit_seconds: u64,
    /// Where to write how the refreshes are executed that are slower than REFRESH MATERIALIZED VIEW
    #[arg(long)]
    explain: Option<PathBuf>,
    /// Likewise those that are less than so many times as fast
    #[arg(long, default_value_t = 1.0)]
    explain_below: f64,
    /// Where results are kept: those of queries that are not measured this time show on the page too
    #[arg(long)]
    results: Option<PathBuf>,
    /// The page whose figures are replaced; without it they are only printed
    #[arg(long)]
    page: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let options = Options::new(&arguments.pg_config)?.stage(&arguments.stage)?;
    let shared_buffers = shared_buffers();
    let options = options.setting("shared_preload_libraries", "pg_trickle").setting("shared_buffers", &shared_buffers);
    let server = Server::start(&options)?;
    let mut client = server.connect("postgres")?;
    let origin = Origin::of_this_machine(&mut client)?;
    client.batch_execute(&format!("CREATE DATABASE {DATABASE}"))?;
    client.batch_execute(&format!("ALTER DATABASE {DATABASE} SET pg_trickle.enabled = off"))?;
    load(&server, arguments.scale)?;
    let limit = Duration::from_secs(arguments.limit_seconds);
    let mut bench = Bench::new(&server, DATABASE, arguments.samples, limit)?;
    let mut found = Vec::new();
    for query in tpch::queries() {
        if !arguments.queries.is_empty() && !arguments.queries.contains(&query.name) {
            continue;
        }
        let (measured, plans) = bench
            .measure(&query, arguments.explain.as_ref().map(|_| arguments.explain_below))
            .with_context(|| format!("{} at scale {}", query.name, arguments.scale))?;
        eprintln!("{}", table::line(&measured));
        if let (Some(plans), Some(file)) = (plans, &arguments.explain) {
            append(file, &measured, &plans)?;
        }
        found.retain(|known: &Measured| known.name != measured.name);
        found.push(measured);
        if let Some(file) = &arguments.results {
            found = keep(file, arguments.scale, found)?;
        }
    }
    ensure!(!found.is_empty(), "no query of TPC-H has a name of {}", arguments.queries.join(", "));
    let text = format!("{origin}shared_buffers is {shared_buffers}.\n\n{}", table::tables(&found, arguments.scale));
    println!("{text}");
    arguments.page.map_or(Ok(()), |file| page::write(&file, PART, &text))
}

/// A quarter of the memory, as the server's documentation advises; a gigabyte where it is not known.
fn shared_buffers() -> String {
    page::memory().map_or("1GB".to_owned(), |kilobytes| format!("{}MB", kilobytes / 4 / 1024))
}

fn load(server: &Server, scale: f64) -> Result<()> {
    server.connect(DATABASE)?.batch_execute("CREATE EXTENSION pg_trickle").context("CREATE EXTENSION pg_trickle")?;
    tpch::load(server, DATABASE, scale, &mut |progress| {
        if let Progress::Loaded(table, rows, time) = progress {
            eprintln!("loaded {table}: {rows} rows ({:.1} s)", time.as_secs_f64());
        }
        Ok(())
    })
}

fn append(file: &Path, measured: &Measured, plans: &str) -> Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
    Ok(writeln!(file, "== {}\n{plans}\n", measured.name)?)
}

/// What is known at one scale.
#[derive(Serialize, Deserialize)]
struct Results {
    scale: f64,
    found: Vec<Measured>,
}

/// Writes `found` to `file` together with what it has of other queries at the same scale, and gives all of it.
fn keep(file: &Path, scale: f64, mut found: Vec<Measured>) -> Result<Vec<Measured>> {
    if file.exists() {
        let old: Results = serde_json::from_str(&std::fs::read_to_string(file)?)?;
        let others = old.found.into_iter().filter(|_| old.scale == scale);
        let others: Vec<_> = others.filter(|old| found.iter().all(|new| new.name != old.name)).collect();
        found.extend(others);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let results = Results { scale, found };
    std::fs::write(file, serde_json::to_string_pretty(&results)?)?;
    Ok(results.found)
}
