//! What a change of a type means for the stream tables that read values of it.
//!
//! Values that are stored stay as they are and mean something else: an enum's label is looked up when it is printed, and
//! the fields of a composite value are those that its type has then. Buffers hold values like those of their tables, so what was
//! captured before the change reads as the table does.
//!
//! An index on rows with such values was built by what they were before. Tables of inner results are emptied, since the next
//! refresh fills them, and every such table gets its indexes anew.

use crate::catalog::{self, TypeUser};
use crate::error::{Error, Result};
use crate::pg::commit::catalog_changed_at_commit;
use crate::pg::object;
use crate::pg::security::RunAs;
use crate::pg::used_type;
use crate::pg::utility::run;

/// The label `old` of the enum has another name now: who reads values of the type recomputes.
///
/// # Errors
/// `SourceInUse` (0A000) when a query holds the label as a constant.
pub fn label_renamed(ty: u32, old: &str) -> Result<()> {
    let (_, users) = affected(ty)?;
    let constant = used_type::constant(old, ty);
    if let Some(user) = users.iter().find(|user| user.query.contains(&constant)) {
        return Err(Error::SourceInUse {
            source_name: format!("type {}", used_type::name(ty)),
            reader: user.shown.clone(),
            reason: format!("The query names the label {old:?} that it had."),
        });
    }
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
    let ids = recompute(&users);
    let _elevated = RunAs::extension();
    for (stored, shown) in catalog::stored_with(&ids, &types)? {
        let Some(name) = object::name(stored) else { continue };
        if !shown {
            run(&format!("DELETE FROM {name}"));
        }
        run(&format!("REINDEX TABLE {name}"));
    }
    Ok(())
}

/// The type may have another name, or be in another schema.
///
/// # Errors
/// `SourceInUse` (0A000) when a compiled query names it.
pub fn type_altered(ty: u32) -> Result<()> {
    let users = catalog::users_of_types(&catalog::containers_of(ty)?)?;
    let renamed = |user: &&TypeUser| user.compiled && !user.names.contains(&used_type::name(user.ty));
    match users.iter().find(renamed) {
        None => Ok(()),
        Some(user) => Err(Error::SourceInUse {
            source_name: format!("type {}", used_type::name(ty)),
            reader: user.shown.clone(),
            reason: "The compiled query calls it by the name that it had.".into(),
        }),
    }
}

/// The types whose values are others when those of `ty` are, and who reads them. Waits for creations.
fn affected(ty: u32) -> Result<(Vec<u32>, Vec<TypeUser>)> {
    let mut types = catalog::containers_of(ty)?;
    types.sort_unstable();
    types.iter().for_each(|ty| used_type::await_creations(*ty));
    let users = catalog::users_of_types(&types)?;
    Ok((types, users))
}

fn recompute(users: &[TypeUser]) -> Vec<i64> {
    let mut ids: Vec<i64> = users.iter().map(|user| user.pgt_id).collect();
    ids.sort_unstable();
    ids.dedup();
    if !ids.is_empty() {
        catalog::retype(&ids);
        catalog_changed_at_commit();
    }
    ids
}
