//! [`TestProbe`]: reads what its reference is told.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::PROBES_LIVE;
use super::ground::{Ground, Probes};
use super::inbox::{Inbox, Tray};
use crate::actor_ref::ActorRef;
use crate::mailbox::Mailbox;
use crate::props::Props;
use crate::system::ActorSystem;

/// Stands in for any actor: its reference is like any other, and the test reads the messages.
///
/// Waiting verbs let actors run and time pass; if what they wait for does not come they panic, which fails the test.
/// Those that do not say how long wait three seconds; the kit's [dilation](super::TestKit::with_dilation) stretches
/// either.
///
/// Dropping a probe stops its actor, which takes effect when actors next run. Any number of messages may wait for it:
/// what is tested is the other side. It outlives the end of the system: what actors say at last is read as well.
///
/// ```
/// use actors::ReplyTo;
/// use actors::testkit::{FishingOutcome, TestKit};
/// use std::time::Duration;
///
/// #[derive(Debug)]
/// enum Store {
///     Put(u32),
///     Total(ReplyTo<u32>),
/// }
///
/// let kit = TestKit::new();
/// let mut store = kit.probe::<Store>();
/// let told = store.actor_ref();
/// told.tell(Store::Put(1));
/// told.tell(Store::Put(2));
/// let total = told.ask(Store::Total, Duration::from_secs(1));
///
/// store.fish_for_message(Duration::from_secs(1), |message| match message {
///     Store::Put(2) => FishingOutcome::Complete,
///     Store::Put(_) => FishingOutcome::ContinueAndIgnore,
///     Store::Total(_) => FishingOutcome::Fail("asked too early".into()),
/// });
/// store.expect_question(|message| if let Store::Total(reply_to) = message { Ok(reply_to) } else { Err(message) }).tell(3);
/// assert_eq!(kit.block_on(total), Ok(3));
/// ```
pub struct TestProbe<M: Send + 'static> {
    probes: Rc<Probes>, // before the runtime, whose timers the actors hold
    ground: Rc<Ground>,
    actor: ActorRef<M>,
    messages: Tray<M>,
    /// Its end is the actor's.
    owns: bool,
}

/// What [`TestProbe::fish_for_message`] does after a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FishingOutcome {
    /// That was it.
    Complete,
    /// Waits for another and keeps this one.
    Continue,
    /// Waits for another and drops this one.
    ContinueAndIgnore,
    /// Fails the test, for this reason.
    Fail(String),
}

impl<M: Send + 'static> TestProbe<M> {
    pub(super) fn new(ground: Rc<Ground>, probes: Rc<Probes>, system: &ActorSystem) -> Self {
        let messages = Tray::new();
        let kept = messages.clone();
        let props = Props::new(move || Inbox(kept.clone())).mailbox(Mailbox::unbounded());
        let actor = probes.owner.spawn(system, None, props).expect(PROBES_LIVE);
        Self { ground, probes, actor, messages, owns: true }
    }

    /// Reads what another actor puts aside.
    pub(super) fn of(ground: Rc<Ground>, probes: Rc<Probes>, actor: ActorRef<M>, messages: Tray<M>) -> Self {
        Self { ground, probes, actor, messages, owns: false }
    }

    /// The reference to hand to actors.
    pub fn actor_ref(&self) -> ActorRef<M> {
        self.actor.clone()
    }

    /// The next message.
    ///
    /// # Panics
    /// When none comes in time.
    #[track_caller]
    pub fn expect_message(&mut self) -> M {
        self.expect_message_within(self.ground.patience())
    }

    /// The next message, if it comes in time: when `within` is over at the latest, that moment included.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn expect_message_within(&mut self, within: Duration) -> M {
        let within = self.ground.dilated(within);
        match self.next(within) {
            Some(message) => message,
            None => panic!("expected a message within {within:?}, none came"),
        }
    }

    /// The next message, which equals `expected`.
    ///
    /// # Panics
    /// When none comes in time, or another.
    #[track_caller]
    pub fn expect_message_eq(&mut self, expected: M) -> M
    where
        M: fmt::Debug + PartialEq,
    {
        self.expect_any_of([expected])
    }

    /// The next message, which equals one of `expected`.
    ///
    /// # Panics
    /// When none comes in time, or another.
    #[track_caller]
    pub fn expect_any_of(&mut self, expected: impl IntoIterator<Item = M>) -> M
    where
        M: fmt::Debug + PartialEq,
    {
        let expected: Vec<M> = expected.into_iter().collect();
        let wanted = || match &*expected {
            [only] => format!("{only:?}"),
            several => format!("one of {several:?}"),
        };
        let within = self.ground.dilated(self.ground.patience());
        match self.next(within) {
            Some(message) if expected.contains(&message) => message,
            Some(message) => panic!("expected {}, got {message:?}{}", wanted(), self.followed_by()),
            None => panic!("expected {} within {within:?}, no message came", wanted()),
        }
    }

    /// The next messages, which are those of `expected` in whatever order; they are returned as they came.
    ///
    /// # Panics
    /// When they do not all come in time, or another comes.
    #[track_caller]
    pub fn expect_all_of(&mut self, expected: impl IntoIterator<Item = M>) -> Vec<M>
    where
        M: fmt::Debug + PartialEq,
    {
        let within = self.ground.dilated(self.ground.patience());
        let until = self.ground.clock.now() + within;
        let mut missing: Vec<M> = expected.into_iter().collect();
        let mut came = Vec::new();
        while !missing.is_empty() {
            let Some(message) = self.next(until - self.ground.clock.now()) else {
                panic!("expected {missing:?} within {within:?}, only {came:?} came");
            };
            let Some(at) = missing.iter().position(|wanted| *wanted == message) else {
                panic!("expected {missing:?} in whatever order, got {message:?} after {came:?}{}", self.followed_by());
            };
            missing.swap_remove(at);
            came.push(message);
        }
        came
    }

    /// What `take` finds in the next message; it returns other messages.
    ///
    /// # Panics
    /// When none comes in time, or another.
    #[track_caller]
    pub fn expect_map<R>(&mut self, take: impl FnOnce(M) -> Result<R, M>) -> R
    where
        M: fmt::Debug,
    {
        match take(self.expect_message()) {
            Ok(found) => found,
            Err(message) => panic!("got {message:?}, which is not what was expected{}", self.followed_by()),
        }
    }

    /// The place for the answer to the question that the next message is, which `take` finds in it.
    ///
    /// # Panics
    /// When no message comes in time, or another. When the asker does not wait any more.
    #[track_caller]
    pub fn expect_question<R: Send + 'static>(
        &mut self,
        take: impl FnOnce(M) -> Result<crate::ask::ReplyTo<R>, M>,
    ) -> crate::ask::ReplyTo<R>
    where
        M: fmt::Debug,
    {
        let reply_to = self.expect_map(take);
        assert!(!reply_to.is_closed(), "a question came whose asker does not wait for the answer any more");
        reply_to
    }

    /// The next `count` messages.
    ///
    /// # Panics
    /// When fewer come in time; they are part of the text.
    #[track_caller]
    pub fn receive_messages(&mut self, count: usize, within: Duration) -> Vec<M>
    where
        M: fmt::Debug,
    {
        let within = self.ground.dilated(within);
        let until = self.ground.clock.now() + within;
        let mut came = Vec::new();
        while came.len() < count {
            match self.next(until - self.ground.clock.now()) {
                Some(message) => came.push(message),
                None => panic!("expected {count} messages within {within:?}, {} came: {came:?}", came.len()),
            }
        }
        came
    }

    /// Takes messages until `hook` says that one was the one; returns those it kept, that one included.
    ///
    /// # Panics
    /// When `hook` says so, or the time is over first; the messages that came are part of the text.
    #[track_caller]
    pub fn fish_for_message(&mut self, within: Duration, mut hook: impl FnMut(&M) -> FishingOutcome) -> Vec<M>
    where
        M: fmt::Debug,
    {
        let within = self.ground.dilated(within);
        let until = self.ground.clock.now() + within;
        let (mut kept, mut seen) = (Vec::new(), Vec::new());
        loop {
            let Some(message) = self.next(until - self.ground.clock.now()) else {
                panic!("did not catch within {within:?} what was fished for; this came: [{}]", seen.join(", "));
            };
            seen.push(format!("{message:?}"));
            match hook(&message) {
                FishingOutcome::Complete => {
                    kept.push(message);
                    return kept;
                }
                FishingOutcome::Continue => kept.push(message),
                FishingOutcome::ContinueAndIgnore => {}
                FishingOutcome::Fail(reason) => panic!("fishing failed: {reason}; this came: [{}]", seen.join(", ")),
            }
        }
    }

    /// Lets `during` pass, the moment at its end included.
    ///
    /// # Panics
    /// When a message comes in that time, or one was there already.
    #[track_caller]
    pub fn expect_no_message(&mut self, during: Duration)
    where
        M: fmt::Debug,
    {
        self.ground.advance(during);
        if let Some(message) = self.messages.take() {
            panic!("expected no message for {during:?}, got {message:?}{}", self.followed_by());
        }
    }

    /// Lets everything happen that needs no time, then returns all messages that are there.
    pub fn drain(&mut self) -> Vec<M> {
        self.ground.settle();
        std::iter::from_fn(|| self.messages.take()).collect()
    }

    /// From now on `answer` is called with each message as it comes, in the probe's turn; what it returns is left for the
    /// test. Messages that are there already stay.
    pub fn answer_with(&mut self, answer: impl FnMut(M) -> Option<M> + Send + 'static) {
        self.messages.set_pilot(Box::new(answer));
    }

    /// Waits until `actor` has stopped for good.
    ///
    /// # Panics
    /// When it has not in time.
    #[track_caller]
    pub fn expect_terminated<N: Send + 'static>(&mut self, actor: &ActorRef<N>) {
        self.expect_terminated_within(actor, self.ground.patience());
    }

    /// As [`expect_terminated`](TestProbe::expect_terminated), within a time of the test's choosing.
    ///
    /// # Panics
    /// When it has not by then.
    #[track_caller]
    pub fn expect_terminated_within<N: Send + 'static>(&mut self, actor: &ActorRef<N>, within: Duration) {
        let within = self.ground.dilated(within);
        let ended = self.probes.await_end(&self.ground, actor, within);
        assert!(ended, "expected {} to terminate within {within:?}, it has not", actor.path());
    }

    /// Stops the probe's actor, and lets everything happen that follows from it: who watches it learns.
    pub fn stop(&mut self) {
        self.actor.control_arc().stop();
        self.ground.settle();
    }

    fn next(&self, within: Duration) -> Option<M> {
        self.ground.wait(within, |cx| self.messages.poll_take(cx))
    }

    /// For the text of a failure: what is there besides.
    fn followed_by(&self) -> String
    where
        M: fmt::Debug,
    {
        let rest: Vec<M> = std::iter::from_fn(|| self.messages.take()).collect();
        if rest.is_empty() { String::new() } else { format!(", followed by {rest:?}") }
    }
}

impl<M: Send + 'static> Drop for TestProbe<M> {
    fn drop(&mut self) {
        if !self.owns {
            return;
        }
        self.actor.control_arc().stop();
        self.messages.clear(); // whoever asked and was not answered learns now
    }
}

impl<M: Send + 'static> fmt::Debug for TestProbe<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestProbe").field("path", self.actor.path()).finish_non_exhaustive()
    }
}
