//! Values that are equal without being the same, large, or of types that ask for care.

use pgtrickle_tests::{Database, tests};

tests![
    numerics_that_print_differently,
    negative_zero,
    case_insensitive_text,
    toasted_values,
    unchanged_toast_values,
    compressed_values,
    json_and_points,
    domains_enums_arrays_composites_ranges,
    grouping_by_structured_types,
    dates_times_and_zones,
    bytes_bits_and_addresses,
    padded_and_limited_types,
    not_a_number_and_infinity,
    large_and_small_numbers,
    null_and_empty,
];

fn numerics_that_print_differently(db: &mut Database) {
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, n numeric, m numeric(10, 2)); INSERT INTO t VALUES (1, 1.0, 1), (2, 2, 2)",
    );
    db.run("CREATE TABLE k (n numeric); INSERT INTO k VALUES (1.0), (1.00), (1.00), (1)");
    db.stream("keyed", "SELECT id, n, m FROM t");
    db.stream("bag", "SELECT n FROM k");
    db.stream("text", "SELECT n::text AS n FROM k");
    db.cycle(&["UPDATE t SET n = 1.00 WHERE id = 1; UPDATE k SET n = 1.000 WHERE n::text = '1.0'"]);
    assert_eq!(db.text("SELECT n::text FROM keyed WHERE id = 1"), "1.00");
    db.cycle(&["UPDATE t SET n = 1 WHERE id = 1", "UPDATE t SET n = 1.0 WHERE id = 1"]);
    db.cycle(&["DELETE FROM k WHERE ctid = (SELECT min(ctid) FROM k WHERE n::text = '1.00')"]);
    db.cycle(&["UPDATE k SET n = 1"]);
    assert_eq!(db.lines("SELECT DISTINCT n::text FROM bag"), ["1"]);
}

fn negative_zero(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, f float8, r real); INSERT INTO t VALUES (1, 0, 0), (2, '-0', '-0')");
    db.stream("rows", "SELECT id, f, r FROM t");
    db.stream("bag", "SELECT f FROM t");
    db.stream_by_value("groups", "SELECT f, count(*) AS n FROM t GROUP BY f");
    db.cycle(&["UPDATE t SET f = '-0' WHERE id = 1; UPDATE t SET r = 0 WHERE id = 2"]);
    assert_eq!(db.lines("SELECT f::text FROM bag"), ["-0", "-0"]);
    db.cycle(&["UPDATE t SET f = 0"]);
    db.cycle(&["DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (3, '-0', 1)"]);
}

fn case_insensitive_text(db: &mut Database) {
    db.run("CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)");
    db.run("CREATE TABLE t (id int PRIMARY KEY, name text COLLATE folded, v int)");
    db.run("INSERT INTO t VALUES (1, 'Ann', 1), (2, 'ANN', 2), (3, 'bob', 3)");
    db.stream("rows", "SELECT id, name FROM t");
    db.stream("bag", "SELECT name FROM t");
    db.stream_by_value("groups", "SELECT name, count(*) AS n, sum(v) AS s FROM t GROUP BY name");
    db.stream_by_value("kinds", "SELECT DISTINCT name FROM t");
    db.stream("pairs", "SELECT a.id, b.id AS other FROM t AS a JOIN t AS b ON a.name = b.name");
    db.cycle(&["UPDATE t SET name = 'ann' WHERE id = 1"]);
    assert_eq!(db.text("SELECT name COLLATE \"C\" FROM rows WHERE id = 1"), "ann");
    db.cycle(&["INSERT INTO t VALUES (4, 'BOB', 4); UPDATE t SET name = 'aNN' WHERE id = 2"]);
    db.cycle(&["DELETE FROM t WHERE id = 3; UPDATE t SET name = 'Bob' WHERE id = 1"]);
    db.cycle(&["DELETE FROM t WHERE name = 'bob'"]);
}

/// Text that does not compress, of `length` bytes times 32.
fn noise(length: i32) -> String {
    format!("(SELECT string_agg(md5(i::text || id::text), '') FROM generate_series(1, {length}) AS i)")
}

fn toasted_values(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, big text, g int); INSERT INTO t (id, g) SELECT i, i % 2 FROM generate_series(1, 6) AS i");
    db.run(&format!("UPDATE t SET big = {}", noise(1000)));
    db.stream("rows", "SELECT id, big FROM t");
    db.stream("bag", "SELECT big FROM t");
    db.stream("ends", "SELECT g, max(big) AS hi, count(big) AS n FROM t GROUP BY g");
    db.cycle(&[&format!("UPDATE t SET big = {} || 'x' WHERE id < 4", noise(1000))]);
    db.cycle(&["UPDATE t SET big = 'small' WHERE id = 1; DELETE FROM t WHERE id = 2; UPDATE t SET big = big || big WHERE id = 5"]);
    db.cycle(&["INSERT INTO t SELECT id + 100, big, g FROM t"]);
    db.cycle(&["DELETE FROM t WHERE id > 100"]);
}

fn unchanged_toast_values(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, big text, v int); INSERT INTO t (id, v) SELECT i, i FROM generate_series(1, 4) AS i");
    db.run(&format!("UPDATE t SET big = {}", noise(1000)));
    db.stream("rows", "SELECT id, big, v FROM t");
    db.stream("lengths", "SELECT v, length(big) AS l FROM t WHERE big IS NOT NULL");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.cycle(&["UPDATE t SET v = v + 1, id = id + 10 WHERE id < 3"]);
    // The old value is gone from the table before the refresh reads it from the buffer.
    db.cycle(&["UPDATE t SET v = v + 1; UPDATE t SET big = NULL WHERE id = 3", "VACUUM t"]);
    db.cycle(&["DELETE FROM t WHERE id > 10", "VACUUM t"]);
}

fn compressed_values(db: &mut Database) {
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, a text COMPRESSION pglz, b text COMPRESSION lz4, c text STORAGE EXTERNAL)",
    );
    db.run("INSERT INTO t SELECT i, repeat('a' || i, 3000), repeat('b' || i, 3000), repeat('c' || i, 3000) FROM generate_series(1, 4) AS i");
    db.stream("rows", "SELECT id, a, b, c FROM t");
    db.stream("bag", "SELECT a, b, c FROM t");
    // The same values, stored in another way: equal, so nothing may be lost or doubled.
    db.cycle(&["UPDATE t SET a = b, b = a WHERE id = 1; UPDATE t SET c = repeat('c' || id, 3000)"]);
    db.cycle(&["UPDATE t SET a = repeat('a1', 3000), b = repeat('b1', 3000) WHERE id = 1"]);
    db.cycle(&["DELETE FROM t WHERE id = 2; UPDATE t SET a = c WHERE id = 3"]);
}

fn json_and_points(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, j json, b jsonb, p point)");
    db.run("INSERT INTO t VALUES (1, '{\"a\": 1}', '{\"a\": 1.0}', '(1,2)'), (2, '{\"a\":1}', '{\"a\": 1}', NULL)");
    db.run(
        "CREATE TABLE k (j json, p point); INSERT INTO k VALUES ('[1]', '(0,0)'), ('[1]', '(0,0)'), ('[1 ]', '(0,-0)')",
    );
    db.stream("rows", "SELECT id, j, b, p FROM t");
    db.stream("bag", "SELECT j, p FROM k");
    db.stream("parts", "SELECT b ->> 'a' AS a, (j ->> 'a')::int AS n FROM t");
    db.stream_by_value("groups", "SELECT b, count(*) AS n FROM t GROUP BY b");
    db.stream("joined", "SELECT t.id, k.j FROM t CROSS JOIN k WHERE t.id = 1");
    db.cycle(&["UPDATE t SET j = '{\"a\":  1}', b = '{\"a\": 1.00}' WHERE id = 1"]);
    db.cycle(&["DELETE FROM k WHERE ctid = (SELECT min(ctid) FROM k); UPDATE t SET p = '(3,4)' WHERE id = 2"]);
    db.cycle(&["UPDATE k SET j = '[1]'; INSERT INTO k VALUES (NULL, NULL)"]);
}

fn domains_enums_arrays_composites_ranges(db: &mut Database) {
    db.run("CREATE SCHEMA kinds; CREATE TYPE kinds.mood AS ENUM ('sad', 'ok', 'happy'); CREATE DOMAIN kinds.age AS int CHECK (VALUE > 0); \
            CREATE TYPE kinds.pair AS (a int, b text); CREATE TYPE kinds.span AS RANGE (subtype = float8)");
    db.run("CREATE TABLE t (id int PRIMARY KEY, m kinds.mood, a kinds.age, p kinds.pair, i int[], n numeric[], r int4range, s kinds.span, u uuid, y int4multirange)");
    db.run("INSERT INTO t SELECT i, (ARRAY['sad', 'ok', 'happy'])[i % 3 + 1]::kinds.mood, i, ROW(i, 'b' || i)::kinds.pair, ARRAY[i, NULL], ARRAY[1.0, i], \
            int4range(i, i + 5), kinds.span(i, i + 0.5), md5(i::text)::uuid, int4multirange(int4range(i, i + 1)) FROM generate_series(1, 9) AS i");
    db.stream("rows", "SELECT * FROM t");
    db.stream("bag", "SELECT m, a, p, i, n, r, s, u, y FROM t");
    db.stream("parts", "SELECT (p).a AS pa, (p).b AS pb, i[1] AS first, upper(r) AS top, m > 'sad'::kinds.mood AS better, a + 1 AS older FROM t");
    db.stream("moods", "SELECT m, count(*) AS n, min(a) AS lo, max(m) AS best FROM t GROUP BY m");
    db.cycle(&["UPDATE t SET m = 'happy', p = ROW((p).a + 1, NULL), i = i || 7, n[1] = 1.00 WHERE id < 5"]);
    db.cycle(&["UPDATE t SET r = 'empty', s = NULL, p = NULL, a = a + 10; DELETE FROM t WHERE id = 9"]);
    db.cycle(&["INSERT INTO t (id, m) VALUES (20, 'ok'), (21, NULL); UPDATE t SET p = ROW(NULL, NULL) WHERE id < 4"]);
}

fn grouping_by_structured_types(db: &mut Database) {
    db.run("CREATE TYPE pair AS (a int, b text); CREATE TABLE t (id int PRIMARY KEY, p pair, i int[], n numeric[], r int4range, v int)");
    db.run("INSERT INTO t SELECT i, ROW(i % 2, 'x')::pair, ARRAY[i % 3], ARRAY[(i % 2)::numeric(10, 1)], int4range(i % 2, 9), i FROM generate_series(1, 12) AS i");
    db.stream("pairs", "SELECT p, count(*) AS n, sum(v) AS s FROM t GROUP BY p");
    db.stream("arrays", "SELECT i, max(v) AS hi FROM t GROUP BY i");
    db.stream_by_value("numerics", "SELECT n, min(v) AS lo FROM t GROUP BY n");
    db.stream("ranges", "SELECT DISTINCT r FROM t");
    db.cycle(&["UPDATE t SET p = ROW(0, NULL)::pair, i = NULL, n = ARRAY[1.00] WHERE id < 5"]);
    db.cycle(&["UPDATE t SET p = NULL, r = 'empty' WHERE id IN (5, 6); DELETE FROM t WHERE id = 1"]);
    db.cycle(&["UPDATE t SET i = ARRAY[NULL]::int[], n = ARRAY[1] WHERE id % 2 = 1"]);
}

fn dates_times_and_zones(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, d date, ts timestamp, tz timestamptz, i interval, o timetz)");
    db.run("INSERT INTO t SELECT i, date '2024-02-27' + i, timestamp '2024-02-27 12:00' + i * interval '1 hour', \
            timestamptz '2024-03-30 12:00+00' + i * interval '1 hour', i * interval '1 day', timetz '10:00+02' FROM generate_series(1, 5) AS i");
    db.stream("rows", "SELECT id, d, ts, tz, i, o FROM t");
    db.stream("bag", "SELECT d, tz, i FROM t");
    db.stream(
        "days",
        "SELECT ts::date AS day, count(*) AS n, min(tz) AS first, max(i) AS longest FROM t GROUP BY ts::date",
    );
    db.stream_by_value("by_interval", "SELECT i, count(*) AS n FROM t GROUP BY i");
    db.cycle(&["UPDATE t SET d = 'infinity', ts = '-infinity', tz = tz + interval '1 month' WHERE id = 1; UPDATE t SET i = interval '24 hours' WHERE id = 2"]);
    db.cycle(&["UPDATE t SET i = interval '1 day', o = timetz '09:00+01' WHERE id < 4"]);
    db.cycle(&["DELETE FROM t WHERE id = 2; UPDATE t SET d = NULL, i = interval '24 hours'"]);
}

fn bytes_bits_and_addresses(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, b bytea, v varbit, f bit(4), i inet, c cidr, m macaddr, o oid, ch \"char\", n name, l pg_lsn)");
    db.run("INSERT INTO t VALUES (1, '\\x00ff', '101', '1010', '10.0.0.1', '10.0.0.0/8', '08:00:2b:01:02:03', 1, 'x', 'name', '0/1'), (2, '', '', NULL, '::1', NULL, NULL, NULL, NULL, NULL, NULL)");
    db.stream("rows", "SELECT * FROM t");
    db.stream("bag", "SELECT b, v, f, i, c, m, o, ch, n, l FROM t");
    db.stream("groups", "SELECT i, count(*) AS c, max(b) AS b FROM t GROUP BY i");
    db.cycle(&["UPDATE t SET b = b || '\\x00', v = v || '0', i = '10.0.0.1/32', n = 'other' WHERE id = 1"]);
    db.cycle(&["UPDATE t SET b = NULL, i = '10.0.0.1' WHERE id = 2; INSERT INTO t (id) VALUES (3)"]);
    db.cycle(&["DELETE FROM t WHERE id = 1; UPDATE t SET i = NULL"]);
}

fn padded_and_limited_types(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, c char(5), v varchar(10), n numeric(6, 2))");
    db.run("INSERT INTO t VALUES (1, 'a', 'a', 1), (2, 'a  ', 'a  ', 1.005), (3, NULL, '', NULL)");
    db.stream("rows", "SELECT id, c, v, n FROM t");
    db.stream("derived", "SELECT c || '|' AS padded, v || '|' AS kept, n * 2 AS twice, v::varchar(2) AS cut FROM t");
    db.stream("groups", "SELECT c, count(*) AS n, max(v) AS hi FROM t GROUP BY c");
    db.cycle(&["UPDATE t SET c = 'a ', v = v || ' ', n = n + 0.01"]);
    db.cycle(&["INSERT INTO t VALUES (4, '', 'longer', 99.999); UPDATE t SET c = 'b' WHERE id = 2"]);
    db.cycle(&["DELETE FROM t WHERE c = 'a'"]);
}

fn not_a_number_and_infinity(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, n numeric, f float8); INSERT INTO t VALUES (1, 'NaN', 'NaN'), (2, 'Infinity', '-Infinity'), (3, 1, 1)");
    db.stream("rows", "SELECT id, n, f FROM t");
    db.stream("bag", "SELECT n, f FROM t");
    db.stream("groups", "SELECT n, count(*) AS c, max(f) AS hi FROM t GROUP BY n");
    db.stream("pairs", "SELECT a.id, b.id AS other FROM t AS a JOIN t AS b ON a.n = b.n AND a.f = b.f");
    db.cycle(&["INSERT INTO t VALUES (4, 'NaN', 'NaN'), (5, '-Infinity', 1)"]);
    db.cycle(&["UPDATE t SET n = 'NaN' WHERE id = 3; DELETE FROM t WHERE id = 1"]);
    db.cycle(&["UPDATE t SET n = 0, f = 0 WHERE n = 'NaN'"]);
}

fn large_and_small_numbers(db: &mut Database) {
    db.run("CREATE TABLE t (id int8 PRIMARY KEY, a int2, b int8, n numeric, f float8, r real)");
    db.run("INSERT INTO t VALUES (9223372036854775807, 32767, -9223372036854775808, 1e100, 1e308, 1e38), (-1, -32768, 1, 1e-100, 5e-300, 1e-30)");
    db.stream("rows", "SELECT id, a, b, n, f, r FROM t");
    db.stream("bag", "SELECT n, f, r FROM t");
    db.stream("sums", "SELECT sum(a) AS a, sum(b) AS b, sum(n) AS n, count(*) AS c FROM t");
    db.cycle(&["UPDATE t SET n = n * 1.1, f = f / 3, r = r / 3; INSERT INTO t VALUES (0, 0, 0, 0, 0.1, 0.1)"]);
    db.cycle(&["DELETE FROM t WHERE id = -1"]);
    db.cycle(&["UPDATE t SET n = 0.30000000000000000000000000001, f = 0.1::float8 + 0.2::float8"]);
}

fn null_and_empty(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, s text, a int[], j jsonb); INSERT INTO t VALUES (1, '', '{}', '{}'), (2, NULL, NULL, 'null'), (3, 'NULL', '{NULL}', '\"\"')");
    db.stream("bag", "SELECT s, a, j FROM t");
    db.stream("groups", "SELECT s, count(s) AS n, count(*) AS c FROM t GROUP BY s");
    db.cycle(&[
        "UPDATE t SET s = NULL, a = NULL, j = NULL WHERE id = 1; UPDATE t SET s = '', a = '{}', j = '{}' WHERE id = 2",
    ]);
    db.cycle(&["UPDATE t SET s = nullif(s, ''), a = coalesce(a, '{}')"]);
    db.cycle(&["DELETE FROM t WHERE s IS NULL; INSERT INTO t VALUES (9, '', NULL, NULL)"]);
}
