//! What happens to a stream table when its sources change shape.

use pgtrickle_tests::{Database, tests};

tests![
    a_column_added_to_the_source,
    an_unused_column_dropped_from_the_source,
    a_used_column_dropped_from_the_source,
    a_used_column_changes_its_type,
    a_source_column_is_renamed,
    a_source_is_renamed_or_moved,
    a_source_is_dropped,
    a_source_is_dropped_and_created_again,
    a_source_is_rewritten,
    indexes_and_statistics_come_and_go,
    a_key_of_the_source_is_dropped,
    a_source_is_rewritten_by_an_expression,
    a_generated_column_gets_another_expression,
    a_virtual_column_keeps_its_expression,
    a_source_stays_logged,
    a_rewritten_column_has_any_name,
    a_view_below_is_replaced,
    a_source_gets_children,
    the_extension_can_be_dropped_and_created,
    the_stream_table_is_dropped_as_a_table,
    the_stream_table_is_renamed,
    what_is_read_of_a_source_stays,
];

pub(crate) fn source(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g text, v int, unused int)");
    db.run("INSERT INTO t SELECT i, 'g' || i % 3, i, i FROM generate_series(1, 12) AS i");
    db.stream("sums", "SELECT g, sum(v) AS s FROM t GROUP BY g");
    db.stream("rows", "SELECT id, v FROM t WHERE v > 2");
}

fn a_column_added_to_the_source(db: &mut Database) {
    source(db);
    db.run("UPDATE t SET v = v + 1; ALTER TABLE t ADD COLUMN more text DEFAULT 'x'");
    db.cycle(&["INSERT INTO t (id, g, v, more) VALUES (100, 'g1', 5, 'y'); UPDATE t SET more = 'z'"]);
    db.stream("wide", "SELECT id, more FROM t");
    db.cycle(&["UPDATE t SET more = 'w', v = v + 1 WHERE id < 6"]);
}

fn an_unused_column_dropped_from_the_source(db: &mut Database) {
    source(db);
    db.run("UPDATE t SET v = v + 1; ALTER TABLE t DROP COLUMN unused");
    db.cycle(&["INSERT INTO t (id, g, v) VALUES (100, 'g1', 5); DELETE FROM t WHERE id = 4"]);
}

fn a_used_column_dropped_from_the_source(db: &mut Database) {
    source(db);
    let failure = db.fails("ALTER TABLE t DROP COLUMN v");
    assert!(failure.sqlstate == "0A000" && failure.detail.contains("\"v\""), "{failure:?}");
    db.cycle(&["INSERT INTO t VALUES (100, 'g1', 5, 5)"]);
    // Renamed meanwhile, and read by a query without a delta.
    db.run("SELECT pgtrickle.drop_stream_table('sums'); SELECT pgtrickle.drop_stream_table('rows'); ALTER TABLE t RENAME COLUMN v TO amount");
    db.untrack("sums");
    db.untrack("rows");
    db.run(
        "SELECT pgtrickle.create_stream_table('all_of_it', 'SELECT amount, tableoid AS part FROM t', schedule => '1h')",
    );
    assert_eq!(db.fails("ALTER TABLE t DROP COLUMN amount").sqlstate, "0A000");
    db.run("ALTER TABLE t DROP COLUMN g");
    // Whoever may say so takes it on.
    db.run("SET pg_trickle.block_source_ddl = off; ALTER TABLE t DROP COLUMN amount");
    let failure = db.fails("SELECT pgtrickle.refresh_stream_table('all_of_it')");
    assert!(["42P16", "42703"].contains(&failure.sqlstate.as_str()), "{failure:?}");
}

fn a_used_column_changes_its_type(db: &mut Database) {
    source(db);
    db.run("CREATE TABLE moments (id int PRIMARY KEY, at timestamptz, name varchar(10)); INSERT INTO moments VALUES (1, now(), 'a')");
    db.stream("days", "SELECT at::date AS day, max(name) AS name, count(*) AS n FROM moments GROUP BY 1");
    db.run("UPDATE t SET v = v + 1; SET TimeZone = 'UTC'");
    // Some of these rewrite the table, others do not.
    for change in [
        "TABLE t ALTER COLUMN v TYPE numeric(10, 2)",
        "TABLE moments ALTER COLUMN at TYPE timestamp",
        "TABLE moments ALTER COLUMN name TYPE text",
        "TABLE moments ALTER COLUMN name TYPE varchar(10) COLLATE \"C\"",
    ] {
        let failure = db.fails(&format!("ALTER {change}"));
        assert!(failure.sqlstate == "0A000" && failure.detail.contains("reads column"), "{change}: {failure:?}");
    }
    db.run("ALTER TABLE moments ALTER COLUMN id TYPE bigint");
    db.cycle(&["INSERT INTO t VALUES (100, 'g1', 5, 5); INSERT INTO moments VALUES (2, now(), 'b')"]);
    // An idle refresh says so, too.
    db.run("SET pg_trickle.block_source_ddl = off; ALTER TABLE moments ALTER COLUMN at TYPE timestamp");
    let failure = db.fails("SELECT pgtrickle.refresh_stream_table('days')");
    assert!(failure.sqlstate == "42P16" && !failure.hint.is_empty(), "{failure:?}");
}

fn a_source_column_is_renamed(db: &mut Database) {
    source(db);
    db.run("UPDATE t SET v = v + 1; ALTER TABLE t RENAME COLUMN v TO amount");
    db.run("UPDATE t SET amount = amount + 1 WHERE id < 5; INSERT INTO t VALUES (100, 'new', 9, 9)");
    // The definition follows the rename, or the refresh says what happened.
    match db.attempt("SELECT pgtrickle.refresh_stream_table('sums')") {
        Ok(()) => {
            let stored = db.lines("SELECT g, s FROM sums ORDER BY g");
            assert_eq!(stored, db.lines("SELECT g, sum(amount) FROM t GROUP BY g ORDER BY g"));
        }
        Err(failure) => {
            assert!(["42P16", "42703"].contains(&failure.sqlstate.as_str()), "{failure:?}");
            assert!(!failure.hint.is_empty(), "{failure:?}");
        }
    }
}

fn a_source_is_renamed_or_moved(db: &mut Database) {
    source(db);
    db.run("CREATE SCHEMA elsewhere; ALTER TABLE t SET SCHEMA elsewhere; ALTER TABLE elsewhere.t RENAME TO moved");
    db.run("CREATE TABLE t (id int, g text, v int); INSERT INTO t VALUES (1, 'decoy', 1)");
    db.run("UPDATE elsewhere.moved SET v = v + 1 WHERE id < 5");
    match db.attempt("SELECT pgtrickle.refresh_stream_table('sums')") {
        Ok(()) => {
            let stored = db.lines("SELECT g, s FROM sums ORDER BY g");
            assert_eq!(stored, db.lines("SELECT g, sum(v) FROM elsewhere.moved GROUP BY g ORDER BY g"));
        }
        Err(failure) => {
            assert!(["42P16", "42P01"].contains(&failure.sqlstate.as_str()), "{failure:?}");
            assert!(!failure.hint.is_empty(), "{failure:?}");
        }
    }
}

fn a_source_is_dropped(db: &mut Database) {
    source(db);
    let failure = db.fails("DROP TABLE t");
    assert_eq!(failure.sqlstate, "2BP01", "{failure:?}");
    assert!(failure.detail.contains("table sums depends on table t"), "{failure:?}");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.run("SELECT pgtrickle.drop_stream_table('sums'); SELECT pgtrickle.drop_stream_table('rows')");
    db.run("DROP TABLE t");
    assert_eq!(db.number("SELECT count(*) FROM pgtrickle.pgt_change_tracking"), 0);
    assert_eq!(db.number("SELECT count(*) FROM pg_class WHERE relnamespace = 'pgtrickle_changes'::regnamespace"), 0);
}

fn a_source_is_dropped_and_created_again(db: &mut Database) {
    source(db);
    db.stream("few", "SELECT g, s FROM sums ORDER BY s LIMIT 2");
    db.run("BEGIN; DROP TABLE t CASCADE; ROLLBACK");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.run("DROP TABLE t CASCADE");
    for gone in ["sums", "rows", "few"] {
        db.untrack(gone);
    }
    nothing_is_left(db);
    source(db);
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

#[track_caller]
pub(crate) fn nothing_is_left(db: &mut Database) {
    for left in [
        "SELECT count(*) FROM pgtrickle.pgt_stream_tables",
        "SELECT count(*) FROM pgtrickle.pgt_change_tracking",
        "SELECT count(*) FROM pgtrickle.pgt_dependencies",
        "SELECT count(*) FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = tgfoid WHERE pronamespace = 'pgtrickle'::regnamespace \
         AND tgrelid >= 16384 AND tgrelid::regclass::text !~ '^pgtrickle'",
        "SELECT count(*) FROM pg_class WHERE relnamespace IN ('pgtrickle_changes'::regnamespace, 'pgtrickle_state'::regnamespace)",
    ] {
        assert_eq!(db.number(left), 0, "{left}");
    }
}

fn a_source_is_rewritten(db: &mut Database) {
    source(db);
    db.run("UPDATE t SET v = v + 1 WHERE id < 6");
    db.run("VACUUM FULL t");
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id > 3"]);
    db.run("CLUSTER t USING t_pkey");
    let refreshes = "SELECT count(*) FROM pgtrickle.pgt_refresh_history";
    let before = db.number(refreshes);
    db.run("ALTER TABLE t ALTER COLUMN unused TYPE bigint");
    db.run("ALTER TABLE t ALTER COLUMN unused TYPE bigint USING unused * 10, ADD COLUMN late float8 DEFAULT random()");
    db.cycle(&[]);
    assert_eq!(db.number(refreshes), before, "nobody reads what was rewritten");
    db.cycle(&["UPDATE t SET v = v + 1, unused = 2 WHERE id > 3"]);
}

fn indexes_and_statistics_come_and_go(db: &mut Database) {
    source(db);
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 6"]);
    db.run("CREATE INDEX extra ON t (g); ANALYZE t; ANALYZE sums");
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 6"]);
    db.run("DROP INDEX extra; CREATE INDEX own ON sums (s)");
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn a_key_of_the_source_is_dropped(db: &mut Database) {
    source(db);
    // Rows are found by this key, so it must stay, as it must for a view that groups by it.
    for drop in ["ALTER TABLE t DROP CONSTRAINT t_pkey", "ALTER TABLE t ALTER COLUMN id DROP NOT NULL"] {
        let failure = db.attempt(drop).expect_err("a stream table relies on the key");
        assert!(["2BP01", "42P16"].contains(&failure.sqlstate.as_str()), "{failure:?}");
    }
    db.cycle(&["UPDATE t SET v = v + 1", "INSERT INTO t VALUES (100, 'g1', 3, 1)"]);
    // What does not rely on it does not hold it.
    db.run("SELECT pgtrickle.drop_stream_table('rows')");
    db.untrack("rows");
    db.run("ALTER TABLE t DROP CONSTRAINT t_pkey");
    db.cycle(&["INSERT INTO t VALUES (1, 'g1', 7, 1)"]);
    db.cycle(&["DELETE FROM t WHERE id = 1"]);
}

fn the_extension_can_be_dropped_and_created(db: &mut Database) {
    source(db);
    // One with a state, one that is recomputed, one of another owner in another schema, one over another.
    db.run("CREATE SCHEMA apart; CREATE ROLE apart_owner; GRANT SELECT ON t TO apart_owner");
    for (name, query) in [
        ("apart.averages", "SELECT g, avg(v) AS a FROM t GROUP BY g"),
        ("apart.bag", "SELECT v FROM t"),
        ("apart.recomputed", "SELECT tableoid AS place, v FROM t"),
        ("over", "SELECT sum(s) AS s FROM sums"),
    ] {
        db.stream_with(name, query, "schedule => '1h', refresh_mode => 'AUTO'");
    }
    db.run("ALTER TABLE apart.bag OWNER TO apart_owner; CREATE VIEW seen AS SELECT v FROM apart.bag");
    let failure = db.fails("DROP EXTENSION pg_trickle");
    assert_eq!(failure.sqlstate, "2BP01", "{failure:?}");
    for name in ["sums", "rows", "apart.averages", "apart.bag", "apart.recomputed", "over"] {
        assert!(failure.detail.contains(&format!("table {name} depends on extension pg_trickle")), "{failure:?}");
    }
    db.run("DROP EXTENSION pg_trickle CASCADE");
    // As other objects of an extension, stream tables go with it, and nothing of theirs stays.
    let left = "SELECT relname FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'p', 'v', 'm') ORDER BY 1";
    assert_eq!(db.lines(left), ["t"]);
    assert_eq!(db.number("SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass"), 0);
    db.run("DROP SCHEMA apart; DROP OWNED BY apart_owner; DROP ROLE apart_owner; UPDATE t SET v = v + 1");
    db.run("CREATE EXTENSION pg_trickle");
    for name in ["sums", "rows"] {
        db.untrack(name);
    }
    db.stream("sums", "SELECT g, sum(v) AS s FROM t GROUP BY g");
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn the_stream_table_is_dropped_as_a_table(db: &mut Database) {
    source(db);
    db.stream("few", "SELECT g, s FROM sums ORDER BY s LIMIT 2");
    // Not without who reads it; writers go on, and the name can be used again.
    let failure = db.fails("DROP TABLE sums");
    assert_eq!(failure.sqlstate, "2BP01", "{failure:?}");
    db.run("DROP TABLE sums CASCADE; UPDATE t SET v = v + 1");
    assert_eq!(db.number("SELECT count(*) FROM pgtrickle.pgt_stream_tables WHERE pgt_name IN ('sums', 'few')"), 0);
    for gone in ["sums", "few"] {
        db.untrack(gone);
    }
    db.stream("sums", "SELECT g, sum(v) AS s FROM t GROUP BY g");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    // With its schema, its owner's other objects, and inside a transaction that thinks better of it.
    db.run("CREATE SCHEMA s; SELECT pgtrickle.create_stream_table('s.b', 'SELECT v FROM t', schedule => '1h')");
    db.run("BEGIN; DROP SCHEMA s CASCADE; ROLLBACK; UPDATE t SET v = v + 1");
    db.refresh("s.b");
    db.run("DROP SCHEMA s CASCADE; DROP TABLE rows");
    db.untrack("rows");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.run("DROP TABLE sums");
    db.untrack("sums");
    nothing_is_left(db);
}

/// A stream table is its relation, whatever it is called; a table that takes its old name is left alone.
fn the_stream_table_is_renamed(db: &mut Database) {
    source(db);
    db.run("ALTER TABLE sums RENAME TO totals; CREATE TABLE sums (precious int); INSERT INTO sums VALUES (42)");
    db.run("UPDATE t SET v = v + 1");
    for call in ["refresh_stream_table('sums')", "drop_stream_table('sums')", "alter_stream_table('sums')"] {
        let failure = db.fails(&format!("SELECT pgtrickle.{call}"));
        assert_eq!(failure.sqlstate, "42P01", "{failure:?}");
    }
    assert_eq!(db.number("SELECT precious FROM sums"), 42);
    db.run("SELECT pgtrickle.refresh_stream_table('totals')");
    assert_eq!(db.number("SELECT sum(s) FROM totals"), db.number("SELECT sum(v) FROM t"));
    db.run("DROP TABLE sums");
    db.untrack("sums");
    db.stream("sums", "SELECT g, count(*) AS n FROM t GROUP BY g");
    db.cycle(&["UPDATE t SET v = v + 1; DELETE FROM t WHERE id = 3"]);
    db.run("SELECT pgtrickle.drop_stream_table('totals')");
    assert_eq!(db.number("SELECT count(*) FROM pg_class WHERE relname = 'totals'"), 0);
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn a_source_is_rewritten_by_an_expression(db: &mut Database) {
    source(db);
    db.cycle_in_full(&["ALTER TABLE t ALTER COLUMN v TYPE int USING v * 10"]);
    // A new column changes none that is read.
    db.run("ALTER TABLE t ADD COLUMN late timestamptz DEFAULT clock_timestamp()");
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn a_generated_column_gets_another_expression(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int, g int GENERATED ALWAYS AS (v * 2) STORED, h int GENERATED ALWAYS AS (v) STORED)");
    db.run("INSERT INTO t (id, v) VALUES (1, 1), (2, 2), (3, NULL)");
    db.stream("sums", "SELECT count(*) AS n, sum(g) AS s FROM t");
    db.cycle(&["ALTER TABLE t ALTER COLUMN h SET EXPRESSION AS (v + 1)"]);
    db.cycle_in_full(&["ALTER TABLE t ALTER COLUMN g SET EXPRESSION AS (v * 3)"]);
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn a_virtual_column_keeps_its_expression(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int, g int GENERATED ALWAYS AS (v * 2) VIRTUAL)");
    db.run("CREATE TABLE free (v int, g int GENERATED ALWAYS AS (v * 2) VIRTUAL); INSERT INTO t (id, v) VALUES (1, 1)");
    db.stream("rows", "SELECT id, g FROM t");
    let change = "ALTER TABLE t ALTER COLUMN g SET EXPRESSION AS (v * 3)";
    let failure = db.fails(change);
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
    assert!(!failure.detail.is_empty() && !failure.hint.is_empty(), "{failure:?}");
    db.run("ALTER TABLE free ALTER COLUMN g SET EXPRESSION AS (v * 3)");
    db.cycle(&["INSERT INTO t (id, v) VALUES (2, 2)"]);
    db.run("SELECT pgtrickle.drop_stream_table('rows')");
    db.untrack("rows");
    db.run(change);
}

fn a_source_stays_logged(db: &mut Database) {
    source(db);
    db.run("CREATE TABLE free (v int); ALTER TABLE free SET UNLOGGED");
    let failure = db.fails("ALTER TABLE public.t SET UNLOGGED");
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
    assert!(!failure.detail.is_empty() && !failure.hint.is_empty(), "{failure:?}");
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn a_rewritten_column_has_any_name(db: &mut Database) {
    db.run("CREATE TYPE shape AS (id int, \"sum of\" int, other int)");
    db.run("CREATE TABLE t OF shape; INSERT INTO t VALUES (1, 1, 1), (2, 2, 2)");
    db.stream("sums", "SELECT sum(\"sum of\") AS s FROM t");
    db.cycle(&["ALTER TYPE shape ALTER ATTRIBUTE other TYPE bigint CASCADE"]);
    db.run("ALTER TABLE t NOT OF");
    db.run("DO $$BEGIN EXECUTE 'ALTER TABLE t ALTER COLUMN other TYPE int, ALTER COLUMN \"sum of\" TYPE int USING 7'; END$$");
    db.cycle_in_full(&[]);
    // As the owner of the table, who has no rights on buffers and catalog.
    db.run("CREATE ROLE rewriter; ALTER TABLE t OWNER TO rewriter; GRANT CREATE ON SCHEMA public TO rewriter");
    db.cycle_in_full(&["SET ROLE rewriter; ALTER TABLE t ALTER \"sum of\" TYPE int USING other; RESET ROLE"]);
    db.run("ALTER TABLE t OWNER TO CURRENT_USER; REVOKE ALL ON SCHEMA public FROM rewriter; DROP ROLE rewriter");
}

fn a_view_below_is_replaced(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)");
    db.run("CREATE VIEW big AS SELECT id, v FROM t WHERE v > 1");
    db.stream("rows", "SELECT id, v FROM big");
    for body in ["VIEW big AS", "RULE \"_RETURN\" AS ON SELECT TO big DO INSTEAD"] {
        let failure = db.fails(&format!("CREATE OR REPLACE {body} SELECT id, v FROM t WHERE v > 0"));
        assert_eq!(failure.sqlstate, "2BP01", "{failure:?}");
        assert!(failure.message.contains("view public.big"), "{failure:?}");
        assert!(!failure.hint.is_empty(), "{failure:?}");
        db.cycle(&["UPDATE t SET v = v + 1"]);
    }
    db.run("CREATE RULE quiet AS ON DELETE TO big DO INSTEAD NOTHING");
    db.run("SELECT pgtrickle.drop_stream_table('rows')");
    db.untrack("rows");
    db.run("CREATE OR REPLACE VIEW big AS SELECT id, v FROM t WHERE v > 0");
}

fn a_source_gets_children(db: &mut Database) {
    source(db);
    db.run("CREATE TABLE other (id int NOT NULL, g text, v int, unused int)");
    for adds in ["CREATE TABLE child () INHERITS (t)", "ALTER TABLE other INHERIT t"] {
        let failure = db.fails(adds);
        assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
        assert!(!failure.hint.is_empty(), "{failure:?}");
    }
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

/// Whatever statement drops it, and whatever it is called by then.
fn what_is_read_of_a_source_stays(db: &mut Database) {
    db.run("CREATE TYPE ct AS (a int, b int, unread int); CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2'");
    db.run("CREATE TABLE g (id int PRIMARY KEY, a int, w int GENERATED ALWAYS AS (a + 1) VIRTUAL, s int GENERATED ALWAYS AS (twice(a)) STORED, c ct, cs ct[], v int, z int)");
    db.run("INSERT INTO g (id, a, c, cs, v) SELECT i, i, ROW(i, i, i)::ct, ARRAY[ROW(i, i, i)::ct], i FROM generate_series(1, 5) AS i");
    db.run("CREATE TABLE h (id int PRIMARY KEY, r g)");
    db.stream("virtual", "SELECT id, w FROM g");
    db.stream("stored", "SELECT id, s FROM g WHERE s > 2");
    db.stream("fields", "SELECT id, (c).b AS b, (cs[1]).a AS a FROM g");
    db.stream("rows", "SELECT id, (r).z AS z FROM h");
    let recomputed = "SELECT id, v, current_database() AS d FROM g";
    db.stream_with("recomputed", recomputed, "schedule => '1h', refresh_mode => 'FULL'");
    db.run("ALTER TABLE g RENAME v TO old; ALTER TABLE g RENAME z TO v; ALTER TABLE g ADD COLUMN unread int");
    db.untrack("rows");
    db.track("rows", "SELECT id, (r).v AS z FROM h");
    for change in [
        "ALTER TABLE g DROP COLUMN w",
        "DROP FUNCTION twice CASCADE",
        "ALTER TYPE ct DROP ATTRIBUTE b",
        "ALTER TYPE ct DROP ATTRIBUTE a",
        "ALTER TABLE g DROP COLUMN v",
        "ALTER TABLE g DROP COLUMN old",
    ] {
        let failure = db.fails(change);
        assert!(failure.sqlstate == "0A000" && failure.detail.contains("reads "), "{change}: {failure:?}");
    }
    db.run("ALTER TYPE ct DROP ATTRIBUTE unread; ALTER TABLE g DROP COLUMN unread");
    db.cycle_in_full(&["INSERT INTO g (id, a, c, old) VALUES (9, 9, ROW(1, 2), 9); INSERT INTO h SELECT id, g FROM g"]);
}
