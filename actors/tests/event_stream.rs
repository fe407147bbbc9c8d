//! Publish and subscribe: who is kept, and what may run in between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use actors::testkit::TestKit;
use actors::{ActorRef, DeadLetter};

use crate::script::{Diary, LogOf, Order, Scripted};

#[derive(Clone)]
struct News;

/// A subscriber that writes the news into the diary, and whether anybody still keeps it.
fn reader(kit: &TestKit, name: &str, diary: &Diary) -> (ActorRef<Order>, ActorRef<News>, Weak<()>) {
    let kept = Arc::new(());
    let is_kept = Arc::downgrade(&kept);
    let actor = kit.spawn(name, Scripted::new(name, diary));
    let reader = actor.map(move |News| {
        let _kept = &kept;
        Order::note("news")
    });
    (actor, reader, is_kept)
}

fn is_kept(reader: &Weak<()>) -> bool {
    reader.strong_count() > 0
}

#[test]
fn a_subscriber_that_stopped_is_let_go_when_another_one_comes() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let events = kit.system().event_stream();
    let (actor, first, first_kept) = reader(&kit, "first", &diary);
    let (_, second, second_kept) = reader(&kit, "second", &diary);
    events.subscribe(&first);
    drop(first);
    actor.tell(Order::Stop);
    kit.settle();
    assert!(is_kept(&first_kept), "nothing was published: nobody noticed");
    events.subscribe(&second);
    drop(second);
    assert!(!is_kept(&first_kept));
    assert!(is_kept(&second_kept));
}

#[test]
fn a_system_that_has_ended_keeps_no_subscriber() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let events = kit.system().event_stream();
    let (_, before, before_kept) = reader(&kit, "before", &diary);
    events.subscribe(&before);
    // Never stops by itself, and is part of the system it is subscribed to.
    events.subscribe(&kit.probe::<News>().actor_ref());
    kit.block_on(kit.system().terminate());
    drop(before);
    assert!(!is_kept(&before_kept));

    let (_, after, after_kept) = reader(&kit, "after", &diary);
    events.subscribe(&after);
    drop(after);
    assert!(!is_kept(&after_kept), "there will be no more news");
}

#[test]
fn a_subscriber_may_subscribe_and_unsubscribe_while_it_is_told() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let system = kit.system().clone();
    let (actor, other, _) = reader(&kit, "reader", &diary);
    let (meddling, this) = (system.clone(), actor.clone());
    let meddler = kit.spawn("meddler", Scripted::new("meddler", &diary)).map(move |News| {
        meddling.event_stream().subscribe(&other);
        meddling.event_stream().unsubscribe(&this.map(|News| Order::Stop));
        meddling.event_stream().subscribe(&other);
        Order::note("news")
    });
    system.event_stream().subscribe(&meddler);
    kit.settle();
    diary.read();
    system.event_stream().publish(News);
    system.event_stream().publish(News);
    kit.settle();
    assert_eq!(diary.read(), ["meddler news", "meddler news", "reader news"]);
}

#[test]
fn a_subscriber_that_panics_while_it_is_told_does_not_take_the_publisher_along() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let letters = kit.spawn("letters", Scripted::new("letters", &diary));
    kit.system().event_stream().subscribe(&letters.map(|_: DeadLetter| panic!("cannot read")));
    let parent = kit.spawn("parent", Scripted::new("parent", &Diary::default()));
    parent.tell(Order::Stop);
    parent.tell(Order::note("never handled"));
    kit.probe::<()>().expect_terminated(&parent);
}

#[test]
fn a_log_may_lose_messages_while_a_lost_message_is_logged() {
    let kit = TestKit::new();
    let gone = kit.spawn("gone", Scripted::new("gone", &Diary::default()));
    gone.tell(Order::Stop);
    kit.settle();
    let (lost, to) = (AtomicBool::new(false), gone.clone());
    let log = LogOf(move || {
        // Loses a message of its own at the first line.
        if !lost.swap(true, Ordering::Relaxed) {
            to.tell(Order::note("a line"));
        }
    });
    tracing::subscriber::with_default(log, || gone.tell(Order::note("lost")));
    assert_eq!(kit.system().event_stream().dead_letters_total(), 2);
}
