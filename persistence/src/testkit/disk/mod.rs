//! [`FaultyVfs`]: a disk under a [`SqliteStore`](crate::SqliteStore) that fails on command, or by a seeded plan.
//!
//! ```
//! use persistence::{SqliteOptions, SqliteStore, testkit::FaultyVfs};
//!
//! let disk = FaultyVfs::register("guide");
//! let folder = tempfile::tempdir()?;
//! let options = SqliteOptions { vfs: Some(disk.name().into()), ..SqliteOptions::default() };
//! let store = SqliteStore::open(folder.path(), options)?;
//! disk.set_full(true); // from now on appends are refused, and reading goes on
//! # drop(store);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod plan;
mod tape;
mod vfs;

pub use plan::{FaultPlan, Faults};
pub use tape::{Change, DiskOp, Files, Tape};

use parking_lot::{Condvar, Mutex};
use plan::Dice;
use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

/// A disk that fails on command: SQLite's own file access with writes, reads and syncs that can be told to fail, and a
/// record of all that changed the files, from which [`Tape::after_power_loss`] makes what a disk may hold after that.
///
/// A handle; copies speak to the same disk. Name it in [`SqliteOptions::vfs`](crate::SqliteOptions::vfs). What goes
/// through shared memory (SQLite's index of its log) is not seen: it does not outlive the process and needs no disk.
/// Syncs end here: what they would make durable stands on the tape, and the real disk has other things to do.
///
/// # Ordering
/// A switch acts from the next operation of the disk on. Operations of one store come from one thread, so a seeded plan
/// fails the same ones each time it meets the same work.
#[derive(Clone, Copy)]
pub struct FaultyVfs {
    disk: &'static Disk,
}

pub(crate) struct Disk {
    name: &'static std::ffi::CStr,
    syncs: AtomicU64,
    syncs_after_failure: AtomicU64,
    failing_syncs: AtomicBool,
    failing_writes: AtomicBool,
    full: AtomicBool,
    held: Mutex<bool>,
    released: Condvar,
    tape: Mutex<Option<Vec<DiskOp>>>,
    dice: Mutex<Option<Dice>>,
    tables: vfs::Tables,
}

impl FaultyVfs {
    /// Registers a disk with SQLite under `name`, for the rest of the process: a few hundred bytes that are never freed.
    ///
    /// # Panics
    /// When `name` holds a zero byte, or SQLite refuses.
    #[must_use]
    pub fn register(name: &str) -> Self {
        let name = std::ffi::CString::new(name).expect("a name without zero bytes");
        let disk: &'static Disk = Box::leak(Box::new(Disk {
            name: Box::leak(name.into_boxed_c_str()),
            syncs: AtomicU64::new(0),
            syncs_after_failure: AtomicU64::new(0),
            failing_syncs: AtomicBool::new(false),
            failing_writes: AtomicBool::new(false),
            full: AtomicBool::new(false),
            held: Mutex::new(false),
            released: Condvar::new(),
            tape: Mutex::new(None),
            dice: Mutex::new(None),
            tables: Mutex::new(HashMap::new()),
        }));
        vfs::register(disk);
        Self { disk }
    }

    /// The name SQLite knows it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.disk.name.to_str().unwrap_or_default()
    }

    /// While set, no write finds room.
    pub fn set_full(self, full: bool) {
        self.disk.full.store(full, SeqCst);
    }

    /// While set, each write fails as a broken disk's does.
    pub fn set_failing_writes(self, failing: bool) {
        self.disk.failing_writes.store(failing, SeqCst);
    }

    /// While set, each sync fails as a broken disk's does.
    pub fn set_failing_syncs(self, failing: bool) {
        self.disk.failing_syncs.store(failing, SeqCst);
    }

    /// From now on each sync takes until [`release_syncs`](Self::release_syncs).
    pub fn hold_syncs(self) {
        *self.disk.held.lock() = true;
    }

    /// Lets the syncs go on that are held.
    pub fn release_syncs(self) {
        *self.disk.held.lock() = false;
        self.disk.released.notify_all();
    }

    /// From now on operations fail at random, as `plan` says; `None` ends that. Switches come before the plan.
    pub fn set_plan(self, plan: Option<FaultPlan>) {
        *self.disk.dice.lock() = plan.map(Dice::new);
    }

    /// How often the plan has struck since it was set.
    #[must_use]
    pub fn faults(self) -> Faults {
        self.disk.dice.lock().as_ref().map(|dice| dice.struck).unwrap_or_default()
    }

    /// Syncs asked for, failed ones included.
    #[must_use]
    pub fn syncs(self) -> u64 {
        self.disk.syncs.load(SeqCst)
    }

    /// Syncs asked of an open file of which one had failed before. A failed sync may have marked pages clean that never
    /// reached the disk, so the second proves nothing: a store that keeps its promises leaves this at 0.
    #[must_use]
    pub fn syncs_after_failure(self) -> u64 {
        self.disk.syncs_after_failure.load(SeqCst)
    }

    /// From now on everything that changes files is recorded, in memory.
    pub fn record(self) {
        *self.disk.tape.lock() = Some(Vec::new());
    }

    /// How many operations are recorded.
    #[must_use]
    pub fn recorded(self) -> usize {
        self.disk.tape.lock().as_ref().map_or(0, Vec::len)
    }

    /// Ends recording and answers what there is.
    #[must_use]
    pub fn take_tape(self) -> Tape {
        Tape::new(self.disk.tape.lock().take().unwrap_or_default())
    }
}

impl Disk {
    fn note(&self, file: &str, change: impl FnOnce() -> Change) {
        if let Some(tape) = &mut *self.tape.lock() {
            tape.push(DiskOp { file: file.to_owned(), change: change() });
        }
    }
}
