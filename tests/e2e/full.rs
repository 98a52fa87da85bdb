//! Queries that cannot be maintained incrementally: refused in DIFFERENTIAL with the reason, recomputed in AUTO.

use pgtrickle_tests::{Database, tests};

tests![refused_in_differential, recomputed_in_auto, recomputed_on_demand, a_full_upstream_feeds_a_differential_reader];

/// A construct in the words of the reason, and a query that uses it.
const BEYOND: [(&str, &str); 20] = [
    ("left join", "SELECT t.id, count(u.id) AS n FROM t LEFT JOIN u ON u.t_id = t.id GROUP BY t.id"),
    ("right join", "SELECT u.id, t.v FROM t RIGHT JOIN u ON u.t_id = t.id"),
    ("full join", "SELECT t.id AS a, u.id AS b FROM t FULL JOIN u ON u.t_id = t.id"),
    (
        "chained left joins",
        "SELECT t.id, min(u.w) AS lo, max(x.w) AS hi FROM t LEFT JOIN u ON u.t_id = t.id \
                            LEFT JOIN u AS x ON x.id = u.id GROUP BY t.id",
    ),
    ("EXISTS", "SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.t_id = t.id)"),
    ("NOT EXISTS", "SELECT id FROM t WHERE NOT EXISTS (SELECT FROM u WHERE u.t_id = t.id)"),
    ("IN", "SELECT id FROM t WHERE id IN (SELECT t_id FROM u)"),
    ("NOT IN", "SELECT id FROM t WHERE id NOT IN (SELECT t_id FROM u)"),
    ("scalar sub-select", "SELECT id FROM t WHERE v = (SELECT max(w) FROM u)"),
    ("correlated sub-select", "SELECT id, (SELECT sum(w) FROM u WHERE u.t_id = t.id) AS s FROM t"),
    ("UNION", "SELECT v FROM t UNION SELECT w FROM u"),
    ("INTERSECT", "SELECT v FROM t INTERSECT ALL SELECT w FROM u"),
    ("EXCEPT", "SELECT v FROM t EXCEPT ALL SELECT w FROM u"),
    ("window function", "SELECT id, rank() OVER (PARTITION BY v ORDER BY id) AS r FROM t"),
    ("ORDER BY with LIMIT", "SELECT id, v FROM t ORDER BY v DESC, id LIMIT 2"),
    ("DISTINCT ON", "SELECT DISTINCT ON (v) v, id FROM t ORDER BY v, id"),
    ("grouping sets", "SELECT v, count(*) AS n FROM t GROUP BY ROLLUP (v)"),
    (
        "recursion",
        "WITH RECURSIVE r AS (SELECT id, 1 AS depth FROM t UNION ALL \
                   SELECT r.id, depth + 1 FROM r WHERE depth < 3) SELECT * FROM r",
    ),
    ("set-returning function", "SELECT id, g FROM t, generate_series(1, v) AS g"),
    ("LATERAL", "SELECT t.id, x.w FROM t, LATERAL (SELECT w FROM u WHERE u.t_id = t.id) AS x"),
];

fn sources(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE u (id int PRIMARY KEY, t_id int, w int)");
    db.run("INSERT INTO t VALUES (1, 1), (2, 2), (3, NULL); INSERT INTO u VALUES (1, 1, 1), (2, 1, 2), (3, NULL, 3)");
}

fn change(db: &mut Database) {
    db.run(
        "INSERT INTO t VALUES (4, 3), (5, 2); UPDATE u SET t_id = 4, w = 1 WHERE id = 2; DELETE FROM t WHERE id = 2",
    );
}

fn refused_in_differential(db: &mut Database) {
    sources(db);
    let before = db.fingerprint();
    for (construct, query) in BEYOND {
        let call = format!(
            "SELECT pgtrickle.create_stream_table('st', $query${query}$query$, schedule => '1h', \
             refresh_mode => 'DIFFERENTIAL')"
        );
        match db.attempt(&call) {
            // Maintained incrementally after all: then it has to be right.
            Ok(()) => {
                db.track("st", query);
                db.cycle(&["INSERT INTO t VALUES (9, 1); UPDATE u SET t_id = 9, w = 2 WHERE id = 3"]);
                db.cycle(&["DELETE FROM t WHERE id = 9; UPDATE u SET t_id = NULL, w = 3 WHERE id = 3"]);
                db.untrack("st");
                db.run("SELECT pgtrickle.drop_stream_table('st')");
            }
            Err(failure) => {
                assert_eq!(failure.sqlstate, "0A000", "{construct}: {failure:?}");
                assert!(!failure.detail.is_empty() && failure.hint.contains("FULL"), "{construct}: {failure:?}");
            }
        }
        assert_eq!(db.fingerprint(), before, "{construct}");
    }
}

fn recomputed_in_auto(db: &mut Database) {
    sources(db);
    for (number, (construct, query)) in BEYOND.into_iter().enumerate() {
        db.notices();
        db.stream_with(&format!("st{number}"), query, "schedule => '1h'");
        let mode =
            db.text(&format!("SELECT refresh_mode FROM pgtrickle.pgt_stream_tables WHERE pgt_name = 'st{number}'"));
        let told = db.notices();
        assert!(
            mode == "DIFFERENTIAL" || told.iter().any(|notice| notice.message.contains("FULL")),
            "{construct}: {told:?}"
        );
        db.track(&format!("st{number}"), query);
    }
    db.check();
    change(db);
    db.cycle_in_full(&[]);
    db.cycle_in_full(&["TRUNCATE u; INSERT INTO u VALUES (7, 4, 3)"]);
}

fn recomputed_on_demand(db: &mut Database) {
    sources(db);
    let query = "SELECT v, count(*) AS n FROM t GROUP BY v";
    db.stream_with("st", query, "schedule => '1h', refresh_mode => 'FULL'");
    db.track("st", query);
    assert_eq!(db.text("SELECT refresh_mode FROM pgtrickle.pgt_stream_tables"), "FULL");
    change(db);
    db.cycle_in_full(&[]);
}

fn a_full_upstream_feeds_a_differential_reader(db: &mut Database) {
    sources(db);
    let lower = "SELECT v, count(*) AS n FROM t GROUP BY v";
    let upper = "SELECT n, count(*) AS groups FROM lower GROUP BY n";
    db.stream_with("lower", lower, "schedule => '1h', refresh_mode => 'FULL'");
    db.stream("upper", upper);
    for transaction in ["INSERT INTO t VALUES (10, 1), (11, 1)", "DELETE FROM t WHERE v = 2", "UPDATE t SET v = 1"] {
        db.run(transaction);
        db.refresh("lower");
        db.cycle(&[]);
    }
}
