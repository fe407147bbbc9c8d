//! An entity that starts from a snapshot: from `spawn` to its first answer, beside one bare read of that snapshot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::{ActorSystem, Clock, ReplyTo};
use persistence::{
    Coded, Effect, EventSourced, EventSourcedBehavior, Fence, FenceScope, Journal, MessagePack, PersistenceId,
    PostgresOptions, PostgresStore, RawEvent, RawSnapshot, SnapshotStore, SqliteOptions, SqliteStore,
    testkit::PostgresServer,
};
use serde::{Deserialize, Serialize};

use crate::{args::Args, floor, folder, median, postgres_floor, reads::micros};

const ENTITIES: usize = 500;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Total {
    cents: u64,
    beside: Vec<u8>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Added(u64);

struct Account(PersistenceId);

enum Command {
    Total(ReplyTo<u64>),
}

impl EventSourced for Account {
    type Command = Command;
    type Event = Added;
    type State = Total;

    fn persistence_id(&self) -> PersistenceId {
        self.0.clone()
    }

    fn handle_command(&self, total: &Total, Command::Total(reply_to): Command) -> Effect<Self> {
        Effect::reply(reply_to, total.cents)
    }

    fn handle_event(total: &mut Total, Added(cents): &Added) {
        total.cents += cents;
    }
}

pub async fn sqlite(args: &Args) -> anyhow::Result<()> {
    let folder = folder()?;
    let store = SqliteStore::open(folder.path(), SqliteOptions::default())?;
    let db = floor::connect(store.path())?;
    measure(args, "sqlite", store.clone(), async |id| Ok(micros(|| read_snapshot(&db, id))?)).await?;
    store.close().await;
    Ok(())
}

pub async fn postgres(args: &Args, server: &PostgresServer) -> anyhow::Result<()> {
    let url = server.url(&server.create_database()?);
    let store = PostgresStore::open(PostgresOptions::new(&url), Clock::tokio()).await?;
    let client = postgres_floor::connect(&url).await?;
    let query = "SELECT payload FROM cloudstate.snapshot WHERE persistence_id = $1 ORDER BY seq_nr DESC LIMIT 1";
    let query = client.prepare(query).await?;
    let read = async |id: &PersistenceId| {
        let started = Instant::now();
        client.query_one(&query, &[&id.as_str()]).await?.get::<_, Vec<u8>>(0);
        Ok(started.elapsed().as_secs_f64() * 1e6)
    };
    measure(args, "postgres", store.clone(), read).await?;
    store.close().await;
    Ok(())
}

async fn measure<S>(
    args: &Args,
    name: &str,
    store: S,
    read: impl AsyncFn(&PersistenceId) -> anyhow::Result<f64>,
) -> anyhow::Result<()>
where
    S: Journal<RawEvent> + SnapshotStore<RawSnapshot> + Clone,
{
    let journal = Arc::new(Coded::new(store.clone(), MessagePack::new("account", 1)));
    let snapshots = Arc::new(Coded::new(store, MessagePack::new("account", 1)));
    let mut owned = Vec::new();
    for entity in 0..ENTITIES {
        owned.push(prepare(&journal, &snapshots, entity, args.payload).await?);
    }
    let system = ActorSystem::new("start");
    let (mut starts, mut reads) = (Vec::new(), Vec::new());
    for (entity, (id, fence)) in owned.into_iter().enumerate() {
        reads.push(read(&id).await?);
        let started = Instant::now();
        let behavior =
            EventSourcedBehavior::new(Account(id), journal.clone()).snapshots(snapshots.clone()).fence(fence);
        let account = system.spawn(format!("account-{entity}"), behavior);
        let total = account.ask(Command::Total, Duration::from_secs(30)).await?;
        starts.push(started.elapsed().as_secs_f64() * 1e6);
        anyhow::ensure!(total == 30, "the snapshot says 30, not {total}");
    }
    let worst = starts.iter().copied().fold(0.0, f64::max);
    let (start, read) = (median(starts), median(reads));
    println!(
        "start    {name:<8} {start:>6.0} us from a snapshot (slowest {worst:.0}), one bare read {read:.0} us: {:.0} us more",
        start - read
    );
    system.terminate().await;
    Ok(())
}

/// Three events, and a snapshot of the last.
async fn prepare<S: Journal<RawEvent> + SnapshotStore<RawSnapshot>>(
    journal: &Arc<Coded<S, MessagePack<Added>>>,
    snapshots: &Arc<Coded<S, MessagePack<Total>>>,
    entity: usize,
    payload: usize,
) -> anyhow::Result<(PersistenceId, Fence)> {
    let id = PersistenceId::of("account", &entity.to_string());
    let fence = Journal::<Added>::claim(journal, FenceScope::Entity(id.clone())).await?;
    let append = persistence::Append {
        id: id.clone(),
        expected_seq: 1,
        fence: fence.clone(),
        batch_id: entity as u128,
        events: vec![Added(10); 3],
        tags: Vec::new(),
        time_ms: 0,
    };
    journal.append(append).await?;
    let total = Total { cents: 30, beside: vec![7; payload] };
    snapshots.save(id.clone(), 3, fence.clone(), 0, total).await?;
    Ok((id, fence))
}

fn read_snapshot(db: &rusqlite::Connection, id: &PersistenceId) -> rusqlite::Result<()> {
    db.prepare_cached(
        "SELECT s.payload FROM entity e CROSS JOIN snapshot s ON s.pid = e.pid
         WHERE e.persistence_id = ?1 ORDER BY s.seq_nr DESC LIMIT 1",
    )?
    .query_row([id.as_str()], |row| row.get::<_, Vec<u8>>(0))
    .map(drop)
}
