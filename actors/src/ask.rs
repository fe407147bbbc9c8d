//! [`ReplyTo`]: where an answer goes. [`Ask`]: the wait for it. [`AskError`]: why it did not come.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::task::coop;

use crate::actor_ref::ActorRef;
use crate::ask_chain::{Link, Returning};
use crate::cell::Head;
use crate::cell_ref::ControlRef;
use crate::clock::{Clock, Tick};
use crate::discard;
use crate::envelope::Question;
use crate::port::{Port, PortRef, Ported};
use crate::reply_slot::{self, Asker, Filler};

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

/// Where the answer to one question goes.
///
/// Answering consumes it, so there is at most one answer. Dropping it unanswered ends the ask at once with
/// [`AskError::NoReply`].
#[must_use = "dropping a `ReplyTo` tells the asker that there is no answer"]
pub struct ReplyTo<T> {
    outlet: Outlet<T>,
}

/// Where the answer to a question goes.
pub(crate) enum Outlet<T> {
    Nowhere,
    /// The slot of an ask that is awaited, as nearly always.
    Slot(Filler<T>),
    Port(PortRef<T>),
}

impl<T> Outlet<T> {
    #[inline]
    pub(crate) fn complete(self, outcome: Result<T, AskError>) {
        match self {
            Self::Slot(filler) => filler.fill(outcome),
            Self::Nowhere => {}
            Self::Port(port) => port.complete(outcome),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Nowhere => true,
            Self::Slot(filler) => filler.is_closed(),
            Self::Port(port) => port.is_closed(),
        }
    }

    /// Tells it from all others that are there; `None`: it leads nowhere.
    pub(crate) fn address(&self) -> Option<usize> {
        match self {
            Self::Nowhere => None,
            Self::Slot(filler) => Some(filler.address()),
            Self::Port(port) => Some(port.address()),
        }
    }
}

impl<T> Clone for Outlet<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Nowhere => Self::Nowhere,
            Self::Slot(filler) => Self::Slot(filler.clone()),
            Self::Port(port) => Self::Port(port.clone()),
        }
    }
}

impl<T: Send + 'static> ReplyTo<T> {
    pub(crate) fn new<P: Port<T>>(port: Arc<Ported<T, P>>) -> Self {
        Self { outlet: Outlet::Port(PortRef::new(port)) }
    }

    fn to_slot(filler: Filler<T>) -> Self {
        Self { outlet: Outlet::Slot(filler) }
    }

    #[cfg(feature = "serde")]
    pub(crate) fn outlet(&self) -> &Outlet<T> {
        &self.outlet
    }

    /// A fresh pair, for code that is no actor and hands out a `ReplyTo`. The wait has no time limit.
    pub fn channel() -> (Self, Ask<T>) {
        let (filler, slot) = reply_slot::pair();
        (Self::to_slot(filler), Ask { slot, asked: None })
    }

    /// Calls `take` with the answer, or with the reason why there is none, in the turn of whoever answers.
    pub fn from_fn(take: impl FnOnce(Result<T, AskError>) + Send + 'static) -> Self {
        Self::new(Ported::new(Callback(Mutex::new(Some(take)))))
    }

    /// A `ReplyTo` that drops whatever it is given.
    pub fn ignore() -> Self {
        Self { outlet: Outlet::Nowhere }
    }

    /// Gives the answer. Never blocks; an asker that no longer waits does not notice.
    pub fn tell(mut self, answer: T) {
        match mem::replace(&mut self.outlet, Outlet::Nowhere) {
            Outlet::Slot(filler) => filler.answer(answer),
            outlet => outlet.complete(Ok(answer)),
        }
    }

    /// Ends the ask without an answer and with this reason.
    pub fn fail(mut self, error: AskError) {
        mem::replace(&mut self.outlet, Outlet::Nowhere).complete(Err(error));
    }

    /// Whether nobody waits for the answer any more: the time is over or the asker is gone. A hint that work may be
    /// saved; an asker may give up right after.
    pub fn is_closed(&self) -> bool {
        self.outlet.is_closed()
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
        if let Some(address) = self.outlet.address()
            && !discard::is_gone(address)
        {
            mem::replace(&mut self.outlet, Outlet::Nowhere).complete(Err(discard::reason()));
        }
    }
}

impl<T> fmt::Debug for ReplyTo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyTo")
    }
}

struct Callback<F>(Mutex<Option<F>>);

impl<T: 'static, F: FnOnce(Result<T, AskError>) + Send + 'static> Port<T> for Callback<F> {
    fn complete(this: Arc<Ported<T, Self>>, outcome: Result<T, AskError>) {
        let take = this.0.lock().take();
        if let Some(take) = take {
            take(outcome);
        }
    }

    fn is_closed(&self) -> bool {
        false
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
    slot: Asker<T>,
    asked: Option<Asked>,
}

impl<T> Drop for Ask<T> {
    fn drop(&mut self) {
        if let Some(Asked { link: Some(link), .. }) = &self.asked {
            link.over();
        }
    }
}

impl<T: Send + 'static> Ask<T> {
    /// Sends the question to `target` with `send`, which gets the place for the answer and the link to hand on.
    #[inline]
    pub(crate) fn start<M: Send + 'static>(
        target: &ActorRef<M>,
        deadline: Tick,
        send: impl FnOnce(ReplyTo<T>, Option<Question>),
    ) -> Self {
        let (filler, slot) = reply_slot::pair();
        let link = Link::for_ask_made_here(target.system().clock(), deadline);
        let deadline = link.as_ref().map_or(deadline, |link| link.deadline());
        let question = link.clone().map_or(Question::Until(deadline), Question::Link);
        send(ReplyTo::to_slot(filler), Some(question));
        // Only now: where the actor was on another processor before, what counts its holders is here by then.
        let target = target.control_arc();
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
            let returning = Returning::Here(this.slot.circle());
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

/// Time that one unit of the budget stands for which tokio gives a task each time it is polled: with all 128 of them a task may
/// go on for half a millisecond, or for eight answers if each takes longer than [`ASK_MAX`].
const UNIT: u64 = 4_000;
/// What an answer takes of the budget at least, in nanoseconds.
const ANSWER: u64 = 100;
/// What one ask takes of it at most: whoever came back from waiting did not hold anybody up.
const ASK_MAX: u64 = 16 * UNIT;

/// Asks on one thread.
#[derive(Clone, Copy)]
struct Streak {
    /// By which clock.
    clock: usize,
    /// When the last one was made, in nanoseconds.
    last: u64,
    /// Nanoseconds that were not taken of a budget yet.
    owed: u64,
}

thread_local! {
    static STREAK: Cell<Streak> = const { Cell::new(Streak { clock: 0, last: 0, owed: 0 }) };
}

/// A question is asked on this thread, from wherever. Time that `clock` lets go by counts, be it spent in the handlers of
/// those who were asked.
#[inline]
pub(crate) fn asked_at(now: Tick, clock: &Clock) {
    let mut streak = STREAK.get();
    if streak.clock != clock.address() {
        streak = Streak { clock: clock.address(), last: now.nanos(), owed: 0 };
    } else if !clock.is_virtual() {
        streak.owed = (streak.owed + now.nanos().saturating_sub(streak.last)).min(ASK_MAX);
        streak.last = now.nanos();
    }
    STREAK.set(streak);
}

/// An answer may be there each time somebody asks for one: so whoever asks in a loop lets others run now and then. Without any
/// budget left, `cx` has been woken.
fn may_go_on(cx: &mut Context<'_>) -> bool {
    let mut streak = STREAK.get();
    streak.owed += ANSWER;
    let mut go_on = true;
    while go_on && streak.owed >= UNIT {
        match coop::poll_proceed(cx) {
            Poll::Ready(budget) => {
                budget.made_progress();
                streak.owed -= UNIT;
            }
            Poll::Pending => {
                streak.owed = 0;
                go_on = false;
            }
        }
    }
    STREAK.set(streak);
    go_on
}

impl<T> fmt::Debug for Ask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}
