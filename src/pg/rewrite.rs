//! What an ALTER TABLE does to the contents of a table, beyond what its triggers see.
//!
//! The event trigger `table_rewrite` says why a table is rewritten, not which column makes it so, and no function in SQL
//! tells the subcommands of a statement. The parse tree, which only a function in C is given, does:
//!
//! - `ALTER COLUMN … TYPE` and, for a stored generated column, `ALTER COLUMN … SET EXPRESSION` compute the column anew when
//!   the table is rewritten. Every other reason for a rewrite (the default of a new column, another access method or
//!   persistence) leaves the values that are there as they are.
//! - `SET EXPRESSION` of a virtual generated column gives it other values without touching the table.
//! - `SET UNLOGGED` lets a crash empty the table.
//! - Adding, dropping and renaming columns changes rows as values, and so their text as JSON; renaming the table renames
//!   their type.
//! - Columns, constraints and parents are what a refresh fills a stream table by.
//!
//! A statement on a parent, or on the type of a typed table, names the columns as its descendants do.

use std::ffi::CStr;
use std::sync::OnceLock;

use pgrx::pg_sys::{self, Datum, NodeTag};

use crate::error::{Error, Result};

/// A subcommand of ALTER TABLE that concerns those who read the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// The column is computed anew, if the table is rewritten.
    Type(String),
    /// The generated column has another expression.
    Expression(String),
    Unlogged,
    /// Rows as values have other columns, or another name.
    Row,
    /// The trigger of this name fires no more, or is called otherwise.
    Trigger(String),
    /// The columns of the table, the rows that they may hold, or what becomes of these are another; the action's name. Comes
    /// beside what else the subcommand does.
    Definition(&'static str),
}

/// Who decides what follows. Both are given an altered relation.
#[derive(Clone, Copy, Debug)]
pub struct Handlers {
    /// The relation is about to be rewritten; its catalog entries say already what it will be.
    pub rewritten: fn(relation: u32, &[Alteration]) -> Result<()>,
    /// The statement on the relation is done, whether any subcommand of it is listed here or not.
    pub altered: fn(relation: u32, &[Alteration]) -> Result<()>,
    /// A label of the enum has another name now.
    pub relabelled: fn(ty: u32) -> Result<()>,
    /// The tables are about to be dropped, by their owner.
    pub dropping: fn(relations: &[u32]) -> Result<()>,
    /// The first transaction of DETACH PARTITION CONCURRENTLY on the relation has begun.
    pub detaching: fn(relation: u32) -> Result<()>,
    /// A statement is done that no event trigger was told of.
    pub untold: fn() -> Result<()>,
}

static HANDLERS: OnceLock<Handlers> = OnceLock::new();

/// A statement is done of which event triggers would be told, if they were on.
pub(super) fn untold() {
    handle_with(|handlers| (handlers.untold)());
}

/// Has who decides what follows do it.
pub(super) fn handle_with(decide: impl FnOnce(&Handlers) -> Result<()>) {
    if let Some(handlers) = HANDLERS.get()
        && let Err(error) = decide(handlers)
    {
        error.raise();
    }
}

/// Called from `_PG_init`.
pub fn install(handlers: Handlers) {
    HANDLERS.get_or_init(|| handlers);
}

super::c_function!(pgt_on_table_rewrite => on_table_rewrite);
/// `pgtrickle._on_table_rewrite()`: `table_rewrite`.
unsafe fn on_table_rewrite(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: the callee takes no argument and looks only at the state of the event triggers.
    unsafe {
        let alterations = alterations(called(fcinfo));
        let relation = pg_sys::pg_event_trigger_table_rewrite_oid(fcinfo);
        handle(|handlers| handlers.rewritten, relation.value() as u32, &alterations);
    }
    Datum::from(0)
}

super::c_function!(pgt_on_alter_table => on_alter_table);
/// `pgtrickle._on_alter_table()`: `ddl_command_end`, for ALTER TABLE and ALTER TYPE.
unsafe fn on_alter_table(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: the statement has found its relation under the name in its tree, and holds a lock on it.
    unsafe {
        let tree = called(fcinfo);
        let name = match (*tree).type_ {
            NodeTag::T_AlterTableStmt => (*tree.cast::<pg_sys::AlterTableStmt>()).relation,
            NodeTag::T_RenameStmt => renamed(&*tree.cast()),
            NodeTag::T_AlterEnumStmt => {
                relabelled(&*tree.cast());
                std::ptr::null_mut()
            }
            _ => std::ptr::null_mut(),
        };
        if !name.is_null() {
            let relation = pg_sys::RangeVarGetRelidExtended(
                name,
                pg_sys::NoLock as i32,
                pg_sys::RVROption::RVR_MISSING_OK,
                None,
                std::ptr::null_mut(),
            );
            handle(|handlers| handlers.altered, relation.to_u32(), &alterations(tree));
        }
    }
    Datum::from(0)
}

/// A new value of an enum is in no row yet, and leaves the others in their order.
///
/// # Safety
/// The statement has been run.
unsafe fn relabelled(statement: &pg_sys::AlterEnumStmt) {
    if statement.oldVal.is_null() {
        return;
    }
    // SAFETY: the name of the type.
    let ty = unsafe { super::used_type::named(statement.typeName) };
    handle_with(|handlers| (handlers.relabelled)(ty.to_u32()));
}

/// What the relation that the statement is about is called now.
///
/// # Safety
/// The statement has been run.
unsafe fn renamed(statement: &pg_sys::RenameStmt) -> *mut pg_sys::RangeVar {
    // SAFETY: the name of a table that was renamed is copied before it is changed.
    unsafe {
        if statement.renameType != pg_sys::ObjectType::OBJECT_TABLE {
            return statement.relation;
        }
        let name = pg_sys::copyObjectImpl(statement.relation.cast()).cast::<pg_sys::RangeVar>();
        (*name).relname = statement.newname;
        name
    }
}

type Handler = fn(u32, &[Alteration]) -> Result<()>;

fn handle(which: impl FnOnce(&Handlers) -> Handler, relation: u32, alterations: &[Alteration]) {
    handle_with(|handlers| which(handlers)(relation, alterations));
}

/// The parse tree of the statement; an error when SQL calls the function as a plain one.
///
/// # Safety
/// `fcinfo` is what fmgr passed.
pub(super) unsafe fn called(fcinfo: pg_sys::FunctionCallInfo) -> *const pg_sys::Node {
    // SAFETY: fmgr's context node, when present, is a valid node, and an event trigger's carries the parse tree.
    unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != NodeTag::T_EventTriggerData {
            Error::InvalidArgument {
                message: "the function was not called as an event trigger".into(),
                hint: "It is used by the event triggers of pg_trickle.".into(),
            }
            .raise();
        }
        (*context.cast::<pg_sys::EventTriggerData>()).parsetree
    }
}

/// The subcommands of the statement that matter, if it is an ALTER TABLE or renames something.
///
/// # Safety
/// `tree` is a valid parse tree.
unsafe fn alterations(tree: *const pg_sys::Node) -> Vec<Alteration> {
    // SAFETY: the tag says which struct the node is; the commands of an ALTER TABLE are a list of AlterTableCmd.
    unsafe {
        if (*tree).type_ == NodeTag::T_RenameStmt {
            use pg_sys::ObjectType::{OBJECT_ATTRIBUTE, OBJECT_COLUMN, OBJECT_TABLE, OBJECT_TRIGGER};
            return match (*tree.cast::<pg_sys::RenameStmt>()).renameType {
                OBJECT_COLUMN => vec![Alteration::Row, Alteration::Definition("RENAME COLUMN")],
                OBJECT_ATTRIBUTE | OBJECT_TABLE => vec![Alteration::Row],
                OBJECT_TRIGGER => {
                    let old = (*tree.cast::<pg_sys::RenameStmt>()).subname;
                    vec![Alteration::Trigger(CStr::from_ptr(old).to_string_lossy().into_owned())]
                }
                _ => Vec::new(),
            };
        }
        if (*tree).type_ != NodeTag::T_AlterTableStmt {
            return Vec::new();
        }
        let commands = (*tree.cast::<pg_sys::AlterTableStmt>()).cmds;
        let count = commands.as_ref().map_or(0, |list| list.length);
        let command = |index| &*pg_sys::list_nth(commands, index).cast::<pg_sys::AlterTableCmd>();
        let both = |index| alteration(command(index)).into_iter().chain(definition(command(index)));
        (0..count).flat_map(both).collect()
    }
}

unsafe fn alteration(command: &pg_sys::AlterTableCmd) -> Option<Alteration> {
    use pg_sys::AlterTableType as Kind;
    // SAFETY: the subcommands asked for carry the name of a column, or of a trigger.
    let name = || unsafe { CStr::from_ptr(command.name) }.to_string_lossy().into_owned();
    match command.subtype {
        Kind::AT_AlterColumnType => Some(Alteration::Type(name())),
        Kind::AT_SetExpression => Some(Alteration::Expression(name())),
        Kind::AT_SetUnLogged => Some(Alteration::Unlogged),
        Kind::AT_AddColumn | Kind::AT_DropColumn => Some(Alteration::Row),
        Kind::AT_DisableTrig => Some(Alteration::Trigger(name())),
        _ => None,
    }
}

/// What a materialized view does not allow, but for UNIQUE constraints, which are indexes, and what cannot be done to a stream
/// table anyway.
unsafe fn definition(command: &pg_sys::AlterTableCmd) -> Option<Alteration> {
    use pg_sys::AlterTableType as Kind;
    let action = match command.subtype {
        Kind::AT_AddColumn => "ADD COLUMN",
        Kind::AT_DropColumn => "DROP COLUMN",
        Kind::AT_AlterColumnType => "ALTER COLUMN ... SET DATA TYPE",
        Kind::AT_ColumnDefault => "ALTER COLUMN ... SET DEFAULT",
        Kind::AT_AddIdentity => "ALTER COLUMN ... ADD IDENTITY",
        Kind::AT_SetNotNull => "ALTER COLUMN ... SET NOT NULL",
        // SAFETY: the subcommand carries a constraint.
        Kind::AT_AddConstraint if unsafe { is_unique(command.def) } => return None,
        Kind::AT_AddConstraint => "ADD CONSTRAINT",
        Kind::AT_AddInherit => "INHERIT",
        Kind::AT_AddOf => "OF",
        Kind::AT_SetUnLogged => "SET UNLOGGED",
        Kind::AT_ForceRowSecurity => "FORCE ROW LEVEL SECURITY",
        _ => return None,
    };
    Some(Alteration::Definition(action))
}

/// # Safety
/// `node` is NULL or a valid node.
unsafe fn is_unique(node: *const pg_sys::Node) -> bool {
    // SAFETY: the tag says which struct it is.
    unsafe {
        !node.is_null()
            && (*node).type_ == NodeTag::T_Constraint
            && (*node.cast::<pg_sys::Constraint>()).contype == pg_sys::ConstrType::CONSTR_UNIQUE
    }
}
