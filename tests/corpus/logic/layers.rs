//! Every operator over every other: a relation of four columns goes through layers, each of which gives the same four.

use super::Queries;

/// Relations with columns g (nullable), n, t and v.
const BASES: [(&str, &str); 5] = [
    ("emp", "SELECT dept AS g, id AS n, name AS t, salary AS v FROM emp"),
    ("sale", "SELECT item AS g, qty AS n, note AS t, qty * 1.50 AS v FROM sale"),
    ("bag", "SELECT x AS g, y AS n, 'b'::text AS t, w AS v FROM b"),
    ("joined", "SELECT e.boss AS g, d.id AS n, d.city AS t, e.salary AS v FROM emp e JOIN dept d ON e.dept = d.id"),
    ("item", "SELECT (attrs ->> 'size')::int AS g, id AS n, kind AS t, price AS v FROM item"),
];

/// `{}` stands for the relation below.
const LAYERS: [(&str, &str, &str); 26] = [
    ("filter", "SELECT g, n, t, v FROM (", ") AS q WHERE g > 1 OR v IS NULL"),
    ("project", "SELECT n % 7 AS g, g AS n, upper(t) AS t, v + 1 AS v FROM (", ") AS q"),
    ("group", "SELECT g, count(*)::int AS n, min(t) AS t, sum(v) AS v FROM (", ") AS q GROUP BY g"),
    (
        "group_text",
        "SELECT max(g) AS g, count(n)::int AS n, t, max(v) AS v FROM (",
        ") AS q GROUP BY t HAVING count(*) > 1",
    ),
    ("total", "SELECT min(g) AS g, count(*)::int AS n, max(t) AS t, sum(v) AS v FROM (", ") AS q"),
    ("rollup", "SELECT g, count(*)::int AS n, t, sum(v) AS v FROM (", ") AS q GROUP BY ROLLUP (g, t)"),
    (
        "count_distinct",
        "SELECT g, count(DISTINCT n)::int AS n, string_agg(DISTINCT t, ',' ORDER BY t) AS t, sum(v) AS v FROM (",
        ") AS q GROUP BY g",
    ),
    ("distinct", "SELECT DISTINCT g, 0 AS n, t, v FROM (", ") AS q"),
    ("distinct_on", "SELECT DISTINCT ON (g) g, n, t, v FROM (", ") AS q ORDER BY g, v DESC NULLS LAST, n, t"),
    ("window", "SELECT g, (row_number() OVER (PARTITION BY g ORDER BY v, n, t))::int AS n, t, v FROM (", ") AS q"),
    ("window_all", "SELECT g, (rank() OVER (ORDER BY v DESC, n))::int AS n, t, v FROM (", ") AS q"),
    ("running", "SELECT g, n, t, sum(v) OVER (PARTITION BY t ORDER BY n, g, v) AS v FROM (", ") AS q"),
    ("top", "SELECT g, n, t, v FROM (", ") AS q ORDER BY v DESC NULLS LAST, n, t, g LIMIT 12"),
    ("join", "SELECT q.g, d.id AS n, q.t, q.v FROM (", ") AS q JOIN dept d ON d.id = q.g"),
    (
        "left",
        "SELECT d.id AS g, q.n, d.city AS t, q.v FROM (",
        ") AS q LEFT JOIN dept d ON d.id = q.n AND d.budget > 1000",
    ),
    ("right", "SELECT d.id AS g, q.n, d.city AS t, q.v FROM (", ") AS q RIGHT JOIN dept d ON d.id = q.g"),
    ("full", "SELECT a.x AS g, q.n, coalesce(q.t, a.z) AS t, q.v FROM (", ") AS q FULL JOIN a ON a.x = q.g"),
    ("semi", "SELECT g, n, t, v FROM (", ") AS q WHERE EXISTS (SELECT FROM a WHERE a.x = q.g AND a.y > 0)"),
    ("anti", "SELECT g, n, t, v FROM (", ") AS q WHERE NOT EXISTS (SELECT FROM c WHERE c.x = q.n AND c.v = 200)"),
    ("not_in", "SELECT g, n, t, v FROM (", ") AS q WHERE g NOT IN (SELECT x FROM b WHERE w > 6)"),
    ("scalar", "SELECT g, n, t, v + coalesce((SELECT sum(b.w) FROM b WHERE b.x = q.g), 0) AS v FROM (", ") AS q"),
    (
        "lateral",
        "SELECT q.g, l.y AS n, q.t, q.v FROM (",
        ") AS q, LATERAL (SELECT b.y FROM b WHERE b.x = q.g ORDER BY b.w, b.y LIMIT 1) AS l",
    ),
    ("union_all", "SELECT x AS g, y AS n, z AS t, 1.00 AS v FROM a UNION ALL (", ")"),
    ("union", "SELECT x AS g, y AS n, z AS t, 1.00 AS v FROM a UNION (", ")"),
    ("except_all", "SELECT g, n, t, v FROM (", ") AS q EXCEPT ALL SELECT x, y, 'b', w FROM b WHERE y > 1"),
    ("series", "SELECT q.g, s AS n, q.t, q.v FROM (", ") AS q, generate_series(1, least(q.n, 3)) AS s"),
];

fn layered(layers: &[usize], base: usize) -> (String, String) {
    let mut names = Vec::new();
    let mut sql = BASES[base].1.to_string();
    for layer in layers.iter().rev() {
        let (name, before, after) = LAYERS[*layer];
        names.insert(0, name);
        sql = format!("{before}{sql}{after}");
    }
    (format!("{}.{}", names.join("."), BASES[base].0), sql)
}

pub(crate) fn add(queries: &mut Queries) {
    let mut turn = 0;
    let mut add = |layers: &[usize]| {
        turn += 1;
        let (name, sql) = layered(layers, turn % BASES.len());
        queries.add(&["layer", &name], sql);
    };
    for one in 0..LAYERS.len() {
        add(&[one]);
        for two in 0..LAYERS.len() {
            add(&[one, two]);
            // A third below and a fourth, in turn, so that all of them meet.
            let three = (one * 7 + two * 3 + 1) % LAYERS.len();
            add(&[one, two, three]);
            if (one + two) % 3 == 0 {
                add(&[two, three, one, (three * 5 + 2) % LAYERS.len()]);
            }
        }
    }
}
