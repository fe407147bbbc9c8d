//! [`TestKit`]: actors in virtual time on one thread.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use super::ground::{Ground, Probes};
use super::inbox::{Inbox, Tray};
use super::{PROBES_LIVE, TestProbe};
use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::clock::Clock;
use crate::props::Props;
use crate::system::{ActorSystem, ActorSystemBuilder};

/// How often a condition is looked at while a test waits for it.
const LOOK: Duration = Duration::from_millis(50);

/// A system on one thread whose clock moves only while the test waits for it.
///
/// Nothing runs between two calls: an actor takes its turns inside [`advance`](TestKit::advance),
/// [`settle`](TestKit::settle), [`block_on`](TestKit::block_on) and the waiting verbs of probes. So a test is the same
/// each time it runs.
pub struct TestKit {
    pub(super) probes: Rc<Probes>, // before the runtime, whose timers the actors hold
    pub(super) ground: Rc<Ground>,
    pub(super) system: ActorSystem,
    pub(super) strict: bool,
    place: Option<Place>,
}

impl TestKit {
    /// A fresh system in virtual time.
    #[expect(clippy::new_without_default, reason = "a kit is a stage to set up, not a value with a default")]
    pub fn new() -> Self {
        let place = Place::taken();
        let mut kit = Self::start(SEED + place.0, ActorSystemBuilder::fixed_order);
        kit.place = Some(place);
        kit
    }

    /// A kit with `seed`, whose actors take their turns in `order`.
    pub(super) fn start(seed: u64, order: impl FnOnce(ActorSystemBuilder) -> ActorSystemBuilder) -> Self {
        let ground = Rc::new(Ground::new());
        let builder = ActorSystem::builder("test").runtime(ground.runtime().clone()).clock(ground.clock.clone());
        let system = order(builder.seed(seed)).start();
        let probes = Rc::new(Probes::new(&system));
        Self { ground, probes, system, strict: false, place: None }
    }

    /// The same kit whose probes, and whoever else waits for something expected, wait `factor` times as long as they
    /// say. Time that passes whatever comes, as in [`advance`](TestKit::advance), stays as it is.
    ///
    /// # Panics
    /// When `factor` is not a number above zero.
    pub fn with_dilation(self, factor: f64) -> Self {
        assert!(
            factor.is_finite() && factor > 0.0,
            "with_dilation: `factor` must be a number above zero, not {factor}"
        );
        self.ground.dilation.set(factor);
        self
    }

    /// `time` as the kit's dilation stretches it.
    pub fn dilated(&self, time: Duration) -> Duration {
        self.ground.dilated(time)
    }

    /// The system the kit's actors live in.
    pub fn system(&self) -> &ActorSystem {
        &self.system
    }

    /// The clock all of it goes by.
    pub fn clock(&self) -> &Clock {
        &self.ground.clock
    }

    /// Spawns an actor under test at the top of the system.
    ///
    /// # Panics
    /// When an actor of that name exists at the top.
    pub fn spawn<A: Actor>(&self, name: impl AsRef<str>, props: impl Into<Props<A>>) -> ActorRef<A::Message> {
        self.system.spawn(name, props)
    }

    /// A probe: a reference like any other whose messages the test reads.
    pub fn probe<M: Send + 'static>(&self) -> TestProbe<M> {
        TestProbe::new(self.ground.clone(), self.probes.clone(), &self.system)
    }

    /// An actor whose end is a sign.
    pub(super) fn bell(&self) -> ActorRef<()> {
        self.probes.owner.spawn(&self.system, None, Inbox(Tray::new()).into()).expect(PROBES_LIVE)
    }

    /// Lets `by` pass: everything due in that time happens, each thing at its moment and in order, and all that
    /// follows from it.
    ///
    /// Virtual time goes by whole milliseconds and so does all that waits for it, rounded up. What this rounds up counts
    /// for the next call: ten times 1.5 ms are 15.
    pub fn advance(&self, by: Duration) {
        self.ground.advance(by);
    }

    /// Moves time on by `by` in one step, as for a machine that was asleep: what was due in between happens afterwards,
    /// late, all of it at the same moment.
    pub fn jump(&self, by: Duration) {
        self.ground.jump(by);
    }

    /// Sets the wall clock, forth or back, as an administrator or a time server does. It goes on from there with the
    /// virtual time; [`Clock::now`] and everything that waits notice nothing.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        self.ground.clock.set_wall_ms(wall_ms);
    }

    /// Lets everything happen that can happen without time passing.
    pub fn settle(&self) {
        self.ground.settle();
    }

    /// Runs `future` to its end. Whenever nothing else can go on, time jumps to the next thing due.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.ground.block_on(future)
    }

    /// Lets time pass until `condition` holds, which is looked at every 50 ms.
    ///
    /// # Panics
    /// When it does not hold within three seconds; `what` is part of the text.
    #[track_caller]
    pub fn await_until(&self, what: &str, condition: impl FnMut() -> bool) {
        self.await_until_within(self.ground.patience(), what, condition);
    }

    /// As [`await_until`](TestKit::await_until), within a time of the test's choosing.
    ///
    /// # Panics
    /// When it does not hold in time.
    #[track_caller]
    pub fn await_until_within(&self, within: Duration, what: &str, mut condition: impl FnMut() -> bool) {
        self.settle();
        let until = self.clock().now() + self.dilated(within);
        while !condition() {
            let left = until - self.clock().now();
            assert!(!left.is_zero(), "not so within {:?}: {what}", self.dilated(within));
            self.advance(left.min(LOOK));
        }
    }
}

const SEED: u64 = 0x5eed;

thread_local! {
    static TAKEN: RefCell<BTreeSet<u64>> = const { RefCell::new(BTreeSet::new()) };
}

/// Tells a kit from the others its thread has at the same time, so that none takes another's paths for its own. The
/// first is always the same, whatever tests ran before.
struct Place(u64);

impl Place {
    fn taken() -> Self {
        TAKEN.with_borrow_mut(|taken| {
            let free = (0..).find(|place| !taken.contains(place)).unwrap_or(0);
            taken.insert(free);
            Self(free)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = TAKEN.try_with(|taken| taken.borrow_mut().remove(&self.0)); // none left: the thread ends
    }
}

impl fmt::Debug for TestKit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestKit").field("system", &self.system).field("strict", &self.strict).finish_non_exhaustive()
    }
}
