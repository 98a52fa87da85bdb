//! Window functions → one Window operator for each set of expressions that windows partition by.
//!
//! Each operator passes the columns of its input on, so what stands above finds them where they were.

use super::expr::Scope;
use super::from::From;
use super::unsupported;
use crate::error::{Error, Result};
use crate::pg::level::SubLink;
use crate::pg::nodes::{Query, Target};
use crate::pg::windows::{FramePart, Window, Windowed};
use pgtrickle_engine::query::{Fragment, Rel, Scalar, SortItem, WindowDefinition};
use pgtrickle_engine::sql::Ident;

/// `rows` with the results of the window function calls in `targets` and in comparisons with `links`, and these over them.
pub(super) fn import<'a>(
    query: Query<'a>,
    rows: From<'a>,
    targets: Vec<Target<'a>>,
    links: &[SubLink<'a>],
) -> Result<(From<'a>, Vec<Target<'a>>, Vec<SubLink<'a>>)> {
    let From { mut rel, mut scope } = rows;
    let entry = scope.entries() + 1;
    let Windowed { windows, calls, targets, links } = query.windowed(targets, links, entry);
    let mut operators: Vec<(Vec<Scalar>, Vec<&Window<'a>>)> = Vec::new();
    for window in &windows {
        let partition = partition(&scope, window, &targets)?;
        let same = |other: &&mut (Vec<Scalar>, _)| {
            partition.len() == other.0.len() && partition.iter().all(|value| other.0.contains(value))
        };
        match operators.iter_mut().find(same) {
            Some((_, together)) => together.push(window),
            None => operators.push((partition, vec![window])),
        }
    }
    let mut places = Vec::new();
    let mut width = rel.columns().len();
    for (partition, windows) in operators {
        let mut computed = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            if windows.iter().any(|window| window.reference == call.window) {
                computed.push((call.name.clone(), scope.window_call(call.expr, &name(call.window))?));
                places.push((index, width));
                width += 1;
            }
        }
        let windows = windows.into_iter().map(|window| definition(&scope, window, &targets));
        let windows = windows.collect::<Result<_>>()?;
        rel = Rel::Window { input: Box::new(rel), partition, windows, calls: computed };
    }
    scope.append(calls.len());
    for (index, position) in places {
        scope.place((entry, index as i16 + 1), position);
    }
    Ok((From { rel, scope }, targets, links))
}

/// What the calls of the window with this reference name it by.
fn name(reference: u32) -> String {
    format!("w{reference}")
}

/// Values that do not depend on the row divide nothing.
fn partition<'a>(scope: &Scope<'a>, window: &Window<'a>, targets: &[Target<'a>]) -> Result<Vec<Scalar>> {
    let values = window.partition.iter().map(|reference| scope.scalar(find(targets, *reference)?.expr));
    let values = values.collect::<Result<Vec<_>>>()?;
    Ok(values.into_iter().filter(|value| !value.columns().is_empty()).collect())
}

fn definition<'a>(scope: &Scope<'a>, window: &Window<'a>, targets: &[Target<'a>]) -> Result<WindowDefinition> {
    let mut order = Vec::new();
    for sort in &window.order {
        let value = scope.scalar(find(targets, sort.target)?.expr)?;
        order.push(SortItem { value, direction: sort.direction.clone() });
    }
    let mut frame = Vec::new();
    for part in &window.frame {
        frame.push(match part {
            FramePart::Words(words) => (*words).to_string(),
            FramePart::Offset(expr) => constant(&scope.fixed(*expr)?)?,
        });
    }
    Ok(WindowDefinition { name: Ident::new(name(window.reference)), order, frame: frame.join(" ") })
}

/// PostgreSQL lets a frame's offset read columns of an outer query only.
fn constant(offset: &Scalar) -> Result<String> {
    let text = |fragment: &Fragment| match fragment {
        Fragment::Text(text) => Ok(text.clone()),
        _ => Err(unsupported(
            "a window frame that reads an outer row",
            "The frame would be another one for each of them.",
        )),
    };
    offset.fragments.iter().map(text).collect()
}

/// The target that an ORDER BY, PARTITION BY or DISTINCT ON refers to.
pub(super) fn find<'t, 'a>(targets: &'t [Target<'a>], reference: u32) -> Result<&'t Target<'a>> {
    let found = targets.iter().find(|target| target.sort_ref == reference);
    found.ok_or_else(|| Error::Internal(format!("target {reference} is nowhere")))
}
