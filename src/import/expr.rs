//! Expressions → scalars over one operator's input.

use super::select::Level;
use super::unsupported;
use crate::error::Result;
use crate::pg::deparse::{Deparser, Piece};
use crate::pg::nodes::{Expr, Query, Variable};
use pgtrickle_engine::query::{Fragment, Scalar};
use std::collections::HashMap;
use std::ops::Range;

/// The column of the scope at `place`, over a relation whose columns are those from `start` on and that is evaluated for each
/// row of those before.
pub(super) fn own(place: usize, start: usize) -> Fragment {
    match place.checked_sub(start) {
        Some(column) => Fragment::Column(column),
        None => Fragment::Outer { depth: 1, column: place },
    }
}

/// That column as read by what is evaluated, `depth` further in, for each row of that relation.
pub(super) fn read(place: usize, start: usize, depth: usize) -> Fragment {
    match own(place, start) {
        Fragment::Outer { column, .. } => Fragment::Outer { depth: depth + 1, column },
        _ => Fragment::Outer { depth, column: place - start },
    }
}

/// The scalar over such a relation.
pub(super) fn over_own(scalar: &Scalar, start: usize) -> Scalar {
    scalar.map(|fragment| match fragment {
        Fragment::Column(place) => own(*place, start),
        other => other.clone(),
    })
}

/// Fails when the expression reads the clock but in comparisons that can be evaluated apart from it.
fn check_clock(expr: Expr<'_>) -> Result<()> {
    if !expr.compares_clock() {
        let reason = "Its value changes with every moment. Only a comparison with it changes at moments that an index can \
                      find: compare a column with an expression of the clock and constants.";
        return Err(unsupported("the value of now() and its kin", reason));
    }
    if !expr.compares_clock_safely() {
        let reason = "The comparison would be evaluated where the query may not evaluate it, and what it compares may fail there.";
        return Err(unsupported(
            "a comparison of a computed value with now() and its kin under CASE, AND, OR or FILTER",
            reason,
        ));
    }
    Ok(())
}

/// Where the columns of a query's range table are found in an operator's input.
pub(super) struct Scope<'a> {
    deparser: Deparser<'a>,
    places: HashMap<Variable, usize>,
    /// Columns of the queries further out.
    outer: HashMap<Variable, Fragment>,
    /// This query and those further out, each with the number of its first entry.
    queries: Vec<(usize, Query<'a>)>,
    /// The entry whose columns are the values of sub-selects in expressions.
    link_entry: usize,
}

impl<'a> Scope<'a> {
    pub(super) fn new(deparser: Deparser<'a>, level: &Level<'_, 'a>) -> Self {
        let link_entry = level.link_entry;
        let queries = level.queries();
        let mut scope = Scope { deparser, places: HashMap::new(), outer: HashMap::new(), queries, link_entry };
        scope.see_from(level);
        scope
    }

    /// The scope where expressions of `level` stand: where they find the columns of the queries further out.
    pub(super) fn see_from(&mut self, level: &Level<'_, 'a>) {
        self.outer.clear();
        for (first, further, depth) in level.outer_scopes() {
            let read = |((entry, column), place): (&Variable, &usize)| {
                ((entry + first - 1, *column), read(*place, further.start, depth))
            };
            self.outer.extend(further.scope.places.iter().map(read));
        }
    }

    /// The column of the range table is the input's column at `position`.
    pub(super) fn place(&mut self, variable: Variable, position: usize) {
        self.places.insert(variable, position);
    }

    /// What `step` does with this scope; what it places is forgotten.
    pub(super) fn apart<T>(&mut self, step: impl FnOnce(&mut Self) -> T) -> T {
        let places = self.places.clone();
        let result = step(self);
        self.places = places;
        result
    }

    /// Places what is placed in `range` by so much further behind.
    pub(super) fn shift(&mut self, range: Range<usize>, by: usize) {
        self.places.values_mut().filter(|place| range.contains(place)).for_each(|place| *place += by);
    }

    /// The expression over the input, its comparisons with the clock marked.
    pub(super) fn scalar(&self, expr: Expr<'a>) -> Result<Scalar> {
        if !expr.reads_clock() {
            return self.fixed(expr);
        }
        let expr = expr.with_thresholds();
        check_clock(expr)?;
        let fragment = |variable| self.fragment(variable);
        self.check_columns(expr, fragment)?;
        Ok(self.made_of(expr, self.filled(self.deparser.condition(expr)?, fragment)?))
    }

    /// The expression over the input, if no row's value changes with the clock.
    pub(super) fn fixed(&self, expr: Expr<'a>) -> Result<Scalar> {
        Ok(self.made_of(expr, self.fragments(expr)?))
    }

    /// A condition over the input under which its rows are kept: it may compare with the clock.
    pub(super) fn predicate(&self, condition: Expr<'a>) -> Result<Scalar> {
        let condition = condition.with_thresholds();
        if !(condition.reads_clock() && condition.compares_clock()) {
            return self.scalar(condition);
        }
        let fragment = |variable| self.fragment(variable);
        self.check_columns(condition, fragment)?;
        let pieces = match condition.is_clock_comparison() {
            true => self.deparser.pieces(condition)?,
            false => self.deparser.condition(condition)?,
        };
        Ok(self.made_of(condition, self.filled(pieces, fragment)?))
    }

    /// The call of a window function, OVER the window `name`.
    pub(super) fn window_call(&self, expr: Expr<'a>, name: &str) -> Result<Scalar> {
        let expr = if expr.reads_clock() { expr.with_thresholds() } else { expr };
        check_clock(expr)?;
        let fragment = |variable| self.fragment(variable);
        self.check_columns(expr, fragment)?;
        Ok(self.made_of(expr, self.filled(self.deparser.window_call(expr, name)?, fragment)?))
    }

    /// The number of entries that expressions are over.
    pub(super) fn entries(&self) -> usize {
        self.deparser.entries()
    }

    /// Adds an entry with that many columns.
    pub(super) fn append(&mut self, width: usize) {
        self.deparser.append(width);
    }

    /// The expression over the input and the row of a sub-select, whose columns are those of `row_entry` and become
    /// [`Fragment::Outer`] of depth 0.
    pub(super) fn scalar_beside(&self, expr: Expr<'a>, row_entry: usize) -> Result<Scalar> {
        let fragment = |variable| match variable {
            (entry, column) if entry == row_entry => Ok(Fragment::Outer { depth: 0, column: column as usize - 1 }),
            variable => self.fragment(variable),
        };
        self.check(expr, fragment)?;
        Ok(self.made_of(expr, self.filled(self.deparser.pieces(expr)?, fragment)?))
    }

    /// It uses the value of a sub-select.
    pub(super) fn has_sub_select(&self, expr: Expr<'a>) -> bool {
        expr.variables().columns.iter().any(|(entry, _)| *entry == self.link_entry)
    }

    /// The text of the expression over the input.
    pub(super) fn fragments(&self, expr: Expr<'a>) -> Result<Vec<Fragment>> {
        self.check(expr, |variable| self.fragment(variable))?;
        self.filled(self.deparser.pieces(expr)?, |variable| self.fragment(variable))
    }

    fn check(&self, expr: Expr<'a>, fragment: impl Fn(Variable) -> Result<Fragment>) -> Result<()> {
        if expr.reads_clock() {
            return Err(unsupported("now() and its kin in this place", "Rows would come and go with the clock alone."));
        }
        self.check_columns(expr, fragment)
    }

    fn check_columns(&self, expr: Expr<'a>, fragment: impl Fn(Variable) -> Result<Fragment>) -> Result<()> {
        let variables = expr.variables();
        if variables.grouping {
            return Err(unsupported("GROUPING()", "It is maintained only together with grouping sets."));
        }
        if variables.anonymous_field {
            let reason = "The record has no named type, so its fields cannot be named outside the sub-select.";
            return Err(unsupported("a field of an anonymous record", reason));
        }
        for variable in variables.columns {
            fragment(variable)?;
        }
        Ok(())
    }

    fn made_of(&self, expr: Expr<'a>, fragments: Vec<Fragment>) -> Scalar {
        Scalar {
            fragments,
            ty: expr.data_type(),
            volatility: expr.volatility(),
            nullable: expr.is_nullable(),
            fixed_scale: expr.has_fixed_scale(),
        }
    }

    fn filled(&self, pieces: Vec<Piece>, fragment: impl Fn(Variable) -> Result<Fragment>) -> Result<Vec<Fragment>> {
        let pieces = pieces.into_iter().map(|piece| match piece {
            Piece::Text(text) => Ok(Fragment::Text(text)),
            Piece::Column(variable) => fragment(variable),
            Piece::Clock(ty) => Ok(Fragment::Clock(ty)),
            Piece::Begin => Ok(Fragment::Begin),
            Piece::End => Ok(Fragment::End),
        });
        pieces.collect()
    }

    /// Where the column is, if it is one of the input's.
    pub(super) fn placed(&self, variable: Variable) -> Option<usize> {
        self.places.get(&variable).copied()
    }

    fn fragment(&self, variable: Variable) -> Result<Fragment> {
        if let Some(position) = self.places.get(&variable) {
            return Ok(Fragment::Column(*position));
        }
        if let Some(outer) = self.outer.get(&variable) {
            return Ok(outer.clone());
        }
        match variable {
            (_, ..0) => Err(unsupported("a system column", "It changes without any change of the row's contents.")),
            (entry, _) if entry == self.link_entry => Err(unsupported(
                "a sub-select in this place",
                "It is evaluated before there are rows to evaluate it for. Put it into a sub-select in FROM.",
            )),
            (entry, column) => {
                let known = self.queries.iter().rev().find(|(first, _)| *first <= entry);
                let label = known.and_then(|(first, query)| query.column_label((entry + 1 - first, column)));
                let construct =
                    format!("{} in this place", label.unwrap_or_else(|| "a column of an outer query".into()));
                Err(unsupported(construct, "It is not known where the sub-select that reads it is evaluated."))
            }
        }
    }
}
