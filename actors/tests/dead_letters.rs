//! Every message is handled or counted, with one reason.

use actors::testkit::TestKit;
use actors::{DeadLetter, DeadLetterReason, Mailbox, Props, UnhandledMessage};

use crate::script::{Diary, Order, Scripted};

#[test]
fn a_message_to_a_stopped_actor_is_counted_and_published() {
    let kit = TestKit::new();
    let mut letters = kit.probe::<DeadLetter>();
    kit.system().event_stream().subscribe(&letters.actor_ref());
    kit.system().event_stream().subscribe(&letters.actor_ref()); // twice is once
    let actor = kit.spawn("actor", Scripted::new("it", &Diary::default()));
    actor.tell(Order::Stop);
    actor.tell(Order::note("behind the stop"));
    kit.settle();
    actor.tell(Order::note("after the stop"));
    assert!(actor.try_tell(Order::note("handed back, so not counted")).is_err());

    let read: Vec<(String, DeadLetterReason)> =
        letters.drain().into_iter().map(|letter| (letter.recipient.to_string(), letter.reason)).collect();
    let to = "/user/actor".to_owned();
    assert_eq!(read, [(to.clone(), DeadLetterReason::StoppedBefore), (to, DeadLetterReason::Stopped)]);
    assert_eq!(kit.system().event_stream().dead_letters_total(), 2);
}

#[test]
fn sent_is_handled_plus_counted() {
    const SENT: u64 = 1_000;
    let kit = TestKit::new();
    let diary = Diary::default();
    let made = diary.clone();
    let props = Props::new(move || Scripted::new("it", &made)).mailbox(Mailbox::bounded(100));
    let actor = kit.spawn("actor", props);
    for number in 0..SENT {
        if number == 950 {
            actor.tell(Order::Stop);
        }
        actor.tell(Order::note(number));
        if number % 150 == 0 {
            kit.settle();
        }
    }
    kit.settle();
    let handled = diary.read().iter().filter(|entry| entry.as_str() != "it started").count() - 2; // post-stop, dropped
    let events = kit.system().event_stream();
    assert!(events.dead_letters(DeadLetterReason::MailboxFull) > 0);
    assert!(events.dead_letters(DeadLetterReason::StoppedBefore) > 0);
    assert_eq!(handled as u64 + events.dead_letters_total(), SENT);
}

#[test]
fn a_subscriber_without_room_does_not_make_more_of_them() {
    let kit = TestKit::new();
    let events = kit.system().event_stream();
    let props = Props::new(Busy::default).mailbox(Mailbox::bounded(1));
    let busy = kit.spawn("busy", props);
    events.subscribe(&busy);
    let gone = kit.spawn("gone", Scripted::new("gone", &Diary::default()));
    gone.tell(Order::Stop);
    kit.settle();
    for _ in 0..5 {
        gone.tell(Order::note("lost"));
    }
    assert_eq!(events.dead_letters_total(), 5);
    assert_eq!(events.events_dropped(), 4);
}

#[derive(Default)]
struct Busy;

impl actors::Actor for Busy {
    type Message = DeadLetter;

    async fn receive(&mut self, _ctx: &mut actors::ActorContext<DeadLetter>, _: DeadLetter) -> actors::Handled {
        Ok(actors::Behavior::Same)
    }
}

#[test]
fn an_unhandled_message_is_published() {
    let kit = TestKit::new();
    let mut unhandled = kit.probe::<UnhandledMessage>();
    kit.system().event_stream().subscribe(&unhandled.actor_ref());
    let actor = kit.spawn("actor", Scripted::new("it", &Diary::default()));
    actor.tell(Order::Do(Box::new(|_, _| Ok(actors::Behavior::Unhandled))));
    assert_eq!(unhandled.expect_message().recipient, *actor.path());
    assert!(!actor.is_stopped());
}
