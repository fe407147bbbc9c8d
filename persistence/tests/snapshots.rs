//! Snapshots of an entity: when they are saved, what is deleted then, and how recovery uses them.

use crate::wallet::{Signals, Wallet, WalletCommand, WalletEntity, WalletEvent};
use actors::{ActorRef, AskError, testkit::TestKit};
use persistence::{
    AppendError, EventSourcedBehavior, InMemoryJournal, InMemorySnapshotStore, Journal, JournalError, PersistenceId,
    PersistenceSignal, ReplayLimit, Retention, SnapshotStore, testkit::FaultySnapshots,
};
use std::time::Duration;

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
