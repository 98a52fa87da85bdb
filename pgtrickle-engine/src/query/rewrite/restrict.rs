//! `L ⋈ γ_k(X) = L ⋈ γ_k(X ⋉ γ_k(H))`: of groups that meet a filtered relation, only those are made whose key it has.
//!
//! **Law.** Let every row of L come with a row of H, and let columns of that row equal grouping columns k. A group whose k no row of H has meets no row of L.
//! All rows of a group agree on k, where equal values of its type have equal images; so `X ⋉ H` has all rows of the groups that are met and none of
//! the others. The same holds for whatever decides about rows of L by the groups that they meet: ⋈, ⟕, ⋉, ▷ and marks.
//!
//! **Why.** With `l_quantity < (SELECT 0.2 * avg(l_quantity) FROM lineitem WHERE l_partkey = p_partkey)` and one part in a thousand, 200 groups are
//! kept up instead of 200 000. The keys of H are a stage of their own, small enough to be at hand: a changed row of X that no group is
//! made of costs a look at them. A key that comes has its rows of X looked up. So this is worth it where H has few of its table's rows, each with another key, and X an index.

use super::map_inputs;
use crate::query::analysis::keys::keys;
use crate::query::column::{DataType, Equality};
use crate::query::rel::{Side, Yield};
use crate::query::{Column, Fragment, Rel, Scalar, Volatility};
use std::ops::Range;

/// The equality of most types.
const BUILT_IN: &str = "OPERATOR(pg_catalog.=)";

/// An aggregation that can be restricted.
pub struct Candidate<'a> {
    /// What its keys would be of: the filtered rows of a source.
    pub filtered: &'a Rel,
    /// The columns of it that would be keys.
    pub of: &'a [usize],
    /// The rows that it is made of, and the columns of them that would equal the keys.
    pub rows: &'a Rel,
    pub columns: &'a [usize],
}

impl Candidate<'_> {
    /// No two of the filtered rows have the same key.
    pub fn is_unique(&self) -> bool {
        keys(self.filtered).iter().any(|key| !key.is_empty() && key.iter().all(|column| self.of.contains(column)))
    }
}

/// Whether a restriction is worth it. Which ones are asked about, and in which order, follows from the query and the answers alone, not from
/// keys or statistics, which change.
pub type Worth<'a> = &'a dyn Fn(&Candidate) -> bool;

/// A filtered relation of which each row of another has one.
struct Filtered {
    rel: Rel,
    /// Columns of the other one, and those of `rel` that they equal.
    equal: Vec<(usize, usize)>,
}

/// Restricts the aggregations for which that is `worth` it.
pub fn apply(rel: Rel, worth: Worth) -> Rel {
    below(rel, &[], worth)
}

/// Likewise in `rel`, of which no row counts that one of the predicates `above` is not true for.
fn below(rel: Rel, above: &[Scalar], worth: Worth) -> Rel {
    match rel {
        Rel::Recursive { .. } => rel,
        Rel::Filter { input, predicates } => {
            let input = Box::new(below(*input, &[above, &predicates].concat(), worth));
            Rel::Filter { input, predicates }
        }
        Rel::Project { input, outputs } => {
            Rel::Project { input: Box::new(below(*input, &through(above, &outputs), worth)), outputs }
        }
        Rel::Join { inputs, predicates } => {
            let mut inputs: Vec<Rel> = inputs.into_iter().map(|input| below(input, &[], worth)).collect();
            let known = [above, &predicates].concat();
            for place in 0..inputs.len() {
                let found = of_join(&inputs, &known, Some(place));
                if let Some(restricted) = restricted(&inputs[place], &found, span(&inputs, place), worth) {
                    inputs[place] = restricted;
                }
            }
            Rel::Join { inputs, predicates }
        }
        Rel::OuterJoin { left, right, predicates, side: Side::Left } => {
            let [left, right] = sides([*left, *right], &predicates, above, worth).map(Box::new);
            Rel::OuterJoin { left, right, predicates, side: Side::Left }
        }
        Rel::SemiJoin { left, right, predicates, yields } => {
            let [left, right] = sides([*left, *right], &predicates, above, worth).map(Box::new);
            Rel::SemiJoin { left, right, predicates, yields }
        }
        other => map_inputs(other, &mut |input| below(input, &[], worth)),
    }
}

/// The sides of an operator that yields rows of the left one by what `predicates` say of them and rows of the right one.
fn sides([left, right]: [Rel; 2], predicates: &[Scalar], above: &[Scalar], worth: Worth) -> [Rel; 2] {
    let width = left.columns().len();
    let above = within(above, &(0..width));
    let [left, right] = [below(left, &above, worth), below(right, &[], worth)];
    let columns: Vec<Column> = left.columns().into_iter().chain(right.columns()).collect();
    let mut found = every(&left, &above);
    found.iter_mut().for_each(|filtered| filtered.follow(predicates, &columns));
    let right = restricted(&right, &found, width..columns.len(), worth).unwrap_or(right);
    [left, right]
}

/// Those of the predicates that read some of the columns `span` and no others, over these alone.
fn within(predicates: &[Scalar], span: &Range<usize>) -> Vec<Scalar> {
    let is_own = |predicate: &&Scalar| {
        let read = predicate.columns();
        !read.is_empty() && read.iter().all(|column| span.contains(column))
    };
    predicates.iter().filter(is_own).map(|predicate| predicate.remap(|column| column - span.start)).collect()
}

/// Those of the predicates that read columns only that a projection passes on, over its input.
fn through(predicates: &[Scalar], outputs: &[(String, Scalar)]) -> Vec<Scalar> {
    let from = |column: usize| outputs[column].1.as_column();
    let passed =
        predicates.iter().filter(|predicate| predicate.columns().into_iter().all(|column| from(column).is_some()));
    passed.map(|predicate| predicate.remap(|column| from(column).unwrap_or(column))).collect()
}

/// The columns of the input at `place` among those of a join.
fn span(inputs: &[Rel], place: usize) -> Range<usize> {
    let start = inputs[..place].iter().map(|input| input.columns().len()).sum();
    start..start + inputs[place].columns().len()
}

/// `rel`, whose columns are `span` of those that `found` speaks of, with an aggregation in it restricted to the keys of one of these.
fn restricted(rel: &Rel, found: &[Filtered], span: Range<usize>, worth: Worth) -> Option<Rel> {
    found.iter().find_map(|filtered| {
        let own = filtered.equal.iter().filter(|(column, _)| span.contains(column));
        let equal: Vec<(usize, usize)> = own.map(|(column, of)| (column - span.start, *of)).collect();
        among(rel, (&filtered.rel, &equal), worth)
    })
}

/// `rel` with the lowest aggregation in it made of those rows only whose keys `filtered` has: columns of `rel` equal some of it.
fn among(rel: &Rel, (filtered, equal): (&Rel, &[(usize, usize)]), worth: Worth) -> Option<Rel> {
    let below = |input: &Rel, equal: &[(usize, usize)]| among(input, (filtered, equal), worth).map(Box::new);
    match rel {
        Rel::Filter { input, predicates } => {
            Some(Rel::Filter { input: below(input, equal)?, predicates: predicates.clone() })
        }
        Rel::Project { input, outputs } => {
            let from = |(column, of): &(usize, usize)| Some((outputs[*column].1.as_column()?, *of));
            let equal: Vec<(usize, usize)> = equal.iter().filter_map(from).collect();
            Some(Rel::Project { input: below(input, &equal)?, outputs: outputs.clone() })
        }
        Rel::Join { inputs, predicates } => {
            let mut inputs = inputs.clone();
            let restricted = |place: usize| {
                let span = span(&inputs, place);
                let own = equal.iter().filter(|(column, _)| span.contains(column));
                let own: Vec<(usize, usize)> = own.map(|(column, of)| (column - span.start, *of)).collect();
                Some((place, *below(&inputs[place], &own)?))
            };
            let (place, restricted) = (0..inputs.len()).find_map(restricted)?;
            inputs[place] = restricted;
            Some(Rel::Join { inputs, predicates: predicates.clone() })
        }
        Rel::Aggregate { input, keys, calls } => {
            let (columns, wanted) = (input.columns(), filtered.columns());
            let on = equal.iter().filter_map(|(key, of)| {
                let from = keys.get(*key)?.1.as_column()?;
                agrees(&columns[from], &wanted[*of]).then_some((from, *of))
            });
            let on: Vec<(usize, usize)> = on.collect();
            let input = below(input, &on).or_else(|| with_keys(input, (filtered, &on), worth).map(Box::new))?;
            Some(Rel::Aggregate { input, keys: keys.clone(), calls: calls.clone() })
        }
        _ => None,
    }
}

/// The rows of `rel` that equal some row of `filtered` where `on` says, if that is worth it.
fn with_keys(rel: &Rel, (filtered, on): (&Rel, &[(usize, usize)]), worth: Worth) -> Option<Rel> {
    let (columns, of): (Vec<usize>, Vec<usize>) = on.iter().copied().unzip();
    let is_possible = !columns.is_empty() && !rel.reads_working();
    if !is_possible || !worth(&Candidate { filtered, of: &of, rows: rel, columns: &columns }) {
        return None;
    }
    let (own, wanted) = (rel.columns(), filtered.columns());
    let key = |of: &usize| {
        let Column { name, ty, nullable } = wanted[*of].clone();
        (name, Scalar::column(*of, ty, nullable))
    };
    let keys = of.iter().map(key).collect();
    let right = Rel::Aggregate { input: Box::new(filtered.clone()), keys, calls: Vec::new() };
    let equality = |(place, column): (usize, &usize)| {
        let text = |text: &str| Fragment::Text(text.into());
        let [left, right] = [*column, own.len() + place].map(Fragment::Column);
        let fragments = vec![text("("), left, text(&format!(" {BUILT_IN} ")), right, text(")")];
        Scalar { fragments, ..Scalar::column(0, DataType::boolean(), own[*column].nullable) }
    };
    let predicates = columns.iter().enumerate().map(equality).collect();
    let (left, right) = (Box::new(rel.clone()), Box::new(right));
    Some(Rel::SemiJoin { left, right, predicates, yields: Yield::Matched })
}

/// Values of the two columns are equal only when they are the same.
fn agrees(a: &Column, b: &Column) -> bool {
    let kind = |column: &Column| (column.ty.oid, column.ty.collation);
    let builtin = a.ty.eq.as_deref() == Some(BUILT_IN);
    kind(a) == kind(b) && a.ty.equality == Equality::Image && builtin
}

impl Filtered {
    /// Takes in the columns that `predicates` equate with others that it has.
    fn follow(&mut self, predicates: &[Scalar], columns: &[Column]) {
        let equalities = || predicates.iter().filter_map(Scalar::as_equality);
        let same = || equalities().filter(|(a, b)| agrees(&columns[*a], &columns[*b]));
        let has = |equal: &[(usize, usize)], column| equal.iter().find(|(own, _)| *own == column).map(|(_, of)| *of);
        while let Some(next) = same().flat_map(|(a, b)| [(a, b), (b, a)]).find_map(|(from, to)| {
            let of = has(&self.equal, from)?;
            has(&self.equal, to).is_none().then_some((to, of))
        }) {
            self.equal.push(next);
        }
    }

    /// Speaks of another relation, in which a column has the places `to`.
    fn moved(self, to: impl Fn(usize) -> Vec<usize>) -> Filtered {
        let equal = self.equal.into_iter().flat_map(|(column, of)| to(column).into_iter().map(move |to| (to, of)));
        Filtered { equal: equal.collect(), ..self }
    }
}

/// The filtered sources of which each row of `rel` has one, if the predicates `above` are true for it.
fn every(rel: &Rel, above: &[Scalar]) -> Vec<Filtered> {
    match rel {
        Rel::Scan(scan) => {
            let fixed = |predicate: &&Scalar| predicate.volatility == Volatility::Immutable && !predicate.reads_clock();
            let predicates: Vec<Scalar> = above.iter().filter(fixed).cloned().collect();
            let equal = (0..scan.columns.len()).map(|column| (column, column)).collect();
            let is_filtered = !predicates.is_empty();
            let rel = Rel::Filter { input: Box::new(rel.clone()), predicates };
            is_filtered.then_some(Filtered { rel, equal }).into_iter().collect()
        }
        Rel::Filter { input, predicates } => every(input, &[above, predicates].concat()),
        Rel::Project { input, outputs } => {
            let places = |column| (0..outputs.len()).filter(|at| outputs[*at].1.as_column() == Some(column)).collect();
            every(input, &through(above, outputs)).into_iter().map(|filtered| filtered.moved(places)).collect()
        }
        Rel::Join { inputs, predicates } => of_join(inputs, &[above, predicates].concat(), None),
        Rel::SemiJoin { left, right, predicates, yields: Yield::Matched } => {
            let width = left.columns().len();
            let both = [left.as_ref().clone(), right.as_ref().clone()];
            let of_left = |column| if column < width { vec![column] } else { Vec::new() };
            let found = of_join(&both, &[above, predicates].concat(), None);
            found.into_iter().map(|filtered| filtered.moved(of_left)).collect()
        }
        Rel::SemiJoin { left: input, .. }
        | Rel::OuterJoin { left: input, side: Side::Left, .. }
        | Rel::Expand { input, .. } => every(input, &within(above, &(0..input.columns().len()))),
        _ => Vec::new(),
    }
}

/// Those of the inputs of a join but `without`, of whose rows `predicates` are true, by which they are followed.
fn of_join(inputs: &[Rel], predicates: &[Scalar], without: Option<usize>) -> Vec<Filtered> {
    let columns: Vec<Column> = inputs.iter().flat_map(Rel::columns).collect();
    let of_input = |place: usize| {
        let span = span(inputs, place);
        let found = every(&inputs[place], &within(predicates, &span)).into_iter();
        found.map(move |filtered| filtered.moved(|column| vec![column + span.start]))
    };
    let mut found: Vec<Filtered> =
        (0..inputs.len()).filter(|place| Some(*place) != without).flat_map(of_input).collect();
    found.iter_mut().for_each(|filtered| filtered.follow(predicates, &columns));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::testing::{equality, int4, project, scan};

    /// `id`, its key, and `name`, which a predicate reads.
    fn parts() -> Rel {
        scan(1, &["id", "name"], &[&[0]])
    }

    fn filtered(input: Rel, column: usize) -> Rel {
        Rel::Filter { input: Box::new(input), predicates: vec![equality(column, column)] }
    }

    /// `part`, of the lines of each part.
    fn groups(lines: Rel) -> Rel {
        let keys = vec![("part".into(), Scalar::column(0, int4(), true))];
        Rel::Aggregate { input: Box::new(lines), keys, calls: Vec::new() }
    }

    fn lines() -> Rel {
        scan(2, &["part", "quantity"], &[])
    }

    /// How many aggregations of `rel` are restricted, of those that are not the keys themselves.
    fn restrictions(rel: &Rel) -> usize {
        let own = match rel {
            Rel::Aggregate { input, .. } => usize::from(matches!(input.as_ref(), Rel::SemiJoin { .. })),
            _ => 0,
        };
        own + rel.inputs().into_iter().map(restrictions).sum::<usize>()
    }

    fn restricted_in(rel: Rel) -> usize {
        let columns = rel.columns();
        let rel = apply(rel, &|candidate| candidate.is_unique());
        assert_eq!(rel.columns(), columns);
        restrictions(&rel)
    }

    fn join(inputs: Vec<Rel>, predicates: Vec<Scalar>) -> Rel {
        Rel::Join { inputs, predicates }
    }

    fn outer(left: Rel, right: Rel, side: Side) -> Rel {
        Rel::OuterJoin { left: Box::new(left), right: Box::new(right), predicates: vec![equality(0, 2)], side }
    }

    #[test]
    fn groups_that_meet_a_filtered_source_are_restricted() {
        let inputs = || vec![parts(), groups(lines())];
        assert_eq!(restricted_in(join(inputs(), vec![equality(0, 2), equality(1, 1)])), 1);
        assert_eq!(restricted_in(join(inputs(), vec![equality(0, 2)])), 0, "all parts");
        assert_eq!(restricted_in(join(inputs(), vec![equality(1, 2), equality(1, 1)])), 0, "many parts of one name");
        assert_eq!(restricted_in(filtered(outer(parts(), groups(lines()), Side::Left), 1)), 1);
        assert_eq!(restricted_in(outer(filtered(parts(), 1), groups(lines()), Side::Left)), 1);
    }

    #[test]
    fn rows_without_a_match_keep_their_groups() {
        assert_eq!(restricted_in(outer(filtered(parts(), 1), groups(lines()), Side::Both)), 0);
        assert_eq!(restricted_in(filtered(outer(parts(), groups(lines()), Side::Both), 1)), 0);
        let swapped = Rel::OuterJoin {
            left: Box::new(groups(lines())),
            right: Box::new(filtered(parts(), 1)),
            predicates: vec![equality(0, 1)],
            side: Side::Left,
        };
        assert_eq!(restricted_in(swapped), 0);
        // The filter is true for padded rows only, perhaps.
        assert_eq!(restricted_in(filtered(outer(scan(3, &["a", "b"], &[]), parts(), Side::Left), 3)), 0);
    }

    #[test]
    fn equalities_are_followed_to_the_lowest_groups() {
        let above = groups(project(groups(lines()), &[0]));
        let inputs = vec![scan(3, &["line", "part"], &[]), parts(), above];
        let rel = apply(join(inputs, vec![equality(1, 2), equality(1, 4), equality(3, 3)]), &|candidate| {
            assert!(matches!(candidate.rows, Rel::Scan(scan) if scan.relid == 2) && candidate.columns == [0]);
            true
        });
        assert_eq!(restrictions(&rel), 1);
    }

    #[test]
    fn values_that_are_equal_and_differ_restrict_nothing() {
        let coarse = |mut rel: Rel| {
            if let Rel::Scan(scan) = &mut rel {
                scan.columns[0].column.ty.equality = Equality::Coarse;
            }
            rel
        };
        let inputs = vec![coarse(parts()), groups(coarse(lines()))];
        assert_eq!(restricted_in(join(inputs, vec![equality(0, 2), equality(1, 1)])), 0);
    }

    #[test]
    fn what_is_not_worth_it_stays() {
        let rel = join(vec![parts(), groups(lines())], vec![equality(0, 2), equality(1, 1)]);
        assert_eq!(apply(rel.clone(), &|_| false), rel);
    }
}
