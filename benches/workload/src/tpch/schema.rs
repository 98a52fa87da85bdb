//! The eight tables with the specification's types and primary keys, and the indexes that its joins want.

/// One table: its name and what stands between the parentheses of its CREATE TABLE.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub name: &'static str,
    pub columns: &'static str,
}

/// The largest first, so that two loaders finish at about the same time.
pub const TABLES: [Table; 8] = [
    Table {
        name: "lineitem",
        columns: "l_orderkey bigint, l_partkey bigint NOT NULL, l_suppkey bigint NOT NULL, l_linenumber int,
            l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL,
            l_tax numeric(15,2) NOT NULL, l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL,
            l_shipdate date NOT NULL, l_commitdate date NOT NULL, l_receiptdate date NOT NULL,
            l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL, l_comment varchar(44) NOT NULL,
            PRIMARY KEY (l_orderkey, l_linenumber)",
    },
    Table {
        name: "orders",
        columns: "o_orderkey bigint PRIMARY KEY, o_custkey bigint NOT NULL, o_orderstatus char(1) NOT NULL,
            o_totalprice numeric(15,2) NOT NULL, o_orderdate date NOT NULL, o_orderpriority char(15) NOT NULL,
            o_clerk char(15) NOT NULL, o_shippriority int NOT NULL, o_comment varchar(79) NOT NULL",
    },
    Table {
        name: "partsupp",
        columns: "ps_partkey bigint, ps_suppkey bigint, ps_availqty int NOT NULL, ps_supplycost numeric(15,2) NOT NULL,
            ps_comment varchar(199) NOT NULL, PRIMARY KEY (ps_partkey, ps_suppkey)",
    },
    Table {
        name: "part",
        columns: "p_partkey bigint PRIMARY KEY, p_name varchar(55) NOT NULL, p_mfgr char(25) NOT NULL,
            p_brand char(10) NOT NULL, p_type varchar(25) NOT NULL, p_size int NOT NULL, p_container char(10) NOT NULL,
            p_retailprice numeric(15,2) NOT NULL, p_comment varchar(23) NOT NULL",
    },
    Table {
        name: "customer",
        columns: "c_custkey bigint PRIMARY KEY, c_name varchar(25) NOT NULL, c_address varchar(40) NOT NULL,
            c_nationkey bigint NOT NULL, c_phone char(15) NOT NULL, c_acctbal numeric(15,2) NOT NULL,
            c_mktsegment char(10) NOT NULL, c_comment varchar(117) NOT NULL",
    },
    Table {
        name: "supplier",
        columns: "s_suppkey bigint PRIMARY KEY, s_name char(25) NOT NULL, s_address varchar(40) NOT NULL,
            s_nationkey bigint NOT NULL, s_phone char(15) NOT NULL, s_acctbal numeric(15,2) NOT NULL,
            s_comment varchar(101) NOT NULL",
    },
    Table {
        name: "nation",
        columns: "n_nationkey bigint PRIMARY KEY, n_name char(25) NOT NULL, n_regionkey bigint NOT NULL,
            n_comment varchar(152)",
    },
    Table {
        name: "region",
        columns: "r_regionkey bigint PRIMARY KEY, r_name char(25) NOT NULL, r_comment varchar(152)",
    },
];

/// Made after the data is in.
pub const INDEXES: [&str; 7] = [
    "CREATE INDEX ON lineitem (l_partkey, l_suppkey)",
    "CREATE INDEX ON lineitem (l_suppkey)",
    "CREATE INDEX ON orders (o_custkey)",
    "CREATE INDEX ON partsupp (ps_suppkey)",
    "CREATE INDEX ON customer (c_nationkey)",
    "CREATE INDEX ON supplier (s_nationkey)",
    "CREATE INDEX ON nation (n_regionkey)",
];
