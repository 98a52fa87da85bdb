//! WITH RECURSIVE … UNION over graphs that change: what is reached in several ways stays reached while one of them is left.

use pgtrickle_tests::{Database, tests};

tests![
    graphs_that_grow_and_shrink,
    walks_beside_other_operators,
    two_edges_of_one_path_leave,
    a_cycle_loses_its_entry,
    a_way_is_lost_and_one_round_a_cycle_found,
    one_table_is_walked_twice,
    more_is_lost_than_is_looked_for,
    a_small_change_of_a_large_graph_reads_little,
];

/// Numbers that look random, the same in every run.
struct Numbers(u64);

impl Numbers {
    /// Below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// A node, seldom NULL.
    fn node(&mut self, nodes: u64) -> String {
        if self.below(20) == 0 { "NULL".into() } else { (1 + self.below(nodes)).to_string() }
    }

    /// A statement that adds to, takes from or changes a table; `kind` below 2 adds, 2 takes, 3 changes.
    fn statement(&mut self, kind: u64, nodes: u64) -> String {
        let [a, b, c] = [0; 3].map(|_| self.node(nodes));
        let label = self.below(3);
        let edge = if self.below(3) == 0 { "road" } else { "edge" };
        match (kind, self.below(6)) {
            (0 | 1, 0) => format!("INSERT INTO root VALUES ({a})"),
            (0 | 1, 1) => format!("INSERT INTO shut VALUES ({a})"),
            (0 | 1, _) => format!("INSERT INTO {edge} VALUES ({a}, {b}, 'l{label}'), ({b}, {c}, NULL)"),
            (2, 0) => format!("DELETE FROM root WHERE ctid IN (SELECT ctid FROM root WHERE id = {a} LIMIT 1)"),
            (2, 1) => "DELETE FROM shut WHERE ctid IN (SELECT min(ctid) FROM shut)".into(),
            (2, 2) => format!("DELETE FROM {edge} WHERE b = {b}"),
            (2, _) => {
                format!("DELETE FROM {edge} WHERE ctid IN (SELECT ctid FROM {edge} WHERE a = {a} OR b = {b} LIMIT 2)")
            }
            (_, 0) => format!("UPDATE root SET id = {b} WHERE id = {a}"),
            (_, 1) => format!("UPDATE {edge} SET label = 'l{label}' WHERE a = {a}"),
            (_, 2) => format!("UPDATE {edge} SET a = b, b = a WHERE a = {a}"),
            _ => format!("UPDATE {edge} SET b = {b} WHERE a = {a}"),
        }
    }
}

fn graph(db: &mut Database, numbers: &mut Numbers, nodes: u64) {
    for table in ["edge", "road"] {
        db.run(&format!("CREATE TABLE {table} (a int, b int, label text)"));
    }
    db.run("CREATE TABLE root (id int); CREATE TABLE shut (id int); INSERT INTO root VALUES (1), (2), (2)");
    for _ in 0..nodes {
        let statement = numbers.statement(0, nodes);
        db.run(&statement);
    }
}

/// Cycles that only add, only take, and do everything at once.
fn change(db: &mut Database, numbers: &mut Numbers, nodes: u64, cycles: u64) {
    for cycle in 0..cycles {
        let statements = (0..1 + numbers.below(5)).map(|_| {
            let kind = match cycle % 4 {
                0 => 0,
                1 => 2,
                _ => numbers.below(4),
            };
            numbers.statement(kind, nodes)
        });
        let statements: Vec<String> = statements.collect();
        db.cycle(&statements.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

fn graphs_that_grow_and_shrink(db: &mut Database) {
    let mut numbers = Numbers(7);
    graph(db, &mut numbers, 12);
    db.stream("reached", "WITH RECURSIVE r AS (SELECT id FROM root UNION SELECT e.b FROM r JOIN edge AS e ON e.a = r.id) SELECT id FROM r");
    db.stream("pairs", "WITH RECURSIVE p AS (SELECT a, b FROM edge UNION SELECT p.a, e.b FROM p JOIN edge AS e ON e.a = p.b) SELECT b, a FROM p");
    db.stream("labels", "WITH RECURSIVE r(id, label) AS (SELECT id, NULL::text FROM root UNION SELECT e.b, e.label FROM r JOIN edge AS e ON e.a = r.id AND e.label IS DISTINCT FROM r.label) SELECT id AS x, label, label || id AS both FROM r");
    db.stream("alternating", "WITH RECURSIVE r AS (SELECT id FROM root UNION SELECT w.b FROM r JOIN edge AS e ON e.a = r.id JOIN road AS w ON w.a = e.b) SELECT id FROM r");
    db.stream("both_ends", "WITH RECURSIVE p(x, y) AS (SELECT r.id, s.id FROM root AS r, root AS s UNION SELECT e.b, w.b FROM p JOIN edge AS e ON e.a = p.x JOIN road AS w ON w.a = p.y) SELECT x, y FROM p");
    change(db, &mut numbers, 12, 40);
}

fn walks_beside_other_operators(db: &mut Database) {
    let mut numbers = Numbers(11);
    graph(db, &mut numbers, 10);
    db.stream("counted", "WITH RECURSIVE r(top, id) AS (SELECT id, id FROM root UNION SELECT r.top, e.b FROM r JOIN edge AS e ON e.a = r.id) SELECT top, count(*) AS n, count(id) AS m FROM r GROUP BY top");
    db.stream("outer_rows", "WITH RECURSIVE r AS (SELECT id FROM root UNION SELECT e.b FROM r JOIN edge AS e ON e.a = r.id) SELECT r.id, w.b FROM r LEFT JOIN road AS w ON w.a = r.id");
    db.stream("highest", "WITH RECURSIVE r AS (SELECT id FROM root UNION SELECT m.b FROM r JOIN (SELECT a, max(b) AS b FROM edge GROUP BY a) AS m ON m.a = r.id) SELECT id FROM r");
    db.stream("open", "WITH RECURSIVE r AS (SELECT id FROM root UNION SELECT e.b FROM r JOIN (SELECT a, b FROM edge WHERE NOT EXISTS (SELECT FROM shut WHERE shut.id = edge.b)) AS e ON e.a = r.id) SELECT id FROM r");
    db.stream("guarded", "WITH RECURSIVE r AS (SELECT id FROM root UNION SELECT e.b FROM r JOIN edge AS e ON e.a = r.id WHERE NOT EXISTS (SELECT FROM shut WHERE shut.id = e.b)) SELECT id FROM r");
    db.stream("expanded", "WITH RECURSIVE r AS (SELECT id FROM root UNION SELECT g FROM r JOIN edge AS e ON e.a = r.id, generate_series(e.b, e.b + 1) AS g WHERE g < 11) SELECT id FROM r");
    db.stream("either_way", "WITH RECURSIVE r AS (SELECT id FROM root UNION SELECT e.b FROM r JOIN (SELECT a, b FROM edge UNION ALL SELECT b, a FROM road) AS e ON e.a = r.id) SELECT id FROM r");
    db.stream("from_anywhere", "WITH RECURSIVE r AS (SELECT a AS id FROM road WHERE b IS NULL UNION ALL SELECT id FROM root), s AS (SELECT id FROM r UNION SELECT e.b FROM s JOIN edge AS e ON e.a = s.id) SELECT s.id + 1 AS next, s.id FROM s");
    db.stream("narrowed", "WITH RECURSIVE r(id, far) AS (SELECT id, 0 FROM root UNION SELECT w.b, n.far + 1 FROM (SELECT e.b AS id, r.far FROM r JOIN edge AS e ON e.a = r.id) AS n JOIN road AS w ON w.a = n.id WHERE n.far < 4) SELECT id, far FROM r");
    change(db, &mut numbers, 10, 32);
}

const REACHED: &str =
    "WITH RECURSIVE r AS (SELECT id FROM root UNION SELECT e.b FROM r JOIN edge AS e ON e.a = r.id) SELECT id FROM r";

fn small_graph(db: &mut Database, edges: &str) {
    db.run("CREATE TABLE edge (a int NOT NULL, b int NOT NULL); CREATE TABLE root (id int NOT NULL)");
    db.run(&format!("INSERT INTO root VALUES (1); INSERT INTO edge VALUES {edges}"));
    db.stream("reached", REACHED);
}

fn two_edges_of_one_path_leave(db: &mut Database) {
    small_graph(db, "(1, 2), (2, 3), (3, 4), (4, 5), (1, 5)");
    db.cycle(&["DELETE FROM edge WHERE a IN (2, 3)"]);
    db.cycle(&["INSERT INTO edge VALUES (2, 3), (3, 4)"]);
    db.cycle(&["DELETE FROM edge WHERE a = 1 AND b = 2; INSERT INTO edge VALUES (5, 3)"]);
    db.cycle(&["DELETE FROM root"]);
}

fn a_cycle_loses_its_entry(db: &mut Database) {
    small_graph(db, "(1, 2), (2, 3), (3, 4), (4, 2), (7, 4)");
    db.cycle(&["DELETE FROM edge WHERE a = 1"]);
    db.cycle(&["INSERT INTO root VALUES (7)"]);
    db.cycle(&["DELETE FROM root WHERE id = 7; INSERT INTO edge VALUES (1, 3)"]);
}

fn a_way_is_lost_and_one_round_a_cycle_found(db: &mut Database) {
    small_graph(db, "(1, 2), (2, 3)");
    // 2 has as many derivations as before, but the new one is its own consequence.
    db.cycle(&["UPDATE edge SET a = 3 WHERE b = 2"]);
    db.cycle(&["INSERT INTO edge VALUES (1, 3)"]);
    db.cycle(&["UPDATE edge SET b = 1 WHERE a = 1; UPDATE root SET id = 2"]);
    db.run("CREATE TABLE road (a int, b int); INSERT INTO road VALUES (1, 10), (3, 10)");
    db.run("TRUNCATE edge; INSERT INTO edge VALUES (10, 2), (2, 3); UPDATE root SET id = 1");
    db.stream("by_road", "WITH RECURSIVE r AS (SELECT id FROM root UNION SELECT e.b FROM (SELECT w.b AS id FROM r JOIN road AS w ON w.a = r.id) AS n JOIN edge AS e ON e.a = n.id) SELECT id FROM r");
    db.refresh_all();
    db.accept_full();
    db.cycle(&["DELETE FROM road WHERE a = 1"]);
    db.cycle(&["INSERT INTO road VALUES (1, 10); DELETE FROM road WHERE a = 3"]);
    db.cycle(&["UPDATE road SET a = 3; INSERT INTO edge VALUES (3, 3)"]);
}

fn one_table_is_walked_twice(db: &mut Database) {
    let mut numbers = Numbers(23);
    graph(db, &mut numbers, 9);
    db.stream("by_twos", "WITH RECURSIVE r AS (SELECT id FROM root UNION SELECT f.b FROM r JOIN edge AS e ON e.a = r.id JOIN edge AS f ON f.a = e.b) SELECT id FROM r");
    db.stream("by_twos_narrowed", "WITH RECURSIVE r AS (SELECT id FROM root UNION SELECT f.b FROM (SELECT e.b AS id FROM r JOIN edge AS e ON e.a = r.id) AS n JOIN edge AS f ON f.a = n.id) SELECT id FROM r");
    db.stream("same_depth", "WITH RECURSIVE p(x, y) AS (SELECT e.b, f.b FROM edge AS e JOIN edge AS f ON f.a = e.a UNION SELECT e.b, f.b FROM p JOIN edge AS e ON e.a = p.x JOIN edge AS f ON f.a = p.y) SELECT x, y FROM p");
    change(db, &mut numbers, 9, 28);
}

fn more_is_lost_than_is_looked_for(db: &mut Database) {
    db.run("CREATE TABLE edge (a int NOT NULL, b int NOT NULL); CREATE INDEX ON edge (a); CREATE INDEX ON edge (b); CREATE TABLE root (id int NOT NULL)");
    db.run("INSERT INTO root VALUES (1); INSERT INTO edge SELECT 1, i FROM generate_series(2, 12000) AS i; INSERT INTO edge SELECT 2, i FROM generate_series(9000, 12000) AS i");
    db.stream("reached", REACHED);
    db.cycle(&["DELETE FROM edge WHERE a = 1 AND b BETWEEN 8000 AND 8050"]);
    db.cycle(&["DELETE FROM edge WHERE a = 1 AND b BETWEEN 9000 AND 9050; INSERT INTO edge VALUES (11000, 8000)"]);
    db.cycle(&["DELETE FROM edge WHERE a = 1 AND b <> 2"]);
    db.cycle(&["INSERT INTO edge SELECT 2, i FROM generate_series(3, 11000) AS i"]);
    db.cycle(&["UPDATE root SET id = 2"]);
}

fn a_small_change_of_a_large_graph_reads_little(db: &mut Database) {
    db.run("CREATE TABLE edge (a int NOT NULL, b int NOT NULL); CREATE INDEX ON edge (a); CREATE INDEX ON edge (b); CREATE TABLE root (id int PRIMARY KEY); INSERT INTO root VALUES (1)");
    db.run("INSERT INTO edge SELECT i / 3 + 1, i + 1 FROM generate_series(1, 20000) AS i; ANALYZE edge");
    db.stream("reached", REACHED);
    db.stream("counted", "WITH RECURSIVE r(top, id) AS (SELECT id, id FROM root UNION SELECT r.top, e.b FROM r JOIN edge AS e ON e.a = r.id) SELECT top, count(*) AS n FROM r GROUP BY top");
    for change in [
        "INSERT INTO edge VALUES (77, 50000)",
        "DELETE FROM edge WHERE b = 19000",
        "INSERT INTO edge VALUES (18999, 6000)",
        "DELETE FROM edge WHERE a = 2000",
        "INSERT INTO root VALUES (18000)",
        "DELETE FROM root WHERE id = 18000",
        "DELETE FROM edge WHERE b = 50000; DELETE FROM edge WHERE b = 17000; INSERT INTO edge VALUES (16000, 17000)",
    ] {
        db.run(change);
        db.run("BEGIN");
        let read = "SELECT coalesce(sum(pg_stat_get_xact_numscans(oid)), 0) FROM pg_class WHERE relname = 'edge'";
        let before = db.number(read);
        db.refresh_all();
        let scans = db.number(read) - before;
        db.run("COMMIT");
        assert_eq!(scans, 0, "{change} made a refresh read a table whole");
        db.check();
    }
    assert_eq!(db.fallback(), None);
}
