//! Columns in whose place something else is computed, or nothing.

use pgtrickle_tests::{Database, tests};

tests![subscripts_of_constants, calls_over_outer_columns,];

/// Of a column that a sub-select gives a constant value.
fn subscripts_of_constants(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, a int[]); CREATE TABLE u (k int)");
    db.run("INSERT INTO t VALUES (1, '{2}'), (2, '{2,3}'), (3, NULL); INSERT INTO u VALUES (1), (1), (2)");
    db.stream("made", "SELECT id, n FROM t, LATERAL (SELECT x[2:] AS n FROM (SELECT ARRAY[1, 2] AS x FROM u WHERE k = t.id) AS q) AS r");
    db.stream("read", "SELECT id, n FROM t LEFT JOIN LATERAL (SELECT x[2:] AS n, x FROM (SELECT '{1,2}'::int[] AS x FROM u WHERE k = t.id) AS q) AS r ON n[1] = x[2] AND n = a");
    db.stream("computed", "SELECT id, n FROM t, LATERAL (SELECT x[1] AS n FROM (SELECT ARRAY[k, t.id] AS x FROM u WHERE k = t.id) AS q) AS r");
    db.cycle(&["INSERT INTO u VALUES (3), (1)", "UPDATE t SET a = '{2}' WHERE id = 3"]);
    db.cycle(&["DELETE FROM u WHERE k = 1", "INSERT INTO t VALUES (4, '{}')"]);
}

/// Aggregates that are computed anew and read columns of the query around them, which may have rows without any to aggregate.
fn calls_over_outer_columns(db: &mut Database) {
    db.run("CREATE TABLE a (id int PRIMARY KEY, g int, n numeric, t text); CREATE TABLE b (id int PRIMARY KEY, g int, n numeric, t text)");
    db.run("INSERT INTO a SELECT i, i % 3, i / 2.0, chr(96 + i) FROM generate_series(1, 8) AS i; INSERT INTO b SELECT i, i, i, upper(chr(96 + i)) FROM generate_series(0, 4) AS i");
    db.stream("lists", "SELECT b.id, (SELECT array_agg(a.n * b.n ORDER BY a.id) FROM a WHERE a.g = b.g) AS x FROM b");
    db.stream("texts", "SELECT b.id, (SELECT string_agg(a.t, b.t ORDER BY a.id) FILTER (WHERE a.n > b.n) FROM a WHERE a.g = b.g) AS x FROM b");
    db.stream("counts", "SELECT b.id, (SELECT count(*) + sum(a.n::float8 * b.id) FROM a WHERE a.g = b.g) AS x, (SELECT jsonb_agg(a.id + b.id ORDER BY a.id) FROM a) AS j FROM b");
    db.stream("nested", "SELECT b.id, (SELECT array_agg(c.id + (SELECT sum((a.id + b.id + c.id)::float8) FROM a WHERE a.g = c.g) ORDER BY c.id) FROM b AS c WHERE c.g > b.g) AS x FROM b");
    db.stream("sorted", "SELECT b.id, l.x FROM b, LATERAL (SELECT array_agg(t || b.t) AS x FROM (SELECT t FROM a WHERE g = b.g ORDER BY id) AS q) AS l");
    db.stream(
        "found",
        "SELECT b.id FROM b WHERE EXISTS (SELECT FROM a WHERE a.g = b.g HAVING array_agg(a.n + b.n) IS NULL)",
    );
    db.stream("median", "SELECT b.id, (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY (a.n * b.n)::float8) FROM a WHERE a.g = b.g) AS x FROM b");
    db.cycle(&[
        "UPDATE a SET g = 4 WHERE id < 3; INSERT INTO b VALUES (9, 2, NULL, NULL), (10, 77, 1, 'x')",
        "DELETE FROM a WHERE g = 1",
    ]);
    db.cycle(&[
        "UPDATE b SET n = n + 1, t = NULL WHERE g = 2; INSERT INTO a VALUES (20, 77, NULL, NULL), (21, 1, 1, 'z')",
    ]);
    db.cycle(&["DELETE FROM a"]);
}
