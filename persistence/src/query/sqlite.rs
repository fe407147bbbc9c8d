//! [`SqliteStore`] as an [`EventFeed`]: `journal.ordering` is the commit order, because one writer numbers and commits.

use super::{Changes, EventFeed, FeedEvent, FeedPage};
use crate::{
    BoxFuture, JournalError, PersistenceId, RawEvent, ReplayLimit, SqliteStore, Stored,
    sqlite::{ReadError, ReadRequest, StoredRow, clamped},
};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;

impl EventFeed<RawEvent> for SqliteStore {
    fn page(
        &self,
        entity_type: Arc<str>,
        after: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<FeedPage<RawEvent>, JournalError>> {
        self.read(|reply| ReadRequest::Feed { entity_type, after, limit, reply })
    }

    fn changes(&self) -> Changes {
        Changes::of(self.events_stored())
    }
}

/// Rows of any type looked at for one page: bounds what a page of a rare type costs.
const SCANNED_MAX: i64 = 20_000;

const END: &str = "SELECT coalesce(max(ordering), 0) FROM journal";

const SCAN_END: &str = "SELECT ordering FROM journal WHERE ordering > ?1 ORDER BY ordering LIMIT 1 OFFSET ?2";

/// The joins are written in the order they must run in: along the journal, never by entity.
const FEED: &str = "
SELECT 'journal.ordering ' || j.ordering, j.seq_nr, j.epoch, j.time_ms, j.batch_id, m.name, j.payload, j.meta, j.crc,
  j.ordering, e.persistence_id
FROM journal j CROSS JOIN entity e ON e.pid = j.pid LEFT JOIN manifest m ON m.id = j.manifest
WHERE j.ordering > ?1 AND j.ordering <= ?2 AND e.entity_type = ?3 AND j.seq_nr > e.deleted_to
ORDER BY j.ordering LIMIT ?4";

/// Where reading ends is decided before rows are read. What is committed in between lies behind it.
pub(crate) fn page(
    db: &Connection,
    entity_type: &str,
    after: u64,
    limit: ReplayLimit,
) -> Result<FeedPage<RawEvent>, ReadError> {
    let end: i64 = db.prepare_cached(END)?.query_row((), |row| row.get(0))?;
    let end = end.max(clamped(after));
    let scanned: Option<i64> =
        db.prepare_cached(SCAN_END)?.query_row([clamped(after), SCANNED_MAX - 1], |row| row.get(0)).optional()?;
    let mut read_to = scanned.unwrap_or(end).min(end) as u64;
    let mut statement = db.prepare_cached(FEED)?;
    let events_max = limit.events.max(1);
    let mut rows =
        statement.query(params![clamped(after), clamped(read_to), entity_type, clamped(events_max as u64)])?;
    let (mut events, mut bytes) = (Vec::new(), 0_usize);
    while let Some(row) = rows.next()? {
        let (offset, id): (i64, String) = (row.get(9)?, row.get(10)?);
        let stored = StoredRow::read(row)?;
        let id = PersistenceId::parse(&id).unwrap_or_else(|| PersistenceId::of("", &id));
        let manifest = match stored.check(&id) {
            Ok(manifest) => manifest,
            // What comes before the damage can still be read.
            Err(_) if !events.is_empty() => {
                read_to = offset as u64 - 1;
                break;
            }
            Err(error) => return Err(error),
        };
        let event = stored.into_event(manifest);
        bytes = bytes.saturating_add(event.event.weight());
        events.push(FeedEvent { offset: offset as u64, id, stored: event });
        if events.len() >= events_max || bytes >= limit.bytes {
            read_to = offset as u64;
            break;
        }
    }
    Ok(FeedPage { events, read_to, end: end as u64 })
}

impl StoredRow {
    fn into_event(self, manifest: Arc<str>) -> Stored<RawEvent> {
        let (seq_nr, epoch, time_ms) = (self.seq_nr as u64, self.epoch as u64, self.time_ms as u64);
        Stored { seq_nr, epoch, time_ms, event: RawEvent { manifest, payload: self.payload, meta: self.meta } }
    }
}
