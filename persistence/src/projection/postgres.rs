//! [`PostgresStore`] as a [`ProjectionStore`]: the tables `projection` and `parked`.

use super::{Claimed, ParkedEvent, Position, ProjectionFence, ProjectionId, ProjectionStore, Selection};
use crate::{
    AppendError, BoxFuture, JournalError, Offset, PersistenceId, PostgresStore,
    postgres::{Fault, Parameter, ReadError, Session, Sql, Work, Written, clamped},
};
use futures_util::FutureExt;
use std::sync::Arc;
use tokio_postgres::{Error, Row, types::Type};

/// What a writer is asked to do with offsets and parked events.
#[derive(Debug)]
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

impl ProjectionStore for PostgresStore {
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
        let selection = Arc::new(selection);
        self.read(move |session| {
            let selection = Arc::clone(&selection);
            async move { positions(session, &selection).await }.boxed()
        })
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
        self.listed(selection, after, limit, false)
    }

    fn to_replay(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        self.listed(selection, after, limit, true)
    }

    fn parked_count(&self, selection: Selection) -> BoxFuture<'static, Result<u64, JournalError>> {
        let selection = Arc::new(selection);
        self.read(move |session| {
            let selection = Arc::clone(&selection);
            async move {
                let only = Columns::of(selection.offset);
                let (group, source) = (selection.group.as_deref(), selection.source.as_deref());
                let rows = session.read(&PARKED_COUNT, &[&group, &source, &only.0, &only.1, &only.2]).await?;
                Ok(rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))? as u64)
            }
            .boxed()
        })
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

impl PostgresStore {
    fn listed(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
        to_replay: bool,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        let wanted = Arc::new((selection, after));
        self.read(move |session| {
            let wanted = Arc::clone(&wanted);
            async move { parked(session, &wanted.0, wanted.1.as_ref(), limit, to_replay).await }.boxed()
        })
    }
}

impl ProjectionWork {
    /// Whose, where it is about one.
    pub(crate) fn projection(&self) -> Option<&ProjectionId> {
        match self {
            Self::Claim(projection) | Self::SetPaused(projection, _) => Some(projection),
            Self::SaveOffset(fence, _) | Self::SetOffset(fence, _) | Self::Park(fence, _) | Self::Unpark(fence, _) => {
                Some(&fence.projection)
            }
            Self::Replay(_) | Self::Drop(_) => None,
        }
    }

    /// The texts it wants stored.
    pub(crate) fn texts(&self) -> Vec<&str> {
        let mut texts =
            self.projection().map_or_else(Vec::new, |projection| vec![&*projection.group, &projection.source]);
        if let Self::Park(_, event) = self {
            texts.extend([event.id.as_str(), &event.reason]);
        }
        texts
    }
}

/// Epochs of consumers, locked until the transaction ends.
pub(crate) static LOCK: Sql = Sql {
    text: "SELECT epoch FROM {schema}.projection WHERE consumer_group = $1 AND source = $2 FOR UPDATE",
    types: &[Type::TEXT, Type::TEXT],
};

pub(crate) static CLAIM: Sql = Sql {
    text: "
INSERT INTO {schema}.projection AS p (consumer_group, source, epoch) VALUES ($1, $2, 1)
ON CONFLICT (consumer_group, source) DO UPDATE SET epoch = p.epoch + 1
RETURNING epoch, generation, tx, ordering, paused",
    types: &[Type::TEXT, Type::TEXT],
};

pub(crate) static SAVE_OFFSET: Sql = Sql {
    text: "
UPDATE {schema}.projection SET generation = $4, tx = $5, ordering = $6
WHERE consumer_group = $1 AND source = $2 AND epoch = $3 AND (generation, tx, ordering) < ($4, $5, $6)",
    types: &[Type::TEXT, Type::TEXT, Type::INT8, Type::INT4, Type::INT8, Type::INT8],
};

pub(crate) static SET_OFFSET: Sql = Sql {
    text: "
WITH forgotten AS (
  DELETE FROM {schema}.parked k USING {schema}.projection p
  WHERE p.consumer_group = $1 AND p.source = $2 AND p.epoch = $3 AND k.consumer_group = $1 AND k.source = $2
    AND (k.generation, k.tx, k.ordering) > ($4, $5, $6)
)
UPDATE {schema}.projection SET generation = $4, tx = $5, ordering = $6
WHERE consumer_group = $1 AND source = $2 AND epoch = $3",
    types: &[Type::TEXT, Type::TEXT, Type::INT8, Type::INT4, Type::INT8, Type::INT8],
};

pub(crate) static SET_PAUSED: Sql = Sql {
    text: "
INSERT INTO {schema}.projection(consumer_group, source, epoch, paused) VALUES ($1, $2, 0, $3)
ON CONFLICT (consumer_group, source) DO UPDATE SET paused = excluded.paused",
    types: &[Type::TEXT, Type::TEXT, Type::BOOL],
};

pub(crate) static PARK: Sql = Sql {
    text: "
INSERT INTO {schema}.parked(consumer_group, source, generation, tx, ordering, persistence_id, seq_nr, attempts, reason,
  time_ms)
SELECT $1, $2, $4, $5, $6, $7, $8, $9, $10, $11 FROM {schema}.projection
WHERE consumer_group = $1 AND source = $2 AND epoch = $3
ON CONFLICT (consumer_group, source, generation, tx, ordering) DO UPDATE SET persistence_id = excluded.persistence_id,
  seq_nr = excluded.seq_nr, attempts = excluded.attempts, reason = excluded.reason, time_ms = excluded.time_ms,
  replay = false",
    types: &[
        Type::TEXT,
        Type::TEXT,
        Type::INT8,
        Type::INT4,
        Type::INT8,
        Type::INT8,
        Type::TEXT,
        Type::INT8,
        Type::INT8,
        Type::TEXT,
        Type::INT8,
    ],
};

pub(crate) static UNPARK: Sql = Sql {
    text: "
DELETE FROM {schema}.parked k USING {schema}.projection p
WHERE p.consumer_group = $1 AND p.source = $2 AND p.epoch = $3 AND k.consumer_group = $1 AND k.source = $2
  AND (k.generation, k.tx, k.ordering) = ($4, $5, $6)",
    types: &[Type::TEXT, Type::TEXT, Type::INT8, Type::INT4, Type::INT8, Type::INT8],
};

const SELECTION: &[Type] = &[Type::TEXT, Type::TEXT, Type::INT4, Type::INT8, Type::INT8];

pub(crate) static REPLAY: Sql = Sql {
    text: "
WITH changed AS (
  UPDATE {schema}.parked SET replay = true WHERE ($1::text IS NULL OR consumer_group = $1)
    AND ($2::text IS NULL OR source = $2) AND ($3::int IS NULL OR (generation, tx, ordering) = ($3, $4, $5)) RETURNING 1
) SELECT count(*) FROM changed",
    types: SELECTION,
};

pub(crate) static DROP: Sql = Sql {
    text: "
WITH changed AS (
  DELETE FROM {schema}.parked WHERE ($1::text IS NULL OR consumer_group = $1)
    AND ($2::text IS NULL OR source = $2) AND ($3::int IS NULL OR (generation, tx, ordering) = ($3, $4, $5)) RETURNING 1
) SELECT count(*) FROM changed",
    types: SELECTION,
};

pub(crate) static POSITIONS: Sql = Sql {
    text: "
SELECT consumer_group, source, generation, tx, ordering, epoch, paused FROM {schema}.projection
WHERE ($1::text IS NULL OR consumer_group = $1) AND ($2::text IS NULL OR source = $2) ORDER BY consumer_group, source",
    types: &[Type::TEXT, Type::TEXT],
};

pub(crate) static PARKED: Sql = Sql {
    text: "
SELECT consumer_group, source, generation, tx, ordering, persistence_id, seq_nr, attempts, reason, time_ms, replay
FROM {schema}.parked
WHERE ($1::text IS NULL OR consumer_group = $1) AND ($2::text IS NULL OR source = $2)
  AND ($3::int IS NULL OR (generation, tx, ordering) = ($3, $4, $5))
  AND (NOT $12::bool OR replay)
  AND ($6::text IS NULL OR (consumer_group, source, generation, tx, ordering) > ($6, $7, $8, $9, $10))
ORDER BY consumer_group, source, generation, tx, ordering LIMIT $11",
    types: &[
        Type::TEXT,
        Type::TEXT,
        Type::INT4,
        Type::INT8,
        Type::INT8,
        Type::TEXT,
        Type::TEXT,
        Type::INT4,
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::BOOL,
    ],
};

pub(crate) static PARKED_COUNT: Sql = Sql {
    text: "
SELECT count(*) FROM {schema}.parked WHERE ($1::text IS NULL OR consumer_group = $1)
  AND ($2::text IS NULL OR source = $2) AND ($3::int IS NULL OR (generation, tx, ordering) = ($3, $4, $5))",
    types: SELECTION,
};

/// An offset as its three columns.
pub(crate) fn offset_columns(offset: Offset) -> (i32, i64, i64) {
    (offset.generation() as i32, clamped(offset.tx()), clamped(offset.ordering()))
}

/// An offset as columns, or NULL in their places.
struct Columns(Option<i32>, Option<i64>, Option<i64>);

impl Columns {
    fn of(offset: Option<Offset>) -> Self {
        Self(
            offset.map(|offset| offset.generation() as i32),
            offset.map(|offset| clamped(offset.tx())),
            offset.map(|offset| clamped(offset.ordering())),
        )
    }
}

/// The three columns from `first` on.
fn offset(row: &Row, first: usize) -> Result<Offset, Error> {
    let (generation, tx, ordering): (i32, i64, i64) =
        (row.try_get(first)?, row.try_get(first + 1)?, row.try_get(first + 2)?);
    Ok(Offset::new(generation as u32, tx as u64, ordering as u64))
}

/// Does one piece of work in a transaction of its own. The look at the epoch comes first and locks it.
pub(crate) async fn apply(
    session: &Session,
    begin: &str,
    work: &ProjectionWork,
) -> Result<Result<Written, AppendError>, Fault> {
    let (fence, offset, event) = match work {
        ProjectionWork::Claim(_)
        | ProjectionWork::SetPaused(..)
        | ProjectionWork::Replay(_)
        | ProjectionWork::Drop(_) => {
            return apply_unfenced(session, begin, work).await.map(Ok);
        }
        ProjectionWork::SaveOffset(fence, offset)
        | ProjectionWork::SetOffset(fence, offset)
        | ProjectionWork::Unpark(fence, offset) => (fence, offset, None),
        ProjectionWork::Park(fence, event) => (fence, &event.offset, Some(event)),
    };
    let sql = match work {
        ProjectionWork::SaveOffset(..) => &SAVE_OFFSET,
        ProjectionWork::SetOffset(..) => &SET_OFFSET,
        ProjectionWork::Unpark(..) => &UNPARK,
        _ => &PARK,
    };
    let (group, source) = (&*fence.projection.group, &*fence.projection.source);
    let at = Columns::of(Some(*offset));
    let epoch = clamped(fence.epoch);
    let parked = event.map(|event| {
        let numbers = (clamped(event.seq_nr), i64::from(event.attempts), clamped(event.time_ms));
        (event.id.as_str(), numbers, event.reason.as_str())
    });
    let mut parameters: Vec<Parameter<'_>> = vec![&group, &source, &epoch, &at.0, &at.1, &at.2];
    if let Some((id, (seq_nr, attempts, time_ms), reason)) = &parked {
        parameters.extend([id as Parameter<'_>, seq_nr, attempts, reason, time_ms]);
    }
    let key: [Parameter<'_>; 2] = [&group, &source];
    // `join!` polls them in this order, and each sends when it is first polled.
    let (begun, locked, done, committed) = futures_util::join!(
        session.execute(begin),
        session.query(&LOCK, &key),
        session.query(sql, &parameters),
        session.execute("COMMIT"),
    );
    begun.map_err(|error| Fault::in_begin(&error))?;
    let locked = locked.map_err(|error| Fault::before_commit(&error))?;
    done.map_err(|error| Fault::before_commit(&error))?;
    committed.map_err(|error| Fault::in_commit(&error))?;
    let current = locked.first().map_or(0, |row| row.get::<_, i64>(0) as u64);
    if current == fence.epoch {
        return Ok(Ok(Written::Done));
    }
    Ok(Err(AppendError::Stale { held: fence.epoch, current }))
}

async fn apply_unfenced(session: &Session, begin: &str, work: &ProjectionWork) -> Result<Written, Fault> {
    let rows = match work {
        ProjectionWork::Claim(ProjectionId { group, source }) => {
            alone(session, begin, &CLAIM, &[&&**group, &&**source]).await?
        }
        ProjectionWork::SetPaused(ProjectionId { group, source }, paused) => {
            alone(session, begin, &SET_PAUSED, &[&&**group, &&**source, paused]).await?
        }
        ProjectionWork::Replay(selection) => select(session, begin, &REPLAY, selection).await?,
        ProjectionWork::Drop(selection) => select(session, begin, &DROP, selection).await?,
        _ => Vec::new(), // under a fence
    };
    let read = |error: Error| Fault::before_commit(&error);
    match (work, rows.first()) {
        (ProjectionWork::Claim(projection), Some(row)) => {
            let epoch = row.try_get::<_, i64>(0).map_err(read)? as u64;
            let fence = ProjectionFence { projection: projection.clone(), epoch };
            let paused = row.try_get(4).map_err(read)?;
            Ok(Written::Claimed(Claimed { fence, offset: offset(row, 1).map_err(read)?, paused }))
        }
        (ProjectionWork::Replay(_) | ProjectionWork::Drop(_), Some(row)) => {
            Ok(Written::Count(row.try_get::<_, i64>(0).map_err(read)? as u64))
        }
        _ => Ok(Written::Done),
    }
}

async fn select(session: &Session, begin: &str, sql: &'static Sql, selection: &Selection) -> Result<Vec<Row>, Fault> {
    let only = Columns::of(selection.offset);
    let (group, source) = (selection.group.as_deref(), selection.source.as_deref());
    alone(session, begin, sql, &[&group, &source, &only.0, &only.1, &only.2]).await
}

async fn alone(
    session: &Session,
    begin: &str,
    sql: &'static Sql,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>, Fault> {
    let (begun, done, committed) =
        futures_util::join!(session.execute(begin), session.query(sql, parameters), session.execute("COMMIT"));
    begun.map_err(|error| Fault::in_begin(&error))?;
    let rows = done.map_err(|error| Fault::before_commit(&error))?;
    committed.map_err(|error| Fault::in_commit(&error))?;
    Ok(rows)
}

async fn positions(session: &Session, selection: &Selection) -> Result<Vec<Position>, ReadError> {
    let (group, source) = (selection.group.as_deref(), selection.source.as_deref());
    let rows = session.read(&POSITIONS, &[&group, &source]).await?;
    let position = |row: &Row| {
        Ok(Position {
            projection: projection(row)?,
            offset: offset(row, 2)?,
            epoch: row.try_get::<_, i64>(5)? as u64,
            paused: row.try_get(6)?,
        })
    };
    rows.iter().map(position).collect()
}

async fn parked(
    session: &Session,
    selection: &Selection,
    after: Option<&(ProjectionId, Offset)>,
    limit: usize,
    to_replay: bool,
) -> Result<Vec<ParkedEvent>, ReadError> {
    let only = Columns::of(selection.offset);
    let (group, source) = (selection.group.as_deref(), selection.source.as_deref());
    let from = after.map(|(projection, _)| (&*projection.group, &*projection.source)).unzip();
    let from_offset = Columns::of(after.map(|(_, offset)| *offset));
    let limit = clamped(limit as u64);
    let parameters: [Parameter<'_>; 12] = [
        &group,
        &source,
        &only.0,
        &only.1,
        &only.2,
        &from.0,
        &from.1,
        &from_offset.0,
        &from_offset.1,
        &from_offset.2,
        &limit,
        &to_replay,
    ];
    let rows = session.read(&PARKED, &parameters).await?;
    let event = |row: &Row| {
        let id: &str = row.try_get(5)?;
        Ok(ParkedEvent {
            projection: projection(row)?,
            offset: offset(row, 2)?,
            id: PersistenceId::parse(id).unwrap_or_else(|| PersistenceId::of("", id)),
            seq_nr: row.try_get::<_, i64>(6)? as u64,
            attempts: u32::try_from(row.try_get::<_, i64>(7)?).unwrap_or(u32::MAX),
            reason: row.try_get(8)?,
            time_ms: row.try_get::<_, i64>(9)? as u64,
            replay: row.try_get(10)?,
        })
    };
    rows.iter().map(event).collect()
}

fn projection(row: &Row) -> Result<ProjectionId, Error> {
    Ok(ProjectionId { group: row.try_get::<_, &str>(0)?.into(), source: row.try_get::<_, &str>(1)?.into() })
}
