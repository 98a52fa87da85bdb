//! What a query names is renamed: the query goes on meaning it.

use pgtrickle_tests::{Database, create, refresh, tests};

tests![
    a_views_columns_are_renamed,
    a_view_is_renamed_and_moved,
    a_view_reads_with_other_rights,
    sources_are_renamed,
    another_table_takes_the_name,
    a_schema_of_all_that_a_query_names_is_renamed,
    operators_and_collations_are_moved,
    labels_that_a_query_names_are_renamed,
    attributes_that_a_query_names_are_renamed,
    functions_and_types_are_renamed,
    what_does_not_fit_any_more_is_refused,
];

/// The same for the query in both modes.
fn stream(db: &mut Database, name: &str, query: &str) {
    db.stream(name, query);
    let full = format!("{name}_full");
    db.run(&create(&full, query, "schedule => '1h', refresh_mode => 'FULL'"));
    db.track(&full, query);
}

/// The query is now written like this.
fn reworded(db: &mut Database, name: &str, query: &str) {
    for name in [name.to_string(), format!("{name}_full")] {
        db.untrack(&name);
        db.track(&name, query);
    }
}

#[track_caller]
fn verified(db: &mut Database) {
    for name in db.lines("SELECT pgt_relid::regclass FROM pgtrickle.pgt_stream_tables ORDER BY pgt_id") {
        assert!(db.holds(&format!("SELECT rows_missing + rows_extra = 0 FROM pgtrickle.verify('{name}')")), "{name}");
    }
}

/// After a change of names the next refresh may recompute, and later ones are differential again.
#[track_caller]
fn goes_on(db: &mut Database, changes: &[&str]) {
    db.cycle_in_full(changes);
    verified(db);
    // In a session that knows nothing.
    let mut other = db.connect();
    other.run(changes[0]);
    for name in db.lines("SELECT pgt_relid::regclass FROM pgtrickle.pgt_stream_tables ORDER BY pgt_id") {
        other.run(&refresh(&name));
    }
    db.check();
    db.cycle_in_full(changes);
    verified(db);
}

fn a_views_columns_are_renamed(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, a int, b int); INSERT INTO t SELECT i, i, i % 3 FROM generate_series(1, 9) AS i");
    db.run("CREATE VIEW v AS SELECT id, a, b FROM t WHERE a > 1; CREATE VIEW above AS SELECT v.*, v AS row FROM v");
    stream(db, "columns", "SELECT id, a FROM v");
    stream(db, "sums", "SELECT b, sum(a) AS s FROM above GROUP BY b");
    stream(db, "joined", "SELECT x.id, y.a FROM v AS x JOIN v AS y USING (id, b)");
    stream(db, "printed", "SELECT row_to_json(v)::text AS j, id FROM v");
    stream(db, "rows", "SELECT v AS r FROM v");
    stream(db, "inner_rows", "SELECT to_jsonb(above) AS j FROM above");
    let change = ["UPDATE t SET a = a + 1; INSERT INTO t SELECT max(id) + 1, 7, 1 FROM t"];
    goes_on(db, &change);
    // The names are swapped, and one of them is new.
    for (rename, now) in [
        ("ALTER VIEW v RENAME COLUMN a TO c", ["c", "b"]),
        ("ALTER TABLE v RENAME COLUMN b TO a", ["c", "a"]),
        ("ALTER VIEW v RENAME COLUMN c TO b", ["b", "a"]),
    ] {
        db.run(rename);
        let [a, b] = now;
        reworded(db, "columns", &format!("SELECT id, {a} AS a FROM v"));
        reworded(db, "joined", &format!("SELECT x.id, y.{a} AS a FROM v AS x JOIN v AS y USING (id, {b})"));
        goes_on(db, &change);
    }
    db.run("ALTER VIEW above RENAME COLUMN a TO other");
    reworded(db, "sums", "SELECT b, sum(other) AS s FROM above GROUP BY b");
    goes_on(db, &change);
    assert!(
        db.text("SELECT defining_query FROM pgtrickle.pgt_stream_tables WHERE pgt_name = 'sums'").contains("other")
    );
}

fn a_view_is_renamed_and_moved(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1), (2, 2); CREATE SCHEMA s");
    db.run("CREATE VIEW v AS SELECT id, a FROM t WHERE a > 1");
    stream(db, "columns", "SELECT id, a FROM v");
    stream(db, "printed", "SELECT row_to_json(v)::text AS j FROM v");
    let change = ["UPDATE t SET a = a + 1"];
    db.run("ALTER VIEW v RENAME TO w; CREATE VIEW v AS SELECT 7 AS id, 7 AS a");
    reworded(db, "columns", "SELECT id, a FROM w");
    reworded(db, "printed", "SELECT row_to_json(w)::text AS j FROM w");
    goes_on(db, &change);
    db.run("ALTER VIEW w SET SCHEMA s; CREATE VIEW w AS SELECT 8 AS id, 8 AS a");
    reworded(db, "columns", "SELECT id, a FROM s.w");
    reworded(db, "printed", "SELECT row_to_json(w)::text AS j FROM s.w");
    goes_on(db, &change);
    db.run("ALTER SCHEMA s RENAME TO r; CREATE SCHEMA s; ALTER VIEW w SET SCHEMA s");
    reworded(db, "columns", "SELECT id, a FROM r.w");
    reworded(db, "printed", "SELECT row_to_json(w)::text AS j FROM r.w");
    goes_on(db, &change);
}

fn a_view_reads_with_other_rights(db: &mut Database) {
    let role = format!("reader_{}", db.name());
    db.run(&format!(
        "CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA public TO {role}; GRANT USAGE ON SCHEMA pgtrickle TO {role}"
    ));
    db.run(&format!("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1), (2, 2); CREATE VIEW v AS SELECT id, a FROM t; GRANT SELECT ON v TO {role}"));
    let mut reader = db.connect_as(&role);
    reader.run(&create("lent", "SELECT id, a FROM v", "schedule => '1h'"));
    db.stream("direct", "SELECT id, a FROM v");
    db.run("UPDATE t SET a = a + 1");
    reader.run(&refresh("lent"));
    db.cycle(&[]);
    // As REFRESH MATERIALIZED VIEW does.
    db.run("ALTER VIEW v SET (security_invoker)");
    let failure = reader.fails(&refresh("lent"));
    assert_eq!(failure.sqlstate, "42501", "{failure:?}");
    db.cycle_in_full(&["UPDATE t SET a = a + 1"]);
    db.run("ALTER VIEW v RESET (security_invoker)");
    reader.run(&refresh("lent"));
    assert_eq!(db.number("SELECT sum(a) FROM lent"), 7);
    db.cycle_in_full(&[]);
    // The view's owner would see other rows.
    db.run(&format!(
        "CREATE POLICY few ON t USING (a > 3); ALTER TABLE t ENABLE ROW LEVEL SECURITY; GRANT ALL ON t TO {role}"
    ));
    db.cycle(&["UPDATE t SET a = a + 1"]);
    db.run(&format!("ALTER VIEW v OWNER TO {role}"));
    let failure = db.fails(&refresh("direct"));
    assert_eq!(failure.sqlstate, "42501", "{failure:?}");
    db.run("ALTER VIEW v SET (security_invoker)");
    db.cycle_in_full(&[]);
    db.cycle(&["UPDATE t SET a = a + 1"]);
    db.run(&format!("ALTER VIEW v OWNER TO CURRENT_USER; SELECT pgtrickle.drop_stream_table('lent'); DROP OWNED BY {role}; DROP ROLE {role}"));
}

fn sources_are_renamed(db: &mut Database) {
    db.run("CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY, a int, b int); INSERT INTO s.t SELECT i, i, i % 3 FROM generate_series(1, 9) AS i");
    db.run("CREATE MATERIALIZED VIEW s.m AS SELECT id, a FROM s.t");
    stream(db, "sums", "SELECT b, sum(a) AS s FROM s.t GROUP BY b");
    stream(db, "joined", "SELECT id, t.a, m.a AS old FROM s.t JOIN s.m USING (id)");
    // Columns that are gone, in rows of joins.
    db.run("CREATE TABLE holed (gone int, k int, unused int, v text); ALTER TABLE holed DROP COLUMN gone; INSERT INTO holed (k, v) VALUES (1, 'x'), (2, NULL)");
    stream(
        db,
        "rows_of_joins",
        "SELECT row_to_json(j)::text AS j FROM (SELECT h.k, h.v, o.v AS w FROM holed AS h LEFT JOIN holed AS o USING (k, v)) AS j",
    );
    stream(
        db,
        "whole_joins",
        "SELECT row_to_json(j)::text AS j FROM (holed AS h JOIN (SELECT k AS x, v AS y FROM holed) AS o ON h.k = o.x) AS j",
    );
    db.run("CREATE TABLE named (id int PRIMARY KEY, a int); INSERT INTO named VALUES (1, 2), (3, 4)");
    stream(
        db,
        "fields_of_joins",
        "SELECT row_to_json(j)::text AS j FROM (named AS x JOIN named AS y USING (id, a)) AS j WHERE (j).id > 0",
    );
    db.run("CREATE VIEW shown AS SELECT id, a FROM named; CREATE SCHEMA elsewhere");
    stream(db, "rows_of_views", "SELECT to_jsonb(w) AS j FROM shown AS w");
    db.run("ALTER VIEW shown RENAME TO seen; ALTER VIEW seen SET SCHEMA elsewhere");
    reworded(db, "rows_of_views", "SELECT to_jsonb(w) AS j FROM elsewhere.seen AS w");
    db.run("ALTER TABLE named RENAME COLUMN a TO b; ALTER TABLE named RENAME COLUMN id TO key");
    reworded(
        db,
        "fields_of_joins",
        "SELECT row_to_json(j)::text AS j FROM (named AS x JOIN named AS y USING (key, b)) AS j(id, a) WHERE j.id > 0",
    );
    let joined = |t: &str, m: &str, id: &str, a: &str| {
        format!("SELECT {t}.{id} AS id, {t}.{a} AS a, m.a AS old FROM s.{t} JOIN s.{m} AS m(id, a) ON {t}.{id} = m.id")
    };
    db.run("ALTER TABLE s.t RENAME TO u");
    reworded(db, "sums", "SELECT b, sum(a) AS s FROM s.u GROUP BY b");
    reworded(db, "joined", &joined("u", "m", "id", "a"));
    goes_on(db, &["UPDATE s.u SET a = a + 1; INSERT INTO holed (k, v) VALUES (1, 'y')"]);
    db.run("ALTER TABLE s.u RENAME COLUMN a TO b2; ALTER TABLE s.u RENAME COLUMN b TO a; ALTER TABLE s.u RENAME COLUMN b2 TO b; ALTER TABLE s.u RENAME COLUMN id TO key");
    reworded(db, "sums", "SELECT a AS b, sum(b) AS s FROM s.u GROUP BY a");
    reworded(db, "joined", &joined("u", "m", "key", "b"));
    goes_on(db, &["UPDATE s.u SET b = b + 1", "REFRESH MATERIALIZED VIEW s.m"]);
    db.run("ALTER MATERIALIZED VIEW s.m RENAME TO n; ALTER MATERIALIZED VIEW s.n RENAME COLUMN id TO key");
    reworded(db, "joined", &joined("u", "n", "key", "b"));
    goes_on(db, &["UPDATE s.u SET b = b + 1", "REFRESH MATERIALIZED VIEW s.n"]);
}

fn another_table_takes_the_name(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1), (2, 2)");
    stream(db, "rows", "SELECT id, a FROM t");
    stream(db, "above", "SELECT sum(a) AS s FROM rows");
    db.run("ALTER TABLE t RENAME TO real; CREATE TABLE t (id int, a int); INSERT INTO t VALUES (9, 9)");
    db.run("ALTER TABLE rows RENAME TO real_rows; CREATE TABLE rows (id int, a int); INSERT INTO rows VALUES (9, 9)");
    db.untrack("rows");
    db.track("real_rows", "SELECT id, a FROM real");
    db.untrack("rows_full");
    db.track("rows_full", "SELECT id, a FROM real");
    for above in ["above", "above_full"] {
        db.untrack(above);
        db.track(above, "SELECT sum(a) AS s FROM real_rows");
    }
    goes_on(db, &["UPDATE real SET a = a + 1"]);
}

fn a_schema_of_all_that_a_query_names_is_renamed(db: &mut Database) {
    db.run("CREATE SCHEMA tools; CREATE TYPE tools.mood AS ENUM ('sad', 'happy'); CREATE DOMAIN tools.small AS int CHECK (VALUE < 1000)");
    db.run("CREATE TYPE tools.pair AS (x int, y text); CREATE COLLATION tools.c (provider = icu, locale = 'und')");
    db.run("CREATE FUNCTION tools.near(int, int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN abs($1 - $2) <= 1; END'");
    db.run("CREATE OPERATOR tools.<~> (FUNCTION = tools.near, LEFTARG = int, RIGHTARG = int)");
    db.run("CREATE AGGREGATE tools.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')");
    db.run("CREATE TEXT SEARCH CONFIGURATION tools.cfg (COPY = english)");
    db.run("CREATE TABLE t (id int PRIMARY KEY, m tools.mood, s text, n int)");
    db.run("INSERT INTO t SELECT i, (ARRAY['sad', 'happy', NULL])[i % 3 + 1]::tools.mood, 'cats ' || i % 4, i % 5 FROM generate_series(1, 20) AS i");
    let queries = |schema: &str| {
        [
            (
                "moods",
                format!(
                    "SELECT id, (id % 2 = 0 AND m = 'sad'::{schema}.mood) AS sad, 'happy'::{schema}.mood AS h, n::{schema}.small AS n FROM t"
                ),
            ),
            ("pairs", format!("SELECT id, ROW(id, s)::{schema}.pair AS p FROM t")),
            (
                "sorted",
                format!(
                    "SELECT s COLLATE {schema}.c AS s, count(*) AS n, max(s COLLATE {schema}.c) AS x FROM t GROUP BY s COLLATE {schema}.c"
                ),
            ),
            (
                "near_ones",
                format!("SELECT a.id, b.id AS other FROM t AS a JOIN t AS b ON a.n OPERATOR({schema}.<~>) b.n"),
            ),
            ("totals", format!("SELECT m, {schema}.total(n) AS t FROM t GROUP BY m")),
            ("texts", format!("SELECT id, to_tsvector('{schema}.cfg', s) AS v FROM t")),
            (
                "kept",
                format!(
                    "SELECT n, rank FROM (SELECT n, row_number() OVER (PARTITION BY n::{schema}.small ORDER BY id) AS rank FROM t) AS r WHERE rank <= 2"
                ),
            ),
        ]
    };
    for (name, query) in queries("tools") {
        stream(db, name, &query);
    }
    let change = [
        "UPDATE t SET n = n + 1, m = CASE WHEN id % 4 = 0 THEN 'sad' ELSE m END::text::tools.mood WHERE id % 2 = 0",
        "DELETE FROM t WHERE id % 7 = 3",
    ];
    db.cycle_in_full(&change);
    for (old, new) in [("tools", "kit"), ("kit", "box")] {
        db.run(&format!("ALTER SCHEMA {old} RENAME TO {new}; CREATE SCHEMA {old}"));
        db.run(&format!("CREATE TYPE {old}.mood AS ENUM ('angry'); CREATE FUNCTION {old}.near(int, int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT false'"));
        for (name, query) in queries(new) {
            reworded(db, name, &query);
        }
        goes_on(
            db,
            &["UPDATE t SET n = n + 1 WHERE id % 2 = 0; INSERT INTO t SELECT max(id) + 1, NULL, 'dog', 3 FROM t"],
        );
        db.run(&format!("DROP SCHEMA {old} CASCADE"));
    }
}

fn operators_and_collations_are_moved(db: &mut Database) {
    db.run("CREATE SCHEMA s; CREATE COLLATION c (provider = icu, locale = 'und'); CREATE TABLE t (id int PRIMARY KEY, n int, s text); INSERT INTO t SELECT i, i % 4, 's' || i % 3 FROM generate_series(1, 12) AS i");
    db.run("CREATE FUNCTION near(int, int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN abs($1 - $2) <= 1; END'");
    db.run("CREATE OPERATOR <~> (FUNCTION = near, LEFTARG = int, RIGHTARG = int)");
    stream(db, "near_ones", "SELECT a.id, b.id AS other FROM t AS a JOIN t AS b ON a.n <~> b.n");
    stream(db, "sorted", "SELECT s COLLATE c AS s, max(s COLLATE c) AS x FROM t GROUP BY s COLLATE c");
    db.run("ALTER OPERATOR <~> (int, int) SET SCHEMA s; ALTER COLLATION c RENAME TO d");
    db.run("CREATE OPERATOR <~> (FUNCTION = int4gt, LEFTARG = int, RIGHTARG = int)");
    reworded(db, "near_ones", "SELECT a.id, b.id AS other FROM t AS a JOIN t AS b ON a.n OPERATOR(s.<~>) b.n");
    reworded(db, "sorted", "SELECT s COLLATE d AS s, max(s COLLATE d) AS x FROM t GROUP BY s COLLATE d");
    goes_on(db, &["UPDATE t SET n = n + 1, s = s || 'x' WHERE id % 2 = 0"]);
}

fn labels_that_a_query_names_are_renamed(db: &mut Database) {
    db.run("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE DOMAIN temper AS mood; CREATE TYPE holder AS (m mood, n int); CREATE TYPE moods AS RANGE (subtype = mood)");
    db.run("CREATE TABLE t (id int PRIMARY KEY, m mood); INSERT INTO t SELECT i, (ARRAY['sad', 'ok', NULL, 'happy'])[i % 4 + 1]::mood FROM generate_series(1, 20) AS i");
    let queries = |sad: &str, ok: &str| {
        [
            ("plain", format!("SELECT id FROM t WHERE m = '{sad}' OR m IN ('{ok}')")),
            ("of_array", format!("SELECT id FROM t WHERE m = ANY ('{{{sad},{ok}}}'::mood[])")),
            ("of_row", format!("SELECT id, '({sad},1)'::holder AS h FROM t WHERE m = ('({sad},1)'::holder).m")),
            ("of_range", format!("SELECT id FROM t WHERE m <@ '[{sad},{ok}]'::moods")),
            ("of_domain", format!("SELECT id, '{sad}'::temper AS d, '{ok}'::mood::text AS o FROM t")),
        ]
    };
    for (name, query) in queries("sad", "ok") {
        stream(db, name, &query);
    }
    db.cycle_in_full(&["UPDATE t SET m = 'sad' WHERE id % 3 = 0"]);
    for (old, new, sad, ok) in
        [("sad", "blue", "blue", "ok"), ("ok", "sad", "blue", "sad"), ("blue", "ok", "ok", "sad")]
    {
        db.run(&format!("ALTER TYPE mood RENAME VALUE '{old}' TO '{new}'"));
        for (name, query) in queries(sad, ok) {
            reworded(db, name, &query);
        }
        goes_on(
            db,
            &[
                "UPDATE t SET m = (SELECT m FROM t WHERE id = 5) WHERE id % 4 = 0; UPDATE t SET m = 'happy' WHERE id % 5 = 1",
            ],
        );
    }
}

fn attributes_that_a_query_names_are_renamed(db: &mut Database) {
    db.run("CREATE TYPE pair AS (a int, b int); CREATE TABLE t (id int PRIMARY KEY, c pair); INSERT INTO t VALUES (1, '(1,2)'), (2, NULL), (3, '(3,)')");
    stream(db, "parts", "SELECT id, (c).a AS x, (c).b + 1 AS y FROM t");
    stream(db, "sums", "SELECT (c).b AS k, sum((c).a) AS s FROM t GROUP BY (c).b");
    for (old, new, [a, b]) in [("a", "z", ["z", "b"]), ("b", "a", ["z", "a"]), ("z", "b", ["b", "a"])] {
        db.run(&format!("ALTER TYPE pair RENAME ATTRIBUTE {old} TO {new}"));
        reworded(db, "parts", &format!("SELECT id, (c).{a} AS x, (c).{b} + 1 AS y FROM t"));
        reworded(db, "sums", &format!("SELECT (c).{b} AS k, sum((c).{a}) AS s FROM t GROUP BY (c).{b}"));
        goes_on(db, &["UPDATE t SET c = ROW(id, id % 2); INSERT INTO t SELECT max(id) + 1, ROW(7, 1)::pair FROM t"]);
    }
}

fn functions_and_types_are_renamed(db: &mut Database) {
    db.run("CREATE SCHEMA s; CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TABLE t (id int PRIMARY KEY, s text); INSERT INTO t VALUES (1, 'sad'), (2, 'happy'), (3, NULL)");
    db.run("CREATE FUNCTION times(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 * 2; END'");
    stream(db, "rows", "SELECT id, times(id) AS v, s::mood AS m FROM t");
    db.run("ALTER FUNCTION times(int) RENAME TO multiplied; CREATE FUNCTION times(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 0'");
    reworded(db, "rows", "SELECT id, multiplied(id) AS v, s::mood AS m FROM t");
    goes_on(db, &["UPDATE t SET id = id + 10"]);
    db.run("ALTER FUNCTION multiplied(int) SET SCHEMA s; ALTER TYPE mood RENAME TO feeling; CREATE TYPE mood AS ENUM ('other')");
    reworded(db, "rows", "SELECT id, s.multiplied(id) AS v, s::feeling AS m FROM t");
    goes_on(db, &["UPDATE t SET id = id + 10"]);
    db.run("ALTER TYPE feeling SET SCHEMA s");
    reworded(db, "rows", "SELECT id, s.multiplied(id) AS v, s::s.feeling AS m FROM t");
    goes_on(db, &["UPDATE t SET id = id + 10"]);
}

/// A key that the table did not have when the stream table was made would have its rows found otherwise.
fn what_does_not_fit_any_more_is_refused(db: &mut Database) {
    db.run("CREATE TABLE t (id int NOT NULL, v int); INSERT INTO t VALUES (1, 1), (2, 2)");
    db.run("CREATE FUNCTION times(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 * 2; END'");
    db.stream("rows", "SELECT id, times(v) AS v FROM t");
    db.run("ALTER TABLE t ADD PRIMARY KEY (id)");
    db.cycle(&["UPDATE t SET v = v + 1"]);
    db.run("ALTER FUNCTION times(int) RENAME TO multiplied");
    let failure = db.fails(&refresh("rows"));
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
    assert!(failure.detail.contains("public.rows") && !failure.hint.is_empty(), "{failure:?}");
    db.run("ALTER FUNCTION multiplied(int) RENAME TO times");
    db.cycle_in_full(&["UPDATE t SET v = v + 1"]);
}
