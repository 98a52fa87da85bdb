//! Whether the cost of a refresh grows with the table: each shape at two sizes, sample by sample in turns, so that both see the same
//! state of the machine, and both in sessions on one core, the client on another: a session that the kernel puts on the client's core
//! answers a third sooner, whatever it does.

use crate::change::{Change, Effort, Writer};
use crate::cores::Placed;
use crate::fixture;
use crate::refresh::NAME;
use crate::shapes::Shape;
use crate::way::Way;
use anyhow::{Context, Result};
use pgtrickle_workload::server::Server;
use pgtrickle_workload::stats::Spread;
use postgres::{Client, Statement};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Samples for each that is taken elsewhere.
const STEADY: usize = 10;

/// A refresh after one changed row.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Growth {
    pub(crate) shape: String,
    /// The smaller and the larger one.
    pub(crate) sizes: [i64; 2],
    pub(crate) refresh: [Spread; 2],
}

impl Growth {
    pub(crate) fn ratio(&self) -> f64 {
        self.refresh[1].against(&self.refresh[0])
    }
}

/// Measures all shapes at two sizes of the fact table.
pub(crate) fn measure(
    server: &Server,
    shapes: &[&'static Shape],
    sizes: [i64; 2],
    effort: Effort,
) -> Result<Vec<Growth>> {
    let databases = sizes.map(|size| format!("growth_{size}"));
    for (size, database) in sizes.iter().zip(&databases) {
        eprintln!("loading {size} rows");
        fixture::create(server, database, *size, false)?;
    }
    let one = |shape: &&'static Shape| {
        eprintln!("measuring {} at {} and {} rows in turns", shape.name, sizes[0], sizes[1]);
        let sides = sizes.iter().zip(&databases).map(|(size, database)| Side::open(server, database, shape, *size));
        let mut sides = sides.collect::<Result<Vec<_>>>()?;
        let _placed = Placed::apart(sides.iter_mut().map(|side| &mut side.client))?;
        let mut samples = [Vec::new(), Vec::new()];
        let warm_up = effort.many.div_ceil(5);
        for sample in 0..warm_up + effort.many * STEADY {
            for place in if sample % 2 == 0 { [0, 1] } else { [1, 0] } {
                let time = sides[place].sample(shape)?;
                if sample >= warm_up {
                    samples[place].push(time);
                }
            }
        }
        sides.into_iter().try_for_each(|side| side.close(shape))?;
        let [small, large] = samples.map(|samples| Spread::of(&samples).context("no samples"));
        Ok(Growth { shape: shape.name.to_owned(), sizes, refresh: [small?, large?] })
    };
    let found = shapes.iter().map(one).collect::<Result<Vec<_>>>()?;
    for database in databases {
        server.connect("postgres")?.batch_execute(&format!("DROP DATABASE {database} (FORCE)"))?;
    }
    Ok(found)
}

/// A stream table at one of the two sizes.
struct Side {
    client: Client,
    writer: Writer,
    refresh: Statement,
}

impl Side {
    fn open(server: &Server, database: &str, shape: &Shape, size: i64) -> Result<Side> {
        let mut client = server.connect(database)?;
        client.batch_execute("VACUUM fact")?;
        let writer = Writer::new(&mut client, size)?;
        Way::Differential.create(&mut client, shape, NAME)?;
        let refresh = Way::Differential.prepare(&mut client, shape, NAME)?;
        Ok(Side { client, writer, refresh })
    }

    /// Changes one row; gives the time of the refresh.
    fn sample(&mut self, shape: &Shape) -> Result<Duration> {
        self.writer.change_few(&mut self.client, Change::Rows(1), shape.reach)?;
        let begin = Instant::now();
        self.client.execute(&self.refresh, &[])?;
        Ok(begin.elapsed())
    }

    fn close(mut self, shape: &Shape) -> Result<()> {
        Way::Differential.check(&mut self.client, shape, NAME)?;
        Way::Differential.drop(&mut self.client, NAME)
    }
}
