//! Effects beyond storing and answering: decided later, snapshots on demand, events for subscribers in the process, and
//! what becomes of commands whose entity has lost its log.

use actors::{ActorRef, AskError, ReplyTo, testkit::TestKit};
use parking_lot::Mutex;
use persistence::{
    Effect, EventSourced, EventSourcedBehavior, InMemoryJournal, NotOwner, PersistedEvent, PersistenceId,
    PersistenceSignal, ReplyEffect, Retention, SnapshotStore,
    testkit::{FaultyJournal, FaultySnapshots},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

const LONG: Duration = Duration::from_secs(3_600);

struct Counter {
    told: Arc<Mutex<Vec<PersistenceSignal>>>,
    milestone: u64,
}

enum Command {
    Add(u64, ReplyTo<u64>),
    /// Adds what the receiver says, once it says it.
    AddLater(oneshot::Receiver<u64>, ReplyTo<u64>),
    Snapshot {
        stop: bool,
    },
    Hold(ReplyTo<u64>),
}

impl Counter {
    fn decide(&self, command: Command) -> ReplyEffect<Self> {
        match command {
            Command::Add(count, reply_to) => Effect::persist(count).replying(reply_to, |total| *total),
            Command::AddLater(count, reply_to) => Effect::asynchronous(async move {
                match count.await {
                    Ok(count) => Effect::persist(count),
                    Err(_) => Effect::none(),
                }
            })
            .replying(reply_to, |total| *total),
            Command::Snapshot { stop } => {
                let effect = Effect::none().no_reply().then_snapshot();
                if stop { effect.then_stop() } else { effect }
            }
            Command::Hold(reply_to) => Effect::stash(Command::Hold(reply_to)).no_reply(),
        }
    }
}

impl EventSourced for Counter {
    type Command = Command;
    type Event = u64;
    type State = u64;

    fn persistence_id(&self) -> PersistenceId {
        id()
    }

    fn handle_command(&self, _: &u64, command: Command) -> Effect<Self> {
        self.decide(command).into()
    }

    fn handle_event(total: &mut u64, count: &u64) {
        *total += count;
    }

    fn snapshot_when(&self, total: &u64, _: &u64, _: u64) -> bool {
        *total == self.milestone
    }

    fn retention(&self) -> Retention {
        Retention::snapshot_when_asked()
    }

    fn on_signal(&self, _: &u64, _: &mut actors::ActorContext<Command>, signal: &PersistenceSignal) {
        self.told.lock().push(signal.clone());
    }
}

fn id() -> PersistenceId {
    PersistenceId::of("counter", "visitors")
}

struct Scene {
    kit: TestKit,
    memory: InMemoryJournal<u64>,
    journal: FaultyJournal<u64>,
    told: Arc<Mutex<Vec<PersistenceSignal>>>,
}

impl Scene {
    fn new() -> Self {
        let memory = InMemoryJournal::default();
        Self { kit: TestKit::new(), journal: FaultyJournal::new(memory.clone()), memory, told: Arc::default() }
    }

    fn behavior(&self, milestone: u64) -> EventSourcedBehavior<Counter> {
        EventSourcedBehavior::new(Counter { told: Arc::clone(&self.told), milestone }, self.journal.clone())
    }

    fn add(&self, counter: &ActorRef<Command>, count: u64) -> Result<u64, AskError> {
        self.kit.block_on(counter.ask(|reply_to| Command::Add(count, reply_to), LONG))
    }
}

/// The decision needs an answer from elsewhere: other commands wait, so the state is the same before and after.
#[test]
fn an_effect_may_be_decided_later_and_commands_wait_for_it() {
    let scene = Scene::new();
    let counter = scene.kit.spawn("counter", scene.behavior(0));
    let (say, count) = oneshot::channel();
    let later = counter.ask(|reply_to| Command::AddLater(count, reply_to), LONG);
    let next = counter.ask(|reply_to| Command::Add(1, reply_to), LONG);
    scene.kit.advance(Duration::from_secs(20));
    assert_eq!(scene.journal.appends(), 0);
    say.send(10).unwrap();
    assert_eq!(scene.kit.block_on(later), Ok(10), "what was chained outside sees the state after");
    assert_eq!(scene.kit.block_on(next), Ok(11));
}

#[test]
fn a_decision_that_does_not_come_has_no_effect() {
    let scene = Scene::new();
    let counter = scene.kit.spawn("counter", scene.behavior(0).asynchronous_timeout(Duration::from_secs(5)));
    let (_say, count) = oneshot::channel();
    let later = counter.ask(|reply_to| Command::AddLater(count, reply_to), LONG);
    assert_eq!(scene.kit.block_on(later), Err(AskError::NoReply));
    assert_eq!(scene.add(&counter, 1), Ok(1), "the entity goes on");
}

/// By predicate, on demand, and on demand as the last thing before a stop, which then waits for it.
#[test]
fn snapshots_come_when_asked_for() {
    let scene = Scene::new();
    let snapshots = scene.memory.snapshots();
    let kept = |max| scene.kit.block_on(snapshots.load(id(), max)).unwrap().map(|found| (found.seq_nr, found.snapshot));
    let counter = scene.kit.spawn("counter", scene.behavior(7).snapshots(snapshots.clone()));
    counter.tell(Command::Snapshot { stop: false });
    scene.add(&counter, 5).unwrap();
    assert_eq!(kept(u64::MAX), None, "of nothing there is no snapshot");
    scene.add(&counter, 2).unwrap();
    scene.kit.settle();
    assert_eq!(kept(u64::MAX), Some((2, 7)), "a milestone");
    scene.add(&counter, 1).unwrap();
    counter.tell(Command::Snapshot { stop: false });
    scene.kit.settle();
    assert_eq!((kept(u64::MAX), kept(2)), (Some((3, 8)), Some((2, 7))));
    scene.add(&counter, 1).unwrap();
    counter.tell(Command::Snapshot { stop: true });
    scene.kit.settle();
    assert_eq!((kept(u64::MAX), kept(2)), (Some((4, 9)), None), "two are kept");
    assert_eq!(scene.add(&counter, 1), Err(AskError::Stopped));
}

/// Nothing was stored since: the second takes the place of the first, and the one before stays.
#[test]
fn a_snapshot_saved_again_pushes_none_out() {
    let scene = Scene::new();
    let snapshots = scene.memory.snapshots();
    let kept = |max| scene.kit.block_on(snapshots.load(id(), max)).unwrap().map(|found| found.seq_nr);
    let counter = scene.kit.spawn("counter", scene.behavior(0).snapshots(snapshots.clone()));
    for again in [1, 3] {
        scene.add(&counter, 5).unwrap();
        for _ in 0..again {
            counter.tell(Command::Snapshot { stop: false });
            scene.kit.settle();
        }
    }
    assert_eq!((kept(u64::MAX), kept(1)), (Some(2), Some(1)), "two are kept");
}

/// The store is slow with one snapshot when the last is asked for: both are saved before the entity stops.
#[test]
fn a_snapshot_before_a_stop_waits_for_the_one_under_way() {
    let scene = Scene::new();
    let kept = scene.memory.snapshots();
    let snapshots = FaultySnapshots::new(kept.clone());
    let counter = scene.kit.spawn("counter", scene.behavior(0).snapshots(snapshots.clone()));
    snapshots.hold();
    scene.add(&counter, 5).unwrap();
    counter.tell(Command::Snapshot { stop: false });
    scene.add(&counter, 2).unwrap();
    counter.tell(Command::Snapshot { stop: true });
    scene.kit.settle();
    snapshots.release();
    scene.kit.settle();
    let found = |max| scene.kit.block_on(kept.load(id(), max)).unwrap().map(|found| (found.seq_nr, found.snapshot));
    assert_eq!((found(1), found(u64::MAX)), (Some((1, 5)), Some((2, 7))));
    let saved = [1, 2].map(|seq_nr| PersistenceSignal::SnapshotSaved { seq_nr });
    assert_eq!(scene.told.lock()[1..], saved, "and it hears of both");
    assert_eq!(scene.add(&counter, 1), Err(AskError::Stopped));
}

#[test]
fn stored_events_are_published_to_subscribers_in_the_process() {
    let scene = Scene::new();
    let mut subscriber = scene.kit.probe::<PersistedEvent<u64>>();
    scene.kit.system().event_stream().subscribe(&subscriber.actor_ref());
    let counter = scene.kit.spawn("counter", scene.behavior(0).publish_events());
    scene.add(&counter, 5).unwrap();
    scene.journal.reject_next("as told");
    scene.add(&counter, 6).unwrap_err();
    scene.add(&counter, 7).unwrap();
    scene.kit.settle();
    let seen: Vec<_> = subscriber.drain().into_iter().map(|event| (event.id, event.seq_nr, event.event)).collect();
    assert_eq!(seen, [(id(), 1, 5), (id(), 2, 7)], "what is not stored is not published");
}

/// Another node has taken the entity over: whoever has to know is told, and what waited is sent on, in order.
#[test]
fn commands_of_an_entity_that_lost_its_log_are_handed_on() {
    let scene = Scene::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let successor = scene.kit.spawn("successor-router", scene.behavior(0));
    let (log, to) = (Arc::clone(&told), successor.clone());
    let behavior = scene.behavior(0).on_not_owner(move |not_owner| match not_owner {
        NotOwner::Lost { id, error } => log.lock().push(format!("lost {id}: {error}")),
        NotOwner::Command(command) => to.tell(command),
        _ => {}
    });
    let counter = scene.kit.spawn("counter", behavior);
    scene.kit.settle();
    // Claimed last by the entity, then by the next owner.
    let next = scene.kit.spawn("next", scene.behavior(0));
    scene.kit.settle();
    let held = counter.ask(Command::Hold, LONG);
    let first = counter.ask(|reply_to| Command::Add(1, reply_to), LONG);
    let waiting = counter.ask(|reply_to| Command::Add(2, reply_to), LONG);
    assert_eq!(scene.kit.block_on(first), Err(AskError::NoReply), "this one was refused by the store");
    assert_eq!(told.lock().len(), 1);
    assert!(told.lock()[0].starts_with("lost counter|visitors: epoch"), "{:?}", told.lock());
    // The successor of this test is not the owner either, so what it stores is refused: what counts is that it got it.
    assert_eq!(scene.kit.block_on(waiting), Err(AskError::NoReply));
    drop((held, next));
    scene.kit.advance(Duration::from_secs(2));
    assert_eq!(scene.add(&counter, 1), Err(AskError::Stopped), "after a moment it is gone");
}

/// A snapshot was being saved when the log was lost. Its end is no reason to start anew: that would take the log back.
#[test]
fn the_end_of_a_snapshot_takes_no_log_back() {
    let scene = Scene::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let snapshots = FaultySnapshots::new(scene.memory.snapshots());
    let behavior = scene
        .behavior(0)
        .snapshots(snapshots.clone())
        .restart_with_backoff(Duration::from_millis(10), Duration::from_millis(20))
        .on_not_owner(move |not_owner| log.lock().push(matches!(not_owner, NotOwner::Command(_))));
    let counter = scene.kit.spawn("counter", behavior);
    snapshots.hold();
    scene.add(&counter, 5).unwrap();
    counter.tell(Command::Snapshot { stop: false });
    scene.kit.settle();
    let next = scene.kit.spawn("next", scene.behavior(0));
    assert_eq!(scene.add(&next, 1), Ok(6));
    assert_eq!(scene.add(&counter, 1), Err(AskError::NoReply), "refused by the store");
    snapshots.release();
    scene.kit.advance(Duration::from_millis(500));
    assert_eq!(scene.add(&counter, 1), Err(AskError::NoReply), "it is there, and hands on");
    assert_eq!(*told.lock(), [false, true]);
    scene.kit.advance(Duration::from_secs(2));
    assert_eq!(scene.add(&counter, 1), Err(AskError::Stopped));
    assert_eq!(scene.add(&next, 1), Ok(7), "the log is still its own");
}
