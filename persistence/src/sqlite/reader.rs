//! Reader threads: pages of events, highest sequence numbers, snapshots, states. They never block the writer, nor it them.

use super::{
    SqliteOptions,
    request::{ReadRequest, Reply},
    row::{ManifestNames, StoredRow},
    schema,
    state::load_state,
    stats::Stats,
    transaction::clamped,
};
use crate::{
    JournalError, PersistenceId, RawEvent, RawSnapshot, ReplayLimit, Stored, StoredSnapshot, checksum::IdChecksum,
    projection, query,
};
use crossbeam_channel::Receiver;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

pub(crate) struct Reader {
    pub(crate) path: PathBuf,
    pub(crate) options: SqliteOptions,
    pub(crate) queue: Receiver<ReadRequest>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) db: Option<Connection>, // `None` after an error that may lie in the connection
}

impl Reader {
    /// Serves until every handle is gone or [`ReadRequest::Close`] arrives.
    pub(crate) fn run(mut self) {
        loop {
            match self.queue.recv().ok() {
                None | Some(ReadRequest::Close) => return,
                Some(ReadRequest::Replay { id, from, to, limit, reply }) => {
                    self.answer(reply, &id, from, |db| replay(db, &id, from, to, limit));
                }
                Some(ReadRequest::HighestSeq { id, reply }) => {
                    self.answer(reply, &id, 0, |db| highest_seq(db, &id));
                }
                Some(ReadRequest::Feed { query, after, limit, reply }) => {
                    let id = named(&query.entity_type);
                    self.answer(reply, &id, 0, |db| query::page(db, &query, after, limit));
                }
                Some(ReadRequest::OffsetOf { id, seq_nr, reply }) => {
                    self.answer(reply, &id, seq_nr, |db| query::offset_of(db, &id, seq_nr));
                }
                Some(ReadRequest::StateFeed { query, after, limit, reply }) => {
                    let id = named(&query.entity_type);
                    self.answer(reply, &id, 0, |db| query::state_page(db, &query, after, limit));
                }
                Some(ReadRequest::StateOffset { id, reply }) => {
                    self.answer(reply, &id, 0, |db| query::state_offset(db, &id));
                }
                Some(ReadRequest::Ids { entity_type, after, limit, reply }) => {
                    let id = named(entity_type.as_deref().unwrap_or("entity"));
                    self.answer(reply, &id, 0, |db| query::ids(db, entity_type.as_deref(), after.as_ref(), limit));
                }
                Some(ReadRequest::Positions { selection, reply }) => {
                    self.answer(reply, &named("projection"), 0, |db| {
                        projection::positions(db, &projection::STORE, &selection)
                    });
                }
                Some(ReadRequest::Parked { page, reply }) => {
                    self.answer(reply, &named("parked"), 0, |db| projection::parked(db, &projection::STORE, &page));
                }
                Some(ReadRequest::ParkedCount { selection, reply }) => {
                    self.answer(reply, &named("parked"), 0, |db| {
                        projection::parked_count(db, &projection::STORE, &selection)
                    });
                }
                Some(ReadRequest::LoadState { id, reply }) => {
                    self.answer(reply, &id, 0, |db| load_state(db, &id));
                }
                Some(ReadRequest::LoadSnapshot { id, max_seq, reply }) => {
                    self.answer(reply, &id, max_seq, |db| load_snapshot(db, &id, max_seq));
                }
            }
        }
    }

    fn answer<T>(
        &mut self,
        reply: Reply<T>,
        id: &PersistenceId,
        seq_nr: u64,
        read: impl FnOnce(&Connection) -> Result<T, ReadError>,
    ) {
        if reply.is_closed() {
            return; // nobody waits any more
        }
        let result = self.connection().and_then(|db| {
            read(db).map_err(|error| match error {
                ReadError::Damaged(damage) => damage,
                ReadError::Sqlite(error) => explain(&error, id, seq_nr),
            })
        });
        if matches!(&result, Err(JournalError::Unavailable { .. })) {
            self.db = None;
        }
        // Asked after reading: what was read before the writer lost trust in the file was durable.
        let result = if self.stats.suspect.load(Ordering::SeqCst) {
            Err(JournalError::Unavailable { reason: "store is being reopened after a failed sync".into() })
        } else {
            result
        };
        let _ = reply.send(result);
    }

    fn connection(&mut self) -> Result<&Connection, JournalError> {
        if self.db.is_none() {
            let opened = schema::open_reader(&self.path, &self.options);
            self.db = Some(opened.map_err(|error| JournalError::Unavailable { reason: error.to_string() })?);
        }
        Ok(self.db.as_ref().expect("opened above"))
    }
}

/// Stands for a whole type where an error needs an id.
fn named(entity_type: &str) -> PersistenceId {
    PersistenceId::try_of(entity_type, "").unwrap_or_else(|_| PersistenceId::of("", entity_type))
}

pub(crate) enum ReadError {
    Damaged(JournalError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// One statement, so that a deletion in between cannot show as a hole.
const REPLAY: &str = "
SELECT j.ordering, j.seq_nr, j.epoch, j.time_ms, j.batch_id, j.manifest, j.payload, j.meta, j.crc
FROM entity e CROSS JOIN journal j ON j.pid = e.pid
WHERE e.persistence_id = ?1 AND j.seq_nr BETWEEN max(?2, e.deleted_to + 1) AND ?3 ORDER BY j.seq_nr LIMIT ?4";

const SNAPSHOT: &str = "
SELECT s.rowid, s.seq_nr, s.epoch, s.time_ms, NULL, s.manifest, s.payload, s.meta, s.crc
FROM entity e CROSS JOIN snapshot s ON s.pid = e.pid
WHERE e.persistence_id = ?1 AND s.seq_nr <= ?2 ORDER BY s.seq_nr DESC LIMIT 1";

const HIGHEST: &str = "
SELECT max(highest_seq, coalesce((SELECT max(seq_nr) FROM journal j WHERE j.pid = e.pid), 0))
FROM entity e WHERE persistence_id = ?1";

fn replay(
    db: &Connection,
    id: &PersistenceId,
    from: u64,
    to: u64,
    limit: ReplayLimit,
) -> Result<Vec<Stored<RawEvent>>, ReadError> {
    let mut statement = db.prepare_cached(REPLAY)?;
    let rows = limit.events.max(1) as u64;
    let mut rows = statement.query(params![id.as_str(), clamped(from), clamped(to), clamped(rows)])?;
    let (mut page, mut bytes, mut names, checksum) =
        (Vec::with_capacity(64), 0, ManifestNames::new(db), IdChecksum::of(id));
    while let Some(row) = rows.next()? {
        let row = StoredRow::read(row, "journal.ordering")?;
        let stored = row.event(row.check(id, checksum, &mut names)?);
        bytes += stored.event.weight();
        page.push(stored);
        if bytes >= limit.bytes {
            break;
        }
    }
    Ok(page)
}

fn load_snapshot(
    db: &Connection,
    id: &PersistenceId,
    max_seq: u64,
) -> Result<Option<StoredSnapshot<RawSnapshot>>, ReadError> {
    let mut statement = db.prepare_cached(SNAPSHOT)?;
    let mut rows = statement.query(params![id.as_str(), clamped(max_seq)])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let row = StoredRow::read(row, "snapshot.rowid")?;
    let manifest = row.check(id, IdChecksum::of(id), &mut ManifestNames::new(db))?;
    Ok(Some(row.snapshot(manifest)))
}

fn highest_seq(db: &Connection, id: &PersistenceId) -> Result<u64, ReadError> {
    let highest = db.prepare_cached(HIGHEST)?.query_row([id.as_str()], |row| row.get::<_, i64>(0)).optional()?;
    Ok(highest.unwrap_or(0) as u64)
}

/// Damage that SQLite itself noticed is permanent; anything else may pass.
fn explain(error: &rusqlite::Error, id: &PersistenceId, seq_nr: u64) -> JournalError {
    let damaged = matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || error.sqlite_error_code().is_none();
    if damaged {
        let place = "at or after it".to_owned();
        return JournalError::Damaged { id: id.clone(), seq_nr, place, reason: error.to_string() };
    }
    JournalError::Unavailable { reason: error.to_string() }
}
