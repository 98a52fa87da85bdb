//! Sub-selects in expressions and LATERAL: rows inside appear and disappear, NULLs arrive, correlation sits anywhere.

use pgtrickle_tests::{Database, tests};

tests![
    exists_and_not_exists,
    an_inner_row_appears_and_disappears_in_one_cycle,
    in_and_not_in_with_nulls,
    any_and_all,
    truth_values_beside_other_conditions,
    uncorrelated_values,
    correlated_values,
    a_second_row_is_the_servers_own_error,
    correlation_below_grouping_and_distinct,
    correlation_that_no_equality_binds,
    sub_selects_in_sub_selects,
    sub_selects_around_grouping,
    sub_selects_in_join_conditions,
    sub_selects_over_joins_and_unions,
    multi_column_in,
    sub_selects_that_are_sorted_or_grouped_by,
    six_levels_that_read_one_another,
    rows_compared_with_sub_selects,
    aggregates_that_sub_selects_read,
    arrays_of_rows,
    limits_below_exists,
    frames_that_read_an_outer_row_are_refused,
    order_that_an_aggregate_does_not_see,
    deep_nesting_is_refused_in_time,
    correlation_with_null_values,
    keys_with_many_matches,
    many_keys_at_once,
];

fn tables(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, k int, v int); CREATE TABLE u (id int PRIMARY KEY, k int, w int NOT NULL); CREATE TABLE b (k int, x int)");
    db.run("INSERT INTO t SELECT i, nullif(i % 6, 5), i FROM generate_series(1, 14) AS i");
    db.run("INSERT INTO u SELECT i, nullif(i % 8, 7), i * 2 FROM generate_series(1, 12) AS i");
    db.run("INSERT INTO b SELECT i % 4, i % 3 FROM generate_series(1, 9) AS i");
}

const CHANGES: [&str; 9] = [
    "INSERT INTO t VALUES (100, 7, 1), (101, NULL, 2), (102, 99, 3); INSERT INTO u VALUES (100, 99, 1), (101, 3, 5)",
    "DELETE FROM u WHERE k = 2; DELETE FROM b WHERE k = 1",
    "UPDATE t SET k = k + 1 WHERE id % 3 = 0; UPDATE u SET k = k - 1 WHERE id % 4 = 0; UPDATE b SET x = x + 1 WHERE k = 0",
    "DELETE FROM t WHERE id < 4; INSERT INTO u SELECT i, 3, i FROM generate_series(200, 205) AS i; INSERT INTO b VALUES (3, 3), (3, 3), (NULL, NULL)",
    "UPDATE u SET k = NULL WHERE k = 3; UPDATE t SET k = 3 WHERE k IS NULL; DELETE FROM b WHERE x = 2 OR x IS NULL",
    "DELETE FROM u",
    "INSERT INTO u SELECT i, i % 5, i FROM generate_series(1, 10) AS i; INSERT INTO b VALUES (1, 1), (1, 1)",
    "DELETE FROM t; DELETE FROM b",
    "INSERT INTO t SELECT i, i % 5, i FROM generate_series(1, 10) AS i; INSERT INTO b SELECT i % 4, i % 2 FROM generate_series(1, 9) AS i",
];

fn all_changes(db: &mut Database) {
    for change in CHANGES {
        db.cycle(&[change]);
    }
    db.cycle(&["DELETE FROM u WHERE id < 4"]);
    db.cycle(&["UPDATE t SET k = 1, v = 3"]);
    db.cycle(&["INSERT INTO b VALUES (NULL, 7), (2, NULL)"]);
}

pub(super) fn over_all_changes(db: &mut Database, queries: &[&str]) {
    tables(db);
    for (number, query) in queries.iter().enumerate() {
        db.stream(&format!("st{number}"), query);
    }
    all_changes(db);
}

fn exists_and_not_exists(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.k = t.k)",
            "SELECT id, v FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND u.w > 5)",
            "SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.k > t.k AND u.w > t.v)",
            "SELECT id FROM t WHERE EXISTS (SELECT FROM u)",
            "SELECT id FROM t WHERE NOT EXISTS (SELECT FROM b WHERE x = 7)",
            "SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.k = t.k AND t.v > 5) AND NOT EXISTS (SELECT FROM b WHERE b.k = t.k AND b.x = 0)",
            "SELECT k, count(*) AS n FROM t WHERE EXISTS (SELECT FROM u WHERE u.k = t.k) GROUP BY k",
            "SELECT k, x FROM b WHERE EXISTS (SELECT FROM b AS c WHERE c.x = b.k)",
        ],
    );
}

fn an_inner_row_appears_and_disappears_in_one_cycle(db: &mut Database) {
    tables(db);
    db.stream("matched", "SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.k = t.k)");
    db.stream("unmatched", "SELECT id FROM t WHERE NOT EXISTS (SELECT FROM u WHERE u.k = t.k)");
    db.cycle(&["INSERT INTO u VALUES (300, 77, 1); INSERT INTO t VALUES (300, 77, 1)", "DELETE FROM u WHERE id = 300"]);
    db.cycle(&["DELETE FROM u WHERE k = 1", "INSERT INTO u VALUES (301, 1, 1)"]);
    db.cycle(&["UPDATE u SET k = 77 WHERE id = 301", "UPDATE t SET k = 1 WHERE id = 300"]);
}

fn in_and_not_in_with_nulls(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id FROM t WHERE k IN (SELECT k FROM u)",
            "SELECT id FROM t WHERE k NOT IN (SELECT k FROM u)",
            "SELECT id FROM t WHERE k NOT IN (SELECT x FROM b)",
            "SELECT id FROM t WHERE id NOT IN (SELECT w FROM u)",
            "SELECT id FROM t WHERE k NOT IN (SELECT x FROM b WHERE b.k = t.v)",
            "SELECT id FROM t WHERE k + 1 IN (SELECT x + k FROM b)",
            "SELECT id FROM t WHERE NOT (k IN (SELECT k FROM u WHERE w > 6)) AND v > 2",
            "SELECT id, k IN (SELECT x FROM b) AS a, k NOT IN (SELECT k FROM u) AS c FROM t",
        ],
    );
}

fn any_and_all(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id FROM t WHERE v > ANY (SELECT w FROM u)",
            "SELECT id FROM t WHERE v > ALL (SELECT w FROM u WHERE u.k = t.k)",
            "SELECT id FROM t WHERE k <> ALL (SELECT x FROM b)",
            "SELECT id FROM t WHERE NOT (k = ALL (SELECT x FROM b WHERE b.k = t.k))",
            "SELECT id, k < ANY (SELECT x FROM b) AS a, k >= ALL (SELECT x FROM b) AS c FROM t",
            "SELECT id FROM t WHERE (k < ANY (SELECT x FROM b)) IS NULL",
        ],
    );
}

fn truth_values_beside_other_conditions(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id FROM t WHERE v < 3 OR EXISTS (SELECT FROM u WHERE u.k = t.k)",
            "SELECT id, CASE WHEN EXISTS (SELECT FROM u WHERE u.k = t.k) THEN 'in' ELSE 'out' END AS s FROM t",
            "SELECT id FROM t WHERE (k IN (SELECT x FROM b)) IS NOT TRUE",
            "SELECT id FROM t WHERE k IN (SELECT x FROM b) OR v IN (SELECT w FROM u)",
            "SELECT id, coalesce(k IN (SELECT x FROM b), false) AND EXISTS (SELECT FROM u WHERE w = v) AS c FROM t",
            "SELECT EXISTS (SELECT FROM u WHERE u.k = t.k) AS e, count(*) AS n FROM t GROUP BY 1",
        ],
    );
}

fn uncorrelated_values(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id FROM t WHERE v = (SELECT max(w) FROM u)",
            "SELECT id, v - (SELECT avg(w) FROM u) AS d FROM t",
            "SELECT id, (SELECT count(*) FROM u) AS n, (SELECT max(x) FROM b WHERE k = 77) AS m FROM t",
            "SELECT id FROM t WHERE v > (SELECT avg(v) FROM t)",
            "SELECT id, (SELECT w FROM u WHERE id = 2) AS w FROM t",
            "SELECT (SELECT sum(w) FROM u) AS s, (SELECT count(*) FROM b) AS n",
        ],
    );
}

fn correlated_values(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id, (SELECT sum(w) FROM u WHERE u.k = t.k) AS s FROM t",
            "SELECT id, (SELECT count(*) FROM u WHERE u.k = t.k) AS n FROM t",
            "SELECT id, (SELECT count(*) + t.v FROM u WHERE u.k = t.k AND u.w > 4) AS n FROM t",
            "SELECT id FROM t WHERE v > (SELECT avg(w) FROM u WHERE u.k = t.k)",
            "SELECT id, (SELECT w FROM u WHERE u.id = t.k) AS w FROM t",
            "SELECT id, (SELECT coalesce(w, 0) + 1 FROM u WHERE u.id = t.k) AS w FROM t",
            "SELECT id, (SELECT max(x) FROM b WHERE b.k = t.k AND b.x <> 1) AS m FROM t",
            "SELECT k, x, (SELECT count(*) FROM b AS c WHERE c.x = b.x) AS n FROM b",
            "SELECT id, coalesce((SELECT string_agg(w::text, ',' ORDER BY w) FROM u WHERE u.k = t.k), '-') AS s FROM t",
        ],
    );
}

fn a_second_row_is_the_servers_own_error(db: &mut Database) {
    tables(db);
    db.run("CREATE UNIQUE INDEX one ON b (x) WHERE k = 50");
    db.stream("st", "SELECT id, (SELECT b.x FROM b WHERE b.k = t.id + 40) AS x FROM t");
    db.cycle(&["INSERT INTO b VALUES (50, 1)"]);
    db.cycle(&["UPDATE b SET x = 2 WHERE k = 50"]);
    let before = db.lines("SELECT * FROM st ORDER BY 1");
    db.run("INSERT INTO b VALUES (50, 3)");
    let failure = db.attempt("SELECT pgtrickle.refresh_stream_table('st')").expect_err("two rows");
    assert_eq!(failure.sqlstate, "21000", "{failure:?}");
    assert_eq!(db.lines("SELECT * FROM st ORDER BY 1"), before);
    db.cycle(&["DELETE FROM b WHERE k = 50 AND x = 2"]);
    // Two rows for which there is no outer row are no error.
    db.cycle(&["INSERT INTO b VALUES (1, 1), (1, 2), (99, 1), (99, 2)"]);
}

fn correlation_below_grouping_and_distinct(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id FROM t WHERE EXISTS (SELECT u.w % 2 FROM u WHERE u.k = t.k GROUP BY u.w % 2 HAVING count(*) > 1)",
            "SELECT id FROM t WHERE 1 < (SELECT count(DISTINCT w % 3) FROM u WHERE u.k = t.k)",
            "SELECT id FROM t WHERE v IN (SELECT DISTINCT w FROM u WHERE u.k = t.k)",
            "SELECT id FROM t WHERE 2 IN (SELECT count(*) FROM u WHERE u.k = t.k GROUP BY w % 2)",
            "SELECT id FROM t WHERE EXISTS (SELECT count(*) FROM u WHERE u.k = t.k HAVING count(*) > 1)",
            "SELECT id FROM t WHERE EXISTS (SELECT count(*) FROM u WHERE u.k = t.k)",
            "SELECT id FROM t WHERE v > ALL (SELECT sum(w) FROM u WHERE u.k = t.k)",
        ],
    );
}

fn correlation_that_no_equality_binds(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id, (SELECT sum(w) FROM u WHERE u.k < t.k) AS s FROM t",
            "SELECT id, (SELECT count(*) FROM u WHERE u.w > t.v OR u.k = t.k) AS n FROM t",
            "SELECT id, (SELECT max(w + t.v) FROM u WHERE u.k = t.k) AS m FROM t",
            "SELECT id, (SELECT count(*) FROM (SELECT k FROM u WHERE w > t.v UNION ALL SELECT k FROM b WHERE x = t.k) AS a) AS n FROM t",
            "SELECT id, (SELECT count(*) FROM u LEFT JOIN b ON b.k = u.k AND b.x = t.k WHERE u.w > t.v) AS n FROM t",
            "SELECT id, (SELECT count(*) FROM (SELECT * FROM u WHERE w > t.v) AS a FULL JOIN b ON b.k = a.k) AS n FROM t",
            "SELECT id, (SELECT sum(coalesce(a.w, 1) + coalesce(c.x, 10)) FROM (SELECT * FROM u WHERE u.w < t.v) AS a FULL JOIN (SELECT * FROM b WHERE x <> t.k) AS c ON c.k = a.k) AS n FROM t",
        ],
    );
}

fn sub_selects_in_sub_selects(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.k = t.k AND EXISTS (SELECT FROM b WHERE b.k = u.k))",
            "SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.k = t.k AND NOT EXISTS (SELECT FROM b WHERE b.x = t.v AND b.k = u.k))",
            "SELECT id FROM t WHERE NOT EXISTS (SELECT FROM u WHERE NOT EXISTS (SELECT FROM b WHERE b.k = t.k AND b.x = u.k))",
            "SELECT id, (SELECT count(*) FROM u WHERE u.k = t.k AND u.w > (SELECT avg(x) FROM b WHERE b.k = t.k)) AS n FROM t",
            "SELECT id FROM t WHERE k IN (SELECT k FROM u WHERE w IN (SELECT x + 2 FROM b WHERE b.k = t.k))",
            "SELECT id, (SELECT (SELECT max(x) FROM b WHERE b.k = u.k) FROM u WHERE u.id = t.id) AS m FROM t",
        ],
    );
}

fn sub_selects_around_grouping(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT k, count(*) AS n FROM t GROUP BY k HAVING count(*) > (SELECT count(*) FROM b WHERE b.k = t.k)",
            "SELECT k, sum(v) AS s, (SELECT max(w) FROM u WHERE u.k = t.k) AS m FROM t GROUP BY k",
            "SELECT k, sum((SELECT max(w) FROM u WHERE u.k = t.v)) AS s FROM t GROUP BY k",
            "SELECT k, count(*) FILTER (WHERE EXISTS (SELECT FROM u WHERE u.k = t.v)) AS n FROM t GROUP BY k",
            "SELECT sum(v) AS s FROM t HAVING sum(v) > (SELECT sum(w) FROM u WHERE w < 5)",
        ],
    );
}

fn sub_selects_in_join_conditions(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT t.id, u.id AS uid FROM t JOIN u ON u.k = t.k AND u.w > (SELECT min(x) FROM b WHERE b.k = t.k)",
            "SELECT t.id, u.id AS uid FROM t JOIN u ON u.k = t.k AND EXISTS (SELECT FROM b WHERE b.k = u.k)",
            "SELECT t.id, s.id AS uid FROM t LEFT JOIN (SELECT * FROM u WHERE EXISTS (SELECT FROM b WHERE b.k = u.k)) AS s ON s.k = t.k",
        ],
    );
}

fn sub_selects_over_joins_and_unions(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id FROM t WHERE EXISTS (SELECT FROM u JOIN b ON b.k = u.k WHERE u.k = t.k AND b.x = 1)",
            "SELECT id FROM t WHERE k IN (SELECT k FROM u UNION ALL SELECT k FROM b)",
            "SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.k = t.k UNION ALL SELECT FROM b WHERE b.k = t.v)",
            "SELECT id FROM t WHERE EXISTS (SELECT FROM u LEFT JOIN b ON b.k = u.k WHERE u.k = t.k AND b.x IS NULL)",
            "WITH c AS (SELECT k, count(*) AS n FROM u GROUP BY k) SELECT id FROM t WHERE v > (SELECT n FROM c WHERE c.k = t.k)",
            "WITH c AS (SELECT k FROM u) SELECT id, k IN (SELECT k FROM c) AS a FROM t WHERE EXISTS (SELECT FROM c WHERE c.k = t.k) OR v > 3",
        ],
    );
}

fn rows_compared_with_sub_selects(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id FROM t WHERE (k, v) = (SELECT min(k), min(w) FROM u)",
            "SELECT id, (k, v) = (SELECT k, w FROM u WHERE u.id = t.id) AS e, (k, v) <> (SELECT k, w FROM u WHERE u.id = t.id) AS d FROM t",
            "SELECT id, (k, v) < (SELECT max(k), min(w) FROM u WHERE u.k >= t.k) AS l FROM t",
            "SELECT id FROM t WHERE NOT ((k, v) >= (SELECT count(*), sum(x) FROM b WHERE b.k = t.k)) OR v = 2",
            "SELECT id, (k, 1) = (SELECT t.k, 1 WHERE t.v > 3) AS e FROM t",
            "SELECT k, count(*) FILTER (WHERE (v, k) > (SELECT avg(w), 2 FROM u)) AS n FROM t GROUP BY k",
            "SELECT k, (k, count(*)) = (SELECT min(x), count(*) FROM b WHERE b.k = t.k) AS e FROM t GROUP BY k",
            "SELECT k, count(*) IN (SELECT w FROM u) AS e, sum(v) > ALL (SELECT x FROM b WHERE b.k = t.k) AS a FROM t GROUP BY k",
            "SELECT k FROM t GROUP BY k HAVING (count(*), max(v)) IN (SELECT x, k FROM b) OR max(v) < ANY (SELECT w FROM u)",
            "SELECT k FROM t WHERE v IN (SELECT w FROM u) GROUP BY k HAVING count(*) IN (SELECT x FROM b)",
            "SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE (u.k, t.k) = (SELECT b.k, max(b.x) FROM b WHERE b.k = u.k AND b.x <= t.v GROUP BY b.k))",
        ],
    );
}

fn aggregates_that_sub_selects_read(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT k, sum(v) AS s FROM t GROUP BY k HAVING EXISTS (SELECT FROM u WHERE u.w > sum(t.v))",
            "SELECT k, (SELECT count(*) FROM u WHERE u.k = t.k AND u.w <= max(t.v)) AS n FROM t GROUP BY k",
            "SELECT k, (SELECT max(t.v) + min(u.w) FROM u WHERE u.k > t.k) AS n, max(v) AS m FROM t GROUP BY k",
            "SELECT (SELECT max(t.v)) AS m, (SELECT count(t.k) FROM b WHERE b.x = 1 AND b.k = 2 GROUP BY b.x) AS n FROM t",
            "SELECT k FROM t GROUP BY k HAVING count(*) FILTER (WHERE v > 3) IN (SELECT b.x + count(t.id) FROM b WHERE b.k = t.k)",
            "SELECT k, (SELECT (SELECT u.w + sum(t.v) FROM u WHERE u.id = b.k) FROM b WHERE b.x = t.k ORDER BY b.k LIMIT 1) AS n FROM t GROUP BY k",
            "SELECT k, count(*) AS n, (SELECT json_agg(t.v ORDER BY t.v)) ->> 0 AS first FROM t GROUP BY k",
        ],
    );
}

fn multi_column_in(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id FROM t WHERE (k, v) IN (SELECT k, w FROM u)",
            "SELECT id FROM t WHERE (k, v) NOT IN (SELECT k, x FROM b)",
            "SELECT id, (k, v) IN (SELECT k, x FROM b) AS a FROM t",
        ],
    );
}

fn sub_selects_that_are_sorted_or_grouped_by(db: &mut Database) {
    tables(db);
    db.run("CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TABLE f (flag bool, x int); INSERT INTO f VALUES (true, 1), (false, 2), (NULL, 3)");
    db.stream("once", "SELECT DISTINCT (true, 1) IN (SELECT flag, x FROM f) AS q, (false, 2) NOT IN (SELECT flag, x FROM f) AS z FROM t");
    db.stream("grouped", "SELECT (true, 1 + 1) <> ALL (SELECT flag, x FROM f) AS q, count(*) AS n FROM t GROUP BY 1");
    db.stream("sorted", "SELECT id FROM t ORDER BY (NULL::bool, 1) = ANY (SELECT flag, x FROM f), true IN (SELECT flag FROM f), id LIMIT 5");
    db.stream(
        "constants",
        "SELECT DISTINCT (ARRAY['sad', 'happy'])[2]::mood AS m, ('2024-01-01'::text)::timestamptz AS at FROM f",
    );
    db.stream("by_constant", "SELECT (ARRAY['sad'])[1]::mood AS m, count(*) AS n FROM f GROUP BY 1");
    db.cycle(&["UPDATE f SET flag = true"]);
    db.cycle(&["DELETE FROM f WHERE x = 1", "INSERT INTO t (id, k) VALUES (60, 1)"]);
    db.cycle(&["UPDATE f SET flag = NOT flag, x = x - 1"]);
    db.cycle(&["DELETE FROM f", "DELETE FROM t WHERE id < 5"]);
}

fn six_levels_that_read_one_another(db: &mut Database) {
    db.run("CREATE TABLE a (id int PRIMARY KEY, x int, y int)");
    for table in ["b", "c", "d", "e", "f"] {
        db.run(&format!("CREATE TABLE {table} (id int PRIMARY KEY, x int, y int)"));
    }
    let fill = |table: &str, n: i32| {
        format!("INSERT INTO {table} SELECT i, nullif(i * {n} % 5, 4), i % {n} FROM generate_series(1, 6) AS i")
    };
    for (number, table) in ["a", "b", "c", "d", "e", "f"].iter().enumerate() {
        db.run(&fill(table, number as i32 + 2));
    }
    db.stream(
        "sums",
        "SELECT a.id, (SELECT count(*) FROM b WHERE b.x >= a.x AND b.y <= (SELECT max(c.y) FROM c WHERE c.x <= b.x AND c.y >= a.y \
         AND c.x >= (SELECT min(d.x) FROM d WHERE d.y >= c.y AND d.x <= b.x AND d.id <> a.id AND d.y <= (SELECT avg(e.x) FROM e \
         WHERE e.y <= d.y AND e.x >= c.x AND e.x <= b.x AND e.id <> a.id AND e.y >= (SELECT count(*) FROM f WHERE f.x > a.x \
         AND f.y < b.y AND f.x <> c.x AND f.y <> d.x AND f.y <> e.x))))) AS n FROM a",
    );
    db.stream(
        "truths",
        "SELECT a.id, EXISTS (SELECT FROM b WHERE b.x > a.x AND (b.y = 1 OR EXISTS (SELECT FROM c WHERE c.x <= b.x AND c.y > a.y \
         AND c.x NOT IN (SELECT e.x FROM e WHERE e.x > c.x AND e.id > b.id AND e.id > a.y)))) AS q FROM a",
    );
    db.cycle(&["UPDATE f SET x = x + 1", "DELETE FROM e WHERE id = 2"]);
    db.cycle(&["UPDATE c SET y = y + 1 WHERE id % 2 = 0", "INSERT INTO a VALUES (10, 1, 1), (11, NULL, 2)"]);
    db.cycle(&[
        "UPDATE b SET x = 3 - x",
        "DELETE FROM b WHERE id > 4",
        "UPDATE a SET x = x - 1, y = NULL WHERE id = 3",
    ]);
    db.cycle(&["DELETE FROM f", "UPDATE d SET x = NULL WHERE id = 1", "INSERT INTO b VALUES (30, 5, 0)"]);
}

fn arrays_of_rows(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id, ARRAY(SELECT w FROM u WHERE u.k = t.k ORDER BY w, id) AS a FROM t",
            "SELECT id, ARRAY(SELECT w FROM u WHERE u.k = t.k ORDER BY id DESC LIMIT 2) AS a FROM t",
            "SELECT id, cardinality(ARRAY(SELECT DISTINCT x FROM b WHERE b.k = t.k ORDER BY x)) AS n FROM t",
            "SELECT ARRAY(SELECT k FROM t UNION SELECT k FROM u ORDER BY 1) AS a",
            "SELECT id FROM t WHERE v = ANY (ARRAY(SELECT w FROM u WHERE u.k = t.k))",
        ],
    );
}

fn limits_below_exists(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.k = t.k LIMIT 1)",
            "SELECT id FROM t WHERE NOT EXISTS (SELECT w FROM u WHERE u.k = t.k ORDER BY w FETCH FIRST 2 ROWS ONLY)",
            "SELECT id, (SELECT w FROM u WHERE u.k = t.k ORDER BY w, id LIMIT 1) AS lo FROM t",
            "SELECT id FROM t WHERE v IN (SELECT w FROM u WHERE u.k = t.k ORDER BY w DESC, id LIMIT 2)",
            "SELECT t.id, x.w FROM t, LATERAL (SELECT w FROM u WHERE u.k = t.k ORDER BY w, id LIMIT 2) AS x",
            "SELECT t.id, x.r FROM t, LATERAL (SELECT rank() OVER (ORDER BY w) AS r FROM u WHERE u.k = t.k) AS x",
        ],
    );
}

fn frames_that_read_an_outer_row_are_refused(db: &mut Database) {
    tables(db);
    let query =
        "SELECT t.id, x.s FROM t, LATERAL (SELECT sum(w) OVER (ORDER BY id ROWS t.id PRECEDING) AS s FROM u) AS x";
    let call = format!("SELECT pgtrickle.create_stream_table('st', $${query}$$, '1h', 'DIFFERENTIAL')");
    let failure = db.attempt(&call).expect_err("the frame differs from row to row");
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
}

fn order_that_an_aggregate_does_not_see(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT variance(v) AS s FROM (SELECT * FROM t ORDER BY v, id LIMIT 3) AS q",
            "SELECT sum(v::float8) AS s, percentile_cont(0.5) WITHIN GROUP (ORDER BY v) AS m, count(DISTINCT k) AS n, bool_or(v > 1) AS b FROM (SELECT * FROM t ORDER BY v, id LIMIT 3) AS q",
            "SELECT max(DISTINCT w) AS hi, sum(w ORDER BY id) AS s FROM (SELECT * FROM u ORDER BY w, id LIMIT 4) AS q",
            "SELECT k, string_agg(w::text, ',' ORDER BY w) AS s FROM (SELECT * FROM u ORDER BY w, id LIMIT 5) AS q GROUP BY k",
            "SELECT bool_and(n > 1) AS a FROM (SELECT k, count(*) AS n FROM t GROUP BY k ORDER BY k) AS q",
            "SELECT string_agg(s.id::text, ',' ORDER BY s.id) AS a FROM (SELECT id, (SELECT w FROM u WHERE u.k = t.k ORDER BY w, id LIMIT 1) AS w FROM t) AS s",
        ],
    );
}

fn deep_nesting_is_refused_in_time(db: &mut Database) {
    tables(db);
    let mut query = "SELECT id, v FROM t".to_string();
    for level in 1..=8 {
        query = format!("SELECT s.id, s.v FROM ({query}) AS s WHERE s.v > (SELECT count(*) FROM u WHERE u.w < s.v)");
        let call = format!(
            "SELECT pgtrickle.create_stream_table('nested{level}', $query${query}$query$, schedule => '1h', refresh_mode => 'DIFFERENTIAL')"
        );
        match db.attempt(&call) {
            Ok(()) => db.track(&format!("nested{level}"), &query),
            Err(failure) => {
                assert_eq!(failure.sqlstate, "54000", "{failure:?}");
                assert!(level > 2, "two levels are maintained: {failure:?}");
                return db.cycle(&[CHANGES[0]]);
            }
        }
    }
    panic!("eight levels of domains would be thousands of operators");
}

fn correlation_with_null_values(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id, (SELECT count(*) FROM b WHERE b.k IS NOT DISTINCT FROM t.k) AS n FROM t",
            "SELECT id, (SELECT count(*) FROM b WHERE b.k = t.k OR t.k IS NULL) AS n FROM t",
            "SELECT id FROM t WHERE EXISTS (SELECT FROM b WHERE b.k = t.k OR (b.k IS NULL AND t.k IS NULL))",
        ],
    );
}

const WITH_MATCHES: [&str; 5] = [
    "SELECT id FROM t WHERE EXISTS (SELECT FROM b WHERE b.k = t.k)",
    "SELECT id FROM t WHERE NOT EXISTS (SELECT FROM b WHERE b.k = t.k AND b.x < 3)",
    "SELECT id, k IN (SELECT k FROM b) AS found, EXISTS (SELECT FROM b WHERE b.k = t.k) OR v = 3 AS m FROM t",
    "SELECT t.id, b.x FROM t LEFT JOIN b ON b.k = t.k",
    "SELECT id FROM t WHERE k NOT IN (SELECT k FROM b)",
];

fn keys_with_many_matches(db: &mut Database) {
    tables(db);
    for (number, query) in WITH_MATCHES.iter().enumerate() {
        db.stream(&format!("st{number}"), query);
    }
    db.cycle(&["INSERT INTO b SELECT 2, i % 4 FROM generate_series(1, 300) AS i"]);
    db.cycle(&["INSERT INTO b VALUES (2, 0)"]);
    db.cycle(&["DELETE FROM b WHERE ctid = (SELECT min(ctid) FROM b WHERE k = 2)"]);
    db.cycle(&["DELETE FROM b WHERE k = 2 AND x > 0; INSERT INTO b VALUES (2, 1)"]);
    db.cycle(&["DELETE FROM b WHERE k = 2"]);
    db.cycle(&["INSERT INTO b VALUES (2, 2), (2, 2), (2, 2)"]);
    db.cycle(&["UPDATE b SET k = 4 WHERE k = 2; INSERT INTO t VALUES (50, 2, 1), (51, 4, 1)"]);
    db.cycle(&["UPDATE b SET k = NULL WHERE k = 4; DELETE FROM t WHERE id = 50"]);
    db.cycle(&["DELETE FROM b WHERE k IS NULL"]);
}

fn many_keys_at_once(db: &mut Database) {
    tables(db);
    db.run("INSERT INTO t SELECT i, i % 60, i FROM generate_series(200, 400) AS i");
    for (number, query) in WITH_MATCHES.iter().enumerate() {
        db.stream(&format!("st{number}"), query);
    }
    db.cycle(&["INSERT INTO b SELECT i % 50, i % 5 FROM generate_series(1, 200) AS i"]);
    db.cycle(&[
        "DELETE FROM b WHERE k < 40 AND k % 3 = 0; INSERT INTO b SELECT i, 1 FROM generate_series(30, 55) AS i",
    ]);
    db.cycle(&["UPDATE b SET k = k + 1; UPDATE t SET k = k - 1 WHERE k > 10"]);
    db.cycle(&["DELETE FROM b; INSERT INTO t VALUES (500, 1, 1)"]);
    db.cycle(&["INSERT INTO b SELECT i % 20, 4 FROM generate_series(1, 40) AS i; UPDATE t SET k = k + 2"]);
}
