//! The depth of the stack.

use pgrx::pg_sys;

/// Ends a recursion that has come too deep with PostgreSQL's own error (54001), before the stack ends.
pub fn check() {
    // SAFETY: reads the address of a local variable and a setting; its error is turned into a panic by the guard around it.
    unsafe { pg_sys::check_stack_depth() }
}
