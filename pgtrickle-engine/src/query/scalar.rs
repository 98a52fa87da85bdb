//! Scalar expressions: PostgreSQL's own text with holes where columns stand.
//!
//! An expression is never parsed or edited here. It is rendered by filling its holes with whatever the surrounding
//! statement calls the columns of the input.

use super::column::DataType;
use serde::{Deserialize, Serialize};

const ONE: &str = "'1'::bigint";

/// A piece of an expression's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fragment {
    /// Literal SQL; every name in it is schema-qualified.
    Text(String),
    /// The column of the operator's input at this position (0-based; a join counts through its inputs in order).
    Column(usize),
    /// The clock of the refresh as a value of this type. Occurs in comparisons with what does not read the clock only: in the
    /// predicates of a Filter or a Join, and as outputs of a Project.
    Clock(String),
    /// Where such a comparison begins in an expression that is more than one.
    Begin,
    /// Where it ends.
    End,
    /// In the right side of an [`super::Rel::Apply`]: a column of the left side of the `depth`th one around, counted from
    /// the innermost, 1. Decorrelation leaves none.
    Outer { depth: usize, column: usize },
}

/// `pg_proc.provolatile` of the most volatile function inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Volatility {
    Immutable,
    Stable,
    Volatile,
}

/// A scalar expression over the columns of one input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scalar {
    pub fragments: Vec<Fragment>,
    pub ty: DataType,
    pub volatility: Volatility,
    /// False only when the value is proven not to be NULL whenever no column that it uses is NULL-able.
    pub nullable: bool,
    /// The value is numeric (or an integer) and every non-NULL value of it prints with the same number of
    /// fractional digits; sums of it can be undone by subtraction digit for digit.
    pub fixed_scale: bool,
}

/// Positions of the columns in `fragments`, each once, ascending.
pub fn columns(fragments: &[Fragment]) -> Vec<usize> {
    let mut used: Vec<usize> = fragments
        .iter()
        .filter_map(|fragment| match fragment {
            Fragment::Column(position) => Some(*position),
            _ => None,
        })
        .collect();
    used.sort_unstable();
    used.dedup();
    used
}

/// The text of `fragments` with each column printed by `name`, at the clock of the statement that it stands in.
pub fn render(fragments: &[Fragment], name: impl FnMut(usize) -> String) -> String {
    render_at("pg_catalog.now()", fragments, name)
}

fn render_at(clock: &str, fragments: &[Fragment], mut name: impl FnMut(usize) -> String) -> String {
    let mut text = String::new();
    for fragment in fragments {
        match fragment {
            Fragment::Text(literal) => text.push_str(literal),
            Fragment::Column(position) => text.push_str(&name(*position)),
            Fragment::Clock(ty) => text.push_str(&format!("CAST({clock} AS {ty})")),
            Fragment::Begin | Fragment::End => {}
            Fragment::Outer { depth, column } => text.push_str(&format!("outer{depth}#{column}")),
        }
    }
    text
}

/// `fragments` over an input whose column `i` moved to `place(i)`.
pub fn remap(fragments: &[Fragment], mut place: impl FnMut(usize) -> usize) -> Vec<Fragment> {
    let moved = |fragment: &Fragment| match fragment {
        Fragment::Column(position) => Fragment::Column(place(*position)),
        other => other.clone(),
    };
    fragments.iter().map(moved).collect()
}

/// `=` as PostgreSQL prints it, or qualified as [`DataType::eq`] is.
pub(crate) fn is_equals(text: &str) -> bool {
    text == " = " || (text.starts_with(" OPERATOR(") && text.ends_with(".=) "))
}

impl Scalar {
    /// The column at `position`, unchanged.
    pub fn column(position: usize, ty: DataType, nullable: bool) -> Self {
        Scalar {
            fragments: vec![Fragment::Column(position)],
            ty,
            volatility: Volatility::Immutable,
            nullable,
            fixed_scale: false,
        }
    }

    /// `Some(position)` when the expression is nothing but a column.
    pub fn as_column(&self) -> Option<usize> {
        match self.fragments.as_slice() {
            [Fragment::Column(position)] => Some(*position),
            _ => None,
        }
    }

    /// The bigint 1, as [`Scalar::one`] makes it or PostgreSQL prints it.
    pub fn is_one(&self) -> bool {
        matches!(self.fragments.as_slice(), [Fragment::Text(text)] if text == ONE)
    }

    /// The bigint 1.
    pub fn one() -> Self {
        Scalar::constant(1)
    }

    /// The bigint `value`.
    pub fn constant(value: i64) -> Self {
        Scalar {
            fragments: vec![Fragment::Text(format!("'{value}'::bigint"))],
            nullable: false,
            ..Scalar::column(0, DataType::bigint(), false)
        }
    }

    /// `Some((column, value))` when the expression says that `column` is not greater than `value`, an integer constant, as
    /// PostgreSQL prints it.
    pub fn as_upper_bound(&self) -> Option<(usize, i64)> {
        use Fragment::{Column, Text};
        let [Text(before), Column(column), Text(after)] = self.fragments.as_slice() else { return None };
        let compared = match (before.as_str(), after.as_str()) {
            ("(", after) => after.strip_suffix(')').and_then(|after| after.strip_prefix(' ')?.split_once(' ')),
            (before, ")") => before.strip_prefix('(').and_then(|before| before.strip_suffix(' ')?.split_once(' ')).map(
                |(constant, operator)| match operator {
                    ">" => ("<", constant),
                    ">=" => ("<=", constant),
                    "=" => ("=", constant),
                    _ => ("", constant),
                },
            ),
            _ => None,
        };
        let (operator, constant) = compared?;
        let digits = constant.strip_prefix('\'').and_then(|text| text.strip_suffix("'::bigint")).unwrap_or(constant);
        let value: i64 = digits.parse().ok()?;
        match operator {
            "<=" | "=" => Some((*column, value)),
            "<" => Some((*column, value.checked_sub(1)?)),
            _ => None,
        }
    }

    /// `Some((a, b))` when the expression is column `a` = column `b` under the built-in equality, as PostgreSQL
    /// prints it.
    pub fn as_equality(&self) -> Option<(usize, usize)> {
        use Fragment::{Column, Text};
        match self.fragments.as_slice() {
            [Text(open), Column(a), Text(equals), Column(b), Text(close)]
                if open == "(" && is_equals(equals) && close == ")" =>
            {
                Some((*a, *b))
            }
            _ => None,
        }
    }

    /// `Some((left, right))` when the expression equates a column before `width` with one from there on.
    pub fn as_equality_across(&self, width: usize) -> Option<(usize, usize)> {
        match self.as_equality()? {
            (a, b) if a < width && b >= width => Some((a, b)),
            (a, b) if b < width && a >= width => Some((b, a)),
            _ => None,
        }
    }

    /// The same expression with every column replaced by what `of` gives for it. PostgreSQL prints whatever is not a column in
    /// parentheses where it would not stand without, as in `(a || b)[1]`; here a column becomes such.
    pub fn substitute(&self, mut of: impl FnMut(usize) -> Scalar) -> Self {
        let mut result = Scalar { fragments: Vec::new(), ..self.clone() };
        for (place, fragment) in self.fragments.iter().enumerate() {
            let Fragment::Column(position) = fragment else {
                result.fragments.push(fragment.clone());
                continue;
            };
            let part = of(*position);
            result.nullable |= part.nullable;
            result.volatility = result.volatility.max(part.volatility);
            let next = self.fragments.get(place + 1);
            let subscripted = matches!(next, Some(Fragment::Text(text)) if text.starts_with('['));
            let constant = matches!(part.fragments.as_slice(), [Fragment::Text(_)]);
            let enclosed = self.fragments.len() > 1 && (part.fragments.len() > 1 || (constant && subscripted));
            if enclosed {
                result.fragments.push(Fragment::Text("(".into()));
            }
            result.fragments.extend(part.fragments);
            if enclosed {
                result.fragments.push(Fragment::Text(")".into()));
            }
        }
        result
    }

    /// The same expression, its pieces replaced one by one.
    pub fn map(&self, change: impl FnMut(&Fragment) -> Fragment) -> Self {
        Scalar { fragments: self.fragments.iter().map(change).collect(), ..self.clone() }
    }

    /// Positions of the input's columns that the expression reads, each once, ascending.
    pub fn columns(&self) -> Vec<usize> {
        columns(&self.fragments)
    }

    /// The text with each column printed by `name`.
    pub fn render(&self, name: impl FnMut(usize) -> String) -> String {
        render(&self.fragments, name)
    }

    /// Likewise, at the clock that the expression `clock` gives.
    pub fn render_at(&self, clock: &str, name: impl FnMut(usize) -> String) -> String {
        render_at(clock, &self.fragments, name)
    }

    /// The value depends on when it is computed.
    pub fn reads_clock(&self) -> bool {
        self.fragments.iter().any(|fragment| matches!(fragment, Fragment::Clock(_)))
    }

    /// Marks it as a comparison with the clock, if it is one and not marked.
    pub fn mark(&mut self) {
        if self.reads_clock() && !self.fragments.contains(&Fragment::Begin) {
            self.fragments.insert(0, Fragment::Begin);
            self.fragments.push(Fragment::End);
        }
    }

    /// The comparisons with the clock in it: nothing where it is one itself.
    pub fn comparisons(&self) -> Vec<Scalar> {
        let begins = self.fragments.iter().enumerate().filter(|(_, fragment)| **fragment == Fragment::Begin);
        let comparison = |(place, _): (usize, &Fragment)| {
            let inside = self.fragments[place + 1..].iter().take_while(|fragment| **fragment != Fragment::End);
            Scalar { fragments: inside.cloned().collect(), ..self.clone() }
        };
        begins.map(comparison).collect()
    }

    /// The same expression over an input whose column `i` moved to `place(i)`.
    pub fn remap(&self, place: impl FnMut(usize) -> usize) -> Self {
        Scalar { fragments: remap(&self.fragments, place), ..self.clone() }
    }
}
