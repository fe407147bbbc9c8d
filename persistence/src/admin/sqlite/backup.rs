//! Copies the database, page by page, as it is at one moment.

use super::{Stop, as_number, go_on};
use crate::admin::{AdminError, Progress};
use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};
use std::path::Path;

/// Pages copied between two looks at the progress: 1 MiB.
const PAGES: i32 = 256;

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
