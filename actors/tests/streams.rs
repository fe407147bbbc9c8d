//! Actors at the ends of streams.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use actors::testkit::{TestKit, TestProbe};
use actors::{
    AcknowledgedSink, Actor, ActorContext, ActorRef, ActorSink, ActorSource, AskError, Behavior, DeadLetterReason,
    FnActor, Handled, Mailbox, Overflow, Props, ReplyTo, Stopped, SupervisorStrategy, TryTellError,
};
use futures_util::{SinkExt, StreamExt, stream};

const SECOND: Duration = Duration::from_secs(1);

/// Takes a second over each word and passes it on.
struct Reader {
    told: ActorRef<String>,
}

impl Actor for Reader {
    type Message = &'static str;

    async fn receive(&mut self, ctx: &mut ActorContext<&'static str>, word: &'static str) -> Handled {
        ctx.clock().sleep(SECOND).await;
        self.told.tell(word.to_owned());
        match word {
            "stop" => Ok(Behavior::Stopped),
            "fail" => Err("told to".into()),
            _ => Ok(Behavior::Same),
        }
    }
}

/// A reader two words may wait for.
fn reader(kit: &TestKit, told: ActorRef<String>) -> ActorRef<&'static str> {
    let props = Props::new(move || Reader { told: told.clone() }).mailbox(Mailbox::bounded(2));
    kit.spawn("reader", props.supervise(SupervisorStrategy::restart()))
}

#[test]
fn a_sink_waits_for_room_and_keeps_the_order() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let mut sink = ActorSink::new(reader(&kit, probe.actor_ref()));
    let mut words = stream::iter(["a", "b", "fail", "d", "e", "f"]).map(Ok);
    let before = kit.clock().now();
    run(&kit, sink.send_all(&mut words)).unwrap();
    assert_eq!(kit.clock().now() - before, SECOND * 3, "one in hand and two in the mailbox are not waited for");
    kit.advance(SECOND * 3);
    assert_eq!(probe.drain(), ["a", "b", "fail", "d", "e", "f"]);
    assert_eq!(kit.system().event_stream().dead_letters_total(), 0);
}

#[test]
fn a_dropped_future_of_a_sink_loses_nothing_and_sends_nothing_twice() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let mut sink = ActorSink::new(reader(&kit, probe.actor_ref()));
    run(&kit, sink.send_all(&mut stream::iter(["a", "b"]).map(Ok))).unwrap();
    assert_eq!(run(&kit, once(sink.send("c"))), None);
    run(&kit, sink.send("d")).unwrap();
    kit.advance(SECOND * 10);
    assert_eq!(probe.drain(), ["a", "b", "c", "d"]);
}

#[test]
fn a_stopped_actor_gives_the_element_back() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let mut sink = ActorSink::new(reader(&kit, probe.actor_ref()));
    // The first is in hand soon, the others fill the mailbox.
    run(&kit, sink.send_all(&mut stream::iter(["stop", "b", "c"]).map(Ok))).unwrap();
    assert_eq!(run(&kit, sink.send("waits for room")), Err(Stopped("waits for room")));
    assert_eq!(run(&kit, sink.send("late")), Err(Stopped("late")));
    assert_eq!(run(&kit, sink.close()), Ok(()), "there is nothing left to send");
    assert_eq!(probe.drain(), ["stop"]);
}

/// Keeps what it is given until told which to acknowledge.
#[derive(Default)]
struct Clerk {
    kept: Vec<(u32, ReplyTo<()>)>,
}

enum ClerkMessage {
    Paper(u32, ReplyTo<()>),
    Acknowledge(u32),
    Kept(ReplyTo<Vec<u32>>),
    Fail,
    Stop,
}
use ClerkMessage::{Acknowledge, Fail, Kept, Paper};

impl Actor for Clerk {
    type Message = ClerkMessage;

    async fn receive(&mut self, _ctx: &mut ActorContext<ClerkMessage>, message: ClerkMessage) -> Handled {
        match message {
            Paper(number, reply_to) => self.kept.push((number, reply_to)),
            Acknowledge(number) => {
                let at = self.kept.iter().position(|(kept, _)| *kept == number).unwrap();
                self.kept.remove(at).1.tell(());
            }
            Kept(reply_to) => reply_to.tell(self.kept.iter().map(|(number, _)| *number).collect()),
            Fail => return Err("told to".into()),
            ClerkMessage::Stop => return Ok(Behavior::Stopped),
        }
        Ok(Behavior::Same)
    }
}

type PaperSink = AcknowledgedSink<ClerkMessage, fn(u32, ReplyTo<()>) -> ClerkMessage>;

/// A clerk, and a sink to it with two papers unacknowledged at any time.
fn clerk(kit: &TestKit) -> (ActorRef<ClerkMessage>, PaperSink) {
    let props = Props::new(Clerk::default).supervise(SupervisorStrategy::restart());
    let clerk = kit.spawn("clerk", props);
    (clerk.clone(), AcknowledgedSink::new(clerk, 2, Paper))
}

fn kept(kit: &TestKit, clerk: &ActorRef<ClerkMessage>) -> Vec<u32> {
    run(kit, clerk.ask(Kept, SECOND)).unwrap()
}

#[test]
fn only_so_many_elements_are_unacknowledged_at_any_time() {
    let kit = TestKit::new();
    let (clerk, mut sink) = clerk(&kit);
    run(&kit, async {
        sink.feed(1).await.unwrap();
        sink.feed(2).await.unwrap();
        assert_eq!(once(sink.feed(3)).await, None);
    });
    assert_eq!(kept(&kit, &clerk), [1, 2]);

    clerk.tell(Acknowledge(2)); // out of order: the one before still holds its place
    kit.settle();
    assert_eq!(run(&kit, once(sink.feed(3))), None);
    assert_eq!(sink.acknowledged(), 0);

    clerk.tell(Acknowledge(1));
    run(&kit, sink.feed(3)).unwrap();
    assert_eq!((kept(&kit, &clerk), sink.acknowledged()), (vec![3], 2));
}

#[test]
fn flushing_waits_for_the_last_acknowledgement() {
    let kit = TestKit::new();
    let (clerk, mut sink) = clerk(&kit);
    run(&kit, sink.feed(1)).unwrap();
    assert!(run(&kit, kit.clock().timeout(SECOND, sink.flush())).is_err());
    clerk.tell(Acknowledge(1));
    run(&kit, sink.close()).unwrap();
    assert_eq!(sink.acknowledged(), 1);
}

#[test]
fn an_element_that_will_not_be_acknowledged_ends_the_sink() {
    for (end, expected) in [(Fail, AskError::NoReply), (ClerkMessage::Stop, AskError::Stopped)] {
        let kit = TestKit::new();
        let (clerk, mut sink) = clerk(&kit);
        run(&kit, sink.feed(1)).unwrap();
        run(&kit, sink.feed(2)).unwrap();
        clerk.tell(Acknowledge(1));
        clerk.tell(end);
        let error = run(&kit, sink.flush()).unwrap_err();
        assert_eq!(error, expected);
        assert_eq!(run(&kit, sink.feed(3)), Err(error));
        assert_eq!(run(&kit, sink.flush()), Err(error));
        assert_eq!(sink.acknowledged(), 1);
    }
}

#[test]
fn a_source_has_room_for_as_many_as_agreed_and_refuses_more() {
    let kit = TestKit::new();
    let (actor_ref, mut source) = kit.system().spawn_source::<u32>("source", 2, Overflow::Refuse);
    actor_ref.tell(1);
    actor_ref.tell(2);
    actor_ref.tell(3);
    assert_eq!(actor_ref.try_tell(4), Err(TryTellError::Full(4)));
    assert_eq!(kit.system().event_stream().dead_letters(DeadLetterReason::MailboxFull), 1);
    assert_eq!(source.len(), 2);
    assert_eq!(run(&kit, source.next()), Some(1));
    actor_ref.tell(5);
    assert_eq!(run(&kit, source.by_ref().take(2).collect::<Vec<_>>()), [2, 5]);
    assert_eq!(run(&kit, once(source.next())), None);
    for round in 0..100 {
        actor_ref.tell(round); // room does not wear out
        assert_eq!(run(&kit, source.next()), Some(round));
    }
}

#[test]
fn senders_wait_for_room_in_a_source_in_the_order_they_came() {
    let kit = TestKit::new();
    let (actor_ref, mut source) = kit.system().spawn_source::<u32>("source", 1, Overflow::Refuse);
    actor_ref.tell(0);
    run(&kit, async {
        let mut given_up = Box::pin(actor_ref.send(1));
        let (mut second, mut third) = (pin!(actor_ref.send(2)), pin!(actor_ref.send(3)));
        assert_eq!(once(given_up.as_mut()).await, None);
        assert_eq!(once(second.as_mut()).await, None);
        assert_eq!(once(third.as_mut()).await, None);
        drop(given_up);
        assert_eq!(source.next().await, Some(0));
        assert_eq!(actor_ref.try_tell(4), Err(TryTellError::Full(4)), "the room is the second's");
        second.await.unwrap();
        assert_eq!(source.next().await, Some(2));
        third.await.unwrap();
        assert_eq!(source.next().await, Some(3));
    });
}

#[test]
fn the_oldest_makes_room_for_the_newest() {
    let kit = TestKit::new();
    let (actor_ref, mut source) = kit.system().spawn_source::<u32>("source", 2, Overflow::DropOldest);
    for number in 1..=4 {
        actor_ref.try_tell(number).unwrap();
    }
    run(&kit, actor_ref.send(5)).unwrap(); // does not wait either
    assert_eq!(kit.system().event_stream().dead_letters(DeadLetterReason::Displaced), 3);
    assert_eq!(run(&kit, source.by_ref().take(2).collect::<Vec<_>>()), [4, 5]);
}

#[test]
fn a_source_that_must_not_miss_anything_ends_when_it_would() {
    let kit = TestKit::new();
    let (actor_ref, mut source) = kit.system().spawn_source::<u32>("source", 2, Overflow::Fail);
    actor_ref.tell(1);
    actor_ref.tell(2);
    assert!(!source.overflowed());
    actor_ref.tell(3);
    assert_eq!(kit.system().event_stream().dead_letters(DeadLetterReason::MailboxFull), 1);
    assert_eq!(actor_ref.try_tell(4), Err(TryTellError::Stopped(4)));
    assert_eq!(run(&kit, source.by_ref().collect::<Vec<_>>()), [1, 2]);
    kit.settle();
    assert!(source.overflowed() && actor_ref.is_stopped());
}

#[test]
fn whoever_reads_a_source_is_woken() {
    let kit = TestKit::new();
    let (actor_ref, source) = kit.system().spawn_source::<String>("source", 2, Overflow::Refuse);
    reader(&kit, actor_ref).tell("a");
    let before = kit.clock().now();
    let (first, _source) = run(&kit, source.into_future());
    assert_eq!((first.as_deref(), kit.clock().now() - before), (Some("a"), SECOND));
}

#[test]
fn a_source_ends_with_its_parent_and_what_waits_is_still_read() {
    let kit = TestKit::new();
    let mut probe = kit.probe::<(ActorRef<u32>, ActorSource<u32>)>();
    let told = probe.actor_ref();
    let parent = FnActor::new((), move |(), ctx, stop: bool| {
        if stop {
            return Ok(Behavior::Stopped);
        }
        told.tell(ctx.spawn_source("source", 10, Overflow::Refuse));
        Ok(Behavior::Same)
    });
    let parent = kit.spawn("parent", parent);
    parent.tell(false);
    let (actor_ref, mut source) = probe.expect_message();
    assert_eq!(actor_ref.path().as_str(), "/user/parent/source");
    actor_ref.tell(1);
    parent.tell(true);
    probe.expect_terminated(&actor_ref);
    assert_eq!(actor_ref.try_tell(2), Err(TryTellError::Stopped(2)));
    assert_eq!(run(&kit, source.by_ref().collect::<Vec<_>>()), [1]);
    assert!(!source.overflowed());
}

#[test]
fn dropping_a_source_stops_its_actor_and_what_waits_is_dead() {
    let kit = TestKit::new();
    let mut probe = kit.probe::<()>();
    let (actor_ref, source) = kit.system().spawn_source::<ReplyTo<u32>>("source", 2, Overflow::Refuse);
    let answer = actor_ref.ask(|reply_to| reply_to, SECOND);
    let other = actor_ref.clone();
    let waiting = kit.system().runtime().spawn(async move {
        other.tell(ReplyTo::ignore());
        other.send(ReplyTo::ignore()).await.is_err()
    });
    kit.settle();
    drop(source);
    assert_eq!(run(&kit, answer), Err(AskError::Stopped));
    assert!(run(&kit, waiting).unwrap(), "who waited for room gets the message back");
    probe.expect_terminated(&actor_ref);
    assert_eq!(kit.system().event_stream().dead_letters(DeadLetterReason::StoppedBefore), 2);
    assert_eq!(kit.system().event_stream().dead_letters_total(), 2);
}

/// Takes a second over each number of a stream; other words are told at once.
struct Counter {
    told: ActorRef<String>,
    pulled: Arc<AtomicUsize>,
}

enum CounterMessage {
    /// Count so many, with so many on their way.
    Count(usize, usize),
    Number(usize),
    End,
    Word(&'static str),
    Fail,
    CountBadly,
}
use CounterMessage::{Count, CountBadly, Number, Word};

impl Actor for Counter {
    type Message = CounterMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<CounterMessage>, message: CounterMessage) -> Handled {
        match message {
            Count(numbers, at_most) => {
                let pulled = self.pulled.clone();
                let numbers = stream::iter(1..=numbers).inspect(move |_| {
                    pulled.fetch_add(1, Ordering::Relaxed);
                });
                ctx.pipe_stream_to_self(numbers, at_most, Number, || CounterMessage::End);
            }
            Number(number) => {
                ctx.clock().sleep(SECOND).await;
                self.told.tell(number.to_string());
            }
            CounterMessage::End => self.told.tell("end".to_owned()),
            Word(word) => self.told.tell(word.to_owned()),
            CounterMessage::Fail => return Err("told to".into()),
            CountBadly => {
                let numbers = stream::iter(1..=5).map(|number| if number == 3 { panic!("miscounted") } else { number });
                ctx.pipe_stream_to_self(numbers, 1, Number, || CounterMessage::End);
            }
        }
        Ok(Behavior::Same)
    }
}

/// A counter, what it says, and how many numbers were taken out of its stream.
fn counter(kit: &TestKit) -> (ActorRef<CounterMessage>, TestProbe<String>, impl Fn() -> usize) {
    let (probe, pulled) = (kit.probe(), Arc::new(AtomicUsize::new(0)));
    let (told, count) = (probe.actor_ref(), pulled.clone());
    let props = Props::new(move || Counter { told: told.clone(), pulled: count.clone() }).mailbox(Mailbox::bounded(3));
    let counter = kit.spawn("counter", props.supervise(SupervisorStrategy::restart()));
    (counter, probe, move || pulled.load(Ordering::Relaxed))
}

#[test]
fn a_stream_is_pulled_only_as_its_elements_are_handled() {
    for at_most in [1, 2] {
        let kit = TestKit::new();
        let (counter, mut probe, pulled) = counter(&kit);
        counter.tell(Count(5, at_most));
        kit.settle();
        assert_eq!(pulled(), at_most, "the one in hand included");
        kit.advance(SECOND);
        assert_eq!((pulled(), probe.drain()), (at_most + 1, vec!["1".to_owned()]));
        kit.advance(SECOND * 10);
        assert_eq!((pulled(), probe.drain()), (5, ["2", "3", "4", "5", "end"].map(str::to_owned).into()));
    }
}

#[test]
fn a_stream_waits_its_turn_among_other_messages() {
    let kit = TestKit::new();
    let (counter, mut probe, pulled) = counter(&kit);
    counter.tell(Count(100, 2));
    kit.settle(); // one number in hand, one in the mailbox
    counter.tell(Word("a"));
    counter.tell(Word("b")); // full
    kit.advance(SECOND * 3);
    assert_eq!(probe.drain(), ["1", "2", "a", "b", "3"]);
    assert_eq!(pulled(), 5);
    assert_eq!(kit.system().event_stream().dead_letters_total(), 0);
}

#[test]
fn a_stream_ends_with_the_life_that_wanted_it() {
    let kit = TestKit::new();
    let (counter, mut probe, pulled) = counter(&kit);
    counter.tell(Count(100, 2));
    kit.settle();
    counter.tell(CounterMessage::Fail);
    counter.tell(Word("alive"));
    kit.advance(SECOND * 60);
    assert_eq!(probe.drain(), ["1", "2", "alive"], "the third was in the mailbox when the second life began");
    assert_eq!(pulled(), 3);
    counter.tell(Count(1, 1));
    kit.advance(SECOND * 60);
    assert_eq!(probe.drain(), ["1", "end"], "another one is that life's own");
}

#[test]
fn a_panic_in_a_stream_fails_the_actor() {
    let kit = TestKit::new();
    let (counter, mut probe, _) = counter(&kit);
    counter.tell(CountBadly);
    kit.advance(SECOND * 60);
    counter.tell(Word("alive"));
    assert_eq!(probe.drain(), ["1", "2", "alive"]);
}

/// What `future` comes to, within a minute: what never comes is a failure, not a test that hangs.
fn run<F: Future>(kit: &TestKit, future: F) -> F::Output {
    kit.block_on(kit.clock().timeout(SECOND * 60, future)).expect("it comes to its end")
}

/// The output of `future` if one look at it finds it there.
async fn once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
