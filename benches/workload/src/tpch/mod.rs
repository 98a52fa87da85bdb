//! The TPC-H schema and its data, as the `tpchgen` crate makes it.

mod load;
mod schema;

pub use load::{Progress, Report, load};
pub use schema::{INDEXES, TABLES, Table};
