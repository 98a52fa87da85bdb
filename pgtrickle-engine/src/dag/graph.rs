//! Who reads whom.
//!
//! Nodes are stream tables; an edge runs from a stream table to one that reads its contents. A node's storage table
//! has an oid of its own, and that oid among another node's sources is what makes an edge.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A stream table and what it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: i64,
    /// Oid of the stream table itself.
    pub relid: u32,
    /// Oids of the relations that it reads, stream tables among them.
    pub sources: Vec<u32>,
}

/// Stream tables that read each other in a ring: each reads the one before it, the first equals the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle(pub Vec<i64>);

/// An acyclic graph of stream tables, in topological order.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    order: Vec<i64>,
    level: BTreeMap<i64, usize>,
    upstream: BTreeMap<i64, Vec<i64>>,
    downstream: BTreeMap<i64, Vec<i64>>,
}

impl Graph {
    /// Orders the nodes: upstream before downstream, by id within a level.
    pub fn new(nodes: &[Node]) -> Result<Self, Cycle> {
        let by_relid: HashMap<u32, i64> = nodes.iter().map(|node| (node.relid, node.id)).collect();
        let mut graph = Graph::default();
        for node in nodes {
            let reads: BTreeSet<i64> = node.sources.iter().filter_map(|relid| by_relid.get(relid).copied()).collect();
            for upstream in &reads {
                graph.downstream.entry(*upstream).or_default().push(node.id);
            }
            graph.upstream.insert(node.id, reads.into_iter().collect());
            graph.downstream.entry(node.id).or_default();
        }
        graph.assign_levels()?;
        let mut order: Vec<i64> = graph.upstream.keys().copied().collect();
        order.sort_by_key(|id| (graph.level[id], *id));
        graph.order = order;
        Ok(graph)
    }

    /// level(n) = 0 without upstream, else 1 + the greatest level upstream; what stays unplaced is or reads a cycle.
    fn assign_levels(&mut self) -> Result<(), Cycle> {
        let mut waiting: BTreeMap<i64, usize> = self.upstream.iter().map(|(id, reads)| (*id, reads.len())).collect();
        let mut ready: Vec<i64> = waiting.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
        while let Some(id) = ready.pop() {
            waiting.remove(&id);
            let level = self.upstream[&id].iter().map(|upstream| self.level[upstream] + 1).max().unwrap_or(0);
            self.level.insert(id, level);
            for downstream in &self.downstream[&id] {
                let count = waiting.get_mut(downstream).expect("a node waits until all its upstream nodes are placed");
                *count -= 1;
                if *count == 0 {
                    ready.push(*downstream);
                }
            }
        }
        match waiting.keys().next() {
            None => Ok(()),
            Some(start) => Err(self.ring(*start, &waiting)),
        }
    }

    /// Walks upstream among unplaced nodes until a node repeats: each of them has an unplaced upstream node.
    fn ring(&self, start: i64, unplaced: &BTreeMap<i64, usize>) -> Cycle {
        let mut path = vec![start];
        loop {
            let last = path[path.len() - 1];
            let next = *self.upstream[&last]
                .iter()
                .find(|id| unplaced.contains_key(id))
                .expect("an unplaced node waits for an unplaced one");
            if let Some(from) = path.iter().position(|id| *id == next) {
                let mut ring = path.split_off(from);
                ring.push(next);
                ring.reverse();
                return Cycle(ring);
            }
            path.push(next);
        }
    }

    /// All nodes, upstream before downstream.
    pub fn order(&self) -> &[i64] {
        &self.order
    }

    /// The longest distance from a node that reads no stream table.
    pub fn level(&self, id: i64) -> Option<usize> {
        self.level.get(&id).copied()
    }

    /// The stream tables that `id` reads directly.
    pub fn upstream(&self, id: i64) -> &[i64] {
        self.upstream.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The stream tables that read `id` directly.
    pub fn downstream(&self, id: i64) -> &[i64] {
        self.downstream.get(&id).map_or(&[], Vec::as_slice)
    }

    /// `ids` and all stream tables that read them, directly or through others.
    pub fn with_readers(&self, ids: impl IntoIterator<Item = i64>) -> BTreeSet<i64> {
        let mut found: BTreeSet<i64> = BTreeSet::new();
        let mut open: Vec<i64> = ids.into_iter().collect();
        while let Some(id) = open.pop() {
            if found.insert(id) {
                open.extend(self.downstream(id));
            }
        }
        found
    }

    /// Splits `members` into connected groups, each in topological order. Two members belong together when one reads
    /// the other directly or through stream tables that are not members.
    pub fn groups(&self, members: &BTreeSet<i64>) -> Vec<Vec<i64>> {
        // Each node carries the groups that reach it from upstream; a member merges them into one.
        let mut parent: BTreeMap<i64, i64> = members.iter().map(|id| (*id, *id)).collect();
        let mut reached: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
        for id in &self.order {
            let mut roots: BTreeSet<i64> = BTreeSet::new();
            for upstream in self.upstream(*id) {
                roots.extend(reached.get(upstream).into_iter().flatten().map(|member| find(&parent, *member)));
            }
            if members.contains(id) {
                for root in &roots {
                    parent.insert(*root, *id);
                }
                roots = BTreeSet::from([*id]);
            }
            if !roots.is_empty() {
                reached.insert(*id, roots);
            }
        }
        let mut groups: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for id in self.order.iter().filter(|id| members.contains(id)) {
            groups.entry(find(&parent, *id)).or_default().push(*id);
        }
        groups.into_values().collect()
    }
}

fn find(parent: &BTreeMap<i64, i64>, mut id: i64) -> i64 {
    while parent[&id] != id {
        id = parent[&id];
    }
    id
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Node n has relid 100 + n; edges are (reader, read).
    pub(crate) fn graph(ids: &[i64], edges: &[(i64, i64)]) -> Result<Graph, Cycle> {
        let relid = |id: i64| u32::try_from(100 + id).unwrap();
        let nodes: Vec<Node> = ids
            .iter()
            .map(|id| Node {
                id: *id,
                relid: relid(*id),
                sources: edges.iter().filter(|(reader, _)| reader == id).map(|(_, read)| relid(*read)).collect(),
            })
            .collect();
        Graph::new(&nodes)
    }

    #[test]
    fn diamond_has_three_levels() {
        let diamond = graph(&[4, 3, 2, 1], &[(2, 1), (3, 1), (4, 2), (4, 3)]).unwrap();
        assert_eq!(diamond.order(), [1, 2, 3, 4]);
        assert_eq!(diamond.level(4), Some(2));
        assert_eq!(diamond.upstream(4), [2, 3]);
        assert_eq!(diamond.downstream(1).len(), 2);
    }

    #[test]
    fn cycle_names_its_path() {
        let Cycle(path) = graph(&[1, 2, 3, 4], &[(1, 3), (2, 1), (3, 2), (4, 3)]).unwrap_err();
        assert_eq!(path.first(), path.last());
        assert_eq!(path.len(), 4);
        assert_eq!(graph(&[1], &[(1, 1)]).unwrap_err(), Cycle(vec![1, 1]));
    }

    #[test]
    fn readers_are_followed_to_the_end() {
        let tree = graph(&[1, 2, 3, 4, 5], &[(2, 1), (3, 1), (4, 2), (4, 3), (5, 3)]).unwrap();
        assert_eq!(tree.with_readers([2]), BTreeSet::from([2, 4]));
        assert_eq!(tree.with_readers([1, 5]), BTreeSet::from([1, 2, 3, 4, 5]));
        assert!(tree.with_readers([]).is_empty());
    }

    #[test]
    fn groups_are_connected_members() {
        let chains = graph(&[1, 2, 3, 4, 5], &[(2, 1), (3, 2), (5, 4)]).unwrap();
        assert_eq!(chains.groups(&BTreeSet::from([1, 2, 5])), [vec![1, 2], vec![5]]);
        assert_eq!(chains.groups(&BTreeSet::from([1, 3])), [vec![1, 3]], "joined through 2, which is not a member");
    }

    #[test]
    fn two_roots_with_one_reader_are_one_group() {
        let v = graph(&[1, 2, 3], &[(3, 1), (3, 2)]).unwrap();
        assert_eq!(v.groups(&BTreeSet::from([1, 2, 3])), [vec![1, 2, 3]]);
        assert_eq!(v.groups(&BTreeSet::from([1, 2])), [vec![1], vec![2]]);
    }

    proptest! {
        /// Edges from greater to smaller ids never make a cycle, and the order respects every one of them.
        #[test]
        fn order_respects_edges(edges in prop::collection::vec((0i64..20, 0i64..20), 0..40)) {
            let edges: Vec<_> = edges.into_iter().filter(|(reader, read)| reader > read).collect();
            let ids: Vec<i64> = (0..20).collect();
            let graph = graph(&ids, &edges).unwrap();
            let place = |id: i64| graph.order().iter().position(|other| *other == id).unwrap();
            for (reader, read) in &edges {
                prop_assert!(place(*read) < place(*reader));
            }
            let groups = graph.groups(&ids.iter().copied().collect());
            prop_assert_eq!(groups.iter().map(Vec::len).sum::<usize>(), 20);
            for (reader, read) in &edges {
                prop_assert!(groups.iter().any(|group| group.contains(reader) && group.contains(read)));
            }
        }

        #[test]
        fn a_cycle_is_a_real_one(edges in prop::collection::vec((0i64..8, 0i64..8), 0..20)) {
            let ids: Vec<i64> = (0..8).collect();
            if let Err(Cycle(path)) = graph(&ids, &edges) {
                prop_assert!(path.len() >= 2 && path.first() == path.last());
                for pair in path.windows(2) {
                    prop_assert!(edges.contains(&(pair[1], pair[0])), "{:?} in {:?}", pair, edges);
                }
            }
        }
    }
}
