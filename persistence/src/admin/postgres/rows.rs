//! Rows of events, snapshots and states as records, each checked against its checksum.

use super::{Moment, Stop, all, number, offset};
use crate::{
    PersistenceId, ReplayLimit,
    admin::{EventRecord, Finding, SnapshotRecord, StateRecord, Subject},
    checksum::{Checked, CheckedState},
    postgres::{BatchId, clamped},
};
use bytes::Bytes;
use tokio_postgres::{Row, types::Type};

pub(super) const EVENT_COLUMNS: &str = "j.persistence_id, j.seq_nr, j.epoch, j.time_ms, j.batch_id, j.manifest, j.payload, \
    j.meta, j.crc, j.generation, j.tx::text::bigint, j.ordering, j.tags";

pub(super) const SNAPSHOT_COLUMNS: &str =
    "s.persistence_id, s.seq_nr, s.epoch, s.time_ms, NULL::uuid, s.manifest, s.payload, s.meta, s.crc";

pub(super) const STATE_COLUMNS: &str = "s.persistence_id, s.revision, s.epoch, s.time_ms, s.batch_id, s.manifest, s.payload, \
    s.meta, s.crc, s.generation, s.tx::text::bigint, s.ordering, s.tag";

/// What the tables of events, snapshots and states have in common.
struct StoredRow {
    id: String,
    seq_nr: i64,
    epoch: i64,
    time_ms: i64,
    batch_id: Option<u128>,
    manifest: Option<String>,
    payload: Option<Bytes>,
    meta: Option<Bytes>,
    crc: i64,
}

impl StoredRow {
    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let bytes = |column| Ok(row.try_get::<_, Option<&[u8]>>(column)?.map(Bytes::copy_from_slice));
        Ok(Self {
            id: row.try_get(0)?,
            seq_nr: row.try_get(1)?,
            epoch: row.try_get(2)?,
            time_ms: row.try_get(3)?,
            batch_id: row.try_get::<_, Option<BatchId>>(4)?.map(|BatchId(id)| id),
            manifest: row.try_get(5)?,
            payload: bytes(6)?,
            meta: bytes(7)?,
            crc: row.try_get(8)?,
        })
    }

    fn finding(&self, subject: Subject, reason: &str) -> Finding {
        Finding::new(subject, &*self.id, reason).at(number(self.seq_nr), "")
    }

    fn owner(&self, subject: Subject) -> Result<PersistenceId, Finding> {
        PersistenceId::parse(&self.id).ok_or_else(|| self.finding(subject, "the name of its entity has no '|'"))
    }

    /// Manifest and payload, if the row is what was once written.
    fn checked(&mut self, subject: Subject) -> Result<(String, Bytes), Finding> {
        let id = self.owner(subject)?;
        let batch_id = self.batch_id.map(u128::to_be_bytes);
        let (manifest, payload) = (self.manifest.take().unwrap_or_default(), self.payload.take().unwrap_or_default());
        let checked = Checked {
            id: &id,
            seq_nr: self.seq_nr,
            epoch: self.epoch,
            time_ms: self.time_ms,
            batch_id: batch_id.as_ref().map(|id| &id[..]),
            manifest: &manifest,
            payload: &payload,
            meta: self.meta.as_deref(),
        };
        if checked.crc() == self.crc {
            Ok((manifest, payload))
        } else {
            Err(self.finding(subject, "checksum does not match"))
        }
    }
}

/// The outer error is the server's, the inner one the row's.
type Read<T> = Result<Result<T, Finding>, Stop>;

pub(super) fn event(row: &Row) -> Read<EventRecord> {
    let mut stored = StoredRow::read(row)?;
    Ok(stored.checked(Subject::Event).map(|(manifest, payload)| EventRecord {
        seq_nr: number(stored.seq_nr),
        offset: offset(row, 9),
        epoch: number(stored.epoch),
        time_ms: number(stored.time_ms),
        batch_id: stored.batch_id,
        manifest,
        payload,
        meta: stored.meta,
        tags: row.get(12),
        id: stored.id,
    }))
}

pub(super) fn snapshot(row: &Row) -> Read<SnapshotRecord> {
    let mut stored = StoredRow::read(row)?;
    Ok(stored.checked(Subject::Snapshot).map(|(manifest, payload)| SnapshotRecord {
        seq_nr: number(stored.seq_nr),
        epoch: number(stored.epoch),
        time_ms: number(stored.time_ms),
        manifest,
        payload,
        meta: stored.meta,
        id: stored.id,
    }))
}

pub(super) fn state_record(row: &Row) -> Read<StateRecord> {
    let stored = StoredRow::read(row)?;
    let tag: Option<String> = row.try_get(12)?;
    let id = match stored.owner(Subject::State) {
        Ok(id) => id,
        Err(finding) => return Ok(Err(finding)),
    };
    let batch_id = stored.batch_id.unwrap_or_default().to_be_bytes();
    let checked = CheckedState {
        id: &id,
        revision: stored.seq_nr,
        epoch: stored.epoch,
        change: 0, // the server numbers changes
        batch_id: &batch_id,
        time_ms: stored.time_ms,
        manifest: stored.manifest.as_deref(),
        payload: stored.payload.as_deref(),
        meta: stored.meta.as_deref(),
    };
    if checked.crc() != stored.crc {
        return Ok(Err(stored.finding(Subject::State, "checksum does not match")));
    }
    Ok(Ok(StateRecord {
        revision: number(stored.seq_nr),
        offset: offset(row, 9),
        epoch: number(stored.epoch),
        time_ms: number(stored.time_ms),
        batch_id: stored.batch_id,
        manifest: stored.manifest,
        payload: stored.payload,
        meta: stored.meta,
        tag,
        id: stored.id,
    }))
}

pub(super) async fn events(
    moment: &Moment,
    id: &PersistenceId,
    from: u64,
    to: u64,
    limit: ReplayLimit,
) -> Result<Vec<EventRecord>, Stop> {
    let sql = format!(
        "SELECT {EVENT_COLUMNS} FROM journal j JOIN entity e USING (persistence_id)
         WHERE j.persistence_id = $1 AND j.seq_nr >= GREATEST($2, e.deleted_to + 1) AND j.seq_nr <= $3
         ORDER BY j.seq_nr LIMIT $4"
    );
    // Rows come as they are taken, so that large ones beyond the limit are not held.
    let (id, from, to, count) = (id.as_str(), clamped(from), clamped(to), clamped(limit.events.max(1) as u64));
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] =
        [(&id, Type::TEXT), (&from, Type::INT8), (&to, Type::INT8), (&count, Type::INT8)];
    let rows = moment.client().query_typed_raw(&sql, parameters).await?;
    let mut rows = std::pin::pin!(rows);
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(row) = super::next(&mut rows).await? {
        let event = event(&row)??;
        bytes += event.payload.len() + event.meta.as_ref().map_or(0, Bytes::len);
        page.push(event);
        if bytes >= limit.bytes {
            break;
        }
    }
    Ok(page)
}

pub(super) async fn newest_snapshot(moment: &Moment, id: &PersistenceId) -> Result<Option<SnapshotRecord>, Stop> {
    let sql =
        format!("SELECT {SNAPSHOT_COLUMNS} FROM snapshot s WHERE s.persistence_id = $1 ORDER BY s.seq_nr DESC LIMIT 1");
    let rows = all(moment.client(), &sql, &[(&id.as_str(), Type::TEXT)]).await?;
    rows.first().map(|row| Ok(snapshot(row)??)).transpose()
}

pub(super) async fn state(moment: &Moment, id: &PersistenceId) -> Result<Option<StateRecord>, Stop> {
    let sql = format!("SELECT {STATE_COLUMNS} FROM state s WHERE s.persistence_id = $1");
    let rows = all(moment.client(), &sql, &[(&id.as_str(), Type::TEXT)]).await?;
    rows.first().map(|row| Ok(state_record(row)??)).transpose()
}
