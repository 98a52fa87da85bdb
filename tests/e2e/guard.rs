//! Nobody writes a stream table but its refresh.

use pgtrickle_tests::{Database, tests};

tests![
    direct_writes_are_refused,
    copy_is_refused,
    the_guard_stays_after_a_refresh,
    the_guard_stays_after_a_failed_refresh,
    a_refresh_opens_no_other_table,
    the_guard_stays_in_its_place,
    row_security_is_for_readers,
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

const GUARDS: &str =
    "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'sums'::regclass AND tgname LIKE 'pgt%' ORDER BY 1";

fn the_guard_stays_in_its_place(db: &mut Database) {
    sums(db);
    let guards = db.lines(GUARDS);
    assert_eq!(guards.len(), 2);
    db.run("CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'");
    for guard in ["pgt_dml_guard", "pgt_truncate_guard"] {
        for change in [
            format!("DROP TRIGGER {guard} ON sums"),
            format!("ALTER TABLE sums DISABLE TRIGGER {guard}"),
            format!("ALTER TRIGGER {guard} ON sums RENAME TO mine"),
        ] {
            let failure = db.fails(&change);
            assert_eq!(failure.sqlstate, "0A000", "{change}: {failure:?}");
            assert!(failure.message.contains(guard) && failure.message.contains("public.sums"), "{failure:?}");
            assert!(failure.detail.contains("direct writes") && !failure.hint.is_empty(), "{failure:?}");
        }
        let replace = format!("CREATE OR REPLACE TRIGGER {guard} BEFORE TRUNCATE ON sums EXECUTE FUNCTION nothing()");
        assert_eq!(db.fails(&replace).sqlstate, "42939");
        db.run(&format!("ALTER TABLE sums ENABLE REPLICA TRIGGER {guard}"));
        assert_eq!(db.lines(GUARDS), guards);
    }
    for which in ["DISABLE TRIGGER ALL", "DISABLE TRIGGER USER", "ENABLE TRIGGER ALL"] {
        db.notices();
        db.run(&format!("ALTER TABLE sums {which}"));
        assert!(db.notices().iter().any(|notice| notice.message.contains("stays enabled")));
        assert_eq!(db.lines(GUARDS), guards);
        refused(db, WRITES[0]);
    }
    // Elsewhere the names are free.
    db.run(
        "CREATE TRIGGER pgt_dml_guard AFTER TRUNCATE ON t EXECUTE FUNCTION nothing(); DROP TRIGGER pgt_dml_guard ON t",
    );
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.run("SELECT pgtrickle.drop_stream_table('sums')");
}

fn row_security_is_for_readers(db: &mut Database) {
    let role = format!("keeper_{}", db.name());
    db.run(&format!(
        "CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA public TO {role}; GRANT USAGE ON SCHEMA pgtrickle TO {role}"
    ));
    let mut keeper = db.connect_as(&role);
    keeper
        .run("CREATE TABLE t (id int PRIMARY KEY, g int, v int); INSERT INTO t VALUES (1, 1, 1), (2, 1, 2), (3, 2, 3)");
    keeper.run("SELECT pgtrickle.create_stream_table('sums', 'SELECT g, sum(v) AS s FROM t GROUP BY g', schedule => '1h', refresh_mode => 'DIFFERENTIAL')");
    db.track("sums", "SELECT g, sum(v) AS s FROM t GROUP BY g");
    keeper.run("CREATE POLICY few ON sums USING (s > 3); ALTER TABLE sums ENABLE ROW LEVEL SECURITY");
    for change in ["UPDATE t SET v = v - 1", "INSERT INTO t VALUES (4, 5, 0), (5, 6, 9)", "DELETE FROM t WHERE g = 1"] {
        keeper.run(change);
        keeper.run("SELECT pgtrickle.refresh_stream_table('sums')");
        db.cycle(&[]);
    }
    for session in [&mut keeper, &mut **db] {
        let failure = session.fails("ALTER TABLE sums FORCE ROW LEVEL SECURITY");
        assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
        assert!(failure.message.contains("FORCE ROW LEVEL SECURITY") && !failure.hint.is_empty(), "{failure:?}");
    }
    keeper.run("ALTER TABLE sums NO FORCE ROW LEVEL SECURITY");
    drop(keeper);
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.untrack("sums");
    db.run(&format!("SELECT pgtrickle.drop_stream_table('sums'); DROP OWNED BY {role}; DROP ROLE {role}"));
}
