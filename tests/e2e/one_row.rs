//! Conditions that compare with a single row of their own: `x > (SELECT avg(x) FROM …)`.

use pgtrickle_tests::{Database, tests};

tests![values_that_move, values_that_come_and_go, beside_other_semi_joins, only_what_flips_is_computed];

fn tables(db: &mut Database) {
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, k int, x numeric);
         CREATE TABLE u (k int, y numeric);
         INSERT INTO t SELECT i, i % 50, nullif(i % 97, 13) FROM generate_series(1, 2000) AS i;
         INSERT INTO u SELECT i % 60, nullif(i % 89, 5) FROM generate_series(1, 500) AS i;
         ANALYZE t; ANALYZE u",
    );
}

fn values_that_move(db: &mut Database) {
    tables(db);
    for (name, query) in [
        ("above", "SELECT id, x FROM t WHERE x > (SELECT avg(x) FROM t)"),
        ("elsewhere", "SELECT id, x FROM t WHERE x <= (SELECT avg(y) FROM u)"),
        ("not_above", "SELECT id FROM t WHERE NOT x > (SELECT avg(y) FROM u)"),
        ("highest", "SELECT id, x FROM t WHERE x = (SELECT max(x) FROM t)"),
        ("between", "SELECT id FROM t WHERE x BETWEEN (SELECT min(y) + 3 FROM u) AND (SELECT avg(y) FROM u)"),
        ("shown", "SELECT id, (SELECT avg(y) FROM u) AS mean FROM t WHERE x > (SELECT avg(y) FROM u)"),
        ("groups", "SELECT k, sum(x) AS s FROM t GROUP BY k HAVING sum(x) > (SELECT sum(y) * 0.09 FROM u)"),
        ("sum_above", "SELECT k, count(*) AS n, sum(x) AS s FROM t WHERE x > (SELECT avg(x) FROM t) GROUP BY k"),
        ("pair", "SELECT id FROM t WHERE (x, k) < (SELECT max(y), 7 FROM u)"),
        ("either", "SELECT id FROM t WHERE k = 3 OR x > (SELECT avg(y) FROM u)"),
    ] {
        db.stream(name, query);
    }
    for change in [
        "UPDATE t SET x = x + 1 WHERE id % 3 = 0",
        "UPDATE u SET y = y * 1.5 WHERE k % 2 = 0",
        "UPDATE t SET x = 200 WHERE id = 5; UPDATE u SET y = y - 40",
        "DELETE FROM t WHERE x > 80; UPDATE t SET k = k + 1 WHERE id % 5 = 0; INSERT INTO u VALUES (7, 300)",
        "DELETE FROM u WHERE k < 30; INSERT INTO t SELECT i, i % 50, i % 120 FROM generate_series(3001, 3300) AS i",
        "UPDATE t SET x = x - 30 WHERE x > 100; UPDATE u SET y = y",
        // The mean stays, what it is made of does not.
        "UPDATE u SET y = y + 1 WHERE k = 31; UPDATE u SET y = y",
    ] {
        db.cycle(&[change]);
    }
}

fn values_that_come_and_go(db: &mut Database) {
    tables(db);
    db.stream("above", "SELECT id FROM t WHERE x > (SELECT avg(y) FROM u)");
    db.stream("unless", "SELECT id FROM t WHERE (x > (SELECT avg(y) FROM u)) IS NOT TRUE");
    db.stream("counted", "SELECT id FROM t WHERE x < (SELECT count(*) FROM u)");
    for change in [
        "UPDATE u SET y = NULL",
        "UPDATE t SET x = x + 1 WHERE id % 2 = 0",
        "DELETE FROM u",
        "INSERT INTO u VALUES (1, 50)",
        "UPDATE u SET y = 'NaN'; UPDATE t SET x = 'NaN' WHERE id % 9 = 0",
        "DELETE FROM u; UPDATE t SET x = x - 1",
        "INSERT INTO u VALUES (1, 20), (2, 21); DELETE FROM t WHERE id % 3 = 0",
    ] {
        db.cycle(&[change]);
    }
}

fn beside_other_semi_joins(db: &mut Database) {
    tables(db);
    for (name, query) in [
        (
            "before",
            "SELECT id, x FROM t WHERE x > (SELECT avg(x) FROM t) AND NOT EXISTS (SELECT FROM u WHERE u.k = t.k)",
        ),
        (
            "after",
            "SELECT id, x FROM t WHERE NOT EXISTS (SELECT FROM u WHERE u.k = t.k) AND x > (SELECT avg(x) FROM t)",
        ),
        (
            "two",
            "SELECT id FROM t WHERE x > (SELECT avg(y) FROM u) AND x < (SELECT max(y) - 5 FROM u) AND k IN (SELECT k FROM u)",
        ),
        ("marked", "SELECT id FROM t WHERE (k = 4 OR k IN (SELECT k FROM u)) AND x > (SELECT avg(y) FROM u)"),
    ] {
        db.stream(name, query);
    }
    for change in [
        "UPDATE t SET x = x + 3 WHERE id % 4 = 0",
        "UPDATE u SET k = k + 9 WHERE y > 40",
        "UPDATE t SET x = 150, k = k + 1 WHERE id % 11 = 0; UPDATE u SET y = y + 7, k = k - 1 WHERE k % 2 = 0",
        "DELETE FROM u WHERE k % 3 = 0; DELETE FROM t WHERE k % 4 = 0",
    ] {
        db.cycle(&[change]);
    }
}

/// The rows that a new value lets in or out are what the delta consists of, not all rows that meet the condition.
fn only_what_flips_is_computed(db: &mut Database) {
    tables(db);
    db.stream("above", "SELECT id, x FROM t WHERE x > (SELECT avg(y) FROM u)");
    let pruned = db.text(
        "SELECT sql_after FROM pgtrickle.explain_query_rewrite('SELECT id, x FROM t WHERE x > (SELECT avg(y) FROM u)')
         WHERE pass_name = 'column_pruning'",
    );
    assert!(pruned.contains("SemiJoin Matched"), "{pruned}");
    let before = db.text("SELECT count(*) FROM t WHERE x > (SELECT avg(y) FROM u)");
    db.cycle(&["UPDATE u SET y = y + 0.01 WHERE k = 1"]);
    assert_eq!(db.text("SELECT count(*) FROM t WHERE x > (SELECT avg(y) FROM u)"), before, "nothing flips");
    let last = "SELECT rows_inserted || '|' || rows_deleted FROM pgtrickle.pgt_refresh_history ORDER BY refresh_id DESC LIMIT 1";
    assert_eq!(db.text(last), "0|0");
}
