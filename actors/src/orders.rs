//! How an actor is told to end while it is in the middle of something: what its mailbox cannot tell it in time.
//!
//! Invariant: `Head::orders` is looked at once per run of the actor, not per message, and is zero unless somebody ordered
//! something; the rest is behind it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::cell::Head;
use crate::cell_ref::CellRef;
use crate::clock::{Sleep, Tick};
use crate::discard;

/// Drop what you do, now.
const KILL: u8 = 1;
/// There is a limit.
const LIMIT: u8 = 1 << 1;

/// How an actor is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// Finish the message in hand.
    Stop,
    /// As `Stop`; what has not ended by then, children included, is killed.
    StopWithin(Duration),
    /// Handle what waits, then stop; a stop when the time is over.
    Drain(Duration),
    Kill,
}

/// By when an actor is to end. Made at spawn for one with a stop timeout, else when there is a limit.
#[derive(Default)]
pub(crate) struct Limits {
    /// See [`Props::stop_timeout`](crate::Props::stop_timeout).
    stop_timeout: Option<Duration>,
    /// See [`Props::stop_limit`](crate::Props::stop_limit).
    stop_limit: Option<Duration>,
    /// For handlers, by the stop timeout.
    handler: Option<Limit>,
    /// For the whole end, children included.
    whole: Option<Limit>,
    /// Ends the wait for a handler.
    sleep: Option<Pin<Box<Sleep>>>,
}

/// A moment and how much time that was.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) at: Tick,
    pub(crate) after: Duration,
}

impl Limit {
    fn tighten(limit: &mut Option<Self>, new: Self) {
        if limit.is_none_or(|limit| new.at < limit.at) {
            *limit = Some(new);
        }
    }
}

/// Why a handler was dropped.
#[derive(Clone, Copy)]
pub(crate) enum Cut {
    Killed,
    /// It had this long.
    Late(Duration),
}

impl Limits {
    /// Those an actor is born with.
    pub(crate) fn new(stop_timeout: Option<Duration>, stop_limit: Option<Duration>) -> Option<Box<Self>> {
        let any = stop_timeout.is_some() || stop_limit.is_some();
        any.then(|| Box::new(Self { stop_timeout, stop_limit, ..Self::default() }))
    }
}

impl Head {
    /// Nothing is waited for any more. It would keep the actor until it is over: it wakes it.
    pub(crate) fn forget_sleep(&self) {
        drop(self.with_limits(|limits| limits.sleep.take())); // outside the lock
    }

    /// Whether anything was ordered that a handler must not keep the actor from.
    #[inline]
    pub(crate) fn is_ordered(&self) -> bool {
        self.orders.load(Ordering::Acquire) != 0
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.orders.load(Ordering::Acquire) & KILL != 0
    }

    pub(crate) fn order_kill(&self) {
        self.orders.fetch_or(KILL, Ordering::Release);
    }

    /// The actor is to stop by itself, at `from` at the latest: the time it has for that, if it is bounded, runs from
    /// there.
    pub(crate) fn order_stop(&self, from: impl FnOnce() -> Tick) {
        self.with_limits(|limits| {
            let from = from();
            if let Some(after) = limits.stop_timeout {
                Limit::tighten(&mut limits.handler, Limit { at: from + after, after });
            }
            if let Some(after) = limits.stop_limit {
                Limit::tighten(&mut limits.whole, Limit { at: from + after, after });
            }
            self.orders.fetch_or(LIMIT, Ordering::Release);
        });
    }

    /// The actor is to have ended by then.
    pub(crate) fn order_end_by(&self, limit: Limit) {
        self.with_own_limits(|limits| {
            Limit::tighten(&mut limits.whole, limit);
            self.orders.fetch_or(LIMIT, Ordering::Release);
        });
    }

    /// By when handlers are to have come to their end.
    fn limit_of_handler(&self) -> Option<Limit> {
        self.with_limits(|limits| match (limits.handler, limits.whole) {
            (Some(handler), Some(whole)) => Some(if handler.at < whole.at { handler } else { whole }),
            (handler, whole) => handler.or(whole),
        })?
    }

    /// By when the children are to have ended too.
    pub(crate) fn limit_of_whole(&self) -> Option<Limit> {
        if !self.is_ordered() {
            return None;
        }
        self.with_limits(|limits| limits.whole)?
    }
}

pin_project! {
    /// Runs a handler to its end, unless orders cut it off: then it is dropped at its next await point.
    pub(crate) struct Obedient<M, F> {
        cell: CellRef<M>,
        #[pin]
        work: Option<F>,
    }
}

impl<M: Send + 'static, F: Future> Obedient<M, F> {
    pub(crate) fn new(cell: CellRef<M>, work: F) -> Self {
        Self { cell, work: Some(work) }
    }
}

impl<M: Send + 'static, F: Future> Future for Obedient<M, F> {
    type Output = Result<F::Output, Cut>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let head = this.cell.head();
        if head.is_ordered() && head.is_killed() {
            discard::caught(|| this.work.set(None));
            return Poll::Ready(Err(Cut::Killed));
        }
        let Some(work) = this.work.as_mut().as_pin_mut() else { return Poll::Pending };
        if let Poll::Ready(output) = work.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if !head.is_ordered() {
            return Poll::Pending;
        }
        let cut = cut_off(head, cx);
        if cut.is_ready() {
            discard::caught(|| this.work.set(None));
        }
        cut.map(Err)
    }
}

/// Waits until what is pending has to be dropped. For whoever runs the actor.
#[cold]
pub(crate) fn cut_off(head: &Head, cx: &mut Context<'_>) -> Poll<Cut> {
    if head.is_killed() {
        return Poll::Ready(Cut::Killed);
    }
    let Some(limit) = head.limit_of_handler() else { return Poll::Pending };
    // Outside the lock while it is polled: wakers are not ours.
    let mut sleep = match head.with_limits(|limits| limits.sleep.take()).flatten() {
        Some(mut sleep) => {
            sleep.as_mut().reset(limit.at); // another order may have come
            sleep
        }
        None => Box::pin(head.system().clock().sleep_until(limit.at)),
    };
    let over = sleep.as_mut().poll(cx);
    head.with_limits(|limits| limits.sleep = Some(sleep));
    over.map(|()| Cut::Late(limit.after))
}
