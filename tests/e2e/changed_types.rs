//! A type of which a query reads values changes: who reads them recomputes, once.

use pgtrickle_tests::{Database, create, refresh, tests};

tests![
    a_composite_type_gets_and_loses_attributes,
    rows_of_another_table_are_a_type,
    values_inside_other_values,
    grouped_and_joined_by_composite_values,
    an_attribute_goes_with_its_type,
    a_typed_tables_rows_are_values,
    an_enum_is_printed,
    an_enum_is_read,
    an_enum_inside_other_values,
    configurations_of_text_search_are_altered,
    new_labels_are_no_news,
    another_session_renames_a_label,
    a_creation_under_way_is_not_overlooked,
    a_type_whose_values_are_read_stays,
    a_snapshot_holds_composite_values,
    what_reads_a_new_label_later_is_recomputed,
];

fn pairs(db: &mut Database) {
    db.run("CREATE TYPE pair AS (a int, b text); CREATE TABLE t (id int PRIMARY KEY, c pair, v int)");
    db.run("INSERT INTO t VALUES (1, '(1,x)', 1), (2, '(1,)', 2), (3, NULL, 3), (4, '(,)', 4), (5, '(1,x)', 5)");
}

fn a_composite_type_gets_and_loses_attributes(db: &mut Database) {
    pairs(db);
    db.stream(
        "printed",
        "SELECT id, to_jsonb(c) AS j, c::text AS t, c IS NOT NULL AS known, row_to_json(c)::text AS r FROM t",
    );
    db.stream("themselves", "SELECT c, v FROM t");
    db.stream("others", "SELECT id, v FROM t");
    let mut other = db.connect();
    db.cycle(&["UPDATE t SET v = v + 1; INSERT INTO t VALUES (6, '(2,y)', 6)"]);
    other.run("INSERT INTO t VALUES (7, '(3,y)', 6)");
    other.run(&refresh("printed"));
    for change in [
        "ADD ATTRIBUTE z int",
        "RENAME ATTRIBUTE b TO bb",
        "DROP ATTRIBUTE a",
        "ADD ATTRIBUTE a int, ADD ATTRIBUTE y text",
    ] {
        // Written before and after the change, and read after it.
        db.run("UPDATE t SET v = v + 1 WHERE id < 4");
        let mut altering = db.connect();
        altering.run(&format!("ALTER TYPE pair {change}"));
        assert!(!db.holds("SELECT needs_reinit FROM pgtrickle.pgt_stream_tables WHERE pgt_name = 'others'"));
        db.run("UPDATE t SET v = v + 1 WHERE id > 2");
        other.run(&refresh("printed"));
        db.cycle_in_full(&["UPDATE t SET c = c WHERE id = 1"]);
        db.cycle(&["UPDATE t SET v = v + 1, c = NULL WHERE id = 1; DELETE FROM t WHERE id = 2"]);
        other.run("INSERT INTO t VALUES (2, NULL, 9), (12, NULL, 10)");
        other.run(&refresh("printed"));
        db.cycle(&["DELETE FROM t WHERE id = 12"]);
    }
}

fn rows_of_another_table_are_a_type(db: &mut Database) {
    db.run("CREATE TABLE other (a int, b text); CREATE TABLE t (id int PRIMARY KEY, c other)");
    db.run("INSERT INTO t VALUES (1, '(1,x)'), (2, NULL)");
    db.stream("printed", "SELECT id, to_jsonb(c) AS j, c::text AS t FROM t");
    for change in ["RENAME COLUMN b TO bb", "ADD COLUMN z int", "DROP COLUMN a"] {
        db.cycle_in_full(&[&format!("ALTER TABLE other {change}")]);
        db.cycle(&["INSERT INTO t SELECT max(id) + 10, NULL FROM t; UPDATE t SET id = -id WHERE c IS NOT NULL"]);
    }
    db.run("UPDATE t SET id = id + 100 WHERE id = 1");
    db.cycle(&["ALTER TABLE other SET (fillfactor = 50); CREATE INDEX ON other (z)"]);
}

fn values_inside_other_values(db: &mut Database) {
    db.run(
        "CREATE TYPE pair AS (a int, b text); CREATE DOMAIN pairs AS pair[]; CREATE TYPE holder AS (p pairs, n int)",
    );
    db.run("CREATE TYPE spans AS RANGE (subtype = pair)");
    db.run("CREATE TABLE t (id int PRIMARY KEY, h holder[], s spans, m spans_multirange)");
    db.run("INSERT INTO t SELECT i, ARRAY[ROW(ARRAY[ROW(i, 'x')::pair], i)::holder, NULL], spans(ROW(1, 'a'), ROW(i, 'b')), NULL FROM generate_series(1, 5) AS i");
    db.stream("printed", "SELECT id, to_jsonb(h) AS j, s::text AS s, m::text AS m FROM t");
    db.stream("rows", "SELECT id, h FROM t");
    db.cycle(&["INSERT INTO t (id) VALUES (6)"]);
    for change in ["ADD ATTRIBUTE z int", "RENAME ATTRIBUTE z TO zz"] {
        db.cycle_in_full(&[&format!("ALTER TYPE pair {change}")]);
        db.cycle(&["UPDATE t SET id = id + 10 WHERE id % 2 = 0; UPDATE t SET h = h || h WHERE id = 1"]);
    }
}

/// Indexes on such values are made anew.
fn grouped_and_joined_by_composite_values(db: &mut Database) {
    pairs(db);
    db.run("CREATE TABLE u (c pair, w int); INSERT INTO u VALUES ('(1,x)', 1), ('(1,)', 2), ('(1,x)', 3), (NULL, 4)");
    db.run("INSERT INTO t SELECT i, ROW(i % 7, 'v' || i % 5)::pair, i FROM generate_series(10, 200) AS i");
    db.stream("groups", "SELECT c, count(*) AS n, sum(v) AS s, max(v) AS m FROM t GROUP BY c");
    db.stream("distinct_ones", "SELECT DISTINCT c, to_jsonb(c) AS j FROM t");
    db.stream("joined", "SELECT t.id, u.w, u.c FROM t LEFT JOIN u ON u.c = t.c");
    db.stream(
        "outer_groups",
        "SELECT n, count(*) AS k FROM (SELECT c, count(*) AS n FROM t GROUP BY c) AS g GROUP BY n",
    );
    for change in ["ADD ATTRIBUTE z int", "RENAME ATTRIBUTE a TO aa", "ADD ATTRIBUTE y text", "DROP ATTRIBUTE z"] {
        db.cycle_in_full(&[&format!("ALTER TYPE pair {change}")]);
        db.cycle(&["UPDATE t SET v = v + 1; DELETE FROM t WHERE id % 11 = 0"]);
        db.cycle(&["UPDATE t SET c = (SELECT c FROM u WHERE w = 1) WHERE id % 4 = 0; UPDATE u SET c = (SELECT t.c FROM t WHERE id = 101) WHERE w = 3"]);
        db.cycle(&["DELETE FROM t WHERE id % 13 = 1; INSERT INTO u SELECT c, 9 FROM t WHERE id < 20"]);
    }
}

fn an_attribute_goes_with_its_type(db: &mut Database) {
    db.run("CREATE TYPE inner_one AS (x int); CREATE TYPE pair AS (a int, i inner_one); CREATE TABLE t (id int PRIMARY KEY, c pair)");
    db.run("INSERT INTO t VALUES (1, ROW(1, ROW(2))), (2, NULL)");
    db.stream("printed", "SELECT id, to_jsonb(c) AS j FROM t");
    db.cycle_in_full(&["ALTER TYPE inner_one ADD ATTRIBUTE y int"]);
    db.cycle_in_full(&["DROP TYPE inner_one CASCADE"]);
    db.cycle(&["INSERT INTO t SELECT id + 5, c FROM t"]);
}

fn a_typed_tables_rows_are_values(db: &mut Database) {
    db.run("CREATE TYPE shape AS (id int, a int); CREATE TABLE t OF shape; INSERT INTO t VALUES (1, 1), (2, NULL)");
    db.stream("printed", "SELECT id, row_to_json(t)::text AS j FROM t");
    for change in ["RENAME ATTRIBUTE a TO b CASCADE", "ADD ATTRIBUTE c int CASCADE"] {
        let failure = db.fails(&format!("ALTER TYPE shape {change}"));
        assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
    }
    db.cycle(&["UPDATE t SET a = 3"]);
}

fn moods(db: &mut Database) {
    db.run("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE TABLE t (id int PRIMARY KEY, m mood, s text)");
    db.run("INSERT INTO t SELECT i, (ARRAY['sad', 'ok', NULL, 'happy'])[i % 4 + 1]::mood, (ARRAY['happy', NULL, 'ok'])[i % 3 + 1] FROM generate_series(1, 20) AS i");
}

fn an_enum_is_printed(db: &mut Database) {
    moods(db);
    db.stream(
        "printed",
        "SELECT id, m, m::text AS t, concat(m, 'x') AS c, m || '!' AS d, to_jsonb(m) AS j, format('%s', m) AS f FROM t",
    );
    db.stream("counted", "SELECT m::text AS t, count(*) AS n, max(m) AS x FROM t GROUP BY m::text");
    db.stream("collected", "SELECT id % 3 AS k, string_agg(m::text, ',' ORDER BY id) AS l, jsonb_agg(m ORDER BY id) AS j FROM t GROUP BY id % 3");
    db.stream("compared", "SELECT id FROM t WHERE m::text = s OR m::text IN ('sad', 'blue')");
    db.stream("united", "SELECT m::text AS t FROM t UNION SELECT s FROM t");
    db.stream("whole", "SELECT to_jsonb(t) AS j FROM t");
    db.stream("above", "SELECT t, n FROM counted WHERE t > 'b'");
    for (old, new) in [("sad", "blue"), ("ok", "sad"), ("blue", "ok")] {
        db.cycle(&["UPDATE t SET m = 'happy' WHERE id % 5 = 0; DELETE FROM t WHERE id = 3"]);
        db.cycle_in_full(&[
            "UPDATE t SET s = 'sad' WHERE id % 3 = 0",
            &format!("ALTER TYPE mood RENAME VALUE '{old}' TO '{new}'"),
            "UPDATE t SET s = 'blue' WHERE id % 3 = 1",
        ]);
        db.cycle(&["UPDATE t SET m = NULL WHERE id % 7 = 0; INSERT INTO t SELECT max(id) + 1, 'happy', 'ok' FROM t"]);
    }
}

fn an_enum_is_read(db: &mut Database) {
    moods(db);
    db.stream("read", "SELECT id, s::mood AS m, (s || '')::mood > m AS more FROM t WHERE s IS NOT NULL");
    db.stream("several", "SELECT id, string_to_array(s, ',')::mood[] AS m FROM t");
    db.stream("of_json", "SELECT id, r.m FROM t, jsonb_to_record(jsonb_build_object('m', s)) AS r (m mood)");
    db.stream("joined", "SELECT a.id, b.id AS other FROM t AS a JOIN t AS b ON a.s::mood = b.m");
    db.cycle(&["UPDATE t SET s = 'sad' WHERE id % 5 = 0"]);
    db.run("ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'");
    let failure = db.fails(&refresh("read"));
    assert_eq!(failure.sqlstate, "22P02", "{failure:?}");
    db.cycle_in_full(&["UPDATE t SET s = 'fine' WHERE s = 'ok'"]);
    db.cycle(&["UPDATE t SET s = 'happy' WHERE id % 4 = 0"]);
    db.cycle_in_full(&["UPDATE t SET s = NULL; ALTER TYPE mood RENAME VALUE 'sad' TO 'ok'"]);
    db.cycle(&["UPDATE t SET s = 'ok' WHERE id % 3 = 0"]);
}

fn an_enum_inside_other_values(db: &mut Database) {
    moods(db);
    db.run("CREATE DOMAIN temper AS mood; CREATE TYPE holder AS (t temper[], n int)");
    db.run("CREATE TABLE u (id int PRIMARY KEY, h holder, d temper); INSERT INTO u SELECT id, ROW(ARRAY[m], id)::holder, m FROM t");
    db.stream(
        "printed",
        "SELECT id, h::text AS h, to_jsonb(h) AS j, d::text AS d, array_to_string((h).t, ',') AS a FROM u",
    );
    db.stream("anonymous", "SELECT id, row_to_json(x)::text AS j FROM (SELECT id, d FROM u) AS x");
    db.cycle(&["DELETE FROM u WHERE id % 5 = 0"]);
    db.cycle_in_full(&["ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'"]);
    db.cycle(&["UPDATE u SET d = 'blue' WHERE id % 2 = 0"]);
}

fn configurations_of_text_search_are_altered(db: &mut Database) {
    db.run("CREATE TEXT SEARCH CONFIGURATION cfg (COPY = simple); CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = simple, STOPWORDS = english)");
    db.run("CREATE TABLE t (id int PRIMARY KEY, s text, c regconfig, u tsvector GENERATED ALWAYS AS (to_tsvector('public.cfg', s)) VIRTUAL)");
    db.run("INSERT INTO t (id, s, c) SELECT i, 'the cats ' || i % 4, CASE WHEN i % 2 = 0 THEN 'public.cfg'::regconfig ELSE 'simple' END FROM generate_series(1, 10) AS i");
    db.stream("named", "SELECT id, to_tsvector('public.cfg', s) AS v FROM t");
    db.stream("found", "SELECT id FROM t WHERE to_tsvector('public.cfg', s) @@ to_tsquery('public.cfg', 'cat')");
    db.stream("held", "SELECT id, to_tsvector(c, s) AS v FROM t");
    db.stream("lexed", "SELECT id, ts_lexize('public.words', s) AS v FROM t");
    db.stream("computed", "SELECT id, u FROM t");
    db.run("SET default_text_search_config = 'public.cfg'");
    db.stream("usual", "SELECT id, to_tsvector(s) AS v FROM t");
    db.stream("other", "SELECT id, s FROM t");
    let mut other = db.connect();
    let names = ["named", "found", "held", "lexed", "computed", "usual"];
    for change in [
        "CONFIGURATION cfg ALTER MAPPING FOR asciiword WITH english_stem",
        "CONFIGURATION cfg ALTER MAPPING FOR asciiword WITH words",
        "DICTIONARY words (STOPWORDS, ACCEPT = false)",
        "CONFIGURATION cfg DROP MAPPING FOR uint",
        "CONFIGURATION cfg ADD MAPPING FOR uint WITH english_stem",
    ] {
        for name in names {
            other.run(&refresh(name));
        }
        db.run(&format!("ALTER TEXT SEARCH {change}"));
        assert!(!db.holds("SELECT needs_reinit FROM pgtrickle.pgt_stream_tables WHERE pgt_name = 'other'"));
        db.cycle_in_full(&[]);
        other.run("INSERT INTO t SELECT max(id) + 1, 'the dog', 'public.cfg' FROM t");
        for name in names {
            other.run(&refresh(name));
        }
        db.cycle(&["UPDATE t SET s = s || ' and mice' WHERE id % 3 = 0"]);
    }
    for (change, name) in [("RENAME TO conf", "public.conf"), ("SET SCHEMA pgtrickle_test", "pgtrickle_test.conf")] {
        db.run("CREATE SCHEMA IF NOT EXISTS pgtrickle_test");
        let known = if name == "public.conf" { "cfg" } else { "conf" };
        db.run(&format!("ALTER TEXT SEARCH CONFIGURATION {known} {change}"));
        for stream in ["named", "found", "usual"] {
            db.untrack(stream);
        }
        db.track("named", &format!("SELECT id, to_tsvector('{name}', s) AS v FROM t"));
        db.cycle_in_full(&["UPDATE t SET s = s || ' too' WHERE id % 3 = 0"]);
    }
}

fn new_labels_are_no_news(db: &mut Database) {
    moods(db);
    db.stream("printed", "SELECT id, m::text AS t, s::mood AS s FROM t WHERE m > 'sad'");
    db.stream("greatest", "SELECT id % 3 AS k, max(m) AS m FROM t GROUP BY id % 3");
    db.run("ALTER TYPE mood ADD VALUE 'bored' BEFORE 'sad'");
    db.run("ALTER TYPE mood ADD VALUE IF NOT EXISTS 'meh' AFTER 'sad'");
    db.run("ALTER TYPE mood ADD VALUE 'wild'");
    db.cycle(&["UPDATE t SET m = 'meh' WHERE id % 3 = 0; UPDATE t SET m = 'bored', s = 'wild' WHERE id % 4 = 0; INSERT INTO t VALUES (100, 'wild', 'bored')"]);
    db.cycle(&["DELETE FROM t WHERE m = 'wild'"]);
}

/// Whoever has planned the statements before notices.
fn another_session_renames_a_label(db: &mut Database) {
    moods(db);
    db.stream("printed", "SELECT id, m::text || 'x' AS t, 'ok'::mood::text AS c FROM t");
    let mut other = db.connect();
    for number in 30..33 {
        other.run(&format!("INSERT INTO t VALUES ({number}, 'ok', NULL)"));
        other.run(&refresh("printed"));
    }
    db.check();
    let mut renaming = db.connect();
    renaming.run("BEGIN; ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'");
    // The stream table waits for what comes of it.
    other.run("INSERT INTO t VALUES (40, 'ok', NULL)");
    other.run(&refresh("printed"));
    renaming.run("COMMIT");
    other.run(&refresh("printed"));
    db.check();
    db.accept_full();
    other.run("INSERT INTO t VALUES (41, 'blue', NULL), (42, 'happy', NULL)");
    other.run(&refresh("printed"));
    db.check();
    renaming.run("BEGIN; ALTER TYPE mood RENAME VALUE 'blue' TO 'sad'; ROLLBACK");
    db.cycle(&["UPDATE t SET m = 'blue'"]);
}

fn a_creation_under_way_is_not_overlooked(db: &mut Database) {
    moods(db);
    let query = "SELECT id, m::text AS t FROM t";
    let mut creator = db.connect();
    creator.run("BEGIN");
    creator.run(&create("printed", query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'"));
    let change = db.connect().start("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'");
    change.wait_blocked(db);
    creator.run("COMMIT");
    change.finish();
    db.track("printed", query);
    db.cycle_in_full(&[]);
    db.cycle(&["UPDATE t SET m = 'blue' WHERE id % 4 = 0"]);
}

fn a_type_whose_values_are_read_stays(db: &mut Database) {
    moods(db);
    db.stream("printed", "SELECT id, m::text AS t FROM t");
    let failure = db.fails("DROP TYPE mood");
    assert_eq!(failure.sqlstate, "2BP01", "{failure:?}");
    db.cycle(&["UPDATE t SET m = 'sad'"]);
    db.run("DROP TYPE mood CASCADE");
    db.untrack("printed");
    assert_eq!(db.number("SELECT count(*) FROM pgtrickle.pgt_stream_tables"), 0);
    assert_eq!(db.number("SELECT count(*) FROM pgtrickle.pgt_change_tracking"), 0);
}

fn a_snapshot_holds_composite_values(db: &mut Database) {
    pairs(db);
    db.run("CREATE MATERIALIZED VIEW seen AS SELECT id, c FROM t");
    db.stream("printed", "SELECT id, c, to_jsonb(c) AS j FROM seen");
    db.cycle(&["UPDATE t SET c = '(7,q)' WHERE id = 3", "REFRESH MATERIALIZED VIEW seen"]);
    db.cycle_in_full(&["ALTER TYPE pair ADD ATTRIBUTE z int"]);
    db.cycle(&[
        "UPDATE t SET c = '(7,q,1)' WHERE id < 3; DELETE FROM t WHERE id = 5",
        "REFRESH MATERIALIZED VIEW seen",
    ]);
    db.cycle_in_full(&["ALTER TYPE pair DROP ATTRIBUTE a"]);
    db.cycle(&["UPDATE t SET c = NULL WHERE id = 1; DELETE FROM t WHERE id = 2", "REFRESH MATERIALIZED VIEW seen"]);
}

/// Text that was no label is NULL by ON ERROR until the label is added.
fn what_reads_a_new_label_later_is_recomputed(db: &mut Database) {
    moods(db);
    let query = "SELECT id, JSON_VALUE(jsonb_build_object('m', s), '$.m' RETURNING mood) AS m FROM t";
    let failure = db.fails(&create("read", query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'"));
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
    db.run(&create("read", query, "schedule => '1h'"));
    db.track("read", query);
    db.cycle_in_full(&["UPDATE t SET s = 'wild' WHERE id = 1"]);
    db.cycle_in_full(&["ALTER TYPE mood ADD VALUE 'wild'"]);
}
