//! Load: what stays within bounds when there is much of it. Large transactions, a day of writes, a thousand stream tables that
//! have nothing to do, and a chain of ten. Everything is compared with its query by the oracle before its figures count.
//! `scripts/bench load` builds what this needs and runs it.

mod buffers;
mod chain;
mod idle;
mod large;
mod process;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pgtrickle_workload::page::{self, Origin};
use pgtrickle_workload::server::{Options, Server};
use postgres::Client;
use std::path::PathBuf;

const PART: &str = "load";

/// Measure pg_trickle under load.
#[derive(Debug, Parser)]
struct Arguments {
    /// The pg_config of the PostgreSQL 18 to run
    #[arg(long, env = "PG_CONFIG", hide_env = true)]
    pg_config: PathBuf,
    /// Where scripts/stage has laid out pg_trickle
    #[arg(long)]
    stage: PathBuf,
    /// Only these: large, buffers, idle, chain
    #[arg(long, value_delimiter = ',')]
    parts: Vec<String>,
    /// Rows that the large transaction changes
    #[arg(long, default_value_t = 5_000_000)]
    rows: i64,
    /// Seconds of the day of writes that are simulated, with 5000 rows each
    #[arg(long, default_value_t = 4_000)]
    seconds: u32,
    /// Stream tables that have nothing to do
    #[arg(long, default_value_t = 1_000)]
    tables: u32,
    /// Commits at the head of the chain
    #[arg(long, default_value_t = 100)]
    commits: u32,
    /// The page whose figures are replaced if all parts were measured; without it they are only printed
    #[arg(long)]
    page: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let options = Options::new(&arguments.pg_config)?.stage(&arguments.stage)?;
    let options = options.setting("shared_preload_libraries", "pg_trickle").setting("shared_buffers", "1GB");
    // What stays small does so without being cleaned up after.
    let server = Server::start(&options.setting("autovacuum", "off"))?;
    let origin = Origin::of_this_machine(&mut server.connect("postgres")?)?;
    let mut found = Vec::new();
    type Part = fn(&Server, &Arguments) -> Result<String>;
    let parts: [(&str, Part); 4] = [
        ("large", |server, arguments| large::measure(server, arguments.rows)),
        ("buffers", |server, arguments| buffers::measure(server, arguments.seconds)),
        ("idle", |server, arguments| idle::measure(server, arguments.tables)),
        ("chain", |server, arguments| chain::measure(server, arguments.commits)),
    ];
    for (name, measure) in parts {
        if arguments.parts.is_empty() || arguments.parts.iter().any(|wanted| wanted == name) {
            eprintln!("measuring {name}");
            found.push(measure(&server, &arguments).with_context(|| format!("in the part {name}"))?);
            server.connect("postgres")?.batch_execute(&format!("DROP DATABASE {name} (FORCE)"))?;
        }
    }
    ensure!(!found.is_empty(), "no part has a name of {}", arguments.parts.join(", "));
    let all = found.len() == parts.len();
    let text = format!("{origin}autovacuum is off; work_mem is 4 MB.\n\n{}", found.join("\n"));
    println!("{text}");
    match arguments.page {
        Some(file) if all => page::write(&file, PART, &text),
        _ => Ok(()),
    }
}

/// A database with the extension. The scheduler works in it only if it is `scheduled`.
fn database(server: &Server, name: &str, scheduled: bool) -> Result<Client> {
    let mut client = server.connect("postgres")?;
    client.batch_execute(&format!("CREATE DATABASE {name}"))?;
    if !scheduled {
        client.batch_execute(&format!("ALTER DATABASE {name} SET pg_trickle.enabled = off"))?;
    }
    let mut client = server.connect(name)?;
    client.batch_execute("CREATE EXTENSION pg_trickle")?;
    Ok(client)
}

/// Creates a stream table that never falls back to recomputation.
fn stream_table(client: &mut Client, name: &str, schedule: &str, query: &str) -> Result<()> {
    let create = "SELECT pgtrickle.create_stream_table($1::text, $2::text, schedule => $3::text, refresh_mode => 'DIFFERENTIAL')";
    client.execute(create, &[&name, &query, &schedule]).with_context(|| format!("cannot create {name}"))?;
    Ok(())
}

fn refresh(client: &mut Client, name: &str) -> Result<()> {
    client.execute("SELECT pgtrickle.refresh_stream_table($1)", &[&name])?;
    Ok(())
}

/// Megabytes with as many digits as matter.
fn megabytes(bytes: i64) -> String {
    let value = bytes as f64 / f64::from(1 << 20);
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}
