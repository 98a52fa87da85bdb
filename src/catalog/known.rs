//! Stream tables that this session has read before, and what they read.
//!
//! A row is remembered with its version. When the next statement sees that version where it was, the row is what it was
//! ([`crate::pg::version`]); else it is read again. So nobody has to tell this session of a change, and a version that this transaction
//! wrote and took back is not seen. The edges of a stream table are written with its row and go with it, so who knows the row knows
//! them. Only the name of its relation is another thing: that is looked up at every use.

use super::dependencies::Dependency;
use super::stream_tables::{ROWS, StreamTable};
use crate::error::Result;
use crate::pg::object;
use crate::pg::table;
use std::cell::RefCell;
use std::rc::Rc;

/// So many stream tables are remembered, those that were used last.
const CAPACITY: usize = 256;

struct Known {
    table: StreamTable,
    edges: Option<Rc<[Dependency]>>,
}

thread_local! {
    /// The one used last comes last.
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// Moves the stream table to the end, and gives it to `then`.
fn with<T>(is: impl Fn(&StreamTable) -> bool, then: impl FnOnce(&mut Known) -> T) -> Option<T> {
    KNOWN.with_borrow_mut(|all| {
        let place = all.iter().rposition(|known| is(&known.table))?;
        let last = all.len() - 1;
        all[place..=last].rotate_left(1);
        Some(then(&mut all[last]))
    })
}

/// The stream table, as the next statement sees it, if it is known.
pub(super) fn find(is: impl Fn(&StreamTable) -> bool) -> Result<Option<StreamTable>> {
    let Some(mut table) = with(is, |known| known.table.clone()) else { return Ok(None) };
    let Some(version) = table.version else { return Ok(None) };
    if !table::is_last(&ROWS, version)? {
        return Ok(None);
    }
    let Some(name) = object::name(table.relid) else { return Ok(None) };
    table.name = name;
    Ok(Some(table))
}

/// The row was read.
pub(super) fn remember(table: &StreamTable) {
    if table.version.is_none() {
        return;
    }
    let known = with(
        |known| known.id == table.id,
        |known| {
            if known.table.version != table.version {
                *known = Known { table: table.clone(), edges: None };
            }
        },
    );
    if known.is_none() {
        KNOWN.with_borrow_mut(|all| {
            if all.len() == CAPACITY {
                all.remove(0);
            }
            all.push(Known { table: table.clone(), edges: None });
        });
    }
}

/// This transaction, which has locked the row, made `now` of `before`, and of nothing else.
pub(super) fn replace(before: &StreamTable, now: StreamTable) {
    with(|known| known.id == before.id && known.version == before.version, |known| known.table = now);
}

/// What the stream table reads, as long as its row is the known one; else `read` tells.
pub(super) fn edges(table: &StreamTable, read: impl FnOnce() -> Result<Vec<Dependency>>) -> Result<Rc<[Dependency]>> {
    let is_it = |known: &StreamTable| known.id == table.id && known.version.is_some() && known.version == table.version;
    if let Some(edges) = with(is_it, |known| known.edges.clone()).flatten() {
        return Ok(edges);
    }
    let edges: Rc<[Dependency]> = read()?.into();
    with(is_it, |known| known.edges = Some(Rc::clone(&edges)));
    Ok(edges)
}
