//! The compiler's own time: a join of n tables under an aggregate to its stages, the stages to delta SQL, and the way
//! of a compiled program into the catalog and back, which every cold backend pays.

mod fixture;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fixture::{query, statements, storage};
use pgtrickle_engine::delta::Program;
use std::hint::black_box;

const TABLES: [usize; 3] = [1, 5, 10];

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
