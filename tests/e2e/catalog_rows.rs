//! Refreshes read and write their catalog rows without statements, and notice all the same whatever happens to the catalog.

use pgtrickle_tests::{Database, refresh, tests};

tests![
    what_another_session_altered_holds_at_once,
    a_read_only_transaction_may_look_but_not_refresh,
    indexes_made_anew,
    columns_added_and_dropped,
    the_extension_made_anew,
    what_a_refresh_notes,
    rows_that_were_taken_back,
    sessions_in_turn,
    an_older_snapshot_than_what_is_known,
    rows_that_change_places,
];

fn sums(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 9) i");
    db.stream("sums", "SELECT count(*) AS n, sum(v) AS s FROM t");
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn what_another_session_altered_holds_at_once(db: &mut Database) {
    sums(db);
    let mut other = db.connect();
    for _ in 0..2 {
        other.run("SELECT pgtrickle.alter_stream_table('sums', status => 'SUSPENDED')");
        assert_eq!(db.fails(&refresh("sums")).sqlstate, "55000");
        other.run("SELECT pgtrickle.resume_stream_table('sums')");
        db.cycle(&["UPDATE t SET v = v + 1"]);
    }
    other.run("CREATE TABLE u (v int); INSERT INTO u VALUES (1)");
    other.run("SELECT pgtrickle.drop_stream_table('sums')");
    assert_eq!(db.fails(&refresh("sums")).sqlstate, "42P01");
    db.untrack("sums");
    other.run("SELECT pgtrickle.create_stream_table('sums', 'SELECT v FROM u', refresh_mode => 'DIFFERENTIAL')");
    db.track("sums", "SELECT v FROM u");
    db.cycle(&["INSERT INTO u VALUES (2), (NULL)"]);
    other.run("UPDATE pgtrickle.pgt_stream_tables SET needs_reinit = true");
    db.untrack("sums");
    db.refresh("sums");
    assert_eq!(db.text("SELECT effective_refresh_mode FROM pgtrickle.pgt_stream_tables"), "FULL");
    db.track("sums", "SELECT v FROM u");
    db.cycle(&["DELETE FROM u"]);
}

fn a_read_only_transaction_may_look_but_not_refresh(db: &mut Database) {
    sums(db);
    db.run(&format!("BEGIN READ ONLY; {}; COMMIT", refresh("sums")));
    db.run("UPDATE t SET v = 0");
    db.run("BEGIN READ ONLY");
    assert_eq!(db.fails(&refresh("sums")).sqlstate, "25006");
    db.run("ROLLBACK");
    db.cycle(&[]);
}

fn indexes_made_anew(db: &mut Database) {
    sums(db);
    for table in ["pgt_stream_tables", "pgt_dependencies", "pgt_change_tracking", "pgt_refresh_history"] {
        db.run(&format!("REINDEX TABLE CONCURRENTLY pgtrickle.{table}"));
        db.cycle(&["UPDATE t SET v = v + 1"]);
        db.run(&format!("VACUUM FULL pgtrickle.{table}"));
        db.cycle(&["UPDATE t SET v = v * 2 WHERE id = 3"]);
    }
}

fn columns_added_and_dropped(db: &mut Database) {
    sums(db);
    for table in ["pgt_stream_tables", "pgt_dependencies", "pgt_change_tracking", "pgt_refresh_history"] {
        db.run(&format!("ALTER TABLE pgtrickle.{table} ADD COLUMN note text, ADD COLUMN size int"));
        db.cycle(&["UPDATE t SET v = v + 1"]);
        db.run(&format!("ALTER TABLE pgtrickle.{table} DROP COLUMN note"));
        db.cycle(&["INSERT INTO t SELECT max(id) + 1, 5 FROM t"]);
    }
}

fn the_extension_made_anew(db: &mut Database) {
    sums(db);
    db.untrack("sums");
    db.run("DROP EXTENSION pg_trickle CASCADE; DROP TABLE IF EXISTS sums; CREATE EXTENSION pg_trickle");
    db.stream("sums", "SELECT count(*) AS n, max(v) AS s FROM t");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.cycle(&["DELETE FROM t WHERE id = 9"]);
}

fn what_a_refresh_notes(db: &mut Database) {
    sums(db);
    db.run("INSERT INTO t VALUES (20, 1), (21, 2)");
    db.refresh("sums");
    let newest = "FROM pgtrickle.pgt_refresh_history ORDER BY refresh_id DESC LIMIT 1";
    assert_eq!(
        db.text(&format!(
            "SELECT concat_ws(' ', action, rows_inserted, rows_deleted, delta_row_count, was_full_fallback, status, initiated_by, \
             data_timestamp = start_time AND start_time <= end_time AND end_time <= clock_timestamp(), error_message) {newest}"
        )),
        "DIFFERENTIAL 1 1 2 f COMPLETED MANUAL t"
    );
    assert!(db.holds(&format!(
        "SELECT refresh_id = (SELECT last_value FROM pgtrickle.pgt_refresh_history_refresh_id_seq) {newest}"
    )));
    assert!(db.holds(
        "SELECT is_populated AND NOT needs_reinit AND status = 'ACTIVE' AND consecutive_errors = 0 AND last_error_at IS NULL \
         AND last_error_message IS NULL AND data_timestamp = last_refresh_at AND frontier ? 'snapshot' \
         FROM pgtrickle.pgt_stream_tables"
    ));
    // Found by each of its indexes.
    db.run("SET enable_seqscan = off");
    for condition in
        ["refresh_id > 0", "pgt_id > 0 AND data_timestamp > '-infinity'", "pgt_id > 0 AND start_time > '-infinity'"]
    {
        assert_eq!(
            db.number(&format!("SELECT count(*) FROM pgtrickle.pgt_refresh_history WHERE {condition}")),
            db.number("SELECT count(*) + 0 * count(action) FROM pgtrickle.pgt_refresh_history"),
        );
    }
    assert_eq!(db.number("SELECT count(*) FROM pgtrickle.pgt_stream_tables WHERE status = 'ACTIVE'"), 1);
}

fn rows_that_were_taken_back(db: &mut Database) {
    sums(db);
    for undo in [
        "BEGIN; {} ROLLBACK",
        "BEGIN; SAVEPOINT s; {} ROLLBACK TO s; {} COMMIT",
        "BEGIN; {} SAVEPOINT s; {} ROLLBACK TO s; COMMIT",
    ] {
        for work in [
            "UPDATE t SET v = v + 1;",
            "DELETE FROM t WHERE id = 3;",
            "UPDATE t SET v = 7; INSERT INTO t VALUES (3, 1);",
        ] {
            let work = format!("{work} {};", refresh("sums"));
            for step in undo.replace("{}", &work).split_inclusive(';').filter(|step| !step.trim().is_empty()) {
                // What fails for a row that is there already is taken back, too.
                let _ = db.attempt(step);
            }
            db.run("ROLLBACK");
            db.cycle(&["UPDATE t SET v = v * 2 WHERE id = 5"]);
        }
    }
}

fn sessions_in_turn(db: &mut Database) {
    sums(db);
    db.stream("rest", "SELECT id FROM t WHERE v > 5");
    let mut other = db.connect();
    for round in 0..6 {
        other.run(&format!("UPDATE t SET v = v + {round} WHERE id % 2 = 0"));
        other.run(&format!("{}; {}", refresh("rest"), refresh("sums")));
        db.check();
        db.cycle(&["UPDATE t SET v = v - 1"]);
        if round == 3 {
            other.run("ALTER TABLE rest RENAME TO other_name; ALTER TABLE sums RENAME TO rest; ALTER TABLE other_name RENAME TO sums");
            db.untrack("rest");
            db.untrack("sums");
            db.track("rest", "SELECT count(*) AS n, sum(v) AS s FROM t");
            db.track("sums", "SELECT id FROM t WHERE v > 5");
        }
    }
}

fn an_older_snapshot_than_what_is_known(db: &mut Database) {
    sums(db);
    let mut other = db.connect();
    db.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(db.number("SELECT s FROM sums"), 54);
    other.run("UPDATE t SET v = v + 1");
    other.run(&refresh("sums"));
    // The contents of its snapshot are not the last ones.
    assert_eq!(db.fails(&refresh("sums")).sqlstate, "40001");
    db.run("ROLLBACK");
    db.check();
    db.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    db.run("UPDATE t SET v = v + 1");
    other.run("INSERT INTO t VALUES (70, 70)");
    other.run(&refresh("sums"));
    assert_eq!(db.fails(&refresh("sums")).sqlstate, "40001");
    db.run("ROLLBACK");
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn rows_that_change_places(db: &mut Database) {
    sums(db);
    for i in 0..40 {
        db.stream(&format!("st{i}"), &format!("SELECT id, v + {i} AS v FROM t WHERE id <> {i}"));
    }
    db.run("BEGIN");
    db.run("UPDATE t SET v = v + 1");
    db.refresh_all();
    db.run("COMMIT");
    // All versions are of one transaction, and the first ones go.
    for i in (0..40).filter(|i| i % 3 > 0) {
        db.run(&format!("SELECT pgtrickle.drop_stream_table('st{i}')"));
        db.untrack(&format!("st{i}"));
    }
    for vacuum in ["VACUUM FULL", "CLUSTER pgtrickle.pgt_stream_tables USING idx_pgt_name; VACUUM", "VACUUM"] {
        for step in vacuum.split("; ").map(|step| {
            if step.starts_with("VACUUM") { format!("{step} pgtrickle.pgt_stream_tables") } else { step.into() }
        }) {
            db.run(&step);
        }
        db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 5", "DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (2, 4)"]);
    }
}
