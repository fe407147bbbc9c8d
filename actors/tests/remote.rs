//! What stands for an actor elsewhere behaves as an actor here does.

use actors::remote::{Handle, Parcel, Refused, RemoteActor, Room, Stopped, WeakStandIn, path, stand_in, stopped};
use actors::testkit::TestKit;
use actors::{ActorRef, AskError, Behavior, DeadLetterReason, FnActor, ReplyTo, TryTellError};
use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// What the actor elsewhere understands.
#[derive(Debug)]
enum Far {
    Note(u32),
    Question(ReplyTo<u32>),
}

/// Keeps what it is told, in place of sending it.
#[derive(Default)]
struct Line {
    told: Mutex<Vec<Far>>,
    full: AtomicBool,
    /// The actor elsewhere cannot be told that.
    unsendable: AtomicBool,
    watched: Mutex<Vec<bool>>,
    places: AtomicUsize,
    with_deadline: AtomicUsize,
}

impl RemoteActor for Line {
    fn try_tell(&self, parcel: Parcel<'_>, room: Option<Room>) -> Result<(), Refused> {
        if self.full.load(Ordering::Relaxed) && room.is_none() {
            return Err(Refused::Full);
        }
        self.with_deadline.fetch_add(usize::from(parcel.deadline().is_some()), Ordering::Relaxed);
        if self.unsendable.load(Ordering::Relaxed) {
            parcel.undelivered(DeadLetterReason::Unsendable);
            return Ok(());
        }
        let message = parcel.take().into_any().downcast::<Far>().unwrap();
        self.told.lock().unwrap().push(*message);
        Ok(())
    }

    fn reserve(&self) -> Pin<Box<dyn Future<Output = Result<Room, Stopped>> + Send + '_>> {
        Box::pin(async {
            self.places.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(()) as Room)
        })
    }

    fn audience_changed(&self, actor: &Handle) {
        self.watched.lock().unwrap().push(actor.is_watched());
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn far(kit: &TestKit) -> (ActorRef<Far>, WeakStandIn, Arc<Line>) {
    let line = Arc::new(Line::default());
    let (actor, weak) = stand_in(kit.system(), path(7, 9, "node-7:1/user/far"), line.clone());
    (actor, weak, line)
}

fn notes(line: &Line) -> Vec<u32> {
    let note = |message| if let Far::Note(n) = message { n } else { panic!("{message:?} is no note") };
    line.told.lock().unwrap().drain(..).map(note).collect()
}

#[test]
fn all_verbs_reach_it_and_so_do_references_to_parts_of_it() {
    let kit = TestKit::new();
    let (actor, _, line) = far(&kit);
    actor.tell(Far::Note(1));
    actor.try_tell(Far::Note(2)).unwrap();
    kit.block_on(async { actor.send(Far::Note(3)).await }).unwrap();
    let part: ActorRef<u32> = actor.map(Far::Note);
    part.tell(4);
    kit.block_on(async { part.send(5).await }).unwrap();
    assert_eq!(notes(&line), [1, 2, 3, 4, 5]);
    assert_eq!(line.places.load(Ordering::Relaxed), 2);
    assert_eq!(part.path(), actor.path());
    assert_eq!(format!("{actor:?}"), "ActorRef(node-7:1/user/far#9)");
}

#[test]
fn an_ask_ends_with_the_answer_or_the_reason_why_there_is_none() {
    let kit = TestKit::new();
    let (actor, _, line) = far(&kit);
    let ask = || kit.block_on(async { actor.ask(Far::Question, SECOND).await });
    let asked = actor.ask(Far::Question, SECOND);
    let Some(Far::Question(reply_to)) = line.told.lock().unwrap().pop() else { panic!("no question") };
    reply_to.tell(7);
    assert_eq!(kit.block_on(asked), Ok(7));
    assert_eq!(line.with_deadline.load(Ordering::Relaxed), 1);
    assert_eq!(ask(), Err(AskError::Timeout));
    line.full.store(true, Ordering::Relaxed);
    assert_eq!(ask(), Err(AskError::Full));
    line.full.store(false, Ordering::Relaxed);
    line.unsendable.store(true, Ordering::Relaxed);
    assert_eq!(ask(), Err(AskError::NoReply));
    assert_eq!(kit.system().event_stream().dead_letters(DeadLetterReason::Unsendable), 1);
    Handle::of(&actor).unwrap().end();
    assert_eq!(ask(), Err(AskError::Stopped));
}

#[test]
fn what_is_refused_comes_back_or_is_a_dead_letter() {
    let kit = TestKit::new();
    let (actor, _, line) = far(&kit);
    line.full.store(true, Ordering::Relaxed);
    assert!(matches!(actor.try_tell(Far::Note(1)), Err(TryTellError::Full(Far::Note(1)))));
    actor.tell(Far::Note(2));
    assert_eq!(kit.system().event_stream().dead_letters(DeadLetterReason::MailboxFull), 1);
    kit.block_on(async { actor.send(Far::Note(3)).await }).unwrap();
    Handle::of(&actor).unwrap().end();
    assert!(actor.is_stopped());
    assert!(matches!(actor.try_tell(Far::Note(4)), Err(TryTellError::Stopped(Far::Note(4)))));
    assert!(matches!(kit.block_on(async { actor.send(Far::Note(5)).await }).unwrap_err().0, Far::Note(5)));
    actor.tell(Far::Note(6));
    assert_eq!(kit.system().event_stream().dead_letters(DeadLetterReason::Stopped), 1);
    assert_eq!(notes(&line), [3]);
}

#[test]
fn two_are_equal_when_they_stand_for_the_same_incarnation() {
    let kit = TestKit::new();
    let (actor, weak, line) = far(&kit);
    let (same, ..) = far(&kit);
    let (other, _) = stand_in::<Far>(kit.system(), path(7, 10, "node-7:1/user/far"), line.clone());
    assert_eq!(actor, same);
    assert_ne!(actor, other);
    assert_eq!(actor.map(Far::Note), same.map(Far::Note));
    assert_eq!(weak.upgrade::<Far>(), Some(actor.clone()));
    assert!(weak.upgrade::<u32>().is_none());
    let held = Arc::strong_count(&line);
    drop(actor);
    assert!(weak.is_gone() && weak.upgrade::<Far>().is_none());
    assert!(Arc::strong_count(&line) < held, "nothing holds what nobody refers to");
}

#[test]
fn its_end_is_told_to_those_who_watch_and_the_line_knows_whether_anybody_does() {
    let kit = TestKit::new();
    let (actor, _, line) = far(&kit);
    let mut probe = kit.probe::<&str>();
    let to = probe.actor_ref();
    let watched = actor.clone();
    let watcher = kit.spawn(
        "watcher",
        FnActor::new((), move |(), ctx, message: &'static str| {
            match message {
                "watch" => ctx.watch_with(&watched, "ended"),
                "unwatch" => ctx.unwatch(&watched),
                other => to.tell(other),
            }
            Ok(Behavior::Same)
        }),
    );
    let is_watched = || {
        kit.settle();
        line.watched.lock().unwrap().last().copied()
    };
    assert_eq!(is_watched(), None);
    watcher.tell("watch");
    assert_eq!(is_watched(), Some(true));
    watcher.tell("unwatch");
    assert_eq!(is_watched(), Some(false));
    {
        let terminated = std::pin::pin!(actor.terminated());
        kit.block_on(async { kit.clock().timeout(SECOND, terminated).await }).unwrap_err();
    }
    assert_eq!(is_watched(), Some(false), "the wait was given up");
    assert!(line.watched.lock().unwrap().contains(&true));
    watcher.tell("watch");
    kit.settle();
    let terminated = actor.terminated();
    let handle = Handle::of(&actor).unwrap();
    handle.end();
    handle.end();
    probe.expect_message_eq("ended");
    probe.expect_no_message(SECOND);
    kit.block_on(terminated);
    watcher.tell("watch");
    probe.expect_message_eq("ended");
    kit.stop(&watcher);
}

#[test]
fn one_that_had_ended_before_takes_nothing() {
    let kit = TestKit::new();
    let actor = stopped::<Far>(kit.system(), path(7, 9, "/user/far"));
    assert!(actor.is_stopped());
    kit.block_on(actor.terminated());
    assert!(matches!(actor.try_tell(Far::Note(1)), Err(TryTellError::Stopped(_))));
    assert_eq!(actor, far(&kit).0);
}
