//! How long a change buffer is costs nobody anything, and hides nothing.

use pgtrickle_tests::{Database, Session, refresh, tests, wait_until};

tests![
    an_idle_refresh_passes_over_what_was_consumed,
    a_slow_reader_does_not_hold_up_a_fast_one,
    a_reader_that_puts_pages_to_rest_knows_the_others,
    rows_on_pages_that_were_at_rest,
    rows_on_pages_that_are_at_rest_again,
    rows_of_open_transactions_on_pages_that_were_at_rest,
    pages_that_vacuum_took_away,
    pages_that_vacuum_took_away_from_who_had_read_them,
    rows_that_were_rolled_back,
    rows_written_beside_an_open_transaction,
];

/// Two readers of one source, and the name of its buffer.
fn readers(db: &mut Database) -> String {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 10000) i");
    db.stream("fast", "SELECT count(*) AS n, sum(v) AS s FROM t");
    db.stream("slow", "SELECT v % 10 AS k, count(*) AS n FROM t GROUP BY 1");
    db.text("SELECT buffer_relid::regclass::text FROM pgtrickle.pgt_change_tracking")
}

/// The pages of relations that the refresh of `name` reads.
fn pages(session: &mut Session, name: &str) -> u64 {
    let plan = session.text(&format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {}", refresh(name)));
    let figure = |label: &str| -> u64 {
        let (_, rest) = plan.split_once(label).unwrap_or_else(|| panic!("no {label} in {plan}"));
        rest.chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .unwrap()
    };
    figure("Shared Hit Blocks") + figure("Shared Read Blocks")
}

/// Waits until a refresh of `name` without changes reads no more than `usual` pages, give or take a few.
#[track_caller]
fn wait_idle(db: &mut Database, name: &str, usual: u64) {
    wait_until("a refresh that passes over the pages of a long buffer", || pages(db, name) <= usual + 16);
}

fn length(db: &mut Database, buffer: &str) -> i64 {
    db.number(&format!("SELECT pg_relation_size('{buffer}') / current_setting('block_size')::int"))
}

fn an_idle_refresh_passes_over_what_was_consumed(db: &mut Database) {
    let buffer = readers(db);
    db.untrack("slow");
    db.run("SELECT pgtrickle.drop_stream_table('slow')");
    db.cycle(&["UPDATE t SET v = 7 WHERE id = 1"]);
    pages(db, "fast");
    let usual = pages(db, "fast");
    for _ in 0..3 {
        db.cycle(&["UPDATE t SET v = v + 1"]);
        wait_idle(db, "fast", usual);
        assert!(length(db, &buffer) < 300, "the room of consumed rows is used again");
    }
    db.cycle(&["DELETE FROM t WHERE id = 3"]);
    wait_idle(db, "fast", usual);
}

fn a_slow_reader_does_not_hold_up_a_fast_one(db: &mut Database) {
    let buffer = readers(db);
    db.run("UPDATE t SET v = 7 WHERE id = 1");
    let busy = pages(db, "fast");
    pages(db, "fast");
    let usual = pages(db, "fast");
    db.run("UPDATE t SET v = v + 1");
    db.refresh("fast");
    assert!(length(db, &buffer) > 90, "the rows wait for the other reader");
    wait_idle(db, "fast", usual);
    for i in 0..30 {
        db.run(&format!("UPDATE t SET v = -v WHERE id = {i}"));
        let now = pages(db, "fast");
        assert!(now <= busy + 40, "{now} pages for one row, {busy} with a short buffer");
    }
    db.cycle(&["INSERT INTO t VALUES (0, 0)"]);
    wait_idle(db, "fast", usual);
    wait_idle(db, "slow", usual);
}

/// Each of these changes has more pages than are left in motion.
fn a_reader_that_puts_pages_to_rest_knows_the_others(db: &mut Database) {
    let buffer = readers(db);
    for _ in 0..5 {
        db.run("UPDATE t SET v = v + 1");
        db.refresh("fast");
    }
    assert!(length(db, &buffer) > 450, "the rows wait for the other reader");
    let mut looked_at = Vec::new();
    for i in 0..10 {
        db.run(&format!("UPDATE t SET v = v + 1 WHERE id BETWEEN {i} * 900 AND {i} * 900 + 899"));
        looked_at.push(pages(db, "fast"));
    }
    // The first ones still put to rest what was written last.
    assert!(
        looked_at.iter().skip(5).all(|pages| *pages <= 250),
        "{looked_at:?} pages for 900 rows each, of {} in the buffer",
        length(db, &buffer)
    );
    db.cycle(&["DELETE FROM t WHERE id % 3 = 0"]);
    db.cycle(&["UPDATE t SET v = 1 WHERE id < 1000"]);
}

/// Leaves a long buffer behind, with pages at rest; returns a session that knows them too.
fn at_rest(db: &mut Database) -> (String, Session) {
    let buffer = readers(db);
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 5000"]);
    let mut other = db.connect();
    for _ in 0..2 {
        db.refresh_all();
        other.run(&refresh("slow"));
    }
    (buffer, other)
}

fn rows_on_pages_that_were_at_rest(db: &mut Database) {
    let (buffer, mut other) = at_rest(db);
    let long = length(db, &buffer);
    for i in 0..40 {
        let mut writer = db.connect();
        writer.run(&format!("UPDATE t SET v = v + 1 WHERE id BETWEEN {i} * 100 AND {i} * 100 + 99"));
        if i % 2 == 0 {
            other.run(&refresh("slow"));
            other.run(&refresh("fast"));
            db.check();
        } else {
            db.cycle(&[]);
        }
    }
    assert!(length(db, &buffer) <= long, "pages at rest are written again");
}

/// One session puts pages to rest with rows that another, which knew the pages when they were at rest before, has not seen.
fn rows_on_pages_that_are_at_rest_again(db: &mut Database) {
    let (_, mut other) = at_rest(db);
    for i in 0..5 {
        db.cycle(&[]);
        other.run(&format!("UPDATE t SET v = v + 1 + {i} WHERE id <= 4000"));
        let waiting = pages(&mut other, "slow");
        wait_until("pages at rest", || pages(&mut other, "slow") < waiting / 2);
        db.refresh("fast");
        db.check();
    }
}

fn rows_of_open_transactions_on_pages_that_were_at_rest(db: &mut Database) {
    let (_, mut other) = at_rest(db);
    let mut writers: Vec<Session> = (0..6).map(|_| db.connect()).collect();
    for (i, writer) in writers.iter_mut().enumerate() {
        writer.run(&format!("BEGIN; UPDATE t SET v = v + 1 WHERE id % 10 = {i}"));
        db.refresh_all();
        other.run(&refresh("slow"));
    }
    for (i, writer) in writers.iter_mut().enumerate() {
        writer.run(if i % 3 == 2 { "ROLLBACK" } else { "COMMIT" });
        match i % 2 {
            0 => db.cycle(&[]),
            _ => {
                other.run(&refresh("slow"));
                other.run(&refresh("fast"));
                db.check();
            }
        }
    }
    db.cycle(&["UPDATE t SET v = 0 WHERE id % 3 = 0"]);
}

fn pages_that_vacuum_took_away(db: &mut Database) {
    let (buffer, mut other) = at_rest(db);
    for _ in 0..3 {
        db.run(&format!("VACUUM {buffer}"));
        other.run("UPDATE t SET v = v + 1");
        db.cycle(&[]);
        other.run("UPDATE t SET v = v + 2");
        other.run(&refresh("slow"));
        other.run(&refresh("fast"));
        db.check();
        db.cycle(&["UPDATE t SET v = v - 1 WHERE id < 9"]);
    }
    db.run(&format!("VACUUM FULL {buffer}"));
    other.run("UPDATE t SET v = v + 1");
    db.cycle(&[]);
}

fn rows_that_were_rolled_back(db: &mut Database) {
    let buffer = readers(db);
    db.cycle(&["UPDATE t SET v = 7 WHERE id = 1"]);
    pages(db, "fast");
    let usual = pages(db, "fast");
    db.run("BEGIN; UPDATE t SET v = v + 1; ROLLBACK");
    assert!(length(db, &buffer) > 90);
    wait_idle(db, "fast", usual);
    db.cycle(&["UPDATE t SET v = v + 1"]);
    wait_idle(db, "fast", usual);
}

/// A frontier that saw somebody write tells the rows of that transaction from those of later ones.
fn rows_written_beside_an_open_transaction(db: &mut Database) {
    let buffer = readers(db);
    db.run("CREATE TABLE elsewhere (i int)");
    db.cycle(&["UPDATE t SET v = 7 WHERE id = 1"]);
    pages(db, "fast");
    let usual = pages(db, "fast");
    let (mut silent, mut writer) = (db.connect(), db.connect());
    silent.run("BEGIN; INSERT INTO elsewhere VALUES (1)");
    db.run("UPDATE t SET v = v + 1 WHERE id > 100");
    writer.run("BEGIN; UPDATE t SET v = v + 1 WHERE id <= 100");
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id > 100"]);
    assert!(length(db, &buffer) > 90);
    silent.run("COMMIT");
    writer.run("ROLLBACK");
    wait_idle(db, "fast", usual);
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id = 7"]);
}

/// A removal goes by what a reading found out, which may be long ago where nothing was read since.
fn pages_that_vacuum_took_away_from_who_had_read_them(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 10) i");
    db.stream("fast", "SELECT id, v FROM t");
    db.run("SELECT pgtrickle.create_stream_table('full', 'SELECT id, v + 1 AS v FROM t', schedule => '1h', refresh_mode => 'FULL')");
    let buffer = db.text("SELECT buffer_relid::regclass::text FROM pgtrickle.pgt_change_tracking");
    let mut other = db.connect();
    let full = refresh("\"full\"");
    other.run("INSERT INTO t SELECT i, i FROM generate_series(1001, 21000) i");
    db.run(&refresh("fast"));
    db.run(&full);
    for v in 0..2 {
        other.run(&format!("UPDATE t SET v = {v} WHERE id = 1"));
        db.run(&refresh("fast"));
    }
    assert!(length(db, &buffer) > 50);
    for v in 2..4 {
        other.run(&full);
        other.run(&full);
        other.run(&format!("UPDATE t SET v = {v} WHERE id = 1"));
    }
    other.run(&format!("VACUUM {buffer}"));
    assert!(length(db, &buffer) < 10);
    other.run("UPDATE t SET v = 7 WHERE id = 1");
    db.run(&full);
    db.cycle(&["UPDATE t SET v = 8 WHERE id = 1"]);
}
