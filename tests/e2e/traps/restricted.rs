//! Groups of which only those are kept up that are asked for, see `rewrite/restrict.rs` of the engine.

use pgtrickle_tests::{Database, tests};

tests![
    keys_come_and_go,
    groups_that_decide_about_rows,
    columns_that_are_equal_and_not_the_same,
    a_restriction_is_chosen_once,
    a_key_that_comes_later_changes_nothing,
];

/// Parts, of which one in ten has a name that is asked for, and lines of them.
fn tables(db: &mut Database) {
    db.run(
        "CREATE TABLE part (id int PRIMARY KEY, name text, size int);
         CREATE TABLE line (id int PRIMARY KEY, part int, supplier int, quantity int);
         CREATE INDEX ON line (part, supplier);
         INSERT INTO part SELECT i, 'n' || i % 10, i % 7 FROM generate_series(1, 300) AS i;
         INSERT INTO line SELECT i, i % 320, i % 4, i % 11 FROM generate_series(1, 3000) AS i;
         INSERT INTO line VALUES (5001, NULL, 1, 5), (5002, 1, NULL, NULL);
         ANALYZE part, line",
    );
}

/// Whether what is stored for the query is restricted.
fn is_restricted(db: &mut Database, query: &str) -> bool {
    db.text(&format!(
        "SELECT changed FROM pgtrickle.explain_query_rewrite($query${query}$query$) WHERE pass_name = 'group_restriction'"
    )) == "t"
}

fn streams(db: &mut Database, queries: &[(&str, &str)]) {
    for (name, query) in queries {
        assert!(is_restricted(db, query), "{name}: {query}");
        db.stream(name, query);
    }
}

/// One side changes, the other, and both in one refresh, a few rows and many.
fn cycles(db: &mut Database) {
    for changes in [
        &["UPDATE part SET name = 'n3' WHERE id = 7"][..],
        &["UPDATE part SET name = 'n4' WHERE id = 13"],
        &["UPDATE line SET quantity = quantity + 1 WHERE part = 23"],
        &["UPDATE line SET quantity = quantity + 1 WHERE part = 24"],
        &["UPDATE line SET part = 33 WHERE part = 34"],
        &["DELETE FROM line WHERE part = 43"],
        &["UPDATE part SET name = 'n3' WHERE id = 8", "UPDATE line SET quantity = 9 WHERE part = 8"],
        &["UPDATE part SET name = 'x' WHERE id = 8", "DELETE FROM line WHERE part = 8"],
        &[
            "UPDATE part SET id = id + 1000 WHERE id = 53",
            "INSERT INTO line VALUES (6001, 1053, 1, 3), (6002, 53, 1, 3)",
        ],
        &["INSERT INTO part VALUES (310, 'n3', 1)", "UPDATE line SET supplier = NULL WHERE part = 310"],
        &["UPDATE part SET name = CASE name WHEN 'n3' THEN 'n4' WHEN 'n4' THEN 'n3' ELSE name END"],
        &["UPDATE line SET part = part + 1, quantity = 11 - quantity", "UPDATE part SET size = size + 1"],
        &["DELETE FROM part WHERE id % 3 = 0", "DELETE FROM line WHERE id % 5 = 0"],
        &["DELETE FROM line"],
        &["INSERT INTO line SELECT i, i % 320, i % 4, i % 11 FROM generate_series(1, 2000) AS i"],
    ] {
        db.cycle(changes);
    }
}

fn keys_come_and_go(db: &mut Database) {
    tables(db);
    streams(
        db,
        &[
            (
                "below",
                "SELECT l.id, l.quantity FROM line AS l JOIN part AS p ON p.id = l.part
                 WHERE p.name = 'n3' AND l.quantity < (SELECT 1.2 * avg(quantity) FROM line WHERE part = p.id)",
            ),
            (
                "counted",
                "SELECT p.id, p.size, (SELECT count(*) FROM line WHERE part = p.id) AS n FROM part AS p WHERE p.name = 'n3'",
            ),
            (
                "joined",
                "SELECT p.id, g.supplier, g.n, g.least FROM part AS p
                 JOIN (SELECT part, supplier, count(*) AS n, min(quantity) AS least FROM line GROUP BY part, supplier) AS g
                 ON g.part = p.id WHERE p.name = 'n3'",
            ),
            (
                "padded",
                "SELECT p.id, g.s, g.all_of_it FROM part AS p
                 LEFT JOIN (SELECT part, sum(quantity) AS s, string_agg(quantity::text, ',' ORDER BY id) AS all_of_it
                            FROM line GROUP BY part) AS g
                 ON g.part = p.id AND g.s > 3 WHERE p.name = 'n3'",
            ),
        ],
    );
    cycles(db);
}

fn groups_that_decide_about_rows(db: &mut Database) {
    tables(db);
    streams(
        db,
        &[
            (
                "stocked",
                "SELECT l.id FROM line AS l WHERE l.part IN (SELECT id FROM part WHERE name = 'n3')
                 AND l.quantity > (SELECT 0.5 * sum(quantity) FROM line AS m WHERE m.part = l.part AND m.supplier = l.supplier)",
            ),
            (
                "have",
                "SELECT p.id FROM part AS p WHERE p.name = 'n3'
                 AND p.id IN (SELECT part FROM line GROUP BY part HAVING sum(quantity) > 40)",
            ),
            (
                "lack",
                "SELECT p.id FROM part AS p WHERE p.name = 'n3'
                 AND NOT EXISTS (SELECT FROM line WHERE part = p.id GROUP BY part HAVING sum(quantity) > 40)",
            ),
            (
                "marked",
                "SELECT p.id, EXISTS (SELECT FROM line WHERE part = p.id GROUP BY part HAVING max(quantity) > 8) AS m
                 FROM part AS p WHERE p.name = 'n3'",
            ),
            (
                "chained",
                "SELECT l.id, g.n FROM line AS l JOIN part AS p ON l.part = p.id
                 JOIN (SELECT part, count(DISTINCT quantity) AS n FROM line GROUP BY part) AS g ON g.part = l.part
                 WHERE p.name LIKE 'n3%'",
            ),
        ],
    );
    cycles(db);
}

/// Where equal values differ, rows of one group may differ in whether their key is asked for.
fn columns_that_are_equal_and_not_the_same(db: &mut Database) {
    db.run(
        "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE part (id numeric PRIMARY KEY, code text COLLATE loose UNIQUE NOT NULL, name text);
         CREATE TABLE line (id int PRIMARY KEY, part numeric, code text COLLATE loose, small int2);
         CREATE TABLE small (id int PRIMARY KEY, name text);
         CREATE INDEX ON line (part); CREATE INDEX ON line (code); CREATE INDEX ON line (small);
         INSERT INTO part SELECT i, 'c' || i, 'n' || i % 10 FROM generate_series(1, 100) AS i;
         INSERT INTO small SELECT i, 'n' || i % 10 FROM generate_series(1, 100) AS i;
         INSERT INTO line SELECT i, (i % 100)::numeric(9, 2), 'C' || i % 100, i % 100 FROM generate_series(1, 1000) AS i;
         ANALYZE part, line, small",
    );
    for (name, query) in [
        (
            "numbers",
            "SELECT p.id, p.name, (SELECT count(*) FROM line WHERE part = p.id) AS n FROM part AS p WHERE p.name = 'n3'",
        ),
        (
            "codes",
            "SELECT p.id, p.name, (SELECT count(*) FROM line WHERE code = p.code) AS n FROM part AS p WHERE p.name = 'n3'",
        ),
        (
            "widths",
            "SELECT p.id, p.name, (SELECT count(*) FROM line WHERE small = p.id) AS n FROM small AS p WHERE p.name = 'n3'",
        ),
    ] {
        assert!(!is_restricted(db, query), "{name}");
        db.stream(name, query);
    }
    db.cycle(&["UPDATE line SET part = part::int, code = lower(code) WHERE id % 3 = 0"]);
    db.cycle(&["UPDATE part SET name = 'n3' WHERE id = 4", "UPDATE small SET name = 'n3' WHERE id = 4"]);
}

/// What is stored stays what it was when estimates or names change.
fn a_restriction_is_chosen_once(db: &mut Database) {
    tables(db);
    let counts = |name: &str| {
        format!(
            "SELECT p.id, (SELECT count(*) FROM line WHERE part = p.id) AS n FROM part AS p WHERE p.name = '{name}'"
        )
    };
    let (restricted, free) = (counts("n3"), counts("all"));
    assert!(is_restricted(db, &restricted));
    db.run("CREATE TABLE uncounted (LIKE part INCLUDING ALL); INSERT INTO uncounted TABLE part");
    assert!(!is_restricted(db, &restricted.replace("FROM part", "FROM uncounted")), "nothing is known of the table");
    db.stream("before", &restricted);
    db.run("UPDATE part SET name = 'all' WHERE name <> 'n3'; ANALYZE part");
    assert!(!is_restricted(db, &free), "most of the parts have that name");
    db.stream("after", &free);
    db.run("UPDATE part SET name = CASE name WHEN 'n3' THEN 'all' ELSE 'n3' END WHERE id % 10 IN (3, 4); ANALYZE part");
    db.cycle(&["UPDATE line SET quantity = 1 WHERE part = 3"]);
    // The wording of the query is read anew, twice.
    db.run("ALTER TABLE part RENAME COLUMN name TO label; ALTER TABLE line RENAME TO item; DROP INDEX line_part_supplier_idx");
    db.run("UPDATE part SET label = 'n3' WHERE id = 5; UPDATE item SET part = 5 WHERE part = 6");
    db.refresh("before");
    db.run("ALTER TABLE part RENAME COLUMN label TO name; ALTER TABLE item RENAME TO line");
    db.cycle(&["DELETE FROM line WHERE part = 5 AND id > 1000"]);
}

/// Two filtered tables could restrict the groups; the one that would be asked about first becomes unique afterwards.
fn a_key_that_comes_later_changes_nothing(db: &mut Database) {
    db.run(
        "CREATE TYPE mood AS ENUM ('a', 'b');
         CREATE TABLE a (id int PRIMARY KEY, kind int, mood mood DEFAULT 'a');
         CREATE TABLE b (id int, code int UNIQUE, kind int);
         CREATE TABLE x (id serial PRIMARY KEY, k int, v int);
         CREATE INDEX ON x (k);
         INSERT INTO a SELECT i, i % 10 FROM generate_series(1, 200) AS i;
         INSERT INTO b SELECT i, i, (i + 5) % 10 FROM generate_series(1, 100) AS i;
         INSERT INTO x (k, v) SELECT i % 220, i % 7 FROM generate_series(1, 2000) AS i;
         ANALYZE a, b, x",
    );
    streams(
        db,
        &[(
            "sums",
            "SELECT b.kind, count(*) AS n, sum(g.c) AS s FROM b JOIN a ON a.id = b.code
             JOIN (SELECT k, count(*) AS c FROM x GROUP BY k) AS g ON g.k = a.id
             WHERE a.kind = 3 AND a.mood = 'a' AND b.kind = 3 GROUP BY b.kind",
        )],
    );
    db.run("ALTER TABLE b ALTER code SET NOT NULL; ALTER TYPE mood RENAME TO temper");
    db.cycle(&["UPDATE a SET kind = 3 WHERE id = 8"]);
    db.cycle(&["UPDATE b SET kind = 4 WHERE code = 18", "UPDATE b SET kind = 3 WHERE code = 13"]);
}
