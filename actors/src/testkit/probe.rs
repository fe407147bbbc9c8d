//! [`TestProbe`]: reads what its reference is told.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Ground;
use crate::actor_ref::ActorRef;
use crate::cell::{Cell, Control, Head, Internal};
use crate::mailbox::Mailbox;
use crate::path::ActorPath;
use crate::queue::{Envelope, Receiver};
use crate::system::ActorSystem;

/// How long a probe waits for what it expects, in virtual time.
const PATIENCE: Duration = Duration::from_secs(3);

/// Stands in for any actor: its reference is like any other, and the test reads the messages.
///
/// Waiting verbs let actors run and time pass; if what they wait for does not come they panic, which fails the test.
/// Dropping a probe ends its actor. Any number of messages may wait for it: what is tested is the other side.
pub struct TestProbe<M: Send + 'static> {
    ground: Rc<Ground>,
    cell: Arc<Cell<M>>,
    receiver: Receiver<M, Internal<M>>,
    messages: VecDeque<M>,
    ended: VecDeque<ActorPath>,
}

impl<M: Send + 'static> TestProbe<M> {
    pub(super) fn new(ground: Rc<Ground>, system: &ActorSystem) -> Self {
        let uid = system.next_uid();
        let path = ActorPath::root(system.uid(), 0, "probe").child(uid, &format!("${uid}"));
        let cell = Arc::new(Cell::new(Head::new(path, system.clone(), None), Mailbox::unbounded().capacity()));
        Self { ground, cell, receiver: Receiver::new(), messages: VecDeque::new(), ended: VecDeque::new() }
    }

    /// The reference to hand to actors.
    pub fn actor_ref(&self) -> ActorRef<M> {
        ActorRef::local(self.cell.clone())
    }

    /// The next message, if it comes within three seconds.
    ///
    /// # Panics
    /// When none comes.
    pub fn expect_message(&mut self) -> M {
        self.expect_message_within(PATIENCE)
    }

    /// The next message, if it comes in time.
    ///
    /// # Panics
    /// When none comes.
    pub fn expect_message_within(&mut self, within: Duration) -> M {
        match self.wait(within, Self::poll_message) {
            Some(message) => message,
            None => panic!("expected a message within {within:?}, none came"),
        }
    }

    /// Lets `during` pass.
    ///
    /// # Panics
    /// When a message comes in that time, or one was there already.
    pub fn expect_no_message(&mut self, during: Duration)
    where
        M: fmt::Debug,
    {
        self.ground.advance(during);
        if let Some(message) = self.take() {
            panic!("expected no message for {during:?}, got {message:?}");
        }
    }

    /// Lets everything happen that needs no time, then returns all messages that are there.
    pub fn drain(&mut self) -> Vec<M> {
        self.ground.settle();
        std::iter::from_fn(|| self.take()).collect()
    }

    /// Waits until `actor` has stopped for good, three seconds at most.
    ///
    /// # Panics
    /// When it has not by then.
    pub fn expect_terminated<N: Send + 'static>(&mut self, actor: &ActorRef<N>) {
        let path = actor.path().clone();
        if actor.control().head().add_watcher(self.cell.head().path().clone(), self.cell.clone()).is_some() {
            return;
        }
        let ended = self.wait(PATIENCE, |probe, cx| {
            probe.collect(cx);
            if probe.ended.contains(&path) { Poll::Ready(()) } else { Poll::Pending }
        });
        assert!(ended.is_some(), "expected {path} to terminate within {PATIENCE:?}, it has not");
        self.ended.retain(|ended| *ended != path);
    }

    /// The next message without letting anything happen first, if one is there.
    fn take(&mut self) -> Option<M> {
        self.collect(&mut Context::from_waker(Waker::noop()));
        self.messages.pop_front()
    }

    /// What `poll` waits for, or `None` when the time is over first.
    fn wait<T>(&mut self, within: Duration, mut poll: impl FnMut(&mut Self, &mut Context<'_>) -> Poll<T>) -> Option<T> {
        let ground = self.ground.clone();
        ground.settle();
        ground.runtime.block_on(async {
            let waited_for = poll_fn(|cx| poll(self, cx));
            ground.clock.timeout(within, waited_for).await.ok()
        })
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<M> {
        self.collect(cx);
        self.messages.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    /// Sorts all that has come; when more comes, `cx` is woken.
    fn collect(&mut self, cx: &mut Context<'_>) {
        let queue = self.cell.queue();
        loop {
            // A probe has no parent, children, asks or tasks: nothing comes in this lane that matters to it.
            while self.receiver.next_internal(queue).is_some() {}
            while let Some(envelope) = self.receiver.next_message(queue) {
                match envelope {
                    Envelope::Message(message) | Envelope::Asked(message, _) => self.messages.push_back(message),
                    Envelope::Adapted(adapt) => self.messages.push_back(adapt()),
                    Envelope::Ended(ended) => self.ended.push_back(ended.path),
                }
            }
            if self.receiver.poll_batch(queue, cx).is_pending() {
                return;
            }
        }
    }
}

impl<M: Send + 'static> Drop for TestProbe<M> {
    fn drop(&mut self) {
        let undelivered = self.receiver.end(self.cell.queue());
        drop(undelivered);
        self.cell.head().end(None);
    }
}

impl<M: Send + 'static> fmt::Debug for TestProbe<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestProbe").field("path", self.cell.head().path()).finish_non_exhaustive()
    }
}
