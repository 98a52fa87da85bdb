//! How a kept record is written.
//!
//! The kind of the value; the row types that occur in it, each once; the value. A record is the number of its row type and its
//! fields, an array its bounds and its elements. A field that is NULL is one byte, any other is preceded by a byte 1 and is
//! written as its image ([`super::super::image`]), or, if it is a record or an array of records, as these are.
//!
//! So what is written depends on nothing but the value: not on whether some field was compressed or stored out of line.

use super::super::image::{Storage, with_bytes};
use crate::error::Error;
use pgrx::pg_sys::{self, Datum};
use pgrx::varlena::{vardata_any, varsize_any_exhdr};
use pgrx::{IntoDatum, PgMemoryContexts};
use std::ffi::{CStr, CString};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Record,
    Records,
}

impl Kind {
    pub(super) fn ty(self) -> pg_sys::Oid {
        match self {
            Kind::Record => pg_sys::RECORDOID,
            Kind::Records => pg_sys::RECORDARRAYOID,
        }
    }

    /// What values of a column of the type are, if they are written as records: rows of named types are, too.
    ///
    /// # Safety
    /// A look-up in the system cache.
    unsafe fn of(ty: pg_sys::Oid) -> Option<Kind> {
        match ty {
            pg_sys::RECORDARRAYOID => Some(Kind::Records),
            // SAFETY: by contract.
            _ => unsafe { pg_sys::type_is_rowtype(ty) }.then_some(Kind::Record),
        }
    }
}

fn broken() -> ! {
    Error::Internal("a kept record is not what was written".into()).raise()
}

/// A row type that is in use until it is dropped.
struct RowType(pg_sys::TupleDesc);

impl RowType {
    /// # Safety
    /// `header` is that of a plain record.
    unsafe fn of(header: pg_sys::HeapTupleHeader) -> RowType {
        // SAFETY: a record carries its row type.
        unsafe {
            let (ty, typmod) =
                (pgrx::heap_tuple_header_get_type_id(header), pgrx::heap_tuple_header_get_typmod(header));
            RowType(pg_sys::lookup_rowtype_tupdesc(ty, typmod))
        }
    }

    fn width(&self) -> usize {
        // SAFETY: the descriptor is valid while this is.
        unsafe { (*self.0).natts as usize }
    }

    fn attribute(&self, index: usize) -> &pg_sys::FormData_pg_attribute {
        // SAFETY: callers count to the width.
        unsafe { &*pg_sys::TupleDescAttr(self.0, index as i32) }
    }

    /// The fields of the record; `None` for NULL.
    ///
    /// # Safety
    /// `header` is that of a plain record of this type.
    unsafe fn fields(&self, header: pg_sys::HeapTupleHeader) -> Vec<Option<Datum>> {
        let (mut values, mut nulls) = (vec![Datum::from(0); self.width()], vec![false; self.width()]);
        // SAFETY: the arrays have one element for each attribute.
        unsafe {
            let t_len = pgrx::heap_tuple_header_get_datum_length(header) as u32;
            let mut tuple = pg_sys::HeapTupleData { t_len, t_data: header, ..Default::default() };
            pg_sys::heap_deform_tuple(&mut tuple, self.0, values.as_mut_ptr(), nulls.as_mut_ptr());
        }
        let field = |(index, (value, null)): (usize, (Datum, bool))| {
            (!null && !self.attribute(index).attisdropped).then_some(value)
        };
        values.into_iter().zip(nulls).enumerate().map(field).collect()
    }
}

impl Drop for RowType {
    fn drop(&mut self) {
        // SAFETY: counted descriptors were counted when this was made.
        unsafe {
            if (*self.0).tdrefcount >= 0 {
                pg_sys::DecrTupleDescRefCount(self.0);
            }
        }
    }
}

/// # Safety
/// `value` is a record, or another varlena of a type that is laid out in this way.
unsafe fn plain(value: Datum) -> *mut pg_sys::varlena {
    // SAFETY: by contract.
    unsafe { pg_sys::pg_detoast_datum(value.cast_mut_ptr()) }
}

/// The elements of an array of records.
///
/// # Safety
/// `array` is one, plain.
unsafe fn elements(array: *mut pg_sys::ArrayType) -> Vec<Option<Datum>> {
    let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: records are varlenas, aligned as doubles.
    unsafe {
        let align = pg_sys::TYPALIGN_DOUBLE as std::ffi::c_char;
        let out = (&raw mut values, &raw mut nulls, &raw mut count);
        pg_sys::deconstruct_array(array, (*array).elemtype, -1, false, align, out.0, out.1, out.2);
        (0..count as usize).map(|index| (!*nulls.add(index)).then(|| *values.add(index))).collect()
    }
}

/// The sizes of the dimensions, then the lower bounds.
///
/// # Safety
/// `array` is an array, plain.
unsafe fn bounds(array: *mut pg_sys::ArrayType) -> &'static [i32] {
    // SAFETY: both stand behind the header of an array.
    unsafe { std::slice::from_raw_parts(array.add(1).cast(), 2 * (*array).ndim as usize) }
}

#[derive(Default)]
struct Writer {
    types: Vec<((u32, i32), Vec<u8>)>,
    value: Vec<u8>,
}

/// The value as a datum of type `pgtrickle.kept_record`.
///
/// # Safety
/// `value` is of the kind.
pub(super) unsafe fn write(value: Datum, kind: Kind) -> Datum {
    let mut writer = Writer::default();
    // SAFETY: by contract.
    unsafe { writer.write(value, kind) };
    let mut written = vec![u8::from(kind == Kind::Records)];
    written.extend((writer.types.len() as u16).to_ne_bytes());
    writer.types.iter().for_each(|(_, ty)| written.extend(ty));
    written.extend(writer.value);
    written.into_datum().unwrap_or_else(|| broken())
}

impl Writer {
    unsafe fn write(&mut self, value: Datum, kind: Kind) {
        // SAFETY: by contract.
        unsafe {
            match kind {
                Kind::Record => self.record(plain(value).cast()),
                Kind::Records => self.array(plain(value).cast()),
            }
        }
    }

    unsafe fn record(&mut self, header: pg_sys::HeapTupleHeader) {
        // SAFETY: a plain record.
        unsafe {
            let row = RowType::of(header);
            let number = self.number(&row);
            self.value.extend(number.to_ne_bytes());
            for (index, field) in row.fields(header).into_iter().enumerate() {
                self.value.push(u8::from(field.is_some()));
                let Some(value) = field else { continue };
                let attribute = row.attribute(index);
                if let Some(kind) = Kind::of(attribute.atttypid) {
                    self.write(value, kind);
                    continue;
                }
                with_bytes(value, Storage::of(attribute), |bytes| {
                    self.value.extend((bytes.len() as u32).to_ne_bytes());
                    self.value.extend(bytes);
                });
            }
        }
    }

    unsafe fn array(&mut self, array: *mut pg_sys::ArrayType) {
        // SAFETY: a plain array of records.
        unsafe {
            self.value.push((*array).ndim as u8);
            bounds(array).iter().for_each(|bound| self.value.extend(bound.to_ne_bytes()));
            for element in elements(array) {
                self.value.push(u8::from(element.is_some()));
                if let Some(element) = element {
                    self.write(element, Kind::Record);
                }
            }
        }
    }

    /// Where the row type is among those of the value.
    fn number(&mut self, row: &RowType) -> u16 {
        // SAFETY: the descriptor is valid.
        let known = unsafe { ((*row.0).tdtypeid.to_u32(), (*row.0).tdtypmod) };
        if let Some(number) = self.types.iter().position(|(ty, _)| *ty == known) {
            return number as u16;
        }
        let mut written = known.0.to_ne_bytes().to_vec();
        written.extend((row.width() as u16).to_ne_bytes());
        for index in 0..row.width() {
            let attribute = row.attribute(index);
            // SAFETY: a name ends with NUL.
            let name = unsafe { CStr::from_ptr(attribute.attname.data.as_ptr()) }.to_bytes();
            written.extend(attribute.atttypid.to_u32().to_ne_bytes());
            written.extend(attribute.atttypmod.to_ne_bytes());
            written.extend(attribute.attcollation.to_u32().to_ne_bytes());
            written.push(name.len() as u8);
            written.extend(name);
        }
        self.types.push((known, written));
        (self.types.len() - 1) as u16
    }
}

/// A kept value.
pub(super) struct Written(&'static [u8]);

struct Reader {
    rest: &'static [u8],
    types: Vec<RowType>,
}

impl Written {
    /// # Safety
    /// `value` is of type `pgtrickle.kept_record`, and lives while this does.
    pub(super) unsafe fn new(value: Datum) -> Written {
        // SAFETY: by contract; what is detoasted belongs to the current memory context.
        unsafe {
            let value = pg_sys::pg_detoast_datum_packed(value.cast_mut_ptr());
            Written(std::slice::from_raw_parts(vardata_any(value).cast(), varsize_any_exhdr(value)))
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self.0.first() {
            Some(0) => Kind::Record,
            Some(1) => Kind::Records,
            _ => broken(),
        }
    }

    /// The record, or the array of records.
    pub(super) fn read(&self) -> Datum {
        let mut reader = Reader { rest: &self.0[1..], types: Vec::new() };
        for _ in 0..u16::from_ne_bytes(reader.take()) {
            let ty = reader.row_type();
            reader.types.push(ty);
        }
        reader.value(self.kind())
    }
}

impl Reader {
    fn bytes(&mut self, count: usize) -> &'static [u8] {
        let (taken, rest) = self.rest.split_at_checked(count).unwrap_or_else(|| broken());
        self.rest = rest;
        taken
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        self.bytes(N).try_into().unwrap_or_else(|_| broken())
    }

    fn oid(&mut self) -> pg_sys::Oid {
        pg_sys::Oid::from(u32::from_ne_bytes(self.take()))
    }

    /// A row type of the same fields; that of this name, if it has a name.
    fn row_type(&mut self) -> RowType {
        let ty = self.oid();
        let width = u16::from_ne_bytes(self.take()) as i16;
        // SAFETY: the descriptor has an entry for each field, whose type exists: the server looks it up.
        unsafe {
            let anonymous = ty == pg_sys::RECORDOID;
            let row = RowType(match anonymous {
                true => pg_sys::CreateTemplateTupleDesc(i32::from(width)),
                false => pg_sys::lookup_rowtype_tupdesc(ty, -1),
            });
            for number in 1..=width {
                let (ty, typmod, collation) = (self.oid(), i32::from_ne_bytes(self.take()), self.oid());
                let length = self.take::<1>()[0] as usize;
                let name = CString::new(self.bytes(length)).unwrap_or_else(|_| broken());
                if anonymous {
                    pg_sys::TupleDescInitEntry(row.0, number, name.as_ptr(), ty, typmod, 0);
                    pg_sys::TupleDescInitEntryCollation(row.0, number, collation);
                } else if row.width() != width as usize || row.attribute(number as usize - 1).atttypid != ty {
                    Error::Internal("the type of a kept row was altered".into()).raise();
                }
            }
            if anonymous {
                pg_sys::BlessTupleDesc(row.0);
            }
            row
        }
    }

    fn value(&mut self, kind: Kind) -> Datum {
        match kind {
            Kind::Record => self.record(),
            Kind::Records => self.array(),
        }
    }

    fn record(&mut self) -> Datum {
        let number = u16::from_ne_bytes(self.take()) as usize;
        let Some(row) = self.types.get(number).map(|row| row.0) else { broken() };
        // SAFETY: the row types live as long as the reader; fields are of the types that the descriptor says.
        unsafe {
            let width = (*row).natts as usize;
            let (mut values, mut nulls) = (vec![Datum::from(0); width], vec![true; width]);
            for index in 0..width {
                if self.take::<1>() == [0] {
                    continue;
                }
                let attribute = &*pg_sys::TupleDescAttr(row, index as i32);
                nulls[index] = false;
                values[index] = match Kind::of(attribute.atttypid) {
                    Some(kind) => self.value(kind),
                    None => self.field(Storage::of(attribute)),
                };
            }
            let tuple = pg_sys::heap_form_tuple(row, values.as_ptr(), nulls.as_ptr());
            pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data)
        }
    }

    /// A field, from its image.
    fn field(&mut self, storage: Storage) -> Datum {
        let length = u32::from_ne_bytes(self.take()) as usize;
        let bytes = self.bytes(length);
        // SAFETY: the image of a value of a type with this storage.
        unsafe {
            match (storage.by_value, storage.length) {
                (true, 1) => Datum::from(bytes[0] as i8),
                (true, 2) => Datum::from(i16::from_ne_bytes(bytes.try_into().unwrap_or_else(|_| broken()))),
                (true, 4) => Datum::from(i32::from_ne_bytes(bytes.try_into().unwrap_or_else(|_| broken()))),
                (true, _) => Datum::from(i64::from_ne_bytes(bytes.try_into().unwrap_or_else(|_| broken()))),
                (false, -1) => bytes.into_datum().unwrap_or_else(|| broken()),
                (false, -2) => {
                    CString::new(bytes).unwrap_or_else(|_| broken()).into_datum().unwrap_or_else(|| broken())
                }
                (false, _) => {
                    let copy = pg_sys::palloc(length).cast::<u8>();
                    copy.copy_from_nonoverlapping(bytes.as_ptr(), length);
                    Datum::from(copy)
                }
            }
        }
    }

    fn array(&mut self) -> Datum {
        let dimensions = self.take::<1>()[0] as usize;
        let mut bound = || -> Vec<i32> { (0..dimensions).map(|_| i32::from_ne_bytes(self.take())).collect() };
        let (mut sizes, mut lower) = (bound(), bound());
        let count = if dimensions == 0 { 0 } else { sizes.iter().product::<i32>().max(0) };
        let element = |_| (self.take::<1>() != [0]).then(|| self.record());
        let elements: Vec<Option<Datum>> = (0..count).map(element).collect();
        let mut nulls: Vec<bool> = elements.iter().map(Option::is_none).collect();
        let mut values: Vec<Datum> = elements.into_iter().map(|value| value.unwrap_or(Datum::from(0))).collect();
        // SAFETY: as many elements as the sizes say, all of them records.
        unsafe {
            let align = pg_sys::TYPALIGN_DOUBLE as std::ffi::c_char;
            let (values, nulls, bounds) =
                (values.as_mut_ptr(), nulls.as_mut_ptr(), (sizes.as_mut_ptr(), lower.as_mut_ptr()));
            let ndims = dimensions as i32;
            let element = pg_sys::RECORDOID;
            Datum::from(pg_sys::construct_md_array(values, nulls, ndims, bounds.0, bounds.1, element, -1, false, align))
        }
    }
}

/// The field of this number, from 1 on; `None` for NULL.
///
/// # Safety
/// `record` is a record.
pub(super) unsafe fn field(record: Datum, number: i32, wanted: pg_sys::Oid) -> Option<Datum> {
    // SAFETY: by contract.
    unsafe {
        let header = plain(record).cast();
        let row = RowType::of(header);
        let index = usize::try_from(number - 1).ok().filter(|index| *index < row.width());
        let index = index.filter(|index| row.attribute(*index).atttypid == wanted).unwrap_or_else(|| broken());
        row.fields(header)[index]
    }
}

/// Equal values, equal hashes.
///
/// # Safety
/// `value` is of type `pgtrickle.kept_record`.
pub(super) unsafe fn hash(value: Datum) -> u64 {
    // SAFETY: by contract.
    unsafe {
        PgMemoryContexts::new("pg_trickle kept record").switch_to(|_| {
            let written = Written::new(value);
            hash_of(written.read(), written.kind())
        })
    }
}

unsafe fn hash_of(value: Datum, kind: Kind) -> u64 {
    // SAFETY: a value of the kind.
    unsafe {
        if kind == Kind::Records {
            let each = |element: Option<Datum>| element.map_or(0, |record| hash_of(record, Kind::Record));
            return elements(plain(value).cast()).into_iter().map(each).fold(1, mixed);
        }
        let header = plain(value).cast();
        let row = RowType::of(header);
        let fields = row.fields(header).into_iter().enumerate();
        let each = |(index, field): (usize, Option<Datum>)| {
            let attribute = row.attribute(index);
            field.map_or(0, |value| match Kind::of(attribute.atttypid) {
                Some(kind) => hash_of(value, kind),
                None => hash_of_field(value, attribute),
            })
        };
        fields.map(each).fold(1, mixed)
    }
}

unsafe fn hash_of_field(value: Datum, attribute: &pg_sys::FormData_pg_attribute) -> u64 {
    // SAFETY: a value of the attribute's type; entries of the type cache live as long as the backend.
    unsafe {
        let wanted = pg_sys::TYPECACHE_HASH_EXTENDED_PROC_FINFO as i32;
        let entry = &mut *pg_sys::lookup_type_cache(attribute.atttypid, wanted);
        if entry.hash_extended_proc == pg_sys::InvalidOid {
            return 0;
        }
        let hash = &mut entry.hash_extended_proc_finfo;
        pg_sys::FunctionCall2Coll(hash, attribute.attcollation, value, Datum::from(0)).value() as u64
    }
}

/// Both in one number.
pub(super) fn mixed(left: u64, right: u64) -> u64 {
    (left ^ right.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) ^ right
}
