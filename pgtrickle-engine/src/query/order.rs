//! ORDER BY items and window definitions.

use super::scalar::{Fragment, Scalar};
use crate::sql::{Ident, list};
use serde::{Deserialize, Serialize};

/// An item of an ORDER BY.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SortItem {
    pub value: Scalar,
    /// What follows the value: ``, ` DESC`, ` USING OPERATOR(pg_catalog.~<~) NULLS LAST`.
    pub direction: String,
}

impl SortItem {
    /// The item with its value printed by `value`.
    pub fn render(&self, value: impl FnOnce(&Scalar) -> String) -> String {
        format!("{}{}", value(&self.value), self.direction)
    }
}

/// A window definition without its PARTITION BY.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowDefinition {
    /// What calls name it by after OVER.
    pub name: Ident,
    pub order: Vec<SortItem>,
    /// The frame clause; empty for the default one.
    pub frame: String,
}

impl WindowDefinition {
    pub(crate) fn texts(&self) -> impl Iterator<Item = &Vec<Fragment>> {
        self.order.iter().map(|item| &item.value.fragments)
    }

    pub(crate) fn texts_mut(&mut self) -> impl Iterator<Item = &mut Vec<Fragment>> {
        self.order.iter_mut().map(|item| &mut item.value.fragments)
    }

    /// The ORDER BY and the frame, values printed by `value`; empty without either.
    pub fn ordered(&self, value: impl Fn(&Scalar) -> String) -> String {
        let order = list(self.order.iter().map(|item| item.render(&value)));
        let order = if order.is_empty() { order } else { format!("ORDER BY {order}") };
        let parts = [order, self.frame.clone()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}
