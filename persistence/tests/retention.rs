//! Retention, its guard and projections that run: no event goes before everybody has handled it, whatever the stores are,
//! wherever offsets are kept, and however many instances there are.

use crate::{
    postgres_server::{Postgres, soon},
    wallet::{Signals, Wallet, WalletCommand, WalletEntity, WalletEvent},
};
use actors::{ActorRef, ActorSystem, BoxError};
use parking_lot::Mutex;
use persistence::{
    Coded, EventFeed, EventSourcedBehavior, FeedEvent, FeedQuery, InMemoryJournal, InMemoryProjections, Journal,
    MessagePack, OnFailure, PersistenceId, PersistenceSignal, Projection, ProjectionFeed, ProjectionGuard,
    ProjectionMessage, ProjectionSettings, ProjectionStore, Projections, RawEvent, RawSnapshot, ReplayLimit, Retention,
    RetentionGuard, Selection, SnapshotStore, SqliteOptions, SqliteReadModel, SqliteStore,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(60);

/// In several slices each, however many parts there are.
const WALLETS: [&str; 6] = ["ada", "bob", "cyd", "dee", "eve", "fay"];

const EVERY: u64 = 5;

type Event = FeedEvent<WalletEvent>;
type Handle = Arc<dyn Fn(&Event) -> Result<(), BoxError> + Send + Sync>;
type Make = Box<dyn Fn(ProjectionFeed<Event>, Handle) -> Projection<Event>>;

/// What a projection has seen, and may.
struct Seen {
    /// Events with a higher number are not handled yet.
    gate: AtomicU64,
    /// This one is not digested at all.
    bad: Mutex<Option<(&'static str, u64)>>,
    handled: Mutex<BTreeMap<String, BTreeSet<u64>>>,
}

impl Seen {
    fn up_to(gate: u64) -> Arc<Self> {
        Arc::new(Self { gate: gate.into(), bad: Mutex::default(), handled: Mutex::default() })
    }

    fn handle(&self, event: &Event) -> Result<(), BoxError> {
        let (wallet, number) = (event.id.entity_id(), event.stored.seq_nr);
        if number > self.gate.load(Ordering::SeqCst) {
            return Err("not yet".into());
        }
        if *self.bad.lock() == Some((wallet, number)) {
            return Err("cannot digest this".into());
        }
        self.handled.lock().entry(wallet.to_owned()).or_default().insert(number);
        Ok(())
    }

    fn of(&self, wallet: &str) -> Vec<u64> {
        self.handled.lock().get(wallet).into_iter().flatten().copied().collect()
    }
}

/// Stores, and how a projection of them keeps its offsets.
struct Stores<J, S> {
    journal: J,
    snapshots: S,
    offsets: Arc<dyn ProjectionStore>,
    make: Make,
}

/// Wallets and a projection that run in one system.
struct Life {
    system: ActorSystem,
    wallets: Vec<(ActorRef<WalletCommand>, Signals)>,
    projection: Projections,
    guard: Arc<ProjectionGuard<WalletEvent>>,
}

fn id(wallet: &str) -> PersistenceId {
    PersistenceId::of("wallet", wallet)
}

impl<J, S> Stores<J, S>
where
    J: Journal<RawEvent> + EventFeed<RawEvent> + Clone,
    S: SnapshotStore<RawSnapshot> + Clone,
{
    fn events(&self) -> Coded<J, MessagePack<WalletEvent>> {
        Coded::new(self.journal.clone(), MessagePack::new("wallet.Event", 1))
    }

    fn start(&self, seen: &Arc<Seen>, parts: u16, on_failure: OnFailure) -> Life {
        let feed = Projection::events("reader", self.events(), FeedQuery::of("wallet"));
        let seen = Arc::clone(seen);
        let settings = ProjectionSettings {
            restart_min: Duration::from_millis(5),
            restart_max: Duration::from_millis(20),
            save_within: Duration::from_millis(5),
            look_every: Duration::from_millis(20),
            ..ProjectionSettings::default()
        };
        let handle: Handle = Arc::new(move |event| seen.handle(event));
        let projection = (self.make)(feed, handle).on_failure(on_failure).settings(settings).unwrap();
        let guard = ProjectionGuard::<WalletEvent>::new(
            Arc::new(self.events()),
            Arc::clone(&self.offsets),
            [projection.id().clone()],
        );
        let (system, guard) = (ActorSystem::new("retention"), Arc::new(guard));
        let retention = Retention::snapshot_every(EVERY).keep_snapshots(1).delete_events_on_snapshot();
        let wallet = |name: &&str| {
            let entity = WalletEntity { retention, ..WalletEntity::named(name) };
            let signals = entity.signals.clone();
            let snapshots = Coded::new(self.snapshots.clone(), MessagePack::<Wallet>::new("wallet.State", 1));
            let behavior = EventSourcedBehavior::new(entity, self.events()).snapshots(snapshots);
            (system.spawn(*name, behavior.needed_by(Arc::clone(&guard))), signals)
        };
        let wallets = WALLETS.iter().map(wallet).collect();
        Life { projection: Projections::spawn(&system, projection, parts), system, wallets, guard }
    }

    /// The first event of each wallet that is still there.
    async fn first_events(&self) -> Vec<Option<u64>> {
        let mut first = Vec::new();
        for wallet in WALLETS {
            let limit = ReplayLimit { events: 1, bytes: 1 };
            let found = self.journal.replay(id(wallet), 1, u64::MAX, limit).await.unwrap();
            first.push(found.first().map(|stored| stored.seq_nr));
        }
        first
    }
}

impl Life {
    /// Stores the numbers `from` to `to` of all wallets, in turns, and waits for each snapshot that falls due.
    async fn deposit(&self, from: u64, to: u64) {
        for number in from..=to {
            for (wallet, signals) in &self.wallets {
                let stored = wallet.ask(|reply_to| WalletCommand::TryDeposit(1, reply_to), SOON).await.unwrap();
                assert_eq!(stored, Ok(number));
                if number % EVERY == 0 {
                    soon("a snapshot is saved", async {
                        while !is_saved(signals, number) {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    })
                    .await;
                }
            }
        }
    }

    /// Waits until the guard says of each wallet that nobody needs its events up to `number`, while there are `highest`.
    async fn until_read(&self, number: u64, highest: u64) {
        for wallet in WALLETS {
            soon("the projection has saved how far it is", async {
                while self.guard.read_to(id(wallet), highest).await.unwrap() != number {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
        }
    }

    /// Ends in the middle of whatever is under way.
    async fn end(self) {
        self.system.terminate().await;
    }
}

/// Takes the signals there are; what has failed fails the test.
fn is_saved(signals: &Signals, number: u64) -> bool {
    let mut saved = false;
    for signal in signals.take() {
        match signal {
            PersistenceSignal::SnapshotSaved { seq_nr } => saved |= seq_nr == number,
            PersistenceSignal::SnapshotFailed { reason, .. } => panic!("{reason}"),
            _ => {}
        }
    }
    saved
}

fn patient() -> OnFailure {
    OnFailure::retry_then_fail().attempts(u32::MAX).delay(Duration::from_millis(2))
}

/// A projection that is held up again and again, and ends and begins in another number of instances: what it has handled
/// goes with the next snapshot, what it has not handled stays, and in the end it has seen every event.
async fn events_stay_until_they_are_handled<J, S>(stores: Stores<J, S>)
where
    J: Journal<RawEvent> + EventFeed<RawEvent> + Clone,
    S: SnapshotStore<RawSnapshot> + Clone,
{
    let seen = Seen::up_to(0);
    let allow = |number| seen.gate.store(number, Ordering::SeqCst);
    let all = |first| vec![first; WALLETS.len()];
    let life = stores.start(&seen, 1, patient());
    life.deposit(1, 12).await;
    assert_eq!(stores.first_events().await, all(Some(1)), "a snapshot contains ten, and none was handled");
    allow(7);
    life.until_read(7, 12).await;
    life.deposit(13, 15).await;
    assert_eq!(stores.first_events().await, all(Some(8)), "those that were handled are gone, and no other");
    life.end().await;

    let life = stores.start(&seen, 3, patient());
    life.deposit(16, 20).await;
    assert_eq!(stores.first_events().await, all(Some(8)), "each instance stands where the one before them stood");
    allow(13);
    life.until_read(13, 20).await;
    life.deposit(21, 25).await;
    assert_eq!(stores.first_events().await, all(Some(14)), "each has its own share");
    life.end().await;

    let life = stores.start(&seen, 2, patient());
    allow(u64::MAX);
    life.until_read(25, 25).await;
    life.deposit(26, 30).await;
    let first = stores.first_events().await;
    assert!(first.iter().all(|first| first.is_none_or(|first| first > 25)), "at least those that were read: {first:?}");
    for wallet in WALLETS {
        life.projection.wait_until(&id(wallet), 30, SOON).await.expect("handled in time");
        assert_eq!(seen.of(wallet), (1..=30).collect::<Vec<_>>(), "{wallet}: no event was deleted unread");
    }
    life.end().await;
}

/// A parked event and those after it stay, also when another instance has its slice by now, until it was handled.
async fn parked_events_stay<J, S>(stores: Stores<J, S>)
where
    J: Journal<RawEvent> + EventFeed<RawEvent> + Clone,
    S: SnapshotStore<RawSnapshot> + Clone,
{
    let seen = Seen::up_to(u64::MAX);
    *seen.bad.lock() = Some(("bob", 3));
    let read = async |life: &Life, number| {
        for wallet in WALLETS {
            life.projection.wait_until(&id(wallet), number, SOON).await.expect("handled in time");
            let to = if wallet == "bob" { 2 } else { number };
            soon("its offset is saved", async {
                while life.guard.read_to(id(wallet), number).await.unwrap() != to {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
        }
    };
    let life = stores.start(&seen, 1, OnFailure::park());
    life.deposit(1, 4).await;
    read(&life, 4).await;
    life.end().await;
    let life = stores.start(&seen, 3, OnFailure::park());
    life.deposit(5, 5).await;
    for (wallet, first) in WALLETS.iter().zip(stores.first_events().await) {
        match *wallet {
            "bob" => assert_eq!(first, Some(3), "what is parked, and what comes after it"),
            other => assert!(first.is_none_or(|first| first >= 5), "{other}: {first:?}"),
        }
    }
    let parked = stores.offsets.parked(Selection::default(), None, 9).await.unwrap();
    assert_eq!(parked.iter().map(|event| (event.id.clone(), event.seq_nr)).collect::<Vec<_>>(), [(id("bob"), 3)]);

    *seen.bad.lock() = None;
    stores.offsets.replay_parked(Selection::default()).await.unwrap();
    life.projection.instances().for_each(|actor| actor.tell(ProjectionMessage::ParkedChanged));
    life.until_read(5, 5).await;
    assert_eq!(seen.of("bob"), [1, 2, 3, 4, 5]);
    life.deposit(6, 10).await;
    let first = stores.first_events().await;
    assert!(first.iter().all(|first| first.is_none_or(|first| first > 5)), "nobody needs it any more: {first:?}");
    life.end().await;
}

fn at_least_once(offsets: impl ProjectionStore + Clone) -> Make {
    Box::new(move |feed, handle| feed.at_least_once(offsets.clone(), move |event| ready(handle(&event))))
}

fn into_model(model: &SqliteReadModel) -> Make {
    let model = model.clone();
    Box::new(move |feed, handle| feed.exactly_once(&model, move |_, event| handle(event)))
}

fn in_memory() -> Stores<InMemoryJournal<RawEvent>, impl SnapshotStore<RawSnapshot> + Clone> {
    let (journal, offsets) = (InMemoryJournal::raw(), InMemoryProjections::default());
    let snapshots = journal.snapshots();
    Stores { journal, snapshots, offsets: Arc::new(offsets.clone()), make: at_least_once(offsets) }
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn model(&self) -> SqliteReadModel {
        SqliteReadModel::open(self.0.path().join("model.db"), |_| Ok(())).unwrap()
    }

    fn sqlite(&self) -> SqliteStore {
        SqliteStore::open(self.0.path(), SqliteOptions::default()).unwrap()
    }
}

fn over<J: Clone>(store: &J, offsets: impl ProjectionStore, make: Make) -> Stores<J, J> {
    Stores { journal: store.clone(), snapshots: store.clone(), offsets: Arc::new(offsets), make }
}

#[tokio::test]
async fn with_stores_in_memory() {
    events_stay_until_they_are_handled(in_memory()).await;
    parked_events_stay(in_memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    let folders = [(); 2].map(|()| Folder::new());
    let [first, second] = folders.each_ref().map(Folder::sqlite);
    events_stay_until_they_are_handled(over(&first, first.clone(), at_least_once(first.clone()))).await;
    parked_events_stay(over(&second, second.clone(), at_least_once(second.clone()))).await;
    for store in [first, second] {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_with_offsets_in_a_read_model() {
    let folders = [(); 2].map(|()| Folder::new());
    let stores = folders.each_ref().map(Folder::sqlite);
    let models = folders.each_ref().map(Folder::model);
    events_stay_until_they_are_handled(over(&stores[0], models[0].clone(), into_model(&models[0]))).await;
    parked_events_stay(over(&stores[1], models[1].clone(), into_model(&models[1]))).await;
    for store in stores {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    let [first, second] = [Postgres::new(|options| options).await, Postgres::new(|options| options).await];
    let (first, second) = (&first.store, &second.store);
    events_stay_until_they_are_handled(over(first, first.clone(), at_least_once(first.clone()))).await;
    parked_events_stay(over(second, second.clone(), at_least_once(second.clone()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_with_handlers_in_its_transactions() {
    let [first, second] = [Postgres::new(|options| options).await, Postgres::new(|options| options).await];
    let into = |node: &Postgres| -> Make {
        let store = node.store.clone();
        Box::new(move |feed, handle| feed.exactly_once_postgres(&store, move |_, event| Box::pin(ready(handle(event)))))
    };
    events_stay_until_they_are_handled(over(&first.store, first.store.clone(), into(&first))).await;
    parked_events_stay(over(&second.store, second.store.clone(), into(&second))).await;
}

/// Places of PostgreSQL, kept in SQLite.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_with_offsets_in_a_read_model() {
    let (node, folder) = (Postgres::new(|options| options).await, Folder::new());
    let model = folder.model();
    events_stay_until_they_are_handled(over(&node.store, model.clone(), into_model(&model))).await;
}
