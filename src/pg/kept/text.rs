//! A kept record as text, for dumps: of types and collations the names, of fields what their types print.
//!
//! **Law.** `input(output(v))` is `v`, in another database too, as far as that is true of its fields.
//!
//! The text is a row of words, each after its length and a colon. A record is `r`, the name of its type if it has one, how many
//! fields it has, and of each the type, the collation, the name and the value; an array is `a`, its bounds and its elements. A
//! value is `-` for NULL, `=` and a text, or a record or an array.

use super::super::nodes::text;
use super::super::rows::palloc_string;
use super::form::Kind;
use super::row_type::{RowType, array, bounds, elements, plain};
use crate::error::Error;
use pgrx::pg_sys::{self, Datum};
use std::ffi::CString;

/// The text of a value of the kind.
///
/// # Safety
/// `value` is of the kind.
pub(super) unsafe fn output(value: Datum, kind: Kind) -> String {
    let mut shown = String::new();
    // SAFETY: by contract.
    unsafe { show(&mut shown, value, kind) };
    shown
}

fn say(shown: &mut String, word: &str) {
    shown.push_str(&format!("{}:{word}", word.len()));
}

unsafe fn show(shown: &mut String, value: Datum, kind: Kind) {
    // SAFETY: a value of the kind.
    unsafe {
        match kind {
            Kind::Record => show_record(shown, plain(value).cast()),
            Kind::Records => {
                let array = plain(value).cast();
                let bounds = bounds(array);
                say(shown, "a");
                say(shown, &(bounds.len() / 2).to_string());
                bounds.iter().for_each(|bound| say(shown, &bound.to_string()));
                for element in elements(array) {
                    match element {
                        Some(element) => show(shown, element, Kind::Record),
                        None => say(shown, "-"),
                    }
                }
            }
        }
    }
}

unsafe fn show_record(shown: &mut String, header: pg_sys::HeapTupleHeader) {
    // SAFETY: a plain record; the types of its fields exist.
    unsafe {
        let row = RowType::of(header);
        say(shown, "r");
        say(shown, &row.named().map_or_else(String::new, |ty| type_name(ty, -1)));
        say(shown, &row.width().to_string());
        for (index, field) in row.fields(header).into_iter().enumerate() {
            let attribute = row.attribute(index);
            let ty = attribute.atttypid;
            let dropped = attribute.attisdropped;
            say(shown, &if dropped { String::new() } else { type_name(ty, attribute.atttypmod) });
            say(shown, &collation_name(attribute.attcollation));
            say(shown, &text(attribute.attname.data.as_ptr()));
            match (field, Kind::of(ty)) {
                (None, _) => say(shown, "-"),
                (Some(value), Some(kind)) => show(shown, value, kind),
                (Some(value), None) => {
                    let (mut output, mut varlena) = (pg_sys::InvalidOid, false);
                    pg_sys::getTypeOutputInfo(ty, &mut output, &mut varlena);
                    say(shown, "=");
                    say(shown, &text(pg_sys::OidOutputFunctionCall(output, value)));
                }
            }
        }
    }
}

unsafe fn type_name(ty: pg_sys::Oid, typmod: i32) -> String {
    let flags = pg_sys::FORMAT_TYPE_TYPEMOD_GIVEN | pg_sys::FORMAT_TYPE_FORCE_QUALIFY;
    // SAFETY: a look-up in the system cache.
    unsafe { text(pg_sys::format_type_extended(ty, typmod, flags as u16)) }
}

/// Empty for none.
unsafe fn collation_name(collation: pg_sys::Oid) -> String {
    if collation == pg_sys::InvalidOid {
        return String::new();
    }
    // SAFETY: a look-up in the system cache of a collation that a field has.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::COLLOID as i32, collation.into());
        if tuple.is_null() {
            broken();
        }
        let form = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_collation>();
        let schema = pg_sys::get_namespace_name(form.collnamespace);
        let name = text(pg_sys::quote_qualified_identifier(schema, form.collname.data.as_ptr()));
        pg_sys::ReleaseSysCache(tuple);
        name
    }
}

fn broken() -> ! {
    Error::InvalidArgument {
        message: "invalid text of a pgtrickle.kept_record".into(),
        hint: "Values of the type are made by refreshes.".into(),
    }
    .raise()
}

/// The value whose text this is, and its kind.
pub(super) fn input(shown: &str) -> (Datum, Kind) {
    let mut reader = Reader { rest: shown };
    let kind = reader.word();
    let value = reader.value(kind).unwrap_or_else(|| broken());
    if !reader.rest.is_empty() {
        broken();
    }
    (value, if kind == "a" { Kind::Records } else { Kind::Record })
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn word(&mut self) -> &'a str {
        let (length, rest) = self.rest.split_once(':').unwrap_or_else(|| broken());
        let length = length.parse().unwrap_or_else(|_| broken());
        let (word, rest) = rest.split_at_checked(length).unwrap_or_else(|| broken());
        self.rest = rest;
        word
    }

    fn number(&mut self) -> i32 {
        self.word().parse().unwrap_or_else(|_| broken())
    }

    /// What comes after this word: a record or an array; `None` for NULL.
    fn value(&mut self, word: &str) -> Option<Datum> {
        match word {
            "r" => Some(self.record()),
            "a" => Some(self.array()),
            "-" => None,
            _ => broken(),
        }
    }

    fn array(&mut self) -> Datum {
        let dimensions = usize::try_from(self.number()).ok().filter(|n| *n <= 6).unwrap_or_else(|| broken());
        let bounds: Vec<i32> = (0..2 * dimensions).map(|_| self.number()).collect();
        let (sizes, lower) = bounds.split_at(dimensions);
        array(sizes, lower, || match self.word() {
            "-" => None,
            "r" => Some(self.record()),
            _ => broken(),
        })
    }

    fn record(&mut self) -> Datum {
        // SAFETY: raises an error, or does nothing.
        unsafe { pg_sys::check_stack_depth() };
        let named = self.word();
        let width = self.number();
        if !(0..=pg_sys::MaxTupleAttributeNumber as i32).contains(&width) {
            broken();
        }
        // SAFETY: what is looked up is as the descriptor needs it, and values are of the types that it says.
        unsafe {
            let row = match named {
                "" => RowType::anonymous(width as i16),
                named => RowType::of_type(type_of(named).0),
            };
            if row.width() != width as usize {
                broken();
            }
            let (mut values, mut nulls) = (vec![Datum::from(0); row.width()], vec![true; row.width()]);
            for index in 0..row.width() {
                let (ty, collation, name) = (self.word(), self.word(), self.word());
                let (ty, typmod) = if ty.is_empty() { (pg_sys::InvalidOid, -1) } else { type_of(ty) };
                if named.is_empty() {
                    let name = CString::new(name).unwrap_or_else(|_| broken());
                    row.define(index, &name, (ty, typmod, collation_of(collation)));
                } else if ty != pg_sys::InvalidOid && row.attribute(index).atttypid != ty {
                    broken();
                }
                let value = match (self.word(), Kind::of(ty)) {
                    ("=", None) => Some(field(self.word(), ty, typmod)),
                    ("r", Some(Kind::Record)) => Some(self.record()),
                    ("a", Some(Kind::Records)) => Some(self.array()),
                    ("-", _) => None,
                    _ => broken(),
                };
                nulls[index] = value.is_none();
                values[index] = value.unwrap_or(Datum::from(0));
            }
            row.finish();
            row.form(&values, &nulls)
        }
    }
}

unsafe fn field(shown: &str, ty: pg_sys::Oid, typmod: i32) -> Datum {
    let (mut input, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
    // SAFETY: the input function of a type that there is.
    unsafe {
        pg_sys::getTypeInputInfo(ty, &mut input, &mut parameter);
        pg_sys::OidInputFunctionCall(input, palloc_string(shown), parameter, typmod)
    }
}

unsafe fn type_of(name: &str) -> (pg_sys::Oid, i32) {
    let (mut ty, mut typmod) = (pg_sys::InvalidOid, -1);
    // SAFETY: the server looks the name up, or raises its own error.
    unsafe { pg_sys::parseTypeString(palloc_string(name), &mut ty, &mut typmod, std::ptr::null_mut()) };
    (ty, typmod)
}

unsafe fn collation_of(name: &str) -> pg_sys::Oid {
    if name.is_empty() {
        return pg_sys::InvalidOid;
    }
    // SAFETY: likewise.
    unsafe {
        let parts = pg_sys::stringToQualifiedNameList(palloc_string(name), std::ptr::null_mut());
        pg_sys::get_collation_oid(parts, false)
    }
}
