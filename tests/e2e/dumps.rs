//! What a dump carries to another database.

use pgtrickle_tests::{Database, create, tests};

tests![a_restored_dump_is_taken_up_anew, a_template_carries_everything];

fn tables(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g int, v int); INSERT INTO t SELECT i, i % 3, i FROM generate_series(1, 30) i");
    db.run("CREATE TABLE p (id int, g int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100)");
    db.run("INSERT INTO p SELECT i, i % 3 FROM generate_series(1, 30) i");
}

const SUMS: &str = "SELECT g, sum(v) AS s, stddev(v) AS d FROM t GROUP BY g HAVING count(*) > 1";
const PAIRS: &str = "SELECT p.id, sums.s FROM p JOIN sums USING (g)";

const WALK: &str = "WITH RECURSIVE r AS (SELECT a, shade, at, ARRAY[shade] AS list FROM edge UNION ALL SELECT e.b, e.shade, e.at, ARRAY[e.shade] FROM r JOIN edge AS e ON e.a = r.a) CYCLE a, shade, at, list SET again USING path SELECT x.a, x.again FROM r AS x JOIN r AS y ON y.path = x.path";

fn a_restored_dump_is_taken_up_anew(db: &mut Database) {
    tables(db);
    db.stream("sums", SUMS);
    db.stream("pairs", PAIRS);
    db.run("CREATE TYPE shade AS ENUM ('dark', 'light'); CREATE TABLE edge (a int, b int, shade shade, at text COLLATE \"C\")");
    db.run("INSERT INTO edge SELECT i, i % 5, 'light', 'x\\y' FROM generate_series(1, 6) i; INSERT INTO edge VALUES (3, NULL, NULL, NULL)");
    db.stream("walk", WALK);
    db.run("INSERT INTO t VALUES (100, 1, 1)");
    let mut restored = Database::create(db.server(), "restored", false);
    restored.server().dump_and_restore(db.name(), restored.name());
    // The tables are there with their rows, and what they were is listed; nothing maintains them.
    let db = &mut restored;
    assert_eq!(db.number("SELECT count(*) FROM sums"), 3);
    let listed = "SELECT format('%I.%I', pgt_schema, pgt_name), pgt_relid, status FROM pgtrickle.pgt_stream_tables ORDER BY pgt_id";
    assert_eq!(db.lines(listed), ["public.sums||SUSPENDED", "public.pairs||SUSPENDED", "public.walk||SUSPENDED"]);
    // What records are kept in can be dumped, too.
    assert!(db.holds("SELECT bool_and(pg_relation_size(attrelid) > 0) FROM pg_attribute WHERE atttypid = 'pgtrickle.kept_record'::regtype"));
    db.run("UPDATE t SET v = v + 1; DELETE FROM p WHERE id < 5");
    assert_eq!(db.lines("SELECT relname FROM pg_class WHERE relname ~ '^changes_' AND pg_relation_size(oid) > 0 AND relnamespace = 'pgtrickle_changes'::regnamespace").len(), 1);
    assert_eq!(db.fails("SELECT pgtrickle.refresh_stream_table('sums')").sqlstate, "42P01");
    db.run("DROP TABLE sums, pairs, walk");
    db.stream("sums", SUMS);
    db.stream("pairs", PAIRS);
    db.stream("walk", WALK);
    assert_eq!(db.number("SELECT count(*) FROM pgtrickle.pgt_stream_tables"), 3);
    for cycle in 1..4 {
        db.cycle(&[
            "UPDATE t SET v = v + 1 WHERE g = 1; UPDATE edge SET shade = 'dark' WHERE b = 2",
            &format!("INSERT INTO t VALUES ({cycle} + 200, {cycle}, 7); DELETE FROM t WHERE id = {cycle}"),
            &format!("INSERT INTO p VALUES ({cycle}, {cycle}); UPDATE p SET g = g + 1 WHERE id > 20"),
        ]);
    }
}

fn a_template_carries_everything(db: &mut Database) {
    let origin = db.server().create_database("origin", false);
    let copy = format!("{origin}_copy");
    let mut session = db.server().connect(&origin);
    session.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 30) i");
    session.run(&create(
        "sums",
        "SELECT v % 3 AS g, sum(v) AS s FROM t GROUP BY 1",
        "refresh_mode => 'DIFFERENTIAL', schedule => '1h'",
    ));
    session.run("UPDATE t SET v = v + 1 WHERE id < 10");
    drop(session);
    // Waits for the session to end.
    let mut admin = db.server().connect("postgres");
    admin.run(&format!("CREATE DATABASE {copy} TEMPLATE {origin}"));
    let mut session = db.server().connect(&copy);
    session.run("UPDATE t SET v = v + 1 WHERE id > 5");
    session.run("SELECT pgtrickle.refresh_stream_table('sums')");
    assert_eq!(session.lines("SELECT * FROM pgtrickle.verify('sums')"), ["0|0"]);
    assert_eq!(
        session.text("SELECT action FROM pgtrickle.pgt_refresh_history ORDER BY refresh_id DESC LIMIT 1"),
        "DIFFERENTIAL"
    );
    drop(session);
    for name in [copy, origin] {
        db.server().drop_database(&name);
    }
}
