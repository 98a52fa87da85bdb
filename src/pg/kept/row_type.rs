//! Row types, and records and arrays of them as the server has them.

use pgrx::pg_sys::{self, Datum};
use std::ffi::CStr;

/// A row type that is in use until it is dropped.
pub(super) struct RowType(pg_sys::TupleDesc);

impl RowType {
    /// # Safety
    /// `header` is that of a plain record.
    pub(super) unsafe fn of(header: pg_sys::HeapTupleHeader) -> RowType {
        // SAFETY: a record carries its row type.
        unsafe {
            let (ty, typmod) =
                (pgrx::heap_tuple_header_get_type_id(header), pgrx::heap_tuple_header_get_typmod(header));
            RowType(pg_sys::lookup_rowtype_tupdesc(ty, typmod))
        }
    }

    /// That of a named composite type.
    ///
    /// # Safety
    /// A look-up; the server raises an error for any other type.
    pub(super) unsafe fn of_type(ty: pg_sys::Oid) -> RowType {
        // SAFETY: by contract.
        RowType(unsafe { pg_sys::lookup_rowtype_tupdesc(ty, -1) })
    }

    /// One without a name, whose fields are to be defined.
    pub(super) fn anonymous(width: i16) -> RowType {
        // SAFETY: a descriptor in the current memory context.
        RowType(unsafe { pg_sys::CreateTemplateTupleDesc(i32::from(width)) })
    }

    /// The field of an anonymous row type: its name, and its type, modifier and collation.
    ///
    /// # Safety
    /// The server looks the type up.
    pub(super) unsafe fn define(&self, index: usize, name: &CStr, ty: (pg_sys::Oid, i32, pg_sys::Oid)) {
        let number = index as i16 + 1;
        // SAFETY: callers count to the width.
        unsafe {
            pg_sys::TupleDescInitEntry(self.0, number, name.as_ptr(), ty.0, ty.1, 0);
            pg_sys::TupleDescInitEntryCollation(self.0, number, ty.2);
        }
    }

    /// All fields are defined.
    pub(super) fn finish(&self) {
        if self.named().is_none() {
            // SAFETY: a descriptor of this module's own, or one that is known already.
            unsafe { pg_sys::BlessTupleDesc(self.0) };
        }
    }

    /// The type, if it has a name.
    pub(super) fn named(&self) -> Option<pg_sys::Oid> {
        // SAFETY: the descriptor is valid while this is.
        let ty = unsafe { (*self.0).tdtypeid };
        (ty != pg_sys::RECORDOID).then_some(ty)
    }

    /// The record of these fields.
    ///
    /// # Safety
    /// The values are of the fields' types.
    pub(super) unsafe fn form(&self, values: &[Datum], nulls: &[bool]) -> Datum {
        // SAFETY: by contract.
        unsafe {
            let tuple = pg_sys::heap_form_tuple(self.0, values.as_ptr(), nulls.as_ptr());
            pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data)
        }
    }

    /// Lives as long as this.
    pub(super) fn descriptor(&self) -> pg_sys::TupleDesc {
        self.0
    }

    pub(super) fn width(&self) -> usize {
        // SAFETY: the descriptor is valid while this is.
        unsafe { (*self.0).natts as usize }
    }

    pub(super) fn attribute(&self, index: usize) -> &pg_sys::FormData_pg_attribute {
        // SAFETY: callers count to the width.
        unsafe { &*pg_sys::TupleDescAttr(self.0, index as i32) }
    }

    /// The fields of the record; `None` for NULL.
    ///
    /// # Safety
    /// `header` is that of a plain record of this type.
    pub(super) unsafe fn fields(&self, header: pg_sys::HeapTupleHeader) -> Vec<Option<Datum>> {
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
pub(super) unsafe fn plain(value: Datum) -> *mut pg_sys::varlena {
    // SAFETY: by contract.
    unsafe { pg_sys::pg_detoast_datum(value.cast_mut_ptr()) }
}

/// The elements of an array of records.
///
/// # Safety
/// `array` is one, plain.
pub(super) unsafe fn elements(array: *mut pg_sys::ArrayType) -> Vec<Option<Datum>> {
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
pub(super) unsafe fn bounds(array: *mut pg_sys::ArrayType) -> &'static [i32] {
    // SAFETY: both stand behind the header of an array.
    unsafe { std::slice::from_raw_parts(array.add(1).cast(), 2 * (*array).ndim as usize) }
}

/// The array of records with these bounds; `next` gives one after the other.
pub(super) fn array(sizes: &[i32], lower: &[i32], mut next: impl FnMut() -> Option<Datum>) -> Datum {
    let count =
        if sizes.is_empty() { 0 } else { sizes.iter().fold(1_i32, |count, size| count.saturating_mul(*size)).max(0) };
    let elements: Vec<Option<Datum>> = (0..count).map(|_| next()).collect();
    let mut nulls: Vec<bool> = elements.iter().map(Option::is_none).collect();
    let mut values: Vec<Datum> = elements.into_iter().map(|value| value.unwrap_or(Datum::from(0))).collect();
    let (mut sizes, mut lower) = (sizes.to_vec(), lower.to_vec());
    // SAFETY: as many elements as the sizes say, all of them records.
    unsafe {
        let align = pg_sys::TYPALIGN_DOUBLE as std::ffi::c_char;
        let (elements, ndims) = ((values.as_mut_ptr(), nulls.as_mut_ptr()), sizes.len() as i32);
        let bounds = (sizes.as_mut_ptr(), lower.as_mut_ptr());
        let ty = pg_sys::RECORDOID;
        Datum::from(pg_sys::construct_md_array(elements.0, elements.1, ndims, bounds.0, bounds.1, ty, -1, false, align))
    }
}
