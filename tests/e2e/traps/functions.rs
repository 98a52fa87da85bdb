//! Rows that are computed: set-returning functions in FROM, in the SELECT list and in GROUP BY; VALUES; nothing read at all.

use pgtrickle_tests::{Database, tests};

tests![
    functions_of_columns_in_from,
    functions_that_yield_no_rows,
    several_functions_side_by_side,
    functions_numbered,
    functions_with_column_definitions,
    functions_of_users,
    functions_between_joins,
    functions_in_outer_joins,
    functions_in_sub_selects,
    functions_without_columns,
    sets_in_the_select_list,
    sets_in_group_by,
    tables_from_json,
    values_lists,
    queries_that_read_no_table,
    constants_beside_tables,
    items_that_use_sub_selects,
];

fn arrays(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, n int, tags text[], more int[], doc jsonb)");
    db.run("CREATE TABLE bag (n int, tags text[])");
    db.run(
        "INSERT INTO t VALUES (1, 2, '{a,b,b}', '{1,2}', '{\"k\": 1, \"l\": [1, 2, null]}'), (2, 0, '{}', '{5}', '{}'), \
         (3, NULL, NULL, NULL, NULL), (4, 3, '{NULL,c}', '{7,8,9}', '{\"k\": \"x\", \"l\": []}')",
    );
    db.run("INSERT INTO bag VALUES (1, '{a,b}'), (1, '{a,b}'), (2, '{b,NULL}'), (NULL, '{c}'), (3, NULL)");
}

fn changes(db: &mut Database) {
    db.cycle(&["INSERT INTO t VALUES (5, 1, '{a,c}', '{1}', '{\"l\": [3, 3]}'); DELETE FROM bag WHERE ctid = '(0,1)'"]);
    db.cycle(&[
        "UPDATE t SET tags = tags || 'z'::text, n = n + 1, more = more || 3; UPDATE bag SET n = 4 WHERE n IS NULL",
    ]);
    db.cycle(&[
        "UPDATE t SET tags = NULL, n = NULL, doc = NULL WHERE id = 1; INSERT INTO bag VALUES (1, '{a,b}'), (5, '{}')",
        "DELETE FROM t WHERE id = 2",
    ]);
    db.cycle(&["UPDATE t SET id = id + 10, doc = '{\"k\": 2, \"l\": [9]}' WHERE id = 4; DELETE FROM bag WHERE n = 1"]);
    db.cycle(&["UPDATE t SET more = '{}'; UPDATE bag SET tags = '{q,q,q}'"]);
    db.cycle(&["DELETE FROM t; DELETE FROM bag"]);
    db.cycle(&["INSERT INTO t VALUES (1, 2, '{a}', '{1}', '{\"l\": [1]}'); INSERT INTO bag VALUES (1, '{a}')"]);
}

fn functions_of_columns_in_from(db: &mut Database) {
    arrays(db);
    db.stream("tags", "SELECT t.id, x.tag FROM t, unnest(t.tags) AS x(tag)");
    db.stream("in_lateral", "SELECT bag.n, x FROM bag CROSS JOIN LATERAL unnest(bag.tags) AS x");
    db.stream("series", "SELECT t.id, g FROM t, generate_series(1, t.n) AS g WHERE g <> 2");
    db.stream("joined", "SELECT t.id, g FROM t JOIN generate_series(0, 5) AS g ON g > t.n");
    db.stream("chained", "SELECT t.id, a, b FROM t, unnest(t.more) AS a, generate_series(a, a + 1) AS b");
    db.stream(
        "between",
        "SELECT t.id, bag.n, a, x FROM bag, t, unnest(t.more) AS a, unnest(bag.tags) AS x WHERE a = bag.n AND x <> 'q'",
    );
    db.stream("keys", "SELECT t.id, e.key, e.value FROM t, jsonb_each(t.doc) AS e");
    db.stream("matches", "SELECT t.id, m FROM t, regexp_matches(t.tags[1] || t.tags[2], '[ab]', 'g') AS m");
    db.stream(
        "counted",
        "SELECT x.tag, count(*) AS n, min(t.id) AS lo FROM t, unnest(t.tags) AS x(tag) GROUP BY x.tag",
    );
    db.stream("different", "SELECT DISTINCT x FROM bag, unnest(bag.tags) AS x");
    changes(db);
}

fn functions_that_yield_no_rows(db: &mut Database) {
    arrays(db);
    db.stream("none", "SELECT t.id, g FROM t, generate_series(2, 1) AS g");
    db.stream("sometimes", "SELECT t.id FROM t, generate_series(1, t.n)");
    db.stream("strict", "SELECT t.id, x FROM t, unnest(t.more) AS x WHERE x IS NULL");
    changes(db);
}

fn several_functions_side_by_side(db: &mut Database) {
    arrays(db);
    db.stream("rows_from", "SELECT t.id, x.* FROM t, ROWS FROM (unnest(t.tags), generate_series(1, t.n)) AS x(tag, g)");
    db.stream("unnested", "SELECT t.id, x.* FROM t, unnest(t.tags, t.more) AS x(tag, m)");
    db.stream(
        "numbered",
        "SELECT t.id, x.* FROM t, ROWS FROM (unnest(t.more), jsonb_object_keys(t.doc)) WITH ORDINALITY AS x(m, key, i)",
    );
    changes(db);
}

fn functions_numbered(db: &mut Database) {
    arrays(db);
    db.stream("numbered", "SELECT t.id, x.tag, x.i FROM t, unnest(t.tags) WITH ORDINALITY AS x(tag, i)");
    db.stream(
        "bag_numbered",
        "SELECT bag.n, x.tag, x.i FROM bag, unnest(bag.tags) WITH ORDINALITY AS x(tag, i) WHERE x.i > 1",
    );
    db.stream(
        "number_alone",
        "SELECT x.i, count(*) AS n FROM t, unnest(t.tags) WITH ORDINALITY AS x(tag, i) GROUP BY x.i",
    );
    changes(db);
}

fn functions_with_column_definitions(db: &mut Database) {
    arrays(db);
    db.run("CREATE FUNCTION pairs(n int) RETURNS SETOF record LANGUAGE sql IMMUTABLE AS 'SELECT i, ''p'' || i FROM generate_series(1, n) AS i'");
    db.stream("defined", "SELECT t.id, p.a, p.b FROM t, pairs(t.n) AS p(a int, b text COLLATE \"C\") WHERE p.b < 'p3'");
    db.stream("among_others", "SELECT t.id, p.* FROM t, ROWS FROM (pairs(t.n) AS (a int, b text), unnest(t.tags)) WITH ORDINALITY AS p(a, b, c, i)");
    changes(db);
}

fn functions_of_users(db: &mut Database) {
    arrays(db);
    db.run("CREATE TYPE pair AS (a int, \"B b\" text); CREATE SCHEMA \"Odd\"");
    db.run("CREATE FUNCTION \"Odd\".\"P\"(n int) RETURNS SETOF pair LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN QUERY SELECT i, 'x' || i FROM generate_series(1, n) AS i; END $$");
    db.run("CREATE FUNCTION twice(n int, OUT x int, OUT y int) LANGUAGE sql IMMUTABLE AS 'SELECT n, n * 2'");
    db.stream("composite", "SELECT t.id, p.\"B b\" FROM t, \"Odd\".\"P\"(t.n) AS p");
    db.stream("one_row", "SELECT t.id, x, y FROM t, twice(t.n)");
    db.stream("scalar", "SELECT t.id, l FROM t, lower(t.tags[1]) AS l");
    db.stream("casts", "SELECT t.id, c, d FROM t, cast(t.n AS numeric) AS c, coalesce(t.n, 7) AS d");
    changes(db);
}

fn functions_between_joins(db: &mut Database) {
    arrays(db);
    db.stream("between", "SELECT t.id, x, bag.n FROM t, unnest(t.tags) AS x, bag WHERE bag.n = t.n");
    db.stream("over_both", "SELECT t.id, bag.n, g FROM t JOIN bag ON bag.n = t.n JOIN generate_series(1, 3) AS g ON g <= t.id, unnest(t.more || bag.n) AS u WHERE u > 1");
    db.stream(
        "to_the_other",
        "SELECT t.id, x FROM t, unnest(t.tags) AS x JOIN bag ON x = ANY (bag.tags) WHERE t.id < 5",
    );
    db.stream(
        "of_sub_select",
        "SELECT s.n, x FROM (SELECT n, array_agg(id ORDER BY id) AS ids FROM t GROUP BY n) AS s, unnest(s.ids) AS x",
    );
    db.stream("twice", "SELECT a.x AS one, b.x AS two FROM (SELECT id, unnest(tags) AS x FROM t) AS a JOIN (SELECT n, unnest(tags) AS x FROM bag) AS b ON a.x = b.x");
    changes(db);
}

fn functions_in_outer_joins(db: &mut Database) {
    arrays(db);
    db.stream("kept", "SELECT t.id, x FROM t LEFT JOIN LATERAL unnest(t.tags) AS x ON true");
    db.stream("kept_bag", "SELECT bag.n, x FROM bag LEFT JOIN unnest(bag.tags) AS x ON x <> 'b'");
    db.stream(
        "numbered",
        "SELECT t.id, x.tag, x.i FROM t LEFT JOIN unnest(t.tags) WITH ORDINALITY AS x(tag, i) ON x.i < t.n",
    );
    db.stream(
        "counted",
        "SELECT t.id, count(g) AS c FROM t LEFT JOIN generate_series(1, t.n) AS g ON true GROUP BY t.id",
    );
    db.stream("chained", "SELECT t.id, a, b FROM t LEFT JOIN unnest(t.more) AS a ON true LEFT JOIN generate_series(1, a) AS b ON b > t.n");
    db.stream("constant", "SELECT t.id, g FROM t LEFT JOIN generate_series(1, 3) AS g ON g = t.n");
    db.stream("to_the_right", "SELECT t.id, g FROM t RIGHT JOIN generate_series(1, 3) AS g ON g = t.n");
    db.stream("in_full", "SELECT bag.n, g FROM bag FULL JOIN generate_series(1, 3) AS g ON g = bag.n");
    db.stream("within", "SELECT t.id, s.x FROM t LEFT JOIN (bag CROSS JOIN unnest(bag.tags) AS x) AS s ON s.n = t.n");
    db.stream("of_outer_columns", "SELECT t.id, x FROM t LEFT JOIN bag ON bag.n = t.n, unnest(bag.tags) AS x");
    db.stream("joined_column", "SELECT n, x FROM t FULL JOIN bag USING (n), unnest(bag.tags || n::text) AS x");
    changes(db);
}

fn functions_without_columns(db: &mut Database) {
    arrays(db);
    db.stream("crossed", "SELECT t.id, g FROM t, generate_series(1, 2) AS g");
    db.stream("looked_up", "SELECT g, bag.tags FROM generate_series(0, 3) AS g JOIN bag ON bag.n = g");
    db.stream("counted", "SELECT g, count(*) AS n FROM generate_series(0, 3) AS g, t WHERE t.n > g GROUP BY g");
    changes(db);
}

fn sets_in_the_select_list(db: &mut Database) {
    arrays(db);
    db.stream("one", "SELECT id, unnest(tags) AS tag FROM t");
    db.stream("lockstep", "SELECT id, unnest(tags) AS tag, generate_series(1, n) AS g, n FROM t");
    db.stream("inside", "SELECT n, upper(unnest(tags)) || '!' AS tag FROM bag");
    db.stream("nested", "SELECT id, generate_series(1, unnest(more)) AS g FROM t");
    db.stream("field", "SELECT id, (jsonb_each(doc)).key AS k, (jsonb_each(doc)).value AS v FROM t");
    db.stream("different", "SELECT DISTINCT unnest(tags) AS tag FROM bag");
    db.stream(
        "above",
        "SELECT tag, count(*) AS c FROM (SELECT unnest(tags) AS tag FROM bag) AS x WHERE tag > 'a' GROUP BY tag",
    );
    db.stream("grouped", "SELECT n, unnest(array_agg(id ORDER BY id)) AS id, count(*) AS c FROM t GROUP BY n");
    db.stream("ordered", "SELECT unnest(tags) AS tag, n FROM bag ORDER BY 1, n");
    db.stream("merged", "SELECT unnest(tags) AS tag FROM bag EXCEPT ALL SELECT unnest(tags) FROM t");
    changes(db);
}

fn sets_in_group_by(db: &mut Database) {
    arrays(db);
    db.stream("one", "SELECT unnest(tags) AS tag, count(*) AS c, sum(n) AS s FROM bag GROUP BY 1");
    db.stream(
        "two",
        "SELECT unnest(tags) AS tag, n % 2 AS parity, max(id) AS hi FROM t GROUP BY 1, 2 HAVING count(*) > 0",
    );
    changes(db);
}

fn tables_from_json(db: &mut Database) {
    arrays(db);
    db.stream("from_json", "SELECT t.id, j.* FROM t, JSON_TABLE(t.doc, '$.l[*]' COLUMNS (i FOR ORDINALITY, v int PATH '$', \"S\" text PATH '$' DEFAULT 'none' ON EMPTY)) AS j");
    db.stream("nested", "SELECT t.id, j.k, j.l FROM t, JSON_TABLE(t.doc, '$' COLUMNS (k text PATH '$.k', NESTED PATH '$.l[*]' COLUMNS (l int PATH '$'))) AS j");
    changes(db);
}

fn values_lists(db: &mut Database) {
    arrays(db);
    db.stream("whole", "VALUES (1, 'a'), (2, NULL), (2, NULL)");
    db.stream(
        "joined",
        "SELECT t.id, v.name FROM t JOIN (VALUES (0, 'none'), (2, 'two'), (NULL, 'null')) AS v(n, name) ON v.n = t.n",
    );
    db.stream("in_with", "WITH v(n) AS (VALUES (1), (2), (2)) SELECT bag.n, v.n AS m FROM bag, v WHERE bag.n <= v.n");
    db.stream("merged", "SELECT n FROM bag UNION ALL VALUES (1), (NULL)");
    db.stream("subtracted", "VALUES (1), (1), (4) EXCEPT ALL SELECT n FROM bag");
    changes(db);
}

fn queries_that_read_no_table(db: &mut Database) {
    db.stream("one", "SELECT 1 AS x, 'a'::text AS y");
    db.stream("none", "SELECT 1 AS x WHERE false");
    db.stream("series", "SELECT g, g * 2 AS h FROM generate_series(1, 5) AS g");
    db.stream("counted", "SELECT count(*) AS n, sum(g) AS s FROM generate_series(1, 5) AS g");
    db.stream("merged", "SELECT 1 AS x UNION ALL SELECT 1 UNION ALL SELECT 2");
    db.stream("sets", "SELECT generate_series(1, 3) AS a, unnest('{x,y}'::text[]) AS b");
    db.run(
        "SELECT pgtrickle.create_stream_table('in_full', 'SELECT 1 AS x', schedule => '1h', refresh_mode => 'FULL')",
    );
    db.cycle(&[]);
    assert_eq!(db.number("SELECT count(*) FROM in_full"), 1);
    assert_eq!(db.number("SELECT count(*) FROM series"), 5);
}

fn constants_beside_tables(db: &mut Database) {
    arrays(db);
    db.stream("merged", "SELECT id, n FROM t UNION ALL SELECT 0, 0");
    db.stream("joined", "SELECT t.id, c.x FROM t, (SELECT 2 AS x) AS c WHERE t.n >= c.x");
    db.stream(
        "grouped",
        "SELECT n, count(*) AS c FROM (SELECT n FROM bag UNION ALL SELECT 1 UNION ALL SELECT 99) AS x GROUP BY n",
    );
    db.stream("distinct_arm", "SELECT n FROM t UNION SELECT 1 UNION SELECT 1");
    db.stream("kept", "SELECT 1 AS x INTERSECT SELECT n FROM bag");
    changes(db);
}

fn functions_in_sub_selects(db: &mut Database) {
    arrays(db);
    db.stream("with_tag", "SELECT id FROM t WHERE EXISTS (SELECT FROM unnest(t.tags) AS x WHERE x > 'a')");
    db.stream("without_tag", "SELECT id FROM t WHERE NOT EXISTS (SELECT FROM unnest(t.tags) AS x WHERE x = 'b')");
    db.stream("listed", "SELECT n FROM bag WHERE n IN (SELECT unnest(more) FROM t)");
    db.stream("counted", "SELECT id, (SELECT count(*) FROM unnest(t.tags) AS x WHERE x IS NOT NULL) AS c FROM t");
    db.stream("best", "SELECT id, (SELECT max(x) FROM unnest(t.more) AS x) AS hi FROM t");
    db.stream(
        "of_both",
        "SELECT t.id, s.x FROM t, LATERAL (SELECT x FROM bag, unnest(bag.tags) AS x WHERE bag.n = t.n) AS s",
    );
    db.stream(
        "in_lateral",
        "SELECT t.id, s.k, s.c FROM t, LATERAL (SELECT x AS k, count(*) AS c FROM unnest(t.tags) AS x GROUP BY x) AS s",
    );
    db.stream("values_of_columns", "SELECT t.id, v.x FROM t, LATERAL (VALUES (t.n), (t.n + 1), (NULL)) AS v(x)");
    db.stream("values_listed", "SELECT id FROM t WHERE n IN (VALUES (2), (3))");
    changes(db);
}

fn items_that_use_sub_selects(db: &mut Database) {
    arrays(db);
    db.stream("calendar", "SELECT g FROM generate_series((SELECT min(n) FROM t), (SELECT max(n) FROM bag)) AS g");
    db.stream("counted", "SELECT g, count(bag.n) AS c FROM generate_series(0, (SELECT count(*) FROM t)) AS g LEFT JOIN bag ON bag.n = g GROUP BY g");
    db.stream("list", "SELECT v.x, t.id FROM (VALUES ((SELECT max(n) FROM t)), (2), ((1 IN (SELECT n FROM bag))::int)) AS v(x) LEFT JOIN t ON t.n = v.x");
    db.stream("beside", "SELECT t.id, x FROM t JOIN unnest(ARRAY(SELECT n FROM bag ORDER BY n)) AS x ON x > t.n");
    db.stream("of_rows", "SELECT t.id, g FROM t, generate_series(t.n, (SELECT max(n) FROM bag)) AS g WHERE g <> 2");
    changes(db);
}
