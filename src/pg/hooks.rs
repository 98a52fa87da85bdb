//! Hooks into statements that concern the background workers.
//!
//! - Statements that need a database without other sessions (DROP DATABASE, CREATE DATABASE from a template, RENAME,
//!   SET TABLESPACE) run under a hold, so that a scheduler never is what stands in their way.
//! - A database that was made, or whose settings were altered, is looked at again.
//! - CREATE and DROP EXTENSION make the launcher look, whatever statement they are part of.
//! - COMMIT PREPARED announces what the prepared transaction wrote.

use std::ffi::{CStr, c_char, c_int, c_void};

use pgrx::{pg_guard, pg_sys};

use super::slots::DatabaseHold;
use super::{commit, shmem};

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

/// What a utility statement means to the workers.
enum Concern {
    None,
    /// Needs this database without a scheduler.
    Vacate(pg_sys::Oid),
    /// Makes a database.
    NewDatabase,
    /// Alters settings that this database's scheduler runs with.
    Settings(pg_sys::Oid),
    CommitPrepared,
}

#[pg_guard]
#[expect(clippy::too_many_arguments, reason = "the hook's signature")]
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
        let concerns = concerns((*statement).utilityStmt);
        // Held until the statement has ended, also by an error, which unwinds through here.
        let _holds: Vec<DatabaseHold> = concerns
            .iter()
            .filter_map(|concern| match concern {
                Concern::Vacate(db) => DatabaseHold::acquire(db.to_u32()),
                _ => None,
            })
            .collect();
        match PREVIOUS_UTILITY {
            Some(previous) => pg_sys::ffi::pg_guard_ffi_boundary(|| {
                previous(statement, text, read_only_tree, context, params, environment, receiver, completion);
            }),
            None => pg_sys::standard_ProcessUtility(
                statement,
                text,
                read_only_tree,
                context,
                params,
                environment,
                receiver,
                completion,
            ),
        }
        for concern in concerns {
            match concern {
                Concern::None | Concern::Vacate(_) => {}
                Concern::NewDatabase => shmem::signal_rescan(None),
                Concern::Settings(db) => commit::settings_changed_at_commit(db.to_u32()),
                Concern::CommitPrepared => shmem::prepared_committed(pg_sys::MyDatabaseId.to_u32()),
            }
        }
    }
}

/// # Safety
/// `node` is a utility statement's parse tree.
unsafe fn concerns(node: *mut pg_sys::Node) -> Vec<Concern> {
    use pg_sys::NodeTag;
    // SAFETY: the tag says which struct the node is.
    unsafe {
        match (*node).type_ {
            NodeTag::T_DropdbStmt => vec![vacate((*node.cast::<pg_sys::DropdbStmt>()).dbname)],
            NodeTag::T_CreatedbStmt => {
                let create = &*node.cast::<pg_sys::CreatedbStmt>();
                let template = option(create.options, c"template").map_or(Concern::None, |name| vacate(name));
                vec![template, Concern::NewDatabase]
            }
            NodeTag::T_RenameStmt => {
                let rename = &*node.cast::<pg_sys::RenameStmt>();
                if rename.renameType == pg_sys::ObjectType::OBJECT_DATABASE {
                    vec![vacate(rename.subname)]
                } else {
                    Vec::new()
                }
            }
            NodeTag::T_AlterDatabaseStmt => {
                let alter = &*node.cast::<pg_sys::AlterDatabaseStmt>();
                option(alter.options, c"tablespace").map_or_else(Vec::new, |_| vec![vacate(alter.dbname)])
            }
            NodeTag::T_AlterDatabaseSetStmt => {
                let name = (*node.cast::<pg_sys::AlterDatabaseSetStmt>()).dbname;
                vec![Concern::Settings(pg_sys::get_database_oid(name, true))]
            }
            NodeTag::T_TransactionStmt => {
                let kind = (*node.cast::<pg_sys::TransactionStmt>()).kind;
                if kind == pg_sys::TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED {
                    vec![Concern::CommitPrepared]
                } else {
                    Vec::new()
                }
            }
            _ => Vec::new(),
        }
    }
}

/// A hold on the database, if the user may do such things to it: nobody ends the scheduler of somebody else's
/// database by a statement that is going to be refused.
///
/// # Safety
/// `name` is NULL or a C string.
unsafe fn vacate(name: *const c_char) -> Concern {
    // SAFETY: a transaction is running, as for every utility statement.
    unsafe {
        if name.is_null() {
            return Concern::None;
        }
        let db = pg_sys::get_database_oid(name, true);
        if db != pg_sys::InvalidOid && pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, db, pg_sys::GetUserId()) {
            Concern::Vacate(db)
        } else {
            Concern::None
        }
    }
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

#[pg_guard]
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
            pg_sys::ffi::pg_guard_ffi_boundary(|| previous(access, class, object, sub, arg));
        }
    }
    if class == pg_sys::ExtensionRelationId
        && matches!(access, pg_sys::ObjectAccessType::OAT_POST_CREATE | pg_sys::ObjectAccessType::OAT_DROP)
    {
        commit::catalog_changed_at_commit();
    }
}
