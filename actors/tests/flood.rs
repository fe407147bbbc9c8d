//! Whoever is sent more than it takes: each queue keeps as many as it may, counts the rest, and holds no memory for them.

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorRef, ActorSystem, Behavior, BoxError, DeadLetterReason, FailedMessage, Handled, Mailbox,
    Overflow, Props, StashBuffer, SupervisorStrategy,
};

use crate::alloc::bytes_kept;

/// How many may wait, everywhere.
const BOUND: usize = 64;
/// How many are sent in a flood.
const FLOOD: usize = 2_000;
const REFUSED: u64 = (FLOOD - BOUND) as u64;

/// A message of a kibibyte.
type Drop = Box<[u8; 1024]>;

fn one_more(_: usize) -> Drop {
    Box::new([0; 1024])
}

/// Floods twice: the first time takes no more than what the bound allows, the second time nothing at all.
fn flood(mut send: impl FnMut(Drop)) {
    let budget = (BOUND * 1024 + BOUND * 256 + 16 * 1024) as i64;
    let first = bytes_kept(|| (0..FLOOD).map(one_more).for_each(&mut send));
    assert!((1024 * BOUND as i64..=budget).contains(&first), "{first} bytes after the first flood, {budget} at most");
    let second = bytes_kept(|| (0..FLOOD).map(one_more).for_each(&mut send));
    assert!(second.abs() <= 1024, "{second} bytes more after the second flood");
}

fn dead(kit: &TestKit, reason: DeadLetterReason) -> u64 {
    kit.system().event_stream().dead_letters(reason)
}

/// Never comes to an end with what it got.
struct Hangs;

impl Actor for Hangs {
    type Message = Drop;

    async fn receive(&mut self, _ctx: &mut ActorContext<Drop>, _: Drop) -> Handled {
        std::future::pending().await
    }
}

/// Stashes or fails on everything, as it was made to.
struct Refuses(Option<StashBuffer<Drop>>);

impl Actor for Refuses {
    type Message = Drop;

    async fn receive(&mut self, _ctx: &mut ActorContext<Drop>, message: Drop) -> Handled {
        match &mut self.0 {
            Some(stash) => stash.stash(message)?,
            None => return Err(BoxError::from("no use for it")),
        }
        Ok(Behavior::Same)
    }
}

/// Takes one message and hangs over it, so that the next ones wait.
fn hanging(kit: &TestKit) -> ActorRef<Drop> {
    let actor = kit.spawn("hangs", Props::new(|| Hangs).mailbox(Mailbox::bounded(BOUND)));
    actor.tell(one_more(0));
    kit.settle();
    actor
}

#[test]
fn a_mailbox_keeps_its_bound() {
    let kit = TestKit::new();
    let actor = hanging(&kit);
    flood(|message| actor.tell(message));
    assert_eq!(actor.queued(), BOUND);
    assert_eq!(dead(&kit, DeadLetterReason::MailboxFull), REFUSED + FLOOD as u64);
}

#[test]
fn a_stash_keeps_its_bound() {
    let kit = TestKit::new();
    let props = Props::new(|| Refuses(Some(StashBuffer::with_capacity(BOUND))));
    let actor = kit.spawn("stashes", props.supervise(SupervisorStrategy::resume()));
    flood(|message| {
        actor.tell(message);
        kit.settle();
    });
    assert_eq!(dead(&kit, DeadLetterReason::StashFull), REFUSED + FLOOD as u64);
}

#[test]
fn a_parking_lot_keeps_its_bound() {
    let kit = TestKit::new();
    let system = ActorSystem::builder("small")
        .runtime(kit.system().runtime().clone())
        .clock(kit.clock().clone())
        .parking_lot_capacity(BOUND)
        .start();
    let props = Props::new(|| Refuses(None)).supervise(SupervisorStrategy::resume());
    let actor = system.spawn("fails", props.on_failed_message(FailedMessage::Park));
    let each = BOUND as i64 * 512; // what is known of a parked message: its cause, for whom it was
    let kept = bytes_kept(|| {
        for number in 0..2 * FLOOD {
            actor.tell(one_more(number));
            kit.settle();
        }
    });
    assert!(kept <= (BOUND * 1024) as i64 + each + 16 * 1024, "{kept} bytes");
    assert_eq!(system.parking_lot().len(), BOUND);
    assert_eq!(system.event_stream().dead_letters(DeadLetterReason::ParkingLotFull), REFUSED + FLOOD as u64);
    kit.block_on(system.terminate());
}

#[test]
fn a_subscriber_of_events_that_does_not_read_keeps_its_bound() {
    let kit = TestKit::new();
    let events = kit.system().event_stream();
    events.subscribe(&hanging(&kit));
    flood(|message| events.publish(message));
    assert_eq!(events.events_dropped(), REFUSED + FLOOD as u64);
}

#[test]
fn a_source_nobody_reads_keeps_its_bound() {
    let rules =
        [(Overflow::Refuse, DeadLetterReason::MailboxFull), (Overflow::DropOldest, DeadLetterReason::Displaced)];
    for (overflow, reason) in rules {
        let kit = TestKit::new();
        let (to, source) = kit.system().spawn_source("source", BOUND, overflow);
        kit.settle();
        flood(|message| to.tell(message));
        assert_eq!((source.len(), dead(&kit, reason)), (BOUND, REFUSED + FLOOD as u64));
    }
}

/// Sets the same timer and the same watch again with each message.
struct Repeats(ActorRef<Drop>);

impl Actor for Repeats {
    type Message = Drop;

    async fn receive(&mut self, ctx: &mut ActorContext<Drop>, message: Drop) -> Handled {
        ctx.timers().start_single("key", std::time::Duration::from_secs(60), message);
        let watched = self.0.clone();
        ctx.watch_with(&watched, one_more(0));
        ctx.unwatch(&watched);
        ctx.watch_with(&watched, one_more(0));
        Ok(Behavior::Same)
    }
}

#[test]
fn timers_and_watches_that_are_replaced_leave_nothing_behind() {
    let kit = TestKit::new();
    let watched = hanging(&kit);
    let actor = kit.spawn("repeats", Repeats(watched));
    actor.tell(one_more(0));
    kit.settle();
    let kept = bytes_kept(|| {
        for number in 0..FLOOD {
            actor.tell(one_more(number));
            kit.settle();
        }
    });
    assert!(kept.abs() <= 4096, "{kept} bytes for what was replaced");
}

/// Watches, and is gone.
struct Passes(ActorRef<Drop>);

impl Actor for Passes {
    type Message = ();

    async fn started(&mut self, ctx: &mut ActorContext<()>) -> Handled {
        ctx.watch(&self.0);
        Ok(Behavior::Stopped)
    }

    async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
        Ok(Behavior::Same)
    }
}

#[test]
fn watchers_that_are_gone_are_forgotten_by_whom_they_watched() {
    let kit = TestKit::new();
    let watched = hanging(&kit);
    let pass = || {
        for _ in 0..200 {
            kit.system().spawn_anonymous(Passes(watched.clone()));
            kit.settle();
        }
    };
    pass();
    let kept = bytes_kept(pass);
    assert!(kept.abs() <= 4096, "{kept} bytes for watchers that are gone");
}
