//! [`SqliteOptions`] and the errors of opening a store.

use std::{num::NonZeroU32, path::PathBuf};

/// Settings of a [`SqliteStore`](super::SqliteStore). The defaults fit a server with one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// When a write counts as durable. Default [`Durability::Fsync`].
    pub durability: Durability,
    /// Write requests that may wait; more are refused as unavailable. Default 16,384, at least 1.
    pub queue_requests: usize,
    /// Bytes of payload that may wait for the writer. Default 64 MiB; a single larger request still passes when nothing
    /// else waits.
    pub queue_bytes: usize,
    /// Requests committed together at most. Default 256, at least 1.
    pub batch_requests: usize,
    /// Payload bytes after which no further request joins a batch. Default 1 MiB.
    pub batch_bytes: usize,
    /// Largest payload plus meta of one event or snapshot in bytes; larger ones are rejected. Default 64 MiB, at most
    /// 512 MiB.
    pub payload_bytes_max: usize,
    /// Threads that read, each with its own connection. Default 2, 1 to 16.
    pub readers: usize,
    /// Pages of write-ahead log after which it is copied into the database file. Default 4000 (16 MiB); fewer mean shorter
    /// pauses, more mean more events per second. The log may get four times as long while readers keep it busy.
    pub checkpoint_pages: u32,
    /// Page cache of the writer in KiB, filled on demand. Default 65,536.
    pub cache_kib: u32,
    /// Limit of the database file in pages of 4096 bytes; beyond it writes are refused as on a full disk. Default none.
    pub pages_max: Option<NonZeroU32>,
    /// Name of a VFS registered with SQLite to go through instead of the operating system's. For fault injection.
    pub vfs: Option<String>,
}

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After the disk confirmed it: survives power loss.
    #[default]
    Fsync,
    /// After the operating system took it: survives `kill -9`, but power loss may take the last acknowledged writes.
    Os,
}

/// Why a store could not be opened. Nothing stored was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting is out of range.
    #[error("{field} is {value}, but must be {range}")]
    Settings {
        /// Field of [`SqliteOptions`].
        field: &'static str,
        /// What it was.
        value: u64,
        /// What it may be.
        range: &'static str,
    },
    /// The path names a file; a store is a folder.
    #[error("{} is not a folder; name a folder for the store", path.display())]
    NotAFolder {
        /// The path given.
        path: PathBuf,
    },
    /// The folder or a file in it cannot be written by this process.
    #[error("{} cannot be written ({reason}); give this user write access or choose another folder", path.display())]
    ReadOnly {
        /// The folder or file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// Another process has the store open.
    #[error("store {} is in use by {}; stop that process or choose another folder", folder.display(), holder(*pid))]
    InUse {
        /// The store's folder.
        folder: PathBuf,
        /// The other process, if it has written its number already.
        pid: Option<u32>,
    },
    /// The file in the place of the database is something else.
    #[error("{} is not a SQLite database; move it away or choose another folder", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of this program wrote the store.
    #[error("store {} has schema version {found}, this program knows up to {supported}; run the newer program", path.display())]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// The version stored.
        found: i64,
        /// The newest version known here.
        supported: i64,
    },
    /// The database is one, but not of this program.
    #[error("{} holds a database of another program: {reason}; choose another folder", path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
        /// What is missing or strange.
        reason: String,
    },
    /// The SQLite library linked is one whose write-ahead log can be corrupted.
    #[error("SQLite library version {found} is too old, at least {needed} is needed; build with the bundled one")]
    LibraryTooOld {
        /// The version number linked.
        found: i32,
        /// The lowest accepted.
        needed: i32,
    },
    /// The operating system or SQLite refused.
    #[error("cannot open store at {}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was said.
        reason: String,
    },
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Fsync,
            queue_requests: 16_384,
            queue_bytes: 64 << 20,
            batch_requests: 256,
            batch_bytes: 1 << 20,
            payload_bytes_max: 64 << 20,
            readers: 2,
            checkpoint_pages: 4_000,
            cache_kib: 65_536,
            pages_max: None,
            vfs: None,
        }
    }
}

impl SqliteOptions {
    pub(crate) fn validate(&self) -> Result<(), OpenError> {
        let within = |field, value: usize, low: usize, high: usize, range| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(OpenError::Settings { field, value: value as u64, range })
            }
        };
        within("queue_requests", self.queue_requests, 1, 1 << 24, "1 to 16777216")?;
        within("batch_requests", self.batch_requests, 1, 1 << 16, "1 to 65536")?;
        within("payload_bytes_max", self.payload_bytes_max, 1, 512 << 20, "1 byte to 512 MiB")?;
        within("readers", self.readers, 1, 16, "1 to 16")?;
        within("checkpoint_pages", self.checkpoint_pages as usize, 1, 1 << 20, "1 to 1048576")
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
