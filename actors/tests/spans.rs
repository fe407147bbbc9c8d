//! The span of an actor's log lines, which is entered for each run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use actors::{Actor, ActorContext, ActorRef, ActorSystem, Behavior, Handled, ReplyTo};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber, dispatcher};

const WITHIN: Duration = Duration::from_secs(60);

/// What is done when a span is left.
type Leave = Box<dyn FnMut() + Send>;

#[derive(Clone, Default)]
struct Spans(Arc<Seen>);

#[derive(Default)]
struct Seen {
    last: AtomicU64,
    closed: AtomicBool,
    /// Closed while it was being left.
    early: AtomicBool,
    leaving: AtomicBool,
    leave: Mutex<Option<Leave>>,
}

impl Spans {
    fn on_leaving(&self, leave: impl FnMut() + Send + 'static) {
        *self.0.leave.lock().unwrap() = Some(Box::new(leave));
    }
}

/// Sees the spans of actors alone.
struct Listener(Spans);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.name() == "actor"
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(self.0.0.last.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, _event: &Event<'_>) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {
        let leave = self.0.0.leave.lock().unwrap().take();
        if let Some(mut leave) = leave {
            self.0.0.leaving.store(true, Ordering::SeqCst);
            leave();
            self.0.0.leaving.store(false, Ordering::SeqCst);
        }
    }

    fn try_close(&self, _span: Id) -> bool {
        self.0.0.early.fetch_or(self.0.0.leaving.load(Ordering::SeqCst), Ordering::SeqCst);
        self.0.0.closed.store(true, Ordering::SeqCst);
        true
    }
}

enum Message {
    Ping(ReplyTo<()>),
    Stop,
}

struct Pinged;

impl Actor for Pinged {
    type Message = Message;

    async fn receive(&mut self, _ctx: &mut ActorContext<Message>, message: Message) -> Handled {
        match message {
            Message::Ping(reply_to) => reply_to.tell(()),
            Message::Stop => return Ok(Behavior::Stopped),
        }
        Ok(Behavior::Same)
    }
}

/// A system of two threads and an actor in a span that `spans` hear of.
async fn spawned(spans: &Spans) -> (ActorSystem, ActorRef<Message>) {
    let system = ActorSystem::new("spans");
    let dispatch = Dispatch::new(Listener(spans.clone()));
    let actor = dispatcher::with_default(&dispatch, || system.spawn("pinged", Pinged));
    actor.ask(Message::Ping, WITHIN).await.unwrap();
    (system, actor)
}

/// While a run leaves the span the actor is idle already: another thread ends it and lets go of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_span_is_there_until_it_was_left() {
    let spans = Spans::default();
    let (system, actor) = spawned(&spans).await;
    let (left, was_left): (Sender<()>, _) = channel();
    let (seen, ends) = (spans.clone(), actor.clone());
    let mut ends = Some(ends);
    let runtime = tokio::runtime::Handle::current();
    spans.on_leaving(move || {
        let (seen, runtime) = (seen.clone(), runtime.clone());
        let ends = ends.take().expect("left once");
        thread::spawn(move || {
            ends.tell(Message::Stop);
            runtime.block_on(ends.terminated());
            drop(ends);
            // Whoever ran it to its end lets go of it a moment later, if nobody else holds it.
            for _ in 0..100_000 {
                if seen.0.closed.load(Ordering::SeqCst) {
                    break;
                }
                thread::yield_now();
            }
        })
        .join()
        .unwrap();
        left.send(()).unwrap();
    });
    let (reply_to, answer) = ReplyTo::channel();
    actor.tell(Message::Ping(reply_to));
    drop(actor);
    answer.await.unwrap();
    tokio::task::spawn_blocking(move || was_left.recv_timeout(WITHIN)).await.unwrap().unwrap();
    system.terminate().await;
    assert!(!spans.0.early.load(Ordering::SeqCst), "it was closed while it was being left");
}

/// A subscriber that panics has no part in what the actor does: one that has had its share of turns is run again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_panics_on_leaving_a_span_takes_no_actor_along() {
    let spans = Spans::default();
    let (system, actor) = spawned(&spans).await;
    spans.on_leaving(|| panic!("on purpose"));
    for _ in 0..10_000 {
        actor.tell(Message::Ping(ReplyTo::ignore()));
    }
    actor.ask(Message::Ping, WITHIN).await.unwrap();
    assert!(spans.0.leave.lock().unwrap().is_none(), "it panicked");
    system.terminate().await;
}
