//! Golden trees: `tests/golden/*.spec` are queries as trees and, reviewed by people, what they compile to.
//!
//! A spec is a tree as an S-expression, a line `----`, and the output: the stages, the identity, and the statement of each
//! stage for each set of changed sources named by `(change …)` before the tree. `GOLDEN=write cargo test -p
//! pgtrickle-engine --test golden` writes the output anew.
//!
//!     (change a b clock)                                sources that change together, or the clock; may occur several times
//!     (scan a id! k v)                                  a source; `!` marks its primary key
//!     (filter "(#1 > 5)" TREE)  (join ("(#0 = #3)") TREE TREE …)  (union TREE TREE …)  (distinct TREE)
//!     (left-join ("(#0 = #3)") TREE TREE)  (full-join …)  (semi …)  (anti …)  (mark …)
//!     (exists TREE TREE)  (value TREE TREE)  (lateral TREE TREE)     the second for each row of the first, read as `^0`
//!     (intersect TREE TREE)  (except-all TREE TREE)  (expand "f(#1)" ("on" …) TREE)
//!     (recursive TREE (… (working k v) …))              WITH RECURSIVE … UNION ALL
//!     (recursive-once TREE (… (working k v) …))         WITH RECURSIVE … UNION
//!     (project (#0 "#1 + 1") TREE)                       `#` without a position is the clock's date
//!     (window (#1) "ORDER BY #2" ("pg_catalog.rank()") TREE)          partition, window, calls
//!     (top (#1) (#2 "#0 DESC") 3 TREE)                                partition, order, limit
//!     (group (#1) ((count) (sum #2) (min #2) (recompute "string_agg(#0)")) TREE)

use pgtrickle_engine::delta::{Extent, Identity, Leaf, Program, Storage};
use pgtrickle_engine::query::rel::{ApplyKind, ScanColumn, Side, Yield};
use pgtrickle_engine::query::rewrite::decorrelate;
use pgtrickle_engine::query::set_operation::{SetOperation, set_operation};
use pgtrickle_engine::query::{
    AggregateCall, AggregateFunction, Column, DataType, Equality, Fragment, Item, Rel, Scalar, Scan, SortItem,
    Volatility, WindowDefinition,
};
use pgtrickle_engine::sql::{Ident, QualifiedName};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(Clone, Debug)]
enum Node {
    Atom(String),
    List(Vec<Node>),
}

fn parse(text: &str) -> Vec<Node> {
    let mut stack = vec![Vec::new()];
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let used = match first {
            '(' => {
                stack.push(Vec::new());
                1
            }
            ')' => {
                let list = stack.pop().expect("a list is open");
                stack.last_mut().expect("no ) without (").push(Node::List(list));
                1
            }
            '"' => {
                let end = rest[1..].find('"').expect("a string ends") + 1;
                stack.last_mut().expect("inside").push(Node::Atom(rest[1..end].into()));
                end + 1
            }
            _ => {
                let end = rest.find([' ', '\n', '(', ')']).unwrap_or(rest.len());
                stack.last_mut().expect("inside").push(Node::Atom(rest[..end].into()));
                end
            }
        };
        rest = rest[used..].trim_start();
    }
    assert_eq!(stack.len(), 1, "every ( has its )");
    stack.remove(0)
}

impl Node {
    fn atom(&self) -> &str {
        match self {
            Node::Atom(text) => text,
            Node::List(_) => panic!("{self:?} should be a word"),
        }
    }

    fn list(&self) -> &[Node] {
        match self {
            Node::List(nodes) => nodes,
            Node::Atom(_) => panic!("{self:?} should be a list"),
        }
    }
}

fn data_type(oid: u32, sql: &str) -> DataType {
    let equality = if oid == 1700 { Equality::Coarse } else { Equality::Image };
    let eq = Some("OPERATOR(pg_catalog.=)".into());
    DataType { oid, typmod: -1, collation: 0, sql: sql.into(), equality, eq, btree: true, hash: true, row: false }
}

/// Columns are int4, but those whose name ends in `_n` are numeric.
fn type_of(name: &str) -> DataType {
    if name.ends_with("_n") { data_type(1700, "numeric") } else { data_type(23, "integer") }
}

fn relid(name: &str) -> u32 {
    u32::from(name.bytes().next().expect("a source has a name"))
}

fn leaf(name: &str) -> Leaf {
    if name == "clock" { Leaf::Clock } else { Leaf::Source(relid(name)) }
}

fn scalar(text: &str, below: &[Column]) -> Scalar {
    let mut fragments = Vec::new();
    let mut rest = text;
    while let Some(hole) = rest.find(['#', '^']) {
        fragments.push(Fragment::Text(rest[..hole].into()));
        let (sign, digits) = rest[hole..].split_at(1);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        fragments.push(match (sign, digits[..end].parse()) {
            ("#", Ok(column)) => Fragment::Column(column),
            (_, Ok(column)) => Fragment::Outer { depth: 1, column },
            (_, Err(_)) => Fragment::Clock("date".into()),
        });
        rest = &digits[end..];
    }
    fragments.push(Fragment::Text(rest.into()));
    fragments.retain(|fragment| !matches!(fragment, Fragment::Text(text) if text.is_empty()));
    let first = fragments.iter().find_map(|fragment| match fragment {
        Fragment::Column(position) => Some(below[*position].ty.clone()),
        _ => None,
    });
    let ty = first.unwrap_or_else(|| data_type(23, "integer"));
    Scalar { fragments, ty, volatility: Volatility::Immutable, nullable: false, fixed_scale: false }
}

fn call(node: &Node, below: &[Column]) -> (String, AggregateCall) {
    let parts = node.list();
    let (name, distinct) = match parts[0].atom().strip_suffix("_distinct") {
        Some(name) => (name, true),
        None => (parts[0].atom(), false),
    };
    let argument = parts.get(1).map(|argument| scalar(argument.atom(), below));
    let numeric = argument.as_ref().is_some_and(|x| x.ty.oid == 1700);
    use AggregateFunction as F;
    let (function, ty) = match (name, numeric) {
        ("count", _) if argument.is_none() => (F::CountStar, data_type(20, "bigint")),
        ("count", _) => (F::Count, data_type(20, "bigint")),
        ("sum", true) => (F::SumNumeric, data_type(1700, "numeric")),
        ("sum", false) => (F::SumInteger, data_type(20, "bigint")),
        ("avg", true) => (F::AvgNumeric, data_type(1700, "numeric")),
        ("avg", false) => (F::AvgInteger, data_type(1700, "numeric")),
        ("bool_and", _) => (F::BoolAnd, data_type(16, "boolean")),
        ("variance", _) => (F::Variance { sample: true, root: false }, data_type(1700, "numeric")),
        ("stddev_pop", _) => (F::Variance { sample: false, root: true }, data_type(1700, "numeric")),
        ("min", _) => (F::Min, argument.clone().expect("min has an argument").ty),
        ("max", _) => (F::Max, argument.clone().expect("max has an argument").ty),
        ("recompute", _) => (F::Recompute, data_type(25, "text")),
        other => panic!("unknown aggregate {other:?}"),
    };
    let text = match function {
        F::Recompute => parts[1].atom().to_string(),
        _ => format!("{name}({})", parts.get(1).map_or("*", Node::atom)),
    };
    let whole = Scalar { ty, ..scalar(&text, below) };
    let argument = argument.filter(|_| function != F::Recompute);
    (name.to_string(), AggregateCall { function, argument, distinct, filter: None, call: whole })
}

fn outputs(nodes: &[Node], below: &[Column]) -> Vec<(String, Scalar)> {
    let named = |(i, node): (usize, &Node)| {
        let scalar = scalar(node.atom(), below);
        let name = scalar.as_column().map_or_else(|| format!("x{}", i + 1), |position| below[position].name.clone());
        (name, scalar)
    };
    nodes.iter().enumerate().map(named).collect()
}

fn rel(node: &Node) -> Rel {
    let parts = node.list();
    let rest = &parts[1..];
    match parts[0].atom() {
        "scan" => scan(rest),
        "filter" => {
            let input = rel(&rest[1]);
            let predicates = vec![scalar(rest[0].atom(), &input.columns())];
            Rel::Filter { input: Box::new(input), predicates }
        }
        "join" => {
            let inputs: Vec<Rel> = rest[1..].iter().map(rel).collect();
            let columns: Vec<Column> = inputs.iter().flat_map(Rel::columns).collect();
            let predicates = rest[0].list().iter().map(|node| scalar(node.atom(), &columns)).collect();
            Rel::Join { inputs, predicates }
        }
        "left-join" | "full-join" | "semi" | "anti" | "mark" => two_sided(parts[0].atom(), rest),
        "exists" | "value" | "lateral" => {
            let (left, right) = (Box::new(rel(&rest[0])), Box::new(rel(&rest[1])));
            let kind = match parts[0].atom() {
                "exists" => ApplyKind::Semi(Yield::Matched),
                "value" => ApplyKind::Scalar("value".into()),
                _ => ApplyKind::Lateral { outer: false },
            };
            Rel::Apply { left, right, predicates: Vec::new(), kind }
        }
        "union" => {
            let inputs: Vec<Rel> = rest.iter().map(rel).collect();
            Rel::UnionAll { columns: inputs[0].columns(), inputs }
        }
        "intersect" | "except-all" => {
            let [left, right] = [rel(&rest[0]), rel(&rest[1])];
            let columns = left.columns();
            match parts[0].atom() {
                "intersect" => set_operation(SetOperation::Intersect, false, left, right, columns),
                _ => set_operation(SetOperation::Except, true, left, right, columns),
            }
        }
        "recursive" | "recursive-once" => {
            let (base, step) = (rel(&rest[0]), rel(&rest[1]));
            let all = parts[0].atom() == "recursive";
            Rel::Recursive { columns: base.columns(), base: Box::new(base), step: Box::new(step), all }
        }
        "working" => Rel::Working {
            columns: rest
                .iter()
                .map(|name| Column { name: name.atom().into(), ty: type_of(name.atom()), nullable: true })
                .collect(),
        },
        "expand" => {
            let input = rel(&rest[2]);
            let mut columns = input.columns();
            let item = scalar(rest[0].atom(), &columns);
            let column = Column { name: "f".into(), ty: item.ty, nullable: true };
            columns.push(column.clone());
            let item = Item { text: item.fragments, columns: vec![column], ordinality: false };
            let on: Vec<Scalar> = rest[1].list().iter().map(|node| scalar(node.atom(), &columns)).collect();
            Rel::Expand { input: Box::new(input), item, outer: !on.is_empty(), on }
        }
        "distinct" => Rel::Distinct { input: Box::new(rel(&rest[0])) },
        "project" => {
            let input = rel(&rest[1]);
            Rel::Project { outputs: outputs(rest[0].list(), &input.columns()), input: Box::new(input) }
        }
        "window" => {
            let input = rel(&rest[3]);
            let below = input.columns();
            let order = rest[1].atom().trim_start_matches("ORDER BY ");
            let order = vec![SortItem { value: scalar(order, &below), direction: String::new() }];
            let call = |(i, node): (usize, &Node)| {
                (format!("call{}", i + 1), scalar(&format!("{} OVER w1", node.atom()), &below))
            };
            Rel::Window {
                partition: rest[0].list().iter().map(|node| scalar(node.atom(), &below)).collect(),
                windows: vec![WindowDefinition { name: Ident::new("w1"), order, frame: String::new() }],
                calls: rest[2].list().iter().enumerate().map(call).collect(),
                input: Box::new(input),
            }
        }
        "top" => {
            let input = rel(&rest[3]);
            let below = input.columns();
            let item = |node: &Node| {
                let (value, direction) = node.atom().split_once(' ').unwrap_or((node.atom(), ""));
                let direction = if direction.is_empty() { String::new() } else { format!(" {direction}") };
                SortItem { value: scalar(value, &below), direction }
            };
            Rel::TopK {
                partition: rest[0].list().iter().map(|node| scalar(node.atom(), &below)).collect(),
                order: rest[1].list().iter().map(item).collect(),
                limit: Some(scalar(rest[2].atom(), &below)),
                offset: None,
                with_ties: false,
                input: Box::new(input),
            }
        }
        "group" => {
            let input = rel(&rest[2]);
            let below = input.columns();
            let calls = rest[1].list().iter().map(|node| call(node, &below)).collect();
            Rel::Aggregate { keys: outputs(rest[0].list(), &below), calls, input: Box::new(input) }
        }
        other => panic!("unknown operator {other}"),
    }
}

/// The joins that are not symmetric: a list of predicates over the columns of both, left, right.
fn two_sided(kind: &str, parts: &[Node]) -> Rel {
    let [left, right] = [Box::new(rel(&parts[1])), Box::new(rel(&parts[2]))];
    let columns: Vec<Column> = left.columns().into_iter().chain(right.columns()).collect();
    let predicates = parts[0].list().iter().map(|node| scalar(node.atom(), &columns)).collect();
    let yields = match kind {
        "left-join" => return Rel::OuterJoin { left, right, predicates, side: Side::Left },
        "full-join" => return Rel::OuterJoin { left, right, predicates, side: Side::Both },
        "semi" => Yield::Matched,
        "anti" => Yield::Unmatched,
        _ => Yield::Mark("found".into()),
    };
    Rel::SemiJoin { left, right, predicates, yields }
}

fn scan(parts: &[Node]) -> Rel {
    let name = parts[0].atom();
    let words: Vec<&str> = parts[1..].iter().map(Node::atom).collect();
    let key: Vec<usize> = (0..words.len()).filter(|i| words[*i].ends_with('!')).collect();
    let columns = words.iter().enumerate().map(|(i, word)| {
        let column = word.trim_end_matches('!');
        ScanColumn {
            attnum: i as i16 + 1,
            name: Ident::new(column),
            column: Column { name: column.into(), ty: type_of(column), nullable: !word.ends_with('!') },
            domain: false,
        }
    });
    Rel::Scan(Scan {
        relid: relid(name),
        name: QualifiedName::new("public", name),
        columns: columns.collect(),
        keys: if key.is_empty() { vec![] } else { vec![key] },
        only: false,
        whole: false,
    })
}

/// What the compiler makes of a spec's input.
fn output(input: &str) -> String {
    let mut nodes = parse(input);
    let tree = nodes.pop().expect("a spec has a tree");
    let program = Program::compile(decorrelate::apply(rel(&tree)).expect("it can be decorrelated"));
    let states = (0..program.stages.len() - 1).map(|stage| QualifiedName::new("state", format!("s{stage}")));
    let storage = Storage { stream_table: QualifiedName::new("public", "st"), states: states.collect() };
    let mut text = String::new();
    for (i, stage) in program.stages.iter().enumerate() {
        writeln!(text, "stage {i}\n{}", stage.explain()).expect("a String grows");
    }
    match &program.identity {
        Identity::Key(key) => writeln!(text, "identity: key {key:?}"),
        Identity::Bag => writeln!(text, "identity: bag"),
    }
    .expect("a String grows");
    for change in &nodes {
        let names: Vec<&str> = change.list()[1..].iter().map(Node::atom).collect();
        writeln!(text, "\nwhen {} changed", names.join(", ")).expect("a String grows");
        let mut changed: BTreeSet<Leaf> = names.iter().map(|name| leaf(name)).collect();
        for stage in 0..program.stages.len() {
            let before = changed.clone();
            if let Some(sql) = program.maintain(stage, &storage, &changed, Extent::Many.into()) {
                changed.insert(Leaf::Stage(stage));
                writeln!(text, "stage {stage}:\n{}", broken(&sql)).expect("a String grows");
                if let Some(sql) = of_few(&program, stage, &storage, &before) {
                    writeln!(text, "stage {stage}, few rows:\n{}", broken(&sql)).expect("a String grows");
                }
            }
        }
    }
    text
}

/// What finds the changes of the stage when there are few, where that is more than a part of the statement.
fn of_few(program: &Program, stage: usize, storage: &Storage, changed: &BTreeSet<Leaf>) -> Option<String> {
    if stage + 1 < program.stages.len() {
        return program.find(stage, storage, changed, Extent::Few.into());
    }
    let [few, many] = [Extent::Few, Extent::Many].map(|extent| program.change(storage, changed, extent.into()));
    few.filter(|few| many.as_ref() != Some(few))
}

/// Line breaks before the words that begin a part, for the reader's sake.
fn broken(sql: &str) -> String {
    let mut text = sql.to_string();
    for word in ["FROM (", "UNION ALL", "USING", "WHEN ", "RETURNING", "GROUP BY", "HAVING", "LEFT JOIN", "CROSS JOIN"]
    {
        text = text.replace(&format!(" {word}"), &format!("\n  {word}"));
    }
    text
}

#[test]
fn specs_compile_to_what_was_reviewed() {
    let folder = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../tests/golden");
    let write = std::env::var("GOLDEN").is_ok_and(|value| value == "write");
    let mut seen = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("tests/golden is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "spec") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).expect("readable");
        let (input, expected) = text.split_once("----\n").unwrap_or((&text, ""));
        let actual = output(input);
        if write {
            std::fs::write(&path, format!("{input}----\n{actual}")).expect("writable");
        } else if actual != expected {
            wrong.push(format!("{}:\n{actual}", path.display()));
        }
    }
    assert!(seen > 0, "no specs in {}", folder.display());
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
