//! Random queries: every operator under every other.

use crate::expression::{aggregate, predicate, scalar};
use crate::operators::{Operator, Operators};
use crate::query::{Body, Distinct, Grouping, Input, Item, Kind, Link, Query, Select};
use crate::types::{Column, Random, Type};
use rand::Rng;
use rand::seq::IndexedRandom;

/// A relation that queries may read.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: f64,
}

/// More rows than this make a case slow.
const MOST_ROWS: f64 = 1500.0;

pub(crate) struct Generator<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) relations: &'a [Relation],
    /// Numbers aliases, columns and views.
    pub(crate) next: u32,
    /// Views get this prefix.
    pub(crate) prefix: String,
    pub(crate) operators: &'a Operators,
    /// The columns that a sub-select sees from outside.
    pub(crate) outer: Vec<Column>,
    /// Sub-selects in expressions and LATERAL items may still be made so often: each copies what is around it.
    pub(crate) budget: u32,
}

impl Generator<'_> {
    pub(crate) fn fresh(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}{}", self.next)
    }

    /// A query with `depth` operators one above the other.
    pub(crate) fn query(&mut self, depth: u32) -> Query {
        if depth == 0 {
            return self.select(0);
        }
        let mut query = match self.random.random_range(0..20) {
            0..5 => self.set_operation(depth),
            5 if self.operators.has(Operator::Recursive) => self.recursive(depth),
            5..12 => self.grouped(depth),
            _ => self.select(depth),
        };
        if query.tail.is_none() && self.operators.has(Operator::Top) && self.random.random_bool(0.12) {
            query.tail = Some(self.tail(query.columns.len(), 0));
            query.rows = query.rows.min(8.0);
            forget_images(&mut query.columns);
        }
        query
    }

    fn set_operation(&mut self, depth: u32) -> Query {
        let types: Vec<Type> = (0..self.random.random_range(1..4)).map(|_| Type::any(self.random)).collect();
        let mut operators = vec!["UNION ALL"];
        for (operator, forms) in [
            (Operator::Union, ["UNION", "UNION"]),
            (Operator::Intersect, ["INTERSECT", "INTERSECT ALL"]),
            (Operator::Except, ["EXCEPT", "EXCEPT ALL"]),
        ] {
            if self.operators.has(operator) {
                operators.extend(forms);
            }
        }
        let operator = *operators.choose(self.random).expect("not empty");
        let branches: Vec<Query> =
            (0..self.random.random_range(2..4)).map(|_| self.branch(depth - 1, &types)).collect();
        let mut columns = branches[0].columns.clone();
        for (i, column) in columns.iter_mut().enumerate() {
            column.exact = branches.iter().all(|branch| branch.columns[i].exact);
        }
        if operator != "UNION ALL" {
            forget_images(&mut columns);
        }
        let rows = branches.iter().map(|branch| branch.rows).sum();
        Query { body: Body::Set(operator, branches), columns, rows, tail: None }
    }

    /// A walk of one or two steps along the rows of a table, from the rows of a query.
    fn recursive(&mut self, depth: u32) -> Query {
        let mut base = self.branch(depth - 1, &[Type::Int, Type::Int]);
        if let Body::Select(select) = &mut base.body {
            select.outputs[1] = "0".into();
        }
        let relation = self.relations.choose(self.random).expect("there are tables").clone();
        let (name, alias) = (self.fresh("r"), self.fresh("q"));
        let names = vec![self.fresh("n"), self.fresh("n")];
        let scope: Vec<Column> = (relation.columns.iter())
            .map(|column| Column { name: format!("{alias}.{}", column.name), ..column.clone() })
            .collect();
        let (from, to) = (scalar(self.random, &scope, Type::Int, 0).sql, scalar(self.random, &scope, Type::Int, 1).sql);
        let (first, second) = (&names[0], &names[1]);
        let step = format!(
            "SELECT {to}, {name}.{second} + 1 FROM {name} JOIN {} AS {alias} ON {from} = {name}.{first} WHERE {name}.{second} < 2",
            relation.name
        );
        let union = if self.random.random_bool(0.5) { "UNION ALL" } else { "UNION" };
        let columns = names.iter().map(|_| Column { name: self.fresh("c"), ty: Type::Int, exact: true }).collect();
        let rows = base.rows * 6.0;
        let (clauses, outputs) = self.search_and_cycle(&names);
        let base = Box::new(base);
        Query { body: Body::Recursive { base, union, name, names, step, clauses, outputs }, columns, rows, tail: None }
    }

    /// The clauses of a recursion with these columns, and what is selected from it: integers.
    fn search_and_cycle(&mut self, names: &[String]) -> (String, Vec<String>) {
        let (mut clauses, mut outputs) = (String::new(), names.to_vec());
        let all = names.join(", ");
        if self.random.random_bool(0.25) {
            let order = if self.random.random_bool(0.5) { "DEPTH" } else { "BREADTH" };
            let keys = if self.random.random_bool(0.5) { &all } else { &names[0] };
            clauses = format!(" SEARCH {order} FIRST BY {keys} SET place");
            outputs[1] = "rank() OVER (ORDER BY place)::int".into();
        }
        if self.random.random_bool(0.25) {
            let keys = if self.random.random_bool(0.3) { &all } else { &names[0] };
            let (mark, marked) = *[
                ("", "again"),
                (" TO 'Y' DEFAULT 'N'", "again = 'Y'"),
                (" TO 1 DEFAULT 0", "again = 1"),
                (" TO date '2020-01-01' DEFAULT NULL", "again IS NOT NULL"),
            ]
            .choose(self.random)
            .expect("not empty");
            clauses.push_str(&format!(" CYCLE {keys} SET again{mark} USING path"));
            outputs[0] = format!("CASE WHEN {marked} THEN -cardinality(path) ELSE {} END", names[0]);
        }
        (clauses, outputs)
    }

    /// A query that yields the types given.
    pub(crate) fn branch(&mut self, depth: u32, types: &[Type]) -> Query {
        let (mut select, scope, rows) = self.from(depth, 2);
        let columns = self.outputs(&mut select, &scope, types);
        Query { body: Body::Select(select), columns, rows, tail: None }
    }

    fn outputs(&mut self, select: &mut Select, scope: &[Column], types: &[Type]) -> Vec<Column> {
        let mut columns = Vec::new();
        for ty in types {
            let expression = scalar(self.random, scope, *ty, 2);
            columns.push(Column { name: self.fresh("c"), ty: *ty, exact: expression.exact });
            select.outputs.push(expression.sql);
        }
        columns
    }

    /// Joins, a filter, a projection; sometimes windows, values of sub-selects, DISTINCT.
    fn select(&mut self, depth: u32) -> Query {
        let (mut select, mut scope, rows) = self.from(depth.saturating_sub(1), 4);
        let windows = if self.operators.has(Operator::Window) && depth > 0 && self.random.random_bool(0.2) {
            // Between equal rows that print differently no order decides.
            forget_images(&mut scope);
            self.random.random_range(1..3)
        } else {
            0
        };
        let mut types: Vec<Type> = Vec::new();
        for _ in 0..self.random.random_range(1..5) {
            types.push(scope.choose(self.random).map_or(Type::Int, |column| column.ty));
        }
        let mut columns = self.outputs(&mut select, &scope, &types);
        for number in 0..windows {
            let (sql, ty, exact) = self.window(&scope, number == 0);
            columns.push(Column { name: self.fresh("c"), ty, exact });
            select.outputs.push(sql);
        }
        if depth > 0 && self.random.random_bool(0.2) && self.spend() {
            let below = self.random.random_range(0..depth);
            if let Some((sql, ty, exact)) = self.sub_output(&scope, below) {
                columns.push(Column { name: self.fresh("c"), ty, exact });
                select.outputs.push(sql);
            }
        }
        let mut tail = None;
        if self.operators.has(Operator::DistinctOn) && self.random.random_bool(0.1) {
            let count = self.random.random_range(1..=columns.len());
            select.distinct = Distinct::On(count);
            tail = Some(self.tail(columns.len(), count));
            forget_images(&mut columns);
        } else if self.random.random_bool(0.2) {
            select.distinct = Distinct::Rows;
            forget_images(&mut columns);
        }
        Query { body: Body::Select(select), columns, rows, tail }
    }

    /// GROUP BY with aggregates, or one group of everything.
    fn grouped(&mut self, depth: u32) -> Query {
        let (mut select, scope, mut rows) = self.from(depth - 1, 3);
        let mut columns = Vec::new();
        let keys = self.random.random_range(0..3);
        for _ in 0..keys {
            let ty = scope.choose(self.random).map_or(Type::Int, |column| column.ty);
            let key = scalar(self.random, &scope, ty, 1);
            // A constant is not a group key; an expression without columns would be one.
            if !scope.iter().any(|column| key.sql.contains(&column.name)) {
                continue;
            }
            columns.push(Column { name: self.fresh("c"), ty, exact: key.exact && !ty.is_coarse() });
            select.groups.push(key.sql.clone());
            select.outputs.push(key.sql);
        }
        for _ in 0..self.random.random_range(1..4) {
            let (call, ty) = aggregate(self.random, &scope, self.operators);
            columns.push(Column { name: self.fresh("c"), ty, exact: call.exact });
            select.outputs.push(call.sql);
        }
        if self.random.random_bool(0.25) {
            let (call, ty) = aggregate(self.random, &scope, self.operators);
            let operator = ["<=", ">", "<>", "IS DISTINCT FROM"].choose(self.random).expect("not empty");
            select.having.push(format!("{} {operator} {}", call.sql, ty.literal(self.random)));
        }
        rows = if select.groups.is_empty() { 1.0 } else { rows / 2.0 };
        if self.operators.has(Operator::GroupingSets) && !select.groups.is_empty() && self.random.random_bool(0.2) {
            select.grouping =
                *[Grouping::Rollup, Grouping::Cube, Grouping::Each].choose(self.random).expect("not empty");
        }
        if self.random.random_bool(0.1) {
            select.distinct = Distinct::Rows;
            forget_images(&mut columns);
        }
        Query { body: Body::Select(select), columns, rows, tail: None }
    }

    /// FROM and WHERE over up to `most` inputs, and the columns in scope.
    pub(crate) fn from(&mut self, depth: u32, most: usize) -> (Select, Vec<Column>, f64) {
        let mut select = Select::default();
        let (mut scope, mut rows) = (Vec::new(), 1.0);
        if depth > 0 && self.random.random_bool(0.2) {
            select.shared = Some(Box::new(self.query(depth)));
        }
        let count = *[1, 1, 2, 2, 2, 3, 4].choose(self.random).expect("not empty");
        for position in 0..count.min(most) {
            // One input carries the depth, the others are shallow.
            let below = if position == 0 { depth } else { self.random.random_range(0..=depth) / 2 };
            if position > 0 && self.beside(&mut select, &mut scope, &mut rows, below) {
                continue;
            }
            let (input, columns, input_rows) = self.input(below, &mut select);
            if position > 0 && rows * input_rows / 3.0 > MOST_ROWS {
                break;
            }
            self.join(&mut select, &mut scope, &mut rows, input, &columns, input_rows);
            if let Some(Item { link: Link::On(_, condition), .. }) = select.from.last_mut() {
                *condition = self.with_sub_select(std::mem::take(condition), &scope, below);
            }
        }
        for _ in 0..self.random.random_range(0..3) {
            if self.random.random_bool(0.6) {
                select.conditions.push(predicate(self.random, &scope, 2));
                rows = (rows / 2.0).max(1.0);
            }
        }
        if !self.outer.is_empty()
            && self.random.random_bool(0.75)
            && let Some(condition) = self.correlation(&scope)
        {
            select.conditions.push(condition);
            rows = (rows / 3.0).max(1.0);
        }
        // Sub-selects in sub-selects in sub-selects take time and find nothing new.
        if self.outer.len() < 24 && self.random.random_bool(0.3) && self.spend() {
            let below = self.random.random_range(0..=depth);
            if let Some(condition) = self.sub_condition(&scope, below) {
                select.conditions.push(condition);
            }
        }
        (select, scope, rows)
    }

    /// Sometimes joins an item that is computed from those before it, or from nothing.
    fn beside(&mut self, select: &mut Select, scope: &mut Vec<Column>, rows: &mut f64, depth: u32) -> bool {
        let kinds = [Operator::Lateral, Operator::Series, Operator::Values];
        let kind = *kinds.choose(self.random).expect("not empty");
        if !self.operators.has(kind) || !self.random.random_bool(0.25) || *rows > MOST_ROWS / 4.0 {
            return false;
        }
        if kind == Operator::Lateral && !self.spend() {
            return false;
        }
        let (input, columns, input_rows) = match kind {
            Operator::Lateral => {
                let query = self.lateral(scope, depth);
                let (columns, rows) = (query.columns.clone(), query.rows);
                (Input::Lateral(Box::new(query)), columns, rows.min(6.0))
            }
            Operator::Series => self.series(scope),
            _ => self.values(),
        };
        let (mut item, added) = self.item(input, &columns);
        let outer = !has_commas(select) && self.operators.has(Operator::LeftJoin) && self.random.random_bool(0.3);
        item.link = if outer {
            let both: Vec<Column> = scope.iter().chain(&added).cloned().collect();
            let condition = if self.random.random_bool(0.5) { "true".into() } else { predicate(self.random, &both, 1) };
            Link::On(Kind::Left, self.with_sub_select(condition, &both, depth))
        } else if self.random.random_bool(0.5) {
            Link::Cross
        } else {
            Link::Comma
        };
        *rows *= input_rows;
        scope.extend(added);
        select.from.push(item);
        true
    }

    /// The condition of a join, sometimes with a sub-select beside it.
    fn with_sub_select(&mut self, condition: String, scope: &[Column], depth: u32) -> String {
        if self.outer.len() >= 24 || !self.random.random_bool(0.15) || !self.spend() {
            return condition;
        }
        match self.sub_condition(scope, depth / 2) {
            // FULL JOIN wants the first condition by itself.
            Some(more) => format!("{condition} AND ({more})"),
            None => condition,
        }
    }

    fn spend(&mut self) -> bool {
        let left = self.budget > 0;
        self.budget = self.budget.saturating_sub(1);
        left
    }

    /// An item of FROM with an alias of its own, and its columns.
    fn item(&mut self, input: Input, columns: &[Column]) -> (Item, Vec<Column>) {
        let alias = self.fresh("q");
        let names: Vec<String> = columns.iter().map(|_| self.fresh("n")).collect();
        let added: Vec<Column> = columns
            .iter()
            .zip(&names)
            .map(|(column, name)| Column { name: format!("{alias}.{name}"), ..column.clone() })
            .collect();
        (Item { link: Link::Comma, input, alias, names: Some(names) }, added)
    }

    /// Which join to use for a condition; FULL JOIN wants one that can be hashed.
    fn kind(&mut self, full: bool) -> Kind {
        let mut kinds = vec![Kind::Inner; 3];
        for (operator, kind) in
            [(Operator::LeftJoin, Kind::Left), (Operator::RightJoin, Kind::Right), (Operator::FullJoin, Kind::Full)]
        {
            if self.operators.has(operator) && (full || kind != Kind::Full) {
                kinds.push(kind);
            }
        }
        *kinds.choose(self.random).expect("not empty")
    }

    fn input(&mut self, depth: u32, select: &mut Select) -> (Input, Vec<Column>, f64) {
        if let Some(shared) = &select.shared
            && (select.from.is_empty() || self.random.random_bool(0.3))
        {
            return (Input::Shared, shared.columns.clone(), shared.rows);
        }
        if depth == 0 && self.random.random_bool(0.85) {
            let relation = self.relations.choose(self.random).expect("there are tables").clone();
            return (Input::Table(relation.name), relation.columns, relation.rows);
        }
        let query = self.query(depth);
        let (columns, rows) = (query.columns.clone(), query.rows);
        if self.outer.is_empty() && self.random.random_bool(0.15) {
            let name = self.fresh(&self.prefix.clone());
            return (Input::View(name, Box::new(query)), columns, rows);
        }
        (Input::Query(Box::new(query)), columns, rows)
    }

    fn join(
        &mut self,
        select: &mut Select,
        scope: &mut Vec<Column>,
        rows: &mut f64,
        input: Input,
        columns: &[Column],
        input_rows: f64,
    ) {
        let (mut item, added) = self.item(input, columns);
        let mut merged = None;
        if !select.from.is_empty() {
            let pairs: Vec<(usize, usize)> = (0..scope.len())
                .flat_map(|left| (0..added.len()).map(move |right| (left, right)))
                .filter(|(left, right)| scope[*left].ty == added[*right].ty)
                .collect();
            let free = *rows * input_rows <= 60.0 && self.random.random_bool(0.15);
            match pairs.choose(self.random) {
                Some((left, right)) if !free => {
                    *rows = *rows * input_rows / 3.0;
                    self.connect(select, &mut item, scope, &added, *left, *right);
                    merged = Some(*right);
                }
                _ => {
                    *rows *= input_rows;
                    item.link = if self.random.random_bool(0.5) { Link::Cross } else { Link::Comma };
                    if !has_commas(select) && self.random.random_bool(0.6) {
                        let both: Vec<Column> = scope.iter().chain(&added).cloned().collect();
                        item.link = Link::On(self.kind(false), predicate(self.random, &both, 1));
                    }
                }
            }
        } else {
            *rows = input_rows;
        }
        // A column merged by USING is named without an alias, by the name that both sides give it.
        if let Link::Using(_, name) | Link::Natural(_, name) = &item.link {
            let exact = merged.is_none_or(|position| added[position].exact);
            for column in scope.iter_mut().filter(|column| column.name.ends_with(&format!(".{name}"))) {
                column.name.clone_from(name);
                column.exact &= exact;
            }
            let others = added.into_iter().enumerate().filter(|(position, _)| Some(*position) != merged);
            scope.extend(others.map(|(_, column)| column));
        } else {
            scope.extend(added);
        }
        select.from.push(item);
    }

    /// Joins by equality of a column in scope and one of the new input.
    fn connect(
        &mut self,
        select: &mut Select,
        item: &mut Item,
        scope: &[Column],
        added: &[Column],
        left: usize,
        right: usize,
    ) {
        let operator = if self.random.random_bool(0.15) { "IS NOT DISTINCT FROM" } else { "=" };
        let condition = format!("{} {operator} {}", scope[left].name, added[right].name);
        let style = self.random.random_range(0..6);
        let name = scope[left].name.rsplit('.').next().unwrap_or_default().to_string();
        if style < 2 || has_commas(select) {
            item.link = Link::Comma;
            select.conditions.push(condition);
        } else if style < 4 {
            let extra = self.random.random_bool(0.2).then(|| {
                let both: Vec<Column> = scope.iter().chain(added).cloned().collect();
                predicate(self.random, &both, 1)
            });
            let kind = self.kind(operator == "=");
            item.link = Link::On(kind, extra.map_or(condition.clone(), |extra| format!("{condition} AND {extra}")));
        } else if let Some(names) = &mut item.names {
            names[right].clone_from(&name);
            let kind = self.kind(true);
            item.link = if style == 4 { Link::Using(kind, name) } else { Link::Natural(kind, name) };
        }
    }
}

/// After a comma, JOIN binds to the last item alone: its condition could not name the others.
fn has_commas(select: &Select) -> bool {
    select.from.iter().skip(1).any(|item| matches!(item.link, Link::Comma))
}

/// Of equal rows that print differently, any may stand for the others.
fn forget_images(columns: &mut [Column]) {
    for column in columns {
        column.exact &= !column.ty.is_coarse();
    }
}
