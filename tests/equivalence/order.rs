//! What depends on an order: windows, the first rows, DISTINCT ON. An order that decides a result is total over the
//! values of the rows; between rows that are equal and print differently it decides nothing.

use crate::expression::scalar;
use crate::generate::Generator;
use crate::operators::Operator;
use crate::types::{Column, Type};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

impl Generator<'_> {
    fn direction(&mut self) -> &'static str {
        [" ASC", " DESC", " NULLS FIRST", " DESC NULLS LAST", ""].choose(self.random).expect("not empty")
    }

    /// A window function call with its window, its type, and whether it prints in one way. Only the `first` of a SELECT list may
    /// count rows: it tells apart rows that are equal in all columns, and which of them a second one pairs with which no
    /// order decides.
    pub(crate) fn window(&mut self, scope: &[Column], first: bool) -> (String, Type, bool) {
        let mut partition = String::new();
        if self.random.random_bool(0.7) {
            let column = scope.choose(self.random).expect("there are columns");
            partition = format!("PARTITION BY {} ", column.name);
        }
        let total = self.random.random_bool(0.6) && first;
        let order = if total {
            let mut names: Vec<String> = scope.iter().map(|column| column.name.clone()).collect();
            names.shuffle(self.random);
            let parts: Vec<String> = names.into_iter().map(|name| format!("{name}{}", self.direction())).collect();
            format!("ORDER BY {}", parts.join(", "))
        } else if self.random.random_bool(0.7) {
            let name = scope.choose(self.random).expect("there are columns").name.clone();
            format!("ORDER BY {name}{}", self.direction())
        } else {
            String::new()
        };
        let frames: &[&str] = match (total, order.is_empty()) {
            (true, _) => &[
                "",
                "",
                " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
                " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
                " ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW",
            ],
            (_, false) => &["", "", " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW", " RANGE UNBOUNDED PRECEDING"],
            _ => &["", " RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"],
        };
        let frame = frames.choose(self.random).expect("not empty");
        let (call, ty, exact) = self.window_call(scope, total);
        (format!("{call} OVER ({partition}{order}{frame})"), ty, exact)
    }

    fn window_call(&mut self, scope: &[Column], total: bool) -> (String, Type, bool) {
        let ty = Type::any(self.random);
        let argument = scalar(self.random, scope, ty, 1);
        let int = scalar(self.random, scope, Type::Int, 1).sql;
        let exact = argument.exact && !ty.is_coarse();
        let x = argument.sql;
        match self.random.random_range(0..if total { 11 } else { 6 }) {
            0 => ("rank()".into(), Type::Big, true),
            1 => ("dense_rank()".into(), Type::Big, true),
            2 => ("count(*)".into(), Type::Big, true),
            3 => (format!("sum({int})"), Type::Big, true),
            4 if ty.has_extremes() => (format!("min({x})"), ty, exact),
            5 if ty.has_extremes() => (format!("max({x})"), ty, exact),
            4 | 5 => (format!("count({x})"), Type::Big, true),
            6 => ("row_number()".into(), Type::Big, true),
            7 => (format!("lag({x})"), ty, exact),
            8 => (format!("lead({x}, 2)"), ty, exact),
            9 => (format!("first_value({x})"), ty, exact),
            _ => ("ntile(3)".into(), Type::Int, true),
        }
    }

    /// ORDER BY every column, the first `leading` before the others, and sometimes how many rows to take.
    pub(crate) fn tail(&mut self, columns: usize, leading: usize) -> String {
        let mut rest: Vec<usize> = (leading + 1..=columns).collect();
        rest.shuffle(self.random);
        let positions: Vec<usize> = (1..=leading).chain(rest).collect();
        let parts: Vec<String> =
            positions.into_iter().map(|position| format!("{position}{}", self.direction())).collect();
        let mut order = format!(" ORDER BY {}", parts.join(", "));
        let limited = self.operators.has(Operator::Top) && (leading == 0 || self.random.random_bool(0.2));
        if limited {
            let count = self.random.random_range(1..8);
            match self.random.random_range(0..8) {
                0 => order += &format!(" LIMIT {count} OFFSET {}", self.random.random_range(1..4)),
                1 => order += &format!(" OFFSET {count}"),
                2 if leading == 0 => {
                    // An order by one column, all of whose last equals are taken.
                    order = format!(" ORDER BY {}{} FETCH FIRST {count} ROWS WITH TIES", 1, self.direction());
                }
                _ => order += &format!(" LIMIT {count}"),
            }
        }
        order
    }
}
