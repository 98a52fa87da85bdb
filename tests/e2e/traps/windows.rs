//! Window functions: one changed row changes its neighbours, its peers, its whole partition.

use pgtrickle_tests::{Database, tests};

tests![
    distinct_windows_under_a_limit,
    ranks_and_ties,
    row_numbers_and_neighbours,
    frames,
    several_windows_and_partitions,
    a_row_moves_between_partitions,
    null_partition_keys,
    partitions_by_several_nullable_columns,
    partitions_by_expressions,
    partitions_by_equal_but_different_values,
    windows_over_aggregates,
    windows_inside_expressions,
    filters_on_ranks,
    windows_over_joins,
    windows_over_windows,
    aggregates_over_windows,
    every_window_function,
    filtered_aggregates,
    unusual_orders,
    duplicate_rows,
    values_without_equality,
    a_partition_empties_and_fills,
    unused_window_functions,
    truncated_sources,
    a_small_change_reads_no_table_whole,
    keys_longer_than_an_index_entry,
    windows_limits_and_sets_beside_sub_selects,
    windows_compared_with_sub_selects,
];

fn source(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g text, v int, n numeric, d date)");
    db.run("INSERT INTO t SELECT i, 'g' || i % 4, i % 5, i / 4.0, date '2024-01-01' + i % 9 FROM generate_series(1, 40) AS i");
    db.run(
        "INSERT INTO t VALUES (41, NULL, 1, 1, NULL), (42, NULL, NULL, NULL, NULL), (43, 'lone', 5, 5, '2024-05-05')",
    );
    db.run("CREATE TABLE u (g text, k int, w int)");
    db.run("INSERT INTO u SELECT 'g' || i % 5, i % 3, i FROM generate_series(1, 20) AS i");
    db.run("INSERT INTO u VALUES (NULL, NULL, NULL), ('g1', 1, 1), ('g1', 1, 1)");
}

const CHANGES: [&str; 7] = [
    "UPDATE t SET v = 3 WHERE id IN (4, 9, 41); INSERT INTO u VALUES ('g1', 2, 50)",
    "DELETE FROM t WHERE id IN (1, 2, 43); UPDATE u SET w = w + 1 WHERE k = 1",
    "INSERT INTO t VALUES (100, 'g1', 2, 2, '2024-01-03'), (101, NULL, 2, 2, NULL), (102, 'new', NULL, NULL, NULL); DELETE FROM u WHERE w = 3",
    "UPDATE t SET g = 'g2' WHERE g = 'g1'; UPDATE u SET g = NULL, k = NULL WHERE k = 2",
    "UPDATE t SET g = NULL WHERE id < 12; UPDATE t SET id = id + 1000 WHERE id BETWEEN 20 AND 25; INSERT INTO u VALUES (NULL, 1, 7), (NULL, NULL, 8)",
    "DELETE FROM t WHERE g = 'g2' OR g = 'new'; UPDATE u SET w = NULL WHERE g = 'g3'; UPDATE t SET v = NULL WHERE id = 3",
    "DELETE FROM t WHERE g IS NULL; DELETE FROM u WHERE g IS NULL; UPDATE t SET v = v + 1, n = n * 1.0",
];

fn all_changes(db: &mut Database) {
    for change in CHANGES {
        db.cycle(&[change]);
    }
}

fn ranks_and_ties(db: &mut Database) {
    source(db);
    db.stream("ranked", "SELECT id, g, rank() OVER (PARTITION BY g ORDER BY v) AS r, dense_rank() OVER (PARTITION BY g ORDER BY v) AS d FROM t");
    db.stream("overall", "SELECT id, rank() OVER (ORDER BY v DESC NULLS LAST) AS r, percent_rank() OVER (ORDER BY v) AS p, cume_dist() OVER (ORDER BY v) AS c FROM t");
    db.stream("of_bags", "SELECT g, w, rank() OVER (PARTITION BY g ORDER BY w) AS r FROM u");
    all_changes(db);
}

fn row_numbers_and_neighbours(db: &mut Database) {
    source(db);
    db.stream("numbered", "SELECT id, row_number() OVER (PARTITION BY g ORDER BY v, id) AS r FROM t");
    db.stream("all_numbered", "SELECT id, row_number() OVER (ORDER BY v DESC, id) AS r FROM t");
    db.stream("neighbours", "SELECT id, lag(v) OVER w AS before, lead(v, 2, -1) OVER w AS after, lag(n) OVER w AS n FROM t WINDOW w AS (PARTITION BY g ORDER BY d, id)");
    all_changes(db);
}

fn frames(db: &mut Database) {
    source(db);
    db.stream("running", "SELECT id, g, sum(v) OVER (PARTITION BY g ORDER BY id) AS total, sum(v) OVER (PARTITION BY g ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS three, avg(n) OVER (PARTITION BY g ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW) AS around FROM t");
    db.stream("ranges", "SELECT id, count(*) OVER (PARTITION BY g ORDER BY d RANGE BETWEEN interval '2 days' PRECEDING AND interval '1 day' FOLLOWING) AS near, max(v) OVER (ORDER BY v RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE TIES) AS m FROM t");
    db.stream("groups", "SELECT id, count(*) OVER (ORDER BY v GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE GROUP) AS c, first_value(v) OVER (ORDER BY v GROUPS 1 + 1 PRECEDING) AS f FROM t");
    db.stream("rest", "SELECT id, last_value(id) OVER (PARTITION BY g ORDER BY id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS last, nth_value(id, 2) OVER (PARTITION BY g ORDER BY id RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS second FROM t");
    all_changes(db);
}

fn several_windows_and_partitions(db: &mut Database) {
    source(db);
    db.stream("several", "SELECT id, sum(v) OVER (PARTITION BY g) AS by_group, count(*) OVER (PARTITION BY v) AS by_value, rank() OVER (PARTITION BY g ORDER BY n) AS r, row_number() OVER (ORDER BY id) AS i FROM t");
    db.stream("two_keys", "SELECT g, k, w, count(*) OVER (PARTITION BY g, k) AS gk, count(*) OVER (PARTITION BY k, g) AS kg, sum(w) OVER (PARTITION BY k) AS ks, sum(w) OVER () AS s FROM u");
    all_changes(db);
}

fn a_row_moves_between_partitions(db: &mut Database) {
    source(db);
    db.stream(
        "shares",
        "SELECT id, g, v, sum(v) OVER (PARTITION BY g) AS s, count(*) OVER (PARTITION BY g) AS c FROM t",
    );
    db.cycle(&["UPDATE t SET g = 'g2' WHERE id = 1"]);
    db.cycle(&["UPDATE t SET g = 'elsewhere' WHERE id = 43", "UPDATE t SET g = 'back' WHERE id = 43"]);
    db.cycle(&["UPDATE t SET g = CASE g WHEN 'g1' THEN 'g2' WHEN 'g2' THEN 'g1' ELSE g END"]);
    db.cycle(&["UPDATE t SET g = 'g3', id = 500 WHERE id = 5; UPDATE t SET g = 'g0' WHERE id = 500"]);
}

fn null_partition_keys(db: &mut Database) {
    source(db);
    db.stream(
        "nulls",
        "SELECT id, g, count(*) OVER (PARTITION BY g) AS c, count(v) OVER (PARTITION BY g) AS cv FROM t",
    );
    db.cycle(&["INSERT INTO t VALUES (200, NULL, 1, 1, NULL)"]);
    db.cycle(&["UPDATE t SET g = NULL WHERE id = 1"]);
    db.cycle(&["UPDATE t SET g = 'g1' WHERE g IS NULL AND id > 100; DELETE FROM t WHERE id = 41"]);
    db.cycle(&["DELETE FROM t WHERE g IS NULL"]);
    db.cycle(&["INSERT INTO t (id) VALUES (300), (301)"]);
}

fn partitions_by_several_nullable_columns(db: &mut Database) {
    source(db);
    db.stream("two", "SELECT g, k, w, row_number() OVER (PARTITION BY g, k ORDER BY w) AS c FROM u");
    db.stream("three", "SELECT id, count(*) OVER (PARTITION BY g, v, d) AS c FROM t");
    db.stream("four", "SELECT id, count(*) OVER (PARTITION BY g, v, d, n) AS c FROM t");
    db.cycle(&["INSERT INTO u VALUES (NULL, 1, 1), ('g1', NULL, 1), (NULL, NULL, 1); UPDATE t SET d = NULL, n = NULL WHERE id < 5"]);
    db.cycle(&["UPDATE u SET k = NULL WHERE g = 'g1'; UPDATE t SET v = NULL WHERE id < 3"]);
    db.cycle(&["UPDATE u SET k = 1 WHERE k IS NULL; UPDATE t SET d = '2024-01-01', g = NULL WHERE id < 9"]);
    all_changes(db);
}

fn partitions_by_expressions(db: &mut Database) {
    source(db);
    db.stream("modulo", "SELECT id, sum(v) OVER (PARTITION BY id % 3) AS s FROM t");
    db.stream("upper_and_sum", "SELECT g, w, count(*) OVER (PARTITION BY upper(g), k + 1 ORDER BY w * 2) AS c FROM u");
    db.stream("constant", "SELECT id, count(*) OVER (PARTITION BY 1 ORDER BY 2) AS c FROM t");
    db.stream("mixed", "SELECT id, count(*) OVER (PARTITION BY g, v > 2, 'x') AS c FROM t");
    all_changes(db);
}

fn partitions_by_equal_but_different_values(db: &mut Database) {
    db.run("CREATE TABLE m (n numeric, f float8, v int); INSERT INTO m VALUES (1.0, 0, 1), (1.00, '-0', 2), (2, 1, 3), (NULL, NULL, 4)");
    db.stream("per_number", "SELECT n, v, sum(v) OVER (PARTITION BY n) AS s FROM m");
    db.stream(
        "per_float",
        "SELECT f, v, sum(v) OVER (PARTITION BY f) AS s, max(n) OVER (PARTITION BY v) AS top FROM m",
    );
    db.cycle(&["UPDATE m SET n = 1.000 WHERE v = 1"]);
    db.cycle(&["UPDATE m SET n = 1, f = '-0' WHERE v = 1; INSERT INTO m VALUES (2.0, 1, 9)"]);
    db.cycle(&["DELETE FROM m WHERE v = 2", "UPDATE m SET f = 0"]);
}

fn windows_over_aggregates(db: &mut Database) {
    source(db);
    db.stream("of_groups", "SELECT g, sum(v) AS s, rank() OVER (ORDER BY sum(v) DESC NULLS LAST) AS r, sum(sum(v)) OVER () AS total FROM t GROUP BY g");
    db.stream("shares", "SELECT g, v, count(*) AS c, count(*) * 100 / sum(count(*)) OVER (PARTITION BY g) AS share FROM t GROUP BY g, v");
    db.stream(
        "kept",
        "SELECT g, count(*) AS c, lag(count(*)) OVER (ORDER BY g) AS before FROM t GROUP BY g HAVING count(*) > 1",
    );
    db.stream("of_one", "SELECT count(*) AS c, sum(count(*)) OVER () AS s FROM t");
    db.stream("distinct_ranks", "SELECT DISTINCT g, max(v) OVER (PARTITION BY g) AS m FROM t");
    all_changes(db);
}

fn windows_inside_expressions(db: &mut Database) {
    source(db);
    db.stream("computed", "SELECT id, v - avg(v) OVER (PARTITION BY g) AS off, CASE WHEN row_number() OVER (PARTITION BY g ORDER BY id) = 1 THEN 'first' ELSE coalesce(g, '?') END AS kind, sum(v) OVER (PARTITION BY g) + sum(v) OVER (PARTITION BY g) AS twice FROM t");
    db.stream(
        "of_expressions",
        "SELECT id, sum(v * 2 + id) OVER (PARTITION BY g ORDER BY v % 2, id) AS s FROM t WHERE v > 0",
    );
    all_changes(db);
}

fn filters_on_ranks(db: &mut Database) {
    source(db);
    db.stream("top_two", "SELECT g, id, v FROM (SELECT g, id, v, row_number() OVER (PARTITION BY g ORDER BY v DESC NULLS LAST, id) AS r FROM t) AS x WHERE r <= 2");
    db.stream("peaks", "SELECT id FROM (SELECT id, v, max(v) OVER (PARTITION BY g) AS m FROM t) AS x WHERE v = m");
    db.stream("with_item", "WITH r AS (SELECT *, rank() OVER (ORDER BY n DESC NULLS LAST) AS r FROM t) SELECT g, count(*) AS c FROM r WHERE r < 20 GROUP BY g");
    all_changes(db);
}

fn windows_over_joins(db: &mut Database) {
    source(db);
    db.stream("joined", "SELECT t.id, u.w, row_number() OVER (PARTITION BY t.id ORDER BY u.w, u.k) AS r, sum(u.w) OVER (PARTITION BY u.k) AS s FROM t JOIN u ON u.g = t.g");
    db.stream("above", "SELECT x.id, x.r, u.w FROM (SELECT id, g, rank() OVER (PARTITION BY g ORDER BY v) AS r FROM t) AS x JOIN u ON u.g = x.g AND u.k < x.r");
    db.stream(
        "of_union",
        "SELECT g, v, count(*) OVER (PARTITION BY g) AS c FROM (SELECT g, v FROM t UNION ALL SELECT g, w FROM u) AS x",
    );
    all_changes(db);
}

fn windows_over_windows(db: &mut Database) {
    source(db);
    db.stream("twice", "SELECT id, r, count(*) OVER (PARTITION BY r) AS same FROM (SELECT id, rank() OVER (PARTITION BY g ORDER BY v) AS r FROM t) AS x");
    db.stream("differences", "SELECT g, v - before AS step, max(v - before) OVER (PARTITION BY g) AS biggest FROM (SELECT g, v, lag(v) OVER (PARTITION BY g ORDER BY id) AS before FROM t) AS x");
    all_changes(db);
}

fn aggregates_over_windows(db: &mut Database) {
    source(db);
    db.stream("counted", "SELECT r, count(*) AS c, sum(v) AS s FROM (SELECT v, rank() OVER (PARTITION BY g ORDER BY v) AS r FROM t) AS x GROUP BY r");
    all_changes(db);
}

fn every_window_function(db: &mut Database) {
    source(db);
    db.stream("functions", "SELECT id, ntile(3) OVER w AS nt, first_value(v) OVER w AS fv, last_value(v) OVER w AS lv, nth_value(v, 2) OVER w AS nv, lag(v, 1, 0) OVER w AS lg, lead(v) OVER w AS ld, string_agg(g, ',') OVER w AS sa, array_agg(v) OVER w AS aa, bool_or(v > 2) OVER w AS bo, stddev(v) OVER w AS sd, min(g) OVER w AS mi, max(d) OVER w AS ma, bit_and(v) OVER w AS ba FROM t WINDOW w AS (PARTITION BY g ORDER BY n, id)");
    all_changes(db);
}

fn filtered_aggregates(db: &mut Database) {
    source(db);
    db.stream("filtered", "SELECT id, count(*) FILTER (WHERE v > 2) OVER (PARTITION BY g ORDER BY id) AS c, sum(v) FILTER (WHERE d IS NOT NULL) OVER (PARTITION BY g) AS s FROM t");
    all_changes(db);
}

fn unusual_orders(db: &mut Database) {
    source(db);
    db.stream("pattern", "SELECT id, rank() OVER (ORDER BY g USING ~<~) AS a, rank() OVER (ORDER BY g USING ~>~ NULLS FIRST) AS b, rank() OVER (ORDER BY g COLLATE \"C\" DESC) AS c, rank() OVER (ORDER BY v NULLS FIRST, d DESC) AS e, rank() OVER (ORDER BY (v, g)) AS f FROM t");
    db.stream("stars", "SELECT x.*, row_number() OVER (ORDER BY x.id DESC) AS \"Order By\" FROM t AS x");
    all_changes(db);
}

fn duplicate_rows(db: &mut Database) {
    source(db);
    db.stream("bag", "SELECT g, k, count(*) OVER (PARTITION BY g) AS c FROM u");
    db.cycle(&["DELETE FROM u WHERE ctid = (SELECT min(ctid) FROM u WHERE g = 'g1' AND w = 1)"]);
    db.cycle(&["INSERT INTO u SELECT g, k, w FROM u"]);
    db.cycle(&["DELETE FROM u WHERE ctid IN (SELECT ctid FROM u ORDER BY g, k, w LIMIT 9)"]);
    db.cycle(&["UPDATE u SET g = 'g1', k = 1"]);
}

fn values_without_equality(db: &mut Database) {
    db.run("CREATE TABLE j (id int PRIMARY KEY, g int, doc json, at point); INSERT INTO j SELECT i, i % 2, json_build_object('i', i), point(i, i) FROM generate_series(1, 6) AS i");
    db.stream("docs", "SELECT id, doc, lag(doc) OVER (PARTITION BY g ORDER BY id) AS before, at, first_value(at) OVER (PARTITION BY g ORDER BY id) AS first FROM j");
    db.cycle(&["UPDATE j SET doc = '{\"i\": 99}' WHERE id = 2; UPDATE j SET at = NULL WHERE id = 1"]);
    db.cycle(&["DELETE FROM j WHERE id = 3; UPDATE j SET g = NULL WHERE id > 4"]);
    db.cycle(&["UPDATE j SET doc = '{\"i\":99}' WHERE id = 2"]);
}

fn a_partition_empties_and_fills(db: &mut Database) {
    source(db);
    db.stream("shares", "SELECT id, g, v * 1.0 / nullif(sum(v) OVER (PARTITION BY g), 0) AS share, row_number() OVER (ORDER BY id) AS r FROM t");
    db.cycle(&["DELETE FROM t WHERE g = 'g1'"]);
    db.cycle(&["DELETE FROM t"]);
    db.cycle(&["INSERT INTO t VALUES (1, 'g1', 1), (2, 'g1', 2)"]);
    db.cycle(&["DELETE FROM t; INSERT INTO t VALUES (3, 'g1', 1)"]);
}

fn unused_window_functions(db: &mut Database) {
    source(db);
    db.stream("unused", "SELECT id, r FROM (SELECT id, v, rank() OVER (PARTITION BY g ORDER BY v) AS r, row_number() OVER (ORDER BY n, id) AS unused FROM t) AS x");
    db.stream("none", "SELECT g FROM (SELECT g, sum(v) OVER (ORDER BY n) AS unused FROM t) AS x");
    all_changes(db);
}

fn truncated_sources(db: &mut Database) {
    source(db);
    db.stream("ranked", "SELECT t.id, u.k, rank() OVER (PARTITION BY t.g ORDER BY u.w) AS r FROM t JOIN u USING (g)");
    db.cycle_in_full(&["TRUNCATE u"]);
    db.cycle(&["INSERT INTO u VALUES ('g1', 1, 1), ('g2', 1, 1), ('g1', 2, 2)"]);
    db.cycle_in_full(&["BEGIN; TRUNCATE t; INSERT INTO t VALUES (1, 'g1', 1), (2, 'g2', 1); COMMIT"]);
    db.cycle(&["UPDATE t SET g = 'g1'; UPDATE u SET w = 5 WHERE k = 1"]);
}

/// How often this session has read each large table whole.
fn scans(db: &mut Database) -> Vec<String> {
    db.lines(
        "SELECT relname, pg_stat_get_xact_numscans(oid) FROM pg_class \
         WHERE relkind = 'r' AND reltuples > 1000 AND oid >= 16384 ORDER BY 1",
    )
}

fn a_small_change_reads_no_table_whole(db: &mut Database) {
    db.run("CREATE TABLE big (id int PRIMARY KEY, g int, c int, v int); CREATE INDEX ON big (g)");
    db.run(
        "INSERT INTO big SELECT i, i / 10, i % 3, (i * 7919) % 20011 FROM generate_series(1, 20000) AS i; ANALYZE big",
    );
    db.stream(
        "ranked",
        "SELECT id, g, rank() OVER (PARTITION BY g ORDER BY v) AS r, sum(v) OVER (PARTITION BY g) AS s FROM big",
    );
    db.stream("first", "SELECT DISTINCT ON (g) g, id, v FROM big ORDER BY g, v DESC, id");
    db.stream(
        "grouped",
        "SELECT g, c, sum(v) AS s, rank() OVER (PARTITION BY g ORDER BY sum(v)) AS r FROM big GROUP BY g, c",
    );
    // No index leads to these: what is far beyond the boundary and what is before it do not need one.
    db.stream("top", "SELECT id, v FROM big ORDER BY v DESC, id LIMIT 10");
    for change in [
        "UPDATE big SET v = v + 1 WHERE id = 5000",
        "UPDATE big SET g = g + 1 WHERE id = 7001",
        "INSERT INTO big VALUES (50000, 77, 1, 30000)",
        "DELETE FROM big WHERE id = 8000",
    ] {
        db.run(change);
        for name in ["ranked", "first", "grouped", "top"] {
            // Counts stay with the session until they are flushed, which a transaction does not.
            db.run("BEGIN");
            let before = scans(db);
            assert!(before.len() > 4, "{before:?}");
            db.refresh(name);
            let after = scans(db);
            db.run("COMMIT");
            assert_eq!(before, after, "{change} made {name} read a table whole");
        }
        db.check();
    }
    assert_eq!(db.fallback(), None);
}

fn keys_longer_than_an_index_entry(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g text, c int); CREATE TABLE u (g text, w int)");
    db.run("CREATE FUNCTION long(i int) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT string_agg(sha512((i * 1000 + j)::text::bytea)::text, '') FROM generate_series(1, 60) AS j$$");
    db.run("INSERT INTO t SELECT i, long(i % 3), i % 2 FROM generate_series(1, 12) AS i; INSERT INTO u SELECT long(i), i FROM generate_series(0, 3) AS i");
    db.stream(
        "joined",
        "SELECT x.n, u.w FROM (SELECT g, c, count(*) AS n FROM t GROUP BY g, c) AS x JOIN u ON u.g = x.g",
    );
    db.stream("ranked", "SELECT g, c, rank() OVER (PARTITION BY g ORDER BY count(*)) AS r FROM t GROUP BY g, c");
    db.cycle(&["UPDATE t SET g = long(3) WHERE id = 1; UPDATE u SET w = 9 WHERE w = 1"]);
    db.cycle(&["UPDATE t SET g = NULL WHERE id < 4; INSERT INTO u VALUES (NULL, 1)"]);
    db.cycle(&["DELETE FROM t WHERE g IS NULL AND id > 1; INSERT INTO t VALUES (100, long(4), 1); INSERT INTO u VALUES (long(4), 4)"]);
}

fn windows_limits_and_sets_beside_sub_selects(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g int, v int); CREATE TABLE u (id int PRIMARY KEY, g int, w int)");
    db.run("INSERT INTO t SELECT i, i % 4, (i * 7) % 11 FROM generate_series(1, 30) AS i; INSERT INTO u SELECT i, i % 5, (i * 3) % 7 FROM generate_series(1, 20) AS i");
    let queries = [
        "SELECT id, rank() OVER (PARTITION BY g ORDER BY v) AS r, (SELECT max(w) FROM u) AS m FROM t",
        "SELECT id, rank() OVER (PARTITION BY g ORDER BY (SELECT count(*) FROM u WHERE u.g = t.g), v) AS r FROM t",
        "SELECT id, sum(v) OVER (PARTITION BY g) + (SELECT sum(w) FROM u WHERE u.g = t.g) AS s FROM t",
        "SELECT id, v FROM t WHERE EXISTS (SELECT FROM u WHERE u.g = t.g AND w > 3) ORDER BY v DESC, id LIMIT 4",
        "SELECT id, v FROM t ORDER BY (SELECT max(w) FROM u WHERE u.g = t.g) DESC NULLS LAST, id LIMIT 3",
        "SELECT id FROM t WHERE v IN (SELECT w FROM u ORDER BY w DESC, id LIMIT 3)",
        "SELECT DISTINCT ON (g) g, id, EXISTS (SELECT FROM u WHERE u.g = t.g) AS e FROM t ORDER BY g, v DESC, id",
        "SELECT t.id, x.w, x.r FROM t LEFT JOIN LATERAL (SELECT w, rank() OVER (ORDER BY w) AS r FROM u WHERE u.g = t.g) AS x ON true",
        "SELECT id FROM t WHERE (g, v) IN (SELECT g, max(w) FROM u GROUP BY ROLLUP (g))",
        "SELECT g, count(*) AS c FROM t GROUP BY CUBE (g, v) HAVING count(*) > (SELECT min(w) FROM u)",
        "(SELECT g FROM t ORDER BY v, id LIMIT 5) EXCEPT ALL (SELECT g FROM u ORDER BY w, id LIMIT 2)",
    ];
    for (i, query) in queries.iter().enumerate() {
        db.stream(&format!("st{i}"), query);
    }
    db.cycle(&["UPDATE t SET v = 3 WHERE id < 5; UPDATE u SET w = w + 1 WHERE id IN (1, 2)"]);
    db.cycle(&["DELETE FROM u WHERE g = 2; INSERT INTO t VALUES (100, 2, 9)"]);
    db.cycle(&["UPDATE t SET g = 1 WHERE g = 3; INSERT INTO u VALUES (50, 2, 6), (51, NULL, 2)"]);
    db.cycle(&["DELETE FROM t WHERE id % 3 = 0; UPDATE u SET g = 2 WHERE g = 1"]);
    db.cycle(&["DELETE FROM u; UPDATE t SET v = v + 1 WHERE g = 1"]);
    db.cycle(&[
        "INSERT INTO u SELECT i, i % 3, i % 4 FROM generate_series(1, 9) AS i; UPDATE t SET g = NULL WHERE id = 4",
    ]);
}

fn distinct_windows_under_a_limit(db: &mut Database) {
    db.run("CREATE TABLE dw (id int PRIMARY KEY, p int, v int); INSERT INTO dw SELECT i, i % 3, i / 3 FROM generate_series(1, 12) AS i");
    db.stream("places", "SELECT DISTINCT row_number() OVER (PARTITION BY p ORDER BY v, id) AS n FROM dw ORDER BY 1 FETCH FIRST 3 ROWS WITH TIES");
    db.cycle(&["INSERT INTO dw VALUES (20, 4, 1), (21, 4, 2); DELETE FROM dw WHERE p = 1"]);
    db.cycle(&["UPDATE dw SET p = 0"]);
}

fn windows_compared_with_sub_selects(db: &mut Database) {
    source(db);
    db.stream("among", "SELECT id, rank() OVER (PARTITION BY g ORDER BY v, id) IN (SELECT k FROM u) AS e FROM t");
    db.stream(
        "beyond",
        "SELECT id, sum(v) OVER w > ALL (SELECT u.w FROM u WHERE u.g = t.g) AS a, (count(*) OVER w, 1) = (SELECT max(k), 1 FROM u) AS r, \
         (SELECT count(*) FROM u WHERE u.g = t.g) AS n FROM t WINDOW w AS (PARTITION BY g)",
    );
    for change in CHANGES {
        db.cycle(&[change]);
    }
}
