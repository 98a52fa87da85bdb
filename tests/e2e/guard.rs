//! Nobody writes a stream table but its refresh.

use pgtrickle_tests::{Database, tests};

tests![
    direct_writes_are_refused,
    copy_is_refused,
    the_guard_stays_after_a_refresh,
    the_guard_stays_after_a_failed_refresh,
    a_refresh_opens_no_other_table,
];

fn sums(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g int, v int); INSERT INTO t VALUES (1, 1, 1), (2, 1, 2), (3, 2, 3)");
    db.stream("sums", "SELECT g, sum(v) AS s FROM t GROUP BY g");
}

#[track_caller]
fn refused(db: &mut Database, statement: &str) {
    let failure = db.fails(statement);
    assert_eq!(failure.sqlstate, "55000", "{statement}: {failure:?}");
    assert!(failure.message.contains("sums"), "{failure:?}");
    assert!(!failure.hint.is_empty(), "{failure:?}");
    db.check();
}

const WRITES: [&str; 7] = [
    "INSERT INTO sums VALUES (9, 9)",
    "UPDATE sums SET s = 0",
    "DELETE FROM sums",
    "DELETE FROM sums WHERE false",
    "TRUNCATE sums",
    "MERGE INTO sums USING t ON sums.g = t.g WHEN MATCHED THEN DELETE",
    "WITH gone AS (DELETE FROM sums RETURNING g) SELECT g FROM gone",
];

fn direct_writes_are_refused(db: &mut Database) {
    sums(db);
    for statement in WRITES {
        refused(db, statement);
    }
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn copy_is_refused(db: &mut Database) {
    sums(db);
    refused(db, "COPY sums FROM PROGRAM 'echo 9,9' WITH (FORMAT csv)");
}

fn the_guard_stays_after_a_refresh(db: &mut Database) {
    sums(db);
    db.run("UPDATE t SET v = v + 1; SELECT pgtrickle.refresh_stream_table('sums')");
    refused(db, WRITES[0]);
    db.run("BEGIN; UPDATE t SET v = v + 1; SELECT pgtrickle.refresh_stream_table('sums')");
    assert_eq!(db.fails(WRITES[1]).sqlstate, "55000");
    db.run("ROLLBACK");
    db.check();
}

fn the_guard_stays_after_a_failed_refresh(db: &mut Database) {
    sums(db);
    db.stream("shares", "SELECT id, 12 / v AS share FROM t");
    db.run("UPDATE t SET v = 0 WHERE id = 1");
    assert_eq!(db.fails("SELECT pgtrickle.refresh_stream_table('shares')").sqlstate, "22012");
    assert_eq!(db.fails("INSERT INTO shares VALUES (9, 9)").sqlstate, "55000");
    db.run("BEGIN; SAVEPOINT s");
    db.fails("SELECT pgtrickle.refresh_stream_table('shares')");
    db.run("ROLLBACK TO s");
    assert_eq!(db.fails("INSERT INTO shares VALUES (9, 9)").sqlstate, "55000");
    db.run("ROLLBACK");
    db.cycle(&["UPDATE t SET v = 4 WHERE id = 1"]);
}

fn a_refresh_opens_no_other_table(db: &mut Database) {
    sums(db);
    db.stream("copies", "SELECT id, v FROM t");
    // A trigger of the user's on one stream table may not reach into another.
    db.run("CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM public.sums; RETURN NULL; END'");
    db.run("CREATE TRIGGER meddle AFTER INSERT ON copies FOR EACH ROW EXECUTE FUNCTION meddle()");
    db.run("INSERT INTO t VALUES (4, 1, 1)");
    db.refresh("sums");
    let outcome = db.attempt("SELECT pgtrickle.refresh_stream_table('copies')");
    assert!(outcome.is_ok() || outcome.is_err_and(|failure| failure.sqlstate == "55000"));
    db.run("DROP TRIGGER meddle ON copies");
    db.cycle(&[]);
}
