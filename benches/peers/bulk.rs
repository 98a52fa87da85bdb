//! What it costs to bring results up to date after a tenth and a half of the fact table changed. Such a write takes
//! longer than most refreshes, so many results are brought up to date after each.

use crate::change::{Change, Effort, Writer};
use crate::refresh::{Costs, Measured};
use crate::shapes::Shape;
use crate::way::Way;
use anyhow::{Context, Result};
use pgtrickle_workload::stats::Spread;
use postgres::{Client, Statement};
use std::time::{Duration, Instant};

/// Results are stored together as long as their sources have no more rows than this.
const TOGETHER: i64 = 16_000_000;

/// A stored result and what it took.
struct Stored<'a> {
    shape: &'a Shape,
    way: Way,
    name: String,
    refresh: Statement,
    taken: Vec<Duration>,
}

impl Stored<'_> {
    fn new<'a>(client: &mut Client, shape: &'a Shape, place: usize, way: Way) -> Result<Stored<'a>> {
        let name = format!("{way:?}_{place}").to_lowercase();
        way.create(client, shape, &name).with_context(|| format!("{} {way:?}", shape.name))?;
        let refresh = way.prepare(client, shape, &name)?;
        Ok(Stored { shape, way, name, refresh, taken: Vec::new() })
    }

    /// A sample, unless there are enough that took long.
    fn sample(&mut self, client: &mut Client, anew: bool, patience: Duration) -> Result<()> {
        if anew {
            self.taken.clear();
        }
        let spent: Duration = self.taken.iter().sum();
        if self.taken.len() < self.way.enough() || spent < patience { self.maintain(client) } else { Ok(()) }
    }

    fn maintain(&mut self, client: &mut Client) -> Result<()> {
        let begin = Instant::now();
        client.execute(&self.refresh, &[]).with_context(|| format!("{} {:?}", self.shape.name, self.way))?;
        self.taken.push(begin.elapsed());
        Ok(())
    }
}

/// The shapes that are measured together at this size.
pub(crate) fn groups<'a>(shapes: &'a [&'static Shape], size: i64) -> impl Iterator<Item = &'a [&'static Shape]> {
    shapes.chunks(usize::try_from(TOGETHER / size.max(1)).unwrap_or(1).max(1))
}

/// What the large changes took. Everything is dropped again.
pub(crate) fn measure(client: &mut Client, shapes: &[&Shape], size: i64, effort: Effort) -> Result<Vec<Measured>> {
    eprintln!("measuring large changes of {size} rows under {} results", shapes.len());
    let writer = Writer::new(client, size)?;
    let wanted = shapes.iter().enumerate().flat_map(|(place, shape)| Way::ALL.map(|way| (place, *shape, way)));
    let mut stored = Vec::new();
    for (place, shape, way) in wanted.filter(|(_, shape, way)| way.serves(shape, size)) {
        stored.push(Stored::new(client, shape, place, way)?);
    }
    let empty = |shape: &&Shape| Measured { shape: shape.name.to_owned(), size, idle: None, changes: Vec::new() };
    let mut found: Vec<_> = shapes.iter().map(empty).collect();
    for change in Change::MANY {
        refresh_all(client, &mut stored, change, &writer, effort)?;
        for (shape, found) in shapes.iter().zip(&mut found) {
            found.changes.push((change, costs(&stored, shape)?));
        }
    }
    for mut stored in stored {
        stored.maintain(client)?;
        stored.way.check(client, stored.shape, &stored.name).with_context(|| stored.shape.name)?;
        stored.way.drop(client, &stored.name)?;
    }
    Ok(found)
}

/// Writes and refreshes, the first time as warm-up. The ways to a result take turns at being first: who comes next finds in the processor's
/// caches what the first has read. What takes long is left out once there are enough samples.
fn refresh_all(
    client: &mut Client,
    stored: &mut [Stored<'_>],
    change: Change,
    writer: &Writer,
    effort: Effort,
) -> Result<()> {
    let Change::Percent(percent) = change else { return Ok(()) };
    for sample in 0..=effort.large {
        client.batch_execute("VACUUM fact")?;
        writer.change_share(client, percent)?;
        for ways in stored.chunk_by_mut(|a, b| a.shape.name == b.shape.name) {
            let first = sample % ways.len();
            for place in (first..ways.len()).chain(0..first) {
                ways[place].sample(client, sample <= 1, effort.patience)?;
            }
        }
    }
    Ok(())
}

fn costs(stored: &[Stored<'_>], shape: &Shape) -> Result<Costs> {
    let find = |way| {
        let stored = stored.iter().find(|stored| stored.way == way && stored.shape.name == shape.name)?;
        Spread::of(&stored.taken)
    };
    Ok(Costs {
        differential: find(Way::Differential).context("no samples")?,
        auto: find(Way::Auto),
        recomputed: find(Way::Recomputed),
        full: find(Way::Full).context("no samples")?,
        concurrent: find(Way::Concurrent),
        floor: find(Way::Floor),
        pg_ivm: None,
        capture: None,
    })
}
