//! UNION, INTERSECT and EXCEPT, with ALL and without, at any depth.

use pgtrickle_tests::{Database, tests};

tests![
    union_of_different_rows,
    intersect_and_except,
    intersect_all_and_except_all,
    set_operations_in_one_another,
    set_operations_under_other_operators,
    set_operations_of_one_table_with_itself,
    set_operations_on_values_equal_but_not_identical,
    set_operations_of_different_types,
    arms_of_different_collations,
    arms_of_a_nondeterministic_collation,
];

fn two_tables(db: &mut Database) {
    db.run("CREATE TABLE a (k int, s text); CREATE TABLE b (k int, s text); CREATE TABLE c (id int PRIMARY KEY, k int, s text)");
    db.run("INSERT INTO a VALUES (1, 'x'), (1, 'x'), (1, 'x'), (2, 'y'), (NULL, 'z'), (NULL, NULL), (NULL, NULL), (7, 'q')");
    db.run("INSERT INTO b VALUES (1, 'x'), (1, 'x'), (3, 'w'), (NULL, 'z'), (NULL, NULL), (8, NULL)");
    db.run("INSERT INTO c VALUES (1, 1, 'x'), (2, 3, 'w'), (3, NULL, NULL), (4, 9, 'n')");
}

fn changes(db: &mut Database) {
    db.cycle(&["INSERT INTO a VALUES (3, 'w'), (3, 'w'), (8, NULL); DELETE FROM b WHERE k = 1; UPDATE c SET k = 2, s = 'y' WHERE id = 1"]);
    db.cycle(&[
        "INSERT INTO b VALUES (1, 'x'), (7, 'q'), (NULL, 'z')",
        "DELETE FROM a WHERE k IS NULL; INSERT INTO c VALUES (5, 1, 'x'), (6, 7, 'q')",
    ]);
    db.cycle(&["DELETE FROM a WHERE ctid IN (SELECT min(ctid) FROM a WHERE k = 1); UPDATE b SET s = NULL WHERE k = 3"]);
    db.cycle(&["UPDATE a SET k = k + 1; UPDATE b SET k = k - 1; UPDATE c SET k = NULL WHERE id = 2"]);
    db.cycle(&["INSERT INTO a VALUES (1, 'x'); DELETE FROM a WHERE k = 1 AND s = 'x'", "UPDATE b SET k = k"]);
    db.cycle(&["DELETE FROM b; INSERT INTO a SELECT k, s FROM c"]);
    db.cycle(&["DELETE FROM a; INSERT INTO b VALUES (NULL, NULL), (1, 'x')"]);
    db.cycle(&["DELETE FROM c; DELETE FROM b"]);
    db.cycle(&["INSERT INTO a VALUES (1, 'x'), (NULL, NULL); INSERT INTO b VALUES (NULL, NULL), (NULL, NULL); INSERT INTO c VALUES (1, 1, 'x')"]);
}

fn union_of_different_rows(db: &mut Database) {
    two_tables(db);
    db.stream("of_two", "SELECT k, s FROM a UNION SELECT k, s FROM b");
    db.stream("of_three", "SELECT k FROM a UNION SELECT k FROM b UNION SELECT k FROM c");
    db.stream("all_then_distinct", "SELECT k FROM a UNION ALL SELECT k FROM b UNION SELECT k FROM c");
    db.stream("distinct_then_all", "SELECT k FROM a UNION SELECT k FROM b UNION ALL SELECT k FROM c");
    db.stream("with_itself", "SELECT k FROM a UNION SELECT k FROM a");
    db.stream("constants", "SELECT 1 AS origin, s FROM a UNION SELECT 2, s FROM b");
    changes(db);
}

fn intersect_and_except(db: &mut Database) {
    two_tables(db);
    db.stream("in_both", "SELECT k, s FROM a INTERSECT SELECT k, s FROM b");
    db.stream("left_only", "SELECT k, s FROM a EXCEPT SELECT k, s FROM b");
    db.stream("right_only", "SELECT k, s FROM b EXCEPT SELECT k, s FROM a");
    db.stream("with_key", "SELECT id, k FROM c EXCEPT SELECT k, k FROM a");
    changes(db);
}

fn intersect_all_and_except_all(db: &mut Database) {
    two_tables(db);
    db.stream("in_both", "SELECT k, s FROM a INTERSECT ALL SELECT k, s FROM b");
    db.stream("left_only", "SELECT k, s FROM a EXCEPT ALL SELECT k, s FROM b");
    db.stream("right_only", "SELECT k, s FROM b EXCEPT ALL SELECT k, s FROM a");
    db.stream("numbers", "SELECT k FROM a EXCEPT ALL SELECT k FROM c");
    changes(db);
}

fn set_operations_in_one_another(db: &mut Database) {
    two_tables(db);
    db.stream("precedence", "SELECT k FROM a UNION ALL SELECT k FROM b INTERSECT SELECT k FROM c");
    db.stream(
        "nested",
        "(SELECT k, s FROM a EXCEPT ALL SELECT k, s FROM b) UNION (SELECT k, s FROM c INTERSECT SELECT k, s FROM a)",
    );
    db.stream("on_the_right", "SELECT k FROM a EXCEPT (SELECT k FROM b UNION ALL SELECT k FROM c WHERE id > 1)");
    db.stream("all_of_all", "(SELECT k FROM a INTERSECT ALL SELECT k FROM b) EXCEPT ALL SELECT k FROM c");
    db.stream("three_of_one", "SELECT k FROM a EXCEPT SELECT k FROM b EXCEPT SELECT k FROM c");
    changes(db);
}

fn set_operations_under_other_operators(db: &mut Database) {
    two_tables(db);
    db.stream("counted", "SELECT s, count(*) AS n, sum(k) AS total FROM (SELECT k, s FROM a EXCEPT ALL SELECT k, s FROM b) AS x GROUP BY s");
    db.stream(
        "joined",
        "SELECT c.id, x.s FROM c JOIN (SELECT k, s FROM a INTERSECT SELECT k, s FROM b) AS x ON x.k = c.k",
    );
    db.stream(
        "filtered",
        "SELECT k FROM (SELECT k, s FROM a UNION SELECT k, s FROM b) AS x WHERE s <> 'y' OR s IS NULL",
    );
    db.stream("over_groups", "SELECT k, count(*) AS n FROM a GROUP BY k EXCEPT SELECT k, count(*) FROM b GROUP BY k");
    db.stream("distinct_arms", "SELECT DISTINCT k FROM a INTERSECT ALL SELECT k FROM b");
    db.stream("with_item", "WITH x AS (SELECT k FROM a UNION SELECT k FROM b) SELECT x.k, y.k AS other FROM x JOIN x AS y ON x.k = y.k + 1");
    changes(db);
}

fn set_operations_of_one_table_with_itself(db: &mut Database) {
    two_tables(db);
    db.stream("more_than_once", "SELECT k, s FROM a EXCEPT ALL SELECT DISTINCT k, s FROM a");
    db.stream("nothing", "SELECT k FROM a EXCEPT ALL SELECT k FROM a");
    db.stream("itself", "SELECT k FROM a INTERSECT ALL SELECT k FROM a");
    db.stream("shifted", "SELECT k FROM a INTERSECT SELECT k + 1 FROM a");
    changes(db);
}

fn set_operations_on_values_equal_but_not_identical(db: &mut Database) {
    db.run("CREATE TABLE a (n numeric); CREATE TABLE b (n numeric)");
    db.run(
        "INSERT INTO a VALUES (1.0), (1.00), (2), ('NaN'), (NULL); INSERT INTO b VALUES (1.000), (2.0), (2.00), (NULL)",
    );
    db.stream_by_value("merged", "SELECT n FROM a UNION SELECT n FROM b");
    db.stream_by_value("in_both", "SELECT n FROM a INTERSECT ALL SELECT n FROM b");
    db.stream_by_value("left_only", "SELECT n FROM a EXCEPT ALL SELECT n FROM b");
    db.stream_by_value("never_right", "SELECT n FROM a EXCEPT SELECT n FROM b");
    db.cycle(&["DELETE FROM b WHERE n = 1; UPDATE a SET n = 2.000 WHERE n = 2"]);
    db.cycle(&["INSERT INTO a VALUES (1), (2.0); INSERT INTO b VALUES ('NaN')"]);
    db.cycle(&["DELETE FROM a WHERE scale(n) > 1; DELETE FROM b WHERE n IS NULL"]);
    db.cycle(&["DELETE FROM b; DELETE FROM a WHERE n = 1"]);
}

fn set_operations_of_different_types(db: &mut Database) {
    db.run("CREATE TABLE a (x int, s varchar(5)); CREATE TABLE b (x numeric, s text); CREATE TABLE c (x bigint, s char(3))");
    db.run("INSERT INTO a VALUES (1, 'a'), (2, 'b'); INSERT INTO b VALUES (1.0, 'a'), (2.5, 'b'); INSERT INTO c VALUES (1, 'a'), (2, NULL)");
    db.stream_by_value("merged", "SELECT x, s FROM a UNION SELECT x, s FROM b");
    db.stream_by_value("wider", "SELECT x, s FROM a INTERSECT SELECT x, s FROM b");
    db.stream_by_value("nothing_known", "SELECT x, NULL AS s FROM a EXCEPT ALL SELECT x, s FROM c");
    db.cycle(&["UPDATE a SET x = 3 WHERE x = 1; INSERT INTO b VALUES (3.00, 'a'); UPDATE c SET s = NULL WHERE x = 1"]);
    db.cycle(&["DELETE FROM b WHERE s = 'a'; INSERT INTO a VALUES (NULL, NULL); INSERT INTO c VALUES (NULL, NULL)"]);
}

/// What is made of the rows goes by the collation of the operation, also where only the rows of one arm changed.
fn arms_of_different_collations(db: &mut Database) {
    db.run(
        "CREATE TABLE x (id int PRIMARY KEY, b text COLLATE \"en-x-icu\"); CREATE TABLE y (id int PRIMARY KEY, b text)",
    );
    db.run("INSERT INTO x VALUES (1, 'a'), (2, 'Z'), (3, NULL); INSERT INTO y VALUES (1, 'b'), (2, 'Z')");
    db.run("CREATE VIEW both_of_them AS SELECT b FROM x UNION ALL SELECT b FROM y");
    db.stream("filtered", "SELECT b FROM (SELECT b FROM x UNION ALL SELECT b FROM y) AS z WHERE b < 'c'");
    db.stream("compared", "SELECT b, b < 'c' AS c, b BETWEEN 'A' AND 'c' AS d FROM both_of_them");
    db.stream("extremes", "SELECT max(b) AS m, min(b) AS n, count(*) FILTER (WHERE b < 'c') AS c FROM both_of_them");
    db.stream("joined", "SELECT z.b, y.id FROM both_of_them AS z JOIN y ON z.b < y.b");
    db.stream("of_all", "SELECT y.id FROM y WHERE 'b' < ALL (SELECT b FROM both_of_them WHERE b IS NOT NULL)");
    db.stream("distinct_ones", "SELECT b, b > 'c' AS c FROM (SELECT b FROM x UNION SELECT b FROM y) AS z");
    db.stream("common", "SELECT b, b > 'c' AS c FROM (SELECT b FROM x INTERSECT SELECT b FROM y) AS z");
    db.stream("stated", "SELECT b FROM (SELECT b || '' AS b FROM y UNION ALL SELECT id::text COLLATE \"en-x-icu\" FROM y) AS z WHERE b > 'A'");
    db.stream("explicit", "SELECT b FROM (SELECT b FROM x UNION ALL SELECT b FROM y) AS z WHERE b < 'c' COLLATE \"C\"");
    db.cycle(&["INSERT INTO y VALUES (3, 'Y'), (4, 'c'), (5, NULL)"]);
    db.cycle(&["INSERT INTO x VALUES (4, 'Y'), (5, 'c')", "UPDATE y SET b = 'Q' WHERE id = 1"]);
    db.cycle(&["DELETE FROM x WHERE id = 2", "UPDATE y SET b = 'B' WHERE b = 'Z'"]);
    db.cycle(&["DELETE FROM y", "UPDATE x SET b = 'X' WHERE id < 3"]);
}

fn arms_of_a_nondeterministic_collation(db: &mut Database) {
    db.run("CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)");
    db.run("CREATE TABLE x (id int PRIMARY KEY, b text COLLATE folded); CREATE TABLE y (id int PRIMARY KEY, b text)");
    db.run("INSERT INTO x VALUES (1, 'a'), (2, 'b'), (3, NULL); INSERT INTO y VALUES (1, 'B')");
    // Which of the equal spellings represents them is left to PostgreSQL.
    for (name, operation) in
        [("u", "UNION"), ("i", "INTERSECT"), ("e", "EXCEPT"), ("ia", "INTERSECT ALL"), ("ea", "EXCEPT ALL")]
    {
        db.stream(name, &format!("SELECT lower(b) AS b FROM (SELECT b FROM x {operation} SELECT b FROM y) AS z"));
    }
    db.cycle(&["INSERT INTO y VALUES (2, 'A'), (3, 'C')"]);
    db.cycle(&["INSERT INTO x VALUES (4, 'A'), (5, 'c')", "INSERT INTO y VALUES (4, 'a'), (5, NULL)"]);
    db.cycle(&["DELETE FROM y WHERE id = 2", "UPDATE x SET b = 'B' WHERE id = 1"]);
    db.cycle(&["DELETE FROM y"]);
}
