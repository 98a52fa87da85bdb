//! SELECT DISTINCT: multiplicities that the output does not show.

use pgtrickle_tests::{Database, tests};

tests![
    the_last_of_several_equal_rows_goes,
    distinct_over_a_join,
    distinct_under_an_aggregate,
    distinct_over_an_aggregate,
    distinct_with_nulls,
    distinct_of_equal_but_different_values,
    distinct_of_union_all,
];

fn source(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g text, v int); INSERT INTO t SELECT i, 'g' || i % 3, i % 4 FROM generate_series(1, 24) AS i");
    db.run("CREATE TABLE u (g text, w int); INSERT INTO u VALUES ('g0', 1), ('g0', 1), ('g1', 2), (NULL, 3)");
}

const CHANGES: [&str; 5] = [
    "DELETE FROM t WHERE g = 'g1' AND v = 1; INSERT INTO u VALUES ('g2', 1)",
    "UPDATE t SET v = v + 1 WHERE id < 8; DELETE FROM u WHERE ctid = (SELECT min(ctid) FROM u WHERE g = 'g0')",
    "INSERT INTO t VALUES (100, NULL, NULL), (101, NULL, NULL), (102, 'g9', 1); UPDATE u SET g = 'g9' WHERE g IS NULL",
    "DELETE FROM t WHERE id = 100; UPDATE t SET g = 'g0' WHERE g = 'g9'; DELETE FROM u WHERE g = 'g0'",
    "DELETE FROM t WHERE v > 0 OR v IS NULL; INSERT INTO u VALUES ('g0', 1), ('g0', NULL)",
];

fn all_changes(db: &mut Database) {
    for change in CHANGES {
        db.cycle(&[change]);
    }
}

fn the_last_of_several_equal_rows_goes(db: &mut Database) {
    source(db);
    db.stream("kinds", "SELECT DISTINCT g, v FROM t");
    db.stream("names", "SELECT DISTINCT g FROM t WHERE v > 1");
    all_changes(db);
}

fn distinct_over_a_join(db: &mut Database) {
    source(db);
    db.stream("pairs", "SELECT DISTINCT t.g, u.w FROM t JOIN u ON u.g = t.g");
    db.stream("values_only", "SELECT DISTINCT v FROM t JOIN u USING (g)");
    all_changes(db);
}

fn distinct_under_an_aggregate(db: &mut Database) {
    source(db);
    db.stream("counted", "SELECT g, count(*) AS n, sum(v) AS s FROM (SELECT DISTINCT g, v FROM t) AS d GROUP BY g");
    db.stream("joined", "SELECT d.g, u.w FROM (SELECT DISTINCT g FROM t) AS d JOIN u ON u.g = d.g");
    all_changes(db);
}

fn distinct_over_an_aggregate(db: &mut Database) {
    source(db);
    db.stream("sizes", "SELECT DISTINCT count(*) AS n FROM t GROUP BY g, v");
    db.stream("sums", "SELECT DISTINCT s FROM (SELECT g, sum(v) AS s FROM t GROUP BY g) AS x WHERE s > 2");
    all_changes(db);
}

fn distinct_with_nulls(db: &mut Database) {
    db.run("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (NULL, NULL), (NULL, NULL), (1, NULL)");
    db.stream("d", "SELECT DISTINCT a, b FROM t");
    db.cycle(&["DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t)"]);
    db.cycle(&["DELETE FROM t WHERE a IS NULL; INSERT INTO t VALUES (NULL, 'x')"]);
    db.cycle(&["INSERT INTO t VALUES (NULL, NULL); UPDATE t SET b = NULL"]);
}

fn distinct_of_equal_but_different_values(db: &mut Database) {
    db.run("CREATE TABLE t (n numeric, f float8); INSERT INTO t VALUES (1.0, 0), (1.00, '-0'), (2, 1)");
    db.stream_by_value("d", "SELECT DISTINCT n, f FROM t");
    db.stream_by_value("g", "SELECT n, count(*) AS c FROM t GROUP BY n");
    db.cycle(&["DELETE FROM t WHERE n::text = '1.0'"]);
    db.cycle(&["INSERT INTO t VALUES (2.0, 1), (1, 0); UPDATE t SET f = '-0' WHERE f = 0"]);
    db.cycle(&["UPDATE t SET n = 1.000 WHERE n = 1"]);
    db.cycle(&["DELETE FROM t WHERE n = 1"]);
}

fn distinct_of_union_all(db: &mut Database) {
    source(db);
    db.stream("all_names", "SELECT DISTINCT g FROM (SELECT g FROM t UNION ALL SELECT g FROM u) AS x");
    all_changes(db);
}
