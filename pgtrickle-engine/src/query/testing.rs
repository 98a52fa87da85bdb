//! Trees for unit tests.

use super::rel::ScanColumn;
use super::{Column, DataType, Equality, Fragment, Rel, Scalar, Scan, Volatility};
use crate::sql::{Ident, QualifiedName};

pub(crate) fn int4() -> DataType {
    DataType {
        oid: 23,
        typmod: -1,
        collation: 0,
        sql: "integer".into(),
        equality: Equality::Image,
        eq: Some("OPERATOR(pg_catalog.=)".into()),
        btree: true,
        hash: true,
        row: false,
    }
}

pub(crate) fn scan(relid: u32, columns: &[&str], keys: &[&[usize]]) -> Rel {
    let keyed = |position: usize| keys.iter().any(|key| key.contains(&position));
    let columns = columns.iter().enumerate().map(|(position, name)| ScanColumn {
        attnum: position as i16 + 1,
        name: Ident::new(*name),
        column: Column { name: name.to_string(), ty: int4(), nullable: !keyed(position) },
        domain: false,
    });
    Rel::Scan(Scan {
        relid,
        name: QualifiedName::new("public", format!("t{relid}")),
        columns: columns.collect(),
        keys: keys.iter().map(|key| key.to_vec()).collect(),
        only: false,
        whole: false,
    })
}

pub(crate) fn equality(a: usize, b: usize) -> Scalar {
    use Fragment::{Column, Text};
    Scalar {
        fragments: vec![Text("(".into()), Column(a), Text(" = ".into()), Column(b), Text(")".into())],
        ty: DataType { oid: 16, sql: "boolean".into(), ..int4() },
        volatility: Volatility::Immutable,
        nullable: false,
        fixed_scale: false,
    }
}

pub(crate) fn project(input: Rel, positions: &[usize]) -> Rel {
    let below = input.columns();
    let outputs = positions
        .iter()
        .map(|position| {
            let column = &below[*position];
            (column.name.clone(), Scalar::column(*position, column.ty.clone(), column.nullable))
        })
        .collect();
    Rel::Project { input: Box::new(input), outputs }
}
