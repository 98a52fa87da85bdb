//! Acting as somebody else for a while.

use pgrx::pg_sys;

use crate::names;

/// The current user is another role until this is dropped. An abort restores the role by itself.
pub struct RunAs {
    user: pg_sys::Oid,
    context: i32,
}

impl RunAs {
    /// Acts as `role` the way REFRESH MATERIALIZED VIEW acts as the owner: what runs may not leave anything behind that
    /// would run later with the caller's rights.
    pub fn owner(role: u32) -> Self {
        Self::switch(pg_sys::Oid::from_u32(role), pg_sys::SECURITY_RESTRICTED_OPERATION as i32)
    }

    /// Acts as the owner of the extension, to make objects that no user owns.
    pub fn extension() -> Self {
        Self::switch(extension_owner(), pg_sys::SECURITY_RESTRICTED_OPERATION as i32)
    }

    fn switch(role: pg_sys::Oid, restriction: i32) -> Self {
        let mut user = pg_sys::InvalidOid;
        let mut context = 0;
        // SAFETY: both are out parameters; the pair is put back on drop.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
            let local = pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
            pg_sys::SetUserIdAndSecContext(role, context | local | restriction);
        }
        RunAs { user, context }
    }
}

impl Drop for RunAs {
    fn drop(&mut self) {
        // SAFETY: what `switch` found.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) }
    }
}

/// The role that owns the extension's schemas if it is a superuser, as it is unless somebody changed it; else the role
/// that initdb made. CREATE EXTENSION needs a superuser, so buffers belong to one.
fn extension_owner() -> pg_sys::Oid {
    // SAFETY: the tuple is a pg_namespace row and is released after its owner was read.
    unsafe {
        let name = std::ffi::CString::new(names::CHANGES_SCHEMA).expect("no NUL in a constant");
        let schema = pg_sys::get_namespace_oid(name.as_ptr(), false);
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::NAMESPACEOID as i32, schema.into());
        let bootstrap = pg_sys::Oid::from_u32(pg_sys::BOOTSTRAP_SUPERUSERID);
        if tuple.is_null() {
            return bootstrap;
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_namespace>()).nspowner;
        pg_sys::ReleaseSysCache(tuple);
        if pg_sys::superuser_arg(owner) { owner } else { bootstrap }
    }
}
