//! An event-sourced entity as its callers see it: durable before reply, one command at a time, and what each failure
//! of a write leads to.

use crate::wallet::{Insufficient, Signals, Wallet, WalletCommand, WalletEntity, WalletEvent};
use actors::{ActorRef, Ask, AskError, UnhandledMessage, testkit::TestKit};
use persistence::{
    AppendError, EventSourced, EventSourcedBehavior, Fence, FenceScope, InMemoryJournal, Journal, JournalError,
    PersistenceId, PersistenceSignal, ReplayLimit, testkit::FaultyJournal,
};
use proptest::prelude::*;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3_600);

/// A wallet over a journal that fails on command.
struct Scene {
    kit: TestKit,
    journal: FaultyJournal<WalletEvent>,
    signals: Signals,
    wallet: ActorRef<WalletCommand>,
}

impl Scene {
    fn new(adapt: impl FnOnce(EventSourcedBehavior<WalletEntity>) -> EventSourcedBehavior<WalletEntity>) -> Self {
        let kit = TestKit::new();
        let journal = FaultyJournal::new(InMemoryJournal::default());
        let entity = WalletEntity::named("ada");
        let signals = entity.signals.clone();
        let wallet = kit.spawn("ada", adapt(EventSourcedBehavior::new(entity, journal.clone())));
        kit.settle();
        Self { kit, journal, signals, wallet }
    }

    fn plain() -> Self {
        Self::new(|behavior| behavior)
    }

    fn tell(&self, command: WalletCommand) {
        self.wallet.tell(command);
        self.kit.settle();
    }

    fn balance(&self) -> Result<u64, AskError> {
        self.kit.block_on(self.wallet.ask(WalletCommand::Balance, LONG))
    }

    fn withdraw(&self, cents: u64) -> Ask<Result<u64, Insufficient>> {
        self.wallet.ask(|reply_to| WalletCommand::Withdraw { cents, reply_to }, LONG)
    }

    /// The next write ends as unknown, and repeating it does not settle that.
    fn unknown_for_good(&self, stored: bool) {
        self.journal.unknown_next(stored);
        (0..4).for_each(|_| self.journal.fail_next(AppendError::Unavailable { reason: "as told".into() }));
    }

    fn stored(&self) -> Vec<WalletEvent> {
        let replay = self.journal.replay(id(), 1, u64::MAX, ReplayLimit::default());
        self.kit.block_on(replay).unwrap().into_iter().map(|stored| stored.event).collect()
    }
}

fn id() -> PersistenceId {
    PersistenceId::of("wallet", "ada")
}

fn deposited(cents: u64) -> WalletEvent {
    WalletEvent::Deposited { cents }
}

#[test]
fn commands_become_events_and_replies() {
    let scene = Scene::plain();
    scene.tell(WalletCommand::Deposit { cents: 100 });
    assert_eq!(scene.kit.block_on(scene.withdraw(30)), Ok(Ok(70)));
    assert_eq!(scene.kit.block_on(scene.withdraw(71)), Ok(Err(Insufficient { balance: 70 })));
    assert_eq!(scene.balance(), Ok(70));
    assert_eq!(scene.stored(), [deposited(100), WalletEvent::Withdrawn { cents: 30 }]);
}

#[test]
fn a_batch_is_one_append_and_an_empty_one_none() {
    let scene = Scene::plain();
    let deposit_all = |amounts: Vec<u64>| {
        scene.kit.block_on(scene.wallet.ask(|reply_to| WalletCommand::DepositAll(amounts, reply_to), LONG))
    };
    assert_eq!(deposit_all(vec![1, 2, 3]), Ok(6));
    assert_eq!(deposit_all(vec![]), Ok(6));
    assert_eq!(scene.journal.appends(), 1);
    assert_eq!(scene.stored().len(), 3);
}

/// Nothing is answered before its event is durable, and no command sees a state that is not.
#[test]
fn replies_wait_for_the_journal_and_so_do_later_commands() {
    let scene = Scene::plain();
    scene.tell(WalletCommand::Deposit { cents: 100 });
    scene.journal.hold();
    let mut withdrawn = Box::pin(scene.withdraw(40));
    let mut balance = Box::pin(scene.wallet.ask(WalletCommand::Balance, LONG));
    scene.kit.advance(Duration::from_secs(5));
    assert_eq!(poll_once(&scene.kit, &mut withdrawn), None, "answered before the event was durable");
    assert_eq!(poll_once(&scene.kit, &mut balance), None, "a command ran while another was being stored");
    scene.journal.release();
    assert_eq!(scene.kit.block_on(withdrawn), Ok(Ok(60)));
    assert_eq!(scene.kit.block_on(balance), Ok(60));
}

#[test]
fn a_new_life_has_the_state_of_the_old_one() {
    let scene = Scene::plain();
    scene.tell(WalletCommand::Deposit { cents: 100 });
    scene.tell(WalletCommand::Stop);
    assert_eq!(scene.balance(), Err(AskError::Stopped));
    let next = EventSourcedBehavior::new(WalletEntity::named("ada"), scene.journal.clone());
    let wallet = scene.kit.spawn("ada-again", next);
    // Sent before it has recovered: it waits.
    assert_eq!(scene.kit.block_on(wallet.ask(WalletCommand::Balance, LONG)), Ok(100));
}

#[test]
fn stashed_commands_come_back_in_order_and_before_newer_ones() {
    let scene = Scene::plain();
    scene.tell(WalletCommand::Freeze);
    let early = scene.wallet.ask(WalletCommand::WhenThawed, LONG);
    scene.tell(WalletCommand::Deposit { cents: 5 });
    scene.wallet.tell(WalletCommand::Thaw);
    scene.wallet.tell(WalletCommand::Deposit { cents: 1_000 });
    assert_eq!(scene.kit.block_on(early), Ok(5));
    assert_eq!(scene.balance(), Ok(1_005));
}

#[test]
fn an_unhandled_command_is_published() {
    let scene = Scene::plain();
    let mut unhandled = scene.kit.probe::<UnhandledMessage>();
    scene.kit.system().event_stream().subscribe(&unhandled.actor_ref());
    scene.tell(WalletCommand::Nonsense);
    assert_eq!(unhandled.drain().len(), 1);
    assert_eq!(scene.balance(), Ok(0));
}

/// Certainly not stored: the state stays, the asker hears that there is no answer, the entity goes on.
#[test]
fn a_rejected_write_changes_nothing() {
    for error in
        [AppendError::Rejected { reason: "too large".into() }, AppendError::Unavailable { reason: "disk full".into() }]
    {
        let scene = Scene::plain();
        scene.tell(WalletCommand::Deposit { cents: 100 });
        scene.signals.take();
        scene.journal.fail_next(error.clone());
        assert_eq!(scene.kit.block_on(scene.withdraw(40)), Err(AskError::NoReply));
        assert_eq!(scene.signals.take(), [PersistenceSignal::PersistRejected(error)]);
        assert_eq!(scene.balance(), Ok(100));
        assert_eq!(scene.kit.block_on(scene.withdraw(40)), Ok(Ok(60)), "the number that was not used is used now");
    }
}

/// A caller whose question says so hears why its write failed, and an unknown outcome is told from a failure.
#[test]
fn an_outcome_is_answered_whatever_it_is() {
    let scene = Scene::plain();
    let deposit = |cents| {
        scene.kit.block_on(scene.wallet.ask(|reply_to| WalletCommand::TryDeposit(cents, reply_to), LONG)).unwrap()
    };
    assert_eq!(deposit(100), Ok(100));
    let full = AppendError::Unavailable { reason: "disk full".into() };
    scene.journal.fail_next(full.clone());
    assert_eq!(deposit(1), Err(full));
    assert_eq!(deposit(2), Ok(102), "the state is the one before the failed write");
    scene.unknown_for_good(true);
    let unknown = deposit(3).unwrap_err();
    assert!(!unknown.is_certain(), "{unknown:?}");
    assert_eq!(scene.balance(), Err(AskError::Stopped));
}

/// Unknown: without backoff the entity stops; whoever starts it again finds what the journal really has.
#[test]
fn an_unknown_write_stops_the_entity() {
    for stored in [true, false] {
        let scene = Scene::plain();
        scene.tell(WalletCommand::Deposit { cents: 100 });
        scene.unknown_for_good(stored);
        assert_eq!(scene.kit.block_on(scene.withdraw(40)), Err(AskError::NoReply));
        assert_eq!(scene.balance(), Err(AskError::Stopped), "it must not go on with either state");
        assert!(matches!(scene.signals.take()[..], [_, PersistenceSignal::PersistFailed(_)]));
        let next = EventSourcedBehavior::new(WalletEntity::named("ada"), scene.journal.clone());
        let wallet = scene.kit.spawn("ada-again", next);
        let truth = if stored { 60 } else { 100 };
        assert_eq!(scene.kit.block_on(wallet.ask(WalletCommand::Balance, LONG)), Ok(truth));
    }
}

#[test]
fn with_backoff_an_unknown_write_leads_to_a_new_life() {
    let scene = Scene::new(|behavior| behavior.restart_with_backoff(Duration::from_secs(1), Duration::from_secs(10)));
    scene.tell(WalletCommand::Deposit { cents: 100 });
    scene.unknown_for_good(true);
    scene.wallet.tell(WalletCommand::Deposit { cents: 1 });
    let waiting = scene.wallet.ask(WalletCommand::Balance, LONG); // keeps its place across the restart
    scene.kit.advance(Duration::from_millis(2_200)); // until nobody tries to settle it any more
    let claims = scene.signals.take().len();
    assert_eq!(claims, 2, "recovered once, failed once, and not yet back");
    assert_eq!(scene.kit.block_on(waiting), Ok(101));
    assert!(matches!(scene.signals.take()[..], [PersistenceSignal::RecoveryCompleted { highest_seq: 2 }]));
}

#[test]
fn a_write_without_an_answer_is_unknown() {
    let scene = Scene::new(|behavior| behavior.write_timeout(Duration::from_secs(7)));
    scene.journal.hold();
    let withdrawn = scene.wallet.ask(|reply_to| WalletCommand::DepositAll(vec![1], reply_to), LONG);
    scene.kit.advance(Duration::from_millis(7_000));
    assert_eq!(scene.journal.appends(), 2, "asked again what became of it");
    scene.kit.advance(Duration::from_millis(6_999));
    assert_eq!(scene.signals.take().len(), 1, "only recovered");
    scene.kit.advance(Duration::from_millis(2));
    assert!(matches!(scene.signals.take()[..], [PersistenceSignal::PersistFailed(AppendError::Unknown { .. })]));
    assert_eq!(scene.kit.block_on(withdrawn), Err(AskError::NoReply));
}

/// The same write again, with the same id, tells what became of the first: the caller hears nothing of the trouble, and
/// nothing is stored twice.
#[test]
fn an_unknown_write_is_settled_by_asking_again() {
    for stored in [true, false] {
        let scene = Scene::plain();
        scene.tell(WalletCommand::Deposit { cents: 100 });
        scene.journal.unknown_next(stored);
        scene.journal.fail_next(AppendError::Unavailable { reason: "reconnecting".into() });
        scene.journal.unknown_next(stored);
        assert_eq!(scene.kit.block_on(scene.withdraw(40)), Ok(Ok(60)));
        assert_eq!(scene.stored(), [deposited(100), WalletEvent::Withdrawn { cents: 40 }]);
        assert_eq!(scene.balance(), Ok(60));
    }
}

/// While it is asked again somebody else takes the log over: the caller is not told that its write failed, for it may not
/// have, and the entity does not come back.
#[test]
fn an_unknown_write_before_a_takeover_stays_unknown() {
    let scene = Scene::new(|behavior| behavior.restart_with_backoff(Duration::from_secs(1), Duration::from_secs(10)));
    scene.journal.unknown_next(true);
    scene.journal.fail_next(AppendError::Stale { held: 1, current: 2 });
    let asked = scene.wallet.ask(|reply_to| WalletCommand::TryDeposit(5, reply_to), LONG);
    let unknown = scene.kit.block_on(asked).unwrap().unwrap_err();
    assert!(!unknown.is_certain() && unknown.to_string().contains("another writer took over"), "{unknown}");
    scene.kit.advance(Duration::from_secs(60));
    assert_eq!(scene.balance(), Err(AskError::Stopped));
}

/// Another writer took over: this one stops, and not even backoff brings it back.
#[test]
fn an_entity_that_lost_its_log_stops_for_good() {
    let scene = Scene::new(|behavior| behavior.restart_with_backoff(Duration::from_secs(1), Duration::from_secs(10)));
    scene.tell(WalletCommand::Deposit { cents: 100 });
    let successor = EventSourcedBehavior::new(WalletEntity::named("ada"), scene.journal.clone());
    let successor = scene.kit.spawn("successor", successor);
    scene.kit.settle();
    assert_eq!(scene.kit.block_on(scene.withdraw(40)), Err(AskError::NoReply));
    scene.kit.advance(Duration::from_secs(60));
    assert_eq!(scene.balance(), Err(AskError::Stopped));
    let last = scene.signals.take().pop();
    assert!(matches!(last, Some(PersistenceSignal::PersistFailed(AppendError::Stale { .. }))), "{last:?}");
    assert_eq!(scene.kit.block_on(successor.ask(WalletCommand::Balance, LONG)), Ok(100), "nothing of it was stored");
}

#[test]
fn a_conflict_stops_the_entity_too() {
    let scene = Scene::plain();
    scene.journal.fail_next(AppendError::Conflict { expected: 1, highest: 1 });
    scene.tell(WalletCommand::Deposit { cents: 1 });
    assert_eq!(scene.balance(), Err(AskError::Stopped));
}

/// With `apply_before` an event that cannot be applied is never stored; without, it is found out too late.
#[test]
fn applying_first_keeps_a_bad_event_out_of_the_log() {
    let careful = Scene::new(EventSourcedBehavior::apply_before);
    careful.tell(WalletCommand::Deposit { cents: 1 });
    careful.tell(WalletCommand::Curse);
    assert_eq!(careful.stored(), [deposited(1)]);
    assert_eq!(careful.balance(), Err(AskError::Stopped), "after a panic the old state is never used again");

    let fast = Scene::plain();
    fast.tell(WalletCommand::Curse);
    assert_eq!(fast.stored(), [WalletEvent::Cursed]);
}

#[test]
fn applying_first_shows_the_new_state_only_after_the_write() {
    let scene = Scene::new(EventSourcedBehavior::apply_before);
    scene.tell(WalletCommand::Deposit { cents: 100 });
    scene.journal.reject_next("no");
    scene.tell(WalletCommand::Deposit { cents: 1 });
    assert_eq!(scene.balance(), Ok(100));
    assert_eq!(scene.kit.block_on(scene.withdraw(40)), Ok(Ok(60)));
}

/// A shard's owner claims once for all its entities; when the shard moves, all of them lose the right to write.
#[test]
fn an_entity_can_write_with_its_shards_fence() {
    let kit = TestKit::new();
    let journal = InMemoryJournal::<WalletEvent>::default();
    let claim = || -> Fence { kit.block_on(journal.claim(FenceScope::shard_of(&id()))).unwrap() };
    let behavior = EventSourcedBehavior::new(WalletEntity::named("ada"), journal.clone()).fence(claim());
    let wallet = kit.spawn("ada", behavior);
    wallet.tell(WalletCommand::Deposit { cents: 3 });
    assert_eq!(kit.block_on(wallet.ask(WalletCommand::Balance, LONG)), Ok(3));
    claim();
    wallet.tell(WalletCommand::Deposit { cents: 4 });
    kit.settle();
    assert_eq!(kit.block_on(wallet.ask(WalletCommand::Balance, LONG)), Err(AskError::Stopped));
    assert_eq!(kit.block_on(journal.highest_seq(id())), Ok(1));
}

/// Handlers are plain functions: no actor and no journal is needed to test them.
#[test]
fn handlers_are_tested_as_functions() {
    let entity = WalletEntity::named("ada");
    let mut wallet = Wallet::default();
    let effect = entity.handle_command(&wallet, WalletCommand::Deposit { cents: 7 });
    assert_eq!(effect.events(), [deposited(7)]);
    effect.events().iter().for_each(|event| WalletEntity::handle_event(&mut wallet, event));
    assert_eq!(wallet.cents, 7);
}

fn poll_once<F: Future + Unpin>(kit: &TestKit, future: &mut F) -> Option<F::Output> {
    use std::{pin::Pin, task::Poll};
    kit.block_on(std::future::poll_fn(|cx| match Pin::new(&mut *future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    }))
}

/// One command of a random run, and what the journal does with its write.
#[derive(Clone, Copy, Debug)]
enum Step {
    Stored,
    Rejected,
    Unavailable,
    UnknownStored,
    UnknownLost,
    UnknownForGood(bool),
    Restarted,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the journal answers: a reply means stored once, a certain failure means not stored, an unknown one is
    /// settled by the journal, and the state is always the fold of the log.
    #[test]
    fn the_state_is_the_fold_of_the_log(steps in proptest::collection::vec((step(), 1_u64..100), 1..40)) {
        let scene = Scene::new(|behavior| {
            behavior.restart_with_backoff(Duration::from_millis(10), Duration::from_millis(20))
        });
        let mut expected = Vec::new();
        for (step, cents) in steps {
            match step {
                Step::Stored => {}
                Step::Rejected => scene.journal.reject_next("as told"),
                Step::Unavailable => scene.journal.fail_next(AppendError::Unavailable { reason: "as told".into() }),
                Step::UnknownStored => scene.journal.unknown_next(true),
                Step::UnknownLost => scene.journal.unknown_next(false),
                Step::UnknownForGood(stored) => scene.unknown_for_good(stored),
                Step::Restarted => {
                    scene.unknown_for_good(false);
                    scene.journal.fail_next_read(JournalError::Unavailable { reason: "as told".into() });
                }
            }
            let answer =
                scene.kit.block_on(scene.wallet.ask(|reply_to| WalletCommand::DepositAll(vec![cents, 1], reply_to), LONG));
            let settled = matches!(step, Step::Stored | Step::UnknownStored | Step::UnknownLost);
            if settled || matches!(step, Step::UnknownForGood(true)) {
                expected.extend([deposited(cents), deposited(1)]);
            }
            let total: u64 = expected.iter().map(|event| if let WalletEvent::Deposited { cents } = event { *cents } else { 0 }).sum();
            prop_assert_eq!(answer, if settled { Ok(total) } else { Err(AskError::NoReply) });
            prop_assert_eq!(scene.balance(), Ok(total));
        }
        prop_assert_eq!(scene.stored(), expected);
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Stored),
        1 => Just(Step::Rejected),
        1 => Just(Step::Unavailable),
        1 => Just(Step::UnknownStored),
        1 => Just(Step::UnknownLost),
        1 => any::<bool>().prop_map(Step::UnknownForGood),
        1 => Just(Step::Restarted),
    ]
}
