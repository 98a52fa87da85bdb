//! Values that are equal without being the same, and the same without having the same bytes.

use pgtrickle_tests::{Database, tests};

tests![
    a_group_is_named_by_one_of_its_rows,
    distinct_values_below_an_expression,
    a_group_that_came_and_went_and_came_back,
    a_domain_in_rows_without_a_key,
    a_domain_chooses_the_function,
    a_composite_value_with_a_compressed_field,
];

fn a_group_is_named_by_one_of_its_rows(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g numeric, f float8, v int)");
    db.run("INSERT INTO t VALUES (1, 1.0, 0, 1), (2, 1.0, 0, 2), (3, 2.50, 5, 3), (4, NULL, NULL, 4)");
    db.stream("sums", "SELECT g, sum(v) AS s FROM t GROUP BY g");
    db.stream("texts", "SELECT g::text AS g, count(*) AS n FROM t GROUP BY g");
    db.stream("floats", "SELECT f, max(v) AS hi FROM t GROUP BY f");
    db.stream("pairs", "SELECT g, f, count(*) AS n FROM t GROUP BY g, f");
    db.cycle(&["UPDATE t SET g = 1.00, f = '-0' WHERE id <= 2"]);
    db.cycle(&["DELETE FROM t WHERE id = 1", "INSERT INTO t VALUES (5, 1.00, '-0', 9)"]);
    db.cycle(&["UPDATE t SET g = g * 1.000"]);
    db.cycle(&["DELETE FROM t WHERE g = 1", "INSERT INTO t VALUES (6, NULL, NULL, 1), (7, 1, 0, 1)"]);
}

fn distinct_values_below_an_expression(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, x numeric); INSERT INTO t VALUES (1, 1.0), (2, 1.0), (3, 2)");
    db.stream("once", "SELECT DISTINCT x FROM t");
    db.stream("shown", "SELECT x::text || '!' AS x FROM (SELECT DISTINCT x FROM t) AS d");
    db.cycle(&["UPDATE t SET x = 1.000 WHERE x = 1"]);
    db.cycle(&["UPDATE t SET x = 2.0", "DELETE FROM t WHERE id = 2"]);
}

fn a_group_that_came_and_went_and_came_back(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, x numeric); INSERT INTO t VALUES (1, 5)");
    db.stream("once", "SELECT x, count(*) AS n FROM t GROUP BY x");
    db.cycle(&["INSERT INTO t VALUES (2, 7.0)", "DELETE FROM t WHERE id = 2", "INSERT INTO t VALUES (2, 7.000)"]);
    db.cycle(&["DELETE FROM t WHERE id = 2", "INSERT INTO t VALUES (2, 7.0)", "DELETE FROM t WHERE id = 2"]);
}

fn a_domain_in_rows_without_a_key(db: &mut Database) {
    db.run("CREATE DOMAIN positive AS int CHECK (value > 0); CREATE DOMAIN filled AS text NOT NULL");
    db.run("CREATE TABLE t (p positive, f filled)");
    db.run("INSERT INTO t VALUES (1, 'a'), (1, 'a'), (2, 'b'), (NULL, 'c')");
    db.stream("rows", "SELECT p, f FROM t");
    db.stream("sums", "SELECT f, sum(p) AS s, max(p) AS hi FROM t GROUP BY f");
    db.cycle(&["DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t)", "UPDATE t SET p = 3 WHERE f = 'c'"]);
    db.cycle(&["UPDATE t SET p = coalesce(p, 1) + 1, f = f || 'x'", "INSERT INTO t SELECT * FROM t"]);
    db.cycle(&["DELETE FROM t"]);
}

fn a_domain_chooses_the_function(db: &mut Database) {
    db.run("CREATE DOMAIN positive AS int CHECK (value > 0)");
    db.run("CREATE FUNCTION kind(int) RETURNS text IMMUTABLE RETURN 'number'");
    db.run("CREATE FUNCTION kind(positive) RETURNS text IMMUTABLE RETURN 'positive'");
    db.run("CREATE TABLE t (id int PRIMARY KEY, p positive, n int); INSERT INTO t VALUES (1, 1, 1)");
    db.stream("kinds", "SELECT id, kind(p) AS p, kind(n) AS n FROM t");
    db.cycle(&["INSERT INTO t VALUES (2, 2, 2)", "UPDATE t SET p = 5 WHERE id = 1"]);
}

/// The buffer's row is longer than the source's, so that a field is compressed in one and not in the other.
fn a_composite_value_with_a_compressed_field(db: &mut Database) {
    db.run("CREATE TYPE pair AS (a text, b int); CREATE TABLE t (id int, a text, more text)");
    db.run("INSERT INTO t SELECT i, repeat('abcdefghij', 190), NULL FROM generate_series(1, 3) AS i");
    db.stream("pairs", "SELECT ROW(a, id)::pair AS p FROM t");
    db.cycle(&["UPDATE t SET more = repeat('x', 500)"]);
    db.cycle(&["DELETE FROM t WHERE id = 2", "UPDATE t SET id = id + 10"]);
    db.cycle(&["DELETE FROM t"]);
}
