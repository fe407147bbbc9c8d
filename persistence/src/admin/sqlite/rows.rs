//! Rows of events, snapshots and states as records, each checked against its checksum.

use super::{Stop, as_number};
use crate::{
    Offset, PersistenceId, ReplayLimit,
    admin::{EventRecord, Finding, SnapshotRecord, StateRecord, Subject},
    checksum::{Checked, CheckedState},
    sqlite::clamped,
};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Left joins: a row whose entity or manifest is lost is damage, not a row that never was.
pub(super) const EVENT_COLUMNS: &str = "
j.ordering, e.persistence_id, j.seq_nr, j.epoch, j.time_ms, j.batch_id, m.name, j.payload, j.meta, j.crc, j.pid";

pub(super) const SNAPSHOT_COLUMNS: &str = "
s.rowid, e.persistence_id, s.seq_nr, s.epoch, s.time_ms, NULL, m.name, s.payload, s.meta, s.crc, s.pid";

pub(super) const STATE_COLUMNS: &str = "
s.change, e.persistence_id, s.revision, s.epoch, s.time_ms, s.batch_id, m.name, s.payload, s.meta, s.crc, s.pid,
s.manifest, s.tag";

/// What the tables of events, snapshots and states have in common.
pub(super) struct StoredRow {
    pub(super) number: i64, // what the table is ordered by
    pub(super) id: Option<String>,
    pub(super) seq_nr: i64,
    pub(super) epoch: i64,
    time_ms: i64,
    batch_id: Option<Vec<u8>>,
    manifest: Option<String>,
    payload: Option<Bytes>,
    meta: Option<Bytes>,
    crc: i64,
    pub(super) pid: i64,
}

impl StoredRow {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let bytes = |value: Option<&[u8]>| value.map(Bytes::copy_from_slice);
        Ok(Self {
            number: row.get(0)?,
            id: row.get(1)?,
            seq_nr: row.get(2)?,
            epoch: row.get(3)?,
            time_ms: row.get(4)?,
            batch_id: row.get_ref(5)?.as_blob_or_null()?.map(<[u8]>::to_vec),
            manifest: row.get(6)?,
            payload: bytes(row.get_ref(7)?.as_blob_or_null()?),
            meta: bytes(row.get_ref(8)?.as_blob_or_null()?),
            crc: row.get(9)?,
            pid: row.get(10)?,
        })
    }

    fn finding(&self, subject: Subject, reason: &str) -> Finding {
        let table = match subject {
            Subject::Snapshot => "snapshot.rowid",
            Subject::State => "state.change",
            _ => "journal.ordering",
        };
        let of = self.id.clone().unwrap_or_else(|| format!("number {}", self.pid));
        Finding::new(subject, of, reason).at(as_number(self.seq_nr), format!("{table} {}", self.number))
    }

    /// The id, as far as there is an entity of that number.
    fn owner(&mut self, subject: Subject) -> Result<PersistenceId, Finding> {
        match self.id.as_deref().map(PersistenceId::parse) {
            Some(Some(id)) => Ok(id),
            Some(None) => Err(self.finding(subject, "the name of its entity has no '|'")),
            None => Err(self.finding(subject, "its entity is missing")),
        }
    }

    fn batch(&self, subject: Subject) -> Result<Option<u128>, Finding> {
        let Some(bytes) = &self.batch_id else { return Ok(None) };
        let id = <[u8; 16]>::try_from(bytes.as_slice()).map(u128::from_be_bytes);
        id.map(Some).map_err(|_| self.finding(subject, "its batch id is not 16 bytes long"))
    }

    /// Name, manifest and payload, if the row is what was once written.
    fn checked(&mut self, subject: Subject) -> Result<(PersistenceId, String, Bytes), Finding> {
        let id = self.owner(subject)?;
        let Some(manifest) = self.manifest.take() else {
            return Err(self.finding(subject, "its manifest is missing"));
        };
        let payload = self.payload.take().unwrap_or_default();
        let checked = Checked {
            id: &id,
            seq_nr: self.seq_nr,
            epoch: self.epoch,
            time_ms: self.time_ms,
            batch_id: self.batch_id.as_deref(),
            manifest: &manifest,
            payload: &payload,
            meta: self.meta.as_deref(),
        };
        if checked.crc() != self.crc {
            return Err(self.finding(subject, "checksum does not match"));
        }
        Ok((id, manifest, payload))
    }

    /// The event, without its tags.
    pub(super) fn into_event(mut self) -> Result<EventRecord, Finding> {
        let (id, manifest, payload) = self.checked(Subject::Event)?;
        Ok(EventRecord {
            id: id.as_str().to_owned(),
            seq_nr: as_number(self.seq_nr),
            offset: Offset::of_ordering(as_number(self.number)),
            epoch: as_number(self.epoch),
            time_ms: as_number(self.time_ms),
            batch_id: self.batch(Subject::Event)?,
            manifest,
            payload,
            meta: self.meta,
            tags: Vec::new(),
        })
    }

    pub(super) fn into_snapshot(mut self) -> Result<SnapshotRecord, Finding> {
        let (id, manifest, payload) = self.checked(Subject::Snapshot)?;
        Ok(SnapshotRecord {
            id: id.as_str().to_owned(),
            seq_nr: as_number(self.seq_nr),
            epoch: as_number(self.epoch),
            time_ms: as_number(self.time_ms),
            manifest,
            payload,
            meta: self.meta,
        })
    }

    /// `named` says whether the row names a manifest, found or not: one that does not says that the state was deleted.
    pub(super) fn into_state(mut self, StateExtra { named, tag }: StateExtra) -> Result<StateRecord, Finding> {
        let id = self.owner(Subject::State)?;
        if named && self.manifest.is_none() {
            return Err(self.finding(Subject::State, "its manifest is missing"));
        }
        let checked = CheckedState {
            id: &id,
            revision: self.seq_nr,
            epoch: self.epoch,
            change: self.number,
            batch_id: self.batch_id.as_deref().unwrap_or_default(),
            time_ms: self.time_ms,
            manifest: self.manifest.as_deref(),
            payload: self.payload.as_deref(),
            meta: self.meta.as_deref(),
        };
        if checked.crc() != self.crc {
            return Err(self.finding(Subject::State, "checksum does not match"));
        }
        Ok(StateRecord {
            id: id.as_str().to_owned(),
            revision: as_number(self.seq_nr),
            offset: Offset::of_ordering(as_number(self.number)),
            epoch: as_number(self.epoch),
            time_ms: as_number(self.time_ms),
            batch_id: self.batch(Subject::State)?,
            manifest: self.manifest,
            payload: self.payload,
            meta: self.meta,
            tag,
        })
    }
}

/// One page of the events of `id`. Deleted ones that are still there are skipped.
pub(super) fn events(
    db: &Connection,
    id: &PersistenceId,
    from: u64,
    to: u64,
    limit: ReplayLimit,
) -> Result<Vec<EventRecord>, Stop> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {EVENT_COLUMNS} FROM entity e CROSS JOIN journal j ON j.pid = e.pid LEFT JOIN manifest m ON m.id = j.manifest
         WHERE e.persistence_id = ?1 AND j.seq_nr BETWEEN max(?2, e.deleted_to + 1) AND ?3 ORDER BY j.seq_nr LIMIT ?4"
    ))?;
    let count = limit.events.max(1) as u64;
    let mut rows = statement.query(params![id.as_str(), clamped(from), clamped(to), clamped(count)])?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let mut event = StoredRow::read(row)?.into_event()?;
        event.tags = tags(db, event.offset)?;
        bytes += event.payload.len() + event.meta.as_ref().map_or(0, Bytes::len);
        page.push(event);
        if bytes >= limit.bytes {
            break;
        }
    }
    Ok(page)
}

pub(super) fn newest_snapshot(db: &Connection, id: &PersistenceId) -> Result<Option<SnapshotRecord>, Stop> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {SNAPSHOT_COLUMNS} FROM entity e CROSS JOIN snapshot s ON s.pid = e.pid
         LEFT JOIN manifest m ON m.id = s.manifest WHERE e.persistence_id = ?1 ORDER BY s.seq_nr DESC LIMIT 1"
    ))?;
    let row = statement.query_row([id.as_str()], StoredRow::read).optional()?;
    Ok(row.map(StoredRow::into_snapshot).transpose()?)
}

pub(super) fn state(db: &Connection, id: &PersistenceId) -> Result<Option<StateRecord>, Stop> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {STATE_COLUMNS} FROM entity e CROSS JOIN state s ON s.pid = e.pid
         LEFT JOIN manifest m ON m.id = s.manifest WHERE e.persistence_id = ?1"
    ))?;
    let row =
        statement.query_row([id.as_str()], |row| Ok((StoredRow::read(row)?, StateExtra::read(row)?))).optional()?;
    Ok(row.map(|(row, extra)| row.into_state(extra)).transpose()?)
}

/// What only states have.
pub(super) struct StateExtra {
    named: bool,
    tag: Option<String>,
}

impl StateExtra {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { named: row.get::<_, Option<i64>>(11)?.is_some(), tag: row.get(12)? })
    }
}

/// The tags of the event at `offset`.
pub(super) fn tags(db: &Connection, offset: Offset) -> rusqlite::Result<Vec<String>> {
    db.prepare_cached(
        "SELECT t.name FROM journal_tag k CROSS JOIN tag t ON t.id = k.tag WHERE k.ordering = ?1 ORDER BY t.name",
    )?
    .query_map([clamped(offset.ordering())], |row| row.get(0))?
    .collect()
}
