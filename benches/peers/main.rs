//! The same work on pg_trickle, on REFRESH MATERIALIZED VIEW and on pg_ivm, side by side in one run on one private
//! server. Every figure is a median, warm-up not counted, and every relation is compared with its query by the oracle
//! before its figures count. `scripts/bench` builds what this needs and runs it.

mod capture;
mod fixture;
mod page;
mod refresh;
mod visible;

use anyhow::{Context, Result};
use clap::Parser;
use fixture::SHAPES;
use page::Figures;
use pgtrickle_workload::server::{Options, Server};
use std::path::PathBuf;

/// Measure pg_trickle beside REFRESH MATERIALIZED VIEW and pg_ivm.
#[derive(Debug, Parser)]
struct Arguments {
    /// The pg_config of the PostgreSQL 18 to run
    #[arg(long, env = "PG_CONFIG", hide_env = true)]
    pg_config: PathBuf,
    /// Where scripts/stage has laid out pg_trickle
    #[arg(long)]
    stage: PathBuf,
    /// Where pg_ivm is laid out in the same way; without it its columns stay empty
    #[arg(long)]
    pg_ivm: Option<PathBuf>,
    /// Rows of the fact table, one run each
    #[arg(long, value_delimiter = ',', default_value = "100000,1000000")]
    sizes: Vec<i64>,
    /// Only these shapes
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<String>,
    /// Fewer samples, for a first look
    #[arg(long)]
    quick: bool,
    /// The page whose figures are replaced; without it they are only printed
    #[arg(long)]
    page: Option<PathBuf>,
}

/// How often each thing is measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// Things that take about a millisecond.
    many: usize,
    /// Things that take tens of milliseconds.
    some: usize,
    /// Things that take as long as the query.
    few: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let effort =
        if arguments.quick { Effort { many: 15, some: 5, few: 5 } } else { Effort { many: 100, some: 20, few: 7 } };
    let server = start(&arguments)?;
    let mut figures = Figures::of_this_machine(&mut server.connect("postgres")?)?;
    figures.pg_ivm_origin = origin_of(&arguments);
    for &size in &arguments.sizes {
        let database = format!("rows_{size}");
        eprintln!("loading {size} rows");
        fixture::create(&server, &database, size, arguments.pg_ivm.is_some())?;
        for shape in
            SHAPES.iter().filter(|s| arguments.shapes.is_empty() || arguments.shapes.iter().any(|n| n == s.name))
        {
            let mut client = server.connect(&database)?;
            let measured = refresh::measure(&mut client, shape, size, effort, arguments.pg_ivm.is_some())
                .with_context(|| format!("{} at {size} rows", shape.name))?;
            figures.shapes.push(measured);
        }
    }
    eprintln!("measuring capture");
    figures.capture = Some(capture::measure(&server, effort)?);
    eprintln!("measuring how soon a commit shows");
    figures.visible = Some(visible::measure(&server, effort)?);
    let text = figures.to_string();
    println!("{text}");
    arguments.page.map_or(Ok(()), |page| page::write(&page, &text))
}

fn start(arguments: &Arguments) -> Result<Server> {
    let mut options = Options::new(&arguments.pg_config)?.stage(&arguments.stage)?;
    if let Some(pg_ivm) = &arguments.pg_ivm {
        options = options.stage(pg_ivm)?;
    }
    Server::start(&options.setting("shared_preload_libraries", "pg_trickle").setting("shared_buffers", "1GB"))
}

/// Where `scripts/bench` got pg_ivm from.
fn origin_of(arguments: &Arguments) -> Option<String> {
    let origin = std::fs::read_to_string(arguments.pg_ivm.as_ref()?.join("origin")).ok()?;
    Some(origin.trim().to_owned())
}
