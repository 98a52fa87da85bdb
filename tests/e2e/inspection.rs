//! What is said about a query before it becomes a stream table, while it becomes one, and about what is stored for it.

use pgtrickle_tests::{Database, tests};

tests![
    a_query_is_validated,
    a_query_that_is_recomputed_is_validated,
    a_refused_query_is_validated,
    every_kind_of_construct_is_named,
    validation_creates_nothing,
    rewriting_is_shown_step_by_step,
    stored_columns_are_listed,
    states_and_pinned_settings_are_explained,
    creation_warns,
    creation_warns_of_few_groups,
    creation_is_silent_where_there_is_nothing_to_say,
    a_few_rows_are_looked_up_in_small_tables_too,
    missing_indexes_are_named,
    what_is_looked_up_by_an_index_needs_no_other,
];

fn tables(db: &mut Database) {
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, k int, v int, n numeric); CREATE TABLE bag (k int, x text);
         CREATE VIEW positive AS SELECT id, k FROM t WHERE v > 0;
         INSERT INTO t SELECT i, i % 5, i, i FROM generate_series(1, 100) AS i; INSERT INTO bag VALUES (1, 'a'), (1, 'a')",
    );
}

fn validated(db: &mut Database, query: &str) -> Vec<String> {
    db.lines(&format!("SELECT check_name, result, severity FROM pgtrickle.validate_query($query${query}$query$)"))
}

fn a_query_is_validated(db: &mut Database) {
    tables(db);
    let rows = validated(
        db,
        "SELECT p.k, count(*) AS c, avg(n), max(v) AS top, string_agg(x, ',') AS names FROM positive AS p \
         LEFT JOIN bag ON bag.k = p.k JOIN t ON t.id = p.id GROUP BY p.k ORDER BY 1",
    );
    assert_eq!(
        rows,
        [
            "resolved_refresh_mode|DIFFERENTIAL|INFO",
            "parse_warning|ORDER BY without LIMIT has no effect: a stream table has no order.|WARNING",
            "parse_warning|no primary key and no unique NOT NULL key: public.bag; rows are then found by all of their columns.|WARNING",
            "parse_warning|computed anew from all rows of each group that changes: names (string_agg).|WARNING",
            "aggregate|avg(): ALGEBRAIC_VIA_AUX|INFO",
            "aggregate|c = count(): ALGEBRAIC_INVERTIBLE|INFO",
            "aggregate|top = max(): SEMI_ALGEBRAIC|INFO",
            "aggregate|names = string_agg(): GROUP_RESCAN|INFO",
            "join|INNER JOIN|INFO",
            "join|LEFT JOIN|INFO",
            "volatility|IMMUTABLE|INFO",
        ]
    );
    let top = validated(db, "SELECT id, v FROM t ORDER BY v DESC, id LIMIT 3");
    assert_eq!(top[0], "resolved_refresh_mode|DIFFERENTIAL|INFO");
    assert!(top.iter().any(|row| row.starts_with("topk_pattern|")), "{top:?}");
    assert!(db.rows("SELECT * FROM pgtrickle.validate_query(NULL)").is_empty());
}

fn a_query_that_is_recomputed_is_validated(db: &mut Database) {
    tables(db);
    db.run("CREATE MATERIALIZED VIEW m AS SELECT k FROM t");
    let rows = validated(db, "SELECT k FROM m");
    assert_eq!(rows[0], "resolved_refresh_mode|DIFFERENTIAL|INFO");
    assert_eq!(rows[1], "matview_or_foreign_table|\"public\".\"m\"|WARNING");
    db.run("CREATE UNLOGGED TABLE scratch (k int)");
    let rows = validated(db, "SELECT k FROM scratch");
    assert_eq!(rows[0], "resolved_refresh_mode|FULL|INFO");
    assert!(
        rows[1].starts_with("unsupported_construct|the unlogged table \"public\".\"scratch\": ")
            && rows[1].ends_with("|WARNING")
    );
    let rows = validated(db, "SELECT id, current_setting('block_size') AS size FROM t");
    assert_eq!(rows[0], "resolved_refresh_mode|FULL|INFO");
    assert_eq!(rows.last().map(String::as_str), Some("volatility|STABLE|INFO"));
}

fn a_refused_query_is_validated(db: &mut Database) {
    tables(db);
    let rows = validated(db, "SELECT id, random() AS r FROM t");
    assert_eq!(rows[0], "resolved_refresh_mode|NONE|ERROR");
    assert!(rows[1].starts_with("unsupported_construct|the volatile function random() "), "{rows:?}");
    assert_eq!(rows.len(), 2);
    for (query, sqlstate) in [
        ("SELECT FROM FROM t", "42601"),
        ("SELECT a FROM t", "42703"),
        ("SELECT 1 FROM nowhere", "42P01"),
        ("DELETE FROM t", "42000"),
        ("", "42000"),
    ] {
        for function in ["validate_query", "explain_query_rewrite"] {
            let failure = db.fails(&format!("SELECT * FROM pgtrickle.{function}('{query}')"));
            assert_eq!(failure.sqlstate, sqlstate, "{function}: {query}: {failure:?}");
        }
    }
    db.run("CREATE ROLE validator LOGIN; GRANT USAGE ON SCHEMA public TO validator");
    let mut other = db.connect_as("validator");
    assert_eq!(other.fails("SELECT * FROM pgtrickle.validate_query('SELECT id FROM t')").sqlstate, "42501");
    drop(other);
    db.run("DROP OWNED BY validator; DROP ROLE validator");
}

fn every_kind_of_construct_is_named(db: &mut Database) {
    tables(db);
    for (query, expected) in [
        ("SELECT t.id FROM t, bag WHERE bag.k = t.k", "join|comma: INNER JOIN|INFO"),
        ("SELECT t.id FROM t RIGHT JOIN bag USING (k)", "join|RIGHT JOIN|INFO"),
        ("SELECT t.id FROM t FULL JOIN bag USING (k)", "join|FULL JOIN|INFO"),
        ("SELECT k FROM t UNION ALL SELECT k FROM bag", "set_op|UNION ALL|INFO"),
        ("SELECT k FROM t UNION SELECT k FROM bag", "set_op|UNION|INFO"),
        ("SELECT k FROM t INTERSECT SELECT k FROM bag", "set_op|INTERSECT|INFO"),
        ("SELECT k FROM t EXCEPT ALL SELECT k FROM bag", "set_op|EXCEPT ALL|INFO"),
        ("SELECT id, rank() OVER (PARTITION BY k ORDER BY v) AS r FROM t", "window_function|window functions|INFO"),
        ("SELECT t.id, b.x FROM t, LATERAL (SELECT x FROM bag WHERE bag.k = t.k) AS b", "lateral|LATERAL|INFO"),
        ("SELECT id, (SELECT max(x) FROM bag) AS m FROM t", "scalar_subquery|a sub-select as a value|INFO"),
        ("SELECT id FROM t WHERE k IN (SELECT k FROM bag)", "subquery|IN or ANY|INFO"),
        ("SELECT id FROM t WHERE NOT EXISTS (SELECT FROM bag WHERE bag.k = t.k)", "subquery|EXISTS|INFO"),
        ("SELECT id FROM t WHERE k > ALL (SELECT k FROM bag)", "subquery|ALL|INFO"),
        (
            "WITH RECURSIVE r (n) AS (SELECT k FROM bag UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r",
            "recursive_cte|WITH RECURSIVE|INFO",
        ),
    ] {
        let rows = validated(db, query);
        assert!(rows.iter().any(|row| row == expected), "{query}: {rows:?}");
    }
}

fn validation_creates_nothing(db: &mut Database) {
    tables(db);
    let before = db.fingerprint();
    validated(db, "SELECT k, count(*) AS c FROM t GROUP BY k");
    db.rows("SELECT * FROM pgtrickle.explain_query_rewrite('SELECT DISTINCT k FROM positive')");
    assert_eq!(db.fingerprint(), before);
    assert!(db.notices().is_empty());
}

fn rewriting_is_shown_step_by_step(db: &mut Database) {
    tables(db);
    let passes = |db: &mut Database, query: &str| {
        db.lines(&format!(
            "SELECT pass_name, changed, sql_after IS NOT NULL FROM pgtrickle.explain_query_rewrite($query${query}$query$)"
        ))
    };
    let query =
        "SELECT DISTINCT p.k FROM positive AS p WHERE EXISTS (SELECT FROM bag WHERE bag.k = p.k AND bag.x = 'a')";
    assert_eq!(
        passes(db, query),
        [
            "view_inlining|t|t",
            "operator_tree|t|t",
            "decorrelation|t|t",
            "column_pruning|t|t",
            "distinct_calls|f|f",
            "distinct_to_groups|t|t",
            "filter_merging|f|f",
            "leading_rows|f|f",
            "group_restriction|f|f",
            "staging|t|t",
        ]
    );
    let after = |db: &mut Database, pass: &str| {
        db.text(&format!(
            "SELECT sql_after FROM pgtrickle.explain_query_rewrite($query${query}$query$) WHERE pass_name = '{pass}'"
        ))
    };
    assert!(after(db, "view_inlining").contains("v > 0"));
    assert!(after(db, "operator_tree").contains("Apply"));
    let decorrelated = after(db, "decorrelation");
    assert!(decorrelated.contains("SemiJoin") && !decorrelated.contains("Apply"), "{decorrelated}");
    assert!(after(db, "staging").contains("Stage 1\n"));
    // Without views the first step changes nothing; without a delta there are no further ones.
    assert_eq!(passes(db, "SELECT id, now() AS at FROM t"), ["view_inlining|f|f"]);
    assert_eq!(db.fails("SELECT * FROM pgtrickle.explain_query_rewrite('SELECT random() AS r')").sqlstate, "0A000");
}

fn listed(db: &mut Database, name: &str) -> Vec<String> {
    db.lines(&format!(
        "SELECT regexp_replace(column_name, 'state_[0-9]+_', 'state_'), data_type, purpose FROM pgtrickle.list_auxiliary_columns('{name}')"
    ))
}

fn stored_columns_are_listed(db: &mut Database) {
    tables(db);
    db.stream("sums", "SELECT k, avg(n) AS a, max(v) AS top FROM t WHERE k IS NOT NULL GROUP BY k");
    assert_eq!(
        listed(db, "sums"),
        [
            "pgtrickle_state.state_0.k1|integer|grouping column",
            "pgtrickle_state.state_0.n|bigint|number of rows of the group",
            "pgtrickle_state.state_0.a1|numeric|sum: ALGEBRAIC_VIA_AUX",
            "pgtrickle_state.state_0.a2|numeric|numbers of values by their fractional digits: ALGEBRAIC_INVERTIBLE",
            "pgtrickle_state.state_0.a3|bigint|number of values that are not NULL: ALGEBRAIC_INVERTIBLE",
            "pgtrickle_state.state_0.a4|integer|maximum: SEMI_ALGEBRAIC",
            "(pg_catalog.hash_record_extended(ROW(\"k\"), 0))|bigint|index expression: finds a row by its key, which can be NULL or long",
        ]
    );
    db.stream("rows", "SELECT id, v FROM t");
    assert!(listed(db, "rows").is_empty());
    db.stream("pairs", "SELECT k, x FROM bag");
    assert_eq!(
        listed(db, "pairs"),
        ["(pgtrickle.row_hash(ROW(\"k\", \"x\")))|bigint|index expression: finds a row by all of its columns"]
    );
    // What is listed is there.
    let stored = db.lines(
        "SELECT format('%s.%s.%s', nspname, relname, attname) FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid \
         JOIN pg_namespace ON relnamespace = pg_namespace.oid WHERE nspname = 'pgtrickle_state' AND relkind = 'r' AND attnum > 0 \
         ORDER BY attnum",
    );
    let states =
        "SELECT column_name FROM pgtrickle.list_auxiliary_columns('sums') WHERE column_name LIKE 'pgtrickle_state.%'";
    assert_eq!(db.lines(states), stored);
    assert_eq!(db.fails("SELECT * FROM pgtrickle.list_auxiliary_columns('nowhere')").sqlstate, "42P01");
}

fn states_and_pinned_settings_are_explained(db: &mut Database) {
    tables(db);
    db.run("SET TimeZone = 'Asia/Tokyo'");
    db.stream("sums", "SELECT k, sum(v) AS s FROM t JOIN bag USING (k) GROUP BY k");
    let mut property = |name: &str| {
        db.lines(&format!("SELECT value FROM pgtrickle.explain_st('sums') WHERE property = '{name}' ORDER BY 1"))
    };
    let states = property("state_tables");
    assert!(states.len() == 1 && states[0].starts_with("\"pgtrickle_state\".\"state_"), "{states:?}");
    assert!(property("operator_tree")[0].contains(&states[0]));
    assert!(property("pinned_settings")[0].contains("TimeZone = 'Asia/Tokyo'"));
    let deltas = property("delta_query");
    assert!(
        deltas[0].starts_with("-- when \"public\".\"bag\" has changed")
            && deltas[1].starts_with("-- when \"public\".\"t\" has changed")
    );
    assert!(property("explain_analyze").is_empty());
    let analysed = db.text("SELECT value FROM pgtrickle.explain_st('sums', true) WHERE property = 'explain_analyze'");
    assert!(analysed.contains("actual") && analysed.contains("Buffers"), "{analysed}");
    assert!(!analysed.contains("Named Tuplestore Scan"), "there is nothing to bring in: {analysed}");
    db.run("UPDATE t SET v = v + 1");
    let before = db.fingerprint();
    let analysed = db.text("SELECT value FROM pgtrickle.explain_st('sums', true) WHERE property = 'explain_analyze'");
    assert!(analysed.contains("Named Tuplestore Scan") && analysed.contains("actual"), "{analysed}");
    assert_eq!(db.fingerprint(), before, "explaining changes nothing");
    db.cycle(&["DELETE FROM bag"]);
    // The page lists what is pinned.
    let page = crate::documentation::read("docs/SQL_REFERENCE.md");
    let (_, section) = page.split_once("### Settings that queries run under").expect("a section");
    let (section, _) = section.split_once("\n## ").expect("another section");
    for setting in db.lines(
        "SELECT unnest(regexp_matches(value, '([A-Za-z_]+) = ', 'g')) FROM pgtrickle.explain_st('sums') WHERE property = 'pinned_settings'",
    ) {
        assert!(section.contains(&format!("`{setting}`")), "{setting} is pinned and not documented");
    }
}

/// What is said at level WARNING when the query becomes a stream table.
fn told(db: &mut Database, query: &str, mode: &str) -> Vec<String> {
    db.notices();
    db.stream_with("st", query, &format!("schedule => '1h', refresh_mode => '{mode}'"));
    let told = db.notices().into_iter().map(|notice| notice.message).filter(|message| !message.contains(" created"));
    let told = told.collect();
    db.run("SELECT pgtrickle.drop_stream_table('st')");
    told
}

fn creation_warns(db: &mut Database) {
    tables(db);
    let query = "SELECT k, stddev(v) AS spread, array_agg(v) AS all_v, sum(v) AS s FROM t GROUP BY k";
    assert_eq!(
        told(db, query, "DIFFERENTIAL"),
        ["computed anew from all rows of each group that changes: all_v (array_agg)."]
    );
    assert!(told(db, query, "FULL").is_empty(), "everything is recomputed");
    assert_eq!(
        told(db, "SELECT * FROM bag", "AUTO"),
        [
            "SELECT * stands for the columns of today: the stream table gets no column that is added later.",
            "no primary key and no unique NOT NULL key: public.bag; rows are then found by all of their columns.",
        ]
    );
    let starred = [
        "SELECT t.* FROM t",
        "SELECT * FROM t UNION ALL SELECT * FROM t",
        "WITH w AS (SELECT id FROM t) SELECT * FROM w",
    ];
    for query in starred {
        assert!(told(db, query, "AUTO")[0].starts_with("SELECT * "), "{query}");
    }
    assert_eq!(told(db, "SELECT a.k FROM bag AS a, bag AS b", "AUTO").len(), 1, "a table is named once");
}

fn creation_warns_of_few_groups(db: &mut Database) {
    const FEW: &str = "SELECT k, count(*) AS c FROM t WHERE v > 3 GROUP BY k";
    tables(db);
    assert!(told(db, FEW, "AUTO").is_empty(), "nothing is known yet");
    db.run("ANALYZE t");
    let said = told(db, FEW, "AUTO");
    assert!(said.len() == 1 && said[0].starts_with("GROUP BY makes about 5 groups of 100 rows, "), "{said:?}");
    let joined = "SELECT t.k, x, count(*) AS c FROM t JOIN bag ON bag.k = t.id GROUP BY t.k, x";
    db.run("ANALYZE bag");
    assert!(told(db, joined, "AUTO").iter().any(|line| line.starts_with("GROUP BY makes about ")));
    assert!(told(db, "SELECT id, count(*) AS c FROM t GROUP BY id", "AUTO").is_empty(), "groups of one row");
    assert!(told(db, FEW, "FULL").is_empty());
    db.run("SET pg_trickle.agg_diff_cardinality_threshold = 5");
    assert!(told(db, FEW, "AUTO").is_empty(), "not fewer than five");
    db.run("SET pg_trickle.agg_diff_cardinality_threshold = 0");
    assert!(told(db, FEW, "AUTO").is_empty());
}

fn creation_is_silent_where_there_is_nothing_to_say(db: &mut Database) {
    tables(db);
    db.stream_with("below", "SELECT k, x FROM bag", "schedule => '1h'");
    for query in [
        "SELECT id, v FROM t",
        "SELECT count(*) AS n FROM t",
        "SELECT id FROM t WHERE EXISTS (SELECT * FROM positive AS p WHERE p.id = t.id)",
        "SELECT k, sum(n) AS s, min(v) AS low FROM t GROUP BY k",
        "SELECT x FROM below",
    ] {
        assert_eq!(told(db, query, "DIFFERENTIAL"), Vec::<String>::new(), "{query}");
    }
}

/// A small table is cheaper to read whole than by its indexes, as the planner counts; a thousand rows for one are too many.
fn a_few_rows_are_looked_up_in_small_tables_too(db: &mut Database) {
    db.run("CREATE TABLE f (id int PRIMARY KEY, k int NOT NULL, v numeric(12,2) NOT NULL)");
    db.run("INSERT INTO f SELECT i, i % 1000, i FROM generate_series(1, 20000) i; CREATE INDEX ON f (k); ANALYZE f");
    db.stream("totals", "SELECT k, count(*) AS n, sum(v) AS s FROM f GROUP BY ROLLUP (k)");
    db.run("UPDATE f SET v = v + 1 WHERE id IN (1, 2, 3)");
    let plans = db.text("SELECT value FROM pgtrickle.explain_st('totals', true) WHERE property = 'explain_analyze'");
    let read =
        |line: &&str| line.contains("Seq Scan") && !line.contains("never executed") && !line.contains("rows=1.00");
    assert_eq!(plans.lines().find(read), None, "{plans}");
    db.cycle(&[]);
    db.cycle(&["UPDATE f SET v = v * 2 WHERE k < 500", "DELETE FROM f WHERE k = 7", "INSERT INTO f VALUES (0, 7, 7)"]);
}

fn advised(db: &mut Database, name: &str) -> Vec<String> {
    db.lines(&format!("SELECT source, columns, statement FROM pgtrickle.index_advice({name})"))
}

fn missing_indexes_are_named(db: &mut Database) {
    db.run(
        r#"CREATE TABLE small (id int PRIMARY KEY, ref int, "Long Name" text); CREATE TABLE large (id int PRIMARY KEY, ref int, g int, v int, x text);
        INSERT INTO small SELECT i, i, 'x' || i FROM generate_series(1, 10) i;
        INSERT INTO large SELECT i, i % 10, i % 20, i, 'x' || i FROM generate_series(1, 1000) i; ANALYZE"#,
    );
    db.stream("joined", "SELECT l.id, s.id AS sid, s.ref FROM large AS l JOIN small AS s ON l.ref = s.ref");
    db.stream(
        "texts",
        r#"SELECT l.id, s.id AS sid FROM large AS l JOIN small AS s ON l.x = s."Long Name" AND l.id > 0"#,
    );
    db.stream("greatest", "SELECT g, max(v) AS top, array_agg(id ORDER BY id) AS ids FROM large GROUP BY g");
    db.stream("unjoined", "SELECT id, v FROM large WHERE v > 10");
    let on_large = r#"public.large|{ref}|CREATE INDEX ON "public"."large" ("ref")"#;
    let on_small = r#"public.small|{ref}|CREATE INDEX ON "public"."small" ("ref")"#;
    assert_eq!(advised(db, "'joined'"), [on_large, on_small], "the largest source first");
    let hash = r#"public.small|{"Long Name"}|CREATE INDEX ON "public"."small" USING hash ("Long Name")"#;
    let hash_large = r#"public.large|{x}|CREATE INDEX ON "public"."large" USING hash ("x")"#;
    assert_eq!(advised(db, "'texts'"), [hash_large, hash]);
    let groups = r#"public.large|{g}|CREATE INDEX ON "public"."large" ("g")"#;
    assert_eq!(advised(db, "'greatest'"), [groups]);
    assert!(advised(db, "'unjoined'").is_empty());
    assert_eq!(advised(db, "").len(), 5);
    assert_eq!(db.lines("SELECT DISTINCT source_rows FROM pgtrickle.index_advice() ORDER BY 1"), ["10", "1000"]);
    // What is advised helps, and is not advised again.
    for statement in db.lines("SELECT statement FROM pgtrickle.index_advice()") {
        db.run(&statement);
    }
    assert!(advised(db, "").is_empty());
    db.cycle(&["UPDATE large SET ref = ref + 1, g = g + 1 WHERE id % 7 = 0; DELETE FROM small WHERE id = 3"]);
    let failure = db.fails("SELECT * FROM pgtrickle.index_advice('nothing')");
    assert_eq!(failure.sqlstate, "42P01", "{failure:?}");
}

fn what_is_looked_up_by_an_index_needs_no_other(db: &mut Database) {
    db.run("CREATE TABLE p (id int PRIMARY KEY, x int); CREATE TABLE c (id int PRIMARY KEY, p int, q int)");
    db.stream("kept", "SELECT c.id, p.x FROM c JOIN p ON p.id = c.p");
    let on_c = r#"public.c|{p}|CREATE INDEX ON "public"."c" ("p")"#;
    assert_eq!(advised(db, "'kept'"), [on_c], "the primary key serves");
    // Neither of these finds a row by p.
    db.run("CREATE INDEX ON c (p) WHERE q > 0; CREATE INDEX ON c (q, p); CREATE INDEX ON c ((p + 1)); CREATE INDEX ON c USING brin (p)");
    assert_eq!(advised(db, "'kept'"), [on_c]);
    db.run("CREATE INDEX ON c (p, q)");
    assert!(advised(db, "'kept'").is_empty());
    // The state of an inner stage has indexes of its own, and a source that is recomputed from is read as a whole.
    db.stream("over", "SELECT k.x, count(*) AS n FROM kept AS k GROUP BY k.x");
    db.stream("sums", "SELECT p.id, s.n FROM p JOIN (SELECT q, count(*) AS n FROM c GROUP BY q) AS s ON s.q = p.x");
    assert_eq!(advised(db, "'sums'"), [r#"public.p|{x}|CREATE INDEX ON "public"."p" ("x")"#]);
    assert!(advised(db, "'over'").is_empty());
}
