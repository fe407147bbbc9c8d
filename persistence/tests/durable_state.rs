//! A durable state as its callers see it: durable before reply, one command at a time, and what each failure leads to.

use crate::wallet::Signals;
use actors::{ActorContext, ActorRef, Ask, AskError, ReplyTo, UnhandledMessage, testkit::TestKit};
use persistence::{
    AppendError, Coded, DurableState, DurableStateBehavior, Fence, FenceScope, InMemoryStateStore, JournalError,
    MessagePack, PersistenceId, PersistenceSignal, RecoveryLimit, SqliteOptions, SqliteStore, StateEffect, StateStore,
    StoredState, testkit::FaultyStates,
};
use proptest::prelude::*;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3_600);

/// A note that can be written, read and thrown away.
struct NoteEntity {
    signals: Signals,
}

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Note {
    text: String,
    locked: bool,
}

enum NoteCommand {
    Write(String, ReplyTo<String>),
    /// Answers whether the text is stored, whatever happens.
    TryWrite(String, ReplyTo<Result<String, AppendError>>),
    Delete(ReplyTo<String>),
    Read(ReplyTo<String>),
    Lock,
    Unlock,
    /// Waits while the note is locked.
    WhenUnlocked(ReplyTo<String>),
    Nonsense,
    /// Hears of the end of another note.
    Watch(ActorRef<NoteCommand>),
    Stop,
}

impl DurableState for NoteEntity {
    type Command = NoteCommand;
    type State = Note;

    fn persistence_id(&self) -> PersistenceId {
        id()
    }

    fn handle_command(&self, note: &Note, command: NoteCommand) -> StateEffect<Self> {
        let text = |note: &Note| note.text.clone();
        match command {
            NoteCommand::Write(text_, reply_to) => {
                StateEffect::persist(Note { text: text_, ..note.clone() }).then_reply(reply_to, text)
            }
            NoteCommand::TryWrite(text_, reply_to) => StateEffect::persist(Note { text: text_, ..note.clone() })
                .then_run(|_, _| {})
                .then_reply_outcome(reply_to, |outcome| {
                    outcome.map(|note: &Note| note.text.clone()).map_err(Clone::clone)
                }),
            NoteCommand::Delete(reply_to) => StateEffect::delete().then_reply(reply_to, text),
            NoteCommand::Read(reply_to) => StateEffect::reply(reply_to, note.text.clone()),
            NoteCommand::Lock => StateEffect::persist(Note { locked: true, ..note.clone() }),
            NoteCommand::Unlock => StateEffect::persist(Note { locked: false, ..note.clone() }).then_unstash_all(),
            NoteCommand::WhenUnlocked(reply_to) if note.locked => {
                StateEffect::stash(NoteCommand::WhenUnlocked(reply_to))
            }
            NoteCommand::WhenUnlocked(reply_to) => StateEffect::reply(reply_to, note.text.clone()),
            NoteCommand::Nonsense => StateEffect::unhandled(),
            NoteCommand::Watch(other) => StateEffect::none().then_run(move |_, ctx| ctx.watch(&other)),
            NoteCommand::Stop => StateEffect::stop(),
        }
    }

    fn on_signal(&self, _note: &Note, _ctx: &mut ActorContext<NoteCommand>, signal: &PersistenceSignal) {
        self.signals.push(signal.clone());
    }
}

fn id() -> PersistenceId {
    PersistenceId::of("note", "ada")
}

/// A note over a store that fails on command.
struct Scene {
    kit: TestKit,
    states: FaultyStates<Note>,
    signals: Signals,
    note: ActorRef<NoteCommand>,
}

impl Scene {
    fn new(adapt: impl FnOnce(DurableStateBehavior<NoteEntity>) -> DurableStateBehavior<NoteEntity>) -> Self {
        let kit = TestKit::new();
        let states = FaultyStates::new(InMemoryStateStore::default());
        let signals = Signals::default();
        let entity = NoteEntity { signals: signals.clone() };
        let note = kit.spawn("ada", adapt(DurableStateBehavior::new(entity, states.clone())));
        kit.settle();
        Self { kit, states, signals, note }
    }

    fn plain() -> Self {
        Self::new(|behavior| behavior)
    }

    /// Another life of the same entity.
    fn again(&self, name: &str) -> ActorRef<NoteCommand> {
        let entity = NoteEntity { signals: Signals::default() };
        self.kit.spawn(name, DurableStateBehavior::new(entity, self.states.clone()))
    }

    fn ask<T: Send + 'static>(&self, make: impl FnOnce(ReplyTo<T>) -> NoteCommand) -> Ask<T> {
        self.note.ask(make, LONG)
    }

    fn write(&self, text: &str) -> Result<String, AskError> {
        self.kit.block_on(self.ask(|reply_to| NoteCommand::Write(text.to_owned(), reply_to)))
    }

    fn try_write(&self, text: &str) -> Result<Result<String, AppendError>, AskError> {
        self.kit.block_on(self.ask(|reply_to| NoteCommand::TryWrite(text.to_owned(), reply_to)))
    }

    fn read(&self) -> Result<String, AskError> {
        self.kit.block_on(self.ask(NoteCommand::Read))
    }

    /// The next write ends as unknown, and repeating it does not settle that.
    fn unknown_for_good(&self, stored: bool) {
        self.states.unknown_next(stored);
        (0..4).for_each(|_| self.states.fail_next(AppendError::Unavailable { reason: "as told".into() }));
    }

    fn stored(&self) -> Option<StoredState<Note>> {
        self.kit.block_on(self.states.load(id())).unwrap()
    }
}

#[test]
fn commands_become_states_and_replies() {
    let scene = Scene::plain();
    assert_eq!(scene.read(), Ok(String::new()), "the default before the first write");
    assert_eq!(scene.write("one"), Ok("one".into()));
    assert_eq!(scene.write("two"), Ok("two".into()));
    let stored = scene.stored().unwrap();
    assert_eq!((stored.revision, stored.state.unwrap().text.as_str()), (2, "two"));
    assert_eq!(scene.states.writes(), 2, "reading stores nothing");
}

/// Nothing is answered before it is durable, and no command sees a state that is not.
#[test]
fn replies_wait_for_the_store_and_so_do_later_commands() {
    let scene = Scene::plain();
    scene.states.hold();
    let written = scene.ask(|reply_to| NoteCommand::Write("one".into(), reply_to));
    let read = scene.ask(NoteCommand::Read);
    scene.kit.advance(Duration::from_secs(5));
    assert_eq!(scene.stored(), None);
    assert_eq!(scene.signals.take().len(), 1, "recovered, and nothing since");
    scene.states.release();
    assert_eq!(scene.kit.block_on(written), Ok("one".into()));
    assert_eq!(scene.kit.block_on(read), Ok("one".into()));
}

#[test]
fn a_deleted_state_is_the_default_one_and_its_revision_goes_on() {
    let scene = Scene::plain();
    scene.write("one").unwrap();
    assert_eq!(scene.kit.block_on(scene.ask(NoteCommand::Delete)), Ok(String::new()));
    assert_eq!(scene.read(), Ok(String::new()));
    let marker = scene.stored().unwrap();
    assert_eq!((marker.revision, marker.state), (2, None));
    let again = scene.again("again");
    assert_eq!(scene.kit.block_on(again.ask(NoteCommand::Read, LONG)), Ok(String::new()), "in the next life too");
    let written = again.ask(|reply_to| NoteCommand::Write("three".into(), reply_to), LONG);
    assert_eq!(scene.kit.block_on(written), Ok("three".into()));
    assert_eq!(scene.stored().unwrap().revision, 3, "no revision is used twice");
}

#[test]
fn a_new_life_has_the_state_of_the_old_one() {
    let scene = Scene::plain();
    scene.write("one").unwrap();
    scene.note.tell(NoteCommand::Stop);
    assert_eq!(scene.read(), Err(AskError::Stopped));
    let again = scene.again("again");
    // Sent before it has recovered: it waits.
    assert_eq!(scene.kit.block_on(again.ask(NoteCommand::Read, LONG)), Ok("one".into()));
    assert_eq!(scene.signals.take(), [PersistenceSignal::RecoveryCompleted { highest_seq: 0 }]);
}

#[test]
fn stashed_commands_come_back_when_told_and_unhandled_ones_are_published() {
    let scene = Scene::plain();
    let mut unhandled = scene.kit.probe::<UnhandledMessage>();
    scene.kit.system().event_stream().subscribe(&unhandled.actor_ref());
    scene.note.tell(NoteCommand::Lock);
    let waiting = scene.ask(NoteCommand::WhenUnlocked);
    scene.write("under lock").unwrap();
    scene.note.tell(NoteCommand::Nonsense);
    scene.note.tell(NoteCommand::Unlock);
    assert_eq!(scene.kit.block_on(waiting), Ok("under lock".into()));
    assert_eq!(unhandled.drain().len(), 1);
}

/// Certainly not stored: the state stays, the entity goes on, and who wants to know the reason is told.
#[test]
fn a_rejected_write_changes_nothing() {
    for error in
        [AppendError::Rejected { reason: "too large".into() }, AppendError::Unavailable { reason: "disk full".into() }]
    {
        let scene = Scene::plain();
        scene.write("one").unwrap();
        scene.signals.take();
        scene.states.fail_next(error.clone());
        assert_eq!(scene.write("x"), Err(AskError::NoReply));
        scene.states.fail_next(error.clone());
        assert_eq!(scene.try_write("x"), Ok(Err(error.clone())));
        let rejected = PersistenceSignal::PersistRejected(error);
        assert_eq!(scene.signals.take(), [rejected.clone(), rejected]);
        assert_eq!(scene.read(), Ok("one".into()));
        assert_eq!(scene.try_write("two"), Ok(Ok("two".into())), "the revision that was not used is used now");
        assert_eq!(scene.stored().unwrap().revision, 2);
    }
}

#[test]
fn an_unknown_write_stops_the_entity_and_the_store_says_what_is_true() {
    for stored in [true, false] {
        let scene = Scene::plain();
        scene.write("one").unwrap();
        scene.unknown_for_good(stored);
        let outcome = scene.try_write("two").unwrap();
        assert!(matches!(outcome, Err(AppendError::Unknown { .. })), "not told as a failure: {outcome:?}");
        assert_eq!(scene.read(), Err(AskError::Stopped), "it must not go on with either state");
        let again = scene.again("again");
        let truth = if stored { "two" } else { "one" };
        assert_eq!(scene.kit.block_on(again.ask(NoteCommand::Read, LONG)), Ok(truth.into()));
    }
}

#[test]
fn a_write_without_an_answer_is_unknown() {
    let scene = Scene::new(|behavior| behavior.write_timeout(Duration::from_secs(7)));
    scene.states.hold();
    scene.note.tell(NoteCommand::Lock);
    scene.kit.advance(Duration::from_millis(7_000));
    assert_eq!(scene.states.writes(), 2, "asked again what became of it");
    scene.kit.advance(Duration::from_millis(6_999));
    assert_eq!(scene.signals.take().len(), 1, "only recovered");
    scene.kit.advance(Duration::from_millis(2));
    assert!(matches!(scene.signals.take()[..], [PersistenceSignal::PersistFailed(AppendError::Unknown { .. })]));
}

/// The same write again settles it, unless somebody else has written since: then nobody can know.
#[test]
fn an_unknown_write_is_settled_by_asking_again_or_stays_unknown() {
    for stored in [true, false] {
        let scene = Scene::plain();
        scene.write("one").unwrap();
        scene.states.unknown_next(stored);
        assert_eq!(scene.try_write("two"), Ok(Ok("two".into())));
        assert_eq!(scene.stored().unwrap().revision, 2, "once");
    }
    let scene = Scene::plain();
    scene.states.unknown_next(true);
    scene.states.fail_next(AppendError::Conflict { expected: 1, highest: 2 });
    let outcome = scene.try_write("one").unwrap().unwrap_err();
    assert!(!outcome.is_certain(), "stored and written over, or never stored: {outcome:?}");
    assert_eq!(scene.read(), Err(AskError::Stopped));
}

/// Another writer took over: this one stops, and not even backoff brings it back.
#[test]
fn an_entity_that_lost_its_state_stops_for_good() {
    let backoff = (Duration::from_secs(1), Duration::from_secs(10));
    let scene = Scene::new(|behavior| behavior.restart_with_backoff(backoff.0, backoff.1));
    scene.write("one").unwrap();
    let successor = scene.again("successor");
    scene.kit.settle();
    assert!(matches!(scene.try_write("x"), Ok(Err(AppendError::Stale { .. }))));
    scene.kit.advance(Duration::from_secs(60));
    assert_eq!(scene.read(), Err(AskError::Stopped));
    assert_eq!(scene.kit.block_on(successor.ask(NoteCommand::Read, LONG)), Ok("one".into()), "nothing was stored");

    let scene = Scene::plain();
    scene.states.fail_next(AppendError::Conflict { expected: 1, highest: 1 });
    scene.note.tell(NoteCommand::Lock);
    assert_eq!(scene.read(), Err(AskError::Stopped), "a conflict is another writer too");
}

/// What it watched ends after it lost its state. That is no reason to start anew, for a new life would take it back.
#[test]
fn the_end_of_another_actor_takes_no_state_back() {
    let scene = Scene::new(|behavior| {
        behavior.restart_with_backoff(Duration::from_millis(10), Duration::from_millis(20)).on_not_owner(drop)
    });
    let other = scene.kit.spawn("other", DurableStateBehavior::new(Elsewhere, InMemoryStateStore::default()));
    scene.note.tell(NoteCommand::Watch(other.clone()));
    let next = scene.again("next");
    scene.kit.settle();
    assert!(matches!(scene.try_write("x"), Ok(Err(AppendError::Stale { .. }))));
    other.tell(NoteCommand::Stop);
    scene.kit.advance(Duration::from_millis(500));
    assert_eq!(scene.read(), Err(AskError::NoReply), "it is there, and hands on");
    let written = next.ask(|reply_to| NoteCommand::Write("mine".into(), reply_to), LONG);
    assert_eq!(scene.kit.block_on(written), Ok("mine".into()), "the state is still its own");
    scene.kit.advance(Duration::from_secs(2));
    assert_eq!(scene.read(), Err(AskError::Stopped));
}

/// A note of another name.
struct Elsewhere;

impl DurableState for Elsewhere {
    type Command = NoteCommand;
    type State = Note;

    fn persistence_id(&self) -> PersistenceId {
        PersistenceId::of("note", "grace")
    }

    fn handle_command(&self, _: &Note, _: NoteCommand) -> StateEffect<Self> {
        StateEffect::stop()
    }
}

#[test]
fn an_entity_can_write_with_its_shards_fence() {
    let kit = TestKit::new();
    let states = InMemoryStateStore::<Note>::default();
    let claim = || -> Fence { kit.block_on(states.claim(FenceScope::shard_of(&id()))).unwrap() };
    let entity = NoteEntity { signals: Signals::default() };
    let note = kit.spawn("ada", DurableStateBehavior::new(entity, states.clone()).fence(claim()));
    let write = |text: &str| kit.block_on(note.ask(|reply_to| NoteCommand::Write(text.to_owned(), reply_to), LONG));
    assert_eq!(write("one"), Ok("one".into()));
    claim();
    assert_eq!(write("two"), Err(AskError::NoReply));
    assert_eq!(kit.block_on(states.load(id())).unwrap().unwrap().revision, 1);
}

/// A store that is down is tried again with patience; one that is damaged parks the entity.
#[test]
fn a_recovery_that_fails_is_tried_again_or_parked() {
    let scene = Scene::new(|behavior| {
        let behavior = behavior.recovery_limit(RecoveryLimit::new(1)).recovery_timeout(Duration::from_secs(5));
        behavior.restart_with_backoff(Duration::from_secs(1), Duration::from_secs(2))
    });
    scene.write("one").unwrap();
    scene.unknown_for_good(false);
    for _ in 0..5 {
        scene.states.fail_next_read(JournalError::Unavailable { reason: "down".into() });
    }
    scene.note.tell(NoteCommand::Lock);
    assert_eq!(scene.read(), Ok("one".into()), "it came back once the store did");

    let parked = Scene::new(|behavior| behavior.restart_with_backoff(Duration::from_secs(1), Duration::from_secs(2)));
    parked.unknown_for_good(false);
    let (place, reason) = ("row 1".to_owned(), "checksum".to_owned());
    for _ in 0..3 {
        parked.states.fail_next_read(JournalError::Damaged {
            id: id(),
            seq_nr: 1,
            place: place.clone(),
            reason: reason.clone(),
        });
    }
    parked.note.tell(NoteCommand::Lock);
    parked.kit.advance(Duration::from_secs(60));
    assert_eq!(parked.read(), Err(AskError::Stopped), "three equal failures that time does not cure");
}

#[test]
fn handlers_are_tested_as_functions() {
    let entity = NoteEntity { signals: Signals::default() };
    let effect = entity.handle_command(&Note::default(), NoteCommand::Lock);
    assert_eq!(effect.state(), Some(&Note { locked: true, ..Note::default() }));
    assert!(!effect.deletes());
    let (reply_to, _) = ReplyTo::channel();
    assert!(entity.handle_command(&Note::default(), NoteCommand::Delete(reply_to)).deletes());
}

/// The whole way: an entity, its codec and the disk.
#[tokio::test]
async fn a_state_survives_the_process_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    for (life, (text, before)) in [("one", ""), ("two", "one")].into_iter().enumerate() {
        let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
        let states = Coded::new(store.clone(), MessagePack::<Note>::new("note", 1));
        let system = actors::ActorSystem::new(format!("life-{life}"));
        let entity = NoteEntity { signals: Signals::default() };
        let note = system.spawn("ada", DurableStateBehavior::new(entity, states));
        assert_eq!(note.ask(NoteCommand::Read, LONG).await, Ok(before.to_owned()));
        assert_eq!(note.ask(|reply_to| NoteCommand::Write(text.into(), reply_to), LONG).await, Ok(text.to_owned()));
        system.terminate().await;
        store.close().await;
    }
}

/// One command of a random run, and what the store does with its write.
#[derive(Clone, Copy, Debug)]
enum Step {
    Stored,
    Deleted,
    Rejected,
    UnknownStored,
    UnknownLost,
    UnknownForGood(bool),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the store answers: a reply means stored, a certain failure means not, an unknown one is settled by the
    /// store; the state is what is stored, and the revision counts the writes.
    #[test]
    fn the_state_is_what_is_stored(steps in proptest::collection::vec(step(), 1..30)) {
        let scene = Scene::new(|behavior| {
            behavior.restart_with_backoff(Duration::from_millis(10), Duration::from_millis(20))
        });
        let (mut expected, mut revision) = (String::new(), 0);
        for (count, step) in steps.into_iter().enumerate() {
            match step {
                Step::Stored | Step::Deleted => {}
                Step::Rejected => scene.states.reject_next("as told"),
                Step::UnknownStored => scene.states.unknown_next(true),
                Step::UnknownLost => scene.states.unknown_next(false),
                Step::UnknownForGood(stored) => scene.unknown_for_good(stored),
            }
            let text = count.to_string();
            let answer = match step {
                Step::Deleted => scene.kit.block_on(scene.ask(NoteCommand::Delete)),
                _ => scene.write(&text),
            };
            match step {
                Step::Deleted => expected.clear(),
                Step::Rejected | Step::UnknownForGood(false) => {}
                _ => expected = text,
            }
            revision += u64::from(!matches!(step, Step::Rejected | Step::UnknownForGood(false)));
            let told = !matches!(step, Step::Rejected | Step::UnknownForGood(_));
            prop_assert_eq!(answer, if told { Ok(expected.clone()) } else { Err(AskError::NoReply) });
            prop_assert_eq!(scene.read(), Ok(expected.clone()));
            prop_assert_eq!(scene.stored().map_or(0, |stored| stored.revision), revision);
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Stored),
        1 => Just(Step::Deleted),
        1 => Just(Step::Rejected),
        1 => Just(Step::UnknownStored),
        1 => Just(Step::UnknownLost),
        1 => any::<bool>().prop_map(Step::UnknownForGood),
    ]
}
