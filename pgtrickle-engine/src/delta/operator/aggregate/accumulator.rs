//! What a group stores for its aggregates, and how each value follows the changes.

use super::{int8, numeric, over};
use crate::query::{DataType, Scalar};
use crate::sql::conjunction;
use serde::{Deserialize, Serialize};

/// [`Accumulator::Scales`] counts up to 10 to this power rows of each scale.
pub(super) const SCALE_DIGITS: usize = 15;
/// It does not tell larger scales from this one, so that its own digits fit in a numeric.
pub(super) const SCALE_LIMIT: usize = 1000;

/// The rows that a call counts: those with `filter` true and `argument` not NULL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    pub argument: Option<Scalar>,
    pub filter: Option<Scalar>,
}

/// A stored value per group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accumulator {
    /// The number of rows that meet the condition.
    Count(Condition),
    /// The sum of an integer argument; int8 when `wide` is false (int2, int4), else numeric (int8).
    IntegerSum { of: Condition, wide: bool },
    /// The sum of a numeric argument.
    NumericSum(Condition),
    /// How many values of a numeric argument have each scale, in one number that can be added to and subtracted from:
    /// Σ 10^(-d·scale(x)), d = [`SCALE_DIGITS`]. Its last digit that is not 0 tells the largest scale.
    Scales(Condition),
    /// The smallest (`least`) or largest argument.
    Extremum { of: Condition, least: bool },
    /// The result of a `call`, while the group has a value that SQL's own arithmetic has no room for; NULL otherwise.
    /// `ordinary`: that a value is none of these, or NULL.
    Beyond { call: Scalar, ordinary: Scalar, of: Condition },
    /// The call's result.
    Opaque(Scalar),
}

impl Condition {
    fn argument(&self) -> String {
        self.argument.as_ref().map_or_else(|| "1".into(), |x| over("i", x))
    }

    /// ` FILTER (WHERE …)`, with `extra` among the conditions; empty when there are none.
    fn filter(&self, extra: Option<&str>) -> String {
        let own = self.filter.as_ref().map(|filter| format!("({})", over("i", filter)));
        let all: Vec<String> = own.into_iter().chain(extra.map(String::from)).collect();
        if all.is_empty() { String::new() } else { format!(" FILTER (WHERE {})", conjunction(all)) }
    }

    /// What a value adds to [`Accumulator::Scales`]; NULL for NaN and infinity, which have no scale.
    fn scale(&self) -> String {
        let scale = format!("pg_catalog.scale({})", self.argument());
        let known = format!("CASE WHEN {scale} > {SCALE_LIMIT} THEN {SCALE_LIMIT} ELSE {scale} END");
        format!("('1e-' || ({SCALE_DIGITS} * {known})::text)::numeric")
    }

    /// That some value is not as `ordinary` says; never NULL.
    fn any_not(&self, ordinary: &Scalar) -> String {
        format!("coalesce(pg_catalog.bool_or(NOT ({})){}, false)", over("i", ordinary), self.filter(None))
    }

    fn is_fixed(&self) -> bool {
        self.argument.as_ref().is_some_and(|argument| argument.fixed_scale)
    }

    fn not_null(&self) -> Option<String> {
        self.argument.as_ref().map(|x| x.ty.present(&format!("({})", over("i", x))))
    }
}

impl Accumulator {
    /// How it is maintained, in the words of `explain_st`.
    pub fn strategy(&self) -> &'static str {
        match self {
            Accumulator::Count(_) | Accumulator::IntegerSum { .. } | Accumulator::Scales(_) => "ALGEBRAIC_INVERTIBLE",
            Accumulator::NumericSum(_) => "ALGEBRAIC_VIA_AUX",
            Accumulator::Extremum { .. } | Accumulator::Beyond { .. } => "SEMI_ALGEBRAIC",
            Accumulator::Opaque(_) => "GROUP_RESCAN",
        }
    }

    pub(super) fn nullable(&self) -> bool {
        matches!(self, Accumulator::Extremum { .. } | Accumulator::Beyond { .. } | Accumulator::Opaque(_))
    }

    pub(super) fn ty(&self) -> DataType {
        match self {
            Accumulator::Count(_) | Accumulator::IntegerSum { wide: false, .. } => int8(),
            Accumulator::IntegerSum { wide: true, .. } | Accumulator::NumericSum(_) | Accumulator::Scales(_) => {
                numeric()
            }
            Accumulator::Extremum { of, .. } => of.argument.as_ref().map_or_else(int8, |x| x.ty.clone()),
            Accumulator::Beyond { call, .. } | Accumulator::Opaque(call) => call.ty.clone(),
        }
    }

    /// Its value over the rows of `i`.
    pub(super) fn fill(&self) -> String {
        match self {
            Accumulator::Count(of) => format!("pg_catalog.count(*){}", of.filter(of.not_null().as_deref())),
            Accumulator::IntegerSum { of, wide } => {
                let zero = if *wide { "0::numeric" } else { "0::int8" };
                format!("coalesce(pg_catalog.sum({}){}, {zero})", of.argument(), of.filter(None))
            }
            Accumulator::NumericSum(of) => {
                format!("coalesce(pg_catalog.sum({}){}, 0::numeric)", of.argument(), of.filter(None))
            }
            Accumulator::Scales(of) => {
                format!("coalesce(pg_catalog.sum({}){}, 0::numeric)", of.scale(), of.filter(None))
            }
            Accumulator::Extremum { of, least } => {
                format!("pg_catalog.{}({}){}", extremum(*least), of.argument(), of.filter(None))
            }
            Accumulator::Beyond { call, ordinary, of } => {
                format!("CASE WHEN {} THEN {} END", of.any_not(ordinary), over("i", call))
            }
            Accumulator::Opaque(call) => over("i", call),
        }
    }

    /// Its change over the weighted rows of `i`, as the columns `name`, `name_…` of `d`.
    pub(super) fn change(&self, name: &str) -> Vec<String> {
        let x = |of: &Condition| of.argument();
        match self {
            Accumulator::Count(of) => {
                let filter = of.filter(of.not_null().as_deref());
                vec![format!("coalesce(pg_catalog.sum(i.w){filter}, 0)::int8 AS {name}")]
            }
            Accumulator::IntegerSum { of, wide } => {
                let ty = if *wide { "numeric" } else { "int8" };
                vec![format!("coalesce(pg_catalog.sum(i.w * ({})::{ty}){}, 0)::{ty} AS {name}", x(of), of.filter(None))]
            }
            Accumulator::NumericSum(of) => {
                let x = of.argument();
                let infinite = format!("pg_catalog.abs({x}) >= 'Infinity'::numeric");
                let unbounded = match of.is_fixed() {
                    true => infinite,
                    false => format!("{infinite} OR pg_catalog.scale({x}) >= {SCALE_LIMIT}"),
                };
                vec![
                    format!("coalesce(pg_catalog.sum(i.w * ({x})){}, 0::numeric) AS {name}", of.filter(None)),
                    format!("pg_catalog.bool_or({unbounded}){} AS {name}_stale", of.filter(None)),
                ]
            }
            Accumulator::Scales(of) => {
                vec![format!("coalesce(pg_catalog.sum(i.w * {}){}, 0::numeric) AS {name}", of.scale(), of.filter(None))]
            }
            Accumulator::Extremum { of, least } => {
                let best = extremum(*least);
                vec![
                    format!("pg_catalog.{best}({}){} AS {name}", x(of), of.filter(Some("i.w > 0"))),
                    format!("pg_catalog.{best}({}){} AS {name}_left", x(of), of.filter(Some("i.w < 0"))),
                ]
            }
            Accumulator::Beyond { ordinary, of, .. } => vec![format!("{} AS {name}", of.any_not(ordinary))],
            Accumulator::Opaque(_) => Vec::new(),
        }
    }

    /// That the change is one, over `d`; `None` where it always is.
    pub(super) fn changes(&self, name: &str) -> Option<String> {
        match self {
            Accumulator::Count(_) | Accumulator::IntegerSum { .. } | Accumulator::Scales(_) => {
                Some(format!("d.{name} <> 0"))
            }
            Accumulator::NumericSum(_) => Some(format!("d.{name} <> 0 OR d.{name}_stale")),
            Accumulator::Extremum { .. } => Some(format!("pg_catalog.num_nonnulls(d.{name}, d.{name}_left) > 0")),
            Accumulator::Beyond { .. } => Some(format!("d.{name}")),
            Accumulator::Opaque(_) => None,
        }
    }

    /// When the group must be recomputed, over the change `q` and the old state `s` (whose columns are NULL for a new group);
    /// never NULL.
    pub(super) fn stale(&self, name: &str) -> Option<String> {
        match self {
            Accumulator::Count(_) | Accumulator::IntegerSum { .. } | Accumulator::Scales(_) => None,
            Accumulator::NumericSum(_) => Some(format!(
                "coalesce(q.{name}_stale, false) OR coalesce(pg_catalog.abs(s.{name}) >= 'Infinity'::numeric, false)"
            )),
            Accumulator::Extremum { of, least } => {
                let operator = of.argument.as_ref().and_then(|x| x.ty.eq.as_deref()).unwrap_or("=");
                let best = if *least { "LEAST" } else { "GREATEST" };
                Some(format!("coalesce({best}(q.{name}_left, s.{name}) {operator} q.{name}_left, false)"))
            }
            Accumulator::Beyond { .. } => Some(format!("coalesce(q.{name}, false) OR s.{name} IS NOT NULL")),
            Accumulator::Opaque(_) => Some("true".into()),
        }
    }

    /// The new value from the old `s` and the change `q`.
    pub(super) fn merged(&self, name: &str) -> String {
        match self {
            Accumulator::Count(_)
            | Accumulator::IntegerSum { .. }
            | Accumulator::NumericSum(_)
            | Accumulator::Scales(_) => format!("s.{name} + q.{name}"),
            Accumulator::Extremum { least: true, .. } => format!("LEAST(s.{name}, q.{name})"),
            Accumulator::Extremum { least: false, .. } => format!("GREATEST(s.{name}, q.{name})"),
            Accumulator::Beyond { .. } => format!("s.{name}"),
            Accumulator::Opaque(_) => format!("q.r_{name}"),
        }
    }

    /// The value in a new group.
    pub(super) fn initial(&self, name: &str) -> String {
        match self {
            Accumulator::Opaque(_) => format!("q.r_{name}"),
            Accumulator::Beyond { call, .. } => format!("NULL::{}", call.ty.sql),
            _ => format!("q.{name}"),
        }
    }

    /// `otherwise`, unless the group is stale and the accumulator one that can be the cause: counts and integer sums
    /// are right in any case, and an opaque one is always computed anew.
    pub(super) fn recomputed_or(&self, name: &str, otherwise: String) -> String {
        match self {
            Accumulator::NumericSum(_) | Accumulator::Extremum { .. } | Accumulator::Beyond { .. } => {
                format!("CASE WHEN q.stale THEN q.r_{name} ELSE {otherwise} END")
            }
            _ => otherwise,
        }
    }
}

fn extremum(least: bool) -> &'static str {
    if least { "min" } else { "max" }
}
