//! [`Clock`]: the only door to time.
//!
//! Everything in this workspace that waits or reads time does it through a [`Clock`] it was given, so that a test can
//! run a day in a millisecond and a simulated node can have a clock of its own.

#![allow(clippy::disallowed_methods, reason = "this module is the door the ban points to")]

use std::fmt;
use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pin_project_lite::pin_project;
use tokio::runtime::Handle;

/// A hundred years: what "never" means to a timer wheel that has to add it to something.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A moment on the monotonic scale of one [`Clock`]. Ticks of two clocks have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64); // nanoseconds since the clock was made

impl Tick {
    /// The first moment of all: that at which the clock was made, unless it [drifts](Clock::drifting).
    pub const START: Tick = Tick(0);
    /// Later than any other.
    pub(crate) const NEVER: Tick = Tick(u64::MAX);

    /// A moment that was written down by [`nanos`](Tick::nanos).
    pub(crate) fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) fn nanos(self) -> u64 {
        self.0
    }

    /// Time between the first moment and this one.
    pub fn since_start(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl Add<Duration> for Tick {
    type Output = Tick;

    /// Saturates: a moment too far away to be written down is the last one.
    fn add(self, duration: Duration) -> Tick {
        Tick(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Tick {
    type Output = Duration;

    /// Time from `earlier` to `self`; zero when `earlier` is in fact later.
    fn sub(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// How a clock of virtual time differs from the time of its runtime: that of a simulated machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// What [`Clock::now`] is at first, since the machine runs already.
    pub start: Duration,
    /// By how many millionths it is fast, or slow below zero. Above -1,000,000.
    pub ppm: i32,
}

const MILLION: i128 = 1_000_000;

impl Drift {
    fn rate(self) -> i128 {
        MILLION + i128::from(self.ppm)
    }

    /// What the clock says when so much time has passed.
    fn shown(self, passed: Duration) -> u64 {
        if self == Self::default() {
            return u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
        }
        let shown = passed.as_nanos() as i128 * self.rate() / MILLION + self.start.as_nanos() as i128;
        u64::try_from(shown).unwrap_or(u64::MAX)
    }

    /// After how much time the clock says `shown`, at the earliest.
    fn passed(self, shown: Duration) -> Duration {
        if self == Self::default() {
            return shown;
        }
        let nanos = shown.saturating_sub(self.start).min(FAR).as_nanos() as i128 * MILLION;
        Duration::from_nanos(u64::try_from((nanos + self.rate() - 1) / self.rate()).unwrap_or(u64::MAX))
    }
}

/// A look at the time, by no clock in particular.
#[derive(Clone, Copy)]
pub(crate) struct Glance(tokio::time::Instant);

/// Reads time and waits for it. Cheap to clone; clones share one scale.
#[derive(Clone)]
pub struct Clock(Arc<Scale>);

struct Scale {
    origin: tokio::time::Instant,
    drift: Drift,
    wall: Wall,
    /// Entered where no runtime is ambient, so that time can be read and waited for from any thread.
    runtime: Option<Handle>,
}

enum Wall {
    /// The machine's.
    System,
    /// This many milliseconds after 1970, and as many as the monotonic scale says. Wraps: an origin may lie before 1970.
    Virtual { origin_ms: AtomicU64 },
}

impl Clock {
    /// The production clock: monotonic time of the machine, waits on the ambient tokio runtime.
    pub fn tokio() -> Self {
        Self::new(Handle::try_current().ok(), Wall::System, Drift::default())
    }

    /// A clock over the paused time of `runtime`: it moves only when that runtime advances, wall clock included.
    ///
    /// `wall_ms` is what [`wall_ms`](Clock::wall_ms) says at first, in milliseconds since 1970.
    pub fn paused(runtime: &Handle, wall_ms: u64) -> Self {
        let _entered = runtime.enter();
        Self::new(Some(runtime.clone()), Wall::Virtual { origin_ms: AtomicU64::new(wall_ms) }, Drift::default())
    }

    /// As [`paused`](Clock::paused), for one of several machines on one runtime, none of whose clocks goes like another.
    ///
    /// # Panics
    /// When it would not go forward: `drift.ppm` must be above -1,000,000.
    pub fn drifting(runtime: &Handle, wall_ms: u64, drift: Drift) -> Self {
        assert!(drift.rate() > 0, "drifting: `ppm` must be above -1,000,000, not {}", drift.ppm);
        let _entered = runtime.enter();
        let start_ms = u64::try_from(drift.start.as_millis()).unwrap_or(u64::MAX);
        let origin_ms = AtomicU64::new(wall_ms.wrapping_sub(start_ms));
        Self::new(Some(runtime.clone()), Wall::Virtual { origin_ms }, drift)
    }

    fn new(runtime: Option<Handle>, wall: Wall, drift: Drift) -> Self {
        Self(Arc::new(Scale { origin: tokio::time::Instant::now(), drift, wall, runtime }))
    }

    /// Now, on a scale that never goes back.
    #[inline]
    pub fn now(&self) -> Tick {
        if self.is_virtual() { self.now_virtually() } else { self.when(Self::glance()) }
    }

    /// Time as it is for all clocks but those of virtual time, for who does not know yet by which clock it will be wanted.
    #[inline]
    pub(crate) fn glance() -> Glance {
        Glance(tokio::time::Instant::now())
    }

    /// What it was by this clock at that glance; of virtual time, now.
    #[inline]
    pub(crate) fn at(&self, glance: Glance) -> Tick {
        if self.is_virtual() { self.now_virtually() } else { self.when(glance) }
    }

    #[inline]
    fn when(&self, Glance(moment): Glance) -> Tick {
        let since = moment.saturating_duration_since(self.0.origin);
        // For five hundred years.
        Tick(since.as_secs().wrapping_mul(1_000_000_000).wrapping_add(since.subsec_nanos().into()))
    }

    fn now_virtually(&self) -> Tick {
        // Paused time is known to its own runtime only.
        let _entered = self.0.runtime.as_ref().map(Handle::enter);
        Tick(self.0.drift.shown(tokio::time::Instant::now().saturating_duration_since(self.0.origin)))
    }

    /// Milliseconds since 1970, for time stamps that people or other machines read. May jump; never measure with it.
    pub fn wall_ms(&self) -> u64 {
        match &self.0.wall {
            Wall::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            Wall::Virtual { origin_ms } => origin_ms.load(Ordering::Relaxed).wrapping_add(self.elapsed_ms()),
        }
    }

    /// Whether it moves only as a test lets it.
    pub fn is_virtual(&self) -> bool {
        matches!(self.0.wall, Wall::Virtual { .. })
    }

    /// Sets the wall clock of virtual time, which goes on from there; the machine's is not ours to set, and stays.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        if let Wall::Virtual { origin_ms } = &self.0.wall {
            origin_ms.store(wall_ms.wrapping_sub(self.elapsed_ms()), Ordering::Relaxed);
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.now().since_start().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until `deadline`; never returns early. Cancel safe.
    ///
    /// # Panics
    /// When there is neither an ambient tokio runtime nor one where this clock was made.
    pub fn sleep_until(&self, deadline: Tick) -> Sleep {
        let _entered = match &self.0.runtime {
            Some(runtime) if Handle::try_current().is_err() => Some(runtime.enter()),
            _ => None,
        };
        let instant = self.instant(deadline);
        Sleep { clock: self.clone(), inner: tokio::time::sleep_until(instant) }
    }

    /// Waits for `duration`; never returns early. Cancel safe.
    ///
    /// # Panics
    /// As [`sleep_until`](Clock::sleep_until).
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Runs `future` for at most `within`. Cancel safe if `future` is.
    ///
    /// # Errors
    /// [`Elapsed`] when the time was over first; `future` is dropped then.
    pub async fn timeout<F: Future>(&self, within: Duration, future: F) -> Result<F::Output, Elapsed> {
        let mut future = std::pin::pin!(future);
        let mut sleep = std::pin::pin!(self.sleep(within));
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| Err(Elapsed { within })),
        })
        .await
    }

    /// Whether both are clones of one clock, so that their moments may be compared.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Tells it from all others that are there; clones have the same.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    fn instant(&self, deadline: Tick) -> tokio::time::Instant {
        self.0.origin + self.0.drift.passed(deadline.since_start()).min(FAR)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// The time given to [`Clock::timeout`] was over first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not done within {within:?}")]
pub struct Elapsed {
    /// The time that was given.
    pub within: Duration,
}

pin_project! {
    /// Waits for a moment; made by [`Clock::sleep_until`] and [`Clock::sleep`].
    #[must_use = "a sleep does nothing unless awaited"]
    pub struct Sleep {
        clock: Clock,
        #[pin]
        inner: tokio::time::Sleep,
    }
}

impl Sleep {
    /// Waits for another moment instead; cheaper than a new sleep.
    pub fn reset(self: Pin<&mut Self>, deadline: Tick) {
        let this = self.project();
        this.inner.reset(this.clock.instant(deadline));
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().inner.poll(cx)
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sleep").finish()
    }
}
