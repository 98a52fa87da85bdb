//! The general way of decorrelation: the right side of an Apply for every value of the correlated columns at once; see
//! [`super::decorrelate`]. Which values there are: [`super::values`].

use super::decorrelate::{Correlated, Result, count_rows, is_correlated, is_outer, kept, reads_outer};
use super::lift::{Predicate, over_no_rows};
use crate::query::rel::{AggregateCall, Side, Yield};
use crate::query::{Column, DataType, Fragment, Rel, Scalar, Volatility};

/// The values of the correlated columns c: `δ(π_c(L))`, or more.
pub(super) struct Domain {
    rel: Rel,
    /// Their positions in L.
    outer: Vec<usize>,
    /// What is carried is the step of a recursion that is carried: what the step before yielded has the domain's columns.
    in_step: bool,
}

impl Domain {
    /// # Errors
    /// When a correlated column's type has no equality.
    pub(super) fn of(left: &Rel, right: &Rel) -> Result<Domain> {
        let mut outer = Vec::new();
        collect(right, &mut outer);
        outer.sort_unstable();
        outer.dedup();
        let columns = left.columns();
        if outer.iter().any(|column| columns[*column].ty.eq.is_none()) {
            return Err(Correlated {
                construct: "a correlated sub-select",
                reason: "It reads an outer column whose type has no equality, so its values cannot be told apart.",
            });
        }
        let (values, places) = super::values::of(left, &outer);
        let values = picked(values, places.into_iter());
        Ok(Domain { rel: Rel::Distinct { input: Box::new(values) }, outer, in_step: false })
    }

    pub(super) fn width(&self) -> usize {
        self.outer.len()
    }

    /// A row of L belongs to the domain row with its values.
    pub(super) fn equalities(&self) -> Vec<Predicate> {
        let columns = self.rel.columns();
        let equality = |(i, outer): (usize, &usize)| {
            let left = Fragment::Outer { depth: 0, column: *outer };
            let scalar = same(left, Fragment::Column(i), &columns[i]);
            Predicate { scalar, binds: Some((*outer, i)) }
        };
        self.outer.iter().enumerate().map(equality).collect()
    }

    /// The expression over the domain's columns and, after them, those of the operator's input.
    fn moved(&self, scalar: &Scalar) -> Scalar {
        scalar.map(|fragment| self.moved_fragment(fragment, &|place| place + self.width()))
    }

    fn moved_fragment(&self, fragment: &Fragment, place: &dyn Fn(usize) -> usize) -> Fragment {
        match fragment {
            Fragment::Column(column) => Fragment::Column(place(*column)),
            Fragment::Outer { depth: 0, column } => {
                Fragment::Column(self.outer.iter().position(|outer| outer == column).expect("it is in the domain"))
            }
            other => other.clone(),
        }
    }

    fn all_moved(&self, scalars: &[Scalar]) -> Vec<Scalar> {
        scalars.iter().map(|scalar| self.moved(scalar)).collect()
    }

    fn own_outputs(&self) -> impl Iterator<Item = (String, Scalar)> {
        kept(&self.rel.columns()).collect::<Vec<_>>().into_iter()
    }

    /// Whether the rows of `rel` are others for another row of the domain.
    fn varies(&self, rel: &Rel) -> bool {
        is_correlated(rel) || (self.in_step && rel.reads_working())
    }

    /// `rel` for each row of the domain: the domain's columns, then those of `rel`.
    ///
    /// # Errors
    /// When an operator cannot carry the domain.
    pub(super) fn carry(&self, rel: Rel) -> Result<Rel> {
        if !self.varies(&rel) {
            return Ok(Rel::Join { inputs: vec![self.rel.clone(), rel], predicates: Vec::new() });
        }
        match rel {
            Rel::Filter { input, predicates } => {
                Ok(Rel::Filter { input: Box::new(self.carry(*input)?), predicates: self.all_moved(&predicates) })
            }
            Rel::Project { input, outputs } => {
                let computed = outputs.iter().map(|(name, scalar)| (name.clone(), self.moved(scalar)));
                let outputs = self.own_outputs().chain(computed).collect();
                Ok(Rel::Project { input: Box::new(self.carry(*input)?), outputs })
            }
            Rel::Expand { input, mut item, on, outer } => {
                let place = |place: usize| place + self.width();
                item.text = item.text.iter().map(|fragment| self.moved_fragment(fragment, &place)).collect();
                Ok(Rel::Expand { input: Box::new(self.carry(*input)?), item, on: self.all_moved(&on), outer })
            }
            Rel::Join { inputs, predicates } => self.join(inputs, &predicates),
            Rel::OuterJoin { left, right, predicates, side: Side::Left } => {
                self.binary(*left, *right, &predicates, |left, right, predicates| Rel::OuterJoin {
                    left,
                    right,
                    predicates,
                    side: Side::Left,
                })
            }
            Rel::OuterJoin { left, right, predicates, side: Side::Both } => self.full_join(*left, *right, &predicates),
            Rel::SemiJoin { left, right, predicates, yields } => self.semi_join(*left, *right, &predicates, yields),
            Rel::UnionAll { inputs, columns } => {
                let inputs = inputs.into_iter().map(|input| self.carry(input)).collect::<Result<Vec<_>>>()?;
                Ok(Rel::UnionAll { inputs, columns: self.with_own(columns) })
            }
            Rel::Distinct { input } => Ok(Rel::Distinct { input: Box::new(self.carry(*input)?) }),
            Rel::Aggregate { input, keys, calls } => self.aggregate(*input, keys, calls),
            Rel::Window { input, partition, mut windows, calls } => {
                for item in windows.iter_mut().flat_map(|window| &mut window.order) {
                    item.value = self.moved(&item.value);
                }
                let calls = calls.iter().map(|(name, call)| (name.clone(), self.moved(call))).collect();
                let partition = self.partition(&partition);
                Ok(Rel::Window { input: Box::new(self.carry(*input)?), partition, windows, calls })
            }
            Rel::TopK { input, partition, mut order, limit, offset, with_ties }
                if !limit.iter().chain(&offset).any(reads_outer) =>
            {
                for item in &mut order {
                    item.value = self.moved(&item.value);
                }
                let partition = self.partition(&partition);
                Ok(Rel::TopK { input: Box::new(self.carry(*input)?), partition, order, limit, offset, with_ties })
            }
            Rel::Recursive { base, step, all, columns } => {
                let step = Domain { rel: self.rel.clone(), outer: self.outer.clone(), in_step: true }.carry(*step)?;
                let (base, columns) = (self.carry(*base)?, self.with_own(columns));
                Ok(Rel::Recursive { base: Box::new(base), step: Box::new(step), all, columns })
            }
            Rel::Working { columns } => Ok(Rel::Working { columns: self.with_own(columns) }),
            other => Err(stuck(&other)),
        }
    }

    fn with_own(&self, columns: Vec<Column>) -> Vec<Column> {
        self.rel.columns().into_iter().chain(columns).collect()
    }

    fn partition(&self, partition: &[Scalar]) -> Vec<Scalar> {
        self.own_outputs().map(|(_, scalar)| scalar).chain(self.all_moved(partition)).collect()
    }

    fn aggregate(&self, input: Rel, keys: Vec<(String, Scalar)>, calls: Vec<(String, AggregateCall)>) -> Result<Rel> {
        let columns = input.columns();
        let absent: Vec<Scalar> = calls.iter().map(|(_, call)| self.moved(&over_no_rows(call, &columns))).collect();
        let global = keys.is_empty();
        let width = self.width();
        let moved = keys.iter().map(|(name, key)| (name.clone(), self.moved(key)));
        let keys = self.own_outputs().chain(moved).collect();
        let count = calls.len();
        let mut calls: Vec<(String, AggregateCall)> =
            calls.iter().map(|(name, call)| (name.clone(), call.map(|scalar| self.moved(scalar)))).collect();
        if global {
            calls.push(("present".into(), count_rows()));
        }
        let groups = Rel::Aggregate { input: Box::new(self.carry(input)?), keys, calls };
        if !global {
            return Ok(groups);
        }
        // Every row of the domain has a group, be it an empty one.
        let grouped = groups.columns();
        let on = self.pairs(0, width);
        let left = Box::new(self.rel.clone());
        let join = Rel::OuterJoin { left, right: Box::new(groups), predicates: on, side: Side::Left };
        let text = |text: &str| Fragment::Text(text.into());
        let present = Fragment::Column(2 * width + count);
        let value = |i: usize| {
            let column = &grouped[width + i];
            let mut fragments = vec![text("CASE WHEN "), present.clone(), text(" IS NULL THEN ")];
            fragments.extend(absent[i].fragments.iter().cloned());
            fragments.extend([text(" ELSE "), Fragment::Column(2 * width + i), text(" END")]);
            let scalar = Scalar { fragments, ..Scalar::column(0, column.ty.clone(), true) };
            (column.name.clone(), scalar)
        };
        let outputs = self.own_outputs().chain((0..count).map(value)).collect();
        Ok(Rel::Project { input: Box::new(join), outputs })
    }

    /// Copies of the domain at `first` and at `second` agree.
    fn pairs(&self, first: usize, second: usize) -> Vec<Scalar> {
        let columns = self.rel.columns();
        let pair =
            |(i, column): (usize, &Column)| same(Fragment::Column(first + i), Fragment::Column(second + i), column);
        columns.iter().enumerate().map(pair).collect()
    }

    /// The domain is joined in once for each input that is correlated, or once if none is.
    fn join(&self, inputs: Vec<Rel>, predicates: &[Scalar]) -> Result<Rel> {
        let width = self.width();
        let mut carried = Vec::new();
        // Where the columns of each input begin, and where copies of the domain are.
        let (mut places, mut copies, mut next) = (Vec::new(), Vec::new(), 0);
        if !inputs.iter().any(|input| self.varies(input)) {
            carried.push(self.rel.clone());
            copies.push(0);
            next = width;
        }
        for input in inputs {
            let columns = input.columns().len();
            if self.varies(&input) {
                copies.push(next);
                next += width;
                carried.push(self.carry(input)?);
            } else {
                carried.push(input);
            }
            places.extend(next..next + columns);
            next += columns;
        }
        let domain = copies[0];
        let moved = predicates.iter().map(|scalar| {
            scalar.map(|fragment| match fragment {
                outer if is_outer(outer) => match self.moved_fragment(outer, &|place| place) {
                    Fragment::Column(place) => Fragment::Column(place + domain),
                    other => other,
                },
                other => self.moved_fragment(other, &|place| places[place]),
            })
        });
        let agree = copies[1..].iter().flat_map(|copy| self.pairs(domain, *copy));
        let predicates = moved.chain(agree).collect();
        let join = Rel::Join { inputs: carried, predicates };
        Ok(picked(join, (domain..domain + width).chain(places)))
    }

    /// An operator that keeps the rows of its left side. The right side is joined to its own domain row.
    fn binary(
        &self,
        left: Rel,
        right: Rel,
        predicates: &[Scalar],
        make: impl FnOnce(Box<Rel>, Box<Rel>, Vec<Scalar>) -> Rel,
    ) -> Result<Rel> {
        let width = self.width();
        let (before, more) = (left.columns().len(), right.columns().len());
        let copy = if self.varies(&right) { width } else { 0 };
        let right = if copy > 0 { self.carry(right)? } else { right };
        let place = |place: usize| if place < before { place + width } else { place + width + copy };
        let moved = predicates.iter().map(|scalar| scalar.map(|fragment| self.moved_fragment(fragment, &place)));
        let agree = if copy > 0 { self.pairs(0, width + before) } else { Vec::new() };
        let predicates = moved.chain(agree).collect();
        let rel = make(Box::new(self.carry(left)?), Box::new(right), predicates);
        let kept = 0..width + before;
        let after = width + before + copy;
        Ok(if copy > 0 { picked(rel, kept.chain(after..after + more)) } else { rel })
    }

    /// Both sides carry the domain; a row of the result belongs to the domain row of whichever side is there.
    fn full_join(&self, left: Rel, right: Rel, predicates: &[Scalar]) -> Result<Rel> {
        let width = self.width();
        let (before, more) = (left.columns().len(), right.columns().len());
        let second = width + before;
        let place = |place: usize| if place < before { place + width } else { place + 2 * width };
        let moved = predicates.iter().map(|scalar| scalar.map(|fragment| self.moved_fragment(fragment, &place)));
        let predicates = moved.chain(self.pairs(0, second)).collect();
        let (left, right) = (Box::new(self.carry(left)?), Box::new(self.carry(right)?));
        let join = Rel::OuterJoin { left, right, predicates, side: Side::Both };
        let columns = join.columns();
        let text = |text: &str| Fragment::Text(text.into());
        let either = |i: usize| {
            let Column { name, ty, nullable } = self.rel.columns()[i].clone();
            let sides = [text("COALESCE("), Fragment::Column(i), text(", "), Fragment::Column(second + i), text(")")];
            // Over NULL-able columns, but one of the two is a value of the domain.
            (name, Scalar { fragments: sides.into(), ..Scalar::column(0, ty, nullable) })
        };
        let kept = |place: usize| {
            let Column { name, ty, nullable } = columns[place].clone();
            (name, Scalar::column(place, ty, nullable))
        };
        let sides = (width..second).chain(second + width..second + width + more);
        let outputs = (0..width).map(either).chain(sides.map(kept)).collect();
        Ok(Rel::Project { input: Box::new(join), outputs })
    }

    fn semi_join(&self, left: Rel, right: Rel, predicates: &[Scalar], yields: Yield) -> Result<Rel> {
        let width = self.width();
        let before = left.columns().len();
        let copy = if self.varies(&right) { width } else { 0 };
        let right = if copy > 0 { self.carry(right)? } else { right };
        let place = |place: usize| if place < before { place + width } else { place + width + copy };
        let moved = predicates.iter().map(|scalar| scalar.map(|fragment| self.moved_fragment(fragment, &place)));
        let agree = if copy > 0 { self.pairs(0, width + before) } else { Vec::new() };
        let predicates = moved.chain(agree).collect();
        Ok(Rel::SemiJoin { left: Box::new(self.carry(left)?), right: Box::new(right), predicates, yields })
    }
}

fn collect(rel: &Rel, outer: &mut Vec<usize>) {
    let columns = rel.texts().into_iter().flatten().filter_map(|fragment| match fragment {
        Fragment::Outer { depth: 0, column } => Some(*column),
        _ => None,
    });
    outer.extend(columns);
    rel.inputs().into_iter().for_each(|input| collect(input, outer));
}

/// The columns of `rel` at these places.
pub(super) fn picked(rel: Rel, places: impl Iterator<Item = usize>) -> Rel {
    let columns = rel.columns();
    let output = |place: usize| {
        let Column { name, ty, nullable } = columns[place].clone();
        (name, Scalar::column(place, ty, nullable))
    };
    let outputs = places.map(output).collect();
    Rel::Project { input: Box::new(rel), outputs }
}

/// Two values of a column are equal, or both NULL. A hash beside it makes the join hashable and gives an index something to
/// find, where NULLs are equal.
fn same(a: Fragment, b: Fragment, column: &Column) -> Scalar {
    let text = |text: &str| Fragment::Text(text.into());
    let equals = format!(" {} ", column.ty.eq.as_deref().unwrap_or("="));
    let plain = [text("("), a.clone(), text(&equals), b.clone(), text(")")];
    let mut fragments = Vec::new();
    if !column.nullable {
        fragments.extend(plain);
    } else {
        fragments.push(text("("));
        if column.ty.hash {
            fragments.extend([text("pg_catalog.hash_record_extended(ROW("), a.clone()]);
            fragments.extend([text("), 0) = pg_catalog.hash_record_extended(ROW("), b.clone(), text("), 0) AND ")]);
        }
        fragments.push(text("("));
        fragments.extend(plain);
        let missing = column.ty.missing("");
        fragments.extend([text(" OR ("), a, text(&format!("{missing} AND ")), b, text(&format!("{missing})))"))]);
    }
    Scalar { fragments, ty: DataType::boolean(), volatility: Volatility::Immutable, nullable: true, fixed_scale: false }
}

fn stuck(rel: &Rel) -> Correlated {
    let construct = match rel {
        Rel::TopK { .. } => "a LIMIT that reads an outer row",
        _ => "a correlated sub-select",
    };
    Correlated { construct, reason: "Its rows for one outer row cannot be told from those for another." }
}
