//! What was found, as tables.

use crate::measure::{Costs, Measured, SHARES};
use pgtrickle_workload::page::verdict;
use pgtrickle_workload::stats::{geometric_mean, milliseconds};

/// The goal for the smaller of the changes: the geometric mean over all queries, and no query slower.
const GAIN: f64 = 20.0;

/// One line about one query, for whoever waits.
pub(crate) fn line(measured: &Measured) -> String {
    let costs = measured.costs.iter().zip(SHARES).map(|(costs, share)| {
        let differential = costs.differential.map_or("broken off".to_owned(), |spread| spread.milliseconds());
        let (full, refresh) = (milliseconds(costs.full.median), milliseconds(costs.refresh.median));
        format!("{} %: {differential}, full {full}, refresh {refresh}", share * 100.0)
    });
    format!("{}: {}", measured.name, costs.collect::<Vec<_>>().join("; "))
}

/// A table for each share of changed rows.
pub(crate) fn tables(found: &[Measured], scale: f64) -> String {
    let shares = SHARES.into_iter().enumerate().map(|(place, share)| table(found, place, share));
    format!("Scale factor {scale}. Medians and quartiles in milliseconds.\n{}", shares.collect::<String>())
}

fn table(found: &[Measured], place: usize, share: f64) -> String {
    let rows = found.iter().map(|measured| row(measured, &measured.costs[place]));
    format!(
        "
### TPC-H: {} % of the rows of every table changed

| query | rows | differential refresh | full refresh | REFRESH MATERIALIZED VIEW | faster than full | faster than REFRESH |
|---|---:|---:|---:|---:|---:|---:|
{}
{}
",
        share * 100.0,
        rows.collect::<String>(),
        summary(found, place)
    )
}

fn row(measured: &Measured, costs: &Costs) -> String {
    let differential = costs.differential.map_or("broken off".to_owned(), |spread| spread.milliseconds());
    let gains = [costs.gain(), costs.gain_on_refresh()];
    let [over_full, over_refresh] = gains.map(|gain| gain.map_or("–".to_owned(), |gain| format!("{gain:.1}×")));
    let [full, refresh] = [costs.full, costs.refresh].map(|spread| spread.milliseconds());
    let Measured { name, rows, .. } = measured;
    format!("| {name} | {rows} | {differential} | {full} | {refresh} | {over_full} | {over_refresh} |\n")
}

/// The geometric means and the queries that are slower.
fn summary(found: &[Measured], place: usize) -> String {
    let mean = |gain: fn(&Costs) -> Option<f64>| geometric_mean(found.iter().filter_map(|m| gain(&m.costs[place])));
    let shown = |mean: Option<f64>| mean.map_or("–".to_owned(), |mean| format!("{mean:.1}×"));
    let (full, refresh) = (mean(Costs::gain), mean(Costs::gain_on_refresh));
    let slower: Vec<_> = (found.iter())
        .filter(|measured| measured.costs[place].gain_on_refresh().is_none_or(|gain| gain < 1.0))
        .map(|measured| measured.name.as_str())
        .collect();
    let list = if slower.is_empty() { "none".to_owned() } else { slower.join(", ") };
    let goal = if place == 0 {
        let met = slower.is_empty() && refresh.is_some_and(|mean| mean >= GAIN);
        format!(" Goal ({GAIN}× REFRESH, none slower): {}.", verdict(met))
    } else {
        String::new()
    };
    format!(
        "Geometric mean: {} faster than a full refresh, {} faster than REFRESH. Slower than REFRESH: {list}.{goal}",
        shown(full),
        shown(refresh)
    )
}
