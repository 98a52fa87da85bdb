//! Rows that change their identity, and rows that have none.

use pgtrickle_tests::{Database, tests};

tests![
    the_same_row_changed_many_times_then_back,
    update_of_a_primary_key,
    keys_swapped_in_one_statement,
    delete_and_reinsert_of_a_key,
    duplicate_rows_in_a_keyless_table,
    all_null_rows,
    a_key_that_is_projected_away,
    a_composite_key,
    a_unique_key_that_is_nullable,
    a_deferred_primary_key,
    rows_inserted_and_deleted_within_one_cycle,
    large_changes_of_a_keyless_table,
];

fn keyed(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g int, v int); INSERT INTO t SELECT i, i % 3, i FROM generate_series(1, 9) i");
    db.stream("rows", "SELECT id, g, v FROM t");
    db.stream("bag", "SELECT g, v FROM t WHERE v <> 4");
    db.stream("sums", "SELECT g, count(*) AS n, sum(v) AS s, min(v) AS lo, max(v) AS hi FROM t GROUP BY g");
}

fn the_same_row_changed_many_times_then_back(db: &mut Database) {
    keyed(db);
    let image = "SELECT string_agg(ctid::text || xmin, ',') FROM rows";
    let before = db.text(image);
    db.cycle(&[
        "UPDATE t SET v = v + 1 WHERE id = 1",
        "UPDATE t SET v = 50 WHERE id = 1",
        "UPDATE t SET v = 1 WHERE id = 1",
    ]);
    assert_eq!(db.text(image), before, "rows that did not change were written");
    db.cycle(&[
        "UPDATE t SET g = 9, v = 9 WHERE id = 2",
        "UPDATE t SET g = 2, v = 2 WHERE id = 2; UPDATE t SET v = 7 WHERE id = 2",
    ]);
}

fn update_of_a_primary_key(db: &mut Database) {
    keyed(db);
    db.cycle(&["UPDATE t SET id = 100 WHERE id = 1"]);
    db.cycle(&["UPDATE t SET id = id + 1000", "UPDATE t SET id = id - 1000"]);
    db.cycle(&["UPDATE t SET id = 1, v = 77 WHERE id = 100"]);
}

fn keys_swapped_in_one_statement(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, v int); INSERT INTO t VALUES (1, 10), (2, 20), (3, 30)");
    db.stream("rows", "SELECT id, v FROM t");
    db.cycle(&["UPDATE t SET id = CASE id WHEN 1 THEN 2 WHEN 2 THEN 1 ELSE id END"]);
    db.cycle(&["UPDATE t SET id = id % 3 + 1"]);
}

fn delete_and_reinsert_of_a_key(db: &mut Database) {
    keyed(db);
    db.cycle(&["DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 2, 100)"]);
    db.cycle(&["DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 2, 100)"]);
    db.cycle(&[
        "DELETE FROM t WHERE id < 4",
        "INSERT INTO t VALUES (1, 2, 100), (3, 0, 3)",
        "DELETE FROM t WHERE id = 3",
    ]);
    db.cycle(&["WITH gone AS (DELETE FROM t RETURNING *) INSERT INTO t SELECT id, g + 1, v FROM gone"]);
}

fn duplicate_rows_in_a_keyless_table(db: &mut Database) {
    db.run("CREATE TABLE k (a int, b text); INSERT INTO k VALUES (1, 'x'), (1, 'x'), (1, 'x'), (2, NULL), (2, NULL)");
    db.stream("bag", "SELECT a, b FROM k");
    db.stream("narrow", "SELECT b FROM k WHERE a > 0");
    db.stream("sums", "SELECT a, count(*) AS n, count(b) AS nb FROM k GROUP BY a");
    db.stream("twice", "SELECT x.a, y.b FROM k AS x JOIN k AS y ON x.a = y.a");
    let one = "DELETE FROM k WHERE ctid = (SELECT min(ctid) FROM k WHERE a =";
    db.cycle(&[&format!("{one} 1)")]);
    assert_eq!(db.number("SELECT count(*) FROM bag WHERE a = 1"), 2);
    db.cycle(&[&format!("{one} 2)"), "INSERT INTO k VALUES (1, 'x'), (2, NULL), (2, NULL)"]);
    db.cycle(&["UPDATE k SET b = 'y' WHERE ctid = (SELECT max(ctid) FROM k WHERE a = 1)"]);
    db.cycle(&[&format!("{one} 1)"), &format!("{one} 1)"), &format!("{one} 1)")]);
    db.cycle(&["INSERT INTO k SELECT a, b FROM k", "INSERT INTO k SELECT a, b FROM k"]);
}

fn all_null_rows(db: &mut Database) {
    db.run("CREATE TABLE k (a int, b text); INSERT INTO k VALUES (NULL, NULL), (NULL, NULL), (1, NULL)");
    db.stream("bag", "SELECT a, b FROM k");
    db.stream("groups", "SELECT a, b, count(*) AS n, count(a) AS na FROM k GROUP BY a, b");
    db.stream("total", "SELECT count(*) AS n, sum(a) AS s, min(b) AS lo FROM k");
    db.cycle(&["INSERT INTO k VALUES (NULL, NULL)"]);
    db.cycle(&["DELETE FROM k WHERE a = 1; UPDATE k SET b = 'x' WHERE ctid = (SELECT min(ctid) FROM k)"]);
    db.cycle(&["DELETE FROM k WHERE b IS NULL"]);
    db.cycle(&["DELETE FROM k"]);
    db.cycle(&["INSERT INTO k VALUES (NULL, NULL)"]);
}

fn a_key_that_is_projected_away(db: &mut Database) {
    keyed(db);
    db.stream("values_only", "SELECT v % 2 AS parity FROM t");
    db.cycle(&["UPDATE t SET v = v + 2", "UPDATE t SET v = v + 1 WHERE id = 3"]);
    db.cycle(&["DELETE FROM t WHERE id IN (1, 3, 5)"]);
}

fn a_composite_key(db: &mut Database) {
    db.run("CREATE TABLE t (b text, a int, v int, PRIMARY KEY (a, b)); INSERT INTO t VALUES ('x', 1, 1), ('y', 1, 2), ('x', 2, 3)");
    db.stream("rows", "SELECT v, a, b FROM t");
    db.stream("half", "SELECT a, v FROM t");
    db.cycle(&["UPDATE t SET a = 3 WHERE b = 'x' AND a = 1; UPDATE t SET v = 9 WHERE a = 2"]);
    db.cycle(&["UPDATE t SET b = b || b; DELETE FROM t WHERE v = 2"]);
}

fn a_unique_key_that_is_nullable(db: &mut Database) {
    db.run("CREATE TABLE t (id int UNIQUE, v int); INSERT INTO t VALUES (1, 1), (NULL, 2), (NULL, 2)");
    db.stream("rows", "SELECT id, v FROM t");
    db.cycle(&["INSERT INTO t VALUES (NULL, 2); DELETE FROM t WHERE id = 1"]);
    db.cycle(&["UPDATE t SET id = 5 WHERE ctid = (SELECT min(ctid) FROM t)"]);
    db.run("CREATE TABLE n (id int UNIQUE NULLS NOT DISTINCT, v int); INSERT INTO n VALUES (NULL, 1), (1, 1)");
    db.stream("one_null", "SELECT id, v FROM n");
    db.cycle(&["UPDATE n SET id = 2 WHERE id IS NULL; UPDATE n SET id = NULL WHERE id = 1"]);
}

fn a_deferred_primary_key(db: &mut Database) {
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v int); INSERT INTO t VALUES (1, 1), (2, 2)",
    );
    db.stream("rows", "SELECT id, v FROM t");
    // The key is violated for a while, and a refresh in between sees two rows of one key.
    db.run("BEGIN; INSERT INTO t VALUES (1, 10)");
    db.check_after_refresh();
    db.run("UPDATE t SET id = 3 WHERE v = 10");
    db.check_after_refresh();
    db.run("COMMIT");
    db.cycle(&["UPDATE t SET id = 5 - id"]);
}

fn rows_inserted_and_deleted_within_one_cycle(db: &mut Database) {
    keyed(db);
    db.cycle(&["INSERT INTO t VALUES (50, 5, 5); DELETE FROM t WHERE id = 50"]);
    db.cycle(&["INSERT INTO t VALUES (50, 5, 5)", "UPDATE t SET v = 6 WHERE id = 50", "DELETE FROM t WHERE id = 50"]);
    assert_eq!(db.number("SELECT count(*) FROM sums WHERE g = 5"), 0);
}

fn large_changes_of_a_keyless_table(db: &mut Database) {
    db.run("CREATE TABLE k (a int, b text)");
    db.stream("bag", "SELECT a, b FROM k");
    db.stream("sums", "SELECT a, count(*) AS n FROM k GROUP BY a");
    db.cycle(&["INSERT INTO k SELECT i % 50, 'x' FROM generate_series(1, 5000) AS i"]);
    db.cycle(&["DELETE FROM k WHERE a < 25", "UPDATE k SET a = a - 25"]);
    db.cycle(&["DELETE FROM k WHERE ctid IN (SELECT ctid FROM k ORDER BY ctid LIMIT 1000)"]);
}
