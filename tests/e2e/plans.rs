//! Deltas whose plans depend on what changed: keys that are new or stay, disjunctions over several tables, keys that are looked up or joined.

use pgtrickle_tests::{Database, tests};

tests![
    new_rows_of_small_tables,
    disjunctions_over_joins,
    fields_of_dates,
    keys_of_types_with_an_equality_of_their_own,
    semi_joins_with_and_without_an_index,
    keys_equated_by_the_collation_of_one_side
];

fn facts_of(db: &mut Database, facts: usize) {
    db.run(&format!(
        "CREATE TABLE region (id int PRIMARY KEY, name text NOT NULL);
         CREATE TABLE nation (id int PRIMARY KEY, region int NOT NULL, name text NOT NULL);
         CREATE TABLE fact (id int PRIMARY KEY, nation int NOT NULL, other int NOT NULL, v int);
         INSERT INTO region SELECT i, 'r' || i FROM generate_series(1, 3) AS i;
         INSERT INTO nation SELECT i, i % 3 + 1, 'n' || i FROM generate_series(1, 12) AS i;
         INSERT INTO fact SELECT i, i % 12 + 1, i * 7 % 12 + 1, i % 100 FROM generate_series(1, {facts}) AS i;
         CREATE INDEX ON fact (nation); ANALYZE region; ANALYZE nation; ANALYZE fact"
    ));
}

fn new_rows_of_small_tables(db: &mut Database) {
    facts_of(db, 3000);
    db.stream(
        "by_region",
        "SELECT r.name, count(*) AS n, sum(f.v) AS s FROM fact f JOIN nation n ON n.id = f.nation JOIN region r ON r.id = n.region
         GROUP BY r.name",
    );
    db.stream("plain", "SELECT f.id, n.name, r.name AS region FROM fact f JOIN nation n ON n.id = f.nation JOIN region r ON r.id = n.region");
    for change in [
        "INSERT INTO nation VALUES (100, 1, 'new')",
        "INSERT INTO fact SELECT i, 100, 1, 5 FROM generate_series(5001, 5040) AS i; UPDATE fact SET v = v + 1 WHERE id % 50 = 0",
        // The same leaves once more, and keys that stay.
        "UPDATE nation SET name = name || '!' WHERE id = 100; UPDATE fact SET v = v + 1 WHERE id % 50 = 1",
        "INSERT INTO nation VALUES (101, 2, 'with facts'); INSERT INTO fact SELECT i, 101, 2, 7 FROM generate_series(6001, 6100) AS i",
        "DELETE FROM fact WHERE nation = 101; DELETE FROM nation WHERE id = 101; UPDATE nation SET region = region % 3 + 1 WHERE id = 3",
        "INSERT INTO region VALUES (9, 'r9'); INSERT INTO nation VALUES (102, 9, 'x'); UPDATE fact SET nation = 102 WHERE id % 9 = 0",
        "DELETE FROM nation WHERE id = 4; UPDATE region SET name = 'r one' WHERE id = 1",
    ] {
        db.cycle(&[change]);
    }
}

fn disjunctions_over_joins(db: &mut Database) {
    facts_of(db, 1200);
    for (name, query) in [
        (
            "pairs",
            "SELECT f.id, a.name AS a, b.name AS b FROM fact f, nation a, nation b WHERE f.nation = a.id AND f.other = b.id
             AND ((a.name = 'n1' AND b.name = 'n2') OR (a.name = 'n2' AND b.name = 'n8') OR (a.region = 3 AND b.name LIKE 'n1%' AND f.v > 3))",
        ),
        (
            "common",
            "SELECT f.id, a.name FROM fact f, nation a WHERE (f.nation = a.id AND a.region = 1 AND f.v < 30)
             OR (f.nation = a.id AND a.region = 2 AND f.v > 70)",
        ),
        ("kept", "SELECT a.id, f.id AS fact FROM nation a LEFT JOIN fact f ON (f.nation = a.id AND f.v = 3) OR (f.other = a.id AND f.v = 5)"),
        ("nulls", "SELECT f.id, a.id AS a FROM fact f, nation a WHERE f.nation = a.id AND ((f.v IS NULL AND a.region = 1) OR (f.v > 50 AND NOT a.region = 1))"),
    ] {
        db.stream(name, query);
    }
    for change in [
        "UPDATE nation SET name = 'n8' WHERE id = 5; UPDATE fact SET v = NULL WHERE id % 13 = 0",
        "UPDATE fact SET other = other % 12 + 1, v = v + 10 WHERE id % 6 = 0; UPDATE nation SET region = 3 WHERE id = 1",
        "DELETE FROM nation WHERE id IN (2, 8); INSERT INTO fact SELECT i, i % 12 + 1, 3, i % 90 FROM generate_series(5001, 5100) AS i",
        "INSERT INTO nation VALUES (2, 1, 'n2'), (8, 3, 'n2'); DELETE FROM fact WHERE id % 4 = 0",
    ] {
        db.cycle(&[change]);
    }
}

fn fields_of_dates(db: &mut Database) {
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, d date, at timestamptz, x numeric);
         INSERT INTO t SELECT i, date '2020-01-01' + i * 17, timestamptz '2020-01-01 UTC' + i * interval '37 hours', i * 1.5
         FROM generate_series(1, 400) AS i; ANALYZE t",
    );
    for (name, query) in [
        ("years", "SELECT extract(year FROM d) AS y, count(*) AS n, sum(x) AS s FROM t GROUP BY 1"),
        (
            "hours",
            "SELECT extract(hour FROM at) AS h, sum(extract(day FROM d)) AS days, avg(extract(month FROM d)) AS m FROM t GROUP BY 1",
        ),
        ("seconds", "SELECT extract(epoch FROM at) * 1.0 AS e, count(*) AS n FROM t GROUP BY 1"),
        ("ages", "SELECT extract(year FROM age(timestamptz '2030-01-01', at)) AS a, count(*) AS n FROM t GROUP BY 1"),
    ] {
        db.stream(name, query);
    }
    for change in [
        "UPDATE t SET d = d + 365, at = at + interval '90 minutes' WHERE id % 3 = 0",
        "UPDATE t SET d = 'infinity' WHERE id % 7 = 0; UPDATE t SET d = NULL WHERE id % 11 = 0",
        "UPDATE t SET d = '-infinity' WHERE id % 14 = 0; UPDATE t SET at = 'infinity' WHERE id % 10 = 0",
        "UPDATE t SET d = '2024-02-29' WHERE NOT isfinite(d); UPDATE t SET at = now() WHERE id % 20 = 0",
        "DELETE FROM t WHERE id % 2 = 0",
    ] {
        db.cycle(&[change]);
    }
}

/// Keys are compared as the query compares them, not byte by byte.
fn keys_of_types_with_an_equality_of_their_own(db: &mut Database) {
    db.run(
        "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE l (id int PRIMARY KEY, k text COLLATE nocase, n numeric);
         CREATE TABLE r (k text COLLATE nocase, n numeric, x int);
         INSERT INTO l SELECT i, CASE i % 2 WHEN 0 THEN 'Key' ELSE 'kEY' END || i % 40, i % 30 + 0.0 FROM generate_series(1, 600) AS i;
         INSERT INTO r SELECT 'key' || i % 60, (i % 35)::numeric(8,3), i % 9 FROM generate_series(1, 300) AS i;
         CREATE INDEX ON r (k); CREATE INDEX ON r (n); CREATE INDEX ON l (k); ANALYZE l; ANALYZE r",
    );
    db.stream("by_text", "SELECT id, k FROM l WHERE EXISTS (SELECT FROM r WHERE r.k = l.k)");
    db.stream("by_number", "SELECT id, n FROM l WHERE NOT EXISTS (SELECT FROM r WHERE r.n = l.n)");
    db.stream("by_both", "SELECT id FROM l WHERE EXISTS (SELECT FROM r WHERE r.k = l.k AND r.x > l.n)");
    for change in [
        "UPDATE r SET k = upper(k), n = n * 1.00 WHERE x > 4",
        "DELETE FROM r WHERE x % 3 = 0; UPDATE l SET k = lower(k), n = n + 1.000 WHERE id % 5 = 0",
        "INSERT INTO r SELECT 'KeY' || i % 70, i % 33, i % 12 FROM generate_series(1, 200) AS i; DELETE FROM l WHERE id % 7 = 0",
        "UPDATE r SET x = x - 5",
    ] {
        db.cycle(&[change]);
    }
}

fn semi_joins_with_and_without_an_index(db: &mut Database) {
    db.run(
        "CREATE TABLE l (id int PRIMARY KEY, a int, b int); CREATE TABLE r (id int PRIMARY KEY, a int, b int);
         INSERT INTO l SELECT i, i % 700, i % 11 FROM generate_series(1, 4000) AS i;
         INSERT INTO r SELECT i, i % 900, i % 13 FROM generate_series(1, 5000) AS i; ANALYZE l; ANALYZE r",
    );
    for (name, query) in [
        ("present", "SELECT id, b FROM l WHERE EXISTS (SELECT FROM r WHERE r.a = l.a AND r.b > 3)"),
        ("absent", "SELECT id, b FROM l WHERE NOT EXISTS (SELECT FROM r WHERE r.a = l.a)"),
        ("others", "SELECT id FROM l WHERE EXISTS (SELECT FROM r WHERE r.a = l.a AND r.b <> l.b)"),
        (
            "joined",
            "SELECT l.id, m.id AS m FROM l JOIN l AS m ON m.id = l.a WHERE NOT EXISTS (SELECT FROM r WHERE r.a = l.a AND r.b < m.b)",
        ),
        ("marked", "SELECT id, EXISTS (SELECT FROM r WHERE r.a = l.a AND r.b = 5) OR b = 4 AS mark FROM l"),
        (
            "twice",
            "SELECT count(*) AS n FROM l WHERE EXISTS (SELECT FROM r WHERE r.a = l.a AND r.b <> l.b) AND a IN (SELECT b * 50 FROM r)",
        ),
    ] {
        db.stream(name, query);
    }
    let change = |db: &mut Database, n: u32| {
        for change in [
            format!("UPDATE r SET a = a + 1 WHERE id % {n} = 0"),
            format!("UPDATE l SET a = a + 2, b = b + 1 WHERE id % {n} = 1; DELETE FROM r WHERE id % {n} = 1"),
            format!(
                "INSERT INTO r SELECT 10000 * {n} + i, i % 800, i % 7 FROM generate_series(1, 5000 / {n}) AS i; DELETE FROM l WHERE id % {n} = 2"
            ),
        ] {
            db.cycle(&[&change]);
        }
    };
    change(db, 40);
    db.run("CREATE INDEX ON l (a); CREATE INDEX ON r (a)");
    change(db, 41);
    change(db, 3);
    change(db, 2000);
}

/// Keys that the other side tells apart are equal to one of these.
fn keys_equated_by_the_collation_of_one_side(db: &mut Database) {
    db.run(
        "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE l (id int PRIMARY KEY, k text COLLATE nocase, n int);
         CREATE TABLE r (id int PRIMARY KEY, k text, x int);
         INSERT INTO l SELECT i, 'key' || i % 40, i % 7 FROM generate_series(1, 400) AS i;
         CREATE INDEX ON l (k); ANALYZE l",
    );
    for (name, query) in [
        ("present", "SELECT id FROM l WHERE EXISTS (SELECT FROM r WHERE r.k = l.k OFFSET 0)"),
        ("named", "SELECT id, k FROM l WHERE k IN (SELECT k COLLATE nocase FROM r)"),
        ("absent", "SELECT id FROM l WHERE NOT EXISTS (SELECT FROM r WHERE r.k = l.k)"),
        ("above", "SELECT id FROM l WHERE EXISTS (SELECT FROM r WHERE r.k = l.k AND r.x > l.n OFFSET 0)"),
        ("kept", "SELECT l.id, r.id AS other, r.k FROM l LEFT JOIN r ON r.k = l.k"),
        ("joined", "SELECT l.k, count(*) AS n, sum(r.x) AS s FROM r JOIN l USING (k) GROUP BY l.k"),
        ("back", "SELECT id FROM r WHERE EXISTS (SELECT FROM l WHERE r.k = l.k OFFSET 0)"),
        ("sums", "SELECT id, (SELECT sum(x) FROM r WHERE r.k = l.k) AS s FROM l"),
        ("keys", "SELECT l.id, s.n FROM l JOIN (SELECT k, count(*) AS n FROM r GROUP BY k) AS s ON s.k = l.k"),
    ] {
        db.stream(name, query);
    }
    for change in [
        "INSERT INTO r VALUES (1, 'key1', 5), (2, 'KEY1', 6)",
        "DELETE FROM r WHERE id = 1",
        "INSERT INTO r SELECT i, CASE WHEN i % 2 = 0 THEN 'Key' ELSE 'key' END || i % 30, i % 9 FROM generate_series(10, 109) AS i",
        "UPDATE l SET k = upper(k) WHERE id % 3 = 0; UPDATE r SET k = 'KEY' || x WHERE id % 5 = 0",
        "DELETE FROM r WHERE k LIKE 'K%'; UPDATE l SET n = n + 1 WHERE id % 9 = 0",
        "DELETE FROM r; DELETE FROM l WHERE id % 4 = 0",
    ] {
        db.cycle(&[change]);
    }
}
