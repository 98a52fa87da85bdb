//! Situations that have bitten others, each a test: see `engine.md`, section 10.

use pgtrickle_tests::Test;

mod aggregates;
mod clock;
mod clock_values;
mod cycles;
mod distinct;
mod functions;
mod grouping_sets;
mod groups;
mod images;
mod in_place;
mod join_conditions;
mod joins;
mod keys;
mod laterals;
mod leading;
mod limits;
mod names;
mod outer_joins;
mod reached;
mod recursion;
mod restricted;
mod rows;
mod sets;
mod settings;
mod shapes;
mod stored_rows;
mod sub_selects;
mod substituted;
mod values;
mod windows;
mod writes;
mod xml;

pub(crate) const MODULES: &[&[Test]] = &[
    aggregates::TESTS,
    clock::TESTS,
    clock_values::TESTS,
    cycles::TESTS,
    distinct::TESTS,
    functions::TESTS,
    grouping_sets::TESTS,
    groups::TESTS,
    images::TESTS,
    in_place::TESTS,
    join_conditions::TESTS,
    joins::TESTS,
    keys::TESTS,
    laterals::TESTS,
    leading::TESTS,
    limits::TESTS,
    names::TESTS,
    outer_joins::TESTS,
    reached::TESTS,
    recursion::TESTS,
    restricted::TESTS,
    rows::TESTS,
    sets::TESTS,
    settings::TESTS,
    shapes::TESTS,
    stored_rows::TESTS,
    sub_selects::TESTS,
    substituted::TESTS,
    values::TESTS,
    windows::TESTS,
    writes::TESTS,
    xml::TESTS,
];
