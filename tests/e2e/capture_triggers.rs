//! What somebody does to the capture triggers of a source.

use pgtrickle_tests::{Database, tests};

tests![
    triggers_are_disabled_around_a_load,
    enabling_all_triggers_captures_once,
    by_name_they_are_refused,
    their_names_are_reserved,
    in_a_session_that_replays,
    on_partitions_and_children,
    the_owner_of_the_table_has_no_other_rights,
];

fn source(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g text, v int); INSERT INTO t SELECT i, 'g' || i % 3, i FROM generate_series(1, 9) AS i");
    db.run("CREATE TABLE log (what text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO log VALUES (TG_OP); RETURN NULL; END$$");
    db.run("CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note()");
    db.stream("sums", "SELECT g, sum(v) AS s, count(*) AS n FROM t GROUP BY g");
    db.stream("rows", "SELECT id, v FROM t");
}

const STATES: &str = "SELECT tgname, tgenabled FROM pg_trigger WHERE tgname LIKE 'pg_trickle%' ORDER BY 1";

fn triggers_are_disabled_around_a_load(db: &mut Database) {
    source(db);
    let states = db.lines(STATES);
    for which in ["ALL", "USER"] {
        db.notices();
        db.run(&format!("ALTER TABLE t DISABLE TRIGGER {which}"));
        let notices = db.notices();
        assert!(notices.iter().any(|notice| notice.message.contains("stay enabled")), "{notices:?}");
        assert_eq!(db.lines(STATES), states);
        db.cycle(&[&format!("INSERT INTO t SELECT max(id) + 1, '{which}', 5 FROM t")]);
        assert_eq!(db.number("SELECT count(*) FROM log"), 0, "the others are disabled");
        db.cycle(&[
            "DELETE FROM t WHERE id = 3; UPDATE t SET v = v + 1 WHERE id < 5",
            "ALTER TABLE t DISABLE TRIGGER ALL",
        ]);
    }
    db.run("BEGIN; ALTER TABLE t DISABLE TRIGGER ALL");
    db.copy("COPY t FROM STDIN", "100\tg1\t1\n101\t\\N\t\\N\n");
    db.run("ALTER TABLE t ENABLE TRIGGER ALL; COMMIT");
    db.cycle(&[]);
    assert_eq!(db.lines(STATES), states);
    db.cycle_in_full(&["ALTER TABLE t DISABLE TRIGGER ALL", "TRUNCATE t"]);
    db.cycle(&["INSERT INTO t VALUES (1, 'g1', 1)"]);
}

/// Or else the trigger for replaying sessions would fire beside those for the others.
fn enabling_all_triggers_captures_once(db: &mut Database) {
    source(db);
    let states = db.lines(STATES);
    for which in ["ALL", "USER"] {
        db.run(&format!("ALTER TABLE t ENABLE TRIGGER {which}"));
        assert_eq!(db.lines(STATES), states);
        db.cycle(&["UPDATE t SET v = v + 1", "INSERT INTO t SELECT max(id) + 1, 'new', 1 FROM t"]);
    }
    db.run("ALTER TABLE t ENABLE ALWAYS TRIGGER noted, DISABLE TRIGGER noted");
    assert_eq!(db.lines(STATES), states);
    let capture =
        db.text("SELECT tgname FROM pg_trigger WHERE tgrelid = 't'::regclass AND tgname LIKE 'pg_trickle_cdc_row%'");
    db.run(&format!("ALTER TABLE t ENABLE ALWAYS TRIGGER {capture}"));
    assert_eq!(db.lines(STATES), states);
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn by_name_they_are_refused(db: &mut Database) {
    source(db);
    let states = db.lines(STATES);
    for capture in db.lines("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'pg_trickle_cdc%'") {
        for change in [
            format!("ALTER TABLE t DISABLE TRIGGER {capture}"),
            format!("DROP TRIGGER {capture} ON t"),
            format!("ALTER TRIGGER {capture} ON t RENAME TO mine"),
        ] {
            let failure = db.fails(&change);
            assert_eq!(failure.sqlstate, "0A000", "{change}: {failure:?}");
            assert!(failure.message.contains(&format!("trigger \"{capture}\"")), "{failure:?}");
            assert!(failure.detail.contains("\"t\"") && !failure.hint.is_empty(), "{failure:?}");
        }
    }
    assert_eq!(db.lines(STATES), states);
    db.cycle(&["UPDATE t SET v = v + 1"]);
    // The user's own are the user's.
    db.run("ALTER TRIGGER noted ON t RENAME TO mine; ALTER TABLE t DISABLE TRIGGER mine; DROP TRIGGER mine ON t");
    db.run("SELECT pgtrickle.drop_stream_table('sums'); SELECT pgtrickle.drop_stream_table('rows')");
    assert!(db.lines(STATES).is_empty());
    for gone in ["sums", "rows"] {
        db.untrack(gone);
    }
    db.run("DROP TABLE t");
}

fn in_a_session_that_replays(db: &mut Database) {
    source(db);
    let states = db.lines(STATES);
    db.run("SET session_replication_role = replica");
    db.run("ALTER TABLE t DISABLE TRIGGER ALL");
    assert_eq!(db.lines(STATES), states);
    db.cycle(&["INSERT INTO t VALUES (50, 'g1', 4); UPDATE t SET v = v + 1"]);
    db.run("ALTER TABLE t ENABLE TRIGGER ALL");
    db.cycle(&["DELETE FROM t WHERE id < 4"]);
    db.run("RESET session_replication_role");
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn on_partitions_and_children(db: &mut Database) {
    db.run("CREATE TABLE p (k int, v int) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p DEFAULT");
    db.run("CREATE TABLE base (k int, v int); CREATE TABLE child () INHERITS (base)");
    db.run("INSERT INTO p VALUES (1, 1), (2, 2); INSERT INTO child VALUES (1, 1); INSERT INTO base VALUES (2, 2)");
    db.stream("partitioned", "SELECT k, sum(v) AS v FROM p GROUP BY k");
    db.stream("inherited", "SELECT k, sum(v) AS v FROM base GROUP BY k");
    let states = db.lines(STATES);
    for table in ["p", "p1", "base", "child"] {
        for what in ["DISABLE", "ENABLE"] {
            db.run(&format!("ALTER TABLE {table} {what} TRIGGER ALL"));
            assert_eq!(db.lines(STATES), states, "{what} on {table}");
            db.cycle(&["INSERT INTO p VALUES (1, 3), (4, 4); UPDATE p SET v = v + 1; INSERT INTO base VALUES (3, 3); INSERT INTO child VALUES (1, NULL); UPDATE base SET v = v + 1"]);
        }
    }
    let capture = db.text("SELECT min(tgname) FROM pg_trigger WHERE tgrelid = 'p1'::regclass");
    assert_eq!(db.fails(&format!("DROP TRIGGER {capture} ON p1")).sqlstate, "0A000");
    assert_eq!(db.fails(&format!("ALTER TRIGGER {capture} ON p1 RENAME TO mine")).sqlstate, "0A000");
    // With their tables they go.
    db.cycle_in_full(&["DROP TABLE p1"]);
    db.cycle(&["INSERT INTO p VALUES (2, 9)"]);
}

fn the_owner_of_the_table_has_no_other_rights(db: &mut Database) {
    source(db);
    let role = format!("owner_{}", db.name());
    db.run(&format!("CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA public TO {role}; GRANT INSERT ON log TO {role}; ALTER TABLE t OWNER TO {role}"));
    let mut owner = db.connect_as(&role);
    owner.run("ALTER TABLE t DISABLE TRIGGER USER; INSERT INTO t VALUES (60, 'g1', 6)");
    db.cycle(&[]);
    owner.run("ALTER TABLE t ENABLE TRIGGER USER; INSERT INTO t VALUES (61, 'g1', 6)");
    db.cycle(&[]);
    drop(owner);
    db.run(&format!("ALTER TABLE t OWNER TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"));
}

fn their_names_are_reserved(db: &mut Database) {
    source(db);
    let number = db.text("SELECT 't'::regclass::oid");
    for or_replace in ["OR REPLACE ", ""] {
        for (name, table) in [(format!("pg_trickle_cdc_ins_{number}"), "t"), ("pg_trickle_cdc_any_1".into(), "log")] {
            let create = format!(
                "CREATE {or_replace}TRIGGER {name} AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION note()"
            );
            let failure = db.fails(&create);
            let exists = or_replace.is_empty() && table == "t";
            assert_eq!(failure.sqlstate, if exists { "42710" } else { "42939" }, "{failure:?}");
        }
    }
    db.cycle(&["INSERT INTO t VALUES (50, 'g1', 1)"]);
}
