//! Refreshes that cannot go on as they began: expressions that fail on rows which the query never sees, and contents that a
//! delta does not fit.

use pgtrickle_tests::{Database, tests};

tests![
    a_row_that_came_and_went_may_be_divided_by_zero,
    an_old_row_and_a_new_one_may_be_divided_by_zero,
    a_query_that_fails_says_so_and_recovers,
    a_key_in_use_is_kept,
];

fn a_row_that_came_and_went_may_be_divided_by_zero(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, a int, b int); INSERT INTO t VALUES (1, 10, 2), (2, 20, 4)");
    db.stream("ratios", "SELECT id, a / b AS r FROM t");
    db.stream("counts", "SELECT a / b AS r, count(*) AS n FROM t GROUP BY a / b");
    db.cycle(&["INSERT INTO t VALUES (3, 5, 0)", "UPDATE t SET b = 5 WHERE id = 3"]);
    db.cycle(&["UPDATE t SET a = a + 10"]);
}

fn an_old_row_and_a_new_one_may_be_divided_by_zero(db: &mut Database) {
    db.run("CREATE TABLE l (k int PRIMARY KEY, a int); CREATE TABLE r (k int PRIMARY KEY, b int)");
    db.run("INSERT INTO l VALUES (1, 10); INSERT INTO r VALUES (1, 5)");
    db.stream("quotients", "SELECT l.k, 100 / (a - b) AS q FROM l JOIN r USING (k)");
    db.cycle(&["BEGIN; UPDATE l SET a = 5; UPDATE r SET b = 10; COMMIT"]);
    // The predicate of a join is evaluated before they cancel; what that means is told.
    db.run("UPDATE l SET a = 10; UPDATE r SET b = 5");
    db.stream("positive", "SELECT l.k, a, b FROM l JOIN r ON l.k = r.k AND 100 / (a - b) > 1");
    db.notices();
    db.run("UPDATE l SET a = 5; UPDATE r SET b = 10");
    db.refresh("quotients");
    db.check_after_refresh();
    let told = db.notices();
    assert!(told.iter().any(|notice| notice.message.contains("is recomputed: division by zero")), "{told:?}");
    assert!(db.fallback().is_some_and(|fallback| fallback.contains("positive")));
    db.accept_full();
    db.cycle(&["UPDATE l SET a = 7", "UPDATE r SET b = 9"]);
}

fn a_query_that_fails_says_so_and_recovers(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, b int); INSERT INTO t VALUES (1, 2)");
    db.stream("ratios", "SELECT id, 10 / b AS r FROM t");
    db.run("INSERT INTO t VALUES (2, 0)");
    let failure = db.fails("SELECT pgtrickle.refresh_stream_table('ratios')");
    assert_eq!(failure.sqlstate, "22012", "{failure:?}");
    assert_eq!(db.lines("SELECT id, r FROM ratios"), ["1|5"]);
    db.cycle(&["DELETE FROM t WHERE id = 2"]);
    db.cycle(&["UPDATE t SET b = 5"]);
}

fn a_key_in_use_is_kept(db: &mut Database) {
    db.run("CREATE TABLE p (id int PRIMARY KEY, x int); INSERT INTO p VALUES (1, 1), (2, 2)");
    db.run("CREATE TABLE c (id int PRIMARY KEY, p int); INSERT INTO c VALUES (1, 1), (2, 1), (3, 2)");
    db.stream("parents", "SELECT id, x FROM p");
    db.stream("children", "SELECT c.id, p.x FROM c JOIN p ON p.id = c.p");
    // The dependency keeps the key; without it the refresh would have to notice, see `Error::Mismatch`.
    let failure = db.fails("ALTER TABLE p DROP CONSTRAINT p_pkey");
    assert_eq!(failure.sqlstate, "2BP01", "{failure:?}");
    db.cycle(&["UPDATE p SET x = x + 1", "INSERT INTO p VALUES (3, 3)", "UPDATE p SET id = id + 10 WHERE id = 3"]);
}
