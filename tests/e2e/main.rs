//! Tests of pg_trickle against a real server: one module per behaviour. `scripts/test` runs them.

use pgtrickle_tests::run;

mod bad_input;
mod capture_triggers;
mod catalog_rows;
mod chains;
mod changed_functions;
mod changed_types;
mod complexity;
mod crash;
mod ddl;
mod definitions;
mod documentation;
mod dumps;
mod frontier;
mod full;
mod guard;
mod inspection;
mod large_changes;
mod lifecycle;
mod long_buffers;
mod long_refreshes;
mod many_changes;
mod members;
mod monitoring;
mod one_row;
mod ownership;
mod partitions;
mod plans;
mod polled;
mod races;
mod recovery;
mod renames;
mod rowwise;
mod rowwise_states;
mod scheduler;
mod support_matrix;
mod traps;
mod untold;

fn main() {
    let modules = [
        lifecycle::TESTS,
        bad_input::TESTS,
        ownership::TESTS,
        guard::TESTS,
        monitoring::TESTS,
        inspection::TESTS,
        full::TESTS,
        catalog_rows::TESTS,
        chains::TESTS,
        frontier::TESTS,
        long_buffers::TESTS,
        large_changes::TESTS,
        many_changes::TESTS,
        one_row::TESTS,
        races::TESTS,
        recovery::TESTS,
        ddl::TESTS,
        definitions::TESTS,
        dumps::TESTS,
        changed_functions::TESTS,
        changed_types::TESTS,
        renames::TESTS,
        rowwise::TESTS,
        rowwise_states::TESTS,
        untold::TESTS,
        capture_triggers::TESTS,
        partitions::TESTS,
        members::TESTS,
        plans::TESTS,
        polled::TESTS,
        complexity::TESTS,
        documentation::TESTS,
        support_matrix::TESTS,
        scheduler::TESTS,
        long_refreshes::TESTS,
        crash::TESTS,
    ];
    run(modules.into_iter().chain(traps::MODULES.iter().copied()).flatten().copied());
}
