//! Comparisons with the clock as values: in SELECT lists, in FILTER, as what rows are grouped, sorted and windowed by.

use super::clock::{moments, one_cycle, until_all_is_past};
use pgtrickle_tests::{Database, tests};

tests![
    truths_in_the_select_list,
    truths_in_filters,
    groups_and_orders_by_truths,
    windows_over_truths,
    truths_in_outer_joins,
    truths_in_sub_selects,
    truths_in_recursions,
    what_is_not_evaluated_does_not_fail,
    values_of_the_clock_are_recomputed,
];

/// Creates the stream tables and compares them at one clock each time, with changes of both sources and without any.
fn follow(db: &mut Database, queries: &[&str]) {
    moments(db);
    for (number, query) in queries.iter().enumerate() {
        db.stream(&format!("st{number}"), query);
    }
    for round in 0..5 {
        one_cycle(
            db,
            &format!(
                "UPDATE t SET at = at + interval '70 ms', g = (g + 1) % 4 WHERE id % 3 = {round} % 3; UPDATE t SET until = at - interval '30 ms' WHERE id % 5 = {round}; \
                 INSERT INTO u VALUES ({round} % 5, clock_timestamp() + interval '40 ms'), ({round} % 5, clock_timestamp()); DELETE FROM t WHERE id = {round}; \
                 UPDATE u SET g = NULL WHERE g = {round}; INSERT INTO t VALUES (100 + {round}, NULL, clock_timestamp() - interval '1 ms', NULL)"
            ),
        );
        one_cycle(db, "SELECT 1");
    }
    until_all_is_past(db);
}

fn truths_in_the_select_list(db: &mut Database) {
    follow(
        db,
        &[
            "SELECT id, at < now() AS overdue FROM t",
            "SELECT g, at < now() AS overdue FROM u",
            "SELECT id, CASE WHEN at < now() THEN 'late' ELSE 'ok' END AS state, g FROM t",
            "SELECT g, CASE WHEN at < now() - interval '100 ms' THEN 'late' WHEN at < now() THEN 'due' WHEN at IS NULL THEN 'never' ELSE 'ok' END AS state FROM u",
            "SELECT id, at < now() AS past, until < now() AS gone, NOT (at < now() AND until > now()) AS out, now() - at > interval '100 ms' AS old FROM t",
            "SELECT id, COALESCE(at < now(), until < now() + interval '50 ms', g = 1) AS c, at = current_date AS today FROM t WHERE until > now() - interval '300 ms'",
            "SELECT at <= now() AS past FROM u UNION ALL SELECT until > now() FROM t",
            "SELECT at < now() AS past FROM u INTERSECT ALL SELECT until < now() FROM t",
            "SELECT x.past, count(*) AS n FROM (SELECT g, at < now() AS past FROM u) AS x JOIN t USING (g) WHERE x.past OR t.at > now() GROUP BY 1",
            "SELECT s.id FROM (SELECT id, at, CASE WHEN until < now() THEN at ELSE until END AS moment FROM t) AS s WHERE s.moment < now()",
            "SELECT s.id, s.moment < now() AS past FROM (SELECT id, CASE WHEN until < now() THEN at ELSE until END AS moment FROM t) AS s",
            "SELECT id, now() < '2000-01-01' AS early, now() > '2000-01-01' AND g = 1 AS late FROM t",
        ],
    );
}

fn truths_in_filters(db: &mut Database) {
    follow(
        db,
        &[
            "SELECT count(*) FILTER (WHERE at > now() - interval '200 ms') AS n FROM t",
            "SELECT g, count(*) FILTER (WHERE at < now()) AS n, sum(id) FILTER (WHERE at < now() AND id % 2 = 0) AS s, count(*) AS c FROM t GROUP BY g",
            "SELECT g, array_agg(id ORDER BY id) FILTER (WHERE at > now()) AS a, max(id) FILTER (WHERE NOT at < now()) AS m FROM t GROUP BY g",
            "SELECT g, avg(id) FILTER (WHERE at < now()) AS a, count(DISTINCT id % 3) FILTER (WHERE until > now()) AS d FROM t GROUP BY g",
            "SELECT g, bool_or(at < now()) AS any_past, bool_and(at < now()) AS all_past, count(at < now()) AS known FROM u GROUP BY g",
            "SELECT g, sum(CASE WHEN at < now() THEN 1 ELSE 0 END) AS n FROM u GROUP BY g HAVING count(*) FILTER (WHERE at < now()) > 1 OR max(at) > now()",
            "SELECT g, string_agg(id::text, ',' ORDER BY at < now(), id) AS s, max(at) < now() AS done FROM t GROUP BY g",
            "SELECT g, count(*) FILTER (WHERE at < now()) AS n FROM u GROUP BY ROLLUP (g)",
            "SELECT count(*) FILTER (WHERE t.at < now()) AS a, count(*) FILTER (WHERE u.at > now()) AS b, count(*) FILTER (WHERE t.at < now() OR u.at > now()) AS c FROM t JOIN u USING (g)",
        ],
    );
}

fn groups_and_orders_by_truths(db: &mut Database) {
    follow(
        db,
        &[
            "SELECT at < now() AS past, count(*) AS n, min(id) AS lo FROM t GROUP BY 1",
            "SELECT CASE WHEN at < now() THEN 'past' ELSE 'to come' END AS state, g, count(*) AS n FROM u GROUP BY 1, 2",
            "SELECT at < now() AS past, until < now() AS gone, count(*) AS n FROM t GROUP BY CUBE (1, 2)",
            "SELECT DISTINCT g, at < now() AS past FROM u",
            "SELECT id, at < now() AS past FROM t ORDER BY at < now(), id LIMIT 7",
            "SELECT id FROM t ORDER BY until < now() DESC NULLS LAST, id OFFSET 2 LIMIT 4",
            "SELECT DISTINCT ON (at < now()) at < now() AS past, id FROM t ORDER BY at < now(), id",
            "SELECT DISTINCT ON (g) g, id FROM t ORDER BY g, at < now(), id",
            "SELECT g FROM u ORDER BY at < now(), g FETCH FIRST 3 ROWS WITH TIES",
        ],
    );
}

fn windows_over_truths(db: &mut Database) {
    follow(
        db,
        &[
            "SELECT id, count(*) FILTER (WHERE at < now()) OVER (PARTITION BY g) AS n FROM t",
            "SELECT id, sum(id) FILTER (WHERE at < now()) OVER (ORDER BY id) AS s, at < now() AS past FROM t",
            "SELECT id, row_number() OVER (PARTITION BY at < now() ORDER BY id) AS r FROM t",
            "SELECT id, rank() OVER (PARTITION BY g ORDER BY until < now()) AS r FROM t",
            "SELECT id, lag(at < now()) OVER (PARTITION BY g ORDER BY id) AS before, at FROM t WHERE until > now() - interval '200 ms'",
            "SELECT * FROM (SELECT id, g, row_number() OVER (PARTITION BY g ORDER BY at < now(), id) AS r FROM t) AS x WHERE r <= 2",
            "SELECT g, count(*) FILTER (WHERE at < now()) AS n, rank() OVER (ORDER BY count(*) FILTER (WHERE at < now())) AS r FROM u GROUP BY g",
            "SELECT id, r, r > 1 AND at < now() AS second FROM (SELECT id, at, row_number() OVER (PARTITION BY g ORDER BY id) AS r FROM t) AS x",
        ],
    );
}

fn truths_in_outer_joins(db: &mut Database) {
    follow(
        db,
        &[
            "SELECT t.id, u.at FROM t LEFT JOIN u ON t.g = u.g AND t.at < now()",
            "SELECT t.id, u.at FROM t FULL JOIN u ON t.g = u.g AND u.at < now()",
            "SELECT t.id, u.at FROM t RIGHT JOIN u ON t.g = u.g AND (t.at < now() OR u.at > now()) AND u.at > now() - interval '300 ms'",
            "SELECT t.id, u.at < now() AS past FROM t LEFT JOIN u ON t.g = u.g AND NOT (t.at < now() AND u.at < now())",
            "SELECT t.id, x.past FROM t LEFT JOIN (SELECT g, at < now() AS past FROM u) AS x ON x.g = t.g AND x.past = (t.at < now())",
        ],
    );
}

fn truths_in_sub_selects(db: &mut Database) {
    follow(
        db,
        &[
            "SELECT id, (SELECT count(*) FILTER (WHERE u.at < now()) FROM u WHERE u.g = t.g) AS n FROM t",
            "SELECT id, (SELECT max(u.at) FROM u WHERE u.g = t.g) < now() AS done FROM t",
            "SELECT id, (SELECT max(u.at) < now() FROM u WHERE u.g = t.g) AS done FROM t",
            "SELECT id, (SELECT array_agg(u.at ORDER BY u.at) FILTER (WHERE u.at < now()) FROM u WHERE u.g = t.g) AS a FROM t",
            "SELECT id, x.past, x.n FROM t, LATERAL (SELECT u.at < now() AS past, count(*) AS n FROM u WHERE u.g = t.g GROUP BY 1) AS x",
            "SELECT id, x.gone FROM t, LATERAL (SELECT t.at < now() AND u.at < now() AS gone FROM u WHERE u.g = t.g ORDER BY u.at, 1 LIMIT 1) AS x",
            "SELECT id, EXISTS (SELECT FROM u WHERE u.g = t.g AND u.at < now()) AND at < now() AS both_past FROM t",
            "SELECT id FROM t WHERE EXISTS (SELECT FROM (SELECT g, at < now() AS past FROM u) AS x WHERE x.g = t.g AND x.past)",
            "SELECT id, ARRAY(SELECT u.at < now() FROM u WHERE u.g = t.g ORDER BY 1) AS a FROM t",
        ],
    );
}

fn truths_in_recursions(db: &mut Database) {
    follow(
        db,
        &[
            "WITH RECURSIVE r (id, past) AS (SELECT id, at < now() FROM t WHERE id < 0 UNION ALL SELECT t.id, r.past AND t.at < now() FROM r JOIN t ON t.id = r.id + 3) SELECT id, past FROM r",
            "WITH RECURSIVE r (g, past) AS (SELECT g, at < now() FROM u UNION SELECT (r.g + 1) % 4, t.at < now() FROM r JOIN t ON t.g = r.g) SELECT * FROM r",
            "WITH RECURSIVE r (id, at) AS (SELECT id, at FROM t WHERE id < 0 UNION ALL SELECT t.id, t.at FROM r JOIN t ON t.id = r.id + 4) SELECT id, at, at < now() AS past FROM r",
        ],
    );
}

/// No refresh evaluates anything for a row with a truth that the row never had.
fn what_is_not_evaluated_does_not_fail(db: &mut Database) {
    db.run("CREATE TABLE t (id int, d int, at timestamptz)");
    db.run("INSERT INTO t SELECT i, i, clock_timestamp() + i * interval '100 ms' FROM generate_series(1, 5) AS i");
    db.stream("st", "SELECT id, CASE WHEN at > now() THEN 100 / d ELSE 0 END AS share FROM t");
    db.stream("sums", "SELECT sum(CASE WHEN at > now() THEN 100 / d ELSE 0 END) AS share FROM t");
    one_cycle(db, "INSERT INTO t VALUES (6, 0, now() - interval '1 us')");
    one_cycle(db, "UPDATE t SET d = 0 WHERE at < now()");
    one_cycle(db, "DELETE FROM t WHERE d = 0");
    db.stream("moved", "SELECT CASE WHEN d > 0 THEN COALESCE(at, at) + interval '1 day' < now() END AS late FROM t");
    for query in [
        "SELECT CASE WHEN d > 0 THEN at + interval '1 day' / d < now() END AS late FROM t",
        "SELECT d > 0 AND at + interval '1 day' / d < now() AS late FROM t",
        "SELECT bool_or(at + interval '1 day' / d < now()) FILTER (WHERE d > 0) AS late FROM t",
    ] {
        let call = format!(
            "SELECT pgtrickle.create_stream_table('guarded', $q${query}$q$, schedule => '1h', refresh_mode => 'DIFFERENTIAL')"
        );
        assert_eq!(db.fails(&call).sqlstate, "0A000", "{query}");
    }
    one_cycle(db, "INSERT INTO t VALUES (7, 1, now() - interval '1 day' - interval '1 us'), (8, 0, NULL)");
}

/// What changes with every moment is computed anew at each refresh, though no source changes.
fn values_of_the_clock_are_recomputed(db: &mut Database) {
    moments(db);
    for (number, query) in [
        "SELECT id, now() - at AS age FROM t",
        "SELECT id, date_trunc('milliseconds', now()) AS at FROM t",
        "SELECT id, extract(epoch FROM now() - at) AS seconds FROM t",
        "SELECT g, max(now() - at) AS oldest FROM u GROUP BY g",
    ]
    .iter()
    .enumerate()
    {
        let create = |name: &str, mode: &str| {
            format!(
                "SELECT pgtrickle.create_stream_table('{name}', $q${query}$q$, schedule => '1h', refresh_mode => '{mode}')"
            )
        };
        let failure = db.fails(&create("refused", "DIFFERENTIAL"));
        assert_eq!(failure.sqlstate, "0A000", "{query}: {failure:?}");
        db.run(&create(&format!("st{number}"), "AUTO"));
        for _ in 0..3 {
            db.run("BEGIN");
            db.refresh(&format!("st{number}"));
            let columns = format!("(SELECT * FROM st{number})");
            let different = db.number(&format!(
                "SELECT count(*) FROM (({columns} EXCEPT ALL {query}) UNION ALL ({query} EXCEPT ALL {columns})) AS x"
            ));
            db.run("COMMIT");
            assert_eq!(different, 0, "{query}");
        }
    }
}
