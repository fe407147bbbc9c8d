//! [`TestKit`]: actors in virtual time on one thread. [`TestProbe`]: stands in for any actor.

mod behavior;
mod effect;
mod inbox;
mod observed;
mod probe;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Runtime;

pub use self::behavior::BehaviorTestKit;
pub(crate) use self::effect::Recorder;
pub use self::effect::{Effect, TimerKind};
use self::inbox::{Ends, Inbox, Tray, Watch, Watcher};
pub use self::probe::TestProbe;

use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::clock::Clock;
use crate::guardian::Guardian;
use crate::path::ActorPath;
use crate::props::Props;
use crate::system::ActorSystem;

/// What the wall clock says when a test begins: 2000-01-01 00:00:00 UTC.
const WALL_MS: u64 = 946_684_800_000;
const SEED: u64 = 0x5eed;
/// No other actor has this number.
const PROBES_UID: u64 = 0;
const PROBES_LIVE: &str = "a kit's probes are never told to stop as a whole";

/// A system on one thread whose clock moves only while the test waits for it.
///
/// Nothing runs between two calls: an actor takes its turns inside [`advance`](TestKit::advance),
/// [`settle`](TestKit::settle), [`block_on`](TestKit::block_on) and the waiting verbs of probes. So a test is the same
/// each time it runs.
pub struct TestKit {
    ground: Rc<Ground>,
    system: ActorSystem,
}

/// The thread's runtime, shared by a kit and its probes.
struct Ground {
    runtime: Runtime,
    clock: Clock,
    idle: Arc<Mutex<Idle>>,
    /// Owns the probes, apart from the actors under test: these end without them.
    probes: Arc<Guardian>,
    watcher: ActorRef<Watch>,
    ends: Ends,
}

/// Whoever waits for the moment in which no task can go on.
#[derive(Default)]
struct Idle {
    waker: Option<Waker>,
    reached: bool,
}

impl TestKit {
    /// A fresh system in virtual time.
    #[expect(clippy::new_without_default, reason = "a kit is a stage to set up, not a value with a default")]
    pub fn new() -> Self {
        let idle = Arc::new(Mutex::new(Idle::default()));
        let at_rest = idle.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .on_thread_park(move || {
                let mut idle = at_rest.lock();
                idle.reached = true;
                if let Some(waker) = idle.waker.take() {
                    waker.wake();
                }
            })
            .build()
            .expect("a single-threaded runtime needs nothing that could be missing");
        let clock = Clock::paused(runtime.handle(), WALL_MS);
        let system =
            ActorSystem::builder("test").runtime(runtime.handle().clone()).clock(clock.clone()).seed(SEED).start();
        let probes = Guardian::new(ActorPath::root(system.uid(), PROBES_UID, "probe"));
        let ends = Ends::default();
        let watcher = probes
            .spawn(&system, Some("watcher"), Watcher(ends.clone()).into())
            .expect("the name is free: this is the first");
        Self { ground: Rc::new(Ground { runtime, clock, idle, probes, watcher, ends }), system }
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
        TestProbe::new(self.ground.clone(), &self.system)
    }

    /// An actor whose end is a sign.
    fn bell(&self) -> ActorRef<()> {
        self.ground.probes.spawn(&self.system, None, Inbox(Tray::new()).into()).expect(PROBES_LIVE)
    }

    /// Lets `by` pass: everything due in that time happens, each thing at its moment and in order, and all that
    /// follows from it.
    pub fn advance(&self, by: Duration) {
        self.ground.advance(by);
    }

    /// Lets everything happen that can happen without time passing.
    pub fn settle(&self) {
        self.ground.settle();
    }

    /// Runs `future` to its end. Whenever nothing else can go on, time jumps to the next thing due.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.ground.runtime.block_on(future)
    }
}

impl Ground {
    fn settle(&self) {
        let mut begun = false;
        self.runtime.block_on(std::future::poll_fn(|cx| {
            let mut idle = self.idle.lock();
            if begun && idle.reached {
                return Poll::Ready(());
            }
            begun = true;
            idle.reached = false;
            idle.waker = Some(cx.waker().clone());
            Poll::Pending
        }));
    }

    fn advance(&self, by: Duration) {
        self.settle();
        self.runtime.block_on(async { self.clock.sleep(by).await });
        self.settle();
    }
}
