//! Sub-selects that read no table: expressions of the row, over columns of any type.

use pgtrickle_tests::{Database, tests};

tests![
    values_out_of_documents,
    conditions_on_documents,
    truth_values_and_comparisons,
    in_grouped_and_windowed_queries,
    in_joins_and_further_in,
    names_that_the_engine_uses,
    whole_rows_and_renamed_columns,
    only_the_columns_that_are_read_are_captured,
    two_rows_are_the_servers_own_error,
    orders_that_are_the_planners,
    the_clock_inside,
    documents_that_tables_are_asked_by,
];

fn tables(db: &mut Database) {
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, g int, doc json, arr int[], p point); CREATE TABLE bag (doc json, b jsonb, n numeric[])",
    );
    db.run(
        "INSERT INTO t VALUES (1, 1, '{\"a\": 1, \"b\": [1, 2]}', '{3,1,NULL,3}', '(1,2)'), (2, 1, '{}', '{}', NULL), \
         (3, NULL, NULL, NULL, '(0,0)'), (4, 2, '{\"c\": null}', '{7}', '(1,2)')",
    );
    db.run(
        "INSERT INTO bag VALUES ('{\"a\": 1}', '{\"a\": 1}', '{1.0,1.00}'), ('{\"a\": 1}', '{\"a\": 1}', '{1.0,1.00}'), \
         ('{\"a\":1}', '{\"b\": [1]}', '{2}'), (NULL, NULL, NULL)",
    );
}

const CHANGES: [&str; 7] = [
    "INSERT INTO t VALUES (5, 2, '{\"b\": 1, \"a\": 2, \"z\": 3}', '{1,2,3}', '(3,4)'); INSERT INTO bag SELECT * FROM bag",
    "UPDATE t SET doc = '{\"a\": [1]}' WHERE id = 2; DELETE FROM bag WHERE ctid IN (SELECT min(ctid) FROM bag)",
    "UPDATE t SET doc = '{\"a\":  [1]}', arr = arr || 9 WHERE id IN (2, 4); UPDATE bag SET n = '{1.00,1.0}' WHERE n = '{1.0,1.00}'",
    "UPDATE t SET g = 1, p = NULL WHERE id = 4; UPDATE bag SET doc = NULL, b = '{\"a\": 2, \"c\": 3}' WHERE b ? 'a'",
    "UPDATE t SET id = id + 10; INSERT INTO bag VALUES ('{\"z\": 0}', '[]', '{}'), (NULL, NULL, NULL)",
    "DELETE FROM t WHERE id > 13; DELETE FROM bag",
    "INSERT INTO t SELECT i, i % 3, json_build_object('k' || i % 4, i), ARRAY[i, i % 2, NULL], point(i % 2, 0) FROM generate_series(20, 30) AS i; \
     INSERT INTO bag SELECT json_build_object('a', i % 2), jsonb_build_object('a', i % 2), ARRAY[i % 2] FROM generate_series(1, 6) AS i",
];

fn over_all_changes(db: &mut Database, queries: &[&str]) {
    tables(db);
    for (number, query) in queries.iter().enumerate() {
        db.stream(&format!("st{number}"), query);
    }
    for change in CHANGES {
        db.cycle(&[change]);
    }
}

fn values_out_of_documents(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id, (SELECT string_agg(k, ',') FROM json_object_keys(t.doc) k) FROM t",
            "SELECT id, (SELECT count(*) FROM json_each(t.doc)) AS n, ARRAY(SELECT x FROM unnest(t.arr) AS x ORDER BY x DESC) AS a FROM t",
            "SELECT (SELECT string_agg(key || value::text, ',' ORDER BY key) FROM json_each(doc)) AS s, b FROM bag",
            "SELECT (SELECT sum(x) FROM unnest(n) AS x) AS s, (SELECT max(x) FROM unnest(n) AS x) AS m FROM bag",
            "SELECT id, (SELECT v.x FROM (VALUES (t.p[0]), (t.p[1])) AS v (x) ORDER BY v.x DESC NULLS LAST LIMIT 1) AS most FROM t",
            "SELECT id, (SELECT jsonb_object_agg(key, value) FROM json_each(t.doc) WHERE key <> 'b') AS less FROM t",
        ],
    );
}

fn conditions_on_documents(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM json_each(t.doc) e WHERE e.key = 'a')",
            "SELECT id, doc FROM t WHERE NOT EXISTS (SELECT FROM json_object_keys(t.doc) AS k WHERE k = 'a' OR k = 'z')",
            "SELECT doc FROM bag WHERE (SELECT count(*) FROM json_object_keys(doc)) > 0 OR b IS NULL",
            "SELECT doc FROM bag WHERE 'a' IN (SELECT json_object_keys(doc))",
            "SELECT id FROM t WHERE g NOT IN (SELECT x FROM unnest(t.arr) AS x)",
            "SELECT id FROM t WHERE g < ALL (SELECT x FROM unnest(t.arr) AS x) AND p ~= point(1, 2) IS NOT TRUE",
        ],
    );
}

fn truth_values_and_comparisons(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id, ROW(ROW(ROW(g))) = ANY (SELECT ROW(ROW(x)) FROM unnest(arr) AS x) AS i, ROW(ROW(g)) <> ALL (SELECT ROW(x) FROM unnest(arr) AS x) AS l FROM t",
            "SELECT id FROM t WHERE ROW(ROW(g)) IN (SELECT ROW(o.g) FROM t AS o WHERE o.id <> t.id)",
            "SELECT id, g IN (SELECT x FROM unnest(t.arr) AS x) AS i, g > ANY (SELECT x FROM unnest(t.arr) AS x) AS o, g <= ALL (SELECT x FROM unnest(t.arr) AS x) AS l FROM t",
            "SELECT id, (g, 3) IN (SELECT x, y FROM unnest(t.arr, t.arr) AS u (x, y)) AS i, EXISTS (SELECT FROM json_each(t.doc)) AS e FROM t",
            "SELECT id, (g, id) = (SELECT min(x), max(x) FROM unnest(t.arr) AS x) AS r, (g, 1) < (SELECT min(x), max(x) FROM unnest(t.arr) AS x) AS l FROM t",
            "SELECT id, (SELECT max(x) FROM unnest(t.arr) AS x) IN (SELECT g FROM t) AS m FROM t",
            "SELECT id FROM t WHERE (SELECT count(*) FROM t AS o WHERE o.g = t.g) IN (SELECT x FROM unnest(t.arr) AS x)",
            "SELECT id FROM t WHERE g = ANY (VALUES (1), (2)) OR EXISTS (SELECT WHERE t.id = 3)",
        ],
    );
}

fn in_grouped_and_windowed_queries(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT g, sum((SELECT count(*) FROM json_each(doc))) AS n, count(*) FILTER (WHERE EXISTS (SELECT FROM unnest(arr))) AS some FROM t GROUP BY g",
            "SELECT (SELECT count(*) FROM json_each(doc)) AS keys, count(*) AS n FROM t GROUP BY 1",
            "SELECT g, (SELECT max(x) FROM unnest(array_agg(t.id ORDER BY t.id)) AS x) AS m FROM t GROUP BY g",
            "SELECT g, count(*) AS n FROM t GROUP BY g HAVING count(*) IN (SELECT x FROM generate_series(2, 9) AS x) OR (SELECT bool_or(y = g) FROM (VALUES (2), (3)) AS v (y))",
            "SELECT DISTINCT (SELECT string_agg(k, ',') FROM json_object_keys(doc) AS k) AS s FROM bag",
            "SELECT id, rank() OVER (PARTITION BY g ORDER BY (SELECT count(*) FROM unnest(arr)), id) AS r FROM t",
            "SELECT id, (SELECT count(*) FROM unnest(arr)) AS n FROM t ORDER BY 2 DESC, id LIMIT 2",
            "SELECT t.id, (SELECT json_agg(q) FROM (SELECT t.id, count(*) AS n FROM unnest(t.arr)) AS q)::text AS j FROM t GROUP BY t.id, t.arr",
        ],
    );
}

fn in_joins_and_further_in(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT a.id, b.id AS other FROM t AS a JOIN t AS b ON b.id IN (SELECT x FROM unnest(a.arr) AS x)",
            "SELECT a.id, b.id AS other FROM t AS a LEFT JOIN t AS b ON b.g = (SELECT count(*) FROM json_each(a.doc)) AND EXISTS (SELECT FROM json_each(b.doc))",
            "SELECT id, (SELECT count(*) FROM t AS i WHERE i.g = t.g AND EXISTS (SELECT FROM unnest(i.arr) AS x WHERE x = t.id OR x = i.id)) AS n FROM t",
            "SELECT id, (SELECT sum(c) FROM (SELECT (SELECT count(*) FROM unnest(t.arr) AS y WHERE y >= x) AS c FROM unnest(t.arr) AS x) AS q) AS n FROM t",
            "SELECT q.id, (SELECT count(*) FROM generate_series(1, q.n)) AS again FROM (SELECT id, (SELECT count(*) FROM json_each(doc)) AS n FROM t) AS q",
            "SELECT id, l.s FROM t, LATERAL (SELECT (SELECT sum(x) FROM unnest(t.arr) AS x WHERE x > t.g) AS s, b.g FROM t AS b WHERE b.g = t.g) AS l",
            "SELECT id, (WITH c AS (SELECT x FROM unnest(t.arr) AS x) SELECT count(*) FROM c WHERE x > 2) AS n FROM t",
            "SELECT doc FROM bag UNION ALL SELECT doc FROM t WHERE EXISTS (SELECT FROM json_each(t.doc))",
        ],
    );
}

fn names_that_the_engine_uses(db: &mut Database) {
    let aliases =
        ["a", "b", "d", "g", "i", "j", "k", "l", "m", "n", "o", "q", "r", "s", "t", "u", "w", "x", "z", "new", "old"];
    let columns = aliases.map(|alias| {
        format!(
            "(SELECT count({alias}.key) FROM json_each(c.doc) AS {alias} WHERE {alias}.key < 'c' || c.id) AS {alias}"
        )
    });
    let query = format!("SELECT id, {} FROM t AS c", columns.join(", "));
    let kept = aliases
        .map(|alias| format!("EXISTS (SELECT FROM unnest(c.arr) AS {alias} ({alias}) WHERE {alias}.{alias} > c.g)"));
    let filter =
        format!("SELECT c.id, o.id AS other FROM t AS c LEFT JOIN t AS o ON o.g = c.g WHERE {}", kept.join(" AND "));
    over_all_changes(
        db,
        &[
            &query,
            &filter,
            "SELECT id, (SELECT count(*) FROM unnest(\"Arr\") AS pgt_within1 (c1), unnest(\"Arr\") AS pgt_within2 (c1) WHERE pgt_within1.c1 = pgt_within2.c1) AS n FROM (SELECT id, arr AS \"Arr\" FROM t) AS pgt_within1",
            "SELECT id, (SELECT count(*) FROM (SELECT 1 AS x) AS l NATURAL JOIN (SELECT g AS x) AS r) AS n FROM t",
            "SELECT id, (SELECT j.a FROM ((SELECT g AS a) AS l CROSS JOIN (SELECT id AS b) AS r) AS j) AS n FROM t",
        ],
    );
}

fn whole_rows_and_renamed_columns(db: &mut Database) {
    tables(db);
    db.stream(
        "rowed",
        "SELECT id, (SELECT string_agg(e.key, ',') FROM json_each(row_to_json(t)) AS e) AS names FROM t",
    );
    db.stream("inner_rows", "SELECT id, (SELECT json_agg(e)::text FROM json_each(t.doc) AS e) AS rows, (SELECT json_agg(k)::text FROM json_object_keys(t.doc) AS k) AS keys FROM t");
    db.stream("records", "SELECT id, (SELECT r.a FROM json_to_record(t.doc) AS r (a text, c int)) AS a FROM t");
    db.stream("kept", "SELECT id, (SELECT count(*) FROM json_each(t.doc)) AS n FROM t");
    for change in CHANGES {
        db.cycle(&[change]);
    }
    db.run("SELECT pgtrickle.drop_stream_table('rowed')");
    db.untrack("rowed");
    for name in ["inner_rows", "records", "kept"] {
        db.untrack(name);
    }
    db.run("ALTER TABLE t RENAME COLUMN doc TO document");
    db.track("kept", "SELECT id, (SELECT count(*) FROM json_each(t.document)) AS n FROM t");
    db.cycle(&["UPDATE t SET document = '{\"one\": 1}' WHERE id % 2 = 0"]);
}

fn only_the_columns_that_are_read_are_captured(db: &mut Database) {
    tables(db);
    db.stream("kept", "SELECT id, (SELECT count(*) FROM json_each(t.doc)) AS n FROM t");
    db.cycle(&["UPDATE t SET doc = '{\"x\": 1, \"y\": 2}' WHERE id = 2"]);
    db.cycle(&["UPDATE t SET arr = NULL, p = NULL"]);
    db.cycle(&["UPDATE t SET doc = NULL WHERE id = 1"]);
}

fn two_rows_are_the_servers_own_error(db: &mut Database) {
    tables(db);
    db.stream("single", "SELECT id, (SELECT x FROM unnest(arr) AS x WHERE x > 5) AS big FROM t");
    db.cycle(&["UPDATE t SET arr = '{8}' WHERE id = 2"]);
    db.run("UPDATE t SET arr = '{8,9}' WHERE id = 2");
    let failure = db.fails("SELECT pgtrickle.refresh_stream_table('single')");
    assert_eq!(failure.sqlstate, "21000", "{failure:?}");
    db.cycle(&["UPDATE t SET arr = '{1,9}' WHERE id = 2"]);
}

fn orders_that_are_the_planners(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT id, (SELECT count(*) FROM (SELECT x FROM unnest(arr) AS x GROUP BY x) AS q) AS n FROM t",
            "SELECT (SELECT count(*) FROM unnest(n) AS x, unnest(n) AS y WHERE x = y) AS pairs FROM bag",
            "SELECT id, (SELECT string_agg(x::text, ',' ORDER BY x) FROM (SELECT DISTINCT x FROM unnest(arr) AS x) AS q) AS s FROM t",
            "SELECT id, (SELECT x FROM unnest(arr) AS x UNION SELECT 4 ORDER BY 1 LIMIT 1) AS s FROM t",
        ],
    );
}

fn the_clock_inside(db: &mut Database) {
    tables(db);
    let query = "SELECT id, (SELECT count(*) FROM unnest(ARRAY[p]) WHERE now() > '2000-01-01') AS n FROM t";
    let failure = db.fails(&pgtrickle_tests::create("clocked", query, "refresh_mode => 'DIFFERENTIAL'"));
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
}

fn documents_that_tables_are_asked_by(db: &mut Database) {
    tables(db);
    let query = "SELECT id, (SELECT count(*) FROM bag WHERE bag.doc::text = t.doc::text AND t.id > 0) AS n FROM t";
    let failure = db.fails(&pgtrickle_tests::create("asked", query, "refresh_mode => 'DIFFERENTIAL'"));
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
    assert!(failure.detail.contains("no equality"));
    let query = "SELECT id, (SELECT count(*) FROM bag WHERE bag.b @> q.d OR q.id > 3) AS n FROM (SELECT *, doc::jsonb AS d FROM t) AS q";
    db.stream("as_jsonb", query);
    for change in CHANGES {
        db.cycle(&[change]);
    }
}
