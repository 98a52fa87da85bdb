//! The ways in which a stored result is brought up to date after the write.

use crate::floor;
use crate::shapes::Shape;
use anyhow::{Context, Result, ensure};
use pgtrickle_workload::oracle;
use postgres::{Client, Statement};

/// Rows of the fact table beyond which REFRESH … CONCURRENTLY, which compares the old result with the new one, takes minutes.
const MOST_CONCURRENT: i64 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `pgtrickle.refresh_stream_table` in DIFFERENTIAL mode.
    Differential,
    /// Likewise in AUTO mode.
    Auto,
    /// Likewise in FULL mode.
    Recomputed,
    /// `REFRESH MATERIALIZED VIEW`.
    Full,
    /// `REFRESH MATERIALIZED VIEW CONCURRENTLY`.
    Concurrent,
    /// A delta written by hand.
    Floor,
}

impl Way {
    pub(crate) const ALL: [Way; 6] =
        [Way::Differential, Way::Auto, Way::Recomputed, Way::Full, Way::Concurrent, Way::Floor];

    /// Of a stream table that is refreshed this way.
    fn mode(self) -> Option<&'static str> {
        match self {
            Way::Differential => Some("DIFFERENTIAL"),
            Way::Auto => Some("AUTO"),
            Way::Recomputed => Some("FULL"),
            Way::Full | Way::Concurrent | Way::Floor => None,
        }
    }

    /// Is there such a way to this result over a fact table of `size` rows, one that ends within seconds?
    pub(crate) fn serves(self, shape: &Shape, size: i64) -> bool {
        match self {
            Way::Floor => floor::exists(shape),
            Way::Concurrent => size <= MOST_CONCURRENT,
            Way::Differential | Way::Auto | Way::Recomputed | Way::Full => true,
        }
    }

    /// Samples that are enough where many would take too long.
    pub(crate) fn enough(self) -> usize {
        if self == Way::Concurrent { 3 } else { 5 }
    }

    /// Stores the result as `name`.
    pub(crate) fn create(self, client: &mut Client, shape: &Shape, name: &str) -> Result<()> {
        let Shape { query, key, .. } = shape;
        match self {
            Way::Differential | Way::Auto | Way::Recomputed => {
                let create = "SELECT pgtrickle.create_stream_table($1, $2, schedule => '1h', refresh_mode => $3)";
                client.execute(create, &[&name, query, &self.mode()])?;
                client.batch_execute(&format!("VACUUM ANALYZE {name}"))?;
            }
            Way::Full => client.batch_execute(&format!("CREATE MATERIALIZED VIEW {name} AS {query}"))?,
            Way::Concurrent => client.batch_execute(&format!(
                "CREATE MATERIALIZED VIEW {name} AS {query}; CREATE UNIQUE INDEX ON {name} ({key}); ANALYZE {name}"
            ))?,
            Way::Floor => floor::create(client, shape, name)?,
        }
        Ok(())
    }

    /// What brings `name` up to date, as a transaction of its own.
    pub(crate) fn prepare(self, client: &mut Client, shape: &Shape, name: &str) -> Result<Statement> {
        let statement = match self {
            Way::Differential | Way::Auto | Way::Recomputed => {
                format!("SELECT pgtrickle.refresh_stream_table('{name}')")
            }
            Way::Full => format!("REFRESH MATERIALIZED VIEW {name}"),
            Way::Concurrent => format!("REFRESH MATERIALIZED VIEW CONCURRENTLY {name}"),
            Way::Floor => floor::statement(shape, name).context("no delta was written for this shape")?,
        };
        Ok(client.prepare(&statement)?)
    }

    /// What must not grow from one change to the next.
    pub(crate) fn settle(self, client: &mut Client, name: &str) -> Result<()> {
        match self {
            Way::Floor => Ok(client.batch_execute(&format!("VACUUM ANALYZE {name}_buffer"))?),
            _ => Ok(()),
        }
    }

    /// Asks the oracle.
    pub(crate) fn check(self, client: &mut Client, shape: &Shape, name: &str) -> Result<()> {
        if self.mode().is_some() {
            return oracle::verify(client, name);
        }
        let verdict = oracle::compare(client, name, shape.query)?;
        ensure!(verdict.is_equal(), "oracle: {self:?}: {verdict}");
        Ok(())
    }

    pub(crate) fn drop(self, client: &mut Client, name: &str) -> Result<()> {
        match self {
            Way::Differential | Way::Auto | Way::Recomputed => {
                Ok(client.batch_execute(&format!("SELECT pgtrickle.drop_stream_table('{name}')"))?)
            }
            Way::Full | Way::Concurrent => Ok(client.batch_execute(&format!("DROP MATERIALIZED VIEW {name}"))?),
            Way::Floor => floor::drop(client, name),
        }
    }
}
