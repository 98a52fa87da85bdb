//! LATERAL sub-selects.

use super::sub_selects::over_all_changes;
use pgtrickle_tests::{Database, tests};

tests![lateral_sub_selects, conditions_on_lateral_aggregates, elements_of_arrays_over_no_rows];

fn lateral_sub_selects(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT t.id, x.w FROM t, LATERAL (SELECT w FROM u WHERE u.k = t.k) AS x",
            "SELECT t.id, x.w FROM t LEFT JOIN LATERAL (SELECT w + t.v AS w FROM u WHERE u.k = t.k) AS x ON true",
            "SELECT t.id, x.n, x.s FROM t CROSS JOIN LATERAL (SELECT count(*) AS n, sum(w) AS s FROM u WHERE u.k = t.k) AS x",
            "SELECT t.id, x.n FROM t LEFT JOIN LATERAL (SELECT k, count(*) AS n FROM u WHERE u.k > t.k GROUP BY k) AS x ON x.k = t.v",
            "SELECT t.id, x.y, z.n FROM t, LATERAL (SELECT t.v * 2 AS y) AS x, LATERAL (SELECT count(*) AS n FROM b WHERE b.x < x.y) AS z",
            "SELECT t.id, u.w, x.m FROM t, u, LATERAL (SELECT max(b.x) AS m FROM b WHERE b.k = t.k) AS x WHERE u.k = x.m",
            "SELECT t.id, u.id AS other, v.y FROM u, t JOIN LATERAL (VALUES (t.k)) AS v(y) ON true WHERE u.k = v.y AND u.w IN (SELECT w FROM u WHERE k > 1)",
            "SELECT u.id, t.id AS other, x.s, y.d FROM u, t, LATERAL (SELECT t.v + u.w AS s) AS x, b, LATERAL (SELECT b.k - x.s AS d) AS y WHERE t.k = u.k AND b.x = t.k",
            "SELECT t.id, x.m FROM t JOIN LATERAL (SELECT max(w) AS m FROM u WHERE u.k = t.k) AS x ON true WHERE x.m > 3",
            "SELECT t.id, x.n, x.s FROM t LEFT JOIN LATERAL (SELECT count(*) AS n, sum(w) AS s FROM u WHERE u.k = t.k) AS x ON true",
        ],
    );
}

/// An aggregate without GROUP BY has a row for every outer row, also where it has nothing to aggregate; the condition is about that row.
fn conditions_on_lateral_aggregates(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT t.id, x.n, x.s FROM t LEFT JOIN LATERAL (SELECT count(*) AS n, sum(w) AS s FROM u WHERE u.k = t.k) AS x ON x.n > 1",
            "SELECT t.id, x.n FROM t LEFT JOIN LATERAL (SELECT count(*) AS n FROM u WHERE u.k = t.k) AS x ON x.n = 0 AND t.v > 1",
            "SELECT t.id, x.n FROM t JOIN LATERAL (SELECT count(*) AS n, max(w) AS m FROM u WHERE u.k = t.k) AS x ON x.n = 0 OR x.m = t.v",
            "SELECT t.id, x.m, y.n FROM t LEFT JOIN LATERAL (SELECT max(w) AS m FROM u WHERE u.k = t.k) AS x ON x.m IS NULL LEFT JOIN LATERAL (SELECT count(*) AS n FROM b WHERE b.k = x.m) AS y ON y.n < t.v",
            "SELECT t.id, x.n FROM t LEFT JOIN LATERAL (SELECT count(*) + t.v AS n FROM u WHERE u.k = t.k GROUP BY ()) AS x ON true",
        ],
    );
}

/// What an aggregate gives where it has no rows is computed of NULLs, of which an element may be asked.
fn elements_of_arrays_over_no_rows(db: &mut Database) {
    over_all_changes(
        db,
        &[
            "SELECT t.id, (SELECT (array_agg(u.w ORDER BY u.w))[2] FROM u WHERE u.k = t.k) AS x FROM t",
            "SELECT t.id, (SELECT (array_agg(z.x ORDER BY z.x))[2] FROM (SELECT (SELECT (array_agg(u.w ORDER BY u.w))[2] FROM u WHERE u.k = b.x) AS x FROM b WHERE b.k = t.k) AS z) AS x FROM t",
            "SELECT t.id, (SELECT string_agg((ARRAY[u.w, u.k])[t.k]::text, ',' ORDER BY u.w, u.k) FROM u WHERE u.k = t.k) AS x FROM t",
        ],
    );
}
