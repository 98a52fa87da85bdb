//! What a stream table reads stays, and the stream table stays what its query makes it.

use crate::ddl::{nothing_is_left, source};
use pgtrickle_tests::{Database, create, tests};

tests![
    what_is_read_cannot_be_dropped_alone,
    dropping_all_that_is_read_drops_it,
    types_take_the_stream_table_along,
    so_do_operators_collations_and_text_search,
    the_stream_table_keeps_its_definition,
    the_stream_table_has_no_rules_or_kin,
    what_is_not_the_definition_changes,
];

fn what_is_read_cannot_be_dropped_alone(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)");
    db.run("CREATE TABLE more (v int); INSERT INTO more VALUES (2), (3); CREATE MATERIALIZED VIEW seen AS SELECT v FROM more");
    db.run("CREATE VIEW inner_view AS SELECT id, v FROM t; CREATE VIEW outer_view AS SELECT id, v FROM inner_view WHERE v > 1");
    db.stream("rows", "SELECT id, v FROM outer_view WHERE EXISTS (SELECT FROM seen WHERE seen.v = outer_view.v)");
    let query = "SELECT current_setting('server_version') AS s, count(*) AS n FROM outer_view";
    db.run(&create("whole", query, "schedule => '1h', refresh_mode => 'FULL'"));
    for what in
        ["VIEW outer_view", "VIEW inner_view, outer_view", "MATERIALIZED VIEW seen", "TABLE t, inner_view, outer_view"]
    {
        let Err(failure) = db.attempt(&format!("DROP {what}")) else { panic!("{what} was dropped") };
        assert!(["2BP01", "42809"].contains(&failure.sqlstate.as_str()), "{failure:?}");
    }
    let failure = db.fails("DROP VIEW outer_view");
    assert!(failure.detail.contains("table rows depends on view outer_view"), "{failure:?}");
    assert!(failure.detail.contains("table whole depends on view outer_view"), "{failure:?}");
    // The same in one transaction, with another body.
    db.fails("BEGIN; DROP VIEW outer_view; CREATE VIEW outer_view AS SELECT id, v FROM t; COMMIT");
    db.run("ROLLBACK");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.run("SELECT pgtrickle.drop_stream_table('rows'); SELECT pgtrickle.drop_stream_table('whole')");
    db.untrack("rows");
    db.run("DROP VIEW outer_view, inner_view; DROP MATERIALIZED VIEW seen");
}

fn dropping_all_that_is_read_drops_it(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)");
    db.run("CREATE SCHEMA s; CREATE MATERIALIZED VIEW s.seen AS SELECT v FROM t; CREATE VIEW big AS SELECT id, v FROM t WHERE v > 1");
    db.stream("rows", "SELECT id, v FROM big");
    db.stream("sums", "SELECT v, count(*) AS n FROM rows JOIN s.seen USING (v) GROUP BY v HAVING count(*) > 0");
    db.stream("stays", "SELECT v FROM t");
    db.run("DROP SCHEMA s CASCADE");
    db.untrack("sums");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.run("DROP VIEW big CASCADE");
    db.untrack("rows");
    assert_eq!(db.lines("SELECT pgt_name FROM pgtrickle.pgt_stream_tables"), ["stays"]);
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.run("DROP TABLE t CASCADE");
    db.untrack("stays");
    nothing_is_left(db);
}

fn types_take_the_stream_table_along(db: &mut Database) {
    db.run("CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TABLE t (id int, m mood); INSERT INTO t VALUES (1, 'sad'), (2, 'happy')");
    db.stream("shown", "SELECT id, m FROM t");
    db.stream("kept", "SELECT count(*) AS n FROM (SELECT DISTINCT m FROM t) AS d");
    let failure = db.fails("DROP TYPE mood");
    assert_eq!(failure.sqlstate, "2BP01", "{failure:?}");
    db.cycle(&["INSERT INTO t VALUES (3, 'happy')"]);
    db.run("DROP TYPE mood CASCADE");
    db.untrack("shown");
    db.untrack("kept");
    nothing_is_left(db);
}

fn so_do_operators_collations_and_text_search(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, s text, n int, u tsvector GENERATED ALWAYS AS (to_tsvector('simple', s)) VIRTUAL); INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)");
    db.run("CREATE FUNCTION near(int, int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN abs($1 - $2) <= 1; END'");
    db.run("CREATE OPERATOR <~> (FUNCTION = near, LEFTARG = int, RIGHTARG = int); CREATE COLLATION c (provider = icu, locale = 'und')");
    db.run(
        "CREATE TEXT SEARCH CONFIGURATION cfg (COPY = english); CREATE TEXT SEARCH DICTIONARY dict (TEMPLATE = simple)",
    );
    for (what, query) in [
        ("OPERATOR <~> (int, int)", "SELECT id FROM t WHERE n <~> 1"),
        ("COLLATION c", "SELECT id FROM t WHERE s COLLATE c < 'b'"),
        ("TEXT SEARCH CONFIGURATION cfg", "SELECT id FROM t WHERE to_tsvector('cfg', s) @@ 'a'"),
        ("TEXT SEARCH DICTIONARY dict", "SELECT id, ts_lexize('dict', s) AS l FROM t"),
    ] {
        db.stream("used", query);
        db.cycle(&["UPDATE t SET n = n + 1"]);
        let failure = db.fails(&format!("DROP {what}"));
        assert_eq!(failure.sqlstate, "2BP01", "{failure:?}");
        assert!(failure.detail.contains("table used depends on"), "{failure:?}");
        db.cycle(&["UPDATE t SET s = s || 'x'"]);
        db.run(&format!("DROP {what} CASCADE"));
        db.untrack("used");
    }
    nothing_is_left(db);
}

fn the_stream_table_keeps_its_definition(db: &mut Database) {
    source(db);
    db.run("CREATE TABLE parent (id int, v int); CREATE TYPE pair AS (id int, v int)");
    for change in [
        "TABLE rows ADD COLUMN more int",
        "TABLE rows DROP COLUMN v",
        "TABLE rows RENAME COLUMN v TO w",
        "VIEW rows RENAME COLUMN v TO w",
        "MATERIALIZED VIEW rows RENAME COLUMN v TO w",
        "FOREIGN TABLE rows RENAME COLUMN v TO w",
        "TABLE rows ALTER COLUMN v TYPE bigint",
        "TABLE rows ALTER COLUMN v SET NOT NULL",
        "TABLE rows ALTER COLUMN v SET DEFAULT 1",
        "TABLE rows SET (fillfactor = 80), ADD CHECK (v > 0)",
        "TABLE rows ADD PRIMARY KEY (id)",
        "TABLE rows ADD FOREIGN KEY (id) REFERENCES t",
        "TABLE rows INHERIT parent",
        "TABLE rows OF pair",
        "TABLE rows SET UNLOGGED",
    ] {
        let failure = db.fails(&format!("ALTER {change}"));
        assert_eq!(failure.sqlstate, "0A000", "{change}: {failure:?}");
        assert!(failure.message.ends_with("cannot be performed on stream table public.rows"), "{failure:?}");
        assert!(!failure.detail.is_empty() && !failure.hint.is_empty(), "{failure:?}");
    }
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn the_stream_table_has_no_rules_or_kin(db: &mut Database) {
    source(db);
    db.run("CREATE TABLE p (id int, v int) PARTITION BY LIST (id)");
    for change in [
        "CREATE RULE quiet AS ON INSERT TO rows DO INSTEAD NOTHING",
        "CREATE RULE also AS ON DELETE TO rows DO ALSO DELETE FROM t",
        "CREATE TABLE child () INHERITS (rows)",
        "ALTER TABLE p ATTACH PARTITION rows DEFAULT",
    ] {
        let failure = db.fails(change);
        assert_eq!(failure.sqlstate, "0A000", "{change}: {failure:?}");
        assert!(failure.message.contains("public.rows"), "{failure:?}");
    }
    db.run("CREATE TABLE plain (id int, v int); ALTER TABLE p ATTACH PARTITION plain DEFAULT; CREATE RULE r AS ON UPDATE TO plain DO NOTHING");
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn what_is_not_the_definition_changes(db: &mut Database) {
    source(db);
    db.run("CREATE SCHEMA s; CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'");
    for change in [
        "ALTER TABLE rows SET (fillfactor = 80), ALTER COLUMN v SET STATISTICS 50, ALTER COLUMN v SET STORAGE PLAIN",
        "ALTER TABLE rows SET LOGGED, SET TABLESPACE pg_default, REPLICA IDENTITY FULL, OWNER TO CURRENT_USER",
        "CREATE UNIQUE INDEX own ON rows (id, v); ALTER TABLE rows ADD CONSTRAINT own UNIQUE USING INDEX own, CLUSTER ON own",
        "ALTER TABLE rows DROP CONSTRAINT own; ALTER TABLE rows ADD UNIQUE (id, v)",
        "CREATE STATISTICS both_columns ON id, v FROM rows; ANALYZE rows",
        "CREATE TRIGGER noted AFTER INSERT ON rows FOR EACH ROW EXECUTE FUNCTION note()",
        "ALTER TRIGGER noted ON rows RENAME TO mine; ALTER TABLE rows DISABLE TRIGGER mine; DROP TRIGGER mine ON rows",
        "GRANT SELECT ON rows TO PUBLIC; COMMENT ON COLUMN rows.v IS 'the value'; ALTER TABLE rows ENABLE ROW LEVEL SECURITY",
        "CREATE PUBLICATION pub FOR TABLE rows; DROP PUBLICATION pub",
        "ALTER TABLE rows RENAME TO other; ALTER TABLE other SET SCHEMA s; ALTER TABLE s.other SET SCHEMA public; ALTER TABLE other RENAME TO rows",
    ] {
        db.run(change);
        db.cycle(&["UPDATE t SET v = v + 1"]);
    }
}
