//! ORDER BY with LIMIT, OFFSET and WITH TIES, and DISTINCT ON: rows beyond the boundary come in when others go.

use pgtrickle_tests::{Database, tests};

tests![
    constants_to_sort_by,
    the_boundary_row_is_deleted,
    rows_beyond_the_boundary,
    offsets,
    with_ties,
    nothing_and_everything,
    nulls_first_and_last,
    orders_by_what_is_not_shown,
    limits_over_aggregates,
    limits_over_set_operations_and_distinct,
    limits_in_sub_selects,
    limits_over_joins,
    limits_over_windows,
    unusual_limit_orders,
    duplicate_rows_at_the_boundary,
    fewer_rows_than_the_limit,
    limits_that_are_sub_selects,
    distinct_on,
    distinct_on_several_columns,
    distinct_on_with_limit,
    distinct_on_over_joins_and_aggregates,
];

fn source(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g text, v int, n numeric)");
    db.run("INSERT INTO t SELECT i, 'g' || i % 4, (i * 7) % 11, i / 4.0 FROM generate_series(1, 40) AS i");
    db.run("INSERT INTO t VALUES (41, NULL, 1, 1), (42, NULL, NULL, NULL), (43, 'lone', 50, 5)");
    db.run("CREATE TABLE u (g text, k int, w int)");
    db.run("INSERT INTO u SELECT 'g' || i % 5, i % 3, i FROM generate_series(1, 20) AS i");
    db.run("INSERT INTO u VALUES (NULL, NULL, NULL), ('g1', 1, 1), ('g1', 1, 1), ('g4', 2, 20)");
}

const CHANGES: [&str; 9] = [
    "DELETE FROM t WHERE id = 43; INSERT INTO u VALUES ('g1', 2, 50), ('g1', 2, 50)",
    "UPDATE t SET v = v + 5 WHERE id IN (3, 8); UPDATE u SET w = w + 1 WHERE k = 1",
    "INSERT INTO t VALUES (100, 'g1', 99, 2), (101, NULL, 98, 2), (102, 'new', NULL, NULL); DELETE FROM u WHERE w > 18",
    "UPDATE t SET v = -1 WHERE id = 100; UPDATE u SET g = NULL, k = NULL WHERE k = 2",
    "UPDATE t SET g = 'g2' WHERE g = 'g1'; INSERT INTO u VALUES (NULL, 1, 7), (NULL, NULL, 8)",
    "UPDATE t SET id = id + 1000 WHERE id BETWEEN 20 AND 25; UPDATE u SET w = NULL WHERE g = 'g3'",
    "DELETE FROM t WHERE v > 8; UPDATE t SET g = NULL WHERE id < 6; DELETE FROM u WHERE g = 'g0'",
    "UPDATE t SET v = 3, n = n * 1.0; UPDATE u SET w = 3 WHERE w > 3",
    "DELETE FROM t WHERE id > 6; DELETE FROM u WHERE g IS NOT NULL",
];

fn all_changes(db: &mut Database) {
    for change in CHANGES {
        db.cycle(&[change]);
    }
}

fn the_boundary_row_is_deleted(db: &mut Database) {
    source(db);
    db.stream("top", "SELECT id, v FROM t ORDER BY v DESC NULLS LAST, id LIMIT 5");
    for _ in 0..6 {
        db.cycle(&["DELETE FROM t WHERE id = (SELECT id FROM top ORDER BY v, id DESC LIMIT 1)"]);
    }
    db.cycle(&["DELETE FROM t WHERE id IN (SELECT id FROM top)"]);
    db.cycle(&["UPDATE t SET v = -5 WHERE id IN (SELECT id FROM top LIMIT 2)"]);
    all_changes(db);
}

fn rows_beyond_the_boundary(db: &mut Database) {
    source(db);
    db.stream("top", "SELECT id, v, n FROM t ORDER BY v DESC NULLS LAST, id LIMIT 3");
    db.cycle(&["INSERT INTO t VALUES (200, 'x', 0, 0)"]);
    db.cycle(&["UPDATE t SET n = 7 WHERE v = 0"]);
    db.cycle(&["DELETE FROM t WHERE id = 200"]);
    db.cycle(&["UPDATE t SET n = 8.50 WHERE id = 43"]);
    db.cycle(&["INSERT INTO t VALUES (201, 'x', 0, 0), (202, 'x', 60, 0)"]);
    db.cycle(&["DELETE FROM t WHERE id = 202", "INSERT INTO t VALUES (202, 'y', 61, 1)"]);
    db.cycle(&["DELETE FROM t WHERE id = 202; INSERT INTO t VALUES (203, 'y', 61, 1), (204, 'y', 62, 1)"]);
    db.cycle(&["UPDATE t SET id = 40000 WHERE id = 203", "UPDATE t SET v = NULL WHERE id = 40000"]);
    all_changes(db);
}

fn offsets(db: &mut Database) {
    source(db);
    db.stream("second_page", "SELECT id, v FROM t ORDER BY v DESC, id LIMIT 5 OFFSET 5");
    db.stream("rest", "SELECT id, v FROM t ORDER BY v, id OFFSET 30");
    db.stream("far", "SELECT g, w FROM u ORDER BY w DESC, g LIMIT 3 OFFSET 19");
    db.cycle(&["INSERT INTO t VALUES (300, 'a', 1000, 1)"]);
    db.cycle(&["DELETE FROM t WHERE id = 300"]);
    all_changes(db);
}

fn with_ties(db: &mut Database) {
    source(db);
    db.stream("tied", "SELECT id, v FROM t ORDER BY v DESC NULLS LAST FETCH FIRST 4 ROWS WITH TIES");
    db.stream("tied_bag", "SELECT g, w FROM u ORDER BY w FETCH FIRST 3 ROWS WITH TIES");
    db.stream("tied_key", "SELECT g, k FROM u ORDER BY k NULLS FIRST OFFSET 1 ROW FETCH NEXT 1 ROW WITH TIES");
    db.cycle(&["UPDATE t SET v = 10 WHERE id < 10"]);
    db.cycle(&["DELETE FROM t WHERE id = 43; INSERT INTO t VALUES (301, 'a', 10, 1)"]);
    db.cycle(&["UPDATE u SET k = NULL WHERE k = 2"]);
    // Which of the tied rows OFFSET skips is arbitrary from here on.
    db.untrack("tied_key");
    all_changes(db);
}

fn nothing_and_everything(db: &mut Database) {
    source(db);
    db.stream("none", "SELECT id FROM t ORDER BY v LIMIT 0");
    db.stream("none_tied", "SELECT id FROM t ORDER BY v FETCH FIRST 0 ROWS WITH TIES");
    db.stream("everything", "SELECT id, v FROM t ORDER BY v LIMIT ALL");
    db.stream("nearly_everything", "SELECT id, v FROM t ORDER BY v, id LIMIT NULL OFFSET 1");
    db.stream("computed", "SELECT id, v FROM t ORDER BY v, id LIMIT 2 + 1 OFFSET 3 - 2");
    all_changes(db);
    db.cycle(&["DELETE FROM t"]);
    db.cycle(&["INSERT INTO t VALUES (1, 'a', 1, 1), (2, 'a', 2, 2)"]);
}

fn nulls_first_and_last(db: &mut Database) {
    source(db);
    db.stream("first", "SELECT id, v FROM t ORDER BY v NULLS FIRST, id LIMIT 3");
    db.stream("last", "SELECT id, v FROM t ORDER BY v DESC NULLS LAST, id DESC LIMIT 3");
    db.stream("mixed", "SELECT id, g, v FROM t ORDER BY g DESC, v NULLS FIRST, id DESC LIMIT 7");
    db.cycle(&["UPDATE t SET v = NULL WHERE id = 3"]);
    db.cycle(&["UPDATE t SET v = 0 WHERE v IS NULL"]);
    all_changes(db);
}

fn orders_by_what_is_not_shown(db: &mut Database) {
    source(db);
    db.stream("hidden", "SELECT g, n FROM t ORDER BY v * 2 DESC NULLS LAST, id LIMIT 6");
    db.stream("by_position", "SELECT g, id FROM t ORDER BY 2 DESC LIMIT 4");
    db.stream("by_constant", "SELECT id FROM t ORDER BY 'x'::text, id LIMIT 4");
    all_changes(db);
}

fn limits_over_aggregates(db: &mut Database) {
    source(db);
    db.stream("biggest", "SELECT g, sum(v) AS s FROM t GROUP BY g ORDER BY sum(v) DESC NULLS LAST, g LIMIT 2");
    db.stream("hidden", "SELECT g FROM t GROUP BY g HAVING count(*) > 1 ORDER BY max(n) DESC NULLS LAST, g LIMIT 2");
    db.stream("unused_order", "SELECT k, count(*) AS c FROM u GROUP BY k ORDER BY max(w)");
    all_changes(db);
}

fn limits_over_set_operations_and_distinct(db: &mut Database) {
    source(db);
    db.stream("of_union", "SELECT g, v FROM t UNION ALL SELECT g, w FROM u ORDER BY 2 DESC NULLS LAST, g LIMIT 6");
    db.stream("of_distinct", "SELECT DISTINCT g, v % 3 AS m FROM t ORDER BY m, g LIMIT 3");
    db.stream(
        "arms",
        "(SELECT g, v FROM t ORDER BY v, id LIMIT 2) UNION ALL (SELECT g, w FROM u ORDER BY w DESC, g, k LIMIT 2)",
    );
    all_changes(db);
}

fn limits_in_sub_selects(db: &mut Database) {
    source(db);
    db.stream(
        "sum_of_top",
        "SELECT sum(v) AS s, count(*) AS c FROM (SELECT v FROM t ORDER BY v DESC NULLS LAST LIMIT 5) AS x",
    );
    db.stream("filtered", "SELECT id FROM (SELECT id, g FROM t ORDER BY v, id LIMIT 12) AS x WHERE g = 'g1'");
    db.stream(
        "joined",
        "WITH top AS (SELECT id, g FROM t ORDER BY v, id LIMIT 5) SELECT top.id, u.w FROM top JOIN u ON u.g = top.g",
    );
    db.stream(
        "nested",
        "SELECT id FROM (SELECT id, v FROM t ORDER BY v DESC, id LIMIT 10) AS x ORDER BY v, id LIMIT 3",
    );
    db.stream("only_counted", "SELECT count(*) AS c FROM (SELECT 1 FROM t ORDER BY v LIMIT 42) AS x");
    all_changes(db);
}

fn limits_over_joins(db: &mut Database) {
    source(db);
    db.stream(
        "pairs",
        "SELECT t.id, u.w, u.k FROM t JOIN u ON u.g = t.g ORDER BY t.v DESC NULLS LAST, t.id, u.w, u.k LIMIT 8",
    );
    all_changes(db);
}

fn limits_over_windows(db: &mut Database) {
    source(db);
    db.stream("ranked", "SELECT id, rank() OVER (PARTITION BY g ORDER BY v) AS r FROM t ORDER BY r DESC, id LIMIT 5");
    db.stream(
        "hidden",
        "SELECT id FROM t ORDER BY sum(v) OVER (PARTITION BY g ORDER BY id) DESC NULLS LAST, id LIMIT 5",
    );
    all_changes(db);
}

fn unusual_limit_orders(db: &mut Database) {
    source(db);
    db.stream("pattern", "SELECT id, g FROM t ORDER BY g USING ~>~, id LIMIT 5");
    db.stream("collated", "SELECT id, g FROM t ORDER BY g COLLATE \"C\" DESC NULLS LAST, id LIMIT 5");
    db.stream("records", "SELECT id FROM t ORDER BY (v, id) LIMIT 4");
    all_changes(db);
}

fn duplicate_rows_at_the_boundary(db: &mut Database) {
    source(db);
    db.stream("bag", "SELECT g, k, w FROM u ORDER BY w NULLS FIRST, g, k LIMIT 3");
    db.cycle(&["DELETE FROM u WHERE ctid = (SELECT min(ctid) FROM u WHERE g = 'g1' AND w = 1)"]);
    db.cycle(&["INSERT INTO u SELECT 'g1', 1, 0 FROM generate_series(1, 5)"]);
    db.cycle(&["DELETE FROM u WHERE ctid IN (SELECT ctid FROM u WHERE w = 0 LIMIT 4)"]);
    db.cycle(&["DELETE FROM u WHERE w = 0"]);
    all_changes(db);
}

fn fewer_rows_than_the_limit(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int)");
    db.stream("top", "SELECT id, v FROM t ORDER BY v, id LIMIT 3");
    db.stream("tied", "SELECT id, v FROM t ORDER BY v FETCH FIRST 2 ROWS WITH TIES");
    db.cycle(&["INSERT INTO t VALUES (1, 1)"]);
    db.cycle(&["INSERT INTO t VALUES (2, 2), (3, 3)", "UPDATE t SET v = 9 WHERE id = 1"]);
    db.cycle(&["INSERT INTO t VALUES (4, 10)"]);
    db.cycle(&["DELETE FROM t WHERE id < 3"]);
    db.cycle(&["DELETE FROM t"]);
    db.cycle(&["INSERT INTO t VALUES (4, 10), (5, 10), (6, 10), (7, NULL)"]);
}

fn limits_that_are_sub_selects(db: &mut Database) {
    source(db);
    db.run("CREATE TABLE pages (rows int, skipped int); INSERT INTO pages VALUES (4, 2)");
    let query = "SELECT id, v FROM t ORDER BY v DESC, id LIMIT (SELECT max(rows) FROM pages) OFFSET (SELECT max(skipped) FROM pages)";
    let failure = db.fails(&pgtrickle_tests::create("page", query, "refresh_mode => 'DIFFERENTIAL'"));
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
    assert!(failure.detail.contains("row_number()"), "{failure:?}");
    db.stream_with("page", query, "schedule => '1h'");
    db.track("page", query);
    let changes =
        ["UPDATE pages SET rows = 6", "UPDATE pages SET skipped = 0; DELETE FROM t WHERE v > 9", "DELETE FROM pages"];
    for change in changes {
        db.cycle_in_full(&[change]);
    }
    db.untrack("page");
    db.run("INSERT INTO pages VALUES (4, 2)");
    db.stream("ranked", "SELECT id, v FROM (SELECT id, v, row_number() OVER (ORDER BY v DESC, id) AS place FROM t) AS q WHERE place <= (SELECT max(rows) FROM pages)");
    for change in changes {
        db.cycle(&[change]);
    }
    all_changes(db);
}

fn distinct_on(db: &mut Database) {
    source(db);
    db.stream("latest", "SELECT DISTINCT ON (g) g, id, v FROM t ORDER BY g, id DESC");
    db.stream("by_value", "SELECT DISTINCT ON (v) n, v FROM t ORDER BY v, n DESC NULLS LAST, id");
    db.stream("hidden", "SELECT DISTINCT ON (g) v FROM t ORDER BY g, n, id");
    db.stream(
        "by_expression",
        "SELECT DISTINCT ON (id % 5, g IS NULL) id, g FROM t ORDER BY id % 5, g IS NULL, v DESC, id",
    );
    all_changes(db);
}

fn distinct_on_several_columns(db: &mut Database) {
    source(db);
    db.stream("pairs", "SELECT DISTINCT ON (g, k) g, k, w FROM u ORDER BY g, k, w DESC");
    db.stream("reversed", "SELECT DISTINCT ON (k, g) g, w FROM u ORDER BY g DESC, k, w NULLS FIRST");
    all_changes(db);
}

fn distinct_on_with_limit(db: &mut Database) {
    source(db);
    db.stream("first", "SELECT DISTINCT ON (g) g, id FROM t ORDER BY g DESC NULLS LAST, v DESC, id LIMIT 2 OFFSET 1");
    all_changes(db);
}

fn distinct_on_over_joins_and_aggregates(db: &mut Database) {
    source(db);
    db.stream(
        "joined",
        "SELECT DISTINCT ON (t.id) t.id, u.w FROM t JOIN u ON u.g = t.g ORDER BY t.id, u.w DESC NULLS LAST",
    );
    db.stream("grouped", "SELECT DISTINCT ON (c) g, count(*) AS c FROM t GROUP BY g ORDER BY c, g");
    db.stream(
        "counted",
        "SELECT v, count(*) AS c FROM (SELECT DISTINCT ON (g) g, v FROM t ORDER BY g, id) AS x GROUP BY v",
    );
    all_changes(db);
}

fn constants_to_sort_by(db: &mut Database) {
    db.run("CREATE TABLE cs (id int PRIMARY KEY, v int); INSERT INTO cs VALUES (1, 2), (2, 1)");
    db.stream("first", "SELECT DISTINCT ON (1) -1.0::numeric AS c, id FROM cs ORDER BY 1, v, id");
    db.stream("top", "SELECT - (2.5) AS c, id FROM cs ORDER BY 1, v, id LIMIT 1");
    db.stream("grouped_by_it", "SELECT -1.0::numeric AS c, count(*) AS n FROM cs GROUP BY 1");
    db.cycle(&["INSERT INTO cs VALUES (3, 0)"]);
    db.cycle(&["DELETE FROM cs WHERE id = 3; UPDATE cs SET v = 9 WHERE id = 2"]);
}
