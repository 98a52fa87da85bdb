//! Random sub-selects in expressions, correlated or not, and LATERAL items.

use crate::expression::{aggregate, predicate, scalar};
use crate::generate::Generator;
use crate::operators::Operator;
use crate::query::{Body, Input, Query};
use crate::types::{Column, Random, Type};
use rand::Rng;
use rand::seq::IndexedRandom;

const COMPARISONS: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];

fn comparison(random: &mut Random) -> &'static str {
    COMPARISONS.choose(random).expect("not empty")
}

impl Generator<'_> {
    /// Runs `body` with the columns of `scope` visible from outside.
    fn inside<T>(&mut self, scope: &[Column], body: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.outer.len();
        self.outer.extend(scope.iter().cloned());
        let result = body(self);
        self.outer.truncate(before);
        result
    }

    /// A condition that ties the inner columns to those outside, most often by equality.
    pub(crate) fn correlation(&mut self, scope: &[Column]) -> Option<String> {
        // The nearest columns are the last.
        let near: Vec<Column> = self.outer.iter().rev().take(8).cloned().collect();
        let pairs: Vec<(&Column, &Column)> = (scope.iter())
            .flat_map(|inner| near.iter().map(move |outer| (inner, outer)))
            .filter(|(inner, outer)| inner.ty == outer.ty)
            .collect();
        let (inner, outer) = pairs.choose(self.random)?;
        let operator = match self.random.random_range(0..10) {
            0..6 => "=",
            6 => "IS NOT DISTINCT FROM",
            _ => comparison(self.random),
        };
        let tie = format!("{} {operator} {}", inner.name, outer.name);
        if self.random.random_bool(0.2) {
            let both: Vec<Column> = scope.iter().chain(&near).cloned().collect();
            return Some(format!("({tie} AND {})", predicate(self.random, &both, 1)));
        }
        Some(tie)
    }

    /// A condition with a sub-select, over the columns of `scope`.
    pub(crate) fn sub_condition(&mut self, scope: &[Column], depth: u32) -> Option<String> {
        let kinds = [Operator::Exists, Operator::In, Operator::Quantified, Operator::Mark, Operator::Scalar];
        let kinds: Vec<Operator> = kinds.into_iter().filter(|kind| self.operators.has(*kind)).collect();
        Some(match kinds.choose(self.random)? {
            Operator::Exists => self.exists(scope, depth),
            Operator::In => self.member(scope, depth),
            Operator::Quantified => {
                let ty = self.type_in(scope);
                let left = scalar(self.random, scope, ty, 1).sql;
                let inner = self.inside(scope, |this| this.branch(depth, &[ty]));
                let all = if self.random.random_bool(0.5) { "ANY" } else { "ALL" };
                format!("{left} {} {all} ({})", comparison(self.random), inner.sql())
            }
            Operator::Mark => {
                let truth = if self.operators.has(Operator::In) && self.random.random_bool(0.5) {
                    self.member(scope, depth)
                } else {
                    self.exists(scope, depth)
                };
                let other = predicate(self.random, scope, 1);
                match self.random.random_range(0..3) {
                    0 => format!("({other} OR {truth})"),
                    1 => format!("CASE WHEN {truth} THEN {other} ELSE {} END", predicate(self.random, scope, 0)),
                    _ => format!("NOT ({truth} AND {other})"),
                }
            }
            _ => {
                let (value, ty, _) = self.scalar_select(scope, depth);
                if ty == Type::Pair {
                    return Some(format!("{value} IS NOT NULL"));
                }
                let left = scalar(self.random, scope, ty, 1).sql;
                format!("{left} {} {value}", comparison(self.random))
            }
        })
    }

    fn type_in(&mut self, scope: &[Column]) -> Type {
        match scope.choose(self.random).map(|column| column.ty) {
            // `ROW(…)::pair IN (SELECT …)` wants a column for each field.
            None | Some(Type::Pair) => Type::Int,
            Some(ty) => ty,
        }
    }

    fn exists(&mut self, scope: &[Column], depth: u32) -> String {
        let inner = self.inside(scope, |this| this.query(depth));
        let not = if self.random.random_bool(0.4) { "NOT " } else { "" };
        format!("{not}EXISTS ({})", inner.sql())
    }

    fn member(&mut self, scope: &[Column], depth: u32) -> String {
        let types: Vec<Type> =
            (0..*[1, 1, 1, 2].choose(self.random).expect("not empty")).map(|_| self.type_in(scope)).collect();
        let left: Vec<String> = types.iter().map(|ty| scalar(self.random, scope, *ty, 1).sql).collect();
        let inner = self.inside(scope, |this| this.branch(depth, &types));
        let not = if self.random.random_bool(0.4) { "NOT " } else { "" };
        let left = if left.len() == 1 { left[0].clone() } else { format!("({})", left.join(", ")) };
        format!("{left} {not}IN ({})", inner.sql())
    }

    /// A sub-select that gives one value; its type, and whether it prints in one way.
    fn scalar_select(&mut self, scope: &[Column], depth: u32) -> (String, Type, bool) {
        let operators = self.operators;
        self.inside(scope, |this| {
            let (mut select, inner, rows) = this.from(depth, 2);
            let (call, ty) = aggregate(this.random, &inner, operators);
            let columns = vec![Column { name: this.fresh("c"), ty, exact: call.exact }];
            select.outputs.push(call.sql);
            let query = Query { body: Body::Select(select), columns, rows, tail: None };
            (format!("({})", query.sql()), ty, call.exact)
        })
    }

    /// A value computed by a sub-select, to stand in the select list.
    pub(crate) fn sub_output(&mut self, scope: &[Column], depth: u32) -> Option<(String, Type, bool)> {
        let (mark, scalar) = (self.operators.has(Operator::Mark), self.operators.has(Operator::Scalar));
        match self.random.random_range(0..2) {
            0 if mark => {
                let truth =
                    if self.random.random_bool(0.5) { self.exists(scope, depth) } else { self.member(scope, depth) };
                Some((format!("({truth})"), Type::Bool, true))
            }
            _ if scalar => Some(self.scalar_select(scope, depth)),
            _ => None,
        }
    }

    /// A sub-select in FROM that sees the items before it.
    pub(crate) fn lateral(&mut self, scope: &[Column], depth: u32) -> Query {
        self.inside(scope, |this| this.query(depth))
    }

    /// A function in FROM, over the columns of the items before it.
    pub(crate) fn series(&mut self, scope: &[Column]) -> (Input, Vec<Column>, f64) {
        let int = |this: &mut Self| scalar(this.random, scope, Type::Int, 1).sql;
        let (a, b) = (int(self), int(self));
        let call = match self.random.random_range(0..3) {
            0 => format!("generate_series(1, {a} % 4)"),
            1 => format!("generate_series({a} % 3, {b} % 3)"),
            _ => format!("unnest(ARRAY[{a}, {b}])"),
        };
        let mut columns = vec![Column { name: self.fresh("c"), ty: Type::Int, exact: true }];
        let ordinality = self.random.random_bool(0.3);
        if ordinality {
            columns.push(Column { name: self.fresh("c"), ty: Type::Big, exact: true });
        }
        (Input::Function(format!("{call}{}", if ordinality { " WITH ORDINALITY" } else { "" })), columns, 2.0)
    }

    /// A few constant rows.
    pub(crate) fn values(&mut self) -> (Input, Vec<Column>, f64) {
        let types: Vec<Type> = (0..self.random.random_range(1..3)).map(|_| Type::any(self.random)).collect();
        let count = self.random.random_range(1..4);
        let row = |this: &mut Self, first: bool| {
            let values: Vec<String> = (types.iter())
                .map(|ty| {
                    // The first row decides the types.
                    if first { format!("({})::{}", ty.value(this.random), ty.sql()) } else { ty.value(this.random) }
                })
                .collect();
            format!("({})", values.join(", "))
        };
        let rows: Vec<String> = (0..count).map(|number| row(self, number == 0)).collect();
        let columns = types.iter().map(|ty| Column { name: self.fresh("c"), ty: *ty, exact: true }).collect();
        (Input::Values(rows.join(", ")), columns, f64::from(count))
    }
}
