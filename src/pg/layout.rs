//! Which columns of a relation go where in its source's change buffer.
//!
//! The buffer's column names say it: `c<attnum>` holds attribute `attnum` of the source. A partition or an inheritance child
//! has its columns in an order of its own and is matched by column name, as PostgreSQL does. The answer is kept per
//! trigger until a relation that it was made from changes; its memory goes at the end of that transaction, since a
//! statement under way may still write by it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};

use pgrx::pg_guard;
use pgrx::pg_sys::{self, Oid};

use super::image::Storage;
use super::{bare, buffer, source, xact};
use crate::names;

/// How many leading columns of a buffer describe the change: `xid`, `cid`, `w`.
pub(super) const FIXED: usize = 3;

/// A buffer column's origin.
pub(super) struct Column {
    /// Position in the buffer's row.
    pub(super) target: usize,
    /// Position in the relation's row.
    pub(super) origin: usize,
    pub(super) storage: Storage,
}

/// How a buffer serves readers that want to know whether a statement wrote the source, not what. It is part of the buffer's
/// descriptor, as a column that is always NULL, so that whoever writes notices a change of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announcements {
    /// There are no such readers.
    None,
    /// A statement that leaves no row in the buffer leaves an announcement.
    Beside,
    /// There are no other readers: no rows, one announcement per statement.
    Only,
}

impl Announcements {
    /// What a column of the buffer says about them.
    fn of(column: &str) -> Option<Self> {
        match column {
            names::ANNOUNCED => Some(Announcements::Beside),
            names::ONLY_ANNOUNCED => Some(Announcements::Only),
            _ => None,
        }
    }
}

/// How rows of one relation are written to one buffer.
pub(super) struct Layout {
    pub(super) source: u32,
    pub(super) buffer: u32,
    /// Width of the buffer's row, dropped columns included.
    pub(super) width: usize,
    pub(super) columns: Vec<Column>,
    /// How many leading attributes of the relation must be deformed.
    pub(super) deform: i32,
    /// The captured columns are the leading ones of the relation, and stored alike in the buffer: see [`super::stored`].
    pub(super) leading: bool,
    /// A captured column is gone or has another type. What is written then is a marker: recompute.
    pub(super) broken: bool,
    /// What readers that take no rows are told.
    pub(super) announcements: Announcements,
    /// A command may change a row several times: what actions of foreign keys do to several columns of a row, or one after the other, counts as
    /// the command's own (`ri_PerformCheck` fires no triggers of its own).
    pub(super) acted_on: bool,
    relation: u32,
}

thread_local! {
    static LAYOUTS: RefCell<BTreeMap<u32, &'static Layout>> = const { RefCell::new(BTreeMap::new()) };
    /// Counts the times that layouts were taken out of `LAYOUTS`.
    static FORGOTTEN: Cell<u64> = const { Cell::new(0) };
    /// Layouts to free at the end of the transaction.
    static RETIRED: RefCell<Vec<&'static Layout>> = const { RefCell::new(Vec::new()) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// A buffer open for writing and the layout to write by, valid until the transaction ends. `None` when the trigger has no
/// buffer: it is left over from a restored dump or a detached partition, and must not stop anybody's writes.
///
/// The relation and the buffer are locked when the layout is used, so it cannot change under it: whoever widens a buffer
/// waits for the writers of the source first.
///
/// # Safety
/// `relation` is open and locked, `trigger` is one of its triggers. As for [`bare`].
pub(super) unsafe fn open(
    relation: pg_sys::Relation,
    trigger: *const pg_sys::Trigger,
) -> Option<(pg_sys::Relation, &'static Layout)> {
    // SAFETY: by contract.
    unsafe {
        let key = (*trigger).tgoid.to_u32();
        let known = LAYOUTS.with_borrow(|layouts| layouts.get(&key).copied());
        if let Some(known) = known {
            let buffer = Oid::from_u32(known.buffer);
            let forgotten = FORGOTTEN.get();
            bare::LockRelationOid(buffer, pg_sys::RowExclusiveLock as i32);
            // Taking the lock has processed invalidations, so what is still there is valid, and the buffer exists.
            if FORGOTTEN.get() == forgotten {
                return Some((bare::table_open(buffer, pg_sys::NoLock as i32), known));
            }
            bare::UnlockRelationOid(buffer, pg_sys::RowExclusiveLock as i32);
        }
        let source = source_of(relation, trigger)?;
        let buffer = bare::try_table_open(Oid::from_u32(buffer::find(source)?), pg_sys::RowExclusiveLock as i32);
        if buffer.is_null() {
            return None;
        }
        let layout: &'static Layout = Box::leak(Box::new(make(source, relation, buffer)));
        register();
        if let Some(replaced) = LAYOUTS.with_borrow_mut(|layouts| layouts.insert(key, layout)) {
            retire(replaced);
        }
        Some((buffer, layout))
    }
}

fn retire(layout: &'static Layout) {
    xact::note_retirement();
    RETIRED.with_borrow_mut(|retired| retired.push(layout));
}

/// Frees the layouts that were forgotten; when a transaction has ended.
pub(super) fn free_retired() {
    for layout in RETIRED.take() {
        // SAFETY: leaked by `open`, `marker` or `of`, in no list any more, and no statement of the transaction is left.
        drop(unsafe { Box::from_raw(std::ptr::from_ref(layout).cast_mut()) });
    }
}

/// The source that a trigger captures for: the relation itself, or the trigger's argument, provided that the relation is a
/// descendant of it. The trigger's name tells the same number, unless the trigger came with a restored dump, in which
/// numbers are those of another cluster.
unsafe fn source_of(relation: pg_sys::Relation, trigger: *const pg_sys::Trigger) -> Option<u32> {
    // SAFETY: a trigger has `tgnargs` NUL-terminated arguments.
    unsafe {
        let relation = (*relation).rd_id.to_u32();
        let source = match (*trigger).tgnargs {
            0 => relation,
            _ => CStr::from_ptr(*(*trigger).tgargs).to_str().ok()?.parse().ok()?,
        };
        let named = names::captured_by(CStr::from_ptr((*trigger).tgname).to_str().ok()?)?;
        (named == source && (source == relation || source::members(source).contains(&relation))).then_some(source)
    }
}

/// A layout for markers only, valid until the transaction ends.
pub(super) fn marker(source: u32, buffer: pg_sys::Relation) -> &'static Layout {
    // SAFETY: the buffer is open.
    let (buffer, width) = unsafe { ((*buffer).rd_id.to_u32(), (*(*buffer).rd_att).natts as usize) };
    let layout = Layout {
        source,
        buffer,
        width,
        columns: Vec::new(),
        deform: 0,
        leading: false,
        broken: true,
        announcements: Announcements::None,
        acted_on: false,
        relation: source,
    };
    let layout: &'static Layout = Box::leak(Box::new(layout));
    retire(layout);
    layout
}

/// A layout for the rows of one relation, valid until the transaction ends.
///
/// # Safety
/// Both relations are open and locked.
pub(super) unsafe fn of(source: u32, relation: pg_sys::Relation, buffer: pg_sys::Relation) -> &'static Layout {
    // SAFETY: by contract.
    let layout: &'static Layout = Box::leak(Box::new(unsafe { make(source, relation, buffer) }));
    retire(layout);
    layout
}

/// Builds the layout from the two descriptors and the catalog.
unsafe fn make(source: u32, relation: pg_sys::Relation, buffer: pg_sys::Relation) -> Layout {
    // SAFETY: both relations are open and locked.
    unsafe {
        let (from, to) = ((*relation).rd_att, (*buffer).rd_att);
        let mut layout = Layout {
            source,
            buffer: (*buffer).rd_id.to_u32(),
            width: (*to).natts as usize,
            columns: Vec::new(),
            deform: 0,
            leading: false,
            broken: false,
            announcements: Announcements::None,
            acted_on: source::is_acted_on(relation),
            relation: (*relation).rd_id.to_u32(),
        };
        for target in FIXED..layout.width {
            let attribute = pg_sys::TupleDescAttr(to, target as i32);
            if (*attribute).attisdropped {
                continue;
            }
            let name = CStr::from_ptr((*attribute).attname.data.as_ptr());
            if let Some(announcements) = name.to_str().ok().and_then(Announcements::of) {
                layout.announcements = announcements;
                continue;
            }
            match origin(source, relation, (*attribute).attname.data.as_ptr()) {
                Some(origin)
                    if pg_sys::getBaseType((*pg_sys::TupleDescAttr(from, origin)).atttypid)
                        == (*attribute).atttypid =>
                {
                    layout.deform = layout.deform.max(origin + 1);
                    let storage = Storage::of(attribute);
                    layout.columns.push(Column { target, origin: origin as usize, storage });
                }
                _ => layout.broken = true,
            }
        }
        layout.leading = layout.columns.iter().enumerate().all(|(place, column)| {
            let [from, to] = [(from, column.origin), (to, column.target)]
                .map(|(descriptor, index)| pg_sys::TupleDescAttr(descriptor, index as i32));
            (column.origin, column.target) == (place, FIXED + place)
                && ((*from).attlen, (*from).attalign) == ((*to).attlen, (*to).attalign)
        });
        layout
    }
}

/// Where in `relation` the buffer column called `name` comes from.
unsafe fn origin(source: u32, relation: pg_sys::Relation, name: *const c_char) -> Option<i32> {
    // SAFETY: names are NUL-terminated; look-ups in the system caches.
    unsafe {
        let attnum: i16 = CStr::from_ptr(name).to_str().ok()?.strip_prefix('c')?.parse().ok()?;
        let source = Oid::from_u32(source);
        if (*relation).rd_id == source {
            let present = attnum >= 1 && i32::from(attnum) <= (*(*relation).rd_att).natts;
            let index = i32::from(attnum) - 1;
            return (present && !(*pg_sys::TupleDescAttr((*relation).rd_att, index)).attisdropped).then_some(index);
        }
        let name = pg_sys::get_attname(source, attnum, true);
        if name.is_null() {
            return None;
        }
        let attnum = pg_sys::get_attnum((*relation).rd_id, name);
        (attnum >= 1).then(|| i32::from(attnum) - 1)
    }
}

fn register() {
    if !REGISTERED.replace(true) {
        // SAFETY: the callback is a plain function that lives as long as the process.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(forget), pg_sys::Datum::from(0)) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn forget(_argument: pg_sys::Datum, changed: Oid) {
    let all = changed == pg_sys::InvalidOid;
    LAYOUTS.with_borrow_mut(|layouts| {
        layouts.retain(|_, layout| {
            let kept = !all && ![layout.source, layout.buffer, layout.relation].contains(&changed.to_u32());
            if !kept {
                FORGOTTEN.set(FORGOTTEN.get() + 1);
                retire(layout);
            }
            kept
        });
    });
}
