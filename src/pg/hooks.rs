//! Hooks into statements that concern the background workers, or that nothing else tells of.
//!
//! - Statements that need a database without other sessions (DROP DATABASE, CREATE DATABASE from a template, RENAME,
//!   SET TABLESPACE) run under a hold, so that a scheduler never is what stands in their way.
//! - A database that was made, or whose settings were altered, is looked at again.
//! - CREATE and DROP EXTENSION make the launcher look, whatever statement they are part of.
//! - Definitions that are changed while `event_triggers` is off are taken for changes of everything.
//! - COMMIT PREPARED announces what the prepared transaction wrote.

use std::ffi::{CStr, c_char, c_int, c_void};

use pgrx::{pg_guard, pg_sys};

use super::{commit, rewrite};

static mut PREVIOUS_UTILITY: pg_sys::ProcessUtility_hook_type = None;
static mut PREVIOUS_ACCESS: pg_sys::object_access_hook_type = None;

/// Installs the hooks; called from `_PG_init` while preloading, since they matter only with background workers.
pub(super) fn install() {
    // SAFETY: single-threaded; the previous hooks are kept and called.
    unsafe {
        PREVIOUS_UTILITY = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
        PREVIOUS_ACCESS = pg_sys::object_access_hook;
        pg_sys::object_access_hook = Some(object_access);
    }
}

// Declared here without the guard that bound functions have, see `process_utility`.
unsafe extern "C-unwind" {
    fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        text: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        receiver: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}

/// Notes what the statement will mean to the workers, then lets it run.
///
/// An ERROR of the statement passes this frame as PostgreSQL threw it, by a jump: turning it into a panic and back
/// would lose its cursor position, its constraint name and its context. So nothing here may need dropping while the
/// statement runs; what has to be undone is undone at the end of the transaction.
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    receiver: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: the arguments are the server's and are passed on unchanged.
    unsafe {
        let untold = note_statement((*statement).utilityStmt);
        let next = PREVIOUS_UTILITY.unwrap_or(standard_ProcessUtility);
        next(statement, text, read_only_tree, context, params, environment, receiver, completion);
        if untold && context != pg_sys::ProcessUtilityContext::PROCESS_UTILITY_SUBCOMMAND {
            take_for_the_worst();
        }
    }
}

/// Event triggers would have been told of the statement that is done, and are off.
#[pg_guard]
unsafe extern "C-unwind" fn take_for_the_worst() {
    // SAFETY: reads a flag of the session; what the statement did becomes visible to what follows.
    unsafe {
        if !pg_sys::creating_extension {
            pg_sys::CommandCounterIncrement();
            rewrite::untold();
        }
    }
}

/// Whether no event trigger will be told of the statement that should be.
///
/// # Safety
/// `node` is a utility statement's parse tree.
#[pg_guard]
unsafe extern "C-unwind" fn note_statement(node: *mut pg_sys::Node) -> bool {
    use pg_sys::NodeTag;
    // SAFETY: the tag says which struct the node is.
    unsafe {
        match (*node).type_ {
            NodeTag::T_DropdbStmt => vacate((*node.cast::<pg_sys::DropdbStmt>()).dbname),
            NodeTag::T_CreatedbStmt => {
                if let Some(template) = option((*node.cast::<pg_sys::CreatedbStmt>()).options, c"template") {
                    vacate(template);
                }
                commit::database_made_at_commit();
            }
            NodeTag::T_RenameStmt => {
                let rename = &*node.cast::<pg_sys::RenameStmt>();
                if rename.renameType == pg_sys::ObjectType::OBJECT_DATABASE {
                    vacate(rename.subname);
                }
            }
            NodeTag::T_AlterDatabaseStmt => {
                let alter = &*node.cast::<pg_sys::AlterDatabaseStmt>();
                if option(alter.options, c"tablespace").is_some() {
                    vacate(alter.dbname);
                }
            }
            NodeTag::T_AlterDatabaseSetStmt => {
                let name = (*node.cast::<pg_sys::AlterDatabaseSetStmt>()).dbname;
                commit::settings_changed_at_commit(pg_sys::get_database_oid(name, true).to_u32());
            }
            NodeTag::T_TransactionStmt => {
                let kind = (*node.cast::<pg_sys::TransactionStmt>()).kind;
                if kind == pg_sys::TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED {
                    commit::prepared_committed_at_commit();
                }
            }
            _ => {}
        }
        !pg_sys::event_triggers && pg_sys::command_tag_event_trigger_ok(pg_sys::CreateCommandTag(node))
    }
}

/// Takes a hold on the database, if the user may do such things to it: nobody ends the scheduler of somebody else's
/// database by a statement that is going to be refused.
///
/// # Safety
/// `name` is NULL or a C string.
unsafe fn vacate(name: *const c_char) {
    // SAFETY: a transaction is running, as for every utility statement.
    let db = unsafe {
        let db = if name.is_null() { pg_sys::InvalidOid } else { pg_sys::get_database_oid(name, true) };
        if db == pg_sys::InvalidOid || !pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, db, pg_sys::GetUserId()) {
            return;
        }
        db
    };
    commit::hold_until_end(db.to_u32());
}

/// The string value of a DefElem; None when absent or not a string.
///
/// # Safety
/// `options` is a list of DefElem.
unsafe fn option(options: *mut pg_sys::List, name: &CStr) -> Option<*const c_char> {
    // SAFETY: a List's elements are `length` cells, each with a pointer to a DefElem.
    unsafe {
        let list = options.as_ref()?;
        (0..usize::try_from(list.length).unwrap_or(0)).find_map(|index| {
            let element = (*list.elements.add(index)).ptr_value.cast::<pg_sys::DefElem>();
            (CStr::from_ptr((*element).defname) == name
                && !(*element).arg.is_null()
                && (*(*element).arg).type_ == pg_sys::NodeTag::T_String)
                .then(|| pg_sys::defGetString(element).cast_const())
        })
    }
}

/// Errors pass it as they pass `process_utility`.
unsafe extern "C-unwind" fn object_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    sub: c_int,
    arg: *mut c_void,
) {
    // SAFETY: the arguments are the server's and are passed on unchanged.
    unsafe {
        if let Some(previous) = PREVIOUS_ACCESS {
            previous(access, class, object, sub, arg);
        }
    }
    if class == pg_sys::ExtensionRelationId
        && matches!(access, pg_sys::ObjectAccessType::OAT_POST_CREATE | pg_sys::ObjectAccessType::OAT_DROP)
    {
        commit::catalog_changed_at_commit();
    }
}
