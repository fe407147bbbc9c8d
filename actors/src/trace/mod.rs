//! Traces across actors: each message a traced actor handles is a span, linked to what its sender did.
//!
//! Where a message comes from lies beside it in the receiver's [foyer](crate::foyer), which only actors have that asked for
//! one: others pay nothing.

mod context;
mod scope;
mod state;
#[cfg(test)]
mod tests;

use std::any::type_name;
use std::num::{NonZeroU64, NonZeroU128};

use parking_lot::Mutex;
use tracing::{Instrument, Span, field, info_span};

pub use self::context::{TraceContext, TraceContextError};
pub use self::scope::InTrace;
pub(crate) use self::scope::here;
pub use self::state::TraceState;
use crate::actor::{Actor, Handled};
use crate::ask_chain::Turn;
use crate::cell::Head;
use crate::context::ActorContext;
use crate::props::Props;

/// How an actor is traced, or a whole system: see [`Props::tracing`] and
/// [`ActorSystemBuilder::tracing`](crate::ActorSystemBuilder::tracing).
///
/// Each message that a traced actor handles is a [`tracing`] span named `message`, a root of its own that
/// [follows from](tracing::Span::follows_from) the span in which it was sent. Its fields: `actor` (the path), `message_type`,
/// `trace_id`, `span_id`, and `parent`, the span id of the sender; an exporter turns them into what its system wants.
///
/// The context passes from the handler of one traced actor to the next, with `tell` and `ask` alike, with answers to
/// [`ActorContext::ask`], and with what is piped. An actor that is not traced ends it. What comes from nowhere, a timer for
/// instance, begins a trace of its own.
///
/// A traced actor's mailbox costs a lock per message, and each recorded message the span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tracing {
    share: f64,
}

impl Tracing {
    /// Follows traces, and records every message that begins one.
    pub const fn new() -> Self {
        Self { share: 1.0 }
    }

    /// The share of messages without a trace that begin a recorded one, from 0 to 1. With 0 traces are followed and none begins
    /// here; with anything between, those that are not recorded are marked so and handed on.
    ///
    /// # Panics
    /// When `share` is not a number from 0 to 1.
    #[must_use]
    pub fn sample_roots(mut self, share: f64) -> Self {
        assert!((0.0..=1.0).contains(&share), "sample_roots: the share must be from 0 to 1, is {share}");
        self.share = share;
        self
    }
}

impl Default for Tracing {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Actor> Props<A> {
    /// Makes a span of each message this actor handles, linked to that of its sender. Off by default; see [`Tracing`].
    pub fn traced(self) -> Self {
        self.tracing(Tracing::new())
    }

    /// As [`traced`](Props::traced), with other settings.
    pub fn tracing(mut self, tracing: Tracing) -> Self {
        self.tracing = Some(tracing);
        self
    }
}

impl<M: Send + 'static> ActorContext<M> {
    /// The trace of the message in hand, if this actor is [`traced`](Props::traced): its span id is that of this turn, so it
    /// is what a request to another program says in its headers.
    pub fn trace_context(&self) -> Option<TraceContext> {
        self.head().tracer()?.current()
    }
}

/// Where a message was sent.
pub(crate) struct Origin {
    context: TraceContext,
    span: Span,
}

/// What a traced actor knows.
pub(crate) struct Tracer {
    tracing: Tracing,
    turn: Mutex<TracedTurn>,
}

#[derive(Default)]
struct TracedTurn {
    /// Where the message comes from that is handled next.
    came_from: Option<Box<Origin>>,
    /// Of the message in hand.
    current: Option<TraceContext>,
}

impl Tracer {
    pub(crate) fn new(tracing: Tracing) -> Self {
        Self { tracing, turn: Mutex::default() }
    }

    pub(crate) fn current(&self) -> Option<TraceContext> {
        self.turn.lock().current.clone()
    }

    /// The next message to be handled was sent there.
    pub(crate) fn came_from(&self, origin: Option<Box<Origin>>) {
        let before = std::mem::replace(&mut self.turn.lock().came_from, origin);
        drop(before); // outside the lock: it may close a span
    }

    /// The span of the turn that begins.
    fn begin(&self, head: &Head, message_type: &'static str) -> Span {
        let origin = self.turn.lock().came_from.take();
        let context = match &origin {
            Some(origin) => Some(origin.context.child(span_id(head))),
            None if self.tracing.share == 0.0 => None,
            None => Some(self.root(head)),
        };
        let span = match &context {
            Some(context) if context.is_sampled() => {
                let span = info_span!(
                    target: "actors::message",
                    parent: None,
                    "message",
                    actor = %head.path(),
                    message_type,
                    trace_id = format_args!("{:032x}", context.trace_id()),
                    span_id = format_args!("{:016x}", context.span_id()),
                    parent = field::Empty,
                );
                if let Some(Origin { context, span: sender }) = origin.as_deref() {
                    span.record("parent", format_args!("{:016x}", context.span_id()));
                    span.follows_from(sender);
                }
                span
            }
            Some(_) | None => Span::none(),
        };
        self.turn.lock().current = context;
        span
    }

    fn root(&self, head: &Head) -> TraceContext {
        let sampled = self.tracing.share >= 1.0 || head.system().random() < self.tracing.share;
        let trace_id = u128::from(random(head)) << 64 | u128::from(random(head));
        let trace_id = NonZeroU128::new(trace_id).unwrap_or(NonZeroU128::MIN);
        TraceContext::new(trace_id, span_id(head), sampled)
    }
}

fn span_id(head: &Head) -> NonZeroU64 {
    NonZeroU64::new(random(head)).unwrap_or(NonZeroU64::MIN)
}

fn random(head: &Head) -> u64 {
    head.system().random_bits()
}

/// `actor` handles `message`, and that is traced.
pub(crate) async fn receive<A: Actor>(
    actor: &mut A,
    ctx: &mut ActorContext<A::Message>,
    message: A::Message,
) -> Handled {
    let this = ctx.this().clone();
    let head = this.control().head();
    let Some(tracer) = head.tracer() else { return actor.receive(ctx, message).await };
    let span = tracer.begin(head, type_name::<A::Message>());
    let _over = Over(tracer);
    actor.receive(ctx, message).instrument(span).await
}

/// The turn is over, however it ends.
struct Over<'a>(&'a Tracer);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.turn.lock().current = None;
    }
}

/// The trace a request of a traced actor belongs to, kept until its answer is handled.
pub(crate) struct Carried(Option<Box<Origin>>);

impl Carried {
    /// Of what `head` does now.
    pub(crate) fn from(head: &Head) -> Self {
        Self(head.tracer().and_then(|_| here()).map(Box::new))
    }

    /// The message that is being made comes from there. To be called in the actor's turn.
    pub(crate) fn arrive(self) {
        if let (Some(origin), Some(turn)) = (self.0, Turn::current())
            && let Some(tracer) = turn.head().tracer()
        {
            tracer.came_from(Some(origin));
        }
    }
}
