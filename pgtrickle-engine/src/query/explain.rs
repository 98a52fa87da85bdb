//! The tree as indented text, for `explain_st` and golden tests.

use super::{Rel, Scalar};
use std::fmt::Write;

/// One operator per line, inputs indented below their parent, columns as `#position`.
pub fn tree(rel: &Rel) -> String {
    let mut text = String::new();
    write_tree(rel, 0, &mut text);
    text
}

fn write_tree(rel: &Rel, depth: usize, text: &mut String) {
    // Writing to a String cannot fail.
    let _infallible = writeln!(text, "{:indent$}{}", "", line(rel), indent = depth * 2);
    for input in rel.inputs() {
        write_tree(input, depth + 1, text);
    }
}

fn line(rel: &Rel) -> String {
    let scalar = |scalar: &Scalar| scalar.render(|position| format!("#{position}"));
    let scalars = |list: &[Scalar]| list.iter().map(scalar).collect::<Vec<_>>().join(" AND ");
    let listed = |list: &[Scalar]| list.iter().map(scalar).collect::<Vec<_>>().join(", ");
    let named = |name: &str, value: &Scalar| format!("{name} := {}", scalar(value));
    match rel {
        Rel::Scan(scan) => {
            let columns: Vec<&str> = scan.columns.iter().map(|c| c.name.0.as_str()).collect();
            format!("Scan {} ({})", scan.name, columns.join(", "))
        }
        Rel::Stage { stage, columns, .. } => {
            let columns: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            format!("Stage {stage} ({})", columns.join(", "))
        }
        Rel::Opaque { .. } => "Query".into(),
        Rel::Filter { predicates, .. } => format!("Filter {}", scalars(predicates)),
        Rel::Project { outputs, .. } => {
            format!("Project {}", outputs.iter().map(|(n, s)| named(n, s)).collect::<Vec<_>>().join(", "))
        }
        Rel::Join { predicates, .. } if predicates.is_empty() => "Join".into(),
        Rel::Join { predicates, .. } => format!("Join {}", scalars(predicates)),
        Rel::OuterJoin { predicates, side, .. } => format!("OuterJoin {side:?} {}", scalars(predicates)),
        Rel::SemiJoin { predicates, yields, .. } => format!("SemiJoin {yields:?} {}", scalars(predicates)),
        Rel::Expand { item, on, outer, .. } => {
            let text = super::scalar::render(&item.text, |position| format!("#{position}"));
            let on = if on.is_empty() { String::new() } else { format!(" on {}", scalars(on)) };
            format!("Expand {}{text}{on}", if *outer { "outer " } else { "" })
        }
        Rel::Apply { predicates, kind, .. } => format!("Apply {kind:?} {}", scalars(predicates)),
        Rel::Recursive { all, .. } => format!("Recursive {}", if *all { "UNION ALL" } else { "UNION" }),
        Rel::Working { .. } => "Working".into(),
        Rel::UnionAll { .. } => "UnionAll".into(),
        Rel::Aggregate { keys, calls, .. } => {
            let keys = keys.iter().map(|(n, s)| named(n, s)).collect::<Vec<_>>().join(", ");
            let calls = calls.iter().map(|(n, c)| named(n, &c.call)).collect::<Vec<_>>().join(", ");
            format!("Aggregate by [{keys}] computing [{calls}]")
        }
        Rel::Distinct { .. } => "Distinct".into(),
        Rel::Window { partition, windows, calls, .. } => {
            let windows = windows.iter().map(|window| format!("{} AS ({})", window.name, window.ordered(scalar)));
            let windows = windows.collect::<Vec<_>>().join(", ");
            let calls = calls.iter().map(|(n, s)| named(n, s)).collect::<Vec<_>>().join(", ");
            format!("Window by [{}] over [{windows}] computing [{calls}]", listed(partition))
        }
        Rel::Leading { partition, order, counts, ties, .. } => {
            let order = order.iter().map(|item| item.render(scalar)).collect::<Vec<_>>().join(", ");
            let ties = if *ties { " with ties" } else { "" };
            format!("Leading by [{}] order [{order}] at least [{}]{ties}", listed(partition), listed(counts))
        }
        Rel::TopK { partition, order, limit, offset, with_ties, .. } => {
            let order = order.iter().map(|item| item.render(scalar)).collect::<Vec<_>>().join(", ");
            let limit = limit.as_ref().map(|limit| format!(" limit {}", scalar(limit))).unwrap_or_default();
            let offset = offset.as_ref().map(|offset| format!(" offset {}", scalar(offset))).unwrap_or_default();
            let ties = if *with_ties { " with ties" } else { "" };
            format!("TopK by [{}] order [{order}]{limit}{offset}{ties}", listed(partition))
        }
    }
}
