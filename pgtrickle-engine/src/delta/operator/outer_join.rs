//! `L ⟕ R = (L ⋈ R) ⊎ (L ▷ R)×NULL`, and for the full join also `(R ▷ L)×NULL` on the other side. Its delta is the sum of
//! theirs; an outer join is not bilinear.
//!
//! The content is PostgreSQL's own outer join. Where both sides changed, a row may come as unmatched and go again as it meets
//! its match; the terms are consolidated, so that nothing above sees a row that never was.

use super::semi_join::Operands;
use super::{Context, all_columns, column, join, semi_join};
use crate::delta::zset::consolidate;
use crate::query::rel::{Side, Yield, outer_columns};
use crate::query::{Rel, Scalar};
use crate::sql::{conjunction, list};

pub(super) fn now(left: &Rel, right: &Rel, predicates: &[Scalar], side: Side, context: &Context) -> String {
    let width = left.columns().len();
    let name = |place: usize| match place < width {
        true => format!("l.{}", column(place)),
        false => format!("r.{}", column(place - width)),
    };
    let columns = (0..width + right.columns().len()).map(|place| format!("{} AS {}", name(place), column(place)));
    let word = match side {
        Side::Left => "LEFT",
        Side::Both => "FULL",
    };
    format!(
        "SELECT {} FROM ({}) AS l {word} JOIN ({}) AS r ON {}",
        list(columns),
        super::now(left, context),
        super::now(right, context),
        conjunction(predicates.iter().map(|predicate| predicate.render(name)))
    )
}

pub(super) fn delta(left: &Rel, right: &Rel, predicates: &[Scalar], side: Side, context: &Context) -> Option<String> {
    let inputs = [left.clone(), right.clone()];
    let (wide, narrow) = (left.columns(), right.columns());
    let nulls = |columns: &[crate::query::Column]| {
        columns.iter().map(|column| format!("NULL::{}", column.ty.sql)).collect::<Vec<_>>()
    };
    let unmatched = |left: &Rel, right: &Rel, predicates: &[Scalar]| {
        semi_join::delta(Operands { left, right, predicates, yields: &Yield::Unmatched }, context)
    };
    let mut terms = Vec::new();
    terms.extend(
        join::delta(&inputs, predicates, context)
            .map(|inner| format!("SELECT {} FROM ({inner}) AS o", all_columns("o", wide.len() + narrow.len(), true))),
    );
    terms.extend(unmatched(left, right, predicates).map(|alone| {
        let columns = (0..wide.len()).map(|place| format!("o.{}", column(place))).chain(nulls(&narrow));
        format!("SELECT {} FROM ({alone}) AS o", list(columns.chain(["o.w".into()])))
    }));
    if side == Side::Both {
        let swapped: Vec<Scalar> = predicates
            .iter()
            .map(|p| p.remap(|place| if place < wide.len() { place + narrow.len() } else { place - wide.len() }))
            .collect();
        terms.extend(unmatched(right, left, &swapped).map(|alone| {
            let columns = nulls(&wide).into_iter().chain((0..narrow.len()).map(|place| format!("o.{}", column(place))));
            format!("SELECT {} FROM ({alone}) AS o", list(columns.chain(["o.w".into()])))
        }));
    }
    if terms.is_empty() {
        return None;
    }
    let columns = outer_columns(&wide, &narrow, side);
    let named = (0..columns.len()).map(column).chain(["w".into()]);
    let all = format!(
        "SELECT * FROM ({}) AS o({})",
        terms.iter().map(|term| format!("({term})")).collect::<Vec<_>>().join(" UNION ALL "),
        list(named)
    );
    let both = super::delta(left, context).is_some() && super::delta(right, context).is_some();
    Some(if both { consolidate(&all, &columns) } else { all })
}
