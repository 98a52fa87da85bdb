//! Shapes of sources and of queries: wide tables, dropped and generated columns, views, constants, nothing at all.

use pgtrickle_tests::{Database, tests};

tests![
    wide_tables,
    dropped_columns_in_the_source,
    generated_columns,
    virtual_columns_everywhere,
    identity_and_default_columns,
    views_over_views,
    common_table_expressions,
    union_all_of_everything,
    union_all_with_different_types,
    deeply_nested_sub_selects,
    constants_and_no_columns_used,
    scalar_expressions_of_every_kind,
    filters_that_become_true_and_false,
    ordering_that_does_not_matter,
    whole_rows,
    unlogged_sources,
    an_empty_source,
    a_source_without_columns,
    many_stream_tables_over_one_source,
    partitioned_and_inherited_sources,
];

fn wide_tables(db: &mut Database) {
    let columns: Vec<String> = (1..=150).map(|i| format!("col{i} int")).collect();
    db.run(&format!("CREATE TABLE t (id int PRIMARY KEY, {})", columns.join(", ")));
    let values: Vec<String> = (1..=150).map(|i| format!("i + {i}")).collect();
    db.run(&format!("INSERT INTO t SELECT i, {} FROM generate_series(1, 5) AS i", values.join(", ")));
    db.stream("every", "SELECT * FROM t");
    db.stream("last", "SELECT col150, sum(col149) AS s FROM t GROUP BY col150");
    let names: Vec<String> = (1..=150).map(|i| format!("col{i}")).collect();
    db.stream("bag", &format!("SELECT {} FROM t", names.join(", ")));
    db.cycle(&["UPDATE t SET col150 = 0 WHERE id = 2; UPDATE t SET col1 = NULL WHERE id = 3"]);
    db.cycle(&["UPDATE t SET col75 = 7; DELETE FROM t WHERE id = 1"]);
}

fn dropped_columns_in_the_source(db: &mut Database) {
    db.run("CREATE TABLE t (gone1 int, id int PRIMARY KEY, gone2 text, v int, gone3 text)");
    db.run("INSERT INTO t VALUES (1, 1, 'x', 1, 'y'), (2, 2, 'x', 2, 'y'); ALTER TABLE t DROP COLUMN gone1, DROP COLUMN gone2, DROP COLUMN gone3");
    db.run("ALTER TABLE t ADD COLUMN late text DEFAULT 'd'");
    db.stream("rows", "SELECT * FROM t");
    db.stream("bag", "SELECT v, late FROM t");
    db.stream("sums", "SELECT late, sum(v) AS s FROM t GROUP BY late");
    db.cycle(&["INSERT INTO t VALUES (3, 3, 'e'); UPDATE t SET v = v + 1 WHERE id = 1"]);
    db.cycle(&["DELETE FROM t WHERE id = 2; UPDATE t SET late = NULL"]);
}

fn generated_columns(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int, stored int GENERATED ALWAYS AS (v * 2) STORED, virtual int GENERATED ALWAYS AS (v * 3) VIRTUAL)");
    db.run("INSERT INTO t VALUES (1, 1), (2, 2), (3, NULL)");
    db.stream("rows", "SELECT id, v, stored, virtual FROM t");
    db.stream("derived_only", "SELECT stored, virtual + 1 AS more FROM t WHERE virtual > 3");
    db.stream("sums", "SELECT virtual % 2 AS parity, sum(stored) AS s, max(virtual) AS hi FROM t GROUP BY virtual % 2");
    db.cycle(&["UPDATE t SET v = v + 1; INSERT INTO t VALUES (4, 4)"]);
    db.cycle(&["UPDATE t SET v = NULL WHERE id = 1; DELETE FROM t WHERE id = 2"]);
}

fn identity_and_default_columns(db: &mut Database) {
    db.run("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz DEFAULT '2024-01-01 00:00+00', r float8 DEFAULT random())");
    db.stream("rows", "SELECT id, at, r FROM t");
    db.cycle(&["INSERT INTO t DEFAULT VALUES", "INSERT INTO t (r) VALUES (1), (DEFAULT)"]);
    db.cycle(&["UPDATE t SET r = DEFAULT, id = DEFAULT"]);
}

fn views_over_views(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g int, v int); INSERT INTO t SELECT i, i % 3, i FROM generate_series(1, 9) AS i");
    db.run("CREATE VIEW positive AS SELECT * FROM t WHERE v > 2; CREATE VIEW sums AS SELECT g, sum(v) AS s FROM positive GROUP BY g");
    db.stream("filtered", "SELECT s FROM sums WHERE s > 5");
    db.stream("joined", "SELECT p.id, s.s FROM positive AS p JOIN sums AS s USING (g)");
    db.cycle(&["UPDATE t SET v = v - 3", "INSERT INTO positive VALUES (50, 1, 50)"]);
    db.cycle(&["DELETE FROM positive WHERE g = 1; UPDATE positive SET g = 2"]);
    // The definition is the one of creation, so the view may not come to mean something else under it.
    let failure = db.fails("CREATE OR REPLACE VIEW positive AS SELECT * FROM t WHERE v > 100");
    assert_eq!(failure.sqlstate, "2BP01", "{failure:?}");
    assert!(!failure.hint.is_empty(), "{failure:?}");
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn common_table_expressions(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g int, v int); INSERT INTO t SELECT i, i % 3, i FROM generate_series(1, 9) AS i");
    db.stream("plain", "WITH a AS (SELECT * FROM t WHERE v > 1), b AS (SELECT g, max(v) AS hi FROM a GROUP BY g) SELECT a.id, b.hi FROM a JOIN b USING (g)");
    db.stream("hinted", "WITH a AS MATERIALIZED (SELECT g, v FROM t), b AS NOT MATERIALIZED (SELECT g, v FROM a) SELECT a.v, b.v AS w FROM a, b WHERE a.g = b.g");
    db.stream("renamed", "WITH a(x, y) AS (SELECT g, v FROM t) SELECT x, sum(y) AS s FROM a GROUP BY x");
    db.stream("shadowing", "WITH t AS (SELECT id, v * 10 AS v FROM t) SELECT v FROM t");
    db.stream(
        "inner_with",
        "SELECT s FROM (WITH t2 AS (SELECT g, v FROM t) SELECT g, sum(v) AS s FROM t2 GROUP BY g) AS x",
    );
    db.cycle(&["UPDATE t SET v = v + 1, g = g + 1 WHERE id < 5"]);
    db.cycle(&["DELETE FROM t WHERE g = 1; INSERT INTO t VALUES (20, 2, 2)"]);
}

fn union_all_of_everything(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2); CREATE TABLE u (v int); INSERT INTO u VALUES (1), (1)");
    db.stream("same_twice", "SELECT id, v FROM t UNION ALL SELECT id, v FROM t");
    db.stream("mixed", "SELECT v FROM t UNION ALL SELECT v FROM u UNION ALL (SELECT count(*)::int FROM u) UNION ALL SELECT DISTINCT v FROM u");
    db.stream("on_top", "SELECT v, count(*) AS n FROM (SELECT v FROM t UNION ALL SELECT v FROM u) AS x GROUP BY v");
    db.stream("constants", "SELECT 't' AS origin, v FROM t UNION ALL SELECT 'u', v FROM u");
    db.cycle(&["INSERT INTO u VALUES (2), (NULL); UPDATE t SET v = v + 1"]);
    db.cycle(&["DELETE FROM t WHERE id = 1; DELETE FROM u WHERE v = 1"]);
    db.cycle(&["DELETE FROM u; DELETE FROM t"]);
}

fn union_all_with_different_types(db: &mut Database) {
    db.run("CREATE TABLE a (x int, s varchar(5)); CREATE TABLE b (x numeric, s text); INSERT INTO a VALUES (1, 'a'); INSERT INTO b VALUES (1.50, 'b')");
    db.stream("wider", "SELECT x, s FROM a UNION ALL SELECT x, s FROM b UNION ALL SELECT NULL, NULL FROM a");
    db.cycle(&["UPDATE a SET x = 2; INSERT INTO b VALUES (2, NULL)"]);
    db.cycle(&["DELETE FROM a; UPDATE b SET x = x * 2"]);
}

fn deeply_nested_sub_selects(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 9) AS i");
    let mut query = "SELECT id, v FROM t".to_string();
    for depth in 0..20 {
        query = format!("SELECT id, v + 1 AS v FROM ({query}) AS q{depth} WHERE v <> {}", depth * 3);
    }
    db.stream("deep", &query);
    db.cycle(&["UPDATE t SET v = v + 1", "DELETE FROM t WHERE id = 4; INSERT INTO t VALUES (30, 0)"]);
}

fn constants_and_no_columns_used(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)");
    db.stream("ones", "SELECT 1 AS one, 'x'::text AS x, NULL::int AS nothing FROM t");
    db.stream("counted", "SELECT count(*) AS n FROM t");
    db.stream("fixed_group", "SELECT true AS always, count(*) AS n FROM t GROUP BY 1");
    db.stream("never", "SELECT id FROM t WHERE false");
    db.stream("crossed", "SELECT 1 AS one FROM t AS a, t AS b");
    db.cycle(&["INSERT INTO t VALUES (3, 3)", "UPDATE t SET v = 7"]);
    db.cycle(&["DELETE FROM t WHERE id < 3"]);
    db.cycle(&["DELETE FROM t"]);
}

fn scalar_expressions_of_every_kind(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, a int, b text, c date, d numeric, e int[], f jsonb, g bool)");
    db.run("INSERT INTO t SELECT i, nullif(i % 4, 0), chr(96 + i), date '2024-01-01' + i, i / 3.0, ARRAY[i, i + 1], jsonb_build_object('k', i), i % 2 = 0 FROM generate_series(1, 12) AS i");
    db.stream(
        "st",
        "SELECT id, CASE WHEN a > 2 THEN 'big' WHEN a IS NULL THEN 'none' ELSE b END AS c1, CASE a WHEN 1 THEN 'one' ELSE 'other' END AS c2, \
         coalesce(a, -1) AS c3, nullif(a, 2) AS c4, greatest(a, 2, NULL) AS c5, least(a, id) AS c6, a BETWEEN 1 AND 2 AS c7, a IN (1, 3) AS c8, \
         a = ANY (e) AS c9, b LIKE 'a%' AS c10, b ~ '[a-c]' AS c11, b COLLATE \"C\" < 'd' AS c12, extract(day FROM c) AS c13, c + interval '1 day' AS c14, \
         a IS DISTINCT FROM 2 AS c15, g IS TRUE AS c16, NOT g AS c17, g AND a > 1 AS c18, e[1] AS c19, e || 9 AS c20, ARRAY[a, id] AS c21, \
         ROW(a, b) = ROW(1, 'a') AS c22, f -> 'k' AS c23, f @> '{\"k\": 1}' AS c24, substring(b FROM 1 FOR 1) AS c25, position('a' IN b) AS c26, \
         overlay(b PLACING 'zz' FROM 1) AS c27, trim(both 'a' FROM b) AS c28, upper(b) || lower(b) AS c29, d::int AS c30, round(d, 1) AS c31, \
         -a AS c32, a % 2 AS c33, a & 1 AS c34, 2 ^ a AS c35, abs(a - 3) AS c36, lpad(b, 4, '*') AS c37, repeat(b, a) AS c38, \
         (a, b) IS NULL AS c39, b IS NOT NULL AS c40, make_date(2024, 1, id) AS c41, e[1:1] AS c42, f || '{\"z\": 1}' AS c43, \
         jsonb_array_length('[1, 2]') + a AS c44, d IS NULL OR d > 1 AS c45, (f ->> 'k')::int + 1 AS c46, bit_length(b) AS c47, a::text::varchar(1) AS c48 FROM t",
    );
    db.cycle(&["UPDATE t SET a = a + 1, b = b || 'a', g = NOT g"]);
    db.cycle(&["UPDATE t SET a = NULL, e = NULL, f = NULL, g = NULL WHERE id < 4; DELETE FROM t WHERE id = 12"]);
}

fn filters_that_become_true_and_false(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int, s text); INSERT INTO t SELECT i, i, 's' || i FROM generate_series(1, 9) AS i");
    db.stream("several", "SELECT id, s FROM t WHERE v > 5");
    db.stream("not_null", "SELECT id FROM t WHERE NOT (v > 5)");
    db.cycle(&["UPDATE t SET v = 10 - v"]);
    db.cycle(&["UPDATE t SET v = NULL WHERE id % 2 = 0; UPDATE t SET s = 'changed'"]);
    db.cycle(&["UPDATE t SET v = 6 WHERE v IS NULL"]);
}

fn ordering_that_does_not_matter(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 3), (2, 1)");
    db.stream("ordered", "SELECT id, v FROM t ORDER BY v DESC");
    db.stream("inside", "SELECT v FROM (SELECT v FROM t ORDER BY id) AS x");
    db.cycle(&["INSERT INTO t VALUES (3, 2)", "UPDATE t SET v = 0 WHERE id = 1"]);
}

fn whole_rows(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 3), (2, NULL)");
    let call = "SELECT pgtrickle.create_stream_table('st', 'SELECT id, t AS whole FROM t', schedule => '1h', refresh_mode => 'DIFFERENTIAL')";
    match db.attempt(call) {
        Err(failure) => assert_eq!(failure.sqlstate, "0A000", "{failure:?}"),
        Ok(()) => {
            db.track("st", "SELECT id, t AS whole FROM t");
            db.cycle(&["UPDATE t SET v = 5; INSERT INTO t VALUES (3, 3)"]);
        }
    }
}

fn unlogged_sources(db: &mut Database) {
    db.run("CREATE UNLOGGED TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)");
    let call = "SELECT pgtrickle.create_stream_table('st', 'SELECT id, v FROM t', schedule => '1h', refresh_mode => 'DIFFERENTIAL')";
    match db.attempt(call) {
        Err(failure) => assert_eq!(failure.sqlstate, "0A000", "{failure:?}"),
        Ok(()) => {
            db.track("st", "SELECT id, v FROM t");
            db.cycle(&["UPDATE t SET v = 5; INSERT INTO t VALUES (3, 3)"]);
        }
    }
}

fn an_empty_source(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g int, v int)");
    db.stream("rows", "SELECT id, v FROM t");
    db.stream("sums", "SELECT g, sum(v) AS s FROM t GROUP BY g");
    db.stream("pairs", "SELECT a.id FROM t AS a JOIN t AS b USING (g)");
    db.cycle(&["DELETE FROM t", "UPDATE t SET v = 1", "INSERT INTO t SELECT 1, 1, 1 WHERE false"]);
    db.cycle(&["INSERT INTO t VALUES (1, 1, 1)"]);
    db.cycle(&["DELETE FROM t"]);
}

fn a_source_without_columns(db: &mut Database) {
    db.run("CREATE TABLE t ()");
    db.stream("counted", "SELECT count(*) AS n FROM t");
    db.cycle(&["INSERT INTO t DEFAULT VALUES", "INSERT INTO t DEFAULT VALUES"]);
    db.cycle(&["DELETE FROM t"]);
}

fn many_stream_tables_over_one_source(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, a int, b int, c int); INSERT INTO t SELECT i, i % 2, i % 3, i % 5 FROM generate_series(1, 30) AS i");
    db.stream("s1", "SELECT a FROM t");
    db.stream("s2", "SELECT b, count(*) AS n FROM t GROUP BY b");
    db.cycle(&["UPDATE t SET c = c + 1", "UPDATE t SET a = a + 1 WHERE id < 5"]);
    // A later reader needs a column that the buffer did not hold so far.
    db.run("UPDATE t SET a = a + 1, b = b + 1, c = c + 1 WHERE id > 20");
    db.stream("s3", "SELECT c, sum(id) AS s FROM t GROUP BY c");
    db.cycle(&["UPDATE t SET c = c + 1 WHERE id < 10"]);
    for i in 4..14 {
        db.stream(&format!("s{i}"), &format!("SELECT (a + b + c) % {i} AS k, count(*) AS n FROM t GROUP BY 1"));
    }
    db.cycle(&["UPDATE t SET b = b + 1; DELETE FROM t WHERE id = 7"]);
}

fn partitioned_and_inherited_sources(db: &mut Database) {
    db.run("CREATE TABLE p (id int, v int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)");
    db.run("CREATE TABLE base (id int, v int); CREATE TABLE child (extra int) INHERITS (base)");
    for (name, source, leaf) in [("over_p", "p", "p1"), ("over_base", "base", "child")] {
        db.run(&format!("INSERT INTO {source} (id, v) VALUES (1, 1), (11, 2)"));
        let query = format!("SELECT id, v FROM {source}");
        let call = format!(
            "SELECT pgtrickle.create_stream_table('{name}', '{query}', schedule => '1h', refresh_mode => 'DIFFERENTIAL')"
        );
        match db.attempt(&call) {
            // Refused with the reason, or right whichever way the rows are written.
            Err(failure) => assert_eq!(failure.sqlstate, "0A000", "{failure:?}"),
            Ok(()) => {
                db.track(name, &query);
                db.cycle(&[&format!(
                    "INSERT INTO {source} (id, v) VALUES (2, 2); INSERT INTO {leaf} (id, v) VALUES (3, 3)"
                )]);
                db.cycle(&[&format!("UPDATE {source} SET id = id + 9 WHERE id < 3; DELETE FROM {leaf} WHERE v = 3")]);
            }
        }
    }
}

fn virtual_columns_everywhere(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int, filled int GENERATED ALWAYS AS (coalesce(v, -1)) VIRTUAL, fixed text GENERATED ALWAYS AS ('x' || (id % 2)::text) VIRTUAL)");
    db.run("CREATE TABLE u (id int PRIMARY KEY, t_id int, double int GENERATED ALWAYS AS (t_id * 2) VIRTUAL)");
    db.run("INSERT INTO t VALUES (1, 1), (2, NULL), (3, 5); INSERT INTO u VALUES (1, 1), (2, 7), (3, NULL), (4, 2)");
    db.run("CREATE VIEW seen AS SELECT id, filled, fixed FROM t WHERE filled <> 5");
    db.stream("padded", "SELECT u.id, t.filled, t.fixed FROM u LEFT JOIN t ON t.id = u.t_id");
    db.stream("padded_on", "SELECT u.id, t.filled FROM u LEFT JOIN t ON t.filled = u.double");
    db.stream("in_full", "SELECT u.id, u.double, t.filled FROM u FULL JOIN t ON t.id = u.t_id");
    db.stream(
        "padded_groups",
        "SELECT t.fixed, count(*) AS n, sum(t.filled) AS s FROM u LEFT JOIN t ON t.id = u.t_id GROUP BY t.fixed",
    );
    db.stream("through_view", "SELECT fixed, sum(filled) AS s FROM seen GROUP BY fixed");
    db.stream("merged", "SELECT filled FROM t EXCEPT ALL SELECT double FROM u");
    db.stream("in_with", "WITH x AS (SELECT fixed, filled FROM t) SELECT x.fixed, u.double FROM x JOIN u ON u.double = x.filled OR x.filled < 0");
    db.stream("lateral_series", "SELECT t.id, g FROM t, generate_series(1, t.filled) AS g");
    db.cycle(&["UPDATE t SET v = NULL WHERE id = 1; INSERT INTO u VALUES (5, 3), (6, 3)"]);
    db.cycle(&["DELETE FROM t WHERE id = 3; UPDATE u SET t_id = 2 WHERE id = 2"]);
    db.cycle(&[
        "INSERT INTO t VALUES (7, 2), (8, NULL); UPDATE u SET t_id = t_id + 6; UPDATE t SET v = 4 WHERE id = 2",
    ]);
    db.cycle(&["DELETE FROM u WHERE id < 4; DELETE FROM t WHERE v IS NULL"]);
}
