//! What the readers ask, and rows as what was once written.

use super::{
    columns::{BatchId, clamped},
    session::{Parameter, Session, Sql},
};
use crate::{
    JournalError, PersistenceId, RawEvent, RawSnapshot, RawState, ReplayLimit, Stored, StoredSnapshot, StoredState,
    checksum::{Checked, CheckedState, IdChecksum},
    manifests::Manifests,
    projection::postgres as projection,
    query::postgres as query,
};
use bytes::Bytes;
use std::sync::Arc;
use tokio_postgres::{Error, Row, types::Type};

/// Why a read did not answer.
#[derive(Debug)]
pub(crate) enum ReadError {
    Damaged(JournalError),
    Postgres(Error),
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Postgres(error)
    }
}

/// A page of an entity's events, unless not `$if`.
macro_rules! replayed {
    ($columns:literal, $if:literal) => {
        concat!(
            "
    SELECT ",
            $columns,
            " FROM {schema}.journal j
    WHERE j.persistence_id = $1 AND j.seq_nr <= $3 AND j.seq_nr >= GREATEST($2, 1 + coalesce(
      (SELECT e.deleted_to FROM {schema}.entity e WHERE e.persistence_id = $1), 0))",
            $if,
            "
    ORDER BY j.seq_nr LIMIT $4"
        )
    };
}

/// One statement, so that a deletion in between cannot show as a hole. A page is weighed before it is read, which costs
/// less than to add up what is read. One that is too heavy is not read: there is a row without a number instead.
static REPLAY: Sql = Sql {
    text: concat!(
        "
WITH weighed AS MATERIALIZED (
  SELECT coalesce(sum(octet_length(payload) + coalesce(octet_length(meta), 0)), 0) <= $5 AS fits FROM (",
        replayed!("j.payload, j.meta", ""),
        ") page
)
(",
        replayed!(
            "j.seq_nr, j.epoch, j.time_ms, j.batch_id, j.manifest, j.payload, j.meta, j.crc",
            " AND (SELECT fits FROM weighed)"
        ),
        ")
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM weighed WHERE NOT fits"
    ),
    types: &[Type::TEXT, Type::INT8, Type::INT8, Type::INT8, Type::INT8],
};

/// As [`REPLAY`], for a page that is too heavy as a whole: up to where the sum of its rows says.
static REPLAY_HEAVY: Sql = Sql {
    text: concat!(
        "
SELECT seq_nr, epoch, time_ms, batch_id, manifest, payload, meta, crc FROM (
  SELECT *, sum(octet_length(payload) + coalesce(octet_length(meta), 0)) OVER (ORDER BY seq_nr) AS bytes FROM (",
        replayed!("j.seq_nr, j.epoch, j.time_ms, j.batch_id, j.manifest, j.payload, j.meta, j.crc", ""),
        ") page) summed
WHERE bytes - octet_length(payload) - coalesce(octet_length(meta), 0) < $5 ORDER BY seq_nr"
    ),
    types: &[Type::TEXT, Type::INT8, Type::INT8, Type::INT8, Type::INT8],
};

static HIGHEST: Sql = Sql {
    text: "
SELECT GREATEST(coalesce((SELECT highest_seq FROM {schema}.entity WHERE persistence_id = $1), 0),
  coalesce((SELECT max(seq_nr) FROM {schema}.journal WHERE persistence_id = $1), 0))",
    types: &[Type::TEXT],
};

static SNAPSHOT: Sql = Sql {
    text: "
SELECT seq_nr, epoch, time_ms, NULL::uuid, manifest, payload, meta, crc FROM {schema}.snapshot
WHERE persistence_id = $1 AND seq_nr <= $2 ORDER BY seq_nr DESC LIMIT 1",
    types: &[Type::TEXT, Type::INT8],
};

static STATE: Sql = Sql {
    text: "
SELECT revision, epoch, time_ms, batch_id, manifest, payload, meta, crc FROM {schema}.state WHERE persistence_id = $1",
    types: &[Type::TEXT],
};

/// All that a reader prepares when it connects.
pub(crate) static READERS: &[&Sql] = &[
    &REPLAY,
    &REPLAY_HEAVY,
    &HIGHEST,
    &SNAPSHOT,
    &STATE,
    &query::EVENTS,
    &query::STATES,
    &query::OFFSET_OF,
    &query::STATE_OFFSET,
    &query::IDS,
    &projection::POSITIONS,
    &projection::PARKED,
    &projection::PARKED_COUNT,
];

pub(crate) async fn replay(
    session: &Session,
    id: &PersistenceId,
    from: u64,
    to: u64,
    limit: ReplayLimit,
) -> Result<Vec<Stored<RawEvent>>, ReadError> {
    let events_max = clamped(limit.events.max(1) as u64);
    let bytes_max = clamped(limit.bytes.max(1) as u64);
    let (from, to, id_text) = (clamped(from), clamped(to), id.as_str());
    let parameters: [Parameter<'_>; 5] = [&id_text, &from, &to, &events_max, &bytes_max];
    let mut page = Page { id, of_id: IdChecksum::of(id), heavy: false, damage: None, events: Vec::new() };
    let mut manifests = Manifests::default();
    session.read_each(&REPLAY, &parameters, |row| page.take(row, &mut manifests)).await?;
    if page.heavy {
        session.read_each(&REPLAY_HEAVY, &parameters, |row| page.take(row, &mut manifests)).await?;
    }
    page.into_events()
}

/// Events of an entity as they come.
struct Page<'a> {
    id: &'a PersistenceId,
    of_id: IdChecksum,
    /// It was not read, for there is too much of it.
    heavy: bool,
    /// The first row that is not what was written.
    damage: Option<(u64, ReadError)>,
    events: Vec<Stored<RawEvent>>,
}

impl Page<'_> {
    fn take(&mut self, row: &Row, manifests: &mut Manifests) -> Result<(), Error> {
        if row.try_get::<_, Option<i64>>(0)?.is_none() {
            self.heavy = true;
            return Ok(());
        }
        let row = StoredRow::read(row, 0, manifests)?;
        let seq_nr = row.seq_nr as u64;
        match row.check_after(self.of_id, self.id, "journal") {
            Ok(()) => self.events.push(row.into_event()),
            Err(error) if self.damage.as_ref().is_none_or(|(first, _)| seq_nr < *first) => {
                self.damage = Some((seq_nr, error));
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// What comes before the damage can still be read.
    fn into_events(self) -> Result<Vec<Stored<RawEvent>>, ReadError> {
        let Self { mut events, damage, .. } = self;
        // They come in order, but no standard says so.
        if !events.is_sorted_by_key(|event| event.seq_nr) {
            events.sort_unstable_by_key(|event| event.seq_nr);
        }
        if let Some((seq_nr, error)) = damage {
            events.retain(|event| event.seq_nr < seq_nr);
            if events.is_empty() {
                return Err(error);
            }
        }
        Ok(events)
    }
}

pub(crate) async fn highest_seq(session: &Session, id: &PersistenceId) -> Result<u64, ReadError> {
    let rows = session.read(&HIGHEST, &[&id.as_str()]).await?;
    Ok(rows[0].try_get::<_, i64>(0)? as u64)
}

pub(crate) async fn load_snapshot(
    session: &Session,
    id: &PersistenceId,
    max_seq: u64,
) -> Result<Option<StoredSnapshot<RawSnapshot>>, ReadError> {
    let rows = session.read(&SNAPSHOT, &[&id.as_str(), &clamped(max_seq)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let row = StoredRow::read(row, 0, &mut Manifests::default())?;
    row.check(id, "snapshot")?;
    Ok(Some(StoredSnapshot {
        seq_nr: row.seq_nr as u64,
        epoch: row.epoch as u64,
        time_ms: row.time_ms as u64,
        snapshot: RawSnapshot { manifest: row.manifest, payload: row.payload, meta: row.meta },
    }))
}

pub(crate) async fn load_state(
    session: &Session,
    id: &PersistenceId,
) -> Result<Option<StoredState<RawState>>, ReadError> {
    let rows = session.read(&STATE, &[&id.as_str()]).await?;
    rows.first().map(|row| stored_state(row, 0, id)).transpose()
}

/// What the columns of `journal` and `snapshot` have in common: number, epoch, time, batch id, manifest, payload, meta,
/// checksum.
pub(crate) struct StoredRow {
    seq_nr: i64,
    epoch: i64,
    time_ms: i64,
    batch_id: Option<BatchId>,
    manifest: Arc<str>,
    payload: Bytes,
    meta: Option<Bytes>,
    crc: i64,
}

impl StoredRow {
    /// The columns from `first` on.
    pub(crate) fn read(row: &Row, first: usize, manifests: &mut Manifests) -> Result<Self, Error> {
        Ok(Self {
            seq_nr: row.try_get(first)?,
            epoch: row.try_get(first + 1)?,
            time_ms: row.try_get(first + 2)?,
            batch_id: row.try_get(first + 3)?,
            manifest: manifests.of(row.try_get(first + 4)?),
            payload: Bytes::copy_from_slice(row.try_get(first + 5)?),
            meta: row.try_get::<_, Option<&[u8]>>(first + 6)?.map(Bytes::copy_from_slice),
            crc: row.try_get(first + 7)?,
        })
    }

    /// Whether the row is what was once written.
    pub(crate) fn check(&self, id: &PersistenceId, table: &str) -> Result<(), ReadError> {
        self.check_after(IdChecksum::of(id), id, table)
    }

    /// As [`check`](Self::check), given the checksum of the id.
    fn check_after(&self, of_id: IdChecksum, id: &PersistenceId, table: &str) -> Result<(), ReadError> {
        let batch_id = self.batch_id.map(|BatchId(id)| id.to_be_bytes());
        let checked = Checked {
            id,
            seq_nr: self.seq_nr,
            epoch: self.epoch,
            time_ms: self.time_ms,
            batch_id: batch_id.as_ref().map(|id| &id[..]),
            manifest: &self.manifest,
            payload: &self.payload,
            meta: self.meta.as_deref(),
        };
        if checked.crc_after(of_id) == self.crc { Ok(()) } else { Err(damaged(id, self.seq_nr as u64, table)) }
    }

    pub(crate) fn into_event(self) -> Stored<RawEvent> {
        let (seq_nr, epoch, time_ms) = (self.seq_nr as u64, self.epoch as u64, self.time_ms as u64);
        let event = RawEvent { manifest: self.manifest, payload: self.payload, meta: self.meta };
        Stored { seq_nr, epoch, time_ms, event }
    }
}

/// The state in the columns from `first` on: revision, epoch, time, batch id, manifest, payload, meta,
/// checksum.
pub(crate) fn stored_state(row: &Row, first: usize, id: &PersistenceId) -> Result<StoredState<RawState>, ReadError> {
    let (revision, epoch, time_ms): (i64, i64, i64) =
        (row.try_get(first)?, row.try_get(first + 1)?, row.try_get(first + 2)?);
    let BatchId(batch_id) = row.try_get(first + 3)?;
    let manifest: Option<&str> = row.try_get(first + 4)?;
    let payload: Option<&[u8]> = row.try_get(first + 5)?;
    let meta: Option<&[u8]> = row.try_get(first + 6)?;
    let checked = CheckedState {
        id,
        revision,
        epoch,
        change: 0, // the server numbers changes
        batch_id: &batch_id.to_be_bytes(),
        time_ms,
        manifest,
        payload,
        meta,
    };
    if checked.crc() != row.try_get::<_, i64>(first + 7)? {
        return Err(damaged(id, revision as u64, "state"));
    }
    let meta = meta.map(Bytes::copy_from_slice);
    // Both or neither: the checksum says so.
    let (state, marker) = match manifest.zip(payload) {
        Some((manifest, payload)) => {
            (Some(RawState { manifest: manifest.into(), payload: Bytes::copy_from_slice(payload), meta }), None)
        }
        None => (None, meta),
    };
    Ok(StoredState { revision: revision as u64, epoch: epoch as u64, time_ms: time_ms as u64, state, marker })
}

fn damaged(id: &PersistenceId, seq_nr: u64, table: &str) -> ReadError {
    let place = format!("{table} with persistence_id {:?}", id.as_str());
    let reason = "checksum does not match".to_owned();
    ReadError::Damaged(JournalError::Damaged { id: id.clone(), seq_nr, place, reason })
}
