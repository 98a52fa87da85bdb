//! How a kept record is written.
//!
//! The kind of the value; the row types that occur in it, each once; the value. A record is the number of its row type and its
//! fields, an array its bounds and its elements. A field that is NULL is one byte, any other is preceded by a byte 1 and is
//! written as its image ([`super::super::image`]), or, if it is a record or an array of records, as these are.
//!
//! So what is written depends on nothing but the value: not on whether some field was compressed or stored out of line.

use super::super::image::{Storage, with_bytes};
use super::row_type::{RowType, array, bounds, elements, plain};
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
    pub(super) unsafe fn of(ty: pg_sys::Oid) -> Option<Kind> {
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
    writer.finish(kind)
}

/// `keep(kept(path) || more)`, without reading the path where it has one dimension, as `more` has.
///
/// # Safety
/// `path` is a kept array of records, `more` an array of records.
pub(super) unsafe fn append(path: Datum, more: Datum) -> Datum {
    // SAFETY: by contract; `array_cat` takes two arrays of one type.
    unsafe {
        let written = Written::new(path);
        if written.kind() != Kind::Records {
            broken();
        }
        let array = plain(more).cast::<pg_sys::ArrayType>();
        let mut reader = Reader { rest: &written.0[1..], types: Vec::new() };
        let types = (0..u16::from_ne_bytes(reader.take())).map(|_| ((0, 0), reader.written_type().to_vec())).collect();
        if reader.take::<1>() != [1] || (*array).ndim != 1 {
            let whole = pg_sys::OidFunctionCall2Coll(ARRAY_CAT, pg_sys::InvalidOid, written.read(), array.into());
            return write(whole, Kind::Records);
        }
        let more = elements(array);
        let size = i32::from_ne_bytes(reader.take()) + more.len() as i32;
        let mut writer = Writer { types, value: Vec::with_capacity(reader.rest.len() + 64) };
        writer.value.push(1);
        writer.value.extend(size.to_ne_bytes());
        writer.value.extend(reader.rest);
        writer.elements(more);
        writer.finish(Kind::Records)
    }
}

/// `array_cat(anycompatiblearray, anycompatiblearray)`
pub(super) const ARRAY_CAT: pg_sys::Oid = pg_sys::Oid::from_u32(383);

impl Writer {
    fn finish(self, kind: Kind) -> Datum {
        let types: usize = self.types.iter().map(|(_, ty)| ty.len()).sum();
        let mut written = Vec::with_capacity(3 + types + self.value.len());
        written.push(u8::from(kind == Kind::Records));
        written.extend((self.types.len() as u16).to_ne_bytes());
        self.types.iter().for_each(|(_, ty)| written.extend(ty));
        written.extend(self.value);
        written.into_datum().unwrap_or_else(|| broken())
    }

    unsafe fn write(&mut self, value: Datum, kind: Kind) {
        // SAFETY: by contract.
        unsafe {
            pg_sys::check_stack_depth();
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
            self.elements(elements(array));
        }
    }

    unsafe fn elements(&mut self, elements: Vec<Option<Datum>>) {
        for element in elements {
            self.value.push(u8::from(element.is_some()));
            if let Some(element) = element {
                // SAFETY: a record.
                unsafe { self.write(element, Kind::Record) };
            }
        }
    }

    /// Where the row type is among those of the value.
    fn number(&mut self, row: &RowType) -> u16 {
        // SAFETY: the descriptor is valid.
        let known = unsafe { ((*row.descriptor()).tdtypeid.to_u32(), (*row.descriptor()).tdtypmod) };
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
        let number = self.types.iter().position(|(_, ty)| *ty == written);
        number.unwrap_or_else(|| {
            self.types.push((known, written));
            self.types.len() - 1
        }) as u16
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

    /// A row type as it is written.
    fn written_type(&mut self) -> &'static [u8] {
        let start = self.rest;
        self.bytes(size_of::<u32>());
        for _ in 0..u16::from_ne_bytes(self.take()) {
            self.bytes(3 * size_of::<u32>());
            let name = self.take::<1>()[0];
            self.bytes(name.into());
        }
        &start[..start.len() - self.rest.len()]
    }

    /// A row type of the same fields; that of this name, if it has a name.
    fn row_type(&mut self) -> RowType {
        let ty = self.oid();
        let width = u16::from_ne_bytes(self.take()) as i16;
        // SAFETY: the types of fields exist: the server looks them up.
        unsafe {
            let anonymous = ty == pg_sys::RECORDOID;
            let row = if anonymous { RowType::anonymous(width) } else { RowType::of_type(ty) };
            for index in 0..width as usize {
                let ty = (self.oid(), i32::from_ne_bytes(self.take()), self.oid());
                let length = self.take::<1>()[0] as usize;
                let name = CString::new(self.bytes(length)).unwrap_or_else(|_| broken());
                if anonymous {
                    row.define(index, &name, ty);
                } else if row.width() != width as usize || row.attribute(index).atttypid != ty.0 {
                    Error::Internal("the type of a kept row was altered".into()).raise();
                }
            }
            row.finish();
            row
        }
    }

    fn value(&mut self, kind: Kind) -> Datum {
        // SAFETY: raises an error, or does nothing.
        unsafe { pg_sys::check_stack_depth() };
        match kind {
            Kind::Record => self.record(),
            Kind::Records => self.array(),
        }
    }

    fn record(&mut self) -> Datum {
        let number = u16::from_ne_bytes(self.take()) as usize;
        let Some(row) = self.types.get(number).map(RowType::descriptor) else { broken() };
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
        let bounds: Vec<i32> = (0..2 * dimensions).map(|_| i32::from_ne_bytes(self.take())).collect();
        let (sizes, lower) = bounds.split_at(dimensions);
        array(sizes, lower, || (self.take::<1>() != [0]).then(|| self.record()))
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
        pg_sys::check_stack_depth();
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
