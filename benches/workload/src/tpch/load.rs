//! From the generators into the tables by COPY, two tables at a time.

use super::schema::{INDEXES, TABLES, Table};
use crate::server::Server;
use anyhow::{Context, Result, anyhow, bail};
use postgres::Client;
use std::fmt::Display;
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

const LOADERS: usize = 2;
/// Rows go to the server in pieces of about this many bytes.
const PIECE: usize = 256 * 1024;

/// What the loader has just done.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// So many rows of this table have been sent.
    Rows(&'static str, u64),
    /// This table is complete.
    Loaded(&'static str, u64, Duration),
    /// The indexes are being made.
    Indexing,
    /// The statistics are being gathered.
    Analyzing,
}

/// Who wants to know what the loader does, and may call it off.
pub type Report<'a> = dyn FnMut(Progress) -> Result<()> + Send + 'a;

/// Creates the eight tables in `database`, fills them with data of the given scale factor (1 is about 1 GB), makes
/// the indexes and gathers statistics. `report` is called from several threads, one at a time; its error ends the load.
pub fn load(server: &Server, database: &str, scale: f64, report: &mut Report<'_>) -> Result<()> {
    let report = Mutex::new(report);
    let tell = |progress| report.lock().map_err(|_| anyhow!("a loader panicked"))?(progress);
    in_parallel(server, database, &TABLES, |client, table| load_table(client, table, scale, &tell))?;
    tell(Progress::Indexing)?;
    in_parallel(server, database, &INDEXES, |client, index| Ok(client.batch_execute(index)?))?;
    tell(Progress::Analyzing)?;
    // VACUUM too: it sets the visibility map, so that what is measured later is not the first reader's hint bits.
    in_parallel(server, database, &TABLES, |client, table| {
        Ok(client.batch_execute(&format!("VACUUM ANALYZE {}", table.name))?)
    })
}

/// Runs `work` on every item, [`LOADERS`] at a time, each thread on its own connection.
fn in_parallel<T: Sync>(
    server: &Server,
    database: &str,
    items: &[T],
    work: impl Fn(&mut Client, &T) -> Result<()> + Sync,
) -> Result<()> {
    let queue = Mutex::new(items.iter());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    std::thread::scope(|scope| {
        let loaders: Vec<_> = (0..LOADERS)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut client = server.connect(database)?;
                    while let Some(item) = next() {
                        work(&mut client, item)?;
                    }
                    Ok(())
                })
            })
            .collect();
        loaders.into_iter().try_for_each(|loader| loader.join().map_err(|_| anyhow!("a loader panicked"))?)
    })
}

fn load_table(client: &mut Client, table: &Table, scale: f64, tell: &dyn Fn(Progress) -> Result<()>) -> Result<()> {
    let name = table.name;
    match name {
        "lineitem" => copy(client, table, LineItemGenerator::new(scale, 1, 1).iter(), tell),
        "orders" => copy(client, table, OrderGenerator::new(scale, 1, 1).iter(), tell),
        "partsupp" => copy(client, table, PartSuppGenerator::new(scale, 1, 1).iter(), tell),
        "part" => copy(client, table, PartGenerator::new(scale, 1, 1).iter(), tell),
        "customer" => copy(client, table, CustomerGenerator::new(scale, 1, 1).iter(), tell),
        "supplier" => copy(client, table, SupplierGenerator::new(scale, 1, 1).iter(), tell),
        "nation" => copy(client, table, NationGenerator::new(scale, 1, 1).iter(), tell),
        "region" => copy(client, table, RegionGenerator::new(scale, 1, 1).iter(), tell),
        _ => bail!("{name} is not a table of TPC-H"),
    }
    .with_context(|| format!("loading {name}"))
}

/// A row of `tpchgen` prints as its fields, each followed by `|`; no field holds a `|` or a backslash, so without its
/// last character the line is COPY's text format.
fn copy<R: Display>(
    client: &mut Client,
    table: &Table,
    rows: impl Iterator<Item = R>,
    tell: &dyn Fn(Progress) -> Result<()>,
) -> Result<()> {
    let (name, begin, mut count) = (table.name, Instant::now(), 0);
    let mut transaction = client.transaction()?;
    transaction.batch_execute(&format!("CREATE TABLE {name} ({})", table.columns))?;
    // FREEZE is allowed because the table is of this transaction.
    let mut sink = transaction.copy_in(&format!("COPY {name} FROM STDIN (DELIMITER '|', FREEZE)"))?;
    let mut piece = Vec::with_capacity(PIECE + 1024);
    for row in rows {
        write!(piece, "{row}")?;
        piece.pop();
        piece.push(b'\n');
        count += 1;
        if piece.len() >= PIECE {
            sink.write_all(&piece)?;
            piece.clear();
            tell(Progress::Rows(name, count))?;
        }
    }
    sink.write_all(&piece)?;
    sink.finish()?;
    transaction.commit()?;
    tell(Progress::Loaded(name, count, begin.elapsed()))
}
