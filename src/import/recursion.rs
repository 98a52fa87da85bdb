//! WITH RECURSIVE → Recursive.

use super::select::{Importer, Level};
use super::{setop, unsupported};
use crate::error::{Error, Result};
use crate::pg::nodes::SetNode;
use pgtrickle_engine::query::{Column, Rel};

/// The recursion of the WITH item `name`, whose query `level` is.
pub(super) fn import(importer: &Importer, level: &Level<'_, '_>, name: &str) -> Result<Rel> {
    let Some(SetNode::Operation { name: "UNION", all, left, right, types }) = level.query.set_operations() else {
        return Err(Error::Internal(format!("the recursive WITH item \"{name}\" is no UNION")));
    };
    if level.query.is_ordered() || level.query.has_limit() {
        return Err(refused("ORDER BY or LIMIT", "Which rows there are depends on the order in which they are found."));
    }
    let names: Vec<String> = level.query.targets().into_iter().map(|target| target.name).collect();
    let base = setop::cast(setop::operation(importer, level, &left, &names)?, &types)?;
    let column = |(name, ty): (String, _)| Column { name, ty, nullable: true };
    let columns: Vec<Column> = names.iter().cloned().zip(types.iter().cloned()).map(column).collect();
    importer.recursions.borrow_mut().push((name.into(), columns.clone()));
    let step = setop::operation(importer, level, &right, &names);
    importer.recursions.borrow_mut().pop();
    let step = setop::cast(step?, &types)?;
    Ok(Rel::Recursive { base: Box::new(base), step: Box::new(step), all, columns })
}

/// Fails when the step of some recursion of the tree, of which nothing is correlated any more, does not treat the rows of an
/// iteration one by one.
pub(super) fn check(rel: &Rel) -> Result<()> {
    if let Rel::Recursive { step, .. } = rel {
        if !is_row_by_row(step) {
            let construct = "an aggregate, a window, DISTINCT, LIMIT or a correlated sub-select";
            return Err(refused(construct, "It compares the rows of one iteration."));
        }
        if workings(step) != 1 {
            let construct = "a WITH item that is used twice";
            return Err(refused(
                construct,
                "In one statement a step can read the rows of the iteration before it once.",
            ));
        }
    }
    rel.inputs().into_iter().try_for_each(check)
}

fn refused(construct: &str, reason: &str) -> Error {
    unsupported(format!("{construct} over the rows of a recursion"), reason)
}

/// What the step before yielded.
pub(super) fn working(importer: &Importer, name: &str) -> Result<Rel> {
    let recursions = importer.recursions.borrow();
    match recursions.last() {
        Some((innermost, columns)) if innermost == name => Ok(Rel::Working { columns: columns.clone() }),
        _ => Err(refused("another recursion", "The inner one would be another one at each step of the outer one.")),
    }
}

/// No operator that needs all rows at once stands above [`Rel::Working`].
fn is_row_by_row(rel: &Rel) -> bool {
    let stateful = matches!(
        rel,
        Rel::Aggregate { .. } | Rel::Distinct { .. } | Rel::Window { .. } | Rel::TopK { .. } | Rel::Recursive { .. }
    );
    !(stateful && reads_working(rel)) && rel.inputs().into_iter().all(is_row_by_row)
}

fn reads_working(rel: &Rel) -> bool {
    workings(rel) > 0
}

/// How often what the step before yielded is read; a recursion inside has its own.
fn workings(rel: &Rel) -> usize {
    match rel {
        Rel::Working { .. } => 1,
        Rel::Recursive { base, .. } => workings(base),
        _ => rel.inputs().into_iter().map(workings).sum(),
    }
}
