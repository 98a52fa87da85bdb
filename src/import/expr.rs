//! Expressions → scalars over one operator's input.

use super::unsupported;
use crate::error::{Error, Result};
use crate::pg::deparse::{Deparser, Piece};
use crate::pg::nodes::{Expr, Variable};
use pgtrickle_engine::query::{Fragment, Scalar};
use std::collections::HashMap;

/// Where the columns of a query's range table are found in an operator's input.
pub(super) struct Scope<'a> {
    deparser: Deparser<'a>,
    places: HashMap<Variable, usize>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(deparser: Deparser<'a>) -> Self {
        Scope { deparser, places: HashMap::new() }
    }

    /// The column of the range table is the input's column at `position`.
    pub(super) fn place(&mut self, variable: Variable, position: usize) {
        self.places.insert(variable, position);
    }

    /// The expression over the input.
    pub(super) fn scalar(&self, expr: Expr<'a>) -> Result<Scalar> {
        Ok(self.made_of(expr, self.fragments(expr)?))
    }

    /// A condition over the input under which its rows are kept: it may compare with the clock.
    pub(super) fn predicate(&self, condition: Expr<'a>) -> Result<Scalar> {
        if !condition.is_clock_comparison() {
            return self.scalar(condition);
        }
        self.check_columns(condition)?;
        Ok(self.made_of(condition, self.filled(self.deparser.pieces(condition)?)?))
    }

    /// The call of a window function, OVER the window `name`.
    pub(super) fn window_call(&self, expr: Expr<'a>, name: &str) -> Result<Scalar> {
        self.check(expr)?;
        Ok(self.made_of(expr, self.filled(self.deparser.window_call(expr, name)?)?))
    }

    /// The number of entries that expressions are over.
    pub(super) fn entries(&self) -> usize {
        self.deparser.entries()
    }

    /// Adds an entry with that many columns.
    pub(super) fn append(&mut self, width: usize) {
        self.deparser.append(width);
    }

    /// The text of the expression over the input.
    pub(super) fn fragments(&self, expr: Expr<'a>) -> Result<Vec<Fragment>> {
        self.check(expr)?;
        self.filled(self.deparser.pieces(expr)?)
    }

    fn check(&self, expr: Expr<'a>) -> Result<()> {
        if expr.reads_clock() {
            let reason = "Only a comparison with it, in WHERE, HAVING or the condition of a join, changes at moments that \
                          an index can find: compare a column with an expression of the clock and constants.";
            return Err(unsupported("now() and its kin in this place", reason));
        }
        self.check_columns(expr)
    }

    fn check_columns(&self, expr: Expr<'a>) -> Result<()> {
        let variables = expr.variables();
        if variables.grouping {
            return Err(unsupported("GROUPING()", "It is maintained only together with grouping sets."));
        }
        if variables.anonymous_field {
            let reason = "The record has no named type, so its fields cannot be named outside the sub-select.";
            return Err(unsupported("a field of an anonymous record", reason));
        }
        for variable in variables.columns {
            self.position(variable)?;
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

    fn filled(&self, pieces: Vec<Piece>) -> Result<Vec<Fragment>> {
        let pieces = pieces.into_iter().map(|piece| match piece {
            Piece::Text(text) => Ok(Fragment::Text(text)),
            Piece::Column(variable) => self.position(variable).map(Fragment::Column),
            Piece::Clock(ty) => Ok(Fragment::Clock(ty)),
        });
        pieces.collect()
    }

    fn position(&self, variable: Variable) -> Result<usize> {
        if let Some(position) = self.places.get(&variable) {
            return Ok(*position);
        }
        match variable {
            (_, 0) => Err(unsupported(
                "a whole-row reference",
                "It reads every column of the table, also those that the query does not name.",
            )),
            (_, ..0) => Err(unsupported("a system column", "It changes without any change of the row's contents.")),
            (entry, column) => Err(Error::Internal(format!("column {column} of entry {entry} is nowhere"))),
        }
    }
}
