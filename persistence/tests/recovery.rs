//! What an entity does when its log cannot be read, or is not believed.

use crate::wallet::{Signals, WalletCommand, WalletEntity, WalletEvent};
use actors::{ActorRef, AskError, testkit::TestKit};
use persistence::{
    Append, EventSourcedBehavior, FenceScope, InMemoryJournal, InMemorySnapshotStore, Journal, JournalError,
    PersistenceId, PersistenceSignal, RecoveryLimit, RecoveryMode, Retention, SnapshotStore, testkit::FaultyJournal,
};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3_600);
const MIN: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(10);

fn id() -> PersistenceId {
    PersistenceId::of("wallet", "ada")
}

fn unavailable() -> JournalError {
    JournalError::Unavailable { reason: "as told".into() }
}

fn damaged() -> JournalError {
    JournalError::Damaged { id: id(), seq_nr: 2, place: "journal.ordering 2".into(), reason: "as told".into() }
}

/// A journal with `events` of the wallet in it.
fn journal_with(kit: &TestKit, events: &[WalletEvent]) -> FaultyJournal<WalletEvent> {
    let journal = InMemoryJournal::default();
    if !events.is_empty() {
        let fence = kit.block_on(journal.claim(FenceScope::Entity(id()))).unwrap();
        let append = Append {
            id: id(),
            expected_seq: 1,
            fence,
            batch_id: 1,
            events: events.to_vec(),
            tags: Vec::new(),
            time_ms: 0,
        };
        kit.block_on(journal.append(append)).unwrap();
    }
    FaultyJournal::new(journal)
}

fn spawn(kit: &TestKit, journal: &FaultyJournal<WalletEvent>) -> (ActorRef<WalletCommand>, Signals) {
    let entity = WalletEntity::named("ada");
    let signals = entity.signals.clone();
    let behavior = EventSourcedBehavior::new(entity, journal.clone()).restart_with_backoff(MIN, MAX);
    (kit.spawn("ada", behavior), signals)
}

fn balance(kit: &TestKit, wallet: &ActorRef<WalletCommand>) -> Result<u64, AskError> {
    kit.block_on(wallet.ask(WalletCommand::Balance, LONG))
}

#[test]
fn completion_is_told_to_new_entities_too() {
    let kit = TestKit::new();
    let (_wallet, signals) = spawn(&kit, &journal_with(&kit, &[]));
    kit.settle();
    assert_eq!(signals.take(), [PersistenceSignal::RecoveryCompleted { highest_seq: 0 }]);
}

/// More events than fit a page of the replay.
#[test]
fn long_logs_are_replayed_whole() {
    let kit = TestKit::new();
    let journal = journal_with(&kit, &vec![WalletEvent::Deposited { cents: 1 }; 1_700]);
    let (wallet, _) = spawn(&kit, &journal);
    assert_eq!(balance(&kit, &wallet), Ok(1_700));
}

/// A store that is down for a while is asked again and again, with growing pauses; nobody's command is lost.
#[test]
fn an_unreachable_store_is_tried_until_it_answers() {
    let kit = TestKit::new();
    let journal = journal_with(&kit, &[WalletEvent::Deposited { cents: 5 }]);
    (0..6).for_each(|_| journal.fail_next_read(unavailable()));
    let (wallet, signals) = spawn(&kit, &journal);
    let waiting = wallet.ask(WalletCommand::Balance, LONG);
    kit.advance(Duration::from_secs(5));
    assert_eq!(signals.take(), [], "it has not recovered yet");
    assert_eq!(kit.block_on(waiting), Ok(5));
}

/// Damage does not go away: after three equal failures the entity is parked and the store left alone.
#[test]
fn damaged_data_parks_the_entity() {
    let kit = TestKit::new();
    let journal = journal_with(&kit, &[WalletEvent::Deposited { cents: 5 }]);
    // Each attempt claims first; fail there, three times.
    (0..3).for_each(|_| journal.fail_next_read(damaged()));
    let (wallet, _) = spawn(&kit, &journal);
    kit.advance(Duration::from_secs(3_000));
    assert_eq!(balance(&kit, &wallet), Err(AskError::Stopped), "the third failure was the last attempt");
}

#[test]
fn two_equal_failures_are_not_three() {
    let kit = TestKit::new();
    let journal = journal_with(&kit, &[WalletEvent::Deposited { cents: 5 }]);
    journal.fail_next_read(damaged());
    journal.fail_next_read(damaged());
    journal.fail_next_read(unavailable()); // in between: the count starts again
    journal.fail_next_read(damaged());
    journal.fail_next_read(damaged());
    let (wallet, _) = spawn(&kit, &journal);
    assert_eq!(balance(&kit, &wallet), Ok(5));
}

#[test]
fn an_event_the_handler_cannot_apply_parks_the_entity() {
    let kit = TestKit::new();
    let (wallet, signals) = spawn(&kit, &journal_with(&kit, &[WalletEvent::Cursed]));
    kit.advance(Duration::from_secs(3_000));
    assert_eq!(balance(&kit, &wallet), Err(AskError::Stopped));
    assert_eq!(signals.take(), []);
}

#[test]
fn a_store_that_never_answers_fails_recovery() {
    let kit = TestKit::new();
    let limit = RecoveryLimit::new(1);
    let stuck = EventSourcedBehavior::new(WalletEntity::named("ada"), Silent)
        .recovery_limit(limit.clone())
        .recovery_timeout(Duration::from_secs(9));
    let stuck = kit.spawn("stuck", stuck);
    let next = EventSourcedBehavior::new(WalletEntity::named("bob"), InMemoryJournal::default()).recovery_limit(limit);
    let next = kit.spawn("next", next);
    let waiting = next.ask(WalletCommand::Balance, LONG);
    kit.advance(Duration::from_secs(8));
    let asked = stuck.ask(WalletCommand::Balance, LONG);
    kit.advance(Duration::from_secs(2));
    assert_eq!(kit.block_on(asked), Err(AskError::Stopped));
    assert_eq!(kit.block_on(waiting), Ok(0), "the next one recovers once the first has given up its place");
}

/// Nobody has said how many may recover at once: all entities of a system share one limit, and none with another system.
#[test]
fn entities_of_a_system_share_a_limit() {
    let (kit, other) = (TestKit::new(), TestKit::new());
    let spawn = |kit: &TestKit| {
        let behavior = EventSourcedBehavior::new(WalletEntity::named("bob"), InMemoryJournal::default());
        kit.spawn("bob", behavior)
    };
    let balance_within = |kit: &TestKit, wallet: &actors::ActorRef<WalletCommand>, within| {
        kit.block_on(wallet.ask(WalletCommand::Balance, within))
    };
    let stuck = |n: usize| {
        let behavior = EventSourcedBehavior::new(WalletEntity::named(&format!("ada-{n}")), Silent);
        kit.spawn(format!("ada-{n}"), behavior.recovery_timeout(Duration::from_secs(60)))
    };
    let held: Vec<_> = (0..63).map(stuck).collect();
    kit.settle();
    let unlimited = EventSourcedBehavior::new(WalletEntity::named("eve"), Silent);
    let unlimited = kit.spawn("eve", unlimited.recovery_limit(RecoveryLimit::new(usize::MAX)));
    let next = spawn(&kit);
    let second = Duration::from_secs(1);
    assert_eq!(balance_within(&kit, &next, second), Ok(0), "63 leave room for one more, and one does not count");
    let last = stuck(63);
    kit.settle();
    let waiting = kit.spawn("cyd", EventSourcedBehavior::new(WalletEntity::named("cyd"), InMemoryJournal::default()));
    assert!(balance_within(&kit, &waiting, second).is_err(), "64 do not");
    assert_eq!(balance_within(&other, &spawn(&other), second), Ok(0), "another system is another node");
    kit.advance(Duration::from_secs(60));
    assert_eq!(balance_within(&kit, &waiting, second), Ok(0), "once one has given up its place");
    drop((held, last, unlimited));
}

/// An entity that only ever writes, and one whose events say all, need not read their logs.
#[test]
fn an_entity_may_read_less_of_its_log() {
    for (mode, balance_then) in [(RecoveryMode::Nothing, 0), (RecoveryMode::LastEvent, 3), (RecoveryMode::All, 6)] {
        let kit = TestKit::new();
        let events = [1, 2, 3].map(|cents| WalletEvent::Deposited { cents });
        let journal = journal_with(&kit, &events);
        let snapshots = InMemorySnapshotStore::default();
        let entity = WalletEntity { retention: Retention::snapshot_every(1), ..WalletEntity::named("ada") };
        let behavior = EventSourcedBehavior::new(entity, journal.clone()).snapshots(snapshots.clone());
        let wallet = kit.spawn("ada", behavior.recovery_mode(mode));
        assert_eq!(balance(&kit, &wallet), Ok(balance_then), "{mode:?}");
        wallet.tell(WalletCommand::Deposit { cents: 10 });
        assert_eq!(balance(&kit, &wallet), Ok(balance_then + 10));
        assert_eq!(kit.block_on(journal.highest_seq(id())), Ok(4), "numbers go on");
        kit.settle();
        let snapshot = kit.block_on(snapshots.load(id(), u64::MAX)).unwrap();
        assert_eq!(snapshot.is_some(), mode == RecoveryMode::All, "half a state is no snapshot");
    }
    let kit = TestKit::new();
    let behavior = EventSourcedBehavior::new(WalletEntity::named("ada"), journal_with(&kit, &[]));
    let wallet = kit.spawn("new", behavior.recovery_mode(RecoveryMode::LastEvent));
    assert_eq!(balance(&kit, &wallet), Ok(0));
}

/// A journal that takes requests and never answers.
struct Silent;

impl Journal<WalletEvent> for Silent {
    fn claim(&self, _: FenceScope) -> persistence::BoxFuture<'static, Result<persistence::Fence, JournalError>> {
        Box::pin(std::future::pending())
    }
    fn claim_all(
        &self,
        _: std::sync::Arc<str>,
        _: std::ops::Range<u16>,
    ) -> persistence::BoxFuture<'static, Result<Vec<persistence::Fence>, JournalError>> {
        Box::pin(std::future::pending())
    }
    fn append(&self, _: Append<WalletEvent>) -> persistence::BoxFuture<'static, Result<u64, persistence::AppendError>> {
        Box::pin(std::future::pending())
    }
    fn replay(
        &self,
        _: PersistenceId,
        _: u64,
        _: u64,
        _: persistence::ReplayLimit,
    ) -> persistence::BoxFuture<'static, Result<Vec<persistence::Stored<WalletEvent>>, JournalError>> {
        Box::pin(std::future::pending())
    }
    fn highest_seq(&self, _: PersistenceId) -> persistence::BoxFuture<'static, Result<u64, JournalError>> {
        Box::pin(std::future::pending())
    }
    fn delete_to(
        &self,
        _: PersistenceId,
        _: u64,
        _: persistence::Fence,
    ) -> persistence::BoxFuture<'static, Result<(), persistence::AppendError>> {
        Box::pin(std::future::pending())
    }
}
