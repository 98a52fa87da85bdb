//! The scheduler keeps stream tables fresh without being asked.

use pgtrickle_tests::{Database, Session, tests, wait_until};

tests![scheduled:
    changes_arrive_by_themselves,
    every_mode_is_scheduled,
    a_replaced_function_is_scheduled,
    a_materialized_view_announces_its_refresh,
    a_foreign_table_is_looked_at,
    the_clock_needs_no_writer,
    the_clock_waits_for_the_next_row,
    what_is_recomputed_waits_for_a_change,
    a_chain_arrives_by_itself,
    a_diamond_is_never_seen_half_done,
    initialize_false_is_filled_by_the_scheduler,
    a_suspended_stream_table_waits,
    a_failing_stream_table_is_reported_and_harms_no_other,
    a_killed_scheduler_comes_back,
    switching_off_stops_the_scheduler,
    a_late_commit_arrives,
    a_prepared_transaction_arrives,
    dropping_beside_the_scheduler,
    a_manual_refresh_beside_the_scheduler,
    health_sees_the_scheduler,
];

fn source(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g int, v int); INSERT INTO t SELECT i, i % 3, i FROM generate_series(1, 9) i");
}

/// A stream table that the scheduler refreshes every second.
fn live(db: &mut Database, name: &str, query: &str) {
    db.stream_with(name, query, "schedule => '1s', refresh_mode => 'DIFFERENTIAL'");
    db.track(name, query);
}

/// The scheduler brings every watched stream table to its query's result.
#[track_caller]
fn arrives(db: &mut Database) {
    wait_until("the scheduler to refresh", || db.difference().is_none());
}

const SCHEDULERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_trickle scheduler' AND datname = current_database()";

fn changes_arrive_by_themselves(db: &mut Database) {
    source(db);
    live(db, "sums", "SELECT g, count(*) AS n, sum(v) AS s FROM t GROUP BY g");
    for change in ["UPDATE t SET v = v + 1", "DELETE FROM t WHERE g = 1", "INSERT INTO t VALUES (100, 7, 7)"] {
        db.run(change);
        arrives(db);
    }
    let initiated = "SELECT DISTINCT initiated_by FROM pgtrickle.pgt_refresh_history ORDER BY 1";
    assert!(db.lines(initiated).contains(&"SCHEDULER".to_string()));
}

fn a_replaced_function_is_scheduled(db: &mut Database) {
    let times = |factor: i32| {
        format!("CREATE OR REPLACE FUNCTION times(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * {factor}'")
    };
    db.run(&times(2));
    db.run("CREATE TABLE t (v int); INSERT INTO t VALUES (1), (2)");
    db.stream_with("multiples", "SELECT times(v) AS v FROM t", "schedule => '100ms'");
    db.run(&times(4));
    wait_until("the rows are computed anew", || db.number("SELECT sum(v) FROM multiples") == 12);
}

fn a_materialized_view_announces_its_refresh(db: &mut Database) {
    db.run("CREATE TABLE t (v int); INSERT INTO t VALUES (1), (2); CREATE MATERIALIZED VIEW m AS SELECT v FROM t");
    db.stream_with("sums", "SELECT sum(v) AS s FROM m", "refresh_mode => 'DIFFERENTIAL'");
    db.run("INSERT INTO t VALUES (3); REFRESH MATERIALIZED VIEW m");
    wait_until("the sum follows", || db.number("SELECT s FROM sums") == 6);
}

fn a_foreign_table_is_looked_at(db: &mut Database) {
    let options = format!("host '{}', dbname '{}'", db.server().socket().display(), db.name());
    db.run("CREATE EXTENSION postgres_fdw; CREATE TABLE t (v int); INSERT INTO t VALUES (1), (2)");
    db.run(&format!("CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({options})"));
    db.run("CREATE USER MAPPING FOR CURRENT_USER SERVER here OPTIONS (user 'postgres')");
    db.run("CREATE FOREIGN TABLE f (v int) SERVER here OPTIONS (table_name 't')");
    db.stream_with("sums", "SELECT sum(v) AS s FROM f", "schedule => '100ms', refresh_mode => 'DIFFERENTIAL'");
    for sum in [6, 9] {
        db.run("INSERT INTO t VALUES (3)");
        wait_until("the sum follows", || db.number("SELECT s FROM sums") == sum);
    }
    assert_eq!(db.number("SELECT count(*) FROM pgtrickle.pgt_refresh_history"), 3, "looking alone is not recorded");
    assert!(
        !db.holds("SELECT bool_or(severity <> 'OK') FROM pgtrickle.health_check() WHERE check_name = 'stale_tables'")
    );
}

fn every_mode_is_scheduled(db: &mut Database) {
    source(db);
    for (name, mode) in [("a", "AUTO"), ("b", "FULL"), ("c", "DIFFERENTIAL")] {
        let query = "SELECT g, max(v) AS hi FROM t GROUP BY g";
        db.stream_with(name, query, &format!("schedule => '1s', refresh_mode => '{mode}'"));
        db.track(name, query);
    }
    let outer = "SELECT t.id, u.v FROM t LEFT JOIN t AS u ON u.id = t.v";
    db.stream_with("d", outer, "schedule => '1s'");
    db.track("d", outer);
    db.run("UPDATE t SET v = v + 1");
    arrives(db);
    db.run("TRUNCATE t; INSERT INTO t VALUES (1, 1, 1)");
    arrives(db);
}

/// Nobody looks at a table each second in which the next row expires in a minute; a row that comes meanwhile may expire before.
fn the_clock_waits_for_the_next_row(db: &mut Database) {
    db.run("CREATE TABLE t (id int, at timestamptz); INSERT INTO t SELECT i, clock_timestamp() + i * interval '1500 ms' FROM generate_series(1, 3) AS i");
    db.run("INSERT INTO t VALUES (100, 'infinity'), (101, now() - interval '1 year')");
    let ahead = "SELECT id, at FROM t WHERE at > now()";
    live(db, "ahead", ahead);
    live(db, "open", "SELECT id, at > now() AS open FROM t");
    live(
        db,
        "by_day",
        "SELECT count(*) AS n FROM t WHERE at::date <= current_date + 1 AND at > now() - interval '1 day 2 hours'",
    );
    live(db, "by_month", "SELECT id FROM t WHERE at < now() + interval '1 month'");
    live(db, "by_hour", "SELECT id FROM t WHERE extract(hour FROM at) = extract(hour FROM now())");
    let stored = "SELECT string_agg(id::text, ',' ORDER BY id) FROM ahead";
    for left in ["2,3,100", "3,100", "100"] {
        // On a slow day more than one has expired by now.
        wait_until("a row to expire", || left.ends_with(&db.text(stored)));
        arrives(db);
    }
    // It sleeps now.
    db.run(
        "INSERT INTO t SELECT i, clock_timestamp() + (i - 3) * interval '1200 ms' FROM generate_series(4, 5) AS i;
         INSERT INTO t VALUES (6, clock_timestamp() + interval '1 day')",
    );
    wait_until("the new rows to expire one after the other", || db.text(stored) == "6,100");
    arrives(db);
}

fn the_clock_needs_no_writer(db: &mut Database) {
    db.run("CREATE TABLE t (id int, at timestamptz); INSERT INTO t VALUES (1, clock_timestamp() + interval '2 seconds'), (2, NULL)");
    live(db, "past", "SELECT id FROM t WHERE at < now()");
    assert_eq!(db.number("SELECT count(*) FROM past"), 0);
    live(db, "states", "SELECT id, CASE WHEN at < now() THEN 'late' ELSE 'ok' END AS state FROM t");
    live(db, "counts", "SELECT count(*) FILTER (WHERE at < now()) AS late FROM t");
    wait_until("the clock to let a row in", || db.number("SELECT count(*) FROM past") == 1);
    wait_until("the clock to make it late", || db.number("SELECT count(*) FROM states WHERE state = 'late'") == 1);
    wait_until("the clock to count it", || db.number("SELECT late FROM counts") == 1);
}

/// A query without a delta over captured tables: recomputed when they were written, and not otherwise.
fn what_is_recomputed_waits_for_a_change(db: &mut Database) {
    source(db);
    db.run("CREATE TABLE beside (v int)");
    let whole = "WITH RECURSIVE w (v, d) AS (SELECT v, 0 FROM t UNION ALL (SELECT DISTINCT v, d + 1 FROM w WHERE d < 1)) SELECT v FROM w";
    db.stream_with("whole", whole, "schedule => '100ms', refresh_mode => 'AUTO'");
    let always = "SELECT count(*) AS n, now() IS NULL AS never FROM beside";
    db.stream_with("always", always, "schedule => '100ms'");
    let refreshes = |db: &mut Database, name: &str| {
        db.number(&format!(
            "SELECT count(*) FROM pgtrickle.pgt_refresh_history JOIN pgtrickle.pgt_stream_tables USING (pgt_id) \
             WHERE pgt_name = '{name}' AND action = 'FULL'"
        ))
    };
    db.track("whole", whole);
    for change in ["UPDATE t SET v = v + 1", "DELETE FROM t WHERE g = 1", "TRUNCATE t"] {
        db.run(change);
        arrives(db);
    }
    assert_eq!(refreshes(db, "whole"), 4, "one for each change and one at creation");
    // The other one is due whatever happens; its refreshes are this test's clock.
    let target = refreshes(db, "always") + 5;
    wait_until("five more intervals to pass", || refreshes(db, "always") >= target);
    assert_eq!(refreshes(db, "whole"), 4);
}

fn a_chain_arrives_by_itself(db: &mut Database) {
    source(db);
    live(db, "one", "SELECT id, g, v FROM t WHERE v > 1");
    live(db, "two", "SELECT g, sum(v) AS s FROM one GROUP BY g");
    let top = "SELECT sum(s) AS s FROM two";
    db.stream_with("three", top, "refresh_mode => 'DIFFERENTIAL', schedule => '1s'");
    db.track("three", top);
    for change in ["UPDATE t SET v = v + 1", "DELETE FROM t WHERE g = 1"] {
        db.run(change);
        arrives(db);
    }
}

fn a_diamond_is_never_seen_half_done(db: &mut Database) {
    source(db);
    live(db, "sums", "SELECT g, sum(v) AS s FROM t GROUP BY g");
    live(db, "counts", "SELECT g, count(v) AS n FROM t GROUP BY g");
    live(db, "joined", "SELECT sums.g, s, n FROM sums JOIN counts USING (g)");
    // Every row has the same value, so that the sum belongs to the count.
    db.run("UPDATE t SET v = 10");
    arrives(db);
    for i in 0..30 {
        db.run(&format!("INSERT INTO t VALUES ({}, {i} % 3, 10)", 100 + i));
        assert!(db.holds("SELECT coalesce(bool_and(s = 10 * n), true) FROM joined"), "a diamond torn apart");
    }
    arrives(db);
}

fn initialize_false_is_filled_by_the_scheduler(db: &mut Database) {
    source(db);
    let query = "SELECT id, v FROM t";
    db.stream_with("st", query, "schedule => '1s', refresh_mode => 'DIFFERENTIAL', initialize => false");
    db.track("st", query);
    arrives(db);
}

fn a_suspended_stream_table_waits(db: &mut Database) {
    source(db);
    live(db, "st", "SELECT id, v FROM t");
    db.run("SELECT pgtrickle.alter_stream_table('st', status => 'SUSPENDED')");
    live(db, "witness", "SELECT g, v FROM t");
    let stored = db.number("SELECT count(*) FROM st");
    db.run("INSERT INTO t VALUES (100, 1, 1)");
    wait_until("the witness", || db.holds("SELECT count(*) = (SELECT count(*) FROM t) FROM witness"));
    assert_eq!(db.number("SELECT count(*) FROM st"), stored);
    db.run("SELECT pgtrickle.resume_stream_table('st')");
    arrives(db);
}

fn a_failing_stream_table_is_reported_and_harms_no_other(db: &mut Database) {
    source(db);
    live(db, "good", "SELECT g, sum(v) AS s FROM t GROUP BY g");
    live(db, "bad", "SELECT id, 10 / v AS q FROM t");
    live(db, "over_bad", "SELECT sum(q) AS s FROM bad");
    db.run("UPDATE t SET v = 0 WHERE id = 1");
    wait_until("the error to be recorded", || {
        db.holds(
            "SELECT status = 'ERROR' AND last_error_message LIKE '%division by zero%' AND last_error_at IS NOT NULL \
                  FROM pgtrickle.pgt_stream_tables WHERE pgt_name = 'bad'",
        )
    });
    let good = "SELECT (SELECT sum(s) FROM good) = (SELECT sum(v) FROM t)";
    wait_until("the other stream table", || db.holds(good));
    db.run("UPDATE t SET v = 5 WHERE v = 0");
    wait_until("the other stream table", || db.holds(good));
    db.run("SELECT pgtrickle.resume_stream_table('bad')");
    arrives(db);
    let errors =
        "SELECT consecutive_errors, last_error_message FROM pgtrickle.pgt_stream_tables WHERE pgt_name = 'bad'";
    assert_eq!(db.lines(errors), ["0|"]);
}

fn scheduler_pid(session: &mut Session) -> Option<String> {
    let pids =
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_trickle scheduler' AND datname = current_database()";
    session.lines(pids).into_iter().next()
}

fn a_killed_scheduler_comes_back(db: &mut Database) {
    source(db);
    live(db, "st", "SELECT id, v FROM t");
    db.run("UPDATE t SET v = v + 1");
    arrives(db);
    let first = scheduler_pid(db).expect("a scheduler works here");
    db.run(&format!("SELECT pg_terminate_backend({first})"));
    wait_until("a new scheduler", || scheduler_pid(db).is_some_and(|pid| pid != first));
    db.run("UPDATE t SET v = v + 1");
    arrives(db);
}

fn switching_off_stops_the_scheduler(db: &mut Database) {
    source(db);
    live(db, "st", "SELECT id, v FROM t");
    wait_until("the scheduler", || db.number(SCHEDULERS) == 1);
    let name = db.name().to_string();
    db.run(&format!("ALTER DATABASE {name} SET pg_trickle.enabled = off"));
    if let Some(pid) = scheduler_pid(db) {
        db.run(&format!("SELECT pg_terminate_backend({pid})"));
    }
    wait_until("the scheduler to be gone", || db.number(SCHEDULERS) == 0);
    db.run("UPDATE t SET v = v + 1");
    db.run("SELECT pgtrickle.refresh_stream_table('st')");
    db.check();
    db.run(&format!("ALTER DATABASE {name} RESET pg_trickle.enabled; UPDATE t SET v = v + 1"));
    arrives(db);
}

fn a_late_commit_arrives(db: &mut Database) {
    source(db);
    live(db, "st", "SELECT id, v FROM t");
    let mut writer = db.connect();
    writer.run("BEGIN; UPDATE t SET v = 100 WHERE id = 1");
    db.run("UPDATE t SET v = 200 WHERE id = 2");
    arrives(db);
    writer.run("COMMIT");
    arrives(db);
    assert_eq!(db.number("SELECT v FROM st WHERE id = 1"), 100);
}

fn a_prepared_transaction_arrives(db: &mut Database) {
    source(db);
    live(db, "st", "SELECT id, v FROM t");
    let name = format!("late_{}", db.name());
    db.run(&format!("BEGIN; UPDATE t SET v = 100 WHERE id = 1; PREPARE TRANSACTION '{name}'"));
    db.run("UPDATE t SET v = 200 WHERE id = 2");
    arrives(db);
    db.connect().run(&format!("COMMIT PREPARED '{name}'"));
    arrives(db);
    assert_eq!(db.number("SELECT v FROM st WHERE id = 1"), 100);
}

fn dropping_beside_the_scheduler(db: &mut Database) {
    source(db);
    for round in 0..5 {
        let name = format!("st{round}");
        db.stream_with(&name, "SELECT id, v FROM t", "schedule => '1s', refresh_mode => 'DIFFERENTIAL'");
        db.run("UPDATE t SET v = v + 1");
        db.run(&format!("SELECT pgtrickle.drop_stream_table('{name}')"));
    }
    live(db, "last", "SELECT id, v FROM t");
    db.run("UPDATE t SET v = v + 1");
    arrives(db);
}

fn a_manual_refresh_beside_the_scheduler(db: &mut Database) {
    source(db);
    live(db, "sums", "SELECT g, count(*) AS n, sum(v) AS s FROM t GROUP BY g");
    for _ in 0..50 {
        db.run("UPDATE t SET v = v + 1");
        db.run("SELECT pgtrickle.refresh_stream_table('sums')");
    }
    arrives(db);
}

fn health_sees_the_scheduler(db: &mut Database) {
    source(db);
    live(db, "st", "SELECT id, v FROM t");
    wait_until("the health check to see the scheduler", || {
        db.text("SELECT severity FROM pgtrickle.health_check() WHERE check_name = 'scheduler_running'") == "OK"
    });
}
