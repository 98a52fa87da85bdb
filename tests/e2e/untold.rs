//! Definitions are changed while `event_triggers` is off: nothing is refused, and everything is looked at again.

use crate::ddl::nothing_is_left;
use pgtrickle_tests::{Database, create, tests};

tests![
    what_is_read_changes,
    capture_is_put_back,
    the_guard_is_put_back,
    a_stream_table_is_dropped,
    inside_a_transaction_and_a_function,
    another_databases_definitions_are_none,
];

fn source(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g int, v int, w int); INSERT INTO t SELECT i, i % 3, i, i FROM generate_series(1, 12) AS i");
    db.run("CREATE FUNCTION times(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 * 2; END'");
    db.run("CREATE VIEW big AS SELECT id, g, v FROM t WHERE v > 3; CREATE TYPE mood AS ENUM ('sad', 'happy')");
    db.stream("rows", "SELECT id, v, w FROM t");
    db.stream(
        "sums",
        "SELECT g, sum(times(v)) AS s, (ARRAY['sad'::mood, 'happy'])[g % 2 + 1]::text AS m FROM big GROUP BY g",
    );
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

const SUMS: &str =
    "SELECT g, sum(times(v)) AS s, (ARRAY['sad'::mood, 'happy'])[g % 2 + 1]::text AS m FROM big GROUP BY g";

fn what_is_read_changes(db: &mut Database) {
    source(db);
    let mut other = db.connect();
    for (change, sums) in [
        ("ALTER TABLE t ALTER COLUMN w TYPE int USING w * 10", SUMS.to_string()),
        (
            "CREATE OR REPLACE FUNCTION times(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 * 3; END'",
            SUMS.to_string(),
        ),
        ("CREATE OR REPLACE VIEW big AS SELECT id, g, v FROM t WHERE v > 50", SUMS.to_string()),
        ("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", SUMS.replace("sad", "blue")),
        ("ALTER FUNCTION times(int) RENAME TO many", SUMS.replace("sad", "blue").replace("times", "many")),
        (
            "ALTER VIEW big RENAME TO large",
            SUMS.replace("sad", "blue").replace("times", "many").replace("big", "large"),
        ),
    ] {
        other.run(&format!("SET event_triggers = off; {change}; RESET event_triggers"));
        db.untrack("sums");
        db.track("sums", &sums);
        db.cycle_in_full(&[]);
        db.cycle(&["UPDATE t SET v = v + 1 WHERE id % 2 = 0; INSERT INTO t SELECT max(id) + 1, 7, 70, 7 FROM t"]);
    }
}

fn capture_is_put_back(db: &mut Database) {
    source(db);
    let triggers = "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 't'::regclass ORDER BY 1";
    let before = db.lines(triggers);
    db.run("SET event_triggers = off");
    for trigger in db.lines("SELECT tgname FROM pg_trigger WHERE tgrelid = 't'::regclass") {
        db.run(&format!("ALTER TABLE t DISABLE TRIGGER {trigger}; INSERT INTO t SELECT max(id) + 1, 1, 1, 1 FROM t"));
        db.run(&format!("DROP TRIGGER {trigger} ON t; UPDATE t SET v = v + 1"));
    }
    db.run("ALTER TABLE t DISABLE TRIGGER ALL; DELETE FROM t WHERE id = 4");
    db.run("RESET event_triggers");
    assert_eq!(db.lines(triggers), before);
    db.cycle_in_full(&[]);
    db.cycle(&["UPDATE t SET v = v + 1"]);
    // What cannot be captured is refused all the same.
    let failure = db.fails("SET event_triggers = off; ALTER TABLE t SET UNLOGGED");
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
    db.run("RESET event_triggers");
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn the_guard_is_put_back(db: &mut Database) {
    source(db);
    db.run("SET event_triggers = off; DROP TRIGGER pgt_dml_guard ON rows; ALTER TABLE rows DISABLE TRIGGER ALL");
    assert_eq!(db.fails("DELETE FROM rows").sqlstate, "55000");
    assert_eq!(db.fails("TRUNCATE rows").sqlstate, "55000");
    db.cycle_in_full(&[]);
}

fn a_stream_table_is_dropped(db: &mut Database) {
    source(db);
    db.run("SET event_triggers = off; DROP TABLE rows; UPDATE t SET v = v + 1");
    db.untrack("rows");
    assert_eq!(db.lines("SELECT pgt_name FROM pgtrickle.pgt_stream_tables"), ["sums"]);
    db.cycle_in_full(&[]);
    db.run("DROP TABLE t CASCADE");
    db.untrack("sums");
    nothing_is_left(db);
}

fn inside_a_transaction_and_a_function(db: &mut Database) {
    source(db);
    db.run("BEGIN; SET LOCAL event_triggers = off; ALTER TABLE t ALTER COLUMN w TYPE int USING w * 10; ROLLBACK");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.run("BEGIN; SET LOCAL event_triggers = off; DO $$BEGIN EXECUTE 'ALTER TABLE t ALTER COLUMN w TYPE int USING w * 10'; END$$; COMMIT");
    db.cycle_in_full(&[]);
    for statement in [
        "SET event_triggers = off",
        "CREATE INDEX CONCURRENTLY extra ON t (v)",
        "VACUUM t",
        "CREATE TEMP TABLE x (a int)",
        "DROP INDEX CONCURRENTLY extra",
    ] {
        db.run(statement);
    }
    let query = "SELECT g, max(v) AS m FROM t GROUP BY g";
    db.run(&create("highest", query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'"));
    db.run("RESET event_triggers");
    db.track("highest", query);
    db.cycle_in_full(&["UPDATE t SET v = v + 1"]);
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn another_databases_definitions_are_none(db: &mut Database) {
    db.run(
        "DROP EXTENSION pg_trickle; SET event_triggers = off; CREATE TABLE t (id int); ALTER TABLE t ADD COLUMN v int",
    );
    db.run("CREATE EXTENSION pg_trickle");
    db.run("CREATE TABLE u (id int); DROP TABLE u; RESET event_triggers");
    db.stream("rows", "SELECT id, v FROM t");
    db.cycle(&["INSERT INTO t VALUES (1, 1)"]);
}
