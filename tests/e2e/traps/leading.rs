//! Filters on ranks, and LIMIT: of each partition a few rows are stored. Boundary rows go, ties cross the boundary, partitions
//! shrink below what is stored and grow again.

use pgtrickle_tests::{Database, tests};

tests![
    mostly_deletions,
    mostly_insertions,
    boundaries_move,
    bounds_in_other_words,
    bounds_that_do_not_help,
    ranks_in_joins_and_above_aggregates,
    ranks_of_rows_without_a_key,
    orders_that_order_nothing,
    limits_of_null_and_nothing,
    changes_beyond_the_last_row_write_nothing,
    a_hot_partition_is_not_read_whole,
];

const QUERIES: [&str; 12] = [
    "SELECT * FROM (SELECT id, p, v, row_number() OVER (PARTITION BY p ORDER BY v, id) AS rn FROM t) AS q WHERE rn <= 3",
    "SELECT id, v FROM (SELECT id, p, v, row_number() OVER (PARTITION BY p ORDER BY v DESC NULLS FIRST, id DESC) AS rn FROM t) AS q WHERE rn = 1",
    "SELECT p, v FROM (SELECT p, v, rank() OVER (PARTITION BY p ORDER BY v NULLS FIRST) AS r FROM t) AS q WHERE r < 3",
    "SELECT * FROM (SELECT p, v, id, rank() OVER (PARTITION BY p ORDER BY v DESC NULLS LAST) AS r, dense_rank() OVER (PARTITION BY p ORDER BY v DESC NULLS LAST) AS d FROM t) AS q WHERE r <= 2",
    "SELECT id FROM (SELECT id, row_number() OVER (ORDER BY n DESC NULLS LAST, id) AS rn FROM t) AS q WHERE rn <= 5",
    "SELECT id, r FROM (SELECT id, rank() OVER (ORDER BY v NULLS FIRST) AS r FROM t) AS q WHERE r <= 4",
    "SELECT p, g, id FROM (SELECT p, g, id, row_number() OVER (PARTITION BY p, g ORDER BY n, id) AS rn FROM t) AS q WHERE 2 >= rn",
    "SELECT id, v FROM t ORDER BY v DESC NULLS FIRST, id LIMIT 4",
    "SELECT id, v FROM t ORDER BY v NULLS FIRST, id LIMIT 3 OFFSET 2",
    "SELECT v FROM t ORDER BY v FETCH FIRST 4 ROWS WITH TIES",
    "SELECT DISTINCT ON (p) p, id, v FROM t ORDER BY p, v DESC NULLS LAST, id",
    "SELECT c.p, x.id FROM (SELECT DISTINCT p FROM t) AS c, LATERAL (SELECT id FROM t WHERE t.p = c.p ORDER BY v NULLS FIRST, id LIMIT 2) AS x",
];

fn tables(db: &mut Database, rows: u32) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, p int, g text, v int, n numeric)");
    db.run(&format!(
        "INSERT INTO t SELECT i, nullif(i % 4, 3), nullif('g' || i % 3, 'g2'), nullif(i * 7 % 6, 5), i * 13 % 17 / 4.0 FROM generate_series(1, {rows}) AS i"
    ));
    for (number, query) in QUERIES.iter().enumerate() {
        db.stream(&format!("st{number}"), query);
    }
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// `cycles` cycles of a few writes each; of ten, `deletions` are deletions.
fn writes(db: &mut Database, cycles: u32, deletions: u64, seed: u64) {
    let mut numbers = Numbers(seed);
    let mut next = 1000 * seed;
    for _ in 0..cycles {
        let mut change = String::new();
        for _ in 0..=numbers.below(3) {
            let (p, v, id) = (numbers.below(5), numbers.below(7), numbers.below(next));
            let or_null = |value: u64, null: u64| if value == null { "NULL".into() } else { value.to_string() };
            let (p, v) = (or_null(p, 4), or_null(v, 6));
            if numbers.below(10) < deletions {
                change.push_str(&match numbers.below(3) {
                    0 => format!("DELETE FROM t WHERE id = (SELECT id FROM t WHERE p IS NOT DISTINCT FROM {p} ORDER BY v, id LIMIT 1);"),
                    1 => "DELETE FROM t WHERE id = (SELECT id FROM t ORDER BY v DESC NULLS FIRST, id LIMIT 1);".to_string(),
                    _ => format!("DELETE FROM t WHERE id % 9 = {};", id % 9),
                });
            } else if numbers.below(3) == 0 {
                change.push_str(&format!("UPDATE t SET p = {p}, v = {v} WHERE id % 11 = {};", id % 11));
            } else {
                change.push_str(&format!("INSERT INTO t VALUES ({next}, {p}, 'g{}', {v}, {});", id % 2, id % 9));
                next += 1;
            }
        }
        db.cycle(&[&change]);
    }
}

fn mostly_deletions(db: &mut Database) {
    tables(db, 120);
    writes(db, 40, 7, 1);
    db.run("INSERT INTO t SELECT i, i % 3, 'g1', i % 4, 1 FROM generate_series(1500, 1560) AS i");
    writes(db, 25, 8, 2);
}

fn mostly_insertions(db: &mut Database) {
    tables(db, 10);
    writes(db, 40, 3, 3);
}

fn boundaries_move(db: &mut Database) {
    tables(db, 60);
    db.cycle(&["UPDATE t SET v = 0"]);
    db.cycle(&["DELETE FROM t WHERE id > 30"]);
    db.cycle(&["UPDATE t SET v = id"]);
    db.cycle(&["UPDATE t SET v = NULL WHERE id % 2 = 0"]);
    db.cycle(&["UPDATE t SET v = -id WHERE v IS NULL; DELETE FROM t WHERE p = 1"]);
    db.cycle(&["INSERT INTO t SELECT i, 1, NULL, i % 2, 0 FROM generate_series(100, 150) AS i"]);
    db.cycle(&["UPDATE t SET p = 2 WHERE p = 1; UPDATE t SET p = 1 WHERE id < 10"]);
    db.cycle(&["DELETE FROM t"]);
    db.cycle(&["INSERT INTO t VALUES (1, 1, 'x', 1, 1), (2, 1, 'x', 1, 1.0), (3, NULL, NULL, NULL, NULL)"]);
    db.cycle_in_full(&["TRUNCATE t"]);
    db.cycle(&[
        "INSERT INTO t SELECT i, i % 2, 'g', i, i FROM generate_series(1, 30) AS i",
        "DELETE FROM t WHERE id < 6",
    ]);
}

fn small(db: &mut Database) {
    db.run("CREATE TABLE s (id int PRIMARY KEY, p int, v int); CREATE TABLE u (p int, v int)");
    db.run("INSERT INTO s SELECT i, i % 3, i % 5 FROM generate_series(1, 40) AS i; INSERT INTO u SELECT i % 3, i % 4 FROM generate_series(1, 40) AS i");
}

fn over_changes(db: &mut Database, queries: &[&str]) {
    small(db);
    for (number, query) in queries.iter().enumerate() {
        db.stream(&format!("st{number}"), query);
    }
    db.cycle(&["DELETE FROM s WHERE v = 0; DELETE FROM u WHERE v = 0"]);
    db.cycle(&["INSERT INTO s VALUES (100, 1, 0), (101, NULL, 0), (102, 5, 9); INSERT INTO u VALUES (1, 0), (1, 0), (NULL, NULL)"]);
    db.cycle(&["UPDATE s SET p = 1 WHERE p = 2; UPDATE u SET v = v + 1 WHERE p = 1"]);
    db.cycle(&["DELETE FROM s WHERE p = 1 AND v < 3; DELETE FROM u WHERE p = 1 AND v < 3"]);
    db.cycle(&["DELETE FROM s WHERE id < 35; DELETE FROM u"]);
    db.cycle(&["INSERT INTO s SELECT i, 1, i FROM generate_series(200, 220) AS i; INSERT INTO u SELECT 1, i FROM generate_series(1, 9) AS i"]);
}

fn bounds_in_other_words(db: &mut Database) {
    over_changes(
        db,
        &[
            "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY p ORDER BY v, id) AS rn FROM s) AS q WHERE rn < 3 AND id > 2",
            "SELECT id, rn FROM (SELECT id, v, row_number() OVER (PARTITION BY p ORDER BY v, id) AS rn FROM s) AS q WHERE rn BETWEEN 2 AND 3",
            "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY p ORDER BY v, id) AS rn FROM s) AS q WHERE 3::bigint > rn",
            "SELECT id FROM (SELECT id, rn FROM (SELECT id, row_number() OVER (PARTITION BY p, v % 2 ORDER BY v, id) AS rn FROM s) AS q) AS q WHERE rn = 1",
            "WITH best AS (SELECT *, row_number() OVER (PARTITION BY p ORDER BY v DESC, id) AS rn FROM s) SELECT p, sum(v) AS s FROM best WHERE rn <= 2 GROUP BY p",
            "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY p ORDER BY v, id) AS rn FROM s) AS q WHERE rn < 1",
        ],
    );
}

fn bounds_that_do_not_help(db: &mut Database) {
    over_changes(
        db,
        &[
            "SELECT id, c FROM (SELECT id, row_number() OVER (PARTITION BY p ORDER BY v, id) AS rn, count(*) OVER (PARTITION BY p) AS c FROM s) AS q WHERE rn <= 2",
            "SELECT id, d FROM (SELECT id, dense_rank() OVER (PARTITION BY p ORDER BY v) AS d FROM s) AS q WHERE d <= 2",
            "SELECT id, rn FROM (SELECT id, row_number() OVER (PARTITION BY p ORDER BY v, id) AS rn FROM s) AS q WHERE rn >= 2",
            "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY p ORDER BY v, id) AS rn FROM s) AS q WHERE rn <= 2 OR id = 7",
            "SELECT id, after FROM (SELECT id, row_number() OVER w AS rn, lead(id) OVER w AS after FROM s WINDOW w AS (PARTITION BY p ORDER BY v, id)) AS q WHERE rn <= 2",
            "SELECT id FROM (SELECT id, ntile(2) OVER (PARTITION BY p ORDER BY v, id) AS n FROM s) AS q WHERE n <= 1",
        ],
    );
}

fn ranks_in_joins_and_above_aggregates(db: &mut Database) {
    over_changes(
        db,
        &[
            "SELECT u.v, q.id FROM u JOIN (SELECT id, p, row_number() OVER (PARTITION BY p ORDER BY v, id) AS rn FROM s) AS q ON q.p = u.p AND q.rn = 1",
            "SELECT a.id, b.id AS other FROM (SELECT id, p, row_number() OVER (PARTITION BY p ORDER BY v, id) AS rn FROM s) AS a JOIN (SELECT id, p, rank() OVER (PARTITION BY p ORDER BY v DESC) AS r FROM s) AS b ON b.p = a.p WHERE a.rn <= 2 AND b.r = 1",
            "SELECT p, v, n FROM (SELECT p, v, count(*) AS n, rank() OVER (PARTITION BY p ORDER BY count(*) DESC) AS r FROM u GROUP BY p, v) AS q WHERE r <= 1",
            "SELECT id, (SELECT q.v FROM (SELECT p, v, row_number() OVER (PARTITION BY p ORDER BY v) AS rn FROM u) AS q WHERE q.p = s.p AND q.rn = 1) AS least FROM s",
            "SELECT q.id FROM (SELECT s.id, u.v, row_number() OVER (PARTITION BY s.id ORDER BY u.v DESC) AS rn FROM s JOIN u ON u.p = s.p) AS q WHERE q.rn <= 1",
        ],
    );
}

fn ranks_of_rows_without_a_key(db: &mut Database) {
    over_changes(
        db,
        &[
            "SELECT p, v FROM (SELECT p, v, row_number() OVER (PARTITION BY p ORDER BY v) AS rn FROM u) AS q WHERE rn <= 2",
            "SELECT p, v, r FROM (SELECT p, v, rank() OVER (PARTITION BY p ORDER BY v DESC NULLS FIRST) AS r FROM u) AS q WHERE r <= 3",
            "SELECT v FROM (SELECT v, rank() OVER (ORDER BY v) AS r FROM u) AS q WHERE r <= 3",
            "SELECT v FROM u ORDER BY v DESC NULLS LAST LIMIT 5",
            "SELECT v FROM u ORDER BY v FETCH FIRST 2 ROWS WITH TIES",
        ],
    );
}

fn orders_that_order_nothing(db: &mut Database) {
    over_changes(
        db,
        &[
            "SELECT id, r FROM (SELECT id, rank() OVER (PARTITION BY p) AS r FROM s) AS q WHERE r <= 2",
            "SELECT id, r FROM (SELECT id, rank() OVER (ORDER BY 1) AS r FROM s) AS q WHERE r = 1",
            "SELECT v FROM u ORDER BY 7 + 0 FETCH FIRST 2 ROWS WITH TIES",
        ],
    );
}

fn limits_of_null_and_nothing(db: &mut Database) {
    over_changes(
        db,
        &[
            "SELECT id FROM s ORDER BY v, id LIMIT NULL",
            "SELECT id FROM s ORDER BY v, id LIMIT 0",
            "SELECT id FROM s ORDER BY v, id LIMIT ALL OFFSET 3",
            "SELECT id FROM s ORDER BY v, id LIMIT 9223372036854775807",
            "SELECT id FROM s ORDER BY v, id LIMIT 9223372036854775807 OFFSET 2",
            "SELECT id FROM s ORDER BY v, id LIMIT 2 + 1 OFFSET NULL",
            "SELECT id FROM s ORDER BY v, id LIMIT 2 OFFSET 1000",
        ],
    );
}

fn changes_beyond_the_last_row_write_nothing(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, p int NOT NULL, v int NOT NULL); INSERT INTO t SELECT i, i % 2, i FROM generate_series(1, 200) AS i");
    db.stream("best", "SELECT p, id, rn FROM (SELECT p, id, row_number() OVER (PARTITION BY p ORDER BY v, id) AS rn FROM t) AS q WHERE rn <= 3");
    let state = db.text("SELECT relid::regclass::text FROM (SELECT oid AS relid FROM pg_class WHERE relnamespace = 'pgtrickle_state'::regnamespace AND relkind = 'r') AS s");
    let written = format!("SELECT id, xmin FROM best AS s UNION ALL SELECT c1, xmin FROM {state} ORDER BY 1");
    let before = db.lines(&written);
    assert!(before.len() < 30, "a few rows of each partition are stored: {before:?}");
    db.cycle(&[
        "UPDATE t SET v = v + 1 WHERE id > 100; DELETE FROM t WHERE id = 150; INSERT INTO t VALUES (500, 1, 300)",
    ]);
    assert_eq!(db.lines(&written), before);
    db.cycle(&["DELETE FROM t WHERE id = 2"]);
    assert_ne!(db.lines(&written), before);
}

fn a_hot_partition_is_not_read_whole(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, p int NOT NULL, v int NOT NULL); CREATE INDEX ON t (p, v, id)");
    db.run("INSERT INTO t SELECT i, i % 3, i FROM generate_series(1, 30000) AS i; ANALYZE t");
    db.stream("best", "SELECT p, id FROM (SELECT p, id, row_number() OVER (PARTITION BY p ORDER BY v, id) AS rn FROM t) AS q WHERE rn <= 2");
    db.stream("first", "SELECT DISTINCT ON (p) p, id, v FROM t ORDER BY p, v, id");
    db.stream("top", "SELECT id, p, v FROM t ORDER BY p, v, id LIMIT 2");
    for round in 0..20 {
        // Until the spare rows are used up, and the first ones are looked up anew.
        db.run(&format!("DELETE FROM t WHERE id IN ({}, {})", 3 * round + 3, 3 * round + 1));
        db.run("BEGIN");
        let read = "SELECT pg_stat_get_xact_tuples_returned('t'::regclass) + coalesce(sum(pg_stat_get_xact_tuples_returned(indexrelid)), 0) FROM pg_index WHERE indrelid = 't'::regclass";
        let before = db.number(read);
        db.refresh_all();
        let rows = db.number(read) - before;
        db.run("COMMIT");
        assert!(rows < 500, "round {round} read {rows} rows");
        db.check();
    }
    assert_eq!(db.fallback(), None);
}
