//! TPC-H: its 22 queries, with and without their LIMIT, over data of the `tpchgen` crate.

use crate::queries::without_limit;
use crate::{Corpus, Scale};
use pgtrickle_tests::{Database, Session};
use pgtrickle_workload::tpch::{INDEXES, TABLES, queries};
use std::fmt::{Display, Write};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

const AIMS: [(&str, &str); 10] = [
    ("part", "p_brand IN ('Brand#12', 'Brand#23', 'Brand#34')"),
    ("part", "p_type IN ('ECONOMY ANODIZED STEEL') OR p_size = 15 AND p_type LIKE '%BRASS' OR p_name LIKE 'forest%'"),
    ("lineitem", "l_partkey IN (SELECT p_partkey FROM part WHERE p_brand = 'Brand#23' AND p_container = 'MED BOX')"),
    (
        "lineitem",
        "l_shipmode IN ('AIR', 'AIR REG') AND l_shipinstruct = 'DELIVER IN PERSON' AND l_quantity < 11 \
      AND l_partkey IN (SELECT p_partkey FROM part WHERE p_brand IN ('Brand#12', 'Brand#23') AND p_size <= 10)",
    ),
    ("lineitem", "l_shipmode IN ('MAIL', 'SHIP') AND extract(year FROM l_receiptdate) = 1994"),
    ("lineitem", "l_orderkey IN (SELECT l_orderkey FROM lineitem GROUP BY 1 HAVING sum(l_quantity) > 295)"),
    (
        "lineitem",
        "l_suppkey = (SELECT l_suppkey FROM lineitem WHERE l_shipdate BETWEEN '1996-01-01' AND '1996-03-31' \
      GROUP BY 1 ORDER BY sum(l_extendedprice * (1 - l_discount)) DESC LIMIT 1) AND l_shipdate BETWEEN '1996-01-01' AND '1996-03-31'",
    ),
    (
        "lineitem",
        "l_orderkey IN (SELECT o_orderkey FROM orders, customer WHERE c_custkey = o_custkey \
      AND c_mktsegment = 'BUILDING' AND o_orderdate BETWEEN '1995-02-01' AND '1995-03-14')",
    ),
    ("orders", "o_orderkey IN (SELECT l_orderkey FROM lineitem GROUP BY 1 HAVING sum(l_quantity) > 290)"),
    (
        "supplier",
        "s_nationkey IN (SELECT n_nationkey FROM nation WHERE n_name IN ('SAUDI ARABIA', 'CANADA', 'GERMANY'))",
    ),
];

pub(crate) fn corpus(_: &Scale) -> Corpus {
    let queries = queries();
    let unlimited = without_limit(&queries);
    let (first, second) = queries.split_at(queries.len() / 2);
    let second = second.iter().chain(&unlimited).cloned().collect();
    Corpus { name: "tpch", setup, batches: vec![first.to_vec(), second], rows: 80, aims: &AIMS, exact: true }
}

fn setup(db: &mut Database, scale: &Scale) {
    let factor = scale.factor;
    for table in &TABLES {
        db.run(&format!("CREATE TABLE {} ({})", table.name, table.columns));
    }
    copy(db, "lineitem", LineItemGenerator::new(factor, 1, 1).iter());
    copy(db, "orders", OrderGenerator::new(factor, 1, 1).iter());
    copy(db, "partsupp", PartSuppGenerator::new(factor, 1, 1).iter());
    copy(db, "part", PartGenerator::new(factor, 1, 1).iter());
    copy(db, "customer", CustomerGenerator::new(factor, 1, 1).iter());
    copy(db, "supplier", SupplierGenerator::new(factor, 1, 1).iter());
    copy(db, "nation", NationGenerator::new(factor, 1, 1).iter());
    copy(db, "region", RegionGenerator::new(factor, 1, 1).iter());
    for index in INDEXES {
        db.run(index);
    }
    db.run("ANALYZE");
}

/// A row of `tpchgen` prints as its fields, each followed by `|`, none of which holds a `|` or a backslash.
fn copy(session: &mut Session, table: &str, rows: impl Iterator<Item = impl Display>) {
    let mut text = String::new();
    for row in rows {
        write!(text, "{row}").expect("a string takes everything");
        text.pop();
        text.push('\n');
    }
    session.copy(&format!("COPY {table} FROM STDIN (DELIMITER '|')"), &text);
}
