//! [`LogProbe`]: what actors log, as values, on this thread and no other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, Interest};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use super::TestKit;
use crate::actor_ref::ActorRef;
use crate::ask_chain::Turn;
use crate::path::ActorPath;

/// One thing that was logged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogEvent {
    /// How grave it is.
    pub level: Level,
    /// Where it comes from, a module path unless it says otherwise.
    pub target: String,
    /// Its text.
    pub message: String,
    /// Its fields, as they would be written.
    pub fields: BTreeMap<String, String>,
    /// The actor in whose turn it was logged, if any. What a task beside an actor logs belongs to none.
    pub actor: Option<ActorPath>,
}

impl LogEvent {
    /// Whether it was logged in the turn of `actor`.
    pub fn is_of<M: Send + 'static>(&self, actor: &ActorRef<M>) -> bool {
        self.actor.as_ref() == Some(actor.path())
    }
}

impl fmt::Display for LogEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        if let Some(actor) = &self.actor {
            write!(f, " {actor}")?;
        }
        write!(f, " {}: {}", self.target, self.message)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// Keeps what is logged on this thread from when it was made until it is dropped: by the kit's actors, and by code that
/// is no actor. Whoever listened before still hears everything too.
///
/// Probes are dropped in the reverse of the order in which they were made.
///
/// ```
/// use actors::testkit::TestKit;
/// use actors::{Actor, ActorContext, Behavior, Handled};
///
/// struct Careful;
///
/// impl Actor for Careful {
///     type Message = u32;
///
///     async fn receive(&mut self, _ctx: &mut ActorContext<u32>, number: u32) -> Handled {
///         if number > 9 { Err("too much".into()) } else { Ok(Behavior::Same) }
///     }
/// }
///
/// let kit = TestKit::new();
/// let careful = kit.spawn("careful", Careful);
/// let failure = |event: &actors::testkit::LogEvent| event.is_of(&careful) && event.fields["error"] == "too much";
/// kit.expect_no_log(failure, || careful.tell(9));
/// kit.expect_log(failure, || careful.tell(10));
/// ```
pub struct LogProbe {
    log: Log,
    system_uid: u64,
    _listening: DefaultGuard, // belongs to this thread, and so does the probe
}

type Log = Arc<Mutex<Vec<LogEvent>>>;

impl TestKit {
    /// Listens to what is logged from now on.
    pub fn logs(&self) -> LogProbe {
        let log = Log::default();
        let outer = tracing::dispatcher::get_default(Dispatch::clone);
        let listening = tracing::subscriber::set_default(Listener { log: log.clone(), outer });
        LogProbe { log, system_uid: self.system.uid(), _listening: listening }
    }

    /// Does `work`, lets everything happen that follows from it without time passing, and makes sure that something
    /// `is_expected` was logged meanwhile.
    ///
    /// # Panics
    /// When it was not; what was logged instead is part of the text.
    #[track_caller]
    pub fn expect_log<R>(&self, is_expected: impl FnMut(&LogEvent) -> bool, work: impl FnOnce() -> R) -> R {
        let mut logs = self.logs();
        let result = work();
        self.settle();
        logs.expect(is_expected);
        result
    }

    /// Does `work`, lets everything happen that follows from it without time passing, and makes sure that nothing
    /// `is_unwanted` was logged meanwhile.
    ///
    /// # Panics
    /// When it was.
    #[track_caller]
    pub fn expect_no_log<R>(&self, is_unwanted: impl FnMut(&LogEvent) -> bool, work: impl FnOnce() -> R) -> R {
        let mut logs = self.logs();
        let result = work();
        self.settle();
        logs.expect_none(is_unwanted);
        result
    }
}

impl LogProbe {
    /// Takes all that was logged and not taken before, in order.
    pub fn drain(&mut self) -> Vec<LogEvent> {
        let events = std::mem::take(&mut *self.log.lock());
        let of_this_kit = |path: &ActorPath| path.system_uid() == self.system_uid;
        events.into_iter().filter(|event| event.actor.as_ref().is_none_or(of_this_kit)).collect()
    }

    /// Takes all that was logged up to the first event that `is_expected`, and returns that.
    ///
    /// # Panics
    /// When there is none; what there is instead is part of the text.
    #[track_caller]
    pub fn expect(&mut self, is_expected: impl FnMut(&LogEvent) -> bool) -> LogEvent {
        let mut events = self.drain();
        match events.iter().position(is_expected) {
            Some(at) => {
                let later = events.split_off(at + 1);
                let mut log = self.log.lock();
                log.splice(0..0, later);
                events.swap_remove(at)
            }
            None => panic!("what was expected was not logged, but {}", listed(&events)),
        }
    }

    /// Takes all that was logged.
    ///
    /// # Panics
    /// When there is one that `is_unwanted`.
    #[track_caller]
    pub fn expect_none(&mut self, is_unwanted: impl FnMut(&LogEvent) -> bool) {
        let events = self.drain();
        if let Some(at) = events.iter().map(is_unwanted).position(|unwanted| unwanted) {
            panic!("logged what should not have been: {}", events[at]);
        }
    }
}

impl fmt::Debug for LogProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogProbe").field("logged", &self.log.lock().len()).finish_non_exhaustive()
    }
}

fn listed(events: &[LogEvent]) -> String {
    if events.is_empty() {
        return "nothing was".to_owned();
    }
    let mut lines = String::from("this was:");
    events.iter().for_each(|event| lines.push_str(&format!("\n  {event}")));
    lines
}

/// Keeps events, and passes everything on to whoever listened before. Spans are that one's alone.
struct Listener {
    log: Log,
    outer: Dispatch,
}

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.outer.register_callsite(metadata);
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() || self.outer.enabled(metadata)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.outer.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.outer.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.outer.record_follows_from(span, follows);
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut written = Written::default();
        event.record(&mut written);
        self.log.lock().push(LogEvent {
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            message: written.message,
            fields: written.fields,
            actor: Turn::current().map(|turn| turn.head().path().clone()),
        });
        if self.outer.enabled(metadata) {
            self.outer.event(event);
        }
    }

    fn enter(&self, span: &Id) {
        self.outer.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.outer.exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.outer.clone_span(span)
    }

    fn try_close(&self, span: Id) -> bool {
        self.outer.try_close(span)
    }
}

/// An event's fields as text.
#[derive(Default)]
struct Written {
    message: String,
    fields: BTreeMap<String, String>,
}

impl Written {
    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.fields.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Written {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string());
    }
}
