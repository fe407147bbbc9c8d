//! One transaction of a writer, in one flight: everything is sent at once, and the answers decide.
//!
//! Each statement decides by itself which requests may happen, so nothing has to be looked at in between. When a statement
//! fails, the server skips what was sent behind it and turns the commit into a rollback.

use super::{
    columns::{Appends, Deletions, Snapshots, States, TransactionId},
    fault::Fault,
    known::{Known, ShardEpochs},
    known_columns::{KnownAppends, ShardsInOrder},
    request::{Work, WriteRequest, Written},
    session::{Parameter, Session, Sql},
    statements::{
        APPEND, APPEND_KNOWN, APPEND_ONE, CLAIM_ENTITIES, CLAIM_SHARDS, DELETE_EVENTS, DELETE_SNAPSHOTS, LOCK_SHARDS,
        LOCK_SHARDS_ALONE, NAME_SHARDS, SAVE_SNAPSHOT, WRITE_STATE,
    },
};
use crate::{
    AppendError, Fence, FenceScope, PersistenceId, fencing::Epochs, journal::snapshot_ahead,
    projection::postgres::apply,
};
use std::collections::{BTreeSet, HashMap};
use tokio_postgres::{Error, Row};

/// What became of one request of a committed transaction.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answer(Result<Written, AppendError>),
    /// It was overtaken: the same again, in another transaction.
    Again,
}

/// What a committed transaction did.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) outcomes: Vec<Outcome>,
    /// Events stored, of those sent.
    pub(crate) events: usize,
    pub(crate) deleted: bool,
    pub(crate) states: bool,
    /// The transaction, if it stored something that feeds tell.
    pub(crate) tx: u64,
}

/// How the statements on a server are begun, and what they store beside the requests.
pub(crate) struct Frame {
    pub(crate) begin: String,
    /// Whether settings last for as long as a connection, so that a statement may be a transaction by itself.
    pub(crate) is_session: bool,
    pub(crate) generation: i32,
    pub(crate) owner: String,
}

/// Writes under fences, each for another entity. What is `known` of entities is used, and what is learned is added.
pub(crate) async fn write(
    session: &Session,
    frame: &Frame,
    batch: &[WriteRequest],
    known: &mut Known,
) -> Result<Committed, Fault> {
    let mut shards = BTreeSet::new();
    let (mut direct, mut appends, mut states) = (KnownAppends::default(), Appends::default(), States::default());
    let (mut saves, mut drops, mut deletions) = (Snapshots::default(), Deletions::default(), Deletions::default());
    let mut places = Vec::with_capacity(batch.len()); // of the shard, of those written directly
    for (n, request) in batch.iter().enumerate() {
        let place = match &request.work {
            Work::Append(append) => known.expects(append).and_then(|expected| direct.push(append, expected)),
            _ => None,
        };
        places.push(place);
        if place.is_some() {
            continue;
        }
        if let Some((id, _)) = request.work.subject() {
            shards.insert((id.entity_type(), i32::from(id.slice())));
        }
        match &request.work {
            Work::Append(append) => appends.push(n, append),
            Work::WriteState(write) => states.push(n, write),
            Work::SaveSnapshot { id, seq_nr, fence, time_ms, snapshot } => {
                saves.push(n, id, *seq_nr, fence, *time_ms, snapshot);
            }
            Work::DeleteSnapshots { id, up_to_seq, fence } => drops.push(n, id, *up_to_seq, fence),
            Work::DeleteEvents { id, up_to_seq, fence } => deletions.push(n, id, *up_to_seq, fence),
            Work::Claim(_) | Work::Projection(_) | Work::Close => {} // not under a fence
        }
    }
    let generation = &frame.generation;
    let in_order = direct.in_order();
    if shards.is_empty() && frame.is_session {
        let rows = match direct.one(generation) {
            Some(parameters) => session.query(&APPEND_ONE, &parameters).await,
            None => session.query(&APPEND_KNOWN, &direct.parameters(&in_order, generation)).await,
        };
        let direct = Direct::of(&in_order, &rows.map_err(|error| Fault::of_one_statement(&error))?);
        return Ok(committed(batch, &places, &direct, &[], &Locked::default(), known));
    }
    shards.extend(direct.shards());
    let (types, slices): (Vec<&str>, Vec<i32>) = shards.into_iter().unzip();
    // `join!` polls them in this order, and each sends when it is first polled.
    let (begun, locked, written, appended, put, saved, dropped, deleted, ended) = futures_util::join!(
        session.execute(&frame.begin),
        unless(false, session, &LOCK_SHARDS, vec![&types, &slices]),
        unless(direct.is_empty(), session, &APPEND_KNOWN, direct.parameters(&in_order, generation)),
        unless(appends.is_empty(), session, &APPEND, appends.parameters(generation)),
        unless(states.is_empty(), session, &WRITE_STATE, states.parameters(generation)),
        unless(saves.is_empty(), session, &SAVE_SNAPSHOT, saves.parameters()),
        unless(drops.is_empty(), session, &DELETE_SNAPSHOTS, drops.parameters()),
        unless(deletions.is_empty(), session, &DELETE_EVENTS, deletions.parameters()),
        session.execute("COMMIT"),
    );
    let mut verdicts: Vec<Option<Verdict>> = batch.iter().map(|_| None).collect();
    begun.map_err(|error| Fault::in_begin(&error))?;
    let locked = locked.map_err(|error| Fault::before_commit(&error))?;
    let written = written.map_err(|error| Fault::before_commit(&error))?;
    let mut tx = 0;
    for rows in [appended, put, saved, dropped, deleted] {
        for row in rows.map_err(|error| Fault::before_commit(&error))? {
            let n: i32 = row.get(0);
            if let Some(place) = verdicts.get_mut(n as usize) {
                *place = Some(Verdict::of(&row));
                tx = tx.max(row.get::<_, i64>(6) as u64);
            }
        }
    }
    ended.map_err(|error| Fault::in_commit(&error))?;
    let locked = Locked::of(types.iter().copied().zip(slices.iter().copied()), &locked);
    let direct = Direct::of(&in_order, &written);
    let done = committed(batch, &places, &direct, &verdicts, &locked, known);
    Ok(Committed { deleted: !deletions.is_empty(), states: !states.is_empty(), tx: tx.max(done.tx), ..done })
}

/// What became of a batch, as it is committed.
fn committed(
    batch: &[WriteRequest],
    places: &[Option<usize>],
    direct: &Direct,
    verdicts: &[Option<Verdict>],
    locked: &Locked<'_>,
    known: &mut Known,
) -> Committed {
    let mut events = 0;
    let mut outcomes = Vec::with_capacity(batch.len());
    for (n, (request, place)) in batch.iter().zip(places).enumerate() {
        let verdict = verdicts.get(n).and_then(Option::as_ref);
        let (stored, shard, outcome) = match (&request.work, place, verdict) {
            (Work::Append(append), Some(place), _) => match direct.fit(*place) {
                Some(shard) => (true, Some(shard), Outcome::Answer(Ok(Written::Highest(append.last_seq())))),
                None => (false, None, Outcome::Again), // somebody claimed: what is there must be looked at
            },
            (work, _, Some(verdict)) => {
                let shard = work.subject().and_then(|(id, _)| locked.epochs(id));
                (verdict.accepted, shard, verdict.outcome(work))
            }
            (_, _, None) => (false, None, Outcome::Again), // never: each request is in a statement, which answers for all of its own
        };
        if let Work::Append(append) = &request.work {
            events += if stored { append.events.len() } else { 0 };
            match shard.filter(|_| stored) {
                Some(shard) => known.wrote(append, shard),
                None => known.forget(&append.id),
            }
        }
        outcomes.push(outcome);
    }
    Committed { outcomes, events, deleted: false, states: false, tx: direct.tx }
}

/// What became of the events that were written directly.
struct Direct {
    /// Of each shard, in the order they came in, whose epochs were as expected.
    fit: Vec<Option<ShardEpochs>>,
    tx: u64,
}

impl Direct {
    fn of(sent: &ShardsInOrder<'_>, rows: &[Row]) -> Self {
        let Some(row) = rows.first() else {
            return Self { fit: Vec::new(), tx: 0 };
        };
        let (epochs, maxes): (Option<Vec<i64>>, Option<Vec<i64>>) = (row.get(1), row.get(2));
        let found = |slot: usize| {
            let (epochs, maxes) = (epochs.as_ref()?, maxes.as_ref()?);
            Some(ShardEpochs { shard: *epochs.get(slot)?, entity_max: *maxes.get(slot)? })
        };
        let fit = |slot| {
            let expected = sent.expected(slot);
            (row.get::<_, bool>(0) || found(slot) == Some(expected)).then_some(expected)
        };
        let TransactionId(tx) = row.get(3);
        Self { fit: sent.slots().map(fit).collect(), tx }
    }

    fn fit(&self, place: usize) -> Option<ShardEpochs> {
        self.fit.get(place).copied().flatten()
    }
}

/// The epochs of the shards that a transaction locked.
#[derive(Default)]
struct Locked<'a>(HashMap<(&'a str, i32), ShardEpochs>);

impl<'a> Locked<'a> {
    fn of(shards: impl Iterator<Item = (&'a str, i32)>, rows: &[Row]) -> Self {
        let shards: Vec<(&str, i32)> = shards.collect();
        let locked = rows.iter().filter_map(|row| {
            let n: i64 = row.get(0);
            let shard = shards.get(usize::try_from(n - 1).ok()?)?;
            Some((*shard, ShardEpochs { shard: row.get(1), entity_max: row.get(2) }))
        });
        Self(locked.collect())
    }

    fn epochs(&self, id: &PersistenceId) -> Option<ShardEpochs> {
        self.0.get(&(id.entity_type(), i32::from(id.slice()))).copied()
    }
}

/// Claims, each of other shards.
pub(crate) async fn claim(session: &Session, frame: &Frame, batch: &[WriteRequest]) -> Result<Committed, Fault> {
    let scopes = || {
        batch.iter().flat_map(|request| match &request.work {
            Work::Claim(scopes) => scopes.as_slice(),
            _ => &[],
        })
    };
    let (mut slots, mut whole) = (BTreeSet::new(), (Vec::new(), Vec::new()));
    let (mut ids, mut types, mut slices) = (Vec::new(), Vec::new(), Vec::new());
    for scope in scopes() {
        match scope {
            FenceScope::Entity(id) => {
                slots.insert((id.entity_type(), i32::from(id.slice())));
                ids.push(id.as_str());
                types.push(id.entity_type());
                slices.push(i32::from(id.slice()));
            }
            FenceScope::Shard { entity_type, shard } => {
                slots.insert((&**entity_type, i32::from(*shard)));
                whole.0.push(&**entity_type);
                whole.1.push(i32::from(*shard));
            }
        }
    }
    let (slot_types, slot_shards): (Vec<&str>, Vec<i32>) = slots.into_iter().unzip();
    let (begun, named, locked, shards, entities, committed) = futures_util::join!(
        session.execute(&frame.begin),
        unless(false, session, &NAME_SHARDS, vec![&slot_types, &slot_shards]),
        unless(false, session, &LOCK_SHARDS_ALONE, vec![&slot_types, &slot_shards]),
        unless(whole.0.is_empty(), session, &CLAIM_SHARDS, vec![&whole.0, &whole.1, &frame.owner]),
        unless(ids.is_empty(), session, &CLAIM_ENTITIES, vec![&ids, &types, &slices]),
        session.execute("COMMIT"),
    );
    begun.map_err(|error| Fault::in_begin(&error))?;
    named.and(locked).map_err(|error| Fault::before_commit(&error))?;
    let of_shard: HashMap<(String, i32), i64> = shards
        .map_err(|error| Fault::before_commit(&error))?
        .iter()
        .map(|row| ((row.get(0), row.get(1)), row.get(2)))
        .collect();
    let of_entity: HashMap<String, i64> =
        entities.map_err(|error| Fault::before_commit(&error))?.iter().map(|row| (row.get(0), row.get(1))).collect();
    committed.map_err(|error| Fault::in_commit(&error))?;
    let fence = |scope: &FenceScope| {
        let epoch = match scope {
            FenceScope::Entity(id) => of_entity.get(id.as_str()),
            FenceScope::Shard { entity_type, shard } => of_shard.get(&(entity_type.to_string(), i32::from(*shard))),
        };
        epoch.map(|epoch| Fence { scope: scope.clone(), epoch: *epoch as u64 })
    };
    let outcomes = batch.iter().map(|request| {
        let Work::Claim(scopes) = &request.work else { return Outcome::Again };
        let fences: Option<Vec<Fence>> = scopes.iter().map(fence).collect();
        fences.map_or(Outcome::Again, |fences| Outcome::Answer(Ok(Written::Fences(fences))))
    });
    Ok(Committed { outcomes: outcomes.collect(), events: 0, deleted: false, states: false, tx: 0 })
}

/// One request about a consumer.
pub(crate) async fn project(session: &Session, frame: &Frame, batch: &[WriteRequest]) -> Result<Committed, Fault> {
    let mut outcomes = Vec::new();
    for request in batch {
        outcomes.push(match &request.work {
            Work::Projection(work) => Outcome::Answer(apply(session, &frame.begin, work).await?),
            _ => Outcome::Again,
        });
    }
    Ok(Committed { outcomes, events: 0, deleted: false, states: false, tx: 0 })
}

/// Nothing, or the rows of a statement.
async fn unless(
    not: bool,
    session: &Session,
    sql: &'static Sql,
    parameters: Vec<Parameter<'_>>,
) -> Result<Vec<Row>, Error> {
    if not { Ok(Vec::new()) } else { session.query(sql, &parameters).await }
}

/// What a statement found out about one request.
struct Verdict {
    accepted: bool,
    stored: bool,
    epochs: Epochs,
    highest: u64,
}

impl Verdict {
    fn of(row: &Row) -> Self {
        let number = |column| row.get::<_, i64>(column) as u64;
        Self {
            accepted: row.get(1),
            stored: row.get(2),
            epochs: Epochs { entity: number(3), shard: number(4) },
            highest: number(5),
        }
    }

    fn outcome(&self, work: &Work) -> Outcome {
        let refused = |error| Outcome::Answer(Err(error));
        if self.accepted || self.stored {
            return Outcome::Answer(Ok(match work {
                Work::Append(append) => Written::Highest(append.last_seq()),
                Work::WriteState(write) => Written::Revision(write.expected_revision + 1),
                _ => Written::Done,
            }));
        }
        if let Some((_, fence)) = work.subject()
            && let Err(current) = self.epochs.check(fence)
        {
            return refused(AppendError::Stale { held: fence.epoch, current });
        }
        let highest = self.highest;
        match work {
            Work::Append(append) if append.expected_seq != highest + 1 => {
                refused(AppendError::Conflict { expected: append.expected_seq, highest })
            }
            Work::WriteState(write) if write.expected_revision != highest => {
                refused(AppendError::Conflict { expected: write.expected_revision.saturating_add(1), highest })
            }
            Work::SaveSnapshot { seq_nr, .. } if !(1..=highest).contains(seq_nr) => {
                refused(snapshot_ahead(*seq_nr, highest))
            }
            _ => Outcome::Again,
        }
    }
}
