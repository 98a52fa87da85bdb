//! SQL text that cannot be misquoted: identifiers are [`Ident`], relations are [`QualifiedName`], and both print
//! themselves quoted. Nothing in this project edits finished SQL; fragments compose by formatting.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An identifier as the catalogs spell it. Prints with double quotes, always.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ident(pub String);

impl Ident {
    pub fn new(name: impl Into<String>) -> Self {
        Ident(name.into())
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// A relation, function or type with its schema. Prints `"schema"."name"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QualifiedName {
    pub schema: Ident,
    pub name: Ident,
}

impl QualifiedName {
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        QualifiedName { schema: Ident::new(schema), name: Ident::new(name) }
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// A string literal, quoted for `standard_conforming_strings = on`; a backslash makes it an `E''` string.
pub fn literal(value: &str) -> String {
    let doubled = value.replace('\'', "''");
    if doubled.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// `items` printed and separated by `, `.
pub fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    joined(items, ", ")
}

/// `items` printed and separated by ` AND `; an empty list is `true`.
pub fn conjunction<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let text = joined(items, " AND ");
    if text.is_empty() { "true".into() } else { text }
}

/// `items` printed and separated by ` OR `; an empty list is `false`.
pub fn disjunction<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let text = joined(items, " OR ");
    if text.is_empty() { "false".into() } else { text }
}

fn joined<T: fmt::Display>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
    let mut text = String::new();
    for item in items {
        if !text.is_empty() {
            text.push_str(separator);
        }
        text.push_str(&item.to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_and_literals_are_quoted() {
        assert_eq!(QualifiedName::new("a b", "c\"d").to_string(), "\"a b\".\"c\"\"d\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
        assert_eq!(conjunction(Vec::<String>::new()), "true");
    }
}
