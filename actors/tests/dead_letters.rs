//! Every message is handled or counted, with one reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actors::testkit::TestKit;
use actors::{DeadLetter, DeadLetterReason, Mailbox, Props, SuppressedDeadLetter, UnhandledMessage};

use crate::script::{Diary, LogOf, Order, Scripted};

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

#[test]
fn a_dead_letter_names_its_sender_where_an_actor_sent_it_in_vain() {
    let kit = TestKit::new();
    let mut letters = kit.probe::<DeadLetter>();
    kit.system().event_stream().subscribe(&letters.actor_ref());
    let gone = kit.spawn("gone", Scripted::new("gone", &Diary::default()));
    let sender = kit.spawn("sender", Scripted::new("sender", &Diary::default()));
    gone.tell(Order::Stop);
    gone.tell(Order::note("accepted, so nobody knows any more who sent it"));
    kit.settle();
    let to = gone.clone();
    sender.tell(Order::run(move |_, _| to.tell(Order::note("refused"))));
    kit.settle();
    gone.tell(Order::note("from outside any actor"));
    let senders: Vec<_> = letters.drain().into_iter().map(|letter| letter.sender).collect();
    assert_eq!(senders, [None, Some(sender.path().clone()), None]);
}

#[test]
fn a_letter_that_is_late_without_harm_is_counted_and_published_apart() {
    let kit = TestKit::new();
    let events = kit.system().event_stream();
    let mut letters = kit.probe::<DeadLetter>();
    let mut suppressed = kit.probe::<SuppressedDeadLetter>();
    events.subscribe(&letters.actor_ref());
    events.subscribe(&suppressed.actor_ref());
    events.suppress_dead_letters::<Order>();
    let gone = kit.spawn("gone", Scripted::new("gone", &Diary::default()));
    gone.tell(Order::Stop);
    kit.settle();
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.log(), || gone.tell(Order::note("late")));
    assert_eq!(letters.drain(), []);
    let SuppressedDeadLetter(letter) = suppressed.expect_message();
    assert_eq!((letter.recipient, letter.reason), (gone.path().clone(), DeadLetterReason::Stopped));
    assert_eq!((events.dead_letters_total(), lines.count()), (1, 0));
}

/// Counts lines of logs.
#[derive(Default)]
struct Lines(Arc<AtomicUsize>);

impl Lines {
    fn log(&self) -> LogOf<impl Fn() + Send + Sync + 'static> {
        let lines = self.0.clone();
        LogOf(move || {
            lines.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn a_system_that_ends_logs_no_dead_letters_and_counts_them() {
    let kit = TestKit::new();
    let gone = kit.spawn("gone", Scripted::new("gone", &Diary::default()));
    gone.tell(Order::Stop);
    kit.settle();
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.log(), || gone.tell(Order::note("logged")));
    assert_eq!(lines.count(), 1);
    kit.block_on(kit.system().terminate());
    tracing::subscriber::with_default(lines.log(), || gone.tell(Order::note("counted")));
    assert_eq!(lines.count(), 1);
    assert_eq!(kit.system().event_stream().dead_letters_total(), 2);
}

#[test]
fn the_messages_that_wait_can_be_counted() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let props = Props::new(move || Scripted::new("it", &diary)).mailbox(Mailbox::bounded(8));
    let actor = kit.spawn("actor", props);
    assert_eq!(actor.queued(), 0);
    for number in 0..3 {
        actor.tell(Order::note(number));
    }
    let (this, seen) = (actor.clone(), kit.probe::<usize>());
    let tell = seen.actor_ref();
    actor.tell(Order::run(move |_, _| tell.tell(this.queued())));
    actor.tell(Order::note("behind"));
    assert_eq!(actor.map(|note: String| Order::Note(note)).queued(), 5);
    kit.settle();
    assert_eq!((actor.queued(), { seen }.expect_message()), (0, 1));
}
