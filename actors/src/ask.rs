//! [`ReplyTo`]: where an answer goes. [`Ask`]: the wait for it. [`AskError`]: why it did not come.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::task::coop;

use crate::ask_chain::{Link, Returning};
use crate::cell::Head;
use crate::cell_ref::ControlRef;
use crate::clock::Tick;
use crate::discard;
use crate::envelope::Question;
use crate::reply_slot::ReplySlot;

/// Why an ask has no answer. Known as soon as it is certain, not only when the time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The time was over first. The question may still be handled, unless it waits in the mailbox; a late answer is
    /// dropped.
    #[error("no answer within the time given")]
    Timeout,
    /// The actor had stopped, or stopped before it came to the question. It was not handled, unless the actor had
    /// taken it and kept the `ReplyTo` when it stopped. Of an actor on another node: or that node is no member any more.
    #[error("the actor has stopped")]
    Stopped,
    /// The actor took the question and dropped its `ReplyTo`, by failing for instance. Of an actor on another node: or the
    /// question cannot be sent, that node cannot be reached, or it may not serve a singleton any more.
    #[error("the question was dropped without an answer")]
    NoReply,
    /// The actor's mailbox was full. The question was not sent.
    #[error("the actor's mailbox is full")]
    Full,
    /// The actor asked waits, in the end, for the asker. It never comes to the question; use `ctx.ask` to ask
    /// without blocking the asker.
    #[error("the ask goes in a circle: the actor asked waits for the asker")]
    Cycle,
}

/// What takes an answer, or the reason why there is none. Called at most once.
pub(crate) trait Port<T>: Send + Sync {
    fn complete(self: Arc<Self>, outcome: Result<T, AskError>);
    fn is_closed(&self) -> bool;
}

/// Where the answer to one question goes.
///
/// Answering consumes it, so there is at most one answer. Dropping it unanswered ends the ask at once with
/// [`AskError::NoReply`].
#[must_use = "dropping a `ReplyTo` tells the asker that there is no answer"]
pub struct ReplyTo<T> {
    port: Option<Arc<dyn Port<T>>>,
}

impl<T: Send + 'static> ReplyTo<T> {
    pub(crate) fn new(port: Arc<dyn Port<T>>) -> Self {
        Self { port: Some(port) }
    }

    #[cfg(feature = "serde")]
    pub(crate) fn port(&self) -> Option<&Arc<dyn Port<T>>> {
        self.port.as_ref()
    }

    /// A fresh pair, for code that is no actor and hands out a `ReplyTo`. The wait has no time limit.
    pub fn channel() -> (Self, Ask<T>) {
        let slot = ReplySlot::new();
        (Self::new(slot.clone()), Ask { slot, asked: None })
    }

    /// Calls `take` with the answer, or with the reason why there is none, in the turn of whoever answers.
    pub fn from_fn(take: impl FnOnce(Result<T, AskError>) + Send + 'static) -> Self {
        Self::new(Arc::new(Callback(Mutex::new(Some(take)))))
    }

    /// A `ReplyTo` that drops whatever it is given.
    pub fn ignore() -> Self {
        Self { port: None }
    }

    /// Gives the answer. Never blocks; an asker that no longer waits does not notice.
    pub fn tell(mut self, answer: T) {
        if let Some(port) = self.port.take() {
            port.complete(Ok(answer));
        }
    }

    /// Ends the ask without an answer and with this reason.
    pub fn fail(mut self, error: AskError) {
        if let Some(port) = self.port.take() {
            port.complete(Err(error));
        }
    }

    /// Whether nobody waits for the answer any more: the time is over or the asker is gone. A hint that work may be
    /// saved; an asker may give up right after.
    pub fn is_closed(&self) -> bool {
        self.port.as_ref().is_none_or(|port| port.is_closed())
    }

    /// A `ReplyTo` for a part of this one's answer.
    pub fn map<U: Send + 'static>(self, make: impl FnOnce(U) -> T + Send + 'static) -> ReplyTo<U> {
        ReplyTo::from_fn(move |outcome: Result<U, AskError>| match outcome {
            Ok(answer) => self.tell(make(answer)),
            Err(error) => self.fail(error),
        })
    }
}

impl<T> Drop for ReplyTo<T> {
    fn drop(&mut self) {
        if let Some(port) = self.port.take()
            && !discard::is_gone(&port)
        {
            port.complete(Err(discard::reason()));
        }
    }
}

impl<T> fmt::Debug for ReplyTo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyTo")
    }
}

struct Callback<F>(Mutex<Option<F>>);

impl<T, F: FnOnce(Result<T, AskError>) + Send> Port<T> for Callback<F> {
    fn complete(self: Arc<Self>, outcome: Result<T, AskError>) {
        let take = self.0.lock().take();
        if let Some(take) = take {
            take(outcome);
        }
    }

    fn is_closed(&self) -> bool {
        false
    }
}

impl<T: Send> Port<T> for ReplySlot<T> {
    fn complete(self: Arc<Self>, outcome: Result<T, AskError>) {
        self.fill(outcome);
    }

    fn is_closed(&self) -> bool {
        self.is_over()
    }
}

impl<T: Send> Returning for ReplySlot<T> {
    fn fail_with_cycle(&self) {
        self.fill(Err(AskError::Cycle));
    }

    fn is_answered(&self) -> bool {
        self.is_answered()
    }
}

struct Asked {
    target: ControlRef,
    /// The first poll has seen to it that somebody runs the target.
    polled: bool,
    deadline: Tick,
    link: Option<Arc<Link>>,
}

impl Asked {
    fn head(&self) -> &Head {
        self.target.head()
    }
}

/// The wait for one answer; made by [`ActorRef::ask`](crate::ActorRef::ask) and [`ReplyTo::channel`].
///
/// The question was sent when this was made. Cancel safe: dropping it gives up the answer, nothing else.
#[must_use = "the answer is lost unless this is awaited"]
pub struct Ask<T> {
    slot: Arc<ReplySlot<T>>,
    asked: Option<Asked>,
}

impl<T> Drop for Ask<T> {
    fn drop(&mut self) {
        self.slot.stop_timer();
        drop(self.slot.give_up());
        if let Some(Asked { link: Some(link), .. }) = &self.asked {
            link.over();
        }
    }
}

impl<T: Send + 'static> Ask<T> {
    /// Sends the question with `send`, which gets the place for the answer and the link to hand on.
    #[inline]
    pub(crate) fn start(target: ControlRef, deadline: Tick, send: impl FnOnce(ReplyTo<T>, Option<Question>)) -> Self {
        let slot = ReplySlot::new();
        let link = Link::for_ask_made_here(&target, deadline);
        let deadline = link.as_ref().map_or(deadline, |link| link.deadline());
        let question = link.clone().map_or(Question::Until(deadline), Question::Link);
        send(ReplyTo::new(slot.clone()), Some(question));
        Self { slot, asked: Some(Asked { target, polled: false, deadline, link }) }
    }
}

impl<T: Send + 'static> Future for Ask<T> {
    type Output = Result<T, AskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(asked) = &mut this.asked
            && !asked.polled
        {
            asked.polled = true;
            // Not inside a handler: whether that ask goes in a circle is known only once its asker waits.
            if asked.link.is_none() && !this.slot.is_answered() {
                // This thread has nothing to do but wait for the actor, which perhaps nobody has taken up yet.
                asked.head().system().scheduler().run_inline(asked.target.hint());
            }
        }
        if this.slot.is_answered() && !may_go_on(cx) {
            return Poll::Pending;
        }
        if let Poll::Ready(outcome) = this.slot.poll(cx) {
            return Poll::Ready(outcome);
        }
        let Some(asked) = &this.asked else {
            return Poll::Pending;
        };
        if let Some(link) = &asked.link
            && link.is_new_turn()
        {
            let returning: Arc<dyn Returning> = this.slot.clone();
            if link.awaits(asked.head().key(), &returning) {
                drop(this.slot.give_up());
                return Poll::Ready(Err(AskError::Cycle));
            }
        }
        // First look without an answer: only now does the wait cost a timer.
        let start = || asked.head().system().clock().sleep_until(asked.deadline);
        std::task::ready!(this.slot.poll_timer(start, cx));
        // It may have come just in time.
        Poll::Ready(this.slot.give_up().unwrap_or(Err(AskError::Timeout)))
    }
}

thread_local! {
    static ANSWERS: Cell<u8> = const { Cell::new(0) };
}

/// An answer may be there each time somebody asks for one: so whoever asks in a loop lets others run now and then. One
/// answer in eight takes of the budget that tokio gives a task; without any left, `cx` has been woken.
fn may_go_on(cx: &mut Context<'_>) -> bool {
    let answers = ANSWERS.get().wrapping_add(1);
    ANSWERS.set(answers);
    if !answers.is_multiple_of(8) {
        return true;
    }
    match coop::poll_proceed(cx) {
        Poll::Ready(budget) => {
            budget.made_progress();
            true
        }
        Poll::Pending => false,
    }
}

impl<T> fmt::Debug for Ask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}
