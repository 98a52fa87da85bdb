//! The graph of stream tables: levels, cycles, schedules and due times.
//!
//! Times are milliseconds since the Unix epoch; nothing here reads a clock.

mod due;
mod graph;
mod schedule;

pub use due::{Candidate, Plan, Timing, intervals, plan};
pub use graph::{Cycle, Graph, Node};
pub use schedule::{Cron, Schedule, ScheduleError};
