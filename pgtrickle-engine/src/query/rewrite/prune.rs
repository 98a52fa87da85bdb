//! Narrows scans to the columns that the query's result depends on.
//!
//! What nobody above reads is not computed: unused outputs of a projection or an aggregation go, keys of an
//! aggregation and all columns of a distinct stay, for they decide which rows there are, and so does what a TopK orders
//! by. A window operator without a call that is read goes. A single row that a filter compares with, and nothing else, becomes
//! the right side of a semi-join ([`super::one_row`]). A capture buffer holds only
//! what some scan keeps, so an update of any other column is no change at all.

use super::one_row;
use crate::query::column::Column;
use crate::query::order::{SortItem, WindowDefinition};
use crate::query::rel::{AggregateCall, Item, Rel, Scan, Yield};
use crate::query::scalar::{self, Scalar};
use std::collections::BTreeSet;

/// The same relation with the same columns, read from scans without unused columns.
pub fn prune(rel: Rel) -> Rel {
    let all: BTreeSet<usize> = (0..rel.columns().len()).collect();
    exactly(rel, &all)
}

/// `needed` columns of `rel` in order, and nothing else.
fn exactly(rel: Rel, needed: &BTreeSet<usize>) -> Rel {
    let before = rel.columns();
    let narrowed = narrow(rel, needed);
    let places: Vec<usize> = needed.iter().map(|position| narrowed.place(*position)).collect();
    if places.iter().copied().eq(0..narrowed.rel.columns().len()) {
        return narrowed.rel;
    }
    let output = |(old, new): (&usize, usize)| {
        let Column { name, ty, .. } = before[*old].clone();
        (name, Scalar::column(new, ty, false))
    };
    let outputs = needed.iter().zip(places).map(output).collect();
    Rel::Project { input: Box::new(narrowed.rel), outputs }
}

/// A relation that lost columns.
struct Narrowed {
    rel: Rel,
    /// The old positions of its columns, ascending.
    kept: Vec<usize>,
}

impl Narrowed {
    /// The new position of a column that was needed.
    fn place(&self, old: usize) -> usize {
        self.kept.partition_point(|kept| *kept < old)
    }

    fn scalar(&self, scalar: &Scalar) -> Scalar {
        scalar.remap(|old| self.place(old))
    }

    fn sort_item(&self, item: SortItem) -> SortItem {
        SortItem { value: self.scalar(&item.value), ..item }
    }
}

/// `rel` with at least the `needed` columns.
fn narrow(rel: Rel, needed: &BTreeSet<usize>) -> Narrowed {
    match rel {
        Rel::Scan(scan) => narrow_scan(scan, needed),
        Rel::Stage { .. } | Rel::Opaque { .. } | Rel::Working { .. } | Rel::Apply { .. } | Rel::Leading { .. } => {
            Narrowed { kept: (0..rel.columns().len()).collect(), rel }
        }
        Rel::Filter { input, predicates } => {
            let (input, predicates) = one_row::semi_joined(*input, predicates, needed);
            let mut below = narrow(input, &with_used(needed, &predicates));
            let predicates = predicates.iter().map(|predicate| below.scalar(predicate)).collect();
            below.rel = Rel::Filter { input: Box::new(below.rel), predicates };
            below
        }
        Rel::Project { input, outputs } => {
            let outputs = keep(outputs, needed);
            let below = narrow(*input, &used(outputs.iter().map(|(_, scalar)| scalar)));
            let outputs = outputs.into_iter().map(|(name, scalar)| (name, below.scalar(&scalar))).collect();
            let rel = Rel::Project { input: Box::new(below.rel), outputs };
            Narrowed { rel, kept: needed.iter().copied().collect() }
        }
        Rel::Join { inputs, predicates } => {
            let below = narrow_inputs(inputs, &with_used(needed, &predicates));
            let predicates = below.scalars(&predicates);
            Narrowed { rel: Rel::Join { inputs: below.rels, predicates }, kept: below.kept }
        }
        Rel::OuterJoin { left, right, predicates, side } => {
            let mut below = narrow_inputs(vec![*left, *right], &with_used(needed, &predicates));
            let predicates = below.scalars(&predicates);
            let (left, right) = below.pair();
            Narrowed { rel: Rel::OuterJoin { left, right, predicates, side }, kept: below.kept }
        }
        Rel::SemiJoin { left, right, predicates, yields } => {
            narrow_semi_join(*left, *right, &predicates, yields, needed)
        }
        Rel::Recursive { base, step, all, columns } => {
            let every: BTreeSet<usize> = (0..columns.len()).collect();
            let (base, step) = (Box::new(exactly(*base, &every)), Box::new(exactly(*step, &every)));
            Narrowed { kept: every.into_iter().collect(), rel: Rel::Recursive { base, step, all, columns } }
        }
        Rel::Expand { input, item, on, outer } => narrow_expand(*input, item, &on, outer, needed),
        Rel::UnionAll { inputs, columns } => {
            let inputs = inputs.into_iter().map(|input| exactly(input, needed)).collect();
            let rel = Rel::UnionAll { inputs, columns: keep(columns, needed) };
            Narrowed { rel, kept: needed.iter().copied().collect() }
        }
        Rel::Aggregate { input, keys, calls } => narrow_aggregate(*input, keys, calls, needed),
        Rel::Distinct { input } => {
            let all: BTreeSet<usize> = (0..input.columns().len()).collect();
            let rel = Rel::Distinct { input: Box::new(exactly(*input, &all)) };
            Narrowed { rel, kept: all.into_iter().collect() }
        }
        Rel::Window { input, partition, windows, calls } => narrow_window(*input, partition, windows, calls, needed),
        Rel::TopK { input, partition, order, limit, offset, with_ties } => {
            let read = partition.iter().chain(order.iter().map(|item| &item.value));
            let mut below = narrow(*input, &with_used(needed, read));
            let partition = partition.iter().map(|scalar| below.scalar(scalar)).collect();
            let order = order.into_iter().map(|item| below.sort_item(item)).collect();
            let input = Box::new(below.rel);
            below.rel = Rel::TopK { input, partition, order, limit, offset, with_ties };
            below
        }
    }
}

/// Without any call that is needed, the input alone.
fn narrow_window(
    input: Rel,
    partition: Vec<Scalar>,
    windows: Vec<WindowDefinition>,
    calls: Vec<(String, Scalar)>,
    needed: &BTreeSet<usize>,
) -> Narrowed {
    let width = input.columns().len();
    let calls_needed: BTreeSet<usize> = needed.range(width..).map(|position| position - width).collect();
    let passed: BTreeSet<usize> = needed.range(..width).copied().collect();
    if calls_needed.is_empty() {
        return narrow(input, &passed);
    }
    let calls = keep(calls, &calls_needed);
    let ordered = windows.iter().flat_map(|window| window.order.iter().map(|item| &item.value));
    let read = partition.iter().chain(ordered).chain(calls.iter().map(|(_, call)| call));
    let below = narrow(input, &with_used(&passed, read));
    let partition = partition.iter().map(|scalar| below.scalar(scalar)).collect();
    let windows = windows.into_iter().map(|window| WindowDefinition {
        order: window.order.into_iter().map(|item| below.sort_item(item)).collect(),
        ..window
    });
    let windows = windows.collect();
    let calls = calls.into_iter().map(|(name, call)| (name, below.scalar(&call))).collect();
    let kept = below.kept.iter().copied().chain(calls_needed.iter().map(|call| call + width)).collect();
    Narrowed { rel: Rel::Window { input: Box::new(below.rel), partition, windows, calls }, kept }
}

fn narrow_scan(scan: Scan, needed: &BTreeSet<usize>) -> Narrowed {
    let kept: Vec<usize> = needed.iter().copied().collect();
    let place = |old: &usize| kept.binary_search(old).ok();
    let keys = scan.keys.iter().filter_map(|key| key.iter().map(place).collect::<Option<Vec<usize>>>()).collect();
    let rel = Rel::Scan(Scan { columns: keep(scan.columns, needed), keys, ..scan });
    Narrowed { rel, kept }
}

/// Inputs that lost columns, counted through.
struct NarrowedInputs {
    rels: Vec<Rel>,
    kept: Vec<usize>,
}

impl NarrowedInputs {
    fn scalars(&self, scalars: &[Scalar]) -> Vec<Scalar> {
        scalars.iter().map(|scalar| scalar.remap(|old| self.kept.partition_point(|kept| *kept < old))).collect()
    }

    /// The two inputs of a binary operator.
    fn pair(&mut self) -> (Box<Rel>, Box<Rel>) {
        let right = self.rels.pop().expect("two inputs were narrowed");
        (Box::new(self.rels.pop().expect("two inputs were narrowed")), Box::new(right))
    }
}

fn narrow_inputs(inputs: Vec<Rel>, wanted: &BTreeSet<usize>) -> NarrowedInputs {
    let mut first = 0;
    let mut narrowed = NarrowedInputs { rels: Vec::with_capacity(inputs.len()), kept: Vec::new() };
    for input in inputs {
        let end = first + input.columns().len();
        let below = narrow(input, &wanted.range(first..end).map(|position| position - first).collect());
        narrowed.kept.extend(below.kept.iter().map(|position| position + first));
        narrowed.rels.push(below.rel);
        first = end;
    }
    narrowed
}

fn narrow_semi_join(left: Rel, right: Rel, predicates: &[Scalar], yields: Yield, needed: &BTreeSet<usize>) -> Narrowed {
    let width = left.columns().len();
    let of_left: BTreeSet<usize> = needed.range(..width).copied().collect();
    let mut below = narrow_inputs(vec![left, right], &with_used(&of_left, predicates));
    let predicates = below.scalars(predicates);
    let mut kept: Vec<usize> = below.kept.iter().copied().filter(|position| *position < width).collect();
    if matches!(yields, Yield::Mark(_)) {
        kept.push(width);
    }
    let (left, right) = below.pair();
    Narrowed { rel: Rel::SemiJoin { left, right, predicates, yields }, kept }
}

/// The item yields all of its columns in any case.
fn narrow_expand(input: Rel, item: Item, on: &[Scalar], outer: bool, needed: &BTreeSet<usize>) -> Narrowed {
    let width = input.columns().len();
    let mut wanted = with_used(needed, on);
    wanted.extend(scalar::columns(&item.text));
    let below = narrow(input, &wanted.range(..width).copied().collect());
    let item = Item { text: scalar::remap(&item.text, |old| below.place(old)), ..item };
    let kept = below.kept.iter().copied().chain(width..width + item.columns.len()).collect();
    let mut expand = Narrowed { rel: below.rel, kept };
    let on = on.iter().map(|predicate| expand.scalar(predicate)).collect();
    expand.rel = Rel::Expand { input: Box::new(expand.rel), item, on, outer };
    expand
}

fn narrow_aggregate(
    input: Rel,
    keys: Vec<(String, Scalar)>,
    calls: Vec<(String, AggregateCall)>,
    needed: &BTreeSet<usize>,
) -> Narrowed {
    let calls_needed: BTreeSet<usize> =
        needed.iter().filter(|position| **position >= keys.len()).map(|position| position - keys.len()).collect();
    let calls = keep(calls, &calls_needed);
    // A call's text has its argument and its filter in it, so the text alone tells what is read.
    let below =
        narrow(input, &used(keys.iter().map(|(_, key)| key).chain(calls.iter().map(|(_, aggregate)| &aggregate.call))));
    let kept = (0..keys.len()).chain(calls_needed.iter().map(|position| position + keys.len())).collect();
    let keys = keys.into_iter().map(|(name, key)| (name, below.scalar(&key))).collect();
    let moved = |(name, call): (String, AggregateCall)| (name, call.map(|scalar| below.scalar(scalar)));
    let calls = calls.into_iter().map(moved).collect();
    Narrowed { rel: Rel::Aggregate { input: Box::new(below.rel), keys, calls }, kept }
}

fn used<'a>(scalars: impl IntoIterator<Item = &'a Scalar>) -> BTreeSet<usize> {
    scalars.into_iter().flat_map(Scalar::columns).collect()
}

fn with_used<'a>(needed: &BTreeSet<usize>, scalars: impl IntoIterator<Item = &'a Scalar>) -> BTreeSet<usize> {
    needed.iter().copied().chain(used(scalars)).collect()
}

fn keep<T>(items: Vec<T>, needed: &BTreeSet<usize>) -> Vec<T> {
    items.into_iter().enumerate().filter(|(position, _)| needed.contains(position)).map(|(_, item)| item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Fragment;
    use crate::query::rel::AggregateFunction;
    use crate::query::testing::{int4, project};

    fn scan(relid: u32, width: usize) -> Rel {
        let names = ["a", "b", "c", "d"];
        crate::query::testing::scan(relid, &names[..width], &[&[0]])
    }

    fn expression(columns: &[usize]) -> Scalar {
        let mut scalar = Scalar::column(0, int4(), false);
        scalar.fragments = vec![Fragment::Text("f(".into())];
        scalar.fragments.extend(columns.iter().map(|position| Fragment::Column(*position)));
        scalar
    }

    fn attnums(rel: &Rel) -> Vec<Vec<i16>> {
        rel.scans().iter().map(|scan| scan.columns.iter().map(|column| column.attnum).collect()).collect()
    }

    #[test]
    fn a_join_keeps_outputs_and_predicate_columns_of_each_input() {
        let join = Rel::Join { inputs: vec![scan(1, 4), scan(2, 4)], predicates: vec![expression(&[1, 6])] };
        let pruned = prune(project(join, &[7, 3]));
        assert_eq!(attnums(&pruned), vec![vec![2, 4], vec![3, 4]]);
        let Rel::Project { input, outputs } = &pruned else { panic!("a projection stays one") };
        assert_eq!(outputs.iter().map(|(_, scalar)| scalar.columns()).collect::<Vec<_>>(), vec![vec![3], vec![1]]);
        let Rel::Join { predicates, .. } = input.as_ref() else { panic!("a join stays one") };
        assert_eq!(predicates[0].columns(), vec![0, 2]);
        assert!(pruned.scans().iter().all(|scan| scan.keys.is_empty()));
    }

    #[test]
    fn union_inputs_keep_the_same_columns_in_the_same_order() {
        let filtered = Rel::Filter { input: Box::new(scan(1, 3)), predicates: vec![expression(&[0])] };
        let columns = scan(1, 3).columns();
        let union = Rel::UnionAll { inputs: vec![filtered, scan(2, 3)], columns };
        let pruned = prune(project(union, &[2]));
        assert_eq!(attnums(&pruned), vec![vec![1, 3], vec![3]]);
        let Rel::Project { input, .. } = &pruned else { panic!("a projection stays one") };
        assert!(input.inputs().iter().all(|arm| arm.columns().len() == 1));
    }

    #[test]
    fn an_aggregate_keeps_its_keys_and_a_distinct_all() {
        let call = AggregateCall {
            function: AggregateFunction::SumInteger,
            argument: Some(Scalar::column(2, int4(), false)),
            distinct: false,
            filter: None,
            call: expression(&[2]),
        };
        let aggregate = Rel::Aggregate {
            input: Box::new(scan(1, 4)),
            keys: vec![("k".into(), Scalar::column(1, int4(), false))],
            calls: vec![("a".into(), call.clone()), ("b".into(), call)],
        };
        let pruned = prune(project(aggregate, &[2]));
        assert_eq!(attnums(&pruned), vec![vec![2, 3]]);
        assert_eq!(pruned.inputs()[0].columns().len(), 2);

        let distinct = Rel::Distinct { input: Box::new(scan(1, 2)) };
        assert_eq!(attnums(&prune(project(distinct, &[0]))), vec![vec![1, 2]]);
    }

    #[test]
    fn counting_rows_needs_no_column() {
        let count = AggregateCall {
            function: AggregateFunction::CountStar,
            argument: None,
            distinct: false,
            filter: None,
            call: expression(&[]),
        };
        let calls = vec![("count".into(), count)];
        let pruned = prune(Rel::Aggregate { input: Box::new(scan(1, 3)), keys: Vec::new(), calls });
        assert_eq!(attnums(&pruned), vec![Vec::<i16>::new()]);
    }
}
