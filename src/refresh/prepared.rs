//! A stream table's compiled query as this backend holds it: names resolved, statements planned.
//!
//! Statements are kept per (stage, set of changed leaves, sizes): a plan that is right for one changed row is wrong for a
//! million, and one that was made over empty tables is wrong when they have been filled, statistics or not. So a statement
//! is planned anew when the delta, or what it meets, leaves its size class. The cache holds the most recently
//! used stream tables; relations that change invalidate plans in the server's own plan cache.

use super::create::compile;
use super::names::{bind, polled, rebind, storage};
use super::novel;
use super::reads::Reads;
use crate::catalog::{self, CalledFunction, StreamTable};
use crate::error::{Error, Result};
use crate::import::import;
use crate::pg::definition;
use crate::pg::estimates::Origin;
use crate::pg::executor::{Named, Param, Statement};
use crate::pg::facts;
use crate::pg::function;
use crate::pg::invalidations;
use crate::pg::object;
use crate::pg::rowwise::{self, Told};
use crate::pg::security::RunAs;
use crate::pg::settings::{PinnedSettings, QuerySettings, WarmPages};
use crate::pg::tuplestore::TupleStore;
use pgtrickle_engine::delta::{Expected, Extent, Identity, Leaf, Polled, Program, Storage};
use pgtrickle_engine::query::Volatility;
use pgtrickle_engine::sql::QualifiedName;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// The name of a change of the stream table in the statement that applies it.
pub(super) const CHANGE: &str = "d_change";

/// The name of a stage's content that was computed before it is stored.
pub(super) const CONTENT: &str = "d_content";

/// Looking up is preferred up to so many times the cost of joining. For the planner each probe is an access to several pages as dear as a page of a
/// table that is read through, which is far too much for pages in memory.
const DEAREST_PROBES: f64 = 16.0;

/// Stream tables whose statements a backend keeps; a scheduler's working set, at some 100 kB each.
const CAPACITY: usize = 256;

/// What a plan depends on besides the leaves that changed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Extents {
    /// Consolidated changes have fewer columns than those as read.
    pub consolidated: bool,
    pub delta_size: u32,
    pub stored_size: u32,
    /// The sources of which the changed rows are [`Novel`](super::novel::Novel).
    pub novel: BTreeSet<u32>,
}

/// What to run.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Take out of a source's changes what cancels.
    Consolidate { source: u32, delta_size: u32 },
    /// Of consolidated changes take those that may change something, where some cannot.
    Want { source: u32, delta_size: u32 },
    /// Apply the changes of these leaves to the stage.
    Maintain { stage: usize, changed: BTreeSet<Leaf>, input: Extents },
    /// Find out whether the changes of these leaves reach the state of an inner stage, where that can be told soon.
    Reach { stage: usize, changed: BTreeSet<Leaf>, input: Extents },
    /// Find out what they change in it.
    Find { stage: usize, changed: BTreeSet<Leaf>, input: Extents },
    /// Find out how its state differs from what it should be, whatever changed.
    Renew { stage: usize, stored_size: u32 },
    /// Compute the change of the stream table after those of these leaves.
    Change { changed: BTreeSet<Leaf>, input: Extents },
    /// Apply such a change.
    Apply { delta_size: u32, stored_size: u32 },
    /// Compute the content of the stage.
    Content { stage: usize, stored_size: u32 },
    /// Fill the stage, which is empty, with what was computed and is of this size class, or compute it.
    Fill { stage: usize, computed: Option<u32> },
    /// Empty the state of an inner stage.
    Clear { stage: usize },
    /// Compare a polled source with its snapshot.
    Look { source: u32, stored_size: u32 },
    /// Apply the difference to the snapshot.
    Keep { source: u32, delta_size: u32, stored_size: u32 },
    /// Make the stream table equal to the last stage's content, which was computed or is now.
    Recompute { computed: Option<u32>, stored_size: u32 },
    /// Look whether the clock alone will change the contents.
    Flip { stored_size: u32 },
}

/// A loaded program with its statements.
pub struct Prepared {
    pub program: Program,
    pub reads: Reads,
    /// The defining query, as it printed when the program was loaded.
    pub query: String,
    /// What its statements run under.
    pub settings: QuerySettings,
    /// The wording of the query, until that is stored as it is now.
    unsaved: RefCell<Option<String>>,
    /// Whether the owner may run the query was looked at.
    may_run: Cell<bool>,
    pub storage: Storage,
    /// The sources of which the scans read snapshots.
    pub polled: Vec<Polled>,
    /// The sources that have a key of one column, and what it is called in their changes; none where no join is.
    pub keys: Vec<(u32, String)>,
    relid: u32,
    states: Vec<u32>,
    functions: Vec<Function>,
    types_version: i32,
    statements: RefCell<HashMap<Step, Rc<Statement>>>,
    /// What [`invalidations::count`] was when the names were looked at last.
    looked_at: Cell<Option<u64>>,
}

/// A function that the statements call, as it was when they were made: a plan may hold a value that it gave.
struct Function {
    called: CalledFunction,
    version: Option<function::Version>,
    name: Option<QualifiedName>,
}

thread_local! {
    static CACHE: RefCell<Vec<(i64, Rc<Prepared>)>> = const { RefCell::new(Vec::new()) };
}

/// The prepared program of `table`, from the cache while every name in it still stands for the same relation.
pub fn load(table: &StreamTable) -> Result<Rc<Prepared>> {
    let cached = CACHE.with_borrow_mut(|cache| {
        let found = cache.iter().position(|(id, prepared)| *id == table.id && prepared.relid == table.relid)?;
        let entry = cache.remove(found);
        let prepared = entry.1.clone();
        cache.push(entry);
        Some(prepared)
    });
    if let Some(prepared) = cached
        && prepared.is_current(table)?
    {
        return Ok(prepared);
    }
    let prepared = Rc::new(Prepared::read(table)?);
    CACHE.with_borrow_mut(|cache| {
        cache.retain(|(id, _)| *id != table.id);
        if cache.len() == CAPACITY {
            cache.remove(0);
        }
        cache.push((table.id, prepared.clone()));
    });
    Ok(prepared)
}

/// The query of `table`, compiled, as it prints now, and its wording if what is stored says otherwise.
///
/// # Errors
/// `Refused` (0A000) when what is stored does not fit the query any more.
fn compiled(table: &StreamTable, known: &catalog::Definition, json: &str) -> Result<(Program, String, Option<String>)> {
    let program: Program = serde_json::from_str(json)
        .map_err(|error| Error::Internal(format!("the program of {} does not parse: {error}", table.name)))?;
    let (query, wording) = (definition::sql(&known.analysed)?, definition::wording(&known.analysed)?);
    let recomputed = table.refusal.is_some();
    if wording == known.wording && (!recomputed || query == known.printed) {
        let unsaved = (query != known.printed).then_some(wording);
        return Ok((program, query, unsaved));
    }
    let owner = object::owner(table.relid).ok_or_else(|| Error::NotFound(table.shown()))?;
    let anew = {
        let _rights = RunAs::owner(owner);
        let _settings = PinnedSettings::new();
        compile(&import(&query)?, recomputed, Some(&program))
    };
    match anew.is_stored_alike(&program) {
        true => Ok((anew, query, Some(wording))),
        false => Err(Error::Refused {
            construct: "the query as it is understood now".into(),
            reason: format!("What it names was altered after stream table {} was created.", table.shown()),
            hint: "Undo that, or drop the stream table and create it again.".into(),
        }),
    }
}

impl Prepared {
    fn read(table: &StreamTable) -> Result<Prepared> {
        let (json, states) = catalog::program(table.id)?;
        let known = catalog::definition(table.id)?;
        let (mut program, query, unsaved) = compiled(table, &known, &json)?;
        let mut failure = None;
        program.for_each_scan(|scan| {
            if let Err(error) = rebind(scan) {
                failure.get_or_insert(error);
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
        let polled = polled(&program, table.id)?;
        program.for_each_scan(|scan| bind(scan, &polled));
        let storage = storage(table.relid, &states)?;
        let functions = catalog::functions_of(table.relid)?.into_iter();
        let functions: Vec<Function> = functions
            .map(|called| Function { called, version: function::version(called.oid), name: function::name(called.oid) })
            .collect();
        let (relid, types_version) = (table.relid, table.types_version);
        let reads = Reads::of(&program);
        let keys = if reads.sources.len() > 1 { novel::single_keys(&program) } else { Vec::new() };
        Ok(Prepared {
            program,
            reads,
            query,
            settings: known.settings,
            unsaved: RefCell::new(unsaved),
            may_run: Cell::new(false),
            storage,
            polled,
            keys,
            relid,
            states,
            functions,
            types_version,
            statements: RefCell::default(),
            looked_at: Cell::default(),
        })
    }

    /// Whether the names in the statements are still those of the relations and columns that they were made for, and the
    /// functions and types what they were.
    fn is_current(&self, table: &StreamTable) -> Result<bool> {
        if self.types_version != table.types_version || self.is_reworded(table)? {
            return Ok(false);
        }
        let count = invalidations::count();
        if self.looked_at.get() == Some(count) {
            return Ok(true);
        }
        let bound = |scan: &pgtrickle_engine::query::Scan| {
            let mut now = scan.clone();
            if let Some(polled) = self.polled(scan.relid) {
                polled.unbind(&mut now);
            }
            rebind(&mut now)?;
            let followed = self.polled(scan.relid).is_none_or(|polled| {
                polled.source == now.name && now.columns.iter().all(|c| polled.columns.get(&c.attnum) == Some(c))
            });
            bind(&mut now, &self.polled);
            Ok::<bool, Error>(followed && now == *scan)
        };
        for scan in self.program.stages.iter().flat_map(|stage| stage.body.scans()) {
            if !bound(scan)? {
                return Ok(false);
            }
        }
        let same = |known: &Function| {
            function::version(known.called.oid) == known.version && function::name(known.called.oid) == known.name
        };
        let current = self.functions.iter().all(same) && storage(table.relid, &self.states)? == self.storage;
        self.looked_at.set(current.then_some(count));
        Ok(current)
    }

    /// A program that is the query itself names relations and columns.
    fn is_reworded(&self, table: &StreamTable) -> Result<bool> {
        Ok(table.refusal.is_some() && definition::sql(&catalog::definition(table.id)?.analysed)? != self.query)
    }

    /// Whether the current user, the owner of the stream table, may still run the query, and the functions that it calls may still be
    /// called: at its creation none was VOLATILE, and none STABLE if the query has a delta.
    ///
    /// # Errors
    /// `Refused` (0A000) when one was declared otherwise since, and as for creation without the rights.
    pub fn check(&self, table: &StreamTable) -> Result<()> {
        if !self.may_run.get() {
            definition::check_rights(&catalog::definition(table.id)?.analysed)?;
            self.may_run.set(true);
        }
        for known in self.functions.iter().filter(|known| known.called.direct) {
            let function = facts::function(known.called.oid);
            let word = match function.volatility {
                Volatility::Volatile => "VOLATILE",
                Volatility::Stable if table.refusal.is_none() => "STABLE",
                _ => continue,
            };
            return Err(Error::Refused {
                construct: format!("the function {}", function.name),
                reason: format!("It was declared {word} after stream table {} was created.", table.shown()),
                hint: "Declare it as it was if it still is that, or drop the stream table and create it again.".into(),
            });
        }
        Ok(())
    }

    /// Stores the query as it prints now, and what was compiled from it, when that is not what is stored.
    pub fn keep(&self, table: &StreamTable) -> Result<()> {
        let Some(wording) = self.unsaved.take() else { return Ok(()) };
        let mut program = self.program.clone();
        program.for_each_scan(|scan| {
            if let Some(polled) = self.polled(scan.relid) {
                polled.unbind(scan);
            }
        });
        let json = serde_json::to_string(&program).map_err(|error| Error::Internal(error.to_string()))?;
        catalog::save_program(table.id, &self.query, &json, &wording);
        Ok(())
    }

    /// The statement of `step`, prepared at its first use. `relations` are the changes that it reads.
    pub fn statement(&self, step: Step, relations: &[Named]) -> Rc<Statement> {
        self.statement_with(step, &[], relations)
    }

    /// Likewise, of a statement with parameters: the clock at which the contents were right, when it is a leaf.
    pub fn statement_with(&self, step: Step, parameters: &[Param], relations: &[Named]) -> Rc<Statement> {
        if let Some(statement) = self.statements.borrow().get(&step) {
            return statement.clone();
        }
        let statement = Rc::new(self.prepare(&step, parameters, relations));
        self.statements.borrow_mut().insert(step, statement.clone());
        statement
    }

    /// What finds the change after many changes may look each of them up or join them, and the planner, who knows the indexes, is
    /// asked which takes less.
    fn prepare(&self, step: &Step, parameters: &[Param], relations: &[Named]) -> Statement {
        let known: RefCell<HashMap<String, f64>> = RefCell::default();
        let rows = |query: &str| {
            let planned = || Statement::prepare(query, parameters, relations).rows(relations);
            *known.borrow_mut().entry(query.into()).or_insert_with(planned)
        };
        let expected = |extent: Extent| Expected { extent, rows: Some(&rows) };
        let text = self.text(step, expected(Extent::Many));
        let statement = Statement::prepare(&text, parameters, relations);
        let probing = match step {
            Step::Find { input, .. } | Step::Reach { input, .. } | Step::Change { input, .. }
                if input.delta_size > 0 =>
            {
                self.text(step, expected(Extent::Probing))
            }
            _ => return statement,
        };
        if probing == text {
            return statement;
        }
        let other = Statement::prepare(&probing, parameters, relations);
        if other.cost(relations) < DEAREST_PROBES * statement.cost(relations) { other } else { statement }
    }

    /// What the planner thinks of renewing the state of `stage`.
    pub fn cost_of_renewal(&self, stage: usize) -> f64 {
        let _warm = WarmPages::new();
        self.statement(Step::Renew { stage, stored_size: self.stored_size() }, &[]).cost(&[])
    }

    /// The size class of everything that the statements read or write: it changes when a relation grows or shrinks by a
    /// factor of four.
    pub fn stored_size(&self) -> u32 {
        let captured = |source: &u32| self.polled(*source).is_none();
        let sources = self.reads.sources.iter().copied().filter(captured).chain(self.snapshots());
        let relations = sources.chain(self.states.iter().copied()).chain([self.relid]);
        relations.map(|relid| object::blocks(relid).checked_ilog(4).map_or(0, |class| class + 1)).sum()
    }

    /// The change of `leaf` as statements read it.
    pub fn named<'a>(&self, leaf: Leaf, store: &'a TupleStore) -> Named<'a> {
        let of = match leaf {
            Leaf::Source(relid) => Some(Origin::Source(relid)),
            Leaf::Stage(stage) => self.states.get(stage).map(|state| Origin::Stage(*state)),
            Leaf::Clock => None,
        };
        Named { name: leaf.delta_name(), store, of }
    }

    /// The stream table, open for changes row by row, if it can be changed so.
    pub fn rowwise(&self) -> Option<rowwise::Table> {
        rowwise::Table::open(self.relid, &self.reads.outputs)
    }

    /// How its rows are told apart.
    pub fn told(&self) -> Told<'_> {
        match &self.program.identity {
            Identity::Key(key) => Told::Key(key),
            Identity::Bag => Told::Image,
        }
    }

    /// Likewise the state of an inner stage.
    pub fn rowwise_state(&self, stage: usize) -> Option<rowwise::Table> {
        rowwise::Table::open_state(self.states[stage], &self.reads.states[stage])
    }

    /// The polled source with this oid.
    pub fn polled(&self, source: u32) -> Option<&Polled> {
        self.polled.iter().find(|polled| polled.relid == source)
    }

    fn known(&self, source: u32) -> &Polled {
        self.polled(source).unwrap_or_else(|| unreachable!("only polled sources are looked at"))
    }

    /// The tables that hold what polled sources were.
    fn snapshots(&self) -> impl Iterator<Item = u32> {
        self.polled.iter().filter_map(|polled| object::oid(&polled.snapshot))
    }

    fn content(&self, stage: usize, computed: bool) -> String {
        if computed { format!("SELECT * FROM {CONTENT}") } else { self.program.content(stage, &self.storage) }
    }

    /// The text of a step; of one that finds a change, for so many changes where they are not very few.
    fn text(&self, step: &Step, many: Expected) -> String {
        let extent = |delta_size: u32| match delta_size {
            0 => Expected { extent: Extent::Few, ..many },
            _ => many,
        };
        match step {
            Step::Consolidate { source, .. } => self.program.consolidated(*source),
            Step::Want { source, .. } => self
                .program
                .wanted_rows(*source)
                .unwrap_or_else(|| unreachable!("only programs that cannot use every row are asked")),
            Step::Maintain { stage, changed, .. } => self
                .program
                .maintain(*stage, &self.storage, changed, Expected { extent: Extent::Many, ..many })
                .unwrap_or_else(|| unreachable!("a stage is maintained only when one of its leaves changed")),
            Step::Find { stage, changed, input } => self
                .program
                .find(*stage, &self.storage, changed, extent(input.delta_size))
                .unwrap_or_else(|| unreachable!("a stage is looked at only when one of its leaves changed")),
            Step::Reach { stage, changed, input } => self
                .program
                .reached(*stage, &self.storage, changed, extent(input.delta_size))
                .unwrap_or_else(|| unreachable!("only stages that can tell are asked")),
            Step::Change { changed, input } => self
                .program
                .change(&self.storage, changed, extent(input.delta_size))
                .unwrap_or_else(|| unreachable!("the stream table changes only when a leaf did")),
            Step::Renew { stage, .. } => self
                .program
                .renewal(*stage, &self.storage)
                .unwrap_or_else(|| unreachable!("only stages that can be renewed are")),
            Step::Apply { .. } => self.program.apply(&format!("SELECT * FROM {CHANGE}"), &self.storage),
            Step::Content { stage, .. } => self.program.content(*stage, &self.storage),
            Step::Fill { stage, computed } => {
                self.program.fill(*stage, &self.content(*stage, computed.is_some()), &self.storage)
            }
            Step::Clear { stage } => format!("DELETE FROM {}", self.storage.states[*stage]),
            Step::Look { source, .. } => self.known(*source).difference(),
            Step::Keep { source, .. } => self.known(*source).apply(),
            Step::Recompute { computed, .. } => {
                self.program.recompute(&self.content(self.program.stages.len() - 1, computed.is_some()), &self.storage)
            }
            Step::Flip { .. } => self
                .program
                .flips(&self.storage)
                .unwrap_or_else(|| unreachable!("only programs that can tell are asked")),
        }
    }
}

/// Deltas within a factor of 32 share a plan.
pub(super) fn size_class(rows: u64) -> u32 {
    (u64::BITS - rows.leading_zeros()) / 5
}

/// Drops what the backend holds of the stream table `id`.
pub(super) fn forget(id: i64) {
    CACHE.with_borrow_mut(|cache| cache.retain(|(cached, _)| *cached != id));
}
