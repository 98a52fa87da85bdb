//! Tables that are about to leave: what has to be done while they still can be read.
//!
//! When the other event triggers are told, a dropped table is gone, and the first of the two transactions of DETACH PARTITION
//! CONCURRENTLY, after which queries do not read the partition any more, has committed.

use pgrx::pg_sys::{self, Datum, NodeTag, Oid};

use super::nodes::items;
use super::rewrite::{called, handle_with};

super::c_function!(pgt_on_ddl_start => on_ddl_start);
/// `pgtrickle._on_ddl_start()`: `ddl_command_start`, for DROP TABLE and ALTER TABLE.
unsafe fn on_ddl_start(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: the tag says which struct the tree is.
    unsafe {
        let tree = called(fcinfo);
        match (*tree).type_ {
            NodeTag::T_DropStmt => {
                let tables = dropped(&*tree.cast());
                if !tables.is_empty() {
                    handle_with(|handlers| (handlers.dropping)(&tables));
                }
            }
            NodeTag::T_AlterTableStmt => {
                let statement = &*tree.cast::<pg_sys::AlterTableStmt>();
                let relation = if detaches(statement) { named(statement.relation) } else { pg_sys::InvalidOid };
                if relation != pg_sys::InvalidOid {
                    handle_with(|handlers| (handlers.detaching)(relation.to_u32()));
                }
            }
            _ => {}
        }
    }
    Datum::from(0)
}

/// The tables that the statement names and the user may drop: nobody has another's table locked, or read, by a statement
/// that is going to be refused.
///
/// # Safety
/// The statement has not been run.
unsafe fn dropped(statement: &pg_sys::DropStmt) -> Vec<u32> {
    if statement.removeType != pg_sys::ObjectType::OBJECT_TABLE {
        return Vec::new();
    }
    // SAFETY: the objects of DROP TABLE are lists of names.
    unsafe {
        let user = pg_sys::GetUserId();
        let named = items::<pg_sys::List>(statement.objects)
            .into_iter()
            .map(|names| named(pg_sys::makeRangeVarFromNameList(names)))
            .filter(|table| *table != pg_sys::InvalidOid);
        named
            .filter(|table| pg_sys::object_ownercheck(pg_sys::RelationRelationId, *table, user))
            .map(Oid::to_u32)
            .collect()
    }
}

/// # Safety
/// The statement is a valid tree.
unsafe fn detaches(statement: &pg_sys::AlterTableStmt) -> bool {
    // SAFETY: the subcommand carries a partition's name.
    unsafe {
        items::<pg_sys::AlterTableCmd>(statement.cmds).into_iter().any(|command| {
            command.subtype == pg_sys::AlterTableType::AT_DetachPartition
                && (*command.def.cast::<pg_sys::PartitionCmd>()).concurrent
        })
    }
}

/// # Safety
/// `name` is a valid node.
unsafe fn named(name: *mut pg_sys::RangeVar) -> Oid {
    // SAFETY: a look-up without a lock.
    unsafe {
        let (lock, option) = (pg_sys::NoLock as i32, pg_sys::RVROption::RVR_MISSING_OK);
        pg_sys::RangeVarGetRelidExtended(name, lock, option, None, std::ptr::null_mut())
    }
}
