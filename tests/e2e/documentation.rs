//! Every example of the documentation, run as a reader would run it: by psql, block after block, one database for a file.
//!
//! A block that begins with ```` ```sql ```` must succeed; with ```` ```sql error=22023 ```` it must fail with that
//! SQLSTATE. A ```` ```text ```` block that follows is what psql prints. Other blocks are not run.

use pgtrickle_tests::{Database, tests};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

tests![
    readme,
    getting_started,
    sql_reference,
    every_setting_is_documented,
    every_function_is_documented,
    every_catalog_column_is_documented,
];

fn readme(db: &mut Database) {
    run_examples(db, "README.md");
}

fn getting_started(db: &mut Database) {
    run_examples(db, "docs/GETTING_STARTED.md");
}

fn sql_reference(db: &mut Database) {
    run_examples(db, "docs/SQL_REFERENCE.md");
}

fn every_setting_is_documented(db: &mut Database) {
    let settings = db.lines("SELECT name FROM pg_settings WHERE name LIKE 'pg\\_trickle.%'");
    assert!(!settings.is_empty());
    let page = read("docs/CONFIGURATION.md");
    let headings: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    assert_eq!(headings, settings.iter().map(String::as_str).collect());
    // type, default, range, context and unit stand in the table under each heading, as the server has them.
    let facts = db.lines(
        "SELECT format('| %s | `%s`%s | %s | %s |', vartype, boot_val, coalesce(' ' || unit, ''), \
             coalesce(min_val || ' to ' || max_val, array_to_string(enumvals, ', '), 'on, off'), context) \
         FROM pg_settings WHERE name LIKE 'pg\\_trickle.%' ORDER BY name",
    );
    for fact in facts {
        assert!(page.lines().any(|line| line == fact), "docs/CONFIGURATION.md lacks: {fact}");
    }
}

/// Those that begin with an underscore are the extension's own.
fn every_function_is_documented(db: &mut Database) {
    let page = read("docs/SQL_REFERENCE.md");
    let names = db.lines(
        "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pgtrickle'::regnamespace AND prorettype <> 'trigger'::regtype \
         AND proname NOT LIKE '\\_%'",
    );
    for name in names {
        assert!(page.contains(&format!("### pgtrickle.{name}(")), "docs/SQL_REFERENCE.md has no section on {name}");
    }
}

fn every_catalog_column_is_documented(db: &mut Database) {
    let page = read("docs/SQL_REFERENCE.md");
    let tables =
        db.lines("SELECT relname FROM pg_class WHERE relnamespace = 'pgtrickle'::regnamespace AND relkind = 'r'");
    for table in tables {
        let heading = format!("### pgtrickle.{table}\n");
        let (_, section) = page.split_once(&heading).unwrap_or_else(|| panic!("no section on {table}"));
        let section = section.split("\n### ").next().unwrap_or(section);
        let columns = format!(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'pgtrickle.{table}'::regclass AND attnum > 0 AND NOT attisdropped"
        );
        for column in db.lines(&columns) {
            assert!(section.contains(&format!("`{column}`")), "the section on {table} does not name {column}");
        }
    }
}

/// A fenced block: what stands after the fence, and the lines up to the next one.
struct Block {
    line: usize,
    info: String,
    text: String,
}

pub(crate) fn run_examples(db: &mut Database, file: &str) {
    let blocks = blocks(&read(file));
    let mut ran = 0;
    for (index, block) in blocks.iter().enumerate().filter(|(_, block)| is_example(block)) {
        let place = format!("{file}:{}", block.line);
        let expected = match block.info.split_once("error=") {
            Some((_, sqlstate)) => sqlstate,
            None => "00000",
        };
        let (printed, sqlstate) = psql(db, &block.text);
        assert_eq!(sqlstate, expected, "{place}\n{printed}");
        if let Some(output) = blocks.get(index + 1).filter(|next| next.info == "text") {
            assert_eq!(normal(&printed), normal(&output.text), "{place} prints something else than the page shows");
        }
        ran += 1;
    }
    assert!(ran > 0, "no example in {file}");
}

fn is_example(block: &Block) -> bool {
    block.info == "sql" || block.info.starts_with("sql error=")
}

/// Lines without the blanks at their ends, and none that are empty.
fn normal(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect()
}

/// What psql prints for `script`, errors and notices included, and the SQLSTATE of the last error in it.
fn psql(db: &Database, script: &str) -> (String, String) {
    let marker = "SQLSTATE of the last error: ";
    let mut child = Command::new(psql_program())
        .args(["-X", "-q", "-d", db.name(), "-U", "postgres", "-h"])
        .arg(db.server().socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql starts");
    let mut input = child.stdin.take().expect("a pipe");
    write!(input, "{script}\n\\echo {marker}:LAST_ERROR_SQLSTATE\n").expect("psql reads");
    drop(input);
    let output = child.wait_with_output().expect("psql ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let (out, sqlstate) = out.rsplit_once(marker).unwrap_or_else(|| panic!("psql broke off: {out}{err}"));
    (format!("{err}{out}"), sqlstate.trim().to_string())
}

fn psql_program() -> PathBuf {
    let pg_config = std::env::var("PG_CONFIG").unwrap_or_else(|_| "pg_config".into());
    let output = Command::new(pg_config).arg("--bindir").output().expect("pg_config runs");
    Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("psql")
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                open = Some(Block { line: index + 1, info: info.trim().to_string(), text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

pub(crate) fn read(file: &str) -> String {
    let path = Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("..").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
