//! Operators of the relational tree. Columns are positions; names occur only where the user sees them.

use super::column::{Column, DataType};
use super::order::{SortItem, WindowDefinition};
use super::scalar::{Fragment, Scalar};
use crate::sql::{Ident, QualifiedName};
use serde::{Deserialize, Serialize};

/// One column that a scan reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanColumn {
    /// `pg_attribute.attnum`; the change buffer names the column `c<attnum>`.
    pub attnum: i16,
    /// `pg_attribute.attname`.
    pub name: Ident,
    pub column: Column,
    /// The column's type is a domain. The change buffer holds values of its base type.
    #[serde(default)]
    pub domain: bool,
}

/// Reads the rows of a source, only the columns that the query uses, in attnum order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// `pg_class.oid`.
    pub relid: u32,
    pub name: QualifiedName,
    pub columns: Vec<ScanColumn>,
    /// Candidate keys as positions in `columns`: unique, immediate, non-partial, on NOT NULL columns, and wholly
    /// among `columns`.
    pub keys: Vec<Vec<usize>>,
    /// The rows of the table itself, without those of its descendants.
    #[serde(default)]
    pub only: bool,
    /// Rows are read as wholes: another column, or another name of one, would change them.
    #[serde(default)]
    pub whole: bool,
}

impl Scan {
    /// What it says would not hold of rows that came in with a descendant.
    pub fn is_alone(&self) -> bool {
        self.only || !self.keys.is_empty() || self.columns.iter().any(|scanned| !scanned.column.nullable)
    }
}

/// What an aggregate call computes, as far as maintenance distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AggregateFunction {
    /// `count(*)`
    CountStar,
    /// `count(x)`
    Count,
    /// `sum(x)` of int2, int4 or int8
    SumInteger,
    /// `sum(x)` of numeric
    SumNumeric,
    /// `avg(x)` of int2, int4 or int8
    AvgInteger,
    /// `avg(x)` of numeric
    AvgNumeric,
    /// `min(x)` over a type with a default btree operator class
    Min,
    /// `max(x)`, likewise
    Max,
    /// `bool_and(x)`, `every(x)`
    BoolAnd,
    /// `bool_or(x)`
    BoolOr,
    /// `var_samp(x)`, or `var_pop(x)` unless `sample`, of int2, int4, int8 or numeric; with `root`, `stddev_samp(x)` and
    /// `stddev_pop(x)`
    Variance { sample: bool, root: bool },
    /// Any other: its touched groups are computed anew.
    Recompute,
}

impl AggregateFunction {
    /// The name of such a function in `pg_catalog`; of [`Self::Recompute`], which has none, nothing.
    pub fn name(self) -> &'static str {
        match self {
            Self::CountStar | Self::Count => "count",
            Self::SumInteger | Self::SumNumeric => "sum",
            Self::AvgInteger | Self::AvgNumeric => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::BoolAnd => "bool_and",
            Self::BoolOr => "bool_or",
            Self::Variance { sample: true, root: false } => "var_samp",
            Self::Variance { sample: true, root: true } => "stddev_samp",
            Self::Variance { sample: false, root: false } => "var_pop",
            Self::Variance { sample: false, root: true } => "stddev_pop",
            Self::Recompute => "",
        }
    }

    /// How it is maintained, in the words of `explain_st`.
    pub fn strategy(self) -> &'static str {
        match self {
            Self::CountStar | Self::Count | Self::SumInteger => "ALGEBRAIC_INVERTIBLE",
            Self::SumNumeric
            | Self::AvgInteger
            | Self::AvgNumeric
            | Self::BoolAnd
            | Self::BoolOr
            | Self::Variance { .. } => "ALGEBRAIC_VIA_AUX",
            Self::Min | Self::Max => "SEMI_ALGEBRAIC",
            Self::Recompute => "GROUP_RESCAN",
        }
    }
}

/// One aggregate call of an [`Rel::Aggregate`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregateCall {
    pub function: AggregateFunction,
    /// The argument; `None` for `count(*)` and for [`AggregateFunction::Recompute`].
    pub argument: Option<Scalar>,
    /// Each different value of the argument counts once.
    #[serde(default)]
    pub distinct: bool,
    /// The FILTER condition.
    pub filter: Option<Scalar>,
    /// The whole call as PostgreSQL prints it, FILTER included; gives the result type as well.
    pub call: Scalar,
}

impl AggregateCall {
    fn scalars(&self) -> impl Iterator<Item = &Scalar> {
        self.argument.iter().chain(&self.filter).chain([&self.call])
    }

    fn scalars_mut(&mut self) -> impl Iterator<Item = &mut Scalar> {
        self.argument.iter_mut().chain(&mut self.filter).chain([&mut self.call])
    }

    /// The same call with every expression changed alike.
    pub fn map(&self, change: impl Fn(&Scalar) -> Scalar) -> Self {
        AggregateCall {
            function: self.function,
            argument: self.argument.as_ref().map(&change),
            distinct: self.distinct,
            filter: self.filter.as_ref().map(&change),
            call: change(&self.call),
        }
    }

    /// Makes it one whose groups are computed anew.
    pub fn recompute(&mut self) {
        *self =
            AggregateCall { function: AggregateFunction::Recompute, argument: None, distinct: false, ..self.clone() };
    }

    /// How it is maintained, in the words of `explain_st`.
    pub fn strategy(&self) -> &'static str {
        // Its values are counted beside the groups.
        if self.distinct { AggregateFunction::AvgInteger.strategy() } else { self.function.strategy() }
    }
}

/// Whose unmatched rows an outer join keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    Left,
    Both,
}

/// What becomes of the rows that [`Rel::Apply`] evaluates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApplyKind {
    /// They decide about the left row, as in a semi-join.
    Semi(Yield),
    /// The only one's first column is a column with this name, last; NULL when there is none, an error when there are two.
    Scalar(String),
    /// They are joined to the left row; with `outer`, NULLs when there is none.
    Lateral { outer: bool },
}

/// What a semi-join yields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Yield {
    /// The rows that have a match.
    Matched,
    /// The rows that have none.
    Unmatched,
    /// Every row, and whether it has a match as a column with this name, last.
    Mark(String),
}

impl Yield {
    /// The columns of a semi-join whose left side has the columns `left`.
    pub fn columns(&self, mut left: Vec<Column>) -> Vec<Column> {
        if let Yield::Mark(name) = self {
            left.push(Column { name: name.clone(), ty: DataType::boolean(), nullable: false });
        }
        left
    }
}

/// The columns of an outer join.
pub fn outer_columns(left: &[Column], right: &[Column], side: Side) -> Vec<Column> {
    let kept = |column: &Column| Column { nullable: column.nullable || side == Side::Both, ..column.clone() };
    let padded = |column: &Column| Column { nullable: true, ..column.clone() };
    left.iter().map(kept).chain(right.iter().map(padded)).collect()
}

/// An item of a FROM clause that yields rows of its own for each row beside it: a set-returning function, a list of
/// VALUES, a SELECT list that returns sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// As PostgreSQL prints it, over the columns of the row beside it; without an alias.
    pub text: Vec<Fragment>,
    pub columns: Vec<Column>,
    /// The last column numbers the rows of each row beside it.
    pub ordinality: bool,
}

/// A relational operator. Every variant says what it yields; its columns are [`Rel::columns`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rel {
    /// The rows of a source.
    Scan(Scan),
    /// The stored result of an earlier stage; only staging makes it. Yields the state's columns.
    Stage { stage: usize, columns: Vec<Column>, keys: Vec<Vec<usize>> },
    /// The result of a whole query that has no tree, only text; content without a delta.
    Opaque { query: String, columns: Vec<Column> },
    /// The rows of `input` for which every predicate is true.
    Filter { input: Box<Rel>, predicates: Vec<Scalar> },
    /// One row per row of `input`, its columns computed.
    Project { input: Box<Rel>, outputs: Vec<(String, Scalar)> },
    /// The inner join of two or more inputs: rows of the cross product for which every predicate is true. Yields the
    /// inputs' columns one after the other; predicates count through all of them.
    Join { inputs: Vec<Rel>, predicates: Vec<Scalar> },
    /// The inner join, and every row of `left` (of either input for [`Side::Both`]) that has no match, with NULLs in the
    /// other's place. Yields and predicates as for [`Rel::Join`].
    OuterJoin { left: Box<Rel>, right: Box<Rel>, predicates: Vec<Scalar>, side: Side },
    /// Rows of `left` by whether they have a match: a row of `right` for which every predicate is true. Predicates count
    /// through both.
    SemiJoin { left: Box<Rel>, right: Box<Rel>, predicates: Vec<Scalar>, yields: Yield },
    /// Each row of `input` with each row that `item` yields for it and for which every predicate of `on` is true; with
    /// `outer`, a row for which there is none stays, its item's columns NULL. Yields the columns of `input`, then the
    /// item's; `on` counts through both.
    Expand { input: Box<Rel>, item: Item, on: Vec<Scalar>, outer: bool },
    /// `right` evaluated for every row of `left`, whose columns it reads as [`super::Fragment::Outer`]. Only importing makes
    /// it, and decorrelation removes it. Predicates count through both.
    Apply { left: Box<Rel>, right: Box<Rel>, predicates: Vec<Scalar>, kind: ApplyKind },
    /// The rows of `base`, and those of `step` over the rows that the step before yielded, until there are none; without
    /// `all`, each different row once. In `step`, [`Rel::Working`] is what the step before yielded. All agree in number and
    /// types of columns.
    Recursive { base: Box<Rel>, step: Box<Rel>, all: bool, columns: Vec<Column> },
    /// What the step before yielded, in the step of the innermost [`Rel::Recursive`].
    Working { columns: Vec<Column> },
    /// The rows of all inputs. Inputs agree in number and types of columns; `columns` gives the result's.
    UnionAll { inputs: Vec<Rel>, columns: Vec<Column> },
    /// One row per group of equal `keys`, or exactly one row when there are none. Yields keys, then calls.
    Aggregate { input: Box<Rel>, keys: Vec<(String, Scalar)>, calls: Vec<(String, AggregateCall)> },
    /// Each different row once. Yields the columns of `input`.
    Distinct { input: Box<Rel> },
    /// The rows of `input`, each with what the window function `calls` (`f(…) OVER name`) give for it among the rows
    /// that have equal values of `partition`. Yields the columns of `input`, then the calls.
    Window { input: Box<Rel>, partition: Vec<Scalar>, windows: Vec<WindowDefinition>, calls: Vec<(String, Scalar)> },
    /// Of the rows of `input` with equal values of `partition`: those that fewer rows precede in their `order` than `counts`
    /// sum up to, and perhaps the ones that follow; with `ties`, rows equal in `order` do not precede one another. `counts`
    /// read no columns, and NULL wants all rows. Yields the columns of `input`.
    Leading { input: Box<Rel>, partition: Vec<Scalar>, order: Vec<SortItem>, counts: Vec<Scalar>, ties: bool },
    /// Of the rows of `input` with equal values of `partition`, in their `order`: `limit` rows (all without one) after
    /// the first `offset`, and with `with_ties` those that are equal to the last of them in `order`. `limit` and
    /// `offset` read no columns. Yields the columns of `input`.
    TopK {
        input: Box<Rel>,
        partition: Vec<Scalar>,
        order: Vec<SortItem>,
        limit: Option<Scalar>,
        offset: Option<Scalar>,
        with_ties: bool,
    },
}

impl Rel {
    /// One row without columns: what a SELECT without FROM reads.
    pub fn unit() -> Rel {
        Rel::Opaque { query: "SELECT".into(), columns: Vec::new() }
    }

    /// The columns that the operator yields.
    pub fn columns(&self) -> Vec<Column> {
        let computed = |name: &String, scalar: &Scalar, input: &[Column]| Column {
            name: name.clone(),
            ty: scalar.ty.clone(),
            nullable: match scalar.as_column() {
                Some(position) => input[position].nullable,
                None => scalar.nullable || scalar.columns().iter().any(|position| input[*position].nullable),
            },
        };
        match self {
            Rel::Scan(scan) => scan.columns.iter().map(|scanned| scanned.column.clone()).collect(),
            Rel::Stage { columns, .. }
            | Rel::Opaque { columns, .. }
            | Rel::Recursive { columns, .. }
            | Rel::Working { columns }
            | Rel::UnionAll { columns, .. } => columns.clone(),
            Rel::Filter { input, .. }
            | Rel::Distinct { input }
            | Rel::Leading { input, .. }
            | Rel::TopK { input, .. } => input.columns(),
            Rel::Project { input, outputs } => {
                let below = input.columns();
                outputs.iter().map(|(name, scalar)| computed(name, scalar, &below)).collect()
            }
            Rel::Join { inputs, .. } => inputs.iter().flat_map(Rel::columns).collect(),
            Rel::OuterJoin { left, right, side, .. } => outer_columns(&left.columns(), &right.columns(), *side),
            Rel::SemiJoin { left, yields, .. } => yields.columns(left.columns()),
            Rel::Apply { left, right, kind, .. } => match kind {
                ApplyKind::Semi(yields) => yields.columns(left.columns()),
                ApplyKind::Lateral { outer: true } => outer_columns(&left.columns(), &right.columns(), Side::Left),
                ApplyKind::Lateral { outer: false } => left.columns().into_iter().chain(right.columns()).collect(),
                ApplyKind::Scalar(name) => {
                    let mut columns = left.columns();
                    let value = right.columns().swap_remove(0);
                    columns.push(Column { name: name.clone(), nullable: true, ..value });
                    columns
                }
            },
            Rel::Expand { input, item, outer, .. } => {
                let nullable = |column: &Column| Column { nullable: column.nullable || *outer, ..column.clone() };
                input.columns().into_iter().chain(item.columns.iter().map(nullable)).collect()
            }
            Rel::Aggregate { input, keys, calls } => {
                let below = input.columns();
                let keys = keys.iter().map(|(name, scalar)| computed(name, scalar, &below));
                let calls = calls.iter().map(|(name, aggregate)| Column {
                    name: name.clone(),
                    ty: aggregate.call.ty.clone(),
                    nullable: !matches!(aggregate.function, AggregateFunction::CountStar | AggregateFunction::Count),
                });
                keys.chain(calls).collect()
            }
            Rel::Window { input, calls, .. } => {
                let mut columns = input.columns();
                let calls: Vec<Column> = calls.iter().map(|(name, call)| computed(name, call, &columns)).collect();
                columns.extend(calls);
                columns
            }
        }
    }

    /// The operator's inputs, in order.
    pub fn inputs(&self) -> Vec<&Rel> {
        match self {
            Rel::Scan(_) | Rel::Stage { .. } | Rel::Opaque { .. } | Rel::Working { .. } => Vec::new(),
            Rel::Recursive { base, step, .. } => vec![base, step],
            Rel::Filter { input, .. }
            | Rel::Project { input, .. }
            | Rel::Expand { input, .. }
            | Rel::Aggregate { input, .. }
            | Rel::Distinct { input }
            | Rel::Window { input, .. }
            | Rel::Leading { input, .. }
            | Rel::TopK { input, .. } => vec![input],
            Rel::OuterJoin { left, right, .. } | Rel::SemiJoin { left, right, .. } | Rel::Apply { left, right, .. } => {
                vec![left, right]
            }
            Rel::Join { inputs, .. } | Rel::UnionAll { inputs, .. } => inputs.iter().collect(),
        }
    }

    /// Likewise, to change them.
    pub fn inputs_mut(&mut self) -> Vec<&mut Rel> {
        match self {
            Rel::Scan(_) | Rel::Stage { .. } | Rel::Opaque { .. } | Rel::Working { .. } => Vec::new(),
            Rel::Recursive { base, step, .. } => vec![base, step],
            Rel::Filter { input, .. }
            | Rel::Project { input, .. }
            | Rel::Expand { input, .. }
            | Rel::Aggregate { input, .. }
            | Rel::Distinct { input }
            | Rel::Window { input, .. }
            | Rel::Leading { input, .. }
            | Rel::TopK { input, .. } => vec![input],
            Rel::OuterJoin { left, right, .. } | Rel::SemiJoin { left, right, .. } | Rel::Apply { left, right, .. } => {
                vec![left, right]
            }
            Rel::Join { inputs, .. } | Rel::UnionAll { inputs, .. } => inputs.iter_mut().collect(),
        }
    }

    /// The text of the operator's own expressions.
    pub fn texts(&self) -> Vec<&Vec<Fragment>> {
        match self {
            Rel::Scan(_)
            | Rel::Stage { .. }
            | Rel::Opaque { .. }
            | Rel::Working { .. }
            | Rel::Recursive { .. }
            | Rel::Distinct { .. }
            | Rel::UnionAll { .. } => Vec::new(),
            Rel::Filter { predicates, .. }
            | Rel::Join { predicates, .. }
            | Rel::OuterJoin { predicates, .. }
            | Rel::SemiJoin { predicates, .. }
            | Rel::Apply { predicates, .. } => predicates.iter().map(|scalar| &scalar.fragments).collect(),
            Rel::Expand { item, on, .. } => on.iter().map(|scalar| &scalar.fragments).chain([&item.text]).collect(),
            Rel::Project { outputs, .. } => outputs.iter().map(|(_, scalar)| &scalar.fragments).collect(),
            Rel::Aggregate { keys, calls, .. } => {
                let calls = calls.iter().flat_map(|(_, call)| call.scalars());
                keys.iter().map(|(_, scalar)| scalar).chain(calls).map(|scalar| &scalar.fragments).collect()
            }
            Rel::Window { partition, windows, calls, .. } => {
                let windows = windows.iter().flat_map(WindowDefinition::texts);
                let calls = calls.iter().map(|(_, call)| &call.fragments);
                partition.iter().map(|scalar| &scalar.fragments).chain(windows).chain(calls).collect()
            }
            Rel::Leading { partition, order, counts, .. } => {
                let order = order.iter().map(|item| &item.value);
                partition.iter().chain(order).chain(counts).map(|scalar| &scalar.fragments).collect()
            }
            Rel::TopK { partition, order, limit, offset, .. } => {
                let order = order.iter().map(|item| &item.value);
                partition.iter().chain(order).chain(limit).chain(offset).map(|scalar| &scalar.fragments).collect()
            }
        }
    }

    /// Likewise, to change it.
    pub fn texts_mut(&mut self) -> Vec<&mut Vec<Fragment>> {
        match self {
            Rel::Scan(_)
            | Rel::Stage { .. }
            | Rel::Opaque { .. }
            | Rel::Working { .. }
            | Rel::Recursive { .. }
            | Rel::Distinct { .. }
            | Rel::UnionAll { .. } => Vec::new(),
            Rel::Filter { predicates, .. }
            | Rel::Join { predicates, .. }
            | Rel::OuterJoin { predicates, .. }
            | Rel::SemiJoin { predicates, .. }
            | Rel::Apply { predicates, .. } => predicates.iter_mut().map(|scalar| &mut scalar.fragments).collect(),
            Rel::Expand { item, on, .. } => {
                on.iter_mut().map(|scalar| &mut scalar.fragments).chain([&mut item.text]).collect()
            }
            Rel::Project { outputs, .. } => outputs.iter_mut().map(|(_, scalar)| &mut scalar.fragments).collect(),
            Rel::Aggregate { keys, calls, .. } => {
                let calls = calls.iter_mut().flat_map(|(_, call)| call.scalars_mut());
                keys.iter_mut().map(|(_, scalar)| scalar).chain(calls).map(|scalar| &mut scalar.fragments).collect()
            }
            Rel::Window { partition, windows, calls, .. } => {
                let windows = windows.iter_mut().flat_map(WindowDefinition::texts_mut);
                let calls = calls.iter_mut().map(|(_, call)| &mut call.fragments);
                partition.iter_mut().map(|scalar| &mut scalar.fragments).chain(windows).chain(calls).collect()
            }
            Rel::Leading { partition, order, counts, .. } => {
                let order = order.iter_mut().map(|item| &mut item.value);
                partition.iter_mut().chain(order).chain(counts).map(|scalar| &mut scalar.fragments).collect()
            }
            Rel::TopK { partition, order, limit, offset, .. } => {
                let order = order.iter_mut().map(|item| &mut item.value);
                let all = partition.iter_mut().chain(order).chain(limit).chain(offset);
                all.map(|scalar| &mut scalar.fragments).collect()
            }
        }
    }

    /// It reads what the step before yielded, in the step of a recursion around it.
    pub fn reads_working(&self) -> bool {
        match self {
            Rel::Working { .. } => true,
            Rel::Recursive { base, .. } => base.reads_working(),
            _ => self.inputs().into_iter().any(Rel::reads_working),
        }
    }

    /// Every scan in the tree, left to right.
    pub fn scans(&self) -> Vec<&Scan> {
        match self {
            Rel::Scan(scan) => vec![scan],
            _ => self.inputs().into_iter().flat_map(Rel::scans).collect(),
        }
    }
}
