//! What the demo and the benchmarks have in common: a private server, TPC-H data in it, a writer that keeps changing
//! that data, the measurement of how soon a change shows, and the oracle. Plain client code: it talks to PostgreSQL
//! over a socket and never links the extension.
//!
//! | module | what it gives |
//! |---|---|
//! | [`server`] | a PostgreSQL cluster in a temporary directory, gone when its value is dropped |
//! | [`pgbench`] | transactions one after another, and what they take |
//! | [`tpch`] | the eight TPC-H tables, filled by `tpchgen` through COPY, their queries, changes of them |
//! | [`queries`] | files of queries |
//! | [`writer`] | connections that commit a mix of orders, price changes and deletions at a rate |
//! | [`probe`] | the time from a commit until its effect shows in each stream table |
//! | [`oracle`] | is a stream table equal to its own query? |
//! | [`stats`] | medians, their spread, percentiles |
//! | [`page`] | figures as parts of a page |

pub mod oracle;
pub mod page;
pub mod pgbench;
pub mod probe;
pub mod queries;
pub mod server;
pub mod stats;
pub mod tpch;
pub mod writer;
