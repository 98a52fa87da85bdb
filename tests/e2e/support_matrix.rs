//! The support matrix of `docs/DVM_OPERATORS.md`, taken at its word: each row's query is created in every mode, and what is
//! accepted has to stay equal to its query while all tables change.

use crate::documentation::{read, run_examples};
use pgtrickle_tests::{Database, create, tests};
use std::collections::BTreeSet;

tests![every_construct_is_maintained_as_the_matrix_says];

const PAGE: &str = "docs/DVM_OPERATORS.md";

/// A row of the matrix.
struct Row {
    construct: String,
    query: String,
    full: bool,
    differential: bool,
    immediate: bool,
}

const DATA: &str = "
    INSERT INTO customers SELECT i, 'customer ' || i, (ARRAY['fr', 'de', NULL, 'uk'])[i % 4 + 1], i % 3 = 0 FROM generate_series(1, 9) AS i;
    INSERT INTO orders
        SELECT i, nullif(i % 8, 7), i % 10, i / 4.0, now() - i * interval '5 hours', CASE i % 3 WHEN 0 THEN '{a,b,a}' WHEN 1 THEN '{}' END::text[],
            CASE WHEN i % 4 > 0 THEN jsonb_build_array(jsonb_build_object('item', i), jsonb_build_object('item', NULL)) END
        FROM generate_series(1, 20) AS i;
    INSERT INTO clicks SELECT (ARRAY['fr', 'de', 'es'])[i % 3 + 1], i % 4 FROM generate_series(1, 9) AS i;
    INSERT INTO clicks VALUES (NULL, NULL), ('fr', 2), ('fr', 2);
    INSERT INTO readings SELECT (ARRAY['a', 'b', NULL])[i % 3 + 1], i FROM generate_series(1, 9) AS i;
    INSERT INTO places VALUES (1, 'Lyon'), (NULL, NULL);
    INSERT INTO capitals VALUES (2, 'Paris', 'fr'), (2, 'Paris', 'fr');
    INSERT INTO scratch VALUES (1), (1), (NULL)";

const CHANGES: [&str; 6] = [
    "INSERT INTO customers VALUES (20, 'new', 'es', true), (21, 'nowhere', NULL, false);
     INSERT INTO orders (id, customer, amount, price, placed, tags, lines) VALUES (50, 20, 30, 0.10, now(), '{c,NULL}', '[{\"item\": 1}, {\"item\": 1}]'), (51, NULL, 0, NULL, now() - interval '3 days', NULL, NULL);
     INSERT INTO clicks VALUES ('es', 7), ('es', 7), (NULL, 5); INSERT INTO readings VALUES ('a', NULL), ('z', 4);
     INSERT INTO capitals VALUES (NULL, NULL, NULL); INSERT INTO places VALUES (1, 'Lyon'); INSERT INTO scratch VALUES (2)",
    "UPDATE orders SET customer = customer + 1, amount = amount + 3 WHERE id % 4 = 0;
     UPDATE customers SET country = 'fr' WHERE country IS NULL OR id = 1; UPDATE clicks SET page = page + 1 WHERE country = 'de';
     UPDATE readings SET site = 'a' WHERE site = 'b'; UPDATE places SET city = 'Nice' WHERE id = 1; UPDATE scratch SET id = 3; REFRESH MATERIALIZED VIEW pages",
    "DELETE FROM orders WHERE amount > 8 OR customer IS NULL; DELETE FROM customers WHERE id IN (2, 20);
     DELETE FROM clicks WHERE page IS NULL OR page = 2; DELETE FROM readings WHERE value < 5; DELETE FROM capitals WHERE id = 2",
    "UPDATE orders SET id = id + 100, price = price * 1.00, tags = '{x}', lines = lines || lines, placed = now() - interval '2 days' WHERE id < 12;
     UPDATE customers SET vip = NOT vip, name = name || '!'; UPDATE clicks SET country = NULL WHERE country = 'fr'; REFRESH MATERIALIZED VIEW pages",
    "DELETE FROM orders; DELETE FROM clicks; DELETE FROM readings; DELETE FROM places; DELETE FROM scratch; REFRESH MATERIALIZED VIEW pages",
    "DELETE FROM customers WHERE id > 4; INSERT INTO orders VALUES (1, 1, 2, 1.5, now(), '{a}', '[{}]'), (2, 3, 2, 1.5, now(), NULL, NULL);
     INSERT INTO clicks VALUES ('fr', 3), (NULL, 2), ('de', 2), ('de', 2); INSERT INTO places VALUES (5, 'Rome')",
];

fn every_construct_is_maintained_as_the_matrix_says(db: &mut Database) {
    run_examples(db, PAGE);
    db.run(DATA);
    let rows = matrix();
    assert!(rows.len() > 60, "{} rows were understood", rows.len());
    let names: BTreeSet<&str> = rows.iter().map(|row| row.construct.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "a construct has two rows");
    let mut incremental = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let name = format!("st{number}");
        assert!(row.full || !row.differential, "{}: what has a delta can be recomputed too", row.construct);
        for (mode, promised) in [("IMMEDIATE", row.immediate), ("FULL", row.full), ("DIFFERENTIAL", row.differential)] {
            make(db, row, &name, mode, promised);
            if promised {
                db.run(&format!("SELECT pgtrickle.drop_stream_table('{name}')"));
            }
        }
        if row.full {
            make(db, row, &name, if row.differential { "DIFFERENTIAL" } else { "FULL" }, true);
            db.track_by_value(&name, &row.query);
        }
        if row.differential {
            incremental.push(name);
        }
    }
    for change in CHANGES {
        db.run(change);
        // One transaction, so that now() is the same moment in the stream tables and in their queries.
        db.run("BEGIN");
        db.check_after_refresh();
        db.run("COMMIT");
        for name in &incremental {
            assert_eq!(db.fallback_of(name), None);
        }
    }
}

/// Creates the row's example, which must succeed exactly when `promised`.
fn make(db: &mut Database, row: &Row, name: &str, mode: &str, promised: bool) {
    let call = create(name, &row.query, &format!("schedule => '1h', refresh_mode => '{mode}'"));
    match db.attempt(&call) {
        Ok(()) => assert!(promised, "{} is accepted in {mode} mode: {}", row.construct, row.query),
        Err(failure) => {
            assert!(!promised, "{} is refused in {mode} mode: {failure:?}\n{}", row.construct, row.query);
            let sqlstate = if mode == "IMMEDIATE" { "22023" } else { "0A000" };
            assert_eq!(failure.sqlstate, sqlstate, "{}: {failure:?}", row.construct);
        }
    }
}

/// The rows of the page's last table.
fn matrix() -> Vec<Row> {
    let page = read(PAGE);
    let (_, section) = page.split_once("## Support matrix").expect("the page has a matrix");
    section.lines().filter(|line| line.starts_with("| ") && line.contains('`')).map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
    let [construct, query, full, differential, immediate] = cells[..] else {
        panic!("not a row of five cells: {line}")
    };
    let query = query.strip_prefix('`').and_then(|query| query.strip_suffix('`'));
    let accepted = |mark| match mark {
        "✓" => true,
        "–" => false,
        _ => panic!("neither ✓ nor –: {line}"),
    };
    Row {
        construct: construct.to_string(),
        query: query.unwrap_or_else(|| panic!("no query: {line}")).to_string(),
        full: accepted(full),
        differential: accepted(differential),
        immediate: accepted(immediate),
    }
}
