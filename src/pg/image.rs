//! The image of a value: the bytes that tell it from every other value of its type.
//!
//! **Law.** The image of a varlena value is its detoasted, uncompressed content, that of a composite value the images of its
//! fields, that of any other its stored bytes. (The operator `*=` takes the bytes of a composite value as they are, and those
//! depend on whether a field inside happens to be compressed.) Type equality is coarser (1.0 and 1.00 are equal
//! numerics with two images), and text depends on settings; neither may decide whether two rows cancel.
//!
//! The image of a row is injective: per column one byte for NULL or not, then the length and the content.

use pgrx::IntoDatum;
use pgrx::pg_sys::{self, Datum};
use pgrx::varlena::{varatt_is_1b, varatt_is_1b_e, varatt_is_4b_u, vardata_any, varsize_any_exhdr};
use std::cell::RefCell;
use std::ffi::CStr;
use xxhash_rust::xxh3::xxh3_64;

/// How values of a type are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage {
    pub(super) by_value: bool,
    pub(super) length: i16,
}

impl Storage {
    /// # Safety
    /// `attribute` is valid.
    pub(super) unsafe fn of(attribute: *const pg_sys::FormData_pg_attribute) -> Self {
        // SAFETY: by contract.
        unsafe { Storage { by_value: (*attribute).attbyval, length: (*attribute).attlen } }
    }
}

/// Whether two values that are not NULL have one image. Out-of-line values are fetched only when their pointers differ
/// and their sizes do not.
///
/// # Safety
/// Both are values of a type with this storage.
pub(super) unsafe fn equal(left: Datum, right: Datum, storage: Storage) -> bool {
    // SAFETY: by contract.
    unsafe {
        if storage.by_value || storage.length != -1 {
            return left == right
                || with_bytes(left, storage, |left| with_bytes(right, storage, |right| left == right));
        }
        if same_pointer(left, right) {
            return true;
        }
        content_size(left) == content_size(right)
            && with_bytes(left, storage, |left| with_bytes(right, storage, |right| left == right))
    }
}

/// A number that values with one image agree in. Long values are not read.
///
/// # Safety
/// As [`equal`].
pub(super) unsafe fn digest(value: Datum, storage: Storage) -> u64 {
    /// Longer values may be stored out of line.
    const LONGEST: usize = 256;
    // SAFETY: by contract.
    unsafe {
        if !storage.by_value && storage.length == -1 {
            let size = content_size(value);
            if size > LONGEST {
                return size as u64;
            }
        }
        with_bytes(value, storage, xxh3_64)
    }
}

/// The length of a varlena's content, detoasted.
unsafe fn content_size(value: Datum) -> usize {
    let varlena = value.cast_mut_ptr::<pg_sys::varlena>();
    // SAFETY: the header tells; what is stored elsewhere, or compressed, says how long it was.
    unsafe {
        match is_packed(varlena) {
            true => varsize_any_exhdr(varlena),
            false => pg_sys::toast_raw_datum_size(value) - pg_sys::VARHDRSZ,
        }
    }
}

/// Whether the content of a varlena is there as it is.
unsafe fn is_packed(value: *const pg_sys::varlena) -> bool {
    // SAFETY: looks at the header only.
    unsafe { varatt_is_4b_u(value) || (varatt_is_1b(value) && !varatt_is_1b_e(value)) }
}

/// Whether two varlenas are the same pointer to one out-of-line value, as they are when an UPDATE leaves it alone.
unsafe fn same_pointer(left: Datum, right: Datum) -> bool {
    /// Header of two bytes and `varatt_external`.
    const POINTER_SIZE: usize = 2 + size_of::<pg_sys::varatt_external>();
    // SAFETY: a varlena with an external header has a tag, and with this tag that size.
    unsafe {
        let (left, right) = (left.cast_mut_ptr::<pg_sys::varlena>(), right.cast_mut_ptr::<pg_sys::varlena>());
        let on_disk = |value: *const pg_sys::varlena| {
            varatt_is_1b_e(value) && *value.cast::<u8>().add(1) == pg_sys::vartag_external::VARTAG_ONDISK as u8
        };
        let bytes = |value: *const pg_sys::varlena| std::slice::from_raw_parts(value.cast::<u8>(), POINTER_SIZE);
        on_disk(left) && on_disk(right) && bytes(left) == bytes(right)
    }
}

/// Gives the content of a value to `read`.
///
/// # Safety
/// It is a value of a type with this storage.
pub(super) unsafe fn with_bytes<T>(value: Datum, storage: Storage, read: impl FnOnce(&[u8]) -> T) -> T {
    // SAFETY: the value is of a type with this storage, by the callers' contract.
    unsafe {
        match (storage.by_value, storage.length) {
            (true, length) => read(&value.value().to_ne_bytes()[native_range(length as usize)]),
            (false, -1) => {
                let original = value.cast_mut_ptr::<pg_sys::varlena>();
                let plain = if is_packed(original) { original } else { pg_sys::pg_detoast_datum_packed(original) };
                let result =
                    read(std::slice::from_raw_parts(vardata_any(plain).cast::<u8>(), varsize_any_exhdr(plain)));
                if plain != original {
                    pg_sys::pfree(plain.cast());
                }
                result
            }
            (false, -2) => read(CStr::from_ptr(value.cast_mut_ptr()).to_bytes()),
            (false, length) => read(std::slice::from_raw_parts(value.cast_mut_ptr::<u8>(), length as usize)),
        }
    }
}

/// Which bytes of a datum hold a by-value type of `length` bytes; the others are whatever sign extension left there.
fn native_range(length: usize) -> std::ops::Range<usize> {
    if cfg!(target_endian = "little") { 0..length } else { size_of::<usize>() - length..size_of::<usize>() }
}

/// Room for the values and the image of a row, kept between calls.
#[derive(Default)]
struct Scratch {
    values: Vec<Datum>,
    nulls: Vec<bool>,
    image: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    /// Makes `self.image` the image of one row.
    unsafe fn read(&mut self, header: pg_sys::HeapTupleHeader) {
        // SAFETY: a record datum carries its row type; the arrays have one element per attribute.
        unsafe {
            let descriptor = pg_sys::lookup_rowtype_tupdesc(
                pgrx::heap_tuple_header_get_type_id(header),
                pgrx::heap_tuple_header_get_typmod(header),
            );
            let attributes = (*descriptor).compact_attrs.as_slice((*descriptor).natts as usize);
            let mut tuple = pg_sys::HeapTupleData {
                t_len: pgrx::heap_tuple_header_get_datum_length(header) as u32,
                t_data: header,
                ..Default::default()
            };
            self.values.resize(attributes.len(), Datum::from(0));
            self.nulls.resize(attributes.len(), false);
            pg_sys::heap_deform_tuple(&mut tuple, descriptor, self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
            self.image.clear();
            for (index, attribute) in attributes.iter().enumerate().filter(|(_, attribute)| !attribute.attisdropped) {
                self.image.push(u8::from(!self.nulls[index]));
                if !self.nulls[index] {
                    if may_be_row(attribute) && is_row(descriptor, index) {
                        let record = self.values[index].cast_mut_ptr::<pg_sys::varlena>();
                        let plain = if is_plain(record) { record } else { pg_sys::pg_detoast_datum(record) };
                        let mut inner = Scratch::default();
                        inner.read(plain.cast());
                        self.image.extend_from_slice(&(inner.image.len() as u32).to_le_bytes());
                        self.image.extend_from_slice(&inner.image);
                        continue;
                    }
                    let storage = Storage { by_value: attribute.attbyval, length: attribute.attlen };
                    let image = &mut self.image;
                    with_bytes(self.values[index], storage, |bytes| {
                        image.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                        image.extend_from_slice(bytes);
                    });
                }
            }
            if (*descriptor).tdrefcount >= 0 {
                pg_sys::DecrTupleDescRefCount(descriptor);
            }
        }
    }
}

/// Composite values are varlenas aligned as doubles; few other types are.
fn may_be_row(attribute: &pg_sys::CompactAttribute) -> bool {
    attribute.attlen == -1 && attribute.attalignby == 8
}

/// Whether the attribute's type is composite, or a domain over such a type.
unsafe fn is_row(descriptor: pg_sys::TupleDesc, index: usize) -> bool {
    // SAFETY: the attribute exists; a look-up in the system cache.
    unsafe { pg_sys::type_is_rowtype((*pg_sys::TupleDescAttr(descriptor, index as i32)).atttypid) }
}

/// Gives the image of the record that is the function's first argument to `read`; the functions are STRICT.
unsafe fn with_argument<T>(fcinfo: pg_sys::FunctionCallInfo, read: impl FnOnce(&[u8]) -> T) -> T {
    // SAFETY: fmgr passes one record that is not NULL; a detoasted copy belongs to the call's memory context. Nothing below
    // calls a function of ours.
    unsafe {
        let record = (*fcinfo).args.as_ptr().read().value.cast_mut_ptr::<pg_sys::varlena>();
        let plain = if is_plain(record) { record } else { pg_sys::pg_detoast_datum(record) };
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.read(plain.cast());
            read(&scratch.image)
        })
    }
}

/// Whether a varlena is stored in line, uncompressed and with a long header.
unsafe fn is_plain(value: *const pg_sys::varlena) -> bool {
    // SAFETY: looks at the header only.
    unsafe { varatt_is_4b_u(value) }
}

super::c_function!(pgt_row_hash => row_hash);
/// `pgtrickle.row_hash(record)`: 64-bit xxh3 of the row's image. Equal images, equal hashes; the reverse is checked by the image.
unsafe fn row_hash(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: called by fmgr with the declared argument.
    unsafe { with_argument(fcinfo, |image| Datum::from(xxh3_64(image) as i64)) }
}

super::c_function!(pgt_row_image => row_image);
/// `pgtrickle.row_image(record)`: the row's image, for grouping rows of types that have no equality, or a coarser one.
unsafe fn row_image(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: called by fmgr with the declared argument.
    unsafe { with_argument(fcinfo, |image| image.into_datum().expect("bytes are not NULL")) }
}
