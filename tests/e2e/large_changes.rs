//! Large changes in AUTO mode: they are counted before they are read. And what has been consumed is removed for good, whoever rolls back
//! or is killed.

use pgtrickle_tests::{Database, Options, Server, Session, create, refresh, tests, wait_until};

tests![
    a_change_is_counted_before_it_is_read,
    a_truncated_source_is_recomputed_whatever_the_count,
    rows_of_open_transactions_do_not_count,
    two_sources_change,
    what_a_slow_reader_lacks_stays,
    a_refresh_that_rolls_back_has_removed_nothing_that_it_read,
    removal_by_a_transaction_that_has_consumed_more,
    an_old_snapshot_does_not_take_removed_rows_for_none,
    readers_that_are_created_beside_removals,
    out_of_line_values_go_with_their_rows,
    a_buffer_with_an_index,
    keys_change_places,
    killed_after_a_removal,
];

const SUMS: &str = "SELECT k, count(*) AS n, sum(v) AS s FROM t GROUP BY k";
const ROWS: &str = "SELECT id, k, v FROM t WHERE k > 1";

fn table(session: &mut Session) {
    session.run("CREATE TABLE t (id int PRIMARY KEY, k int NOT NULL, v numeric)");
    session.run("INSERT INTO t SELECT i, i % 10, i * 0.1 FROM generate_series(1, 5000) AS i; ANALYZE t");
}

fn auto(db: &mut Database, name: &str, query: &str) {
    db.run(&create(name, query, "refresh_mode => 'AUTO', schedule => '1h'"));
    db.track(name, query);
}

/// Has it expect one way to take much longer than the other.
fn prefer(db: &mut Database, full: bool) {
    let (recomputed, delta) = if full { (1.0, 1e6) } else { (1e6, 1.0) };
    let line = |ms| format!(r#"{{"rows": 1000, "ms": {ms}, "each": 0, "samples": 3}}"#);
    db.run(&format!(
        r#"UPDATE pgtrickle.pgt_stream_tables SET costs = '{{"full": {}, "fixed_ms": {delta}, "samples": 3, "many": {}, "delta_discount": 1, "full_discount": 1}}'"#,
        line(recomputed),
        line(delta),
    ));
}

/// What the last refresh did, and of how many changed rows it knew.
fn last(db: &mut Database, name: &str) -> (String, i64) {
    let entry = format!(
        "FROM pgtrickle.pgt_refresh_history JOIN pgtrickle.pgt_stream_tables USING (pgt_id) WHERE pgt_name = '{name}' \
         ORDER BY refresh_id DESC LIMIT 1"
    );
    (db.text(&format!("SELECT action {entry}")), db.number(&format!("SELECT delta_row_count {entry}")))
}

fn buffer(session: &mut Session) -> String {
    session.text(
        "SELECT buffer_relid::regclass::text FROM pgtrickle.pgt_change_tracking WHERE source_relid = 't'::regclass",
    )
}

fn held(session: &mut Session, buffer: &str) -> i64 {
    session.number(&format!("SELECT count(*) FROM {buffer}"))
}

fn a_change_is_counted_before_it_is_read(db: &mut Database) {
    table(db);
    auto(db, "sums", SUMS);
    // While it is open, each row of later ones is looked at, or each on some of the pages.
    let mut older = db.connect();
    older.run("BEGIN; SELECT pg_current_xact_id()");
    for full in [true, false, true] {
        prefer(db, full);
        // Nobody has found out yet that these rows are not there.
        db.run("BEGIN; UPDATE t SET v = v + 1; SAVEPOINT s; UPDATE t SET v = v + 1; ROLLBACK TO s; COMMIT");
        db.refresh("sums");
        db.check();
        match full {
            true => {
                let (action, rows) = last(db, "sums");
                assert!(action == "FULL" && (10_000..=20_000).contains(&rows), "{action} of {rows} rows");
            }
            false => assert_eq!(last(db, "sums"), ("DIFFERENTIAL".into(), 10_000)),
        }
    }
    prefer(db, true);
    db.cycle_in_full(&["UPDATE t SET v = v + 1 WHERE id <= 1000"]);
    assert_eq!(last(db, "sums"), ("FULL".into(), 2_000), "rows that were consumed do not count");
}

fn a_truncated_source_is_recomputed_whatever_the_count(db: &mut Database) {
    table(db);
    auto(db, "sums", SUMS);
    auto(db, "wide", ROWS);
    for full in [false, true] {
        prefer(db, full);
        db.cycle_in_full(&["TRUNCATE t; INSERT INTO t SELECT i, i % 7, i FROM generate_series(1, 3000) AS i"]);
        assert_eq!(last(db, "sums").0, "FULL");
        prefer(db, full);
        db.cycle_in_full(&["BEGIN; SAVEPOINT s; TRUNCATE t; ROLLBACK TO s; DELETE FROM t WHERE id < 2000; COMMIT"]);
        assert_eq!(last(db, "wide").0, if full { "FULL" } else { "DIFFERENTIAL" });
        prefer(db, full);
        db.cycle_in_full(&["TRUNCATE t", "INSERT INTO t VALUES (1, 1, NULL), (2, 2, NULL)"]);
    }
}

fn rows_of_open_transactions_do_not_count(db: &mut Database) {
    table(db);
    auto(db, "sums", SUMS);
    let mut writer = db.connect();
    writer.run("BEGIN; UPDATE t SET v = v + 1 WHERE id > 2000");
    prefer(db, true);
    db.cycle_in_full(&["UPDATE t SET v = v + 1 WHERE id <= 200"]);
    assert_eq!(last(db, "sums"), ("FULL".into(), 400));
    db.run("UPDATE t SET v = v + 1 WHERE id <= 100");
    writer.run("COMMIT");
    db.cycle_in_full(&[]);
    assert_eq!(last(db, "sums"), ("FULL".into(), 6_200));
}

fn two_sources_change(db: &mut Database) {
    table(db);
    db.run("CREATE TABLE u (k int, name text); INSERT INTO u SELECT i % 10, 'u' || i FROM generate_series(1, 20) AS i");
    auto(db, "pairs", "SELECT t.id, u.name, t.v FROM t JOIN u ON u.k = t.k WHERE t.id < 500");
    for full in [true, false, true, false] {
        prefer(db, full);
        db.cycle_in_full(&[
            "UPDATE t SET v = v + 1, k = (k + 1) % 10",
            "UPDATE u SET name = name || '.'; DELETE FROM u WHERE k = 3; INSERT INTO u VALUES (3, 'x'), (3, 'x')",
        ]);
        assert_eq!(last(db, "pairs").0, if full { "FULL" } else { "DIFFERENTIAL" });
        prefer(db, full);
        db.cycle_in_full(&["INSERT INTO u VALUES (NULL, 'x')"]);
        assert_eq!(last(db, "pairs").1, 1, "the other one did not change");
    }
}

fn what_a_slow_reader_lacks_stays(db: &mut Database) {
    table(db);
    db.stream("fast", SUMS);
    auto(db, "slow", ROWS);
    let buffer = buffer(db);
    for full in [true, false] {
        for _ in 0..5 {
            db.run("UPDATE t SET v = v + 1 WHERE id <= 2000");
            db.refresh("fast");
        }
        assert!(held(db, &buffer) >= 20_000);
        prefer(db, full);
        db.refresh("slow");
        db.check();
        db.cycle_in_full(&["DELETE FROM t WHERE id = 3000", "UPDATE t SET k = 1 WHERE id = 3001"]);
        db.cycle_in_full(&["UPDATE t SET v = 1 WHERE id <= 2000"]);
        db.cycle_in_full(&["UPDATE t SET v = v + 1 WHERE id <= 2000"]);
        let left = held(db, &buffer);
        assert!(left <= 8_000, "{left} rows are left in the buffer");
    }
}

fn a_refresh_that_rolls_back_has_removed_nothing_that_it_read(db: &mut Database) {
    table(db);
    db.stream("sums", SUMS);
    auto(db, "wide", ROWS);
    let buffer = buffer(db);
    for full in [false, true] {
        db.cycle_in_full(&["UPDATE t SET v = v + 1"]);
        db.run("UPDATE t SET v = v * 2");
        prefer(db, full);
        for _ in 0..2 {
            db.run(&format!("BEGIN; {}; {}; ROLLBACK", refresh("sums"), refresh("wide")));
            db.run(&format!("BEGIN; SAVEPOINT s; {}; ROLLBACK TO s; {}; COMMIT", refresh("wide"), refresh("sums")));
            db.run("UPDATE t SET v = v - 1 WHERE id <= 2500");
        }
        let left = held(db, &buffer);
        assert!(
            (20_000..30_000).contains(&left),
            "{left} rows: what was consumed before is gone, the others are there"
        );
        db.cycle_in_full(&[]);
        db.cycle_in_full(&["UPDATE t SET v = v + 1 WHERE id < 9"]);
    }
}

/// Each refresh in one transaction consumes what the transaction wrote before.
fn removal_by_a_transaction_that_has_consumed_more(db: &mut Database) {
    table(db);
    db.stream("sums", SUMS);
    db.cycle(&["UPDATE t SET v = v + 1"]);
    let mut other = db.connect();
    for end in ["ROLLBACK", "COMMIT"] {
        db.run("BEGIN; UPDATE t SET v = v + 1 WHERE id <= 2000");
        other.run("UPDATE t SET v = v + 1 WHERE id > 3000");
        for _ in 0..3 {
            db.run("UPDATE t SET v = v + 1 WHERE id <= 1000");
            db.refresh("sums");
            db.check();
        }
        db.run(end);
        db.cycle(&[]);
        db.cycle(&["UPDATE t SET v = 0 WHERE id % 100 = 0"]);
    }
}

fn an_old_snapshot_does_not_take_removed_rows_for_none(db: &mut Database) {
    table(db);
    db.stream("sums", SUMS);
    let mut old = db.connect();
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    old.run("SELECT count(*) FROM t");
    let mut older = db.connect();
    db.run("UPDATE t SET v = v + 1");
    older.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    older.run("SELECT count(*) FROM t");
    db.cycle(&[]);
    for _ in 0..3 {
        db.cycle(&["UPDATE t SET v = v + 1"]);
    }
    let left = {
        let buffer = buffer(db);
        held(db, &buffer)
    };
    assert!(left <= 20_000, "{left} rows: old snapshots hold nothing up");
    for session in [&mut old, &mut older] {
        // It sees the contents from before, and changes since or none; either way they are not its own.
        assert_eq!(session.fails(&refresh("sums")).sqlstate, "40001");
        session.run("ROLLBACK");
    }
    db.cycle(&["DELETE FROM t WHERE id = 7"]);
}

fn readers_that_are_created_beside_removals(db: &mut Database) {
    table(db);
    db.stream("sums", SUMS);
    let mut other = db.connect();
    for i in 0..3 {
        db.run("UPDATE t SET v = v + 1");
        db.refresh("sums");
        other.run("BEGIN");
        let (name, query) = (format!("late_{i}"), format!("SELECT k, v FROM t WHERE k = {i}"));
        other.run(&create(&name, &query, "refresh_mode => 'DIFFERENTIAL', schedule => '1h'"));
        db.run("SET lock_timeout = '1ms'");
        assert_eq!(db.attempt("UPDATE t SET v = v + 1").expect_err("the source is locked").sqlstate, "55P03");
        db.run("RESET lock_timeout");
        db.refresh("sums");
        other.run("COMMIT");
        db.track(&name, &query);
        db.cycle(&["UPDATE t SET v = v + 1"]);
        db.cycle(&["UPDATE t SET v = v + 1 WHERE id <= 2000"]);
    }
}

fn out_of_line_values_go_with_their_rows(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, k int, v text)");
    let digits = "(SELECT string_agg(md5(t.id::text || j), '') FROM generate_series(1, 200) AS j)";
    db.run(&format!("INSERT INTO t SELECT i, i % 3 FROM generate_series(1, 300) AS i; UPDATE t SET v = {digits}"));
    db.stream("wide", "SELECT id, k, v FROM t");
    let buffer = buffer(db);
    for i in 0..6 {
        db.cycle(&[&format!("UPDATE t SET v = v || '{i}'"), "UPDATE t SET v = 'short' WHERE id % 7 = 1"]);
    }
    let left = held(db, &buffer);
    assert!(left <= 2_000, "{left} rows are left in the buffer");
    let toast = format!("SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = '{buffer}'::regclass");
    let toast = db.text(&toast);
    let stored = db.number(&format!("SELECT count(DISTINCT chunk_id) FROM {toast}"));
    assert!(0 < stored && stored <= 2_000, "{stored} values are left beside the buffer");
}

fn a_buffer_with_an_index(db: &mut Database) {
    table(db);
    db.stream("sums", SUMS);
    let buffer = buffer(db);
    db.run(&format!("CREATE INDEX watched ON {buffer} (xid)"));
    for i in 0..6 {
        db.cycle(&["UPDATE t SET v = v + 1 WHERE id <= 2000"]);
        if i == 3 {
            db.run(&format!("VACUUM {buffer}"));
        }
    }
    let found = db.number(&format!("SET enable_seqscan = off; SELECT count(*) FROM {buffer} WHERE xid > '0'"));
    assert_eq!(found, held(db, &buffer));
    assert!(found <= 8_000, "{found} rows are left in the buffer");
    db.run("RESET enable_seqscan; DROP INDEX pgtrickle_changes.watched");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

/// A recomputation pairs rows by their key.
fn keys_change_places(db: &mut Database) {
    table(db);
    db.run(
        "CREATE TABLE n (a text COLLATE \"C\" NOT NULL, b date NOT NULL, v float8, j json, k text, PRIMARY KEY (a, b))",
    );
    db.run("INSERT INTO n SELECT i % 7, date '2000-01-01' + i, i, '{}', NULL FROM generate_series(1, 50) AS i");
    auto(db, "keyed", "SELECT id, k, v FROM t");
    auto(db, "two", "SELECT a, b, v, k FROM n");
    auto(db, "documents", "SELECT a, b, j FROM n");
    auto(db, "alone", "SELECT id FROM t WHERE v > 10");
    auto(db, "groups", SUMS);
    for writes in [
        "UPDATE t SET id = 10001 - id; UPDATE n SET b = b + 1000 WHERE a = '3'",
        "UPDATE t SET v = v * 1.00; UPDATE n SET v = '-0' WHERE a = '0'; UPDATE n SET v = 'NaN', j = '{ }' WHERE a = '1'",
        "UPDATE n SET v = 0 WHERE v = 0; UPDATE n SET k = '' WHERE a = '2'",
        "DELETE FROM t WHERE id % 2 = 0; DELETE FROM n WHERE a = '5'; UPDATE t SET v = NULL WHERE id % 3 = 0",
        "INSERT INTO t SELECT i, 3, NULL FROM generate_series(20001, 20100) AS i; UPDATE n SET k = NULL",
        "DELETE FROM t; DELETE FROM n",
        "INSERT INTO t VALUES (1, 1, 1.0), (2, 2, 2); INSERT INTO n VALUES ('', '-infinity', 0, NULL, NULL)",
    ] {
        prefer(db, true);
        db.cycle_in_full(&[writes]);
        assert_eq!(last(db, "keyed").0, "FULL");
        for other in ["n JOIN two AS o USING (a, b)", "t AS n JOIN keyed AS o USING (id)"] {
            let lost = db.number(&format!("SELECT count(*) FROM {other} WHERE n.v::text IS DISTINCT FROM o.v::text"));
            assert_eq!(lost, 0, "values that are equal and not the same");
        }
    }
}

fn killed_after_a_removal(_: &mut Database) {
    let mut server = Server::start(Options { durable: true, preload: true });
    let name = server.create_database("crash", false);
    let mut session = server.connect(&name);
    table(&mut session);
    session.run(&create("sums", SUMS, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'"));
    session.run(&create("wide", ROWS, "schedule => '1h', refresh_mode => 'AUTO'"));
    let buffer = buffer(&mut session);
    for round in 0..4 {
        // Nothing waits for the disk, so that a commit may be lost; what it gave a reason for is lost with it.
        session.run("SET synchronous_commit = off");
        for i in 0..3 + round {
            session.run("UPDATE t SET v = v + 1, k = (k + 1) % 10");
            session.run(&refresh(["sums", "wide"][i % 2]));
            session.run(&refresh("sums"));
        }
        if round % 2 == 1 {
            // The pages without the rows reach the disk, and so does the log before.
            session.run(&format!("CHECKPOINT; BEGIN; {}; {}", refresh("sums"), refresh("wide")));
            session.run("CHECKPOINT");
        }
        server.kill();
        server.resume();
        session = server.connect(&name);
        for name in ["sums", "wide"] {
            session.run(&refresh(name));
            let verdict = session.lines(&format!("SELECT rows_missing, rows_extra FROM pgtrickle.verify('{name}')"));
            assert_eq!(verdict, ["0|0"], "{name}");
        }
    }
    for _ in 0..3 {
        session.run("UPDATE t SET v = v + 1");
        session.run(&refresh("sums"));
        session.run(&refresh("wide"));
    }
    wait_until("a short buffer", || {
        session.run(&refresh("sums"));
        held(&mut session, &buffer) <= 20_000
    });
}
