//! The compiler's work in instructions, which are the same on every run: what `program` measures as time.
//! `scripts/bench --check` compares them with what is expected.

mod fixture;

use fixture::{query, statements, storage};
use gungraun::{library_benchmark, library_benchmark_group, main};
use pgtrickle_engine::delta::{Program, Storage};
use pgtrickle_engine::query::Rel;
use std::hint::black_box;

/// A compiled program, where it stores, and how many tables it reads.
type Compiled = (Program, Storage, usize);

fn compiled(tables: usize) -> Compiled {
    let program = Program::compile(query(tables));
    let storage = storage(&program);
    (program, storage, tables)
}

fn stored(tables: usize) -> String {
    serde_json::to_string(&compiled(tables).0).unwrap()
}

#[library_benchmark]
#[benches::tables(args = [1, 5, 10], setup = query)]
fn compile(tree: Rel) -> Program {
    Program::compile(black_box(tree))
}

// Here and below what was taken is given back, so that freeing it does not count.
#[library_benchmark]
#[benches::tables(args = [1, 5, 10], setup = compiled)]
fn one_source_changed((program, storage, tables): Compiled) -> (usize, Compiled) {
    (statements(black_box(&program), &storage, 1), (program, storage, tables))
}

#[library_benchmark]
#[benches::tables(args = [1, 5, 10], setup = compiled)]
fn all_sources_changed((program, storage, tables): Compiled) -> (usize, Compiled) {
    (statements(black_box(&program), &storage, tables), (program, storage, tables))
}

#[library_benchmark]
#[benches::tables(args = [1, 5, 10], setup = stored)]
fn load(text: String) -> (Program, String) {
    (serde_json::from_str(black_box(&text)).unwrap(), text)
}

library_benchmark_group!(name = program, benchmarks = [compile, one_source_changed, all_sources_changed, load]);
main!(library_benchmark_groups = program);
