//! Changes of some thousand rows: consolidated in memory and applied row by row, or by statements where they do not fit.

use pgtrickle_tests::{Database, tests};

tests![
    in_memory,
    beyond_memory,
    one_image_many_times,
    values_with_one_digest,
    a_table_smaller_than_its_change,
    chains_of_changed_tables,
    first_rows_of_changed_tables
];

fn tables(db: &mut Database) {
    db.run(
        "CREATE TABLE f (id int PRIMARY KEY, a int, b int NOT NULL, v numeric(12,2), note text);
         CREATE TABLE g (a int, b int, v numeric(8,1), note text);
         INSERT INTO f SELECT i, nullif(i % 300, 7), i % 7, i * 0.01, repeat('n', i % 50) FROM generate_series(1, 3000) AS i;
         INSERT INTO g SELECT nullif(i % 310, 9), nullif(i % 5, 4), i % 40, 'g' || i % 3 FROM generate_series(1, 1500) AS i;
         ANALYZE f; ANALYZE g",
    );
    for (name, query) in [
        ("keyed", "SELECT id, v, note FROM f"),
        ("few", "SELECT id, v FROM f WHERE b < 3 AND v > 1"),
        ("bag", "SELECT a, v, note FROM g"),
        ("groups", "SELECT a, count(*) AS n, sum(v) AS s, max(v) AS hi, min(note) AS lo FROM f GROUP BY a"),
        ("present", "SELECT id, v FROM f WHERE EXISTS (SELECT FROM g WHERE g.a = f.a AND g.b <> f.b)"),
        ("absent", "SELECT a, v FROM g WHERE NOT EXISTS (SELECT FROM f WHERE f.a = g.a AND f.b > g.b AND f.v > g.v)"),
        ("marked", "SELECT id, v > 20 OR EXISTS (SELECT FROM g WHERE g.a = f.a AND g.b > f.b) AS mark FROM f"),
        ("kept", "SELECT f.id, g.b, g.note FROM f LEFT JOIN g ON g.a = f.a AND g.b < f.b"),
        ("joined", "SELECT f.id, g.v FROM f JOIN g ON g.a = f.a AND g.b = f.b"),
        ("first", "SELECT id, v FROM f ORDER BY v DESC, id LIMIT 50"),
        ("ranked", "SELECT id, rank() OVER (PARTITION BY a ORDER BY v) AS place FROM f"),
    ] {
        db.stream(name, query);
    }
}

fn change(db: &mut Database) {
    db.cycle(&["UPDATE f SET v = v + 0.01 WHERE id % 3 = 0"]);
    db.cycle(&["UPDATE g SET b = (coalesce(b, 0) + 1) % 5, note = note || 'x' WHERE v > 10"]);
    db.cycle(&["UPDATE f SET b = (b + 2) % 7, a = a + 1 WHERE id % 2 = 0", "DELETE FROM g WHERE b = 2"]);
    db.cycle(&[
        "INSERT INTO g SELECT i % 310, i % 6, i % 30, NULL FROM generate_series(1, 900) AS i",
        "UPDATE g SET v = v + 1 WHERE a % 2 = 0",
        "DELETE FROM g WHERE note IS NULL AND a % 4 = 0",
    ]);
    db.cycle(&["UPDATE f SET id = -id WHERE id % 5 = 0", "UPDATE f SET note = NULL WHERE b = 1"]);
    // The highest go, and change nothing else.
    db.cycle(&["DELETE FROM f WHERE v > 25"]);
    db.cycle(&["INSERT INTO f SELECT i, i % 300, i % 7, i * 0.01, 'back' FROM generate_series(5001, 6000) AS i"]);
    db.cycle(&[
        "UPDATE f SET v = v",
        "UPDATE f SET v = v + 1 WHERE id > 5000",
        "UPDATE f SET v = v - 1 WHERE id > 5000",
    ]);
}

fn in_memory(db: &mut Database) {
    tables(db);
    change(db);
}

fn beyond_memory(db: &mut Database) {
    db.run("SET work_mem = '64kB'; SET maintenance_work_mem = '64kB'");
    tables(db);
    change(db);
}

fn one_image_many_times(db: &mut Database) {
    db.run("CREATE TABLE t (v numeric, j json); CREATE TYPE pair AS (v numeric, n int); CREATE TABLE u (r pair)");
    db.stream("images", "SELECT v, j FROM t");
    db.stream("sums", "SELECT v, count(*) AS n FROM t GROUP BY v");
    db.stream("records", "SELECT r FROM u");
    db.cycle(&["INSERT INTO t SELECT 1.0, '{}' FROM generate_series(1, 1000); INSERT INTO t SELECT 1.00, '{ }' FROM generate_series(1, 1000)"]);
    db.cycle(&["DELETE FROM t WHERE ctid IN (SELECT ctid FROM t WHERE v::text = '1.0' LIMIT 700)"]);
    db.cycle(&["UPDATE t SET v = 1.00 WHERE v::text = '1.0'", "UPDATE t SET j = '{}'"]);
    db.cycle(&["UPDATE t SET v = -v", "UPDATE t SET v = -v"]);
    db.cycle(&["INSERT INTO u SELECT ROW(v, 1)::pair FROM t LIMIT 800"]);
    db.cycle(&["UPDATE u SET r = ROW(NULL, 2)::pair WHERE ctid IN (SELECT ctid FROM u LIMIT 600)"]);
}

fn values_with_one_digest(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, h text, b varbit UNIQUE NOT NULL)");
    db.stream("long", "SELECT h FROM t");
    db.stream("bits", "SELECT b, h FROM t");
    let rows = |from, to| {
        format!("INSERT INTO t SELECT i, repeat(md5(i::text), 10), i::bit(20) FROM generate_series({from}, {to}) AS i")
    };
    db.cycle(&[&rows(1, 3000)]);
    db.cycle(&["UPDATE t SET h = repeat(md5((id + 1)::text), 10) WHERE id % 2 = 0", "DELETE FROM t WHERE id % 7 = 0"]);
    db.run("ALTER TABLE t ALTER h SET STORAGE EXTERNAL");
    db.cycle(&[
        "UPDATE t SET h = repeat(h, 20) WHERE id % 5 = 0",
        "UPDATE t SET b = (id + 10000)::bit(20) WHERE id % 3 = 0",
    ]);
    db.cycle(&[&rows(3001, 3400), "DELETE FROM t WHERE id % 5 = 0"]);
}

fn a_table_smaller_than_its_change(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int)");
    db.stream("copies", "SELECT id, v FROM t");
    db.stream("bag", "SELECT v FROM t");
    db.cycle(&["INSERT INTO t SELECT i, i % 10 FROM generate_series(1, 5000) AS i"]);
    db.cycle(&["DELETE FROM t WHERE id > 20"]);
    db.cycle(&["INSERT INTO t SELECT i, i % 10 FROM generate_series(21, 4000) AS i; UPDATE t SET v = v + 1"]);
    db.cycle(&["DELETE FROM t"]);
}

fn chains_of_changed_tables(db: &mut Database) {
    db.run(
        "CREATE TABLE r (id int PRIMARY KEY, name text); CREATE TABLE n (id int PRIMARY KEY, r int, name text);
         CREATE TABLE c (id int PRIMARY KEY, n int); CREATE TABLE o (id int PRIMARY KEY, c int, at int); CREATE TABLE l (o int, s int, v int);
         CREATE TABLE s (id int PRIMARY KEY, n int);
         INSERT INTO r SELECT i, 'r' || i FROM generate_series(0, 4) AS i; INSERT INTO n SELECT i, i % 5, 'n' || i FROM generate_series(0, 24) AS i;
         INSERT INTO c SELECT i, i % 25 FROM generate_series(1, 200) AS i; INSERT INTO s SELECT i, i % 26 FROM generate_series(1, 60) AS i;
         INSERT INTO o SELECT i, i % 210, i % 9 FROM generate_series(1, 900) AS i; INSERT INTO l SELECT i % 900, i % 61, i FROM generate_series(1, 2500) AS i",
    );
    let from = "FROM c JOIN o ON o.c = c.id JOIN l ON l.o = o.id JOIN s ON s.id = l.s AND s.n = c.n JOIN n ON n.id = s.n JOIN r ON r.id = n.r";
    db.stream(
        "by_nation",
        &format!("SELECT n.name, count(*), sum(l.v) {from} WHERE r.name = 'r1' AND o.at < 5 GROUP BY n.name"),
    );
    db.stream("lines", &format!("SELECT l.v, n.name, o.id {from} WHERE o.at > 2"));
    db.stream(
        "two_nations",
        "SELECT a.name AS a, b.name AS b, sum(l.v) FROM s JOIN l ON l.s = s.id JOIN o ON o.id = l.o JOIN c ON c.id = o.c \
         JOIN n AS a ON a.id = s.n JOIN n AS b ON b.id = c.n WHERE a.r = 1 OR b.r = 2 GROUP BY a.name, b.name",
    );
    for _ in 0..2 {
        db.cycle(&["UPDATE l SET v = v + 1 WHERE v % 2 = 0", "UPDATE s SET n = (n + 1) % 25 WHERE id % 3 = 0"]);
        db.cycle(&[
            "UPDATE n SET r = (r + 1) % 5 WHERE id % 4 = 0",
            "UPDATE c SET n = (n + 7) % 26 WHERE id % 5 = 0",
            "DELETE FROM o WHERE id % 17 = 0",
            "INSERT INTO l SELECT i % 900, i % 61, i FROM generate_series(1, 700) AS i",
            "UPDATE r SET name = 'r' || (id + 1) % 5",
        ]);
        db.cycle(&[
            "INSERT INTO o SELECT i * 17, i, i % 9 FROM generate_series(1, 50) AS i ON CONFLICT DO NOTHING",
            "DELETE FROM l WHERE v % 11 = 0",
        ]);
    }
}

/// Where an index yields the first rows, they are read anew instead of many changes.
fn first_rows_of_changed_tables(db: &mut Database) {
    db.run(
        "CREATE TABLE f (id int PRIMARY KEY, g int, v numeric, note text);
         CREATE TABLE names (g int PRIMARY KEY, name text NOT NULL);
         INSERT INTO f SELECT i, i % 40, i % 5000 * 0.1, 'n' || i % 9 FROM generate_series(1, 20000) AS i;
         INSERT INTO names SELECT i, 'g' || i FROM generate_series(0, 35) AS i;
         CREATE INDEX ON f (v); CREATE INDEX ON f (v DESC NULLS LAST); ANALYZE f; ANALYZE names",
    );
    for (name, query) in [
        ("highest", "SELECT id, v FROM f ORDER BY v DESC NULLS LAST, id LIMIT 20"),
        ("lowest", "SELECT id, v, note FROM f ORDER BY v, id OFFSET 5 LIMIT 10"),
        ("tied", "SELECT id, v FROM f WHERE v IS NOT NULL ORDER BY v DESC FETCH FIRST 7 ROWS WITH TIES"),
        ("bag", "SELECT v, note FROM f ORDER BY v, note, id LIMIT 15"),
        (
            "named",
            "SELECT f.id, f.v, n.name FROM f JOIN names n ON n.g = f.g ORDER BY f.v DESC NULLS LAST, f.id LIMIT 12",
        ),
        (
            "above",
            "SELECT name, count(*) AS n FROM (SELECT * FROM f ORDER BY v DESC NULLS LAST, id LIMIT 30) AS t JOIN names USING (g) GROUP BY name",
        ),
        ("sums", "SELECT sum(v) AS s, count(*) AS n FROM (SELECT v FROM f ORDER BY v, id LIMIT 25) AS t"),
    ] {
        db.stream(name, query);
    }
    for change in [
        "UPDATE f SET v = v + 1 WHERE id % 3 = 0",
        "UPDATE f SET v = 900 WHERE id = 17",
        "DELETE FROM f WHERE v > 450",
        "UPDATE f SET v = NULL WHERE id % 4 = 0; UPDATE names SET name = name || '!' WHERE g < 9",
        "INSERT INTO f SELECT i, i % 40, 900 - i % 700, 'late' FROM generate_series(30001, 33000) AS i; DELETE FROM names WHERE g = 3",
        "DELETE FROM f WHERE id = (SELECT id FROM f ORDER BY v DESC NULLS LAST, id LIMIT 1)",
        "DELETE FROM f WHERE id % 10 > 0",
        "UPDATE f SET note = note || '+', g = (g + 1) % 36",
        "TRUNCATE f; INSERT INTO f SELECT i, i % 40, i, 'anew' FROM generate_series(1, 600) AS i",
        "DELETE FROM f WHERE id > 8",
    ] {
        if change.starts_with("TRUNCATE") {
            db.cycle_in_full(&[change]);
        } else {
            db.cycle(&[change]);
        }
    }
    db.run("INSERT INTO f SELECT i, i % 40, i, 'more' FROM generate_series(1001, 9000) AS i; ANALYZE f");
    db.refresh_all();
    db.run("UPDATE f SET v = v + 1");
    let plans =
        "SELECT value FROM pgtrickle.explain_st('highest', with_analyze => true) WHERE property = 'explain_analyze'";
    let plans = db.text(plans);
    assert!(plans.contains("on f") && !plans.contains("Seq Scan on f"), "{plans}");
    db.cycle(&["UPDATE f SET v = v + 1 WHERE id < 1010"]);
    // Whoever wants a recomputation gets one.
    db.run("SELECT pgtrickle.alter_stream_table('highest', refresh_mode => 'AUTO'); SET pg_trickle.refresh_strategy = full; UPDATE f SET v = v + 1");
    db.refresh("highest");
    assert_eq!(
        db.text("SELECT effective_refresh_mode FROM pgtrickle.pgt_stream_tables WHERE pgt_name = 'highest'"),
        "FULL"
    );
    db.run("RESET pg_trickle.refresh_strategy; SELECT pgtrickle.alter_stream_table('highest', refresh_mode => 'DIFFERENTIAL')");
    db.refresh_all();
    db.check();
}
