//! The server is killed with SIGKILL; after recovery nothing is lost, counted twice or left over.

use pgtrickle_tests::{Database, Failure, Options, Server, Session, refresh, tests, wait_until};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

tests![
    killed_while_writing_and_refreshing,
    killed_in_the_middle_of_a_refresh,
    killed_in_the_middle_of_creation,
    more_databases_than_workers,
    an_unlogged_source_is_emptied,
    without_preload
];

/// A server of the test's own, with a database on it.
fn durable() -> (Server, String) {
    let server = Server::start(Options { durable: true, preload: true });
    let name = server.create_database("crash", false);
    (server, name)
}

/// The accounts keep their sum, and one stream table after another equals its query.
const TABLES: [(&str, &str); 4] = [
    ("totals", "SELECT branch, count(*) AS n, sum(balance) AS total FROM accounts GROUP BY branch"),
    ("bank", "SELECT sum(total) AS total, sum(n) AS n FROM totals"),
    ("rich", "SELECT id, balance FROM accounts WHERE balance > 1000"),
    ("named", "SELECT a.id, a.balance, b.name FROM accounts AS a JOIN branches AS b ON b.id = a.branch"),
];

fn bank(session: &mut Session) {
    session.run("CREATE TABLE branches (id int PRIMARY KEY, name text); CREATE TABLE accounts (id int PRIMARY KEY, branch int, balance int)");
    session.run("INSERT INTO branches SELECT i, 'b' || i FROM generate_series(0, 4) AS i");
    session.run("INSERT INTO accounts SELECT i, i % 5, 1000 FROM generate_series(1, 200) AS i");
    for (name, query) in TABLES {
        session.run(&pgtrickle_tests::create(name, query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'"));
    }
}

/// Runs `step` until the connection is lost.
fn until_killed(
    mut session: Session,
    mut step: impl FnMut(&mut Session, u32) -> Result<(), Failure> + Send + 'static,
) -> JoinHandle<u32> {
    thread::spawn(move || {
        for count in 0.. {
            match step(&mut session, count) {
                Ok(()) => {}
                Err(failure) if failure.sqlstate.is_empty() || failure.sqlstate.starts_with("57") => return count,
                Err(failure) => panic!("{failure:?}"),
            }
        }
        unreachable!("the server is killed before that")
    })
}

fn check(session: &mut Session) {
    for (name, _) in TABLES {
        session.run(&refresh(name));
    }
    for (name, _) in TABLES {
        let verdict = session.lines(&format!("SELECT rows_missing, rows_extra FROM pgtrickle.verify('{name}')"));
        assert_eq!(verdict, ["0|0"], "{name}");
    }
    for (name, query) in TABLES {
        let difference = session.number(&format!(
            "SELECT (SELECT count(*) FROM (({query}) EXCEPT ALL TABLE {name}) AS x) + \
             (SELECT count(*) FROM (TABLE {name} EXCEPT ALL ({query})) AS x)"
        ));
        assert_eq!(difference, 0, "{name} differs from its query");
    }
    assert_eq!(session.lines("SELECT total, n FROM bank"), ["200000|200"]);
}

fn killed_while_writing_and_refreshing(_: &mut Database) {
    let (mut server, name) = durable();
    bank(&mut server.connect(&name));
    for round in 0..4_u32 {
        let writers: Vec<_> = (0..2_u32)
            .map(|who| {
                until_killed(server.connect(&name), move |session, step| {
                    let (from, to) =
                        ((step * 7 + who * 100 + round) % 100 + who * 100 + 1, (step * 13) % 100 + who * 100 + 1);
                    session.attempt(&format!(
                        "UPDATE accounts SET balance = balance - 5 WHERE id = {from}; \
                     UPDATE accounts SET balance = balance + 5 WHERE id = {to}; \
                     UPDATE accounts SET branch = (branch + 1) % 5 WHERE id = {to}"
                    ))
                })
            })
            .collect();
        let refresher = until_killed(server.connect(&name), |session, step| {
            session.attempt(&refresh(TABLES[step as usize % TABLES.len()].0))
        });
        let mut observer = server.connect(&name);
        let goal = observer.number("SELECT coalesce(max(refresh_id), 0) FROM pgtrickle.pgt_refresh_history")
            + 15
            + i64::from(round);
        wait_until("some refreshes", || {
            observer.number("SELECT coalesce(max(refresh_id), 0) FROM pgtrickle.pgt_refresh_history") > goal
        });
        server.kill();
        for session in writers.into_iter().chain([refresher]) {
            session.join().expect("nothing but the kill ends a session");
        }
        server.resume();
        check(&mut server.connect(&name));
    }
    let mut session = server.connect(&name);
    assert_eq!(session.number("SELECT count(*) FROM pg_replication_slots"), 0);
    assert_eq!(session.number("SELECT count(*) FROM pg_class WHERE relpersistence = 't'"), 0);
    session.run("UPDATE accounts SET balance = balance + 1; UPDATE accounts SET balance = balance - 1");
    check(&mut session);
}

const GATE: &str = "CREATE FUNCTION gate(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS \
     $$BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN $1; END$$";

fn killed_in_the_middle_of_a_refresh(_: &mut Database) {
    let (mut server, name) = durable();
    let mut session = server.connect(&name);
    session.run(GATE);
    session
        .run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 9) AS i");
    let query = "SELECT id, gate(v) AS v FROM t";
    session.run(&pgtrickle_tests::create("st", query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'"));
    session.run("UPDATE t SET v = v + 1");
    session.run("SELECT pg_advisory_lock(42)");
    let running = server.connect(&name).start(&refresh("st"));
    running.wait_blocked(&mut session);
    server.kill();
    assert!(running.join().1.is_err());
    server.resume();
    let mut session = server.connect(&name);
    assert_eq!(session.number("SELECT sum(v) FROM st"), 45);
    session.run(&refresh("st"));
    assert_eq!(session.lines("SELECT rows_missing, rows_extra FROM pgtrickle.verify('st')"), ["0|0"]);
    assert_eq!(session.number("SELECT sum(v) FROM st"), 54);
}

fn killed_in_the_middle_of_creation(_: &mut Database) {
    let (mut server, name) = durable();
    let mut session = server.connect(&name);
    session.run(GATE);
    session
        .run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 9) AS i");
    session.run("SELECT pg_advisory_lock(42)");
    let call = pgtrickle_tests::create("st", "SELECT id, gate(v) AS v FROM t", "schedule => '1h'");
    let running = server.connect(&name).start(&call);
    running.wait_blocked(&mut session);
    server.kill();
    assert!(running.join().1.is_err());
    server.resume();
    let mut session = server.connect(&name);
    assert_eq!(session.number("SELECT count(*) FROM pgtrickle.pgt_stream_tables"), 0);
    assert_eq!(session.number("SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass"), 0);
    session.run(&call);
    assert_eq!(session.number("SELECT sum(v) FROM st"), 45);
}

/// Without shared_preload_libraries everything works but the scheduler.
fn without_preload(_: &mut Database) {
    let server = Arc::new(Server::start(Options { durable: false, preload: false }));
    let mut db = Database::create(&server, "bare", false);
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)");
    db.stream("sums", "SELECT count(*) AS n, sum(v) AS s FROM t");
    db.stream("above", "SELECT s FROM sums WHERE n > 1");
    db.cycle(&["INSERT INTO t VALUES (3, 3)", "UPDATE t SET v = v + 1", "DELETE FROM t WHERE id = 1"]);
    let scheduler = "SELECT severity FROM pgtrickle.health_check() WHERE check_name = 'scheduler_running'";
    assert_eq!(db.text(scheduler), "ERROR");
}

/// The launcher says that a database has to wait, and lives on.
fn more_databases_than_workers(_: &mut Database) {
    let (mut server, _) = durable();
    server.connect("postgres").run("ALTER SYSTEM SET max_worker_processes = 3");
    for label in ["one", "two", "three"] {
        server.create_database(label, true);
    }
    server.kill();
    server.resume();
    wait_until("the launcher to run out of workers", || server.log().contains("no free background worker"));
    assert_eq!(server.connect("postgres").number("SELECT 1"), 1);
    assert!(!server.log().contains("terminated by signal"), "{}", server.log());
}

/// A crash empties an unlogged table and nothing fires; so it is never read by deltas.
fn an_unlogged_source_is_emptied(_: &mut Database) {
    let (mut server, name) = durable();
    let mut session = server.connect(&name);
    session.run("CREATE UNLOGGED TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)");
    let query = "SELECT id, v FROM t";
    let failure = session.fails(&pgtrickle_tests::create("st", query, "refresh_mode => 'DIFFERENTIAL'"));
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
    session.run(&pgtrickle_tests::create("st", query, "refresh_mode => 'AUTO'"));
    assert_eq!(session.number("SELECT count(*) FROM st"), 2);
    server.kill();
    server.resume();
    let mut session = server.connect(&name);
    assert_eq!(session.number("SELECT count(*) FROM t"), 0);
    session.run(&refresh("st"));
    assert_eq!(session.number("SELECT count(*) FROM st"), 0);
}
