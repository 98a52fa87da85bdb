//! WITH RECURSIVE over data that changes anywhere in it.

use pgtrickle_tests::{Database, tests};

tests![
    paths_of_a_tree,
    a_graph_without_cycles,
    a_graph_with_cycles,
    roots_and_edges_change_together,
    series_and_constants,
    recursions_under_and_over_other_operators,
    recursions_over_equal_and_missing_values,
    recursions_that_read_an_outer_row,
    a_cycle_that_only_the_walk_could_reach,
    steps_of_other_clauses,
    recursions_that_are_recomputed,
    recursions_that_do_not_end,
    many_steps_are_allowed,
    a_small_change_of_a_large_tree_reads_little,
];

fn tree(db: &mut Database) {
    db.run("CREATE TABLE node (id int PRIMARY KEY, parent int, name text, size numeric)");
    db.run("INSERT INTO node SELECT i, nullif(i / 3, 0), 'n' || i, i / 2.0 FROM generate_series(1, 40) AS i");
}

fn paths_of_a_tree(db: &mut Database) {
    tree(db);
    db.stream("paths", "WITH RECURSIVE p AS (SELECT id, name, 0 AS depth, ARRAY[id] AS path FROM node WHERE parent IS NULL UNION ALL SELECT n.id, n.name, p.depth + 1, p.path || n.id FROM node AS n JOIN p ON n.parent = p.id) SELECT * FROM p");
    db.stream("depths", "WITH RECURSIVE p(id, depth) AS (SELECT id, 0 FROM node WHERE parent IS NULL UNION ALL SELECT n.id, p.depth + 1 FROM p, node AS n WHERE n.parent = p.id AND p.depth < 2) SELECT depth, count(*) AS n FROM p GROUP BY depth");
    db.stream("ancestors", "WITH RECURSIVE up AS (SELECT id, parent FROM node UNION SELECT up.id, node.parent FROM up JOIN node ON node.id = up.parent) SELECT id, parent FROM up WHERE parent IS NOT NULL");
    db.cycle(&["INSERT INTO node VALUES (50, 13, 'x', 1), (51, 50, 'y', NULL)"]);
    db.cycle(&["DELETE FROM node WHERE id = 4"]);
    db.cycle(&["UPDATE node SET name = name || '!' WHERE id IN (2, 9); UPDATE node SET parent = 2 WHERE id = 50"]);
    db.cycle(&[
        "INSERT INTO node VALUES (4, 1, 'back', 0); UPDATE node SET parent = NULL WHERE id = 3",
        "UPDATE node SET id = 90 WHERE id = 40",
    ]);
    db.cycle(&["DELETE FROM node WHERE parent IS NULL"]);
    db.cycle(&["UPDATE node SET parent = NULL WHERE id = 5", "UPDATE node SET size = 0"]);
    db.cycle(&["DELETE FROM node"]);
    db.cycle(&["INSERT INTO node VALUES (1, NULL, 'a', 1), (2, 1, 'b', 2), (3, 2, 'c', 3)"]);
}

fn graph(db: &mut Database) {
    db.run("CREATE TABLE edge (a int, b int, weight int); CREATE TABLE root (id int)");
    db.run("INSERT INTO edge SELECT i, i + 1 + i % 3, i % 5 FROM generate_series(1, 15) AS i; INSERT INTO edge VALUES (1, 2, 0), (1, 2, 0), (NULL, 3, 1), (3, NULL, 1)");
    db.run("INSERT INTO root VALUES (1), (3), (3), (NULL)");
}

const REACHED: &str = "WITH RECURSIVE r(id, cost) AS (SELECT id, 0 FROM root UNION ALL SELECT e.b, r.cost + e.weight FROM r JOIN edge AS e ON e.a = r.id) SELECT id, cost FROM r";
const REACHED_ONCE: &str =
    "WITH RECURSIVE r AS (SELECT id FROM root UNION SELECT e.b FROM r JOIN edge AS e ON e.a = r.id) SELECT id FROM r";

fn a_graph_without_cycles(db: &mut Database) {
    graph(db);
    db.stream("reached", REACHED);
    db.stream("reached_once", REACHED_ONCE);
    db.stream("costs", "WITH RECURSIVE r(id, cost) AS (SELECT id, 0 FROM root UNION ALL SELECT e.b, r.cost + e.weight FROM r JOIN edge AS e ON e.a = r.id) SELECT id, count(*) AS ways, min(cost) AS best FROM r GROUP BY id");
    db.cycle(&["INSERT INTO edge VALUES (2, 9, 7), (2, 9, 7); INSERT INTO root VALUES (2)"]);
    db.cycle(&["DELETE FROM edge WHERE ctid IN (SELECT min(ctid) FROM edge WHERE a = 2 AND b = 9)"]);
    db.cycle(&["DELETE FROM root WHERE id = 3"]);
    db.cycle(&["UPDATE edge SET weight = weight + 1 WHERE a < 5", "UPDATE root SET id = 4 WHERE id = 1"]);
    db.cycle(&["DELETE FROM edge WHERE a = 5; INSERT INTO root VALUES (1); INSERT INTO edge VALUES (1, 12, 3)"]);
    db.cycle(&["INSERT INTO edge SELECT a, b, weight FROM edge WHERE a = 4"]);
    db.cycle(&["DELETE FROM root"]);
    db.cycle(&["INSERT INTO root VALUES (7), (NULL); DELETE FROM edge WHERE a IS NULL OR b IS NULL"]);
    db.cycle(&["DELETE FROM edge"]);
}

fn a_graph_with_cycles(db: &mut Database) {
    graph(db);
    db.run("INSERT INTO edge VALUES (10, 1, 1), (6, 6, 1)");
    db.stream("reached_once", REACHED_ONCE);
    db.stream("bounded", "WITH RECURSIVE r(id, n) AS (SELECT id, 1 FROM root UNION ALL SELECT e.b, r.n + 1 FROM r JOIN edge AS e ON e.a = r.id WHERE r.n < 5) SELECT id, n FROM r");
    db.stream("with_exists", "WITH RECURSIVE r AS (SELECT id FROM root UNION SELECT e.b FROM r JOIN edge AS e ON e.a = r.id WHERE EXISTS (SELECT FROM root WHERE root.id <= e.b) AND e.b NOT IN (SELECT id + 5 FROM root WHERE id IS NOT NULL)) SELECT id FROM r");
    db.stream("without_turning_back", "WITH RECURSIVE r(id, path) AS (SELECT id, ARRAY[id] FROM root UNION ALL SELECT e.b, r.path || e.b FROM r JOIN edge AS e ON e.a = r.id WHERE e.b <> ALL (r.path) AND cardinality(r.path) < 6) SELECT id, path FROM r");
    db.cycle(&["INSERT INTO edge VALUES (4, 1, 2)", "INSERT INTO root VALUES (6)"]);
    db.cycle(&["DELETE FROM edge WHERE a = 10"]);
    db.cycle(&["UPDATE edge SET b = 1 WHERE a = 7; DELETE FROM root WHERE id = 1"]);
    db.cycle(&["DELETE FROM edge WHERE b = 1; INSERT INTO root VALUES (1)"]);
}

fn roots_and_edges_change_together(db: &mut Database) {
    graph(db);
    db.stream("reached", REACHED);
    db.stream("reached_once", REACHED_ONCE);
    for round in 1..8 {
        db.cycle(&[&format!(
            "UPDATE root SET id = id + 1; DELETE FROM edge WHERE a = {round}; INSERT INTO edge VALUES ({round}, {round} + 4, {round}); \
             INSERT INTO root VALUES ({round}); UPDATE edge SET b = b + 1 WHERE a % 3 = {round} % 3"
        )]);
    }
}

fn series_and_constants(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 3), (2, 0), (3, NULL)");
    db.stream(
        "constant",
        "WITH RECURSIVE c(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c WHERE i < 5) SELECT i FROM c",
    );
    db.stream("counted_down", "WITH RECURSIVE c(id, n) AS (SELECT id, n FROM t UNION ALL SELECT id, n - 1 FROM c WHERE n > 0) SELECT id, n FROM c");
    db.stream("joined", "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 4) SELECT t.id, c.i FROM t JOIN c ON c.i <= t.n");
    db.stream("expanded", "WITH RECURSIVE c(id, n) AS (SELECT id, n FROM t UNION ALL SELECT id, g FROM c, generate_series(1, n - 1) AS g) SELECT id, n FROM c");
    db.cycle(&["UPDATE t SET n = n + 1; INSERT INTO t VALUES (4, 2)"]);
    db.cycle(&["DELETE FROM t WHERE id = 1; UPDATE t SET n = 2 WHERE n IS NULL"]);
}

fn recursions_under_and_over_other_operators(db: &mut Database) {
    tree(db);
    db.stream("sizes", "WITH RECURSIVE below(top, id) AS (SELECT id, id FROM node UNION ALL SELECT below.top, n.id FROM below JOIN node AS n ON n.parent = below.id) SELECT below.top, count(*) AS n, sum(node.size) AS s FROM below JOIN node ON node.id = below.id GROUP BY below.top");
    db.stream("over_groups", "WITH RECURSIVE c AS (SELECT parent AS id, count(*) AS n FROM node GROUP BY parent), r(id, n) AS (SELECT id, n FROM c WHERE id = 1 UNION ALL SELECT c.id, c.n FROM r JOIN node ON node.parent = r.id JOIN c ON c.id = node.id) SELECT id, n FROM r");
    db.stream("twice", "WITH RECURSIVE p AS (SELECT id FROM node WHERE parent IS NULL UNION ALL SELECT n.id FROM node AS n JOIN p ON n.parent = p.id) SELECT a.id FROM p AS a JOIN p AS b ON a.id = b.id + 1");
    db.stream("subtracted", "SELECT id FROM node EXCEPT (WITH RECURSIVE p AS (SELECT id FROM node WHERE id = 2 UNION SELECT n.id FROM node AS n JOIN p ON n.parent = p.id) SELECT id FROM p)");
    db.stream("padded", "WITH RECURSIVE p(id, name) AS (SELECT id, name FROM node WHERE parent IS NULL UNION ALL SELECT n.id, m.name FROM p JOIN node AS n ON n.parent = p.id LEFT JOIN node AS m ON m.id = n.id + 30) SELECT id, name FROM p");
    db.cycle(&["INSERT INTO node VALUES (60, 2, 'x', 1), (61, 60, 'y', 2.50); UPDATE node SET size = size + 1 WHERE id % 4 = 0"]);
    db.cycle(&["UPDATE node SET parent = 3 WHERE id = 60; DELETE FROM node WHERE id = 5"]);
    db.cycle(&["DELETE FROM node WHERE parent = 1 OR id = 2; INSERT INTO node VALUES (2, 1, 'again', 7)"]);
}

fn recursions_over_equal_and_missing_values(db: &mut Database) {
    db.run("CREATE TABLE e (a numeric, b numeric, label varchar(8)); INSERT INTO e VALUES (1.0, 2.00, 'x'), (1.00, 2.0, NULL), (2, 3, 'y'), (NULL, NULL, NULL)");
    db.stream("walked", "WITH RECURSIVE r(id, label) AS (SELECT a, label FROM e WHERE a = 1 UNION ALL SELECT e.b, e.label FROM r JOIN e ON e.a = r.id) SELECT id, label FROM r");
    db.stream_by_value(
        "once",
        "WITH RECURSIVE r(id) AS (SELECT a FROM e UNION SELECT e.b FROM r JOIN e ON e.a = r.id) SELECT id FROM r",
    );
    db.cycle(&["UPDATE e SET b = 2.000 WHERE b = 2; INSERT INTO e VALUES (3.0, 4, 'z')"]);
    db.cycle(&["UPDATE e SET a = 1.000 WHERE a = 1; DELETE FROM e WHERE label = 'y'"]);
    db.cycle(&["INSERT INTO e VALUES (2.0, 3.00, 'y'), (2.0, 3.00, 'y')"]);
}

fn recursions_that_read_an_outer_row(db: &mut Database) {
    tree(db);
    graph(db);
    db.stream("chains", "SELECT n.id, (WITH RECURSIVE up AS (SELECT p.id, p.parent FROM node AS p WHERE p.id = n.parent UNION SELECT p.id, p.parent FROM up JOIN node AS p ON p.id = up.parent) SELECT count(*) FROM up) AS above FROM node AS n");
    db.stream("steps", "SELECT e.a, e.b, (WITH RECURSIVE s(n) AS (SELECT e.a UNION ALL SELECT n + 2 FROM s WHERE n < e.b) SELECT sum(n) FROM s) AS total FROM edge AS e");
    db.stream("can_reach", "SELECT root.id FROM root WHERE EXISTS (WITH RECURSIVE r AS (SELECT e.b FROM edge AS e WHERE e.a = root.id UNION SELECT e.b FROM r JOIN edge AS e ON e.a = r.b AND e.weight <= root.id) SELECT FROM r WHERE r.b > 9)");
    db.stream("beside", "SELECT root.id, l.depth, l.b FROM root LEFT JOIN LATERAL (WITH RECURSIVE r(b, depth) AS (SELECT root.id, 0 UNION ALL SELECT e.b, depth + 1 FROM r, edge AS e WHERE e.a = r.b AND depth < root.id % 3 + 1) SELECT * FROM r WHERE depth > 0) AS l ON true");
    db.stream("under_another", "SELECT n.id FROM node AS n WHERE n.size > ALL (SELECT (WITH RECURSIVE up AS (SELECT p.parent, p.size FROM node AS p WHERE p.id = k.id AND p.size < n.size UNION ALL SELECT p.parent, p.size FROM up JOIN node AS p ON p.id = up.parent) SELECT count(*) FROM up) FROM node AS k WHERE k.id < 6)");
    db.cycle(&["INSERT INTO edge VALUES (3, 12, 0), (12, 3, 1); INSERT INTO node VALUES (60, 13, 'x', 9)"]);
    db.cycle(&["DELETE FROM node WHERE id = 4; DELETE FROM edge WHERE a = 12; UPDATE root SET id = 2 WHERE id = 1"]);
    db.cycle(&["UPDATE node SET parent = 5 WHERE id IN (6, 60); UPDATE edge SET b = b + 1, weight = 0 WHERE a < 6"]);
    db.cycle(&["UPDATE node SET size = size - 3, parent = NULL WHERE id % 7 = 0; DELETE FROM root WHERE id = 3"]);
    db.cycle(&["INSERT INTO node VALUES (4, 1, 'back', 2); DELETE FROM edge WHERE a > 8"]);
}

fn a_cycle_that_only_the_walk_could_reach(db: &mut Database) {
    db.run("CREATE TABLE edge (a int, b int); CREATE TABLE root (id int); INSERT INTO root VALUES (1), (9); INSERT INTO edge VALUES (1, 2), (2, 3), (9, 8)");
    db.stream("reached", "WITH RECURSIVE r AS (SELECT id FROM root UNION ALL SELECT e.b FROM r JOIN edge AS e ON e.a = r.id) SELECT id FROM r");
    // Neither the old result nor the new one is infinite, but what left and what came could follow each other for ever.
    db.cycle(&["DELETE FROM root WHERE id = 1; INSERT INTO edge VALUES (3, 1)"]);
    db.cycle(&["INSERT INTO edge VALUES (8, 7)"]);
    db.cycle(&["DELETE FROM edge WHERE a = 3", "INSERT INTO root VALUES (2)"]);
}

fn steps_of_other_clauses(db: &mut Database) {
    graph(db);
    db.run("CREATE TABLE list (id int, items int[]); INSERT INTO list VALUES (1, '{2,4,4}'), (2, '{5,NULL}'), (4, '{}'), (5, '{6,7}'), (6, NULL)");
    for (name, step) in [
        ("with_item", "(WITH s AS (SELECT e.b FROM r JOIN edge AS e ON e.a = r.id WHERE e.b < 9) SELECT s.b FROM s)"),
        ("with_beside", "(WITH s AS (SELECT max(b) AS n FROM edge) SELECT r.id + 2 FROM r, s WHERE r.id < s.n - 4)"),
        ("unnested", "SELECT i FROM r JOIN list AS l ON l.id = r.id, LATERAL unnest(l.items) AS i WHERE i > r.id"),
        ("unnested_in_list", "SELECT unnest(l.items) FROM r JOIN list AS l ON l.id = r.id"),
        (
            "unnested_in_lateral",
            "SELECT q.i FROM r JOIN list AS l ON l.id = r.id CROSS JOIN LATERAL (SELECT i FROM unnest(l.items) AS i WHERE i > 4) AS q",
        ),
        ("of_lateral", "SELECT q.b FROM r, LATERAL (SELECT e.b FROM edge AS e WHERE e.a = r.id AND e.b < 8) AS q"),
        (
            "padded_beside",
            "SELECT e.b FROM r JOIN (edge AS e LEFT JOIN list AS l ON l.id = e.b) ON e.a = r.id WHERE l.items IS NULL OR cardinality(l.items) > 0",
        ),
        ("grouped_beside", "SELECT g.b FROM r JOIN (SELECT a, max(b) AS b FROM edge GROUP BY a) AS g ON g.a = r.id"),
    ] {
        db.stream(name, &format!("WITH RECURSIVE r (id) AS (SELECT id FROM root UNION ALL {step}) SELECT id FROM r"));
    }
    db.stream("padded_base", "WITH RECURSIVE r (id) AS (SELECT coalesce(l.id, root.id) FROM root FULL JOIN list AS l ON l.id = root.id UNION ALL SELECT e.b FROM r JOIN edge AS e ON e.a = r.id) SELECT id FROM r");
    db.cycle(&["INSERT INTO list VALUES (3, '{4,9}'), (1, '{3}'); INSERT INTO edge VALUES (3, 7, 1)"]);
    db.cycle(&[
        "UPDATE list SET items = items || 8 WHERE id < 5; DELETE FROM root WHERE id = 3",
        "DELETE FROM edge WHERE a = 4",
    ]);
    db.cycle(&[
        "DELETE FROM list WHERE id = 1; INSERT INTO root VALUES (2), (5); UPDATE edge SET b = b + 1 WHERE a = 5",
    ]);
    db.cycle(&["DELETE FROM root"]);
}

fn recursions_that_are_recomputed(db: &mut Database) {
    graph(db);
    for (word, query) in [
        (
            "DISTINCT",
            "WITH RECURSIVE r AS (SELECT id FROM root UNION ALL SELECT DISTINCT e.b FROM r JOIN edge AS e ON e.a = r.id) SELECT id FROM r",
        ),
        (
            "window",
            "WITH RECURSIVE r AS (SELECT id, 1::bigint AS n FROM root UNION ALL SELECT e.b, row_number() OVER (ORDER BY e.b, r.id) FROM r JOIN edge AS e ON e.a = r.id) SELECT id, n FROM r",
        ),
        (
            "WITH item that is used twice",
            "WITH RECURSIVE r (id) AS (SELECT id FROM root UNION ALL (WITH s AS (SELECT e.b FROM r JOIN edge AS e ON e.a = r.id) SELECT b FROM s WHERE b > 1 UNION ALL SELECT b + 100 FROM s WHERE b < 3)) SELECT id FROM r",
        ),
    ] {
        let call = format!(
            "SELECT pgtrickle.create_stream_table('st', $q${query}$q$, schedule => '1h', refresh_mode => 'DIFFERENTIAL')"
        );
        let failure = db.fails(&call);
        assert_eq!(failure.sqlstate, "0A000", "{query}: {failure:?}");
        assert!(failure.message.contains(word), "{query}: {failure:?}");
    }
}

/// Names of its own for what goes wrong: it ends, and says how to end.
fn is_endless(failure: &pgtrickle_tests::Failure, steps: u32) {
    assert_eq!(failure.sqlstate, "54000", "{failure:?}");
    assert!(failure.message.contains(&format!("after {steps} steps")), "{failure:?}");
    assert!(failure.detail.contains("cycle") && failure.hint.contains("max_recursion_depth"), "{failure:?}");
}

fn recursions_that_do_not_end(db: &mut Database) {
    graph(db);
    db.stream("reached", REACHED);
    db.stream("reached_once", REACHED_ONCE);
    db.run("SET pg_trickle.max_recursion_depth = 50");
    // At refresh, by a walk and anew; the stream table stays as it was.
    db.run("INSERT INTO edge VALUES (16, 3, 0)");
    is_endless(&db.fails("SELECT pgtrickle.refresh_stream_table('reached')"), 50);
    db.refresh("reached_once");
    db.run("DELETE FROM root WHERE id = 3");
    is_endless(&db.fails("SELECT pgtrickle.refresh_stream_table('reached')"), 50);
    let before = db.fingerprint();
    let counting = "WITH RECURSIVE r AS (SELECT id FROM root UNION SELECT id + 1 FROM r) SELECT id FROM r";
    for query in [REACHED, counting] {
        for mode in ["DIFFERENTIAL", "AUTO"] {
            let call =
                pgtrickle_tests::create("endless", query, &format!("schedule => '1h', refresh_mode => '{mode}'"));
            is_endless(&db.fails(&call), 50);
        }
    }
    assert_eq!(db.fingerprint(), before);
    // Once the cycle is gone, so is the error.
    db.run("DELETE FROM edge WHERE a = 16");
    db.cycle(&["INSERT INTO root VALUES (5)"]);
    assert_eq!(db.fails("SET pg_trickle.max_recursion_depth = -1").sqlstate, "22023");
}

fn many_steps_are_allowed(db: &mut Database) {
    db.run("CREATE TABLE list (id int PRIMARY KEY, next int); INSERT INTO list SELECT i, i + 1 FROM generate_series(1, 9000) AS i");
    db.stream("walked", "WITH RECURSIVE r AS (SELECT id, next FROM list WHERE id = 1 UNION ALL SELECT l.id, l.next FROM r JOIN list AS l ON l.id = r.next) SELECT id FROM r");
    db.cycle(&["INSERT INTO list VALUES (9001, 9002); DELETE FROM list WHERE id = 7000"]);
    db.run("SET pg_trickle.max_recursion_depth = 0");
    db.cycle(&[
        "INSERT INTO list VALUES (7000, 7001); INSERT INTO list SELECT i, i + 1 FROM generate_series(9002, 11000) AS i",
    ]);
}

fn a_small_change_of_a_large_tree_reads_little(db: &mut Database) {
    db.run("CREATE TABLE edge (a int NOT NULL, b int NOT NULL, weight int); CREATE INDEX ON edge (a); CREATE INDEX ON edge (b); CREATE TABLE root (id int PRIMARY KEY); INSERT INTO root VALUES (1)");
    db.run("INSERT INTO edge SELECT i / 3 + 1, i + 1, 1 FROM generate_series(1, 20000) AS i; ANALYZE edge");
    db.stream("reached", REACHED);
    db.stream("costs", "WITH RECURSIVE r(id, cost) AS (SELECT id, 0 FROM root UNION ALL SELECT e.b, r.cost + e.weight FROM r JOIN edge AS e ON e.a = r.id) SELECT cost, count(*) AS n FROM r GROUP BY cost");
    for change in [
        "INSERT INTO edge VALUES (77, 50000, 1)",
        "DELETE FROM edge WHERE b = 19000",
        "INSERT INTO root VALUES (18000)",
        "DELETE FROM root WHERE id = 18000",
        "DELETE FROM edge WHERE b = 50000; DELETE FROM edge WHERE b = 17000",
    ] {
        db.run(change);
        db.run("BEGIN");
        let read = "SELECT coalesce(sum(pg_stat_get_xact_numscans(oid)), 0) FROM pg_class WHERE relkind = 'r' AND reltuples > 1000 AND oid >= 16384";
        let before = db.number(read);
        db.refresh_all();
        let scans = db.number(read) - before;
        db.run("COMMIT");
        assert_eq!(scans, 0, "{change} made a refresh read a table whole");
        db.check();
    }
    assert_eq!(db.fallback(), None);
}
