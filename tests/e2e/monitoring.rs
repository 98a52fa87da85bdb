//! What the extension says about itself.

use pgtrickle_tests::{Database, tests, wait_until};

tests![status_has_a_row_per_stream_table, explain_shows_the_delta, health_is_checked, history_is_kept];

fn two(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)");
    db.stream("b_sums", "SELECT count(*) AS n, sum(v) AS s FROM t");
    db.stream("a_rows", "SELECT id, v FROM t WHERE v > 0");
}

fn status_has_a_row_per_stream_table(db: &mut Database) {
    assert!(db.rows("SELECT * FROM pgtrickle.pgt_status()").is_empty());
    two(db);
    let rows = db.lines(
        "SELECT name, status, refresh_mode, is_populated, consecutive_errors, schedule, \
         data_timestamp IS NOT NULL, staleness >= interval '0', scc_id FROM pgtrickle.pgt_status()",
    );
    assert_eq!(
        rows,
        ["public.a_rows|ACTIVE|DIFFERENTIAL|t|0|1h|t|t|", "public.b_sums|ACTIVE|DIFFERENTIAL|t|0|1h|t|t|"]
    );
    let types = db.text("SELECT pg_get_function_result('pgtrickle.pgt_status()'::regprocedure)");
    assert_eq!(
        types,
        "TABLE(name text, status text, refresh_mode text, is_populated boolean, consecutive_errors integer, \
         schedule text, data_timestamp timestamp with time zone, staleness interval, scc_id integer)"
    );
}

fn explain_shows_the_delta(db: &mut Database) {
    two(db);
    let properties = db.lines("SELECT property FROM pgtrickle.explain_st('b_sums')");
    for wanted in [
        "pgt_name",
        "defining_query",
        "refresh_mode",
        "status",
        "is_populated",
        "operator_tree",
        "output_columns",
        "source_oids",
        "delta_query",
        "frontier",
    ] {
        assert!(properties.iter().any(|property| property == wanted), "{wanted} is not among {properties:?}");
    }
    let delta = db.text("SELECT value FROM pgtrickle.explain_st('b_sums') WHERE property = 'delta_query'");
    let source = db.text("SELECT 't'::regclass::oid");
    assert!(delta.contains(&format!("d_{source}")), "{delta}");
    assert_eq!(db.fails("SELECT * FROM pgtrickle.explain_st('nowhere')").sqlstate, "42P01");
}

fn health_is_checked(db: &mut Database) {
    two(db);
    let names = db.lines("SELECT check_name FROM pgtrickle.health_check()");
    assert!(names.starts_with(&["scheduler_running".to_string(), "error_tables".to_string()]), "{names:?}");
    let severity = "SELECT severity FROM pgtrickle.health_check() WHERE check_name = 'error_tables'";
    assert_eq!(db.text(severity), "OK");
    db.run("SELECT pgtrickle.alter_stream_table('a_rows', status => 'SUSPENDED')");
    assert_eq!(db.text(severity), "ERROR");
    // The scheduler leaves this database alone, once it has looked whether it may.
    let running = "SELECT severity FROM pgtrickle.health_check() WHERE check_name = 'scheduler_running'";
    wait_until("the scheduler to be gone", || db.text(running) == "ERROR");
}

fn history_is_kept(db: &mut Database) {
    two(db);
    db.run("INSERT INTO t VALUES (2, 2), (3, -3)");
    db.refresh("a_rows");
    let newest = "SELECT h.action, h.status, h.initiated_by, h.rows_inserted, h.rows_deleted, h.end_time >= h.start_time \
         FROM pgtrickle.pgt_refresh_history AS h JOIN pgtrickle.pgt_stream_tables USING (pgt_id) \
         WHERE pgt_name = 'a_rows' ORDER BY refresh_id DESC LIMIT 1";
    assert_eq!(db.lines(newest), ["DIFFERENTIAL|COMPLETED|MANUAL|1|0|t"]);
    db.run("DELETE FROM t WHERE id = 1");
    db.refresh("a_rows");
    assert_eq!(db.lines(newest), ["DIFFERENTIAL|COMPLETED|MANUAL|0|1|t"]);
}
