//! The compiler's own time: a join of n tables under an aggregate to its stages, the stages to delta SQL, and the way
//! of a compiled program into the catalog and back, which every cold backend pays.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pgtrickle_engine::delta::{Leaf, Program, Storage};
use pgtrickle_engine::query::rel::ScanColumn;
use pgtrickle_engine::query::{
    AggregateCall, AggregateFunction, Column, DataType, Equality, Fragment, Rel, Scalar, Scan, Volatility,
};
use pgtrickle_engine::sql::{Ident, QualifiedName};
use std::collections::BTreeSet;
use std::hint::black_box;

const TABLES: [usize; 3] = [1, 5, 10];
/// Columns of each table; the first is its key, the second points to the next table.
const WIDTH: usize = 4;

fn integer() -> DataType {
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

fn scan(number: usize) -> Rel {
    let columns = (0..WIDTH).map(|position| ScanColumn {
        attnum: i16::try_from(position).unwrap() + 1,
        name: Ident::new(format!("column_{position}")),
        column: Column { name: format!("column_{position}"), ty: integer(), nullable: position > 0 },
        domain: false,
    });
    Rel::Scan(Scan {
        only: false,
        whole: false,
        relid: relid(number),
        name: QualifiedName::new("public", format!("table_{number}")),
        columns: columns.collect(),
        keys: vec![vec![0]],
    })
}

fn relid(number: usize) -> u32 {
    20_000 + u32::try_from(number).unwrap()
}

/// The expression that puts the columns at `positions` between the pieces of `text`.
fn scalar(text: &[&str], positions: &[usize], ty: DataType) -> Scalar {
    let mut fragments = vec![Fragment::Text(text[0].into())];
    for (position, text) in positions.iter().zip(&text[1..]) {
        fragments.extend([Fragment::Column(*position), Fragment::Text((*text).into())]);
    }
    Scalar { fragments, ty, volatility: Volatility::Immutable, nullable: false, fixed_scale: false }
}

/// `SELECT t0.column_3, count(*), sum(t_last.column_2) FROM t0 JOIN t1 ON … GROUP BY t0.column_3`
fn query(tables: usize) -> Rel {
    let equal = |table| scalar(&["(", " = ", ")"], &[table * WIDTH + 1, (table + 1) * WIDTH], integer());
    let input = if tables == 1 {
        scan(0)
    } else {
        Rel::Join { inputs: (0..tables).map(scan).collect(), predicates: (0..tables - 1).map(equal).collect() }
    };
    let summed = (tables - 1) * WIDTH + 2;
    let count = AggregateCall {
        function: AggregateFunction::CountStar,
        argument: None,
        distinct: false,
        filter: None,
        call: scalar(&["pg_catalog.count(*)"], &[], integer()),
    };
    let sum = AggregateCall {
        function: AggregateFunction::SumInteger,
        argument: Some(Scalar::column(summed, integer(), true)),
        distinct: false,
        filter: None,
        call: scalar(&["pg_catalog.sum(", ")"], &[summed], integer()),
    };
    Rel::Aggregate {
        input: Box::new(input),
        keys: vec![("grp".into(), Scalar::column(3, integer(), true))],
        calls: vec![("n".into(), count), ("total".into(), sum)],
    }
}

fn storage(program: &Program) -> Storage {
    let states = (0..program.stages.len() - 1).map(|stage| QualifiedName::new("pgtrickle_state", format!("s{stage}")));
    Storage { stream_table: QualifiedName::new("public", "stream_table"), states: states.collect() }
}

/// The statements of one refresh in which the first `changed` tables and every inner stage have changes.
fn statements(program: &Program, storage: &Storage, changed: usize) -> usize {
    let stages = (0..program.stages.len() - 1).map(Leaf::Stage);
    let changed: BTreeSet<Leaf> = (0..changed).map(|number| Leaf::Source(relid(number))).chain(stages).collect();
    let texts = (0..program.stages.len()).filter_map(|stage| program.maintain(stage, storage, &changed));
    texts.map(|text| text.len()).sum()
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("program");
    for tables in TABLES {
        let tree = query(tables);
        let program = Program::compile(tree.clone());
        let storage = storage(&program);
        let stored = serde_json::to_string(&program).unwrap();
        group.bench_with_input(BenchmarkId::new("compile", tables), &tree, |bencher, tree| {
            bencher.iter(|| Program::compile(black_box(tree.clone())));
        });
        group.bench_with_input(BenchmarkId::new("sql, one source changed", tables), &program, |bencher, program| {
            bencher.iter(|| statements(black_box(program), &storage, 1));
        });
        group.bench_with_input(BenchmarkId::new("sql, all sources changed", tables), &program, |bencher, program| {
            bencher.iter(|| statements(black_box(program), &storage, tables));
        });
        group.bench_with_input(BenchmarkId::new("load", tables), &stored, |bencher, stored| {
            bencher.iter(|| serde_json::from_str::<Program>(black_box(stored)).unwrap());
        });
    }
    group.finish();
}

criterion_group!(program, benches);
criterion_main!(program);
