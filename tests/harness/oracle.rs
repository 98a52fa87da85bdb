//! The oracle: a stream table against its query, as the user wrote it, in one snapshot.

use crate::session::{Failure, Session};

/// How the values of a column are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// By the type's own equality: 1.0 equals 1.00. For values of which any equal one is right, such as the
    /// representative of a group.
    Value,
    /// By what is printed. Also for types without equality: json, xml, point.
    Text,
}

/// The difference between a stream table and its query.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) missing: Vec<String>,
    pub(crate) extra: Vec<String>,
}

/// Compares `table` with `query` both ways; `None` when they are equal as multisets. A query that fails is an error.
pub(crate) fn compare(
    session: &mut Session,
    table: &str,
    query: &str,
    columns: &[Comparison],
) -> Result<Option<Difference>, Failure> {
    let names: Vec<String> = (1..=columns.len()).map(|i| format!("c{i}")).collect();
    let values: Vec<String> = names
        .iter()
        .zip(columns)
        .map(|(name, comparison)| match comparison {
            Comparison::Value => format!("q.{name}"),
            Comparison::Text => format!("q.{name}::text"),
        })
        .collect();
    let (names, values) = (names.join(", "), values.join(", "));
    let expected = format!("SELECT {values} FROM ({query}\n) AS q({names})");
    let stored = format!("SELECT {values} FROM {table} AS q({names})");
    // One statement, so one snapshot.
    let statement = format!(
        "SELECT 'missing', q::text FROM ({expected} EXCEPT ALL {stored}) AS q \
         UNION ALL SELECT 'extra', q::text FROM ({stored} EXCEPT ALL {expected}) AS q"
    );
    let mut difference = Difference { missing: Vec::new(), extra: Vec::new() };
    for row in session.try_rows(&statement)? {
        let text = row[1].clone().unwrap_or_default();
        match row[0].as_deref() {
            Some("missing") => difference.missing.push(text),
            _ => difference.extra.push(text),
        }
    }
    Ok((!difference.missing.is_empty() || !difference.extra.is_empty()).then_some(difference))
}

/// Types that `EXCEPT` cannot compare.
pub(crate) fn has_equality(type_name: &str) -> bool {
    !["json", "xml", "point"].contains(&type_name)
}
