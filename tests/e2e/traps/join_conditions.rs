//! Sub-selects in the conditions of outer joins, and LATERAL sub-selects below other joins.

use super::sub_selects::over_all_changes;
use pgtrickle_tests::{Database, tests};

tests![
    sub_selects_that_read_the_padded_side,
    sub_selects_that_read_the_kept_side,
    sub_selects_that_read_both_sides,
    full_joins,
    right_joins,
    sub_selects_in_sub_selects,
    beside_lateral_items,
    items_that_read_past_their_join,
    functions_of_sub_selects,
    in_queries_around,
    keyless_tables,
    padded_rows_of_moving_conditions,
    a_second_row_is_the_servers_own_error,
    a_second_row_that_no_pair_asks_for_is_none,
];

fn sub_selects_that_read_the_padded_side(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.k = t.k AND u.w IN (SELECT x FROM b)",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.k = t.k AND u.k NOT IN (SELECT x FROM b)",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.k = t.k AND (EXISTS (SELECT FROM b WHERE b.k = u.k) OR u.w > 8)",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.k = t.k AND u.w > (SELECT max(x) FROM b WHERE b.k = u.k)",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.k = t.k AND EXISTS (SELECT FROM b WHERE b.x = 1)",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.w > ALL (SELECT x FROM b WHERE b.k = u.k)",
        ],
    );
}

fn sub_selects_that_read_the_kept_side(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.k = t.k AND t.v IN (SELECT x FROM b)",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.k = t.k AND NOT EXISTS (SELECT FROM b WHERE b.k = t.k)",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.k = t.k AND (t.v > 6 OR t.k <> ANY (SELECT x FROM b))",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.id = (SELECT count(*) FROM b WHERE b.k = t.k)",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.w + t.v > (SELECT sum(x) FROM b)",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON (t.k, u.k) = (SELECT max(b.k), max(b.x) FROM b)",
        ],
    );
}

fn sub_selects_that_read_both_sides(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT t.id, u.w FROM t LEFT JOIN u ON EXISTS (SELECT FROM b WHERE b.k = t.k AND b.x = u.k)",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.k = t.k AND NOT EXISTS (SELECT FROM b WHERE b.k = t.v % 4 AND b.x = u.w % 3)",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON t.k IN (SELECT b.x + u.k FROM b WHERE b.k < u.w)",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON t.k NOT IN (SELECT b.x + u.k FROM b) AND u.id < 5",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.k = t.k AND CASE WHEN t.v > 5 THEN (SELECT count(*) FROM b WHERE b.k = t.k AND b.x <= u.k) > 1 ELSE u.w > 4 END",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.k = t.k AND t.v > (SELECT sum(b.x) FROM b WHERE b.k = u.k) AND EXISTS (SELECT FROM b WHERE b.k = t.k) AND t.v + u.w > ALL (SELECT b.x + t.k FROM b WHERE b.k = u.k)",
        ],
    );
}

fn full_joins(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT t.id, u.id AS other FROM t FULL JOIN u ON u.k = t.k AND u.w IN (SELECT x FROM b)",
            "SELECT t.id, u.id AS other FROM t FULL JOIN u ON u.k = t.k AND EXISTS (SELECT FROM b WHERE b.k = t.k) AND u.w > (SELECT min(x) FROM b)",
            "SELECT t.id, u.id AS other FROM t FULL JOIN u ON u.k = t.k AND EXISTS (SELECT FROM b WHERE b.k = t.k AND b.x < u.k)",
            "SELECT t.id, t.v, u.w FROM t FULL JOIN u ON u.k = t.k AND (t.v IN (SELECT b.x + u.k FROM b) OR u.w IN (SELECT b.k + t.v FROM b) OR t.v IN (SELECT x FROM b))",
            "SELECT k, count(*) AS n, sum(t.v) AS v, sum(u.w) AS w FROM t FULL JOIN u USING (k) GROUP BY k",
            "SELECT x.k, y.w FROM (SELECT k FROM b) AS x FULL JOIN (SELECT k, w FROM u) AS y ON x.k = y.k AND NOT EXISTS (SELECT FROM t WHERE t.k = x.k AND t.v = y.w)",
        ],
    );
}

fn right_joins(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT t.id, u.w FROM t RIGHT JOIN u ON u.k = t.k AND t.v IN (SELECT x FROM b)",
            "SELECT t.id, u.w FROM t RIGHT JOIN u ON u.k = t.k AND (u.w IN (SELECT x FROM b) OR t.v > 7)",
            "SELECT t.id, u.w FROM t RIGHT JOIN u ON EXISTS (SELECT FROM b WHERE b.k = t.k AND b.x = u.k)",
            "SELECT t.id, t.v, u.id AS other, u.w, b.* FROM t RIGHT JOIN u ON u.k = t.k LEFT JOIN b ON b.k = u.k AND EXISTS (SELECT FROM u AS y WHERE y.w = t.v AND y.k = b.x)",
            "SELECT t.id, u.w, b.x FROM t RIGHT JOIN (u RIGHT JOIN b ON b.k = u.k AND u.w > (SELECT max(v) - 9 FROM t)) ON t.k = b.k AND t.v <> ALL (SELECT w FROM u)",
        ],
    );
}

fn sub_selects_in_sub_selects(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.k = t.k AND EXISTS (SELECT FROM b WHERE b.k = t.k AND b.x NOT IN (SELECT y.k FROM u AS y WHERE y.w > u.w))",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON (SELECT max(b.x) FROM b WHERE b.k = t.k) IN (SELECT y.v - u.w FROM t AS y)",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.k = t.k AND u.w IN (SELECT y.w FROM u AS y LEFT JOIN b ON b.k = y.k AND b.x IN (SELECT k FROM t) WHERE b.x IS NULL)",
            "SELECT t.id, u.w FROM t LEFT JOIN u ON u.k = t.k AND EXISTS (SELECT FROM b LEFT JOIN u AS y ON y.k = b.k AND y.w IN (SELECT v FROM t AS z WHERE z.k = u.k) WHERE b.k = t.k AND y.id IS NULL)",
        ],
    );
}

fn beside_lateral_items(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT t.id, x.w FROM t LEFT JOIN LATERAL (SELECT w, k FROM u WHERE u.k = t.k) AS x ON x.w IN (SELECT x FROM b)",
            "SELECT t.id, x.w FROM t LEFT JOIN LATERAL (SELECT w, k FROM u WHERE u.k = t.k) AS x ON EXISTS (SELECT FROM b WHERE b.k = t.k) AND x.w > 2",
            "SELECT t.id, x.s FROM t LEFT JOIN LATERAL (SELECT sum(w) AS s FROM u WHERE u.k = t.k) AS x ON EXISTS (SELECT FROM b WHERE b.k = t.k AND b.x < x.s)",
            "SELECT t.id, g FROM t LEFT JOIN LATERAL generate_series(1, t.v % 4) AS g ON g IN (SELECT x FROM b)",
            "SELECT t.id, g FROM t LEFT JOIN LATERAL generate_series(1, t.v % 4) AS g ON t.k IN (SELECT x FROM b)",
            "SELECT t.id, g FROM t LEFT JOIN LATERAL generate_series(1, t.v % 4) AS g ON EXISTS (SELECT FROM b WHERE b.k = t.k AND b.x = g)",
        ],
    );
}

fn items_that_read_past_their_join(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT t.id, u.w, z.x FROM t CROSS JOIN (u LEFT JOIN LATERAL (SELECT x FROM b WHERE b.k = t.k) AS z ON true) WHERE u.k = t.k",
            "SELECT t.id, u.w, z.x FROM t CROSS JOIN (u LEFT JOIN LATERAL (SELECT x FROM b WHERE b.k = t.k AND b.x < u.k) AS z ON z.x > 0) WHERE u.k = t.k",
            "SELECT t.id, u.w, z.x FROM t LEFT JOIN (u JOIN LATERAL (SELECT x FROM b WHERE b.k = t.k AND b.x <= u.k) AS z ON z.x < 2) ON u.k = t.k",
            "SELECT t.id, u.w, z.n FROM t LEFT JOIN (u LEFT JOIN LATERAL (SELECT count(*) AS n FROM b WHERE b.k = t.k) AS z ON z.n < u.w) ON u.k = t.k AND EXISTS (SELECT FROM b WHERE b.k = t.k AND b.x = u.k)",
            "SELECT t.id, u.w, g FROM t LEFT JOIN (u CROSS JOIN LATERAL generate_series(u.k, t.k) AS g) ON u.w > t.v",
            "SELECT t.id, u.w, g FROM t JOIN (u LEFT JOIN LATERAL generate_series(u.k, t.k) AS g ON g IN (SELECT x FROM b)) ON u.k < t.k",
            "SELECT t.id, u.w, x.m FROM t, u FULL JOIN LATERAL (SELECT max(b.x) AS m FROM b WHERE b.k = t.k) AS x ON x.m = u.k",
            "SELECT t.id, y.w, y.s FROM t, LATERAL (SELECT u.w, z.s FROM u LEFT JOIN LATERAL (SELECT sum(b.x) AS s FROM b WHERE b.k = t.k AND b.x < u.k) AS z ON true WHERE u.k = t.k) AS y",
        ],
    );
}

fn functions_of_sub_selects(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT t.id, g FROM t, generate_series(1, (SELECT count(*) FROM b WHERE b.k = t.k)) AS g",
            "SELECT t.id, g FROM t, generate_series(1, (SELECT count(*) FROM b WHERE b.k = (t).k AND b.x < length(t::text))) AS g",
            "SELECT t.id, g FROM t LEFT JOIN LATERAL generate_series((SELECT min(x) FROM b WHERE b.k = t.k), t.v % 5) AS g ON g > 1",
        ],
    );
}

fn in_queries_around(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id, (SELECT count(y.w) FROM b LEFT JOIN u AS y ON y.k = b.k AND y.w > ANY (SELECT v FROM t AS z WHERE z.k = t.k) WHERE b.k = t.k) AS n FROM t",
            "SELECT id FROM t WHERE EXISTS (SELECT FROM b LEFT JOIN u ON u.k = t.k AND EXISTS (SELECT FROM b AS y WHERE y.k = u.k AND y.x = b.x AND y.x < t.v) WHERE b.k = t.k AND u.id IS NULL)",
            "SELECT t.k, count(u.w) AS n FROM t LEFT JOIN u ON u.k = t.k AND u.w NOT IN (SELECT x FROM b WHERE b.k = t.k) GROUP BY t.k HAVING count(*) > (SELECT min(x) FROM b)",
            "WITH r AS (SELECT u.k, u.w FROM u LEFT JOIN b ON b.k = u.k AND b.x IN (SELECT k FROM t) WHERE b.k IS NULL) SELECT t.id, r.w FROM t LEFT JOIN r ON r.k = t.k AND EXISTS (SELECT FROM r AS o WHERE o.w > r.w AND o.k = t.k)",
        ],
    );
}

/// Rows of which several are equal have all of their matches each.
fn keyless_tables(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT b.k, b.x, y.x AS other FROM b LEFT JOIN b AS y ON y.k = b.x AND EXISTS (SELECT FROM t WHERE t.k = b.k AND t.v > y.x)",
            "SELECT b.k, y.x FROM b FULL JOIN b AS y ON y.k = b.x AND b.x IN (SELECT t.k - y.x FROM t)",
            "SELECT b.k, y.x FROM b LEFT JOIN b AS y ON y.k = b.x AND b.k IN (SELECT k FROM t) AND y.x NOT IN (SELECT w FROM u)",
        ],
    );
}

/// What a condition says of the clock and of the padded side is said of that side also where that is evaluated for each row of the other.
fn padded_rows_of_moving_conditions(db: &mut Database) {
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, k int); CREATE TABLE s (k int, at timestamptz); CREATE TABLE b (k int)",
    );
    db.run("INSERT INTO t SELECT i, i % 3 FROM generate_series(1, 6) AS i; INSERT INTO b VALUES (1), (2)");
    db.run("INSERT INTO s SELECT i % 3, now() + CASE i % 2 WHEN 0 THEN interval '-2 days' ELSE '2 days' END FROM generate_series(1, 9) AS i");
    let queries = [
        "SELECT t.id, x.at FROM t LEFT JOIN LATERAL (SELECT at FROM s WHERE s.k = t.k) AS x ON x.at > now()",
        "SELECT t.id, x FROM t LEFT JOIN LATERAL unnest(ARRAY[now_then(t.k)]) AS x ON x > now()",
        "SELECT t.id, s.at FROM t LEFT JOIN s ON s.k = t.k AND s.at > now() AND EXISTS (SELECT FROM b WHERE b.k = s.k)",
        "SELECT t.id, s.at FROM t RIGHT JOIN s ON s.k = t.k AND EXISTS (SELECT FROM b WHERE b.k = s.k AND s.k = t.k)",
    ];
    db.run("CREATE FUNCTION now_then(k int) RETURNS timestamptz IMMUTABLE LANGUAGE sql AS $$ SELECT '2000-01-01 00:00Z'::timestamptz + k * interval '100 years' $$");
    for (number, query) in queries.iter().enumerate() {
        db.stream(&format!("st{number}"), query);
    }
    db.cycle(&["INSERT INTO s VALUES (1, now() + interval '1 day'), (2, now() - interval '1 day')"]);
    db.cycle(&["DELETE FROM b WHERE k = 1; UPDATE t SET k = k + 1 WHERE id < 4"]);
    db.cycle(&["DELETE FROM s WHERE at > now(); INSERT INTO b VALUES (0)"]);
    db.cycle(&[
        "DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (9, 2); INSERT INTO s VALUES (2, now() + interval '1 day')",
    ]);
}

const SECOND_ROWS: [&str; 4] = [
    "SELECT t.id, u.id AS other FROM t LEFT JOIN u ON u.k = t.k AND u.w = (SELECT x FROM b WHERE b.k = t.id + 40)",
    "SELECT t.id, u.id AS other FROM t LEFT JOIN u ON u.k = t.k AND t.v = (SELECT x FROM b WHERE b.k = u.id + 40)",
    "SELECT t.id, u.id AS other FROM t LEFT JOIN u ON u.k = t.k AND u.w = (SELECT x FROM b WHERE b.k = t.id + u.id + 30)",
    "SELECT t.id, u.id AS other FROM t FULL JOIN u ON u.k = t.k AND u.w = (SELECT x FROM b WHERE b.k = t.id + 40) AND t.v = (SELECT x FROM b WHERE b.k = u.id + 40)",
];

fn a_second_row_is_the_servers_own_error(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, k int, v int); CREATE TABLE u (id int PRIMARY KEY, k int, w int); CREATE TABLE b (k int, x int)");
    db.run("INSERT INTO t VALUES (10, 1, 1); INSERT INTO u VALUES (10, 1, 1)");
    for (number, query) in SECOND_ROWS.iter().enumerate() {
        db.stream(&format!("st{number}"), query);
    }
    db.cycle(&["INSERT INTO b VALUES (50, 1)"]);
    db.run("INSERT INTO b VALUES (50, 3)");
    for number in 0..SECOND_ROWS.len() {
        let refresh = format!("SELECT pgtrickle.refresh_stream_table('st{number}')");
        let failure = db.attempt(&refresh).expect_err("two rows");
        assert_eq!(failure.sqlstate, "21000", "{failure:?}");
    }
    db.cycle(&["DELETE FROM b WHERE x = 1"]);
    db.cycle(&["UPDATE b SET x = 1"]);
}

/// A sub-select that reads both sides is asked for the pairs that the other parts of the condition leave. (One that reads one side the server,
/// too, may evaluate for all rows of that, as the key of a hash join.)
fn a_second_row_that_no_pair_asks_for_is_none(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, k int, v int); CREATE TABLE u (id int PRIMARY KEY, k int, w int); CREATE TABLE b (k int, x int)");
    db.run("INSERT INTO t VALUES (10, 1, 1), (9, 3, 1); INSERT INTO u VALUES (10, 2, 1), (9, 3, 1)");
    db.stream("st", SECOND_ROWS[2]);
    db.cycle(&["INSERT INTO b VALUES (50, 1)"]);
    db.cycle(&["INSERT INTO b VALUES (50, 3)"]);
    db.cycle(&["UPDATE t SET v = 2; UPDATE u SET w = 2"]);
    db.cycle(&["DELETE FROM b WHERE x = 1; UPDATE t SET k = 2 WHERE id = 10"]);
}
