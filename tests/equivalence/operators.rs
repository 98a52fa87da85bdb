//! Which operators the generator may use: those of which every probe is accepted in DIFFERENTIAL mode and refreshed.

use pgtrickle_tests::{Database, Server, create, refresh};
use std::sync::Arc;

/// What a query may contain beyond scans, filters, projections, inner joins, UNION ALL and plain aggregates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    LeftJoin,
    RightJoin,
    FullJoin,
    Exists,
    In,
    Quantified,
    /// The truth of a sub-select as a value: in the select list, under OR.
    Mark,
    Scalar,
    Lateral,
    DistinctOn,
    Union,
    Intersect,
    Except,
    Window,
    Top,
    GroupingSets,
    DistinctAggregate,
    OrderedAggregate,
    /// And standard deviations, and the truth of all or of some.
    Variance,
    /// Sums of floating point and other aggregates that only recomputation maintains.
    Recomputed,
    Recursive,
    Series,
    Values,
}

use Operator::{
    DistinctAggregate, DistinctOn, Except, Exists, FullJoin, GroupingSets, In, Intersect, Lateral, LeftJoin, Mark,
    OrderedAggregate, Quantified, Recomputed, Recursive, RightJoin, Scalar, Series, Top, Union, Values, Variance,
    Window,
};

/// Operators that have landed: a run without one of them fails.
const REQUIRED: [Operator; 23] = [
    Recursive,
    LeftJoin,
    RightJoin,
    FullJoin,
    Exists,
    In,
    Quantified,
    Mark,
    Scalar,
    Lateral,
    DistinctOn,
    Union,
    Intersect,
    Except,
    Window,
    Top,
    GroupingSets,
    DistinctAggregate,
    OrderedAggregate,
    Variance,
    Recomputed,
    Series,
    Values,
];

/// Queries over `p(k int primary key, v int)` and `q(k int, v int)`.
const PROBES: [(Operator, &[&str]); 23] = [
    (
        LeftJoin,
        &[
            "SELECT 1 AS one FROM p LEFT JOIN q ON q.v > 0",
            "SELECT p.k, q.v FROM p LEFT JOIN q ON p.v = q.v",
            "SELECT count(q.k) FROM p LEFT JOIN q USING (v)",
        ],
    ),
    (
        RightJoin,
        &["SELECT 1 AS one FROM p RIGHT JOIN q ON p.v > 0", "SELECT p.k, q.v FROM p RIGHT JOIN q ON p.v = q.v"],
    ),
    (FullJoin, &["SELECT 1 AS one FROM p FULL JOIN q ON p.v = q.v", "SELECT p.k, q.v FROM p FULL JOIN q ON p.v = q.v"]),
    (
        Exists,
        &[
            "SELECT k FROM p WHERE EXISTS (SELECT FROM q WHERE q.v = p.v)",
            "SELECT k FROM p WHERE NOT EXISTS (SELECT FROM q WHERE q.v > p.v AND q.k = p.k)",
            "SELECT k FROM p WHERE EXISTS (SELECT FROM q)",
        ],
    ),
    (
        In,
        &[
            "SELECT k FROM p WHERE v IN (SELECT v FROM q)",
            "SELECT k FROM p WHERE v NOT IN (SELECT v FROM q WHERE q.k < p.k)",
        ],
    ),
    (
        Quantified,
        &[
            "SELECT k FROM p WHERE v < ANY (SELECT v FROM q)",
            "SELECT k FROM p WHERE v >= ALL (SELECT v FROM q WHERE q.k = p.k)",
        ],
    ),
    (
        Mark,
        &[
            "SELECT k FROM p WHERE v = 1 OR EXISTS (SELECT FROM q WHERE q.v = p.v)",
            "SELECT k, v IN (SELECT v FROM q WHERE q.k = p.k) AS t FROM p",
        ],
    ),
    (
        Scalar,
        &[
            "SELECT k, (SELECT max(v) FROM q WHERE q.k = p.k) AS m FROM p",
            "SELECT k FROM p WHERE v > (SELECT count(*) FROM q WHERE q.v < p.v)",
        ],
    ),
    (
        Lateral,
        &[
            "SELECT p.k, s.v FROM p, LATERAL (SELECT v FROM q WHERE q.k = p.k) AS s",
            "SELECT p.k, s.v FROM p LEFT JOIN LATERAL (SELECT v FROM q WHERE q.k > p.k) AS s ON true",
        ],
    ),
    (DistinctOn, &["SELECT DISTINCT ON (v) v, k FROM q ORDER BY v, k"]),
    (Union, &["SELECT k FROM p UNION SELECT v FROM q"]),
    (Intersect, &["SELECT k FROM p INTERSECT SELECT v FROM q", "SELECT k FROM p INTERSECT ALL SELECT v FROM q"]),
    (Except, &["SELECT k FROM p EXCEPT SELECT v FROM q", "SELECT k FROM p EXCEPT ALL SELECT v FROM q"]),
    (
        Window,
        &["SELECT k, rank() OVER (PARTITION BY v ORDER BY k) AS r FROM q", "SELECT k, sum(v) OVER (ORDER BY k) FROM p"],
    ),
    (
        Top,
        &[
            "SELECT k, v FROM q ORDER BY v, k LIMIT 3",
            "SELECT k, v FROM q ORDER BY v, k LIMIT 3 OFFSET 1",
            "SELECT k, v FROM q ORDER BY v FETCH FIRST 2 ROWS WITH TIES",
        ],
    ),
    (GroupingSets, &["SELECT k, v, count(*) FROM q GROUP BY CUBE (k, v)"]),
    (DistinctAggregate, &["SELECT k, count(DISTINCT v), sum(DISTINCT v) FROM q GROUP BY k"]),
    (OrderedAggregate, &["SELECT k, array_agg(v ORDER BY v) FROM q GROUP BY k"]),
    (Variance, &["SELECT k, variance(v), stddev_pop(v), bool_and(v > 1) FROM q GROUP BY k"]),
    (Recomputed, &["SELECT k, sum(v::float8), string_agg(v::text, ',' ORDER BY v) FROM q GROUP BY k"]),
    (
        Recursive,
        &[
            "WITH RECURSIVE r AS (SELECT k, 0 AS n FROM p UNION ALL SELECT q.v, n + 1 FROM r JOIN q ON q.k = r.k WHERE n < 2) \
             SELECT k, n FROM r",
            "WITH RECURSIVE r AS (SELECT k FROM p UNION SELECT q.v FROM r JOIN q ON q.k = r.k) SELECT k FROM r",
            "WITH RECURSIVE r AS (SELECT k FROM p UNION ALL SELECT q.v FROM r JOIN q ON q.k = r.k) SEARCH DEPTH FIRST BY k SET place \
             CYCLE k SET again TO 'Y' DEFAULT 'N' USING path SELECT k, again, path::text, rank() OVER (ORDER BY place) FROM r",
        ],
    ),
    (
        Series,
        &[
            "SELECT p.k, s FROM p, generate_series(1, p.v) AS s",
            "SELECT p.k, s FROM p LEFT JOIN unnest(ARRAY[p.k, p.v]) AS s ON true",
        ],
    ),
    (Values, &["SELECT p.k, s.n FROM p, (VALUES (1), (2)) AS s(n)"]),
];

/// The operators in use.
#[derive(Clone, Debug)]
pub(crate) struct Operators(Vec<Operator>);

impl Operators {
    pub(crate) fn has(&self, operator: Operator) -> bool {
        self.0.contains(&operator)
    }

    /// Asks the extension.
    pub(crate) fn probe(server: &Arc<Server>) -> Operators {
        let mut db = Database::create(server, "probe", false);
        db.run("CREATE TABLE p (k int PRIMARY KEY, v int)");
        db.run("CREATE TABLE q (k int, v int)");
        db.run("INSERT INTO p VALUES (1, 1), (2, NULL)");
        db.run("INSERT INTO q VALUES (1, 1), (2, 3)");
        let mut number = 0;
        let mut works = |operator: Operator, query: &str| {
            number += 1;
            let name = format!("probe{number}");
            if db.attempt(&create(&name, query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'")).is_err() {
                return false;
            }
            db.run(&format!("INSERT INTO p VALUES ({0}, {0}); INSERT INTO q VALUES ({0}, 1)", number + 10));
            let refreshed = db.attempt(&refresh(&name));
            if let Err(failure) = &refreshed {
                println!("{operator:?} is accepted and does not work: {} in: {query}", failure.message);
            }
            refreshed.is_ok()
        };
        let mut used = Vec::new();
        for (operator, queries) in PROBES {
            if queries.iter().all(|query| works(operator, query)) {
                used.push(operator);
            }
        }
        println!("operators: {used:?}");
        let missing: Vec<&Operator> = REQUIRED.iter().filter(|operator| !used.contains(operator)).collect();
        assert!(missing.is_empty(), "refused although they have landed: {missing:?}");
        Operators(used)
    }
}
