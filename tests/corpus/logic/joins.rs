//! Joins of every kind over every pair, with every form of condition, under a projection, a group, DISTINCT and a
//! test for padding.

use super::Queries;

/// Two inputs `l` and `r`, a pair of columns to compare, a column of each for output and a filter on each.
struct Pair {
    name: &'static str,
    left: &'static str,
    right: &'static str,
    keys: (&'static str, &'static str),
    outputs: (&'static str, &'static str),
    filters: (&'static str, &'static str),
}

const PAIRS: [Pair; 6] = [
    Pair {
        name: "emp_dept",
        left: "emp",
        right: "dept",
        keys: ("dept", "id"),
        outputs: ("name", "city"),
        filters: ("l.active", "r.budget > 2000"),
    },
    Pair {
        name: "sale_emp",
        left: "sale",
        right: "emp",
        keys: ("emp", "id"),
        outputs: ("qty", "salary"),
        filters: ("l.qty > 1", "r.salary > 120"),
    },
    Pair {
        name: "dept_emp",
        left: "dept",
        right: "emp",
        keys: ("id", "dept"),
        outputs: ("city", "hired"),
        filters: ("l.name <> 'dept 1'", "r.active IS NOT TRUE"),
    },
    Pair {
        name: "a_b",
        left: "a",
        right: "b",
        keys: ("x", "x"),
        outputs: ("z", "w"),
        filters: ("l.y IS NOT NULL", "r.y < 3"),
    },
    Pair {
        name: "c_b",
        left: "c",
        right: "b",
        keys: ("v", "w"),
        outputs: ("k", "y"),
        filters: ("l.size > 1", "r.w > 0"),
    },
    Pair {
        name: "emp_emp",
        left: "emp",
        right: "emp",
        keys: ("boss", "id"),
        outputs: ("salary", "name"),
        filters: ("l.id > 3", "r.feels = 'glad'"),
    },
];

pub(crate) fn add(queries: &mut Queries) {
    for pair in &PAIRS {
        let Pair { name, left, right, keys: (lk, rk), outputs: (lo, ro), filters: (lf, rf) } = pair;
        for (kind, join) in [("inner", "JOIN"), ("left", "LEFT JOIN"), ("right", "RIGHT JOIN"), ("full", "FULL JOIN")] {
            let equal = format!("l.{lk} = r.{rk}");
            let mut conditions = vec![
                ("equal", equal.clone()),
                ("left_filter", format!("{equal} AND {lf}")),
                ("right_filter", format!("{equal} AND {rf}")),
            ];
            // FULL JOIN wants a condition that it can hash or merge.
            if kind != "full" {
                conditions.push(("unequal", format!("l.{lk} < r.{rk} AND {rf}")));
                conditions.push(("either", format!("({equal} OR l.{lk} = r.{rk} + 1)")));
                conditions.push(("same", format!("l.{lk} IS NOT DISTINCT FROM r.{rk}")));
            }
            for (how, on) in conditions {
                let from = format!("FROM {left} AS l {join} {right} AS r ON {on}");
                queries.add(
                    &["join", name, kind, how, "rows"],
                    format!("SELECT l.{lk}, l.{lo}, r.{rk} AS rk, r.{ro} AS ro {from}"),
                );
                queries.add(
                    &["join", name, kind, how, "group"],
                    format!("SELECT r.{ro} AS g, count(*), count(l.{lk}) AS c, min(l.{lk}) AS m {from} GROUP BY 1"),
                );
                queries.add(
                    &["join", name, kind, how, "distinct"],
                    format!("SELECT DISTINCT l.{lo}, r.{ro} AS ro {from}"),
                );
                queries.add(
                    &["join", name, kind, how, "padded"],
                    format!("SELECT l.{lk}, r.{rk} AS rk {from} WHERE r.{rk} IS NULL OR l.{lk} IS NULL"),
                );
            }
        }
    }
    several(queries);
}

/// Three and more inputs, nested outer joins, USING, NATURAL, LATERAL sub-selects under joins.
fn several(queries: &mut Queries) {
    let kinds = [("inner", "JOIN"), ("left", "LEFT JOIN"), ("right", "RIGHT JOIN"), ("full", "FULL JOIN")];
    for (one, first) in kinds {
        for (two, second) in kinds {
            let name = format!("{one}_{two}");
            queries.add(
                &["joins", "chain", &name],
                format!(
                    "SELECT s.qty, e.name, d.city FROM sale s {first} emp e ON s.emp = e.id {second} dept d ON e.dept = d.id"
                ),
            );
            queries.add(
                &["joins", "star", &name],
                format!(
                    "SELECT e.id, e.name, d.city, i.kind FROM emp e {first} dept d ON e.dept = d.id {second} item i ON i.id = e.id % 20"
                ),
            );
            queries.add(
                &["joins", "nested", &name],
                format!(
                    "SELECT a.x, a.z, q.w, q.k FROM a {first} (SELECT b.x, b.w, c.k FROM b {second} c ON b.x = c.x) AS q ON a.x = q.x"
                ),
            );
            queries.add(
                &["joins", "right_deep", &name],
                format!("SELECT a.x, b.w, c.k FROM a {first} (b {second} c ON b.y = c.x) ON a.x = b.x"),
            );
            queries.add(
                &["joins", "using", &name],
                format!("SELECT x, z, w, k FROM a {first} b USING (x) {second} c USING (x)"),
            );
            queries.add(
                &["joins", "grouped", &name],
                format!(
                    "SELECT d.city, count(*), count(e.id) AS es, count(i.id) AS items, max(i.price) AS top, min(e.salary) AS low \
                     FROM dept d {first} emp e ON e.dept = d.id {second} item i ON i.id = e.boss GROUP BY d.city"
                ),
            );
            queries.add(
                &["joins", "self", &name],
                format!("SELECT p.x, q.y, r.z FROM a p {first} a q ON p.x = q.y {second} a r ON q.x = r.x AND r.y = 1"),
            );
        }
        queries.add(&["joins", "natural", one], format!("SELECT x, y, z, w FROM a NATURAL {first} b"));
        queries.add(&["joins", "using_two", one], format!("SELECT * FROM a {first} b USING (x, y)"));
        queries.add(
            &["joins", "where_right", one],
            format!(
                "SELECT e.id, d.name FROM emp e {first} dept d ON e.dept = d.id WHERE d.budget > 3000 OR d.city IS NULL"
            ),
        );
        queries.add(
            &["joins", "constant", one],
            format!("SELECT a.x, q.one FROM a {first} (SELECT x, 1 AS one FROM b WHERE y = 2) AS q ON a.x = q.x"),
        );
        queries.add(
            &["joins", "coalesce", one],
            format!(
                "SELECT coalesce(a.x, b.x) AS x, coalesce(b.w, 0) AS w FROM a {first} b ON a.x = b.x AND a.y = b.y"
            ),
        );
        queries.add(
            &["joins", "over_group", one],
            format!("SELECT d.name, q.n FROM dept d {first} (SELECT dept, count(*) AS n FROM emp GROUP BY dept) AS q ON q.dept = d.id"),
        );
        queries.add(
            &["joins", "of_groups", one],
            format!(
                "SELECT p.x, p.n, q.n AS m FROM (SELECT x, count(*) AS n FROM a GROUP BY x) AS p \
                 {first} (SELECT x, sum(y) AS n FROM b GROUP BY x) AS q ON p.x = q.x"
            ),
        );
    }
    queries.add(
        &["joins", "cross"],
        "SELECT d.id, i.id AS i FROM dept d CROSS JOIN item i WHERE d.budget > 100 * i.price",
    );
    queries.add(&["joins", "comma_four"], "SELECT e.name, d.name AS dept, i.kind, s.qty FROM emp e, dept d, item i, sale s WHERE e.dept = d.id AND s.emp = e.id AND s.item = i.id");
    queries.add(&["joins", "false"], "SELECT a.x, b.w FROM a LEFT JOIN b ON false");
    queries.add(
        &["joins", "true_full"],
        "SELECT p.n, q.m FROM (SELECT count(*) AS n FROM a) AS p FULL JOIN (SELECT count(*) AS m FROM b) AS q ON true",
    );
    queries.add(
        &["joins", "padded_row"],
        "SELECT a.x, b AS r, row_to_json(j)::text AS s FROM a LEFT JOIN (SELECT b.w, c.k FROM b JOIN c ON c.x = b.y) AS j ON j.w > a.y FULL JOIN b ON b.x = a.x",
    );
    queries.add(
        &["joins", "grouped_rows"],
        "SELECT b AS r, count(a) AS n, count(*) AS m FROM a LEFT JOIN b ON b.x = a.x GROUP BY b",
    );
    queries
        .add(&["joins", "row_set"], "SELECT a AS r FROM a UNION SELECT q FROM (SELECT a FROM a WHERE a.x > 2) AS q(q)");
    queries.add(&["joins", "whole_row"], "SELECT a AS r, b.w FROM a JOIN b ON a.x = b.x");
}
