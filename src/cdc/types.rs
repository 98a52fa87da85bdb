//! What a change of a type means for the stream tables that read values of it.
//!
//! Values that are stored stay as they are and mean something else: an enum's label is looked up when it is printed, and
//! the fields of a composite value are those that its type has then. Buffers hold values like those of their tables, so what was
//! captured before the change reads as the table does.
//!
//! An index on rows with such values was built by what they were before. Tables of inner results are emptied, since the next
//! refresh fills them, and every such table gets its indexes anew.

use crate::catalog;
use crate::error::Result;
use crate::pg::commit::catalog_changed_at_commit;
use crate::pg::object;
use crate::pg::security::RunAs;
use crate::pg::used_type;
use crate::pg::utility::run;

/// A label of the enum has another name now: who reads values of the type recomputes.
///
/// # Errors
/// As the catalog's.
pub fn label_renamed(ty: u32) -> Result<()> {
    let (_, users) = affected(ty)?;
    recompute(&users);
    Ok(())
}

/// The rows of the relation, or of the composite type that it describes, have other columns: who reads them as values, or values
/// that hold such rows, recomputes.
///
/// # Errors
/// As the catalog's.
pub fn rows_changed(relation: u32) -> Result<()> {
    let Some(ty) = used_type::of_rows(relation) else { return Ok(()) };
    let (types, users) = affected(ty)?;
    recompute(&users);
    let _elevated = RunAs::extension();
    for (stored, shown) in catalog::stored_with(&users, &types)? {
        let Some(name) = object::name(stored) else { continue };
        if !shown {
            run(&format!("DELETE FROM {name}"));
        }
        run(&format!("REINDEX TABLE {name}"));
    }
    Ok(())
}

/// The stream tables that read rows of the relation as values, or values that hold such rows.
pub(super) fn readers_of_rows(relation: u32) -> Result<Vec<i64>> {
    match used_type::of_rows(relation) {
        Some(ty) => Ok(affected(ty)?.1),
        None => Ok(Vec::new()),
    }
}

/// The type may have another name, or be in another schema: the queries that read its values may say so.
///
/// # Errors
/// As the catalog's.
pub fn type_altered(ty: u32) -> Result<()> {
    let users = catalog::users_of_types(&catalog::containers_of(ty)?)?;
    if !users.is_empty() {
        catalog::look_again(&users);
    }
    Ok(())
}

/// A configuration or a dictionary of text search was altered. They use one another, so all that search by any recompute.
///
/// # Errors
/// As the catalog's.
pub fn text_search_changed() -> Result<()> {
    used_type::await_text_searchers();
    recompute(&catalog::text_searchers()?);
    Ok(())
}

/// The types whose values are others when those of `ty` are, and who reads them. Waits for creations.
fn affected(ty: u32) -> Result<(Vec<u32>, Vec<i64>)> {
    let mut types = catalog::containers_of(ty)?;
    types.sort_unstable();
    types.iter().for_each(|ty| used_type::await_creations(*ty));
    let users = catalog::users_of_types(&types)?;
    Ok((types, users))
}

fn recompute(users: &[i64]) {
    if !users.is_empty() {
        catalog::retype(users);
        catalog_changed_at_commit();
    }
}
