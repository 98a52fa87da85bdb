//! Aggregates: groups that appear, empty, move; accumulators that the output does not show.

use pgtrickle_tests::{Database, tests};

tests![
    null_group_keys,
    a_row_moves_between_groups,
    sum_goes_back_to_null,
    avg_of_an_emptied_group,
    the_extremum_is_deleted,
    the_extremum_is_replaced,
    extrema_of_text_and_dates,
    a_global_aggregate_keeps_its_row,
    having_that_opens_and_closes,
    having_without_groups,
    filter_clauses,
    aggregates_of_expressions,
    grouping_by_expressions,
    aggregates_below_aggregates,
    aggregate_below_a_join,
    aggregates_other_than_the_invertible,
    sums_of_floats_and_infinities,
    sums_that_keep_their_scale,
    averages_keep_their_digits,
    sums_of_large_numbers,
    group_keys_that_do_not_appear,
    no_aggregates_at_all,
    interval_and_money_sums,
    many_groups_at_once,
];

fn source(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g text, v int, n numeric, f float8, d date)");
    db.run("INSERT INTO t SELECT i, 'g' || i % 4, i, i / 4.0, i / 4.0, date '2024-01-01' + i FROM generate_series(1, 20) AS i");
    db.run("INSERT INTO t VALUES (21, NULL, 1, 1, 1, NULL), (22, NULL, NULL, NULL, NULL, NULL), (23, 'lone', 5, 5, 5, '2024-05-05')");
}

fn null_group_keys(db: &mut Database) {
    source(db);
    db.stream("one", "SELECT g, count(*) AS n, sum(v) AS s FROM t GROUP BY g");
    db.stream("two", "SELECT g, d, count(v) AS n FROM t GROUP BY g, d");
    db.cycle(&["INSERT INTO t (id, v) VALUES (30, 3); UPDATE t SET g = NULL WHERE id = 23"]);
    db.cycle(&["UPDATE t SET d = NULL WHERE id < 6; UPDATE t SET g = 'back' WHERE id = 22"]);
    db.cycle(&["DELETE FROM t WHERE g IS NULL"]);
    db.cycle(&["INSERT INTO t (id) VALUES (40)"]);
}

fn a_row_moves_between_groups(db: &mut Database) {
    source(db);
    db.stream(
        "sums",
        "SELECT g, count(*) AS n, sum(v) AS s, avg(v) AS m, min(v) AS lo, max(v) AS hi FROM t GROUP BY g",
    );
    db.cycle(&["UPDATE t SET g = 'g1' WHERE id = 23"]);
    db.cycle(&["UPDATE t SET g = 'new' WHERE id = 23; UPDATE t SET g = 'g0' WHERE g = 'g3'"]);
    db.cycle(&["UPDATE t SET g = CASE g WHEN 'g0' THEN 'g1' WHEN 'g1' THEN 'g0' ELSE g END"]);
}

fn sum_goes_back_to_null(db: &mut Database) {
    source(db);
    db.stream(
        "sums",
        "SELECT g, sum(v) AS s, sum(n) AS sn, avg(v) AS m, max(v) AS hi, count(v) AS c FROM t GROUP BY g",
    );
    db.stream("total", "SELECT sum(v) AS s, avg(n) AS m, min(d) AS lo FROM t WHERE g = 'lone'");
    db.cycle(&["UPDATE t SET v = NULL, n = NULL, d = NULL WHERE id = 23"]);
    assert_eq!(db.value("SELECT s FROM sums WHERE g = 'lone'"), None);
    db.cycle(&["UPDATE t SET v = 0, n = 0 WHERE id = 23"]);
    assert_eq!(db.number("SELECT s FROM sums WHERE g = 'lone'"), 0);
    db.cycle(&["DELETE FROM t WHERE id = 23"]);
    db.cycle(&["UPDATE t SET v = NULL, n = NULL", "UPDATE t SET v = 1 WHERE id = 1"]);
}

fn avg_of_an_emptied_group(db: &mut Database) {
    source(db);
    db.stream("means", "SELECT g, avg(v) AS a, avg(n) AS b, avg(f) AS c FROM t GROUP BY g");
    db.stream("mean", "SELECT avg(v) AS a, avg(n) AS b FROM t");
    db.cycle(&["DELETE FROM t WHERE g = 'lone'"]);
    db.cycle(&["DELETE FROM t WHERE g = 'g1'; INSERT INTO t VALUES (50, 'g1', 3, 3, 3, NULL)"]);
    db.cycle(&["DELETE FROM t"]);
    db.cycle(&["INSERT INTO t VALUES (1, 'g1', NULL, NULL, NULL, NULL)"]);
    db.cycle(&["UPDATE t SET v = 7, n = 7.70"]);
}

fn the_extremum_is_deleted(db: &mut Database) {
    source(db);
    db.stream("ends", "SELECT g, min(v) AS lo, max(v) AS hi FROM t GROUP BY g");
    db.stream("all_ends", "SELECT min(v) AS lo, max(n) AS hi FROM t");
    db.cycle(&["DELETE FROM t WHERE id IN (1, 20, 17)"]);
    db.cycle(&["INSERT INTO t (id, g, v) VALUES (60, 'g0', 4)"]);
    db.cycle(&["DELETE FROM t WHERE id = 4"]);
    db.cycle(&["DELETE FROM t WHERE v = (SELECT max(v) FROM t)", "DELETE FROM t WHERE v = (SELECT min(v) FROM t)"]);
    db.cycle(&["DELETE FROM t WHERE g = 'g2'"]);
}

fn the_extremum_is_replaced(db: &mut Database) {
    source(db);
    db.stream("ends", "SELECT g, min(v) AS lo, max(v) AS hi FROM t GROUP BY g");
    db.cycle(&["UPDATE t SET v = -v WHERE id IN (1, 20)"]);
    db.cycle(&["DELETE FROM t WHERE v = -20; INSERT INTO t (id, g, v) VALUES (61, 'g0', -30)"]);
    db.cycle(&["INSERT INTO t (id, g, v) VALUES (62, 'g0', 99); DELETE FROM t WHERE id = 62"]);
    db.cycle(&["UPDATE t SET v = NULL WHERE g = 'g0'"]);
}

fn extrema_of_text_and_dates(db: &mut Database) {
    source(db);
    db.stream(
        "ends",
        "SELECT v % 3 AS k, min(g) AS lo, max(g) AS hi, min(d) AS first, max(d) AS last FROM t GROUP BY v % 3",
    );
    db.cycle(&["UPDATE t SET g = 'a' || g WHERE id < 6; UPDATE t SET d = d + 100 WHERE id > 15"]);
    db.cycle(&["DELETE FROM t WHERE g LIKE 'a%' OR d > '2024-04-01'"]);
}

fn a_global_aggregate_keeps_its_row(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int)");
    db.stream("total", "SELECT count(*) AS n, sum(v) AS s, max(v) AS hi FROM t");
    assert_eq!(db.lines("SELECT n, s, hi FROM total"), ["0||"]);
    db.cycle(&["INSERT INTO t VALUES (1, 1), (2, NULL)"]);
    db.cycle(&["DELETE FROM t"]);
    assert_eq!(db.lines("SELECT n, s, hi FROM total"), ["0||"]);
    db.cycle(&["INSERT INTO t VALUES (1, NULL)"]);
}

fn having_that_opens_and_closes(db: &mut Database) {
    source(db);
    db.stream("big", "SELECT g FROM t GROUP BY g HAVING count(*) >= 5");
    db.stream("heavy", "SELECT g, avg(v) AS m FROM t GROUP BY g HAVING sum(v) > 40 AND max(v) < 100");
    db.cycle(&["DELETE FROM t WHERE id = 4"]);
    db.cycle(&["INSERT INTO t (id, g, v) VALUES (70, 'g0', 150), (71, 'lone', 60)"]);
    db.cycle(&["UPDATE t SET v = 1 WHERE id = 70; UPDATE t SET g = 'lone' WHERE g = 'g1'"]);
    db.cycle(&["DELETE FROM t WHERE g = 'lone'"]);
}

fn having_without_groups(db: &mut Database) {
    source(db);
    db.stream("maybe", "SELECT count(*) AS n FROM t HAVING sum(v) > 200");
    // PostgreSQL reads no row where there is one group of which nothing is asked.
    db.run("CREATE TABLE z (n int); INSERT INTO z VALUES (0)");
    db.stream("unread", "SELECT 1 AS one FROM z WHERE 1 / n = 1 HAVING 1 < 2");
    db.stream("never", "SELECT 1 AS one FROM z HAVING 1 > 2");
    db.stream("asked", "SELECT 1 AS one FROM t HAVING (SELECT min(v) FROM t) > 0");
    db.cycle(&["UPDATE t SET v = v - 10"]);
    db.cycle(&["UPDATE t SET v = v + 100 WHERE id = 1"]);
    db.cycle(&["DELETE FROM t", "INSERT INTO z VALUES (0), (1)"]);
    db.cycle(&["DELETE FROM z"]);
}

fn filter_clauses(db: &mut Database) {
    source(db);
    db.stream(
        "filtered",
        "SELECT g, count(*) FILTER (WHERE v > 5) AS n, sum(v) FILTER (WHERE v % 2 = 0) AS s, \
         min(v) FILTER (WHERE d > '2024-01-10') AS lo, avg(n) FILTER (WHERE f < 3) AS m, count(*) AS every FROM t GROUP BY g",
    );
    db.stream("none", "SELECT count(*) FILTER (WHERE v > 1000) AS n, max(v) FILTER (WHERE v > 1000) AS hi FROM t");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.cycle(&["UPDATE t SET d = NULL, f = f + 2 WHERE id % 2 = 0", "UPDATE t SET v = 2000 WHERE id = 1"]);
    db.cycle(&["DELETE FROM t WHERE v % 2 = 0"]);
}

fn aggregates_of_expressions(db: &mut Database) {
    source(db);
    db.stream(
        "sums",
        "SELECT g, sum(v * 2 + coalesce(length(g), 0)) AS a, max(v + n) AS b, count(nullif(v, 3)) AS c, \
                       sum(CASE WHEN v > 5 THEN n ELSE -n END) AS d FROM t GROUP BY g",
    );
    db.cycle(&["UPDATE t SET v = v + 1, n = n * 1.10"]);
    db.cycle(&["UPDATE t SET g = g || 'longer' WHERE id < 9"]);
}

fn grouping_by_expressions(db: &mut Database) {
    source(db);
    db.stream(
        "by_month",
        "SELECT date_trunc('month', d::timestamp) AS month, v / 10 AS ten, count(*) AS n FROM t GROUP BY 1, 2",
    );
    db.stream("by_length", "SELECT length(g) + 1 AS l, sum(v) AS s FROM t GROUP BY length(g)");
    db.cycle(&["UPDATE t SET d = d + 20, v = v + 5"]);
    db.cycle(&["UPDATE t SET g = 'longer' WHERE id % 2 = 0"]);
}

fn aggregates_below_aggregates(db: &mut Database) {
    source(db);
    db.stream(
        "histogram",
        "SELECT n, count(*) AS groups FROM (SELECT g, count(*) AS n FROM t GROUP BY g) AS c GROUP BY n",
    );
    db.stream(
        "best",
        "SELECT max(m) AS hi, min(m) AS lo FROM (SELECT g, avg(v) AS m FROM t GROUP BY g HAVING count(*) > 1) AS x",
    );
    db.stream("levels", "SELECT sum(s) AS s FROM (SELECT n, sum(s) AS s FROM (SELECT g, count(*) AS n, sum(v) AS s FROM t GROUP BY g) a GROUP BY n) b");
    db.cycle(&["INSERT INTO t (id, g, v) VALUES (80, 'g1', 80), (81, 'other', 81)"]);
    db.cycle(&["UPDATE t SET g = 'g2' WHERE g = 'g1' AND id < 10"]);
    db.cycle(&["DELETE FROM t WHERE g IN ('g0', 'lone')"]);
}

fn aggregate_below_a_join(db: &mut Database) {
    source(db);
    db.stream(
        "shares",
        "SELECT t.id, t.v, s.total FROM t JOIN (SELECT g, sum(v) AS total FROM t GROUP BY g) AS s ON s.g = t.g",
    );
    db.stream("above", "SELECT t.id FROM t CROSS JOIN (SELECT avg(v) AS m FROM t) AS s WHERE t.v > s.m");
    db.cycle(&["UPDATE t SET v = v + 7 WHERE id % 3 = 0"]);
    db.cycle(&["UPDATE t SET g = 'g1' WHERE id < 7; DELETE FROM t WHERE id > 18"]);
    db.cycle(&["DELETE FROM t"]);
    db.cycle(&["INSERT INTO t (id, g, v) VALUES (1, 'g', 1)"]);
}

fn aggregates_other_than_the_invertible(db: &mut Database) {
    source(db);
    db.stream(
        "others",
        "SELECT g, bool_and(v > 3) AS ba, string_agg(id::text, ',' ORDER BY id) AS ids, stddev(v) AS sd, \
         array_agg(v ORDER BY v DESC) AS vs, percentile_cont(0.5) WITHIN GROUP (ORDER BY v) AS median, \
         count(DISTINCT v % 3) AS kinds, sum(f) AS sf FROM t GROUP BY g",
    );
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id % 2 = 0"]);
    db.cycle(&[
        "UPDATE t SET g = 'g1' WHERE id < 5; DELETE FROM t WHERE id > 19; INSERT INTO t (id, g, v) VALUES (90, 'x', 1)",
    ]);
}

fn sums_of_floats_and_infinities(db: &mut Database) {
    source(db);
    db.stream("sums", "SELECT g, sum(f) AS f, sum(n) AS n, avg(n) AS a, max(f) AS hi, min(n) AS lo FROM t GROUP BY g");
    db.stream("total", "SELECT sum(n) AS n, avg(f) AS f FROM t");
    db.cycle(&[
        "UPDATE t SET n = 'NaN', f = 'NaN' WHERE id = 1; UPDATE t SET n = 'Infinity', f = 'Infinity' WHERE id = 2",
    ]);
    db.cycle(&["UPDATE t SET n = '-Infinity', f = '-Infinity' WHERE id = 6"]);
    db.cycle(&["UPDATE t SET n = 1, f = 0.1 WHERE id IN (1, 2)"]);
    db.cycle(&["UPDATE t SET n = 2, f = 1e100 WHERE id = 6"]);
    db.cycle(&["UPDATE t SET f = 0.25 WHERE id = 6"]);
}

fn sums_that_keep_their_scale(db: &mut Database) {
    source(db);
    db.stream("sums", "SELECT g, sum(n) AS s, sum(n + 0.000) AS three FROM t GROUP BY g");
    db.stream("total", "SELECT sum(n) AS s FROM t");
    db.cycle(&["UPDATE t SET n = 1.000000 WHERE id = 1; UPDATE t SET n = 2.5 WHERE id = 2"]);
    db.cycle(&["DELETE FROM t WHERE id = 1"]);
    db.cycle(&["UPDATE t SET n = 1", "UPDATE t SET n = 1.0 WHERE id = 7"]);
    db.cycle(&["UPDATE t SET n = 1.00 WHERE id = 7"]);
}

fn averages_keep_their_digits(db: &mut Database) {
    db.run("CREATE TABLE m (id int PRIMARY KEY, g int, price numeric(10, 2), big numeric, small int2, whole int8)");
    db.run("INSERT INTO m SELECT i, i % 3, i * 1.37, i * 1e15 + 0.1, i, i * 1000000007::int8 FROM generate_series(1, 17) AS i");
    db.stream("means", "SELECT g, avg(price) AS a, avg(big) AS b, avg(small) AS c, avg(whole) AS d FROM m GROUP BY g");
    db.stream("mean", "SELECT avg(price) AS a, avg(big) AS b, avg(small) AS c, avg(whole) AS d FROM m");
    db.cycle(&["UPDATE m SET price = price + 0.01, big = big + 0.00001 WHERE id % 2 = 0"]);
    db.cycle(&["DELETE FROM m WHERE id IN (3, 5, 9); INSERT INTO m VALUES (100, 0, 0.01, 1e-20, 1, 1)"]);
    db.cycle(&["DELETE FROM m WHERE id = 100"]);
}

fn sums_of_large_numbers(db: &mut Database) {
    db.run("CREATE TABLE m (id int PRIMARY KEY, a int8, b int, c int2)");
    db.stream("sums", "SELECT sum(a) AS a, sum(b) AS b, sum(c) AS c, avg(a) AS m FROM m");
    db.cycle(&[
        "INSERT INTO m VALUES (1, 9223372036854775807, 2147483647, 32767), (2, 9223372036854775807, 2147483647, 32767)",
    ]);
    db.cycle(&["INSERT INTO m SELECT i, 9223372036854775807, 2147483647, 32767 FROM generate_series(3, 60) AS i"]);
    db.cycle(&["UPDATE m SET a = -9223372036854775808, b = -2147483648, c = -32768 WHERE id > 5"]);
    db.cycle(&["DELETE FROM m WHERE id > 1"]);
}

fn group_keys_that_do_not_appear(db: &mut Database) {
    source(db);
    db.stream("counts", "SELECT count(*) AS n FROM t GROUP BY g");
    db.stream("sums", "SELECT sum(v) AS s FROM t GROUP BY g, d");
    db.cycle(&["UPDATE t SET g = 'g1' WHERE id < 5"]);
    db.cycle(&["DELETE FROM t WHERE g = 'g2'; INSERT INTO t (id, g, v) VALUES (90, 'x', 1), (91, 'y', 1)"]);
}

fn no_aggregates_at_all(db: &mut Database) {
    source(db);
    db.stream("keys", "SELECT g FROM t GROUP BY g");
    db.stream("pairs", "SELECT g, v % 2 AS p FROM t GROUP BY g, v % 2");
    db.cycle(&["DELETE FROM t WHERE g = 'g2' AND id < 10; INSERT INTO t (id, g, v) VALUES (90, 'x', 1)"]);
    db.cycle(&["DELETE FROM t WHERE g = 'g2'; UPDATE t SET v = v + 1"]);
}

fn interval_and_money_sums(db: &mut Database) {
    db.run("CREATE TABLE m (id int PRIMARY KEY, g int, i interval, m money, r real, t time)");
    db.run("INSERT INTO m SELECT i, i % 2, i * interval '1 day 1 hour', i::text::money, i / 8.0, time '10:00' FROM generate_series(1, 8) AS i");
    db.stream_by_value(
        "sums",
        "SELECT g, sum(i) AS i, avg(i) AS ai, sum(m) AS m, sum(r) AS r, max(i) AS hi, min(t) AS lo FROM m GROUP BY g",
    );
    db.cycle(&["UPDATE m SET i = i + interval '1 month', m = m * 2, r = r + 0.5"]);
    db.cycle(&["DELETE FROM m WHERE id IN (1, 8)"]);
}

fn many_groups_at_once(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g int, v int); INSERT INTO t SELECT i, i % 700, i FROM generate_series(1, 5000) AS i");
    db.stream(
        "sums",
        "SELECT g, count(*) AS n, sum(v) AS s, min(v) AS lo, max(v) AS hi, avg(v) AS m FROM t GROUP BY g",
    );
    db.cycle(&["UPDATE t SET g = g + 350, v = v + 1"]);
    db.cycle(&["DELETE FROM t WHERE id % 2 = 0"]);
    db.cycle(&["INSERT INTO t SELECT i, i % 1000, i FROM generate_series(10001, 14000) AS i; UPDATE t SET v = -v WHERE id < 500"]);
}
