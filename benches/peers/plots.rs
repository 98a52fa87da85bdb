//! The figures as pictures: a panel for each shape, both axes logarithmic.

use crate::change::Change;
use crate::refresh::{Costs, Measured};
use crate::results::Found;
use crate::way::Way;
use anyhow::{Context, Result};
use pgtrickle_workload::page::spaced;
use pgtrickle_workload::stats::Spread;
use plotters::prelude::*;
use std::ops::Range;
use std::path::Path;

/// Files beside the page, which refers to them by these names.
const BY_CHANGE: &str = "benchmark-by-change.svg";
const BY_SIZE: &str = "benchmark-by-size.svg";

const COLUMNS: usize = 4;
const PANEL: (u32, u32) = (300, 230);
const HEAD: u32 = 64;
const FONT: &str = "sans-serif";

/// One way of refreshing in one panel.
struct Line {
    way: Way,
    points: Vec<(f64, f64)>,
}

struct Panel {
    title: String,
    lines: Vec<Line>,
}

struct Picture {
    title: String,
    panels: Vec<Panel>,
    /// Prints a place on the horizontal axis.
    x_label: fn(&f64) -> String,
}

/// Draws what was measured into the folder of the page: the time of a refresh against the size of the change at the
/// largest size at which most changes were measured, and the time after one changed row against the size of the table if there are several.
pub(crate) fn draw(folder: &Path, found: &Found) -> Result<()> {
    let sizes = found.sizes();
    let Some(thorough) = sizes.iter().max_by_key(|size| (found.changes(**size).count(), **size)) else { return Ok(()) };
    by_change(found, *thorough).draw(&folder.join(BY_CHANGE))?;
    if sizes.len() == 1 { Ok(()) } else { by_size(found, sizes[0]).draw(&folder.join(BY_SIZE)) }
}

/// How the page shows what [`draw`] has drawn.
pub(crate) fn references(found: &Found) -> String {
    let pictures = [("Refresh against size of the change", BY_CHANGE), ("Refresh against size of the table", BY_SIZE)];
    pictures.iter().take(found.sizes().len()).map(|(what, file)| format!("\n![{what}]({file})\n")).collect()
}

fn by_change(found: &Found, size: i64) -> Picture {
    let panel = |measured: &Measured| {
        let line = |way: Way| {
            let place = |change: Change| change.rows(size) as f64;
            let points = measured.changes.iter().filter_map(|(change, costs)| point(place(*change), costs, way));
            Line { way, points: points.collect() }
        };
        Panel { title: measured.shape.clone(), lines: Way::ALL.into_iter().map(line).collect() }
    };
    Picture {
        title: format!("Milliseconds of a refresh against rows changed, {} rows", spaced(size)),
        panels: found.of_size(size).map(panel).collect(),
        x_label: rows,
    }
}

fn by_size(found: &Found, small: i64) -> Picture {
    let panel = |shape: &str| {
        let line = |way: Way| {
            let measured = found.sizes().into_iter().flat_map(|size| found.of_size(size));
            let points = measured
                .filter(|measured| measured.shape == shape)
                .filter_map(|measured| point(measured.size as f64, measured.costs(Change::Rows(1))?, way));
            Line { way, points: points.collect() }
        };
        Panel { title: shape.to_owned(), lines: Way::ALL.into_iter().map(line).collect() }
    };
    Picture {
        title: "Milliseconds of a refresh after one row changed, against rows of the table".to_owned(),
        panels: found.of_size(small).map(|measured| panel(&measured.shape)).collect(),
        x_label: rows,
    }
}

fn point(x: f64, costs: &Costs, way: Way) -> Option<(f64, f64)> {
    let spread: Option<Spread> = match way {
        Way::Differential => Some(costs.differential),
        Way::Auto => costs.auto,
        Way::Recomputed => costs.recomputed,
        Way::Full => Some(costs.full),
        Way::Concurrent => costs.concurrent,
        Way::Floor => costs.floor,
    };
    Some((x, spread?.median.as_secs_f64() * 1e3))
}

impl Picture {
    fn draw(&self, file: &Path) -> Result<()> {
        let rows = self.panels.len().div_ceil(COLUMNS);
        let size = (PANEL.0 * u32::try_from(COLUMNS)?, PANEL.1 * u32::try_from(rows)? + HEAD);
        let root = SVGBackend::new(file, size).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, body) = root.split_vertically(HEAD);
        head.draw(&Text::new(self.title.as_str(), (12, 8), (FONT, 20)))?;
        for (place, way) in (0..).zip(Way::ALL) {
            let (left, top) = (12 + place * 195, 44);
            let (colour, label) = look(way);
            head.draw(&PathElement::new(vec![(left, top), (left + 24, top)], colour.stroke_width(3)))?;
            head.draw(&Text::new(label, (left + 32, top - 8), (FONT, 15)))?;
        }
        let areas = body.split_evenly((rows, COLUMNS));
        let (x, y) = (self.range(|point| point.0)?, self.range(|point| point.1)?);
        for (panel, area) in self.panels.iter().zip(&areas) {
            let mut chart = ChartBuilder::on(area)
                .caption(&panel.title, (FONT, 16))
                .margin(8)
                .x_label_area_size(24)
                .y_label_area_size(48)
                .build_cartesian_2d(x.clone().log_scale(), y.clone().log_scale())?;
            chart
                .configure_mesh()
                .light_line_style(TRANSPARENT)
                .x_labels(6)
                .y_labels(8)
                .x_label_formatter(&self.x_label)
                .y_label_formatter(&|ms: &f64| format!("{ms}"))
                .draw()?;
            for Line { way, points } in &panel.lines {
                let (colour, _) = look(*way);
                chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3))?;
            }
        }
        Ok(root.present()?)
    }

    /// All panels have the same axes, so that they can be compared.
    fn range(&self, of: fn(&(f64, f64)) -> f64) -> Result<Range<f64>> {
        let values = self.panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points).map(of);
        let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
        (low < high).then_some(low / 1.5..high * 1.5).context("there is nothing to draw")
    }
}

fn look(way: Way) -> (RGBColor, &'static str) {
    match way {
        Way::Differential => (RGBColor(0, 90, 181), "pg_trickle"),
        Way::Auto => (RGBColor(0, 158, 115), "pg_trickle, AUTO"),
        Way::Recomputed => (RGBColor(204, 121, 167), "pg_trickle, FULL"),
        Way::Full => (RGBColor(220, 50, 32), "REFRESH"),
        Way::Concurrent => (RGBColor(230, 159, 0), "REFRESH … CONCURRENTLY"),
        Way::Floor => (RGBColor(120, 120, 120), "delta written by hand"),
    }
}

fn rows(number: &f64) -> String {
    match *number {
        number if number >= 1e6 => format!("{} M", number / 1e6),
        number if number >= 1e3 => format!("{} k", number / 1e3),
        number => format!("{number}"),
    }
}
