//! What the catalogs and the type cache know about a type.

use super::nodes::text;
use pgrx::{FromDatum, pg_sys};
use pgtrickle_engine::query::{DataType, Equality};

/// `BTEQUALIMAGE_PROC` of `access/nbtree.h`.
const EQUALIMAGE_PROC: pg_sys::int16 = 4;

/// The facts about a type under a collation.
pub fn data_type(oid: pg_sys::Oid, typmod: i32, collation: pg_sys::Oid) -> DataType {
    let wanted = pg_sys::TYPECACHE_BTREE_OPFAMILY | pg_sys::TYPECACHE_EQ_OPR | pg_sys::TYPECACHE_HASH_EXTENDED_PROC;
    let flags = pg_sys::FORMAT_TYPE_TYPEMOD_GIVEN | pg_sys::FORMAT_TYPE_FORCE_QUALIFY;
    // SAFETY: the type cache entry lives as long as the backend; only plain fields of it are copied.
    let (entry, sql) = unsafe {
        (&*pg_sys::lookup_type_cache(oid, wanted as i32), text(pg_sys::format_type_extended(oid, typmod, flags as u16)))
    };
    let btree = entry.btree_opf != pg_sys::InvalidOid;
    let equality = match entry.eq_opr {
        pg_sys::InvalidOid => Equality::None,
        _ if btree && is_equal_image(entry.btree_opf, entry.btree_opintype, collation) => Equality::Image,
        _ => Equality::Coarse,
    };
    DataType {
        oid: oid.to_u32(),
        typmod,
        collation: collation.to_u32(),
        sql,
        equality,
        eq: operator_sql(entry.eq_opr),
        btree,
        hash: entry.hash_extended_proc != pg_sys::InvalidOid,
        // SAFETY: a syscache lookup.
        row: unsafe { pg_sys::type_is_rowtype(oid) },
    }
}

/// Whether equal values have equal images, as nbtree asks before it deduplicates (`_bt_allequalimage`).
fn is_equal_image(family: pg_sys::Oid, input: pg_sys::Oid, collation: pg_sys::Oid) -> bool {
    // SAFETY: an operator family's support function 4 has the signature (oid) → bool; nbtree calls it likewise.
    unsafe {
        let procedure = pg_sys::get_opfamily_proc(family, input, input, EQUALIMAGE_PROC);
        if procedure == pg_sys::InvalidOid {
            return false;
        }
        let answer = pg_sys::OidFunctionCall1Coll(procedure, collation, pg_sys::Datum::from(input));
        bool::from_datum(answer, false).unwrap_or(false)
    }
}

/// `OPERATOR(schema.name)`; `None` for the invalid operator.
pub(super) fn operator_sql(operator: pg_sys::Oid) -> Option<String> {
    if operator == pg_sys::InvalidOid {
        return None;
    }
    // SAFETY: a syscache lookup of an existing operator; names come as palloc'd strings.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::OPEROID as i32, pg_sys::Datum::from(operator));
        if tuple.is_null() {
            return None;
        }
        let form = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_operator>();
        let schema = text(pg_sys::quote_identifier(pg_sys::get_namespace_name(form.oprnamespace)));
        let name = text(form.oprname.data.as_ptr());
        pg_sys::ReleaseSysCache(tuple);
        Some(format!("OPERATOR({schema}.{name})"))
    }
}

/// A kind of number, as far as exact sums are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Integer,
    Numeric,
    Other,
}

/// What a type, or the base type of a domain, counts as; and its type modifier with the domain's applied.
pub(super) fn number(oid: pg_sys::Oid, typmod: i32) -> (Number, i32) {
    let mut base_typmod = typmod;
    // SAFETY: reads pg_type through the syscache and writes the typmod of a domain.
    let base = unsafe { pg_sys::getBaseTypeAndTypmod(oid, &mut base_typmod) };
    let kind = match base {
        pg_sys::INT2OID | pg_sys::INT4OID | pg_sys::INT8OID => Number::Integer,
        pg_sys::NUMERICOID => Number::Numeric,
        _ => Number::Other,
    };
    (kind, base_typmod)
}

/// The type cannot be that of a table's column: record, void, trigger and the like.
pub fn is_pseudo(ty: &DataType) -> bool {
    // SAFETY: a syscache lookup.
    unsafe { pg_sys::get_typtype(pg_sys::Oid::from(ty.oid)) as u8 == pg_sys::TYPTYPE_PSEUDO }
}

/// Values of the type are anonymous records, or arrays of them.
pub fn is_record(ty: &DataType) -> bool {
    [pg_sys::RECORDOID, pg_sys::RECORDARRAYOID].contains(&pg_sys::Oid::from(ty.oid))
}

/// Values of the type have elements.
pub fn is_array(ty: &DataType) -> bool {
    // SAFETY: a syscache lookup.
    unsafe { pg_sys::get_element_type(pg_sys::Oid::from(ty.oid)) != pg_sys::InvalidOid }
}

/// The collation that columns of the type have unless they name one.
pub fn default_collation(ty: &DataType) -> u32 {
    // SAFETY: a syscache lookup.
    unsafe { pg_sys::get_typcollation(pg_sys::Oid::from(ty.oid)) }.to_u32()
}

/// The type is a domain.
pub fn is_domain(ty: &DataType) -> bool {
    // SAFETY: a syscache lookup.
    unsafe { pg_sys::get_typtype(pg_sys::Oid::from(ty.oid)) as u8 == pg_sys::TYPTYPE_DOMAIN }
}

/// Values of the type are compared under a collation.
pub fn is_collatable(ty: &DataType) -> bool {
    // SAFETY: a syscache lookup.
    unsafe { pg_sys::get_typcollation(pg_sys::Oid::from(ty.oid)) != pg_sys::InvalidOid }
}

/// The implicit cast that a set operation applies depends on nothing but its operand, under pinned settings.
pub fn is_steady_cast(from: &DataType, to: &DataType) -> bool {
    let (source, target) = (pg_sys::Oid::from(from.oid), pg_sys::Oid::from(to.oid));
    // SAFETY: the parser coerces a column in the same way; no ParseState is needed where nothing is a parameter.
    unsafe {
        let column = pg_sys::makeVar(1, 1, source, from.typmod, pg_sys::Oid::from(from.collation), 0);
        let cast = pg_sys::coerce_type(
            std::ptr::null_mut(),
            column.cast(),
            source,
            target,
            -1,
            pg_sys::CoercionContext::COERCION_IMPLICIT,
            pg_sys::CoercionForm::COERCE_IMPLICIT_CAST,
            -1,
        );
        super::stability::is_steady(cast)
    }
}
