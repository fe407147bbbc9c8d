//! What becomes of messages a handler failed on.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorRef, ActorSystem, Behavior, BoxError, DeadLetterReason, FailedMessage, Handled,
    ParkedMessage, Props, ReplayError, StashBuffer, SupervisorStrategy,
};

use crate::script::Diary;

/// Fails on some messages until told otherwise.
struct Picky {
    diary: Diary,
    life: u32,
    stash: StashBuffer<Item>,
}

#[derive(Clone, Debug, PartialEq)]
enum Item {
    Good(&'static str),
    /// Fails each time.
    Bad(&'static str),
    Panic,
    /// Fails in every life before this one.
    BadUntil(u32),
    Stash(Box<Item>),
    Unstash,
    /// Sends itself one that fails, past the mailbox.
    Pipe,
}

impl Actor for Picky {
    type Message = Item;

    async fn receive(&mut self, ctx: &mut ActorContext<Item>, item: Item) -> Handled {
        self.diary.note(format!("{}: {item:?}", self.life));
        match item {
            Item::Good(_) => {}
            Item::Bad(why) => return Err(BoxError::from(why)),
            Item::Panic => panic!("oh"),
            Item::BadUntil(life) if self.life < life => return Err(BoxError::from("not yet")),
            Item::BadUntil(_) => {}
            Item::Stash(item) => self.stash.stash(*item)?,
            Item::Pipe => {
                ctx.pipe_to_self(async {}, |()| Item::Bad("piped"));
                ctx.clock().sleep(Duration::from_secs(1)).await; // by then it is there, and comes next
            }
            Item::Unstash => ctx.unstash_all(&mut self.stash),
        }
        Ok(Behavior::Same)
    }
}

fn picky(diary: &Diary) -> Props<Picky> {
    let diary = diary.clone();
    let mut life = 0;
    let props = Props::new(move || {
        life += 1;
        Picky { diary: diary.clone(), life, stash: StashBuffer::with_capacity(10) }
    });
    props.supervise(SupervisorStrategy::restart())
}

struct Stage {
    kit: TestKit,
    diary: Diary,
    actor: ActorRef<Item>,
}

impl Stage {
    fn new(what: FailedMessage) -> Self {
        Self::shaped(|props| props.on_failed_message(what))
    }

    fn shaped(shape: impl FnOnce(Props<Picky>) -> Props<Picky>) -> Self {
        let kit = TestKit::new();
        let diary = Diary::default();
        let actor = kit.spawn("picky", shape(picky(&diary)));
        Self { kit, diary, actor }
    }

    fn tell(&self, items: impl IntoIterator<Item = Item>) -> Vec<String> {
        items.into_iter().for_each(|item| self.actor.tell(item));
        self.kit.settle();
        self.diary.read()
    }

    fn dead(&self, reason: DeadLetterReason) -> u64 {
        self.kit.system().event_stream().dead_letters(reason)
    }

    fn parked(&self) -> Vec<ParkedMessage> {
        self.kit.system().parking_lot().list()
    }
}

#[test]
fn by_default_the_message_is_gone() {
    let stage = Stage::new(FailedMessage::Drop);
    assert_eq!(stage.tell([Item::Bad("no"), Item::Good("next")]), ["1: Bad(\"no\")", "2: Good(\"next\")"]);
}

#[test]
fn a_redelivered_message_comes_before_all_that_waits() {
    let stage = Stage::new(FailedMessage::Redeliver { max: 5 });
    let told = stage.tell([Item::BadUntil(3), Item::Good("next")]);
    assert_eq!(told, ["1: BadUntil(3)", "2: BadUntil(3)", "3: BadUntil(3)", "3: Good(\"next\")"]);
    assert_eq!(stage.dead(DeadLetterReason::Failed), 0);
}

#[test]
fn a_message_that_always_fails_is_given_up_and_counted() {
    let stage = Stage::new(FailedMessage::Redeliver { max: 2 });
    let told = stage.tell([Item::Bad("no"), Item::Panic, Item::Good("next")]);
    let bad = |life| format!("{life}: Bad(\"no\")");
    let panic = |life| format!("{life}: Panic");
    let expected = [bad(1), bad(2), bad(3), panic(4), panic(5), panic(6), "7: Good(\"next\")".to_owned()];
    assert_eq!(told, expected, "each has attempts of its own");
    assert_eq!(stage.dead(DeadLetterReason::Failed), 2);
}

#[test]
fn a_resumed_actor_gets_it_again_with_the_same_state() {
    let stage = Stage::shaped(|props| {
        props.supervise(SupervisorStrategy::resume()).on_failed_message(FailedMessage::Redeliver { max: 1 })
    });
    assert_eq!(
        stage.tell([Item::Bad("no"), Item::Good("next")]),
        ["1: Bad(\"no\")", "1: Bad(\"no\")", "1: Good(\"next\")"]
    );
}

#[test]
fn an_actor_that_stops_gets_nothing_again() {
    let stage = Stage::shaped(|props| {
        props.supervise(SupervisorStrategy::stop()).on_failed_message(FailedMessage::Redeliver { max: 9 })
    });
    assert_eq!(stage.tell([Item::Bad("no")]), ["1: Bad(\"no\")"]);
    assert_eq!(stage.dead(DeadLetterReason::Failed), 1);
}

#[test]
fn one_stopped_before_it_could_try_again_lets_go_of_the_message_once() {
    let minute = Duration::from_secs(60);
    let stage = Stage::shaped(|props| {
        props
            .supervise(SupervisorStrategy::restart_with_backoff(minute, minute))
            .on_failed_message(FailedMessage::Redeliver { max: 9 })
    });
    stage.tell([Item::Bad("no")]);
    stage.kit.system().stop(&stage.actor);
    stage.kit.settle();
    assert!(stage.actor.is_stopped());
    assert_eq!(stage.kit.system().event_stream().dead_letters_total(), 1);
    assert_eq!(stage.dead(DeadLetterReason::StoppedBefore), 1);
}

#[test]
fn what_was_stashed_is_covered_too() {
    let stage = Stage::new(FailedMessage::Redeliver { max: 1 });
    let stash = |item| Item::Stash(Box::new(item));
    let told = stage.tell([stash(Item::BadUntil(2)), stash(Item::Good("then")), Item::Unstash, Item::Good("next")]);
    assert_eq!(told[3..], ["1: BadUntil(2)", "2: BadUntil(2)", "2: Good(\"then\")", "2: Good(\"next\")"]);
}

#[test]
fn a_failure_over_something_else_does_not_bring_the_message_before_it_back() {
    let stage = Stage::new(FailedMessage::Redeliver { max: 5 });
    stage.tell([Item::Pipe]);
    stage.kit.advance(Duration::from_secs(10));
    assert_eq!(stage.diary.read(), ["1: Bad(\"piped\")"]);
    assert_eq!(stage.tell([Item::Good("next")]), ["2: Good(\"next\")"]);
}

#[test]
fn a_parked_message_is_listed_and_replayed() {
    let stage = Stage::new(FailedMessage::Park);
    let mut events = stage.kit.probe::<ParkedMessage>();
    stage.kit.system().event_stream().subscribe(&events.actor_ref());
    assert_eq!(stage.tell([Item::BadUntil(2), Item::Good("next")]), ["1: BadUntil(2)", "2: Good(\"next\")"]);
    let parked = stage.parked();
    let [message] = &parked[..] else { panic!("one is parked: {parked:?}") };
    assert_eq!((message.cause.as_str(), message.attempts), ("not yet", 1));
    assert_eq!(message.recipient, *stage.actor.path());
    assert!(message.message_type.ends_with("Item"));
    assert_eq!(events.drain(), parked);

    let lot = stage.kit.system().parking_lot();
    assert_eq!(lot.replay(message.id), Ok(()));
    assert_eq!(stage.tell([]), ["2: BadUntil(2)"]);
    assert!(lot.is_empty());
    assert_eq!(lot.replay(message.id), Err(ReplayError::NotParked { id: message.id }));
}

#[test]
fn an_actor_that_stops_over_a_message_parks_it_for_its_successor() {
    let stage = Stage::shaped(|props| {
        props.supervise(SupervisorStrategy::stop()).on_failed_message(FailedMessage::RedeliverThenPark { max: 3 })
    });
    stage.tell([Item::BadUntil(2)]);
    let lot = stage.kit.system().parking_lot();
    let id = stage.parked()[0].id;
    assert_eq!(lot.replay(id), Err(ReplayError::Stopped { id }));
    let mut other = stage.kit.probe::<u64>();
    let message_type = std::any::type_name::<Item>();
    assert_eq!(lot.replay_to(id, &other.actor_ref()), Err(ReplayError::OtherType { id, message_type }));
    assert_eq!(other.drain(), []);
    let mut successor = stage.kit.probe::<Item>();
    assert_eq!(lot.replay_to(id, &successor.actor_ref()), Ok(()));
    assert_eq!(successor.drain(), [Item::BadUntil(2)]);
}

#[test]
fn redelivered_then_parked() {
    let stage = Stage::new(FailedMessage::RedeliverThenPark { max: 1 });
    assert_eq!(stage.tell([Item::Bad("no")]), ["1: Bad(\"no\")", "2: Bad(\"no\")"]);
    assert_eq!(stage.parked()[0].attempts, 2);
    assert!(stage.kit.system().parking_lot().discard(stage.parked()[0].id));
    assert_eq!(stage.parked(), []);
}

#[test]
fn the_lot_is_bounded_and_ends_with_its_system() {
    let kit = TestKit::new();
    let system = ActorSystem::builder("small")
        .runtime(kit.system().runtime().clone())
        .clock(kit.clock().clone())
        .parking_lot_capacity(2)
        .start();
    let actor = system.spawn("picky", picky(&Diary::default()).on_failed_message(FailedMessage::Park));
    ["one", "two", "three"].into_iter().for_each(|why| actor.tell(Item::Bad(why)));
    kit.settle();
    let causes: Vec<String> = system.parking_lot().list().into_iter().map(|message| message.cause).collect();
    assert_eq!(causes, ["one", "two"]);
    assert_eq!(system.event_stream().dead_letters(DeadLetterReason::ParkingLotFull), 1);
    kit.block_on(system.terminate());
    assert!(system.parking_lot().is_empty());
}
