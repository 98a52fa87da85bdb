//! Decisions as pure functions: full or differential, how long to back off.
