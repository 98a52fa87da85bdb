//! What a scheduler hands to refresh workers.
//!
//! A task is the ids of stream tables that are to be refreshed together. It goes to the worker in a segment of dynamic
//! shared memory, and what became of each comes back in it; the segment lives as long as either of them looks at it. A
//! [`Place`] in the extension's own memory counts the workers of the server and tells which database each is in.
//!
//! A scheduler takes a place, then asks for a worker, which enters the place before it connects and leaves it when its
//! process ends. As with a scheduler's slot, a **hold** (`slots.rs`) makes sure that none connects to a database that is about
//! to go. A place whose scheduler ended before its worker began is free again.

use std::ffi::c_int;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32};

use pgrx::{pg_guard, pg_sys};

use super::shmem::{self, OwnChanges, shared};
use super::slots;
use super::worker::{self, Process};

/// Workers of a server; the largest value of `pg_trickle.max_dynamic_refresh_workers`.
pub(super) const PLACES: usize = 64;
/// Bytes of a message that come back.
const MESSAGE: usize = 1_000;

/// A worker's place; valid when zeroed.
pub(super) struct Place {
    pub(super) db: AtomicU32,
    /// The process of the scheduler that took it.
    scheduler: AtomicI32,
    /// The worker's process, once it is in.
    pub(super) pid: AtomicI32,
    segment: AtomicU32,
}

impl Place {
    /// Takes the place if nobody is in it and nobody is to come.
    fn take(&self, db: u32, me: i32) -> bool {
        if self.pid.load(SeqCst) != 0 {
            return false;
        }
        let owner = self.scheduler.load(SeqCst);
        // SAFETY: looks the process up in shared memory under its own lock.
        let abandoned = owner == 0 || unsafe { pg_sys::BackendPidGetProc(owner).is_null() };
        if !abandoned || self.scheduler.compare_exchange(owner, me, SeqCst, SeqCst).is_err() {
            return false;
        }
        self.segment.store(0, SeqCst);
        self.db.store(db, SeqCst);
        true
    }

    fn leave(&self) {
        self.db.store(0, SeqCst);
        self.segment.store(0, SeqCst);
        self.pid.store(0, SeqCst);
        self.scheduler.store(0, SeqCst);
    }
}

/// The beginning of a segment.
#[repr(C)]
struct Head {
    /// Everything else is written.
    done: AtomicBool,
    scheduler: i32,
    count: u32,
    milliseconds: AtomicI64,
}

/// What follows it, for each stream table.
#[repr(C)]
struct Slip {
    id: i64,
    told: u32,
    length: u32,
    /// Something that the worker announced, of whichever stream table.
    cell: u32,
    announced: u32,
    sqlstate: [u8; 5],
    message: [u8; MESSAGE],
}

/// What a worker tells about one stream table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub id: i64,
    /// What became of it, in the scheduler's own numbers; 0: nothing was told.
    pub what: u32,
    /// Of an error.
    pub sqlstate: String,
    pub message: String,
}

/// A mapped segment.
#[derive(Debug)]
struct Segment(*mut pg_sys::dsm_segment);

impl Segment {
    fn make(ids: &[i64]) -> Option<Segment> {
        // SAFETY: no transaction is open, so the mapping belongs to the process; memory of that size is written.
        unsafe {
            let size = size_of::<Head>() + ids.len() * size_of::<Slip>();
            let segment = pg_sys::dsm_create(size, pg_sys::DSM_CREATE_NULL_IF_MAXSEGMENTS as c_int);
            if segment.is_null() {
                return None;
            }
            pg_sys::dsm_pin_mapping(segment);
            let made = Segment(segment);
            std::ptr::write_bytes(pg_sys::dsm_segment_address(segment).cast::<u8>(), 0, size);
            let head = &mut *made.head();
            (head.scheduler, head.count) = (pg_sys::MyProcNumber, ids.len() as u32);
            ids.iter().enumerate().for_each(|(index, id)| (*made.slip(index)).id = *id);
            Some(made)
        }
    }

    fn attach(handle: u32) -> Option<Segment> {
        // SAFETY: as above; a segment that is gone cannot be attached.
        unsafe {
            let segment = pg_sys::dsm_attach(handle);
            if segment.is_null() {
                return None;
            }
            pg_sys::dsm_pin_mapping(segment);
            Some(Segment(segment))
        }
    }

    fn head(&self) -> *mut Head {
        // SAFETY: the segment is mapped and begins with it; the server aligns it.
        unsafe { pg_sys::dsm_segment_address(self.0).cast() }
    }

    fn slip(&self, index: usize) -> *mut Slip {
        const { assert!(size_of::<Head>().is_multiple_of(align_of::<Slip>())) }
        // SAFETY: callers count; the slips follow the head.
        unsafe { self.head().add(1).cast::<Slip>().add(index) }
    }

    fn count(&self) -> usize {
        // SAFETY: written before the worker was asked for.
        unsafe { (*self.head()).count as usize }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: mapped by us, once.
        unsafe { pg_sys::dsm_detach(self.0) };
    }
}

/// A task that a worker of ours has, or is about to have.
#[derive(Debug)]
pub struct Task {
    segment: Segment,
    process: Process,
    place: usize,
}

/// A task that is done.
#[derive(Debug)]
pub struct Finished {
    pub told: Vec<Told>,
    /// What the worker announced itself.
    pub own: OwnChanges,
    pub milliseconds: i64,
}

/// Why no worker takes a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWorker {
    /// As many as are allowed are at work.
    All,
    /// The server has no more processes, or no memory to share.
    Server,
}

impl Task {
    /// Has a worker refresh `ids` in database `db`, unless the server has `most` of them.
    ///
    /// # Errors
    /// When there is no worker to be had.
    pub fn give(db: u32, ids: &[i64], most: usize) -> Result<Task, NoWorker> {
        let places = &shared().ok_or(NoWorker::Server)?.places[..most.min(PLACES)];
        // SAFETY: constant for the life of the process.
        let me = unsafe { pg_sys::MyProcPid };
        let (number, place) = places.iter().enumerate().find(|(_, place)| place.take(db, me)).ok_or(NoWorker::All)?;
        let given = Segment::make(ids).and_then(|segment| {
            // SAFETY: the segment is ours.
            place.segment.store(unsafe { pg_sys::dsm_segment_handle(segment.0) }, SeqCst);
            Some(Task { segment, process: Process::refresh_worker(number)?, place: number })
        });
        given.ok_or_else(|| {
            place.leave();
            NoWorker::Server
        })
    }

    /// What became of the stream tables, once the worker is done or has ended.
    pub fn result(&self) -> Option<Finished> {
        // SAFETY: the segment is mapped; the worker writes nothing after `done`, nor after its end.
        unsafe {
            let head = &*self.segment.head();
            if !head.done.load(SeqCst) {
                if !self.process.ended() {
                    return None;
                }
                self.give_back();
            }
            let slips = || (0..self.segment.count()).map(|index| &*self.segment.slip(index));
            let announced = slips().map(|slip| (slip.cell as usize, u64::from(slip.announced)));
            Some(Finished {
                told: slips().map(read).collect(),
                own: OwnChanges::of(announced),
                milliseconds: head.milliseconds.load(SeqCst),
            })
        }
    }

    /// The place of a worker that never came in.
    fn give_back(&self) {
        let Some(place) = shared().map(|shared| &shared.places[self.place]) else { return };
        // SAFETY: as in `give`.
        let (handle, me) = unsafe { (pg_sys::dsm_segment_handle(self.segment.0), pg_sys::MyProcPid) };
        let ours = place.segment.load(SeqCst) == handle && place.scheduler.load(SeqCst) == me;
        if ours && place.pid.load(SeqCst) == 0 {
            place.leave();
        }
    }
}

fn read(slip: &Slip) -> Told {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let message = text(&slip.message[..(slip.length as usize).min(MESSAGE)]);
    Told { id: slip.id, what: slip.told, sqlstate: text(&slip.sqlstate), message }
}

/// The task that this process, a refresh worker, is for.
#[derive(Debug)]
pub struct Order {
    place: usize,
    pub db: u32,
}

impl Order {
    /// Enters the place that the scheduler took; None when the database is held or the place is not ours any more.
    pub(super) fn enter(number: usize) -> Option<Order> {
        let place = shared()?.places.get(number)?;
        // SAFETY: set when the process got its PGPROC. The callback is registered before the connection is made, so
        // it runs after the process has left the list of those connected.
        unsafe {
            pg_sys::on_shmem_exit(Some(leave), pg_sys::Datum::from(number));
            place.pid.compare_exchange(0, pg_sys::MyProcPid, SeqCst, SeqCst).ok()?;
        }
        shmem::watch_own();
        let db = place.db.load(SeqCst);
        (db != 0 && !slots::held(db)).then_some(Order { place: number, db })
    }

    /// Has `work` refresh the stream tables, if the scheduler still waits for them, and tells it what that gave for each.
    pub(super) fn carry_out(&self, work: fn(&[i64]) -> Vec<Told>) {
        let handle = shared().map_or(0, |shared| shared.places[self.place].segment.load(SeqCst));
        let Some(segment) = Segment::attach(handle) else { return };
        // SAFETY: the segment is mapped, and only this process writes to it.
        unsafe {
            let ids: Vec<i64> = (0..segment.count()).map(|index| (*segment.slip(index)).id).collect();
            let begun = worker::now_ms();
            for told in work(&ids) {
                if let Some(index) = ids.iter().position(|id| *id == told.id) {
                    write(&mut *segment.slip(index), &told);
                }
            }
            // A stream table announces itself, so there is room for what is announced; the rest would only cost a look.
            for (index, (cell, announced)) in (0..ids.len()).zip(shmem::take_own().cells()) {
                let slip = &mut *segment.slip(index);
                (slip.cell, slip.announced) = (cell as u32, announced as u32);
            }
            let head = &*segment.head();
            head.milliseconds.store(worker::now_ms() - begun, SeqCst);
            head.done.store(true, SeqCst);
            shmem::wake(head.scheduler);
        }
    }
}

fn write(slip: &mut Slip, told: &Told) {
    let length = told.message.floor_char_boundary(MESSAGE);
    slip.message[..length].copy_from_slice(&told.message.as_bytes()[..length]);
    slip.length = length as u32;
    slip.sqlstate.iter_mut().zip(told.sqlstate.bytes()).for_each(|(to, from)| *to = from);
    slip.told = told.what;
}

#[pg_guard]
unsafe extern "C-unwind" fn leave(_code: c_int, number: pg_sys::Datum) {
    let Some(shared) = shared() else { return };
    let place = &shared.places[number.value()];
    // SAFETY: constant for the life of the process; the condition variable needs only the process's PGPROC, which is given
    // back later than this.
    unsafe {
        if place.pid.load(SeqCst) == pg_sys::MyProcPid {
            place.leave();
            pg_sys::ConditionVariableBroadcast(shared.scheduler_exited.get());
        }
    }
}

/// The refresh workers in a database.
pub(super) fn workers_in(db: u32) -> Vec<i32> {
    let places = shared().map_or(&[][..], |shared| &shared.places[..]);
    let own = places.iter().filter(|place| place.db.load(SeqCst) == db);
    own.map(|place| place.pid.load(SeqCst)).filter(|pid| *pid != 0).collect()
}
