//! Every way in which a source can be written.

use pgtrickle_tests::{Database, tests};

tests![
    on_conflict,
    merge,
    copy,
    writes_through_views,
    data_modifying_common_table_expressions,
    triggers_that_change_the_same_table_again,
    triggers_that_change_other_sources,
    before_triggers_that_alter_or_suppress_rows,
    instead_of_triggers_and_rules,
    truncate,
    truncate_and_insert_in_one_transaction,
    truncate_rolled_back,
    truncate_of_several_tables,
    updates_that_change_nothing,
    updates_of_columns_that_nobody_reads,
    statements_that_touch_no_row,
    several_tables_in_one_transaction,
    cursors_and_prepared_statements,
    functions_that_write,
    writes_of_many_transactions,
    actions_of_foreign_keys,
    actions_of_foreign_keys_on_partitions,
    actions_of_foreign_keys_on_children,
    functions_that_write_the_table_that_is_written,
    a_refresh_between_an_action_and_its_capture,
];

fn source(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, g int, v int); INSERT INTO t SELECT i, i % 3, i FROM generate_series(1, 9) AS i");
    db.stream("rows", "SELECT id, g, v FROM t");
    db.stream("sums", "SELECT g, count(*) AS n, sum(v) AS s, max(v) AS hi FROM t GROUP BY g");
}

fn on_conflict(db: &mut Database) {
    source(db);
    db.cycle(&["INSERT INTO t VALUES (1, 5, 5), (20, 5, 5) ON CONFLICT DO NOTHING"]);
    db.cycle(&["INSERT INTO t VALUES (1, 5, 5), (21, 5, 5) ON CONFLICT (id) DO UPDATE SET v = excluded.v + t.v, g = excluded.g"]);
    db.cycle(&["INSERT INTO t VALUES (1, 6, 6), (2, 6, 6) ON CONFLICT (id) DO UPDATE SET v = 0 WHERE t.id = 2"]);
    db.cycle(&["INSERT INTO t VALUES (1, 6, 6) ON CONFLICT (id) DO UPDATE SET v = t.v"]);
}

fn merge(db: &mut Database) {
    source(db);
    db.cycle(&["MERGE INTO t USING (VALUES (1, 10), (2, NULL), (30, 30)) AS n(id, v) ON t.id = n.id \
                WHEN MATCHED AND n.v IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET v = n.v, g = 7 \
                WHEN NOT MATCHED THEN INSERT VALUES (n.id, 1, n.v)"]);
    db.cycle(&[
        "MERGE INTO t USING (SELECT 4 AS id) AS n ON t.id = n.id WHEN NOT MATCHED BY SOURCE AND t.g = 0 THEN DELETE \
                WHEN NOT MATCHED BY SOURCE THEN UPDATE SET v = v + 1 WHEN MATCHED THEN DO NOTHING",
    ]);
    db.cycle(&[
        "WITH m AS (MERGE INTO t USING (VALUES (4), (40)) AS n(id) ON t.id = n.id WHEN MATCHED THEN UPDATE SET g = 9 \
                WHEN NOT MATCHED THEN INSERT VALUES (n.id, 9, 9) RETURNING merge_action()) SELECT count(*) FROM m",
    ]);
}

fn copy(db: &mut Database) {
    source(db);
    db.copy("COPY t FROM STDIN WITH (FORMAT csv)", "50,1,50\n51,1,51\n52,,\n");
    db.cycle(&[]);
    db.copy("COPY t (v, id) FROM STDIN", "7\t60\n\\N\t61\n");
    db.cycle(&["DELETE FROM t WHERE id = 50"]);
}

fn writes_through_views(db: &mut Database) {
    source(db);
    db.run("CREATE VIEW few AS SELECT id, v FROM t WHERE g = 1; CREATE VIEW fewer AS SELECT id, v FROM few WHERE v > 2 WITH LOCAL CHECK OPTION");
    db.cycle(&["UPDATE few SET v = v + 10", "INSERT INTO few VALUES (70, 70)", "DELETE FROM fewer WHERE id = 4"]);
    db.cycle(&["UPDATE fewer SET id = id + 100"]);
}

fn data_modifying_common_table_expressions(db: &mut Database) {
    source(db);
    db.run("CREATE TABLE archive (id int, v int)");
    db.stream("pairs", "SELECT t.id, a.v FROM t JOIN archive AS a USING (id)");
    db.cycle(&["WITH gone AS (DELETE FROM t WHERE g = 1 RETURNING id, v) INSERT INTO archive SELECT id, v FROM gone"]);
    db.cycle(&["WITH a AS (UPDATE t SET v = v + 1 WHERE g = 0 RETURNING id), b AS (INSERT INTO t VALUES (80, 8, 8) RETURNING id), \
                c AS (DELETE FROM t WHERE g = 2 RETURNING id) INSERT INTO archive SELECT id, 0 FROM a UNION ALL SELECT id, 1 FROM b UNION ALL SELECT id, 2 FROM c"]);
}

fn triggers_that_change_the_same_table_again(db: &mut Database) {
    source(db);
    db.run("CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN \
                IF pg_trigger_depth() < 3 THEN UPDATE t SET v = v + 1 WHERE id = NEW.id; INSERT INTO t VALUES (NEW.id + 1000, NEW.g, 1) ON CONFLICT DO NOTHING; END IF; \
                RETURN NULL; END$$");
    for (name, event) in [("aaa", "INSERT"), ("zzz", "UPDATE")] {
        db.run(&format!("CREATE TRIGGER {name} AFTER {event} ON t FOR EACH ROW EXECUTE FUNCTION again()"));
        db.cycle(&[
            "UPDATE t SET g = g + 1 WHERE id < 4",
            "INSERT INTO t VALUES (200, 2, 2) ON CONFLICT (id) DO UPDATE SET v = t.v + 5",
        ]);
    }
    db.cycle(&["DELETE FROM t WHERE id > 1000", "UPDATE t SET v = v * 2"]);
}

fn triggers_that_change_other_sources(db: &mut Database) {
    source(db);
    db.run(
        "CREATE TABLE log (id int, what text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
            $$BEGIN INSERT INTO log SELECT coalesce(NEW.id, OLD.id), TG_OP; RETURN NULL; END$$",
    );
    db.run("CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note()");
    db.stream("noted", "SELECT t.id, log.what FROM t JOIN log USING (id)");
    db.stream("counted", "SELECT what, count(*) AS n FROM log GROUP BY what");
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id < 5; INSERT INTO t VALUES (90, 1, 1)"]);
    db.cycle(&["DELETE FROM t WHERE id < 3; DELETE FROM log WHERE what = 'UPDATE'"]);
}

fn before_triggers_that_alter_or_suppress_rows(db: &mut Database) {
    source(db);
    db.run(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN \
                IF TG_OP = 'DELETE' THEN IF OLD.id = 1 THEN RETURN NULL; END IF; RETURN OLD; END IF; \
                IF NEW.v = 13 THEN RETURN NULL; END IF; NEW.v := NEW.v * 2; RETURN NEW; END$$",
    );
    db.run("CREATE TRIGGER meddle BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION meddle()");
    db.cycle(&["INSERT INTO t VALUES (91, 1, 13), (92, 1, 14); UPDATE t SET g = 5 WHERE id < 4"]);
    db.cycle(&["DELETE FROM t WHERE id < 3", "UPDATE t SET v = 13"]);
}

fn instead_of_triggers_and_rules(db: &mut Database) {
    source(db);
    db.run("CREATE VIEW door AS SELECT id FROM t; CREATE RULE knock AS ON INSERT TO door DO INSTEAD INSERT INTO t VALUES (NEW.id, 4, 4)");
    db.run("CREATE RULE also AS ON DELETE TO t DO ALSO INSERT INTO t VALUES (OLD.id + 500, OLD.g, 0)");
    db.cycle(&["INSERT INTO door VALUES (93), (94)"]);
    db.cycle(&["DELETE FROM t WHERE id = 2"]);
}

fn truncate(db: &mut Database) {
    source(db);
    db.cycle_in_full(&["TRUNCATE t"]);
    assert_eq!(db.number("SELECT count(*) FROM sums"), 0);
    db.cycle(&["INSERT INTO t VALUES (1, 1, 1)"]);
    db.cycle_in_full(&["UPDATE t SET v = 2", "TRUNCATE t", "INSERT INTO t VALUES (1, 1, 7), (2, 2, 2)"]);
    db.cycle(&["UPDATE t SET v = 3"]);
}

fn truncate_and_insert_in_one_transaction(db: &mut Database) {
    source(db);
    db.cycle_in_full(&["BEGIN; INSERT INTO t VALUES (50, 1, 1); TRUNCATE t; INSERT INTO t VALUES (1, 1, 1), (2, 2, 2); UPDATE t SET v = 9 WHERE id = 2; COMMIT"]);
    db.cycle(&["UPDATE t SET v = 8"]);
    db.run("BEGIN; TRUNCATE t; INSERT INTO t VALUES (1, 7, 7)");
    db.check_after_refresh();
    db.run("INSERT INTO t VALUES (2, 7, 7)");
    db.check_after_refresh();
    db.run("COMMIT");
    db.check_after_refresh();
    db.accept_full();
    db.cycle(&["UPDATE t SET v = 8"]);
}

fn truncate_rolled_back(db: &mut Database) {
    source(db);
    db.run("BEGIN; SAVEPOINT s; TRUNCATE t; ROLLBACK TO s; UPDATE t SET v = v + 1; COMMIT");
    db.cycle(&[]);
    db.run("BEGIN; TRUNCATE t; INSERT INTO t VALUES (1, 1, 1); ROLLBACK");
    db.cycle(&[]);
}

fn truncate_of_several_tables(db: &mut Database) {
    source(db);
    db.run("CREATE TABLE u (id int REFERENCES t, w int); INSERT INTO u SELECT id, id FROM t");
    db.stream("pairs", "SELECT t.id, u.w FROM t JOIN u USING (id)");
    db.cycle_in_full(&["TRUNCATE t CASCADE"]);
    db.cycle(&["INSERT INTO t VALUES (1, 1, 1); INSERT INTO u VALUES (1, 1)"]);
    db.cycle_in_full(&["TRUNCATE u, t; INSERT INTO t VALUES (3, 3, 3)"]);
}

fn updates_that_change_nothing(db: &mut Database) {
    source(db);
    let image = "SELECT string_agg(ctid::text || xmin, ',') FROM rows";
    let before = db.text(image);
    db.cycle(&["UPDATE t SET v = v, g = g, id = id", "UPDATE t SET v = v WHERE id = 1"]);
    assert_eq!(db.text(image), before);
    db.cycle(&["UPDATE t SET v = CASE WHEN id = 2 THEN 99 ELSE v END"]);
}

fn updates_of_columns_that_nobody_reads(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int, note text); INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b')");
    db.stream("sums", "SELECT sum(v) AS s FROM t");
    db.run("UPDATE t SET note = 'c'");
    let buffer = db.text("SELECT buffer_relid::regclass::text FROM pgtrickle.pgt_change_tracking");
    assert_eq!(db.number(&format!("SELECT count(*) FROM {buffer}")), 0);
    db.cycle(&["UPDATE t SET note = 'd', v = 5 WHERE id = 1"]);
}

fn statements_that_touch_no_row(db: &mut Database) {
    source(db);
    db.cycle(&[
        "UPDATE t SET v = 1 WHERE id = -1",
        "DELETE FROM t WHERE false",
        "INSERT INTO t SELECT * FROM t WHERE false",
    ]);
    db.cycle(&["MERGE INTO t USING (SELECT -1 AS id) AS n ON t.id = n.id WHEN MATCHED THEN DELETE"]);
}

fn several_tables_in_one_transaction(db: &mut Database) {
    source(db);
    db.run("CREATE TABLE u (id int, w int); CREATE TABLE x (w int, label text)");
    db.stream("joined", "SELECT t.id, u.w, x.label FROM t JOIN u USING (id) JOIN x USING (w)");
    db.stream("labels", "SELECT x.label, sum(t.v) AS s FROM t JOIN u USING (id) JOIN x USING (w) GROUP BY x.label");
    db.cycle(&["INSERT INTO u SELECT i, i % 2 FROM generate_series(1, 9) AS i; INSERT INTO x VALUES (0, 'zero'), (1, 'one'); UPDATE t SET v = v + 1"]);
    db.cycle(&["DELETE FROM x WHERE w = 0; UPDATE u SET w = 0 WHERE id < 5; INSERT INTO x VALUES (0, 'ZERO'), (0, 'null'); DELETE FROM t WHERE id = 3"]);
    db.cycle(&["UPDATE x SET w = 1 - w; UPDATE u SET w = 1 - w; UPDATE t SET v = -v"]);
}

fn cursors_and_prepared_statements(db: &mut Database) {
    source(db);
    db.run("PREPARE put AS INSERT INTO t VALUES ($1, $2, $3); EXECUTE put(100, 1, 1); EXECUTE put(101, 2, 2)");
    db.cycle(&["DO $$ DECLARE c CURSOR FOR SELECT * FROM t FOR UPDATE; BEGIN FOR r IN c LOOP \
                UPDATE t SET v = v + 1 WHERE CURRENT OF c; END LOOP; END $$"]);
    db.cycle(&["EXECUTE put(102, 3, 3)"]);
}

fn functions_that_write(db: &mut Database) {
    source(db);
    db.run("CREATE FUNCTION put(a int) RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (a, a, a) RETURNING id'");
    db.run("CREATE PROCEDURE steps() LANGUAGE plpgsql AS $$BEGIN FOR i IN 1..3 LOOP UPDATE t SET v = v + i; COMMIT; PERFORM pgtrickle.refresh_stream_table('sums'); \
            DELETE FROM t WHERE id = i; ROLLBACK; END LOOP; END$$");
    db.cycle(&["SELECT put(i) FROM generate_series(100, 105) AS i"]);
    db.run("CALL steps()");
    db.cycle(&[]);
    db.cycle(&["SELECT put(200), count(*) FROM t"]);
}

fn writes_of_many_transactions(db: &mut Database) {
    source(db);
    for i in 0..200 {
        db.run(&format!(
            "INSERT INTO t VALUES ({}, {}, {i}); UPDATE t SET v = v + 1 WHERE g = {}",
            1000 + i,
            i % 7,
            i % 5
        ));
    }
    db.cycle(&[]);
}

/// What several foreign keys do to a row for one command counts as the command's: there are images of rows that never were at the end of one.
fn actions_of_foreign_keys(db: &mut Database) {
    db.run(
        "CREATE TABLE p (id int PRIMARY KEY);
         CREATE TABLE t (id int PRIMARY KEY, g int, a int REFERENCES p ON DELETE SET NULL ON UPDATE CASCADE,
                         b int REFERENCES p ON DELETE SET NULL ON UPDATE CASCADE,
                         c int REFERENCES p ON DELETE CASCADE, d int REFERENCES p ON UPDATE CASCADE);
         INSERT INTO p SELECT generate_series(1, 60);
         INSERT INTO t SELECT i, i % 3, i, i + 20, CASE WHEN i > 10 THEN i + 40 END, i FROM generate_series(1, 20) i",
    );
    let one_of_two = "CASE WHEN (a IS NULL) <> (b IS NULL) THEN 0 ELSE 1 END";
    db.stream("sums", &format!("SELECT g, count(*) AS n, sum(100 / {one_of_two}) AS s FROM t GROUP BY g"));
    db.stream("parents", "SELECT id FROM p WHERE EXISTS (SELECT FROM t WHERE t.d = p.id)");
    db.cycle(&["DELETE FROM p WHERE id IN (45, 46)"]);
    db.cycle(&["BEGIN; UPDATE t SET d = NULL; COMMIT"]);
    db.cycle(&["DELETE FROM p WHERE id IN (5, 25, 6, 26, 7, 27)"]);
    db.cycle(&["DELETE FROM p WHERE id IN (12, 32, 52, 13, 33, 53)"]);
    db.cycle(&["UPDATE t SET d = 1 WHERE id > 14", "UPDATE p SET id = id + 1000 WHERE id IN (1, 2, 3)"]);
    // Gone when the changes are read.
    db.cycle(&[
        "DELETE FROM p WHERE id IN (14, 34)",
        "ALTER TABLE t DROP CONSTRAINT t_a_fkey, DROP CONSTRAINT t_b_fkey, DROP CONSTRAINT t_c_fkey, DROP CONSTRAINT t_d_fkey",
    ]);
}

/// Row triggers capture what is done to partitions.
fn actions_of_foreign_keys_on_partitions(db: &mut Database) {
    db.run(
        "CREATE TABLE p (id int PRIMARY KEY);
         CREATE TABLE t (id int, g int, a int REFERENCES p ON DELETE SET NULL, b int REFERENCES p ON DELETE SET NULL) PARTITION BY RANGE (id);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE t2 PARTITION OF t DEFAULT;
         INSERT INTO p SELECT generate_series(1, 60);
         INSERT INTO t SELECT i, i % 3, i, i + 20 FROM generate_series(1, 20) i",
    );
    let one_of_two = "CASE WHEN (a IS NULL) <> (b IS NULL) THEN 0 ELSE 1 END";
    db.stream("sums", &format!("SELECT g, count(*) AS n, sum(100 / {one_of_two}) AS s FROM t GROUP BY g"));
    db.cycle(&["DELETE FROM p WHERE id IN (5, 25)"]);
    db.cycle(&["DELETE FROM p WHERE id IN (6, 26, 12, 32, 7, 27)"]);
}

/// One command fires triggers of the parent and of the child.
fn actions_of_foreign_keys_on_children(db: &mut Database) {
    db.run(
        "CREATE TABLE t (id int, g int, a int);
         CREATE TABLE c (PRIMARY KEY (id), FOREIGN KEY (a) REFERENCES c ON UPDATE SET NULL) INHERITS (t);
         INSERT INTO c VALUES (1, 1, NULL), (2, 1, 1)",
    );
    db.stream("sums", "SELECT g, count(*) AS n, sum(100 / CASE WHEN id > 10 AND a IS NOT NULL THEN 0 ELSE 1 END) AS s FROM t GROUP BY g");
    db.cycle(&["UPDATE t SET id = id + 10, g = g + 1"]);
}

/// What a function in SQL does last is not told from what the command around it does.
fn functions_that_write_the_table_that_is_written(db: &mut Database) {
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, g int, v int); INSERT INTO t SELECT i, 1, 1 FROM generate_series(1, 5) AS i;
         CREATE FUNCTION fix(i int) RETURNS int LANGUAGE sql AS 'UPDATE t SET v = 5 WHERE id = i RETURNING id';
         CREATE FUNCTION gone(i int) RETURNS int LANGUAGE sql AS 'DELETE FROM t WHERE id = i RETURNING id'",
    );
    db.stream("sums", "SELECT g, count(*) AS n, sum(100 / v) AS s FROM t GROUP BY g");
    db.stream("rows", "SELECT a.id, 100 / a.v AS s, b.g FROM t AS a JOIN t AS b ON b.id = a.id");
    db.cycle(&["INSERT INTO t VALUES (10, 1, 0) RETURNING fix(id)"]);
    db.cycle(&["INSERT INTO t VALUES (11, 1, 0) RETURNING gone(id)"]);
    db.cycle(&["INSERT INTO t VALUES (12, 1, 0), (13, 1, 0) RETURNING fix(id)"]);
}

/// Capture of what the action did comes after the trigger that refreshes.
fn a_refresh_between_an_action_and_its_capture(db: &mut Database) {
    db.run(
        "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE, v int);
         CREATE TABLE u (id int PRIMARY KEY, w int);
         INSERT INTO p SELECT generate_series(1, 5); INSERT INTO t SELECT i, i, 10 FROM generate_series(1, 5) AS i;
         INSERT INTO u SELECT i, 1 FROM generate_series(1, 5) AS i;
         CREATE FUNCTION refresh() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
             PERFORM pgtrickle.refresh_stream_table('sums'); RETURN NULL; END$$;
         CREATE TRIGGER zz AFTER DELETE ON p FOR EACH ROW EXECUTE FUNCTION refresh()",
    );
    db.stream("sums", "SELECT count(*) AS n, sum(v * w) AS s FROM t JOIN u USING (id)");
    db.run("UPDATE u SET w = 7 WHERE id = 2");
    assert_eq!(db.fails("DELETE FROM p WHERE id = 2").sqlstate, "55006");
    db.cycle(&["ALTER TABLE p DISABLE TRIGGER zz", "DELETE FROM p WHERE id = 2"]);
}
