//! PostgreSQL's analysed query → the engine's tree.
//!
//! [`crate::pg`] has the query parsed, analysed and rewritten by PostgreSQL and gives a safe cursor over the result;
//! the modules here walk it once, one clause each:
//!
//! | module | clause |
//! |---|---|
//! | [`refuse`] | what no refresh mode can maintain |
//! | [`select`] | one SELECT: its clauses put together |
//! | [`from`] | FROM and WHERE → scans and other items |
//! | [`join`] | the items of FROM put together, outer joins |
//! | [`aggregate`] | GROUP BY, HAVING and aggregate calls |
//! | [`grouping_sets`] | GROUPING SETS, ROLLUP, CUBE |
//! | [`recursion`] | WITH RECURSIVE |
//! | [`item`] | functions in FROM, VALUES, SELECT lists that return sets |
//! | [`row`] | whole rows as values |
//! | [`window`] | window functions |
//! | [`target`] | the SELECT list |
//! | [`ordering`] | DISTINCT, ORDER BY, LIMIT |
//! | [`setop`] | UNION, INTERSECT, EXCEPT |
//! | [`link`] | sub-selects in expressions |
//! | [`expr`] | expressions → [`pgtrickle_engine::query::Scalar`] |
//! | [`sources`] | which relations are read, and what kind they are |
//! | [`summary`] | what reports say besides |
//! | [`passes`] | the query after each step of compilation |

mod aggregate;
mod expr;
mod from;
mod grouping_sets;
mod implied;
mod item;
mod join;
mod link;
mod ordering;
mod passes;
mod recursion;
mod refuse;
mod restriction;
mod row;
mod select;
mod setop;
mod sources;
mod summary;
mod target;
mod window;

use crate::error::{Error, Result};
use crate::pg::analyze::{Analysed, with_analysed};
use crate::pg::facts;
use crate::pg::used_type;
use pgtrickle_engine::query::analysis::clock;
use pgtrickle_engine::query::rewrite::decorrelate;
use pgtrickle_engine::query::rewrite::prune::prune;
use pgtrickle_engine::query::{Column, Rel, Volatility};
use std::collections::BTreeSet;

pub use crate::pg::constructs::Construct;
pub use passes::{Pass, passes};
pub use restriction::is_worth_it;
pub use sources::{Source, SourceKind};
pub use summary::{Call, Summary};

/// A defining query, understood.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The query as PostgreSQL prints it: it means the same in every session that runs it under
    /// [`crate::pg::settings::PinnedSettings`].
    pub canonical: String,
    /// Likewise, for [`crate::pg::definition`].
    pub definition: String,
    /// The query's result columns, in order.
    pub outputs: Vec<Column>,
    /// The operator tree; an error that [allows recomputation](Error::allows_recomputation) when only recomputation can maintain the query.
    pub tree: std::result::Result<Rel, Error>,
    /// What it compares with the clock moves one way as time goes on.
    pub moves_one_way: bool,
    /// The result depends on nothing but the rows of tables that can be captured, tree or not.
    pub watchable: bool,
    /// Every relation that the query reads, each once.
    pub sources: Vec<Source>,
    /// `pg_proc.oid` of every function that is not built in.
    pub functions: Vec<u32>,
    /// `pg_type.oid` of every type of which values are read, if these can come to mean something else.
    pub types: Vec<u32>,
    /// What else that is not built in the query names, as class and oid.
    pub objects: Vec<(u32, u32)>,
    /// ORDER BY stands at the end, without LIMIT.
    pub idle_order: bool,
    /// The SELECT list has a `*`.
    pub all_columns: bool,
    pub constructs: BTreeSet<Construct>,
    /// Of the most volatile expression.
    pub volatility: Volatility,
    /// Empty as far as there is no tree.
    pub summary: Summary,
}

/// Analyses `query` as the current user under the session's search_path.
///
/// Syntax errors, unknown names and missing rights are PostgreSQL's own errors; what no refresh mode can maintain is
/// an `Err` here; what only recomputation can maintain is an `Err` in [`Imported::tree`].
pub fn import(query: &str) -> Result<Imported> {
    with_analysed(query, |analysed| {
        refuse::in_every_mode(&analysed)?;
        let mut outputs = target::outputs(analysed.query)?;
        let query = analysed.query;
        let importer = select::Importer::new(&analysed.token);
        let tree = match tree(&analysed, &importer) {
            Ok(rel) => Ok(rel),
            Err(error) if error.allows_recomputation() => Err(error),
            Err(error) => return Err(error),
        };
        if let Ok(rel) = &tree {
            for (output, column) in outputs.iter_mut().zip(rel.columns()) {
                output.nullable = column.nullable;
            }
        }
        let sources = sources::of(&analysed.facts, tree.as_ref().ok());
        let functions = analysed.facts.functions.iter().copied();
        Ok(Imported {
            functions: functions.filter(|function| !facts::function(*function).builtin).collect(),
            types: analysed.facts.types.iter().copied().filter(|ty| used_type::can_change(*ty)).collect(),
            objects: analysed.facts.objects.iter().copied().collect(),
            canonical: analysed.canonical,
            definition: analysed.definition,
            outputs,
            tree,
            moves_one_way: !analysed.facts.clock_wavers,
            watchable: sources::are_watchable(&analysed.facts),
            sources,
            idle_order: query.is_ordered() && !query.has_limit() && !query.is_distinct_on(),
            all_columns: analysed.all_columns,
            constructs: analysed.facts.constructs,
            volatility: analysed.facts.hidden_volatility.unwrap_or(Volatility::Immutable),
            summary: importer.summary.into_inner(),
        })
    })
}

/// The operator tree with its scans narrowed to what the query uses.
fn tree(analysed: &Analysed<'_>, importer: &select::Importer) -> Result<Rel> {
    refuse::in_differential_mode(&analysed.facts)?;
    let rel = prune(decorrelated(importer.query(analysed.query)?)?);
    sources::check_direct_reads(&rel)?;
    recursion::check(&rel)?;
    if !clock::is_followed(&rel) {
        let reason = "Matches would come and go with the clock alone.";
        return Err(unsupported("now() and its kin between a row and its matches", reason));
    }
    refuse::unmaintainable(&rel)?;
    Ok(rel)
}

fn decorrelated(rel: Rel) -> Result<Rel> {
    decorrelate::apply(rel).map_err(|stuck| match stuck {
        decorrelate::TOO_LARGE => Error::TooLarge(format!("{}: {}", stuck.construct, stuck.reason)),
        _ => unsupported(stuck.construct, stuck.reason),
    })
}

/// The refusal of a construct that only recomputation can maintain.
fn unsupported(construct: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Unsupported { construct: construct.into(), reason: reason.into() }
}
