//! The same work on pg_trickle, on REFRESH MATERIALIZED VIEW and on pg_ivm, side by side in one run on one private
//! server. Every figure is a median, warm-up not counted, and every relation is compared with its query by the oracle
//! before its figures count. `scripts/bench` builds what this needs and runs it.

mod bulk;
mod capture;
mod change;
mod cores;
mod expected;
mod figures;
mod fixture;
mod floor;
mod growth;
mod instructions;
mod plots;
mod refresh;
mod results;
mod shapes;
mod visible;
mod way;

use crate::cores::Placed;
use anyhow::{Context, Result, ensure};
use change::Effort;
use clap::{Parser, ValueEnum};
use expected::Expected;
use figures::{Figures, PART};
use pgtrickle_workload::page::{self, Origin};
use pgtrickle_workload::server::{Options, Server};
use results::Results;
use shapes::{SHAPES, Shape};
use std::path::PathBuf;
use std::time::Duration;

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
    /// Only these parts
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Part::ALL)]
    parts: Vec<Part>,
    /// Fewer samples, for a first look
    #[arg(long)]
    quick: bool,
    /// The page whose figures and pictures are replaced; without it they are only printed
    #[arg(long)]
    page: Option<PathBuf>,
    /// Where results are kept: what is not measured this time shows on the page too
    #[arg(long)]
    results: Option<PathBuf>,
    /// Compare ratios with those in this file and fail where they are worse; measures only what is compared
    #[arg(long)]
    check: Option<PathBuf>,
    /// Write the ratios to this file; measures only what is compared
    #[arg(long, conflicts_with = "check")]
    write_expected: Option<PathBuf>,
    /// What the instruction counts of the engine printed, to be compared or written with the ratios
    #[arg(long)]
    instructions: Option<PathBuf>,
}

/// What there is to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Every shape at every size, with up to 1 % of the rows changed
    Shapes,
    /// The same with 10 % and 50 %
    Large,
    /// One changed row at the smallest and the largest size in turns
    Growth,
    /// What the writers pay
    Capture,
    /// From commit to visible
    Visible,
}

impl Part {
    const ALL: [Part; 5] = [Part::Shapes, Part::Large, Part::Growth, Part::Capture, Part::Visible];
}

/// What is measured besides this extension and REFRESH MATERIALIZED VIEW.
#[derive(Debug, Clone, Copy)]
struct Scope {
    /// REFRESH … CONCURRENTLY and the deltas written by hand.
    peers: bool,
    pg_ivm: bool,
}

impl Arguments {
    fn effort(&self) -> Effort {
        if self.quick {
            Effort { many: 100, some: 20, few: 5, large: 2, patience: Duration::from_secs(1) }
        } else {
            Effort { many: 100, some: 20, few: 7, large: 5, patience: Duration::from_secs(8) }
        }
    }

    fn shapes(&self) -> Vec<&'static Shape> {
        SHAPES.iter().filter(|s| self.shapes.is_empty() || self.shapes.iter().any(|name| name == s.name)).collect()
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let compares = arguments.check.is_some() || arguments.write_expected.is_some();
    let scope = Scope { peers: !compares, pg_ivm: !compares && arguments.pg_ivm.is_some() };
    let (effort, shapes, server) = (arguments.effort(), arguments.shapes(), start(&arguments)?);
    let mut origin = Origin::of_this_machine(&mut server.connect("postgres")?)?;
    origin.pg_ivm_from(origin_of(&arguments).as_deref());
    let mut results = Results::known(&origin.date, arguments.results.clone().filter(|_| !compares))?;
    let has = |part| arguments.parts.contains(&part);
    for &size in arguments.sizes.iter().filter(|_| has(Part::Shapes) || has(Part::Large)) {
        // Of the large changes nothing is compared with what was expected.
        let parts = [has(Part::Shapes), has(Part::Large) && !compares];
        refreshes(&server, (&shapes, size, parts), effort, scope, &mut results)?;
    }
    if has(Part::Capture) {
        eprintln!("measuring capture");
        results.captured(capture::measure(&server, effort)?)?;
    }
    if compares {
        return compare(&arguments, &results);
    }
    if has(Part::Visible) {
        eprintln!("measuring how soon a commit shows");
        results.shown(visible::measure(&server, effort)?)?;
    }
    let ends = [arguments.sizes.iter().min(), arguments.sizes.iter().max()].map(|size| size.copied().unwrap_or(0));
    if has(Part::Growth) && ends[0] < ends[1] {
        results.grown(growth::measure(&server, &shapes, ends, effort)?)?;
    }
    let figures = Figures { origin, results: results.all };
    let text = figures.to_string();
    println!("{text}");
    let Some(file) = arguments.page else { return Ok(()) };
    plots::draw(file.parent().context("the page is in no folder")?, &figures.results)?;
    page::write(&file, PART, &text)
}

/// Writes down what is to be expected, or tells what is worse than was expected.
fn compare(arguments: &Arguments, results: &Results) -> Result<()> {
    let instructions = arguments.instructions.as_deref().map_or(Ok(Vec::new()), instructions::read)?;
    let found = Expected::of(&results.all, &instructions);
    if let Some(file) = &arguments.write_expected {
        return found.write(file);
    }
    let expected = Expected::read(arguments.check.as_deref().context("nothing to compare with")?)?;
    let worse = expected.worse(&found);
    eprintln!("better than expected by more than the tolerance: {}", expected.better(&found));
    ensure!(worse.is_empty(), "worse than expected:\n  {}", worse.join("\n  "));
    eprintln!("nothing is worse than expected");
    Ok(())
}

/// What is measured with a fact table of `size` rows: up to 1 % of them changed, and more.
fn refreshes(
    server: &Server,
    (shapes, size, [few, large]): (&[&'static Shape], i64, [bool; 2]),
    effort: Effort,
    scope: Scope,
    results: &mut Results,
) -> Result<()> {
    let database = format!("rows_{size}");
    eprintln!("loading {size} rows");
    fixture::create(server, &database, size, scope.pg_ivm)?;
    for shape in shapes.iter().filter(|_| few) {
        let mut client = server.connect(&database)?;
        let _placed = Placed::together(&mut client)?;
        let measured = refresh::measure(&mut client, shape, size, effort, scope);
        results.refreshed(vec![measured.with_context(|| format!("{} at {size} rows", shape.name))?])?;
    }
    for group in bulk::groups(shapes, size).filter(|_| large) {
        let measured = bulk::measure(&mut server.connect(&database)?, group, size, effort);
        results.refreshed(measured.with_context(|| format!("large changes at {size} rows"))?)?;
    }
    Ok(server.connect("postgres")?.batch_execute(&format!("DROP DATABASE {database} (FORCE)"))?)
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
