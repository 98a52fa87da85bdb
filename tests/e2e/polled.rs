//! Sources that nothing captures, compared with what they were: materialized views and foreign tables.

use pgtrickle_tests::{Database, create, refresh, tests};

tests![
    a_materialized_view,
    a_materialized_view_refreshed_concurrently,
    a_refresh_that_is_open_or_rolled_back,
    an_unchanged_materialized_view_is_not_read,
    a_materialized_view_without_data,
    a_recomputed_query_follows_a_materialized_view,
    a_foreign_table,
    a_file,
    values_of_every_kind,
    rows_without_columns,
    whole_rows_are_recomputed,
    one_refresh_sees_one_content,
    every_mode_and_chains,
    names_and_definitions_change,
    rights_are_the_owners,
    snapshots_come_and_go,
];

const QUERIES: [(&str, &str); 9] = [
    ("rows", "SELECT k, v, s FROM src WHERE v IS DISTINCT FROM 3"),
    ("sums", "SELECT k, count(*) AS n, sum(v) AS s, min(s) AS low FROM src GROUP BY k"),
    ("joined", "SELECT src.k, src.v, d.name FROM src JOIN d ON d.k = src.k"),
    ("outer_joined", "SELECT src.v, d.name FROM d LEFT JOIN src ON d.k = src.k"),
    ("itself", "SELECT a.v, b.s FROM src AS a JOIN src AS b ON a.k = b.v"),
    ("wanting", "SELECT name FROM d WHERE NOT EXISTS (SELECT FROM src WHERE src.k = d.k AND src.v > 2)"),
    ("different", "SELECT DISTINCT k, s FROM src"),
    ("ranked", "SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v, s) AS place FROM src"),
    ("first", "SELECT k, v, s FROM src ORDER BY v DESC NULLS LAST, k, s LIMIT 4"),
];

/// Rows of `base`, with duplicates and NULLs, and a captured table to join them with.
fn base(db: &mut Database) {
    db.run("CREATE TABLE base (k int, v int, s text); CREATE TABLE d (k int, name text)");
    db.run(
        "INSERT INTO base SELECT nullif(i % 5, 4), i % 7, nullif('s' || i % 3, 's2') FROM generate_series(1, 24) AS i",
    );
    db.run("INSERT INTO base SELECT * FROM base LIMIT 6; INSERT INTO d VALUES (0, 'zero'), (1, 'one'), (1, 'uno'), (NULL, 'none')");
}

const CHANGES: [&str; 6] = [
    "INSERT INTO base VALUES (1, 2, 'new'), (1, 2, 'new'), (NULL, NULL, NULL); UPDATE d SET name = name || '!' WHERE k = 1",
    "UPDATE base SET v = v + 1 WHERE k = 2; DELETE FROM base WHERE k IS NULL; INSERT INTO d VALUES (2, 'two')",
    "DELETE FROM base WHERE ctid = (SELECT min(ctid) FROM base WHERE k = 1); DELETE FROM d WHERE k IS NULL",
    "UPDATE base SET k = k + 1, s = NULL WHERE v > 3; UPDATE d SET k = k + 1",
    "TRUNCATE base",
    "INSERT INTO base SELECT i % 3, i, 'x' FROM generate_series(1, 9) AS i; INSERT INTO d VALUES (NULL, NULL)",
];

fn streams(db: &mut Database) {
    for (name, query) in QUERIES {
        db.stream(name, query);
    }
}

fn a_materialized_view(db: &mut Database) {
    base(db);
    db.run("CREATE MATERIALIZED VIEW src AS SELECT k, v, s FROM base");
    streams(db);
    for change in CHANGES {
        db.cycle(&[change, "REFRESH MATERIALIZED VIEW src"]);
    }
    assert_eq!(
        db.text("SELECT DISTINCT cdc_mode FROM pgtrickle.pgt_dependencies WHERE source_type = 'MATVIEW'"),
        "SNAPSHOT"
    );
    assert!(db.holds("SELECT bool_and(effective_refresh_mode = 'DIFFERENTIAL') FROM pgtrickle.pgt_stream_tables"));
    // Between two refreshes of the view only the table changes.
    db.cycle(&["INSERT INTO base VALUES (7, 7, 'later'); INSERT INTO d VALUES (1, 'again')"]);
    db.cycle(&["REFRESH MATERIALIZED VIEW src", "REFRESH MATERIALIZED VIEW src"]);
}

fn a_materialized_view_refreshed_concurrently(db: &mut Database) {
    db.run("CREATE TABLE base (k int, v int, s text); CREATE TABLE d (k int, name text)");
    db.run("INSERT INTO base SELECT i, i % 4, 'x' FROM generate_series(1, 9) AS i; INSERT INTO d VALUES (1, 'one'), (4, 'four')");
    db.run("CREATE MATERIALIZED VIEW src AS SELECT k, v, s FROM base; CREATE UNIQUE INDEX ON src (k)");
    streams(db);
    for change in [
        "UPDATE base SET v = v + 1",
        "DELETE FROM base WHERE k < 4; INSERT INTO d VALUES (5, NULL)",
        "INSERT INTO base VALUES (50, NULL, NULL)",
    ] {
        db.cycle(&[change, "REFRESH MATERIALIZED VIEW CONCURRENTLY src"]);
    }
    db.cycle(&["DO $$BEGIN UPDATE base SET s = 'y'; REFRESH MATERIALIZED VIEW src; END$$"]);
}

fn a_refresh_that_is_open_or_rolled_back(db: &mut Database) {
    base(db);
    db.run("CREATE MATERIALIZED VIEW src AS SELECT k, v, s FROM base");
    streams(db);
    let mut other = db.connect();
    other.run("BEGIN; UPDATE base SET v = 6; REFRESH MATERIALIZED VIEW src");
    db.run("INSERT INTO d VALUES (0, 'meanwhile')");
    // Nobody reads the view before the other transaction ends, and nobody has to.
    db.refresh("sums");
    db.refresh("joined");
    other.run("COMMIT");
    db.cycle(&[]);
    other.run("BEGIN; UPDATE base SET v = 1; REFRESH MATERIALIZED VIEW src; ROLLBACK");
    db.cycle(&["UPDATE d SET name = 'after'"]);
    // Inside the transaction that refreshes the view, too.
    db.run("BEGIN; UPDATE base SET v = v + 2 WHERE k = 1; REFRESH MATERIALIZED VIEW src");
    db.check_after_refresh();
    db.run("UPDATE base SET k = 1 WHERE k = 2; REFRESH MATERIALIZED VIEW src");
    db.check_after_refresh();
    db.run("COMMIT");
    db.cycle(&["DELETE FROM base WHERE k = 1", "REFRESH MATERIALIZED VIEW src"]);
}

fn an_unchanged_materialized_view_is_not_read(db: &mut Database) {
    base(db);
    db.run("CREATE MATERIALIZED VIEW src AS SELECT k, v, s FROM base");
    streams(db);
    let mut other = db.connect();
    other.run("BEGIN; ALTER MATERIALIZED VIEW src RENAME TO hidden");
    db.run("SET lock_timeout = '1s'; INSERT INTO d VALUES (1, 'more')");
    db.refresh_all();
    let history = "SELECT count(*) FROM pgtrickle.pgt_refresh_history";
    let before = db.number(history);
    db.refresh_all();
    assert_eq!(db.number(history), before);
    other.run("ROLLBACK");
    db.run("RESET lock_timeout");
    db.cycle(&[]);
    // What makes no difference is looked at once.
    db.run("REFRESH MATERIALIZED VIEW src");
    db.refresh_all();
    let before = db.number(history);
    db.refresh_all();
    assert_eq!(db.number(history), before);
}

fn a_materialized_view_without_data(db: &mut Database) {
    base(db);
    db.run("CREATE MATERIALIZED VIEW src AS SELECT k, v, s FROM base");
    streams(db);
    db.run("REFRESH MATERIALIZED VIEW src WITH NO DATA");
    assert_eq!(db.fails(&refresh("rows")).sqlstate, "55000");
    db.cycle(&["UPDATE base SET v = v + 1", "REFRESH MATERIALIZED VIEW src"]);
}

fn a_recomputed_query_follows_a_materialized_view(db: &mut Database) {
    base(db);
    db.run("CREATE MATERIALIZED VIEW src AS SELECT k, v, s FROM base");
    let query = "WITH RECURSIVE up (n) AS (SELECT v FROM src UNION ALL (SELECT DISTINCT n + 3 FROM up WHERE n < 10)) SELECT n FROM up";
    db.run(&create("up", query, "schedule => '1h'"));
    db.track("up", query);
    assert_eq!(db.text("SELECT refresh_mode FROM pgtrickle.pgt_stream_tables"), "FULL");
    db.cycle_in_full(&["UPDATE base SET v = v + 1", "REFRESH MATERIALIZED VIEW src"]);
    let history = "SELECT count(*) FROM pgtrickle.pgt_refresh_history";
    let before = db.number(history);
    db.refresh("up");
    assert_eq!(db.number(history), before, "nothing happened to the view");
}

/// Foreign tables of this very database.
fn server(db: &mut Database) {
    db.run("CREATE EXTENSION postgres_fdw");
    let options = format!("host '{}', dbname '{}'", db.server().socket().display(), db.name());
    db.run(&format!("CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({options})"));
    db.run("CREATE USER MAPPING FOR CURRENT_USER SERVER here OPTIONS (user 'postgres')");
}

fn a_foreign_table(db: &mut Database) {
    base(db);
    server(db);
    db.run("CREATE FOREIGN TABLE src (k int NOT NULL, v int, s text) SERVER here OPTIONS (table_name 'base')");
    streams(db);
    for change in CHANGES {
        db.cycle(&[change]);
    }
    let history = "SELECT count(*) FROM pgtrickle.pgt_refresh_history";
    let before = db.number(history);
    db.refresh_all();
    assert_eq!(db.number(history), before, "nothing changed, so nothing is written");
    // Two foreign tables, and both of them change.
    db.run("CREATE FOREIGN TABLE far (k int, name text) SERVER here OPTIONS (table_name 'd')");
    db.stream("met", "SELECT src.v, far.name FROM src FULL JOIN far ON far.k = src.k");
    db.cycle(&[
        "UPDATE base SET v = v + 1 WHERE k = 1; UPDATE d SET k = 2 WHERE k = 1",
        "INSERT INTO base VALUES (2, 2, '2')",
    ]);
}

fn a_file(db: &mut Database) {
    db.run("CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw");
    db.run("CREATE TABLE base (k int, v int, s text); CREATE TABLE d (k int, name text); INSERT INTO d VALUES (1, 'one'), (2, 'two')");
    let file = db.text("SELECT current_setting('data_directory') || '/' || current_database() || '.csv'");
    let written = format!("COPY base TO '{file}' (FORMAT csv)");
    db.run("INSERT INTO base SELECT i % 3, i % 4, 'x' FROM generate_series(1, 9) AS i");
    db.run(&written);
    db.run(&format!(
        "CREATE FOREIGN TABLE src (k int, v int, s text) SERVER files OPTIONS (filename '{file}', format 'csv')"
    ));
    streams(db);
    for change in CHANGES {
        db.cycle(&[change, &written]);
    }
}

fn values_of_every_kind(db: &mut Database) {
    db.run("CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE TYPE mood AS ENUM ('sad', 'ok')");
    db.run("CREATE TABLE base (\"w\" numeric, \"select\" json, gone int, p point, \"Ünicode \"\"q\" text, f float8, l varchar(5), o positive, m mood, a int[], c1 char(3) COLLATE \"C\", t timestamptz, b bytea)");
    db.run("ALTER TABLE base DROP COLUMN gone");
    db.run("INSERT INTO base VALUES (1.0, '{\"a\": 1}', '(1,2)', 'q', -0.0, 'abc', 1, 'ok', '{1,NULL}', 'c', '2026-01-01', '\\x00'), (1.00, '{\"a\":1}', NULL, NULL, 0.0, NULL, NULL, NULL, NULL, NULL, NULL, NULL)");
    db.run("INSERT INTO base SELECT * FROM base");
    db.run("CREATE MATERIALIZED VIEW src AS SELECT * FROM base");
    server(db);
    db.run("CREATE FOREIGN TABLE far (\"w\" numeric, p point, \"Ünicode \"\"q\" text, o positive, \"select\" json) SERVER here OPTIONS (table_name 'base')");
    db.stream("near_rows", "SELECT * FROM src");
    db.stream("far_rows", "SELECT * FROM far");
    db.stream_by_value(
        "groups",
        "SELECT far.w, count(*) AS n, max(src.o) AS o FROM far JOIN src ON src.w = far.w GROUP BY far.w",
    );
    for change in [
        "UPDATE base SET w = 1.00 WHERE ctid = (SELECT min(ctid) FROM base)",
        "UPDATE base SET f = 0.0 WHERE f::text = '-0'; UPDATE base SET \"select\" = '{\"a\":  1}' WHERE p IS NULL",
        "DELETE FROM base WHERE ctid = (SELECT max(ctid) FROM base); INSERT INTO base (o, \"w\") VALUES (7, 'NaN'), (7, 'NaN')",
        "UPDATE base SET p = '(3,4)', l = 'x', o = 3 WHERE p IS NOT NULL",
        "DELETE FROM base WHERE w IS NOT NULL",
    ] {
        db.cycle(&[change, "REFRESH MATERIALIZED VIEW src"]);
    }
}

fn rows_without_columns(db: &mut Database) {
    base(db);
    server(db);
    db.run("CREATE MATERIALIZED VIEW src AS SELECT k, v, s FROM base");
    db.run("CREATE FOREIGN TABLE far (k int) SERVER here OPTIONS (table_name 'base')");
    db.stream("n", "SELECT count(*) AS n FROM src");
    db.stream("m", "SELECT count(*) AS m, (SELECT count(*) FROM d) AS n FROM far");
    for change in CHANGES {
        db.cycle(&[change, "REFRESH MATERIALIZED VIEW src"]);
    }
}

/// A renamed column shows in them, and no trigger tells.
fn whole_rows_are_recomputed(db: &mut Database) {
    base(db);
    db.run("CREATE MATERIALIZED VIEW src AS SELECT k, v, s FROM base");
    let query = "SELECT to_jsonb(src) AS j FROM src";
    let failure = db.fails(&create("wholes", query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'"));
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
    db.run(&create("wholes", query, "schedule => '1h'"));
    db.track("wholes", query);
    db.cycle_in_full(&["ALTER MATERIALIZED VIEW src RENAME COLUMN v TO u"]);
    db.cycle_in_full(&["UPDATE base SET v = v + 1", "REFRESH MATERIALIZED VIEW src"]);
}

/// Every scan of this foreign table yields another row; a query that reads it twice in one refresh sees one.
fn one_refresh_sees_one_content(db: &mut Database) {
    db.run("CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw");
    db.run("CREATE FOREIGN TABLE src (v text) SERVER files OPTIONS (program 'cat /proc/sys/kernel/random/uuid', format 'csv')");
    db.stream_with(
        "pairs",
        "SELECT a.v, b.v AS w FROM src AS a JOIN src AS b ON a.v = b.v",
        "schedule => '1h', refresh_mode => 'DIFFERENTIAL'",
    );
    db.stream_with(
        "full_pairs",
        "SELECT a.v, b.v AS w FROM src AS a JOIN src AS b ON a.v = b.v",
        "schedule => '1h', refresh_mode => 'FULL'",
    );
    let mut seen = Vec::new();
    for _ in 0..3 {
        for name in ["pairs", "full_pairs"] {
            let rows = db.lines(&format!("SELECT v = w, v FROM {name}"));
            assert_eq!(rows.len(), 1, "{rows:?}");
            assert!(rows[0].starts_with("t|") && !seen.contains(&rows[0]), "{rows:?}");
            seen.extend(rows);
            db.refresh(name);
        }
    }
}

fn every_mode_and_chains(db: &mut Database) {
    base(db);
    server(db);
    db.run("CREATE FOREIGN TABLE src (k int, v int, s text) SERVER here OPTIONS (table_name 'base')");
    let query = "SELECT k, sum(v) AS v FROM src GROUP BY k";
    for (name, arguments) in [
        ("automatic", "schedule => '1h'"),
        ("whole", "schedule => '1h', refresh_mode => 'FULL'"),
        ("late", "schedule => '1h', refresh_mode => 'DIFFERENTIAL', initialize => false"),
    ] {
        db.run(&create(name, query, arguments));
        if name == "late" {
            db.run("UPDATE base SET v = v + 1");
            db.refresh(name);
        }
        db.track(name, query);
    }
    db.track("automatic", query);
    assert_eq!(
        db.text("SELECT string_agg(refresh_mode, ',' ORDER BY pgt_id) FROM pgtrickle.pgt_stream_tables"),
        "DIFFERENTIAL,FULL,DIFFERENTIAL"
    );
    db.run("SELECT pgtrickle.alter_stream_table('whole', refresh_mode => 'DIFFERENTIAL')");
    db.refresh_all();
    db.accept_full();
    db.run("SELECT pgtrickle.alter_stream_table('automatic', refresh_mode => 'DIFFERENTIAL')");
    db.stream("above", "SELECT late.v, d.name FROM late JOIN d ON d.k = late.k");
    for change in CHANGES {
        db.cycle(&[change]);
    }
}

fn names_and_definitions_change(db: &mut Database) {
    base(db);
    server(db);
    db.run("CREATE FOREIGN TABLE src (k int, v int, s text) SERVER here OPTIONS (table_name 'base')");
    db.stream("rows", "SELECT k, v FROM src");
    db.run("ALTER FOREIGN TABLE src RENAME TO moved; ALTER FOREIGN TABLE moved RENAME v TO u; ALTER FOREIGN TABLE moved ALTER u OPTIONS (column_name 'v')");
    db.run("CREATE VIEW src AS SELECT k, u AS v, s FROM moved; UPDATE base SET v = v + 1");
    db.cycle(&["INSERT INTO base VALUES (1, 1, NULL)"]);
    assert_eq!(db.fails("ALTER FOREIGN TABLE moved ALTER u TYPE bigint").sqlstate, "0A000");
    db.run("SET pg_trickle.block_source_ddl = off");
    db.run("DROP VIEW src; ALTER FOREIGN TABLE moved ALTER u TYPE bigint");
    let failure = db.fails(&refresh("rows"));
    assert_eq!(failure.sqlstate, "42P16", "{failure:?}");
    assert!(failure.message.contains("\"u\" of \"public\".\"moved\""), "{failure:?}");
    db.run("ALTER FOREIGN TABLE moved DROP u");
    let failure = db.fails(&refresh("rows"));
    assert!(failure.sqlstate == "42P16" && failure.message.contains("\"u\""), "{failure:?}");
    assert_eq!(db.fails("DROP FOREIGN TABLE moved").sqlstate, "2BP01");
    db.run("DROP FOREIGN TABLE moved CASCADE");
    db.run("CREATE MATERIALIZED VIEW seen AS SELECT k FROM base");
    db.untrack("rows");
    db.stream("counted", "SELECT k, count(*) AS n FROM seen GROUP BY k");
    assert_eq!(db.fails("DROP MATERIALIZED VIEW seen").sqlstate, "2BP01");
    db.run("DROP MATERIALIZED VIEW seen CASCADE");
    assert_eq!(db.number("SELECT count(*) FROM pgtrickle.pgt_stream_tables"), 0);
}

fn rights_are_the_owners(db: &mut Database) {
    base(db);
    server(db);
    let alice = format!("alice_{}", db.name());
    db.run(&format!("CREATE ROLE {alice} LOGIN; GRANT ALL ON SCHEMA public TO {alice}"));
    db.run("CREATE FOREIGN TABLE src (k int, v int, s text) SERVER here OPTIONS (table_name 'base')");
    db.run(&format!(
        "CREATE USER MAPPING FOR {alice} SERVER here OPTIONS (user 'postgres', password_required 'false')"
    ));
    let query = "SELECT k, sum(v) AS v FROM src GROUP BY k";
    let mut her = db.connect_as(&alice);
    let sums = create("sums", query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'");
    assert_eq!(her.fails(&sums).sqlstate, "42501");
    db.run(&format!("GRANT SELECT ON src TO {alice}"));
    her.run(&sums);
    db.track("sums", query);
    db.cycle(&[CHANGES[0]]);
    her.run(&refresh("sums"));
    db.run(&format!("REVOKE SELECT ON src FROM {alice}; UPDATE base SET v = v + 1"));
    assert_eq!(db.fails(&refresh("sums")).sqlstate, "42501");
    db.run(&format!("GRANT SELECT ON src TO {alice}"));
    db.cycle(&[]);
    drop(her);
    db.run(&format!("DROP OWNED BY {alice} CASCADE; DROP ROLE {alice}"));
}

fn snapshots_come_and_go(db: &mut Database) {
    base(db);
    server(db);
    db.run("CREATE FOREIGN TABLE src (k int, v int, s text) SERVER here OPTIONS (table_name 'base')");
    db.run("CREATE MATERIALIZED VIEW seen AS SELECT k FROM base");
    db.stream("rows", "SELECT src.k, src.v FROM src JOIN seen ON seen.k = src.k");
    let state = "SELECT count(*) FROM pg_class WHERE relnamespace IN ('pgtrickle_state'::regnamespace, 'pgtrickle_changes'::regnamespace) AND relkind = 'r'";
    assert_eq!(db.number(state), 3, "two snapshots and the buffer that tells of REFRESH");
    let stored = db.lines("SELECT purpose FROM pgtrickle.list_auxiliary_columns('rows')");
    assert_eq!(stored.iter().filter(|purpose| purpose.contains("public.s")).count(), 3, "{stored:?}");
    // What joins look up has an index.
    assert_eq!(
        db.number("SELECT count(*) FROM pg_index JOIN pg_class ON oid = indrelid WHERE relname LIKE 'snapshot%'"),
        4
    );
    db.run("SELECT pgtrickle.drop_stream_table('rows')");
    assert_eq!(db.number(state), 0);
    assert_eq!(db.number("SELECT count(*) FROM pgtrickle.pgt_change_tracking"), 0);
}
