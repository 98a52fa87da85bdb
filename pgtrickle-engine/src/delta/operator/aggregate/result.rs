//! The result of each call as an expression over the state: `sum / n`, `CASE WHEN n > 0 …`.
//!
//! It is the result of the server's own final function digit for digit, because it does the same arithmetic on the same exact
//! sums (`numeric.c`). With N values, S = Σx and Q = Σx²:
//!
//! - `avg` is S / N by numeric division, which chooses the scale of the quotient from the two values and their scales, so S
//!   must have the scale that the server's sum has: the largest one among the values ([`Accumulator::Scales`]).
//! - a variance is (N·Q - S²) / (N·(N - 1)), or / N² for the population's, by the same division
//!   (`numeric_stddev_internal`); 0 where the numerator is, NaN where a value is NaN or infinite. Integers are numerics of
//!   scale 0 there. The server's own sums are wider than any numeric: a group with a value that is too large or too long
//!   for SQL to square exactly is computed anew ([`Accumulator::Beyond`]); so is one with NaN or infinity.
//! - a standard deviation is the square root of that quotient v, rounded to as many fractional digits as v has. `sqrt(v)`
//!   gives at least as many digits, correctly rounded (`sqrt_var`), and rounding it a second time errs only upwards, and
//!   only by one unit u of the last place: r is one too large if (r - u/2)² > v. (√v never lies halfway between two
//!   candidates: it would have more digits than a root of v can.)

use super::accumulator::{Accumulator, Condition, SCALE_DIGITS, SCALE_LIMIT};
use super::{INT8, NUMERIC, State, numeric};
use crate::query::{AggregateCall, AggregateFunction, DataType, Fragment, Scalar};

impl State {
    /// Adds the accumulators of `call`; the result is an expression over the state's columns. `never_null`: every row
    /// counts.
    pub(super) fn add(&mut self, call: &AggregateCall, never_null: bool) -> Scalar {
        use AggregateFunction as F;
        let condition = Condition { argument: call.argument.clone(), filter: call.filter.clone() };
        let value = |position: usize, exact: bool| Scalar {
            fixed_scale: exact,
            ..Scalar::column(position, call.call.ty.clone(), true)
        };
        match (call.function, &call.argument) {
            (F::Recompute, _) => value(self.place(Accumulator::Opaque(call.call.clone())), false),
            (F::Min | F::Max, _) => {
                let least = call.function == F::Min;
                value(self.place(Accumulator::Extremum { of: condition, least }), false)
            }
            (F::CountStar | F::Count, _) | (_, None) => value(self.count(condition, never_null), true),
            (F::BoolAnd | F::BoolOr, Some(argument)) => {
                let holds = Condition { argument: None, filter: Some(both(&call.filter, argument)) };
                let holds = hole(self.place(Accumulator::Count(holds)));
                let counted = hole(self.count(condition, never_null));
                let (test, parts) = match call.function {
                    F::BoolAnd => ("# = #", vec![counted.clone(), holds, counted]),
                    _ => ("# > 0", vec![counted, holds]),
                };
                let fragments = filled(&format!("CASE WHEN # > 0 THEN {test} END"), &parts);
                Scalar { fragments, ..value(0, false) }
            }
            (F::Variance { sample, root }, Some(argument)) => {
                let ordinary = (argument.ty.oid == NUMERIC && !argument.fixed_scale).then(|| ordinary(argument));
                let filter = match &ordinary {
                    Some(ordinary) => Some(both(&call.filter, ordinary)),
                    None => call.filter.clone(),
                };
                let squarable = Condition { filter, ..condition.clone() };
                let (sum, squares) = (self.sum(&squarable, argument), self.squares(&squarable, argument));
                let mut fragments = spread(self.count(condition.clone(), never_null), sum, squares, sample, root);
                if let Some(ordinary) = ordinary {
                    let beyond = Accumulator::Beyond { call: call.call.clone(), ordinary, of: condition };
                    let beyond = hole(self.place(beyond));
                    fragments = filled("CASE WHEN # IS NULL THEN # ELSE # END", &[beyond.clone(), fragments, beyond]);
                }
                Scalar { fragments, ..value(0, false) }
            }
            (F::SumInteger | F::SumNumeric | F::AvgInteger | F::AvgNumeric, Some(argument)) => {
                let average = matches!(call.function, F::AvgInteger | F::AvgNumeric);
                let exact = argument.fixed_scale || call.function == F::SumInteger;
                let sum = self.sum(&condition, argument);
                let counted = self.count(condition, never_null);
                if never_null && !self.keys.is_empty() && !average {
                    return Scalar { fragments: sum, ..value(0, exact) };
                }
                let text = match average {
                    true => "CASE WHEN # > 0 THEN (#)::numeric / #::numeric END",
                    false => "CASE WHEN # > 0 THEN # END",
                };
                let fragments = filled(text, &[hole(counted), sum, hole(counted)]);
                Scalar { fragments, ..value(0, exact && !average) }
            }
        }
    }

    /// The position of the number of rows that meet `condition`, all of them if `never_null`.
    fn count(&mut self, condition: Condition, never_null: bool) -> usize {
        match never_null || (condition.argument.is_none() && condition.filter.is_none()) {
            true => self.keys.len(),
            false => self.place(Accumulator::Count(condition)),
        }
    }

    /// The sum of `argument`, the argument of `of`, with the scale of the server's own sum.
    fn sum(&mut self, of: &Condition, argument: &Scalar) -> Vec<Fragment> {
        match argument.ty.oid == NUMERIC {
            true => {
                let sum = self.place(Accumulator::NumericSum(of.clone()));
                self.scaled(sum, of, argument, 1)
            }
            false => {
                let wide = argument.ty.oid == INT8;
                hole(self.place(Accumulator::IntegerSum { of: of.clone(), wide }))
            }
        }
    }

    /// Likewise, the sum of its squares.
    fn squares(&mut self, of: &Condition, argument: &Scalar) -> Vec<Fragment> {
        let square = Condition { argument: Some(squared(argument)), ..of.clone() };
        match argument.ty.oid == NUMERIC {
            true => {
                let sum = self.place(Accumulator::NumericSum(square));
                self.scaled(sum, of, argument, 2)
            }
            false => hole(self.place(Accumulator::IntegerSum { of: square, wide: true })),
        }
    }

    /// The numeric at `sum` with `power` times as many fractional digits as the values of `of` have at most.
    fn scaled(&mut self, sum: usize, of: &Condition, argument: &Scalar, power: usize) -> Vec<Fragment> {
        if argument.fixed_scale {
            return hole(sum);
        }
        let scales = hole(self.place(Accumulator::Scales(of.clone())));
        let (sum, most, up) = (hole(sum), (SCALE_LIMIT - 1) * SCALE_DIGITS, SCALE_DIGITS - 1);
        let scale = format!("(pg_catalog.min_scale(#) + {up}) / {SCALE_DIGITS}");
        let scale = if power == 1 { scale } else { format!("{power} * ({scale})") };
        let text = format!("CASE WHEN pg_catalog.min_scale(#) <= {most} THEN pg_catalog.round(#, {scale}) ELSE # END");
        filled(&text, &[scales.clone(), sum.clone(), scales, sum])
    }
}

/// A variance, or its square root, of N, Σx and Σx².
fn spread(counted: usize, sum: Vec<Fragment>, squares: Vec<Fragment>, sample: bool, root: bool) -> Vec<Fragment> {
    let (fewer, below) = if sample { (1, "(m.n - 1)") } else { (0, "m.n") };
    let quotient = format!(
        "SELECT CASE WHEN q.above <= 0 THEN 0::numeric ELSE q.above / q.below END AS v FROM (SELECT \
         m.n * m.squares - m.sum * m.sum AS above, m.n * {below} AS below FROM (SELECT \
         #::numeric AS n, (#)::numeric AS sum, # AS squares OFFSET 0) AS m OFFSET 0) AS q"
    );
    let value = match root {
        false => quotient,
        true => format!(
            "SELECT CASE WHEN r.v IN (0, 'NaN') THEN r.v \
             ELSE r.root - CASE WHEN (2 * r.root - r.unit) * (2 * r.root - r.unit) > 4 * r.v THEN r.unit ELSE 0 END END \
             FROM (SELECT v.v, pg_catalog.round(pg_catalog.sqrt(v.v), pg_catalog.scale(v.v)) AS root, \
             ('1e-' || pg_catalog.scale(v.v)::text)::numeric AS unit FROM ({quotient} OFFSET 0) AS v OFFSET 0) AS r"
        ),
    };
    let counted = hole(counted);
    filled(&format!("CASE WHEN # > {fewer} THEN ({value}) END"), &[counted.clone(), counted, sum, squares])
}

/// SQL's product has room for the square of the argument, all its digits included, and the sum has for many of them; or the
/// argument is NULL.
fn ordinary(argument: &Scalar) -> Scalar {
    let x = &argument.fragments;
    let text = "pg_catalog.abs(#) < 1e60000 AND pg_catalog.scale(#) <= 8000";
    Scalar { fragments: filled(text, &[x.clone(), x.clone()]), ..Scalar::column(0, DataType::boolean(), true) }
}

fn squared(argument: &Scalar) -> Scalar {
    let x = &argument.fragments;
    let fragments = filled("(#)::numeric * (#)::numeric", &[x.clone(), x.clone()]);
    Scalar { fragments, ty: numeric(), ..argument.clone() }
}

fn both(filter: &Option<Scalar>, condition: &Scalar) -> Scalar {
    match filter {
        None => condition.clone(),
        Some(filter) => {
            let fragments = filled("(#) AND (#)", &[filter.fragments.clone(), condition.fragments.clone()]);
            Scalar { fragments, ..condition.clone() }
        }
    }
}

fn hole(position: usize) -> Vec<Fragment> {
    vec![Fragment::Column(position)]
}

/// `text` with each `#` replaced by the next of `parts`.
fn filled(text: &str, parts: &[Vec<Fragment>]) -> Vec<Fragment> {
    let mut fragments = Vec::new();
    let mut parts = parts.iter();
    for (i, literal) in text.split('#').enumerate() {
        if i > 0 {
            fragments.extend(parts.next().into_iter().flatten().cloned());
        }
        fragments.push(Fragment::Text(literal.into()));
    }
    fragments.retain(|fragment| !matches!(fragment, Fragment::Text(text) if text.is_empty()));
    fragments
}
