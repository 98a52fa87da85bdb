//! Names that need quotes, clash or change meaning.

use pgtrickle_tests::{Database, tests};

tests![
    names_that_need_quotes,
    names_of_sixty_three_bytes,
    columns_named_like_generated_ones,
    keywords_as_names,
    unnamed_output_columns,
    the_same_table_name_in_two_schemas,
    one_function_name_in_two_schemas,
    operators_of_the_users_own,
    a_shadowed_operator_of_the_system,
    tables_named_like_the_systems,
    quotes_and_dollars_in_constants,
];

fn names_that_need_quotes(db: &mut Database) {
    db.run(r#"CREATE SCHEMA "My Schema""#);
    db.run(r#"CREATE TABLE "My Schema"."Odd ""Table""" ("The Id" int PRIMARY KEY, "a.b" text, "ü$%" int, "x'y" int)"#);
    db.run(r#"INSERT INTO "My Schema"."Odd ""Table""" VALUES (1, 'x', 1, 1), (2, NULL, 2, 2)"#);
    let query = r#"SELECT "The Id", "a.b", "ü$%" + 1 AS "Sum of ""it""", "x'y" FROM "My Schema"."Odd ""Table""""#;
    db.stream(r#""My Schema"."Stream ""Table""""#, query);
    db.stream(
        "grouped",
        r#"SELECT "a.b" AS "G r o u p", max("ü$%") AS "MAX" FROM "My Schema"."Odd ""Table""" GROUP BY 1"#,
    );
    db.cycle(&[r#"UPDATE "My Schema"."Odd ""Table""" SET "ü$%" = 9, "a.b" = 'y'"#]);
    db.cycle(&[r#"DELETE FROM "My Schema"."Odd ""Table""" WHERE "The Id" = 1"#]);
}

fn names_of_sixty_three_bytes(db: &mut Database) {
    let long = |letter: &str| letter.repeat(63);
    let (table, key, value, stream) = (long("t"), long("k"), long("v"), long("s"));
    db.run(&format!(
        "CREATE TABLE {table} ({key} int PRIMARY KEY, {value} int); INSERT INTO {table} VALUES (1, 1), (2, 1)"
    ));
    db.stream(&stream, &format!("SELECT {value}, sum({key}) AS {key} FROM {table} GROUP BY {value}"));
    db.stream(&"r".repeat(63), &format!("SELECT {key}, {value} FROM {table}"));
    db.cycle(&[&format!("UPDATE {table} SET {value} = 2 WHERE {key} = 1; INSERT INTO {table} VALUES (3, 3)")]);
    db.cycle(&[&format!("DELETE FROM {table} WHERE {value} = 2")]);
}

fn columns_named_like_generated_ones(db: &mut Database) {
    db.run("CREATE TABLE t (w int, k int, xid text, cid int, c1 int, c2 int, d int, old int, new int, t int, q int, n int, __pgt_row_id int)");
    db.run("INSERT INTO t SELECT i, i % 2, i, i, i, i, i, i, i, i, i, i, i FROM generate_series(1, 6) AS i");
    db.stream("rows", "SELECT * FROM t");
    db.stream("renamed", "SELECT c2 AS c1, c1 AS c2, k AS w, w AS k, old AS new, new AS old FROM t");
    db.stream("sums", "SELECT k AS w, sum(w) AS k, count(*) AS n, avg(c1) AS xid FROM t GROUP BY k");
    db.stream("pairs", "SELECT c1.w, c2.k, c2.xid AS cid FROM t AS c1 JOIN t AS c2 ON c1.c1 = c2.c2");
    db.stream("kinds", "SELECT DISTINCT k AS c0, w % 2 AS c1 FROM t AS d");
    db.cycle(&["UPDATE t SET w = w + 1, k = 1, c1 = c2 + 1, old = 0"]);
    db.cycle(&["DELETE FROM t WHERE w > 4; INSERT INTO t SELECT * FROM t"]);
}

fn keywords_as_names(db: &mut Database) {
    db.run(r#"CREATE TABLE "select" ("from" int PRIMARY KEY, "where" text, "order" int, "user" text, "null" int, "value" int, "row" int)"#);
    db.run(r#"INSERT INTO "select" VALUES (1, 'a', 1, 'u', 1, 1, 1), (2, 'b', 2, 'u', NULL, 2, 2)"#);
    db.stream(r#""table""#, r#"SELECT "from", "where", "user", "null", "row" FROM "select" WHERE "order" > 0"#);
    db.stream(
        "grouped",
        r#"SELECT "user" AS "group", sum("order") AS "having" FROM "select" AS "join" GROUP BY "user""#,
    );
    db.cycle(&[r#"UPDATE "select" SET "order" = 0 - "order", "null" = 3 WHERE "from" = 1; INSERT INTO "select" VALUES (3, 'c', 3)"#]);
    db.cycle(&[r#"UPDATE "select" SET "user" = 'v', "order" = 5"#]);
}

fn unnamed_output_columns(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)");
    db.stream("one", "SELECT v + 1 FROM t");
    db.stream("many", "SELECT count(*), sum(v), max(v), CASE WHEN max(v) > 1 THEN 1 END FROM t");
    db.cycle(&["UPDATE t SET v = v + 1", "INSERT INTO t VALUES (3, 3)"]);
}

fn the_same_table_name_in_two_schemas(db: &mut Database) {
    db.run("CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.t (id int PRIMARY KEY, v int); CREATE TABLE b.t (id int PRIMARY KEY, v int)");
    db.run("INSERT INTO a.t VALUES (1, 1), (2, 2); INSERT INTO b.t VALUES (1, 10), (3, 30)");
    db.run("SET search_path = a, public");
    db.stream("public.from_a", "SELECT id, v FROM t");
    db.run("SET search_path = b, public");
    db.stream("public.from_b", "SELECT id, v FROM t");
    db.stream("public.joined", "SELECT x.id, x.v, y.v AS other FROM a.t AS x JOIN b.t AS y USING (id)");
    for name in ["public.from_a", "public.from_b"] {
        db.untrack(name);
    }
    db.run("RESET search_path");
    db.track("public.from_a", "SELECT id, v FROM a.t");
    db.track("public.from_b", "SELECT id, v FROM b.t");
    db.cycle(&["UPDATE a.t SET v = v + 1; INSERT INTO b.t VALUES (2, 20)"]);
    db.cycle(&["DELETE FROM b.t WHERE id = 1; INSERT INTO a.t VALUES (3, 3)"]);
}

fn one_function_name_in_two_schemas(db: &mut Database) {
    db.run("CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)");
    db.run("CREATE FUNCTION a.f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 100'");
    db.run("CREATE FUNCTION b.f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 200'");
    db.run("CREATE FUNCTION public.f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 300'");
    for (schema, name) in [("a", "st_a"), ("b", "st_b"), ("public", "st_public")] {
        db.run(&format!("SET search_path = {schema}, public"));
        db.stream_with(
            &format!("public.{name}"),
            "SELECT id, f(v) AS v FROM public.t",
            "schedule => '1h', refresh_mode => 'DIFFERENTIAL'",
        );
        db.run("RESET search_path");
        db.track(&format!("public.{name}"), &format!("SELECT id, {schema}.f(v) AS v FROM public.t"));
    }
    db.cycle(&["UPDATE t SET v = v + 1; INSERT INTO t VALUES (3, 3)"]);
}

fn operators_of_the_users_own(db: &mut Database) {
    db.run("CREATE SCHEMA ops; CREATE FUNCTION ops.near(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT abs($1 - $2) <= 1'");
    db.run("CREATE OPERATOR ops.=~= (LEFTARG = int, RIGHTARG = int, FUNCTION = ops.near)");
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i * 2 % 7 FROM generate_series(1, 6) AS i",
    );
    db.run("SET search_path = public, ops");
    db.stream("near", "SELECT a.id, b.id AS other FROM t AS a JOIN t AS b ON a.v =~= b.v");
    db.cycle(&["UPDATE t SET v = v + 1 WHERE id % 2 = 0", "DELETE FROM t WHERE id = 3"]);
}

fn a_shadowed_operator_of_the_system(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2), (3, 2)");
    db.run("CREATE SCHEMA evil; CREATE FUNCTION evil.never(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT false'");
    db.stream("counts", "SELECT v, count(*) AS n FROM public.t WHERE v = v GROUP BY v");
    db.stream("rows", "SELECT id, v FROM public.t");
    db.run("CREATE OPERATOR evil.= (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.never); CREATE FUNCTION evil.count() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 0'");
    db.run("INSERT INTO t VALUES (4, 1), (5, 9); UPDATE t SET v = 3 WHERE id = 2");
    db.run("SET search_path = evil, pg_catalog, public; SELECT pgtrickle.refresh_stream_table('public.counts'); SELECT pgtrickle.refresh_stream_table('public.rows')");
    db.run("RESET search_path");
    db.check();
}

fn tables_named_like_the_systems(db: &mut Database) {
    db.run("CREATE TABLE public.pg_class (id int PRIMARY KEY, relname text); INSERT INTO public.pg_class VALUES (1, 'mine')");
    db.stream("st", "SELECT id, relname FROM public.pg_class");
    db.cycle(&["INSERT INTO public.pg_class VALUES (2, 'too')", "UPDATE public.pg_class SET relname = relname || 'x'"]);
}

fn quotes_and_dollars_in_constants(db: &mut Database) {
    db.run("CREATE TABLE t (id int PRIMARY KEY, s text); INSERT INTO t VALUES (1, 'a''b'), (2, 'a\\b'), (3, '$1')");
    db.stream(
        "st",
        r"SELECT id, s || '''$1 %s {} \ $$' AS s, E'\\' || s AS e FROM t WHERE s <> 'it''s -- not /* a comment'",
    );
    db.stream("commented", "SELECT id, -- a 'comment\n s /* and $1 another */ FROM t -- the end");
    db.cycle(&["UPDATE t SET s = s || '\"'; INSERT INTO t VALUES (4, 'it''s -- not /* a comment')"]);
    db.cycle(&["UPDATE t SET s = '$2' WHERE id = 4"]);
}
