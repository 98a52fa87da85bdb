//! Whole rows as values: of tables, views, sub-selects, functions and joins.

use pgtrickle_tests::{Database, tests};

tests![
    rows_of_tables,
    rows_in_outer_joins,
    rows_of_sub_selects_and_joins,
    rows_of_functions_and_lists,
    rows_of_views,
    rows_in_sub_selects,
    rows_that_are_grouped_and_sorted,
    rows_of_odd_tables,
    rows_hold_their_tables_definition,
    fields_of_one_name,
];

fn tables(db: &mut Database) {
    db.run(
        "CREATE TABLE t (gone int, id int PRIMARY KEY, \"G g\" text, v numeric(8, 2)); ALTER TABLE t DROP COLUMN gone",
    );
    db.run("CREATE TABLE u (k int, note text)");
    db.run("INSERT INTO t VALUES (1, 'a', 1.5), (2, 'a', NULL), (3, NULL, NULL), (4, 'b', 2)");
    db.run("INSERT INTO u VALUES (1, 'x'), (1, 'x'), (2, NULL), (NULL, NULL), (7, 'y')");
    db.run("CREATE FUNCTION total(t) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT $1.id + COALESCE($1.v, 0) $$");
}

fn changes(db: &mut Database) {
    db.cycle(&["INSERT INTO t VALUES (5, 'c', 3); DELETE FROM u WHERE ctid = '(0,1)'; INSERT INTO u VALUES (3, 'z')"]);
    db.cycle(&["UPDATE t SET \"G g\" = NULL, v = NULL WHERE id = 1; UPDATE u SET note = 'w' WHERE note IS NULL"]);
    db.cycle(&["BEGIN", "DELETE FROM t WHERE id = 2", "UPDATE u SET k = 4 WHERE k = 7", "COMMIT"]);
    db.cycle(&["UPDATE t SET id = id + 1 WHERE id = 5; INSERT INTO u VALUES (NULL, NULL), (6, 'q')"]);
    db.cycle(&["DELETE FROM u; DELETE FROM t WHERE \"G g\" IS NULL"]);
    db.cycle(&["INSERT INTO u VALUES (4, NULL); INSERT INTO t VALUES (2, 'a', 0.5)"]);
}

fn rows_of_tables(db: &mut Database) {
    tables(db);
    db.stream("json", "SELECT id, row_to_json(t) AS j FROM t");
    db.stream("named", "SELECT id, to_jsonb(x) AS j FROM t AS x WHERE x IS NOT NULL");
    db.stream("called", "SELECT total(t) AS n, t.id FROM t WHERE total(t.*) > 1");
    db.stream("value", "SELECT t FROM t");
    db.stream("bag", "SELECT u, u.k FROM u");
    db.stream("nulls", "SELECT u IS NULL AS n, u IS NOT NULL AS m, count(*) AS c FROM u GROUP BY 1, 2");
    db.stream("text", "SELECT t::text AS shown, hash_record(t) AS h FROM t");
    db.stream("compared", "SELECT a.id, b.id AS other FROM t AS a JOIN t AS b ON a <= b");
    changes(db);
}

fn rows_in_outer_joins(db: &mut Database) {
    tables(db);
    db.stream("one_side", "SELECT t.id, u AS r, row_to_json(u) AS j FROM t LEFT JOIN u ON u.k = t.id");
    db.stream("sides", "SELECT row_to_json(t)::text AS a, row_to_json(u)::text AS b FROM t FULL JOIN u ON u.k = t.id");
    db.stream("counted", "SELECT t.id, count(u) AS n, count(t) AS m FROM t LEFT JOIN u ON u.k = t.id GROUP BY t.id");
    db.stream(
        "grouped",
        "SELECT u AS r, count(*) AS n, count(u) AS m FROM t LEFT JOIN u ON u.k IS NOT DISTINCT FROM nullif(t.id, 3) GROUP BY u",
    );
    db.stream("missing", "SELECT t.id FROM t LEFT JOIN u ON u.k = t.id WHERE u IS NULL");
    db.stream(
        "nested",
        "SELECT t.id, row_to_json(s)::text AS j FROM t LEFT JOIN (SELECT u.k, a.v FROM u LEFT JOIN t AS a ON a.id = u.k) \
         AS s ON s.k = t.id",
    );
    changes(db);
}

fn rows_of_sub_selects_and_joins(db: &mut Database) {
    tables(db);
    db.stream("sub", "SELECT row_to_json(q)::text AS j FROM (SELECT id AS \"the key\", v * 2 AS twice FROM t) AS q");
    db.stream("joined", "SELECT row_to_json(j)::text AS j FROM (t JOIN u ON u.k = t.id) AS j");
    db.stream("grouped", "SELECT j::text AS j, count(*) AS n FROM (t AS x CROSS JOIN u) AS j GROUP BY j");
    db.stream("merged", "SELECT row_to_json(m)::text AS j FROM t AS a JOIN t AS b USING (id, v) AS m");
    db.stream("outer_joined", "SELECT to_jsonb(j) AS j FROM (t LEFT JOIN u ON u.k = t.id) AS j");
    let padded = "SELECT row_to_json(j)::text AS j FROM u AS a LEFT JOIN (t JOIN u ON u.k = t.id) AS j ON j.k = a.k";
    let call =
        format!("SELECT pgtrickle.create_stream_table('padded', $q${padded}$q$, schedule => '1h', refresh_mode => ");
    assert_eq!(db.fails(&format!("{call} 'DIFFERENTIAL')")).sqlstate, "0A000");
    db.run(&format!("{call} 'FULL')"));
    let same = format!(
        "SELECT (SELECT array_agg(j ORDER BY j) FROM padded) = (SELECT array_agg(j ORDER BY j) FROM ({padded}) AS q)"
    );
    assert_eq!(db.text(&same), "t");
    db.stream(
        "with_item",
        "WITH c AS (SELECT \"G g\" AS g, count(*) AS n FROM t GROUP BY 1) SELECT row_to_json(c)::text AS j FROM c",
    );
    db.stream(
        "united",
        "SELECT row_to_json(q)::text AS j FROM (SELECT id, v FROM t UNION ALL SELECT k, NULL FROM u) AS q(x, y)",
    );
    db.stream(
        "recursive",
        "WITH RECURSIVE r(n) AS (SELECT k FROM u WHERE k < 4 UNION ALL SELECT n + 2 FROM r WHERE n < 6) \
         SELECT row_to_json(r)::text AS j FROM r",
    );
    db.stream(
        "listed",
        "SELECT \"G g\" AS g, json_agg(q ORDER BY id)::text AS j FROM (SELECT * FROM t) AS q GROUP BY 1",
    );
    changes(db);
}

fn rows_of_functions_and_lists(db: &mut Database) {
    tables(db);
    db.stream(
        "numbers",
        "SELECT t.id, row_to_json(g)::text AS j FROM t, generate_series(1, t.id) WITH ORDINALITY AS g(x, n)",
    );
    db.stream(
        "columns",
        "SELECT t.id, row_to_json(e)::text AS j FROM t, jsonb_each(to_jsonb(t)) AS e WHERE e.key <> 'id'",
    );
    db.stream(
        "list",
        "SELECT row_to_json(l)::text AS j, t.id FROM t, LATERAL (VALUES (1, 'x'), (t.id, t.\"G g\")) AS l(a, b)",
    );
    db.stream(
        "padded",
        "SELECT t.id, row_to_json(g)::text AS j FROM t LEFT JOIN generate_series(2, t.id) WITH ORDINALITY AS g(x, n) ON true",
    );
    changes(db);
}

fn rows_of_views(db: &mut Database) {
    tables(db);
    db.run("CREATE VIEW w AS SELECT t.id AS key, u.note FROM t LEFT JOIN u ON u.k = t.id");
    db.stream("viewed", "SELECT w FROM w");
    db.stream("as_json", "SELECT t.id, row_to_json(w)::text AS j FROM t LEFT JOIN w ON w.key = t.id + 1");
    changes(db);
}

fn rows_in_sub_selects(db: &mut Database) {
    tables(db);
    db.stream(
        "inner_row",
        "SELECT t.id, (SELECT row_to_json(u) FROM u WHERE u.k = t.id ORDER BY u.note LIMIT 1)::text AS j FROM t",
    );
    db.stream("outer_row", "SELECT t.id, (SELECT max(total(t) + u.k) FROM u WHERE u.k = t.id) AS n FROM t");
    db.stream(
        "gathered",
        "SELECT t.id, (SELECT json_agg(u ORDER BY u.note) FROM u WHERE u.k = t.id)::text AS j FROM t",
    );
    db.stream(
        "lateral_row",
        "SELECT t.id, s.j::text AS j FROM t, LATERAL (SELECT row_to_json(t) AS j, u.k FROM u) AS s WHERE s.k = t.id",
    );
    db.stream("found", "SELECT t.id FROM t WHERE EXISTS (SELECT FROM u WHERE row_to_json(t)->>'id' = u.k::text)");
    db.stream("among", "SELECT a.id FROM t AS a WHERE a IN (SELECT b FROM t AS b JOIN u ON u.k = b.id)");
    changes(db);
}

fn rows_that_are_grouped_and_sorted(db: &mut Database) {
    tables(db);
    db.stream("groups", "SELECT u, count(*) AS n FROM u GROUP BY u");
    db.stream("different", "SELECT DISTINCT u FROM u");
    db.stream(
        "windows",
        "SELECT t.id, row_number() OVER (ORDER BY t) AS n, lag(t) OVER (ORDER BY t.id) AS before FROM t",
    );
    db.stream("first", "SELECT t FROM t ORDER BY t DESC LIMIT 2");
    db.stream("arrays", "SELECT \"G g\" AS g, array_agg(t ORDER BY t.id) AS rows FROM t GROUP BY 1");
    db.stream("different_in_groups", "SELECT \"G g\" AS g, count(DISTINCT t.*) AS n FROM t GROUP BY 1");
    changes(db);
}

fn rows_of_odd_tables(db: &mut Database) {
    db.run("CREATE TABLE g (id int, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL, more int GENERATED ALWAYS AS (id + 1) STORED, note text)");
    db.run("CREATE TABLE p (site text, value int) PARTITION BY LIST (site)");
    db.run("CREATE TABLE pa (value int, site text); ALTER TABLE p ATTACH PARTITION pa FOR VALUES IN ('a')");
    db.run("CREATE TABLE rest PARTITION OF p DEFAULT");
    db.run("CREATE TABLE parent (id int); CREATE TABLE child (extra text) INHERITS (parent)");
    db.run("INSERT INTO g (id, note) VALUES (1, 'x'), (NULL, NULL); INSERT INTO p VALUES ('a', 1), ('b', NULL)");
    db.run("INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 'e')");
    db.stream("generated", "SELECT g, row_to_json(g)::text AS j FROM g");
    db.stream("partitioned", "SELECT p, row_to_json(p)::text AS j FROM p");
    db.stream("inherited", "SELECT parent AS r, row_to_json(parent)::text AS j FROM parent");
    db.cycle(&["UPDATE g SET id = 5; INSERT INTO p VALUES ('a', 2), ('c', 3); UPDATE child SET id = 3"]);
    db.cycle(&[
        "UPDATE p SET site = 'a' WHERE site = 'b'; DELETE FROM parent WHERE id = 1; INSERT INTO g (id) VALUES (7)",
    ]);
    db.cycle(&["DELETE FROM g WHERE note IS NULL; UPDATE p SET value = NULL; INSERT INTO child VALUES (NULL, NULL)"]);
}

fn rows_hold_their_tables_definition(db: &mut Database) {
    tables(db);
    db.stream("json", "SELECT id, row_to_json(t)::text AS j FROM t");
    db.stream("plain", "SELECT k FROM u");
    for change in ["ADD COLUMN more int", "DROP COLUMN v", "RENAME COLUMN v TO w", "RENAME TO other"] {
        let failure = db.fails(&format!("ALTER TABLE t {change}"));
        assert_eq!(failure.sqlstate, "0A000", "{change}: {failure:?}");
        assert!(failure.detail.contains("whole rows"), "{change}: {failure:?}");
    }
    db.run("ALTER TABLE u ADD COLUMN more int; ALTER TABLE u RENAME COLUMN note TO remark; ALTER TABLE t RENAME CONSTRAINT t_pkey TO key");
    db.cycle(&["INSERT INTO t VALUES (9, 'n', 1); INSERT INTO u VALUES (5, 'p', 1)"]);
    db.run("SELECT pgtrickle.drop_stream_table('json'); ALTER TABLE t ADD COLUMN more int DEFAULT 1");
}

/// PostgreSQL cannot print such a row; in a view it need not.
fn fields_of_one_name(db: &mut Database) {
    tables(db);
    let doubled = "SELECT row_to_json(j)::text AS j FROM (t AS x JOIN t AS y USING (id)) AS j";
    let failure =
        db.fails(&format!("SELECT pgtrickle.create_stream_table('doubled', '{doubled}', refresh_mode => 'FULL')"));
    assert!(failure.sqlstate == "0A000" && failure.hint.contains("different names"), "{failure:?}");
    db.run(&format!("CREATE VIEW doubles AS {doubled}"));
    db.stream_with("seen", "SELECT j FROM doubles", "schedule => '1h', refresh_mode => 'AUTO'");
    db.track("seen", "SELECT j FROM doubles");
    db.stream("renamed", &format!("{doubled}(id, g, v, h, w)"));
    db.cycle_in_full(&["UPDATE t SET v = 7 WHERE id = 1; DELETE FROM t WHERE id = 2"]);
}
