//! [`Uptime`]: time that goes on while the machine is suspended.
//!
//! A clock that stands still then tells a machine that wakes up that no time has passed, while the others gave it up long
//! ago and do its work.

use actors::{Clock, Sleep, Tick};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Reads a clock and adds for how long the machine was suspended since. Cheap to clone; clones share one scale.
#[derive(Clone, Debug)]
pub(crate) struct Uptime {
    clock: Clock,
    machine: Option<Arc<Machine>>,
}

#[derive(Debug)]
struct Machine {
    /// For how long it had been suspended when this was made.
    before: Duration,
    /// For how long since, in nanoseconds. Read in two pieces, so that small differences mean nothing.
    since: AtomicU64,
    suspended: fn() -> Duration,
}

/// Less is no suspension but the time between two readings.
const NOTICED: Duration = Duration::from_millis(1);

impl Uptime {
    /// That of a clock that counts everything already, as a simulated one does.
    pub(crate) fn of(clock: Clock) -> Self {
        Self { clock, machine: None }
    }

    /// That of this machine; of a clock of virtual time, that of the clock.
    pub(crate) fn of_machine(clock: Clock) -> Self {
        if clock.is_virtual() { Self::of(clock) } else { Self::of_suspended(clock, suspended) }
    }

    /// That of a machine that was `suspended` for so long since it started.
    pub(crate) fn of_suspended(clock: Clock, suspended: fn() -> Duration) -> Self {
        let machine = Machine { before: suspended(), since: AtomicU64::new(0), suspended };
        Self { clock, machine: Some(Arc::new(machine)) }
    }

    /// The clock, which does not count suspensions.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Now, on a scale that never goes back.
    pub(crate) fn now(&self) -> Tick {
        let now = self.clock.now();
        self.machine.as_ref().map_or(now, |machine| now + machine.suspended_since((machine.suspended)()))
    }

    /// Waits until `deadline`, or longer if the machine is suspended meanwhile. Cancel safe.
    pub(crate) fn sleep_until(&self, deadline: Tick) -> Sleep {
        self.clock.sleep_until(self.on_clock(deadline))
    }

    /// The same moment by the clock, which does not count suspensions.
    pub(crate) fn on_clock(&self, moment: Tick) -> Tick {
        match &self.machine {
            None => moment,
            Some(_) => self.clock.now() + (moment - self.now()),
        }
    }
}

impl Machine {
    fn suspended_since(&self, suspended: Duration) -> Duration {
        let since = u64::try_from(suspended.saturating_sub(self.before).as_nanos()).unwrap_or(u64::MAX);
        let known = self.since.load(Ordering::Relaxed);
        if since > known.saturating_add(NOTICED.as_nanos() as u64) {
            self.since.fetch_max(since, Ordering::Relaxed);
            return Duration::from_nanos(since);
        }
        Duration::from_nanos(known)
    }
}

/// For how long the machine was suspended since it started.
#[cfg(target_os = "linux")]
fn suspended() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    let mut least = Duration::MAX;
    // Whoever is interrupted between the two readings sees more than there was.
    for _ in 0..3 {
        let before = read(ClockId::Monotonic);
        let boot = read(ClockId::Boottime);
        least = least.min(boot.saturating_sub(before));
        if read(ClockId::Monotonic).saturating_sub(before) < NOTICED / 10 {
            break;
        }
    }
    least
}

#[cfg(not(target_os = "linux"))]
fn suspended() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspension_counts_and_the_time_between_two_readings_does_not() {
        let secs = Duration::from_secs;
        let machine = Machine { before: secs(100), since: AtomicU64::new(0), suspended };
        assert_eq!(machine.suspended_since(secs(100)), Duration::ZERO);
        assert_eq!(machine.suspended_since(secs(100) + NOTICED / 2), Duration::ZERO);
        assert_eq!(machine.suspended_since(secs(160)), secs(60));
        assert_eq!(machine.suspended_since(secs(160) - NOTICED / 2), secs(60), "it never goes back");
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_with_the_clock_and_waits_by_it() {
        let clock = Clock::tokio();
        let uptime = Uptime::of_machine(clock.clone());
        let before = uptime.now();
        uptime.sleep_until(before + Duration::from_secs(5)).await;
        assert!(uptime.now() - before >= Duration::from_secs(5));
        assert!(uptime.now() - before < Duration::from_secs(6), "no machine was suspended for this test");
    }
}
