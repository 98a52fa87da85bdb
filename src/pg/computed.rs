//! Range table entries whose rows are computed: functions, VALUES lists, XMLTABLE and JSON_TABLE.

use super::nodes::{Expr, Query, items, text};
use super::types;
use pgrx::{PgList, is_a, pg_sys};
use pgtrickle_engine::query::DataType;

/// An entry whose rows are computed.
pub struct Computed<'a> {
    pub rows: Rows<'a>,
    /// The numbers of the columns with their types; those of dropped attributes are missing.
    pub columns: Vec<(i16, DataType)>,
}

/// Where the rows come from.
pub enum Rows<'a> {
    /// The rows of one function, or of several side by side.
    Functions {
        calls: Vec<FunctionCall<'a>>,
        ordinality: bool,
    },
    /// XMLTABLE or JSON_TABLE.
    Table(Expr<'a>),
    Values(Vec<Vec<Expr<'a>>>),
}

/// A function in FROM.
pub struct FunctionCall<'a> {
    pub expr: Expr<'a>,
    /// It is printed like a call, not like a cast.
    pub callable: bool,
    /// The names and types of the columns, when the query gives them in a column definition list.
    pub definitions: Vec<(String, DataType)>,
}

impl<'a> Computed<'a> {
    /// What the rows are computed from.
    pub fn exprs(&self) -> Vec<Expr<'a>> {
        match &self.rows {
            Rows::Functions { calls, .. } => calls.iter().map(|call| call.expr).collect(),
            Rows::Table(expr) => vec![*expr],
            Rows::Values(rows) => rows.iter().flatten().copied().collect(),
        }
    }
}

impl<'a> Query<'a> {
    /// The range table entry with a 1-based index, if its rows are computed.
    pub(super) fn computed(self, entry: &'a pg_sys::RangeTblEntry) -> Option<Computed<'a>> {
        // SAFETY: the kind says which fields are set; functions are RangeTblFunction nodes, values_lists is a List of
        // Lists of expressions.
        let rows = unsafe {
            match entry.rtekind {
                pg_sys::RTEKind::RTE_FUNCTION => Rows::Functions {
                    calls: items(entry.functions).into_iter().map(|function| self.function_call(function)).collect(),
                    ordinality: entry.funcordinality,
                },
                pg_sys::RTEKind::RTE_TABLEFUNC => Rows::Table(self.flat(entry.tablefunc.cast())),
                pg_sys::RTEKind::RTE_VALUES => {
                    let row = |row: *mut pg_sys::List| {
                        PgList::<pg_sys::Node>::from_pg(row).iter_ptr().map(|value| self.flat(value)).collect()
                    };
                    Rows::Values(PgList::<pg_sys::List>::from_pg(entry.values_lists).iter_ptr().map(row).collect())
                }
                _ => return None,
            }
        };
        Some(Computed { rows, columns: columns(entry) })
    }

    /// # Safety
    /// `function` is of an RTE_FUNCTION entry of this query.
    unsafe fn function_call(self, function: &pg_sys::RangeTblFunction) -> FunctionCall<'a> {
        // SAFETY: the caller's promise; the three lists of a column definition list have one item for each column.
        unsafe {
            let node = function.funcexpr;
            let callable = match (*node).type_ {
                pg_sys::NodeTag::T_FuncExpr => !matches!(
                    (*node.cast::<pg_sys::FuncExpr>()).funcformat,
                    pg_sys::CoercionForm::COERCE_EXPLICIT_CAST | pg_sys::CoercionForm::COERCE_IMPLICIT_CAST
                ),
                tag => matches!(
                    tag,
                    pg_sys::NodeTag::T_CoalesceExpr
                        | pg_sys::NodeTag::T_MinMaxExpr
                        | pg_sys::NodeTag::T_NullIfExpr
                        | pg_sys::NodeTag::T_SQLValueFunction
                ),
            };
            let oids = PgList::<()>::from_pg(function.funccoltypes);
            let typmods = PgList::<()>::from_pg(function.funccoltypmods);
            let collations = PgList::<()>::from_pg(function.funccolcollations);
            let types = oids.iter_oid().zip(typmods.iter_int()).zip(collations.iter_oid());
            let types = types.map(|((oid, typmod), collation)| types::data_type(oid, typmod, collation));
            let names = items::<pg_sys::String>(function.funccolnames).into_iter().map(|name| text(name.sval));
            FunctionCall { expr: self.flat(node), callable, definitions: names.zip(types).collect() }
        }
    }
}

/// The columns of an entry as the parser numbers them.
fn columns(entry: &pg_sys::RangeTblEntry) -> Vec<(i16, DataType)> {
    // SAFETY: the entry is only read; what comes out is a List of Var nodes, and constants for dropped columns.
    unsafe {
        let mut vars = std::ptr::null_mut();
        pg_sys::expandRTE(
            (entry as *const pg_sys::RangeTblEntry).cast_mut(),
            1,
            0,
            pg_sys::VarReturningType::VAR_RETURNING_DEFAULT,
            -1,
            true,
            std::ptr::null_mut(),
            &mut vars,
        );
        let live = PgList::<pg_sys::Node>::from_pg(vars);
        let live = live.iter_ptr().filter(|node| is_a(*node, pg_sys::NodeTag::T_Var));
        live.map(|node| {
            let var = &*node.cast::<pg_sys::Var>();
            (var.varattno, types::data_type(var.vartype, var.vartypmod, var.varcollid))
        })
        .collect()
    }
}

/// `COLLATE …` where a type's collation is not the one that the type itself has.
pub fn collate_clause(ty: &DataType) -> String {
    if ty.collation == 0 || ty.collation == types::default_collation(ty) {
        return String::new();
    }
    format!(" COLLATE {}", collation(ty))
}

/// The name of a type's collation, of which it has one.
pub fn collation(ty: &DataType) -> String {
    // SAFETY: a syscache lookup of a collation that an analysed query names.
    unsafe { text(pg_sys::generate_collation_name(pg_sys::Oid::from(ty.collation))) }
}
