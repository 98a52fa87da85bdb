//! Reports about stream tables; read-only.

pub mod advice;
pub mod auxiliary;
pub mod explain;
pub mod health;
pub mod indexes;
pub mod validate;
