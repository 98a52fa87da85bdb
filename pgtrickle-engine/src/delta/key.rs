//! How a stored row is found by its key.

use crate::query::{Column, DataType};
use crate::sql::{Ident, conjunction, list};

/// How two rows with the key `columns`, aliased `a` and `b`, are recognised as equal. Keys that are NOT NULL and not too
/// long for an entry of a btree: by their own equality, for a plain unique index. Otherwise, since NULLs are equal, which no
/// index on the columns can look up, by the hash of the key, with a recheck. (`IS NOT DISTINCT FROM` would find `=` through
/// the search_path.) `fits`: the values come out of a btree.
pub(crate) fn same_key(columns: &[Column], a: &str, b: &str, fits: bool) -> String {
    let rechecks = columns.iter().map(|column| {
        let name = Ident::new(&column.name);
        equal(&format!("{a}.{name}"), &format!("{b}.{name}"), column)
    });
    let hash = hashed(columns, fits).then(|| format!("{} = {}", key_hash(columns, a), key_hash(columns, b)));
    conjunction(hash.into_iter().chain(rechecks))
}

/// The index for [`same_key`]: its columns or expression, and whether it is unique.
pub(crate) fn key_index(columns: &[Column], fits: bool) -> Option<(String, bool)> {
    if columns.is_empty() {
        return None;
    }
    let names = || list(columns.iter().map(|column| Ident::new(&column.name)));
    match hashed(columns, fits) {
        true => Some((format!("(pg_catalog.hash_record_extended(ROW({}), 0))", names()), false)),
        false if columns.iter().all(|column| column.ty.btree) => {
            Some((names(), columns.iter().all(|column| !column.nullable)))
        }
        false => None,
    }
}

fn hashed(columns: &[Column], fits: bool) -> bool {
    let plain = |column: &Column| !column.nullable && column.ty.btree && (fits || is_short(&column.ty));
    !columns.iter().all(plain) && columns.iter().all(|column| column.ty.hash)
}

/// Values of the type always fit in a btree, several of them too.
pub(crate) fn is_short(ty: &DataType) -> bool {
    const VARCHAR: [u32; 2] = [1042, 1043];
    const NUMERIC: u32 = 1700;
    SHORT.contains(&ty.oid)
        || (VARCHAR.contains(&ty.oid) && (0..=LONGEST).contains(&ty.typmod))
        || (ty.oid == NUMERIC && ty.typmod >= 0)
}

/// Modifier of `varchar(100)`.
const LONGEST: i32 = 104;

/// `pg_type.oid` of bool, name, int8, int2, int4, oid, float4, float8, date, time, timestamp, timestamptz, interval, uuid.
const SHORT: [u32; 14] = [16, 19, 20, 21, 23, 26, 700, 701, 1082, 1083, 1114, 1184, 1186, 2950];

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
