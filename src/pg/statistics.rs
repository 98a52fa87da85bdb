//! What ANALYZE found out about columns.

use pgrx::pg_sys;

/// How many different values the column has, NULL not counted, of `rows` rows; `None` when nobody has looked.
pub fn distinct_values(relid: u32, attnum: i16, rows: f64) -> Option<f64> {
    // Of a table with descendants both are kept; those of the whole tree are what a query meets.
    [true, false].into_iter().find_map(|inherited| stored(relid, attnum, inherited)).map(|distinct| match distinct {
        fraction if fraction < 0.0 => -fraction * rows,
        count => count,
    })
}

/// `pg_statistic.stadistinct`: a number, or minus a fraction of the rows.
fn stored(relid: u32, attnum: i16, inherited: bool) -> Option<f64> {
    // SAFETY: the tuple is a pg_statistic row and is released after it was read.
    let distinct = unsafe {
        let cache = pg_sys::SysCacheIdentifier::STATRELATTINH as i32;
        let relid = pg_sys::Oid::from(relid);
        let tuple = pg_sys::SearchSysCache3(cache, relid.into(), attnum.into(), inherited.into());
        if tuple.is_null() {
            return None;
        }
        let distinct = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_statistic>()).stadistinct;
        pg_sys::ReleaseSysCache(tuple);
        distinct
    };
    (distinct != 0.0).then_some(f64::from(distinct))
}
