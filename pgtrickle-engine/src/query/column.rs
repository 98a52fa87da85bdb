//! Columns and the facts about their types that maintenance depends on.

use serde::{Deserialize, Serialize};

/// How a type's default equality relates to the image of its values (`record_image_eq`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Equality {
    /// Equal values have equal images: the default btree operator class says so with its `equalimage` support
    /// function (nbtree `BTEQUALIMAGE_PROC`) and the collation is deterministic. `GROUP BY` is then exact.
    Image,
    /// Values may be equal and differ in image: numeric 1.0 and 1.00, citext, float -0, arrays.
    Coarse,
    /// The type has no equality at all: json, xml, point.
    None,
}

/// A type as a column has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataType {
    pub oid: u32,
    /// -1 when absent.
    pub typmod: i32,
    /// 0 when the type is not collatable.
    pub collation: u32,
    /// `format_type_extended(oid, typmod, TYPEMOD_GIVEN | FORCE_QUALIFY)`: valid SQL under any search_path.
    pub sql: String,
    pub equality: Equality,
    /// The default equality operator as SQL, `OPERATOR(pg_catalog.=)`; `None` without equality.
    pub eq: Option<String>,
    /// There is a default btree operator class.
    pub btree: bool,
    /// There is a default hash operator class with an extended hash function.
    pub hash: bool,
    /// Values are rows, of which IS NULL and IS NOT NULL ask what the fields are.
    #[serde(default)]
    pub row: bool,
}

impl DataType {
    /// That there is no value of the type, as a condition.
    pub fn missing(&self, value: &str) -> String {
        format!("{value} IS {}NULL", if self.row { "NOT DISTINCT FROM " } else { "" })
    }

    /// That there is one.
    pub fn present(&self, value: &str) -> String {
        format!("{value} IS {}NULL", if self.row { "DISTINCT FROM " } else { "NOT " })
    }

    /// `boolean`
    pub fn boolean() -> Self {
        DataType::plain(16, "pg_catalog.bool")
    }

    /// `integer`
    pub fn integer() -> Self {
        DataType::plain(23, "integer")
    }

    /// `bigint`
    pub fn bigint() -> Self {
        DataType::plain(20, "bigint")
    }

    /// A built-in type without modifier and collation whose equal values have equal images.
    fn plain(oid: u32, sql: &str) -> Self {
        DataType {
            oid,
            typmod: -1,
            collation: 0,
            sql: sql.into(),
            equality: Equality::Image,
            eq: Some("OPERATOR(pg_catalog.=)".into()),
            btree: true,
            hash: true,
            row: false,
        }
    }
}

/// A column of a relation: its name as the user sees it, its type, and whether NULL can occur.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub ty: DataType,
    pub nullable: bool,
}
