//! [`SqliteStore`] as feeds: `journal.ordering` and `state.change` are commit orders, because one writer numbers and
//! commits.

use super::{
    Changes, EntityIds, EventFeed, FeedEvent, FeedPage, FeedQuery, StateChange, StateFeed, StatePage, memory::plain,
};
use crate::{
    BoxFuture, JournalError, Offset, PersistenceId, RawEvent, RawState, ReplayLimit, SqliteStore,
    checksum::IdChecksum,
    sqlite::{ManifestNames, ReadError, ReadRequest, StateRow, StoredRow, clamped},
};
use futures_util::FutureExt;
use rusqlite::{Connection, OptionalExtension, named_params, params};
use std::{future::ready, sync::Arc};

impl EventFeed<RawEvent> for SqliteStore {
    fn page(
        &self,
        query: FeedQuery,
        after: Offset,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<FeedPage<RawEvent>, JournalError>> {
        match plain(after) {
            Ok(after) => self.read(|reply| ReadRequest::Feed { query, after, limit, reply }),
            Err(error) => ready(Err(error)).boxed(),
        }
    }

    fn offset_of(&self, id: PersistenceId, seq_nr: u64) -> BoxFuture<'static, Result<Option<Offset>, JournalError>> {
        self.read(|reply| ReadRequest::OffsetOf { id, seq_nr, reply })
    }

    fn changes(&self) -> Changes {
        Changes::of(self.events_stored())
    }
}

impl StateFeed<RawState> for SqliteStore {
    fn page(
        &self,
        query: FeedQuery,
        after: Offset,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<StatePage<RawState>, JournalError>> {
        match plain(after) {
            Ok(after) => self.read(|reply| ReadRequest::StateFeed { query, after, limit, reply }),
            Err(error) => ready(Err(error)).boxed(),
        }
    }

    fn last_offset(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<Offset>, JournalError>> {
        self.read(|reply| ReadRequest::StateOffset { id, reply })
    }

    fn changes(&self) -> Changes {
        Changes::of(self.states_stored())
    }
}

impl EntityIds for SqliteStore {
    fn ids(
        &self,
        entity_type: Option<Arc<str>>,
        after: Option<PersistenceId>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<PersistenceId>, JournalError>> {
        self.read(|reply| ReadRequest::Ids { entity_type, after, limit, reply })
    }

    fn id_changes(&self) -> Changes {
        Changes::of_both(self.events_stored(), self.states_stored())
    }
}

/// Rows looked at for one page, whether the query takes them or not: bounds what a page of a rare type costs. As many as the
/// page may hold within these, since they are counted before they are read.
const SCANNED: (usize, usize) = (1_000, 20_000);

/// What is read along: numbered rows, of which the last is the end.
struct Order {
    end: &'static str,
    /// A row that is so many behind a place, or fewer.
    scan_end: &'static str,
}

const EVENTS: Order = Order {
    end: "SELECT coalesce(max(ordering), 0) FROM journal",
    // Numbers have gaps only where events were deleted: counted from the first, they save a walk along all rows.
    scan_end: "SELECT ordering + ?2 FROM journal WHERE ordering > ?1 ORDER BY ordering LIMIT 1",
};

const TAGGED_EVENTS: Order = Order {
    end: EVENTS.end,
    scan_end: "SELECT ordering FROM journal_tag WHERE tag = (SELECT id FROM tag WHERE name = ?3) AND ordering > ?1
               ORDER BY ordering LIMIT 1 OFFSET ?2",
};

const STATES: Order = Order {
    end: "SELECT coalesce(max(change), 0) FROM state",
    scan_end: "SELECT change FROM state WHERE change > ?1 ORDER BY change LIMIT 1 OFFSET ?2",
};

/// The joins are written in the order they must run in: along the journal, never by entity.
const FEED: &str = "
SELECT j.ordering, j.seq_nr, j.epoch, j.time_ms, j.batch_id, j.manifest, j.payload, j.meta, j.crc,
  e.persistence_id
FROM journal j CROSS JOIN entity e ON e.pid = j.pid
WHERE j.ordering > :after AND j.ordering <= :to AND e.entity_type = :type AND e.slice BETWEEN :first AND :last
  AND j.seq_nr > e.deleted_to AND :tag IS NULL
ORDER BY j.ordering LIMIT :limit";

/// Along the tag's own rows.
const TAGGED_FEED: &str = "
SELECT j.ordering, j.seq_nr, j.epoch, j.time_ms, j.batch_id, j.manifest, j.payload, j.meta, j.crc,
  e.persistence_id
FROM tag t CROSS JOIN journal_tag g ON g.tag = t.id CROSS JOIN journal j ON j.ordering = g.ordering
  CROSS JOIN entity e ON e.pid = j.pid
WHERE t.name = :tag AND g.ordering > :after AND g.ordering <= :to AND e.entity_type = :type
  AND e.slice BETWEEN :first AND :last AND j.seq_nr > e.deleted_to
ORDER BY g.ordering LIMIT :limit";

/// Where reading ends is decided before rows are read: `(read_to, end)`. What is committed in between lies behind it.
fn bounds(
    db: &Connection,
    order: &Order,
    after: u64,
    limit: ReplayLimit,
    tag: Option<&Arc<str>>,
) -> rusqlite::Result<(u64, u64)> {
    let end: i64 = db.prepare_cached(order.end)?.query_row((), |row| row.get(0))?;
    let end = end.max(clamped(after));
    let mut scan_end = db.prepare_cached(order.scan_end)?;
    let number = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let behind = clamped(limit.events.clamp(SCANNED.0, SCANNED.1) as u64 - 1);
    let scanned = match tag {
        Some(tag) => scan_end.query_row(params![clamped(after), behind, tag], number),
        None => scan_end.query_row(params![clamped(after), behind], number),
    };
    Ok((scanned.optional()?.unwrap_or(end).min(end) as u64, end as u64))
}

pub(crate) fn page(
    db: &Connection,
    query: &FeedQuery,
    after: u64,
    limit: ReplayLimit,
) -> Result<FeedPage<RawEvent>, ReadError> {
    let (order, feed) = if query.tag.is_some() { (&TAGGED_EVENTS, TAGGED_FEED) } else { (&EVENTS, FEED) };
    let (mut read_to, end) = bounds(db, order, after, limit, query.tag.as_ref())?;
    let mut statement = db.prepare_cached(feed)?;
    let events_max = limit.events.max(1);
    let mut rows = statement.query(named_params! {
        ":after": clamped(after), ":to": clamped(read_to), ":type": query.entity_type, ":tag": query.tag,
        ":first": query.slices.start(), ":last": query.slices.end(), ":limit": clamped(events_max as u64),
    })?;
    let (mut events, mut bytes, mut names) = (Vec::new(), 0_usize, ManifestNames::new(db));
    while let Some(row) = rows.next()? {
        let id = row.get_ref(9)?.as_str().map_err(rusqlite::Error::from)?;
        let id = PersistenceId::parse(id).unwrap_or_else(|| PersistenceId::of("", id));
        let stored = StoredRow::read(row, "journal.ordering")?;
        let offset = stored.key;
        let manifest = match stored.check(&id, IdChecksum::of(&id), &mut names) {
            Ok(manifest) => manifest,
            // What comes before the damage can still be read.
            Err(_) if !events.is_empty() => {
                read_to = offset as u64 - 1;
                break;
            }
            Err(error) => return Err(error),
        };
        let event = stored.event(manifest);
        bytes = bytes.saturating_add(event.event.weight());
        events.push(FeedEvent { offset: Offset::of_ordering(offset as u64), id, stored: event });
        if events.len() >= events_max || bytes >= limit.bytes {
            read_to = offset as u64;
            break;
        }
    }
    Ok(FeedPage { events, read_to: Offset::of_ordering(read_to), end: Offset::of_ordering(end) })
}

const OFFSET: &str = "
SELECT j.ordering FROM entity e CROSS JOIN journal j ON j.pid = e.pid
WHERE e.persistence_id = ?1 AND j.seq_nr >= max(?2, e.deleted_to + 1) ORDER BY j.seq_nr LIMIT 1";

pub(crate) fn offset_of(db: &Connection, id: &PersistenceId, seq_nr: u64) -> Result<Option<Offset>, ReadError> {
    let mut statement = db.prepare_cached(OFFSET)?;
    let found = statement.query_row(params![id.as_str(), clamped(seq_nr)], |row| row.get::<_, i64>(0)).optional()?;
    Ok(found.map(|ordering| Offset::of_ordering(ordering as u64)))
}

/// Left join: a lost manifest is damage, not a state that never was.
const STATE_FEED: &str = "
SELECT s.revision, s.epoch, s.change, s.batch_id, s.time_ms, s.manifest IS NULL, m.name, s.payload, s.meta, s.crc,
  e.persistence_id
FROM state s CROSS JOIN entity e ON e.pid = s.pid LEFT JOIN manifest m ON m.id = s.manifest
WHERE s.change > :after AND s.change <= :to AND e.entity_type = :type AND e.slice BETWEEN :first AND :last
  AND (:tag IS NULL OR s.tag = :tag)
ORDER BY s.change LIMIT :limit";

pub(crate) fn state_page(
    db: &Connection,
    query: &FeedQuery,
    after: u64,
    limit: ReplayLimit,
) -> Result<StatePage<RawState>, ReadError> {
    // A state that is written in between moves behind the end, where the next page finds it.
    let (mut read_to, end) = bounds(db, &STATES, after, limit, None)?;
    let mut statement = db.prepare_cached(STATE_FEED)?;
    let states_max = limit.events.max(1);
    let mut rows = statement.query(named_params! {
        ":after": clamped(after), ":to": clamped(read_to), ":type": query.entity_type, ":tag": query.tag,
        ":first": query.slices.start(), ":last": query.slices.end(), ":limit": clamped(states_max as u64),
    })?;
    let (mut states, mut bytes) = (Vec::new(), 0_usize);
    while let Some(row) = rows.next()? {
        let id: String = row.get(10)?;
        let id = PersistenceId::parse(&id).unwrap_or_else(|| PersistenceId::of("", &id));
        let row = StateRow::read(row)?;
        let change = row.change as u64;
        let stored = match row.check(&id) {
            Ok(stored) => stored,
            // What comes before the damage can still be read.
            Err(_) if !states.is_empty() => {
                read_to = change - 1;
                break;
            }
            Err(error) => return Err(error),
        };
        bytes = bytes.saturating_add(stored.weight());
        states.push(StateChange { offset: Offset::of_ordering(change), id, stored });
        if states.len() >= states_max || bytes >= limit.bytes {
            read_to = change;
            break;
        }
    }
    Ok(StatePage { states, read_to: Offset::of_ordering(read_to), end: Offset::of_ordering(end) })
}

const STATE_OFFSET: &str = "
SELECT s.change FROM entity e CROSS JOIN state s ON s.pid = e.pid WHERE e.persistence_id = ?1";

pub(crate) fn state_offset(db: &Connection, id: &PersistenceId) -> Result<Option<Offset>, ReadError> {
    let mut statement = db.prepare_cached(STATE_OFFSET)?;
    let found = statement.query_row([id.as_str()], |row| row.get::<_, i64>(0)).optional()?;
    Ok(found.map(|change| Offset::of_ordering(change as u64)))
}

/// In the order of the index on `persistence_id`. `?3` and `?4` bound the texts of one type.
const IDS: &str = "
SELECT persistence_id FROM entity e
WHERE persistence_id > ?1 AND persistence_id >= ?3 AND (?4 IS NULL OR persistence_id < ?4)
  AND (highest_seq > 0 OR EXISTS (SELECT 1 FROM journal j WHERE j.pid = e.pid)
    OR EXISTS (SELECT 1 FROM state s WHERE s.pid = e.pid))
ORDER BY persistence_id LIMIT ?2";

pub(crate) fn ids(
    db: &Connection,
    entity_type: Option<&str>,
    after: Option<&PersistenceId>,
    limit: usize,
) -> Result<Vec<PersistenceId>, ReadError> {
    let after = after.map_or("", PersistenceId::as_str);
    // Ids of a type begin with it and the separator, so they end before it and the character behind the separator.
    let from = entity_type.map_or_else(String::new, PersistenceId::first_of);
    let to = entity_type.map(PersistenceId::end_of);
    let mut statement = db.prepare_cached(IDS)?;
    let rows = statement.query_map(params![after, clamped(limit as u64), from, to], |row| row.get::<_, String>(0))?;
    let texts = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(texts.iter().filter_map(|text| PersistenceId::parse(text)).collect())
}
