//! A few changed rows reach a stream table without a statement, and what belongs to the table sees them as from any other.

use pgtrickle_tests::{Database, refresh, tests};

tests![
    every_kind_of_change_by_key,
    indexes_of_the_user,
    triggers_of_the_user,
    readers_of_the_stream_table,
    rows_that_somebody_has_locked,
    two_sessions_refresh,
    contents_that_were_damaged,
    many_rows_of_one_change,
    more_than_it_is_for,
    rolled_back_and_repeated,
    buffers_stay_short,
];

const LISTED: &str = "SELECT t.id, t.k, t.v, t.s FROM t WHERE t.k >= 0";

fn listed(db: &mut Database) {
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, k int, v numeric, s text);
         INSERT INTO t SELECT i, i % 7, i * 1.0, repeat('x', i) FROM generate_series(1, 200) i",
    );
    db.stream("listed", LISTED);
}

fn every_kind_of_change_by_key(db: &mut Database) {
    listed(db);
    db.stream("pairs", "SELECT a.id, b.id AS other, a.v + b.v AS v FROM t AS a JOIN t AS b ON b.k = a.id");
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id = 3"]);
    db.cycle(&["UPDATE t SET v = 1.00 WHERE id = 1"]);
    db.cycle(&["UPDATE t SET k = NULL, s = NULL WHERE id = 4"]);
    db.cycle(&["UPDATE t SET k = -1 WHERE id = 5", "DELETE FROM t WHERE id = 6", "INSERT INTO t VALUES (1000, 3)"]);
    db.cycle(&["UPDATE t SET k = 2 WHERE id = 5", "UPDATE t SET id = 2000 WHERE id = 7"]);
    db.cycle(&["UPDATE t SET id = CASE id WHEN 8 THEN 3000 ELSE 8 END WHERE id IN (8)"]);
    db.cycle(&[
        "BEGIN; UPDATE t SET id = -id WHERE id IN (9, 10); UPDATE t SET id = 19 + id WHERE id IN (-9, -10); COMMIT",
    ]);
    db.cycle(&["DELETE FROM t WHERE id = 11", "INSERT INTO t VALUES (11, 5, 0.0, 'again')"]);
    db.cycle(&["UPDATE t SET s = repeat(md5(id::text), 1000) WHERE id IN (12, 13)"]);
    db.cycle(&["UPDATE t SET v = 'NaN' WHERE id = 12", "UPDATE t SET v = v WHERE id = 13"]);
}

fn indexes_of_the_user(db: &mut Database) {
    listed(db);
    db.run(
        "CREATE INDEX ON listed (k); CREATE INDEX ON listed (lower(s)) WHERE k > 2; CREATE UNIQUE INDEX ON listed (v);
         CREATE INDEX ON listed USING gin (to_tsvector('simple', coalesce(s, ''))); CREATE INDEX ON listed USING brin (v);
         CREATE UNIQUE INDEX first ON listed (id DESC) INCLUDE (k)",
    );
    for change in
        ["UPDATE t SET k = k + 1 WHERE id = 3", "INSERT INTO t VALUES (0, 3, -1, 'Zero')", "DELETE FROM t WHERE id = 9"]
    {
        db.cycle(&[change]);
        for (setting, other) in [("enable_seqscan", "enable_indexscan"), ("enable_indexscan", "enable_seqscan")] {
            db.run(&format!(
                "SET {setting} = off; SET enable_bitmapscan = {}",
                if other == "enable_seqscan" { "off" } else { "on" }
            ));
            assert_eq!(
                db.number("SELECT count(*) FROM listed WHERE k = 3"),
                db.number("SELECT count(*) FROM t WHERE k = 3")
            );
            assert_eq!(
                db.number("SELECT count(*) FROM listed WHERE lower(s) = 'zero' AND k > 2"),
                db.number("SELECT count(*) FROM t WHERE lower(s) = 'zero' AND k > 2")
            );
            db.run("RESET ALL");
        }
    }
    db.run("UPDATE t SET v = 21 WHERE id = 20");
    assert_eq!(db.fails(&refresh("listed")).sqlstate, "23505");
    db.cycle(&["UPDATE t SET v = 20.5 WHERE id = 20"]);
}

/// Triggers run for each row and each statement, with the rows that changed.
fn triggers_of_the_user(db: &mut Database) {
    listed(db);
    db.run(
        "CREATE TABLE seen (what text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO public.seen VALUES (TG_LEVEL || ' ' || TG_OP); RETURN NULL; END $$;
         CREATE TRIGGER each_row AFTER INSERT OR UPDATE OR DELETE ON listed FOR EACH ROW EXECUTE FUNCTION note()",
    );
    let seen = |db: &mut Database| db.text("SELECT coalesce(string_agg(what, ', ' ORDER BY what), '') FROM seen");
    db.cycle(&["UPDATE t SET v = 0 WHERE id = 3"]);
    assert_eq!(seen(db), "ROW UPDATE");
    db.run("TRUNCATE seen; DROP TRIGGER each_row ON listed");
    db.run("CREATE TRIGGER each_statement AFTER UPDATE ON listed FOR EACH STATEMENT EXECUTE FUNCTION note()");
    db.cycle(&["UPDATE t SET v = 1 WHERE id = 3"]);
    assert_eq!(seen(db), "STATEMENT UPDATE");
    db.run("TRUNCATE seen; DROP TRIGGER each_statement ON listed");
    db.cycle(&["UPDATE t SET v = 2 WHERE id = 3"]);
    assert_eq!(seen(db), "");
}

fn readers_of_the_stream_table(db: &mut Database) {
    listed(db);
    db.cycle(&["UPDATE t SET v = 0 WHERE id = 3"]);
    db.stream("above", "SELECT k, count(*) AS n, sum(v) AS v FROM listed GROUP BY k");
    db.cycle(&["UPDATE t SET v = 1 WHERE id = 3"]);
    db.cycle(&["DELETE FROM t WHERE id = 3", "INSERT INTO t VALUES (0, 0, 0, '')"]);
    db.untrack("above");
    db.run("SELECT pgtrickle.drop_stream_table('above')");
    db.cycle(&["UPDATE t SET v = 1 WHERE id = 4"]);
}

/// A session that has locked a row is waited for, as by any writer.
fn rows_that_somebody_has_locked(db: &mut Database) {
    listed(db);
    db.run("CREATE TABLE refers (id int)");
    let mut other = db.connect();
    for (change, lock) in [
        ("UPDATE t SET v = 7 WHERE id = 3", "FOR UPDATE"),
        ("DELETE FROM t WHERE id = 4", "FOR KEY SHARE"),
        ("UPDATE t SET v = 8 WHERE id = 3", "FOR SHARE"),
    ] {
        other.run(&format!("BEGIN; SELECT FROM listed WHERE id IN (3, 4) {lock}"));
        db.run(change);
        let waiting = db.connect().start(&refresh("listed"));
        waiting.wait_blocked(db);
        other.run("COMMIT");
        waiting.finish();
        db.check();
    }
}

fn two_sessions_refresh(db: &mut Database) {
    listed(db);
    let mut other = db.connect();
    for i in 1..20 {
        db.run(&format!("UPDATE t SET v = {i} WHERE id = {i}"));
        db.run(&format!("BEGIN; {}", refresh("listed")));
        other.run(&format!("INSERT INTO t VALUES ({i} + 500, 1, {i}, ''); {}", refresh("listed")));
        db.run(if i % 3 == 0 { "ROLLBACK" } else { "COMMIT" });
        other.run(&refresh("listed"));
        db.check();
    }
    db.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    other.run(&format!("UPDATE t SET v = -1 WHERE id = 1; {}", refresh("listed")));
    let failure = db.attempt(&refresh("listed"));
    db.run("ROLLBACK");
    assert!(failure.is_ok() || failure.is_err_and(|failure| failure.sqlstate == "40001"));
    db.cycle(&["UPDATE t SET v = -2 WHERE id = 1"]);
}

/// Contents that are not what they should be are noticed, not made worse.
fn contents_that_were_damaged(db: &mut Database) {
    listed(db);
    for (damage, change) in [
        ("DELETE FROM listed WHERE id = 3", "DELETE FROM t WHERE id = 3"),
        ("DELETE FROM listed WHERE id = 4", "UPDATE t SET v = 0 WHERE id = 4"),
        ("INSERT INTO listed VALUES (400, 1, 1, '')", "INSERT INTO t VALUES (400, 1, 1, 'new')"),
    ] {
        let guarded = |db: &mut Database, enabled: &str| {
            db.run(&format!("UPDATE pg_trigger SET tgenabled = '{enabled}' WHERE tgrelid = 'listed'::regclass"));
        };
        guarded(db, "D");
        db.run(damage);
        guarded(db, "A");
        db.run(change);
        assert_eq!(db.fails(&refresh("listed")).sqlstate, "55000");
        db.run("UPDATE pgtrickle.pgt_stream_tables SET needs_reinit = true");
        db.cycle_in_full(&[]);
    }
    db.cycle(&["UPDATE t SET v = 1 WHERE id = 5"]);
}

fn many_rows_of_one_change(db: &mut Database) {
    db.run("CREATE TABLE few (id int PRIMARY KEY, name text); CREATE TABLE many (id int PRIMARY KEY, few int, v int)");
    db.run("INSERT INTO few SELECT i, 'n' || i FROM generate_series(1, 10) i");
    db.run("INSERT INTO many SELECT i, i % 10 + 1, i FROM generate_series(1, 1000) i");
    db.stream("named", "SELECT m.id, m.v, f.name FROM many AS m JOIN few AS f ON f.id = m.few");
    db.cycle(&["UPDATE few SET name = 'other' WHERE id = 3"]);
    db.cycle(&["UPDATE many SET v = 0 WHERE id = 3", "UPDATE few SET name = 'x' WHERE id = 4"]);
    db.cycle(&["DELETE FROM many WHERE few = 5 AND id > 20"]);
    db.cycle(&["UPDATE few SET name = 'y' WHERE id = 5"]);
    db.cycle(&["DELETE FROM few WHERE id = 6", "INSERT INTO few VALUES (60, 'none')"]);
}

/// Where no index finds the rows any more, statements change them.
fn more_than_it_is_for(db: &mut Database) {
    listed(db);
    db.stream("bag", "SELECT k, v > 5 AS high FROM t");
    db.stream("groups", "SELECT k, count(*) AS n FROM t GROUP BY k");
    db.run("CREATE UNIQUE INDEX ON listed (k, id)");
    db.cycle(&["UPDATE t SET k = NULL WHERE id = 3", "DELETE FROM t WHERE id = 4"]);
    let index =
        db.text("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'listed'::regclass AND indnatts = 1");
    db.run(&format!("DROP INDEX {index}"));
    db.cycle(&["UPDATE t SET v = 7 WHERE id = 5", "INSERT INTO t VALUES (0, 1, 1, '')", "DELETE FROM t WHERE id = 6"]);
}

fn rolled_back_and_repeated(db: &mut Database) {
    listed(db);
    db.run(&format!("BEGIN; UPDATE t SET v = 1 WHERE id = 3; SAVEPOINT a; {}; ROLLBACK TO a", refresh("listed")));
    db.run(&format!(
        "UPDATE t SET v = 2 WHERE id = 3; {}; UPDATE t SET v = 3 WHERE id = 3; {}",
        refresh("listed"),
        refresh("listed")
    ));
    assert_eq!(db.text("SELECT v::text FROM listed WHERE id = 3"), "3");
    db.run("COMMIT");
    db.cycle(&["UPDATE t SET v = 4 WHERE id = 3"]);
}

/// Consumed rows are removed a page at a time, whoever consumes them last.
fn buffers_stay_short(db: &mut Database) {
    listed(db);
    db.stream("groups", "SELECT k, sum(v) AS v FROM t GROUP BY k");
    let buffer = db.text("SELECT buffer_relid::regclass::text FROM pgtrickle.pgt_change_tracking");
    let mut other = db.connect();
    for i in 0..800 {
        db.run(&format!("UPDATE t SET v = v + 1 WHERE id = {i} % 200 + 1"));
        if i % 2 == 0 {
            db.run(&refresh("listed"));
        }
        if i % 7 == 0 {
            other.run(&refresh("groups"));
        }
    }
    db.cycle(&[]);
    let length = db.number(&format!("SELECT pg_relation_size('{buffer}') / current_setting('block_size')::int"));
    assert!(length <= 16, "{length} pages");
    let rows = db.number(&format!("SELECT count(*) FROM {buffer}"));
    assert!(rows < 1000, "{rows} rows of 1600");
}
