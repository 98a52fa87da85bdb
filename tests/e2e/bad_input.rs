//! Whatever a caller gets wrong has its own error, with SQLSTATE and hint, and leaves nothing behind.

use pgtrickle_tests::{Database, Failure, tests};

tests![
    unknown_mode,
    bad_schedules,
    two_statements,
    not_a_select,
    syntax_errors_are_postgres_own,
    errors_tell_their_place,
    unknown_table,
    unknown_column,
    volatile_function,
    volatile_default_of_a_view,
    temporary_source,
    name_taken,
    name_taken_by_a_stream_table,
    schema_missing,
    no_schema_selected,
    duplicate_column_names,
    no_columns,
    stream_table_missing,
    reads_itself,
    constructs_no_mode_can_maintain,
    system_columns,
    null_arguments,
    unknown_status,
    catalog_as_source,
    failed_initial_query,
    damaged_catalog,
];

/// Runs `sql`, which must fail with `sqlstate` and a hint and change nothing.
#[track_caller]
fn refused(db: &mut Database, sql: &str, sqlstate: &str) -> Failure {
    let before = db.fingerprint();
    let failure = db.fails(sql);
    assert_eq!(failure.sqlstate, sqlstate, "{failure:?}\nin: {sql}");
    assert!(!failure.hint.is_empty(), "no hint: {failure:?}");
    assert_eq!(db.fingerprint(), before, "something was left behind by: {sql}");
    failure
}

#[track_caller]
fn refused_query(db: &mut Database, query: &str, sqlstate: &str) -> Failure {
    refused(db, &create(query), sqlstate)
}

fn create(query: &str) -> String {
    format!("SELECT pgtrickle.create_stream_table('st', $query${query}$query$, schedule => '1m')")
}

fn source(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, a int, b text); INSERT INTO t VALUES (1, 1, 'x')");
}

fn unknown_mode(db: &mut Database) {
    source(db);
    let call =
        "SELECT pgtrickle.create_stream_table('st', 'SELECT a FROM t', schedule => '1m', refresh_mode => 'SOMETIMES')";
    let failure = refused(db, call, "22023");
    assert!(failure.message.contains("SOMETIMES"), "{failure:?}");
    assert!(failure.hint.contains("DIFFERENTIAL"), "{failure:?}");
    db.stream("st", "SELECT a FROM t");
    refused(db, "SELECT pgtrickle.alter_stream_table('st', refresh_mode => 'SOMETIMES')", "22023");
}

fn bad_schedules(db: &mut Database) {
    source(db);
    db.stream("other", "SELECT a FROM t");
    for schedule in
        ["", " ", "soon", "5x", "-5s", "1h30", "5 fortnights", "1.5h", "* * *", "99 * * * *", "@sometimes", "0s"]
    {
        let call = format!("SELECT pgtrickle.create_stream_table('st', 'SELECT a FROM t', schedule => '{schedule}')");
        refused(db, &call, "22023");
        refused(db, &format!("SELECT pgtrickle.alter_stream_table('other', schedule => '{schedule}')"), "22023");
    }
}

fn two_statements(db: &mut Database) {
    source(db);
    let failure = refused_query(db, "SELECT a FROM t; SELECT b FROM t", "42000");
    assert!(failure.message.starts_with("query parse error"), "{failure:?}");
    refused_query(db, "SELECT a FROM t; DROP TABLE t", "42000");
}

fn not_a_select(db: &mut Database) {
    source(db);
    for query in [
        "",
        "  ",
        "-- nothing",
        "INSERT INTO t VALUES (2, 2, 'y')",
        "UPDATE t SET a = 2 RETURNING a",
        "CREATE TABLE stray (x int)",
        "EXPLAIN SELECT a FROM t",
        "VACUUM t",
        "SELECT a INTO stray FROM t",
    ] {
        refused_query(db, query, "42000");
    }
}

fn syntax_errors_are_postgres_own(db: &mut Database) {
    source(db);
    let before = db.fingerprint();
    for query in ["SELEC a FROM t", "SELECT a FROM", "SELECT (a FROM t"] {
        let failure = db.fails(&create(query));
        assert_eq!(failure.sqlstate, "42601");
        // The server of these tests runs with RUST_BACKTRACE.
        assert_eq!(failure.detail, "");
    }
    assert_eq!(db.fingerprint(), before);
    let failure = db.fails(&create("SELECT a FROM t LIMIT 1"));
    assert!(!failure.detail.is_empty() && !failure.detail.contains('\n'), "{failure:?}");
}

fn errors_tell_their_place(db: &mut Database) {
    source(db);
    let cases = [
        ("SELEC a FROM t", "42601", 1),
        ("SELECT a FROM t WHERE", "42601", 22),
        ("SELECT 'ä' AS x,\n nosuch FROM t", "42703", 19),
        ("SELECT a FROM nowhere", "42P01", 15),
        ("SELECT nofunction(a) FROM t", "42883", 8),
        ("SELECT a FROM t WHERE a = 'x'", "22P02", 27),
        ("SELECT a FROM t WHERE b = 1", "42883", 25),
    ];
    for (query, sqlstate, position) in cases {
        let calls = [
            create(query),
            format!("SELECT pgtrickle.create_stream_table('st', $query${query}$query$, refresh_mode => 'FULL')"),
            format!("SELECT * FROM pgtrickle.validate_query($query${query}$query$)"),
            format!("DO $do$ BEGIN PERFORM pgtrickle.create_stream_table('st', $query${query}$query$); END $do$"),
        ];
        for call in calls {
            let failure = db.fails(&call);
            assert_eq!(failure.sqlstate, sqlstate, "{failure:?}");
            assert_eq!(failure.place.as_deref(), Some(&(position, query.into())), "{failure:?}\nin: {call}");
        }
    }
    // Nothing is left of it for errors that come later, those that are caught before included.
    db.run("DO $do$ BEGIN PERFORM pgtrickle.validate_query('SELECT nosuch FROM t'); EXCEPTION WHEN undefined_column THEN NULL; END $do$");
    db.run("CREATE TABLE u (a int)");
    for call in ["SELECT pgtrickle.drop_stream_table('none')", "DO $do$ BEGIN RAISE undefined_column; END $do$"] {
        assert_eq!(db.fails(call).place, None);
    }
    assert_eq!(db.fails(&create("SELECT a FROM t LIMIT 1")).place, None);
}

fn unknown_table(db: &mut Database) {
    let before = db.fingerprint();
    let failure = db.fails(&create("SELECT a FROM nowhere"));
    assert_eq!(failure.sqlstate, "42P01", "{failure:?}");
    assert!(failure.message.contains("nowhere"), "{failure:?}");
    assert_eq!(db.fingerprint(), before);
}

fn unknown_column(db: &mut Database) {
    source(db);
    let before = db.fingerprint();
    assert_eq!(db.fails(&create("SELECT nothing FROM t")).sqlstate, "42703");
    assert_eq!(db.fails(&create("SELECT nofunction(a) FROM t")).sqlstate, "42883");
    assert_eq!(db.fingerprint(), before);
}

fn volatile_function(db: &mut Database) {
    source(db);
    for query in [
        "SELECT a, random() AS r FROM t",
        "SELECT a FROM t WHERE random() < 0.5",
        "SELECT max(a + random()) AS m FROM t",
        "SELECT a FROM t GROUP BY a HAVING count(*) > random()",
        "SELECT x.a FROM t AS x JOIN t AS y ON x.a = y.a AND clock_timestamp() > '2020-01-01'",
        "SELECT a, nextval('s') AS n FROM t",
    ] {
        db.run("CREATE SEQUENCE IF NOT EXISTS s");
        let failure = refused_query(db, query, "0A000");
        assert!(!failure.detail.is_empty(), "{failure:?}");
    }
}

fn volatile_default_of_a_view(db: &mut Database) {
    source(db);
    db.run("CREATE VIEW v AS SELECT a, random() AS r FROM t");
    refused_query(db, "SELECT a, r FROM v", "0A000");
}

fn temporary_source(db: &mut Database) {
    source(db);
    db.run("CREATE TEMP TABLE scratch (a int); CREATE TEMP VIEW peek AS SELECT a FROM t");
    refused_query(db, "SELECT a FROM scratch", "0A000");
    refused_query(db, "SELECT t.a FROM t JOIN scratch USING (a)", "0A000");
    refused_query(db, "SELECT a FROM peek UNION ALL SELECT a FROM scratch", "0A000");
}

fn name_taken(db: &mut Database) {
    source(db);
    db.run(
        "CREATE VIEW taken_view AS SELECT 1 AS one; CREATE SEQUENCE taken_sequence; CREATE INDEX taken_index ON t (a)",
    );
    for name in ["t", "public.t", "taken_view", "taken_sequence", "taken_index"] {
        let call = format!("SELECT pgtrickle.create_stream_table('{name}', 'SELECT a FROM t', schedule => '1m')");
        refused(db, &call, "42P07");
    }
    db.run("CREATE TYPE taken_type AS (x int)");
    let before = db.fingerprint();
    db.fails("SELECT pgtrickle.create_stream_table('taken_type', 'SELECT a FROM t', schedule => '1m')");
    assert_eq!(db.fingerprint(), before);
}

fn name_taken_by_a_stream_table(db: &mut Database) {
    source(db);
    db.stream("st", "SELECT a FROM t");
    let failure = refused_query(db, "SELECT b FROM t", "42P07");
    assert!(failure.message.contains("already exists"), "{failure:?}");
}

fn schema_missing(db: &mut Database) {
    source(db);
    refused(db, "SELECT pgtrickle.create_stream_table('nowhere.st', 'SELECT a FROM t', schedule => '1m')", "3F000");
}

fn duplicate_column_names(db: &mut Database) {
    source(db);
    refused_query(db, "SELECT a, a FROM t", "42000");
    refused_query(db, "SELECT count(*), count(a) FROM t", "42000");
}

fn no_columns(db: &mut Database) {
    source(db);
    let before = db.fingerprint();
    let failure = db.fails(&create("SELECT FROM t"));
    assert!(["42000", "0A000"].contains(&failure.sqlstate.as_str()), "{failure:?}");
    assert!(!failure.hint.is_empty(), "{failure:?}");
    assert_eq!(db.fingerprint(), before);
}

fn stream_table_missing(db: &mut Database) {
    source(db);
    for name in ["nowhere", "public.nowhere", "no_schema.nowhere", "t"] {
        for call in [
            format!("refresh_stream_table('{name}')"),
            format!("drop_stream_table('{name}')"),
            format!("alter_stream_table('{name}', schedule => '1m')"),
            format!("resume_stream_table('{name}')"),
        ] {
            let failure = refused(db, &format!("SELECT pgtrickle.{call}"), "42P01");
            assert!(failure.message.starts_with("stream table not found"), "{failure:?}");
        }
        refused(db, &format!("SELECT * FROM pgtrickle.verify('{name}')"), "42P01");
    }
}

fn reads_itself(db: &mut Database) {
    source(db);
    let before = db.fingerprint();
    let failure = db.fails(&create("SELECT a FROM st"));
    assert_eq!(failure.sqlstate, "42P01", "{failure:?}");
    assert_eq!(db.fingerprint(), before);
}

fn constructs_no_mode_can_maintain(db: &mut Database) {
    source(db);
    for query in [
        "SELECT a FROM t LIMIT 3",
        "SELECT a FROM t OFFSET 3",
        "SELECT a FROM t FOR UPDATE",
        "SELECT a FROM t TABLESAMPLE SYSTEM (50)",
        "WITH gone AS (DELETE FROM t RETURNING a) SELECT a FROM gone",
        "SELECT id, (SELECT b FROM t AS inner_t WHERE inner_t.id > t.id LIMIT 1) AS any_b FROM t",
    ] {
        let failure = refused_query(db, query, "0A000");
        assert!(!failure.detail.is_empty(), "{failure:?}");
    }
    assert_eq!(db.number("SELECT count(*) FROM t"), 1);
}

fn system_columns(db: &mut Database) {
    source(db);
    for query in ["SELECT ctid, a FROM t", "SELECT a FROM t WHERE xmin IS NOT NULL", "SELECT tableoid, cmin FROM t"] {
        refused_query(db, query, "0A000");
    }
}

fn null_arguments(db: &mut Database) {
    source(db);
    refused(db, "SELECT pgtrickle.create_stream_table('st', 'SELECT a FROM t', schedule => NULL)", "22023");
    let before = db.fingerprint();
    for call in ["create_stream_table(NULL, 'SELECT a FROM t')", "create_stream_table('st', NULL)"] {
        let outcome = db.attempt(&format!("SELECT pgtrickle.{call}"));
        assert!(
            outcome.is_ok() || outcome.is_err_and(|failure| failure.sqlstate == "22004" || failure.sqlstate == "22023")
        );
        assert_eq!(db.fingerprint(), before);
    }
}

fn unknown_status(db: &mut Database) {
    source(db);
    db.stream("st", "SELECT a FROM t");
    refused(db, "SELECT pgtrickle.alter_stream_table('st', status => 'ASLEEP')", "22023");
}

fn catalog_as_source(db: &mut Database) {
    let call = "SELECT pgtrickle.create_stream_table('st', 'SELECT relname FROM pg_catalog.pg_class', \
                schedule => '1m', refresh_mode => 'DIFFERENTIAL')";
    let failure = refused(db, call, "0A000");
    assert!(!failure.detail.is_empty(), "{failure:?}");
}

fn failed_initial_query(db: &mut Database) {
    source(db);
    db.run("INSERT INTO t VALUES (2, 0, 'zero')");
    let before = db.fingerprint();
    let failure = db.fails(&create("SELECT id, 10 / a AS q FROM t"));
    assert_eq!(failure.sqlstate, "22012", "{failure:?}");
    assert_eq!(db.fingerprint(), before);
    db.run("DELETE FROM t WHERE a = 0");
    db.stream("st", "SELECT id, 10 / a AS q FROM t");
    db.run("INSERT INTO t VALUES (3, 0, 'zero')");
    assert_eq!(db.fails("SELECT pgtrickle.refresh_stream_table('st')").sqlstate, "22012");
    db.cycle(&["UPDATE t SET a = 5 WHERE a = 0"]);
}

/// What the catalog's constraints exclude is no value of any kind, not an empty text or a zero, when somebody took them away.
fn damaged_catalog(db: &mut Database) {
    const RELATIONS: [(&str, &str); 3] = [
        ("pgt_stream_tables", "requested_mode"),
        ("pgt_stream_tables", "is_populated"),
        ("pgt_dependencies", "source_type"),
    ];
    source(db);
    db.stream("st", "SELECT count(*) AS n FROM t");
    for (table, column) in RELATIONS {
        db.run(&format!(
            "BEGIN; ALTER TABLE pgtrickle.{table} ALTER COLUMN {column} DROP NOT NULL; UPDATE pgtrickle.{table} SET {column} = NULL"
        ));
        let failure = db.fails("SELECT pgtrickle.refresh_stream_table('st')");
        assert_eq!(failure.sqlstate, "XX000", "{failure:?}");
        assert!(failure.message.contains(column), "{failure:?}");
        db.run("ROLLBACK");
    }
}

fn no_schema_selected(db: &mut Database) {
    source(db);
    db.run("SET search_path = nowhere");
    for call in [
        "create_stream_table('st', 'SELECT a FROM public.t')",
        "refresh_stream_table('st')",
        "drop_stream_table('st')",
        "verify('st')",
    ] {
        let failure = refused(db, &format!("SELECT pgtrickle.{call}"), "3F000");
        assert_eq!(failure.message, "no schema has been selected for stream table \"st\"");
        assert!(failure.detail.contains("search_path") && failure.hint.contains("schema.name"), "{failure:?}");
    }
    db.run("RESET search_path");
}
