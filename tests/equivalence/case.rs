//! A random case, wholly determined by its seed.

use crate::generate::{Generator, Relation};
use crate::operators::Operators;
use crate::query::Query;
use crate::schema::Table;
use crate::script::{Script, Step, Stream};
use crate::types::{Column, DEFINITIONS, Random};
use crate::write::Writer;
use pgtrickle_tests::{Comparison, refresh};
use rand::Rng;

const STREAMS: usize = 6;

/// A script with the trees of its queries, which shrinking works on.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) script: Script,
    pub(crate) queries: Vec<Query>,
}

impl Case {
    pub(crate) fn random(seed: u64, operators: &Operators) -> Case {
        let mut random = Random::of(seed);
        let tables: Vec<Table> =
            (0..random.random_range(3..5)).map(|number| Table::random(&mut random, number)).collect();
        let mut setup: Vec<String> = DEFINITIONS.map(String::from).into();
        // The planner knows what there is, and refreshes find it.
        let counted = random.random_bool(0.5);
        for table in &tables {
            setup.push(table.create());
            let conflict = if table.keys > 0 { " ON CONFLICT DO NOTHING" } else { "" };
            setup.push(format!("INSERT INTO {} VALUES {}{conflict}", table.name, table.rows(&mut random, 20)));
            if counted {
                setup.extend(table.indexes());
                setup.push(format!("ANALYZE {}", table.name));
            }
        }
        let mut relations: Vec<Relation> = tables.iter().map(Table::relation).collect();
        let mut copies = Vec::new();
        if random.random_bool(0.25) {
            let table = &tables[random.random_range(0..tables.len())];
            let name = format!("copy_of_{}", table.name);
            setup.push(format!("CREATE MATERIALIZED VIEW {name} AS SELECT * FROM {}", table.name));
            relations.push(Relation { name: name.clone(), ..table.relation() });
            copies.push(name);
        }
        let (mut streams, mut queries) = (Vec::<Stream>::new(), Vec::new());
        for number in 0..STREAMS {
            let depth = random.random_range(2..6);
            let prefix = format!("view{number}_");
            let (random, relations_now) = (&mut random, relations.as_slice());
            let mut generator = Generator {
                random,
                relations: relations_now,
                next: 0,
                prefix,
                operators,
                outer: Vec::new(),
                budget: 4,
            };
            let query = generator.query(depth);
            let stream = stream(format!("s{number}"), &query);
            relations.push(relation(&stream.name, &query));
            streams.push(stream);
            queries.push(query);
        }
        let names: Vec<String> = streams.iter().map(|stream| stream.name.clone()).collect();
        let mut writer = Writer { random: &mut random, tables: &tables, streams: &names, copies: &copies };
        let mut second = false;
        let cycles = (0..4).map(|_| writer.cycle(&mut second)).collect();
        Case { script: Script { setup, streams, cycles }, queries }
    }

    /// The same case with another query for the stream table at `position`.
    pub(crate) fn with_query(&self, position: usize, query: Query) -> Case {
        let mut changed = self.clone();
        let name = changed.script.streams[position].name.clone();
        changed.script.streams[position] = stream(name, &query);
        changed.queries[position] = query;
        changed
    }

    /// The same case without the stream table at `position`.
    pub(crate) fn without_stream(&self, position: usize) -> Case {
        let mut changed = self.clone();
        let refreshing = refresh(&changed.script.streams[position].name);
        changed.script.streams.remove(position);
        changed.queries.remove(position);
        for cycle in &mut changed.script.cycles {
            cycle.retain(|step| *step != Step::Run(refreshing.clone()));
        }
        changed
    }
}

fn stream(name: String, query: &Query) -> Stream {
    let comparison = |column: &Column| if column.exact { Comparison::Text } else { Comparison::Value };
    let columns = query.columns.iter().map(comparison).collect();
    let views = query.views().into_iter().map(|(name, sql)| format!("CREATE VIEW {name} AS {sql}")).collect();
    Stream { name, views, query: query.sql(), columns }
}

/// A stream table as something to read.
fn relation(name: &str, query: &Query) -> Relation {
    Relation { name: name.to_string(), columns: query.columns.clone(), rows: query.rows }
}
