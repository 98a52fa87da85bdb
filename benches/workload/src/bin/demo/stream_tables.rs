//! The five stream tables of the demo. They form a graph of two levels:
//!
//! ```text
//! order_list                plain projection of orders
//! urgent_lines              filtered join of orders and lineitem
//! customer_summary          aggregate over customer and orders      ─┐
//! revenue_by_nation_year    aggregate over a five-way join          ─┴─> nation_overview
//! ```

use pgtrickle_workload::probe::Target;

/// A stream table: its name and its defining query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamTable {
    pub(crate) name: &'static str,
    pub(crate) query: &'static str,
    /// `calculated` for those that are read by another: they are refreshed with it, in one transaction.
    pub(crate) schedule: &'static str,
    /// Finds the number of a probe in it.
    shows: &'static str,
}

/// A change wakes the scheduler at once; this is the shortest time from one refresh to the next.
const SHORT: &str = "100ms";
const CALCULATED: &str = "calculated";

/// Sources first.
pub(crate) const STREAM_TABLES: [StreamTable; 5] = [
    StreamTable {
        name: "order_list",
        schedule: SHORT,
        query: "SELECT o_orderkey, o_custkey, o_orderstatus, o_orderdate, o_totalprice FROM orders",
        shows: "SELECT o_totalprice = $1::bigint FROM order_list WHERE o_orderkey = 0",
    },
    StreamTable {
        name: "urgent_lines",
        schedule: SHORT,
        query: "SELECT o_orderkey, l_linenumber, o_orderdate, l_partkey, l_quantity,
                       l_extendedprice * (1 - l_discount) AS revenue
                FROM orders JOIN lineitem ON l_orderkey = o_orderkey
                WHERE o_orderpriority = '1-URGENT' AND l_returnflag = 'N'",
        shows: "SELECT revenue = $1::bigint FROM urgent_lines WHERE o_orderkey = 0",
    },
    StreamTable {
        name: "customer_summary",
        schedule: CALCULATED,
        query: "SELECT c_custkey, c_nationkey, c_mktsegment, count(*) AS orders, sum(o_totalprice) AS spent,
                       avg(o_totalprice) AS average_order, max(o_orderdate) AS last_order
                FROM customer JOIN orders ON o_custkey = c_custkey
                GROUP BY c_custkey, c_nationkey, c_mktsegment",
        shows: "SELECT spent = $1::bigint FROM customer_summary WHERE c_custkey = 0",
    },
    StreamTable {
        name: "revenue_by_nation_year",
        schedule: CALCULATED,
        query: "SELECT r_name AS region, n_nationkey AS nationkey, n_name AS nation,
                       extract(year FROM o_orderdate)::int AS year,
                       count(*) AS lines, sum(l_extendedprice * (1 - l_discount)) AS revenue
                FROM lineitem
                JOIN orders ON o_orderkey = l_orderkey
                JOIN customer ON c_custkey = o_custkey
                JOIN nation ON n_nationkey = c_nationkey
                JOIN region ON r_regionkey = n_regionkey
                GROUP BY r_name, n_nationkey, n_name, extract(year FROM o_orderdate)::int",
        shows: "SELECT revenue = $1::bigint FROM revenue_by_nation_year WHERE nationkey = 25",
    },
    StreamTable {
        name: "nation_overview",
        schedule: SHORT,
        query: "SELECT r.region, r.nation, r.year, r.lines, r.revenue, s.customers, s.spent
                FROM revenue_by_nation_year r
                JOIN (SELECT c_nationkey, count(*) AS customers, sum(spent) AS spent
                      FROM customer_summary GROUP BY c_nationkey) s ON s.c_nationkey = r.nationkey",
        shows: "SELECT revenue = $1::bigint AND spent = $1::bigint FROM nation_overview WHERE nation = 'PROBE'",
    },
];

/// What the probe needs: a nation of its own with one customer and one order of one line.
pub(crate) const PROBE_ROWS: &str = "
    INSERT INTO nation VALUES (25, 'PROBE', 0, '');
    INSERT INTO customer VALUES (0, 'probe', '', 25, '', 0, 'BUILDING', '');
    INSERT INTO orders VALUES (0, 0, 'O', 0, '1996-01-01', '1-URGENT', 'probe', 0, '');
    INSERT INTO lineitem VALUES (0, 1, 1, 1, 1, 0, 0, 0, 'N', 'O', '1996-01-01', '1996-01-01', '1996-01-01', '', '', '')";

/// One probing transaction: a new price that every stream table shows.
pub(crate) const PROBE_CHANGES: [&str; 2] = [
    "UPDATE orders SET o_totalprice = $1::bigint WHERE o_orderkey = 0",
    "UPDATE lineitem SET l_extendedprice = $1::bigint WHERE l_orderkey = 0",
];

/// Where the probe looks, in the order of [`STREAM_TABLES`].
pub(crate) fn probe_targets() -> Vec<Target> {
    STREAM_TABLES.iter().map(|table| Target { name: table.name, shows: table.shows }).collect()
}
