//! A page of figures: the parts that programs write stand between markers, everything else is written by hand.

use anyhow::{Context, Result};
use postgres::Client;
use std::fmt::{Display, Formatter, Result as Formatted};
use std::path::Path;

/// Replaces what stands between `<!-- <part>: … -->` and `<!-- end of <part> -->` in `page`.
pub fn write(page: &Path, part: &str, text: &str) -> Result<()> {
    let old = std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let new = replace(&old, part, text).with_context(|| format!("{} has no place for {part}", page.display()))?;
    Ok(std::fs::write(page, new)?)
}

fn replace(page: &str, part: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(&format!("<!-- {part}: "))?;
    let (note, rest) = rest.split_once("-->\n")?;
    let end = format!("<!-- end of {part} -->");
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}<!-- {part}: {note}-->\n{text}{end}{after}"))
}

/// Where and when figures were taken.
#[derive(Debug)]
pub struct Origin {
    pub date: String,
    machine: String,
    load: String,
    postgres: String,
    pg_trickle: String,
    pg_ivm: Option<String>,
}

impl Origin {
    /// Asks the machine and the server, before anything is measured.
    pub fn of_this_machine(client: &mut Client) -> Result<Origin> {
        let versions = "SELECT current_date::text, current_setting('server_version'),
                               max(default_version) FILTER (WHERE name = 'pg_trickle'),
                               max(default_version) FILTER (WHERE name = 'pg_ivm')
                        FROM pg_available_extensions";
        let row = client.query_one(versions, &[])?;
        Ok(Origin {
            date: row.try_get(0)?,
            machine: machine()?,
            load: load(),
            postgres: row.try_get(1)?,
            pg_trickle: row.try_get(2)?,
            pg_ivm: row.try_get(3)?,
        })
    }

    /// Names where pg_ivm was taken from, if it takes part.
    pub fn pg_ivm_from(&mut self, origin: Option<&str>) {
        if let (Some(version), Some(origin)) = (&mut self.pg_ivm, origin) {
            version.push_str(&format!(" (the distribution's {origin})"));
        }
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> Formatted {
        let pg_ivm = self.pg_ivm.as_ref().map_or(String::new(), |version| format!(", pg_ivm {version}"));
        let Origin { date, machine, load, postgres, pg_trickle, .. } = self;
        writeln!(f, "{date}, {machine}. PostgreSQL {postgres}, pg_trickle {pg_trickle}{pg_ivm}.")?;
        writeln!(f, "Load average of the machine before the run: {load}.")
    }
}

/// Says whether a goal was reached.
pub fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

/// A number with gaps between its thousands.
pub fn spaced(number: i64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(" ")
}

/// Processor, cores and memory; never a name of the host.
fn machine() -> Result<String> {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let memory = memory().map_or(String::new(), |kilobytes| format!(", {} GB", kilobytes.div_ceil(1 << 20)));
    Ok(format!("{model}, {} cores{memory}", std::thread::available_parallelism()?))
}

/// The machine's memory in kB, where the system tells.
pub fn memory() -> Option<u64> {
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok())
}

/// What else ran: figures from a busy machine are to be taken with care.
fn load() -> String {
    let averages = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split_whitespace().next().unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_its_own_markers_is_replaced() {
        let page = "a\n<!-- x: note -->\nold\n<!-- end of x -->\nb\n<!-- y: note -->\n<!-- end of y -->\n";
        let new = "a\n<!-- x: note -->\nnew\n<!-- end of x -->\nb\n<!-- y: note -->\n<!-- end of y -->\n";
        assert_eq!(replace(page, "x", "new\n").as_deref(), Some(new));
        assert_eq!(replace(page, "z", "new\n"), None);
    }
}
