//! Mailboxes that know more than a number: what goes when there is no room, and bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorRef, ActorSystem, AskError, Behavior, DeadLetter, DeadLetterReason, Handled, Mailbox,
    Props, ReplyTo, Signal, TryTellError,
};
use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::sync::Semaphore;

const SECOND: Duration = Duration::from_secs(1);

/// Handles a message only when it may: each takes a permit.
struct Turnstile {
    permits: Arc<Semaphore>,
    told: ActorRef<u64>,
    ended: u64,
}

enum TurnstileMessage {
    Number(u64),
    Question(u64, ReplyTo<u64>),
    Adapter(ReplyTo<ActorRef<u32>>),
    Stream(u64),
    Watch(ActorRef<TurnstileMessage>),
    Stop,
}
use TurnstileMessage::{Adapter, Number, Question, Stop, Stream, Watch};

impl Actor for Turnstile {
    type Message = TurnstileMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<TurnstileMessage>, message: TurnstileMessage) -> Handled {
        let permits = self.permits.clone();
        permits.acquire().await.map(|permit| permit.forget())?;
        match message {
            Number(number) => self.told.tell(number),
            Question(number, reply_to) => {
                self.told.tell(number);
                reply_to.tell(number);
            }
            Adapter(reply_to) => reply_to.tell(ctx.message_adapter(|number: u32| Number(number.into()))),
            Stream(upto) => {
                ctx.pipe_stream_to_self(futures_util::stream::iter(1..=upto), 2, Number, || Number(0));
            }
            Watch(other) => ctx.watch(&other),
            Stop => return Ok(Behavior::Stopped),
        }
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, _ctx: &mut ActorContext<TurnstileMessage>, signal: Signal) -> Handled {
        if let Signal::Terminated(_) = signal {
            self.told.tell(self.ended);
        }
        Ok(Behavior::Same)
    }
}

/// What a number weighs is the number.
fn weigh(message: &TurnstileMessage) -> usize {
    match message {
        Number(number) | Question(number, _) => *number as usize,
        Adapter(_) | Stream(_) | Watch(_) | Stop => 0,
    }
}

struct Fixture {
    kit: TestKit,
    permits: Arc<Semaphore>,
    probe: actors::testkit::TestProbe<u64>,
    actor: ActorRef<TurnstileMessage>,
}

impl Fixture {
    fn new(rules: impl FnOnce(Props<Turnstile>) -> Props<Turnstile>) -> Self {
        let kit = TestKit::new();
        let probe = kit.probe();
        let permits = Arc::new(Semaphore::new(0));
        let (held, told) = (permits.clone(), probe.actor_ref());
        let props = Props::new(move || Turnstile { permits: held.clone(), told: told.clone(), ended: 1_000 });
        let actor = kit.spawn("turnstile", rules(props));
        Self { kit, permits, probe, actor }
    }

    /// It has this one in hand, and all that follow wait.
    fn occupied(rules: impl FnOnce(Props<Turnstile>) -> Props<Turnstile>) -> Self {
        let fixture = Self::new(rules);
        fixture.actor.tell(Number(0));
        fixture.kit.settle();
        fixture
    }

    fn let_pass(&mut self, many: usize) -> Vec<u64> {
        self.permits.add_permits(many);
        self.probe.drain()
    }

    fn lost(&self, reason: DeadLetterReason) -> u64 {
        self.kit.system().event_stream().dead_letters(reason)
    }
}

#[test]
fn the_oldest_goes_for_the_newest_and_is_counted_with_its_reason() {
    let mut fixture = Fixture::occupied(|props| props.mailbox(Mailbox::bounded(3).drop_oldest()));
    let letters = fixture.kit.probe::<DeadLetter>();
    fixture.kit.system().event_stream().subscribe(&letters.actor_ref());
    let first = fixture.actor.ask(|reply_to| Question(1, reply_to), SECOND);
    fixture.actor.tell(Number(2));
    for number in 3..=5 {
        assert!(fixture.actor.try_tell(Number(number)).is_ok(), "nobody is refused");
    }
    assert!(matches!(fixture.actor.send(Number(6)).now_or_never(), Some(Ok(()))), "nobody waits");
    assert_eq!(fixture.actor.queued(), 3);
    assert_eq!(fixture.kit.block_on(first), Err(AskError::Full), "whoever asked learns at once");
    assert_eq!(fixture.let_pass(9), [0, 4, 5, 6]);
    assert_eq!(fixture.lost(DeadLetterReason::Displaced), 3);
    assert_eq!(fixture.kit.system().event_stream().dead_letters_total(), 3);
    let mut letters = letters;
    assert_eq!(letters.expect_message().reason.as_str(), "displaced");
}

#[test]
fn the_newest_goes_and_its_sender_is_neither_told_nor_held_up() {
    let mut fixture = Fixture::occupied(|props| props.mailbox(Mailbox::bounded(2).drop_newest()));
    for number in 1..=3 {
        assert!(fixture.actor.try_tell(Number(number)).is_ok());
    }
    assert!(matches!(fixture.actor.send(Number(4)).now_or_never(), Some(Ok(()))));
    let asked = fixture.actor.ask(|reply_to| Question(5, reply_to), SECOND);
    assert_eq!(fixture.kit.block_on(asked), Err(AskError::Full));
    fixture.actor.map(Number).tell(6);
    assert_eq!(fixture.actor.queued(), 2);
    assert_eq!(fixture.let_pass(9), [0, 1, 2]);
    assert_eq!(fixture.lost(DeadLetterReason::MailboxFull), 4);
}

#[test]
fn what_waits_weighs_no_more_than_it_may() {
    let mut fixture = Fixture::occupied(|props| props.mailbox_bytes(10, weigh));
    for (number, fits) in [(4, true), (7, false), (6, true), (1, false), (0, true)] {
        assert_eq!(fixture.actor.try_tell(Number(number)).is_ok(), fits, "{number}");
    }
    assert!(matches!(fixture.actor.try_tell(Number(1)), Err(TryTellError::Full(Number(1)))), "it comes back");
    assert_eq!(fixture.let_pass(2), [0, 4], "one more is in hand, and weighs nothing any more");
    assert!(fixture.actor.try_tell(Number(11)).is_ok(), "too heavy for ever, but nothing else weighs anything");
    assert!(fixture.actor.try_tell(Number(1)).is_err());
    assert_eq!(fixture.let_pass(9), [6, 0, 11]);
    fixture.actor.tell(Number(10));
    assert_eq!(fixture.probe.drain(), [10]);
}

#[test]
fn who_waits_for_bytes_is_not_overtaken_and_may_give_up() {
    let mut fixture = Fixture::occupied(|props| props.mailbox_bytes(10, weigh));
    let actor = fixture.actor.clone();
    fixture.actor.tell(Number(7));
    let mut heavy = Box::pin(actor.send(Number(8)));
    let mut light = Box::pin(actor.send(Number(2)));
    assert!(heavy.as_mut().now_or_never().is_none() && light.as_mut().now_or_never().is_none());
    assert!(actor.try_tell(Number(3)).is_err(), "it would fit, but others came before");
    drop(heavy);
    assert!(matches!(light.as_mut().now_or_never(), Some(Ok(()))), "who stood behind is let in");
    assert!(actor.try_tell(Number(2)).is_err());
    assert!(actor.try_tell(Number(1)).is_ok());

    let mut heavy = Box::pin(actor.send(Number(9)));
    let mut next = Box::pin(actor.send(Number(5)));
    assert!(heavy.as_mut().now_or_never().is_none() && next.as_mut().now_or_never().is_none());
    assert_eq!(fixture.let_pass(3), [0, 7, 2]);
    drop(heavy); // it had been let in, and does not come
    assert!(matches!(next.as_mut().now_or_never(), Some(Ok(()))));
    assert!(actor.try_tell(Number(5)).is_ok(), "what was given back is there for others");
    assert!(actor.try_tell(Number(1)).is_err());
    assert_eq!(fixture.let_pass(9), [1, 5, 5]);
    assert_eq!(fixture.kit.system().event_stream().dead_letters_total(), 0);
}

#[test]
fn several_go_for_a_heavy_one_and_all_that_comes_later_is_found() {
    let rules = |props: Props<Turnstile>| props.mailbox(Mailbox::bounded(5).drop_oldest()).mailbox_bytes(10, weigh);
    let mut fixture = Fixture::occupied(rules);
    for number in [1, 2, 3, 4, 9] {
        fixture.actor.tell(Number(number));
    }
    assert_eq!((fixture.actor.queued(), fixture.lost(DeadLetterReason::Displaced)), (1, 4));
    fixture.actor.tell(Number(1));
    assert_eq!(fixture.let_pass(9), [0, 9, 1]);
    for number in [5, 5] {
        fixture.actor.tell(Number(number));
    }
    assert_eq!(fixture.probe.drain(), [5, 5], "an idle actor is woken");
    assert_eq!(fixture.lost(DeadLetterReason::Displaced), 4);
}

#[test]
fn parts_of_a_protocol_and_adapters_go_by_the_same_rules() {
    let mut fixture = Fixture::new(|props| props.mailbox(Mailbox::bounded(2)).mailbox_bytes(10, weigh));
    fixture.permits.add_permits(1);
    let adapter = fixture.kit.block_on(fixture.actor.ask(Adapter, SECOND)).unwrap();
    let part = fixture.actor.map(Number);
    part.tell(0);
    fixture.kit.settle();
    assert!(part.try_tell(9).is_ok());
    assert!(part.try_tell(9).is_ok(), "what it weighs is known too late for this one");
    assert_eq!(part.try_tell(1), Err(TryTellError::Full(1)), "for all others not");
    let mut sending = Box::pin(part.send(1));
    assert!(sending.as_mut().now_or_never().is_none());
    assert!(adapter.try_tell(7).is_ok() && adapter.try_tell(8).is_ok(), "as much room again");
    assert!(adapter.try_tell(9).is_err());
    assert_eq!(fixture.let_pass(5), [0, 9, 9, 7, 8]);
    assert!(matches!(sending.as_mut().now_or_never(), Some(Ok(()))));
    assert_eq!(fixture.let_pass(9), [1]);
}

#[test]
fn elements_of_a_stream_and_notices_of_ends_find_their_way() {
    let mut fixture = Fixture::new(|props| props.mailbox(Mailbox::bounded(1).drop_oldest()));
    let other = fixture.kit.spawn(
        "other",
        Turnstile { permits: Arc::new(Semaphore::new(9)), told: fixture.kit.system().ignore_ref(), ended: 0 },
    );
    fixture.permits.add_permits(2);
    fixture.actor.tell(Watch(other.clone()));
    fixture.kit.settle();
    fixture.actor.tell(Stream(3));
    assert_eq!(fixture.probe.drain(), []);
    assert_eq!(fixture.let_pass(4), [1, 2, 3, 0], "none is displaced");
    fixture.actor.tell(Number(5));
    fixture.kit.settle();
    fixture.actor.tell(Number(6));
    fixture.kit.stop(&other);
    fixture.actor.tell(Number(7));
    assert_eq!(fixture.let_pass(9), [5, 7, 1_000]);
}

#[test]
fn what_waits_when_the_actor_stops_is_counted_and_who_waits_for_room_is_told() {
    let mut fixture = Fixture::occupied(|props| props.mailbox(Mailbox::bounded(3)).mailbox_bytes(100, weigh));
    let actor = fixture.actor.clone();
    actor.tell(Stop);
    let asked = actor.ask(|reply_to| Question(1, reply_to), SECOND);
    actor.tell(Number(2));
    let mut sending = Box::pin(actor.send(Number(3)));
    assert!(sending.as_mut().now_or_never().is_none());
    assert_eq!(fixture.let_pass(2), [0]);
    assert!(matches!(sending.as_mut().now_or_never(), Some(Err(actors::Stopped(Number(3))))));
    assert_eq!(fixture.kit.block_on(asked), Err(AskError::Stopped));
    assert_eq!(fixture.lost(DeadLetterReason::StoppedBefore), 2);
    assert!(matches!(actor.try_tell(Number(1)), Err(TryTellError::Stopped(_))));
    assert_eq!(actor.map(Number).try_tell(1), Err(TryTellError::Stopped(1)));
    assert_eq!(actor.queued(), 0);
    assert_eq!(fixture.kit.system().event_stream().dead_letters_total(), 2);
}

#[test]
fn from_the_call_on_that_stops_it_nothing_is_let_in() {
    let mut fixture = Fixture::occupied(|props| props.mailbox(Mailbox::bounded(1).drop_oldest()));
    let part = fixture.actor.map(Number);
    fixture.actor.tell(Number(1));
    fixture.kit.system().stop(&fixture.actor);
    assert!(matches!(fixture.actor.try_tell(Number(2)), Err(TryTellError::Stopped(_))));
    assert_eq!(part.try_tell(2), Err(TryTellError::Stopped(2)));
    assert_eq!(fixture.let_pass(9), [0]);
    assert_eq!(fixture.lost(DeadLetterReason::StoppedBefore), 1);

    let mut fixture = Fixture::occupied(|props| props.mailbox_bytes(9, weigh));
    fixture.actor.tell(Number(1));
    let other = fixture.actor.clone();
    let mut sending = Box::pin(other.send(Number(9)));
    assert!(sending.as_mut().now_or_never().is_none());
    fixture.kit.system().drain(&fixture.actor, SECOND);
    assert!(matches!(sending.as_mut().now_or_never(), Some(Err(actors::Stopped(Number(9))))), "at once");
    assert!(matches!(fixture.actor.try_tell(Number(2)), Err(TryTellError::Stopped(_))));
    assert_eq!(fixture.let_pass(9), [0, 1], "it handles what it has");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Tell(u64),
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![3 => (1u64..8).prop_map(Step::Tell), 2 => Just(Step::Pass)]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Refuse,
    DropOldest,
    DropNewest,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_does_what_a_plain_list_does(
        rule in prop_oneof![Just(Rule::Refuse), Just(Rule::DropOldest), Just(Rule::DropNewest)],
        capacity in 1usize..5,
        limit in 1u64..20,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mailbox = Mailbox::bounded(capacity);
        let mailbox = match rule {
            Rule::Refuse => mailbox,
            Rule::DropOldest => mailbox.drop_oldest(),
            Rule::DropNewest => mailbox.drop_newest(),
        };
        let mut fixture = Fixture::occupied(|props| props.mailbox(mailbox).mailbox_bytes(limit, weigh));
        let mut waiting = VecDeque::new();
        let mut in_hand = Some(0);
        let mut dropped = 0;
        for step in steps {
            match step {
                Step::Tell(weight) => {
                    let taken = fixture.actor.try_tell(Number(weight)).is_ok();
                    fixture.kit.settle();
                    let fits = |waiting: &VecDeque<u64>| {
                        let held: u64 = waiting.iter().sum();
                        waiting.len() < capacity && (held == 0 || held + weight <= limit)
                    };
                    if rule == Rule::DropOldest {
                        while !fits(&waiting) {
                            waiting.pop_front();
                            dropped += 1;
                        }
                    }
                    let fits = fits(&waiting);
                    prop_assert_eq!(taken, fits || rule != Rule::Refuse);
                    if fits {
                        waiting.push_back(weight);
                    } else if rule == Rule::DropNewest {
                        dropped += 1;
                    }
                    if in_hand.is_none() {
                        in_hand = waiting.pop_front();
                    }
                }
                Step::Pass => {
                    let Some(number) = in_hand else { continue };
                    prop_assert_eq!(fixture.let_pass(1), [number]);
                    in_hand = waiting.pop_front();
                }
            }
            prop_assert_eq!(fixture.actor.queued(), waiting.len());
            prop_assert_eq!(fixture.kit.system().event_stream().dead_letters_total(), dropped);
        }
    }
}

/// Counts, and sees to it that each sender's numbers only grow.
struct Counting {
    last: [u64; 4],
    handled: Arc<AtomicU64>,
}

impl Actor for Counting {
    type Message = (usize, u64);

    async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, (sender, number): (usize, u64)) -> Handled {
        assert!(number > self.last[sender], "{number} of {sender} came after {}", self.last[sender]);
        self.last[sender] = number;
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(Behavior::Same)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_many_senders_each_message_is_handled_or_counted_and_in_order() {
    const EACH: u64 = 5_000;
    for mailbox in [Mailbox::bounded(16), Mailbox::bounded(16).drop_oldest(), Mailbox::bounded(16).drop_newest()] {
        let system = ActorSystem::new("many");
        let handled = Arc::new(AtomicU64::new(0));
        let counting = Counting { last: [0; 4], handled: handled.clone() };
        let props = Props::from(counting).mailbox(mailbox).mailbox_bytes(64, |(sender, _)| 1 + sender);
        let actor = system.spawn("counting", props);
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let (actor, runtime) = (actor.clone(), tokio::runtime::Handle::current());
                std::thread::spawn(move || {
                    let part = actor.map(move |number| (sender, number));
                    for number in 1..=EACH {
                        match number % 4 {
                            0 => part.tell(number),
                            1 => runtime.block_on(actor.send((sender, number))).unwrap(),
                            _ => actor.tell((sender, number)),
                        }
                    }
                })
            })
            .collect();
        tokio::task::spawn_blocking(|| senders.into_iter().for_each(|sender| sender.join().unwrap())).await.unwrap();
        let ended = actor.terminated();
        system.terminate().await;
        ended.await;
        let lost = system.event_stream().dead_letters_total();
        assert_eq!(handled.load(Ordering::Relaxed) + lost, 4 * EACH, "{mailbox:?}");
    }
}
