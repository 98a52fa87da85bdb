//! The relational tree of a defining query: [`rel`] its operators, [`scalar`] its expressions, [`column`] the types;
//! [`analysis`] bottom-up facts, [`rewrite`] tree-to-tree passes, [`explain`] the tree as text.

pub mod analysis;
pub mod column;
pub mod explain;
pub mod order;
mod outer;
pub mod rel;
pub mod rewrite;
pub mod scalar;
pub mod set_operation;
#[cfg(test)]
pub(crate) mod testing;

pub use column::{Column, DataType, Equality};
pub use order::{SortItem, WindowDefinition};
pub use rel::{AggregateCall, AggregateFunction, Item, Rel, Scan};
pub use scalar::{Fragment, Scalar, Volatility};
