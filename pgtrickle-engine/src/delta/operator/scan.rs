//! `now = R`, `Δ = ΔR`: a leaf's content is the relation itself, its change what was captured.
//!
//! A source's change has the columns of its buffer, `c<attnum>`, whose types are base types: a domain's values become the
//! domain's again, so that content and change have the same types. A stage's change has the columns of its state.

use super::{Context, column};
use crate::delta::Leaf;
use crate::query::rel::ScanColumn;
use crate::query::{Column, Scan};
use crate::sql::{Ident, list};

pub(super) fn now(scan: &Scan) -> String {
    let columns = scan.columns.iter().enumerate().map(|(i, c)| format!("t.{} AS {}", c.name, column(i)));
    format!("SELECT {} FROM {}{} AS t", list(columns), if scan.only { "ONLY " } else { "" }, scan.name)
}

pub(super) fn delta(scan: &Scan, context: &Context) -> Option<String> {
    let leaf = Leaf::Source(scan.relid);
    context.changed.contains(&leaf).then(|| {
        let value = |c: &ScanColumn| changed_value("t", c);
        let columns = scan.columns.iter().enumerate().map(|(i, c)| format!("{} AS {}", value(c), column(i)));
        format!("SELECT {} FROM {} AS t", list(columns.chain(["t.w".into()])), leaf.delta_name())
    })
}

/// The value of a column in the row `alias` of the source's change.
pub(crate) fn changed_value(alias: &str, column: &ScanColumn) -> String {
    match column.domain {
        true => format!("CAST({alias}.c{} AS {})", column.attnum, column.column.ty.sql),
        false => format!("{alias}.c{}", column.attnum),
    }
}

pub(super) fn stage_now(stage: usize, columns: &[Column], context: &Context) -> String {
    format!("SELECT {} FROM {} AS t", list(state_columns(columns)), context.storage.states[stage])
}

pub(super) fn stage_delta(stage: usize, columns: &[Column], context: &Context) -> Option<String> {
    let leaf = Leaf::Stage(stage);
    context.changed.contains(&leaf).then(|| {
        let columns = state_columns(columns).chain(["t.w".into()]);
        format!("SELECT {} FROM {} AS t", list(columns), leaf.delta_name())
    })
}

pub(super) fn opaque_now(query: &str, columns: &[Column]) -> String {
    format!("SELECT {} FROM ({query}) AS t", list(state_columns(columns)))
}

fn state_columns(columns: &[Column]) -> impl Iterator<Item = String> {
    columns.iter().enumerate().map(|(i, c)| format!("t.{} AS {}", Ident::new(&c.name), column(i)))
}
