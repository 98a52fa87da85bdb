//! Bottom-up facts about a tree, one per file.

pub mod clock;
pub mod keys;
pub mod scale;
