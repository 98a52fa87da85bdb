//! Facts about an expression that its text does not show.

use super::nodes::{Expr, Variable, text};
use super::types::{Number, number};
use pgrx::{FromDatum, PgList, is_a, pg_guard, pg_sys};
use pgtrickle_engine::query::Volatility;
use std::ffi::c_void;

/// The columns that an expression reads.
#[derive(Debug, Default)]
pub struct Variables {
    /// In the order of their first use.
    pub columns: Vec<Variable>,
    /// It selects a field of a column whose type is an anonymous record, which cannot be printed.
    pub anonymous_field: bool,
    /// It contains a call of GROUPING().
    pub grouping: bool,
    /// How many sub-selects deep the walk is.
    depth: pg_sys::Index,
}

impl<'a> Expr<'a> {
    pub fn variables(self) -> Variables {
        let mut variables = Variables::default();
        // SAFETY: a valid expression; the context is what `visit` takes it for.
        unsafe { visit(self.node, (&raw mut variables).cast()) };
        variables
    }

    /// The volatility of the most volatile function inside.
    pub fn volatility(self) -> Volatility {
        // SAFETY: both functions only read the expression.
        unsafe {
            if pg_sys::contain_volatile_functions(self.node) {
                Volatility::Volatile
            } else if pg_sys::contain_mutable_functions(self.node) {
                Volatility::Stable
            } else {
                Volatility::Immutable
            }
        }
    }

    /// The value is a set of values.
    pub fn returns_set(self) -> bool {
        // SAFETY: only reads the expression.
        unsafe { pg_sys::expression_returns_set(self.node) }
    }

    /// It contains the call of a window function.
    pub fn calls_window_function(self) -> bool {
        // SAFETY: only reads the expression.
        unsafe { pg_sys::contain_windowfuncs(self.node) }
    }

    /// False only when the value cannot be NULL unless a column that it reads is.
    pub fn is_nullable(self) -> bool {
        // SAFETY: a valid expression.
        unsafe { !never_null(self.node) }
    }

    /// The value is an integer or a numeric all of whose values have the same number of fractional digits.
    pub fn has_fixed_scale(self) -> bool {
        // SAFETY: a valid expression.
        unsafe { fixed_scale(self.node) }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn visit(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: `variables` passes a Variables, and the walker calls back with valid nodes; the tag tells the type.
    unsafe {
        let variables = &mut *context.cast::<Variables>();
        match (*node).type_ {
            pg_sys::NodeTag::T_Query => {
                variables.depth += 1;
                pg_sys::query_tree_walker_impl(node.cast(), Some(visit), context, 0);
                variables.depth -= 1;
                return false;
            }
            pg_sys::NodeTag::T_Var => {
                let var = &*node.cast::<pg_sys::Var>();
                let variable = (var.varno as usize, var.varattno);
                if var.varlevelsup == variables.depth && !variables.columns.contains(&variable) {
                    variables.columns.push(variable);
                }
            }
            pg_sys::NodeTag::T_FieldSelect => {
                let record = (*node.cast::<pg_sys::FieldSelect>()).arg.cast::<pg_sys::Node>();
                variables.anonymous_field |= is_a(record, pg_sys::NodeTag::T_Var)
                    && pg_sys::exprType(record) == pg_sys::RECORDOID
                    && (*record.cast::<pg_sys::Var>()).varlevelsup == variables.depth;
            }
            pg_sys::NodeTag::T_GroupingFunc => {
                variables.grouping |= (*node.cast::<pg_sys::GroupingFunc>()).agglevelsup == variables.depth;
            }
            _ => {}
        }
        pg_sys::expression_tree_walker_impl(node, Some(visit), context)
    }
}

/// # Safety
/// `list` is NIL or a List of expressions.
unsafe fn operands(list: *mut pg_sys::List) -> Vec<*mut pg_sys::Node> {
    // SAFETY: the caller's promise.
    unsafe { PgList::<pg_sys::Node>::from_pg(list).iter_ptr().collect() }
}

/// # Safety
/// `node` is a valid expression.
unsafe fn never_null(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the tag tells the type; operands are expressions.
    unsafe {
        let all = |list| operands(list).into_iter().all(|operand| never_null(operand));
        match (*node).type_ {
            pg_sys::NodeTag::T_Const => !(*node.cast::<pg_sys::Const>()).constisnull,
            pg_sys::NodeTag::T_Var
            | pg_sys::NodeTag::T_NullTest
            | pg_sys::NodeTag::T_BooleanTest
            | pg_sys::NodeTag::T_DistinctExpr => true,
            pg_sys::NodeTag::T_RelabelType => never_null((*node.cast::<pg_sys::RelabelType>()).arg.cast()),
            pg_sys::NodeTag::T_BoolExpr => all((*node.cast::<pg_sys::BoolExpr>()).args),
            pg_sys::NodeTag::T_CoalesceExpr => {
                operands((*node.cast::<pg_sys::CoalesceExpr>()).args).into_iter().any(|operand| never_null(operand))
            }
            pg_sys::NodeTag::T_MinMaxExpr => all((*node.cast::<pg_sys::MinMaxExpr>()).args),
            pg_sys::NodeTag::T_OpExpr => {
                let operator = &*node.cast::<pg_sys::OpExpr>();
                is_total(operator) && all(operator.args)
            }
            pg_sys::NodeTag::T_FuncExpr => {
                let function = &*node.cast::<pg_sys::FuncExpr>();
                is_numeric_cast(function) && all(function.args)
            }
            _ => false,
        }
    }
}

/// A built-in operator on numbers, strings, booleans or dates that yields a value for all operands that are not NULL.
///
/// # Safety
/// `operator` belongs to a valid expression.
pub(super) unsafe fn is_total(operator: &pg_sys::OpExpr) -> bool {
    const TOTAL: &[&str] =
        &["+", "-", "*", "/", "%", "=", "<>", "<", "<=", ">", ">=", "||", "~~", "!~~", "~~*", "!~~*"];
    if operator.opno.to_u32() >= pg_sys::FirstUnpinnedObjectId {
        return false;
    }
    // SAFETY: syscache lookups of an existing operator and of existing types.
    unsafe {
        let plain = |operand: &*mut pg_sys::Node| {
            let (mut category, mut preferred) = (0, false);
            pg_sys::get_type_category_preferred(pg_sys::exprType(*operand), &mut category, &mut preferred);
            matches!(category as u8, b'N' | b'S' | b'B' | b'D' | b'T')
        };
        operands(operator.args).iter().all(plain) && TOTAL.contains(&text(pg_sys::get_opname(operator.opno)).as_str())
    }
}

/// A built-in cast or length coercion between integers and numeric.
///
/// # Safety
/// `function` belongs to a valid expression.
unsafe fn is_numeric_cast(function: &pg_sys::FuncExpr) -> bool {
    let is_number = |oid| number(oid, -1).0 != Number::Other;
    // SAFETY: a function called as a cast has at least one argument.
    function.funcid.to_u32() < pg_sys::FirstUnpinnedObjectId
        && is_coercion(function)
        && is_number(function.funcresulttype)
        && unsafe { operands(function.args).first().is_some_and(|operand| is_number(pg_sys::exprType(*operand))) }
}

fn is_coercion(function: &pg_sys::FuncExpr) -> bool {
    use pg_sys::CoercionForm::{COERCE_EXPLICIT_CAST, COERCE_IMPLICIT_CAST};
    matches!(function.funcformat, COERCE_EXPLICIT_CAST | COERCE_IMPLICIT_CAST)
}

/// `extract` of a field that has no fraction: `int64_to_numeric` in `timestamp.c` and `date.c`.
///
/// # Safety
/// `function` belongs to a valid expression, a call of `extract`.
unsafe fn is_whole_field(function: &pg_sys::FuncExpr) -> bool {
    const WHOLE: [&str; 16] = [
        "millennium",
        "century",
        "decade",
        "year",
        "isoyear",
        "quarter",
        "month",
        "week",
        "day",
        "doy",
        "dow",
        "isodow",
        "hour",
        "minute",
        "timezone_hour",
        "timezone_minute",
    ];
    // SAFETY: the first argument is a text; the tag tells whether it is a constant.
    unsafe {
        let Some(field) = operands(function.args).into_iter().next() else { return false };
        if (*field).type_ != pg_sys::NodeTag::T_Const {
            return false;
        }
        let field = &*field.cast::<pg_sys::Const>();
        String::from_datum(field.constvalue, field.constisnull).is_some_and(|field| WHOLE.contains(&field.as_str()))
    }
}

/// # Safety
/// `node` is a valid expression.
unsafe fn fixed_scale(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the tag tells the type; operands are expressions.
    unsafe {
        let (kind, typmod) = number(pg_sys::exprType(node), pg_sys::exprTypmod(node));
        match (kind, (*node).type_) {
            (Number::Integer, _) => true,
            (Number::Other, _) => false,
            (Number::Numeric, pg_sys::NodeTag::T_Const) => true,
            (Number::Numeric, pg_sys::NodeTag::T_Var) => typmod >= 0,
            (Number::Numeric, pg_sys::NodeTag::T_RelabelType) => {
                fixed_scale((*node.cast::<pg_sys::RelabelType>()).arg.cast())
            }
            (Number::Numeric, pg_sys::NodeTag::T_FuncExpr) => {
                let function = &*node.cast::<pg_sys::FuncExpr>();
                match function.funcid.to_u32() {
                    pg_sys::F_NUMERIC_INT2 | pg_sys::F_NUMERIC_INT4 | pg_sys::F_NUMERIC_INT8 => true,
                    pg_sys::F_NUMERIC_NUMERIC_INT4 => is_coercion(function) && typmod >= 0,
                    pg_sys::F_EXTRACT_TEXT_DATE
                    | pg_sys::F_EXTRACT_TEXT_TIME
                    | pg_sys::F_EXTRACT_TEXT_TIMETZ
                    | pg_sys::F_EXTRACT_TEXT_TIMESTAMP
                    | pg_sys::F_EXTRACT_TEXT_TIMESTAMPTZ
                    | pg_sys::F_EXTRACT_TEXT_INTERVAL => is_whole_field(function),
                    _ => false,
                }
            }
            (Number::Numeric, pg_sys::NodeTag::T_OpExpr) => {
                let operator = &*node.cast::<pg_sys::OpExpr>();
                let exact = operator.opno.to_u32() < pg_sys::FirstUnpinnedObjectId
                    && matches!(text(pg_sys::get_opname(operator.opno)).as_str(), "+" | "-" | "*");
                exact && operands(operator.args).into_iter().all(|operand| fixed_scale(operand))
            }
            _ => false,
        }
    }
}
