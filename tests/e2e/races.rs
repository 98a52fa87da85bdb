//! Sessions beside each other. A function in the query that waits for a lock holds a refresh in the middle of its work
//! for as long as a test wants.

use pgtrickle_tests::{Database, Session, create, refresh, tests, wait_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

tests![
    refresh_beside_a_refresh,
    refresh_beside_a_running_refresh,
    two_refreshes_at_once_over_and_over,
    create_beside_an_open_writer,
    create_beside_busy_writers,
    writes_during_a_refresh,
    readers_do_not_wait_for_a_refresh,
    readers_do_not_wait_for_a_full_refresh,
    a_cancelled_refresh_changes_nothing,
    a_terminated_refresh_changes_nothing,
    drop_beside_a_refresh,
    create_beside_create_of_the_same_name,
    alter_source_during_a_refresh,
    writers_do_not_wait_for_a_refresh,
    many_writers_and_a_refresher,
    create_beside_drop_of_another_reader,
    create_beside_drop_of_the_only_reader,
    drops_of_all_readers_at_once,
];

const GATE: &str = "CREATE FUNCTION gate(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS \
     $$BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN $1; END$$";

fn gated(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g int, v int); INSERT INTO t SELECT i, i % 3, i FROM generate_series(1, 9) i");
    db.run(GATE);
    db.stream("st", "SELECT id, gate(v) AS v FROM t");
}

/// Starts a refresh of `st` that stops in the middle until `gatekeeper` lets it go.
fn stopped_refresh(db: &mut Database, gatekeeper: &mut Session) -> pgtrickle_tests::Running {
    gatekeeper.run("SELECT pg_advisory_lock(42)");
    let running = db.connect().start(&refresh("st"));
    running.wait_blocked(gatekeeper);
    running
}

const OPEN: &str = "SELECT pg_advisory_unlock(42)";

fn refresh_beside_a_refresh(db: &mut Database) {
    db.run("CREATE TABLE t (v int); INSERT INTO t VALUES (1)");
    db.stream("st", "SELECT sum(v) AS s FROM t");
    db.run("INSERT INTO t VALUES (2)");
    let mut other = db.connect();
    other.run("BEGIN");
    other.run(&refresh("st"));
    db.notices();
    db.refresh("st");
    let notices = db.notices();
    assert!(notices.iter().any(|notice| notice.message.contains("already in progress")), "{notices:?}");
    assert_eq!(db.number("SELECT s FROM st"), 1);
    other.run("COMMIT");
    db.check();
    db.cycle(&["INSERT INTO t VALUES (3)"]);
}

fn refresh_beside_a_running_refresh(db: &mut Database) {
    gated(db);
    db.run("UPDATE t SET v = v + 1");
    let mut gatekeeper = db.connect();
    let running = stopped_refresh(db, &mut gatekeeper);
    db.notices();
    db.refresh("st");
    assert!(db.notices().iter().any(|notice| notice.message.contains("already in progress")));
    gatekeeper.run(OPEN);
    running.finish();
    db.check();
    db.cycle(&["DELETE FROM t WHERE id = 1"]);
}

fn two_refreshes_at_once_over_and_over(db: &mut Database) {
    db.run("CREATE TABLE t (id int, v int)");
    db.stream("st", "SELECT v, count(*) AS n FROM t GROUP BY v");
    for round in 0..30 {
        let write = format!(
            "INSERT INTO t SELECT i, i % 4 FROM generate_series({round}, {round} + 20) AS i; {}",
            refresh("st")
        );
        let running = [db.connect().start(&write), db.connect().start(&refresh("st")), db.connect().start(&write)];
        for statement in running {
            statement.finish();
        }
        db.cycle(&[]);
    }
}

fn create_beside_an_open_writer(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)");
    let mut writer = db.connect();
    writer.run("BEGIN; INSERT INTO t VALUES (2, 2)");
    let query = "SELECT id, v FROM t";
    let creating = db.connect().start(&create("st", query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'"));
    creating.wait_blocked(db);
    writer.run("UPDATE t SET v = 20 WHERE id = 2");
    writer.run("COMMIT");
    creating.finish();
    db.track("st", query);
    db.check();
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn create_beside_busy_writers(db: &mut Database) {
    db.run("CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, g int, v int)");
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2).map(|_| busy_writer(db.connect(), Arc::clone(&stop))).collect();
    let mut observer = db.connect();
    wait_until("the writers to have begun", || observer.number("SELECT count(*) FROM t") > 50);
    for i in 0..5 {
        db.stream(&format!("sums{i}"), "SELECT g, count(*) AS n, sum(v) AS s FROM t GROUP BY g");
        db.stream(&format!("copies{i}"), "SELECT id, v FROM t WHERE g = 1");
        db.refresh_all();
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().expect("the writer does not fail");
    }
    db.cycle(&[]);
}

fn busy_writer(mut session: Session, stop: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            session.run("BEGIN; INSERT INTO t (g, v) SELECT i % 3, i FROM generate_series(1, 5) AS i");
            session.run("SAVEPOINT s; DELETE FROM t WHERE id % 13 = 0; ROLLBACK TO s");
            session.run("INSERT INTO t (g, v) VALUES (1, 1); COMMIT");
            session.run("BEGIN; INSERT INTO t (g, v) VALUES (1, 100); ROLLBACK");
        }
    })
}

fn writes_during_a_refresh(db: &mut Database) {
    gated(db);
    db.run("INSERT INTO t VALUES (100, 1, 1)");
    let mut gatekeeper = db.connect();
    let running = stopped_refresh(db, &mut gatekeeper);
    db.run("UPDATE t SET v = v + 1; INSERT INTO t VALUES (101, 1, 1); DELETE FROM t WHERE id = 100");
    gatekeeper.run(OPEN);
    running.finish();
    assert_eq!(db.lines("SELECT id FROM st WHERE id > 99"), ["100"]);
    db.cycle(&[]);
}

fn readers_do_not_wait_for_a_refresh(db: &mut Database) {
    gated(db);
    db.run("UPDATE t SET v = v + 1");
    let mut gatekeeper = db.connect();
    let running = stopped_refresh(db, &mut gatekeeper);
    db.run("SET lock_timeout = '2s'");
    assert_eq!(db.number("SELECT sum(v) FROM st"), 45);
    gatekeeper.run(OPEN);
    running.finish();
    assert_eq!(db.number("SELECT sum(v) FROM st"), 54);
    db.check();
}

fn readers_do_not_wait_for_a_full_refresh(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 9) i");
    db.run(GATE);
    let query = "SELECT id, gate(v) AS v FROM t";
    db.stream_with("st", query, "schedule => '1h', refresh_mode => 'FULL'");
    db.track("st", query);
    db.run("UPDATE t SET v = v + 1");
    let mut gatekeeper = db.connect();
    let running = stopped_refresh(db, &mut gatekeeper);
    db.run("SET lock_timeout = '2s'");
    assert_eq!(db.number("SELECT sum(v) FROM st"), 45);
    gatekeeper.run(OPEN);
    running.finish();
    db.check();
}

fn a_cancelled_refresh_changes_nothing(db: &mut Database) {
    gated(db);
    db.run("UPDATE t SET v = v + 1");
    let mut gatekeeper = db.connect();
    let running = stopped_refresh(db, &mut gatekeeper);
    db.run(&format!("SELECT pg_cancel_backend({})", running.pid()));
    let (mut session, result) = running.join();
    assert_eq!(result.expect_err("it was cancelled").sqlstate, "57014");
    assert_eq!(db.number("SELECT sum(v) FROM st"), 45);
    gatekeeper.run(OPEN);
    session.run(&refresh("st"));
    db.check();
    db.cycle(&["DELETE FROM t WHERE id < 3"]);
}

fn a_terminated_refresh_changes_nothing(db: &mut Database) {
    gated(db);
    db.run("UPDATE t SET v = v + 1");
    let mut gatekeeper = db.connect();
    let running = stopped_refresh(db, &mut gatekeeper);
    db.run(&format!("SELECT pg_terminate_backend({})", running.pid()));
    let (session, result) = running.join();
    drop(session);
    assert!(result.is_err());
    gatekeeper.run(OPEN);
    assert_eq!(db.number("SELECT sum(v) FROM st"), 45);
    db.cycle(&["DELETE FROM t WHERE id < 3"]);
}

fn drop_beside_a_refresh(db: &mut Database) {
    gated(db);
    db.run("UPDATE t SET v = v + 1");
    let mut gatekeeper = db.connect();
    let running = stopped_refresh(db, &mut gatekeeper);
    let dropping = db.connect().start("SELECT pgtrickle.drop_stream_table('st')");
    dropping.wait_blocked(db);
    gatekeeper.run(OPEN);
    running.finish();
    dropping.finish();
    assert_eq!(db.value("SELECT to_regclass('st')::text"), None);
    db.untrack("st");
    db.run("UPDATE t SET v = v + 1");
}

fn create_beside_create_of_the_same_name(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)");
    let call = create("st", "SELECT id, v FROM t", "schedule => '1h', refresh_mode => 'DIFFERENTIAL'");
    let mut first = db.connect();
    first.run("BEGIN");
    first.run(&call);
    let second = db.connect().start(&call);
    second.wait_blocked(db);
    first.run("COMMIT");
    let (_, result) = second.join();
    // PostgreSQL itself reports the race for a name as a duplicate key of its catalog.
    let failure = result.expect_err("the name is taken");
    assert!(["42P07", "23505"].contains(&failure.sqlstate.as_str()), "{failure:?}");
    db.track("st", "SELECT id, v FROM t");
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn alter_source_during_a_refresh(db: &mut Database) {
    gated(db);
    db.run("UPDATE t SET v = v + 1");
    let mut gatekeeper = db.connect();
    let running = stopped_refresh(db, &mut gatekeeper);
    let altering = db.connect().start("ALTER TABLE t ADD COLUMN extra int DEFAULT 7");
    gatekeeper.run(OPEN);
    running.finish();
    altering.finish();
    db.check();
    db.cycle(&["UPDATE t SET extra = 8; INSERT INTO t VALUES (100, 1, 1, 1)"]);
}

fn writers_do_not_wait_for_a_refresh(db: &mut Database) {
    gated(db);
    db.run("UPDATE t SET v = v + 1");
    let mut gatekeeper = db.connect();
    let running = stopped_refresh(db, &mut gatekeeper);
    db.run("SET lock_timeout = '2s'");
    db.run("INSERT INTO t VALUES (100, 1, 1); DELETE FROM t WHERE id = 2");
    gatekeeper.run(OPEN);
    running.finish();
    db.cycle(&[]);
}

fn many_writers_and_a_refresher(db: &mut Database) {
    db.run("CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, g int, v int)");
    db.stream("sums", "SELECT g, count(*) AS n, sum(v) AS s, max(id) AS newest FROM t GROUP BY g");
    db.stream("pairs", "SELECT a.id, b.id AS other FROM t AS a JOIN t AS b ON a.id = b.id + 1 WHERE a.v = 1");
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3).map(|_| busy_writer(db.connect(), Arc::clone(&stop))).collect();
    for _ in 0..40 {
        db.refresh_all();
        // The contents are one snapshot's: the sums of both columns belong together.
        assert!(db.holds("SELECT coalesce(sum(n), 0) % 6 = 0 FROM sums"), "a transaction was seen in part");
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().expect("the writer does not fail");
    }
    db.cycle(&[]);
}

fn reader(name: &str) -> String {
    create(name, "SELECT id, v FROM t", "schedule => '1h', refresh_mode => 'DIFFERENTIAL'")
}

/// A session creates `st3` and refreshes it, and has not committed when another one drops `st1`, in either order of their commits.
fn create_beside_drop(db: &mut Database, others: &[&str]) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 2000) AS i");
    for round in 0..2 {
        db.run(&reader("st1"));
        for other in others {
            db.stream(other, "SELECT id, v FROM t");
        }
        let mut creator = db.connect();
        let mut dropper = db.connect();
        match round {
            0 => {
                creator.run("BEGIN");
                creator.run(&reader("st3"));
                creator.run(&refresh("st3"));
                let dropping = dropper.start("SELECT pgtrickle.drop_stream_table('st1')");
                dropping.wait_blocked(db);
                creator.run("COMMIT");
                dropping.finish();
            }
            _ => {
                dropper.run("BEGIN");
                dropper.run("SELECT pgtrickle.drop_stream_table('st1')");
                let creating = creator.start(&reader("st3"));
                creating.wait_blocked(db);
                dropper.run("COMMIT");
                creator = creating.finish();
            }
        }
        db.track("st3", "SELECT id, v FROM t");
        for _ in 0..3 {
            db.run("UPDATE t SET v = v + 1");
            for other in others {
                db.refresh(other);
                db.refresh(other);
            }
            creator.run(&refresh("st3"));
            db.check();
        }
        for name in others.iter().chain(&["st3"]) {
            db.untrack(name);
            db.run(&format!("SELECT pgtrickle.drop_stream_table('{name}')"));
        }
        assert_eq!(db.number("SELECT count(*) FROM pgtrickle.pgt_change_tracking"), 0);
        assert_eq!(db.number("SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass"), 0);
    }
}

fn create_beside_drop_of_another_reader(db: &mut Database) {
    create_beside_drop(db, &["st2"]);
}

fn create_beside_drop_of_the_only_reader(db: &mut Database) {
    create_beside_drop(db, &[]);
}

fn drops_of_all_readers_at_once(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)");
    for name in ["st1", "st2", "st3"] {
        db.run(&reader(name));
    }
    let mut first = db.connect();
    first.run("BEGIN; SELECT pgtrickle.drop_stream_table('st1')");
    let others =
        ["st2", "st3"].map(|name| db.connect().start(&format!("SELECT pgtrickle.drop_stream_table('{name}')")));
    others.iter().for_each(|other| other.wait_blocked(db));
    first.run("COMMIT");
    for other in others {
        other.finish();
    }
    assert_eq!(db.number("SELECT count(*) FROM pgtrickle.pgt_change_tracking"), 0);
    assert_eq!(db.number("SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass"), 0);
    db.stream("st", "SELECT id, v FROM t");
    db.cycle(&["UPDATE t SET v = v + 1"]);
}
