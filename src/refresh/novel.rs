//! Which sources have changes without a row that stays: all of their keys are new, or gone. Rows of other tables refer to such keys hardly
//! anywhere but in changes, and the planner is told so of small tables, where it would expect a large part of the others to.

use super::prepared::Prepared;
use crate::pg::estimates::Origin;
use crate::pg::executor::Named;
use crate::pg::object;
use crate::pg::tuplestore::TupleStore;
use pgtrickle_engine::delta::Program;
use std::collections::BTreeSet;

/// A table is small beside the largest source when it has less than this part of its rows.
const SMALL: f64 = 0.01;
/// Whether more changed rows than these are all new or gone is not looked at.
const MOST: u64 = 1_000;

/// Such sources.
pub(super) struct Novel {
    pub(super) sources: BTreeSet<u32>,
    /// The rows of the largest source.
    largest: f64,
}

impl Novel {
    /// Those among `changes`.
    pub(super) fn of(prepared: &Prepared, changes: &[(u32, &TupleStore)]) -> Novel {
        let mut novel = Novel { sources: BTreeSet::new(), largest: 0.0 };
        for (source, store) in changes.iter().filter(|(_, store)| store.rows() <= MOST) {
            let Some((_, key)) = prepared.keys.iter().find(|(relid, _)| relid == source) else { continue };
            if novel.largest == 0.0 {
                novel.largest = prepared.reads.sources.iter().copied().map(object::estimated_rows).fold(0.0, f64::max);
            }
            if object::estimated_rows(*source) < SMALL * novel.largest && store.all_differ(key) {
                novel.sources.insert(*source);
            }
        }
        novel
    }

    /// The change of `source`, and that it is such a one if it is.
    pub(super) fn told<'a>(&self, source: u32, change: Named<'a>) -> Named<'a> {
        match self.sources.contains(&source) {
            true => Named { of: Some(Origin::Novel(source, self.largest)), ..change },
            false => change,
        }
    }
}

/// A key of one column for each source of `program` that has one, as its changes call it.
pub(super) fn single_keys(program: &Program) -> Vec<(u32, String)> {
    let scans = program.stages.iter().flat_map(|stage| stage.body.scans());
    let mut keys: Vec<(u32, String)> = scans
        .filter_map(|scan| {
            let key = scan.keys.iter().find(|key| key.len() == 1)?;
            Some((scan.relid, format!("c{}", scan.columns[key[0]].attnum)))
        })
        .collect();
    keys.sort_unstable();
    keys.dedup_by_key(|(relid, _)| *relid);
    keys
}
