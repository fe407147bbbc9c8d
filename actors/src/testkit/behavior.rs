//! [`BehaviorTestKit`]: one actor and nothing else, handler by handler.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::observed::{Command, Desk, Waiting, observed};
use super::{Effect, TestKit, TestProbe};
use crate::actor::{Actor, Behavior, Signal};
use crate::actor_ref::ActorRef;
use crate::clock::Clock;
use crate::context::ActorContext;
use crate::props::Props;

/// Runs the handlers of one actor when the test says so, and keeps what they did as values.
///
/// The actor lives under the real engine, in virtual time, but alone: whatever it spawns is an inbox the test reads
/// ([`child_inbox`](BehaviorTestKit::child_inbox)), and nothing that comes to it, from itself, an adapter, an ask, a task
/// or a death watch, is handled before the test says so. Supervision is that of its [`Props`].
///
/// A handler that fails, fails the test, unless the test [expects it](BehaviorTestKit::expect_failure).
///
/// ```
/// use actors::testkit::{BehaviorTestKit, Effect, TimerKind};
/// use actors::{Actor, ActorContext, ActorRef, Behavior, Handled};
/// use std::time::Duration;
///
/// /// Starts a clerk for each case and closes when none came for a while.
/// struct Office {
///     cases: u32,
/// }
///
/// enum OfficeMessage {
///     Case(&'static str),
///     Close,
/// }
///
/// struct Clerk;
///
/// impl Actor for Clerk {
///     type Message = &'static str;
///     async fn receive(&mut self, _ctx: &mut ActorContext<&'static str>, _paper: &'static str) -> Handled {
///         Ok(Behavior::Same)
///     }
/// }
///
/// impl Actor for Office {
///     type Message = OfficeMessage;
///
///     async fn receive(&mut self, ctx: &mut ActorContext<OfficeMessage>, message: OfficeMessage) -> Handled {
///         match message {
///             OfficeMessage::Case(paper) => {
///                 self.cases += 1;
///                 let clerk: ActorRef<&'static str> = ctx.spawn(format!("clerk-{}", self.cases), Clerk);
///                 clerk.tell(paper);
///                 ctx.timers().start_single("close", Duration::from_secs(60), OfficeMessage::Close);
///                 Ok(Behavior::Same)
///             }
///             OfficeMessage::Close => Ok(Behavior::Stopped),
///         }
///     }
/// }
///
/// let mut kit = BehaviorTestKit::new(Office { cases: 0 });
/// kit.run(OfficeMessage::Case("a fence"));
/// kit.expect_effect_where(|effect| matches!(effect, Effect::Spawned { name, .. } if name == "clerk-1"));
/// kit.expect_effect(Effect::TimerScheduled {
///     key: "close".into(),
///     delay: Duration::from_secs(60),
///     kind: TimerKind::Single,
/// });
/// assert_eq!(kit.child_inbox::<&'static str>("clerk-1").drain(), ["a fence"]);
///
/// kit.advance(Duration::from_secs(60));
/// assert!(!kit.is_alive());
/// ```
pub struct BehaviorTestKit<A: Actor> {
    kit: TestKit,
    actor: ActorRef<A::Message>,
    desk: Arc<Desk<A>>,
    failures_expected: bool,
}

impl<A: Actor> BehaviorTestKit<A> {
    /// Starts the actor, as `/user/actor`. What it did when it started is among the [effects](BehaviorTestKit::effects).
    ///
    /// # Panics
    /// When it fails to start, or does not come to the end of [`started`](Actor::started);
    /// [`try_new`](BehaviorTestKit::try_new) returns an error instead.
    pub fn new(props: impl Into<Props<A>>) -> Self {
        match Self::try_new(props) {
            Ok(kit) => kit,
            Err(error) => panic!("the actor failed to start: {error}"),
        }
    }

    /// As [`new`](BehaviorTestKit::new), with an error where the actor does not start.
    ///
    /// # Errors
    /// The text of what it failed with.
    pub fn try_new(props: impl Into<Props<A>>) -> Result<Self, String> {
        let kit = TestKit::new();
        let desk = Desk::new(kit.bell());
        let actor = kit.spawn("actor", observed(props.into(), desk.clone()));
        kit.settle();
        let (failures, _) = desk.take_failures();
        let kit = Self { kit, actor, desk, failures_expected: false };
        match failures.into_iter().next() {
            Some(failure) => Err(failure),
            None if kit.is_suspended() => Err(kit.suspended_text("starting")),
            None => Ok(kit),
        }
    }

    /// Has the actor handle `message`.
    ///
    /// # Panics
    /// When the handler fails or does not come to its end; [`begin`](BehaviorTestKit::begin) lets it be suspended. When
    /// the actor has stopped.
    pub fn run(&mut self, message: A::Message) {
        self.begin(message);
        self.expect_finished("handling a message");
    }

    /// Has the actor handle `message` as far as it gets: a handler may be left suspended, on an ask for instance. It
    /// goes on as soon as it can, when the test [settles](BehaviorTestKit::settle) or time passes.
    ///
    /// # Panics
    /// When the handler fails. When the actor has stopped or another handler is suspended.
    pub fn begin(&mut self, message: A::Message) {
        self.expect_free();
        self.desk.announce();
        self.actor.tell(message);
        self.settle();
    }

    /// Lets everything happen that can happen without time passing, other than handling what waits.
    pub fn settle(&mut self) {
        self.kit.settle();
        self.check();
    }

    /// Whether a handler has begun and not come to its end.
    pub fn is_suspended(&self) -> bool {
        self.is_alive() && self.desk.is_at_work()
    }

    /// Has the actor handle `signal`. Left unhandled, the end of another actor is a failure.
    ///
    /// # Panics
    /// As [`run`](BehaviorTestKit::run).
    pub fn signal(&mut self, signal: Signal) {
        self.command(Command::Signal(signal), "handling a signal");
    }

    /// Has the actor handle the message of a timer now, whenever it is due. One that repeats is due again after its
    /// interval.
    ///
    /// # Panics
    /// When there is no timer of that key. Otherwise as [`run`](BehaviorTestKit::run).
    pub fn run_timer(&mut self, key: &str) {
        let wanted = key.to_owned();
        let exists = self.with(move |_, ctx| ctx.timers().is_active(&wanted));
        assert!(exists, "{} has no timer `{key}`", self.actor.path());
        self.command(Command::Timer(key.to_owned()), "handling a timer's message");
    }

    /// Lets `by` pass. Whatever comes in that time, timers and time-outs above all, is handled at its moment; so is what
    /// the actor tells itself then. What waited before still waits.
    ///
    /// # Panics
    /// When a handler fails.
    pub fn advance(&mut self, by: Duration) {
        self.kit.settle();
        self.desk.set_open(true);
        self.kit.advance(by);
        self.desk.set_open(false);
        self.check();
    }

    /// Has the actor handle the oldest message or signal that waits. Returns whether there was one.
    ///
    /// # Panics
    /// As [`run`](BehaviorTestKit::run).
    pub fn run_one(&mut self) -> bool {
        self.settle();
        match self.desk.next_waiting() {
            Some(Waiting::Message(message)) => self.run(message),
            Some(Waiting::Signal(signal)) => self.signal(signal),
            None => return false,
        }
        true
    }

    /// As [`run_one`](BehaviorTestKit::run_one) until nothing waits. Returns how many were handled.
    ///
    /// # Panics
    /// As [`run`](BehaviorTestKit::run), and when there is still something after a thousand.
    pub fn run_all(&mut self) -> usize {
        let mut handled = 0;
        while self.is_alive() && self.run_one() {
            handled += 1;
            assert!(handled < 1_000, "{} does not come to rest: it always has another message", self.actor.path());
        }
        handled
    }

    /// Takes the messages that came and were not handled: from itself, adapters, asks, tasks, a stash. Signals stay.
    pub fn self_inbox(&mut self) -> Vec<A::Message> {
        self.settle();
        self.desk.take_messages()
    }

    /// How many messages and signals wait to be handled.
    pub fn waiting(&mut self) -> usize {
        self.settle();
        self.desk.waiting()
    }

    /// Looks at the actor, or changes it, between two handlers.
    ///
    /// # Panics
    /// When the actor has stopped or its handler is suspended.
    pub fn with<R: Send + 'static>(
        &mut self,
        visit: impl FnOnce(&mut A, &mut ActorContext<A::Message>) -> R + Send + 'static,
    ) -> R {
        let result = Arc::new(Mutex::new(None));
        let kept = result.clone();
        let visit = move |actor: &mut A, ctx: &mut ActorContext<A::Message>| *kept.lock() = Some(visit(actor, ctx));
        self.command(Command::With(Box::new(visit)), "being looked at");
        let result = result.lock().take();
        result.expect("a visit that came to no end has been reported above")
    }

    /// Takes what the actor did since the last call, in order.
    pub fn effects(&mut self) -> Vec<Effect> {
        self.desk.recorder.take()
    }

    /// Takes the oldest effect, which equals `expected`.
    ///
    /// # Panics
    /// When the oldest effect is another, or there is none. Later ones stay.
    #[track_caller]
    pub fn expect_effect(&mut self, expected: Effect) {
        match self.desk.recorder.take_first() {
            Some(effect) if effect == expected => {}
            Some(effect) => {
                panic!("expected {expected:?}, got {effect:?}, followed by {:?}", self.desk.recorder.seen())
            }
            None => panic!("expected {expected:?}, but the actor did nothing more"),
        }
    }

    /// Takes the oldest effect, which `is_expected`. It does not search: to find one among others, take them all with
    /// [`effects`](BehaviorTestKit::effects).
    ///
    /// # Panics
    /// When it is not, or there is none. Later ones stay.
    #[track_caller]
    pub fn expect_effect_where(&mut self, is_expected: impl FnOnce(&Effect) -> bool) -> Effect {
        match self.desk.recorder.take_first() {
            Some(effect) if is_expected(&effect) => effect,
            Some(effect) => {
                panic!("got {effect:?}, which is not what was expected, followed by {:?}", self.desk.recorder.seen())
            }
            None => panic!("expected an effect, but the actor did nothing more"),
        }
    }

    /// Makes sure that all effects have been taken.
    ///
    /// # Panics
    /// When there are others; they are part of the text.
    #[track_caller]
    pub fn expect_no_effects(&mut self) {
        let effects = self.desk.recorder.take();
        assert!(effects.is_empty(), "expected no effects, got {effects:?}");
    }

    /// Reads what the actor told its child. Each call returns another reader of the same inbox.
    ///
    /// # Panics
    /// When it has no such child, or the child's messages are of another type.
    pub fn child_inbox<N: Send + 'static>(&mut self, name: &str) -> TestProbe<N> {
        let wanted = name.to_owned();
        let (child, children) = self.with(move |_, ctx| {
            let names: Vec<String> = ctx.children().map(|path| path.name().to_owned()).collect();
            (ctx.child::<N>(&wanted), names)
        });
        let Some((child, tray)) = child.zip(self.desk.recorder.tray(name)) else {
            let message_type = std::any::type_name::<N>();
            panic!(
                "{} has no child `{name}` with messages of type {message_type}; its children are {children:?}",
                self.actor.path()
            );
        };
        TestProbe::of(self.kit.ground.clone(), self.kit.probes.clone(), child, tray)
    }

    /// Ends a child, as if it had stopped of its own accord. If the actor watches it, the news waits to be handled.
    ///
    /// How a child's failure is handled is tested with [`signal`](BehaviorTestKit::signal) and
    /// [`Signal::ChildFailed`].
    ///
    /// # Panics
    /// When it has no such child.
    pub fn end_child(&mut self, name: &str) {
        let wanted = name.to_owned();
        let known = self.with(move |_, ctx| ctx.stop_child(&wanted));
        assert!(known, "{} has no child `{name}`", self.actor.path());
        self.settle();
    }

    /// A reference to give to the actor, and a reader of what it says there.
    pub fn probe<N: Send + 'static>(&self) -> TestProbe<N> {
        self.kit.probe()
    }

    /// Stops the actor, as its parent would. It handles [`Signal::PostStop`] at once.
    pub fn stop(&mut self) {
        self.actor.control_arc().stop();
        self.settle();
    }

    /// Whether the actor has not stopped.
    pub fn is_alive(&self) -> bool {
        !self.actor.is_stopped()
    }

    /// What the last handler that came to its end returned: a text in place of an error.
    pub fn returned(&self) -> Option<Result<Behavior, String>> {
        self.desk.returned()
    }

    /// Does `work`, in which exactly one handler is expected to fail, and returns the text of the failure; for a panic
    /// it begins with `panicked: `.
    ///
    /// # Panics
    /// When no handler fails, or more than one does.
    #[track_caller]
    pub fn expect_failure(&mut self, work: impl FnOnce(&mut Self)) -> String {
        let outer = std::mem::replace(&mut self.failures_expected, true);
        work(self);
        self.failures_expected = outer;
        let (mut failures, _) = self.desk.take_failures();
        assert!(failures.len() == 1, "expected one failure, got {failures:?}");
        failures.remove(0)
    }

    /// The actor's reference. What it is told waits until the test has it handled.
    pub fn actor_ref(&self) -> ActorRef<A::Message> {
        self.actor.clone()
    }

    /// The clock the actor goes by.
    pub fn clock(&self) -> &Clock {
        self.kit.clock()
    }

    /// The kit around it, for its system, logs and further actors.
    pub fn kit(&self) -> &TestKit {
        &self.kit
    }

    fn command(&mut self, command: Command<A>, doing: &str) {
        self.expect_free();
        let bell = self.desk.command(command, self.kit.bell());
        bell.control_arc().stop();
        self.settle();
        self.expect_finished(doing);
    }

    fn expect_free(&mut self) {
        self.settle();
        assert!(self.is_alive(), "{} has stopped", self.actor.path());
        assert!(!self.is_suspended(), "{} is still suspended in a handler", self.actor.path());
    }

    fn expect_finished(&self, doing: &str) {
        assert!(!self.is_suspended(), "{}", self.suspended_text(doing));
    }

    fn suspended_text(&self, doing: &str) -> String {
        format!(
            "{} has not come to the end of {doing}: it awaits an answer, time or something outside; so far it did {:?}. \
             Use `begin`, then give it what it waits for",
            self.actor.path(),
            self.desk.recorder.seen(),
        )
    }

    /// Fails the test if a handler failed that was not expected to.
    fn check(&mut self) {
        if self.failures_expected {
            return;
        }
        let (failures, panic) = self.desk.take_failures();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
        if let Some(failure) = failures.first() {
            panic!("{} failed: {failure}; if that is expected, say so with `expect_failure`", self.actor.path());
        }
        assert!(
            self.is_alive() || !self.desk.take_strange_end(),
            "{} failed beside its handlers: a factory, a task or an adapter of it panicked",
            self.actor.path(),
        );
    }
}

impl<A: Actor> fmt::Debug for BehaviorTestKit<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BehaviorTestKit")
            .field("path", self.actor.path())
            .field("is_alive", &self.is_alive())
            .finish_non_exhaustive()
    }
}
