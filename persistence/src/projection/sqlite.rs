//! [`SqliteStore`] as a [`ProjectionStore`]: the tables `projection` and `parked`.

use super::{Claimed, ParkedEvent, Position, ProjectionFence, ProjectionId, ProjectionStore, Selection};
use crate::{
    AppendError, BoxFuture, JournalError, Offset, PersistenceId, SqliteStore,
    sqlite::{ReadError, ReadRequest, Transaction, Work, Written, clamped},
};
use futures_util::FutureExt;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// The texts of all statements, for one pair of tables.
pub(crate) struct Statements {
    fence: &'static str,
    save: &'static str,
    set: &'static str,
    claim: &'static str,
    pause: &'static str,
    positions: &'static str,
    park: &'static str,
    unpark: &'static str,
    forget: &'static str,
    parked: &'static str,
    parked_count: &'static str,
    replay: &'static str,
    drop: &'static str,
}

/// What the writer is asked to do with offsets and parked events.
pub(crate) enum ProjectionWork {
    Claim(ProjectionId),
    SaveOffset(ProjectionFence, Offset),
    SetOffset(ProjectionFence, Offset),
    SetPaused(ProjectionId, bool),
    Park(ProjectionFence, ParkedEvent),
    Unpark(ProjectionFence, Offset),
    Replay(Selection),
    Drop(Selection),
}

/// Which parked events are to be listed.
pub(crate) struct ParkedPage {
    pub(crate) selection: Selection,
    pub(crate) after: Option<(ProjectionId, Offset)>,
    pub(crate) limit: usize,
    pub(crate) to_replay: bool,
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

    fn save_offset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(Work::Projection(ProjectionWork::SaveOffset(fence, offset))).map(|done| done.map(drop)).boxed()
    }

    fn set_offset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(Work::Projection(ProjectionWork::SetOffset(fence, offset))).map(|done| done.map(drop)).boxed()
    }

    fn set_paused(&self, projection: ProjectionId, paused: bool) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(Work::Projection(ProjectionWork::SetPaused(projection, paused))).map(|done| done.map(drop)).boxed()
    }

    fn positions(&self, selection: Selection) -> BoxFuture<'static, Result<Vec<Position>, JournalError>> {
        self.read(|reply| ReadRequest::Positions { selection, reply })
    }

    fn park(&self, fence: ProjectionFence, event: ParkedEvent) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(Work::Projection(ProjectionWork::Park(fence, event))).map(|done| done.map(drop)).boxed()
    }

    fn unpark(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(Work::Projection(ProjectionWork::Unpark(fence, offset))).map(|done| done.map(drop)).boxed()
    }

    fn parked(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        let page = ParkedPage { selection, after, limit, to_replay: false };
        self.read(|reply| ReadRequest::Parked { page, reply })
    }

    fn to_replay(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        let page = ParkedPage { selection, after, limit, to_replay: true };
        self.read(|reply| ReadRequest::Parked { page, reply })
    }

    fn parked_count(&self, selection: Selection) -> BoxFuture<'static, Result<u64, JournalError>> {
        self.read(|reply| ReadRequest::ParkedCount { selection, reply })
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

/// `?1`, `?2` are group and source, the others the offset, each NULL for any.
macro_rules! selected {
    ($projection:literal) => {
        concat!(
            " projection IN (SELECT id FROM ",
            $projection,
            " WHERE (?1 IS NULL OR consumer_group = ?1)
              AND (?2 IS NULL OR source = ?2)) AND (?3 IS NULL OR (generation, tx, position) = (?3, ?4, ?5))"
        )
    };
}

macro_rules! statements {
    ($projection:literal, $parked:literal) => {
        Statements {
            fence: concat!("SELECT id, epoch FROM ", $projection, " WHERE consumer_group = ?1 AND source = ?2"),
            save: concat!(
                "UPDATE ", $projection, " SET generation = ?2, tx = ?3, position = ?4
                 WHERE id = ?1 AND (generation, tx, position) < (?2, ?3, ?4)"
            ),
            set: concat!("UPDATE ", $projection, " SET generation = ?2, tx = ?3, position = ?4 WHERE id = ?1"),
            claim: concat!(
                "INSERT INTO ", $projection, "(consumer_group, source, epoch, position) VALUES (?1, ?2, 1, 0)
                 ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch, generation, tx, position, paused"
            ),
            pause: concat!(
                "INSERT INTO ", $projection, "(consumer_group, source, epoch, position, paused) VALUES (?1, ?2, 0, 0, ?3)
                 ON CONFLICT DO UPDATE SET paused = excluded.paused"
            ),
            positions: concat!(
                "SELECT consumer_group, source, generation, tx, position, epoch, paused FROM ", $projection, "
                 WHERE (?1 IS NULL OR consumer_group = ?1) AND (?2 IS NULL OR source = ?2)
                 ORDER BY consumer_group, source"
            ),
            park: concat!(
                "INSERT OR REPLACE INTO ", $parked, "(projection, generation, tx, position, persistence_id, seq_nr,
                   attempts, reason, time_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
            ),
            unpark: concat!(
                "DELETE FROM ", $parked, " WHERE projection = ?1 AND (generation, tx, position) = (?2, ?3, ?4)"
            ),
            forget: concat!(
                "DELETE FROM ", $parked, " WHERE projection = ?1 AND (generation, tx, position) > (?2, ?3, ?4)"
            ),
            parked: concat!(
                "SELECT p.consumer_group, p.source, k.generation, k.tx, k.position, k.persistence_id, k.seq_nr, k.attempts,
                   k.reason, k.time_ms, k.replay
                 FROM ", $projection, " p JOIN ", $parked, " k ON k.projection = p.id
                 WHERE (?1 IS NULL OR p.consumer_group = ?1) AND (?2 IS NULL OR p.source = ?2)
                   AND (?3 IS NULL OR (k.generation, k.tx, k.position) = (?3, ?4, ?5))
                   AND (NOT ?12 OR k.replay)
                   AND (?6 IS NULL
                     OR (p.consumer_group, p.source, k.generation, k.tx, k.position) > (?6, ?7, ?8, ?9, ?10))
                 ORDER BY p.consumer_group, p.source, k.generation, k.tx, k.position LIMIT ?11"
            ),
            parked_count: concat!("SELECT count(*) FROM ", $parked, " WHERE", selected!($projection)),
            replay: concat!("UPDATE ", $parked, " SET replay = 1 WHERE", selected!($projection)),
            drop: concat!("DELETE FROM ", $parked, " WHERE", selected!($projection)),
        }
    };
}

/// The tables beside the journal.
pub(crate) const STORE: Statements = statements!("projection", "parked");

/// The tables in a database of somebody else.
pub(crate) const READ_MODEL: Statements = statements!("persistence_projection", "persistence_parked");

pub(crate) fn parked(
    db: &Connection,
    statements: &Statements,
    page: &ParkedPage,
) -> Result<Vec<ParkedEvent>, ReadError> {
    let ParkedPage { selection, after, limit, to_replay } = page;
    let after = after.as_ref();
    let only = OffsetColumns::of_any(selection.offset);
    let from = after.map(|(projection, _)| (&*projection.group, &*projection.source)).unzip();
    let from_offset = OffsetColumns::of_any(after.map(|(_, offset)| *offset));
    let mut statement = db.prepare_cached(statements.parked)?;
    let rows = statement.query_map(
        params![
            selection.group,
            selection.source,
            only.0,
            only.1,
            only.2,
            from.0,
            from.1,
            from_offset.0,
            from_offset.1,
            from_offset.2,
            clamped(*limit as u64),
            to_replay
        ],
        |row| {
            let id: String = row.get(5)?;
            Ok(ParkedEvent {
                projection: ProjectionId { group: row.get(0)?, source: row.get(1)? },
                offset: offset_at(row, 2)?,
                id: PersistenceId::parse(&id).unwrap_or_else(|| PersistenceId::of("", &id)),
                seq_nr: row.get::<_, i64>(6)? as u64,
                attempts: row.get(7)?,
                reason: row.get(8)?,
                time_ms: row.get::<_, i64>(9)? as u64,
                replay: row.get(10)?,
            })
        },
    )?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn parked_count(db: &Connection, statements: &Statements, selection: &Selection) -> Result<u64, ReadError> {
    let only = OffsetColumns::of_any(selection.offset);
    let parameters = params![selection.group, selection.source, only.0, only.1, only.2];
    let count: i64 = db.prepare_cached(statements.parked_count)?.query_row(parameters, |row| row.get(0))?;
    Ok(count as u64)
}

pub(crate) fn positions(
    db: &Connection,
    statements: &Statements,
    selection: &Selection,
) -> Result<Vec<Position>, ReadError> {
    let mut statement = db.prepare_cached(statements.positions)?;
    let rows = statement.query_map(params![selection.group, selection.source], |row| {
        Ok(Position {
            projection: ProjectionId { group: row.get(0)?, source: row.get(1)? },
            offset: offset_at(row, 2)?,
            epoch: row.get::<_, i64>(5)? as u64,
            paused: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// `generation`, `tx` and `position`, or NULL in their places.
struct OffsetColumns(Option<i64>, Option<i64>, Option<i64>);

impl OffsetColumns {
    fn of(offset: Offset) -> Self {
        Self::of_any(Some(offset))
    }

    fn of_any(offset: Option<Offset>) -> Self {
        Self(
            offset.map(|offset| i64::from(offset.generation())),
            offset.map(|offset| clamped(offset.tx())),
            offset.map(|offset| clamped(offset.ordering())),
        )
    }
}

/// Reads the three columns from the one with this number on.
fn offset_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Offset> {
    let (tx, ordering) = (row.get::<_, i64>(column + 1)? as u64, row.get::<_, i64>(column + 2)? as u64);
    Ok(Offset::new(row.get(column)?, tx, ordering))
}

impl Transaction<'_> {
    pub(crate) fn projection(&mut self, work: &ProjectionWork) -> rusqlite::Result<Result<Written, AppendError>> {
        let (answer, changed) = perform(self.db, &STORE, work)?;
        self.dirty |= changed;
        Ok(answer)
    }
}

/// The row of a consumer, if the fence is the last one claimed.
pub(crate) fn fenced(
    db: &Connection,
    statements: &Statements,
    fence: &ProjectionFence,
) -> rusqlite::Result<Result<i64, AppendError>> {
    let ProjectionFence { projection: ProjectionId { group, source }, epoch } = fence;
    let found: Option<(i64, i64)> = db
        .prepare_cached(statements.fence)?
        .query_row([group, source], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (id, current) = found.unwrap_or_default();
    if current as u64 == *epoch {
        return Ok(Ok(id));
    }
    Ok(Err(AppendError::Stale { held: *epoch, current: current as u64 }))
}

/// Does `work` in the transaction that is open; the flag says whether anything was written.
pub(crate) fn perform(
    db: &Connection,
    statements: &Statements,
    work: &ProjectionWork,
) -> rusqlite::Result<(Result<Written, AppendError>, bool)> {
    let select = |statement: &str, selection: &Selection| {
        let only = OffsetColumns::of_any(selection.offset);
        let count = db.prepare_cached(statement)?.execute(params![
            selection.group,
            selection.source,
            only.0,
            only.1,
            only.2
        ])?;
        Ok((Ok(Written::Count(count as u64)), count > 0))
    };
    let fence = match work {
        ProjectionWork::Claim(projection) => return Ok((Ok(claim(db, statements, projection)?), true)),
        ProjectionWork::SetPaused(projection, paused) => {
            db.prepare_cached(statements.pause)?.execute(params![projection.group, projection.source, paused])?;
            return Ok((Ok(Written::Done), true));
        }
        ProjectionWork::Replay(selection) => return select(statements.replay, selection),
        ProjectionWork::Drop(selection) => return select(statements.drop, selection),
        ProjectionWork::SaveOffset(fence, _)
        | ProjectionWork::SetOffset(fence, _)
        | ProjectionWork::Park(fence, _)
        | ProjectionWork::Unpark(fence, _) => fence,
    };
    let id = match fenced(db, statements, fence)? {
        Ok(id) => id,
        Err(stale) => return Ok((Err(stale), false)),
    };
    let changed = match work {
        ProjectionWork::SaveOffset(_, offset) => move_to(db, statements.save, id, *offset)?,
        ProjectionWork::SetOffset(_, offset) => {
            move_to(db, statements.set, id, *offset)? + move_to(db, statements.forget, id, *offset)?
        }
        ProjectionWork::Park(_, event) => park(db, statements, id, event)?,
        ProjectionWork::Unpark(_, offset) => move_to(db, statements.unpark, id, *offset)?,
        ProjectionWork::Claim(_)
        | ProjectionWork::SetPaused(..)
        | ProjectionWork::Replay(_)
        | ProjectionWork::Drop(_) => 0, // returned above
    };
    Ok((Ok(Written::Done), changed > 0))
}

/// A statement about a consumer's row and an offset.
fn move_to(db: &Connection, statement: &str, id: i64, offset: Offset) -> rusqlite::Result<usize> {
    let OffsetColumns(generation, tx, ordering) = OffsetColumns::of(offset);
    db.prepare_cached(statement)?.execute(params![id, generation, tx, ordering])
}

fn park(db: &Connection, statements: &Statements, projection: i64, event: &ParkedEvent) -> rusqlite::Result<usize> {
    let OffsetColumns(generation, tx, ordering) = OffsetColumns::of(event.offset);
    db.prepare_cached(statements.park)?.execute(params![
        projection,
        generation,
        tx,
        ordering,
        event.id.as_str(),
        clamped(event.seq_nr),
        event.attempts,
        event.reason,
        clamped(event.time_ms)
    ])
}

fn claim(db: &Connection, statements: &Statements, projection: &ProjectionId) -> rusqlite::Result<Written> {
    let claimed = db.prepare_cached(statements.claim)?.query_row([&projection.group, &projection.source], |row| {
        let fence = ProjectionFence { projection: projection.clone(), epoch: row.get::<_, i64>(0)? as u64 };
        Ok(Claimed { fence, offset: offset_at(row, 1)?, paused: row.get(4)? })
    })?;
    Ok(Written::Claimed(claimed))
}

/// Moves a consumer's offset forward, in the transaction that is open.
pub(crate) fn move_offset(db: &Connection, statements: &Statements, id: i64, offset: Offset) -> rusqlite::Result<()> {
    move_to(db, statements.save, id, offset).map(drop)
}
