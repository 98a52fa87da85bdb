//! pgbench: transactions as fast as the server takes them, by a client that does not fall asleep in between.

use crate::server::Server;
use crate::stats::interquartile_mean;
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// A pgbench run with prepared statements.
#[derive(Debug, Clone, Copy)]
pub struct PgBench<'a> {
    pub database: &'a str,
    pub clients: u32,
    pub seconds: u32,
    /// Settings of the sessions, as in `PGOPTIONS`.
    pub options: &'a str,
}

impl PgBench<'_> {
    /// Runs one transaction again and again; returns the time between the ends of two, of all clients together.
    pub fn throughput(&self, server: &Server, script: &str) -> Result<Duration> {
        let text = self.run(server, &[script], &[])?;
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
        Ok(Duration::from_secs_f64(1.0 / rate.with_context(|| format!("pgbench printed no rate: {text}"))?))
    }

    /// Each time runs one of two transactions, by chance; returns the interquartile mean of the times that each took. Both see
    /// the same session, on the same processor, in the same state of the machine. Only one client: several would wait for each other's.
    pub fn alternating(&self, server: &Server, scripts: [&str; 2]) -> Result<[Duration; 2]> {
        let logs = tempfile::tempdir()?;
        let prefix = logs.path().join("log");
        self.run(server, &scripts, &["--log".into(), format!("--log-prefix={}", prefix.display())])?;
        let mut times = [Vec::new(), Vec::new()];
        for log in fs::read_dir(logs.path())? {
            for line in fs::read_to_string(log?.path())?.lines() {
                // Client, transaction, microseconds, script …
                let fields: Vec<&str> = line.split(' ').collect();
                let [_, _, micros, script, ..] = fields[..] else { bail!("pgbench logged {line}") };
                times[script.parse::<usize>()?].push(micros.parse::<u64>()?);
            }
        }
        let [first, second] = times.map(|times| interquartile_mean(times).context("too few transactions"));
        Ok([first?, second?].map(|micros| Duration::from_secs_f64(micros / 1e6)))
    }

    fn run(&self, server: &Server, scripts: &[&str], more: &[String]) -> Result<String> {
        let directory = tempfile::tempdir()?;
        let threads = std::thread::available_parallelism()?.get().min(self.clients as usize);
        let mut command = Command::new(server.bin_dir.join("pgbench"));
        for (index, script) in scripts.iter().enumerate() {
            let file = directory.path().join(index.to_string());
            fs::write(&file, script)?;
            command.arg(format!("--file={}", file.display()));
        }
        let output = command
            .env("PGOPTIONS", self.options)
            .args(["--no-vacuum", "--protocol=prepared", "--username=postgres", "--host"])
            .arg(server.directory.path())
            .arg(format!("--client={}", self.clients))
            .arg(format!("--jobs={threads}"))
            .arg(format!("--time={}", self.seconds))
            .args(more)
            .arg(self.database)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(text),
            false => bail!("pgbench failed: {text}{}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}
