//! Queries that compare with the clock: rows come and go although nobody writes.

use pgtrickle_tests::{Database, tests};

tests![
    rows_that_become_old,
    windows_of_time,
    the_clock_above_and_below_other_operators,
    the_clock_in_joins,
    dates_and_local_times,
    the_clock_in_sub_selects,
    comparisons_inside_conditions,
    how_long_ago,
    months_of_thirty_days,
    writes_while_the_clock_moves,
    a_chain_over_the_clock,
    the_clock_in_other_places,
    nothing_that_flips,
    one_transaction_has_one_clock,
];

/// Rows some tenths of a second before and after now, some of them alike, some without a time.
pub(super) fn moments(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g int, at timestamptz, until timestamptz); CREATE TABLE u (g int, at timestamptz)");
    db.run("INSERT INTO t SELECT i, i % 4, clock_timestamp() + i * interval '50 ms', clock_timestamp() + (i + 8) * interval '50 ms' FROM generate_series(-10, 20) AS i");
    db.run(
        "INSERT INTO u SELECT i % 5, clock_timestamp() + (i / 2) * interval '80 ms' FROM generate_series(-10, 20) AS i",
    );
    db.run("UPDATE t SET at = NULL WHERE id % 7 = 3; UPDATE t SET until = NULL WHERE id % 7 = 5; INSERT INTO u VALUES (1, NULL), (NULL, NULL)");
}

/// Refreshes and compares at one clock each time, until every row's time has passed.
pub(super) fn until_all_is_past(db: &mut Database) {
    loop {
        let done = db.text(
            "SELECT clock_timestamp() > greatest((SELECT max(greatest(at, until)) FROM t), (SELECT max(at) FROM u))",
        );
        one_cycle(db, "SELECT 1");
        if done == "t" || done == "true" {
            return;
        }
    }
}

pub(super) fn one_cycle(db: &mut Database, change: &str) {
    db.run(&format!("BEGIN; {change}; COMMIT; BEGIN"));
    db.check_after_refresh();
    db.run("COMMIT");
    if let Some(fallback) = db.fallback() {
        panic!("{fallback}");
    }
}

fn rows_that_become_old(db: &mut Database) {
    moments(db);
    db.stream("past", "SELECT id, at FROM t WHERE at < now()");
    db.stream("future", "SELECT g, at FROM u WHERE now() <= at");
    db.stream("both_ends", "SELECT id FROM t WHERE at <= CURRENT_TIMESTAMP AND until > CURRENT_TIMESTAMP");
    db.stream("rounded", "SELECT id FROM t WHERE at < CURRENT_TIMESTAMP(1)");
    until_all_is_past(db);
    assert!(db.number("SELECT count(*) FROM past") > 20);
    assert_eq!(db.number("SELECT count(*) FROM future") + db.number("SELECT count(*) FROM both_ends"), 0);
}

fn windows_of_time(db: &mut Database) {
    moments(db);
    db.stream("recent", "SELECT id, g FROM t WHERE at > now() - interval '200 ms'");
    db.stream("between", "SELECT id FROM t WHERE at BETWEEN now() - interval '150 milliseconds' AND transaction_timestamp() + interval '0.2 s'");
    db.stream("shifted_column", "SELECT id FROM t WHERE at + g * interval '30 ms' < now()");
    db.stream("bag", "SELECT g FROM u WHERE at >= now() - interval '100 ms' AND g > 0");
    until_all_is_past(db);
}

fn the_clock_above_and_below_other_operators(db: &mut Database) {
    moments(db);
    db.stream("grouped", "SELECT g, count(*) AS n, min(id) AS lo, max(at) AS hi FROM t WHERE at < now() GROUP BY g");
    db.stream("had", "SELECT g, max(at) AS last FROM t GROUP BY g HAVING max(at) < now()");
    db.stream("distinct_now", "SELECT DISTINCT g FROM u WHERE at > now()");
    db.stream(
        "merged",
        "SELECT g FROM t WHERE at < now() EXCEPT ALL SELECT g FROM u WHERE at > now() - interval '100 ms'",
    );
    db.stream(
        "in_sub_select",
        "SELECT n, count(*) AS c FROM (SELECT g, count(*) AS n FROM u WHERE at <= now() GROUP BY g) AS x GROUP BY n",
    );
    db.stream("expanded", "SELECT id, x FROM (SELECT id, at, ARRAY[g, id] AS a FROM t) AS s, unnest(s.a) AS x WHERE s.at < now() AND x > 1");
    db.stream("ranked", "SELECT id, rank() OVER (PARTITION BY g ORDER BY id) AS r FROM t WHERE until > now()");
    until_all_is_past(db);
}

fn the_clock_in_joins(db: &mut Database) {
    moments(db);
    db.stream(
        "both_sides",
        "SELECT t.id, u.at FROM t JOIN u ON t.g = u.g AND u.at < now() WHERE t.at > now() - interval '300 ms'",
    );
    db.stream("padded", "SELECT t.id, u.at FROM t LEFT JOIN u ON t.g = u.g AND u.at > now()");
    db.stream("padded_right", "SELECT t.id, u.at FROM t RIGHT JOIN u ON t.g = u.g AND t.at < now()");
    db.stream("over_padded", "SELECT t.id, u.at FROM t LEFT JOIN u ON t.g = u.g WHERE t.until > now()");
    db.stream("across", "SELECT t.id, u.g FROM t JOIN u ON t.g = u.g WHERE greatest(t.at, u.at) < now()");
    until_all_is_past(db);
}

fn dates_and_local_times(db: &mut Database) {
    db.run("SET TimeZone = 'UTC'");
    moments(db);
    db.run("CREATE TABLE d (day date, moment timestamp)");
    db.run("INSERT INTO d SELECT current_date + i, localtimestamp + i * interval '60 ms' FROM generate_series(-5, 12) AS i");
    db.stream("days", "SELECT day FROM d WHERE day > current_date - 3");
    db.stream(
        "from_midnight",
        "SELECT moment FROM d WHERE day = current_date AND moment >= date_trunc('day', localtimestamp)",
    );
    db.stream("local", "SELECT day, moment FROM d WHERE moment < LOCALTIMESTAMP");
    db.stream("mixed", "SELECT moment FROM d WHERE day <= now() + interval '2 days'");
    until_all_is_past(db);
    one_cycle(
        db,
        "INSERT INTO d SELECT day + 2, moment + interval '1 hour' FROM d; DELETE FROM d WHERE day < current_date",
    );
}

fn writes_while_the_clock_moves(db: &mut Database) {
    moments(db);
    db.stream("past", "SELECT id, g FROM t WHERE at < now()");
    db.stream("sums", "SELECT g, count(*) AS n, max(id) AS hi FROM t WHERE at < now() AND until >= now() GROUP BY g");
    db.stream("pairs", "SELECT t.id, u.at FROM t JOIN u ON t.g = u.g WHERE u.at < now() AND t.at < now()");
    for round in 0..12 {
        one_cycle(
            db,
            &format!(
                "UPDATE t SET at = at + interval '70 ms', g = (g + 1) % 4 WHERE id % 3 = {round} % 3; \
                 DELETE FROM u WHERE ctid IN (SELECT min(ctid) FROM u); INSERT INTO u VALUES ({round} % 5, clock_timestamp() + interval '40 ms'); \
                 INSERT INTO t VALUES (100 + {round}, 1, clock_timestamp() - interval '1 ms', clock_timestamp() + interval '90 ms')"
            ),
        );
        one_cycle(db, &format!("DELETE FROM t WHERE id = {round}; UPDATE u SET g = NULL WHERE g = {round} % 5"));
    }
    until_all_is_past(db);
    let mut full = db.connect();
    full.run("TRUNCATE t");
    db.run("BEGIN");
    db.check_after_refresh();
    db.run("COMMIT");
}

fn a_chain_over_the_clock(db: &mut Database) {
    moments(db);
    db.stream("lower_st", "SELECT id, g FROM t WHERE at < now()");
    db.stream("upper_st", "SELECT g, count(*) AS n FROM lower_st GROUP BY g");
    until_all_is_past(db);
    one_cycle(db, "UPDATE t SET at = NULL WHERE g = 1");
}

fn the_clock_in_other_places(db: &mut Database) {
    moments(db);
    for query in [
        "SELECT id, now() AS at FROM t",
        "SELECT id FROM t WHERE at - now() < until - now()",
        "SELECT date_trunc('hour', now() - at) AS age, count(*) AS n FROM t GROUP BY 1",
        "SELECT id, rank() OVER (ORDER BY now() - at) AS r FROM t",
        "SELECT t.id, u.at FROM t LEFT JOIN u ON t.g = u.g AND greatest(t.at, u.at) < now()",
        "SELECT id FROM t ORDER BY id LIMIT CASE WHEN now() > '2000-01-01' THEN 3 ELSE 4 END",
        "SELECT id, x FROM t, unnest(ARRAY[at < now(), true]) AS x",
        "SELECT id FROM t WHERE at < clock_timestamp()",
        "SELECT id FROM t WHERE at < statement_timestamp()",
        "SELECT id FROM t WHERE age(at) < interval '1 day'",
        "SELECT id FROM t WHERE at IN (now(), now() - interval '1 day')",
        "SELECT id FROM t WHERE (g, at) < (1, now())",
        "SELECT id FROM t WHERE NOT (at < now() AND now() - at > until - now())",
        "SELECT id FROM t WHERE now() - at < interval '6000 years'",
        "SELECT id, s FROM t, generate_series(at, now(), interval '1 hour') AS s",
    ] {
        let call = format!(
            "SELECT pgtrickle.create_stream_table('st', $q${query}$q$, schedule => '1h', refresh_mode => 'DIFFERENTIAL')"
        );
        let failure = db.fails(&call);
        assert_eq!(failure.sqlstate, "0A000", "{query}: {failure:?}");
    }
}

fn nothing_that_flips(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, at timestamptz); INSERT INTO t SELECT i, now() - i * interval '1 day' FROM generate_series(1, 9) AS i");
    db.stream("past", "SELECT id FROM t WHERE at < now()");
    one_cycle(db, "SELECT 1");
    let history = "SELECT count(*) FROM pgtrickle.pgt_refresh_history";
    let before = db.number(history);
    db.refresh("past");
    assert_eq!(db.number(history), before);
    one_cycle(db, "INSERT INTO t VALUES (20, now() + interval '1 day'), (21, now())");
}

fn one_transaction_has_one_clock(db: &mut Database) {
    moments(db);
    db.stream("past", "SELECT id, at FROM t WHERE at < now()");
    db.run("BEGIN; SELECT now()");
    let mut other = db.connect();
    while other.text("SELECT count(*) FROM t WHERE at BETWEEN now() - interval '120 ms' AND now()") == "0" {}
    other.run("SELECT pgtrickle.refresh_stream_table('past')");
    // This transaction's clock is behind the one that the contents have.
    db.check_after_refresh();
    db.run("COMMIT");
    until_all_is_past(db);
}

fn the_clock_in_sub_selects(db: &mut Database) {
    moments(db);
    db.stream(
        "with_match",
        "SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.g = t.g AND u.at > now() - interval '100 ms')",
    );
    db.stream("without_match", "SELECT id FROM t WHERE NOT EXISTS (SELECT FROM u WHERE u.g = t.g AND u.at > now())");
    db.stream("listed", "SELECT id FROM t WHERE at < now() AND g IN (SELECT g FROM u WHERE at < CURRENT_TIMESTAMP)");
    db.stream("not_listed", "SELECT id FROM t WHERE g NOT IN (SELECT g FROM u WHERE at > now() AND g IS NOT NULL)");
    db.stream("counted", "SELECT id, (SELECT count(*) FROM u WHERE u.g = t.g AND u.at < now()) AS n FROM t");
    db.stream("applied", "SELECT t.id, x.at FROM t, LATERAL (SELECT at FROM u WHERE u.g = t.g AND u.at < now() ORDER BY at DESC LIMIT 1) AS x");
    until_all_is_past(db);
    one_cycle(
        db,
        "UPDATE u SET at = clock_timestamp() + interval '1 ms' WHERE g = 2; DELETE FROM u WHERE g = 3; UPDATE t SET g = 2 WHERE g = 1",
    );
}

fn comparisons_inside_conditions(db: &mut Database) {
    moments(db);
    for (number, query) in [
        "SELECT id FROM t WHERE at < now() OR g = 1",
        "SELECT id FROM t WHERE at IN (now(), until)",
        "SELECT id FROM t WHERE NOT (at < now() AND g = 1)",
        "SELECT id, at FROM t WHERE NOT at < now()",
        "SELECT id FROM t WHERE at NOT BETWEEN now() - interval '200 ms' AND now() + interval '100 ms'",
        "SELECT id FROM t WHERE at > now() OR until < now()",
        "SELECT id FROM t WHERE CASE WHEN at < now() THEN until > now() ELSE g > 1 END",
        "SELECT id FROM t WHERE (at < now()) IS DISTINCT FROM (until > now() + interval '200 ms') AND until > now() - interval '700 ms'",
        "SELECT id FROM t WHERE (at < now()) IS NULL OR COALESCE(until < now(), g = 2)",
        "SELECT g, count(*) AS n FROM t WHERE at < now() OR until < now() - interval '100 ms' GROUP BY g HAVING NOT max(at) > now() OR count(*) > 3",
        "SELECT t.id, u.at FROM t JOIN u ON t.g = u.g AND (t.at < now() OR u.at > now())",
        "SELECT t.id, u.at FROM t LEFT JOIN u ON t.g = u.g AND NOT (u.at < now() AND u.g > 1)",
        "SELECT id FROM t WHERE at < now() OR EXISTS (SELECT FROM u WHERE u.g = t.g AND (u.at > now() OR u.g = 3))",
        "SELECT id FROM t WHERE CASE WHEN at < now() AND until > now() THEN 1 / (g - 4) < 0 ELSE at < now() END",
        "SELECT g FROM u WHERE at > now() OR g IS NULL EXCEPT ALL SELECT g FROM t WHERE NOT at > now()",
    ]
    .iter()
    .enumerate()
    {
        db.stream(&format!("st{number}"), query);
    }
    for round in 0..6 {
        one_cycle(
            db,
            &format!(
                "UPDATE t SET at = at + interval '70 ms', g = (g + 1) % 4 WHERE id % 3 = {round} % 3; UPDATE t SET until = at - interval '30 ms' WHERE id % 5 = {round}; \
                 INSERT INTO u VALUES ({round} % 5, clock_timestamp() + interval '40 ms'); DELETE FROM t WHERE id = {round}"
            ),
        );
    }
    until_all_is_past(db);
}

/// A difference with the clock is compared as the exact time that it is.
fn how_long_ago(db: &mut Database) {
    db.run("SET TimeZone = 'Europe/Berlin'");
    moments(db);
    db.run("CREATE TABLE d (day date, moment timestamp); INSERT INTO d SELECT current_date + i, localtimestamp + i * interval '60 ms' FROM generate_series(-5, 12) AS i");
    db.run("INSERT INTO t VALUES (200, 1, 'infinity', '-infinity'), (201, 2, '-infinity', 'infinity'), (202, 3, '4713-01-01 BC', '294276-01-01'); INSERT INTO d VALUES ('4713-01-01 BC', '-infinity'), ('5874897-01-01', 'infinity'), (NULL, NULL)");
    for (number, query) in [
        "SELECT id FROM t WHERE now() - at < interval '200 ms'",
        "SELECT id FROM t WHERE now() - interval '1 day' - at >= interval '-23:59:59.9'",
        "SELECT id FROM t WHERE interval '100 ms' > CURRENT_TIMESTAMP - at OR interval '0' <> until - now()",
        "SELECT id FROM t WHERE until - now() BETWEEN interval '-100 ms' AND interval '300 ms'",
        "SELECT moment FROM d WHERE NOT localtimestamp - moment > interval '50 ms'",
        "SELECT day FROM d WHERE current_date - day < 3",
        "SELECT day FROM d WHERE 2 <= day - current_date",
        "SELECT g, count(*) AS n FROM t WHERE now() - at > interval '30 ms' GROUP BY g",
    ]
    .iter()
    .enumerate()
    {
        db.stream(&format!("st{number}"), query);
    }
    db.run("DELETE FROM t WHERE id = 201; UPDATE t SET until = at WHERE id = 200; UPDATE t SET at = '-infinity', until = NULL WHERE id = 200");
    loop {
        let left = db.text(
            "SELECT count(*) FROM t WHERE isfinite(at) AND at > clock_timestamp() - interval '200 ms' AND id < 200",
        );
        one_cycle(db, "UPDATE d SET day = day + 1 WHERE day < current_date");
        if left == "0" {
            return;
        }
    }
}

/// Intervals are compared by months of 30 days and days of 24 hours, whatever the calendar and the time zone say.
fn months_of_thirty_days(db: &mut Database) {
    db.run("SET TimeZone = 'Europe/Berlin'; CREATE TABLE t (id int, at timestamptz)");
    db.run("INSERT INTO t SELECT 10 * m + i, clock_timestamp() - m * interval '720 hours' + i * interval '60 ms' FROM generate_series(0, 13) AS m, generate_series(-2, 5) AS i");
    db.stream("one", "SELECT id FROM t WHERE now() - at < interval '1 month'");
    db.stream("more", "SELECT id FROM t WHERE now() - at <= interval '1 year 1 day -24:00'");
    db.stream("either", "SELECT id FROM t WHERE NOT (now() - at > interval '2 mons' OR now() - at < '30 days')");
    loop {
        let left = db.text("SELECT count(*) FROM t WHERE at > clock_timestamp()");
        one_cycle(db, "SELECT 1");
        if left == "0" {
            return;
        }
    }
}
