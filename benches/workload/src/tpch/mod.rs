//! The TPC-H schema, its data, as the `tpchgen` crate makes it, its 22 queries, and changes of all eight tables.

mod changes;
mod load;
mod schema;

pub use changes::Changes;
pub use load::{Progress, Report, load};
pub use schema::{INDEXES, TABLES, Table};

use crate::queries::{Query, parse};

/// The 22 queries, with the validation values for their parameters.
pub fn queries() -> Vec<Query> {
    parse(include_str!("queries.sql"))
}
