//! One write inside the writer's open transaction: check, then write.
//!
//! Invariant: a request that is refused (`Ok(Err(_))`) has written nothing, so that the others of its batch can commit
//! without a savepoint. An `Err(_)` means that SQLite failed in the middle: roll the whole batch back.

use super::{
    cache::{Cache, EntityRow, NameTable},
    request::{Work, Written},
};
use crate::{
    Append, AppendError, Fence, FenceScope, PersistenceId, RawEvent, RawSnapshot,
    checksum::Checked,
    fencing::Epochs,
    journal::{check_batch, not_covered, snapshot_ahead},
};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;

/// The outer error is SQLite's, the inner one the caller's.
pub(crate) type Outcome<T> = rusqlite::Result<Result<T, AppendError>>;

/// Returns early with a refusal, as `?` does with SQLite's own errors.
macro_rules! refuse {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(refusal) => return Ok(Err(refusal)),
        }
    };
}
pub(crate) use refuse;

pub(crate) struct Transaction<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) cache: &'a mut Cache,
    pub(crate) payload_bytes_max: usize,
    /// Events inserted so far.
    pub(crate) events: u64,
    /// States written so far.
    pub(crate) states: u64,
    /// Whether anything was written.
    pub(crate) dirty: bool,
}

impl Transaction<'_> {
    pub(crate) fn apply(&mut self, work: &Work) -> Outcome<Written> {
        match work {
            Work::Claim(scopes) => {
                let fences = scopes.iter().map(|scope| self.claim(scope)).collect::<rusqlite::Result<_>>()?;
                Ok(Ok(Written::Fences(fences)))
            }
            Work::Append(append) => Ok(self.append(append)?.map(Written::Highest)),
            Work::SaveSnapshot { id, seq_nr, fence, time_ms, snapshot } => {
                self.save_snapshot(id, *seq_nr, fence, *time_ms, snapshot)
            }
            Work::DeleteSnapshots { id, up_to_seq, fence } => self.delete_snapshots(id, *up_to_seq, fence),
            Work::DeleteEvents { id, up_to_seq, fence } => self.delete_events(id, *up_to_seq, fence),
            Work::Projection(work) => self.projection(work),
            Work::WriteState(write) => Ok(self.write_state(write)?.map(Written::Revision)),
            Work::Close => Ok(Ok(Written::Done)),
        }
    }

    fn claim(&mut self, scope: &FenceScope) -> rusqlite::Result<Fence> {
        self.dirty = true;
        let epoch = match scope {
            FenceScope::Shard { entity_type, shard } => {
                let epoch: i64 = self
                    .db
                    .prepare_cached(
                        "INSERT INTO owner(entity_type, shard, epoch, entity_epoch_max, owner) VALUES (?1, ?2, 1, 0, ?3)
                         ON CONFLICT DO UPDATE SET epoch = max(epoch, entity_epoch_max) + 1, owner = excluded.owner
                         RETURNING epoch",
                    )?
                    .query_row(params![entity_type, shard, owner()], |row| row.get(0))?;
                self.cache.set_shard_epoch(entity_type, *shard, epoch as u64);
                epoch as u64
            }
            FenceScope::Entity(id) => self.claim_entity(id)?,
        };
        Ok(Fence { scope: scope.clone(), epoch })
    }

    fn claim_entity(&mut self, id: &PersistenceId) -> rusqlite::Result<u64> {
        let shard = self.shard_epoch(id)?;
        let entity = self.entity_or_new(id)?;
        let epoch = entity.epoch.max(shard) + 1;
        self.db
            .prepare_cached("UPDATE entity SET epoch = ?2 WHERE pid = ?1")?
            .execute(params![entity.pid, epoch as i64])?;
        self.db
            .prepare_cached(
                "INSERT INTO owner(entity_type, shard, epoch, entity_epoch_max, owner) VALUES (?1, ?2, 0, ?3, '')
                 ON CONFLICT DO UPDATE SET entity_epoch_max = max(entity_epoch_max, excluded.entity_epoch_max)",
            )?
            .execute(params![id.entity_type(), id.slice(), epoch as i64])?;
        self.cache.set_entity(id, EntityRow { epoch, ..entity });
        Ok(epoch)
    }

    fn append(&mut self, append: &Append<RawEvent>) -> Outcome<u64> {
        let count = append.events.len() as u64;
        refuse!(check_batch(append));
        for event in &append.events {
            refuse!(self.check_size(event.weight()));
        }
        let known = self.entity(&append.id)?;
        let highest = known.map_or(0, |entity| entity.highest);
        // A batch that is here already was stored, whoever owns the entity now: saying anything else would be a lie.
        if let Some(entity) = known
            && append.expected_seq <= highest
            && self.batch_id_at(entity.pid, append.expected_seq)?.is_some_and(|id| id == append.batch_id.to_be_bytes())
        {
            return Ok(Ok(append.expected_seq + count - 1));
        }
        refuse!(self.check_fence(&append.id, known, &append.fence)?);
        if append.expected_seq != highest + 1 {
            return Ok(Err(AppendError::Conflict { expected: append.expected_seq, highest }));
        }
        let entity = match known {
            Some(entity) => entity,
            None => self.entity_or_new(&append.id)?,
        };
        for (seq_nr, event) in (append.expected_seq..).zip(&append.events) {
            self.insert_event(append, entity.pid, seq_nr, event)?;
        }
        self.events += count;
        let highest = highest + count;
        self.cache.set_entity(&append.id, EntityRow { highest, ..entity });
        Ok(Ok(highest))
    }

    fn insert_event(
        &mut self,
        append: &Append<RawEvent>,
        pid: i64,
        seq_nr: u64,
        event: &RawEvent,
    ) -> rusqlite::Result<()> {
        self.dirty = true;
        let manifest = self.name(NameTable::Manifest, &event.manifest)?;
        // The first event stands for its batch: a batch is stored entirely or not at all.
        let batch_id = append.batch_id.to_be_bytes();
        let batch_id = (seq_nr == append.expected_seq).then_some(&batch_id[..]);
        let (seq_nr, epoch, time_ms) = (seq_nr as i64, append.fence.epoch as i64, append.time_ms as i64);
        let meta = event.meta.as_deref();
        let checked = Checked {
            id: &append.id,
            seq_nr,
            epoch,
            time_ms,
            batch_id,
            manifest: &event.manifest,
            payload: &event.payload,
            meta,
        };
        let ordering = self
            .db
            .prepare_cached(
                "INSERT INTO journal(pid, seq_nr, epoch, batch_id, time_ms, manifest, payload, meta, crc)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .insert(params![pid, seq_nr, epoch, batch_id, time_ms, manifest, &*event.payload, meta, checked.crc()])?;
        let place = (seq_nr - append.expected_seq as i64) as usize;
        for tag in append.tags.get(place).into_iter().flatten() {
            let tag = self.name(NameTable::Tag, tag)?;
            self.db
                .prepare_cached("INSERT OR IGNORE INTO journal_tag(tag, ordering) VALUES (?1, ?2)")?
                .execute([tag, ordering])?;
        }
        Ok(())
    }

    fn save_snapshot(
        &mut self,
        id: &PersistenceId,
        seq_nr: u64,
        fence: &Fence,
        time_ms: u64,
        snapshot: &RawSnapshot,
    ) -> Outcome<Written> {
        refuse!(self.check_size(snapshot.payload.len() + snapshot.meta.as_ref().map_or(0, bytes::Bytes::len)));
        let known = self.entity(id)?;
        refuse!(self.check_fence(id, known, fence)?);
        let highest = known.map_or(0, |entity| entity.highest);
        let Some(entity) = known.filter(|_| (1..=highest).contains(&seq_nr)) else {
            return Ok(Err(snapshot_ahead(seq_nr, highest)));
        };
        self.dirty = true;
        let manifest = self.name(NameTable::Manifest, &snapshot.manifest)?;
        let (seq_nr, epoch, time_ms) = (seq_nr as i64, fence.epoch as i64, time_ms as i64);
        let (payload, meta) = (&*snapshot.payload, snapshot.meta.as_deref());
        let checked =
            Checked { id, seq_nr, epoch, time_ms, batch_id: None, manifest: &snapshot.manifest, payload, meta };
        self.db
            .prepare_cached(
                "INSERT OR REPLACE INTO snapshot(pid, seq_nr, epoch, time_ms, manifest, payload, meta, crc)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![entity.pid, seq_nr, epoch, time_ms, manifest, payload, meta, checked.crc()])?;
        Ok(Ok(Written::Done))
    }

    fn delete_snapshots(&mut self, id: &PersistenceId, up_to_seq: u64, fence: &Fence) -> Outcome<Written> {
        let known = self.entity(id)?;
        refuse!(self.check_fence(id, known, fence)?);
        if let Some(entity) = known {
            let deleted = self
                .db
                .prepare_cached("DELETE FROM snapshot WHERE pid = ?1 AND seq_nr <= ?2")?
                .execute(params![entity.pid, clamped(up_to_seq)])?;
            self.dirty |= deleted > 0;
        }
        Ok(Ok(Written::Done))
    }

    /// Events vanish for readers at once, by `deleted_to`; the rows go in small steps later, see [`sweep`].
    fn delete_events(&mut self, id: &PersistenceId, up_to_seq: u64, fence: &Fence) -> Outcome<Written> {
        let known = self.entity(id)?;
        refuse!(self.check_fence(id, known, fence)?);
        let Some(entity) = known else {
            return Ok(Ok(Written::Done));
        };
        let changed = self
            .db
            .prepare_cached("UPDATE entity SET highest_seq = ?2, deleted_to = ?3 WHERE pid = ?1 AND deleted_to < ?3")?
            .execute(params![entity.pid, entity.highest as i64, up_to_seq.min(entity.highest) as i64])?;
        if changed > 0 {
            self.dirty = true;
            self.db.prepare_cached("INSERT OR IGNORE INTO sweep(pid) VALUES (?1)")?.execute([entity.pid])?;
        }
        Ok(Ok(Written::Done))
    }

    pub(crate) fn check_size(&self, bytes: usize) -> Result<(), AppendError> {
        if bytes <= self.payload_bytes_max {
            return Ok(());
        }
        let reason = format!("payload and meta hold {bytes} bytes, payload_bytes_max is {}", self.payload_bytes_max);
        Err(AppendError::Rejected { reason })
    }

    pub(crate) fn check_fence(&mut self, id: &PersistenceId, entity: Option<EntityRow>, fence: &Fence) -> Outcome<()> {
        if !fence.covers(id) {
            return Ok(Err(not_covered(id, fence)));
        }
        let epochs = Epochs { entity: entity.map_or(0, |entity| entity.epoch), shard: self.shard_epoch(id)? };
        Ok(epochs.check(fence).map_err(|current| AppendError::Stale { held: fence.epoch, current }))
    }

    pub(crate) fn entity(&mut self, id: &PersistenceId) -> rusqlite::Result<Option<EntityRow>> {
        if let Some(row) = self.cache.entity(id) {
            return Ok(Some(row));
        }
        let found = self
            .db
            .prepare_cached(
                "SELECT pid, epoch, max(highest_seq, coalesce((SELECT max(seq_nr) FROM journal j WHERE j.pid = e.pid), 0))
                 FROM entity e WHERE persistence_id = ?1",
            )?
            .query_row([id.as_str()], |row| {
                let (epoch, highest) = (row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64);
                Ok(EntityRow { pid: row.get(0)?, highest, epoch })
            })
            .optional()?;
        if let Some(row) = found {
            self.cache.set_entity(id, row);
        }
        Ok(found)
    }

    pub(crate) fn entity_or_new(&mut self, id: &PersistenceId) -> rusqlite::Result<EntityRow> {
        if let Some(row) = self.entity(id)? {
            return Ok(row);
        }
        self.dirty = true;
        let pid = self
            .db
            .prepare_cached("INSERT INTO entity(persistence_id, entity_type, slice) VALUES (?1, ?2, ?3)")?
            .insert(params![id.as_str(), id.entity_type(), id.slice()])?;
        let row = EntityRow { pid, highest: 0, epoch: 0 };
        self.cache.set_entity(id, row);
        Ok(row)
    }

    /// Epoch with which the shard of `id` was claimed as a whole; 0 if never.
    fn shard_epoch(&mut self, id: &PersistenceId) -> rusqlite::Result<u64> {
        let (entity_type, shard) = (id.entity_type(), id.slice());
        if let Some(epoch) = self.cache.shard_epoch(entity_type, shard) {
            return Ok(epoch);
        }
        let found: Option<i64> = self
            .db
            .prepare_cached("SELECT epoch FROM owner WHERE entity_type = ?1 AND shard = ?2")?
            .query_row(params![entity_type, shard], |row| row.get(0))
            .optional()?;
        let epoch = found.unwrap_or(0) as u64;
        self.cache.set_shard_epoch(entity_type, shard, epoch);
        Ok(epoch)
    }

    fn batch_id_at(&self, pid: i64, seq_nr: u64) -> rusqlite::Result<Option<Vec<u8>>> {
        let found = self
            .db
            .prepare_cached("SELECT batch_id FROM journal WHERE pid = ?1 AND seq_nr = ?2")?
            .query_row(params![pid, clamped(seq_nr)], |row| row.get::<_, Option<Vec<u8>>>(0))
            .optional()?;
        Ok(found.flatten())
    }

    pub(crate) fn name(&mut self, table: NameTable, name: &Arc<str>) -> rusqlite::Result<i64> {
        if let Some(id) = self.cache.name(table, name) {
            return Ok(id);
        }
        let (select, insert) = match table {
            NameTable::Manifest => {
                ("SELECT id FROM manifest WHERE name = ?1", "INSERT INTO manifest(name) VALUES (?1)")
            }
            NameTable::Tag => ("SELECT id FROM tag WHERE name = ?1", "INSERT INTO tag(name) VALUES (?1)"),
        };
        let found = self.db.prepare_cached(select)?.query_row([name], |row| row.get(0)).optional()?;
        let id = match found {
            Some(id) => id,
            None => self.db.prepare_cached(insert)?.insert([name])?,
        };
        self.cache.set_name(table, name, id);
        Ok(id)
    }
}

/// Rows removed per step: a step must not hold the writer up for longer than a batch.
const SWEEP_ROWS: i64 = 500;

/// Removes some rows of deleted events, in a transaction of its own. Answers whether there is more to do.
pub(crate) fn sweep(db: &Connection) -> rusqlite::Result<bool> {
    let next = "SELECT s.pid, e.deleted_to FROM sweep s JOIN entity e USING (pid) LIMIT 1";
    let Some((pid, deleted_to)) =
        db.prepare_cached(next)?.query_row((), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).optional()?
    else {
        return Ok(false);
    };
    let transaction = db.unchecked_transaction()?;
    // One statement decides which rows, so that tags and events go together.
    let victims = "SELECT ordering FROM journal WHERE pid = ?1 AND seq_nr <= ?2 ORDER BY seq_nr LIMIT ?3";
    db.prepare_cached(&format!("DELETE FROM journal_tag WHERE ordering IN ({victims})"))?
        .execute([pid, deleted_to, SWEEP_ROWS])?;
    let removed = db
        .prepare_cached(&format!("DELETE FROM journal WHERE ordering IN ({victims})"))?
        .execute([pid, deleted_to, SWEEP_ROWS])?;
    if (removed as i64) < SWEEP_ROWS {
        db.prepare_cached("DELETE FROM sweep WHERE pid = ?1")?.execute([pid])?;
    }
    transaction.commit()?;
    Ok(true)
}

/// SQLite counts to 2^63 - 1; no sequence number comes near it, but a caller's bound may.
pub(crate) fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn owner() -> String {
    format!("process {}", std::process::id())
}
