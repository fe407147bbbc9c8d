//! The `state` table: one row per entity, written in the writer's transaction and read by the reader threads.

use super::{
    cache::NameTable,
    reader::ReadError,
    row::damaged,
    transaction::{Outcome, Transaction, refuse},
};
use crate::{PersistenceId, RawState, StoredState, checksum::CheckedState, state::StateWrite};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::Arc;

/// What a write is compared with.
struct Current {
    revision: u64,
    batch_id: u128,
    deleted: bool,
    tag: Option<Arc<str>>,
}

impl Transaction<'_> {
    /// Stores or takes away a state; answers its new revision.
    pub(crate) fn write_state(&mut self, write: &StateWrite<RawState>) -> Outcome<u64> {
        let marker = write.marker.as_ref().map_or(0, Bytes::len);
        refuse!(self.check_size(write.state.as_ref().map_or(marker, RawState::weight)));
        let known = self.entity(&write.id)?;
        let current = match known {
            Some(entity) => self.current_state(entity.pid)?,
            None => None,
        };
        // A write that is here already was stored, whoever owns the entity now: saying anything else would be a lie.
        if let Some(row) = &current
            && write.is_stored(row.revision, row.batch_id, row.deleted)
        {
            return Ok(Ok(row.revision));
        }
        refuse!(self.check_fence(&write.id, known, &write.fence)?);
        let revision = refuse!(write.check_revision(current.as_ref().map_or(0, |row| row.revision)));
        let entity = match known {
            Some(entity) => entity,
            None => self.entity_or_new(&write.id)?,
        };
        self.put_state(entity.pid, revision, write, current.and_then(|row| row.tag))?;
        Ok(Ok(revision))
    }

    /// A deletion leaves the tag known already, so that those who read by it are told.
    fn put_state(
        &mut self,
        pid: i64,
        revision: u64,
        write: &StateWrite<RawState>,
        known: Option<Arc<str>>,
    ) -> rusqlite::Result<()> {
        self.dirty = true;
        // Never lower than before, since the row that holds the highest is only ever rewritten with a higher one.
        let change: i64 = self
            .db
            .prepare_cached("SELECT coalesce(max(change), 0) + 1 FROM state")?
            .query_row((), |row| row.get(0))?;
        let state = write.state.as_ref();
        let tag = if state.is_some() { write.tag.clone() } else { known };
        let manifest = state.map(|state| self.name(NameTable::Manifest, &state.manifest)).transpose()?;
        let batch_id = write.batch_id.to_be_bytes();
        let checked = CheckedState {
            id: &write.id,
            revision: revision as i64,
            epoch: write.fence.epoch as i64,
            change,
            batch_id: &batch_id,
            time_ms: write.time_ms as i64,
            manifest: state.map(|state| &*state.manifest),
            payload: state.map(|state| &*state.payload),
            meta: state.map_or(write.marker.as_deref(), |state| state.meta.as_deref()),
        };
        self.db
            .prepare_cached(
                "INSERT INTO state(pid, revision, epoch, change, batch_id, time_ms, manifest, payload, meta, crc,
                   tag)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
                 ON CONFLICT(pid) DO UPDATE SET revision = excluded.revision, epoch = excluded.epoch,
                   change = excluded.change, batch_id = excluded.batch_id, time_ms = excluded.time_ms,
                   manifest = excluded.manifest, payload = excluded.payload, meta = excluded.meta, crc = excluded.crc,
                   tag = excluded.tag",
            )?
            .execute(params![
                pid,
                checked.revision,
                checked.epoch,
                change,
                checked.batch_id,
                checked.time_ms,
                manifest,
                checked.payload,
                checked.meta,
                checked.crc(),
                tag,
            ])?;
        self.states += 1;
        Ok(())
    }

    fn current_state(&self, pid: i64) -> rusqlite::Result<Option<Current>> {
        self.db
            .prepare_cached("SELECT revision, batch_id, payload IS NULL, tag FROM state WHERE pid = ?1")?
            .query_row([pid], |row| {
                Ok(Current {
                    revision: row.get::<_, i64>(0)? as u64,
                    batch_id: u128::from_be_bytes(row.get(1)?),
                    deleted: row.get(2)?,
                    tag: row.get(3)?,
                })
            })
            .optional()
    }
}

/// Left join: a lost manifest is damage, not a state that never was.
const STATE: &str = "
SELECT s.revision, s.epoch, s.change, s.batch_id, s.time_ms, s.manifest IS NULL, m.name, s.payload, s.meta, s.crc
FROM entity e CROSS JOIN state s ON s.pid = e.pid LEFT JOIN manifest m ON m.id = s.manifest
WHERE e.persistence_id = ?1";

pub(crate) struct StateRow {
    revision: i64,
    epoch: i64,
    pub(crate) change: i64,
    batch_id: Vec<u8>,
    time_ms: i64,
    deleted: bool, // the row names no manifest
    manifest: Option<Arc<str>>,
    payload: Option<Bytes>,
    meta: Option<Bytes>,
    crc: i64,
}

pub(crate) fn load_state(db: &Connection, id: &PersistenceId) -> Result<Option<StoredState<RawState>>, ReadError> {
    let row = db.prepare_cached(STATE)?.query_row([id.as_str()], StateRow::read).optional()?;
    row.map(|row| row.check(id)).transpose()
}

impl StateRow {
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let bytes = |value: Option<&[u8]>| value.map(Bytes::copy_from_slice);
        Ok(Self {
            revision: row.get(0)?,
            epoch: row.get(1)?,
            change: row.get(2)?,
            batch_id: row.get(3)?,
            time_ms: row.get(4)?,
            deleted: row.get(5)?,
            manifest: row.get(6)?,
            payload: bytes(row.get_ref(7)?.as_blob_or_null()?),
            meta: bytes(row.get_ref(8)?.as_blob_or_null()?),
            crc: row.get(9)?,
        })
    }

    /// The state, if the row is what was once written.
    pub(crate) fn check(self, id: &PersistenceId) -> Result<StoredState<RawState>, ReadError> {
        let damaged = |reason| damaged(id, self.revision as u64, format!("state.change {}", self.change), reason);
        if !self.deleted && self.manifest.is_none() {
            return Err(damaged("its manifest is missing"));
        }
        let checked = CheckedState {
            id,
            revision: self.revision,
            epoch: self.epoch,
            change: self.change,
            batch_id: &self.batch_id,
            time_ms: self.time_ms,
            manifest: self.manifest.as_deref(),
            payload: self.payload.as_deref(),
            meta: self.meta.as_deref(),
        };
        if checked.crc() != self.crc {
            return Err(damaged("checksum does not match"));
        }
        let Self { revision, epoch, time_ms, manifest, payload, meta, .. } = self;
        // Both or neither: the checksum says so.
        let (state, marker) = match manifest.zip(payload) {
            Some((manifest, payload)) => (Some(RawState { manifest, payload, meta }), None),
            None => (None, meta),
        };
        Ok(StoredState { revision: revision as u64, epoch: epoch as u64, time_ms: time_ms as u64, state, marker })
    }
}
