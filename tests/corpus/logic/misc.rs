//! WITH, recursion, set-returning functions, VALUES, types and expressions.

use super::Queries;

pub(crate) fn add(queries: &mut Queries) {
    with(queries);
    functions(queries);
    expressions(queries);
}

fn with(queries: &mut Queries) {
    for (name, sql) in [
        (
            "once",
            "WITH q AS (SELECT dept, sum(salary) AS s FROM emp GROUP BY dept) SELECT d.name, q.s FROM q JOIN dept d ON d.id = q.dept",
        ),
        (
            "twice",
            "WITH q AS (SELECT dept, sum(salary) AS s FROM emp GROUP BY dept) SELECT p.dept, q.dept AS other FROM q AS p JOIN q ON p.s < q.s",
        ),
        (
            "materialized",
            "WITH q AS MATERIALIZED (SELECT x, y FROM a WHERE y > 0) SELECT p.x, q.y FROM q AS p LEFT JOIN q ON p.x = q.y",
        ),
        (
            "chain",
            "WITH p AS (SELECT emp, sum(qty) AS n FROM sale GROUP BY emp), q AS (SELECT e.dept, sum(p.n) AS n FROM p JOIN emp e ON e.id = p.emp GROUP BY e.dept) SELECT d.name, q.n FROM q RIGHT JOIN dept d ON d.id = q.dept",
        ),
        ("with_in_sub", "SELECT x FROM a WHERE y IN (WITH q AS (SELECT y FROM b WHERE w > 2) SELECT y FROM q)"),
        (
            "max_of",
            "WITH q AS (SELECT dept, sum(salary) AS s FROM emp GROUP BY dept) SELECT dept, s FROM q WHERE s = (SELECT max(s) FROM q)",
        ),
        ("unused", "WITH q AS (SELECT count(*) FROM sale) SELECT id FROM dept"),
        ("shadow", "WITH a AS (SELECT x + 1 AS x FROM b) SELECT a.x, c.k FROM a JOIN c ON c.x = a.x"),
        (
            "union_of",
            "WITH q AS (SELECT x, count(*) AS n FROM a GROUP BY x) SELECT x FROM q WHERE n > 2 UNION ALL SELECT x + 100 FROM q WHERE n <= 2",
        ),
        (
            "exists",
            "WITH q AS (SELECT DISTINCT emp FROM sale WHERE qty > 3) SELECT e.id FROM emp e WHERE EXISTS (SELECT FROM q WHERE q.emp = e.id) AND e.boss NOT IN (SELECT emp FROM q WHERE emp IS NOT NULL)",
        ),
        (
            "rec_up",
            "WITH RECURSIVE up AS (SELECT id, parent, label FROM tree WHERE id % 7 = 0 UNION ALL SELECT t.id, t.parent, t.label FROM tree t JOIN up ON t.id = up.parent AND t.id < up.id) SELECT id, label FROM up",
        ),
        (
            "rec_down",
            "WITH RECURSIVE down AS (SELECT id, 0 AS depth FROM tree WHERE parent IS NULL UNION ALL SELECT t.id, depth + 1 FROM tree t JOIN down ON t.parent = down.id WHERE depth < 6) SELECT id, depth FROM down",
        ),
        (
            "rec_union",
            "WITH RECURSIVE reach AS (SELECT x, y FROM b WHERE x IS NOT NULL UNION SELECT reach.x, a.y FROM reach JOIN a ON a.x = reach.y) SELECT x, y FROM reach",
        ),
        (
            "rec_sum",
            "WITH RECURSIVE down AS (SELECT id, id AS root, weight FROM tree WHERE parent IS NULL UNION ALL SELECT t.id, root, t.weight FROM tree t JOIN down ON t.parent = down.id AND t.id > down.id) SELECT root, sum(weight) AS s, count(*) FROM down GROUP BY root",
        ),
        (
            "rec_path",
            "WITH RECURSIVE p AS (SELECT id, label AS path, 1 AS n FROM tree WHERE parent IS NULL UNION ALL SELECT t.id, p.path || '/' || t.label, n + 1 FROM p JOIN tree t ON t.parent = p.id WHERE n < 5) SELECT path, n FROM p",
        ),
        (
            "rec_cycle",
            "WITH RECURSIVE reach AS (SELECT x, y FROM b WHERE x IS NOT NULL UNION ALL SELECT reach.x, a.y FROM reach JOIN a ON a.x = reach.y AND a.y < 4) CYCLE y SET again TO 'Y' DEFAULT 'N' USING path SELECT x, y, again, cardinality(path) AS n FROM reach",
        ),
        (
            "rec_search",
            "WITH RECURSIVE down AS (SELECT id, label FROM tree WHERE parent IS NULL UNION ALL SELECT t.id, t.label FROM tree t JOIN down ON t.parent = down.id AND t.id > down.id) SEARCH DEPTH FIRST BY label, id SET place SELECT id, label FROM down ORDER BY place LIMIT 9",
        ),
        (
            "rec_count",
            "WITH RECURSIVE s(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM s WHERE n < 5) SELECT s.n, count(a.x) AS c FROM s LEFT JOIN a ON a.x = s.n GROUP BY s.n",
        ),
        (
            "rec_joined",
            "WITH RECURSIVE c AS (SELECT id, boss, 1 AS level FROM emp WHERE boss IS NULL UNION SELECT e.id, e.boss, level + 1 FROM emp e JOIN c ON e.boss = c.id WHERE level < 4) SELECT d.name, max(c.level) AS deep FROM c JOIN emp e ON e.id = c.id LEFT JOIN dept d ON d.id = e.dept GROUP BY d.name",
        ),
        (
            "rec_twice",
            "WITH RECURSIVE r AS (SELECT id, parent FROM tree WHERE weight > 7 UNION SELECT t.id, t.parent FROM tree t JOIN r ON r.parent = t.id) SELECT p.id, q.id AS other FROM r p JOIN r q ON p.parent = q.parent AND p.id < q.id",
        ),
    ] {
        queries.add(&["with", name], sql);
    }
}

fn functions(queries: &mut Queries) {
    for (name, sql) in [
        ("series", "SELECT d.id, g FROM dept d, generate_series(1, d.id % 4) AS g"),
        ("series_left", "SELECT d.id, g FROM dept d LEFT JOIN generate_series(1, d.id % 3) AS g ON true"),
        ("series_alone", "SELECT g, g * g AS square FROM generate_series(1, 5) AS g"),
        (
            "series_join",
            "SELECT g, count(e.id) AS n FROM generate_series(0, 9) AS g LEFT JOIN emp e ON e.dept = g GROUP BY g",
        ),
        (
            "days",
            "SELECT day::date AS day, count(s.qty) AS n FROM generate_series(timestamp '2024-01-01', '2024-01-07', '1 day') AS day LEFT JOIN sale s ON s.at >= day AND s.at < day + interval '1 day' GROUP BY 1",
        ),
        ("unnest", "SELECT i.id, tag FROM item i, unnest(i.tags) AS tag"),
        ("unnest_left", "SELECT i.id, tag FROM item i LEFT JOIN LATERAL unnest(i.tags) AS tag ON tag <> 'red'"),
        ("unnest_group", "SELECT tag, count(*), sum(price) AS s FROM item, unnest(tags) AS tag GROUP BY tag"),
        (
            "ordinality",
            "SELECT i.id, u.tag, u.n FROM item i, unnest(i.tags) WITH ORDINALITY AS u(tag, n) WHERE u.n < 2",
        ),
        (
            "rows_from",
            "SELECT i.id, r.tag, r.g FROM item i, ROWS FROM (unnest(i.tags), generate_series(1, 3)) AS r(tag, g)",
        ),
        ("select_list", "SELECT id, unnest(tags) AS tag FROM item"),
        ("select_two", "SELECT id, unnest(tags) AS tag, generate_series(1, 3) AS g FROM item"),
        ("select_group", "SELECT unnest(tags) AS tag, count(*) FROM item GROUP BY 1"),
        ("each", "SELECT i.id, e.key, e.value FROM item i, jsonb_each(i.attrs) AS e"),
        ("elements", "SELECT i.id, e FROM item i, jsonb_array_elements(i.attrs -> 'list') AS e"),
        (
            "elements_text",
            "SELECT e, count(*) FROM item i, jsonb_array_elements_text(i.attrs -> 'list') AS e GROUP BY e",
        ),
        ("keys", "SELECT i.kind, k FROM item i, jsonb_object_keys(i.attrs) AS k WHERE i.price > 3"),
        ("to_record", "SELECT i.id, r.size, r.name FROM item i, jsonb_to_record(i.attrs) AS r(size int, name text)"),
        ("split", "SELECT e.id, part FROM emp e, string_to_table(e.name, ' ') AS part"),
        ("regexp", "SELECT e.id, m FROM emp e, regexp_matches(e.name, '[0-9]', 'g') AS m"),
        (
            "json_table",
            "SELECT i.id, j.n, j.v FROM item i, JSON_TABLE(i.attrs, '$.list[*]' COLUMNS (n FOR ORDINALITY, v int PATH '$')) AS j",
        ),
        ("unnest_in", "SELECT i.id FROM item i WHERE 'red' IN (SELECT unnest(i.tags))"),
        ("unnest_exists", "SELECT i.id FROM item i WHERE EXISTS (SELECT FROM unnest(i.tags) AS u WHERE u LIKE 'n%')"),
        (
            "series_of_group",
            "SELECT q.dept, g FROM (SELECT dept, count(*)::int AS n FROM emp GROUP BY dept) AS q, generate_series(1, q.n) AS g",
        ),
        ("values", "SELECT v.n, v.t FROM (VALUES (1, 'one'), (2, 'two'), (2, 'zwei')) AS v(n, t)"),
        (
            "values_join",
            "SELECT v.t, a.z FROM (VALUES (1, 'one'), (2, 'two'), (NULL, 'none')) AS v(n, t) JOIN a ON a.x = v.n",
        ),
        (
            "values_left",
            "SELECT v.t, count(a.z) AS n FROM (VALUES (1, 'one'), (2, 'two')) AS v(n, t) LEFT JOIN a ON a.x = v.n GROUP BY v.t",
        ),
        ("no_from", "SELECT 1 AS one, 'x' AS x"),
        ("only_values", "VALUES (1, 'a'), (2, 'b')"),
        ("no_from_scalar", "SELECT (SELECT count(*) FROM a) AS a, (SELECT max(x) FROM b) AS b"),
        ("composite", "SELECT k, (place).x AS px, (place).y AS py FROM c WHERE (place).x > 0"),
        ("composite_star", "SELECT k, (place).* FROM c"),
    ] {
        queries.add(&["function", name], sql);
    }
}

fn expressions(queries: &mut Queries) {
    let expressions = [
        ("case", "CASE WHEN salary > 150 THEN 'rich' WHEN salary IS NULL THEN NULL ELSE name END"),
        ("simple_case", "CASE dept WHEN 1 THEN 'one' WHEN 2 THEN 'two' ELSE 'many' END"),
        ("coalesce", "coalesce(name, feels::text, 'nobody')"),
        ("nullif", "nullif(dept, boss)"),
        ("greatest", "greatest(dept, boss, 3)"),
        ("concat", "name || '/' || dept"),
        ("concat_ws", "concat_ws('-', name, dept, active)"),
        ("format", "format('%s:%s', id, name)"),
        ("substring", "substring(name FROM 3 FOR 4)"),
        ("regexp", "regexp_replace(name, '[0-9]+', '#')"),
        ("like", "name LIKE '%1%'"),
        ("ilike", "name ILIKE 'NAME _'"),
        ("similar", "name SIMILAR TO '%(1|2)'"),
        ("position", "position('e' IN name)"),
        ("overlay", "overlay(name PLACING 'XX' FROM 2 FOR 2)"),
        ("trim", "trim(BOTH 'n' FROM name)"),
        ("date_plus", "hired + 30"),
        ("date_interval", "hired + interval '1 month'"),
        ("extract", "extract(month FROM hired)"),
        ("date_trunc", "date_trunc('month', hired::timestamp)"),
        ("to_char", "to_char(salary, 'FM999990.00')"),
        ("between", "salary BETWEEN 110 AND 150"),
        ("between_symmetric", "dept BETWEEN SYMMETRIC 6 AND boss"),
        ("in_list", "dept IN (1, 3, 5)"),
        ("not_in_list", "dept NOT IN (1, NULL, 5)"),
        ("is_distinct", "dept IS DISTINCT FROM boss"),
        ("is_true", "active IS TRUE"),
        ("is_unknown", "active IS UNKNOWN"),
        ("three_valued", "NOT (active AND salary > 120)"),
        ("row_compare", "(dept, boss) < (3, 4)"),
        ("row_null", "(dept, boss) IS NULL"),
        ("row_value", "ROW(dept, id)::spot"),
        ("array", "ARRAY[dept, boss]"),
        ("array_nested", "ARRAY[ARRAY[dept, boss], ARRAY[id, 0]]"),
        ("array_slice", "(ARRAY[id, dept, boss])[2:3]"),
        ("any", "dept = ANY (ARRAY[1, 2, boss])"),
        ("all", "dept <> ALL (ARRAY[1, 2, boss])"),
        ("jsonb", "jsonb_build_object('d', dept, 'n', name)"),
        ("jsonb_path", "jsonb_build_object('d', dept) -> 'd'"),
        ("numeric", "round(salary / 7, 3)"),
        ("integer_division", "id / 3 * 3 + id % 3"),
        ("cast_text", "salary::text"),
        ("cast_int", "salary::int"),
        ("enum", "feels >= 'calm'"),
        ("collate", "name COLLATE \"C\" < 'name 5'"),
        ("interval", "age(date '2024-01-01', hired)"),
        ("bits", "(id & 3) | (dept << 1)"),
        ("width_bucket", "width_bucket(salary, 100, 200, 4)"),
        ("int4range", "int4range(least(id, dept), id + 1)"),
        ("overlaps", "int4range(id, id + 3) && int4range(7, 9)"),
        ("md5", "md5(name)"),
        ("sql_json", "JSON_OBJECT('a': dept, 'b': name RETURNING jsonb)"),
    ];
    for (name, expression) in expressions {
        queries.add(&["expression", name, "select"], format!("SELECT id, {expression} AS v FROM emp"));
        queries.add(&["expression", name, "group"], format!("SELECT {expression} AS v, count(*) FROM emp GROUP BY 1"));
        queries.add(&["expression", name, "distinct"], format!("SELECT DISTINCT {expression} AS v, active FROM emp"));
        queries
            .add(&["expression", name, "filter"], format!("SELECT id, name FROM emp WHERE ({expression}) IS NOT NULL"));
        queries.add(
            &["expression", name, "padded"],
            format!("SELECT d, {expression} AS v FROM (SELECT id AS d FROM dept) AS d LEFT JOIN emp ON dept = d"),
        );
    }
}
