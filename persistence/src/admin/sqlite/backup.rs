//! Copies the database, page by page, as it is at one moment.

use super::{Stop, as_number, go_on};
use crate::admin::{AdminError, Progress, place};
use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Pages copied between two looks at the progress: 1 MiB.
const PAGES: i32 = 256;

/// A file that is not finished; removed unless it gets its name.
pub(super) struct Unfinished(PathBuf);

impl Unfinished {
    /// As [`beside`](Self::beside), unless `to` is there already.
    pub(super) fn begin(to: &Path) -> Result<Self, AdminError> {
        if to.symlink_metadata().is_ok() {
            return Err(place::taken(to));
        }
        Self::beside(to)
    }

    /// Gives it its name, durably.
    pub(super) fn publish(self, to: &Path) -> Result<(), AdminError> {
        place::publish(&self.0, to)
    }

    /// The file beside `to` in which it grows. What an earlier attempt that was killed has left there goes.
    pub(super) fn beside(to: &Path) -> Result<Self, AdminError> {
        let mut name = to.as_os_str().to_owned();
        name.push(".unfinished");
        let path = PathBuf::from(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(place::failed(&path, &error)),
            _ => Ok(Self(path)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Has its name by now, or is of no use.
        let _ = fs::remove_file(&self.0);
    }
}

/// Copies into a new file, which is not synced.
///
/// `db` must be in a transaction: SQLite starts a copy again whenever somebody else commits, which under load would be for
/// ever, but nothing is committed within the moment that a transaction sees.
pub(super) fn copy(db: &Connection, to: &Path, progress: &Progress) -> Result<(), Stop> {
    let unwritable = |error: rusqlite::Error| {
        Stop::Because(AdminError::Failed { place: to.display().to_string(), reason: error.to_string() })
    };
    // The first read fixes the moment.
    let pages: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", (), |_| {
        db.pragma_query_value(None, "page_count", |row| row.get(0))
    })?;
    progress.begin("copying pages", as_number(pages));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(to, flags).map_err(unwritable)?;
    copy.pragma_update(None, "journal_mode", "OFF").map_err(unwritable)?;
    copy.pragma_update(None, "synchronous", "OFF").map_err(unwritable)?;
    let backup = Backup::new(db, &mut copy)?;
    loop {
        go_on(progress)?;
        // Anything but "done" is "more": nobody else has the copy, and who reads waits for nobody.
        if backup.step(PAGES).map_err(unwritable)? == StepResult::Done {
            break;
        }
        let left = backup.progress();
        progress.set(u64::try_from(left.pagecount - left.remaining).unwrap_or(0));
    }
    drop(backup);
    copy.close().map_err(|(_, error)| unwritable(error))
}
