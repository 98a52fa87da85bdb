//! What a disjunction says about single items of FROM: `(a₁ ∧ b₁ ∧ c) ∨ (a₂ ∧ b₂ ∧ c)` implies `a₁ ∨ a₂`, where both read one item alone, `b₁ ∨ b₂`
//! likewise, and `c`. These hold wherever the disjunction does and are added to it, so that a delta knows early which rows of an item
//! count, and by what items are joined. PostgreSQL's planner does the same within one join (`orclauses.c`, `prepqual.c`).

use super::expr::{Scope, over_own};
use crate::error::Result;
use crate::pg::nodes::Expr;
use pgtrickle_engine::query::{Fragment, Scalar};
use std::collections::BTreeSet;

/// What `condition` implies besides itself, over columns that count from `start`.
pub(super) fn predicates<'a>(condition: Expr<'a>, scope: &Scope<'a>, start: usize) -> Result<Vec<Scalar>> {
    let arms: Vec<Vec<Expr<'a>>> = condition.disjuncts().into_iter().map(Expr::conjuncts).collect();
    let items = items(condition);
    if arms.len() < 2 || items.len() < 2 || condition.reads_clock() {
        return Ok(Vec::new());
    }
    let scalar = |conjunct: &Expr<'a>| Ok(over_own(&scope.predicate(*conjunct)?, start));
    let mut found = Vec::new();
    let [first, others @ ..] = arms.as_slice() else { return Ok(found) };
    for conjunct in first {
        let common = scalar(conjunct)?;
        let mut everywhere = true;
        for arm in others {
            everywhere &= arm.iter().map(scalar).collect::<Result<Vec<_>>>()?.contains(&common);
        }
        if everywhere {
            found.push(common);
        }
    }
    for item in items {
        let about = |arm: &Vec<Expr<'a>>| -> Vec<Expr<'a>> {
            arm.iter().copied().filter(|conjunct| self::items(*conjunct) == BTreeSet::from([item])).collect()
        };
        let parts: Vec<Vec<Expr<'a>>> = arms.iter().map(about).collect();
        if parts.iter().all(|part| !part.is_empty()) {
            let parts = parts.iter().map(|part| part.iter().map(scalar).collect()).collect::<Result<_>>()?;
            found.extend(any(parts));
        }
    }
    Ok(found)
}

/// The items of FROM that an expression reads.
fn items(expr: Expr<'_>) -> BTreeSet<usize> {
    expr.variables().columns.into_iter().map(|(item, _)| item).collect()
}

/// `(p ∧ …) ∨ (q ∧ …) ∨ …`
fn any(parts: Vec<Vec<Scalar>>) -> Option<Scalar> {
    let text = |text: &str| Fragment::Text(text.into());
    let mut fragments = vec![text("((")];
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            fragments.push(text(") OR ("));
        }
        for (place, conjunct) in part.iter().enumerate() {
            if place > 0 {
                fragments.push(text(" AND "));
            }
            fragments.push(text("("));
            fragments.extend(conjunct.fragments.iter().cloned());
            fragments.push(text(")"));
        }
    }
    fragments.push(text("))"));
    let volatility = parts.iter().flatten().map(|conjunct| conjunct.volatility).max()?;
    let like = parts.into_iter().flatten().next()?;
    Some(Scalar { fragments, volatility, nullable: true, ..like })
}
