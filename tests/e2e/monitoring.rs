//! What the extension says about itself.

use pgtrickle_tests::{Database, create, tests, wait_until};

tests![
    status_has_a_row_per_stream_table,
    explain_shows_the_delta,
    health_is_checked,
    a_stale_table_is_reported,
    a_lagging_slot_is_reported,
    what_is_not_captured_is_reported,
    history_is_kept,
];

fn two(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)");
    db.stream("b_sums", "SELECT count(*) AS n, sum(v) AS s FROM t");
    db.stream("a_rows", "SELECT id, v FROM t WHERE v > 0");
}

fn status_has_a_row_per_stream_table(db: &mut Database) {
    assert!(db.rows("SELECT * FROM pgtrickle.pgt_status()").is_empty());
    two(db);
    let rows = db.lines(
        "SELECT name, status, refresh_mode, is_populated, consecutive_errors, schedule, \
         data_timestamp IS NOT NULL, staleness >= interval '0', scc_id FROM pgtrickle.pgt_status()",
    );
    assert_eq!(
        rows,
        ["public.a_rows|ACTIVE|DIFFERENTIAL|t|0|1h|t|t|", "public.b_sums|ACTIVE|DIFFERENTIAL|t|0|1h|t|t|"]
    );
    let types = db.text("SELECT pg_get_function_result('pgtrickle.pgt_status()'::regprocedure)");
    assert_eq!(
        types,
        "TABLE(name text, status text, refresh_mode text, is_populated boolean, consecutive_errors integer, \
         schedule text, data_timestamp timestamp with time zone, staleness interval, scc_id integer)"
    );
}

fn explain_shows_the_delta(db: &mut Database) {
    two(db);
    let properties = db.lines("SELECT property FROM pgtrickle.explain_st('b_sums')");
    for wanted in [
        "pgt_name",
        "defining_query",
        "refresh_mode",
        "status",
        "is_populated",
        "operator_tree",
        "output_columns",
        "source_oids",
        "delta_query",
        "frontier",
    ] {
        assert!(properties.iter().any(|property| property == wanted), "{wanted} is not among {properties:?}");
    }
    let delta = db.text("SELECT value FROM pgtrickle.explain_st('b_sums') WHERE property = 'delta_query'");
    let source = db.text("SELECT 't'::regclass::oid");
    assert!(delta.contains(&format!("d_{source}")), "{delta}");
    assert_eq!(db.fails("SELECT * FROM pgtrickle.explain_st('nowhere')").sqlstate, "42P01");
}

fn health_is_checked(db: &mut Database) {
    two(db);
    let names = db.lines("SELECT check_name FROM pgtrickle.health_check()");
    assert_eq!(
        names,
        [
            "scheduler_running",
            "error_tables",
            "stale_tables",
            "needs_reinit",
            "consecutive_errors",
            "buffer_growth",
            "capture",
            "event_triggers",
            "slot_lag"
        ]
    );
    let severity = "SELECT severity FROM pgtrickle.health_check() WHERE check_name = 'error_tables'";
    assert_eq!(db.text(severity), "OK");
    db.run("SELECT pgtrickle.alter_stream_table('a_rows', status => 'SUSPENDED')");
    assert_eq!(db.text(severity), "ERROR");
    // The scheduler leaves this database alone, once it has looked whether it may.
    let running = "SELECT severity FROM pgtrickle.health_check() WHERE check_name = 'scheduler_running'";
    wait_until("the scheduler to be gone", || db.text(running) == "ERROR");
}

/// Nobody refreshes here: stale is what has changes to take in and has had three intervals of time for it.
fn a_stale_table_is_reported(db: &mut Database) {
    const STALE: &str = "SELECT severity, detail FROM pgtrickle.health_check() WHERE check_name = 'stale_tables'";
    let age = |db: &mut Database, by: &str| {
        db.run(&format!("UPDATE pgtrickle.pgt_stream_tables SET data_timestamp = data_timestamp - interval '{by}'"));
    };
    two(db);
    db.run("SELECT pgtrickle.alter_stream_table('a_rows', schedule => '5m')");
    age(db, "16 minutes");
    assert_eq!(db.lines(STALE), ["OK|none"], "old, and nothing has changed");
    db.run("INSERT INTO t VALUES (2, 2)");
    assert_eq!(db.lines(STALE), ["WARN|public.a_rows"], "the other has an interval of an hour");
    age(db, "3 hours");
    assert_eq!(db.lines(STALE), ["WARN|public.a_rows, public.b_sums"]);
    db.refresh("a_rows");
    db.run("SELECT pgtrickle.alter_stream_table('b_sums', status => 'SUSPENDED')");
    assert_eq!(db.lines(STALE), ["OK|none"], "one is fresh, the other out of service");
    db.run("INSERT INTO t VALUES (3, 3); SELECT pgtrickle.alter_stream_table('a_rows', schedule => '@hourly')");
    age(db, "3 days");
    assert_eq!(db.lines(STALE), ["OK|none"], "cron says when, not how often");
    // A calculated schedule follows its reader.
    db.run("SELECT pgtrickle.alter_stream_table('a_rows', schedule => 'calculated')");
    db.stream_with("above", "SELECT count(*) AS n FROM a_rows", "schedule => '10d', initialize => false");
    assert_eq!(db.lines(STALE), ["WARN|public.above"], "never filled");
    db.refresh("above");
    age(db, "27 days");
    assert_eq!(db.lines(STALE), ["WARN|public.a_rows"], "below it nothing has reached it yet");
    db.refresh("a_rows");
    assert_eq!(db.lines(STALE), ["OK|none"]);
    // Everybody may ask, whatever they may read.
    db.run("CREATE ROLE stale_watcher; SET ROLE stale_watcher");
    assert_eq!(db.lines(STALE), ["OK|none"]);
    db.run("RESET ROLE; DROP ROLE stale_watcher");
}

fn a_lagging_slot_is_reported(db: &mut Database) {
    const SLOTS: &str = "(VALUES ('pgtrickle_99'), ('other')) AS slots (name)";
    let lag = |db: &mut Database, threshold: &str| {
        db.run(&format!("SET pg_trickle.slot_lag_warning_threshold_mb = {threshold}"));
        db.text(
            "SELECT severity || ' ' || regexp_replace(detail, '[(].*[)]', '') FROM pgtrickle.health_check() \
             WHERE check_name = 'slot_lag'",
        )
    };
    db.run(&format!("SELECT pg_create_logical_replication_slot(name, 'test_decoding') FROM {SLOTS}"));
    let idle = lag(db, "100");
    db.run("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 1500000), flush => true)");
    let (above, below) = (lag(db, "1"), lag(db, "1048576"));
    // A slot would keep the database.
    db.run(&format!("SELECT pg_drop_replication_slot(name) FROM {SLOTS}"));
    assert_eq!([idle.as_str(), &above, &below], ["OK none", "WARN pgtrickle_99 ", "OK none"]);
    assert_eq!(lag(db, "1"), "OK none");
    assert_eq!(db.fails("SET pg_trickle.slot_lag_warning_threshold_mb = 0").sqlstate, "22023");
}

fn what_is_not_captured_is_reported(db: &mut Database) {
    const CHECKS: &str = "SELECT check_name, severity, detail FROM pgtrickle.health_check() \
                          WHERE check_name IN ('capture', 'event_triggers') ORDER BY 1";
    two(db);
    db.run("CREATE TABLE p (k int, v int) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p DEFAULT; CREATE MATERIALIZED VIEW m AS SELECT 1 AS v");
    for source in ["p", "p1", "m", "a_rows"] {
        db.run(&create(&format!("of_{source}"), &format!("SELECT v FROM {source}"), "schedule => '1h'"));
    }
    assert_eq!(db.lines(CHECKS), ["capture|OK|none", "event_triggers|OK|none"]);
    db.run("SET event_triggers = off");
    assert_eq!(db.lines(CHECKS)[1], "event_triggers|WARN|the setting event_triggers is off");
    db.run("RESET event_triggers; ALTER EVENT TRIGGER pg_trickle_ddl_tracker DISABLE; ALTER EVENT TRIGGER pg_trickle_alter_tracker ENABLE");
    assert!(
        db.lines(CHECKS)[1].contains("pg_trickle_alter_tracker")
            && db.lines(CHECKS)[1].contains("pg_trickle_ddl_tracker")
    );
    db.run("ALTER EVENT TRIGGER pg_trickle_alter_tracker DISABLE");
    for (table, kind) in [("t", "ins"), ("t", "row"), ("p", "truncate"), ("p1", "row")] {
        let trigger = db.text(&format!("SELECT tgname FROM pg_trigger WHERE tgname = 'pg_trickle_cdc_{kind}_' || '{table}'::regclass::oid AND tgrelid = '{table}'::regclass"));
        db.run(&format!("BEGIN; ALTER TABLE {table} DISABLE TRIGGER {trigger}"));
        assert_eq!(db.lines(CHECKS)[0], format!("capture|ERROR|public.{table}"));
        db.run("ROLLBACK");
    }
}

fn history_is_kept(db: &mut Database) {
    two(db);
    db.run("INSERT INTO t VALUES (2, 2), (3, -3)");
    db.refresh("a_rows");
    let newest = "SELECT h.action, h.status, h.initiated_by, h.rows_inserted, h.rows_deleted, h.end_time >= h.start_time \
         FROM pgtrickle.pgt_refresh_history AS h JOIN pgtrickle.pgt_stream_tables USING (pgt_id) \
         WHERE pgt_name = 'a_rows' ORDER BY refresh_id DESC LIMIT 1";
    assert_eq!(db.lines(newest), ["DIFFERENTIAL|COMPLETED|MANUAL|1|0|t"]);
    db.run("DELETE FROM t WHERE id = 1");
    db.refresh("a_rows");
    assert_eq!(db.lines(newest), ["DIFFERENTIAL|COMPLETED|MANUAL|0|1|t"]);
}
