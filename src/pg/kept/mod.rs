//! Records, and arrays of them, as tables can hold them: the type `pgtrickle.kept_record`.
//!
//! An anonymous record has no type of which a table could have a column: what its fields are is known to the session that made
//! it. A kept one says itself what they are.
//!
//! **Law.** `kept(keep(v)) = v`, field names and images included. Two kept values are equal, and one is less than the other,
//! as the records are (`record_eq`, `btrecordcmp`; `array_eq`, `btarraycmp`): these decide it. They hash by what the types of
//! their fields say; a field of a type that cannot hash counts for nothing, where a record would fail.
//!
//! [`form`] is how a value is written and read, [`text`] how it is dumped, [`tree`] which columns of a query are kept so.

mod form;
mod row_type;
mod text;
pub(super) mod tree;

use super::rows::palloc_string;
use crate::error::Error;
use form::{Kind, Written};
use pgrx::PgMemoryContexts;
use pgrx::pg_sys::{self, Datum};
use std::cmp::Ordering;
use std::ffi::CStr;

unsafe fn argument(fcinfo: pg_sys::FunctionCallInfo, number: usize) -> Datum {
    // SAFETY: fmgr passes the declared arguments, of which the callers ask for none that is NULL.
    unsafe { (*fcinfo).args.as_ptr().add(number).read().value }
}

super::c_function!(pgt_keep_record => keep_record);
/// `pgtrickle._keep_record(record)`
unsafe fn keep_record(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: a record that is not NULL.
    unsafe { form::write(argument(fcinfo, 0), Kind::Record) }
}

super::c_function!(pgt_keep_records => keep_records);
/// `pgtrickle._keep_records(record[])`
unsafe fn keep_records(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: an array of records that is not NULL.
    unsafe { form::write(argument(fcinfo, 0), Kind::Records) }
}

super::c_function!(pgt_kept_append => kept_append);
/// `pgtrickle._kept_append(pgtrickle.kept_record, record[])`: what keeps `kept || records`.
unsafe fn kept_append(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: called by fmgr with the declared arguments, each of which may be NULL.
    unsafe {
        let args = (*fcinfo).args.as_ptr();
        match [0, 1].map(|number| (!(*args.add(number)).isnull).then(|| argument(fcinfo, number))) {
            [Some(path), Some(more)] => form::append(path, more),
            [Some(path), None] => path,
            [None, Some(more)] => form::write(more, Kind::Records),
            [None, None] => {
                (*fcinfo).isnull = true;
                Datum::from(0)
            }
        }
    }
}

/// The value, which must be of the kind.
unsafe fn read(fcinfo: pg_sys::FunctionCallInfo, kind: Kind) -> Datum {
    // SAFETY: a kept value that is not NULL.
    let written = unsafe { Written::new(argument(fcinfo, 0)) };
    if written.kind() != kind {
        Error::Internal("a kept record is read as an array of records, or the reverse".into()).raise();
    }
    written.read()
}

super::c_function!(pgt_kept_record => kept_record);
/// `pgtrickle._kept_record(pgtrickle.kept_record)`
unsafe fn kept_record(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: called by fmgr with the declared argument.
    unsafe { read(fcinfo, Kind::Record) }
}

super::c_function!(pgt_kept_records => kept_records);
/// `pgtrickle._kept_records(pgtrickle.kept_record)`
unsafe fn kept_records(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: called by fmgr with the declared argument.
    unsafe { read(fcinfo, Kind::Records) }
}

super::c_function!(pgt_kept_field => kept_field);
/// `pgtrickle._kept_field(pgtrickle.kept_record, integer, anyelement)`: the field of this number, which is of the type of the
/// third argument.
unsafe fn kept_field(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: called by fmgr with the declared arguments; a call that was parsed knows their types.
    unsafe {
        let args = (*fcinfo).args.as_ptr();
        if (*args).isnull || (*args.add(1)).isnull {
            (*fcinfo).isnull = true;
            return Datum::from(0);
        }
        let wanted = pg_sys::get_fn_expr_argtype((*fcinfo).flinfo, 2);
        let record = read(fcinfo, Kind::Record);
        match form::field(record, argument(fcinfo, 1).value() as i32, wanted) {
            Some(value) => value,
            None => {
                (*fcinfo).isnull = true;
                Datum::from(0)
            }
        }
    }
}

super::c_function!(pgt_kept_in => kept_in);
/// The input function, of what [`kept_out`] prints.
unsafe fn kept_in(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: a string that is not NULL; what is read is of the kind that it says.
    unsafe {
        let shown = CStr::from_ptr(argument(fcinfo, 0).cast_mut_ptr()).to_string_lossy();
        let (value, kind) = text::input(&shown);
        form::write(value, kind)
    }
}

super::c_function!(pgt_kept_out => kept_out);
/// The output function.
unsafe fn kept_out(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: a kept value; what is read is of its kind.
    unsafe {
        let written = Written::new(argument(fcinfo, 0));
        Datum::from(palloc_string(&text::output(written.read(), written.kind())))
    }
}

/// Calls the comparison of the values' type that is among `wanted` of the type cache.
unsafe fn compared(
    fcinfo: pg_sys::FunctionCallInfo,
    wanted: u32,
    which: impl FnOnce(&mut pg_sys::TypeCacheEntry) -> &mut pg_sys::FmgrInfo,
) -> Datum {
    // SAFETY: two kept values, which are read where nothing is left of them; entries of the type cache live as long as the
    // backend. The answer is no pointer.
    unsafe {
        PgMemoryContexts::new("pg_trickle kept records").switch_to(|_| {
            let [left, right] = [0, 1].map(|number| Written::new(argument(fcinfo, number)));
            if left.kind() != right.kind() {
                Error::Internal("a kept record is compared with an array of records".into()).raise();
            }
            let entry = &mut *pg_sys::lookup_type_cache(left.kind().ty(), wanted as i32);
            pg_sys::FunctionCall2Coll(which(entry), pg_sys::InvalidOid, left.read(), right.read())
        })
    }
}

unsafe fn equal(fcinfo: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: by contract.
    unsafe { compared(fcinfo, pg_sys::TYPECACHE_EQ_OPR_FINFO, |entry| &mut entry.eq_opr_finfo).value() != 0 }
}

unsafe fn order(fcinfo: pg_sys::FunctionCallInfo) -> Ordering {
    // SAFETY: by contract.
    let order = unsafe { compared(fcinfo, pg_sys::TYPECACHE_CMP_PROC_FINFO, |entry| &mut entry.cmp_proc_finfo) };
    (order.value() as i32).cmp(&0)
}

/// Declares a C-language function that says something of two kept values.
macro_rules! comparison {
    ($symbol:ident, $function:ident, |$fcinfo:ident| $answer:expr) => {
        super::c_function!($symbol => $function);
        unsafe fn $function($fcinfo: pg_sys::FunctionCallInfo) -> Datum {
            // SAFETY: called by fmgr with two kept values that are not NULL.
            Datum::from(unsafe { $answer })
        }
    };
}

comparison!(pgt_kept_eq, kept_eq, |fcinfo| equal(fcinfo));
comparison!(pgt_kept_ne, kept_ne, |fcinfo| !equal(fcinfo));
comparison!(pgt_kept_lt, kept_lt, |fcinfo| order(fcinfo).is_lt());
comparison!(pgt_kept_le, kept_le, |fcinfo| order(fcinfo).is_le());
comparison!(pgt_kept_gt, kept_gt, |fcinfo| order(fcinfo).is_gt());
comparison!(pgt_kept_ge, kept_ge, |fcinfo| order(fcinfo).is_ge());
comparison!(pgt_kept_cmp, kept_cmp, |fcinfo| order(fcinfo) as i32);

super::c_function!(pgt_kept_hash => kept_hash);
/// The support function of hash operator classes.
unsafe fn kept_hash(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: called by fmgr with a kept value.
    Datum::from(unsafe { form::hash(argument(fcinfo, 0)) } as u32)
}

super::c_function!(pgt_kept_hash_extended => kept_hash_extended);
/// Likewise, of 64 bits and with a salt; without one, its lower half is the other's.
unsafe fn kept_hash_extended(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: called by fmgr with a kept value and a number.
    let (hash, salt) = unsafe { (form::hash(argument(fcinfo, 0)), argument(fcinfo, 1).value() as u64) };
    Datum::from(if salt == 0 { hash } else { form::mixed(hash, salt) } as i64)
}
