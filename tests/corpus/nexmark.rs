//! Nexmark: people, auctions and bids.

use crate::queries::parse;
use crate::{Corpus, Scale};
use pgtrickle_tests::Database;

pub(crate) fn corpus(_: &Scale) -> Corpus {
    let batches = vec![parse(include_str!("nexmark/queries.sql"))];
    Corpus { name: "nexmark", setup, batches, rows: 15, aims: &[("bid", "price > 960")], exact: true }
}

fn setup(db: &mut Database, _: &Scale) {
    db.run(include_str!("nexmark/tables.sql"));
}
