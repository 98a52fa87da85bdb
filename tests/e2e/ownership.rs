//! Who may do what, and as whom a refresh runs.

use pgtrickle_tests::{Database, create, refresh, tests};

tests![
    ordinary_roles_manage_their_own,
    others_may_not_touch_them,
    members_of_the_owner_may,
    the_source_must_be_readable,
    a_view_lends_its_owners_rights,
    rights_on_columns_suffice,
    capture_takes_the_trigger_privilege,
    another_owner_gets_everything,
    triggers_are_not_lent_by_views,
    writers_need_no_rights_of_the_extension,
    refresh_runs_as_the_owner,
    lost_rights_stop_the_refresh,
    row_security_refuses_creation,
    readers_need_a_grant,
    buffers_are_closed,
];

/// Two roles that may create tables, each owning one table. Roles are shared by the cluster, so the database's name
/// is part of theirs.
fn roles(db: &mut Database) -> (String, String) {
    let (alice, bob) = (format!("alice_{}", db.name()), format!("bob_{}", db.name()));
    for role in [&alice, &bob] {
        db.run(&format!("CREATE ROLE {role} LOGIN"));
        db.run(&format!("GRANT USAGE ON SCHEMA pgtrickle TO {role}; GRANT ALL ON SCHEMA public TO {role}"));
    }
    db.connect_as(&alice).run("CREATE TABLE hers (id int PRIMARY KEY, v int); INSERT INTO hers VALUES (1, 1), (2, 2)");
    db.connect_as(&bob).run("CREATE TABLE his (id int PRIMARY KEY, v int); INSERT INTO his VALUES (1, 1), (2, 2)");
    (alice, bob)
}

/// Removes the roles again, with all that they own here.
fn without_roles(db: &mut Database, (alice, bob): (String, String)) {
    for role in [alice, bob] {
        for name in db.lines(&format!(
            "SELECT format('%I.%I', pgt_schema, pgt_name) FROM pgtrickle.pgt_stream_tables AS st \
             JOIN pg_class AS c ON c.oid = st.pgt_relid WHERE c.relowner = '{role}'::regrole"
        )) {
            db.run(&format!("SELECT pgtrickle.drop_stream_table('{name}', cascade => true)"));
        }
        db.run(&format!("DROP OWNED BY {role} CASCADE"));
        db.run(&format!("DROP ROLE {role}"));
    }
}

const CREATE: &str = "SELECT pgtrickle.create_stream_table('sums', 'SELECT sum(v) AS s FROM hers', schedule => '1h', \
                      refresh_mode => 'DIFFERENTIAL')";

fn ordinary_roles_manage_their_own(db: &mut Database) {
    let (alice, bob) = roles(db);
    let mut her = db.connect_as(&alice);
    her.run(CREATE);
    assert_eq!(db.text("SELECT relowner::regrole::text FROM pg_class WHERE oid = 'sums'::regclass"), alice);
    her.run("UPDATE hers SET v = v + 10");
    her.run("SELECT pgtrickle.refresh_stream_table('sums')");
    assert_eq!(her.number("SELECT s FROM sums"), 23);
    her.run("SELECT pgtrickle.alter_stream_table('sums', schedule => '2h')");
    her.run("SELECT pgtrickle.drop_stream_table('sums')");
    drop(her);
    without_roles(db, (alice, bob));
}

fn others_may_not_touch_them(db: &mut Database) {
    let (alice, bob) = roles(db);
    db.connect_as(&alice).run(CREATE);
    let before = db.fingerprint();
    let mut him = db.connect_as(&bob);
    for call in [
        "refresh_stream_table('sums')",
        "drop_stream_table('sums')",
        "drop_stream_table('sums', cascade => true)",
        "alter_stream_table('sums', schedule => '2h')",
        "resume_stream_table('sums')",
    ] {
        let failure = him.fails(&format!("SELECT pgtrickle.{call}"));
        assert_eq!(failure.sqlstate, "42501", "{call}: {failure:?}");
        assert!(failure.message.contains("sums"), "{failure:?}");
        assert!(!failure.hint.is_empty(), "{failure:?}");
    }
    assert_eq!(db.fingerprint(), before);
    drop(him);
    without_roles(db, (alice, bob));
}

fn members_of_the_owner_may(db: &mut Database) {
    let (alice, bob) = roles(db);
    db.connect_as(&alice).run(CREATE);
    db.run(&format!("GRANT {alice} TO {bob}"));
    let mut him = db.connect_as(&bob);
    him.run("UPDATE hers SET v = v + 10");
    him.run("SELECT pgtrickle.refresh_stream_table('sums')");
    assert_eq!(him.number("SELECT s FROM sums"), 23);
    him.run("SELECT pgtrickle.drop_stream_table('sums')");
    drop(him);
    without_roles(db, (alice, bob));
}

fn the_source_must_be_readable(db: &mut Database) {
    let (alice, bob) = roles(db);
    let before = db.fingerprint();
    let mut him = db.connect_as(&bob);
    assert_eq!(him.fails(CREATE).sqlstate, "42501");
    assert_eq!(db.fingerprint(), before);
    db.run(&format!("GRANT SELECT, TRIGGER ON hers TO {bob}"));
    him.run(CREATE);
    db.track("sums", "SELECT sum(v) AS s FROM hers");
    db.cycle(&["UPDATE hers SET v = 7 WHERE id = 1"]);
    drop(him);
    without_roles(db, (alice, bob));
}

fn a_view_lends_its_owners_rights(db: &mut Database) {
    let (alice, bob) = roles(db);
    let mut her = db.connect_as(&alice);
    her.run(&format!("CREATE VIEW shown AS SELECT id, v FROM hers WHERE v < 10; GRANT SELECT ON shown TO {bob}"));
    let query = "SELECT count(*) AS n, sum(v) AS s FROM shown";
    let mut him = db.connect_as(&bob);
    // Captured changes would show more of the table than the view does.
    let failure = him.fails(&create("seen", query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'"));
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
    him.run(&create("seen", query, "schedule => '1h'"));
    db.track("seen", query);
    her.run("UPDATE hers SET v = v + 5; INSERT INTO hers VALUES (3, 50), (4, 4)");
    him.run(&refresh("seen"));
    db.check();
    her.run(&format!("REVOKE SELECT ON shown FROM {bob}; DELETE FROM hers"));
    assert_eq!(him.fails(&refresh("seen")).sqlstate, "42501");
    drop((her, him));
    without_roles(db, (alice, bob));
}

fn rights_on_columns_suffice(db: &mut Database) {
    let (alice, bob) = roles(db);
    db.run(&format!("GRANT SELECT (v), TRIGGER ON hers TO {bob}"));
    let mut him = db.connect_as(&bob);
    assert_eq!(him.fails("SELECT pgtrickle.create_stream_table('no', 'SELECT id FROM hers')").sqlstate, "42501");
    him.run(CREATE);
    db.track("sums", "SELECT sum(v) AS s FROM hers");
    db.cycle(&["UPDATE hers SET v = v + 10"]);
    drop(him);
    without_roles(db, (alice, bob));
}

fn capture_takes_the_trigger_privilege(db: &mut Database) {
    let (alice, bob) = roles(db);
    db.run(&format!("GRANT SELECT ON hers TO {bob}"));
    let mut him = db.connect_as(&bob);
    let before = db.fingerprint();
    let failure = him.fails(CREATE);
    assert_eq!(failure.sqlstate, "42501", "{failure:?}");
    assert!(failure.detail.contains("TRIGGER"), "{failure:?}");
    assert!(failure.hint.contains(&format!("GRANT TRIGGER ON \"public\".\"hers\" TO \"{bob}\"")), "{failure:?}");
    assert_eq!(db.fingerprint(), before);
    // Without a trigger on the table it is recomputed, whenever it is due.
    let query = "SELECT sum(v) AS s FROM hers";
    him.run(&create("recomputed", query, "schedule => '1h'"));
    assert!(him.notices().iter().any(|notice| notice.message.contains("permission denied to capture")));
    db.track("recomputed", query);
    assert_eq!(db.text("SELECT refresh_mode FROM pgtrickle.pgt_stream_tables"), "FULL");
    assert_eq!(db.number("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'hers'::regclass"), 0);
    db.cycle_in_full(&["UPDATE hers SET v = v + 10"]);
    // The right is needed at creation, as for any trigger.
    db.run(&format!("GRANT TRIGGER ON hers TO {bob}"));
    him.run(CREATE);
    db.track("sums", query);
    db.run(&format!("REVOKE TRIGGER ON hers FROM {bob}"));
    db.connect_as(&alice).run("INSERT INTO hers VALUES (3, 30)");
    him.run(&refresh("sums"));
    assert_eq!(db.fallback_of("sums"), None);
    db.check_after_refresh();
    drop(him);
    without_roles(db, (alice, bob));
}

fn another_owner_gets_everything(db: &mut Database) {
    let (alice, bob) = roles(db);
    db.run("CREATE MATERIALIZED VIEW seen AS SELECT id FROM hers");
    db.run(&format!("GRANT SELECT ON hers, seen TO {bob}; GRANT SELECT ON seen TO {alice}"));
    let query = "SELECT v, count(*) AS n FROM hers JOIN seen ON seen.id = hers.id GROUP BY v HAVING count(*) > 0";
    db.connect_as(&alice).run(&create("counted", query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'"));
    db.track("counted", query);
    db.run(&format!("ALTER TABLE counted OWNER TO {bob}"));
    db.cycle(&["UPDATE hers SET v = v + 10; INSERT INTO hers VALUES (3, 3)", "REFRESH MATERIALIZED VIEW seen"]);
    let mut him = db.connect_as(&bob);
    him.run("ALTER TABLE counted SET (fillfactor = 90)");
    db.run("UPDATE hers SET v = 1");
    him.run(&refresh("counted"));
    db.check();
    db.run(&format!("REASSIGN OWNED BY {bob} TO {alice}"));
    db.cycle(&["UPDATE hers SET v = v + id"]);
    drop(him);
    without_roles(db, (alice, bob));
}

fn triggers_are_not_lent_by_views(db: &mut Database) {
    let (alice, bob) = roles(db);
    let mut her = db.connect_as(&alice);
    her.run(&format!("CREATE VIEW shown AS SELECT id, v FROM hers; GRANT SELECT ON shown, hers TO {bob}; GRANT TRIGGER ON shown TO {bob}"));
    let mut him = db.connect_as(&bob);
    let query = "SELECT sum(v) AS s FROM shown";
    assert_eq!(him.fails(&create("sums", query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'")).sqlstate, "42501");
    her.run(&format!("GRANT TRIGGER ON hers TO {bob}"));
    him.run(&create("sums", query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'"));
    // A stream table is a table.
    her.run("SELECT pgtrickle.create_stream_table('own', 'SELECT v FROM hers', schedule => '1h')");
    her.run(&format!("GRANT SELECT ON own TO {bob}"));
    let above = create("above", "SELECT v FROM own", "schedule => '1h', refresh_mode => 'DIFFERENTIAL'");
    assert_eq!(him.fails(&above).sqlstate, "42501");
    her.run(&format!("GRANT TRIGGER ON own TO {bob}"));
    him.run(&above);
    drop((her, him));
    without_roles(db, (alice, bob));
}

fn writers_need_no_rights_of_the_extension(db: &mut Database) {
    let (alice, bob) = roles(db);
    db.run(&format!(
        "REVOKE ALL ON SCHEMA pgtrickle FROM {bob}; GRANT INSERT, UPDATE, DELETE, SELECT ON hers TO {bob}"
    ));
    db.connect_as(&alice).run(CREATE);
    db.track("sums", "SELECT sum(v) AS s FROM hers");
    let mut him = db.connect_as(&bob);
    him.run("INSERT INTO hers VALUES (3, 30)");
    db.cycle(&[]);
    him.run("UPDATE hers SET v = v * 2 WHERE id > 1; DELETE FROM hers WHERE id = 1");
    db.cycle(&[]);
    assert_eq!(db.number("SELECT s FROM sums"), 64);
    drop(him);
    without_roles(db, (alice, bob));
}

fn refresh_runs_as_the_owner(db: &mut Database) {
    let (alice, bob) = roles(db);
    let mut her = db.connect_as(&alice);
    her.run("CREATE FUNCTION who(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN current_user; END'");
    her.run(
        "SELECT pgtrickle.create_stream_table('seen', 'SELECT id, who(v) AS who FROM hers', schedule => '1h', \
             refresh_mode => 'DIFFERENTIAL')",
    );
    db.run("INSERT INTO hers VALUES (3, 3); SELECT pgtrickle.refresh_stream_table('seen')");
    assert_eq!(db.text("SELECT DISTINCT who FROM seen"), alice);
    assert_eq!(db.text("SELECT current_user"), "postgres");
    // What the owner may not do, the owner's function may not do either, whoever refreshes.
    her.run(&format!(
        "CREATE OR REPLACE FUNCTION who(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS \
         $$BEGIN EXECUTE 'ALTER ROLE {alice} SUPERUSER'; RETURN 'done'; END$$"
    ));
    db.run("INSERT INTO hers VALUES (4, 4)");
    db.fails("SELECT pgtrickle.refresh_stream_table('seen')");
    assert!(!db.holds(&format!("SELECT rolsuper FROM pg_roles WHERE rolname = '{alice}'")));
    drop(her);
    without_roles(db, (alice, bob));
}

fn lost_rights_stop_the_refresh(db: &mut Database) {
    let (alice, bob) = roles(db);
    db.run(&format!("GRANT SELECT, TRIGGER ON hers TO {bob}"));
    db.connect_as(&bob).run(CREATE);
    db.run(&format!("REVOKE SELECT ON hers FROM {bob}"));
    db.run("UPDATE hers SET v = v + 10");
    assert_eq!(db.fails("SELECT pgtrickle.refresh_stream_table('sums')").sqlstate, "42501");
    assert_eq!(db.number("SELECT s FROM sums"), 3);
    db.run(&format!("GRANT SELECT ON hers TO {bob}; SELECT pgtrickle.refresh_stream_table('sums')"));
    assert_eq!(db.number("SELECT s FROM sums"), 23);
    without_roles(db, (alice, bob));
}

fn row_security_refuses_creation(db: &mut Database) {
    let (alice, bob) = roles(db);
    let mut her = db.connect_as(&alice);
    her.run(&format!(
        "ALTER TABLE hers ENABLE ROW LEVEL SECURITY; GRANT SELECT ON hers TO {bob}; \
         CREATE POLICY few ON hers USING (v = 1)"
    ));
    let before = db.fingerprint();
    let failure = db.connect_as(&bob).fails(CREATE);
    assert_eq!(failure.sqlstate, "42501", "{failure:?}");
    assert!(!failure.hint.is_empty(), "{failure:?}");
    assert_eq!(db.fingerprint(), before);
    // The table's owner is not subject to its policies and sees everything.
    her.run(CREATE);
    db.track("sums", "SELECT sum(v) AS s FROM hers");
    db.cycle(&["UPDATE hers SET v = v + 10"]);
    drop(her);
    without_roles(db, (alice, bob));
}

fn readers_need_a_grant(db: &mut Database) {
    let (alice, bob) = roles(db);
    let mut her = db.connect_as(&alice);
    her.run(CREATE);
    let mut him = db.connect_as(&bob);
    assert_eq!(him.fails("SELECT s FROM sums").sqlstate, "42501");
    her.run(&format!("GRANT SELECT ON sums TO {bob}"));
    assert_eq!(him.number("SELECT s FROM sums"), 3);
    drop((her, him));
    without_roles(db, (alice, bob));
}

fn buffers_are_closed(db: &mut Database) {
    let (alice, bob) = roles(db);
    let mut her = db.connect_as(&alice);
    her.run(CREATE);
    let buffer = db.text("SELECT buffer_relid::regclass::text FROM pgtrickle.pgt_change_tracking");
    for statement in [format!("SELECT * FROM {buffer}"), format!("DELETE FROM {buffer}")] {
        assert_eq!(her.fails(&statement).sqlstate, "42501");
    }
    drop(her);
    without_roles(db, (alice, bob));
}
