//! Sub-selects of every kind in every place, with every form of correlation, over every form of body.

use super::Queries;

/// How the inner query `b` depends on the outer row of `a`.
const CORRELATIONS: [(&str, &str); 6] = [
    ("none", "true"),
    ("equal", "b.x = a.x"),
    ("two", "b.x = a.x AND b.y = a.y"),
    ("unequal", "b.x > a.x"),
    ("mixed", "b.y = a.y AND b.x <> a.x"),
    ("same", "b.x IS NOT DISTINCT FROM a.x"),
];

pub(crate) fn add(queries: &mut Queries) {
    for (how, on) in CORRELATIONS {
        // One integer column, several rows.
        let bodies = [
            ("plain", format!("SELECT b.y FROM b WHERE {on}")),
            ("filtered", format!("SELECT b.y FROM b WHERE {on} AND b.w > 2 AND b.y IS NOT NULL")),
            ("distinct", format!("SELECT DISTINCT b.y FROM b WHERE {on}")),
            ("grouped", format!("SELECT b.y FROM b WHERE {on} GROUP BY b.y HAVING count(*) > 1")),
            ("joined", format!("SELECT b.y FROM b JOIN c ON c.x = b.x WHERE {on}")),
            (
                "union",
                format!(
                    "SELECT b.y FROM b WHERE {on} UNION ALL SELECT c.x FROM c WHERE c.v > 300 AND c.x IS NOT DISTINCT FROM a.x"
                ),
            ),
        ];
        for (body, inner) in &bodies {
            places(queries, how, body, inner);
        }
        scalars(queries, how, on);
    }
    rest(queries);
}

fn places(queries: &mut Queries, how: &str, body: &str, inner: &str) {
    let mut add = |place: &str, sql: String| queries.add(&["sub", how, body, place], sql);
    add("exists", format!("SELECT a.x, a.z FROM a WHERE EXISTS ({inner})"));
    add("not_exists", format!("SELECT a.x, a.z FROM a WHERE NOT EXISTS ({inner})"));
    add("in", format!("SELECT a.x, a.y FROM a WHERE a.y IN ({inner})"));
    add("not_in", format!("SELECT a.x, a.y FROM a WHERE a.y NOT IN ({inner})"));
    add("less_any", format!("SELECT a.x, a.y FROM a WHERE a.y < ANY ({inner})"));
    add("at_least_all", format!("SELECT a.x, a.y FROM a WHERE a.y >= ALL ({inner})"));
    add("or_exists", format!("SELECT a.x, a.y FROM a WHERE a.y = 1 OR EXISTS ({inner})"));
    add("select_in", format!("SELECT a.x, a.y, a.y IN ({inner}) AS t FROM a"));
    add("case_exists", format!("SELECT a.z, CASE WHEN EXISTS ({inner}) THEN a.x ELSE -1 END AS v FROM a"));
    add("group_above", format!("SELECT a.z, count(*) FROM a WHERE EXISTS ({inner}) GROUP BY a.z"));
    add("joined_above", format!("SELECT a.x, c.k FROM a JOIN c ON c.x = a.x WHERE a.y IN ({inner})"));
    add(
        "two",
        format!(
            "SELECT a.x FROM a WHERE a.y IN ({inner}) AND NOT EXISTS (SELECT FROM c WHERE c.x = a.x AND c.v = 200)"
        ),
    );
    add("count", format!("SELECT a.x, (SELECT count(*) FROM ({inner}) AS q) AS n FROM a"));
    add("lateral", format!("SELECT a.x, a.z, q.y FROM a, LATERAL ({inner}) AS q"));
    add("left_lateral", format!("SELECT a.x, a.z, q.y FROM a LEFT JOIN LATERAL ({inner}) AS q ON true"));
}

fn scalars(queries: &mut Queries, how: &str, on: &str) {
    let aggregates = [
        ("count", "count(*)"),
        ("countx", "count(b.w)"),
        ("sum", "sum(b.y)"),
        ("max", "max(b.y)"),
        ("avg", "round(avg(b.w), 3)"),
        ("sum_plus", "coalesce(sum(b.y), 0) + 1"),
        ("string", "string_agg(b.y::text, ',' ORDER BY b.y)"),
    ];
    for (name, aggregate) in aggregates {
        let scalar = format!("(SELECT {aggregate} FROM b WHERE {on})");
        queries.add(&["scalar", how, name, "select"], format!("SELECT a.x, a.y, {scalar} AS s FROM a"));
        if name != "string" {
            queries.add(&["scalar", how, name, "where"], format!("SELECT a.x, a.y FROM a WHERE a.y < {scalar}"));
            queries.add(&["scalar", how, name, "group"], format!("SELECT a.z, sum({scalar}) AS s FROM a GROUP BY a.z"));
        }
    }
    queries.add(
        &["scalar", how, "first"],
        format!("SELECT a.x, (SELECT b.w FROM b WHERE {on} ORDER BY b.w DESC NULLS LAST, b.y LIMIT 1) AS s FROM a"),
    );
    queries.add(
        &["scalar", how, "array"],
        format!("SELECT a.x, ARRAY(SELECT b.y FROM b WHERE {on} ORDER BY b.y) AS s FROM a"),
    );
    queries.add(
        &["scalar", how, "row"],
        format!("SELECT a.x FROM a WHERE (a.x, a.y) IN (SELECT b.x, b.y FROM b WHERE {on})"),
    );
    queries.add(
        &["scalar", how, "row_not"],
        format!("SELECT a.x FROM a WHERE (a.x, a.y) NOT IN (SELECT b.x, b.y FROM b WHERE {on} AND b.x IS NOT NULL)"),
    );
    queries.add(
        &["scalar", how, "row_equals"],
        format!("SELECT a.x, (a.x, a.y) <= (SELECT max(b.x), min(b.y) FROM b WHERE {on}) AS t FROM a"),
    );
    queries.add(
        &["scalar", how, "outer_call"],
        format!(
            "SELECT a.x, a.y, (SELECT count(*) FROM b WHERE {on} AND b.y <= count(a.z)) AS n FROM a GROUP BY a.x, a.y"
        ),
    );
    queries.add(
        &["scalar", how, "inner_row"],
        format!("SELECT a.z, (SELECT jsonb_agg(b ORDER BY b) FROM b WHERE {on}) AS s FROM a"),
    );
    queries.add(
        &["lateral", how, "outer_row"],
        format!(
            "SELECT q.s, q.n FROM a, LATERAL (SELECT row_to_json(a)::text AS s, count(b) AS n FROM b WHERE {on}) AS q"
        ),
    );
    queries.add(
        &["lateral", how, "top"],
        format!("SELECT a.x, q.w FROM a, LATERAL (SELECT b.w FROM b WHERE {on} ORDER BY b.w, b.y LIMIT 2) AS q"),
    );
    queries.add(&["lateral", how, "left_top"], format!("SELECT a.x, q.w FROM a LEFT JOIN LATERAL (SELECT b.w FROM b WHERE {on} ORDER BY b.w DESC, b.y LIMIT 1) AS q ON q.w > 1"));
    queries.add(
        &["lateral", how, "aggregate"],
        format!("SELECT a.x, q.n, q.s FROM a, LATERAL (SELECT count(*) AS n, sum(b.w) AS s FROM b WHERE {on}) AS q"),
    );
    queries.add(
        &["lateral", how, "grouped"],
        format!("SELECT a.z, q.y, q.n FROM a, LATERAL (SELECT b.y, count(*) AS n FROM b WHERE {on} GROUP BY b.y) AS q"),
    );
    queries.add(
        &["lateral", how, "window"],
        format!(
            "SELECT a.z, q.y, q.r FROM a, LATERAL (SELECT b.y, rank() OVER (ORDER BY b.w) AS r FROM b WHERE {on}) AS q"
        ),
    );
}

/// Places that the grid does not have.
fn rest(queries: &mut Queries) {
    for (name, sql) in [
        ("having", "SELECT dept, count(*) FROM emp GROUP BY dept HAVING count(*) > (SELECT count(*) FROM dept) / 4"),
        (
            "having_max",
            "SELECT dept, sum(salary) AS s FROM emp GROUP BY dept HAVING sum(salary) >= ALL (SELECT sum(salary) FROM emp GROUP BY dept HAVING sum(salary) IS NOT NULL)",
        ),
        ("in_group", "SELECT name FROM dept WHERE id IN (SELECT dept FROM emp GROUP BY dept HAVING avg(salary) > 130)"),
        ("equal_max", "SELECT id, name, salary FROM emp WHERE salary = (SELECT max(salary) FROM emp)"),
        (
            "per_dept_max",
            "SELECT e.id, e.salary FROM emp e WHERE e.salary = (SELECT max(f.salary) FROM emp f WHERE f.dept = e.dept)",
        ),
        (
            "above_average",
            "SELECT e.id FROM emp e WHERE e.salary > (SELECT avg(f.salary) FROM emp f WHERE f.dept IS NOT DISTINCT FROM e.dept)",
        ),
        (
            "two_levels",
            "SELECT d.name FROM dept d WHERE EXISTS (SELECT FROM emp e WHERE e.dept = d.id AND NOT EXISTS (SELECT FROM sale s WHERE s.emp = e.id))",
        ),
        (
            "two_levels_far",
            "SELECT d.name FROM dept d WHERE EXISTS (SELECT FROM emp e WHERE e.dept = d.id AND EXISTS (SELECT FROM sale s WHERE s.emp = e.id AND s.qty > d.id))",
        ),
        (
            "all_sold",
            "SELECT i.id FROM item i WHERE NOT EXISTS (SELECT FROM dept d WHERE NOT EXISTS (SELECT FROM emp e JOIN sale s ON s.emp = e.id WHERE e.dept = d.id AND s.item = i.id))",
        ),
        (
            "scalar_in_on",
            "SELECT e.id, d.name FROM emp e JOIN dept d ON e.dept = d.id AND d.budget > (SELECT avg(budget) FROM dept)",
        ),
        (
            "exists_in_left_on",
            "SELECT e.id, d.name FROM emp e LEFT JOIN dept d ON e.dept = d.id AND EXISTS (SELECT FROM sale s WHERE s.emp = d.id)",
        ),
        (
            "in_in",
            "SELECT id FROM emp WHERE dept IN (SELECT id FROM dept WHERE city IN (SELECT city FROM dept WHERE budget > 4000))",
        ),
        ("uncorrelated_select", "SELECT id, salary - (SELECT min(salary) FROM emp) AS over FROM emp"),
        (
            "nullif_scalar",
            "SELECT d.id, coalesce((SELECT max(e.salary) FROM emp e WHERE e.dept = d.id), -1) AS top FROM dept d",
        ),
        ("scalar_key", "SELECT s.qty, (SELECT i.kind FROM item i WHERE i.id = s.item) AS kind FROM sale s"),
        ("scalar_key_where", "SELECT s.qty FROM sale s WHERE (SELECT e.active FROM emp e WHERE e.id = s.emp)"),
        (
            "group_by_scalar",
            "SELECT (SELECT d.city FROM dept d WHERE d.id = e.dept) AS city, count(*) FROM emp e GROUP BY 1",
        ),
        (
            "agg_of_exists",
            "SELECT e.dept, count(*) FILTER (WHERE EXISTS (SELECT FROM sale s WHERE s.emp = e.id)) AS sellers FROM emp e GROUP BY e.dept",
        ),
        (
            "not_and_or",
            "SELECT e.id FROM emp e WHERE NOT (e.active AND EXISTS (SELECT FROM sale s WHERE s.emp = e.id) OR e.dept IN (SELECT id FROM dept WHERE city = 'Rome'))",
        ),
        (
            "exists_or_exists",
            "SELECT a.x, a.y FROM a WHERE EXISTS (SELECT FROM b WHERE b.x = a.x AND b.y = 1) OR EXISTS (SELECT FROM c WHERE c.x = a.y)",
        ),
        (
            "case_in",
            "SELECT id, CASE WHEN dept IN (SELECT id FROM dept WHERE city = 'Oslo') THEN 'o' WHEN dept NOT IN (SELECT id FROM dept) THEN 'n' ELSE '?' END AS t FROM emp",
        ),
        (
            "exists_select",
            "SELECT d.id, EXISTS (SELECT FROM emp e WHERE e.dept = d.id AND e.active) AS has FROM dept d",
        ),
        ("exists_limit", "SELECT d.id FROM dept d WHERE EXISTS (SELECT FROM emp e WHERE e.dept = d.id LIMIT 1)"),
        ("in_values", "SELECT id FROM emp WHERE (dept, boss) IN (VALUES (1, 2), (3, 4), (5, NULL))"),
        ("any_array", "SELECT id FROM item WHERE 'red' = ANY (tags)"),
        ("array_any_scalar", "SELECT a.x FROM a WHERE a.y = ANY (ARRAY(SELECT b.y FROM b WHERE b.w > 3 ORDER BY b.y))"),
        (
            "lateral_chain",
            "SELECT d.id, e.id AS e, s.n FROM dept d, LATERAL (SELECT id FROM emp WHERE dept = d.id) AS e, LATERAL (SELECT count(*) AS n FROM sale WHERE emp = e.id) AS s",
        ),
        (
            "lateral_values",
            "SELECT e.id, v.what, v.amount FROM emp e, LATERAL (VALUES ('pay', e.salary), ('double', e.salary * 2)) AS v(what, amount)",
        ),
        (
            "lateral_set",
            "SELECT a.x, q.n FROM a, LATERAL (SELECT b.y AS n FROM b WHERE b.x = a.x UNION SELECT a.y) AS q",
        ),
        ("lateral_no_from", "SELECT e.id, q.t FROM emp e, LATERAL (SELECT e.salary * 12 AS t) AS q WHERE q.t > 1500"),
    ] {
        queries.add(&["sub", name], sql);
    }
}
