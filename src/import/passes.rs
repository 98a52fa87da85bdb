//! The query after each step of compilation, for `explain_query_rewrite`.

use super::{decorrelated, is_worth_it, refuse, select};
use crate::error::Result;
use crate::pg::analyze::{Analysed, with_analysed};
use pgtrickle_engine::delta::stage;
use pgtrickle_engine::query::Rel;
use pgtrickle_engine::query::explain::tree;
use pgtrickle_engine::query::rewrite::{PASSES, prune::prune, restrict};

/// A step of compilation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    pub name: &'static str,
    /// What the query has become, where the step changed it: SQL, and from `operator_tree` on the tree as text.
    pub after: Option<String>,
}

/// The steps in their order. A query without a delta ends with the last step that it passes.
///
/// # Errors
/// As [`super::import`].
pub fn passes(query: &str) -> Result<Vec<Pass>> {
    with_analysed(query, |analysed| {
        refuse::in_every_mode(&analysed)?;
        let inlined = (analysed.expanded != analysed.canonical).then(|| analysed.expanded.clone());
        let mut passes = vec![Pass { name: "view_inlining", after: inlined }];
        match after_import(&analysed, &mut passes) {
            Err(error) if !error.allows_recomputation() => Err(error),
            _ => Ok(passes),
        }
    })
}

fn after_import(analysed: &Analysed<'_>, passes: &mut Vec<Pass>) -> Result<()> {
    refuse::in_differential_mode(&analysed.facts)?;
    let mut rel = select::Importer::new(&analysed.token).query(analysed.query)?;
    passes.push(Pass { name: "operator_tree", after: Some(tree(&rel)) });
    rel = step(passes, "decorrelation", rel, decorrelated)?;
    rel = step(passes, "column_pruning", rel, |rel| Ok(prune(rel)))?;
    for (name, pass) in PASSES {
        rel = step(passes, name, rel, |rel| Ok(pass(rel)))?;
    }
    rel = step(passes, "group_restriction", rel, |rel| Ok(restrict::apply(rel, &is_worth_it)))?;
    let (stages, _) = stage::cut(rel);
    let shown = stages.iter().enumerate().map(|(i, stage)| format!("Stage {i}\n{}", stage.explain()));
    passes.push(Pass { name: "staging", after: (stages.len() > 1).then(|| shown.collect()) });
    Ok(())
}

fn step(passes: &mut Vec<Pass>, name: &'static str, rel: Rel, pass: impl FnOnce(Rel) -> Result<Rel>) -> Result<Rel> {
    let before = rel.clone();
    let rel = pass(rel)?;
    passes.push(Pass { name, after: (rel != before).then(|| tree(&rel)) });
    Ok(rel)
}
