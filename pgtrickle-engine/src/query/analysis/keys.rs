//! Candidate keys: sets of columns in which no two rows of a result agree.
//!
//! Filter keeps the keys of its input; Project those whose columns it keeps; a join's key is the union of one key of
//! each input, less the inputs that equalities determine: when every key column of input R equals a column of inputs that
//! are known, each combination of those meets at most one row of R, and R is known, too. A group is identified by its grouping columns, a
//! distinct row by all of its columns; what an item of FROM yields for a row, by the number that it gives it. Window and
//! TopK keep the keys of their input; the first row of each partition is identified by the partition. Key columns of
//! a scan are NOT NULL; grouping columns may be NULL, and then NULLs count as equal.

use crate::query::rel::Side;
use crate::query::{Column, Rel, Scalar};

/// Substituting equated columns multiplies a join's keys; more than this many do not pay.
const MOST_KEYS: usize = 16;

/// Candidate keys of `rel`, each a list of ascending column positions; the empty key means "at most one row".
pub fn keys(rel: &Rel) -> Vec<Vec<usize>> {
    match rel {
        Rel::Scan(scan) => scan.keys.clone(),
        Rel::Stage { keys, .. } => keys.clone(),
        Rel::Filter { input, .. } => keys(input),
        Rel::Project { input, outputs } => projected(&keys(input), outputs.iter().map(|(_, scalar)| scalar)),
        Rel::Join { inputs, predicates } => joined(inputs, predicates),
        Rel::OuterJoin { left, right, predicates, side } => outer_joined(left, right, predicates, *side),
        Rel::SemiJoin { left, .. } => keys(left),
        Rel::Apply { .. } => Vec::new(),
        Rel::Expand { input, item, .. } if item.ordinality => {
            let number = input.columns().len() + item.columns.len() - 1;
            keys(input).into_iter().map(|key| key.into_iter().chain([number]).collect()).collect()
        }
        Rel::Opaque { .. } if *rel == Rel::unit() => vec![Vec::new()],
        Rel::Recursive { all: false, columns, .. } => vec![(0..columns.len()).collect()],
        Rel::UnionAll { .. }
        | Rel::Opaque { .. }
        | Rel::Expand { .. }
        | Rel::Recursive { .. }
        | Rel::Working { .. } => Vec::new(),
        Rel::Aggregate { keys, .. } => vec![(0..keys.len()).collect()],
        Rel::Distinct { input } => vec![(0..input.columns().len()).collect()],
        Rel::Window { input, .. } | Rel::Leading { input, .. } => keys(input),
        Rel::TopK { input, partition, limit, with_ties, .. } => {
            let one = !with_ties && limit.as_ref().is_some_and(Scalar::is_one);
            let partition: Option<Vec<usize>> = partition.iter().map(Scalar::as_column).collect();
            partition.filter(|_| one).map(ascending).into_iter().chain(keys(input)).collect()
        }
    }
}

/// The column is one of a key of a source, unchanged.
pub fn is_source_key(rel: &Rel, column: usize) -> bool {
    match rel {
        Rel::Scan(scan) => scan.keys.iter().any(|key| key.contains(&column)),
        Rel::Filter { input, .. } | Rel::Distinct { input } | Rel::TopK { input, .. } | Rel::Leading { input, .. } => {
            is_source_key(input, column)
        }
        Rel::Aggregate { input, keys, .. } => {
            let key = keys.get(column).and_then(|(_, key)| key.as_column());
            key.is_some_and(|from| is_source_key(input, from))
        }
        Rel::Window { input, .. } => column < input.columns().len() && is_source_key(input, column),
        Rel::Project { input, outputs } => outputs[column].1.as_column().is_some_and(|from| is_source_key(input, from)),
        Rel::Join { .. } | Rel::OuterJoin { .. } | Rel::SemiJoin { .. } | Rel::Expand { .. } => {
            let mut first = 0;
            rel.inputs().into_iter().any(|input| {
                let own = column.checked_sub(first).filter(|own| *own < input.columns().len());
                first += input.columns().len();
                own.is_some_and(|own| is_source_key(input, own))
            })
        }
        _ => false,
    }
}

fn projected<'a>(below: &[Vec<usize>], outputs: impl Iterator<Item = &'a Scalar>) -> Vec<Vec<usize>> {
    let places: Vec<Option<usize>> = outputs.map(Scalar::as_column).collect();
    let place = |column: &usize| places.iter().position(|place| *place == Some(*column));
    below.iter().filter_map(|key| key.iter().map(place).collect::<Option<Vec<_>>>().map(ascending)).collect()
}

fn joined(inputs: &[Rel], predicates: &[Scalar]) -> Vec<Vec<usize>> {
    let mut chosen = Vec::new();
    let mut offset = 0;
    for input in inputs {
        let Some(key) = keys(input).into_iter().min_by_key(Vec::len) else { return Vec::new() };
        let width = input.columns().len();
        chosen.push((offset..offset + width, key.into_iter().map(|column| column + offset).collect::<Vec<_>>()));
        offset += width;
    }
    let equal: Vec<(usize, usize)> = predicates.iter().filter_map(Scalar::as_equality).collect();
    // Every input whose key equals columns of the known ones is known, too, and so on.
    let determine_all = |known: &[bool]| {
        let mut known = known.to_vec();
        while let Some(next) = (0..chosen.len()).find(|input| {
            let inside = |column: usize| (0..chosen.len()).any(|i| known[i] && chosen[i].0.contains(&column));
            !known[*input]
                && chosen[*input]
                    .1
                    .iter()
                    .all(|key| equal.iter().any(|(a, b)| (a == key && inside(*b)) || (b == key && inside(*a))))
        }) {
            known[next] = true;
        }
        known.iter().all(|known| *known)
    };
    let mut kept = vec![true; chosen.len()];
    for input in 0..chosen.len() {
        kept[input] = false;
        kept[input] = !(kept.contains(&true) && determine_all(&kept));
    }
    let key = chosen.into_iter().zip(kept).filter(|(_, kept)| *kept).flat_map(|((_, key), _)| key).collect();
    with_equals(ascending(key), &equal)
}

/// A left row that meets at most one right row keeps its key. Otherwise rows are told apart by both keys together, NULLs
/// standing for the missing side; in a full join only when NULL stands in no key of a present row.
fn outer_joined(left: &Rel, right: &Rel, predicates: &[Scalar], side: Side) -> Vec<Vec<usize>> {
    let columns = left.columns();
    let width = columns.len();
    let right_columns = right.columns();
    let matched = |column: usize| {
        predicates.iter().filter_map(|p| p.as_equality_across(width)).any(|(_, other)| other == column + width)
    };
    let right_keys = keys(right);
    let meets_one = right_keys.iter().any(|key| key.iter().all(|column| matched(*column)));
    if meets_one && side == Side::Left {
        return keys(left);
    }
    let present = |key: &Vec<usize>, columns: &[Column]| key.iter().all(|column| !columns[*column].nullable);
    let pairs = keys(left).into_iter().flat_map(|l| right_keys.iter().map(move |r| (l.clone(), r)));
    pairs
        .filter(|(l, r)| side == Side::Left || (present(l, &columns) && present(r, &right_columns)))
        .map(|(l, r)| ascending(l.into_iter().chain(r.iter().map(|column| column + width)).collect()))
        .take(MOST_KEYS)
        .collect()
}

/// `key`, and the keys that it becomes when a column is replaced by one that it equals.
fn with_equals(key: Vec<usize>, equal: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let mut all = vec![key];
    let mut next = 0;
    while next < all.len() {
        for (a, b) in equal {
            for (from, to) in [(a, b), (b, a)] {
                if all.len() < MOST_KEYS && all[next].contains(from) {
                    let other = ascending(all[next].iter().map(|c| if c == from { *to } else { *c }).collect());
                    if !all.contains(&other) {
                        all.push(other);
                    }
                }
            }
        }
        next += 1;
    }
    all
}

fn ascending(mut key: Vec<usize>) -> Vec<usize> {
    key.sort_unstable();
    key.dedup();
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::testing::{equality, int4, project, scan};

    fn two_tables() -> Vec<Rel> {
        vec![scan(1, &["id", "customer"], &[&[0]]), scan(2, &["id", "name"], &[&[0]])]
    }

    #[test]
    fn an_equated_key_drops_out_and_can_be_read_off_either_side() {
        let join = Rel::Join { inputs: two_tables(), predicates: vec![equality(1, 2)] };
        assert_eq!(keys(&join), vec![vec![0]]);
        let by_primary_keys = Rel::Join { inputs: two_tables(), predicates: vec![equality(0, 2)] };
        assert_eq!(keys(&by_primary_keys), vec![vec![2], vec![0]]);
    }

    #[test]
    fn what_is_determined_determines() {
        let mut inputs = two_tables();
        inputs.insert(0, scan(3, &["id", "order"], &[&[0]]));
        let chain = Rel::Join { inputs: inputs.clone(), predicates: vec![equality(1, 2), equality(3, 4)] };
        assert_eq!(keys(&chain), vec![vec![0]]);
        // Each determines the next, the last the first: one of them is needed, and one is enough.
        let ring = Rel::Join { inputs, predicates: vec![equality(1, 2), equality(3, 4), equality(5, 0)] };
        assert!(keys(&ring).contains(&vec![4]) && keys(&ring).iter().all(|key| key.len() == 1), "{:?}", keys(&ring));
    }

    #[test]
    fn a_cross_join_needs_both_keys_and_a_projection_must_show_them() {
        let cross = Rel::Join { inputs: two_tables(), predicates: vec![] };
        assert_eq!(keys(&cross), vec![vec![0, 2]]);
        assert_eq!(keys(&project(cross.clone(), &[2, 0])), vec![vec![0, 1]]);
        assert!(keys(&project(cross, &[0, 1])).is_empty());
    }

    #[test]
    fn groups_are_keyed_by_what_they_group_by() {
        let group = Rel::Aggregate {
            input: Box::new(scan(1, &["a"], &[])),
            keys: vec![("a".into(), Scalar::column(0, int4(), true))],
            calls: vec![],
        };
        assert_eq!(keys(&group), vec![vec![0]]);
    }
}
