//! What a query names besides relations, functions and types, and what it reads without naming it.

use pgrx::pg_sys;
use std::collections::BTreeSet;

/// The numbers of the columns that are read by the relation's permission; 0 for the whole row.
///
/// # Safety
/// `permission` belongs to an analysed query.
pub(super) unsafe fn columns(permission: &pg_sys::RTEPermissionInfo) -> BTreeSet<i16> {
    // SAFETY: the attribute numbers in the set are offset by the lowest one.
    let next = |member: &i32| Some(unsafe { pg_sys::bms_next_member(permission.selectedCols, *member) });
    let members = std::iter::successors(next(&-1), next).take_while(|member| *member >= 0);
    members.map(|member| (member + pg_sys::FirstLowInvalidHeapAttributeNumber) as i16).collect()
}

/// What the virtual generated columns among `read` are computed from.
///
/// # Safety
/// The relation is locked.
pub(super) unsafe fn virtual_columns(relid: pg_sys::Oid, read: &BTreeSet<i16>) -> Vec<*mut pg_sys::Node> {
    // SAFETY: the caller's promise; a column that is generated has an expression, which is copied.
    unsafe {
        let open = pg_sys::relation_open(relid, pg_sys::NoLock as i32);
        let columns = (*open).rd_att;
        let any = (*columns).constr.as_ref().is_some_and(|constraints| constraints.has_generated_virtual);
        let attributes =
            (0..if any { (*columns).natts } else { 0 }).map(|index| &*pg_sys::TupleDescAttr(columns, index));
        let wanted = attributes.filter(|attribute| {
            attribute.attgenerated as u8 == pg_sys::ATTRIBUTE_GENERATED_VIRTUAL
                && (read.contains(&attribute.attnum) || read.contains(&0))
        });
        let found =
            wanted.map(|attribute| pg_sys::build_generation_expression(open, attribute.attnum.into())).collect();
        pg_sys::relation_close(open, pg_sys::NoLock as i32);
        found
    }
}

/// `pg_ts_config` and `pg_ts_dict`.
const CONFIGURATIONS: pg_sys::Oid = pg_sys::Oid::from_u32(3602);
const DICTIONARIES: pg_sys::Oid = pg_sys::Oid::from_u32(3600);

/// The operator, the collation, or the configuration or dictionary of text search that the node names, as class and oid, unless
/// it is built in.
///
/// # Safety
/// `node` is a valid expression node.
pub(super) unsafe fn object(node: *mut pg_sys::Node) -> Option<(u32, u32)> {
    // SAFETY: the tag tells the type; the values of these two types of constants are oids.
    let (class, object) = unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_OpExpr | pg_sys::NodeTag::T_DistinctExpr | pg_sys::NodeTag::T_NullIfExpr => {
                (pg_sys::OperatorRelationId, (*node.cast::<pg_sys::OpExpr>()).opno)
            }
            pg_sys::NodeTag::T_ScalarArrayOpExpr => {
                (pg_sys::OperatorRelationId, (*node.cast::<pg_sys::ScalarArrayOpExpr>()).opno)
            }
            pg_sys::NodeTag::T_CollateExpr => {
                (pg_sys::CollationRelationId, (*node.cast::<pg_sys::CollateExpr>()).collOid)
            }
            pg_sys::NodeTag::T_Const => {
                let constant = &*node.cast::<pg_sys::Const>();
                let class = match constant.consttype {
                    pg_sys::REGCONFIGOID => CONFIGURATIONS,
                    pg_sys::REGDICTIONARYOID => DICTIONARIES,
                    _ => return None,
                };
                let value = if constant.constisnull { 0 } else { constant.constvalue.value() as u32 };
                (class, value.into())
            }
            _ => return None,
        }
    };
    (object.to_u32() >= pg_sys::FirstNormalObjectId).then(|| (class.to_u32(), object.to_u32()))
}
