//! [`Tape`]: what a disk was asked to do, and what it may hold when the power goes.

use super::plan::SECTOR;
use rand::Rng;
use std::{collections::BTreeMap, fs, io, path::Path};

/// One operation that changed a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOp {
    /// Name of the file, without its folder.
    pub file: String,
    /// What happened to it.
    pub change: Change,
}

/// What happened to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Bytes were written.
    Write {
        /// Where the first went.
        at: usize,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The file was cut, or stretched with zeros.
    Truncate {
        /// Its new length.
        len: usize,
    },
    /// A sync succeeded: all before it is durable, but for what an earlier sync failed to make so.
    Sync,
    /// A sync failed: nobody knows about what came since the one before it, and no later sync makes it durable.
    SyncFailed,
}

/// Operations of a disk, in order.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    ops: Vec<DiskOp>,
}

/// Files of a folder, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, Vec<u8>>);

impl Tape {
    pub(super) fn new(ops: Vec<DiskOp>) -> Self {
        Self { ops }
    }

    /// What was done.
    #[must_use]
    pub fn ops(&self) -> &[DiskOp] {
        &self.ops
    }

    /// What may be found after the power went when `moment` operations were done: all that was durable by then, and of
    /// the rest each sector of 512 bytes or not, as `random` decides. `before` is what the files held when recording
    /// began.
    ///
    /// A file that was removed in between is none here: record no store that gets closed.
    ///
    /// # Panics
    /// When `moment` is past the end.
    #[must_use]
    pub fn after_power_loss(&self, before: &Files, moment: usize, random: &mut impl Rng) -> Files {
        let done = &self.ops[..moment];
        let mut files = before.clone();
        for (index, DiskOp { file, change }) in done.iter().enumerate() {
            // The rollback journal is used while a store is created only, and deleted by then.
            if file.ends_with("-journal") || file.is_empty() {
                continue;
            }
            let settled = done[index..].iter().find(|later| later.file == *file && later.change.is_sync());
            let durable = settled.is_some_and(|later| later.change == Change::Sync);
            let content = files.0.entry(file.clone()).or_default();
            match change {
                Change::Sync | Change::SyncFailed => {}
                Change::Truncate { len } => {
                    if durable || random.random() {
                        content.resize(*len, 0);
                    }
                }
                Change::Write { at, bytes } => {
                    let mut from = 0;
                    while from < bytes.len() {
                        let to = bytes.len().min(from + SECTOR - (at + from) % SECTOR);
                        if durable || random.random() {
                            content.resize(content.len().max(at + to), 0);
                            content[at + from..at + to].copy_from_slice(&bytes[from..to]);
                        }
                        from = to;
                    }
                }
            }
        }
        files
    }

    /// What is found after the process alone ended when `moment` operations were done: the operating system keeps all
    /// it took.
    ///
    /// # Panics
    /// When `moment` is past the end.
    #[must_use]
    pub fn after_kill(&self, before: &Files, moment: usize) -> Files {
        let mut files = before.clone();
        for DiskOp { file, change } in &self.ops[..moment] {
            if file.ends_with("-journal") || file.is_empty() {
                continue;
            }
            let content = files.0.entry(file.clone()).or_default();
            match change {
                Change::Sync | Change::SyncFailed => {}
                Change::Truncate { len } => content.resize(*len, 0),
                Change::Write { at, bytes } => {
                    content.resize(content.len().max(at + bytes.len()), 0);
                    content[*at..at + bytes.len()].copy_from_slice(bytes);
                }
            }
        }
        files
    }

    /// The first `moment` operations of this tape, and then those of `later`: what one process began, another goes on
    /// with.
    ///
    /// # Panics
    /// When `moment` is past the end.
    #[must_use]
    pub fn followed_by(&self, moment: usize, later: &Tape) -> Self {
        Self { ops: [&self.ops[..moment], &later.ops].concat() }
    }
}

impl Change {
    fn is_sync(&self) -> bool {
        matches!(self, Self::Sync | Self::SyncFailed)
    }
}

impl Files {
    /// Writes all of them into `folder`.
    ///
    /// # Errors
    /// As of [`fs::write`].
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        self.0.iter().try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
    }

    /// The bytes of one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }
}
