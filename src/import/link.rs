//! Sub-selects in expressions → Apply.
//!
//! A condition that is such a sub-select, or its negation, decides which rows stay: a semi-join or its opposite. Anywhere else
//! its value is computed beside the row: a mark, three-valued where SQL is, or the scalar sub-select's value.
//!
//! `x op ANY (q)` is true when some row of q compares true, else NULL when some compares NULL, else false; `x op ALL (q)` is
//! that of the negation, negated. Where the comparison is NULL exactly when a side is, "some row compares NULL" is asked as
//! "some row of q is NULL, or x is and q has a row", which no comparison of all rows with all is needed for.
//!
//! A sub-select that reads no table is an expression of the row, and stays one.
//!
//! `(x, y) op (q)` is the scalar sub-select `(SELECT (x, y) op (a, b) FROM q AS q(a, b))`.

use super::expr::{Scope, over_own, own, read};
use super::from::{kept, predicates};
use super::select::{Importer, Inside, Level};
use super::unsupported;
use crate::error::{Error, Result};
use crate::pg::level::{LinkKind, SubLink};
use crate::pg::nodes::{Expr, Variable};
use pgtrickle_engine::query::rel::{ApplyKind, Yield};
use pgtrickle_engine::query::{DataType, Fragment, Rel, Scalar, Volatility};

/// `rel` under `conditions`; its columns count from `start` in the scope, and it keeps them.
pub(super) fn filter<'a>(
    importer: &Importer,
    level: &Level<'_, 'a>,
    scope: &mut Scope<'a>,
    rel: Rel,
    start: usize,
    conditions: Vec<Expr<'a>>,
) -> Result<Rel> {
    let conjuncts: Vec<Expr<'a>> = conditions.into_iter().flat_map(Expr::conjuncts).collect();
    let (linked, plain): (Vec<_>, Vec<_>) =
        conjuncts.into_iter().partition(|conjunct| has_link(level, scope, *conjunct));
    let mut rel = with_predicates(rel, predicates(plain, scope, start)?);
    if linked.is_empty() {
        return Ok(rel);
    }
    let width = rel.columns().len();
    let mut links = Links { importer, level, scope, start };
    for conjunct in linked {
        rel = links.condition(rel, conjunct)?;
    }
    Ok(cut(rel, width))
}

/// `rel`, whose columns count from 0, with the values of the sub-selects in `exprs` as further columns, placed in the scope.
pub(super) fn values<'a>(
    importer: &Importer,
    level: &Level<'_, 'a>,
    scope: &mut Scope<'a>,
    rel: Rel,
    exprs: impl Iterator<Item = Expr<'a>>,
) -> Result<Rel> {
    values_from(importer, level, scope, (rel, 0), exprs)
}

/// Likewise where the columns of `rel` count from another place; the sub-selects read none before it.
pub(super) fn values_from<'a>(
    importer: &Importer,
    level: &Level<'_, 'a>,
    scope: &mut Scope<'a>,
    (mut rel, start): (Rel, usize),
    exprs: impl Iterator<Item = Expr<'a>>,
) -> Result<Rel> {
    let mut links = Links { importer, level, scope, start };
    for expr in exprs {
        rel = links.values(rel, expr)?;
    }
    Ok(rel)
}

/// Likewise of those alone that read no column but of `rel`.
pub(super) fn values_within<'a>(
    importer: &Importer,
    level: &Level<'_, 'a>,
    scope: &mut Scope<'a>,
    (mut rel, start): (Rel, usize),
    exprs: &[Expr<'a>],
) -> Result<Rel> {
    let mut links = Links { importer, level, scope, start };
    for variable in exprs.iter().flat_map(|expr| expr.variables().columns) {
        let within = |place: Option<usize>| place.is_some_and(|place| place >= start);
        if links.is_open(variable) && columns_of(level, links.scope, &[variable]).into_iter().all(within) {
            rel = links.value_of(rel, variable)?;
        }
    }
    Ok(rel)
}

/// Where the columns of this level's items are that the expression reads, its sub-selects too; `None` for one that is not
/// placed yet.
pub(super) fn columns<'a>(level: &Level<'_, 'a>, scope: &Scope<'a>, expr: Expr<'a>) -> Vec<Option<usize>> {
    columns_of(level, scope, &expr.variables().columns.into_iter().collect::<Vec<_>>())
}

fn columns_of<'a>(level: &Level<'_, 'a>, scope: &Scope<'a>, variables: &[Variable]) -> Vec<Option<usize>> {
    let mut found = Vec::new();
    for variable in variables {
        let place = scope.placed(*variable);
        if variable.0 == level.link_entry && place.is_none() {
            let link = &level.links[variable.1 as usize - 1];
            found.extend(link.test.into_iter().flat_map(|test| columns(level, scope, test)));
            found.extend(link.query.reads_outside().into_iter().map(|outside| scope.placed(outside)));
        } else if variable.0 <= level.link_entry {
            found.push(place);
        }
    }
    found
}

/// The expression uses a sub-select whose value is nowhere yet.
pub(super) fn has_link(level: &Level<'_, '_>, scope: &Scope<'_>, expr: Expr<'_>) -> bool {
    let is_open = |variable: &Variable| variable.0 == level.link_entry && scope.placed(*variable).is_none();
    !level.links.is_empty() && expr.variables().columns.iter().any(is_open)
}

/// `rel` under predicates over its columns.
pub(super) fn with_predicates(rel: Rel, predicates: Vec<Scalar>) -> Rel {
    match rel {
        rel if predicates.is_empty() => rel,
        Rel::Join { inputs, predicates: mut below } => {
            below.extend(predicates);
            Rel::Join { inputs, predicates: below }
        }
        input => Rel::Filter { input: Box::new(input), predicates },
    }
}

/// The first `width` columns.
fn cut(rel: Rel, width: usize) -> Rel {
    let columns = rel.columns();
    if columns.len() == width {
        return rel;
    }
    Rel::Project { input: Box::new(rel), outputs: kept(&columns[..width]).collect() }
}

/// The comparison of an ANY or ALL over the columns of the row and of the sub-select's row after them.
struct Test {
    /// That it is true (for ALL: false).
    decides: Vec<Scalar>,
    unknown: Unknown,
}

/// How to ask whether the comparison with some row is NULL.
enum Unknown {
    /// By this condition.
    Compared(Scalar),
    /// By the sides: this column of the sub-select is NULL; the left side is.
    Sides { right: Option<Scalar>, left: Option<Scalar> },
}

struct Links<'e, 'l, 'a> {
    importer: &'e Importer,
    level: &'e Level<'l, 'a>,
    scope: &'e mut Scope<'a>,
    start: usize,
}

impl<'a> Links<'_, '_, 'a> {
    fn condition(&mut self, rel: Rel, conjunct: Expr<'a>) -> Result<Rel> {
        let link = |expr: Expr<'a>| match expr.as_variable() {
            Some((entry, number)) if entry == self.level.link_entry => Some(number as usize - 1),
            _ => None,
        };
        let decided = link(conjunct).map(|link| (link, true));
        let decided = decided.or_else(|| conjunct.negated().and_then(link).map(|link| (link, false)));
        if let Some((link, wanted)) = decided {
            let kind = self.level.links[link].kind;
            let decides = matches!(kind, LinkKind::Exists | LinkKind::Any | LinkKind::All);
            if decides && !self.level.links[link].reads_no_table() {
                return self.decide(rel, link, wanted);
            }
        }
        let rel = self.values(rel, conjunct)?;
        let predicate = over_own(&self.scope.predicate(conjunct)?, self.start);
        Ok(Rel::Filter { input: Box::new(rel), predicates: vec![predicate] })
    }

    /// The rows of `rel` for which the link is true (or, if not `wanted`, false).
    fn decide(&mut self, rel: Rel, index: usize, wanted: bool) -> Result<Rel> {
        let link = &self.level.links[index];
        let rel = self.operands(rel, link)?;
        let right = self.right(link)?;
        let semi = |left: Rel, predicates: Vec<Scalar>, yields: Yield| {
            apply(left, &right, predicates, ApplyKind::Semi(yields))
        };
        if link.kind == LinkKind::Exists {
            return Ok(semi(rel, Vec::new(), if wanted { Yield::Matched } else { Yield::Unmatched }));
        }
        let test = self.test(&rel, &right, link)?;
        // ANY is true and ALL is false when some row decides so.
        if wanted == (link.kind == LinkKind::Any) {
            return Ok(semi(rel, test.decides, Yield::Matched));
        }
        let rel = semi(rel, test.decides, Yield::Unmatched);
        Ok(match test.unknown {
            Unknown::Compared(unknown) => semi(rel, vec![unknown], Yield::Unmatched),
            Unknown::Sides { right: unknown, left } => {
                let sides = unknown.into_iter().chain(left);
                sides.fold(rel, |rel, side| semi(rel, vec![side], Yield::Unmatched))
            }
        })
    }

    /// Adds the values of the links in `expr` that are not there yet.
    fn values(&mut self, mut rel: Rel, expr: Expr<'a>) -> Result<Rel> {
        for variable in expr.variables().columns {
            // What window functions are compared with comes after these.
            let ready = |test: Expr<'a>| !test.calls_window_function();
            if self.is_open(variable) && self.level.links[variable.1 as usize - 1].test.is_none_or(ready) {
                rel = self.value_of(rel, variable)?;
            }
        }
        Ok(rel)
    }

    /// It is the value of a link that is not there yet.
    fn is_open(&self, variable: Variable) -> bool {
        variable.0 == self.level.link_entry && self.scope.placed(variable).is_none()
    }

    /// Adds the value of that link.
    fn value_of(&mut self, rel: Rel, variable: Variable) -> Result<Rel> {
        let rel = self.value(rel, variable.1 as usize - 1)?;
        self.scope.place(variable, self.start + rel.columns().len() - 1);
        Ok(rel)
    }

    /// Adds the value of a link as the last column.
    fn value(&mut self, rel: Rel, index: usize) -> Result<Rel> {
        let link = &self.level.links[index];
        let rel = self.operands(rel, link)?;
        let name = format!("link{}", index + 1);
        if link.reads_no_table() {
            return self.in_place(rel, link, name);
        }
        match link.kind {
            LinkKind::Scalar | LinkKind::Array => {
                Ok(apply(rel, &self.right(link)?, Vec::new(), ApplyKind::Scalar(name)))
            }
            LinkKind::Exists => Ok(apply(rel, &self.right(link)?, Vec::new(), ApplyKind::Semi(Yield::Mark(name)))),
            LinkKind::Any | LinkKind::All => self.mark(rel, link, name),
            LinkKind::Row => Ok(apply(rel, &self.compared(link)?, Vec::new(), ApplyKind::Scalar(name))),
        }
    }

    /// Adds the value of a link that is an expression of the row.
    fn in_place(&self, rel: Rel, link: &SubLink<'a>, name: String) -> Result<Rel> {
        let expr = link.in_place(self.level.row_entry, self.level.outer_entries);
        let value = Scalar { nullable: link.kind != LinkKind::Exists, ..self.scope.scalar(expr)? };
        let columns = rel.columns();
        let outputs = kept(&columns).chain([(name, over_own(&value, self.start))]).collect();
        Ok(Rel::Project { input: Box::new(rel), outputs })
    }

    /// What the comparison of the row with each row of the sub-select gives: its only column.
    fn compared(&self, link: &SubLink<'a>) -> Result<Rel> {
        let Some(test) = link.test else { return Err(without_operator()) };
        let right = self.right(link)?;
        let value = self.scope.scalar_beside(test, self.level.row_entry)?.map(|fragment| match fragment {
            Fragment::Outer { depth: 0, column } => Fragment::Column(*column),
            Fragment::Outer { depth, column } => Fragment::Outer { depth: depth + 1, column: *column },
            Fragment::Column(place) => read(*place, self.start, 1),
            other => other.clone(),
        });
        Ok(Rel::Project { input: Box::new(right), outputs: vec![("compared".into(), value)] })
    }

    /// What the comparison of the link needs of the row.
    fn operands(&mut self, rel: Rel, link: &SubLink<'a>) -> Result<Rel> {
        match link.test {
            Some(test) => self.values(rel, test),
            None => Ok(rel),
        }
    }

    fn right(&self, link: &SubLink<'a>) -> Result<Rel> {
        let around = self.level.around(Inside { scope: self.scope, start: self.start });
        let array = (link.kind == LinkKind::Array).then_some(&link.ty);
        self.importer.apart(&around.applied(link.query)?.into_array(array))
    }

    /// Adds the three-valued answer to ANY or ALL.
    fn mark(&self, rel: Rel, link: &SubLink<'a>, name: String) -> Result<Rel> {
        let right = self.right(link)?;
        let Test { decides, unknown } = self.test(&rel, &right, link)?;
        let marked = |rel: Rel, predicates: Vec<Scalar>| {
            let place = rel.columns().len();
            (apply(rel, &right, predicates, ApplyKind::Semi(Yield::Mark("mark".into()))), place)
        };
        let width = rel.columns().len();
        // The right side's columns follow those of a row that marks have been added to.
        let behind =
            |scalar: Scalar, added: usize| scalar.remap(|place| if place < width { place } else { place + added });
        let (mut rel, decided) = marked(rel, decides);
        let mut conditions = Vec::new();
        let text = |text: &str| Fragment::Text(text.into());
        match unknown {
            Unknown::Compared(unknown) => {
                let place;
                (rel, place) = marked(rel, vec![behind(unknown, 1)]);
                conditions.push(vec![Fragment::Column(place)]);
            }
            Unknown::Sides { right, left } => {
                if let Some(right) = right {
                    let place;
                    (rel, place) = marked(rel, vec![behind(right, 1)]);
                    conditions.push(vec![Fragment::Column(place)]);
                }
                if let Some(left) = left {
                    let place;
                    (rel, place) = marked(rel, Vec::new());
                    let mut both = vec![text("("), Fragment::Column(place), text(" AND ")];
                    both.extend(left.fragments);
                    both.push(text(")"));
                    conditions.push(both);
                }
            }
        }
        let any = link.kind == LinkKind::Any;
        let mut fragments = vec![text("CASE WHEN "), Fragment::Column(decided)];
        fragments.push(text(if any { " THEN true" } else { " THEN false" }));
        for condition in conditions {
            fragments.push(text(" WHEN "));
            fragments.extend(condition);
            fragments.push(text(" THEN NULL"));
        }
        fragments.push(text(if any { " ELSE false END" } else { " ELSE true END" }));
        let columns = rel.columns();
        let outputs = kept(&columns).chain([(name, boolean(fragments))]).collect();
        Ok(Rel::Project { input: Box::new(rel), outputs })
    }

    fn test(&self, left: &Rel, right: &Rel, link: &SubLink<'a>) -> Result<Test> {
        let Some(expr) = link.test else { return Err(without_operator()) };
        let (below, rows) = (left.columns(), right.columns());
        let width = below.len();
        let over_both = |expr: Expr<'a>| {
            let scalar = self.scope.scalar_beside(expr, self.level.row_entry)?;
            Ok(scalar.map(|fragment| match fragment {
                Fragment::Outer { depth: 0, column } => Fragment::Column(width + column),
                Fragment::Column(place) => own(*place, self.start),
                other => other.clone(),
            }))
        };
        let any = link.kind == LinkKind::Any;
        let whole: Scalar = over_both(expr)?;
        let decides = match any {
            true => expr.conjuncts().into_iter().map(over_both).collect::<Result<_>>()?,
            false => vec![around("(NOT ", &whole, ")")],
        };
        let nullable = |scalar: &Scalar| {
            let column = |place: usize| if place < width { &below[place] } else { &rows[place - width] };
            let inside = scalar.columns().into_iter().any(|place| column(place).nullable);
            let outer = scalar.fragments.iter().any(|fragment| matches!(fragment, Fragment::Outer { .. }));
            inside || outer || (scalar.nullable && scalar.as_column().is_none())
        };
        let unknown = match expr.total_comparison() {
            Some(sides) => {
                let (x, y): (Scalar, Scalar) = (over_both(sides.left)?, over_both(sides.right)?);
                let reads =
                    |scalar: &Scalar, right: bool| scalar.columns().into_iter().all(|place| (place >= width) == right);
                if !reads(&x, false) || !reads(&y, true) {
                    Unknown::Compared(around("(", &whole, ") IS NULL"))
                } else {
                    let side = |scalar: Scalar| nullable(&scalar).then(|| around("(", &scalar, ") IS NULL"));
                    Unknown::Sides { right: side(y), left: side(x) }
                }
            }
            None => Unknown::Compared(around("(", &whole, ") IS NULL")),
        };
        Ok(Test { decides, unknown })
    }
}

fn without_operator() -> Error {
    unsupported("a comparison with a sub-select", "It has no operator.")
}

fn apply(left: Rel, right: &Rel, predicates: Vec<Scalar>, kind: ApplyKind) -> Rel {
    Rel::Apply { left: Box::new(left), right: Box::new(right.clone()), predicates, kind }
}

fn around(open: &str, scalar: &Scalar, close: &str) -> Scalar {
    let mut fragments = vec![Fragment::Text(open.into())];
    fragments.extend(scalar.fragments.iter().cloned());
    fragments.push(Fragment::Text(close.into()));
    boolean(fragments)
}

fn boolean(fragments: Vec<Fragment>) -> Scalar {
    Scalar { fragments, ty: DataType::boolean(), volatility: Volatility::Immutable, nullable: true, fixed_scale: false }
}
