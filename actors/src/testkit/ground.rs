//! [`Ground`]: the thread's runtime and its virtual time, shared by a kit and its probes.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::PROBES_UID;
use super::inbox::{Ends, Watch, Watcher};
use crate::actor_ref::ActorRef;
use crate::clock::Clock;
use crate::guardian::Guardian;
use crate::path::ActorPath;
use crate::system::ActorSystem;

/// What the wall clock says when a test begins: 2000-01-01 00:00:00 UTC.
const WALL_MS: u64 = 946_684_800_000;
/// Tokio's paused time goes by whole milliseconds.
const GRAIN_NANOS: u32 = 1_000_000;
/// How long a test waits for what it expects, in virtual time.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) struct Ground {
    runtime: Runtime,
    pub(super) clock: Clock,
    idle: Arc<Mutex<Idle>>,
    /// By how much the clock is ahead of what the test let pass, less than a millisecond.
    ahead: Cell<Duration>,
    /// By how much waits are longer than they say.
    pub(super) dilation: Cell<f64>,
}

/// Whoever waits for the moment in which no task can go on.
#[derive(Default)]
struct Idle {
    waker: Option<Waker>,
    reached: bool,
}

impl Ground {
    pub(super) fn new() -> Self {
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
        Self { runtime, clock, idle, ahead: Cell::new(Duration::ZERO), dilation: Cell::new(1.0) }
    }

    pub(super) fn runtime(&self) -> &tokio::runtime::Handle {
        self.runtime.handle()
    }

    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub(super) fn settle(&self) {
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

    /// Everything due happens at its moment.
    pub(super) fn advance(&self, by: Duration) {
        self.settle();
        let by = self.whole(by);
        self.runtime.block_on(async { self.clock.sleep(by).await });
        self.settle();
    }

    /// Time is another at once; what was due in between happens then.
    pub(super) fn jump(&self, by: Duration) {
        self.settle();
        let by = self.whole(by);
        self.runtime.block_on(tokio::time::advance(by));
        self.settle();
    }

    /// How far the clock moves for a test that lets `by` pass: it goes by whole milliseconds, rounded up, like all that
    /// waits for it, and is at most one ahead of the sum of what it was told.
    fn whole(&self, by: Duration) -> Duration {
        let ahead = self.ahead.get();
        let Some(by) = by.checked_sub(ahead) else {
            self.ahead.set(ahead - by);
            return Duration::ZERO;
        };
        let ahead = match by.subsec_nanos() % GRAIN_NANOS {
            0 => Duration::ZERO,
            over => Duration::from_nanos(u64::from(GRAIN_NANOS - over)),
        };
        self.ahead.set(ahead);
        by.saturating_add(ahead)
    }

    pub(super) fn patience(&self) -> Duration {
        PATIENCE
    }

    pub(super) fn dilated(&self, time: Duration) -> Duration {
        Duration::try_from_secs_f64(time.as_secs_f64() * self.dilation.get()).unwrap_or(Duration::MAX)
    }

    /// What `poll` waits for, or `None` when the time is over first. What the very last moment brings counts.
    pub(super) fn wait<T>(&self, within: Duration, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
        self.settle();
        let waited_for = std::future::poll_fn(&mut poll);
        if let Ok(came) = self.runtime.block_on(async { self.clock.timeout(within, waited_for).await }) {
            return Some(came);
        }
        self.settle();
        match poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(came) => Some(came),
            Poll::Pending => None,
        }
    }
}

/// The probes of a kit. They live apart from the actors under test, whose end is not theirs.
///
/// Kept by the kit and its probes: with the last of them all actors are gone, whatever they were doing.
pub(super) struct Probes {
    pub(super) owner: Arc<Guardian>,
    watcher: ActorRef<Watch>,
    ends: Ends,
    system: ActorSystem,
}

impl Probes {
    pub(super) fn new(system: &ActorSystem) -> Self {
        let owner = Guardian::new(ActorPath::root(system.uid(), PROBES_UID, "probe"));
        let ends = Ends::default();
        let watcher = owner
            .spawn(system, Some("watcher"), Watcher(ends.clone()).into())
            .expect("the name is free: this is the first");
        Self { owner, watcher, ends, system: system.clone() }
    }

    /// Whether `actor` has stopped for good before the time is over.
    pub(super) fn await_end<N: Send + 'static>(&self, ground: &Ground, actor: &ActorRef<N>, within: Duration) -> bool {
        self.watcher.tell(Watch::new(actor.clone()));
        ground.wait(within, |cx| self.ends.poll(actor.path(), cx)).is_some()
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.system.abandon();
        self.owner.abandon();
    }
}
