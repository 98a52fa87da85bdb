//! Queries that cannot be maintained incrementally: refused in DIFFERENTIAL with the reason, recomputed in AUTO.

use pgtrickle_tests::{Database, create, tests};

tests![
    refused_in_differential,
    recomputed_in_auto,
    recomputed_on_demand,
    a_full_upstream_feeds_a_differential_reader,
    recomputed_when_a_source_was_written,
    announcements_beside_rows,
    recomputed_always_when_nobody_tells,
    which_partition_a_row_is_in,
    own_stable_functions,
    workers_take_part,
];

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

fn which_partition_a_row_is_in(db: &mut Database) {
    db.run("CREATE TABLE p (k int, v int) PARTITION BY RANGE (k); CREATE TABLE low PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE high PARTITION OF p FOR VALUES FROM (10) TO (20)");
    db.run("INSERT INTO p SELECT i, i % 3 FROM generate_series(1, 19) AS i");
    assert_eq!(
        db.fails(
            "SELECT pgtrickle.create_stream_table('st', 'SELECT tableoid, v FROM p', refresh_mode => 'DIFFERENTIAL')"
        )
        .sqlstate,
        "0A000"
    );
    db.stream_with(
        "per_part",
        "SELECT tableoid AS part, count(*) AS n FROM p GROUP BY 1",
        "schedule => '1h', refresh_mode => 'AUTO'",
    );
    db.stream_with(
        "named",
        "SELECT tableoid::regclass::text AS part, v FROM p",
        "schedule => '1h', refresh_mode => 'AUTO'",
    );
    // A row changes its place, and nothing else that is shown.
    db.cycle(&["UPDATE p SET k = k + 10 WHERE k = 4"]);
    db.cycle(&[
        "DELETE FROM p WHERE k = 12",
        "CREATE TABLE more PARTITION OF p FOR VALUES FROM (20) TO (30)",
        "INSERT INTO p VALUES (25, 1)",
    ]);
    db.cycle(&["ALTER TABLE p DETACH PARTITION low"]);
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

/// A query that stays without a delta, and is a function of its sources: the whole row of `t` is in it.
const WHOLE_ROWS: &str = "WITH RECURSIVE w (r, d) AS \
    (SELECT hash_record(t), 0 FROM t UNION ALL (SELECT DISTINCT r, d + 1 FROM w WHERE d < 1)) SELECT r, d, count(*) AS n FROM w GROUP BY r, d";

fn refreshes(db: &mut Database, name: &str) -> i64 {
    db.number(&format!(
        "SELECT count(*) FROM pgtrickle.pgt_refresh_history JOIN pgtrickle.pgt_stream_tables USING (pgt_id) \
         WHERE pgt_name = '{name}' AND action = 'FULL' AND initiated_by <> 'INITIAL'"
    ))
}

/// How many full refreshes of `name` the transactions cause, each of which is followed by a refresh and the oracle.
fn caused(db: &mut Database, name: &str, transactions: &[&str]) -> i64 {
    let before = refreshes(db, name);
    for transaction in transactions {
        db.cycle_in_full(&[transaction]);
    }
    refreshes(db, name) - before
}

fn recomputed_when_a_source_was_written(db: &mut Database) {
    sources(db);
    db.stream_with("st", WHOLE_ROWS, "schedule => '1h'");
    db.track("st", WHOLE_ROWS);
    assert_eq!(db.text("SELECT refresh_mode FROM pgtrickle.pgt_stream_tables"), "FULL");
    let idle =
        ["", "INSERT INTO u VALUES (9, 9, 9)", "UPDATE t SET v = v WHERE id = -1", "BEGIN; DELETE FROM t; ROLLBACK"];
    assert_eq!(caused(db, "st", &idle), 0);
    let told = db.notices();
    assert_eq!(
        told.iter().filter(|notice| notice.message.contains("no changes detected")).count(),
        idle.len(),
        "{told:?}"
    );
    let writes = [
        "INSERT INTO t SELECT i, i FROM generate_series(10, 5000) AS i",
        "UPDATE t SET v = v + 1 WHERE id = 1",
        "DELETE FROM t WHERE id > 11",
        "MERGE INTO t USING u ON u.id = t.id WHEN MATCHED THEN UPDATE SET v = 5 WHEN NOT MATCHED THEN INSERT VALUES (u.id, 7)",
        "BEGIN; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; INSERT INTO t VALUES (77, 1); COMMIT",
        "SET session_replication_role = replica; UPDATE t SET v = 8 WHERE id = 1; RESET session_replication_role",
        "ALTER TABLE t ALTER COLUMN v TYPE int USING v * 2",
        "ALTER TABLE t ADD COLUMN late int DEFAULT 7",
        "ALTER TABLE t DROP COLUMN late",
        "TRUNCATE t",
    ];
    assert_eq!(caused(db, "st", &writes), writes.len() as i64);
    // One row for a statement, however many it wrote, and what is left when its reader has read it is that of the last one.
    let buffer = format!("pgtrickle_changes.changes_{}", db.text("SELECT 't'::regclass::oid"));
    assert_eq!(db.lines(&format!("SELECT w FROM {buffer}")), ["0"]);
    db.run("INSERT INTO t SELECT i, i FROM generate_series(1, 5000) AS i");
    assert_eq!(db.lines(&format!("SELECT w FROM {buffer} ORDER BY 1")), ["0", "2"]);
    // An open transaction is taken in when it has ended, and not before.
    assert_eq!(caused(db, "st", &[""]), 1);
    let mut other = db.connect();
    other.run("BEGIN; UPDATE t SET v = 3 WHERE id = 1");
    assert_eq!(caused(db, "st", &["", "DELETE FROM t WHERE id = 2", ""]), 1);
    other.run("COMMIT");
    assert_eq!(caused(db, "st", &["", ""]), 1);
    db.run("SELECT pgtrickle.drop_stream_table('st')");
    let left =
        "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid <> 'pgtrickle.pgt_stream_tables'::regclass";
    assert_eq!(db.number(left), 0);
}

fn announcements_beside_rows(db: &mut Database) {
    sources(db);
    db.run("ALTER TABLE t ADD COLUMN more int");
    db.stream_with("st", WHOLE_ROWS, "schedule => '1h'");
    db.track("st", WHOLE_ROWS);
    // A reader of rows comes to a buffer of announcements, goes, and comes again.
    for _ in 0..2 {
        db.stream("sums", "SELECT count(*) AS n, sum(v) AS s FROM t");
        let writes = [
            "INSERT INTO t VALUES (10, 1, 1)",
            "UPDATE t SET v = v + 1",
            "UPDATE t SET more = id",
            "DELETE FROM t WHERE id = 10",
        ];
        let before = refreshes(db, "sums");
        assert_eq!(caused(db, "st", &writes), writes.len() as i64);
        assert_eq!(refreshes(db, "sums"), before, "rows stay rows");
        assert_eq!(caused(db, "st", &["", "ALTER TABLE t ALTER COLUMN more TYPE int USING more + 1"]), 1);
        assert_eq!(refreshes(db, "sums"), before, "it does not read that column");
        assert_eq!(caused(db, "sums", &["TRUNCATE t", "INSERT INTO t VALUES (1, 1, 1)"]), 1);
        db.run("SELECT pgtrickle.drop_stream_table('sums')");
        db.untrack("sums");
    }
    // The reader of announcements comes to a buffer of rows.
    db.run("SELECT pgtrickle.drop_stream_table('st')");
    db.untrack("st");
    db.stream("sums", "SELECT count(*) AS n, sum(v) AS s FROM t");
    db.stream_with("st", WHOLE_ROWS, "schedule => '1h'");
    db.track("st", WHOLE_ROWS);
    assert_eq!(caused(db, "st", &["", "UPDATE t SET more = more + 1", "UPDATE t SET v = 1"]), 2);
    assert_eq!(refreshes(db, "sums"), 0);
}

fn recomputed_always_when_nobody_tells(db: &mut Database) {
    sources(db);
    db.run("CREATE UNLOGGED TABLE scratch (v int)");
    let queries = [
        "SELECT id, hash_record(t) AS r, now() - now() AS zero FROM t",
        "SELECT hash_record(t) AS r, current_date - current_date AS zero FROM t",
        "SELECT hash_record(t) AS r, scratch.v FROM t, scratch",
        "SELECT now() - now() AS zero",
    ];
    for (number, query) in queries.into_iter().enumerate() {
        let name = format!("st{number}");
        db.stream_with(&name, query, "schedule => '1h'");
        db.track(&name, query);
        assert_eq!(caused(db, &name, &["", ""]), 2, "{query}");
    }
    let captured = "SELECT count(*) FROM pgtrickle.pgt_change_tracking";
    assert_eq!(db.number(captured), 0);
}

fn own_stable_functions(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE rates (rate int)");
    db.run("INSERT INTO t VALUES (1, 10), (2, NULL), (3, 30); INSERT INTO rates VALUES (2)");
    db.run("CREATE FUNCTION rated(int) RETURNS int STABLE LANGUAGE sql AS 'SELECT $1 * max(rate) FROM public.rates'");
    let query = "SELECT id, rated(v) AS v FROM t";
    let failure = db.fails(&pgtrickle_tests::create("rated", query, "refresh_mode => 'DIFFERENTIAL'"));
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
    assert!(failure.message.contains("public.rated()") && failure.detail.contains("STABLE"), "{failure:?}");
    assert!(failure.hint.contains("AUTO"), "{failure:?}");
    db.stream_with("rated", query, "schedule => '1h'");
    db.track("rated", query);
    db.cycle_in_full(&["UPDATE t SET v = v + 1"]);
    // No table that the query names changes.
    db.cycle_in_full(&["UPDATE rates SET rate = 5"]);
    db.cycle_in_full(&["INSERT INTO rates VALUES (7)", "DELETE FROM t WHERE id = 1"]);
    db.cycle_in_full(&["TRUNCATE rates"]);
}

fn workers_take_part(db: &mut Database) {
    db.run(
        "CREATE TABLE t AS SELECT i AS id, i % 100 AS k, i * 0.1 AS v FROM generate_series(1, 20000) AS i; ANALYZE t;
         SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
    );
    let launched = |db: &mut Database| {
        db.run("SELECT pg_stat_force_next_flush()");
        db.number("SELECT parallel_workers_launched FROM pg_stat_database WHERE datname = current_database()")
    };
    for (name, query) in [
        ("sums", "SELECT k, count(*) AS n, sum(v) AS s FROM t GROUP BY k"),
        (
            "highest",
            "SELECT sum(n) AS n, max(s) AS s FROM (SELECT k, count(*) AS n, sum(v) AS s FROM t GROUP BY k) AS q",
        ),
        ("bag", "SELECT v, k FROM t WHERE id % 100 = 1"),
    ] {
        let before = launched(db);
        db.run(&create(name, query, "refresh_mode => 'FULL', schedule => '1h'"));
        db.track(name, query);
        let created = launched(db);
        assert!(created > before, "{name}: no worker was asked to help filling it");
        db.cycle_in_full(&["UPDATE t SET v = v + 1 WHERE id % 300 = 1", "DELETE FROM t WHERE id % 500 = 2"]);
        assert!(launched(db) > created, "{name}: no worker was asked to help recomputing it");
    }
}
