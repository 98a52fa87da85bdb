//! Every change is applied exactly once, whatever commits late, rolls back or runs beside the refresh.

use pgtrickle_tests::{Database, refresh, tests};

tests![
    a_writer_open_across_three_refreshes,
    early_write_late_commit,
    a_writer_that_rolls_back_late,
    refresh_inside_a_transaction_that_goes_on_writing,
    refresh_inside_a_transaction_that_rolls_back,
    refresh_inside_a_savepoint_that_rolls_back,
    writes_of_savepoints,
    writes_of_nested_savepoints_around_refreshes,
    own_writes_and_foreign_writes_interleaved,
    refreshes_inside_a_procedural_loop,
    refresh_inside_an_exception_block,
    refresh_in_the_writing_statement,
    refresh_from_a_trigger_of_the_source,
    deferred_triggers_write_at_commit,
    prepared_transactions,
    prepare_after_a_refresh,
    repeatable_read_refresh_of_newer_contents,
    repeatable_read_refresh_of_own_writes,
    serializable_refresh,
    stream_tables_at_different_frontiers,
    consumed_changes_are_removed,
    sources_joined_at_one_snapshot,
];

fn sums(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g int, v int); INSERT INTO t SELECT i, i % 3, i FROM generate_series(1, 9) i");
    db.run("CREATE TABLE log (g int, note text)");
    db.stream("sums", "SELECT g, count(*) AS n, sum(v) AS s, min(v) AS lo FROM t GROUP BY g");
    db.stream("copies", "SELECT id, g, v FROM t WHERE v IS DISTINCT FROM 5");
    db.stream("pairs", "SELECT t.id, log.note FROM t JOIN log ON log.g = t.g");
}

fn a_writer_open_across_three_refreshes(db: &mut Database) {
    sums(db);
    let mut writer = db.connect();
    writer.run("BEGIN");
    writer.run("INSERT INTO t VALUES (100, 1, 100); INSERT INTO log VALUES (1, 'early')");
    for i in 0..3 {
        db.cycle(&[&format!("INSERT INTO t VALUES ({}, 1, 1); UPDATE t SET v = v + 1 WHERE id = 4", 200 + i)]);
        writer.run(&format!("INSERT INTO t VALUES ({}, 2, 7)", 300 + i));
    }
    writer.run("COMMIT");
    db.cycle(&[]);
    assert_eq!(db.number("SELECT count(*) FROM copies WHERE id IN (100, 300, 301, 302)"), 4);
    db.cycle(&[]);
}

fn early_write_late_commit(db: &mut Database) {
    sums(db);
    let (mut first, mut second) = (db.connect(), db.connect());
    first.run("BEGIN");
    first.run("UPDATE t SET v = 50 WHERE id = 1");
    second.run("BEGIN");
    second.run("UPDATE t SET v = 60 WHERE id = 2");
    second.run("COMMIT");
    db.cycle(&["UPDATE t SET v = 70 WHERE id = 3"]);
    first.run("UPDATE t SET g = 0 WHERE id = 1");
    first.run("COMMIT");
    db.cycle(&[]);
}

fn a_writer_that_rolls_back_late(db: &mut Database) {
    sums(db);
    let mut writer = db.connect();
    writer.run("BEGIN");
    writer.run("DELETE FROM t WHERE id < 4; INSERT INTO log VALUES (2, 'never')");
    db.cycle(&["INSERT INTO log VALUES (2, 'kept')"]);
    writer.run("ROLLBACK");
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn refresh_inside_a_transaction_that_goes_on_writing(db: &mut Database) {
    sums(db);
    db.run("BEGIN");
    for i in 0..4 {
        db.run(&format!("INSERT INTO t VALUES ({}, 1, 1); INSERT INTO log VALUES ({i}, 'x')", 100 + i));
        db.run("UPDATE t SET v = v + 1, g = g + 1 WHERE id % 2 = 0");
        db.refresh_all();
        db.check();
    }
    db.run("DELETE FROM t WHERE id < 3");
    db.run("COMMIT");
    db.cycle(&[]);
    db.cycle(&["UPDATE t SET v = 0"]);
}

fn refresh_inside_a_transaction_that_rolls_back(db: &mut Database) {
    sums(db);
    db.run("BEGIN; UPDATE t SET v = v + 1");
    db.refresh_all();
    db.run("DELETE FROM t WHERE g = 0");
    db.refresh_all();
    db.check();
    db.run("ROLLBACK");
    db.check();
    db.cycle(&["UPDATE t SET v = v + 2 WHERE g = 1"]);
}

fn refresh_inside_a_savepoint_that_rolls_back(db: &mut Database) {
    sums(db);
    db.run("BEGIN; UPDATE t SET v = v + 1 WHERE g = 0; SAVEPOINT s");
    db.run("UPDATE t SET v = v + 1 WHERE g = 1");
    db.refresh_all();
    db.check();
    db.run("ROLLBACK TO s");
    db.run("UPDATE t SET v = v + 10 WHERE g = 2");
    db.run("COMMIT");
    db.cycle(&[]);
    // The same once more, with a refresh before the savepoint too.
    db.run("BEGIN; UPDATE t SET v = v + 1 WHERE g = 0");
    db.refresh_all();
    db.run("SAVEPOINT s; DELETE FROM t WHERE id = 5; INSERT INTO log VALUES (0, 'lost')");
    db.refresh_all();
    db.run("ROLLBACK TO s; INSERT INTO log VALUES (0, 'kept')");
    db.check_after_refresh();
    db.run("COMMIT");
    db.cycle(&[]);
}

fn writes_of_savepoints(db: &mut Database) {
    sums(db);
    db.run("BEGIN");
    db.run("INSERT INTO t VALUES (100, 1, 1); SAVEPOINT a; INSERT INTO t VALUES (101, 1, 1)");
    db.run("SAVEPOINT b; INSERT INTO t VALUES (102, 1, 1); ROLLBACK TO b; INSERT INTO t VALUES (103, 1, 1)");
    db.run("RELEASE a; SAVEPOINT c; DELETE FROM t WHERE id < 105; ROLLBACK TO c");
    db.run("COMMIT");
    db.cycle(&[]);
    assert_eq!(db.number("SELECT count(*) FROM copies WHERE id >= 100"), 3);
}

fn writes_of_nested_savepoints_around_refreshes(db: &mut Database) {
    sums(db);
    db.run("BEGIN; SAVEPOINT a; INSERT INTO t VALUES (100, 1, 1)");
    db.refresh_all();
    db.run("SAVEPOINT b; INSERT INTO t VALUES (101, 1, 1); RELEASE b");
    db.check_after_refresh();
    db.run("SAVEPOINT d; UPDATE t SET v = 9 WHERE id = 100");
    db.refresh_all();
    db.run("ROLLBACK TO d; RELEASE a; INSERT INTO t VALUES (102, 1, 1)");
    db.check_after_refresh();
    db.run("COMMIT");
    db.cycle(&[]);
    db.cycle(&["DELETE FROM t WHERE id > 99"]);
}

fn own_writes_and_foreign_writes_interleaved(db: &mut Database) {
    sums(db);
    let mut other = db.connect();
    other.run("BEGIN; INSERT INTO t VALUES (200, 2, 2)");
    db.run("BEGIN; INSERT INTO t VALUES (100, 1, 1)");
    db.check_after_refresh();
    other.run("INSERT INTO t VALUES (201, 2, 2)");
    other.run("COMMIT");
    db.check_after_refresh();
    db.run("UPDATE t SET v = v + 1 WHERE g = 2");
    other.run("INSERT INTO log VALUES (1, 'other'), (2, 'other')");
    db.check_after_refresh();
    db.run("COMMIT");
    db.check();
    db.cycle(&[]);
}

fn refreshes_inside_a_procedural_loop(db: &mut Database) {
    sums(db);
    db.run(
        "DO $$ BEGIN FOR i IN 1..5 LOOP \
             INSERT INTO t VALUES (100 + i, i, i); INSERT INTO log VALUES (i, 'loop'); \
             PERFORM pgtrickle.refresh_stream_table('sums'); \
             UPDATE t SET v = v + 1 WHERE id > 99; \
             PERFORM pgtrickle.refresh_stream_table('pairs'); \
         END LOOP; END $$",
    );
    db.cycle(&[]);
    db.cycle(&["DELETE FROM t WHERE id > 99"]);
}

fn refresh_inside_an_exception_block(db: &mut Database) {
    sums(db);
    db.run(
        "DO $$ BEGIN \
             UPDATE t SET v = v + 1; \
             BEGIN \
                 UPDATE t SET v = v * 2; \
                 PERFORM pgtrickle.refresh_stream_table('sums'); \
                 RAISE division_by_zero; \
             EXCEPTION WHEN division_by_zero THEN NULL; END; \
             PERFORM pgtrickle.refresh_stream_table('copies'); \
             INSERT INTO t VALUES (100, 0, 0); \
         END $$",
    );
    db.cycle(&[]);
}

fn refresh_in_the_writing_statement(db: &mut Database) {
    sums(db);
    // Half of what such a statement does is in the buffer yet: refused, and the statement with it.
    for statement in [
        "WITH new AS (INSERT INTO t VALUES (100, 1, 1), (101, 2, 2) RETURNING id) \
         SELECT pgtrickle.refresh_stream_table('sums'), count(*) FROM new",
        "UPDATE t SET v = v + (pgtrickle.refresh_stream_table('copies') IS NULL)::int WHERE id < 4",
    ] {
        let failure = db.fails(statement);
        assert_eq!(failure.sqlstate, "55006", "{failure:?}");
        assert!(!failure.hint.is_empty(), "{failure:?}");
        db.cycle(&[]);
    }
    db.run("BEGIN; INSERT INTO t VALUES (100, 1, 1); SAVEPOINT s");
    db.fails("UPDATE t SET v = v + (pgtrickle.refresh_stream_table('copies') IS NULL)::int WHERE id < 4");
    db.run("ROLLBACK TO s");
    db.check_after_refresh();
    db.run("COMMIT");
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn refresh_from_a_trigger_of_the_source(db: &mut Database) {
    sums(db);
    for name in ["aaa_first", "zzz_last"] {
        db.run(&format!(
            "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS \
             $$BEGIN PERFORM pgtrickle.refresh_stream_table('sums'); RETURN NULL; END$$"
        ));
        db.run(&format!("CREATE TRIGGER {name} AFTER INSERT OR UPDATE OR DELETE ON t EXECUTE FUNCTION {name}()"));
        // Whichever trigger fires first, a refresh in the middle of the statement is refused.
        for statement in ["INSERT INTO t VALUES (100, 1, 1)", "UPDATE t SET g = g + 1", "DELETE FROM t"] {
            let failure = db.fails(statement);
            assert_eq!(failure.sqlstate, "55006", "{failure:?}");
            db.cycle(&[]);
        }
        db.run(&format!("DROP TRIGGER {name} ON t"));
        db.cycle(&["UPDATE t SET v = v + 1"]);
    }
}

fn deferred_triggers_write_at_commit(db: &mut Database) {
    sums(db);
    db.run(
        "CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS \
         $$BEGIN INSERT INTO log VALUES (NEW.g, 'deferred'); UPDATE t SET v = v + 1 WHERE id = 1; RETURN NULL; END$$",
    );
    db.run(
        "CREATE CONSTRAINT TRIGGER later AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION later()",
    );
    db.run("BEGIN; INSERT INTO t VALUES (100, 1, 1)");
    db.check_after_refresh();
    db.run("COMMIT");
    db.cycle(&[]);
    assert_eq!(db.number("SELECT count(*) FROM log"), 1);
}

fn prepared_transactions(db: &mut Database) {
    sums(db);
    let names: Vec<String> = ["kept", "dropped"].iter().map(|what| format!("{what}_{}", db.name())).collect();
    for name in &names {
        let number = name.len() + 100;
        db.run(&format!("BEGIN; INSERT INTO t VALUES ({number}, 1, 1); PREPARE TRANSACTION '{name}'"));
    }
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 5"]);
    db.run(&format!("COMMIT PREPARED '{}'", names[0]));
    db.cycle(&[]);
    db.run(&format!("ROLLBACK PREPARED '{}'", names[1]));
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn prepare_after_a_refresh(db: &mut Database) {
    sums(db);
    let name = format!("refreshed_{}", db.name());
    db.run("BEGIN; INSERT INTO t VALUES (100, 1, 1)");
    db.check_after_refresh();
    db.run("INSERT INTO t VALUES (101, 1, 1)");
    // Preparing such a transaction may be refused; it may not go wrong.
    if db.attempt(&format!("PREPARE TRANSACTION '{name}'")).is_ok() {
        let mut other = db.connect();
        other.run("INSERT INTO t VALUES (200, 1, 1)");
        other.run(&format!("COMMIT PREPARED '{name}'"));
    }
    db.cycle(&[]);
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn repeatable_read_refresh_of_newer_contents(db: &mut Database) {
    sums(db);
    let mut old = db.connect();
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    old.run("SELECT count(*) FROM t");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    // The old snapshot must not take the contents back: an error or a notice, and nothing done.
    match old.attempt(&refresh("sums")) {
        Ok(()) => assert!(!old.notices().is_empty()),
        Err(failure) => assert_eq!(failure.sqlstate, "40001", "{failure:?}"),
    }
    old.attempt("COMMIT").expect("a failed transaction ends as a rollback");
    db.check();
    db.cycle(&["DELETE FROM t WHERE id = 1"]);
}

fn repeatable_read_refresh_of_own_writes(db: &mut Database) {
    sums(db);
    let mut other = db.connect();
    db.run("BEGIN ISOLATION LEVEL REPEATABLE READ; UPDATE t SET v = v + 1 WHERE id = 1");
    other.run("INSERT INTO t VALUES (200, 1, 1); UPDATE t SET v = v + 1 WHERE id = 2");
    db.check_after_refresh();
    db.run("UPDATE t SET v = v + 1 WHERE id = 3");
    db.check_after_refresh();
    db.run("COMMIT");
    db.cycle(&[]);
    assert_eq!(db.number("SELECT count(*) FROM copies WHERE id = 200"), 1);
}

fn serializable_refresh(db: &mut Database) {
    sums(db);
    db.run("BEGIN ISOLATION LEVEL SERIALIZABLE; UPDATE t SET v = v + 1");
    db.check_after_refresh();
    db.run("INSERT INTO log VALUES (1, 's')");
    db.run("COMMIT");
    db.cycle(&[]);
}

fn stream_tables_at_different_frontiers(db: &mut Database) {
    sums(db);
    for i in 0..6 {
        db.run(&format!("INSERT INTO t VALUES ({}, {i}, 1); UPDATE t SET v = v + 1 WHERE g = 1", 100 + i));
        db.refresh("sums");
        if i % 3 == 2 {
            db.refresh("copies");
        }
    }
    db.cycle(&["DELETE FROM t WHERE id > 102"]);
    db.stream("late", "SELECT g, max(v) AS hi FROM t GROUP BY g");
    db.cycle(&["UPDATE t SET g = g + 1"]);
}

fn consumed_changes_are_removed(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int)");
    db.stream("sums", "SELECT count(*) AS n, sum(v) AS s FROM t");
    db.stream("copies", "SELECT id, v FROM t");
    let buffer = db.text("SELECT buffer_relid::regclass::text FROM pgtrickle.pgt_change_tracking");
    for i in 0..20 {
        db.cycle(&[&format!("INSERT INTO t SELECT {i} * 1000 + j, j FROM generate_series(1, 500) AS j")]);
    }
    let left = db.number(&format!("SELECT count(*) FROM {buffer}"));
    assert!(left <= 2000, "{left} of 10000 rows are still in the buffer");
}

fn sources_joined_at_one_snapshot(db: &mut Database) {
    sums(db);
    let mut writer = db.connect();
    writer.run("BEGIN; INSERT INTO log SELECT i, 'both' FROM generate_series(0, 2) i; UPDATE t SET g = (g + 1) % 3");
    db.cycle(&["INSERT INTO log VALUES (1, 'one side')"]);
    writer.run("COMMIT");
    db.cycle(&[]);
    db.cycle(&[
        "UPDATE t SET g = 1; UPDATE log SET g = 1; UPDATE t SET g = id % 3; DELETE FROM log WHERE note = 'both'",
    ]);
}
