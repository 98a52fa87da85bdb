//! Joins: every side changes, keys are NULL, tables meet themselves.

use pgtrickle_tests::{Database, tests};

tests![
    both_sides_change_in_one_cycle,
    null_join_keys,
    self_joins,
    using_and_natural_columns,
    cross_and_comma_joins,
    non_equi_joins,
    three_and_more_tables,
    join_keys_of_equal_but_different_values,
    joins_of_keyless_tables_with_duplicates,
    joins_of_sub_selects,
    a_join_in_which_only_one_side_ever_changes,
    foreign_keys_and_cascades,
    join_under_union_all,
    the_same_table_four_times,
    a_large_table_joined_to_small_changes,
    changes_that_no_use_of_a_source_wants,
];

fn shop(db: &mut Database) {
    db.run("CREATE TABLE customers (id int PRIMARY KEY, city text, grade int)");
    db.run("CREATE TABLE orders (id int PRIMARY KEY, customer_id int, amount int)");
    db.run("CREATE TABLE items (order_id int, item text, qty int)");
    db.run("INSERT INTO customers SELECT i, 'c' || i % 3, i % 4 FROM generate_series(1, 8) AS i");
    db.run("INSERT INTO orders SELECT i, nullif(i % 9, 0), i FROM generate_series(1, 30) AS i");
    db.run("INSERT INTO items SELECT i % 30, 'item' || i % 5, i % 3 FROM generate_series(1, 60) AS i");
}

const CHANGES: [&str; 5] = [
    "UPDATE customers SET grade = grade + 1, city = 'c9' WHERE id < 4; UPDATE orders SET amount = amount + 1 WHERE id % 2 = 0; \
     UPDATE items SET qty = qty + 1 WHERE order_id < 5",
    "DELETE FROM orders WHERE customer_id = 3; DELETE FROM customers WHERE id = 4; DELETE FROM items WHERE item = 'item2'",
    "INSERT INTO customers VALUES (20, 'c1', 1), (21, NULL, NULL); INSERT INTO orders VALUES (100, 20, 5), (101, 21, NULL), (102, NULL, 1); \
     INSERT INTO items VALUES (100, 'item0', 1), (100, 'item0', 1), (NULL, 'lost', 1)",
    "UPDATE orders SET customer_id = customer_id % 3 + 1 WHERE id < 20; UPDATE customers SET id = id + 100 WHERE id = 2; \
     UPDATE items SET order_id = order_id + 1",
    "DELETE FROM items WHERE order_id = 100; DELETE FROM orders WHERE id = 100; DELETE FROM customers WHERE id = 20",
];

fn all_changes(db: &mut Database) {
    for change in CHANGES {
        db.cycle(&[change]);
    }
    db.cycle(&["DELETE FROM customers", "DELETE FROM items"]);
    db.cycle(&[
        "INSERT INTO customers VALUES (1, 'again', 1), (2, 'again', 2); INSERT INTO items VALUES (7, 'again', 7)",
    ]);
}

fn both_sides_change_in_one_cycle(db: &mut Database) {
    shop(db);
    db.stream(
        "pairs",
        "SELECT o.id, c.city, o.amount * c.grade AS x FROM orders AS o JOIN customers AS c ON c.id = o.customer_id",
    );
    db.stream("sums", "SELECT c.city, count(*) AS n, sum(o.amount) AS s FROM orders AS o JOIN customers AS c ON c.id = o.customer_id GROUP BY c.city");
    all_changes(db);
}

fn null_join_keys(db: &mut Database) {
    db.run("CREATE TABLE l (k int, v int); CREATE TABLE r (k int, v int)");
    db.run("INSERT INTO l VALUES (1, 1), (NULL, 2), (NULL, NULL); INSERT INTO r VALUES (1, 1), (NULL, 2)");
    db.stream("equal", "SELECT l.v AS a, r.v AS b FROM l JOIN r ON l.k = r.k");
    db.stream("same", "SELECT l.v AS a, r.v AS b FROM l JOIN r ON l.k IS NOT DISTINCT FROM r.k");
    db.stream("counted", "SELECT l.k, count(*) AS n FROM l JOIN r ON l.k IS NOT DISTINCT FROM r.k GROUP BY l.k");
    db.cycle(&["INSERT INTO l VALUES (NULL, 9); INSERT INTO r VALUES (NULL, 9), (1, NULL)"]);
    db.cycle(&["UPDATE l SET k = 1 WHERE k IS NULL AND v = 2; UPDATE r SET k = NULL WHERE v = 1"]);
    db.cycle(&["DELETE FROM l WHERE k IS NULL; UPDATE r SET k = 1"]);
}

fn self_joins(db: &mut Database) {
    shop(db);
    db.stream("same_customer", "SELECT a.id AS a, b.id AS b FROM orders AS a JOIN orders AS b ON a.customer_id = b.customer_id AND a.id < b.id");
    db.stream("next", "SELECT a.id, b.amount - a.amount AS more FROM orders AS a, orders AS b WHERE b.id = a.id + 1");
    db.stream("duplicates", "SELECT a.item FROM items AS a JOIN items AS b USING (order_id, item)");
    all_changes(db);
}

fn using_and_natural_columns(db: &mut Database) {
    db.run("CREATE TABLE l (k int, m int, a text); CREATE TABLE r (m int8, k int, b text)");
    db.run("INSERT INTO l VALUES (1, 1, 'l1'), (2, 1, 'l2'), (NULL, 1, 'l3'); INSERT INTO r VALUES (1, 1, 'r1'), (1, 2, 'r2'), (2, 1, 'r3')");
    db.stream("merged", "SELECT k, a, b, l.m AS lm, r.m AS rm FROM l JOIN r USING (k)");
    db.stream("natural_one", "SELECT * FROM l NATURAL JOIN r");
    db.stream("alias", "SELECT j.k, a, b FROM l JOIN r USING (k, m) AS j");
    db.cycle(&["UPDATE l SET k = 2, a = 'moved' WHERE a = 'l1'; INSERT INTO r VALUES (1, 2, 'r4')"]);
    db.cycle(&["UPDATE r SET m = m + 1; UPDATE l SET m = m + 1 WHERE k = 2"]);
    db.cycle(&["DELETE FROM r WHERE k = 2; INSERT INTO l VALUES (1, 3, 'l9')"]);
}

fn cross_and_comma_joins(db: &mut Database) {
    db.run("CREATE TABLE l (a int); CREATE TABLE r (b int); INSERT INTO l VALUES (1), (1), (2)");
    db.stream("crossed", "SELECT a, b FROM l CROSS JOIN r");
    db.stream("comma", "SELECT x.a, y.a AS c, b FROM l AS x, l AS y, r");
    db.stream("counted", "SELECT count(*) AS n, sum(a * b) AS s FROM l, r");
    db.cycle(&["INSERT INTO r VALUES (10), (10)"]);
    db.cycle(&["DELETE FROM l WHERE a = 2; INSERT INTO r VALUES (NULL); INSERT INTO l VALUES (3), (NULL)"]);
    db.cycle(&["DELETE FROM r", "INSERT INTO l VALUES (5)"]);
    db.cycle(&["INSERT INTO r VALUES (1); DELETE FROM l"]);
}

fn non_equi_joins(db: &mut Database) {
    shop(db);
    db.stream(
        "below",
        "SELECT a.id, b.id AS other FROM customers AS a JOIN customers AS b ON a.grade < b.grade AND a.city <> b.city",
    );
    db.stream("bands", "SELECT c.id, count(*) AS n FROM customers AS c JOIN orders AS o ON o.amount BETWEEN c.grade * 5 AND c.grade * 5 + 4 GROUP BY c.id");
    db.stream(
        "either",
        "SELECT o.id, c.id AS c FROM orders AS o JOIN customers AS c ON o.customer_id = c.id OR o.amount = c.grade",
    );
    all_changes(db);
}

fn three_and_more_tables(db: &mut Database) {
    shop(db);
    db.stream("lines", "SELECT c.city, o.id, i.item, i.qty FROM customers AS c JOIN orders AS o ON o.customer_id = c.id JOIN items AS i ON i.order_id = o.id");
    db.stream("sold", "SELECT i.item, sum(i.qty * o.amount) AS s, count(*) AS n, max(c.grade) AS hi FROM customers AS c, orders AS o, items AS i \
                       WHERE o.customer_id = c.id AND i.order_id = o.id AND c.grade > 0 GROUP BY i.item");
    db.stream("nested", "SELECT x.city, x.item, o.amount FROM (SELECT c.city, i.item, i.order_id FROM customers AS c JOIN items AS i ON i.qty = c.grade) AS x \
                         JOIN (orders AS o JOIN customers AS d ON d.id = o.customer_id) ON o.id = x.order_id");
    all_changes(db);
}

fn join_keys_of_equal_but_different_values(db: &mut Database) {
    db.run("CREATE TABLE l (k numeric, v int); CREATE TABLE r (k numeric, v int)");
    db.run("INSERT INTO l VALUES (1.0, 1), (2, 2); INSERT INTO r VALUES (1.00, 1), (1, 2)");
    db.stream("pairs", "SELECT l.k, r.k AS rk, l.v, r.v AS rv FROM l JOIN r ON l.k = r.k");
    db.stream("merged", "SELECT k, l.v, r.v AS rv FROM l JOIN r USING (k)");
    db.cycle(&["UPDATE l SET k = 1.00 WHERE v = 1; INSERT INTO r VALUES (2.000, 3)"]);
    db.cycle(&["UPDATE r SET k = 1.0 WHERE v = 1; DELETE FROM r WHERE v = 2"]);
    db.cycle(&["UPDATE l SET k = 1.000, v = 5 WHERE v = 1; UPDATE r SET k = 2.0 WHERE v = 3"]);
}

fn joins_of_keyless_tables_with_duplicates(db: &mut Database) {
    db.run("CREATE TABLE l (k int, v int); CREATE TABLE r (k int, v int)");
    db.run("INSERT INTO l VALUES (1, 1), (1, 1), (2, 2); INSERT INTO r VALUES (1, 7), (1, 7), (1, 7)");
    db.stream("pairs", "SELECT l.v, r.v AS rv FROM l JOIN r USING (k)");
    db.stream("counted", "SELECT k, count(*) AS n FROM l JOIN r USING (k) GROUP BY k");
    db.cycle(&[
        "DELETE FROM l WHERE ctid = (SELECT min(ctid) FROM l WHERE k = 1); INSERT INTO r VALUES (1, 7), (2, 7)",
    ]);
    db.cycle(&["DELETE FROM r WHERE ctid = (SELECT min(ctid) FROM r WHERE k = 1)", "INSERT INTO l SELECT k, v FROM l"]);
    db.cycle(&["UPDATE l SET k = 3 - k; UPDATE r SET k = 3 - k"]);
}

fn joins_of_sub_selects(db: &mut Database) {
    shop(db);
    db.run("CREATE VIEW rich AS SELECT id, city FROM customers WHERE grade > 1");
    db.stream("viewed", "WITH o AS (SELECT id, customer_id FROM orders WHERE amount > 5) SELECT o.id, rich.city FROM o JOIN rich ON rich.id = o.customer_id");
    db.stream("twice", "WITH o AS (SELECT customer_id AS c, count(*) AS n FROM orders GROUP BY 1) SELECT a.c, b.c AS other, a.n FROM o AS a JOIN o AS b ON a.n = b.n");
    db.stream("either_way", "SELECT city, n FROM (SELECT city, 1 AS n FROM customers UNION ALL SELECT item, qty FROM items) AS u JOIN orders AS o ON o.id = u.n");
    all_changes(db);
}

fn a_join_in_which_only_one_side_ever_changes(db: &mut Database) {
    shop(db);
    db.stream("pairs", "SELECT o.id, c.city FROM orders AS o JOIN customers AS c ON c.id = o.customer_id");
    db.cycle(&["UPDATE orders SET customer_id = 2 WHERE id < 9"]);
    db.cycle(&["DELETE FROM orders WHERE id < 4"]);
    db.cycle(&["UPDATE customers SET city = 'moved' WHERE id = 2"]);
    db.cycle(&["DELETE FROM customers WHERE id = 2"]);
    db.cycle(&["INSERT INTO customers VALUES (2, 'new', 2)"]);
}

fn foreign_keys_and_cascades(db: &mut Database) {
    db.run("CREATE TABLE parent (id int PRIMARY KEY, name text); \
            CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE, v int); \
            CREATE TABLE toy (id int, child_id int REFERENCES child ON DELETE SET NULL)");
    db.run("INSERT INTO parent VALUES (1, 'a'), (2, 'b'), (3, 'c'); INSERT INTO child SELECT i, i % 3 + 1, i FROM generate_series(1, 9) AS i; \
            INSERT INTO toy SELECT i, i FROM generate_series(1, 9) AS i");
    db.stream("pairs", "SELECT child.id, parent.name, child.v FROM child JOIN parent ON parent.id = child.parent_id");
    db.stream("toys", "SELECT toy.id, child.v FROM toy JOIN child ON child.id = toy.child_id");
    db.stream("loose", "SELECT child_id, count(*) AS n FROM toy GROUP BY child_id");
    db.cycle(&["DELETE FROM parent WHERE id = 1; INSERT INTO parent VALUES (4, 'd')"]);
    db.cycle(&["UPDATE parent SET id = 20 WHERE id = 2; UPDATE child SET v = v + 1"]);
    db.cycle(&[
        "INSERT INTO child VALUES (100, 4, 1), (101, 20, 1); UPDATE toy SET child_id = 100 WHERE child_id IS NULL",
    ]);
    db.cycle(&["DELETE FROM child WHERE id = 100; DELETE FROM parent"]);
}

fn join_under_union_all(db: &mut Database) {
    shop(db);
    db.stream("all_of_it", "SELECT o.id, c.city AS label FROM orders AS o JOIN customers AS c ON c.id = o.customer_id \
                            UNION ALL SELECT order_id, item FROM items WHERE qty > 0 UNION ALL SELECT id, city FROM customers");
    db.stream("counted", "SELECT label, count(*) AS n FROM (SELECT city AS label FROM customers UNION ALL SELECT city FROM customers UNION ALL \
                          SELECT item FROM items) AS u GROUP BY label");
    all_changes(db);
}

fn the_same_table_four_times(db: &mut Database) {
    db.run("CREATE TABLE e (a int, b int); INSERT INTO e VALUES (1, 2), (2, 3), (3, 4), (4, 1), (2, 4), (2, 4)");
    db.stream(
        "paths",
        "SELECT w.a, z.b FROM e AS w JOIN e AS x ON x.a = w.b JOIN e AS y ON y.a = x.b JOIN e AS z ON z.a = y.b",
    );
    db.stream(
        "triangles",
        "SELECT count(*) AS n FROM e AS x, e AS y, e AS z WHERE x.b = y.a AND y.b = z.a AND z.b = x.a",
    );
    db.cycle(&["INSERT INTO e VALUES (4, 2), (3, 2); DELETE FROM e WHERE a = 1"]);
    db.cycle(&["UPDATE e SET b = 1 WHERE b = 4"]);
    db.cycle(&[
        "DELETE FROM e WHERE ctid = (SELECT min(ctid) FROM e); INSERT INTO e VALUES (NULL, 1), (1, NULL), (1, 1)",
    ]);
}

fn a_large_table_joined_to_small_changes(db: &mut Database) {
    db.run("CREATE TABLE fact (id int PRIMARY KEY, dim int, v int); CREATE TABLE dim (id int PRIMARY KEY, name text)");
    db.run(
        "INSERT INTO dim SELECT i, 'd' || i % 7 FROM generate_series(1, 100) AS i; \
            INSERT INTO fact SELECT i, i % 120, i % 11 FROM generate_series(1, 10000) AS i; ANALYZE",
    );
    db.stream("joined", "SELECT f.id, d.name, f.v FROM fact AS f JOIN dim AS d ON d.id = f.dim WHERE f.v > 8");
    db.stream(
        "sums",
        "SELECT d.name, sum(f.v) AS s, count(*) AS n FROM fact AS f JOIN dim AS d ON d.id = f.dim GROUP BY d.name",
    );
    db.cycle(&["UPDATE fact SET v = v + 1 WHERE id % 1000 = 1; UPDATE dim SET name = 'other' WHERE id = 5"]);
    db.cycle(&["INSERT INTO dim VALUES (110, 'd1'); DELETE FROM fact WHERE id < 300; DELETE FROM dim WHERE id = 9"]);
    db.cycle(&["UPDATE fact SET dim = dim % 50 WHERE id > 5000"]);
}

fn changes_that_no_use_of_a_source_wants(db: &mut Database) {
    shop(db);
    db.run("CREATE DOMAIN quality AS int; ALTER TABLE items ADD rank quality; UPDATE items SET rank = qty; UPDATE items SET qty = 5 WHERE qty = 0");
    let orders = "orders AS o JOIN customers AS c ON c.id = o.customer_id";
    db.stream("narrow", &format!("SELECT o.id, c.city FROM {orders} WHERE o.amount > 20 AND c.grade = 1"));
    db.stream(
        "ratio",
        "SELECT o.id, i.item FROM orders AS o JOIN items AS i ON i.order_id = o.id WHERE 10 / i.qty > 2",
    );
    db.stream("ranked", "SELECT c.city, count(*) AS n FROM items AS i JOIN orders AS o ON o.id = i.order_id JOIN customers AS c ON c.id = o.customer_id WHERE i.rank >= 1 AND o.amount BETWEEN 5 AND 15 GROUP BY c.city");
    db.stream("itself", "SELECT a.id, b.id AS other FROM orders AS a JOIN orders AS b ON b.customer_id = a.customer_id WHERE a.amount > 10 AND b.amount < 8");
    db.stream("whole", "SELECT a.id, b.id AS other FROM orders AS a JOIN orders AS b ON b.customer_id = a.customer_id AND a.amount > 25");
    db.stream("without", "SELECT c.id, c.city FROM customers AS c WHERE NOT EXISTS (SELECT FROM orders AS o WHERE o.customer_id = c.id AND o.amount > 12 AND c.grade > 1)");
    db.stream("padded", "SELECT c.id, o.id AS o FROM customers AS c LEFT JOIN orders AS o ON o.customer_id = c.id AND o.amount > 12 AND c.grade > 1 WHERE c.city <> 'c1'");
    db.stream(
        "everybody",
        "SELECT c.id, o.id AS o FROM customers AS c FULL JOIN orders AS o ON o.customer_id = c.id AND o.amount > 12",
    );
    db.cycle(&[
        "UPDATE items SET qty = 0",
        "UPDATE items SET qty = 3 WHERE order_id < 9",
        "UPDATE items SET qty = 5 WHERE qty = 0",
    ]);
    db.cycle(&[
        "UPDATE orders SET amount = amount + 100 WHERE id % 5 = 0",
        "UPDATE customers SET grade = 1 WHERE id > 5",
    ]);
    db.cycle(&[
        "UPDATE orders SET amount = 1 WHERE id % 4 = 0",
        "UPDATE customers SET city = 'c1' WHERE id < 3",
        "UPDATE items SET rank = NULL WHERE order_id % 3 = 0",
    ]);
    db.cycle(&[
        "UPDATE customers SET grade = NULL WHERE id = 6",
        "DELETE FROM orders WHERE amount = 1",
        "DELETE FROM items WHERE qty = 3",
    ]);
    db.cycle(&[
        "UPDATE orders SET amount = 30 - amount",
        "UPDATE customers SET grade = 2",
        "UPDATE items SET rank = 2",
    ]);
}
