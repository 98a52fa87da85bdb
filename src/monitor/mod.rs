//! Reports about stream tables; read-only.

pub mod explain;
pub mod health;
