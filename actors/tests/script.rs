//! An actor that does what the test says, and a diary several actors write into.

use std::fmt::Display;
use std::sync::{Arc, Mutex};

use actors::{Actor, ActorContext, Behavior, BoxError, Handled, Signal};

/// What happened, in order, across actors.
#[derive(Clone, Default)]
pub(crate) struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    pub(crate) fn note(&self, what: impl Display) {
        self.0.lock().unwrap().push(what.to_string());
    }

    /// All entries since the last call.
    pub(crate) fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

type Do = Box<dyn FnOnce(&mut Scripted, &mut ActorContext<Order>) -> Handled + Send>;

/// What a [`Scripted`] actor is told.
pub(crate) enum Order {
    Do(Do),
    /// Written into the diary when handled.
    Note(String),
    Fail(&'static str),
    Panic(&'static str),
    Stop,
}

impl Order {
    pub(crate) fn run(work: impl FnOnce(&mut Scripted, &mut ActorContext<Order>) + Send + 'static) -> Self {
        Self::Do(Box::new(move |actor, ctx| {
            work(actor, ctx);
            Ok(Behavior::Same)
        }))
    }

    pub(crate) fn note(what: impl Display) -> Self {
        Self::Note(what.to_string())
    }
}

/// Follows orders, and writes its signals into the diary under its name.
pub(crate) struct Scripted {
    pub(crate) name: String,
    pub(crate) diary: Diary,
    pub(crate) handles_ends: bool,
}

impl Scripted {
    pub(crate) fn new(name: impl Display, diary: &Diary) -> Self {
        Self { name: name.to_string(), diary: diary.clone(), handles_ends: true }
    }

    pub(crate) fn note(&self, what: impl Display) {
        self.diary.note(format!("{} {what}", self.name));
    }
}

impl Scripted {
    /// Leaves the ends of those it watches unhandled.
    pub(crate) fn careless(mut self) -> Self {
        self.handles_ends = false;
        self
    }
}

impl Actor for Scripted {
    type Message = Order;

    async fn started(&mut self, _ctx: &mut ActorContext<Order>) -> Handled {
        self.note("started");
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<Order>, order: Order) -> Handled {
        match order {
            Order::Do(work) => return work(self, ctx),
            Order::Note(what) => self.note(what),
            Order::Fail(text) => return Err(BoxError::from(text)),
            Order::Panic(text) => panic!("{text}"),
            Order::Stop => return Ok(Behavior::Stopped),
        }
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, _ctx: &mut ActorContext<Order>, signal: Signal) -> Handled {
        match signal {
            Signal::PreRestart => self.note("pre-restart"),
            Signal::PostStop => self.note("post-stop"),
            Signal::Terminated(path) => {
                self.note(format!("terminated {}", path.name()));
                if !self.handles_ends {
                    return Ok(Behavior::Unhandled);
                }
            }
            Signal::ChildFailed { child, cause } => self.note(format!("child-failed {} {cause}", child.name())),
            other => self.note(format!("{other:?}")),
        }
        Ok(Behavior::Same)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.note("dropped");
    }
}

/// A log that does so much at each line.
pub(crate) struct LogOf<F>(pub(crate) F);

impl<F: Fn() + Send + Sync + 'static> tracing::Subscriber for LogOf<F> {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        (self.0)();
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
