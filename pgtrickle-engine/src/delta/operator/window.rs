//! `ω_{p; f}(R)`: each row with what window functions give for it in its partition. Not linear: one row can change the
//! values of all rows of its partition, so partitions are computed anew ([`super::keyed`]).
//!
//! The text is the user's own: the calls as PostgreSQL prints them, over named windows.

use super::column;
use super::keyed::over;
use crate::query::{Scalar, WindowDefinition};
use crate::sql::list;

/// A SELECT of the operator's rows over `rows`, a SELECT of `width` columns.
pub(super) fn compute(
    rows: &str,
    width: usize,
    partition: &[usize],
    windows: &[WindowDefinition],
    calls: &[Scalar],
) -> String {
    let passed = (0..width).map(|position| format!("i.{}", column(position)));
    let computed = calls.iter().enumerate().map(|(i, call)| format!("{} AS {}", over("i", call), column(width + i)));
    let partition = list(partition.iter().map(|position| format!("i.{}", column(*position))));
    let partition = if partition.is_empty() { partition } else { format!("PARTITION BY {partition} ") };
    let windows = windows.iter().map(|window| {
        let ordered = window.ordered(|value| over("i", value));
        format!("{} AS ({})", window.name, format!("{partition}{ordered}").trim_end())
    });
    format!("SELECT {} FROM ({rows}) AS i WINDOW {}", list(passed.chain(computed)), list(windows))
}
