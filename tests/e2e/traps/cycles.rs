//! SEARCH and CYCLE: columns of anonymous records, and arrays of them.

use pgtrickle_tests::{Database, create, tests};

tests![
    cycles_come_and_go,
    marks_of_every_type,
    keys_of_several_columns,
    rows_in_the_order_of_a_search,
    search_and_cycle_together,
    clauses_inside_other_queries,
    paths_that_are_computed_with,
    records_in_other_places,
    records_themselves_are_no_columns,
    values_that_are_toasted,
    values_that_keep_no_record,
    marks_that_are_printed_twice,
];

fn graph(db: &mut Database) {
    db.run("CREATE TABLE edge (a int, b int, weight int); CREATE TABLE root (id int)");
    db.run("INSERT INTO edge SELECT i, i + 1 + i % 3, i % 5 FROM generate_series(1, 9) AS i");
    db.run("INSERT INTO edge VALUES (1, 2, 0), (1, 2, 0), (NULL, 3, 1), (3, NULL, 1), (6, 4, 1)");
    db.run("INSERT INTO root VALUES (1), (3), (3), (NULL)");
}

/// Changes that make cycles and break them.
fn change(db: &mut Database) {
    db.cycle(&["INSERT INTO edge VALUES (4, 1, 2)", "INSERT INTO root VALUES (6)"]);
    db.cycle(&["DELETE FROM edge WHERE a = 6"]);
    db.cycle(&["INSERT INTO edge VALUES (6, 4, 2), (6, 6, 0), (10, 1, 1)", "DELETE FROM root WHERE id IS NULL"]);
    db.cycle(&["UPDATE edge SET weight = weight + 1 WHERE a < 4; UPDATE root SET id = id + 1 WHERE id = 3"]);
    db.cycle(&[
        "DELETE FROM edge WHERE a = 1 AND b = 2; INSERT INTO edge VALUES (1, 4, NULL); INSERT INTO root VALUES (NULL)",
    ]);
    db.cycle(&["UPDATE edge SET b = NULL WHERE a = 5; DELETE FROM root WHERE id = 6", "DELETE FROM edge WHERE a = b"]);
    db.cycle(&["DELETE FROM root"]);
    db.cycle(&["INSERT INTO root VALUES (2), (2)"]);
}

const WALK: &str =
    "WITH RECURSIVE r (id) AS (SELECT id FROM root UNION ALL SELECT e.b FROM r JOIN edge AS e ON e.a = r.id)";

fn cycles_come_and_go(db: &mut Database) {
    graph(db);
    db.stream("marked", &format!("{WALK} CYCLE id SET again USING path SELECT id, again FROM r"));
    db.stream("shown", &format!("{WALK} CYCLE id SET again USING path SELECT id, again, path::text AS path FROM r"));
    db.stream(
        "left_out",
        &format!("{WALK} CYCLE id SET again USING path SELECT id, count(*) AS ways FROM r WHERE NOT again GROUP BY id"),
    );
    db.stream("once", "WITH RECURSIVE r (id) AS (SELECT id FROM root UNION SELECT e.b FROM r JOIN edge AS e ON e.a = r.id) CYCLE id SET again USING path SELECT id, again, path::text AS path FROM r");
    change(db);
    assert_eq!(db.fallback(), None);
}

fn marks_of_every_type(db: &mut Database) {
    graph(db);
    db.run("CREATE TYPE pg_temp.gone AS ENUM ('x'); CREATE SCHEMA \"Odd one\"; CREATE TYPE \"Odd one\".mark AS ENUM ('it''s', 'n\\o'); CREATE EXTENSION citext");
    let marks = [
        ("text", "TO 'Y' DEFAULT 'N'"),
        ("quoted", r"TO 'it''s' DEFAULT '\'"),
        ("number", "TO 1 DEFAULT 0"),
        ("fraction", "TO 1 DEFAULT 0.50"),
        ("negative", "TO integer '-1' DEFAULT 7"),
        ("reverse", "TO false DEFAULT true"),
        ("missing", "TO 'Y' DEFAULT NULL"),
        ("day", "TO date '2020-02-29' DEFAULT date 'infinity'"),
        (
            "moment",
            "TO timestamptz(0) '2020-02-29 10:00:00.7+01' DEFAULT timestamp(3) with time zone '2021-01-01 00:00+00'",
        ),
        ("span", "TO interval '1' day DEFAULT interval '2 hours'"),
        ("padded", "TO char(3) 'a' DEFAULT char(3) 'b'"),
        ("label", r#"TO "Odd one".mark 'it''s' DEFAULT "Odd one".mark 'n\o'"#),
        ("coarse", "TO public.citext 'Y' DEFAULT public.citext 'n'"),
        ("bits", "TO B'101' DEFAULT B'010'"),
        ("list", "TO pg_catalog._int4 '{1,2}' DEFAULT pg_catalog._int4 '{}'"),
    ];
    for (name, mark) in marks {
        let query = format!("{WALK} CYCLE id SET again {mark} USING path SELECT id, again FROM r");
        db.stream(&format!("mark_{name}"), &query);
        let arguments = "schedule => '1h', refresh_mode => 'FULL'";
        db.run(&create(&format!("full_{name}"), &query, arguments));
    }
    db.cycle(&["INSERT INTO edge VALUES (4, 1, 2)", "INSERT INTO root VALUES (6)"]);
    db.cycle(&["DELETE FROM edge WHERE a = 6; DELETE FROM root WHERE id = 3"]);
    // The query is compiled anew from its text.
    db.run("ALTER TABLE edge RENAME TO arc; ALTER TABLE arc RENAME a TO source");
    db.run("ALTER TYPE \"Odd one\".mark RENAME TO \"Mark\"");
    db.run("INSERT INTO arc VALUES (6, 3, 1)");
    db.refresh_all();
    assert_eq!(db.fallback(), None);
}

fn keys_of_several_columns(db: &mut Database) {
    graph(db);
    db.run("CREATE TABLE leg (a text COLLATE \"C\", b text COLLATE \"C\", price numeric, stop point, at timestamptz)");
    db.run("INSERT INTO leg VALUES ('x', 'y', 1.0, '(1,1)', '2020-01-01 00:00+00'), ('y', 'x', 1.00, '(1,1)', '2020-01-01 00:00+00'), ('y', 'z', NULL, NULL, NULL), ('z', 'y', NULL, NULL, NULL), (NULL, 'x', 2, NULL, NULL)");
    db.stream("two_keys", "WITH RECURSIVE r (id, w) AS (SELECT id, 0 FROM root UNION ALL SELECT e.b, e.weight % 2 FROM r JOIN edge AS e ON e.a = r.id) CYCLE id, w SET again USING path SELECT id, w, again, cardinality(path) AS n FROM r");
    db.stream("equal_keys", "WITH RECURSIVE r (name, price) AS (SELECT a, price FROM leg UNION ALL SELECT leg.b, leg.price FROM r JOIN leg ON leg.a = r.name) CYCLE name, price SET again TO 'Y' DEFAULT 'N' USING path SELECT name, price, again, path::text AS path FROM r");
    db.stream("other_columns", "WITH RECURSIVE r (name, stop, at) AS (SELECT a, stop::text, at FROM leg UNION ALL SELECT leg.b, leg.stop::text, leg.at FROM r JOIN leg ON leg.a = r.name) CYCLE name, at SET again USING path SELECT name, stop, at, again FROM r");
    db.cycle(&[
        "INSERT INTO leg VALUES ('x', 'y', 1.000, '(1,1)', '2020-01-01 00:00+00'), (NULL, NULL, NULL, NULL, NULL)",
    ]);
    db.cycle(&["UPDATE leg SET price = 1 WHERE price IS NULL; DELETE FROM leg WHERE a IS NULL"]);
    db.cycle(&["DELETE FROM leg WHERE a = 'z'; INSERT INTO leg VALUES ('z', 'x', 1, NULL, '2021-01-01 00:00+00')"]);
    change(db);
    assert_eq!(db.fallback(), None);
}

fn tree(db: &mut Database) {
    db.run("CREATE TABLE node (id int PRIMARY KEY, parent int, name text)");
    db.run("INSERT INTO node SELECT i, nullif(i / 3, 0), 'n' || (i * 7) % 11 FROM generate_series(1, 30) AS i");
}

const BELOW: &str = "WITH RECURSIVE t (id, name) AS (SELECT id, name FROM node WHERE parent IS NULL UNION ALL SELECT n.id, n.name FROM node AS n JOIN t ON n.parent = t.id)";

fn rows_in_the_order_of_a_search(db: &mut Database) {
    tree(db);
    for order in ["depth", "breadth"] {
        let with = format!("{BELOW} SEARCH {order} FIRST BY name, id SET place");
        db.stream(&format!("first_{order}"), &format!("{with} SELECT id, name FROM t ORDER BY place LIMIT 7"));
        db.stream(
            &format!("last_{order}"),
            &format!("{with} SELECT id, name FROM t ORDER BY place DESC OFFSET 2 LIMIT 3"),
        );
        db.stream(&format!("numbered_{order}"), &format!("{with} SELECT id, row_number() OVER (ORDER BY place) AS n, lag(id) OVER (ORDER BY place) AS before FROM t"));
        db.stream(
            &format!("shown_{order}"),
            &format!("{with} SELECT id, place::text AS place, to_json(place)::text AS j FROM t"),
        );
    }
    db.stream("best", &format!("{BELOW} SEARCH DEPTH FIRST BY id SET place SELECT DISTINCT ON (name) name, id FROM t ORDER BY name, place DESC"));
    db.stream("listed", &format!("{BELOW} SEARCH DEPTH FIRST BY name, id SET place SELECT string_agg(name, ' ' ORDER BY place) AS list FROM t"));
    db.stream(
        "depths",
        &format!(
            "{BELOW} SEARCH BREADTH FIRST BY id SET place SELECT id, row_to_json(place)->>'*DEPTH*' AS depth FROM t"
        ),
    );
    db.cycle(&["INSERT INTO node VALUES (50, 13, 'x'), (51, 50, NULL), (52, NULL, 'n1')"]);
    db.cycle(&["DELETE FROM node WHERE id = 4", "UPDATE node SET name = NULL WHERE id IN (2, 7)"]);
    db.cycle(&["UPDATE node SET name = 'a' || name WHERE id % 4 = 1; UPDATE node SET parent = 2 WHERE id = 50"]);
    db.cycle(&["INSERT INTO node VALUES (4, 1, 'back'); UPDATE node SET parent = NULL WHERE id = 3"]);
    db.cycle(&["DELETE FROM node WHERE parent IS NULL"]);
    db.cycle(&["UPDATE node SET parent = NULL WHERE id = 5"]);
    assert_eq!(db.fallback(), None);
}

fn search_and_cycle_together(db: &mut Database) {
    graph(db);
    let clauses = "SEARCH DEPTH FIRST BY id SET place CYCLE id SET again TO 'Y' DEFAULT 'N' USING path";
    db.stream("marked", &format!("{WALK} {clauses} SELECT id, again, place::text AS place, path::text AS path FROM r"));
    db.stream("marked_first", &format!("{WALK} {clauses} SELECT id, again FROM r ORDER BY place, again LIMIT 6"));
    db.stream("breadth", &format!("{WALK} SEARCH BREADTH FIRST BY id SET place CYCLE id SET again USING path SELECT id, again, rank() OVER (ORDER BY place) AS n FROM r"));
    change(db);
    assert_eq!(db.fallback(), None);
}

fn clauses_inside_other_queries(db: &mut Database) {
    graph(db);
    db.run(&format!("CREATE VIEW walk AS {WALK} SEARCH BREADTH FIRST BY id SET place CYCLE id SET again TO 'Y' DEFAULT 'N' USING path SELECT id, again, path::text AS path, rank() OVER (ORDER BY place, again) AS n FROM r"));
    db.stream("of_view", "SELECT * FROM walk WHERE n > 2");
    let walk = format!("{WALK} CYCLE id SET again TO 'Y' DEFAULT 'N' USING path");
    for (name, query) in [
        ("twice", "SELECT a.id, b.again FROM r AS a JOIN r AS b ON b.id = a.id AND b.path <> a.path"),
        ("joined_by_path", "SELECT a.id, b.again FROM r AS a JOIN r AS b ON b.path = a.path"),
        (
            "grouped",
            "SELECT path::text AS path, count(*) AS n, max(id) AS id FROM r GROUP BY path HAVING cardinality(path) > 1",
        ),
        ("told_apart", "SELECT q.path::text AS path FROM (SELECT DISTINCT path FROM r) AS q"),
        (
            "united",
            "SELECT q.path::text AS path FROM (SELECT path FROM r WHERE id > 3 UNION SELECT path FROM r WHERE again = 'Y') AS q",
        ),
        (
            "subtracted",
            "SELECT q.path::text AS path FROM (SELECT path FROM r EXCEPT ALL SELECT path FROM r WHERE again = 'Y') AS q",
        ),
        (
            "padded",
            "SELECT e.a, w.path IS NULL AS missing, w.path::text AS path FROM edge AS e LEFT JOIN r AS w ON w.id = e.a AND w.again = 'N'",
        ),
        (
            "looked_up",
            "SELECT e.a, (SELECT w.path FROM r AS w WHERE w.id = e.a ORDER BY w.path LIMIT 1)::text AS first FROM edge AS e",
        ),
        (
            "there",
            "SELECT e.a FROM edge AS e WHERE EXISTS (SELECT w.path FROM r AS w WHERE w.id = e.b AND w.again = 'Y') OR e.a NOT IN (SELECT w.id FROM r AS w WHERE w.id IS NOT NULL)",
        ),
        ("among", "SELECT id FROM r WHERE path IN (SELECT w.path FROM r AS w WHERE w.again = 'Y')"),
        (
            "each_of",
            "SELECT e.a, ARRAY(SELECT w.path::text FROM r AS w WHERE w.id = e.a ORDER BY w.path) AS paths FROM edge AS e",
        ),
        (
            "beside",
            "SELECT e.a, w.path::text AS path FROM edge AS e, LATERAL (SELECT path FROM r WHERE r.id = e.a ORDER BY path DESC LIMIT 2) AS w",
        ),
    ] {
        db.stream(name, &format!("{walk} {query}"));
    }
    db.stream("each", "SELECT o.id, (WITH RECURSIVE r (id) AS (SELECT o.id UNION ALL SELECT e.b FROM r JOIN edge AS e ON e.a = r.id) CYCLE id SET again USING path SELECT count(*) FROM r WHERE again) AS n FROM root AS o");
    change(db);
    assert_eq!(db.fallback(), None);
}

fn paths_that_are_computed_with(db: &mut Database) {
    graph(db);
    let with = format!("{WALK} CYCLE id SET again USING path");
    db.stream("computed", &format!("{with} SELECT id, cardinality(path) AS n, array_length(path, 1) AS m, to_json(path)::text AS j, path[1]::text AS first, ROW(1) = ANY (path) AS through, array_to_string(path, '>') AS shown FROM r"));
    db.stream("filtered", &format!("{with} SELECT id, again FROM r WHERE cardinality(path) BETWEEN 2 AND 4 AND NOT ROW(2) = ANY (path) AND path IS NOT NULL"));
    db.stream(
        "longest",
        &format!("{with} SELECT id, max(cardinality(path)) AS n, count(DISTINCT path::text) AS p FROM r GROUP BY id"),
    );
    db.stream("unfolded", &format!("{with} SELECT r.id, step.id AS step FROM r, unnest(path) AS step (id int)"));
    change(db);
    assert_eq!(db.fallback(), None);
}

fn records_in_other_places(db: &mut Database) {
    graph(db);
    db.stream(
        "made",
        "SELECT q.r::text AS r, n FROM (SELECT ROW(a, weight) AS r, count(*) AS n FROM edge GROUP BY a, weight) AS q",
    );
    db.stream(
        "fields",
        "SELECT (q.r).f1 + 1 AS a, (q.r).f2 AS w FROM (SELECT ROW(a, weight) AS r FROM edge OFFSET 0) AS q",
    );
    db.stream("sorted", "SELECT q.r::text AS r, q.b FROM (SELECT ROW(weight, a) AS r, b FROM edge ORDER BY ROW(weight, a), b LIMIT 4) AS q");
    db.stream("grouped", "SELECT count(*) AS n, ROW(a, weight)::text AS r FROM edge GROUP BY ROW(a, weight)");
    db.stream("appended", "SELECT q.r::text AS r FROM (SELECT s.r || ARRAY[ROW(s.b, s.b)] AS r FROM (SELECT CASE WHEN a > 2 THEN ARRAY[ROW(a, weight)] WHEN a > 1 THEN ARRAY[ARRAY[ROW(a, weight)]] WHEN a = 1 THEN ARRAY[ROW(a, weight)] || ARRAY[NULL::record] END AS r, b FROM edge WHERE a IS DISTINCT FROM 2) AS s OFFSET 0) AS q");
    db.stream("appended_to_rows", "SELECT q.r::text AS r FROM (SELECT DISTINCT s.r || ARRAY[ARRAY[ROW(s.b, NULL::text)]] AS r FROM (SELECT ARRAY[ARRAY[ROW(a, 'x'::text)]] AS r, b FROM edge) AS s) AS q");
    db.stream("rows", r#"SELECT row_to_json(q) AS j, q::text AS t, (q).l::text AS l FROM (SELECT ROW(a, weight) AS r, b AS "B", ARRAY[ROW(a, b)] AS l FROM edge) AS q"#);
    db.stream("walked", &format!("{WALK} CYCLE id SET again USING path SELECT row_to_json(r)::text AS j FROM r"));
    db.stream("gathered", "WITH q AS MATERIALIZED (SELECT ROW(a, weight) AS r, b FROM edge) SELECT b, jsonb_agg(q ORDER BY q.r) AS j, max(q.r::text) AS m FROM q GROUP BY b");
    db.stream("above", "SELECT id, (SELECT json_agg(q ORDER BY q.r, q.b) FROM (SELECT ROW(a, weight) AS r, b FROM edge WHERE a = root.id) AS q) AS j FROM root");
    db.stream("nested", "SELECT q.r::text AS r FROM (SELECT DISTINCT ROW(a, ROW(b, ARRAY[ROW(weight, 'x'::text)])) AS r FROM edge) AS q");
    change(db);
    assert_eq!(db.fallback(), None);
}

fn records_themselves_are_no_columns(db: &mut Database) {
    graph(db);
    for (columns, name) in [("id, path", "path"), ("id, place", "place")] {
        let query =
            format!("{WALK} SEARCH DEPTH FIRST BY id SET place CYCLE id SET again USING path SELECT {columns} FROM r");
        for mode in ["DIFFERENTIAL", "FULL", "AUTO"] {
            let failure = db.fails(&create("st", &query, &format!("schedule => '1h', refresh_mode => '{mode}'")));
            assert!(failure.message.contains(name) && failure.message.contains("record"), "{failure:?}");
            assert!(failure.hint.contains("text"), "{failure:?}");
        }
    }
    let whole = format!(
        "{WALK} CYCLE id SET again USING path SELECT row_to_json(r)::text AS j FROM root LEFT JOIN r ON r.id = root.id + 1"
    );
    let failure = db.fails(&create("st", &whole, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'"));
    assert_eq!((failure.sqlstate.as_str(), failure.message.contains("record")), ("0A000", true), "{failure:?}");
}

fn values_that_are_toasted(db: &mut Database) {
    db.run("CREATE TABLE page (name text, next text, shade money, body varbit)");
    db.run("INSERT INTO page SELECT repeat('p' || i, 2000), repeat('p' || (i + 1) % 5, 2000), i::text::money, B'101' FROM generate_series(0, 4) AS i");
    let with = "WITH RECURSIVE r (name, shade, body) AS (SELECT name, shade, body FROM page WHERE name LIKE 'p1%' UNION ALL SELECT p.name, p.shade, p.body FROM r JOIN page AS q ON q.name = r.name JOIN page AS p ON p.name = q.next) CYCLE name, shade, body SET again USING path";
    db.stream("walked", &format!("{with} SELECT name, again, path::text AS path FROM r"));
    db.stream("apart", &format!("{with} SELECT count(*) AS n FROM (SELECT path FROM r UNION SELECT path FROM r) AS q"));
    db.cycle(&["UPDATE page SET shade = '7' WHERE name LIKE 'p3%'"]);
    db.cycle(&["DELETE FROM page WHERE name LIKE 'p4%'"]);
    db.cycle(&["INSERT INTO page SELECT repeat('p4', 2000), repeat('p2', 2000), NULL, NULL"]);
    assert_eq!(db.fallback(), None);
}

fn values_that_keep_no_record(db: &mut Database) {
    let kept = "pgtrickle._keep_record(ROW(1, 'a'::text, NULL::date))";
    assert!(db.holds(&format!("SELECT {kept}::text::pgtrickle.kept_record OPERATOR(pgtrickle.=) {kept}")));
    assert!(db.holds("SELECT pgtrickle._kept_field(pgtrickle._keep_record(ROW(1, 2)), 2, 0) = 2"));
    for text in [
        "",
        "r",
        "1:r",
        "1:r0:2:-1",
        "1:r0:1:1",
        "1:a1:22:991:0",
        "1:a1:15:999992:-91:-",
        "9:r",
        "1:r0:1:15:point0:1:a1:=1:x",
    ] {
        let failure = db.fails(&format!("SELECT '{text}'::pgtrickle.kept_record"));
        assert!(failure.sqlstate.starts_with("22"), "{text}: {failure:?}");
    }
    let deep = format!("1:r0:1:1{}", "6:record0:1:a1:r0:1:1".repeat(100_000));
    assert_eq!(db.fails(&format!("SELECT '{deep}'::pgtrickle.kept_record")).sqlstate, "54001");
    for call in [
        format!("pgtrickle._kept_append({kept}, ARRAY[ROW(1)])"),
        format!("pgtrickle._kept_records({kept})"),
        "pgtrickle._kept_record(pgtrickle._keep_records(ARRAY[ROW(1)]))".into(),
        format!("pgtrickle._kept_field({kept}, 1, 'x'::text)"),
        format!("pgtrickle._kept_field({kept}, 4, 0)"),
        format!("{kept} OPERATOR(pgtrickle.<) pgtrickle._keep_records(ARRAY[ROW(1)])"),
    ] {
        assert_eq!(db.fails(&format!("SELECT {call}")).sqlstate, "XX000", "{call}");
    }
}

fn marks_that_are_printed_twice(db: &mut Database) {
    graph(db);
    let walk = WALK.replace("SELECT id FROM root", "SELECT id FROM root AS near WHERE near.id >= far.id");
    let count = format!(
        "({walk} CYCLE id SET again TO '__pgtmark_' DEFAULT 'N' USING path SELECT count(*) FROM r WHERE again = 'N')"
    );
    db.stream(
        "sorted",
        &format!("SELECT id, {count} AS n, '__pgtmark_0' AS mark FROM root AS far ORDER BY 2 DESC, 1 LIMIT 3"),
    );
    db.stream("grouped", &format!("SELECT {count} AS n, count(*) AS times FROM root AS far GROUP BY 1"));
    change(db);
}
