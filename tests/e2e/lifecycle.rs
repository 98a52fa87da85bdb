//! Creating, altering, suspending and dropping stream tables.

use pgtrickle_tests::{Database, tests};

tests![
    version_is_the_library_version,
    create_fills_the_table,
    create_without_initialize_leaves_it_empty,
    create_if_not_exists_keeps_what_exists,
    a_stream_table_has_exactly_the_columns_of_its_query,
    modes_and_schedules_are_stored,
    auto_is_the_default_mode,
    auto_takes_what_is_expected_to_take_less,
    a_refresh_without_changes_writes_nothing,
    drop_removes_everything,
    drop_with_dependents_needs_cascade,
    capture_goes_with_the_last_reader,
    alter_changes_schedule_mode_and_status,
    suspended_stream_tables_refuse_to_refresh_until_resumed,
    names_may_be_qualified,
    definition_survives_a_changed_search_path,
    verify_reports_a_difference,
    create_and_drop_roll_back,
];

fn orders(db: &mut Database) {
    db.run("CREATE TABLE orders (id int PRIMARY KEY, region text, amount int)");
    db.run("INSERT INTO orders SELECT i, 'r' || i % 3, i FROM generate_series(1, 30) AS i");
}

const TOTALS: &str = "SELECT region, count(*) AS n, sum(amount) AS total FROM orders GROUP BY region";

fn version_is_the_library_version(db: &mut Database) {
    assert_eq!(db.text("SELECT pgtrickle.version()"), env!("CARGO_PKG_VERSION"));
    let installed = db.text("SELECT extversion FROM pg_extension WHERE extname = 'pg_trickle'");
    assert_eq!(installed, env!("CARGO_PKG_VERSION"));
}

fn create_fills_the_table(db: &mut Database) {
    orders(db);
    db.stream("totals", TOTALS);
    db.check();
    assert_eq!(db.number("SELECT count(*) FROM totals"), 3);
    assert!(db.holds("SELECT is_populated AND status = 'ACTIVE' FROM pgtrickle.pgt_stream_tables"));
    db.cycle(&["INSERT INTO orders VALUES (100, 'r0', 7), (101, 'new', 8)"]);
    db.cycle(&["UPDATE orders SET amount = amount + 1, region = 'r1' WHERE id < 5"]);
    db.cycle(&["DELETE FROM orders WHERE region = 'r2'"]);
    assert_eq!(db.number("SELECT count(*) FROM totals"), 3);
}

fn create_without_initialize_leaves_it_empty(db: &mut Database) {
    orders(db);
    db.stream_with("totals", TOTALS, "schedule => '1h', refresh_mode => 'DIFFERENTIAL', initialize => false");
    assert_eq!(db.number("SELECT count(*) FROM totals"), 0);
    assert!(db.holds("SELECT NOT is_populated AND status = 'INITIALIZING' FROM pgtrickle.pgt_stream_tables"));
    db.run("INSERT INTO orders VALUES (100, 'r0', 7)");
    db.refresh("totals");
    db.track("totals", TOTALS);
    db.check();
    assert!(db.holds("SELECT is_populated AND status = 'ACTIVE' FROM pgtrickle.pgt_stream_tables"));
    db.cycle(&["INSERT INTO orders VALUES (101, 'r0', 7)"]);
}

fn create_if_not_exists_keeps_what_exists(db: &mut Database) {
    orders(db);
    db.stream("totals", TOTALS);
    let before = db.fingerprint();
    db.notices();
    db.run("SELECT pgtrickle.create_stream_table_if_not_exists('totals', 'SELECT 1 AS other', schedule => '5m')");
    assert_eq!(db.fingerprint(), before);
    assert!(db.notices().iter().any(|notice| notice.message.contains("already exists")));
    db.run("SELECT pgtrickle.create_stream_table_if_not_exists('second', 'SELECT id FROM orders', schedule => '5m')");
    assert_eq!(db.number("SELECT count(*) FROM second"), 30);
}

fn a_stream_table_has_exactly_the_columns_of_its_query(db: &mut Database) {
    orders(db);
    db.stream("bag", "SELECT region FROM orders");
    db.stream("averages", "SELECT region, avg(amount) AS mean FROM orders GROUP BY region HAVING count(*) > 2");
    let columns = "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) \
                   FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped AND attrelid = ";
    assert_eq!(db.text(&format!("{columns} 'bag'::regclass")), "region text");
    assert_eq!(db.text(&format!("{columns} 'averages'::regclass")), "region text, mean numeric");
}

fn modes_and_schedules_are_stored(db: &mut Database) {
    orders(db);
    db.stream_with("a", TOTALS, "schedule => '1h30m', refresh_mode => 'full'");
    db.stream_with("b", TOTALS, "schedule => '90', refresh_mode => 'Differential'");
    db.stream_with("c", TOTALS, "schedule => '*/5 * * * *', refresh_mode => 'AUTO'");
    db.stream_with("d", TOTALS, "schedule => 'calculated', refresh_mode => 'INCREMENTAL'");
    let stored = db.lines("SELECT pgt_name, refresh_mode, schedule FROM pgtrickle.pgt_stream_tables ORDER BY 1");
    let expected = ["a|FULL|1h30m", "b|DIFFERENTIAL|1m30s", "c|DIFFERENTIAL|*/5 * * * *", "d|DIFFERENTIAL|"];
    assert_eq!(stored, expected);
}

fn auto_is_the_default_mode(db: &mut Database) {
    orders(db);
    db.run(&format!("SELECT pgtrickle.create_stream_table('totals', '{TOTALS}')"));
    db.track("totals", TOTALS);
    assert_eq!(db.text("SELECT requested_mode FROM pgtrickle.pgt_stream_tables"), "AUTO");
    db.cycle_in_full(&["INSERT INTO orders VALUES (100, 'r0', 7), (101, 'new', 8)"]);
    db.cycle_in_full(&["DELETE FROM orders WHERE id = 3"]);
}

fn auto_takes_what_is_expected_to_take_less(db: &mut Database) {
    orders(db);
    db.run(&format!("SELECT pgtrickle.create_stream_table('totals', '{TOTALS}', refresh_mode => 'AUTO')"));
    db.track("totals", TOTALS);
    let known = "last_full_ms > 0 AND last_full_ms = (costs #>> '{full,ms}')::float8 AND costs ->> 'samples' = '0'";
    assert_eq!(db.text(&format!("SELECT {known} FROM pgtrickle.pgt_stream_tables")), "t", "it was filled");
    let expect = |full: f64, fixed: f64| {
        format!(
            "UPDATE pgtrickle.pgt_stream_tables SET costs = '{{\"full\": {{\"rows\": 1, \"ms\": {full}, \"each\": null, \
             \"samples\": 3}}, \"fixed_ms\": {fixed}, \"many\": null, \"samples\": 3, \
             \"delta_discount\": 1, \"full_discount\": 1}}'"
        )
    };
    let did = "SELECT effective_refresh_mode FROM pgtrickle.pgt_stream_tables";
    for (full, fixed, mode) in [(1e3, 1e6, "FULL"), (1e6, 1e3, "DIFFERENTIAL"), (1e3, 1e6, "FULL")] {
        db.run(&expect(full, fixed));
        db.cycle_in_full(&["UPDATE orders SET amount = amount + 1 WHERE id = 4"]);
        assert_eq!(db.text(did), mode, "{full} and {fixed} ms");
    }
    for strategy in ["differential", "full"] {
        db.run(&format!("SET pg_trickle.refresh_strategy = {strategy}"));
        db.cycle_in_full(&["UPDATE orders SET amount = amount - 2 WHERE id = 4"]);
        assert_eq!(db.text(did), strategy.to_uppercase());
    }
    db.run("RESET pg_trickle.refresh_strategy; SELECT pgtrickle.alter_stream_table('totals', refresh_mode => 'DIFFERENTIAL')");
    db.run(&expect(1e3, 1e6));
    db.cycle_in_full(&["DELETE FROM orders WHERE id = 4"]);
    assert_eq!(db.text(did), "DIFFERENTIAL", "as asked for");
}

fn a_refresh_without_changes_writes_nothing(db: &mut Database) {
    orders(db);
    db.stream("totals", TOTALS);
    db.run("UPDATE orders SET amount = 0 WHERE id = 1");
    db.refresh("totals");
    let state = "SELECT string_agg(ctid::text || xmin::text, ',') FROM totals";
    let before = db.text(state);
    // The first reading of a row may log that its writer has committed.
    db.refresh("totals");
    let plan = db.lines("EXPLAIN (ANALYZE, WAL, COSTS OFF) SELECT pgtrickle.refresh_stream_table('totals')");
    assert_eq!(db.text(state), before);
    assert!(!plan.iter().any(|line| line.contains("WAL:")), "{plan:?}");
}

fn drop_removes_everything(db: &mut Database) {
    orders(db);
    let before = db.fingerprint();
    db.run(&format!(
        "SELECT pgtrickle.create_stream_table('totals', '{TOTALS} HAVING count(*) > 1', schedule => '1h')"
    ));
    db.run("UPDATE orders SET amount = 0 WHERE id = 1");
    db.refresh("totals");
    assert_ne!(db.fingerprint(), before);
    db.run("SELECT pgtrickle.drop_stream_table('totals')");
    assert_eq!(db.fingerprint(), before);
    db.run("INSERT INTO orders VALUES (100, 'r0', 7)");
}

fn drop_with_dependents_needs_cascade(db: &mut Database) {
    orders(db);
    let before = db.fingerprint();
    db.stream_with("lower", TOTALS, "schedule => '1h'");
    db.stream_with("upper", "SELECT sum(total) AS all_of_it FROM lower", "schedule => '1h'");
    let both = db.fingerprint();
    let failure = db.fails("SELECT pgtrickle.drop_stream_table('lower')");
    assert_eq!(failure.sqlstate, "22023", "{failure:?}");
    assert!(format!("{failure:?}").contains("upper"), "{failure:?}");
    assert!(failure.hint.contains("cascade"), "{failure:?}");
    assert_eq!(db.fingerprint(), both);
    db.run("SELECT pgtrickle.drop_stream_table('lower', cascade => true)");
    assert_eq!(db.fingerprint(), before);
}

fn capture_goes_with_the_last_reader(db: &mut Database) {
    orders(db);
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass AND NOT tgisinternal";
    db.stream("a", TOTALS);
    let one = db.number(triggers);
    assert!(one > 0);
    db.stream("b", "SELECT id, amount FROM orders WHERE amount > 3");
    assert_eq!(db.number(triggers), one);
    db.run("SELECT pgtrickle.drop_stream_table('a')");
    db.untrack("a");
    assert_eq!(db.number(triggers), one);
    db.cycle(&["UPDATE orders SET amount = amount * 2"]);
    db.run("SELECT pgtrickle.drop_stream_table('b')");
    assert_eq!(db.number(triggers), 0);
    assert_eq!(db.number("SELECT count(*) FROM pg_class WHERE relnamespace = 'pgtrickle_changes'::regnamespace"), 0);
}

fn alter_changes_schedule_mode_and_status(db: &mut Database) {
    orders(db);
    db.stream("totals", TOTALS);
    db.run("SELECT pgtrickle.alter_stream_table('totals', schedule => '2h')");
    assert_eq!(db.text("SELECT schedule FROM pgtrickle.pgt_stream_tables"), "2h");
    db.run("INSERT INTO orders VALUES (100, 'r0', 7)");
    db.run("SELECT pgtrickle.alter_stream_table('totals', refresh_mode => 'FULL')");
    assert_eq!(db.text("SELECT refresh_mode FROM pgtrickle.pgt_stream_tables"), "FULL");
    db.cycle_in_full(&["INSERT INTO orders VALUES (101, 'r0', 7)"]);
    db.run("SELECT pgtrickle.alter_stream_table('totals', refresh_mode => 'DIFFERENTIAL')");
    db.cycle_in_full(&["INSERT INTO orders VALUES (102, 'r0', 7)"]);
    db.cycle(&["UPDATE orders SET region = 'r1' WHERE id > 99"]);
    db.run("SELECT pgtrickle.alter_stream_table('totals', status => 'suspended')");
    assert_eq!(db.text("SELECT status FROM pgtrickle.pgt_stream_tables"), "SUSPENDED");
    db.run("SELECT pgtrickle.alter_stream_table('totals', status => 'ACTIVE')");
    db.cycle(&["DELETE FROM orders WHERE id > 99"]);
}

fn suspended_stream_tables_refuse_to_refresh_until_resumed(db: &mut Database) {
    orders(db);
    db.stream("totals", TOTALS);
    let early = db.fails("SELECT pgtrickle.resume_stream_table('totals')");
    assert_eq!(early.sqlstate, "22023", "{early:?}");
    db.run("SELECT pgtrickle.alter_stream_table('totals', status => 'SUSPENDED')");
    db.run("DELETE FROM orders WHERE id < 10");
    let failure = db.fails("SELECT pgtrickle.refresh_stream_table('totals')");
    assert_eq!(failure.sqlstate, "55000", "{failure:?}");
    assert!(failure.hint.contains("resume_stream_table"), "{failure:?}");
    db.run("SELECT pgtrickle.resume_stream_table('totals')");
    db.cycle(&["INSERT INTO orders VALUES (100, 'r0', 7)"]);
}

fn names_may_be_qualified(db: &mut Database) {
    orders(db);
    db.run("CREATE SCHEMA reports");
    db.stream("reports.totals", TOTALS);
    db.stream("totals", "SELECT id FROM orders");
    db.cycle(&["INSERT INTO orders VALUES (100, 'r0', 7)"]);
    db.run("SET search_path = reports, public");
    db.run("UPDATE orders SET amount = 9 WHERE id = 100; SELECT pgtrickle.refresh_stream_table('totals')");
    assert_eq!(db.number("SELECT sum(total) FROM reports.totals"), db.number("SELECT sum(amount) FROM orders"));
    db.run("SELECT pgtrickle.drop_stream_table('totals')");
    assert_eq!(db.value("SELECT to_regclass('reports.totals')::text"), None);
    assert_eq!(db.number("SELECT count(*) FROM public.totals"), 31);
    db.untrack("reports.totals");
    db.untrack("totals");
}

fn definition_survives_a_changed_search_path(db: &mut Database) {
    orders(db);
    db.run("CREATE SCHEMA decoy; CREATE TABLE decoy.orders (id int, region text, amount int)");
    db.run("CREATE FUNCTION decoy.lower(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'decoy'$$");
    db.stream("public.totals", "SELECT lower(region) AS region, sum(amount) AS total FROM public.orders GROUP BY 1");
    db.run("SET search_path = decoy, pg_catalog");
    db.run("UPDATE public.orders SET region = upper(region)");
    db.run("SELECT pgtrickle.refresh_stream_table('public.totals')");
    db.run("RESET search_path");
    db.check();
}

fn verify_reports_a_difference(db: &mut Database) {
    orders(db);
    db.stream("totals", TOTALS);
    assert_eq!(db.lines("SELECT rows_missing, rows_extra FROM pgtrickle.verify('totals')"), ["0|0"]);
    db.run("DELETE FROM orders WHERE id = 1");
    assert_eq!(db.lines("SELECT rows_missing, rows_extra FROM pgtrickle.verify('totals')"), ["1|1"]);
    db.refresh("totals");
    assert_eq!(db.lines("SELECT rows_missing, rows_extra FROM pgtrickle.verify('totals')"), ["0|0"]);
}

fn create_and_drop_roll_back(db: &mut Database) {
    orders(db);
    let before = db.fingerprint();
    db.run("BEGIN");
    db.stream_with("totals", TOTALS, "schedule => '1h'");
    db.run("ROLLBACK");
    assert_eq!(db.fingerprint(), before);
    db.stream("totals", TOTALS);
    let made = db.fingerprint();
    db.run("BEGIN; SELECT pgtrickle.drop_stream_table('totals'); ROLLBACK");
    assert_eq!(db.fingerprint(), made);
    db.cycle(&["INSERT INTO orders VALUES (100, 'r0', 7)"]);
}
