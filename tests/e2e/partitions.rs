//! Partitioned tables, inheritance parents and their members as sources: whatever a row is written through, and however it
//! comes or goes.

use pgtrickle_tests::{Database, tests};

tests![
    writes_through_parent_and_leaves,
    rows_that_move_between_partitions,
    truncated_leaves,
    partitions_that_come_and_go,
    partitions_of_partitions,
    a_partition_beside_its_parent,
    a_source_becomes_a_partition,
    columns_in_another_order,
    an_inheritance_parent,
    inheritance_children_that_come_and_go,
    a_child_as_source,
    only_the_parent,
    members_that_cannot_be_captured,
    row_triggers_of_partitions,
    replicated_writes,
    detached_while_a_writer_waits,
    partitions_of_another_owner,
];

fn partitioned(db: &mut Database) {
    db.run("CREATE TABLE p (id int, g int, v numeric, PRIMARY KEY (id)) PARTITION BY RANGE (id)");
    db.run("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)");
    db.run("CREATE TABLE rest PARTITION OF p DEFAULT");
    db.run(
        "INSERT INTO p SELECT i, i % 3, i FROM generate_series(1, 25, 2) AS i; INSERT INTO p VALUES (100, NULL, NULL)",
    );
}

fn streams(db: &mut Database) {
    db.stream("rows", "SELECT id, g, v FROM p");
    db.stream("bag", "SELECT g FROM p WHERE v > 3");
    db.stream("sums", "SELECT g, count(*) AS n, sum(v) AS s, max(id) AS hi FROM p GROUP BY g");
    db.stream("pairs", "SELECT a.id, b.id AS other FROM p AS a JOIN p AS b ON a.v = b.v + 2");
    db.stream("kept", "SELECT a.id, b.v FROM p AS a LEFT JOIN p AS b ON b.id = a.id + 10");
}

fn writes_through_parent_and_leaves(db: &mut Database) {
    partitioned(db);
    streams(db);
    db.cycle(&["INSERT INTO p VALUES (2, 1, 2), (12, 1, NULL), (200, 2, 5)", "UPDATE p SET v = v + 1 WHERE g = 1"]);
    db.cycle(&[
        "INSERT INTO p1 VALUES (4, 0, 4); UPDATE p2 SET g = NULL WHERE id > 14; DELETE FROM rest WHERE id = 100",
    ]);
    db.cycle(&[
        "COPY p FROM PROGRAM 'printf \"8,1,8\\\\n18,2,\\\\n300,0,1\\\\n\"' (FORMAT csv); DELETE FROM p WHERE id % 5 = 0",
        "DELETE FROM p1",
    ]);
    db.cycle(&["MERGE INTO p USING (VALUES (6, 1), (13, 2)) AS n(id, g) ON p.id = n.id WHEN MATCHED THEN UPDATE SET g = n.g WHEN NOT MATCHED THEN INSERT VALUES (n.id, n.g, 0)"]);
    db.cycle(&["INSERT INTO p VALUES (6, 9, 9), (7, 9, 9) ON CONFLICT (id) DO UPDATE SET v = excluded.v"]);
    db.cycle(&["BEGIN; SAVEPOINT s; DELETE FROM p; ROLLBACK TO s; INSERT INTO p1 VALUES (1, 1, 1); COMMIT"]);
}

fn rows_that_move_between_partitions(db: &mut Database) {
    partitioned(db);
    streams(db);
    db.stream("leaf", "SELECT id, v FROM p1");
    db.stream("other_leaf", "SELECT g, count(*) AS n FROM p2 GROUP BY g");
    db.cycle(&["DELETE FROM p2 WHERE id < 14; UPDATE p SET id = id + 10 WHERE id IN (1, 3)"]);
    db.cycle(&["UPDATE p SET id = id - 10, v = NULL WHERE id BETWEEN 12 AND 14", "UPDATE p SET id = 500 WHERE id = 5"]);
    db.cycle(&["UPDATE p SET id = id + 1000"]);
    db.cycle(&["UPDATE p SET id = (id * 7) % 20 WHERE id % 2 = 0 AND id < 1018", "UPDATE p SET g = 0"]);
}

fn truncated_leaves(db: &mut Database) {
    partitioned(db);
    streams(db);
    db.stream("leaf", "SELECT id, v FROM p1");
    db.cycle_in_full(&["TRUNCATE p2"]);
    db.cycle_in_full(&["INSERT INTO p VALUES (15, 1, 1); TRUNCATE p1; INSERT INTO p1 VALUES (2, 2, 2)"]);
    db.cycle(&["INSERT INTO p VALUES (3, 1, 1), (16, 1, 1)"]);
    db.cycle_in_full(&["TRUNCATE p"]);
    db.cycle_in_full(&[
        "BEGIN; INSERT INTO p VALUES (3, 1, 1); TRUNCATE p; ROLLBACK",
        "INSERT INTO p VALUES (8, 1, 1)",
    ]);
}

fn partitions_that_come_and_go(db: &mut Database) {
    partitioned(db);
    streams(db);
    db.run("CREATE TABLE later (g int, id int PRIMARY KEY, v numeric); INSERT INTO later VALUES (5, 30, 1), (NULL, 31, NULL)");
    db.run("DELETE FROM p WHERE id BETWEEN 30 AND 50");
    db.cycle(&["ALTER TABLE p ATTACH PARTITION later FOR VALUES FROM (30) TO (40)"]);
    db.cycle(&[
        "INSERT INTO p VALUES (32, 5, 5); INSERT INTO later VALUES (6, 33, 6); UPDATE later SET v = 9 WHERE id = 30",
    ]);
    db.cycle(&[
        "CREATE TABLE newest PARTITION OF p FOR VALUES FROM (40) TO (50)",
        "INSERT INTO newest VALUES (41, 1, 1)",
    ]);
    db.cycle(&["UPDATE p SET id = id + 10 WHERE id = 32; DELETE FROM newest WHERE id = 41"]);
    db.cycle(&["ALTER TABLE p DETACH PARTITION p1"]);
    db.cycle(&["INSERT INTO p1 VALUES (4, 4, 4); DELETE FROM p WHERE id < 15"]);
    assert_eq!(
        db.number("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'p1'::regclass AND tgname LIKE 'pg_trickle%'"),
        0
    );
    db.cycle(&["DROP TABLE p2"]);
    db.cycle(&[
        "BEGIN; ALTER TABLE p DETACH PARTITION later; INSERT INTO later VALUES (1, 35, 1); ROLLBACK; DROP TABLE newest",
    ]);
    db.run("DROP TABLE rest");
    db.cycle_in_full(&["ALTER TABLE p DETACH PARTITION later CONCURRENTLY"]);
    db.cycle(&["UPDATE p SET v = 1; INSERT INTO later VALUES (1, 36, 1)"]);
}

fn partitions_of_partitions(db: &mut Database) {
    db.run("CREATE TABLE p (id int, g int, v numeric) PARTITION BY LIST (g); CREATE TABLE middle PARTITION OF p FOR VALUES IN (0, 1) PARTITION BY RANGE (id)");
    db.run("CREATE TABLE low PARTITION OF middle FOR VALUES FROM (MINVALUE) TO (10); CREATE TABLE high PARTITION OF middle FOR VALUES FROM (10) TO (MAXVALUE)");
    db.run(
        "CREATE TABLE rest PARTITION OF p DEFAULT; INSERT INTO p SELECT i, i % 3, i FROM generate_series(1, 20) AS i",
    );
    streams(db);
    db.stream("of_middle", "SELECT id, v FROM middle");
    db.stream("of_leaf", "SELECT count(*) AS n, sum(v) AS s FROM low");
    db.cycle(&["INSERT INTO p VALUES (5, 0, 1), (50, 2, 2); INSERT INTO middle VALUES (6, 1, 1), (60, 1, 1); INSERT INTO low VALUES (7, 1, 7)"]);
    db.cycle(&["UPDATE middle SET id = id + 5; DELETE FROM high WHERE v > 15"]);
    db.cycle(&["UPDATE p SET g = 2 - g WHERE id < 12", "UPDATE low SET v = NULL"]);
    db.cycle(&["CREATE TABLE third PARTITION OF p FOR VALUES IN (7) PARTITION BY HASH (id); CREATE TABLE h0 PARTITION OF third FOR VALUES WITH (MODULUS 1, REMAINDER 0)"]);
    db.cycle(&[
        "INSERT INTO p VALUES (1, 7, 1); INSERT INTO h0 VALUES (2, 7, 2); UPDATE p SET g = 0 WHERE id = 1 AND g = 7",
    ]);
    db.cycle_in_full(&["TRUNCATE middle"]);
}

fn a_partition_beside_its_parent(db: &mut Database) {
    partitioned(db);
    db.stream("leaf", "SELECT id, g, v FROM p1");
    db.stream("leaf_sums", "SELECT g, sum(v) AS s, count(*) AS n FROM p1 GROUP BY g");
    db.stream("whole", "SELECT g, sum(v) AS s FROM p GROUP BY g");
    db.stream("in_both", "SELECT p.id, p1.v FROM p JOIN p1 ON p1.g = p.g");
    db.cycle(&[
        "INSERT INTO p VALUES (2, 1, 2), (12, 1, 2); UPDATE p1 SET v = v + 1",
        "UPDATE p SET v = v * 2 WHERE g = 1",
    ]);
    db.cycle(&["DELETE FROM p WHERE id < 4; INSERT INTO p1 VALUES (4, 4, 4)", "UPDATE p SET id = id + 9 WHERE id = 5"]);
    db.cycle_in_full(&["TRUNCATE p1; INSERT INTO p VALUES (1, 1, 1)"]);
    db.cycle(&["ALTER TABLE p DETACH PARTITION p1"]);
    db.cycle(&["INSERT INTO p1 VALUES (2, 2, 2); INSERT INTO p VALUES (3, 3, 3); UPDATE p SET v = 7"]);
    db.cycle(&["DELETE FROM p1; INSERT INTO p1 VALUES (9, 9, 9), (8, NULL, NULL)"]);
}

fn a_source_becomes_a_partition(db: &mut Database) {
    partitioned(db);
    db.run("CREATE TABLE later (id int PRIMARY KEY, g int, v numeric); INSERT INTO later VALUES (30, 5, 1), (31, NULL, NULL)");
    db.stream("whole", "SELECT id, g, v FROM p");
    db.stream("part", "SELECT id, v FROM later");
    db.cycle(&["UPDATE later SET v = v + 1; INSERT INTO p VALUES (50, 1, 1)"]);
    db.cycle(&["ALTER TABLE p ATTACH PARTITION later FOR VALUES FROM (30) TO (40)"]);
    db.cycle(&["INSERT INTO p VALUES (32, 1, 1); INSERT INTO later VALUES (33, 1, 1); DELETE FROM p WHERE id = 30"]);
    db.cycle(&["UPDATE p SET id = id + 4 WHERE id BETWEEN 31 AND 33; UPDATE p SET id = 60 WHERE id = 37"]);
    db.cycle(&["ALTER TABLE p DETACH PARTITION later"]);
    db.cycle(&["INSERT INTO later VALUES (38, 1, 1), (100, 1, 1); UPDATE p SET v = NULL"]);
}

fn columns_in_another_order(db: &mut Database) {
    db.run("CREATE TABLE p (id int, g text, v numeric, twice numeric GENERATED ALWAYS AS (v * 2) STORED) PARTITION BY RANGE (id)");
    db.run("CREATE TABLE a (gone int, v numeric, g text, id int NOT NULL, twice numeric GENERATED ALWAYS AS (v * 2) STORED)");
    db.run("ALTER TABLE a DROP COLUMN gone; ALTER TABLE p ATTACH PARTITION a FOR VALUES FROM (0) TO (10); CREATE TABLE b PARTITION OF p DEFAULT");
    db.run("INSERT INTO p VALUES (1, 'x', 1.0), (11, 'y', 1.00), (2, NULL, NULL)");
    db.stream("rows", "SELECT id, g, v, twice FROM p");
    db.stream("sums", "SELECT g, sum(twice) AS s FROM p GROUP BY g");
    db.stream("leaf", "SELECT g, v, twice FROM a");
    db.cycle(&["INSERT INTO a (id, g, v) VALUES (3, 'x', 2.5); INSERT INTO p VALUES (4, 'z', 4), (14, 'x', NULL)"]);
    db.cycle(&[
        "UPDATE a SET v = 7 WHERE id = 3; UPDATE p SET id = id + 10 WHERE id = 4; UPDATE p SET g = 'w' WHERE id = 1",
    ]);
    db.cycle(&[
        "ALTER TABLE p ADD COLUMN late int DEFAULT 4",
        "INSERT INTO p VALUES (5, 'l', 1, DEFAULT, 1); UPDATE a SET late = 3",
    ]);
}

fn inherited(db: &mut Database) {
    db.run("CREATE TABLE base (id int PRIMARY KEY, v numeric, note text NOT NULL); CREATE TABLE child (extra int) INHERITS (base); CREATE TABLE grandchild () INHERITS (child)");
    db.run("INSERT INTO base VALUES (1, 1, 'b'), (2, NULL, 'b'); INSERT INTO child VALUES (1, 1, 'c', 9), (3, 3, 'c', 9); INSERT INTO grandchild VALUES (1, 1, 'g', 8)");
}

fn an_inheritance_parent(db: &mut Database) {
    inherited(db);
    db.stream("rows", "SELECT id, v FROM base");
    db.stream("keys_alone", "SELECT id FROM base");
    db.stream("sums", "SELECT v, count(*) AS n, min(note) AS lo FROM base GROUP BY v");
    db.stream("below", "SELECT extra, id FROM child");
    db.cycle(&["INSERT INTO base VALUES (4, 4, 'b'); INSERT INTO child VALUES (4, 4, 'c', 1), (4, 4, 'c', 1); INSERT INTO grandchild VALUES (2, 2, 'g', NULL)"]);
    db.cycle(&["UPDATE base SET v = v + 1", "UPDATE child SET extra = extra + 1; UPDATE ONLY base SET note = 'o'"]);
    db.cycle(&["DELETE FROM base WHERE id = 1", "DELETE FROM ONLY child; UPDATE grandchild SET id = 7"]);
    db.cycle_in_full(&["TRUNCATE grandchild"]);
    db.cycle_in_full(&["TRUNCATE ONLY base; INSERT INTO child VALUES (1, 1, 'c', 1)"]);
}

fn inheritance_children_that_come_and_go(db: &mut Database) {
    inherited(db);
    db.run("CREATE TABLE other (note text NOT NULL, id int NOT NULL, v numeric); INSERT INTO other VALUES ('o', 1, 1), ('o', 5, NULL)");
    db.stream("rows", "SELECT id, v, note FROM base");
    db.stream("sums", "SELECT note, sum(v) AS s FROM base GROUP BY note");
    db.cycle(&["ALTER TABLE other INHERIT base"]);
    db.cycle(&["INSERT INTO other VALUES ('o', 6, 6); UPDATE base SET v = 0 WHERE id = 1"]);
    db.cycle(&["CREATE TABLE more () INHERITS (grandchild); INSERT INTO more VALUES (9, 9, 'm', 9)"]);
    db.cycle(&["UPDATE more SET v = 10; DELETE FROM child WHERE id = 9"]);
    db.cycle(&["ALTER TABLE other NO INHERIT base"]);
    db.cycle(&["DELETE FROM other; INSERT INTO base VALUES (30, 1, 'x')"]);
    db.cycle(&["DROP TABLE more"]);
    db.cycle(&["DROP TABLE child CASCADE"]);
    db.cycle(&["UPDATE base SET v = 5"]);
}

fn a_child_as_source(db: &mut Database) {
    inherited(db);
    db.stream("child_rows", "SELECT id, v, extra FROM child");
    db.stream("leaf", "SELECT note, count(*) AS n FROM grandchild GROUP BY note");
    db.cycle(&["UPDATE base SET v = v + 1; INSERT INTO child VALUES (7, 7, 'c', 7); INSERT INTO grandchild VALUES (8, 8, 'h', 8)"]);
    db.cycle(&["DELETE FROM base WHERE id = 1; UPDATE child SET note = 'n'"]);
    db.cycle_in_full(&["TRUNCATE base"]);
}

fn only_the_parent(db: &mut Database) {
    inherited(db);
    for query in ["SELECT id, v FROM ONLY base", "SELECT id FROM base JOIN ONLY child USING (id)"] {
        let call = format!(
            "SELECT pgtrickle.create_stream_table('st', '{query}', schedule => '1h', refresh_mode => 'DIFFERENTIAL')"
        );
        assert_eq!(db.fails(&call).sqlstate, "0A000");
    }
    db.run("CREATE TABLE alone (id int, v int); INSERT INTO alone VALUES (1, 1), (1, 1)");
    db.stream("from_only", "SELECT id, v FROM ONLY alone");
    db.stream("leaf", "SELECT id, v FROM ONLY grandchild");
    db.cycle(&["INSERT INTO alone VALUES (2, NULL); UPDATE base SET v = v + 1"]);
    assert_eq!(db.fails("CREATE TABLE below () INHERITS (alone)").sqlstate, "0A000");
    db.cycle(&["DELETE FROM alone WHERE id = 1; DELETE FROM base"]);
}

fn members_that_cannot_be_captured(db: &mut Database) {
    partitioned(db);
    streams(db);
    for statement in
        ["CREATE UNLOGGED TABLE fast PARTITION OF p FOR VALUES FROM (1000) TO (2000)", "ALTER TABLE p1 SET UNLOGGED"]
    {
        let failure = db.fails(statement);
        assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
        assert!(!failure.hint.is_empty(), "{failure:?}");
    }
    db.cycle(&["INSERT INTO p VALUES (2, 2, 2)"]);
    db.run("CREATE TABLE q (id int) PARTITION BY RANGE (id); CREATE UNLOGGED TABLE q1 PARTITION OF q DEFAULT");
    let call = "SELECT pgtrickle.create_stream_table('st', 'SELECT id FROM q', schedule => '1h', refresh_mode => 'DIFFERENTIAL')";
    assert_eq!(db.fails(call).sqlstate, "0A000");
}

fn row_triggers_of_partitions(db: &mut Database) {
    db.run("SET pg_trickle.cdc_trigger_mode = 'row'");
    partitioned(db);
    streams(db);
    db.stream("leaf", "SELECT id, v FROM p2");
    db.cycle(&["INSERT INTO p VALUES (2, 1, 2), (12, 1, NULL); INSERT INTO p1 VALUES (4, 0, 4); UPDATE p SET id = id + 90 WHERE id < 4"]);
    db.cycle(&["CREATE TABLE newest PARTITION OF p FOR VALUES FROM (40) TO (50)", "INSERT INTO p VALUES (41, 1, 1)"]);
    db.cycle(&["UPDATE newest SET v = 2; DELETE FROM p2; INSERT INTO p VALUES (42, 1, 1)"]);
    db.cycle(&["ALTER TABLE p DETACH PARTITION p1"]);
    db.cycle(&["INSERT INTO p1 VALUES (8, 0, 5); INSERT INTO p VALUES (43, 1, 1)"]);
}

fn replicated_writes(db: &mut Database) {
    partitioned(db);
    streams(db);
    db.stream("leaf", "SELECT id, v FROM p1");
    db.run("SET session_replication_role = replica");
    db.cycle(&["INSERT INTO p VALUES (2, 1, 2), (12, 1, NULL); INSERT INTO p1 VALUES (4, 0, 4)"]);
    db.cycle(&["UPDATE p SET id = id + 90 WHERE id < 4; DELETE FROM p2 WHERE id > 13"]);
    db.run("RESET session_replication_role");
    db.cycle(&["UPDATE p SET v = v + 1"]);
}

fn detached_while_a_writer_waits(db: &mut Database) {
    partitioned(db);
    streams(db);
    let mut writer = db.connect();
    writer.run("BEGIN; INSERT INTO p VALUES (2, 2, 2)");
    db.check_after_refresh();
    writer.run("COMMIT");
    db.cycle(&["ALTER TABLE p DETACH PARTITION p1"]);
    writer.run("BEGIN; INSERT INTO p1 VALUES (6, 2, 2); INSERT INTO p VALUES (16, 2, 2)");
    db.check_after_refresh();
    writer.run("COMMIT");
    db.cycle(&[]);
}

fn partitions_of_another_owner(db: &mut Database) {
    partitioned(db);
    streams(db);
    db.run("CREATE ROLE partitioner; GRANT CREATE ON SCHEMA public TO partitioner");
    for table in ["p", "p1", "p2", "rest"] {
        db.run(&format!("ALTER TABLE {table} OWNER TO partitioner"));
    }
    db.cycle(&["SET ROLE partitioner; INSERT INTO p VALUES (2, 2, 2); RESET ROLE"]);
    db.cycle(&[
        "SET ROLE partitioner; CREATE TABLE mine PARTITION OF p FOR VALUES FROM (40) TO (50); INSERT INTO mine VALUES (41, 1, 1); RESET ROLE",
    ]);
    db.cycle(&["SET ROLE partitioner; UPDATE mine SET v = 2; INSERT INTO p VALUES (42, 2, 2); RESET ROLE"]);
    db.cycle(&["SET ROLE partitioner; ALTER TABLE p DETACH PARTITION mine; DROP TABLE p1, mine; RESET ROLE"]);
    let failure = db.fails("SET ROLE partitioner; SELECT pgtrickle._member_dropped('p'::regclass, 'p2'::regclass)");
    assert_eq!(failure.sqlstate, "42501", "{failure:?}");
    db.run("RESET ROLE");
    for table in ["p", "p2", "rest"] {
        db.run(&format!("ALTER TABLE {table} OWNER TO CURRENT_USER"));
    }
    db.run("REVOKE ALL ON SCHEMA public FROM partitioner; DROP ROLE partitioner");
}
