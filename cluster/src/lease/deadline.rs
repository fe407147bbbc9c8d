//! [`HostingDeadline`]: until when this node may serve what it hosts, for whoever asks before each batch of messages.

use crate::uptime::Uptime;
use actors::Tick;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Written where there is none.
const NONE: u64 = 0;
/// Written when there never will be one again. No clock is at it: it is past before the first reading.
const ENDED: u64 = 1;

/// Until when this node may serve what it hosts. Cheap to clone; clones share it.
///
/// The members that can be reached extend it, as long as they would go on with this node if all others were gone. A node
/// that is cut off therefore stops serving before the others may start elsewhere what it hosts, though it cannot know that
/// they do. Clocks may be set as they like; their rates may differ by one in a hundred, and time goes on while a machine is
/// suspended.
#[derive(Clone)]
pub struct HostingDeadline {
    uptime: Uptime,
    nanos: Arc<AtomicU64>,
}

/// This node must not serve what it hosts: it may have been given up by the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node has not heard from enough of the others to go on serving")]
pub struct Fenced;

impl HostingDeadline {
    /// One that is not valid before it is extended.
    pub(crate) fn by(uptime: Uptime) -> Self {
        Self { uptime, nanos: Arc::new(AtomicU64::new(NONE)) }
    }

    /// Moves it to `until`, unless it has ended.
    pub(crate) fn set(&self, until: Tick) {
        let nanos = u64::try_from(until.since_start().as_nanos()).unwrap_or(u64::MAX).max(ENDED + 1);
        let unless_ended = |current| (current != ENDED).then_some(nanos);
        let _ = self.nanos.fetch_update(Ordering::Release, Ordering::Relaxed, unless_ended);
    }

    /// It is not valid until it is set again.
    pub(crate) fn clear(&self) {
        let unless_ended = |current| (current != ENDED).then_some(NONE);
        let _ = self.nanos.fetch_update(Ordering::Release, Ordering::Relaxed, unless_ended);
    }

    /// It is not valid, and never will be again.
    pub(crate) fn end(&self) {
        self.nanos.store(ENDED, Ordering::Release);
    }

    /// Whether what is hosted may be served at this moment: one atomic load and a clock. To be asked before each message, or
    /// each batch of a few.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self) -> Result<(), Fenced> {
        let valid = self.uptime.now() < Tick::START + Duration::from_nanos(self.nanos.load(Ordering::Acquire));
        if valid { Ok(()) } else { Err(Fenced) }
    }

    /// For how long it may go on without a further word of the others. Zero: nothing may be served.
    pub fn remaining(&self) -> Duration {
        match self.nanos.load(Ordering::Acquire) {
            NONE | ENDED => Duration::ZERO,
            nanos => (Tick::START + Duration::from_nanos(nanos)) - self.uptime.now(),
        }
    }

    /// Whether it has ended for good.
    pub fn has_ended(&self) -> bool {
        self.nanos.load(Ordering::Acquire) == ENDED
    }
}

impl fmt::Debug for HostingDeadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostingDeadline").field("remaining", &self.remaining()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actors::Clock;

    #[tokio::test(start_paused = true)]
    async fn it_is_valid_while_others_extend_it_and_never_after_its_end() {
        let clock = Clock::paused(&tokio::runtime::Handle::current(), 0);
        let deadline = HostingDeadline::by(Uptime::of(clock.clone()));
        assert_eq!(deadline.check(), Err(Fenced), "nobody has said so yet");

        deadline.set(clock.now() + Duration::from_secs(9));
        clock.sleep(Duration::from_millis(8_900)).await;
        assert_eq!(deadline.check(), Ok(()));
        clock.sleep(Duration::from_millis(100)).await;
        assert_eq!(deadline.check(), Err(Fenced));

        deadline.set(clock.now() + Duration::from_secs(9));
        assert_eq!(deadline.clone().check(), Ok(()), "the others were heard again");
        deadline.clear();
        assert_eq!((deadline.check(), deadline.remaining()), (Err(Fenced), Duration::ZERO));

        deadline.end();
        deadline.set(clock.now() + Duration::from_secs(9));
        assert_eq!((deadline.check(), deadline.has_ended()), (Err(Fenced), true));
    }
}
