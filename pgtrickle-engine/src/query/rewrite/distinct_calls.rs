//! `γ_{k; f(x), g(DISTINCT y)}(R) = γ_{k; f(x) [part = 0], g(y) [part = 1]}(π_{k, 0, x, ∅}(R) ∪ π_{k, 1, ∅, y}(δ(π_{k, y}(R))))`:
//! the different values of each group are the groups by k and y, and the group is made of its rows and of its different
//! values, each call reading its own part.
//!
//! There is a part for each different pair of DISTINCT argument and FILTER. The rows are a part when a call without DISTINCT
//! reads them, and when every other part has a FILTER, under which a group can be empty. A call that is computed anew reads
//! all rows of its group in any case, so beside one nothing is gained: the DISTINCT calls are then computed anew, too.

use super::map_inputs;
use crate::query::{AggregateCall, AggregateFunction, Column, DataType, Fragment, Rel, Scalar};

/// Replaces every call with DISTINCT by one without.
pub fn apply(rel: Rel) -> Rel {
    match map_inputs(rel, &mut apply) {
        Rel::Aggregate { input, keys, mut calls } => {
            recompute_together(&mut calls);
            match calls.iter().any(|(_, call)| call.distinct) {
                true => Split { parts: parts(&keys, &calls), input: *input, keys }.aggregate(calls),
                false => Rel::Aggregate { input, keys, calls },
            }
        }
        other => other,
    }
}

/// Makes the calls with DISTINCT ones that are computed anew, where another one is.
pub fn recompute_together(calls: &mut [(String, AggregateCall)]) {
    if calls.iter().any(|(_, call)| call.function == AggregateFunction::Recompute) {
        calls.iter_mut().filter(|(_, call)| call.distinct).for_each(|(_, call)| call.recompute());
    }
}

/// What some calls read.
#[derive(PartialEq)]
struct Part {
    /// Each different value once, instead of the rows.
    distinct: bool,
    /// Of the rows under this condition.
    filter: Option<Scalar>,
    /// Arguments, and conditions that calls have themselves.
    values: Vec<Scalar>,
}

fn parts(keys: &[(String, Scalar)], calls: &[(String, AggregateCall)]) -> Vec<Part> {
    let mut rows = Part { distinct: false, filter: None, values: Vec::new() };
    let mut parts: Vec<Part> = Vec::new();
    for (_, call) in calls {
        match distinct_part(call) {
            Some(part) if !parts.contains(&part) => parts.push(part),
            Some(_) => {}
            None => {
                for value in call.argument.iter().chain(&call.filter) {
                    if !rows.values.contains(value) {
                        rows.values.push(value.clone());
                    }
                }
            }
        }
    }
    let read = calls.iter().any(|(_, call)| !call.distinct);
    if read || (!keys.is_empty() && parts.iter().all(|part| part.filter.is_some())) {
        parts.insert(0, rows);
    }
    parts
}

fn distinct_part(call: &AggregateCall) -> Option<Part> {
    let value = call.argument.clone().filter(|_| call.distinct)?;
    Some(Part { distinct: true, filter: call.filter.clone(), values: vec![value] })
}

/// An aggregate whose input is taken apart. The parts have the columns: the keys, the number of the part unless it is the
/// only one, and the values of all parts, those of the others NULL.
struct Split {
    input: Rel,
    keys: Vec<(String, Scalar)>,
    parts: Vec<Part>,
}

impl Split {
    fn aggregate(self, calls: Vec<(String, AggregateCall)>) -> Rel {
        let keys = self.keys.iter().enumerate().map(|(i, (name, key))| (name.clone(), carried(key, i))).collect();
        let calls = calls.into_iter().map(|(name, call)| (name, self.moved(call))).collect();
        let mut inputs: Vec<Rel> = (0..self.parts.len()).map(|number| self.part(number)).collect();
        let input = match inputs.len() {
            1 => inputs.swap_remove(0),
            _ => {
                let nullable = |(i, column): (usize, Column)| Column {
                    nullable: column.nullable || i > self.keys.len(),
                    ..column
                };
                let columns = inputs[0].columns().into_iter().enumerate().map(nullable).collect();
                Rel::UnionAll { inputs, columns }
            }
        };
        Rel::Aggregate { input: Box::new(input), keys, calls }
    }

    /// The call over the parts.
    fn moved(&self, call: AggregateCall) -> AggregateCall {
        let own = distinct_part(&call);
        let number = self.parts.iter().position(|part| own.as_ref().map_or(!part.distinct, |own| own == part));
        let number = number.expect("every call has its part");
        let argument = call.argument.as_ref().map(|value| self.value(number, value));
        let condition = call.filter.filter(|_| !call.distinct).map(|filter| self.value(number, &filter));
        let filter = (self.parts.len() > 1).then(|| self.is_part(number, condition));
        let text = |text: &str| Fragment::Text(text.into());
        let mut fragments = vec![text(&format!("pg_catalog.{}(", call.function.name()))];
        fragments.extend(argument.as_ref().map_or_else(|| vec![text("*")], |value| value.fragments.clone()));
        fragments.push(text(")"));
        if let Some(filter) = &filter {
            fragments.push(text(" FILTER (WHERE "));
            fragments.extend(filter.fragments.iter().cloned());
            fragments.push(text(")"));
        }
        AggregateCall { argument, distinct: false, filter, call: Scalar { fragments, ..call.call }, ..call }
    }

    /// Where a value of a part is.
    fn value(&self, number: usize, value: &Scalar) -> Scalar {
        let before: usize = self.parts[..number].iter().map(|part| part.values.len()).sum();
        let own = self.parts[number].values.iter().position(|known| known == value);
        let place = own.expect("a part has what its calls read");
        carried(value, self.keys.len() + usize::from(self.parts.len() > 1) + before + place)
    }

    /// The row is of this part, and `condition` is true for it.
    fn is_part(&self, number: usize, condition: Option<Scalar>) -> Scalar {
        let text = |text: String| Fragment::Text(text);
        let mut fragments = vec![Fragment::Column(self.keys.len()), text(format!(" = {number}"))];
        if let Some(condition) = condition {
            fragments.push(text(" AND ".into()));
            fragments.extend(condition.fragments);
        }
        Scalar { fragments, ..Scalar::column(0, DataType::boolean(), true) }
    }

    fn part(&self, number: usize) -> Rel {
        let part = &self.parts[number];
        let input = Box::new(self.input.clone());
        let rows = match &part.filter {
            Some(filter) => Rel::Filter { input, predicates: vec![filter.clone()] },
            None => *input,
        };
        let own = self.keys.iter().cloned().chain(part.values.iter().map(|value| ("value".into(), value.clone())));
        let own: Vec<(String, Scalar)> = own.collect();
        let (rows, own) = match part.distinct {
            false => (rows, own),
            true => {
                let columns = own.iter().enumerate().map(|(i, (name, value))| (name.clone(), carried(value, i)));
                let columns = columns.collect();
                (Rel::Aggregate { input: Box::new(rows), keys: own, calls: Vec::new() }, columns)
            }
        };
        if self.parts.len() == 1 {
            return rows;
        }
        let (keys, values) = own.split_at(self.keys.len());
        let tag = Scalar { nullable: false, ..constant(number.to_string(), DataType::integer()) };
        let mut outputs = keys.to_vec();
        outputs.push(("part".into(), tag));
        for (i, other) in self.parts.iter().enumerate() {
            match i == number {
                true => outputs.extend_from_slice(values),
                false => outputs.extend(other.values.iter().map(|value| ("value".into(), absent(value)))),
            }
        }
        Rel::Project { input: Box::new(rows), outputs }
    }
}

/// `value`, as a column at `position`.
fn carried(value: &Scalar, position: usize) -> Scalar {
    Scalar { fixed_scale: value.fixed_scale, ..Scalar::column(position, value.ty.clone(), value.nullable) }
}

fn absent(value: &Scalar) -> Scalar {
    constant(format!("CAST(NULL AS {})", value.ty.sql), value.ty.clone())
}

fn constant(text: String, ty: DataType) -> Scalar {
    Scalar { fragments: vec![Fragment::Text(text)], ..Scalar::column(0, ty, true) }
}
