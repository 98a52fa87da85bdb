//! A refresh that takes long goes to a worker, and nobody waits for it but those who read its stream table.
//!
//! What takes long here waits for an advisory lock that the test holds, so it takes as long as the test likes.

use pgtrickle_tests::{Database, Session, tests, wait_until};

tests![scheduled:
    nobody_waits_for_a_long_refresh,
    who_reads_it_waits_with_it,
    more_long_refreshes_than_workers,
    without_workers_one_comes_after_the_other,
    a_failure_in_a_worker_is_reported,
    a_worker_that_is_killed_is_replaced,
    a_chain_with_a_long_link_arrives,
    a_scheduler_comes_back_beside_a_worker,
    dropping_what_a_worker_refreshes,
    a_database_with_a_worker_is_dropped,
];

/// Makes a function that returns its argument, once nobody holds the lock.
fn functions(db: &mut Session) {
    db.run(
        "CREATE FUNCTION when_free(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN \
         PERFORM pg_advisory_xact_lock_shared(hashtext(current_database())); RETURN $1; END $$",
    );
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 9) i");
    db.run("CREATE TABLE u (id int PRIMARY KEY, v int); INSERT INTO u SELECT i, i FROM generate_series(1, 9) i");
}

/// A session that makes these refreshes take long, until it is closed.
fn hold(db: &Database) -> Session {
    let mut holder = db.connect();
    holder.run("SELECT pg_advisory_lock(hashtext(current_database()))");
    holder
}

fn live(db: &mut Database, name: &str, query: &str) {
    db.stream_with(name, query, "schedule => '100ms', refresh_mode => 'DIFFERENTIAL'");
    db.track(name, &query.replace("when_free(", "("));
}

fn waiting(session: &mut Session, kind: &str) -> i64 {
    session.number(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_trickle {kind}' AND datname = current_database() \
         AND wait_event_type = 'Lock' AND wait_event = 'advisory'"
    ))
}

#[track_caller]
fn wait_for_workers(session: &mut Session, count: i64) {
    wait_until("the workers to wait for the lock", || waiting(session, "refresh worker") == count);
}

#[track_caller]
fn arrives(db: &mut Database, name: &str) {
    wait_until("the scheduler to refresh", || db.difference_of(name).expect("its query runs").is_none());
}

#[track_caller]
fn all_arrive(db: &mut Database) {
    wait_until("the scheduler to refresh", || db.difference().is_none());
}

fn nobody_waits_for_a_long_refresh(db: &mut Database) {
    functions(db);
    live(db, "long", "SELECT id, when_free(v) AS v FROM t");
    live(db, "beside", "SELECT sum(v) AS s FROM t");
    live(db, "other", "SELECT sum(v) AS s FROM u");
    for _ in 0..2 {
        let holder = hold(db);
        db.run("UPDATE t SET v = v + 1");
        wait_for_workers(db, 1);
        for _ in 0..3 {
            db.run("UPDATE t SET v = v + 1; UPDATE u SET v = v + 1");
            arrives(db, "beside");
            arrives(db, "other");
        }
        assert!(db.difference_of("long").unwrap().is_some());
        drop(holder);
        all_arrive(db);
    }
    assert!(db.fallback().is_none());
}

/// `joined` is never torn: it shows the sum and the rows as of one moment.
fn who_reads_it_waits_with_it(db: &mut Database) {
    functions(db);
    db.run("UPDATE t SET v = 1");
    live(db, "long", "SELECT id, when_free(v) AS v FROM t");
    live(db, "sums", "SELECT sum(v) AS s FROM t");
    live(db, "joined", "SELECT long.id, long.v, sums.s FROM long, sums");
    let holder = hold(db);
    db.run("UPDATE t SET v = v + 1");
    wait_for_workers(db, 1);
    for _ in 0..5 {
        db.run("UPDATE t SET v = v + 1");
        let torn = "SELECT coalesce(bool_or(s <> 9 * v), false) FROM joined";
        assert!(!db.holds(torn), "a diamond torn apart");
    }
    drop(holder);
    all_arrive(db);
}

fn more_long_refreshes_than_workers(db: &mut Database) {
    functions(db);
    for i in 0..5 {
        live(db, &format!("long{i}"), &format!("SELECT id, when_free(v + {i}) AS v FROM t"));
    }
    live(db, "beside", "SELECT sum(v) AS s FROM t");
    let holder = hold(db);
    db.run("UPDATE t SET v = v + 1");
    // One of the four refreshes at the same time is for those that take a moment.
    wait_for_workers(db, 3);
    for _ in 0..3 {
        db.run("UPDATE t SET v = v + 1");
        arrives(db, "beside");
        assert!(waiting(db, "refresh worker") <= 3);
    }
    drop(holder);
    all_arrive(db);
}

fn without_workers_one_comes_after_the_other(db: &mut Database) {
    let name = db.name().to_string();
    db.run(&format!("ALTER DATABASE {name} SET pg_trickle.max_concurrent_refreshes = 1"));
    functions(db);
    live(db, "long", "SELECT id, when_free(v) AS v FROM t");
    live(db, "beside", "SELECT sum(v) AS s FROM t");
    let holder = hold(db);
    db.run("UPDATE t SET v = v + 1");
    wait_until("the scheduler to wait for the lock", || waiting(db, "scheduler") == 1);
    drop(holder);
    all_arrive(db);
}

fn a_failure_in_a_worker_is_reported(db: &mut Database) {
    functions(db);
    live(db, "long", "SELECT id, 10 / when_free(v) AS v FROM t");
    let holder = hold(db);
    db.run("UPDATE t SET v = 0 WHERE id = 1");
    wait_for_workers(db, 1);
    drop(holder);
    wait_until("the error to be recorded", || {
        db.holds(
            "SELECT status = 'ERROR' AND last_error_message LIKE '%division by zero%' \
             FROM pgtrickle.pgt_stream_tables WHERE pgt_name = 'long'",
        )
    });
    db.run("UPDATE t SET v = 1 WHERE v = 0; SELECT pgtrickle.resume_stream_table('long')");
    all_arrive(db);
}

fn a_worker_that_is_killed_is_replaced(db: &mut Database) {
    functions(db);
    live(db, "long", "SELECT id, when_free(v) AS v FROM t");
    let holder = hold(db);
    db.run("UPDATE t SET v = v + 1");
    wait_for_workers(db, 1);
    db.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE backend_type = 'pg_trickle refresh worker' AND datname = current_database()",
    );
    wait_until("the error to be recorded", || {
        db.holds("SELECT consecutive_errors = 1 FROM pgtrickle.pgt_stream_tables WHERE pgt_name = 'long'")
    });
    wait_for_workers(db, 1);
    drop(holder);
    all_arrive(db);
    assert_eq!(db.number("SELECT consecutive_errors FROM pgtrickle.pgt_stream_tables WHERE pgt_name = 'long'"), 0);
}

fn a_chain_with_a_long_link_arrives(db: &mut Database) {
    functions(db);
    live(db, "first", "SELECT id, v FROM t WHERE v > 0");
    live(db, "second", "SELECT id, when_free(v) AS v FROM first");
    live(db, "third", "SELECT sum(v) AS s FROM second");
    live(db, "beside", "SELECT sum(v) AS s FROM t");
    for _ in 0..2 {
        let holder = hold(db);
        db.run("UPDATE t SET v = v + 1");
        wait_for_workers(db, 1);
        arrives(db, "beside");
        drop(holder);
        all_arrive(db);
    }
}

fn a_scheduler_comes_back_beside_a_worker(db: &mut Database) {
    functions(db);
    live(db, "long", "SELECT id, when_free(v) AS v FROM t");
    live(db, "beside", "SELECT sum(v) AS s FROM t");
    let holder = hold(db);
    db.run("UPDATE t SET v = v + 1");
    wait_for_workers(db, 1);
    db.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE backend_type = 'pg_trickle scheduler' AND datname = current_database()",
    );
    db.run("UPDATE t SET v = v + 1");
    arrives(db, "beside");
    wait_for_workers(db, 1);
    drop(holder);
    all_arrive(db);
}

fn dropping_what_a_worker_refreshes(db: &mut Database) {
    functions(db);
    live(db, "long", "SELECT id, when_free(v) AS v FROM t");
    live(db, "beside", "SELECT sum(v) AS s FROM t");
    let holder = hold(db);
    db.run("UPDATE t SET v = v + 1");
    wait_for_workers(db, 1);
    let dropping = db.connect().start("SELECT pgtrickle.drop_stream_table('long')");
    dropping.wait_blocked(db);
    drop(holder);
    dropping.finish();
    db.untrack("long");
    db.run("UPDATE t SET v = v + 1");
    all_arrive(db);
}

fn a_database_with_a_worker_is_dropped(db: &mut Database) {
    let server = std::sync::Arc::clone(db.server());
    let name = server.create_database("with_worker", true);
    let mut inside = server.connect(&name);
    inside.run(
        "CREATE FUNCTION sleepy(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN \
         IF $1 > 0 THEN PERFORM pg_sleep(3600); END IF; RETURN $1; END $$; CREATE TABLE t (v int)",
    );
    let create = "SELECT pgtrickle.create_stream_table('long', 'SELECT sleepy(v) AS v FROM t', schedule => '100ms')";
    inside.run(&format!("{create}; INSERT INTO t VALUES (1)"));
    drop(inside);
    let worker = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_trickle refresh worker' AND datname = '{name}' \
         AND wait_event = 'PgSleep'"
    );
    wait_until("a worker in the database", || db.number(&worker) == 1);
    db.run(&format!("DROP DATABASE {name}"));
}
