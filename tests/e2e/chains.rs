//! Stream tables over stream tables.

use pgtrickle_tests::{Database, tests};

tests![
    changes_travel_down_a_chain,
    a_diamond_meets_again,
    a_chain_refreshed_in_one_transaction,
    a_chain_refreshed_while_writing_goes_on,
    a_downstream_refresh_alone_sees_what_is_stored,
    a_source_and_a_stream_table_over_it_joined,
    truncate_travels_as_a_difference,
    two_levels_of_aggregates_with_empty_groups,
];

fn orders(db: &mut Database) {
    db.run("CREATE TABLE orders (id int PRIMARY KEY, region text, amount int)");
    db.run("INSERT INTO orders SELECT i, 'r' || i % 4, i % 7 FROM generate_series(1, 40) AS i");
}

const CHANGES: [&str; 5] = [
    "INSERT INTO orders VALUES (100, 'r9', 5), (101, NULL, NULL), (102, 'r1', 6)",
    "UPDATE orders SET region = 'r2' WHERE id % 3 = 0; UPDATE orders SET amount = amount + 1 WHERE id < 10",
    "DELETE FROM orders WHERE region = 'r3'; INSERT INTO orders VALUES (103, 'r3', 1)",
    "DELETE FROM orders WHERE region IS NULL OR region = 'r9'",
    "UPDATE orders SET id = id + 1000, amount = NULL WHERE id % 2 = 0",
];

fn changes_travel_down_a_chain(db: &mut Database) {
    orders(db);
    db.stream("one", "SELECT id, region, amount FROM orders WHERE amount > 1");
    db.stream(
        "two",
        "SELECT region, count(*) AS n, sum(amount) AS total, max(amount) AS most FROM one GROUP BY region",
    );
    db.stream("three", "SELECT n, total FROM two WHERE total > 10");
    db.stream("four", "SELECT sum(total) AS total, count(*) AS regions FROM three");
    for change in CHANGES {
        db.cycle(&[change]);
    }
}

fn a_diamond_meets_again(db: &mut Database) {
    orders(db);
    db.stream("sums", "SELECT region, sum(amount) AS total FROM orders GROUP BY region");
    db.stream("counts", "SELECT region, count(*) AS n FROM orders GROUP BY region");
    db.stream("means", "SELECT region, total, n, total::numeric / n AS mean FROM sums JOIN counts USING (region)");
    for change in CHANGES {
        db.cycle(&[change]);
    }
}

fn chain(db: &mut Database) {
    orders(db);
    db.stream("one", "SELECT id, region, amount FROM orders WHERE amount IS NOT NULL");
    db.stream("two", "SELECT region, sum(amount) AS total FROM one GROUP BY region");
    db.stream("three", "SELECT DISTINCT total FROM two");
}

fn a_chain_refreshed_in_one_transaction(db: &mut Database) {
    chain(db);
    for change in CHANGES {
        db.run("BEGIN");
        db.run(change);
        db.refresh_all();
        db.check();
        db.run("COMMIT");
        db.check();
        db.cycle(&["UPDATE orders SET amount = amount + 1 WHERE id % 5 = 0"]);
    }
}

fn a_chain_refreshed_while_writing_goes_on(db: &mut Database) {
    chain(db);
    for change in CHANGES {
        db.run("BEGIN; UPDATE orders SET amount = amount + 1 WHERE id % 5 = 1");
        db.refresh("one");
        db.run(change);
        db.refresh("two");
        db.refresh("one");
        db.refresh("three");
        db.run("UPDATE orders SET region = 'r1' WHERE id % 7 = 1");
        db.refresh("two");
        db.run("COMMIT");
        db.cycle(&[]);
    }
}

fn a_downstream_refresh_alone_sees_what_is_stored(db: &mut Database) {
    chain(db);
    let stored = "SELECT array_agg(total ORDER BY total)::text FROM (SELECT DISTINCT total FROM two) AS x";
    db.run(CHANGES[1]);
    db.refresh("three");
    assert_eq!(db.text("SELECT array_agg(total ORDER BY total)::text FROM three"), db.text(stored));
    db.refresh("two");
    db.refresh("three");
    assert_eq!(db.text("SELECT array_agg(total ORDER BY total)::text FROM three"), db.text(stored));
    db.cycle(&[]);
}

fn a_source_and_a_stream_table_over_it_joined(db: &mut Database) {
    orders(db);
    db.stream("sums", "SELECT region, sum(amount) AS total FROM orders GROUP BY region");
    db.stream("shares", "SELECT o.id, o.amount, s.total FROM orders AS o JOIN sums AS s ON s.region = o.region");
    for change in CHANGES {
        db.cycle(&[change]);
    }
}

fn truncate_travels_as_a_difference(db: &mut Database) {
    chain(db);
    db.run("TRUNCATE orders; INSERT INTO orders VALUES (1, 'r1', 5), (2, 'r1', 7)");
    db.refresh("one");
    db.accept_full();
    db.cycle_in_full(&[]);
    assert_eq!(db.lines("SELECT total FROM three"), ["12"]);
    db.cycle(&["UPDATE orders SET amount = 6 WHERE id = 1"]);
}

fn two_levels_of_aggregates_with_empty_groups(db: &mut Database) {
    orders(db);
    db.stream("counts", "SELECT region, count(*) AS n FROM orders GROUP BY region");
    db.stream("histogram", "SELECT n, count(*) AS regions, min(region) AS least FROM counts GROUP BY n");
    db.cycle(&["DELETE FROM orders"]);
    assert_eq!(db.number("SELECT count(*) FROM histogram"), 0);
    db.cycle(&["INSERT INTO orders VALUES (1, NULL, 1), (2, NULL, 2), (3, '', 3)"]);
    db.cycle(&["DELETE FROM orders WHERE id = 1"]);
}
