//! Set operations over every pair of inputs, nested in each other, under and above other operators.

use super::Queries;

const OPERATORS: [(&str, &str); 6] = [
    ("union", "UNION"),
    ("union_all", "UNION ALL"),
    ("intersect", "INTERSECT"),
    ("intersect_all", "INTERSECT ALL"),
    ("except", "EXCEPT"),
    ("except_all", "EXCEPT ALL"),
];

/// Queries of two integer columns.
const INPUTS: [(&str, &str); 7] = [
    ("a", "SELECT x, y FROM a"),
    ("b", "SELECT x, y FROM b WHERE w IS NOT NULL"),
    ("c", "SELECT x, v::int / 100 FROM c"),
    ("join", "SELECT a.x, b.y FROM a JOIN b ON a.x = b.x"),
    ("left", "SELECT a.x, b.y FROM a LEFT JOIN b ON a.y = b.x"),
    ("group", "SELECT x, count(*)::int FROM b GROUP BY x"),
    ("distinct", "SELECT DISTINCT y, x FROM a"),
];

pub(crate) fn add(queries: &mut Queries) {
    for (name, operator) in OPERATORS {
        for (i, (left, first)) in INPUTS.iter().enumerate() {
            for (j, (right, second)) in INPUTS.iter().enumerate() {
                if i == j {
                    continue;
                }
                queries.add(&["set", name, left, right], format!("{first} {operator} {second}"));
            }
            queries.add(
                &["set", name, left, "grouped"],
                format!(
                    "SELECT x, count(*), sum(y) AS s FROM ({first} {operator} SELECT y, x FROM b) AS q(x, y) GROUP BY x"
                ),
            );
            queries.add(&["set", name, left, "joined"], format!("SELECT q.x, e.name FROM ({first} {operator} SELECT y, x FROM b) AS q(x, y) JOIN emp e ON e.id = q.y"));
        }
        for (other, second) in OPERATORS {
            let (a, b, c) = ("SELECT x, y FROM a", "SELECT x, y FROM b", "SELECT y, x FROM a WHERE z > 'b'");
            queries.add(&["set", name, other, "left"], format!("({a} {operator} {b}) {second} {c}"));
            queries.add(&["set", name, other, "right"], format!("{a} {operator} ({b} {second} {c})"));
        }
        queries.add(
            &["set", name, "types"],
            format!("SELECT id, name FROM dept {operator} SELECT dept::bigint, name FROM emp"),
        );
        queries.add(&["set", name, "text"], format!("SELECT z FROM a {operator} SELECT k FROM c"));
        queries.add(
            &["set", name, "enum"],
            format!("SELECT feels FROM emp WHERE active {operator} SELECT feels FROM emp WHERE dept < 4"),
        );
        queries.add(
            &["set", name, "array"],
            format!("SELECT tags FROM item WHERE price > 4 {operator} SELECT tags FROM item WHERE kind = 'toy'"),
        );
        queries.add(
            &["set", name, "exists"],
            format!("SELECT d.id FROM dept d WHERE d.id IN (SELECT x FROM a {operator} SELECT x FROM b)"),
        );
        queries.add(&["set", name, "not_in"], format!("SELECT d.id FROM dept d WHERE NOT EXISTS (SELECT x FROM a WHERE x = d.id {operator} SELECT x FROM b WHERE y = d.id)"));
        queries.add(
            &["set", name, "top"],
            format!("SELECT x, y FROM a {operator} SELECT x, y FROM b ORDER BY 1, 2 LIMIT 6"),
        );
        queries.add(&["set", name, "windowed"], format!("SELECT x, y, rank() OVER (ORDER BY y) AS r FROM (SELECT x, y FROM a {operator} SELECT x, y FROM b) AS q"));
        queries.add(&["set", name, "values"], format!("SELECT x FROM a {operator} VALUES (1), (2), (2), (NULL)"));
        queries.add(&["set", name, "with"], format!("WITH q AS (SELECT x, y FROM a {operator} SELECT x, y FROM b) SELECT p.x, q.y FROM q AS p JOIN q ON p.x = q.y"));
    }
}
