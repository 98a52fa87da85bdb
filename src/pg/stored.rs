//! A buffer row made of a source row as it is stored.
//!
//! **Law.** Where the captured columns are the leading ones of a relation, in its order and of the same storage, the bytes
//! of a stored row up to the end of the last of them are the bytes of the buffer row after its [`FIXED`] columns: these take
//! [`HEAD`] bytes, a multiple of the largest alignment, so that everything behind them keeps its padding. The bitmap of NULLs
//! moves up by [`FIXED`] bits. The columns of the buffer behind them are always NULL, which is what a row has that ends before
//! them (`access/common/heaptuple.c`, `heap_deform_tuple`).
//!
//! Forming a row of its values takes the time of all columns; this copies them at once.

use std::ptr::{copy_nonoverlapping, write_bytes};

use pgrx::pg_sys::{self, HeapTuple, TupleTableSlot};

use super::bare;
use super::layout::FIXED;

/// `xid xid8`, `cid int4` and `w int4`.
const HEAD: usize = 16;
const _: () = assert!(HEAD.is_multiple_of(pg_sys::MAXIMUM_ALIGNOF as usize));

/// Where the bitmap of NULLs begins in a row.
const BITS: usize = std::mem::offset_of!(pg_sys::HeapTupleHeaderData, t_bits);
const MANAGEMENT: usize = align(size_of::<pg_sys::HeapTupleData>());

const fn align(size: usize) -> usize {
    size.next_multiple_of(pg_sys::MAXIMUM_ALIGNOF as usize)
}

/// What a buffer row says besides the source's columns.
pub(super) struct Head {
    pub(super) xid: u64,
    pub(super) cid: u32,
    pub(super) weight: i32,
}

/// The buffer row of the first `count` columns of a row of a transition table, allocated in the current memory context; or
/// `None` if the row ends before them, since they were added later.
///
/// # Safety
/// `slot` is of `TTSOpsMinimalTuple`, holds a row and has no more than `count` columns deformed. As for [`bare`].
pub(super) unsafe fn form(head: &Head, slot: *mut TupleTableSlot, count: usize) -> Option<HeapTuple> {
    // SAFETY: by contract. All that is written lies within the one allocation; its parts begin at aligned places.
    unsafe {
        let minimal = slot.cast::<pg_sys::MinimalTupleTableSlot>();
        let row = (*minimal).tuple;
        let from = (*row).t_data;
        let data = match usize::from((*from).t_infomask2 & pg_sys::HEAP_NATTS_MASK as u16) {
            width if width < count => return None,
            width if width == count => (*row).t_len as usize - usize::from((*from).t_hoff),
            _ => {
                deform(slot, count as i32);
                (*minimal).off as usize
            }
        };
        let nulls = (*from).t_infomask & pg_sys::HEAP_HASNULL as u16 != 0;
        let bits = if nulls { (FIXED + count).div_ceil(8) } else { 0 };
        let offset = align(BITS + bits);
        let length = offset + HEAD + data;
        let tuple = bare::palloc(MANAGEMENT + length).cast::<pg_sys::HeapTupleData>();
        write_bytes(tuple.cast::<u8>(), 0, MANAGEMENT + offset);
        let header = tuple.byte_add(MANAGEMENT).cast::<pg_sys::HeapTupleHeaderData>();
        (*tuple).t_len = length as u32;
        (*tuple).t_data = header;
        let kept = pg_sys::HEAP_HASNULL | pg_sys::HEAP_HASVARWIDTH | pg_sys::HEAP_HASEXTERNAL;
        (*header).t_infomask = (*from).t_infomask & kept as u16;
        (*header).t_infomask2 = (FIXED + count) as u16;
        (*header).t_hoff = offset as u8;
        shift(from.cast::<u8>().add(BITS), header.cast::<u8>().add(BITS), bits);
        let to = header.cast::<u8>().add(offset);
        to.cast::<u64>().write(head.xid);
        to.add(8).cast::<u32>().write(head.cid);
        to.add(12).cast::<i32>().write(head.weight);
        copy_nonoverlapping(from.cast::<u8>().add((*from).t_hoff.into()), to.add(HEAD), data);
        Some(tuple)
    }
}

/// Deforms the first `count` columns of a row.
///
/// # Safety
/// `slot` holds a row of at least so many columns. As for [`bare`].
pub(super) unsafe fn deform(slot: *mut TupleTableSlot, count: i32) {
    // SAFETY: by contract.
    unsafe {
        if i32::from((*slot).tts_nvalid) < count {
            bare::slot_getsomeattrs_int(slot, count);
        }
    }
}

/// Copies a bitmap, [`FIXED`] bits further on, to `count` bytes; what comes before are ones.
unsafe fn shift(from: *const u8, to: *mut u8, count: usize) {
    let mut carried = (1 << FIXED) - 1;
    for index in 0..count {
        // SAFETY: the source's bitmap may end one byte earlier, but a row's bitmap is followed by its data or its padding.
        unsafe {
            let byte = *from.add(index);
            *to.add(index) = byte << FIXED | carried;
            carried = byte >> (8 - FIXED);
        }
    }
}
