//! Tree-to-tree passes, one per file.
