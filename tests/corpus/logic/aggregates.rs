//! Every aggregate, under every form of GROUP BY, over several inputs; grouping sets; DISTINCT and FILTER.

use super::Queries;

/// Over the columns of `emp`. Results of floating point are rounded: their sums depend on the order of the rows.
const AGGREGATES: [(&str, &str); 36] = [
    ("count", "count(*)"),
    ("count_column", "count(salary)"),
    ("count_distinct", "count(DISTINCT salary)"),
    ("count_two_distinct", "count(DISTINCT (dept, boss))"),
    ("sum", "sum(salary)"),
    ("sum_int", "sum(boss)"),
    ("sum_distinct", "sum(DISTINCT salary)"),
    ("sum_interval", "sum(age(date '2024-01-01', hired))"),
    ("avg", "avg(salary)"),
    ("avg_int", "avg(boss)"),
    ("avg_distinct", "avg(DISTINCT boss)"),
    ("min", "min(salary)"),
    ("max_date", "max(hired)"),
    ("min_text", "min(name)"),
    ("max_enum", "max(feels)"),
    ("min_expression", "min(salary * 2 - boss)"),
    ("bool_and", "bool_and(active)"),
    ("bool_or", "bool_or(active)"),
    ("every", "every(salary > 110)"),
    ("filter", "sum(salary) FILTER (WHERE active)"),
    ("filter_count", "count(*) FILTER (WHERE boss > 3 AND name IS NOT NULL)"),
    ("filter_distinct", "count(DISTINCT dept) FILTER (WHERE active IS NOT FALSE)"),
    ("string", "string_agg(name, ',' ORDER BY name, id)"),
    ("string_distinct", "string_agg(DISTINCT name, ';' ORDER BY name)"),
    ("array", "array_agg(id ORDER BY salary DESC NULLS LAST, id)"),
    ("array_distinct", "array_agg(DISTINCT dept ORDER BY dept)"),
    ("jsonb", "jsonb_agg(name ORDER BY id)"),
    ("jsonb_object", "jsonb_object_agg(id, salary ORDER BY id) FILTER (WHERE id IS NOT NULL)"),
    ("variance", "variance(boss)"),
    ("stddev", "stddev_pop(salary)"),
    ("corr", "round(corr(boss, dept)::numeric, 6)"),
    ("slope", "round(regr_slope(salary, boss)::numeric, 6)"),
    ("percentile", "percentile_disc(0.5) WITHIN GROUP (ORDER BY salary)"),
    ("mode", "mode() WITHIN GROUP (ORDER BY boss)"),
    ("rank", "rank(120) WITHIN GROUP (ORDER BY salary)"),
    ("bits", "bit_or(id) - bit_and(id)"),
];

pub(crate) fn add(queries: &mut Queries) {
    for (name, call) in AGGREGATES {
        let mut add = |form: &str, sql: String| queries.add(&["agg", name, form], sql);
        add("all", format!("SELECT {call} AS v FROM emp"));
        add("one", format!("SELECT dept, {call} AS v FROM emp GROUP BY dept"));
        add("two", format!("SELECT dept, active, {call} AS v FROM emp GROUP BY dept, active"));
        add(
            "expression",
            format!("SELECT extract(year FROM hired) AS y, {call} AS v FROM emp WHERE id > 2 GROUP BY 1"),
        );
        add("hidden_key", format!("SELECT {call} AS v FROM emp GROUP BY feels"));
        add(
            "having",
            format!("SELECT boss, {call} AS v FROM emp GROUP BY boss HAVING count(*) > 1 AND max(salary) < 180"),
        );
        add(
            "join",
            format!(
                "SELECT d.city, {call} AS v FROM (SELECT id, dept, boss, name AS n, name, salary, hired, active, feels FROM emp) AS e JOIN (SELECT id AS d, city FROM dept) AS d ON e.dept = d.d GROUP BY d.city"
            ),
        );
        add(
            "left_join",
            format!(
                "SELECT d.d, {call} AS v FROM (SELECT id AS d FROM dept) AS d LEFT JOIN emp ON dept = d.d AND active GROUP BY d.d"
            ),
        );
        add("rollup", format!("SELECT dept, active, {call} AS v FROM emp GROUP BY ROLLUP (dept, active)"));
        add(
            "above",
            format!(
                "SELECT v, count(*) FROM (SELECT dept, ({call})::text AS v FROM emp GROUP BY dept) AS q GROUP BY v"
            ),
        );
    }
    sets(queries);
    shapes(queries);
}

fn sets(queries: &mut Queries) {
    let sets = [
        ("rollup", "ROLLUP (dept, boss)"),
        ("cube", "CUBE (dept, active)"),
        ("sets", "GROUPING SETS ((dept, active), (boss), ())"),
        ("repeated", "GROUPING SETS ((dept), (dept))"),
        ("no_total", "GROUPING SETS ((dept), (active))"),
        ("only_total", "GROUPING SETS ((), ())"),
        ("product", "dept, ROLLUP (active, feels)"),
        ("crossed", "CUBE (dept), ROLLUP (active)"),
        ("nested", "GROUPING SETS (ROLLUP (dept, active), CUBE (boss))"),
        ("expression", "ROLLUP (dept % 2, hired)"),
    ];
    for (name, by) in sets {
        queries.add(
            &["sets", name, "count"],
            format!("SELECT count(*), sum(salary) AS s, count(boss) AS b FROM emp GROUP BY {by}"),
        );
        queries.add(&["sets", name, "minmax"], format!("SELECT min(salary) AS low, max(name) AS high, avg(salary) AS mid FROM emp WHERE id % 5 > 0 GROUP BY {by}"));
        queries.add(
            &["sets", name, "having"],
            format!("SELECT count(*), sum(salary) AS s FROM emp GROUP BY {by} HAVING count(*) > 2"),
        );
        queries.add(
            &["sets", name, "distinct"],
            format!("SELECT count(DISTINCT salary) AS c, array_agg(id ORDER BY id) AS ids FROM emp GROUP BY {by}"),
        );
    }
    for (name, sql) in [
        ("columns", "SELECT dept, active, grouping(dept, active) AS g, count(*) FROM emp GROUP BY CUBE (dept, active)"),
        (
            "grouping_case",
            "SELECT CASE grouping(city) WHEN 1 THEN 'all' ELSE coalesce(city, 'none') END AS c, sum(budget) AS s FROM dept GROUP BY ROLLUP (city)",
        ),
        (
            "having_grouping",
            "SELECT dept, active, sum(salary) AS s FROM emp GROUP BY ROLLUP (dept, active) HAVING grouping(active) = 0",
        ),
        (
            "of_join",
            "SELECT d.city, i.kind, sum(s.qty) AS n FROM sale s JOIN emp e ON e.id = s.emp JOIN dept d ON d.id = e.dept JOIN item i ON i.id = s.item GROUP BY ROLLUP (d.city, i.kind)",
        ),
        (
            "distinct_sets",
            "SELECT dept, active, count(*) FROM emp GROUP BY DISTINCT ROLLUP (dept, active), ROLLUP (dept)",
        ),
        (
            "under_join",
            "SELECT q.dept, q.n, d.name FROM (SELECT dept, active, count(*) AS n FROM emp GROUP BY CUBE (dept, active)) AS q JOIN dept d ON d.id = q.dept",
        ),
        (
            "over_group",
            "SELECT n, count(*) FROM (SELECT dept, count(*) AS n FROM emp GROUP BY ROLLUP (dept)) AS q GROUP BY n",
        ),
    ] {
        queries.add(&["sets", name], sql);
    }
}

fn shapes(queries: &mut Queries) {
    for (name, sql) in [
        ("of_nothing", "SELECT count(*), sum(salary) AS s, max(id) AS m, bool_and(active) AS b FROM emp WHERE id < 0"),
        (
            "mixed",
            "SELECT dept, count(*) * 100 / (SELECT 7) AS n, round(avg(salary), 1) AS a, max(id) - min(id) AS d FROM emp GROUP BY dept",
        ),
        ("twice", "SELECT max(n) AS top, count(*) FROM (SELECT dept, count(*) AS n FROM emp GROUP BY dept) AS q"),
        (
            "thrice",
            "SELECT n % 2 AS odd, sum(m) AS s FROM (SELECT n, count(*) AS m FROM (SELECT dept, count(*) AS n FROM emp GROUP BY dept) AS q GROUP BY n) AS p GROUP BY 1",
        ),
        ("of_keyless", "SELECT x, y, count(*) FROM b GROUP BY x, y"),
        (
            "of_union",
            "SELECT x, count(*), sum(y) AS s FROM (SELECT x, y FROM a UNION ALL SELECT x, y FROM b) AS q GROUP BY x",
        ),
        (
            "of_case",
            "SELECT CASE WHEN salary > 140 THEN 'high' WHEN salary > 110 THEN 'mid' ELSE 'low' END AS band, count(*), sum(salary) AS s FROM emp GROUP BY 1",
        ),
        (
            "key_dependent",
            "SELECT d.id, d.name, d.city, count(e.id) AS n FROM dept d LEFT JOIN emp e ON e.dept = d.id GROUP BY d.id",
        ),
        ("group_alias", "SELECT lower(city) AS c, count(*) FROM dept GROUP BY lower(city)"),
        ("group_all_null", "SELECT note, item, count(*), count(qty) AS q FROM sale GROUP BY note, item"),
        (
            "date_trunc",
            "SELECT date_trunc('day', at) AS day, sum(qty) AS n, min(at) AS first, max(at) AS last FROM sale GROUP BY 1",
        ),
        ("arrays", "SELECT tags, count(*) FROM item GROUP BY tags"),
        ("jsonb_key", "SELECT attrs ->> 'name' AS n, sum((attrs ->> 'size')::int) AS s FROM item GROUP BY 1"),
        ("ranges", "SELECT range_agg(span) AS r, kind FROM item GROUP BY kind"),
        ("row_key", "SELECT place, count(*), max(v) AS v FROM c GROUP BY place"),
        ("domain", "SELECT size, count(*), sum(size) AS s FROM c GROUP BY size"),
        ("json_agg", "SELECT kind, json_agg(price ORDER BY price, id) AS j FROM item GROUP BY kind"),
        (
            "filter_all",
            "SELECT count(*) FILTER (WHERE x IS NULL) AS nulls, sum(y) FILTER (WHERE x > 2) AS s, min(x) FILTER (WHERE y = 9) AS m FROM a",
        ),
        ("distinct_of_group", "SELECT DISTINCT count(*) FROM emp GROUP BY dept"),
        ("constant_group", "SELECT 'all' AS what, count(*) FROM emp GROUP BY 1"),
        ("having_only", "SELECT 1 AS one FROM emp HAVING count(*) > 10"),
    ] {
        queries.add(&["aggs", name], sql);
    }
}
