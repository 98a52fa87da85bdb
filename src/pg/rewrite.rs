//! Rewrites of tables by ALTER TABLE: which columns get other values.
//!
//! The event trigger `table_rewrite` says why a table is rewritten, not which column makes it so. The statement's parse
//! tree, which only a function in C is given, does: `ALTER COLUMN … TYPE` and, for a stored generated column,
//! `ALTER COLUMN … SET EXPRESSION` compute the column anew. Every other reason (a default of a new column, another access
//! method or persistence) leaves the values that are there as they are. A statement on a parent, or on the type of a typed
//! table, names the columns as its descendants do.

use std::ffi::CStr;
use std::sync::OnceLock;

use pgrx::pg_sys::{self, Datum, NodeTag};

use crate::error::{Error, Result};

/// What happens when the named columns of a relation get other values.
pub type Handler = fn(relation: u32, columns: &[String]) -> Result<()>;

static HANDLER: OnceLock<Handler> = OnceLock::new();

/// Called from `_PG_init`.
pub fn install(handler: Handler) {
    HANDLER.get_or_init(|| handler);
}

super::c_function!(pgt_on_table_rewrite => on_table_rewrite);
/// `pgtrickle._on_table_rewrite()`: the event trigger, before the table is rewritten and after the catalog was.
unsafe fn on_table_rewrite(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: fmgr's context node, when present, is a valid node, and an event trigger's carries the parse tree.
    let (relation, columns) = unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != NodeTag::T_EventTriggerData {
            Error::InvalidArgument {
                message: "the function was not called as an event trigger".into(),
                hint: "It is used by the event triggers of pg_trickle.".into(),
            }
            .raise();
        }
        let tree = (*context.cast::<pg_sys::EventTriggerData>()).parsetree;
        // It takes no argument and looks only at the state of the event triggers.
        let relation = pg_sys::pg_event_trigger_table_rewrite_oid(fcinfo);
        (relation.value() as u32, recomputed(tree))
    };
    if let (Some(handle), false) = (HANDLER.get(), columns.is_empty())
        && let Err(error) = handle(relation, &columns)
    {
        error.raise();
    }
    Datum::from(0)
}

/// The names of the columns that the statement computes anew.
///
/// # Safety
/// `tree` is a valid parse tree.
unsafe fn recomputed(tree: *const pg_sys::Node) -> Vec<String> {
    // SAFETY: the tag says which struct the node is; the commands of an ALTER TABLE are a list of AlterTableCmd, and
    // those looked at have a column's name.
    unsafe {
        if (*tree).type_ != NodeTag::T_AlterTableStmt {
            return Vec::new();
        }
        let commands = (*tree.cast::<pg_sys::AlterTableStmt>()).cmds;
        let count = commands.as_ref().map_or(0, |list| list.length);
        let commands = (0..count).map(|index| &*pg_sys::list_nth(commands, index).cast::<pg_sys::AlterTableCmd>());
        commands
            .filter(|command| computes(command.subtype) && !command.name.is_null())
            .map(|command| CStr::from_ptr(command.name).to_string_lossy().into_owned())
            .collect()
    }
}

fn computes(command: pg_sys::AlterTableType::Type) -> bool {
    use pg_sys::AlterTableType as Kind;
    command == Kind::AT_AlterColumnType || command == Kind::AT_SetExpression
}
