//! The write-ahead log as a file: making what it says durable before anybody is told of it.
#![allow(unsafe_code, reason = "SQLite gives no other way to the file it has open")]

use rusqlite::{Connection, ErrorCode, ffi};
use std::ffi::c_int;

const FRAME_HEADER: i64 = 24;
const LOG_HEADER: i64 = 32;

/// Writes all that the log holds once more, the same bytes in the same places, and syncs it.
///
/// A process that ended between writing the log and its sync leaves commits that the next one finds, in the memory of the
/// kernel only. And where a sync failed, the kernel may take pages for written that never reached the disk: a second sync
/// would say that all is well, and a checkpoint would mix pages from such a log into the database file. New writes are
/// the only way to know. Each sector holds the same before and after, so power loss in between does no harm.
///
/// Answers the syncs it took: 0 where the log is empty.
pub(super) fn make_durable(db: &Connection) -> rusqlite::Result<u64> {
    let (frames, page_size) = extent(db)?;
    if frames <= 0 {
        return Ok(0);
    }
    alone(db, |log| log.write_again(frames, page_size)).map(|()| 1)
}

/// Makes what stands behind the end of the log worthless: a commit whose sync failed may lie there, which nobody sees
/// now, and which the next process would take for one.
///
/// Not synced: that is [`make_durable`]'s, which comes after it.
pub(super) fn cut_off(db: &Connection) -> rusqlite::Result<()> {
    let (frames, page_size) = extent(db)?;
    alone(db, |log| log.cut_off(frames.max(0), page_size))
}

/// Frames in the log, and bytes of a page.
fn extent(db: &Connection) -> rusqlite::Result<(i64, i64)> {
    let frames = db.query_row("PRAGMA wal_checkpoint(NOOP)", (), |row| row.get(1))?;
    Ok((frames, db.query_row("PRAGMA page_size", (), |row| row.get(0))?))
}

/// Works on the log while no other connection may write to it.
fn alone(db: &Connection, work: impl FnOnce(&LogFile<'_>) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    let done = LogFile::of(db).and_then(|log| work(&log));
    let ended = db.execute_batch("ROLLBACK");
    done.and(ended)
}

/// The log, as `db` has it open.
struct LogFile<'a> {
    file: *mut ffi::sqlite3_file,
    methods: &'a ffi::sqlite3_io_methods,
}

impl<'a> LogFile<'a> {
    fn of(db: &'a Connection) -> rusqlite::Result<Self> {
        let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
        // SAFETY: the connection is open, and this operation stores one pointer to a file where it is told to. The file
        // and its table of functions live as long as the connection, which is borrowed.
        unsafe {
            let operation = ffi::SQLITE_FCNTL_JOURNAL_POINTER;
            let into = std::ptr::from_mut(&mut file).cast();
            check(ffi::sqlite3_file_control(db.handle(), c"main".as_ptr(), operation, into))?;
            let methods = file.as_ref().and_then(|file| file.pMethods.as_ref());
            let methods = methods.ok_or_else(|| failure(ffi::SQLITE_MISUSE))?;
            Ok(Self { file, methods })
        }
    }

    fn write_again(&self, frames: i64, page_size: i64) -> rusqlite::Result<()> {
        let mut bytes = vec![0; (FRAME_HEADER + page_size) as usize];
        let length = bytes.len() as i64;
        let header = self.rewrite(0, &mut bytes[..LOG_HEADER as usize]);
        let written = header
            .and_then(|()| (0..frames).try_for_each(|frame| self.rewrite(LOG_HEADER + frame * length, &mut bytes)));
        match written {
            // Where even old places need new room, a full disk must not keep a store from being read.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => self.sync(),
            written => written.and_then(|()| self.sync()),
        }
    }

    /// A frame without a header is none, nor is any that follows it.
    fn cut_off(&self, frames: i64, page_size: i64) -> rusqlite::Result<()> {
        let (size, write) =
            (self.methods.xFileSize.expect("files have one"), self.methods.xWrite.expect("logs are written"));
        let end = LOG_HEADER + frames * (FRAME_HEADER + page_size);
        let (mut length, nothing) = (0, [0_u8; FRAME_HEADER as usize]);
        // SAFETY: the file is open, see `of`; the number and the bytes live longer than the calls.
        unsafe {
            check(size(self.file, &raw mut length))?;
            if length <= end {
                return Ok(());
            }
            check(write(self.file, nothing.as_ptr().cast(), nothing.len() as c_int, end))
        }
    }

    /// Reads what stands `at`, and writes it there.
    fn rewrite(&self, at: i64, bytes: &mut [u8]) -> rusqlite::Result<()> {
        let (read, write) = (self.methods.xRead.expect("logs are read"), self.methods.xWrite.expect("and written"));
        let count = bytes.len() as c_int;
        // SAFETY: the file is open, see `of`; the buffer holds `count` bytes.
        unsafe {
            check(read(self.file, bytes.as_mut_ptr().cast(), count, at))?;
            check(write(self.file, bytes.as_ptr().cast(), count, at))
        }
    }

    fn sync(&self) -> rusqlite::Result<()> {
        let sync = self.methods.xSync.expect("logs are synced");
        // SAFETY: the file is open, see `of`.
        check(unsafe { sync(self.file, ffi::SQLITE_SYNC_NORMAL) })
    }
}

fn check(code: c_int) -> rusqlite::Result<()> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(failure(code)) }
}

fn failure(code: c_int) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("write-ahead log".to_owned()))
}
