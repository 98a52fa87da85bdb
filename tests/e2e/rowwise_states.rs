//! A few changed rows reach states, stream tables whose key may be NULL, and those that have none, without a statement.

use pgtrickle_tests::{Database, refresh, tests};

tests![
    keys_that_may_be_null,
    keys_that_are_long,
    duplicates,
    images_of_duplicates,
    groups_come_and_go,
    groups_that_are_read_anew,
    keys_that_are_equal_but_not_the_same,
    the_group_of_everything,
    rows_computed_below_others,
    recursions_below_others,
    matches_that_flip,
    damaged_contents,
    many_changes_and_few_in_turn,
    two_sessions_and_savepoints,
    both_ways_of_each,
];

/// Two tables without keys, in which NULLs and duplicates are.
fn pair(db: &mut Database) {
    db.run(
        "CREATE TABLE l (id int, k int, v numeric, s text); CREATE TABLE r (k int, w int);
         INSERT INTO l SELECT i, nullif(i % 5, 0), i * 1.0, repeat('x', i) FROM generate_series(1, 40) i;
         INSERT INTO l SELECT * FROM l WHERE id < 6;
         INSERT INTO r SELECT nullif(i % 7, 0), i FROM generate_series(1, 12) i; INSERT INTO r SELECT * FROM r WHERE w < 4",
    );
}

/// One row of each kind of change, then several.
const CHANGES: [&str; 9] = [
    "UPDATE l SET v = v + 1 WHERE id = 7",
    "UPDATE l SET k = NULL WHERE id = 8; UPDATE r SET k = NULL WHERE w = 5",
    "UPDATE l SET k = 3 WHERE k IS NULL; UPDATE r SET k = 6 WHERE k IS NULL",
    "DELETE FROM l WHERE ctid = (SELECT min(ctid) FROM l WHERE id = 1); INSERT INTO r VALUES (NULL, NULL), (NULL, NULL)",
    "INSERT INTO l VALUES (1, 1, 1.0, 'x'), (NULL, NULL, NULL, NULL); DELETE FROM r WHERE k = 1",
    "UPDATE l SET k = CASE k WHEN 1 THEN 2 ELSE 1 END WHERE k IN (1, 2)",
    "UPDATE l SET v = 'NaN' WHERE id = 9; UPDATE r SET w = -w",
    "UPDATE l SET v = 9.00 WHERE id = 9; DELETE FROM r WHERE k IS NULL",
    "DELETE FROM l WHERE k = 3; INSERT INTO r SELECT i, i FROM generate_series(1, 4) i",
];

fn all_changes(db: &mut Database) {
    for change in CHANGES {
        db.cycle(&[change]);
    }
    db.cycle(&["DELETE FROM l; DELETE FROM r"]);
    db.cycle(&["INSERT INTO l VALUES (1, NULL, 1, ''), (1, NULL, 1, ''); INSERT INTO r VALUES (NULL, 1)"]);
}

fn keys_that_may_be_null(db: &mut Database) {
    db.run(
        "CREATE TABLE a (id int PRIMARY KEY, k int, v int); CREATE TABLE b (id int PRIMARY KEY, k int, w int);
         INSERT INTO a SELECT i, nullif(i % 5, 0), i FROM generate_series(1, 20) i;
         INSERT INTO b SELECT i, nullif(i % 7, 0), i FROM generate_series(1, 20) i",
    );
    db.stream("full_joined", "SELECT a.id, b.id AS other, a.v, b.w FROM a FULL JOIN b ON a.k = b.k");
    db.stream("left_joined", "SELECT a.id, b.id AS other, a.v FROM b LEFT JOIN a ON a.k = b.k AND a.v > 2");
    db.stream("groups", "SELECT k, count(*) AS n, sum(v) AS v FROM a GROUP BY k");
    db.stream("rolled", "SELECT k, v % 2 AS p, count(*) AS n FROM a GROUP BY ROLLUP (k, v % 2)");
    for change in [
        "UPDATE a SET v = v + 1 WHERE id = 3",
        "UPDATE a SET k = NULL WHERE id = 4",
        "UPDATE b SET k = NULL WHERE id = 4",
        "UPDATE b SET k = 1 WHERE k IS NULL; UPDATE a SET k = NULL WHERE k = 1",
        "DELETE FROM a WHERE k IS NULL",
        "INSERT INTO a VALUES (100, NULL, 1), (101, 9, NULL)",
        "UPDATE a SET id = -id WHERE id < 5; UPDATE b SET id = id + 100 WHERE id IN (3, 4)",
        "DELETE FROM b",
        "INSERT INTO b VALUES (1, NULL, 1), (2, 2, NULL)",
    ] {
        db.cycle(&[change]);
    }
}

fn keys_that_are_long(db: &mut Database) {
    db.run(
        "CREATE TABLE t (s text, v int);
         INSERT INTO t SELECT repeat(md5((i % 5)::text), 500), i FROM generate_series(1, 20) i; INSERT INTO t VALUES (NULL, 1)",
    );
    db.stream("long", "SELECT s, count(*) AS n, sum(v) AS v FROM t GROUP BY s");
    db.stream("different", "SELECT DISTINCT s FROM t");
    db.cycle(&["UPDATE t SET v = v + 1 WHERE v = 3"]);
    db.cycle(&["UPDATE t SET s = NULL WHERE v = 5", "UPDATE t SET s = s || 'x' WHERE v = 6"]);
    db.cycle(&["DELETE FROM t WHERE s IS NULL", "DELETE FROM t WHERE v = 6"]);
}

fn duplicates(db: &mut Database) {
    pair(db);
    db.stream("bag", "SELECT k, s FROM l");
    db.stream("joined", "SELECT l.v, r.w FROM l JOIN r ON r.k = l.k");
    db.stream("all_of_them", "SELECT k FROM l UNION ALL SELECT k FROM r");
    db.stream("kept", "SELECT k FROM l EXCEPT ALL SELECT k FROM r");
    db.stream("common", "SELECT k FROM l INTERSECT ALL SELECT k FROM r");
    all_changes(db);
}

/// Rows are told apart by their images, however values are stored.
fn images_of_duplicates(db: &mut Database) {
    db.run(
        "CREATE TYPE place AS (x numeric, y text);
         CREATE TABLE t (n numeric, f float8, j json, p place, a text[], s text);
         ALTER TABLE t ALTER s SET STORAGE external;
         INSERT INTO t SELECT v::numeric, 0, '{}', ROW(v::numeric, 'y')::place, ARRAY[v, NULL], repeat('long', 1000)
         FROM unnest(ARRAY['1', '1.0', '1.00', '1.0', NULL]) v",
    );
    db.stream("plain", "SELECT n, f, a, s FROM t");
    db.stream("all_of_it", "SELECT * FROM t");
    db.cycle(&["UPDATE t SET n = 1.000 WHERE n::text = '1.00'"]);
    db.cycle(&["UPDATE t SET f = '-0' WHERE n::text = '1'", "UPDATE t SET p = ROW(1.0, 'y')::place WHERE n IS NULL"]);
    db.cycle(&["DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE n::text = '1.0')"]);
    db.cycle(&["UPDATE t SET s = s || ''", "UPDATE t SET s = 'short' WHERE n IS NULL"]);
    db.cycle(&["INSERT INTO t SELECT * FROM t", "DELETE FROM t WHERE f = 0 AND n = 1.0"]);
}

fn groups_come_and_go(db: &mut Database) {
    pair(db);
    db.stream("sums", "SELECT k, count(*) AS n, count(v) AS c, sum(id) AS i, avg(id) AS a FROM l GROUP BY k");
    db.stream("large", "SELECT k, sum(id) AS i FROM l GROUP BY k HAVING count(*) > 3");
    db.stream("over", "SELECT n, count(*) AS groups FROM (SELECT k, count(*) AS n FROM l GROUP BY k) AS g GROUP BY n");
    db.stream("different", "SELECT DISTINCT k, id > 5 AS high FROM l");
    db.stream("counted", "SELECT count(DISTINCT k) AS n, sum(DISTINCT id) AS i FROM l");
    db.stream(
        "joined",
        "SELECT r.k, r.w, g.n FROM r JOIN (SELECT k, count(*) AS n FROM l GROUP BY k) AS g ON g.k = r.k",
    );
    db.stream("looked_up", "SELECT r.w, (SELECT sum(id) FROM l WHERE l.k = r.k) AS i FROM r");
    all_changes(db);
}

/// Where the old value and the change do not tell the new one.
fn groups_that_are_read_anew(db: &mut Database) {
    pair(db);
    db.stream("extrema", "SELECT k, min(v) AS low, max(id) AS high, min(s) AS s FROM l GROUP BY k");
    db.stream("numbers", "SELECT k, sum(v) AS v, avg(v) AS a, stddev(id) AS d FROM l GROUP BY k");
    db.stream("texts", "SELECT k, string_agg(s, ',' ORDER BY s) AS s, sum(v::float8) AS f FROM l GROUP BY k");
    db.stream("bounded", "SELECT k, max(v::numeric(20, 2)) AS v, max(s::varchar(60)) AS s FROM l GROUP BY k");
    all_changes(db);
    db.untrack("bounded");
    db.run("SELECT pgtrickle.drop_stream_table('bounded')");
    db.cycle(&["INSERT INTO l VALUES (2, 2, 'Infinity', 'b')", "INSERT INTO l VALUES (3, 2, 5, 'a')"]);
    db.cycle(&["DELETE FROM l WHERE v = 'Infinity'"]);
    db.cycle(&["DELETE FROM l WHERE id = 3"]);
}

fn keys_that_are_equal_but_not_the_same(db: &mut Database) {
    db.run("CREATE TABLE t (n numeric, v int); INSERT INTO t VALUES (1.0, 1), (1.00, 2), (2, 3), (NULL, 4)");
    db.stream_by_value("groups", "SELECT n, sum(v) AS v FROM t GROUP BY n");
    db.stream_by_value("different", "SELECT DISTINCT n FROM t");
    for change in [
        "DELETE FROM t WHERE v = 1",
        "UPDATE t SET n = 2.000 WHERE v = 3",
        "INSERT INTO t VALUES (2, 5)",
        "DELETE FROM t WHERE v = 3",
        "UPDATE t SET n = CASE WHEN n IS NULL THEN 1 ELSE NULL END WHERE v IN (2, 4)",
    ] {
        db.cycle(&[change]);
        assert!(
            db.holds("SELECT NOT EXISTS (SELECT FROM groups WHERE n::text NOT IN (SELECT n::text FROM t))"),
            "{change}"
        );
    }
}

fn the_group_of_everything(db: &mut Database) {
    db.run("CREATE TABLE t (v int)");
    db.stream("total", "SELECT count(*) AS n, sum(v) AS v, min(v) AS low, avg(v) AS a FROM t");
    db.stream("several", "SELECT sum(v) AS v FROM t HAVING count(*) > 1");
    for change in
        ["INSERT INTO t VALUES (NULL)", "INSERT INTO t VALUES (3), (3)", "DELETE FROM t", "INSERT INTO t VALUES (5)"]
    {
        db.cycle(&[change]);
    }
}

fn rows_computed_below_others(db: &mut Database) {
    pair(db);
    db.stream("ranked", "SELECT q.k, q.p, r.w FROM (SELECT k, rank() OVER (PARTITION BY k ORDER BY v) AS p FROM l) AS q JOIN r ON r.k = q.k");
    db.stream(
        "numbered",
        "SELECT p, count(*) AS n FROM (SELECT row_number() OVER (ORDER BY k, v, id) AS p, k FROM l) AS q GROUP BY p",
    );
    db.stream("first_rows", "SELECT id, v FROM l ORDER BY v DESC NULLS LAST, id LIMIT 4");
    db.stream(
        "first_of_each",
        "SELECT r.w, q.v FROM r CROSS JOIN LATERAL (SELECT v FROM l WHERE l.k = r.k ORDER BY v, id LIMIT 2) AS q",
    );
    db.stream(
        "of_the_first",
        "SELECT sum(v) AS v FROM (SELECT v FROM l ORDER BY v DESC NULLS LAST FETCH FIRST 3 ROWS WITH TIES) AS q",
    );
    all_changes(db);
}

fn recursions_below_others(db: &mut Database) {
    db.run(
        "CREATE TABLE edge (a int, b int); INSERT INTO edge VALUES (1, 2), (2, 3), (2, 3), (3, 4), (10, 11);
         CREATE TABLE start (a int); INSERT INTO start VALUES (1), (1), (10)",
    );
    let walk = "WITH RECURSIVE w AS (SELECT a FROM start UNION ALL SELECT e.b FROM w JOIN edge AS e ON e.a = w.a)";
    db.stream("counted", &format!("{walk} SELECT a, count(*) AS n FROM w GROUP BY a"));
    db.stream("walked", &format!("{walk} SELECT a FROM w"));
    db.stream("reached", &format!("{} SELECT count(*) AS n FROM w", walk.replace("UNION ALL", "UNION")));
    for change in [
        "INSERT INTO edge VALUES (4, 5)",
        "DELETE FROM edge WHERE ctid = (SELECT min(ctid) FROM edge WHERE a = 2)",
        "UPDATE edge SET b = 12 WHERE a = 3",
        "INSERT INTO start VALUES (2), (NULL); DELETE FROM edge WHERE a = 10",
        "DELETE FROM start WHERE a = 1",
        "UPDATE edge SET a = b, b = a + 20 WHERE a = 3",
    ] {
        db.cycle(&[change]);
    }
}

fn matches_that_flip(db: &mut Database) {
    pair(db);
    db.stream("matched", "SELECT id, k FROM l WHERE EXISTS (SELECT FROM r WHERE r.k = l.k AND r.w > 2)");
    db.stream("unmatched", "SELECT id, k FROM l WHERE k NOT IN (SELECT k FROM r WHERE w > 3)");
    db.stream("marked", "SELECT id, k IN (SELECT k FROM r) OR v > 30 AS m FROM l");
    db.stream("padded", "SELECT l.id, r.w FROM l LEFT JOIN r ON r.k = l.k");
    db.stream("padded_both", "SELECT l.id, r.w FROM l FULL JOIN r ON r.k = l.k");
    all_changes(db);
    db.cycle(&["INSERT INTO r SELECT i, i FROM generate_series(1, 30) i"]);
    db.cycle(&["DELETE FROM r WHERE w IN (3, 4)", "UPDATE r SET k = 1 WHERE k = 2"]);
}

/// Contents that are not what they should be are noticed.
fn damaged_contents(db: &mut Database) {
    pair(db);
    db.stream("bag", "SELECT k, id FROM l");
    db.stream("groups", "SELECT k, count(*) AS n FROM l GROUP BY k");
    for (name, damage, change) in [
        ("bag", "DELETE FROM bag WHERE id = 7", "DELETE FROM l WHERE id = 7"),
        ("bag", "DELETE FROM bag WHERE id = 8", "UPDATE l SET k = 9 WHERE id = 8"),
        ("groups", "DELETE FROM groups WHERE k IS NULL", "INSERT INTO l VALUES (NULL, NULL, 0, '')"),
    ] {
        let guarded = |db: &mut Database, enabled: &str| {
            db.run(&format!("UPDATE pg_trigger SET tgenabled = '{enabled}' WHERE tgrelid = '{name}'::regclass"));
        };
        guarded(db, "D");
        db.connect().run(damage);
        guarded(db, "A");
        db.run(change);
        assert_eq!(db.fails(&refresh(name)).sqlstate, "55000", "{damage}");
        db.run("UPDATE pgtrickle.pgt_stream_tables SET needs_reinit = true");
        db.cycle_in_full(&[]);
    }
    db.cycle(&["UPDATE l SET k = 1 WHERE id = 5"]);
}

fn many_changes_and_few_in_turn(db: &mut Database) {
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, k int, v int); CREATE TABLE u (k int, w int);
         INSERT INTO t SELECT i, i % 50, i FROM generate_series(1, 6000) i; INSERT INTO u SELECT i, i FROM generate_series(0, 40) i",
    );
    db.stream("groups", "SELECT k, count(*) AS n, sum(v) AS v FROM t GROUP BY k");
    db.stream("bag", "SELECT t.v, u.w FROM t JOIN u ON u.k = t.k");
    db.stream("ranked", "SELECT id, rank() OVER (PARTITION BY id / 10 ORDER BY v) AS p FROM t");
    db.stream("padded", "SELECT t.id, u.w FROM u FULL JOIN t ON u.k = t.k");
    db.stream("first_rows", "SELECT id, v FROM t ORDER BY v DESC, id LIMIT 100");
    for count in [1, 7, 8, 9, 100, 255, 256, 257, 600, 1100, 3000, 2] {
        db.cycle(&[&format!("UPDATE t SET v = v + 1 WHERE id <= {count}")]);
        db.cycle(&[&format!("UPDATE t SET v = v - 1, k = (k + 1) % 60 WHERE id > 6000 - {count}")]);
    }
    db.cycle(&["UPDATE u SET w = -w WHERE k = 3"]);
    db.cycle(&["UPDATE u SET k = k + 1 WHERE k > 20", "DELETE FROM u WHERE k < 10"]);
}

fn two_sessions_and_savepoints(db: &mut Database) {
    pair(db);
    db.stream("groups", "SELECT k, count(*) AS n, sum(v) AS v FROM l GROUP BY k");
    db.stream("bag", "SELECT l.v, r.w FROM l JOIN r ON r.k = l.k");
    let mut other = db.connect();
    let both = format!("{}; {}", refresh("groups"), refresh("bag"));
    for i in 1..15 {
        db.run(&format!("UPDATE l SET v = {i} WHERE id = {i}"));
        db.run(&format!("BEGIN; {both}; SAVEPOINT a; DELETE FROM l WHERE id = {i}; {both}; ROLLBACK TO a"));
        other.run(&format!(
            "INSERT INTO l VALUES ({i}, {i} % 3, {i}, ''); UPDATE r SET w = w + 1 WHERE k = {i} % 3; {both}"
        ));
        db.run(if i % 3 == 0 { "ROLLBACK" } else { "COMMIT" });
        other.run(&both);
        db.check();
    }
    db.run(&format!(
        "BEGIN; UPDATE l SET k = NULL WHERE id = 3; {both}; UPDATE l SET k = 2 WHERE id = 3; {both}; COMMIT"
    ));
    db.cycle(&["DELETE FROM l WHERE id = 3"]);
}

/// Statements and rows one by one leave the same behind, in turn.
fn both_ways_of_each(db: &mut Database) {
    pair(db);
    for (name, query) in [
        ("groups", "SELECT k, count(*) AS n, sum(v) AS v, min(id) AS i FROM l GROUP BY k"),
        ("bag", "SELECT l.v, r.w FROM l JOIN r ON r.k = l.k"),
        (
            "ranked",
            "SELECT p, count(*) AS n FROM (SELECT rank() OVER (PARTITION BY k ORDER BY v) AS p FROM l) AS q GROUP BY p",
        ),
        ("padded", "SELECT l.id, r.w FROM l FULL JOIN r ON r.k = l.k"),
    ] {
        db.stream(name, query);
    }
    for (i, change) in CHANGES.iter().enumerate() {
        match i {
            2 => ["groups", "bag", "ranked", "padded"].iter().for_each(|name| db.change_by_statement(name)),
            5 => db.run("DROP FUNCTION public.by_statement CASCADE"),
            _ => {}
        }
        db.cycle(&[change]);
    }
}
