//! Aggregates whose results follow from sums and counts: digit for digit those of the server.

use pgtrickle_tests::{Database, tests};

tests![
    distinct_arguments,
    distinct_arguments_beside_each_other,
    distinct_arguments_under_filters,
    distinct_arguments_of_many_types,
    distinct_arguments_of_the_whole_table,
    distinct_arguments_over_a_join,
    distinct_arguments_in_grouping_sets_and_sub_selects,
    distinct_arguments_beside_recomputed_calls,
    distinct_arguments_read_by_other_aggregates,
    rows_as_arguments_and_as_keys,
    values_too_long_for_an_index,
    truth_of_all_and_of_some,
    variances_of_integers,
    variances_of_numerics,
    variances_of_random_groups,
    variances_beyond_what_sql_can_square,
    the_largest_scale_leaves,
    no_group_is_computed_anew,
    groups_of_stored_groups_are_found_by_index,
    over_rows_that_are_sorted,
];

const NUMBERS: &str = "
    CREATE TABLE m (id int PRIMARY KEY, g int, small int2, whole int, big int8, n numeric, price numeric(10, 2), f float8, b bool);
    CREATE INDEX ON m (g);
    CREATE FUNCTION number(seed int) RETURNS numeric IMMUTABLE LANGUAGE sql AS $$
        SELECT CASE abs(hashint4(seed)) % 23
            WHEN 0 THEN NULL
            WHEN 1 THEN 1.0 WHEN 2 THEN 1.00 WHEN 3 THEN 0 WHEN 4 THEN 0.000
            WHEN 5 THEN 1e20 WHEN 6 THEN -1e-15 WHEN 7 THEN 123456789.987654321
            WHEN 8 THEN 1e-30 WHEN 9 THEN 99999999999999999999.5
            ELSE round(hashint4(seed + 1) / 1000.0, abs(hashint4(seed + 2)) % 7)
        END
    $$;
    CREATE FUNCTION fill(first int, last int) RETURNS void LANGUAGE sql AS $$
        INSERT INTO m SELECT i, NULLIF(abs(hashint4(i + 7)) % 9, 8), hashint4(i + 3) >> 18,
            CASE WHEN i % 11 > 0 THEN hashint4(i) END, hashint4(i)::int8 << (i % 32), number(i),
            round(hashint4(i) / 1000.0, 2), hashint4(i) / 7.0, CASE WHEN i % 5 > 0 THEN hashint4(i) > 0 END
        FROM generate_series(first, last) AS i
    $$;
    SELECT fill(1, 120);";

const CHANGES: [&str; 7] = [
    "UPDATE m SET n = number(id + 1000), whole = whole / 2, big = -big, b = NOT b WHERE id % 5 = 0",
    "DELETE FROM m WHERE id % 7 = 3; SELECT fill(121, 140)",
    "UPDATE m SET g = (g + 1) % 9 WHERE id % 4 = 1; UPDATE m SET n = NULL, whole = NULL, b = NULL WHERE g = 2",
    "DELETE FROM m WHERE g = 3 AND id <> (SELECT min(id) FROM m WHERE g = 3); UPDATE m SET b = true, whole = 7 WHERE g = 4",
    "DELETE FROM m WHERE g IN (1, 5) OR g IS NULL",
    "UPDATE m SET n = number(id + 77), price = price + 0.01; SELECT fill(141, 150); DELETE FROM m WHERE id = 142",
    "DELETE FROM m",
];

fn numbers(db: &mut Database) {
    db.run(NUMBERS);
}

fn all_changes(db: &mut Database) {
    for change in CHANGES {
        db.cycle(&[change]);
    }
    db.cycle(&["SELECT fill(1, 30)"]);
}

/// No call of the query is computed anew.
fn is_algebraic(db: &mut Database, name: &str) {
    let strategies =
        db.text(&format!("SELECT value FROM pgtrickle.explain_st('{name}') WHERE property = 'aggregate_strategies'"));
    assert!(!strategies.contains("GROUP_RESCAN"), "{name}: {strategies}");
}

fn distinct_arguments(db: &mut Database) {
    numbers(db);
    db.stream("kinds", "SELECT g, count(DISTINCT whole % 5) AS kinds FROM m GROUP BY g");
    db.stream("sums", "SELECT g, sum(DISTINCT small % 9) AS s, avg(DISTINCT small % 9) AS a FROM m GROUP BY g");
    db.stream("spread", "SELECT g, stddev(DISTINCT whole % 4) AS s, max(DISTINCT small) AS hi FROM m GROUP BY g");
    db.stream("counts", "SELECT g, count(DISTINCT n) AS n FROM m GROUP BY g");
    db.stream_by_value("totals", "SELECT g, sum(DISTINCT n) AS n, avg(DISTINCT price) AS p FROM m GROUP BY g");
    for name in ["kinds", "sums", "spread", "counts", "totals"] {
        is_algebraic(db, name);
    }
    all_changes(db);
}

fn distinct_arguments_beside_each_other(db: &mut Database) {
    numbers(db);
    db.stream(
        "several",
        "SELECT g, count(*) AS rows, count(DISTINCT whole % 3) AS a, count(DISTINCT small % 5) AS b, sum(whole) AS s, \
         sum(DISTINCT whole % 3) AS d, min(small) AS lo, max(whole) AS hi, avg(n) AS mean, count(DISTINCT b) AS bs FROM m GROUP BY g",
    );
    db.stream("two", "SELECT g, b, count(DISTINCT whole % 3) AS a, count(whole) AS n FROM m GROUP BY g, b");
    is_algebraic(db, "two");
    all_changes(db);
}

fn distinct_arguments_under_filters(db: &mut Database) {
    numbers(db);
    db.stream(
        "filtered",
        "SELECT g, count(DISTINCT whole % 3) FILTER (WHERE b) AS yes, count(DISTINCT whole % 3) FILTER (WHERE NOT b) AS no FROM m GROUP BY g",
    );
    db.stream(
        "mixed",
        "SELECT g, count(DISTINCT whole % 3) FILTER (WHERE b) AS yes, sum(small) FILTER (WHERE b) AS s, \
         sum(DISTINCT small % 3) AS d, count(*) FILTER (WHERE whole > 0) AS n FROM m GROUP BY g HAVING count(DISTINCT whole % 3) > 1",
    );
    is_algebraic(db, "filtered");
    all_changes(db);
}

fn distinct_arguments_of_many_types(db: &mut Database) {
    db.run(
        "CREATE DOMAIN word AS text CHECK (VALUE IS NOT NULL);
         CREATE TYPE pair AS (a int, b text);
         CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE v (id int PRIMARY KEY, g text, t text, w word, a int[], p pair, j jsonb, d date, c text COLLATE loose, r int4range);
         INSERT INTO v SELECT i, 'g' || i % 3, 't' || i % 4, 'w' || i % 2, ARRAY[i % 2, NULL], ROW(i % 2, NULL)::pair, to_jsonb(i % 3),
             date '2024-01-01' + i % 4, CASE i % 3 WHEN 0 THEN 'A' WHEN 1 THEN 'a' END, int4range(1, 1 + i % 3)
         FROM generate_series(1, 40) AS i;
         INSERT INTO v (id, g, w) VALUES (100, NULL, 'x'), (101, 'nulls', 'x')",
    );
    db.stream(
        "kinds",
        "SELECT g, count(DISTINCT t) AS t, count(DISTINCT a) AS a, count(DISTINCT p) AS p, count(DISTINCT j) AS j, \
         count(DISTINCT d) AS d, count(DISTINCT c) AS c, count(DISTINCT r) AS r, count(*) AS n FROM v GROUP BY g",
    );
    db.stream("words", "SELECT g, count(DISTINCT w) AS w, count(*) AS n FROM v GROUP BY g");
    db.stream("rows", "SELECT g, count(DISTINCT (t, d)) AS td, count(*) AS n FROM v GROUP BY g");
    db.stream("by_word", "SELECT w, count(DISTINCT g) AS g, max(t) AS t FROM v GROUP BY w");
    db.cycle(&["UPDATE v SET t = 't1', c = 'a' WHERE id % 5 = 0; UPDATE v SET p = NULL, a = NULL WHERE id % 7 = 0"]);
    db.cycle(&["DELETE FROM v WHERE id % 4 = 1; UPDATE v SET j = '1.0', d = NULL WHERE id % 3 = 0"]);
    db.cycle(&["UPDATE v SET g = 'nulls', w = 'y' WHERE id < 12; INSERT INTO v (id, g, w) VALUES (200, 'new', 'z')"]);
    db.cycle(&["DELETE FROM v WHERE g <> 'nulls'"]);
}

fn distinct_arguments_of_the_whole_table(db: &mut Database) {
    numbers(db);
    db.stream("kinds", "SELECT count(DISTINCT g) AS g, sum(DISTINCT small % 5) AS s FROM m");
    db.stream(
        "with_rows",
        "SELECT count(*) AS n, count(DISTINCT g) AS g, count(DISTINCT whole) FILTER (WHERE b) AS w FROM m",
    );
    is_algebraic(db, "with_rows");
    all_changes(db);
}

fn distinct_arguments_over_a_join(db: &mut Database) {
    numbers(db);
    db.run("CREATE TABLE names (g int, name text); INSERT INTO names VALUES (0, 'zero'), (1, 'one'), (1, 'uno'), (2, 'two'), (NULL, 'none')");
    db.stream(
        "joined",
        "SELECT n.name, count(DISTINCT m.whole % 4) AS kinds, sum(m.price) AS total FROM names AS n LEFT JOIN m ON m.g = n.g GROUP BY n.name",
    );
    db.cycle(&["UPDATE names SET g = 3 WHERE name = 'uno'; UPDATE m SET g = 1 WHERE id % 3 = 0"]);
    db.cycle(&["DELETE FROM names WHERE name = 'two'; INSERT INTO names VALUES (4, 'four'), (4, 'zero'); SELECT fill(200, 220)"]);
    db.cycle(&["DELETE FROM m WHERE g IN (0, 4); UPDATE names SET name = NULL WHERE g = 1"]);
}

fn distinct_arguments_in_grouping_sets_and_sub_selects(db: &mut Database) {
    numbers(db);
    db.stream("cube", "SELECT g, b, count(DISTINCT whole % 3) AS k, count(*) AS n FROM m GROUP BY ROLLUP (g, b)");
    db.stream(
        "outer_rows",
        "SELECT o.id, (SELECT count(DISTINCT i.whole % 3) FROM m AS i WHERE i.g = o.g) AS k FROM m AS o WHERE o.small > 0",
    );
    db.stream(
        "above",
        "SELECT k, count(*) AS groups, sum(DISTINCT n) AS s FROM (SELECT g, count(DISTINCT whole % 3) AS k, count(*) AS n FROM m GROUP BY g) AS x GROUP BY k",
    );
    all_changes(db);
}

fn distinct_arguments_beside_recomputed_calls(db: &mut Database) {
    numbers(db);
    db.stream(
        "beside",
        "SELECT g, count(DISTINCT whole % 3) AS k, array_agg(DISTINCT small % 3) AS a, string_agg(id::text, ',' ORDER BY id) AS ids, \
         sum(DISTINCT f) AS f FROM m GROUP BY g",
    );
    all_changes(db);
}

fn distinct_arguments_read_by_other_aggregates(db: &mut Database) {
    numbers(db);
    db.stream("ordered", "SELECT g, sum(whole ORDER BY id DESC) AS s, count(small ORDER BY b) AS n, bool_or(b ORDER BY id) AS b FROM m GROUP BY g");
    db.stream("ends", "SELECT g, min(DISTINCT whole) AS lo, bool_and(DISTINCT b) AS b, count(DISTINCT b ORDER BY b) AS k FROM m GROUP BY g");
    is_algebraic(db, "ordered");
    all_changes(db);
}

/// A row of NULLs is not NULL, but `IS NULL` is true for it.
fn rows_as_arguments_and_as_keys(db: &mut Database) {
    db.run(
        "CREATE TYPE pair AS (a int, b int);
         CREATE TABLE c (id int PRIMARY KEY, p pair, v int);
         INSERT INTO c VALUES (1, NULL, 1), (2, ROW(NULL, NULL)::pair, 2), (3, ROW(1, NULL)::pair, 3), (4, NULL, 5)",
    );
    db.stream(
        "groups",
        "SELECT p, max(v) AS hi, count(p) AS c, count(*) AS n, count(DISTINCT v) AS d FROM c GROUP BY p",
    );
    db.stream("pairs", "SELECT v % 2 AS k, count(p) AS c, count(DISTINCT p) AS d FROM c GROUP BY v % 2");
    db.stream("different", "SELECT DISTINCT p FROM c");
    db.stream("partitions", "SELECT id, rank() OVER (PARTITION BY p ORDER BY v, id) AS r FROM c");
    db.stream(
        "correlated",
        "SELECT id, (SELECT max(i.v) FROM c AS i WHERE i.p IS NOT DISTINCT FROM o.p) AS hi FROM c AS o",
    );
    db.cycle(&["DELETE FROM c WHERE id = 4"]);
    db.cycle(&["UPDATE c SET v = v + 1; INSERT INTO c VALUES (5, ROW(NULL, NULL)::pair, 7), (6, NULL, 2)"]);
    db.cycle(&["UPDATE c SET p = NULL WHERE id = 2; UPDATE c SET p = ROW(1, NULL)::pair WHERE id = 1"]);
    db.cycle(&["DELETE FROM c WHERE p IS NULL"]);
}

fn values_too_long_for_an_index(db: &mut Database) {
    db.run(
        "CREATE FUNCTION long(seed int) RETURNS text IMMUTABLE LANGUAGE sql AS $$
             SELECT string_agg(md5((seed * 1000 + i)::text), '') FROM generate_series(1, 300) AS i $$;
         CREATE TABLE l (id int PRIMARY KEY, g int NOT NULL, t text NOT NULL, n numeric NOT NULL);
         INSERT INTO l SELECT i, i % 3, long(i % 4), i % 2 FROM generate_series(1, 12) AS i",
    );
    db.stream("kinds", "SELECT g, count(DISTINCT t) AS k, count(*) AS n FROM l GROUP BY g");
    db.stream("groups", "SELECT t, count(*) AS n, max(id) AS hi FROM l GROUP BY t");
    db.stream("different", "SELECT DISTINCT t, n FROM l");
    db.stream("ranked", "SELECT id, rank() OVER (PARTITION BY t ORDER BY id) AS r FROM l");
    db.stream("above", "SELECT hi, count(*) AS n FROM (SELECT t, max(id) AS hi FROM l GROUP BY t) AS x GROUP BY hi");
    db.cycle(&["DELETE FROM l WHERE id % 4 = 1; INSERT INTO l VALUES (20, 1, long(9), 1), (21, 2, long(9), 1)"]);
    db.cycle(&["UPDATE l SET t = long(7) WHERE id % 2 = 0; UPDATE l SET t = 'short' WHERE id = 3"]);
    db.cycle(&["DELETE FROM l WHERE id > 5"]);
}

fn truth_of_all_and_of_some(db: &mut Database) {
    numbers(db);
    db.stream(
        "truths",
        "SELECT g, bool_and(b) AS a, bool_or(b) AS o, every(whole > 0) AS e, bool_or(n > 0) FILTER (WHERE b OR n IS NULL) AS f, \
         bool_and(id > 0) AS always FROM m GROUP BY g",
    );
    db.stream("total", "SELECT bool_and(b) AS a, bool_or(b) AS o, every(id > 0) AS e FROM m");
    is_algebraic(db, "truths");
    is_algebraic(db, "total");
    all_changes(db);
}

const SPREADS: &str = "var_pop(#) AS #_vp, var_samp(#) AS #_vs, variance(#) AS #_v, stddev_pop(#) AS #_sp, stddev_samp(#) AS #_ss, \
                       stddev(#) AS #_s";

fn spreads(columns: &[&str]) -> String {
    columns.iter().map(|column| SPREADS.replace('#', column)).collect::<Vec<_>>().join(", ")
}

fn variances_of_integers(db: &mut Database) {
    numbers(db);
    let calls = spreads(&["small", "whole", "big"]);
    db.stream("spread", &format!("SELECT g, {calls} FROM m GROUP BY g"));
    db.stream("total", &format!("SELECT {calls}, stddev(whole) FILTER (WHERE b) AS fs FROM m"));
    is_algebraic(db, "spread");
    is_algebraic(db, "total");
    all_changes(db);
    db.cycle(&["INSERT INTO m (id, g, small, whole, big) SELECT i, 1, 32767, 2147483647, 9223372036854775807 FROM generate_series(1000, 1200) AS i"]);
    db.cycle(&["UPDATE m SET small = -32768, whole = -2147483648, big = -9223372036854775808 WHERE id > 1100"]);
    db.cycle(&["DELETE FROM m WHERE id BETWEEN 1001 AND 1199"]);
}

fn variances_of_numerics(db: &mut Database) {
    numbers(db);
    let calls = spreads(&["n", "price"]);
    db.stream("spread", &format!("SELECT g, {calls}, sum(n) AS sn, avg(n) AS an FROM m GROUP BY g"));
    db.stream("total", &format!("SELECT {calls}, var_pop(n * 1.000) AS t, stddev(n) FILTER (WHERE b) AS fs FROM m"));
    is_algebraic(db, "spread");
    is_algebraic(db, "total");
    all_changes(db);
    db.cycle(&["UPDATE m SET n = 'NaN' WHERE id = 1; UPDATE m SET n = 'Infinity' WHERE id = 2; UPDATE m SET n = 1.5 WHERE id = 3"]);
    db.cycle(&["UPDATE m SET n = '-Infinity' WHERE id = 4; INSERT INTO m (id, g, n) VALUES (500, 77, 'NaN'), (501, 78, '-Infinity')"]);
    db.cycle(&["UPDATE m SET n = 1.25 WHERE id < 4; DELETE FROM m WHERE id = 500; INSERT INTO m (id, g, n) VALUES (502, 78, 3)"]);
    db.cycle(&["UPDATE m SET n = 4 WHERE n = '-Infinity'"]);
    db.cycle(&["DELETE FROM m WHERE id > 1"]);
}

/// Quotients of every size: their scale, and that of their root, depends on it.
/// The server's aggregates square with more digits than any numeric has.
fn variances_beyond_what_sql_can_square(db: &mut Database) {
    db.run("CREATE TABLE r (id int PRIMARY KEY, g int, n numeric); INSERT INTO r SELECT i, i % 3, i * 1.5 FROM generate_series(1, 30) i");
    let calls = "var_pop(n) AS vp, variance(n) AS v, stddev(n) AS s, count(n) AS c";
    db.stream("spread", &format!("SELECT g, {calls} FROM r GROUP BY g"));
    db.stream("total", &format!("SELECT {calls}, stddev(n) FILTER (WHERE id < 100) AS f FROM r WHERE g < 7"));
    db.cycle(&["INSERT INTO r VALUES (101, 1, 1e62000), (102, 4, 1e62000)"]);
    db.cycle(&["UPDATE r SET n = n + 1 WHERE id < 10", "INSERT INTO r VALUES (103, 4, 1e62000 + 2)"]);
    db.cycle(&["DELETE FROM r WHERE id = 101", "UPDATE r SET g = 2 WHERE id = 103"]);
    db.cycle(&[
        "INSERT INTO r VALUES (104, 0, 3e-500), (105, 0, 4e-500 - 1e-16383), (106, 5, 1e-16383), (107, 5, -1e-16383)",
    ]);
    db.cycle(&["UPDATE r SET n = 'NaN' WHERE id = 106", "UPDATE r SET n = '-Infinity' WHERE id = 4"]);
    db.cycle(&["DELETE FROM r WHERE id > 100", "UPDATE r SET n = 1.25 WHERE id = 4"]);
    db.run("INSERT INTO r SELECT 200 + x, 7, 9e131071 + x FROM generate_series(1, 5) x");
    db.cycle(&["UPDATE r SET n = n + 1 WHERE id = 203", "DELETE FROM r WHERE id < 4"]);
}

fn variances_of_random_groups(db: &mut Database) {
    db.run(
        "CREATE TABLE r (id int PRIMARY KEY, g int, n numeric, i int8);
         INSERT INTO r SELECT i, i % 400, round((hashint4(i) / 1e9)::numeric * power(10::numeric, i % 400 / 10 - 20), 30 - i % 31),
             hashint4(i)::int8 >> (i % 32) FROM generate_series(1, 2000) AS i",
    );
    db.stream("spread", "SELECT g, stddev(n) AS sn, var_pop(n) AS vn, stddev_pop(i) AS si, variance(i) AS vi, avg(n) AS a FROM r GROUP BY g");
    is_algebraic(db, "spread");
    db.cycle(&["UPDATE r SET n = n + 0.001, i = i + 3 WHERE id % 3 = 0"]);
    db.cycle(&["UPDATE r SET n = round(n, id % 5), i = i / 7 WHERE id % 2 = 0; DELETE FROM r WHERE id % 5 = 0"]);
    db.cycle(&["UPDATE r SET n = n * 1.5, g = g + 1 WHERE id % 7 = 0"]);
    db.cycle(&["DELETE FROM r WHERE id > 500; UPDATE r SET i = i * 1000003 WHERE id % 4 < 3"]);
}

fn the_largest_scale_leaves(db: &mut Database) {
    db.run("CREATE TABLE s (id int PRIMARY KEY, g int, n numeric); CREATE INDEX ON s (g)");
    db.stream(
        "sums",
        "SELECT g, sum(n) AS s, avg(n) AS a, stddev(n) AS d, sum(n) FILTER (WHERE n > 0) AS p FROM s GROUP BY g",
    );
    db.stream("total", "SELECT sum(n) AS s, avg(n) AS a FROM s");
    db.cycle(&["INSERT INTO s VALUES (1, 1, 1), (2, 1, 1.5), (3, 1, 1.25), (4, 1, 1.250), (5, 1, 0), (6, 2, 0.0000), (7, 2, NULL)"]);
    db.cycle(&["DELETE FROM s WHERE id = 4"]);
    db.cycle(&["DELETE FROM s WHERE id = 3; INSERT INTO s VALUES (8, 1, 2.12345); DELETE FROM s WHERE id = 8"]);
    db.cycle(&["UPDATE s SET n = n::numeric(20, 5) WHERE g = 1"]);
    db.cycle(&["UPDATE s SET n = round(n) WHERE id < 3"]);
    db.cycle(&["UPDATE s SET n = round(n); INSERT INTO s VALUES (9, 1, ('1.' || repeat('0', 998) || '1')::numeric)"]);
    db.cycle(&["INSERT INTO s VALUES (10, 1, ('1.' || repeat('1', 1500))::numeric), (11, 1, ('1.' || repeat('1', 999))::numeric)"]);
    db.cycle(&["INSERT INTO s VALUES (12, 1, ('1.' || repeat('1', 1000))::numeric); DELETE FROM s WHERE id = 9"]);
    db.cycle(&["UPDATE s SET n = 1.0 WHERE id = 10", "UPDATE s SET n = 5.0 WHERE id = 2"]);
    db.cycle(&["DELETE FROM s WHERE id > 11", "INSERT INTO s SELECT i, 3, 1.5 FROM generate_series(100, 1099) AS i"]);
    db.cycle(&["DELETE FROM s WHERE id IN (6, 11, 1000)"]);
    db.cycle(&["UPDATE s SET n = 2 WHERE g = 3 AND id < 1099"]);
    db.cycle(&["DELETE FROM s WHERE id = 1099"]);
}

/// Computing anew would read the source.
fn no_group_is_computed_anew(db: &mut Database) {
    db.run(
        "CREATE TABLE s (id int PRIMARY KEY, g int, n numeric, k int);
         CREATE INDEX s_g ON s (g);
         INSERT INTO s SELECT i, i % 2, i / 8.0, i % 7 FROM generate_series(1, 2000) AS i;
         ANALYZE s",
    );
    db.stream("sums", "SELECT g, sum(n) AS s, avg(n) AS a, stddev(n) AS d, count(DISTINCT k) AS k, bool_and(k > 0) AS b FROM s GROUP BY g");
    let reads = "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = 's'";
    db.run("UPDATE s SET n = n + 1, k = 3 WHERE id = 17; DELETE FROM s WHERE id = 18");
    let before = db.number(reads);
    db.run("BEGIN");
    db.refresh("sums");
    assert_eq!(db.number(reads), before, "rows of the source that were read");
    db.run("COMMIT");
    db.check();
}

fn groups_of_stored_groups_are_found_by_index(db: &mut Database) {
    db.run(
        "CREATE TABLE s (id int PRIMARY KEY, k int, t text, n numeric, v int);
         CREATE INDEX ON s (k, t);
         INSERT INTO s SELECT i, i % 20000, 't' || i % 10000, i % 5000, i FROM generate_series(1, 40000) AS i",
    );
    db.stream(
        "of_text",
        "SELECT t, max(s) AS hi, count(*) AS n FROM (SELECT k, t, sum(v) AS s FROM s GROUP BY k, t) AS x GROUP BY t",
    );
    db.stream(
        "of_numeric",
        "SELECT hi, count(*) AS n FROM (SELECT k, max(n) AS hi FROM s GROUP BY k) AS x GROUP BY hi",
    );
    db.stream("of_parts", "SELECT k, count(DISTINCT n) AS n, min(v) AS lo, count(DISTINCT t) AS t FROM s GROUP BY k");
    db.run("ANALYZE");
    db.run("UPDATE s SET v = v + 1, n = n + 1 WHERE id = 17; DELETE FROM s WHERE id = 18; UPDATE s SET t = NULL WHERE id = 19");
    let reads =
        "SELECT sum(coalesce(seq_tup_read, 0)) FROM pg_stat_xact_user_tables WHERE schemaname = 'pgtrickle_state'";
    let before = db.number(reads);
    db.run("BEGIN");
    for name in ["of_text", "of_numeric", "of_parts"] {
        db.refresh(name);
    }
    assert_eq!(db.number(reads), before, "stored rows that were read one after the other");
    db.run("COMMIT");
    db.check();
    db.cycle(&["UPDATE s SET t = 't5' WHERE t IS NULL OR id = 40; UPDATE s SET n = NULL WHERE k = 7"]);
}

/// What puts rows one after the other goes by the order of the sub-select that it reads.
fn over_rows_that_are_sorted(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, k int, x text); INSERT INTO t SELECT i, i % 3, chr(64 + i * 7 % 26) FROM generate_series(1, 12) AS i");
    db.run("CREATE TABLE k (k int PRIMARY KEY); INSERT INTO k VALUES (0), (1), (5)");
    db.stream("listed", "SELECT array_agg(x) AS a, string_agg(x, ',') AS s, count(*) AS n FROM (SELECT id, x FROM t WHERE k < 2 ORDER BY x DESC, id) AS q WHERE x <> 'B'");
    db.stream("hidden", "SELECT string_agg(x, '' || 1) AS s FROM (SELECT x FROM t ORDER BY k, t.id DESC) AS q");
    db.stream("rows", "SELECT json_agg(q)::text AS j FROM (SELECT id, x FROM t ORDER BY id DESC) AS q");
    db.stream(
        "first",
        "SELECT jsonb_agg(x) FILTER (WHERE k > 0) AS j FROM (SELECT x, k FROM t ORDER BY id DESC LIMIT 5) AS q",
    );
    db.stream("latest", "SELECT array_agg(x) AS a FROM (SELECT DISTINCT ON (k) x FROM t ORDER BY k, id DESC) AS q");
    db.stream("united", "SELECT array_agg(v) AS a FROM (SELECT x AS v FROM t UNION SELECT k::text FROM k ORDER BY v) AS q HAVING array_agg(v) IS NOT NULL");
    db.stream(
        "of_each",
        "SELECT k, (SELECT string_agg(x, ',') FROM (SELECT x FROM t WHERE t.k = k.k ORDER BY x, id) AS q) AS s FROM k",
    );
    for query in [
        "SELECT json_agg(q)::text AS j FROM (SELECT x FROM t ORDER BY id) AS q",
        "SELECT k, array_agg(x) AS a FROM (SELECT k, x FROM t ORDER BY id) AS q GROUP BY k",
        "SELECT array_agg(x) AS a, array_agg(id ORDER BY k, id) AS i FROM (SELECT id, k, x FROM t ORDER BY x, id) AS q",
    ] {
        let call = format!("SELECT pgtrickle.create_stream_table('no', $q${query}$q$, refresh_mode => 'DIFFERENTIAL')");
        let failure = db.fails(&call);
        assert!(failure.message.contains("sub-select with ORDER BY"), "{failure:?}");
    }
    db.cycle(&[
        "INSERT INTO t VALUES (20, 1, 'Q'), (21, NULL, NULL), (22, 0, 'Q')",
        "UPDATE t SET k = 2 - k WHERE id < 5",
    ]);
    db.cycle(&["DELETE FROM t WHERE id % 4 = 0; INSERT INTO k VALUES (2), (3)"]);
    db.cycle(&["DELETE FROM t"]);
    db.cycle(&["INSERT INTO t VALUES (1, 1, 'a')"]);
}
