//! A function that a query calls changes: who calls it recomputes, once; and it stays.

use pgtrickle_tests::{Database, create, refresh, tests};

tests![
    a_replaced_function_has_its_callers_recompute,
    a_function_of_an_operator_is_replaced,
    a_function_of_an_aggregate_is_replaced,
    a_function_called_by_a_view_is_replaced,
    a_function_called_by_a_function_is_replaced,
    a_folded_constant_is_folded_again,
    other_functions_are_no_news,
    a_function_becomes_volatile_or_stable,
    a_function_that_is_called_stays,
    a_schema_is_renamed_and_another_takes_its_name,
    an_aggregate_is_what_its_functions_are,
    a_creation_under_way_is_not_overlooked,
    a_query_without_a_delta_is_recomputed,
];

const TIMES: &str =
    "CREATE OR REPLACE FUNCTION times(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 * ";

/// `times(v)` is `v` times `factor`.
fn times(factor: i32) -> String {
    format!("{TIMES}{factor}; END'")
}

fn source(db: &mut Database) {
    db.run("CREATE TABLE t (id int, g text, v int)");
    db.run(
        "INSERT INTO t SELECT i % 10, nullif('g' || i % 3, 'g0'), nullif(i % 7, 3) FROM generate_series(1, 30) AS i",
    );
    db.run(&times(2));
}

fn a_replaced_function_has_its_callers_recompute(db: &mut Database) {
    source(db);
    db.stream("rows", "SELECT id, times(v) AS v FROM t");
    db.stream("sums", "SELECT g, sum(times(v)) AS s, count(*) AS n FROM t GROUP BY g");
    db.stream("above", "SELECT g, times(s::int) AS s FROM sums");
    db.cycle(&["INSERT INTO t VALUES (1, NULL, NULL), (1, NULL, NULL), (2, 'g1', 5)"]);
    db.cycle_in_full(&[&times(3)]);
    db.cycle(&["UPDATE t SET v = v + 1; DELETE FROM t WHERE id = 2"]);
    db.cycle_in_full(&["UPDATE t SET v = v + 1", &times(-1), "INSERT INTO t VALUES (7, 'g2', 7)"]);
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 5"]);
    // The rows that are what they were are left alone.
    db.run(&times(-1));
    db.refresh("rows");
    let last =
        "SELECT rows_inserted + rows_deleted FROM pgtrickle.pgt_refresh_history ORDER BY refresh_id DESC LIMIT 1";
    assert_eq!(db.number(last), 0);
    assert!(!db.holds("SELECT needs_reinit FROM pgtrickle.pgt_stream_tables WHERE pgt_name = 'rows'"));
    assert_eq!(
        db.text("SELECT functions_used::text FROM pgtrickle.pgt_stream_tables WHERE pgt_name = 'rows'"),
        "{public.times}"
    );
}

fn a_function_of_an_operator_is_replaced(db: &mut Database) {
    source(db);
    let near = |by: i32| {
        format!(
            "CREATE OR REPLACE FUNCTION near(int, int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN abs($1 - $2) <= {by}; END'"
        )
    };
    db.run(&near(1));
    db.run("CREATE OPERATOR <~> (FUNCTION = near, LEFTARG = int, RIGHTARG = int)");
    db.stream("pairs", "SELECT a.v, b.v AS w FROM t AS a JOIN t AS b ON a.v <~> b.v");
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 5"]);
    db.cycle_in_full(&[&near(0)]);
    db.cycle(&["UPDATE t SET v = v - 2 WHERE id > 5; INSERT INTO t VALUES (3, 'x', 4)"]);
}

fn a_function_of_an_aggregate_is_replaced(db: &mut Database) {
    source(db);
    let step = |factor: i32| {
        format!(
            "CREATE OR REPLACE FUNCTION step(int, int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN coalesce($1, 0) + {factor} * coalesce($2, 1); END'"
        )
    };
    db.run(&step(1));
    db.run("CREATE AGGREGATE total(int) (SFUNC = step, STYPE = int, INITCOND = '0')");
    db.stream("totals", "SELECT g, total(v) AS s FROM t GROUP BY g");
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 5"]);
    db.cycle_in_full(&[&step(2)]);
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 5; DELETE FROM t WHERE id = 9"]);
    db.cycle_in_full(&["CREATE OR REPLACE AGGREGATE total(int) (SFUNC = step, STYPE = int, INITCOND = '100')"]);
    db.cycle(&["UPDATE t SET g = 'g1' WHERE id = 4"]);
}

fn a_function_called_by_a_view_is_replaced(db: &mut Database) {
    source(db);
    db.run("CREATE VIEW doubled AS SELECT id, times(v) AS v FROM t");
    db.stream("rows", "SELECT id, sum(v) AS v FROM doubled GROUP BY id");
    db.cycle_in_full(&[&times(5)]);
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 5"]);
}

fn a_function_called_by_a_function_is_replaced(db: &mut Database) {
    source(db);
    db.run(
        "CREATE FUNCTION outer_times(i int) RETURNS int IMMUTABLE LANGUAGE sql BEGIN ATOMIC SELECT times(i) + 1; END",
    );
    db.stream("rows", "SELECT id, outer_times(v) AS v FROM t");
    db.cycle_in_full(&[&times(5)]);
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 5"]);
}

/// A statement that was planned with the old function holds what that one gave for constants.
fn a_folded_constant_is_folded_again(db: &mut Database) {
    source(db);
    db.stream("rows", "SELECT id, v + times(10) AS v FROM t");
    let mut other = db.connect();
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 5"]);
    other.run("INSERT INTO t VALUES (100, 'x', 1)");
    other.run(&refresh("rows"));
    other.run("INSERT INTO t VALUES (101, 'x', 1)");
    other.run(&refresh("rows"));
    db.cycle_in_full(&[&times(3)]);
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 5"]);
    other.run("INSERT INTO t VALUES (102, 'x', 1)");
    other.run(&refresh("rows"));
    db.check();
}

fn other_functions_are_no_news(db: &mut Database) {
    source(db);
    db.stream("rows", "SELECT id, times(v) AS v FROM t");
    let refreshes = "SELECT count(*) FROM pgtrickle.pgt_refresh_history";
    let before = db.number(refreshes);
    db.run("CREATE FUNCTION times(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1'");
    db.run("CREATE OR REPLACE FUNCTION times(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT NULL::text'");
    db.run("COMMENT ON FUNCTION times(int) IS 'c'; REVOKE ALL ON FUNCTION times(text) FROM PUBLIC");
    db.run("DROP FUNCTION times(text)");
    db.refresh("rows");
    assert_eq!(db.number(refreshes), before);
}

fn a_function_becomes_volatile_or_stable(db: &mut Database) {
    source(db);
    db.stream("rows", "SELECT id, times(v) AS v FROM t");
    db.stream("plain", "SELECT id, v FROM t");
    for word in ["VOLATILE", "STABLE"] {
        db.run(&format!("ALTER FUNCTION times(int) {word}; UPDATE t SET v = v + 1"));
        let failure = db.fails(&refresh("rows"));
        assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
        assert!(failure.message.contains("times") && failure.detail.contains(word), "{failure:?}");
        assert!(!failure.hint.is_empty(), "{failure:?}");
        db.refresh("plain");
    }
    db.cycle_in_full(&["ALTER FUNCTION times(int) IMMUTABLE"]);
    db.cycle(&["UPDATE t SET v = v + 1"]);
    // In full mode a STABLE function was right from the beginning, a VOLATILE one never is.
    db.run("ALTER FUNCTION times(int) STABLE");
    db.untrack("rows");
    let query = "SELECT id, times(v) AS v FROM t";
    db.run(&create("recomputed", query, "schedule => '1h'"));
    db.track("recomputed", query);
    db.cycle_in_full(&["UPDATE t SET v = v + 1", "ALTER FUNCTION times(int) COST 10"]);
    db.run("ALTER FUNCTION times(int) VOLATILE");
    assert_eq!(db.fails(&refresh("recomputed")).sqlstate, "0A000");
}

fn a_function_that_is_called_stays(db: &mut Database) {
    source(db);
    db.stream("rows", "SELECT id, times(v) AS v FROM t");
    let failure = db.fails("DROP FUNCTION times(int)");
    assert_eq!(failure.sqlstate, "2BP01", "{failure:?}");
    assert!(failure.detail.contains("rows"), "{failure:?}");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.run("DROP FUNCTION times(int) CASCADE");
    db.untrack("rows");
    for left in [
        "SELECT count(*) FROM pgtrickle.pgt_stream_tables",
        "SELECT count(*) FROM pgtrickle.pgt_change_tracking",
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass",
        "SELECT count(*) FROM pg_class WHERE relname = 'rows'",
    ] {
        assert_eq!(db.number(left), 0, "{left}");
    }
}

/// Whoever replaces the function waits for a stream table that is being filled with the old one.
fn a_creation_under_way_is_not_overlooked(db: &mut Database) {
    source(db);
    let query = "SELECT id, times(v) AS v FROM t";
    let mut creator = db.connect();
    creator.run("BEGIN");
    creator.run(&create("rows", query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'"));
    let replacement = db.connect().start(&times(9));
    replacement.wait_blocked(db);
    creator.run("COMMIT");
    replacement.finish();
    db.track("rows", query);
    db.cycle_in_full(&[]);
    db.cycle(&["UPDATE t SET v = v + 1"]);
}

fn a_query_without_a_delta_is_recomputed(db: &mut Database) {
    source(db);
    let query = "SELECT id, times(v) AS v FROM t ORDER BY id LIMIT 100";
    db.run(&create("full_rows", query, "schedule => '1h', refresh_mode => 'FULL'"));
    db.track("full_rows", query);
    db.cycle_in_full(&[&times(4)]);
}

/// The statements call it by name, which then is another function's.
fn a_schema_is_renamed_and_another_takes_its_name(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 9) AS i");
    db.run("CREATE SCHEMA tools; CREATE FUNCTION tools.times(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 * 2; END'");
    db.stream("rows", "SELECT id, tools.times(v) AS v FROM t");
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 3"]);
    db.run("ALTER SCHEMA tools RENAME TO old_tools; CREATE SCHEMA tools");
    db.run("CREATE FUNCTION tools.times(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 1000; END'");
    db.untrack("rows");
    db.track("rows", "SELECT id, old_tools.times(v) AS v FROM t");
    for change in ["UPDATE t SET v = v + 1", "DELETE FROM t WHERE id = 5"] {
        db.cycle(&[change]);
        db.run("UPDATE t SET v = v + 1");
        db.connect().run(&refresh("rows"));
        db.check();
    }
}

/// Whatever the aggregate itself says.
fn an_aggregate_is_what_its_functions_are(db: &mut Database) {
    source(db);
    db.run("CREATE TABLE factor (f int); INSERT INTO factor VALUES (2)");
    for (part, word) in [("step", "VOLATILE"), ("last", "VOLATILE"), ("step", "STABLE"), ("last", "STABLE")] {
        let of = |name| if name == part { word } else { "IMMUTABLE" };
        db.run(&format!("CREATE FUNCTION step(int, int) RETURNS int {} LANGUAGE plpgsql AS 'BEGIN RETURN $1 + coalesce($2, 0) * (SELECT f FROM public.factor); END'", of("step")));
        db.run(&format!(
            "CREATE FUNCTION last(int) RETURNS int {} LANGUAGE plpgsql AS 'BEGIN RETURN $1; END'",
            of("last")
        ));
        db.run("CREATE AGGREGATE total(int) (SFUNC = step, STYPE = int, INITCOND = '0', FINALFUNC = last)");
        for query in
            ["SELECT g, total(v) AS s FROM t GROUP BY g", "SELECT id, total(v) OVER (PARTITION BY g) AS s FROM t"]
        {
            let failure = db.fails(&create("totals", query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'"));
            assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
            assert!(failure.message.contains(&format!("public.{part}()")), "{failure:?}");
            let outcome = db.attempt(&create("totals", query, "schedule => '1h'"));
            assert_eq!(outcome.is_err(), word == "VOLATILE", "{outcome:?}");
            if outcome.is_ok() {
                // Nothing tells of what such a function reads.
                db.track("totals", query);
                db.cycle_in_full(&["UPDATE t SET v = v + 1"]);
                db.cycle_in_full(&["UPDATE factor SET f = f + 1"]);
                db.untrack("totals");
                db.run("SELECT pgtrickle.drop_stream_table('totals')");
            }
        }
        db.run("DROP AGGREGATE total(int); DROP FUNCTION step; DROP FUNCTION last");
    }
    db.run("CREATE FUNCTION step(int, int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 + coalesce($2, 0); END'");
    db.run("CREATE AGGREGATE total(int) (SFUNC = step, STYPE = int, INITCOND = '0')");
    db.stream("totals", "SELECT g, total(v) AS s FROM t GROUP BY g");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    for word in ["VOLATILE", "STABLE"] {
        db.run(&format!("ALTER FUNCTION step(int, int) {word}; UPDATE t SET v = v + 1"));
        let failure = db.fails(&refresh("totals"));
        assert!(failure.message.contains("public.step()") && failure.detail.contains(word), "{failure:?}");
    }
    db.cycle_in_full(&["ALTER FUNCTION step(int, int) IMMUTABLE"]);
}
