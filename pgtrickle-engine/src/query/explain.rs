//! The tree as indented text, for `explain_st` and golden tests.
