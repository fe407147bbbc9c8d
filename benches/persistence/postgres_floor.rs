//! The floor on PostgreSQL: two connections, one table and its indexes as ours, the same batches as one
//! `INSERT … SELECT unnest` each, and nothing else: no epochs, no checks, no checksums.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{Client, NoTls, Statement};

use crate::{
    floor::Row,
    writers::{MANIFEST, TYPE},
};

const BATCH: usize = 256;
const CONNECTIONS: usize = 2;

pub struct PostgresFloor {
    events: Vec<mpsc::Sender<Event>>,
    written: Arc<Written>,
}

#[derive(Default)]
struct Written {
    events: AtomicU64,
    batches: AtomicU64,
}

struct Event {
    entity: usize,
    seq_nr: i64,
    payload: Vec<u8>,
    done: oneshot::Sender<()>,
}

impl PostgresFloor {
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        connect(url)
            .await?
            .batch_execute(
                "CREATE TABLE journal(persistence_id TEXT COLLATE \"C\" NOT NULL, seq_nr BIGINT NOT NULL, slice INT NOT NULL,
                   entity_type TEXT COLLATE \"C\" NOT NULL, epoch BIGINT NOT NULL, batch_id UUID, generation INT NOT NULL,
                   tx xid8 NOT NULL DEFAULT pg_current_xact_id(), ordering BIGINT GENERATED ALWAYS AS IDENTITY,
                   db_timestamp TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(), time_ms BIGINT NOT NULL,
                   manifest TEXT NOT NULL, payload BYTEA NOT NULL, meta BYTEA, crc BIGINT NOT NULL,
                   tags TEXT[] NOT NULL DEFAULT '{}', PRIMARY KEY(persistence_id, seq_nr));
                 CREATE INDEX journal_feed ON journal(entity_type, generation, tx, ordering) INCLUDE (slice);",
            )
            .await?;
        let (mut events, written) = (Vec::new(), Arc::new(Written::default()));
        for _ in 0..CONNECTIONS {
            let client = connect(url).await?;
            let insert = client
                .prepare(
                    "INSERT INTO journal(persistence_id, seq_nr, slice, entity_type, epoch, batch_id, generation, time_ms,
                       manifest, payload, crc)
                     SELECT id, seq_nr, 1, $4, 1, '00000000-0000-0000-0000-000000000000', 1, 0, $5, payload, 0
                     FROM unnest($1::text[], $2::bigint[], $3::bytea[]) AS given(id, seq_nr, payload)",
                )
                .await?;
            let (sender, inbox) = mpsc::channel(16_384);
            tokio::spawn(write(client, insert, inbox, Arc::clone(&written)));
            events.push(sender);
        }
        Ok(Self { events, written })
    }

    /// Events of a commit, on average.
    pub fn per_commit(&self) -> f64 {
        self.written.events.load(Ordering::Relaxed) as f64 / self.written.batches.load(Ordering::Relaxed) as f64
    }

    /// Events a second, each acknowledged before its writer's next.
    pub async fn write_for(&self, writers: usize, payload: usize, from: i64, time: Duration) -> anyhow::Result<f64> {
        let started = Instant::now();
        let writing = (0..writers).map(|entity| {
            let events = self.events[entity % CONNECTIONS].clone();
            tokio::spawn(async move {
                let mut seq_nr = from;
                while started.elapsed() < time {
                    let (done, answer) = oneshot::channel();
                    events.send(Event { entity, seq_nr, payload: vec![7; payload], done }).await?;
                    answer.await?;
                    seq_nr += 1;
                }
                anyhow::Ok(seq_nr - from)
            })
        });
        let mut events = 0;
        for writing in writing.collect::<Vec<_>>() {
            events += writing.await??;
        }
        Ok(events as f64 / started.elapsed().as_secs_f64())
    }
}

async fn write(client: Client, insert: Statement, mut inbox: mpsc::Receiver<Event>, written: Arc<Written>) {
    let mut batch = Vec::new();
    while inbox.recv_many(&mut batch, BATCH).await > 0 {
        let ids: Vec<String> = batch.iter().map(|event| format!("{TYPE}|{}", event.entity)).collect();
        let numbers: Vec<i64> = batch.iter().map(|event| event.seq_nr).collect();
        let payloads: Vec<&[u8]> = batch.iter().map(|event| &*event.payload).collect();
        client.execute(&insert, &[&ids, &numbers, &payloads, &TYPE, &MANIFEST]).await.expect("the floor writes");
        written.events.fetch_add(batch.len() as u64, Ordering::Relaxed);
        written.batches.fetch_add(1, Ordering::Relaxed);
        for event in batch.drain(..) {
            let _ = event.done.send(()); // a writer that gave up
        }
    }
}

/// A connection whose task ends with the client. Queries are planned once, go by index and are not compiled, as ours.
pub async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("SET jit = off; SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan").await?;
    Ok(client)
}

/// Up to `$4` events in commit order behind a place. What is not committed yet is nobody's concern here.
const FEED: &str = "SELECT tx::text::bigint, ordering, persistence_id, seq_nr, epoch, time_ms, manifest, payload
     FROM cloudstate.journal
     WHERE entity_type = $1 AND (generation, tx, ordering) > (1, ($2::bigint)::text::xid8, $3)
       AND tx < (SELECT pg_snapshot_xmin(pg_current_snapshot()))
     ORDER BY journal.generation, journal.tx, journal.ordering LIMIT $4";

/// Prepares [`FEED`].
pub async fn prepare_feed(client: &Client) -> anyhow::Result<Statement> {
    Ok(client.prepare(FEED).await?)
}

/// A page of [`FEED`].
pub async fn feed(
    client: &Client,
    query: &Statement,
    (tx, ordering): (i64, i64),
    page: i64,
) -> anyhow::Result<Vec<((i64, i64), String, Row)>> {
    let rows = client.query(query, &[&TYPE, &tx, &ordering, &page]).await?;
    let row = |row: &tokio_postgres::Row| {
        let event = (row.get(3), row.get(4), row.get(5), row.get(6), row.get(7));
        ((row.get(0), row.get(1)), row.get(2), event)
    };
    Ok(rows.iter().map(row).collect())
}
