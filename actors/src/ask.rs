//! [`ReplyTo`]: where an answer goes. [`Ask`]: the wait for it. [`AskError`]: why it did not come.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use pin_project_lite::pin_project;

use crate::ask_chain::{Link, Returning};
use crate::clock::{Clock, Sleep, Tick};
use crate::discard;
use crate::path::ActorPath;

/// Why an ask has no answer. Known as soon as it is certain, not only when the time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The time was over first. The question may still be handled; a late answer is dropped.
    #[error("no answer within the time given")]
    Timeout,
    /// The actor had stopped, or stopped before it came to the question. It was not handled, unless the actor had
    /// taken it and kept the `ReplyTo` when it stopped.
    #[error("the actor has stopped")]
    Stopped,
    /// The actor took the question and dropped its `ReplyTo`, by failing for instance.
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

    /// A fresh pair, for code that is no actor and hands out a `ReplyTo`. The wait has no time limit.
    pub fn channel() -> (Self, Ask<T>) {
        let slot = Slot::new();
        (Self::new(slot.clone()), Ask { slot, asked: None, sleep: None })
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
        if let Some(port) = self.port.take() {
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

/// The one allocation of an ask.
pub(crate) struct Slot<T>(Mutex<SlotState<T>>);

enum SlotState<T> {
    Waiting(Option<Waker>),
    Done(Result<T, AskError>),
    /// The answer was taken, or nobody waits any more.
    Over,
}

impl<T> Slot<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(SlotState::Waiting(None))))
    }

    fn finish(&self, outcome: Result<T, AskError>) {
        let mut state = self.0.lock();
        if let SlotState::Waiting(waker) = &mut *state {
            let waker = waker.take();
            *state = SlotState::Done(outcome);
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<T: Send> Port<T> for Slot<T> {
    fn complete(self: Arc<Self>, outcome: Result<T, AskError>) {
        self.finish(outcome);
    }

    fn is_closed(&self) -> bool {
        matches!(*self.0.lock(), SlotState::Over)
    }
}

impl<T: Send> Returning for Slot<T> {
    fn fail_with_cycle(&self) {
        self.finish(Err(AskError::Cycle));
    }

    fn is_answered(&self) -> bool {
        !matches!(*self.0.lock(), SlotState::Waiting(_))
    }
}

struct Asked {
    clock: Clock,
    deadline: Tick,
    link: Option<(Arc<Link>, ActorPath)>,
}

pin_project! {
    /// The wait for one answer; made by [`ActorRef::ask`](crate::ActorRef::ask) and [`ReplyTo::channel`].
    ///
    /// The question was sent when this was made. Cancel safe: dropping it gives up the answer, nothing else.
    #[must_use = "the answer is lost unless this is awaited"]
    pub struct Ask<T> {
        slot: Arc<Slot<T>>,
        asked: Option<Asked>,
        #[pin]
        sleep: Option<Sleep>,
    }

    impl<T> PinnedDrop for Ask<T> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let unused = std::mem::replace(&mut *this.slot.0.lock(), SlotState::Over);
            drop(unused); // outside the lock: an answer's destructor is not ours
            if let Some(Asked { link: Some((link, _)), .. }) = this.asked {
                link.over();
            }
        }
    }
}

impl<T: Send + 'static> Ask<T> {
    /// Sends the question with `send`, which gets the place for the answer and the link to hand on.
    pub(crate) fn start(
        clock: Clock,
        deadline: Tick,
        target: &ActorPath,
        send: impl FnOnce(ReplyTo<T>, Option<Arc<Link>>),
    ) -> Self {
        let slot = Slot::new();
        let link = Link::for_ask_made_here();
        send(ReplyTo::new(slot.clone()), link.clone());
        let link = link.map(|link| (link, target.clone()));
        Self { slot, asked: Some(Asked { clock, deadline, link }), sleep: None }
    }
}

impl<T: Send + 'static> Future for Ask<T> {
    type Output = Result<T, AskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        {
            let mut state = this.slot.0.lock();
            match std::mem::replace(&mut *state, SlotState::Over) {
                SlotState::Done(outcome) => return Poll::Ready(outcome),
                SlotState::Over => return Poll::Ready(Err(AskError::NoReply)), // polled again after the end
                SlotState::Waiting(_) => *state = SlotState::Waiting(Some(cx.waker().clone())),
            }
        }
        let Some(asked) = this.asked else {
            return Poll::Pending;
        };
        if let Some((link, target)) = &asked.link
            && link.is_new_turn()
        {
            let returning: Arc<dyn Returning> = this.slot.clone();
            if link.awaits(target, &returning) {
                *this.slot.0.lock() = SlotState::Over;
                return Poll::Ready(Err(AskError::Cycle));
            }
        }
        if this.sleep.is_none() {
            // First look without an answer: only now does the wait cost a timer.
            this.sleep.set(Some(asked.clock.sleep_until(asked.deadline)));
        }
        let Some(sleep) = this.sleep.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        if sleep.poll(cx).is_pending() {
            return Poll::Pending;
        }
        match std::mem::replace(&mut *this.slot.0.lock(), SlotState::Over) {
            SlotState::Done(outcome) => Poll::Ready(outcome), // came just in time
            SlotState::Waiting(_) | SlotState::Over => Poll::Ready(Err(AskError::Timeout)),
        }
    }
}

impl<T> fmt::Debug for Ask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}
