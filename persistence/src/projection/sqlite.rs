//! [`SqliteStore`] as a [`ProjectionStore`]: the tables `projection` and `parked`.

use super::{Claimed, ParkedEvent, ProjectionFence, ProjectionId, ProjectionStore, Selection};
use crate::{
    AppendError, BoxFuture, JournalError, PersistenceId, SqliteStore,
    sqlite::{ReadError, ReadRequest, Transaction, Work, Written, clamped},
};
use futures_util::FutureExt;
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;

/// What the writer is asked to do with offsets and parked events.
pub(crate) enum ProjectionWork {
    Claim(ProjectionId),
    SaveOffset(ProjectionFence, u64),
    Park(ProjectionFence, ParkedEvent),
    Unpark(ProjectionFence, u64),
    Replay(Selection),
    Drop(Selection),
}

impl ProjectionStore for SqliteStore {
    fn take_over(&self, projection: ProjectionId) -> BoxFuture<'static, Result<Claimed, AppendError>> {
        let written = self.write(Work::Projection(ProjectionWork::Claim(projection)));
        async move {
            match written.await? {
                Written::Claimed(claimed) => Ok(claimed),
                other => unreachable!("a claim answers an offset, not {other:?}"),
            }
        }
        .boxed()
    }

    fn save_offset(&self, fence: ProjectionFence, offset: u64) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(Work::Projection(ProjectionWork::SaveOffset(fence, offset))).map(|done| done.map(drop)).boxed()
    }

    fn park(&self, fence: ProjectionFence, event: ParkedEvent) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(Work::Projection(ProjectionWork::Park(fence, event))).map(|done| done.map(drop)).boxed()
    }

    fn unpark(&self, fence: ProjectionFence, offset: u64) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(Work::Projection(ProjectionWork::Unpark(fence, offset))).map(|done| done.map(drop)).boxed()
    }

    fn parked(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, u64)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        self.read(|reply| ReadRequest::Parked { selection, after, limit, reply })
    }

    fn replay_parked(&self, selection: Selection) -> BoxFuture<'static, Result<u64, AppendError>> {
        counted(self.write(Work::Projection(ProjectionWork::Replay(selection))))
    }

    fn drop_parked(&self, selection: Selection) -> BoxFuture<'static, Result<u64, AppendError>> {
        counted(self.write(Work::Projection(ProjectionWork::Drop(selection))))
    }
}

fn counted(written: BoxFuture<'static, Result<Written, AppendError>>) -> BoxFuture<'static, Result<u64, AppendError>> {
    async move {
        match written.await? {
            Written::Count(count) => Ok(count),
            other => unreachable!("a change of parked events answers a number, not {other:?}"),
        }
    }
    .boxed()
}

/// `?1`, `?2`, `?3` are group, source and position, each NULL for any.
const SELECTED: &str = "projection IN (SELECT id FROM projection WHERE (?1 IS NULL OR consumer_group = ?1)
  AND (?2 IS NULL OR source = ?2)) AND (?3 IS NULL OR position = ?3)";

const PARKED: &str = "
SELECT p.consumer_group, p.source, k.position, k.persistence_id, k.seq_nr, k.attempts, k.reason, k.time_ms, k.replay
FROM projection p JOIN parked k ON k.projection = p.id
WHERE (?1 IS NULL OR p.consumer_group = ?1) AND (?2 IS NULL OR p.source = ?2) AND (?3 IS NULL OR k.position = ?3)
  AND (?4 IS NULL OR (p.consumer_group, p.source, k.position) > (?4, ?5, ?6))
ORDER BY p.consumer_group, p.source, k.position LIMIT ?7";

pub(crate) fn parked(
    db: &Connection,
    selection: &Selection,
    after: Option<&(ProjectionId, u64)>,
    limit: usize,
) -> Result<Vec<ParkedEvent>, ReadError> {
    let (group, source, position) = columns(selection);
    let from = after.map(|(projection, _)| (&*projection.group, &*projection.source)).unzip();
    let from_position = after.map(|(_, offset)| clamped(*offset));
    let mut statement = db.prepare_cached(PARKED)?;
    let rows = statement.query_map(
        params![group, source, position, from.0, from.1, from_position, clamped(limit as u64)],
        |row| {
            let id: String = row.get(3)?;
            Ok(ParkedEvent {
                projection: ProjectionId { group: row.get(0)?, source: row.get(1)? },
                offset: row.get::<_, i64>(2)? as u64,
                id: PersistenceId::parse(&id).unwrap_or_else(|| PersistenceId::of("", &id)),
                seq_nr: row.get::<_, i64>(4)? as u64,
                attempts: row.get(5)?,
                reason: row.get(6)?,
                time_ms: row.get::<_, i64>(7)? as u64,
                replay: row.get(8)?,
            })
        },
    )?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn columns(selection: &Selection) -> (Option<&Arc<str>>, Option<&Arc<str>>, Option<i64>) {
    (selection.group.as_ref(), selection.source.as_ref(), selection.offset.map(clamped))
}

impl Transaction<'_> {
    pub(crate) fn projection(&mut self, work: &ProjectionWork) -> rusqlite::Result<Result<Written, AppendError>> {
        let fence = match work {
            ProjectionWork::Claim(projection) => return self.claim_projection(projection).map(Ok),
            ProjectionWork::Replay(selection) => {
                return self.select_parked(selection, "UPDATE parked SET replay = 1 WHERE").map(Ok);
            }
            ProjectionWork::Drop(selection) => {
                return self.select_parked(selection, "DELETE FROM parked WHERE").map(Ok);
            }
            ProjectionWork::SaveOffset(fence, _)
            | ProjectionWork::Park(fence, _)
            | ProjectionWork::Unpark(fence, _) => fence,
        };
        let ProjectionFence { projection: ProjectionId { group, source }, epoch } = fence;
        let found: Option<(i64, i64)> = self
            .db
            .prepare_cached("SELECT id, epoch FROM projection WHERE consumer_group = ?1 AND source = ?2")?
            .query_row([group, source], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (id, current) = found.unwrap_or_default();
        if current as u64 != *epoch {
            return Ok(Err(AppendError::Stale { held: *epoch, current: current as u64 }));
        }
        let changed = match work {
            ProjectionWork::SaveOffset(_, offset) => self
                .db
                .prepare_cached("UPDATE projection SET position = ?2 WHERE id = ?1 AND position < ?2")?
                .execute([id, clamped(*offset)])?,
            ProjectionWork::Park(_, event) => self
                .db
                .prepare_cached(
                    "INSERT OR REPLACE INTO parked(projection, position, persistence_id, seq_nr, attempts, reason, time_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    id,
                    clamped(event.offset),
                    event.id.as_str(),
                    clamped(event.seq_nr),
                    event.attempts,
                    event.reason,
                    clamped(event.time_ms)
                ])?,
            ProjectionWork::Unpark(_, offset) => self
                .db
                .prepare_cached("DELETE FROM parked WHERE projection = ?1 AND position = ?2")?
                .execute([id, clamped(*offset)])?,
            ProjectionWork::Claim(_) | ProjectionWork::Replay(_) | ProjectionWork::Drop(_) => 0, // returned above
        };
        self.dirty |= changed > 0;
        Ok(Ok(Written::Done))
    }

    fn claim_projection(&mut self, projection: &ProjectionId) -> rusqlite::Result<Written> {
        self.dirty = true;
        let claimed = self
            .db
            .prepare_cached(
                "INSERT INTO projection(consumer_group, source, epoch, position) VALUES (?1, ?2, 1, 0)
                 ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch, position",
            )?
            .query_row([&projection.group, &projection.source], |row| {
                let (epoch, offset) = (row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64);
                Ok(Claimed { fence: ProjectionFence { projection: projection.clone(), epoch }, offset })
            })?;
        Ok(Written::Claimed(claimed))
    }

    fn select_parked(&mut self, selection: &Selection, change: &str) -> rusqlite::Result<Written> {
        let (group, source, position) = columns(selection);
        let count =
            self.db.prepare_cached(&format!("{change} {SELECTED}"))?.execute(params![group, source, position])?;
        self.dirty |= count > 0;
        Ok(Written::Count(count as u64))
    }
}
