//! Whether a refresh reads the partitions and children of its sources that its snapshot sees.
//!
//! **Law.** The delta of a source has the rows of a member that came or went exactly if the snapshot S sees that it did
//! (`family`). A statement of the refresh reads the members that the catalogs have by then. So the refresh is right if both are
//! the same members, and is undone and begun again on a new snapshot if they are not.

use crate::pg::inheritance::{self, Link};
use crate::pg::snapshot::Snapshot;
use crate::pg::source::is_partitioned;

/// The members of some sources, as a snapshot sees them.
pub struct Members {
    /// `None` for a source that had none when this was made.
    sources: Vec<(u32, Option<Vec<Link>>)>,
}

impl Members {
    /// What `snapshot` sees of the members of `sources`. The first child that a table has comes with a marker, so only who
    /// recomputes is `thorough` and looks for one that the caches do not tell of.
    pub fn seen(sources: impl Iterator<Item = u32>, snapshot: &Snapshot, thorough: bool) -> Self {
        let look = |source: u32| {
            let links = thorough || inheritance::may_have_children(source);
            (source, links.then(|| inheritance::settled(source, snapshot)))
        };
        Members { sources: sources.map(look).collect() }
    }

    /// No source has, or can be seen to get, members.
    pub fn is_empty(&self) -> bool {
        self.sources.iter().all(|(_, links)| links.is_none())
    }

    /// A partition is being detached by DETACH PARTITION CONCURRENTLY: queries do not read it any more, and its writers are
    /// captured still.
    pub fn are_leaving(&self) -> bool {
        self.sources.iter().filter_map(|(_, links)| links.as_ref()).flatten().any(|link| link.pending)
    }

    /// Keeps everybody from taking members from the sources, or giving them others, until the transaction ends; false when no source
    /// is partitioned or has children.
    pub fn hold(&self) -> bool {
        let trees = self.sources.iter().filter_map(|(source, links)| Some((*source, links.as_deref()?)));
        let trees: Vec<(u32, &[Link])> =
            trees.filter(|(source, links)| !links.is_empty() || is_partitioned(*source)).collect();
        trees.iter().for_each(|(source, links)| inheritance::hold(*source, links));
        !trees.is_empty()
    }

    /// Whether other members are there now than the snapshot sees.
    pub fn moved(&self) -> bool {
        self.sources.iter().any(|(source, seen)| match seen {
            Some(seen) => inheritance::links(*source, None) != *seen,
            None => inheritance::may_have_children(*source),
        })
    }
}
