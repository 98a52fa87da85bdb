//! Rows that capture copies as they are stored: every place for a NULL, every alignment, values of every length.

use pgtrickle_tests::{Database, tests};

tests![
    nulls_in_every_place,
    fewer_columns_than_there_are,
    a_column_of_every_alignment,
    values_out_of_line,
    columns_added_later,
    columns_dropped_before,
    readers_of_rows_beside_readers_of_news,
];

fn nulls_in_every_place(db: &mut Database) {
    for width in [1, 4, 5, 6, 8, 13, 14, 21, 22] {
        let columns = |each: &dyn Fn(usize) -> String| (0..width).map(each).collect::<Vec<_>>().join(", ");
        let ty = |i: usize| ["int4", "text", "int8", "bool", "numeric"][i % 5];
        db.run(&format!("CREATE TABLE w{width} ({})", columns(&|i| format!("x{i} {}", ty(i)))));
        db.stream(&format!("all{width}"), &format!("SELECT * FROM w{width}"));
        let value = |i: usize, set: &str| format!("CASE WHEN {set} THEN CAST('{}' AS {}) END", i % 2, ty(i));
        let one_missing = columns(&|i| value(i, &format!("n <> {i}")));
        let one_present = columns(&|i| value(i, &format!("n = {i}")));
        db.cycle(&[
            &format!("INSERT INTO w{width} SELECT {one_missing} FROM generate_series(0, {width}) AS n"),
            &format!("INSERT INTO w{width} SELECT {one_present} FROM generate_series(0, {width}) AS n"),
        ]);
        db.cycle(&[&format!("INSERT INTO w{width} SELECT {} FROM (VALUES (0)) AS v(n)", one_missing)]);
        let last = width - 1;
        db.cycle(&[
            &format!("UPDATE w{width} SET x{last} = NULL WHERE x{last} IS NOT NULL"),
            &format!("DELETE FROM w{width} WHERE x0 IS NULL"),
        ]);
        db.cycle(&[&format!("UPDATE w{width} SET x0 = {}", value(last, "true").replace(ty(last), ty(0)))]);
    }
}

fn fewer_columns_than_there_are(db: &mut Database) {
    db.run("CREATE TABLE t (id int8 PRIMARY KEY, a text, b int2, c numeric, d text, e int8)");
    db.stream("first", "SELECT id FROM t");
    db.cycle(&[
        "INSERT INTO t VALUES (1, 'a', 2, 3.5, 'd', 5), (2, NULL, NULL, NULL, NULL, NULL), (3, 'c', NULL, 3, NULL, 6)",
    ]);
    db.stream("three", "SELECT id, a, b FROM t");
    db.cycle(&[
        "INSERT INTO t VALUES (4, repeat('x', 200), 7, 3.5, repeat('y', 20000), NULL)",
        "UPDATE t SET b = 9 WHERE id = 2",
    ]);
    db.cycle(&["UPDATE t SET d = d || 'z', e = 0", "UPDATE t SET a = NULL WHERE id = 4", "DELETE FROM t WHERE id = 3"]);
    db.stream("others", "SELECT id, e FROM t");
    db.cycle(&["UPDATE t SET e = id", "INSERT INTO t (id, e) VALUES (5, 50)"]);
}

fn a_column_of_every_alignment(db: &mut Database) {
    db.run(
        "CREATE TABLE t (a \"char\", b int8, c bool, d uuid, e int2, f interval, g tid, h float4, i name, j bit varying, k macaddr, \
         l int2, m text, n \"char\", o timestamptz, p int4[], q \"char\", r money, id int PRIMARY KEY)",
    );
    db.stream("all_of_them", "SELECT * FROM t");
    db.cycle(&[
        "INSERT INTO t SELECT 'x', i, i % 2 = 0, gen_random_uuid(), i, make_interval(days => i), format('(%s,%s)', i, i)::tid, \
         i, 'name' || i, repeat('1', i)::varbit, '08:00:2b:01:02:03', i, repeat('t', i), 'y', now(), ARRAY[i, NULL], \
         'z', i, i FROM generate_series(1, 20) AS i",
    ]);
    db.cycle(&["UPDATE t SET m = m || 'more', j = NULL WHERE id % 3 = 0", "DELETE FROM t WHERE id % 4 = 0"]);
    db.cycle(&["UPDATE t SET a = NULL, n = NULL", "INSERT INTO t (id) VALUES (100)"]);
}

fn values_out_of_line(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, long text, short int)");
    db.run("ALTER TABLE t ALTER long SET STORAGE EXTERNAL; INSERT INTO t VALUES (1, repeat('old', 5000), 1)");
    db.stream("all_of_them", "SELECT * FROM t");
    db.stream("lengths", "SELECT short, sum(length(long)) AS n FROM t GROUP BY short");
    db.cycle(&["UPDATE t SET short = 2"]);
    db.cycle(&["INSERT INTO t SELECT i, repeat(i::text, 4000), i % 2 FROM generate_series(2, 30) AS i"]);
    db.cycle(&[
        "UPDATE t SET long = 'short now' WHERE id % 2 = 0",
        "DELETE FROM t WHERE id % 3 = 0",
        "UPDATE t SET short = 0",
    ]);
    db.run("ALTER TABLE t ALTER long SET STORAGE EXTENDED");
    db.cycle(&["INSERT INTO t VALUES (99, repeat('compressed', 5000), 9)", "UPDATE t SET short = short + 1"]);
}

fn columns_added_later(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 9) AS i");
    db.run("ALTER TABLE t ADD COLUMN b int DEFAULT 7, ADD COLUMN c text");
    db.stream("all_of_them", "SELECT * FROM t");
    db.cycle(&["DELETE FROM t WHERE id = 1"]);
    db.cycle(&["UPDATE t SET a = a || '!' WHERE id < 5", "INSERT INTO t VALUES (10, 'ten', NULL, 'x')"]);
    db.cycle(&["UPDATE t SET c = 'now' WHERE id > 4", "DELETE FROM t WHERE id % 2 = 0"]);
}

fn columns_dropped_before(db: &mut Database) {
    db.run(
        "CREATE TABLE t (gone int, id int PRIMARY KEY, a text, also int, b text); ALTER TABLE t DROP gone, DROP also",
    );
    db.stream("all_of_them", "SELECT * FROM t");
    db.cycle(&["INSERT INTO t VALUES (1, 'a', 'b'), (2, NULL, 'b'), (3, 'a', NULL)"]);
    db.cycle(&["UPDATE t SET b = a", "DELETE FROM t WHERE id = 1"]);
}

fn readers_of_rows_beside_readers_of_news(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, a text, b int)");
    db.stream("all_of_them", "SELECT * FROM t");
    db.run("SELECT pgtrickle.create_stream_table('whole', 'SELECT id, a FROM t', refresh_mode => 'FULL')");
    db.cycle(&["INSERT INTO t VALUES (1, 'a', 1), (2, NULL, NULL)", "INSERT INTO t VALUES (3, NULL, 3)"]);
    db.cycle(&["UPDATE t SET a = 'x' WHERE id = 2", "DELETE FROM t WHERE id = 1"]);
    db.run("SELECT pgtrickle.drop_stream_table('whole')");
    db.cycle(&["UPDATE t SET b = NULL", "INSERT INTO t VALUES (4, 'four', 4)"]);
}
