//! Snapshots of an entity: when they are saved, what is deleted then, and how recovery uses them.

use crate::wallet::{Signals, Wallet, WalletCommand, WalletEntity, WalletEvent};
use actors::{ActorRef, AskError, testkit::TestKit};
use parking_lot::Mutex;
use persistence::{
    Append, AppendError, BoxFuture, EventFeed, EventSourcedBehavior, Fence, FenceScope, InMemoryJournal,
    InMemoryProjections, InMemorySnapshotStore, Journal, JournalError, Offset, ParkedEvent, PersistenceId,
    PersistenceSignal, ProjectionGuard, ProjectionId, ProjectionStore, ReplayCost, ReplayLimit, Retention,
    RetentionGuard, SnapshotStore, Stored, testkit::FaultySnapshots,
};
use std::{ops::Range, sync::Arc, time::Duration};

const LONG: Duration = Duration::from_secs(3_600);

struct Scene {
    kit: TestKit,
    journal: InMemoryJournal<WalletEvent>,
    kept: InMemorySnapshotStore<Wallet>,
    snapshots: FaultySnapshots<Wallet>,
    retention: Retention,
    lives: u32,
}

impl Scene {
    fn new(retention: Retention) -> Self {
        let (kit, journal) = (TestKit::new(), InMemoryJournal::default());
        let kept = journal.snapshots();
        let snapshots = FaultySnapshots::new(kept.clone());
        Self { kit, journal, kept, snapshots, retention, lives: 0 }
    }

    fn start(&mut self) -> (ActorRef<WalletCommand>, Signals) {
        self.lives += 1;
        let entity = WalletEntity { retention: self.retention, ..WalletEntity::named("ada") };
        let signals = entity.signals.clone();
        let behavior = EventSourcedBehavior::new(entity, self.journal.clone()).snapshots(self.snapshots.clone());
        (self.kit.spawn(format!("ada-{}", self.lives), behavior), signals)
    }

    fn deposit(&self, wallet: &ActorRef<WalletCommand>, times: u64) {
        for _ in 0..times {
            wallet.tell(WalletCommand::Deposit { cents: 1 });
            self.kit.settle();
        }
    }

    fn snapshot(&self, max_seq: u64) -> Option<(u64, u64)> {
        let found = self.kit.block_on(self.kept.load(id(), max_seq)).unwrap()?;
        Some((found.seq_nr, found.snapshot.cents))
    }

    fn first_event(&self) -> Option<u64> {
        let limit = ReplayLimit { events: 1, bytes: 1 };
        self.kit.block_on(self.journal.replay(id(), 1, u64::MAX, limit)).unwrap().first().map(|first| first.seq_nr)
    }

    fn balance(&self, wallet: &ActorRef<WalletCommand>) -> Result<u64, AskError> {
        self.kit.block_on(wallet.ask(WalletCommand::Balance, LONG))
    }
}

fn id() -> PersistenceId {
    PersistenceId::of("wallet", "ada")
}

#[test]
fn snapshots_come_every_n_events_and_the_newest_stay() {
    let mut scene = Scene::new(Retention::snapshot_every(10).keep_snapshots(2));
    let (wallet, signals) = scene.start();
    scene.deposit(&wallet, 35);
    assert_eq!(scene.snapshot(u64::MAX), Some((30, 30)), "a snapshot is the fold of the events up to its number");
    assert_eq!(scene.snapshot(29), Some((20, 20)));
    assert_eq!(scene.snapshot(19), None, "the third was deleted");
    assert_eq!(scene.first_event(), Some(1), "events stay unless told otherwise");
    let saved: Vec<_> = signals.take().into_iter().skip(1).collect();
    assert_eq!(saved, [10, 20, 30].map(|seq_nr| PersistenceSignal::SnapshotSaved { seq_nr }));
}

#[test]
fn recovery_starts_from_the_newest_snapshot() {
    let mut scene = Scene::new(Retention::snapshot_every(10).keep_snapshots(2).delete_events_even_if_unread());
    let (wallet, _) = scene.start();
    scene.deposit(&wallet, 35);
    assert_eq!(scene.first_event(), Some(21), "events in the oldest kept snapshot are deleted");
    wallet.tell(WalletCommand::Stop);
    let (wallet, _) = scene.start();
    assert_eq!(scene.balance(&wallet), Ok(35), "30 from the snapshot, 5 from events: the others are gone");
    scene.deposit(&wallet, 5);
    assert_eq!(scene.snapshot(u64::MAX), Some((40, 40)), "numbers go on");
}

#[test]
fn a_batch_over_the_multiple_snapshots_after_the_batch() {
    let mut scene = Scene::new(Retention::snapshot_every(10));
    let (wallet, _) = scene.start();
    scene.deposit(&wallet, 8);
    let all = wallet.ask(|reply_to| WalletCommand::DepositAll(vec![1; 5], reply_to), LONG);
    assert_eq!(scene.kit.block_on(all), Ok(13));
    scene.kit.settle();
    assert_eq!(scene.snapshot(u64::MAX), Some((13, 13)), "never in the middle of a batch");
}

#[test]
fn a_failed_snapshot_costs_nothing() {
    let mut scene = Scene::new(Retention::snapshot_every(10).delete_events_even_if_unread());
    let (wallet, signals) = scene.start();
    scene.snapshots.fail_next(AppendError::Unavailable { reason: "as told".into() });
    scene.deposit(&wallet, 15);
    assert_eq!(scene.balance(&wallet), Ok(15));
    assert!(matches!(signals.take()[..], [_, PersistenceSignal::SnapshotFailed { seq_nr: 10, .. }]));
    assert_eq!((scene.snapshot(u64::MAX), scene.first_event()), (None, Some(1)), "nothing is deleted without it");
}

/// Two are to be kept, so the older one stays, with the events after it, until there is another to take its place.
#[test]
fn a_failed_snapshot_takes_no_older_one_with_it() {
    let mut scene = Scene::new(Retention::snapshot_every(10).keep_snapshots(2).delete_events_even_if_unread());
    let (wallet, _) = scene.start();
    scene.deposit(&wallet, 35);
    scene.snapshots.fail_next(AppendError::Unavailable { reason: "as told".into() });
    scene.deposit(&wallet, 20);
    assert_eq!((scene.snapshot(u64::MAX), scene.snapshot(49)), (Some((50, 50)), Some((30, 30))));
    assert_eq!(scene.first_event(), Some(31), "events after the older of the two stay");
    scene.deposit(&wallet, 10);
    assert_eq!((scene.snapshot(59), scene.snapshot(49)), (Some((50, 50)), None));

    // The life after knows where it started from.
    scene.snapshots.fail_next(AppendError::Unavailable { reason: "as told".into() });
    scene.deposit(&wallet, 10);
    wallet.tell(WalletCommand::Stop);
    let (wallet, _) = scene.start();
    scene.deposit(&wallet, 10);
    assert_eq!((scene.snapshot(u64::MAX), scene.snapshot(79)), (Some((80, 80)), Some((60, 60))));
}

/// A batch larger than the distance of two snapshots leaves some out; as many as are to be kept stay all the same.
#[test]
fn large_batches_take_no_snapshot_with_them() {
    let mut scene = Scene::new(Retention::snapshot_every(10).keep_snapshots(2).delete_events_even_if_unread());
    let (wallet, _) = scene.start();
    for batch in [10, 25, 30] {
        let all = wallet.ask(|reply_to| WalletCommand::DepositAll(vec![1; batch], reply_to), LONG);
        scene.kit.block_on(all).unwrap();
        scene.kit.settle();
    }
    assert_eq!((scene.snapshot(u64::MAX), scene.snapshot(64)), (Some((65, 65)), Some((35, 35))));
    assert_eq!((scene.snapshot(34), scene.first_event()), (None, Some(36)));
}

/// An unreadable snapshot: the older one, and if there is none, all events; and if those are gone, no guess.
#[test]
fn recovery_falls_back_behind_an_unreadable_snapshot() {
    let damaged =
        |seq_nr| JournalError::Damaged { id: id(), seq_nr, place: "snapshot.rowid 1".into(), reason: "as told".into() };
    let mut scene = Scene::new(Retention::snapshot_every(10).keep_snapshots(2));
    let (wallet, _) = scene.start();
    scene.deposit(&wallet, 25);
    wallet.tell(WalletCommand::Stop);
    scene.snapshots.fail_next_load(damaged(20));
    let (wallet, _) = scene.start();
    assert_eq!(scene.balance(&wallet), Ok(25), "from the snapshot at 10");
    wallet.tell(WalletCommand::Stop);
    scene.snapshots.fail_next_load(damaged(20));
    scene.snapshots.fail_next_load(damaged(10));
    let (wallet, signals) = scene.start();
    assert_eq!(scene.balance(&wallet), Ok(25), "from all events");
    wallet.tell(WalletCommand::Stop);
    scene.kit.settle();

    scene.retention = Retention::snapshot_every(1).keep_snapshots(1).delete_events_even_if_unread();
    let (wallet, _) = scene.start();
    scene.deposit(&wallet, 1);
    wallet.tell(WalletCommand::Stop);
    scene.snapshots.fail_next_load(damaged(26));
    let (wallet, _) = scene.start();
    assert_eq!(scene.balance(&wallet), Err(AskError::Stopped), "a state that cannot be known is not made up");
    assert_eq!(signals.take().len(), 1);
}

/// While one is being saved the entity serves; what falls due meanwhile is made up for with the next.
#[test]
fn a_slow_snapshot_store_holds_nobody_up() {
    let mut scene = Scene::new(Retention::snapshot_every(10).keep_snapshots(2));
    scene.snapshots.hold();
    let (wallet, signals) = scene.start();
    scene.deposit(&wallet, 35);
    assert_eq!(scene.balance(&wallet), Ok(35));
    assert_eq!(signals.take().len(), 1, "recovered, and no snapshot yet");
    scene.snapshots.release();
    scene.kit.settle();
    assert_eq!((scene.snapshot(u64::MAX), scene.snapshot(34)), (Some((35, 35)), Some((10, 10))), "one at a time");
}

/// Three are kept; a life that knows of one finds the others before it deletes any.
#[test]
fn short_lives_pile_up_no_snapshots() {
    let mut scene = Scene::new(Retention::snapshot_every(10).keep_snapshots(3));
    for _ in 0..6 {
        let (wallet, _) = scene.start();
        scene.deposit(&wallet, 10);
        wallet.tell(WalletCommand::Stop);
        scene.kit.settle();
    }
    assert_eq!(
        [u64::MAX, 59, 49, 39].map(|max| scene.snapshot(max).map(|(seq_nr, _)| seq_nr)),
        [Some(60), Some(50), Some(40), None]
    );
}

/// Lets events go up to a number that the test chooses.
#[derive(Clone, Default)]
struct ReadTo(Arc<Mutex<Option<u64>>>);

impl RetentionGuard for ReadTo {
    fn read_to(&self, id: PersistenceId, up_to: u64) -> BoxFuture<'static, Result<u64, JournalError>> {
        assert_eq!(id, self::id());
        let answer = self.0.lock().map(|read_to| read_to.min(up_to));
        Box::pin(async move { answer.ok_or(JournalError::Unavailable { reason: "as told".into() }) })
    }
}

/// A projection is behind: its events stay, until it has read them.
#[test]
fn events_that_somebody_needs_stay() {
    let scene = Scene::new(Retention::snapshot_every(10).keep_snapshots(1).delete_events_on_snapshot());
    let guard = ReadTo::default();
    *guard.0.lock() = Some(4);
    let entity = WalletEntity { retention: scene.retention, ..WalletEntity::named("ada") };
    let signals = entity.signals.clone();
    let behavior = EventSourcedBehavior::new(entity, scene.journal.clone()).snapshots(scene.snapshots.clone());
    let wallet = scene.kit.spawn("guarded", behavior.needed_by(guard.clone()));
    scene.deposit(&wallet, 10);
    assert_eq!((scene.first_event(), scene.snapshot(u64::MAX)), (Some(5), Some((10, 10))));
    let kept = PersistenceSignal::EventsKept { from: 5, to: 10 };
    assert_eq!(signals.take()[1..], [kept, PersistenceSignal::SnapshotSaved { seq_nr: 10 }]);

    *guard.0.lock() = None;
    scene.deposit(&wallet, 10);
    assert_eq!(scene.first_event(), Some(5), "nobody can say: nothing is deleted");
    assert!(matches!(signals.take()[..], [PersistenceSignal::SnapshotFailed { seq_nr: 20, .. }]));

    *guard.0.lock() = Some(1_000);
    scene.deposit(&wallet, 10);
    assert_eq!(scene.first_event(), None, "all read: all that the snapshot contains");
    wallet.tell(WalletCommand::Stop);

    let mut scene = Scene::new(Retention::snapshot_every(10).keep_snapshots(1).delete_events_on_snapshot());
    let (wallet, _) = scene.start();
    scene.deposit(&wallet, 10);
    assert_eq!(scene.first_event(), Some(1), "nobody was named: nothing is deleted unless that is said");
}

/// The same with projections: two read the log, one is behind, and one has parked an event.
#[test]
fn projections_keep_the_events_they_have_not_handled() {
    let mut scene = Scene::new(Retention::default());
    let (wallet, _) = scene.start();
    scene.deposit(&wallet, 10);
    let projections = Arc::new(InMemoryProjections::default());
    let named = |group: &str| ProjectionId { group: group.into(), source: "wallet".into() };
    let guard = |groups: &[&str]| {
        let feed: Arc<dyn EventFeed<WalletEvent>> = Arc::new(scene.journal.clone());
        ProjectionGuard::new(feed, projections.clone(), groups.iter().copied().map(named))
    };
    let read_to = |groups: &[&str], up_to| scene.kit.block_on(guard(groups).read_to(id(), up_to)).unwrap();
    let is_at = |group: &str, ordering: u64| {
        let fence = scene.kit.block_on(projections.take_over(named(group))).unwrap().fence;
        scene.kit.block_on(projections.save_offset(fence.clone(), Offset::of_ordering(ordering))).unwrap();
        fence
    };
    let fence = is_at("mailer", 10);
    is_at("search", 4);
    assert_eq!(read_to(&["mailer"], 8), 8);
    assert_eq!((read_to(&["mailer", "search"], 8), read_to(&["search"], 3)), (4, 3));
    assert_eq!(read_to(&["mailer", "ledger"], 8), 0, "one that never ran needs all");
    assert_eq!(read_to(&[], 8), 8, "nobody was named");
    let parked = ParkedEvent {
        projection: named("mailer"),
        offset: Offset::of_ordering(3),
        id: id(),
        seq_nr: 3,
        attempts: 1,
        reason: "as told".into(),
        time_ms: 0,
        replay: false,
    };
    scene.kit.block_on(projections.park(fence, parked)).unwrap();
    assert_eq!((read_to(&["mailer"], 8), read_to(&["mailer"], 2)), (2, 2), "a parked event is not handled yet");
}

/// Replays take long: a snapshot comes before the next would take longer than it may.
#[test]
fn slow_replays_call_for_snapshots() {
    let mut scene = Scene::new(Retention::snapshot_when_asked().or_replay_longer_than(Duration::from_millis(30)));
    let (wallet, _) = scene.start();
    scene.deposit(&wallet, 20);
    wallet.tell(WalletCommand::Stop);
    scene.kit.settle();
    assert_eq!(scene.snapshot(u64::MAX), None, "50 us an event are assumed: that is 1 ms");

    let cost = ReplayCost::default();
    let slow = SlowJournal(scene.journal.clone(), scene.kit.system().clock().clone());
    let entity = WalletEntity { retention: scene.retention, ..WalletEntity::named("ada") };
    let behavior = EventSourcedBehavior::new(entity, slow).snapshots(scene.snapshots.clone()).replay_cost(cost.clone());
    let wallet = scene.kit.spawn("slow", behavior);
    assert_eq!(scene.balance(&wallet), Ok(20));
    assert_eq!(
        cost.expected(20),
        Duration::from_millis(40),
        "two pages, 20 ms each, the empty one at the end included"
    );
    scene.deposit(&wallet, 1);
    assert_eq!(scene.snapshot(u64::MAX), Some((21, 21)), "the next replay would take 42 ms");
    scene.deposit(&wallet, 15);
    assert_eq!(scene.snapshot(u64::MAX), Some((21, 21)), "15 more take 30 ms");
    scene.deposit(&wallet, 1);
    assert_eq!(scene.snapshot(u64::MAX), Some((37, 37)));
}

/// The snapshot store is down: the log has all there is to know. Is it not there from its beginning, the store has to
/// come back.
#[test]
fn recovery_does_without_a_snapshot_store_if_it_can() {
    let down = || JournalError::Unavailable { reason: "as told".into() };
    let mut scene = Scene::new(Retention::snapshot_every(10));
    let (wallet, _) = scene.start();
    scene.deposit(&wallet, 25);
    wallet.tell(WalletCommand::Stop);
    scene.snapshots.fail_next_load(down());
    let (wallet, _) = scene.start();
    assert_eq!(scene.balance(&wallet), Ok(25), "from all events");
    wallet.tell(WalletCommand::Stop);

    scene.retention = Retention::snapshot_every(1).keep_snapshots(1).delete_events_even_if_unread();
    let (wallet, _) = scene.start();
    scene.deposit(&wallet, 1);
    wallet.tell(WalletCommand::Stop);
    scene.kit.settle();
    // Three equal failures would park it, were this one that time does not cure.
    (0..5).for_each(|_| scene.snapshots.fail_next_load(down()));
    let entity = WalletEntity { retention: scene.retention, ..WalletEntity::named("ada") };
    let behavior = EventSourcedBehavior::new(entity, scene.journal.clone()).snapshots(scene.snapshots.clone());
    let behavior = behavior.restart_with_backoff(Duration::from_secs(1), Duration::from_secs(2));
    let wallet = scene.kit.spawn("patient", behavior);
    assert_eq!(scene.balance(&wallet), Ok(26));
}

/// A journal whose pages take 20 ms each.
struct SlowJournal(InMemoryJournal<WalletEvent>, actors::Clock);

impl Journal<WalletEvent> for SlowJournal {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        self.0.claim(scope)
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        self.0.claim_all(entity_type, shards)
    }

    fn append(&self, append: Append<WalletEvent>) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.0.append(append)
    }

    fn replay(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<Vec<Stored<WalletEvent>>, JournalError>> {
        let (page, clock) = (self.0.replay(id, from, to, limit), self.1.clone());
        Box::pin(async move {
            clock.sleep(Duration::from_millis(20)).await;
            page.await
        })
    }

    fn highest_seq(&self, id: PersistenceId) -> BoxFuture<'static, Result<u64, JournalError>> {
        self.0.highest_seq(id)
    }

    fn delete_to(&self, id: PersistenceId, seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        self.0.delete_to(id, seq, fence)
    }
}
