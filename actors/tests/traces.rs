//! Traces from sender to receiver.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorRef, ActorSystem, AskError, Behavior, Handled, Mailbox, Props, ReplyTo, StashBuffer,
    TraceContext, Tracing,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};
use tracing_core::span::Current;

const SECOND: Duration = Duration::from_secs(1);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn from_outside(flags: &str) -> TraceContext {
    TraceContext::from_headers(&format!("00-{TRACE}-00f067aa0ba902b7-{flags}"), "vendor=1").unwrap()
}

#[derive(Clone, Debug, Default, PartialEq)]
struct SpanSeen {
    fields: BTreeMap<String, String>,
    is_root: bool,
    /// The fields of the span it follows from.
    follows: Option<BTreeMap<String, String>>,
    /// What was logged in it.
    events: Vec<String>,
    entered: u32,
    closed: bool,
}

impl SpanSeen {
    fn actor(&self) -> &str {
        &self.fields["actor"]
    }
}

/// All spans of messages, on this thread.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<SpansSeen>>);

#[derive(Default)]
struct SpansSeen {
    spans: Vec<(&'static Metadata<'static>, SpanSeen, u32)>,
    stack: Vec<u64>,
}

impl Spans {
    fn listen() -> (Self, DefaultGuard) {
        let spans = Self::default();
        (spans.clone(), tracing::subscriber::set_default(Listener(spans)))
    }

    fn seen(&self) -> Vec<SpanSeen> {
        let seen = self.0.lock().unwrap();
        seen.spans
            .iter()
            .filter(|(metadata, ..)| metadata.name() == "message")
            .map(|(_, span, _)| span.clone())
            .collect()
    }
}

struct Listener(Spans);

impl Listener {
    fn with<R>(&self, id: &Id, look: impl FnOnce(&mut SpanSeen, &mut u32) -> R) -> R {
        let (_, span, holders) = &mut self.0.0.lock().unwrap().spans[id.into_u64() as usize - 1];
        look(span, holders)
    }
}

impl Subscriber for Listener {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut seen = SpanSeen { is_root: span.is_root(), ..SpanSeen::default() };
        span.record(&mut Fields(&mut seen.fields));
        let mut spans = self.0.0.lock().unwrap();
        spans.spans.push((span.metadata(), seen, 1));
        Id::from_u64(spans.spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.with(span, |span, _| values.record(&mut Fields(&mut span.fields)));
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        let followed = self.with(follows, |span, _| {
            assert!(!span.closed, "a span that is linked to is still there");
            span.fields.clone()
        });
        self.with(span, |span, _| span.follows = Some(followed));
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        let mut seen = self.0.0.lock().unwrap();
        if let Some(&top) = seen.stack.last() {
            seen.spans[top as usize - 1].1.events.push(fields.remove("message").unwrap_or_default());
        }
    }

    fn enter(&self, span: &Id) {
        self.with(span, |span, _| span.entered += 1);
        self.0.0.lock().unwrap().stack.push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let top = self.0.0.lock().unwrap().stack.pop();
        assert_eq!(top, Some(span.into_u64()), "spans are left in the order in which they were entered");
    }

    fn current_span(&self) -> Current {
        let seen = self.0.0.lock().unwrap();
        match seen.stack.last() {
            Some(&top) => Current::new(Id::from_u64(top), seen.spans[top as usize - 1].0),
            None => Current::none(),
        }
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.with(span, |_, holders| *holders += 1);
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        self.with(&span, |span, holders| {
            *holders -= 1;
            span.closed = *holders == 0;
            span.closed
        })
    }
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

/// Passes on what it is told, and says of which trace it is.
struct Relay {
    told: ActorRef<Option<TraceContext>>,
    stash: StashBuffer<RelayMessage>,
}

enum RelayMessage {
    /// The last of them passes it on, and so on.
    Tell(Vec<ActorRef<RelayMessage>>),
    /// Each waits for the answer of the next.
    Ask(Vec<ActorRef<RelayMessage>>, ReplyTo<Option<TraceContext>>),
    /// The answer, and then what is piped, come as messages.
    AskAside(ActorRef<RelayMessage>),
    Answered(#[expect(dead_code, reason = "that it comes is enough")] Result<Option<TraceContext>, AskError>),
    Piped,
    SleepThenLog,
    HoldBack,
    BringBack,
    Timer,
    Tick,
    Fail,
}
use RelayMessage::{Answered, Ask, AskAside, BringBack, Fail, HoldBack, Piped, SleepThenLog, Tell, Tick, Timer};

impl Actor for Relay {
    type Message = RelayMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<RelayMessage>, message: RelayMessage) -> Handled {
        assert_eq!(ctx.trace_context(), TraceContext::current());
        match message {
            Tell(mut further) => match further.pop() {
                Some(next) => next.tell(Tell(further)),
                None => self.told.tell(ctx.trace_context()),
            },
            Ask(mut further, reply_to) => match further.pop() {
                Some(next) => reply_to.tell(next.ask(|reply_to| Ask(further, reply_to), SECOND).await?),
                None => reply_to.tell(ctx.trace_context()),
            },
            AskAside(next) => ctx.ask(&next, |reply_to| Ask(Vec::new(), reply_to), SECOND, Answered),
            Answered(_) => {
                self.told.tell(ctx.trace_context());
                ctx.pipe_to_self(async {}, |()| Piped);
            }
            Piped => self.told.tell(ctx.trace_context()),
            SleepThenLog => {
                tracing::info!("before");
                ctx.clock().sleep(SECOND).await;
                tracing::info!("after");
            }
            HoldBack if self.stash.is_empty() => ctx.stash(&mut self.stash, HoldBack)?,
            HoldBack => self.told.tell(ctx.trace_context()),
            BringBack => {
                ctx.unstash_all(&mut self.stash);
                self.stash.stash(Tick)?; // the next one finds it shut no more
            }
            Timer => ctx.timers().start_single("tick", SECOND * 3, Tick),
            Tick => self.told.tell(ctx.trace_context()),
            Fail => panic!("told to"),
        }
        Ok(Behavior::Same)
    }
}

fn relay(told: ActorRef<Option<TraceContext>>) -> Props<Relay> {
    Props::new(move || Relay { told: told.clone(), stash: StashBuffer::with_capacity(3) })
}

fn hex(context: &TraceContext) -> String {
    format!("{:016x}", context.span_id())
}

#[test]
fn a_trace_goes_from_the_edge_by_tell_and_every_turn_is_a_span_linked_to_its_senders() {
    let (spans, _listening) = Spans::listen();
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let [first, second, third] =
        ["first", "second", "third"].map(|name| kit.spawn(name, relay(probe.actor_ref()).traced()));
    from_outside("01").enter(|| first.tell(Tell(vec![third, second])));
    let last = probe.expect_message().unwrap();
    assert_eq!((format!("{:032x}", last.trace_id()).as_str(), last.is_sampled()), (TRACE, true));
    assert_eq!(last.state().as_str(), "vendor=1");

    let seen = spans.seen();
    assert_eq!(seen.iter().map(SpanSeen::actor).collect::<Vec<_>>(), ["/user/first", "/user/second", "/user/third"]);
    let mut parent = "00f067aa0ba902b7".to_owned();
    for (at, span) in seen.iter().enumerate() {
        assert!(span.is_root && span.closed && span.entered > 0, "{span:?}");
        assert_eq!((span.fields["trace_id"].as_str(), &span.fields["parent"]), (TRACE, &parent));
        assert!(span.fields["message_type"].ends_with("RelayMessage"));
        assert_eq!(span.follows.as_ref(), at.checked_sub(1).map(|before| &seen[before].fields));
        parent = span.fields["span_id"].clone();
    }
    assert_eq!(parent, hex(&last), "a handler is told of the span it is");
    assert_eq!(TraceContext::current(), None);
}

#[test]
fn a_trace_goes_by_ask_and_back_with_answers_and_what_is_piped() {
    let (spans, _listening) = Spans::listen();
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let [first, second, third] =
        ["first", "second", "third"].map(|name| kit.spawn(name, relay(probe.actor_ref()).traced()));
    let asked = from_outside("01").scope(async { first.ask(|to| Ask(vec![third, second.clone()], to), SECOND).await });
    let last = kit.block_on(asked).unwrap().unwrap();
    assert_eq!(format!("{:032x}", last.trace_id()), TRACE);
    let parents = |spans: &[SpanSeen]| spans.iter().map(|span| span.fields["parent"].clone()).collect::<Vec<_>>();
    let ids = |spans: &[SpanSeen]| spans.iter().map(|span| span.fields["span_id"].clone()).collect::<Vec<_>>();
    let seen = spans.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(parents(&seen)[1..], ids(&seen)[..2]);

    from_outside("01").enter(|| first.tell(AskAside(second)));
    let (answered, piped) = (probe.expect_message().unwrap(), probe.expect_message().unwrap());
    let seen = &spans.seen()[3..];
    let (parents, ids) = (parents(seen), ids(seen));
    assert_eq!(
        seen.iter().map(SpanSeen::actor).collect::<Vec<_>>(),
        ["/user/first", "/user/second", "/user/first", "/user/first"]
    );
    assert_eq!(
        parents[1..],
        [ids[0].clone(), ids[0].clone(), ids[2].clone()],
        "each comes from where it was asked for"
    );
    assert_eq!([hex(&answered), hex(&piped)], ids[2..]);
}

#[test]
fn a_trace_that_is_not_recorded_is_handed_on_without_spans() {
    let (spans, _listening) = Spans::listen();
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let [first, second] = ["first", "second"].map(|name| kit.spawn(name, relay(probe.actor_ref()).traced()));
    from_outside("00").enter(|| first.tell(Tell(vec![second])));
    let last = probe.expect_message().unwrap();
    assert_eq!((format!("{:032x}", last.trace_id()).as_str(), last.is_sampled()), (TRACE, false));
    assert_eq!(spans.seen(), []);
}

#[test]
fn an_actor_that_is_not_traced_knows_of_no_trace_and_ends_it() {
    let (spans, _listening) = Spans::listen();
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let plain = kit.spawn("plain", relay(probe.actor_ref()));
    let traced = kit.spawn("traced", relay(probe.actor_ref()).traced());
    from_outside("01").enter(|| plain.tell(Tell(vec![])));
    assert_eq!(probe.expect_message(), None);
    // Awaited in the scope, so that the thread which asks may itself run whom it asks.
    let asked = from_outside("01").scope(async { plain.ask(|reply_to| Ask(vec![], reply_to), SECOND).await });
    assert_eq!(kit.block_on(asked), Ok(None));
    assert_eq!(spans.seen(), []);

    from_outside("01").enter(|| plain.tell(Tell(vec![traced])));
    let last = probe.expect_message().unwrap();
    assert_ne!(format!("{:032x}", last.trace_id()), TRACE, "a trace of its own");
    let [span] = &spans.seen()[..] else { panic!("one span") };
    assert!(!span.fields.contains_key("parent") && span.follows.is_none(), "{span:?}");
}

#[test]
fn what_is_logged_in_a_handler_lies_in_its_span_whatever_it_awaits() {
    let (spans, _listening) = Spans::listen();
    let kit = TestKit::new();
    let probe = kit.probe();
    let slow = kit.spawn("slow", relay(probe.actor_ref()).traced());
    slow.tell(SleepThenLog);
    kit.settle();
    tracing::info!("meanwhile");
    kit.advance(SECOND);
    let [span] = &spans.seen()[..] else { panic!("one span") };
    assert_eq!(span.events, ["before", "after"]);
    assert!(span.closed);
}

#[test]
fn a_trace_waits_with_a_message_that_is_held_back() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let relay = kit.spawn("relay", relay(probe.actor_ref()).traced());
    from_outside("01").enter(|| relay.tell(HoldBack));
    relay.tell(BringBack);
    let held = probe.expect_message().unwrap();
    assert_eq!(format!("{:032x}", held.trace_id()), TRACE);
}

#[test]
fn a_trace_ends_with_its_turn_and_with_a_failure() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let props = relay(probe.actor_ref()).traced().supervise(actors::SupervisorStrategy::restart());
    let relay = kit.spawn("relay", props);
    from_outside("01").enter(|| relay.tell(Timer));
    from_outside("01").enter(|| relay.tell(Fail));
    relay.tell(Tell(vec![]));
    let next = probe.expect_message().unwrap();
    assert_ne!(format!("{:032x}", next.trace_id()), TRACE);
    from_outside("01").enter(|| relay.tell(Timer));
    kit.advance(SECOND * 3);
    let tick = probe.expect_message().unwrap();
    assert_ne!(format!("{:032x}", tick.trace_id()), TRACE, "time brings no trace");
    assert_ne!(tick.trace_id(), next.trace_id());
}

#[test]
fn a_question_that_expired_leaves_its_trace_to_nobody() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let props = relay(probe.actor_ref()).tracing(Tracing::new().sample_roots(0.0));
    let relay = kit.spawn("relay", props);
    relay.tell(Timer);
    relay.tell(SleepThenLog);
    kit.settle();
    let late = from_outside("01").enter(|| relay.ask(|to| Ask(vec![], to), SECOND / 2));
    kit.advance(SECOND);
    kit.advance(SECOND * 2);
    assert_eq!(kit.block_on(late), Err(AskError::Timeout));
    assert_eq!(probe.expect_message(), None, "the timer comes from nowhere");
    assert_eq!(kit.system().event_stream().dead_letters(actors::DeadLetterReason::Expired), 1);
}

#[test]
fn as_many_traces_begin_as_are_wanted() {
    let (spans, _listening) = Spans::listen();
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let shares = [0.0, 0.5, 1.0];
    let [none, half, all] = shares.map(|share| {
        kit.spawn(format!("r{share}"), relay(probe.actor_ref()).tracing(Tracing::new().sample_roots(share)))
    });
    none.tell(Tell(vec![]));
    assert_eq!(probe.expect_message(), None);
    from_outside("01").enter(|| none.tell(Tell(vec![])));
    assert!(probe.expect_message().unwrap().is_sampled(), "it follows all the same");
    let before = spans.seen().len();
    for _ in 0..200 {
        half.tell(Tell(vec![]));
    }
    let begun: Vec<_> = probe.drain().into_iter().flatten().collect();
    let sampled = begun.iter().filter(|context| context.is_sampled()).count();
    assert_eq!(begun.len(), 200);
    assert!((60..140).contains(&sampled), "{sampled} of 200");
    assert_eq!(spans.seen().len() - before, sampled);
    all.tell(Tell(vec![]));
    assert!(probe.expect_message().unwrap().is_sampled());
}

#[test]
fn a_traced_actor_keeps_the_bound_of_its_mailbox() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let relay = kit.spawn("relay", relay(probe.actor_ref()).traced().mailbox(Mailbox::bounded(2)));
    relay.tell(SleepThenLog);
    kit.settle();
    assert!(relay.try_tell(Tell(vec![])).is_ok() && relay.try_tell(Tell(vec![])).is_ok());
    assert!(relay.try_tell(Tell(vec![])).is_err());
    assert_eq!(relay.queued(), 2);
    kit.advance(SECOND);
    assert_eq!(probe.drain().len(), 2);
}

#[test]
fn a_system_traces_all_but_its_own_and_those_that_say_otherwise() {
    let (spans, _listening) = Spans::listen();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let system = ActorSystem::builder("traced").tracing(Tracing::new()).start();
        let ask = |actor: ActorRef<RelayMessage>| async move {
            let asked = async { actor.ask(|reply_to| Ask(vec![], reply_to), SECOND * 60).await };
            from_outside("01").scope(asked).await.unwrap()
        };
        let nowhere = system.ignore_ref();
        let plain = system.spawn("plain", relay(nowhere.clone()));
        assert_eq!(format!("{:032x}", ask(plain).await.unwrap().trace_id()), TRACE);
        let own = system.spawn_internal("own", relay(nowhere.clone()));
        assert_eq!(ask(own).await, None);
        let other = system.spawn("other", relay(nowhere).tracing(Tracing::new().sample_roots(0.0)));
        other.tell(Tick);
        assert!(ask(other).await.is_some());
    });
    let seen = spans.seen();
    assert_eq!(seen.iter().map(SpanSeen::actor).collect::<Vec<_>>(), ["/user/plain", "/user/other"]);
}
