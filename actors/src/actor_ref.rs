//! [`ActorRef`]: tell, try_tell, send, ask.

use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::ask::{self, Ask, AskError, ReplyTo};
use crate::audience::Terminated;
use crate::block_queue::{Refusal, Room};
use crate::cell::Control;
use crate::cell_ref::{CellRef, ControlRef};
use crate::clock::{Clock, Tick};
use crate::discard;
use crate::envelope::{Letter, Question};
use crate::event_stream::DeadLetterReason;
use crate::path::ActorPath;
use crate::remote::StandIn;
use crate::router::Router;
use crate::system::ActorSystem;

/// Names one incarnation of an actor and takes messages for it. Cheap to clone.
///
/// It keeps nothing alive: the parent owns the actor. Once that has stopped, the reference leads to dead letters for
/// good; an actor spawned later under the same name is another one.
///
/// Equal when they name the same incarnation, through [`map`](ActorRef::map) or not.
pub struct ActorRef<M> {
    target: Target<M>,
}

enum Target<M> {
    Local(CellRef<M>),
    Other(Arc<dyn Recipient<M>>),
}

/// The contract of [`Recipient`], for the place where it is relied on.
pub(crate) const MADE_ONCE: &str = "a recipient makes the message once, and only when it takes it";

/// A waiting send; boxed only where the reference stands for another message type.
pub(crate) type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>>;

/// Stands for an actor whose messages are of another type.
///
/// Both ways of sending call `make` at most once, and only when there is room: on a refusal the message is still with
/// the caller.
pub(crate) trait Recipient<M>: Send + Sync {
    fn control(&self) -> &dyn Control;
    fn control_arc(&self) -> ControlRef;
    fn try_tell_with(&self, make: &mut dyn FnMut() -> M, question: Option<Question>) -> Result<(), Refusal>;
    fn send_with<'a>(&'a self, make: &'a mut (dyn FnMut() -> M + Send)) -> Sending<'a>;

    /// What stands for several actors takes messages as they are: it may have to look at them.
    fn router(&self) -> Option<&Router<M>> {
        None
    }

    /// What stands for an actor elsewhere.
    fn as_stand_in(&self) -> Option<&StandIn<M>> {
        None
    }

    /// As [`as_stand_in`](Self::as_stand_in).
    fn into_stand_in(self: Arc<Self>) -> Option<Arc<StandIn<M>>> {
        None
    }
}

impl<M: Send + 'static> ActorRef<M> {
    pub(crate) fn local(cell: CellRef<M>) -> Self {
        Self { target: Target::Local(cell) }
    }

    pub(crate) fn other(recipient: impl Recipient<M> + 'static) -> Self {
        Self { target: Target::Other(Arc::new(recipient)) }
    }

    pub(crate) fn of_router(router: Arc<Router<M>>) -> Self {
        Self { target: Target::Other(router) }
    }

    pub(crate) fn stand_in(stand_in: Arc<StandIn<M>>) -> Self {
        Self { target: Target::Other(stand_in) }
    }

    pub(crate) fn as_stand_in(&self) -> Option<&StandIn<M>> {
        match &self.target {
            Target::Local(_) => None,
            Target::Other(recipient) => recipient.as_stand_in(),
        }
    }

    pub(crate) fn arc_stand_in(&self) -> Option<Arc<StandIn<M>>> {
        match &self.target {
            Target::Local(_) => None,
            Target::Other(recipient) => recipient.clone().into_stand_in(),
        }
    }

    /// Where what stands for the actor lies; none for an actor that is addressed directly.
    pub(crate) fn recipient_address(&self) -> Option<usize> {
        match &self.target {
            Target::Local(_) => None,
            Target::Other(recipient) => Some(Arc::as_ptr(recipient).cast::<()>().addr()),
        }
    }

    fn router(&self) -> Option<&Router<M>> {
        match &self.target {
            Target::Local(_) => None,
            Target::Other(recipient) => recipient.router(),
        }
    }

    /// Sends `message`. Never blocks and allocates nothing for it.
    ///
    /// What cannot be delivered, because the actor has stopped or its mailbox is full, becomes a dead letter: counted,
    /// published, and sampled in the log. Who wants to know uses [`try_tell`](ActorRef::try_tell).
    ///
    /// # Ordering
    /// Messages from one task to one actor arrive in the order their `tell`, `try_tell`, `ask` or `send` returned,
    /// across restarts too. Nothing is promised between two senders; signals overtake messages.
    #[inline]
    pub fn tell(&self, message: M) {
        let refused = match &self.target {
            Target::Local(cell) => cell.try_tell(message, None),
            Target::Other(_) => self.try_tell_linked(message, None),
        };
        if let Err(refused) = refused {
            self.refused(refused);
        }
    }

    /// As [`tell`](ActorRef::tell), with what is behind the message.
    pub(crate) fn tell_linked(&self, message: M, question: Option<Question>) {
        if let Err(refused) = self.try_tell_linked(message, question) {
            self.refused(refused);
        }
    }

    #[cold]
    fn refused(&self, refused: TryTellError<M>) {
        match refused {
            TryTellError::Stopped(message) => self.undelivered(DeadLetterReason::Stopped, message),
            TryTellError::Full(message) => {
                let reason = self.router().map_or(DeadLetterReason::MailboxFull, Router::full_reason);
                if reason == DeadLetterReason::MailboxFull {
                    self.control().head().warn_full();
                }
                self.undelivered(reason, message);
            }
        }
    }

    /// Sends `message`, or returns it. Never blocks. Order as [`tell`](ActorRef::tell).
    ///
    /// # Errors
    /// [`TryTellError::Full`] and [`TryTellError::Stopped`] hold the message; nothing was sent and nothing counted.
    pub fn try_tell(&self, message: M) -> Result<(), TryTellError<M>> {
        self.try_tell_linked(message, None)
    }

    pub(crate) fn try_tell_linked(&self, message: M, question: Option<Question>) -> Result<(), TryTellError<M>> {
        match &self.target {
            Target::Local(cell) => cell.try_tell(message, question),
            Target::Other(recipient) => {
                if let Some(router) = recipient.router() {
                    return router.try_tell(message, question);
                }
                if let Some(stand_in) = recipient.as_stand_in() {
                    return stand_in.try_tell(message, question);
                }
                let mut message = Some(message);
                let sent = recipient.try_tell_with(&mut || message.take().expect(MADE_ONCE), question);
                sent.map_err(|refusal| {
                    let message = message.take().expect(MADE_ONCE);
                    match refusal {
                        Refusal::Full => TryTellError::Full(message),
                        Refusal::Stopped => TryTellError::Stopped(message),
                    }
                })
            }
        }
    }

    /// Sends `message`, waiting for room in the mailbox. Those who wait get room in the order they came.
    ///
    /// # Ordering
    /// As [`tell`](ActorRef::tell).
    ///
    /// # Cancel safety
    /// Cancel safe: if the future is dropped before it is ready, the message was not sent.
    ///
    /// # Errors
    /// [`Stopped`] returns the message once the actor has terminated for good; a restart is not an error.
    pub async fn send(&self, message: M) -> Result<(), Stopped<M>> {
        match &self.target {
            Target::Local(cell) => cell.send(message).await,
            Target::Other(recipient) => {
                if let Some(router) = recipient.router() {
                    return router.send(message).await;
                }
                if let Some(stand_in) = recipient.as_stand_in() {
                    return stand_in.send(message).await;
                }
                let mut message = Some(message);
                let sent = recipient.send_with(&mut || message.take().expect(MADE_ONCE)).await;
                sent.map_err(|_| Stopped(message.take().expect(MADE_ONCE)))
            }
        }
    }

    /// Sends the question `make` returns and waits for its answer, `within` at most, counted from this call.
    ///
    /// The question is sent by this call, before the first poll. Awaited inside a handler it holds up that actor; use
    /// [`ActorContext::ask`](crate::ActorContext::ask) there unless that is wanted.
    ///
    /// Made inside a handler whose message was asked itself, it ends no later than that ask: see
    /// [`ActorContext::deadline`](crate::ActorContext::deadline). A question that still waits in the mailbox when its
    /// time is over is dropped there and becomes a dead letter of reason
    /// [`Expired`](crate::DeadLetterReason::Expired).
    ///
    /// It does not wait for room: a full mailbox is [`AskError::Full`]. To wait, [`send`](ActorRef::send) the question with
    /// a `ReplyTo` of [`ReplyTo::channel`], and await its `Ask` under [`Clock::timeout`](crate::Clock::timeout).
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future gives up the answer; the question stays sent.
    ///
    /// # Errors
    /// An [`AskError`] as soon as it is certain that no answer comes.
    pub fn ask<R: Send + 'static>(&self, make: impl FnOnce(ReplyTo<R>) -> M, within: Duration) -> Ask<R> {
        if let Target::Local(cell) = &self.target {
            cell.fetch();
        }
        let glance = Clock::glance(); // meanwhile: which clock it is, is among what is brought here
        let clock = self.system().clock();
        let now = clock.at(glance);
        if let Target::Local(cell) = &self.target {
            cell.queue().fetch();
        }
        ask::asked_at(now, clock);
        self.ask_until(make, now + within)
    }

    /// As [`ask`](ActorRef::ask), up to a moment of the system's clock.
    pub(crate) fn ask_until<R: Send + 'static>(&self, make: impl FnOnce(ReplyTo<R>) -> M, deadline: Tick) -> Ask<R> {
        Ask::start(self, deadline, |reply_to, question| self.question(make(reply_to), question))
    }

    /// Sends a message with a `ReplyTo` in it; a refusal reaches the asker through that.
    #[inline]
    pub(crate) fn question(&self, message: M, question: Option<Question>) {
        let sent = match (&self.target, question) {
            (Target::Local(cell), Some(Question::Until(deadline))) => cell.try_ask(message, deadline),
            (_, question) => self.try_tell_linked(message, question),
        };
        if let Err(refused) = sent {
            Self::unasked(refused);
        }
    }

    #[cold]
    fn unasked(refused: TryTellError<M>) {
        match refused {
            TryTellError::Full(message) => discard::because(AskError::Full, message),
            TryTellError::Stopped(message) => discard::because(AskError::Stopped, message),
        }
    }

    /// A reference for a part of this actor's protocol; `wrap` makes the message, in the sender's turn.
    ///
    /// It is equal to this reference and has the same mailbox, room and order.
    pub fn map<N: Send + 'static>(&self, wrap: impl Fn(N) -> M + Send + Sync + 'static) -> ActorRef<N> {
        ActorRef::other(Mapped { inner: self.clone(), wrap })
    }

    /// A reference for a part of this actor's protocol that turns into the whole by itself: [`map`](ActorRef::map) with
    /// `N::into`.
    pub fn narrow<N: Into<M> + Send + 'static>(&self) -> ActorRef<N> {
        self.map(N::into)
    }

    pub(crate) fn undelivered(&self, reason: DeadLetterReason, message: M) {
        self.control().head().dead_letter::<M>(reason);
        discard::because(reason.ask_error(), message);
    }

    pub(crate) fn control(&self) -> &dyn Control {
        match &self.target {
            Target::Local(cell) => cell,
            Target::Other(recipient) => recipient.control(),
        }
    }

    pub(crate) fn control_arc(&self) -> ControlRef {
        match &self.target {
            Target::Local(cell) => cell.clone().into(),
            Target::Other(recipient) => recipient.control_arc(),
        }
    }

    /// The cell of an actor that is addressed directly.
    pub(crate) fn cell(&self) -> Option<&CellRef<M>> {
        match &self.target {
            Target::Local(cell) => Some(cell),
            Target::Other(_) => None,
        }
    }

    fn key(&self) -> u128 {
        self.control().head().key()
    }

    pub(crate) fn system(&self) -> &ActorSystem {
        self.control().head().system()
    }

    /// Which incarnation this names.
    pub fn path(&self) -> &ActorPath {
        self.control().head().path()
    }

    /// Whether the actor takes no more messages: it stops or has stopped, for good.
    pub fn is_stopped(&self) -> bool {
        self.control().is_closed()
    }

    /// Waits until the actor has stopped for good, from wherever: its `PostStop` is over, its children have ended, and its name
    /// is free again if it was at the top. At once if it has stopped already; a restart is no end.
    ///
    /// The future keeps nothing alive and stops nobody. Awaited inside a handler it holds up that actor, for ever if that is the
    /// one waited for: there use [`ActorContext::watch`](crate::ActorContext::watch). When the runtime ends before the actor, it
    /// never comes.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future leaves nothing behind.
    pub fn terminated(&self) -> Terminated {
        Terminated::of(self.control_arc())
    }

    /// How many messages wait in its mailbox, of a router in those of its routees; a moment later it may be another
    /// number. The message in hand, and what the actor stashed, are not counted. While the actor works through a large
    /// mailbox, up to 32 of those it is through with still are, and never more than an eighth of the bound.
    pub fn queued(&self) -> usize {
        self.router().map_or_else(|| self.control().queued(), Router::queued)
    }

    pub(crate) fn try_tell_with(&self, make: &mut dyn FnMut() -> M, question: Option<Question>) -> Result<(), Refusal> {
        match &self.target {
            Target::Local(cell) => cell.try_deliver_with(Room::Ordinary, || Letter::new(make(), question)),
            Target::Other(recipient) => recipient.try_tell_with(make, question),
        }
    }

    pub(crate) async fn send_with(&self, make: &mut (dyn FnMut() -> M + Send)) -> Result<(), Refusal> {
        match &self.target {
            Target::Local(cell) => cell.deliver_with(|| Letter::new(make(), None)).await,
            Target::Other(recipient) => recipient.send_with(make).await,
        }
    }
}

impl<M> Clone for ActorRef<M> {
    fn clone(&self) -> Self {
        let target = match &self.target {
            Target::Local(cell) => Target::Local(cell.clone()),
            Target::Other(recipient) => Target::Other(recipient.clone()),
        };
        Self { target }
    }
}

impl<M: Send + 'static> PartialEq for ActorRef<M> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<M: Send + 'static> Eq for ActorRef<M> {}

impl<M: Send + 'static> Hash for ActorRef<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl<M: Send + 'static> fmt::Debug for ActorRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActorRef").field(self.path()).finish()
    }
}

/// The target of [`ActorRef::map`].
struct Mapped<M, F> {
    inner: ActorRef<M>,
    wrap: F,
}

impl<M, N, F> Recipient<N> for Mapped<M, F>
where
    M: Send + 'static,
    N: Send + 'static,
    F: Fn(N) -> M + Send + Sync,
{
    fn control(&self) -> &dyn Control {
        self.inner.control()
    }

    fn control_arc(&self) -> ControlRef {
        self.inner.control_arc()
    }

    fn try_tell_with(&self, make: &mut dyn FnMut() -> N, question: Option<Question>) -> Result<(), Refusal> {
        self.inner.try_tell_with(&mut || (self.wrap)(make()), question)
    }

    fn send_with<'a>(&'a self, make: &'a mut (dyn FnMut() -> N + Send)) -> Sending<'a> {
        Box::pin(async move { self.inner.send_with(&mut || (self.wrap)(make())).await })
    }
}

/// Why [`ActorRef::try_tell`] did not send; holds the message.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TryTellError<M> {
    /// The mailbox is full. A later attempt may succeed; [`ActorRef::send`] waits for that.
    #[error("the actor's mailbox is full")]
    Full(M),
    /// The actor has stopped for good. No later attempt succeeds.
    #[error("the actor has stopped")]
    Stopped(M),
}

impl<M> TryTellError<M> {
    /// The message that was not sent.
    pub fn into_message(self) -> M {
        match self {
            Self::Full(message) | Self::Stopped(message) => message,
        }
    }
}

impl<M> fmt::Debug for TryTellError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full",
            Self::Stopped(_) => "Stopped",
        })
    }
}

/// The actor has stopped for good; holds the message that was not sent.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor has stopped")]
pub struct Stopped<M>(pub M);

impl<M> fmt::Debug for Stopped<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stopped")
    }
}
