//! Settings that differ between the session that writes, the one that creates and the one that refreshes.

use pgtrickle_tests::{Database, tests};

tests![
    time_zones_and_date_styles,
    a_query_that_depends_on_the_time_zone,
    the_creators_settings,
    functions_that_go_by_settings,
    text_that_is_read_as_values,
    text_that_names_the_clock,
    text_search_by_the_creators_configuration,
    functions_that_go_by_more,
    search_paths,
    messages_in_another_language,
    float_digits,
    replica_role_is_captured,
    row_security_off,
    read_only_and_timeouts,
    the_callers_settings_come_back,
];

fn time_zones_and_date_styles(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, tz timestamptz, d date, i interval); INSERT INTO t VALUES (1, '2024-01-01 00:00+00', '2024-02-03', '1 day')");
    db.stream(
        "rows",
        "SELECT id, tz, d, i FROM t WHERE tz < timestamptz '2030-01-01 00:00+00' AND d > date '2024-02-01'",
    );
    db.stream("bag", "SELECT tz, d, i FROM t");
    let mut writer = db.connect();
    writer.run("SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'iso_8601'");
    writer.run(
        "INSERT INTO t VALUES (2, '01/02/2024 00:00', '03/02/2024', 'P2D'); UPDATE t SET tz = tz + interval '1 hour'",
    );
    let mut refresher = db.connect();
    refresher.run("SET TimeZone = 'America/New_York'; SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard'");
    refresher.run("SELECT pgtrickle.refresh_stream_table('rows'); SELECT pgtrickle.refresh_stream_table('bag')");
    db.check();
    assert_eq!(refresher.text("SHOW DateStyle"), "German, DMY");
    writer.run("DELETE FROM t WHERE id = 1");
    refresher.run("SELECT pgtrickle.refresh_stream_table('rows'); SELECT pgtrickle.refresh_stream_table('bag')");
    db.check();
}

fn a_query_that_depends_on_the_time_zone(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, tz timestamptz); INSERT INTO t VALUES (1, '2024-01-01 23:30+00'), (2, '2024-01-01 01:30+00')");
    // Contents must not depend on who refreshes: refused with a reason, or computed under one pinned zone.
    let query = "SELECT id, tz::date AS day FROM t";
    let call = format!(
        "SELECT pgtrickle.create_stream_table('days', '{query}', schedule => '1h', refresh_mode => 'DIFFERENTIAL')"
    );
    match db.attempt(&call) {
        Err(failure) => assert_eq!(failure.sqlstate, "0A000", "{failure:?}"),
        Ok(()) => {
            db.run("INSERT INTO t SELECT id + 10, tz FROM t");
            let mut refresher = db.connect();
            refresher.run("SET TimeZone = 'Asia/Tokyo'; SELECT pgtrickle.refresh_stream_table('days')");
            assert_eq!(
                db.number("SELECT count(*) FROM days AS a JOIN days AS b ON b.id = a.id + 10 AND a.day = b.day"),
                2
            );
        }
    }
}

/// What the query yields in the session that created the stream table, it yields whoever refreshes it.
fn the_creators_settings(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, tz timestamptz, d date, i interval, b bytea, f float8, s text)");
    db.run("INSERT INTO t VALUES (1, '2024-03-30 14:30+00', '2024-02-03', '-1 day 02:03', '\\x01ff', 0.1, '03.04.2024 05:06'), (2, '2024-03-30 15:30+00', NULL, '1 year -3 days', NULL, 1e20, NULL)");
    db.run("SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard'; SET bytea_output = 'escape'; SET extra_float_digits = -5");
    let shown = "SELECT id, tz::text AS a, d::text AS b, i::text AS c, b::text AS d, f::text AS e, s::timestamptz AS g, jsonb_build_array(tz, d, i, f) AS j FROM t";
    db.stream("shown", shown);
    db.stream("per_day", "SELECT date_trunc('day', tz) AS day, tz::date AS d, count(*) AS n FROM t GROUP BY 1, 2");
    db.stream("constants", "SELECT id, i - '-1 day 02:03'::interval AS a, tz > '30.03.2024 23:00' AS b, d - '01.02.2024'::date AS c FROM t WHERE i <> '-1 year 3 days -04:05'");
    db.stream("since", "SELECT id FROM t WHERE tz::date <= current_date AND d < now() - interval '1 day'");
    let settings = db.text("SELECT value FROM pgtrickle.explain_st('shown') WHERE property = 'pinned_settings'");
    assert!(
        settings.contains("TimeZone = 'Asia/Tokyo'") && settings.contains("DateStyle = 'German, DMY'"),
        "{settings}"
    );
    let tables = ["shown", "per_day", "constants", "since"];
    let mut others = [
        "SET TimeZone = 'UTC'; SET IntervalStyle = 'postgres'",
        "SET TimeZone = 'America/New_York'; SET DateStyle = 'SQL, MDY'",
    ]
    .map(|settings| {
        let mut session = db.connect();
        session.run(settings);
        session
    });
    for (turn, other) in others.iter_mut().enumerate() {
        other.run(&format!("INSERT INTO t SELECT id + {turn} * 10 + 2, tz + interval '3 hours', d, i, b, f, s FROM t; UPDATE t SET i = -i WHERE id = 1"));
        for table in tables {
            other.run(&format!("SELECT pgtrickle.refresh_stream_table('{table}')"));
            assert_eq!(
                other.lines(&format!("SELECT rows_missing + rows_extra FROM pgtrickle.verify('{table}')")),
                ["0"]
            );
        }
        db.check();
    }
    // A program that is compiled anew, by whoever it is, is read as the first one was.
    db.run("ALTER TABLE t RENAME COLUMN tz TO at; CREATE SCHEMA aside; CREATE FUNCTION aside.date_trunc(text, timestamptz) RETURNS timestamptz IMMUTABLE LANGUAGE sql AS 'SELECT $2'");
    let mut last = db.connect();
    last.run("SET search_path = aside, pg_catalog, public; SET lc_monetary = 'C'; INSERT INTO t SELECT id + 100, at + interval '3 hours', d, i, b, f, s FROM t");
    last.run("SELECT pgtrickle.refresh_stream_table('public.per_day')");
    let days = "SELECT date_trunc('day', at), at::date, count(*) FROM t GROUP BY 1, 2";
    assert_eq!(db.number(&format!("SELECT count(*) FROM ({days} EXCEPT ALL TABLE per_day) AS missing")), 0);
}

fn functions_that_go_by_settings(db: &mut Database) {
    db.run("SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'");
    db.run("CREATE TABLE t (id int PRIMARY KEY, tz timestamptz, d date, i interval, n numeric, a int[])");
    db.run("INSERT INTO t SELECT i, timestamptz '2024-03-30 22:00+00' + i * interval '7 hours', date '2024-01-30' + i, i * interval '1 day 2 hours', i / 7.0, ARRAY[i, NULL] FROM generate_series(1, 9) AS i");
    db.run("INSERT INTO t VALUES (20, NULL, NULL, NULL, NULL, NULL)");
    db.stream("shown", "SELECT id, tz::text AS a, d::text AS b, i::text AS c, to_char(tz, 'YYYY-MM-DD HH24:MI') AS d, to_char(n, 'FM990D000') AS e, d || 'x' AS f, concat(d, tz, n) AS g, format('%s at %s', id, tz) AS h FROM t");
    db.stream("computed", "SELECT id, tz::date AS a, date_trunc('day', tz) AS b, extract(hour FROM tz) AS c, tz + interval '1 month' AS d, d::timestamptz AS e, tz::time AS f, to_date(to_char(d, 'YYYYMMDD'), 'YYYYMMDD') AS g FROM t");
    db.stream("compared", "SELECT id FROM t WHERE tz > d AND tz < timestamp '2024-04-01' AND d < tz");
    db.stream("per_day", "SELECT date_trunc('day', tz) AS day, count(*) AS n FROM t GROUP BY 1");
    db.stream("as_json", "SELECT id, to_jsonb(tz) AS a, jsonb_build_object('d', d, 'a', a) AS b, array_to_string(a, ',', '-') AS c FROM t");
    db.stream("collected", "SELECT id % 3 AS k, jsonb_agg(d ORDER BY id) AS days, json_object_agg(id, tz ORDER BY id)::text AS at FROM t GROUP BY id % 3");
    db.stream("series", "SELECT id, g FROM t, generate_series(tz, tz + i, interval '1 day') AS g");
    let mut writer = db.connect();
    writer.run("SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY'; SET lc_numeric = 'C'");
    writer.run("UPDATE t SET tz = tz + interval '5 hours', n = n * 3 WHERE id % 2 = 0; INSERT INTO t VALUES (10, '01/04/2024 03:00', '02/03/2024', '1 day', 1.5, '{}')");
    let mut refresher = db.connect();
    refresher.run("SET TimeZone = 'America/New_York'; SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard'");
    for table in ["shown", "computed", "compared", "per_day", "as_json", "collected", "series"] {
        refresher.run(&format!("SELECT pgtrickle.refresh_stream_table('{table}')"));
    }
    db.check();
    db.cycle(&[
        "UPDATE t SET d = NULL, tz = NULL WHERE id = 1; DELETE FROM t WHERE id = 4",
        "UPDATE t SET i = -i, a = a || id",
    ]);
}

fn text_that_is_read_as_values(db: &mut Database) {
    db.run("SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'");
    db.run("CREATE TYPE pair AS (a int, b interval); CREATE DOMAIN small AS int CHECK (VALUE < 1000)");
    db.run("CREATE TABLE t (id int PRIMARY KEY, doc jsonb, s text, c char(12), e text COLLATE \"C\")");
    db.run("INSERT INTO t VALUES (1, '{\"a\": 1, \"b\": \"2 days\", \"n\": [1, 2], \"at\": \"2024-03-30 23:00+02\"}', '2024-01-02', '2024-02-03', '[2024-01-01,2024-02-01)'), (2, '{\"a\": null}', NULL, NULL, 'empty'), (3, NULL, '2024-05-06 07:08 EST', '10-11-12', NULL)");
    db.stream("casts", "SELECT id, s::timestamptz AS a, c::date AS b, s::timestamp(0) AS d, e::daterange AS r FROM t");
    db.stream("of_json", "SELECT id, (doc->>'at')::timestamptz AS at, (doc->>'b')::interval AS i FROM t WHERE (doc->>'at')::date > '2020-01-01'");
    db.stream("records", "SELECT id, r.* FROM t, jsonb_to_record(doc) AS r(a small, b interval, n int[])");
    db.stream("populated", "SELECT id, jsonb_populate_record(NULL::pair, doc) AS p FROM t");
    db.stream("sets", "SELECT id, r.x, r.a FROM t, jsonb_to_recordset(doc->'n') AS r(x int, a text) WHERE false");
    db.stream("days", "SELECT s::date AS day, count(*) AS n FROM t GROUP BY 1");
    db.stream("facts", "SELECT id, pg_typeof(doc) = 'jsonb'::regtype AS j, pg_input_is_valid(s, 'integer') AS p, convert_to(s, 'UTF8') AS b FROM t");
    db.stream("constant", "SELECT id, r.d FROM t, json_to_record('{\"d\": \"2024-01-01\"}') AS r(d date)");
    let mut refresher = db.connect();
    refresher.run("SET DateStyle = 'German'; SET timezone_abbreviations = 'Australia'; SET TimeZone = 'Asia/Tokyo'");
    db.run("INSERT INTO t SELECT id + 10, doc, s, c, e FROM t; UPDATE t SET s = '2023-12-31 EST' WHERE id = 1");
    for table in ["casts", "of_json", "records", "populated", "sets", "days", "facts", "constant"] {
        refresher.run(&format!("SELECT pgtrickle.refresh_stream_table('{table}')"));
    }
    db.check();
    db.cycle(&[
        "UPDATE t SET doc = jsonb_set(doc, '{at}', '\"2022-02-02\"'), c = '2021-01-01' WHERE id < 3",
        "DELETE FROM t WHERE id = 11",
    ]);
    db.cycle(&[
        "UPDATE t SET doc = NULL WHERE id = 1; UPDATE t SET s = '2024-01-02'; UPDATE t SET e = 'empty' WHERE e IS NULL",
    ]);
}

/// What a moment is called tomorrow is another one: such text is refused where it would go into the contents.
fn text_that_names_the_clock(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, s text); INSERT INTO t VALUES (1, '2024-01-02')");
    db.stream("days", "SELECT id, s::date AS d FROM t WHERE s <> 'never'");
    db.cycle(&[
        "INSERT INTO t VALUES (2, 'infinity'), (3, 'epoch'), (4, NULL), (5, '2024-02-03 nowhere')",
        "DELETE FROM t WHERE id = 5",
    ]);
    for word in ["today", " Tomorrow", "YESTERDAY 10:00", "now"] {
        db.run(&format!("INSERT INTO t VALUES (9, '{word}')"));
        let failure = db.fails("SELECT pgtrickle.refresh_stream_table('days')");
        assert_eq!(failure.sqlstate, "0A000", "{word}: {failure:?}");
        assert!(!failure.hint.is_empty(), "{word}: {failure:?}");
        let failure = db.fails(
            "SELECT pgtrickle.create_stream_table('other', 'SELECT s::timestamp AS d FROM t', schedule => '1h')",
        );
        assert_eq!(failure.sqlstate, "0A000", "{word}: {failure:?}");
        db.run("DELETE FROM t WHERE id = 9");
    }
    db.cycle(&["INSERT INTO t VALUES (9, '2024-02-03')"]);
}

fn text_search_by_the_creators_configuration(db: &mut Database) {
    db.run("SET default_text_search_config = 'pg_catalog.english'");
    db.run("CREATE TABLE t (id int PRIMARY KEY, s text, j jsonb); INSERT INTO t VALUES (1, 'The running foxes', '{\"a\": \"two dogs\"}')");
    db.stream("vectors", "SELECT id, to_tsvector(s) AS v, to_tsvector(j) AS w FROM t");
    db.stream(
        "found",
        "SELECT id, ts_headline(s, to_tsquery('fox')) AS h FROM t WHERE to_tsvector(s) @@ plainto_tsquery('runs')",
    );
    let mut refresher = db.connect();
    refresher.run("SET default_text_search_config = 'pg_catalog.german'");
    db.run("INSERT INTO t VALUES (2, 'A fox that runs', NULL), (3, NULL, '[\"houses\"]')");
    refresher.run("SELECT pgtrickle.refresh_stream_table('vectors'); SELECT pgtrickle.refresh_stream_table('found')");
    db.check();
    db.cycle(&["UPDATE t SET s = 'foxes, running' WHERE id = 3; DELETE FROM t WHERE id = 1"]);
}

fn functions_that_go_by_more(db: &mut Database) {
    db.run(
        "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TYPE pair AS (m mood, n int); CREATE TABLE t (id int PRIMARY KEY, m mood, s text, tz timestamptz)",
    );
    for query in [
        "SELECT id, concat(m, 't'::regclass) AS m FROM t",
        "SELECT id, tableoid::regclass::text AS r FROM (SELECT id, 't'::regclass::oid AS tableoid FROM t) AS x",
        "SELECT id, s::regclass::oid::int AS r FROM t",
        "SELECT id, s::mood AS m, 'x'::text::regtype AS r FROM t",
        "SELECT id, s::timetz AS z FROM t",
        "SELECT id, string_to_array(s, ',')::date[] AS d FROM t",
        "SELECT id, r.m FROM t, jsonb_to_record(s::jsonb) AS r(m regclass)",
        "SELECT id, jsonb_populate_record_valid(NULL::pair, s::jsonb) AS v FROM t",
        "SELECT id, JSON_VALUE(s, '$.m' RETURNING mood) AS m FROM t",
        "SELECT id, enum_range(m)::text AS r FROM t",
        "SELECT id, r.d FROM t, jsonb_to_record(s::jsonb) AS r(d date)",
        "SELECT id, pg_input_is_valid(s, 'date') AS p FROM t",
        "SELECT id, pg_input_is_valid(s, 'mood') AS p FROM t",
        "SELECT id, age(tz) AS a FROM t",
        "SELECT id, s @@ 'x' AS v FROM t",
        "SELECT id, convert_to(s, 'LATIN1') AS b FROM t",
        "SELECT id, JSON_OBJECT('m': 't'::regclass)::text AS j FROM t",
        "SELECT id, has_table_privilege('t', 'SELECT') AS p FROM t",
        "SELECT id, current_setting('TimeZone') AS z FROM t",
        "SELECT id, CURRENT_USER AS u FROM t",
    ] {
        let call = format!(
            "SELECT pgtrickle.create_stream_table('st', $q${query}$q$, schedule => '1h', refresh_mode => 'DIFFERENTIAL')"
        );
        let failure = db.fails(&call);
        assert_eq!(failure.sqlstate, "0A000", "{query}: {failure:?}");
    }
}

fn search_paths(db: &mut Database) {
    db.run("CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, v int); CREATE TABLE public.t (id int, v int); INSERT INTO app.t VALUES (1, 1)");
    db.run("SET search_path = app");
    db.stream_with("st", "SELECT id, v FROM t", "schedule => '1h', refresh_mode => 'DIFFERENTIAL'");
    db.run("RESET search_path");
    db.track("app.st", "SELECT id, v FROM app.t");
    let mut writer = db.connect();
    writer.run("SET search_path = ''; INSERT INTO app.t VALUES (2, 2)");
    let mut refresher = db.connect();
    refresher.run("SET search_path = public; SELECT pgtrickle.refresh_stream_table('app.st')");
    db.check();
    assert_eq!(refresher.text("SHOW search_path"), "public");
}

fn messages_in_another_language(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)");
    db.run("SET lc_messages = 'C'; SET lc_monetary = 'C'; SET lc_numeric = 'C'; SET lc_time = 'C'");
    db.stream("st", "SELECT id, v, v::text || 'x' AS shown FROM t");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    assert_eq!(db.fails("SELECT pgtrickle.refresh_stream_table('nowhere')").sqlstate, "42P01");
}

fn float_digits(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, f float8); INSERT INTO t VALUES (1, 0.1), (2, 1e-7)");
    db.run("SET extra_float_digits = -10; SET bytea_output = 'escape'");
    let query =
        "SELECT id, f + 0.30000000000000004 AS f, f::text AS s, (-0.1234567890123456789::float8 * f) AS g FROM t";
    db.stream("st", query);
    db.run("UPDATE t SET f = f / 3");
    db.connect().run("SELECT pgtrickle.refresh_stream_table('st')");
    db.check();
    db.run("SELECT pgtrickle.drop_stream_table('st'); RESET extra_float_digits");
    db.untrack("st");
    db.stream("st", query);
    db.run("SET extra_float_digits = -10; UPDATE t SET f = f / 7");
    db.refresh("st");
    db.run("RESET extra_float_digits");
    db.check();
}

fn replica_role_is_captured(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)");
    db.stream("st", "SELECT id, v FROM t");
    db.stream("sums", "SELECT count(*) AS n, sum(v) AS s FROM t");
    let mut replica = db.connect();
    replica.run("SET session_replication_role = replica");
    replica.run("INSERT INTO t VALUES (3, 3); UPDATE t SET v = v + 1; DELETE FROM t WHERE id = 1");
    db.cycle(&[]);
    replica.run("BEGIN; INSERT INTO t VALUES (4, 4); SET LOCAL session_replication_role = origin; UPDATE t SET v = 9 WHERE id = 4; COMMIT");
    db.cycle(&["UPDATE t SET v = v * 2"]);
    replica.run("TRUNCATE t");
    db.cycle_in_full(&[]);
    replica.run("SET session_replication_role = local; INSERT INTO t VALUES (5, 5)");
    db.cycle(&[]);
}

fn row_security_off(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1); ALTER TABLE t ENABLE ROW LEVEL SECURITY");
    db.stream("st", "SELECT id, v FROM t");
    db.run("SET row_security = off");
    db.cycle(&["INSERT INTO t VALUES (2, 2)"]);
    db.run("SET row_security = on");
    db.cycle(&["UPDATE t SET v = 3"]);
}

fn read_only_and_timeouts(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)");
    db.stream("st", "SELECT id, v FROM t");
    db.run("UPDATE t SET v = 2");
    let mut reader = db.connect();
    reader.run("BEGIN READ ONLY");
    assert_eq!(reader.fails("SELECT pgtrickle.refresh_stream_table('st')").sqlstate, "25006");
    reader.run("ROLLBACK");
    db.run("SET default_transaction_isolation = 'serializable'; SET statement_timeout = '30s'");
    db.cycle(&["UPDATE t SET v = 3"]);
}

fn the_callers_settings_come_back(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)");
    db.run("SET search_path = public, pg_temp; SET TimeZone = 'Asia/Tokyo'; SET enable_seqscan = off; SET work_mem = '7MB'");
    let settings = "SELECT string_agg(name || '=' || setting, ',' ORDER BY name) FROM pg_settings WHERE name NOT LIKE 'transaction%'";
    let before = db.text(settings);
    db.stream("st", "SELECT id, 10 / v AS v FROM t");
    assert_eq!(db.text(settings), before);
    db.cycle(&["UPDATE t SET v = 2"]);
    assert_eq!(db.text(settings), before);
    db.run("UPDATE t SET v = 0");
    db.fails("SELECT pgtrickle.refresh_stream_table('st')");
    assert_eq!(db.text(settings), before);
    db.run("BEGIN; SAVEPOINT s");
    db.fails("SELECT pgtrickle.refresh_stream_table('st')");
    db.run("ROLLBACK TO s");
    assert_eq!(db.text(settings), before);
    assert_eq!(db.text("SELECT current_user"), "postgres");
    db.run("ROLLBACK");
}
