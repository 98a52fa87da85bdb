//! Queries that are too much: refused with a clear error, or recomputed, and never a slow death. And some that are not.

use pgtrickle_tests::{Database, create, tests};

tests![
    nesting_is_bounded,
    the_stack_is_not_exhausted,
    the_number_of_parts_is_bounded,
    truth_values_inside_one_another,
    sub_selects_that_multiply,
    long_chains_of_outer_joins,
];

fn table(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, k int, v int); INSERT INTO t SELECT i, i % 5, i FROM generate_series(1, 9) AS i");
}

/// Sub-selects in FROM, `depth` of them.
fn nested(depth: usize) -> String {
    (0..depth).fold("SELECT id, v FROM t".into(), |inner, i| format!("SELECT id, v + 1 AS v FROM ({inner}) AS q{i}"))
}

/// EXISTS under OR, `depth` of them inside one another.
fn marks(depth: usize, correlation: &str) -> String {
    let rows = format!("SELECT t{depth}.id FROM t AS t{depth} WHERE {correlation}");
    match depth {
        0 => rows,
        _ => {
            let inner = marks(depth - 1, &format!("t{}.k = t{depth}.k", depth - 1));
            format!("{rows} AND (t{depth}.v > 3 OR EXISTS ({inner}))")
        }
    }
}

/// Two sub-selects in each, compared by other operators than `=`.
fn pairs(depth: usize, correlation: &str) -> String {
    let rows = format!("SELECT t{depth}.id FROM t AS t{depth} WHERE {correlation}");
    if depth == 0 {
        return rows;
    }
    let inner = |column: &str| pairs(depth - 1, &format!("t{}.{column} < t{depth}.k", depth - 1));
    let (counted, absent) = (inner("k"), inner("v"));
    format!("{rows} AND (t{depth}.v > (SELECT count(*) FROM ({counted}) AS q) OR NOT EXISTS ({absent}))")
}

fn attempt(db: &mut Database, query: &str, mode: &str) -> Result<(), pgtrickle_tests::Failure> {
    db.attempt(&create("st", query, &format!("schedule => '1h', refresh_mode => '{mode}'")))
}

/// Refused in every mode, and nothing is left of the attempt.
fn refused(db: &mut Database, query: &str, sqlstate: &str) {
    let before = db.fingerprint();
    for mode in ["AUTO", "FULL", "DIFFERENTIAL"] {
        let failure = attempt(db, query, mode).expect_err("it is too much");
        assert_eq!(failure.sqlstate, sqlstate, "{failure:?}");
        assert!(!failure.hint.is_empty(), "{failure:?}");
    }
    assert_eq!(db.fingerprint(), before);
}

fn nesting_is_bounded(db: &mut Database) {
    table(db);
    db.run("CREATE VIEW one AS SELECT id, v FROM t; CREATE VIEW two AS SELECT id, v FROM one; SET pg_trickle.max_parse_depth = 3");
    db.stream("nested_thrice", &nested(3));
    db.stream("in_two_views", "WITH w AS (SELECT id FROM two) SELECT id FROM w");
    refused(db, &nested(4), "54000");
    refused(db, "WITH w AS (SELECT id FROM two) SELECT id FROM (SELECT id FROM w) AS q", "54000");
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 3; DELETE FROM t WHERE id = 5"]);
    let failure = attempt(db, &nested(4), "AUTO").expect_err("it nests too deep");
    assert!(failure.message.contains("max_parse_depth (3)"), "{failure:?}");
    let rows = db.lines(&format!("SELECT check_name FROM pgtrickle.validate_query('{}')", nested(4)));
    assert_eq!(rows, ["resolved_refresh_mode", "unsupported_construct"]);
    for outside in ["0", "10001"] {
        assert_eq!(db.fails(&format!("SET pg_trickle.max_parse_depth = {outside}")).sqlstate, "22023");
    }
}

fn the_stack_is_not_exhausted(db: &mut Database) {
    table(db);
    db.run("SET pg_trickle.max_parse_depth = 10000");
    db.stream("deep", &nested(25));
    // PostgreSQL's own limit, max_stack_depth.
    refused(db, &nested(1500), "54001");
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 3; DELETE FROM t WHERE id = 5"]);
}

fn the_number_of_parts_is_bounded(db: &mut Database) {
    table(db);
    let query = format!("SELECT id FROM t WHERE {}", ["v > 1"; 40].join(" AND "));
    db.run("SET pg_trickle.max_parse_nodes = 100");
    refused(db, &query, "54000");
    db.stream("short", "SELECT id FROM t WHERE v > 1");
    for enough in ["10000", "0"] {
        db.run(&format!("SET pg_trickle.max_parse_nodes = {enough}"));
        db.stream(&format!("up_to_{enough}"), &query);
    }
    db.cycle(&["UPDATE t SET v = v - 1"]);
    assert_eq!(db.fails("SET pg_trickle.max_parse_nodes = -1").sqlstate, "22023");
}

/// Refused in DIFFERENTIAL mode, recomputed in AUTO mode.
fn recomputed(db: &mut Database, query: &str) {
    let failure = attempt(db, query, "DIFFERENTIAL").expect_err("its delta is too much");
    assert_eq!(failure.sqlstate, "54000", "{failure:?}");
    assert!(failure.message.starts_with("query too complex: ") && failure.hint.contains("FULL"), "{failure:?}");
    db.notices();
    attempt(db, query, "AUTO").expect("it can be recomputed");
    assert!(db.notices().iter().any(|notice| notice.message.contains("FULL mode: query too complex: ")));
    assert_eq!(db.text("SELECT refresh_mode FROM pgtrickle.pgt_stream_tables WHERE pgt_name = 'st'"), "FULL");
    db.track("st", query);
    db.cycle_in_full(&["UPDATE t SET v = v - 2, k = k + 1 WHERE id < 5"]);
    db.untrack("st");
    db.run("SELECT pgtrickle.drop_stream_table('st')");
}

fn truth_values_inside_one_another(db: &mut Database) {
    table(db);
    recomputed(db, &marks(9, "true"));
    db.stream("marked", &marks(7, "true"));
    db.cycle(&["UPDATE t SET v = v - 2, k = k + 1 WHERE id < 5"]);
    db.cycle(&["DELETE FROM t WHERE k = 2", "INSERT INTO t VALUES (20, 2, 1), (21, NULL, NULL)"]);
}

fn sub_selects_that_multiply(db: &mut Database) {
    table(db);
    recomputed(db, &pairs(5, "true"));
    db.stream("paired", &pairs(2, "true"));
    db.cycle(&["UPDATE t SET v = v - 2, k = k + 1 WHERE id < 5"]);
    db.cycle(&["DELETE FROM t WHERE k = 2", "INSERT INTO t VALUES (20, 2, 1), (21, NULL, NULL)"]);
}

/// The text of their delta grows with their number, not with the number of subsets of them.
fn long_chains_of_outer_joins(db: &mut Database) {
    table(db);
    let tables = |each: &dyn Fn(usize) -> String, count: usize| (0..count).map(each).collect::<Vec<_>>().join(" ");
    let make = |i: usize| {
        format!(
            "CREATE TABLE t{i} (id int PRIMARY KEY, k int, v int); INSERT INTO t{i} SELECT i, i % 5, i FROM generate_series({i}, 12) AS i;"
        )
    };
    db.run(&tables(&make, 12));
    let shown = |count: usize| (0..count).map(|i| format!("b{i}.v AS v{i}")).collect::<Vec<_>>().join(", ");
    let star = |i: usize| format!("LEFT JOIN t{i} AS b{i} ON b{i}.id = a.k + {i}");
    let chain = |i: usize| match i {
        0 => "LEFT JOIN t0 AS b0 ON b0.id = a.k".to_string(),
        _ => format!("LEFT JOIN t{i} AS b{i} ON b{i}.id = b{}.k + {i}", i - 1),
    };
    let full = |i: usize| format!("FULL JOIN t{i} AS b{i} ON b{i}.id = a.id");
    db.stream("star", &format!("SELECT a.id, {} FROM t AS a {}", shown(12), tables(&star, 12)));
    db.stream("chain", &format!("SELECT a.id, {} FROM t AS a {}", shown(12), tables(&chain, 12)));
    db.stream("full_joins", &format!("SELECT a.id, {} FROM t AS a {}", shown(8), tables(&full, 8)));
    let right = "SELECT a.id, b0.v AS v0, b1.v AS v1, b2.v AS v2 FROM t AS a LEFT JOIN (t0 AS b0 LEFT JOIN (t1 AS b1 LEFT JOIN t2 AS b2 \
                 ON b2.id = b1.k) ON b1.id = b0.k + 1) ON b0.id = a.k";
    db.stream("nested_right", right);
    db.cycle(&["UPDATE t SET k = k + 1, v = NULL WHERE id < 4"]);
    db.cycle(&["UPDATE t3 SET k = k + 1 WHERE id < 9; DELETE FROM t5 WHERE id = 7"]);
    let all = |i: usize| {
        format!(
            "UPDATE t{i} SET k = nullif(k + 1, 4), v = v * 2 WHERE id % 3 = 1; DELETE FROM t{i} WHERE id = {i}; INSERT INTO t{i} VALUES (50, 2, {i});"
        )
    };
    db.cycle(&[&format!("{}; DELETE FROM t WHERE id = 2", tables(&all, 12))]);
    db.cycle(&[
        "DELETE FROM t0; DELETE FROM t2",
        "UPDATE t1 SET id = id + 1 WHERE id >= 50; INSERT INTO t0 SELECT i, i, i FROM generate_series(1, 6) AS i",
    ]);
}
