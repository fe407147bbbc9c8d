//! [`Props`]: how to make an actor, and under which rules it lives.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::actor::{Actor, BoxError};
use crate::context::ActorContext;
use crate::failed_message::{FailedMessage, FailedPolicy};
use crate::foyer::Scale;
use crate::mailbox::Mailbox;
use crate::supervision::{Supervision, SupervisorStrategy};
use crate::trace::Tracing;

/// How to make an actor, and under which rules it lives.
///
/// A plain value turns into `Props` too; it has no factory, so it cannot be supervised into a restart: where the strategy
/// says restart, it stops.
#[must_use = "props do nothing until they are spawned"]
pub struct Props<A: Actor> {
    pub(crate) factory: Factory<A>,
    pub(crate) supervision: Option<Box<Supervision>>,
    pub(crate) mailbox: Mailbox,
    pub(crate) scale: Option<Box<Scale<A::Message>>>,
    pub(crate) tracing: Option<Tracing>,
    pub(crate) stop_timeout: Option<Duration>,
    pub(crate) stop_limit: Option<Duration>,
    pub(crate) failed: Option<FailedPolicy<A::Message>>,
    /// The name of the type that matters to people: not that of what was put around it.
    pub(crate) actor_type: Option<fn() -> &'static str>,
    pub(crate) pinned: bool,
}

pub(crate) type Build<A> = dyn FnMut(&mut ActorContext<<A as Actor>::Message>) -> Result<A, BoxError> + Send;

pub(crate) enum Factory<A: Actor> {
    Value(A),
    Build(Box<Build<A>>),
}

impl<A: Actor> Props<A> {
    /// An actor made by `factory`, anew for each life.
    pub fn new(mut factory: impl FnMut() -> A + Send + 'static) -> Self {
        Self::try_setup(move |_| Ok(factory()))
    }

    /// An actor made by `factory`, which may already spawn children, watch and start timers.
    pub fn setup(mut factory: impl FnMut(&mut ActorContext<A::Message>) -> A + Send + 'static) -> Self {
        Self::try_setup(move |ctx| Ok(factory(ctx)))
    }

    /// As [`setup`](Props::setup), for a factory that can fail. Its error is a failure to start.
    pub fn try_setup(
        factory: impl FnMut(&mut ActorContext<A::Message>) -> Result<A, BoxError> + Send + 'static,
    ) -> Self {
        Self::with_factory(Factory::Build(Box::new(factory)))
    }

    fn with_factory(factory: Factory<A>) -> Self {
        Self {
            factory,
            supervision: None,
            mailbox: Mailbox::default(),
            scale: None,
            tracing: None,
            stop_timeout: None,
            stop_limit: None,
            failed: None,
            actor_type: None,
            pinned: false,
        }
    }

    /// What happens on a failure that no [`supervise_error`](Props::supervise_error) names. Default: stop.
    pub fn supervise(mut self, strategy: SupervisorStrategy) -> Self {
        self.supervision.get_or_insert_default().set_fallback(strategy);
        self
    }

    /// What happens on a failure of type `E`. The first that matches decides; [`Panicked`](crate::Panicked) and
    /// [`DeathPact`](crate::DeathPact) are such types too.
    pub fn supervise_error<E: Error + 'static>(mut self, strategy: SupervisorStrategy) -> Self {
        self.supervision.get_or_insert_default().add_rule::<E>(strategy);
        self
    }

    /// How many messages may wait. Default: [`Mailbox::DEFAULT_CAPACITY`].
    pub fn mailbox(mut self, mailbox: Mailbox) -> Self {
        self.mailbox = mailbox;
        self
    }

    /// What the messages that wait may weigh together, besides [`mailbox`](Props::mailbox)'s bound of their number; `weigh`
    /// says what one holds, in bytes or whatever `limit` counts, in its sender's turn. What does not fit is treated as any
    /// message without room. A message heavier than `limit` is let in when nothing else waits, so that it is not refused for
    /// ever.
    ///
    /// The account is exact: a message weighs what it weighed when it was sent, from there until the actor takes it. Where a
    /// message is made only once it is let in, by [`ActorRef::map`](crate::ActorRef::map), `limit` may be exceeded by one
    /// message for each such sender at that moment. Those through a [`message_adapter`](ActorContext::message_adapter) weigh
    /// nothing, and elements of a stream are bounded by what that may have on the way. Costs a lock per message.
    ///
    /// ```
    /// # use actors::{Behavior, FnActor, Props};
    /// # let keeper = || FnActor::new((), |_: &mut (), _ctx, _page: Vec<u8>| Ok(Behavior::Same));
    /// let props = Props::new(keeper).mailbox_bytes(64 << 20, Vec::len);
    /// ```
    ///
    /// # Panics
    /// When `limit` is zero.
    pub fn mailbox_bytes(mut self, limit: u64, weigh: impl Fn(&A::Message) -> usize + Send + Sync + 'static) -> Self {
        assert!(limit > 0, "mailbox_bytes: `limit` must be at least 1");
        self.scale = Some(Box::new(Scale { limit, weigh: std::sync::Arc::new(weigh) }));
        self
    }

    /// Gives this actor a thread of its own, from its spawn to its end: its handlers may block. It keeps its mailbox, its
    /// supervision and all else. The thread is a tokio runtime of its own, which serves timers and sockets a handler waits
    /// for; what a handler spawns with tokio itself runs there too and ends with the actor.
    ///
    /// A message to or from it costs a switch of threads. An actor for which the operating system has no thread fails to
    /// start. While a handler blocks nothing interrupts it, not even [`stop_timeout`](Props::stop_timeout).
    /// [`ActorContext::spawn_blocking`] is for an actor that blocks now and then.
    ///
    /// In a [`TestKit`](crate::testkit::TestKit), and wherever time is virtual, it has none, so that each run is the same.
    pub fn pinned(mut self) -> Self {
        self.pinned = true;
        self
    }

    /// How long a handler may keep this actor from stopping once its parent stops it; then the handler is dropped at
    /// its next await point and [`StopForced`](crate::StopForced) is published. Default: as long as it takes. A
    /// handler that never awaits cannot be interrupted.
    pub fn stop_timeout(mut self, within: Duration) -> Self {
        self.stop_timeout = Some(within);
        self
    }

    /// How long this actor and all below it may take to end once its parent stops it, as if it were told by
    /// [`stop_within`](ActorContext::stop_within) each time. Default: as long as it takes.
    pub fn stop_limit(mut self, within: Duration) -> Self {
        self.stop_limit = Some(within);
        self
    }

    /// What becomes of a message from the mailbox or a stash whose handler failed. Default: it is gone.
    ///
    /// The actor copies each message before it handles it; give it messages that are cheap to copy, an `Arc` around what is
    /// large. A message that was asked cannot be copied, because it is answered once: protocols with a
    /// [`ReplyTo`](crate::ReplyTo) in them are not `Clone`. What timers and answers bring is not covered.
    ///
    /// # Panics
    /// When it is to be redelivered at most zero times.
    pub fn on_failed_message(mut self, what: FailedMessage) -> Self
    where
        A::Message: Clone,
    {
        if let FailedMessage::Redeliver { max } | FailedMessage::RedeliverThenPark { max } = what {
            assert!(max > 0, "on_failed_message: `max` must be at least 1; use `Drop` or `Park` for no redelivery");
        }
        self.failed = (what != FailedMessage::Drop).then_some(FailedPolicy { what, copy: A::Message::clone });
        self
    }
}

impl<A: Actor> Props<A> {
    /// The same rules for an actor around this one; `before` comes ahead of each run of the factory.
    pub(crate) fn around<B: Actor<Message = A::Message>>(
        self,
        mut before: impl FnMut(&mut ActorContext<A::Message>) + Send + 'static,
        mut around: impl FnMut(Result<A, BoxError>) -> Result<B, BoxError> + Send + 'static,
    ) -> Props<B> {
        let factory = match self.factory {
            Factory::Value(value) => {
                Factory::Value(around(Ok(value)).expect("an actor that is there is wrapped, whatever else may fail"))
            }
            Factory::Build(mut build) => Factory::Build(Box::new(move |ctx| {
                before(ctx);
                around(build(ctx))
            })),
        };
        let Self { supervision, mailbox, scale, tracing, stop_timeout, stop_limit, failed, actor_type, pinned, .. } =
            self;
        let actor_type = actor_type.or(Some(std::any::type_name::<A>));
        Props { factory, supervision, mailbox, scale, tracing, stop_timeout, stop_limit, failed, actor_type, pinned }
    }
}

impl<A: Actor> From<A> for Props<A> {
    fn from(actor: A) -> Self {
        Self::with_factory(Factory::Value(actor))
    }
}

impl<A: Actor> fmt::Debug for Props<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Props")
            .field("supervision", &self.supervision)
            .field("mailbox", &self.mailbox)
            .field("mailbox_bytes", &self.scale.as_ref().map(|scale| scale.limit))
            .field("tracing", &self.tracing)
            .field("stop_timeout", &self.stop_timeout)
            .field("stop_limit", &self.stop_limit)
            .field("pinned", &self.pinned)
            .finish_non_exhaustive()
    }
}
