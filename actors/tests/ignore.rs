//! References that drop what they are told, and references for a part of a protocol.

use std::sync::Arc;
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{ActorRef, ActorSystem, AskError, Behavior, DeadLetter, FnActor, Handled, ReplyTo};

const WITHIN: Duration = Duration::from_secs(5);

#[test]
fn what_nobody_is_told_is_dropped_and_no_dead_letter() {
    let kit = TestKit::new();
    let mut dead_letters = kit.probe::<DeadLetter>();
    kit.system().event_stream().subscribe(&dead_letters.actor_ref());
    let told = Arc::new(());
    let nobody: ActorRef<Arc<()>> = kit.system().ignore_ref();
    for _ in 0..100_000 {
        nobody.tell(told.clone());
    }
    nobody.try_tell(told.clone()).unwrap();
    kit.block_on(nobody.send(told.clone())).unwrap();
    nobody.map(|message| message).tell(told.clone());
    assert_eq!(Arc::strong_count(&told), 1, "nothing is kept");
    assert_eq!(dead_letters.drain(), []);
    assert_eq!(kit.system().event_stream().dead_letters_total(), 0);
}

#[test]
fn nobody_answers_and_the_asker_need_not_wait_to_learn_so() {
    let kit = TestKit::new();
    let nobody = ActorRef::<ReplyTo<u32>>::ignore(kit.system());
    let before = kit.clock().now();
    let answer = kit.block_on(nobody.ask(|reply_to| reply_to, WITHIN));
    assert_eq!((answer, kit.clock().now() - before), (Err(AskError::NoReply), Duration::ZERO));
}

#[test]
fn nobody_is_one_per_system_and_never_terminates() {
    let kit = TestKit::new();
    let nobody: ActorRef<u32> = kit.system().ignore_ref();
    assert_eq!(nobody, kit.system().ignore_ref::<String>().map(|number: u32| number.to_string()));
    let other =
        ActorSystem::builder("other").runtime(kit.system().runtime().clone()).clock(kit.clock().clone()).seed(7);
    assert_ne!(nobody, other.start().ignore_ref());
    assert_eq!(nobody.path().as_str(), "/system/ignore");

    let mut told = kit.probe();
    let (watched, to) = (nobody.clone(), told.actor_ref());
    let watcher = FnActor::new((), move |(), ctx, ()| -> Handled {
        ctx.watch(&watched);
        to.tell("watching");
        Ok(Behavior::Same)
    });
    let watcher = kit.spawn("watcher", watcher);
    watcher.tell(());
    assert_eq!(told.drain(), ["watching"]);
    kit.block_on(kit.system().terminate());
    assert!(watcher.is_stopped() && !nobody.is_stopped());
    nobody.tell(1);
    assert_eq!(kit.system().event_stream().dead_letters_total(), 0);
}

/// All a door understands; a caller gets to see a part.
#[derive(Debug, PartialEq)]
enum DoorMessage {
    Open(Open),
    Demolish,
}

#[derive(Debug, PartialEq)]
struct Open;

impl From<Open> for DoorMessage {
    fn from(open: Open) -> Self {
        Self::Open(open)
    }
}

#[test]
fn a_part_of_a_protocol_is_handed_out_without_naming_how_it_fits() {
    let kit = TestKit::new();
    let mut door = kit.probe::<DoorMessage>();
    let opener: ActorRef<Open> = door.actor_ref().narrow();
    assert_eq!(opener.path(), door.actor_ref().path());
    opener.tell(Open);
    door.actor_ref().tell(DoorMessage::Demolish);
    assert_eq!(door.drain(), [DoorMessage::Open(Open), DoorMessage::Demolish]);
}
