//! Commands with an id: carried out once however often they are sent, through lost answers, restarts and snapshots.

use actors::{ActorRef, AskError, ReplyTo, testkit::TestKit};
use parking_lot::Mutex;
use persistence::{
    AppendError, CommandId, DurableState, DurableStateBehavior, Effect, EventSourced, EventSourcedBehavior, Evolution,
    InMemoryJournal, InMemorySnapshotStore, InMemoryStateStore, Journal, MessagePack, Once, PersistenceId,
    PersistenceSignal, RawEvent, RawSnapshot, RawState, ReplayLimit, ReplyOnce, Retention, SqliteOptions, SqliteStore,
    StateEffect, StateStore, WindowLimits,
    testkit::{FaultyJournal, FaultyStates},
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const LONG: Duration = Duration::from_secs(3_600);

enum AccountCommand {
    Pay { cents: u64, reply_to: ReplyOnce<Result<u64, String>> },
    Forget(CommandId),
    Balance(ReplyTo<u64>),
    Stop,
}

#[derive(Clone, Default)]
struct Account {
    retention: Retention,
    told: Arc<Mutex<Vec<PersistenceSignal>>>,
    /// Commands with an id that the handler was asked.
    handled: Arc<Mutex<u64>>,
}

impl Account {
    fn id() -> PersistenceId {
        PersistenceId::of("account", "ada")
    }

    fn once(command: &mut AccountCommand) -> Option<&mut dyn Once> {
        match command {
            AccountCommand::Pay { reply_to, .. } => Some(reply_to),
            AccountCommand::Forget(id) => Some(id),
            AccountCommand::Balance(_) | AccountCommand::Stop => None,
        }
    }
}

impl EventSourced for Account {
    type Command = AccountCommand;
    type Event = u64;
    type State = u64;

    fn persistence_id(&self) -> PersistenceId {
        Self::id()
    }

    fn once<'c>(&self, command: &'c mut AccountCommand) -> Option<&'c mut dyn Once> {
        Self::once(command)
    }

    fn handle_command(&self, paid: &u64, command: AccountCommand) -> Effect<Self> {
        match command {
            AccountCommand::Pay { cents, reply_to } => {
                *self.handled.lock() += 1;
                if cents == 0 {
                    return Effect::none().then_reply_once(reply_to, Err(format!("nothing to add to {paid}")));
                }
                Effect::persist_all([cents - cents / 2, cents / 2]).then_reply_once(reply_to, Ok(paid + cents))
            }
            AccountCommand::Forget(_) => {
                *self.handled.lock() += 1;
                Effect::persist(1)
            }
            AccountCommand::Balance(reply_to) => Effect::reply(reply_to, *paid),
            AccountCommand::Stop => Effect::stop(),
        }
    }

    fn handle_event(paid: &mut u64, cents: &u64) {
        *paid += cents;
    }

    fn retention(&self) -> Retention {
        self.retention
    }

    fn on_signal(&self, _: &u64, _: &mut actors::ActorContext<AccountCommand>, signal: &PersistenceSignal) {
        self.told.lock().push(signal.clone());
    }
}

impl DurableState for Account {
    type Command = AccountCommand;
    type State = u64;

    fn persistence_id(&self) -> PersistenceId {
        Self::id()
    }

    fn once<'c>(&self, command: &'c mut AccountCommand) -> Option<&'c mut dyn Once> {
        Self::once(command)
    }

    fn handle_command(&self, paid: &u64, command: AccountCommand) -> StateEffect<Self> {
        match command {
            AccountCommand::Pay { cents, reply_to } => {
                *self.handled.lock() += 1;
                if cents == 0 {
                    return StateEffect::none().then_reply_once(reply_to, Err(format!("nothing to add to {paid}")));
                }
                StateEffect::persist(paid + cents).then_reply_once(reply_to, Ok(paid + cents))
            }
            AccountCommand::Forget(_) => {
                *self.handled.lock() += 1;
                StateEffect::delete()
            }
            AccountCommand::Balance(reply_to) => StateEffect::reply(reply_to, *paid),
            AccountCommand::Stop => StateEffect::stop(),
        }
    }
}

fn codec() -> MessagePack<u64> {
    MessagePack::new("account.Paid", 1)
}

/// An account whose lives share a store that fails on command.
struct Scene {
    kit: TestKit,
    journal: FaultyJournal<RawEvent>,
    snapshots: InMemorySnapshotStore<RawSnapshot>,
    states: FaultyStates<RawState>,
    account: Account,
    window: WindowLimits,
    lives: u32,
}

impl Scene {
    fn new(retention: Retention) -> Self {
        let memory = InMemoryJournal::raw();
        Self {
            kit: TestKit::new(),
            snapshots: memory.snapshots(),
            states: FaultyStates::new(memory.states()),
            journal: FaultyJournal::new(memory),
            account: Account { retention, ..Account::default() },
            window: WindowLimits::default(),
            lives: 0,
        }
    }

    fn start(&mut self) -> ActorRef<AccountCommand> {
        self.lives += 1;
        let behavior = EventSourcedBehavior::adapted(self.account.clone(), self.journal.clone(), codec())
            .adapted_snapshots(self.snapshots.clone(), codec())
            .command_window(self.window);
        self.kit.spawn(format!("account-{}", self.lives), behavior)
    }

    fn start_state(&mut self) -> ActorRef<AccountCommand> {
        self.lives += 1;
        let behavior = DurableStateBehavior::adapted(self.account.clone(), self.states.clone(), codec());
        self.kit.spawn(format!("account-{}", self.lives), behavior)
    }

    fn pay(&self, account: &ActorRef<AccountCommand>, id: &str, cents: u64) -> Result<Result<u64, String>, AskError> {
        self.kit.block_on(pay(account, id, cents))
    }

    fn balance(&self, account: &ActorRef<AccountCommand>) -> Result<u64, AskError> {
        self.kit.block_on(account.ask(AccountCommand::Balance, LONG))
    }

    fn stop(&self, account: &ActorRef<AccountCommand>) {
        account.tell(AccountCommand::Stop);
        self.kit.settle();
    }

    fn events(&self) -> usize {
        let replayed = self.journal.replay(Account::id(), 1, u64::MAX, ReplayLimit::default());
        self.kit.block_on(replayed).unwrap().len()
    }

    fn handled(&self) -> u64 {
        *self.account.handled.lock()
    }
}

fn pay(account: &ActorRef<AccountCommand>, id: &str, cents: u64) -> actors::Ask<Result<u64, String>> {
    let id = CommandId::of(id, &[b"pay", &cents.to_be_bytes()]);
    account.ask(|reply_to: ReplyTo<_>| AccountCommand::Pay { cents, reply_to: ReplyOnce::new(id, reply_to) }, LONG)
}

/// The answer was lost: the client sends its command again, to this life of the entity and to the next.
#[test]
fn a_command_sent_again_is_answered_again_and_nothing_else_happens() {
    let mut scene = Scene::new(Retention::default());
    let account = scene.start();
    assert_eq!(scene.pay(&account, "first", 100), Ok(Ok(100)));
    assert_eq!(scene.pay(&account, "second", 10), Ok(Ok(110)));
    assert_eq!(scene.pay(&account, "first", 100), Ok(Ok(100)), "the answer of then, not of now");
    scene.stop(&account);
    let account = scene.start();
    assert_eq!(scene.pay(&account, "first", 100), Ok(Ok(100)));
    assert_eq!((scene.events(), scene.handled()), (4, 2));
    assert_eq!(scene.balance(&account), Ok(110));
}

/// What the ids are for: nobody knows whether the write is stored, the entity starts over, the client asks again.
#[test]
fn after_an_unknown_outcome_the_repetition_settles_it() {
    for stored in [true, false] {
        let mut scene = Scene::new(Retention::default());
        let account = scene.start();
        scene.kit.settle();
        scene.journal.unknown_next(stored);
        (0..4).for_each(|_| scene.journal.fail_next(AppendError::Unavailable { reason: "as told".into() }));
        assert_eq!(scene.pay(&account, "first", 100), Err(AskError::NoReply));
        assert_eq!(scene.balance(&account), Err(AskError::Stopped));
        let account = scene.start();
        assert_eq!(scene.pay(&account, "first", 100), Ok(Ok(100)));
        assert_eq!((scene.events(), scene.handled()), (2, if stored { 1 } else { 2 }), "stored once");
    }
}

/// Snapshots carry the answers on, also where the events that did are deleted.
#[test]
fn answers_outlive_their_events() {
    let mut scene = Scene::new(Retention::snapshot_every(2).keep_snapshots(1).delete_events_even_if_unread());
    let account = scene.start();
    for (id, cents) in [("first", 100), ("second", 10), ("third", 1)] {
        scene.pay(&account, id, cents).unwrap().unwrap();
        scene.kit.settle();
    }
    assert_eq!(scene.events(), 0);
    scene.stop(&account);
    let account = scene.start();
    assert_eq!(scene.pay(&account, "first", 100), Ok(Ok(100)));
    assert_eq!(scene.pay(&account, "third", 1), Ok(Ok(111)));
    assert_eq!((scene.balance(&account), scene.handled()), (Ok(111), 3));
}

#[test]
fn an_id_used_for_another_command_is_refused() {
    let mut scene = Scene::new(Retention::default());
    let account = scene.start();
    assert_eq!(scene.pay(&account, "first", 100), Ok(Ok(100)));
    assert_eq!(scene.pay(&account, "first", 99), Err(AskError::NoReply));
    let reused = scene.account.told.lock().pop();
    assert!(
        matches!(&reused, Some(PersistenceSignal::CommandIdReused { command }) if command.as_str() == "first"),
        "{reused:?}"
    );
    assert_eq!(scene.balance(&account), Ok(100));
}

#[test]
fn the_window_is_bounded_by_number_and_age() {
    let mut scene = Scene::new(Retention::default());
    scene.window = WindowLimits { ids: 2, ..WindowLimits::default() };
    let account = scene.start();
    for id in ["1", "2", "3"] {
        scene.pay(&account, id, 1).unwrap().unwrap();
    }
    assert_eq!(scene.pay(&account, "2", 1), Ok(Ok(2)));
    assert_eq!(scene.pay(&account, "1", 1), Ok(Ok(4)), "forgotten, so it is carried out again");

    scene.kit.advance(Duration::from_secs(601));
    assert_eq!(scene.pay(&account, "1", 1), Ok(Ok(5)), "too long ago");
}

/// Without events there is nothing to store the answer with: this life remembers it, and the next snapshot.
#[test]
fn a_command_that_stored_nothing_is_remembered_while_the_entity_lives() {
    let mut scene = Scene::new(Retention::default());
    let account = scene.start();
    assert_eq!(scene.pay(&account, "none", 0), Ok(Err("nothing to add to 0".into())));
    assert_eq!(scene.pay(&account, "first", 5), Ok(Ok(5)));
    assert_eq!(scene.pay(&account, "none", 0), Ok(Err("nothing to add to 0".into())));
    scene.stop(&account);
    let account = scene.start();
    assert_eq!(scene.pay(&account, "none", 0), Ok(Err("nothing to add to 5".into())));
}

/// A command without an answer has an id all the same.
#[test]
fn a_command_that_nobody_waits_for_is_carried_out_once() {
    let mut scene = Scene::new(Retention::default());
    let account = scene.start();
    (0..3).for_each(|_| account.tell(AccountCommand::Forget(CommandId::new("forget"))));
    assert_eq!(scene.balance(&account), Ok(1));
}

/// A store that cannot keep the answer gets no events either: half of the promise is none.
#[test]
fn a_store_of_values_refuses_commands_with_an_id_and_says_what_to_do() {
    let kit = TestKit::new();
    let account = Account::default();
    let told = account.told.clone();
    let entity = kit.spawn("account", EventSourcedBehavior::new(account, InMemoryJournal::default()));
    assert_eq!(kit.block_on(pay(&entity, "first", 5)), Err(AskError::NoReply));
    let rejected = told.lock().pop();
    let Some(PersistenceSignal::PersistRejected(error)) = rejected else { panic!("{rejected:?}") };
    assert!(error.to_string().contains("EventSourcedBehavior::adapted"), "{error}");

    let account = Account { retention: Retention::snapshot_every(1), ..Account::default() };
    let told = account.told.clone();
    let journal = InMemoryJournal::raw();
    let snapshots = journal.snapshots();
    let behavior = EventSourcedBehavior::adapted(account, journal, codec()).snapshots(snapshots);
    let entity = kit.spawn("account-2", behavior);
    kit.block_on(pay(&entity, "first", 5)).unwrap().unwrap();
    kit.settle();
    let failed = told.lock().pop();
    let Some(PersistenceSignal::SnapshotFailed { reason, .. }) = failed else { panic!("{failed:?}") };
    assert!(reason.contains("adapted_snapshots"), "{reason}");
}

#[test]
fn a_durable_state_keeps_its_answers_with_the_state_and_after_it() {
    let mut scene = Scene::new(Retention::default());
    let account = scene.start_state();
    assert_eq!(scene.pay(&account, "first", 100), Ok(Ok(100)));
    assert_eq!(scene.pay(&account, "second", 10), Ok(Ok(110)));
    assert_eq!(scene.pay(&account, "first", 100), Ok(Ok(100)));
    scene.stop(&account);
    let account = scene.start_state();
    assert_eq!(scene.pay(&account, "second", 10), Ok(Ok(110)));
    account.tell(AccountCommand::Forget(CommandId::new("forget")));
    assert_eq!(scene.balance(&account), Ok(0));
    scene.stop(&account);
    let account = scene.start_state();
    account.tell(AccountCommand::Forget(CommandId::new("forget")));
    assert_eq!(scene.pay(&account, "first", 100), Ok(Ok(100)), "a deletion takes the state, not the answers");
    assert_eq!((scene.balance(&account), scene.handled()), (Ok(0), 3));
    let stored = scene.kit.block_on(scene.states.load(Account::id())).unwrap().unwrap();
    assert_eq!((stored.revision, stored.state), (3, None));
}

/// The whole way to the disk and back, in a log whose events have since become others.
#[tokio::test]
async fn answers_survive_the_process_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    for (life, adapter) in [
        Evolution::of(codec()),
        Evolution::of(MessagePack::<u64>::new("account.Paid", 2)).reads("account.Paid/1", |_: u64| Vec::new()),
    ]
    .into_iter()
    .enumerate()
    {
        let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
        let system = actors::ActorSystem::new(format!("life-{life}"));
        let account = EventSourcedBehavior::adapted(Account::default(), store.clone(), adapter);
        let account = system.spawn("account", account);
        assert_eq!(pay(&account, "first", 100).await, Ok(Ok(100)), "answered again although its events mean nothing");
        assert_eq!(account.ask(AccountCommand::Balance, LONG).await, Ok(if life == 0 { 100 } else { 0 }));
        system.terminate().await;
        store.close().await;
    }
}

/// What happens to one command of a random run: which one, and how its write goes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Pay(u8),
    Rejected(u8),
    Unknown { id: u8, stored: bool, for_good: bool },
    Restart,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens, each command is carried out at most once, its answer is always the same, and the state is what
    /// the answered commands add up to.
    #[test]
    fn every_command_counts_once(steps in proptest::collection::vec(step(), 1..50), kind in 0..3) {
        let retention = if kind == 1 {
            Retention::snapshot_every(3).keep_snapshots(1).delete_events_even_if_unread()
        } else {
            Retention::default()
        };
        let mut scene = Scene::new(retention);
        let start = |scene: &mut Scene| if kind == 2 { scene.start_state() } else { scene.start() };
        let fail = |scene: &Scene, error: AppendError| {
            if kind == 2 { scene.states.fail_next(error) } else { scene.journal.fail_next(error) }
        };
        let mut account = start(&mut scene);
        let mut total = 0;
        let mut answers: BTreeMap<u8, u64> = BTreeMap::new();
        for step in steps {
            scene.kit.settle();
            let unavailable = || AppendError::Unavailable { reason: "as told".into() };
            let (id, goes) = match step {
                Step::Pay(id) => (id, Some(true)),
                Step::Rejected(id) if answers.contains_key(&id) => (id, Some(true)),
                Step::Rejected(id) => {
                    fail(&scene, unavailable());
                    (id, Some(false))
                }
                Step::Unknown { id, .. } if answers.contains_key(&id) => (id, Some(true)),
                Step::Unknown { id, stored, for_good } => {
                    if kind == 2 { scene.states.unknown_next(stored) } else { scene.journal.unknown_next(stored) }
                    if for_good {
                        (0..4).for_each(|_| fail(&scene, unavailable()));
                    }
                    (id, if for_good { None } else { Some(true) })
                }
                Step::Restart => {
                    scene.stop(&account);
                    account = start(&mut scene);
                    continue;
                }
            };
            let cents = u64::from(id) + 1;
            let answer = scene.pay(&account, &id.to_string(), cents);
            if !answers.contains_key(&id)
                && (goes == Some(true) || matches!(step, Step::Unknown { stored: true, .. })) {
                total += cents;
                answers.insert(id, total);
            }
            match goes {
                Some(true) => prop_assert_eq!(answer, Ok(Ok(answers[&id]))),
                Some(false) => prop_assert_eq!(answer, Err(AskError::NoReply)),
                None => {
                    prop_assert_eq!(answer, Err(AskError::NoReply));
                    prop_assert_eq!(scene.balance(&account), Err(AskError::Stopped));
                    account = start(&mut scene);
                }
            }
            prop_assert_eq!(scene.balance(&account), Ok(total));
        }
        for (id, answer) in &answers {
            prop_assert_eq!(scene.pay(&account, &id.to_string(), u64::from(*id) + 1), Ok(Ok(*answer)));
        }
        prop_assert_eq!(scene.balance(&account), Ok(total));
    }
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0_u8..12;
    prop_oneof![
        6 => id.clone().prop_map(Step::Pay),
        1 => id.clone().prop_map(Step::Rejected),
        3 => (id, any::<bool>(), any::<bool>()).prop_map(|(id, stored, for_good)| Step::Unknown { id, stored, for_good }),
        2 => Just(Step::Restart),
    ]
}

/// The in-memory stores of values are for tests of entities; those with room for answers need no codec.
#[test]
fn stores_of_records_need_no_codec() {
    let kit = TestKit::new();
    let states = InMemoryStateStore::default();
    for life in 0..2 {
        let behavior = DurableStateBehavior::with_commands(Account::default(), states.clone());
        let account = kit.spawn(format!("account-{life}"), behavior);
        assert_eq!(kit.block_on(pay(&account, "first", 5)), Ok(Ok(5)));
        account.tell(AccountCommand::Stop);
        kit.settle();
    }
}
