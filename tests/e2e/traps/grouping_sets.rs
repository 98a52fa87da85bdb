//! GROUPING SETS, ROLLUP and CUBE: NULLs in the data beside absent keys, and the set without keys, which always has a row.

use pgtrickle_tests::{Database, create, tests};

tests![
    one_expression_in_two_keys,
    rollup_with_nulls_in_the_data,
    cube,
    explicit_sets,
    the_empty_set_of_an_empty_table,
    grouping_calls,
    sets_with_having_and_order,
    sets_over_expressions_and_joins,
    sets_below_other_operators,
    repeated_sets,
    dependent_columns,
    a_window_over_sets,
    too_many_sets,
];

fn source(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, a text, b int, v int, n numeric)");
    db.run("INSERT INTO t SELECT i, 'a' || i % 3, i % 4, i, i / 4.0 FROM generate_series(1, 30) AS i");
    db.run("INSERT INTO t VALUES (31, NULL, 1, 1, 1), (32, NULL, NULL, 5, NULL), (33, 'a1', NULL, NULL, 2.50)");
    db.run(
        "CREATE TABLE u (a text COLLATE \"C\", w int); INSERT INTO u VALUES ('a0', 1), ('a1', 2), ('a1', 2), (NULL, 3)",
    );
}

const CHANGES: [&str; 6] = [
    "UPDATE t SET a = NULL WHERE id IN (1, 2); INSERT INTO u VALUES ('a2', 9), (NULL, NULL)",
    "DELETE FROM t WHERE a IS NULL AND b IS NULL; UPDATE u SET w = w + 1 WHERE a = 'a1'",
    "INSERT INTO t VALUES (50, 'new', NULL, 1, 1.0), (51, NULL, NULL, NULL, NULL); DELETE FROM u WHERE a IS NULL",
    "UPDATE t SET b = b + 1, v = v - 1 WHERE id < 20; UPDATE u SET a = 'a0'",
    "DELETE FROM t WHERE a = 'a1'; UPDATE t SET a = 'a1' WHERE a IS NULL; INSERT INTO u VALUES ('a1', 1)",
    "DELETE FROM t; DELETE FROM u WHERE a = 'a0'",
];

fn all_changes(db: &mut Database) {
    for change in CHANGES {
        db.cycle(&[change]);
    }
    db.cycle(&["INSERT INTO t VALUES (1, NULL, NULL, 1, 1), (2, 'a1', 1, 1, 1)"]);
}

fn rollup_with_nulls_in_the_data(db: &mut Database) {
    source(db);
    db.stream(
        "rolled",
        "SELECT a, b, count(*) AS c, sum(v) AS s, avg(n) AS m, min(v) AS lo FROM t GROUP BY ROLLUP (a, b)",
    );
    db.stream("partly", "SELECT a, b, sum(n) AS s FROM t GROUP BY a, ROLLUP (b)");
    all_changes(db);
}

fn cube(db: &mut Database) {
    source(db);
    db.stream("cubed", "SELECT a, b, v % 2 AS p, count(*) AS c, max(n) AS hi FROM t GROUP BY CUBE (a, b, v % 2)");
    db.stream("product", "SELECT a, b, sum(v) AS s FROM t GROUP BY CUBE (a), ROLLUP (b)");
    all_changes(db);
}

fn explicit_sets(db: &mut Database) {
    source(db);
    db.stream("sets", "SELECT a, b, count(v) AS c FROM t GROUP BY GROUPING SETS ((a, b), (b), (a), ())");
    db.stream("single", "SELECT a, count(*) AS c FROM t GROUP BY GROUPING SETS ((a))");
    db.stream("distinct_sets", "SELECT a, b, count(*) AS c FROM t GROUP BY DISTINCT ROLLUP (a, b), ROLLUP (a)");
    all_changes(db);
}

fn the_empty_set_of_an_empty_table(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, a int)");
    db.stream("rolled", "SELECT a, count(*) AS c, sum(id) AS s FROM t GROUP BY ROLLUP (a)");
    db.stream("nothing", "SELECT count(*) AS c, max(id) AS m FROM t GROUP BY ()");
    db.stream("twice", "SELECT count(*) AS c FROM t GROUP BY GROUPING SETS ((), ())");
    db.cycle(&["INSERT INTO t VALUES (1, NULL)"]);
    db.cycle(&["DELETE FROM t"]);
    db.cycle(&["INSERT INTO t VALUES (1, 1), (2, 1)"]);
}

fn grouping_calls(db: &mut Database) {
    source(db);
    db.stream("masks", "SELECT a, b, GROUPING(a, b) AS ab, GROUPING(b, a) AS ba, GROUPING(a) AS ga, count(*) AS c FROM t GROUP BY CUBE (a, b)");
    db.stream("labels", "SELECT CASE WHEN GROUPING(a) = 1 THEN 'all' ELSE coalesce(a, 'none') END AS label, sum(v) AS s FROM t GROUP BY ROLLUP (a)");
    db.stream("without_sets", "SELECT a, GROUPING(a) AS g, count(*) AS c FROM t GROUP BY a");
    db.stream("in_having", "SELECT a, b, sum(v) AS s FROM t GROUP BY ROLLUP (a, b) HAVING GROUPING(a, b) IN (0, 3)");
    all_changes(db);
}

fn sets_with_having_and_order(db: &mut Database) {
    source(db);
    db.stream(
        "kept",
        "SELECT a, b, count(*) AS c FROM t GROUP BY ROLLUP (a, b) HAVING count(*) > 2 AND (a IS NULL OR a > 'a0')",
    );
    db.stream("top", "SELECT a, b, sum(v) AS s FROM t GROUP BY ROLLUP (a, b) ORDER BY GROUPING(a, b), s DESC NULLS LAST, a, b LIMIT 5");
    all_changes(db);
}

fn sets_over_expressions_and_joins(db: &mut Database) {
    source(db);
    db.stream(
        "joined",
        "SELECT u.a, t.b, count(*) AS c, sum(w) AS s FROM t JOIN u ON u.a = t.a GROUP BY ROLLUP (u.a, t.b)",
    );
    db.stream("collated", "SELECT u.a, count(*) AS c FROM u GROUP BY ROLLUP (u.a) HAVING u.a IS NULL OR u.a < 'b'");
    db.stream(
        "computed",
        "SELECT upper(a) AS up, b + 1 AS more, sum(b) AS s FROM t GROUP BY GROUPING SETS ((upper(a)), (b + 1))",
    );
    all_changes(db);
}

fn sets_below_other_operators(db: &mut Database) {
    source(db);
    db.stream(
        "counted",
        "SELECT c, count(*) AS groups FROM (SELECT a, b, count(*) AS c FROM t GROUP BY ROLLUP (a, b)) AS x GROUP BY c",
    );
    db.stream(
        "joined",
        "SELECT x.a, x.s, u.w FROM (SELECT a, sum(v) AS s FROM t GROUP BY CUBE (a)) AS x JOIN u ON u.a = x.a",
    );
    db.stream("different", "SELECT DISTINCT a, count(*) AS c FROM t GROUP BY ROLLUP (a, b)");
    all_changes(db);
}

fn repeated_sets(db: &mut Database) {
    source(db);
    db.stream("repeated", "SELECT a, count(*) AS c FROM t GROUP BY GROUPING SETS ((a), (a), ())");
    db.stream("other", "SELECT a, count(*) AS c, count(DISTINCT b) AS d, string_agg(b::text, ',' ORDER BY b, id) AS l FROM t GROUP BY GROUPING SETS ((a), ROLLUP (a))");
    all_changes(db);
}

fn dependent_columns(db: &mut Database) {
    source(db);
    db.stream("dependent", "SELECT id, a, n, sum(v) AS s FROM t GROUP BY GROUPING SETS ((id, b), (id))");
    all_changes(db);
}

fn a_window_over_sets(db: &mut Database) {
    source(db);
    db.stream("ranked", "SELECT a, b, sum(v) AS s, rank() OVER (PARTITION BY GROUPING(a, b) ORDER BY sum(v) DESC NULLS LAST) AS r FROM t GROUP BY ROLLUP (a, b)");
    all_changes(db);
}

fn too_many_sets(db: &mut Database) {
    source(db);
    let query = "SELECT a, b, v, count(*) AS c FROM t GROUP BY CUBE (a, b, v)";
    db.run("SET pg_trickle.max_grouping_set_branches = 7");
    let failure = db.fails(&create("cubed", query, "schedule => '1h'"));
    assert_eq!(failure.sqlstate, "54000", "{failure:?}");
    assert!(failure.message.contains("8 grouping sets") && !failure.hint.is_empty(), "{failure:?}");
    db.run("SET pg_trickle.max_grouping_set_branches = 8");
    db.stream("cubed", query);
    all_changes(db);
}

fn one_expression_in_two_keys(db: &mut Database) {
    db.run("CREATE TABLE twice (g int); INSERT INTO twice VALUES (1), (2), (NULL)");
    db.stream("pairs", "SELECT g AS a, g AS b, count(*) AS n FROM twice GROUP BY a, ROLLUP (b)");
    db.cycle(&["INSERT INTO twice VALUES (2), (3); DELETE FROM twice WHERE g = 1"]);
    db.cycle(&["UPDATE twice SET g = NULL WHERE g = 3"]);
}
