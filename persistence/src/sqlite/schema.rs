//! Tables, and connections with the settings the store depends on.

use super::{Durability, OpenError, SqliteOptions};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, ffi};
use std::{path::Path, time::Duration};

/// 3.7.0 to 3.51.2 can corrupt the write-ahead log when two connections checkpoint at once.
const LIBRARY_VERSION_MIN: i32 = 3_051_003;

/// How long a statement waits for another connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Page cache of a connection that is opened for one task beside a running store.
const OUTSIDE_CACHE_KIB: u32 = 16_384;

/// Statements the writer and readers use fit in here, so that none is ever prepared twice.
const STATEMENTS_CACHED: usize = 64;

/// What each version of the schema adds to the one before it, from version 1 on. Stores out there were made by these very
/// texts: add a step, never change one.
const STEPS: &[&str] = &[TABLES, PROJECTIONS, STATE, FEEDS];

/// The version this program writes.
pub(crate) const SCHEMA_VERSION: i64 = STEPS.len() as i64;

/// `journal.ordering` is the commit order of the whole store, without gaps to look for; AUTOINCREMENT, because a deleted
/// tail must not be numbered again. `entity.highest_seq` is written when events are deleted: else it follows from the
/// journal. `owner.entity_epoch_max` keeps a shard's claim above those of its entities.
const TABLES: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE manifest(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE entity(pid INTEGER PRIMARY KEY, persistence_id TEXT NOT NULL UNIQUE, entity_type TEXT NOT NULL,
  slice INTEGER NOT NULL, epoch INTEGER NOT NULL DEFAULT 0, highest_seq INTEGER NOT NULL DEFAULT 0,
  deleted_to INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE journal(ordering INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL, seq_nr INTEGER NOT NULL,
  epoch INTEGER NOT NULL, batch_id BLOB, time_ms INTEGER NOT NULL, manifest INTEGER NOT NULL, payload BLOB NOT NULL,
  meta BLOB, crc INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX journal_pid_seq ON journal(pid, seq_nr);
CREATE TABLE tag(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE journal_tag(tag INTEGER NOT NULL, ordering INTEGER NOT NULL, PRIMARY KEY(tag, ordering))
  STRICT, WITHOUT ROWID;
CREATE INDEX journal_tag_ordering ON journal_tag(ordering);
CREATE TABLE snapshot(pid INTEGER NOT NULL, seq_nr INTEGER NOT NULL, epoch INTEGER NOT NULL, time_ms INTEGER NOT NULL,
  manifest INTEGER NOT NULL, payload BLOB NOT NULL, meta BLOB, crc INTEGER NOT NULL, PRIMARY KEY(pid, seq_nr)) STRICT;
CREATE TABLE owner(entity_type TEXT NOT NULL, shard INTEGER NOT NULL, epoch INTEGER NOT NULL,
  entity_epoch_max INTEGER NOT NULL, owner TEXT NOT NULL, PRIMARY KEY(entity_type, shard)) STRICT, WITHOUT ROWID;
CREATE TABLE sweep(pid INTEGER PRIMARY KEY) STRICT;
";

/// `projection.position` is how far a consumer group has got, in `journal.ordering`; `epoch` shuts out its older instances.
/// `parked` holds what a group has given up on, by the event's place: the event itself stays in the journal.
const PROJECTIONS: &str = "
CREATE TABLE projection(id INTEGER PRIMARY KEY, consumer_group TEXT NOT NULL, source TEXT NOT NULL,
  epoch INTEGER NOT NULL, position INTEGER NOT NULL, UNIQUE(consumer_group, source)) STRICT;
CREATE TABLE parked(projection INTEGER NOT NULL, position INTEGER NOT NULL, persistence_id TEXT NOT NULL,
  seq_nr INTEGER NOT NULL, attempts INTEGER NOT NULL, reason TEXT NOT NULL, time_ms INTEGER NOT NULL,
  replay INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(projection, position)) STRICT, WITHOUT ROWID;
";

/// `state.payload` is NULL once the state was deleted; the row stays for its revision. `change` is the commit order of
/// all states: whoever follows them reads on from the last one seen. `pid` is no row number, so that a damaged one shows
/// as a row the index cannot find instead of a state that never was.
const STATE: &str = "
CREATE TABLE state(change INTEGER PRIMARY KEY, pid INTEGER NOT NULL UNIQUE, revision INTEGER NOT NULL,
  epoch INTEGER NOT NULL, batch_id BLOB NOT NULL, time_ms INTEGER NOT NULL, manifest INTEGER, payload BLOB, meta BLOB,
  crc INTEGER NOT NULL) STRICT;
";

/// Readers may select states by tag. Offsets are kept whole, for consumers that read from another kind of store, and a
/// consumer that is paused stays so.
const FEEDS: &str = "
ALTER TABLE state ADD COLUMN tag TEXT;
ALTER TABLE projection ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE projection ADD COLUMN tx INTEGER NOT NULL DEFAULT 0;
ALTER TABLE projection ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE parked RENAME TO parked_before;
CREATE TABLE parked(projection INTEGER NOT NULL, generation INTEGER NOT NULL, tx INTEGER NOT NULL,
  position INTEGER NOT NULL, persistence_id TEXT NOT NULL, seq_nr INTEGER NOT NULL, attempts INTEGER NOT NULL,
  reason TEXT NOT NULL, time_ms INTEGER NOT NULL, replay INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(projection, generation, tx, position)) STRICT, WITHOUT ROWID;
INSERT INTO parked SELECT projection, 0, 0, position, persistence_id, seq_nr, attempts, reason, time_ms, replay
  FROM parked_before;
DROP TABLE parked_before;
";

/// The writer's connection, with the tables in place.
pub(crate) fn open_writer(path: &Path, options: &SqliteOptions) -> Result<Connection, OpenError> {
    check_library()?;
    let open = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let db = connect(path, flags, options)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", synchronous(options.durability))?;
        // The writer checkpoints by itself, after it has answered.
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        db.pragma_update(None, "cache_size", -i64::from(options.cache_kib))?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        db.pragma_update(None, "mmap_size", 0)?;
        if let Some(pages) = options.pages_max {
            db.pragma_update(None, "max_page_count", pages.get())?;
        }
        Ok(db)
    };
    let mut db = open().map_err(|error| open_error(path, &error))?;
    let journal_mode: String =
        db.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(|error| open_error(path, &error))?;
    if journal_mode != "wal" {
        let reason = format!("journal mode is {journal_mode:?}; the file system must support shared memory files");
        return Err(OpenError::Io { path: path.to_owned(), reason });
    }
    check_schema(&mut db, path)?;
    Ok(db)
}

/// A connection that can only read.
pub(crate) fn open_reader(path: &Path, options: &SqliteOptions) -> Result<Connection, OpenError> {
    let open = || -> rusqlite::Result<Connection> {
        let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, options)?;
        db.pragma_update(None, "query_only", true)?;
        // Checkpoints are the writer's alone.
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        db.pragma_update(None, "cache_size", -i64::from(options.cache_kib / 8))?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        db.pragma_update(None, "mmap_size", 0)?;
        Ok(db)
    };
    open().map_err(|error| open_error(path, &error))
}

/// A connection of somebody who looks in from outside: to SQLite the file itself is read-only. It never checkpoints.
/// `alone` reads a database that nobody writes to and that has no log, such as a backup on a medium that cannot be written.
pub(crate) fn open_from_outside(path: &Path, alone: bool) -> Result<Connection, OpenError> {
    check_library()?;
    let open = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let options = SqliteOptions::default();
        let db = if alone {
            connect(Path::new(&immutable_uri(path)), flags | OpenFlags::SQLITE_OPEN_URI, &options)?
        } else {
            connect(path, flags, &options)?
        };
        db.pragma_update(None, "query_only", true)?;
        db.pragma_update(None, "cache_size", -i64::from(OUTSIDE_CACHE_KIB))?;
        db.pragma_update(None, "mmap_size", 0)?;
        Ok(db)
    };
    open().map_err(|error| open_error(path, &error))
}

/// An empty database with this version's tables, to be filled by one connection and synced by whoever does so: until then
/// a crash leaves nothing of use.
pub(crate) fn create_unsynced(path: &Path) -> Result<Connection, OpenError> {
    check_library()?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let open = || -> rusqlite::Result<Connection> {
        let db = connect(path, flags, &SqliteOptions::default())?;
        db.pragma_update(None, "journal_mode", "OFF")?;
        db.pragma_update(None, "synchronous", "OFF")?;
        db.pragma_update(None, "cache_size", -i64::from(OUTSIDE_CACHE_KIB))?;
        Ok(db)
    };
    let mut db = open().map_err(|error| open_error(path, &error))?;
    check_schema(&mut db, path)?;
    Ok(db)
}

/// `path` as a URI that tells SQLite to look for no log and take no locks.
fn immutable_uri(path: &Path) -> String {
    let escape = |&byte: &u8| match byte {
        b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    let path: String = path.as_os_str().as_encoded_bytes().iter().map(escape).collect();
    format!("file:{path}?immutable=1")
}

fn connect(path: &Path, flags: OpenFlags, options: &SqliteOptions) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = match &options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?,
        None => Connection::open_with_flags(path, flags)?,
    };
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(db)
}

/// Runs `work`, which waits for other connections no longer than `wait`.
pub(crate) fn in_less_time<T>(
    db: &Connection,
    wait: Duration,
    work: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    db.busy_timeout(wait)?;
    let done = work();
    db.busy_timeout(BUSY_TIMEOUT)?;
    done
}

fn check_library() -> Result<(), OpenError> {
    let found = rusqlite::version_number();
    if found < LIBRARY_VERSION_MIN {
        return Err(OpenError::LibraryTooOld { found, needed: LIBRARY_VERSION_MIN });
    }
    Ok(())
}

/// Brings an empty or older database to this version, in one transaction; refuses one that is newer or not ours.
fn check_schema(db: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error| open_error(path, &error);
    let found = schema_version(db, path)?;
    if found == SCHEMA_VERSION {
        return Ok(());
    }
    if found > SCHEMA_VERSION {
        return Err(OpenError::NewerSchema { path: path.to_owned(), found, supported: SCHEMA_VERSION });
    }
    let transaction = db.transaction().map_err(failed)?;
    for (version, step) in (1..).zip(STEPS).filter(|&(version, _)| version > found) {
        transaction.execute_batch(step).map_err(failed)?;
        tracing::debug!(path = %path.display(), version, "schema step applied");
    }
    transaction
        .execute("INSERT OR REPLACE INTO meta(key, value) VALUES ('schema_version', ?1)", [SCHEMA_VERSION])
        .map_err(failed)?;
    transaction.commit().map_err(failed)?;
    if found > 0 {
        tracing::info!(path = %path.display(), from = found, to = SCHEMA_VERSION, "store upgraded");
    }
    Ok(())
}

/// The version of the tables found; 0 for an empty database.
pub(crate) fn schema_version(db: &Connection, path: &Path) -> Result<i64, OpenError> {
    let failed = |error| open_error(path, &error);
    let foreign = |reason| OpenError::Foreign { path: path.to_owned(), reason };
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0)).map_err(failed)?;
    if tables == 0 {
        return Ok(0);
    }
    let version =
        db.query_row("SELECT value FROM meta WHERE key = 'schema_version'", (), |row| row.get::<_, i64>(0)).optional();
    match version {
        Ok(Some(found @ 1..)) => Ok(found),
        Ok(found) => Err(foreign(format!("schema version {found:?}"))),
        Err(rusqlite::Error::SqliteFailure(ffi::Error { code: ErrorCode::Unknown, .. }, text)) => {
            Err(foreign(text.unwrap_or_default()))
        }
        Err(error) => Err(failed(error)),
    }
}

pub(super) fn open_error(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            OpenError::ReadOnly { path, reason: error.to_string() }
        }
        _ => OpenError::Io { path, reason: error.to_string() },
    }
}

fn synchronous(durability: Durability) -> &'static str {
    match durability {
        Durability::Fsync => "FULL",
        Durability::Os => "NORMAL",
    }
}
