//! The tree keeps its shape: `unsafe` and the server's C interface in one folder, imports in one direction.

use std::fs;
use std::path::{Path, PathBuf};

/// The extension's modules from the bottom up; a module may use itself and those before it.
const EXTENSION: [&str; 11] =
    ["error", "names", "config", "pg", "import", "catalog", "cdc", "refresh", "scheduler", "monitor", "api"];
/// The engine's.
const ENGINE: [&str; 6] = ["sql", "query", "delta", "frontier", "dag", "policy"];

fn root() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .parent()
        .expect("the tests are a folder of the repository")
        .to_path_buf()
}

/// Every Rust file below `folder`, with its text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry of the folder").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is text");
            files.push((path, text));
        }
    }
    files
}

/// The code of a line, without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    code(line).split(|c: char| !c.is_alphanumeric() && c != '_')
}

#[test]
fn unsafe_code_is_in_one_folder() {
    let (src, pg) = (root().join("src"), root().join("src/pg"));
    let mut offences = Vec::new();
    for (path, text) in sources(&src).into_iter().chain(sources(&root().join("pgtrickle-engine/src"))) {
        if path.starts_with(&pg) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if words(line).any(|word| word == "unsafe" || word == "pg_sys") {
                offences.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(offences.is_empty(), "outside src/pg:\n{}", offences.join("\n"));
}

/// Imports of `crate::<module>` that go up the list.
fn upward_imports(source: &Path, modules: &[&str]) -> Vec<String> {
    let rank = |module: &str| modules.iter().position(|known| *known == module);
    let mut offences = Vec::new();
    for (path, text) in sources(source) {
        let inside = path.strip_prefix(source).expect("found below the folder");
        let own = inside.components().next().expect("a file has a name").as_os_str().to_string_lossy().into_owned();
        let Some(own) = rank(own.trim_end_matches(".rs")) else { continue };
        for (number, line) in text.lines().enumerate() {
            for used in code(line).split("crate::").skip(1) {
                let names = used.strip_prefix('{').unwrap_or(used);
                let target: String = names.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if rank(&target).is_some_and(|target| target > own) {
                    offences.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
                }
            }
        }
    }
    offences
}

#[test]
fn imports_go_down() {
    let mut offences = upward_imports(&root().join("src"), &EXTENSION);
    offences.extend(upward_imports(&root().join("pgtrickle-engine/src"), &ENGINE));
    assert!(offences.is_empty(), "against the direction of the modules:\n{}", offences.join("\n"));
}

#[test]
fn every_module_has_its_place() {
    for (folder, modules) in [("src", EXTENSION.as_slice()), ("pgtrickle-engine/src", ENGINE.as_slice())] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder of the repository") {
            let name = entry.expect("an entry of the folder").file_name().to_string_lossy().into_owned();
            let module = name.trim_end_matches(".rs");
            assert!(module == "lib" || modules.contains(&module), "{folder}/{name} has no place in the order");
        }
    }
}

#[test]
fn source_files_are_short() {
    let mut offences = Vec::new();
    for folder in ["src", "pgtrickle-engine/src", "tests"] {
        for (path, text) in sources(&root().join(folder)) {
            let lines = text.lines().count();
            if lines > 500 {
                offences.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert!(offences.is_empty(), "files of more than 500 lines:\n{}", offences.join("\n"));
}
