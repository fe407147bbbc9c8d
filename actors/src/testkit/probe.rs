//! [`TestProbe`]: reads what its reference is told.

use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::inbox::{Inbox, Tray, Watch};
use super::{Ground, PROBES_LIVE};
use crate::actor_ref::ActorRef;
use crate::mailbox::Mailbox;
use crate::props::Props;
use crate::system::ActorSystem;

/// How long a probe waits for what it expects, in virtual time.
const PATIENCE: Duration = Duration::from_secs(3);

/// Stands in for any actor: its reference is like any other, and the test reads the messages.
///
/// Waiting verbs let actors run and time pass; if what they wait for does not come they panic, which fails the test.
/// Dropping a probe stops its actor, which takes effect when actors next run. Any number of messages may wait for it:
/// what is tested is the other side. It outlives the end of the system: what actors say at last is read as well.
pub struct TestProbe<M: Send + 'static> {
    ground: Rc<Ground>,
    actor: ActorRef<M>,
    messages: Tray<M>,
    /// Its end is the actor's.
    owns: bool,
}

impl<M: Send + 'static> TestProbe<M> {
    pub(super) fn new(ground: Rc<Ground>, system: &ActorSystem) -> Self {
        let messages = Tray::new();
        let kept = messages.clone();
        let props = Props::new(move || Inbox(kept.clone())).mailbox(Mailbox::unbounded());
        let actor = ground.probes.spawn(system, None, props).expect(PROBES_LIVE);
        Self { ground, actor, messages, owns: true }
    }

    /// Reads what another actor puts aside.
    pub(super) fn of(ground: Rc<Ground>, actor: ActorRef<M>, messages: Tray<M>) -> Self {
        Self { ground, actor, messages, owns: false }
    }

    /// The reference to hand to actors.
    pub fn actor_ref(&self) -> ActorRef<M> {
        self.actor.clone()
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
        match self.wait(within, |cx| self.messages.poll_take(cx)) {
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
        if let Some(message) = self.messages.take() {
            panic!("expected no message for {during:?}, got {message:?}");
        }
    }

    /// Lets everything happen that needs no time, then returns all messages that are there.
    pub fn drain(&mut self) -> Vec<M> {
        self.ground.settle();
        std::iter::from_fn(|| self.messages.take()).collect()
    }

    /// Waits until `actor` has stopped for good, three seconds at most.
    ///
    /// # Panics
    /// When it has not by then.
    pub fn expect_terminated<N: Send + 'static>(&mut self, actor: &ActorRef<N>) {
        let path = actor.path().clone();
        self.ground.watcher.tell(Watch::new(actor.clone()));
        let ends = self.ground.ends.clone();
        let ended = self.wait(PATIENCE, |cx| ends.poll(&path, cx));
        assert!(ended.is_some(), "expected {path} to terminate within {PATIENCE:?}, it has not");
    }

    /// What `poll` waits for, or `None` when the time is over first.
    fn wait<T>(&self, within: Duration, poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
        self.ground.settle();
        let waited_for = poll_fn(poll);
        self.ground.runtime.block_on(async { self.ground.clock.timeout(within, waited_for).await.ok() })
    }
}

impl<M: Send + 'static> Drop for TestProbe<M> {
    fn drop(&mut self) {
        if !self.owns {
            return;
        }
        self.actor.control().stop();
        self.messages.clear(); // whoever asked and was not answered learns now
    }
}

impl<M: Send + 'static> fmt::Debug for TestProbe<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestProbe").field("path", self.actor.path()).finish_non_exhaustive()
    }
}
