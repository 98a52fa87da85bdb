//! The algebra of pg_trickle, free of PostgreSQL's process: everything here is a pure function of its arguments.
//!
//! A defining query arrives as a [`query::Rel`], a tree of relational operators whose scalar expressions are text
//! with holes for columns. [`delta::Program::compile`] cuts it into stages and writes, for each stage and each set of
//! changed inputs, the SQL statement that brings the stage's stored result up to date.
//!
//! | module | what it knows |
//! |---|---|
//! | [`sql`] | SQL text that cannot be misquoted |
//! | [`query`] | the tree, facts about it (`analysis`), changes of it (`rewrite`) |
//! | [`delta`] | Z-sets, stages and the delta rule of each operator |
//! | [`frontier`] | which changes a stream table's contents already hold |
//! | [`dag`] | which stream table reads which, schedules and due times |
//! | [`policy`] | choices: full or differential, how long to back off |

pub mod dag;
pub mod delta;
pub mod frontier;
pub mod policy;
pub mod query;
pub mod sql;
