//! A store behind its breaker: left in peace while it fails, tried again later, never blamed for what was asked of it.

use crate::wallet::WalletEvent;
use actors::testkit::TestKit;
use persistence::{
    Append, AppendError, BreakerSettings, Fence, FenceScope, Guarded, InMemoryJournal, InMemorySnapshotStore,
    InMemoryStateStore, Journal, JournalError, PersistenceId, PutState, ReplayLimit, SnapshotStore, StateStore,
    testkit::{FaultyJournal, FaultySnapshots, FaultyStates},
};
use std::time::Duration;

type Faulty = FaultyJournal<WalletEvent>;

struct Scene {
    kit: TestKit,
    faulty: Faulty,
    journal: Guarded<Faulty>,
    fence: Fence,
}

impl Scene {
    fn new() -> Self {
        let kit = TestKit::new();
        let faulty = FaultyJournal::new(InMemoryJournal::default());
        let journal = Guarded::journal(faulty.clone(), kit.system().clock().clone());
        let fence = kit.block_on(journal.claim(FenceScope::Entity(id()))).unwrap();
        Self { kit, faulty, journal, fence }
    }

    fn batch(&self, expected_seq: u64) -> Append<WalletEvent> {
        let events = vec![WalletEvent::Deposited { cents: 1 }];
        let (id, fence, batch_id) = (id(), self.fence.clone(), u128::from(expected_seq));
        Append { id, expected_seq, fence, batch_id, events, tags: Vec::new(), time_ms: 0 }
    }

    fn append(&self, expected_seq: u64) -> Result<u64, AppendError> {
        self.kit.block_on(self.journal.append(self.batch(expected_seq)))
    }

    fn fail(&self, times: u32) {
        for _ in 0..times {
            self.faulty.fail_next(down());
            self.append(1).unwrap_err();
        }
    }
}

fn id() -> PersistenceId {
    PersistenceId::of("wallet", "ada")
}

fn down() -> AppendError {
    AppendError::Unavailable { reason: "as told".into() }
}

/// Ten failures, thirty seconds of peace, one call to see, and all is well again.
#[test]
fn a_failing_store_is_left_in_peace_and_tried_again() {
    let scene = Scene::new();
    scene.fail(9);
    assert!(scene.journal.is_closed());
    scene.fail(1);
    assert!(!scene.journal.clone().is_closed(), "clones share it");
    let asked = scene.faulty.appends();
    let refused = scene.append(1).unwrap_err();
    assert!(matches!(&refused, AppendError::Unavailable { .. }), "certainly not stored: {refused:?}");
    let text = refused.to_string();
    assert!(text.contains("journal: circuit breaker is open") && text.contains("30000 ms"), "{text}");
    assert!(text.contains("as told"), "the last failure is told: {text}");
    let replayed = scene.kit.block_on(scene.journal.replay(id(), 1, 1, ReplayLimit::default()));
    assert!(matches!(replayed, Err(JournalError::Unavailable { .. })), "reads are refused as well");
    assert_eq!(scene.faulty.appends(), asked, "nothing reached the store");

    scene.kit.advance(Duration::from_secs(30));
    scene.fail(1);
    assert!(scene.append(1).unwrap_err().to_string().contains("30000 ms"), "still down: another rest");
    scene.kit.advance(Duration::from_secs(30));
    assert_eq!(scene.append(1), Ok(1), "the trial");
    assert_eq!(scene.append(2), Ok(2));
    assert!(scene.journal.is_closed());
}

/// A conflict is an answer, and so is "rejected", "stale" or "overloaded": the store works.
#[test]
fn refusals_open_nothing() {
    let scene = Scene::new();
    let refusals = [
        AppendError::Conflict { expected: 1, highest: 1 },
        AppendError::Stale { held: 1, current: 2 },
        AppendError::Rejected { reason: "too large".into() },
        AppendError::Overloaded { reason: "queue_requests".into() },
    ];
    for error in refusals.iter().cycle().take(20).cloned() {
        scene.faulty.fail_next(error.clone());
        assert_eq!(scene.append(1), Err(error));
    }
    let damaged = JournalError::Damaged { id: id(), seq_nr: 1, place: "row".into(), reason: "as told".into() };
    for _ in 0..20 {
        scene.faulty.fail_next_read(damaged.clone());
        scene.kit.block_on(scene.journal.highest_seq(id())).unwrap_err();
    }
    assert_eq!(scene.append(1), Ok(1));
}

/// No answer in time: the write's outcome is unknown. That the caller was less patient hides nothing.
#[test]
fn a_store_that_hangs_is_noticed() {
    let scene = Scene::new();
    scene.faulty.hold();
    let clock = scene.kit.system().clock().clone();
    let outcome = scene.append(1).unwrap_err();
    assert!(!outcome.is_certain(), "{outcome:?}");
    for _ in 0..9 {
        let impatient = clock.timeout(Duration::from_secs(6), scene.journal.append(scene.batch(1)));
        scene.kit.block_on(impatient).unwrap_err();
    }
    assert!(!scene.journal.is_closed());

    let scene = Scene::new();
    scene.faulty.hold();
    let clock = scene.kit.system().clock().clone();
    for _ in 0..20 {
        let dropped = clock.timeout(Duration::from_secs(1), scene.journal.append(scene.batch(1)));
        scene.kit.block_on(dropped).unwrap_err();
    }
    assert!(scene.journal.is_closed(), "a caller that goes away at once says nothing about the store");
}

/// Snapshot stores have less patience and a longer rest; state stores are as journals.
#[test]
fn each_kind_of_store_has_its_own_settings() {
    let kit = TestKit::new();
    let clock = kit.system().clock().clone();
    let faulty = FaultySnapshots::new(InMemorySnapshotStore::<u64>::default());
    let snapshots = Guarded::snapshots(faulty.clone(), clock.clone());
    for _ in 0..BreakerSettings::SNAPSHOTS.failures_max {
        assert!(snapshots.is_closed());
        faulty.fail_next_load(JournalError::Unavailable { reason: "as told".into() });
        kit.block_on(snapshots.load(id(), u64::MAX)).unwrap_err();
    }
    let text = kit.block_on(snapshots.load(id(), u64::MAX)).unwrap_err().to_string();
    assert!(text.contains("snapshots: circuit breaker is open") && text.contains("60000 ms"), "{text}");

    let faulty = FaultyStates::new(InMemoryStateStore::<u64>::default());
    let states = Guarded::states(faulty.clone(), clock);
    let fence = kit.block_on(states.claim(FenceScope::Entity(id()))).unwrap();
    let put = PutState { id: id(), expected_revision: 0, fence, batch_id: 1, time_ms: 0, state: 7, tag: None };
    for _ in 0..BreakerSettings::JOURNAL.failures_max {
        assert!(states.is_closed());
        faulty.unknown_next(false);
        kit.block_on(states.upsert(put.clone())).unwrap_err();
    }
    assert!(!states.is_closed(), "unknown outcomes are failures");
    kit.advance(Duration::from_secs(30));
    assert_eq!(kit.block_on(states.upsert(put)), Ok(1));
}
