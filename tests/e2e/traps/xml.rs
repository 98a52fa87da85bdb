//! XML: a type without equality, built, taken apart and aggregated.

use pgtrickle_tests::{Database, tests};

tests![
    documents_as_they_are,
    tables_from_xml,
    tables_from_xml_between_joins,
    documents_built,
    documents_aggregated,
    what_is_no_document_fails,
];

fn documents(db: &mut Database) {
    db.run("CREATE TABLE d (id int PRIMARY KEY, g int, doc xml); CREATE TABLE bag (k text, doc xml)");
    db.run(
        "INSERT INTO d VALUES (1, 1, '<r><i n=\"1\">a</i><i n=\"2\">b</i><i n=\"2\">b</i></r>'), (2, 1, '<r/>'), (3, 2, NULL), \
         (4, NULL, '<r><i n=\"1\">c</i><j>no</j><i/></r>')",
    );
    db.run("INSERT INTO bag VALUES ('a', '<x>1</x>'), ('a', '<x>1</x>'), ('b', NULL), (NULL, '<x>2</x>')");
}

fn changes(db: &mut Database) {
    db.cycle(&["INSERT INTO d VALUES (5, 2, '<r><i n=\"3\">a</i></r>'); DELETE FROM bag WHERE ctid = '(0,1)'"]);
    db.cycle(&["UPDATE d SET doc = '<r><i n=\"1\">a</i><i n=\"1\">z</i></r>' WHERE id = 1; UPDATE bag SET k = 'b' WHERE k IS NULL"]);
    db.cycle(&[
        "UPDATE d SET g = 1 WHERE id = 4; INSERT INTO bag SELECT * FROM bag",
        "UPDATE d SET doc = NULL WHERE id = 2; DELETE FROM bag WHERE k = 'a'",
    ]);
    db.cycle(&["UPDATE d SET doc = '<r><i n=\"7\">b</i></r>' WHERE doc IS NULL; UPDATE bag SET doc = '<x>3</x>' WHERE doc IS NULL"]);
    db.cycle(&["DELETE FROM d; DELETE FROM bag"]);
    db.cycle(&["INSERT INTO d VALUES (1, 1, '<r><i n=\"1\">a</i></r>'); INSERT INTO bag VALUES ('a', '<x>1</x>')"]);
}

fn documents_as_they_are(db: &mut Database) {
    documents(db);
    db.stream("kept", "SELECT id, doc FROM d WHERE doc IS NOT NULL");
    db.stream("bags", "SELECT doc FROM bag");
    db.stream("every", "SELECT doc, g::text FROM d UNION ALL SELECT doc, k FROM bag");
    db.stream("paired", "SELECT d.id, bag.doc FROM d LEFT JOIN bag ON bag.k = (xpath('//i/text()', d.doc))[1]::text");
    changes(db);
}

fn tables_from_xml(db: &mut Database) {
    documents(db);
    db.stream("items", "SELECT d.id, x.* FROM d, XMLTABLE('/r/i' PASSING d.doc COLUMNS place FOR ORDINALITY, n int PATH '@n' DEFAULT 0, item text PATH '.') AS x");
    db.stream("counted", "SELECT x.item, count(*) AS times, sum(x.n) AS total FROM d, XMLTABLE('/r/i' PASSING d.doc COLUMNS n int PATH '@n', item text PATH '.') AS x GROUP BY x.item");
    db.stream("named", "SELECT d.id, x.v FROM d, XMLTABLE(XMLNAMESPACES('http://x' AS x), '//i' PASSING d.doc COLUMNS v text PATH '@n') AS x");
    db.stream("paths", "SELECT d.id, u::text FROM d, unnest(xpath('/r/i', d.doc)) AS u");
    changes(db);
}

fn tables_from_xml_between_joins(db: &mut Database) {
    documents(db);
    db.stream("padded", "SELECT d.id, x.item FROM d LEFT JOIN XMLTABLE('/r/i' PASSING d.doc COLUMNS item text PATH '.') AS x ON x.item <> 'b'");
    db.stream("matched", "SELECT d.id, bag.k FROM d, XMLTABLE('/r/i' PASSING d.doc COLUMNS item text PATH '.') AS x JOIN bag ON bag.k = x.item");
    db.stream("found", "SELECT k FROM bag WHERE EXISTS (SELECT FROM d, XMLTABLE('/r/i' PASSING d.doc COLUMNS item text PATH '.') AS x WHERE x.item = bag.k)");
    changes(db);
}

fn documents_built(db: &mut Database) {
    documents(db);
    db.stream("elements", "SELECT id, xmlelement(name item, xmlattributes(id AS n, g), doc, 'text <') AS e FROM d");
    db.stream("forests", "SELECT xmlforest(k, doc AS inner) AS f, xmlconcat(doc, doc) AS twice FROM bag");
    db.stream("around", "SELECT id, xmlroot(doc, version '1.1', standalone yes) AS r, xmlpi(name php, 'x') AS p, xmlcomment('c' || id) AS c FROM d");
    db.stream("texts", "SELECT id, xmlserialize(CONTENT doc AS text) AS t, doc IS DOCUMENT AS whole FROM d");
    db.stream(
        "picked",
        "SELECT id FROM d WHERE xmlexists('//i[@n=\"1\"]' PASSING doc) OR xpath_exists('/r[not(i)]', doc)",
    );
    changes(db);
}

fn documents_aggregated(db: &mut Database) {
    documents(db);
    db.stream("together", "SELECT g, xmlagg(doc ORDER BY id) AS docs, count(doc) AS n FROM d GROUP BY g");
    db.stream(
        "others",
        "SELECT xmlagg(xmlelement(name i, k) ORDER BY k, doc::text) FILTER (WHERE k <> 'a') AS docs FROM bag",
    );
    db.stream("parts", "SELECT x.n, xmlagg(x.item ORDER BY d.id, x.place) AS items FROM d, XMLTABLE('/r/i' PASSING d.doc COLUMNS place FOR ORDINALITY, n int PATH '@n', item xml PATH 'text()') AS x GROUP BY x.n");
    db.stream("ordered", "SELECT id, xmlagg(doc) OVER (PARTITION BY g ORDER BY id) AS before FROM d");
    changes(db);
}

fn what_is_no_document_fails(db: &mut Database) {
    db.run("CREATE TABLE raw (id int PRIMARY KEY, t text); INSERT INTO raw VALUES (1, '<a>1</a>')");
    db.stream("parsed", "SELECT id, xmlparse(DOCUMENT t) AS doc FROM raw");
    db.run("INSERT INTO raw VALUES (2, '<a>')");
    let failure = db.fails("SELECT pgtrickle.refresh_stream_table('parsed')");
    assert_eq!(failure.sqlstate, "2200M", "{failure:?}");
    assert_eq!(db.text("SELECT string_agg(doc::text, ',') FROM parsed"), "<a>1</a>");
    db.cycle(&["UPDATE raw SET t = '<a>2</a>' WHERE id = 2"]);
}
