//! How a stored row is found by its key.

use crate::query::Column;
use crate::sql::{Ident, conjunction, list};

/// How two rows with the key `columns`, aliased `a` and `b`, are recognised as equal. All keys NOT NULL: by their own
/// equality, for a plain unique index. Otherwise NULLs are equal, which no index on the columns can look up: then by the
/// hash of the key, with a recheck. (`IS NOT DISTINCT FROM` would find `=` through the search_path.)
pub(crate) fn same_key(columns: &[Column], a: &str, b: &str) -> String {
    let rechecks = columns.iter().map(|column| {
        let name = Ident::new(&column.name);
        equal(&format!("{a}.{name}"), &format!("{b}.{name}"), column)
    });
    let hash = hashed(columns).then(|| format!("{} = {}", key_hash(columns, a), key_hash(columns, b)));
    conjunction(hash.into_iter().chain(rechecks))
}

/// The index for [`same_key`]: its columns or expression, and whether it is unique.
pub(crate) fn key_index(columns: &[Column]) -> Option<(String, bool)> {
    if columns.is_empty() {
        return None;
    }
    let names = || list(columns.iter().map(|column| Ident::new(&column.name)));
    match hashed(columns) {
        true => Some((format!("(pg_catalog.hash_record_extended(ROW({}), 0))", names()), false)),
        false if columns.iter().all(|column| column.ty.btree) => {
            Some((names(), columns.iter().all(|column| !column.nullable)))
        }
        false => None,
    }
}

fn hashed(columns: &[Column]) -> bool {
    let nullable = columns.iter().any(|column| column.nullable) || columns.iter().any(|column| !column.ty.btree);
    nullable && columns.iter().all(|column| column.ty.hash)
}

fn key_hash(columns: &[Column], alias: &str) -> String {
    let names = columns.iter().map(|column| format!("{alias}.{}", Ident::new(&column.name)));
    format!("pg_catalog.hash_record_extended(ROW({}), 0)", list(names))
}

pub(crate) fn equal(a: &str, b: &str, column: &Column) -> String {
    let operator = column.ty.eq.as_deref().unwrap_or("OPERATOR(pg_catalog.=)");
    match column.nullable {
        true => format!("({a} {operator} {b} OR ({} AND {}))", column.ty.missing(a), column.ty.missing(b)),
        false => format!("{a} {operator} {b}"),
    }
}
