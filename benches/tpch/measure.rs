//! One query: its stream tables and its materialized view, made, changed below, brought up to date, compared, dropped.

use anyhow::{Context, Result};
use pgtrickle_workload::oracle;
use pgtrickle_workload::queries::Query;
use pgtrickle_workload::server::Server;
use pgtrickle_workload::stats::Spread;
use pgtrickle_workload::tpch::Changes;
use postgres::Client;
use postgres::error::SqlState;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The parts of all rows that one transaction changes.
pub(crate) const SHARES: [f64; 2] = [0.001, 0.01];

/// Three ways to the same contents, in the order in which they have their turn.
const WAYS: [&str; 3] = [
    "SELECT pgtrickle.refresh_stream_table('maintained')",
    "SELECT pgtrickle.refresh_stream_table('recomputed')",
    "REFRESH MATERIALIZED VIEW refreshed",
];

/// Recomputing does not depend on the change: so many samples are enough once they have taken so long together.
const ENOUGH: usize = 3;
const PATIENCE: Duration = Duration::from_secs(3);

/// What one query took.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) name: String,
    /// Rows of the result.
    pub(crate) rows: i64,
    /// For each of [`SHARES`].
    pub(crate) costs: Vec<Costs>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Costs {
    /// `None`: it was broken off at the limit.
    pub(crate) differential: Option<Spread>,
    pub(crate) full: Spread,
    pub(crate) refresh: Spread,
}

impl Costs {
    /// How many times faster the differential refresh is than the full one.
    pub(crate) fn gain(&self) -> Option<f64> {
        Some(self.full.against(self.differential.as_ref()?))
    }

    /// The same for REFRESH MATERIALIZED VIEW.
    pub(crate) fn gain_on_refresh(&self) -> Option<f64> {
        Some(self.refresh.against(self.differential.as_ref()?))
    }
}

/// The database and how thoroughly it is measured.
pub(crate) struct Bench {
    client: Client,
    changes: Changes,
    samples: usize,
    limit: Duration,
}

impl Bench {
    pub(crate) fn new(server: &Server, database: &str, samples: usize, limit: Duration) -> Result<Bench> {
        let changes = Changes::new(server.connect(database)?)?;
        Ok(Bench { client: server.connect(database)?, changes, samples, limit })
    }

    /// Measures one query and tells how its refresh runs where it is less than `explain_below` times as fast as REFRESH, if that is given.
    pub(crate) fn measure(&mut self, query: &Query, explain_below: Option<f64>) -> Result<(Measured, Option<String>)> {
        eprintln!("measuring {}", query.name);
        self.create(query)?;
        let mut costs = Vec::new();
        for share in SHARES {
            costs.push(self.refreshes(share)?);
            if costs.iter().all(|cost| cost.differential.is_some()) {
                oracle::verify(&mut self.client, "maintained")?;
            }
        }
        self.client.batch_execute(WAYS[1])?;
        oracle::verify(&mut self.client, "recomputed")?;
        let slow = |below| move |cost: &Costs| cost.gain_on_refresh().is_none_or(|gain| gain < below);
        let slow = explain_below.map(slow).and_then(|slow| SHARES.into_iter().zip(&costs).find(|(_, cost)| slow(cost)));
        let plans = slow.map(|(share, _)| self.plans(share)).transpose()?;
        let rows = self.client.query_one("SELECT count(*) FROM refreshed", &[])?.try_get(0)?;
        self.client.batch_execute(
            "SELECT pgtrickle.drop_stream_table('maintained');
             SELECT pgtrickle.drop_stream_table('recomputed');
             DROP MATERIALIZED VIEW refreshed",
        )?;
        Ok((Measured { name: query.name.clone(), rows, costs }, plans))
    }

    fn create(&mut self, query: &Query) -> Result<()> {
        let create = "SELECT pgtrickle.create_stream_table($1, $2, schedule => '1h', refresh_mode => $3)";
        self.client.execute(create, &[&"maintained", &query.sql, &"DIFFERENTIAL"])?;
        self.client.execute(create, &[&"recomputed", &query.sql, &"FULL"])?;
        self.client.batch_execute(&format!("CREATE MATERIALIZED VIEW refreshed AS {}", query.sql))?;
        Ok(self.client.batch_execute("CHECKPOINT")?)
    }

    /// The first change and its refreshes are warm-up.
    fn refreshes(&mut self, share: f64) -> Result<Costs> {
        let mut taken = [Vec::new(), Vec::new(), Vec::new()];
        let mut broken_off = false;
        for sample in 0..=self.samples {
            self.changes.make(share)?;
            for (way, statement) in WAYS.iter().enumerate() {
                let enough = taken[way].len() >= ENOUGH && taken[way].iter().sum::<Duration>() > PATIENCE;
                if (way == 0 && broken_off) || (way > 0 && enough) {
                    continue;
                }
                match self.time(statement, way == 0)? {
                    Some(time) if sample > 0 => taken[way].push(time),
                    Some(_) => {}
                    None => broken_off = true,
                }
            }
        }
        let [differential, full, refresh] = taken.map(|samples| Spread::of(&samples));
        let differential = if broken_off { None } else { differential };
        Ok(Costs { differential, full: full.context("no samples")?, refresh: refresh.context("no samples")? })
    }

    /// The time of one statement; `None` where it is limited and was broken off.
    fn time(&mut self, statement: &str, limited: bool) -> Result<Option<Duration>> {
        let limit = if limited { self.limit.as_millis() } else { 0 };
        self.client.batch_execute(&format!("SET statement_timeout = {limit}"))?;
        let begin = Instant::now();
        match self.client.batch_execute(statement) {
            Ok(()) => Ok(Some(begin.elapsed())),
            Err(error) if limited && error.code() == Some(&SqlState::QUERY_CANCELED) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How a differential refresh runs after one more change. What comes back in the first one may be of another share.
    fn plans(&mut self, share: f64) -> Result<String> {
        self.client.batch_execute("SET statement_timeout = 0")?;
        self.changes.make(share)?;
        self.client.batch_execute(WAYS[0])?;
        self.changes.make(share)?;
        let explain = "SELECT value FROM pgtrickle.explain_st('maintained', true) WHERE property = 'explain_analyze'";
        let rows = self.client.query(explain, &[])?;
        let plans: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        Ok(plans.join("\n\n"))
    }
}
