//! The split of a grouped query into what is below the grouping (keys, aggregate calls) and what is above it.
//!
//! PostgreSQL 18 marks grouped expressions as columns of an RTE_GROUP entry. Here the other two things that an
//! expression above the grouping may use become columns too: aggregate calls, and columns that depend on a grouped
//! primary key.

use super::level::{MAX_CALLS, SubLink};
use super::nodes::{Expr, Query, Target, items, text};
use pgrx::{PgList, is_a, pg_guard, pg_sys};
use pgtrickle_engine::query::AggregateFunction;
use std::ffi::c_void;

/// `AGGKIND_NORMAL` of `catalog/pg_aggregate.h`.
const AGGKIND_NORMAL: u8 = b'n';

/// A grouped query, split.
pub struct Grouped<'a> {
    /// The GROUP BY expressions with their names, over the query's FROM clause.
    pub keys: Vec<(String, Expr<'a>)>,
    /// Columns that depend on the keys, over the FROM clause.
    pub dependent: Vec<Expr<'a>>,
    pub calls: Vec<Call<'a>>,
    /// The GROUPING() calls.
    pub groupings: Vec<Grouping>,
    /// The targets that matter ([`Query::used_targets`]), over the four entries below.
    pub targets: Vec<Target<'a>>,
    /// The HAVING condition, over the four entries below.
    pub having: Option<Expr<'a>>,
    /// The sub-selects in expressions that these use, with their comparisons over the four entries below.
    pub links: Vec<SubLink<'a>>,
    /// Columns of this entry are the keys; 0 when there are none.
    pub key_entry: usize,
    /// Columns of this entry are the dependent columns.
    pub dependent_entry: usize,
    /// Columns of this entry are the calls.
    pub call_entry: usize,
    /// Columns of this entry are the GROUPING() calls.
    pub grouping_entry: usize,
}

/// A GROUPING() call: one bit for each of these keys, the first one's the highest, set where a row's grouping set lacks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Positions among the GROUP BY expressions.
    pub keys: Vec<usize>,
}

/// An aggregate call.
pub struct Call<'a> {
    /// The function's name without schema.
    pub name: String,
    /// What it computes, judged by the function alone.
    pub function: AggregateFunction,
    /// The whole call, over the FROM clause.
    pub expr: Expr<'a>,
    /// Its arguments, over the FROM clause.
    pub arguments: Vec<Expr<'a>>,
    pub filter: Option<Expr<'a>>,
    /// Nothing but arguments, DISTINCT and FILTER, besides an ORDER BY that changes nothing: no WITHIN GROUP or VARIADIC.
    pub plain: bool,
    pub distinct: bool,
    /// Arguments of an ordered-set aggregate that are computed once for each group read columns.
    pub varies_by_group: bool,
    /// The result may depend on the order in which rows arrive.
    pub order_sensitive: bool,
}

struct Split {
    own: i32,
    key_entry: i32,
    dependent_entry: i32,
    call_entry: i32,
    grouping_entry: i32,
    dependent: Vec<*mut pg_sys::Var>,
    calls: Vec<*mut pg_sys::Node>,
    groupings: Vec<*mut pg_sys::Node>,
    /// Positions of sub-selects that are used above the grouping.
    linked: Vec<usize>,
}

impl<'a> Query<'a> {
    /// Splits a query for which [`Query::is_aggregate`] holds. Entries from `own` + 1 on are additional ones, whose columns
    /// stay what they are; those of the first are the sub-selects `links`.
    pub fn grouped(self, own: usize, links: &[SubLink<'a>]) -> Grouped<'a> {
        let entries = self.entries();
        let (key_entry, keys) = self.keys();
        let mut split = Split {
            own: own as i32,
            key_entry: key_entry as i32,
            dependent_entry: entries as i32 + 1,
            call_entry: entries as i32 + 2,
            grouping_entry: entries as i32 + 3,
            dependent: Vec::new(),
            calls: Vec::new(),
            groupings: Vec::new(),
            linked: Vec::new(),
        };
        let mut above = |expr: Expr<'a>| {
            // SAFETY: the mutator copies what it changes; the context is what `lift` takes it for.
            unsafe { Expr::new(lift(expr.node, (&raw mut split).cast())) }
        };
        let targets = self.used_targets().into_iter();
        // A target of the GROUP BY clause is that key, also where another key has an equal expression: with grouping sets
        // the two are not always the same.
        let references = self.group_references();
        let over_groups = |target: Target<'a>| {
            let key = references.iter().position(|reference| *reference == target.sort_ref && target.sort_ref > 0);
            let expr = match key {
                // SAFETY: the expression is valid, and the key has its type.
                Some(key) => unsafe { Expr::new(column(key_entry as i32, key, target.expr.node)) },
                None => above(target.expr),
            };
            Target { expr, ..target }
        };
        let targets = targets.map(over_groups).collect();
        let having = self.having().map(above);
        let mut links = links.to_vec();
        let mut done = 0;
        while let Some(link) = split.linked.get(done).copied() {
            links[link].query = outer_calls(links[link].query, &mut split);
            // SAFETY: as for the targets; the comparison may itself use further sub-selects.
            links[link].test =
                links[link].test.map(|test| unsafe { Expr::new(lift(test.node, (&raw mut split).cast())) });
            done += 1;
        }
        Grouped {
            keys,
            // SAFETY: the nodes belong to the query's tree or to copies in its memory context.
            dependent: split.dependent.iter().map(|var| unsafe { Expr::new(var.cast()) }).collect(),
            calls: split.calls.iter().map(|call| self.call(*call)).collect(),
            // SAFETY: `lift` collects only GroupingFunc nodes of this query.
            groupings: split.groupings.iter().map(|call| unsafe { self.grouping(call.cast()) }).collect(),
            targets,
            having,
            links,
            key_entry,
            dependent_entry: entries + 1,
            call_entry: entries + 2,
            grouping_entry: entries + 3,
        }
    }

    /// The [`Target::sort_ref`] of each key.
    fn group_references(self) -> Vec<u32> {
        // SAFETY: groupClause holds SortGroupClause nodes, in the order of the RTE_GROUP entry's expressions.
        let clauses = unsafe { items::<pg_sys::SortGroupClause>(self.node.groupClause) };
        clauses.into_iter().map(|clause| clause.tleSortGroupRef).collect()
    }

    /// The index of the RTE_GROUP entry, and its expressions with their names.
    fn keys(self) -> (usize, Vec<(String, Expr<'a>)>) {
        // SAFETY: an RTE_GROUP entry has one name for each of its expressions.
        unsafe {
            let entries = items::<pg_sys::RangeTblEntry>(self.node.rtable);
            let Some(index) = entries.iter().position(|entry| entry.rtekind == pg_sys::RTEKind::RTE_GROUP) else {
                return (0, Vec::new());
            };
            let exprs = PgList::<pg_sys::Node>::from_pg(entries[index].groupexprs);
            let names = items::<pg_sys::String>((*entries[index].eref).colnames);
            let keys = exprs.iter_ptr().zip(names).map(|(expr, name)| (text(name.sval), self.flat(expr)));
            (index + 1, keys.collect())
        }
    }

    /// `node` is an Aggref, or a JSON aggregate around one.
    fn call(self, node: *mut pg_sys::Node) -> Call<'a> {
        // SAFETY: `lift` collects only these two kinds of nodes; direct arguments may use grouped columns, which
        // become the expressions that they stand for.
        unsafe {
            let node = match self.node.hasGroupRTE {
                true => {
                    let query = (self.node as *const pg_sys::Query).cast_mut();
                    pg_sys::flatten_group_exprs(std::ptr::null_mut(), query, node)
                }
                false => node,
            };
            let expr = self.flat(node);
            let json = is_a(expr.node, pg_sys::NodeTag::T_JsonConstructorExpr);
            let aggregate = &*aggregate(expr.node);
            let function = if json { AggregateFunction::Recompute } else { known(aggregate.aggfnoid) };
            // Beyond the arguments, what only ORDER BY reads.
            let arguments = items::<pg_sys::TargetEntry>(aggregate.args).into_iter().filter(|target| !target.resjunk);
            let filter = aggregate.aggfilter;
            let (distinct, sorted) = (!aggregate.aggdistinct.is_null(), !aggregate.aggorder.is_null());
            Call {
                name: text(pg_sys::get_func_name(aggregate.aggfnoid)),
                function,
                expr,
                arguments: arguments.map(|argument| Expr::new(argument.expr.cast())).collect(),
                filter: if filter.is_null() { None } else { Some(Expr::new(filter.cast())) },
                // An ORDER BY can choose the equality by which DISTINCT tells values apart.
                plain: !aggregate.aggvariadic && aggregate.aggkind as u8 == AGGKIND_NORMAL && !(distinct && sorted),
                distinct,
                varies_by_group: pg_sys::contain_var_clause(aggregate.aggdirectargs.cast()),
                order_sensitive: collects(aggregate.aggfnoid)
                    && !distinct
                    && !sorted
                    && aggregate.aggkind as u8 == AGGKIND_NORMAL,
            }
        }
    }
}

/// A mutator: calls, and columns that are not grouped, become columns of the entries that stand for them.
#[pg_guard]
unsafe extern "C-unwind" fn lift(node: *mut pg_sys::Node, context: *mut c_void) -> *mut pg_sys::Node {
    if node.is_null() {
        return node;
    }
    // SAFETY: `grouped` passes a Split, and the mutator calls back with valid nodes; the tag tells the type.
    unsafe {
        let split = &mut *context.cast::<Split>();
        if is_call(node) {
            return column(split.call_entry, position(&mut split.calls, node), node);
        }
        if is_a(node, pg_sys::NodeTag::T_GroupingFunc) {
            return column(split.grouping_entry, position(&mut split.groupings, node), node);
        }
        if is_a(node, pg_sys::NodeTag::T_Var) {
            let var = node.cast::<pg_sys::Var>();
            if (*var).varno == split.own + 1 && !split.linked.contains(&((*var).varattno as usize - 1)) {
                split.linked.push((*var).varattno as usize - 1);
            }
            if (*var).varno == split.key_entry || (*var).varno > split.own {
                return node;
            }
            let same =
                |other: &*mut pg_sys::Var| (**other).varno == (*var).varno && (**other).varattno == (*var).varattno;
            let index = split.dependent.iter().position(same).unwrap_or_else(|| {
                split.dependent.push(var);
                split.dependent.len() - 1
            });
            return column(split.dependent_entry, index, node);
        }
        pg_sys::expression_tree_mutator_impl(node, Some(lift), context)
    }
}

struct Outer<'s> {
    split: &'s mut Split,
    depth: pg_sys::Index,
}

/// The sub-select with the calls of the query around it that it reads as columns of that query.
fn outer_calls<'a>(query: Query<'a>, split: &mut Split) -> Query<'a> {
    let mut outer = Outer { split, depth: 0 };
    let node = (query.node as *const pg_sys::Query).cast_mut();
    // SAFETY: the mutator copies what it changes; the context is what `lift_outer` takes it for.
    unsafe { Query { node: &*lift_outer(node.cast(), (&raw mut outer).cast()).cast::<pg_sys::Query>() } }
}

#[pg_guard]
unsafe extern "C-unwind" fn lift_outer(node: *mut pg_sys::Node, context: *mut c_void) -> *mut pg_sys::Node {
    if node.is_null() {
        return node;
    }
    // SAFETY: `outer_calls` passes Outer, and the mutators call back with valid nodes; the tag tells the type. A call that
    // belongs `depth` levels further out reads columns from there on only.
    unsafe {
        let outer = &mut *context.cast::<Outer<'_>>();
        if is_a(node, pg_sys::NodeTag::T_Query) {
            outer.depth += 1;
            let query = pg_sys::query_tree_mutator_impl(node.cast(), Some(lift_outer), context, 0);
            outer.depth -= 1;
            return query.cast();
        }
        let own = is_call(node) && (*aggregate(node)).agglevelsup == outer.depth;
        if own && !pg_sys::checkExprHasSubLink(node) && outer.split.calls.len() < MAX_CALLS {
            let call = pg_sys::copyObjectImpl(node.cast()).cast::<pg_sys::Node>();
            let depth = outer.depth as i32;
            pg_sys::IncrementVarSublevelsUp(call, -depth, depth);
            let index = position(&mut outer.split.calls, call);
            let column = column(outer.split.own + 2, index, node).cast::<pg_sys::Var>();
            (*column).varlevelsup = outer.depth;
            return column.cast();
        }
        pg_sys::expression_tree_mutator_impl(node, Some(lift_outer), context)
    }
}

/// # Safety
/// `call` is an Aggref, or a JSON aggregate around one.
unsafe fn aggregate(call: *mut pg_sys::Node) -> *mut pg_sys::Aggref {
    // SAFETY: the caller's promise; the tag tells the type.
    unsafe {
        match is_a(call, pg_sys::NodeTag::T_JsonConstructorExpr) {
            true => (*call.cast::<pg_sys::JsonConstructorExpr>()).func.cast(),
            false => call.cast(),
        }
    }
}

/// The place of `node` in `list`, to which it is added unless an equal one is there.
///
/// # Safety
/// `node` and what is in `list` are valid expressions.
unsafe fn position(list: &mut Vec<*mut pg_sys::Node>, node: *mut pg_sys::Node) -> usize {
    // SAFETY: the caller's promise.
    let known = list.iter().position(|other| unsafe { pg_sys::equal(other.cast(), node.cast()) });
    known.unwrap_or_else(|| {
        list.push(node);
        list.len() - 1
    })
}

/// # Safety
/// `node` is a valid expression.
unsafe fn is_call(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the tag tells the type.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_Aggref => true,
            pg_sys::NodeTag::T_JsonConstructorExpr => {
                let function = (*node.cast::<pg_sys::JsonConstructorExpr>()).func;
                !function.is_null() && is_a(function.cast(), pg_sys::NodeTag::T_Aggref)
            }
            _ => false,
        }
    }
}

/// A column of an entry, of the type that `like` has.
///
/// # Safety
/// `like` is a valid expression.
unsafe fn column(entry: i32, index: usize, like: *mut pg_sys::Node) -> *mut pg_sys::Node {
    // SAFETY: the caller's promise.
    unsafe {
        let (oid, typmod) = (pg_sys::exprType(like), pg_sys::exprTypmod(like));
        pg_sys::makeVar(entry, index as i16 + 1, oid, typmod, pg_sys::exprCollation(like), 0).cast()
    }
}

/// The function may put its arguments one after the other: of the built-in ones those that make lists and texts, and
/// every other.
pub(super) fn collects(function: pg_sys::Oid) -> bool {
    const LISTS: [&str; 3] = ["array_agg", "string_agg", "xmlagg"];
    if function.to_u32() >= pg_sys::FirstUnpinnedObjectId {
        return true;
    }
    // SAFETY: a syscache lookup.
    let name = unsafe { text(pg_sys::get_func_name(function)) };
    LISTS.contains(&name.as_str()) || name.starts_with("json")
}

/// What a built-in aggregate function computes.
pub(super) fn known(function: pg_sys::Oid) -> AggregateFunction {
    match function.to_u32() {
        pg_sys::F_COUNT_ => AggregateFunction::CountStar,
        pg_sys::F_COUNT_ANY => AggregateFunction::Count,
        pg_sys::F_SUM_INT2 | pg_sys::F_SUM_INT4 | pg_sys::F_SUM_INT8 => AggregateFunction::SumInteger,
        pg_sys::F_SUM_NUMERIC => AggregateFunction::SumNumeric,
        pg_sys::F_AVG_INT2 | pg_sys::F_AVG_INT4 | pg_sys::F_AVG_INT8 => AggregateFunction::AvgInteger,
        pg_sys::F_AVG_NUMERIC => AggregateFunction::AvgNumeric,
        pg_sys::F_BOOL_AND | pg_sys::F_EVERY => AggregateFunction::BoolAnd,
        pg_sys::F_BOOL_OR => AggregateFunction::BoolOr,
        oid if oid < pg_sys::FirstUnpinnedObjectId => {
            // SAFETY: syscache lookups.
            let (name, result) = unsafe { (text(pg_sys::get_func_name(function)), pg_sys::get_func_rettype(function)) };
            // Those of floating-point numbers give such a number.
            let variance = |sample, root| match result {
                pg_sys::NUMERICOID => AggregateFunction::Variance { sample, root },
                _ => AggregateFunction::Recompute,
            };
            match name.as_str() {
                "min" => AggregateFunction::Min,
                "max" => AggregateFunction::Max,
                "var_pop" => variance(false, false),
                "var_samp" | "variance" => variance(true, false),
                "stddev_pop" => variance(false, true),
                "stddev_samp" | "stddev" => variance(true, true),
                _ => AggregateFunction::Recompute,
            }
        }
        _ => AggregateFunction::Recompute,
    }
}
