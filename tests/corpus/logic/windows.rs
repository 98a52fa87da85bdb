//! Window functions: each over several partitions, orders and frames; below and above other operators; and what takes
//! the first rows of an order.

use super::Queries;

const FUNCTIONS: [(&str, &str); 22] = [
    ("row_number", "row_number()"),
    ("rank", "rank()"),
    ("dense_rank", "dense_rank()"),
    ("percent_rank", "percent_rank()"),
    ("cume_dist", "cume_dist()"),
    ("ntile", "ntile(3)"),
    ("lag", "lag(salary)"),
    ("lag_two", "lag(name, 2, 'none')"),
    ("lead", "lead(id)"),
    ("first", "first_value(salary)"),
    ("last", "last_value(id)"),
    ("nth", "nth_value(name, 2)"),
    ("sum", "sum(salary)"),
    ("sum_int", "sum(boss)"),
    ("avg", "avg(salary)"),
    ("count", "count(*)"),
    ("count_filter", "count(*) FILTER (WHERE active)"),
    ("min", "min(salary)"),
    ("max", "max(name)"),
    ("string", "string_agg(name, ',')"),
    ("array", "array_agg(id)"),
    ("bool", "bool_or(active)"),
];

pub(crate) fn add(queries: &mut Queries) {
    for (name, call) in FUNCTIONS {
        for (how, window) in [
            ("all", "ORDER BY salary, id"),
            ("by_dept", "PARTITION BY dept ORDER BY hired DESC, id"),
            ("by_two", "PARTITION BY dept, active ORDER BY name NULLS FIRST, id"),
            ("by_expression", "PARTITION BY boss % 3 ORDER BY id"),
        ] {
            queries.add(&["window", name, how], format!("SELECT id, dept, {call} OVER ({window}) AS v FROM emp"));
        }
        queries.add(
            &["window", name, "filtered"],
            format!("SELECT dept, name, {call} OVER (PARTITION BY dept ORDER BY id) AS v FROM emp WHERE salary > 105"),
        );
        queries.add(&["window", name, "of_join"], format!("SELECT id, city, {call} OVER (PARTITION BY city ORDER BY id) AS v FROM emp LEFT JOIN (SELECT id AS d, city FROM dept) AS d ON dept = d"));
        queries.add(&["window", name, "above"], format!("SELECT v::text AS v, count(*) FROM (SELECT {call} OVER (PARTITION BY dept ORDER BY id) AS v FROM emp) AS q GROUP BY 1"));
    }
    frames(queries);
    shapes(queries);
    firsts(queries);
}

fn frames(queries: &mut Queries) {
    let frames = [
        ("running", "ORDER BY id ROWS UNBOUNDED PRECEDING"),
        ("three", "ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING"),
        ("rest", "ORDER BY id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING"),
        ("before", "ORDER BY id ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING"),
        ("range_peers", "ORDER BY salary"),
        ("range_near", "ORDER BY salary RANGE BETWEEN 10 PRECEDING AND 10 FOLLOWING"),
        ("range_days", "ORDER BY hired RANGE BETWEEN '60 days' PRECEDING AND CURRENT ROW"),
        ("groups", "ORDER BY hired GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING"),
        ("without_row", "ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW"),
        ("without_ties", "ORDER BY salary GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES"),
        ("whole", ""),
    ];
    for (name, frame) in frames {
        for (aggregate, call) in
            [("sum", "sum(salary)"), ("count", "count(*)"), ("min", "min(boss)"), ("avg", "avg(boss)")]
        {
            queries.add(&["frame", name, aggregate], format!("SELECT id, {call} OVER ({frame}) AS v FROM emp"));
            queries.add(
                &["frame", name, aggregate, "by"],
                format!("SELECT id, {call} OVER (PARTITION BY dept {frame}) AS v FROM emp"),
            );
        }
    }
}

fn shapes(queries: &mut Queries) {
    for (name, sql) in [
        (
            "several",
            "SELECT id, row_number() OVER w AS r, sum(salary) OVER w AS s, count(*) OVER (PARTITION BY active) AS n FROM emp WINDOW w AS (PARTITION BY dept ORDER BY id)",
        ),
        ("arithmetic", "SELECT id, salary - avg(salary) OVER (PARTITION BY dept) AS over FROM emp"),
        (
            "share",
            "SELECT id, round(100 * salary / nullif(sum(salary) OVER (PARTITION BY dept), 0), 2) AS share FROM emp",
        ),
        ("of_group", "SELECT dept, count(*) AS n, rank() OVER (ORDER BY count(*) DESC) AS r FROM emp GROUP BY dept"),
        (
            "running_group",
            "SELECT hired, sum(salary) AS s, sum(sum(salary)) OVER (ORDER BY hired) AS t FROM emp GROUP BY hired",
        ),
        (
            "top_per_dept",
            "SELECT id, dept FROM (SELECT id, dept, row_number() OVER (PARTITION BY dept ORDER BY salary DESC NULLS LAST, id) AS r FROM emp) AS q WHERE r <= 2",
        ),
        (
            "top_ties",
            "SELECT id, dept FROM (SELECT id, dept, rank() OVER (PARTITION BY dept ORDER BY salary DESC NULLS LAST) AS r FROM emp) AS q WHERE r = 1",
        ),
        (
            "window_of_window",
            "SELECT id, max(r) OVER (PARTITION BY active) AS m FROM (SELECT id, active, rank() OVER (PARTITION BY dept ORDER BY hired) AS r FROM emp) AS q",
        ),
        (
            "joined_windows",
            "SELECT p.id, q.r FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM emp) AS p JOIN (SELECT id, rank() OVER (ORDER BY budget) AS r FROM dept) AS q ON p.n = q.r",
        ),
        ("keyless", "SELECT x, y, row_number() OVER (PARTITION BY x ORDER BY y, w) AS r FROM b"),
        ("keyless_sum", "SELECT x, w, sum(w) OVER (PARTITION BY x ORDER BY y, w) AS r FROM b"),
        ("distinct", "SELECT DISTINCT dept, count(*) OVER (PARTITION BY dept) AS n FROM emp"),
        ("gaps", "SELECT x, x - lag(x) OVER (ORDER BY k, x) AS gap FROM c"),
        (
            "islands",
            "SELECT g, count(*), min(id) AS first FROM (SELECT id, id - row_number() OVER (ORDER BY id) AS g FROM emp WHERE salary > 110) AS q GROUP BY g",
        ),
        (
            "union",
            "SELECT x, count(*) OVER (PARTITION BY x) AS n FROM (SELECT x FROM a UNION ALL SELECT x FROM b) AS q",
        ),
    ] {
        queries.add(&["windows", name], sql);
    }
}

/// ORDER BY with LIMIT, OFFSET and WITH TIES; DISTINCT ON.
fn firsts(queries: &mut Queries) {
    let inputs = [
        ("emp", "SELECT id, dept, salary FROM emp ORDER BY salary DESC NULLS LAST, id"),
        ("nulls_first", "SELECT id, name FROM emp ORDER BY name NULLS FIRST, id DESC"),
        ("expression", "SELECT id, salary * 2 AS s FROM emp ORDER BY salary * 2 + boss, id"),
        ("hidden", "SELECT name FROM emp ORDER BY hired DESC, id"),
        ("keyless", "SELECT x, y, w FROM b ORDER BY x, y, w"),
        ("join", "SELECT e.id, d.name FROM emp e JOIN dept d ON e.dept = d.id ORDER BY d.budget NULLS LAST, e.id"),
        ("left", "SELECT d.id, e.id AS e FROM dept d LEFT JOIN emp e ON e.dept = d.id ORDER BY d.id DESC, e.id"),
        ("group", "SELECT dept, sum(salary) AS s FROM emp GROUP BY dept ORDER BY s DESC NULLS LAST, dept"),
        ("distinct", "SELECT DISTINCT dept, active FROM emp ORDER BY dept, active"),
        ("union", "SELECT x FROM a UNION SELECT x FROM b ORDER BY x"),
        (
            "exists",
            "SELECT id FROM emp WHERE EXISTS (SELECT FROM sale WHERE emp = emp.id AND qty > 2) ORDER BY id DESC",
        ),
    ];
    let limits = [
        ("one", "LIMIT 1"),
        ("five", "LIMIT 5"),
        ("offset", "LIMIT 4 OFFSET 3"),
        ("only_offset", "OFFSET 6"),
        ("ties", "FETCH FIRST 3 ROWS WITH TIES"),
    ];
    for (name, sql) in inputs {
        for (how, limit) in limits {
            queries.add(&["top", name, how], format!("{sql} {limit}"));
        }
        queries.add(
            &["top", name, "counted"],
            format!("SELECT count(*), count(DISTINCT q) AS d FROM ({sql} LIMIT 7) AS q"),
        );
        queries.add(
            &["top", name, "joined"],
            format!("SELECT q.*, t.n FROM ({sql} LIMIT 6) AS q CROSS JOIN (SELECT count(*) AS n FROM tree) AS t"),
        );
    }
    for (name, sql) in [
        ("emp", "SELECT DISTINCT ON (dept) dept, id, salary FROM emp ORDER BY dept, salary DESC NULLS LAST, id"),
        ("two", "SELECT DISTINCT ON (dept, active) dept, active, name FROM emp ORDER BY dept, active, id"),
        ("hidden", "SELECT DISTINCT ON (city) name FROM dept ORDER BY city, budget, id"),
        ("expression", "SELECT DISTINCT ON (x % 3) x, y, z FROM a ORDER BY x % 3, x DESC, y, z"),
        (
            "join",
            "SELECT DISTINCT ON (d.id) d.id, e.name, e.hired FROM dept d LEFT JOIN emp e ON e.dept = d.id ORDER BY d.id, e.hired DESC, e.id",
        ),
        (
            "group",
            "SELECT DISTINCT ON (active) active, dept, count(*) FROM emp GROUP BY active, dept ORDER BY active, count(*) DESC, dept",
        ),
        (
            "above",
            "SELECT kind, count(*) FROM (SELECT DISTINCT ON (price) price, kind FROM item ORDER BY price, id) AS q GROUP BY kind",
        ),
        ("limited", "SELECT DISTINCT ON (dept) dept, id FROM emp ORDER BY dept, id LIMIT 3"),
    ] {
        queries.add(&["distinct_on", name], sql);
    }
}
