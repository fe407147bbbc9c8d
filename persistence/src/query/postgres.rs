//! [`PostgresStore`] as feeds: by `(generation, tx, ordering)`, as far as all transactions are over.
//!
//! Numbers and times are given out before a commit, so the order of either is not the order in which rows become visible:
//! a reader that remembered the last number would miss a slower transaction with a lower one. A transaction's id is
//! different: the server tells the oldest one that still runs, and below that nothing can appear any more.

use super::{Changes, EntityIds, EventFeed, FeedEvent, FeedPage, FeedQuery, StateChange, StateFeed, StatePage};
use crate::{
    BoxFuture, JournalError, Offset, PersistenceId, PostgresStore, RawEvent, RawState, ReplayLimit,
    manifests::Manifests,
    postgres::{Parameter, ReadError, Session, Sql, StoredRow, TransactionId, clamped, stored_state},
};
use futures_util::FutureExt;
use std::{future::Future, sync::Arc, time::Duration};
use tokio_postgres::{Error, Row, types::Type};

/// What this store has committed itself should be found; it is held back as long as an older transaction runs, somewhere
/// on the server. Those of other writers take milliseconds, so it is worth to look again a few times before saying that
/// there is nothing more.
const LOOKS_AGAIN: u32 = 6;

/// Before the first of them; each waits for twice as long as the one before.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

impl EventFeed<RawEvent> for PostgresStore {
    fn page(
        &self,
        query: FeedQuery,
        after: Offset,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<FeedPage<RawEvent>, JournalError>> {
        let store = self.clone();
        let query = Arc::new(query);
        async move {
            store.known(after)?;
            let read = || {
                let (generation, query) = (store.generation(), Arc::clone(&query));
                store.read_of(&texts(&Arc::clone(&query)), move |session| {
                    let query = Arc::clone(&query);
                    async move { event_page(session, generation, &query, after, limit).await }.boxed()
                })
            };
            store.patiently(read, |page| page.read_to == page.end).await
        }
        .boxed()
    }

    fn offset_of(&self, id: PersistenceId, seq_nr: u64) -> BoxFuture<'static, Result<Option<Offset>, JournalError>> {
        self.read_of(&[("id", id.clone().as_str())], move |session| {
            let id = id.clone();
            async move {
                let rows = session.read(&OFFSET_OF, &[&id.as_str(), &clamped(seq_nr)]).await?;
                Ok(rows.first().map(|row| offset(row, 0)).transpose()?)
            }
            .boxed()
        })
    }

    fn changes(&self) -> Changes {
        Changes::of(self.events_stored())
    }
}

impl StateFeed<RawState> for PostgresStore {
    fn page(
        &self,
        query: FeedQuery,
        after: Offset,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<StatePage<RawState>, JournalError>> {
        let store = self.clone();
        let query = Arc::new(query);
        async move {
            store.known(after)?;
            let read = || {
                let (generation, query) = (store.generation(), Arc::clone(&query));
                store.read_of(&texts(&Arc::clone(&query)), move |session| {
                    let query = Arc::clone(&query);
                    async move { state_page(session, generation, &query, after, limit).await }.boxed()
                })
            };
            store.patiently(read, |page| page.read_to == page.end).await
        }
        .boxed()
    }

    fn last_offset(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<Offset>, JournalError>> {
        self.read(move |session| {
            let id = id.clone();
            async move {
                let rows = session.read(&STATE_OFFSET, &[&id.as_str()]).await?;
                Ok(rows.first().map(|row| offset(row, 0)).transpose()?)
            }
            .boxed()
        })
    }

    fn changes(&self) -> Changes {
        Changes::of(self.states_stored())
    }
}

impl EntityIds for PostgresStore {
    fn ids(
        &self,
        entity_type: Option<Arc<str>>,
        after: Option<PersistenceId>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<PersistenceId>, JournalError>> {
        let after = Arc::<str>::from(after.as_ref().map_or("", PersistenceId::as_str));
        let texts = [("entity type", entity_type.clone().unwrap_or_default()), ("id", Arc::clone(&after))];
        self.read_of(&texts.each_ref().map(|(what, text)| (*what, &**text)), move |session| {
            let (entity_type, after) = (entity_type.clone(), Arc::clone(&after));
            async move {
                // Ids of a type begin with it and the separator, so they end before it and the character behind that.
                let from = entity_type.as_deref().map_or_else(String::new, PersistenceId::first_of);
                let to = entity_type.as_deref().map(PersistenceId::end_of);
                let rows = session.read(&IDS, &[&&*after, &clamped(limit as u64), &from, &to]).await?;
                let mut ids = Vec::with_capacity(rows.len());
                for row in &rows {
                    ids.extend(PersistenceId::parse(row.try_get(0)?));
                }
                Ok(ids)
            }
            .boxed()
        })
    }

    fn id_changes(&self) -> Changes {
        Changes::of_both(self.events_stored(), self.states_stored())
    }
}

/// What a query names.
fn texts(query: &FeedQuery) -> [(&'static str, &str); 2] {
    [("entity type", &query.entity_type), ("tag", query.tag.as_deref().unwrap_or_default())]
}

impl PostgresStore {
    /// Whether this store may have given out `offset`.
    fn known(&self, offset: Offset) -> Result<(), JournalError> {
        let generations = 1..=self.generation() as u32;
        if offset == Offset::START || generations.contains(&offset.generation()) {
            return Ok(());
        }
        Err(JournalError::ForeignOffset { offset })
    }

    /// Reads again for a moment while a page that is the last one may lack what this store has committed.
    async fn patiently<P, F>(&self, read: impl Fn() -> F, is_last: impl Fn(&P) -> bool) -> Result<P, JournalError>
    where
        F: Future<Output = Result<Seen<P>, JournalError>>,
    {
        let committed = self.last_tx();
        let mut pause = LOOK_PAUSE;
        for _ in 0..LOOKS_AGAIN {
            let seen = read().await?;
            if !is_last(&seen.page) || seen.xmin > committed {
                return Ok(seen.page);
            }
            self.clock().sleep(pause).await;
            pause *= 2;
        }
        Ok(read().await?.page)
    }
}

/// A page, and the oldest transaction that ran when it was read.
struct Seen<P> {
    page: P,
    xmin: u64,
}

/// Rows looked at for one page of a query that leaves rows out: bounds what a page of a rare tag costs.
const SCANNED_MAX: i64 = 20_000;

/// A page of `$table`: rows that a query is about, in commit order, unless not `$if`.
macro_rules! page {
    ($table:literal, [$($columns:tt)*], $tag:literal, $also:literal, $if:literal) => {
        concat!(
            "
    SELECT ",
            $($columns)*,
            " FROM {schema}.",
            $table,
            " n
    WHERE n.entity_type = $1 AND (n.generation, n.tx, n.ordering) > ($3, ($4::bigint)::text::xid8, $5)
      AND (n.generation, n.tx, n.ordering) <=
        ((SELECT generation FROM bound), (SELECT tx FROM bound), (SELECT ordering FROM bound))
      AND (n.generation < $2 OR n.tx < (SELECT xmin FROM horizon)) AND n.slice BETWEEN $6 AND $7
      AND ($8::text IS NULL OR ",
            $tag,
            ")",
            $also,
            $if,
            "
    ORDER BY n.generation, n.tx, n.ordering LIMIT $9"
        )
    };
}

/// Rows of `$table` that a query is about, in commit order. One statement, and so one moment, for where reading ends and
/// what there is up to there. `$1` type, `$2` the current generation, `$3` to `$5` the place to begin after, `$6` and `$7`
/// slices, `$8` tag, `$9` rows and `$10` bytes at most, `$11` rows to look at or NULL for no bound.
///
/// Answers with rows about the reading itself first, which have no id: their number says what their place is. That of the
/// oldest transaction has a generation on a replica. A page is
/// weighed before it is read, which costs less than to add up what is read; only one that is too heavy is cut where the sum
/// of its rows says.
///
/// Older generations hold ids of another server, all of them over. The end is looked up type by type along the index: an
/// index of its own for it would cost every write.
macro_rules! feed {
    ($table:literal, $number:literal, $tag:literal, $also:literal) => {
        concat!(
            "
WITH RECURSIVE horizon AS MATERIALIZED (
  SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin
), types(entity_type) AS (
  (SELECT entity_type FROM {schema}.",
            $table,
            " ORDER BY entity_type LIMIT 1)
  UNION ALL
  SELECT (SELECT n.entity_type FROM {schema}.",
            $table,
            " n WHERE n.entity_type > t.entity_type ORDER BY n.entity_type LIMIT 1)
  FROM types t WHERE t.entity_type IS NOT NULL
), last AS MATERIALIZED (
  SELECT l.generation, l.tx, l.ordering FROM types t CROSS JOIN LATERAL (
    SELECT n.generation, n.tx, n.ordering FROM {schema}.",
            $table,
            " n WHERE n.entity_type = t.entity_type AND (n.generation < $2 OR n.tx < (SELECT xmin FROM horizon))
    ORDER BY n.generation DESC, n.tx DESC, n.ordering DESC LIMIT 1) l
  ORDER BY l.generation DESC, l.tx DESC, l.ordering DESC LIMIT 1
), scanned AS MATERIALIZED (
  SELECT n.generation, n.tx, n.ordering FROM {schema}.",
            $table,
            " n
  WHERE $11::bigint IS NOT NULL AND n.entity_type = $1
    AND (n.generation, n.tx, n.ordering) > ($3, ($4::bigint)::text::xid8, $5)
  ORDER BY n.generation, n.tx, n.ordering LIMIT 1 OFFSET $11
), bound AS MATERIALIZED (
  SELECT coalesce(max(generation), 2147483647) AS generation, coalesce(max(tx::text::numeric), 9223372036854775807)::text::xid8
    AS tx, coalesce(max(ordering), 9223372036854775807) AS ordering FROM scanned
), weighed AS MATERIALIZED (
  SELECT coalesce(sum(octet_length(coalesce(payload, '')) + coalesce(octet_length(meta), 0)), 0) <= $10 AS fits FROM (",
            page!($table, ["n.payload, n.meta"], $tag, $also, ""),
            ") n
)
SELECT CASE WHEN pg_is_in_recovery() THEN 1 END, xmin, NULL::bigint, NULL::text, 0::bigint, NULL::bigint, NULL::bigint, NULL::uuid, NULL::text,
  NULL::bytea, NULL::bytea, NULL::bigint FROM horizon
UNION ALL
SELECT generation, tx, ordering, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM last
UNION ALL
SELECT generation, tx, ordering, NULL, 2, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM scanned
UNION ALL
(",
            page!(
                $table,
                [
                    "n.generation, n.tx, n.ordering, n.persistence_id, n.",
                    $number,
                    ", n.epoch, n.time_ms, n.batch_id, n.manifest, n.payload, n.meta, n.crc"
                ],
                $tag,
                $also,
                " AND (SELECT fits FROM weighed)"
            ),
            ")
UNION ALL
(SELECT generation, tx, ordering, persistence_id, ",
            $number,
            ", epoch, time_ms, batch_id, manifest, payload, meta, crc FROM (
  SELECT n.*, sum(octet_length(coalesce(payload, '')) + coalesce(octet_length(meta), 0))
    OVER (ORDER BY generation, tx, ordering) AS bytes FROM (",
            page!($table, ["n.*"], $tag, $also, " AND NOT (SELECT fits FROM weighed)"),
            ") n) n
WHERE bytes - octet_length(coalesce(payload, '')) - coalesce(octet_length(meta), 0) < $10
ORDER BY generation, tx, ordering)"
        )
    };
}

const FEED_TYPES: &[Type] = &[
    Type::TEXT,
    Type::INT4,
    Type::INT4,
    Type::INT8,
    Type::INT8,
    Type::INT4,
    Type::INT4,
    Type::TEXT,
    Type::INT8,
    Type::INT8,
    Type::INT8,
];

/// Rows of deleted events are still there for a while; most of the time there are none.
pub(crate) static EVENTS: Sql = Sql {
    text: feed!(
        "journal",
        "seq_nr",
        "n.tags @> ARRAY[$8::text]",
        "
      AND CASE WHEN (SELECT EXISTS (SELECT FROM {schema}.sweep)) THEN n.seq_nr > coalesce(
        (SELECT d.deleted_to FROM {schema}.sweep d WHERE d.persistence_id = n.persistence_id), 0) ELSE true END"
    ),
    types: FEED_TYPES,
};

pub(crate) static STATES: Sql = Sql { text: feed!("state", "revision", "n.tag = $8", ""), types: FEED_TYPES };

pub(crate) static OFFSET_OF: Sql = Sql {
    text: "
SELECT generation, tx, ordering FROM {schema}.journal WHERE persistence_id = $1 AND seq_nr >= GREATEST($2,
  1 + coalesce((SELECT e.deleted_to FROM {schema}.entity e WHERE e.persistence_id = $1), 0))
ORDER BY seq_nr LIMIT 1",
    types: &[Type::TEXT, Type::INT8],
};

pub(crate) static STATE_OFFSET: Sql =
    Sql { text: "SELECT generation, tx, ordering FROM {schema}.state WHERE persistence_id = $1", types: &[Type::TEXT] };

/// In the order of the primary key. `$3` and `$4` bound the texts of one type.
pub(crate) static IDS: Sql = Sql {
    text: "
SELECT e.persistence_id FROM {schema}.entity e
WHERE e.persistence_id > $1 AND e.persistence_id >= $3 AND ($4::text IS NULL OR e.persistence_id < $4)
  AND (e.highest_seq > 0 OR EXISTS (SELECT FROM {schema}.journal j WHERE j.persistence_id = e.persistence_id)
    OR EXISTS (SELECT FROM {schema}.state s WHERE s.persistence_id = e.persistence_id))
ORDER BY e.persistence_id LIMIT $2",
    types: &[Type::TEXT, Type::INT8, Type::TEXT, Type::TEXT],
};

/// Where reading has come to.
struct Bounds {
    xmin: u64,
    end: Offset,
    read_to: Offset,
}

/// What a feed's statement answers, as it comes: items about entities, and the first that is not what was written.
struct Answer<T> {
    /// Where reading would come to if it took all.
    bounds: Bounds,
    items: Vec<(Offset, T)>,
    damage: Option<(Offset, ReadError)>,
}

async fn answer<T>(
    session: &Session,
    sql: &'static Sql,
    generation: i32,
    query: &FeedQuery,
    after: Offset,
    limit: ReplayLimit,
    mut read: impl FnMut(&Row, PersistenceId) -> Result<Result<T, ReadError>, Error>,
) -> Result<Answer<T>, ReadError> {
    let selective = query.tag.is_some() || !query.is_all_slices();
    let mut bounds = Bounds { xmin: 0, end: after, read_to: Offset::START };
    let (mut scanned, mut items, mut damage) = (None, Vec::new(), None::<(Offset, ReadError)>);
    let mut lags = false;
    let take = |row: &Row| {
        let Some(id) = row.try_get::<_, Option<&str>>(3)? else {
            match row.try_get::<_, i64>(4)? {
                0 => {
                    bounds.xmin = row.try_get::<_, TransactionId>(1)?.0;
                    lags = row.try_get::<_, Option<i32>>(0)?.is_some();
                }
                1 => bounds.end = offset(row, 0)?.max(after),
                _ => scanned = Some(offset(row, 0)?),
            }
            return Ok(());
        };
        let id = PersistenceId::parse(id).unwrap_or_else(|| PersistenceId::of("", id));
        let offset = offset(row, 0)?;
        match read(row, id)? {
            Ok(item) => items.push((offset, item)),
            Err(error) if damage.as_ref().is_none_or(|(first, _)| offset < *first) => damage = Some((offset, error)),
            Err(_) => {}
        }
        Ok(())
    };
    let parameters: [Parameter<'_>; 11] = [
        &&*query.entity_type,
        &generation,
        &(after.generation() as i32),
        &clamped(after.tx()),
        &clamped(after.ordering()),
        &i32::from(*query.slices.start()),
        &i32::from(*query.slices.end()),
        &query.tag.as_deref(),
        &clamped(limit.events.max(1) as u64),
        &clamped(limit.bytes.max(1) as u64),
        &selective.then_some(SCANNED_MAX - 1),
    ];
    session.read_each(sql, &parameters, take).await?;
    // What was read was over. Transactions ahead of those that run are still to come: the server has gone back, and gives
    // their ids out again.
    if after.generation() as i32 == generation && after.tx() >= bounds.xmin && !lags {
        return Err(ReadError::Damaged(JournalError::ForeignOffset { offset: after }));
    }
    bounds.read_to = scanned.unwrap_or(bounds.end).min(bounds.end);
    // They come in order, but no standard says so.
    if !items.is_sorted_by_key(|(offset, _)| *offset) {
        items.sort_unstable_by_key(|(offset, _)| *offset);
    }
    Ok(Answer { bounds, items, damage })
}

impl<T> Answer<T> {
    /// Up to the limit or the damage, before which all can still be read; and where reading has come to.
    fn page(
        self,
        after: Offset,
        limit: ReplayLimit,
        weight: impl Fn(&T) -> usize,
    ) -> Result<(Vec<(Offset, T)>, Bounds), ReadError> {
        let Self { mut bounds, mut items, damage } = self;
        if let Some((place, error)) = damage {
            items.retain(|(offset, _)| *offset < place);
            if items.is_empty() {
                return Err(error);
            }
            bounds.read_to = items.last().map_or(after, |(offset, _)| *offset);
        }
        let mut bytes = 0_usize;
        let full = items.iter().zip(1..).position(|((_, item), taken)| {
            bytes = bytes.saturating_add(weight(item));
            taken >= limit.events.max(1) || bytes >= limit.bytes
        });
        if let Some(last) = full {
            items.truncate(last + 1);
            bounds.read_to = items[last].0;
        }
        Ok((items, bounds))
    }
}

async fn event_page(
    session: &Session,
    generation: i32,
    query: &FeedQuery,
    after: Offset,
    limit: ReplayLimit,
) -> Result<Seen<FeedPage<RawEvent>>, ReadError> {
    let mut manifests = Manifests::default();
    let read = |row: &Row, id: PersistenceId| {
        let stored = StoredRow::read(row, 4, &mut manifests)?;
        Ok(stored.check(&id, "journal").map(|()| (id, stored.into_event())))
    };
    let answer = answer(session, &EVENTS, generation, query, after, limit, read).await?;
    let (items, Bounds { xmin, end, read_to }) = answer.page(after, limit, |(_, stored)| stored.event.weight())?;
    let events = items.into_iter().map(|(offset, (id, stored))| FeedEvent { offset, id, stored }).collect();
    Ok(Seen { page: FeedPage { events, read_to, end }, xmin })
}

async fn state_page(
    session: &Session,
    generation: i32,
    query: &FeedQuery,
    after: Offset,
    limit: ReplayLimit,
) -> Result<Seen<StatePage<RawState>>, ReadError> {
    let read = |row: &Row, id: PersistenceId| Ok(stored_state(row, 4, &id).map(|stored| (id, stored)));
    let answer = answer(session, &STATES, generation, query, after, limit, read).await?;
    let (items, Bounds { xmin, end, read_to }) = answer.page(after, limit, |(_, stored)| stored.weight())?;
    let states = items.into_iter().map(|(offset, (id, stored))| StateChange { offset, id, stored }).collect();
    Ok(Seen { page: StatePage { states, read_to, end }, xmin })
}

/// The three columns from `first` on.
fn offset(row: &Row, first: usize) -> Result<Offset, Error> {
    let (generation, TransactionId(tx), ordering): (i32, _, i64) =
        (row.try_get(first)?, row.try_get(first + 1)?, row.try_get(first + 2)?);
    Ok(Offset::new(generation as u32, tx, ordering as u64))
}
