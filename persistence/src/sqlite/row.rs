//! A row of `journal` or `snapshot` as it lies in the statement: checked before anything of it is copied.

use super::reader::ReadError;
use crate::{
    JournalError, PersistenceId, RawEvent, RawSnapshot, Stored, StoredSnapshot,
    checksum::{Checked, IdChecksum},
};
use bytes::Bytes;
use rusqlite::{Connection, Row};
use std::sync::Arc;

/// What the columns of both tables have in common: key, number, epoch, time, batch id, manifest, payload, meta, checksum.
pub(crate) struct StoredRow<'r> {
    table: &'static str,
    pub(crate) key: i64,
    pub(crate) seq_nr: i64,
    epoch: i64,
    time_ms: i64,
    batch_id: Option<&'r [u8]>,
    manifest: i64,
    payload: &'r [u8],
    meta: Option<&'r [u8]>,
    crc: i64,
}

impl<'r> StoredRow<'r> {
    /// The first nine columns of `row`, whose key is `table`'s.
    pub(crate) fn read(row: &'r Row<'_>, table: &'static str) -> rusqlite::Result<Self> {
        Ok(Self {
            table,
            key: row.get(0)?,
            seq_nr: row.get(1)?,
            epoch: row.get(2)?,
            time_ms: row.get(3)?,
            batch_id: row.get_ref(4)?.as_blob_or_null()?,
            manifest: row.get(5)?,
            payload: row.get_ref(6)?.as_blob()?,
            meta: row.get_ref(7)?.as_blob_or_null()?,
            crc: row.get(8)?,
        })
    }

    /// The manifest, if the row is what was once written. `id_checksum` is that of `id`.
    pub(crate) fn check(
        &self,
        id: &PersistenceId,
        id_checksum: IdChecksum,
        names: &mut ManifestNames<'_>,
    ) -> Result<Arc<str>, ReadError> {
        // A lost manifest is damage, not an event that never was.
        let manifest = names.of(self.manifest)?.ok_or_else(|| self.damaged(id, "its manifest is missing"))?;
        let checked = Checked {
            id,
            seq_nr: self.seq_nr,
            epoch: self.epoch,
            time_ms: self.time_ms,
            batch_id: self.batch_id,
            manifest: &manifest,
            payload: self.payload,
            meta: self.meta,
        };
        if checked.crc_after(id_checksum) == self.crc {
            Ok(manifest)
        } else {
            Err(self.damaged(id, "checksum does not match"))
        }
    }

    #[cold]
    fn damaged(&self, id: &PersistenceId, reason: &str) -> ReadError {
        damaged(id, self.seq_nr as u64, format!("{} {}", self.table, self.key), reason)
    }

    pub(crate) fn event(&self, manifest: Arc<str>) -> Stored<RawEvent> {
        let (seq_nr, epoch, time_ms) = (self.seq_nr as u64, self.epoch as u64, self.time_ms as u64);
        Stored { seq_nr, epoch, time_ms, event: RawEvent { manifest, payload: self.payload(), meta: self.meta() } }
    }

    pub(crate) fn snapshot(&self, manifest: Arc<str>) -> StoredSnapshot<RawSnapshot> {
        let (seq_nr, epoch, time_ms) = (self.seq_nr as u64, self.epoch as u64, self.time_ms as u64);
        let snapshot = RawSnapshot { manifest, payload: self.payload(), meta: self.meta() };
        StoredSnapshot { seq_nr, epoch, time_ms, snapshot }
    }

    fn payload(&self) -> Bytes {
        Bytes::copy_from_slice(self.payload)
    }

    fn meta(&self) -> Option<Bytes> {
        self.meta.map(Bytes::copy_from_slice)
    }
}

/// The names of manifests by their numbers, for the rows of one statement: most have the same few.
pub(crate) struct ManifestNames<'c> {
    db: &'c Connection,
    known: Vec<(i64, Arc<str>)>,
}

/// ManifestNames that are kept.
const NAMES_MAX: usize = 8;

impl<'c> ManifestNames<'c> {
    pub(crate) fn new(db: &'c Connection) -> Self {
        Self { db, known: Vec::new() }
    }

    /// `None` if there is no such manifest.
    fn of(&mut self, number: i64) -> rusqlite::Result<Option<Arc<str>>> {
        if let Some((_, name)) = self.known.iter().find(|(known, _)| *known == number) {
            return Ok(Some(Arc::clone(name)));
        }
        let mut statement = self.db.prepare_cached("SELECT name FROM manifest WHERE id = ?1")?;
        let mut rows = statement.query([number])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let name: Arc<str> = row.get_ref(0)?.as_str()?.into();
        if self.known.len() == NAMES_MAX {
            self.known.remove(0);
        }
        self.known.push((number, Arc::clone(&name)));
        Ok(Some(name))
    }
}

pub(super) fn damaged(id: &PersistenceId, seq_nr: u64, place: String, reason: &str) -> ReadError {
    ReadError::Damaged(JournalError::Damaged { id: id.clone(), seq_nr, place, reason: reason.to_owned() })
}
