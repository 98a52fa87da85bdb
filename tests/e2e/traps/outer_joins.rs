//! Outer joins: matches come and go on either side, keys are NULL, joins nest.

use pgtrickle_tests::{Database, tests};

tests![
    left_right_and_full_joins,
    full_joins_with_null_keys_on_both_sides,
    counting_over_a_left_join,
    chained_left_joins_with_extrema_above,
    nested_and_mixed_joins,
    conditions_of_every_kind,
    joins_of_which_no_column_is_used,
    outer_joins_of_grouped_sub_selects,
    self_outer_joins,
    merged_columns,
    keyless_tables_with_duplicates,
    a_match_comes_and_goes_in_one_cycle,
];

fn tables(db: &mut Database) {
    db.run("CREATE TABLE l (id int PRIMARY KEY, k int, v int); CREATE TABLE r (id int PRIMARY KEY, k int, w int); CREATE TABLE b (k int, x int)");
    db.run("INSERT INTO l SELECT i, nullif(i % 6, 5), i FROM generate_series(1, 20) AS i");
    db.run("INSERT INTO r SELECT i, nullif(i % 8, 7), i * 10 FROM generate_series(1, 16) AS i");
    db.run("INSERT INTO b SELECT nullif(i % 4, 3), i % 3 FROM generate_series(1, 12) AS i");
}

const CHANGES: [&str; 9] = [
    "INSERT INTO l VALUES (100, 7, 1), (101, NULL, 2), (102, 99, 3); INSERT INTO r VALUES (100, 99, 1), (101, NULL, 5)",
    "DELETE FROM r WHERE k = 2; DELETE FROM b WHERE k = 1",
    "UPDATE l SET k = k + 1 WHERE id % 3 = 0; UPDATE r SET k = k - 1 WHERE id % 4 = 0; UPDATE b SET x = x + 1 WHERE k = 0",
    "DELETE FROM l WHERE id < 5; INSERT INTO r SELECT i, 3, i FROM generate_series(200, 205) AS i; INSERT INTO b VALUES (3, 3), (3, 3), (NULL, NULL)",
    "UPDATE r SET k = NULL WHERE k = 3; UPDATE l SET k = 3 WHERE k IS NULL; DELETE FROM b WHERE x = 2",
    "DELETE FROM r",
    "INSERT INTO r SELECT i, i % 5, i FROM generate_series(1, 10) AS i; INSERT INTO b VALUES (1, 1), (1, 1)",
    "DELETE FROM l; DELETE FROM b",
    "INSERT INTO l SELECT i, i % 5, i FROM generate_series(1, 10) AS i; INSERT INTO b SELECT i % 4, i % 2 FROM generate_series(1, 9) AS i",
];

fn all_changes(db: &mut Database) {
    for change in CHANGES {
        db.cycle(&[change]);
    }
    // Each side alone.
    db.cycle(&["DELETE FROM r WHERE id < 4"]);
    db.cycle(&["UPDATE l SET k = 1"]);
    db.cycle(&["INSERT INTO b SELECT i % 4, i % 3 FROM generate_series(1, 9) AS i"]);
}

fn left_right_and_full_joins(db: &mut Database) {
    tables(db);
    for kind in ["LEFT", "RIGHT", "FULL"] {
        db.stream(
            &format!("{}_rows", kind.to_lowercase()),
            &format!("SELECT l.id, l.v, r.id AS rid, r.w FROM l {kind} JOIN r ON l.k = r.k"),
        );
    }
    db.stream("one", "SELECT l.id, r.w FROM l LEFT JOIN r ON r.id = l.k");
    db.stream("alone", "SELECT l.id, l.v FROM l LEFT JOIN r ON r.id = l.k WHERE r.id IS NULL");
    all_changes(db);
}

fn full_joins_with_null_keys_on_both_sides(db: &mut Database) {
    tables(db);
    db.stream("pairs", "SELECT l.k AS a, b.k AS b, l.v, b.x FROM l FULL JOIN b ON l.k = b.k");
    db.stream(
        "keys",
        "SELECT coalesce(l.k, r.k) AS k, count(l.id) AS n, count(r.id) AS m FROM l FULL JOIN r ON l.k = r.k GROUP BY 1",
    );
    all_changes(db);
}

fn counting_over_a_left_join(db: &mut Database) {
    tables(db);
    db.stream(
        "counts",
        "SELECT l.id, count(r.id) AS n, sum(r.w) AS s, count(*) AS rows FROM l LEFT JOIN r ON r.k = l.k GROUP BY l.id",
    );
    db.stream("total", "SELECT count(r.id) AS n, sum(r.w) AS s FROM l LEFT JOIN r ON r.k = l.k");
    db.stream("empty", "SELECT l.k, count(*) AS n FROM l LEFT JOIN r ON r.k = l.k GROUP BY l.k HAVING count(r.id) = 0");
    all_changes(db);
}

fn chained_left_joins_with_extrema_above(db: &mut Database) {
    tables(db);
    db.stream("extrema", "SELECT l.id, min(r.w) AS lo, max(b.x) AS hi FROM l LEFT JOIN r ON r.k = l.k LEFT JOIN b ON b.k = r.k GROUP BY l.id");
    db.stream(
        "chain",
        "SELECT l.id, r.id AS rid, b.x FROM l LEFT JOIN r ON r.k = l.k LEFT JOIN b ON b.k = r.id AND b.x > 0",
    );
    all_changes(db);
}

fn nested_and_mixed_joins(db: &mut Database) {
    tables(db);
    db.stream("inner_right", "SELECT l.id, r.id AS rid, b.x FROM l LEFT JOIN (r JOIN b ON b.k = r.k) ON l.k = r.k");
    db.stream("inner_left", "SELECT l.id, r.id AS rid, b.x FROM (l JOIN r ON l.k = r.k) LEFT JOIN b ON b.k = r.id");
    db.stream(
        "full_of_left",
        "SELECT l.id, r.id AS rid, b.x FROM (l LEFT JOIN r ON l.k = r.k) FULL JOIN b ON b.k = l.k",
    );
    db.stream("comma", "SELECT l.id, r.w, o.v FROM l AS o, l LEFT JOIN r ON r.k = l.k WHERE o.id = l.v");
    db.stream(
        "right_in_left",
        "SELECT l.id, r.id AS rid, b.x FROM b RIGHT JOIN l ON b.k = l.k LEFT JOIN r ON r.id = l.id",
    );
    all_changes(db);
}

fn conditions_of_every_kind(db: &mut Database) {
    tables(db);
    db.stream("greater", "SELECT l.id, r.id AS rid FROM l LEFT JOIN r ON r.w > l.v * 10");
    db.stream("several", "SELECT l.id, r.id AS rid FROM l LEFT JOIN r ON r.k = l.k AND r.id <> l.id");
    db.stream("one_side", "SELECT l.id, r.id AS rid FROM l LEFT JOIN r ON r.k = l.k AND l.v > 10 AND r.w < 100");
    db.stream("never", "SELECT l.id, r.id AS rid FROM l LEFT JOIN r ON false");
    db.stream("always", "SELECT l.id, b.x FROM l LEFT JOIN b ON true");
    db.stream("null_safe", "SELECT l.id, b.x FROM l LEFT JOIN b ON l.k IS NOT DISTINCT FROM b.k");
    db.stream("full_one_side", "SELECT l.id, r.id AS rid FROM l FULL JOIN r ON r.k = l.k AND l.v > 5");
    all_changes(db);
}

fn joins_of_which_no_column_is_used(db: &mut Database) {
    tables(db);
    db.stream("constant", "SELECT 1 AS c FROM l LEFT JOIN r ON r.w > 50");
    db.stream("counted", "SELECT count(*) AS n FROM l LEFT JOIN r ON true");
    db.stream("counted_full", "SELECT count(*) AS n FROM l FULL JOIN r ON l.k = r.k");
    db.stream("counted_matches", "SELECT count(*) AS n FROM l WHERE EXISTS (SELECT FROM r WHERE w > 100)");
    all_changes(db);
}

fn outer_joins_of_grouped_sub_selects(db: &mut Database) {
    tables(db);
    db.stream("sums", "SELECT l.id, s.n, s.w FROM l LEFT JOIN (SELECT k, count(*) AS n, sum(w) AS w FROM r GROUP BY k) AS s ON s.k = l.k");
    db.stream("grouped_pairs", "SELECT a.k, a.n, s.n AS m FROM (SELECT k, count(*) AS n FROM l GROUP BY k) AS a FULL JOIN (SELECT k, count(*) AS n FROM b GROUP BY k) AS s ON s.k = a.k");
    db.stream("distinct_join", "SELECT DISTINCT l.k, r.k AS rk FROM l LEFT JOIN r ON r.id = l.k");
    all_changes(db);
}

fn self_outer_joins(db: &mut Database) {
    tables(db);
    db.stream("next", "SELECT a.id, b.v FROM l AS a LEFT JOIN l AS b ON b.id = a.id + 1");
    db.stream("full_self", "SELECT a.id AS a, b.id AS b FROM l AS a FULL JOIN l AS b ON a.k = b.v");
    db.stream("same_bag", "SELECT a.x AS a, c.x AS b FROM b AS a LEFT JOIN b AS c ON a.k = c.x");
    all_changes(db);
}

fn merged_columns(db: &mut Database) {
    tables(db);
    db.stream("using_full", "SELECT k, l.v, r.w FROM l FULL JOIN r USING (k)");
    db.stream("using_left", "SELECT k, v, w FROM l LEFT JOIN r USING (id, k)");
    db.stream("natural_full", "SELECT * FROM l NATURAL FULL JOIN r");
    all_changes(db);
}

fn keyless_tables_with_duplicates(db: &mut Database) {
    tables(db);
    db.run("CREATE TABLE d (k int, y int); INSERT INTO d VALUES (1, 1), (1, 1), (NULL, 1), (NULL, 1), (2, NULL)");
    db.stream("bag", "SELECT d.k, d.y, b.x FROM d LEFT JOIN b ON b.k = d.k");
    db.stream("bag_full", "SELECT d.y, b.x FROM d FULL JOIN b ON b.k = d.k");
    db.cycle(&["DELETE FROM d WHERE ctid = (SELECT min(ctid) FROM d WHERE k = 1); DELETE FROM b WHERE k = 2"]);
    db.cycle(&["INSERT INTO d SELECT * FROM d; INSERT INTO b SELECT * FROM b"]);
    db.cycle(&["DELETE FROM b WHERE k = 1", "INSERT INTO b VALUES (1, 1)"]);
    db.cycle(&["UPDATE d SET k = NULL; UPDATE b SET k = NULL WHERE x = 1"]);
}

fn a_match_comes_and_goes_in_one_cycle(db: &mut Database) {
    tables(db);
    db.stream("pairs", "SELECT l.id, 100 / r.w AS x FROM l LEFT JOIN r ON r.k = l.k");
    db.stream("padded", "SELECT l.id, coalesce(r.w, -1) AS w FROM l LEFT JOIN r ON r.k = l.k");
    db.cycle(&["INSERT INTO r VALUES (300, 77, 5); INSERT INTO l VALUES (300, 77, 1)", "DELETE FROM r WHERE id = 300"]);
    db.cycle(&["DELETE FROM r WHERE id = 1; INSERT INTO r VALUES (1, 1, 10)"]);
    db.cycle(&["INSERT INTO l VALUES (301, 0, 1); UPDATE r SET k = 0 WHERE id = 2", "DELETE FROM l WHERE id = 301"]);
    db.cycle(&["UPDATE l SET v = v + 1; UPDATE r SET w = w + 1"]);
}
