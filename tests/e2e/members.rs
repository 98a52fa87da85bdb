//! Rows that come or go with a partition or a child of a source are a delta, exactly once, whatever runs beside.

use pgtrickle_tests::{Database, create, refresh, tests};

tests![
    what_the_transaction_wrote_itself,
    savepoints_around_members,
    refreshes_inside_the_transaction_of_a_member,
    an_empty_partition_changes_nothing,
    trees_that_come_and_go,
    the_columns_that_are_captured,
    values_stored_out_of_line,
    readers_without_a_delta,
    partitions_dropped_with_something_else,
    drops_that_fail,
    attached_in_the_middle_of_a_statement,
    the_first_child_of_a_table,
    first_rows_of_all_members,
    a_child_of_two_parents,
    attached_while_a_refresh_reads,
    detached_while_a_refresh_waits,
    inherited_while_a_refresh_reads,
    attached_after_the_only_snapshot,
    attached_beside_each_other,
    attached_while_writers_wait,
    attached_below_while_a_reader_is_created,
    detached_concurrently_while_somebody_reads,
    members_and_refreshes_over_and_over,
    a_failure_that_has_nothing_to_do_with_members,
];

fn partitioned(db: &mut Database) {
    db.run("CREATE TABLE p (id int, g int, v numeric, note text) PARTITION BY RANGE (id)");
    db.run("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)");
    db.run(
        "CREATE TABLE q (g int, name text); INSERT INTO q VALUES (0, 'a'), (1, 'b'), (1, 'b'), (NULL, 'c'), (5, 'd')",
    );
    db.run("INSERT INTO p SELECT i, i % 3, i, 'n' || i FROM generate_series(1, 19, 2) AS i; INSERT INTO p VALUES (2, NULL, NULL, NULL), (2, NULL, NULL, NULL)");
    db.run("CREATE TABLE later (note text, g int, gone int, id int NOT NULL, v numeric); ALTER TABLE later DROP COLUMN gone");
    db.run("INSERT INTO later VALUES ('l', 1, 30, 1.0), ('l', 1, 30, 1.0), (NULL, NULL, 31, NULL), ('m', 5, 32, 7)");
}

fn streams(db: &mut Database) {
    db.stream("copies", "SELECT id, g, v FROM p");
    db.stream("sums", "SELECT g, count(*) AS n, sum(v) AS s, max(id) AS hi FROM p GROUP BY g");
    db.stream("pairs", "SELECT a.id, b.id AS other FROM p AS a JOIN p AS b ON a.v = b.v + 2");
    db.stream("named", "SELECT p.id, q.name FROM p JOIN q USING (g)");
    db.stream("kept", "SELECT q.name, p.id FROM q LEFT JOIN p ON p.g = q.g");
}

const ATTACH: &str = "ALTER TABLE p ATTACH PARTITION later FOR VALUES FROM (30) TO (40)";
const DETACH: &str = "ALTER TABLE p DETACH PARTITION later";

fn what_the_transaction_wrote_itself(db: &mut Database) {
    partitioned(db);
    streams(db);
    db.cycle(&[&format!(
        "BEGIN; INSERT INTO later VALUES ('x', 2, 33, 1); DELETE FROM later WHERE id = 32; {ATTACH}; INSERT INTO p VALUES (34, 1, 1, 'x'); \
         UPDATE later SET v = 5 WHERE id = 30; INSERT INTO q VALUES (2, 'new'); COMMIT"
    )]);
    db.cycle(&[&format!(
        "BEGIN; INSERT INTO p VALUES (35, 1, 1, 'x'); DELETE FROM later WHERE id = 34; {DETACH}; INSERT INTO later VALUES ('x', 2, 36, 1); \
         DELETE FROM later WHERE id = 35; UPDATE p SET v = v + 1; COMMIT"
    )]);
    db.cycle(&[&format!("BEGIN; {ATTACH}; {DETACH}; {ATTACH}; DELETE FROM q WHERE g = 1; COMMIT")]);
    db.cycle(&["BEGIN; INSERT INTO p VALUES (37, 1, 1, 'x'); DROP TABLE later; INSERT INTO q VALUES (1, 'e'); COMMIT"]);
    db.cycle(&["BEGIN; CREATE TABLE fresh (LIKE p); INSERT INTO fresh VALUES (40, 1, 1, 'f'); \
                ALTER TABLE p ATTACH PARTITION fresh FOR VALUES FROM (40) TO (50); DROP TABLE fresh; DROP TABLE p1; COMMIT"]);
}

fn savepoints_around_members(db: &mut Database) {
    partitioned(db);
    streams(db);
    db.cycle(&[&format!("BEGIN; {ATTACH}; ROLLBACK")]);
    db.cycle(&[&format!("BEGIN; SAVEPOINT s; {ATTACH}; INSERT INTO p VALUES (33, 1, 1, 'x'); ROLLBACK TO s; INSERT INTO p VALUES (3, 1, 1, 'x'); COMMIT")]);
    db.cycle(&[&format!(
        "BEGIN; SAVEPOINT s; {ATTACH}; RELEASE s; SAVEPOINT t; {DETACH}; ROLLBACK TO t; UPDATE p SET v = v + 1; COMMIT"
    )]);
    db.cycle(&["BEGIN; SAVEPOINT s; DROP TABLE later; ROLLBACK TO s; DELETE FROM later WHERE id = 31; COMMIT"]);
    db.cycle(&["BEGIN; SAVEPOINT s; DROP TABLE later; ROLLBACK TO s; DROP TABLE later; COMMIT"]);
    db.cycle(&["DO $$ BEGIN DROP TABLE p2; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN UPDATE p SET g = 1 WHERE id < 13; END $$"]);
}

fn refreshes_inside_the_transaction_of_a_member(db: &mut Database) {
    partitioned(db);
    streams(db);
    db.run(&format!("BEGIN; INSERT INTO q VALUES (5, 'before'); {ATTACH}"));
    db.check_after_refresh();
    db.run("UPDATE p SET v = v + 1 WHERE id > 10; SAVEPOINT s");
    db.run(DETACH);
    db.check_after_refresh();
    db.run("ROLLBACK TO s; INSERT INTO p VALUES (38, 5, 1, 'x')");
    db.check_after_refresh();
    db.run("DROP TABLE p2");
    db.check_after_refresh();
    db.run("COMMIT");
    db.cycle(&[]);
    db.cycle(&["UPDATE p SET g = g + 1"]);
}

fn an_empty_partition_changes_nothing(db: &mut Database) {
    partitioned(db);
    streams(db);
    let history = "SELECT count(*) FROM pgtrickle.pgt_refresh_history";
    let before = db.number(history);
    db.run("CREATE TABLE empty PARTITION OF p FOR VALUES FROM (50) TO (60); CREATE TABLE rest PARTITION OF p DEFAULT");
    db.cycle(&["ALTER TABLE p DETACH PARTITION empty"]);
    db.cycle(&["ALTER TABLE p ATTACH PARTITION empty FOR VALUES FROM (50) TO (60); DROP TABLE empty"]);
    assert_eq!(db.number(history), before);
    db.cycle(&["INSERT INTO p VALUES (70, 1, 1, 'x'); INSERT INTO q VALUES (1, 'y')"]);
}

fn trees_that_come_and_go(db: &mut Database) {
    partitioned(db);
    db.run("CREATE TABLE tree (id int, g int, v numeric, note text) PARTITION BY LIST (g); CREATE TABLE tree_1 PARTITION OF tree FOR VALUES IN (1)");
    db.run("CREATE TABLE tree_rest PARTITION OF tree DEFAULT PARTITION BY HASH (id); CREATE TABLE tree_hash PARTITION OF tree_rest FOR VALUES WITH (MODULUS 1, REMAINDER 0)");
    db.run("INSERT INTO tree VALUES (100, 1, 1, 'a'), (100, 1, 1, 'a'), (101, 2, NULL, 'b'), (102, NULL, 3, NULL)");
    streams(db);
    db.stream("of_tree", "SELECT id, v FROM tree");
    db.cycle(&["ALTER TABLE p ATTACH PARTITION tree FOR VALUES FROM (100) TO (200)"]);
    db.cycle(&["UPDATE p SET v = 2 WHERE id > 99; INSERT INTO tree_hash VALUES (103, 7, 7, 'c'); UPDATE tree SET g = 1 WHERE id = 101"]);
    db.cycle(&["ALTER TABLE tree DETACH PARTITION tree_1; INSERT INTO q VALUES (7, 'seven')"]);
    db.cycle(&["INSERT INTO tree_1 VALUES (104, 1, 1, 'd'); ALTER TABLE p DETACH PARTITION tree; ALTER TABLE tree ATTACH PARTITION tree_1 FOR VALUES IN (1)"]);
    db.cycle(&["ALTER TABLE p ATTACH PARTITION tree FOR VALUES FROM (100) TO (200)"]);
    db.cycle(&["DROP TABLE tree_rest; UPDATE q SET g = 1"]);
    db.cycle(&["DROP TABLE tree_1"]);
}

fn the_columns_that_are_captured(db: &mut Database) {
    partitioned(db);
    db.stream("narrow", "SELECT g FROM p WHERE g > 0");
    db.cycle(&[ATTACH]);
    assert_eq!(
        db.number("SELECT count(*) FROM pg_attribute WHERE attrelid = (SELECT buffer_relid FROM pgtrickle.pgt_change_tracking WHERE source_relid = 'p'::regclass) AND attnum > 0"),
        4
    );
    db.cycle(&["UPDATE p SET note = 'y', v = 3; ALTER TABLE p DETACH PARTITION later"]);
    db.stream("wider", "SELECT id, note FROM p");
    db.cycle(&[ATTACH]);
    db.cycle(&["ALTER TABLE p ADD COLUMN extra int DEFAULT 7"]);
    db.stream("widest", "SELECT extra, v FROM p");
    db.cycle(&[DETACH]);
}

fn values_stored_out_of_line(db: &mut Database) {
    partitioned(db);
    db.stream("notes", "SELECT id, note FROM p");
    db.stream("longest", "SELECT g, max(note) AS m FROM p GROUP BY g");
    db.run("ALTER TABLE later ALTER COLUMN note SET STORAGE EXTERNAL; INSERT INTO later SELECT repeat(md5(i::text), 500), i % 3, 33, i FROM generate_series(1, 40) AS i");
    db.cycle(&[ATTACH]);
    db.cycle(&["UPDATE p SET note = note || 'x' WHERE v < 10"]);
    db.cycle(&[DETACH]);
    db.cycle(&["VACUUM FULL later", ATTACH]);
    db.cycle(&["DROP TABLE later"]);
    assert_eq!(db.number("SELECT count(*) FROM notes WHERE id > 29"), 0);
}

fn readers_without_a_delta(db: &mut Database) {
    partitioned(db);
    let query = "SELECT g, count(*) AS n FROM p GROUP BY g";
    db.stream_with("counts", query, "schedule => '1h', refresh_mode => 'FULL'");
    db.track("counts", query);
    let query = "SELECT id, tableoid AS place FROM p";
    db.stream_with("places", query, "schedule => '1h', refresh_mode => 'AUTO'");
    db.track("places", query);
    db.cycle_in_full(&[ATTACH]);
    db.cycle_in_full(&["UPDATE later SET g = 1"]);
    db.cycle_in_full(&[DETACH]);
    db.cycle_in_full(&["DROP TABLE p1"]);
}

fn partitions_dropped_with_something_else(db: &mut Database) {
    partitioned(db);
    streams(db);
    db.run("CREATE SCHEMA apart; ALTER TABLE p1 SET SCHEMA apart; CREATE ROLE partition_owner; ALTER TABLE p2 OWNER TO partition_owner");
    db.cycle_in_full(&["DROP SCHEMA apart CASCADE; INSERT INTO q VALUES (1, 'x')"]);
    db.cycle(&[ATTACH]);
    db.cycle_in_full(&["DROP OWNED BY partition_owner"]);
    db.cycle(&["INSERT INTO p VALUES (33, 1, 1, 'x')"]);
    db.run("CREATE TABLE plain (a int)");
    db.cycle(&["DROP TABLE IF EXISTS nothing, plain, later"]);
    db.run("DROP ROLE partition_owner; DROP TABLE p CASCADE");
    assert_eq!(
        db.number("SELECT count(*) FROM pgtrickle.pgt_change_tracking WHERE source_relid::regclass::text = 'p'"),
        0
    );
}

fn drops_that_fail(db: &mut Database) {
    partitioned(db);
    streams(db);
    db.run(ATTACH);
    db.stream("leaf", "SELECT id, v FROM later");
    db.cycle(&["INSERT INTO p VALUES (33, 1, 1, 'x')"]);
    assert_eq!(db.fails("DROP TABLE later").sqlstate, "2BP01");
    db.run("CREATE ROLE stranger; SET ROLE stranger");
    assert_eq!(db.fails("DROP TABLE later").sqlstate, "42501");
    assert_eq!(db.fails("DROP TABLE p1").sqlstate, "42501");
    db.run("RESET ROLE; DROP ROLE stranger");
    assert_eq!(db.fails("DROP TABLE p1, missing").sqlstate, "42P01");
    db.cycle(&["UPDATE p SET v = 1"]);
    db.untrack("leaf");
    db.cycle(&["DROP TABLE later CASCADE"]);
}

fn attached_in_the_middle_of_a_statement(db: &mut Database) {
    partitioned(db);
    streams(db);
    db.run(&format!("CREATE FUNCTION attach() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.id = 31 THEN {ATTACH}; END IF; RETURN NEW; END$$"));
    db.run("CREATE TRIGGER attach BEFORE INSERT ON later FOR EACH ROW EXECUTE FUNCTION attach()");
    // Capture would begin among the rows of one statement.
    let failure = db.fails("INSERT INTO later VALUES ('x', 1, 33, 1), ('x', 1, 31, 1), ('x', 1, 34, 1)");
    assert_eq!(failure.sqlstate, "55006", "{failure:?}");
    db.run("DROP TRIGGER attach ON later");
    db.cycle(&[ATTACH]);
    db.cycle(&["INSERT INTO p VALUES (35, 1, 1, 'x'); UPDATE later SET v = v + 1"]);
}

fn the_first_child_of_a_table(db: &mut Database) {
    db.run("CREATE TABLE base (id int, v int); INSERT INTO base VALUES (1, 1), (1, 1), (NULL, NULL); CREATE TABLE child (v int, id int); INSERT INTO child VALUES (1, 1), (2, 2)");
    db.stream("copies", "SELECT id, v FROM base");
    db.stream("pairs", "SELECT a.id, b.v FROM base AS a JOIN base AS b ON a.id = b.v");
    db.cycle_in_full(&["ALTER TABLE child INHERIT base"]);
    db.cycle(&["INSERT INTO child VALUES (1, 7); UPDATE base SET v = 1"]);
    db.cycle(&["CREATE TABLE another () INHERITS (base); INSERT INTO another VALUES (7, 7)"]);
    db.cycle(&["ALTER TABLE child NO INHERIT base; INSERT INTO child VALUES (8, 8)"]);
    db.cycle(&["DROP TABLE another; INSERT INTO base VALUES (9, 9)"]);
}

/// So many changes that the first rows are read anew.
fn first_rows_of_all_members(db: &mut Database) {
    db.run(
        "CREATE TABLE base (id int, v int); CREATE INDEX ON base (v);
         INSERT INTO base SELECT i, i FROM generate_series(1, 9000) AS i; ANALYZE base;
         CREATE TABLE child (v int, id int); CREATE INDEX ON child (v);
         INSERT INTO child SELECT i % 500, i FROM generate_series(1, 1000) AS i; ANALYZE child",
    );
    db.stream("lowest", "SELECT id, v FROM base ORDER BY v, id LIMIT 9");
    db.stream("highest", "SELECT v FROM base ORDER BY v DESC LIMIT 9");
    db.cycle(&["UPDATE base SET v = v + 3"]);
    db.cycle_in_full(&["ALTER TABLE child INHERIT base; UPDATE base SET v = v + 1"]);
    db.cycle(&["UPDATE base SET v = v + 1", "DELETE FROM child WHERE v < 100"]);
    db.cycle(&["UPDATE base SET v = v - 1; CREATE TABLE another () INHERITS (base); INSERT INTO another SELECT i, -i FROM generate_series(1, 700) AS i"]);
    db.cycle(&["ALTER TABLE child NO INHERIT base; UPDATE base SET v = v + 1"]);
    db.cycle(&["DROP TABLE another; UPDATE base SET v = v + 1 WHERE id > 100"]);
}

fn a_child_of_two_parents(db: &mut Database) {
    db.run("CREATE TABLE base (id int, v int); CREATE TABLE one () INHERITS (base); CREATE TABLE two () INHERITS (base); CREATE TABLE common () INHERITS (one, two)");
    db.run("INSERT INTO base VALUES (1, 1); INSERT INTO one VALUES (1, 2); INSERT INTO two VALUES (2, 1); INSERT INTO common VALUES (2, 2), (2, 2)");
    for (name, table) in [("of_base", "base"), ("of_one", "one"), ("of_two", "two")] {
        db.stream(name, &format!("SELECT id, v FROM {table}"));
        db.stream(
            &format!("{name}_pairs"),
            &format!("SELECT a.id, b.v FROM {table} AS a JOIN base AS b ON a.id = b.v"),
        );
    }
    db.cycle(&["ALTER TABLE common NO INHERIT one; INSERT INTO common VALUES (3, 3)"]);
    db.cycle(&["ALTER TABLE common NO INHERIT two; INSERT INTO common VALUES (4, 4)"]);
    db.cycle(&["ALTER TABLE common INHERIT base; UPDATE base SET v = v + 1"]);
    db.cycle_in_full(&["ALTER TABLE common INHERIT one"]);
    db.cycle(&["ALTER TABLE common NO INHERIT base; DELETE FROM common WHERE id = 3"]);
    db.cycle(&["DROP TABLE common"]);
}

/// Starts a refresh of `named` that has its snapshot, and waits for `q`.
fn refresh_that_waits(db: &mut Database, holder: &mut pgtrickle_tests::Session) -> pgtrickle_tests::Running {
    holder.run("BEGIN; LOCK TABLE q IN ACCESS EXCLUSIVE MODE");
    let running = db.connect().start(&refresh("named"));
    running.wait_blocked(holder);
    running
}

fn attached_while_a_refresh_reads(db: &mut Database) {
    partitioned(db);
    streams(db);
    let mut holder = db.connect();
    db.run("INSERT INTO q VALUES (1, 'new'), (5, 'new'); UPDATE p SET g = 1 WHERE id < 5");
    let running = refresh_that_waits(db, &mut holder);
    db.run(ATTACH);
    holder.run("COMMIT");
    running.finish();
    // It has read the new partition, and says so.
    assert_eq!(db.difference_of("named").expect("compared"), None);
    db.cycle(&[]);
    db.cycle(&["DELETE FROM q WHERE g = 1; INSERT INTO p VALUES (33, 5, 5, 'x')"]);
}

fn detached_while_a_refresh_waits(db: &mut Database) {
    partitioned(db);
    streams(db);
    db.cycle(&[ATTACH]);
    let mut holder = db.connect();
    db.run("INSERT INTO q VALUES (1, 'new'), (5, 'new'); UPDATE p SET v = v + 1");
    holder.run("BEGIN; LOCK TABLE q IN ACCESS EXCLUSIVE MODE");
    let running = db.connect().start(&refresh("named"));
    running.wait_blocked(&mut holder);
    // Whether the refresh has a lock on the parent by now is its affair.
    let detaching = db.connect().start(DETACH);
    holder.run("COMMIT");
    running.finish();
    detaching.finish();
    db.cycle(&[]);
    db.cycle(&["DELETE FROM q WHERE g = 1; INSERT INTO p VALUES (3, 5, 5, 'x')"]);
}

fn inherited_while_a_refresh_reads(db: &mut Database) {
    db.run("CREATE TABLE q (g int, name text); INSERT INTO q VALUES (1, 'a'); CREATE TABLE base (id int, g int); CREATE TABLE child () INHERITS (base)");
    db.run("INSERT INTO base VALUES (1, 1), (2, 2); INSERT INTO child VALUES (3, 1); CREATE TABLE later (g int, id int); INSERT INTO later VALUES (1, 4), (2, 5), (2, 5)");
    db.stream("named", "SELECT base.id, q.name FROM q JOIN base USING (g)");
    let mut holder = db.connect();
    for change in [
        "ALTER TABLE later INHERIT base",
        "ALTER TABLE later NO INHERIT base",
        "ALTER TABLE child NO INHERIT base; ALTER TABLE child INHERIT base",
    ] {
        db.run("INSERT INTO q VALUES (2, 'b'); UPDATE base SET id = id + 1");
        let running = refresh_that_waits(db, &mut holder);
        let changing = db.connect().start(change);
        holder.run("COMMIT");
        running.finish();
        changing.finish();
        db.cycle(&[]);
        db.cycle(&["UPDATE base SET g = 3 - g"]);
    }
}

fn attached_after_the_only_snapshot(db: &mut Database) {
    partitioned(db);
    streams(db);
    db.run("INSERT INTO q VALUES (1, 'new'); UPDATE p SET v = v + 1");
    let mut other = db.connect();
    other.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM q");
    db.run(ATTACH);
    let failure = other.fails(&refresh("named"));
    assert_eq!(failure.sqlstate, "40001", "{failure:?}");
    other.run("ROLLBACK");
    db.cycle(&[]);
    other.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM q");
    other.run(DETACH);
    for name in ["copies", "sums", "pairs", "named", "kept"] {
        other.run(&refresh(name));
    }
    other.run("COMMIT");
    db.check();
    db.cycle(&["UPDATE p SET g = 0"]);
}

fn attached_beside_each_other(db: &mut Database) {
    partitioned(db);
    db.run("CREATE TABLE m (id int, g int, v numeric, note text) PARTITION BY RANGE (id); ALTER TABLE p ATTACH PARTITION m FOR VALUES FROM (100) TO (200)");
    db.run("CREATE TABLE deep (LIKE m); INSERT INTO deep VALUES (100, 1, 1, 'd'), (100, 1, 1, 'd')");
    streams(db);
    let (mut first, mut second) = (db.connect(), db.connect());
    first.run(&format!("BEGIN; {ATTACH}"));
    second.run("BEGIN; ALTER TABLE m ATTACH PARTITION deep FOR VALUES FROM (100) TO (110)");
    db.cycle(&["INSERT INTO q VALUES (1, 'x')"]);
    second.run("COMMIT");
    db.cycle(&["UPDATE q SET name = name || 'y'"]);
    first.run("COMMIT");
    db.cycle(&["INSERT INTO q VALUES (5, 'z')"]);
    first.run("BEGIN; ALTER TABLE m DETACH PARTITION deep");
    second.run("BEGIN; INSERT INTO later VALUES ('x', 1, 33, 1)");
    first.run("ROLLBACK");
    second.run("COMMIT");
    db.cycle(&[]);
}

fn attached_while_writers_wait(db: &mut Database) {
    partitioned(db);
    streams(db);
    let mut writer = db.connect();
    writer.run("BEGIN; INSERT INTO later VALUES ('w', 1, 33, 3)");
    let attaching = db.connect().start(ATTACH);
    attaching.wait_blocked(db);
    writer.run("DELETE FROM later WHERE id = 30; COMMIT");
    attaching.finish();
    db.cycle(&["INSERT INTO q VALUES (1, 'x')"]);
    let mut detacher = db.connect();
    detacher.run(&format!("BEGIN; {DETACH}"));
    let writing = db.connect().start("INSERT INTO later VALUES ('w', 1, 34, 3)");
    writing.wait_blocked(&mut detacher);
    detacher.run("COMMIT");
    writing.finish();
    db.cycle(&["INSERT INTO p VALUES (3, 1, 1, 'x')"]);
    let mut dropper = db.connect();
    db.cycle(&[ATTACH]);
    writer.run("BEGIN; INSERT INTO later VALUES ('w', 1, 35, 3)");
    let dropping = db.connect().start("DROP TABLE later");
    dropping.wait_blocked(&mut dropper);
    writer.run("COMMIT");
    dropping.finish();
    db.cycle(&["UPDATE q SET name = 'same'"]);
}

fn attached_below_while_a_reader_is_created(db: &mut Database) {
    partitioned(db);
    db.run("CREATE TABLE m (id int, g int, v numeric, note text) PARTITION BY RANGE (id); ALTER TABLE p ATTACH PARTITION m FOR VALUES FROM (100) TO (200)");
    db.run("CREATE TABLE deep (LIKE m); INSERT INTO deep VALUES (100, 1, 1, 'd'), (100, 1, 1, 'd')");
    for (round, change) in
        ["ATTACH PARTITION deep FOR VALUES FROM (100) TO (110)", "DETACH PARTITION deep"].into_iter().enumerate()
    {
        let mut other = db.connect();
        other.run(&format!("BEGIN; ALTER TABLE m {change}"));
        let (name, query) = (format!("copies_{round}"), "SELECT id, g, v FROM p");
        let creating = db.connect().start(&create(&name, query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'"));
        creating.wait_blocked(db);
        other.run("COMMIT");
        creating.finish();
        db.track(&name, query);
        db.cycle(&[
            "INSERT INTO deep VALUES (101, 1, 1, 'e'); DELETE FROM deep WHERE id = 100; UPDATE p SET v = v + 1",
        ]);
        db.run(&format!("SELECT pgtrickle.drop_stream_table('{name}')"));
        db.untrack(&name);
    }
    db.stream("copies", "SELECT id, g, v FROM p");
    db.cycle(&["ALTER TABLE m ATTACH PARTITION deep FOR VALUES FROM (100) TO (110)"]);
}

fn detached_concurrently_while_somebody_reads(db: &mut Database) {
    partitioned(db);
    streams(db);
    db.cycle(&[ATTACH]);
    let mut reader = db.connect();
    reader.run("BEGIN; SELECT count(*) FROM p");
    let detaching = db.connect().start("ALTER TABLE p DETACH PARTITION later CONCURRENTLY");
    detaching.wait_blocked(db);
    db.cycle_in_full(&[]);
    assert_eq!(db.number("SELECT count(*) FROM copies WHERE id > 29"), 0);
    // Nobody reads these rows through the parent, and they are captured still.
    db.cycle_in_full(&[
        "INSERT INTO later VALUES ('x', 1, 33, 1); UPDATE q SET g = 1 WHERE g = 5; UPDATE p SET v = v + 1",
    ]);
    reader.run("COMMIT");
    detaching.finish();
    db.cycle_in_full(&["INSERT INTO q VALUES (1, 'x')"]);
    db.cycle(&["INSERT INTO later VALUES ('x', 1, 34, 1); UPDATE p SET v = v + 1; INSERT INTO q VALUES (0, 'x')"]);
    db.cycle(&[ATTACH]);
}

fn members_and_refreshes_over_and_over(db: &mut Database) {
    partitioned(db);
    streams(db);
    let rounds = "DO $$ BEGIN FOR i IN 1..30 LOOP \
         ALTER TABLE p ATTACH PARTITION later FOR VALUES FROM (30) TO (40); UPDATE q SET name = name || i WHERE g = i % 6; COMMIT; \
         INSERT INTO p VALUES (30 + i % 10, i % 6, i, 'r'), (i % 20, i % 6, i, 'r'); COMMIT; \
         ALTER TABLE p DETACH PARTITION later; INSERT INTO later VALUES ('r', i % 6, 31, i); COMMIT; \
         END LOOP; END $$";
    let changing = db.connect().start(rounds);
    while !changing.is_finished() {
        for name in ["copies", "sums", "pairs", "named", "kept"] {
            if let Err(failure) = db.attempt(&refresh(name)) {
                assert!(["40P01", "40001"].contains(&failure.sqlstate.as_str()), "{failure:?}");
            }
        }
    }
    let (_, changed) = changing.join();
    if let Err(failure) = changed {
        assert_eq!(failure.sqlstate, "40P01", "{failure:?}");
    }
    db.cycle(&[]);
    db.cycle(&["UPDATE p SET v = v + 1; INSERT INTO q VALUES (1, 'end')"]);
}

fn a_failure_that_has_nothing_to_do_with_members(db: &mut Database) {
    partitioned(db);
    db.stream("shares", "SELECT p.id, 10 / (p.v - 100) AS share FROM p JOIN q USING (g)");
    db.stream("copies", "SELECT id, v FROM p");
    db.run("UPDATE p SET v = 100 WHERE id = 1; UPDATE q SET name = 'x'");
    for _ in 0..2 {
        let failure = db.attempt(&refresh("shares")).expect_err("it divides by zero");
        assert_eq!(failure.sqlstate, "22012", "{failure:?}");
    }
    db.cycle_in_full(&["UPDATE p SET v = 1 WHERE id = 1", ATTACH]);
}
