//! What relations and columns of a program are called now.

use crate::catalog;
use crate::error::{Error, Result};
use crate::pg::object;
use pgtrickle_engine::delta::{Polled, Program, Storage};
use pgtrickle_engine::sql::Ident;

/// Gives the scan the names that its relation and columns have now.
///
/// # Errors
/// `SourceDropped` (42P01), and `SourceChanged` (42P16) when a column is gone or holds another type: the buffer, the state
/// and the stream table were made for the old one.
pub(super) fn rebind(scan: &mut pgtrickle_engine::query::Scan) -> Result<()> {
    let relid = scan.relid;
    let dropped = || Error::SourceDropped(scan.name.to_string());
    let name = object::name(relid).ok_or_else(dropped)?;
    for scanned in &mut scan.columns {
        let current = object::column(relid, scanned.attnum)
            .ok_or_else(|| Error::SourceChanged(format!("column {} of {name} was dropped", scanned.name)))?;
        let ty = &scanned.column.ty;
        if (current.ty, current.typmod, current.collation) != (ty.oid, ty.typmod, ty.collation) {
            return Err(Error::SourceChanged(format!(
                "column {} of {name} has another type",
                Ident::new(current.name)
            )));
        }
        scanned.name = Ident::new(current.name);
    }
    scan.name = name;
    Ok(())
}

/// The polled sources of a program whose scans name the sources themselves.
pub(super) fn polled(program: &Program, id: i64) -> Result<Vec<Polled>> {
    let edges = catalog::sources_of(id)?.into_iter();
    let snapshots = edges.filter_map(|edge| Some((edge.source, edge.snapshot?)));
    let missing = |relid| Error::Internal(format!("relation {relid} of a stream table is gone"));
    let found = snapshots.map(|(source, snapshot)| {
        let snapshot = object::name(snapshot).ok_or_else(|| missing(snapshot))?;
        Ok(Polled::of(program, source, snapshot))
    });
    found.filter_map(Result::transpose).collect()
}

/// Has the scan of a polled source read its snapshot.
pub(super) fn bind(scan: &mut pgtrickle_engine::query::Scan, polled: &[Polled]) {
    if let Some(polled) = polled.iter().find(|polled| polled.relid == scan.relid) {
        polled.bind(scan);
    }
}

pub(super) fn storage(relid: u32, states: &[u32]) -> Result<Storage> {
    let name = |relid: u32| {
        object::name(relid).ok_or_else(|| Error::Internal(format!("relation {relid} of a stream table is gone")))
    };
    Ok(Storage { stream_table: name(relid)?, states: states.iter().copied().map(name).collect::<Result<_>>()? })
}
