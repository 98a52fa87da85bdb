//! Whole rows as values → one more column.
//!
//! The row of a table, a view or a function of a named type is `ROW(…)` of its columns, cast to that type; any other is an
//! anonymous record, whose fields have the names of the columns. It is computed where the rows are made, so what stands
//! above, an outer join above all, treats it as any other column.
//!
//! Of the row of a table with dropped columns the planner would see that it is made by `ROW(…)`, whose NULLs in the place
//! of those it does not tell from others when it is asked whether the row IS NOT NULL. Into a sub-select it does not look.

use super::from::kept;
use crate::pg::types::is_pseudo;
use pgtrickle_engine::query::{Column, DataType, Fragment, Item, Rel, Scalar};
use pgtrickle_engine::sql::{Ident, list};

/// `rel` with its row, made of `fields` (names and positions), as the last column; `dropped`: its type has dropped columns.
pub(super) fn with(rel: Rel, fields: &[(String, usize)], ty: &DataType, dropped: bool) -> Rel {
    let columns = rel.columns();
    let anonymous = is_pseudo(ty);
    let open = match (anonymous, dropped) {
        (true, _) => "(SELECT r FROM (SELECT ",
        (false, true) => "(SELECT ROW(",
        (false, false) => "(ROW(",
    };
    let mut text = vec![Fragment::Text(open.into())];
    for (number, (name, position)) in fields.iter().enumerate() {
        if number > 0 {
            text.push(Fragment::Text(", ".into()));
        }
        text.push(Fragment::Column(*position));
        if anonymous {
            text.push(Fragment::Text(format!(" AS {}", Ident::new(name))));
        }
    }
    text.push(Fragment::Text(if anonymous { ") AS r)".into() } else { format!(")::{})", ty.sql) }));
    let row = Scalar { fragments: text, ..Scalar::column(0, ty.clone(), true) };
    let outputs = kept(&columns).chain([("row".into(), row)]).collect();
    Rel::Project { input: Box::new(rel), outputs }
}

/// The item with its row as the first column; `names` are those of its columns.
pub(super) fn beside(item: Item, names: &[String], ty: &DataType) -> Item {
    let mut text = vec![Fragment::Text("(SELECT r, r.* FROM ".into())];
    text.extend(item.text);
    // The names of dropped columns are empty, and nobody gives those.
    let names = names.iter().filter(|name| !name.is_empty()).map(Ident::new);
    text.push(Fragment::Text(format!(" AS r({}))", list(names))));
    let row = Column { name: "row".into(), ty: ty.clone(), nullable: true };
    Item { text, columns: [row].into_iter().chain(item.columns).collect(), ..item }
}
