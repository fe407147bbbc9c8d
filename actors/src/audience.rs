//! Who wants to hear of an actor's end: actors that watch it, and futures outside of any.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::cell_ref::ControlRef;
use crate::discard;
use crate::remote::audience_changed;

/// Of one actor.
#[derive(Default)]
pub(crate) struct Audience {
    /// By `Head::key`.
    pub(crate) actors: BTreeMap<u128, ControlRef>,
    pub(crate) outside: Outside,
}

impl Audience {
    pub(crate) fn is_empty(&self) -> bool {
        self.actors.is_empty() && self.outside.wakers.is_empty()
    }
}

/// Futures that wait for the end of an actor.
#[derive(Default)]
pub(crate) struct Outside {
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

impl Outside {
    /// A waker that panics keeps nobody else asleep.
    pub(crate) fn wake(self) {
        self.wakers.into_values().for_each(|waker| discard::caught(|| waker.wake()));
    }

    /// Keeps `waker` in place of what `ticket` stood for before, which is returned.
    fn wait(&mut self, ticket: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        let ticket = *ticket.get_or_insert_with(|| {
            self.next += 1;
            self.next
        });
        self.wakers.insert(ticket, waker)
    }
}

/// The wait for an actor's end; made by [`ActorRef::terminated`](crate::ActorRef::terminated).
#[must_use = "futures do nothing unless awaited"]
pub struct Terminated {
    target: ControlRef,
    ticket: Option<u64>,
}

impl Terminated {
    pub(crate) fn of(target: ControlRef) -> Self {
        Self { target, ticket: None }
    }
}

impl Future for Terminated {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone(); // as all wakers here, cloned and dropped outside the lock
        let Self { target, ticket } = &mut *self;
        let first = ticket.is_none();
        let before = target.head().outside(|outside| outside.map(|outside| outside.wait(ticket, waker)));
        if first && before.is_some() {
            audience_changed(target);
        }
        if before.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Terminated {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let left = self.target.head().outside(|outside| outside?.wakers.remove(&ticket));
        if left.is_some() {
            audience_changed(&self.target);
        }
        drop(left); // outside the lock
    }
}

impl fmt::Debug for Terminated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Terminated").field(self.target.head().path()).finish()
    }
}
