//! Random scalar expressions. None of them can fail, and none prints differently from one evaluation to the next.

use crate::operators::{Operator, Operators};
use crate::types::{Column, Random, Type};
use rand::Rng;
use rand::seq::IndexedRandom;

/// An expression over the columns in scope.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    pub(crate) sql: String,
    pub(crate) exact: bool,
}

fn exact(sql: String) -> Expression {
    Expression { sql, exact: true }
}

/// An expression of type `ty`.
pub(crate) fn scalar(random: &mut Random, scope: &[Column], ty: Type, depth: u32) -> Expression {
    let columns: Vec<&Column> = scope.iter().filter(|column| column.ty == ty).collect();
    if let Some(column) = columns.choose(random)
        && (depth == 0 || random.random_bool(0.55))
    {
        return Expression { sql: column.name.clone(), exact: column.exact };
    }
    if depth == 0 || random.random_bool(0.1) {
        return exact(if random.random_bool(0.1) { ty.value(random) } else { ty.literal(random) });
    }
    let depth = depth - 1;
    match random.random_range(0..10) {
        0 => {
            let (a, b) = (scalar(random, scope, ty, depth), scalar(random, scope, ty, depth));
            let when = predicate(random, scope, depth);
            Expression { sql: format!("CASE WHEN {when} THEN {} ELSE {} END", a.sql, b.sql), exact: a.exact && b.exact }
        }
        1 => {
            let (a, b) = (scalar(random, scope, ty, depth), scalar(random, scope, ty, 0));
            Expression { sql: format!("coalesce({}, {})", a.sql, b.sql), exact: a.exact && b.exact }
        }
        _ => particular(random, scope, ty, depth),
    }
}

fn particular(random: &mut Random, scope: &[Column], ty: Type, depth: u32) -> Expression {
    let mut of = |ty: Type| scalar(random, scope, ty, depth);
    match ty {
        Type::Int => {
            let (a, b, text, date) = (of(Type::Int), of(Type::Int), of(Type::Text), of(Type::Date));
            let (array, pair) = (of(Type::Array), of(Type::Pair));
            let choices = [
                format!("({} % 7 + {} % 5)", a.sql, b.sql),
                format!("({} % 100 * 2 % 11)", a.sql),
                format!("length({})", text.sql),
                format!("-abs({} % 1000)", a.sql),
                format!("extract(day FROM {})::int", date.sql),
                format!("cardinality({})", array.sql),
                format!("({})[1]", array.sql),
                format!("({}).a", pair.sql),
            ];
            exact(choices.choose(random).expect("not empty").clone())
        }
        Type::Big => {
            let (a, b) = (of(Type::Int), of(Type::Big));
            let choices = [format!("({} + {} % 1000000)", a.sql, b.sql), format!("{}::bigint", a.sql)];
            exact(choices.choose(random).expect("not empty").clone())
        }
        Type::Numeric => {
            let (a, b, int) = (of(Type::Numeric), of(Type::Decimal), of(Type::Int));
            let choices = [
                Expression { sql: format!("({} + {})", a.sql, b.sql), exact: a.exact },
                Expression { sql: format!("({} * 2.0)", a.sql), exact: a.exact },
                exact(format!("({}::numeric / 4)", int.sql)),
                exact(format!("({} * 1.5)", b.sql)),
            ];
            choices.choose(random).expect("not empty").clone()
        }
        Type::Decimal => {
            let (a, int) = (of(Type::Decimal), of(Type::Int));
            let choices =
                [format!("({} % 1000)::numeric(10,2)", a.sql), format!("({} % 1000)::numeric(10,2)", int.sql)];
            exact(choices.choose(random).expect("not empty").clone())
        }
        Type::Text => {
            let (a, int, json) = (of(Type::Text), of(Type::Int), of(Type::Json));
            let (mood, array, pair) = (of(Type::Mood), of(Type::Array), of(Type::Pair));
            let mut choices = vec![
                format!("upper({})", a.sql),
                format!("left({} || 'x', 3)", a.sql),
                format!("({})::text", int.sql),
                format!("left({}, 1)", a.sql),
                format!("({})::text", mood.sql),
                format!("array_to_string({}, '-', '?')", array.sql),
                format!("({}).b", pair.sql),
            ];
            // What prints in several ways must not become a value.
            if json.exact {
                choices.push(format!("({} ->> 'a')", json.sql));
            }
            choices.extend(whole_row(random, scope));
            exact(choices.choose(random).expect("not empty").clone())
        }
        Type::Date => {
            let (a, int) = (of(Type::Date), of(Type::Int));
            exact(format!("({} + {} % 3)", a.sql, int.sql))
        }
        Type::Mood => {
            let (a, int) = (of(Type::Mood), of(Type::Int));
            let choices = [
                format!("greatest({}, 'ok')", a.sql),
                format!("(ARRAY['sad', 'ok', 'happy'])[1 + abs({} % 3)]::mood", int.sql),
            ];
            exact(choices.choose(random).expect("not empty").clone())
        }
        Type::Pair => {
            let (int, text) = (of(Type::Int), of(Type::Text));
            exact(format!("ROW({}, left({}, 2))::pair", int.sql, text.sql))
        }
        Type::Array => {
            let (a, int, other) = (of(Type::Array), of(Type::Int), of(Type::Int));
            let choices = [
                format!("ARRAY[{}, {}]", int.sql, other.sql),
                format!("(({})[1:2] || {})", a.sql, int.sql),
                format!("({})[2:]", a.sql),
            ];
            exact(choices.choose(random).expect("not empty").clone())
        }
        Type::Json => {
            let (a, int, text, pair) = (of(Type::Json), of(Type::Int), of(Type::Text), of(Type::Pair));
            let choices = [
                Expression { sql: format!("({} -> 'a')", a.sql), exact: a.exact },
                exact(format!("jsonb_build_object('a', {}, 'b', {})", int.sql, text.sql)),
                exact(format!("to_jsonb({})", pair.sql)),
            ];
            choices.choose(random).expect("not empty").clone()
        }
        Type::Bool => exact(format!("({})", predicate(random, scope, depth))),
        Type::Float => {
            let (a, int) = (of(Type::Float), of(Type::Int));
            let choices = [
                Expression { sql: format!("({} * 0.5::float8)", a.sql), exact: a.exact },
                exact(format!("({} % 64)::float8", int.sql)),
            ];
            choices.choose(random).expect("not empty").clone()
        }
    }
}

/// A whole row of an item in scope as text, unless some column prints in several ways.
fn whole_row(random: &mut Random, scope: &[Column]) -> Option<String> {
    let aliases: Vec<&str> = scope.iter().filter_map(|column| Some(column.name.split_once('.')?.0)).collect();
    let alias = aliases.choose(random)?;
    let shown = ["right(({})::text, 9)", "right(to_jsonb({})::text, 9)"].choose(random).expect("not empty");
    scope.iter().all(|column| column.exact).then(|| shown.replace("{}", alias))
}

/// A condition; its value depends on values alone, never on how they print.
pub(crate) fn predicate(random: &mut Random, scope: &[Column], depth: u32) -> String {
    if depth > 0 && random.random_bool(0.35) {
        let (a, b) = (predicate(random, scope, depth - 1), predicate(random, scope, depth - 1));
        return match random.random_range(0..4) {
            0 => format!("({a} AND {b})"),
            1 | 2 => format!("({a} OR {b})"),
            _ => format!("NOT ({a})"),
        };
    }
    if random.clock && random.random_bool(0.1) {
        return past(random, scope);
    }
    let ty = scope.choose(random).map_or(Type::Int, |column| column.ty);
    let a = scalar(random, scope, ty, depth.min(1)).sql;
    let literal = ty.literal(random);
    match random.random_range(0..9) {
        0 => format!("{a} IS NULL"),
        1 => format!("{a} IS NOT NULL"),
        2 => format!("{a} = {}", scalar(random, scope, ty, 0).sql),
        3 => format!("{a} IS DISTINCT FROM {literal}"),
        4 => format!("{a} IN ({literal}, {}, {})", ty.literal(random), ty.literal(random)),
        5 if ty == Type::Text => format!("{a} LIKE 'a%'"),
        5 => format!("{a} BETWEEN {literal} AND {}", ty.literal(random)),
        6 => format!("{a} <> {literal}"),
        7 => format!("{a} <= {literal}"),
        _ => format!("{a} >= {}", scalar(random, scope, ty, 0).sql),
    }
}

/// A comparison with the clock, whose truth is another one in every few refreshes.
fn past(random: &mut Random, scope: &[Column]) -> String {
    let number = scalar(random, scope, Type::Int, 0).sql;
    let operator = ["<", ">=", "="].choose(random).expect("not empty");
    format!("{number} {operator} (extract(milliseconds FROM now())::int % 7)")
}

/// An aggregate call and the type of its result.
pub(crate) fn aggregate(random: &mut Random, scope: &[Column], operators: &Operators) -> (Expression, Type) {
    let ty = Type::any(random);
    let argument = scalar(random, scope, ty, 1);
    let x = &argument.sql;
    let (sql, result, exact) = match random.random_range(0..16) {
        10 if operators.has(Operator::DistinctAggregate) => (format!("count(DISTINCT {x})"), Type::Big, true),
        11 if operators.has(Operator::DistinctAggregate) && matches!(ty, Type::Int | Type::Decimal) => {
            let function = ["sum", "avg", "stddev_pop"].choose(random).expect("not empty");
            let result = if ty == Type::Int && *function == "sum" { Type::Big } else { Type::Numeric };
            (format!("{function}(DISTINCT {x})"), result, argument.exact)
        }
        12 if operators.has(Operator::OrderedAggregate) && ty == Type::Text => {
            (format!("left(string_agg({x}, ',' ORDER BY {x}), 20)"), Type::Text, true)
        }
        // Arrays are put together only if they are alike.
        12 | 13 if operators.has(Operator::OrderedAggregate) && ty != Type::Array => {
            let exact = argument.exact && !ty.is_coarse();
            (format!("(array_agg({x} ORDER BY {x} DESC NULLS LAST))[2]"), ty, exact)
        }
        14 if operators.has(Operator::Variance) && matches!(ty, Type::Int | Type::Decimal | Type::Numeric) => {
            let function = ["variance", "var_pop", "stddev", "stddev_pop"].choose(random).expect("not empty");
            (format!("{function}({x})"), Type::Numeric, argument.exact)
        }
        9 | 15 if ty == Type::Bool && operators.has(Operator::Variance) => {
            let function = if random.random_bool(0.5) { "bool_and" } else { "bool_or" };
            (format!("{function}({x})"), Type::Bool, true)
        }
        0 | 1 => ("count(*)".to_string(), Type::Big, true),
        2 => (format!("count({x})"), Type::Big, true),
        3 | 4 if ty.has_extremes() => {
            let function = if random.random_bool(0.5) { "min" } else { "max" };
            (format!("{function}({x})"), ty, argument.exact && !ty.is_coarse())
        }
        // Not of floats: sums of their quotients would depend on the order of the rows.
        5 if ty.is_number() && ty != Type::Float => (format!("avg({x})"), Type::Numeric, argument.exact),
        _ if ty.is_number() && (ty != Type::Float || operators.has(Operator::Recomputed)) => {
            let result = match ty {
                Type::Int => Type::Big,
                Type::Float => Type::Float,
                _ => Type::Numeric,
            };
            (format!("sum({x})"), result, argument.exact)
        }
        _ => (format!("count({x})"), Type::Big, true),
    };
    let filter = if random.random_bool(0.2) {
        format!(" FILTER (WHERE {})", predicate(random, scope, 1))
    } else {
        String::new()
    };
    let wrapped = sql.starts_with("left(") || sql.starts_with('(');
    let filter = if wrapped { String::new() } else { filter };
    (Expression { sql: format!("{sql}{filter}"), exact }, result)
}
