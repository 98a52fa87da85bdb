//! What a whole query uses, sub-selects and expanded views included: the material on which queries are refused.

use super::constructs::{self, Construct};
use super::function;
use super::moment;
use super::named;
use super::nodes::{Query, items, text};
use super::stability::{self, Dependence};
use crate::config;
use crate::error::{Error, Result};
use pgrx::{PgList, is_a, pg_guard, pg_sys};
use pgtrickle_engine::query::Volatility;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;

/// What a query uses.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Relations (views too) with the columns that the query's text names, each once; column 0 is the whole row.
    pub relations: BTreeMap<u32, BTreeSet<i16>>,
    /// Functions called, also by operators, casts and aggregates.
    pub functions: BTreeSet<u32>,
    /// The types of the values that are read, computed or written in the query.
    pub types: BTreeSet<u32>,
    /// Operators, collations, and configurations and dictionaries of text search that the query names, as class and oid.
    pub objects: BTreeSet<(u32, u32)>,
    /// Names of values of the session that are not functions, such as CURRENT_USER, and not the clock.
    pub session_values: BTreeSet<String>,
    /// CURRENT_DATE or its like occurs.
    pub reads_clock: bool,
    /// Something is computed from the clock that may go back and forth as time goes on.
    pub clock_wavers: bool,
    /// Some expression is volatile or stable in a way that no function of it tells.
    pub hidden_volatility: Option<Volatility>,
    /// Functions and constructs that depend on more than the rows, the clock and pinned settings.
    pub unsteady: BTreeSet<String>,
    /// The name of a system column that is read and changes without any change of the row's contents.
    pub system_column: Option<String>,
    /// `tableoid` is read: which partition or inheritance child a row is in.
    pub tells_table: bool,
    pub locks_rows: bool,
    pub samples: bool,
    pub modifies: bool,
    /// Some LIMIT or OFFSET stands without ORDER BY.
    pub unordered_limit: bool,
    pub constructs: BTreeSet<Construct>,
    /// The row of a join is read beyond an outer join that pads it.
    pub padded_join_rows: bool,
    /// A row is read of which two fields have one name.
    pub doubled_fields: bool,
    /// Likewise, perhaps in a view.
    pub doubled_fields_in_views: bool,
    /// Where a record stands that cannot be kept.
    pub stray_record: Option<&'static str>,
}

const TABLE: i16 = pg_sys::TableOidAttributeNumber as i16;

struct Walk<'a> {
    nodes: usize,
    /// The walk ends there.
    most_nodes: usize,
    facts: Facts,
    queries: Vec<&'a pg_sys::Query>,
    /// Values occur that print names from the catalogs: of `regclass` and its kin.
    prints_names: bool,
    /// The most volatile function that an aggregate is made of: what the aggregate says itself counts for nothing.
    hidden_in_parts: Option<Volatility>,
    /// What prints anonymous records, and so perhaps such values.
    prints_records: BTreeSet<String>,
    /// A function in FROM, and the types of the columns that the query gives for it.
    defined: (*mut pg_sys::Node, Vec<pg_sys::Oid>),
}

/// Facts about the tree.
///
/// # Safety
/// `tree` is an analysed query.
pub(super) unsafe fn gather(tree: *mut pg_sys::Query) -> Result<Facts> {
    // SAFETY: the caller's promise.
    let walk = unsafe { walk(tree) };
    if walk.nodes > walk.most_nodes {
        let most = walk.most_nodes;
        return Err(Error::TooComplex(format!("it has more parts than pg_trickle.max_parse_nodes ({most})")));
    }
    let mut facts = walk.facts;
    if walk.prints_names {
        facts.unsteady.extend(walk.prints_records);
    }
    // SAFETY: both functions take any expression or query tree and only read it.
    unsafe {
        let found = if pg_sys::contain_volatile_functions(tree.cast()) {
            Volatility::Volatile
        } else if pg_sys::contain_mutable_functions(tree.cast()) {
            Volatility::Stable
        } else {
            Volatility::Immutable
        };
        let worst = walk.hidden_in_parts.map_or(found, |parts| parts.max(found));
        facts.hidden_volatility = (worst != Volatility::Immutable).then_some(worst);
    }
    Ok(facts)
}

/// The query and every query inside it.
///
/// # Safety
/// `tree` is an analysed query that lives for `'a`.
pub(super) unsafe fn queries<'a>(tree: *mut pg_sys::Query) -> Vec<&'a pg_sys::Query> {
    // SAFETY: the caller's promise.
    unsafe { walk(tree) }.queries
}

/// # Safety
/// `tree` is an analysed query that lives for `'a`.
unsafe fn walk<'a>(tree: *mut pg_sys::Query) -> Walk<'a> {
    let mut walk = Walk {
        nodes: 0,
        most_nodes: most_nodes(),
        facts: Facts::default(),
        queries: Vec::new(),
        prints_names: false,
        hidden_in_parts: None,
        prints_records: BTreeSet::new(),
        defined: (std::ptr::null_mut(), Vec::new()),
    };
    // SAFETY: the caller's promise; the context is what `visit` takes it for.
    unsafe { visit(tree.cast(), (&raw mut walk).cast()) };
    walk
}

/// `pg_trickle.max_parse_nodes`, of which 0 means no limit.
fn most_nodes() -> usize {
    match config::max_parse_nodes().unsigned_abs() as usize {
        0 => usize::MAX,
        most => most,
    }
}

/// A tree walker: true stops the walk.
#[pg_guard]
unsafe extern "C-unwind" fn visit(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: `walk` passes a Walk, and the walkers call back with valid nodes; the tag tells a node's type.
    unsafe {
        let walk = &mut *context.cast::<Walk<'_>>();
        walk.nodes += 1;
        if walk.nodes > walk.most_nodes {
            return true;
        }
        if is_a(node, pg_sys::NodeTag::T_Query) {
            let query = &*node.cast::<pg_sys::Query>();
            walk.queries.push(query);
            walk.facts.note_query(query);
            return pg_sys::query_tree_walker_impl(node.cast(), Some(visit), context, 0);
        }
        walk.note_calls(node);
        walk.facts.note_expression(node);
        pg_sys::expression_tree_walker_impl(node, Some(visit), context)
    }
}

impl Walk<'_> {
    /// # Safety
    /// `node` is a valid expression node.
    unsafe fn note_calls(&mut self, node: *mut pg_sys::Node) {
        // SAFETY: the caller's promise; the tag tells the type.
        unsafe {
            if is_a(node, pg_sys::NodeTag::T_RangeTblFunction) {
                let function = &*node.cast::<pg_sys::RangeTblFunction>();
                let types: Vec<pg_sys::Oid> = PgList::<()>::from_pg(function.funccoltypes).iter_oid().collect();
                self.facts.types.extend(types.iter().map(|ty| ty.to_u32()));
                self.defined = (function.funcexpr, types);
                return;
            }
            let mut called: Vec<u32> = Vec::new();
            pg_sys::check_functions_in_node(node, Some(stability::note), (&raw mut called).cast());
            let parts: Vec<u32> = called.iter().flat_map(|called| function::parts_of_aggregate(*called)).collect();
            self.hidden_in_parts =
                parts.iter().map(|part| volatility((*part).into())).chain(self.hidden_in_parts).max();
            called.extend(parts);
            let columns: &[pg_sys::Oid] = if self.defined.0 == node { &self.defined.1 } else { &[] };
            match stability::dependence(node, &called, columns) {
                Dependence::Nothing => {}
                Dependence::Records(what) => {
                    self.prints_records.insert(what);
                }
                Dependence::Unknown(what) => {
                    self.facts.unsteady.insert(what);
                }
            }
            self.facts.clock_wavers |= moment::may_waver(node);
            self.facts.functions.extend(called);
            self.prints_names |= match (*node).type_ {
                pg_sys::NodeTag::T_Var
                | pg_sys::NodeTag::T_Const
                | pg_sys::NodeTag::T_FuncExpr
                | pg_sys::NodeTag::T_RelabelType
                | pg_sys::NodeTag::T_CoerceViaIO => stability::prints_names(pg_sys::exprType(node)),
                _ => false,
            };
        }
    }
}

impl Facts {
    fn note_query(&mut self, query: &pg_sys::Query) {
        self.locks_rows |= !query.rowMarks.is_null() || query.hasForUpdate;
        self.modifies |= query.commandType != pg_sys::CmdType::CMD_SELECT;
        let cursor = Query { node: query };
        self.unordered_limit |= cursor.has_limit() && !cursor.is_ordered();
        // SAFETY: the lists of an analysed query, whose relations are locked.
        unsafe {
            self.constructs.extend(constructs::of_query(query));
            for entry in items::<pg_sys::RangeTblEntry>(query.rtable) {
                self.samples |= !entry.tablesample.is_null();
                if entry.rtekind == pg_sys::RTEKind::RTE_RELATION {
                    self.relations.entry(entry.relid.to_u32()).or_default();
                }
            }
            for permission in items::<pg_sys::RTEPermissionInfo>(query.rteperminfos) {
                let mut read = named::columns(permission);
                read.remove(&TABLE);
                self.relations.entry(permission.relid.to_u32()).or_default().extend(&read);
                self.note_virtual_columns(permission.relid, &read);
            }
        }
    }

    /// # Safety
    /// `node` is a valid expression node.
    unsafe fn note_expression(&mut self, node: *mut pg_sys::Node) {
        // SAFETY: the caller's promise; the tag tells the type.
        unsafe {
            self.constructs.extend(constructs::of_node(node));
            self.note_types(node);
            self.objects.extend(named::object(node));
            match (*node).type_ {
                pg_sys::NodeTag::T_Var => {
                    let var = &*node.cast::<pg_sys::Var>();
                    if var.varattno == TABLE {
                        self.tells_table = true;
                    } else if var.varattno < 0 {
                        let attribute = pg_sys::SystemAttributeDefinition(var.varattno);
                        self.system_column = Some(text((*attribute).attname.data.as_ptr()));
                    }
                }
                pg_sys::NodeTag::T_SQLValueFunction => {
                    let function = &*node.cast::<pg_sys::SQLValueFunction>();
                    if moment::is_clock_value(function.op) {
                        self.reads_clock = true;
                    } else {
                        self.session_values.insert(session_value(function.op).into());
                    }
                }
                _ => {}
            }
        }
    }
}

impl Facts {
    /// The types of what virtual generated columns among `read` are computed from, which no query names.
    ///
    /// # Safety
    /// The query has locked the relation.
    unsafe fn note_virtual_columns(&mut self, relid: pg_sys::Oid, read: &BTreeSet<i16>) {
        #[pg_guard]
        unsafe extern "C-unwind" fn visit(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
            if node.is_null() {
                return false;
            }
            // SAFETY: the context is what is passed below; the walker calls back with valid nodes.
            unsafe {
                let facts = &mut *context.cast::<Facts>();
                facts.note_types(node);
                facts.objects.extend(named::object(node));
                pg_sys::expression_tree_walker_impl(node, Some(visit), context)
            }
        }
        // SAFETY: the caller's promise.
        unsafe { named::virtual_columns(relid, read) }.into_iter().for_each(|expr| {
            // SAFETY: valid expressions.
            unsafe { visit(expr, (&raw mut *self).cast()) };
        });
    }

    /// # Safety
    /// `node` is a valid expression node.
    unsafe fn note_types(&mut self, node: *mut pg_sys::Node) {
        // SAFETY: the caller's promise; the tag tells that the node has a type.
        unsafe {
            match (*node).type_ {
                pg_sys::NodeTag::T_TableFunc => {
                    let types = PgList::<()>::from_pg((*node.cast::<pg_sys::TableFunc>()).coltypes);
                    self.types.extend(types.iter_oid().map(pg_sys::Oid::to_u32));
                }
                pg_sys::NodeTag::T_Var
                | pg_sys::NodeTag::T_Const
                | pg_sys::NodeTag::T_Aggref
                | pg_sys::NodeTag::T_WindowFunc
                | pg_sys::NodeTag::T_SubscriptingRef
                | pg_sys::NodeTag::T_FuncExpr
                | pg_sys::NodeTag::T_OpExpr
                | pg_sys::NodeTag::T_FieldSelect
                | pg_sys::NodeTag::T_RelabelType
                | pg_sys::NodeTag::T_CoerceViaIO
                | pg_sys::NodeTag::T_ArrayCoerceExpr
                | pg_sys::NodeTag::T_ConvertRowtypeExpr
                | pg_sys::NodeTag::T_ArrayExpr
                | pg_sys::NodeTag::T_RowExpr
                | pg_sys::NodeTag::T_CoerceToDomain
                | pg_sys::NodeTag::T_JsonExpr => {
                    self.types.insert(pg_sys::exprType(node).to_u32());
                }
                _ => {}
            }
        }
    }
}

fn session_value(op: pg_sys::SQLValueFunctionOp::Type) -> &'static str {
    use pg_sys::SQLValueFunctionOp as Op;
    match op {
        Op::SVFOP_CURRENT_CATALOG => "CURRENT_CATALOG",
        Op::SVFOP_CURRENT_SCHEMA => "CURRENT_SCHEMA",
        _ => "CURRENT_USER",
    }
}

/// A function as a user knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// `name()`, with its schema unless it is built in.
    pub name: String,
    pub volatility: Volatility,
    /// It belongs to PostgreSQL itself, not to an extension or a user.
    pub builtin: bool,
}

/// Facts about a function of [`Facts::functions`].
pub fn function(oid: u32) -> Function {
    let builtin = oid < pg_sys::FirstNormalObjectId;
    let oid = pg_sys::Oid::from(oid);
    // SAFETY: syscache lookups of a function that the analysed query depends on.
    unsafe {
        let name = text(pg_sys::get_func_name(oid));
        let name = match builtin {
            true => format!("{name}()"),
            false => format!("{}.{name}()", text(pg_sys::get_namespace_name(pg_sys::get_func_namespace(oid)))),
        };
        Function { name, volatility: volatility(oid), builtin }
    }
}

fn volatility(function: pg_sys::Oid) -> Volatility {
    // SAFETY: a syscache lookup of a function that there is.
    match unsafe { pg_sys::func_volatile(function) } as u8 {
        pg_sys::PROVOLATILE_IMMUTABLE => Volatility::Immutable,
        pg_sys::PROVOLATILE_STABLE => Volatility::Stable,
        _ => Volatility::Volatile,
    }
}
